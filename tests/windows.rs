//! The windows that are asked for: touching, never in the future, halved where they are too much;
//! and what becomes of what is too old, of a changed start, and of clocks that are wrong.

use std::time::Duration as Wait;

use proofpull::clock::utc;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::simulator::{Event, Fault, Request, Rng, sample};
use crate::test_env::{Run, TestEnv, ago, array, each};

const SERVICE: &str = "tap-clicks-permitted";
const DAY: Duration = Duration::DAY;
const HOUR: Duration = Duration::HOUR;

/// A run when it is this time for the program; TAP has a clock of its own.
fn run_at(env: &TestEnv, now: OffsetDateTime) -> Run {
    env.run(SERVICE, &["--now", &utc(now)])
}

/// A run when it is this time for everybody.
fn run_together_at(env: &TestEnv, now: OffsetDateTime) -> Run {
    env.tap.forget_requests();
    env.tap.set_clock_offset(now - OffsetDateTime::now_utc());
    run_at(env, now)
}

fn now() -> OffsetDateTime {
    ago(0)
}

fn position(env: &TestEnv) -> OffsetDateTime {
    OffsetDateTime::parse(&env.position(SERVICE), &Rfc3339).unwrap()
}

fn window(request: &Request) -> (OffsetDateTime, OffsetDateTime) {
    request.interval().expect("an interval")
}

fn gaps(env: &TestEnv) -> Vec<serde_json::Value> {
    env.state(SERVICE)["gaps"].as_array().unwrap().clone()
}

