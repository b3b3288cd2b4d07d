//! A flood through the real program, from HTTP to TLS: CPU, memory and speed. Answers of TAP over plain HTTP, over HTTPS, and
//! over HTTPS with gzip, as Proofpoint answers; and a job of Isolation with a million records on a hundred pages,
//! each of which is sorted.
//!
//! `cargo bench --bench flood` prints what was measured beside what is promised, and fails where
//! memory is over the promise. Beside each way stands a relay that looks at nothing, measured in the same minute: on a machine
//! that does other work, the ratio to it tells more than a time. Rounds go in turn, and of each the least counts.

use std::process::{Command, ExitCode};

#[path = "measure/mod.rs"]
mod measure;
#[path = "../tests/simulator/mod.rs"]
mod simulator;

use measure::{BenchEnv, Cost, Way, relay};

/// Promised for an answer of any size, for sorted pages, and for each identity.
const MEMORY: u64 = 16 << 20;
const MEMORY_FOR_PAGES: u64 = 24 << 20;
const AN_IDENTITY: u64 = 25;

const EVENTS: u64 = 200_000;
const EVENT_SIZE: usize = 2_000;
/// So that no branch is learnt by heart.
const KINDS: u64 = 2_000;
const ROUNDS: usize = 3;

fn main() -> ExitCode {
    if relay::is_relay() {
        return ExitCode::SUCCESS;
    }
    let kept = [answers(), job()];
    match kept.iter().all(|kept| *kept) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Answers of TAP, each way; whether what is promised was kept.
fn answers() -> bool {
    let ways = [Way::Http, Way::Https, Way::HttpsGzip];
    let envs = ways.map(BenchEnv::of);
    for env in &envs {
        env.tap.set_flood(EVENTS, EVENT_SIZE);
        env.tap.set_flood_kinds(KINDS);
    }
    let mut is_kept = true;
    let mut relayed: Vec<Cost> = Vec::new();
    let mut costs: [Vec<Cost>; 3] = Default::default();
    let mut size = 0.0;
    for round in 0..ROUNDS {
        relayed.push(relay::measure(&envs[0].tap.address(), &envs[0].certs));
        for (env, costs) in envs.iter().zip(&mut costs) {
            let state = format!("state{round}");
            let before = env.devo.count() as u64;
            let mut proofpull = env.proofpull("tap-messages-blocked", &state);
            let (output, cost) = measure::run(&mut proofpull);
            let end = measure::summary(&output);
            let (delivered, peak) = (number(&end, "delivered"), number(&end, "peak_memory_bytes"));
            is_kept &= delivered == EVENTS && env.devo.count() as u64 - before == EVENTS;
            is_kept &= peak <= MEMORY + AN_IDENTITY * delivered;
            size = number(&end, "bytes") as f64 / EVENTS as f64;
            costs.push(cost);
        }
    }
    let least = |costs: &[Cost]| {
        let times = costs.iter().map(|cost| cost.cpu().as_secs_f64());
        times.fold(f64::INFINITY, f64::min) * 1e6 / EVENTS as f64
    };
    let relay = least(&relayed);
    println!(
        "{EVENTS} events of {KINDS} kinds, {size:.0} bytes each; CPU time, the least of {ROUNDS} rounds"
    );
    println!("a relay that looks at nothing   {relay:.2} us an event");
    for (way, costs) in ways.iter().zip(&costs) {
        let time = least(costs);
        println!(
            "{:<31} {time:.2} us an event, {:.1} times the relay, {:.0} MB/s of one core",
            way.name(),
            time / relay,
            size / time
        );
    }
    println!("goal over plain HTTP: 2.9 times the relay");
    println!(
        "promised memory ({} MiB and {AN_IDENTITY} bytes an identity) and number: {}\n",
        MEMORY >> 20,
        said(is_kept)
    );
    is_kept
}

/// A job of Isolation; whether what is promised was kept.
fn job() -> bool {
    const RECORDS: u64 = 1_000_000;
    let env = BenchEnv::of(Way::Http);
    env.isolation.set_flood(100, 10_000);
    let mut job: Command = env.proofpull("isolation-web", "state");
    let (output, cost) = measure::run(&mut job);
    let end = measure::summary(&output);
    let (delivered, peak) = (number(&end, "delivered"), number(&end, "peak_memory_bytes"));
    let promised = MEMORY_FOR_PAGES + AN_IDENTITY * delivered;
    let is_kept = delivered == RECORDS && peak <= promised && env.devo.count() as u64 == RECORDS;
    println!(
        "isolation-web: {delivered} of {RECORDS} records, {:.2} us of CPU time each, wall {:.2} s",
        cost.cpu().as_secs_f64() * 1e6 / RECORDS as f64,
        cost.wall.as_secs_f64()
    );
    println!(
        "peak memory {peak} bytes; promised {promised} ({} MiB and {AN_IDENTITY} bytes an identity): {}",
        MEMORY_FOR_PAGES >> 20,
        said(is_kept)
    );
    is_kept
}

fn number(end: &serde_json::Value, key: &str) -> u64 {
    end[key].as_u64().expect(key)
}

fn said(is_kept: bool) -> &'static str {
    if is_kept { "kept" } else { "NOT KEPT" }
}
