//! `LedgerFile` stores the requests made with one sign-in, by every service and run.
//!
//! It is one file of the state folder, with its own lock, which is held for a booking only.
//!
//! A request is booked, durably, before it is made. A lost or damaged ledger costs a refusal of the
//! service at worst. So a damaged one is moved away with a warning; a newer one is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::error::{StateError, StateFile};
use super::file;
use crate::digest::Hasher;
use crate::error::{self, Exit, Failure};
use crate::files::{self, Lock, Taken};
use crate::quota::{Ledger, Pool, Quota, QuotaError, QuotaExceeded, QuotaPolicy, Usage};
use crate::shutdown::Shutdown;

/// A booking takes a few milliseconds; a lock that is held this long is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// The ledger of an account, as one run uses it.
#[derive(Debug)]
pub struct LedgerFile {
    path: PathBuf,
    policy: QuotaPolicy,
    /// By what requests are booked now: in another pool, perhaps.
    current: QuotaPolicy,
    shutdown: Shutdown,
    /// How many are left in each pool that was used.
    left: BTreeMap<&'static str, u32>,
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedLedger {
    version: u32,
    pools: Ledger,
}

impl LedgerFile {
    /// The ledger of `account` in `dir`; nothing is read yet. The account's name does not show in
    /// that of the file. `shutdown` ends the wait for the lock.
    #[must_use]
    pub fn of(account: &str, dir: &Path, policy: QuotaPolicy, shutdown: &Shutdown) -> LedgerFile {
        let mut hasher = Hasher::of("account");
        hasher.part(account.as_bytes());
        let digest = u64::from_le_bytes(hasher.finish().first_chunk().copied().unwrap_or_default());
        LedgerFile {
            path: dir.join(format!("quota-{digest:016x}.json")),
            current: policy.clone(),
            policy,
            shutdown: shutdown.clone(),
            left: BTreeMap::new(),
        }
    }

    /// The same, but so many requests of each limit are left for others.
    #[must_use]
    pub(crate) fn holding_back(mut self, requests: u32) -> LedgerFile {
        self.policy.held_back = requests;
        self.current.held_back = requests;
        self
    }

    /// How many requests are left by the limit that is nearest, as of the last booking.
    #[must_use]
    pub(crate) fn left(&self) -> Option<u32> {
        self.left.values().min().copied()
    }

    /// How much of each limit is used, how many of `count` requests could be made now, and what stands
    /// against the others; locks and changes nothing.
    ///
    /// # Errors
    /// When the ledger cannot be read, or is newer than this program.
    pub fn foresee(
        &self,
        now: OffsetDateTime,
        count: usize,
    ) -> Result<(Vec<Usage>, usize, Option<QuotaExceeded>), StateError> {
        let book = self.read()?.unwrap_or_else(|damage| {
            let path = self.path.display();
            log::warn!(
                "the request ledger {path} is damaged ({damage}); the next run moves it away and counts from 0"
            );
            Ledger::default()
        });
        let (made, spent) = book.foresee(&self.policy, now, count);
        let mut usage = book.usage(&self.policy, now);
        if let Some(pool) = self.policy.lookups {
            usage.extend(book.usage(&self.policy.in_pool(pool), now));
        }
        Ok((usage, made, spent))
    }

    /// Changes what is booked, and keeps it if it is other than before.
    fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> Result<T, StateError> {
        let _lock = self.lock()?;
        let mut book = match self.read()? {
            Ok(book) => book,
            Err(damage) => {
                let quarantine = self.path.with_extension("damaged");
                files::rename(&self.path, &quarantine).map_err(StateError::Unwritable)?;
                log::warn!(
                    "the request ledger {} is damaged ({damage}) and was moved to {}; requests of the last 24 hours \
                     are not counted, so the service may refuse some",
                    self.path.display(),
                    quarantine.display()
                );
                Ledger::default()
            }
        };
        let before = book.clone();
        let outcome = change(&mut book);
        if book != before {
            self.save(book)?;
        }
        Ok(outcome)
    }

    fn lock(&self) -> Result<Lock, StateError> {
        let path = self.path.with_extension("lock");
        let holder = format!("pid {}, {}", std::process::id(), self.policy.service);
        let taken = files::lock(&path, &holder, PATIENCE, &self.shutdown);
        match taken.map_err(StateError::Unwritable)? {
            Taken::Ours(lock) => Ok(lock),
            Taken::Held(_) if self.shutdown.reason().is_some() => Err(StateError::Stopped),
            Taken::Held(holder) => Err(StateError::LedgerTaken { path, holder }),
        }
    }

