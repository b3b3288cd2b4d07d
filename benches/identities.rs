//! Identities at scale: a run that finds nothing with up to 5 million known, over HTTPS with the system's roots;
//! reading 5 million, an hour of a million new ones with a checkpoint every 5 s, and what they take in
//! memory and on disk.
//!
//! `cargo bench --bench identities` prints what was measured beside what is promised, and fails
//! where memory or the file is over the promise. Time is printed and judged by whoever reads it.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use proofpull::output::peak_memory;
use proofpull::pipeline::batch::{DedupView, EventId, RequestId};
use proofpull::state::SavedIndex;
use proofpull::state::dedup::DedupIndex;
use time::OffsetDateTime;

#[path = "measure/mod.rs"]
mod measure;
#[path = "../tests/simulator/mod.rs"]
mod simulator;

use measure::{BenchEnv, Way};

const KNOWN: u64 = 5_000_000;
const AN_HOUR: u64 = 1_000_000;
/// As many as there are intervals of 5 s in an hour.
const CHECKPOINTS: u64 = 720;
/// Promised for an identity, in memory and on disk.
const AN_IDENTITY: u64 = 24;
/// Taken by the rest of the program.
const REST: u64 = 16 << 20;
/// A run that finds nothing is too short for the clock that counts its CPU time.
const IDLE_RUNS: u32 = 50;
/// Promised for it, whatever is known.
const IDLE_CPU: Duration = Duration::from_millis(6);
/// Seven of them are pages of the program and its libraries, which all processes share.
const IDLE_MEMORY: u64 = 9 << 20;

fn main() -> ExitCode {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.seen");
    if let Some(path) = std::env::var_os("PROOFPULL_MAKE") {
        let number = |name| {
            std::env::var(name)
                .ok()
                .and_then(|text| text.parse::<u64>().ok())
        };
        let count = number("PROOFPULL_COUNT").expect("how many");
        let hour = number("PROOFPULL_HOUR").expect("an hour");
        let extent = make(path.as_ref(), count, hour as u32);
        println!("{}", serde_json::to_string(&extent).expect("JSON"));
        return ExitCode::SUCCESS;
    }
    let is_idle_small = idle();
    let extent = made_elsewhere(&path, KNOWN, 7);
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
            insert(&mut dedup, KNOWN + checkpoint * share + number, 7);
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
        "peak memory                {peak} bytes for {count}; promised {promised} (16 MiB and 24 bytes an identity)"
    );
    match is_idle_small && peak <= promised && file <= AN_IDENTITY as f64 {
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
    for known in [0, 1_000_000, 5_000_000] {
        let state = format!("idle{known}");
        // the first run makes the state
        measure::run(&mut env.proofpull(SERVICE, &state));
        let path = env.dir.path().join(&state).join(format!("{SERVICE}.json"));
        let hour = OffsetDateTime::now_utc().unix_timestamp() / 3600;
        let extent = made_elsewhere(&path.with_extension("seen"), known, hour as u64);
        let before = with_identities(&path, extent);
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
            "{known:>9} known             {:.1?} of CPU time, wall {:.1?}, peak {:.1} MiB",
            cpu / IDLE_RUNS,
            wall / IDLE_RUNS,
            peak as f64 / f64::from(1 << 20)
        );
        is_small &= peak <= IDLE_MEMORY;
    }
    println!();
    is_small
}

/// The state at `path` from half an hour ago, with these identities.
fn with_identities(path: &Path, extent: SavedIndex) -> Vec<u8> {
    let text = std::fs::read_to_string(path).expect("the state");
    let (text, _) = text.split_once(",\n  \"checksum\"").expect("a checksum");
    let mut state: serde_json::Value = serde_json::from_str(&format!("{text}}}")).expect("JSON");
    state["identities"] = serde_json::to_value(extent).expect("JSON");
    let since = state["identities_since"].clone();
    state["checkpoint"]["until"] = since;
    let text = serde_json::to_string(&state).expect("JSON");
    let members = text.strip_suffix('}').expect("an object");
    let sum = crc32fast::hash(members.as_bytes());
    format!("{members},\n  \"checksum\": \"crc32:{sum:08x}\"\n}}\n").into_bytes()
}

/// Makes a file of identities by a child: what that takes must not count as memory of what reads the file.
fn made_elsewhere(path: &Path, count: u64, hour: u64) -> SavedIndex {
    let made = Command::new(std::env::current_exe().expect("this program"))
        .env("PROOFPULL_MAKE", path)
        .env("PROOFPULL_COUNT", count.to_string())
        .env("PROOFPULL_HOUR", hour.to_string())
        .output()
        .expect("it runs");
    serde_json::from_slice(&made.stdout).expect("the file was made")
}

fn make(path: &Path, count: u64, hour: u32) -> SavedIndex {
    let mut dedup = DedupIndex::empty(path);
    for number in 0..count {
        insert(&mut dedup, number, hour);
        if number % 100_000 == 0 {
            dedup.commit().expect("there is room");
        }
    }
    dedup.commit().expect("there is room")
}

/// The number, spread over all digests as a hash is.
fn insert(dedup: &mut DedupIndex, number: u64, end_hour: u32) {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    digest[8..].copy_from_slice(&number.to_le_bytes());
    let request = RequestId {
        number: 1,
        end_hour,
        ..RequestId::default()
    };
    assert!(dedup.insert(EventId::Key(digest), request), "each is new");
}
