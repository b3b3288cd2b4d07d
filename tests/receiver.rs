//! Whatever the receiver does, nothing is lost, and nothing comes again but what it did not confirm.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration as Wait, Instant};

use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::simulator::{
    Behaviour, Ended, Fault, Line, Options, Rng, Style, Versions, sample, scenario, wait_until,
};
use crate::test_env::{TestEnv, ago, array, each, play, seed};

const SERVICE: &str = "tap-messages-delivered";
const MIB: usize = 1024 * 1024;

/// Two hours of events: two windows, and two transactions, of about 130 kB. Nothing is late.
pub(crate) fn filled(options: Options, rng: &mut Rng) -> TestEnv {
    filled_for(2, options, rng)
}

/// The same for so many hours.
fn filled_for(hours: i64, options: Options, rng: &mut Rng) -> TestEnv {
    let mut env = TestEnv::with(options);
    env.fill(rng, hours, 60);
    env.tap.release_late();
    env.most_unconfirmed = Some(130_000);
    env
}

/// Answers of four thousand events, 8 MB: more than what two kernels hold between the programs.
fn flooded(rng: &mut Rng) -> TestEnv {
    let mut env = filled(speaking(rng), rng);
    env.most_unconfirmed = None;
    env.tap.set_flood(4000, 2000);
    env
}

pub(crate) fn speaking(rng: &mut Rng) -> Options {
    Options {
        versions: *rng.pick(&[Versions::Tls12, Versions::Tls13]),
        tickets: rng.chance(50),
        receive_buffer: Some(64 * 1024),
        ..Options::default()
    }
}

/// The next connections behave like these, those after them as they should.
pub(crate) fn behave(env: &TestEnv, behaviours: impl IntoIterator<Item = Behaviour>) {
    let mut rest: Vec<_> = behaviours.into_iter().collect();
    // what a failure shows
    println!("{}: {rest:?}", env.devo.address());
    rest.reverse();
    let next = move |_| rest.pop().unwrap_or(Behaviour::Normal);
    env.devo.behave(next);
}

/// Runs again and again, as a timer does, until a run succeeds: nothing is lost, and no more comes
/// again than what the last connections of failed runs had brought. Returns the statuses.
pub(crate) fn check(env: &TestEnv, behaviours: impl IntoIterator<Item = Behaviour>) -> Vec<i32> {
    behave(env, behaviours);
    let (mut statuses, mut unconfirmed) = (Vec::new(), 0);
    while statuses.last() != Some(&0) {
        assert!(statuses.len() < 20, "it never succeeds: {statuses:?}");
        let first = env.devo.connections().len();
        let run = env.run(SERVICE, &[]);
        let status = run.status.expect("nobody kills it");
        assert!([0, 69, 74].contains(&status), "{}", run.stderr);
        statuses.push(status);
        unconfirmed += env.unconfirmed_from(first, status != 0);
    }
    let repeated = match env.tap.flooded() {
        0 => env.assert_nothing_lost(SERVICE),
        flooded => {
            let arrived = env.devo.counts_by_serial();
            assert!(arrived.keys().copied().eq(0..flooded), "lost some");
            env.devo.count() - arrived.len()
        }
    };
    assert!(
        repeated <= unconfirmed,
        "{repeated} came again, {unconfirmed} were unconfirmed"
    );
    statuses
}

#[test]
fn every_way_to_speak_tls_delivers_exactly_once() {
    let versions = [Versions::Tls12, Versions::Tls13];
    let ways = versions.map(|versions| [true, false].map(|tickets| (versions, tickets)));
    let ways = ways.into_iter().flatten();
    each(ways.map(|way| (format!("{way:?}"), way)), |way| {
        let (versions, tickets) = way;
        let options = Options {
            versions,
            tickets,
            ..Options::default()
        };
        let env = filled(options, &mut Rng::new(seed()));
        check(&env, []);
        env.assert_exactly_once(SERVICE);
        let connections = env.devo.connections();
        assert!(connections.len() >= 3, "{connections:?}");
        for connection in connections {
            let wanted = match versions {
                Versions::Tls12 => rustls::ProtocolVersion::TLSv1_2,
                _ => rustls::ProtocolVersion::TLSv1_3,
            };
            assert_eq!(connection.tls_version, Some(wanted));
            assert!(connection.goodbye_received && connection.ended == Ended::Goodbye);
        }
    });
}

