//! The cycle is broken at each of its steps: prove, read, send, confirm, commit the identities,
//! commit the position. Nothing is lost, and only what lay between is sent again.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use socket2::{Domain, Socket, Type};

use crate::simulator::{Behaviour, Fault, Rng, Style};
use crate::world::{World, each, seed};

const SERVICE: &str = "tap-messages-blocked";

struct Step {
    name: &'static str,
    breaks: fn(&mut World),
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
    /// The last transaction will be sent again.
    Unknown,
}
use Leaves::{Known, Unasked, Unknown};

const STEPS: [Step; 19] = [
    step("prove: the state cannot be written", 73, Unasked, |world| {
        obstruct(&file(world, "json.new"));
    }),
    step("prove: no room for a folder", 73, Unasked, |world| {
        fs::write(world.state_dir(), "").unwrap();
    }),
    step("prove: nobody listens", 69, Unasked, |world| {
        let (ours, nobodys) = (world.devo.address(), nobody());
        world.devo_table = world.devo_table.replace(&ours, &nobodys);
    }),
    step("prove: connections are reset", 69, Unasked, |world| {
        world.devo.behave(|_| Behaviour::Refuse);
    }),
    step("prove: handshakes break off", 69, Unasked, |world| {
        world.devo.behave(|_| Behaviour::CutHandshake);
    }),
    step("prove: reset after the handshake", 74, Unasked, |world| {
        world.devo.behave(|_| Behaviour::ResetAfter(0));
    }),
    step("prove: not confirmed", 74, Unasked, |world| {
        world.http_table = "timeout = \"1s\"\n".into();
        world.devo.behave(|_| Behaviour::NeverClose);
    }),
    step("read: a reset instead of an answer", 69, Known, |world| {
        world.tap.script(|_, _| Some(Fault::Reset));
    }),
    step("read: a reset in the first answer", 69, Known, |world| {
        world
            .tap
            .script(|_, _| Some(Fault::ResetBody { at: 50_000 }));
    }),
    step("read: a reset in the second answer", 69, Known, |world| {
        world
            .tap
            .script(|_, number| (number > 0).then_some(Fault::ResetBody { at: 9_000 }));
    }),
    step("read: no answer of TAP", 65, Known, |world| {
        world
            .tap
            .script(|_, number| (number > 0).then_some(Fault::Body(b"<html>".to_vec())));
    }),
    step("send: no connection any more", 69, Known, |world| {
        during(world, 1, || {}, Behaviour::Refuse);
    }),
    step("send: a reset in the records", 74, Unknown, |world| {
        during(world, 1, || {}, Behaviour::ResetAfter(50_000));
    }),
    step("confirm: a reset once all is read", 74, Unknown, |world| {
        let after = size_of_the_first(world);
        during(world, 1, || {}, Behaviour::ResetAfter(after));
    }),
    step("confirm: all is read, no end", 74, Unknown, |world| {
        world.http_table = "timeout = \"1s\"\n".into();
        during(world, 2, || {}, Behaviour::NeverClose);
    }),
    step("commit: no first identities", 73, Unknown, |world| {
        obstruct_during(world, 1, "seen");
    }),
    step("commit: no more identities", 73, Unknown, |world| {
        obstruct_during(world, 2, "seen");
    }),
    step("commit: no new position", 73, Unknown, |world| {
        obstruct_during(world, 1, "json.new");
    }),
    step("commit: not in its place", 73, Unknown, |world| {
        obstruct_during(world, 2, "json");
    }),
];

const fn step(name: &'static str, status: i32, leaves: Leaves, breaks: fn(&mut World)) -> Step {
    Step {
        name,
        breaks,
        status,
        leaves,
    }
}

#[test]
fn broken_at_any_step_nothing_is_lost_and_only_the_unknown_is_sent_again() {
    let seed = seed();
    each(STEPS.map(|step| (step.name.to_owned(), step)), |step| {
        let mut world = World::new();
        world.fill(&mut Rng::new(seed), 2, 40);
        world.tap.release_late();
        world.tap.set_style(Style {
            gzip: false,
            ..Style::default()
        });
        (step.breaks)(&mut world);
        check(&mut world, &step);
    });
}

fn check(world: &mut World, step: &Step) {
    let run = world.run(SERVICE, &[]);
    run.assert_status(step.status).assert_says("hint: ");
    let asked = world.tap.requests().len();
    assert_eq!(asked == 0, step.leaves == Unasked, "asked {asked} times");
    let unknown = world.unconfirmed();

    heal(world);
    let run = world.run(SERVICE, &[]);
    run.assert_status(0).assert_says("caught up");
    let repeated = world.assert_nothing_lost(SERVICE);
    let expected = if step.leaves == Unknown { unknown } else { 0 };
    assert_eq!(repeated, expected);
    assert_eq!(step.leaves == Unknown, expected > 0);
    let run = world.run(SERVICE, &[]);
    assert_eq!(run.assert_status(0).count("delivered"), 0);
}

fn heal(world: &mut World) {
    world.http_table.clear();
    world.tap.no_script();
    world.devo.behave(|_| Behaviour::Normal);
    world.devo_table = world.devo_table.replace(&nobody(), &world.devo.address());
    if world.state_dir().is_file() {
        fs::remove_file(world.state_dir()).unwrap();
    }
    for extension in ["json", "json.new", "seen"] {
        let path = file(world, extension);
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

fn file(world: &World, extension: &str) -> PathBuf {
    world.state_dir().join(format!("{SERVICE}.{extension}"))
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

fn obstruct_during(world: &World, number: usize, extension: &str) {
    let path = file(world, extension);
    during(world, number, move || obstruct(&path), Behaviour::Normal);
}

/// From the connection of this number on, 0 being the proof, all behave so; first, this is done.
fn during(world: &World, number: usize, act: impl Fn() + Send + 'static, behaviour: Behaviour) {
    let mut count = 0;
    world.devo.behave(move |_| {
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

/// How many bytes the first transaction with events has; found out with another state.
fn size_of_the_first(world: &World) -> usize {
    let other = world.dir.path().join("another-state");
    let run = world.run(SERVICE, &["--state-dir", other.to_str().unwrap()]);
    run.assert_status(0);
    let size = world.devo.connections()[1].bytes;
    world.devo.clear();
    world.tap.forget_requests();
    size
}
