//! An event of any bytes, in an answer that is cut anywhere: whatever has an outline is JSON, and is identified by
//! it as by a parser. A record that is said to be plain is plain. Half of the time the bytes change an event that is as it
//! should be.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proofpull::json_stream::Splitter;
use proofpull::source::tap::{EventKind, identify, identify_by_outline};
use serde_json::value::RawValue;

const EVENTS: [&[u8]; 2] = [
    br#"{"spamScore":0,"GUID":"g","policyRoutes":["a","b"],"id":"i","recipient":["b@x","a@x"],"messageTime":"2025-01-14T08:12:05.000Z","messageParts":[{"md5":"1","id":"x"},{"md5":null}],"subject":"\"\u00e9\"","threatsInfoMap":[{"threatID":"t1","threatStatus":"active","campaignID":null,"threatTime":"2025-01-14T08:16:41.000Z","classification":"phish"},{"threatID":"t2","threatStatus":"active","campaignID":"c"}],"completelyRewritten":true}"#,
    br#"{"campaignId":"","id":"i","clickIP":"10.0.0.7","threatStatus":"active","clickTime":"2025-01-14T09:41:18.000Z","threatTime":null,"url":"https:\/\/x.example\/"}"#,
];

fuzz_target!(|input: (u8, Option<(bool, u16, u16)>, &[u8])| {
    let (piece, place, bytes) = input;
    let records = match place {
        None => bytes.to_vec(),
        Some((is_message, at, length)) => {
            let event = EVENTS[usize::from(is_message)];
            let at = usize::from(at) % event.len();
            let rest = (at + usize::from(length) % 100).min(event.len());
            [&event[..at], bytes, &event[rest..]].concat()
        }
    };
    let answer = [&br#"{"events":["#[..], &records, b"]}"].concat();
    let mut splitter = Splitter::new(&["events"]).with_outlines();
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    for piece in answer.chunks(usize::from(piece).max(1)) {
        if splitter.feed(piece, &mut text, &mut ends).is_err() {
            break;
        }
    }
    let outlines = splitter.take_outlines();
    assert_eq!(outlines.each().count(), ends.len());
    let mut start = 0;
    for (end, outline) in ends.into_iter().zip(outlines.each()) {
        let record = &text[start..end];
        start = end;
        let is_text = std::str::from_utf8(record).is_ok();
        let is_json = serde_json::from_slice::<&RawValue>(record).is_ok();
        assert!(outline.is_empty() || is_json || !is_text);
        for kind in [EventKind::Message, EventKind::Click] {
            let found = identify_by_outline(kind, record, outline);
            let wanted = identify(kind, record);
            assert_eq!(found.identity, wanted.identity);
            assert_eq!(found.readable, wanted.readable);
            assert_eq!(found.created(), wanted.created());
            assert!(!found.is_plain || is_text && record.iter().all(|byte| *byte >= b' '));
        }
    }
});
