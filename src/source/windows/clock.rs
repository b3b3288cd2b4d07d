//! `Clocks` compares our clock with a server's: the one that is behind decides.

use time::{Duration, OffsetDateTime};

use crate::clock::whole_seconds;

/// Difference between the clocks from which on a warning is due.
const SKEW: Duration = Duration::seconds(60);

/// Our clock beside that of a server.
#[derive(Debug, Default)]
pub(in crate::source) struct Clocks {
    ahead: Option<Duration>,
}

impl Clocks {
    /// Notes the server's time, which it told when it was `ours` here.
    pub(in crate::source) fn compare(&mut self, server: OffsetDateTime, ours: OffsetDateTime) {
        let ahead = server - whole_seconds(ours);
        if ahead.abs() > SKEW && self.ahead.is_none() {
            let (by, how) = (
                ahead.abs(),
                if ahead.is_negative() {
                    "ahead of"
                } else {
                    "behind"
                },
            );
            log::warn!(
                "this machine's clock is {by} {how} the service's: set this machine's clock (timedatectl, chronyc)"
            );
        }
        self.ahead = Some(ahead);
    }

    /// How far the server's clock is ahead of ours, once the server has told its time.
    pub(in crate::source) fn ahead(&self) -> Option<Duration> {
        self.ahead
    }

    /// The server's time when it is `now` here; `now` until the server has told its time.
    pub(in crate::source) fn server(&self, now: OffsetDateTime) -> OffsetDateTime {
        self.ahead.map_or(now, |ahead| now + ahead)
    }

    /// The time by the clock that is behind.
    pub(in crate::source) fn earlier(&self, now: OffsetDateTime) -> OffsetDateTime {
        now.min(self.server(now))
    }
}
