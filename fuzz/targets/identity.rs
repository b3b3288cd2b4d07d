//! A record of any bytes has an identity, the same one each time, and the same one when spacing is
//! put around it; what the transform writes is one line.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proofpull::pipeline::batch::EventId;
use proofpull::source::tap::{EventKind, identify};
use proofpull::transform::{Outcome, Transform};

fn bytes(identity: EventId) -> (bool, [u8; 16]) {
    match identity {
        EventId::Key(digest) | EventId::Streamed { key: digest, .. } => (true, digest),
        EventId::Content(digest) => (false, digest),
    }
}

fuzz_target!(|record: &[u8]| {
    for kind in [EventKind::Message, EventKind::Click] {
        let found = identify(kind, record);
        let again = identify(kind, record);
        assert_eq!(bytes(found.identity), bytes(again.identity));
        if found.readable {
            let spaced = [b" \n", record, b"\t"].concat();
            let spaced = identify(kind, &spaced);
            assert_eq!(bytes(found.identity), bytes(spaced.identity));
        }
    }
    let mut out = Vec::new();
    let transform = Transform::default().appending([("@id", "7")]);
    let outcome = transform.write(record, false, &mut out, &mut []);
    assert!(!out.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0)));
    assert!(std::str::from_utf8(&out).is_ok());
    // what is no object is quarantined
    if outcome == Outcome::Emit && serde_json::from_slice::<serde_json::Value>(record).is_ok() {
        assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
    }
});
