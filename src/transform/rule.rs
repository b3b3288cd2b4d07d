//! A rule: which values of an event it is about, and what becomes of them or of the event.

use std::fmt;

use regex::{Regex, RegexBuilder};

use crate::digest::Hasher;
use crate::pipeline::batch::Digest;

/// The longest path, far below the nesting at which a JSON reader gives up.
const MAX_STEPS: usize = 64;
/// A pattern takes at most so much memory once compiled, in bytes.
const MAX_PATTERN: usize = 1 << 20;
/// And what it remembers of its own work so much.
const MAX_CACHE: usize = 1 << 18;
/// How deep groups may stand in a pattern.
const MAX_GROUPS: u32 = 64;
/// What stands for a text that is hidden, as the Devo collectors write it.
pub(super) const HIDDEN: &str = "****SANITIZED****";

/// One rule of a service.
#[derive(Debug, Clone)]
pub struct Rule {
    /// What it does.
    pub action: Action,
    /// Which values it is about.
    pub path: Path,
    /// Only what matches in them; absent: the whole value, whatever it is.
    pub pattern: Option<Pattern>,
}

/// What becomes of an event or a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Where any rule keeps, events that none of them matches are dropped.
    Keep,
    /// The event is dropped.
    Drop,
    /// A mask of the same type takes the value's place.
    Mask,
    /// A pseudonym takes its place.
    Hash,
    /// This takes its place.
    Replace(Replacement),
}

/// A scalar that takes the place of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// Its JSON.
    pub(super) whole: String,
    /// The same within a string, without quotes.
    pub(super) inside: String,
}

impl Replacement {
    /// A text.
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
    /// What a state knows it by: another path or pattern is another rule.
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

    /// Whether it is about whole events.
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
    /// Table and path. The pattern is not shown: it may be what is to be hidden.
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
    /// The member of an object with this key; each of them, where there are several.
    Key(String),
    /// Every member of an object, every element of an array.
    Any,
}

impl Path {
    /// From keys with dots between them; `*` stands for every key or element.
    ///
    /// # Errors
    /// What it must be instead.
    pub fn dotted(text: &str) -> Result<Path, String> {
        Path::of(text.split('.'))
    }

    /// From a list of keys, in which a dot is nothing special.
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

    /// How many steps it takes.
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

/// A regular expression. It cannot be printed, for it may be what is to be hidden.
#[derive(Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles one, with limits on what it may take: matching time is linear in any case.
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
                // the text stands before the last line
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

    /// Where it matches in a text, as byte ranges; what is empty hides nothing.
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
