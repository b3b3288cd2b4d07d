//! `outline` lists where the members of a record stand, and checks that it is JSON, while the record is split off. So
//! nobody reads it a second time.
//!
//! It takes 64 bytes at a time. What may follow what is checked by shifts of whole masks; only brackets, escapes,
//! numbers, words and listed items are visited one by one. It is sure of less than a parser: a record with white space
//! between its tokens, with an escape in a key, or of unusual depth or size has an empty outline. A record whose
//! outline is not empty has no control characters, and is an object in JSON, if it is UTF-8.

use super::block::Block;

/// Most items of an outline.
const MOST: usize = 4096;
/// Deepest nesting of a record.
const DEEPEST: u32 = 60;
/// Longest number or word that goes on in another block, in bytes.
const LONGEST: usize = 32;

/// An item of an outline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutlineItem {
    /// In bytes from the start of the record.
    pub at: u32,
    /// What stands there.
    pub kind: ItemKind,
}

/// The kinds of item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemKind {
    /// A member of the record: its key in quotes, without escapes, a colon, and its value.
    Member,
    /// A value that stands directly in the array or object of a member.
    Element,
    /// A member of an element that is an object.
    ElementMember,
}

/// The outlines of some records.
#[derive(Debug, Default)]
pub struct RecordOutlines {
    items: Vec<OutlineItem>,
    /// Where those of each record end.
    ends: Vec<u32>,
}

impl RecordOutlines {
    /// The outline of each record, in the order of its bytes; empty where the record may be anything.
    pub fn each(&self) -> impl Iterator<Item = &[OutlineItem]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let outline = self.items.get(start..end as usize).unwrap_or_default();
            start = end as usize;
            outline
        })
    }
}

/// Outlines one record after another.
#[derive(Debug, Default)]
pub(super) struct Outliner {
    complete: RecordOutlines,
    /// The items of the record that is being read.
    items: Vec<OutlineItem>,
    state: RecordState,
}

/// How far a record is read.
#[derive(Debug, Clone, Copy)]
struct RecordState {
    /// Whether everything up to here is JSON, and nothing is unusual.
    is_sure: bool,
    /// Where the next block begins in the record.
    at: u32,
    depth: u32,
    /// Which open brackets are braces; the lowest bit is the innermost.
    braces: u64,
    before: ByteBefore,
    /// Whether the string that is open is a key.
    in_key: bool,
    /// Hexadecimal digits of an escape that are still to come.
    digits: u32,
    /// The number or word that is open, and its length.
    word: ([u8; LONGEST], usize),
}

/// What the last byte of the block before was, if it was outside of strings. Each is 0 or 1.
#[derive(Debug, Clone, Copy, Default)]
struct ByteBefore {
    brace: u64,
    bracket: u64,
    comma_in_object: u64,
    /// A comma in an array, or a colon. So is the start of a record: a value follows.
    before_value: u64,
    end_of_key: u64,
    /// The end of a value; any byte of a number or word may be one.
    end_of_value: u64,
    word: u64,
}

impl Default for RecordState {
    fn default() -> RecordState {
        RecordState {
            is_sure: true,
            at: 0,
            depth: 0,
            braces: 0,
            before: ByteBefore {
                before_value: 1,
                ..ByteBefore::default()
            },
            in_key: false,
            digits: 0,
            word: ([0; LONGEST], 0),
        }
    }
}

impl Outliner {
    /// Takes the outlines of the records that were completed since the last call.
    pub(super) fn take(&mut self) -> RecordOutlines {
        std::mem::take(&mut self.complete)
    }

    /// Reads the next bytes of a record: the first `length` of a block.
    #[inline]
    pub(super) fn read(&mut self, block: &Block, bytes: &[u8], length: usize) {
        if self.state.is_sure && length > 0 {
            self.state.is_sure = self.outline(block, bytes, length) && self.items.len() <= MOST;
            self.state.at = self.state.at.saturating_add(length as u32);
        }
    }

