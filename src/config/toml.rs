//! `toml` turns TOML text into keys that know their place.
//!
//! Only this file names the crate `toml`; it knows none of our keys. A line with a syntax error is
//! unreadable: it may be misread, and a name or value on it may be part of a secret. For the same
//! reason, syntax errors are described in our own words.

use std::borrow::Cow;
use std::ops::Range;

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::ConfigError;
use crate::error::Exit;

/// A place in the text. Both count from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LineCol {
    line: usize,
    column: usize,
}

impl LineCol {
    /// An error at this place.
    pub(super) fn fault(self, message: impl Into<String>, hint: impl Into<String>) -> ConfigError {
        let LineCol { line, column } = self;
        ConfigError {
            line,
            column,
            exit: Exit::Config,
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// Line and column.
    pub(super) fn line_and_column(self) -> (usize, usize) {
        (self.line, self.column)
    }

    /// Whether an error is at this place.
    pub(super) fn is_of(self, fault: &ConfigError) -> bool {
        (self.line, self.column) == (fault.line, fault.column)
    }
}

/// A value and its place. Neither can be printed: they may contain a secret.
pub(crate) struct Item {
    pub(super) place: LineCol,
    pub(super) value: Value,
}

/// A TOML value.
pub(crate) enum Value {
    Text(String),
    /// Written as JSON where possible.
    Number(String),
    Boolean(bool),
    /// A time without quotes, as it is written.
    Time(String),
    List(Vec<Item>),
    Table(Table),
    /// It has a syntax error in it or beside it, which is already reported.
    Unreadable,
}

/// A table, with its keys in the order of the file.
pub(crate) struct Table {
    pub(super) place: LineCol,
    /// Whether every key of the text was read, so that an absent key is missing.
    pub(super) whole: bool,
    pub(super) entries: Vec<TableEntry>,
}

impl Table {
    /// An empty table that reports no missing keys.
    pub(super) fn empty(place: LineCol) -> Table {
        Table {
            place,
            whole: false,
            entries: Vec::new(),
        }
    }
}

/// A key and its value.
pub(crate) struct TableEntry {
    pub(super) name: String,
    pub(super) place: LineCol,
    pub(super) item: Item,
}

impl Value {
    /// Its type, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Number(_) => "a number",
            Value::Boolean(_) => "true or false",
            Value::Time(_) => "a time",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Unreadable => "unreadable",
        }
    }
}

/// Reads TOML text. Returns what could be read, and every syntax error, at most one per line:
/// others on a line mostly follow from the first.
pub(super) fn read(text: &str) -> (Table, Vec<ConfigError>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rest = text.to_owned();
    let mut errors: Vec<(usize, &Saying)> = Vec::new();
    let table = loop {
        let (table, found) = DeTable::parse_recoverable(&rest);
        let (ends, others): (Vec<_>, Vec<_>) = found
            .iter()
            .map(located)
            .partition(|(_, said)| said.effect == Effect::Ends);
        errors.extend(&ends);
        // the crate reads nothing after such a line: remove it and read again
        let mut without = rest.clone();
        for (at, _) in &ends {
            let line = line(text, *at..*at);
            without.replace_range(line.clone(), &" ".repeat(line.len()));
        }
        if without == rest {
            errors.extend(others);
            errors.sort_by_key(|(at, _)| *at);
            break SourceText::new(text, &errors).table(table.into_inner(), 0..0);
        }
        rest = without;
    };
    let source = SourceText::new(text, &errors);
    let mut faults: Vec<ConfigError> = Vec::new();
    for (at, said) in errors {
        let place = source.place(at);
        if faults.last().is_none_or(|last| last.line != place.line) {
            faults.push(place.fault(said.message, said.hint));
        }
    }
    (table, faults)
}

