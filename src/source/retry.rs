//! `Backoff` says how long to wait before another attempt; `Repeats` counts the attempts.

use std::time::Duration;

use time::OffsetDateTime;

use super::fetch_error::FetchError;
use crate::human::count;
use crate::net::text::http_date;

/// Waits that double, each up to half as long again by chance, so that many clients do not return
/// at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    /// Shortest first wait.
    pub(super) first: Duration,
    /// Longest wait.
    pub(super) longest: Duration,
}

impl Backoff {
    /// The wait after this many failures, at `now`. The fraction of its second serves as chance.
    pub(super) fn wait(self, failures: u32, now: OffsetDateTime) -> Duration {
        self.by_chance(failures, f64::from(now.nanosecond()) / 1e9)
    }

    fn by_chance(self, failures: u32, chance: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
        let least = self.first.saturating_mul(doubled);
        least.min(self.longest * 2 / 3).mul_f64(1.0 + chance / 2.0)
    }
}

/// How long an answer says to wait: `Retry-After` in seconds, or a date by the server's clock.
pub(super) fn retry_after(
    text: Option<&str>,
    server: Option<OffsetDateTime>,
) -> Option<time::Duration> {
    let text = text?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(time::Duration::seconds(seconds.into()));
    }
    let wait = http_date(text)? - server?;
    Some(wait.max(time::Duration::ZERO))
}

/// Counts the requests of a run that failed and did not end it. Warns of them once, when dropped.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    count: u64,
    last: String,
}

impl Repeats {
    /// Notes why a request failed.
    pub(super) fn note(&mut self, error: &FetchError) {
        self.count += 1;
        self.last = error.to_string();
    }
}

impl Drop for Repeats {
    fn drop(&mut self) {
        if self.count > 0 {
            let Repeats {
                count: failed,
                last,
            } = self;
            log::warn!(
                "{} failed and {} tried again; the last: {last}",
                count(*failed, "request"),
                if *failed == 1 { "was" } else { "were" }
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn an_answer_says_how_long_to_wait_or_it_does_not() {
        let server = Some(datetime!(2026-11-24 12:00:00 UTC));
        let table = [
            (None, server, None),
            (Some("120"), server, Some(120)),
            (Some(" 0 "), None, Some(0)),
            (Some("Tue, 24 Nov 2026 12:30:00 GMT"), server, Some(1800)),
            (Some("Tue, 24 Nov 2026 11:30:00 GMT"), server, Some(0)),
            (Some("Tue, 24 Nov 2026 12:30:00 GMT"), None, None),
            (Some("-5"), server, None),
            (Some("soon"), server, None),
            (Some(""), server, None),
        ];
        for (text, server, seconds) in table {
            let found = retry_after(text, server).map(time::Duration::whole_seconds);
            assert_eq!(found, seconds, "{text:?}");
        }
    }

    #[test]
    fn waits_double_up_to_the_longest_and_are_never_all_alike() {
        let backoff = Backoff {
            first: Duration::from_secs(2),
            longest: Duration::from_secs(60),
        };
        let table = [
            (0, 2, 3),
            (1, 2, 3),
            (2, 4, 6),
            (3, 8, 12),
            (4, 16, 24),
            (5, 32, 48),
            (6, 40, 60),
            (u32::MAX, 40, 60),
        ];
        for (failures, least, most) in table {
            let wait = |chance| backoff.by_chance(failures, chance);
            assert_eq!(wait(0.0), Duration::from_secs(least), "{failures}");
            assert_eq!(wait(1.0), Duration::from_secs(most), "{failures}");
        }
    }
}
