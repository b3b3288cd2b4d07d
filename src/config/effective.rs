//! `EffectiveKeys` records each key of a configuration with its effective value, as TOML, and its
//! place.
//!
//! Pure. Secrets, the arguments of commands and patterns are masked.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};
use time::OffsetDateTime;

use super::toml::LineCol;
use super::{Address, SecretRef, Url};
use crate::clock::utc;
use crate::human;
use crate::quota::Limit;
use crate::transform::{Action, Rule};

/// All keys that can be set, in the order of the manual. Keys of an absent table appear only if
/// they have defaults.
#[derive(Debug, Default)]
pub struct EffectiveKeys(Vec<EffectiveKey>);

/// A key, or the header of a table.
#[derive(Debug, Clone, Serialize)]
pub struct EffectiveKey {
    /// The full name of its table, empty at the top.
    pub(crate) table: String,
    /// Its own name, empty for the header of the table.
    pub(crate) key: &'static str,
    /// The effective value as TOML; absent where nothing is set and there is no default.
    pub value: Option<String>,
    /// Line and column, both from 1; absent where the key is not written.
    #[serde(rename = "is_default", serialize_with = "is_absent")]
    pub(crate) place: Option<(usize, usize)>,
}

fn is_absent<S: Serializer>(
    place: &Option<(usize, usize)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(place.is_none())
}

impl EffectiveKey {
    /// Whether it has this full name, such as `services.tap-clicks-blocked.tag`.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        match (self.table.as_str(), self.key) {
            (table, "") => name == table,
            ("", key) => name == key,
            (table, key) => name
                .strip_prefix(table)
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(|rest| rest == key),
        }
    }
}

impl EffectiveKeys {
    pub(super) fn add(
        &mut self,
        table: &str,
        key: &'static str,
        value: Option<String>,
        place: Option<LineCol>,
    ) {
        self.0.push(EffectiveKey {
            table: table.to_owned(),
            key,
            value,
            place: place.map(LineCol::line_and_column),
        });
    }

    /// The line and column of a key or table, if it is written.
    #[must_use]
    pub(crate) fn place(&self, name: &str) -> Option<(usize, usize)> {
        self.0.iter().find(|entry| entry.is(name))?.place
    }

    /// The keys, without the headers of tables.
    pub fn keys(&self) -> impl Iterator<Item = &EffectiveKey> {
        self.0.iter().filter(|entry| !entry.key.is_empty())
    }
}

/// A value that can be written as TOML.
pub(crate) trait ToToml {
    fn to_toml(&self) -> String;
}

/// Quotes a text; TOML and JSON write strings alike.
#[must_use]
pub fn quoted(text: impl Display) -> String {
    serde_json::Value::from(text.to_string()).to_string()
}

macro_rules! to_toml {
    ($($kind:ty: $value:ident => $written:expr;)*) => {$(
        impl ToToml for $kind {
            fn to_toml(&self) -> String {
                let $value = self;
                $written
            }
        }
    )*};
}

to_toml! {
    bool: value => value.to_string();
    u32: number => number.to_string();
    usize: number => number.to_string();
    String: text => quoted(text);
    PathBuf: path => quoted(path.display());
    // never with user and password
    Url: url => quoted(url);
    Address: address => quoted(address);
    OffsetDateTime: time => quoted(utc(*time));
    Duration: time => quoted(human::duration(*time));
    Limit: limit => format!(
        "{{ period = {}, at_most = {} }}",
        quoted(human::duration(limit.period.unsigned_abs())),
        limit.at_most
    );
    Rule: value => rule(value);
    SecretRef: reference => secret(reference);
}

impl<T: ToToml> ToToml for Vec<T> {
    fn to_toml(&self) -> String {
        let items: Vec<String> = self.iter().map(ToToml::to_toml).collect();
        format!("[{}]", items.join(", "))
    }
}

/// How a list is recorded for which empty is the same as not set.
pub(super) fn unless_empty<T: ToToml>(list: &Vec<T>) -> Option<String> {
    (!list.is_empty()).then(|| list.to_toml())
}

/// Strings by name, in order.
pub(super) fn inline_table(fields: &[(String, String)]) -> Option<String> {
    let fields = fields
        .iter()
        .map(|(name, value)| format!("{} = {}", quoted(name), quoted(value)));
    let fields: Vec<String> = fields.collect();
    (!fields.is_empty()).then(|| format!("{{ {} }}", fields.join(", ")))
}

/// The pattern is hidden: it may itself be secret.
fn rule(rule: &Rule) -> String {
    let action = match &rule.action {
        Action::Hash => ", hash = true".to_owned(),
        Action::Replace(with) => format!(", replace = {with}"),
        Action::Keep | Action::Drop | Action::Mask => String::new(),
    };
    let pattern = rule.pattern.as_ref().map(|_| ", pattern = \"(hidden)\"");
    let path = quoted(&rule.path);
    format!("{{ path = {path}{action}{} }}", pattern.unwrap_or_default())
}

fn secret(reference: &SecretRef) -> String {
    match reference {
        SecretRef::File(path) => format!("{{ file = {} }}", quoted(path.display())),
        SecretRef::Env(name) => format!("{{ env = {} }}", quoted(name)),
        SecretRef::Credential(name) => format!("{{ credential = {} }}", quoted(name)),
        // its arguments may contain a secret
        SecretRef::Command(command) => {
            let more = match command.arguments() {
                [] => "",
                _ => ", \"***\"",
            };
            let program = quoted(command.program().display());
            format!("{{ command = [{program}{more}] }}")
        }
        SecretRef::Plain(_) => quoted("***"),
    }
}