#[test]
fn a_reset_after_any_byte_loses_nothing() {
    play(200, |rng| {
        let env = filled(speaking(rng), rng);
        let (good, after) = (rng.below(3), rng.below(140_000));
        let wait = Wait::from_millis(rng.bits() % 50);
        let bad = match rng.chance(50) {
            true => Behaviour::ResetAfter(after),
            false => Behaviour::StopThenReset { after, wait },
        };
        let good = vec![Behaviour::Normal; good];
        check(&env, good.into_iter().chain([bad]));
    });
}

#[test]
fn an_early_close_in_good_order_is_no_confirmation() {
    let mut rng = Rng::new(seed());
    for after in [0, 1, rng.below(MIB), rng.below(MIB)] {
        let closes = [
            Behaviour::CloseAfter(after),
            Behaviour::CloseAfterAndDrain(after),
        ];
        for close in closes {
            let env = flooded(&mut rng);
            let statuses = check(&env, [Behaviour::Normal, close]);
            assert_eq!(statuses, [0], "after {after} bytes");
        }
    }
}

#[test]
fn a_receiver_that_restarts_costs_a_warning_and_a_second_time_in_a_row_the_run() {
    const AGAIN: &str = "the run begins once more from its saved state";
    /// Whether a connection resets, from the resets so far and whether anything was confirmed. A proof is too small
    /// for it.
    type Resets = fn(usize, bool) -> bool;
    let rows: [(&str, Resets, i32, usize); 3] = [
        ("once", |resets, _| resets == 0, 0, 1),
        ("always", |_, _| true, 74, 1),
        (
            "twice, with a delivery between",
            |resets, delivers| resets == 0 || resets == 1 && delivers,
            0,
            2,
        ),
    ];
    let named = rows.map(|row| (row.0.to_owned(), row));
    each(named, |(_, resets, status, warnings)| {
        let env = filled_for(6, Options::default(), &mut Rng::new(seed()));
        env.devo.behave_after(move |before| {
            let ended = |how: Ended| {
                let ended = before.iter().filter(|one| one.ended == how);
                ended.filter(|one| one.lines > 0).count()
            };
            match resets(ended(Ended::ByBehaviour), ended(Ended::Goodbye) > 0) {
                true => Behaviour::ResetAfter(50_000),
                false => Behaviour::Normal,
            }
        });
        let run = env.run(SERVICE, &[]);
        run.assert_status(status);
        assert_eq!(
            run.stderr.matches(AGAIN).count(),
            warnings,
            "{}",
            run.stderr
        );
        assert_eq!(
            run.stderr.matches("warning:").count(),
            warnings,
            "{}",
            run.stderr
        );
        let unconfirmed = env.unconfirmed_from(0, status != 0);
        env.devo.behave(|_| Behaviour::Normal);
        if status != 0 {
            env.run(SERVICE, &[]).assert_status(0);
        }
        assert!(env.assert_nothing_lost(SERVICE) <= unconfirmed);
    });
}

#[test]
fn an_early_close_that_crosses_our_last_bytes_loses_nothing() {
    play(200, |rng| {
        let env = filled(speaking(rng), rng);
        let after = rng.below(130_000);
        let close = match rng.chance(50) {
            true => Behaviour::CloseAfter(after),
            false => Behaviour::CloseAfterAndDrain(after),
        };
        check(&env, [Behaviour::Normal, close]);
    });
}

#[test]
fn a_receiver_of_any_moods_gets_everything() {
    play(200, |rng| {
        let mut env = filled(speaking(rng), rng);
        env.http_table = "timeout = \"1s\"\n".into();
        let moods: Vec<Behaviour> = (0..1 + rng.below(6)).map(|_| mood(rng)).collect();
        check(&env, moods);
    });
}

