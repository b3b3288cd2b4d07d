//! The log stream of PoD: the live stream and its archive, and nothing missing between them.

use std::time::Duration as Wait;

use proofpull::clock::utc;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::simulator::{Behaviour, Ends, Options, Rng, StreamFault, pod_event, wait_until};
use crate::test_env::{Run, Running, TestEnv, each};

pub(crate) const SERVICE: &str = "pod-message";
pub(crate) const STREAM: &str = "message";
/// The five hours before the first run are in the archive.
pub(crate) const FROM: OffsetDateTime = datetime!(2026-11-20 05:00 UTC);
/// The first run.
pub(crate) const NOW: OffsetDateTime = datetime!(2026-11-20 10:20 UTC);
pub(crate) const PER_HOUR: u64 = 60;

/// A world with a clock of its own.
pub(crate) struct Hours {
    pub(crate) env: TestEnv,
    next: u64,
}

impl Hours {
    /// Nothing has happened yet.
    pub(crate) fn empty() -> Hours {
        let mut env = TestEnv::new();
        env.http_table = "timeout = \"60s\"\n".into();
        Hours { env, next: 1 }
    }

    /// Five hours of archive, from which the first run starts; a run ends after a second of silence.
    pub(crate) fn new() -> Hours {
        let mut hours = Hours::empty();
        let from_to = (FROM, FROM + Duration::hours(5));
        hours.next = hours.env.pod.fill(STREAM, from_to, PER_HOUR, 1);
        hours.env.stream_table = format!("start_time = {:?}\nidle_exit = \"1s\"\n", utc(FROM));
        hours
    }

    pub(crate) fn archive_mode(mut self) -> Hours {
        self.env.stream_table += "mode = \"archive\"\n";
        self
    }

    /// So many events happen in the minutes before `now`, which the live stream says.
    pub(crate) fn happen(&mut self, now: OffsetDateTime, count: u64) {
        self.env.pod.set_now(now);
        for number in 0..count {
            let time = now - Duration::minutes(15) * (number as f64 / count as f64);
            let event = pod_event(STREAM, &mut Rng::new(self.next), time, self.next);
            self.env.pod.happen(STREAM, time, event);
            self.next += 1;
        }
    }

