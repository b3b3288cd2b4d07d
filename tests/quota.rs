//! How many requests are made: never more than a limit allows, whatever runs at the same time or was
//! killed; and what is left undone is done later.

use std::fs;
use std::path::PathBuf;

use proofpull::clock::utc;
use serde_json::{Value, json};
use time::macros::format_description;
use time::{Duration, OffsetDateTime};

use crate::simulator::{Behaviour, Fault, PRINCIPAL};
use crate::test_env::{Run, Running, TestEnv, ago, each, hold, sealed};

const SERVICE: &str = "tap-messages-blocked";
const POOL: &str = "all but clicks/permitted";
const DAY: Duration = Duration::DAY;

/// An event each half hour, from so many hours ago up to now.
fn env(hours: i64) -> TestEnv {
    let mut env = TestEnv::new();
    let from = ago(hours * 60);
    env.start_at(from);
    env.add(SERVICE, from, ago(3), i32::try_from(hours * 2).unwrap());
    env
}

/// A run when it is this time for everybody; what was asked before it is forgotten.
fn run_at(env: &TestEnv, service: &str, now: OffsetDateTime, words: &[&str]) -> Run {
    env.tap.forget_requests();
    env.tap.set_clock_offset(now - OffsetDateTime::now_utc());
    let now = utc(now);
    let mut all = vec!["--now", &now];
    all.extend(words);
    env.run(service, &all)
}

fn ledgers(env: &TestEnv) -> Vec<PathBuf> {
    let files = fs::read_dir(env.state_dir()).into_iter().flatten();
    let paths = files.map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut found: Vec<_> = paths
        .filter(|path| name(path).starts_with("quota-") && name(path).ends_with(".json"))
        .collect();
    found.sort();
    found
}

fn ledger(env: &TestEnv) -> Value {
    let paths = ledgers(env);
    assert_eq!(paths.len(), 1, "{paths:?}");
    serde_json::from_slice(&fs::read(&paths[0]).unwrap()).unwrap()
}

/// How many requests of a service are booked in the shared pool.
fn booked(env: &TestEnv, service: &str) -> usize {
    let times = &ledger(env)["pools"][POOL]["requests"][service];
    times.as_array().map_or(0, Vec::len)
}

/// Another service has made so many requests of the shared pool just now; a run must have been.
fn spend(env: &TestEnv, count: usize) {
    let mut ledger = ledger(env);
    let now = OffsetDateTime::now_utc().unix_timestamp();
    ledger["pools"][POOL]["requests"]["tap-threats"] = json!(vec![now; count]);
    fs::write(&ledgers(env)[0], sealed(&ledger)).unwrap();
}

#[test]
fn a_catch_up_longer_than_the_quota_gets_through_over_days() {
    let mut env = env(6 * 24 - 1);
    env.service_table += "requests = [{ period = \"1d\", at_most = 100 }]\n";
    let start = ago(0);
    let run = run_at(&env, SERVICE, start, &[]);
    let asked = env.tap.requests();
    assert_eq!(asked.len(), 100);
    let next = utc(asked[0].at + DAY);
    let says = [
        "the quota of tap-messages-blocked is spent (100 requests per 1d); the next request is free at",
        &next[..15],
    ];
    run.assert_error(
        75,
        &says,
        "raise requests of [services.tap-messages-blocked]",
    );
    run.assert_says("stopped because the quota is spent: ");
    run.assert_says(" 100 windows, 100 requests (0 left)");
    // what was read is delivered and known
    assert_eq!(env.position(SERVICE), utc(asked[99].interval().unwrap().1));
    assert_eq!(env.devo.count() as u64, run.count("delivered"));

    for hours in [1, 23] {
        let run = run_at(&env, SERVICE, start + Duration::hours(hours), &[]);
        run.assert_error(75, &[&next[..15]], "continues from the saved position");
        assert_eq!(env.tap.requests().len(), 0);
    }
    run_at(&env, SERVICE, start + DAY + Duration::minutes(5), &[]).assert_status(0);
    env.assert_exactly_once(SERVICE);
}

#[test]
fn every_limit_of_a_list_holds_and_an_empty_list_leaves_the_pools() {
    let table = [
        (
            "[{ period = \"1h\", at_most = 3 }, { period = \"1d\", at_most = 5 }]",
            [3, 2, 0],
        ),
        (
            "[{ period = \"1d\", at_most = 5 }, { period = \"1h\", at_most = 3 }]",
            [3, 2, 0],
        ),
        ("[]", [12, 3, 3]),
    ];
    for (list, expected) in table {
        let mut env = env(12);
        env.service_table += &format!("requests = {list}\n");
        let start = ago(0);
        let made = [0, 61, 122].map(|minutes| {
            run_at(&env, SERVICE, start + Duration::minutes(minutes), &[]);
            env.tap.requests().len()
        });
        assert_eq!(made, expected, "{list}");
    }
}

