//! Isolation: jobs, pages and records without a name; every one arrives, and once.

use std::collections::BTreeMap;
use std::time::{Duration as Wait, Instant};

use proofpull::clock::utc;
use time::{Duration, OffsetDateTime};

use crate::simulator::isolation::visit;
use crate::simulator::{API_KEY, Event, Fault, Framing, Jobs, Request, Rng, Style, wait_until};
use crate::test_env::{Run, TestEnv, ago, each, rounds, seed};

const SERVICE: &str = "isolation-url";
const HOUR: Duration = Duration::HOUR;

/// Records from `hours` ago to 35 minutes ago: several in some seconds, twins, and such at the edges
/// of windows. One in twenty of the last hour is late.
pub(crate) fn filled(rng: &mut Rng, hours: i32, per_hour: usize) -> TestEnv {
    let mut env = TestEnv::new();
    let now = ago(0);
    let (from, to) = (now - HOUR * hours, now - Duration::minutes(35));
    let mut serial = 0;
    let mut hour = from;
    while hour < to {
        for number in 0..per_hour {
            let created = match number {
                // where windows may begin and end
                0 | 1 => hour,
                2 => hour - Duration::SECOND,
                _ => hour + Duration::seconds(rng.below(3600) as i64),
            };
            if !(from..to).contains(&created) {
                continue;
            }
            serial += 1;
            let event = Event::new(created, visit(rng, created, serial));
            if number < 3 || rng.chance(5) {
                env.isolation.add(event.clone());
            }
            let late = created > now - Duration::minutes(80) && rng.chance(20);
            env.isolation.add(if late { event.late() } else { event });
        }
        hour += HOUR;
    }
    env.start_at(from);
    env
}

fn window(request: &Request) -> [String; 3] {
    ["from", "to", "pageSize"].map(|key| request.param(key).unwrap().to_owned())
}

/// The windows that were asked for as first requests of jobs.
pub(crate) fn windows(env: &TestEnv) -> Vec<(OffsetDateTime, OffsetDateTime)> {
    let requests = env.isolation.requests();
    let first = requests
        .iter()
        .filter(|asked| asked.param("jobId").is_none());
    let time = |text: &str| proofpull::config::values::parse_instant(&format!("{text}Z")).unwrap();
    first
        .map(|asked| {
            let [from, to, _] = window(asked);
            (time(&from), time(&to))
        })
        .collect()
}

fn check_exactly_once(env: &TestEnv, jobs: Jobs, style: Style) {
    env.isolation.set_jobs(jobs);
    env.isolation.set_style(style);
    let first = env.run(SERVICE, &[]);
    first.assert_status(0).assert_says("caught up");
    let all: usize = env.isolation.serials().values().sum();
    let late = all as u64 - first.count("delivered");
    env.isolation.release_late();
    let second = env.run(SERVICE, &[]);
    second.assert_status(0);
    let counts = ["late", "delivered"].map(|word| second.count(word));
    assert_eq!(counts, [late, late], "{}", second.stderr);
    env.assert_exactly_once(SERVICE);
    let third = env.run(SERVICE, &[]);
    assert_eq!(third.assert_status(0).count("delivered"), 0);

    let mut from = None;
    for (start, end) in windows(env) {
        assert!(end - start <= Duration::DAY && start < end, "{start} {end}");
        let touches = from.is_none_or(|from| from == start);
        assert!(touches || start < from.unwrap(), "a hole before {start}");
        from = Some(end);
    }
    for request in env.isolation.requests() {
        let bearer = format!("Bearer {API_KEY}");
        let signed = |(name, value): &(String, String)| {
            name.eq_ignore_ascii_case("authorization") && *value == bearer
        };
        assert!(request.headers.iter().any(signed));
        let said = format!("{:?}", request.query);
        assert!(!said.contains(API_KEY), "{said}");
        assert_eq!(window(&request)[2], "10000");
    }
}

