//! Our records are, byte for byte, those that Devo's own sender writes, and our queries are those of its client.
//!
//! `.ci/run` installs devo-sdk from PyPI and names its Python in `PROOFPULL_DEVO_SDK`; elsewhere the
//! machine's Python is tried, and where it has no devo-sdk this is skipped.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use proofpull::service::{SERVICES, Service};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::simulator::{Event, Kind, Line, Posted, QUERY_TOKEN, QueryApi, Rng, sample, wait_until};
use crate::test_env::{TestEnv, ago, array, seed, write_private};
use crate::verify::is_alike;

/// A Python that has devo-sdk; `None`, and said, where there is none and need not be.
fn python() -> Option<String> {
    let given = std::env::var("PROOFPULL_DEVO_SDK").ok();
    let python = given.clone().unwrap_or_else(|| "python3".into());
    let import = Command::new(&python)
        .args(["-c", "import devo.sender"])
        .output();
    if import.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(given.is_none(), "{python} has no devo-sdk");
    println!("skipped: {python} has no devo-sdk");
    None
}

#[test]
fn our_records_are_those_of_devos_own_sender() {
    let Some(python) = python() else {
        return;
    };
    let rng = &mut Rng::new(seed());
    let mut env = TestEnv::new();
    env.devo_table += "pulling_id = false\n";
    env.start_at(ago(50));
    let mut sent = HashMap::new();
    for (kind, service) in tap_services().enumerate() {
        for number in 0..25 {
            let serial = (kind * 100 + number) as u64;
            let event = event(rng, service.name, serial);
            env.tap
                .add(array(service.name), Event::new(ago(20), event.as_str()));
            sent.insert(serial, (service.tag, event));
        }
        env.run(service.name, &[]).assert_status(0);
    }
    let ours = sorted(env.devo.lines());
    assert_eq!(ours.len(), sent.len());

    env.devo.clear();
    let mut records = String::new();
    for line in &ours {
        let (tag, message) = &sent[&sample::serial_of(line).unwrap()];
        let record = json!({ "date": Line::of(line).time, "hostname": "test", "tag": tag, "message": message });
        records += &format!("{record}\n");
    }
    send(&python, &env, &records, false);
    wait_until(|| env.devo.count() >= ours.len(), "the records of devo-sdk");
    let theirs = sorted(env.devo.lines());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let [ours, theirs] = [ours, theirs].map(|line| String::from_utf8_lossy(line));
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours, theirs);

    // and so they are where both pack them
    env.devo.clear();
    env.devo_table += "compression = \"gzip\"\n";
    fs::remove_dir_all(env.state_dir()).unwrap();
    for service in tap_services() {
        env.run(service.name, &[]).assert_status(0);
    }
    let packed = sorted(env.devo.lines());
    let same = |line: &Vec<u8>| Line::of(line).json.to_owned();
    assert!(packed.iter().map(same).eq(ours.iter().map(same)));
    env.devo.clear();
    send(&python, &env, &records, true);
    wait_until(|| env.devo.count() >= ours.len(), "the members of devo-sdk");
    assert_eq!(sorted(env.devo.lines()), ours);
}

fn tap_services() -> impl Iterator<Item = &'static Service> {
    let is_tap = |service: &&Service| matches!(Kind::of(service.name), Kind::Tap { .. });
    SERVICES.iter().filter(is_tap)
}

