//! proofpull beside a plain collector in Python that does the same job: one answer of 200,000 events
//! of 2 kB from HTTP to TLS, and a run that finds nothing.
//!
//! ```text
//! python3 -m venv target/devo-sdk && target/devo-sdk/bin/pip install devo-sdk requests
//! PROOFPULL_DEVO_SDK=target/devo-sdk/bin/python cargo bench --bench side_by_side
//! ```
//!
//! On a machine that does other work, CPU time tells more than the wall's, and the least of several
//! rounds more than their mean: both are what is printed.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use proofpull::clock::utc;
use serde_json::Value;
use time::OffsetDateTime;

#[path = "../measure/mod.rs"]
mod measure;
#[path = "../../tests/simulator/mod.rs"]
mod simulator;

use measure::{BenchEnv, Cost};
use simulator::{Behaviour, PRINCIPAL, SECRET};

const EVENTS: u64 = 200_000;
const EVENT_SIZE: usize = 2_000;
/// Of each, with everything to do.
const ROUNDS: usize = 3;
/// Runs with nothing to do are too short for the clock that counts their CPU time.
const IDLE_RUNS: u32 = 50;

fn main() {
    let env = BenchEnv::new();
    let python = std::env::var("PROOFPULL_DEVO_SDK").ok();
    if python.is_none() {
        println!("PROOFPULL_DEVO_SDK names no Python: there is nothing to compare with");
    }

    // each round has a state of its own, and so a quota
    let idle = (0..ROUNDS)
        .map(|round| idle_runs(|| env.proofpull("tap-messages-blocked", &format!("idle{round}"))));
    let (output, idle) = idle.min_by_key(|(_, cost)| cost.cpu()).expect("some");
    let idle_peak = measure::summary(&output)["peak_memory_bytes"].clone();
    let idle_python = python.as_ref().map(|python| {
        let (output, cost) = idle_runs(|| collector(python, &env));
        (said(&output), cost)
    });

    env.tap.set_flood(EVENTS, EVENT_SIZE);
    let flood = |confirm: &str| {
        let rounds = (0..ROUNDS).map(|round| {
            let state = format!("flood-{confirm}{round}");
            let service = "tap-messages-blocked";
            measure::run(
                env.proofpull_confirming(service, &state, confirm)
                    .arg("-vv"),
            )
        });
        rounds.min_by_key(|(_, cost)| cost.cpu()).expect("some")
    };
    let (output, ours) = flood("close");
    // a receiver that closes confirms under both
    env.devo.behave(|_| Behaviour::NeverClose);
    let (acknowledged, by_kernel) = flood("acknowledged");
    env.devo.behave(|_| Behaviour::Normal);
    let theirs = python.as_ref().map(|python| {
        let rounds = (0..ROUNDS).map(|_| measure::run(&mut collector(python, &env)));
        let (output, cost) = rounds.min_by_key(|(_, cost)| cost.cpu()).expect("some");
        (said(&output), cost)
    });

    println!(
        "{EVENTS} events of {EVENT_SIZE} bytes, of {ROUNDS} rounds that with the least CPU time"
    );
    let summary = measure::summary(&output);
    show("proofpull", &summary, ours);
    if let Some((summary, cost)) = &theirs {
        show("Python", summary, *cost);
        let by = |ours: Duration, theirs: Duration| theirs.as_secs_f64() / ours.as_secs_f64();
        let (rate, cpu) = (by(ours.wall, cost.wall), by(ours.cpu(), cost.cpu()));
        println!(
            "proofpull has {rate:.1} times its rate and takes its CPU time {cpu:.1} times less (target: 15)"
        );
    }
    let megabytes = summary["bytes"].as_f64().expect("bytes") / 1e6;
    println!(
        "from HTTP to TLS: {:.0} MB/s of one core (target: 400)",
        megabytes / ours.cpu().as_secs_f64(),
    );
    for (confirm, output, cost) in [
        ("close", &output, ours),
        ("acknowledged", &acknowledged, by_kernel),
    ] {
        let (commits, waits) = waits(output);
        let wall = cost.wall.as_secs_f64();
        println!(
            "confirmed by {confirm:<12} {:.0} events/s; {commits} commits waited {waits:?} of {wall:.2} s",
            EVENTS as f64 / wall
        );
    }

    println!("\nnothing to do, the mean of {IDLE_RUNS} runs");
    show(
        "proofpull",
        &serde_json::json!({ "peak_memory_bytes": idle_peak }),
        idle,
    );
    println!("targets: 10 ms of CPU time, 8 MiB");
    if let Some((summary, cost)) = &idle_python {
        show("Python", summary, *cost);
    }
}

/// Runs it many times, and takes the mean.
fn idle_runs(command: impl Fn() -> Command) -> (Output, Cost) {
    let mut sum = Cost::default();
    let mut last = None;
    for _ in 0..IDLE_RUNS {
        let (output, cost) = measure::run(&mut command());
        sum.wall += cost.wall;
        sum.user += cost.user;
        sum.system += cost.system;
        last = Some(output);
    }
    let mean = Cost {
        wall: sum.wall / IDLE_RUNS,
        user: sum.user / IDLE_RUNS,
        system: sum.system / IDLE_RUNS,
    };
    (last.expect("some"), mean)
}

fn collector(python: &str, env: &BenchEnv) -> Command {
    let now = OffsetDateTime::now_utc() - Duration::from_secs(60);
    let interval = format!("{}/{}", utc(now - Duration::from_secs(1740)), utc(now));
    let address = env.devo.address();
    let (host, port) = address.split_once(':').expect("an address");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/side_by_side/collector.py");
    let mut command = Command::new(python);
    command.arg(script);
    command.args([
        env.tap.url().as_str(),
        PRINCIPAL,
        SECRET,
        &interval,
        host,
        port,
    ]);
    command.args([
        env.certs.client_key(),
        env.certs.client_cert(),
        env.certs.ca(),
    ]);
    command.arg(env.dir.path().join("python.json"));
    command
}

fn said(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("a summary")
}

fn show(name: &str, summary: &Value, cost: Cost) {
    let seconds = |time: Duration| format!("{:.4} s", time.as_secs_f64());
    let peak = summary["peak_memory_bytes"].as_f64().unwrap_or(f64::NAN) / f64::from(1 << 20);
    println!(
        "{name:<10} user {:>10}, system {:>10}, wall {:>10}, peak {peak:>6.1} MiB, {} events, {} bytes",
        seconds(cost.user),
        seconds(cost.system),
        seconds(cost.wall),
        summary["delivered"].as_u64().unwrap_or(0),
        summary["bytes"].as_u64().unwrap_or(0),
    );
}

/// How many commits there were, and how long they waited for the receiver in all.
fn waits(output: &Output) -> (usize, Duration) {
    let messages = measure::messages(output);
    let waits: Vec<u64> = messages
        .iter()
        .filter_map(|line| {
            let rest = line["message"].as_str()?.strip_prefix("confirmed in ")?;
            rest.strip_suffix(" ms")?.parse().ok()
        })
        .collect();
    (waits.len(), Duration::from_millis(waits.iter().sum()))
}
