//! `events` gives each TAP event its identity.
//!
//! - A message: `id`, `GUID`, recipients, and its threats (threat, status, campaign). So each
//!   recipient's event stays apart, and a threat that is cleared later is a new event. The order of
//!   `messageParts` changes from answer to answer, and does not matter.
//! - A click: `id`, the threat's status and the campaign.
//! - Without one of these: the canonical record and its ordinal among equals.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::event_fields::{ClickFields, MessageFields, MessageThreat, OptionalText};
use crate::digest::{self, Hasher};
use crate::json_stream::OutlineItem;
use crate::pipeline::batch::{Digest, EventId};
use crate::source::wire_time;

/// The kinds of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A message.
    Message,
    /// A click.
    Click,
}

/// What is known of a record.
#[derive(Debug)]
pub struct TapEvent<'a> {
    /// Its identity.
    pub identity: EventId,
    /// Whether it is JSON.
    pub readable: bool,
    /// Whether it is known to be UTF-8 without control characters: its outline tells.
    pub is_plain: bool,
    /// Its times; it was created at the latest of them.
    times: Vec<Cow<'a, str>>,
}

impl TapEvent<'_> {
    /// When it was created, in the spelling of the service.
    #[must_use]
    pub fn created(&self) -> Option<&str> {
        let times = self.times.iter().map(AsRef::as_ref);
        // a fraction may follow or not
        times.max_by_key(|time: &&str| time.get(..wire_time::SECONDS))
    }
}

/// Identifies a record by its outline, or by a parser if that is empty or does not settle it.
#[must_use]
pub fn identify_by_outline<'a>(
    kind: EventKind,
    record: &'a [u8],
    outline: &[OutlineItem],
) -> TapEvent<'a> {
    let text = match outline.is_empty() || digest::is_too_complex(record) {
        true => None,
        false => std::str::from_utf8(record).ok(),
    };
    let read = text.and_then(|text| match kind {
        EventKind::Message => MessageFields::of_outline(text, outline).map(MessageFields::read),
        EventKind::Click => ClickFields::of_outline(text, outline).map(ClickFields::read),
    });
    match read {
        Some((Some(key), times)) => TapEvent {
            identity: EventId::Key(key),
            readable: true,
            is_plain: true,
            times,
        },
        _ => identify(kind, record),
    }
}

/// Identifies a record by a parser.
#[must_use]
pub fn identify(kind: EventKind, record: &[u8]) -> TapEvent<'_> {
    if digest::is_too_complex(record) {
        return TapEvent {
            identity: EventId::Content(digest::canonical(record, &[])),
            readable: true,
            is_plain: false,
            times: Vec::new(),
        };
    }
    // checked once, not again in each of its strings
    let text = std::str::from_utf8(record);
    let read = match (kind, text) {
        (EventKind::Message, Ok(text)) => serde_json::from_str(text).ok().map(MessageFields::read),
        (EventKind::Message, Err(_)) => {
            serde_json::from_slice(record).ok().map(MessageFields::read)
        }
        (EventKind::Click, Ok(text)) => serde_json::from_str(text).ok().map(ClickFields::read),
        (EventKind::Click, Err(_)) => serde_json::from_slice(record).ok().map(ClickFields::read),
    };
    let is_json = read.is_some() || serde_json::from_slice::<IgnoredAny>(record).is_ok();
    let readable = is_json && text.is_ok();
    let (named, times) = read.unwrap_or_default();
    // parts come in any order; nothing else of an event is known to change from answer to answer
    let canonical = || EventId::Content(digest::canonical(record, &["messageParts"]));
    TapEvent {
        identity: named.map_or_else(canonical, EventId::Key),
        readable,
        is_plain: false,
        times,
    }
}

impl<'a> MessageFields<'a> {
    fn read(mut self) -> (Option<Digest>, Vec<Cow<'a, str>>) {
        let digest = self.digest();
        let threats = self.threats.into_iter().flatten();
        (
            digest,
            threats
                .map(|threat| threat.time.0)
                .chain([self.time.0])
                .collect(),
        )
    }

