//! `QuotaExceeded` says why no request may be made, and when the next one may.

use std::fmt;

use time::OffsetDateTime;

use super::{BLAMED, Limit, QuotaPolicy};
use crate::clock::utc;
use crate::error::Failure;
use crate::human;

/// Why no request may be made, and when the next one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaExceeded {
    pub(super) reason: BlockedBy,
    /// In seconds since 1970.
    pub(super) free: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockedBy {
    Limit {
        of: &'static str,
        limit: Limit,
        held_back: u32,
        /// How many of the requests repeated a failed one.
        repeats: u32,
    },
    /// Repeats of failed requests have used their share of this limit.
    Repeats { of: &'static str, limit: Limit },
    /// The service refused a request; which limit it was is unknown.
    Refused,
}

impl QuotaExceeded {
    /// When the next request is free.
    #[must_use]
    pub(crate) fn free(&self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.free).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// Whether failures of the service have used up much of the limit.
    #[must_use]
    pub(crate) fn is_by_failures(&self) -> bool {
        match self.reason {
            BlockedBy::Limit { limit, repeats, .. } => {
                repeats >= 2 && repeats >= limit.at_most / BLAMED
            }
            BlockedBy::Repeats { .. } => true,
            BlockedBy::Refused => false,
        }
    }

    /// Whether only repeats are refused.
    #[must_use]
    pub(crate) fn is_of_repeats(&self) -> bool {
        matches!(self.reason, BlockedBy::Repeats { .. })
    }

    /// The hint for this error.
    #[must_use]
    pub(crate) fn hint(&self, policy: &QuotaPolicy) -> String {
        match self.reason {
            BlockedBy::Repeats { .. } => {
                "wait until the service recovers; later runs make each request once".to_owned()
            }
            BlockedBy::Limit { .. } if self.is_by_failures() => {
                "find out why requests fail, such as one bad server of several; a later run \
                 continues from the saved position"
                    .to_owned()
            }
            BlockedBy::Limit { held_back, .. } if held_back > 0 => format!(
                "run the same command again once requests are free; {held_back} are reserved for \
                 the timer's runs"
            ),
            BlockedBy::Limit { of, .. } if of == policy.service => format!(
                "raise requests of [services.{of}] if the credentials have quota left; a later run \
                 continues from the saved position"
            ),
            BlockedBy::Limit { .. } => {
                "run less often, or give a service its own credentials; a later run continues from \
                 the saved position"
                    .to_owned()
            }
            BlockedBy::Refused => {
                "give other programs their own credentials if they use these; a later run \
                 continues from the saved position"
                    .to_owned()
            }
        }
    }
}

impl fmt::Display for QuotaExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            BlockedBy::Limit {
                of,
                limit,
                held_back,
                repeats,
            } => {
                write!(f, "the quota of {of} is spent ({limit})")?;
                if held_back > 0 {
                    write!(f, ", except for {held_back} reserved for the timer's runs")?;
                }
                if self.is_by_failures() {
                    let repeats = human::count(repeats.into(), "request");
                    write!(f, ", {repeats} of it on repeats of failed ones")?;
                }
            }
            BlockedBy::Repeats { of, limit } => {
                let share = limit.repeats();
                write!(
                    f,
                    "repeats of failed requests have used their share of the quota of {of} ({share} of {limit})"
                )?;
            }
            BlockedBy::Refused => write!(f, "the service answered HTTP 429")?,
        }
        write!(f, "; the next request is free at {}", utc(self.free()))
    }
}

impl std::error::Error for QuotaExceeded {}

/// Why a request was not booked.
#[derive(Debug)]
pub enum QuotaError {
    /// The run is to end.
    Stopped,
    /// No request may be made now.
    Exceeded(Failure),
    /// Repeats of failed requests have used their share; what a hint says of it.
    RepeatsExceeded(String),
    /// The booking cannot be kept.
    Unkept(Failure),
}
