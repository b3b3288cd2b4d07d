//! Which clock counts: the server's or ours, whichever is behind.

use time::{Duration, OffsetDateTime};

use crate::clock::whole_seconds;

/// Clocks that are further apart than this deserve a word.
const SKEW: Duration = Duration::seconds(60);

/// Our clock beside that of a server.
#[derive(Debug, Default)]
pub(in crate::source) struct Clocks {
    ahead: Option<Duration>,
}

impl Clocks {
    /// Takes on the server's time, as it said it when it was `ours` here.
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

    /// How far the server's clock is ahead of ours, once it has told its time.
    pub(in crate::source) fn ahead(&self) -> Option<Duration> {
        self.ahead
    }

    /// What the server's clock says when it is `now` here; the same, as long as it has not told.
    pub(in crate::source) fn server(&self, now: OffsetDateTime) -> OffsetDateTime {
        self.ahead.map_or(now, |ahead| now + ahead)
    }

    /// What the clock says that is behind.
    pub(in crate::source) fn earlier(&self, now: OffsetDateTime) -> OffsetDateTime {
        now.min(self.server(now))
    }
}