pub(crate) fn mood(rng: &mut Rng) -> Behaviour {
    let bytes = rng.below(140_000);
    let some = |rng: &mut Rng, most: u64| Wait::from_millis(rng.bits() % most);
    match rng.below(12) {
        0 => Behaviour::Refuse,
        1 => Behaviour::Silent,
        2 => Behaviour::CutHandshake,
        3 => Behaviour::NeverClose,
        4 => Behaviour::NoGoodbye,
        5 => Behaviour::CloseAfter(bytes),
        6 => Behaviour::StopThenReset {
            after: bytes,
            wait: some(rng, 300),
        },
        7 => Behaviour::Slow {
            read: bytes + 10_000,
            pause: some(rng, 30),
            hold: some(rng, 300),
        },
        8 => Behaviour::Normal,
        _ => Behaviour::ResetAfter(bytes),
    }
}

#[test]
fn what_arrives_is_what_tap_has_whatever_happened_on_the_way() {
    let rng = &mut Rng::new(seed());
    let mut env = TestEnv::new();
    let from = OffsetDateTime::now_utc() - Duration::hours(2);
    let events = scenario(rng, from, ago(2), 60);
    let wanted: BTreeMap<u64, Value> = (events.iter())
        .filter(|(name, _)| *name == array(SERVICE))
        .map(|(_, event)| {
            let text = event.body.text();
            (sample::serial_of(text).unwrap(), sorted(text))
        })
        .collect();
    env.tap.add_all(events);
    env.tap.release_late();
    env.start_at(from);
    env.devo_table += "pulling_id = false\n";
    let after = rng.below(100_000);
    let bad = [
        Behaviour::Normal,
        Behaviour::ResetAfter(after),
        Behaviour::Normal,
        Behaviour::ResetAfter(after + 1),
    ];
    check(&env, bad);
    for line in env.devo.lines() {
        let serial = sample::serial_of(&line).unwrap();
        assert_eq!(sorted(Line::of(&line).json), wanted[&serial]);
    }
}

/// An event whose message parts stand in one order.
fn sorted(event: &[u8]) -> Value {
    let mut event: Value = serde_json::from_slice(event).unwrap();
    if let Some(parts) = event["messageParts"].as_array_mut() {
        parts.sort_by_key(ToString::to_string);
    }
    event
}

#[test]
fn a_receiver_that_reads_slowly_and_closes_late_is_no_dead_one() {
    let rng = &mut Rng::new(seed());
    let options = Options {
        receive_buffer: Some(16 * 1024),
        ..speaking(rng)
    };
    let mut env = filled(options, rng);
    env.http_table = "timeout = \"5s\"\n".into();
    // reading takes longer than the longest silence
    let slow = Behaviour::Slow {
        read: 1000,
        pause: Wait::from_millis(50),
        hold: Wait::from_millis(500),
    };
    assert_eq!(check(&env, [Behaviour::Normal, slow]), [0]);
    env.assert_exactly_once(SERVICE);
}

#[test]
fn a_receiver_that_never_closes_is_sent_no_more_events() {
    let mut env = filled(Options::default(), &mut Rng::new(seed()));
    env.http_table = "timeout = \"2s\"\n".into();
    behave(&env, [Behaviour::Normal, Behaviour::NeverClose]);
    let run = env.run(SERVICE, &[]);
    let said = [
        "confirming the delivery to localhost",
        "waiting for the receiver to close",
    ];
    let hint = "each must pass on the end of a connection; if this receiver never closes, set [devo] confirm";
    run.assert_error(74, &said, hint);
    let unconfirmed = env.unconfirmed();
    assert!(unconfirmed > 0);

    env.tap.forget_requests();
    let before = env.devo.count();
    env.devo.behave(|_| Behaviour::NeverClose);
    for _ in 0..2 {
        let run = env.run(SERVICE, &[]);
        run.assert_error(74, &said, hint);
    }
    assert_eq!(env.devo.count(), before);
    assert!(env.tap.requests().is_empty());

    behave(&env, []);
    env.run(SERVICE, &[]).assert_status(0);
    assert!(env.assert_nothing_lost(SERVICE) <= unconfirmed);
}

