//! `position` finds in the state of a collector how far it came.
//!
//! The files are named by a digest of names that only the collector knows, so they cannot be told apart by
//! service. The earliest position is therefore that of all: nothing is missed, and the few minutes by
//! which services differ come twice.

use time::OffsetDateTime;

use super::pickle::{Pickle, PickleValue, decode};
use super::times::{believed, time_of_number, time_of_text};

/// How deep a position may stand in the maps of a state.
const MAX_DEPTH: usize = 4;

/// A file of the state folder.
#[derive(Debug)]
pub struct CollectorFile {
    /// Its name.
    pub name: String,
    /// What it holds, or why it could not be read.
    pub bytes: Result<Vec<u8>, String>,
}

/// What a file of the state says.
#[derive(Debug, PartialEq)]
pub(super) enum StateFinding {
    /// How far a service came, and the name of the key that says so.
    Position { key: String, time: OffsetDateTime },
    /// Events that the collector took and could not deliver yet.
    Undelivered(u64),
    /// Nothing, since nothing is kept back.
    Nothing,
    /// Why it cannot be understood.
    Unknown(String),
}

/// Looks into a file of the state.
pub(super) fn find(file: &CollectorFile, now: OffsetDateTime) -> StateFinding {
    let bytes = match &file.bytes {
        Ok(bytes) => bytes,
        Err(said) => return StateFinding::Unknown(said.clone()),
    };
    if bytes.is_empty() {
        let said = "it is empty: nothing was saved, or the collector was stopped while it wrote";
        return StateFinding::Unknown(said.into());
    }
    let pickle = match decode(bytes) {
        Ok(pickle) => pickle,
        Err(error) => return StateFinding::Unknown(error.to_string()),
    };
    let PickleValue::Map(entries) = pickle.root() else {
        return StateFinding::Unknown("it holds no map".into());
    };
    if entries.is_empty() {
        return StateFinding::Nothing;
    }
    let messages = entries.iter().find_map(|(key, value)| {
        let is_it = matches!(pickle.get(*key), PickleValue::Text(key) if key == "messages");
        match pickle.get(*value) {
            PickleValue::List(list) if is_it => Some(list),
            _ => None,
        }
    });
    if let Some(messages) = messages {
        let count = messages
            .iter()
            .map(|id| number_of_messages(&pickle, pickle.get(*id)));
        return match count.fold(0, u64::saturating_add) {
            0 => StateFinding::Nothing,
            count => StateFinding::Undelivered(count),
        };
    }
    let mut times = Vec::new();
    collect(&pickle, pickle.root(), "", MAX_DEPTH, now, &mut times);
    // what was configured is repeated in some states, to notice when it changes
    let moves = |(key, _): &&(String, OffsetDateTime)| {
        let name = key.rsplit('.').next().unwrap_or(key);
        !["start_time", "initial", "historic"]
            .iter()
            .any(|begin| name.starts_with(begin))
    };
    let moving = times.iter().filter(moves).min_by_key(|(_, time)| *time);
    match moving.or(times.iter().min_by_key(|(_, time)| *time)) {
        Some((key, time)) => StateFinding::Position {
            key: key.clone(),
            time: *time,
        },
        None => StateFinding::Unknown("it holds no time under a name that tells of one".into()),
    }
}

/// How many events an entry of the collector's emergency queue stands for.
fn number_of_messages(pickle: &Pickle, entry: &PickleValue) -> u64 {
    let PickleValue::Map(entries) = entry else {
        return 1;
    };
    let number =
        entries.iter().find_map(
            |(key, value)| match (pickle.get(*key), pickle.get(*value)) {
                (PickleValue::Text(key), PickleValue::Integer(number))
                    if key == "number_of_messages" =>
                {
                    u64::try_from(*number).ok()
                }
                _ => None,
            },
        );
    number.unwrap_or(1)
}

