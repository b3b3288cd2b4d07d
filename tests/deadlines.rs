//! No peer holds a run: it ends soon after its time is over or a signal, whatever a peer does.

use std::time::{Duration as Wait, Instant};

use crate::simulator::{Behaviour, Drip, Fault, StreamFault, wait_until};
use crate::test_env::{TestEnv, ago, each};

const SERVICE: &str = "tap-messages-blocked";
/// 15 s are promised; the rest is for a slow machine.
const SOON: Wait = Wait::from_secs(30);

/// A TLS record that says to be long, as the start of an answer to a ClientHello.
const TLS_START: &[u8] = b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb";
/// A header that does not end.
const HEADER: &[u8] = b"HTTP/1.1 200 OK\r\nX: ";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
/// A chunk that holds a space.
const CHUNK: &[u8] = b"1\r\n \r\n";

/// The time of a run: a slow machine must come as far as to the peer.
const TIME: &str = "8s";

struct Case {
    env: TestEnv,
    service: &'static str,
    /// Who drips, if it is not the receiver of the environment.
    drip: Option<Drip>,
    /// What it ends with at the end of its time, and says that it waited for.
    at_deadline: (i32, &'static str),
}

fn tap() -> Case {
    let mut env = TestEnv::new();
    env.http_table = "timeout = \"300s\"\n".into();
    env.start_at(ago(120));
    env.add(SERVICE, ago(110), ago(60), 2000);
    Case {
        env,
        service: SERVICE,
        drip: None,
        at_deadline: (69, ""),
    }
}

/// The receiver behaves so in all connections from this one on; 0 is the proof.
fn receiver(from: usize, behaviour: &Behaviour) -> Case {
    let case = tap();
    let behaviour = behaviour.clone();
    case.env.devo.behave(move |number| match number < from {
        true => Behaviour::Normal,
        false => behaviour.clone(),
    });
    case
}

/// This key of this table names a server that drips.
fn dripping(
    service: &'static str,
    table: fn(&mut TestEnv) -> &mut String,
    key: &str,
    url: impl Fn(&str) -> String,
    (start, rest): (&'static [u8], &'static [u8]),
) -> Case {
    let mut case = tap();
    let drip = Drip::start(start, rest);
    let table = table(&mut case.env);
    let others = table.lines().filter(|line| !line.starts_with(key));
    let others = others.collect::<Vec<_>>().join("\n");
    *table = format!("{others}\n{key} = {:?}\n", url(&drip.address()));
    Case {
        service,
        drip: Some(drip),
        ..case
    }
}

fn cases() -> Vec<(&'static str, Case)> {
    let ends = |at_deadline, case| Case {
        at_deadline,
        ..case
    };
    let unconfirmed = (74, "confirming the delivery to localhost:");
    let shaking_hands = "TLS handshake with 127.0.0.1: not done when the run was to end";
    let mutter = Behaviour::Mutter(Wait::from_millis(500));
    let tap_at = |scheme: &'static str, answer| {
        let url = move |address: &str| format!("{scheme}://{address}");
        dripping(SERVICE, |env| &mut env.tap_table, "base_url", url, answer)
    };
    let pod_at = |scheme: &'static str, answer| {
        let url = move |address: &str| format!("{scheme}://{address}");
        dripping(
            "pod-message",
            |env| &mut env.pod_table,
            "base_url",
            url,
            answer,
        )
    };
    let plain = |address: &str| address.to_owned();
    let proxy = |address: &str| format!("http://{address}");
    vec![
        (
            "a receiver that mutters at the proof",
            ends(unconfirmed, receiver(0, &mutter)),
        ),
        (
            "a receiver that mutters after events",
            ends(unconfirmed, receiver(1, &mutter)),
        ),
        (
            "a receiver that never closes",
            ends(unconfirmed, receiver(0, &Behaviour::NeverClose)),
        ),
        (
            "a receiver that never closes after events",
            ends(unconfirmed, receiver(1, &Behaviour::NeverClose)),
        ),
        (
            "a receiver that reads no more",
            ends(
                (74, "to localhost:"),
                receiver(1, &Behaviour::StopReading(100)),
            ),
        ),
        (
            "a receiver that is silent",
            ends(
                (69, "TLS handshake with localhost: not done"),
                receiver(0, &Behaviour::Silent),
            ),
        ),
        (
            "a receiver whose handshake drips",
            ends(
                (69, shaking_hands),
                dripping(
                    SERVICE,
                    |env| &mut env.devo_table,
                    "address",
                    plain,
                    (TLS_START, b"x"),
                ),
            ),
        ),
        (
            "an API whose handshake drips",
            ends((69, shaking_hands), tap_at("https", (TLS_START, b"x"))),
        ),
        (
            "an API whose headers drip",
            ends(
                (69, "requesting http://127.0.0.1:"),
                tap_at("http", (HEADER, b"x")),
            ),
        ),
        (
            "an API whose chunks drip",
            ends((69, "reading the answer"), tap_at("http", (CHUNKED, CHUNK))),
        ),
        (
            "a stream whose handshake drips",
            ends((69, shaking_hands), pod_at("wss", (TLS_START, b"x"))),
        ),
        (
            "a stream whose headers drip",
            ends(
                (69, "opening ws://127.0.0.1:"),
                pod_at("ws", (HEADER, b"x")),
            ),
        ),
        (
            "a proxy whose answer drips",
            ends(
                (69, "through the proxy 127.0.0.1:"),
                dripping(
                    SERVICE,
                    |env| &mut env.http_table,
                    "proxy",
                    proxy,
                    (HEADER, b"x"),
                ),
            ),
        ),
    ]
}

