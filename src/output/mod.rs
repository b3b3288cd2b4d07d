//! `output` prints messages, the end line and answers, for people and for programs.

mod logger;
mod progress;
pub(crate) mod prometheus;
mod summary;
mod table;
mod terminal;

pub(crate) use logger::{Format, Report, answer, early, question, tell, usage};
pub(crate) use progress::Progress;
pub use summary::{Counters, Summary, peak_memory};
pub(crate) use summary::{FAILED, gap, late};
pub(crate) use table::table;
pub(crate) use terminal::{Tone, is_terminal, show_anew};
