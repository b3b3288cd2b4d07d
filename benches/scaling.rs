//! How cost grows: with the size of an answer, what is known, the number of windows, the rate of a live stream and the
//! pages of a job.
//!
//! `cargo bench --bench scaling` prints the table of docs/design/performance.md. Names of its parts, behind `--`, measure
//! these alone: answers, known, windows, live, pages. A row that would take less than a second of CPU time is the mean of
//! several runs, since the clock that counts CPU time is coarse.

use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use time::OffsetDateTime;

#[path = "measure/mod.rs"]
mod measure;
#[path = "../tests/simulator/mod.rs"]
mod simulator;

use measure::{BenchEnv, Cost, known};
use simulator::{CLUSTER, Pod, Rng, TOKEN, pod_event};

const TAP: &str = "tap-messages-blocked";
/// About 2,280 bytes with what the simulator adds, so that 450 events are 1 MB.
const EVENT_SIZE: usize = 2_000;
const IN_A_MEGABYTE: u64 = 450;
/// So that no branch is learnt by heart.
const KINDS: u64 = 2_000;
/// For a mean.
const ENOUGH_CPU: Duration = Duration::from_secs(1);
const MOST_RUNS: u32 = 50;

fn main() -> ExitCode {
    if known::is_maker() {
        return ExitCode::SUCCESS;
    }
    let named: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let parts: [Part; 5] = [
        ("answers", answers),
        ("known", known_identities),
        ("windows", windows),
        ("live", live),
        ("pages", pages),
    ];
    println!("| what grows | to | wall | CPU | peak memory | CPU for each | times the least |");
    println!("| --- | --: | --: | --: | --: | --: | --: |");
    for (part, measure) in parts {
        if named.is_empty() || named.iter().any(|name| name == part) {
            measure().iter().for_each(Series::print);
        }
    }
    ExitCode::SUCCESS
}

