//! `transform` prepares an event for delivery: it filters, redacts, puts the event on one line and
//! appends the configured fields.
//!
//! Pure, and compiled once from the configuration. Bytes that need no change pass through
//! unchanged: an event is evidence. Where there are rules, an event that is not valid JSON is
//! quarantined, since nobody can say what it contains.

mod find;
mod redact;
mod rule;
mod text;

use std::borrow::Cow;

use find::{Match, find};
use redact::{JsonKind, Redactor};
pub use rule::{Action, Path, Pattern, Replacement, Rule};
use text::JsonText;

use crate::digest::{Pseudonyms, is_too_complex};
use crate::pipeline::batch::{LARGE, make_room};

/// Most bytes by which a record grows on its way.
const MOST_GROWTH: usize = 8 * 1024 * 1024;
/// Longest copy of a record that is made besides what is written.
const MOST_COPY: usize = 8 * 1024 * 1024;
/// Most bytes by which a control character grows when it is escaped.
const ESCAPED: usize = 6;

/// What to do to each event.
#[derive(Debug, Default)]
pub struct Transform {
    rules: Vec<Rule>,
    /// Makes the pseudonyms of `hash` rules.
    key: Option<Pseudonyms>,
    /// Members to append before the last brace, from the comma on; empty for none.
    append: Vec<u8>,
}

/// What happens to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is delivered.
    Emit,
    /// A filter drops it.
    Filtered,
    /// It is no object, or would take too much memory; or there are rules, and it is not valid JSON.
    /// With the reason.
    Quarantine(&'static str),
}

/// How often a rule was tried, and whether it ever matched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RuleStats {
    /// How many events it was tried on, up to the first match.
    pub(crate) tried: u64,
    /// Whether it ever matched: a filter once its path led to a value, a redaction once it hid
    /// something.
    pub(crate) matched: bool,
}

impl Transform {
    /// Applies these rules. Rules that make pseudonyms need the `key`; without it they mask.
    #[must_use]
    pub fn following(rules: Vec<Rule>, key: Option<Pseudonyms>) -> Transform {
        Transform {
            rules,
            key,
            append: Vec::new(),
        }
    }

