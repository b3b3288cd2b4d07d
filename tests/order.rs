//! The cycle is broken at each of its steps: prove, read, send, confirm, commit the identities,
//! commit the position. Nothing is lost, and only what lay between is sent again. What the live
//! stream of PoD has said comes by the archive then.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use proofpull::clock::utc;
use socket2::{Domain, Socket, Type};
use time::Duration;

use crate::pod::{self, Hours, NOW};
use crate::simulator::{Behaviour, Ends, Fault, Rng, StreamFault, Style};
use crate::test_env::{Run, TestEnv, each, seed};

/// Something to read that takes at least two transactions.
trait Feed: Send {
    const SERVICE: &'static str;
    fn env(&mut self) -> &mut TestEnv;
    fn run(&self) -> Run;
    /// How often Proofpoint was asked.
    fn asked(&self) -> usize;
    /// Runs until all has arrived.
    fn catch_up(&self);
    /// One run more.
    fn run_again(&self) -> Run;
}

impl Feed for TestEnv {
    const SERVICE: &'static str = "tap-messages-blocked";

    fn env(&mut self) -> &mut TestEnv {
        self
    }

    fn run(&self) -> Run {
        TestEnv::run(self, Self::SERVICE, &[])
    }

    fn asked(&self) -> usize {
        self.tap.requests().len()
    }

    fn catch_up(&self) {
        let run = Feed::run(self);
        run.assert_status(0).assert_says("caught up");
    }

    fn run_again(&self) -> Run {
        Feed::run(self)
    }
}

impl Feed for Hours {
    const SERVICE: &'static str = pod::SERVICE;

    fn env(&mut self) -> &mut TestEnv {
        &mut self.env
    }

    fn run(&self) -> Run {
        Hours::run(self, NOW)
    }

    fn asked(&self) -> usize {
        self.env.pod.asked().len()
    }

    fn catch_up(&self) {
        self.sweep(NOW);
    }

    fn run_again(&self) -> Run {
        Hours::run(self, NOW + Duration::hours(5))
    }
}

struct Step {
    name: &'static str,
    /// A world, for a service.
    breaks: fn(&mut TestEnv, &str),
    /// With which status a run ends then.
    status: i32,
    /// What it leaves.
    leaves: Leaves,
}

#[derive(PartialEq)]
enum Leaves {
    /// Nothing was asked for.
    Unasked,
    /// Whatever was sent is confirmed and known.
    Known,
    /// What was sent last will be sent again.
    Unknown,
}
use Leaves::{Known, Unasked, Unknown};

/// What is the same whatever is read.
const STEPS: [Step; 15] = [
    step(
        "prove: the state cannot be written",
        73,
        Unasked,
        |env, service| {
            obstruct(&file(env, service, "json.new"));
        },
    ),
    step("prove: no room for a folder", 73, Unasked, |env, _| {
        fs::write(env.state_dir(), "").unwrap();
    }),
    step("prove: nobody listens", 69, Unasked, |env, _| {
        let (ours, nobodys) = (env.devo.address(), nobody());
        env.devo_table = env.devo_table.replace(&ours, &nobodys);
    }),
    step("prove: connections are reset", 69, Unasked, |env, _| {
        env.devo.behave(|_| Behaviour::Refuse);
    }),
    step("prove: handshakes break off", 69, Unasked, |env, _| {
        env.devo.behave(|_| Behaviour::CutHandshake);
    }),
    step("prove: reset after the handshake", 74, Unasked, |env, _| {
        env.devo.behave(|_| Behaviour::ResetAfter(0));
    }),
    step("prove: not confirmed", 74, Unasked, |env, _| {
        env.http_table = "timeout = \"5s\"\n".into();
        env.devo.behave(|_| Behaviour::NeverClose);
    }),
    step("send: no connection any more", 69, Known, |env, _| {
        during(env, 1, || {}, Behaviour::Refuse);
    }),
    step("send: a reset in the records", 74, Unknown, |env, _| {
        during(env, 1, || {}, Behaviour::ResetAfter(50_000));
    }),
    step(
        "confirm: a reset once all is read",
        74,
        Unknown,
        |env, _| {
            during(env, 1, || {}, Behaviour::ResetAtGoodbye);
        },
    ),
    step("confirm: all is read, no end", 74, Unknown, |env, _| {
        env.http_table = "timeout = \"5s\"\n".into();
        during(env, 2, || {}, Behaviour::NeverClose);
    }),
    step(
        "commit: no first identities",
        73,
        Unknown,
        |env, service| {
            obstruct_during(env, service, 1, "seen");
        },
    ),
    step("commit: no more identities", 73, Unknown, |env, service| {
        obstruct_during(env, service, 2, "seen");
    }),
    step("commit: no new position", 73, Unknown, |env, service| {
        obstruct_during(env, service, 1, "json.new");
    }),
    step("commit: not in its place", 73, Unknown, |env, service| {
        obstruct_during(env, service, 2, "json");
    }),
];

