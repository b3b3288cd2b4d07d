//! What rules cost: two of them on events of 2 kB, beside the same run without rules.
//!
//! `cargo bench --bench rules` prints the CPU time an event of whole runs of the program, from HTTP to
//! TLS, and that of the rules alone, beside what is promised. Whoever reads it judges.

use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use proofpull::clock::utc;
use proofpull::digest::Pseudonyms;
use proofpull::transform::{self, Action, Pattern, Rule, RuleStats, Transform};
use time::OffsetDateTime;

#[path = "../tests/simulator/mod.rs"]
mod simulator;

use simulator::{Certs, Devo, Options, PRINCIPAL, Rng, SECRET, Style, Tap, sample};

const EVENTS: u64 = 200_000;
const EVENT_SIZE: usize = 2_000;
/// The fastest of so many runs each counts, taken in turn: the machine may have other work.
const RUNS: usize = 5;
const PROMISED: Duration = Duration::from_micros(3);

/// One pseudonym for each recipient, one mask.
const TWO_RULES: &str = "[obfuscation]\nkey = \"0123456789abcdef0123456789abcdef\"\n\
    [[services.tap-messages-blocked.obfuscate]]\npath = \"recipient.*\"\nhash = true\n\
    [[services.tap-messages-blocked.obfuscate]]\npath = \"threatsInfoMap.*.threat\"\n";

fn main() {
    let dir = tempfile::tempdir().expect("a folder");
    let certs = Certs::make(dir.path());
    let mut fastest = [Duration::MAX; 2];
    let mut memory = [0; 2];
    for _ in 0..RUNS {
        for (at, rules) in ["", TWO_RULES].into_iter().enumerate() {
            let (cpu, peak) = run(dir.path(), &certs, rules);
            fastest[at] = fastest[at].min(cpu);
            memory[at] = memory[at].max(peak);
        }
    }
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / EVENTS as f64;
    let [without, with] = fastest.map(each);
    println!("CPU an event, whole run without rules    {without:.2} us");
    println!(
        "CPU an event, with two rules             {with:.2} us: {:.2} us more, promised {:.2}",
        with - without,
        PROMISED.as_secs_f64() * 1e6
    );
    println!(
        "peak memory without and with rules       {} and {} bytes",
        memory[0], memory[1]
    );
    alone();
}

/// One run over a flood of events: its CPU time, and its peak memory in bytes.
fn run(dir: &Path, certs: &Certs, rules: &str) -> (Duration, u64) {
    let (tap, keep) = (Tap::start(), false);
    tap.set_flood(EVENTS, EVENT_SIZE);
    let gzip = false;
    tap.set_style(Style {
        gzip,
        ..Style::default()
    });
    let devo = Devo::start(
        certs,
        Options {
            keep,
            ..Options::default()
        },
    );
    let state = tempfile::tempdir_in(dir).expect("a folder");
    let secret = dir.join("tap.secret");
    write_private(&secret, SECRET);
    let text = format!(
        "state_dir = {:?}\n[devo]\naddress = {:?}\nchain = {:?}\ncert = {:?}\nkey = {:?}\n\
         [tap]\nbase_url = {:?}\nprincipal = {PRINCIPAL:?}\nsecret = {{ file = {secret:?} }}\n\
         [services.tap-messages-blocked]\nstart_time = {:?}\n{rules}",
        state.path(),
        devo.address(),
        certs.ca(),
        certs.client_cert(),
        certs.client_key(),
        tap.url(),
        utc(OffsetDateTime::now_utc() - Duration::from_secs(1800)),
    );
    let config = dir.join("proofpull.toml");
    write_private(&config, &text);
    let before = cpu_of_children();
    let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
    command.args(["run", "tap-messages-blocked", "--log-format", "json"]);
    let output = command.arg("--config").arg(&config).output();
    let output = output.expect("the program starts");
    let cpu = cpu_of_children() - before;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(devo.count() as u64, EVENTS);
    let lines = said.lines();
    let mut lines = lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let end = lines.find(|line| line.get("summary").is_some());
    let end = end.expect("an end line");
    assert_eq!(end["summary"]["never_matched"], serde_json::json!([]));
    (
        cpu,
        end["summary"]["peak_memory_bytes"].as_u64().unwrap_or(0),
    )
}

fn write_private(path: &Path, text: &str) {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).expect("a file");
    file.write_all(text.as_bytes()).expect("its text");
}

/// CPU time of the children that ended (proc(5), `cutime` and `cstime`, in ticks of 10 ms).
fn cpu_of_children() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("proc");
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let ticks = fields.split(' ').skip(13).take(2);
    let ticks: u64 = ticks
        .map(|field| field.parse::<u64>().expect("ticks"))
        .sum();
    Duration::from_millis(10 * ticks)
}

/// What each kind of rule costs by itself, on one event in the processor's cache.
fn alone() {
    let rule = |action, path: &str, pattern: Option<&str>| Rule {
        action,
        path: transform::Path::dotted(path).expect("a path"),
        pattern: pattern.map(|pattern| Pattern::new(pattern).expect("a pattern")),
    };
    let (recipient, threat) = ("recipient.*", "threatsInfoMap.*.threat");
    let kinds = [
        ("no rules", vec![]),
        (
            "one that matches nothing",
            vec![rule(Action::Mask, "userName", None)],
        ),
        ("a mask", vec![rule(Action::Mask, recipient, None)]),
        ("a pseudonym", vec![rule(Action::Hash, recipient, None)]),
        (
            "a pseudonym of a part",
            vec![rule(Action::Hash, recipient, Some("^[^@]+"))],
        ),
        (
            "a filter",
            vec![rule(Action::Drop, recipient, Some("@test\\.example$"))],
        ),
        (
            "the two rules",
            vec![
                rule(Action::Hash, recipient, None),
                rule(Action::Mask, threat, None),
            ],
        ),
    ];
    let event = event();
    println!(
        "time to transform one event of {} bytes, and how much of it is for the rules",
        event.len()
    );
    let mut nothing = 0.0;
    for (name, rules) in kinds {
        let mut rule_stats = vec![RuleStats::default(); rules.len()];
        let key = Pseudonyms::new(b"0123456789abcdef0123456789abcdef").ok();
        let transform = Transform::following(rules, key);
        let mut out = Vec::new();
        let mut time = || {
            const TIMES: u32 = 100;
            let started = Instant::now();
            for _ in 0..TIMES {
                out.clear();
                transform.write(black_box(&event), false, &mut out, &mut rule_stats);
                black_box(&out);
            }
            started.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES)
        };
        // short rounds, of which some are not interrupted
        let fastest = (0..5_000).map(|_| time()).fold(f64::MAX, f64::min);
        if nothing == 0.0 {
            nothing = fastest;
        }
        println!(
            "    {name:<28} {fastest:>6.2} us, {:>6.2} us",
            fastest - nothing
        );
    }
}

/// An event as the flood has them.
fn event() -> Vec<u8> {
    let now = OffsetDateTime::now_utc();
    let body = sample::message(&mut Rng::new(1), now, 1, "dana.reyes@examplecorp.example");
    let text = String::from_utf8(body.text().to_vec()).expect("text");
    let filling = "x".repeat(EVENT_SIZE.saturating_sub(text.len()));
    let text = text.replace(r#""xmailer":null"#, &format!(r#""xmailer":"{filling}""#));
    text.into_bytes()
}