    /// Also appends these string members to each event that is an object.
    #[must_use]
    pub fn appending<'a>(self, members: impl IntoIterator<Item = (&'a str, &'a str)>) -> Transform {
        let mut append = Vec::new();
        for (key, value) in members {
            for (before, text) in [(b',', key), (b':', value)] {
                append.push(before);
                append.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
            }
        }
        Transform { append, ..self }
    }

    /// Appends a record to `out`, if it is to be delivered. [`Record::is_plain`] says what `is_plain` means. `stats` has
    /// one entry per rule.
    ///
    /// [`Record::is_plain`]: crate::pipeline::batch::Record::is_plain
    pub fn write(
        &self,
        record: &[u8],
        is_plain: bool,
        out: &mut Vec<u8>,
        stats: &mut [RuleStats],
    ) -> Outcome {
        let start = out.len();
        if let Some(why) = self.unfit(record) {
            return Outcome::Quarantine(why);
        }
        make_room(out, self.most_written(record));
        if self.rules.is_empty() && is_plain {
            out.extend_from_slice(record);
        } else if self.rules.is_empty() {
            // a lossy conversion reads byte by byte, so it is only for what needs one
            match std::str::from_utf8(record) {
                Ok(text) => put_on_one_line(text, out),
                Err(_) => put_on_one_line(&String::from_utf8_lossy(record), out),
            }
        } else {
            let outcome = self.follow(record, is_plain, out, stats);
            if outcome != Outcome::Emit {
                out.truncate(start);
                return outcome;
            }
        }
        self.append(start, out);
        Outcome::Emit
    }

    /// Why a record cannot be delivered, if it cannot.
    ///
    /// It must be an object: nothing else from the services is an event. Its memory, with what is
    /// written for it, must be at most twice its size and 16 MiB.
    fn unfit(&self, record: &[u8]) -> Option<&'static str> {
        let text = record.strip_prefix(b"\xef\xbb\xbf").unwrap_or(record);
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Some("it is not a JSON object");
        }
        if is_too_complex(record) {
            return Some("it has too many parts");
        }
        // whatever a small record has, it takes little memory
        if record.len() < LARGE {
            return None;
        }
        let growth = ESCAPED * record.iter().filter(|byte| **byte < b' ').count();
        if growth > MOST_GROWTH {
            Some("it has too many control characters")
        } else if as_utf8(record).is_some_and(|length| length > MOST_COPY) {
            Some("it is too long, and not UTF-8")
        } else if growth > 0 && !self.rules.is_empty() && record.len() + growth > MOST_COPY {
            Some("it is too long for the rules, and not on one line")
        } else {
            None
        }
    }

    /// How many bytes are written for a record, about; most are equal to it.
    fn most_written(&self, record: &[u8]) -> usize {
        let growth = if record.len() < LARGE { 0 } else { MOST_GROWTH };
        record.len() + growth + self.append.len()
    }

    /// Appends the record as the rules allow.
    fn follow(
        &self,
        record: &[u8],
        is_plain: bool,
        out: &mut Vec<u8>,
        stats: &mut [RuleStats],
    ) -> Outcome {
        let Ok(record) = std::str::from_utf8(record) else {
            return Outcome::Quarantine("it is not UTF-8");
        };
        let event = match is_plain {
            true => record.into(),
            false => in_one_line(record),
        };
        let mut matches = match find(&event, &self.rules) {
            Ok(matches) => matches,
            Err(error) if error.is_eof() => return Outcome::Quarantine("it is cut off"),
            Err(_) => return Outcome::Quarantine("it is not JSON"),
        };
        let goes = match self.admits(&matches, stats) {
            Ok(goes) => goes,
            Err(why) => return Outcome::Quarantine(why),
        };
        let hides = |number: usize| mark(stats, number);
        if goes {
            matches.retain(|matches| !self.rules[matches.rule].is_filter());
            let (rules, key) = (&*self.rules, self.key.as_ref());
            let redactor = Redactor { rules, key };
            if let Err(why) = redactor.write(&event, &matches, out, hides) {
                return Outcome::Quarantine(why);
            }
        }
        for (stat, rule) in stats.iter_mut().zip(&self.rules) {
            let is_tried = !stat.matched && (goes || rule.is_filter());
            stat.tried = stat.tried.saturating_add(is_tried.into());
        }
        match goes {
            true => Outcome::Emit,
            false => Outcome::Filtered,
        }
    }

    /// Whether the filters let an event pass.
    ///
    /// Without a pattern a filter matches any value but null; with one, a string, number or boolean
    /// that the pattern matches. It never looks inside objects and arrays.
    ///
    /// # Errors
    /// When that would take too much memory.
    fn admits(&self, matches: &[Match<'_>], stats: &mut [RuleStats]) -> Result<bool, &'static str> {
        let mut kept = self.rules.iter().all(|rule| rule.action != Action::Keep);
        let mut dropped = false;
        for Match { rule, value } in matches {
            let (number, rule) = (*rule, &self.rules[*rule]);
            if !rule.is_filter() {
                continue;
            }
            let is_match = match (&rule.pattern, JsonKind::of(value)) {
                // the path is too short; unmarked, the summary names the rule as never matched
                (Some(_), JsonKind::Object | JsonKind::Array) => continue,
                (_, JsonKind::Null) => false,
                (None, _) => true,
                (Some(pattern), JsonKind::Text) => pattern.is_in(&JsonText::of(value)?.meaning),
                (Some(pattern), _) => pattern.is_in(value),
            };
            mark(stats, number);
            kept |= is_match && rule.action == Action::Keep;
            dropped |= is_match && rule.action == Action::Drop;
        }
        Ok(kept && !dropped)
    }

    fn append(&self, start: usize, out: &mut Vec<u8>) {
        if self.append.is_empty() || out[start..].last() != Some(&b'}') {
            return;
        }
        out.pop();
        let inside = out[start..]
            .iter()
            .rev()
            .find(|byte| !byte.is_ascii_whitespace());
        let comma = usize::from(inside == Some(&b'{'));
        out.extend_from_slice(&self.append[comma..]);
        out.push(b'}');
    }
}

fn mark(stats: &mut [RuleStats], number: usize) {
    if let Some(stat) = stats.get_mut(number) {
        stat.matched = true;
    }
}

/// How long a record that is not UTF-8 becomes when it is made so.
fn as_utf8(record: &[u8]) -> Option<usize> {
    let chunks = record.utf8_chunks();
    let length = |chunk: std::str::Utf8Chunk<'_>| match chunk.invalid() {
        [] => chunk.valid().len(),
        _ => chunk.valid().len() + char::REPLACEMENT_CHARACTER.len_utf8(),
    };
    std::str::from_utf8(record)
        .is_err()
        .then(|| chunks.map(length).sum())
}

/// Puts a record on one line.
///
/// Line breaks between tokens are dropped, or become a blank where they keep two tokens apart.
/// Control characters in strings, which JSON forbids but services send, are escaped: a receiver
/// takes a raw line break for the end of the event.
fn in_one_line(record: &str) -> Cow<'_, str> {
    if !has_controls(record) {
        return record.into();
    }
    let controls = record.bytes().filter(|byte| *byte < b' ').count();
    let mut out = Vec::new();
    make_room(&mut out, record.len() + ESCAPED * controls);
    put_on_one_line(record, &mut out);
    let text = String::from_utf8(out);
    text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
        .into()
}

fn has_controls(text: &str) -> bool {
    // no early exit, so that the compiler can vectorise it
    text.bytes()
        .fold(false, |matches, byte| matches | (byte < 0x20))
}

/// Appends a record on one line.
fn put_on_one_line(record: &str, out: &mut Vec<u8>) {
    if !has_controls(record) {
        out.extend_from_slice(record.as_bytes());
        return;
    }
    let (mut in_string, mut escaped, mut after_word) = (false, false, false);
    let is_word = |c: char| c.is_alphanumeric() || "+-.".contains(c);
    let mut rest = record.chars();
    while let Some(character) = rest.next() {
        if character < ' ' {
            let code = u32::from(character);
            match character {
                // after a backslash the result is another escape, but it stays on one line
                _ if escaped => out.extend_from_slice(format!("\\\\u{code:04x}").as_bytes()),
                _ if in_string => out.extend_from_slice(format!("\\u{code:04x}").as_bytes()),
                '\t' => out.push(b'\t'),
                '\n' | '\r' if !after_word || !rest.as_str().starts_with(is_word) => continue,
                _ => out.push(b' '),
            }
            after_word = escaped || in_string;
            escaped = false;
            continue;
        }
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        after_word = is_word(character);
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = in_string,
            '"' => in_string = !in_string,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
