//! `Siem` requests windows of the SIEM API, or of another list, and splits each answer as it arrives (Proofpoint's
//! "SIEM API" document,
//! <https://help.proofpoint.com/Threat_Insight_Dashboard/API_Documentation/SIEM_API>).

use std::fmt;
use std::time::Duration as Wait;

use time::{Duration, OffsetDateTime};

use super::hints;
use crate::json_stream::{RecordOutlines, Splitter};
use crate::pipeline::batch::RequestId;
use crate::pipeline::checkpoint::Commit;
use crate::source::PollContext;
use crate::source::api::OpenContext;
use crate::source::fetch_error::FetchError;
use crate::source::http_api::{Asked, HttpApi, PATIENCE, Reading};
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
/// A server that answers within this time is near: there is no need to ask it for more meanwhile.
const NEAR: Wait = Wait::from_millis(30);
/// Size at which records are returned, about, in bytes.
const PART: usize = 512 * 1024;

/// A list that is read in windows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listing {
    /// Its path below the base URL.
    pub(super) path: &'static str,
    /// The keys of the arrays in an answer.
    pub(super) arrays: &'static [&'static str],
    pub(super) limits: WindowLimits,
    /// The most records of an answer, where a window may have several; then a 404 without text is an
    /// empty one.
    pub(super) page: Option<usize>,
}

/// The events of all services.
pub(super) const EVENTS: Listing = Listing {
    path: "/v2/siem/all",
    arrays: &[
        "messagesDelivered",
        "messagesBlocked",
        "clicksPermitted",
        "clicksBlocked",
    ],
    limits: LIMITS,
    page: None,
};

impl Listing {
    /// Whether its windows are those of the event services.
    pub(super) fn is_of_events(&self) -> bool {
        self.path == EVENTS.path
    }
}

/// The API, and how far this run has come with it.
#[derive(Debug)]
pub(super) struct Siem {
    pub(super) api: HttpApi,
    listing: Listing,
    /// The query besides the interval and the page.
    query: Vec<(&'static str, String)>,
    pub(super) windows: WindowPoller,
    /// The window whose answer has not begun to come.
    asked: Option<AskedWindow>,
    /// The window after it, if it was requested before its turn.
    ahead: Option<AskedWindow>,
    /// Whether windows are requested before their turn.
    asks_ahead: bool,
    /// Whether records are outlined.
    has_outlines: bool,
    /// Whether the last answer was so small that the next one need not wait for it to be read.
    is_small: bool,
    open: Option<OpenWindow>,
    /// The window whose next page is requested.
    next_page: Option<PendingWindow>,
}

/// A window that was requested.
#[derive(Debug)]
struct AskedWindow {
    pending: PendingWindow,
    request: Asked,
}

/// A window whose answer is being read.
#[derive(Debug)]
struct OpenWindow {
    pending: PendingWindow,
    reading: Reading,
    /// Records of this answer so far, and their bytes.
    records: usize,
    bytes: usize,
}

/// The request to which records belong.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingWindow {
    pub(super) step: WindowRequest,
    pub(super) request: RequestId,
    /// The server's time when it answered first, if it told it.
    pub(super) server: Option<OffsetDateTime>,
    /// The number of the answer, from 1.
    page: u32,
}

