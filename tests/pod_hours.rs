//! When an hour of the archive counts as read: by what the live stream has shown, and whether it was there.

use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::pod::{Hours, SERVICE, STREAM};
use crate::simulator::{Ends, Rng, StreamFault, pod_event};
use crate::test_env::{TestEnv, each};

/// The first run, which begins with the hour that it is in.
const FIRST: OffsetDateTime = datetime!(2026-11-20 11:50 UTC);
/// The hour that matters, for all of which the live stream may be there.
const HOUR: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

/// Nothing in the archive yet.
fn quiet() -> Hours {
    let mut hours = Hours::new();
    hours.env.stream_table = "idle_exit = \"1s\"\n".into();
    hours
}

/// Runs every half an hour, until it is so late.
fn runs(hours: &Hours, minutes: &[i64]) {
    for minutes in minutes {
        hours
            .run(HOUR + Duration::minutes(*minutes))
            .assert_status(0);
    }
}

/// An event of that hour, which only the archive has.
fn archive(env: &TestEnv, serial: u64) {
    let time = HOUR + Duration::minutes(20);
    let event = pod_event(STREAM, &mut Rng::new(serial), time, serial);
    env.pod.archive(STREAM, time, event);
}

/// How often the hour was asked for.
fn asked(hours: &Hours) -> usize {
    let asked = hours.env.pod.asked();
    let hour = |hours: (OffsetDateTime, OffsetDateTime)| hours.0 == HOUR;
    asked
        .iter()
        .filter(|asked| asked.hours.is_some_and(hour))
        .count()
}

/// What the state says of it, if it is open.
fn why(hours: &Hours) -> Option<String> {
    let hour = proofpull::clock::utc(HOUR);
    let mut open = hours.open_hours().into_iter();
    open.find(|(from, _)| *from == hour).map(|(_, why)| why)
}

#[test]
fn an_hour_for_all_of_which_the_live_stream_was_there_is_asked_for_once_if_it_agrees() {
    for events in [0, 40] {
        let mut hours = quiet();
        hours.run(FIRST).assert_status(0);
        runs(&hours, &[15]);
        hours.happen(HOUR + Duration::minutes(45), events);
        runs(&hours, &[45, 75, 106]);
        assert_eq!((asked(&hours), why(&hours)), (1, None));
        runs(&hours, &[136, 166, 196]);
        assert_eq!(asked(&hours), 1);
    }
}

#[test]
fn an_empty_answer_for_an_hour_that_the_live_stream_missed_is_no_proof() {
    // in the mode archive it is never there
    for mode in ["complete", "archive"] {
        let mut hours = quiet();
        hours.env.stream_table += &format!("mode = {mode:?}\n");
        hours.run(HOUR + Duration::minutes(10)).assert_status(0);
        let is_archive = mode == "archive";
        runs(&hours, &[45, 75, 106]);
        assert_eq!(
            (asked(&hours), why(&hours).as_deref()),
            (1, Some("unproven"))
        );
        // not in each run
        runs(&hours, &[116, 126]);
        assert_eq!(asked(&hours), 1);
        archive(&hours.env, 9001);
        let run = hours.run(HOUR + Duration::minutes(152));
        assert_eq!(run.assert_status(0).count("delivered"), 1, "{is_archive}");
        assert_eq!(why(&hours).as_deref(), Some("growing"));
        runs(&hours, &[198, 228]);
        assert_eq!((asked(&hours), why(&hours)), (3, None));
    }
}

#[test]
fn a_quiet_tenant_without_a_live_stream_is_asked_twice_an_hour_at_most() {
    let mut hours = quiet().archive_mode();
    hours.env.stream_table += "start_time = \"2026-11-20T12:00:00Z\"\n";
    for number in 0..36 {
        let now = HOUR + Duration::minutes(106 + 10 * number);
        hours.run(now).assert_status(0);
    }
    let last = 1 + (350 + 106 - 105) / 60;
    let count = hours.env.pod.asked().len();
    assert!((last..=2 * last).contains(&count), "{count}, {last}");
}

#[test]
fn an_hour_in_which_the_live_stream_broke_is_asked_for_again_though_the_answer_agrees() {
    let mut hours = quiet();
    hours.run(FIRST).assert_status(0);
    // the server has trouble, and what it was about to say is gone
    let mut cut = false;
    hours.env.pod.script(move |asked, _| {
        let first = asked.hours.is_none() && !std::mem::replace(&mut cut, true);
        first.then_some(StreamFault::After(10, Ends::Code(1011)))
    });
    hours.happen(HOUR + Duration::minutes(30), 10);
    runs(&hours, &[30, 60, 90, 106]);
    assert_eq!(
        (asked(&hours), why(&hours).as_deref()),
        (1, Some("unproven"))
    );
    archive(&hours.env, 9001);
    runs(&hours, &[152]);
    assert!(hours.env.devo.counts_by_serial().contains_key(&9001));
}