#[test]
fn what_a_receiver_that_never_closes_acknowledges_is_delivered_and_said_to_be_less() {
    const SAID: &str = "confirmed by acknowledgement alone";
    let mut env = filled(Options::default(), &mut Rng::new(seed()));
    fs::create_dir(env.dir.path().join("metrics")).unwrap();
    env.top = "name = \"acme\"\nmetrics.textfile_dir = \"metrics\"".into();
    env.devo_table += "confirm = \"acknowledged\"\n";
    let figures = || {
        let file = format!("metrics/proofpull_acme_{SERVICE}.prom");
        fs::read_to_string(env.dir.path().join(file)).unwrap()
    };
    let is_weaker = |weaker: bool| {
        let wanted = format!("service=\"{SERVICE}\"}} {}\n", u8::from(!weaker));
        let figures = figures();
        let (_, figure) = figures
            .split_once("proofpull_last_run_confirmed_by_close{name=\"acme\",")
            .unwrap();
        assert!(figure.starts_with(&wanted), "{figure}");
        let status = env.ask(&["status", SERVICE]).answer();
        let note = "only acknowledged what the last run delivered";
        assert_eq!(status.contains(note), weaker, "{status}");
    };

    // a reset that answers the end is none, whatever was acknowledged
    env.devo.behave(|number| match number {
        0 => Behaviour::Normal,
        _ => Behaviour::ResetAtGoodbye,
    });
    env.run(SERVICE, &[]).assert_error(74, &["reset"], "");
    env.settled();
    let unconfirmed = env.devo.count();

    env.devo.behave(|_| Behaviour::NeverClose);
    let run = env.run(SERVICE, &[]);
    run.assert_status(0).assert_says(SAID);
    assert!(run.count("delivered") > 0);
    assert!(env.assert_nothing_lost(SERVICE) <= unconfirmed);
    is_weaker(true);

    // one that closes is believed more, without another word in the configuration
    env.devo.behave(|_| Behaviour::Normal);
    env.run(SERVICE, &[])
        .assert_status(0)
        .assert_never_says(SAID);
    is_weaker(false);
}

#[test]
fn an_end_without_goodbye_counts_until_the_receiver_has_once_said_one() {
    let env = filled(Options::default(), &mut Rng::new(seed()));
    let run = |behaviour: Behaviour| {
        env.devo.behave(move |_| behaviour.clone());
        env.run(SERVICE, &[])
    };
    let says = || env.state(SERVICE)["receiver"]["sends_close_notify"].clone();
    run(Behaviour::NoGoodbye).assert_status(0);
    assert_eq!(says(), false);
    run(Behaviour::Normal).assert_status(0);
    assert_eq!(says(), true);
    env.tap.forget_requests();
    let said = ["confirming", "without close_notify"];
    let failed = run(Behaviour::NoGoodbye);
    failed.assert_error(74, &said, "sends unconfirmed events again");
    assert!(env.tap.requests().is_empty());
    run(Behaviour::Normal).assert_status(0);

    // another balancer: it is learnt anew, once
    let failed = run(Behaviour::NoGoodbye);
    failed.assert_error(74, &said, "run once with --forget-receiver");
    env.run(SERVICE, &["--forget-receiver"]).assert_status(0);
    assert_eq!(says(), false);
    run(Behaviour::NoGoodbye).assert_status(0);
    env.assert_exactly_once(SERVICE);
    let run = env.run(SERVICE, &["--forget-receiver", "--stdout"]);
    run.assert_status(2);
}

#[test]
fn a_receiver_that_refuses_our_certificate_by_an_alert_is_status_77() {
    each(
        [Versions::Tls12, Versions::Tls13].map(|v| (format!("{v:?}"), v)),
        |versions| {
            let mut env = TestEnv::with_certs(|certs| Options {
                client_ca: Some(certs.other_ca().ca),
                versions,
                ..Options::default()
            });
            env.fill(&mut Rng::new(seed()), 1, 10);
            let run = env.run(SERVICE, &[]);
            run.assert_error(77, &["localhost", "UnknownCA"], "[devo] cert");
            assert!(env.tap.requests().is_empty());
        },
    );
}

