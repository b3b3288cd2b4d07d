//! `Clocks` compares our clock with a server's: no single one gives anything up.
//!
//! The one that is behind says how far a position may go. Only when the server has told its time, and both
//! agree, does anything count as too old.

use time::{Duration, OffsetDateTime};

use crate::clock::{utc, whole_seconds};
use crate::error::{Exit, Failure};

/// Largest difference between two clocks that agree.
pub(crate) const TOLERANCE: Duration = Duration::seconds(60);

/// Our clock beside that of a server.
#[derive(Debug, Default)]
pub(in crate::source) struct Clocks {
    ahead: Option<Duration>,
    warned: bool,
}

impl Clocks {
    /// Notes the server's time, which it told when it was `ours` here. Warns of the first difference.
    pub(in crate::source) fn compare(&mut self, server: OffsetDateTime, ours: OffsetDateTime) {
        let ours = whole_seconds(ours);
        let ahead = server - ours;
        self.ahead = Some(ahead);
        if self.reading(ours).agreed().is_some() || std::mem::replace(&mut self.warned, true) {
            return;
        }
        let how = match ahead.is_negative() {
            true => "ahead of",
            false => "behind",
        };
        log::warn!(
            "this machine's clock is {} {how} the service's: it is {} here and {} there; until they agree, \
             nothing counts as too old, and no position passes the earlier of the two: set this machine's \
             clock (timedatectl, chronyc)",
            ahead.abs(),
            utc(ours),
            utc(server)
        );
    }

    /// How far the server's clock is ahead of ours, once the server has told its time.
    pub(in crate::source) fn ahead(&self) -> Option<Duration> {
        self.ahead
    }

    /// What both clocks say when it is `now` here.
    pub(in crate::source) fn reading(&self, now: OffsetDateTime) -> ClockReading {
        ClockReading {
            ours: now,
            server: self
                .ahead
                .map(|ahead| now.checked_add(ahead).unwrap_or(now)),
        }
    }
}

/// What two clocks say at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockReading {
    /// Our time.
    pub(crate) ours: OffsetDateTime,
    /// The server's time, once it has told it.
    pub(crate) server: Option<OffsetDateTime>,
}

impl ClockReading {
    /// Of two clocks that say the same.
    #[must_use]
    pub(crate) fn of_both(now: OffsetDateTime) -> ClockReading {
        ClockReading {
            ours: now,
            server: Some(now),
        }
    }

    /// The time by the clock that is behind.
    #[must_use]
    pub(crate) fn earlier(&self) -> OffsetDateTime {
        self.server
            .map_or(self.ours, |server| server.min(self.ours))
    }

    /// The time by the clock that is ahead.
    #[must_use]
    pub(crate) fn later(&self) -> OffsetDateTime {
        self.server
            .map_or(self.ours, |server| server.max(self.ours))
    }

    /// The time by the clock that is behind, if both agree; only then may anything be given up.
    #[must_use]
    pub(crate) fn agreed(&self) -> Option<OffsetDateTime> {
        let server = self.server?;
        ((server - self.ours).abs() <= TOLERANCE).then_some(self.earlier())
    }

    /// Whether the server has told a time with which ours does not agree.
    #[must_use]
    pub(crate) fn is_disputed(&self) -> bool {
        self.server.is_some() && self.agreed().is_none()
    }

    /// How far our clock is ahead of the server's, if that is more than the tolerance.
    #[must_use]
    pub(crate) fn ours_ahead(&self) -> Duration {
        match self.is_disputed() {
            true => self.ours - self.earlier(),
            false => Duration::ZERO,
        }
    }
}

/// The error of a position that is too old, though the clocks do not agree on that.
pub(in crate::source) fn undecided(position: OffsetDateTime, clocks: ClockReading) -> Failure {
    let (position, ours) = (utc(position), utc(clocks.ours));
    let there = match clocks.server {
        Some(server) => format!("{} at the service", utc(server)),
        None => "the service does not tell its time".to_owned(),
    };
    let failure = Failure::new(format!(
        "the position {position} is older than the service keeps, but it is {ours} here and {there}, so nothing \
         is given up"
    ));
    failure.with_exit(Exit::Unavailable).with_hint(
        "set this machine's clock (timedatectl, chronyc); the next run goes on when both clocks agree",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    #[test]
    fn clocks_agree_within_a_minute_and_the_one_that_is_behind_counts() {
        // how far the server is ahead in seconds; the earlier, the later and the agreed time
        let table = [
            (None, (0, 0, None)),
            (Some(0), (0, 0, Some(0))),
            (Some(60), (0, 60, Some(0))),
            (Some(-60), (-60, 0, Some(-60))),
            (Some(61), (0, 61, None)),
            (Some(-61), (-61, 0, None)),
            (Some(-1_795_521_600), (-1_795_521_600, 0, None)),
        ];
        for (ahead, expected) in table {
            let mut clocks = Clocks::default();
            if let Some(ahead) = ahead {
                clocks.compare(NOON + Duration::seconds(ahead), NOON);
            }
            let reading = clocks.reading(NOON);
            let seconds = |time: OffsetDateTime| (time - NOON).whole_seconds();
            let found = (
                seconds(reading.earlier()),
                seconds(reading.later()),
                reading.agreed().map(seconds),
            );
            assert_eq!(found, expected, "{ahead:?}");
            let is_known = ahead.is_some();
            assert_eq!(reading.is_disputed(), is_known && expected.2.is_none());
            let ours_ahead = match reading.is_disputed() {
                true => -expected.0,
                false => 0,
            };
            assert_eq!(reading.ours_ahead().whole_seconds(), ours_ahead);
        }
    }

    #[test]
    fn the_last_time_that_the_server_told_counts() {
        let mut clocks = Clocks::default();
        clocks.compare(NOON + Duration::DAY, NOON);
        assert!(clocks.reading(NOON).is_disputed());
        clocks.compare(NOON, NOON);
        assert_eq!(clocks.reading(NOON).agreed(), Some(NOON));
    }
}