#[test]
fn services_that_run_at_the_same_time_share_the_pool_and_never_pass_it() {
    let services = ["tap-clicks-blocked", SERVICE, "tap-messages-delivered"];
    let env = env(20);
    run_at(&env, "tap-clicks-blocked", ago(20 * 60 - 5), &[]).assert_status(0);
    env.tap.set_clock_offset(Duration::ZERO);
    env.tap.forget_requests();
    spend(&env, 1800 - 1 - 9);
    // the configuration is written by whoever asks for a command
    let commands = services.map(|service| env.command(service));
    let running = commands.map(|mut command| Running::start(&mut command));
    for run in running.map(Running::wait) {
        run.assert_error(
            75,
            &["the quota of all but clicks/permitted is spent (1800 requests per 1d)"],
            "its own credentials",
        );
    }
    assert_eq!(env.tap.requests().len(), 9);
    assert_eq!(
        services
            .map(|service| booked(&env, service))
            .iter()
            .sum::<usize>(),
        10
    );
    // permitted clicks have a pool of their own
    env.tap.forget_requests();
    env.run("tap-clicks-permitted", &[]).assert_status(0);
    assert_eq!(env.tap.requests().len(), 20);
}

#[test]
fn after_a_429_nothing_is_asked_for_before_its_time() {
    // the hours below must not end between the start of a run and the answer
    let ends = |now: OffsetDateTime| [0, 4711].map(|seconds| now + Duration::seconds(seconds));
    let mut now = ago(0);
    while ends(now).iter().any(|end| end.minute() == 59) {
        now += Duration::MINUTE;
    }
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let date = |time: OffsetDateTime| time.format(&format).unwrap();
    let rows = [
        (None, 3600),
        (Some("4711".to_owned()), 4711),
        (Some(date(now + Duration::hours(2))), 7200),
        (Some("99999999".to_owned()), 86_400),
        (Some("tomorrow".to_owned()), 3600),
    ];
    each(
        rows.map(|row| (format!("{row:?}"), row)),
        |(after, seconds)| {
            let env = env(3);
            env.tap.script(move |_, number| {
                let headers = after
                    .iter()
                    .map(|after| ("Retry-After".to_owned(), after.clone()));
                (number > 0).then(|| Fault::Status {
                    code: 429,
                    headers: headers.collect(),
                    body: "Limit exceeded".into(),
                })
            });
            let run = run_at(&env, SERVICE, now, &[]);
            let free = now + Duration::seconds(seconds);
            // it is told from when the answer came, some moments after the start
            let until = &utc(free)[..14];
            run.assert_error(
                75,
                &["[PullError 300] HTTP 429: Limit exceeded"],
                &format!("no request is made before {until}"),
            );
            let first = env.tap.requests()[0].interval().unwrap();
            assert_eq!(env.position(SERVICE), utc(first.1));
            // one more may have been on its way
            assert!(matches!(env.tap.requests().len(), 2..=3));

            env.tap.no_script();
            // others of the pool do not ask either
            for service in [SERVICE, "tap-clicks-blocked"] {
                let run = run_at(&env, service, free - Duration::minutes(2), &[]);
                run.assert_error(75, &["429", "the next request is free at", until], "");
                assert_eq!(env.tap.requests().len(), 0);
            }
            run_at(&env, "tap-clicks-permitted", now, &[]).assert_status(0);
            run_at(&env, SERVICE, free + Duration::minutes(2), &[]).assert_status(0);
            env.assert_exactly_once(SERVICE);
        },
    );
}

