//! `rules` reads the tables `obfuscate`, `keep` and `drop` of a service.

use super::table_reader::TableReader;
use super::toml::Value;
use super::value_error::{ValueError, boolean};
use crate::transform::{Action, Path, Pattern, Replacement, Rule};

const PATH: &str = "userName";
const PATTERN: &str = "[^@]+";

/// Reads the rules of a service; `has_key` says whether there is a key for pseudonyms.
pub(super) fn rules(table: &mut TableReader) -> Vec<Rule> {
    let mut rules = table.tables("obfuscate", obfuscation);
    for (key, action) in [("keep", Action::Keep), ("drop", Action::Drop)] {
        rules.extend(table.tables(key, |table| filter(table, action.clone())));
    }
    rules
}

fn obfuscation(mut table: TableReader) -> Option<Rule> {
    // the names of the Devo collectors
    table.also_called(&[
        ("name", "path"),
        ("value", "replace"),
        ("string_patterns", "pattern"),
    ]);
    let (path, pattern) = what(&mut table);
    let (at, beside) = (table.place("hash"), table.place("replace"));
    let hash = table
        .read("hash", "false", |value| boolean("hash", value))
        .unwrap_or(false);
    let replace = table.read("replace", "\"***\"", |value| replacement(&value));
    if let Some(place) = beside.filter(|_| hash) {
        let said = "replace cannot be combined with hash = true".into();
        table.fault(place, said, "keep one of the two".into());
    }
    if let Some(place) = at.filter(|_| hash && !table.context.has_pseudonym_key) {
        let said = "hash needs a key".into();
        let hint = "add a table [obfuscation] with key = { file = \"obfuscation.key\" }; create the key \
             with openssl rand -hex 32";
        table.fault(place, said, hint.into());
    }
    table.close();
    let action = match (hash, replace) {
        (true, _) => Action::Hash,
        (false, Some(replacement)) => Action::Replace(replacement),
        (false, None) => Action::Mask,
    };
    Some(Rule {
        action,
        path: path?,
        pattern,
    })
}

fn filter(mut table: TableReader, action: Action) -> Option<Rule> {
    let (path, pattern) = what(&mut table);
    table.close();
    Some(Rule {
        action,
        path: path?,
        pattern,
    })
}

/// Reads the keys that every rule has.
fn what(table: &mut TableReader) -> (Option<Path>, Option<Pattern>) {
    let example = format!("{PATH:?}");
    table.need("path", &example);
    let path = table.read("path", &example, path);
    let pattern = table.read_text("pattern", PATTERN, |text| {
        Pattern::new(text).map_err(|said| {
            let hint = "see docs.rs/regex, syntax; write it in single quotes, in which TOML leaves \
                 backslashes as they are";
            ValueError::but(said, hint)
        })
    });
    (path, pattern)
}

fn path(value: Value) -> Result<Path, ValueError> {
    const SEVERAL: &str = "\"threatsInfoMap.*.threatUrl\", or a list of keys";
    let hint = format!("write path = {SEVERAL}");
    let wrong = |said: String| ValueError::but(said, hint.clone());
    let list = match value {
        Value::Text(text) => return Path::dotted(&text).map_err(wrong),
        Value::List(list) => list,
        other => return Err(other.instead_of("a string or a list of strings")),
    };
    let mut keys = Vec::new();
    for item in list {
        match item.value {
            Value::Text(key) => keys.push(key),
            other => {
                return Err(wrong(format!(
                    "must be a list of strings, but it contains {}",
                    other.kind()
                )));
            }
        }
    }
    Path::of(keys.iter().map(String::as_str)).map_err(wrong)
}

fn replacement(value: &Value) -> Result<Replacement, ValueError> {
    let scalar = match value {
        Value::Text(text) => Some(Replacement::text(text)),
        Value::Boolean(value) => Replacement::scalar(&value.to_string()),
        Value::Number(number) => Replacement::scalar(number),
        _ => None,
    };
    scalar.ok_or_else(|| value.instead_of("a string, a JSON number, true or false"))
}
