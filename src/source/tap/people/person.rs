//! `Person` identifies a person of a report, and writes the event: the person with the report's interval.
//!
//! - With a `guid`: that and the interval.
//! - Without: the canonical event and its ordinal among equals.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::digest::{self, Hasher, is_too_complex};
use crate::pipeline::batch::{EventId, Record};

/// What is known of a person.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) identity: EventId,
    /// Whether it is JSON.
    pub(super) is_readable: bool,
}

impl Person {
    /// The record of the event, which ends at `end`.
    pub(super) fn record(&self, end: usize) -> Record {
        Record {
            end: u32::try_from(end).unwrap_or(u32::MAX),
            identity: self.identity,
            late: None,
            is_plain: false,
        }
    }
}

#[derive(Deserialize)]
struct PersonFields<'a> {
    #[serde(borrow)]
    identity: IdentityFields<'a>,
}

#[derive(Deserialize)]
struct IdentityFields<'a> {
    #[serde(borrow)]
    guid: Cow<'a, str>,
}

/// Appends the event of a person of a report with this interval to `events`.
pub(super) fn with_interval(person: &[u8], interval: &str, events: &mut Vec<u8>) -> Person {
    let start = events.len();
    match person.strip_suffix(b"}") {
        Some(members) => {
            let members = members.trim_ascii_end();
            events.extend_from_slice(members);
            if members != b"{" {
                events.push(b',');
            }
            let interval = serde_json::Value::from(interval);
            events.extend_from_slice(format!("\"interval\":{interval}}}").as_bytes());
        }
        // what is no object is quarantined as it came
        None => events.extend_from_slice(person),
    }
    let event = &events[start..];
    let guid = match is_too_complex(event) {
        true => None,
        false => serde_json::from_slice::<PersonFields<'_>>(event).ok(),
    };
    let guid = guid.map(|person| person.identity.guid);
    match guid.filter(|guid| !guid.is_empty()) {
        Some(guid) => {
            let mut hasher = Hasher::of("tap person");
            hasher.part(guid.as_bytes());
            hasher.part(interval.as_bytes());
            Person {
                identity: EventId::Key(hasher.finish()),
                is_readable: true,
            }
        }
        None => Person {
            identity: EventId::Content(digest::canonical(event, &[])),
            is_readable: serde_json::from_slice::<IgnoredAny>(event).is_ok(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::hex;

    const INTERVAL: &str = "2026-10-25T00:00:00Z/2026-11-24T00:00:00Z";

    fn event(person: &str) -> (String, Person) {
        let mut events = b"before".to_vec();
        let found = with_interval(person.as_bytes(), INTERVAL, &mut events);
        let text = String::from_utf8(events).unwrap();
        (text.strip_prefix("before").unwrap().to_owned(), found)
    }

    #[test]
    fn an_event_is_the_person_with_the_interval_behind() {
        let appended = format!(r#""interval":"{INTERVAL}"}}"#);
        for (person, expected, is_readable) in [
            (
                r#"{"a": 1.0, "b":[ ]}"#,
                format!(r#"{{"a": 1.0, "b":[ ],{appended}"#),
                true,
            ),
            ("{\"a\":1\n }", format!(r#"{{"a":1,{appended}"#), true),
            ("{}", format!("{{{appended}"), true),
            ("{ }", format!("{{{appended}"), true),
            (r#"{"a":NaN}"#, format!(r#"{{"a":NaN,{appended}"#), false),
            ("7", "7".to_owned(), true),
            ("[]", "[]".to_owned(), true),
        ] {
            let (text, found) = event(person);
            assert_eq!((text, found.is_readable), (expected, is_readable));
        }
    }

    #[test]
    fn a_person_is_another_event_in_another_interval() {
        let person = br#"{"identity":{"guid":"g","vip":true}}"#;
        let of = |interval| with_interval(person, interval, &mut Vec::new()).identity;
        assert_eq!(of("a/b"), of("a/b"));
        assert_ne!(of("a/b"), of("b/c"));
        let nameless = |interval| with_interval(b"{}", interval, &mut Vec::new()).identity;
        assert_ne!(nameless("a/b"), nameless("b/c"));
    }

    #[test]
    fn the_digests_of_people_stay_as_they_are() {
        // a changed digest means doubles for every user: a recipe that must change gets a new version
        // instead, under a kind of its own
        let golden = [
            (
                r#"{"identity":{"guid":"9f2c"},"x":1}"#,
                "key 92e34c086e66d52cdbba3acfe4ef9255",
            ),
            (
                r#"{"x":2,"identity":{"name":null,"guid":"\u0039f2c"}}"#,
                "key 92e34c086e66d52cdbba3acfe4ef9255",
            ),
            (
                r#"{"identity":{"guid":""},"x":1}"#,
                "content ecf411031de7aa9d5198400af1227a92",
            ),
            (
                r#"{"x":1,"identity":{"guid":null}}"#,
                "content 69c9856b901b9dedc0d0dbbe9519950f",
            ),
            (
                r#"{"identity":{}}"#,
                "content 138de2cbbdb622e8ff62e35e1b3bdca4",
            ),
            ("7", "content 362c782d379fae01c71d6181fc1ba10c"),
        ];
        for (person, expected) in golden {
            let found = match event(person).1.identity {
                EventId::Key(digest) => format!("key {}", hex(&digest)),
                EventId::Content(digest) => format!("content {}", hex(&digest)),
                other => panic!("{other:?}"),
            };
            assert_eq!(found, expected, "{person}");
        }
    }
}
