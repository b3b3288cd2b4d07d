//! `plan` decides which runs are verified, and which ranges of which tables Devo is asked for.
//!
//! Pure: the deliveries of services and the time in, queries out.

use std::collections::BTreeMap;

use time::{Duration, OffsetDateTime};

use crate::devo_query::table_of;
use crate::state::runs::{Delivery, TagDeliveries};

/// Longest time from the start of the first run of a query to the end of the last.
const LONGEST: Duration = Duration::DAY;
/// A table is asked for this much more at both ends: clocks differ, and events take their time.
const MARGIN: Duration = Duration::HOUR;

/// A run that delivered something, and what Devo has of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CheckedRun {
    pub(super) service: &'static str,
    pub(super) is_backfill: bool,
    /// Where its events should be.
    pub(super) table: String,
    pub(super) delivery: Delivery,
    /// How many of them are there; `None` where the run is too recent to be sure.
    pub(super) found: Option<u64>,
}

impl CheckedRun {
    /// Events that were confirmed and are not there.
    pub(super) fn missing(&self) -> Option<u64> {
        Some(self.delivery.events.saturating_sub(self.found?))
    }

    /// Events that are there beyond those that were confirmed.
    pub(super) fn more(&self) -> Option<u64> {
        Some(self.found?.saturating_sub(self.delivery.events))
    }
}

/// When runs are verified.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) now: OffsetDateTime,
    /// Runs that ended before it are left out.
    pub(super) since: OffsetDateTime,
    /// How long Devo may take to show an event.
    pub(super) settle: Duration,
}

impl Times {
    /// The runs of a service that ended late enough, the oldest first.
    pub(super) fn runs(
        &self,
        service: &'static str,
        is_backfill: bool,
        deliveries: &[TagDeliveries],
    ) -> Vec<CheckedRun> {
        let mut runs = Vec::new();
        for TagDeliveries { tag, runs: all } in deliveries {
            let table = table_of(tag);
            let wanted = all.iter().filter(|run| run.ended() >= self.since);
            runs.extend(wanted.map(|delivery| CheckedRun {
                service,
                is_backfill,
                table: table.clone(),
                delivery: *delivery,
                found: None,
            }));
        }
        runs
    }

    fn is_recent(&self, run: &CheckedRun) -> bool {
        run.delivery.ended().saturating_add(self.settle) > self.now
    }

    /// What to ask for, so that each run but those too recent lies in one query.
    pub(super) fn queries(&self, runs: &[CheckedRun]) -> Vec<RangeQuery> {
        let mut tables: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, run) in runs.iter().enumerate() {
            if !self.is_recent(run) {
                tables.entry(&run.table).or_default().push(at);
            }
        }
        let mut queries: Vec<RangeQuery> = Vec::new();
        for (table, mut places) in tables {
            places.sort_by_key(|at| runs[*at].delivery.started());
            let mut open: Option<RangeQuery> = None;
            for at in places {
                let (from, to) = (runs[at].delivery.started(), runs[at].delivery.ended());
                match &mut open {
                    Some(query) if to - query.from <= LONGEST => {
                        query.to = query.to.max(to);
                        query.runs.push(at);
                    }
                    _ => {
                        let new = RangeQuery {
                            table: table.to_owned(),
                            from,
                            to,
                            runs: vec![at],
                        };
                        queries.extend(open.replace(new));
                    }
                }
            }
            queries.extend(open);
        }
        for query in &mut queries {
            query.from = query.from.saturating_sub(MARGIN);
            // what lies in the future would be waited for
            let late = self.settle.max(MARGIN);
            query.to = query.to.saturating_add(late).min(self.now);
        }
        queries
    }
}

/// A range of a table that Devo is asked for at once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RangeQuery {
    pub(super) table: String,
    pub(super) from: OffsetDateTime,
    pub(super) to: OffsetDateTime,
    /// The places of its runs in the list of all.
    pub(super) runs: Vec<usize>,
}

/// The sum over runs.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Sum {
    /// Runs that were verified.
    pub(super) runs: u64,
    /// Runs that were not, since they are too recent.
    pub(super) too_recent: u64,
    pub(super) delivered: u64,
    pub(super) found: u64,
    pub(super) missing: u64,
    pub(super) more: u64,
}

