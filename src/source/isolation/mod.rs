//! `Isolation` reads the reporting API of Proofpoint Isolation, which answers by jobs.
//!
//! Proofpoint publishes no document of it; what is known comes from its community tool iso2web and
//! its add-on for Splunk. A window is one job: it is requested, polled until it is completed, then
//! read page by page, with ordinals that count through all of its pages. `job` says what follows an
//! answer.

pub(crate) mod api;
mod job;
mod page;
mod request;

use std::time::Duration as Wait;

use time::{Duration, OffsetDateTime};

use super::fetch_error::{FetchError, FetchErrorKind};
use super::http_api::{Asked, ErrorHints, HttpApi, Reading};
use super::windows::{BACKOFF, PollStep as Turned, WindowPoller, WindowRequest};
use super::{PollContext, Source};
use crate::clock::{Instant, utc};
use crate::error::{Exit, Failure};
use crate::net::http::Answer;
use crate::pipeline::batch::{Batch, Record, RequestId};
use job::{AfterAnswer, JobAnswer, JobData, JobError, JobProgress};
use page::{Page, PageEnd};
use request::Heard;

/// Records per page; the API accepts no more.
const PAGE_SIZE: &str = "10000";
/// Bytes of a page that are held and sorted. A page of 10,000 records has 5 MB; a larger one is
/// sorted and delivered in pieces, so that memory stays bounded.
const HELD: usize = 6 * 1024 * 1024;
/// Most records that are held, however small they are.
const RECORDS: usize = 20_000;
/// Size of a part that is read, and of a batch, about, in bytes.
const BATCH: usize = 512 * 1024;
/// A job may take this many times the longest silence, `[http] timeout`.
const SILENCES: u32 = 8;
/// The HTTP status of a job that was accepted.
const ACCEPTED: u16 = 202;
/// What its answers have: records, and the state of the job.
const DATA: &[&str] = &["data"];
const MEMBERS: &[&str] = &["status", "jobId", "pageToken", "total", "data"];

/// What helps, for Isolation.
const HINTS: ErrorHints = ErrorHints {
    api: "Isolation API",
    denied: "[ApiError 403] ",
    refused: "",
    address: "url of the service",
    bad_request: "check start_time and url of the service, and this machine's clock: the API rejected the \
         request",
    unknown: "set [isolation] api_key to a valid key; create it in the Isolation console under Product \
         Settings, Reporting API",
    not_entitled: "check [isolation] api_key, and that it is for this product; create it in the Isolation \
         console under Product Settings, Reporting API",
    comes_back: "Proofpoint does not publish the limit",
    others: &[],
};

/// A product of Isolation.
#[derive(Debug)]
pub(crate) struct Isolation {
    api: HttpApi,
    windows: WindowPoller,
    /// Longest time until a job is completed, and then until each of its pages is there.
    job_timeout: Wait,
    job: Option<Job>,
}

/// A window that was requested.
#[derive(Debug)]
struct Job {
    step: WindowRequest,
    request: RequestId,
    /// The server's time when it was requested.
    server: Option<OffsetDateTime>,
    progress: JobProgress,
    /// Since when it is polled in vain.
    since: Instant,
    /// Whether some records of the current answer were delivered already.
    in_pieces: bool,
    page: Page,
    /// The end of the page before, or of the pieces of this page.
    before: PageEnd,
    next: JobStep,
}

/// What follows in a job once its page is delivered.
#[derive(Debug)]
enum JobStep {
    /// Lets the cycle confirm what it has, since a wait follows.
    Confirm(Wait),
    Wait(Wait),
    Ask,
    /// Waits for the answer to a request.
    Hear(Asked),
    Read(Box<Reading>),
    End,
    /// The window was chosen by a wrong clock, and the server has told its time.
    Replan,
}

impl Source for Isolation {
    fn ahead(&self) -> Option<Duration> {
        self.windows.ahead()
    }

