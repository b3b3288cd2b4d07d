//! What may leave the house: rules of the configuration, end to end; what they set aside, what they
//! count, and what is said of those that match nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use proofpull::window::utc;
use serde_json::{Value, json};

use crate::simulator::{Behaviour, Event, Fault};
use crate::world::{Mounted, Run, World, ago, array, write_private};

const SERVICE: &str = "tap-messages-blocked";
const OTHER: &str = "tap-clicks-permitted";
const KEY: &str = "0123456789abcdef0123456789abcdef";
const DANA: &str = r#"{"id":"1", "user" : "Dana@corp.example","score":1.0,"é":"\u00e9"}"#;
const BROKEN: &str = r#"{"id":"2","user":"dana@corp.example",}"#;

/// A world without `@devo_pulling_id`, with these events of the service.
fn world(events: &[&str]) -> World {
    let mut world = World::new();
    world.start_at(ago(50));
    world.devo_table += "pulling_id = false\n";
    add(&world, SERVICE, events);
    world
}

fn add(world: &World, service: &str, events: &[&str]) {
    for event in events {
        world.tap.add(array(service), Event::new(ago(20), *event));
    }
}

/// Adds a rule: its table and its keys.
fn rule(world: &mut World, service: &str, table: &str, keys: &str) {
    world.more_tables += &format!("[[services.{service}.{table}]]\n{keys}\n");
}

/// Adds the key that makes pseudonyms.
fn set_key(world: &mut World, key: &str) {
    let path = world.dir.path().join("obfuscation.key");
    write_private(&path, key);
    world.more_tables += "[obfuscation]\nkey = { file = \"obfuscation.key\" }\n";
}

/// What has arrived, in the order of the texts.
fn arrived(world: &World) -> Vec<String> {
    let text = |event| String::from_utf8(event).unwrap();
    let mut events: Vec<String> = world.devo.events().into_iter().map(text).collect();
    events.sort();
    events
}

fn aside(world: &World, name: &str) -> PathBuf {
    world.state_dir().join(format!("{name}.aside.jsonl"))
}

