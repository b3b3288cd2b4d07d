//! `Runs` records what became of a service's runs: the one under way, the last one, the sums, and what each of
//! the newest delivered to Devo.
//!
//! It is for people and for monitoring; no run depends on it.
//!
//! The file `<service>.runs.json` stands beside the state, so that a run that cannot read or write
//! its state can still say so. A run adds itself when it begins, and replaces that when it ends. One
//! that is there while nobody holds the lock never ended.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::{Duration, OffsetDateTime};

use super::error::{StateError, StateFile};
use super::file;
use crate::error::Exit;

/// What a run that never came to its end is counted as: nobody was left to give it a status.
pub(crate) const KILLED: &str = "killed";

/// Most deliveries that are kept: those of 3.5 days with one each minute, of 17 with one every five. Each takes
/// about 24 bytes of the file, 130 kB in all at most, but for runs that deliver millions.
pub(crate) const MAX_DELIVERIES: usize = 5000;

/// The runs of a service up to now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Runs {
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
    /// What the newest of them delivered to Devo, the oldest first; version 2 had none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deliveries: Vec<TagDeliveries>,
}

/// What runs delivered under one tag, until it was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagDeliveries {
    /// The Devo tag.
    pub tag: String,
    /// Each run that delivered something, the oldest first.
    pub runs: VecDeque<Delivery>,
}

/// What one run delivered to Devo. In the file it is `[pulling id, milliseconds, events]`, since there are many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64, u64)", into = "(u64, u64, u64)")]
pub struct Delivery {
    /// The `@devo_pulling_id` of its events: when it began, in milliseconds since 1970.
    pub pulling_id: u64,
    /// How long it took from then on.
    pub millis: u64,
    /// How many events were confirmed.
    pub events: u64,
}

impl From<(u64, u64, u64)> for Delivery {
    fn from((pulling_id, millis, events): (u64, u64, u64)) -> Delivery {
        Delivery {
            pulling_id,
            millis,
            events,
        }
    }
}

impl From<Delivery> for (u64, u64, u64) {
    fn from(delivery: Delivery) -> (u64, u64, u64) {
        (delivery.pulling_id, delivery.millis, delivery.events)
    }
}

