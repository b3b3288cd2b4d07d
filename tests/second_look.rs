//! The second look: each time is read once more, for what becomes visible so late that no look back
//! finds it.

use proofpull::window::utc;
use time::{Duration, OffsetDateTime};

use crate::simulator::{Event, Fault, Rng, sample};
use crate::world::{Run, World, ago, array};

const SERVICE: &str = "tap-messages-delivered";
const HOUR: Duration = Duration::HOUR;

/// A run when it is this time for everybody.
fn run_at(world: &World, now: OffsetDateTime) -> Run {
    world.tap.forget_requests();
    world.tap.set_clock_offset(now - OffsetDateTime::now_utc());
    world.run(SERVICE, &["--now", &utc(now)])
}

fn add(world: &World, serial: u64, created: OffsetDateTime, late: Duration) {
    let body = sample::message(&mut Rng::new(serial), created, serial, "a@corp.example");
    // every third one has no name
    let body = if serial.is_multiple_of(3) {
        body.without_id()
    } else {
        body
    };
    let event = Event::new(created, body).visible_from(created + late);
    world.tap.add(array(SERVICE), event);
}

#[test]
fn an_event_that_becomes_visible_nine_hours_late_arrives_once_by_the_second_look() {
    let mut world = World::new();
    let start = ago(17 * 60);
    world.start_at(start);
    let created = start + Duration::minutes(100);
    for number in 0..15 * 6 {
        let late = Duration::minutes(number % 3 * 10);
        add(
            &world,
            number as u64,
            start + Duration::minutes(number * 10),
            late,
        );
    }
    add(&world, 1000, created, HOUR * 9);
    add(&world, 1002, created, HOUR * 9);
    let (mut requests, mut found, mut runs) = (0, 0, 0);
    for minute in (30..=16 * 60).step_by(30) {
        let now = start + Duration::minutes(minute);
        let run = run_at(&world, now);
        run.assert_status(0);
        requests += run.count("requests");
        runs += 1;
        if !run.stderr.contains("by the second look") {
            run.assert_never_says("warning");
            continue;
        }
        found += 1;
        run.assert_says(" late (2 by the second look), ");
        run.assert_says(
            "warning: 2 events became visible, or changed, too late for look_back (45m)",
        );
        run.assert_says("2 so far");
        let after = now - created;
        assert!((HOUR * 12..=HOUR * 13).contains(&after), "{after}");
    }
    assert_eq!(found, 1);
    world.assert_exactly_once(SERVICE);
    // 30 minutes and 45 are two windows; four hours were looked at again, each at once
    assert_eq!(requests, 2 * runs - 2 + 4);
    let state = world.state(SERVICE);
    assert_eq!(state["late"]["late_by_second_look"], 2);
    assert_eq!(state["second_look"]["until"], utc(start + HOUR * 4));
}

#[test]
fn a_second_look_that_fails_holds_up_nothing_and_is_made_up_for() {
    let mut world = World::new();
    let start = ago(20 * 60);
    world.start_at(start);
    world.service_table += "second_look = \"2h\"\n";
    run_at(&world, start + HOUR).assert_status(0);
    for number in 0..6 {
        add(
            &world,
            2000 + number,
            start + Duration::minutes(2 * number as i64),
            Duration::minutes(90),
        );
    }
    world.add(SERVICE, start + HOUR * 2, start + HOUR * 3, 6);
    world.tap.script(move |request, _| {
        let (from, to) = request.interval().unwrap();
        (to <= start + HOUR && from < start + HOUR).then(|| Fault::status(503, ""))
    });
    let now = start + HOUR * 4;
    let run = run_at(&world, now);
    run.assert_error(69, &["HTTP 503", "once more"], "next run");
    assert_eq!(run.count("delivered"), 6, "{}", run.stderr);
    assert_eq!(world.position(SERVICE), utc(now - Duration::MINUTE));
    world.tap.no_script();
    let run = run_at(&world, now + Duration::minutes(10));
    run.assert_status(0);
    assert_eq!(run.count("late"), 6, "{}", run.stderr);
    world.assert_exactly_once(SERVICE);
}

#[test]
fn a_second_look_in_no_time_is_none() {
    let mut world = World::new();
    let start = ago(30 * 60);
    world.start_at(start);
    world.service_table += "second_look = \"0s\"\nlook_back = \"0s\"\n";
    let mut requests = 0;
    for hours in 1..=15 {
        let run = run_at(&world, start + HOUR * hours);
        run.assert_status(0);
        requests += run.count("requests");
    }
    assert_eq!(requests, 15);
    assert!(world.state(SERVICE)["second_look"].is_null());

    // taken up later, it begins there, since what was before is known no longer
    world.service_table = world.service_table.replace("second_look = \"0s\"\n", "");
    run_at(&world, start + HOUR * 16).assert_status(0);
    let until = &world.state(SERVICE)["second_look"]["until"];
    assert_eq!(*until, utc(start + HOUR * 15 - Duration::MINUTE));
}

#[test]
fn a_second_look_that_says_it_is_where_it_cannot_be_is_put_right() {
    let mut world = World::new();
    world.start_at(ago(5 * 60));
    world.service_table += "second_look = \"1h\"\n";
    world.run(SERVICE, &[]).assert_status(0);
    let path = world.state_dir().join(format!("{SERVICE}.json"));
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
        let mut state = world.state(SERVICE);
        state["second_look"]["until"] = until.into();
        if let Some([from, to]) = spared {
            state["second_look"]["spared"] = serde_json::json!({ "from": from, "to": to });
        }
        std::fs::write(&path, state.to_string()).unwrap();
        world.run(SERVICE, &[]).assert_status(0);
        let look = &world.state(SERVICE)["second_look"];
        let until = look["until"].as_str().unwrap();
        assert!(
            (utc(ago(6 * 60)).as_str()..=utc(ago(0)).as_str()).contains(&until),
            "{look}"
        );
        assert!(look["spared"].is_null(), "{look}");
    }
}
