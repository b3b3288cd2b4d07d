//! Receivers that others made: rsyslog with either of its TLS drivers, syslog-ng, and small ones on the TLS
//! of OpenSSL, Node and Java.
//!
//! `.ci/run` unpacks the loggers and names their folder in `PROOFPULL_RECEIVERS`; one that is missing is a
//! failure then, and so are OpenSSL and Node. Elsewhere those that the machine has are used, and what is
//! missing is skipped.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration as Wait;

use crate::simulator::{Event, Line, Rng, wait_until, wait_within};
use crate::test_env::{Run, Running, TestEnv, ago, array, each, seed};

const SERVICE: &str = "tap-messages-delivered";
const EVENTS: usize = 20_000;

/// A program that receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    RsyslogOpenSsl,
    RsyslogGnuTls,
    SyslogNg,
    /// `openssl s_server`.
    OpenSsl,
    Node,
    Java,
}

const KINDS: [Kind; 6] = [
    Kind::RsyslogOpenSsl,
    Kind::RsyslogGnuTls,
    Kind::SyslogNg,
    Kind::OpenSsl,
    Kind::Node,
    Kind::Java,
];

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Kind::SyslogNg => "usr/sbin/syslog-ng",
            Kind::RsyslogOpenSsl | Kind::RsyslogGnuTls => "usr/sbin/rsyslogd",
            Kind::OpenSsl => "openssl",
            Kind::Node => "node",
            Kind::Java => "java",
        }
    }

    /// For those that any folder of `PATH` may have: the words by which one says what it can do, and a
    /// word that it must say.
    fn on_the_path(self) -> Option<(&'static str, &'static str)> {
        match self {
            Kind::OpenSsl => Some(("version", "OpenSSL")),
            Kind::Node => Some(("--version", "v")),
            // what runs a source file
            Kind::Java => Some(("--list-modules", "jdk.compiler")),
            _ => None,
        }
    }

    /// How often it is stopped in mid-stream: some take long to start.
    fn restarts(self) -> usize {
        match self {
            Kind::Java => 3,
            _ => 20,
        }
    }

    /// What it loads besides: the folder in `usr/lib` or in one of its folders, and the file.
    fn module(self) -> (&'static str, &'static str) {
        match self {
            Kind::RsyslogOpenSsl => ("rsyslog", "lmnsd_ossl.so"),
            Kind::RsyslogGnuTls => ("rsyslog", "lmnsd_gtls.so"),
            _ => ("syslog-ng", "libafsocket.so"),
        }
    }

    /// What it runs or reads, and the name of that file.
    fn template(self) -> (&'static str, &'static str) {
        match self {
            Kind::SyslogNg => ("conf", include_str!("syslog-ng.conf")),
            Kind::RsyslogOpenSsl | Kind::RsyslogGnuTls => ("conf", include_str!("rsyslog.conf")),
            Kind::OpenSsl => ("none", ""),
            Kind::Node => ("receiver.js", include_str!("receiver.js")),
            Kind::Java => ("Receiver.java", include_str!("Receiver.java")),
        }
    }

    /// The setting for one version of TLS, as the program writes it.
    fn version(self, version: &str) -> String {
        let other = if version == "1.2" { "3" } else { "2" };
        match self {
            Kind::RsyslogOpenSsl => {
                format!("MinProtocol=TLSv{version}\\nMaxProtocol=TLSv{version}")
            }
            Kind::RsyslogGnuTls => format!("NORMAL:-VERS-ALL:+VERS-TLS{version}"),
            Kind::SyslogNg => format!("no-sslv2, no-sslv3, no-tlsv1, no-tlsv11, no-tlsv1{other}"),
            Kind::OpenSsl => format!("-tls{}", version.replace('.', "_")),
            Kind::Node | Kind::Java => version.to_owned(),
        }
    }
}

/// Where a program and its modules are.
#[derive(Debug, Clone)]
struct Installed {
    kind: Kind,
    root: PathBuf,
    modules: PathBuf,
}

