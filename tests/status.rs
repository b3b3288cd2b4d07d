//! `proofpull status`, the account that runs give of themselves, and what is shown while one goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use proofpull::config::values::parse_instant;
use serde_json::Value;

use crate::simulator::{Ends, Event, Fault, Rng, StreamFault, sample};
use crate::test_env::{Run, Running, TestEnv, ago, array, hold, seed};

const SERVICE: &str = "tap-messages-blocked";

/// Two hours with ten events.
fn env() -> TestEnv {
    let mut env = TestEnv::new();
    env.start_at(ago(120));
    env.add(SERVICE, ago(120), ago(3), 10);
    env
}

/// What `status --json` says of a service.
fn standing(env: &TestEnv, sink: &str) -> Value {
    let run = env.ask(&["status", SERVICE, "--json"]);
    let answer = run.json();
    let all = answer["services"].as_array().unwrap();
    let found = all
        .iter()
        .find(|one| one["service"] == SERVICE && one["sink"] == sink);
    found.unwrap_or_else(|| panic!("{answer:#}")).clone()
}

#[test]
fn a_service_that_never_ran_is_told_so() {
    let env = env();
    let run = env.ask(&["status"]);
    run.assert_status(0);
    let said = run.answer();
    let all = proofpull::service::SERVICES.len();
    let rows = said.lines().filter(|line| line.contains("  never ran  "));
    assert_eq!(rows.count(), all);
    assert!(
        said.starts_with(&format!("{all} services: {all} never ran\n")),
        "{said}"
    );
    assert_eq!(standing(&env, "devo")["position"], Value::Null);
    assert!(!env.state_dir().exists());
}

#[test]
fn status_says_where_a_service_stands_after_each_run() {
    let env = env();
    env.run(SERVICE, &[]).assert_status(0);
    let one = standing(&env, "devo");
    assert_eq!(
        one["position"].as_str(),
        Some(env.position(SERVICE).as_str())
    );
    assert!(
        (60..400).contains(&one["lag_seconds"].as_u64().unwrap()),
        "{one:#}"
    );
    assert_eq!(
        (&one["identities"], &one["gaps"]),
        (&Value::from(10), &Value::Array(Vec::new()))
    );
    let (last, totals) = (&one["runs"]["last"], &one["runs"]["totals"]);
    assert_eq!(
        (&last["status"], &last["name"], &last["error"]),
        (&Value::from(0), &Value::from("ok"), &Value::Null)
    );
    assert_eq!(
        (&totals["delivered"], &last["summary"]["delivered"]),
        (&Value::from(10), &Value::from(10))
    );
    assert_eq!(one["runs"]["done"], last["ended"]);
    let deliveries = one["deliveries"].as_array().unwrap();
    assert_eq!(deliveries.len(), 1);
    assert_eq!(
        (
            &deliveries[0]["delivered"],
            &deliveries[0]["@devo_pulling_id"]
        ),
        (&Value::from(10), &last["summary"]["@devo_pulling_id"])
    );
    assert_eq!(
        deliveries[0]["tag"],
        "mail.proofpoint.tapsiem_v2.messagesblocked"
    );
    let limits = one["quota"]["limits"].as_array().unwrap();
    let used: Vec<u64> = limits
        .iter()
        .map(|limit| limit["used"].as_u64().unwrap())
        .collect();
    assert_eq!(used, [2, 2]);
    assert_eq!(one["quota"]["is_free"], true);

    env.tap.script(|_, _| Some(Fault::status(401, "no")));
    env.run(SERVICE, &[]).assert_status(77);
    let two = standing(&env, "devo");
    let last = &two["runs"]["last"];
    assert_eq!(
        (&last["status"], &last["summary"]["outcome"]),
        (&Value::from(77), &Value::from("failed"))
    );
    assert!(last["error"].as_str().unwrap().contains("[SetupError 100]"));
    assert_eq!(
        (&two["runs"]["done"], &two["position"]),
        (&one["runs"]["done"], &one["position"])
    );
    assert_eq!(
        two["runs"]["ended"],
        serde_json::json!({"ok": 1, "noperm": 1})
    );
    let run = env.ask(&["status", SERVICE]);
    run.assert_status(0);
    let said = run.answer();
    let problem = format!("{SERVICE}: the last run ended with 77 (noperm): ");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "1 service: 1 with a problem");
    assert!(lines[1].starts_with(&problem), "{said}");
    assert!(lines[2].starts_with("hint: "), "{said}");
    assert_eq!(lines[3], "");
    assert!(lines[5].contains("  77 noperm  "), "{said}");
    assert!(lines[5].contains("s ago  "), "{said}");
    assert!(lines[5].contains("  10  "), "{said}");
    assert!(lines[5].contains(" of 220"), "{said}");

    // a run before its state can be read, too
    fs::write(env.state_dir().join(format!("{SERVICE}.json")), "{").unwrap();
    env.run(SERVICE, &[]).assert_status(65);
    let run = env.ask(&["status", SERVICE]);
    run.assert_status(65);
    assert!(
        run.answer().contains("it is damaged") && run.answer().contains("hint: "),
        "{}",
        run.answer()
    );
    let broken = standing(&env, "devo");
    assert_eq!(
        (
            &broken["error"]["status"],
            &broken["runs"]["last"]["status"]
        ),
        (&Value::from(65), &Value::from(65))
    );
}

