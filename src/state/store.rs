//! `State` keeps what a service remembers between its runs: one JSON file, and beside it the
//! identities and the quarantined events.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use time::{Duration, OffsetDateTime};

use super::dedup::FEW;
use super::error::{StateError, StateFile};
use super::file;
use super::identities::Identities;
use super::open::{quarantine_path, seen_path};
use super::quarantine::Quarantine;
use super::saved::{Range, Receiver, SavedGap, SavedRuleStats, SavedState};
use crate::digest::hex;
use crate::files::{self, FileError};
use crate::pipeline::batch::{Digest, Late, Pass, hour_after};
use crate::pipeline::checkpoint::{Checkpoint, Commit, Gap, Retention};
use crate::transform::RuleStats;

/// Identities are kept at least this long behind the position.
const SHORTEST_MEMORY: Duration = Duration::hours(2);
/// So much may be unconfirmed at once, in bytes, unless confirmations fail.
pub(super) const UNCONFIRMED: u64 = 64 * 1024 * 1024;
/// Failing confirmations do not press it under this.
const LEAST_UNCONFIRMED: u64 = 64 * 1024;

/// The state of a service, as it is and on disk.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    saved: SavedState,
    /// The identities of what was delivered.
    pub(crate) dedup: Identities,
    /// What could not be delivered as the rules want it.
    pub(crate) quarantine: Quarantine,
    /// How each rule of the configuration has fitted so far.
    pub(crate) rule_stats: Vec<RuleStats>,
    /// What the rules are known by.
    rules: Vec<Digest>,
    retention: Retention,
    /// Whether files that are of no use stand in its place.
    replaces_others: bool,
}

/// What could not be delivered, and no run has said yet.
#[derive(Debug, Default)]
pub struct Unreported {
    /// What the service no longer kept.
    pub(crate) gaps: Vec<Gap>,
    /// How many events were quarantined.
    pub(crate) quarantined: u64,
}

impl Unreported {
    /// Whether there is nothing of the kind.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.gaps.is_empty() && self.quarantined == 0
    }
}

impl State {
    /// The state that was read from `path` or is begun there, without its identities. Nothing is written.
    ///
    /// # Errors
    /// When the file of quarantined events cannot be looked at.
    pub(super) fn of(
        path: &Path,
        mut saved: SavedState,
        retention: Retention,
    ) -> Result<State, StateError> {
        let quarantine = Quarantine::open(quarantine_path(path), saved.quarantine.length)?;
        saved.quarantine.length = quarantine.length();
        Ok(State {
            path: path.to_owned(),
            saved,
            dedup: Identities::none(&seen_path(path)),
            quarantine,
            rule_stats: Vec::new(),
            rules: Vec::new(),
            retention,
            replaces_others: false,
        })
    }

    /// Takes on the identities, those left out that no re-reading finds any more. They are read when the first
    /// event comes.
    ///
    /// # Errors
    /// When their file is missing, too short, something else, or may not be read.
    pub(super) fn find_identities(&mut self) -> Result<(), StateError> {
        let oldest = hour_after(self.oldest_needed());
        self.dedup = Identities::unread(&seen_path(&self.path), self.saved.identities, oldest)?;
        Ok(())
    }

    /// The same state, whose files go out of the way and are kept when the new ones are written.
    pub(super) fn in_place_of_others(mut self) -> State {
        self.replaces_others = true;
        self
    }

    /// Takes on the rules of the configuration, by what they are known by. One that is new, or other
    /// than before, has fitted nothing yet; one that is gone is forgotten.
    pub(crate) fn follow(&mut self, rules: Vec<Digest>) {
        let fit = |rule: &Digest| {
            let name = hex(rule);
            let saved = self.saved.rules.iter().find(|saved| saved.rule == name);
            saved.map_or_else(RuleStats::default, |saved| RuleStats {
                tried: saved.tried,
                matched: saved.matched,
            })
        };
        self.rule_stats = rules.iter().map(fit).collect();
        self.rules = rules;
    }

