//! `proofpull check --online`: each end that is broken is told with its remedy, and nothing is well that was
//! not tried.

use std::fs;
use std::process::Command;
use std::time::Duration;

use proofpull::service::SERVICES;
use serde_json::Value;

use crate::check::{mode, show};
use crate::order::nobody;
use crate::simulator::{
    API_KEY, Behaviour, Fault, Kind, Options, Request, SECRET, StreamFault, TOKEN, wait_until,
};
use crate::test_env::{Running, TestEnv, ago, each, write_private};

const SERVICE: &str = "tap-messages-blocked";

/// The rows of `check --online`, by what was tried.
fn row<'a>(answer: &'a Value, what: &str) -> &'a Value {
    let rows = answer["online"].as_array().unwrap();
    rows.iter()
        .find(|row| row["what"] == what)
        .unwrap_or_else(|| panic!("{what}: {answer:#}"))
}

#[test]
fn online_each_credential_is_proven_once_and_devo_confirms_without_an_event() {
    let env = TestEnv::new();
    env.add(SERVICE, ago(3), ago(0), 30);
    let run = env.ask(&["check", "--online", "--json"]);
    run.assert_status(0);
    let answer = run.json();
    let [first, ..] = SERVICES else {
        panic!("no service")
    };
    for what in [first.name, "devo", "clock"] {
        assert_eq!(row(&answer, what)["outcome"], "ok", "{answer:#}");
    }
    for service in SERVICES.iter().filter(|service| *service != first) {
        let expected = match Kind::of(service.name) {
            Kind::Tap { .. } | Kind::Threats => "not tested",
            // each is an API of its own, for which the sign-in may not be licensed
            Kind::Campaigns | Kind::Forensics | Kind::People { .. } => "ok",
            Kind::Isolation | Kind::Pod { .. } => continue,
        };
        let outcome = &row(&answer, service.name)["outcome"];
        assert_eq!(outcome, expected, "{answer:#}");
    }
    let requests = env.tap.requests();
    let windows = requests.iter().filter_map(Request::interval);
    let lengths: Vec<i64> = windows
        .map(|(from, to)| (to - from).whole_seconds())
        .collect();
    assert_eq!(lengths, [30, 2 * 60 * 60, 30]);
    assert_eq!((env.devo.count(), env.devo.connections().len()), (0, 1));
    // nothing has run yet, and a check is no run
    assert!(!env.state_dir().exists());
    assert!(
        row(&answer, first.name)["tried"]
            .as_str()
            .unwrap()
            .contains("1 of 1800 requests per 1d, not counted")
    );

    let before = env.tap.requests().len();
    env.run(SERVICE, &[]).assert_status(0);
    let run_made = env.tap.requests().len() - before;
    let run = env.ask(&["check", SERVICE, "--online"]);
    run.assert_status(0);
    let said = run.answer();
    let left = 220 - 1 - run_made;
    assert!(
        said.contains(&format!("1 of 1800 requests per 1d, {left} left")),
        "{said}"
    );
    assert!(said.contains("online: 3 of 3 ok"), "{said}");
    assert!(!said.contains(SECRET));
    // and it has moved nothing
    let before = env.position(SERVICE);
    env.ask(&["check", "--online"]).assert_status(0);
    assert_eq!(env.position(SERVICE), before);
}

#[test]
fn online_says_which_confirmation_a_receiver_supports() {
    let table = [
        (
            "close",
            Behaviour::Normal,
            "ok",
            "read to the end and closed",
            "",
        ),
        (
            "acknowledged",
            Behaviour::Normal,
            "warning",
            "read to the end and closed",
            "remove confirm",
        ),
        (
            "acknowledged",
            Behaviour::NeverClose,
            "ok",
            "acknowledged an empty transaction but did not close",
            "",
        ),
        (
            "acknowledged",
            Behaviour::ResetAtGoodbye,
            "io",
            "reset",
            "check the receiver",
        ),
    ];
    for (wanted, behaviour, outcome, said, remedy) in table {
        let mut env = TestEnv::new();
        env.devo_table += &format!("confirm = {wanted:?}\n");
        if behaviour == Behaviour::NeverClose {
            env.http_table = "timeout = \"2s\"\n".into();
        }
        env.devo.behave(move |_| behaviour.clone());
        let run = env.ask(&["check", SERVICE, "--online", "--json"]);
        let answer = run.json();
        let devo = row(&answer, "devo");
        assert_eq!(devo["outcome"], outcome, "{answer:#}");
        assert!(devo["said"].as_str().unwrap().contains(said), "{answer:#}");
        let found = devo["remedy"].as_str().unwrap_or_default();
        assert!(found.contains(remedy), "{answer:#}");
        assert_eq!(found.is_empty(), remedy.is_empty(), "{answer:#}");
    }
}

