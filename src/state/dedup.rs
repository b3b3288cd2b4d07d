//! `DedupIndex` knows the identities of the events that were delivered already.
//!
//! In memory they take 25 bytes each: a sorted map, and a small table of the newest that is folded into it from time
//! to time. A commit writes only the new ones to their file.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::hash::{BuildHasherDefault, Hasher};
use std::path::Path;

use super::digest_map::DigestMap;
use super::error::StateError;
use super::seen::{SavedIndex, SeenFile, SeenRecord, record};
use crate::digest;
use crate::pipeline::batch::{AnswerTotals, DedupView, Digest, EventId, RequestId};

/// In the hour of a record: the live stream, or an answer of the archive, has shown it within that hour,
/// to which it belongs.
const SHOWN: u32 = 1 << 31;
/// So many new identities are folded into the sorted ones at once,
const FOLD_AT: usize = 32 * 1024;
/// or one in so many of those that are sorted, since to fold moves them all.
const FOLD_SHARE: usize = 64;
/// A file with so many is never too large.
pub(super) const FEW: u64 = 3000;

/// The identities of what was delivered.
#[derive(Debug)]
pub struct DedupIndex {
    file: SeenFile,
    known: DigestMap<EntryMark>,
    recent: HashMap<Digest, EntryMark, BuildHasherDefault<FirstBytes>>,
    /// Admitted since the last commit, as records of the file.
    fresh: Vec<SeenRecord>,
    /// Of records that are equal in the window that is being read: the next ordinal.
    repeats: HashMap<Digest, u32, BuildHasherDefault<FirstBytes>>,
    /// The number of the window that is being read,
    window: u32,
    /// and its mark, from 1 to [`LAST_MET`], after which all marks are wiped.
    met: u32,
    /// What the window that is being read has held.
    answered: AnswerTotals,
}

/// Packed: there are millions.
#[derive(Debug, Clone, Copy)]
struct EntryMark {
    /// From the lowest bit: the end of the window in which it was first found, in hours since 1970,
    /// whether it was [`SHOWN`], and the mark of the window in which it was met last.
    hour_and_met: u32,
    /// The checksum of its content, when it was met first in that window.
    content: u32,
}

/// Until 2089.
const HOUR_BITS: u32 = 20;
const LAST_HOUR: u32 = (1 << HOUR_BITS) - 1;
const SHOWN_BIT: u32 = 1 << HOUR_BITS;
const LAST_MET: u32 = u32::MAX >> (HOUR_BITS + 1);

/// When an identity was met last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastMet {
    New,
    Earlier,
    /// With the content that it had first.
    InThisWindow(u32),
}

/// Digests are evenly spread, so their first bytes are as good a hash as any.
#[derive(Debug, Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // the length of the array is hashed as well, as eight bytes; the digest is longer
        if let Some(first) = bytes.first_chunk::<8>().filter(|_| bytes.len() == 16) {
            self.0 = u64::from_le_bytes(*first);
        }
    }
}

impl DedupIndex {
    /// Nothing known; the file at `path` begins anew at the next commit.
    #[must_use]
    pub fn empty(path: &Path) -> DedupIndex {
        DedupIndex::of(SeenFile::empty(path))
    }

    /// Nothing known of what the file has.
    #[must_use]
    pub(super) fn of(file: SeenFile) -> DedupIndex {
        DedupIndex {
            file,
            known: DigestMap::new(),
            recent: HashMap::default(),
            fresh: Vec::new(),
            repeats: HashMap::default(),
            window: 0,
            met: 1,
            answered: AnswerTotals::default(),
        }
    }

    /// Reads the identities of the file at `path`, those before `oldest_hour` left out. Nothing is written.
    ///
    /// # Errors
    /// When the file is damaged, missing, another than that of the state, or may not be read.
    pub fn load(
        path: &Path,
        extent: SavedIndex,
        oldest_hour: u32,
    ) -> Result<DedupIndex, StateError> {
        let mut index = DedupIndex::of(SeenFile::at(path, extent)?);
        index.read(oldest_hour)?;
        Ok(index)
    }

