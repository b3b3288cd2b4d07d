//! `HttpApi` makes requests to one HTTP API, reads answers as they arrive, and explains refusals.

use std::sync::Arc;
use std::time::Duration as Wait;

use time::{Duration, OffsetDateTime};

use super::PollContext;
use super::api::OpenContext;
use super::fetch_error::{FetchError, FetchErrorKind};
use super::retry::retry_after;
use crate::clock::{Instant, utc};
use crate::config::Url;
use crate::error::{Exit, Failure, Result};
use crate::json_stream::{Broken, Splitter};
use crate::net::NetError;
use crate::net::http::{Answer, Bytes, Client, RequestError, Underway};
use crate::output::Counters;
use crate::secret::{self, Secret};
use crate::shutdown::Shutdown;

/// Read buffer size, in bytes.
pub(super) const READ: usize = 128 * 1024;
/// The same for the first read, as long as the answer may be small.
const FIRST_READ: usize = 8 * 1024;
/// Longest wait for the head of an answer, and time before a read returns what has come.
pub(super) const PATIENCE: Wait = Wait::from_secs(2);
/// Most records before a read returns them, however small they are.
const RECORDS: usize = 16 * 1024;

/// How long no request is made after a 429 that does not say.
const USUAL_HOLD: Duration = Duration::HOUR;

/// What errors of an API say, and what helps.
#[derive(Debug)]
pub(super) struct ErrorHints {
    /// The name of the API.
    pub(super) api: &'static str,
    /// The Devo collectors' number for 401 and 403, followed by a space; or nothing.
    pub(super) denied: &'static str,
    /// The same for any other HTTP status.
    pub(super) refused: &'static str,
    /// The keys of the configuration that say where the API is.
    pub(super) address: &'static str,
    /// The hint for a 400.
    pub(super) bad_request: &'static str,
    /// The hint for a 401.
    pub(super) unknown: &'static str,
    /// The hint for a 403.
    pub(super) not_entitled: &'static str,
    /// When the quota comes back, as far as is known.
    pub(super) comes_back: &'static str,
    /// The statuses that mean something of their own here, each with its exit status and hint.
    pub(super) others: &'static [(u16, Exit, &'static str)],
}

impl ErrorHints {
    /// The error for an HTTP status that is no success.
    pub(super) fn refusal(&self, status: u16, body: &str) -> FetchError {
        let ErrorHints { api, address, .. } = self;
        let number = match status {
            401 | 403 => self.denied,
            _ => self.refused,
        };
        let colon = if body.is_empty() { "" } else { ": " };
        let failure = Failure::new(format!("{number}HTTP {status}{colon}{body}"));
        let own = self.others.iter().find(|(other, ..)| *other == status);
        if let Some((_, exit, hint)) = own {
            return failure.with_exit(*exit).with_hint(*hint).into();
        }
        let (exit, hint) = match status {
            400 => (Exit::Data, self.bad_request.to_owned()),
            401 => (Exit::NoPerm, self.unknown.to_owned()),
            403 => (Exit::NoPerm, self.not_entitled.to_owned()),
            404 => (
                Exit::Data,
                format!("check {address}: nothing exists at this address"),
            ),
            429 => (
                Exit::TempFail,
                "the quota of these credentials is spent".to_owned(),
            ),
            300..=399 => (
                Exit::Data,
                format!(
                    "check {address}, and [http] proxy: the answer is a redirect, such as to a \
                     proxy's sign-in page"
                ),
            ),
            408 | 413 | 421 | 425 | 500.. => (
                Exit::Unavailable,
                "wait until the service recovers; the next run retries".to_owned(),
            ),
            _ => (
                Exit::Data,
                format!("check {address}, and [http] proxy: the {api} does not answer like this"),
            ),
        };
        FetchError::new(kind_of(status), failure.with_exit(exit).with_hint(hint))
    }

    /// The hint for a 429, after which no request is made until then.
    fn come_again(&self, until: OffsetDateTime) -> String {
        let comes_back = self.comes_back;
        format!(
            "run less often, or share the credentials with fewer programs; no request is made \
             before {}; {comes_back}",
            utc(until)
        )
    }

    fn no_answer(&self) -> String {
        let ErrorHints { api, address, .. } = self;
        format!(
            "check {address}, and [http] proxy: the {api} does not answer like this; the next run \
             retries"
        )
    }

    /// The error for an answer that begins with `body` and is not the expected JSON.
    pub(super) fn unreadable(&self, broken: &Broken, body: &str) -> FetchError {
        let ErrorHints { api, address, .. } = self;
        let hint = match broken {
            Broken::CutOff => {
                "check the network if this repeats; the next run retries, with a shorter window if \
                 needed"
                    .to_owned()
            }
            Broken::TooLong(_) | Broken::LongMember(_) => {
                format!("check {address}, and [http] proxy: the {api} sends nothing that long")
            }
            Broken::Empty | Broken::Missing(_) | Broken::NotJson(..) => self.no_answer(),
        };
        let failure = Failure::new(match broken {
            Broken::CutOff => broken.to_string(),
            _ => format!("HTTP 200: {body}: {broken}"),
        });
        FetchError::of_answer(broken, failure.with_hint(hint))
    }
}

