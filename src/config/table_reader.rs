//! `TableReader` reads a table key by key, and refuses the keys that nobody has asked for.
//!
//! Knows no key by itself. What it says begins with table and key and never has a value in it.

use std::mem;
use std::path::PathBuf;

use time::OffsetDateTime;

use super::ConfigError;
use super::effective::{EffectiveKeys, ToToml, unless_empty};
use super::suggest::{nearest, shown};
use super::toml::{Item, LineCol, Table, TableEntry, Value};
use super::value_error::{ValueError, as_text, path_in};

/// A table that is read key by key; what nobody asked for is unknown at the end.
pub(crate) struct TableReader<'a> {
    /// What stands in its header, nothing for the top level.
    path: String,
    table: Table,
    known: Vec<&'static str>,
    aliases: &'static [(&'static str, &'static str)],
    /// Whether names that are not ours are kept out of what is said.
    quiet: bool,
    pub(super) context: &'a mut ReadContext,
}

/// What is known and collected while a configuration is read.
#[derive(Debug)]
pub(super) struct ReadContext {
    /// Relative paths count from this folder.
    pub(super) base: PathBuf,
    /// No `start_time` lies behind it.
    pub(super) now: OffsetDateTime,
    /// Whether a secret stands in the text itself.
    pub(super) secret_inside: bool,
    /// Whether there is a table for the key of pseudonyms; what is wrong in it is told there.
    pub(super) has_pseudonym_key: bool,
    /// Everything that is wrong.
    pub(super) faults: Vec<ConfigError>,
    /// Every key that was read.
    pub(super) record: EffectiveKeys,
}

impl<'a> TableReader<'a> {
    /// Begins with the top level. If there are syntax errors in the text, a quote may be missing
    /// and what looks like a name be a piece of a secret.
    pub(super) fn new(table: Table, context: &'a mut ReadContext) -> TableReader<'a> {
        let quiet = !context.faults.is_empty();
        TableReader {
            path: String::new(),
            table,
            known: Vec::new(),
            aliases: &[],
            quiet,
            context,
        }
    }

    /// Keeps names that are not ours out of what is said of this table.
    pub(super) fn keep_quiet(&mut self) {
        self.quiet = true;
    }

    /// Whether a name that is not ours may be repeated.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Takes a key and what it is set to, if it is there.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Item> {
        self.known.push(key);
        let mut entries = self.table.entries.iter();
        let at = entries.position(|entry| entry.name == key)?;
        Some(self.table.entries.remove(at).item)
    }

