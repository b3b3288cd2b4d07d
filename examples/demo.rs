//! The whole program on this machine: a day of TAP and Isolation, and hours of the PoD log stream,
//! are pulled by the real binary, delivered over mutual TLS, and counted at the receiver, event by
//! event.
//!
//! `cargo run --release --example demo`

#[path = "../tests/simulator/mod.rs"]
mod simulator;

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use proofpull::service::{SERVICES, Service};
use simulator::isolation::visit;
use simulator::{
    Certs, Devo, Ends, Event, Isolation, Kind, Options, Pod, Ports, Proofpoint, Rng, StreamFault,
    pod_event, scenario,
};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How far back the events go.
const PERIOD: Duration = Duration::hours(26);
/// Of each service.
const EVENTS_PER_HOUR: usize = 100;
/// Campaigns.
const CAMPAIGNS: u64 = 250;
/// Of each report on people.
const PEOPLE: u64 = 300;
/// From so long ago on, threats and forensics are collected too.
const THREATS: Duration = Duration::hours(2);
/// Of each log stream: hours of archive, and events that the live stream says.
const ARCHIVED: Duration = Duration::hours(5);
const SAID: u64 = 300;
/// Serial numbers of each log stream begin at another one of these.
const SERIALS: u64 = 10_000_000;
/// Cut lines here.
const WIDTH: usize = 160;

/// Proofpoint, as it is simulated, with events from `start` on.
struct Day {
    proofpoint: Proofpoint,
    start: OffsetDateTime,
}