impl Installed {
    /// `None`, and said, where it is not and need not be.
    fn find(kind: Kind) -> Option<Installed> {
        let unpacked = std::env::var_os("PROOFPULL_RECEIVERS").map(PathBuf::from);
        if let Some((word, said)) = kind.on_the_path() {
            let program = kind.program();
            let answer = Command::new(program).arg(word).output();
            let is_there =
                answer.is_ok_and(|answer| String::from_utf8_lossy(&answer.stdout).contains(said));
            if !is_there {
                let why = format!("{program} {word} does not say {said}");
                assert!(unpacked.is_none() || kind == Kind::Java, "{why}");
                println!("skipped {kind:?}: {why}");
            }
            return is_there.then(|| Installed {
                kind,
                root: PathBuf::new(),
                modules: PathBuf::new(),
            });
        }
        let root = unpacked.clone().unwrap_or_else(|| "/".into());
        let (folder, file) = kind.module();
        let libraries = root.join("usr/lib");
        let entries = std::fs::read_dir(&libraries)
            .into_iter()
            .flatten()
            .flatten();
        let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path().join(folder)).collect();
        let own = std::fs::read_dir(libraries.join(folder))
            .into_iter()
            .flatten()
            .flatten();
        folders.extend(own.map(|entry| entry.path()));
        let modules = folders
            .into_iter()
            .find(|folder| folder.join(file).exists());
        match modules.filter(|_| root.join(kind.program()).exists()) {
            Some(modules) => Some(Installed {
                kind,
                root,
                modules,
            }),
            None => {
                let why = format!(
                    "{} with {file} is not in {}",
                    kind.program(),
                    root.display()
                );
                assert!(unpacked.is_none(), "{why}");
                println!("skipped {kind:?}: {why}");
                None
            }
        }
    }
}

/// One that runs, with a folder and a port of its own; killed when dropped.
struct Receiver {
    installed: Installed,
    dir: PathBuf,
    /// The setting for the version of TLS, and the files of our certificates.
    words: [String; 4],
    port: u16,
    running: Option<Running>,
}

impl Receiver {
    /// Starts one that speaks this version of TLS, and lets the world's program deliver to it.
    fn start(installed: &Installed, version: &str, env: &mut TestEnv) -> Receiver {
        let dir = env.dir.path().join("receiver");
        std::fs::create_dir(&dir).unwrap();
        let mut receiver = Receiver {
            installed: installed.clone(),
            dir,
            words: [
                installed.kind.version(version),
                env.certs.ca().display().to_string(),
                env.certs.server_cert().display().to_string(),
                env.certs.server_key().display().to_string(),
            ],
            port: 0,
            running: None,
        };
        // another program may have taken the port since it was found free
        for _ in 0..20 {
            receiver.port = free_port(&mut Rng::new(seed()));
            receiver.configure();
            if receiver.run() {
                break;
            }
        }
        assert!(
            receiver.running.is_some(),
            "it does not start: {}",
            receiver.said()
        );
        let simulated = format!("address = {:?}", env.devo.address());
        let real = format!("address = \"localhost:{}\"", receiver.port);
        env.devo_table = env.devo_table.replace(&simulated, &real);
        env.devo_table += "pulling_id = false\n";
        receiver
    }

    fn configure(&self) {
        let kind = self.installed.kind;
        let driver = if kind == Kind::RsyslogOpenSsl {
            "ossl"
        } else {
            "gtls"
        };
        let [version, ca, cert, key] = &self.words;
        let values = [
            ("DIR", &self.dir.display().to_string()),
            ("CA", ca),
            ("CERT", cert),
            ("KEY", key),
            ("DRIVER", &driver.to_owned()),
            ("VERSION", version),
            ("PORT", &self.port.to_string()),
        ];
        let (name, text) = kind.template();
        let mut text = text.to_owned();
        for (name, value) in values {
            text = text.replace(&format!("@{name}@"), value);
        }
        std::fs::write(self.dir.join(name), text).unwrap();
    }

    /// Starts the program; whether it came to listen.
    fn run(&mut self) -> bool {
        let Installed {
            kind,
            root,
            modules,
        } = &self.installed;
        let file = |name: &str| self.dir.join(name);
        let mut command = Command::new(root.join(kind.program()));
        // s_server goes on only while its own input does
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        match kind {
            Kind::SyslogNg => {
                let libraries = modules.parent().unwrap();
                command.env("LD_LIBRARY_PATH", libraries);
                command.args(["--foreground", "--stderr", "--no-caps"]);
                command.arg("--module-path").arg(modules);
                command.arg("--cfgfile").arg(file("conf"));
                command.arg("--persist-file").arg(file("persist"));
                command.arg("--control").arg(file("control"));
                command.arg("--pidfile").arg(file("pid"));
            }
            Kind::OpenSsl => {
                let [version, ca, cert, key] = &self.words;
                command.args(["s_server", "-quiet", "-verify_quiet", version]);
                command.args(["-Verify", "1", "-verify_return_error", "-CAfile", ca]);
                command.args(["-cert", cert, "-key", key]);
                command.args(["-accept", &format!("127.0.0.1:{}", self.port)]);
                let received = File::options()
                    .append(true)
                    .create(true)
                    .open(file("received"));
                command.stdout(received.unwrap());
            }
            Kind::Node | Kind::Java => {
                let (name, _) = kind.template();
                let [version, ca, cert, key] = &self.words;
                // its best compiler makes a start twice as long
                command.args((*kind == Kind::Java).then_some("-XX:TieredStopAtLevel=1"));
                command
                    .arg(file(name))
                    .arg(self.port.to_string())
                    .arg(version);
                command.arg(file("received")).args([ca, cert, key]);
            }
            Kind::RsyslogOpenSsl | Kind::RsyslogGnuTls => {
                command.arg("-n").arg("-M").arg(modules);
                command.arg("-f").arg(file("conf"));
                command.arg("-i").arg(file("pid"));
            }
        }
        let mut running = Running::of(command.spawn().unwrap());
        let mut over = false;
        let mut listens = || {
            over = running.is_over();
            over || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
        };
        // a small machine that does much else takes more than a minute to start Java
        wait_within(Wait::from_secs(300), &mut listens, "the receiver to listen");
        match over {
            false => self.running = Some(running),
            true => println!("{}", running.wait().stderr),
        }
        !over
    }

