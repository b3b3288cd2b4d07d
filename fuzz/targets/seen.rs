//! A file of identities of any bytes, beside a state that says anything of it: loaded or refused, and
//! what was loaded goes on. One that was written well and then changed is refused.

#![no_main]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use proofpull::error::{Exit, Failure};
use proofpull::pipeline::batch::{EventId, Pass, RequestId};
use proofpull::state::SavedIndex;
use proofpull::state::dedup::DedupIndex;
use tempfile::TempDir;

static DIR: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    tempfile::tempdir_in(if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    })
    .unwrap()
});

fuzz_target!(|input: (u64, u64, u32, bool, u32, &[u8])| {
    let (length, count, checksum, beside, oldest_hour, bytes) = input;
    // the highest bit of an hour says something else
    let latest_hour = u32::MAX >> 1;
    let oldest_hour = oldest_hour & latest_hour;
    let path = DIR.path().join("x.seen");
    // half of the time a file that begins as it should
    let mut file = if length % 2 == 0 {
        b"proofpull seen v2  \n".to_vec()
    } else {
        Vec::new()
    };
    file.extend_from_slice(bytes);
    std::fs::write(&path, &file).unwrap();
    let anything = SavedIndex {
        beside,
        // mostly a length that fits
        length: if length % 3 == 0 {
            length
        } else {
            file.len() as u64
        },
        count,
        checksum,
    };
    match DedupIndex::load(&path, anything, oldest_hour) {
        Err(error) => assert_eq!(Failure::from(error).exit(), Exit::Data),
        Ok(mut dedup) => drop(go_on(&path, &mut dedup, &[7; 16])),
    }

    // each piece is an identity, each second one with a commit of its own
    std::fs::remove_file(&path).unwrap();
    let mut dedup = DedupIndex::empty(&path);
    let mut extent = dedup.commit().unwrap();
    for piece in bytes.chunks(2) {
        let digest: Vec<u8> = piece.iter().copied().cycle().take(16).collect();
        extent = go_on(&path, &mut dedup, &digest);
    }
    if extent.length > 0 {
        let mut file = std::fs::read(&path).unwrap();
        let at = usize::try_from(count % extent.length).unwrap();
        file[at] ^= 1 << (length % 8);
        std::fs::write(&path, &file).unwrap();
        assert!(DedupIndex::load(&path, extent, 0).is_err(), "byte {at}");
    }
});

fn go_on(path: &Path, dedup: &mut DedupIndex, digest: &[u8]) -> SavedIndex {
    let count = dedup.count();
    let request = RequestId {
        number: 1,
        end_hour: u32::MAX >> 1,
        pass: Pass::Recent,
    };
    let fresh = dedup.insert(EventId::Key(digest.try_into().unwrap()), request);
    let extent = dedup.commit().unwrap();
    let again = DedupIndex::load(path, extent, 0).unwrap();
    assert!(again.count() >= count + usize::from(fresh));
    extent
}
