//! A whole world for one test: a simulated Proofpoint and receiver, a configuration, a state
//! folder, and the real program run in it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use crate::simulator::{
    API_KEY, CLUSTER, Certs, Devo, Ended, Event, Isolation, Kind, Options, PRINCIPAL, Pod, Rng,
    SECRET, TOKEN, Tap, sample, scenario, wait_until,
};
use proofpull::config::EffectiveKeys;
use proofpull::config::file::look;
use proofpull::service::SERVICES;

/// No run of the program in a test takes longer, even on a slow machine.
const DEADLINE: Duration = Duration::from_secs(240);

/// The parts; tests change what they are about, and the configuration follows at the next run.
pub(crate) struct TestEnv {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) certs: Certs,
    pub(crate) tap: Tap,
    pub(crate) isolation: Isolation,
    pub(crate) pod: Pod,
    pub(crate) devo: Devo,
    /// The lines of each table of the configuration, without its header.
    pub(crate) top: String,
    pub(crate) devo_table: String,
    pub(crate) tap_table: String,
    pub(crate) isolation_table: String,
    pub(crate) pod_table: String,
    pub(crate) http_table: String,
    /// Lines for the table of every service that is asked for windows.
    pub(crate) service_table: String,
    /// More tables, for the end of the configuration.
    pub(crate) more_tables: String,
    /// Lines for the table of every service of PoD.
    pub(crate) stream_table: String,
    /// The environment of the program, besides `PATH`.
    pub(crate) env: BTreeMap<String, String>,
    /// The most bytes of a transaction, about, where few events shall make several.
    pub(crate) most_unconfirmed: Option<u64>,
}

