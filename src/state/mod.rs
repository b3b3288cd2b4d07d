//! `state` keeps what a service remembers between its runs, and what is known of them, in files of one folder.
//!
//! A commit writes the identities and what was quarantined first and the position second, each synced. What cannot be
//! understood is refused; the program never starts over in silence.

pub mod dedup;
mod error;
mod file;
pub(crate) mod ledger;
mod open;
pub(crate) mod quarantine;
pub(crate) mod runs;
mod saved;
mod seen;
mod store;

pub use error::StateError;
pub(crate) use open::StateSummary;
pub use open::{StartPoint, StateOrigin};
pub use saved::{Range, Receiver};
pub use seen::SavedIndex;
pub use store::{State, Unreported};
