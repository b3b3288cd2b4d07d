//! `Splitter` splits an answer of any size into its records as its bytes arrive.
//!
//! The frame is one object. The records are the elements of the arrays under some of its keys; a
//! few small members beside them can be kept. The splitter checks the frame only: it finds the end
//! of a record by strings and brackets, and leaves it to others whether the record is JSON. On request
//! it outlines the records at the same time. It knows nothing of services or connections.

mod block;
mod outline;

use std::fmt;

use crate::pipeline::batch::make_room;
use block::{Block, Carry, SIZE};
use outline::Outliner;
pub use outline::{ItemKind, OutlineItem, RecordOutlines};

/// Longest record, in bytes.
pub(crate) const MAX_RECORD: usize = 64 * 1024 * 1024;
/// Longest key that is compared with the wanted ones; a longer key is none of them.
const MAX_KEY: usize = 256;
/// Longest member that is kept, in bytes; a longer one would not fit into a request either.
const MAX_MEMBER: usize = 16 * 1024;

/// Reads one answer.
#[derive(Debug)]
pub struct Splitter {
    wanted: &'static [&'static str],
    /// The wanted keys that were found, one bit each.
    found: u32,
    keep: &'static [&'static str],
    /// The text of each kept member, as far as it has come.
    kept: Vec<Vec<u8>>,
    /// The kept member that the current value belongs to.
    keeping: Option<usize>,
    place: ParseState,
    /// Open brackets inside the current value or record.
    depth: u32,
    /// Whether a string is open in the current value, record or key.
    carry: Carry,
    key: Vec<u8>,
    bytes: u64,
    /// Outlines the records, if that is wanted.
    outliner: Option<Box<Outliner>>,
}

/// Where in the frame the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ParseState {
    Start,
    FirstKey,
    NextKey,
    Key,
    Colon,
    Value,
    Passing,
    AfterValue,
    FirstRecord,
    NextRecord,
    Record,
    AfterRecord,
    End,
}

/// Why the frame of an answer cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// It is empty.
    Empty,
    /// It ends too early.
    CutOff,
    /// It has no array under the key asked for.
    Missing(&'static str),
    /// It is not the expected JSON from this byte on; with what was expected there.
    NotJson(u64, &'static str),
    /// A record is longer than `MAX_RECORD`.
    TooLong(u64),
    /// The member under this key is too long to be meaningful.
    LongMember(&'static str),
}

impl std::error::Error for Broken {}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Empty => write!(f, "the answer is empty"),
            Broken::CutOff => write!(f, "the answer was cut off"),
            Broken::Missing(key) => write!(f, "the answer has no array {key:?}"),
            Broken::NotJson(at, expected) => write!(
                f,
                "the answer is not the JSON expected: no {expected} at byte {at}"
            ),
            Broken::TooLong(at) => {
                write!(
                    f,
                    "the answer has a record of more than {} MiB at byte {at}",
                    MAX_RECORD >> 20
                )
            }
            Broken::LongMember(key) => {
                write!(
                    f,
                    "the answer has more than {MAX_MEMBER} bytes under {key:?}"
                )
            }
        }
    }
}