/// The range of whole lines that contain a part of the text, without the last line end.
fn line(text: &str, part: Range<usize>) -> Range<usize> {
    let is_end = |byte: &u8| *byte == b'\n';
    let before = text.as_bytes().get(..part.start).unwrap_or_default();
    let after = text.as_bytes().get(part.end..).unwrap_or_default();
    let start = before.iter().rposition(is_end).map_or(0, |end| end + 1);
    let length = after.iter().position(is_end);
    start..length.map_or(text.len(), |length| part.end + length)
}

/// The text, with the starts of its lines and the places of its syntax errors.
struct SourceText<'a> {
    text: &'a str,
    lines: Vec<usize>,
    breaks: Vec<usize>,
}

impl SourceText<'_> {
    fn new<'a>(text: &'a str, errors: &[(usize, &Saying)]) -> SourceText<'a> {
        let lines = text.match_indices('\n').map(|(at, _)| at + 1);
        let breaks = errors
            .iter()
            .filter(|(_, said)| said.effect != Effect::None);
        SourceText {
            text,
            lines: std::iter::once(0).chain(lines).collect(),
            breaks: breaks.map(|(at, _)| *at).collect(),
        }
    }

    fn place(&self, at: usize) -> LineCol {
        let line = self.lines.partition_point(|start| *start <= at);
        let start = line.checked_sub(1).and_then(|line| self.lines.get(line));
        let before = start
            .and_then(|start| self.text.get(*start..at))
            .unwrap_or_default();
        LineCol {
            line,
            column: before.chars().count() + 1,
        }
    }

    fn is_broken(&self, part: Range<usize>) -> bool {
        let next = self.breaks.partition_point(|at| *at < part.start);
        self.breaks.get(next).is_some_and(|at| *at <= part.end)
    }

    fn table(&self, table: DeTable<'_>, span: Range<usize>) -> Table {
        let behind = self.text.get(span.end..).unwrap_or_default();
        let end = behind
            .find("\n[")
            .map_or(self.text.len(), |length| span.end + length);
        let mut entries: Vec<_> = table.into_iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let entries = entries
            .into_iter()
            .map(|(key, item)| self.entry(key, item))
            .collect();
        Table {
            place: self.place(span.start),
            whole: !self.is_broken(span.start..end),
            entries,
        }
    }

    fn entry(&self, key: Spanned<Cow<'_, str>>, item: Spanned<DeValue<'_>>) -> TableEntry {
        let (key, name) = (key.span(), key.into_inner().into_owned());
        let span = item.span();
        let both = key.start.min(span.start)..key.end.max(span.end);
        let item = match self.is_broken(line(self.text, both)) {
            true => Item {
                place: self.place(span.start),
                value: Value::Unreadable,
            },
            false => self.item(item),
        };
        TableEntry {
            name,
            place: self.place(key.start),
            item,
        }
    }

    fn item(&self, item: Spanned<DeValue<'_>>) -> Item {
        let span = item.span();
        let value = match item.into_inner() {
            DeValue::String(text) => Value::Text(text.into()),
            DeValue::Integer(number) => {
                let read = i128::from_str_radix(number.as_str(), number.radix());
                Value::Number(read.map_or_else(|_| number.to_string(), |read| read.to_string()))
            }
            DeValue::Float(number) => {
                let read = number.as_str().parse::<f64>();
                Value::Number(read.map_or_else(|_| number.to_string(), |read| format!("{read:?}")))
            }
            DeValue::Boolean(value) => Value::Boolean(value),
            DeValue::Datetime(_) => {
                Value::Time(self.text.get(span.clone()).unwrap_or_default().into())
            }
            DeValue::Array(list) => {
                Value::List(list.into_iter().map(|item| self.item(item)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table, span.clone())),
        };
        Item {
            place: self.place(span.start),
            value,
        }
    }
}

/// How a syntax error affects what can be read.
#[derive(PartialEq)]
enum Effect {
    /// Not at all: the key is a duplicate.
    None,
    /// Its line may be misread.
    Breaks,
    /// The crate reads nothing after it.
    Ends,
}

