//! `event` gives each PoD event its identity: its `guid` or `id`, and the instant of its `ts`.
//!
//! `ts` may have an offset with or without a colon, a fraction, or the name of a zone. An event
//! without one of the two is recognised by its canonical form. The archive repeats itself, and may
//! spell an event otherwise than the live stream. So of two events with the same name, the second is
//! a repeat, unless one answer has both with other bytes.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;

use crate::digest::{self, Hasher};
use crate::pipeline::batch::{Digest, EventId, make_room};
use crate::source::wire_time;

/// What is known of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PodEvent {
    /// The digest of what names it; of all of it if nothing does.
    pub(crate) digest: Digest,
    /// The checksum of all of it, if something names it.
    content: u32,
    /// Its time, if it can be read.
    pub(crate) time: Option<OffsetDateTime>,
    /// Whether it is JSON, apart from raw control characters, which are escaped on the way out.
    pub(crate) readable: bool,
    /// Whether it is UTF-8; other bytes are replaced on the way out.
    pub(crate) utf8: bool,
}

impl PodEvent {
    /// Its identity. `is_shown` is whether the archive of the requested hour must have it.
    pub(super) fn identity(&self, is_shown: bool) -> EventId {
        EventId::Streamed {
            key: self.digest,
            content: self.content,
            is_shown,
        }
    }
}

/// Most raw control characters that are repaired; each takes up to six bytes more.
const MAX_CONTROLS: usize = 1024 * 1024;
/// Longest event that is repaired if it is not UTF-8: it is copied twice, and may become longer.
const MAX_MADE_UTF8: usize = 1024 * 1024;

/// Identifies an event.
#[must_use]
pub(crate) fn identify(event: &[u8]) -> PodEvent {
    let text = std::str::from_utf8(event);
    let utf8 = text.is_ok();
    if let Some(found) = text.ok().and_then(|text| read(text, event)) {
        return found;
    }
    let controls = event.iter().filter(|byte| **byte < b' ').count();
    let is_repaired = controls <= MAX_CONTROLS && (utf8 || event.len() <= MAX_MADE_UTF8);
    let found = match is_repaired && (controls > 0 || !utf8) {
        true => read(&repair(&String::from_utf8_lossy(event)), event),
        false => None,
    };
    let digest = digest::canonical(event, &[]);
    let unreadable = PodEvent {
        digest,
        content: 0,
        time: None,
        readable: false,
        utf8,
    };
    found.map_or(unreadable, |found| PodEvent { utf8, ..found })
}

/// The events of a message that is none itself: the objects that it is made of, however they are
/// joined, if one of them at least is an event. Otherwise it stays one, as it came.
pub(super) fn split(message: &[u8]) -> Vec<&[u8]> {
    if !message.starts_with(b"{") || digest::is_too_complex(message) {
        return vec![message];
    }
    let pieces = objects(message);
    match pieces.len() > 1 && pieces.iter().any(|piece| identify(piece).readable) {
        true => pieces,
        false => vec![message],
    }
}

/// Cuts a text before each brace that opens an object outside of all others. What joins two, blanks
/// or a comma, is left out.
fn objects(text: &[u8]) -> Vec<&[u8]> {
    let is_joint = |byte: &u8| byte.is_ascii_whitespace() || *byte == b',';
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let (mut pieces, mut start, mut end) = (Vec::new(), 0, None);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'{' if end.is_some() => {
                pieces.push(&text[start..end.take().unwrap_or(at)]);
                (start, depth) = (at, 1);
            }
            byte if end.is_some() && is_joint(byte) => {}
            _ if end.is_some() => end = None,
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' if !in_string => depth += 1,
            b'}' if !in_string => {
                depth = depth.saturating_sub(1);
                end = (depth == 0).then_some(at + 1);
            }
            _ => {}
        }
    }
    pieces.push(&text[start..end.unwrap_or(text.len())]);
    pieces
}

/// Makes JSON of an event with raw control characters. They are escaped in strings and become
/// spaces between tokens. Line breaks are dropped unless they separate two words.
///
/// The identity depends on these bytes. This is deliberately not the repair of the output
/// transform, so that a change there cannot move an identity.
fn repair(event: &str) -> String {
    let controls = event.bytes().filter(|byte| *byte < b' ').count();
    let mut out = Vec::new();
    make_room(&mut out, event.len() + 6 * controls);
    let mut out = String::from_utf8(out).unwrap_or_default();
    let (mut in_string, mut escaped) = (false, false);
    let is_word = |c: char| c.is_alphanumeric() || "+-.".contains(c);
    let mut rest = event.chars();
    while let Some(character) = rest.next() {
        if character < ' ' {
            let code = u32::from(character);
            match character {
                _ if escaped => out.push_str(&format!("\\\\u{code:04x}")),
                _ if in_string => out.push_str(&format!("\\u{code:04x}")),
                '\t' => out.push(character),
                '\n' | '\r' if !out.ends_with(is_word) || !rest.as_str().starts_with(is_word) => {}
                _ => out.push(' '),
            }
            escaped = false;
            continue;
        }
        out.push(character);
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = in_string,
            '"' => in_string = !in_string,
            _ => {}
        }
    }
    out
}