#[test]
fn a_run_that_is_under_way_is_told_and_not_disturbed() {
    let env = env();
    let held = hold(&env.tap, 0);
    let running = env.start(SERVICE, &[]);
    held.wait();
    for _ in 0..20 {
        let one = standing(&env, "devo");
        assert_eq!(one["running"]["pid"], running.pid(), "{one:#}");
        assert!(one["running"]["since"].as_str().unwrap().ends_with('Z'));
    }
    drop(held);
    running.wait().assert_status(0);
    assert_eq!(standing(&env, "devo")["running"], Value::Null);
    env.assert_exactly_once(SERVICE);
}

#[test]
fn looking_never_keeps_a_run_from_starting() {
    let env = env();
    env.run(SERVICE, &[]).assert_status(0);
    let config = env.write_config();
    let start = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
        Running::start(command.args(words).arg("--config").arg(&config)).wait()
    };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                start(&["status", SERVICE]).assert_status(0);
            }
        });
        let runs: Vec<Option<i32>> = (0..10).map(|_| env.run(SERVICE, &[]).status).collect();
        over.store(true, Relaxed);
        assert_eq!(runs, [Some(0); 10]);
    });
}

#[test]
fn gaps_late_events_and_other_sinks_are_told() {
    let mut env = TestEnv::new();
    let mut rng = Rng::new(seed());
    env.start_at(ago(180));
    let mut hide = |created, serial| {
        let body = sample::message(&mut rng, created, serial, "someone@corp.example");
        let event = Event {
            late: true,
            ..Event::new(created, body)
        };
        env.tap.add(array(SERVICE), event);
    };
    let latest = ago(30);
    hide(latest, 1);
    hide(ago(10), 2);
    env.run(SERVICE, &[]).assert_status(0);
    let position = parse_instant(&env.position(SERVICE)).unwrap();
    env.tap.release_late();
    env.run(SERVICE, &[]).assert_status(0);
    env.run(SERVICE, &[]).assert_status(0);
    let one = standing(&env, "devo");
    assert_eq!(one["late"], 2);
    let lateness = (position - latest).whole_seconds();
    assert_eq!(one["late_seconds_at_most"], lateness);
    let said = env.ask(&["status", SERVICE]).answer();
    assert!(
        said.contains("2 late events in all runs, up to 2"),
        "{said}"
    );

    env.run(SERVICE, &["--stdout"]).assert_status(0);
    assert_eq!(standing(&env, "stdout")["runs"]["last"]["status"], 0);
    env.run(SERVICE, &["--start-time", "2h"]).assert_status(0);
    let said = env.ask(&["status", SERVICE]).answer();
    for title in [
        SERVICE,
        "tap-messages-blocked (stdout)",
        "tap-messages-blocked (backfill)",
    ] {
        assert!(
            said.lines()
                .any(|line| line.starts_with(&format!("{title}  "))),
            "{title}\n{said}"
        );
    }
    // eight days on, a day is lost
    let later = proofpull::clock::utc(ago(-8 * 24 * 60));
    env.tap.set_clock_offset(time::Duration::days(8));
    env.run(SERVICE, &["--now", &later]).assert_status(3);
    let one = standing(&env, "devo");
    assert_eq!(one["gaps"].as_array().unwrap().len(), 1);
    let said = env.ask(&["status", SERVICE]).answer();
    assert!(said.contains("gap: events from"), "{said}");
}

