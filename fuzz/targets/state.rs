//! A state file of any bytes is a state or an error with a status and a hint; what opens can be
//! written and opens again at the same place. What looks like an object gets its checksum first.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use proofpull::error::Exit;
use proofpull::pipeline::checkpoint::Checkpoint;
use proofpull::pipeline::checkpoint::Retention;
use proofpull::state::{StartPoint, State};
use tempfile::TempDir;
use time::Duration;
use time::macros::datetime;

static DIR: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    tempfile::tempdir_in(if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    })
    .unwrap()
});

fuzz_target!(|bytes: &[u8]| {
    let path = DIR.path().join("tap-clicks-blocked.json");
    let bytes = &sealed(bytes);
    std::fs::write(&path, bytes).unwrap();
    let now = datetime!(2026-11-27 12:00 UTC);
    let start = StartPoint {
        configured: None,
        range: None,
        checkpoint: Checkpoint::windows_at(now - Duration::hours(24)),
    };
    let reach = Retention {
        look_back: Duration::hours(1),
        recheck: Duration::hours(12),
        memory: Duration::ZERO,
    };
    let open = || State::open(&path, "tap-clicks-blocked", &start, reach, now);
    match open() {
        Err(error) => {
            let error = proofpull::error::Failure::from(error);
            assert_eq!(error.exit(), Exit::Data, "{error:?}");
            assert!(error.hint().is_some(), "{error:?}");
            assert_eq!(&std::fs::read(&path).unwrap(), bytes, "it was touched");
        }
        Ok((mut state, _)) => {
            state.prove().unwrap();
            state.finish().unwrap();
            let (again, _) = open().unwrap();
            assert_eq!(again.checkpoint(), state.checkpoint());
            assert_eq!(again.receiver(), state.receiver());
        }
    }
});

fn sealed(bytes: &[u8]) -> Vec<u8> {
    let Some(members) = bytes.trim_ascii_end().strip_suffix(b"}") else {
        return bytes.to_vec();
    };
    let members = members.trim_ascii_end();
    let digits = format!("{:08x}", crc32fast::hash(members));
    let seal = b",\n  \"checksum\": \"crc32:";
    [members, seal, digits.as_bytes(), b"\"\n}\n"].concat()
}