    /// Reads the identities of the file, those before `oldest_hour` left out.
    ///
    /// # Errors
    /// As [`DedupIndex::load`].
    pub(super) fn read(&mut self, oldest_hour: u32) -> Result<(), StateError> {
        let known = self.file.read(|digest, hour| {
            let mark = EntryMark::new(hour, 0, 0);
            mark.is_kept(oldest_hour).then_some((digest, mark))
        })?;
        self.known = DigestMap::of(known);
        Ok(())
    }

    /// How much of the file counts.
    #[must_use]
    pub(super) fn extent(&self) -> SavedIndex {
        self.file.extent()
    }

    /// Whether an event is new; it is known from then on.
    ///
    /// Of records that are equal in one window, each has an ordinal of its own, counted from the
    /// window's start and including those that are known.
    pub fn insert(&mut self, identity: EventId, request: RequestId) -> bool {
        if self.window != request.number {
            self.window = request.number;
            self.met += 1;
            if self.met > LAST_MET {
                self.wipe_met();
            }
            self.repeats.clear();
            self.answered = AnswerTotals::default();
        }
        let canonical = match identity {
            EventId::Key(digest) => return self.meet(digest, request, 0) == LastMet::New,
            EventId::Streamed {
                key,
                content,
                is_shown,
            } => {
                let mut shown = request;
                shown.end_hour |= if is_shown { SHOWN } else { 0 };
                return match self.meet(key, shown, content) {
                    // which of the two comes first may change, so an answer without it may be complete
                    LastMet::InThisWindow(first) if first != content => {
                        self.meet(digest::twin(key, content), request, 0) == LastMet::New
                    }
                    met => met == LastMet::New,
                };
            }
            EventId::Content(digest) => digest,
        };
        let mut ordinal = self.repeats.get(&canonical).copied().unwrap_or(0);
        loop {
            match self.meet(digest::ordinal(canonical, ordinal), request, 0) {
                LastMet::InThisWindow(_) => ordinal += 1,
                met => {
                    if ordinal > 0 {
                        self.repeats.insert(canonical, ordinal + 1);
                    }
                    return met == LastMet::New;
                }
            }
        }
    }

    /// What was admitted since the last commit becomes durable.
    ///
    /// # Errors
    /// When the file cannot be written; nothing is durable then.
    pub fn commit(&mut self) -> Result<SavedIndex, StateError> {
        if !self.fresh.is_empty() {
            self.file.append(&self.fresh)?;
            self.fresh.clear();
        }
        Ok(self.file.extent())
    }

    /// How many identities are kept in memory.
    #[must_use]
    pub fn count(&self) -> usize {
        self.known.len() + self.recent.len()
    }

    /// Whether most of the file is of no use any more, so that a new one should take its place.
    #[must_use]
    pub(crate) fn is_mostly_expired(&self) -> bool {
        let in_file = self.file.extent().count;
        let all_is_committed = self.fresh.is_empty();
        all_is_committed && in_file > FEW && in_file > 2 * self.count() as u64
    }

    /// Writes what is kept, from `oldest_hour` on, to a new file beside. It counts once the state
    /// names it; then [`DedupIndex::take_new_file`].
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write_new_file(&mut self, oldest_hour: u32) -> Result<SavedIndex, StateError> {
        self.fold();
        self.known.retain(|mark| mark.is_kept(oldest_hour));
        let known = self.known.iter();
        self.file
            .write_new_file(known.map(|(digest, mark)| record(digest, mark.hour())))?;
        Ok(self.file.extent())
    }

