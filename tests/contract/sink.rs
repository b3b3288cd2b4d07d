//! The contract of a sink: one suite, run for every row of the table of receivers.
//!
//! A new sink adds its row here, with an adapter to a receiver of its kind where none of these fits.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration as Wait, Instant};

use time::Duration;

use crate::simulator::{Behaviour, Event, Options, Versions, sample, wait_until};
use crate::test_env::{Run, Running, TestEnv, ago, array, each, hold};

const ROWS: &[(&str, &dyn Adapter)] = &[
    (
        "Devo over TLS 1.3",
        &Devo(Versions::Tls13, Behaviour::Normal, RUSTLS),
    ),
    (
        "Devo over TLS 1.2",
        &Devo(Versions::Tls12, Behaviour::Normal, RUSTLS),
    ),
    // as rsyslog with GnuTLS
    (
        "without close_notify",
        &Devo(Versions::Both, Behaviour::NoGoodbye, RUSTLS),
    ),
    (
        "never closing, acknowledged",
        &Devo(Versions::Both, Behaviour::NeverClose, RUSTLS),
    ),
    #[cfg(feature = "native-tls")]
    (
        "OpenSSL, TLS 1.3",
        &Devo(Versions::Tls13, Behaviour::Normal, OPENSSL),
    ),
    #[cfg(feature = "native-tls")]
    (
        "OpenSSL, TLS 1.2, without close_notify",
        &Devo(Versions::Tls12, Behaviour::NoGoodbye, OPENSSL),
    ),
    #[cfg(feature = "native-tls")]
    (
        "OpenSSL, never closing, acknowledged",
        &Devo(Versions::Both, Behaviour::NeverClose, OPENSSL),
    ),
    ("Devo with gzip", &Packed),
    ("a pipe", &Pipe),
    ("a file", &IntoFile),
];

const SERVICE: &str = "tap-messages-delivered";
/// Events of a window.
const WINDOW: usize = 100;
/// About so many bytes they are, and a transaction: more than three pipes hold.
const WINDOW_BYTES: usize = 215_000;
/// A run that is to end may take this long, whatever the receiver does.
const END: Wait = Wait::from_secs(15);

/// What the suite needs to know of a receiver.
trait Adapter: Sync {
    /// A world whose program delivers there.
    fn env(&self) -> TestEnv {
        TestEnv::new()
    }
    /// Starts a run, to a receiver that does as it should.
    fn start(&self, subject: &Subject) -> Running;
    /// The run is over; what came of it is for the receiver.
    fn over(&self, _: &Subject, _: &Run) {}
    /// Runs to its end, with a receiver of this mood.
    fn meet(&self, subject: &mut Subject, mood: Mood) -> Run;
    /// How that run ends; `None` where no receiver of this kind can be of this mood.
    fn status(&self, mood: Mood) -> Option<i32>;
    /// What has arrived up to now, a line for each event.
    fn arrived(&self, subject: &Subject) -> Vec<Vec<u8>>;
}

/// What a receiver may do. Transactions are counted from 0, without the proof at the start of a run.
#[derive(Debug, Clone, Copy)]
enum Mood {
    /// In this transaction it takes so many bytes, and then the connection breaks.
    BreaksIn(usize, usize),
    /// In this transaction it takes so many bytes, and then ends the connection in good order.
    ClosesIn(usize, usize),
    /// The same, but it goes on to read, and throws away what it reads.
    ClosesAndDrainsIn(usize, usize),
    /// It takes everything and confirms nothing.
    ConfirmsNothing,
    /// It takes nothing, ever.
    TakesNothing,
}
use Mood::{BreaksIn, ClosesAndDrainsIn, ClosesIn, ConfirmsNothing, TakesNothing};

/// A receiver in a world of its own.
struct Subject {
    adapter: &'static dyn Adapter,
    env: TestEnv,
}

impl Subject {
    fn run(&self) -> Run {
        self.wait(self.adapter.start(self))
    }

    fn wait(&self, run: Running) -> Run {
        let run = run.wait();
        self.adapter.over(self, &run);
        run
    }

    fn meet(&mut self, mood: Mood) -> Run {
        let adapter = self.adapter;
        adapter.meet(self, mood)
    }