    /// The record is complete.
    pub(super) fn end_record(&mut self) {
        let complete = &mut self.complete;
        if self.state.is_sure {
            complete.items.append(&mut self.items);
        }
        self.items.clear();
        self.state = RecordState::default();
        let end = u32::try_from(complete.items.len());
        complete.ends.push(end.unwrap_or(u32::MAX));
    }

    /// Whether the bytes continue the record as JSON, without anything unusual.
    #[inline]
    fn outline(&mut self, block: &Block, bytes: &[u8], length: usize) -> bool {
        let state = &mut self.state;
        let valid = u64::MAX >> (u64::BITS as usize - length);
        let strings = block.strings & valid;
        let outside = valid & !strings;
        let openings = block.quotes & strings;
        let closings = block.quotes & outside;
        let [commas, colons] = [block.commas, block.colons].map(|mask| mask & outside);
        let [opening, closing] = [block.opening, block.closing].map(|mask| mask & outside);
        if block.controls & strings != 0 {
            return false;
        }
        let Some(levels) = state.brackets(opening | closing, bytes) else {
            return false;
        };
        let Levels { in_object, .. } = levels;
        let braces = opening & levels.braces;
        let brackets = opening & !braces;
        let commas_in_object = commas & in_object;
        let before_value = commas & !in_object | colons;

        let before = state.before;
        let after_brace = braces << 1 | before.brace;
        let after_bracket = brackets << 1 | before.bracket;
        let keys = openings & (after_brace | commas_in_object << 1 | before.comma_in_object);
        // an addition carries from the start of each key to the quote behind it
        let (sum, is_over) = strings.overflowing_add(keys);
        let (sum, is_over_again) = sum.overflowing_add(state.in_key.into());
        let in_keys = strings & !sum;
        let ends_of_keys = sum & closings;

        let words = outside & !(block.quotes | commas | colons | opening | closing);
        let starts_of_words = words & !(words << 1 | before.word);
        let values = openings & !keys | opening | starts_of_words;
        let ends_of_values = closings & !ends_of_keys | closing | words;

        let after_value = ends_of_values << 1 | before.end_of_value;
        let wrong = values & !(before_value << 1 | before.before_value | after_bracket)
            | colons & !(ends_of_keys << 1 | before.end_of_key)
            | commas & !after_value
            | closing & levels.braces & !(after_value | after_brace)
            | closing & !levels.braces & !(after_value | after_bracket);
        if wrong & valid != 0 {
            return false;
        }
        let last = |mask: u64| mask >> (length - 1) & 1;
        state.before = ByteBefore {
            brace: last(braces),
            bracket: last(brackets),
            comma_in_object: last(commas_in_object),
            before_value: last(before_value),
            end_of_key: last(ends_of_keys),
            end_of_value: last(ends_of_values),
            word: last(words),
        };
        // in a block that is not full, it is carried to the bit behind
        let is_carried = length < u64::BITS as usize && sum >> length & 1 == 1;
        state.in_key = is_over || is_over_again || is_carried;

        let backslashes = block.backslashes & valid;
        if backslashes & (in_keys | outside) != 0 {
            return false;
        }
        let escaped = block.escaped & valid;
        if (escaped != 0 || state.digits > 0) && !state.escapes(escaped, &bytes[..length]) {
            return false;
        }
        if words | before.word != 0 && !state.words(words, &bytes[..length]) {
            return false;
        }

        let members = keys & (levels.first | levels.third);
        let mut listed = members | values & levels.second;
        while listed != 0 {
            let place = listed.trailing_zeros();
            listed &= listed - 1;
            let is = |mask: u64| mask >> place & 1 == 1;
            self.items.push(OutlineItem {
                at: state.at + place,
                kind: if is(levels.first) {
                    ItemKind::Member
                } else if is(levels.third) {
                    ItemKind::ElementMember
                } else {
                    ItemKind::Element
                },
            });
        }
        true
    }
}

