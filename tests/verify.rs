//! `proofpull verify`: what Devo has of each run is told, and what is missing there.

use std::fs;

use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::check::mode;
use crate::simulator::{Fault, QUERY_TOKEN, QueryApi};
use crate::test_env::{Run, TestEnv, ago, sealed, write_private};

const SERVICE: &str = "tap-messages-blocked";
const TABLE: &str = "mail.proofpoint.tapsiem_v2.messagesblocked";

/// A world with a Query API that has what the receiver was given.
struct World {
    env: TestEnv,
    api: QueryApi,
}

impl World {
    fn new() -> World {
        let (mut env, api) = (TestEnv::new(), QueryApi::start());
        env.start_at(ago(120));
        write_private(&env.dir.path().join("query.token"), QUERY_TOKEN);
        env.devo_table += &format!(
            "query = {{ url = {:?}, token = {{ file = \"query.token\" }} }}\n",
            api.url()
        );
        World { env, api }
    }

    /// A run that delivers so many new events, which Devo takes in but for the first `lost`.
    fn run(&self, service: &str, count: i32, lost: usize, more: &[&str]) -> Run {
        self.env.add(service, ago(20), ago(3), count);
        let run = self.env.run(service, more);
        self.take_in(lost);
        run
    }

    fn take_in(&self, lost: usize) {
        for line in self.env.devo.take_lines().iter().skip(lost) {
            self.api.take_in(line, OffsetDateTime::now_utc());
        }
    }

    fn verify(&self, more: &[&str]) -> Run {
        let words = [&["verify", "--settle", "0s"], more].concat();
        let run = self.env.ask(&words);
        assert!(!run.stderr.contains(QUERY_TOKEN) && !run.answer().contains(QUERY_TOKEN));
        run
    }

    /// The runs of `--json`, each as what was delivered, found, missing and more.
    fn verified(&self, more: &[&str]) -> Vec<[u64; 4]> {
        let answer = self.verify(&[&["--json"], more].concat()).json();
        let number = |value: &Value| value.as_u64().unwrap();
        let runs = answer["runs"].as_array().unwrap().iter();
        runs.map(|run| ["delivered", "found", "missing", "more"].map(|key| number(&run[key])))
            .collect()
    }
}

#[test]
fn every_event_of_each_run_is_found_and_the_request_is_that_of_devos_client() {
    let world = World::new();
    world.run(SERVICE, 5, 0, &[]).assert_status(0);
    world.run(SERVICE, 3, 0, &[]).assert_status(0);
    // one that delivers nothing has nothing to verify, nor has one to standard output
    world.run(SERVICE, 0, 0, &[]).assert_status(0);
    world.run(SERVICE, 0, 0, &["--stdout"]).assert_status(0);
    let run = world.verify(&[]);
    run.assert_status(0);
    let said = run.answer();
    assert!(
        said.ends_with("\n2 runs: 8 events delivered, 8 found, 0 missing, 0 more than delivered\n"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 4, "{said}");
    assert_eq!(world.verified(&[SERVICE]), [[5, 5, 0, 0], [3, 3, 0, 0]]);
    let posted = world.api.take_posted();
    assert_eq!(posted.len(), 2, "one query for all runs");
    let first = &posted[0];
    // recorded from devo-sdk 7.0.2
    let wanted = json!({"from": 0, "to": 0, "mode": {"type": "json/compact"}, "query": ""});
    assert!(is_alike(&first.body, &wanted), "{:#}", first.body);
    assert_eq!(first.body["mode"], wanted["mode"]);
    assert!(
        first
            .query()
            .starts_with(&format!("from {TABLE} select peek(rawMessage, "))
    );
    assert!(first.query().len() < 400, "{}", first.query());
    assert!(first.query().contains(r#" pragma comment.id:"proofpull""#));
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let (from, to) = (&first.body["from"], &first.body["to"]);
    assert!(
        (now - 4000..now - 3000).contains(&from.as_i64().unwrap()),
        "{from}"
    );
    assert!((now - 300..=now).contains(&to.as_i64().unwrap()), "{to}");
    assert_eq!(first.header("content-type"), Some("application/json"));
    let millis = first.header("x-logtrust-timestamp").unwrap();
    assert!(millis.len() == 13 && millis.ends_with("000"), "{millis}");
}

/// Whether both have the same keys, with values of the same types.
pub(crate) fn is_alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(key, value)| other.get(key).is_some_and(|other| is_alike(value, other)))
        }
        _ => std::mem::discriminant(one) == std::mem::discriminant(other),
    }
}

