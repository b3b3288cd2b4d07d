//! Looking: one JSON event a line on standard output, with a state of its own, and without Devo.

use std::collections::BTreeMap;

use proofpull::clock::utc;
use time::{Duration, OffsetDateTime};

use crate::simulator::{Event, sample, wait_until};
use crate::test_env::{TestEnv, ago, array, hold};

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