#[test]
fn an_hour_that_was_open_for_long_is_not_given_up_at_its_first_failure() {
    let hours = quiet().archive_mode();
    hours.run(HOUR + Duration::minutes(10)).assert_status(0);
    archive(&hours.env, 9001);
    runs(&hours, &[106]);
    assert_eq!(why(&hours).as_deref(), Some("growing"));
    // nothing runs for a day, and then there is a moment's trouble
    hours.env.pod.script(|asked, _| {
        let is_hour = asked.hours.is_some_and(|(from, _)| from == HOUR);
        is_hour.then_some(StreamFault::After(0, Ends::Code(1011)))
    });
    let now = HOUR + Duration::hours(30);
    hours.run(now);
    assert_eq!(why(&hours).as_deref(), Some("cut"));
    let gaps = |hours: &Hours| hours.env.state(SERVICE)["gaps"].clone();
    assert_eq!(gaps(&hours).as_array().unwrap().len(), 0);
    hours.env.pod.script(|_, _| None);
    archive(&hours.env, 9002);
    hours.run(now + Duration::HOUR).assert_status(0);
    assert!(hours.env.devo.counts_by_serial().contains_key(&9002));
    assert_eq!(why(&hours), None);
}

/// What breaks an answer off may do so at the same place again: it proves nothing.
#[test]
fn equal_answers_that_break_off_prove_no_hour() {
    let ends = [Ends::InAFrame, Ends::Reset];
    each(ends.map(|end| (format!("{end:?}"), end)), |end| {
        let mut hours = quiet().archive_mode();
        let to = HOUR + Duration::hours(1);
        hours.env.pod.fill(STREAM, (HOUR, to), 40, 1);
        hours.env.stream_table += "start_time = \"2026-11-20T12:00:00Z\"\n";
        hours.env.pod.script(move |asked, _| {
            asked.hours?;
            Some(StreamFault::After(4, end))
        });
        for minute in [106, 120, 150] {
            runs(&hours, &[minute]);
            assert_eq!(why(&hours).as_deref(), Some("cut"));
        }
        hours.env.pod.no_script();
        runs(&hours, &[250, 300]);
        assert_eq!(why(&hours), None);
        assert_eq!(hours.env.devo.count(), 40);
    });
}

/// A server that never ends an answer in good order, but in its own way, and always says the same.
#[test]
fn two_equal_answers_some_time_apart_prove_an_hour_however_the_server_ends_them() {
    let ends = [1001, 1005, 1011, 4000].map(Ends::Code);
    let ends = ends.into_iter().chain([Ends::EndOfFile]);
    each(ends.map(|end| (format!("{end:?}"), end)), |end| {
        let mut hours = quiet().archive_mode();
        hours
            .env
            .pod
            .fill(STREAM, (HOUR, HOUR + Duration::hours(30)), 40, 1);
        hours.env.stream_table += "start_time = \"2026-11-20T12:00:00Z\"\n";
        hours.env.pod.script(move |asked, _| {
            asked.hours?;
            Some(StreamFault::After(usize::MAX, end))
        });
        runs(&hours, &[106]);
        assert_eq!((asked(&hours), why(&hours).as_deref()), (1, Some("cut")));
        // not at once
        runs(&hours, &[107]);
        assert_eq!((asked(&hours), why(&hours).as_deref()), (1, Some("cut")));
        runs(&hours, &[117]);
        assert_eq!((asked(&hours), why(&hours)), (2, None));
        // a day later there is neither a gap nor another request
        runs(&hours, &[200 + 24 * 60, 230 + 24 * 60]);
        assert_eq!((asked(&hours), why(&hours)), (2, None));
        // the last one has come since
        assert!(hours.open_hours().len() <= 1);
        let gaps = hours.env.state(SERVICE)["gaps"].clone();
        assert_eq!(gaps.as_array().map(Vec::len), Some(0), "{gaps}");
    });
}

#[test]
fn a_night_behind_a_full_hour_is_no_gap_and_is_asked_for_ever_more_seldom() {
    let before = HOUR - Duration::HOUR;
    // where the live stream was there, it is what it says
    let mut hours = quiet();
    hours.run(before - Duration::minutes(10)).assert_status(0);
    hours.happen(before + Duration::minutes(40), 60);
    runs(&hours, &[-20, 15, 45, 75, 106, 136]);
    assert_eq!((asked(&hours), why(&hours)), (1, None));
    // where it was not, that takes a day
    let mut hours = quiet().archive_mode();
    hours.env.pod.fill(STREAM, (before, HOUR), 60, 1);
    hours.env.stream_table += "start_time = \"2026-11-20T11:00:00Z\"\n";
    let mut now = HOUR + Duration::minutes(106);
    let end = now + Duration::hours(25);
    while now < end {
        hours.run(now).assert_status(0);
        assert!(why(&hours).is_none_or(|why| why == "empty"));
        now += Duration::minutes(30);
    }
    assert_eq!(why(&hours), None);
    assert!((6..=10).contains(&asked(&hours)), "{}", asked(&hours));
    let gaps = hours.env.state(SERVICE)["gaps"].clone();
    assert_eq!(gaps.as_array().map(Vec::len), Some(0), "{gaps}");
}
