//! proofpull beside plain clients in Python where Proofpoint and Devo are each 100 ms away, there and
//! back: a catch-up of TAP over 48 hours and over 7 days, an hour with 200,000 events, 500 summaries of
//! threats, a job of Isolation with 20 pages, and 24 hours of PoD's archive.
//!
//! ```text
//! python3 -m venv target/devo-sdk && target/devo-sdk/bin/pip install devo-sdk requests websocket-client
//! PROOFPULL_DEVO_SDK=target/devo-sdk/bin/python cargo bench --bench wide_area
//! ```
//!
//! It prints how long each took, over how many connections to the receiver, and their ratio. `cargo bench
//! --bench wide_area -- days threats` does these parts alone; the others are hours, masses, isolation and pod.

use std::path::Path;
use std::process::Command;
use std::time::Duration as Wait;

use proofpull::clock::utc;
use time::{Duration, OffsetDateTime};

mod link;
#[path = "../measure/mod.rs"]
mod measure;
#[path = "../../tests/simulator/mod.rs"]
mod simulator;

use link::Link;
use measure::BenchEnv;
use simulator::{API_KEY, CLUSTER, Event, PRINCIPAL, Pod, Rng, SECRET, TOKEN, isolation, sample};

const ROUND_TRIP: Wait = Wait::from_millis(100);
/// Events in an hour, of TAP and of PoD.
const PER_HOUR: i32 = 10;
const THREATS: usize = 500;
/// Events of a large answer, and their size in bytes: several times what may be unconfirmed.
const MASSES: (u64, usize) = (200_000, 2_000);
/// Pages of the job of Isolation, and records on each.
const PAGES: (usize, usize) = (20, 500);

fn main() {
    let parts: Vec<String> = std::env::args().skip(1).collect();
    let named = |part: &String| !part.starts_with('-');
    let wanted = |part: &str| {
        let mut named = parts.iter().filter(|part| named(part)).peekable();
        named.peek().is_none() || named.any(|named| named == part)
    };
    let python = std::env::var("PROOFPULL_DEVO_SDK").ok();
    if python.is_none() {
        println!("PROOFPULL_DEVO_SDK names no Python: there is nothing to compare with");
    }
    println!("TAP, Isolation or PoD, and the receiver, each behind a round trip of {ROUND_TRIP:?}");
    let bench = Bench { python };
    if wanted("hours") {
        bench.tap("TAP over 48 hours", 48, 0.9);
    }
    if wanted("days") {
        bench.tap("TAP over 7 days", 166, 0.9);
    }
    if wanted("masses") {
        bench.masses();
    }
    if wanted("threats") {
        bench.threats();
    }
    if wanted("isolation") {
        bench.isolation();
    }
    if wanted("pod") {
        bench.pod();
    }
}

struct Bench {
    python: Option<String>,
}

/// What is asked for, of whom.
struct Job<'a> {
    /// The service, and the job of the script.
    names: (&'a str, &'a str),
    /// The tables of the configuration.
    tables: String,
    /// More arguments of the program.
    arguments: Vec<String>,
    /// The server of the script, and what else it is told.
    url: String,
    told: Vec<String>,
    target: f64,
}

impl Bench {
    fn tap(&self, what: &str, hours: i64, target: f64) {
        let env = BenchEnv::new();
        let start = ago(hours);
        for number in 0..i32::try_from(hours).expect("few") * PER_HOUR {
            let created = start + Duration::HOUR * number / PER_HOUR;
            let serial = u64::try_from(number).expect("from 0");
            let body = sample::message(&mut Rng::new(serial), created, serial, "a@b.example");
            env.tap.add("messagesBlocked", Event::new(created, body));
        }
        self.compare_tap(what, &env, ("tap-messages-blocked", "tap"), start, target);
    }

    fn masses(&self) {
        let env = BenchEnv::new();
        let (events, size) = MASSES;
        env.tap.set_flood(events, size);
        let what = format!("TAP, {events} events in an hour");
        let names = ("tap-messages-blocked", "tap");
        self.compare_tap(&what, &env, names, ago(1), 0.9);
    }

    fn threats(&self) {
        let env = BenchEnv::new();
        let start = ago(1);
        for number in 0..THREATS {
            let created = start + Duration::seconds(number as i64 * 5);
            let time = utc(created);
            let event = format!(
                r#"{{"GUID":"g{number}","id":"i{number}","recipient":["a@b.example"],"messageTime":"{time}","threatsInfoMap":[{{"threatID":"{number:064x}","threatStatus":"active","threatTime":"{time}"}}]}}"#
            );
            env.tap.add("messagesBlocked", Event::new(created, event));
        }
        let what = format!("{THREATS} summaries of threats");
        self.compare_tap(&what, &env, ("tap-threats", "threats"), start, 0.3);
    }