impl TestEnv {
    pub(crate) fn new() -> TestEnv {
        TestEnv::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> TestEnv {
        let dir = tempfile::tempdir().unwrap();
        let certs = dir.path().join("certs");
        std::fs::create_dir(&certs).unwrap();
        let certs = Certs::make(&certs);
        TestEnv::of(dir, options, Tap::start(), certs)
    }

    pub(crate) fn of(dir: tempfile::TempDir, options: Options, tap: Tap, certs: Certs) -> TestEnv {
        let devo = Devo::start(&certs, options);
        let secret = dir.path().join("tap.secret");
        write_private(&secret, SECRET);
        let isolation_key = dir.path().join("isolation.key");
        write_private(&isolation_key, API_KEY);
        let pod = Pod::start();
        let key = dir.path().join("pod.key");
        write_private(&key, TOKEN);
        TestEnv {
            top: String::new(),
            devo_table: format!(
                "address = {:?}\nchain = {:?}\ncert = {:?}\nkey = {:?}\nhostname = \"test\"\n",
                devo.address(),
                certs.ca(),
                certs.client_cert(),
                certs.client_key(),
            ),
            tap_table: format!(
                "base_url = {:?}\nprincipal = {PRINCIPAL:?}\nsecret = {{ file = {secret:?} }}\n",
                tap.url()
            ),
            isolation_table: format!("api_key = {{ file = {isolation_key:?} }}\n"),
            isolation: Isolation::start(),
            more_tables: String::new(),
            pod_table: format!(
                "base_url = {:?}\ncluster_id = {CLUSTER:?}\napi_key = {{ file = {key:?} }}\n",
                pod.url()
            ),
            http_table: "timeout = \"20s\"\n".into(),
            service_table: String::new(),
            stream_table: String::new(),
            env: BTreeMap::new(),
            most_unconfirmed: None,
            dir,
            certs,
            tap,
            pod,
            devo,
        }
    }

    /// Fills TAP with events of all four services, from `hours` ago to a minute ago, and lets the
    /// program start there. Late ones are in the last 40 minutes, since `look_back` is 45.
    pub(crate) fn fill(&mut self, rng: &mut Rng, hours: i64, per_hour: usize) {
        let now = OffsetDateTime::now_utc();
        let from = now - time::Duration::hours(hours);
        let events = scenario(rng, from, now - time::Duration::seconds(90), per_hour);
        let oldest_late = now - time::Duration::minutes(40);
        self.tap
            .add_all(events.into_iter().map(|(array, mut event)| {
                event.late &= event.created > oldest_late;
                (array, event)
            }));
        self.start_at(from);
    }

    /// Adds `start_time` to every service.
    pub(crate) fn start_at(&mut self, time: OffsetDateTime) {
        let time = proofpull::clock::utc(time);
        self.service_table += &format!("start_time = {time:?}\n");
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.dir.path().join("proofpull.toml")
    }

    /// Writes the configuration from its parts.
    pub(crate) fn write_config(&self) -> PathBuf {
        let mut text = format!("state_dir = {:?}\n{}\n", self.state_dir(), self.top);
        for (table, lines) in [
            ("devo", &self.devo_table),
            ("tap", &self.tap_table),
            ("isolation", &self.isolation_table),
            ("pod", &self.pod_table),
            ("http", &self.http_table),
        ] {
            if !lines.is_empty() {
                text += &format!("[{table}]\n{lines}\n");
            }
        }
        let known = KnownKeys::read();
        for service in SERVICES {
            let (url, lines) = match Kind::of(service.name) {
                Kind::Isolation => (
                    format!("url = {:?}\n", self.isolation.url()),
                    &self.service_table,
                ),
                Kind::Pod { .. } => (String::new(), &self.stream_table),
                _ => (String::new(), &self.service_table),
            };
            text += &format!("[services.{}]\n{url}", service.name);
            for line in lines.lines() {
                let key = line.split(' ').next().unwrap_or_default();
                let is_there = key == "url" && !url.is_empty();
                if !is_there && known.may_have(service.name, key) {
                    text += &format!("{line}\n");
                }
            }
        }
        text += &self.more_tables;
        write_private(&self.config_path(), &text);
        self.config_path()
    }

    /// `proofpull run SERVICE --config FILE`, ready for more arguments.
    pub(crate) fn command(&self, service: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
        command
            .args(["run", service, "--config"])
            .arg(self.write_config());
        let most = self.most_unconfirmed.map(|most| most.to_string());
        command.args(most.iter().flat_map(|most| ["--most-unconfirmed", most]));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(&self.env);
        command
    }

    /// Any command with `--config FILE`, run to its end.
    pub(crate) fn ask(&self, words: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
        command.args(words).arg("--config").arg(self.write_config());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(&self.env);
        Running::start(&mut command).wait()
    }

    pub(crate) fn start(&self, service: &str, more: &[&str]) -> Running {
        Running::start(self.command(service).args(more))
    }

    pub(crate) fn run(&self, service: &str, more: &[&str]) -> Run {
        self.start(service, more).wait()
    }

    /// The saved state of a service, or of what stands in the folder under another name.
    pub(crate) fn state(&self, name: &str) -> serde_json::Value {
        let path = self.state_dir().join(format!("{name}.json"));
        serde_json::from_slice(
            &std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
        )
        .unwrap()
    }

    /// Up to where a service is complete, as its state says.
    pub(crate) fn position(&self, name: &str) -> String {
        self.state(name)["checkpoint"]["until"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Every event of the service has arrived, and none that Proofpoint never had; how many arrived more
    /// often than they should.
    pub(crate) fn assert_nothing_lost(&self, service: &str) -> usize {
        let wanted = match Kind::of(service) {
            Kind::Tap { array, .. } => self.tap.serials(array),
            Kind::Isolation => self.isolation.serials(),
            // what lies before the start is not named
            Kind::Threats => self.tap.threats(OffsetDateTime::UNIX_EPOCH),
            Kind::Forensics => self.tap.campaigns_of_events(OffsetDateTime::UNIX_EPOCH),
            Kind::Campaigns => self.tap.campaigns(),
            Kind::People { report } => self.tap.people(report),
            Kind::Pod { stream } => self.pod.serials(stream),
        };
        let arrived = self.devo.counts_by_serial();
        let lost: Vec<u64> = wanted
            .iter()
            .filter(|(serial, count)| arrived.get(serial).copied().unwrap_or(0) < **count)
            .map(|(serial, _)| *serial)
            .collect();
        assert!(
            lost.is_empty(),
            "lost {} of {}: {:?}",
            lost.len(),
            wanted.len(),
            &lost[..lost.len().min(20)]
        );
        let strange: Vec<&u64> = arrived
            .keys()
            .filter(|serial| !wanted.contains_key(serial))
            .collect();
        assert!(strange.is_empty(), "never there: {strange:?}");
        arrived
            .iter()
            .map(|(serial, count)| count - wanted[serial])
            .sum()
    }

    /// Every event of the service has arrived, and no more of them again than those of `unconfirmed`.
    pub(crate) fn assert_repeated_at_most(&self, service: &str, unconfirmed: usize) {
        let repeated = self.assert_nothing_lost(service);
        assert!(
            repeated <= unconfirmed,
            "{repeated} came again, {unconfirmed} were unconfirmed"
        );
    }

    /// Every event of the service has arrived, exactly once.
    pub(crate) fn assert_exactly_once(&self, service: &str) {
        let repeated = self.assert_nothing_lost(service);
        assert_eq!(repeated, 0, "{repeated} arrived more than once");
    }
}

/// The keys that services have, from the program.
struct KnownKeys(EffectiveKeys);

impl KnownKeys {
    fn read() -> KnownKeys {
        let (config, _) = look("", Path::new("/"), OffsetDateTime::now_utc());
        KnownKeys(config.record)
    }

    /// Whether a key is one of this service, or of none, which is what a test is about.
    fn may_have(&self, service: &str, key: &str) -> bool {
        let has = |service: &str| {
            let name = format!("services.{service}.{key}");
            self.0.keys().any(|known| known.is(&name))
        };
        has(service) || !SERVICES.iter().any(|service| has(service.name))
    }
}

/// The key of the array in which a service's events stand.
pub(crate) fn array(service: &str) -> &'static str {
    match Kind::of(service) {
        Kind::Tap { array, .. } => array,
        other => panic!("{other:?} has no array"),
    }
}

/// An object as it stands in a file of the state, with its checksum.
pub(crate) fn sealed(object: &serde_json::Value) -> String {
    let mut object = object.clone();
    object.as_object_mut().unwrap().remove("checksum");
    let text = object.to_string();
    let members = text.strip_suffix('}').unwrap();
    let checksum = crc32fast::hash(members.as_bytes());
    format!("{members},\n  \"checksum\": \"crc32:{checksum:08x}\"\n}}\n")
}

/// Writes a file that nobody else may read.
pub(crate) fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A run under way; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Running {
        let piped = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = piped.spawn().expect("the program starts");
        let stdout = child.stdout.take().map(read_all);
        let stderr = child.stderr.take().map(read_all);
        Running {
            child,
            stdout,
            stderr,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal by name, such as `TERM` or `KILL`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill")
            .args(["-s", name, &pid])
            .stderr(Stdio::null())
            .status();
        assert!(sent.is_ok(), "kill is there");
    }

    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Returns as soon as it is so, or the run is over.
    pub(crate) fn until(&mut self, mut so: impl FnMut() -> bool) {
        while !so() && !self.is_over() {
            thread::sleep(Duration::from_micros(200));
        }
    }

    pub(crate) fn wait(mut self) -> Run {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if started.elapsed() > DEADLINE {
                self.child.kill().unwrap();
                let stderr = self
                    .stderr
                    .take()
                    .map(|reader| reader.join().unwrap())
                    .unwrap_or_default();
                panic!("a run did not end: {}", String::from_utf8_lossy(&stderr));
            }
            thread::sleep(Duration::from_millis(2));
        };
        let stdout = self
            .stdout
            .take()
            .map(|reader| reader.join().unwrap())
            .unwrap_or_default();
        let stderr = self
            .stderr
            .take()
            .map(|reader| reader.join().unwrap())
            .unwrap_or_default();
        Run {
            status: status.code(),
            stdout,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // it may be over already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // a killed child ends its pipes in any way
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// What a run ended with.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its status; `None` when a signal killed it.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Run {
    #[track_caller]
    pub(crate) fn assert_status(&self, status: i32) -> &Run {
        assert_eq!(self.status, Some(status), "{}", self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn assert_says(&self, text: &str) -> &Run {
        assert!(
            self.stderr.contains(text),
            "nothing says {text:?}:\n{}",
            self.stderr
        );
        self
    }

    /// What came on standard output, as text.
    pub(crate) fn answer(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// What came on standard output, as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        let read = serde_json::from_slice(&self.stdout);
        read.unwrap_or_else(|error| panic!("{error}: {}{}", self.answer(), self.stderr))
    }

    #[track_caller]
    pub(crate) fn assert_never_says(&self, text: &str) -> &Run {
        assert!(
            !self.stderr.contains(text),
            "something says {text:?}:\n{}",
            self.stderr
        );
        self
    }

    /// What the end line counts, by a word of it; it says nothing of what is zero.
    #[track_caller]
    pub(crate) fn count(&self, word: &str) -> u64 {
        let said = match word {
            "windows" => "window",
            "requests" => "request",
            "duplicates" => "duplicate",
            "delivered" | "late" => word,
            "unreadable" => "not",
            _ => panic!("the end line has no {word}"),
        };
        let mut lines = self.stderr.lines().rev();
        let end = lines.find(|line| line.contains(", @devo_pulling_id "));
        let end = end.unwrap_or_else(|| panic!("no end line:\n{}", self.stderr));
        let words: Vec<&str> = end
            .split(' ')
            .map(|found| found.trim_end_matches([',', 's']))
            .collect();
        let at = words.iter().position(|found| *found == said);
        at.map_or(0, |at| words[at - 1].parse().unwrap())
    }
}

/// Whether tests may take their time: `PROOFPULL_ALL_ROUNDS` is set.
pub(crate) fn all_rounds() -> bool {
    std::env::var_os("PROOFPULL_ALL_ROUNDS").is_some()
}

/// How many rounds a loop of faults takes: 20, if not all of them.
pub(crate) fn rounds(all: usize) -> usize {
    if all_rounds() { all } else { all.min(20) }
}

/// The seed of a test: `PROOFPULL_SEED`, or another each time; printed, which a failure shows.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("PROOFPULL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(OffsetDateTime::now_utc().nanosecond()));
    println!("PROOFPULL_SEED={seed}");
    seed
}

/// Runs named cases side by side, some at a time: what they do is mostly to wait.
pub(crate) fn each<T: Send>(
    cases: impl IntoIterator<Item = (String, T)>,
    check: impl Fn(T) + Sync,
) {
    const AT_ONCE: usize = 32;
    let mut cases = cases.into_iter().peekable();
    while cases.peek().is_some() {
        thread::scope(|scope| {
            let check = &check;
            for (name, case) in cases.by_ref().take(AT_ONCE) {
                // a panic says the name of its thread
                let named = thread::Builder::new().name(name);
                named.spawn_scoped(scope, move || check(case)).unwrap();
            }
        });
    }
}

/// A whole second some minutes ago.
pub(crate) fn ago(minutes: i64) -> OffsetDateTime {
    let now = OffsetDateTime::now_utc().truncate_to_second();
    now - time::Duration::minutes(minutes)
}

impl TestEnv {
    /// Puts `count` events of a service, or that name threats, into its API, evenly over the time from `from` up to `to`.
    pub(crate) fn add(&self, service: &str, from: OffsetDateTime, to: OffsetDateTime, count: i32) {
        use std::sync::atomic::{AtomicU64, Ordering};
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        for number in 0..count {
            let created = from + (to - from) * number / count;
            let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
            let mut rng = Rng::new(serial);
            let kind = Kind::of(service);
            if kind == Kind::Isolation {
                let body = crate::simulator::isolation::visit(&mut rng, created, serial);
                self.isolation.add(Event::new(created, body));
                continue;
            }
            if let Kind::People { report } = kind {
                self.tap.add_person(report, serial, created);
                continue;
            }
            if kind == Kind::Campaigns {
                let id = rng.uuid();
                self.tap.update_campaign(&id, serial, created);
                continue;
            }
            let array = match kind {
                Kind::Tap { array, .. } => array,
                _ => "clicksBlocked",
            };
            let make = match array.starts_with("clicks") {
                true => sample::click,
                false => sample::message,
            };
            let body = make(&mut rng, created, serial, "someone@corp.example");
            self.tap.add(array, Event::new(created, body));
        }
    }
}

impl Run {
    /// The error is one line that says all of this, and a hint follows that says the last.
    #[track_caller]
    pub(crate) fn assert_error(&self, status: i32, line: &[&str], hint: &str) -> &Run {
        self.assert_status(status);
        let mut lines = self.stderr.lines().rev();
        let told = lines.next().unwrap_or_default();
        assert!(
            told.starts_with("hint: ") && told.contains(hint),
            "no hint at the end says {hint:?}:\n{}",
            self.stderr
        );
        let error = lines.next().unwrap_or_default();
        let says = |text: &&str| error.contains(*text);
        assert!(
            error.starts_with("proofpull: ") && line.iter().all(says),
            "no error says {line:?}:\n{}",
            self.stderr
        );
        self
    }
}

impl TestEnv {
    /// A world whose receiver is set up with certificates of its own.
    pub(crate) fn with_certs(options: impl FnOnce(&Certs) -> Options) -> TestEnv {
        let dir = tempfile::tempdir().unwrap();
        let certs = dir.path().join("certs");
        std::fs::create_dir(&certs).unwrap();
        let certs = Certs::make(&certs);
        let options = options(&certs);
        TestEnv::of(dir, options, Tap::start(), certs)
    }

    /// Returns when all connections of the receiver have ended, so that it has what it will have.
    pub(crate) fn settled(&self) {
        let over = || {
            let connections = self.devo.connections();
            connections
                .iter()
                .all(|connection| connection.ended != Ended::StillOpen)
        };
        wait_until(over, "the end of the connections");
    }

    /// Kills a run; how many events may come again for that.
    pub(crate) fn kill(&self, mut run: Running) -> usize {
        let over = run.is_over();
        drop(run);
        if over { 0 } else { self.unconfirmed() }
    }

    /// How many events may come again after a run whose connections began with this number: those of
    /// the newest connection if it failed, and of each after which it began once more, by a proof.
    pub(crate) fn unconfirmed_from(&self, first: usize, has_failed: bool) -> usize {
        self.settled();
        let connections = self.devo.connections();
        let run = connections.iter().filter(|report| report.number >= first);
        // not those that were made ahead in vain
        let run = run.filter(|report| report.lines > 0 || !report.is_beside);
        let lines: Vec<usize> = run.map(|report| report.lines).collect();
        let before_proofs = lines.windows(2).filter(|pair| pair[1] == 0);
        let last = lines.last().filter(|_| has_failed);
        before_proofs.map(|pair| pair[0]).sum::<usize>() + last.unwrap_or(&0)
    }

    /// How many events came by the newest connection that brought any, once all have ended: after a run that
    /// failed or was killed no more than these may come again. One behind it may have been made ahead.
    pub(crate) fn unconfirmed(&self) -> usize {
        self.settled();
        let connections = self.devo.connections();
        let newest = connections.iter().rfind(|one| one.lines > 0);
        newest.map_or(0, |connection| connection.lines)
    }
}

/// Plays `rounds(all)` rounds, eight side by side, each with a chance of its own.
pub(crate) fn play(all: usize, round: impl Fn(&mut Rng) + Sync) {
    const LANES: usize = 8;
    let seed = seed();
    let lanes = (0..LANES).map(|lane| (format!("lane {lane}"), lane));
    each(lanes, |lane| {
        for number in (lane..rounds(all)).step_by(LANES) {
            let rng = Rng::new(seed.wrapping_add(number as u64));
            each([(format!("round {number}"), rng)], |mut rng| {
                round(&mut rng);
            });
        }
    });
}

/// A file system of its own, unmounted when it is dropped.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// One of 64 KiB in an empty folder; `None`, and said, where mounting is not allowed.
    pub(crate) fn small(dir: &Path) -> Option<Mounted> {
        std::fs::create_dir_all(dir).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k,mode=700", "none"]);
        let mounted = mount.arg(dir).stderr(Stdio::null()).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Mounted(dir.to_owned()));
        }
        println!("skipped: nothing may be mounted here");
        None
    }

    /// Leaves room for so many pages; returns the file that takes all the other.
    pub(crate) fn fill(&self, pages_left: u64) -> PathBuf {
        let path = self.0.join("filling");
        let mut file = std::fs::File::create(&path).unwrap();
        let written = std::io::copy(&mut std::io::repeat(0), &mut file);
        assert!(written.is_err(), "it is full");
        let length = file.metadata().unwrap().len();
        file.set_len(length - pages_left * 4096).unwrap();
        path
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // the test that failed may have left a run behind
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

impl Running {
    /// One that was started otherwise; what is not piped cannot be read.
    pub(crate) fn of(mut child: Child) -> Running {
        let stdout = child.stdout.take().map(read_all);
        let stderr = child.stderr.take().map(read_all);
        Running {
            child,
            stdout,
            stderr,
        }
    }
}

/// Makes a script that holds up the request with this number until it is let go.
pub(crate) fn hold(tap: &Tap, number: usize) -> Held {
    let held = Held(std::sync::Arc::default());
    let gate = held.0.clone();
    tap.script(move |_, asked| {
        if asked == number {
            gate.0.store(true, SeqCst);
            wait_until(|| gate.1.load(SeqCst), "the test to let a request go");
        }
        None
    });
    held
}

/// A request that is held up; let go when dropped.
pub(crate) struct Held(std::sync::Arc<(AtomicBool, AtomicBool)>);

impl Held {
    /// Returns once it is there.
    pub(crate) fn wait(&self) {
        wait_until(|| self.is_there(), "a request");
    }

    /// Whether it is there.
    pub(crate) fn is_there(&self) -> bool {
        self.0.0.load(SeqCst)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.1.store(true, SeqCst);
    }
}
