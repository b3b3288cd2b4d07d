//! Stopped by a signal or at the end of its time: the next run goes on without a hole.

use std::time::{Duration as Wait, Instant};

use crate::simulator::{Behaviour, Ended, Fault, Rng, Style, wait_until};
use crate::test_env::{Run, TestEnv, ago, each, seed};

const SERVICE: &str = "tap-messages-blocked";

/// Some hours of events, none of them late; TAP and the receiver may be silent for long.
fn filled(rng: &mut Rng, hours: i64) -> TestEnv {
    let mut env = TestEnv::new();
    env.fill(rng, hours, 40);
    env.tap.release_late();
    env.tap.set_style(Style {
        gzip: false,
        ..Style::default()
    });
    env.http_table = "timeout = \"120s\"\n".into();
    env
}

struct Case {
    name: &'static str,
    /// What TAP does.
    fault: Option<Fault>,
    /// What the receiver does with the connection of a number; 0 is the proof.
    receiver: fn(usize) -> Behaviour,
    /// When the signal comes.
    when: fn(&TestEnv) -> bool,
}

const LONG: Wait = Wait::from_secs(60);

fn cases() -> Vec<Case> {
    let normal: fn(usize) -> Behaviour = |_| Behaviour::Normal;
    let some_came: fn(&TestEnv) -> bool = |env| env.devo.count() > 0;
    let asked: fn(&TestEnv) -> bool = |env| !env.tap.requests().is_empty();
    let stall = |at| Fault::StallBody { at, wait: LONG };
    let slow = |piece, pause| Fault::Slow {
        piece,
        pause: Wait::from_millis(pause),
    };
    let case = |name, fault, receiver, when| Case {
        name,
        fault,
        receiver,
        when,
    };
    vec![
        case(
            "in a stalled answer",
            Some(stall(30_000)),
            normal,
            some_came,
        ),
        case("before any event", Some(stall(10)), normal, asked),
        case("in a slow answer", Some(slow(500, 50)), normal, some_came),
        case(
            "before the answer",
            Some(Fault::Stall { wait: LONG }),
            normal,
            asked,
        ),
        case(
            "between attempts",
            Some(Fault::status(503, "")),
            normal,
            asked,
        ),
        case(
            "in the first handshake",
            None,
            |_| Behaviour::Silent,
            |env| env.devo.connections().len() == 1,
        ),
        case(
            "in a later handshake",
            None,
            |number| match number {
                2 => Behaviour::Silent,
                _ => Behaviour::Normal,
            },
            |env| env.devo.connections().len() == 3,
        ),
        case(
            "before the confirmation",
            None,
            |_| Behaviour::Slow {
                read: 1_000_000,
                pause: Wait::ZERO,
                hold: Wait::from_millis(1500),
            },
            |env| {
                let connections = env.devo.connections();
                let data = connections.get(1);
                data.is_some_and(|data| data.ended == Ended::Goodbye)
            },
        ),
        case(
            "in a slow delivery",
            None,
            |_| Behaviour::Slow {
                read: 1000,
                pause: Wait::from_millis(20),
                hold: Wait::ZERO,
            },
            some_came,
        ),
    ]
}

#[test]
fn a_signal_ends_it_in_good_order_wherever_it_waits() {
    let seed = seed();
    let signals = ["TERM", "INT"].map(|signal| cases().into_iter().map(move |case| (signal, case)));
    let all = signals.into_iter().flatten();
    let named = all.map(|(signal, case)| (format!("{signal} {}", case.name), (signal, case)));
    each(named, |(signal, case)| {
        let mut env = filled(&mut Rng::new(seed), 3);
        env.most_unconfirmed = Some(50_000);
        let Case {
            fault,
            receiver,
            when,
            ..
        } = case;
        env.tap.script(move |_, _| fault.clone());
        env.devo.behave(receiver);
        let run = env.start(SERVICE, &[]);
        wait_until(|| when(&env), "the moment");
        run.signal(signal);
        let signalled = Instant::now();
        let run = run.wait();
        assert!(signalled.elapsed() < LONG / 3, "{:?}", signalled.elapsed());
        check_end(&run, "stopped by a signal");
        check_the_rest(&env);
    });
}

#[test]
fn the_end_of_its_time_ends_it_in_good_order() {
    let seed = seed();
    let stall = Fault::Stall {
        wait: Wait::from_millis(700),
    };
    let slow = Fault::Slow {
        piece: 1000,
        pause: Wait::from_millis(40),
    };
    let faults = [("between answers", stall), ("in an answer", slow)];
    let faults = faults.map(|(name, fault)| (name.to_owned(), fault));
    each(faults, |fault| {
        let mut env = filled(&mut Rng::new(seed), 9);
        env.tap.script(move |_, _| Some(fault.clone()));
        let run = env.run(SERVICE, &["--max-duration", "2s"]);
        check_end(&run, "stopped at max_duration");
        let before = env.service_table.clone();
        env.service_table += "max_duration = \"2s\"\n";
        let run = env.run(SERVICE, &[]);
        check_end(&run, "stopped at max_duration");
        env.service_table = before;
        check_the_rest(&env);
    });
}

fn check_end(run: &Run, how: &str) {
    run.assert_status(0);
    let last = run.stderr.lines().last().unwrap_or_default();
    assert!(last.contains(how), "{}", run.stderr);
}

/// The next run finds the rest, and repeats nothing.
fn check_the_rest(env: &TestEnv) {
    env.tap.no_script();
    env.devo.behave(|_| Behaviour::Normal);
    let run = env.run(SERVICE, &[]);
    check_end(&run, "caught up");
    env.assert_exactly_once(SERVICE);
}

#[test]
fn what_was_read_and_not_sent_is_not_taken_for_known_by_a_clean_up() {
    let mut env = TestEnv::new();
    env.start_at(ago(26 * 60));
    // so many that most identities have expired at the next run, which cleans up at its end
    env.add(SERVICE, ago(26 * 60), ago(50), 5000);
    env.run(SERVICE, &[]).assert_status(0);
    env.add(SERVICE, ago(40), ago(5), 20);
    let proof = env.devo.connections().len();
    env.devo.behave(move |number| match number == proof {
        true => Behaviour::Normal,
        false => Behaviour::Silent,
    });
    let run = env.start(SERVICE, &[]);
    let opened = || env.devo.connections().len() == proof + 2;
    wait_until(opened, "the connection for the new events");
    run.signal("TERM");
    check_end(&run.wait(), "stopped by a signal");
    check_the_rest(&env);
}
