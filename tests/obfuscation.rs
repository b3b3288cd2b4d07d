//! What may leave the house: rules of the configuration, end to end; what they set aside, what they
//! count, and what is said of those that match nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use proofpull::clock::utc;
use serde_json::{Value, json};

use crate::simulator::{Behaviour, Event, Fault};
use crate::test_env::{Mounted, Run, TestEnv, ago, array, write_private};

const SERVICE: &str = "tap-messages-blocked";
const OTHER: &str = "tap-clicks-permitted";
const KEY: &str = "0123456789abcdef0123456789abcdef";
const DANA: &str = r#"{"id":"1", "user" : "Dana@corp.example","score":1.0,"é":"\u00e9"}"#;
const BROKEN: &str = r#"{"id":"2","user":"dana@corp.example",}"#;

/// A world without `@devo_pulling_id`, with these events of the service.
fn env(events: &[&str]) -> TestEnv {
    let mut env = TestEnv::new();
    env.start_at(ago(50));
    env.devo_table += "pulling_id = false\n";
    add(&env, SERVICE, events);
    env
}

fn add(env: &TestEnv, service: &str, events: &[&str]) {
    for event in events {
        env.tap.add(array(service), Event::new(ago(20), *event));
    }
}

/// Adds a rule: its table and its keys.
fn rule(env: &mut TestEnv, service: &str, table: &str, keys: &str) {
    env.more_tables += &format!("[[services.{service}.{table}]]\n{keys}\n");
}

/// Adds the key that makes pseudonyms.
fn set_key(env: &mut TestEnv, key: &str) {
    let path = env.dir.path().join("obfuscation.key");
    write_private(&path, key);
    env.more_tables += "[obfuscation]\nkey = { file = \"obfuscation.key\" }\n";
}

/// What has arrived, in the order of the texts.
fn arrived(env: &TestEnv) -> Vec<String> {
    let text = |event| String::from_utf8(event).unwrap();
    let mut events: Vec<String> = env.devo.events().into_iter().map(text).collect();
    events.sort();
    events
}

fn quarantine(env: &TestEnv, name: &str) -> PathBuf {
    env.state_dir().join(format!("{name}.quarantine.jsonl"))
}

/// The events set aside, each as its text.
fn quarantined(env: &TestEnv, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(quarantine(env, name)).unwrap_or_default();
    let event = |line| serde_json::from_str::<Value>(line).unwrap()["event"].take();
    text.lines()
        .map(|line| event(line).as_str().unwrap().to_owned())
        .collect()
}

/// The end line as JSON.
fn summary(run: &Run) -> Value {
    let lines = run
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut summaries = lines.filter_map(|mut line| line.get_mut("summary").map(Value::take));
    summaries.next().expect("an end line")
}

fn pseudonym(key: &str, text: &str) -> String {
    proofpull::digest::Pseudonyms::new(key.as_bytes())
        .unwrap()
        .of(text)
}

