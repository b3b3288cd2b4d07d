//! Where events come from. A source reads, and says up to where that is complete; it sees no
//! state file, no sink, no lock.

pub(crate) mod api;
mod http_api;
pub(crate) mod isolation;
pub(crate) mod pod;
mod retry;
pub mod tap;
mod windows;
mod wire_time;

use anyhow::Result;
use time::{Duration, OffsetDateTime};

use crate::output::Counters;
use crate::pipeline::batch::{Batch, DedupView};
use crate::quota::Quota;
use crate::shutdown::Shutdown;
pub(crate) use api::ConfiguredApi;
pub(crate) use windows::{ATTEMPTS, WindowLimits, warn_of_a_late_start};

/// What a source gets for its turn.
#[derive(Debug)]
pub(crate) struct PollContext<'a> {
    /// Whether to stop.
    pub(crate) shutdown: &'a Shutdown,
    /// The time.
    pub(crate) now: OffsetDateTime,
    /// What was delivered already.
    pub(crate) dedup: &'a dyn DedupView,
    /// Where to count.
    pub(crate) counters: &'a mut Counters,
    /// Where to book each request before it is made.
    pub(crate) quota: &'a mut dyn Quota,
}

/// Something that gives events.
pub(crate) trait Source {
    /// Within 5 s, or after an empty batch: some events, none yet (an empty batch), or `None` when
    /// nothing is left to read now or the run is to stop.
    ///
    /// # Errors
    /// When reading on is of no use in this run. What was handed over stays good.
    fn next(&mut self, context: &mut PollContext<'_>) -> Result<Option<Batch>>;

    /// In words, the limit of its own at which it ended although more is left to read, if it did.
    fn limit(&self) -> Option<&'static str> {
        None
    }

    /// How far the server's clock is ahead of ours, once it has told its time.
    fn ahead(&self) -> Option<Duration>;
}
