//! A flood through the real program, from HTTP to TLS: memory, CPU and speed. One answer of TAP with
//! 1 GB, and a job of Isolation with a million records on a hundred pages, each of which is sorted.
//!
//! `cargo bench --bench flood` prints what was measured beside what is promised, and fails where
//! memory is over the promise. Speed is printed and judged by whoever reads it.

use std::process::{Command, ExitCode};

#[path = "measure/mod.rs"]
mod measure;
#[path = "../tests/simulator/mod.rs"]
mod simulator;

/// Promised for an answer of any size, for sorted pages, and for each identity.
const MEMORY: u64 = 16 << 20;
const MEMORY_FOR_PAGES: u64 = 24 << 20;
const AN_IDENTITY: u64 = 28;

fn main() -> ExitCode {
    let env = measure::BenchEnv::new();
    env.tap.set_flood(500_000, 2_000);
    let answer = check(
        &env,
        env.proofpull("tap-messages-blocked", "state"),
        500_000,
        MEMORY,
    );

    let env = measure::BenchEnv::new();
    env.isolation.set_flood(100, 10_000);
    let job = env.proofpull("isolation-web", "state");
    let pages = check(&env, job, 1_000_000, MEMORY_FOR_PAGES);
    match answer && pages {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Runs the program; whether what is promised was kept.
fn check(env: &measure::BenchEnv, mut proofpull: Command, events: u64, memory: u64) -> bool {
    let (output, cost) = measure::run(&mut proofpull);
    let end = measure::summary(&output);
    let number = |key: &str| end[key].as_u64().expect(key);

    let (delivered, bytes) = (number("delivered"), number("bytes"));
    let peak = number("peak_memory_bytes");
    let promised = memory + AN_IDENTITY * delivered;
    let megabytes = bytes as f64 / 1e6;
    println!("{}", end["service"].as_str().expect("a service"));
    println!(
        "events delivered        {delivered} of {events}, {megabytes:.0} MB, {} lines received",
        env.devo.count()
    );
    println!(
        "wall                    {:.2} s, {:.0} MB/s",
        cost.wall.as_secs_f64(),
        megabytes / cost.wall.as_secs_f64()
    );
    println!(
        "CPU, user and system    {:.2} s, {:.0} MB/s of one core",
        cost.cpu().as_secs_f64(),
        megabytes / cost.cpu().as_secs_f64()
    );
    println!(
        "peak memory             {peak} bytes; promised {promised} ({} MiB and {AN_IDENTITY} bytes an identity)",
        memory >> 20
    );
    peak <= promised && delivered == events && env.devo.count() as u64 == events
}