impl Sum {
    pub(super) fn of(runs: &[CheckedRun]) -> Sum {
        let mut sum = Sum::default();
        for run in runs {
            let (Some(found), Some(missing), Some(more)) = (run.found, run.missing(), run.more())
            else {
                sum.too_recent += 1;
                continue;
            };
            sum.runs += 1;
            sum.delivered += run.delivery.events;
            sum.found += found;
            sum.missing += missing;
            sum.more += more;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    fn times() -> Times {
        Times {
            now: NOW,
            since: NOW - Duration::days(7),
            settle: Duration::minutes(15),
        }
    }

    /// A run that began so many minutes ago and took so many.
    fn run(ago: i64, took: u64, tag: &str) -> CheckedRun {
        let started = NOW - Duration::minutes(ago);
        let millis = u64::try_from(started.unix_timestamp_nanos() / 1_000_000).unwrap();
        CheckedRun {
            service: "tap-threats",
            is_backfill: false,
            table: table_of(tag),
            delivery: (millis, took * 60_000, 7).into(),
            found: None,
        }
    }

    /// Each query as its table, how long ago it begins and ends in minutes, and its runs.
    #[track_caller]
    fn check(settle: i64, runs: &[CheckedRun], wanted: &[(&str, i64, i64, &[usize])]) {
        let times = Times {
            settle: Duration::minutes(settle),
            ..times()
        };
        let queries = times.queries(runs);
        let ago = |time: OffsetDateTime| (NOW - time).whole_minutes();
        let asked: Vec<_> = queries
            .iter()
            .map(|query| {
                (
                    &*query.table,
                    ago(query.from),
                    ago(query.to),
                    &query.runs[..],
                )
            })
            .collect();
        assert_eq!(asked, wanted);
    }

    #[test]
    fn runs_of_a_day_are_one_query_for_each_table_with_an_hour_around_them() {
        check(15, &[], &[]);
        check(15, &[run(300, 5, "a.b")], &[("a.b", 360, 235, &[0])]);
        check(
            15,
            &[run(300, 5, "a.b"), run(200, 5, "c.d-e"), run(100, 5, "a.b")],
            &[("a.b", 360, 35, &[0, 2]), ("c.dE", 260, 135, &[1])],
        );
    }

    #[test]
    fn a_query_never_spans_more_than_a_day_but_for_one_long_run() {
        let day = 24 * 60;
        check(
            15,
            &[
                run(3 * day, 10, "a.b"),
                run(2 * day + 10, 10, "a.b"),
                run(2 * day, 10, "a.b"),
                run(day - 100, 10, "a.b"),
            ],
            &[
                ("a.b", 3 * day + 60, 2 * day - 60, &[0, 1]),
                ("a.b", 2 * day + 60, 2 * day - 70, &[2]),
                ("a.b", day - 40, day - 170, &[3]),
            ],
        );
        check(
            15,
            &[run(3 * day, 2 * 24 * 60, "a.b"), run(day, 10, "a.b")],
            &[
                ("a.b", 3 * day + 60, day - 60, &[0]),
                ("a.b", day + 60, day - 70, &[1]),
            ],
        );
    }

    #[test]
    fn what_is_too_recent_is_not_asked_for_and_no_query_ends_in_the_future() {
        check(15, &[run(20, 6, "a.b")], &[]);
        check(15, &[run(20, 5, "a.b")], &[("a.b", 80, 0, &[0])]);
        check(180, &[run(300, 5, "a.b")], &[("a.b", 360, 115, &[0])]);
        check(0, &[run(1, 1, "a.b")], &[("a.b", 61, 0, &[0])]);
        // our clock was ahead, and is right again
        check(0, &[run(-10, 1, "a.b")], &[]);
    }

    #[test]
    fn runs_that_ended_too_long_ago_are_left_out() {
        let day = 24 * 60;
        let all = [run(8 * day, 10, "a.b"), run(7 * day + 5, 10, "a.b")];
        let runs = all.iter().map(|run| run.delivery).collect();
        let deliveries = [TagDeliveries {
            tag: "a.b".to_owned(),
            runs,
        }];
        let kept = times().runs("tap-threats", false, &deliveries);
        assert_eq!(kept, all[1..]);
    }

    #[test]
    fn a_sum_adds_up_what_is_missing_and_what_is_more_apart() {
        let found = |found| CheckedRun {
            found,
            ..run(300, 5, "a.b")
        };
        let sum = Sum::of(&[found(Some(7)), found(Some(5)), found(Some(8)), found(None)]);
        let wanted = Sum {
            runs: 3,
            too_recent: 1,
            delivered: 21,
            found: 20,
            missing: 2,
            more: 1,
        };
        assert_eq!(sum, wanted);
    }
}
