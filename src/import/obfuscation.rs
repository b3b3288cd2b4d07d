//! `obfuscation` turns their `obfuscation_data` into rules.
//!
//! A rule that cannot be followed stops the import: without it, what was hidden would go out.

use super::draft::Draft;
use super::node::{Node, NodeValue, Scalar};
use crate::config::quoted;
use crate::transform::{Path, Pattern};

/// Adds a rule for each entry, and for each of its patterns.
pub(super) fn obfuscation(draft: &mut Draft, table: &str, node: &Node, theirs: &str) {
    let NodeValue::List(entries) = &node.value else {
        let said = format!("{theirs}: must be a list");
        draft.fault(
            node.line,
            said,
            "compare it with the examples of the collector",
        );
        return;
    };
    let mut rules = 0;
    for (number, entry) in entries.iter().enumerate() {
        let theirs = format!("{theirs}[{number}]");
        for (key, _) in entry.entries() {
            if !["name", "value", "string_patterns"].contains(&key.as_str()) {
                let said = format!("{theirs}: has the unknown key {key}");
                draft.fault(entry.line, said, "use name, value and string_patterns");
            }
        }
        let Some(path) = path(draft, entry, &theirs) else {
            continue;
        };
        let replace = entry.get("value").and_then(|node| {
            let scalar = draft.scalar(node, &format!("{theirs}.value"))?;
            replacement(scalar)
        });
        let common = |pattern: Option<&str>| {
            let mut lines = vec![format!("path = {path}")];
            lines.extend(pattern.map(|pattern| format!("pattern = {}", quoted(pattern))));
            lines.extend(replace.iter().map(|value| format!("replace = {value}")));
            lines
        };
        let header = &format!("{table}.obfuscate");
        match entry.get("string_patterns") {
            None => {
                draft.list_table(header, common(None), entry.line);
                rules += 1;
            }
            Some(list) => {
                for pattern in patterns(draft, list, &format!("{theirs}.string_patterns")) {
                    draft.list_table(header, common(Some(pattern)), entry.line);
                    rules += 1;
                }
            }
        }
    }
    let ours = format!("{table}.obfuscate");
    draft.row(theirs, &ours, &crate::human::count(rules, "rule"));
}

/// The list of keys, as TOML.
fn path(draft: &mut Draft, entry: &Node, theirs: &str) -> Option<String> {
    let name = format!("{theirs}.name");
    let Some(node) = entry.get("name") else {
        draft.fault(
            entry.line,
            format!("{theirs}: has no name"),
            "add name, a list of keys",
        );
        return None;
    };
    let keys: Vec<String> = match &node.value {
        NodeValue::List(items) => {
            let keys = items
                .iter()
                .map(|item| draft.text(item, &name).map(str::to_owned));
            keys.collect::<Option<_>>()?
        }
        _ => vec![draft.text(node, &name)?.to_owned()],
    };
    if let Err(said) = Path::of(keys.iter().map(String::as_str)) {
        draft.fault(node.line, format!("{name}: {said}"), "write a list of keys");
        return None;
    }
    let keys: Vec<String> = keys.iter().map(quoted).collect();
    Some(format!("[{}]", keys.join(", ")))
}

/// A value in TOML; nothing for what Python holds for no value, as the collectors do.
fn replacement(scalar: &Scalar) -> Option<String> {
    let text = scalar.text.as_str();
    if !scalar.is_plain {
        return (!text.is_empty()).then(|| quoted(text));
    }
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some("true".into()),
        "false" | "no" | "off" => None,
        _ => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(0), _) => None,
            (Ok(number), _) => Some(number.to_string()),
            (Err(_), Ok(0.0)) => None,
            (Err(_), Ok(number)) if number.is_finite() => Some(format!("{number:?}")),
            _ => Some(quoted(text)),
        },
    }
}

/// The regular expressions, each of which must be one for proofpull, too.
fn patterns<'n>(draft: &mut Draft, list: &'n Node, theirs: &str) -> Vec<&'n str> {
    let NodeValue::List(items) = &list.value else {
        let said = format!("{theirs}: must be a list");
        draft.fault(list.line, said, "write a list of regular expressions");
        return Vec::new();
    };
    let mut patterns = Vec::new();
    for item in items {
        let Some(scalar) = draft.scalar(item, theirs) else {
            continue;
        };
        match Pattern::new(&scalar.text) {
            Ok(_) => patterns.push(scalar.text.as_str()),
            Err(said) => {
                let hint = "write it without look-around and back-references: proofpull's patterns are those of \
                            docs.rs/regex";
                draft.fault(item.line, format!("{theirs}: {said}"), hint);
            }
        }
    }
    patterns
}