#[test]
fn records_arrive_exactly_once_over_26_hours_whatever_jobs_and_answers_look_like() {
    let usual = Jobs::default();
    let jobs = [
        Jobs { looks: 0, ..usual },
        Jobs { page: 70, ..usual },
        Jobs {
            page: 70,
            looks: 2,
            pages_pend: true,
            ..usual
        },
        Jobs {
            looks: 5,
            pending: &["RUNNING", "queued", "", "in progress", "COMPLETE"],
            completed: "Completed",
            ..usual
        },
        Jobs {
            single_shot: true,
            ..usual
        },
        Jobs {
            single_shot: true,
            page: 300,
            ..usual
        },
        Jobs {
            last_token: "null",
            page: 500,
            ..usual
        },
        Jobs {
            last_token: r#""""#,
            page: 500,
            ..usual
        },
    ];
    let style = |shape: usize| Style {
        gzip: shape & 1 > 0,
        pretty: shape & 2 > 0,
        array_first: shape & 4 > 0,
        shuffle_keys: true,
        framing: [Framing::Chunked, Framing::Length, Framing::UntilClose][shape % 3],
        ..Style::default()
    };
    // an empty status is no status
    let jobs = jobs.map(|jobs| match jobs.looks {
        5 => Jobs {
            pending: &["RUNNING", "queued", "?", "in progress", "COMPLETE"],
            ..jobs
        },
        _ => jobs,
    });
    let rows = jobs.into_iter().enumerate();
    let named = rows.map(|(shape, jobs)| (format!("{jobs:?}"), (jobs, style(shape))));
    each(named, |(jobs, style)| {
        let env = filled(&mut Rng::new(seed()), 26, 60);
        check_exactly_once(&env, jobs, style);
    });
}

#[test]
fn records_arrive_exactly_once_over_30_days_by_pages_of_10_000() {
    let env = filled(&mut Rng::new(seed()), 30 * 24 - 2, 10);
    // more than a page has in a day
    for serial in 1_000_000..1_012_345 {
        let at = ago(48 * 60) + Duration::seconds(serial % 3600);
        let body = visit(&mut Rng::new(1), at, serial.unsigned_abs());
        env.isolation.add(Event::new(at, body));
    }
    check_exactly_once(&env, Jobs::default(), Style::default());
    let requests = env.isolation.requests();
    let pages = requests
        .iter()
        .filter(|asked| asked.param("pageToken").is_some());
    assert_eq!(pages.count(), 1);
    assert!((30..=34).contains(&windows(&env).len()));
}

#[test]
fn a_page_is_sorted_by_date() {
    let env = filled(&mut Rng::new(seed()), 20, 30);
    env.run(SERVICE, &[]).assert_status(0);
    let events = env.devo.events();
    let dates: Vec<String> = events
        .iter()
        .map(|event| {
            serde_json::from_slice::<serde_json::Value>(event).unwrap()["date"].to_string()
        })
        .collect();
    assert!(dates.len() > 500 && dates.is_sorted(), "{dates:?}");
}

/// Twins are several equal records in one second; each window edge falls on such a second.
#[test]
fn twins_at_the_edges_of_windows_are_as_many_events_as_they_are() {
    let rows = [true, false].map(|inclusive| (format!("end inclusive: {inclusive}"), inclusive));
    each(rows, |inclusive| {
        let mut env = TestEnv::new();
        env.isolation.set_end_inclusive(inclusive);
        let start = ago(30 * 60);
        env.start_at(start);
        let mut rng = Rng::new(7);
        let mut serial = 0;
        let mut add = |at: OffsetDateTime, count: usize, env: &TestEnv| {
            serial += 1;
            let body = visit(&mut rng, at, serial);
            for _ in 0..count {
                env.isolation.add(Event::new(at, body.clone()));
            }
        };
        for hours in 0..=29 {
            for second in [-1, 0, 1] {
                let at = start + HOUR * hours + Duration::seconds(second);
                if second >= 0 || hours > 0 {
                    add(at, 1 + (hours as usize + 1) % 3, &env);
                }
            }
        }
        // windows as short as an hour, so that edges fall there; runs that end there, too
        let limit = start + HOUR * 24;
        env.isolation.script(move |asked, _| {
            let [from, to, _] = window(asked);
            let time =
                |text: &str| proofpull::config::values::parse_instant(&format!("{text}Z")).unwrap();
            let long = time(&to) - time(&from) > HOUR * 2 && time(&from) < limit;
            long.then(|| Fault::status(504, ""))
        });
        for hours in [10, 11, 12, 27, 30] {
            let now = start + HOUR * hours + Duration::minutes(30);
            env.isolation
                .set_clock_offset(now - OffsetDateTime::now_utc());
            let run = env.run(SERVICE, &["--now", &utc(now)]);
            run.assert_status(0);
        }
        env.assert_exactly_once(SERVICE);
    });
}