/// The events set aside, each as its text.
fn set_aside(world: &World, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(aside(world, name)).unwrap_or_default();
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
    let mut world = world(&[DANA]);
    add(&world, OTHER, &[r#"{"id":"3","user":"dana@corp.example"}"#]);
    set_key(&mut world, &format!("{KEY}\n"));
    for service in [SERVICE, OTHER] {
        rule(
            &mut world,
            service,
            "obfuscate",
            "path = 'user'\nhash = true",
        );
    }
    let one = pseudonym(KEY, "dana@corp.example");
    let expected = DANA.replace("Dana@corp.example", &one);
    world
        .run(SERVICE, &["-vv"])
        .assert_status(0)
        .assert_never_says(KEY);
    assert_eq!(arrived(&world), [expected.as_str()]);
    // looking shows what would leave
    let look = world.run(SERVICE, &["--stdout"]);
    assert_eq!(
        String::from_utf8_lossy(&look.stdout),
        format!("{expected}\n")
    );
    world.run(OTHER, &[]).assert_status(0);
    assert_eq!(
        arrived(&world)[1],
        format!(r#"{{"id":"3","user":"{one}"}}"#)
    );
    add(
        &world,
        SERVICE,
        &[r#"{"id":"4","user":"DANA@CORP.EXAMPLE"}"#],
    );
    world.run(SERVICE, &[]).assert_status(0);
    assert_eq!(
        arrived(&world)[2],
        format!(r#"{{"id":"4","user":"{one}"}}"#)
    );

    let key = world.dir.path().join("obfuscation.key");
    write_private(&key, "another key of some length");
    add(
        &world,
        SERVICE,
        &[r#"{"id":"5","user":"dana@corp.example"}"#],
    );
    world.run(SERVICE, &[]).assert_status(0);
    let other = pseudonym("another key of some length", "dana@corp.example");
    assert_eq!(
        arrived(&world)[3],
        format!(r#"{{"id":"5","user":"{other}"}}"#)
    );
    assert_ne!(one, other);
}

#[test]
fn the_key_is_a_secret_like_any_other_and_is_asked_for_only_where_it_is_used() {
    let mut world = world(&[DANA]);
    set_key(&mut world, KEY);
    rule(
        &mut world,
        SERVICE,
        "obfuscate",
        "path = 'user'\nhash = true",
    );
    let key = world.dir.path().join("obfuscation.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let run = world.run(SERVICE, &[]);
    run.assert_error(
        77,
        &["the key of [obfuscation]", "others can read it"],
        "chmod 640",
    );
    std::fs::remove_file(&key).unwrap();
    let run = world.run(SERVICE, &[]);
    run.assert_error(78, &["reading the key of [obfuscation]"], "create it");
    assert_eq!((world.tap.requests().len(), world.devo.count()), (0, 0));
    world.run(OTHER, &[]).assert_status(0);
    write_private(&key, "short");
    world
        .run(SERVICE, &[])
        .assert_status(0)
        .assert_says("openssl rand -hex 32");
}

#[test]
fn an_event_that_no_rule_is_about_arrives_byte_for_byte() {
    let event =
        r#"{"z":1.0,"a":1E400,"A":-0,"é":"\u00e9 é \ud83d\ude00 \/", "x" : [ ] ,"lone":"\ud800"}"#;
    let mut world = world(&[event]);
    rule(&mut world, SERVICE, "obfuscate", "path = 'user'");
    rule(&mut world, SERVICE, "drop", "path = 'user'");
    world.run(SERVICE, &[]).assert_status(0);
    assert_eq!(arrived(&world), [event]);
}

#[test]
fn the_rules_of_one_service_are_not_those_of_another() {
    let mut world = world(&[DANA]);
    rule(&mut world, OTHER, "obfuscate", "path = 'user'");
    world
        .run(SERVICE, &[])
        .assert_status(0)
        .assert_never_says("never matched");
    assert_eq!(arrived(&world), [DANA]);
}

#[test]
fn what_is_appended_is_no_part_of_the_event() {
    let mut world = world(&[r#"{"id":"1"}"#]);
    world.devo_table += "fields = { user = \"constant\" }\n";
    rule(&mut world, SERVICE, "obfuscate", "path = 'user'");
    let run = world.run(SERVICE, &[]);
    run.assert_status(0)
        .assert_says("never matched: obfuscate user (1 events)");
    assert_eq!(arrived(&world), [r#"{"id":"1","user":"constant"}"#]);
}

#[test]
fn what_cannot_be_read_is_set_aside_counted_and_said_once() {
    let mut world = world(&[DANA, BROKEN]);
    rule(&mut world, SERVICE, "obfuscate", "path = 'user'");
    let run = world.run(SERVICE, &["--log-format", "json"]);
    let path = aside(&world, SERVICE);
    run.assert_status(3)
        .assert_says(&path.display().to_string());
    assert_eq!(summary(&run)["set_aside"], 1);
    assert_eq!(summary(&run)["delivered"], 1);
    assert_eq!(arrived(&world).len(), 1);
    assert_eq!(set_aside(&world, SERVICE), [BROKEN]);
    let about = std::fs::metadata(&path).unwrap();
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
    assert_eq!(
        world.state(SERVICE)["aside"],
        json!({"length": about.len(), "unsaid": 0})
    );
    // it is known from now on
    let run = world.run(SERVICE, &[]);
    assert_eq!(run.assert_status(0).count("duplicates"), 2);
    assert_eq!(set_aside(&world, SERVICE), [BROKEN]);
    add(&world, SERVICE, &[r#"{"id":"9",,}"#]);
    let run = world.run(SERVICE, &[]);
    run.assert_status(3)
        .assert_says("1 set aside, ")
        .assert_says("warning: 1 events");
    assert_eq!(set_aside(&world, SERVICE), [BROKEN, r#"{"id":"9",,}"#]);
    // those who look and those who go back have files of their own
    world.run(SERVICE, &["--stdout"]).assert_status(3);
    let back = ["--start-time", "40m", "--end-time", "10m"];
    world.run(SERVICE, &back).assert_status(3);
    for name in ["stdout", "backfill"] {
        assert_eq!(
            set_aside(&world, &format!("{SERVICE}.{name}")).len(),
            2,
            "{name}"
        );
    }
    assert_eq!(set_aside(&world, SERVICE).len(), 2);
}

#[test]
fn what_a_failing_run_set_aside_is_said_by_the_next_that_does_not_fail() {
    let mut world = World::new();
    let start = ago(110);
    world.start_at(start);
    world.tap.add(array(SERVICE), Event::new(ago(100), BROKEN));
    rule(&mut world, SERVICE, "obfuscate", "path = 'user'");
    let broken = || Some(Fault::Body(b"<html>".to_vec()));
    world
        .tap
        .script(move |_, number| if number > 0 { broken() } else { None });
    world.run(SERVICE, &[]).assert_status(65);
    assert_eq!(world.state(SERVICE)["aside"]["unsaid"], 1);
    assert!(world.position(SERVICE) > utc(start));
    world.tap.no_script();
    let run = world.run(SERVICE, &[]);
    run.assert_status(3).assert_says("warning: 1 events");
    world.run(SERVICE, &[]).assert_status(0);
    assert_eq!(set_aside(&world, SERVICE), [BROKEN]);
}

#[test]
fn any_rule_sets_aside_what_cannot_be_read_and_without_rules_it_is_delivered() {
    for table in ["", "obfuscate", "keep", "drop"] {
        let mut world = world(&[BROKEN]);
        if !table.is_empty() {
            rule(&mut world, SERVICE, table, "path = 'x'");
        }
        let run = world.run(SERVICE, &[]);
        run.assert_status(if table.is_empty() { 0 } else { 3 });
        assert_eq!(arrived(&world).is_empty(), !table.is_empty(), "{table}");
        assert_eq!(
            aside(&world, SERVICE).exists(),
            !table.is_empty(),
            "{table}"
        );
    }
}

#[test]
fn what_was_set_aside_without_being_committed_is_set_aside_once() {
    let mut world = world(&[DANA, BROKEN]);
    rule(&mut world, SERVICE, "obfuscate", "path = 'user'");
    // the proof at the start is confirmed, the events are not
    world.devo.behave(|number| match number {
        0 => Behaviour::Normal,
        _ => Behaviour::ResetAfter(0),
    });
    world.run(SERVICE, &[]).assert_status(74);
    assert_eq!(world.state(SERVICE)["aside"], Value::Null);
    assert_eq!(set_aside(&world, SERVICE), [BROKEN]);
    world.devo.behave(|_| Behaviour::Normal);
    world.run(SERVICE, &[]).assert_status(3);
    assert_eq!(set_aside(&world, SERVICE), [BROKEN]);
    assert_eq!(arrived(&world).len(), 1);

    // half a line that a killed run left behind
    let path = aside(&world, SERVICE);
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&good[..], b"{\"time\":\"20"].concat()).unwrap();
    world.run(SERVICE, &[]).assert_status(0);
    assert_eq!(std::fs::read(&path).unwrap(), good);
}

#[test]
fn the_file_of_events_set_aside_may_be_taken_away_and_outlives_its_state() {
    let mut world = world(&[BROKEN]);
    rule(&mut world, SERVICE, "obfuscate", "path = 'user'");
    world.run(SERVICE, &[]).assert_status(3);
    std::fs::remove_file(aside(&world, SERVICE)).unwrap();
    world.run(SERVICE, &[]).assert_status(0);
    add(&world, SERVICE, &[r#"{"id":"9",,}"#]);
    world.run(SERVICE, &[]).assert_status(3);
    assert_eq!(set_aside(&world, SERVICE), [r#"{"id":"9",,}"#]);

    std::fs::remove_file(world.state_dir().join(format!("{SERVICE}.json"))).unwrap();
    world.run(SERVICE, &[]).assert_status(3);
    assert_eq!(set_aside(&world, SERVICE).len(), 3);
    // starting over keeps it too
    world.service_table.clear();
    world.start_at(ago(45));
    world
        .run(SERVICE, &[])
        .assert_status(3)
        .assert_says("start_time was changed");
    assert_eq!(set_aside(&world, SERVICE).len(), 5);
}

#[test]
fn where_nothing_can_be_set_aside_the_position_stays() {
    let mut world = world(&[BROKEN]);
    let start = utc(ago(60));
    world.service_table = format!("start_time = {start:?}\n");
    rule(&mut world, SERVICE, "obfuscate", "path = 'user'");
    let path = aside(&world, SERVICE);
    std::fs::create_dir_all(&path).unwrap();
    world
        .run(SERVICE, &[])
        .assert_error(73, &["aside.jsonl"], "room");
    assert_eq!(world.position(SERVICE), start);
    std::fs::remove_dir(&path).unwrap();
    world.run(SERVICE, &[]).assert_status(3);
    assert_eq!(set_aside(&world, SERVICE), [BROKEN]);
}

#[test]
fn a_full_disk_loses_nothing_that_was_to_be_set_aside() {
    let large = format!(r#"{{"id":"{}",}}"#, "x".repeat(20_000));
    let mut world = world(&[BROKEN, &large]);
    rule(&mut world, SERVICE, "obfuscate", "path = 'user'");
    let Some(disk) = Mounted::small(&world.state_dir()) else {
        return;
    };
    let filling = disk.fill(4);
    world
        .run(SERVICE, &[])
        .assert_error(73, &["No space left"], "room");
    std::fs::remove_file(filling).unwrap();
    world.run(SERVICE, &[]).assert_status(3);
    let mut events = set_aside(&world, SERVICE);
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
    let mut world = world(&events);
    rule(
        &mut world,
        SERVICE,
        "keep",
        "path = 'class'\npattern = '^phish$'",
    );
    rule(
        &mut world,
        SERVICE,
        "keep",
        "path = ['class']\npattern = 'malware'",
    );
    rule(
        &mut world,
        SERVICE,
        "drop",
        "path = 'to.*'\npattern = '@test\\.'",
    );
    rule(
        &mut world,
        SERVICE,
        "obfuscate",
        "path = 'class'\nreplace = 'x'",
    );
    let run = world.run(SERVICE, &[]);
    run.assert_status(0).assert_says("3 filtered out, ");
    assert_eq!(run.count("delivered"), 2);
    let shown = |event: &str| event.replace("phish", "x").replace("malware", "x");
    assert_eq!(arrived(&world), [shown(events[0]), shown(events[2])]);
    let run = world.run(SERVICE, &["--log-format", "json"]);
    let summary = summary(run.assert_status(0));
    assert_eq!(
        (&summary["duplicates"], &summary["filtered"]),
        (&json!(5), &json!(0))
    );
    let look = world.run(SERVICE, &["--stdout"]);
    assert_eq!(look.stdout.iter().filter(|&&byte| byte == b'\n').count(), 2);
}

#[test]
fn a_run_in_which_everything_is_dropped_goes_on() {
    let mut world = World::new();
    world.start_at(ago(170));
    world.add(SERVICE, ago(170), ago(3), 30);
    rule(&mut world, SERVICE, "drop", "path = 'id'");
    let before = ago(5);
    let run = world.run(SERVICE, &[]);
    run.assert_status(0)
        .assert_says("30 filtered out")
        .assert_says("0 delivered");
    assert!(world.position(SERVICE) > utc(before));
    assert_eq!(
        world.run(SERVICE, &[]).assert_status(0).count("delivered"),
        0
    );
    assert_eq!(world.devo.count(), 0);
}

#[test]
fn a_rule_that_never_matched_is_named_until_it_does() {
    let mut world = world(&[]);
    rule(&mut world, SERVICE, "obfuscate", "path = 'threats.*.user'");
    rule(
        &mut world,
        SERVICE,
        "obfuscate",
        "path = 'user'\npattern = '@secret'",
    );
    let both = "never matched: obfuscate threats.*.user (0 events), obfuscate user (with its pattern) (0 events), ";
    // there were no events yet
    for _ in 0..2 {
        let run = world.run(SERVICE, &[]);
        run.assert_status(0)
            .assert_says(both)
            .assert_never_says("warning");
    }
    add(&world, SERVICE, &[DANA]);
    let run = world.run(SERVICE, &[]);
    run.assert_says(&both.replace("0 events", "1 events"));
    run.assert_says("warning: obfuscate threats.*.user has matched nothing in 1 events");
    run.assert_never_says("secret");
    // the warning is for those who do not read summaries, and comes once
    add(&world, SERVICE, &[r#"{"id":"2","user":"x@secret"}"#]);
    let run = world.run(SERVICE, &["--log-format", "json"]);
    run.assert_never_says("warning");
    assert_eq!(
        summary(&run)["never_matched"],
        json!(["obfuscate threats.*.user (2 events)"])
    );
    add(
        &world,
        SERVICE,
        &[r#"{"id":"3","threats":[{"user":null}]}"#],
    );
    world.run(SERVICE, &[]).assert_never_says("never matched");
    world.run(SERVICE, &[]).assert_never_says("never matched");
    let state = world.state(SERVICE)["rules"].to_string();
    assert!(
        !state.contains("user") && !state.contains("secret"),
        "{state}"
    );

    // another pattern is another rule; to hide the same otherwise is not
    world.more_tables = world.more_tables.replace("@secret", "@hidden");
    world.more_tables = world.more_tables.replace(".user'", ".user'\nreplace = 'x'");
    let run = world.run(SERVICE, &[]);
    run.assert_says("never matched: obfuscate user (with its pattern) (0 events), ");
    // those who look have a state of their own
    let run = world.run(SERVICE, &["--stdout"]);
    run.assert_says("never matched: obfuscate user (with its pattern) (3 events), ");
    world.more_tables.clear();
    world.run(SERVICE, &[]).assert_never_says("never matched");
    assert_eq!(world.state(SERVICE)["rules"], Value::Null);
}

#[test]
fn what_was_not_confirmed_has_matched_nothing() {
    let mut world = world(&[DANA]);
    rule(&mut world, SERVICE, "obfuscate", "path = 'user'");
    world.devo.behave(|number| match number {
        0 => Behaviour::Normal,
        _ => Behaviour::ResetAfter(0),
    });
    world.run(SERVICE, &[]).assert_status(74);
    assert_eq!(world.state(SERVICE)["rules"], Value::Null);
    world.devo.behave(|_| Behaviour::Normal);
    world
        .run(SERVICE, &[])
        .assert_status(0)
        .assert_never_says("never matched");
    assert_eq!(world.state(SERVICE)["rules"][0]["matched"], true);
}