#[test]
fn one_bad_server_of_two_costs_a_repeat_for_each_of_its_windows() {
    let env = env(24);
    let start = ago(0);
    env.tap
        .script(|_, number| number.is_multiple_of(2).then(|| Fault::status(503, "")));
    let run = run_at(&env, SERVICE, start, &[]);
    run.assert_status(0);
    let windows = run.count("windows") as usize;
    // and one more where the next window was requested meanwhile
    let requests = env.tap.requests().len();
    assert!(
        (2 * windows..=4 * windows).contains(&requests),
        "{}",
        run.stderr
    );
    assert!((24..=26).contains(&windows), "{}", run.stderr);
    env.assert_exactly_once(SERVICE);
    // one warning counts them
    let warnings = run.stderr.lines().filter(|line| line.contains("warning"));
    let warnings: Vec<_> = warnings.collect();
    assert_eq!(warnings.len(), 1, "{}", run.stderr);
    assert!(
        warnings[0].contains("requests failed and were tried again")
            && warnings[0].contains("HTTP 503"),
        "{}",
        run.stderr
    );
    // each window was requested again as it was
    let asked = env.tap.requests();
    for one in &asked {
        let same = asked
            .iter()
            .filter(|other| other.interval() == one.interval());
        assert!(same.count() >= 2, "{:?}", one.interval());
    }
}

#[test]
fn a_server_that_is_down_costs_few_requests_and_one_warning() {
    let env = env(3);
    env.tap.script(|_, _| Some(Fault::status(503, "down")));
    let run = run_at(&env, SERVICE, ago(0), &[]);
    run.assert_error(
        69,
        &["[PullError 300] HTTP 503: down"],
        "the next run retries",
    );
    assert_eq!(env.tap.requests().len(), 3);
    let warnings = run.stderr.matches("warning").count();
    assert_eq!(warnings, 1, "{}", run.stderr);
    run.assert_says("2 requests failed and were tried again");
    // the next run asks for the same window
    let first = env.tap.requests()[0].interval().unwrap();
    env.tap.no_script();
    run_at(&env, SERVICE, ago(0), &[]).assert_status(0);
    assert_eq!(env.tap.requests()[0].interval().unwrap(), first);
    env.assert_exactly_once(SERVICE);
}

#[test]
fn repeats_have_a_share_of_the_quota_and_what_they_spend_is_an_error() {
    let mut env = env(12);
    env.service_table += "requests = [{ period = \"1d\", at_most = 8 }]\n";
    let mut asked = Vec::new();
    env.tap.script(move |request, _| {
        let window = request.interval();
        let is_first = !asked.contains(&window);
        asked.push(window);
        is_first.then(|| Fault::status(503, ""))
    });
    let start = ago(0);
    // two repeats, and the next failure ends the run
    let run = run_at(&env, SERVICE, start, &[]);
    run.assert_error(
        69,
        &["HTTP 503"],
        "share of the quota of tap-messages-blocked (2 of 8 requests per 1d)",
    );
    assert_eq!(env.tap.requests().len(), 5);
    env.tap.no_script();
    let run = run_at(&env, SERVICE, start + Duration::MINUTE, &[]);
    assert_eq!(env.tap.requests().len(), 3);
    run.assert_error(
        69,
        &["the quota of tap-messages-blocked is spent (8 requests per 1d), 2 requests of it on repeats"],
        "find out why requests fail",
    );
    let later = start + DAY + Duration::minutes(5);
    run_at(&env, SERVICE, later, &[]).assert_status(75);
    env.assert_exactly_once(SERVICE);
}

#[test]
fn a_backfill_leaves_a_reserve_to_the_timer() {
    let mut env = env(30);
    env.service_table = "requests = [{ period = \"1d\", at_most = 30 }]\n".into();
    // half of a limit as small as this
    let (from, to) = (utc(ago(30 * 60)), utc(ago(3 * 60)));
    let words = ["--start-time", &from, "--end-time", &to];
    let now = ago(0);
    let run = run_at(&env, SERVICE, now, &words);
    run.assert_error(
        75,
        &["except for 15 reserved for the timer's runs"],
        "15 are reserved for the timer's runs",
    );
    assert_eq!(env.tap.requests().len(), 15);
    env.start_at(ago(10 * 60));
    run_at(&env, SERVICE, now, &[]).assert_status(0);
    assert_eq!(env.tap.requests().len(), 10);
    // the same command goes on
    run_at(&env, SERVICE, now + DAY + Duration::minutes(5), &words).assert_status(0);
    assert_eq!(env.tap.requests().len(), 12);
}

#[test]
fn a_look_with_stdout_counts_as_well() {
    let mut env = env(6);
    env.service_table += "requests = [{ period = \"1d\", at_most = 8 }]\n";
    env.run(SERVICE, &["--stdout"]).assert_status(0);
    env.run(SERVICE, &[]).assert_status(75);
    assert_eq!((env.tap.requests().len(), booked(&env, SERVICE)), (8, 8));
}

