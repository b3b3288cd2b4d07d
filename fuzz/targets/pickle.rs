//! A pickle of any bytes: plain data or refused, without a crash, and every value can be reached.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proofpull::import::pickle::{Pickle, PickleValue, decode};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(pickle) = decode(bytes) {
        walk(&pickle, pickle.root(), 4);
    }
});

/// A value may hold itself.
fn walk(pickle: &Pickle, value: &PickleValue, depth: usize) {
    if depth == 0 {
        return;
    }
    match value {
        PickleValue::List(list) => {
            for id in list.iter().take(16) {
                walk(pickle, pickle.get(*id), depth - 1);
            }
        }
        PickleValue::Map(map) => {
            for (key, value) in map.iter().take(16) {
                walk(pickle, pickle.get(*key), depth - 1);
                walk(pickle, pickle.get(*value), depth - 1);
            }
        }
        _ => {}
    }
}