    /// The same for one event of so many bytes and more.
    pub(crate) fn happen_large(&mut self, now: OffsetDateTime, size: usize) {
        self.env.pod.set_now(now);
        let (serial, ts, text) = (self.next, utc(now), "y".repeat(size));
        let event = format!(r#"{{"guid":"serial.{serial}","ts":"{ts}","x":"{text}"}}"#);
        self.env.pod.happen(STREAM, now, event);
        self.next += 1;
    }

    pub(crate) fn start(&self, now: OffsetDateTime, more: &[&str]) -> Running {
        self.env.pod.set_now(now);
        let now = utc(now);
        let mut args = vec!["--now", &now];
        args.extend_from_slice(more);
        self.env.start(SERVICE, &args)
    }

    pub(crate) fn run(&self, now: OffsetDateTime) -> Run {
        self.start(now, &[]).wait()
    }

    /// Runs at later hours until all of the archive was read.
    pub(crate) fn sweep(&self, mut now: OffsetDateTime) {
        self.env.pod.no_script();
        self.env.devo.behave(|_| Behaviour::Normal);
        for _ in 0..3 {
            now += Duration::minutes(61);
            self.run(now).assert_status(0);
        }
        // behind the last event hours are empty, and the first of them lies behind a full one
        let open = self.open_hours();
        let is_empty = |why: &str| ["empty", "unproven"].contains(&why);
        assert!(open.iter().all(|(_, why)| is_empty(why)), "{open:?}");
    }

    pub(crate) fn open_hours(&self) -> Vec<(String, String)> {
        let state = self.env.state(SERVICE);
        let open = state["checkpoint"]["open_hours"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let text = |hour: &serde_json::Value, key: &str| hour[key].as_str().unwrap().to_owned();
        open.iter()
            .map(|hour| (text(hour, "from"), text(hour, "why")))
            .collect()
    }
}

#[test]
fn the_live_stream_and_five_hours_of_archive_arrive_exactly_once_over_several_runs() {
    let mut hours = Hours::new();
    hours.env.pod.set_late_words(3);
    let mut now = NOW;
    for _ in 0..4 {
        hours.happen(now, 50);
        hours.run(now).assert_status(0).assert_says("caught up");
        now += Duration::minutes(70);
    }
    hours.sweep(now);
    hours.env.assert_exactly_once(SERVICE);
    let questions = hours.env.pod.asked();
    let archive = questions.iter().filter_map(|asked| asked.hours);
    assert!(archive.clone().count() > 8);
    assert!(
        archive
            .into_iter()
            .all(|(from, to)| to - from == Duration::HOUR)
    );
    let first = &questions[0].target;
    let expected = "cid=examplecorp_hosted&type=message&sinceTime=2026-11-20T05%3A00%3A00-0000&toTime=2026-11-20T06%3A00%3A00-0000";
    assert!(first.ends_with(expected), "{first}");
}

#[test]
fn what_the_live_stream_lost_comes_by_the_archive_which_is_then_asked_again() {
    let mut hours = Hours::new();
    hours.env.stream_table = "idle_exit = \"1s\"\n".into();
    let now = datetime!(2026-11-20 12:50 UTC);
    hours.happen(now, 40);
    hours.run(now).assert_status(0);
    let time = now - Duration::minutes(20);
    for serial in 5000..5007 {
        let event = pod_event(STREAM, &mut Rng::new(serial), time, serial);
        hours.env.pod.archive(STREAM, time, event);
    }
    let run = hours.run(now + Duration::hours(1));
    assert_eq!(run.assert_status(0).count("delivered"), 7);
    let open = [("2026-11-20T12:00:00Z".into(), "growing".into())];
    assert_eq!(hours.open_hours(), open);
    let run = hours.run(now + Duration::hours(2));
    assert_eq!(run.assert_status(0).count("delivered"), 0);
    let open = hours.open_hours();
    assert!(
        !open
            .iter()
            .any(|(from, _)| from.starts_with("2026-11-20T12")),
        "{open:?}"
    );
}

#[test]
fn the_archive_alone_is_complete_without_any_live_stream() {
    let mut hours = Hours::new().archive_mode();
    hours.happen(NOW, 20);
    let run = hours.run(NOW);
    run.assert_status(0).assert_says("caught up");
    assert_eq!(run.count("delivered"), 4 * PER_HOUR);
    hours.sweep(NOW);
    hours.env.assert_exactly_once(SERVICE);
    let asked = hours.env.pod.asked();
    assert!(asked.iter().all(|asked| asked.hours.is_some()));
}

#[test]
fn an_hour_that_is_cut_off_is_asked_for_again_by_the_next_run() {
    let hours = Hours::new().archive_mode();
    let mut cuts = 0;
    hours.env.pod.script(move |asked, _| {
        let (from, _) = asked.hours?;
        let third = from == FROM + Duration::hours(2) && cuts < 2;
        cuts += usize::from(third);
        third.then_some(StreamFault::After(
            20,
            [Ends::InAFrame, Ends::Reset][cuts % 2],
        ))
    });
    hours.run(NOW).assert_status(0);
    let cut = utc(FROM + Duration::hours(2));
    assert!(hours.open_hours().contains(&(cut, "cut".into())));
    hours.env.pod.no_script();
    // all five hours, though the last may not be asked for yet
    hours.sweep(NOW);
    hours.env.assert_exactly_once(SERVICE);
}

#[test]
fn an_hour_that_cannot_be_read_does_not_hold_up_the_next_and_is_a_named_gap_after_a_day() {
    let hours = Hours::new().archive_mode();
    let bad = FROM + Duration::HOUR;
    let mut times = 0;
    hours.env.pod.script(move |asked, _| {
        let (from, _) = asked.hours?;
        times += usize::from(from == bad);
        // no two answers are equal
        let frames = 30 - times % 3 * 10;
        (from == bad).then_some(StreamFault::After(frames, Ends::Code(1011)))
    });
    let run = hours.run(NOW);
    run.assert_status(0);
    assert_eq!(hours.env.position(SERVICE), "2026-11-20T09:00:00Z");
    let (from, why) = &hours.open_hours()[1];
    assert_eq!(
        (from.as_str(), why.as_str()),
        ("2026-11-20T06:00:00Z", "cut")
    );
    // not a moment later, and not for ever
    let run = hours.run(NOW + Duration::minutes(5));
    assert_eq!(run.assert_status(0).count("requests"), 0);
    hours.run(NOW + Duration::hours(2)).assert_status(0);
    let run = hours.run(NOW + Duration::hours(25));
    run.assert_status(3);
    run.assert_says("giving up the archive hour of 2026-11-20T06:00:00Z");
    run.assert_says("gap: events from 2026-11-20T06:00:00Z to 2026-11-20T07:00:00Z");
    hours.run(NOW + Duration::hours(26)).assert_status(0);
}

#[test]
fn an_hour_that_is_empty_at_first_or_partial_is_asked_for_again() {
    for percent in [0, 60] {
        let hours = Hours::new().archive_mode();
        let poor = FROM + Duration::hours(2);
        let mut times = 0;
        hours.env.pod.script(move |asked, _| {
            times += usize::from(asked.hours?.0 == poor);
            (asked.hours?.0 == poor && times == 1).then_some(StreamFault::Part(percent))
        });
        hours.run(NOW).assert_status(0);
        let open = hours.open_hours();
        let why = if percent == 0 { "empty" } else { "growing" };
        assert!(
            open.contains(&("2026-11-20T07:00:00Z".into(), why.into())),
            "{open:?}"
        );
        hours.run(NOW + Duration::hours(1)).assert_status(0);
        hours.sweep(NOW + Duration::hours(1));
        let open = hours.open_hours();
        assert!(open.iter().all(|(from, _)| *from > utc(poor)), "{open:?}");
        hours.env.assert_exactly_once(SERVICE);
    }
}

#[test]
fn an_hour_that_holds_less_than_it_did_is_asked_for_again() {
    let hours = Hours::new().archive_mode();
    let mut parts = [60, 40].into_iter().peekable();
    hours.env.pod.script(move |asked, _| {
        let first = asked.hours?.0 == FROM;
        parts.next_if(|_| first).map(StreamFault::Part)
    });
    let open = |why: &str| ("2026-11-20T05:00:00Z".to_owned(), why.to_owned());
    hours.run(NOW).assert_status(0);
    assert!(hours.open_hours().contains(&open("growing")));
    hours.run(NOW + Duration::hours(1)).assert_status(0);
    assert!(hours.open_hours().contains(&open("lacking")));
    hours.sweep(NOW + Duration::hours(1));
    hours.env.assert_exactly_once(SERVICE);
}

#[test]
fn an_hour_that_lacks_what_the_live_stream_has_shown_stays_open() {
    let mut hours = Hours::new();
    hours.env.stream_table = "idle_exit = \"1s\"\n".into();
    let now = datetime!(2026-11-20 12:50 UTC);
    hours.happen(now, 80);
    hours.run(now).assert_status(0);
    hours
        .env
        .pod
        .script(|asked, _| asked.hours.map(|_| StreamFault::Part(80)));
    hours.run(now + Duration::hours(1)).assert_status(0);
    let open = [("2026-11-20T12:00:00Z".to_owned(), "lacking".to_owned())];
    assert_eq!(hours.open_hours(), open);
    hours.sweep(now + Duration::hours(1));
}

#[test]
fn a_record_that_cannot_be_read_is_delivered_and_the_connection_goes_on() {
    let mut hours = Hours::new().archive_mode();
    let pod = &hours.env.pod;
    let time = FROM + Duration::minutes(10);
    let odd: [&[u8]; 5] = [
        b"{\"guid\":\"serial.9001\",\"ts\":\"2026-11-20T05:10:00Z\",\"x\":\"\xff\xfe\"}",
        b"{\"guid\":\"serial.9002\",\"ts\":\"2026-11-20T05:10:00Z\",\"x\":\"a\x01b\tc\x0bd\"}",
        b"{\"guid\":\"serial.9003\",\"x\":1}",
        b"{\"guid\":\"serial.9004\",\"ts\":\"soon\"}",
        b"{\"guid\":\"serial.9005\",\"ts\":}",
    ];
    for text in odd {
        pod.archive(STREAM, time, text);
    }
    let run = hours.run(NOW);
    run.assert_status(0)
        .assert_says("not valid JSON")
        .assert_says("not UTF-8");
    hours.sweep(NOW);
    hours.env.assert_exactly_once(SERVICE);
    let events = hours.env.devo.events();
    let find = |text: &str| {
        events
            .iter()
            .any(|event| String::from_utf8_lossy(event).contains(text))
    };
    assert!(find("\"x\":\"\u{fffd}\u{fffd}\""));
    assert!(find(r#""x":"a\u0001b\u0009c\u000bd""#));
    hours.env.stream_table.clear();
}

#[test]
fn the_live_stream_takes_a_message_of_3_mib_and_bytes_that_are_no_utf_8() {
    let mut hours = Hours::new();
    hours.env.stream_table = "idle_exit = \"1s\"\nmode = \"live\"\n".into();
    hours.next = 9001;
    hours.happen_large(NOW, 3 << 20);
    let ts = utc(NOW);
    let mut bad = format!(r#"{{"guid":"serial.9002","ts":"{ts}","x":"?"}}"#).into_bytes();
    let at = bad.len() - 3;
    bad[at] = 0xff;
    hours.env.pod.happen(STREAM, NOW, bad);
    let run = hours.run(NOW);
    run.assert_status(0).assert_says("1 not UTF-8");
    let arrived = hours.env.devo.counts_by_serial();
    assert_eq!(
        arrived.into_iter().collect::<Vec<_>>(),
        [(9001, 1), (9002, 1)]
    );
    assert_eq!(hours.env.pod.asked().len(), 1, "one connection");
}

#[test]
fn a_message_that_is_too_large_is_an_error_that_names_its_size_and_the_setting() {
    for (mode, now) in [("live", NOW), ("archive", NOW + Duration::hours(2))] {
        let mut hours = Hours::new();
        hours.env.stream_table =
            format!("idle_exit = \"1s\"\nmode = {mode:?}\nmax_frame_bytes = 5000\n");
        hours.happen_large(NOW, 9000);
        let run = hours.run(now);
        run.assert_error(
            65,
            &["a message has 90", "the limit is 5000"],
            "max_frame_bytes",
        );
    }
}

#[test]
fn what_comes_between_our_close_frame_and_that_of_the_server_is_delivered() {
    for (how, says) in [
        ("TERM", "stopped by a signal"),
        ("time", "stopped at max_duration"),
    ] {
        let mut hours = Hours::new();
        hours.env.stream_table = "mode = \"live\"\n".into();
        hours.env.pod.set_late_words(7);
        hours.happen(NOW, 30);
        let time = ["--max-duration", "4s"];
        let run = hours.start(NOW, if how == "time" { &time } else { &[] });
        wait_until(|| hours.env.devo.count() == 30, "the live stream");
        // more than can come before the end
        hours.env.pod.script(|_, _| None);
        if how == "TERM" {
            run.signal("TERM");
        }
        let pod = &hours.env.pod;
        wait_until(|| !pod.is_held(STREAM), "the close frame");
        let run = run.wait();
        run.assert_status(0).assert_says(says);
        assert_eq!(hours.env.devo.count(), pod.said(STREAM));
    }
}

#[test]
fn another_holder_of_the_token_is_waited_for() {
    let mut hours = Hours::new();
    hours.env.stream_table = "mode = \"live\"\nidle_exit = \"1s\"\n".into();
    hours.happen(NOW, 5);
    hours.env.pod.hold(STREAM);
    let run = hours.start(NOW, &[]);
    wait_until(|| !hours.env.pod.asked().is_empty(), "a question");
    hours.env.pod.release(STREAM);
    let run = run.wait();
    run.assert_status(0)
        .assert_says("HTTP 409: Exceeded maximum number of sessions per token; retrying in");
    assert_eq!(run.count("delivered"), 5);
}

#[test]
fn a_token_that_is_held_for_the_whole_run_is_unavailable() {
    let hours = Hours::new();
    hours.env.pod.hold(STREAM);
    let run = hours.start(NOW, &["--max-duration", "3s"]).wait();
    run.assert_error(
        69,
        &["HTTP 409: Exceeded maximum number of sessions"],
        "its own api_key",
    );
    assert_eq!(hours.env.devo.count(), 0);
    // a signal is no failure
    let run = hours.start(NOW, &[]);
    wait_until(|| hours.env.pod.asked().len() > 2, "another question");
    run.signal("TERM");
    run.wait()
        .assert_status(0)
        .assert_says("stopped by a signal");
}

#[test]
fn two_runs_never_use_one_token_and_type_at_once() {
    let mut hours = Hours::new();
    hours.env.stream_table = "mode = \"live\"\n".into();
    let first = hours.start(NOW, &[]);
    wait_until(|| hours.env.pod.is_held(STREAM), "the live stream");
    let second = hours.start(NOW, &["--stdout"]).wait();
    second.assert_error(
        75,
        &["another run of this service is in progress"],
        "--wait-lock",
    );
    let locks = std::fs::read_dir(hours.env.state_dir()).unwrap();
    let names: Vec<String> = locks
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        names
            .iter()
            .all(|name| !name.contains(crate::simulator::TOKEN))
    );
    // another type has another session
    let now = utc(NOW);
    let other = hours
        .env
        .start("pod-audit", &["--now", &now, "--max-duration", "2s"])
        .wait();
    other.assert_status(0);
    first.signal("TERM");
    first.wait().assert_status(0);
}

#[test]
fn to_look_reads_the_archive_and_never_eats_the_stream() {
    let mut hours = Hours::new();
    hours.env.stream_table = "idle_exit = \"1s\"\nmode = \"live\"\n".into();
    hours.happen(NOW, 10);
    let run = hours.start(NOW, &["--stdout"]).wait();
    run.assert_status(0);
    assert_eq!(run.count("delivered"), PER_HOUR);
    assert_eq!(hours.env.pod.said(STREAM), 0);
    // where there is nobody to miss them
    hours.env.devo_table.clear();
    let run = hours
        .start(
            NOW,
            &[
                "--stdout",
                "--state-dir",
                hours.env.dir.path().join("other").to_str().unwrap(),
            ],
        )
        .wait();
    run.assert_status(0);
    assert_eq!(
        (run.count("delivered"), hours.env.pod.said(STREAM)),
        (10, 10)
    );
}

#[test]
fn a_backfill_is_widened_to_whole_hours_and_ends_when_all_of_them_are_read() {
    let hours = Hours::new();
    let now = NOW + Duration::hours(10);
    let (from, to) = ("2026-11-20T06:20:00Z", "2026-11-20T07:10:00Z");
    let backfill = ["--start-time", from, "--end-time", to];
    let run = hours.start(now, &backfill).wait();
    run.assert_status(0);
    assert_eq!(run.count("delivered"), 2 * PER_HOUR);
    let asked: Vec<String> = hours
        .env
        .pod
        .asked()
        .iter()
        .map(|asked| utc(asked.hours.unwrap().0))
        .collect();
    assert_eq!(asked, ["2026-11-20T06:00:00Z", "2026-11-20T07:00:00Z"]);
    // one that was cut off is left, and the same command goes on
    let hours = Hours::new();
    hours.env.pod.script(|asked, _| {
        let (from, _) = asked.hours?;
        (from == FROM + Duration::hours(2)).then_some(StreamFault::After(5, Ends::Reset))
    });
    let run = hours.start(now, &backfill).wait();
    run.assert_status(75);
    hours.env.pod.no_script();
    let run = hours.start(now + Duration::HOUR, &backfill).wait();
    run.assert_status(0).assert_says("continuing at");
}

#[test]
fn a_start_older_than_30_days_is_moved_up_and_a_long_pause_is_a_gap() {
    let mut hours = Hours::new();
    hours.env.stream_table = "mode = \"archive\"\nstart_time = \"2026-10-01\"\n".into();
    let early = datetime!(2026-10-21 13:00 UTC);
    hours.env.pod.set_now(NOW);
    let run = hours.start(NOW, &["--max-duration", "2s"]).wait();
    run.assert_status(0).assert_says(
        "2026-10-01T00:00:00Z is older than the service keeps: starting at 2026-10-21T13:00:00Z",
    );
    let first = hours.env.pod.asked()[0].hours.unwrap().0;
    assert_eq!(first, early);
    let run = hours
        .start(NOW + Duration::days(40), &["--max-duration", "1s"])
        .wait();
    run.assert_status(3).assert_says("gap: events from");
}

/// A receiver that reads this much at once, 66 times a second, and takes its time to confirm.
fn slow(read: usize, hold: Wait) -> Behaviour {
    Behaviour::Slow {
        read,
        pause: Wait::from_millis(15),
        hold,
    }
}

/// A first run has ended in an hour of the archive, whose answer goes on for longer than it.
pub(crate) fn unfinished(hours: &Hours) {
    hours
        .env
        .pod
        .fill(STREAM, (FROM, FROM + Duration::HOUR), 30_000, 100_000);
    let proof = hours.env.devo.connections().len();
    hours.env.devo.behave(move |number| match number == proof {
        true => Behaviour::Normal,
        false => slow(300_000, Wait::ZERO),
    });
    let run = hours.start(NOW, &["--max-duration", "1s"]).wait();
    run.assert_status(0).assert_says("stopped at max_duration");
    let open = hours.open_hours();
    assert_eq!(
        open,
        [("2026-11-20T05:00:00Z".to_owned(), "unfinished".to_owned())]
    );
}

#[test]
fn an_hour_that_did_not_fit_into_a_run_is_read_to_its_end_in_the_next() {
    let hours = Hours::new().archive_mode();
    unfinished(&hours);
    let open = hours.open_hours();
    let proof = hours.env.devo.connections().len();
    // after a first transaction beyond the end, one whose confirmation comes later than a run waits that got a signal
    hours.env.devo.behave(move |number| match number - proof {
        1 => slow(15_000, Wait::ZERO),
        2 => slow(15_000, Wait::from_secs(11)),
        _ => Behaviour::Normal,
    });
    let run = hours.start(NOW, &["--max-duration", "1s"]).wait();
    assert!(hours.env.devo.connections().len() > proof + 3);
    run.assert_status(0)
        .assert_says("did not fit into the last run");
    assert!(!hours.open_hours().contains(&open[0]), "{}", run.stderr);
    hours.env.devo.behave(|_| Behaviour::Normal);
    hours.sweep(NOW);
    hours.env.assert_exactly_once(SERVICE);
}

#[test]
fn each_refusal_has_its_status_and_remedy() {
    let table: [(u16, i32, &str); 7] = [
        (400, 65, "cluster_id"),
        (401, 77, "licence"),
        (403, 77, "PoD Logging"),
        (404, 65, "base_url"),
        (405, 65, "base_url"),
        (429, 75, "run less often"),
        (302, 65, "sign-in"),
    ];
    let named = table.map(|case| (case.0.to_string(), case));
    each(named, |(status, exit, hint)| {
        let hours = Hours::new();
        hours
            .env
            .pod
            .script(move |_, _| Some(StreamFault::Status(status, "because\r\n")));
        let run = hours.run(NOW);
        run.assert_error(exit, &[&format!("HTTP {status}: because")], hint);
        run.assert_never_says(crate::simulator::TOKEN);
    });
    let mut hours = Hours::new();
    hours.env.pod_table = hours
        .env
        .pod_table
        .replace("examplecorp_hosted", "other_hosted");
    hours.run(NOW).assert_error(77, &["HTTP 401"], "cluster_id");
    hours.env.pod_table.clear();
    hours
        .run(NOW)
        .assert_error(78, &["no table [pod]"], "api_key");
}

#[test]
fn trouble_of_the_service_is_waited_for() {
    let hours = Hours::new().archive_mode();
    hours
        .env
        .pod
        .script(|_, number| (number < 2).then_some(StreamFault::Status(503, "busy")));
    let run = hours.run(NOW);
    run.assert_status(0).assert_says("HTTP 503: busy; retrying");
    hours
        .env
        .pod
        .script(|_, _| Some(StreamFault::Status(503, "busy")));
    let run = hours
        .start(NOW + Duration::HOUR, &["--max-duration", "3s"])
        .wait();
    run.assert_error(69, &["HTTP 503: busy"], "the next run retries");
}

#[test]
fn a_server_that_is_busy_says_how_long_to_wait() {
    let hours = Hours::new().archive_mode();
    let pod = &hours.env.pod;
    pod.script(|_, number| (number == 0).then_some(StreamFault::Later("7")));
    let run = hours.run(NOW);
    run.assert_status(0)
        .assert_says("HTTP 503: later; retrying in 7 s");
}

/// A message is one event, but several that are joined in one are several events.
#[test]
fn events_that_are_joined_in_one_message_arrive_one_by_one() {
    let mut hours = Hours::new();
    hours.happen(NOW, 3);
    let event = |serial: u64| pod_event(STREAM, &mut Rng::new(serial), NOW, serial);
    let mut serial = 5000;
    for joint in [&b""[..], b"\n", b" \r\n", b","] {
        let [one, other, third] = [0, 1, 2].map(|number| event(serial + number));
        let message = [&one[..], joint, &other, joint, &third].concat();
        hours.env.pod.happen(STREAM, NOW, message);
        serial += 3;
    }
    let broken = [&event(serial)[..], b"{\"broken\":\"serial.5999\""].concat();
    hours.env.pod.happen(STREAM, NOW, broken);
    hours.happen(NOW, 3);
    let run = hours.run(NOW);
    run.assert_status(0).assert_says("1 not valid JSON");
    let arrived = hours.env.devo.counts_by_serial();
    for serial in 5000..=serial {
        assert_eq!(arrived.get(&serial), Some(&1), "{serial}: {arrived:?}");
    }
    let said = 6 + 4 * 3 + 2;
    assert_eq!(hours.env.devo.count(), 4 * 60 + said);
    // the archive repeats them
    for minutes in [70, 140] {
        hours.run(NOW + Duration::minutes(minutes)).assert_status(0);
    }
    assert_eq!(hours.env.devo.count(), 5 * 60 + said);
}

/// Two events may have the same id and the same time.
#[test]
fn events_of_one_name_and_other_content_all_arrive_and_no_hour_stays_open() {
    let twin = |text: &str| {
        let ts = utc(NOW);
        format!(r#"{{"guid":"serial.7000","ts":"{ts}","x":"{text}"}}"#)
    };
    let mut hours = Hours::new();
    hours.happen(NOW, 20);
    hours.env.pod.say(STREAM, ["a", "b"].map(twin));
    // one that the live stream has lost
    for event in ["a", "b", "c"].map(twin) {
        hours.env.pod.archive(STREAM, NOW, event);
    }
    hours.run(NOW).assert_status(0);
    assert_eq!(hours.env.devo.counts_by_serial()[&7000], 2);
    hours.sweep(NOW);
    // the archive gives them in any order; the first of the live stream may come once more
    let arrived = hours.env.devo.counts_by_serial()[&7000];
    assert!((3..=4).contains(&arrived), "{arrived}");
    let lines = hours.env.devo.events();
    for event in ["a", "b", "c"].map(twin) {
        let body = &event.as_bytes()[..event.len() - 1];
        assert!(lines.iter().any(|line| line.starts_with(body)), "{event}");
    }
}

#[test]
fn a_receiver_that_does_not_answer_drains_no_stream() {
    let mut hours = Hours::new();
    hours.env.stream_table = "mode = \"live\"\n".into();
    hours.happen(NOW, 10);
    hours.env.devo.behave(|_| Behaviour::Refuse);
    hours.run(NOW).assert_status(69);
    assert_eq!(hours.env.pod.asked(), []);
    hours.env.devo.behave(|_| Behaviour::ResetAfter(0));
    hours.run(NOW).assert_status(74);
    assert_eq!(
        (hours.env.pod.asked(), hours.env.pod.said(STREAM)),
        (vec![], 0)
    );
}

#[test]
fn in_live_mode_an_hour_without_a_good_end_and_a_run_that_died_are_gaps() {
    let mut hours = Hours::new();
    hours.env.stream_table = "mode = \"live\"\nidle_exit = \"1s\"\n".into();
    hours.happen(NOW, 10);
    hours.run(NOW).assert_status(0);
    hours.run(NOW + Duration::minutes(50)).assert_status(0);
    let run = hours.run(NOW + Duration::minutes(150));
    run.assert_status(3)
        .assert_says("gap: events from 2026-11-20T11:10:0");
    assert_eq!(hours.env.position(SERVICE)[..16], *"2026-11-20T12:50");
    hours.env.stream_table = "mode = \"live\"\n".into();
    let run = hours.start(NOW + Duration::minutes(155), &[]);
    wait_until(|| hours.env.pod.is_held(STREAM), "the live stream");
    let opened = || hours.env.state(SERVICE)["checkpoint"]["live"]["open"] == true;
    wait_until(opened, "the state");
    drop(run);
    hours.env.stream_table += "idle_exit = \"1s\"\n";
    let run = hours.run(NOW + Duration::minutes(157));
    run.assert_status(3)
        .assert_says("gap: events from 2026-11-20T12:55:0");
    hours.run(NOW + Duration::minutes(158)).assert_status(0);
}

#[test]
fn a_live_connection_that_drops_is_made_again_within_the_run_and_each_end_is_told() {
    let rows = [
        (Ends::Code(1000), "normally (1000)", 0),
        (Ends::Code(1009), "too big (1009)", 0),
        (
            Ends::Code(1011),
            "internal error, or missed a pong (1011)",
            0,
        ),
        (Ends::InAFrame, "the connection broke (1006)", 1),
        // of what was on its way nobody knows
        (Ends::Reset, "the connection broke (1006)", 20),
    ];
    let named = rows.map(|row| (format!("{row:?}"), row));
    each(named, |(how, says, lost)| {
        let mut hours = Hours::empty();
        hours.env.stream_table = "idle_exit = \"1s\"\nmode = \"live\"\n".into();
        hours.happen(NOW, 60);
        let first = move |number| (number == 0).then_some(StreamFault::After(20, how));
        hours.env.pod.script(move |_, number| first(number));
        let run = hours.run(NOW);
        run.assert_status(0).assert_says(says);
        assert_eq!(hours.env.pod.asked().len(), 2);
        let count = hours.env.devo.count();
        assert!((60 - lost..=60).contains(&count), "{count}");
    });
}

#[test]
fn hours_of_the_archive_leave_half_of_the_time_to_the_live_stream() {
    const PER_HOUR: u64 = 100;
    let mut hours = Hours::empty();
    // many more than a receiver this slow takes in twelve seconds
    let from = NOW.truncate_to_hour() - Duration::days(28);
    hours.next = hours
        .env
        .pod
        .fill(STREAM, (from, from + Duration::days(27)), PER_HOUR, 1);
    hours.env.stream_table = format!("start_time = {:?}\nidle_exit = \"1s\"\n", utc(from));
    hours.happen(NOW, 20);
    hours.env.devo.behave(|_| slow(100_000, Wait::ZERO));
    let run = hours.start(NOW, &["--max-duration", "24s"]).wait();
    let says = "stopped reading the archive at half of max_duration: ";
    run.assert_status(0).assert_says(says);
    let asked = hours.env.pod.asked();
    let read = asked.iter().filter_map(|asked| asked.hours).count();
    assert_eq!(read, asked.len() - 1, "the live stream comes last");
    assert_eq!(asked[read].hours, None);
    assert!((1..27 * 24).contains(&read), "{read}");
    assert_eq!(run.count("delivered"), PER_HOUR * read as u64 + 20);
    // and the next goes on where it stopped
    let run = hours.start(NOW, &[]);
    let asked = || hours.env.pod.asked().get(read + 1).cloned();
    wait_until(|| asked().is_some(), "the next question");
    drop(run);
    let next = asked().and_then(|asked| asked.hours);
    let expected = from + Duration::HOUR * read as u32;
    assert_eq!(next, Some((expected, expected + Duration::HOUR)));
}

#[test]
fn events_are_delivered_while_a_stream_is_never_silent() {
    let mut hours = Hours::empty();
    let run = hours.start(NOW, &[]);
    let delivered = |hours: &mut Hours| {
        hours.happen(NOW, 1);
        hours.env.devo.count() > 0
    };
    wait_until(|| delivered(&mut hours), "an event");
    run.signal("TERM");
    run.wait().assert_status(0);
}

#[test]
fn a_server_that_never_says_a_word_does_not_hold_up_the_end() {
    let mut hours = Hours::new();
    hours.env.stream_table = "mode = \"live\"\n".into();
    hours
        .env
        .pod
        .script(|_, _| Some(StreamFault::After(0, Ends::Silent)));
    let run = hours.start(NOW, &["--max-duration", "1s"]).wait();
    run.assert_status(0).assert_says("stopped at max_duration");
}

#[test]
fn the_stream_is_read_over_tls() {
    let mut hours = Hours::new();
    let pod = crate::simulator::Pod::start_tls(&hours.env.certs);
    pod.set_now(NOW);
    pod.fill(STREAM, (FROM, FROM + Duration::hours(1)), 100, 1);
    let old = hours.env.pod.url();
    hours.env.pod_table = hours.env.pod_table.replace(&old, &pod.url());
    hours.env.http_table = format!("ca = {:?}\n", hours.env.certs.ca());
    hours.env.pod = pod;
    hours.run(NOW).assert_status(0);
    hours.env.assert_exactly_once(SERVICE);
}

#[test]
fn options_of_receivers_hold_for_streams() {
    let env = TestEnv::with(Options::default());
    let run = env.run(
        "pod-audit",
        &["--now", "2026-11-20T10:20:00Z", "--max-duration", "1s"],
    );
    run.assert_status(0);
}

#[test]
fn what_the_live_stream_said_is_sent_once_more_before_it_is_given_up() {
    let mut hours = Hours::new();
    hours.env.stream_table = "mode = \"live\"\nidle_exit = \"1s\"\n".into();
    hours.happen(NOW, 30);
    // 0 is the proof
    hours.env.devo.behave(|number| match number {
        1 => Behaviour::ResetAfter(20_000),
        _ => Behaviour::Normal,
    });
    let run = hours.run(NOW);
    run.assert_status(0)
        .assert_says("sending the batch once more");
    assert_eq!(run.count("delivered"), 30);
    assert_eq!(hours.env.devo.counts_by_serial().len(), 30);
    // twice in vain, and the archive has it
    let mut hours = Hours::new();
    hours.env.stream_table = "idle_exit = \"1s\"\n".into();
    hours.happen(NOW, 30);
    hours.env.devo.behave(|number| match number {
        0 => Behaviour::Normal,
        _ => Behaviour::ResetAfter(0),
    });
    hours.run(NOW).assert_status(74);
    hours.sweep(NOW);
    let arrived = hours.env.devo.counts_by_serial();
    assert_eq!(arrived.values().sum::<usize>(), 30);
}

#[test]
fn a_dry_run_names_the_hours_and_the_live_stream() {
    let hours = Hours::new();
    let run = hours.start(NOW, &["--dry-run"]).wait();
    let said = String::from_utf8(run.assert_status(0).stdout.clone()).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        [lines[0], lines[3], lines[4]],
        [
            "2026-11-20T05:00:00Z/2026-11-20T06:00:00Z: 1 request",
            "2026-11-20T08:00:00Z/2026-11-20T09:00:00Z: 1 request",
            "the live stream: 1 request",
        ]
    );
    assert_eq!(hours.env.pod.asked(), []);
}