/// As TAP writes it, but for the parts of a message, which come in another order each time.
fn event(rng: &mut Rng, service: &str, serial: u64) -> String {
    let make = match array(service).starts_with("clicks") {
        true => sample::click,
        false => sample::message,
    };
    let body = make(rng, ago(20), serial, "zoë@corp.example");
    let text = String::from_utf8(body.text().to_owned()).unwrap();
    let text = text.replace("\"messageParts\"", "\"parts\"");
    let filling = match serial % 10 {
        0 => "ü€請🧾".repeat(6000),
        1 => r#"\"\\\u00e9\n<14>a: b"#.to_owned(),
        _ => String::new(),
    };
    text.replacen('{', &format!(r#"{{"filling":"{filling}", "n" : 1.0,"#), 1)
}

fn sorted(mut lines: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    lines.sort();
    lines
}

fn send(python: &str, env: &TestEnv, records: &str, packed: bool) {
    let address = env.devo.address();
    let (host, port) = address.split_once(':').unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/devo_sdk/send.py");
    let mut command = Command::new(python);
    command.arg(script).args([host, port]);
    command.args([
        env.certs.client_key(),
        env.certs.client_cert(),
        env.certs.ca(),
    ]);
    command.args(packed.then_some("zip"));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // what it says stands in its output, if it ends early
    let _ = stdin.write_all(records.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Asks with Devo's own client.
fn query(python: &str, api: &QueryApi, token: &str, query: &str, mode: &str) -> Value {
    let millis = |time: OffsetDateTime| (time.unix_timestamp() * 1000).to_string();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/devo_sdk/query.py");
    let mut command = Command::new(python);
    command.arg(script).args([&api.url(), token, query]);
    let asked = command.args([&millis(ago(60)), &millis(ago(-1)), mode]);
    let output = asked.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{mode}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{mode}: {error}: {said}"))
}

#[test]
fn devos_own_client_understands_the_simulated_query_api() {
    let Some(python) = python() else {
        return;
    };
    let api = QueryApi::start();
    for id in ["17", "17", "18"] {
        let raw = format!(r#"{{"a":1,"@devo_pulling_id":"{id}"}}"#);
        api.add("my.app.x", &raw, ago(30));
    }
    api.add("my.app.x", "{}", ago(30));
    api.add("my.app.x", r#"{"@devo_pulling_id":"19"}"#, ago(90));
    let counted = r#"from my.app.x select peek(rawMessage, re("\"@devo_pulling_id\":\"([0-9]+)\""), 1) as id where isnotnull(id) group by id select count() as n"#;
    let rows = json!([{"id": "17", "n": 2}, {"id": "18", "n": 1}]);
    let ask = |text: &str, mode| query(&python, &api, QUERY_TOKEN, text, mode);
    assert_eq!(ask(counted, "json")["object"], rows);
    assert_eq!(
        ask(counted, "json/compact")["object"]["d"],
        json!([["17", 2], ["18", 1]])
    );
    assert_eq!(ask(counted, "json/simple"), rows);
    assert_eq!(ask(counted, "json/simple/compact"), rows);
    let all = "from my.app.x where has(rawMessage, \"a\") group select count() as n";
    assert_eq!(ask(all, "json/simple"), json!([{"n": 3}]));
    let refused = query(&python, &api, "another", counted, "json");
    assert_eq!(
        refused,
        json!({"status": 403, "message": "Token invalid or expired", "code": 5})
    );
    let unknown = ask("from my.app.y group select count() as n", "json");
    assert_eq!(
        unknown["message"],
        "Error Launching Query: Unknown table `my.app.y`"
    );
}

#[test]
fn our_query_has_the_form_of_one_of_devos_own_client() {
    let Some(python) = python() else {
        return;
    };
    let (mut env, api) = (TestEnv::new(), QueryApi::start());
    let token = env.dir.path().join("query.token");
    write_private(&token, QUERY_TOKEN);
    env.devo_table += &format!(
        "query = {{ url = {:?}, token = {{ file = {token:?} }} }}\n",
        api.url()
    );
    env.start_at(ago(50));
    let event = Event::new(ago(20), &b"{\"a\":1}"[..]);
    env.tap.add(array("tap-clicks-blocked"), event);
    env.run("tap-clicks-blocked", &[]).assert_status(0);
    let lines = env.devo.lines();
    lines
        .iter()
        .for_each(|line| api.take_in(line, OffsetDateTime::now_utc()));
    env.ask(&["verify", "--settle", "0s"]).assert_status(0);
    let ours = api.take_posted().remove(0);
    let asked = ours.query().split(" pragma ").next().unwrap();
    // the same query by their client, and the same answer
    let answer = query(&python, &api, QUERY_TOKEN, asked, "json/compact");
    assert_eq!(answer["object"]["d"][0][1], 1, "{answer:#}");
    let theirs = api.take_posted().remove(0);
    assert!(
        is_alike(&ours.body, &theirs.body),
        "{:#} {:#}",
        ours.body,
        theirs.body
    );
    assert_eq!(ours.body["mode"], theirs.body["mode"]);
    let pragmas = |posted: &Posted| {
        let pragmas = posted.query().split(" pragma ").skip(1);
        let names = pragmas.filter_map(|pragma| Some(pragma.split_once(':')?.0.to_owned()));
        names.collect::<Vec<String>>()
    };
    assert_eq!(pragmas(&ours), pragmas(&theirs));
    assert!(theirs.query().starts_with(asked), "{}", theirs.query());
    for name in ["content-type", "authorization"] {
        assert_eq!(ours.header(name), theirs.header(name), "{name}");
    }
    let digits = |posted: &Posted| posted.header("x-logtrust-timestamp").unwrap().len();
    assert_eq!(digits(&ours), digits(&theirs));
}