#[test]
fn windows_touch_and_are_asked_for_as_tap_takes_them() {
    let mut env = TestEnv::new();
    let mut from = ago(200);
    env.start_at(from);
    env.service_table += "threat_type = [\"url\", \"attachment\"]\nthreat_status = [\"active\"]\n";
    env.run(SERVICE, &[]).assert_status(0);
    let requests = env.tap.requests();
    for request in &requests {
        let (start, end) = window(request);
        let interval = format!("{}/{}", utc(start), utc(end));
        let expected = [
            ("format", "json"),
            ("threatType", "url"),
            ("threatType", "attachment"),
            ("threatStatus", "active"),
            ("interval", &interval),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(request.query, expected);
        assert!(
            (start - from).abs() <= Duration::SECOND,
            "{start} after {from}"
        );
        assert!((Duration::seconds(30)..=HOUR).contains(&(end - start)));
        assert!(
            end <= request.at - Duration::seconds(60),
            "{end} at {}",
            request.at
        );
        from = end;
    }
    assert_eq!(requests.len(), 4);
    assert_eq!(position(&env), from);
    assert!(from >= ago(3));
}

#[test]
fn late_events_arrive_once_at_one_request_a_run_over_hours() {
    let mut env = TestEnv::new();
    let mut rng = Rng::new(crate::test_env::seed());
    let start = ago(5 * 60);
    env.start_at(start);
    for minute in 0..180 {
        let created = start + Duration::minutes(minute);
        let body = sample::click(&mut rng, created, minute as u64, "someone@corp.example");
        let body = if rng.chance(20) {
            body.without_id()
        } else {
            body
        };
        let late = Duration::seconds(rng.below(40 * 60) as i64);
        let event = Event::new(created, body).visible_from(created + late);
        // two of the same second, without a name, are two
        let twins = rng.chance(10) && event.body == event.body.without_id();
        env.tap.add(array(SERVICE), event.clone());
        if twins {
            env.tap.add(array(SERVICE), event);
        }
    }
    for (number, minute) in (10..240).step_by(10).enumerate() {
        // an API that counts the very end of a window to it shows events in two windows
        env.tap.set_end_inclusive(number % 2 > 0);
        let run = run_together_at(&env, start + Duration::minutes(minute));
        run.assert_status(0);
        // the latest come near the end of look_back, which is told
        let mut warnings = run.stderr.lines().filter(|line| line.contains("warning"));
        assert!(warnings.all(|line| line.contains("near the end of look_back (45m)")));
        assert_eq!(run.count("requests"), 1, "{}", run.stderr);
    }
    env.assert_exactly_once(SERVICE);
}

/// A burst of so many seconds, a minute into the second of two hours; no window that has any of
/// it works, but those of at most `works` seconds. Returns how many runs it took.
fn check_burst(fault: &Fault, seconds: i64, works: i64, words: &[&str]) -> usize {
    let mut env = TestEnv::new();
    // so that reading it again in half minutes takes a short run on a slow machine, too
    env.service_table += "look_back = \"10m\"\n";
    let start = ago(122);
    env.start_at(start);
    if matches!(fault, Fault::Stall { .. } | Fault::StallBody { .. }) {
        env.http_table = "timeout = \"2s\"\n".into();
    }
    env.add(SERVICE, start, ago(3), 60);
    let from = start + HOUR + Duration::MINUTE;
    let to = from + Duration::seconds(seconds);
    env.add(SERVICE, from, to, 40);
    let fault = fault.clone();
    env.tap.script(move |request, _| {
        let (start, end) = window(request);
        let hit = start < to && end > from && end - start > Duration::seconds(works);
        hit.then(|| fault.clone())
    });
    let (mut said, mut runs, mut shortest) = (String::new(), 0, 3600);
    while !said.contains("caught up") {
        assert!(runs < 12, "it never gets through:\n{said}");
        let run = env.run(SERVICE, words);
        assert!(matches!(run.status, Some(0 | 69)), "{}", run.stderr);
        said += &run.stderr;
        runs += 1;
        // each run goes on with windows that are narrower still, or has passed the place
        let narrow = &env.state(SERVICE)["checkpoint"]["narrow"]["seconds"];
        let seconds = narrow.as_i64().unwrap_or(3600);
        assert!(seconds <= shortest || position(&env) > from, "{said}");
        shortest = shortest.min(seconds);
    }
    env.assert_exactly_once(SERVICE);
    // and the windows grow again
    env.tap.no_script();
    run_together_at(&env, now() + HOUR * 3).assert_status(0);
    let requests = env.tap.requests();
    let whole = |(start, end): (OffsetDateTime, OffsetDateTime)| end - start == HOUR;
    assert!(requests.iter().any(|request| whole(window(request))));
    assert!(env.state(SERVICE)["checkpoint"]["narrow"].is_null());
    runs
}

#[test]
fn a_window_that_is_too_much_is_halved() {
    let wait = Wait::from_secs(30);
    let faults = [
        Fault::status(413, "too much"),
        Fault::status(504, ""),
        Fault::Stall { wait },
        Fault::StallBody { at: 400, wait },
        Fault::CutBody { at: 400 },
        Fault::ResetBody { at: 400 },
    ];
    each(faults.map(|fault| (format!("{fault:?}"), fault)), |fault| {
        assert!(check_burst(&fault, 240, 450, &[]) <= 2);
    });
}

#[test]
fn a_burst_gets_through_over_several_short_runs() {
    let runs = check_burst(&Fault::status(504, ""), 50, 30, &["--max-duration", "3s"]);
    assert!(runs > 1);
}

#[test]
fn what_tap_no_longer_keeps_is_a_gap_and_said_once() {
    let mut env = TestEnv::new();
    let old = now() - DAY * 9;
    env.start_at(old - HOUR);
    env.add(SERVICE, old - HOUR, old - Duration::minutes(2), 5);
    run_together_at(&env, old).assert_status(0);
    let before = position(&env);

    env.add(SERVICE, now() - DAY * 6, ago(3), 50);
    env.tap.set_clock_offset(Duration::ZERO);
    env.tap.forget_requests();
    // a run that fails says its failure, the next one says the gap
    env.tap
        .script(|_, number| (number > 3).then(|| Fault::status(401, "")));
    env.run(SERVICE, &[]).assert_status(77);
    let first = window(&env.tap.requests()[0]).0;
    let expected = serde_json::json!({ "from": utc(before), "to": utc(first), "said": false });
    assert_eq!(gaps(&env), [expected]);
    let edge: OffsetDateTime = now() - DAY * 7 + HOUR;
    assert!(
        (first - edge).abs() < Duration::minutes(4),
        "{first}, {edge}"
    );

    env.tap.no_script();
    let run = env.run(SERVICE, &[]);
    run.assert_status(3);
    let said = format!("from {} to {}", utc(before), utc(first));
    run.assert_says(&said).assert_says("1 gap,");
    let run = env.run(SERVICE, &[]);
    run.assert_status(0).assert_never_says("gap:");
    assert_eq!(gaps(&env)[0]["said"], true);
    env.assert_exactly_once(SERVICE);
}

#[test]
fn how_much_tap_keeps_is_read_from_its_refusal() {
    let mut env = TestEnv::new();
    env.tap.set_keep(Duration::hours(12));
    env.start_at(now() - DAY);
    env.add(SERVICE, now() - Duration::hours(10), ago(3), 30);
    let run = env.run(SERVICE, &[]);
    run.assert_status(0).assert_says("12h");
    let requests = env.tap.requests();
    assert_eq!(
        requests.iter().filter(|asked| asked.status == 400).count(),
        1
    );
    assert!(requests.len() <= 13, "{}", requests.len());
    assert_eq!(gaps(&env).len(), 0, "a start that is moved up is no gap");
    env.assert_exactly_once(SERVICE);

    // the same for a position that became too old
    let later = now() + DAY;
    let before = position(&env);
    run_together_at(&env, later).assert_status(3);
    let gap = &gaps(&env)[0];
    assert_eq!(gap["from"], utc(before));
    let edge = utc(later - Duration::hours(11));
    assert!(
        gap["to"].as_str().unwrap()[..15] >= edge[..15],
        "{gap}, {edge}"
    );
    run_together_at(&env, later).assert_status(0);
}

/// The API of Proofpoint Essentials is TAP's, three days back.
#[test]
fn proofpoint_essentials_is_read_as_tap_over_the_three_days_that_it_keeps() {
    let mut env = TestEnv::new();
    env.tap.set_keep(DAY * 3);
    env.start_at(now() - DAY * 3 + HOUR * 2);
    env.add(SERVICE, now() - DAY * 3 + HOUR * 2, ago(3), 150);
    let run = env.run(SERVICE, &[]);
    run.assert_status(0).assert_says("caught up");
    assert!(env.tap.requests().iter().all(|asked| asked.status == 200));
    env.assert_exactly_once(SERVICE);

    // after four days off, one is a gap, and the rest comes
    let later = now() + DAY * 4;
    env.add(SERVICE, later - HOUR * 60, later - HOUR, 30);
    run_together_at(&env, later).assert_status(3);
    assert_eq!(gaps(&env).len(), 1);
    let hours = position(&env) - (later - HOUR);
    assert!(hours.is_positive(), "{hours}");
    env.assert_exactly_once(SERVICE);
}

#[test]
fn a_start_that_is_older_than_kept_is_moved_up_and_is_no_gap() {
    for fails_first in [false, true] {
        let mut env = TestEnv::new();
        env.start_at(now() - DAY * 30);
        env.add(SERVICE, now() - DAY * 6, ago(3), 20);
        if fails_first {
            env.tap.script(|_, _| Some(Fault::status(401, "")));
            env.run(SERVICE, &[]).assert_status(77);
            env.tap.no_script();
        }
        let run = env.run(SERVICE, &[]);
        run.assert_status(0);
        if !fails_first {
            run.assert_says("warning").assert_says("older than");
        }
        assert_eq!(gaps(&env).len(), 0);
        env.assert_exactly_once(SERVICE);
    }
}

#[test]
fn another_start_time_starts_over_and_says_so_and_the_same_does_not() {
    let mut env = TestEnv::new();
    let start = ago(180);
    env.add(SERVICE, ago(170), ago(3), 30);
    let mut run_with = |start_time: &str| {
        env.service_table = start_time.to_owned();
        let run = env.run(SERVICE, &[]);
        run.assert_status(0);
        (run.count("delivered"), run.stderr.contains("starts over"))
    };
    let utc_plus_two = time::UtcOffset::from_hms(2, 0, 0).unwrap();
    let local = start.to_offset(utc_plus_two).format(&Rfc3339).unwrap();
    let line = |time: &str| format!("start_time = {time:?}\n");
    let written = line(&utc(start));
    assert_eq!(run_with(&written), (30, false));
    for same in [
        line(&local),
        line(&utc(start).replace('T', " ")),
        line(&local.replace("02:00", "0200")),
        format!("start_time = {}\n", utc(start)),
        "start_time = \"\"\n".into(),
        String::new(),
        written.clone(),
    ] {
        assert_eq!(run_with(&same), (0, false), "{same}");
    }
    let later = utc(ago(90));
    let (delivered, said) = run_with(&line(&later));
    assert!((14..=16).contains(&delivered) && said, "{delivered}");
    assert_eq!(run_with(&line(&later.replace('T', " "))).0, 0);
    assert_eq!(run_with(&written), (30, true));
}

/// Our clock is wrong by `ours` and TAP's by `theirs`; later both are right. Nothing is lost, nothing
/// comes twice, and no position is ever later than TAP's time.
fn check_clocks(ours: Duration, theirs: Duration, says: &str) {
    let mut env = TestEnv::new();
    env.start_at(ago(30) + ours.min(theirs).min(Duration::ZERO));
    for (minute, wrong) in [(0, 1_i32), (10, 1), (20, 0), (30, 0)] {
        let right = now() + Duration::minutes(minute);
        let (ours, server) = (right + ours * wrong, right + theirs * wrong);
        let created = server.min(right) - Duration::minutes(10);
        env.add(SERVICE, created - Duration::minutes(20), created, 10);
        env.tap.set_clock_offset(server - OffsetDateTime::now_utc());
        let run = run_at(&env, ours);
        run.assert_status(0);
        match wrong {
            0 => run.assert_never_says("warning"),
            _ => run.assert_says("warning").assert_says(says),
        };
        // a slow start of the program is its clock's, too
        let margin = Duration::seconds(50);
        assert!(
            position(&env) <= ours.min(server) - margin,
            "{}",
            run.stderr
        );
    }
    env.assert_exactly_once(SERVICE);
}

#[test]
fn a_clock_that_is_ahead_loses_nothing() {
    check_clocks(HOUR * 3, Duration::ZERO, "clock is 3h ahead of");
    check_clocks(Duration::minutes(2), Duration::ZERO, "ahead of");
    check_clocks(Duration::ZERO, -HOUR * 3, "clock is 3h ahead of");
}

/// Our clock is days ahead for a first run, or for one that goes on; later it is right.
#[test]
fn a_clock_that_is_days_ahead_loses_nothing_and_makes_no_gap() {
    let hours = [156, 164, 192];
    let rows = hours.map(|hours| {
        [
            (hours, false, true),
            (hours, true, true),
            (hours, false, false),
        ]
    });
    let rows = rows.into_iter().flatten();
    each(rows.map(|row| (format!("{row:?}"), row)), |row| {
        let (hours, is_known, is_configured) = row;
        let ahead = Duration::hours(hours);
        let mut env = TestEnv::new();
        if is_configured {
            env.start_at(ago(3 * 24 * 60));
        }
        let from = if is_configured { 70 * 60 } else { 23 * 60 };
        env.add(SERVICE, ago(from), ago(10), 60);
        if is_known {
            let early = ago(60 * 60);
            run_together_at(&env, early).assert_status(0);
        }
        env.tap.set_clock_offset(Duration::ZERO);
        let run = run_at(&env, now() + ahead);
        run.assert_status(0)
            .assert_says("clock is")
            .assert_says("ahead of");
        assert!(position(&env) <= now(), "{}", run.stderr);
        run_at(&env, now()).assert_status(0);
        assert_eq!(gaps(&env).len(), 0);
        env.assert_exactly_once(SERVICE);
    });
}

#[test]
fn a_start_in_the_future_from_which_nothing_was_read_heals_by_itself() {
    let env = TestEnv::new();
    env.add(SERVICE, ago(300), ago(10), 30);
    env.tap.script(|_, _| Some(Fault::status(401, "")));
    run_at(&env, now() + DAY * 8).assert_status(77);
    assert!(position(&env) > now());
    env.tap.no_script();
    let run = run_at(&env, now());
    run.assert_status(0)
        .assert_says("is in the future, and nothing was read");
    env.assert_exactly_once(SERVICE);
}

#[test]
fn a_date_that_is_wrong_once_gives_nothing_up_and_moves_nothing_back() {
    for wrong in [-DAY * 20_000, -DAY, DAY * 40] {
        let mut env = TestEnv::new();
        env.start_at(ago(300));
        env.add(SERVICE, ago(290), ago(10), 40);
        for wrong in [Duration::ZERO, wrong, Duration::ZERO] {
            let before = env.state_dir().join(format!("{SERVICE}.json")).exists();
            let before = before.then(|| position(&env));
            env.tap.set_clock_offset(wrong);
            let run = run_at(&env, now());
            let is_warned = run.stderr.contains("until they agree");
            assert_eq!(is_warned, wrong != Duration::ZERO, "{}", run.stderr);
            // a server whose clock is ahead refuses as too old what it would have
            assert_eq!(
                run.status == Some(0),
                wrong <= Duration::ZERO,
                "{}",
                run.stderr
            );
            assert!(before.is_none_or(|before| before <= position(&env)));
        }
        assert_eq!(gaps(&env).len(), 0);
        env.assert_exactly_once(SERVICE);
    }
}

#[test]
fn a_clock_that_is_behind_loses_nothing() {
    check_clocks(-HOUR * 3, Duration::ZERO, "clock is 3h behind");
    check_clocks(Duration::ZERO, HOUR * 3, "clock is 3h behind");
}

/// Our clock is years behind for a first run, as on a machine without one; later it is right.
#[test]
fn a_first_run_years_ago_is_no_gap_of_years() {
    for years in [1, 3, 50] {
        let env = TestEnv::new();
        env.add(SERVICE, ago(23 * 60), ago(10), 20);
        let run = run_at(&env, now() - DAY * 365 * years);
        let why = ["is older than the service keeps", "nothing is given up"];
        run.assert_error(69, &why, "clock");
        let later = now() + HOUR * 3;
        let run = run_together_at(&env, later);
        run.assert_status(0);
        assert_eq!(gaps(&env).len(), 0, "{}", run.stderr);
        env.assert_exactly_once(SERVICE);
    }
}

/// What both clocks call too old, though they do not agree, waits for the right time.
#[test]
fn a_start_that_is_too_old_is_moved_up_only_when_both_clocks_agree() {
    let mut env = TestEnv::new();
    env.start_at(now() - DAY * 8);
    env.add(SERVICE, now() - DAY * 6, ago(200), 20);
    let run = run_at(&env, now() - HOUR / 2);
    let words = ["is older than the service keeps", "nothing is given up"];
    run.assert_error(69, &words, "clock").assert_says("behind");
    let run = run_at(&env, now());
    run.assert_status(0)
        .assert_says("older than the service keeps: starting at");
    env.assert_exactly_once(SERVICE);
}

#[test]
fn a_saved_position_in_the_future_is_an_error_and_nothing_is_asked() {
    let mut env = TestEnv::new();
    env.start_at(ago(60));
    run_together_at(&env, now() + HOUR).assert_status(0);
    let path = env.state_dir().join(format!("{SERVICE}.json"));
    let before = std::fs::read(&path).unwrap();
    env.tap.forget_requests();
    let run = run_at(&env, now());
    run.assert_error(65, &["is in the future"], "clock");
    assert_eq!(env.tap.requests().len(), 0);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// Nothing was ever delivered, and all the same time was lost: not what the service did not have when
/// the state was begun, but what it had and no longer has.
#[test]
fn what_passed_while_no_first_run_succeeded_is_a_gap() {
    let (day, kept) = (Duration::DAY, Duration::hours(167));
    let rows = [
        (6 * day, 3 * day, Some(6 * day)),
        (30 * day, 3 * day, Some(kept)),
        (30 * day, Duration::minutes(20), None),
    ];
    each(rows.map(|row| (format!("{row:?}"), row)), |row| {
        let (before, after, gap_from) = row;
        let mut env = TestEnv::new();
        let now = OffsetDateTime::now_utc();
        env.start_at(now - before);
        env.tap.script(|_, _| Some(Fault::status(401, "")));
        env.run(SERVICE, &[]).assert_status(77);
        env.tap.no_script();

        env.tap.set_clock_offset(after);
        let later = utc(now + after);
        let run = env.run(SERVICE, &["--now", &later]);
        run.assert_status(if gap_from.is_some() { 3 } else { 0 });
        let gaps = env.state(SERVICE)["gaps"].clone();
        let Some(gap_from) = gap_from else {
            assert_eq!(gaps.as_array().unwrap().len(), 0, "{gaps:#}");
            return;
        };
        let time = |key: &str| {
            let text = gaps[0][key].as_str().unwrap();
            OffsetDateTime::parse(text, &Rfc3339).unwrap()
        };
        let slow = Duration::minutes(2);
        assert!((time("from") - (now - gap_from)).abs() < slow, "{gaps:#}");
        assert!((time("to") - (now + after - kept)).abs() < slow, "{gaps:#}");
        assert_eq!(gaps.as_array().unwrap().len(), 1);
    });
}

#[test]
fn a_date_that_no_clock_shows_is_no_date() {
    for date in [
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Wed, 31 Dec 1969 23:59:59 GMT",
    ] {
        let mut env = TestEnv::new();
        env.start_at(ago(30));
        let body = r#"{"clicksPermitted":[]}"#;
        let length = body.len();
        let answer =
            format!("HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: {length}\r\n\r\n{body}");
        env.tap
            .script(move |_, _| Some(Fault::Raw(answer.clone().into())));
        let run = env.run(SERVICE, &["--wait-lock", "18446744073709551615s"]);
        run.assert_status(0).assert_never_says("clock");
    }
}
