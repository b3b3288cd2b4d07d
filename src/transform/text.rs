//! `JsonText` maps each part of a string's meaning to its spelling in the event.

use std::borrow::Cow;
use std::ops::Range;

/// Longest string that rules look into, in bytes.
const MAX_TEXT: usize = 8 * 1024 * 1024;
/// The same for a string with escapes, which takes six times its size.
const MAX_ESCAPED: usize = 1024 * 1024;

/// A JSON string.
#[derive(Debug)]
pub(super) struct JsonText<'a> {
    /// Without escapes. A lone surrogate, which a `str` cannot hold, becomes U+FFFD.
    pub(super) meaning: Cow<'a, str>,
    /// The text between the quotes.
    spelt: &'a str,
    /// Where each byte of the meaning begins in the spelling, and the end; empty if both are equal.
    places: Vec<u32>,
}

impl<'a> JsonText<'a> {
    /// Reads a string, which must be valid JSON with its quotes.
    ///
    /// # Errors
    /// When it is too long to look into.
    pub(super) fn of(quoted: &'a str) -> Result<JsonText<'a>, &'static str> {
        const TOO_LONG: &str = "a string in it is too long for the rules";
        let spelt = quoted.get(1..quoted.len() - 1).unwrap_or_default();
        if spelt.len() > MAX_TEXT {
            return Err(TOO_LONG);
        }
        if !spelt.contains('\\') {
            return Ok(JsonText {
                meaning: spelt.into(),
                spelt,
                places: Vec::new(),
            });
        }
        if spelt.len() > MAX_ESCAPED {
            return Err(TOO_LONG);
        }
        let mut meaning = String::with_capacity(spelt.len());
        let mut places = Vec::with_capacity(spelt.len() + 1);
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let mut at = 0;
        while let Some(first) = spelt[at..].chars().next() {
            let (means, length) = match first {
                '\\' => escape(&spelt.as_bytes()[at..]),
                _ => (first, first.len_utf8()),
            };
            meaning.push(means);
            places.resize(meaning.len(), place(at));
            at += length;
        }
        places.push(place(at));
        Ok(JsonText {
            meaning: meaning.into(),
            spelt,
            places,
        })
    }

    /// The spelling of a part of the meaning.
    pub(super) fn spelling(&self, part: Range<usize>) -> &'a str {
        let place = |at: usize| self.places.get(at).map_or(at, |place| *place as usize);
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
