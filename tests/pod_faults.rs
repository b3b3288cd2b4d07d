//! The live stream is cut, or the receiver resets connections, at any place: after the sweep nothing
//! is lost, and only what was unconfirmed comes again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration as Wait;

use time::Duration;

use crate::pod::{Hours, NOW, SERVICE};
use crate::simulator::{Behaviour, Ends, Rng, StreamFault};
use crate::test_env::play;

/// With the live stream mostly, and the archive alone at times.
fn some_mode(rng: &mut Rng) -> Hours {
    match rng.chance(30) {
        true => Hours::new().archive_mode(),
        false => Hours::new(),
    }
}

#[test]
fn cut_at_any_place_the_stream_loses_nothing_after_the_sweep_and_repeats_nothing() {
    play(50, |rng| {
        let mut hours = some_mode(rng);
        let mut now = NOW;
        hours
            .env
            .pod
            .set_linger(Wait::from_millis(rng.below(100) as u64));
        for round in 0..2 {
            hours.happen(now, 40);
            let mut how = || {
                let code = |code| Ends::Code(code);
                let ends = [Ends::Reset, Ends::InAFrame, code(1011), code(1000)];
                // an hour that says twice that the same part of it is all would be believed
                let place = 1 + 25 * round + rng.below(15);
                Some(StreamFault::After(place, *rng.pick(&ends)))
            };
            // each once: the live stream, and one of the hours
            let (mut live, mut archive) = (how(), how());
            let mut hours_before = rng.below(3);
            hours.env.pod.script(move |asked, _| {
                if asked.hours.is_none() {
                    return live.take();
                }
                let now = hours_before == 0;
                hours_before = hours_before.saturating_sub(1);
                archive.take_if(|_| now)
            });
            hours.run(now).assert_status(0);
            now += Duration::minutes(70);
        }
        hours.sweep(now);
        hours.env.assert_exactly_once(SERVICE);
    });
}

#[test]
fn reset_at_any_place_by_the_receiver_nothing_is_lost_and_one_border_at_most_comes_again() {
    play(50, |rng| {
        let mut hours = some_mode(rng);
        let mut now = NOW;
        let mut unconfirmed = 0;
        for _ in 0..2 {
            hours.happen(now, 40);
            // the first is the proof
            let number = hours.env.devo.connections().len() + 1 + rng.below(7);
            let twice = usize::from(rng.chance(30));
            let after = rng.below(120_000);
            let broken = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&broken);
            hours
                .env
                .devo
                .behave(move |now| match (number..=number + twice).contains(&now) {
                    true => {
                        count.fetch_add(1, SeqCst);
                        Behaviour::ResetAfter(after)
                    }
                    false => Behaviour::Normal,
                });
            let before = hours.env.devo.connections().len();
            let run = hours.run(now);
            assert!(matches!(run.status, Some(0 | 69 | 74)), "{}", run.stderr);
            hours.env.settled();
            let reports = hours.env.devo.connections();
            let reset = reports[before..]
                .iter()
                .filter(|report| (number..=number + twice).contains(&report.number));
            unconfirmed += reset.map(|report| report.lines).sum::<usize>();
            now += Duration::minutes(70);
        }
        hours.sweep(now);
        hours.env.assert_repeated_at_most(SERVICE, unconfirmed);
    });
}
