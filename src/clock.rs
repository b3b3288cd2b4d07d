//! `Clock` reads the wall clock, and nothing else does; everything below `cli` gets the time as a
//! value.

use std::time::Instant;

use time::{Duration, OffsetDateTime};

/// Tells the time: that of the machine, or one set for a test that runs on from there.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    set: Option<(OffsetDateTime, Instant)>,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn of_the_machine() -> Clock {
        Clock { set: None }
    }

    /// A clock that shows `time` now and runs on from there.
    #[must_use]
    pub(crate) fn set_to(time: OffsetDateTime) -> Clock {
        Clock {
            set: Some((time, Instant::now())),
        }
    }

    /// The current time, in UTC.
    #[must_use]
    pub(crate) fn now(&self) -> OffsetDateTime {
        match self.set {
            None => OffsetDateTime::now_utc(),
            Some((time, since)) => {
                time + Duration::try_from(since.elapsed()).unwrap_or(Duration::ZERO)
            }
        }
    }
}

/// A time as the services write it: `2025-01-14T08:00:00Z`.
#[must_use]
pub fn utc(time: OffsetDateTime) -> String {
    let time = time.to_offset(time::UtcOffset::UTC);
    let (date, clock) = (time.date(), time.time());
    let (month, day) = (u8::from(date.month()), date.day());
    format!(
        "{:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        date.year(),
        clock.hour(),
        clock.minute(),
        clock.second()
    )
}

/// The time without its fraction of a second.
#[must_use]
pub(crate) fn whole_seconds(time: OffsetDateTime) -> OffsetDateTime {
    time - Duration::nanoseconds(i64::from(time.nanosecond()))
}

/// How long `to` is after `from`; zero if it is before.
#[must_use]
pub(crate) fn seconds_between(from: OffsetDateTime, to: OffsetDateTime) -> std::time::Duration {
    let seconds = u64::try_from((to - from).whole_seconds()).unwrap_or(0);
    std::time::Duration::from_secs(seconds)
}