#[test]
fn a_twin_that_becomes_visible_later_is_delivered_then() {
    let mut env = TestEnv::new();
    env.start_at(ago(120));
    let at = ago(50);
    let event = Event::new(at, visit(&mut Rng::new(1), at, 1));
    env.isolation.add(event.clone());
    env.isolation.add(event.clone().late());
    env.isolation.add(event.late());
    assert_eq!(env.run(SERVICE, &[]).count("delivered"), 1);
    env.isolation.release_late();
    assert_eq!(env.run(SERVICE, &[]).count("delivered"), 2);
    assert_eq!(env.run(SERVICE, &[]).count("delivered"), 0);
    env.assert_exactly_once(SERVICE);
}

fn come_again_at_once() -> Fault {
    Fault::Status {
        code: 429,
        body: b"later".into(),
        headers: vec![("Retry-After".into(), "0".into())],
    }
}

/// So many requests of a job in a row, from the second one on, go wrong in this way. The job goes on,
/// or another one is requested.
fn check_job(fault: &Fault, times: usize, jobs: usize) {
    let env = filled(&mut Rng::new(1), 1, 40);
    env.isolation.release_late();
    env.isolation.set_jobs(Jobs {
        looks: 2,
        ..Jobs::default()
    });
    let fault = fault.clone();
    env.isolation
        .script(move |_, number| (1..=times).contains(&number).then(|| fault.clone()));
    let run = env.run(SERVICE, &[]);
    run.assert_status(0);
    let requests = env.isolation.requests();
    let made = requests
        .iter()
        .filter(|asked| asked.param("jobId").is_none());
    assert_eq!(made.count(), jobs, "{}", run.stderr);
    assert_eq!(run.count("windows"), 1);
    env.assert_exactly_once(SERVICE);
}

#[test]
fn a_poll_that_fails_is_repeated_within_its_job() {
    let faults = [
        Fault::status(404, "no such job"),
        Fault::status(408, ""),
        Fault::status(421, ""),
        Fault::status(425, ""),
        Fault::status(502, ""),
        Fault::status(503, ""),
        Fault::status(202, ""),
        Fault::Close,
        Fault::Reset,
    ];
    each(faults.map(|fault| (format!("{fault:?}"), fault)), |fault| {
        check_job(&fault, 1, 1);
    });
    check_job(&Fault::status(503, ""), 2, 1);
    // a job that the API has lost is requested anew
    check_job(&Fault::status(404, ""), 3, 2);
}