    /// Three windows of events.
    fn fill(&mut self) {
        self.env.most_unconfirmed = Some(WINDOW_BYTES as u64);
        let start = ago(170);
        self.env.start_at(start);
        for window in 0..3 {
            let from = start + Duration::hours(window);
            let to = (from + Duration::HOUR).min(ago(3));
            self.env.add(SERVICE, from, to, WINDOW as i32);
        }
    }

    /// How often each event has arrived.
    fn counts(&self) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        for line in self.adapter.arrived(self) {
            *counts.entry(sample::serial_of(&line).unwrap()).or_default() += 1;
        }
        counts
    }

    /// Every event has arrived; how many came more than once.
    fn repeated(&self) -> usize {
        let counts = self.counts();
        let wanted = self.env.tap.serials(array(SERVICE));
        assert!(
            counts.keys().eq(wanted.keys()),
            "{} of {}",
            counts.len(),
            wanted.len()
        );
        counts.values().map(|count| count - 1).sum()
    }

    /// How many events have arrived that `run` does not count as delivered.
    fn unconfirmed(&self, run: &Run) -> usize {
        self.adapter.arrived(self).len() - run.count("delivered") as usize
    }

    /// The rest arrives, and nothing that was there but what was not confirmed.
    fn assert_goes_on(&self, unconfirmed: usize) {
        self.run().assert_status(0);
        assert_eq!(self.repeated(), unconfirmed, "came again");
        assert_eq!(self.run().assert_status(0).count("delivered"), 0);
    }

    /// Whether a run has committed events.
    fn has_committed(&self) -> bool {
        let names = [SERVICE.to_owned(), format!("{SERVICE}.stdout")];
        names.iter().any(|name| {
            let file = self.env.state_dir().join(format!("{name}.json"));
            file.exists() && self.env.state(name)["identities"]["length"] != 0
        })
    }

    /// The file into which, or beside which, events go.
    fn out(&self) -> PathBuf {
        self.env.dir.path().join("out")
    }

    /// A run that writes events to standard output.
    fn command(&self) -> Command {
        let mut command = self.env.command(SERVICE);
        command.arg("--stdout");
        command
    }
}

/// Runs a part of the suite for every row, as often as there are cases.
fn check<T: Send + Sync + Copy>(
    cases: impl IntoIterator<Item = (String, T)>,
    of: impl Fn(Subject, T) + Sync,
) {
    let cases: Vec<(String, T)> = cases.into_iter().collect();
    let all = ROWS.iter().flat_map(|(name, adapter)| {
        let named = move |(case, value): &(String, T)| {
            let name = format!("{name}: {case}");
            (name, (*adapter, *value))
        };
        cases.iter().map(named).collect::<Vec<_>>()
    });
    each(all.collect::<Vec<_>>(), |(adapter, case)| {
        let env = adapter.env();
        of(Subject { adapter, env }, case);
    });
}

fn once() -> [(String, ()); 1] {
    [(String::new(), ())]
}

#[test]
fn every_event_arrives_once_and_in_order() {
    check(once(), |mut subject, ()| {
        const EACH: u64 = 2000;
        subject.env.start_at(ago(119));
        subject.env.tap.set_flood(EACH, 500);
        let run = subject.run();
        assert_eq!(run.assert_status(0).count("delivered"), EACH * 2);
        let arrived = subject.adapter.arrived(&subject);
        let serials = arrived.iter().map(|line| sample::serial_of(line).unwrap());
        assert!(serials.eq(0..EACH * 2), "not all, or not in order");
    });
}

#[test]
fn after_whatever_the_receiver_did_only_the_unconfirmed_comes_again() {
    let places = [(0, 0), (0, 1), (0, 50_000), (1, 50_000), (2, 100_000)];
    let breaking = [BreaksIn, ClosesIn, ClosesAndDrainsIn].into_iter();
    let moods = breaking.flat_map(|mood| places.map(|(number, bytes)| mood(number, bytes)));
    let moods = moods.chain([ConfirmsNothing]);
    let named = moods.map(|mood| (format!("{mood:?}"), mood));
    check(named, |mut subject, mood| {
        let Some(status) = subject.adapter.status(mood) else {
            return;
        };
        subject.fill();
        let run = subject.meet(mood);
        // under load it may close only once the program has said goodbye, as at any end
        let closes_early = matches!(mood, ClosesIn(..) | ClosesAndDrainsIn(..));
        if status == 74 && closes_early && run.status == Some(0) {
            assert_eq!(subject.repeated(), 0);
            return;
        }
        match status {
            0 => run.assert_status(0),
            _ => run.assert_error(status, &[], ""),
        };
        let unconfirmed = subject.unconfirmed(&run);
        subject.assert_goes_on(unconfirmed);
    });
}

