//! `table` shows where services stand, for people.

use std::path::Path;
use std::time::Duration;

use time::OffsetDateTime;

use super::collect::{OpenHourStatus, QuotaLeft, RunningRun, ServiceStatus, StatusError, TimeSpan};
use crate::config::Confirmation;
use crate::human::{self, age};
use crate::output;
use crate::pipeline::batch::Late;
use crate::state::runs::{KILLED, Last};

/// A table, and below it what one would want to know.
pub(super) fn text(standings: &[ServiceStatus], now: OffsetDateTime, dir: &Path) -> String {
    if standings.is_empty() {
        return format!(
            "no service has a state in {} or a table in the configuration\n",
            dir.display()
        );
    }
    let head = [
        "SERVICE",
        "POSITION",
        "BEHIND",
        "LAST RUN",
        "STATUS",
        "DELIVERED",
        "LATE",
        "GAPS",
        "QUARANTINED",
        "KNOWN",
        "QUOTA",
        "RUNNING",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(standings.iter().map(|status| status.row(now)));
    let mut text = output::table(&rows);
    for status in standings {
        text += &status.notes();
    }
    text
}

impl ServiceStatus {
    fn row(&self, now: OffsetDateTime) -> Vec<String> {
        let ago = |time: OffsetDateTime| {
            let seconds = u64::try_from((now - time).whole_seconds()).unwrap_or(0);
            format!("{} ago", age(Duration::from_secs(seconds)))
        };
        let last = self.runs.as_ref().and_then(|runs| runs.last.as_ref());
        let (last_run, status) = match (&self.killed, last) {
            (Some(killed), _) => (ago(killed.since), KILLED.to_owned()),
            (None, Some(last)) => (ago(last.ended), format!("{} {}", last.status, last.name)),
            (None, None) => ("-".to_owned(), "-".to_owned()),
        };
        let nothing = || "-".to_owned();
        let total = |name: &str| {
            let total = self.runs.as_ref().and_then(|runs| runs.totals.get(name));
            total.map_or_else(nothing, ToString::to_string)
        };
        let Late {
            events,
            greatest_seconds,
            ..
        } = self.late;
        let late = match events {
            0 => "0".to_owned(),
            _ => format!("{events} (up to {})", seconds(Some(greatest_seconds))),
        };
        let running = self.running.as_ref();
        vec![
            self.title(),
            self.position.clone().unwrap_or_else(|| match self.error {
                Some(_) => "unknown".into(),
                None if self.runs.is_some() => "none yet".into(),
                None => "never ran".into(),
            }),
            seconds(self.lag_seconds),
            last_run,
            status,
            total("delivered"),
            late,
            self.gaps.len().to_string(),
            self.quarantine.events.to_string(),
            self.identities.to_string(),
            self.quota
                .as_ref()
                .and_then(QuotaLeft::nearest)
                .unwrap_or_else(nothing),
            running.map_or_else(nothing, |RunningRun { pid, since }| {
                format!("pid {pid} since {since}")
            }),
        ]
    }

    /// What does not fit into a row: a line each.
    fn notes(&self) -> String {
        let mut notes = Vec::new();
        for TimeSpan { from, to } in &self.gaps {
            notes.push(format!(
                "gap: events from {from} to {to} were not collected"
            ));
        }
        notes.extend(self.live.as_ref().map(|live| {
            let behind = seconds(Some(live.lag_seconds));
            format!("live: delivered up to {}, {behind} ago", live.until)
        }));
        notes.extend(self.open_hours.as_deref().and_then(open_hours));
        let last = self.runs.as_ref().and_then(|runs| runs.last.as_ref());
        let weaker = Confirmation::Acknowledged.to_string();
        if last.and_then(Last::confirmed_by) == Some(&weaker) {
            notes.push(
                "the receiver only acknowledged what the last run delivered, which proves less than a \
                 close ([devo] confirm)"
                    .to_owned(),
            );
        }
        if self.quarantine.events > 0 {
            let events = human::count(self.quarantine.events, "event");
            let file = self.quarantine.file.display();
            notes.push(format!("{events} quarantined, kept unredacted in {file}"));
        }
        if let Some(quota) = self.quota.as_ref().filter(|quota| !quota.is_free) {
            let free = &quota.next_request;
            notes.push(format!(
                "the quota is spent; the next request is free at {free}"
            ));
        }
        notes.extend(self.failure());
        notes.extend(self.error.as_ref().map(|trouble| trouble.message.clone()));
        let title = self.title();
        let mut text: String = notes
            .iter()
            .map(|note| format!("{title}: {note}\n"))
            .collect();
        if let Some(StatusError {
            hint: Some(hint), ..
        }) = &self.error
        {
            text += &format!("hint: {hint}\n");
        }
        text
    }
}

/// How many hours of the archive are open, from when on, and why.
fn open_hours(hours: &[OpenHourStatus]) -> Option<String> {
    let first = hours.first()?;
    let mut whys: Vec<&str> = Vec::new();
    for why in hours.iter().map(|hour| hour.why.in_words()) {
        if !whys.contains(&why) {
            whys.push(why);
        }
    }
    Some(format!(
        "{}, requested again by later runs; the first is {}: {}",
        human::count(hours.len() as u64, "open archive hour"),
        first.from,
        whys.join("; ")
    ))
}

impl QuotaLeft {
    /// The limit of which least is left.
    fn nearest(&self) -> Option<String> {
        let least = self
            .limits
            .iter()
            .min_by_key(|limit| limit.at_most.saturating_sub(limit.used))?;
        Some(format!("{} of {} used", least.used, least.at_most))
    }
}

pub(super) fn seconds(seconds: Option<u64>) -> String {
    seconds.map_or_else(
        || "-".to_owned(),
        |seconds| age(Duration::from_secs(seconds)),
    )
}