#[test]
fn missing_events_are_told_by_run_and_end_with_3_and_a_check_has_a_threshold() {
    let world = World::new();
    world.run(SERVICE, 5, 2, &[]).assert_status(0);
    world.run(SERVICE, 4, 0, &[]).assert_status(0);
    // a receiver that has an event twice does not make up for one that it lacks
    let line = &world.env.devo.take_lines();
    assert!(line.is_empty());
    let run = world.verify(&[]);
    run.assert_status(3);
    let said = run.answer();
    for words in [
        "\n2 runs: 9 events delivered, 7 found, 2 missing, 0 more",
        "\nhint: ",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(world.verified(&[]), [[5, 3, 2, 0], [4, 4, 0, 0]]);
    for (most, status, word) in [
        ("0", 2, "CRITICAL"),
        ("1", 2, "CRITICAL"),
        ("2", 1, "WARNING"),
    ] {
        let run = world.verify(&["--max-missing", most]);
        run.assert_status(status);
        let line = run.answer();
        assert!(
            line.starts_with(&format!("PROOFPULL {word} - 2 runs: ")),
            "{line}"
        );
        assert!(
            line.contains(&format!("| 'missing'=2;0;{most};0 ")),
            "{line}"
        );
        assert_eq!(line.lines().count(), 1);
    }
    let id = world.verify(&["--json"]).json()["runs"][1]["@devo_pulling_id"].clone();
    let id = id.as_str().unwrap();
    for _ in 0..3 {
        let raw = format!(r#"{{"a":"\"@devo_pulling_id\":\"17\"","@devo_pulling_id":"{id}"}}"#);
        world.api.add(TABLE, &raw, OffsetDateTime::now_utc());
    }
    assert_eq!(world.verified(&[]), [[5, 3, 2, 0], [4, 7, 0, 3]]);
}

#[test]
fn what_is_too_recent_is_listed_and_not_asked_for() {
    let world = World::new();
    world.run(SERVICE, 5, 5, &[]).assert_status(0);
    let run = world.env.ask(&["verify"]);
    run.assert_status(0);
    let said = run.answer();
    assert!(
        said.contains("  5          too recent  -        -\n"),
        "{said}"
    );
    assert!(
        said.contains("; 1 run too recent (--settle 15m)\n"),
        "{said}"
    );
    let answer = world.env.ask(&["verify", "--json"]).json();
    assert_eq!(answer["runs"][0]["is_too_recent"], true);
    assert_eq!(answer["sum"]["too_recent"], 1);
    world
        .env
        .ask(&["verify", "--max-missing", "0"])
        .assert_status(0);
    assert!(world.api.take_posted().is_empty());
    // the runs before --since are no matter either
    let run = world.env.ask(&["verify", "--since", "0s"]);
    run.assert_status(0);
    assert!(
        run.answer().starts_with("no run to verify since "),
        "{}",
        run.answer()
    );
}

#[test]
fn a_run_that_failed_and_a_backfill_are_verified_by_what_they_delivered() {
    let mut world = World::new();
    world.env.add(SERVICE, ago(115), ago(3), 24);
    // what the first window had is delivered when the next one is refused
    world
        .env
        .tap
        .script(|_, number| (number > 0).then(|| Fault::status(401, "no")));
    let run = world.env.run(SERVICE, &[]);
    run.assert_status(77);
    let delivered = run.count("delivered");
    assert!(delivered > 0 && delivered < 24);
    world.take_in(0);
    assert_eq!(world.verified(&[]), [[delivered, delivered, 0, 0]]);

    world.env.tap.script(|_, _| None);
    let run = world
        .env
        .run(SERVICE, &["--start-time", "100m", "--end-time", "50m"]);
    run.assert_status(0);
    let again = run.count("delivered");
    world.take_in(1);
    let run = world.verify(&[]);
    run.assert_status(3);
    assert!(
        run.answer().contains(&format!("\n{SERVICE} (backfill)  ")),
        "{}",
        run.answer()
    );
    assert_eq!(
        world.verified(&[]),
        [[delivered, delivered, 0, 0], [again, again - 1, 1, 0]]
    );
    world.env.devo_table += "pulling_id = false\n";
    let run = world.verify(&[]);
    run.assert_status(78).assert_says("pulling_id is false");
}

#[test]
fn each_run_is_looked_for_in_the_table_of_the_tag_that_it_had() {
    let mut world = World::new();
    world.env.service_table += "tag = \"my.app.proof-pull\"\n";
    world.run(SERVICE, 5, 0, &[]).assert_status(0);
    world.env.service_table = world.env.service_table.replace("proof-pull", "other");
    world.run(SERVICE, 2, 0, &[]).assert_status(0);
    assert_eq!(world.verified(&[]), [[5, 5, 0, 0], [2, 2, 0, 0]]);
    let posted = world.api.take_posted();
    let froms: Vec<&str> = posted
        .iter()
        .filter_map(|one| one.query().split(' ').nth(1))
        .collect();
    assert_eq!(froms, ["my.app.other", "my.app.proofPull"]);
}

#[test]
fn the_column_is_found_by_its_usual_names_or_is_configured() {
    let mut world = World::new();
    world.run(SERVICE, 5, 0, &[]).assert_status(0);
    for (column, tries) in [("rawMessage", 1), ("raw", 2), ("rawSource", 3)] {
        world.api.set_column(column);
        assert_eq!(world.verified(&[]), [[5, 5, 0, 0]], "{column}");
        assert_eq!(world.api.take_posted().len(), tries);
    }
    world.api.set_column("another_1");
    let run = world.verify(&[]);
    run.assert_status(78)
        .assert_says("by the columns rawMessage, raw, rawSource: HTTP 500: ")
        .assert_says("hint: set column in [devo] query");
    let query = "query = { column = \"another_1\",";
    world.env.devo_table = world.env.devo_table.replace("query = {", query);
    assert_eq!(world.verified(&[]), [[5, 5, 0, 0]]);
}

/// A fault, the status that it ends with, what is said, and what the hint says.
type Case = (&'static str, fn() -> Fault, i32, &'static str, &'static str);

#[test]
fn each_way_in_which_devo_does_not_answer_has_its_status_and_its_hint() {
    let world = World::new();
    world.run(SERVICE, 5, 0, &[]).assert_status(0);
    let cases: &[Case] = &[
        (
            "401",
            || Fault::status(401, "no"),
            77,
            "HTTP 401: no",
            "Administration, Credentials, Authentication tokens",
        ),
        (
            "403",
            || Fault::status(403, "Access not allowed for table"),
            77,
            "HTTP 403: ",
            TABLE,
        ),
        (
            "404",
            || Fault::status(404, ""),
            65,
            "HTTP 404",
            "[devo] query url",
        ),
        ("302", || Fault::status(302, ""), 65, "HTTP 302", "proxy"),
        (
            "429",
            || Fault::status(429, "slow down"),
            75,
            "HTTP 429: slow down",
            "less often",
        ),
        (
            "500",
            || Fault::status(500, "oops"),
            69,
            "HTTP 500: oops",
            "recovers",
        ),
        (
            "no table",
            || Fault::status(500, "Unknown table `x`"),
            78,
            "Unknown table",
            "check the tag",
        ),
        (
            "not understood",
            || Fault::status(500, "Query parsing error"),
            65,
            "parsing error",
            "report this",
        ),
        (
            "an echo",
            || Fault::status(500, &format!("Bearer {QUERY_TOKEN}")),
            69,
            "HTTP 500: ***",
            "recovers",
        ),
        (
            "a page",
            || Fault::Body(b"<html>".to_vec()),
            65,
            "the answer cannot be used",
            "[devo] query url",
        ),
        (
            "half",
            || Fault::CutBody { at: 60 },
            69,
            "reading the answer",
            "check the network",
        ),
        (
            "a reset",
            || Fault::Reset,
            69,
            "requesting http://127.0.0.1",
            "check the network",
        ),
        (
            "too long",
            || Fault::Body(vec![b'x'; 5 << 20]),
            69,
            "more than 4 MiB",
            "shorter --since",
        ),
        (
            "an error in the rows",
            || {
                Fault::Body(
                    br#"{"status":0,"object":{"m":{},"d":[],"e": [500,"Error Processing Query"]}}"#
                        .to_vec(),
                )
            },
            65,
            "Error Processing Query",
            "shorter --since",
        ),
    ];
    for &(name, fault, status, said, hint) in cases {
        world.api.script(move |_, _| Some(fault()));
        let run = world.verify(&[]);
        println!("{name}: {}", run.stderr);
        run.assert_status(status);
        let (error, remedy) = run
            .stderr
            .split_once("\nhint: ")
            .unwrap_or_else(|| panic!("{name}"));
        assert!(
            error.contains(said) && error.contains(TABLE),
            "{name}: {error}"
        );
        assert!(remedy.contains(hint), "{name}: {remedy}");
        let run = world.verify(&["--max-missing", "5"]);
        run.assert_status(3);
        assert!(
            run.answer()
                .starts_with("PROOFPULL UNKNOWN - asking Devo for "),
            "{}",
            run.answer()
        );
    }
    // a hundred blanks are no answer, and no harm
    let blanks = [vec![b' '; 100_000], b"null".to_vec()].concat();
    world
        .api
        .script(move |_, _| Some(Fault::Body(blanks.clone())));
    world.verify(&[]).assert_status(65);
    world.api.script(|_, _| None);
    world.verify(&[]).assert_status(0);
    write_private(&world.env.dir.path().join("query.token"), "another");
    world
        .verify(&[])
        .assert_status(77)
        .assert_says("Token invalid or expired");
    let gone = world.api.url();
    drop(world.api);
    let run = world.env.ask(&["verify", "--settle", "0s"]);
    run.assert_status(69)
        .assert_says(gone.split('/').nth(2).unwrap());
}

#[test]
fn without_a_query_api_it_says_what_to_configure() {
    let env = TestEnv::new();
    let run = env.ask(&["verify"]);
    run.assert_status(78)
        .assert_says("the configuration has no query in [devo]")
        .assert_says("hint: add query = { url = ");
    let run = env.ask(&["verify", "--max-missing", "0"]);
    run.assert_status(3);
    assert!(
        run.answer()
            .starts_with("PROOFPULL UNKNOWN - the configuration has no query")
    );
    let run = env.ask(&["verify", "--max-missing", "0", "--json"]);
    run.assert_status(2);
}

#[test]
fn check_reads_the_token_and_shows_it_masked() {
    let world = World::new();
    world.env.ask(&["check"]).assert_status(0);
    let shown = world.env.ask(&["check", "--show"]).answer();
    let wanted = format!(
        "\n[devo.query]\nurl = {:?}\ntoken = {{ file = ",
        world.api.url()
    );
    assert!(shown.contains(&wanted), "{shown}");
    let token = world.env.dir.path().join("query.token");
    mode(&token, 0o644);
    let run = world.env.ask(&["check"]);
    run.assert_status(77);
    assert!(
        run.answer().contains("[devo.query] token: "),
        "{}",
        run.answer()
    );
    world
        .verify(&[])
        .assert_status(77)
        .assert_says("query.token");
    assert!(world.api.take_posted().is_empty());
}

/// A history of so many runs, one each minute up to now, each with one event that Devo has.
fn long_history(world: &World, name: &str, runs: i64, offset: Duration) {
    let now = OffsetDateTime::now_utc();
    let runs = (0..runs).rev().map(|minute| {
        let started = now - Duration::minutes(minute + 1) + offset;
        let id = started.unix_timestamp_nanos() / 1_000_000;
        world
            .api
            .add(TABLE, &format!(r#"{{"@devo_pulling_id":"{id}"}}"#), started);
        json!([i64::try_from(id).unwrap(), 1000, 1])
    });
    let record = json!({"version": 3, "has_state": true, "last": null, "done": null, "ended": {}, "totals": {},
        "deliveries": [{"tag": TABLE, "runs": runs.collect::<Vec<Value>>()}]});
    let path = world.env.state_dir().join(format!("{name}.runs.json"));
    write_private(&path, &sealed(&record));
}

#[test]
fn ten_thousand_runs_take_one_query_a_day() {
    let world = World::new();
    fs::create_dir_all(world.env.state_dir()).unwrap();
    long_history(&world, SERVICE, 5000, Duration::ZERO);
    long_history(
        &world,
        &format!("{SERVICE}.backfill"),
        5000,
        Duration::seconds(-30),
    );
    let started = std::time::Instant::now();
    let run = world.verify(&["--since", "30d", "--max-missing", "0"]);
    println!("10,000 runs: {:?}", started.elapsed());
    run.assert_status(0)
        .assert_says(&format!("{SERVICE}: the record of runs goes back to "));
    let said = "PROOFPULL OK - 10000 runs: 10000 events delivered, 10000 found, 0 missing, ";
    assert!(run.answer().starts_with(said), "{}", run.answer());
    let posted = world.api.take_posted();
    assert_eq!(posted.len(), 4);
    assert!(posted.iter().all(|one| one.query().len() < 400));
}
