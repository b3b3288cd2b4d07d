//! `find` locates the values that the paths of rules lead to.
//!
//! It builds no tree: it only checks that the rest of the event is JSON. It reads nothing as a
//! number, so numbers of any size pass. Only a path makes it recurse, never the nesting of an
//! event.

use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::rule::Rule;

/// A value that the path of a rule leads to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Match<'a> {
    /// The index of the rule.
    pub(super) rule: usize,
    /// The JSON of the value, as a slice of the event.
    pub(super) value: &'a str,
}

/// Finds all matches, in the order of the event. A value that several rules lead to appears once
/// for each.
///
/// # Errors
/// When the event is not valid JSON.
pub(super) fn find<'a>(event: &'a str, rules: &[Rule]) -> serde_json::Result<Vec<Match<'a>>> {
    let mut finder = Finder {
        rules,
        ways: (0..rules.len())
            .map(|rule| Branch { rule, steps: 0 })
            .collect(),
        matches: Vec::new(),
    };
    finder.go_into(event, 0)?;
    Ok(finder.matches)
}

struct Finder<'a, 'r> {
    rules: &'r [Rule],
    /// The paths followed so far. Those for the value that is being read stand at the end.
    ways: Vec<Branch>,
    matches: Vec<Match<'a>>,
}

/// How far the path of a rule was followed.
#[derive(Debug, Clone, Copy)]
struct Branch {
    rule: usize,
    steps: usize,
}

impl<'a> Finder<'a, '_> {
    /// Reads a value that the branches from `first` on go into.
    fn go_into(&mut self, value: &'a str, first: usize) -> serde_json::Result<()> {
        let ways = first..self.ways.len();
        let mut json = serde_json::Deserializer::from_str(value);
        let inside = Inside { finder: self, ways };
        match value.trim_ascii_start().as_bytes().first() {
            Some(b'{') => json.deserialize_map(inside)?,
            Some(b'[') => json.deserialize_seq(inside)?,
            _ => {
                json.deserialize_ignored_any(IgnoredAny)?;
            }
        }
        json.end()
    }

    /// Pushes the branches that a step satisfies; returns whether there are any.
    fn step(&mut self, ways: Range<usize>, leads_on: impl Fn(&Rule, usize) -> bool) -> bool {
        let end = self.ways.len();
        for at in ways {
            let Branch { rule, steps } = self.ways[at];
            if leads_on(&self.rules[rule], steps) {
                let steps = steps + 1;
                self.ways.push(Branch { rule, steps });
            }
        }
        self.ways.len() > end
    }

    /// Handles a value that the branches from `first` on lead to, and removes them.
    fn arrive(&mut self, value: &'a str, first: usize) -> serde_json::Result<()> {
        let mut left = first;
        for at in first..self.ways.len() {
            let way = self.ways[at];
            if way.steps == self.rules[way.rule].path.len() {
                let rule = way.rule;
                self.matches.push(Match { rule, value });
            } else {
                self.ways[left] = way;
                left += 1;
            }
        }
        self.ways.truncate(left);
        if left > first && value.starts_with(['{', '[']) {
            self.go_into(value, first)?;
        }
        self.ways.truncate(first);
        Ok(())
    }
}

/// Reads the members or elements of a value.
struct Inside<'f, 'a, 'r> {
    finder: &'f mut Finder<'a, 'r>,
    ways: Range<usize>,
}

impl<'de> Visitor<'de> for Inside<'_, 'de, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Inside { finder, ways } = self;
        while let Some(leads_on) = map.next_key_seed(NextKey {
            finder: &mut *finder,
            ways: ways.clone(),
        })? {
            if leads_on {
                let value: &'de RawValue = map.next_value()?;
                finder
                    .arrive(value.get(), ways.end)
                    .map_err(A::Error::custom)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Inside { finder, ways } = self;
        loop {
            if finder.step(ways.clone(), |rule, steps| {
                rule.path.goes_on_with_all(steps)
            }) {
                let Some(value) = seq.next_element::<&'de RawValue>()? else {
                    finder.ways.truncate(ways.end);
                    return Ok(());
                };
                finder
                    .arrive(value.get(), ways.end)
                    .map_err(A::Error::custom)?;
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
    }
}

/// Reads a key, unescaped; returns whether any path continues with it.
struct NextKey<'f, 'a, 'r> {
    finder: &'f mut Finder<'a, 'r>,
    ways: Range<usize>,
}

impl<'de> DeserializeSeed<'de> for NextKey<'_, '_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NextKey<'_, '_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        let leads_on = |rule: &Rule, steps| rule.path.goes_on_with(steps, key);
        Ok(self.finder.step(self.ways, leads_on))
    }
}
