//! `ValueError` says what is wrong with the value of a key; the functions here read single values.

use std::path::{Path, PathBuf};

use super::toml::Value;

/// The path that a text means in a folder.
pub(super) fn path_in(base: &Path, text: &str) -> Result<PathBuf, &'static str> {
    match text {
        _ if text.contains(char::is_control) => Err("must be a path without control characters"),
        // only a shell knows it
        _ if text.starts_with("~/") => Err("must be a path without ~"),
        _ => Ok(base.join(text)),
    }
}

/// Reads a text that is not blank; `example` is how one is written.
pub(super) fn as_text<T, E: Into<ValueError>>(
    value: Value,
    example: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, ValueError> {
    match value {
        Value::Text(text) if text.trim().is_empty() => Err("must not be empty".into()),
        Value::Text(text) => parse(&text).map_err(Into::into),
        other => Err(other.instead_of(&format!("a string such as {example}"))),
    }
}

/// Reads the value of a key that is `true` or `false`.
pub(super) fn boolean(key: &str, value: Value) -> Result<bool, ValueError> {
    match value {
        Value::Boolean(value) => Ok(value),
        other => Err(ValueError::but(
            format!("must be true or false, not {}", other.kind()),
            format!("write {key} = true or {key} = false, without quotes"),
        )),
    }
}

/// What is wrong with a value: the end of a sentence that begins with its key, and the remedy if
/// an example of the key does not show it.
pub(crate) struct ValueError {
    pub(super) said: String,
    pub(super) hint: Option<String>,
}

impl ValueError {
    pub(super) fn but(said: impl Into<String>, hint: impl Into<String>) -> ValueError {
        ValueError {
            said: said.into(),
            hint: Some(hint.into()),
        }
    }
}

impl Value {
    /// Says that this is of the wrong type.
    pub(super) fn instead_of(&self, expected: &str) -> ValueError {
        format!("must be {expected}, not {}", self.kind()).into()
    }
}

impl From<String> for ValueError {
    fn from(said: String) -> ValueError {
        ValueError { said, hint: None }
    }
}

impl From<&str> for ValueError {
    fn from(said: &str) -> ValueError {
        said.to_owned().into()
    }
}
