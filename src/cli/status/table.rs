//! `table` shows where services stand, for people: what is wrong first.

use std::path::Path;
use std::time::Duration;

use time::OffsetDateTime;

use super::collect::{OpenHourStatus, QuotaLeft, ServiceStatus, TimeSpan};
use super::problems::Problem;
use crate::clock::seconds_between;
use crate::config::Confirmation;
use crate::config::values::parse_instant;
use crate::human::{age, count};
use crate::output::{self, Tone};
use crate::state::runs::{KILLED, Last};

const NEVER_RAN: &str = "never ran";

/// A line, and what it means.
pub(super) type Line = (Tone, String);

/// What is wrong, then a table, and below it what else one would want to know.
pub(super) fn lines(standings: &[ServiceStatus], now: OffsetDateTime, dir: &Path) -> Vec<Line> {
    if standings.is_empty() {
        let dir = dir.display();
        let said = format!("no service has a state in {dir} or a table in the configuration");
        return vec![(Tone::Plain, said)];
    }
    let problems: Vec<Vec<Problem>> = standings
        .iter()
        .map(|status| status.problems(now))
        .collect();
    let mut lines = vec![headline(standings, &problems)];
    for (status, problems) in standings.iter().zip(&problems) {
        let title = status.title();
        for Problem { tone, said, hint } in problems {
            lines.push((*tone, format!("{title}: {said}")));
            lines.extend(hint.as_ref().map(|hint| plain(format!("hint: {hint}"))));
        }
    }
    lines.push(plain(String::new()));
    let head = [
        "SERVICE",
        "STATUS",
        "BEHIND",
        "LAST RUN",
        "DELIVERED",
        "LATE",
        "GAPS",
        "QUOTA LEFT",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(standings.iter().map(|status| status.row(now)));
    let worst = |problems: &Vec<Problem>| problems.iter().map(|problem| problem.tone).max();
    let tones = problems.iter().map(|all| worst(all).unwrap_or(Tone::Plain));
    let tones = std::iter::once(Tone::Heading).chain(tones);
    let table = output::table(&rows);
    lines.extend(tones.zip(table.lines().map(str::to_owned)));
    let notes: Vec<Line> = standings
        .iter()
        .flat_map(|status| status.notes(now))
        .collect();
    if !notes.is_empty() {
        lines.push(plain(String::new()));
        lines.extend(notes);
    }
    lines
}

fn plain(text: String) -> Line {
    (Tone::Plain, text)
}

/// How many are well, and how far behind.
fn headline(standings: &[ServiceStatus], problems: &[Vec<Problem>]) -> Line {
    let worst = problems.iter().flatten().map(|problem| problem.tone).max();
    let is_new = |status: &ServiceStatus| status.position.is_none() && status.runs.is_none();
    let both = || standings.iter().zip(problems);
    let wrong = both().filter(|(_, problems)| !problems.is_empty()).count();
    let well = both().filter(|(_, problems)| problems.is_empty());
    let (new, well): (Vec<_>, Vec<_>) = well.partition(|(status, _)| is_new(status));
    let behind = well.iter().filter_map(|(status, _)| status.lag_seconds);
    let said = [
        (wrong > 0).then(|| format!("{wrong} with a problem")),
        (!new.is_empty()).then(|| format!("{} {NEVER_RAN}", new.len())),
        (!well.is_empty()).then(|| format!("{} well", well.len())),
        behind
            .max()
            .map(|most| format!("at most {} behind", seconds(Some(most)))),
    ];
    let said: Vec<String> = said.into_iter().flatten().collect();
    let all = count(standings.len() as u64, "service");
    (
        worst.unwrap_or(Tone::Good),
        format!("{all}: {}", said.join(", ")),
    )
}

impl ServiceStatus {
    fn row(&self, now: OffsetDateTime) -> Vec<String> {
        let ago = |time: OffsetDateTime| format!("{} ago", age(seconds_between(time, now)));
        let last = self.runs.as_ref().and_then(|runs| runs.last.as_ref());
        let nothing = || "-".to_owned();
        let (last_run, status) = match (&self.killed, last) {
            (Some(killed), _) => (ago(killed.since), KILLED.to_owned()),
            (None, Some(last)) => (ago(last.ended), format!("{} {}", last.status, last.name)),
            (None, None) if self.error.is_some() => (nothing(), "unknown".to_owned()),
            (None, None) => (nothing(), NEVER_RAN.to_owned()),
        };
        let running = self.running.as_ref().map(|running| {
            let since = parse_instant(&running.since).ok();
            let since = since.map(|since| format!(" {}", age(seconds_between(since, now))));
            format!("running{}", since.unwrap_or_default())
        });
        let delivered = self
            .runs
            .as_ref()
            .and_then(|runs| runs.totals.get("delivered"));
        vec![
            self.title(),
            running.unwrap_or(status),
            seconds(self.lag_seconds),
            last_run,
            delivered.map_or_else(nothing, ToString::to_string),
            self.late.events.to_string(),
            self.gaps.len().to_string(),
            self.quota
                .as_ref()
                .and_then(QuotaLeft::nearest)
                .unwrap_or_else(nothing),
        ]
    }

    /// What does not fit into a row and is not wrong: a line each.
    fn notes(&self, now: OffsetDateTime) -> Vec<Line> {
        let mut notes = Vec::new();
        for TimeSpan { from, to } in &self.gaps {
            notes.push(format!(
                "gap: events from {from} to {to} were not collected"
            ));
        }
        if self.late.events > 0 {
            let late = count(self.late.events, "late event");
            let most = seconds(Some(self.late.greatest_seconds));
            notes.push(format!("{late} in all runs, up to {most} after their time"));
        }
        notes.extend(self.live.as_ref().map(|live| {
            let behind = seconds(Some(live.lag_seconds));
            format!("live: delivered up to {behind} ago")
        }));
        notes.extend(
            self.open_hours
                .as_deref()
                .and_then(|hours| open_hours(hours, now)),
        );
        let last = self.runs.as_ref().and_then(|runs| runs.last.as_ref());
        let weaker = Confirmation::Acknowledged.to_string();
        if last.and_then(Last::confirmed_by) == Some(&weaker) {
            notes.push(
                "the receiver only acknowledged what the last run delivered, which proves less than a \
                 close ([devo] confirm)"
                    .to_owned(),
            );
        }
        let title = self.title();
        let notes = notes
            .into_iter()
            .map(|note| plain(format!("{title}: {note}")));
        notes.collect()
    }
}

/// How many hours of the archive are open, from when on, and why.
fn open_hours(hours: &[OpenHourStatus], now: OffsetDateTime) -> Option<String> {
    let first = hours.first()?;
    let mut whys: Vec<&str> = Vec::new();
    for why in hours.iter().map(|hour| hour.why.in_words()) {
        if !whys.contains(&why) {
            whys.push(why);
        }
    }
    let from = parse_instant(&first.from).ok()?;
    Some(format!(
        "{}, requested again by later runs; the first began {} ago: {}",
        count(hours.len() as u64, "open archive hour"),
        age(seconds_between(from, now)),
        whys.join("; ")
    ))
}

impl QuotaLeft {
    /// How much is left of the limit of which least is left.
    fn nearest(&self) -> Option<String> {
        let left = self
            .limits
            .iter()
            .map(|limit| (limit.at_most.saturating_sub(limit.used), limit.at_most));
        let (left, at_most) = left.min()?;
        Some(format!("{left} of {at_most}"))
    }
}

pub(super) fn seconds(seconds: Option<u64>) -> String {
    seconds.map_or_else(
        || "-".to_owned(),
        |seconds| age(Duration::from_secs(seconds)),
    )
}

#[cfg(test)]
mod tests {
    use super::super::collect::{LimitStatus, RunningRun};
    use super::*;
    use crate::pipeline::batch::Late;
    use crate::state::runs::Runs;
    use serde_json::json;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-27 3:00 UTC);

    /// A service whose last run ended so long ago, with everything as wide as it gets.
    fn ran(
        service: &'static str,
        status: (u8, &str),
        hint: Option<&str>,
        ago: time::Duration,
    ) -> ServiceStatus {
        let (status, name) = status;
        let last = Last {
            started: NOW - ago,
            ended: NOW - ago,
            status,
            name: name.to_owned(),
            error: (status != 0).then(|| "why".to_owned()),
            hint: hint.map(str::to_owned),
            summary: serde_json::Map::new(),
        };
        let counted = json!({ "delivered": 1_234_567_890 });
        let mut runs = Runs::none();
        runs.end(last, counted.as_object().unwrap());
        let limit = LimitStatus {
            of: "all",
            used: 0,
            at_most: 1800,
            period_seconds: 86_400,
        };
        let mut ran = ServiceStatus::new(service, "devo", false);
        ran.position = Some("2026-11-27T02:59:00Z".to_owned());
        ran.lag_seconds = Some(86_399);
        ran.late = Late {
            events: 123_456,
            by_recheck: 0,
            greatest_seconds: 86_399,
        };
        ran.runs = Some(runs);
        ran.quota = Some(QuotaLeft {
            limits: vec![limit],
            next_request: String::new(),
            is_free: true,
        });
        ran
    }

    #[test]
    fn what_is_wrong_stands_first_and_the_table_fits_100_characters() {
        let minutes = time::Duration::minutes;
        let mut running = ran("pod-message", (0, "ok"), None, minutes(60 * 30));
        running.running = Some(RunningRun {
            pid: 7,
            since: "2026-11-27T02:48:00Z".to_owned(),
        });
        let standings = [
            ran("tap-messages-delivered", (0, "ok"), None, minutes(2)),
            ran(
                "tap-messages-blocked",
                (77, "noperm"),
                Some("look"),
                minutes(59),
            ),
            ran(
                "tap-clicks-blocked",
                (69, "unavailable"),
                None,
                minutes(60 * 23 + 59),
            ),
            ServiceStatus::new("pod-audit", "devo", false),
            running,
        ];
        let lines = lines(&standings, NOW, Path::new("/"));
        let wanted = [
            (
                Tone::Bad,
                "5 services: 2 with a problem, 1 never ran, 2 well, at most 23h 59m behind",
            ),
            (
                Tone::Bad,
                "tap-messages-blocked: the last run ended with 77 (noperm): why",
            ),
            (Tone::Plain, "hint: look"),
            (
                Tone::Warning,
                "tap-clicks-blocked: the last run ended with 69 (unavailable): why",
            ),
            (Tone::Warning, "tap-clicks-blocked: no run for 23h 59m"),
            (
                Tone::Plain,
                "hint: see that its timer is enabled: systemctl list-timers",
            ),
            (Tone::Plain, ""),
        ];
        for (line, (tone, said)) in lines.iter().zip(wanted) {
            assert_eq!((line.0, line.1.as_str()), (tone, said));
        }
        let table = &lines[wanted.len()..wanted.len() + 6];
        let tones: Vec<Tone> = table.iter().map(|(tone, _)| *tone).collect();
        let [head, well, bad, warning, new, running] = tones[..] else {
            panic!("{table:#?}")
        };
        assert_eq!(head, Tone::Heading);
        assert_eq!([well, new, running], [Tone::Plain; 3]);
        assert_eq!([bad, warning], [Tone::Bad, Tone::Warning]);
        for (_, row) in table {
            assert!(row.chars().count() <= 100, "{} {row}", row.len());
        }
        assert!(table[5].1.contains("  running 12m  "), "{table:#?}");
        assert!(
            lines
                .last()
                .unwrap()
                .1
                .ends_with("123456 late events in all runs, up to 23h 59m after their time")
        );
    }
}