/// Our words for errors of the crate `toml` whose messages begin in one of these ways.
struct Saying {
    begins: &'static [&'static str],
    effect: Effect,
    message: &'static str,
    hint: &'static str,
}

const fn broken(
    begins: &'static [&'static str],
    message: &'static str,
    hint: &'static str,
) -> Saying {
    Saying {
        begins,
        effect: Effect::Breaks,
        message,
        hint,
    }
}

const NO_VALUE: Saying = broken(
    &["missing value"],
    "this key has no value",
    "write KEY = VALUE on one line, or remove the key",
);

/// The first match counts; other errors get [`OTHERWISE`].
static SAYINGS: &[Saying] = &[
    Saying {
        begins: &["duplicate key"],
        effect: Effect::None,
        message: "this key or table is defined twice",
        hint: "keep one of the two",
    },
    Saying {
        begins: &["key with no value", "missing value for key"],
        effect: Effect::Ends,
        ..NO_VALUE
    },
    NO_VALUE,
    broken(
        &["string values must be quoted"],
        "text must be in quotes",
        "write it as KEY = \"TEXT\"",
    ),
    broken(
        &["missing opening quote"],
        "text must be in quotes",
        "add the opening quote",
    ),
    broken(
        &["invalid date", "invalid time", "invalid offset"],
        "this is not a TOML time",
        "write it as KEY = \"2026-11-20T00:00:00Z\"",
    ),
    broken(
        &[
            "invalid basic string",
            "invalid literal string",
            "invalid multi-line",
        ],
        "a string is not closed, or contains a character that is not allowed",
        "close it with the quote that opens it, on the same line",
    ),
    broken(
        &["missing escaped value", "too few unicode value digits"],
        "a backslash begins an escape that TOML does not know",
        "put the text in single quotes, in which a backslash is an ordinary character",
    ),
    broken(
        &["unexpected key or value", "unexpected content"],
        "there is more on this line than a key and its value",
        "put the next key on its own line; write a backslash before a quote inside a string",
    ),
    broken(
        &["unclosed array"],
        "a list or a header is not closed",
        "close it with ], or with ]] if it begins with [[",
    ),
    broken(
        &["missing comma between array", "extra comma in array"],
        "a list has a comma too many or too few, or no closing ]",
        "write [\"A\", \"B\"]",
    ),
    broken(
        &["unclosed table"],
        "a table header is not closed",
        "close it with ]",
    ),
    broken(
        &[
            "unclosed inline table",
            "missing comma between key-value",
            "missing assignment",
            "extra comma in inline",
        ],
        "this is not a valid inline table",
        "write { KEY = VALUE, KEY = VALUE }",
    ),
    broken(
        &["unquoted keys cannot be empty"],
        "the key is missing",
        "write KEY = VALUE",
    ),
    broken(
        &["invalid unquoted key"],
        "a key has characters other than letters, digits, - and _",
        "put the key in quotes",
    ),
    broken(
        &["cannot extend value"],
        "a key with dots extends a value that is not a table",
        "move it into a table",
    ),
];

/// For errors that the table does not list.
static OTHERWISE: Saying = broken(
    &[],
    "this is not valid TOML",
    "look for a missing quote, bracket or = here and on the line before; see toml.io",
);

/// The place of an error of the crate, and a message that quotes nothing.
fn located(error: &::toml::de::Error) -> (usize, &'static Saying) {
    let span = error.span().unwrap_or_default();
    let message = error.message();
    let fits = |saying: &&Saying| saying.begins.iter().any(|begin| message.starts_with(begin));
    let said = SAYINGS.iter().find(fits).unwrap_or(&OTHERWISE);
    match message.starts_with("string values must be quoted") && span.is_empty() {
        true => (span.start, &NO_VALUE),
        false => (span.start, said),
    }
}
