//! `FetchError` says why a source could not read on, and by its kind what follows.

use std::fmt;

use crate::error::{Exit, Failure};
use crate::json_stream::Broken;
use crate::net::NetError;
use crate::net::http::RequestError;
use crate::quota::QuotaError;

/// Why a source could not read on.
///
/// Not an [`Error`](std::error::Error): sources and the cycle decide by its kind, so nothing may
/// hide it.
#[derive(Debug)]
pub(crate) struct FetchError {
    /// What follows.
    pub(crate) kind: FetchErrorKind,
    failure: Failure,
}

/// What follows a failure to read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FetchErrorKind {
    /// The run is to end; there is no failure.
    Stopped,
    /// The quota allows no request now.
    QuotaExceeded,
    /// No server was reached, or it is down. The same request may help later.
    Transient,
    /// The server broke down on the request. The same request may help; if it never does, the next
    /// run makes a smaller one.
    ServerFailed,
    /// An answer was late or cut. A smaller request may help.
    TooMuch,
    /// An answer was too slow. The next run makes a smaller request, this run makes none.
    TooSlow,
    /// The answer is whole, but has no records where they are expected.
    NoRecords,
    /// Another attempt is useless.
    Lasting,
}

impl FetchError {
    pub(super) fn new(kind: FetchErrorKind, failure: Failure) -> FetchError {
        FetchError { kind, failure }
    }

    /// An answer that cannot be split into records.
    #[must_use]
    pub(super) fn of_answer(broken: &Broken, failure: Failure) -> FetchError {
        let (kind, exit) = match broken {
            Broken::CutOff => (FetchErrorKind::TooMuch, Exit::Unavailable),
            Broken::Missing(_) => (FetchErrorKind::NoRecords, Exit::Data),
            _ => (FetchErrorKind::Lasting, Exit::Data),
        };
        FetchError::new(kind, failure.with_exit(exit))
    }

    /// Whether another attempt in this run may help.
    #[must_use]
    pub(super) fn is_retryable(&self) -> bool {
        matches!(
            self.kind,
            FetchErrorKind::Transient | FetchErrorKind::ServerFailed | FetchErrorKind::TooMuch
        )
    }

    /// Whether there is no failure: the run is to end.
    #[must_use]
    pub(crate) fn is_stop(&self) -> bool {
        self.kind == FetchErrorKind::Stopped
    }

    /// The same, where the service may give another answer later.
    #[must_use]
    pub(super) fn transient(self) -> FetchError {
        FetchError::new(
            FetchErrorKind::Transient,
            self.failure.with_exit(Exit::Unavailable),
        )
    }

    /// The status that it ends the run with.
    #[must_use]
    pub(super) fn exit(&self) -> Exit {
        self.failure.exit()
    }

    /// Says what was being done.
    #[must_use]
    pub(super) fn context(self, doing: impl fmt::Display) -> FetchError {
        let failure = self.failure.context(doing);
        FetchError { failure, ..self }
    }

    /// Sets the hint.
    #[must_use]
    pub(super) fn with_hint(self, hint: impl Into<String>) -> FetchError {
        let failure = self.failure.with_hint(hint);
        FetchError { failure, ..self }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

/// A failure in the program or the machine, not at the service.
impl From<Failure> for FetchError {
    fn from(failure: Failure) -> FetchError {
        FetchError::new(FetchErrorKind::Lasting, failure)
    }
}

impl From<NetError> for FetchError {
    fn from(error: NetError) -> FetchError {
        let kind = match error {
            NetError::Stopped(_) => FetchErrorKind::Stopped,
            NetError::Unreached(_) => FetchErrorKind::Transient,
            NetError::Silent(_) | NetError::Cut(_) => FetchErrorKind::TooMuch,
            NetError::Lasting(_) => FetchErrorKind::Lasting,
        };
        FetchError::new(kind, error.into())
    }
}

/// A request without an answer. A connection that broke says nothing of the size of the answer.
impl From<RequestError> for FetchError {
    fn from(RequestError { error, .. }: RequestError) -> FetchError {
        let is_cut = matches!(error, NetError::Cut(_));
        let error = FetchError::from(error);
        match is_cut {
            true => FetchError::new(FetchErrorKind::ServerFailed, error.failure),
            false => error,
        }
    }
}

impl From<QuotaError> for FetchError {
    fn from(error: QuotaError) -> FetchError {
        match error {
            QuotaError::Stopped => NetError::stopped().into(),
            QuotaError::RepeatsExceeded(said) => {
                let failure = Failure::new(said).with_exit(Exit::Unavailable);
                FetchError::new(FetchErrorKind::Lasting, failure)
            }
            QuotaError::Exceeded(failure) => {
                FetchError::new(FetchErrorKind::QuotaExceeded, failure)
            }
            QuotaError::Unkept(failure) => failure.into(),
        }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Failure {
        error.failure
    }
}
