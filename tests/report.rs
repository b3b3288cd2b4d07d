//! What a run tells Devo of itself, and that nothing depends on it.

use serde_json::Value;

use crate::simulator::{Behaviour, Fault, Line, tag_of};
use crate::test_env::{TestEnv, ago, array};

const SERVICE: &str = "tap-messages-delivered";
const TAG: &str = "my.app.proofpull.run";

/// An hour with ten events, and reports under the usual tag.
fn env() -> TestEnv {
    let mut env = TestEnv::new();
    env.top = "name = \"acme\"\n".into();
    env.devo_table += "report = {}\nfields = { site = \"north\" }\n";
    env.start_at(ago(50));
    env.add(SERVICE, ago(50), ago(3), 10);
    env
}

/// The reports among the lines that have come; each names its run. They come after the events.
fn reports(env: &TestEnv) -> Vec<Value> {
    let lines = env.devo.take_lines();
    let first = lines.iter().position(|line| tag_of(line) == TAG);
    let (_, reports) = lines.split_at(first.unwrap_or(lines.len()));
    let read = |line: &Vec<u8>| {
        assert_eq!(tag_of(line), TAG, "an event after a report");
        let report: Value = serde_json::from_slice(Line::of(line).json).unwrap();
        let whose = ["name", "service", "site"].map(|key| report[key].as_str().unwrap());
        assert_eq!(whose, ["acme", SERVICE, "north"]);
        assert!(report["@devo_pulling_id"].is_string(), "{report}");
        report
    };
    reports.iter().map(read).collect()
}

#[test]
fn a_run_delivers_its_end_line_after_its_events() {
    let env = env();
    let run = env.run(SERVICE, &[]);
    run.assert_status(0);
    assert_eq!(env.devo.count(), 11);
    let [end] = &reports(&env)[..] else {
        panic!("{}", run.stderr)
    };
    assert_eq!(end["level"], "info");
    let summary = &end["summary"];
    assert_eq!(
        (&summary["delivered"], &summary["outcome"]),
        (&10.into(), &"caught up".into())
    );
    let most = summary["unconfirmed_bytes_at_most"].as_u64().unwrap();
    assert_eq!(Some(most), summary["bytes"].as_u64());
    assert!(most > 0);
    // a run without an event, too
    env.run(SERVICE, &[]).assert_status(0);
    assert_eq!(reports(&env).len(), 1);
    // where events go elsewhere, so does nothing to Devo
    env.run(SERVICE, &["--stdout"]).assert_status(0);
    env.run(SERVICE, &["--dry-run"]).assert_status(0);
    assert!(reports(&env).is_empty());
}

#[test]
fn warnings_and_the_error_of_a_run_are_reported() {
    let env = env();
    env.tap.set_clock_offset(time::Duration::hours(3));
    env.tap
        .script(|_, _| Some(Fault::status(403, "no licence")));
    env.run(SERVICE, &[]).assert_status(77);
    let [warning, error, end] = &reports(&env)[..] else {
        panic!("not three")
    };
    assert_eq!(warning["level"], "warning");
    assert_eq!(error["error"]["status"], 77);
    assert!(error["message"].as_str().unwrap().contains("no licence"));
    assert_eq!(end["summary"]["outcome"], "failed");
    // those of one run are not told by the next
    env.tap.no_script();
    env.tap.set_clock_offset(time::Duration::ZERO);
    env.run(SERVICE, &[]).assert_status(0);
    assert_eq!(reports(&env).len(), 1);
}

#[test]
fn a_report_that_does_not_arrive_changes_nothing() {
    let mut env = env();
    env.http_table = "timeout = \"2s\"\n".into();
    for behaviour in [
        Behaviour::Refuse,
        Behaviour::ResetAfter(0),
        Behaviour::NeverClose,
        Behaviour::CutHandshake,
    ] {
        let first = env.devo.connections().len();
        // the proof, and the events
        let bad = behaviour.clone();
        env.devo.behave(move |number| match number < first + 2 {
            true => Behaviour::Normal,
            false => bad.clone(),
        });
        env.add(SERVICE, ago(2), ago(2), 1);
        let run = env.run(SERVICE, &[]);
        run.assert_status(0)
            .assert_says("the report of this run is not delivered");
    }
    assert!(env.tap.serials(array(SERVICE)).len() >= 10);
}

#[test]
fn events_that_did_not_arrive_are_not_followed_by_a_report() {
    let mut env = env();
    env.http_table = "timeout = \"1s\"\n".into();
    env.devo.behave(|number| match number {
        0 => Behaviour::Normal,
        _ => Behaviour::NeverClose,
    });
    env.run(SERVICE, &[]).assert_status(74);
    env.settled();
    assert!(reports(&env).is_empty());
    env.devo.behave(|_| Behaviour::Refuse);
    let run = env.run(SERVICE, &[]);
    run.assert_status(69)
        .assert_never_says("the report of this run");
}