    /// Whether a key that was not taken yet is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.entries.iter().any(|entry| entry.name == key)
    }

    /// Whether every key was taken.
    pub(super) fn is_done(&self) -> bool {
        self.table.entries.is_empty()
    }

    /// Takes every key that is left.
    pub(super) fn rest(&mut self) -> Vec<TableEntry> {
        mem::take(&mut self.table.entries)
    }

    /// Takes a key and records what takes effect: what `read` makes of it.
    pub(super) fn recorded<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Self) -> T,
        written: impl FnOnce(&T) -> Option<String>,
    ) -> T {
        let place = self.place(key);
        let value = read(self);
        self.context
            .record
            .add(&self.path, key, written(&value), place);
        value
    }

    /// Takes a key with a text that is not blank, and records it; `example` is such a text.
    pub(crate) fn text<T: ToToml, E: Into<ValueError>>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let read = |table: &mut Self| table.read_text(key, example, parse);
        self.recorded(key, read, |value| value.as_ref().map(ToToml::to_toml))
    }

    /// Takes a key with a path and records it; a relative one counts from the configuration's folder.
    pub(super) fn path(&mut self, key: &'static str, example: &str) -> Option<PathBuf> {
        let base = self.context.base.clone();
        self.text(key, example, |text| path_in(&base, text))
    }

    /// Takes a key with a text and records it, or its default.
    pub(crate) fn text_or<T: ToToml, E: Into<ValueError>>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> T {
        let quoted = default.to_toml();
        self.value_or(key, default, |value| as_text(value, &quoted, parse))
    }

    /// Takes a key with a value of any type and records it, or its default.
    pub(crate) fn value_or<T: ToToml, E: Into<ValueError>>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(Value) -> Result<T, E>,
    ) -> T {
        let example = default.to_toml();
        let read = |table: &mut Self| table.read(key, &example, parse).unwrap_or(default);
        self.recorded(key, read, |value| Some(value.to_toml()))
    }

    /// Takes a key with a list of tables, as headers in double brackets make one, and records it;
    /// each is closed by `read`.
    pub(super) fn tables<T: ToToml>(
        &mut self,
        key: &'static str,
        read: impl FnMut(TableReader<'_>) -> Option<T>,
    ) -> Vec<T> {
        self.recorded(key, |table| table.read_tables(key, read), unless_empty)
    }

    /// Takes a key with a value of any type; `example` is how a value is written.
    pub(super) fn read<T, E: Into<ValueError>>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(Value) -> Result<T, E>,
    ) -> Option<T> {
        let item = self.take(key)?;
        self.judge(key, example, item, parse)
    }

    /// Takes a key with a text that is not blank; `example` is such a text, without quotes.
    pub(super) fn read_text<T, E: Into<ValueError>>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let quoted = format!("{example:?}");
        self.read(key, &quoted, |value| as_text(value, &quoted, parse))
    }

    /// Reads what was taken for a key.
    pub(super) fn judge<T, E: Into<ValueError>>(
        &mut self,
        key: &'static str,
        example: &str,
        item: Item,
        parse: impl FnOnce(Value) -> Result<T, E>,
    ) -> Option<T> {
        if let Value::Unreadable = item.value {
            return None;
        }
        match parse(item.value) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.complain(item.place, key, example, wrong.into());
                None
            }
        }
    }

    /// Says what is wrong with the value of a key.
    pub(super) fn complain(&mut self, place: LineCol, key: &str, example: &str, wrong: ValueError) {
        let ValueError { said, hint } = wrong;
        let hint = hint.unwrap_or_else(|| format!("write {key} = {example}"));
        self.fault(place, format!("{key} {said}"), hint);
    }

    /// Says that a key is missing, before it is taken; `example` is how a value is written.
    pub(super) fn need(&mut self, key: &str, example: &str) {
        if self.table.whole && !self.has(key) {
            let hint = format!("add {key} = {example}");
            self.fault(self.table.place, format!("{key} is missing"), hint);
        }
    }

    /// Says that one of two keys is missing, before they are taken.
    pub(super) fn together(&mut self, one: &str, other: &str) {
        for (here, missing) in [(one, other), (other, one)] {
            if let Some(place) = self.place(here)
                && self.table.whole
                && !self.has(missing)
            {
                let hint = format!("add {missing}, or remove {here}");
                self.fault(place, format!("{here} needs {missing}"), hint);
            }
        }
    }

    /// Takes a table and records where it stands; it is closed by its reader.
    pub(super) fn table(&mut self, key: &'static str) -> Option<TableReader<'_>> {
        let place = self.place(key);
        let item = self.take(key)?;
        let path = self.path_of(key);
        self.context.record.add(&path, "", None, place);
        self.open(key, item)
    }

    /// Takes a table as [`table`](Self::table) does, or an empty one: its keys have defaults.
    pub(super) fn table_or_empty(&mut self, key: &'static str) -> TableReader<'_> {
        let path = self.path_of(key);
        let place = self.place(key);
        self.context.record.add(&path, "", None, place);
        let item = self.take(key);
        let table = item.and_then(|item| self.open_table(key, item));
        self.inner(
            path,
            table.unwrap_or_else(|| Table::empty(self.table.place)),
        )
    }

    fn path_of(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }

    /// Reads on in what should be a table of this one.
    pub(super) fn open(&mut self, name: &str, item: Item) -> Option<TableReader<'_>> {
        let table = self.open_table(name, item)?;
        Some(self.inner(self.path_of(name), table))
    }

    fn open_table(&mut self, name: &str, item: Item) -> Option<Table> {
        match item.value {
            Value::Table(table) => Some(table),
            Value::Unreadable => None,
            other => {
                let said = format!("{name} must be a table, not {}", other.kind());
                let path = self.path_of(name);
                let hint = format!(
                    "write [{path}] on its own line, in single brackets, and its keys below it"
                );
                self.fault(item.place, said, hint);
                None
            }
        }
    }

    fn read_tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(TableReader<'_>) -> Option<T>,
    ) -> Vec<T> {
        let path = format!("[{}.{key}]", self.path);
        let (mut values, mut wrong) = (Vec::new(), Vec::new());
        match self.take(key) {
            None => {}
            Some(Item { place, value }) => match value {
                Value::List(items) => {
                    for Item { place, value } in items {
                        match value {
                            Value::Table(table) => {
                                values.extend(read(self.inner(path.clone(), table)));
                            }
                            Value::Unreadable => {}
                            _ => wrong.push(place),
                        }
                    }
                }
                Value::Unreadable => {}
                _ => wrong.push(place),
            },
        }
        for place in wrong {
            let said = format!("{key} must be a list of tables");
            let hint = format!(
                "write [{path}] on its own line, in double brackets, and its keys below it"
            );
            self.fault(place, said, hint);
        }
        values
    }

    fn inner(&mut self, path: String, table: Table) -> TableReader<'_> {
        TableReader {
            path,
            table,
            known: Vec::new(),
            aliases: &[],
            quiet: self.quiet,
            context: self.context,
        }
    }

    /// Where a key stands that was not taken yet.
    pub(super) fn place(&self, key: &str) -> Option<LineCol> {
        let entry = self.table.entries.iter().find(|entry| entry.name == key);
        entry.map(|entry| entry.place)
    }

    /// Names that others have for keys of this table.
    pub(crate) fn also_called(&mut self, aliases: &'static [(&'static str, &'static str)]) {
        self.aliases = aliases;
    }

    /// Says that something is wrong with this table.
    pub(super) fn fault(&mut self, place: LineCol, said: String, hint: String) {
        let message = if self.path.is_empty() {
            said
        } else {
            format!("[{}] {said}", self.path)
        };
        self.context.faults.push(place.fault(message, hint));
    }

    /// Puts a number before what was said about the value of a key that is about to be taken.
    pub(super) fn numbered<T>(
        &mut self,
        number: &str,
        key: &str,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let entry = self.table.entries.iter().find(|entry| entry.name == key);
        let place = entry.map(|entry| entry.item.place);
        let value = read(self);
        for fault in self.context.faults.iter_mut() {
            if place.is_some_and(|place| place.is_of(fault)) {
                fault.message.insert_str(0, number);
            }
        }
        value
    }

    /// Ends the reading: every key that is left is unknown.
    pub(super) fn close(mut self) {
        for entry in self.rest() {
            if let Value::Unreadable = entry.item.value {
                continue;
            }
            let name = shown(&entry.name);
            let said = match (self.path.is_empty(), &entry.item.value) {
                (true, _) if self.quiet => "there is no such key or table".into(),
                (false, _) if self.quiet => "has no such key".into(),
                (true, Value::Table(_)) => format!("there is no table [{name}]"),
                (true, _) => format!("there is no key {name} at the top"),
                (false, _) => format!("has no key {name}"),
            };
            let hint = self.remedy(&entry.name);
            self.fault(entry.place, said, hint);
        }
    }

    fn remedy(&self, name: &str) -> String {
        let alias = self
            .aliases
            .iter()
            .find(|(other, _)| *other == name)
            .map(|(_, key)| *key);
        match alias.or_else(|| nearest(name, &self.known)) {
            Some(known) => format!("did you mean {known:?}?"),
            None => format!("use one of: {}", self.known.join(", ")),
        }
    }
}
