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
    use crate::pipeline::checkpoint::Recheck;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);
    const SERVICE: &str = "tap-clicks-blocked";
    const KEPT: Retention = Retention {
        look_back: Duration::HOUR,
        recheck: Duration::hours(12),
        memory: Duration::ZERO,
    };

    fn open(path: &Path) -> Result<(State, StateOrigin), StateError> {
        open_at(path, NOON)
    }

    fn open_at(path: &Path, now: OffsetDateTime) -> Result<(State, StateOrigin), StateError> {
        State::open(path, SERVICE, &a_day_ago(), KEPT, now)
    }

    /// No start is configured.
    fn a_day_ago() -> StartPoint {
        StartPoint {
            configured: None,
            range: None,
            checkpoint: Checkpoint::windows_at(NOON - Duration::DAY),
        }
    }

    /// A state that was begun, and nothing was read.
    fn begun(start: &StartPoint) -> (tempfile::TempDir, State) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("{SERVICE}.json"));
        let (mut state, _) = State::open(&path, SERVICE, start, KEPT, NOON).unwrap();
        state.prove().unwrap();
        (dir, state)
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
        let late = (state.late().events, state.late().by_recheck);
        assert_eq!((late, state.late().greatest_seconds), ((1, 1), 90));
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
        for (hours, count, kept) in [
            (13, 2 * FEW, true),
            (24, 2 * FEW, true),
            (25, 2 * FEW, false),
            (40, FEW + 1, false),
            (40, FEW, true),
        ] {
            let (_dir, mut state) = begun(&a_day_ago());
            let end_hour = hour_after(NOON - Duration::DAY);
            let request = RequestId {
                number: 1,
                end_hour,
                ..RequestId::default()
            };
            for number in 0..count {
                let digest = digest_of(number);
                assert!(state.dedup.insert(EventId::Key(digest), request).unwrap());
            }
            let start = Checkpoint::windows_at(NOON - Duration::DAY);
            state.commit(&[Commit::from(start)], None).unwrap();
            let (mut state, _) = open_at(&state.path, NOON + Duration::DAY).unwrap();
            state.prove().unwrap();
            let position = Checkpoint::windows_at(NOON - Duration::DAY + Duration::hours(hours));
            state.commit(&[Commit::from(position)], None).unwrap();
            state.finish().unwrap();
            assert_eq!(state.dedup.in_file() > 0, kept, "{hours} {count}");
            assert_eq!(state.dedup.are_read(), !kept, "{hours} {count}");
            // no re-reading finds what is gone
            let since = match kept {
                true => NOON - Duration::DAY,
                false => NOON - Duration::DAY + Duration::hours(hours - 12),
            };
            assert_eq!(state.identities_since(), since, "{hours} {count}");
            let (state, _) = open_at(&state.path, NOON + Duration::DAY).unwrap();
            assert_eq!(state.identities_since(), since, "{hours} {count}");
        }
    }

    #[test]
    fn identities_are_kept_for_as_long_as_something_may_be_read_again() {
        let (_dir, mut state) = begun(&a_day_ago());
        let position = NOON - Duration::DAY;
        // look-back, recheck and memory in hours, how long before the position a recheck goes on, and how much is kept
        for (hours, recheck, kept) in [
            ([0, 0, 0], None, 2),
            ([3, 0, 0], None, 3),
            ([1, 12, 0], None, 12),
            ([1, 12, 30], None, 30),
            ([1, 12, 0], Some(5), 12),
            ([1, 12, 0], Some(20), 20),
        ] {
            let [look_back, recheck_after, memory] = hours.map(Duration::hours);
            state.retention = Retention {
                look_back,
                recheck: recheck_after,
                memory,
            };
            let mut windows = Checkpoint::windows_at(position).windows();
            windows.recheck = recheck.map(|hours| Recheck {
                until: position - Duration::hours(hours),
                already_covered: None,
            });
            state.saved.checkpoint = Checkpoint::Windows(windows);
            let expected = position - Duration::hours(kept);
            assert_eq!(state.oldest_needed(), expected, "{hours:?} {recheck:?}");
        }
    }

    #[test]
    fn a_rule_keeps_how_it_fitted_as_long_as_it_stays_the_same() {
        let (_dir, path) = filled();
        let (mut state, _) = open(&path).unwrap();
        let fits = |state: &State| -> Vec<(u64, bool)> {
            let stats = state.rule_stats.iter();
            stats.map(|fit| (fit.tried, fit.matched)).collect()
        };
        state.follow(vec![[0xcd; 16], [0xab; 16]]);
        assert_eq!(fits(&state), [(0, false), (2, false)]);
        state.rule_stats[0] = RuleStats {
            tried: 5,
            matched: true,
        };
        state.commit(&[], None).unwrap();
        let (mut state, _) = open(&path).unwrap();
        state.follow(vec![[0xcd; 16]]);
        assert_eq!(fits(&state), [(5, true)]);
        state.commit(&[], None).unwrap();
        let (mut state, _) = open(&path).unwrap();
        state.follow(vec![[0xab; 16]]);
        assert_eq!(fits(&state), [(0, false)], "it was gone");
    }

    #[test]
    fn a_backfill_is_left_until_its_end_is_read() {
        let (_dir, state) = begun(&a_day_ago());
        assert!(state.range().is_none() && !state.is_left());
        let start = StartPoint {
            range: Some(some_range()),
            ..a_day_ago()
        };
        let (_dir, mut state) = begun(&start);
        assert_eq!(state.range(), Some(&some_range()));
        for (until, is_left) in [(NOON - Duration::SECOND, true), (NOON, false)] {
            let position = Checkpoint::windows_at(until);
            state.commit(&[Commit::from(position)], None).unwrap();
            assert_eq!(state.is_left(), is_left, "{until}");
        }
    }

    fn some_range() -> Range {
        Range {
            words: ["a".into(), "b".into()],
            from: NOON - Duration::DAY,
            to: NOON,
        }
    }

    #[test]
    fn a_start_is_counted_from_the_later_of_two_clocks_until_something_was_read() {
        let chosen = |configured, range| StartPoint {
            configured,
            range,
            ..a_day_ago()
        };
        let starts = [
            (a_day_ago(), true),
            (chosen(Some(NOON - Duration::DAY), None), false),
            (chosen(None, Some(some_range())), false),
        ];
        for (start, is_counted_back) in starts {
            let (_dir, mut state) = begun(&start);
            assert_eq!(state.is_counted_back(), is_counted_back, "{start:?}");
            for (ahead, later) in [(-1, NOON), (0, NOON), (3, NOON + Duration::hours(3))] {
                let expected = if is_counted_back { later } else { NOON };
                let server = NOON + Duration::hours(ahead);
                state.correct_begun(server).unwrap();
                assert_eq!(state.begun(), Some(expected), "{ahead} {start:?}");
                // the next run knows it
                let (saved, _) = State::open(&state.path, SERVICE, &start, KEPT, later).unwrap();
                assert_eq!(saved.begun(), Some(expected), "{ahead} {start:?}");
            }
            let commit = |state: &mut State, hours| {
                let until = NOON - Duration::DAY + Duration::hours(hours);
                let commits = [Commit::from(Checkpoint::windows_at(until))];
                state.commit(&commits, None).unwrap();
            };
            // nothing was read yet: the start was counted anew
            for hours in [0, -5] {
                commit(&mut state, hours);
                assert!(state.begun().is_some());
                let since = NOON - Duration::DAY + Duration::hours(hours);
                assert_eq!(state.identities_since(), since);
            }
            commit(&mut state, 1);
            assert_eq!((state.begun(), state.is_counted_back()), (None, false));
            assert_eq!(state.identities_since(), NOON - Duration::hours(29));
            state.correct_begun(NOON + Duration::DAY).unwrap();
            assert_eq!(state.begun(), None);
        }
    }

    #[test]
    fn what_could_not_be_delivered_is_reported_once_by_a_run_that_ends_well() {
        let (_dir, path) = filled();
        // the run that found it did not end well
        let (mut state, _) = open(&path).unwrap();
        let unreported = state.finish().unwrap();
        assert_eq!((unreported.gaps.len(), unreported.quarantined), (1, 1));
        assert!(!unreported.is_empty());
        assert!(state.finish().unwrap().is_empty());
        let (mut state, _) = open(&path).unwrap();
        assert!(state.finish().unwrap().is_empty());
        // the gap stays known
        assert_eq!(state.saved.gaps.len(), 1);
        let gap = state.saved.gaps[0].gap();
        for (gaps, quarantined) in [(vec![gap], 0), (Vec::new(), 1), (vec![gap], 1)] {
            let unreported = Unreported { gaps, quarantined };
            assert!(!unreported.is_empty(), "{unreported:?}");
        }
    }

    #[test]
    fn an_event_that_is_quarantined_is_reported_even_if_there_is_no_gap() {
        let (_dir, mut state) = begun(&a_day_ago());
        for _ in 0..2 {
            let bytes = b"{";
            state.quarantine.add(bytes, "it is cut off", NOON).unwrap();
            state.commit(&[], None).unwrap();
        }
        assert_eq!(state.finish().unwrap().quarantined, 2);
        let (mut state, _) = open(&state.path).unwrap();
        assert_eq!(state.finish().unwrap().quarantined, 0);
    }

    #[test]
    fn failing_confirmations_halve_what_may_be_unconfirmed_and_runs_that_end_well_double_it() {
        let (_dir, mut state) = begun(&a_day_ago());
        let saved = |state: &State| open(&state.path).unwrap().0.unconfirmed_limit();
        let mut expected = UNCONFIRMED;
        while expected > LEAST_UNCONFIRMED {
            expected /= 2;
            state.halve_unconfirmed_limit().unwrap();
            assert_eq!(
                (state.unconfirmed_limit(), saved(&state)),
                (expected, expected)
            );
        }
        state.halve_unconfirmed_limit().unwrap();
        assert_eq!(state.unconfirmed_limit(), LEAST_UNCONFIRMED);
        while expected < UNCONFIRMED {
            expected *= 2;
            state.finish().unwrap();
            assert_eq!(
                (state.unconfirmed_limit(), saved(&state)),
                (expected, expected)
            );
        }
        state.finish().unwrap();
        assert_eq!(state.unconfirmed_limit(), UNCONFIRMED);
    }

    #[test]
    fn what_the_receiver_is_like_stays_until_it_is_known_otherwise() {
        let (_dir, path) = filled();
        let (mut state, _) = open(&path).unwrap();
        let known = state.receiver().cloned().unwrap();
        state.commit(&[], None).unwrap();
        assert_eq!(open(&path).unwrap().0.receiver(), Some(&known));
        let other = Receiver {
            sends_close_notify: false,
            ..known
        };
        state.commit(&[], Some(other.clone())).unwrap();
        assert_eq!(open(&path).unwrap().0.receiver(), Some(&other));
        state.forget_receiver();
        state.commit(&[], None).unwrap();
        assert_eq!(open(&path).unwrap().0.receiver(), None);
    }

    fn digest_of(number: u64) -> Digest {
        let mut digest = [7; 16];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        digest
    }
}
