//! Campaigns: each once for each of its updates.

use std::collections::BTreeMap;

use proofpull::clock::utc;
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::simulator::{Fault, Request};
use crate::test_env::{Run, TestEnv, ago, each};

const SERVICE: &str = "tap-campaigns";
const LIST: &str = "/v2/campaign/ids";

/// Noon of yesterday: windows end at even hours.
fn noon() -> OffsetDateTime {
    ago(24 * 60).truncate_to_day() + Duration::hours(12)
}

/// A run so long after that noon, by all clocks.
fn run_at(env: &TestEnv, later: Duration, more: &[&str]) -> Run {
    let now = noon() + later;
    env.tap.set_clock_offset(now - OffsetDateTime::now_utc());
    let now = utc(now);
    env.run(SERVICE, &[&["--now", now.as_str()], more].concat())
}

/// So many campaigns, updated in the day before that noon, evenly.
fn filled(count: u64) -> TestEnv {
    let mut env = TestEnv::new();
    let start = noon() - Duration::DAY;
    env.start_at(start);
    for number in 0..count {
        let at = start + Duration::hours(22) * number as f64 / count as f64;
        env.tap.update_campaign(&id(number), number, at);
    }
    env
}

fn id(number: u64) -> String {
    format!("2b7c4d1e-90a3-4f56-8e21-{number:012x}")
}

/// How often each campaign arrived.
fn arrived(env: &TestEnv) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in env.devo.events() {
        let event: Value = serde_json::from_slice(&event).unwrap();
        assert!(event["campaignMembers"].is_array(), "{event}");
        let id = event["id"].as_str().unwrap().to_owned();
        *counts.entry(id).or_default() += 1;
    }
    counts
}

fn lists(env: &TestEnv) -> Vec<Request> {
    let requests = env.tap.requests().into_iter();
    requests.filter(|request| request.path == LIST).collect()
}

#[test]
fn every_campaign_of_all_pages_arrives_once_and_again_when_it_was_updated() {
    let env = filled(450);
    let first = run_at(&env, Duration::minutes(5), &[]);
    first.assert_status(0).assert_says("caught up");
    assert_eq!(first.count("delivered"), 450);
    env.assert_exactly_once(SERVICE);
    let pages: Vec<String> = lists(&env)
        .iter()
        .map(|request| {
            assert_eq!(request.param("size"), Some("200"));
            request.param("page").unwrap().to_owned()
        })
        .collect();
    assert_eq!(pages, ["1", "2", "3"]);
    // campaigns themselves are not counted
    first.assert_says("1 window, 453 requests (47 left)");
    assert_eq!(env.position(SERVICE), utc(noon()));

    // a run in between asks nothing
    let second = run_at(&env, Duration::minutes(100), &[]);
    assert_eq!(second.assert_status(0).count("requests"), 0);
    env.tap
        .update_campaign(&id(7), 7, noon() + Duration::minutes(30));
    let third = run_at(&env, Duration::minutes(125), &[]);
    assert_eq!(third.assert_status(0).count("delivered"), 1);
    assert_eq!(arrived(&env)[&id(7)], 2);
    // and the recheck brings nothing twice
    let later = run_at(&env, Duration::hours(20), &[]);
    later.assert_status(0).assert_never_says(" late");
    assert_eq!(later.count("delivered"), 0);
    assert!(later.count("requests") > 1, "{}", later.stderr);
}

#[test]
fn a_timer_every_ten_minutes_stays_within_half_of_the_quota() {
    let env = filled(5);
    run_at(&env, Duration::ZERO, &[]).assert_status(0);
    env.tap.forget_requests();
    for hour in 0..48 {
        run_at(&env, Duration::minutes(hour * 30), &[]).assert_status(0);
    }
    let asked = lists(&env).len();
    assert!((12..=25).contains(&asked), "{asked}");
}

#[test]
fn a_list_without_campaigns_is_empty_and_another_404_is_an_error() {
    let env = filled(0);
    let run = run_at(&env, Duration::minutes(5), &[]);
    assert_eq!(run.assert_status(0).count("windows"), 1);
    assert_eq!(lists(&env)[0].status, 404);
    assert_eq!(env.position(SERVICE), utc(noon()));

    let env = filled(3);
    env.tap
        .script(|_, _| Some(Fault::status(404, "no such page")));
    let run = run_at(&env, Duration::ZERO, &[]);
    run.assert_error(65, &["HTTP 404: no such page"], "check [tap] base_url");
    assert_eq!(env.devo.count(), 0);
}

