//! The reports on people: once a day, whole, each person with the interval of the report.

use std::collections::BTreeSet;

use proofpull::clock::utc;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::simulator::{Fault, Request, Style};
use crate::test_env::{Run, TestEnv, ago, each};

const VAP: &str = "tap-people-vap";
const CLICKERS: &str = "tap-people-clickers";

/// Today at six: no test comes to the next day before it means to.
fn morning() -> OffsetDateTime {
    ago(0).truncate_to_day() + Duration::hours(6)
}

/// So many people in each report.
fn filled(people: i32) -> TestEnv {
    let env = TestEnv::new();
    for service in [VAP, CLICKERS] {
        env.add(service, morning(), morning(), people);
    }
    env
}

/// A run so long after that morning, by all clocks.
fn run_at(env: &TestEnv, service: &str, later: Duration, more: &[&str]) -> Run {
    let now = morning() + later;
    env.tap.set_clock_offset(now - OffsetDateTime::now_utc());
    let now = utc(now);
    env.run(service, &[&["--now", now.as_str()], more].concat())
}

fn run(env: &TestEnv, service: &str) -> Run {
    run_at(env, service, Duration::ZERO, &[])
}

fn events(env: &TestEnv) -> Vec<Value> {
    let events = env.devo.events();
    let events = events.iter().map(|event| serde_json::from_slice(event));
    events.map(Result::unwrap).collect()
}

/// The values of a key of the requests.
fn asked(env: &TestEnv, key: &str) -> Vec<String> {
    let requests = env.tap.requests();
    let values = requests.iter().filter_map(|request| request.param(key));
    values.map(str::to_owned).collect()
}

#[test]
fn every_person_of_all_pages_arrives_once_a_day_with_the_interval() {
    let styles = [
        Style::default(),
        Style {
            gzip: false,
            pretty: true,
            array_first: true,
            shuffle_keys: true,
            ..Style::default()
        },
    ];
    let cases = styles.iter().flat_map(|style| {
        let case = move |service| (format!("{service} {style:?}"), (service, *style));
        [VAP, CLICKERS].map(case)
    });
    each(cases, |(service, style)| {
        let env = filled(450);
        env.tap.set_style(style);
        let first = run(&env, service);
        first.assert_status(0).assert_says("caught up");
        assert_eq!(first.count("delivered"), 450);
        env.assert_exactly_once(service);
        assert_eq!(asked(&env, "page"), ["1", "2", "3"]);
        assert_eq!(asked(&env, "size"), ["200"; 3]);
        assert_eq!(asked(&env, "window"), ["30"; 3]);
        first.assert_says("1 window, 3 requests (47 left)");
        let day = morning().truncate_to_day();
        let interval = format!("{}/{}", utc(day - Duration::days(30)), utc(day));
        let statistics = match service {
            VAP => "threatStatistics",
            _ => "clickStatistics",
        };
        for event in events(&env) {
            assert_eq!(event["interval"], json!(interval));
            assert_eq!(event["identity"]["department"], "Einkauf, Öl");
            assert!(event[statistics].is_object(), "{event}");
        }

        // the rest of the day asks nothing, and its position is that of the day
        let later = run_at(&env, service, Duration::hours(17), &[]);
        assert_eq!(later.assert_status(0).count("requests"), 0);
        assert_eq!(env.position(service), utc(day));
        let tomorrow = run_at(&env, service, Duration::hours(19), &[]);
        assert_eq!(tomorrow.assert_status(0).count("delivered"), 450);
        env.assert_exactly_once(service);
    });
}

#[test]
fn an_empty_report_is_a_report() {
    let env = TestEnv::new();
    let first = run(&env, VAP);
    assert_eq!(first.assert_status(0).count("windows"), 1);
    assert_eq!(run(&env, VAP).assert_status(0).count("requests"), 0);
}

/// From the second page of the first attempt on, so many times.
fn of_second_page(
    fault: Fault,
    times: usize,
) -> impl FnMut(&Request, usize) -> Option<Fault> + Send {
    let mut count = 0;
    move |request, _| {
        let is_second = request.param("page") == Some("2");
        count += usize::from(is_second);
        (is_second && count <= times).then(|| fault.clone())
    }
}

