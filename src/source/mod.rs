//! Where events come from. A source reads, and says up to where that is complete; it sees no
//! state file, no sink, no lock.

pub mod tap;

use anyhow::Result;
use time::OffsetDateTime;

use crate::event::Batch;
use crate::report::Tally;
use crate::stop::Stop;

/// What a source gets for its turn.
#[derive(Debug)]
pub struct Turn<'a> {
    /// Whether to stop.
    pub stop: &'a Stop,
    /// The time.
    pub now: OffsetDateTime,
    /// Where to count.
    pub tally: &'a mut Tally,
}

/// Something that gives events.
pub trait Source {
    /// Within 5 s, or after an empty batch: some events, none yet (an empty batch), or `None` when
    /// nothing is left to read now or the run is to stop.
    ///
    /// # Errors
    /// When reading on is of no use in this run. What was handed over stays good.
    fn next(&mut self, turn: &mut Turn) -> Result<Option<Batch>>;
}