#[test]
fn max_lag_answers_as_a_nagios_check() {
    let env = env();
    let check = |env: &TestEnv, lag: &str, code: i32, says: &[&str]| {
        let run: Run = env.ask(&["status", SERVICE, "--max-lag", lag]);
        run.assert_status(code);
        let said = run.answer();
        let word = ["OK", "WARNING", "CRITICAL", "UNKNOWN"][code as usize];
        assert!(said.starts_with(&format!("PROOFPULL {word} - ")), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        says.iter()
            .for_each(|words| assert!(said.contains(words), "{words}: {said}"));
    };
    check(&env, "1h", 2, &["never ran"]);
    env.run(SERVICE, &[]).assert_status(0);
    check(
        &env,
        "1h",
        0,
        &[
            "1 service, at most ",
            " | 'tap-messages-blocked'=",
            "s;;3600;0",
        ],
    );
    check(&env, "1s", 2, &["tap-messages-blocked: 1m"]);
    // every service: the others never ran
    let run = env.ask(&["status", "--max-lag", "1h"]);
    run.assert_status(2);
    env.tap.script(|_, _| Some(Fault::status(503, "no")));
    env.run(SERVICE, &[]).assert_status(69);
    check(&env, "1h", 1, &["the last run ended with 69 (unavailable)"]);
    check(&env, "1s", 2, &["behind", "the last run ended with 69"]);
    fs::write(env.state_dir().join(format!("{SERVICE}.json")), "{").unwrap();
    check(&env, "1h", 3, &["it is damaged"]);
    let mut env = env;
    env.top = "nam = 1".into();
    check(&env, "1h", 3, &["no key nam"]);
}

/// Lets promtool judge the figures of a service as node_exporter would read them, where it is there.
fn judge(env: &TestEnv, service: &str) {
    let path = env
        .dir
        .path()
        .join(format!("metrics/proofpull_acme_{service}.prom"));
    let figures = fs::File::open(path).unwrap();
    let mut promtool = Command::new("promtool");
    match promtool.args(["check", "metrics"]).stdin(figures).output() {
        Ok(judged) => assert!(judged.status.success(), "{judged:?}"),
        Err(_) => println!("skipped: there is no promtool"),
    }
}

/// The figures that a run left, without comments, by their names.
fn figures(env: &TestEnv) -> Vec<(String, f64)> {
    let path = env
        .dir
        .path()
        .join(format!("metrics/proofpull_acme_{SERVICE}.prom"));
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o644
    );
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let labels = format!("{{name=\"acme\",service=\"{SERVICE}\"");
    let read = |line: &str| {
        let (name, rest) = line.split_once(&labels).unwrap_or_else(|| panic!("{line}"));
        (
            name.to_owned(),
            rest.rsplit(' ').next().unwrap().parse().unwrap(),
        )
    };
    lines.map(read).collect()
}

fn figure(env: &TestEnv, name: &str) -> f64 {
    let all = figures(env);
    let found = all
        .iter()
        .find(|(found, _)| found == &format!("proofpull_{name}"));
    found.unwrap_or_else(|| panic!("{name}: {all:?}")).1
}

