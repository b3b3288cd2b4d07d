//! Several services in one command: each has its run, and none is in the way of another.

use std::process::Command;

use crate::simulator::Fault;
use crate::test_env::{Running, TestEnv, ago, hold};

const CLICKS: &str = "tap-clicks-blocked";
const MESSAGES: &str = "tap-messages-blocked";
const VISITS: &str = "isolation-web";
const PERMITTED: &str = "tap-clicks-permitted";

fn env() -> TestEnv {
    let mut env = TestEnv::new();
    env.start_at(ago(120));
    for (service, count) in [(CLICKS, 3), (MESSAGES, 5), (PERMITTED, 7)] {
        env.add(service, ago(100), ago(60), count);
    }
    env
}

/// The services that have an end line, in their order, with what became of each.
fn ends(stderr: &str) -> Vec<(&str, &str)> {
    let lines = stderr
        .lines()
        .filter(|line| line.contains("@devo_pulling_id"));
    let words = lines.map(|line| {
        let (_, line) = line.split_once("info: ").unwrap();
        let mut words = line.split(": ");
        (words.next().unwrap(), words.next().unwrap())
    });
    words.collect()
}

#[test]
fn each_service_has_a_run_of_its_own_in_the_order_of_the_words() {
    let env = env();
    let run = env.run(MESSAGES, &[CLICKS, MESSAGES]);
    run.assert_status(0);
    let well = [(MESSAGES, "caught up"), (CLICKS, "caught up")];
    assert_eq!(ends(&run.stderr), well, "{}", run.stderr);
    assert_eq!(env.devo.count(), 8);
    for service in [MESSAGES, CLICKS] {
        env.position(service);
        let runs = env.state_dir().join(format!("{service}.runs.json"));
        assert!(runs.exists(), "{service}");
    }
    let run = env.run("tap-*ed", &["-q"]);
    run.assert_status(0);
    assert_eq!((env.devo.count(), run.stderr.as_str()), (15, ""));
}

#[test]
fn a_service_that_fails_keeps_no_other_from_its_run() {
    let env = env();
    env.tap.script(|asked, _| {
        let is_refused = asked.path.ends_with("/clicks/blocked");
        is_refused.then(|| Fault::status(403, ""))
    });
    let run = env.run(CLICKS, &[MESSAGES, PERMITTED]);
    run.assert_status(77);
    run.assert_says("tap-clicks-blocked: ");
    let ends = ends(&run.stderr);
    assert_eq!(
        ends[1..],
        [(MESSAGES, "caught up"), (PERMITTED, "caught up")]
    );
    assert_eq!(env.devo.count(), 12);
}

#[test]
fn a_service_that_another_run_has_is_left_to_it_and_the_others_are_run() {
    let env = env();
    // the simulated TAP answers nobody else while it holds a request
    env.add(VISITS, ago(100), ago(60), 5);
    let held = hold(&env.tap, 0);
    let other = env.start(CLICKS, &[]);
    held.wait();
    let run = env.run(CLICKS, &[VISITS]);
    run.assert_status(75);
    run.assert_says(&format!("pid {}", other.pid()));
    assert_eq!(ends(&run.stderr), [(VISITS, "caught up")]);
    drop(held);
    other.wait().assert_status(0);
    assert_eq!(env.devo.count(), 8);
}

#[test]
fn a_signal_ends_the_run_and_those_that_would_follow() {
    let env = env();
    let held = hold(&env.tap, 0);
    let run = env.start(CLICKS, &[MESSAGES, PERMITTED]);
    held.wait();
    run.signal("TERM");
    drop(held);
    let run = run.wait();
    run.assert_says("stopped by a signal; not run: tap-messages-blocked, tap-clicks-permitted");
    let ends = ends(&run.stderr);
    assert!(
        ends.iter().all(|(service, _)| *service == CLICKS),
        "{ends:?}"
    );
    let asked = env.tap.requests();
    assert!(
        asked
            .iter()
            .all(|asked| asked.path.ends_with("/clicks/blocked"))
    );
}

#[test]
fn what_matches_no_service_of_the_configuration_is_status_2_and_runs_nothing() {
    let mut env = env();
    let config = std::fs::read_to_string(env.write_config()).unwrap();
    let path = env.dir.path().join("tap.toml");
    let of_tap = config.split("[isolation]").next().unwrap();
    crate::test_env::write_private(&path, of_tap);
    for command in ["run", "check", "status"] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_proofpull"));
        program
            .args([command, "tap-*", "pod-*", "--config"])
            .arg(&path);
        let run = Running::start(program.env_clear()).wait();
        let said = "pod-* matches no service of the configuration";
        run.assert_error(2, &[said], "configured are tap-clicks-blocked, ");
    }
    let run = env.run("tapp-*", &[]);
    run.assert_error(2, &["no service matches tapp-*"], "--help");
    assert_eq!(env.tap.requests().len(), 0);
    // for a monitoring system, 2 would say that services are behind
    let mut program = Command::new(env!("CARGO_BIN_EXE_proofpull"));
    program
        .args(["status", "pod-*", "--max-lag", "1h", "--config"])
        .arg(&path);
    let run = Running::start(program.env_clear()).wait();
    run.assert_status(3);
    assert!(run.answer().starts_with("PROOFPULL UNKNOWN - "), "{run:?}");
    // what is wrong in the text comes first
    env.top = "nmae = \"acme\"".into();
    env.ask(&["check", "none-*"]).assert_status(2);
    let run = env.ask(&["check", "tap-*"]);
    run.assert_status(78);
    assert!(run.answer().contains("nmae"), "{run:?}");
}

#[test]
fn the_configuration_of_several_may_come_from_a_pipe() {
    let env = env();
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "cat \"$1\" | \"$0\" run \"$2\" \"$3\" --config /dev/stdin",
    ]);
    shell.arg(env!("CARGO_BIN_EXE_proofpull"));
    shell.arg(env.write_config()).args([CLICKS, MESSAGES]);
    Running::start(&mut shell).wait().assert_status(0);
    assert_eq!(env.devo.count(), 8);
}

#[test]
fn what_several_would_request_is_told_for_each() {
    let env = env();
    let run = env.run(CLICKS, &["tap-messages-*", "--dry-run"]);
    run.assert_status(0);
    let answer = run.answer();
    let heads: Vec<&str> = answer.lines().filter(|line| line.ends_with(':')).collect();
    let wanted = [CLICKS, MESSAGES, "tap-messages-delivered"].map(|name| format!("{name}:"));
    assert_eq!(heads, wanted, "{answer}");
    assert_eq!(env.tap.requests().len(), 0);
}

#[test]
fn status_and_check_take_several_and_tell_of_no_other() {
    let env = env();
    env.run("tap-clicks-*", &[]).assert_status(0);
    let status = env.ask(&["status", "tap-clicks-*", MESSAGES, "--json"]);
    status.assert_status(0);
    let services = status.json()["services"].clone();
    let names = services.as_array().unwrap().iter();
    let names: Vec<&str> = names.map(|one| one["service"].as_str().unwrap()).collect();
    assert_eq!(names, [CLICKS, PERMITTED, MESSAGES]);
    // a secret of PoD that is not there does not matter to TAP and Isolation
    std::fs::remove_file(env.dir.path().join("pod.key")).unwrap();
    env.ask(&["check", "tap-*", "isolation-*"]).assert_status(0);
    env.ask(&["check", "tap-*", "pod-audit"]).assert_status(78);
}