#[test]
fn the_same_value_has_the_same_pseudonym_in_every_run_and_service_and_another_with_another_key() {
    let mut env = env(&[DANA]);
    add(&env, OTHER, &[r#"{"id":"3","user":"dana@corp.example"}"#]);
    set_key(&mut env, &format!("{KEY}\n"));
    for service in [SERVICE, OTHER] {
        rule(&mut env, service, "obfuscate", "path = 'user'\nhash = true");
    }
    let one = pseudonym(KEY, "dana@corp.example");
    let expected = DANA.replace("Dana@corp.example", &one);
    env.run(SERVICE, &["-vv"])
        .assert_status(0)
        .assert_never_says(KEY);
    assert_eq!(arrived(&env), [expected.as_str()]);
    // looking shows what would leave
    let look = env.run(SERVICE, &["--stdout"]);
    assert_eq!(
        String::from_utf8_lossy(&look.stdout),
        format!("{expected}\n")
    );
    env.run(OTHER, &[]).assert_status(0);
    assert_eq!(arrived(&env)[1], format!(r#"{{"id":"3","user":"{one}"}}"#));
    add(&env, SERVICE, &[r#"{"id":"4","user":"DANA@CORP.EXAMPLE"}"#]);
    env.run(SERVICE, &[]).assert_status(0);
    assert_eq!(arrived(&env)[2], format!(r#"{{"id":"4","user":"{one}"}}"#));

    let key = env.dir.path().join("obfuscation.key");
    write_private(&key, "another key of some length");
    add(&env, SERVICE, &[r#"{"id":"5","user":"dana@corp.example"}"#]);
    env.run(SERVICE, &[]).assert_status(0);
    let other = pseudonym("another key of some length", "dana@corp.example");
    assert_eq!(
        arrived(&env)[3],
        format!(r#"{{"id":"5","user":"{other}"}}"#)
    );
    assert_ne!(one, other);
}

#[test]
fn the_key_is_a_secret_like_any_other_and_is_asked_for_only_where_it_is_used() {
    let mut env = env(&[DANA]);
    set_key(&mut env, KEY);
    rule(&mut env, SERVICE, "obfuscate", "path = 'user'\nhash = true");
    let key = env.dir.path().join("obfuscation.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let run = env.run(SERVICE, &[]);
    run.assert_error(
        77,
        &["[obfuscation] key", "others can read it"],
        "chmod 640",
    );
    std::fs::remove_file(&key).unwrap();
    let run = env.run(SERVICE, &[]);
    run.assert_error(78, &["reading [obfuscation] key"], "create it");
    assert_eq!((env.tap.requests().len(), env.devo.count()), (0, 0));
    env.run(OTHER, &[]).assert_status(0);
    // counted in characters, not in bytes
    for (text, is_short) in [
        ("short", true),
        (&"é".repeat(15), true),
        (&"é".repeat(16), false),
    ] {
        write_private(&key, text);
        let run = env.run(SERVICE, &[]);
        run.assert_status(0);
        let said = run.stderr.contains("openssl rand -hex 32");
        assert_eq!(said, is_short, "{text}: {}", run.stderr);
    }
}

#[test]
fn an_event_that_no_rule_is_about_arrives_byte_for_byte() {
    let event =
        r#"{"z":1.0,"a":1E400,"A":-0,"é":"\u00e9 é \ud83d\ude00 \/", "x" : [ ] ,"lone":"\ud800"}"#;
    let mut env = env(&[event]);
    rule(&mut env, SERVICE, "obfuscate", "path = 'user'");
    rule(&mut env, SERVICE, "drop", "path = 'user'");
    env.run(SERVICE, &[]).assert_status(0);
    assert_eq!(arrived(&env), [event]);
}

#[test]
fn the_rules_of_one_service_are_not_those_of_another() {
    let mut env = env(&[DANA]);
    rule(&mut env, OTHER, "obfuscate", "path = 'user'");
    env.run(SERVICE, &[])
        .assert_status(0)
        .assert_never_says("never matched");
    assert_eq!(arrived(&env), [DANA]);
}

#[test]
fn what_is_appended_is_no_part_of_the_event() {
    let mut env = env(&[r#"{"id":"1"}"#]);
    env.devo_table += "fields = { user = \"constant\" }\n";
    rule(&mut env, SERVICE, "obfuscate", "path = 'user'");
    let run = env.run(SERVICE, &[]);
    run.assert_status(0)
        .assert_says("never matched: obfuscate user (1 event)");
    assert_eq!(arrived(&env), [r#"{"id":"1","user":"constant"}"#]);
}

#[test]
fn what_cannot_be_read_is_set_aside_counted_and_said_once() {
    let mut env = env(&[DANA, BROKEN]);
    rule(&mut env, SERVICE, "obfuscate", "path = 'user'");
    let run = env.run(SERVICE, &["--log-format", "json"]);
    let path = quarantine(&env, SERVICE);
    run.assert_status(3)
        .assert_says(&path.display().to_string());
    assert_eq!(summary(&run)["quarantined"], 1);
    assert_eq!(summary(&run)["delivered"], 1);
    assert_eq!(arrived(&env).len(), 1);
    assert_eq!(quarantined(&env, SERVICE), [BROKEN]);
    let about = std::fs::metadata(&path).unwrap();
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
    assert_eq!(
        env.state(SERVICE)["quarantine"],
        json!({"length": about.len(), "unreported": 0})
    );
    // it is known from now on
    let run = env.run(SERVICE, &[]);
    assert_eq!(run.assert_status(0).count("duplicates"), 2);
    assert_eq!(quarantined(&env, SERVICE), [BROKEN]);
    add(&env, SERVICE, &[r#"{"id":"9",,}"#]);
    let run = env.run(SERVICE, &[]);
    run.assert_status(3)
        .assert_says("1 quarantined, ")
        .assert_says("warning: 1 event ");
    assert_eq!(quarantined(&env, SERVICE), [BROKEN, r#"{"id":"9",,}"#]);
    // those who look and those who go back have files of their own
    env.run(SERVICE, &["--stdout"]).assert_status(3);
    let back = ["--start-time", "40m", "--end-time", "10m"];
    env.run(SERVICE, &back).assert_status(3);
    for name in ["stdout", "backfill"] {
        assert_eq!(
            quarantined(&env, &format!("{SERVICE}.{name}")).len(),
            2,
            "{name}"
        );
    }
    assert_eq!(quarantined(&env, SERVICE).len(), 2);
}

#[test]
fn what_a_failing_run_set_aside_is_said_by_the_next_that_does_not_fail() {
    let mut env = TestEnv::new();
    let start = ago(110);
    env.start_at(start);
    env.tap.add(array(SERVICE), Event::new(ago(100), BROKEN));
    rule(&mut env, SERVICE, "obfuscate", "path = 'user'");
    let broken = || Some(Fault::Body(b"<html>".to_vec()));
    env.tap
        .script(move |_, number| if number > 0 { broken() } else { None });
    env.run(SERVICE, &[]).assert_status(65);
    assert_eq!(env.state(SERVICE)["quarantine"]["unreported"], 1);
    assert!(env.position(SERVICE) > utc(start));
    env.tap.no_script();
    let run = env.run(SERVICE, &[]);
    run.assert_status(3).assert_says("warning: 1 event ");
    env.run(SERVICE, &[]).assert_status(0);
    assert_eq!(quarantined(&env, SERVICE), [BROKEN]);
}

#[test]
fn any_rule_sets_aside_what_cannot_be_read_and_without_rules_it_is_delivered() {
    for table in ["", "obfuscate", "keep", "drop"] {
        let mut env = env(&[BROKEN]);
        if !table.is_empty() {
            rule(&mut env, SERVICE, table, "path = 'x'");
        }
        let run = env.run(SERVICE, &[]);
        run.assert_status(if table.is_empty() { 0 } else { 3 });
        assert_eq!(arrived(&env).is_empty(), !table.is_empty(), "{table}");
        assert_eq!(
            quarantine(&env, SERVICE).exists(),
            !table.is_empty(),
            "{table}"
        );
    }
}

#[test]
fn what_was_set_aside_without_being_committed_is_set_aside_once() {
    let mut env = env(&[DANA, BROKEN]);
    rule(&mut env, SERVICE, "obfuscate", "path = 'user'");
    // the proof of each attempt is confirmed, the events are not
    env.devo.behave(|number| match number {
        0 | 2 => Behaviour::Normal,
        _ => Behaviour::ResetAfter(0),
    });
    env.run(SERVICE, &[]).assert_status(74);
    assert_eq!(env.state(SERVICE)["quarantine"], Value::Null);
    assert_eq!(quarantined(&env, SERVICE), [BROKEN]);
    env.devo.behave(|_| Behaviour::Normal);
    env.run(SERVICE, &[]).assert_status(3);
    assert_eq!(quarantined(&env, SERVICE), [BROKEN]);
    assert_eq!(arrived(&env).len(), 1);

    // half a line that a killed run left behind
    let path = quarantine(&env, SERVICE);
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&good[..], b"{\"time\":\"20"].concat()).unwrap();
    env.run(SERVICE, &[]).assert_status(0);
    assert_eq!(std::fs::read(&path).unwrap(), good);
}

#[test]
fn the_file_of_events_set_aside_may_be_taken_away_and_outlives_its_state() {
    let mut env = env(&[BROKEN]);
    rule(&mut env, SERVICE, "obfuscate", "path = 'user'");
    env.run(SERVICE, &[]).assert_status(3);
    std::fs::remove_file(quarantine(&env, SERVICE)).unwrap();
    env.run(SERVICE, &[]).assert_status(0);
    add(&env, SERVICE, &[r#"{"id":"9",,}"#]);
    env.run(SERVICE, &[]).assert_status(3);
    assert_eq!(quarantined(&env, SERVICE), [r#"{"id":"9",,}"#]);

    std::fs::remove_file(env.state_dir().join(format!("{SERVICE}.json"))).unwrap();
    env.run(SERVICE, &["--start-over"]).assert_status(3);
    assert_eq!(quarantined(&env, SERVICE).len(), 3);
    // starting over keeps it too
    env.service_table.clear();
    env.start_at(ago(45));
    env.run(SERVICE, &[])
        .assert_status(3)
        .assert_says("start_time was changed");
    assert_eq!(quarantined(&env, SERVICE).len(), 5);
}

#[test]
fn where_nothing_can_be_set_aside_nothing_is_asked_for() {
    let mut env = env(&[BROKEN]);
    rule(&mut env, SERVICE, "obfuscate", "path = 'user'");
    let path = quarantine(&env, SERVICE);
    std::fs::create_dir_all(&path).unwrap();
    env.run(SERVICE, &[])
        .assert_error(73, &["quarantine.jsonl", "a folder"], "space");
    assert_eq!(env.tap.requests().len(), 0);
    std::fs::remove_dir(&path).unwrap();
    env.run(SERVICE, &[]).assert_status(3);
    assert_eq!(quarantined(&env, SERVICE), [BROKEN]);
}

#[test]
fn a_full_disk_loses_nothing_that_was_to_be_set_aside() {
    let large = format!(r#"{{"id":"{}",}}"#, "x".repeat(20_000));
    let mut env = env(&[BROKEN, &large]);
    rule(&mut env, SERVICE, "obfuscate", "path = 'user'");
    let Some(disk) = Mounted::small(&env.state_dir()) else {
        return;
    };
    let filling = disk.fill(4);
    env.run(SERVICE, &[])
        .assert_error(73, &["No space left"], "space");
    std::fs::remove_file(filling).unwrap();
    env.run(SERVICE, &[]).assert_status(3);
    let mut events = quarantined(&env, SERVICE);
    events.sort_by_key(String::len);
    assert_eq!(events, [BROKEN, &large]);
}

#[test]
fn filters_are_counted_and_what_they_drop_is_known() {
    let events = [
        r#"{"id":"1","class":"phish","to":["a@x"]}"#,
        r#"{"id":"2","class":"phish","to":["a@x","b@test.example"]}"#,
        r#"{"id":"3","class":"malware"}"#,
        r#"{"id":"4","class":"spam"}"#,
        r#"{"id":"5"}"#,
    ];
    let mut env = env(&events);
    rule(
        &mut env,
        SERVICE,
        "keep",
        "path = 'class'\npattern = '^phish$'",
    );
    rule(
        &mut env,
        SERVICE,
        "keep",
        "path = ['class']\npattern = 'malware'",
    );
    rule(
        &mut env,
        SERVICE,
        "drop",
        "path = 'to.*'\npattern = '@test\\.'",
    );
    rule(
        &mut env,
        SERVICE,
        "obfuscate",
        "path = 'class'\nreplace = 'x'",
    );
    let run = env.run(SERVICE, &[]);
    run.assert_status(0).assert_says("3 filtered out, ");
    assert_eq!(run.count("delivered"), 2);
    let shown = |event: &str| event.replace("phish", "x").replace("malware", "x");
    assert_eq!(arrived(&env), [shown(events[0]), shown(events[2])]);
    let run = env.run(SERVICE, &["--log-format", "json"]);
    let summary = summary(run.assert_status(0));
    assert_eq!(
        (&summary["duplicates"], &summary["filtered"]),
        (&json!(5), &json!(0))
    );
    let look = env.run(SERVICE, &["--stdout"]);
    assert_eq!(look.stdout.iter().filter(|&&byte| byte == b'\n').count(), 2);
}

#[test]
fn a_run_in_which_everything_is_dropped_goes_on() {
    let mut env = TestEnv::new();
    env.start_at(ago(170));
    env.add(SERVICE, ago(170), ago(3), 30);
    rule(&mut env, SERVICE, "drop", "path = 'id'");
    let before = ago(5);
    let run = env.run(SERVICE, &[]);
    run.assert_status(0)
        .assert_says("caught up: 30 filtered out, ");
    assert!(env.position(SERVICE) > utc(before));
    assert_eq!(env.run(SERVICE, &[]).assert_status(0).count("delivered"), 0);
    assert_eq!(env.devo.count(), 0);
}

#[test]
fn a_rule_that_never_matched_is_named_until_it_does() {
    let mut env = env(&[]);
    rule(&mut env, SERVICE, "obfuscate", "path = 'threats.*.user'");
    rule(
        &mut env,
        SERVICE,
        "obfuscate",
        "path = 'user'\npattern = '@secret'",
    );
    let both = "never matched: obfuscate threats.*.user (0 events), obfuscate user (with its pattern) (0 events), ";
    // there were no events yet
    for _ in 0..2 {
        let run = env.run(SERVICE, &[]);
        run.assert_status(0)
            .assert_says(both)
            .assert_never_says("warning");
    }
    add(&env, SERVICE, &[DANA]);
    let run = env.run(SERVICE, &[]);
    run.assert_says(&both.replace("0 events", "1 event"));
    run.assert_says("warning: obfuscate threats.*.user has matched nothing in 1 event:");
    run.assert_never_says("secret");
    // the warning is for those who do not read summaries, and comes once
    add(&env, SERVICE, &[r#"{"id":"2","user":"x@secret"}"#]);
    let run = env.run(SERVICE, &["--log-format", "json"]);
    run.assert_never_says("warning");
    assert_eq!(
        summary(&run)["never_matched"],
        json!(["obfuscate threats.*.user (2 events)"])
    );
    add(&env, SERVICE, &[r#"{"id":"3","threats":[{"user":null}]}"#]);
    env.run(SERVICE, &[]).assert_never_says("never matched");
    env.run(SERVICE, &[]).assert_never_says("never matched");
    let state = env.state(SERVICE)["rules"].to_string();
    assert!(
        !state.contains("user") && !state.contains("secret"),
        "{state}"
    );

    // another pattern is another rule; to hide the same otherwise is not
    env.more_tables = env.more_tables.replace("@secret", "@hidden");
    env.more_tables = env.more_tables.replace(".user'", ".user'\nreplace = 'x'");
    let run = env.run(SERVICE, &[]);
    run.assert_says("never matched: obfuscate user (with its pattern) (0 events), ");
    // those who look have a state of their own
    let run = env.run(SERVICE, &["--stdout"]);
    run.assert_says("never matched: obfuscate user (with its pattern) (3 events), ");
    env.more_tables.clear();
    env.run(SERVICE, &[]).assert_never_says("never matched");
    assert_eq!(env.state(SERVICE)["rules"], Value::Null);
}

#[test]
fn what_was_not_confirmed_has_matched_nothing() {
    let mut env = env(&[DANA]);
    rule(&mut env, SERVICE, "obfuscate", "path = 'user'");
    env.devo.behave(|number| match number {
        0 => Behaviour::Normal,
        _ => Behaviour::ResetAfter(0),
    });
    env.run(SERVICE, &[]).assert_status(74);
    assert_eq!(env.state(SERVICE)["rules"], Value::Null);
    env.devo.behave(|_| Behaviour::Normal);
    env.run(SERVICE, &[])
        .assert_status(0)
        .assert_never_says("never matched");
    assert_eq!(env.state(SERVICE)["rules"][0]["matched"], true);
}