    /// From where to go on.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.saved.checkpoint
    }

    /// No re-reading goes before this time.
    #[must_use]
    pub(crate) fn identities_since(&self) -> OffsetDateTime {
        self.saved.identities_since
    }

    /// How far re-reading goes back.
    #[must_use]
    pub(crate) fn retention(&self) -> Retention {
        self.retention
    }

    /// What became visible late since the state began.
    #[must_use]
    pub(crate) fn late(&self) -> Late {
        self.saved.late
    }

    /// An event that is on its way out became visible late.
    pub(crate) fn found_late(&mut self, seconds: u32, look: Pass) {
        self.saved.late.add(seconds, look);
    }

    /// No re-reading finds what was found in windows that ended before this time.
    fn oldest_needed(&self) -> OffsetDateTime {
        let Retention {
            look_back,
            recheck,
            memory,
        } = self.retention;
        let memory = memory.max(look_back).max(recheck).max(SHORTEST_MEMORY);
        let behind = self.saved.checkpoint.oldest_reading() - memory;
        let recheck = self.saved.checkpoint.recheck_from();
        recheck.map_or(behind, |recheck| behind.min(recheck))
    }

    /// When it was begun, by our clock, as long as nothing was read: what the service did not keep by then
    /// is no gap.
    #[must_use]
    pub(crate) fn begun(&self) -> Option<OffsetDateTime> {
        self.saved.begun
    }

    /// Nothing was read, and the server says that it is later than our clock does: what it did not keep by
    /// its own time is no gap either.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub(crate) fn correct_begun(&mut self, server: OffsetDateTime) -> Result<(), StateError> {
        let begun = self.saved.begun.filter(|begun| *begun < server);
        if begun.is_none() || !self.is_counted_back() {
            return Ok(());
        }
        self.saved.begun = Some(server);
        self.save()
    }

    /// Whether nothing was read, and the start was counted from our clock.
    #[must_use]
    pub(crate) fn is_counted_back(&self) -> bool {
        let is_chosen = self.saved.start_time.is_some() || self.saved.range.is_some();
        self.saved.begun.is_some() && !is_chosen
    }

    /// The range of a backfill.
    #[must_use]
    pub(crate) fn range(&self) -> Option<&Range> {
        self.saved.range.as_ref()
    }

    /// Whether some of a backfill's range is left to be read.
    #[must_use]
    pub(crate) fn is_left(&self) -> bool {
        self.saved.is_left()
    }

    /// How many bytes may be unconfirmed.
    #[must_use]
    pub(crate) fn unconfirmed_limit(&self) -> u64 {
        self.saved.unconfirmed_limit
    }

    /// What the receiver is like is not known any more.
    pub(crate) fn forget_receiver(&mut self) {
        self.saved.receiver = None;
    }

    /// What is known of the receiver.
    #[must_use]
    pub fn receiver(&self) -> Option<&Receiver> {
        self.saved.receiver.as_ref()
    }

    /// Writes the state as it is, so that it is known that the next one can be written.
    ///
    /// # Errors
    /// When it cannot be written and synced.
    pub fn prove(&mut self) -> Result<(), StateError> {
        if std::mem::take(&mut self.replaces_others) {
            self.set_others_aside().map_err(StateError::Unwritable)?;
        }
        self.quarantine.cut()?;
        self.saved.identities = self.dedup.take_new_file()?;
        self.save()
    }

    /// What was delivered becomes durable, and what was quarantined: that and the identities first,
    /// the position second. Of several commits, the newest says how far the source has come.
    ///
    /// # Errors
    /// When either cannot be written; the run before still counts then.
    pub(crate) fn commit(
        &mut self,
        commits: &[Commit],
        receiver: Option<Receiver>,
    ) -> Result<(), StateError> {
        let unreported = self.saved.quarantine.unreported;
        self.saved.quarantine.unreported = unreported.saturating_add(self.quarantine.commit()?);
        self.saved.quarantine.length = self.quarantine.length();
        self.saved.identities = self.dedup.commit()?;
        let rule_stats = self.rules.iter().zip(&self.rule_stats);
        let rule_stats = rule_stats.map(|(rule, fit)| SavedRuleStats {
            rule: hex(rule),
            tried: fit.tried,
            matched: fit.matched,
        });
        self.saved.rules = rule_stats.collect();
        for Commit {
            checkpoint, gap, ..
        } in commits
        {
            if let Some(checkpoint) = checkpoint {
                self.saved.checkpoint.clone_from(checkpoint);
                let until = checkpoint.until();
                if until > self.saved.identities_since {
                    self.saved.begun = None;
                }
                // a start that was counted from a clock of ours that was ahead
                self.saved.identities_since = self.saved.identities_since.min(until);
            }
            if let Some(Gap { from, to }) = *gap {
                self.saved.gaps.push(SavedGap {
                    from,
                    to,
                    said: false,
                });
            }
        }
        if receiver.is_some() {
            self.saved.receiver = receiver;
        }
        self.save()
    }

    /// The receiver did not confirm: the next runs send less before they ask it to.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn halve_unconfirmed_limit(&mut self) -> Result<(), StateError> {
        self.saved.unconfirmed_limit = (self.saved.unconfirmed_limit / 2).max(LEAST_UNCONFIRMED);
        self.save()
    }

    /// At the end of a run in which every confirmation came: what is expired goes, the limit of
    /// the unconfirmed recovers, and what is not yet said is returned, said from now on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(&mut self) -> Result<Unreported, StateError> {
        let before = (self.saved.unconfirmed_limit, self.saved.gaps.clone());
        self.saved.unconfirmed_limit = (self.saved.unconfirmed_limit * 2).min(UNCONFIRMED);
        let unreported = self.saved.gaps.iter_mut().filter(|gap| !gap.said);
        let said = unreported.map(|gap| {
            gap.said = true;
            gap.gap()
        });
        let unreported = Unreported {
            gaps: said.collect(),
            quarantined: std::mem::take(&mut self.saved.quarantine.unreported),
        };
        let oldest = self.oldest_needed();
        let is_clean_up_due = match self.dedup.are_read() {
            true => self.dedup.read()?.is_mostly_expired(),
            false => self.are_mostly_expired(oldest),
        };
        if is_clean_up_due {
            self.saved.identities_since = self.saved.identities_since.max(oldest);
            self.saved.identities = self.dedup.read()?.write_new_file(hour_after(oldest))?;
            self.save()?;
            self.saved.identities = self.dedup.take_new_file()?;
            self.save()?;
        } else if unreported.quarantined > 0
            || before != (self.saved.unconfirmed_limit, self.saved.gaps.clone())
        {
            self.save()?;
        }
        Ok(unreported)
    }

    /// Whether most identities, which this run has not read, are probably of no use: those that are not needed are of
    /// a longer time than the others. To read them so rarely costs nothing.
    fn are_mostly_expired(&self, oldest_needed: OffsetDateTime) -> bool {
        let needed = self.saved.checkpoint.until() - oldest_needed;
        let expired = oldest_needed - self.saved.identities_since;
        self.dedup.in_file() > FEW && expired > needed
    }

    /// Renames what is of no use. The state itself comes last: until then it is of no use for the next run, too.
    fn set_others_aside(&self) -> Result<(), FileError> {
        let seen = seen_path(&self.path);
        for path in [seen.with_added_extension("next"), seen, self.path.clone()] {
            match files::rename(&path, &path.with_added_extension("old")) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn save(&self) -> Result<(), StateError> {
        file::write(StateFile::State, &self.path, &self.saved)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{StartPoint, StateOrigin};
    use super::*;
    use crate::pipeline::batch::{EventId, RequestId};
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);
    const SERVICE: &str = "tap-clicks-blocked";

    fn open(path: &Path) -> Result<(State, StateOrigin), StateError> {
        open_at(path, NOON)
    }

    fn open_at(path: &Path, now: OffsetDateTime) -> Result<(State, StateOrigin), StateError> {
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
        State::open(path, SERVICE, &start, retention, now)
    }

    /// A state in which all members are written, with two identities.
    fn filled() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("{SERVICE}.json"));
        let (mut state, origin) = open(&path).unwrap();
        assert_eq!(origin, StateOrigin::New);
        state.prove().unwrap();
        state.follow(vec![[0xab; 16]]);
        state.rule_stats[0].tried = 2;
        state.found_late(90, Pass::Recheck);
        for (number, byte) in [(1, 1), (2, 2)] {
            let request = RequestId {
                number,
                end_hour: hour_after(NOON),
                pass: Pass::Recent,
            };
            assert!(
                state
                    .dedup
                    .insert(EventId::Key([byte; 16]), request)
                    .unwrap()
            );
        }
        state.quarantine.add(b"{", "it is cut off", NOON).unwrap();
        let commit = Commit {
            checkpoint: Some(Checkpoint::windows_at(NOON)),
            gap: Some(Gap {
                from: NOON - Duration::DAY,
                to: NOON - Duration::HOUR,
            }),
            at_once: false,
        };
        let receiver = Receiver {
            address: "collector.example:443".into(),
            sends_close_notify: true,
        };
        state.commit(&[commit], Some(receiver)).unwrap();
        (dir, path)
    }

    fn count(state: &mut State) -> usize {
        state.dedup.read().unwrap().count()
    }

    /// A change of this file needs another version of it.
    #[test]
    fn a_state_is_written_as_its_golden_file() {
        let (_dir, path) = filled();
        let written = std::fs::read_to_string(&path).unwrap();
        assert_eq!(written, include_str!("golden/state.json"));
        let identities = std::fs::read(seen_path(&path)).unwrap();
        let golden = include_str!("golden/seen.hex").split_whitespace();
        assert_eq!(hex(&identities), golden.collect::<String>());
        let (mut state, origin) = open(&path).unwrap();
        assert_eq!(origin, StateOrigin::Known);
        assert_eq!((count(&mut state), state.saved.gaps.len()), (2, 1));
    }

    #[test]
    fn no_changed_byte_of_its_files_is_accepted() {
        let (_dir, path) = filled();
        for file in [path.clone(), seen_path(&path)] {
            let good = std::fs::read(&file).unwrap();
            for at in 0..good.len() {
                for change in [1, 0x20, 0x80, 0xff] {
                    let mut bad = good.clone();
                    bad[at] ^= change;
                    std::fs::write(&file, &bad).unwrap();
                    let read = |(mut state, _): (State, _)| state.dedup.read().map(drop);
                    match open(&path).and_then(read) {
                        Err(StateError::Damaged { path, .. }) => assert_eq!(path, file),
                        other => panic!("byte {at} of {}: {other:?}", file.display()),
                    }
                }
            }
            std::fs::write(&file, good).unwrap();
        }
        open(&path).unwrap();
    }

    #[test]
    fn identities_of_another_time_are_found_out_and_what_is_beyond_them_does_no_harm() {
        let (_dir, path) = filled();
        let old = std::fs::read(&path).unwrap();
        let (mut state, _) = open(&path).unwrap();
        let request = RequestId {
            number: 1,
            end_hour: hour_after(NOON),
            pass: Pass::Recent,
        };
        state.dedup.insert(EventId::Key([3; 16]), request).unwrap();
        state.commit(&[], None).unwrap();
        assert_eq!(count(&mut open(&path).unwrap().0), 3);
        // a crash between the two files, or an older backup of the state: its identities are all there
        std::fs::write(&path, &old).unwrap();
        assert_eq!(count(&mut open(&path).unwrap().0), 2);
        // others are not
        state.saved.identities = state.dedup.read().unwrap().write_new_file(0).unwrap();
        state.dedup.take_new_file().unwrap();
        let error = open(&path).and_then(|(mut state, _)| state.dedup.read().map(drop));
        let error = error.unwrap_err();
        assert!(matches!(error, StateError::Damaged { .. }), "{error:?}");
    }

    #[test]
    fn a_clean_up_that_was_interrupted_is_finished_by_the_next_run() {
        let (_dir, path) = filled();
        let (mut state, _) = open(&path).unwrap();
        state.saved.identities = state.dedup.read().unwrap().write_new_file(0).unwrap();
        state.save().unwrap();
        let next = path.with_extension("seen.next");
        for is_renamed in [false, true] {
            let (mut state, _) = open(&path).unwrap();
            assert_eq!((count(&mut state), next.exists()), (2, !is_renamed));
            match is_renamed {
                // a crash behind the rename, before the state says so
                false => drop(state.dedup.take_new_file().unwrap()),
                true => state.prove().unwrap(),
            }
        }
        assert!(!open(&path).unwrap().0.saved.identities.beside);
    }

    #[test]
    fn identities_are_read_when_the_first_event_comes_and_damage_is_found_before_it_counts() {
        let (_dir, path) = filled();
        let seen = seen_path(&path);
        let sound = std::fs::read(&seen).unwrap();
        let mut bad = sound.clone();
        *bad.last_mut().unwrap() ^= 1;
        std::fs::write(&seen, &bad).unwrap();
        let (mut state, _) = open(&path).unwrap();
        // a run that finds nothing
        state.prove().unwrap();
        state
            .commit(&[Commit::from(Checkpoint::windows_at(NOON))], None)
            .unwrap();
        state.finish().unwrap();
        assert!(!state.dedup.are_read());
        let (mut state, _) = open(&path).unwrap();
        let inserted = state
            .dedup
            .insert(EventId::Key([9; 16]), RequestId::default());
        assert!(
            matches!(inserted, Err(StateError::Damaged { .. })),
            "{inserted:?}"
        );
        assert!(!state.dedup.are_read());
        std::fs::write(&seen, &sound).unwrap();
        let known = state
            .dedup
            .insert(EventId::Key([1; 16]), RequestId::default());
        assert!(!known.unwrap());
    }

    /// So many identities of hours that are not needed are cleaned up by a run without an event, once as much time has
    /// passed as they are kept for.
    #[test]
    fn a_run_without_an_event_cleans_up_once_most_identities_are_expired() {
        for (hours, kept) in [(13, true), (23, true), (25, false), (40, false)] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(format!("{SERVICE}.json"));
            let (mut state, _) = open(&path).unwrap();
            state.prove().unwrap();
            let end_hour = hour_after(NOON - Duration::DAY);
            let request = RequestId {
                number: 1,
                end_hour,
                ..RequestId::default()
            };
            for number in 0..2 * FEW {
                let digest = digest_of(number);
                assert!(state.dedup.insert(EventId::Key(digest), request).unwrap());
            }
            let start = Checkpoint::windows_at(NOON - Duration::DAY);
            state.commit(&[Commit::from(start)], None).unwrap();
            let (mut state, _) = open_at(&path, NOON + Duration::DAY).unwrap();
            state.prove().unwrap();
            let position = Checkpoint::windows_at(NOON - Duration::DAY + Duration::hours(hours));
            state.commit(&[Commit::from(position)], None).unwrap();
            state.finish().unwrap();
            assert_eq!(state.dedup.in_file() > 0, kept, "{hours}");
            assert_eq!(state.dedup.are_read(), !kept, "{hours}");
        }
    }

    fn digest_of(number: u64) -> Digest {
        let mut digest = [7; 16];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        digest
    }
}
