//! `live_policy` says what the live stream has lost, and when a run leaves it.
//!
//! Pure.

use std::time::Duration as Wait;

use time::{Duration, OffsetDateTime};

use super::archive_policy::HOUR;
use crate::pipeline::checkpoint::{Gap, LiveStream};

/// While the stream is open, the state is saved at least this often, waits for a receiver included.
const NOTED: Duration = Duration::minutes(5);
/// Longest silence of the server after our close frame.
const SILENCE: Wait = Wait::from_secs(2);
/// Longest time for which the server may go on sending after our close frame; the receiver gets the
/// rest of the grace.
const GOODBYE: Wait = Wait::from_secs(5);

/// How the live stream stands after a while without its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct LiveStatus {
    /// How long ago we sent our close frame, if we did.
    pub(super) closing: Option<Wait>,
    /// How long ago an event came; at first, how long ago the stream was opened.
    pub(super) silent: Wait,
    /// The silence that ends a run, if one does.
    pub(super) idle_exit: Option<Wait>,
    /// Whether the run is to stop.
    pub(super) is_stopping: bool,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LiveStep {
    /// Reads on.
    Stay,
    /// Sends our close frame, and reads on to the server's.
    Close,
    /// Leaves a server that does not end the stream.
    Leave,
}

/// Whether the run stays on the live stream.
pub(super) fn next_step(status: &LiveStatus) -> LiveStep {
    let LiveStatus {
        closing,
        silent,
        idle_exit,
        is_stopping,
    } = *status;
    match closing {
        Some(since) if since >= GOODBYE || silent.min(since) >= SILENCE => LiveStep::Leave,
        None if is_stopping || idle_exit.is_some_and(|idle| silent >= idle) => LiveStep::Close,
        _ => LiveStep::Stay,
    }
}

/// What the live stream has lost by `now`, if nothing but the live stream is read: what a run that
/// died had not had confirmed, and what is older than the hour that the server keeps.
pub(super) fn missed(live: LiveStream, now: OffsetDateTime) -> Option<Gap> {
    let kept = now - HOUR;
    let to = match live.open {
        true => kept.max(now.min(live.until + NOTED)),
        false => kept,
    };
    (live.until < to).then_some(Gap {
        from: live.until,
        to,
    })
}

/// From when on the live stream has brought everything that it had to say, if it goes on by `now`
/// where it was left.
pub(super) fn unbroken(live: LiveStream, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let goes_on = !live.open && missed(live, now).is_none();
    live.since.filter(|_| goes_on)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::utc;
    use time::macros::datetime;

    fn check(minutes_ago: i64, open: bool, expected: Option<&str>) {
        let now = datetime!(2026-01-10 12:00 UTC);
        let until = now - Duration::minutes(minutes_ago);
        let since = Some(until - HOUR);
        let live = LiveStream { until, open, since };
        let gap = missed(live, now);
        let is_whole = unbroken(live, now).is_some();
        assert_eq!(is_whole, gap.is_none() && !open);
        assert!(gap.is_none_or(|gap| gap.from == until));
        assert_eq!(gap.map(|gap| utc(gap.to)).as_deref(), expected);
    }

    #[test]
    fn an_hour_without_a_good_end_is_a_gap_and_so_is_a_run_that_died() {
        check(59, false, None);
        check(60, false, None);
        check(61, false, Some("2026-01-10T11:00:00Z"));
        check(1, true, Some("2026-01-10T12:00:00Z"));
        check(30, true, Some("2026-01-10T11:35:00Z"));
        check(90, true, Some("2026-01-10T11:00:00Z"));
    }

    /// In seconds: since our close frame, since the last event, the configured silence; and whether
    /// the run is to stop.
    fn check_step(
        (closing, silent, idle_exit): (Option<u64>, u64, Option<u64>),
        is_stopping: bool,
        expected: LiveStep,
    ) {
        let status = LiveStatus {
            closing: closing.map(Wait::from_secs),
            silent: Wait::from_secs(silent),
            idle_exit: idle_exit.map(Wait::from_secs),
            is_stopping,
        };
        assert_eq!(next_step(&status), expected, "{status:?}");
    }

    #[test]
    fn a_run_leaves_the_stream_when_it_is_to_stop_or_after_the_configured_silence() {
        use LiveStep::{Close, Stay};
        check_step((None, 0, None), false, Stay);
        check_step((None, 86_400, None), false, Stay);
        check_step((None, 29, Some(30)), false, Stay);
        check_step((None, 30, Some(30)), false, Close);
        check_step((None, 0, Some(30)), true, Close);
        check_step((None, 0, None), true, Close);
    }

    #[test]
    fn behind_our_close_frame_the_server_may_be_silent_for_two_seconds_and_send_for_five() {
        use LiveStep::{Leave, Stay};
        for is_stopping in [true, false] {
            check_step((Some(0), 90, Some(30)), is_stopping, Stay);
            check_step((Some(1), 90, Some(30)), is_stopping, Stay);
            check_step((Some(2), 90, Some(30)), is_stopping, Leave);
            check_step((Some(4), 1, None), is_stopping, Stay);
            check_step((Some(4), 2, None), is_stopping, Leave);
            check_step((Some(5), 0, None), is_stopping, Leave);
        }
    }
}
