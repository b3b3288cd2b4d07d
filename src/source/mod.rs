//! `source` reads events, and says up to where they are complete.
//!
//! A source sees no state file, no sink and no lock.

pub(crate) mod api;
pub(crate) mod fetch_error;
mod http_api;
pub(crate) mod isolation;
pub(crate) mod pod;
mod retry;
pub mod tap;
mod windows;
mod wire_time;

use time::{Duration, OffsetDateTime};

use crate::output::Counters;
use crate::pipeline::batch::{Batch, Delivered};
use crate::quota::Quota;
use crate::shutdown::Shutdown;
pub(crate) use api::ConfiguredApi;
use fetch_error::FetchError;
pub(crate) use windows::{ATTEMPTS, TOLERANCE, WindowLimits, warn_of_a_late_start};

/// What a source works with in one call.
#[derive(Debug)]
pub(crate) struct PollContext<'a> {
    /// Whether to stop, and why.
    pub(crate) shutdown: &'a Shutdown,
    /// The time.
    pub(crate) now: OffsetDateTime,
    /// What was delivered before.
    pub(crate) dedup: &'a mut dyn Delivered,
    /// Counts what the run does.
    pub(crate) counters: &'a mut Counters,
    /// Books each request before it is made.
    pub(crate) quota: &'a mut dyn Quota,
}

/// Reads events.
pub(crate) trait Source {
    /// Returns within 5 s, or after an empty batch: some events; an empty batch if there are none yet, upon
    /// which everything so far is confirmed; `None` when nothing is left to read now, or the run is to stop.
    ///
    /// # Errors
    /// When reading on is useless in this run. What was returned before stays good.
    fn next(&mut self, context: &mut PollContext<'_>) -> Result<Option<Batch>, FetchError>;

    /// The source's own limit at which it ended although more is left to read, for people.
    fn limit(&self) -> Option<&'static str> {
        None
    }

    /// How far the server's clock is ahead of ours, once the server has told its time.
    fn ahead(&self) -> Option<Duration>;
}