/// In which bracket each byte of a block stands; one that opens stands outside of itself, one that closes inside.
#[derive(Debug, Default)]
struct Levels {
    /// Bytes that stand directly in an object.
    in_object: u64,
    /// Bytes in one bracket, in two, and in three.
    first: u64,
    second: u64,
    third: u64,
    /// Braces, among the brackets.
    braces: u64,
}

impl RecordState {
    /// Opens and closes brackets; `None` if one closes another kind, or there are too many.
    #[inline]
    fn brackets(&mut self, mut brackets: u64, bytes: &[u8]) -> Option<Levels> {
        let mut levels = Levels::default();
        // the bytes behind the last bracket
        let mut rest = u64::MAX;
        loop {
            let place = brackets.trailing_zeros();
            let behind = u64::MAX.checked_shl(place).unwrap_or(0) << 1;
            let span = rest & !behind;
            rest = behind;
            levels.in_object |= if self.braces & 1 == 1 { span } else { 0 };
            match self.depth {
                1 => levels.first |= span,
                2 => levels.second |= span,
                3 => levels.third |= span,
                _ => {}
            }
            if brackets == 0 {
                return Some(levels);
            }
            brackets &= brackets - 1;
            let byte = bytes[place as usize];
            let is_brace = matches!(byte, b'{' | b'}');
            levels.braces |= u64::from(is_brace) << place;
            if matches!(byte, b'{' | b'[') {
                self.braces = self.braces << 1 | u64::from(is_brace);
                self.depth += 1;
            } else {
                if self.depth == 0 || is_brace != (self.braces & 1 == 1) {
                    return None;
                }
                self.braces >>= 1;
                self.depth -= 1;
            }
            if self.depth > DEEPEST {
                return None;
            }
        }
    }

    /// Whether each byte that is escaped may be, and four digits follow a `u`.
    fn escapes(&mut self, mut escaped: u64, bytes: &[u8]) -> bool {
        let mut at = 0;
        loop {
            while self.digits > 0 && at < bytes.len() {
                if !bytes[at].is_ascii_hexdigit() {
                    return false;
                }
                self.digits -= 1;
                at += 1;
            }
            at = escaped.trailing_zeros() as usize;
            match bytes.get(at) {
                None => return true,
                Some(b'u') => self.digits = 4,
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                Some(_) => return false,
            }
            escaped &= escaped - 1;
            at += 1;
        }
    }

    /// Whether each number or word that ends here is one.
    fn words(&mut self, mut words: u64, bytes: &[u8]) -> bool {
        let (open, length) = &mut self.word;
        while words != 0 || *length > 0 {
            let start = if *length > 0 {
                0
            } else {
                words.trailing_zeros() as usize
            };
            let end = bytes
                .len()
                .min(start + (words >> start).trailing_ones() as usize);
            let word = &bytes[start..end];
            let has_ended = end < bytes.len();
            if has_ended && *length == 0 {
                if !is_word(word) {
                    return false;
                }
            } else {
                let Some(more) = open.get_mut(*length..*length + word.len()) else {
                    return false;
                };
                more.copy_from_slice(word);
                *length += word.len();
                if !has_ended {
                    return true;
                }
                if !is_word(&open[..*length]) {
                    return false;
                }
                *length = 0;
            }
            words &= u64::MAX << end;
        }
        true
    }
}

/// Whether it is a number, or a word of JSON.
fn is_word(text: &[u8]) -> bool {
    matches!(text, b"null" | b"true" | b"false") || number(text).is_some()
}

