//! Looking: one JSON event a line on standard output, with a state of its own, and without Devo.

use std::collections::BTreeMap;
use std::process::Command;

use proofpull::clock::utc;
use time::{Duration, OffsetDateTime};

use crate::simulator::{Event, sample, wait_until};
use crate::test_env::{Running, TestEnv, ago, array, hold};

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
fn each_consumer_gets_every_event_and_has_a_state_of_its_own() {
    let (env, start) = env(6);
    let all = env.tap.serials(array(SERVICE));
    let words = |consumer: &[&str], more: &[&str]| {
        let run = env.run(SERVICE, &[&["--stdout"], consumer, more].concat());
        serials(&run.assert_status(0).stdout)
    };
    let start = utc(start);
    let backfill: &[&str] = &["--start-time", &start];
    let consumers: [(&[&str], &str); 4] = [
        (&[], ""),
        (&["--consumer", "alerts"], "-alerts"),
        (&["--consumer", "Archive_2"], "-Archive_2"),
        // no name is that of another file
        (&["--consumer", "backfill"], "-backfill"),
    ];
    for (consumer, name) in consumers {
        assert_eq!(words(consumer, &[]), all, "{name}");
        assert_eq!(words(consumer, backfill), all, "{name}");
        env.state(&format!("{NAME}{name}"));
        env.state(&format!("{NAME}{name}.backfill"));
        assert!(env.state_dir().join(format!("{NAME}{name}.lock")).exists());
    }
    for (consumer, name) in consumers {
        assert_eq!(words(consumer, &[]), BTreeMap::new(), "{name}");
    }
    let status: serde_json::Value =
        serde_json::from_str(&env.ask(&["status", SERVICE, "--json"]).answer()).unwrap();
    let kinds = status["services"].as_array().unwrap().iter();
    let kinds = kinds.filter(|one| one["sink"] == "stdout").map(|one| {
        assert_eq!(one["runs"]["last"]["status"], 0);
        (
            one["consumer"].as_str(),
            one["is_backfill"].as_bool().unwrap(),
        )
    });
    let names = [None, Some("Archive_2"), Some("alerts"), Some("backfill")];
    let wanted = names.map(|name| [(name, false), (name, true)]);
    assert_eq!(kinds.collect::<Vec<_>>(), wanted.concat());
    let said = env.ask(&["status", SERVICE]).answer();
    for title in [
        "(stdout)",
        "(stdout, consumer alerts)",
        "(backfill to stdout, consumer alerts)",
    ] {
        assert!(said.contains(&format!("{SERVICE} {title}  ")), "{said}");
    }
}

#[test]
fn a_consumer_needs_a_name_that_fits_into_a_file_name_and_standard_output() {
    let (env, _) = env(1);
    for name in ["", "a/b", "..", "a b", "é", &"x".repeat(65)] {
        let run = env.run(SERVICE, &["--stdout", "--consumer", name]);
        assert_eq!(run.status, Some(2), "{name}");
        assert!(run.stderr.contains("1 to 64 letters"), "{}", run.stderr);
    }
    let run = env.run(SERVICE, &["--consumer", "alerts"]);
    assert_eq!(run.status, Some(2));
    assert!(run.stderr.contains("--stdout"), "{}", run.stderr);
}

/// The real program, with its standard output as a shell would have it.
#[test]
fn a_closed_standard_output_is_refused_before_anything_is_read() {
    let redirected = |env: &TestEnv, redirection: &str| {
        let usual = env.command(SERVICE);
        let mut shell = Command::new("sh");
        let script = format!("exec \"$@\" --stdout {redirection}");
        shell.args(["-c", &script, "sh"]);
        shell.arg(usual.get_program()).args(usual.get_args());
        shell.env_clear().envs(
            usual
                .get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        );
        Running::start(&mut shell).wait()
    };
    for closed in [
        ">&-",
        ">&- <&-",
        ">&- <&- 3>&-",
        "1</dev/null",
        "1<>/dev/null",
    ] {
        let (env, _) = env(3);
        let all = env.tap.serials(array(SERVICE));
        let run = redirected(&env, closed);
        run.assert_error(74, &["standard output is closed"], ">/dev/null");
        assert!(env.tap.requests().is_empty(), "{closed}");
        let next = env.run(SERVICE, &["--stdout"]);
        assert_eq!(serials(&next.assert_status(0).stdout), all, "{closed}");
    }
    let (env, _) = env(3);
    let all = env.tap.serials(array(SERVICE));
    let file = env.dir.path().join("events");
    let to_file = format!("--consumer file >>'{}'", file.display());
    redirected(&env, &to_file).assert_status(0);
    assert_eq!(serials(&std::fs::read(&file).unwrap()), all);
    let pipe = redirected(&env, "--consumer pipe");
    assert_eq!(serials(&pipe.assert_status(0).stdout), all);
    let nowhere = redirected(&env, "--consumer nowhere >/dev/null");
    assert_eq!(nowhere.assert_status(0).count("delivered"), 9);
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