    /// Puts the new file in the place of the old one, if it is the one that counts.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub(crate) fn take_new_file(&mut self) -> Result<SavedIndex, StateError> {
        self.file.take_new_file()?;
        Ok(self.file.extent())
    }

    fn meet(&mut self, digest: Digest, request: RequestId, content: u32) -> LastMet {
        let mark = match self.known.get_mut(&digest) {
            Some(mark) => Some(mark),
            None => match self.recent.entry(digest) {
                MapEntry::Occupied(entry) => Some(entry.into_mut()),
                MapEntry::Vacant(entry) => {
                    entry.insert(EntryMark::new(request.end_hour, self.met, content));
                    None
                }
            },
        };
        if let Some(mark) = mark {
            if mark.met() == self.met {
                return LastMet::InThisWindow(mark.content);
            }
            let hour = mark.hour();
            *mark = EntryMark::new(hour, self.met, content);
            self.answered.events += 1;
            self.answered.shown += u64::from(hour == request.end_hour | SHOWN);
            return LastMet::Earlier;
        }
        self.answered.events += 1;
        self.answered.new += 1;
        self.fresh.push(record(digest, request.end_hour));
        if self.recent.len() >= FOLD_AT.max(self.known.len() / FOLD_SHARE) {
            self.fold();
        }
        LastMet::New
    }

    /// Begins the marks of windows anew.
    fn wipe_met(&mut self) {
        for mark in self.known.values_mut().chain(self.recent.values_mut()) {
            *mark = EntryMark::new(mark.hour(), 0, mark.content);
        }
        self.met = 1;
    }

    /// Merges the newest into the sorted ones.
    fn fold(&mut self) {
        self.known.merge(self.recent.drain().collect());
    }
}

impl EntryMark {
    /// With the hour as in a record of the file.
    fn new(hour: u32, met: u32, content: u32) -> EntryMark {
        let shown = if hour & SHOWN == 0 { 0 } else { SHOWN_BIT };
        let hour = (hour & !SHOWN).min(LAST_HOUR);
        EntryMark {
            hour_and_met: hour | shown | met << (HOUR_BITS + 1),
            content,
        }
    }

    /// As in a record of the file.
    fn hour(self) -> u32 {
        let shown = if self.hour_and_met & SHOWN_BIT == 0 {
            0
        } else {
            SHOWN
        };
        self.hour_and_met & LAST_HOUR | shown
    }

    fn met(self) -> u32 {
        self.hour_and_met >> (HOUR_BITS + 1)
    }

    fn is_kept(self, oldest_hour: u32) -> bool {
        self.hour() & !SHOWN >= oldest_hour
    }
}

impl DedupView for DedupIndex {
    fn contains(&self, digest: &Digest) -> bool {
        self.known.contains(digest) || self.recent.contains_key(digest)
    }

    fn shown(&self, hour: u32) -> u64 {
        let known = self.known.iter().map(|(_, mark)| mark.hour());
        let recent = self.recent.values().map(|mark| mark.hour());
        known
            .chain(recent)
            .filter(|there| *there == hour | SHOWN)
            .count() as u64
    }

