//! `event_fields` reads the fields of an event that tell its identity and its time.
//!
//! By its outline if it has one, by a parser otherwise: both read the same. Where the outline does not settle it, as with
//! an escape or a number in a field, the parser reads it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::json_stream::{ItemKind, OutlineItem};

/// What a message is recognised by, and its time.
#[derive(Default, Deserialize)]
pub(super) struct MessageFields<'a> {
    #[serde(borrow, default)]
    pub(super) id: OptionalText<'a>,
    #[serde(borrow, default, rename = "GUID")]
    pub(super) guid: OptionalText<'a>,
    #[serde(borrow, default)]
    pub(super) recipient: OptionalTexts<'a>,
    #[serde(borrow, default, rename = "messageTime")]
    pub(super) time: OptionalText<'a>,
    #[serde(borrow, default, rename = "threatsInfoMap")]
    pub(super) threats: Option<Vec<MessageThreat<'a>>>,
}

/// A threat of a message.
#[derive(Default, Deserialize)]
pub(super) struct MessageThreat<'a> {
    #[serde(borrow, default, rename = "threatID")]
    pub(super) id: OptionalText<'a>,
    #[serde(borrow, default, rename = "threatStatus")]
    pub(super) status: OptionalText<'a>,
    #[serde(borrow, default, rename = "campaignID")]
    pub(super) campaign: OptionalText<'a>,
    #[serde(borrow, default, rename = "threatTime")]
    pub(super) time: OptionalText<'a>,
}

impl<'a> MessageFields<'a> {
    /// Reads a message by its outline; `None` where a parser must.
    pub(super) fn of_outline(text: &'a str, outline: &[OutlineItem]) -> Option<MessageFields<'a>> {
        let mut reader = OutlineReader {
            text,
            items: outline,
        };
        let (mut fields, mut found) = (MessageFields::default(), FoundFields::default());
        while let Some(member) = reader.next_member() {
            if let Some(value) = member.strip_prefix("\"recipient\":") {
                found.once(3)?;
                fields.recipient = texts(value)?;
            } else if let Some(value) = member.strip_prefix("\"threatsInfoMap\":") {
                found.once(4)?;
                fields.threats = Some(reader.threats(value)?);
            } else {
                let known = [
                    ("\"id\":", &mut fields.id),
                    ("\"GUID\":", &mut fields.guid),
                    ("\"messageTime\":", &mut fields.time),
                ];
                found.read(member, known)?;
            }
        }
        Some(fields)
    }
}

/// What a click is recognised by, and its times.
#[derive(Default, Deserialize)]
pub(super) struct ClickFields<'a> {
    #[serde(borrow, default)]
    pub(super) id: OptionalText<'a>,
    #[serde(borrow, default, rename = "threatStatus")]
    pub(super) status: OptionalText<'a>,
    /// Often empty or null at first, and filled in later.
    #[serde(borrow, default, rename = "campaignId")]
    pub(super) campaign: OptionalText<'a>,
    #[serde(borrow, default, rename = "clickTime")]
    pub(super) time: OptionalText<'a>,
    #[serde(borrow, default, rename = "threatTime")]
    pub(super) threat_time: OptionalText<'a>,
}

