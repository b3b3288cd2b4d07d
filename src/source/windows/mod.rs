//! `windows` reads a service window by window.
//!
//! `limits` says which windows a service accepts, `plan` which ones a run requests, `recheck` which
//! ones it reads once more, `clock` whose time decides. `poller` makes the requests, `failures` decides
//! what follows a window that fails. `settings` are the keys of such services; `probe` tests the sign-in.

pub(super) mod clock;
mod failures;
mod limits;
mod plan;
mod poller;
mod probe;
mod recheck;
mod settings;

pub(crate) use clock::TOLERANCE;
pub(crate) use limits::WindowLimits;
pub(crate) use plan::warn_of_a_late_start;
pub(super) use plan::{WindowPlan, WindowRequest};
pub(crate) use poller::ATTEMPTS;
pub(super) use poller::{BACKOFF, PollStep, WindowPoller};
pub(super) use probe::{preview, probe};
pub(super) use settings::WindowSettings;