    fn answer(&self, number: u32) -> AnswerTotals {
        match self.window == number {
            true => self.answered,
            false => AnswerTotals::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::batch::Pass;
    use std::path::PathBuf;

    const WINDOW: RequestId = RequestId {
        number: 1,
        end_hour: 500,
        pass: Pass::Recent,
    };
    const AGAIN: RequestId = RequestId {
        number: 2,
        end_hour: 501,
        pass: Pass::Recent,
    };

    fn digest(n: u32) -> Digest {
        let mut hasher = digest::Hasher::of("test");
        hasher.part(&n.to_le_bytes());
        hasher.finish()
    }

    fn named(n: u32) -> EventId {
        EventId::Key(digest(n))
    }

    fn streamed(n: u32, content: u32) -> EventId {
        EventId::Streamed {
            key: digest(n),
            content,
            is_shown: true,
        }
    }

    fn canonical(n: u32) -> EventId {
        EventId::Content(digest(n))
    }

    fn path() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.seen");
        (dir, path)
    }

    #[test]
    fn a_mark_keeps_what_it_is_made_of() {
        for hour in [0, 1, 500_000, LAST_HOUR, 500_000 | SHOWN, LAST_HOUR | SHOWN] {
            for met in [0, 1, LAST_MET] {
                let mark = EntryMark::new(hour, met, 7);
                assert_eq!((mark.hour(), mark.met(), mark.content), (hour, met, 7));
            }
        }
        // a clock of the next century
        assert_eq!(EntryMark::new(LAST_HOUR + 1, 3, 0).hour(), LAST_HOUR);
    }

    #[test]
    fn an_event_is_met_in_one_window_only_however_many_there_are() {
        let (_dir, path) = path();
        let mut dedup = DedupIndex::empty(&path);
        let mut alike = 0;
        for number in 1..2 * LAST_MET + 10 {
            let request = RequestId { number, ..WINDOW };
            for _ in 0..alike {
                assert!(!dedup.insert(canonical(1), request), "{number}");
            }
            // now and then there is one more
            if number % 500 == 1 {
                assert!(dedup.insert(canonical(1), request), "{number}");
                alike += 1;
            }
        }
    }

    #[test]
    fn an_identity_is_new_once() {
        let (_dir, path) = path();
        let mut dedup = DedupIndex::empty(&path);
        // more than are folded at once, in an order that is not theirs
        for n in 0..100_000 {
            assert!(dedup.insert(named(n), WINDOW));
        }
        assert!((0..100_000).all(|n| !dedup.insert(named(n), AGAIN)));
        assert_eq!(dedup.count(), 100_000);
    }

    #[test]
    fn what_the_live_stream_has_shown_is_counted_by_the_hour_and_found_again() {
        let (_dir, path) = path();
        let mut dedup = DedupIndex::empty(&path);
        for n in 0..10 {
            dedup.insert(streamed(n, n), WINDOW);
        }
        dedup.insert(named(10), WINDOW);
        assert_eq!((dedup.shown(500), dedup.shown(501)), (10, 0));
        let extent = dedup.commit().unwrap();
        let mut dedup = DedupIndex::load(&path, extent, 500).unwrap();
        assert_eq!(dedup.shown(500), 10);
        let third = RequestId {
            number: 3,
            ..WINDOW
        };
        // an archive repeats itself
        for n in [0, 1, 1, 10, 11, 11] {
            dedup.insert(named(n), third);
        }
        let answered = AnswerTotals {
            events: 4,
            new: 1,
            shown: 2,
        };
        assert_eq!(
            (dedup.answer(3), dedup.answer(2)),
            (answered, AnswerTotals::default())
        );
        assert!(dedup.contains(&digest(11)) && !dedup.contains(&digest(12)));
        let none = DedupIndex::load(&path, extent, 501).unwrap();
        assert_eq!(none.count(), 0);
    }

    #[test]
    fn of_events_with_one_name_in_one_answer_each_with_other_content_is_an_event() {
        let (_dir, path) = path();
        let mut dedup = DedupIndex::empty(&path);
        let mut insert = |number, contents: &[u32]| -> Vec<bool> {
            let request = RequestId { number, ..WINDOW };
            let each = contents.iter();
            each.map(|content| dedup.insert(streamed(1, *content), request))
                .collect()
        };
        // an archive repeats itself
        assert_eq!(
            insert(1, &[1, 1, 2, 1, 2, 3]),
            [true, false, true, false, false, true]
        );
        assert_eq!(insert(2, &[1, 2, 3]), [false; 3]);
        // in another order, what was first then comes once more, and never again
        assert_eq!(insert(3, &[2, 1, 3]), [false, true, false]);
        assert_eq!(insert(4, &[3, 2, 1]), [false; 3]);
        // another answer may spell it anew
        assert_eq!(insert(5, &[9]), [false]);
        let totals = |events, new, shown| AnswerTotals { events, new, shown };
        assert_eq!((dedup.shown(500), dedup.answer(5)), (1, totals(1, 0, 1)));
    }

    #[test]
    fn equal_records_of_one_window_are_several_events_and_are_found_again() {
        let (_dir, path) = path();
        let mut dedup = DedupIndex::empty(&path);
        assert_eq!(
            [1, 1, 2, 1].map(|n| dedup.insert(canonical(n), WINDOW)),
            [true; 4]
        );
        assert_eq!(
            [2, 1, 1].map(|n| dedup.insert(canonical(n), AGAIN)),
            [false; 3]
        );
        let third = RequestId { number: 3, ..AGAIN };
        assert_eq!(
            [1, 1, 1, 1].map(|n| dedup.insert(canonical(n), third)),
            [false, false, false, true]
        );
    }

    #[test]
    fn what_was_committed_is_known_to_the_next_run_and_nothing_else() {
        let (_dir, path) = path();
        let mut dedup = DedupIndex::empty(&path);
        dedup.insert(named(1), WINDOW);
        dedup.insert(canonical(2), WINDOW);
        let extent = dedup.commit().unwrap();
        dedup.insert(named(3), WINDOW);
        dedup.commit().unwrap();
        let mut dedup = DedupIndex::load(&path, extent, 0).unwrap();
        assert_eq!(
            [named(1), canonical(2), named(3)].map(|identity| dedup.insert(identity, WINDOW)),
            [false, false, true]
        );
        // the torn end is overwritten
        let extent = dedup.commit().unwrap();
        assert_eq!(DedupIndex::load(&path, extent, 0).unwrap().count(), 3);
        assert_eq!(extent.count, 3);
    }

    #[test]
    fn a_clean_up_keeps_what_is_young_and_may_be_interrupted_anywhere() {
        let (_dir, path) = path();
        let mut dedup = DedupIndex::empty(&path);
        dedup.insert(named(1), WINDOW);
        dedup.insert(named(2), AGAIN);
        let old = dedup.commit().unwrap();
        let new = dedup.write_new_file(AGAIN.end_hour).unwrap();
        assert_eq!(DedupIndex::load(&path, old, 0).unwrap().count(), 2);
        // the state names it, but it was not yet renamed; after this load it is
        assert_eq!(DedupIndex::load(&path, new, 0).unwrap().count(), 1);
        let mut dedup = DedupIndex::load(&path, new, 0).unwrap();
        assert!(!dedup.insert(named(2), WINDOW));
        assert!(dedup.insert(named(1), WINDOW));
    }

    #[test]
    fn a_file_is_cleaned_up_once_most_of_it_is_expired_and_all_is_committed() {
        // so many are in the file, so many of them are kept, and so many are not committed
        for (in_file, kept, fresh, expected) in [
            (FEW, 0, 0, false),
            (FEW + 1, 0, 0, true),
            (FEW + 2, FEW / 2 + 1, 0, false),
            (FEW + 3, FEW / 2 + 1, 0, true),
            (2 * FEW, 0, 1, false),
        ] {
            let (_dir, path) = path();
            let mut dedup = DedupIndex::empty(&path);
            for n in 0..in_file {
                let request = if n < kept { AGAIN } else { WINDOW };
                dedup.insert(named(n as u32), request);
            }
            let extent = dedup.commit().unwrap();
            assert!(!dedup.is_mostly_expired(), "all is in memory");
            let mut dedup = DedupIndex::load(&path, extent, AGAIN.end_hour).unwrap();
            for n in 0..fresh {
                dedup.insert(named(1_000_000 + n), AGAIN);
            }
            assert_eq!(dedup.count() as u64, kept + u64::from(fresh));
            let found = dedup.is_mostly_expired();
            assert_eq!(found, expected, "{in_file} {kept} {fresh}");
        }
    }
}
