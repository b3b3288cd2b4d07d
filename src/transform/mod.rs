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

use crate::digest::Pseudonyms;

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
    /// There are rules, and the event is not valid JSON; with the reason.
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

    /// Appends a record to `out`, if it is to be delivered. `stats` has one entry per rule.
    pub fn write(&self, record: &[u8], out: &mut Vec<u8>, stats: &mut [RuleStats]) -> Outcome {
        let start = out.len();
        if self.rules.is_empty() {
            match std::str::from_utf8(record) {
                Ok(record) => out.extend_from_slice(in_one_line(record).as_bytes()),
                Err(_) => {
                    let replaced = String::from_utf8_lossy(record);
                    out.extend_from_slice(in_one_line(&replaced).as_bytes());
                }
            }
        } else {
            let outcome = self.follow(record, out, stats);
            if outcome != Outcome::Emit {
                return outcome;
            }
        }
        self.append(start, out);
        Outcome::Emit
    }

    /// Appends the record as the rules allow.
    fn follow(&self, record: &[u8], out: &mut Vec<u8>, stats: &mut [RuleStats]) -> Outcome {
        let Ok(record) = std::str::from_utf8(record) else {
            return Outcome::Quarantine("it is not UTF-8");
        };
        let event = in_one_line(record);
        let mut matches = match find(&event, &self.rules) {
            Ok(matches) => matches,
            Err(error) if error.is_eof() => return Outcome::Quarantine("it is cut off"),
            Err(_) => return Outcome::Quarantine("it is not JSON"),
        };
        let goes = self.admits(&matches, stats);
        let hides = |number: usize| mark(stats, number);
        if goes {
            matches.retain(|matches| !self.rules[matches.rule].is_filter());
            let (rules, key) = (&*self.rules, self.key.as_ref());
            Redactor { rules, key }.write(&event, &matches, out, hides);
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
    fn admits(&self, matches: &[Match<'_>], stats: &mut [RuleStats]) -> bool {
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
                (Some(pattern), JsonKind::Text) => pattern.is_in(&JsonText::of(value).meaning),
                (Some(pattern), _) => pattern.is_in(value),
            };
            mark(stats, number);
            kept |= is_match && rule.action == Action::Keep;
            dropped |= is_match && rule.action == Action::Drop;
        }
        kept && !dropped
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

/// Puts a record on one line.
///
/// Line breaks between tokens are dropped, or become a blank where they keep two tokens apart.
/// Control characters in strings, which JSON forbids but services send, are escaped: a receiver
/// takes a raw line break for the end of the event.
fn in_one_line(record: &str) -> Cow<'_, str> {
    // no early exit, so that the compiler can vectorise it
    if !record
        .bytes()
        .fold(false, |matches, byte| matches | (byte < 0x20))
    {
        return record.into();
    }
    let mut out = String::with_capacity(record.len() + 64);
    let (mut in_string, mut escaped) = (false, false);
    let is_word = |c: char| c.is_alphanumeric() || "+-.".contains(c);
    let mut rest = record.chars();
    while let Some(character) = rest.next() {
        if character < ' ' {
            let code = u32::from(character);
            match character {
                // after a backslash the result is another escape, but it stays on one line
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
    out.into()
}

#[cfg(test)]
mod tests;