impl Splitter {
    /// A splitter for an answer with its records in the arrays under the keys `wanted`, all of
    /// which must be present.
    #[must_use]
    pub fn new(wanted: &'static [&'static str]) -> Splitter {
        Splitter::keeping(wanted, &[])
    }

    /// The same; also keeps the members under the keys `keep`, as they are written.
    #[must_use]
    pub(crate) fn keeping(
        wanted: &'static [&'static str],
        keep: &'static [&'static str],
    ) -> Splitter {
        Splitter {
            wanted,
            found: 0,
            keep,
            kept: vec![Vec::new(); keep.len()],
            keeping: None,
            place: ParseState::Start,
            depth: 0,
            carry: Carry::default(),
            key: Vec::new(),
            bytes: 0,
            outliner: None,
        }
    }

    /// The same; also outlines the records.
    #[must_use]
    pub fn with_outlines(self) -> Splitter {
        Splitter {
            outliner: Some(Box::default()),
            ..self
        }
    }

    /// Takes the outlines of the records that were completed since the last call; of none without
    /// [`Splitter::with_outlines`].
    #[must_use]
    pub fn take_outlines(&mut self) -> RecordOutlines {
        let outliner = self.outliner.as_mut();
        outliner.map_or_else(RecordOutlines::default, |outliner| outliner.take())
    }

    /// Takes the next bytes of the answer. Appends records to `text` and the end of each to `ends`.
    ///
    /// The last record may be incomplete. The next call continues it: the caller may move it, but
    /// only to the end of `text`.
    ///
    /// # Errors
    /// [`Broken`] when the frame cannot be read. The records up to `ends` are good all the same.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        text: &mut Vec<u8>,
        ends: &mut Vec<usize>,
    ) -> Result<(), Broken> {
        let mut at = 0;
        let began = self.bytes;
        while at < bytes.len() {
            self.bytes = began + at as u64;
            let rest = &bytes[at..];
            at += match self.place {
                ParseState::Record => self.record(rest, text, ends)?,
                ParseState::Passing => self.skip(rest)?,
                ParseState::Key => self.read_key(rest),
                _ => self.frame(rest)?,
            };
        }
        self.bytes = began + bytes.len() as u64;
        Ok(())
    }

    /// Says whether the answer is complete, once all bytes were fed.
    ///
    /// # Errors
    /// [`Broken`] when it is not.
    pub fn finish(&self) -> Result<(), Broken> {
        let missing = (0..self.wanted.len()).find(|at| self.found & 1 << at == 0);
        match self.place {
            ParseState::End => missing.map_or(Ok(()), |at| Err(Broken::Missing(self.wanted[at]))),
            ParseState::Start => Err(Broken::Empty),
            _ => Err(Broken::CutOff),
        }
    }

    /// A kept member, once it has come: a string unquoted and unescaped, anything else as written.
    /// `None` if it is absent, null or empty.
    #[must_use]
    pub(crate) fn member(&self, key: &str) -> Option<String> {
        let at = self.keep.iter().position(|kept| *kept == key)?;
        let text = self.kept[at].trim_ascii_end();
        if self.keeping == Some(at) && self.place == ParseState::Passing || text == b"null" {
            return None;
        }
        let string = serde_json::from_slice::<String>(text).ok();
        let member = string.unwrap_or_else(|| String::from_utf8_lossy(text).into_owned());
        (!member.is_empty()).then_some(member)
    }

    /// Takes one byte of the frame, or a run of white space.
    fn frame(&mut self, rest: &[u8]) -> Result<usize, Broken> {
        let byte = rest[0];
        if byte.is_ascii_whitespace() {
            return Ok(rest
                .iter()
                .take_while(|byte| byte.is_ascii_whitespace())
                .count());
        }
        self.place = match (self.place, byte) {
            // a byte order mark, which some proxies leave in
            (ParseState::Start, 0xef | 0xbb | 0xbf) if self.bytes < 3 => ParseState::Start,
            (ParseState::Start, b'{') => ParseState::FirstKey,
            (ParseState::FirstKey | ParseState::NextKey, b'"') => {
                self.key.clear();
                ParseState::Key
            }
            (ParseState::Colon, b':') => ParseState::Value,
            (ParseState::Value, b',' | b'}' | b']' | b':') => return Err(self.unexpected()),
            (ParseState::Value, byte) => match (byte, self.among(self.wanted)) {
                (b'[', Some(at)) => {
                    self.found |= 1 << at;
                    ParseState::FirstRecord
                }
                _ => {
                    self.keeping = self.among(self.keep);
                    // of a repeated key, the last value counts
                    self.keeping
                        .into_iter()
                        .for_each(|at| self.kept[at].clear());
                    self.place = ParseState::Passing;
                    return Ok(0);
                }
            },
            (ParseState::AfterValue, b',') => ParseState::NextKey,
            (ParseState::FirstKey | ParseState::AfterValue, b'}') => ParseState::End,
            (ParseState::FirstRecord | ParseState::AfterRecord, b']') => ParseState::AfterValue,
            (ParseState::AfterRecord, b',') => ParseState::NextRecord,
            (ParseState::FirstRecord | ParseState::NextRecord, byte)
                if !matches!(byte, b',' | b'}' | b']' | b':') =>
            {
                self.place = ParseState::Record;
                return Ok(0);
            }
            _ => return Err(self.unexpected()),
        };
        Ok(1)
    }

    fn unexpected(&self) -> Broken {
        let expected = match self.place {
            ParseState::Start => "object",
            ParseState::FirstKey | ParseState::NextKey => "key",
            ParseState::Colon => "colon",
            ParseState::Value => "value",
            ParseState::AfterValue => "comma or end of the object",
            ParseState::FirstRecord | ParseState::NextRecord => "record",
            ParseState::AfterRecord => "comma or end of the array",
            _ => "end",
        };
        Broken::NotJson(self.bytes, expected)
    }

    /// The index of the current key among `keys`; a key with escapes is compared unescaped.
    fn among(&self, keys: &[&str]) -> Option<usize> {
        if !self.key.contains(&b'\\') {
            return keys.iter().position(|key| self.key == key.as_bytes());
        }
        let quoted = [b"\"", self.key.as_slice(), b"\""].concat();
        let meant = serde_json::from_slice::<String>(&quoted).ok()?;
        keys.iter().position(|key| *key == meant)
    }

    fn read_key(&mut self, rest: &[u8]) -> usize {
        for (at, &byte) in rest.iter().enumerate() {
            if byte == b'"' && !self.carry.escaped {
                self.place = ParseState::Colon;
                return at + 1;
            }
            self.carry.escaped = byte == b'\\' && !self.carry.escaped;
            if self.key.len() <= MAX_KEY {
                self.key.push(byte);
            }
        }
        rest.len()
    }

    fn record(
        &mut self,
        rest: &[u8],
        text: &mut Vec<u8>,
        ends: &mut Vec<usize>,
    ) -> Result<usize, Broken> {
        let mut outliner = self.outliner.take();
        let (taken, ended) = match &mut outliner {
            None => self.pass(rest, |_, _, _| {}),
            Some(outliner) => self.pass(rest, |block, bytes, length| {
                outliner.read(block, bytes, length);
            }),
        };
        self.outliner = outliner;
        make_room(text, taken);
        text.extend_from_slice(&rest[..taken]);
        let start = ends.last().copied().unwrap_or(0);
        if text.len() - start > MAX_RECORD {
            return Err(Broken::TooLong(self.bytes));
        }
        if ended {
            // white space after a number or a word is not part of it
            while text.len() > start && text[text.len() - 1].is_ascii_whitespace() {
                text.pop();
            }
            ends.push(text.len());
            if let Some(outliner) = &mut self.outliner {
                outliner.end_record();
            }
            self.place = ParseState::AfterRecord;
        }
        Ok(taken)
    }

    fn skip(&mut self, rest: &[u8]) -> Result<usize, Broken> {
        let (taken, ended) = self.pass(rest, |_, _, _| {});
        if let Some(at) = self.keeping {
            self.kept[at].extend_from_slice(&rest[..taken]);
            if self.kept[at].len() > MAX_MEMBER {
                return Err(Broken::LongMember(self.keep[at]));
            }
        }
        if ended {
            self.place = ParseState::AfterValue;
        }
        Ok(taken)
    }

    /// Reads on in a value: how many of the bytes belong to it, and whether it ends there. Each block is shown to
    /// `look`, with its bytes, and how many of them belong to the value.
    #[inline]
    fn pass(&mut self, rest: &[u8], mut look: impl FnMut(&Block, &[u8], usize)) -> (usize, bool) {
        for at in (0..rest.len()).step_by(SIZE) {
            let bytes = &rest[at..];
            let length = bytes.len().min(SIZE);
            let block = self.carry.block(bytes);
            let opening = block.opening & !block.strings;
            let closing = block.closing & !block.strings;
            // most blocks lie inside a record
            if self.depth > closing.count_ones() {
                self.depth += opening.count_ones();
                self.depth -= closing.count_ones();
                look(&block, bytes, length);
                continue;
            }
            let mut stops = opening | closing;
            if self.depth == 0 {
                stops |= block.quotes | block.commas & !block.strings;
            }
            while stops != 0 {
                let place = stops.trailing_zeros() as usize;
                stops &= stops - 1;
                let is_in_string = block.strings >> place & 1 == 1;
                if let Some(taken) = self.end_of_value(bytes[place], is_in_string) {
                    self.carry = Carry::default();
                    look(&block, bytes, place + taken);
                    return (at + place + taken, true);
                }
            }
            look(&block, bytes, length);
        }
        (rest.len(), false)
    }

    /// Takes a byte that may end a value; if it does, returns how many bytes of it belong to the
    /// value.
    fn end_of_value(&mut self, byte: u8, is_in_string: bool) -> Option<usize> {
        match byte {
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' if self.depth > 0 => {
                self.depth -= 1;
                return (self.depth == 0).then_some(1);
            }
            // the quote that closes a string outside any bracket
            b'"' if self.depth == 0 && !is_in_string => return Some(1),
            // the byte after a number or a word belongs to the frame
            b'}' | b']' | b',' if self.depth == 0 => return Some(0),
            _ => {}
        }
        None
    }
}