#[test]
fn what_is_not_sent_does_not_count_and_what_may_have_been_does() {
    // nothing is asked for before both ends are proven
    let env = env(3);
    env.devo.behave(|_| Behaviour::Refuse);
    env.run(SERVICE, &[]).assert_status(69);
    assert_eq!(ledgers(&env).len(), 0);
    env.devo.behave(|_| Behaviour::Normal);

    // no connection
    let mut unreached = self::env(3);
    let address = unreached.tap.address();
    unreached.tap_table = unreached
        .tap_table
        .replace(&address, &crate::order::nobody());
    unreached.run(SERVICE, &[]).assert_status(69);
    assert_eq!(booked(&unreached, SERVICE), 0);

    // killed while it waits for the answer
    let held = hold(&env.tap, 0);
    let run = env.start(SERVICE, &[]);
    held.wait();
    assert_eq!(booked(&env, SERVICE), 1);
    run.signal("KILL");
    run.wait();
    drop(held);
    env.tap.no_script();
    assert_eq!(booked(&env, SERVICE), 1);
    env.run(SERVICE, &[]).assert_status(0);
    assert_eq!(booked(&env, SERVICE), 4);
    env.assert_exactly_once(SERVICE);
}

#[test]
fn each_principal_has_a_ledger_whose_name_does_not_tell_it() {
    let mut env = env(2);
    env.run(SERVICE, &[]).assert_status(0);
    let first = ledgers(&env);
    env.tap_table = env.tap_table.replace(PRINCIPAL, "another");
    env.run(SERVICE, &[]).assert_status(77);
    let both = ledgers(&env);
    assert_eq!((first.len(), both.len()), (1, 2));
    for path in both {
        let text = format!("{}{}", path.display(), fs::read_to_string(&path).unwrap());
        assert!(
            !text.contains(&PRINCIPAL[..8]) && !text.contains("another"),
            "{text}"
        );
    }
}

#[test]
fn a_damaged_ledger_is_set_aside_with_a_warning_and_a_newer_one_is_refused() {
    for damage in [
        "",
        "{",
        "[]",
        "{\"version\":2}",
        "{\"version\":2,\"pools\":{}}",
    ] {
        let env = env(2);
        env.run(SERVICE, &[]).assert_status(0);
        let path = &ledgers(&env)[0];
        fs::write(path, damage).unwrap();
        let run = env.run(SERVICE, &[]);
        run.assert_status(0)
            .assert_says("warning")
            .assert_says("is damaged");
        assert_eq!(
            fs::read_to_string(path.with_extension("damaged")).unwrap(),
            damage
        );
        assert_eq!(booked(&env, SERVICE), 1);
        env.run(SERVICE, &[]).assert_never_says("damaged");
    }
    let env = env(2);
    env.run(SERVICE, &[]).assert_status(0);
    let newer = "{\"version\":3,\"something\":[]}";
    fs::write(&ledgers(&env)[0], newer).unwrap();
    env.tap.forget_requests();
    let run = env.run(SERVICE, &[]);
    run.assert_error(65, &["quota-", "version 3"], "newer proofpull");
    assert_eq!(env.tap.requests().len(), 0);
    assert_eq!(fs::read_to_string(&ledgers(&env)[0]).unwrap(), newer);
}

#[test]
fn where_a_request_cannot_be_booked_it_is_not_made() {
    let env = env(2);
    env.run(SERVICE, &[]).assert_status(0);
    env.tap.forget_requests();
    let beside = ledgers(&env)[0].with_added_extension("new");
    fs::create_dir(&beside).unwrap();
    env.run(SERVICE, &[])
        .assert_error(73, &["quota-"], "state folder");
    assert_eq!(env.tap.requests().len(), 0);
    fs::remove_dir(beside).unwrap();
    env.run(SERVICE, &[]).assert_status(0);
}

#[test]
fn requests_that_a_wrong_clock_booked_do_not_stop_it_for_ever() {
    let mut env = env(2);
    env.service_table += "requests = [{ period = \"1d\", at_most = 4 }]\n";
    env.run(SERVICE, &[]).assert_status(0);
    let path = &ledgers(&env)[0];
    let mut ledger = ledger(&env);
    let future = ago(-3650 * 24 * 60).unix_timestamp();
    ledger["pools"][POOL]["requests"][SERVICE] = json!(vec![future; 4]);
    ledger["pools"][POOL]["not_before"] = json!(future);
    fs::write(path, sealed(&ledger)).unwrap();
    let now = ago(0);
    run_at(&env, SERVICE, now, &[]).assert_status(75);
    run_at(&env, SERVICE, now + DAY - Duration::minutes(1), &[]).assert_status(75);
    run_at(&env, SERVICE, now + DAY + Duration::minutes(1), &[]).assert_says("4 requests (0 left)");
}

