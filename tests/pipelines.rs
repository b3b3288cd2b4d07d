//! The pipelines in `examples/`, run as their users run them. They need `jq`, which is not installed
//! from here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::simulator::{Event, Rng};
use crate::test_env::{Run, Running, TestEnv, ago, array, seed};

const SERVICE: &str = "tap-messages-delivered";

/// Whether `jq` is there; said where it is not.
fn has_jq() -> bool {
    let mut jq = Command::new("jq");
    let quiet = jq
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let there = quiet.status().is_ok_and(|status| status.success());
    if !there {
        println!("skipped: there is no jq");
    }
    there
}

fn pipeline(env: &TestEnv, script: &str, options: &[&str]) -> Run {
    let program = Path::new(env!("CARGO_BIN_EXE_proofpull")).parent().unwrap();
    let usual = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(format!("examples/{script}"));
    command
        .args(options)
        .env("PATH", format!("{}:{usual}", program.display()))
        .env("PROOFPULL_CONFIG", env.write_config());
    Running::start(&mut command).wait()
}

/// Puts events into TAP, and lets the program start before them.
fn world_of(service: &str, events: &[Value]) -> TestEnv {
    let mut env = TestEnv::new();
    env.start_at(ago(50));
    for event in events {
        env.tap
            .add(array(service), Event::new(ago(20), event.to_string()));
    }
    env
}

fn lines(run: &Run) -> Vec<&str> {
    std::str::from_utf8(&run.stdout).unwrap().lines().collect()
}

#[test]
fn alerts_are_one_for_each_sender() {
    if !has_jq() {
        return;
    }
    let message = |id: &str, from: Value, to: &str, time: &str| {
        json!({
            "id": id, "GUID": id, "fromAddress": from, "sender": format!("{id}@envelope.example"),
            "recipient": [to], "messageTime": time, "threatsInfoMap": [{"threat": "t", "threatID": id}],
        })
    };
    let env = world_of(
        SERVICE,
        &[
            message(
                "1",
                json!(["Bad@x.example"]),
                "a@corp.example",
                "2025-01-14T08:12:05.000Z",
            ),
            message(
                "2",
                json!(["bad@X.example"]),
                "b@corp.example",
                "2025-01-14T08:10:05.000Z",
            ),
            message(
                "3",
                json!("bad@x.example"),
                "a@corp.example",
                "2025-01-14T08:11:05.000Z",
            ),
            message("4", json!([]), "c@corp.example", "2025-01-14T09:00:00.000Z"),
            message(
                "5",
                Value::Null,
                "c@corp.example",
                "2025-01-14T09:00:00.000Z",
            ),
            json!({"odd": true}),
        ],
    );
    let run = pipeline(&env, "alerts-by-sender.sh", &[]);
    run.assert_status(0);
    let alerts = lines(&run).into_iter();
    let alerts: Vec<Value> = alerts
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let alone = |sender: &str, id: &str| {
        json!({
            "sender": sender, "events": 1, "first": id, "last": id,
            "recipients": ["c@corp.example"], "threats": ["t"],
        })
    };
    let nine = "2025-01-14T09:00:00.000Z";
    assert_eq!(
        alerts,
        [
            json!({
                "sender": "bad@x.example", "events": 3,
                "first": "2025-01-14T08:10:05.000Z", "last": "2025-01-14T08:12:05.000Z",
                "recipients": ["a@corp.example", "b@corp.example"], "threats": ["t"],
            }),
            json!({
                "sender": "(unknown)", "events": 1, "first": "", "last": "",
                "recipients": [], "threats": [],
            }),
            alone("4@envelope.example", nine),
            alone("5@envelope.example", nine),
        ]
    );
    // what was read is known
    let run = pipeline(&env, "alerts-by-sender.sh", &[]);
    assert_eq!(lines(run.assert_status(0)), [""; 0]);
}

#[test]
fn alerts_count_every_event_of_a_real_service() {
    if !has_jq() {
        return;
    }
    let mut env = TestEnv::new();
    env.fill(&mut Rng::new(seed()), 2, 30);
    env.tap.release_late();
    for service in ["tap-clicks-permitted", SERVICE] {
        let run = pipeline(&env, "alerts-by-sender.sh", &[service]);
        run.assert_status(0);
        let counts = lines(&run).into_iter().map(|line| {
            let alert: Value = serde_json::from_str(line).unwrap();
            let sender = alert["sender"].as_str().unwrap().to_owned();
            (sender, alert["events"].as_u64().unwrap())
        });
        let counts: Vec<(String, u64)> = counts.collect();
        let senders: BTreeMap<_, _> = counts.iter().cloned().collect();
        assert_eq!(senders.len(), counts.len(), "a sender stands twice");
        let all: usize = env.tap.serials(array(service)).values().sum();
        assert_eq!(senders.values().sum::<u64>(), all as u64);
    }
}

#[test]
fn recipients_of_delivered_threats_are_listed_unless_they_were_cleared() {
    if !has_jq() {
        return;
    }
    let message = |id: &str, to: &str, threats: &[(&str, &str)]| {
        let threat = |(id, status): &(&str, &str)| json!({"threatID": id, "threatStatus": status});
        let threats: Vec<Value> = threats.iter().map(threat).collect();
        json!({"id": format!("{id}{threats:?}"), "GUID": id, "recipient": [to], "threatsInfoMap": threats})
    };
    let env = world_of(
        SERVICE,
        &[
            message("1", "Dana@corp.example", &[("t", "active")]),
            message("2", "dana@corp.example", &[("u", "active")]),
            message("3", "cleared@corp.example", &[("t", "cleared")]),
            message("4", "later@corp.example", &[("t", "active")]),
            message("4", "later@corp.example", &[("t", "cleared")]),
            message(
                "5",
                "both@corp.example",
                &[("t", "falsePositive"), ("u", "active")],
            ),
            message("6", "none@corp.example", &[]),
            json!({"odd": true}),
        ],
    );
    let run = pipeline(&env, "recipients-of-delivered-threats.sh", &[]);
    run.assert_status(0);
    let listed: BTreeSet<&str> = lines(&run).into_iter().collect();
    assert_eq!(lines(&run).len(), listed.len());
    assert_eq!(
        listed,
        BTreeSet::from(["both@corp.example", "dana@corp.example"])
    );
}

#[test]
fn each_pipeline_gets_what_another_has_read() {
    if !has_jq() {
        return;
    }
    let message = json!({
        "id": "1", "GUID": "1", "fromAddress": ["bad@x.example"], "recipient": ["dana@corp.example"],
        "threatsInfoMap": [{"threatID": "t", "threatStatus": "active"}],
    });
    let env = world_of(SERVICE, &[message]);
    for (script, said) in [
        ("alerts-by-sender.sh", "bad@x.example"),
        ("recipients-of-delivered-threats.sh", "dana@corp.example"),
    ] {
        let run = pipeline(&env, script, &[]);
        assert!(
            lines(run.assert_status(0)).concat().contains(said),
            "{script}"
        );
    }
}

#[test]
fn a_pipeline_fails_where_the_program_does() {
    if !has_jq() {
        return;
    }
    let mut env = world_of(SERVICE, &[]);
    env.tap_table.clear();
    for script in ["alerts-by-sender.sh", "recipients-of-delivered-threats.sh"] {
        pipeline(&env, script, &[]).assert_error(78, &["[tap]"], "principal");
    }
}