/// Some records of a window.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) pending: PendingWindow,
    /// Records, and where each ends.
    pub(super) text: Vec<u8>,
    pub(super) ends: Vec<usize>,
    pub(super) outlines: RecordOutlines,
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
        listing: Listing,
        query: Vec<(&'static str, String)>,
    ) -> Siem {
        Siem {
            api,
            listing,
            query,
            windows: WindowPoller::new(listing.limits, context),
            asked: None,
            ahead: None,
            asks_ahead: false,
            has_outlines: false,
            is_small: false,
            open: None,
            next_page: None,
        }
    }

    /// The same, where each answer but the first is on its way before its turn: one at most.
    pub(super) fn asking_ahead(self) -> Siem {
        Siem {
            asks_ahead: true,
            ..self
        }
    }

    /// The same, where records are outlined.
    pub(super) fn with_outlines(self) -> Siem {
        Siem {
            has_outlines: true,
            ..self
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
        let asked = match (self.asked.take(), self.next_page.take()) {
            (Some(asked), _) => asked,
            (None, Some(pending)) => {
                let booked = context.quota.book(context.now);
                booked.map_err(|error| FetchError::from(error).context(pending))?;
                log::debug!("{pending}");
                self.ask(pending, context)
            }
            (None, None) => match self.windows.next(context)? {
                None => return Ok(None),
                Some(PollStep::GiveUp(step, commit)) => {
                    return Ok(Some(Part::given_up(step, commit)));
                }
                Some(PollStep::Ask(step)) => match self.ahead.take() {
                    Some(ahead) if ahead.pending.step == step => ahead,
                    _ => {
                        let request = self.windows.ask(step, context)?;
                        self.ask(PendingWindow::new(step, request), context)
                    }
                },
            },
        };
        self.hear(asked, context).map(Some)
    }

    /// Requests the window after this one, if that can be told by now.
    fn ask_ahead(&mut self, step: WindowRequest, context: &mut PollContext<'_>) {
        if !self.asks_ahead || self.ahead.is_some() {
            return;
        }
        if let Some((step, request)) = self.windows.ask_ahead(step, context) {
            self.ahead = Some(self.ask(PendingWindow::new(step, request), context));
        }
    }

    /// Makes a request that is booked.
    fn ask(&self, pending: PendingWindow, context: &mut PollContext<'_>) -> AskedWindow {
        let interval = pending.step.window.to_string();
        let page = self.listing.page.map(|_| pending.page.to_string());
        let own = self.query.iter();
        let mut query: Vec<_> = own.map(|(key, value)| (*key, value.as_str())).collect();
        query.push(("interval", &interval));
        query.extend(page.as_deref().map(|page| ("page", page)));
        AskedWindow {
            pending,
            request: self.api.begin(&self.api.url, &query, context),
        }
    }

    /// Waits for an answer, for a moment at most, and begins to read it.
    fn hear(
        &mut self,
        asked: AskedWindow,
        context: &mut PollContext<'_>,
    ) -> Result<Part, FetchError> {
        let mut pending = asked.pending;
        let near = NEAR.saturating_sub(asked.request.elapsed());
        let mut answer = asked.request.wait(near, context.counters);
        if answer.is_none() {
            if self.is_small {
                self.ask_ahead(pending.step, context);
            }
            answer = asked.request.wait(PATIENCE, context.counters);
        }
        let answer = match answer {
            None => {
                self.asked = Some(asked);
                return Ok(Part::empty(pending));
            }
            Some(Ok(answer)) => answer,
            Some(Err(error)) => {
                if !error.was_sent {
                    context.quota.give_back(asked.request.at)?;
                }
                let error = FetchError::from(error);
                let error = error.context(format_args!("[PullError 301] pulling {}", pending.step));
                return Ok(self.without_records(pending, error));
            }
        };
        if let Some(date) = answer.date {
            let heard = asked.request.heard(&answer);
            self.windows.compare_clocks(date, heard);
        }
        pending.server = pending.server.or(answer.date);
        let splitter = Splitter::new(self.listing.arrays);
        let splitter = match self.has_outlines {
            true => splitter.with_outlines(),
            false => splitter,
        };
        let open = OpenWindow {
            pending,
            reading: Reading::new(answer, splitter),
            records: 0,
            bytes: 0,
        };
        Ok(match open.reading.answer.status {
            200 => self.read_on(open, context),
            _ => self.refused(open, context),
        })
    }

    /// Handles an answer with a status other than 200.
    fn refused(&mut self, open: OpenWindow, context: &mut PollContext<'_>) -> Part {
        let OpenWindow {
            pending,
            mut reading,
            ..
        } = open;
        let is_page = self.listing.page.is_some() && reading.answer.status == 404;
        if is_page && reading.answer.beginning().trim().is_empty() {
            return Part {
                then: Then::Whole,
                ..Part::empty(pending)
            };
        }
        let body = self.api.shown(&mut reading.answer);
        let is_bad = reading.answer.status == 400;
        let kept = hints::kept(&body);
        if is_bad && self.windows.replan(pending.step, pending.server, kept) {
            return Part::empty(pending);
        }
        let undecided = kept.and_then(|_| self.windows.undecided(pending.step, context.now));
        let refusal = self.api.refusal(&mut reading.answer, context);
        let error = undecided.unwrap_or(refusal);
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
    fn read_on(&mut self, mut open: OpenWindow, context: &mut PollContext<'_>) -> Part {
        let pending = open.pending;
        let read = self.api.read_on(&mut open.reading, PART, context.shutdown);
        let (text, ends) = open.reading.take();
        let outlines = open.reading.splitter.take_outlines();
        open.records += ends.len();
        open.bytes += text.len();
        let is_full = self.listing.page.is_some_and(|page| open.records >= page);
        let then = match read {
            Ok(true) if is_full => {
                self.next_page = Some(PendingWindow {
                    page: pending.page + 1,
                    ..pending
                });
                Then::More
            }
            Ok(true) => {
                self.is_small = open.bytes < PART;
                self.ask_ahead(pending.step, context);
                Then::Whole
            }
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
            outlines,
            then,
        }
    }
}

impl PendingWindow {
    fn new(step: WindowRequest, request: RequestId) -> PendingWindow {
        PendingWindow {
            step,
            request,
            server: None,
            page: 1,
        }
    }
}

impl fmt::Display for PendingWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "requesting page {} of {}", self.page, self.step)
    }
}

impl Part {
    /// A window that was not requested.
    fn given_up(step: WindowRequest, commit: Commit) -> Part {
        Part {
            then: Then::GivenUp(commit),
            ..Part::empty(PendingWindow::new(step, RequestId::default()))
        }
    }

    fn empty(pending: PendingWindow) -> Part {
        Part {
            pending,
            text: Vec::new(),
            ends: Vec::new(),
            outlines: RecordOutlines::default(),
            then: Then::More,
        }
    }
}