/// Splits records that come in pieces of this size; each with its outline.
#[cfg(test)]
pub(crate) fn split_with_outlines(
    records: &[u8],
    piece: usize,
) -> Vec<(Vec<u8>, Vec<OutlineItem>)> {
    let answer = [b"{\"events\":[", records, b"]}"].concat();
    let mut splitter = Splitter::new(&["events"]).with_outlines();
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    for bytes in answer.chunks(piece) {
        // what is no answer has its records up to there
        if splitter.feed(bytes, &mut text, &mut ends).is_err() {
            break;
        }
    }
    let outlines = splitter.take_outlines();
    assert_eq!(outlines.each().count(), ends.len());
    let mut start = 0;
    let records = ends.iter().zip(outlines.each()).map(|(&end, outline)| {
        let record = text[start..end].to_vec();
        start = end;
        (record, outline.to_vec())
    });
    records.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the answer in pieces of one length; returns the records and how it ended.
    fn split(answer: &[u8], piece: usize) -> (Vec<String>, Result<(), Broken>) {
        let (mut text, mut ends) = (Vec::new(), Vec::new());
        let mut splitter = Splitter::new(&["events"]);
        let fed = answer
            .chunks(piece)
            .try_for_each(|bytes| splitter.feed(bytes, &mut text, &mut ends));
        let mut start = 0;
        let records = ends.iter().map(|&end| {
            let record = String::from_utf8_lossy(&text[start..end]).into_owned();
            start = end;
            record
        });
        (records.collect(), fed.and_then(|()| splitter.finish()))
    }

    fn check(answer: &str, expected: &[&str], end: &Result<(), Broken>) {
        for piece in [1, 2, 3, 7, 1000] {
            let (records, ended) = split(answer.as_bytes(), piece);
            assert_eq!(records, expected, "{answer} in pieces of {piece}");
            assert_eq!(&ended, end, "{answer} in pieces of {piece}");
        }
    }

    #[test]
    fn records_come_out_as_they_went_in() {
        check(
            r#"{"events":[{"a":"}]\"\\"},{"b":[1,{"c":[]}]}]}"#,
            &[r#"{"a":"}]\"\\"}"#, r#"{"b":[1,{"c":[]}]}"#],
            &Ok(()),
        );
        check(
            "{\n \"events\" : [\n {\n\"a\" : 1\n} , {}\n]\n}\n",
            &["{\n\"a\" : 1\n}", "{}"],
            &Ok(()),
        );
        check(
            r#"{"events":[1 ,"x",null,[2],true]}"#,
            &["1", "\"x\"", "null", "[2]", "true"],
            &Ok(()),
        );
        check("\u{feff}{\"events\":[]}", &[], &Ok(()));
    }

    #[test]
    fn other_keys_are_passed_over_wherever_they_stand() {
        check(
            r#"{"x":{"events":[1]},"y":"events","z":3,"events":[{}],"w":[[]],"v":null}"#,
            &["{}"],
            &Ok(()),
        );
        check(r#"{"ev\u0065nts":[{}]}"#, &["{}"], &Ok(()));
        check(r#"{"a":1,"b":-2.5e3,"events":[{}]}"#, &["{}"], &Ok(()));
    }

    #[test]
    fn an_answer_without_the_array_is_not_an_empty_one() {
        check("{}", &[], &Err(Broken::Missing("events")));
        check(r#"{"events":null}"#, &[], &Err(Broken::Missing("events")));
        check(
            r#"{"events":{"a":[1]}}"#,
            &[],
            &Err(Broken::Missing("events")),
        );
        check("", &[], &Err(Broken::Empty));
        check(" \n", &[], &Err(Broken::Empty));
    }

    #[test]
    fn a_cut_is_seen_wherever_it_falls() {
        let whole = r#"{"t":"x","events":[{"a":"\"]}"},7,{"b":[1]}],"u":[2]}"#;
        for cut in 1..whole.len() {
            let (_, ended) = split(&whole.as_bytes()[..cut], 5);
            assert_eq!(ended, Err(Broken::CutOff), "cut at {cut}");
        }
        check(whole, &[r#"{"a":"\"]}"}"#, "7", r#"{"b":[1]}"#], &Ok(()));
    }

    #[test]
    fn what_is_no_frame_is_refused_and_its_place_named() {
        check("<html></html>", &[], &Err(Broken::NotJson(0, "object")));
        check(r#"["events"]"#, &[], &Err(Broken::NotJson(0, "object")));
        check(
            r#"{"events":[{}}"#,
            &["{}"],
            &Err(Broken::NotJson(13, "comma or end of the array")),
        );
        check(
            r#"{"events":[{},]}"#,
            &["{}"],
            &Err(Broken::NotJson(14, "record")),
        );
        check(r#"{"events":[]} x"#, &[], &Err(Broken::NotJson(14, "end")));
        check(r#"{"events" []}"#, &[], &Err(Broken::NotJson(10, "colon")));
    }

    /// The kept members of an answer.
    fn members(answer: &str, piece: usize) -> [Option<String>; 3] {
        let (mut text, mut ends) = (Vec::new(), Vec::new());
        let mut splitter = Splitter::keeping(&["events"], &["status", "token", "total"]);
        for bytes in answer.as_bytes().chunks(piece) {
            splitter.feed(bytes, &mut text, &mut ends).unwrap();
        }
        ["status", "token", "total"].map(|key| splitter.member(key))
    }

    #[test]
    fn small_members_are_kept_wherever_they_stand() {
        let table = [
            (
                r#"{"status":"DONE","events":[{"token":"x"}],"token":"a\u0062\"","total" : 7 }"#,
                [Some("DONE"), Some("ab\""), Some("7")],
            ),
            (
                r#"{"events":[],"token":null,"total":"","status":"A","status":"B"}"#,
                [Some("B"), None, None],
            ),
            (
                r#"{"st\u0061tus":{"a":[1]},"x":"status"}"#,
                [Some(r#"{"a":[1]}"#), None, None],
            ),
            (r#"{"token":"a","status":"DO"#, [None, Some("a"), None]),
            (r#"{"token":"a","status":tru"#, [None, Some("a"), None]),
        ];
        for (answer, expected) in table {
            for piece in [1, 2, 3, 7, 1000] {
                let kept = members(answer, piece);
                assert_eq!(
                    kept.each_ref().map(Option::as_deref),
                    expected,
                    "{answer} in pieces of {piece}"
                );
            }
        }
        let long = format!(r#"{{"token":"{}""#, "x".repeat(MAX_MEMBER));
        let mut splitter = Splitter::keeping(&[], &["token"]);
        let fed = splitter.feed(long.as_bytes(), &mut Vec::new(), &mut Vec::new());
        assert_eq!(fed, Err(Broken::LongMember("token")));
    }

    #[test]
    fn records_of_several_arrays_come_in_the_order_of_the_text_and_each_must_be_there() {
        let check = |answer: &str, expected: &[&str], end: Result<(), Broken>| {
            let (mut text, mut ends) = (Vec::new(), Vec::new());
            let mut splitter = Splitter::new(&["a", "b"]);
            splitter
                .feed(answer.as_bytes(), &mut text, &mut ends)
                .unwrap();
            assert_eq!(String::from_utf8(text).unwrap(), expected.concat());
            assert_eq!(splitter.finish(), end, "{answer}");
        };
        check(r#"{"b":[1,2],"c":[3],"a":[{}]}"#, &["1", "2", "{}"], Ok(()));
        check(r#"{"b":[1],"a":null}"#, &["1"], Err(Broken::Missing("a")));
        check(r#"{"a":[]}"#, &[], Err(Broken::Missing("b")));
    }

    #[test]
    fn bytes_that_are_no_text_pass() {
        let (records, ended) = split(b"{\"events\":[{\"a\":\"\xff\x00\n\"}]}", 2);
        assert_eq!((records.len(), ended), (1, Ok(())));
    }

    mod any {
        use super::*;
        use proptest::prelude::*;
        use serde_json::{Value, json};

        /// A JSON value of up to three levels, with every kind of character in its strings.
        fn value() -> impl Strategy<Value = Value> {
            let leaf = prop_oneof![
                Just(Value::Null),
                any::<bool>().prop_map(Value::from),
                any::<f64>().prop_map(Value::from),
                any::<String>().prop_map(Value::from),
                r#"[\\"{}\[\],:\n ]{0,90}"#.prop_map(Value::from),
            ];
            leaf.prop_recursive(3, 24, 6, |inner| {
                let key = prop_oneof![any::<String>(), Just("events".to_owned())];
                prop_oneof![
                    prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                    prop::collection::btree_map(key, inner, 0..6)
                        .prop_map(|map| map.into_iter().collect()),
                ]
            })
        }

        /// An answer with other members around the array, and the records in it.
        fn answer() -> impl Strategy<Value = (String, Vec<String>)> {
            let members = || prop::collection::vec(("[a-d]", value()), 0..4);
            let records = prop::collection::vec((value(), any::<bool>()), 0..8);
            (members(), records, members(), "[ \n\t]{0,3}").prop_map(
                |(before, records, after, gap)| {
                    let spelt = |(record, pretty): (Value, bool)| match pretty {
                        true => serde_json::to_string_pretty(&record).unwrap(),
                        false => record.to_string(),
                    };
                    let records: Vec<String> = records.into_iter().map(spelt).collect();
                    let member = |(key, value)| format!("{}{gap}:{value}", json!(key));
                    let between = format!("{gap},{gap}");
                    let array = format!("\"events\":[{gap}{}{gap}]", records.join(&between));
                    let members = before.into_iter().map(member);
                    let members = members.chain([array]).collect::<Vec<_>>();
                    let after: Vec<String> = after.into_iter().map(member).collect();
                    let text = [members, after].concat().join(&between);
                    (format!("{gap}{{{text}{gap}}}{gap}"), records)
                },
            )
        }

        proptest! {
            #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

            #[test]
            fn an_answer_gives_its_records_however_it_is_cut(
                (answer, records) in answer(),
                pieces in prop::collection::vec(1_usize..200, 1..20),
            ) {
                let (mut text, mut ends) = (Vec::new(), Vec::new());
                let mut splitter = Splitter::new(&["events"]);
                let (mut rest, mut pieces) = (answer.as_bytes(), pieces.iter().cycle());
                while !rest.is_empty() {
                    let length = pieces.next().map_or(1, |piece| rest.len().min(*piece));
                    let (piece, left) = rest.split_at(length);
                    splitter.feed(piece, &mut text, &mut ends).unwrap();
                    rest = left;
                }
                prop_assert_eq!(splitter.finish(), Ok(()));
                let starts = std::iter::once(0).chain(ends.iter().copied());
                let split: Vec<&[u8]> = starts.zip(&ends).map(|(start, end)| &text[start..*end]).collect();
                prop_assert_eq!(split, records.iter().map(String::as_bytes).collect::<Vec<_>>());
            }
        }
    }
}