    fn next(&mut self, context: &mut PollContext<'_>) -> Result<Option<Batch>, FetchError> {
        let mut job = match self.job.take() {
            Some(job) => job,
            None => match self.windows.next(context)? {
                Some(Turned::Ask(step)) => {
                    let request = self.windows.ask(step, context)?;
                    Job::new(step, request)
                }
                Some(Turned::GiveUp(_, commit)) => return Ok(Some(commit.into())),
                None => return Ok(None),
            },
        };
        let mut batch = match self.step(&mut job, context) {
            Ok(()) => job.batch(&self.windows, context),
            Err(error) => {
                let (step, url) = (job.step, &self.api.url);
                let error = error.context(format_args!("pulling {step} from {url}"));
                return Ok(Some(self.windows.give_up(step, error).into()));
            }
        };
        match job.next {
            JobStep::End if !job.page.is_open() => {
                batch.commit = Some(self.windows.complete(job.step, job.server, context));
            }
            JobStep::Replan => {}
            _ => {
                batch.goes_on = matches!(job.next, JobStep::Read(_));
                self.job = Some(job);
            }
        }
        Ok(Some(batch))
    }
}

impl Isolation {
    /// Goes on with a job, unless records wait for delivery.
    fn step(&mut self, job: &mut Job, context: &mut PollContext<'_>) -> Result<(), FetchError> {
        if job.page.is_open() {
            return Ok(());
        }
        let mut reading = match std::mem::replace(&mut job.next, JobStep::End) {
            JobStep::End | JobStep::Replan => return Ok(()),
            JobStep::Confirm(wait) => {
                job.next = JobStep::Wait(wait);
                return Ok(());
            }
            JobStep::Wait(wait) => {
                context.shutdown.sleep(wait);
                job.next = JobStep::Ask;
                return Ok(());
            }
            JobStep::Ask => {
                job.next = JobStep::Hear(self.ask(job, context));
                return self.step(job, context);
            }
            JobStep::Hear(asked) => match self.hear(job, asked, context) {
                Ok(Heard::Answer(reading)) => reading,
                Ok(Heard::Nothing(asked)) => {
                    job.next = JobStep::Hear(asked);
                    return Ok(());
                }
                Ok(Heard::OtherWindow) => {
                    job.next = JobStep::Replan;
                    return Ok(());
                }
                Err(error) => {
                    let failures = job.progress.repeat(error.kind);
                    let Some(failures) = failures else {
                        return Err(error);
                    };
                    self.windows.repeats.note(&error);
                    job.next = JobStep::Confirm(BACKOFF.wait(failures, context.now));
                    return Ok(());
                }
            },
            JobStep::Read(reading) => reading,
        };
        match self.api.read_on(&mut reading, BATCH, context.shutdown) {
            Ok(false) => {
                job.hold(&mut reading);
                job.next = JobStep::Read(reading);
                Ok(())
            }
            Ok(true) => self.judge(job, *reading, Ok(()), context),
            // a job that was accepted need not say more yet
            Err(error)
                if error.kind == FetchErrorKind::NoRecords
                    || error.kind == FetchErrorKind::Lasting
                        && reading.answer.status == ACCEPTED =>
            {
                self.judge(job, *reading, Err(error), context)
            }
            Err(error) => Err(error),
        }
    }

    /// Handles a complete answer; `data` is the error if it has no list of records.
    fn judge(
        &self,
        job: &mut Job,
        mut reading: Reading,
        data: Result<(), FetchError>,
        context: &mut PollContext<'_>,
    ) -> Result<(), FetchError> {
        let (text, ends) = reading.take();
        job.page.add(text, &ends);
        let end = job.page_end();
        let is_accepted = reading.answer.status == ACCEPTED;
        let member = |key| reading.splitter.member(key);
        let answer = JobAnswer {
            status: member("status").or_else(|| is_accepted.then(|| "ACCEPTED".to_owned())),
            id: member("jobId"),
            page_token: member("pageToken"),
            total: member("total"),
            data: match (&data, member("data")) {
                (Ok(()), _) => JobData::List,
                (Err(_), Some(_)) => JobData::Other,
                (Err(_), None) => JobData::Absent,
            },
            in_pieces: job.in_pieces,
            has_records: !job.page.is_empty(),
        };
        let waited = job.since.elapsed();
        job.next = match job.progress.take(answer, waited, self.job_timeout) {
            Ok(AfterAnswer::Poll(wait)) => {
                job.page = Page::default();
                job.next = JobStep::Confirm(wait);
                return Ok(());
            }
            // it is on its way while this one is sorted and delivered
            Ok(AfterAnswer::NextPage(Wait::ZERO)) => {
                drop(reading);
                JobStep::Hear(self.ask(job, context))
            }
            Ok(AfterAnswer::NextPage(wait)) => JobStep::Confirm(wait),
            Ok(AfterAnswer::LastPage) => JobStep::End,
            Err(JobError::NoData(hint)) => return data.map_err(|error| error.with_hint(hint)),
            Err(error) => return Err(self.failed(&error, &mut reading.answer)),
        };
        match job.page.is_empty() {
            true => job.page = Page::default(),
            false => job.page.sort(),
        }
        job.before = end;
        (job.since, job.in_pieces) = (Instant::now(), false);
        Ok(())
    }

