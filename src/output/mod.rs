//! `output` prints messages, the end line and answers, for people and for programs.

mod human;
mod logger;
mod progress;
pub mod prometheus;
mod summary;

pub use human::{age, table};
pub use logger::{Format, Report, answer, early, usage};
pub use progress::Progress;
pub use summary::{Counters, Summary, gap, late, peak_memory};
