//! `Clock` reads the wall clock, and nothing else does; everything below `cli` gets the time as a
//! value. Waits are measured by `Instant`, and pass in `sleep`.

use std::ops::{Add, Sub};
use std::sync::LazyLock;
use std::time::{self as system, Duration as Wait};

use time::{Duration, OffsetDateTime};

use crate::world;

/// A point in time that no setting of the wall clock moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(system::Instant);

impl Instant {
    /// Now.
    #[must_use]
    pub(crate) fn now() -> Instant {
        /// Where simulated worlds begin.
        static BEGIN: LazyLock<system::Instant> = LazyLock::new(system::Instant::now);
        Instant(match world::simulated() {
            None => system::Instant::now(),
            Some(world) => *BEGIN + world.elapsed(),
        })
    }

    /// How long ago it was.
    #[must_use]
    pub(crate) fn elapsed(self) -> Wait {
        Instant::now().saturating_duration_since(self)
    }

    /// So much later; `None` if no clock can show that.
    #[must_use]
    pub(crate) fn checked_add(self, time: Wait) -> Option<Instant> {
        self.0.checked_add(time).map(Instant)
    }

    /// How long it is after `earlier`; `None` if it is before.
    #[must_use]
    pub(crate) fn checked_duration_since(self, earlier: Instant) -> Option<Wait> {
        self.0.checked_duration_since(earlier.0)
    }

    /// How long it is after `earlier`; zero if it is before.
    #[must_use]
    pub(crate) fn saturating_duration_since(self, earlier: Instant) -> Wait {
        self.0.saturating_duration_since(earlier.0)
    }
}

impl Add<Wait> for Instant {
    type Output = Instant;

    fn add(self, time: Wait) -> Instant {
        Instant(self.0 + time)
    }
}

impl Sub<Wait> for Instant {
    type Output = Instant;

    fn sub(self, time: Wait) -> Instant {
        Instant(self.0 - time)
    }
}

impl Sub for Instant {
    type Output = Wait;

    fn sub(self, earlier: Instant) -> Wait {
        self.0 - earlier.0
    }
}

/// Lets this time pass.
pub(crate) fn sleep(time: Wait) {
    match world::simulated() {
        None => std::thread::sleep(time),
        Some(world) => world.sleep(time),
    }
}

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
            None => world::simulated().map_or_else(OffsetDateTime::now_utc, |world| world.utc()),
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
pub(crate) fn seconds_between(from: OffsetDateTime, to: OffsetDateTime) -> Wait {
    let seconds = u64::try_from((to - from).whole_seconds()).unwrap_or(0);
    Wait::from_secs(seconds)
}