    /// The error for a job that cannot go on after this answer.
    fn failed(&self, error: &JobError, answer: &mut Answer) -> FetchError {
        let said = self.api.excerpt(&error.to_string());
        match error {
            JobError::Failed(_) => too_slow(
                &format!("{said}: {}", self.api.shown(answer)),
                "wait until the service recovers; the next run retries with a shorter window",
            ),
            JobError::TooSlow { .. } => too_slow(
                &said,
                "set a longer [http] timeout if jobs are always slow; the next run retries with a \
                 shorter window",
            ),
            JobError::InPieces(_) => {
                let failure = Failure::new(said).with_exit(Exit::Unavailable);
                FetchError::new(FetchErrorKind::TooMuch, failure)
            }
            JobError::NoId(_) if answer.status == ACCEPTED => {
                self.api.unexpected(answer, &said).transient()
            }
            JobError::NoStatus
            | JobError::NoData(_)
            | JobError::RepeatedToken
            | JobError::EmptyPages
            | JobError::NoId(_) => self.api.unexpected(answer, &said),
        }
    }
}

impl Job {
    fn new(step: WindowRequest, request: RequestId) -> Job {
        Job {
            step,
            request,
            server: None,
            progress: JobProgress::default(),
            since: Instant::now(),
            in_pieces: false,
            page: Page::default(),
            before: PageEnd::default(),
            next: JobStep::Ask,
        }
    }

    /// Holds what has come of an answer, or delivers it if it is too much to hold.
    ///
    /// Records may come before the status. They are evidence whatever it will be; only if the job
    /// is not completed, the window is requested again.
    fn hold(&mut self, reading: &mut Reading) {
        let (text, ends) = reading.take();
        self.page.add(text, &ends);
        if self.page.is_full(HELD, RECORDS) {
            self.before = self.page_end();
            self.page.sort();
            self.in_pieces = true;
        }
    }

    /// What the page ends with so far. Drops what it repeats of the page before.
    fn page_end(&mut self) -> PageEnd {
        let mut end = match self.in_pieces {
            true => std::mem::take(&mut self.before),
            false => PageEnd::default(),
        };
        self.page.note_end(&mut end);
        if !self.in_pieces {
            let again = self.page.drop_overlap(&self.before);
            if again > 0 {
                log::debug!("the page repeats {again} records of the page before");
            }
        }
        end
    }

    /// The next records of the page.
    fn batch(&mut self, windows: &WindowPoller, context: &mut PollContext<'_>) -> Batch {
        let mut batch = Batch {
            request: self.request,
            ..Batch::default()
        };
        if !self.page.is_open() {
            return batch;
        }
        batch.text.reserve(BATCH + BATCH / 8);
        while batch.text.len() < BATCH
            && (batch.text.is_empty() || !self.page.is_next_large())
            && let Some(record) = self.page.next(&mut batch.text)
        {
            context.counters.unreadable += u64::from(!record.is_readable());
            let date = record.date.map(utc);
            let late = windows.seconds_late(date.as_deref());
            let identity = record.identity;
            let end = u32::try_from(batch.text.len()).unwrap_or(u32::MAX);
            batch.records.push(Record {
                end,
                identity,
                late,
                is_plain: false,
            });
        }
        if !self.page.is_open() {
            self.page = Page::default();
        }
        batch
    }
}

/// The error of a job that only a smaller one can avoid.
fn too_slow(said: &str, hint: &str) -> FetchError {
    let failure = Failure::new(said).with_exit(Exit::Unavailable);
    FetchError::new(FetchErrorKind::TooSlow, failure.with_hint(hint))
}
