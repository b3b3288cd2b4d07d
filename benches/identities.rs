//! Identities at scale: a run that finds nothing with up to 5 million known, over HTTPS with the system's roots;
//! reading 5 million, an hour of a million new ones with a checkpoint every 5 s, and what they take in
//! memory and on disk.
//!
//! `cargo bench --bench identities` prints what was measured beside what is promised, and fails
//! where memory or the file is over the promise. Time is printed and judged by whoever reads it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use proofpull::output::peak_memory;
use proofpull::pipeline::batch::DedupView;
use proofpull::state::dedup::DedupIndex;

#[path = "measure/mod.rs"]
mod measure;
#[path = "../tests/simulator/mod.rs"]
mod simulator;

use measure::{BenchEnv, Way, known};

const KNOWN: u64 = 5_000_000;
const AN_HOUR: u64 = 1_000_000;
/// As many as there are intervals of 5 s in an hour.
const CHECKPOINTS: u64 = 720;
/// Promised for an identity, in memory and on disk.
const AN_IDENTITY: u64 = 25;
const IN_FILE: f64 = 24.0;
/// Taken by the rest of the program.
const REST: u64 = 16 << 20;
/// A run that finds nothing is too short for the clock that counts its CPU time.
const IDLE_RUNS: u32 = 50;
/// Promised for it, whatever is known.
const IDLE_CPU: Duration = Duration::from_millis(6);
/// Seven of them are pages of the program and its libraries, which all processes share.
const IDLE_MEMORY: u64 = 9 << 20;

fn main() -> ExitCode {
    if known::is_maker() {
        return ExitCode::SUCCESS;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.seen");
    let is_idle_small = idle();
    let extent = known::made_elsewhere(&path, KNOWN, 7);
    let started = Instant::now();
    let mut dedup = DedupIndex::load(&path, extent, 0).expect("a good file");
    let load = started.elapsed();
    println!(
        "reading {KNOWN} known      {:.2} s; promised under 2 s",
        load.as_secs_f64()
    );

    let (mut total, mut longest) = (Duration::ZERO, Duration::ZERO);
    let started = Instant::now();
    for checkpoint in 0..CHECKPOINTS {
        let share = AN_HOUR / CHECKPOINTS;
        for number in 0..share {
            known::insert(&mut dedup, KNOWN + checkpoint * share + number, 7);
        }
        let begun = Instant::now();
        dedup.commit().expect("there is room");
        total += begun.elapsed();
        longest = longest.max(begun.elapsed());
    }
    let all = started.elapsed();
    println!(
        "an hour, a million new     {:.2} s, {:.2} s of them in {CHECKPOINTS} checkpoints, the longest {:.1} ms",
        all.as_secs_f64(),
        total.as_secs_f64(),
        longest.as_secs_f64() * 1e3
    );
    let begun = Instant::now();
    let shown = dedup.shown(7);
    println!(
        "what the stream has shown  {:.1} ms to count {shown}",
        begun.elapsed().as_secs_f64() * 1e3
    );

    let count = dedup.count() as u64;
    let file = std::fs::metadata(&path).expect("it is there").len() as f64 / count as f64;
    println!("file                       {file:.2} bytes an event; promised {AN_IDENTITY}");
    let peak = peak_memory().unwrap_or(0);
    let promised = REST + AN_IDENTITY * count;
    println!(
        "peak memory                {peak} bytes for {count}; promised {promised} (16 MiB and 25 bytes an identity)"
    );
    match is_idle_small && peak <= promised && file <= IN_FILE {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Runs that request half an hour and find nothing, whatever is known; whether they take no more memory than promised.
fn idle() -> bool {
    const SERVICE: &str = "tap-messages-blocked";
    let env = BenchEnv::of(Way::Https);
    let mut is_small = true;
    println!(
        "a run that finds nothing, over HTTPS with the system's roots: the mean of {IDLE_RUNS}; promised {IDLE_CPU:?} of \
         CPU time, {} MiB",
        IDLE_MEMORY >> 20
    );
    for count in [0, 1_000_000, 5_000_000] {
        let state = format!("idle{count}");
        // the first run makes the state
        measure::run(&mut env.proofpull(SERVICE, &state));
        let path = env.dir.path().join(&state).join(format!("{SERVICE}.json"));
        let before = known::know(&path, count);
        let (mut cpu, mut wall, mut peak) = (Duration::ZERO, Duration::ZERO, 0);
        for _ in 0..IDLE_RUNS {
            std::fs::write(&path, &before).expect("the state");
            let (output, cost) = measure::run(&mut env.proofpull(SERVICE, &state));
            cpu += cost.cpu();
            wall += cost.wall;
            peak = peak.max(
                measure::summary(&output)["peak_memory_bytes"]
                    .as_u64()
                    .unwrap_or(0),
            );
        }
        println!(
            "{count:>9} known             {:.1?} of CPU time, wall {:.1?}, peak {:.1} MiB",
            cpu / IDLE_RUNS,
            wall / IDLE_RUNS,
            peak as f64 / f64::from(1 << 20)
        );
        is_small &= peak <= IDLE_MEMORY;
    }
    println!();
    is_small
}
