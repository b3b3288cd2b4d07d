//! Forensics: the reports of the campaigns or threats that events name, each once in each status.

use std::collections::BTreeMap;

use proofpull::clock::utc;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::simulator::{Event, Fault};
use crate::test_env::{Run, TestEnv, ago, each};

const SERVICE: &str = "tap-forensics";
const FORENSICS: &str = "/v2/forensics";

/// `count` threats of the last hour, each of a campaign that it shares with the next one.
fn filled(count: usize) -> TestEnv {
    let mut env = TestEnv::new();
    env.start_at(ago(50));
    for number in 0..count {
        name(&env, number, "active");
    }
    env
}

/// An event that names a threat with its campaign.
fn name(env: &TestEnv, number: usize, status: &str) {
    let (threat, campaign) = (format!("t{number}"), format!("c{}", number / 2));
    let body = match number % 2 {
        0 => json!({"threatsInfoMap": [
            {"threatID": threat, "campaignID": campaign, "threatStatus": status},
            {"threatID": "", "campaignID": null, "threatStatus": status},
        ]}),
        _ => json!({"threatID": threat, "campaignId": campaign, "threatStatus": status}),
    };
    let array = ["messagesDelivered", "clicksPermitted"][number % 2];
    env.tap.add(array, Event::new(ago(20), body.to_string()));
}

/// How often the reports of each campaign or threat arrived.
fn arrived(env: &TestEnv) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in env.devo.events() {
        let event: Value = serde_json::from_slice(&event).unwrap();
        let report = &event["reports"][0];
        assert_eq!(
            report["forensics"][1]["display"],
            "Written: C:\\Users\\Öl.exe"
        );
        let id = report["id"].as_str().unwrap().to_owned();
        *counts.entry(id).or_default() += 1;
    }
    counts
}

fn assert_each_once(env: &TestEnv, first: &str, count: usize) {
    let arrived = arrived(env);
    assert_eq!(arrived.len(), count, "{arrived:?}");
    let is_good = |(id, times): (&String, &usize)| id.starts_with(first) && *times == 1;
    assert!(arrived.iter().all(is_good), "{arrived:?}");
}

/// The ids that were looked up by this key.
fn looked_up(env: &TestEnv, key: &str) -> Vec<String> {
    let requests = env.tap.requests().into_iter();
    let requests = requests.filter(|request| request.path == FORENSICS);
    let ids = requests.map(|request| {
        assert_eq!(request.query.len(), 1, "{request:?}");
        request.param(key).unwrap_or_default().to_owned()
    });
    ids.collect()
}

/// A run so long after now, by all clocks.
fn run_after(env: &TestEnv, later: Duration, more: &[&str]) -> Run {
    env.tap.set_clock_offset(later);
    let now = utc(OffsetDateTime::now_utc() + later);
    env.run(SERVICE, &[&["--now", now.as_str()], more].concat())
}

#[test]
fn the_reports_of_each_campaign_arrive_once_in_each_status() {
    let env = filled(20);
    let run = env.run(SERVICE, &[]);
    run.assert_status(0).assert_says("caught up");
    assert_each_once(&env, "c", 10);
    assert_eq!(looked_up(&env, "campaignId").len(), 10);
    env.run(SERVICE, &[]).assert_status(0);
    assert_eq!(looked_up(&env, "campaignId").len(), 10);
    name(&env, 3, "cleared");
    name(&env, 4, "ACTIVE");
    let run = env.run(SERVICE, &[]);
    assert_eq!(run.assert_status(0).count("delivered"), 1);
    assert_eq!(arrived(&env)["c1"], 2);
}

#[test]
fn the_reports_of_each_threat_arrive_if_that_is_configured() {
    let mut env = filled(20);
    env.service_table += "by = \"threat\"\n";
    env.run(SERVICE, &[]).assert_status(0);
    assert_each_once(&env, "t", 20);
    assert_eq!(looked_up(&env, "threatId").len(), 20);
    for wrong in ["'both'", "7", "''"] {
        env.service_table = format!("by = {wrong}\n");
        env.run(SERVICE, &[]).assert_status(78).assert_says("by ");
    }
}

#[test]
fn a_spent_quota_of_threats_ends_the_run_and_the_next_day_goes_on_where_it_stopped() {
    let mut env = filled(70);
    env.service_table += "by = \"threat\"\n";
    let run = env.run(SERVICE, &[]);
    run.assert_error(75, &["forensics by threat", "50 requests per 1d"], "");
    run.assert_says("(0 left)");
    assert_eq!(run.count("delivered"), 50);
    let status = env.ask(&["status", SERVICE, "--json"]).json();
    let limits = &status["services"][0]["quota"]["limits"];
    let used = |of: &str| {
        let mut limits = limits.as_array().unwrap().iter();
        let limit = limits.find(|limit| limit["of"] == of);
        limit.unwrap_or_else(|| panic!("{of}: {limits:?}"))["used"].clone()
    };
    assert_eq!(used("forensics by threat"), 50);
    assert_eq!(used("all but clicks/permitted"), 1);
    // nothing more that day
    env.run(SERVICE, &[]).assert_status(75);
    assert_eq!(looked_up(&env, "threatId").len(), 50);
    let next = run_after(&env, Duration::hours(25), &[]);
    assert_eq!(next.assert_status(0).count("delivered"), 20);
    assert_each_once(&env, "t", 70);
}