/// What `--dry-run` prints, as lines; it asks for nothing and leaves nothing.
fn dry_run(env: &TestEnv, words: &[&str]) -> Vec<String> {
    let files = || -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(env.state_dir()).into_iter().flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = paths
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let (before, connections) = (files(), env.devo.connections().len());
    env.tap.forget_requests();
    let run = env.run(SERVICE, &[&["--dry-run"], words].concat());
    run.assert_status(0);
    assert_eq!(
        (env.tap.requests().len(), env.devo.connections().len()),
        (0, connections)
    );
    assert_eq!(
        (files(), env.state_dir().exists()),
        (before.clone(), !before.is_empty())
    );
    let text = String::from_utf8(run.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_dry_run_prints_what_a_run_would_ask_for_and_what_it_costs() {
    let mut env = env(14);
    let now = ago(0);
    let words = ["--now", &utc(now)];
    let lines = dry_run(&env, &words);
    run_at(&env, SERVICE, now, &[]).assert_status(0);
    let asked = |env: &TestEnv| -> Vec<String> {
        let requests = env.tap.requests();
        let line = |request: &crate::simulator::Request| {
            let (from, to) = request.interval().unwrap();
            format!("{}/{}", utc(from), utc(to))
        };
        requests.iter().map(line).collect()
    };
    let windows: Vec<String> = asked(&env)
        .iter()
        .map(|window| format!("{window}: 1 request"))
        .collect();
    assert_eq!(windows.len(), 14);
    assert_eq!(lines[..13], windows[..13]);
    // the newest window ends with the present, which may be a second later for the run
    let start = |line: &str| line.split_once('/').map(|(start, _)| start.to_owned());
    assert_eq!(start(&lines[13]), start(&windows[13]));
    assert!(lines[13].ends_with("Z: 1 request"), "{lines:?}");
    assert_eq!(
        lines[14..],
        [
            "14 windows: 14 requests",
            "all but clicks/permitted: 0 of 1800 requests per 1d used, 1800 left",
            "tap-messages-blocked: 0 of 220 requests per 1d used, 220 left",
        ]
    );

    // two hours later with a small quota: what is new, and what is due for a second look
    let later = now + Duration::minutes(125);
    env.service_table += "requests = [{ period = \"1d\", at_most = 17 }]\n";
    let lines = dry_run(&env, &["--now", &utc(later)]);
    assert_eq!(lines[5], "5 windows: 5 requests", "{lines:?}");
    assert!(
        lines[..3].iter().all(|line| !line.contains("(recheck)")),
        "{lines:?}"
    );
    assert!(
        lines[3..5]
            .iter()
            .all(|line| line.contains("(recheck): 1 request")),
        "{lines:?}"
    );
    assert_eq!(
        lines[7],
        "tap-messages-blocked: 14 of 17 requests per 1d used, 3 left"
    );
    assert!(
        lines[8].starts_with(
            "only 3 requests can be made now: the quota of tap-messages-blocked is spent"
        ),
        "{lines:?}"
    );
    assert!(
        lines[8].contains("the next request is free at 20"),
        "{lines:?}"
    );
}

#[test]
fn a_dry_run_waits_for_no_lock_and_tells_of_a_backfill_too() {
    let env = env(3);
    let held = hold(&env.tap, 0);
    let run = env.start(SERVICE, &[]);
    held.wait();
    // it may save while the other one looks, so only what is printed is compared
    let lines = env.run(SERVICE, &["--dry-run"]);
    lines.assert_status(0);
    assert!(String::from_utf8_lossy(&lines.stdout).contains("3 windows: 3 requests"));
    drop(held);
    run.wait().assert_status(0);
    env.tap.no_script();

    let (from, to) = (utc(ago(10 * 60)), utc(ago(5 * 60 + 30)));
    let lines = dry_run(&env, &["--start-time", &from, "--end-time", &to]);
    assert_eq!(lines[5], "5 windows: 5 requests");
    assert!(
        lines[4].ends_with(&format!("/{to}: 1 request")),
        "{lines:?}"
    );
    let nothing = dry_run(&env, &[]);
    assert!(
        nothing[0].starts_with("nothing to request") || nothing[1] == "1 window: 1 request",
        "{nothing:?}"
    );
}
