//! A log stream that is silent for long: it is pinged, a pong may be missed, and one that is dead is
//! made again.

use std::time::{Duration as Wait, Instant};

use time::Duration;

use crate::pod::{Hours, NOW, SERVICE, STREAM};
use crate::simulator::{Ends, StreamFault, wait_until, wait_within};
use crate::test_env::all_rounds;

/// Longer than the program waits, also on a slow machine.
const LONG: Wait = Wait::from_secs(600);

#[test]
fn a_silent_stream_is_pinged_every_30_s_and_lives_on_though_no_pong_comes() {
    let mut hours = Hours::empty();
    hours.env.pod.script(|_, _| Some(StreamFault::NoPongs));
    let run = hours.start(NOW, &[]);
    wait_within(LONG, || hours.env.pod.pings().len() >= 2, "two pings");
    hours.happen(NOW, 1);
    wait_until(|| hours.env.devo.count() == 1, "what came after them");
    run.signal("TERM");
    run.wait()
        .assert_status(0)
        .assert_says("stopped by a signal");
    assert_eq!(hours.env.pod.asked().len(), 1, "one connection");
    let pings = hours.env.pod.pings();
    let gap = pings[1] - pings[0];
    // the first may have been heard late
    assert!(gap >= Wait::from_secs(25), "{gap:?}");
}

#[test]
fn a_stream_by_which_nothing_comes_for_5_minutes_is_dead_and_made_again_and_nothing_is_lost() {
    if !all_rounds() {
        println!("skipped: 5 minutes of silence, without PROOFPULL_ALL_ROUNDS");
        return;
    }
    let mut hours = Hours::empty();
    hours.happen(NOW, 30);
    // the rest of what it says is lost
    hours.env.pod.script(|asked, _| {
        let live = asked.hours.is_none();
        live.then_some(StreamFault::After(20, Ends::Silent))
    });
    let run = hours.start(NOW, &[]);
    let pod = &hours.env.pod;
    wait_until(|| pod.said(STREAM) == 30, "the live stream");
    let died = Instant::now();
    pod.no_script();
    wait_within(LONG, || pod.asked().len() == 2, "another connection");
    let silence = died.elapsed();
    assert!(silence >= Wait::from_secs(290), "{silence:?}");
    let now = NOW + Duration::minutes(10);
    hours.happen(now, 5);
    let count = || hours.env.devo.counts_by_serial().len();
    wait_until(|| count() == 25, "what came after the silence");
    run.signal("TERM");
    run.wait()
        .assert_status(0)
        .assert_says("no data came for 3")
        .assert_says("reopening it");
    hours.env.stream_table += "idle_exit = \"1s\"\n";
    hours.sweep(now);
    hours.env.assert_exactly_once(SERVICE);
}
