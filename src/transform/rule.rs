//! `Rule` says which values of an event it covers, and what happens to them or to the event.

use std::fmt;

use regex::{Regex, RegexBuilder};

use crate::digest::Hasher;
use crate::pipeline::batch::Digest;

/// Most steps of a path, far below the nesting limit of a JSON reader.
const MAX_STEPS: usize = 64;
/// Most memory for a compiled pattern, in bytes.
const MAX_PATTERN: usize = 1 << 20;
/// Most memory for the cache of a pattern, in bytes.
const MAX_CACHE: usize = 1 << 18;
/// Deepest nesting of groups in a pattern.
const MAX_GROUPS: u32 = 64;
/// The mask of a text, spelt as the Devo collectors spell it.
pub(super) const HIDDEN: &str = "****SANITIZED****";

/// One rule of a service.
#[derive(Debug, Clone)]
pub struct Rule {
    /// What it does.
    pub action: Action,
    /// Which values it covers.
    pub path: Path,
    /// Covers only the matches in them; absent: the whole value of any type.
    pub pattern: Option<Pattern>,
}

/// What happens to an event or a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Keeps events. Where a service has such rules, events that match none of them are dropped.
    Keep,
    /// Drops the event.
    Drop,
    /// Replaces the value by a mask of the same type.
    Mask,
    /// Replaces the value by a pseudonym.
    Hash,
    /// Replaces the value by this one.
    Replace(Replacement),
}

/// A scalar that replaces values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// Its JSON.
    pub(super) whole: String,
    /// Its JSON inside a string: without the quotes.
    pub(super) inside: String,
}

impl Replacement {
    /// A string.
    #[must_use]
    pub fn text(text: &str) -> Replacement {
        let whole = serde_json::Value::from(text).to_string();
        let inside = whole[1..whole.len() - 1].to_owned();
        Replacement { whole, inside }
    }

    /// A number or boolean, as JSON writes it; `None` for anything else.
    #[must_use]
    pub(crate) fn scalar(json: &str) -> Option<Replacement> {
        match serde_json::from_str(json) {
            Ok(serde_json::Value::Number(_) | serde_json::Value::Bool(_)) => Some(Replacement {
                whole: json.to_owned(),
                inside: json.to_owned(),
            }),
            _ => None,
        }
    }
}

impl fmt::Display for Replacement {
    /// Its JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.whole)
    }
}

impl Rule {
    /// Identifies the rule in the state: another path or pattern is another rule.
    #[must_use]
    pub(crate) fn digest(&self) -> Digest {
        let mut hasher = Hasher::of(self.verb());
        for step in &self.path.0 {
            match step {
                PathStep::Key(key) => hasher.part(key.as_bytes()),
                PathStep::Any => hasher.part(b"*"),
            }
        }
        if let Some(Pattern(regex)) = &self.pattern {
            hasher.part(b"");
            hasher.part(regex.as_str().as_bytes());
        }
        hasher.finish()
    }

    /// Whether it covers whole events.
    #[must_use]
    pub(crate) fn is_filter(&self) -> bool {
        matches!(self.action, Action::Keep | Action::Drop)
    }

    /// The name of its table in a configuration.
    fn verb(&self) -> &'static str {
        match self.action {
            Action::Keep => "keep",
            Action::Drop => "drop",
            Action::Mask | Action::Hash | Action::Replace(_) => "obfuscate",
        }
    }
}

impl fmt::Display for Rule {
    /// Table and path. The pattern stays hidden: it may itself be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb(), self.path)?;
        match self.pattern {
            Some(_) => f.write_str(" (with its pattern)"),
            None => Ok(()),
        }
    }
}

/// Where values stand in an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<PathStep>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum PathStep {
    /// The member of an object with this key, or each of them if the key repeats.
    Key(String),
    /// Every member of an object, every element of an array.
    Any,
}

impl Path {
    /// Parses keys separated by dots; `*` stands for every key or element.
    ///
    /// # Errors
    /// What it must be instead.
    pub fn dotted(text: &str) -> Result<Path, String> {
        Path::of(text.split('.'))
    }

    /// Takes a list of keys, in which dots have no meaning.
    ///
    /// # Errors
    /// What it must be instead.
    pub(crate) fn of<'a>(keys: impl Iterator<Item = &'a str>) -> Result<Path, String> {
        let step = |key| match key {
            "*" => PathStep::Any,
            _ => PathStep::Key(String::from(key)),
        };
        let steps: Vec<PathStep> = keys.map(step).collect();
        match steps.len() {
            0 => Err("must have a key".into()),
            _ if steps.contains(&PathStep::Key(String::new())) => {
                Err("must not have an empty key".into())
            }
            1..=MAX_STEPS => Ok(Path(steps)),
            _ => Err(format!("must have at most {MAX_STEPS} keys")),
        }
    }

    /// The number of steps.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the step after `steps` leads to the member with this key.
    pub(super) fn goes_on_with(&self, steps: usize, key: &str) -> bool {
        match self.0.get(steps) {
            Some(PathStep::Key(wanted)) => wanted == key,
            Some(PathStep::Any) => true,
            None => false,
        }
    }

    /// Whether the step after `steps` leads to every element.
    pub(super) fn goes_on_with_all(&self, steps: usize) -> bool {
        self.0.get(steps) == Some(&PathStep::Any)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            f.write_str(if number > 0 { "." } else { "" })?;
            match step {
                PathStep::Any => f.write_str("*")?,
                PathStep::Key(key) if key.contains(['.', '"', '*', ' ']) => {
                    write!(f, "{key:?}")?;
                }
                PathStep::Key(key) => f.write_str(key)?,
            }
        }
        Ok(())
    }
}

/// A regular expression. It cannot be printed: it may itself be secret.
#[derive(Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern within the limits; matching time is linear in any case.
    ///
    /// # Errors
    /// What it must be instead; never with any of the text.
    pub fn new(text: &str) -> Result<Pattern, String> {
        let compiled = RegexBuilder::new(text)
            .size_limit(MAX_PATTERN)
            .dfa_size_limit(MAX_CACHE)
            .nest_limit(MAX_GROUPS)
            .build();
        match compiled {
            Ok(regex) => Ok(Pattern(regex)),
            Err(regex::Error::CompiledTooBig(_)) => Err(
                "must be shorter: it is too large once compiled; \\w, \\d and \\s are small as (?-u:\\w)"
                    .into(),
            ),
            Err(error) => {
                // the error quotes the pattern before its last line
                let said = error.to_string();
                let why = said.rsplit_once("\nerror: ").map_or("", |(_, why)| why);
                match why.is_empty() || why.contains('\n') {
                    true => Err("must be a regular expression".into()),
                    false => Err(format!("must be a regular expression: {why}")),
                }
            }
        }
    }

    /// Whether it matches anywhere in a text.
    pub(super) fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// The byte ranges that it matches in a text. Empty matches are left out: they hide nothing.
    pub(super) fn matches(&self, text: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
        let matches = self.0.find_iter(text).map(|matches| matches.range());
        matches.filter(|range| !range.is_empty())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pattern(..)")
    }
}