/// An API and the sign-in for it.
#[derive(Debug)]
pub(super) struct HttpApi {
    client: Client,
    /// The address of the events.
    pub(super) url: Url,
    authorization: Arc<Secret>,
    /// What errors must not show.
    secret: Secret,
    pub(super) words: &'static ErrorHints,
}

impl HttpApi {
    /// Creates it for the API at `url`; the `Authorization` is made from `secret`.
    ///
    /// # Errors
    /// When the trusted roots cannot be read.
    pub(super) fn new(
        context: &OpenContext<'_>,
        url: Url,
        (authorization, secret): (Secret, Secret),
        words: &'static ErrorHints,
    ) -> Result<HttpApi> {
        Ok(HttpApi {
            client: Client::new(Arc::clone(context.network), &url, context.shutdown)?,
            url,
            authorization: Arc::new(authorization),
            secret,
            words,
        })
    }

    /// Makes a request to its address with these parameters.
    ///
    /// # Errors
    /// When no answer came, or the run is to end.
    pub(super) fn get(
        &self,
        query: &[(&str, &str)],
        counters: &mut Counters,
    ) -> Result<Answer, RequestError> {
        counters.requests += 1;
        let answer = self.client.get(&self.url, query, &self.authorization);
        answer.inspect_err(|error| counters.requests -= u64::from(!error.was_sent))
    }

    /// Begins a request to an address of the server; [`Asked::wait`] for its answer.
    pub(super) fn begin(
        &self,
        url: &Url,
        query: &[(&str, &str)],
        context: &mut PollContext<'_>,
    ) -> Asked {
        context.counters.requests += 1;
        Asked {
            underway: self.client.begin_get(url, query, &self.authorization),
            at: context.now,
            begun: Instant::now(),
        }
    }

    /// The start of an answer, for an error message.
    pub(super) fn shown(&self, answer: &mut Answer) -> String {
        match self.excerpt(&answer.beginning()) {
            body if body.is_empty() => "(no text)".to_owned(),
            body => body,
        }
    }

    /// What the API said, for an error message.
    pub(super) fn excerpt(&self, text: &str) -> String {
        secret::excerpt(text, &[&self.secret])
    }

    /// The error for an answer with a status other than 200. After a 429 no request is made for as
    /// long as the answer says; if that cannot be saved, it is the error.
    pub(super) fn refusal(&self, answer: &mut Answer, context: &mut PollContext<'_>) -> FetchError {
        let body = self.shown(answer);
        let error = self.words.refusal(answer.status, &body);
        if answer.status != 429 {
            return error;
        }
        let wait = retry_after(answer.retry_after.as_deref(), answer.date);
        let wait = wait.unwrap_or(USUAL_HOLD);
        match context.quota.hold(context.now, wait) {
            Ok(until) => error.with_hint(self.words.come_again(until)),
            Err(failure) => failure.into(),
        }
    }

    /// The error for a complete answer that is not what it should be; `said` tells why.
    pub(super) fn unexpected(&self, answer: &mut Answer, said: &str) -> FetchError {
        let (status, body) = (answer.status, self.shown(answer));
        let failure = Failure::new(format!("HTTP {status}: {body}: {said}"));
        let failure = failure.with_exit(Exit::Data);
        failure.with_hint(self.words.no_answer()).into()
    }

    /// Reads on in an answer: until there are `enough` bytes of records, for a moment, or to its
    /// end. Returns whether the answer is complete.
    ///
    /// # Errors
    /// When the answer is cut off or not what was requested, or the run is to end. Records that came
    /// before stay good.
    pub(super) fn read_on(
        &self,
        reading: &mut Reading,
        enough: usize,
        shutdown: &Shutdown,
    ) -> Result<bool, FetchError> {
        let Reading {
            answer,
            splitter,
            text,
            ends,
        } = reading;
        if text.capacity() < enough + READ {
            // a new block: glibc grows one in the arena where it began, which may be that of a thread that has ended
            let mut block = Vec::with_capacity(enough + READ);
            block.append(text);
            *text = block;
        }
        // most answers are small, and zeros for a large one take longer than to read them
        let mut buffer = vec![0; FIRST_READ];
        let started = Instant::now();
        loop {
            let has_enough = text.len() >= enough && !ends.is_empty() || ends.len() >= RECORDS;
            if has_enough || started.elapsed() >= PATIENCE {
                return Ok(false);
            }
            if shutdown.reason().is_some() {
                return Err(NetError::stopped().into());
            }
            let read = match answer.read(&mut buffer)? {
                Bytes::Some(count) => {
                    let fed = splitter.feed(&buffer[..count], text, ends);
                    if count == FIRST_READ {
                        buffer.resize(READ, 0);
                    }
                    fed.map(|()| false)
                }
                Bytes::Waiting => Ok(false),
                Bytes::End => splitter.finish().map(|()| true),
            };
            match read {
                Ok(false) => {}
                Ok(true) => return Ok(true),
                Err(broken) => return Err(self.words.unreadable(&broken, &self.shown(answer))),
            }
        }
    }
}