/// Reads a number to its end (RFC 8259, section 6); `None` if it is none.
fn number(text: &[u8]) -> Option<()> {
    fn digits(text: &[u8]) -> Option<&[u8]> {
        let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count > 0).then(|| &text[count..])
    }
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let rest = match text.strip_prefix(b"0") {
        Some(rest) => rest,
        None => digits(text)?,
    };
    let rest = match rest.strip_prefix(b".") {
        Some(rest) => digits(rest)?,
        None => rest,
    };
    let rest = match rest {
        [b'e' | b'E', b'+' | b'-', rest @ ..] | [b'e' | b'E', rest @ ..] => digits(rest)?,
        _ => rest,
    };
    rest.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use super::super::split_with_outlines as split;
    use super::ItemKind::{Element, ElementMember, Member};
    use super::*;
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::{Map, Value};

    /// Each item with the text from its place on.
    fn shown<'a>(record: &'a [u8], outline: &[OutlineItem]) -> Vec<(ItemKind, &'a str)> {
        let rest = |item: &OutlineItem| std::str::from_utf8(&record[item.at as usize..]).unwrap();
        outline.iter().map(|item| (item.kind, rest(item))).collect()
    }

    #[test]
    fn members_and_elements_are_listed_with_their_places_however_the_bytes_come() {
        let wanted = [
            (Member, "\"id\":"),
            (Member, "\"list\":"),
            (Element, "{\"c\":"),
            (ElementMember, "\"c\":"),
            (Element, "\"e,}\""),
            (Element, "[3]"),
            (Element, "-1.5e+3"),
            (Element, "null"),
            (Member, "\"map\":"),
            (Element, "{\"h\":"),
            (ElementMember, "\"h\":"),
            (Member, "\"\":"),
            (Member, "\"last\":"),
        ];
        let record = r#"{"id":0,"list":[{"c":[{"d":2}]},"e,}",[3],-1.5e+3,null],"map":{"g":{"h":{}}},"":true,"last":"\\\"\u00e9:"}"#;
        // a record before it moves it through the blocks
        for (piece, before) in (1..140).zip((0..70).cycle()) {
            let records = format!("{{\"{}\":1}},{record},{record}", "x".repeat(before));
            let split = split(records.as_bytes(), piece);
            assert_eq!(split.len(), 3);
            for (record, outline) in &split[1..] {
                let found = shown(record, outline);
                assert_eq!(found.len(), wanted.len(), "{piece}: {found:?}");
                for (found, wanted) in found.iter().zip(wanted) {
                    assert_eq!(found.0, wanted.0, "{piece} {found:?}");
                    assert!(found.1.starts_with(wanted.1), "{piece} {found:?}");
                }
            }
        }
    }

    #[test]
    fn of_a_record_that_is_no_json_or_unusual_nothing_is_listed() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(60), "]".repeat(60));
        let many = format!("{{{}\"a\":1}}", "\"a\":1,".repeat(MOST));
        let records = [
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            "{,}",
            r#"{,"a":1}"#,
            "{1:1}",
            "{a:1}",
            r#"{"a":1:2}"#,
            r#"{"a":"b":"c"}"#,
            r#"{"a":"b""c"}"#,
            r#"{"a":"b"1}"#,
            r#"{"a":1"b"}"#,
            r#"{"a":1,2}"#,
            r#"{"a"1}"#,
            r#"{"a":[1,]}"#,
            r#"{"a":[,1]}"#,
            r#"{"a":[1:2]}"#,
            r#"{"a":["b":1]}"#,
            r#"{"a":[]{}}"#,
            r#"{"a":{}1}"#,
            r#"{"a":[1}]"#,
            r#"{"a":{1]}"#,
            r#"{"a":[[]}}"#,
            r#"{["a":1]}"#,
            r#"{"a":{"b"}}"#,
            // numbers and words
            r#"{"a":01}"#,
            r#"{"a":-}"#,
            r#"{"a":1.}"#,
            r#"{"a":.5}"#,
            r#"{"a":1e}"#,
            r#"{"a":+1}"#,
            r#"{"a":tru}"#,
            r#"{"a":nulll}"#,
            r#"{"a":NaN}"#,
            r#"{"a":1-2}"#,
            r#"{"a":\n}"#,
            // strings
            r#"{"a":"\x"}"#,
            r#"{"a":"\u12g4"}"#,
            r#"{"a":"\u12"}"#,
            "{\"a\":\"\t\"}",
            "{\"a\":\"\n\"}",
            // a parser reads these
            r#"{"a": 1}"#,
            r#"{ "a":1}"#,
            r#"{"a":1 }"#,
            "{\"a\"\n:1}",
            r#"{"\u0061":1}"#,
            r#"{"a\"":1}"#,
            r#"{"a":[{"b":{"\n":1}}]}"#,
            "{}",
            "[1]",
            "\"a\"",
            "7",
            "null",
            &deep,
            &many,
        ];
        for record in records {
            for piece in [1, 2, 3, 5, 63, 64, 65, 100_000] {
                let split = split(record.as_bytes(), piece);
                let (found, outline) = &split[0];
                let found = String::from_utf8_lossy(found);
                assert!(outline.is_empty(), "{found} {piece}: {outline:?}");
            }
        }
    }

    /// Any value of JSON.
    fn value() -> impl Strategy<Value = Value> {
        let text = "[a-z\"\\\\\u{e9}{}\\[\\],: \n]{0,9}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 6, move |inner| {
            let array = prop::collection::vec(inner.clone(), 0..6);
            let object = prop::collection::btree_map("[a-z{\u{e9}]{0,5}", inner, 0..6);
            prop_oneof![
                array.prop_map(Value::from),
                object.prop_map(|members| members.into_iter().collect::<Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_object_is_listed_with_all_its_members_and_elements(
            members in prop::collection::btree_map("[a-z{\u{e9}]{0,5}", value(), 1..9),
            piece in 1_usize..200,
        ) {
            let wanted = members.iter().flat_map(|(key, value)| {
                let elements: Vec<&Value> = match value {
                    Value::Array(elements) => elements.iter().collect(),
                    Value::Object(members) => members.values().collect(),
                    _ => Vec::new(),
                };
                let elements = elements.into_iter().flat_map(|element| {
                    let keys = element.as_object().into_iter().flat_map(Map::keys);
                    let keys = keys.map(|key| (ElementMember, Value::from(key.as_str())));
                    [(Element, element.clone())].into_iter().chain(keys)
                });
                [(Member, Value::from(key.as_str()))].into_iter().chain(elements)
            });
            let wanted: Vec<(ItemKind, String)> =
                wanted.map(|(kind, value)| (kind, value.to_string())).collect();
            let record = Value::from(members.clone().into_iter().collect::<Map<_, _>>()).to_string();
            let split = split(record.as_bytes(), piece);
            let found = shown(&split[0].0, &split[0].1);
            prop_assert_eq!(found.len(), wanted.len());
            for (found, wanted) in found.iter().zip(&wanted) {
                prop_assert_eq!(found.0, wanted.0);
                prop_assert!(found.1.starts_with(&wanted.1), "{found:?} {wanted:?}");
            }
        }

        #[test]
        fn what_is_listed_is_json(
            value in value(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 0..4),
            piece in 1_usize..200,
        ) {
            let mut record = format!("{{\"a\":{value}}}").into_bytes();
            for (at, byte, how) in changes {
                let at = at.index(record.len());
                match how {
                    0 => record[at] = byte,
                    1 => record[at] = b"{}[]:,\"\\ 0-.eu"[usize::from(byte) % 14],
                    _ => drop(record.remove(at)),
                }
            }
            for (record, outline) in split(&record, piece) {
                let is_json = serde_json::from_slice::<IgnoredAny>(&record).is_ok();
                prop_assert!(outline.is_empty() || is_json || std::str::from_utf8(&record).is_err());
            }
        }
    }
}
