//! The live stream is cut, the receiver resets connections, the program is killed, at any place:
//! after the sweep nothing is lost, and only what was unconfirmed comes again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::sleep;
use std::time::Duration as Wait;

use time::Duration;

use crate::pod::{Hours, NOW, SERVICE};
use crate::simulator::{Behaviour, Ends, Trouble};
use crate::world::{Running, play};

#[test]
fn cut_at_any_place_the_live_stream_loses_nothing_after_the_sweep_and_repeats_nothing() {
    play(50, |rng| {
        let mut hours = Hours::new();
        let mut now = NOW;
        hours
            .world
            .pod
            .set_linger(Wait::from_millis(rng.below(100) as u64));
        for _ in 0..2 {
            hours.happen(now, 40);
            let (place, how) = (
                rng.below(40),
                *rng.pick(&[
                    Ends::Reset,
                    Ends::InAFrame,
                    Ends::Code(1011),
                    Ends::Code(1000),
                ]),
            );
            let mut cut = false;
            hours.world.pod.script(move |asked, _| {
                if asked.hours.is_some() || cut {
                    return None;
                }
                cut = true;
                Some(Trouble::After(1 + place, how))
            });
            hours.run(now).assert_status(0);
            now += Duration::minutes(70);
        }
        hours.sweep(now);
        hours.world.assert_exactly_once(SERVICE);
    });
}

#[test]
fn reset_at_any_place_by_the_receiver_nothing_is_lost_and_one_border_at_most_comes_again() {
    play(50, |rng| {
        let mut hours = Hours::new();
        let mut now = NOW;
        let mut unconfirmed = 0;
        for _ in 0..2 {
            hours.happen(now, 40);
            // the first is the proof
            let number = hours.world.devo.connections().len() + 1 + rng.below(7);
            let twice = usize::from(rng.chance(30));
            let after = rng.below(120_000);
            let broken = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&broken);
            hours
                .world
                .devo
                .behave(move |now| match (number..=number + twice).contains(&now) {
                    true => {
                        count.fetch_add(1, SeqCst);
                        Behaviour::ResetAfter(after)
                    }
                    false => Behaviour::Normal,
                });
            let before = hours.world.devo.connections().len();
            let run = hours.run(now);
            assert!(matches!(run.status, Some(0 | 69 | 74)), "{}", run.stderr);
            hours.world.unconfirmed();
            let reports = hours.world.devo.connections();
            let reset = reports[before..]
                .iter()
                .filter(|report| (number..=number + twice).contains(&report.number));
            unconfirmed += reset.map(|report| report.lines).sum::<usize>();
            now += Duration::minutes(70);
        }
        hours.sweep(now);
        let repeated = hours.world.assert_nothing_lost(SERVICE);
        assert!(
            repeated <= unconfirmed,
            "{repeated} came again, {unconfirmed} were unconfirmed"
        );
    });
}

#[test]
fn killed_at_any_moment_nothing_is_lost_after_the_sweep_and_one_border_at_most_comes_again() {
    play(50, |rng| {
        let mut hours = Hours::new();
        let mut now = NOW;
        let mut unconfirmed = 0;
        for _ in 0..2 {
            hours.happen(now, 40);
            let mut run = hours.start(now, &[]);
            let count = hours.world.devo.count() + rng.below(330);
            reached(&mut run, || hours.world.devo.count() >= count);
            sleep(Wait::from_micros(rng.bits() % 30_000));
            let over = run.is_over();
            drop(run);
            if !over {
                unconfirmed += hours.world.unconfirmed();
            }
            now += Duration::minutes(70);
        }
        hours.sweep(now);
        let repeated = hours.world.assert_nothing_lost(SERVICE);
        assert!(
            repeated <= unconfirmed,
            "{repeated} came again, {unconfirmed} were unconfirmed"
        );
    });
}

/// Returns as soon as it is so, or the run is over.
fn reached(run: &mut Running, mut so: impl FnMut() -> bool) {
    while !so() && !run.is_over() {
        sleep(Wait::from_micros(200));
    }
}