#[derive(Deserialize)]
struct PodFields<'a> {
    #[serde(borrow)]
    guid: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    ts: Option<&'a RawValue>,
}

/// `event` is the text as it came.
fn read(text: &str, event: &[u8]) -> Option<PodEvent> {
    let PodFields { guid, id, ts } = serde_json::from_str(text).ok()?;
    let ts = ts.and_then(filled);
    let time = ts.as_deref().and_then(wire_time::parse);
    let (digest, content) = match (guid.and_then(filled).or_else(|| id.and_then(filled)), &ts) {
        (Some(id), Some(ts)) => {
            let mut hasher = Hasher::of("pod");
            hasher.part(id.as_bytes());
            match time {
                Some(time) => hasher.part(&time.unix_timestamp_nanos().to_le_bytes()),
                None => hasher.part(ts.as_bytes()),
            }
            // one store repeats an event with the same bytes
            (hasher.finish(), digest::checksum(event))
        }
        _ => (digest::canonical(event, &[]), 0),
    };
    Some(PodEvent {
        digest,
        content,
        time,
        readable: true,
        utf8: true,
    })
}

/// The text of a value, unless it is empty or null; a value that is not a string keeps its
/// spelling.
fn filled(value: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct PodText<'a>(#[serde(borrow)] Cow<'a, str>);
    let text = match value.get() {
        "null" => return None,
        text if text.starts_with('"') => serde_json::from_str::<PodText>(text).ok()?.0,
        other => Cow::Borrowed(other),
    };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(event: &str) -> PodEvent {
        identify(event.as_bytes())
    }

    fn at(ts: &str) -> PodEvent {
        of(&format!(r#"{{"guid":"a","ts":"{ts}"}}"#))
    }

    #[test]
    fn every_spelling_of_an_instant_is_the_same_event() {
        let one = at("2025-01-14T00:12:05.483000-0800");
        assert!(one.time.is_some());
        for same in [
            "2025-01-14T00:12:05.483-08:00",
            "2025-01-14T08:12:05.483Z",
            "2025-01-14T08:12:05.483000+0000",
            "2025-01-14T08:12:05.483",
            "2025-01-14 08:12:05.483Z",
        ] {
            let found = at(same);
            assert_eq!((found.digest, found.time), (one.digest, one.time), "{same}");
        }
        assert_ne!(at("2025-01-14T08:12:05.484Z").digest, one.digest);
        let whole = at("2025-01-14T08:12:05Z");
        assert_eq!(at("2025-01-14T08:12:05+0000").digest, whole.digest);
    }

    #[test]
    fn the_id_counts_as_well_and_the_rest_does_not() {
        let one = of(r#"{"id":"a","ts":"2025-01-14T08:12:05Z","x":1}"#);
        let other = of(r#"{"x":2,"ts":"2025-01-14T08:12:05Z","guid":"a","id":"b"}"#);
        assert_eq!(other.digest, one.digest);
        assert_ne!(other.content, one.content);
        let other = of(r#"{"id":"b","ts":"2025-01-14T08:12:05Z"}"#);
        assert_ne!(other.digest, one.digest);
    }

    #[test]
    fn what_lacks_a_field_is_recognised_as_a_whole() {
        let whole = [
            r#"{"id":"a","x":1}"#,
            r#"{"id":"a","x":2}"#,
            r#"{"id":"a","ts":null}"#,
            r#"{"ts":"2025-01-14T08:12:05Z"}"#,
            r#"{"guid":"","ts":"2025-01-14T08:12:05Z"}"#,
        ];
        for (at, one) in whole.iter().enumerate() {
            assert!(of(one).readable);
            assert!(
                whole[at + 1..]
                    .iter()
                    .all(|other| of(other).digest != of(one).digest)
            );
        }
        let odd = |ts| of(&format!(r#"{{"id":"a","ts":{ts}}}"#));
        assert_eq!(odd("\"soon\"").time, None);
        assert_ne!(odd("\"soon\"").digest, odd("\"later\"").digest);
        assert_ne!(odd("7").digest, odd("8").digest);
    }

    #[test]
    fn events_in_the_shapes_of_public_samples_are_identified() {
        let first = of(r#"{"guid":"a","ts":"2025-01-14T08:12:05Z"}"#);
        // whether it is the same event, and whether its time is known
        let table = [
            (
                r#"{"ts":"2025-01-14T08:12:05+0000","guid":"a","audit":{"action":"login"}}"#,
                true,
                true,
            ),
            (
                r#"{"id":"a","ts":"2025-01-14T01:12:05-0700","sm":{"pri":168211}}"#,
                true,
                true,
            ),
            (
                r#"{"id":"a","ts":"2025-01-14T01:12:05-07:00","sm":{"pri":"168211"},"tls":{}}"#,
                true,
                true,
            ),
            (
                r#"{"guid":null,"id":"a","ts":"2025-01-14T08:12:05Z"}"#,
                true,
                true,
            ),
            (
                r#"{"guid":"","id":"a","ts":"2025-01-14T08:12:05Z"}"#,
                true,
                true,
            ),
            // what a client adds, or another one takes away
            (
                r#"{"type":"message","guid":"a","ts":"2025-01-14T08:12:05Z","msgParts":null}"#,
                true,
                true,
            ),
            (
                "{\n\t\"guid\": \"a\",\n\t\"ts\": \"2025-01-14T08:12:05Z\"\n}",
                true,
                true,
            ),
            (r#"{"guid":7,"ts":"2025-01-14T08:12:05Z"}"#, false, true),
            (r#"{"id":{"a":1},"ts":"2025-01-14T08:12:05Z"}"#, false, true),
            // times of other tools
            (
                r#"{"guid":"a","ts":"2025-01-14T08:12:05,000Z"}"#,
                false,
                false,
            ),
            (r#"{"guid":"a","ts":"2025-01-14t08:12:05z"}"#, false, false),
            (
                r#"{"guid":"a","ts":"Tue Jan 14 08:12:05 2025"}"#,
                false,
                false,
            ),
            (r#"{"guid":"a","ts":1736842325000}"#, false, false),
            // without an id or a time it is all that it says
            (
                r#"{"filter":{"qid":"a"},"ts":"2025-01-14T08:12:05Z"}"#,
                false,
                true,
            ),
            (r#"{"GUID":"a","TS":"2025-01-14T08:12:05Z"}"#, false, false),
            (r#"{"guid":"a"}"#, false, false),
        ];
        for (event, is_same, has_time) in table {
            let found = of(event);
            assert!(found.readable, "{event}");
            assert_eq!(found.digest == first.digest, is_same, "{event}");
            assert_eq!(found.time.is_some(), has_time, "{event}");
        }
        let number = of(r#"{"guid":7,"ts":"2025-01-14T08:12:05Z"}"#);
        let text = of(r#"{"guid":"7","ts":"2025-01-14T08:12:05Z"}"#);
        assert_eq!(number.digest, text.digest);
    }

    #[test]
    fn the_digests_of_events_stay_as_they_are() {
        // a changed digest means doubles for every user: a recipe that must change gets a new version
        // instead, under a kind of its own
        let golden = [
            (
                r#"{"guid":"a","ts":"2025-01-14T00:12:05.483127-0800"}"#,
                "b1141bba4276db41ca40bf1d75cf8336",
            ),
            (
                r#"{"id":"a","ts":"2025-01-14T00:12:05.483127-08:00","x":1}"#,
                "b1141bba4276db41ca40bf1d75cf8336",
            ),
            (
                r#"{"id":"a","ts":"2025-01-14T08:12:05.483127Z"}"#,
                "b1141bba4276db41ca40bf1d75cf8336",
            ),
            (
                r#"{"id":"a","ts":"2025-01-14T08:12:05.483127"}"#,
                "b1141bba4276db41ca40bf1d75cf8336",
            ),
            (
                r#"{"id":"a","ts":"2025-01-14T08:12:05+0000"}"#,
                "aa09f1fe4287953e724d6e375e2f338f",
            ),
            (
                r#"{"id":"a","ts":"2025-01-14T08:12:05Z"}"#,
                "aa09f1fe4287953e724d6e375e2f338f",
            ),
            // a time that cannot be read keeps its spelling
            (
                r#"{"id":"a","ts":"soon"}"#,
                "939380ae8302805701377402cede104e",
            ),
            (
                r#"{"id":"a","ts":1736842325}"#,
                "62510295955561ba6e23dfe51ca35f77",
            ),
            // by its whole content
            (
                r#"{"ts":"2025-01-14T08:12:05Z","b":[2,1]}"#,
                "52d1d7c746aff3be27c497aa58dad654",
            ),
            (
                r#"{"b":[2,1],"guid":"a"}"#,
                "730fe16d1725d8c97ac2bf86ae16f574",
            ),
        ];
        for (event, digest) in golden {
            assert_eq!(digest::hex(&of(event).digest), digest, "{event}");
        }
    }

    #[test]
    fn the_digests_of_repaired_events_stay_as_they_are() {
        // bytes, whether it is readable, digest
        let golden: [(&[u8], bool, &str); 8] = [
            (
                b"{\"id\":\"a\x01\",\"ts\":\"2025-01-14T08:12:05Z\"}",
                true,
                "ce3f44de45fc20bf992cb59a98c85a9e",
            ),
            (
                b"{\"id\":\"a\",\"ts\":\"2025-01-14T08:12:05Z\",\"x\":\"\x01\"}",
                true,
                "aa09f1fe4287953e724d6e375e2f338f",
            ),
            (
                b"{\"id\":\"\xff\",\"ts\":\"2025-01-14T08:12:05Z\"}",
                true,
                "f3e35b86ded58a4f30a52bf441038871",
            ),
            (
                b"{\"id\":\"a\\\n\",\"ts\":\"2025-01-14T08:12:05Z\"}",
                true,
                "79078171b01699cc532c45ef74ceba1e",
            ),
            (
                b"{\"id\":{\"b\":\n[1,\n2,\t3 \r]},\"ts\":\"so\non\"}",
                true,
                "cb4d3a17c89090af8df7b7bc3913b862",
            ),
            (
                b"{\x02\"id\":1,\x0b\"ts\":\"2025-01-14T08:12:05Z\"}",
                true,
                "22e7cf9204a839a8ab333394d2f47c90",
            ),
            (
                b"{\"id\":\"a\",\"x\":\"\x01\xff\"}",
                true,
                "6f73435a1d30504913f98403d6403439",
            ),
            (
                b"{\"id\":1\n2,\"ts\":\"\x01",
                false,
                "d3908606c6b574a8a6cf55eeb1055b90",
            ),
        ];
        for (event, readable, digest) in golden {
            let found = identify(event);
            let shown = String::from_utf8_lossy(event);
            assert_eq!(found.readable, readable, "{shown}");
            assert_eq!(digest::hex(&found.digest), digest, "{shown}");
        }
    }

    #[test]
    fn a_message_of_several_events_is_split_and_nothing_else_is() {
        let table: [(&str, &[&str]); 12] = [
            (r#"{"a":1}{"b":2}"#, &[r#"{"a":1}"#, r#"{"b":2}"#]),
            (
                "{\"a\":{\"x\":\"}{\"}}\r\n{\"b\":2}\n",
                &[r#"{"a":{"x":"}{"}}"#, r#"{"b":2}"#],
            ),
            (r#"{"a":1}, {"b":2}"#, &[r#"{"a":1}"#, r#"{"b":2}"#]),
            ("{\"a\":\"\u{1}\"}{}", &["{\"a\":\"\u{1}\"}", "{}"]),
            // one is broken: the others are events all the same
            (r#"{"a":1}{"b":"#, &[r#"{"a":1}"#, r#"{"b":"#]),
            (r#"{"a":nul}{"b":2}"#, &[r#"{"a":nul}"#, r#"{"b":2}"#]),
            (r#"{"a":1}{"b":2}x"#, &[r#"{"a":1}"#, r#"{"b":2}x"#]),
            // none of them is an event: it may have been one
            (r#"{"a":nul}{"b":nul}"#, &[r#"{"a":nul}{"b":nul}"#]),
            (
                r#"{"a":"he said "hi}{there"}"}"#,
                &[r#"{"a":"he said "hi}{there"}"}"#],
            ),
            (r#"{"a":1} x"#, &[r#"{"a":1} x"#]),
            (r#"[{},{},{},{}]"#, &[r#"[{},{},{},{}]"#]),
            ("{\"a\":1", &["{\"a\":1"]),
        ];
        for (message, expected) in table {
            let expected: Vec<_> = expected.iter().map(|piece| piece.as_bytes()).collect();
            assert_eq!(split(message.as_bytes()), expected, "{message}");
        }
        // each piece takes memory
        assert_eq!(split("{}".repeat(1 << 20).as_bytes()).len(), 1);
    }

    #[test]
    fn control_characters_and_bad_utf_8_do_not_hide_the_id() {
        let clean = of(r#"{"id":"a","ts":"2025-01-14T08:12:05Z","x":""}"#);
        let raw = b"{\"id\":\"a\",\"ts\":\"2025-01-14T08:12:05Z\",\"x\":\"\x01\xff\"}";
        let found = identify(raw);
        assert_eq!((found.digest, found.readable), (clean.digest, true));
        assert!(!found.utf8);
        let broken = of("{\"id\":\"a\"");
        assert!(!broken.readable && broken.utf8);
        assert_eq!(of("{\"id\":\"a\""), broken);
    }
}
