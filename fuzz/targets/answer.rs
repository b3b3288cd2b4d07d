//! An answer of any bytes, cut anywhere: the same records come out as from the whole, and where it
//! is JSON, they are the elements of the array.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use proofpull::json_stream::{Broken, Splitter};
use serde_json::value::RawValue;

fn split<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Result<(), Broken>) {
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    let mut splitter = Splitter::new(&["events"]);
    let mut fed = Ok(());
    for piece in pieces {
        fed = splitter.feed(piece, &mut text, &mut ends);
        if fed.is_err() {
            break;
        }
    }
    let mut start = 0;
    let records = ends.iter().map(|&end| {
        let record = text[start..end].to_vec();
        start = end;
        record
    });
    (records.collect(), fed.and_then(|()| splitter.finish()))
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, answer) = input;
    let (records, ended) = split(std::iter::once(answer));
    let in_pieces = split(answer.chunks(usize::from(piece).max(1)));
    assert_eq!((&records, &ended), (&in_pieces.0, &in_pieces.1));

    let text = answer.strip_prefix("\u{feff}".as_bytes()).unwrap_or(answer);
    // a key that stands twice is one answer to us and another to a map
    let Ok(object) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(text) else {
        return;
    };
    let keys = text.windows(8).filter(|key| key == b"\"events\"").count();
    if keys > 1 || text.contains(&b'\\') {
        return;
    }
    let array = object.get("events").map(|events| events.get());
    let elements = array.and_then(|array| serde_json::from_str::<Vec<&RawValue>>(array).ok());
    match elements {
        None => assert_eq!(ended, Err(Broken::Missing("events"))),
        Some(elements) => {
            assert_eq!(ended, Ok(()));
            let elements: Vec<&[u8]> = elements.iter().map(|one| one.get().as_bytes()).collect();
            assert_eq!(records, elements);
        }
    }
});