#[test]
fn each_run_leaves_figures_for_prometheus_also_one_that_failed() {
    let mut env = env();
    fs::create_dir(env.dir.path().join("metrics")).unwrap();
    env.top = "name = \"acme\"\nmetrics.textfile_dir = \"metrics\"".into();
    env.run(SERVICE, &[]).assert_status(0);
    let done = figure(&env, "last_success_timestamp_seconds");
    assert_eq!(figure(&env, "events_delivered_total"), 10.0);
    assert_eq!(figure(&env, "last_run_status"), 0.0);
    assert_eq!(figure(&env, "identities"), 10.0);
    assert_eq!(figure(&env, "last_run_requests_left"), 218.0);
    assert!(figure(&env, "last_run_peak_memory_bytes") > 1e6);

    env.tap.script(|_, _| Some(Fault::status(403, "no")));
    env.run(SERVICE, &[]).assert_status(77);
    assert_eq!(figure(&env, "last_run_status"), 77.0);
    assert_eq!(figure(&env, "last_success_timestamp_seconds"), done);
    assert_eq!(figure(&env, "events_delivered_total"), 10.0);
    // before there is a source, too
    env.tap.no_script();
    env.tap_table.clear();
    env.run(SERVICE, &[]).assert_status(78);
    assert_eq!(figure(&env, "last_run_status"), 78.0);
    assert!(figure(&env, "last_run_timestamp_seconds") >= done);
    // nothing is left half written
    assert_eq!(
        fs::read_dir(env.dir.path().join("metrics"))
            .unwrap()
            .count(),
        1
    );
}

#[test]
fn figures_are_of_the_timers_runs_and_never_stop_one() {
    let mut env = env();
    let dir = env.dir.path().join("metrics");
    env.top = "name = \"acme\"\nmetrics.textfile_dir = \"metrics\"".into();
    let run = env.run(SERVICE, &[]);
    run.assert_status(0).assert_says("textfile_dir");
    env.assert_exactly_once(SERVICE);
    fs::create_dir(&dir).unwrap();
    env.run(SERVICE, &["--stdout"]).assert_status(0);
    env.run(SERVICE, &["--start-time", "1h"]).assert_status(0);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    // a run that finds another under way has nothing to tell
    let held = hold(&env.tap, 0);
    let running = env.start(SERVICE, &[]);
    held.wait();
    env.run(SERVICE, &[]).assert_status(75);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    drop(held);
    running.wait().assert_status(0);
    assert_eq!(figure(&env, "last_run_status"), 0.0);
}

#[test]
fn damaged_sums_begin_anew_with_a_warning() {
    let env = env();
    env.run(SERVICE, &[]).assert_status(0);
    let path = env.state_dir().join(format!("{SERVICE}.runs.json"));
    fs::write(&path, "{}").unwrap();
    env.run(SERVICE, &[])
        .assert_status(0)
        .assert_says("start again at 0");
    assert_eq!(
        standing(&env, "devo")["runs"]["ended"],
        serde_json::json!({"ok": 1})
    );
}