/// What is done to a world, what fails in it, the status, and words of the remedy.
type Broken = (
    &'static str,
    fn(&mut TestEnv),
    &'static str,
    i32,
    &'static str,
);

#[test]
fn online_nothing_that_is_broken_is_well_and_each_has_its_remedy() {
    fn answers(env: &TestEnv, status: u16) {
        env.tap
            .script(move |_, _| Some(Fault::status(status, "because")));
    }
    /// Only here the longest silence is waited for.
    fn no_end(env: &mut TestEnv, behaviour: Behaviour) {
        env.http_table = "timeout = \"5s\"\n".into();
        env.devo.behave(move |_| behaviour.clone());
    }
    fn body(env: &TestEnv, text: &'static str) {
        env.tap.script(move |_, _| Some(Fault::Body(text.into())));
    }
    let cases: &[Broken] = &[
        (
            "400",
            |env| answers(env, 400),
            SERVICE,
            65,
            "check threat_type",
        ),
        (
            "401",
            |env| answers(env, 401),
            SERVICE,
            77,
            "Connected Applications",
        ),
        ("403", |env| answers(env, 403), SERVICE, 77, "licence"),
        ("404", |env| answers(env, 404), SERVICE, 65, "base_url"),
        (
            "429",
            |env| answers(env, 429),
            SERVICE,
            75,
            "run less often",
        ),
        (
            "302",
            |env| answers(env, 302),
            SERVICE,
            65,
            "proxy's sign-in page",
        ),
        (
            "500",
            |env| answers(env, 500),
            SERVICE,
            69,
            "wait until the service recovers",
        ),
        (
            "503",
            |env| answers(env, 503),
            SERVICE,
            69,
            "wait until the service recovers",
        ),
        (
            "a page instead of an answer",
            |env| body(env, "<html>sign in</html>"),
            SERVICE,
            65,
            "the TAP API does not answer like this",
        ),
        (
            "an answer without its array",
            |env| body(env, "{}"),
            SERVICE,
            65,
            "the TAP API does not answer like this",
        ),
        (
            "a cut answer",
            |env| body(env, "{\"messagesBlocked\":["),
            SERVICE,
            69,
            "check the network",
        ),
        (
            "a reset",
            |env| env.tap.script(|_, _| Some(Fault::Reset)),
            SERVICE,
            69,
            "check the network",
        ),
        (
            "another secret",
            |env| write_private(&env.dir.path().join("tap.secret"), "wrong"),
            SERVICE,
            77,
            "Connected Applications",
        ),
        (
            "nobody at TAP",
            |env| {
                let start = env.tap_table.find('\n').unwrap();
                let nowhere = format!("base_url = \"http://{}\"", nobody());
                env.tap_table.replace_range(..start, &nowhere);
            },
            SERVICE,
            69,
            "nothing listens there",
        ),
        (
            "no secret",
            |env| fs::remove_file(env.dir.path().join("tap.secret")).unwrap(),
            SERVICE,
            78,
            "create it",
        ),
        (
            "a server whose clock is behind",
            |env| env.tap.set_clock_offset(time::Duration::hours(-3)),
            SERVICE,
            65,
            "clock",
        ),
        (
            "a state folder that is none",
            |env| fs::write(env.state_dir(), "").unwrap(),
            SERVICE,
            73,
            "state folder",
        ),
        (
            "nobody at Devo",
            nobody_at_devo,
            "devo",
            69,
            "nothing listens there",
        ),
        (
            "a receiver that never closes",
            |env| no_end(env, Behaviour::NeverClose),
            "devo",
            74,
            "[devo] confirm = \"acknowledged\" would work",
        ),
        (
            "a receiver that resets",
            |env| {
                env.devo.behave(|_| Behaviour::StopThenReset {
                    after: 0,
                    wait: Duration::ZERO,
                });
            },
            "devo",
            74,
            "check the receiver",
        ),
        (
            "a receiver that cuts the handshake",
            |env| env.devo.behave(|_| Behaviour::CutHandshake),
            "devo",
            69,
            "check that this port speaks TLS",
        ),
        (
            "a receiver that says nothing",
            |env| no_end(env, Behaviour::Silent),
            "devo",
            69,
            "check that this port speaks TLS",
        ),
        (
            "a certificate of a stranger",
            |env| {
                let pair = env.certs.stranger_client();
                show(env, &pair.cert, &pair.key);
            },
            "devo",
            77,
            "who signed it",
        ),
        (
            "no certificate of ours",
            |env| {
                let lines = env
                    .devo_table
                    .lines()
                    .filter(|line| !line.starts_with("cert") && !line.starts_with("key"));
                env.devo_table = lines.map(|line| format!("{line}\n")).collect();
            },
            "devo",
            77,
            "client certificate",
        ),
        (
            "another authority",
            |env| {
                let other = env.certs.other_ca().ca;
                env.devo_table = env
                    .devo_table
                    .replace(&format!("{:?}", env.certs.ca()), &format!("{other:?}"));
            },
            "devo",
            69,
            "CA that is not trusted",
        ),
        (
            "another name",
            |env| env.devo_table += "server_name = \"devo.example\"\n",
            "devo",
            69,
            "server_name",
        ),
        (
            "a key that others can read",
            |env| mode(&env.certs.client_key(), 0o644),
            "devo",
            77,
            "chmod 640",
        ),
        (
            "a text that is refused",
            |env| env.top = "nam = 1\n".into(),
            "text",
            78,
            "",
        ),
    ];
    check_broken(SERVICE, cases);
}

