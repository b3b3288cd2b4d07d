//! What Devo receives for an event, byte by byte.

use proofpull::clock::utc;
use proofpull::service::{SERVICES, Service};
use serde_json::Value;
use time::OffsetDateTime;

use crate::simulator::{Event, Kind, Style, sample};
use crate::test_env::{Run, TestEnv, ago, array};

const SERVICE: &str = "tap-messages-blocked";

/// Sends these events, and returns what came, in the order of the texts.
fn send(env: &mut TestEnv, events: &[&[u8]]) -> (Run, Vec<Vec<u8>>) {
    env.start_at(ago(50));
    for event in events {
        env.tap.add(array(SERVICE), Event::new(ago(20), *event));
    }
    let run = env.run(SERVICE, &[]);
    run.assert_status(0);
    let mut lines = env.devo.events();
    lines.sort();
    (run, lines)
}

/// Without anything appended, an event arrives as this.
fn check(event: &[u8], expected: &str) {
    let mut env = TestEnv::new();
    env.devo_table += "pulling_id = false\n";
    let (_, lines) = send(&mut env, &[event]);
    let text = String::from_utf8(lines[0].clone()).unwrap();
    assert_eq!((lines.len(), text.as_str()), (1, expected));
}

fn is_of_tap(service: &Service) -> bool {
    matches!(Kind::of(service.name), Kind::Tap { .. })
}

#[test]
fn a_record_has_priority_time_host_and_tag() {
    // those of PoD are tried where their streams are
    for service in SERVICES.iter().filter(|service| is_of_tap(service)) {
        let mut env = TestEnv::new();
        env.start_at(ago(50));
        // the time is UTC wherever it runs
        env.env.insert("TZ".into(), "Asia/Kolkata".into());
        env.add(service.name, ago(40), ago(10), 3);
        let before = OffsetDateTime::now_utc();
        env.run(service.name, &[]).assert_status(0);
        let after = OffsetDateTime::now_utc();
        assert_eq!(env.devo.partials(), Vec::<Vec<u8>>::new());
        for line in env.devo.lines() {
            let text = String::from_utf8(line).unwrap();
            let head = text[..text.find('{').unwrap()].to_owned();
            let (time, rest) = head.split_at("<14>2026-01-01 00:00:00.000".len());
            assert_eq!(rest, format!(" test {}: ", service.tag));
            let form: String = time
                .chars()
                .map(|c| if c.is_ascii_digit() { '0' } else { c })
                .collect();
            assert_eq!(form, "<00>0000-00-00 00:00:00.000");
            let second = |time| utc(time).replace('T', " ").replace('Z', "");
            let range = second(before)..=second(after);
            assert!(
                range.contains(&time["<14>".len()..][..19].to_owned()),
                "{time}"
            );
        }
    }
}

#[test]
fn tags_are_the_documented_ones_unless_configured_and_so_is_the_host() {
    let readme = include_str!("../README.md");
    for Service { name, tag, .. } in SERVICES {
        let parsers: &[&str] = if tag.starts_with("my.app.") {
            &["no"]
        } else {
            &["yes", "unknown"]
        };
        let row = format!("| `{name}` | ");
        let row = readme.lines().find(|line| line.starts_with(&row));
        let row = row.unwrap_or_else(|| panic!("{name} is not in the README"));
        let ends = |parser: &&str| row.ends_with(&format!(" | `{tag}` | {parser} |"));
        assert!(parsers.iter().any(ends), "{row}");
    }

    let mut env = TestEnv::new();
    env.service_table += "tag = \"my.app.test-1.x_y\"\n";
    env.devo_table = env.devo_table.replace("hostname = \"test\"\n", "");
    send(&mut env, &[b"{}"]);
    let line = &env.devo.lines()[0];
    assert_eq!(crate::simulator::tag_of(line), "my.app.test-1.x_y");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(crate::simulator::host_of(line), host.trim());
}

