//! `windows` reads a service in one window of time after the other.
//!
//! `limits` says what a service accepts; `plan` which windows, purely; `recheck` which of them once more; `clock` whose time counts;
//! `poller` asks, and says what becomes of a window that did not come to its end.

pub(super) mod clock;
mod limits;
mod plan;
mod poller;
mod probe;
mod recheck;
mod settings;

pub(crate) use limits::WindowLimits;
pub(crate) use plan::warn_of_a_late_start;
pub(super) use plan::{WindowPlan, WindowRequest};
pub(crate) use poller::ATTEMPTS;
pub(super) use poller::{BACKOFF, PollStep, WindowPoller};
pub(super) use probe::{preview, probe};
pub(super) use settings::WindowSettings;
