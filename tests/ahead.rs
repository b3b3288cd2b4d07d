//! What is under way at once: windows that are confirmed together, and requests that do not wait for each
//! other.

use std::time::{Duration as Wait, Instant};

use proofpull::clock::utc;
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::simulator::{Behaviour, Ended, Event, Fault, Rng, wait_until};
use crate::test_env::{TestEnv, ago, seed};

const SERVICE: &str = "tap-messages-blocked";
/// No answer in the time of a test.
const NEVER: Wait = Wait::from_secs(600);
const SUMMARY: &str = "/v2/threat/summary/";

/// Some events in each of so many hours.
fn filled(hours: i64) -> TestEnv {
    let mut env = TestEnv::new();
    env.fill(&mut Rng::new(seed()), hours, 3);
    env.tap.release_late();
    env
}

/// The windows that were requested, in order.
fn windows(env: &TestEnv) -> Vec<(OffsetDateTime, OffsetDateTime)> {
    let requests = env.tap.requests();
    let windows = requests.iter().map(|one| one.interval().unwrap());
    windows.collect()
}

#[test]
fn many_windows_are_a_handful_of_transactions() {
    let env = filled(40);
    let started = Instant::now();
    let run = env.run(SERVICE, &[]);
    assert!(run.assert_status(0).count("windows") >= 40);
    // on a slow machine they take longer than five seconds
    let most = 1 + started.elapsed().as_secs() as usize / 5;
    let connections = env.devo.connections();
    let transactions = connections.iter().filter(|one| one.lines > 0).count();
    assert!(
        (1..=most).contains(&transactions),
        "{transactions} of {most}"
    );
    env.assert_exactly_once(SERVICE);
}

#[test]
fn one_window_is_requested_before_its_turn_and_no_other() {
    let env = filled(6);
    env.tap
        .script(|_, number| (number > 0).then_some(Fault::Stall { wait: NEVER }));
    let run = env.start(SERVICE, &[]);
    wait_until(
        || env.tap.requests().len() == 3,
        "a window and the next one",
    );
    let windows = windows(&env);
    assert_eq!((windows[0].1, windows[1].1), (windows[1].0, windows[2].0));
    let first = utc(windows[0].1);
    wait_until(|| env.position(SERVICE) == first, "a commit in the wait");
    assert_eq!(env.tap.requests().len(), 3);
    run.signal("TERM");
    run.wait().assert_status(0);
    assert_eq!(env.position(SERVICE), first);

    env.tap.no_script();
    env.run(SERVICE, &[]).assert_status(0);
    env.assert_exactly_once(SERVICE);
}

#[test]
fn a_window_that_fails_costs_the_one_that_was_requested_meanwhile_and_loses_nothing() {
    let mut env = filled(6);
    env.http_table = "timeout = \"2s\"\n".into();
    env.tap
        .script(|_, number| (number == 1).then_some(Fault::Stall { wait: NEVER }));
    let run = env.run(SERVICE, &[]);
    run.assert_status(0);
    let windows = windows(&env);
    // the first, the one that fails, the one ahead, and the one that failed again
    assert_eq!(windows[3], windows[1], "{windows:?}");
    assert_eq!(windows[2].0, windows[1].1, "{windows:?}");
    env.assert_exactly_once(SERVICE);
}

/// Several small transactions, of which that by the connection with this number goes so; 0 is the proof.
fn in_transactions(number: usize, behaviour: Behaviour) -> TestEnv {
    let mut env = filled(2);
    env.most_unconfirmed = Some(1000);
    env.devo.behave(move |at| match at == number {
        true => behaviour.clone(),
        false => Behaviour::Normal,
    });
    env
}

