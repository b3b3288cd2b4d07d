//! `pipeline` moves events from a source to a sink and commits what was confirmed.

pub mod batch;
pub mod checkpoint;
pub(crate) mod cycle;
