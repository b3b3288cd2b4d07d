//! Faults of peers, files and people, mixed by chance, over every service: nothing is lost, no more
//! comes again than was unconfirmed, no run panics, and every run ends in its time.
//!
//! A failure names its service and round, and prints the seed of the test: `PROOFPULL_SEED` repeats it.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration as Wait, Instant};

use time::Duration;

use super::source::{Subject, Trouble, check, seeded};
use crate::simulator::{Behaviour, Ended, Rng};
use crate::test_env::{Run, all_rounds};

/// A run ends so long after its time limit or a signal, whatever its peers do.
const GRACE: Wait = Wait::from_secs(15);
/// Runs after the last fault until nothing is missing, 90 minutes apart: a 429 that came while our clock was days
/// ahead holds requests back for a day.
const RUNS_TO_HEAL: usize = 20;
/// How far our clock may be ahead of the services'.
const WRONG_CLOCKS: [Duration; 8] = [
    Duration::seconds(-50),
    Duration::minutes(-40),
    Duration::hours(2),
    Duration::days(-1),
    Duration::hours(6 * 24 + 12),
    Duration::days(8),
    Duration::days(40),
    Duration::days(-20_000),
];

#[test]
fn whatever_goes_wrong_nothing_is_lost_and_every_run_ends_in_its_time() {
    check(
        seeded(if all_rounds() { 20 } else { 2 }),
        |mut subject, seed| {
            let mut rng = Rng::new(*seed);
            let mut unconfirmed = 0;
            subject.env.most_unconfirmed = rng.chance(50).then_some(20_000);
            for _ in 0..2 + rng.below(3) {
                unconfirmed += disturbed_run(&subject, &mut rng);
                if rng.chance(30) {
                    damage_a_file(&subject, &mut rng);
                }
            }
            heal(&mut subject);
            let (env, service) = (&subject.env, subject.service);
            env.assert_repeated_at_most(service, unconfirmed);
        },
    );
}

/// A run that meets faults, and may be stopped or killed; how many events may come again for it.
fn disturbed_run(subject: &Subject, rng: &mut Rng) -> usize {
    let mut chance = Rng::new(rng.bits());
    let often = *rng.pick(&[5, 30, 80]);
    let troubles = move |_| chance.chance(often).then(|| trouble(&mut chance));
    subject.adapter.fail(&subject.env, Box::new(troubles));
    let disturbed = disturb_the_receiver(subject, rng);
    let first = subject.env.devo.connections().len();

    let limit = Wait::from_secs(1 + rng.below(4) as u64);
    let ahead = match rng.chance(30) {
        true => *rng.pick(&WRONG_CLOCKS),
        false => Duration::ZERO,
    };
    let limit_here = format!("{}s", limit.as_secs());
    let mut run = subject.start_ahead(ahead, &["--max-duration", &limit_here]);
    let started = Instant::now();
    let signal = *rng.pick(&[None, None, Some("TERM"), Some("KILL")]);
    let mut ends_by = started + limit + GRACE;
    if let Some(signal) = signal {
        let at = started + Wait::from_millis(rng.bits() % 2_000);
        run.until(|| Instant::now() >= at);
        run.signal(signal);
        ends_by = ends_by.min(Instant::now() + GRACE);
    }
    run.until(|| Instant::now() > ends_by);
    let in_time = run.is_over();
    run.signal("TERM");
    let stopped = Instant::now();
    run.until(|| stopped.elapsed() > GRACE);
    let at_once = run.is_over();
    run.signal("KILL");
    let run = run.wait();
    // one kind of run has an hour more, unless it is stopped
    let is_longer =
        signal.is_none() && run.stderr.contains("for up to an hour beyond max_duration");
    let told = format!(
        "{signal:?} {limit:?} {:?}: {}",
        started.elapsed(),
        run.stderr
    );
    assert!(
        at_once && (in_time || is_longer),
        "a run did not end: {told}"
    );
    assert!(run.status != Some(70), "{told}");
    assert!(run.status.is_some() || signal.is_some(), "{}", run.stderr);
    unconfirmed(subject, first, &disturbed)
}

/// Numbers of connections of the receiver.
type Numbers = Arc<Mutex<BTreeSet<usize>>>;

/// Lets connections go wrong from now on; which of them do.
fn disturb_the_receiver(subject: &Subject, rng: &mut Rng) -> Numbers {
    let (mut chance, often) = (Rng::new(rng.bits()), *rng.pick(&[0, 30, 80]));
    let disturbed = Numbers::default();
    let those = Arc::clone(&disturbed);
    subject.env.devo.behave(move |number| {
        if !chance.chance(often) {
            return Behaviour::Normal;
        }
        those.lock().unwrap().insert(number);
        behaviour(&mut chance)
    });
    disturbed
}