impl<'a> ClickFields<'a> {
    /// Reads a click by its outline; `None` where a parser must.
    pub(super) fn of_outline(text: &'a str, outline: &[OutlineItem]) -> Option<ClickFields<'a>> {
        let mut reader = OutlineReader {
            text,
            items: outline,
        };
        let (mut fields, mut found) = (ClickFields::default(), FoundFields::default());
        while let Some(member) = reader.next_member() {
            let known = [
                ("\"id\":", &mut fields.id),
                ("\"threatStatus\":", &mut fields.status),
                ("\"campaignId\":", &mut fields.campaign),
                ("\"clickTime\":", &mut fields.time),
                ("\"threatTime\":", &mut fields.threat_time),
            ];
            found.read(member, known)?;
        }
        Some(fields)
    }
}

/// Reads a record by its outline.
struct OutlineReader<'a, 't> {
    text: &'a str,
    /// Those that are left.
    items: &'t [OutlineItem],
}

impl<'a> OutlineReader<'a, '_> {
    /// The text from the next member of the record on.
    fn next_member(&mut self) -> Option<&'a str> {
        while let [item, rest @ ..] = self.items {
            self.items = rest;
            if item.kind == ItemKind::Member {
                return self.text.get(item.at as usize..);
            }
        }
        None
    }

    /// An array of threats: its items stand before the next member of the record.
    fn threats(&mut self, value: &str) -> Option<Vec<MessageThreat<'a>>> {
        value.strip_prefix('[')?;
        let (mut threats, mut found) = (Vec::<MessageThreat<'a>>::new(), FoundFields::default());
        while let [item, rest @ ..] = self.items {
            let member = self.text.get(item.at as usize..)?;
            match item.kind {
                ItemKind::Member => break,
                ItemKind::Element => {
                    member.strip_prefix('{')?;
                    threats.push(MessageThreat::default());
                    found = FoundFields::default();
                }
                ItemKind::ElementMember => {
                    let threat = threats.last_mut()?;
                    let known = [
                        ("\"threatID\":", &mut threat.id),
                        ("\"threatStatus\":", &mut threat.status),
                        ("\"campaignID\":", &mut threat.campaign),
                        ("\"threatTime\":", &mut threat.time),
                    ];
                    found.read(member, known)?;
                }
            }
            self.items = rest;
        }
        Some(threats)
    }
}

/// Which fields of an object were found, one bit each. A parser refuses a field that stands twice.
#[derive(Default)]
struct FoundFields(u32);

impl FoundFields {
    fn once(&mut self, field: usize) -> Option<()> {
        let bit = 1 << field;
        let is_first = self.0 & bit == 0;
        self.0 |= bit;
        is_first.then_some(())
    }

    /// Reads a member, if it is one of these fields.
    #[inline]
    fn read<'a, const COUNT: usize>(
        &mut self,
        member: &'a str,
        known: [(&str, &mut OptionalText<'a>); COUNT],
    ) -> Option<()> {
        for (number, (key, field)) in known.into_iter().enumerate() {
            if let Some(value) = member.strip_prefix(key) {
                self.once(number)?;
                *field = text(value)?;
                break;
            }
        }
        Some(())
    }
}

/// The inside of a string without escapes, and what follows it.
fn string(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('"')?;
    let end = memchr::memchr2(b'"', b'\\', text.as_bytes())?;
    let (string, rest) = text.split_at(end);
    Some((string, rest.strip_prefix('"')?))
}

/// A value that begins here, if it is a string without escapes, or null.
fn text(value: &str) -> Option<OptionalText<'_>> {
    match value.starts_with("null") {
        true => Some(OptionalText::default()),
        false => string(value).map(|(string, _)| OptionalText(Cow::Borrowed(string))),
    }
}

/// A value that begins here, if it is such a string, or an array of them.
fn texts(value: &str) -> Option<OptionalTexts<'_>> {
    let Some(mut rest) = value.strip_prefix('[') else {
        let (string, _) = string(value)?;
        return Some(OptionalTexts(vec![OptionalText(Cow::Borrowed(string))]));
    };
    let mut texts = Vec::new();
    while !rest.starts_with(']') {
        let (string, behind) = string(rest)?;
        texts.push(OptionalText(Cow::Borrowed(string)));
        rest = behind.strip_prefix(',').unwrap_or(behind);
    }
    Some(OptionalTexts(texts))
}

/// A string, borrowed if it has no escapes; null counts as empty.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OptionalText<'a>(pub(super) Cow<'a, str>);

impl OptionalText<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// An array of strings, or one string, as the document says.
#[derive(Debug, Default)]
pub(super) struct OptionalTexts<'a>(pub(super) Vec<OptionalText<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for OptionalText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = OptionalText<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or null")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(OptionalText(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(OptionalText(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(OptionalText::default())
            }
        }
        deserializer.deserialize_any(One)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for OptionalTexts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Many;
        impl<'de> Visitor<'de> for Many {
            type Value = OptionalTexts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of strings, a string or null")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(OptionalTexts(vec![OptionalText(Cow::Borrowed(text))]))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(OptionalTexts(vec![OptionalText(Cow::Owned(
                    text.to_owned(),
                ))]))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(OptionalTexts::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = seq.next_element()? {
                    texts.push(text);
                }
                Ok(OptionalTexts(texts))
            }
        }
        deserializer.deserialize_any(Many)
    }
}