    fn digest(&mut self) -> Option<Digest> {
        let threats = self.threats.as_mut()?;
        if self.id.is_empty()
            || self.guid.is_empty()
            || self.recipient.0.iter().all(OptionalText::is_empty)
        {
            return None;
        }
        let mut hasher = Hasher::of("tap message");
        hasher.part(self.id.as_bytes());
        hasher.part(self.guid.as_bytes());
        self.recipient.0.sort_unstable();
        self.recipient
            .0
            .iter()
            .for_each(|recipient| hasher.part(recipient.as_bytes()));
        threats.sort_unstable_by(|one, other| one.key().cmp(&other.key()));
        hasher.part(b"threats");
        for threat in threats {
            threat
                .key()
                .into_iter()
                .for_each(|part| hasher.part(part.as_bytes()));
        }
        Some(hasher.finish())
    }
}

impl MessageThreat<'_> {
    fn key(&self) -> [&OptionalText<'_>; 3] {
        [&self.id, &self.status, &self.campaign]
    }
}

impl<'a> ClickFields<'a> {
    fn read(self) -> (Option<Digest>, Vec<Cow<'a, str>>) {
        (self.digest(), vec![self.time.0, self.threat_time.0])
    }

    fn digest(&self) -> Option<Digest> {
        if self.id.is_empty() || self.status.is_empty() {
            return None;
        }
        let mut hasher = Hasher::of("tap click");
        [&self.id, &self.status, &self.campaign]
            .into_iter()
            .for_each(|part| hasher.part(part.as_bytes()));
        Some(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json_stream::split_with_outlines;

    const MESSAGE: &str = r#"{"GUID":"g","id":"i","recipient":["a@x"],"messageTime":"2025-01-14T08:12:05.000Z",
        "messageParts":[{"md5":"1"},{"md5":null}],"threatsInfoMap":[
        {"threatID":"t1","threatStatus":"active","campaignID":null,"threatTime":"2025-01-14T08:16:41.000Z"},
        {"threatID":"t2","threatStatus":"active","campaignID":"c","threatTime":"2025-01-14T08:15:02.000Z"}]}"#;
    const CLICK: &str = r#"{"campaignId":"","id":"i","threatStatus":"active","clickTime":"2025-01-14T09:41:18.000Z"}"#;

    fn same(kind: EventKind, record: &str, change: (&str, &str)) -> bool {
        assert!(record.contains(change.0), "{}", change.0);
        let changed = record.replace(change.0, change.1);
        identify(kind, record.as_bytes()).identity == identify(kind, changed.as_bytes()).identity
    }

    #[test]
    fn a_message_is_its_ids_recipients_and_threats() {
        let named = |record: &str| {
            matches!(
                identify(EventKind::Message, record.as_bytes()).identity,
                EventId::Key(_)
            )
        };
        assert!(named(MESSAGE));
        for (change, is_same) in [
            (
                (r#"{"md5":"1"},{"md5":null}"#, r#"{"md5":null},{"md5":"1"}"#),
                true,
            ),
            ((r#""a@x""#, r#""\u0061@x""#), true),
            ((r#"["a@x"]"#, r#""a@x""#), true),
            ((r#""a@x""#, r#""b@x""#), false),
            ((r#""id":"i""#, r#""id":"j""#), false),
            ((r#""GUID":"g""#, r#""GUID":"h""#), false),
            (
                (
                    r#""t1","threatStatus":"active""#,
                    r#""t1","threatStatus":"cleared""#,
                ),
                false,
            ),
            ((r#""campaignID":null"#, r#""campaignID":"c""#), false),
            (
                (
                    r#""threatTime":"2025-01-14T08:16"#,
                    r#""threatTime":"2025-01-14T08:17"#,
                ),
                true,
            ),
        ] {
            assert_eq!(
                same(EventKind::Message, MESSAGE, change),
                is_same,
                "{change:?}"
            );
        }
        for (what, instead) in [
            (r#""id":"i","#, ""),
            (r#""GUID":"g""#, r#""GUID":null"#),
            (r#""a@x""#, ""),
            (r#""t1""#, "7"),
        ] {
            let record = MESSAGE.replacen(what, instead, 1);
            assert!(!named(&record), "{record}");
            assert!(
                identify(EventKind::Message, record.as_bytes()).readable,
                "{record}"
            );
        }
    }

    /// What a record in the shape of another product's public sample is.
    #[derive(Debug, PartialEq)]
    enum Shape {
        /// The event that the table begins with.
        Same,
        /// Another event, by its fields.
        Other,
        /// Identified by all that it says.
        Whole,
    }
    use Shape::{Other, Same, Whole};

    fn shape(kind: EventKind, first: &str, record: &str) -> (Shape, bool) {
        let first = identify(kind, first.as_bytes()).identity;
        let found = identify(kind, record.as_bytes());
        assert!(found.readable, "{record}");
        let has_time = !found.created().unwrap_or_default().is_empty();
        let shape = match found.identity {
            EventId::Content(_) => Whole,
            identity if identity == first => Same,
            _ => Other,
        };
        (shape, has_time)
    }

    #[test]
    fn messages_in_the_shapes_of_public_samples_are_identified() {
        const FIRST: &str = r#"{"GUID":"g","id":"i","recipient":["a@x"],"messageTime":"2025-01-14T08:12:05.000Z","threatsInfoMap":
            [{"threatID":"t","threatStatus":"active","campaignID":null,"threatTime":"2025-01-14T08:16:41.000Z"}]}"#;
        // what is written instead of what, the shape, and whether the time is known
        let table = [
            ("{", "{\n  ", Same, true),
            // keys in another order, and keys that nobody documents
            (
                r#""id":"i","recipient":["a@x"]"#,
                r#""recipient":["a@x"],"cluster":"c","id":"i""#,
                Same,
                true,
            ),
            (
                r#""messageTime""#,
                r#""QID":null,"xmailer":null,"messageParts":null,"messageTime""#,
                Same,
                true,
            ),
            (
                r#""threatID""#,
                r#""actors":[],"detectionType":null,"threatID""#,
                Same,
                true,
            ),
            (r#"["a@x"]"#, r#""a@x""#, Same, true),
            (r#""campaignID":null"#, r#""campaignID":"""#, Same, true),
            (r#""campaignID":null,"#, "", Same, true),
            (r#"08:12:05.000Z""#, r#"08:12:05+0000""#, Same, true),
            (
                r#""messageTime":"2025-01-14T08:12:05.000Z""#,
                r#""messageTime":null"#,
                Same,
                true,
            ),
            (r#"["a@x"]"#, r#"["a@x","b@x"]"#, Other, true),
            (r#""active""#, r#""ACTIVE""#, Other, true),
            (r#""active""#, r#""cleared""#, Other, true),
            // the names of the document, which the service does not use
            (r#""threatID""#, r#""threatId""#, Other, true),
            (r#""id":"i","#, "", Whole, true),
            (r#""id":"i""#, r#""id":"""#, Whole, true),
            (r#""GUID":"g","#, "", Whole, true),
            (r#""GUID""#, r#""guid""#, Whole, true),
            (r#"["a@x"]"#, "null", Whole, true),
            (r#"["a@x"]"#, "[]", Whole, true),
            // a number, a list or an object where a text belongs
            (r#""id":"i""#, r#""id":1736842325"#, Whole, false),
            (
                r#""2025-01-14T08:12:05.000Z""#,
                "1736842325000",
                Whole,
                false,
            ),
            (r#"["a@x"]"#, r#"[{"address":"a@x"}]"#, Whole, false),
            (r#"[{"threatID""#, r#"[null,{"threatID""#, Whole, false),
            (r#""GUID":"g""#, r#""GUID":"g","GUID":"h""#, Whole, false),
        ];
        for (what, instead, expected, has_time) in table {
            assert!(FIRST.contains(what), "{what}");
            let record = FIRST.replacen(what, instead, 1);
            let found = shape(EventKind::Message, FIRST, &record);
            assert_eq!(found, (expected, has_time), "{record}");
        }
        for threats in ["null", "{}", "\"none\""] {
            let start = FIRST.split_once("[{").unwrap().0;
            let record = format!("{start}{threats}}}");
            assert_eq!(
                shape(EventKind::Message, FIRST, &record).0,
                Whole,
                "{record}"
            );
        }
    }

    #[test]
    fn clicks_in_the_shapes_of_public_samples_are_identified() {
        const FIRST: &str = r#"{"campaignId":null,"clickTime":"2025-01-14T09:41:18.000Z","GUID":"g","id":"i","recipient":"a@x",
            "threatID":"t","threatStatus":"active","threatTime":"2025-01-14T08:15:02.000Z","threatURL":"https://x"}"#;
        let table = [
            (r#""recipient":"a@x""#, r#""recipient":["a@x"]"#, Same, true),
            (r#""threatURL""#, r#""threatUrl""#, Same, true),
            (r#""GUID":"g""#, r#""GUID":null"#, Same, true),
            (r#""GUID":"g","#, "", Same, true),
            (r#""campaignId":null"#, r#""campaignID":"c""#, Same, true),
            (r#""threatID":"t""#, r#""threatID":7"#, Same, true),
            (r#""clickTime":"2025-01-14T09:41:18.000Z","#, "", Same, true),
            (r#""campaignId":null"#, r#""campaignId":"c""#, Other, true),
            (r#""id":"i""#, r#""id":"j""#, Other, true),
            (r#""id":"i","#, "", Whole, true),
            (r#""id":"i""#, r#""ID":"i""#, Whole, true),
            (r#""threatStatus":"active","#, "", Whole, true),
            (r#""id":"i""#, r#""id":7"#, Whole, false),
            (r#""2025-01-14T09:41:18.000Z""#, "1736847678", Whole, false),
        ];
        for (what, instead, expected, has_time) in table {
            assert!(FIRST.contains(what), "{what}");
            let record = FIRST.replacen(what, instead, 1);
            let found = shape(EventKind::Click, FIRST, &record);
            assert_eq!(found, (expected, has_time), "{record}");
        }
    }

    #[test]
    fn the_order_of_threats_does_not_matter() {
        let (one, other) = (r#"{"threatID":"a"}"#, r#"{"threatID":"b"}"#);
        let record = |first: &str, second: &str| {
            format!(
                r#"{{"GUID":"g","id":"i","recipient":["x"],"threatsInfoMap":[{first},{second}]}}"#
            )
        };
        let (one, other) = (record(one, other), record(other, one));
        assert_eq!(
            identify(EventKind::Message, one.as_bytes()).identity,
            identify(EventKind::Message, other.as_bytes()).identity
        );
    }

    #[test]
    fn a_click_is_its_id_status_and_campaign() {
        for (change, is_same) in [
            ((r#""campaignId":"""#, r#""campaignId":null"#), true),
            ((r#""campaignId":"","#, ""), true),
            ((r#""campaignId":"""#, r#""campaignId":"c""#), false),
            (("active", "cleared"), false),
            ((r#""id":"i""#, r#""id":"j""#), false),
            (("09:41:18", "09:41:19"), true),
        ] {
            assert_eq!(same(EventKind::Click, CLICK, change), is_same, "{change:?}");
        }
        let without = CLICK.replace(r#""id":"i","#, "");
        assert!(matches!(
            identify(EventKind::Click, without.as_bytes()).identity,
            EventId::Content(_)
        ));
    }

    #[test]
    fn the_digests_of_messages_and_clicks_stay_as_they_are() {
        // a changed digest means doubles for every user: a recipe that must change gets a new version
        // instead, under a kind of its own
        let named = |kind, record: &str| match identify(kind, record.as_bytes()).identity {
            EventId::Key(digest) => digest::hex(&digest),
            other => panic!("{other:?}: {record}"),
        };
        let messages = [
            (
                r#"{"GUID":"g","id":"i","recipient":["b@x","a@x"],"messageTime":"2025-01-14T08:12:05.000Z","threatsInfoMap":[
                {"threatID":"t2","threatStatus":"active","campaignID":"c","threatTime":"2025-01-14T08:15:02.000Z"},
                {"threatID":"t1","threatStatus":"cleared","campaignID":null,"threatTime":"2025-01-14T08:16:41.000Z"}]}"#,
                "8e79524c1e7471474a20e9433061b358",
            ),
            (
                r#"{"GUID":"g","id":"i","recipient":["a@x"],"threatsInfoMap":[]}"#,
                "9441df08955dab6065cc8ff6ef313963",
            ),
        ];
        for (record, digest) in messages {
            assert_eq!(named(EventKind::Message, record), digest, "{record}");
        }
        let clicks = [
            (
                r#"{"id":"i","threatStatus":"active","campaignId":"c","clickTime":"2025-01-14T09:41:18.000Z"}"#,
                "1c4b6a285b9ba88beeeae2e6d66a2e28",
            ),
            (
                r#"{"id":"i","threatStatus":"active","campaignId":null}"#,
                "859956d15ef759201437dfb98c289dbc",
            ),
        ];
        for (record, digest) in clicks {
            assert_eq!(named(EventKind::Click, record), digest, "{record}");
        }
        let record = br#"{"id":"i","messageParts":[{"md5":"2"},{"md5":"1"}]}"#;
        match identify(EventKind::Message, record).identity {
            EventId::Content(digest) => {
                assert_eq!(digest::hex(&digest), "e907c657f51df91d8b5d8f5a9a23a156");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_cannot_be_read_is_recognised_all_the_same() {
        for record in [&b"{\"a\":tru}"[..], b"{\"id\":\"\xff\"}", b"7 7"] {
            let found = identify(EventKind::Message, record);
            assert!(!found.readable, "{record:?}");
            assert_eq!(
                found.identity,
                identify(EventKind::Message, record).identity
            );
        }
        assert!(identify(EventKind::Message, b"null").readable);
    }

    #[test]
    fn an_event_was_created_at_the_latest_of_its_times() {
        let found = identify(EventKind::Message, MESSAGE.as_bytes());
        assert_eq!(found.created(), Some("2025-01-14T08:16:41.000Z"));
        let found = identify(EventKind::Message, b"{}");
        assert_eq!(found.created(), Some(""));
    }
    /// By its outline, in an answer that comes in pieces of this size, each record is what a parser says.
    fn check_outline(kind: EventKind, record: &[u8], piece: usize) {
        for (record, outline) in split_with_outlines(record, piece) {
            let found = identify_by_outline(kind, &record, &outline);
            let wanted = identify(kind, &record);
            assert_eq!(
                (found.identity, found.readable, found.created()),
                (wanted.identity, wanted.readable, wanted.created()),
                "{}",
                String::from_utf8_lossy(&record)
            );
            let is_plain =
                str::from_utf8(&record).is_ok() && record.iter().all(|byte| *byte >= b' ');
            assert!(is_plain || !found.is_plain, "{record:?}");
        }
    }

    /// A message and a click without white space, with every member that is read.
    const COMPACT: [(EventKind, &str); 2] = [
        (
            EventKind::Message,
            r#"{"spamScore":0,"GUID":"g","policyRoutes":["a","b"],"id":"i","recipient":["b@x","a@x"],"messageTime":"2025-01-14T08:12:05.000Z","messageParts":[{"md5":"1","id":"x"},{"md5":null}],"subject":"\"\u00e9\"","threatsInfoMap":[{"threatID":"t1","threatStatus":"active","campaignID":null,"threatTime":"2025-01-14T08:16:41.000Z","classification":"phish"},{},{"threatID":"t2","threatStatus":"active","campaignID":"c","threatTime":"2025-01-14T08:15:02.000Z"}],"completelyRewritten":true}"#,
        ),
        (
            EventKind::Click,
            r#"{"campaignId":"","id":"i","clickIP":"10.0.0.7","threatStatus":"active","clickTime":"2025-01-14T09:41:18.000Z","threatTime":null,"url":"https:\/\/x.example\/"}"#,
        ),
    ];

    #[test]
    fn an_outline_tells_of_an_event_what_a_parser_tells() {
        for (kind, record) in COMPACT {
            let (record, other) = (
                record.as_bytes(),
                COMPACT[usize::from(kind == EventKind::Message)].1,
            );
            for piece in 1..200 {
                check_outline(kind, record, piece);
            }
            check_outline(kind, other.as_bytes(), 1000);
            // every change of a byte, and every piece of another event in the place of a piece
            let replacements = b"{}[]:,\"\\ 01entu\n\t\0\x1f\x7f\xc3\xff";
            for at in 0..record.len() {
                for byte in replacements {
                    let mut changed = record.to_vec();
                    changed[at] = *byte;
                    check_outline(kind, &changed, 1000);
                }
                for length in [1, 2, 7, 30] {
                    let end = record.len().min(at + length);
                    let without = [&record[..at], &record[end..]].concat();
                    check_outline(kind, &without, 1000);
                    let twice = [&record[..end], &record[at..]].concat();
                    check_outline(kind, &twice, 1000);
                }
            }
        }
    }

    #[test]
    fn an_event_with_outlines_is_identified_by_them() {
        for (kind, record) in COMPACT {
            let split = split_with_outlines(record.as_bytes(), 1000);
            let (_, outline) = &split[0];
            assert!(identify_by_outline(kind, record.as_bytes(), outline).is_plain);
            let read = match kind {
                EventKind::Message => {
                    MessageFields::of_outline(record, outline).map(MessageFields::read)
                }
                EventKind::Click => ClickFields::of_outline(record, outline).map(ClickFields::read),
            };
            let EventId::Key(key) = identify(kind, record.as_bytes()).identity else {
                panic!("{record} has no name");
            };
            assert_eq!(read.unwrap().0, Some(key));
        }
    }
}
