//! `state` keeps what a service remembers between its runs, and the record of those runs, in files of
//! one folder.
//!
//! A commit writes identities and quarantined events first and the position second, each synced.
//! What cannot be understood is refused; the program never starts over in silence.

pub mod dedup;
mod digest_map;
mod error;
mod file;
mod identities;
pub mod ledger;
mod open;
pub(crate) mod quarantine;
pub mod runs;
mod saved;
mod seen;
mod store;

pub use error::StateError;
pub(crate) use open::StateSummary;
pub use open::{StartPoint, StateOrigin};
pub use saved::{Range, Receiver};
pub use seen::SavedIndex;
pub use store::{State, Unreported};