    /// What is booked; within, what is wrong with a file that cannot be understood.
    fn read(&self) -> Result<Result<Ledger, String>, StateError> {
        match file::read::<SavedLedger>(StateFile::Ledger, &self.path) {
            Ok(saved) => Ok(Ok(saved.map(|saved| saved.pools).unwrap_or_default())),
            Err(StateError::Damaged { bytes, reason, .. }) => Ok(Err(format!(
                "in bytes {} to {}: {reason}",
                bytes.start, bytes.end
            ))),
            Err(StateError::OtherVersion { found, known, .. }) if found < known => {
                Ok(Err(format!("it has version {found}")))
            }
            Err(error) => Err(error),
        }
    }

    fn save(&self, pools: Ledger) -> Result<(), StateError> {
        let saved = SavedLedger {
            version: StateFile::Ledger.version(),
            pools,
        };
        file::write(StateFile::Ledger, &self.path, &saved)
    }

    /// Books a request in this way, and keeps it.
    fn enter(
        &mut self,
        now: OffsetDateTime,
        book: fn(&mut Ledger, &QuotaPolicy, OffsetDateTime) -> Result<(), QuotaExceeded>,
    ) -> Result<(), QuotaError> {
        let policy = &self.current;
        let kept = self.change(|ledger| (book(ledger, policy, now), ledger.usage(policy, now)));
        let (booked, usage) = kept.map_err(|error| match error {
            StateError::Stopped => QuotaError::Stopped,
            error => QuotaError::Unkept(error.into()),
        })?;
        if let Some(left) = usage.iter().map(Usage::left).min() {
            self.left.insert(self.current.pool.name, left);
        }
        if let Err(exceeded) = booked {
            let hint = exceeded.hint(&self.current);
            if exceeded.is_of_repeats() {
                return Err(QuotaError::RepeatsExceeded(format!("{hint}: {exceeded}")));
            }
            let exit = match exceeded.is_by_failures() {
                true => Exit::Unavailable,
                false => Exit::TempFail,
            };
            let failure = Failure::from(exceeded).with_exit(exit);
            return Err(QuotaError::Exceeded(failure.with_hint(hint)));
        }
        Ok(())
    }
}

impl Quota for LedgerFile {
    fn book(&mut self, now: OffsetDateTime) -> Result<(), QuotaError> {
        self.enter(now, Ledger::book)
    }

    fn book_repeat(&mut self, now: OffsetDateTime) -> Result<(), QuotaError> {
        self.enter(now, Ledger::book_repeat)
    }

    fn use_pool(&mut self, pool: Option<&'static Pool>) {
        self.current = match pool {
            Some(pool) => self.policy.in_pool(pool),
            None => self.policy.clone(),
        };
    }

    fn give_back(&mut self, booked: OffsetDateTime) -> error::Result<()> {
        if let Some(left) = self.left.get_mut(self.current.pool.name) {
            *left += 1;
        }
        Ok(self.change(|book| book.give_back(&self.current, booked))?)
    }

    fn hold(&mut self, now: OffsetDateTime, wait: time::Duration) -> error::Result<OffsetDateTime> {
        Ok(self.change(|book| book.hold(&self.current, now, wait))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Limit;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);
    static POOL: Pool = Pool {
        name: "pool",
        limits: &[Limit::a_day(8)],
    };
    static LOOKUPS: Pool = Pool {
        name: "lookups",
        limits: &[Limit::a_day(3)],
    };

    fn ledger(dir: &Path) -> LedgerFile {
        let policy = QuotaPolicy {
            service: "a",
            pool: &POOL,
            own: vec![Limit::a_day(6)],
            lookups: Some(&LOOKUPS),
            held_back: 0,
        };
        LedgerFile::of("account", dir, policy, &Shutdown::default())
    }

    /// How many requests are used by each limit.
    fn used(ledger: &LedgerFile) -> Vec<(&'static str, u32)> {
        let (usage, ..) = ledger.foresee(NOON, 0).unwrap();
        usage.iter().map(|usage| (usage.of, usage.used)).collect()
    }

    #[test]
    fn what_one_run_booked_counts_for_the_next_in_its_own_pool() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = ledger(dir.path());
        assert_eq!(one.left(), None);
        one.book(NOON).unwrap();
        one.book_repeat(NOON).unwrap();
        assert_eq!(one.left(), Some(4));
        one.use_pool(Some(&LOOKUPS));
        one.book(NOON).unwrap();
        assert_eq!(one.left(), Some(2));
        one.use_pool(None);
        one.book(NOON).unwrap();
        let next = ledger(dir.path());
        assert_eq!(used(&next), [("pool", 3), ("a", 3), ("lookups", 1)]);
        let (_, made, spent) = next.foresee(NOON, 9).unwrap();
        assert_eq!(
            (made, spent.unwrap().free()),
            (3, NOON + time::Duration::DAY)
        );
        let other = LedgerFile::of("other", dir.path(), next.policy, &Shutdown::default());
        assert_eq!(used(&other), [("pool", 0), ("a", 0), ("lookups", 0)]);
    }