/// Of the pages with this number.
fn of_page(
    page: &'static str,
    fault: Fault,
    times: usize,
) -> impl FnMut(&Request, usize) -> Option<Fault> + Send {
    let mut count = 0;
    move |request, _| {
        let is_it = request.param("page") == Some(page);
        count += usize::from(is_it);
        (is_it && count <= times).then(|| fault.clone())
    }
}

#[test]
fn a_page_of_the_list_that_goes_wrong_lets_the_window_be_requested_again() {
    let rows = [
        (Fault::status(503, ""), usize::MAX, 69),
        (Fault::status(401, "no"), usize::MAX, 77),
        (Fault::status(400, "no"), usize::MAX, 65),
        (Fault::Body(b"{}".into()), usize::MAX, 65),
        (Fault::status(503, ""), 1, 0),
        (Fault::CutBody { at: 100 }, 1, 0),
    ];
    let named = rows.into_iter().map(|row| (format!("{row:?}"), row));
    each(named, |(fault, times, status)| {
        let env = filled(250);
        env.tap.script(of_page("2", fault, times));
        let run = run_at(&env, Duration::ZERO, &[]);
        run.assert_status(status);
        env.tap.no_script();
        run_at(&env, Duration::minutes(1), &[]).assert_status(0);
        env.assert_exactly_once(SERVICE);
    });
}

#[test]
fn one_campaign_that_is_never_given_does_not_hold_up_the_others() {
    let rows = [
        (Fault::status(400, "no"), 65),
        (Fault::status(503, "no"), 69),
        (Fault::Body(br#"{"id":"another"}"#.into()), 65),
    ];
    each(
        rows.map(|row| (format!("{row:?}"), row)),
        |(fault, status)| {
            let env = filled(12);
            let bad = id(3);
            let path = format!("/v2/campaign/{bad}");
            env.tap
                .script(move |asked, _| (asked.path == path).then(|| fault.clone()));
            let run = run_at(&env, Duration::ZERO, &[]);
            run.assert_error(status, &[&bad], "");
            assert_eq!(run.count("delivered"), 11);
            env.tap.no_script();
            let run = run_at(&env, Duration::minutes(1), &[]);
            assert_eq!(run.assert_status(0).count("delivered"), 1);
            env.assert_exactly_once(SERVICE);
        },
    );
}

#[test]
fn a_campaign_that_is_not_there_is_no_error() {
    let env = filled(3);
    env.tap.set_campaign_absent(&id(1), true);
    let run = run_at(&env, Duration::ZERO, &[]);
    assert_eq!(run.assert_status(0).count("delivered"), 2);
}

#[test]
fn the_quota_is_kept_and_half_of_it_for_the_timer() {
    let env = filled(0);
    let backfill = |from: &str| {
        let to = utc(noon());
        run_at(
            &env,
            Duration::ZERO,
            &["--start-time", from, "--end-time", &to],
        )
    };
    let run = backfill("60d");
    run.assert_error(
        75,
        &["campaign/ids", "50 requests per 1d"],
        "24 are reserved",
    );
    // by day
    assert_eq!(lists(&env).len(), 26);
    for request in lists(&env) {
        let (from, to) = request.interval().unwrap();
        assert_eq!(to - from, Duration::DAY);
    }
    run_at(&env, Duration::ZERO, &[]).assert_status(0);
    assert_eq!(lists(&env).len(), 27);
}

#[test]
fn a_dry_run_costs_nothing_and_standard_output_has_a_state_of_its_own() {
    let mut env = filled(3);
    env.more_tables = format!("[[services.{SERVICE}.obfuscate]]\npath = \"name\"\n");
    let dry = run_at(&env, Duration::ZERO, &["--dry-run"]);
    let says = dry.assert_status(0).answer();
    assert!(says.contains("1 window: 1 request"), "{says}");
    assert!(
        says.contains("campaign/ids: 0 of 50 requests per 1d used"),
        "{says}"
    );
    assert_eq!(env.tap.requests().len(), 0);
    let shown = run_at(&env, Duration::ZERO, &["--stdout"]);
    let shown = shown.assert_status(0).answer();
    assert_eq!(shown.lines().count(), 3);
    for line in shown.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["name"], "****SANITIZED****");
    }
    let run = run_at(&env, Duration::ZERO, &[]);
    assert_eq!(run.assert_status(0).count("delivered"), 3);
}