    /// Stops the program as a restart of its service does: in good order, but for the small ones, which
    /// die in the middle of it.
    fn stop(&mut self) {
        let running = self.running.take().expect("it runs");
        running.signal("TERM");
        running.wait();
        // a small one stores bytes, and the next line must not begin behind one that was cut off
        if self.installed.kind.on_the_path().is_some() && !self.stored().ends_with(b"\n") {
            let mut file = File::options()
                .append(true)
                .open(self.dir.join("received"))
                .unwrap();
            file.write_all(b"\n").unwrap();
        }
    }

    /// What it says of itself, for a failure.
    fn said(&self) -> String {
        std::fs::read_to_string(self.dir.join("said")).unwrap_or_default()
    }

    /// How many bytes it has stored.
    fn size(&self) -> u64 {
        std::fs::metadata(self.dir.join("received")).map_or(0, |file| file.len())
    }

    fn stored(&self) -> Vec<u8> {
        std::fs::read(self.dir.join("received")).unwrap_or_default()
    }
}

/// A free port that the system gives to nobody by itself, so that it stays free in a restart.
pub(crate) fn free_port(rng: &mut Rng) -> u16 {
    loop {
        let port = 20_000 + u16::try_from(rng.below(10_000)).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Puts [`EVENTS`] events into TAP, evenly over some hours, and returns them. One in 400 has 70 kB.
fn fill(env: &mut TestEnv, hours: i64) -> Vec<Vec<u8>> {
    let (from, to) = (ago(hours * 60), ago(2));
    let events: Vec<Vec<u8>> = (0..EVENTS).map(event).collect();
    for (serial, event) in events.iter().enumerate() {
        let created = from + (to - from) * serial as f64 / EVENTS as f64;
        env.tap
            .add(array(SERVICE), Event::new(created, event.as_slice()));
    }
    env.start_at(from);
    events
}

fn event(serial: usize) -> Vec<u8> {
    const SUBJECTS: [&str; 5] = [
        "Invoice 4711 is overdue",
        "Überfällige Rechnung – bitte prüfen",
        "未払いの請求書 🧾",
        r#"quoted \"twice\" and \\ a \t tab, \u00e9"#,
        "<14>2026-01-01 00:00:00.000 no.header: 1 %msg% $MSG",
    ];
    let subject = SUBJECTS[serial % SUBJECTS.len()];
    let subject = match serial % 400 {
        7 => subject.repeat(70_000 / subject.len()),
        _ => subject.to_owned(),
    };
    let filling = "x".repeat(serial * 37 % 900);
    format!(
        r#"{{"id":"i{serial}","GUID":"g{serial}","subject":"{subject}","recipient":["ä@corp.example"], "spam": 1.0,"threatsInfoMap":[ ],"filling":"{filling}","serial":{serial}}}"#
    )
    .into_bytes()
}

/// How often each event is among the lines, byte for byte; and what is no event, but may be the
/// start of one that was cut off with its connection.
fn count(stored: &[u8], events: &[Vec<u8>]) -> (Vec<usize>, Vec<Vec<u8>>) {
    let serials: HashMap<&[u8], usize> = events
        .iter()
        .enumerate()
        .map(|(serial, event)| (event.as_slice(), serial))
        .collect();
    let (mut counts, mut cut) = (vec![0; events.len()], Vec::new());
    let lines = stored.split(|&byte| byte == b'\n');
    for line in lines.filter(|line| !line.is_empty()) {
        let known = line
            .ends_with(b"}")
            .then(|| serials.get(Line::of(line).json))
            .flatten();
        match known {
            Some(&serial) => counts[serial] += 1,
            None => cut.push(line.to_owned()),
        }
    }
    (counts, cut)
}

fn installed() -> impl Iterator<Item = Installed> {
    KINDS.into_iter().filter_map(Installed::find)
}

#[test]
fn real_receivers_get_every_event_once_and_byte_for_byte() {
    let libraries = match cfg!(feature = "native-tls") {
        true => &["rustls", "native-tls"][..],
        false => &["rustls"],
    };
    let ways = libraries
        .iter()
        .flat_map(|library| ["1.2", "1.3"].map(|version| (*library, version)));
    let ways = installed().flat_map(|found| {
        let ways = ways.clone();
        ways.map(move |(library, version)| (found.clone(), library, version))
    });
    let named = ways.map(|way| (format!("{:?} TLS {} by {}", way.0.kind, way.2, way.1), way));
    each(named, |(installed, library, version)| {
        let mut env = TestEnv::new();
        env.devo_table += &format!("tls = {library:?}\n");
        let events = fill(&mut env, 3);
        let mut receiver = Receiver::start(&installed, version, &mut env);
        let run = env.run(SERVICE, &["-vv"]);
        run.assert_status(0).assert_says("caught up");
        assert_eq!(run.count("delivered"), EVENTS as u64);
        if library == "rustls" {
            let spoken = format!("TLSv{}", version.replace('.', "_"));
            run.assert_says(&spoken);
        }
        if installed.kind.on_the_path().is_some() {
            let learnt = &env.state(SERVICE)["receiver"]["sends_close_notify"];
            assert_eq!(learnt, true, "a close without close_notify");
        }
        receiver.stop();
        let (counts, cut) = count(&receiver.stored(), &events);
        let wrong: Vec<_> = counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count != 1)
            .collect();
        assert!(
            wrong.is_empty() && cut.is_empty(),
            "{wrong:?}, {}: {}",
            cut.len(),
            receiver.said()
        );
    });
}

#[test]
fn a_real_receiver_restarted_in_mid_stream_misses_nothing() {
    const HOURS: i64 = 40;
    let most_unconfirmed = EVENTS / HOURS as usize + 1;
    let seed = seed();
    let named = installed().map(|found| (format!("{:?}", found.kind), found));
    each(named, |installed| {
        let rng = &mut Rng::new(seed);
        let mut env = TestEnv::new();
        let version = *rng.pick(&["1.2", "1.3"]);
        let events = fill(&mut env, HOURS);
        // no more events than a window has
        env.most_unconfirmed = Some(250_000);
        let mut receiver = Receiver::start(&installed, version, &mut env);
        let stored = |receiver: &Receiver| count(&receiver.stored(), &events);
        let (mut before, mut failed) = (0, 0);
        let mut run = env.start(SERVICE, &[]);
        for _ in 0..installed.kind.restarts() {
            let size = receiver.size() + 1 + rng.bits() % 500_000;
            wait_until(|| receiver.size() >= size || run.is_over(), "some events");
            sleep(Wait::from_micros(rng.bits() % 30_000));
            receiver.stop();
            assert!(
                receiver.run(),
                "it does not start again: {}",
                receiver.said()
            );
            // the run may have found it listening again, or notice later
            if run.is_over() {
                let ended = run.wait();
                assert!(broke(&ended), "{}", ended.stderr);
                let arrived = stored(&receiver).0.iter().sum::<usize>();
                let unconfirmed = arrived - before - ended.count("delivered") as usize;
                // a run that began once more may have met two restarts
                let breaks = 1 + ended.stderr.matches("the run begins once more").count();
                assert!(
                    unconfirmed <= breaks * most_unconfirmed,
                    "{unconfirmed}: {}",
                    ended.stderr
                );
                (before, failed) = (arrived, failed + 1);
                run = env.start(SERVICE, &[]);
            }
        }
        let mut last = run.wait();
        while broke(&last) {
            last = env.run(SERVICE, &[]);
        }
        last.assert_status(0).assert_says("caught up");
        receiver.stop();
        let (counts, cut) = stored(&receiver);
        let lost: Vec<_> = counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count == 0)
            .collect();
        assert!(lost.is_empty(), "lost {lost:?}: {}", receiver.said());
        // what the end of a connection has cut off came again as a whole
        let strange = cut.iter().find(|line| !is_cut(line, &events));
        assert!(
            strange.is_none(),
            "{:?}",
            strange.map(|line| String::from_utf8_lossy(line))
        );
        println!(
            "{:?}: {failed} runs failed, {} came again, {} cut",
            installed.kind,
            counts.iter().sum::<usize>() - EVENTS,
            cut.len()
        );
    });
}

/// Whether a run ended because its receiver was away: in mid-transaction, or for longer than it tries.
fn broke(run: &Run) -> bool {
    matches!(run.status, Some(69 | 74))
}

/// Whether a line is the start of one with an event in it.
fn is_cut(line: &[u8], events: &[Vec<u8>]) -> bool {
    match memchr::memmem::find(line, b": {") {
        Some(head) => events
            .iter()
            .any(|event| event.starts_with(&line[head + 2..])),
        None => line.len() < 100 && line.starts_with(b"<"),
    }
}
