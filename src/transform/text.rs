//! A string of an event: what it means beside how it is spelt, so that a part of the one can be
//! found in the other.

use std::borrow::Cow;
use std::ops::Range;

/// A string.
#[derive(Debug)]
pub(super) struct JsonText<'a> {
    /// Without escapes. Half a character, which JSON can write and a text cannot hold, is U+FFFD.
    pub(super) meaning: Cow<'a, str>,
    /// As it stands between the quotes.
    spelt: &'a str,
    /// Where in the spelling each byte of the meaning begins, and the end; empty: at its own place.
    places: Vec<usize>,
}

impl<'a> JsonText<'a> {
    /// Reads a string, which is valid JSON and has its quotes.
    pub(super) fn of(quoted: &'a str) -> JsonText<'a> {
        let spelt = quoted.get(1..quoted.len() - 1).unwrap_or_default();
        if !spelt.contains('\\') {
            return JsonText {
                meaning: spelt.into(),
                spelt,
                places: Vec::new(),
            };
        }
        let mut meaning = String::with_capacity(spelt.len());
        let mut places = Vec::with_capacity(spelt.len() + 1);
        let mut at = 0;
        while let Some(first) = spelt[at..].chars().next() {
            let (means, length) = match first {
                '\\' => escape(&spelt.as_bytes()[at..]),
                _ => (first, first.len_utf8()),
            };
            meaning.push(means);
            places.resize(meaning.len(), at);
            at += length;
        }
        places.push(at);
        JsonText {
            meaning: meaning.into(),
            spelt,
            places,
        }
    }

    /// How a part of the meaning is spelt.
    pub(super) fn spelling(&self, part: Range<usize>) -> &'a str {
        let place = |at: usize| self.places.get(at).copied().unwrap_or(at);
        &self.spelt[place(part.start)..place(part.end)]
    }
}

/// What the escape at the start of `text` means, and how long it is.
fn escape(text: &[u8]) -> (char, usize) {
    let means = match text.get(1) {
        Some(b'u') => return code(text),
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(&byte) => char::from(byte),
        None => char::REPLACEMENT_CHARACTER,
    };
    (means, 2)
}

/// The same for one with a number; a character beyond the first 65536 is two of them.
fn code(text: &[u8]) -> (char, usize) {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let units = [unit(0), unit(6)].into_iter().map_while(|unit| unit);
    match char::decode_utf16(units).next() {
        Some(Ok(means)) => (means, 6 * means.len_utf16()),
        _ => (char::REPLACEMENT_CHARACTER, 6),
    }
}
