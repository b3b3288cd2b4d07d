//! `report` shows what Devo has of each run: as a table, as JSON and as a Nagios check.

use serde_json::{Value, json};

use super::plan::{CheckedRun, Sum, Times};
use crate::cli::nagios;
use crate::clock::utc;
use crate::human::{age, count};
use crate::output;

/// A row for each run, and the sum.
pub(super) fn text(runs: &[CheckedRun], times: &Times) -> String {
    let head = [
        "SERVICE",
        "STARTED",
        "PULLING ID",
        "DELIVERED",
        "FOUND",
        "MISSING",
        "MORE",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(runs.iter().map(CheckedRun::row));
    let sum = Sum::of(runs);
    let table = match runs.is_empty() {
        true => String::new(),
        false => output::table(&rows),
    };
    let mut text = format!("{table}{}\n", said(&sum, times));
    if sum.missing > 0 {
        text += "hint: verify again with a longer --settle, since Devo may take its time; events that stay missing come \
                 again with a backfill: run SERVICE --start-time T --end-time T\n";
    }
    text
}

impl CheckedRun {
    fn row(&self) -> Vec<String> {
        let backfill = if self.is_backfill { " (backfill)" } else { "" };
        let or_not = |number: Option<u64>| number.map_or("-".to_owned(), |one| one.to_string());
        let found = self.found.map(|found| found.to_string());
        vec![
            format!("{}{backfill}", self.service),
            utc(self.delivery.started()),
            self.delivery.pulling_id.to_string(),
            self.delivery.events.to_string(),
            found.unwrap_or_else(|| "too recent".to_owned()),
            or_not(self.missing()),
            or_not(self.more()),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "service": self.service,
            "is_backfill": self.is_backfill,
            "table": self.table,
            "@devo_pulling_id": self.delivery.pulling_id.to_string(),
            "started": utc(self.delivery.started()),
            "ended": utc(self.delivery.ended()),
            "delivered": self.delivery.events,
            "is_too_recent": self.found.is_none(),
            "found": self.found,
            "missing": self.missing(),
            "more": self.more(),
        })
    }
}

/// The sum, in one line.
fn said(sum: &Sum, times: &Times) -> String {
    let recent = match sum.too_recent {
        0 => String::new(),
        number => {
            let settle = age(times.settle.unsigned_abs());
            format!("; {} too recent (--settle {settle})", count(number, "run"))
        }
    };
    if sum.runs == 0 {
        let since = utc(times.since);
        return format!("no run to verify since {since}{recent}");
    }
    format!(
        "{}: {} delivered, {} found, {} missing, {} more than delivered{recent}",
        count(sum.runs, "run"),
        count(sum.delivered, "event"),
        sum.found,
        sum.missing,
        sum.more
    )
}

/// One JSON object; `status` is what the command ends with.
pub(super) fn as_json(runs: &[CheckedRun], times: &Times, status: u8) -> String {
    let answer = json!({
        "now": utc(times.now),
        "since": utc(times.since),
        "settle_seconds": times.settle.whole_seconds(),
        "status": status,
        "sum": Sum::of(runs),
        "runs": runs.iter().map(CheckedRun::json).collect::<Vec<_>>(),
    });
    format!("{answer:#}\n")
}

/// The code and the line of a Nagios check.
pub(super) fn check(runs: &[CheckedRun], times: &Times, max_missing: u64) -> (u8, String) {
    let sum = Sum::of(runs);
    let code = match sum.missing {
        0 => 0,
        missing if missing <= max_missing => 1,
        _ => 2,
    };
    let figures = [
        format!("'missing'={};0;{max_missing};0", sum.missing),
        format!("'more'={};;;0", sum.more),
        format!("'delivered'={};;;0", sum.delivered),
    ];
    (code, nagios::line(code, &said(&sum, times), &figures))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;
    use time::{Duration, OffsetDateTime};

    const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    fn times() -> Times {
        Times {
            now: NOW,
            since: NOW - Duration::DAY,
            settle: Duration::minutes(15),
        }
    }

    fn run(is_backfill: bool, delivered: u64, found: Option<u64>) -> CheckedRun {
        CheckedRun {
            service: "tap-threats",
            is_backfill,
            table: "my.app.x".to_owned(),
            delivery: (1_795_493_014_421, 3000, delivered).into(),
            found,
        }
    }

    #[test]
    fn the_table_has_a_row_for_each_run_and_the_sum() {
        let runs = [
            run(false, 10, Some(10)),
            run(true, 7, Some(5)),
            run(false, 3, Some(4)),
            run(false, 2, None),
        ];
        let said = text(&runs, &times());
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(
            lines[..6],
            [
                "SERVICE                 STARTED               PULLING ID     DELIVERED  FOUND       MISSING  MORE",
                "tap-threats             2026-11-24T04:03:34Z  1795493014421  10         10          0        0",
                "tap-threats (backfill)  2026-11-24T04:03:34Z  1795493014421  7          5           2        0",
                "tap-threats             2026-11-24T04:03:34Z  1795493014421  3          4           0        1",
                "tap-threats             2026-11-24T04:03:34Z  1795493014421  2          too recent  -        -",
                "3 runs: 20 events delivered, 19 found, 2 missing, 1 more than delivered; 1 run too recent (--settle 15m)",
            ]
        );
        assert!(lines[6].starts_with("hint: "));
        let said = text(&runs[..1], &times());
        assert!(!said.contains("hint") && !said.contains("recent"), "{said}");
    }

    #[test]
    fn a_nagios_check_judges_the_sum_of_missing_events() {
        let runs = [run(false, 10, Some(8)), run(false, 10, Some(9))];
        let none = "PROOFPULL OK - no run to verify since 2026-11-23T12:00:00Z | ";
        let table = [
            (&runs[..0], 0, 0, none),
            (
                &runs[..],
                2,
                2,
                "PROOFPULL CRITICAL - 2 runs: 20 events delivered, 17 found, 3 missing, ",
            ),
            (&runs[..], 3, 1, "PROOFPULL WARNING - 2 runs: "),
            (&runs[1..], 0, 2, "PROOFPULL CRITICAL - 1 run: "),
        ];
        for (runs, max_missing, code, said) in table {
            let (answered, line) = check(runs, &times(), max_missing);
            assert_eq!(answered, code, "{line}");
            assert!(line.starts_with(said), "{line}");
            assert_eq!(line.matches('|').count(), 1);
        }
        let (_, line) = check(&runs, &times(), 5);
        assert!(line.ends_with("| 'missing'=3;0;5;0 'more'=0;;;0 'delivered'=20;;;0\n"));
    }
}