fn nobody_at_devo(env: &mut TestEnv) {
    let (ours, nobodys) = (env.devo.address(), nobody());
    env.devo_table = env.devo_table.replace(&ours, &nobodys);
}

/// Each case with the service asked for: what fails is told with its remedy, and the other end is tried.
fn check_broken(service: &str, cases: &[Broken]) {
    each(
        cases.iter().map(|case| (case.0.to_owned(), case)),
        |(name, spoil, what, status, remedy)| {
            let mut env = TestEnv::new();
            env.add("tap-threats", ago(3), ago(0), 90);
            spoil(&mut env);
            let run = env.ask(&["check", service, "--online", "--json"]);
            let said = run.answer();
            assert_eq!(run.status, Some(*status), "{name}: {said}{}", run.stderr);
            let answer = run.json();
            for secret in [SECRET, API_KEY, TOKEN] {
                assert!(!run.answer().contains(secret), "{name}: {}", run.answer());
            }
            assert_eq!(env.devo.count(), 0, "{name}");
            if *what == "text" {
                let rows = answer["online"].as_array().unwrap();
                let untried = rows.iter().all(|row| row["outcome"] == "not tested");
                assert!(untried, "{name}: {answer:#}");
                let asked = env.tap.requests().len() + env.devo.connections().len();
                assert_eq!(asked, 0);
                return;
            }
            let failed = row(&answer, what);
            let statuses = run.json()["status_name"].clone();
            assert_eq!(failed["outcome"], statuses, "{name}: {answer:#}");
            let said = failed["remedy"].as_str().unwrap_or_default();
            assert!(
                said.contains(remedy),
                "{name}: {remedy:?} is not in {failed:#}"
            );
            // the other end is tried all the same
            let other = if *what == "devo" { service } else { "devo" };
            assert_eq!(row(&answer, other)["outcome"], "ok", "{name}: {answer:#}");
            // nothing is tried again, but on a fresh connection where a kept one was closed; a summary is
            // asked for behind the events that name its threat
            let most = 1 + 2 * usize::from(service == "tap-threats");
            let requests = env.tap.requests().len() + env.pod.asked().len();
            assert!(*what == "devo" || requests <= most, "{name}");
            let jobs = env.isolation.requests().len();
            assert!(*what == "devo" || jobs <= 1, "{name}");
        },
    );
}