const fn step(
    name: &'static str,
    status: i32,
    leaves: Leaves,
    breaks: fn(&mut TestEnv, &str),
) -> Step {
    Step {
        name,
        breaks,
        status,
        leaves,
    }
}

#[test]
fn broken_at_any_step_nothing_is_lost_and_only_the_unknown_is_sent_again() {
    let reads = [
        step("read: a reset instead of an answer", 69, Known, |env, _| {
            env.tap.script(|_, _| Some(Fault::Reset));
        }),
        step("read: a reset in the first answer", 69, Known, |env, _| {
            let reset = Fault::ResetBody { at: 50_000 };
            env.tap.script(move |_, _| Some(reset.clone()));
        }),
        step("read: a reset in the second answer", 69, Known, |env, _| {
            let reset = Fault::ResetBody { at: 9_000 };
            let second = move |number| (number > 0).then(|| reset.clone());
            env.tap.script(move |_, number| second(number));
        }),
        step("read: no answer of TAP", 65, Known, |env, _| {
            let page = Fault::Body(b"<html>".to_vec());
            let second = move |number| (number > 0).then(|| page.clone());
            env.tap.script(move |_, number| second(number));
        }),
    ];
    let seed = seed();
    check_each(&reads, || {
        let mut env = TestEnv::new();
        env.fill(&mut Rng::new(seed), 2, 40);
        env.most_unconfirmed = Some(TRANSACTION);
        env.tap.release_late();
        env.tap.set_style(Style {
            gzip: false,
            ..Style::default()
        });
        env
    });
}

#[test]
fn the_archive_of_pod_broken_at_any_step_loses_nothing_and_only_the_unknown_is_sent_again() {
    let reads = [
        step("read: refused at the second hour", 77, Known, |env, _| {
            let refused = |number| (number > 0).then_some(StreamFault::Status(401, "who?"));
            env.pod.script(move |_, number| refused(number));
        }),
        step("read: an hour that is always cut", 0, Known, |env, _| {
            cut(env, Ends::InAFrame);
        }),
        step("read: an hour that is always reset", 0, Known, |env, _| {
            cut(env, Ends::Reset);
        }),
        step("read: trouble of the server", 0, Known, |env, _| {
            cut(env, Ends::Code(1011));
        }),
        step("read: a message that is too large", 65, Known, too_large),
    ];
    check_each(&reads, || {
        let mut hours = Hours::new();
        hours.env.most_unconfirmed = Some(TRANSACTION);
        let large = format!(
            r#"{{"guid":"serial.9001","ts":"2026-11-20T06:30:00Z","x":"{}"}}"#,
            "y".repeat(LARGE)
        );
        let time = pod::FROM + Duration::minutes(90);
        hours.env.pod.archive(pod::STREAM, time, large);
        hours.happen(NOW, 20);
        hours
    });
}

#[test]
fn the_live_stream_broken_at_any_step_is_made_whole_by_the_archive_and_only_the_unknown_is_sent_again()
 {
    let reads = [
        step("read: refused", 77, Known, |env, _| {
            env.pod
                .script(|_, _| Some(StreamFault::Status(401, "who?")));
        }),
        step("read: cut, and then refused", 77, Known, |env, _| {
            env.pod.script(|_, number| match number {
                0 => Some(StreamFault::After(20, Ends::InAFrame)),
                _ => Some(StreamFault::Status(401, "who?")),
            });
        }),
        step("read: reset", 0, Known, |env, _| {
            let first = |number| (number == 0).then_some(StreamFault::After(20, Ends::Reset));
            env.pod.script(move |_, number| first(number));
        }),
        step("read: a message that is too large", 65, Known, too_large),
    ];
    check_each(&reads, || {
        let mut hours = Hours::empty();
        let begun = utc(NOW.truncate_to_hour());
        hours.env.stream_table = format!("start_time = {begun:?}\nidle_exit = \"1s\"\n");
        hours.happen(NOW, 40);
        // a batch ends behind it
        hours.happen_large(NOW, LARGE);
        hours.happen(NOW, 40);
        hours
    });
}

