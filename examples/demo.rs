//! The whole program on this machine: a day of TAP events is pulled by the real binary, delivered
//! over mutual TLS, and counted at the receiver, event by event.
//!
//! `cargo run --release --example demo`

#[path = "../tests/simulator/mod.rs"]
mod simulator;

use std::env;
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use proofpull::service::{Kind, SERVICES, Service};
use simulator::{Certs, Devo, Options, PRINCIPAL, Rng, SECRET, Tap, scenario};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How far back the events go.
const PERIOD: Duration = Duration::hours(26);
/// Of each service.
const EVENTS_PER_HOUR: usize = 100;
/// Cut lines here.
const WIDTH: usize = 160;

fn main() -> Result<ExitCode> {
    let program = build()?;
    let dir = tempfile::tempdir()?;
    let certs = Certs::make(dir.path());
    let devo = Devo::start(&certs, Options::default());
    let tap = Tap::start();
    let start = OffsetDateTime::now_utc().truncate_to_second() - PERIOD;
    let late = fill(&tap, start);
    let config = configure(dir.path(), &certs, &tap, &devo, start)?;

    let (api, receiver) = (tap.url(), devo.address());
    println!("Proofpoint TAP  {api:24}a simulated SIEM API, the last 26 hours");
    println!("Devo            {receiver:24}a simulated receiver, syslog over mutual TLS");
    let mut all_well = true;
    for service in &SERVICES {
        all_well &= run(&program, &config, service, &devo, 3)?;
    }

    println!("\n{late} more events become visible now, up to half an hour late. Once more:");
    tap.release_late();
    let before = devo.count();
    for service in &SERVICES {
        all_well &= run(&program, &config, service, &devo, 1)?;
    }
    let came = devo.count() - before;
    println!("\n{late} were late, {came} came.");
    all_well &= came == late;

    all_well &= compare(&tap, &devo);
    let (verdict, code) = match all_well {
        true => ("Every event arrived, once.", ExitCode::SUCCESS),
        false => ("Something went wrong.", ExitCode::FAILURE),
    };
    println!("\n{verdict}");
    Ok(code)
}

/// Builds the program as this example was built, beside it.
fn build() -> Result<PathBuf> {
    let example = env::current_exe()?;
    let folder = example
        .parent()
        .and_then(Path::parent)
        .ok_or("an example has a folder")?;
    let target = folder.parent().ok_or("a profile has a folder")?;
    let profile = folder
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or("a profile has a name")?;
    let mut cargo = Command::new(env!("CARGO"));
    // what `cargo run` says of this example would make build scripts run again
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    let built = cargo
        .args(["build", "--quiet", "--bin", "proofpull"])
        .args([
            "--profile",
            if profile == "debug" { "dev" } else { profile },
        ])
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        .arg("--target-dir")
        .arg(target)
        .status()?;
    if !built.success() {
        return Err("the program does not build".into());
    }
    Ok(folder.join("proofpull"))
}

/// Fills TAP, and says how many events it still holds back: one in ten of the last half hour.
fn fill(tap: &Tap, start: OffsetDateTime) -> usize {
    let rng = &mut Rng::new(26);
    let end = start + PERIOD - Duration::minutes(2);
    let mut held_back = 0;
    for (array, mut event) in scenario(rng, start, end, EVENTS_PER_HOUR) {
        event.late = event.created > end - Duration::minutes(28) && rng.chance(10);
        held_back += usize::from(event.late);
        tap.add(array, event);
    }
    held_back
}

fn configure(
    dir: &Path,
    certs: &Certs,
    tap: &Tap,
    devo: &Devo,
    start: OffsetDateTime,
) -> Result<PathBuf> {
    let mut text = format!(
        "name = \"demo\"\nstate_dir = \"state\"\n\n\
         [devo]\naddress = {:?}\nchain = {:?}\ncert = {:?}\nkey = {:?}\nhostname = \"demo\"\n\n\
         [tap]\nbase_url = {:?}\nprincipal = {PRINCIPAL:?}\nsecret = {{ file = \"tap.secret\" }}\n",
        devo.address(),
        certs.ca(),
        certs.client_cert(),
        certs.client_key(),
        tap.url(),
    );
    let start = start.format(&Rfc3339)?;
    for service in &SERVICES {
        text += &format!("\n[services.{}]\nstart_time = {start:?}\n", service.name);
    }
    let mut secret = OpenOptions::new();
    secret.write(true).create_new(true).mode(0o600);
    secret
        .open(dir.join("tap.secret"))?
        .write_all(SECRET.as_bytes())?;
    fs::create_dir(dir.join("state"))?;
    let path = dir.join("proofpull.toml");
    fs::write(&path, text)?;
    Ok(path)
}

/// One run of the program: what it said, and the first lines that arrived. True if it went well.
fn run(
    program: &Path,
    config: &Path,
    service: &Service,
    devo: &Devo,
    lines: usize,
) -> Result<bool> {
    println!("\n$ proofpull run {}", service.name);
    let before = devo.count();
    let output = Command::new(program)
        .args(["run", service.name, "--config"])
        .arg(config)
        .env("no_proxy", "localhost,127.0.0.1")
        .output()?;
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        println!("  {line}");
    }
    for line in devo.lines().iter().skip(before).take(lines) {
        println!("  {}", shortened(&String::from_utf8_lossy(line)));
    }
    if !output.status.success() {
        println!("  {}", output.status);
    }
    Ok(output.status.success())
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// What is in TAP against what arrived. True if each event did, once.
fn compare(tap: &Tap, devo: &Devo) -> bool {
    let arrived = devo.counts_by_serial();
    let mut all_well = true;
    println!(
        "\n{:24} {:>8} {:>8} {:>8} {:>8}",
        "service", "in TAP", "arrived", "missing", "doubled"
    );
    for service in &SERVICES {
        let Kind::Tap { array, .. } = service.kind;
        let wanted = tap.serials(array);
        let (mut came, mut missing, mut doubled) = (0, 0, 0);
        for (serial, &count) in &wanted {
            let times = arrived.get(serial).copied().unwrap_or(0);
            came += times;
            missing += count.saturating_sub(times);
            doubled += times.saturating_sub(count);
        }
        let total: usize = wanted.values().sum();
        println!(
            "{:24} {total:>8} {came:>8} {missing:>8} {doubled:>8}",
            service.name
        );
        all_well &= missing == 0 && doubled == 0;
    }
    all_well
}