#[test]
fn online_a_clock_that_is_wrong_is_no_success() {
    let env = TestEnv::new();
    env.tap.set_clock_offset(time::Duration::hours(3));
    let run = env.ask(&["check", SERVICE, "--online", "--json"]);
    run.assert_status(0);
    let answer = run.json();
    let clock = row(&answer, "clock");
    assert_eq!(clock["outcome"], "warning");
    assert!(
        clock["said"]
            .as_str()
            .unwrap()
            .contains("behind the service's"),
        "{clock}"
    );
    assert!(
        clock["remedy"].as_str().unwrap().contains("timedatectl"),
        "{clock}"
    );
    // where nobody tells the time, that is no success either
    env.tap.script(|_, _| Some(Fault::Close));
    let answer = env.ask(&["check", SERVICE, "--online", "--json"]).json();
    assert_eq!(row(&answer, "clock")["outcome"], "not tested");
}

#[test]
fn online_a_spent_quota_is_told_and_costs_nothing() {
    let mut env = TestEnv::new();
    env.service_table = "requests = [{ period = \"1h\", at_most = 1 }]\n".into();
    env.start_at(ago(30));
    env.run(SERVICE, &[]).assert_status(0);
    let run = env.ask(&["check", SERVICE, "--online", "--json"]);
    run.assert_status(75);
    let answer = run.json();
    assert_eq!(row(&answer, SERVICE)["outcome"], "tempfail");
    assert_eq!(env.tap.requests().len(), 1);
}

#[test]
fn online_the_same_is_proven_where_tls_and_a_name_must_be_right() {
    let env = TestEnv::with_certs(|certs| Options {
        server: Some(certs.expired_server()),
        ..Options::default()
    });
    let run = env.ask(&["check", SERVICE, "--online", "--json"]);
    run.assert_status(69);
    let answer = run.json();
    let remedy = row(&answer, "devo")["remedy"].as_str().unwrap().to_owned();
    assert!(remedy.contains("renew its certificate"), "{remedy}");
}

#[test]
fn online_isolation_and_threats_are_asked_for_themselves() {
    for service in ["isolation-url", "tap-threats"] {
        let env = TestEnv::new();
        // more than one that names a threat
        env.add("tap-threats", ago(3), ago(0), 90);
        let run = env.ask(&["check", service, "--online", "--json"]);
        run.assert_status(0);
        let answer = run.json();
        assert_eq!(row(&answer, service)["outcome"], "ok", "{run:?}");
        assert_eq!(env.devo.count(), 0);
        // a summary costs nothing of the quota
        let summaries = env.tap.requests().len() == 2;
        assert_eq!(summaries, service == "tap-threats");
        let tried = row(&answer, service)["tried"].as_str().unwrap();
        assert_eq!(tried.contains(": 1 of 1800 requests"), summaries, "{tried}");
    }
}

