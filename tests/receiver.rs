//! Whatever the receiver does, nothing is lost.

use std::time::Duration;

use crate::simulator::{Behaviour, Options, Rng, Versions};
use crate::world::{World, play};

const SERVICE: &str = "tap-messages-delivered";

fn world(rng: &mut Rng) -> World {
    let versions = *rng.pick(&[Versions::Tls12, Versions::Tls13]);
    let mut world = World::with(Options {
        versions,
        tickets: rng.chance(50),
        ..Options::default()
    });
    world.fill(rng, 2, 60);
    world.tap.release_late();
    world.http_table = "timeout = \"2s\"\n".into();
    world
}

fn healed(world: &World) -> usize {
    let mut unconfirmed = 0;
    for _ in 0..30 {
        let run = world.run(SERVICE, &[]);
        println!("{}", run.stderr);
        match run.status {
            Some(0) => return unconfirmed,
            Some(69 | 74) => unconfirmed += world.unconfirmed(),
            _ => panic!("{run:?}"),
        }
    }
    panic!("never healed");
}

fn x(rng: &mut Rng, b: Behaviour) {
    let world = world(rng);
    world.devo.behave(move |n| if n == 1 { b.clone() } else { Behaviour::Normal });
    let allowed = healed(&world);
    println!("{:?}", world.devo.connections());
    let wanted = world.tap.serials("messagesDelivered").values().sum::<usize>();
    let got = world.devo.counts_by_serial().values().sum::<usize>();
    println!("wanted {wanted} got {got} allowed {allowed}");
    let rep = world.assert_nothing_lost(SERVICE);
    assert!(rep <= allowed);
}

#[test]
fn resets() {
    play(200, |rng| { let n = rng.below(140_000); x(rng, Behaviour::ResetAfter(n)) });
}
#[test]
fn stops() {
    play(200, |rng| { let n = rng.below(140_000); x(rng, Behaviour::StopThenReset{after: n, wait: Duration::from_millis(50)}) });
}
#[test]
fn closes() {
    play(200, |rng| { let n = rng.below(80_000); x(rng, Behaviour::CloseAfter(n)) });
}
#[test]
fn closes_late() {
    play(200, |rng| { let n = 80_000 + rng.below(50_000); x(rng, Behaviour::CloseAfter(n)) });
}
#[test]
fn drains() {
    play(200, |rng| { let n = rng.below(80_000); x(rng, Behaviour::CloseAfterAndDrain(n)) });
}