/// What follows an HTTP status that is no success.
fn kind_of(status: u16) -> FetchErrorKind {
    match status {
        // the server gave up waiting for its own answer, or says that it would be too large
        413 | 504 => FetchErrorKind::TooMuch,
        // the request came late, on the wrong connection or too early; the server is down for now
        408 | 421 | 425 | 503 => FetchErrorKind::Transient,
        500.. => FetchErrorKind::ServerFailed,
        _ => FetchErrorKind::Lasting,
    }
}

/// A request that is being made.
#[derive(Debug)]
pub(super) struct Asked {
    underway: Underway,
    /// When it was begun, and booked.
    pub(super) at: OffsetDateTime,
    begun: Instant,
}

impl Asked {
    /// What came of it; `None` if that takes longer than this.
    pub(super) fn wait(
        &self,
        time: Wait,
        counters: &mut Counters,
    ) -> Option<Result<Answer, RequestError>> {
        let answer = self.underway.wait(time)?;
        Some(answer.inspect_err(|error| counters.requests -= u64::from(!error.was_sent)))
    }

    /// How long it has taken so far.
    pub(super) fn elapsed(&self) -> Wait {
        self.begun.elapsed()
    }

    /// Our time when the head of this answer came.
    pub(super) fn heard(&self, answer: &Answer) -> OffsetDateTime {
        self.at + answer.took
    }
}

/// An answer that is being read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) answer: Answer,
    pub(super) splitter: Splitter,
    /// Records; the last one may be incomplete.
    text: Vec<u8>,
    /// Where each complete record ends.
    ends: Vec<usize>,
}

impl Reading {
    /// Starts at the beginning of an answer.
    pub(super) fn new(answer: Answer, splitter: Splitter) -> Reading {
        Reading {
            answer,
            splitter,
            text: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Takes the complete records since the last call, and where each ends.
    pub(super) fn take(&mut self) -> (Vec<u8>, Vec<usize>) {
        let complete = self.ends.last().copied().unwrap_or(0);
        let rest = self.text.split_off(complete);
        let text = std::mem::replace(&mut self.text, rest);
        (text, std::mem::take(&mut self.ends))
    }
}

/// Each record of a text, by where they end.
pub(super) fn each<'a>(text: &'a [u8], ends: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut start = 0;
    ends.iter().map(move |&end| {
        let record = &text[start..end];
        start = end;
        record
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: ErrorHints = ErrorHints {
        api: "API",
        denied: "[Denied 1] ",
        refused: "",
        address: "url",
        bad_request: "b",
        unknown: "u",
        not_entitled: "n",
        comes_back: "c",
        others: &[(409, Exit::Unavailable, "o")],
    };

    #[test]
    fn a_status_says_whether_the_same_or_a_smaller_request_may_help() {
        use FetchErrorKind::{Lasting, ServerFailed, TooMuch, Transient};
        let table = [
            (Lasting, &[204, 206, 301, 400, 401, 403, 404, 418, 429][..]),
            (Transient, &[408, 421, 425, 503]),
            (TooMuch, &[413, 504]),
            (ServerFailed, &[500, 501, 502, 505, 520, 599]),
        ];
        for (kind, statuses) in table {
            for &status in statuses {
                assert_eq!(WORDS.refusal(status, "").kind, kind, "{status}");
            }
        }
    }

    #[test]
    fn each_status_has_its_exit_and_a_hint() {
        let table = [
            (400, 65),
            (401, 77),
            (403, 77),
            (404, 65),
            (408, 69),
            (409, 69),
            (413, 69),
            (418, 65),
            (421, 69),
            (425, 69),
            (429, 75),
            (204, 65),
            (206, 65),
            (302, 65),
            (500, 69),
            (503, 69),
        ];
        for (status, exit) in table {
            let error = WORDS.refusal(status, "why");
            let failure = Failure::from(error);
            assert_eq!(failure.exit() as u8, exit, "{status}");
            assert!(failure.hint().is_some(), "{status}");
        }
        let said = |status| WORDS.refusal(status, "no").to_string();
        assert_eq!(said(401), "[Denied 1] HTTP 401: no");
        assert_eq!(said(404), "HTTP 404: no");
    }
}