#[test]
fn online_each_sign_in_is_tried_also_one_whose_services_have_no_table() {
    let mut env = TestEnv::new();
    env.isolation_table.clear();
    let text = fs::read_to_string(env.write_config()).unwrap();
    let (top, _) = text.split_once("[services.").unwrap();
    let config = env.dir.path().join("other.toml");
    write_private(&config, &format!("{top}\n[services.pod-audit]\n"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
    command.args(["check", "--online", "--json", "--config"]);
    let run = Running::start(command.arg(&config)).wait();
    run.assert_status(0);
    let answer = run.json();
    for what in ["pod-audit", "tap-clicks-blocked", "devo", "clock"] {
        assert_eq!(row(&answer, what)["outcome"], "ok", "{answer:#}");
    }
    // of the other streams, nothing was said
    let rows = answer["online"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["what"] != "pod-message"));
}

#[test]
fn online_each_way_in_which_isolation_is_broken_has_its_remedy() {
    fn answers(env: &TestEnv, fault: Fault) {
        env.isolation.script(move |_, _| Some(fault.clone()));
    }
    fn status(env: &TestEnv, status: u16) {
        answers(env, Fault::status(status, "because"));
    }
    fn body(env: &TestEnv, text: &str) {
        answers(env, Fault::Body(text.into()));
    }
    let isolation = "isolation-url";
    let cases: &[Broken] = &[
        (
            "400",
            |env| status(env, 400),
            isolation,
            65,
            "url of the service",
        ),
        (
            "401",
            |env| status(env, 401),
            isolation,
            77,
            "Reporting API",
        ),
        (
            "403",
            |env| status(env, 403),
            isolation,
            77,
            "Reporting API",
        ),
        (
            "404",
            |env| status(env, 404),
            isolation,
            65,
            "check url of the service: nothing exists",
        ),
        (
            "429",
            |env| status(env, 429),
            isolation,
            75,
            "run less often",
        ),
        (
            "302",
            |env| status(env, 302),
            isolation,
            65,
            "proxy's sign-in page",
        ),
        (
            "500",
            |env| status(env, 500),
            isolation,
            69,
            "wait until the service recovers",
        ),
        (
            "503",
            |env| status(env, 503),
            isolation,
            69,
            "wait until the service recovers",
        ),
        (
            "a job that failed",
            |env| body(env, "{\"jobId\":\"1\",\"status\":\"FAILED\",\"data\":[]}"),
            isolation,
            69,
            "wait until the service recovers",
        ),
        (
            "an answer without a status",
            |env| body(env, "{\"data\":[]}"),
            isolation,
            65,
            "the Isolation API does not answer like this",
        ),
        (
            "an answer without data",
            |env| body(env, "{\"jobId\":\"1\",\"status\":\"COMPLETED\"}"),
            isolation,
            65,
            "only if its total is 0",
        ),
        (
            "a page instead of an answer",
            |env| body(env, "<html>sign in</html>"),
            isolation,
            65,
            "the Isolation API does not answer like this",
        ),
        (
            "a cut answer",
            |env| {
                body(env, "{\"jobId\":\"1\",\"status\":\"COMPLETED\",\"data\":[");
            },
            isolation,
            69,
            "check the network",
        ),
        (
            "a reset",
            |env| answers(env, Fault::Reset),
            isolation,
            69,
            "check the network",
        ),
        (
            "another key",
            |env| write_private(&env.dir.path().join("isolation.key"), "wrong"),
            isolation,
            77,
            "Reporting API",
        ),
        (
            "no key",
            |env| fs::remove_file(env.dir.path().join("isolation.key")).unwrap(),
            isolation,
            78,
            "create it",
        ),
        (
            "no sign-in",
            |env| env.isolation_table.clear(),
            isolation,
            78,
            "Reporting API",
        ),
        (
            "nobody at Devo",
            nobody_at_devo,
            "devo",
            69,
            "nothing listens there",
        ),
    ];
    check_broken(isolation, cases);
}

#[test]
fn online_each_way_in_which_threats_are_broken_has_its_remedy() {
    /// The summary of a threat, whose name comes from the request before it.
    fn summary(env: &TestEnv, fault: Fault) {
        env.tap.script(move |request, _| {
            let is_summary = request.path.contains("/threat/summary/");
            is_summary.then(|| fault.clone())
        });
    }
    fn status(env: &TestEnv, status: u16) {
        summary(env, Fault::status(status, "because"));
    }
    let threats = "tap-threats";
    let cases: &[Broken] = &[
        (
            "events refused",
            |env| env.tap.script(|_, _| Some(Fault::status(401, "no"))),
            threats,
            77,
            "Connected Applications",
        ),
        (
            "400",
            |env| status(env, 400),
            threats,
            65,
            "the API rejected the request",
        ),
        (
            "401",
            |env| status(env, 401),
            threats,
            77,
            "Connected Applications",
        ),
        ("403", |env| status(env, 403), threats, 77, "licence"),
        ("429", |env| status(env, 429), threats, 75, "run less often"),
        (
            "302",
            |env| status(env, 302),
            threats,
            65,
            "proxy's sign-in page",
        ),
        (
            "503",
            |env| status(env, 503),
            threats,
            69,
            "wait until the service recovers",
        ),
        (
            "a page instead of a summary",
            |env| summary(env, Fault::Body("<html>sign in</html>".into())),
            threats,
            65,
            "the TAP API does not answer like this",
        ),
        (
            "a reset",
            |env| summary(env, Fault::Reset),
            threats,
            69,
            "check the network",
        ),
        (
            "no sign-in",
            |env| env.tap_table.clear(),
            threats,
            78,
            "Connected Applications",
        ),
    ];
    check_broken(threats, cases);
}

#[test]
fn online_pod_opens_an_old_hour_of_the_archive_and_never_the_live_stream() {
    let env = TestEnv::new();
    let run = env.ask(&["check", "pod-message", "--online", "--json"]);
    run.assert_status(0);
    assert_eq!(row(&run.json(), "pod-message")["outcome"], "ok", "{run:?}");
    let asked = env.pod.asked();
    assert_eq!(asked.len(), 1);
    let (from, _) = asked[0].hours.expect("the archive");
    assert!(from < ago(23 * 60), "{from}");
    assert_eq!(env.devo.count(), 0);
}

#[test]
fn online_each_way_in_which_the_log_stream_is_broken_has_its_remedy() {
    fn status(env: &TestEnv, status: u16) {
        env.pod
            .script(move |_, _| Some(StreamFault::Status(status, "because")));
    }
    let pod = "pod-audit";
    let cases: &[Broken] = &[
        ("400", |env| status(env, 400), pod, 65, "cluster_id"),
        (
            "401",
            |env| status(env, 401),
            pod,
            77,
            "the licence for Remote Syslog",
        ),
        ("403", |env| status(env, 403), pod, 77, "refuse WebSockets"),
        (
            "404",
            |env| status(env, 404),
            pod,
            65,
            "check [pod] base_url",
        ),
        (
            "405",
            |env| status(env, 405),
            pod,
            65,
            "check [pod] base_url",
        ),
        // told as it is, at once
        ("409", |env| status(env, 409), pod, 69, "its own api_key"),
        ("429", |env| status(env, 429), pod, 75, "too many sessions"),
        (
            "302",
            |env| status(env, 302),
            pod,
            65,
            "proxy's sign-in page",
        ),
        (
            "200",
            |env| status(env, 200),
            pod,
            65,
            "the log stream does not answer like this",
        ),
        (
            "500",
            |env| status(env, 500),
            pod,
            69,
            "wait until the service recovers",
        ),
        (
            "503",
            |env| status(env, 503),
            pod,
            69,
            "wait until the service recovers",
        ),
        (
            "another key",
            |env| write_private(&env.dir.path().join("pod.key"), "wrong"),
            pod,
            77,
            "check [pod] api_key",
        ),
        (
            "a key that is held by another program",
            |env| env.pod.hold("audit"),
            pod,
            69,
            "its own api_key",
        ),
        (
            "no key",
            |env| fs::remove_file(env.dir.path().join("pod.key")).unwrap(),
            pod,
            78,
            "create it",
        ),
        (
            "nobody there",
            |env| {
                let start = env.pod_table.find('\n').unwrap();
                let nowhere = format!("base_url = \"ws://{}\"", nobody());
                env.pod_table.replace_range(..start, &nowhere);
            },
            pod,
            69,
            "nothing listens there",
        ),
        (
            "something that speaks no WebSocket",
            |env| {
                let start = env.pod_table.find('\n').unwrap();
                let devo = env.devo.address();
                let other = format!("base_url = \"ws://{devo}\"");
                env.pod_table.replace_range(..start, &other);
            },
            pod,
            69,
            "allow WebSockets",
        ),
        (
            "no sign-in",
            |env| env.pod_table.clear(),
            pod,
            78,
            "API Key Management",
        ),
    ];
    check_broken(pod, cases);
}

#[test]
fn online_a_session_of_pod_that_a_run_of_ours_has_is_left_to_it_and_proves_nothing() {
    let mut env = TestEnv::new();
    env.stream_table = "mode = \"live\"\n".into();
    let running = env.start("pod-message", &["--now", "2026-11-20T10:20:00Z"]);
    wait_until(|| env.pod.is_held("message"), "the live stream");
    let before = env.pod.asked().len();
    let run = env.ask(&["check", "pod-message", "--online", "--json"]);
    run.assert_status(0);
    let answer = run.json();
    let left = row(&answer, "pod-message");
    assert_eq!(left["outcome"], "not tested", "{answer:#}");
    let said = left["said"].as_str().unwrap_or_default();
    assert!(said.contains("(pid "), "{said}");
    assert_eq!(env.pod.asked().len(), before);
    // and another type is asked instead
    let run = env.ask(&["check", "--online", "--json"]);
    let answer = run.json();
    assert_eq!(row(&answer, "pod-message")["outcome"], "not tested");
    assert_eq!(row(&answer, "pod-maillog")["outcome"], "ok", "{answer:#}");
    running.signal("TERM");
    running.wait().assert_status(0);
}
