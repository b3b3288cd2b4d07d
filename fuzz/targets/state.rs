//! A state file of any bytes is a state or an error with a status and a hint; what opens can be
//! written and opens again at the same place. What looks like an object gets its checksum first.

#![no_main]

mod saved;

use libfuzzer_sys::fuzz_target;
use proofpull::error::Exit;
use proofpull::pipeline::checkpoint::Checkpoint;
use proofpull::pipeline::checkpoint::Retention;
use proofpull::state::{StartPoint, State};
use saved::{DIR, sealed};
use time::Duration;
use time::macros::datetime;

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