    /// From then on up to now.
    fn compare_tap(
        &self,
        what: &str,
        env: &BenchEnv,
        names: (&str, &str),
        start: OffsetDateTime,
        target: f64,
    ) {
        let link = Link::start(&env.tap.address(), ROUND_TRIP);
        let url = format!("http://127.0.0.1:{}", link.port());
        let end = OffsetDateTime::now_utc() - Duration::MINUTE;
        let starts = (0..).map(|hours| start + Duration::hours(hours));
        let windows = starts.take_while(|from| *from < end - Duration::MINUTE);
        let windows = windows.map(|from| {
            let to = end.min(from + Duration::HOUR);
            format!("{}/{}", utc(from), utc(to))
        });
        let told = [PRINCIPAL, SECRET].map(str::to_owned).into_iter();
        let tables = format!(
            "[tap]\nbase_url = {url:?}\nprincipal = {PRINCIPAL:?}\nsecret = {SECRET:?}\n\
             [services.{}]\nstart_time = {:?}\n",
            names.0,
            utc(start)
        );
        let job = Job {
            names,
            tables,
            arguments: Vec::new(),
            url,
            told: told.chain(windows).collect(),
            target,
        };
        self.compare(what, env, &job);
    }

    fn isolation(&self) {
        let env = BenchEnv::new();
        env.isolation.set_flood(PAGES.0, PAGES.1);
        let link = Link::start(&env.isolation.address(), ROUND_TRIP);
        let url = format!("http://127.0.0.1:{}{}", link.port(), isolation::USAGE_DATA);
        let start = ago(2);
        let spelt = |time| utc(time).replace('Z', ".000");
        let told = [API_KEY.to_owned(), spelt(start), spelt(ago(1))];
        let job = Job {
            names: ("isolation-web", "isolation"),
            tables: format!(
                "[isolation]\napi_key = {API_KEY:?}\n[services.isolation-web]\nurl = {url:?}\nstart_time = {:?}\n",
                utc(start)
            ),
            arguments: Vec::new(),
            url,
            told: told.to_vec(),
            target: 1.0,
        };
        self.compare(&format!("Isolation, {} pages", PAGES.0), &env, &job);
    }

    fn pod(&self) {
        let env = BenchEnv::new();
        let pod = Pod::start_tls(&env.certs);
        pod.set_plain();
        let now = OffsetDateTime::now_utc();
        let end = now - Duration::seconds(now.unix_timestamp() % 3600) - Duration::hours(12);
        let start = end - Duration::hours(24);
        pod.fill("maillog", (start, end), PER_HOUR.unsigned_abs().into(), 1);
        let link = Link::start(pod.url().trim_start_matches("wss://"), ROUND_TRIP);
        let url = format!("wss://localhost:{}", link.port());
        let hours = (0..=24).map(|hour| start + Duration::hours(hour));
        let hours = hours.map(|hour| utc(hour).replace('Z', "-0000"));
        let told = [TOKEN, CLUSTER].map(str::to_owned).into_iter();
        let range = ["--start-time", &utc(start), "--end-time", &utc(end)].map(str::to_owned);
        let job = Job {
            names: ("pod-maillog", "pod"),
            tables: format!(
                "[http]\nca = {:?}\n[pod]\nbase_url = {url:?}\ncluster_id = {CLUSTER:?}\napi_key = {TOKEN:?}\n\
                 [services.pod-maillog]\nmode = \"archive\"\n",
                env.certs.ca()
            ),
            arguments: range.to_vec(),
            url,
            told: told.chain(hours).collect(),
            target: 0.6,
        };
        self.compare("PoD, 24 hours of the archive", &env, &job);
    }

    /// Both do the job, one after the other.
    fn compare(&self, what: &str, env: &BenchEnv, job: &Job) {
        let receiver = Link::start(&env.devo.address(), ROUND_TRIP);
        let address = format!("localhost:{}", receiver.port());
        let mut command = env.command(job.names.0, "state", &address, &job.tables);
        command.args(&job.arguments);
        let (output, ours) = measure::run(&mut command);
        let end = measure::summary(&output);
        println!(
            "\n{what}\nproofpull {:6.2} s, {} events, {} requests, {} connections to the receiver",
            ours.wall.as_secs_f64(),
            end["delivered"],
            end["requests"],
            receiver.take_connections()
        );
        assert_eq!(end["delivered"].as_u64(), Some(env.devo.count() as u64));
        let Some(python) = &self.python else {
            return;
        };
        let certs = &env.certs;
        let mut command = Command::new(python);
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/wide_area/session.py"))
            .args([job.names.1, &receiver.port().to_string()])
            .args([certs.client_key(), certs.client_cert(), certs.ca()])
            .arg(&job.url)
            .args(&job.told);
        let (output, theirs) = measure::run(&mut command);
        println!(
            "Python    {:6.2} s, {} events, {} connections to the receiver",
            theirs.wall.as_secs_f64(),
            String::from_utf8_lossy(&output.stdout).trim(),
            receiver.take_connections()
        );
        println!(
            "proofpull takes {:.2} of its time (target: {})",
            ours.wall.as_secs_f64() / theirs.wall.as_secs_f64(),
            job.target
        );
    }
}

fn ago(hours: i64) -> OffsetDateTime {
    OffsetDateTime::now_utc() - Duration::hours(hours)
}
