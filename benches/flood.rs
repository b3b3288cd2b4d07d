//! One answer of 1 GB through the real program: memory, CPU and speed, from HTTP to TLS.
//!
//! `cargo bench --bench flood` prints what was measured beside what is promised, and fails where
//! memory or size is over the promise. Speed is printed and judged by whoever reads it.

use std::process::ExitCode;

#[path = "measure/mod.rs"]
mod measure;
#[path = "../tests/simulator/mod.rs"]
mod simulator;

const EVENTS: u64 = 500_000;
const EVENT_SIZE: usize = 2_000;
/// Promised for an answer of any size, and for each identity.
const MEMORY: u64 = 16 << 20;
const AN_IDENTITY: u64 = 24;
const BINARY: u64 = 6 << 20;

fn main() -> ExitCode {
    let world = measure::World::new();
    world.tap.set_flood(EVENTS, EVENT_SIZE);
    let (output, cost) = measure::run(&mut world.proofpull("state"));
    let end = measure::summary(&output);
    let number = |key: &str| end[key].as_u64().expect(key);

    let (delivered, bytes) = (number("delivered"), number("bytes"));
    let peak = number("peak_memory_bytes");
    let promised = MEMORY + AN_IDENTITY * delivered;
    let size = std::fs::metadata(env!("CARGO_BIN_EXE_proofpull"))
        .expect("the program")
        .len();
    let megabytes = bytes as f64 / 1e6;
    println!(
        "events delivered        {delivered} of {EVENTS}, {megabytes:.0} MB, {} lines received",
        world.devo.count()
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
        "peak memory             {peak} bytes; promised {promised} (16 MiB and 24 bytes an identity)"
    );
    println!("size of the program     {size} bytes; promised {BINARY}");
    let kept = peak <= promised
        && size <= BINARY
        && delivered == EVENTS
        && world.devo.count() as u64 == EVENTS;
    if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
