//! `People` reads a report of the People API once a day (Proofpoint's "People API" document,
//! <https://help.proofpoint.com/Threat_Insight_Dashboard/API_Documentation/People_API>).
//!
//! A window is a day of UTC. Its report has an `interval`, and one or more pages of people. All pages of
//! one interval are a report; anything less is requested again from the first page. `page` decides what
//! follows a page. Each person is an event, with the interval appended.

pub(crate) mod api;
mod page;
mod person;

use std::mem;

use time::{Duration, OffsetDateTime};

use crate::error::{Exit, Failure};
use crate::json_stream::Splitter;
use crate::pipeline::batch::{Batch, RequestId};
use crate::source::fetch_error::{FetchError, FetchErrorKind};
use crate::source::http_api::{HttpApi, Reading, each};
use crate::source::windows::{PollStep, WindowPoller, WindowRequest};
use crate::source::{PollContext, Source};
use page::{AfterPage, PageLimits, Pages};
use person::with_interval;

/// Size at which a part of a page is looked at, about, in bytes.
const PART: usize = 512 * 1024;
/// The members of an answer beside its people.
const MEMBERS: &[&str] = &[INTERVAL, "totalVapUsers", "totalTopClickers"];
const INTERVAL: &str = "interval";
/// The largest report that is held, in bytes; a person has about 1 kB.
const MAX_REPORT: usize = 64 * 1024 * 1024;
/// How reports are requested. The document of top clickers accepts no more on a page.
const PAGE: PageLimits = PageLimits {
    size: 200,
    most: u32::MAX,
};

/// A report on people.
#[derive(Debug)]
struct People {
    api: HttpApi,
    windows: WindowPoller,
    /// How many days a report covers.
    days: u32,
    pages: PageLimits,
    /// The report that is being read.
    report: Option<PeopleReport>,
}

/// A report, as far as it has come.
#[derive(Debug)]
struct PeopleReport {
    step: WindowRequest,
    /// The server's time when it answered first, if it told it.
    server: Option<OffsetDateTime>,
    pages: Pages,
    /// The people of whole pages: delivered once the report is whole.
    people: Batch,
    /// The page that is being read, and what has come of it.
    reading: Option<Reading>,
    page: Vec<u8>,
    ends: Vec<usize>,
}

impl Source for People {
    fn ahead(&self) -> Option<Duration> {
        self.windows.ahead()
    }

    fn next(&mut self, context: &mut PollContext<'_>) -> Result<Option<Batch>, FetchError> {
        let mut report = match self.report.take() {
            Some(report) => report,
            None => match self.windows.next(context)? {
                None => return Ok(None),
                Some(PollStep::GiveUp(_, commit)) => return Ok(Some(commit.into())),
                Some(PollStep::Ask(step)) => {
                    PeopleReport::new(step, self.windows.ask(step, context)?)
                }
            },
        };
        match self.read(&mut report, context) {
            Ok(None) => {
                self.report = Some(report);
                Ok(Some(Batch::default()))
            }
            Ok(Some(AfterPage::Next)) => {
                context.quota.book(context.now).map_err(|error| {
                    let doing = format_args!("requesting page {} of a report", report.pages.next);
                    FetchError::from(error).context(doing)
                })?;
                self.report = Some(report);
                Ok(Some(Batch::default()))
            }
            Ok(Some(AfterPage::Whole)) => {
                let commit = self.windows.complete(report.step, report.server, context);
                Ok(Some(Batch {
                    commit: Some(commit),
                    ..report.people
                }))
            }
            Err(error) => {
                let url = &self.api.url;
                let error = error.context(format_args!(
                    "[PullError 301] pulling page {} of {url}",
                    report.pages.next
                ));
                Ok(Some(self.windows.give_up(report.step, error).into()))
            }
        }
    }
}