/// Less than there is to read.
const TRANSACTION: u64 = 100_000;
/// More bytes than a batch has.
const LARGE: usize = 4 * 1024 * 1024;
const TOO_LARGE: &str = "max_frame_bytes = 1000000\n";

fn too_large(env: &mut TestEnv, _: &str) {
    env.stream_table += TOO_LARGE;
}

/// The second hour ends so, as often as it is asked for.
fn cut(env: &TestEnv, how: Ends) {
    env.pod.script(move |asked, _| {
        let (from, _) = asked.hours?;
        (from == pod::FROM + Duration::HOUR).then_some(StreamFault::After(20, how))
    });
}

fn check_each<F: Feed>(reads: &[Step], filled: impl Fn() -> F + Sync) {
    let steps = STEPS.iter().chain(reads);
    each(steps.map(|step| (step.name.to_owned(), step)), |step| {
        check(&mut filled(), step);
    });
}

fn check<F: Feed>(feed: &mut F, step: &Step) {
    (step.breaks)(feed.env(), F::SERVICE);
    let run = feed.run();
    run.assert_status(step.status);
    assert!(step.status == 0 || run.stderr.contains("hint: "));
    let asked = feed.asked();
    assert_eq!(asked == 0, step.leaves == Unasked, "asked {asked} times");
    let env = feed.env();
    env.settled();
    let delivered = if asked > 0 { run.count("delivered") } else { 0 };
    let unknown = env.devo.count() - delivered as usize;
    assert_eq!(step.leaves == Unknown, unknown > 0);

    heal(env, F::SERVICE);
    feed.catch_up();
    let repeated = feed.env().assert_nothing_lost(F::SERVICE);
    assert_eq!(repeated, unknown);
    let run = feed.run_again();
    assert_eq!(run.assert_status(0).count("delivered"), 0);
}

fn heal(env: &mut TestEnv, service: &str) {
    env.http_table.clear();
    env.stream_table = env.stream_table.replace(TOO_LARGE, "");
    env.tap.no_script();
    env.pod.no_script();
    env.devo.behave(|_| Behaviour::Normal);
    env.devo_table = env.devo_table.replace(&nobody(), &env.devo.address());
    if env.state_dir().is_file() {
        fs::remove_file(env.state_dir()).unwrap();
    }
    for extension in ["json", "json.new", "seen"] {
        let path = file(env, service, extension);
        if path.is_dir() {
            fs::remove_dir(&path).unwrap();
        }
        if aside(&path).exists() {
            fs::rename(aside(&path), path).unwrap();
        }
    }
}

/// An address where nobody listens, and nobody else can begin to.
pub(crate) fn nobody() -> String {
    static BOUND: OnceLock<Socket> = OnceLock::new();
    let bind = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).unwrap();
        socket
    };
    let address = BOUND.get_or_init(bind).local_addr().unwrap();
    address.as_socket().unwrap().to_string()
}

fn file(env: &TestEnv, service: &str, extension: &str) -> PathBuf {
    env.state_dir().join(format!("{service}.{extension}"))
}

fn aside(path: &Path) -> PathBuf {
    path.with_added_extension("aside")
}

/// Puts a folder where a file is to be written; one that is there already goes aside.
fn obstruct(path: &Path) {
    if path.exists() {
        fs::rename(path, aside(path)).unwrap();
    }
    fs::create_dir_all(path).unwrap();
}

fn obstruct_during(env: &TestEnv, service: &str, number: usize, extension: &str) {
    let path = file(env, service, extension);
    during(env, number, move || obstruct(&path), Behaviour::Normal);
}

/// From the connection of this number on, 0 being the proof, all behave so; first, this is done.
fn during(env: &TestEnv, number: usize, act: impl Fn() + Send + 'static, behaviour: Behaviour) {
    let mut count = 0;
    env.devo.behave(move |_| {
        count += 1;
        if count == number + 1 {
            act();
        }
        if count > number {
            behaviour.clone()
        } else {
            Behaviour::Normal
        }
    });
}
