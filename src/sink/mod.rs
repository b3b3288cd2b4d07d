//! Where events go.

pub mod devo;
pub(crate) mod stdout;

use crate::pipeline::batch::Batch;
use crate::state::Receiver;

/// Takes events and says when they have arrived.
pub trait Sink {
    /// Hands over a batch, and opens a transaction if none is open; an empty batch does just that.
    ///
    /// # Errors
    /// When the receiver does not take it; everything since the last confirmation is unsent then.
    fn send(&mut self, batch: &Batch) -> Result<(), SinkError>;

    /// Ends the transaction: the receiver has read everything. Nothing pending: at once.
    ///
    /// # Errors
    /// When that is not proven; everything since the last confirmation is unsent then.
    fn confirm(&mut self) -> Result<(), SinkError>;

    /// What is to be remembered of the receiver.
    fn receiver(&self) -> Option<Receiver>;
}

/// Why a sink did not take or confirm events.
///
/// Not an [`Error`](std::error::Error): the pipeline decides by its variants, so nothing may hide them.
#[derive(Debug)]
pub enum SinkError {
    /// Nobody takes any more: the run ends in good order, without what is unconfirmed.
    Closed,
    /// The run is to end, and no connection had come about.
    Stopped(anyhow::Error),
    /// The receiver cannot be reached or refuses us; no transaction would get through.
    Refused(anyhow::Error),
    /// The transaction failed on its way.
    Unconfirmed(anyhow::Error),
}

impl SinkError {
    /// Whether a smaller transaction may get through.
    #[must_use]
    pub(crate) fn may_be_too_large(&self) -> bool {
        matches!(self, SinkError::Unconfirmed(_))
    }
}

impl From<SinkError> for anyhow::Error {
    fn from(error: SinkError) -> anyhow::Error {
        match error {
            SinkError::Closed => anyhow::anyhow!("standard output was closed"),
            SinkError::Stopped(error)
            | SinkError::Refused(error)
            | SinkError::Unconfirmed(error) => error,
        }
    }
}