fn main() -> Result<ExitCode> {
    let program = build()?;
    let dir = tempfile::tempdir()?;
    let certs = Certs::make(dir.path());
    let devo = Devo::start(&certs, Options::default());
    let start = OffsetDateTime::now_utc().truncate_to_second() - PERIOD;
    let day = Day {
        proofpoint: Proofpoint::start(Ports::default())?,
        start,
    };
    day.fill();
    let Proofpoint {
        tap,
        isolation,
        pod,
    } = &day.proofpoint;
    stream(pod, OffsetDateTime::now_utc());
    let config = day.configure(dir.path(), &certs, &devo)?;

    println!(
        "Proofpoint TAP  {:28}a simulated API, the last 26 hours",
        tap.url()
    );
    for isolation in isolation {
        println!("Isolation       {:28}the same", isolation.address());
    }
    println!(
        "Proofpoint PoD  {:28}a simulated log stream, and 5 hours of its archive",
        pod.url()
    );
    println!(
        "Devo            {:28}a simulated receiver, syslog over mutual TLS",
        devo.address()
    );
    let mut all_well = true;
    for service in SERVICES {
        all_well &= run(&program, &config, service, &devo, 3)?;
    }
    all_well &= sweep(&program, &config, pod, &devo)?;

    let before = day.visible();
    tap.release_late();
    isolation.iter().for_each(Isolation::release_late);
    let late = day.visible() - before;
    println!("\n{late} more events become visible now, late. Once more:");
    let before = devo.count();
    for service in SERVICES.iter().filter(|service| !is_of_pod(service)) {
        all_well &= run(&program, &config, service, &devo, 1)?;
    }
    let came = devo.count() - before;
    println!("\n{late} were late, {came} came.");
    all_well &= came == late;

    all_well &= compare(&day, &devo);
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

impl Day {
    /// Fills it; one in ten of the last events is held back.
    fn fill(&self) {
        let rng = &mut Rng::new(26);
        let end = self.start + PERIOD - Duration::minutes(2);
        for (array, mut event) in scenario(rng, self.start, end, EVENTS_PER_HOUR) {
            event.late = event.created > end - Duration::minutes(28) && rng.chance(10);
            self.proofpoint.tap.add(array, event);
        }
        let end = self.start + PERIOD - Duration::hours(3);
        for serial in 0..CAMPAIGNS {
            let at = self.start + (end - self.start) * serial as f64 / CAMPAIGNS as f64;
            let (id, serial) = (Rng::new(serial).uuid(), 9 * SERIALS + serial);
            self.proofpoint.tap.update_campaign(&id, serial, at);
        }
        for (report, first) in [("vap", 0), ("top-clickers", PEOPLE)] {
            for serial in first..first + PEOPLE {
                self.proofpoint.tap.add_person(report, serial, self.start);
            }
        }
        let end = self.start + PERIOD - Duration::minutes(32);
        let all = PERIOD.whole_hours() as usize * EVENTS_PER_HOUR;
        for (product, isolation) in self.proofpoint.isolation.iter().enumerate() {
            for number in 0..all {
                let at = self.start + (end - self.start) * number as f64 / all as f64;
                let serial = (product * all + number) as u64;
                let mut event = Event::new(at, visit(rng, at, serial));
                event.late = at > end - Duration::minutes(25) && rng.chance(10);
                isolation.add(event);
            }
        }
    }

    /// What of a service there is to collect: how often each number occurs.
    fn wanted(&self, service: &Service) -> BTreeMap<u64, usize> {
        match Kind::of(service.name) {
            Kind::Tap { array, .. } => self.proofpoint.tap.serials(array),
            Kind::Threats => self.proofpoint.tap.threats(self.threats_start()),
            Kind::Forensics => {
                let tap = &self.proofpoint.tap;
                tap.campaigns_of_events(self.threats_start())
            }
            Kind::Campaigns => self.proofpoint.tap.campaigns(),
            Kind::People { report } => self.proofpoint.tap.people(report),
            Kind::Isolation => self.proofpoint.isolation_of(service.name).serials(),
            Kind::Pod { stream } => self.proofpoint.pod.serials(stream),
        }
    }

    /// How many events there are that can be seen, and threats and campaigns that they name.
    fn visible(&self) -> usize {
        let tap = &self.proofpoint.tap;
        let threats = tap.threats(self.threats_start());
        let campaigns = tap.campaigns_of_events(self.threats_start());
        let named = threats.values().chain(campaigns.values()).sum::<usize>();
        let isolation = self.proofpoint.isolation.iter().map(Isolation::visible);
        tap.visible() + isolation.sum::<usize>() + named
    }

    fn threats_start(&self) -> OffsetDateTime {
        self.start + PERIOD - THREATS
    }

    /// The services start where their events do.
    fn configure(&self, dir: &Path, certs: &Certs, devo: &Devo) -> Result<PathBuf> {
        let mut services = Vec::new();
        for service in SERVICES {
            let (start, more) = match Kind::of(service.name) {
                Kind::Tap { .. } | Kind::Campaigns | Kind::People { .. } | Kind::Isolation => {
                    (self.start, "")
                }
                Kind::Forensics => (self.threats_start(), ""),
                Kind::Threats => (self.threats_start(), "max_threats_per_run = 10000\n"),
                Kind::Pod { .. } => (self.proofpoint.pod.now() - ARCHIVED, "idle_exit = \"1s\"\n"),
            };
            let start = start.format(&Rfc3339)?;
            services.push((service.name, format!("start_time = {start:?}\n{more}")));
        }
        Ok(self.proofpoint.configure(dir, certs, devo, services)?)
    }
}

fn is_of_pod(service: &Service) -> bool {
    matches!(Kind::of(service.name), Kind::Pod { .. })
}

/// The log streams: five hours of archive, and what the live stream says. That of messages is cut
/// twice, and what was on its way then is in the archive alone.
fn stream(pod: &Pod, now: OffsetDateTime) {
    pod.set_now(now);
    let hour = Duration::seconds(now.unix_timestamp().rem_euclid(3600));
    let to = now.truncate_to_second() - hour;
    let streams = ["message", "maillog", "audit"];
    for (serials, stream) in (1..).map(|number| number * SERIALS).zip(streams) {
        let next = pod.fill(stream, (to - ARCHIVED, to), EVENTS_PER_HOUR as u64, serials);
        for number in 0..SAID {
            let (serial, time) = (next + number, to + hour * (number as f64 / SAID as f64));
            pod.happen(
                stream,
                time,
                pod_event(stream, &mut Rng::new(serial), time, serial),
            );
        }
    }
    let mut cuts = 0;
    pod.script(move |asked, _| {
        let cut = asked.stream == "message" && asked.hours.is_none() && cuts < 2;
        cuts += usize::from(cut);
        cut.then_some(StreamFault::After(100, Ends::Reset))
    });
}

/// Hours later, the archive has what the live stream lost when it was cut.
fn sweep(program: &Path, config: &Path, pod: &Pod, devo: &Devo) -> Result<bool> {
    println!(
        "\nThe live stream of messages was cut twice. Two hours later the archive has what was lost:"
    );
    let mut all_well = true;
    for hours in [2, 3] {
        let now = OffsetDateTime::now_utc() + Duration::hours(hours);
        pod.set_now(now);
        let now = now.format(&Rfc3339)?;
        for service in SERVICES.iter().filter(|service| is_of_pod(service)) {
            all_well &= run_with(program, config, service, devo, 0, &["-q", "--now", &now])?;
        }
    }
    Ok(all_well)
}

/// One run of the program: what it said, and the first lines that arrived. True if it went well.
fn run(
    program: &Path,
    config: &Path,
    service: &Service,
    devo: &Devo,
    lines: usize,
) -> Result<bool> {
    run_with(program, config, service, devo, lines, &[])
}

fn run_with(
    program: &Path,
    config: &Path,
    service: &Service,
    devo: &Devo,
    lines: usize,
    more: &[&str],
) -> Result<bool> {
    println!("\n$ proofpull run {} {}", service.name, more.join(" "));
    let before = devo.count();
    let output = Command::new(program)
        .args(["run", service.name, "--config"])
        .arg(config)
        .args(more)
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

/// What is there against what arrived. True if each event did, once.
fn compare(day: &Day, devo: &Devo) -> bool {
    let arrived = devo.counts_by_serial();
    let mut all_well = true;
    println!(
        "\n{:24} {:>8} {:>8} {:>8} {:>8}",
        "service", "there", "arrived", "missing", "doubled"
    );
    for service in SERVICES {
        let wanted = day.wanted(service);
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
