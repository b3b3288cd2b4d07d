//! Sessions of the log stream: others hold the token, the run's time ends, clocks differ.

use proofpull::clock::utc;
use time::Duration;

use crate::pod::{FROM, Hours, NOW, PER_HOUR, SERVICE, STREAM, unfinished};
use crate::simulator::{Rng, StreamFault, pod_event, wait_until};
use crate::test_env::{Run, each};

#[test]
fn a_token_that_is_held_beyond_the_end_of_a_run_is_not_asked_for_all_the_time() {
    for held in [true, false] {
        let hours = Hours::new().archive_mode();
        unfinished(&hours);
        let before = hours.env.pod.asked().len();
        if held {
            hours.env.pod.hold(STREAM);
        } else {
            let busy = StreamFault::Status(503, "busy");
            hours.env.pod.script(move |_, _| Some(busy.clone()));
        }
        let run = hours.start(NOW, &["--max-duration", "5s"]).wait();
        let why = if held { "HTTP 409" } else { "HTTP 503" };
        run.assert_error(69, &[why], "");
        // at once, after two seconds and a little, and not once more before its time was over
        let asked = hours.env.pod.asked().len() - before;
        assert!((1..=3).contains(&asked), "{asked}: {}", run.stderr);
    }
}

#[test]
fn a_server_that_pings_all_the_time_does_not_hold_up_the_end() {
    let time: &[&str] = &["--max-duration", "2s"];
    let ends: [(&str, &str, &[&str], &str); 5] = [
        ("live", "idle_exit = \"1s\"", &[], "caught up"),
        ("live", "", time, "stopped at max_duration"),
        ("live", "", &[], "stopped by a signal"),
        ("archive", "", time, "no answer was complete"),
        ("archive", "", &[], "stopped by a signal"),
    ];
    let named = ends.map(|end| (format!("{}: {}", end.0, end.3), end));
    each(named, |(mode, line, args, says)| {
        let mut hours = Hours::new();
        hours.env.stream_table = format!("mode = {mode:?}\nstart_time = {:?}\n{line}\n", utc(FROM));
        hours.env.pod.script(|_, _| Some(StreamFault::Pings));
        let run = hours.start(NOW, args);
        wait_until(|| hours.env.pod.is_held(STREAM), "a session");
        if says.ends_with("signal") {
            run.signal("TERM");
        }
        // an archive that only pings gives no answer
        let status = if says.starts_with("no answer") { 69 } else { 0 };
        run.wait().assert_status(status).assert_says(says);
    });
}

/// A run at a time of ours that differs from the server's.
fn run_ahead(hours: &Hours, server: time::OffsetDateTime, ahead: Duration) -> Run {
    hours.env.pod.set_now(server);
    let ours = utc(server + ahead);
    hours.env.start(SERVICE, &["--now", &ours]).wait()
}

#[test]
fn no_hour_is_read_before_it_is_over_at_the_server_and_no_position_lies_in_its_future() {
    for mode in ["complete", "archive"] {
        let mut hours = Hours::new();
        hours.env.stream_table += &format!("mode = {mode:?}\n");
        let run = run_ahead(&hours, NOW, Duration::hours(5));
        run.assert_status(0)
            .assert_says(" ahead of the service's: it is ");
        assert_eq!(hours.env.position(SERVICE), "2026-11-20T09:00:00Z");
        // what the archive has by then of the hours that seemed to be over
        hours.env.pod.fill(
            STREAM,
            (FROM + Duration::hours(5), FROM + Duration::hours(8)),
            20,
            5000,
        );
        hours.sweep(NOW + Duration::hours(3));
        hours.env.assert_exactly_once(SERVICE);
    }
}

#[test]
fn a_first_run_with_a_clock_that_is_ahead_begins_where_the_server_is() {
    for mode in ["complete", "archive"] {
        let mut hours = Hours::new();
        hours.env.stream_table = format!("mode = {mode:?}\nidle_exit = \"1s\"\n");
        run_ahead(&hours, NOW, Duration::hours(5)).assert_status(0);
        assert_eq!(hours.env.position(SERVICE), "2026-11-20T10:00:00Z");
        let time = NOW + Duration::minutes(10);
        let event = pod_event(STREAM, &mut Rng::new(9001), time, 9001);
        hours.env.pod.archive(STREAM, time, event);
        hours.run(NOW + Duration::hours(2)).assert_status(0);
        assert!(
            hours.env.devo.counts_by_serial().contains_key(&9001),
            "{mode}"
        );
    }
}

