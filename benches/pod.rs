//! The log stream through the real program, side by side with Python's websocket-client and devo-sdk
//! doing the same job, on which Devo's own collector is built; and a soak of a million events.
//!
//! `cargo bench --bench pod` prints what was measured beside what is promised, and fails where
//! something is lost or memory is over the promise. Speed and CPU time are printed and judged by
//! whoever reads them. `cargo bench --bench pod -- silence` does that part alone; the others are
//! called compare, soak and large.
//! It makes a Python environment in target/pod-peer, for which it needs python3-venv.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration as Wait, Instant};

use proofpull::clock::utc;
use serde_json::Value;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

#[path = "../tests/simulator/mod.rs"]
mod simulator;

use simulator::{CLUSTER, Certs, Devo, Options, Pod, TOKEN};

const FROM: OffsetDateTime = datetime!(2026-11-20 05:00 UTC);
/// When the hours from then on are in the archive, and settled.
const NOW: OffsetDateTime = datetime!(2026-11-20 23:00 UTC);
const STREAM: &str = "maillog";
/// For the comparison: Python takes half a minute for so many.
const COMPARED: u64 = 30_000;
const SOAKED: u64 = 1_000_000;
const PROMISED: f64 = 15.0;
/// Promised for a run, and for each identity.
const MEMORY: u64 = 16 << 20;
const AN_IDENTITY: u64 = 25;

fn main() -> ExitCode {
    let parts: Vec<String> = std::env::args()
        .skip(1)
        .filter(|part| part != "--bench")
        .collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|named| named == part);
    let ground = Ground::new();
    let mut all_well = true;
    if wanted("compare") {
        match python() {
            Some(python) => all_well &= compare(&ground, &python),
            None => println!(
                "no comparison: python3 -m venv, or pip install devo-sdk websocket-client, failed"
            ),
        }
    }
    if wanted("soak") {
        all_well &= soak(&ground);
    }
    if wanted("silence") {
        silence(&ground);
    }
    if wanted("large") {
        large(&ground);
    }
    if all_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The same hour of the archive, by turns, three times each; the best of each counts.
fn compare(ground: &Ground, python: &Path) -> bool {
    let pod = ground.pod(COMPARED);
    let mut best = [Wait::MAX; 2];
    let mut all_well = true;
    for round in 0..3 {
        let devo = ground.devo();
        let config = ground.configure(&pod, &devo, &format!("state-{round}"));
        let (wall, said) = ground.run(&config, "1h");
        let delivered = summary(&said)["delivered"].as_u64();
        all_well &= delivered == Some(COMPARED) && devo.count() as u64 == COMPARED;
        best[0] = best[0].min(wall);

        let devo = ground.devo();
        let started = Instant::now();
        let output = Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/pod_peer.py"))
            .args([&pod.url(), TOKEN, CLUSTER, STREAM, &devo.address()])
            .args([
                ground.certs.ca(),
                ground.certs.client_cert(),
                ground.certs.client_key(),
            ])
            .output()
            .expect("Python runs");
        let wall = started.elapsed();
        let count = || devo.count() as u64;
        simulator::wait_until(
            || count() >= COMPARED || !output.status.success(),
            "the last lines of Python",
        );
        println!("{}", String::from_utf8_lossy(&output.stderr).trim());
        all_well &= output.status.success() && count() == COMPARED;
        best[1] = best[1].min(wall);
    }
    let rate = best.map(|wall| COMPARED as f64 / wall.as_secs_f64());
    println!(
        "{COMPARED} events of an archive hour, TLS on both sides, best of three, start and end included"
    );
    println!("proofpull                      {:8.0} events/s", rate[0]);
    println!("websocket-client and devo-sdk  {:8.0} events/s", rate[1]);
    println!(
        "                               {:8.1} times; promised {PROMISED}",
        rate[0] / rate[1]
    );
    all_well
}

/// A million events in one run; memory early and at the end.
fn soak(ground: &Ground) -> bool {
    let pod = ground.pod(SOAKED);
    let devo = ground.devo();
    let config = ground.configure(&pod, &devo, "state-soak");
    let mut child = ground
        .command(&config, "1h")
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let pid = child.id();
    let started = Instant::now();
    let mut samples = Vec::new();
    while child.try_wait().expect("it is ours").is_none() {
        if let Some(memory) = memory_of(pid) {
            samples.push((devo.count() as u64, memory));
        }
        std::thread::sleep(Wait::from_millis(20));
    }
    let wall = started.elapsed();
    let output = child.wait_with_output().expect("it has ended");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let (end, delivered) = (summary(&said), SOAKED);
    let peak = end["peak_memory_bytes"].as_u64().expect("it is told");
    let promised = MEMORY + AN_IDENTITY * delivered;
    println!(
        "soak of {SOAKED} events           {:.1} s, {:.0} events/s, {} MB",
        wall.as_secs_f64(),
        delivered as f64 / wall.as_secs_f64(),
        end["bytes"].as_u64().unwrap_or(0) / 1_000_000
    );
    for part in [10, 25, 50, 75, 99] {
        let at = samples
            .iter()
            .find(|(count, _)| *count >= SOAKED * part / 100);
        if let Some((count, memory)) = at {
            let rest = memory.saturating_sub(AN_IDENTITY * count);
            println!(
                "  memory at {part:2} %                {memory} bytes, {rest} apart from 25 bytes an identity"
            );
        }
    }
    println!("  peak memory                  {peak} bytes; promised {promised}");
    println!(
        "  arrived                      {} of {SOAKED}",
        devo.count()
    );
    peak <= promised && devo.count() as u64 == SOAKED && end["delivered"] == SOAKED
}