/// A part of the table, and what measures it.
type Part = (&'static str, fn() -> Vec<Series>);

/// Rows that differ in one number.
struct Series {
    name: &'static str,
    /// What the CPU time is shared by.
    unit: &'static str,
    rows: Vec<Row>,
}

struct Row {
    to: String,
    mean: Mean,
    /// How many units there are.
    count: u64,
}

impl Row {
    fn each(&self) -> f64 {
        self.mean.cpu.as_secs_f64() / self.count as f64
    }
}

impl Series {
    fn print(&self) {
        let each = self.rows.iter().map(Row::each);
        let least = each.fold(f64::INFINITY, f64::min);
        for (number, row) in self.rows.iter().enumerate() {
            println!(
                "| {} | {} | {} | {} | {:.1} MiB | {} {} | {:.1} |",
                if number == 0 { self.name } else { "" },
                row.to,
                readable(row.mean.wall.as_secs_f64()),
                readable(row.mean.cpu.as_secs_f64()),
                row.mean.peak as f64 / f64::from(1 << 20),
                readable(row.each()),
                self.unit,
                row.each() / least
            );
        }
    }
}

/// Seconds in the unit that suits them.
fn readable(seconds: f64) -> String {
    match seconds {
        1.0.. => format!("{seconds:.2} s"),
        0.1.. => format!("{:.0} ms", seconds * 1e3),
        1e-3.. => format!("{:.1} ms", seconds * 1e3),
        1e-4.. => format!("{:.0} us", seconds * 1e6),
        _ => format!("{:.1} us", seconds * 1e6),
    }
}

/// A number as people write it.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What a run takes: the mean of several, and the highest peak.
#[derive(Debug, Default)]
struct Mean {
    wall: Duration,
    cpu: Duration,
    peak: u64,
    /// How many events each has delivered.
    delivered: u64,
}

/// The mean of runs, of which each gives its summary and what it took: until the clock has enough, or of `most`.
fn mean(most: u32, mut run: impl FnMut(u32) -> (Value, Cost)) -> Mean {
    let (mut runs, mut sum) = (0, Cost::default());
    let mut mean = Mean::default();
    while sum.cpu() < ENOUGH_CPU && runs < most {
        let (end, cost) = run(runs);
        let number = |key: &str| end[key].as_u64().expect(key);
        mean.delivered += number("delivered");
        mean.peak = mean.peak.max(number("peak_memory_bytes"));
        sum = Cost {
            wall: sum.wall + cost.wall,
            user: sum.user + cost.user,
            system: sum.system + cost.system,
        };
        runs += 1;
    }
    (mean.wall, mean.cpu) = (sum.wall / runs, sum.cpu() / runs);
    mean.delivered /= u64::from(runs);
    mean
}

/// Runs it; the receiver gets so many lines, all that are delivered.
fn run(env: &BenchEnv, mut command: Command, lines: u64) -> (Value, Cost) {
    let before = env.devo.count();
    let (output, cost) = measure::run(&mut command);
    let end = measure::summary(&output);
    let received = (env.devo.count() - before) as u64;
    assert_eq!((received, &end["delivered"]), (lines, &lines.into()));
    (end, cost)
}

fn answers() -> Vec<Series> {
    let row = |to: &str, count: u64| {
        let env = BenchEnv::new();
        env.tap.set_flood(count, EVENT_SIZE);
        env.tap.set_flood_kinds(KINDS);
        let mean = mean(MOST_RUNS, |number| {
            let command = env.proofpull(TAP, &format!("state{number}"));
            run(&env, command, count)
        });
        Row {
            to: to.to_owned(),
            mean,
            count,
        }
    };
    vec![Series {
        name: "an answer of TAP",
        unit: "an event",
        rows: vec![
            row("10 kB", 4),
            row("1 MB", IN_A_MEGABYTE),
            row("10 MB", 10 * IN_A_MEGABYTE),
            row("100 MB", 100 * IN_A_MEGABYTE),
            row("1 GB", 1_000 * IN_A_MEGABYTE),
        ],
    }]
}

fn known_identities() -> Vec<Series> {
    const NEW: u64 = 100_000;
    /// What one takes in memory.
    const AN_IDENTITY: u64 = 24;
    let row = |known: u64, new: u64| {
        let env = BenchEnv::new();
        // the first run makes the state
        measure::run(&mut env.proofpull(TAP, "state"));
        let path = env.dir.path().join("state").join(format!("{TAP}.json"));
        let state = known::know(&path, known);
        if new > 0 {
            env.tap.set_flood(new, EVENT_SIZE);
            env.tap.set_flood_kinds(KINDS);
        }
        let mean = mean(MOST_RUNS, |_| {
            std::fs::write(&path, &state).expect("the state");
            run(&env, env.proofpull(TAP, "state"), new)
        });
        let are_read = mean.peak > AN_IDENTITY * known;
        assert!(new == 0 || are_read, "the run forgot what is known");
        Row {
            to: grouped(known),
            mean,
            count: new.max(1),
        }
    };
    let rows = |new| [0, 100_000, 1_000_000, 5_000_000].map(|known| row(known, new));
    vec![
        Series {
            name: "known identities, nothing new",
            unit: "a run",
            rows: rows(0).into(),
        },
        Series {
            name: "known identities, 100,000 new events",
            unit: "a new event",
            rows: rows(NEW).into(),
        },
    ]
}

fn windows() -> Vec<Series> {
    let row = |windows: u64, events: u64| {
        let env = BenchEnv::new();
        if events > 0 {
            env.tap.set_flood(events, EVENT_SIZE);
        }
        // the last window is shorter
        let minutes = 60 * windows - 10;
        let mean = mean(MOST_RUNS, |number| {
            let command = env.proofpull_since(TAP, &format!("state{number}"), minutes);
            let (end, cost) = run(&env, command, windows * events);
            assert_eq!(end["windows"], windows);
            (end, cost)
        });
        Row {
            to: windows.to_string(),
            mean,
            count: windows,
        }
    };
    // TAP keeps 168 hours, of which the program leaves one alone
    let rows = |events| [1, 6, 24, 72, 167].map(|windows| row(windows, events));
    vec![
        Series {
            name: "windows of an hour, empty",
            unit: "a window",
            rows: rows(0).into(),
        },
        Series {
            name: "windows of an hour, 50 events each",
            unit: "a window",
            rows: rows(50).into(),
        },
    ]
}

/// How long the live stream is read.
const SECONDS: u64 = 10;

fn live() -> Vec<Series> {
    let row = |rate: Option<u64>| {
        let mean = mean(3, |_| live_at(rate));
        let count = mean.delivered;
        let to = match rate {
            Some(rate) => format!("{}/s", grouped(rate)),
            None => format!(
                "{}/s, all that the simulator gives",
                grouped(count / SECONDS)
            ),
        };
        Row { to, mean, count }
    };
    let rates = [Some(10), Some(100), Some(1_000), Some(10_000), None];
    vec![Series {
        name: "messages of the live stream of PoD, for 10 s",
        unit: "an event",
        rows: rates.map(row).into(),
    }]
}

/// A live stream of so many messages a second, or of as many as are read.
fn live_at(rate: Option<u64>) -> (Value, Cost) {
    const STREAM: &str = "maillog";
    const SERVICE: &str = "pod-maillog";
    let env = BenchEnv::new();
    let pod = Pod::start_tls(&env.certs);
    pod.set_plain();
    let tables = format!(
        "[http]\nca = {:?}\n[pod]\nbase_url = {:?}\ncluster_id = {CLUSTER:?}\napi_key = {TOKEN:?}\n\
         [services.{SERVICE}]\nmode = \"live\"\nmax_duration = \"{SECONDS}s\"\n",
        env.certs.ca(),
        pod.url()
    );
    let mut command = env.command(SERVICE, "state", &env.devo.address(), &tables);
    let is_over = AtomicBool::new(false);
    let (output, cost) = thread::scope(|scope| {
        scope.spawn(|| speak(&pod, STREAM, rate, &is_over));
        let ran = measure::run(&mut command);
        is_over.store(true, Ordering::Relaxed);
        ran
    });
    let end = measure::summary(&output);
    let (said, received) = (pod.said(STREAM), env.devo.count());
    assert_eq!((&end["delivered"], received), (&said.into(), said));
    (end, cost)
}

/// Speaks from when somebody listens until it is over.
fn speak(pod: &Pod, stream: &str, rate: Option<u64>, is_over: &AtomicBool) {
    /// Behind what was read, so that there is always something to say.
    const AHEAD: u64 = 10_000;
    let mut said = 0;
    let mut started = None;
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(1));
        if !pod.is_held(stream) {
            continue;
        }
        let started = *started.get_or_insert_with(Instant::now);
        let due = match rate {
            Some(rate) => (started.elapsed().as_secs_f64() * rate as f64) as u64,
            None => pod.said(stream) as u64 + AHEAD,
        };
        let now = OffsetDateTime::now_utc();
        let texts = (said..due).map(|serial| pod_event(stream, &mut Rng::new(serial), now, serial));
        let texts: Vec<Vec<u8>> = texts.collect();
        pod.say(stream, texts);
        said = said.max(due);
    }
}

fn pages() -> Vec<Series> {
    const RECORDS: usize = 10_000;
    let row = |pages: usize| {
        let env = BenchEnv::new();
        env.isolation.set_flood(pages, RECORDS);
        let count = (pages * RECORDS) as u64;
        let mean = mean(MOST_RUNS, |number| {
            let command = env.proofpull("isolation-web", &format!("state{number}"));
            run(&env, command, count)
        });
        Row {
            to: pages.to_string(),
            mean,
            count,
        }
    };
    vec![Series {
        name: "pages of Isolation, 10,000 events each",
        unit: "an event",
        rows: [1, 10, 100].map(row).into(),
    }]
}
