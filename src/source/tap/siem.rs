//! `Siem` requests windows of the SIEM API, and splits each answer as it arrives (Proofpoint's
//! "SIEM API" document,
//! <https://help.proofpoint.com/Threat_Insight_Dashboard/API_Documentation/SIEM_API>).

use std::time::Instant;

use time::{Duration, OffsetDateTime};

use super::hints;
use crate::json_stream::Splitter;
use crate::net::http::RequestError;
use crate::pipeline::batch::RequestId;
use crate::pipeline::checkpoint::Commit;
use crate::source::PollContext;
use crate::source::api::OpenContext;
use crate::source::fetch_error::FetchError;
use crate::source::http_api::{HttpApi, Reading};
use crate::source::windows::WindowLimits;
use crate::source::windows::{PollStep, WindowPoller, WindowRequest};

/// The API accepts 30 s to 1 h, ending before its present. It keeps 7 days; an hour of headroom is
/// taken off, since the edge moves while we work. Windows end a minute before the present, since
/// two clocks are never equal.
pub(super) const LIMITS: WindowLimits = WindowLimits {
    shortest: Duration::seconds(30),
    longest: Duration::hours(1),
    keep: Duration::hours(7 * 24 - 1),
    margin: Duration::seconds(60),
    grain: Duration::seconds(1),
};
/// Size at which records are returned, about, in bytes.
const PART: usize = 512 * 1024;

/// The API, and how far this run has come with it.
#[derive(Debug)]
pub(super) struct Siem {
    pub(super) api: HttpApi,
    /// The keys of the arrays in an answer.
    arrays: &'static [&'static str],
    /// `threatType` and `threatStatus`, once for each value.
    filters: Vec<(&'static str, String)>,
    pub(super) windows: WindowPoller,
    open: Option<OpenWindow>,
}

/// A window whose answer is being read.
#[derive(Debug)]
struct OpenWindow {
    pending: PendingWindow,
    reading: Reading,
}

/// The request to which records belong.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingWindow {
    pub(super) step: WindowRequest,
    pub(super) request: RequestId,
    /// The server's time when it answered, if it told it.
    pub(super) server: Option<OffsetDateTime>,
}

/// Some records of a window.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) pending: PendingWindow,
    /// Records, and where each ends.
    pub(super) text: Vec<u8>,
    pub(super) ends: Vec<usize>,
    pub(super) then: Then,
}

/// What follows a part.
#[derive(Debug)]
pub(super) enum Then {
    /// More of the window.
    More,
    /// Nothing: the window is complete.
    Whole,
    /// Nothing: the window failed.
    GivenUp(Commit),
}

impl Siem {
    /// Requests nothing yet.
    pub(super) fn new(
        context: &OpenContext<'_>,
        api: HttpApi,
        arrays: &'static [&'static str],
        filters: Vec<(&'static str, String)>,
    ) -> Siem {
        Siem {
            api,
            arrays,
            filters,
            windows: WindowPoller::new(LIMITS, context),
            open: None,
        }
    }

    /// The next part of a window; `None` when nothing is left, or the run is to stop.
    ///
    /// # Errors
    /// When reading on is useless in this run.
    pub(super) fn next(
        &mut self,
        context: &mut PollContext<'_>,
    ) -> Result<Option<Part>, FetchError> {
        if let Some(open) = self.open.take() {
            return Ok(Some(self.read_on(open, context)));
        }
        let step = match self.windows.next(context)? {
            None => return Ok(None),
            Some(PollStep::Ask(step)) => step,
            Some(PollStep::GiveUp(step, commit)) => return Ok(Some(Part::given_up(step, commit))),
        };
        let mut pending = PendingWindow {
            step,
            request: self.windows.ask(step, context)?,
            server: None,
        };
        let part = match self.ask(&mut pending, context) {
            Ok(reading) if reading.answer.status == 200 => {
                self.read_on(OpenWindow { pending, reading }, context)
            }
            Ok(reading) => self.refused(OpenWindow { pending, reading }, context),
            Err(error) => {
                if !error.was_sent {
                    context.quota.give_back()?;
                }
                let error = FetchError::from(error);
                let error = error.context(format_args!("[PullError 301] pulling {step}"));
                self.without_records(pending, error)
            }
        };
        Ok(Some(part))
    }

    fn ask(
        &mut self,
        pending: &mut PendingWindow,
        context: &mut PollContext<'_>,
    ) -> Result<Reading, RequestError> {
        let interval = pending.step.window.to_string();
        let mut query = vec![("format", "json"), ("interval", interval.as_str())];
        let filters = self.filters.iter();
        query.extend(filters.map(|(key, value)| (*key, value.as_str())));
        let started = Instant::now();
        let answer = self.api.get(&query, context.counters)?;
        if let Some(date) = answer.date {
            self.windows
                .compare_clocks(date, context.now + started.elapsed());
        }
        pending.server = answer.date;
        Ok(Reading::new(answer, Splitter::new(self.arrays)))
    }

    /// Handles an answer with a status other than 200.
    fn refused(&mut self, open: OpenWindow, context: &mut PollContext<'_>) -> Part {
        let OpenWindow {
            pending,
            mut reading,
        } = open;
        let body = self.api.shown(&mut reading.answer);
        let is_bad = reading.answer.status == 400;
        let kept = hints::kept(&body);
        if is_bad && self.windows.replan(pending.step, pending.server, kept) {
            return Part::empty(pending);
        }
        let error = self.api.refusal(&mut reading.answer, context);
        let error = error.context(format!("requesting {} from {}", pending.step, self.api.url));
        self.without_records(pending, error)
    }

    fn without_records(&mut self, pending: PendingWindow, error: FetchError) -> Part {
        Part {
            then: Then::GivenUp(self.windows.give_up(pending.step, error)),
            ..Part::empty(pending)
        }
    }

    /// Reads on in an answer: some records, or the end of the window.
    fn read_on(&mut self, mut open: OpenWindow, context: &PollContext<'_>) -> Part {
        let pending = open.pending;
        let read = self.api.read_on(&mut open.reading, PART, context.shutdown);
        let (text, ends) = open.reading.take();
        let then = match read {
            Ok(true) => Then::Whole,
            Ok(false) => {
                self.open = Some(open);
                Then::More
            }
            Err(error) => {
                let step = pending.step;
                let error = error.context(format!(
                    "[PullError 301] reading the answer of {} for {step}",
                    self.api.url
                ));
                Then::GivenUp(self.windows.give_up(step, error))
            }
        };
        Part {
            pending,
            text,
            ends,
            then,
        }
    }
}

impl Part {
    /// A window that was not requested.
    fn given_up(step: WindowRequest, commit: Commit) -> Part {
        let pending = PendingWindow {
            step,
            request: RequestId::default(),
            server: None,
        };
        Part {
            then: Then::GivenUp(commit),
            ..Part::empty(pending)
        }
    }

    fn empty(pending: PendingWindow) -> Part {
        Part {
            pending,
            text: Vec::new(),
            ends: Vec::new(),
            then: Then::More,
        }
    }
}