/// A minute in which the live stream says nothing.
fn silence(ground: &Ground) {
    let pod = ground.pod(0);
    let devo = ground.devo();
    let config = ground.configure(&pod, &devo, "state-silence");
    let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
    command.args([
        "run",
        "pod-audit",
        "-q",
        "--max-duration",
        "62s",
        "--now",
        &utc(NOW),
        "--config",
    ]);
    let mut child = command.arg(config).spawn().expect("the program starts");
    simulator::wait_until(|| pod.is_held("audit"), "the live stream");
    std::thread::sleep(Wait::from_millis(500));
    let before = cpu_of(child.id());
    std::thread::sleep(Wait::from_secs(60));
    let spent = cpu_of(child.id())
        .zip(before)
        .map(|(after, before)| after - before);
    assert!(child.wait().expect("it is ours").success());
    let spent = spent.map_or("unknown".to_owned(), |spent| {
        format!("{:.1} ms", spent.as_secs_f64() * 1e3)
    });
    println!("60 s of silence                {spent} of CPU; promised under 50 ms");
}

/// One message as large as they may be.
fn large(ground: &Ground) {
    let pod = ground.pod(0);
    let size = (64 << 20) - 200;
    let text = format!(
        r#"{{"id":"a","ts":"2026-11-20T05:10:00Z","x":"serial.1 {}"}}"#,
        "y".repeat(size)
    );
    pod.archive(STREAM, FROM, text);
    let devo = ground.devo();
    let config = ground.configure(&pod, &devo, "state-large");
    let (wall, said) = ground.run(&config, "1h");
    let peak = summary(&said)["peak_memory_bytes"]
        .as_u64()
        .expect("it is told");
    println!(
        "a message of 64 MiB            {:.1} s, peak memory {} MiB",
        wall.as_secs_f64(),
        peak >> 20
    );
}

struct Ground {
    dir: tempfile::TempDir,
    certs: Certs,
}

impl Ground {
    fn new() -> Ground {
        let dir = tempfile::tempdir().expect("a folder");
        let certs = Certs::make(dir.path());
        Ground { dir, certs }
    }

    fn pod(&self, events: u64) -> Pod {
        let pod = Pod::start_tls(&self.certs);
        pod.set_plain();
        pod.set_now(NOW);
        pod.fill(STREAM, (FROM, FROM + Duration::HOUR), events, 1);
        pod
    }

    fn devo(&self) -> Devo {
        let options = Options {
            keep: false,
            ..Options::default()
        };
        Devo::start(&self.certs, options)
    }

    fn configure(&self, pod: &Pod, devo: &Devo, state: &str) -> PathBuf {
        let certs = &self.certs;
        let text = format!(
            "state_dir = {:?}\n[devo]\naddress = {:?}\nchain = {:?}\ncert = {:?}\nkey = {:?}\n[http]\nca = {:?}\n\
             [pod]\nbase_url = {:?}\ncluster_id = {CLUSTER:?}\napi_key = {TOKEN:?}\n\
             [services.pod-maillog]\nmode = \"archive\"\n",
            self.dir.path().join(state),
            devo.address(),
            certs.ca(),
            certs.client_cert(),
            certs.client_key(),
            certs.ca(),
            pod.url(),
        );
        let path = self.dir.path().join("proofpull.toml");
        std::fs::write(&path, text).expect("the configuration");
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
        path
    }

    fn command(&self, config: &Path, most: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
        let (from, to) = (utc(FROM), utc(FROM + Duration::HOUR));
        command.args([
            "run",
            "pod-maillog",
            "--log-format",
            "json",
            "--max-duration",
            most,
        ]);
        command.args([
            "--start-time",
            &from,
            "--end-time",
            &to,
            "--now",
            &utc(NOW),
            "--config",
        ]);
        command.arg(config).stdout(Stdio::null());
        command
    }

    fn run(&self, config: &Path, most: &str) -> (Wait, String) {
        let started = Instant::now();
        let output = self
            .command(config, most)
            .output()
            .expect("the program starts");
        let wall = started.elapsed();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        (wall, said)
    }
}

fn summary(said: &str) -> Value {
    let mut lines = said
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let end = lines.rfind(|line| line.get("summary").is_some());
    end.expect("an end line")["summary"].clone()
}

/// A Python that has the two libraries; made once.
fn python() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pod-peer");
    let python = folder.join("bin/python");
    let has_both = || {
        let mut ask = Command::new(&python);
        let asked = ask
            .args(["-c", "import websocket, devo.sender"])
            .stderr(Stdio::null())
            .status();
        asked.is_ok_and(|status| status.success())
    };
    if !has_both() {
        Command::new("python3")
            .args(["-m", "venv"])
            .arg(&folder)
            .status()
            .ok()?;
        let mut pip = Command::new(&python);
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "devo-sdk",
            "websocket-client",
        ]);
        pip.status().ok()?;
    }
    has_both().then_some(python)
}

/// How long a process was on a CPU (proc(5), `schedstat`).
fn cpu_of(pid: u32) -> Option<Wait> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    let nanoseconds = stat.split(' ').next()?.parse().ok()?;
    Some(Wait::from_nanos(nanoseconds))
}

/// What a process has in memory now (proc(5), `VmRSS`), in bytes.
fn memory_of(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}
