//! What happens to an event on its way out: filters decide whether it goes, what must not leave the
//! house is replaced, it is made one line, and what was configured is appended to it. Compiled once
//! from the configuration; pure.
//!
//! Bytes that need nothing pass through unchanged: an event is evidence. Where there are rules, an
//! event that cannot be read as JSON does not go out, since nobody can say what is in it.

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
    /// For rules that make pseudonyms.
    key: Option<Pseudonyms>,
    /// Members to append before the last brace, from the comma on; empty: none.
    append: Vec<u8>,
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It goes out.
    Emit,
    /// A filter drops it.
    Filtered,
    /// There are rules, and it cannot be read as JSON; with what is wrong.
    Quarantine(&'static str),
}

/// How a rule has fitted the events so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RuleStats {
    /// How many events it was tried on, up to the first that it matched.
    pub(crate) tried: u64,
    /// Whether it ever matched: the path led to something, and what was to be replaced there was.
    pub(crate) matched: bool,
}

impl Transform {
    /// Follows these rules; those that make pseudonyms need the `key`, without it they mask.
    #[must_use]
    pub fn following(rules: Vec<Rule>, key: Option<Pseudonyms>) -> Transform {
        Transform {
            rules,
            key,
            append: Vec::new(),
        }
    }

    /// Appends these string members as well to each event that is an object.
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

    /// Adds a record to a batch on its way out, if it goes. `stats` has one for each rule.
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

    /// Adds the record as far as the rules let it.
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

    /// Whether the filters let an event go. They match by what their path leads to: a value other
    /// than null, or, with a pattern, one that it is in; in the parts of objects and arrays nothing
    /// is looked for.
    fn admits(&self, matches: &[Match<'_>], stats: &mut [RuleStats]) -> bool {
        let mut kept = self.rules.iter().all(|rule| rule.action != Action::Keep);
        let mut dropped = false;
        for Match { rule, value } in matches {
            let (number, rule) = (*rule, &self.rules[*rule]);
            if !rule.is_filter() {
                continue;
            }
            let is_match = match (&rule.pattern, JsonKind::of(value)) {
                // a longer path was meant, and the summary is to say so
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

/// Line breaks between tokens are dropped, but for one that keeps two of them apart; control characters inside of strings, which JSON
/// does not allow but services send, are escaped. A receiver takes a raw one for the end.
fn in_one_line(record: &str) -> Cow<'_, str> {
    // to the end, whatever is found: so it is done for many bytes at once
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
                // after a backslash the pair reads as an escape of another kind, but stays one line
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
