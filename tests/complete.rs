//! Every event arrives, and arrives once, whatever TAP does to the order and the time of things.

use crate::simulator::Rng;
use crate::test_env::{TestEnv, array, seed};

fn check_exactly_once(service: &str) {
    let mut rng = Rng::new(seed());
    let mut env = TestEnv::new();
    env.fill(&mut rng, 26, 60);
    let late = env.tap.serials(array(service)).values().sum::<usize>();

    let first = env.run(service, &[]);
    first.assert_status(0).assert_says("caught up");
    assert!(first.count("requests") <= 28, "{}", first.stderr);

    env.tap.release_late();
    let late = late as u64 - first.count("delivered");
    let second = env.run(service, &[]);
    second.assert_status(0);
    assert_eq!(
        (second.count("late"), second.count("delivered")),
        (late, late)
    );
    env.assert_exactly_once(service);

    let third = env.run(service, &[]);
    third.assert_status(0);
    assert_eq!(third.count("delivered"), 0);
}

#[test]
fn clicks_blocked_arrive_exactly_once_over_26_hours() {
    check_exactly_once("tap-clicks-blocked");
}

#[test]
fn clicks_permitted_arrive_exactly_once_over_26_hours() {
    check_exactly_once("tap-clicks-permitted");
}

#[test]
fn messages_blocked_arrive_exactly_once_over_26_hours() {
    check_exactly_once("tap-messages-blocked");
}

#[test]
fn messages_delivered_arrive_exactly_once_over_26_hours() {
    check_exactly_once("tap-messages-delivered");
}
