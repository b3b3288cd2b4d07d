//! `SecretRef` says where a secret is; only `secret` reads it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use super::effective::ToToml;
use super::table_reader::TableReader;
use super::toml::Value;
use super::value_error::{ValueError, path_in};

/// Where a secret is to be had.
#[derive(Debug, Clone)]
pub enum SecretRef {
    /// In a file.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
    /// In a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// Printed by a command.
    Command(CommandLine),
    /// In the configuration itself.
    Plain(Plain),
}

/// A program and its arguments, which are never printed: they may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandLine(Vec<OsString>);

impl CommandLine {
    /// The program first; `None` if there is none.
    #[must_use]
    pub(crate) fn new(words: Vec<OsString>) -> Option<CommandLine> {
        words
            .first()
            .is_some_and(|program| !program.is_empty())
            .then_some(CommandLine(words))
    }

    /// Its name, to be looked for in `$PATH`, or its path.
    #[must_use]
    pub(crate) fn program(&self) -> &OsStr {
        self.0.first().map_or(OsStr::new(""), OsString::as_os_str)
    }

    /// What it is given.
    #[must_use]
    pub(crate) fn arguments(&self) -> &[OsString] {
        self.0.get(1..).unwrap_or_default()
    }
}

impl fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandLine({:?}, ..)", self.program())
    }
}

/// A secret that stands in the configuration; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Plain(pub(super) String);

impl Plain {
    /// The secret itself, for `secret` alone.
    #[must_use]
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plain(..)")
    }
}

/// Reads a secret: where it is to be had, or the secret itself. `file` is an example of a file's name.
pub(super) fn secret(table: &mut TableReader, key: &'static str, file: &str) -> Option<SecretRef> {
    let read = |table: &mut TableReader| read_secret(table, key, file);
    table.recorded(key, read, |secret| secret.as_ref().map(ToToml::to_toml))
}

fn read_secret(table: &mut TableReader, key: &'static str, file: &str) -> Option<SecretRef> {
    let example = format!("{{ file = {file:?} }}");
    table.need(key, &example);
    match table.take(key)? {
        item if matches!(item.value, Value::Table(_)) => {
            let place = item.place;
            let mut inner = table.open(key, item)?;
            inner.keep_quiet();
            let kinds = ["file", "env", "credential", "command"];
            let given = kinds.iter().filter(|kind| inner.has(kind)).count();
            let base = inner.context.base.clone();
            let path = inner.read_text("file", file, |text| path_in(&base, text));
            let env = inner.read_text("env", "TAP_SECRET", variable);
            let credential = inner.read_text("credential", file, credential);
            let command = command(&mut inner, &base);
            if given > 1 || given == 0 && inner.is_done() {
                let said = "must have exactly one of file, env, credential and command";
                inner.fault(place, said.into(), format!("write {key} = {example}"));
            }
            inner.close();
            path.map(SecretRef::File)
                .or(env.map(SecretRef::Env))
                .or(credential.map(SecretRef::Credential))
                .or(command.map(SecretRef::Command))
        }
        item => {
            let value = table.judge(key, &example, item, |value| match value {
                Value::Text(text) if text.trim().is_empty() => {
                    Err(ValueError::from("must not be empty"))
                }
                Value::Text(text) if text.contains(char::is_control) => {
                    Err("must be on one line".into())
                }
                Value::Text(text) => Ok(SecretRef::Plain(Plain(text))),
                other => {
                    Err(other.instead_of("a string, or a table such as { file = \"tap.secret\" }"))
                }
            });
            table.context.secret_inside |= value.is_some();
            value
        }
    }
}

/// A program and its arguments, one string each.
fn command(table: &mut TableReader, base: &Path) -> Option<CommandLine> {
    const EXAMPLE: &str = "[\"pass\", \"show\", \"proofpoint/tap\"]";
    table.read("command", EXAMPLE, |value| {
        let words = match value {
            Value::List(list) => list,
            Value::Text(_) => return Err("must be a list of strings: no shell splits it".into()),
            other => return Err(other.instead_of(&format!("a list such as {EXAMPLE}"))),
        };
        let words = words.into_iter().map(|item| match item.value {
            Value::Text(text) if text.contains('\0') => Err("must not contain a NUL".into()),
            Value::Text(text) => Ok(text),
            other => Err(ValueError::from(format!(
                "must be a list of strings, but it contains {}",
                other.kind()
            ))),
        });
        let mut words: Vec<OsString> = words
            .map(|word| word.map(Into::into))
            .collect::<Result<_, _>>()?;
        if let Some(program) = words.first_mut()
            && program.as_encoded_bytes().contains(&b'/')
        {
            // with a slash it is a path, which counts from the configuration as others do
            *program = base.join(&*program).into();
        }
        CommandLine::new(words).ok_or_else(|| "must begin with a program".into())
    })
}

fn variable(text: &str) -> Result<String, &'static str> {
    let fits = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match fits && !text.starts_with(|c: char| c.is_ascii_digit()) {
        true => Ok(text.into()),
        false => Err("must be the name of an environment variable, of letters, digits and _"),
    }
}

fn credential(text: &str) -> Result<String, &'static str> {
    match text.contains(|c: char| c == '/' || c.is_control()) || text == "." || text == ".." {
        true => Err("must be the name of a file in $CREDENTIALS_DIRECTORY, without a slash"),
        false => Ok(text.into()),
    }
}
