//! `summary` counts what a run did and formats its end line.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::clock::utc;
use crate::config::Confirmation;
use crate::files;
use crate::human::{age, bytes, count};
use crate::pipeline::batch::Late;
use crate::pipeline::checkpoint::Gap;

/// The counters of a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Windows that were read completely.
    pub(crate) windows: u64,
    /// Requests made.
    pub(crate) requests: u64,
    /// Events received.
    pub(crate) received: u64,
    /// Received events that were known and dropped.
    pub(crate) duplicates: u64,
    /// New events created before the position from which the run started.
    #[serde(flatten)]
    pub(crate) late: Late,
    /// Received events that are not valid JSON; without rules they are delivered as they are.
    pub(crate) unreadable: u64,
    /// New events dropped by a filter.
    pub(crate) filtered: u64,
    /// New events quarantined because they could not be sent.
    pub(crate) quarantined: u64,
    /// Received events with invalid UTF-8, which was replaced.
    pub(crate) replaced: u64,
    /// Events whose delivery was confirmed.
    pub(crate) delivered: u64,
    /// Bytes of the delivered events.
    pub(crate) bytes: u64,
    /// The most bytes that were sent and not yet confirmed.
    #[serde(rename = "unconfirmed_bytes_at_most")]
    pub(crate) most_unconfirmed: u64,
}

/// How a run ended.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Name of the collector or tenant.
    pub(crate) name: String,
    /// The service.
    pub(crate) service: &'static str,
    /// How the run ended: caught up, stopped at which limit, or failed.
    pub(crate) outcome: &'static str,
    /// What was counted.
    #[serde(flatten)]
    pub(crate) counters: Counters,
    /// What confirmed the deliveries; the weakest, if they differ.
    pub(crate) confirmed_by: Option<Confirmation>,
    /// Requests left by the nearest limit, once one was booked.
    pub(crate) requests_left: Option<u32>,
    /// Gaps that this run reports.
    pub(crate) gaps: usize,
    /// Rules that have not matched since they were configured.
    pub(crate) never_matched: Vec<String>,
    /// Distance of the position from the present, in seconds.
    pub(crate) behind_seconds: u64,
    /// Duration of the run, in seconds.
    pub(crate) seconds: f64,
    /// Peak memory use of the process so far, in bytes, where the system tells.
    pub(crate) peak_memory_bytes: Option<u64>,
    /// The `@devo_pulling_id` in each event of the run.
    #[serde(rename = "@devo_pulling_id")]
    pub(crate) pulling_id: String,
}

/// The outcome of a run that ended with an error.
pub(crate) const FAILED: &str = "failed";

/// The end line for people: the outcome and what came of it first, and nothing of what is zero.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counters = &self.counters;
        let Late {
            events: late,
            by_recheck,
            ..
        } = counters.late;
        let is = |number: u64, what: &str| (number > 0).then(|| format!("{number} {what}"));
        let of = |number: u64, noun: &str| (number > 0).then(|| count(number, noun));
        let left = self.requests_left.map(|left| format!(" ({left} left)"));
        let by_recheck = is(by_recheck, "by the recheck").map(|said| format!(" ({said})"));
        let [left, by_recheck] = [left, by_recheck].map(Option::unwrap_or_default);
        let is_new = counters.delivered + counters.filtered + counters.quarantined > 0;
        let has_failed = self.outcome == FAILED;
        let rate = (counters.delivered as f64 / self.seconds).round();
        let behind = age(Duration::from_secs(self.behind_seconds));
        let rules = self.never_matched.join(", ");
        let parts = [
            (!is_new && !has_failed).then(|| "nothing new".to_owned()),
            is(counters.delivered, "delivered"),
            is(late, "late").map(|late| late + &by_recheck),
            of(counters.duplicates, "duplicate").map(|duplicates| duplicates + " dropped"),
            is(counters.filtered, "filtered out"),
            is(counters.quarantined, "quarantined"),
            is(counters.unreadable, "not valid JSON"),
            is(counters.replaced, "not UTF-8"),
            of(self.gaps as u64, "gap"),
            (self.confirmed_by == Some(Confirmation::Acknowledged))
                .then(|| "confirmed by acknowledgement alone".to_owned()),
            (self.behind_seconds > 0).then(|| format!("{behind} behind")),
            of(counters.windows, "window"),
            of(counters.requests, "request").map(|requests| requests + &left),
            (counters.bytes > 0).then(|| bytes(counters.bytes)),
            (rate.is_finite() && rate > 0.0).then(|| format!("{rate} events/s")),
            Some(format!("{:.1} s", self.seconds)),
            (!rules.is_empty()).then(|| format!("never matched: {rules}")),
            Some(format!("@devo_pulling_id {}", self.pulling_id)),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        write!(
            f,
            "{}: {}: {}",
            self.service,
            self.outcome,
            parts.join(", ")
        )
    }
}