impl Delivery {
    /// When the run began.
    #[must_use]
    pub fn started(&self) -> OffsetDateTime {
        let nanos = i128::from(self.pulling_id) * 1_000_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// When it ended.
    #[must_use]
    pub fn ended(&self) -> OffsetDateTime {
        let millis = i64::try_from(self.millis).unwrap_or(i64::MAX);
        self.started()
            .saturating_add(Duration::milliseconds(millis))
    }
}

/// A run that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Its process.
    pub pid: u32,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
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
    /// What a person can do about it; earlier builds recorded none.
    #[serde(default)]
    pub(crate) hint: Option<String>,
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
    pub fn load(path: &Path) -> Result<Option<Runs>, StateError> {
        let read: Option<Runs> = file::read(StateFile::Runs, path)?;
        Ok(read.map(|runs| Runs {
            version: StateFile::Runs.version(),
            ..runs
        }))
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
            deliveries: Vec::new(),
        }
    }

    /// A run begins; returns the one before, if that never came to its end. Whoever says so holds the
    /// lock, so that no other is under way.
    pub fn begin(&mut self, run: Begun) -> Option<Begun> {
        let killed = self.begun.replace(run);
        if killed.is_some() {
            self.count_end(KILLED);
        }
        killed
    }

    /// Counts a run that ended so.
    fn count_end(&mut self, name: &str) {
        let ended = self.ended.entry(name.to_owned()).or_default();
        *ended = ended.saturating_add(1);
    }

    /// The run that had begun is over; `counted` is what it counted.
    pub(crate) fn end(&mut self, last: Last, counted: &Map<String, Value>) {
        let is_done = [Exit::Ok, Exit::Gap]
            .iter()
            .any(|exit| *exit as u8 == last.status);
        if is_done {
            self.done = Some(last.ended);
        }
        self.count_end(&last.name);
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

    /// Adds what a run delivered under a tag, and forgets the oldest where there are too many.
    pub fn add_delivery(&mut self, tag: &str, delivery: Delivery) {
        if self.deliveries.last().is_none_or(|last| last.tag != tag) {
            self.deliveries.push(TagDeliveries {
                tag: tag.to_owned(),
                runs: VecDeque::new(),
            });
        }
        if let Some(last) = self.deliveries.last_mut() {
            last.runs.push_back(delivery);
        }
        let kept: usize = self.deliveries.iter().map(|under| under.runs.len()).sum();
        for _ in MAX_DELIVERIES..kept {
            self.deliveries[0].runs.pop_front();
            self.deliveries.retain(|under| !under.runs.is_empty());
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), StateError> {
        match self.has_state {
            true => file::write_unsynced(StateFile::Runs, path, self),
            // as long as there is no state, a damaged record would pass for the trace of one
            false => file::write(StateFile::Runs, path, self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use time::macros::datetime;

    fn run(status: Exit, ended: OffsetDateTime) -> Last {
        Last {
            started: ended - Duration::seconds(3),
            ended,
            status: status as u8,
            name: status.name().to_owned(),
            error: None,
            hint: None,
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
            (Exit::Gap, counted(0, 80), 5, 80, first + Duration::hours(2)),
        ];
        for (hours, (status, counted, delivered, lateness, done)) in (0..).zip(table) {
            let ended = first + Duration::hours(hours);
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
    fn a_number_of_an_end_line_stays_as_it_is_however_often_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.json");
        let text = "{\"seconds\":3.123456789,\"long\":1234567.125,\"short\":0.000000001}";
        let mut last = run(Exit::Ok, datetime!(2026-11-24 10:00 UTC));
        last.summary = serde_json::from_str(text).unwrap();
        let wanted = last.summary.clone();
        let mut runs = Runs::none();
        runs.end(last, &Map::new());
        for _ in 0..3 {
            runs.save(&path).unwrap();
            runs = Runs::load(&path).unwrap().unwrap();
            assert_eq!(runs.last.as_ref().unwrap().summary, wanted);
        }
    }

    fn delivery(pulling_id: u64) -> Delivery {
        (pulling_id, 3100, 70).into()
    }

    #[test]
    fn the_newest_deliveries_are_kept_with_the_tag_that_each_had() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.json");
        let mut runs = Runs::none();
        let most = MAX_DELIVERIES as u64;
        let first = 1_795_493_014_421;
        for id in 0..most + 10 {
            let tag = if id < 20 { "my.app.old" } else { "my.app.new" };
            runs.add_delivery(tag, delivery(first + id));
        }
        runs.save(&path).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() < 130_000);
        let kept = Runs::load(&path).unwrap().unwrap().deliveries;
        assert_eq!(kept, runs.deliveries);
        let lengths: Vec<(&str, usize)> =
            kept.iter().map(|one| (&*one.tag, one.runs.len())).collect();
        assert_eq!(
            lengths,
            [("my.app.old", 10), ("my.app.new", MAX_DELIVERIES - 10)]
        );
        assert_eq!(kept[0].runs[0], delivery(first + 10));
        for id in 0..most {
            runs.add_delivery("my.app.third", delivery(id));
        }
        assert_eq!(runs.deliveries.len(), 1);
        assert_eq!(runs.deliveries[0].runs.len(), MAX_DELIVERIES);
    }

    #[test]
    fn a_delivery_knows_when_its_run_began_and_ended() {
        let one = delivery(1_795_493_014_421);
        assert_eq!(one.started(), datetime!(2026-11-24 4:03:34.421 UTC));
        assert_eq!(one.ended(), datetime!(2026-11-24 4:03:37.521 UTC));
        // a file may say anything
        for odd in [
            (0, 0, 0),
            (u64::MAX, 0, 0),
            (0, u64::MAX, 0),
            (u64::MAX, u64::MAX, 1),
        ] {
            let odd = Delivery::from(odd);
            assert!(odd.ended() >= odd.started());
        }
    }

    #[test]
    fn a_file_of_the_version_before_is_read_without_deliveries() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.json");
        let text = concat!(
            r#"{"version":2,"has_state":true,"begun":null,"last":null,"done":null,"#,
            r#""ended":{"ok":3},"totals":{"delivered":9}"#
        );
        let sum = crc32fast::hash(text.as_bytes());
        let text = format!("{text},\n  \"checksum\": \"crc32:{sum:08x}\"\n}}\n");
        std::fs::write(&path, text).unwrap();
        let mut runs = Runs::load(&path).unwrap().unwrap();
        assert_eq!((runs.totals["delivered"], runs.deliveries.len()), (9, 0));
        runs.add_delivery("my.app.x", delivery(1));
        runs.save(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(r#"{"version":3,"#), "{text}");
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
        let over = datetime!(2026-11-24 11:00 UTC);
        runs.end(run(Exit::Ok, over), &Map::new());
        assert_eq!(runs.begin(begun(4)), None);
        let ended: Vec<(&str, u64)> = runs.ended.iter().map(|(name, n)| (&**name, *n)).collect();
        assert_eq!(ended, [(KILLED, 2), ("ok", 1)]);
        // a file may say anything
        for count in runs.ended.values_mut() {
            *count = u64::MAX;
        }
        runs.begin(begun(5));
        runs.end(run(Exit::Ok, over), &Map::new());
        assert!(runs.ended.values().all(|count| *count == u64::MAX));
    }
}
