//! What a run ends with: the statuses of sysexits(3), and how an error carries one.
//!
//! The module that knows the cause attaches an [`Exit`] (and often a [`Hint`]) to the error as
//! context, once; `main` finds it by downcast. Both print as nothing, so that the line a person
//! reads holds only what was being done and what went wrong.

use std::any::Any;
use std::fmt;

/// A status of the program, as the manual lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Caught up, or stopped in good order at a limit or a signal.
    Ok = 0,
    /// Wrong arguments.
    Usage = 2,
    /// Done, but some events could not be delivered; recorded and named.
    Gap = 3,
    /// The state, or an answer as a whole, cannot be understood.
    Data = 65,
    /// An API or the receiver cannot be reached, or answers 5xx.
    Unavailable = 69,
    /// A bug.
    Software = 70,
    /// The state cannot be written, or may not be read; nothing was asked for.
    CantCreate = 73,
    /// The receiver did not confirm; what was not confirmed is sent again.
    Io = 74,
    /// Temporary; the next run retries.
    TempFail = 75,
    /// Credentials or the client certificate refused, or a secret that others can read.
    NoPerm = 77,
    /// The configuration is refused.
    Config = 78,
}

impl Exit {
    /// The status an error carries; one that carries none is a bug of ours.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Exit {
        error.downcast_ref().copied().unwrap_or(Exit::Software)
    }

    /// The name that the manual and systemd use for it.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Exit::Ok => "ok",
            Exit::Usage => "usage",
            Exit::Gap => "gap",
            Exit::Data => "data",
            Exit::Unavailable => "unavailable",
            Exit::Software => "software",
            Exit::CantCreate => "cantcreat",
            Exit::Io => "io",
            Exit::TempFail => "tempfail",
            Exit::NoPerm => "noperm",
            Exit::Config => "config",
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// What a person can do about an error, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint(pub(crate) String);

impl fmt::Display for Hint {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// Attaches a status and a hint to whatever can fail.
pub(crate) trait Because<T> {
    /// Says with which status the program ends because of this error.
    fn exit(self, exit: Exit) -> anyhow::Result<T>;
    /// Says what a person can do about it.
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;
    /// The status, unless whoever knew better has said one.
    fn or_exit(self, exit: Exit) -> anyhow::Result<T>;
    /// The remedy, unless whoever knew better has said one.
    fn or_hint(self, hint: &str) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Because<T> for Result<T, E> {
    fn exit(self, exit: Exit) -> anyhow::Result<T> {
        self.map_err(|error| error.into().context(exit))
    }

    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| error.into().context(Hint(hint.into())))
    }

    fn or_exit(self, exit: Exit) -> anyhow::Result<T> {
        self.map_err(Into::into)
            .map_err(|error| match error.is::<Exit>() {
                true => error,
                false => error.context(exit),
            })
    }

    fn or_hint(self, hint: &str) -> anyhow::Result<T> {
        self.map_err(Into::into)
            .map_err(|error| match error.is::<Hint>() {
                true => error,
                false => error.context(Hint(hint.to_owned())),
            })
    }
}

/// An error of ours with its status.
pub(crate) fn fail<T>(exit: Exit, message: impl Into<String>) -> anyhow::Result<T> {
    Err(anyhow::anyhow!(message.into()).context(exit))
}

/// What a panic said, if that is a literal: another message may hold data.
#[must_use]
pub(crate) fn of_panic(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref().copied().unwrap_or("(no message)")
}

/// The line for a person: each layer of context and the cause, parted by colons.
#[must_use]
pub(crate) fn line(error: &anyhow::Error) -> String {
    let layers = error.chain().map(ToString::to_string);
    let said: Vec<String> = layers.filter(|layer| !layer.is_empty()).collect();
    said.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_status_and_a_hint_travel_with_an_error_and_are_not_in_its_line() {
        let error = fail::<()>(Exit::Io, "connection reset")
            .hint("try again")
            .context("confirming 3 events")
            .unwrap_err();
        assert_eq!(line(&error), "confirming 3 events: connection reset");
        assert_eq!(Exit::of(&error), Exit::Io);
        assert_eq!(
            error.downcast_ref::<Hint>(),
            Some(&Hint("try again".into()))
        );
    }

    #[test]
    fn an_error_without_a_status_is_a_bug() {
        assert_eq!(Exit::of(&anyhow::anyhow!("what")), Exit::Software);
    }
}