#[test]
fn a_receiver_that_never_takes_anything_ends_the_run_and_gets_all_later() {
    check(once(), |mut subject, ()| {
        subject.fill();
        let run = subject.meet(TakesNothing);
        run.assert_status(subject.adapter.status(TakesNothing).unwrap());
        assert_eq!(subject.adapter.arrived(&subject).len(), 0);
        subject.assert_goes_on(0);
    });
}

#[test]
fn a_huge_event_arrives_byte_for_byte_among_small_ones() {
    check(once(), |mut subject, ()| {
        subject.fill();
        let huge = format!(
            r#"{{ "z":1.0,"a":"é\u00e9","x":"{}","messageID":"<serial.77777777@x>" }}"#,
            "ä".repeat(8 * 1024 * 1024)
        );
        let event = Event::new(ago(30), huge.as_str());
        subject.env.tap.add(array(SERVICE), event);
        subject.run().assert_status(0);
        assert_eq!(subject.repeated(), 0);
        let arrived = subject.adapter.arrived(&subject);
        let is_huge = |line: &&Vec<u8>| sample::serial_of(line) == Some(77_777_777);
        let found = arrived.iter().find(is_huge).unwrap();
        assert!(found == huge.as_bytes(), "it was changed");
    });
}

#[test]
fn a_transaction_without_events_sends_nothing() {
    check(once(), |mut subject, ()| {
        subject.env.start_at(ago(60));
        for _ in 0..2 {
            assert_eq!(subject.run().assert_status(0).count("delivered"), 0);
        }
        assert!(subject.adapter.arrived(&subject).is_empty());
        subject.env.add(SERVICE, ago(30), ago(3), 5);
        subject.assert_goes_on(0);
    });
}

#[test]
fn stopped_by_a_signal_or_killed_behind_a_commit_nothing_comes_again() {
    let signals = ["TERM", "INT", "KILL"].map(|signal| (signal.to_owned(), signal));
    check(signals, |mut subject, signal| {
        subject.fill();
        subject.env.most_unconfirmed = None;
        let held = hold(&subject.env.tap, 1);
        let run = subject.adapter.start(&subject);
        held.wait();
        if signal == "KILL" {
            wait_until(|| subject.has_committed(), "a commit in the wait");
        }
        run.signal(signal);
        let signalled = Instant::now();
        let run = subject.wait(run);
        assert!(signalled.elapsed() < END, "{:?}", signalled.elapsed());
        drop(held);
        subject.env.tap.no_script();
        if signal == "KILL" {
            assert_eq!(run.status, None);
        } else {
            run.assert_status(0).assert_says("stopped by a signal");
            assert_eq!(run.count("delivered"), WINDOW as u64);
        }
        assert_eq!(subject.adapter.arrived(&subject).len(), WINDOW);
        subject.assert_goes_on(0);
    });
}

/// What speaks TLS in the program.
const RUSTLS: &str = "rustls";
#[cfg(feature = "native-tls")]
const OPENSSL: &str = "native-tls";

