//! `sink` delivers events: to Devo or to standard output.

pub mod devo;
pub(crate) mod stdout;

use crate::config::Confirmation;
use crate::error::Failure;
use crate::pipeline::batch::Batch;
use crate::state::Receiver;

/// Takes events and confirms their delivery.
pub trait Sink {
    /// Sends a batch; opens a transaction if none is open. An empty batch only opens one.
    ///
    /// # Errors
    /// When the receiver does not take it. Everything since the last confirmation counts as unsent.
    fn send(&mut self, batch: &Batch) -> Result<(), SinkError>;

    /// Says that another transaction is likely to follow the open one at once: a sink may connect for it
    /// already.
    fn prepare_next(&mut self) {}

    /// Ends the transaction and proves that the receiver has read everything. Returns at once if
    /// none is open.
    ///
    /// # Errors
    /// When there is no proof. Everything since the last confirmation counts as unsent.
    fn confirm(&mut self) -> Result<(), SinkError>;

    /// The weakest of the confirmations up to now; `None` before the first, and where a
    /// confirmation is of another kind.
    fn confirmed_by(&self) -> Option<Confirmation>;

    /// What to remember of the receiver.
    fn receiver(&self) -> Option<Receiver>;
}

/// Why a sink did not take or confirm events.
///
/// It is not an [`Error`](std::error::Error): the pipeline decides by its variants, so nothing may
/// hide them.
#[derive(Debug)]
pub enum SinkError {
    /// Nobody reads any more: the run ends cleanly, without what is unconfirmed.
    Closed,
    /// The run is to end; says what the receiver had not done by then.
    Stopped(Failure),
    /// The receiver cannot be reached or refuses us: no transaction would succeed.
    Refused(Failure),
    /// The connection broke in the transaction, as when the receiver restarts.
    Broken(Failure),
    /// There is no confirmation, and no reason to think that another attempt gets one at once.
    Unconfirmed(Failure),
}

impl SinkError {
    /// The same where a broken connection is not worth another attempt.
    #[must_use]
    pub(crate) fn for_good(self) -> SinkError {
        match self {
            SinkError::Broken(failure) => SinkError::Unconfirmed(failure),
            other => other,
        }
    }

    /// Whether a smaller transaction may succeed.
    #[must_use]
    pub(crate) fn may_be_too_large(&self) -> bool {
        matches!(self, SinkError::Broken(_) | SinkError::Unconfirmed(_))
    }
}

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Failure {
        match error {
            SinkError::Closed => Failure::new("standard output was closed"),
            SinkError::Stopped(failure)
            | SinkError::Refused(failure)
            | SinkError::Broken(failure)
            | SinkError::Unconfirmed(failure) => failure,
        }
    }
}
