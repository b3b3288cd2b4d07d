//! Identities at scale: a start with 5 million known, an hour of a million new ones with a checkpoint
//! every 5 s, and what they take in memory and on disk.
//!
//! `cargo bench --bench identities` prints what was measured beside what is promised, and fails
//! where memory or the file is over the promise. Time is printed and judged by whoever reads it.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use proofpull::output::peak_memory;
use proofpull::pipeline::batch::{DedupView, EventId, RequestId};
use proofpull::state::SavedIndex;
use proofpull::state::dedup::DedupIndex;

const KNOWN: u64 = 5_000_000;
const AN_HOUR: u64 = 1_000_000;
/// As many as there are intervals of 5 s in an hour.
const CHECKPOINTS: u64 = 720;
/// Promised for an identity, in memory and on disk.
const AN_IDENTITY: u64 = 28;
/// Taken by the rest of the program.
const REST: u64 = 16 << 20;

fn main() -> ExitCode {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.seen");
    // what makes the file must not count as memory of what reads it
    if let Some(path) = std::env::var_os("PROOFPULL_MAKE") {
        let extent = make(path.as_ref());
        println!("{}", serde_json::to_string(&extent).expect("JSON"));
        return ExitCode::SUCCESS;
    }
    let made = Command::new(std::env::current_exe().expect("this program"))
        .env("PROOFPULL_MAKE", &path)
        .output()
        .expect("it runs");
    let extent: SavedIndex = serde_json::from_slice(&made.stdout).expect("the file was made");
    let started = Instant::now();
    let mut dedup = DedupIndex::load(&path, extent, 0).expect("a good file");
    let load = started.elapsed();
    println!(
        "start with {KNOWN} known   {:.2} s; promised under 2 s",
        load.as_secs_f64()
    );

    let (mut total, mut longest) = (Duration::ZERO, Duration::ZERO);
    let started = Instant::now();
    for checkpoint in 0..CHECKPOINTS {
        let share = AN_HOUR / CHECKPOINTS;
        for number in 0..share {
            insert(&mut dedup, KNOWN + checkpoint * share + number);
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
        "peak memory                {peak} bytes for {count}; promised {promised} (16 MiB and 28 bytes an identity)"
    );
    match peak <= promised && file <= AN_IDENTITY as f64 {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn make(path: &std::path::Path) -> SavedIndex {
    let mut dedup = DedupIndex::empty(path);
    for number in 0..KNOWN {
        insert(&mut dedup, number);
        if number % 100_000 == 0 {
            dedup.commit().expect("there is room");
        }
    }
    dedup.commit().expect("there is room")
}

/// The number, spread over all digests as a hash is.
fn insert(dedup: &mut DedupIndex, number: u64) {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    digest[8..].copy_from_slice(&number.to_le_bytes());
    let request = RequestId {
        number: 1,
        end_hour: 7,
        ..RequestId::default()
    };
    assert!(dedup.insert(EventId::Key(digest), request), "each is new");
}
