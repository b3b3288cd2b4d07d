//! A record of runs of any bytes is read or refused. What was read takes another run, and comes back
//! from its file as it was. What looks like an object gets its checksum first.

#![no_main]

mod saved;

use libfuzzer_sys::fuzz_target;
use proofpull::error::{Exit, Failure};
use proofpull::state::runs::{Begun, Delivery, Runs};
use saved::{DIR, sealed};
use serde_json::Value;
use time::macros::datetime;

fuzz_target!(|bytes: &[u8]| {
    let path = DIR.path().join("tap-clicks-blocked.runs.json");
    std::fs::write(&path, sealed(bytes)).unwrap();
    let mut runs = match Runs::load(&path) {
        Ok(runs) => runs.expect("the file is there"),
        Err(error) => return assert_eq!(Failure::from(error).exit(), Exit::Data),
    };
    for delivery in runs.deliveries.iter().flat_map(|under| &under.runs) {
        assert!(delivery.ended() >= delivery.started());
    }
    let begun = Begun {
        pid: 7,
        since: datetime!(2026-11-27 12:00 UTC),
    };
    runs.begin(begun.clone());
    assert_eq!(runs.begin(begun.clone()), Some(begun));
    let delivery = Delivery {
        pulling_id: 1_795_780_800_000,
        millis: 3100,
        events: 70,
    };
    runs.add_delivery("my.app.proofpoint.tap", delivery);
    runs.save(&path).unwrap();
    let saved = std::fs::read(&path).unwrap();
    let again = Runs::load(&path).unwrap().expect("the file is there");
    assert_eq!(again.deliveries, runs.deliveries);
    again.save(&path).unwrap();
    let saved_again = std::fs::read(&path).unwrap();
    assert!(saved_again == saved || is_nearly(&parsed(&saved_again), &parsed(&saved)));
});

/// The file without its checksum.
fn parsed(file: &[u8]) -> Value {
    let mut value: Value = serde_json::from_slice(file).unwrap();
    value.as_object_mut().unwrap().remove("checksum");
    value
}

/// Whether they differ at most in the last digits of fractions: `serde_json` reads one of more digits than any run
/// has as one beside it.
fn is_nearly(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let mut pairs = one.iter().zip(other);
            one.len() == other.len()
                && pairs.all(|(one, other)| one.0 == other.0 && is_nearly(one.1, other.1))
        }
        (Value::Array(one), Value::Array(other)) => {
            let mut pairs = one.iter().zip(other);
            one.len() == other.len() && pairs.all(|(one, other)| is_nearly(one, other))
        }
        (Value::Number(one), Value::Number(other)) if one.is_f64() && other.is_f64() => {
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            (one - other).abs() <= one.abs() * 1e-14 || one == other
        }
        _ => one == other,
    }
}