/// Our clock is years behind for a first run, as on a machine without one; later it is right.
#[test]
fn a_first_run_years_ago_is_no_gap_of_years() {
    for mode in ["complete", "archive"] {
        let mut hours = Hours::new();
        hours.env.stream_table = format!("mode = {mode:?}\nidle_exit = \"1s\"\n");
        let run = run_ahead(&hours, NOW, -Duration::days(700));
        run.assert_says("clock is");
        let run = hours.run(NOW + Duration::hours(2));
        run.assert_status(0).assert_never_says(" gap");
    }
}

/// The server's clock is wrong in one run, and right before and after it.
#[test]
fn a_date_that_is_wrong_in_one_run_moves_nothing_back_and_gives_nothing_up() {
    let days = [-20_000, -1, 40];
    each(days.map(|days| (format!("{days} days"), days)), |days| {
        let mut hours = Hours::new();
        hours.env.stream_table += "max_duration = \"20s\"\n";
        let mut now = NOW;
        hours.happen(now, 20);
        hours.run(now).assert_status(0);
        for wrong in [days, 0, 0] {
            now += Duration::minutes(20);
            let before = hours.env.position(SERVICE);
            hours.happen(now, 20);
            hours.env.pod.set_date_offset(Duration::days(wrong));
            let run = hours.run(now);
            run.assert_status(0);
            let is_warned = run.stderr.contains("until they agree");
            assert_eq!(is_warned, wrong != 0, "{}", run.stderr);
            let position = hours.env.position(SERVICE);
            assert!(before <= position && position <= utc(now), "{position}");
        }
        hours.sweep(now);
        let gaps = hours.env.state(SERVICE)["gaps"].clone();
        assert_eq!(gaps.as_array().map(Vec::len), Some(0), "{gaps}");
        hours.env.assert_exactly_once(SERVICE);
    });
}

#[test]
fn a_clock_that_is_ahead_gives_up_no_hour_that_the_service_still_keeps() {
    let hours = Hours::new().archive_mode();
    hours.run(NOW).assert_status(0);
    let next = FROM + Duration::hours(4);
    hours.env.pod.fill(
        STREAM,
        (next + Duration::HOUR, next + Duration::hours(2)),
        30,
        5000,
    );
    // within what is kept by the server's clock, not by ours
    let server = next + Duration::days(29);
    let run = run_ahead(&hours, server, Duration::days(2));
    run.assert_status(0).assert_says("ahead of the service's");
    assert_eq!(run.count("delivered"), PER_HOUR + 30);
}

#[test]
fn what_is_too_old_is_a_gap_though_nothing_but_the_live_stream_was_ever_read() {
    let mut hours = Hours::new();
    hours.env.stream_table = "idle_exit = \"1s\"\n".into();
    hours.happen(NOW, 5);
    let run = hours.run(NOW);
    assert_eq!(run.assert_status(0).count("delivered"), 5);
    assert_eq!(hours.env.position(SERVICE), "2026-11-20T10:00:00Z");
    let run = hours
        .start(NOW + Duration::days(40), &["--max-duration", "3s"])
        .wait();
    run.assert_status(3)
        .assert_says("gap: events from 2026-11-20T10:00:00Z to 2026-11-30T13:00:00Z");
}

#[test]
fn a_backfill_that_was_left_until_all_of_it_is_too_old_is_a_gap_up_to_its_end() {
    let hours = Hours::new();
    let backfill = [
        "--start-time",
        "2026-11-20T05:00:00Z",
        "--end-time",
        "2026-11-20T08:00:00Z",
    ];
    let read = hours.env.pod.asked().len();
    hours
        .env
        .pod
        .script(move |_, number| (number > read).then_some(StreamFault::Status(503, "busy")));
    let mut args = backfill.to_vec();
    args.extend(["--max-duration", "3s"]);
    let run = hours.start(NOW, &args).wait();
    assert!([0, 75].contains(&run.status.unwrap()), "{}", run.stderr);
    hours.env.pod.no_script();
    let run = hours.start(NOW + Duration::days(40), &backfill).wait();
    run.assert_status(3)
        .assert_says("gap: events from 2026-11-20T06:00:00Z to 2026-11-20T08:00:00Z");
}
