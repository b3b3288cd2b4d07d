//! `Runs` records what became of a service's runs: the one under way, the last one, and the sums.
//!
//! It is for people and for monitoring; no run depends on it.
//!
//! The file `<service>.runs.json` stands beside the state, so that a run that cannot read or write
//! its state can still say so. A run adds itself when it begins, and replaces that when it ends. One
//! that is there while nobody holds the lock never ended.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::error::{StateError, StateFile};
use super::file;
use crate::error::Exit;

/// What a run that never came to its end is counted as: nobody was left to give it a status.
pub(crate) const KILLED: &str = "killed";

/// The runs of a service up to now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Runs {
    version: u32,
    /// Whether one of them had a state when it began or ended: from then on, it must be there.
    pub(crate) has_state: bool,
    /// The one that began and has not ended: it is under way, or it never came to its end.
    #[serde(default)]
    pub(crate) begun: Option<Begun>,
    /// The last one that came to its end.
    pub(crate) last: Option<Last>,
    /// When one was last done, with status 0 or 3.
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) done: Option<OffsetDateTime>,
    /// How many ended with each status, by its name, and how many were [`KILLED`].
    pub(crate) ended: BTreeMap<String, u64>,
    /// What all of them counted; of what is called so much at most, the most.
    pub(crate) totals: BTreeMap<String, u64>,
}

/// A run that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begun {
    /// Its process.
    pub(crate) pid: u32,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) since: OffsetDateTime,
}

/// A run that is over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Last {
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) started: OffsetDateTime,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) ended: OffsetDateTime,
    /// What it ended with.
    pub(crate) status: u8,
    /// The name of that status.
    pub(crate) name: String,
    /// What went wrong, in one line, where something did.
    pub(crate) error: Option<String>,
    /// Its end line; nothing if it ended before it began to pull.
    pub(crate) summary: Map<String, Value>,
}

impl Last {
    /// What confirmed its deliveries, as [`Confirmation`](crate::config::Confirmation) is written.
    pub(crate) fn confirmed_by(&self) -> Option<&str> {
        self.summary.get("confirmed_by").and_then(Value::as_str)
    }
}

impl Runs {
    /// Those of the file at `path`, if it is there.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub(crate) fn load(path: &Path) -> Result<Option<Runs>, StateError> {
        file::read(StateFile::Runs, path)
    }

    /// Before the first one.
    #[must_use]
    pub(crate) fn none() -> Runs {
        Runs {
            version: StateFile::Runs.version(),
            has_state: false,
            begun: None,
            last: None,
            done: None,
            ended: BTreeMap::new(),
            totals: BTreeMap::new(),
        }
    }

    /// A run begins; returns the one before, if that never came to its end. Whoever says so holds the
    /// lock, so that no other is under way.
    pub(crate) fn begin(&mut self, run: Begun) -> Option<Begun> {
        let killed = self.begun.replace(run);
        if killed.is_some() {
            *self.ended.entry(KILLED.to_owned()).or_default() += 1;
        }
        killed
    }

    /// The run that had begun is over; `counted` is what it counted.
    pub(crate) fn end(&mut self, last: Last, counted: &Map<String, Value>) {
        let is_done = [Exit::Ok, Exit::Gap]
            .iter()
            .any(|exit| *exit as u8 == last.status);
        if is_done {
            self.done = Some(last.ended);
        }
        *self.ended.entry(last.name.clone()).or_default() += 1;
        for (name, count) in counted {
            let count = count.as_u64().unwrap_or(0);
            let total: &mut u64 = self.totals.entry(name.clone()).or_default();
            *total = match name.ends_with("_at_most") {
                true => count.max(*total),
                false => total.saturating_add(count),
            };
        }
        self.begun = None;
        self.last = Some(last);
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn save(&self, path: &Path) -> Result<(), StateError> {
        file::write(StateFile::Runs, path, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use time::macros::datetime;

    fn run(status: Exit, ended: OffsetDateTime) -> Last {
        Last {
            started: ended - time::Duration::seconds(3),
            ended,
            status: status as u8,
            name: status.name().to_owned(),
            error: None,
            summary: Map::new(),
        }
    }

    fn counted(delivered: u64, lateness: u64) -> Map<String, Value> {
        let counted = json!({"delivered": delivered, "late_seconds_at_most": lateness});
        counted.as_object().cloned().unwrap()
    }

    #[test]
    fn runs_are_added_up_and_survive_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.json");
        assert!(Runs::load(&path).unwrap().is_none());
        let first = datetime!(2026-11-24 10:00 UTC);
        let table = [
            (Exit::Ok, counted(3, 70), 3, 70, first),
            (Exit::Io, counted(2, 60), 5, 70, first),
            (
                Exit::Gap,
                counted(0, 80),
                5,
                80,
                first + time::Duration::hours(2),
            ),
        ];
        for (hours, (status, counted, delivered, lateness, done)) in (0..).zip(table) {
            let ended = first + time::Duration::hours(hours);
            let mut runs = Runs::load(&path).unwrap().unwrap_or_else(Runs::none);
            runs.end(run(status, ended), &counted);
            runs.save(&path).unwrap();
            let runs = Runs::load(&path).unwrap().unwrap();
            assert_eq!(runs.totals["delivered"], delivered);
            assert_eq!(runs.totals["late_seconds_at_most"], lateness);
            assert_eq!((runs.done, runs.last.unwrap().ended), (Some(done), ended));
        }
        let runs = Runs::load(&path).unwrap().unwrap();
        assert_eq!(runs.ended.len(), 3);
        for damaged in ["{", "{}", "{\"version\": 1}"] {
            std::fs::write(&path, damaged).unwrap();
            let failure = crate::error::Failure::from(Runs::load(&path).unwrap_err());
            assert_eq!(failure.exit(), Exit::Data);
        }
    }

    #[test]
    fn each_run_that_never_came_to_its_end_is_counted_once() {
        let begun = |pid| Begun {
            pid,
            since: datetime!(2026-11-24 10:00 UTC),
        };
        let mut runs = Runs::none();
        assert_eq!(runs.begin(begun(1)), None);
        assert_eq!(runs.begin(begun(2)), Some(begun(1)));
        assert_eq!(runs.begin(begun(3)), Some(begun(2)));
        runs.end(run(Exit::Ok, datetime!(2026-11-24 11:00 UTC)), &Map::new());
        assert_eq!(runs.begin(begun(4)), None);
        let ended: Vec<(&str, u64)> = runs.ended.iter().map(|(name, n)| (&**name, *n)).collect();
        assert_eq!(ended, [(KILLED, 2), ("ok", 1)]);
    }
}