#[test]
fn after_a_failed_confirmation_less_may_be_unconfirmed_for_some_runs() {
    let mut env = filled(Options::default(), &mut Rng::new(seed()));
    env.most_unconfirmed = None;
    env.http_table = "timeout = \"3s\"\n".into();
    let limit = || env.state(SERVICE)["unconfirmed_limit"].as_u64().unwrap() / 1024 / 1024;
    for (good, left) in [(false, 32), (false, 16), (true, 32), (true, 64), (true, 64)] {
        let bad = [Behaviour::Normal, Behaviour::NeverClose];
        behave(&env, bad.into_iter().filter(|_| !good));
        let run = env.run(SERVICE, &[]);
        run.assert_status(if good { 0 } else { 74 });
        assert_eq!(limit(), left);
    }
    env.assert_nothing_lost(SERVICE);
}

#[test]
fn no_more_than_64_mib_are_unconfirmed_at_once() {
    let mut env = TestEnv::with(Options {
        keep: false,
        ..Options::default()
    });
    env.start_at(ago(61));
    env.tap.set_flood(35_000, 2000);
    let started = Instant::now();
    env.run(SERVICE, &[]).assert_status(0);
    // after five seconds a run confirms less: on a slow machine that can come first
    let is_slow = started.elapsed() >= Wait::from_secs(5);
    assert_eq!(env.devo.count(), 35_000);
    let sizes: Vec<usize> = (env.devo.connections().iter())
        .map(|connection| connection.bytes)
        .collect();
    let [0, first, rest @ ..] = sizes.as_slice() else {
        panic!("{sizes:?}");
    };
    // and a batch of 1 MiB, and what stands before each event in its line
    assert!(*first >= 64 * MIB || is_slow, "{sizes:?}");
    assert!(!rest.is_empty(), "{sizes:?}");
    assert!(sizes.iter().all(|size| *size < 70 * MIB), "{sizes:?}");
}

/// Another world, whose TAP's answers are not compressed, so that bytes are events at once.
fn plain(fault: impl Fn(usize) -> Option<Fault> + Send + 'static) -> TestEnv {
    let mut env = filled(Options::default(), &mut Rng::new(seed()));
    env.http_table = "timeout = \"120s\"\n".into();
    env.tap.set_style(Style {
        gzip: false,
        ..Style::default()
    });
    env.tap.script(move |_, number| fault(number));
    env
}

#[test]
fn events_before_a_stall_are_confirmed_and_known_before_their_answer_is_whole() {
    const STALL: Wait = Wait::from_secs(60);
    let (at, wait) = (70_000, STALL);
    let env = plain(move |_| Some(Fault::StallBody { at, wait }));
    let started = Instant::now();
    let run = env.start(SERVICE, &[]);
    let confirmed = || {
        let connections = env.devo.connections();
        let data = connections.get(1);
        data.is_some_and(|data| data.ended == Ended::Goodbye && data.lines > 10)
    };
    wait_until(confirmed, "a confirmation");
    let known = || env.state(SERVICE)["identities"]["length"] != 0;
    wait_until(known, "the identities");
    let position = env.position(SERVICE);
    assert!(env.service_table.contains(&position), "at {position}");
    assert!(started.elapsed() < STALL, "no longer in the stall");

    run.signal("TERM");
    run.wait().assert_status(0);
    env.tap.no_script();
    env.run(SERVICE, &[]).assert_status(0);
    env.assert_exactly_once(SERVICE);
}

#[test]
fn an_answer_that_trickles_in_is_confirmed_every_few_seconds() {
    // an answer of more than 10 s, which is two confirmations before its end
    let (piece, pause) = (800, Wait::from_millis(100));
    let env = plain(move |number| (number == 0).then_some(Fault::Slow { piece, pause }));
    env.run(SERVICE, &[]).assert_status(0);
    let connections = env.devo.connections();
    let transactions = connections.iter().filter(|one| one.lines > 0).count();
    assert!(transactions > 2, "{transactions} for two windows");
    env.assert_exactly_once(SERVICE);
}