#[test]
fn the_next_transaction_is_opened_while_the_last_one_is_confirmed() {
    // it is read, and not confirmed
    let env = in_transactions(
        1,
        Behaviour::Slow {
            read: 1_000_000,
            pause: Wait::ZERO,
            hold: NEVER,
        },
    );
    let run = env.start(SERVICE, &[]);
    let is_open = || {
        let connections = env.devo.connections();
        let next = connections.get(2);
        connections.len() == 3 && next.is_some_and(|next| next.tls_version.is_some())
    };
    wait_until(is_open, "the connection of the next transaction");
    let next = &env.devo.connections()[2];
    assert_eq!((next.bytes, &next.ended), (0, &Ended::StillOpen));
    run.signal("TERM");
    run.wait();

    env.devo.behave(|_| Behaviour::Normal);
    env.devo.clear();
    env.run(SERVICE, &[]).assert_status(0);
    env.assert_exactly_once(SERVICE);
}

#[test]
fn what_a_signal_finds_on_a_connection_that_was_made_ahead_is_delivered() {
    // it takes longer than the rest of the run
    let env = in_transactions(
        2,
        Behaviour::Slow {
            read: 50,
            pause: Wait::from_millis(50),
            hold: Wait::from_millis(500),
        },
    );
    let run = env.start(SERVICE, &[]);
    let second = || env.devo.connections().into_iter().nth(2);
    let has_begun = || second().is_some_and(|one| one.bytes > 0);
    wait_until(has_begun, "events of the second transaction");
    run.signal("TERM");
    run.wait().assert_status(0);
    let second = second().unwrap();
    assert!(second.lines > 0, "{second:?}");
    assert_eq!(second.ended, Ended::Goodbye);

    env.devo.behave(|_| Behaviour::Normal);
    env.run(SERVICE, &[]).assert_status(0);
    env.assert_exactly_once(SERVICE);
}

/// So many threats, named one by one.
fn naming(threats: i64) -> TestEnv {
    let mut env = TestEnv::new();
    let start = ago(50);
    env.start_at(start);
    for number in 0..threats {
        let at = start + Duration::seconds(number * 10);
        let time = utc(at);
        let event = format!(
            r#"{{"GUID":"g{number}","id":"i{number}","recipient":["a@x"],"messageTime":"{time}","threatsInfoMap":[{{"threatID":"{number:064x}","threatStatus":"active","threatTime":"{time}"}}]}}"#
        );
        env.tap.add("messagesBlocked", Event::new(at, event));
    }
    env
}

fn summaries(env: &TestEnv) -> Vec<String> {
    let requests = env.tap.requests().into_iter();
    let paths = requests.filter_map(|one| one.path.strip_prefix(SUMMARY).map(str::to_owned));
    paths.collect()
}

#[test]
fn six_look_ups_are_under_way_at_once_and_no_more() {
    let env = naming(20);
    env.tap.script(|request, _| {
        let is_look_up = request.path.starts_with(SUMMARY);
        is_look_up.then_some(Fault::Stall { wait: NEVER })
    });
    let run = env.start("tap-threats", &[]);
    wait_until(|| summaries(&env).len() == 6, "six look-ups");
    run.signal("TERM");
    run.wait().assert_status(0);
    assert_eq!(summaries(&env).len(), 6);
    env.tap.no_script();
    env.run("tap-threats", &[]).assert_status(0);
    assert_eq!(env.devo.count(), 20);
}

#[test]
fn look_ups_are_delivered_in_order_whichever_is_answered_first() {
    let env = naming(60);
    let mut rng = Rng::new(seed());
    env.tap.script(move |request, _| {
        let wait = Wait::from_millis(rng.bits() % 60);
        let is_look_up = request.path.starts_with(SUMMARY);
        is_look_up.then_some(Fault::Stall { wait })
    });
    env.run("tap-threats", &[]).assert_status(0);
    let arrived = env.devo.events();
    let ids = arrived.iter().map(|event| {
        let event: Value = serde_json::from_slice(event).unwrap();
        event["id"].as_str().unwrap().to_owned()
    });
    // an answer has events in no order; the first in the queue is the first that it names
    let ids: Vec<String> = ids.collect();
    assert_eq!(ids.len(), 60);
    let mut asked = summaries(&env);
    asked.dedup();
    let far = ids.iter().enumerate().filter(|(place, id)| {
        let at = asked.iter().position(|one| one == *id).unwrap();
        at.abs_diff(*place) >= 6
    });
    assert_eq!(far.count(), 0, "{ids:?} of {asked:?}");
}