#[test]
fn a_run_that_was_killed_is_told_by_status_and_counted_by_the_next() {
    let mut env = env();
    fs::create_dir(env.dir.path().join("metrics")).unwrap();
    env.top = "name = \"acme\"\nmetrics.textfile_dir = \"metrics\"".into();
    for round in 1..=2 {
        let held = hold(&env.tap, env.tap.requests().len());
        let running = env.start(SERVICE, &[]);
        held.wait();
        let pid = running.pid();
        let before = standing(&env, "devo");
        assert_eq!(before["killed"], Value::Null, "{before:#}");
        assert_eq!(before["runs"]["begun"]["pid"], pid, "{before:#}");
        running.signal("KILL");
        let run = running.wait();
        assert_eq!(run.status, None);
        // of the one before
        let left = "did not finish";
        assert_eq!(run.stderr.contains(left), round == 2, "{}", run.stderr);
        drop(held);
        let one = standing(&env, "devo");
        assert_eq!(one["killed"], before["runs"]["begun"], "{one:#}");
        assert_eq!(one["running"], Value::Null, "{one:#}");
        let said = env.ask(&["status", SERVICE]).answer();
        let words = format!("pid {pid}) {left}: it was killed");
        assert!(
            said.contains("  killed  ") && said.contains(&words),
            "{said}"
        );
        let check = env.ask(&["status", SERVICE, "--max-lag", "3h"]);
        check.assert_status(1);
        assert!(check.answer().contains(&words), "{}", check.answer());
    }
    env.tap.no_script();
    let run = env.run(SERVICE, &[]);
    run.assert_status(0)
        .assert_says("warning: the previous run (started ");
    let two = standing(&env, "devo");
    assert_eq!(
        (&two["killed"], &two["runs"]["begun"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        two["runs"]["ended"],
        serde_json::json!({"ok": 1, "killed": 2})
    );
    let path = env
        .dir
        .path()
        .join(format!("metrics/proofpull_acme_{SERVICE}.prom"));
    let figures = fs::read_to_string(path).unwrap();
    assert!(figures.contains("status=\"killed\"} 2\n"), "{figures}");
    judge(&env, SERVICE);
    let run = env.run(SERVICE, &[]);
    run.assert_status(0).assert_never_says("the previous run");
    // what a killed run had sent, and nobody had confirmed, comes again
    env.assert_repeated_at_most(SERVICE, 10);
}

#[test]
fn a_quota_that_is_spent_is_told_with_the_time_of_the_next_request() {
    let mut env = env();
    env.service_table += "requests = [{ period = \"1h\", at_most = 1 }]\n";
    env.run(SERVICE, &[]).assert_status(75);
    let one = standing(&env, "devo");
    assert_eq!(one["quota"]["is_free"], false, "{one:#}");
    let free = one["quota"]["next_request"].as_str().unwrap();
    let wait = parse_instant(free).unwrap() - ago(0);
    assert!((50..=61).contains(&wait.whole_minutes()), "{free}");
    let said = env.ask(&["status", SERVICE]).answer();
    let words = format!("the quota is spent; the next request is free at {free}");
    assert!(
        said.contains("  0 of 1\n") && said.contains(&words),
        "{said}"
    );
}

#[test]
fn a_panic_is_status_70_and_gives_its_account() {
    let mut env = env();
    fs::create_dir(env.dir.path().join("metrics")).unwrap();
    env.top = "name = \"acme\"\nmetrics.textfile_dir = \"metrics\"".into();
    env.run(SERVICE, &[]).assert_status(0);
    // no time is later, so that to look a minute ahead of it is more than the arithmetic of times can do
    let run = env.run(SERVICE, &["--now", "9999-12-31T23:59:59Z"]);
    run.assert_status(70)
        .assert_says("proofpull: this is a bug, please report it: ");
    let last = &standing(&env, "devo")["runs"]["last"];
    assert_eq!(
        (&last["status"], &last["name"]),
        (&70.into(), &"software".into())
    );
    assert!(
        last["error"]
            .as_str()
            .unwrap()
            .starts_with("this is a bug, please report it: ")
    );
    assert_eq!(figure(&env, "last_run_status"), 70.0);
    assert_eq!(figure(&env, "events_delivered_total"), 10.0);
    let said = env.ask(&["status", SERVICE]).answer();
    assert!(
        said.contains("the last run ended with 70 (software): this is a bug"),
        "{said}"
    );
    // the lock went with it, and the next run goes on
    env.run(SERVICE, &[])
        .assert_status(0)
        .assert_never_says("did not finish");
    env.assert_exactly_once(SERVICE);
}

#[test]
fn events_set_aside_are_counted_while_they_stand_in_their_file() {
    let mut env = env();
    env.more_tables = format!("[[services.{SERVICE}.obfuscate]]\npath = \"recipient.*\"\n");
    for body in ["{\"id\":\"1\",,}", "{\"id\":\"2\",,}"] {
        env.tap
            .add(array(SERVICE), Event::new(ago(20), body.to_owned()));
    }
    env.run(SERVICE, &[]).assert_status(3);
    let one = standing(&env, "devo");
    assert_eq!(one["quarantine"]["events"], 2, "{one:#}");
    assert_eq!(one["runs"]["totals"]["quarantined"], 2);
    let file = one["quarantine"]["file"].as_str().unwrap();
    let said = env.ask(&["status", SERVICE]).answer();
    assert!(
        said.contains(&format!("2 events quarantined, kept unredacted in {file}")),
        "{said}"
    );
    // somebody has dealt with them
    fs::remove_file(file).unwrap();
    let two = standing(&env, "devo");
    assert_eq!(
        (
            &two["quarantine"]["events"],
            &two["runs"]["totals"]["quarantined"]
        ),
        (&0.into(), &2.into())
    );
    let said = env.ask(&["status", SERVICE]).answer();
    assert!(!said.contains("unredacted"), "{said}");
}

#[test]
fn open_hours_of_the_archive_and_the_live_stream_are_told() {
    use crate::pod::{FROM, Hours, NOW, SERVICE};
    let mut hours = Hours::new();
    fs::create_dir(hours.env.dir.path().join("metrics")).unwrap();
    hours.env.top = "name = \"acme\"\nmetrics.textfile_dir = \"metrics\"".into();
    let now = proofpull::clock::utc(NOW);
    let ask = |env: &TestEnv, more: &[&str]| {
        env.ask(&[&["status", SERVICE, "--now", &now], more].concat())
    };
    let never = ask(&hours.env, &["--json"]).json();
    assert_eq!(never["services"][0]["open_hours"], Value::Null);
    hours.happen(NOW, 20);
    // an hour whose answer is always cut off stays open
    let bad = FROM + time::Duration::hours(1);
    hours.env.pod.script(move |asked, _| {
        let (from, _) = asked.hours?;
        (from == bad).then_some(StreamFault::After(10, Ends::Reset))
    });
    hours.run(NOW);
    let one = ask(&hours.env, &["--json"]).json()["services"][0].clone();
    let told: Vec<(String, String)> = one["open_hours"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hour| {
            (
                hour["from"].as_str().unwrap().to_owned(),
                hour["why"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    assert_eq!(told, hours.open_hours());
    assert!(
        told.contains(&(proofpull::clock::utc(bad), "cut".into())),
        "{told:?}"
    );
    assert!(told.iter().any(|(_, why)| why == "growing"), "{told:?}");
    assert!(
        one["open_hours"][0]["since"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
    assert!(
        one["live"]["lag_seconds"].as_u64().unwrap() < 300,
        "{one:#}"
    );
    let said = ask(&hours.env, &[]).answer();
    let words = format!(
        "pod-message: {} open archive hours, requested again by later runs; the first began ",
        told.len()
    );
    for words in [
        &*words,
        "no equal one confirms it",
        "so there may be more",
        "pod-message: live: delivered up to ",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    let path = hours
        .env
        .dir
        .path()
        .join("metrics/proofpull_acme_pod-message.prom");
    let figures = fs::read_to_string(path).unwrap();
    let labels = "{name=\"acme\",service=\"pod-message\"}";
    assert!(
        figures.contains(&format!("proofpull_archive_open{labels} {}\n", told.len())),
        "{figures}"
    );
    assert!(figures.contains("proofpull_live_timestamp_seconds"));
    judge(&hours.env, SERVICE);
}

#[test]
fn what_is_watched_ends_with_the_run() {
    let env = env();
    let config = env.write_config();
    let held = hold(&env.tap, 0);
    let running = env.start(SERVICE, &[]);
    held.wait();
    let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
    command
        .args(["status", SERVICE, "--watch", "--config"])
        .arg(&config);
    let watching = Running::start(&mut command);
    drop(held);
    running.wait().assert_status(0);
    let watched = watching.wait();
    watched.assert_status(0);
    let said = watched.answer();
    assert!(said.starts_with("1 service: 1 well"), "{said}");
    assert_eq!(said.matches("SERVICE").count(), 1, "{said}");
}

#[test]
fn colours_are_for_a_terminal_alone_and_not_with_no_color() {
    let env = env();
    env.tap.script(|_, _| Some(Fault::status(401, "no")));
    env.run(SERVICE, &[]).assert_status(77);
    let Some(said) = on_a_terminal(&env, &format!("status {SERVICE}")) else {
        return;
    };
    let red = format!("\u{1b}[31m\u{1b}[1m{SERVICE}: the last run ended with 77");
    assert!(said.contains(&red), "{said:?}");
    for plain in [
        on_a_terminal(&env, &format!("status {SERVICE} --json")).unwrap(),
        env.ask(&["status", SERVICE]).answer(),
    ] {
        assert!(!plain.contains('\u{1b}'), "{plain:?}");
    }
    let program = env!("CARGO_BIN_EXE_proofpull");
    let line = format!("{program} status --config {}", env.write_config().display());
    let mut script = Command::new("script");
    let script = script.args(["-qec", &line, "/dev/null"]);
    let output = script
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.stdout.contains(&0x1b), "{output:?}");
    assert!(output.stdout.starts_with(b"14 services: "), "{output:?}");
}

#[test]
fn a_message_takes_the_place_of_the_bar() {
    let mut env = TestEnv::new();
    env.fill(&mut Rng::new(seed()), 3, 5);
    let Some(said) = on_a_terminal(&env, &format!("run {SERVICE} -vv")) else {
        return;
    };
    let pictures: Vec<&str> = said.split('\r').collect();
    let bar = pictures.iter().position(|picture| picture.contains("% "));
    let messages = |picture: &&str| picture.contains("debug: ");
    let behind = &pictures[bar.unwrap()..];
    assert!(behind.iter().any(messages), "{said:?}");
    for picture in behind.iter().filter(|picture| messages(picture)) {
        assert!(!picture.contains('%'), "{picture:?} of {said:?}");
    }
}

/// What the program says to a terminal of its own.
fn on_a_terminal(env: &TestEnv, words: &str) -> Option<String> {
    let config = env.write_config();
    let program = env!("CARGO_BIN_EXE_proofpull");
    let line = format!("{program} {words} --config {}", config.display());
    let mut script = Command::new("script");
    let script = script
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::null());
    match script.output() {
        Ok(output) => {
            assert!(output.status.success(), "{output:?}");
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(_) => {
            println!("skipped: there is no script(1)");
            None
        }
    }
}

#[test]
fn a_bar_is_shown_to_a_terminal_alone_and_never_with_q() {
    let bar = |text: &str| text.contains("tap-messages-blocked ") && text.contains('%');
    let env = env();
    let run = format!("run {SERVICE}");
    let Some(said) = on_a_terminal(&env, &run) else {
        return;
    };
    assert!(bar(&said), "{said:?}");
    // the bar is gone before the end line
    let end = said
        .rsplit('\r')
        .find(|line| line.contains("caught up"))
        .unwrap();
    assert!(!end.contains('%'), "{said:?}");
    // the next service has one, too
    let both = format!("{run} tap-clicks-blocked");
    let both = on_a_terminal(&self::env(), &both).unwrap();
    let of_the_next = |line: &str| line.contains("tap-clicks-blocked ") && line.contains("% ");
    assert!(both.split('\r').any(of_the_next), "{both:?}");
    for more in ["-q", "--log-format json"] {
        let said = on_a_terminal(&self::env(), &format!("{run} {more}")).unwrap();
        assert!(!said.contains('%'), "{said:?}");
    }
    let run = self::env().run(SERVICE, &[]);
    run.assert_status(0).assert_never_says("%");
}
