//! `open` opens the state that a run continues from, begins a new one, or refuses to.

use std::path::{Path, PathBuf};

use time::{Duration, OffsetDateTime};

use super::error::{StateError, StateFile};
use super::file;
use super::runs::Runs;
use super::saved::{Range, SavedGap, SavedQuarantine, SavedState};
use super::seen::SavedIndex;
use super::store::{State, UNCONFIRMED};
use crate::clock::utc;
use crate::error::Failure;
use crate::files;
use crate::pipeline::batch::Late;
use crate::pipeline::checkpoint::{Checkpoint, Gap, Retention};

/// What to begin with where there is no state.
#[derive(Debug, Clone)]
pub struct StartPoint {
    /// The configured `start_time`.
    pub configured: Option<OffsetDateTime>,
    /// A backfill's range.
    pub range: Option<Range>,
    /// Where to start reading.
    pub checkpoint: Checkpoint,
}

/// A look at a state.
#[derive(Debug)]
pub(crate) struct StateSummary {
    /// How far it has come.
    pub(crate) checkpoint: Checkpoint,
    /// A backfill's range.
    pub(crate) range: Option<Range>,
    /// Whether some of it is left to be read.
    pub(crate) is_left: bool,
    /// What was never collected, from the first on.
    pub(crate) gaps: Vec<Gap>,
    /// How many identities are kept.
    pub(crate) identities: u64,
    /// Events that became visible late.
    pub(crate) late: Late,
}

/// What became of opening a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateOrigin {
    /// There was none.
    New,
    /// It goes on.
    Known,
    /// `start_time` was changed: it starts over from there.
    Restarted,
    /// It was of no use, and whoever runs it wants to start over.
    StartedOver,
}

impl State {
    /// Opens the state at `path` of `service`, or begins one, which goes back as far as `retention`.
    /// Nothing is written.
    ///
    /// # Errors
    /// When a file is damaged, missing, of another version or of another service, has a position in the
    /// future, or may not be read.
    pub fn open(
        path: &Path,
        service: &str,
        start: &StartPoint,
        retention: Retention,
        now: OffsetDateTime,
    ) -> Result<(State, StateOrigin), StateError> {
        let Some(mut saved) = read(path, service)? else {
            let saved = begin_state(service, start, None, now);
            return Ok((State::of(path, saved, retention)?, StateOrigin::New));
        };
        if !saved.checkpoint.is_like(&start.checkpoint) {
            return Err(StateError::OtherService {
                path: path.to_owned(),
                reason: "its checkpoint belongs to another kind of service".to_owned(),
            });
        }
        if is_restart(&saved, start) {
            let saved = begin_state(service, start, Some(saved), now);
            return Ok((State::of(path, saved, retention)?, StateOrigin::Restarted));
        }
        let position = saved.checkpoint.until();
        let is_in_future = position > now + Duration::minutes(1);
        if is_in_future && is_unread(&saved) {
            let [position, from] = [position, start.checkpoint.until()].map(utc);
            log::warn!(
                "the saved start {position} is in the future, and nothing was read: starting at {from}"
            );
            let saved = begin_state(service, start, Some(saved), now);
            return Ok((State::of(path, saved, retention)?, StateOrigin::New));
        }
        if is_in_future {
            let path = path.to_owned();
            return Err(StateError::InFuture { path, position });
        }
        // when it was begun, our clock may have been ahead
        saved.begun = saved.begun.map(|begun| begun.min(now));
        let mut state = State::of(path, saved, retention)?;
        state.find_identities()?;
        if state.checkpoint().as_stream().is_some() {
            // a live stream sends nothing twice, so nothing may be wrong once it has begun
            state.dedup.read()?;
        }
        Ok((state, StateOrigin::Known))
    }