/// The message for a gap.
#[must_use]
pub(crate) fn gap(gap: &Gap) -> String {
    format!(
        "gap: events from {} to {} were not collected: the service no longer kept them, or did not \
         return all of them",
        utc(gap.from),
        utc(gap.to)
    )
}

/// The warning for late events that came near the end of `look_back` or later; `ever` counts those
/// of all runs.
#[must_use]
pub(crate) fn late(run: &Late, ever: &Late, look_back: Duration) -> Option<String> {
    let seconds = |late: &Late| Duration::from_secs(late.greatest_seconds);
    let look_back_said = age(look_back);
    if run.by_recheck > 0 {
        return Some(format!(
            "{} became visible, or changed, too late for look_back ({look_back_said}); the recheck found what was late, up to {} \
             after its creation ({} so far): set a longer look_back to receive such events sooner",
            count(run.by_recheck, "event"),
            age(seconds(run)),
            ever.by_recheck
        ));
    }
    let near = look_back.as_secs() * 3 / 4;
    (run.events > 0 && run.greatest_seconds >= near).then(|| {
        format!(
            "events became visible, or changed, up to {} after their creation, which is near the \
             end of look_back ({look_back_said}): set a longer look_back to receive them before \
             the recheck",
            age(seconds(run))
        )
    })
}

/// Peak memory use of the process (proc(5), `VmHWM`), in bytes.
#[must_use]
pub fn peak_memory() -> Option<u64> {
    let status = files::read(Path::new("/proc/self/status")).ok()??;
    let status = String::from_utf8(status).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_events_are_warned_about_when_they_come_near_the_end_of_look_back() {
        let look_back = Duration::from_secs(2700);
        let ever = Late {
            events: 90,
            by_recheck: 17,
            greatest_seconds: 46_000,
        };
        let check = |events, by_recheck, greatest_seconds, said: &[&str]| {
            let run = Late {
                events,
                by_recheck,
                greatest_seconds,
            };
            let warning = late(&run, &ever, look_back).unwrap_or_default();
            assert_eq!(warning.is_empty(), said.is_empty(), "{warning}");
            assert!(said.iter().all(|said| warning.contains(said)), "{warning}");
        };
        check(0, 0, 0, &[]);
        check(5, 0, 2024, &[]);
        check(5, 0, 2025, &["up to 33m 45s", "look_back (45m)"]);
        check(5, 3, 45_000, &["3 events", "12h 30m", "17 so far"]);
    }

    #[test]
    fn the_end_line_says_what_there_is_the_outcome_first() {
        let counters = Counters {
            windows: 1,
            requests: 2,
            received: 9,
            duplicates: 3,
            late: Late {
                events: 4,
                by_recheck: 1,
                greatest_seconds: 50_000,
            },
            unreadable: 0,
            filtered: 0,
            quarantined: 0,
            replaced: 0,
            delivered: 6,
            bytes: 600,
            most_unconfirmed: 600,
        };
        let summary = Summary {
            name: "acme".into(),
            service: "tap-clicks-blocked",
            outcome: "caught up",
            counters,
            confirmed_by: Some(Confirmation::Close),
            requests_left: Some(218),
            gaps: 0,
            never_matched: Vec::new(),
            behind_seconds: 65,
            seconds: 2.0,
            peak_memory_bytes: None,
            pulling_id: "17".into(),
        };
        assert_eq!(
            summary.to_string(),
            "tap-clicks-blocked: caught up: 6 delivered, 4 late (1 by the recheck), 3 duplicates dropped, 1m 5s behind, \
             1 window, 2 requests (218 left), 600 bytes, 3 events/s, 2.0 s, @devo_pulling_id 17"
        );
        let weaker = Summary {
            confirmed_by: Some(Confirmation::Acknowledged),
            ..summary.clone()
        };
        let said = weaker.to_string();
        assert!(
            said.contains(" dropped, confirmed by acknowledgement alone, 1m 5s behind,"),
            "{said}"
        );
        let failed = Summary {
            outcome: FAILED,
            counters: Counters {
                requests: 1,
                ..Counters::default()
            },
            ..summary.clone()
        };
        assert_eq!(
            failed.to_string(),
            "tap-clicks-blocked: failed: 1m 5s behind, 1 request (218 left), 2.0 s, @devo_pulling_id 17"
        );
        let nothing = Summary {
            counters: Counters::default(),
            behind_seconds: 0,
            seconds: 0.0,
            ..failed
        };
        assert_eq!(
            nothing.to_string(),
            "tap-clicks-blocked: failed: 0.0 s, @devo_pulling_id 17"
        );
        let known = Summary {
            outcome: "caught up",
            counters: Counters {
                windows: 1,
                received: 1,
                duplicates: 1,
                ..Counters::default()
            },
            gaps: 1,
            never_matched: vec!["drop of a (1 event)".to_owned()],
            ..nothing
        };
        assert_eq!(
            known.to_string(),
            "tap-clicks-blocked: caught up: nothing new, 1 duplicate dropped, 1 gap, 1 window, 0.0 s, \
             never matched: drop of a (1 event), @devo_pulling_id 17"
        );
    }
}