/// How many events came by connections from the first on that were disturbed or cut off, and by the
/// newest one that brought any, whose confirmation may not have been saved.
fn unconfirmed(subject: &Subject, first: usize, disturbed: &Numbers) -> usize {
    subject.env.settled();
    let connections = subject.env.devo.connections();
    let disturbed = disturbed.lock().unwrap();
    let newest = connections.iter().rfind(|connection| connection.lines > 0);
    let newest = newest.map(|newest| newest.number);
    let repeated = connections.iter().filter(|connection| {
        connection.number >= first
            && (Some(connection.number) == newest
                || connection.ended != Ended::Goodbye
                || disturbed.contains(&connection.number))
    });
    repeated.map(|connection| connection.lines).sum()
}

fn trouble(rng: &mut Rng) -> Trouble {
    let codes = [
        400, 401, 403, 408, 409, 413, 421, 425, 429, 500, 502, 503, 504,
    ];
    match rng.below(9) {
        0 => Trouble::Status(*rng.pick(&codes)),
        1 => Trouble::Cut,
        2 => Trouble::Reset(None),
        3 => Trouble::Reset(Some(1 + rng.below(2_000))),
        4 => Trouble::Close,
        5 => Trouble::Silence,
        6 => Trouble::Drip,
        7 => Trouble::Junk,
        _ => Trouble::Beside,
    }
}

/// What a receiver does. One that says goodbye before it has read everything is missing: on a machine
/// under load nothing tells its goodbye from a confirmation.
fn behaviour(rng: &mut Rng) -> Behaviour {
    let bytes = rng.below(30_000);
    let (short, long) = (Wait::from_millis(300), Wait::from_secs(60));
    match rng.below(12) {
        0 => Behaviour::NoGoodbye,
        1 => Behaviour::Refuse,
        2 => Behaviour::ResetAfter(bytes),
        3 => Behaviour::StopThenReset {
            after: bytes,
            wait: short,
        },
        4 => Behaviour::NeverClose,
        5 => Behaviour::ResetAtGoodbye,
        6 => Behaviour::Slow {
            read: 500,
            pause: Wait::from_millis(20),
            hold: *rng.pick(&[short, long]),
        },
        7 => Behaviour::Silent,
        8 => Behaviour::Flood,
        9 => Behaviour::Mutter(Wait::from_millis(500)),
        10 => Behaviour::StopReading(bytes),
        _ => Behaviour::CutHandshake,
    }
}

/// One bit of a file of the state is turned over: the next run refuses it and delivers nothing, and then
/// the file is as before. Behind what is committed no bit counts. How many events may come again.
fn damage_a_file(subject: &Subject, rng: &mut Rng) -> usize {
    let extension = *rng.pick(&["json", "seen"]);
    let path = subject.path(extension);
    let Ok(sound) = fs::read(&path) else {
        return 0;
    };
    if sound.is_empty() {
        return 0;
    }
    subject.adapter.fail(&subject.env, Box::new(|_| None));
    subject.env.devo.behave(|_| Behaviour::Normal);
    let mut damaged = sound.clone();
    let at = rng.below(damaged.len());
    damaged[at] ^= 1 << rng.below(8);
    fs::write(&path, &damaged).unwrap();
    let (before, first) = (
        subject.env.devo.count(),
        subject.env.devo.connections().len(),
    );
    let run = subject.run(&["--max-duration", "5s"]);
    if run.status == Some(65) {
        assert_eq!(subject.env.devo.count(), before, "{}", run.stderr);
        fs::write(&path, &sound).unwrap();
        return 0;
    }
    assert!(
        extension == "seen" && at > 0,
        "byte {at} of {}: {}",
        path.display(),
        run.stderr
    );
    // a run without an event does not read the identities
    if fs::read(&path).unwrap() == damaged {
        fs::write(&path, &sound).unwrap();
    }
    unconfirmed(subject, first, &Numbers::default())
}

/// All goes well from now on, and runs go on until one of them finds nothing missing.
fn heal(subject: &mut Subject) {
    subject.adapter.heal(&subject.env);
    subject.env.devo.behave(|_| Behaviour::Normal);
    let healed = |run: &Run| run.status == Some(0);
    let mut good = 0;
    for _ in 0..RUNS_TO_HEAL {
        subject.now += Duration::minutes(90);
        let run = subject.run(&[]);
        assert!(matches!(run.status, Some(0 | 75)), "{}", run.stderr);
        // what a failure shows
        println!("{} at {}: {}", subject.service, subject.now, run.stderr);
        good += usize::from(healed(&run));
        if good >= subject.adapter.runs_until_complete().len() {
            return;
        }
    }
    panic!("{RUNS_TO_HEAL} runs did not heal it");
}
