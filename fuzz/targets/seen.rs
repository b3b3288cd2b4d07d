//! A file of identities of any bytes, and any length that the state may say: loaded or refused, and
//! what was loaded goes on.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use proofpull::error::Exit;
use proofpull::pipeline::batch::{EventId, Pass, RequestId};
use proofpull::state::dedup::{DedupIndex, SavedIndex};
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

fuzz_target!(|input: (u64, bool, u32, &[u8])| {
    let (length, beside, oldest_hour, bytes) = input;
    // the highest bit of an hour says something else
    let latest_hour = u32::MAX >> 1;
    let oldest_hour = oldest_hour & latest_hour;
    let path = DIR.path().join("x.seen");
    // half of the time a file that begins as it should
    let mut file = if length % 2 == 0 {
        b"proofpull seen v1  \n".to_vec()
    } else {
        Vec::new()
    };
    file.extend_from_slice(bytes);
    std::fs::write(&path, &file).unwrap();
    // mostly a length that fits
    let length = if length % 3 == 0 {
        length
    } else {
        file.len() as u64 / 20 * 20
    };
    match DedupIndex::load(&path, &SavedIndex { beside, length }, oldest_hour) {
        Err(error) => assert_eq!(Exit::of(&error), Exit::Data, "{error:?}"),
        Ok(mut dedup) => {
            let count = dedup.count();
            let digest = [7; 16];
            let request = RequestId {
                number: 1,
                end_hour: latest_hour,
                pass: Pass::Recent,
            };
            let fresh = dedup.insert(EventId::Key(digest), request);
            let extent = dedup.commit().unwrap();
            let again = DedupIndex::load(&path, &extent, oldest_hour).unwrap();
            assert_eq!(again.count(), count + usize::from(fresh));
        }
    }
});