    /// The same, but begins anew where [`State::open`] says that the state is of no use. The files that are
    /// there go out of the way, and are kept, when the run proves the state.
    ///
    /// # Errors
    /// When the state is good; when a file may not be read.
    pub(crate) fn start_over(
        path: &Path,
        service: &str,
        start: &StartPoint,
        retention: Retention,
        now: OffsetDateTime,
    ) -> Result<(State, StateOrigin), StateError> {
        let opened = State::open(path, service, start, retention, now);
        let opened = opened.and_then(|(mut state, origin)| {
            state.dedup.read()?;
            Ok((state, origin))
        });
        match opened {
            Ok((_, StateOrigin::Known)) => {
                let path = path.to_owned();
                Err(StateError::NothingToStartOver { path })
            }
            Err(error) if error.is_unusable() => {
                log::warn!(
                    "{}; it starts over from {}, what follows is delivered again",
                    Failure::from(error),
                    utc(start.checkpoint.until())
                );
                let saved = begin_state(service, start, None, now);
                let state = State::of(path, saved, retention)?;
                Ok((state.in_place_of_others(), StateOrigin::StartedOver))
            }
            opened => opened,
        }
    }

    /// Up to where the state at `path` has come, if there is one, and a backfill's range.
    ///
    /// # Errors
    /// As [`State::open`].
    pub(crate) fn peek(path: &Path, service: &str) -> Result<Option<StateSummary>, StateError> {
        let Some(saved) = read(path, service)? else {
            return Ok(None);
        };
        Ok(Some(StateSummary {
            is_left: saved.is_left(),
            checkpoint: saved.checkpoint,
            range: saved.range,
            gaps: saved.gaps.iter().map(SavedGap::gap).collect(),
            identities: saved.identities.count,
            late: saved.late,
        }))
    }
}

/// Reads the state of a service, if there is one.
fn read(path: &Path, service: &str) -> Result<Option<SavedState>, StateError> {
    let saved: Option<SavedState> = file::read(StateFile::State, path)?;
    match saved {
        Some(saved) if saved.service == service => Ok(Some(saved)),
        Some(saved) => Err(StateError::OtherService {
            path: path.to_owned(),
            reason: format!("it is the state of {}, not of {service}", saved.service),
        }),
        None => match trace_of_a_state(path)? {
            Some(beside) => Err(StateError::Missing {
                file: StateFile::State,
                path: path.to_owned(),
                beside,
            }),
            None => Ok(None),
        },
    }
}

/// A file that shows that there was a state at `path`, if there is one.
///
/// A run writes its state before it asks for anything. So identities and quarantined events come after it, and the
/// record of runs tells whether one had a state. A first run that failed before leaves a lock and a record that says so:
/// they show nothing.
fn trace_of_a_state(path: &Path) -> Result<Option<PathBuf>, StateError> {
    let (seen, quarantine) = (seen_path(path), quarantine_path(path));
    let unreadable = |error| StateError::Unreadable(StateFile::Identities, error);
    if files::length(&seen).map_err(unreadable)? > Some(0) {
        return Ok(Some(seen));
    }
    if files::length(&quarantine).map_err(StateError::Unwritable)? > Some(0) {
        return Ok(Some(quarantine));
    }
    let runs = path.with_extension("runs.json");
    let has_state = match Runs::load(&runs) {
        Ok(found) => found.is_some_and(|runs| runs.has_state),
        Err(error @ StateError::Unreadable(..)) => return Err(error),
        Err(_) => true,
    };
    Ok(has_state.then_some(runs))
}

/// The state to begin with, or to start over with: gaps and what the receiver is like outlast that.
fn begin_state(
    service: &str,
    start: &StartPoint,
    before: Option<SavedState>,
    now: OffsetDateTime,
) -> SavedState {
    let (gaps, receiver, quarantine, rules) = match before {
        Some(before) => (
            before.gaps,
            before.receiver,
            before.quarantine,
            before.rules,
        ),
        // of a file that is there all the same nothing is to be cut off
        None => {
            let (length, unreported) = (u64::MAX, 0);
            (
                Vec::new(),
                None,
                SavedQuarantine { length, unreported },
                Vec::new(),
            )
        }
    };
    SavedState {
        version: StateFile::State.version(),
        service: service.to_owned(),
        start_time: start.configured,
        begun: Some(now),
        range: start.range.clone(),
        checkpoint: start.checkpoint.clone(),
        identities_since: start.checkpoint.until(),
        identities: SavedIndex::NONE,
        late: Late::default(),
        gaps,
        quarantine,
        rules,
        unconfirmed_limit: UNCONFIRMED,
        receiver,
    }
}