    #[test]
    fn what_is_given_back_is_left_again_and_free_for_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = ledger(dir.path());
        // before anything was booked nothing is known of what is left
        one.give_back(NOON).unwrap();
        assert_eq!(one.left(), None);
        for _ in 0..3 {
            one.book(NOON).unwrap();
        }
        one.give_back(NOON).unwrap();
        assert_eq!(one.left(), Some(4));
        assert_eq!(used(&ledger(dir.path()))[0], ("pool", 2));
    }

    #[test]
    fn what_is_held_back_is_left_for_others() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = ledger(dir.path()).holding_back(2);
        let (_, made, _) = one.foresee(NOON, 9).unwrap();
        assert_eq!(made, 4);
        for _ in 0..4 {
            one.book(NOON).unwrap();
        }
        assert!(matches!(one.book(NOON), Err(QuotaError::Exceeded(_))));
        ledger(dir.path()).book(NOON).unwrap();
    }

    #[test]
    fn a_refusal_of_the_service_holds_back_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let until = NOON + time::Duration::HOUR;
        let held = ledger(dir.path()).hold(NOON, time::Duration::HOUR);
        assert_eq!(held.unwrap(), until);
        let mut next = ledger(dir.path());
        let Err(QuotaError::Exceeded(failure)) = next.book(NOON) else {
            panic!("a request was booked");
        };
        assert_eq!(failure.exit(), Exit::TempFail);
        next.book(until).unwrap();
    }

    #[test]
    fn repeats_have_their_share_and_are_to_blame_for_a_limit_that_they_spent() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = ledger(dir.path());
        for _ in 0..2 {
            one.book_repeat(NOON).unwrap();
        }
        let repeated = one.book_repeat(NOON);
        assert!(matches!(repeated, Err(QuotaError::RepeatsExceeded(_))));
        for _ in 0..4 {
            one.book(NOON).unwrap();
        }
        let Err(QuotaError::Exceeded(failure)) = one.book(NOON) else {
            panic!("a request was booked");
        };
        assert_eq!(failure.exit(), Exit::Unavailable);
        assert_eq!(one.left(), Some(0));
    }

    #[test]
    fn a_damaged_or_older_ledger_is_moved_away_at_a_booking_and_a_newer_one_is_refused() {
        let write = |path: &Path, version| {
            let pools = Ledger::default();
            file::write(StateFile::Ledger, path, &SavedLedger { version, pools }).unwrap();
        };
        let known = StateFile::Ledger.version();
        for version in [None, Some(known - 1), Some(known + 1)] {
            let dir = tempfile::tempdir().unwrap();
            let mut one = ledger(dir.path());
            match version {
                None => std::fs::write(&one.path, "{").unwrap(),
                Some(version) => write(&one.path, version),
            }
            let before = std::fs::read(&one.path).unwrap();
            let aside = one.path.with_extension("damaged");
            if version > Some(known) {
                let foreseen = one.foresee(NOON, 1);
                assert!(matches!(foreseen, Err(StateError::OtherVersion { .. })));
                assert!(matches!(one.book(NOON), Err(QuotaError::Unkept(_))));
                assert_eq!(std::fs::read(&one.path).unwrap(), before);
                continue;
            }
            assert_eq!(one.foresee(NOON, 1).unwrap().1, 1, "{version:?}");
            assert!(!aside.exists(), "to look changes nothing");
            one.book(NOON).unwrap();
            assert_eq!(std::fs::read(&aside).unwrap(), before, "{version:?}");
            assert_eq!(used(&one)[0], ("pool", 1), "{version:?}");
        }
    }

    #[test]
    fn a_run_that_is_to_end_does_not_wait_for_the_ledger() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = ledger(dir.path());
        let _held = one.lock().unwrap();
        one.shutdown.raise();
        assert!(matches!(one.book(NOON), Err(QuotaError::Stopped)));
        assert!(!one.path.exists());
    }

    #[test]
    fn a_booking_that_changes_nothing_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let one = ledger(dir.path());
        one.change(|_| ()).unwrap();
        assert!(!one.path.exists());
    }
}
