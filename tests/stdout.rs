//! Looking: one JSON event a line on standard output, with a state of its own, and without Devo.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Stdio};

use proofpull::clock::utc;
use time::{Duration, OffsetDateTime};

use crate::simulator::{Event, sample, wait_until};
use crate::test_env::{Mounted, Run, Running, TestEnv, ago, array, hold};

const SERVICE: &str = "tap-clicks-blocked";
const NAME: &str = "tap-clicks-blocked.stdout";

/// Three windows, so many events in each.
fn env(events: i32) -> (TestEnv, OffsetDateTime) {
    let mut env = TestEnv::new();
    let start = ago(170);
    env.start_at(start);
    env.add(SERVICE, start, start + Duration::hours(2), events * 2);
    env.add(SERVICE, start + Duration::hours(2), ago(3), events);
    (env, start)
}

/// How often each event stands in an output; each line is one, whole.
fn serials(output: &[u8]) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    assert!(output.is_empty() || output.ends_with(b"\n"));
    for line in output.split_inclusive(|&byte| byte == b'\n') {
        serde_json::from_slice::<serde_json::Map<_, _>>(line).expect("an object a line");
        *counts.entry(sample::serial_of(line).unwrap()).or_default() += 1;
    }
    counts
}

#[test]
fn events_go_out_one_a_line_as_they_are_and_cost_devo_none() {
    let (mut env, _) = env(20);
    env.devo_table += "fields = { \"@more\" = \"x\" }\n";
    let odd = r#"{ "z":1.0,"a":"é\u00e9","messageID":"<serial.77777777@x>" }"#;
    env.tap.add(array(SERVICE), Event::new(ago(30), odd));
    let run = env.run(SERVICE, &["--stdout", "-vv"]);
    run.assert_status(0);
    assert_eq!(serials(&run.stdout), env.tap.serials(array(SERVICE)));
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(text.lines().any(|line| line == odd), "{text}");
    assert!(!text.contains("@devo_pulling_id") && !text.contains("@more"));
    assert_eq!(env.devo.connections().len(), 0);
    let names = std::fs::read_dir(env.state_dir()).unwrap();
    for name in names.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        let is_ledger = name.starts_with("quota-");
        assert!(is_ledger || name.starts_with(&format!("{NAME}.")), "{name}");
    }

    let again = env.run(SERVICE, &["--stdout"]);
    again.assert_status(0);
    assert_eq!(again.stdout, b"");
    env.run(SERVICE, &[]).assert_status(0);
    env.assert_exactly_once(SERVICE);
}

#[test]
fn devo_need_not_be_configured_to_look() {
    let (mut env, _) = env(3);
    env.devo_table.clear();
    let run = env.run(SERVICE, &["--stdout"]);
    run.assert_status(0);
    assert_eq!(serials(&run.stdout), env.tap.serials(array(SERVICE)));
}

#[test]
fn a_look_back_in_time_has_a_state_of_its_own_too() {
    let (env, start) = env(6);
    let words = ["--stdout", "--start-time", &utc(start)];
    let run = env.run(SERVICE, &words);
    run.assert_status(0);
    assert_eq!(serials(&run.stdout), env.tap.serials(array(SERVICE)));
    env.state(&format!("{NAME}.backfill"));
    let run = env.run(SERVICE, &["--stdout"]);
    run.assert_status(0);
    assert_eq!(serials(&run.stdout), env.tap.serials(array(SERVICE)));
}

#[test]
fn looking_does_not_wait_for_the_timer() {
    let (env, _) = env(3);
    let held = hold(&env.tap, 0);
    let timer = env.start(SERVICE, &[]);
    held.wait();
    let look = env.start(SERVICE, &["--stdout"]);
    // the simulator holds up everybody: that it asks at all is known by its lock
    let lock = env.state_dir().join(format!("{NAME}.lock"));
    let pid = format!("pid {}", look.pid());
    let has_it = || std::fs::read_to_string(&lock).is_ok_and(|text| text.contains(&pid));
    wait_until(has_it, "the lock of the one who looks");
    drop(held);
    timer.wait().assert_status(0);
    look.wait().assert_status(0);
    env.assert_exactly_once(SERVICE);
}

fn start_into(env: &TestEnv, stdout: Stdio) -> (Running, Option<ChildStdout>) {
    let mut command = env.command(SERVICE);
    command.arg("--stdout").stdin(Stdio::null());
    let piped = command.stdout(stdout).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let stdout = child.stdout.take();
    (Running::of(child), stdout)
}

/// Reads so many lines, and closes the pipe like `head`.
fn head(env: &TestEnv, lines: usize) -> (Vec<u8>, Run) {
    let (running, stdout) = start_into(env, Stdio::piped());
    let mut reader = BufReader::with_capacity(256, stdout.unwrap());
    let mut read = Vec::new();
    for _ in 0..lines {
        reader.read_until(b'\n', &mut read).unwrap();
    }
    drop(reader);
    (read, running.wait())
}

#[test]
fn a_reader_that_has_enough_ends_the_run_well_and_loses_nothing() {
    // a window is more than a pipe holds
    const EACH: usize = 300;
    for windows in 0..3 {
        let (env, start) = env(EACH as i32);
        let (read, run) = head(&env, EACH * windows + 5);
        run.assert_status(0).assert_says("closed");
        let position = start + Duration::hours(windows as i64);
        assert_eq!(env.position(NAME), utc(position));
        let rest = env.run(SERVICE, &["--stdout"]);
        rest.assert_status(0);
        let mut arrived = serials(&rest.stdout);
        assert_eq!(arrived.len(), EACH * (3 - windows));
        for (serial, count) in serials(&read) {
            *arrived.entry(serial).or_default() += count;
        }
        assert_eq!(arrived.len(), EACH * 3);
        let repeated: usize = arrived.values().map(|count| count - 1).sum();
        assert_eq!(repeated, 5, "more than what was unconfirmed");
    }
}

#[test]
fn output_that_cannot_be_written_is_status_74_and_nothing_is_lost() {
    let (env, start) = env(30);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (running, _) = start_into(&env, full.into());
    running.wait().assert_error(74, &["standard output"], "");
    assert_eq!(env.position(NAME), utc(start));
    let run = env.run(SERVICE, &["--stdout"]);
    run.assert_status(0);
    assert_eq!(serials(&run.stdout), env.tap.serials(array(SERVICE)));
}

#[test]
fn a_disk_that_gets_full_is_status_74_and_nothing_is_lost() {
    let (env, _) = env(15);
    let dir = env.dir.path().join("disk");
    let Some(disk) = Mounted::small(&dir) else {
        return;
    };
    let path = dir.join("events");
    let append = || OpenOptions::new().append(true).create(true).open(&path);
    let filling = disk.fill(5);
    let (running, _) = start_into(&env, append().unwrap().into());
    running.wait().assert_error(74, &["No space left"], "");
    assert!(std::fs::metadata(&path).unwrap().len() > 10_000);

    std::fs::remove_file(filling).unwrap();
    let (running, _) = start_into(&env, append().unwrap().into());
    running.wait().assert_status(0);
    // what was written of the unconfirmed window may be there twice, but no line is torn
    let arrived = serials(&std::fs::read(&path).unwrap());
    assert_eq!(arrived.len(), 45);
    assert!(arrived.values().sum::<usize>() < 60);
}
