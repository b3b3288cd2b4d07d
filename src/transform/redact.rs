//! `redact` writes an event with the values that rules hide replaced and everything else unchanged.

use std::borrow::Cow;
use std::ops::Range;

use super::find::Match;
use super::rule::{Action, HIDDEN, Rule};
use super::text::JsonText;
use crate::digest::Pseudonyms;

/// The type of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JsonKind {
    Text,
    Number,
    Boolean,
    Null,
    Object,
    Array,
}

impl JsonKind {
    /// The type of this JSON value.
    pub(super) fn of(value: &str) -> JsonKind {
        match value.as_bytes().first() {
            Some(b'"') => JsonKind::Text,
            Some(b't' | b'f') => JsonKind::Boolean,
            Some(b'{') => JsonKind::Object,
            Some(b'[') => JsonKind::Array,
            Some(b'n') => JsonKind::Null,
            _ => JsonKind::Number,
        }
    }
}

/// Most parts of a string that rules hide.
const MAX_PARTS: usize = 64 * 1024;

/// How much of a value a rule hides.
enum Coverage {
    Nothing,
    Some(Vec<Range<usize>>),
    All,
}

/// Writes redacted events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Redactor<'r> {
    pub(super) rules: &'r [Rule],
    pub(super) key: Option<&'r Pseudonyms>,
}

impl Redactor<'_> {
    /// Appends `event` to `out` with the values in `matches` replaced; calls `hides` with the index
    /// of each rule that hid something.
    ///
    /// # Errors
    /// When that would take too much memory; `out` is to be cut back then.
    pub(super) fn write(
        self,
        event: &str,
        matches: &[Match<'_>],
        out: &mut Vec<u8>,
        mut hides: impl FnMut(usize),
    ) -> Result<(), &'static str> {
        let mut done = 0;
        // matches of the same value are adjacent
        for same in matches.chunk_by(|one, other| std::ptr::eq(one.value, other.value)) {
            let value = same[0].value;
            // the value is a slice of the event
            let start = value.as_ptr().addr() - event.as_ptr().addr();
            let replaced = self.replaced(value, same, &mut hides)?;
            // a value inside a replaced one is already hidden
            if let Some(replaced) = replaced.filter(|_| start >= done) {
                out.extend_from_slice(&event.as_bytes()[done..start]);
                out.extend_from_slice(replaced.as_bytes());
                done = start + value.len();
            }
        }
        out.extend_from_slice(&event.as_bytes()[done..]);
        Ok(())
    }

    /// The replacement of a value, if a rule hides any of it.
    fn replaced(
        self,
        value: &str,
        matches: &[Match<'_>],
        hides: &mut impl FnMut(usize),
    ) -> Result<Option<String>, &'static str> {
        let kind = JsonKind::of(value);
        let rules = || matches.iter().map(|matches| &self.rules[matches.rule]);
        let looks_inside =
            rules().any(|rule| rule.pattern.is_some() || rule.action == Action::Hash);
        let text = (kind == JsonKind::Text && looks_inside).then(|| JsonText::of(value));
        let text = text.transpose()?;
        let mut whole = None;
        let mut parts: Vec<(Range<usize>, usize)> = Vec::new();
        for number in matches.iter().map(|matches| matches.rule) {
            match self.part(&self.rules[number], value, text.as_ref()) {
                Coverage::Nothing => continue,
                Coverage::Some(ranges) => {
                    parts.extend(ranges.into_iter().map(|range| (range, number)));
                    if parts.len() > MAX_PARTS {
                        return Err("the rules match too often in one of its strings");
                    }
                }
                Coverage::All => whole = whole.or(Some(number)),
            }
            hides(number);
        }
        if let Some(number) = whole {
            return Ok(Some(self.whole(number, value, kind, text.as_ref())));
        }
        parts.sort_by_key(|(range, number)| (range.start, *number));
        let text = text.filter(|_| !parts.is_empty());
        Ok(text.map(|text| self.pieces(&text, &parts)))
    }

    /// How much of a value a rule hides.
    fn part(self, rule: &Rule, value: &str, text: Option<&JsonText<'_>>) -> Coverage {
        let Some(pattern) = &rule.pattern else {
            return Coverage::All;
        };
        match text {
            Some(text) => {
                let ranges = pattern.matches(&text.meaning).take(MAX_PARTS + 1);
                let ranges: Vec<_> = ranges.collect();
                match ranges.is_empty() {
                    true => Coverage::Nothing,
                    false => Coverage::Some(ranges),
                }
            }
            None => match JsonKind::of(value) {
                JsonKind::Null => Coverage::Nothing,
                // a partly hidden number or boolean would be another value, or not JSON
                JsonKind::Number | JsonKind::Boolean if !pattern.is_in(value) => Coverage::Nothing,
                _ => Coverage::All,
            },
        }
    }

    /// The JSON that replaces a whole value.
    fn whole(
        self,
        number: usize,
        value: &str,
        kind: JsonKind,
        text: Option<&JsonText<'_>>,
    ) -> String {
        match (&self.rules[number].action, self.key) {
            (Action::Replace(replacement), _) => replacement.whole.clone(),
            // null says nothing that needs hiding
            _ if kind == JsonKind::Null => value.to_owned(),
            (Action::Hash, Some(key)) => {
                let meaning = text.map_or(value, |text| &text.meaning);
                format!("\"{}\"", key.of(&folded(meaning, meaning)))
            }
            _ => mask(kind, value),
        }
    }

    /// The JSON of a string with parts replaced and the rest spelt as before. Where parts overlap,
    /// the first one takes all of its range and a later one the rest.
    fn pieces(self, text: &JsonText<'_>, parts: &[(Range<usize>, usize)]) -> String {
        let mut out = String::with_capacity(text.spelling(0..text.meaning.len()).len() + 2);
        out.push('"');
        let mut done = 0;
        for (range, number) in parts {
            let range = range.start.max(done)..range.end;
            if range.is_empty() {
                continue;
            }
            out.push_str(text.spelling(done..range.start));
            match (&self.rules[*number].action, self.key) {
                (Action::Replace(replacement), _) => out.push_str(&replacement.inside),
                (Action::Hash, Some(key)) => {
                    let hidden = &text.meaning[range.clone()];
                    out.push_str(&key.of(&folded(hidden, &text.meaning)));
                }
                _ => out.push_str(HIDDEN),
            }
            done = range.end;
        }
        out.push_str(text.spelling(done..text.meaning.len()));
        out.push('"');
        out
    }
}

/// Lower-cases addresses and parts of them, since they are equal in any case.
fn folded<'a>(text: &'a str, whole: &str) -> Cow<'a, str> {
    match whole.contains('@') {
        true => text.to_lowercase().into(),
        false => text.into(),
    }
}

/// A mask of the same type, spelt as the Devo collectors spell it where they have one.
fn mask(kind: JsonKind, value: &str) -> String {
    match kind {
        JsonKind::Text => format!("\"{HIDDEN}\""),
        JsonKind::Number if value.contains(['.', 'e', 'E']) => "-1.0".into(),
        JsonKind::Number => "-1".into(),
        JsonKind::Boolean => "false".into(),
        JsonKind::Object => "{}".into(),
        JsonKind::Array => "[]".into(),
        JsonKind::Null => "null".into(),
    }
}