/// Whether nothing was ever read of a state.
fn is_unread(saved: &SavedState) -> bool {
    let stream = saved.checkpoint.as_stream();
    let is_silent = stream.is_none_or(|stream| stream.live.is_none());
    saved.begun.is_some() && saved.identities.count == 0 && is_silent
}

/// Removing `start_time` changes nothing; a new or another one starts over, and so does another
/// range.
fn is_restart(saved: &SavedState, start: &StartPoint) -> bool {
    let configured = start.configured.is_some() && start.configured != saved.start_time;
    configured || start.range != saved.range
}

/// Where the identities of the state at `path` are.
pub(super) fn seen_path(path: &Path) -> PathBuf {
    path.with_extension("seen")
}

/// Where the quarantined events of the state at `path` are.
pub(super) fn quarantine_path(path: &Path) -> PathBuf {
    path.with_extension("quarantine.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::batch::{EventId, RequestId};
    use crate::pipeline::checkpoint::Commit;
    use std::fs;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);
    const SERVICE: &str = "tap-clicks-blocked";
    /// What an open of the wrong kind would answer with.
    type Opened = Result<(State, StateOrigin), StateError>;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn file(&self, extension: &str) -> PathBuf {
            self.0.path().join(format!("{SERVICE}.{extension}"))
        }

        fn with(
            &self,
            open: impl Fn(&Path, &str, &StartPoint, Retention, OffsetDateTime) -> Opened,
        ) -> Opened {
            let start = StartPoint {
                configured: None,
                range: None,
                checkpoint: Checkpoint::windows_at(NOON - Duration::DAY),
            };
            let retention = Retention {
                look_back: Duration::HOUR,
                recheck: Duration::hours(12),
                memory: Duration::ZERO,
            };
            open(&self.file("json"), SERVICE, &start, retention, NOON)
        }

        fn open(&self) -> Opened {
            self.with(State::open)
        }

        fn start_over(&self) -> Opened {
            self.with(State::start_over)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.0.path()).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        }
    }

    fn empty() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    /// After a run that delivered an event and quarantined another.
    fn known() -> Folder {
        let folder = empty();
        let (mut state, _) = folder.open().unwrap();
        state.prove().unwrap();
        let request = RequestId::default();
        state.dedup.insert(EventId::Key([1; 16]), request).unwrap();
        state.quarantine.add(b"{", "it is cut off", NOON).unwrap();
        let position = Checkpoint::windows_at(NOON - Duration::HOUR);
        state.commit(&[Commit::from(position)], None).unwrap();
        folder.record_runs(true);
        folder
    }

    impl Folder {
        fn record_runs(&self, has_state: bool) {
            let mut runs = Runs::none();
            runs.has_state = has_state;
            runs.save(&self.file("runs.json")).unwrap();
        }
    }

    /// A state that is missing beside this is refused by a run, a look and a dry run, or it is a first run.
    fn check_missing(what: &str, leave: &[&str], make: impl Fn(&Folder), trace: Option<&str>) {
        let folder = known();
        for extension in ["json", "seen", "quarantine.jsonl", "runs.json"] {
            if !leave.contains(&extension) {
                fs::remove_file(folder.file(extension)).unwrap();
            }
        }
        make(&folder);
        let peeked = State::peek(&folder.file("json"), SERVICE).map(drop);
        for opened in [folder.open().map(drop), peeked] {
            match (opened, trace) {
                (Ok(()), None) => {}
                (Err(StateError::Missing { path, beside, .. }), Some(trace)) => {
                    assert_eq!(path, folder.file("json"), "{what}");
                    assert_eq!(beside, folder.file(trace), "{what}");
                }
                (other, _) => panic!("{what}: {other:?}"),
            }
        }
        if trace.is_none() {
            let (_, origin) = folder.open().unwrap();
            assert_eq!(origin, StateOrigin::New, "{what}");
        }
    }

    #[test]
    fn a_state_is_missing_where_something_shows_that_there_was_one() {
        let nothing = |_: &Folder| {};
        check_missing("nothing at all", &[], nothing, None);
        check_missing("identities", &["seen"], nothing, Some("seen"));
        let quarantined = "quarantine.jsonl";
        check_missing(
            "quarantined events",
            &[quarantined],
            nothing,
            Some(quarantined),
        );
        check_missing(
            "a run that had a state",
            &["runs.json"],
            nothing,
            Some("runs.json"),
        );
        let failed = |folder: &Folder| {
            fs::write(folder.file("lock"), "pid 7").unwrap();
            folder.record_runs(false);
        };
        check_missing("a first run that failed before", &[], failed, None);
        let killed = |folder: &Folder| {
            failed(folder);
            fs::write(folder.file("seen"), "").unwrap();
            fs::write(folder.file("json.new"), "{").unwrap();
        };
        check_missing("a first run that was killed", &[], killed, None);
        let damaged = |folder: &Folder| fs::write(folder.file("runs.json"), "{").unwrap();
        check_missing(
            "a record that tells nothing",
            &[],
            damaged,
            Some("runs.json"),
        );
    }

    #[test]
    fn identities_are_missing_where_the_state_counts_on_them() {
        let folder = known();
        fs::remove_file(folder.file("seen")).unwrap();
        match folder.open().unwrap_err() {
            StateError::Missing { path, beside, .. } => {
                assert_eq!((path, beside), (folder.file("seen"), folder.file("json")));
            }
            other => panic!("{other:?}"),
        }
    }

    /// What is of no use is started over, and what was there is kept; nothing is touched before the proof.
    fn check_started_over(what: &str, spoil: impl Fn(&Folder), kept: &[&str]) {
        let folder = known();
        spoil(&folder);
        assert!(folder.open().is_err(), "{what}");
        let before = folder.names();
        let (mut state, origin) = folder.start_over().unwrap();
        assert_eq!(origin, StateOrigin::StartedOver, "{what}");
        assert_eq!(state.checkpoint().until(), NOON - Duration::DAY, "{what}");
        assert_eq!(state.dedup.read().unwrap().count(), 0, "{what}");
        assert_eq!(folder.names(), before, "{what}");
        state.prove().unwrap();
        let old = folder.names().into_iter();
        let old = old.filter_map(|name| Some(name.strip_suffix(".old")?.to_owned()));
        let wanted = kept
            .iter()
            .map(|extension| format!("{SERVICE}.{extension}"));
        assert_eq!(
            old.collect::<Vec<_>>(),
            wanted.collect::<Vec<_>>(),
            "{what}"
        );
        assert!(
            folder.file("quarantine.jsonl").exists(),
            "{what}: that is for people"
        );
        let (_, origin) = folder.open().unwrap();
        assert_eq!(origin, StateOrigin::Known, "{what}");
    }

    #[test]
    fn what_is_of_no_use_is_started_over_on_purpose_and_kept() {
        let write = |extension: &'static str, text: &'static str| {
            move |folder: &Folder| fs::write(folder.file(extension), text).unwrap()
        };
        let remove = |extension: &'static str| {
            move |folder: &Folder| fs::remove_file(folder.file(extension)).unwrap()
        };
        let both = &["json", "seen"];
        check_started_over("a damaged state", write("json", "{"), both);
        check_started_over("an older state", write("json", "{\"version\": 2}"), both);
        check_started_over("damaged identities", write("seen", "proof"), both);
        check_started_over("no state", remove("json"), &["seen"]);
        check_started_over("no identities", remove("seen"), &["json"]);
    }

    #[test]
    fn what_cannot_be_kept_is_not_replaced() {
        let folder = known();
        fs::write(folder.file("json"), "{").unwrap();
        // a file cannot take the place of a folder
        fs::create_dir(folder.file("seen.old")).unwrap();
        let (mut state, _) = folder.start_over().unwrap();
        let error = state.prove().unwrap_err();
        assert!(matches!(error, StateError::Unwritable(_)), "{error:?}");
        assert_eq!(fs::read(folder.file("json")).unwrap(), b"{");
    }

    #[test]
    fn a_good_state_is_not_started_over_and_where_there_is_none_nothing_is_wrong() {
        let folder = known();
        let error = folder.start_over().unwrap_err();
        assert!(
            matches!(error, StateError::NothingToStartOver { .. }),
            "{error:?}"
        );
        let (_, origin) = empty().start_over().unwrap();
        assert_eq!(origin, StateOrigin::New);
    }
}