#[test]
fn a_backfill_leaves_half_of_the_quota_to_the_timer() {
    let mut env = filled(70);
    env.service_table += "by = \"threat\"\n";
    let run = env.run(SERVICE, &["--start-time", "2h"]);
    run.assert_error(75, &["forensics by threat"], "24 are reserved");
    assert_eq!(run.count("delivered"), 26);
    let run = env.run(SERVICE, &[]);
    assert_eq!(run.assert_status(75).count("delivered"), 24);
}

#[test]
fn reports_that_are_not_there_are_no_error() {
    let env = filled(6);
    env.tap.set_reports("c1", false);
    let run = env.run(SERVICE, &[]);
    assert_eq!(run.assert_status(0).count("delivered"), 2);
    env.tap.set_reports("c1", true);
    let run = env.run(SERVICE, &[]);
    assert_eq!(run.assert_status(0).count("delivered"), 1);
    assert_each_once(&env, "c", 3);
}

#[test]
fn one_answer_that_is_never_given_does_not_hold_up_the_others() {
    let rows = [
        (Fault::status(400, "no"), 65, 1),
        (Fault::status(503, "no"), 69, 3),
        (Fault::Body(br#"{"error":"busy"}"#.into()), 65, 1),
    ];
    each(
        rows.map(|row| (format!("{row:?}"), row)),
        |(fault, status, attempts)| {
            let env = filled(20);
            env.tap.script(move |asked, _| {
                (asked.param("campaignId") == Some("c3")).then(|| fault.clone())
            });
            let run = env.run(SERVICE, &[]);
            run.assert_error(status, &["/v2/forensics?campaignId=c3"], "");
            assert_eq!(run.count("delivered"), 9);
            // every attempt is counted
            run.assert_says("failed: ");
            let ledger = env.ask(&["status", SERVICE, "--json"]).json();
            let limits = ledger["services"][0]["quota"]["limits"]
                .as_array()
                .unwrap()
                .clone();
            let of_campaigns = limits
                .iter()
                .find(|limit| limit["of"] == "forensics by campaign");
            assert_eq!(of_campaigns.unwrap()["used"], 9 + attempts);
            env.tap.no_script();
            let run = env.run(SERVICE, &[]);
            assert_eq!(run.assert_status(0).count("delivered"), 1);
            assert_each_once(&env, "c", 10);
        },
    );
}

#[test]
fn a_429_of_forensics_holds_back_no_events() {
    let env = filled(4);
    env.tap
        .script(|asked, _| (asked.path == FORENSICS).then(|| Fault::status(429, "")));
    env.run(SERVICE, &[]).assert_error(75, &["HTTP 429"], "");
    let before = env.tap.requests().len();
    env.run("tap-clicks-blocked", &[]).assert_status(0);
    assert!(env.tap.requests().len() > before);
    // but no report is requested for an hour
    env.tap.no_script();
    let asked = looked_up(&env, "campaignId").len();
    env.run(SERVICE, &[]).assert_status(75);
    assert_eq!(looked_up(&env, "campaignId").len(), asked);
    run_after(&env, Duration::minutes(65), &[]).assert_status(0);
    assert_each_once(&env, "c", 2);
}

#[test]
fn rules_hold_and_standard_output_has_a_state_of_its_own_and_looking_ahead_costs_nothing() {
    let mut env = filled(4);
    env.more_tables =
        format!("[[services.{SERVICE}.obfuscate]]\npath = \"reports.*.forensics.*.what\"\n");
    let dry = env.run(SERVICE, &["--dry-run"]).assert_status(0).answer();
    assert!(
        dry.contains("forensics by campaign: 0 of 1800 requests per 1d used"),
        "{dry}"
    );
    assert_eq!(env.tap.requests().len(), 0);
    let shown = env.run(SERVICE, &["--stdout"]).assert_status(0).answer();
    assert_eq!(shown.lines().count(), 2);
    for line in shown.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["reports"][0]["forensics"][0]["what"], json!({}));
    }
    assert_eq!(env.run(SERVICE, &[]).assert_status(0).count("delivered"), 2);
}

#[test]
fn a_check_asks_for_one_report() {
    let env = TestEnv::new();
    for minute in 0..4 {
        let body =
            json!({"threatID": "t", "threatStatus": "active", "campaignId": format!("c{minute}")});
        let at = ago(0) - Duration::seconds(61 + minute * 5);
        env.tap
            .add("clicksBlocked", Event::new(at, body.to_string()));
    }
    let answer = env.ask(&["check", SERVICE, "--online", "--json"]).json();
    let mut rows = answer["online"].as_array().unwrap().iter();
    let row = rows.find(|row| row["what"] == SERVICE).unwrap();
    assert_eq!(row["outcome"], "ok", "{answer:#}");
    let tried = row["tried"].as_str().unwrap();
    assert!(
        tried.contains("1 of 1800 requests per 1d, 1 of 1800 requests per 1d"),
        "{tried}"
    );
    assert_eq!(looked_up(&env, "campaignId").len(), 1);
}
