//! The second look: each time is read once more, for what becomes visible so late that no look back
//! finds it.

use proofpull::clock::utc;
use time::{Duration, OffsetDateTime};

use crate::simulator::{Event, Fault, Rng, sample};
use crate::test_env::{Run, TestEnv, ago, array, sealed};

const SERVICE: &str = "tap-messages-delivered";
const HOUR: Duration = Duration::HOUR;

/// A run when it is this time for everybody.
fn run_at(env: &TestEnv, now: OffsetDateTime) -> Run {
    env.tap.forget_requests();
    env.tap.set_clock_offset(now - OffsetDateTime::now_utc());
    env.run(SERVICE, &["--now", &utc(now)])
}

fn add(env: &TestEnv, serial: u64, created: OffsetDateTime, late: Duration) {
    let body = sample::message(&mut Rng::new(serial), created, serial, "a@corp.example");
    // every third one has no name
    let body = if serial.is_multiple_of(3) {
        body.without_id()
    } else {
        body
    };
    let event = Event::new(created, body).visible_from(created + late);
    env.tap.add(array(SERVICE), event);
}

#[test]
fn an_event_that_becomes_visible_nine_hours_late_arrives_once_by_the_recheck() {
    let mut env = TestEnv::new();
    let start = ago(17 * 60);
    env.start_at(start);
    let created = start + Duration::minutes(100);
    for number in 0..15 * 6 {
        let late = Duration::minutes(number % 3 * 10);
        add(
            &env,
            number as u64,
            start + Duration::minutes(number * 10),
            late,
        );
    }
    add(&env, 1000, created, HOUR * 9);
    add(&env, 1002, created, HOUR * 9);
    let (mut requests, mut found, mut runs) = (0, 0, 0);
    for minute in (30..=16 * 60).step_by(30) {
        let now = start + Duration::minutes(minute);
        let run = run_at(&env, now);
        run.assert_status(0);
        requests += run.count("requests");
        runs += 1;
        if !run.stderr.contains("by the recheck") {
            run.assert_never_says("warning");
            continue;
        }
        found += 1;
        run.assert_says(" late (2 by the recheck), ");
        run.assert_says(
            "warning: 2 events became visible, or changed, too late for look_back (45m)",
        );
        run.assert_says("2 so far");
        let after = now - created;
        assert!((HOUR * 12..=HOUR * 13).contains(&after), "{after}");
    }
    assert_eq!(found, 1);
    env.assert_exactly_once(SERVICE);
    // 30 minutes and 45 are two windows; four hours were looked at again, each at once
    assert_eq!(requests, 2 * runs - 2 + 4);
    let state = env.state(SERVICE);
    assert_eq!(state["late"]["late_by_recheck"], 2);
    assert_eq!(
        state["checkpoint"]["recheck"]["until"],
        utc(start + HOUR * 4)
    );
}

#[test]
fn a_recheck_that_fails_holds_up_nothing_and_is_made_up_for() {
    let mut env = TestEnv::new();
    let start = ago(20 * 60);
    env.start_at(start);
    env.service_table += "recheck_after = \"2h\"\n";
    run_at(&env, start + HOUR).assert_status(0);
    for number in 0..6 {
        add(
            &env,
            2000 + number,
            start + Duration::minutes(2 * number as i64),
            Duration::minutes(90),
        );
    }
    env.add(SERVICE, start + HOUR * 2, start + HOUR * 3, 6);
    env.tap.script(move |request, _| {
        let (from, to) = request.interval().unwrap();
        (to <= start + HOUR && from < start + HOUR).then(|| Fault::status(503, ""))
    });
    let now = start + HOUR * 4;
    let run = run_at(&env, now);
    run.assert_error(69, &["HTTP 503", "(recheck)"], "next run");
    assert_eq!(run.count("delivered"), 6, "{}", run.stderr);
    assert_eq!(env.position(SERVICE), utc(now - Duration::MINUTE));
    env.tap.no_script();
    let run = run_at(&env, now + Duration::minutes(10));
    run.assert_status(0);
    assert_eq!(run.count("late"), 6, "{}", run.stderr);
    env.assert_exactly_once(SERVICE);
}

#[test]
fn a_recheck_in_no_time_is_none() {
    let mut env = TestEnv::new();
    let start = ago(30 * 60);
    env.start_at(start);
    env.service_table += "recheck_after = \"0s\"\nlook_back = \"0s\"\n";
    let mut requests = 0;
    for hours in 1..=15 {
        let run = run_at(&env, start + HOUR * hours);
        run.assert_status(0);
        requests += run.count("requests");
    }
    assert_eq!(requests, 15);
    assert!(env.state(SERVICE)["checkpoint"]["recheck"].is_null());

    // taken up later, it begins there, since what was before is known no longer
    env.service_table = env.service_table.replace("recheck_after = \"0s\"\n", "");
    run_at(&env, start + HOUR * 16).assert_status(0);
    let until = &env.state(SERVICE)["checkpoint"]["recheck"]["until"];
    assert_eq!(*until, utc(start + HOUR * 15 - Duration::MINUTE));
}

#[test]
fn a_recheck_that_says_it_is_where_it_cannot_be_is_put_right() {
    let mut env = TestEnv::new();
    env.start_at(ago(5 * 60));
    env.service_table += "recheck_after = \"1h\"\n";
    env.run(SERVICE, &[]).assert_status(0);
    let path = env.state_dir().join(format!("{SERVICE}.json"));
    for (until, spared) in [
        ("9999-12-31T23:59:59Z", None),
        (
            "0000-01-01T00:00:00Z",
            Some(["9999-12-31T23:00:00Z", "9999-12-31T23:59:59Z"]),
        ),
        (
            "0000-01-01T00:00:00Z",
            Some(["2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"]),
        ),
    ] {
        let mut state = env.state(SERVICE);
        state["checkpoint"]["recheck"]["until"] = until.into();
        if let Some([from, to]) = spared {
            state["checkpoint"]["recheck"]["already_covered"] =
                serde_json::json!({ "from": from, "to": to });
        }
        std::fs::write(&path, sealed(&state)).unwrap();
        env.run(SERVICE, &[]).assert_status(0);
        let look = &env.state(SERVICE)["checkpoint"]["recheck"];
        let until = look["until"].as_str().unwrap();
        assert!(
            (utc(ago(6 * 60)).as_str()..=utc(ago(0)).as_str()).contains(&until),
            "{look}"
        );
        assert!(look["already_covered"].is_null(), "{look}");
    }
}