/// Each request of a run goes wrong in this way once, in a run of its own.
#[test]
fn a_fault_at_any_request_loses_nothing_and_doubles_nothing() {
    let jobs = Jobs {
        page: 40,
        pages_pend: true,
        ..Jobs::default()
    };
    let wait = Wait::from_secs(60);
    let faults = [
        Fault::status(500, "trouble"),
        Fault::status(503, ""),
        come_again_at_once(),
        Fault::status(401, ""),
        Fault::Reset,
        Fault::Close,
        Fault::CutBody { at: 60 },
        Fault::ResetBody { at: 700 },
        Fault::Stall { wait },
        Fault::StallBody { at: 300, wait },
        Fault::Body(b"{\"status\":\"COMPLETED\"}".into()),
        Fault::Body(b"<html>".into()),
    ];
    let count = {
        let env = filled(&mut Rng::new(1), 3, 40);
        env.isolation.set_jobs(jobs);
        env.run(SERVICE, &[]).count("requests") as usize
    };
    assert!(count > 5);
    let all = faults
        .iter()
        .flat_map(|fault| (0..count).map(move |number| (fault, number)));
    let mut all: Vec<_> = all.collect();
    Rng::new(seed()).shuffle(&mut all);
    all.truncate(rounds(all.len()));
    let named = all.into_iter().map(|row| (format!("{row:?}"), row));
    each(named, |(fault, bad)| {
        let mut env = filled(&mut Rng::new(1), 3, 40);
        env.isolation.release_late();
        env.isolation.set_jobs(jobs);
        if matches!(fault, Fault::Stall { .. } | Fault::StallBody { .. }) {
            env.http_table = "timeout = \"2s\"\n".into();
        }
        let fault = fault.clone();
        let hit = move |_: &Request, number: usize| (number == bad).then(|| fault.clone());
        env.isolation.script(hit);
        let run = env.run(SERVICE, &[]);
        assert!(
            matches!(run.status, Some(0 | 65 | 75 | 77)),
            "{}",
            run.stderr
        );
        env.isolation.no_script();
        let run = env.run(SERVICE, &[]);
        run.assert_status(0).assert_says("caught up");
        env.assert_exactly_once(SERVICE);
    });
}

/// All goes wrong in this way; the position stays, and later all arrives once.
fn check_lasting(fault: &Fault, status: i32, says: &[&str], hint: &str) -> Run {
    let mut env = TestEnv::new();
    let start = ago(100);
    env.start_at(start);
    let at = ago(60);
    env.isolation
        .add(Event::new(at, visit(&mut Rng::new(1), at, 1)));
    env.service_table += "max_duration = \"2m\"\n";
    let fault = fault.clone();
    env.isolation.script(move |_, _| Some(fault.clone()));
    let run = env.run(SERVICE, &[]);
    run.assert_error(status, says, hint)
        .assert_never_says(API_KEY);
    assert_eq!(env.position(SERVICE), utc(start));
    env.isolation.no_script();
    env.run(SERVICE, &[]).assert_status(0);
    env.assert_exactly_once(SERVICE);
    run
}

