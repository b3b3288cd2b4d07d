//! `progress` draws the progress bar on a terminal and keeps messages out of its way.

use std::sync::OnceLock;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use time::OffsetDateTime;

use super::Counters;
use crate::clock::seconds_between;
use crate::human::{age, count};

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
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {percent}%{msg}").ok()?;
        if target.is_hidden() {
            return None;
        }
        let length = seconds_between(from, to).as_secs();
        let bar = ProgressBar::with_draw_target(Some(length), target);
        let bar = BAR.get_or_init(|| bar.with_style(style));
        // it may have shown another service
        bar.reset();
        bar.set_length(length);
        bar.set_prefix(service.to_owned());
        bar.set_message("");
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
            bar.set_position(seconds_between(self.from, until).as_secs());
            let done = bar.position() as f64 / bar.length().unwrap_or(0) as f64;
            bar.set_message(message(counters.received, bar.elapsed(), done));
        }
    }
}

/// What stands behind the bar of a run that has come so far, from 0 to 1, in this time.
fn message(received: u64, took: Duration, done: f64) -> String {
    let rate = received as f64 / took.as_secs_f64();
    let rate = (rate.is_finite() && rate >= 1.0).then(|| format!(", {rate:.0}/s"));
    // at the end there is only what comes in meanwhile
    let left = (done > 0.0 && done < 1.0).then(|| took.mul_f64((1.0 - done) / done));
    let left = left.filter(|left| left.as_secs() > 0);
    let left = left.map(|left| format!(", {} left", age(left)));
    let said = [Some(format!(" {}", count(received, "event"))), rate, left];
    said.into_iter().flatten().collect()
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_says_events_rate_and_time_left() {
        let ten = Duration::from_secs(10);
        let table = [
            (1, Duration::ZERO, 0.0, " 1 event"),
            (0, ten, 0.5, " 0 events, 10s left"),
            (5000, ten, 0.25, " 5000 events, 500/s, 30s left"),
            (5000, ten, 0.99, " 5000 events, 500/s"),
            (5000, ten, 1.0, " 5000 events, 500/s"),
            (5000, ten, f64::NAN, " 5000 events, 500/s"),
        ];
        for (received, took, done, wanted) in table {
            assert_eq!(message(received, took, done), wanted);
        }
    }
}
