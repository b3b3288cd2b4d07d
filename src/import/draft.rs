//! `Draft` is the configuration that is being made, with what is said about each of their settings.

use std::path::PathBuf;

use super::node::{Node, NodeValue, Scalar, fault};
use crate::config::{ConfigError, quoted};

/// A file that is to be written into the new folder.
pub struct PlannedFile {
    /// Where it is, below that folder.
    pub path: PathBuf,
    /// What it holds.
    pub content: PlannedContent,
}

/// What a planned file holds. It cannot be printed: it may be a secret.
pub enum PlannedContent {
    /// What anybody may read.
    Text(String),
    /// A secret.
    Secret(String),
    /// The first of these files that is there.
    CopyOf(Vec<PathBuf>),
}

/// One of their settings, and what became of it.
#[derive(Debug, PartialEq, Eq)]
pub struct SettingRow {
    /// Its place in their file, with dots.
    pub theirs: String,
    /// Our key with its table, or what else does it now; empty where there is nothing.
    pub ours: String,
    /// The value as it takes effect, or why there is none.
    pub value: String,
}

/// A line of the new configuration, and the line of theirs that it comes from.
struct DraftLine {
    text: String,
    origin: usize,
}

#[derive(Default)]
pub(super) struct Draft {
    /// Tables with their headers, in order.
    tables: Vec<(String, Vec<DraftLine>)>,
    pub(super) rows: Vec<SettingRow>,
    pub(super) faults: Vec<ConfigError>,
    pub(super) files: Vec<PlannedFile>,
}

impl Draft {
    /// Adds a table without keys.
    pub(super) fn table(&mut self, header: &str) {
        if !self.has_table(header) {
            self.tables.push((header.to_owned(), Vec::new()));
        }
    }

    pub(super) fn has_table(&self, header: &str) -> bool {
        self.tables.iter().any(|(name, _)| name == header)
    }

    /// Adds a table of a list of tables, with its lines.
    pub(super) fn list_table(&mut self, header: &str, lines: Vec<String>, origin: usize) {
        let lines = lines.into_iter().map(|text| DraftLine { text, origin });
        self.tables.push((format!("[{header}]"), lines.collect()));
    }

    /// Sets a key of a table to a value in TOML, for one of their settings.
    pub(super) fn set(&mut self, table: &str, key: &str, toml: &str, origin: usize, theirs: &str) {
        let name = format!("{table}.{key}");
        self.row(theirs, name.trim_start_matches('.'), "");
        self.line(table, key, toml, origin);
    }

    /// Sets a key of a table to a value in TOML, once.
    pub(super) fn line(&mut self, table: &str, key: &str, toml: &str, origin: usize) {
        self.table(table);
        let text = format!("{key} = {toml}");
        let mut tables = self.tables.iter_mut();
        if let Some((_, lines)) = tables.find(|(name, _)| name == table) {
            lines.push(DraftLine { text, origin });
        }
    }

    /// Says what became of one of their settings; once, where it holds for several services.
    pub(super) fn row(&mut self, theirs: &str, ours: &str, value: &str) {
        let row = SettingRow {
            theirs: theirs.into(),
            ours: ours.into(),
            value: value.into(),
        };
        if !self.rows.contains(&row) {
            self.rows.push(row);
        }
    }

    /// Says what is wrong at a line of theirs; once, where it holds for several services.
    pub(super) fn fault(&mut self, line: usize, said: impl Into<String>, hint: &str) {
        let fault = fault(line, said, hint);
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// The text of a setting; nothing, and a fault, where it is another thing or not filled in.
    pub(super) fn scalar<'n>(&mut self, node: &'n Node, theirs: &str) -> Option<&'n Scalar> {
        let NodeValue::Scalar(scalar) = &node.value else {
            let said = format!("{theirs}: must be a single value, not {}", node.kind());
            self.fault(
                node.line,
                said,
                "compare it with the examples of the collector",
            );
            return None;
        };
        let text = scalar.text.trim();
        if text.len() > 2 && text.starts_with('<') && text.ends_with('>') {
            let said = format!("{theirs}: is still the placeholder of the collector's documents");
            self.fault(
                node.line,
                said,
                "put the value in its place, or remove the line",
            );
            return None;
        }
        if text.contains(|c: char| c.is_control()) {
            let said = format!("{theirs}: must be a single line");
            self.fault(node.line, said, "write it on one line");
            return None;
        }
        Some(scalar)
    }

    /// The text of a setting that must be known now: what `${NAME}` stands for is not.
    pub(super) fn text<'n>(&mut self, node: &'n Node, theirs: &str) -> Option<&'n str> {
        let text = &self.scalar(node, theirs)?.text;
        if text.contains("${") {
            let said = format!("{theirs}: has a variable in ${{}}, which nothing replaces here");
            self.fault(node.line, said, "write the value itself");
            return None;
        }
        Some(text.trim())
    }

    /// Puts a secret into a file of its own; one that is a variable stays one.
    pub(super) fn secret(&mut self, at: (&str, &str), file: &str, node: &Node, theirs: &str) {
        let (table, key) = at;
        let Some(text) = self.scalar(node, theirs).map(|scalar| scalar.text.clone()) else {
            return;
        };
        let toml = match text
            .strip_prefix("${")
            .and_then(|rest| rest.strip_suffix('}'))
        {
            Some(name) => format!("{{ env = {} }}", quoted(name)),
            None => {
                self.files.push(PlannedFile {
                    path: file.into(),
                    content: PlannedContent::Secret(text),
                });
                format!("{{ file = {} }}", quoted(file))
            }
        };
        self.set(table, key, &toml, node.line, theirs);
    }

    /// The text of the configuration, and for each of its lines the line of theirs.
    pub(super) fn text_and_origins(&self) -> (String, Vec<usize>) {
        let mut text =
            String::from("# Made by proofpull import. proofpull.toml(5) has every key.\n");
        let mut origins = vec![0];
        // keys without a table stand before the first header
        let top = self.tables.iter().filter(|(name, _)| name.is_empty());
        let others = self.tables.iter().filter(|(name, _)| !name.is_empty());
        for (name, lines) in top.chain(others) {
            if !name.is_empty() {
                text += &format!("\n[{name}]\n");
                origins.extend([0, lines.first().map_or(0, |line| line.origin)]);
            }
            for line in lines {
                text += &line.text;
                text.push('\n');
                origins.push(line.origin);
            }
        }
        (text, origins)
    }
}