#[test]
fn no_peer_holds_a_run_beyond_its_time_or_a_signal() {
    let ends = ["--max-duration", "TERM"];
    let all = ends.map(|end| {
        cases()
            .into_iter()
            .map(move |(name, case)| (name, case, end))
    });
    let named = all.into_iter().flatten();
    let named = named.map(|(name, case, end)| (format!("{name}, {end}"), (case, end)));
    each(named, |(case, end)| check(&case, end));
}

fn check(case: &Case, end: &str) {
    let started = Instant::now();
    let run = case.env.start(
        case.service,
        match end {
            "TERM" => &[],
            _ => &["--max-duration", TIME],
        },
    );
    let mut ended = started + Wait::from_secs(8);
    if end == "TERM" {
        let met = || match &case.drip {
            Some(drip) => drip.accepted() > 0,
            None => !case.env.devo.connections().is_empty(),
        };
        wait_until(met, "the peer");
        run.signal("TERM");
        ended = Instant::now();
    }
    let run = run.wait();
    assert!(
        ended.elapsed() < SOON,
        "{:?}: {}",
        ended.elapsed(),
        run.stderr
    );
    match end {
        "TERM" => run.assert_status(0).assert_says("stopped by a signal"),
        _ => {
            let (status, said) = case.at_deadline;
            // the crate for WebSockets gives up on headers of single bytes by itself
            let why = match run.stderr.contains("Attack attempt") {
                true => "Attack attempt",
                false => "when the run was to end",
            };
            run.assert_error(status, &[said, why], "")
        }
    };
}

#[test]
fn a_run_that_met_nothing_but_errors_by_the_end_of_its_time_has_failed() {
    let case = tap();
    case.env.tap.script(|_, _| Some(Fault::status(503, "")));
    let run = case.env.run(SERVICE, &["--max-duration", "1s"]);
    // its time may also end within a request
    run.assert_error(69, &["stopped at max_duration: "], "");
    let pod = Case {
        service: "pod-message",
        ..case
    };
    pod.env
        .pod
        .script(|_, _| Some(StreamFault::Status(503, "")));
    let run = pod.env.run(pod.service, &["--max-duration", "1s"]);
    run.assert_error(69, &[], "");
}

#[test]
fn a_command_for_a_secret_that_does_not_end_is_left_at_a_signal() {
    let mut case = tap();
    let started = case.env.dir.path().join("started");
    let script = format!("touch {}; sleep 300", started.display());
    let table = case.env.tap_table.lines();
    let others: Vec<&str> = table.filter(|line| !line.starts_with("secret")).collect();
    let command = format!("secret = {{ command = [\"sh\", \"-c\", {script:?}] }}");
    case.env.tap_table = format!("{}\n{command}\n", others.join("\n"));
    let run = case.env.start(SERVICE, &[]);
    wait_until(|| started.exists(), "the command");
    run.signal("TERM");
    let signalled = Instant::now();
    let run = run.wait();
    assert!(signalled.elapsed() < Wait::from_secs(15), "{}", run.stderr);
    run.assert_status(75).assert_says("stopped by a signal");
}

#[test]
fn a_receiver_that_talks_is_no_receiver_and_ends_the_run_at_once() {
    for from in [0, 1] {
        let case = receiver(from, &Behaviour::Flood);
        let started = Instant::now();
        let run = case.env.run(SERVICE, &[]);
        run.assert_error(74, &["more than 16384 bytes"], "another kind of server");
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    }
}