/// Collects the times under names that tell of a time, with their names.
fn collect(
    pickle: &Pickle,
    value: &PickleValue,
    name: &str,
    depth: usize,
    now: OffsetDateTime,
    times: &mut Vec<(String, OffsetDateTime)>,
) {
    /// As many as anybody would save; a state that refers to itself would have endless ones.
    const MOST: usize = 10_000;
    if let PickleValue::Map(entries) = value {
        for (key, value) in entries {
            let PickleValue::Text(key) = pickle.get(*key) else {
                continue;
            };
            if depth == 0 || times.len() >= MOST {
                return;
            }
            let name = format!("{name}.{key}");
            let name = name.trim_start_matches('.');
            collect(pickle, pickle.get(*value), name, depth - 1, now, times);
        }
        return;
    }
    let key = name.rsplit('.').next().unwrap_or(name).to_lowercase();
    let words = [
        "time", "date", "polled", "until", "since", "cursor", "position",
    ];
    if !words.iter().any(|word| key.contains(word)) && !key.ends_with("_ts") && key != "ts" {
        return;
    }
    let time = match value {
        PickleValue::Text(text) => time_of_text(text, now),
        #[expect(
            clippy::cast_precision_loss,
            reason = "a microsecond more or less is none"
        )]
        PickleValue::Integer(number) => time_of_number(*number as f64, now),
        PickleValue::Float(number) => time_of_number(*number, now),
        PickleValue::Time(time) => believed(*time, now),
        _ => None,
    };
    times.extend(time.map(|time| (name.to_owned(), time)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::utc;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-11-26 12:00 UTC);

    fn said(bytes: &[u8]) -> String {
        let file = CollectorFile {
            name: "0".into(),
            bytes: Ok(bytes.to_vec()),
        };
        match find(&file, NOW) {
            StateFinding::Position { key, time } => format!("{key} {}", utc(time)),
            StateFinding::Undelivered(count) => format!("{count} undelivered"),
            StateFinding::Nothing => "nothing".into(),
            StateFinding::Unknown(why) => why,
        }
    }

    /// A dict of text values in protocol 0.
    fn dict(entries: &[(&str, &str)]) -> Vec<u8> {
        let entries = entries.iter().map(|(key, value)| {
            let end = if value.starts_with('(') { "" } else { "\n" };
            format!("V{key}\n{value}{end}s")
        });
        format!("(d{}.", entries.collect::<String>()).into_bytes()
    }

    #[test]
    fn the_position_is_the_earliest_time_that_moves() {
        let text = "V2026-11-26T10:00:00Z";
        let later = "V2026-11-26T11:00:00.5";
        for (entries, wanted) in [
            (
                &[("last_polled_timestamp", text)][..],
                "last_polled_timestamp 2026-11-26T10:00:00Z",
            ),
            (
                &[("last_polled_timestamp", "F1795687200.25\n")],
                "last_polled_timestamp 2026-11-26T10:00:00Z",
            ),
            (
                &[("last_polled_timestamp", "I1795687200000")],
                "last_polled_timestamp 2026-11-26T10:00:00Z",
            ),
            (
                &[
                    ("@persistence_version", "I1"),
                    ("last_event_time_in_utc", later),
                ],
                "last_event_time_in_utc 2026-11-26T11:00:00Z",
            ),
            (
                &[("start_time_in_utc", text), ("last_event_time", later)],
                "last_event_time 2026-11-26T11:00:00Z",
            ),
            (
                &[("until", later), ("retrieving_ts", text)],
                "retrieving_ts 2026-11-26T10:00:00Z",
            ),
            (&[("start_time", text)], "start_time 2026-11-26T10:00:00Z"),
            (
                &[("last_ids", "(lVa\na"), ("hash", text)],
                "it holds no time under a name that tells of one",
            ),
            (
                &[("last_time", "I0")],
                "it holds no time under a name that tells of one",
            ),
            (
                &[("a", "(dVuntil\nV2026-11-26T10:00:00Z\ns")],
                "a.until 2026-11-26T10:00:00Z",
            ),
            (&[], "nothing"),
        ] {
            let entries: Vec<(&str, &str)> =
                entries.iter().map(|(k, v)| (*k, v.trim_end())).collect();
            assert_eq!(said(&dict(&entries)), wanted, "{entries:?}");
        }
    }

    #[test]
    fn what_python_writes_is_read_in_every_protocol() {
        let seed = |name: &str| std::fs::read(format!("fuzz/seeds/pickle/{name}")).unwrap();
        for protocol in 0..6 {
            let wanted = "last_polled_timestamp 2026-11-26T10:00:00Z";
            assert_eq!(said(&seed(&format!("protocol{protocol}"))), wanted);
        }
        assert_eq!(said(&seed("queue")), "7 undelivered");
        assert_eq!(said(&seed("time")), "until 2026-11-26T00:00:00Z");
    }

    #[test]
    fn what_is_no_position_is_told_apart() {
        for (bytes, wanted) in [
            (
                &b""[..],
                "it is empty: nothing was saved, or the collector was stopped while it wrote",
            ),
            (b"].", "it holds no map"),
            (b"{}", "it is no pickle: there is no instruction 0x7b"),
            (
                b"cos\nsystem\n(S'true'\ntR.",
                "it is more than plain data: GLOBAL is refused",
            ),
            (b"(dVmessages\n(ls.", "nothing"),
            (
                b"(dVmessages\n(l(dVnumber_of_messages\nI7\nsaNas.",
                "8 undelivered",
            ),
            (
                b"(dVmessages\n(l(dVnumber_of_messages\nI9223372036854775807\nsaNaNa(dVnumber_of_messages\nI9223372036854775807\nsas.",
                "18446744073709551615 undelivered",
            ),
            // a map that holds itself
            (
                b"(dp0\nVlast_time\ng0\ns.",
                "it holds no time under a name that tells of one",
            ),
        ] {
            assert_eq!(said(bytes), wanted);
        }
    }
}