#[test]
fn an_event_arrives_byte_for_byte() {
    for event in [
        r#"{"z":1.0,"a":1E400,"A":-0,"n":123456789012345678901234567890.10,"a":null}"#,
        r#"{"é":"\u00e9 é \ud83d\udea8 🚨 \/ / \" \\ \n \u2028  ","x":[],"y":{}}"#,
        r#"{  "spaces" :  [ 1 ,	2 ]  }"#,
        r#"{"deep":[[[[{"a":{"b":[{}]}}]]]],"brackets":"}],{[","nothing":""}"#,
        r#"{"lone":"\ud800","bell":"\u0007"}"#,
        "{}",
    ] {
        check(event.as_bytes(), event);
    }
    let long = format!(r#"{{"long":"{}"}}"#, "ü".repeat(1 << 20));
    check(long.as_bytes(), &long);
}

#[test]
fn an_event_becomes_one_line() {
    check(b"{\r\n \"a\" : [\n1,\n2\r\n]\n}", r#"{ "a" : [1,2]}"#);
    check(
        b"{\"a\":\"one\ntwo\r\tthree\x00\x1f\"}",
        r#"{"a":"one\u000atwo\u000d\u0009three\u0000\u001f"}"#,
    );
    check(
        b"{\"a\":\"caf\xe9 \xff\"}",
        "{\"a\":\"caf\u{fffd} \u{fffd}\"}",
    );
    check(b"{\"a\":nothing known}", r#"{"a":nothing known}"#);
}

#[test]
fn a_pretty_printed_answer_gives_the_same_events() {
    let mut env = TestEnv::new();
    env.start_at(ago(50));
    let (pretty, array_first) = (true, true);
    env.tap.set_style(Style {
        pretty,
        array_first,
        ..Style::default()
    });
    env.add(SERVICE, ago(40), ago(10), 10);
    let body = sample::click(
        &mut crate::simulator::Rng::new(1),
        ago(20),
        99,
        "x@y.example",
    );
    env.tap
        .add(array(SERVICE), Event::new(ago(20), body.clone()));
    env.run(SERVICE, &[]).assert_status(0);
    env.assert_exactly_once(SERVICE);
    let find = |line: &Vec<u8>| sample::serial_of(line) == Some(99);
    let event = env.devo.events().into_iter().find(find).unwrap();
    let mut event: Value = serde_json::from_slice(&event).unwrap();
    event
        .as_object_mut()
        .unwrap()
        .remove("@devo_pulling_id")
        .unwrap();
    assert_eq!(event, serde_json::from_slice::<Value>(body.text()).unwrap());
}

#[test]
fn the_pulling_id_is_the_start_of_the_run_and_stands_in_the_end_line() {
    let mut env = TestEnv::new();
    let millis = || OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    let before = millis();
    let (run, lines) = send(&mut env, &[br#"{"a":1}"#, b"{ }", b"{}"]);
    let after = millis();
    let (_, id) = run
        .stderr
        .trim_end()
        .rsplit_once("@devo_pulling_id ")
        .unwrap();
    assert!((before..=after).contains(&id.parse().unwrap()), "{id}");
    let appended = format!(r#""@devo_pulling_id":"{id}"}}"#);
    let expected = [
        format!("{{ {appended}"),
        format!("{{{appended}"),
        format!("{{\"a\":1,{appended}"),
    ];
    let lines: Vec<_> = lines
        .into_iter()
        .map(|line| String::from_utf8(line).unwrap())
        .collect();
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(lines, expected);
    // the next run has another one
    env.tap
        .add(array(SERVICE), Event::new(ago(10), &b"{\"b\":2}"[..]));
    env.run(SERVICE, &[]).assert_status(0);
    let line = env.devo.events().pop().unwrap();
    let event: Value = serde_json::from_slice(&line).unwrap();
    assert!(event["@devo_pulling_id"].as_str() > Some(id));
}

#[test]
fn fields_are_appended_in_the_order_of_the_configuration() {
    let fields = r#"fields = { "z" = "1", "@devo_environment" = "prod \"é\"\n", "a" = "" }"#;
    let expected = r#""z":"1","@devo_environment":"prod \"é\"\n","a":""}"#;
    let mut env = TestEnv::new();
    env.devo_table += &format!("pulling_id = false\n{fields}\n");
    let (_, lines) = send(&mut env, &[b"{}", br#"{"b":{}}"#]);
    let lines: Vec<_> = lines
        .into_iter()
        .map(|line| String::from_utf8(line).unwrap())
        .collect();
    assert_eq!(
        lines,
        [format!("{{\"b\":{{}},{expected}"), format!("{{{expected}")]
    );

    let mut env = TestEnv::new();
    env.devo_table += &format!("{fields}\n");
    let (_, lines) = send(&mut env, &[b"{}"]);
    let line = String::from_utf8(lines[0].clone()).unwrap();
    assert!(
        line.starts_with("{\"@devo_pulling_id\":\"") && line.ends_with(&format!("\",{expected}")),
        "{line}"
    );
}
