//! A backfill: a range of its own, beside the timer's state, that goes on where it was stopped.

use std::fs;

use proofpull::clock::utc;
use time::{Date, Duration, OffsetDateTime};

use crate::simulator::{Fault, wait_until};
use crate::test_env::{Run, TestEnv, ago, each, hold};

const SERVICE: &str = "tap-messages-blocked";

/// An event a minute, from so many minutes ago up to three minutes ago; the first some seconds later,
/// since a run that starts as early starts a moment after this.
fn env(minutes: i64) -> TestEnv {
    let env = TestEnv::new();
    env.add(
        SERVICE,
        ago(minutes) + Duration::seconds(30),
        ago(3),
        i32::try_from(minutes - 3).unwrap(),
    );
    env
}

fn backfill(env: &TestEnv, words: &[&str]) -> Run {
    env.tap.forget_requests();
    env.run(SERVICE, words)
}

/// Start of the first and end of the last window that was asked for.
fn asked(env: &TestEnv) -> (OffsetDateTime, OffsetDateTime) {
    let requests = env.tap.requests();
    let windows: Vec<_> = requests
        .iter()
        .filter_map(|asked| asked.interval())
        .collect();
    (windows[0].0, windows[windows.len() - 1].1)
}

fn state_files(env: &TestEnv, name: &str) -> Vec<Vec<u8>> {
    let file = |extension| env.state_dir().join(format!("{name}.{extension}"));
    ["json", "seen"]
        .map(|extension| fs::read(file(extension)).unwrap())
        .into()
}

#[test]
fn a_range_is_told_by_instants_dates_and_ages_and_leaves_the_timer_alone() {
    let mut env = env(40 * 60);
    env.start_at(ago(30));
    env.run(SERVICE, &[]).assert_status(0);
    let timer = state_files(&env, SERVICE);

    let (from, to) = (ago(10 * 60), ago(7 * 60));
    let local = |time: OffsetDateTime| utc(time - Duration::hours(3)).replace('Z', "-0300");
    let today = OffsetDateTime::now_utc().date();
    let yesterday: Date = today.previous_day().unwrap();
    let midnight = |date: Date| date.midnight().assume_utc();
    let noon = midnight(yesterday) + Duration::hours(12);
    let table = [
        ((from, to), [utc(from), utc(to)]),
        ((from, to), [local(from), local(to)]),
        ((from, to), ["10h".into(), "7h".into()]),
        ((from, to), ["10h".into(), "6h60m".into()]),
        (
            (midnight(yesterday), noon),
            [yesterday.to_string(), utc(noon)],
        ),
    ];
    for ((from, to), words) in table {
        env.devo.clear();
        let arguments = ["--start-time", &words[0], "--end-time", &words[1]];
        backfill(&env, &arguments).assert_status(0);
        let (start, end) = asked(&env);
        let slow = Duration::seconds(90);
        assert!(
            (Duration::ZERO..slow).contains(&(start - from)),
            "{words:?}: {start}"
        );
        assert!(
            (Duration::ZERO..slow).contains(&(end - to)),
            "{words:?}: {end}"
        );
        let minutes = (end - start).whole_minutes();
        // the day before may have been before the first event
        let old = (ago(40 * 60) - start).max(Duration::ZERO).whole_minutes();
        let count = i64::try_from(env.devo.count()).unwrap();
        assert!((count - (minutes - old)).abs() <= 1, "{count} in {words:?}");
        assert!(
            env.devo
                .counts_by_serial()
                .values()
                .all(|&count| count == 1)
        );
        assert_eq!(state_files(&env, SERVICE), timer);
    }
    let state = env.state(&format!("{SERVICE}.backfill"));
    assert_eq!(state["checkpoint"]["until"], state["range"]["to"]);

    // the timer's run knows nothing of it
    let run = env.run(SERVICE, &[]);
    run.assert_status(0);
    assert_eq!(run.count("delivered"), 0);
}

#[test]
fn a_backfill_ends_at_the_saved_position_or_now() {
    let mut env = env(300);
    backfill(&env, &["--start-time", "5h"]).assert_status(0);
    let (_, end) = asked(&env);
    assert!((ago(2)..=ago(1)).contains(&end), "{end}");
    env.assert_exactly_once(SERVICE);

    let held = Duration::minutes(100);
    env.start_at(ago(200));
    let then = utc(OffsetDateTime::now_utc() - held);
    env.tap.set_clock_offset(-held);
    env.run(SERVICE, &["--now", &then]).assert_status(0);
    env.tap.set_clock_offset(Duration::ZERO);
    let run = backfill(&env, &["--start-time", "4h"]);
    run.assert_status(0);
    assert_eq!(utc(asked(&env).1), env.position(SERVICE));
}