/// The receiver of the simulator: what it speaks, how it behaves when all goes well, and what speaks with it.
struct Devo(Versions, Behaviour, &'static str);

impl Devo {
    fn only_acknowledges(&self) -> bool {
        self.1 == Behaviour::NeverClose
    }

    fn behave_well(&self, subject: &Subject) {
        let well = self.1.clone();
        subject.env.devo.behave(move |_| well.clone());
    }
}

impl Adapter for Devo {
    fn env(&self) -> TestEnv {
        let mut env = TestEnv::with(Options {
            versions: self.0,
            ..Options::default()
        });
        env.devo_table += &format!("pulling_id = false\ntls = {:?}\n", self.2);
        if self.only_acknowledges() {
            env.devo_table += "confirm = \"acknowledged\"\n";
        }
        env
    }

    fn start(&self, subject: &Subject) -> Running {
        self.behave_well(subject);
        subject.env.start(SERVICE, &[])
    }

    fn meet(&self, subject: &mut Subject, mood: Mood) -> Run {
        let (transaction, behaviour) = match mood {
            BreaksIn(number, bytes) => (Some(number), Behaviour::ResetAfter(bytes)),
            ClosesIn(number, bytes) => (Some(number), Behaviour::CloseAfter(bytes)),
            ClosesAndDrainsIn(number, bytes) => {
                (Some(number), Behaviour::CloseAfterAndDrain(bytes))
            }
            ConfirmsNothing => (Some(0), Behaviour::NeverClose),
            TakesNothing => (None, Behaviour::Silent),
        };
        // the first connection is the proof
        let bad = transaction.map_or(0, |number| number + 1);
        let well = self.1.clone();
        let breaks = matches!(mood, BreaksIn(..) | ClosesIn(..) | ClosesAndDrainsIn(..));
        subject.env.devo.behave(move |number| match number {
            _ if number < bad => well.clone(),
            // where the run begins once more, it meets a second failure
            _ if number > bad && breaks => Behaviour::ResetAfter(0),
            _ => behaviour.clone(),
        });
        let table = subject.env.http_table.clone();
        if matches!(mood, ConfirmsNothing | TakesNothing) {
            subject.env.http_table = "timeout = \"1s\"\n".into();
        }
        let run = subject.env.run(SERVICE, &[]);
        subject.env.http_table = table;
        subject.env.settled();
        run
    }

    fn status(&self, mood: Mood) -> Option<i32> {
        match mood {
            TakesNothing => Some(69),
            // its kernel acknowledges what its program does not read
            ConfirmsNothing if self.only_acknowledges() => None,
            // one that never says goodbye does not do so early
            ClosesIn(..) | ClosesAndDrainsIn(..) if self.1 == Behaviour::NoGoodbye => None,
            _ => Some(74),
        }
    }

    fn arrived(&self, subject: &Subject) -> Vec<Vec<u8>> {
        subject.env.devo.events()
    }
}

/// The receiver of the simulator, to which records go as gzip members.
struct Packed;

impl Packed {
    const INSIDE: Devo = Devo(Versions::Both, Behaviour::Normal, RUSTLS);
}

impl Adapter for Packed {
    fn env(&self) -> TestEnv {
        let mut env = Packed::INSIDE.env();
        env.devo_table += "compression = \"gzip\"\n";
        env
    }

    fn start(&self, subject: &Subject) -> Running {
        Packed::INSIDE.start(subject)
    }

    fn meet(&self, subject: &mut Subject, mood: Mood) -> Run {
        // so many bytes are on the wire
        let packed = |bytes| bytes / 10;
        Packed::INSIDE.meet(
            subject,
            match mood {
                BreaksIn(number, bytes) => BreaksIn(number, packed(bytes)),
                ClosesIn(number, bytes) => ClosesIn(number, packed(bytes)),
                ClosesAndDrainsIn(number, bytes) => ClosesAndDrainsIn(number, packed(bytes)),
                other => other,
            },
        )
    }

    fn status(&self, mood: Mood) -> Option<i32> {
        Packed::INSIDE.status(mood)
    }

    fn arrived(&self, subject: &Subject) -> Vec<Vec<u8>> {
        Packed::INSIDE.arrived(subject)
    }
}

/// A program that reads standard output.
struct Pipe;

impl Pipe {
    fn start(subject: &Subject) -> (Running, ChildStdout) {
        let mut command = subject.command();
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = piped.stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        (Running::of(child), stdout)
    }

    /// Reads so many transactions and so many bytes more.
    fn read(out: ChildStdout, transactions: usize, bytes: usize) -> (Vec<u8>, ChildStdout) {
        let mut reader = BufReader::with_capacity(256, out);
        let mut read = Vec::new();
        for _ in 0..transactions * WINDOW {
            reader.read_until(b'\n', &mut read).unwrap();
        }
        let mut more = reader.by_ref().take(bytes as u64);
        more.read_to_end(&mut read).unwrap();
        (read, reader.into_inner())
    }

    /// Returns once the pipe is full.
    fn wait_until_full(out: &ChildStdout) {
        let waiting = || rustix::io::ioctl_fionread(out).unwrap();
        wait_until(|| waiting() > 60_000, "a full pipe");
    }
}

impl Adapter for Pipe {
    fn start(&self, subject: &Subject) -> Running {
        Running::start(&mut subject.command())
    }

    fn over(&self, subject: &Subject, run: &Run) {
        let mut out = OpenOptions::new();
        let mut out = out.append(true).create(true).open(subject.out()).unwrap();
        out.write_all(&run.stdout).unwrap();
        // the next reader sees nothing of a line that was cut off
        if !run.stdout.is_empty() && !run.stdout.ends_with(b"\n") {
            out.write_all(b"\n").unwrap();
        }
    }

    fn meet(&self, subject: &mut Subject, mood: Mood) -> Run {
        let (running, out) = Pipe::start(subject);
        let run = match mood {
            ClosesIn(number, bytes) => {
                let (read, out) = Pipe::read(out, number, bytes);
                drop(out);
                let mut run = running.wait();
                run.assert_says("standard output was closed");
                run.stdout = read;
                run
            }
            _ => {
                Pipe::wait_until_full(&out);
                running.signal("TERM");
                let signalled = Instant::now();
                let run = running.wait();
                assert!(signalled.elapsed() < END, "{:?}", signalled.elapsed());
                drop(out);
                run
            }
        };
        self.over(subject, &run);
        run
    }

    fn status(&self, mood: Mood) -> Option<i32> {
        matches!(mood, ClosesIn(..) | TakesNothing).then_some(0)
    }

    fn arrived(&self, subject: &Subject) -> Vec<Vec<u8>> {
        let text = fs::read(subject.out()).unwrap_or_default();
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
        lines.filter(|line| is_whole(line)).collect()
    }
}

/// A file that is appended to.
struct IntoFile;

impl IntoFile {
    fn start(command: &mut Command, out: File) -> Running {
        let command = command.stdin(Stdio::null()).stdout(out);
        Running::of(command.stderr(Stdio::piped()).spawn().unwrap())
    }

    fn out(subject: &Subject) -> File {
        let mut options = OpenOptions::new();
        let options = options.append(true).create(true);
        options.open(subject.out()).unwrap()
    }
}

impl Adapter for IntoFile {
    fn start(&self, subject: &Subject) -> Running {
        IntoFile::start(&mut subject.command(), IntoFile::out(subject))
    }

    fn meet(&self, subject: &mut Subject, mood: Mood) -> Run {
        let running = match mood {
            BreaksIn(number, bytes) => {
                // no file gets larger
                let most = (number * WINDOW_BYTES + bytes) / 512;
                let program = subject.command();
                let mut limited = Command::new("sh");
                let script = format!("trap '' XFSZ; ulimit -f {most}; exec \"$0\" \"$@\"");
                limited.args(["-c", &script]).arg(program.get_program());
                limited.args(program.get_args());
                IntoFile::start(&mut limited, IntoFile::out(subject))
            }
            _ => {
                let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
                IntoFile::start(&mut subject.command(), full)
            }
        };
        let run = running.wait();
        run.assert_error(74, &["standard output"], "free some space");
        run
    }

    fn status(&self, mood: Mood) -> Option<i32> {
        match mood {
            // the state needs some bytes, too
            BreaksIn(number, bytes) => (number > 0 || bytes > 10_000).then_some(74),
            TakesNothing => Some(74),
            ClosesIn(..) | ClosesAndDrainsIn(..) | ConfirmsNothing => None,
        }
    }

    /// No line is ever torn.
    fn arrived(&self, subject: &Subject) -> Vec<Vec<u8>> {
        let text = fs::read(subject.out()).unwrap_or_default();
        let lines = text.split_inclusive(|byte| *byte == b'\n');
        let lines = lines.map(|line| line.strip_suffix(b"\n").unwrap_or_default().to_vec());
        let lines: Vec<Vec<u8>> = lines.collect();
        assert!(lines.iter().all(|line| is_whole(line)), "a line is torn");
        lines
    }
}

fn is_whole(line: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Map<_, _>>(line).is_ok()
}
