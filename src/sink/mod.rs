//! Where events go.

pub mod devo;
pub mod stdout;

use anyhow::Result;

use crate::pipeline::batch::Batch;
use crate::state::Receiver;

/// Takes events and says when they have arrived.
pub trait Sink {
    /// Hands over a batch, and opens a transaction if none is open; an empty batch does just that.
    ///
    /// # Errors
    /// When the receiver does not take it; everything since the last confirmation is unsent then.
    fn send(&mut self, batch: &Batch) -> Result<()>;

    /// Ends the transaction: the receiver has read everything. Nothing pending: at once.
    ///
    /// # Errors
    /// When that is not proven; everything since the last confirmation is unsent then.
    fn confirm(&mut self) -> Result<()>;

    /// What is to be remembered of the receiver.
    fn receiver(&self) -> Option<Receiver>;
}

/// Nobody takes any more: the run ends in good order, without what is unconfirmed.
#[derive(Debug, Clone, Copy)]
pub struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("standard output was closed")
    }
}

impl std::error::Error for Closed {}
