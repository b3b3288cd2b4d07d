//! `problems` says what is wrong with a service, for people, and what to do about it.

use std::time::Duration;

use time::OffsetDateTime;

use super::collect::ServiceStatus;
use crate::clock::seconds_between;
use crate::error::Exit;
use crate::human::{self, age};
use crate::output::Tone;

/// Without a run for so long, a timer may have stopped.
const LONG: Duration = Duration::from_secs(2 * 3600);

/// One thing that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) tone: Tone,
    pub(super) said: String,
    pub(super) hint: Option<String>,
}

impl Problem {
    fn new(tone: Tone, said: String) -> Problem {
        Problem {
            tone,
            said,
            hint: None,
        }
    }
}

impl ServiceStatus {
    /// What is wrong, the worst first.
    pub(super) fn problems(&self, now: OffsetDateTime) -> Vec<Problem> {
        let last = self.runs.as_ref().and_then(|runs| runs.last.as_ref());
        let mut problems: Vec<Problem> = Vec::new();
        problems.extend(self.error.as_ref().map(|trouble| Problem {
            hint: trouble.hint.clone(),
            ..Problem::new(Tone::Bad, trouble.message.clone())
        }));
        let failed = self.failure().map(|said| match last {
            Some(last) if self.killed.is_none() => Problem {
                hint: last.hint.clone(),
                ..Problem::new(tone_of(last.status), said)
            },
            _ => Problem::new(Tone::Bad, said),
        });
        problems.extend(failed);
        if let Some(quota) = self.quota.as_ref().filter(|quota| !quota.is_free) {
            let free = &quota.next_request;
            let said = format!("the quota is spent; the next request is free at {free}");
            problems.push(Problem::new(Tone::Warning, said));
        }
        let since = last.map(|last| seconds_between(last.ended, now));
        let is_timers = self.sink == "devo" && !self.is_backfill && self.running.is_none();
        if let Some(since) = since.filter(|since| is_timers && *since > LONG) {
            problems.push(Problem {
                hint: Some("see that its timer is enabled: systemctl list-timers".to_owned()),
                ..Problem::new(Tone::Warning, format!("no run for {}", age(since)))
            });
        }
        if self.quarantine.events > 0 {
            let events = human::count(self.quarantine.events, "event");
            let file = self.quarantine.file.display();
            let said = format!("{events} quarantined, kept unredacted in {file}");
            problems.push(Problem::new(Tone::Warning, said));
        }
        problems
    }
}

/// Whether a status passes by itself, so that somebody should look, or needs a person.
fn tone_of(status: u8) -> Tone {
    let passing = [Exit::Gap, Exit::Unavailable, Exit::Io];
    match passing.iter().any(|exit| *exit as u8 == status) {
        true => Tone::Warning,
        false => Tone::Bad,
    }
}