fn of_another_day() -> Fault {
    Fault::Body(br#"{"users":[{"identity":{"guid":"x"}}],"interval":"a/b"}"#.into())
}

#[test]
fn a_page_that_goes_wrong_lets_the_whole_report_be_requested_again() {
    let rows = [
        Fault::status(503, ""),
        Fault::ResetBody { at: 100 },
        Fault::CutBody { at: 100 },
        of_another_day(),
        // no longer there
        Fault::Body(br#"{"users":[],"totalVapUsers":300,"interval":"a/b"}"#.into()),
    ];
    each(rows.map(|row| (format!("{row:?}"), row)), |fault| {
        let env = filled(300);
        env.tap.script(of_second_page(fault, 1));
        let run = run(&env, VAP);
        assert_eq!(run.assert_status(0).count("delivered"), 300);
        env.assert_exactly_once(VAP);
        assert_eq!(asked(&env, "page")[..3], ["1", "2", "1"].map(str::to_owned));
    });
}

#[test]
fn a_report_that_does_not_become_whole_is_not_delivered_and_heals() {
    let total = |people: u64| {
        let text = format!(r#"{{"users":[],"totalVapUsers":{people},"interval":"INTERVAL"}}"#);
        let day = morning().truncate_to_day();
        let interval = format!("{}/{}", utc(day - Duration::days(30)), utc(day));
        Fault::Body(text.replace("INTERVAL", &interval).into_bytes())
    };
    let rows = [
        (Fault::status(500, "no"), 69, "HTTP 500: no"),
        (Fault::status(401, "no"), 77, "[SetupError 100] HTTP 401"),
        (Fault::status(403, "no"), 77, "[SetupError 100] HTTP 403"),
        (Fault::status(400, "no"), 65, "[PullError 300] HTTP 400"),
        (Fault::Body(b"<html>".into()), 65, "<html>"),
        (Fault::Body(b"{}".into()), 65, "no array \"users\""),
        (Fault::Body(br#"{"users":[{}]}"#.into()), 65, "no interval"),
        (of_another_day(), 69, "changed between two of its pages"),
        (total(301), 69, "301 people, but its pages have 200"),
    ];
    let named = rows.into_iter().map(|row| (format!("{:.80?}", row.0), row));
    each(named, |(fault, status, says)| {
        let env = filled(300);
        env.tap.script(of_second_page(fault, usize::MAX));
        run(&env, VAP).assert_error(status, &[says], "");
        assert_eq!(env.devo.count(), 0);
        env.tap.no_script();
        run(&env, VAP).assert_status(0);
        env.assert_exactly_once(VAP);
    });
}

#[test]
fn a_server_that_knows_no_more_pages_ends_the_report() {
    let env = filled(200);
    env.tap.script(of_second_page(Fault::status(404, ""), 1));
    run(&env, VAP).assert_status(0);
    env.assert_exactly_once(VAP);
    // but the report itself is there
    let env = filled(200);
    env.tap.script(|_, _| Some(Fault::status(404, "")));
    run(&env, VAP).assert_error(65, &["HTTP 404"], "check [tap] base_url");
}

#[test]
fn each_report_has_a_quota_of_its_own() {
    let env = filled(60);
    env.tap.set_people_page(1);
    let spent = run(&env, VAP);
    spent.assert_error(75, &["people/vap", "50 requests per 1d"], "");
    assert_eq!((env.tap.requests().len(), env.devo.count()), (50, 0));
    // the other one has its own
    env.tap.set_people_page(200);
    run(&env, CLICKERS).assert_status(0);
    let status = env.ask(&["status", "--json"]).json();
    let services = status["services"].as_array().unwrap().iter();
    let of = |service| {
        let mut services = services.clone();
        let one = services.find(|one| one["service"] == service).unwrap();
        one["quota"]["limits"][0].clone()
    };
    let expected =
        |pool, used| json!({"of": pool, "used": used, "at_most": 50, "period_seconds": 86_400});
    assert_eq!(of(VAP), expected("people/vap", 50));
    assert_eq!(of(CLICKERS), expected("people/top-clickers", 1));
}

#[test]
fn a_day_without_a_run_is_a_gap() {
    let env = filled(3);
    run(&env, VAP).assert_status(0);
    let day = morning().truncate_to_day();
    let late = run_at(&env, VAP, Duration::days(4), &[]);
    assert_eq!(late.assert_status(3).count("delivered"), 3);
    let gaps = env.state(VAP)["gaps"].clone();
    assert_eq!(gaps.as_array().unwrap().len(), 1, "{gaps:#}");
    assert_eq!(gaps[0]["from"], json!(utc(day)));
    assert_eq!(gaps[0]["to"], json!(utc(day + Duration::days(3))));
    env.assert_exactly_once(VAP);
    run_at(&env, VAP, Duration::days(5), &[]).assert_status(0);
}

#[test]
fn a_backfill_is_refused_with_the_reason() {
    let env = filled(3);
    for more in [
        &["--start-time", "3d"][..],
        &["--start-time", "3d", "--dry-run"],
    ] {
        let refused = run_at(&env, CLICKERS, Duration::ZERO, more);
        let says = ["tap-people-clickers cannot be backfilled", "today's report"];
        refused.assert_error(2, &says, "--start-time");
    }
    assert_eq!(env.tap.requests().len(), 0);
}

#[test]
fn the_period_is_configured() {
    let mut env = filled(3);
    env.service_table = "window = 90\n".into();
    run(&env, VAP).assert_status(0);
    assert_eq!(asked(&env, "window"), ["90"]);
    for wrong in ["13", "31", "91", "'30d'", "0", "-30", "30.0"] {
        env.service_table = format!("window = {wrong}\n");
        let run = run(&env, VAP);
        run.assert_status(78)
            .assert_says("window must be one of 14, 30, 90");
    }
    env.service_table.clear();
    for unknown in ["look_back = '1h'", "recheck_after = '1h'", "requests = []"] {
        env.more_tables = String::new();
        let config = std::fs::read_to_string(env.write_config()).unwrap();
        let header = format!("[services.{VAP}]\n");
        let config = config.replace(&header, &format!("{header}{unknown}\n"));
        let path = env.dir.path().join("unknown.toml");
        crate::test_env::write_private(&path, &config);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_proofpull"));
        let command = command.args(["check", VAP, "--config"]).arg(path);
        crate::test_env::Running::start(command)
            .wait()
            .assert_status(78);
    }
}

#[test]
fn rules_hold_for_people_and_standard_output_has_a_state_of_its_own() {
    let mut env = filled(3);
    env.more_tables = format!(
        "[[services.{VAP}.obfuscate]]\npath = \"identity.emails.*\"\n\
         [[services.{VAP}.obfuscate]]\npath = \"interval\"\nreplace = \"some days\"\n"
    );
    let shown = run_at(&env, VAP, Duration::ZERO, &["--stdout"]);
    shown.assert_status(0);
    assert_eq!(shown.answer().lines().count(), 3);
    run(&env, VAP).assert_status(0);
    let lines = shown.answer();
    let shown = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    for event in shown.chain(events(&env)) {
        let event: Value = event;
        assert_eq!(event["identity"]["emails"][1], "****SANITIZED****");
        assert_eq!(event["interval"], "some days");
    }
    assert_eq!(env.devo.count(), 3);
}

#[test]
fn people_without_a_name_of_their_own_arrive_once_each_and_what_is_no_person_is_quarantined() {
    let env = TestEnv::new();
    let body = r#"{"users":[{"x":1},{"x":1},{"x":2},7,{"identity":{"guid":"g"}},{"identity":{"guid":"g"}}],"interval":"a/b"}"#;
    env.tap.script(move |_, _| Some(Fault::Body(body.into())));
    let run = run(&env, VAP);
    run.assert_status(3).assert_says("1 event quarantined");
    // two that are equal are two; two of one name are one
    let arrived: Vec<String> = events(&env)
        .iter()
        .map(|event| event["x"].to_string())
        .collect();
    assert_eq!(arrived.len(), 4, "{arrived:?}");
    let kinds: BTreeSet<&String> = arrived.iter().collect();
    assert_eq!(kinds.len(), 3, "{arrived:?}");
}

#[test]
fn a_check_asks_for_one_person() {
    let env = filled(300);
    let answer = env
        .ask(&["check", VAP, CLICKERS, "--online", "--json"])
        .json();
    for service in [VAP, CLICKERS] {
        let mut rows = answer["online"].as_array().unwrap().iter();
        let row = rows.find(|row| row["what"] == service).unwrap();
        assert_eq!(row["outcome"], "ok", "{answer:#}");
        let tried = row["tried"].as_str().unwrap();
        assert!(tried.contains("1 of 50 requests per 1d"), "{tried}");
    }
    assert_eq!(asked(&env, "size"), ["1", "1"]);
    assert_eq!(env.devo.count(), 0);
}