/// Stopped at its third window by `stop`; the same command again brings the rest.
fn check_stopped(more: &[&str], stop: impl Fn(&crate::test_env::Running), status: Option<i32>) {
    let env = env(300);
    let words = [&["--start-time", "5h"], more].concat();
    let wait = std::time::Duration::from_secs(600);
    env.tap
        .script(move |_, number| (number >= 2).then_some(Fault::Stall { wait }));
    let run = env.start(SERVICE, &words);
    wait_until(|| env.tap.requests().len() >= 3, "the third request");
    let until = env.tap.requests()[0].interval().unwrap().0 + Duration::hours(2);
    let name = format!("{SERVICE}.backfill");
    let is_committed = || env.position(&name) == utc(until);
    wait_until(is_committed, "a commit while the third answer is awaited");
    stop(&run);
    let run = run.wait();
    assert_eq!(run.status, status, "{}", run.stderr);
    assert_eq!(env.position(&name), utc(until));

    env.tap.no_script();
    let run = backfill(&env, &["--start-time", "5h"]);
    run.assert_status(0).assert_says("continuing at");
    assert_eq!(asked(&env).0, until);
    env.assert_exactly_once(SERVICE);
}

#[test]
fn the_same_command_goes_on_where_it_was_stopped() {
    let cases = [
        ("TERM", Some(75)),
        ("INT", Some(75)),
        ("KILL", None),
        ("--max-duration", Some(75)),
    ];
    each(
        cases.map(|case| (case.0.to_owned(), case)),
        |(how, status)| match how {
            "--max-duration" => check_stopped(&[how, "5s"], |_| {}, status),
            signal => check_stopped(&[], |run| run.signal(signal), status),
        },
    );
}

#[test]
fn a_failed_backfill_goes_on_too() {
    let env = env(300);
    env.tap
        .script(|_, number| (number > 1).then(|| Fault::status(401, "")));
    backfill(&env, &["--start-time", "5h"]).assert_status(77);
    env.tap.no_script();
    backfill(&env, &["--start-time", "5h"])
        .assert_status(0)
        .assert_says("continuing at");
    assert_eq!(env.tap.requests().len(), 3);
    env.assert_exactly_once(SERVICE);
}

#[test]
fn a_backfill_runs_beside_the_timer_but_not_beside_another() {
    let mut env = env(300);
    env.start_at(ago(30));
    let held = hold(&env.tap, 0);
    let backfill = env.start(SERVICE, &["--start-time", "5h"]);
    held.wait();
    let pid = format!("pid {}", backfill.pid());
    let second = env.run(SERVICE, &["--start-time", "1h"]);
    second.assert_error(75, &[SERVICE, &pid], "--wait-lock");
    // a script holds up everybody, so the timer's run is known by its lock and its request
    let timer = env.start(SERVICE, &[]);
    let lock = env.state_dir().join(format!("{SERVICE}.lock"));
    let pid = format!("pid {}", timer.pid());
    let has_it = || fs::read_to_string(&lock).is_ok_and(|text| text.contains(&pid));
    wait_until(has_it, "the timer's run");
    drop(held);
    timer.wait().assert_status(0);
    backfill.wait().assert_status(0);
    // each has its own identities: what both read, came twice
    let repeated = env.assert_nothing_lost(SERVICE);
    assert!((26..=30).contains(&repeated), "{repeated}");
}

#[test]
fn a_range_of_any_length_is_covered_to_its_ends_once() {
    let seconds = [
        30, 31, 59, 60, 3599, 3600, 3601, 3629, 3630, 7200, 7229, 9000,
    ];
    each(
        seconds.map(|length| (format!("{length} s"), length)),
        |length| {
            let env = TestEnv::new();
            let (from, to) = (ago(300), ago(300) + Duration::seconds(length));
            let step = if length < 100 { 1 } else { 10 };
            let count = i32::try_from((length + 120) / step).unwrap();
            let minute = Duration::MINUTE;
            env.add(
                SERVICE,
                from - minute,
                from - minute + Duration::seconds(step) * count,
                count,
            );
            let words = ["--start-time", &utc(from), "--end-time", &utc(to)];
            backfill(&env, &words).assert_status(0);
            assert_eq!(asked(&env), (from, to));
            for request in env.tap.requests() {
                let (start, end) = request.interval().unwrap();
                assert!((Duration::seconds(30)..=Duration::HOUR).contains(&(end - start)));
                assert!(start >= from);
            }
            let arrived = env.devo.counts_by_serial();
            assert!(arrived.values().all(|&count| count == 1));
            // from the first second on, up to but not including the last
            let expected = usize::try_from((length + step - 1) / step).unwrap();
            assert_eq!(arrived.len(), expected);
            // and then there is nothing more to do
            backfill(&env, &words).assert_status(0);
            assert_eq!(env.tap.requests().len(), 0);
        },
    );
}