#[test]
fn what_goes_wrong_has_a_status_and_a_hint_and_loses_nothing() {
    const CONSOLE: &str = "Isolation console under Product Settings, Reporting API";
    let status = |code, text: &str| Fault::status(code, text);
    let body = |text: &str| Fault::Body(text.into());
    let job = r#"{"jobId":"j","status":"#;
    let rows: Vec<(Fault, i32, Vec<&str>, &str)> = vec![
        (status(400, "no"), 65, vec!["HTTP 400: no"], "start_time"),
        (
            status(401, "no"),
            77,
            vec!["[ApiError 403] HTTP 401: no"],
            CONSOLE,
        ),
        (
            status(403, ""),
            77,
            vec!["[ApiError 403] HTTP 403"],
            CONSOLE,
        ),
        (
            status(401, &format!("no {API_KEY} here")),
            77,
            vec!["[ApiError 403] HTTP 401: no *** here"],
            CONSOLE,
        ),
        (status(404, ""), 65, vec!["HTTP 404"], "url"),
        (
            come_again_at_once(),
            75,
            vec!["HTTP 429: later"],
            "does not publish",
        ),
        (status(302, ""), 65, vec!["HTTP 302"], "proxy"),
        (status(204, ""), 65, vec!["HTTP 204"], "url"),
        (status(206, "{}"), 65, vec!["HTTP 206: {}"], "url"),
        (status(408, ""), 69, vec!["HTTP 408"], "next run"),
        (
            status(202, ""),
            69,
            vec!["HTTP 202: (no text)", "has no jobId"],
            "next run",
        ),
        (status(500, "x"), 69, vec!["HTTP 500: x"], "next run"),
        (Fault::Reset, 69, vec![], "next run"),
        (body(""), 65, vec!["empty"], "url"),
        (body("[]"), 65, vec!["HTTP 200: []"], "url"),
        (body("{}"), 65, vec!["HTTP 200: {}", "no status"], "url"),
        (body(r#"{"data":[]}"#), 65, vec!["no status"], "url"),
        (
            body(r#"{"status":"COMPLETED"}"#),
            65,
            vec!["no array \"data\""],
            "total is absent",
        ),
        (
            body(r#"{"jobId":"j","status":"COMPLETED","data":null}"#),
            65,
            vec!["no array \"data\""],
            "url",
        ),
        (
            body(r#"{"jobId":"j","status":"COMPLETED","total":17}"#),
            65,
            vec!["no array \"data\""],
            "total is 17",
        ),
        (
            body(r#"{"jobId":"j","status":"COMPLETED","data":null,"total":null}"#),
            65,
            vec!["no array \"data\""],
            "total is absent",
        ),
        (
            body(r#"{"jobId":"j","status":"COMPLETED","total":0,"pageToken":"p"}"#),
            65,
            vec!["no array \"data\""],
            "there is a pageToken",
        ),
        (
            body(r#"{"jobId":"j","status":"COMPLETED","total":0,"data":{"0":{}}}"#),
            65,
            vec!["no array \"data\""],
            "not a list",
        ),
        (body(r#"{"status":"RUNNING"}"#), 65, vec!["no jobId"], "url"),
        (
            body(&format!("{job}\"COMPLETED\",\"data\":[")),
            69,
            vec!["cut off"],
            "next run",
        ),
        (
            body(&format!("{job}\"FAILED\",\"message\":\"too many\"}}")),
            69,
            vec!["FAILED", "too many"],
            "next run",
        ),
        (
            body(&format!("{job}\"Cancelled\"}}")),
            69,
            vec!["Cancelled"],
            "next run",
        ),
        (
            body(&format!(
                "{job}\"COMPLETED\",\"data\":[],\"pageToken\":\"p\"}}"
            )),
            65,
            vec!["an earlier pageToken"],
            "url",
        ),
        (
            body(&format!(
                "{job}\"COMPLETED\",\"data\":[],\"pageToken\":\"{}\"}}",
                "p".repeat(20_000)
            )),
            65,
            vec!["more than 16384 bytes under \"pageToken\""],
            "url",
        ),
    ];
    let named = rows
        .into_iter()
        .map(|row| (format!("{:.100?}", row.0), row));
    each(named, |(fault, status, says, hint)| {
        check_lasting(&fault, status, &says, hint);
    });
}

#[test]
fn a_job_that_is_never_completed_ends_the_run_and_the_next_asks_for_less() {
    let mut env = filled(&mut Rng::new(seed()), 20, 10);
    env.isolation.release_late();
    env.http_table = "timeout = \"2s\"\n".into();
    env.isolation.set_jobs(Jobs {
        looks: usize::MAX,
        ..Jobs::default()
    });
    let run = env.run(SERVICE, &[]);
    run.assert_error(69, &["RUNNING", "not COMPLETED after 16 s"], "timeout");
    // the waits grew
    assert!((5..12).contains(&run.count("requests")), "{}", run.stderr);
    env.isolation.set_jobs(Jobs::default());
    env.isolation.forget_requests();
    env.run(SERVICE, &[]).assert_status(0);
    let asked = windows(&env);
    assert!(asked[0].1 - asked[0].0 <= HOUR * 10, "{asked:?}");
    env.assert_exactly_once(SERVICE);
}

#[test]
fn what_came_is_confirmed_before_a_wait_and_a_wait_notices_a_signal() {
    let env = filled(&mut Rng::new(seed()), 2, 50);
    env.isolation.release_late();
    env.isolation.set_jobs(Jobs {
        page: 20,
        looks: 0,
        ..Jobs::default()
    });
    // the second page takes for ever
    let pending = br#"{"jobId":"j","status":"RUNNING"}"#;
    env.isolation.script(|asked, _| {
        let second = asked.param("pageToken").is_some();
        second.then(|| Fault::Body(pending.into()))
    });
    let run = env.start(SERVICE, &[]);
    wait_until(|| env.isolation.requests().len() >= 6, "some looks");
    // the proof, and the page
    assert_eq!((env.devo.count(), env.unconfirmed()), (20, 20));
    assert_eq!(env.devo.connections().len(), 2);
    let signalled = Instant::now();
    run.signal("TERM");
    let run = run.wait();
    run.assert_status(0).assert_says("stopped by a signal");
    assert!(signalled.elapsed() < Wait::from_secs(30));
    assert_eq!(run.count("delivered"), 20);
    env.isolation.no_script();
    env.run(SERVICE, &[]).assert_status(0);
    env.assert_exactly_once(SERVICE);
}

#[test]
fn windows_end_so_far_before_the_present_as_is_configured() {
    for (offset, minutes) in [("", 30), ("0s", 0), ("1440m", 1440), ("90m", 90)] {
        let mut env = TestEnv::new();
        env.start_at(ago(30 * 60));
        if !offset.is_empty() {
            env.service_table += &format!("window_offset = {offset:?}\n");
        }
        env.run(SERVICE, &[]).assert_status(0);
        let last = windows(&env).pop().unwrap().1;
        let expected = ago(minutes);
        assert!(
            (expected - last).abs() < Duration::minutes(2),
            "{last} {expected}"
        );
    }
    for wrong in ["1441m", "-1m", "30"] {
        let mut env = TestEnv::new();
        env.service_table += &format!("window_offset = {wrong:?}\n");
        let run = env.run(SERVICE, &[]);
        run.assert_status(78).assert_says("window_offset");
        assert!(env.isolation.requests().is_empty());
    }
}

#[test]
fn what_isolation_no_longer_keeps_is_a_gap_and_a_backfill_stays_apart() {
    let mut env = TestEnv::new();
    env.start_at(ago(40 * 24 * 60));
    let old = ago(35 * 24 * 60);
    env.isolation
        .set_clock_offset(old - OffsetDateTime::now_utc());
    env.run(SERVICE, &["--now", &utc(old)]).assert_status(0);
    let position = env.position(SERVICE);
    env.isolation.set_clock_offset(Duration::ZERO);
    for days in [29, 10, 1] {
        let at = ago(days * 24 * 60);
        env.isolation
            .add(Event::new(at, visit(&mut Rng::new(1), at, days as u64)));
    }
    let run = env.run(SERVICE, &[]);
    run.assert_status(3)
        .assert_says(&format!("from {position}"));
    env.assert_exactly_once(SERVICE);

    let before = std::fs::read(env.state_dir().join(format!("{SERVICE}.json"))).unwrap();
    let words = ["--start-time", "11d", "--end-time", "9d"];
    let run = env.run(SERVICE, &words);
    assert_eq!(run.assert_status(0).count("delivered"), 1);
    let after = std::fs::read(env.state_dir().join(format!("{SERVICE}.json"))).unwrap();
    assert_eq!(before, after);
    let run = env.run(SERVICE, &["--start-time", "10m"]);
    run.assert_error(2, &["nothing to backfill"], "at least 30m ago");
}

#[test]
fn a_key_that_is_missing_or_none_is_said_before_anything_is_asked() {
    let mut env = TestEnv::new();
    env.isolation_table.clear();
    let run = env.run(SERVICE, &[]);
    run.assert_error(78, &["no table [isolation]"], "Reporting API");
    for wrong in ["two words", "schlüssel"] {
        env.isolation_table = format!("api_key = {wrong:?}\n");
        let run = env.run(SERVICE, &[]);
        run.assert_error(78, &["[isolation] api_key"], "only the key")
            .assert_never_says(wrong);
    }
    assert!(env.isolation.requests().is_empty());
    // a set clock is for loopback addresses alone
    let mut env = TestEnv::new();
    env.service_table = "url = \"https://isolation.example/x\"".into();
    let text = std::fs::read_to_string(env.write_config()).unwrap();
    let built_in: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("url"))
        .collect();
    let path = env.dir.path().join("built-in.toml");
    crate::test_env::write_private(&path, &built_in.join("\n"));
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_proofpull"));
    let words = ["run", SERVICE, "--now", "2026-01-01T00:00:00Z", "--config"];
    let run = crate::test_env::Running::start(command.args(words).arg(path).env_clear()).wait();
    run.assert_status(2).assert_says("loopback");
}

/// More than is held at once, and the status behind the records.
#[test]
fn a_page_that_is_too_big_to_hold_arrives_in_pieces() {
    let sizes: BTreeMap<usize, usize> = [(1, 9 << 20), (12, 1 << 20), (40_000, 0)].into();
    let rows = sizes
        .into_iter()
        .flat_map(|row| [true, false].map(|last| (row, last)));
    let named = rows.map(|row| (format!("{row:?}"), row));
    each(named, |((count, size), array_first)| {
        let mut env = TestEnv::new();
        env.start_at(ago(120));
        let at = ago(60);
        for serial in 0..count as u64 {
            let body = visit(&mut Rng::new(1), at, serial);
            let text = String::from_utf8(body.text().into()).unwrap();
            let region = format!("\"region\":\"{}\"", "x".repeat(size));
            let text = text.replace("\"region\":\"US\"", &region);
            env.isolation.add(Event::new(at, text));
        }
        env.isolation.set_style(Style {
            array_first,
            gzip: false,
            ..Style::default()
        });
        let run = env.run(SERVICE, &[]);
        run.assert_status(0);
        env.assert_exactly_once(SERVICE);
        let again = env.run(SERVICE, &[]);
        assert_eq!(again.assert_status(0).count("delivered"), 0);
    });
}

#[test]
fn a_record_that_becomes_visible_nine_hours_late_arrives_once_by_the_recheck_after() {
    let mut env = TestEnv::new();
    let start = ago(17 * 60);
    env.start_at(start);
    let mut rng = Rng::new(seed());
    let created = start + Duration::minutes(100);
    for serial in 0..90 {
        let at = start + Duration::minutes(serial as i64 * 10);
        env.isolation
            .add(Event::new(at, visit(&mut rng, at, serial)));
    }
    let late = Event::new(created, visit(&mut rng, created, 1000)).visible_from(created + HOUR * 9);
    // twins
    env.isolation.add(late.clone());
    env.isolation.add(late);
    let mut found = Vec::new();
    for hour in 1..=16 {
        let now = start + HOUR * hour;
        env.isolation
            .set_clock_offset(now - OffsetDateTime::now_utc());
        let run = env.run(SERVICE, &["--now", &utc(now)]);
        run.assert_status(0);
        if run.stderr.contains("(2 by the recheck)") {
            run.assert_says("warning: 2 events became visible, or changed, too late");
            found.push(hour);
        } else {
            run.assert_never_says("by the recheck");
        }
    }
    assert_eq!(found, [14], "after 12 hours and window_offset");
    env.assert_exactly_once(SERVICE);
}

/// As the service answers for an empty range, by what others have seen of it.
#[test]
fn an_answer_without_data_whose_total_is_0_is_an_empty_range() {
    let answers = [
        r#"{"jobId":"j","status":"COMPLETED","total":0}"#,
        r#"{"total":0,"data":null,"status":"completed","jobId":"j","pageToken":null}"#,
        r#"{"data":null,"total":"0","status":"COMPLETED","pageToken":""}"#,
    ];
    each(
        answers.map(|answer| (answer.to_owned(), answer)),
        |answer| {
            let mut env = TestEnv::new();
            let start = ago(300);
            env.start_at(start);
            env.isolation
                .script(move |_, _| Some(Fault::Body(answer.into())));
            let run = env.run(SERVICE, &[]);
            run.assert_status(0).assert_says("caught up");
            run.assert_says("caught up: nothing new, ");
            let position = env.position(SERVICE);
            assert!(position > utc(start + Duration::hours(4)), "{position}");

            // what becomes visible then is found by look_back
            env.isolation.no_script();
            env.add(SERVICE, ago(80), ago(70), 5);
            assert_eq!(env.run(SERVICE, &[]).assert_status(0).count("delivered"), 5);
        },
    );
}

/// The second page of a job is no range of its own.
#[test]
fn a_page_without_data_is_none_even_if_its_total_is_0() {
    let env = filled(&mut Rng::new(seed()), 5, 200);
    env.isolation.set_jobs(Jobs {
        page: 70,
        looks: 0,
        ..Jobs::default()
    });
    env.isolation.script(|asked, _| {
        let later = asked.param("pageToken").is_some();
        later.then(|| Fault::Body(r#"{"jobId":"j","status":"COMPLETED","total":0}"#.into()))
    });
    let run = env.run(SERVICE, &[]);
    run.assert_error(65, &["no array \"data\""], "there is a pageToken");
    env.isolation.no_script();
    env.isolation.release_late();
    env.run(SERVICE, &[]).assert_status(0);
    env.assert_exactly_once(SERVICE);
}

/// Our clock is days ahead for a first run, or for one that goes on; later it is right.
#[test]
fn a_clock_that_is_days_ahead_is_answered_by_windows_of_the_servers_time() {
    let rows = [5, 29, 31, 40].map(|days| [(days, false), (days, true)]);
    let rows = rows.into_iter().flatten();
    each(rows.map(|row| (format!("{row:?}"), row)), |row| {
        let (days, is_known) = row;
        let mut env = TestEnv::new();
        env.start_at(ago(3 * 24 * 60));
        env.add(SERVICE, ago(70 * 60), ago(100), 60);
        if is_known {
            let early = ago(50 * 60);
            env.isolation
                .set_clock_offset(early - OffsetDateTime::now_utc());
            let run = env.run(SERVICE, &["--now", &utc(early)]);
            assert!(run.assert_status(0).count("delivered") > 0);
            env.isolation.set_clock_offset(Duration::ZERO);
        }
        let run = env.run(SERVICE, &["--now", &utc(ago(0) + Duration::days(days))]);
        run.assert_status(0)
            .assert_says("clock is")
            .assert_says("ahead of")
            .assert_says("caught up");
        assert!(env.position(SERVICE) <= utc(ago(0)), "{}", run.stderr);
        // the first window already lies in the server's future, or it does not
        let refused = env.isolation.requests();
        let refused = refused.iter().filter(|request| request.status == 400);
        assert_eq!(refused.count(), usize::from(days > 5));
        env.run(SERVICE, &[])
            .assert_status(0)
            .assert_never_says(" gap");
        env.assert_exactly_once(SERVICE);
    });
}

/// Our clock is years behind for a first run, as on a machine without one; later it is right.
#[test]
fn a_first_run_years_ago_is_no_gap_of_years() {
    let env = TestEnv::new();
    env.add(SERVICE, ago(20 * 60), ago(100), 20);
    let run = env.run(SERVICE, &["--now", &utc(ago(0) - Duration::days(700))]);
    run.assert_says("clock is").assert_says("behind");
    env.run(SERVICE, &[])
        .assert_status(0)
        .assert_never_says(" gap");
    env.assert_exactly_once(SERVICE);
}

/// Each page begins with the end of the page before; one whole page comes again, with a new token.
#[test]
fn pages_that_overlap_give_no_doubles() {
    let mut env = TestEnv::new();
    env.start_at(ago(300));
    let visits: Vec<String> = (0..8)
        .map(|number| {
            let at = ago(100 - number);
            let visit = visit(&mut Rng::new(number as u64), at, number as u64);
            String::from_utf8(visit.text().to_vec()).unwrap()
        })
        .collect();
    let twin = visits[7].clone();
    let pages = [
        &visits[0..4],
        &visits[2..6],
        &visits[2..6],
        &visits[4..8],
        &[twin],
    ]
    .map(|page| page.join(","));
    env.isolation.script(move |asked, _| {
        let page: usize = asked
            .param("pageToken")
            .map_or(0, |token| token.parse().unwrap());
        let next = (page + 1 < pages.len()).then(|| format!(r#","pageToken":"{}""#, page + 1));
        let answer = format!(
            r#"{{"jobId":"j","status":"COMPLETED","data":[{}]{}}}"#,
            pages[page],
            next.unwrap_or_default()
        );
        Some(Fault::Body(answer.into()))
    });
    let run = env.run(SERVICE, &[]);
    run.assert_status(0);
    let arrived = env.devo.counts_by_serial();
    let expected: BTreeMap<u64, usize> = (0..8)
        .map(|serial| (serial, 1 + usize::from(serial == 7)))
        .collect();
    assert_eq!(arrived, expected);
}
