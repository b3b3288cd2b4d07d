//! The summaries of threats: each that events name, in each status, once.

use std::collections::BTreeMap;
use std::time::Duration as Wait;

use proofpull::clock::utc;
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::simulator::{Event, Fault, Style};
use crate::test_env::{Run, TestEnv, ago, each, hold};

const SERVICE: &str = "tap-threats";
const SUMMARY: &str = "/v2/threat/summary/";

/// An event in one of the four arrays that names these threats.
fn name(env: &TestEnv, number: usize, at: OffsetDateTime, threats: &[(&str, &str)]) {
    let arrays = [
        "messagesBlocked",
        "messagesDelivered",
        "clicksBlocked",
        "clicksPermitted",
    ];
    let array = arrays[number % arrays.len()];
    let time = utc(at).replace('Z', ".000Z");
    for (part, chunk) in threats
        .chunks(if number % 4 < 2 { 3 } else { 1 })
        .enumerate()
    {
        let body = match number % 4 {
            0 | 1 => {
                let threats: Vec<String> = chunk
                    .iter()
                    .map(|(id, status)| {
                        format!(
                            r#"{{"campaignID":null,"threatID":{},"threatStatus":"{status}","threatTime":"{time}"}}"#,
                            Value::from(*id)
                        )
                    })
                    .collect();
                format!(
                    r#"{{"GUID":"g{number}","id":"i{number}-{part}","recipient":["a@x"],"messageTime":"{time}","threatsInfoMap":[{}]}}"#,
                    threats.join(",")
                )
            }
            _ => format!(
                r#"{{"id":"i{number}-{part}","clickTime":"{time}","threatTime":"{time}","threatID":{},"threatStatus":"{}"}}"#,
                Value::from(chunk[0].0),
                chunk[0].1
            ),
        };
        env.tap.add(array, Event::new(at, body));
    }
}

fn id(number: usize) -> String {
    format!("{number:064x}")
}

/// `count` threats over the last hours, each named by two events.
fn filled(count: usize) -> TestEnv {
    let mut env = TestEnv::new();
    let start = ago(300);
    env.start_at(start);
    for number in 0..count {
        let at =
            start + Duration::seconds(290 * 60) * i32::try_from(number).unwrap() / count as i32;
        let id = id(number);
        for more in 0..2 {
            name(&env, number * 2 + more, at, &[(&id, "active")]);
        }
    }
    env
}

/// How often each threat arrived.
fn arrived(env: &TestEnv) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in env.devo.events() {
        let event: Value = serde_json::from_slice(&event).unwrap();
        assert_eq!(event["malware"][0]["name"], "ExampleLöader é");
        let id = event["id"].as_str().unwrap().to_owned();
        *counts.entry(id).or_default() += 1;
    }
    counts
}

fn assert_each_once(env: &TestEnv, count: usize) {
    let arrived = arrived(env);
    assert_eq!(arrived.len(), count);
    assert!(arrived.values().all(|times| *times == 1), "{arrived:?}");
}

fn asked_for_summaries(env: &TestEnv) -> usize {
    let requests = env.tap.requests();
    let summaries = requests
        .iter()
        .filter(|asked| asked.path.starts_with(SUMMARY));
    summaries.count()
}

#[test]
fn each_threat_arrives_once_whatever_names_it() {
    let styles = [
        Style::default(),
        Style {
            gzip: false,
            pretty: true,
            array_first: true,
            extra_keys: true,
            shuffle_keys: true,
            ..Style::default()
        },
    ];
    each(styles.map(|style| (format!("{style:?}"), style)), |style| {
        let env = filled(60);
        env.tap.set_style(style);
        let run = env.run(SERVICE, &[]);
        run.assert_status(0).assert_says("caught up");
        assert_each_once(&env, 60);
        for asked in env.tap.requests() {
            if asked.path == "/v2/siem/all" {
                let statuses = asked.query.iter().filter(|(key, _)| key == "threatStatus");
                let statuses: Vec<&str> = statuses.map(|(_, value)| value.as_str()).collect();
                assert_eq!(statuses, ["active", "cleared", "falsePositive"]);
            } else {
                assert!(asked.path.starts_with(SUMMARY) && asked.query.is_empty());
            }
        }
        assert_eq!(asked_for_summaries(&env), 60);
        env.run(SERVICE, &[]).assert_status(0);
        assert_eq!(asked_for_summaries(&env), 60);
        assert_each_once(&env, 60);
        // windows count in the shared pool, summaries do not
        let windows = run.count("windows");
        assert_eq!(run.count("requests"), windows + 60);
        run.assert_says(&format!("({} left)", 220 - windows));
    });
}