#[test]
fn wrong_ranges_are_status_2_and_say_why() {
    let env = env(10);
    let tomorrow = utc(ago(-24 * 60));
    let table: &[(&[&str], &str)] = &[
        (&["--end-time", "1h"], "--start-time"),
        (&["--start-time", &tomorrow], "future"),
        (&["--start-time", "2h", "--end-time", &tomorrow], "future"),
        (
            &["--start-time", "1h", "--end-time", "2h"],
            "nothing to backfill",
        ),
        (
            &["--start-time", "1h", "--end-time", "1h"],
            "nothing to backfill",
        ),
        (&["--start-time", "20s"], "nothing to backfill"),
        (
            &["--start-time", "30d", "--end-time", "8d"],
            "nothing before",
        ),
        (&["--start-time", "yesterday"], "such as 3d"),
        (&["--start-time", ""], "such as 3d"),
        (&["--start-time", "-1h"], ""),
        (&["--start-time", "2026-01-01T00:00:00"], "time zone"),
        (&["--start-time", "2h", "--end-time", "later"], "--end-time"),
        (
            &["--start-time", "2h", "--max-duration", "soon"],
            "--max-duration",
        ),
    ];
    for (words, says) in table {
        let run = env.run(SERVICE, words);
        assert_eq!(run.status, Some(2), "{words:?}: {}", run.stderr);
        run.assert_says(says);
    }
    assert_eq!(env.tap.requests().len(), 0);
}

#[test]
fn a_start_that_is_older_than_kept_is_moved_up_with_a_warning() {
    let env = TestEnv::new();
    let old = ago(7 * 24 * 60 - 50);
    env.add(SERVICE, old, old + Duration::hours(3), 10);
    let end = utc(old + Duration::hours(4));
    let run = backfill(&env, &["--start-time", "30d", "--end-time", &end]);
    run.assert_status(0)
        .assert_says("warning")
        .assert_says("older than");
    let oldest = ago(7 * 24 * 60 - 60);
    assert!((asked(&env).0 - oldest).abs() < Duration::minutes(3));
    assert_eq!(env.devo.count(), 9);
    let state = env.state(&format!("{SERVICE}.backfill"));
    assert_eq!(state["gaps"].as_array().unwrap().len(), 0);
}

#[test]
fn what_a_backfill_had_left_when_it_was_no_longer_kept_is_a_gap() {
    let env = env(300);
    let (from, to) = (ago(300), ago(60));
    let words = [utc(from), utc(to)];
    let words = ["--start-time", &words[0], "--end-time", &words[1]];
    let refuse =
        |_: &crate::simulator::Request, number| (number > 1).then(|| Fault::status(401, ""));
    env.tap.script(refuse);
    backfill(&env, &words).assert_status(77);
    env.tap.no_script();

    let days = Duration::days(8);
    env.tap.set_clock_offset(days);
    let later = utc(OffsetDateTime::now_utc() + days);
    let again = [&words[..], &["--now", &later]].concat();
    let run = backfill(&env, &again);
    run.assert_status(3).assert_says("continuing at");
    // the one that tells TAP's time
    assert_eq!(env.tap.requests().len(), 1);
    let state = env.state(&format!("{SERVICE}.backfill"));
    let until = from + Duration::hours(2);
    assert_eq!(state["checkpoint"]["until"], utc(to));
    assert_eq!(state["gaps"].as_array().unwrap().len(), 1);
    assert_eq!(state["gaps"][0]["from"], utc(until));
    assert_eq!(state["gaps"][0]["to"], utc(to));
    run.assert_says(&utc(until)).assert_says(&utc(to));

    // and there is no sense in beginning another
    backfill(&env, &again)
        .assert_status(2)
        .assert_says("hint: ");
}

#[test]
fn a_backfill_that_the_services_clock_holds_up_is_not_taken_for_complete() {
    let env = env(300);
    let hour = Duration::HOUR;
    env.tap.set_clock_offset(-hour);
    let run = backfill(&env, &["--start-time", "5h"]);
    run.assert_status(75)
        .assert_says("the rest cannot be requested yet");
    env.tap.set_clock_offset(Duration::ZERO);
    backfill(&env, &["--start-time", "5h"]).assert_status(0);
    env.assert_exactly_once(SERVICE);
}
