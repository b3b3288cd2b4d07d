//! `Node` is a value of their configuration, in YAML or JSON, with its line.
//!
//! Texts stay as they are written, so that a password such as `0123` or `1e5` is no number. Only this
//! file names the crate that reads YAML; JSON is YAML, too. Anchors and aliases are refused: the
//! collectors' documents have none, and a few lines of them can stand for more than any memory holds.

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::config::ConfigError;
use crate::error::Exit;
use crate::human::one_line;

/// Largest number of nodes in a file.
const MAX_NODES: usize = 100_000;
/// Deepest nesting; the collectors' documents have ten.
const MAX_DEPTH: usize = 40;

/// A value and the line on which it begins.
pub(super) struct Node {
    /// From 1.
    pub(super) line: usize,
    pub(super) value: NodeValue,
}

/// A value. It cannot be printed: it may be a secret.
pub(super) enum NodeValue {
    /// Nothing, or a null.
    Empty,
    /// Anything else that is no list and no map.
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// A text as it is written.
pub(super) struct Scalar {
    pub(super) text: String,
    /// Whether it has no quotes, so that it may be a number or a boolean.
    pub(super) is_plain: bool,
}

impl Node {
    /// The value of a key; nothing where it is empty.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let mut entries = self.entries().iter();
        let (_, value) = entries.find(|(name, _)| name == key)?;
        (!matches!(value.value, NodeValue::Empty)).then_some(value)
    }

    /// The keys and values of a map; none of anything else.
    pub(super) fn entries(&self) -> &[(String, Node)] {
        match &self.value {
            NodeValue::Map(entries) => entries,
            _ => &[],
        }
    }

    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            NodeValue::Empty => "nothing",
            NodeValue::Scalar(_) => "a single value",
            NodeValue::List(_) => "a list",
            NodeValue::Map(_) => "a map",
        }
    }
}

/// An error at a line. Their names may stand in it, so it is put on one line.
pub(super) fn fault(
    line: usize,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> ConfigError {
    ConfigError {
        line,
        column: 1,
        exit: Exit::Config,
        message: one_line(&message.into()),
        hint: one_line(&hint.into()),
    }
}

/// A list or map that is being read, with the key that waits for its value.
struct OpenNode {
    node: Node,
    key: Option<String>,
}

/// Reads YAML or JSON.
///
/// # Errors
/// The first thing that is wrong, without any of the text.
pub(super) fn parse(text: &str) -> Result<Node, ConfigError> {
    let mut open: Vec<OpenNode> = Vec::new();
    let mut root: Option<Node> = None;
    let mut count = 0;
    // what ends with the text may be told on a line behind it
    let last = lines(text);
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let line = error.marker().line().min(last);
            let hint = "compare the line and the one before with the examples of the collector";
            fault(line, "this is neither YAML nor JSON", hint)
        })?;
        let line = span.start.line().min(last);
        let value = match event {
            Event::Scalar(text, style, ..) => scalar(&text, style),
            Event::SequenceStart(..) => NodeValue::List(Vec::new()),
            Event::MappingStart(..) => NodeValue::Map(Vec::new()),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(done) = open.pop() {
                    add(&mut open, &mut root, done.node)?;
                }
                continue;
            }
            Event::Alias(_) => {
                let hint = "write the value itself in the place of the alias";
                return Err(fault(line, "an alias (*NAME) is not taken", hint));
            }
            Event::DocumentStart(_) if root.is_some() => {
                return Err(fault(
                    line,
                    "a second document begins",
                    "keep one in the file",
                ));
            }
            _ => continue,
        };
        count += 1;
        if count > MAX_NODES || open.len() >= MAX_DEPTH {
            let said = "this is more than any configuration of a collector holds";
            return Err(fault(line, said, "name the collector's config.yaml"));
        }
        let node = Node { line, value };
        match node.value {
            NodeValue::List(_) | NodeValue::Map(_) => open.push(OpenNode { node, key: None }),
            _ => add(&mut open, &mut root, node)?,
        }
    }
    Ok(root.unwrap_or(Node {
        line: 1,
        value: NodeValue::Empty,
    }))
}

/// How many lines a text has, by the breaks of YAML.
fn lines(text: &str) -> usize {
    let text = text.trim_end().replace("\r\n", "\n");
    text.split(['\n', '\r']).count()
}

fn scalar(text: &str, style: ScalarStyle) -> NodeValue {
    let is_plain = style == ScalarStyle::Plain;
    match text {
        "" | "~" | "null" | "Null" | "NULL" if is_plain => NodeValue::Empty,
        _ => NodeValue::Scalar(Scalar {
            text: text.to_owned(),
            is_plain,
        }),
    }
}

