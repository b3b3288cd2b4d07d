//! `progress` draws the progress bar on a terminal and keeps messages out of its way.

use std::sync::OnceLock;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use time::OffsetDateTime;

use super::Counters;
use crate::clock::utc;
use crate::human::count;

/// The bar on the terminal; there is at most one.
static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// Writes while the bar is suspended.
pub(super) fn beside_the_bar<T>(write: impl FnOnce() -> T) -> T {
    match BAR.get() {
        Some(bar) if !bar.is_finished() => bar.suspend(write),
        _ => write(),
    }
}

/// Shows how far a run has come on a terminal; elsewhere it does nothing.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<&'static ProgressBar>,
    from: OffsetDateTime,
}

impl Progress {
    /// A bar for a run of `service` over a range of time, if standard error is a terminal.
    pub(super) fn on_a_terminal(
        service: &str,
        from: OffsetDateTime,
        to: OffsetDateTime,
    ) -> Option<Progress> {
        let target = ProgressDrawTarget::stderr_with_hz(4);
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {percent}% {msg}").ok()?;
        if target.is_hidden() {
            return None;
        }
        let bar = ProgressBar::with_draw_target(Some(seconds_between(from, to)), target);
        let bar = BAR.get_or_init(|| bar.with_style(style).with_prefix(service.to_owned()));
        Some(Progress {
            bar: Some(bar),
            from,
        })
    }

    /// A bar that shows nothing.
    #[must_use]
    pub(crate) fn hidden() -> Progress {
        Progress {
            bar: None,
            from: OffsetDateTime::UNIX_EPOCH,
        }
    }

    /// Shows that everything before `until` is complete.
    pub(crate) fn show(&self, until: OffsetDateTime, counters: &Counters) {
        if let Some(bar) = self.bar {
            bar.set_position(seconds_between(self.from, until));
            bar.set_message(format!(
                "{}, {}",
                utc(until),
                count(counters.received, "event")
            ));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn seconds_between(from: OffsetDateTime, to: OffsetDateTime) -> u64 {
    u64::try_from((to - from).whole_seconds()).unwrap_or(0)
}
