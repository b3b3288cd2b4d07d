//! `progress` draws the progress bar on a terminal and keeps messages out of its way.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use console::Term;
use time::OffsetDateTime;

use super::Counters;
use crate::clock::{Instant, seconds_between};
use crate::human::{age, count};

/// Shortest time between two pictures of the bar.
const PERIOD: Duration = Duration::from_millis(250);

/// The bar on the terminal; there is at most one.
static BAR: Mutex<Option<Bar>> = Mutex::new(None);

/// Writes while the bar is away.
pub(super) fn beside_the_bar<T>(write: impl FnOnce() -> T) -> T {
    let bar = bar();
    let Some(drawn) = bar.as_ref().filter(|bar| bar.drawn.is_some()) else {
        // nobody waits for a peer that does not read
        drop(bar);
        return write();
    };
    drawn.clear();
    let written = write();
    drawn.draw();
    written
}

fn bar() -> MutexGuard<'static, Option<Bar>> {
    BAR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows how far a run has come on a terminal; elsewhere it does nothing.
#[derive(Debug)]
pub(crate) struct Progress {
    is_shown: bool,
    from: OffsetDateTime,
}

impl Progress {
    /// A bar for a run of `service` over a range of time, if standard error is a terminal.
    pub(super) fn on_a_terminal(
        service: &str,
        from: OffsetDateTime,
        to: OffsetDateTime,
    ) -> Option<Progress> {
        let terminal = Term::stderr();
        if !terminal.is_term() {
            return None;
        }
        *bar() = Some(Bar {
            terminal,
            service: service.to_owned(),
            length: seconds_between(from, to).as_secs(),
            position: 0,
            received: 0,
            begun: Instant::now(),
            drawn: None,
        });
        Some(Progress {
            is_shown: true,
            from,
        })
    }

    /// A bar that shows nothing.
    #[must_use]
    pub(crate) fn hidden() -> Progress {
        Progress {
            is_shown: false,
            from: OffsetDateTime::UNIX_EPOCH,
        }
    }

    /// Shows that everything before `until` was read.
    pub(crate) fn show(&self, until: OffsetDateTime, counters: &Counters) {
        if self.is_shown
            && let Some(bar) = &mut *bar()
        {
            bar.position = seconds_between(self.from, until).as_secs();
            bar.received = counters.received;
            if bar.drawn.is_none_or(|drawn| drawn.elapsed() >= PERIOD) {
                bar.draw();
                bar.drawn = Some(Instant::now());
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown
            && let Some(bar) = bar().take()
        {
            bar.clear();
        }
    }
}

/// How far a run has come.
#[derive(Debug)]
struct Bar {
    terminal: Term,
    service: String,
    /// Of the range of time, in seconds.
    length: u64,
    /// Of what was read, in seconds.
    position: u64,
    /// Events.
    received: u64,
    begun: Instant,
    /// When it was drawn last; `None` while it is not on the terminal.
    drawn: Option<Instant>,
}

impl Bar {
    fn draw(&self) {
        self.clear();
        let columns = usize::from(self.terminal.size().1);
        // without a terminal, nobody looks at it
        let _ = self
            .terminal
            .write_str(&self.line(self.begun.elapsed(), columns));
    }

    fn clear(&self) {
        let _ = self.terminal.clear_line();
    }

    /// The bar after this time, in fewer columns than these: some terminals break the line at the last one.
    fn line(&self, took: Duration, columns: usize) -> String {
        let done = (self.position as f64 / self.length.max(1) as f64).min(1.0);
        let percent = (100.0 * done) as u64;
        let message = message(self.received, took, done);
        let ends = [
            format!("{} ", self.service),
            format!(" {percent}%{message}"),
        ];
        let taken: usize = ends.iter().map(|end| end.chars().count()).sum();
        let columns = columns.saturating_sub(1);
        let width = columns.saturating_sub(taken);
        let filled = (width as f64 * done) as usize;
        let bar = "█".repeat(filled) + &"░".repeat(width - filled);
        let line = ends.join(&bar);
        line.chars().take(columns).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_what_the_words_leave_of_the_line() {
        let bar = |position, length| Bar {
            terminal: Term::stderr(),
            service: "tap".into(),
            length,
            position,
            received: 5000,
            begun: Instant::now(),
            drawn: None,
        };
        let table = [
            (0, 200, 40, "tap ░░░░░░░░░░░░░ 0% 5000 events, 500/s"),
            (
                50,
                200,
                50,
                "tap ███░░░░░░░░░ 25% 5000 events, 500/s, 30s left",
            ),
            (200, 200, 45, "tap ████████████████ 100% 5000 events, 500/s"),
            (300, 200, 45, "tap ████████████████ 100% 5000 events, 500/s"),
            (0, 0, 45, "tap ░░░░░░░░░░░░░░░░░░ 0% 5000 events, 500/s"),
            (50, 200, 20, "tap  25% 5000 event"),
            (50, 200, 1, ""),
            (50, 200, 0, ""),
        ];
        for (position, length, columns, wanted) in table {
            let line = bar(position, length).line(Duration::from_secs(10), columns);
            assert_eq!(line, wanted, "{position} of {length}");
            assert!(line.chars().count() < columns.max(1));
        }
    }

    #[test]
    fn the_bar_says_events_rate_and_time_left() {
        let ten = Duration::from_secs(10);
        let table = [
            (1, Duration::ZERO, 0.0, " 1 event"),
            (0, ten, 0.5, " 0 events, 10s left"),
            (5000, ten, 0.25, " 5000 events, 500/s, 30s left"),
            (5000, ten, 0.99, " 5000 events, 500/s"),
            (5000, ten, 1.0, " 5000 events, 500/s"),
        ];
        for (received, took, done, wanted) in table {
            assert_eq!(message(received, took, done), wanted);
        }
    }
}