impl PeopleReport {
    fn new(step: WindowRequest, request: RequestId) -> PeopleReport {
        PeopleReport {
            step,
            server: None,
            pages: Pages::default(),
            people: Batch {
                request,
                ..Batch::default()
            },
            reading: None,
            page: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Holds what has come of a page: its interval may come last.
    fn hold(&mut self, (text, ends): (Vec<u8>, Vec<usize>)) {
        let start = self.page.len();
        self.page.extend_from_slice(&text);
        self.ends.extend(ends.iter().map(|end| start + end));
    }

    /// Takes the people of a page that is whole; returns how many they are.
    fn take_page(&mut self, interval: &str, context: &mut PollContext<'_>) -> usize {
        let (page, ends) = (mem::take(&mut self.page), mem::take(&mut self.ends));
        for person in each(&page, &ends) {
            let text = &mut self.people.text;
            let found = with_interval(person, interval, text);
            context.counters.unreadable += u64::from(!found.is_readable);
            self.people.records.push(found.record(text.len()));
            self.pages.add(found.identity);
        }
        ends.len()
    }
}

impl People {
    /// Reads on in a report; what follows, once its page is complete.
    fn read(
        &mut self,
        report: &mut PeopleReport,
        context: &mut PollContext<'_>,
    ) -> Result<Option<AfterPage>, FetchError> {
        let mut reading = match report.reading.take() {
            Some(reading) => reading,
            None => self.ask(report, context)?,
        };
        match reading.answer.status {
            200 => {}
            // there is no page behind the last one
            404 if report.pages.next > 1 => return self.end_page(report, 0, None).map(Some),
            _ => return Err(self.api.refusal(&mut reading.answer, context)),
        }
        let is_whole = self.api.read_on(&mut reading, PART, context.shutdown)?;
        report.hold(reading.take());
        if report.page.len() + report.people.text.len() > MAX_REPORT {
            let said = "the report has more than 64 MiB";
            return Err(self.api.unexpected(&mut reading.answer, said));
        }
        if !is_whole {
            report.reading = Some(reading);
            return Ok(None);
        }
        let Some(interval) = reading.splitter.member(INTERVAL) else {
            let said = "the answer has no interval";
            return Err(self.api.unexpected(&mut reading.answer, said));
        };
        if !report.pages.is_of(&interval) {
            return Err(inconsistent("the report changed between two of its pages"));
        }
        let count = report.take_page(&interval, context);
        let totals = MEMBERS[1..]
            .iter()
            .filter_map(|key| reading.splitter.member(key));
        let total = totals.filter_map(|total| total.parse().ok()).next();
        self.end_page(report, count, total).map(Some)
    }

    fn end_page(
        &self,
        report: &mut PeopleReport,
        count: usize,
        total: Option<usize>,
    ) -> Result<AfterPage, FetchError> {
        let after = report.pages.end(self.pages, count, total);
        after.map_err(|said| inconsistent(&said))
    }

    fn ask(
        &mut self,
        report: &mut PeopleReport,
        context: &mut PollContext<'_>,
    ) -> Result<Reading, FetchError> {
        let [days, size, page] =
            [self.days, self.pages.size, report.pages.next].map(|number| number.to_string());
        let query = [("window", &*days), ("size", &*size), ("page", &*page)];
        let answer = match self.api.get(&query, context.counters) {
            Ok(answer) => answer,
            Err(error) => {
                if !error.was_sent {
                    context.quota.give_back(context.now)?;
                }
                return Err(error.into());
            }
        };
        if let Some(date) = answer.date {
            self.windows.compare_clocks(date, context.now + answer.took);
            report.server.get_or_insert(date);
        }
        Ok(Reading::new(answer, Splitter::keeping(&["users"], MEMBERS)))
    }
}

/// The error of pages that do not fit together: the service may say otherwise soon.
fn inconsistent(said: &str) -> FetchError {
    let failure = Failure::new(said).with_exit(Exit::Unavailable);
    let failure = failure.with_hint("wait; the next run requests the whole report again");
    FetchError::new(FetchErrorKind::Transient, failure)
}