#[test]
fn a_threat_whose_status_changed_arrives_again_and_one_spelt_otherwise_does_not() {
    let env = filled(3);
    env.run(SERVICE, &[]).assert_status(0);
    env.tap.set_threat(&id(1), Some("cleared"));
    for (number, status) in [
        "cleared",
        "Active",
        "CLEARED",
        "falsepositive",
        "falsePositive",
    ]
    .into_iter()
    .enumerate()
    {
        name(&env, number, ago(5), &[(&id(1), status)]);
    }
    let run = env.run(SERVICE, &[]);
    assert_eq!(run.assert_status(0).count("delivered"), 2);
    let arrived = arrived(&env);
    assert_eq!(arrived[&id(1)], 3);
    let last = env.devo.events().pop().unwrap();
    let last: Value = serde_json::from_slice(&last).unwrap();
    assert_eq!(last["status"], "cleared");
}

#[test]
fn twelve_hundred_threats_take_three_runs_of_500() {
    let env = filled(1200);
    for (delivered, how) in [
        (500, "stopped at max_threats_per_run"),
        (500, "stopped at max_threats_per_run"),
        (200, "caught up"),
        (0, "caught up"),
    ] {
        let run = env.run(SERVICE, &[]);
        run.assert_status(0).assert_says(how);
        assert_eq!(run.count("delivered"), delivered, "{}", run.stderr);
    }
    assert_eq!(asked_for_summaries(&env), 1200);
    assert_each_once(&env, 1200);
}

#[test]
fn the_most_of_a_run_is_configured_and_a_backfill_goes_on_after_it() {
    let mut env = filled(50);
    env.service_table += "max_threats_per_run = 20\n";
    let words = ["--start-time", "6h"];
    for (status, delivered) in [(75, 20), (75, 20), (0, 10)] {
        let run = env.run(SERVICE, &words);
        assert_eq!(run.assert_status(status).count("delivered"), delivered);
    }
    assert_each_once(&env, 50);
    for wrong in ["0", "'many'", "1.5", "100001"] {
        env.service_table = format!("max_threats_per_run = {wrong}\n");
        let run = env.run(SERVICE, &[]);
        run.assert_status(78).assert_says("max_threats_per_run");
    }
}

#[test]
fn a_threat_without_a_summary_is_no_error_and_is_asked_for_again_while_it_is_named() {
    let mut env = filled(10);
    // more than a run delivers
    env.service_table += "max_threats_per_run = 5\n";
    let start = ago(60);
    let absent: Vec<String> = (100..120).map(id).collect();
    for (number, id) in absent.iter().enumerate() {
        env.tap.set_threat(id, None);
        name(
            &env,
            number,
            start + Duration::minutes(40),
            &[(id, "active")],
        );
    }
    for _ in 0..4 {
        env.run(SERVICE, &[]).assert_status(0);
    }
    assert_each_once(&env, 10);
    env.tap.set_threat(&absent[3], Some("active"));
    let run = env.run(SERVICE, &[]);
    assert_eq!(run.assert_status(0).count("delivered"), 1);
    assert_eq!(arrived(&env)[&absent[3]], 1);

    // once look_back does not name them any more they are not asked for
    env.tap.set_clock_offset(Duration::HOUR);
    let later = utc(ago(-60));
    env.run(SERVICE, &["--now", &later]).assert_status(0);
    env.tap.forget_requests();
    let later = utc(ago(-61));
    env.tap.set_clock_offset(Duration::minutes(61));
    env.run(SERVICE, &["--now", &later]).assert_status(0);
    assert_eq!(asked_for_summaries(&env), 0);
}

#[test]
fn ids_from_the_wire_stay_in_their_place() {
    let env = filled(1);
    let ids = [
        "../../siem/all?x=1",
        "a/b",
        "ü%2f#",
        "..",
        ".",
        "\"quoted\"\u{1}",
    ];
    for (number, id) in ids.iter().enumerate() {
        env.tap.set_threat(id, Some("active"));
        name(&env, number, ago(20), &[(id, "active")]);
    }
    name(&env, 3, ago(20), &[(&"x".repeat(10_000), "active")]);
    name(&env, 0, ago(20), &[("", "active")]);
    let run = env.run(SERVICE, &[]);
    run.assert_status(0)
        .assert_says("an id that is longer than any (1)");
    let arrived = arrived(&env);
    assert!(ids.iter().all(|id| arrived[*id] == 1), "{arrived:?}");
    assert_eq!(arrived.len(), ids.len() + 1);
}

