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
    assert!(saved_again == saved || whole(&saved_again) == whole(&saved));
});

/// The file without its checksum and its fractions: `serde_json` reads a fraction of more digits than any run has as
/// one beside it.
fn whole(file: &[u8]) -> Value {
    let mut value: Value = serde_json::from_slice(file).unwrap();
    value.as_object_mut().unwrap().remove("checksum");
    without_fractions(&mut value);
    value
}

fn without_fractions(value: &mut Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(without_fractions),
        Value::Array(elements) => elements.iter_mut().for_each(without_fractions),
        Value::Number(number) if number.is_f64() => *value = Value::Null,
        _ => {}
    }
}