/// Puts a node where it belongs: it is a key, a value, an item or the whole.
fn add(open: &mut [OpenNode], root: &mut Option<Node>, node: Node) -> Result<(), ConfigError> {
    let Some(parent) = open.last_mut() else {
        *root = Some(node);
        return Ok(());
    };
    match (&mut parent.node.value, parent.key.take()) {
        (NodeValue::List(items), _) => items.push(node),
        (NodeValue::Map(entries), Some(key)) => entries.push((key, node)),
        (NodeValue::Map(entries), None) => match node.value {
            NodeValue::Scalar(Scalar { text, .. }) => {
                if entries.iter().any(|(key, _)| *key == text) {
                    let said = "this key stands twice in its map";
                    return Err(fault(node.line, said, "keep one of the two"));
                }
                parent.key = Some(text);
            }
            _ => return Err(fault(node.line, "a key is no text", "put it in quotes")),
        },
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As JSON, with `plain` texts without quotes.
    fn shown(node: &Node) -> String {
        match &node.value {
            NodeValue::Empty => "null".into(),
            NodeValue::Scalar(scalar) if scalar.is_plain => scalar.text.clone(),
            NodeValue::Scalar(scalar) => format!("{:?}", scalar.text),
            NodeValue::List(items) => {
                format!(
                    "[{}]",
                    items.iter().map(shown).collect::<Vec<_>>().join(" ")
                )
            }
            NodeValue::Map(entries) => {
                let entries = entries
                    .iter()
                    .map(|(key, value)| format!("{key}={}", shown(value)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(" "))
            }
        }
    }

    fn said(text: &str) -> String {
        match parse(text) {
            Ok(node) => shown(&node),
            Err(fault) => format!("{}: {}", fault.line, fault.message),
        }
    }

    #[test]
    fn yaml_and_json_become_the_same_and_texts_stay_as_they_are_written() {
        for (text, wanted) in [
            ("a: 0123\nb: 1e5\nc: yes\n", "{a=0123 b=1e5 c=yes}"),
            ("a: \"x\" # said\nb: 'it''s'\n", "{a=\"x\" b=\"it's\"}"),
            (
                "a:\nb: ~\nc: null\nd: \"\"\n",
                "{a=null b=null c=null d=\"\"}",
            ),
            ("a:\n  - 1\n  - b: 2\n", "{a=[1 {b=2}]}"),
            ("id: <short_unique_id>\n", "{id=<short_unique_id>}"),
            ("a: 2026-11-26T00:00:00Z\n", "{a=2026-11-26T00:00:00Z}"),
            (
                "{\n\t\"a\": {\n\t\t\"b\": [1, \"2\", true, null]\n\t}\n}\n",
                "{a={b=[1 \"2\" true null]}}",
            ),
            (
                "{\"url\": \"https:\\/\\/a\\u00e9\"}",
                "{url=\"https://aé\"}",
            ),
            ("{\"debug\": <debug_status>}", "{debug=<debug_status>}"),
            ("# nothing\n", "null"),
            ("", "null"),
            ("text", "text"),
        ] {
            assert_eq!(said(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_odd_is_refused_with_its_line_and_nothing_of_it() {
        let deep = "- ".repeat(100) + "a";
        let deep_flow = "[".repeat(100_000);
        let wide = "- a\n".repeat(MAX_NODES + 1);
        for (text, wanted) in [
            ("a: 1\nb: 2\na: 3\n", "3: this key stands twice in its map"),
            (
                "{\"a\": 1, \"a\": 2}",
                "1: this key stands twice in its map",
            ),
            ("a: &x [1]\nb: *x\n", "2: an alias (*NAME) is not taken"),
            ("a: 1\n---\nb: 2\n", "2: a second document begins"),
            ("? [a]\n: 1\n", "1: a key is no text"),
            ("a:\n  b:\n?\n", "3: a key is no text"),
            ("a: \"s3cret\nb: 1\n", "1: this is neither YAML nor JSON"),
            ("a: [1, 2\n", "1: this is neither YAML nor JSON"),
            ("a: 1\nb", "2: this is neither YAML nor JSON"),
            ("a: 1\r\nb: 2\rc", "3: this is neither YAML nor JSON"),
            (
                &deep,
                "1: this is more than any configuration of a collector holds",
            ),
            (&deep_flow, "1: this is neither YAML nor JSON"),
            (
                &wide,
                "100000: this is more than any configuration of a collector holds",
            ),
        ] {
            let said = said(text);
            assert!(!said.contains("s3cret"));
            let (line, _) = said.split_once(':').unwrap();
            // the crate tells where an unclosed text begins or ends
            match wanted.ends_with("JSON") {
                true => {
                    assert!(said.ends_with("this is neither YAML nor JSON"), "{said}");
                    assert!(line.parse::<usize>().unwrap() <= lines(text), "{said}");
                }
                false => assert_eq!(said, wanted, "line {line}"),
            }
        }
    }
}