#[test]
fn events_that_are_no_json_are_counted_and_hold_up_nothing() {
    let env = filled(2);
    env.tap
        .add("clicksBlocked", Event::new(ago(9), "{\"threatID\":NaN}"));
    let run = env.run(SERVICE, &[]);
    run.assert_status(0).assert_says("1 not valid JSON");
    assert_each_once(&env, 2);
}

#[test]
fn what_is_odd_in_an_event_is_named_and_costs_nothing_beside_it() {
    let env = TestEnv::new();
    let good = |number| format!(r#"{{"threatID":"{}","threatStatus":"active"}}"#, id(number));
    for (number, odd) in ["null", r#"{"threatID":5}"#, "7"].into_iter().enumerate() {
        let event = format!(r#"{{"threatsInfoMap":[{odd},{}]}}"#, good(number));
        env.tap.add("messagesBlocked", Event::new(ago(20), event));
    }
    let run = env.run(SERVICE, &[]);
    run.assert_status(0)
        .assert_says("passed over a threatID that is not a text (1), an element of threatsInfoMap")
        .assert_says("not an object (2)");
    assert_each_once(&env, 3);
}

fn of_summaries(
    fault: Fault,
    from: usize,
    times: usize,
) -> impl FnMut(&crate::simulator::Request, usize) -> Option<Fault> {
    let mut count = 0;
    move |asked, _| {
        let summary = asked.path.starts_with(SUMMARY);
        count += usize::from(summary);
        (summary && (from..from + times).contains(&(count - 1))).then(|| fault.clone())
    }
}

#[test]
fn a_summary_that_goes_wrong_once_is_asked_for_again() {
    let wait = Wait::from_secs(60);
    let rows = [
        Fault::status(503, ""),
        Fault::Reset,
        Fault::Close,
        Fault::CutBody { at: 30 },
        Fault::ResetBody { at: 100 },
        Fault::Stall { wait },
        Fault::Body(b"{\"id\":\"cut".into()),
    ];
    each(rows.map(|row| (format!("{row:?}"), row)), |fault| {
        let mut env = filled(5);
        if matches!(fault, Fault::Stall { .. }) {
            env.http_table = "timeout = \"2s\"\n".into();
        }
        env.tap.script(of_summaries(fault, 2, 1));
        env.run(SERVICE, &[]).assert_status(0);
        assert_each_once(&env, 5);
    });
}

#[test]
fn a_summary_that_goes_wrong_for_good_has_a_status_and_loses_nothing() {
    let rows = [
        (Fault::status(500, "no"), 69, "[PullError 300] HTTP 500: no"),
        (Fault::status(401, "no"), 77, "[SetupError 100] HTTP 401"),
        (Fault::status(403, "no"), 77, "[SetupError 100] HTTP 403"),
        (Fault::status(400, "no"), 65, "[PullError 300] HTTP 400"),
        (
            Fault::Status {
                code: 429,
                body: Vec::new(),
                headers: vec![("Retry-After".into(), "0".into())],
            },
            75,
            "HTTP 429",
        ),
        (Fault::Reset, 69, "[PullError 301]"),
        (Fault::Body(b"{\"id\":".into()), 69, "cut off"),
        (Fault::Body(b"<html>".into()), 65, "<html>"),
        (Fault::Body(b"{}".into()), 65, "does not have the id"),
        (Fault::Body(br#"{"error":"busy"}"#.into()), 65, "busy"),
        (Fault::Body(Vec::new()), 65, "empty"),
        (Fault::Body(vec![b'{'; 17 << 20]), 65, "[PullError 301]"),
    ];
    let named = rows.into_iter().map(|row| (format!("{:.80?}", row.0), row));
    each(named, |(fault, status, says)| {
        let env = filled(5);
        env.tap.script(of_summaries(fault, 2, usize::MAX / 2));
        let run = env.run(SERVICE, &[]);
        run.assert_error(status, &[says], "");
        assert_eq!(run.count("delivered"), 2);
        env.tap.no_script();
        env.run(SERVICE, &[]).assert_status(0);
        assert_each_once(&env, 5);
    });
}

/// Twelve threats of one window, of which this one never has a good answer.
fn with_a_bad_one(fault: Fault) -> (TestEnv, String) {
    let mut env = TestEnv::new();
    env.start_at(ago(50));
    for number in 0..12 {
        name(&env, number, ago(20), &[(&id(number), "active")]);
    }
    let bad = id(3);
    let path = format!("{SUMMARY}{bad}");
    env.tap
        .script(move |asked, _| (asked.path == path).then(|| fault.clone()));
    (env, bad)
}

#[test]
fn one_summary_that_is_never_given_does_not_hold_up_the_others() {
    let rows = [
        (Fault::status(400, "no"), 65, 1),
        (Fault::status(503, "no"), 69, 3),
        // once more for the kept connection
        (Fault::Reset, 69, 4),
        (Fault::Body(b"<html>".into()), 65, 1),
        (Fault::Body(vec![b'{'; 17 << 20]), 65, 1),
        (
            Fault::Body([b"\"", &*vec![b'x'; 17 << 20], b"\""].concat()),
            65,
            1,
        ),
    ];
    let named = rows.into_iter().map(|row| (format!("{:.80?}", row.0), row));
    each(named, |(fault, status, attempts)| {
        let (env, bad) = with_a_bad_one(fault);
        let start = utc(ago(50));
        let run = env.run(SERVICE, &[]);
        run.assert_error(status, &[&bad], "");
        run.assert_never_says("threat_type");
        assert_eq!(run.count("delivered"), 11);
        assert_eq!(asked_for_summaries(&env), 11 + attempts);
        // the next run asks for it again, and for nothing else
        assert!(env.position(SERVICE) <= start, "{start}");
        env.tap.forget_requests();
        let run = env.run(SERVICE, &[]);
        run.assert_error(status, &[&bad], "");
        assert_eq!(asked_for_summaries(&env), attempts);
        env.tap.no_script();
        let run = env.run(SERVICE, &[]);
        assert_eq!(run.assert_status(0).count("delivered"), 1);
        assert_each_once(&env, 12);
    });
}

#[test]
fn a_summary_that_is_not_given_for_a_day_holds_up_the_service_no_longer_and_is_a_gap() {
    let (env, bad) = with_a_bad_one(Fault::status(400, "no"));
    env.run(SERVICE, &[]).assert_status(65);
    let from = env.position(SERVICE);
    let run_after = |later: Duration| {
        env.tap.set_clock_offset(later);
        env.run(SERVICE, &["--now", &utc(ago(0) + later)])
    };
    run_after(Duration::hours(23)).assert_status(65);
    assert_eq!(env.position(SERVICE), from);
    let later = Duration::hours(26);
    name(&env, 4, ago(20) + later, &[(&id(100), "active")]);
    // the threat goes on being named
    name(&env, 5, ago(15) + later, &[(&bad, "active")]);
    let run = run_after(later);
    run.assert_status(3)
        .assert_says(&bad)
        .assert_says("no longer");
    assert_eq!(run.count("delivered"), 1);
    let gaps = env.state(SERVICE)["gaps"].clone();
    assert_eq!(gaps.as_array().unwrap().len(), 1, "{gaps:#}");
    assert_eq!(gaps[0]["from"].as_str().unwrap(), from);
    assert!(gaps[0]["to"].as_str().unwrap() <= utc(ago(-11)).as_str());
    assert!(env.position(SERVICE) > utc(ago(10) + later));
    // and is not asked for any more
    env.tap.forget_requests();
    run_after(later + Duration::minutes(10)).assert_status(0);
    assert_eq!(asked_for_summaries(&env), 0);
}

/// It may be a moment's trouble: only what held up runs for a day is passed over.
#[test]
fn a_summary_of_an_old_window_is_not_given_up_at_the_first_attempt() {
    let (env, bad) = with_a_bad_one(Fault::status(400, "no"));
    // runs that came through, but for a day there were none
    let early = utc(ago(30));
    env.run(SERVICE, &["--now", &early]).assert_status(0);
    let later = Duration::hours(26);
    env.tap.set_clock_offset(later);
    let now = utc(ago(0) + later);
    let (from, to) = (utc(ago(50)), utc(ago(5) + later));
    env.run(SERVICE, &["--now", &now])
        .assert_error(65, &[&bad], "");
    let backfill = ["--now", &now, "--start-time", &from, "--end-time", &to];
    env.run(SERVICE, &backfill).assert_error(65, &[&bad], "");
    assert_eq!(env.state(SERVICE)["gaps"].as_array().unwrap().len(), 0);
}

#[test]
fn a_limit_hides_no_failure() {
    let (mut env, bad) = with_a_bad_one(Fault::status(400, "no"));
    env.service_table += "max_threats_per_run = 4\n";
    let is_asked_for = |env: &TestEnv| {
        let requests = env.tap.requests();
        requests.iter().any(|asked| asked.path.ends_with(&bad))
    };
    // in what order they are asked for is the service's affair
    for _ in 0..3 {
        env.tap.forget_requests();
        let run = env.run(SERVICE, &[]);
        assert_eq!(run.status == Some(65), is_asked_for(&env), "{}", run.stderr);
    }
    assert_eq!(arrived(&env).len(), 11);
}

#[test]
fn many_failures_in_a_row_end_the_run_and_after_a_day_cost_one_window() {
    let env = filled(30);
    env.tap
        .script(of_summaries(Fault::status(400, "no"), 0, usize::MAX / 2));
    env.run(SERVICE, &[]).assert_error(65, &["HTTP 400"], "");
    assert!(asked_for_summaries(&env) <= 10);
    let before = env.position(SERVICE);

    let later = Duration::hours(25);
    env.tap.set_clock_offset(later);
    env.tap.forget_requests();
    let events = env.tap.requests().len();
    let run = env.run(SERVICE, &["--now", &utc(ago(0) + later)]);
    assert!(matches!(run.status, Some(0 | 3 | 65)), "{}", run.stderr);
    assert!(env.position(SERVICE) > before);
    assert!(asked_for_summaries(&env) + events <= 20);
    let gaps = env.state(SERVICE)["gaps"].clone();
    assert_eq!(gaps.as_array().unwrap().len(), 1, "{gaps:#}");
}

/// The window that could not be asked for is not taken for the one that was.
#[test]
fn what_the_service_turns_out_not_to_keep_is_a_gap_up_to_where_it_is_read() {
    let mut env = TestEnv::new();
    env.start_at(ago(60));
    env.run(SERVICE, &[]).assert_status(0);
    let from = env.position(SERVICE);
    let later = Duration::days(3);
    env.tap.set_clock_offset(later);
    env.tap.set_keep(Duration::days(1));
    name(&env, 0, ago(120) + later, &[(&id(1), "active")]);
    env.tap.forget_requests();
    let run = env.run(SERVICE, &["--now", &utc(ago(0) + later)]);
    run.assert_status(3).assert_says("keeps only");
    assert_eq!(run.count("delivered"), 1);
    let windows: Vec<_> = env
        .tap
        .requests()
        .iter()
        .filter_map(|asked| asked.interval())
        .collect();
    let gaps = env.state(SERVICE)["gaps"].clone();
    assert_eq!(gaps.as_array().unwrap().len(), 1, "{gaps:#}");
    assert_eq!(gaps[0]["from"].as_str().unwrap(), from);
    assert_eq!(gaps[0]["to"].as_str().unwrap(), utc(windows[1].0));
}

#[test]
fn a_signal_between_summaries_ends_it_in_good_order() {
    let env = filled(20);
    let held = hold(&env.tap, 12);
    let run = env.start(SERVICE, &[]);
    held.wait();
    run.signal("TERM");
    let run: Run = run.wait();
    drop(held);
    run.assert_status(0).assert_says("stopped by a signal");
    env.tap.no_script();
    env.run(SERVICE, &[]).assert_status(0);
    assert_each_once(&env, 20);
}

#[test]
fn what_was_delivered_is_remembered_for_30_days() {
    let mut env = TestEnv::new();
    let start = ago(6 * 24 * 60);
    env.start_at(start);
    let run = |at: OffsetDateTime| {
        env.tap.set_clock_offset(at - OffsetDateTime::now_utc());
        env.run(SERVICE, &["--now", &utc(at)])
    };
    name(
        &env,
        0,
        start + Duration::minutes(10),
        &[(&id(1), "active")],
    );
    run(start + Duration::HOUR).assert_status(0);
    for (days, delivered) in [
        (5, 0),
        (10, 0),
        (15, 0),
        (20, 0),
        (25, 0),
        (29, 0),
        (32, 0),
        (36, 1),
    ] {
        let at = start + Duration::days(days);
        name(&env, days as usize * 4, at, &[(&id(1), "active")]);
        let run = run(at + Duration::HOUR);
        assert_eq!(
            run.assert_status(0).count("delivered"),
            delivered,
            "day {days}"
        );
    }
}
