//! WebSocket clients that others wrote get along with the simulated log stream: what our own client
//! is tried against is no peculiarity of ours.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use time::Duration;

use crate::pod::{FROM, NOW, STREAM};
use crate::simulator::{Pod, Rng, TOKEN, pod_event};

/// Where `PROOFPULL_WEBSOCKET_CLIENTS` names a Python that has them; else the test is skipped, which
/// is said.
fn check(library: &str) {
    let Some(python) = std::env::var_os("PROOFPULL_WEBSOCKET_CLIENTS") else {
        println!("skipped: PROOFPULL_WEBSOCKET_CLIENTS names no Python with {library}");
        return;
    };
    let pod = Pod::start();
    pod.set_now(NOW);
    let next = pod.fill(STREAM, (FROM, FROM + Duration::hours(2)), 200, 1);
    for serial in next..next + 40 {
        let event = pod_event(STREAM, &mut Rng::new(serial), NOW, serial);
        pod.happen(STREAM, NOW, event);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/pod.py");
    let mut client = Command::new(python);
    client.arg(script).args([library, &pod.url(), TOKEN]);
    let output = client.output().expect("Python runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let seen: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let expected = json!({
        "archive": 200,
        "archive_repeats": 200 / 8,
        "archive_code": 1000,
        "live": true,
        "ping_answered": true,
        "second_session": [409, "Exceeded maximum number of sessions per token\r\n"],
        "stranger": 401,
        "live_code": 1000,
    });
    assert_eq!(seen, expected);
    let hours = pod.asked()[0].hours;
    assert_eq!(
        hours,
        Some((FROM, FROM + Duration::HOUR)),
        "rounded both ways"
    );
}

#[test]
fn websockets_reads_the_simulated_stream() {
    check("websockets");
}

#[test]
fn websocket_client_reads_the_simulated_stream() {
    check("websocket-client");
}
