//! One answer of 1 GB through the real program: memory, CPU and speed, from HTTP to TLS.
//!
//! `cargo bench --bench flood` prints what was measured beside what is promised, and fails where
//! memory or size is over the promise. Speed is printed and judged by whoever reads it.

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use proofpull::window::utc;
use time::OffsetDateTime;

#[path = "../tests/simulator/mod.rs"]
mod simulator;

use simulator::{Certs, Devo, Options, PRINCIPAL, SECRET, Style, Tap};

const EVENTS: u64 = 500_000;
const EVENT_SIZE: usize = 2_000;
/// Promised for an answer of any size, and for each identity.
const MEMORY: u64 = 16 << 20;
const AN_IDENTITY: u64 = 24;
const BINARY: u64 = 6 << 20;

fn main() -> ExitCode {
    let program = env!("CARGO_BIN_EXE_proofpull");
    let dir = tempfile::tempdir().expect("a folder");
    let certs = Certs::make(dir.path());
    let tap = Tap::start();
    tap.set_flood(EVENTS, EVENT_SIZE);
    tap.set_style(Style {
        gzip: false,
        ..Style::default()
    });
    let devo = Devo::start(
        &certs,
        Options {
            keep: false,
            ..Options::default()
        },
    );
    let config = dir.path().join("proofpull.toml");
    let start = OffsetDateTime::now_utc() - Duration::from_secs(1800);
    let text = format!(
        "state_dir = {:?}\n[devo]\naddress = {:?}\nchain = {:?}\ncert = {:?}\nkey = {:?}\n\
         [tap]\nbase_url = {:?}\nprincipal = {PRINCIPAL:?}\nsecret = {SECRET:?}\n\
         [services.tap-messages-blocked]\nstart_time = {:?}\n",
        dir.path().join("state"),
        devo.address(),
        certs.ca(),
        certs.client_cert(),
        certs.client_key(),
        tap.url(),
        utc(start),
    );
    std::fs::write(&config, text).expect("the configuration");
    make_private(&config);

    let before = children_cpu();
    let started = Instant::now();
    let output = Command::new(program)
        .args([
            "run",
            "tap-messages-blocked",
            "--log-format",
            "json",
            "--config",
        ])
        .arg(&config)
        .stdout(Stdio::null())
        .output()
        .expect("the program starts");
    let wall = started.elapsed();
    let cpu = children_cpu() - before;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let end: serde_json::Value = said
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|line| line.get("summary").is_some())
        .expect("an end line");
    let number = |key: &str| end["summary"][key].as_u64().expect(key);

    let (delivered, bytes) = (number("delivered"), number("bytes"));
    let peak = number("peak_memory_bytes");
    let promised = MEMORY + AN_IDENTITY * delivered;
    let size = std::fs::metadata(program).expect("the program").len();
    let megabytes = bytes as f64 / 1e6;
    println!(
        "events delivered        {delivered} of {EVENTS}, {megabytes:.0} MB, {} lines received",
        devo.count()
    );
    println!(
        "wall                    {:.2} s, {:.0} MB/s",
        wall.as_secs_f64(),
        megabytes / wall.as_secs_f64()
    );
    println!(
        "CPU, user and system    {:.2} s, {:.0} MB/s of one core",
        cpu.as_secs_f64(),
        megabytes / cpu.as_secs_f64()
    );
    println!(
        "peak memory             {peak} bytes; promised {promised} (16 MiB and 24 bytes an identity)"
    );
    println!("size of the program     {size} bytes; promised {BINARY}");
    let kept =
        peak <= promised && size <= BINARY && delivered == EVENTS && devo.count() as u64 == EVENTS;
    if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn make_private(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
}

/// User and system time of the children that ended (proc(5), `cutime` and `cstime`).
fn children_cpu() -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string("/proc/self/stat").expect("proc");
    let fields: Vec<&str> = stat
        .rsplit_once(") ")
        .expect("a name")
        .1
        .split(' ')
        .collect();
    let ticks: u32 = fields[13..15]
        .iter()
        .map(|field| field.parse::<u32>().expect("ticks"))
        .sum();
    TICK * ticks
}
