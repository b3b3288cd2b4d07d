//! The wall clock, read here and nowhere else; everyone below `command` gets the time as a value.

use std::time::Instant;

use time::{Duration, OffsetDateTime};

/// Tells the time: the machine's, or one that was set for a test and runs on from there.
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

    /// A clock that stands at `time` now and goes on from there.
    #[must_use]
    pub(crate) fn set_to(time: OffsetDateTime) -> Clock {
        Clock {
            set: Some((time, Instant::now())),
        }
    }

    /// The time now, UTC.
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
