//! A ledger of any bytes is read, or damaged, or newer. What is foreseen of it can be booked, and is
//! still there afterwards. What looks like an object gets its checksum first.

#![no_main]

mod saved;

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use proofpull::error::{Exit, Failure};
use proofpull::quota::{Limit, Pool, Quota, QuotaError, QuotaPolicy};
use proofpull::shutdown::Shutdown;
use proofpull::state::ledger::LedgerFile;
use saved::{DIR, sealed};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = datetime!(2026-11-27 12:00 UTC);

static POOL: Pool = Pool {
    name: "clicks/permitted",
    limits: &[Limit::a_day(5)],
};

/// The file of the account.
static PATH: LazyLock<PathBuf> = LazyLock::new(|| {
    ledger().book(NOW).unwrap();
    let files = std::fs::read_dir(DIR.path()).unwrap();
    let mut paths = files.map(|file| file.unwrap().path());
    let is_it = |path: &PathBuf| path.extension().is_some_and(|end| end == "json");
    paths.find(is_it).unwrap()
});

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(&*PATH, sealed(bytes)).unwrap();
    let mut ledger = ledger();
    let (usage, made, spent) = match ledger.foresee(NOW, 9) {
        Ok(foreseen) => foreseen,
        Err(error) => return assert_eq!(Failure::from(error).exit(), Exit::Data),
    };
    assert_eq!(spent.is_none(), made == 9);
    let left = usage.iter().map(|usage| usage.left());
    assert!(left.min().is_none_or(|left| made <= left as usize));
    for _ in 0..made {
        ledger.book(NOW).unwrap();
    }
    if spent.is_some() {
        assert!(matches!(ledger.book(NOW), Err(QuotaError::Exceeded(_))));
    }
    // an hour later some requests may count no more
    match ledger.book_repeat(NOW + Duration::HOUR) {
        Ok(()) => ledger.give_back(NOW + Duration::HOUR).unwrap(),
        Err(QuotaError::Exceeded(_) | QuotaError::RepeatsExceeded(_)) => {}
        Err(error) => panic!("{error:?}"),
    }
    let held = ledger.hold(NOW, Duration::days(2)).unwrap();
    assert_eq!(held, NOW + Duration::DAY);
    let (usage, made, _) = ledger.foresee(NOW, 9).unwrap();
    assert!(
        made == 0
            && usage
                .iter()
                .all(|usage| usage.left() <= usage.limit.at_most)
    );
});

fn ledger() -> LedgerFile {
    let policy = QuotaPolicy {
        service: "tap-clicks-permitted",
        pool: &POOL,
        own: vec![Limit {
            at_most: 3,
            period: Duration::hours(2),
        }],
        lookups: None,
        held_back: 0,
    };
    LedgerFile::of("account", DIR.path(), policy, &Shutdown::default())
}
