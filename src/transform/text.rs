//! `JsonText` maps each part of a string's meaning to its spelling in the event.

use std::borrow::Cow;
use std::ops::Range;

/// A JSON string.
#[derive(Debug)]
pub(super) struct JsonText<'a> {
    /// Without escapes. A lone surrogate, which a `str` cannot hold, becomes U+FFFD.
    pub(super) meaning: Cow<'a, str>,
    /// The text between the quotes.
    spelt: &'a str,
    /// Where each byte of the meaning begins in the spelling, and the end; empty if both are equal.
    places: Vec<usize>,
}

impl<'a> JsonText<'a> {
    /// Reads a string, which must be valid JSON with its quotes.
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

    /// The spelling of a part of the meaning.
    pub(super) fn spelling(&self, part: Range<usize>) -> &'a str {
        let place = |at: usize| self.places.get(at).copied().unwrap_or(at);
        &self.spelt[place(part.start)..place(part.end)]
    }
}

/// The meaning and the length of the escape at the start of `text`.
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

/// The same for a `\u` escape; characters beyond U+FFFF take two of them.
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
