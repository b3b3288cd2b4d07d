//! `JobProgress` decides after each answer what comes next in a job of the reporting API.
//!
//! Pure. A job is requested, polled until it is completed, and then read page by page. Its records
//! are its `data`, and no `total` takes their place; but a first and only answer that has no `data`
//! and says itself that the total is 0 is an empty range.

use std::collections::HashSet;
use std::time::Duration;

use crate::digest::Hasher;
use crate::pipeline::batch::Digest;
use crate::source::fetch_error::FetchErrorKind;

/// The waits between two polls of a job double from the first of these to the second.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The waits after pages without records double up to this one.
const LONGEST_PAGE_WAIT: Duration = Duration::from_secs(2);
/// Most pages without records in a row.
const MOST_EMPTY_PAGES: u32 = 10;
/// How often in a row a poll, or the request of a page, is repeated.
const REPEATS: u32 = 2;
/// A status that contains one of these will not become COMPLETED any more. None is documented.
const FAILURES: [&str; 11] = [
    "FAIL", "ERROR", "CANCEL", "ABORT", "EXPIR", "REJECT", "KILL", "INVALID", "DENIED", "TIMEOUT",
    "TIMED",
];

/// How far a job has come.
#[derive(Debug, Default)]
pub(super) struct JobProgress {
    /// Its id, once the API has given it one.
    id: Option<String>,
    /// The page to request, unless it is the first.
    page_token: Option<String>,
    /// The digests of all page tokens so far.
    tokens: HashSet<Digest>,
    /// Pages without records in a row.
    empty_pages: u32,
    /// Polls in vain since it was requested, or since its last page.
    polls: u32,
    /// Failures since the last answer.
    failures: u32,
}

/// What a whole answer says of its job; what is `null` or empty is absent.
#[derive(Debug, Clone, Default)]
pub(super) struct JobAnswer {
    pub(super) status: Option<String>,
    pub(super) id: Option<String>,
    pub(super) page_token: Option<String>,
    pub(super) total: Option<String>,
    pub(super) data: JobData,
    /// Whether some of its records were handed over already, since they were too many to hold.
    pub(super) in_pieces: bool,
    /// Whether it has records.
    pub(super) has_records: bool,
}

/// What an answer has under `data`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum JobData {
    /// The records of a page.
    List,
    /// Something else.
    Other,
    #[default]
    Absent,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AfterAnswer {
    /// The job is not completed: it is polled again after a wait.
    Poll(Duration),
    /// A page is complete; the next one is requested after a wait.
    NextPage(Duration),
    /// The last page is complete.
    LastPage,
}

/// Why a job cannot go on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum JobError {
    #[error("the answer has no status")]
    NoStatus,
    /// It is completed, but has no records; what that says, for people.
    #[error("the answer has no data")]
    NoData(String),
    #[error("the job has more than {MOST_EMPTY_PAGES} pages without records in a row")]
    EmptyPages,
    #[error("the answer repeats an earlier pageToken")]
    RepeatedToken,
    #[error("the job is {0:?} and has no jobId")]
    NoId(String),
    #[error("the job is {0:?}")]
    Failed(String),
    #[error("the job is {status:?}, not COMPLETED after {} s", waited.as_secs())]
    TooSlow { status: String, waited: Duration },
    /// What was handed over will be known, but ordinals cannot go on from there.
    #[error("the job is {0:?}, but its answer was too large to hold in memory")]
    InPieces(String),
}

impl JobProgress {
    /// The parameters that name the job, and its page, in a request.
    pub(super) fn query(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let id = self.id.iter().map(|id| ("jobId", id.as_str()));
        let token = self.page_token.iter();
        id.chain(token.map(|token| ("pageToken", token.as_str())))
    }

    /// Whether the API has given it an id.
    pub(super) fn has_id(&self) -> bool {
        self.id.is_some()
    }

    /// Takes on the failure of a request. Returns how often in a row requests have failed if this one
    /// may be repeated within the job; otherwise the whole window must be.
    pub(super) fn repeat(&mut self, kind: FetchErrorKind) -> Option<u32> {
        let is_passing = matches!(
            kind,
            FetchErrorKind::Transient | FetchErrorKind::ServerFailed
        );
        self.failures += 1;
        (self.has_id() && is_passing && self.failures <= REPEATS).then_some(self.failures)
    }

    /// Takes on an answer. The job has been polled in vain for as long as `waited`, and may
    /// take `timeout`.
    ///
    /// # Errors
    /// When the job, or the API, does not answer as it should.
    pub(super) fn take(
        &mut self,
        answer: JobAnswer,
        waited: Duration,
        timeout: Duration,
    ) -> Result<AfterAnswer, JobError> {
        self.failures = 0;
        self.id = answer.id.clone().or_else(|| self.id.take());
        let Some(status) = answer.status.clone() else {
            return Err(JobError::NoStatus);
        };
        if status.eq_ignore_ascii_case("COMPLETED") {
            return self.turn_the_page(answer);
        }
        let upper = status.to_ascii_uppercase();
        if FAILURES.iter().any(|word| upper.contains(word)) {
            return Err(JobError::Failed(status));
        }
        if answer.in_pieces {
            return Err(JobError::InPieces(status));
        }
        if self.id.is_none() {
            return Err(JobError::NoId(status));
        }
        let Some(left) = timeout.checked_sub(waited) else {
            return Err(JobError::TooSlow { status, waited });
        };
        let wait = wait_after(self.polls).min(left);
        self.polls += 1;
        Ok(AfterAnswer::Poll(wait))
    }

    /// After a page comes the one that its token names, or nothing.
    fn turn_the_page(&mut self, answer: JobAnswer) -> Result<AfterAnswer, JobError> {
        let is_alone = answer.page_token.is_none() && self.page_token.is_none();
        let is_empty_range =
            is_alone && answer.data == JobData::Absent && answer.total.as_deref() == Some("0");
        if answer.data != JobData::List && !is_empty_range {
            return Err(JobError::NoData(without_data(&answer, is_alone)));
        }
        self.polls = 0;
        self.empty_pages = match answer.has_records || answer.in_pieces {
            true => 0,
            false => self.empty_pages + 1,
        };
        self.page_token = answer.page_token;
        match &self.page_token {
            None => Ok(AfterAnswer::LastPage),
            Some(_) if self.empty_pages > MOST_EMPTY_PAGES => Err(JobError::EmptyPages),
            Some(token) if self.tokens.insert(identify(token)) => {
                Ok(AfterAnswer::NextPage(match self.empty_pages {
                    0 => Duration::ZERO,
                    pages => wait_after(pages - 1).min(LONGEST_PAGE_WAIT),
                }))
            }
            Some(_) => Err(JobError::RepeatedToken),
        }
    }
}

/// What helps when a job is completed without `data`.
fn without_data(answer: &JobAnswer, is_alone: bool) -> String {
    let data = match answer.data {
        JobData::Absent => "absent",
        JobData::List | JobData::Other => "not a list",
    };
    let total = match answer.total.as_deref() {
        None => "absent",
        Some(total) if total.len() <= 20 && total.bytes().all(|c| c.is_ascii_digit()) => total,
        Some(_) => "not a number",
    };
    let page = if is_alone { "no" } else { "a" };
    format!(
        "check url of the service, and [http] proxy; the next run retries. A completed job without \
         data is an empty range only if its total is 0 and it has one page: here data is {data}, \
         the total is {total}, and there is {page} pageToken"
    )
}

fn identify(token: &str) -> Digest {
    let mut hasher = Hasher::of("page token");
    hasher.part(token.as_bytes());
    hasher.finish()
}

/// The wait after this many polls of a job that was not completed.
fn wait_after(polls: u32) -> Duration {
    FIRST_WAIT
        .saturating_mul(1 << polls.min(10))
        .min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(480);
    const LIST: JobAnswer = JobAnswer {
        status: None,
        id: None,
        page_token: None,
        total: None,
        data: JobData::List,
        in_pieces: false,
        has_records: true,
    };
    const NEXT: AfterAnswer = AfterAnswer::NextPage(Duration::ZERO);

    fn some(text: &str) -> Option<String> {
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// An answer with this status and id.
    fn pending(status: &str, id: &str) -> JobAnswer {
        JobAnswer {
            status: some(status),
            id: some(id),
            ..JobAnswer::default()
        }
    }

    /// A completed one, with records and this page token.
    fn page(page_token: &str) -> JobAnswer {
        JobAnswer {
            status: some("COMPLETED"),
            page_token: some(page_token),
            ..LIST
        }
    }

    /// What comes next after each answer, one every second.
    fn check(answers: &[JobAnswer], expected: &[Result<AfterAnswer, JobError>]) {
        let mut job = JobProgress::default();
        let taken = answers.iter().cloned();
        let found: Vec<_> = taken
            .map(|answer| job.take(answer, Duration::from_secs(1), TIMEOUT))
            .collect();
        assert_eq!(found, expected, "{answers:?}");
    }

    fn poll(milliseconds: u64) -> Result<AfterAnswer, JobError> {
        Ok(AfterAnswer::Poll(Duration::from_millis(milliseconds)))
    }

    #[test]
    fn a_job_is_polled_until_it_is_completed_and_read_page_by_page() {
        use AfterAnswer::LastPage;
        check(
            &[
                pending("RUNNING", "j"),
                pending("RUNNING", ""),
                pending("queued", "j"),
                page("p"),
                // a page, too, may take its time
                pending("RUNNING", ""),
                page("q"),
                page(""),
            ],
            &[
                poll(250),
                poll(500),
                poll(1000),
                Ok(NEXT),
                poll(250),
                Ok(NEXT),
                Ok(LastPage),
            ],
        );
        // one that is completed at once needs no id
        check(&[page("")], &[Ok(LastPage)]);
        check(&[page("p"), page("")], &[Ok(NEXT), Ok(LastPage)]);
        let completed = JobAnswer {
            status: some("Completed"),
            ..LIST
        };
        check(&[completed], &[Ok(LastPage)]);
    }

    #[test]
    fn a_request_names_the_job_and_the_page_to_come() {
        let mut job = JobProgress::default();
        let mut named = |answer| {
            job.take(answer, Duration::ZERO, TIMEOUT).unwrap();
            let query: Vec<String> = job
                .query()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            query.join("&")
        };
        assert_eq!(named(pending("RUNNING", "j")), "jobId=j");
        assert_eq!(named(pending("RUNNING", "")), "jobId=j");
        assert_eq!(named(page("p")), "jobId=j&pageToken=p");
        assert_eq!(named(pending("RUNNING", "k")), "jobId=k&pageToken=p");
        assert_eq!(named(page("")), "jobId=k");
        assert_eq!(JobProgress::default().query().count(), 0);
    }

    #[test]
    fn a_request_that_fails_is_repeated_within_its_job_twice_in_a_row() {
        use FetchErrorKind::{Lasting, ServerFailed, TooMuch, Transient};
        let mut job = JobProgress::default();
        assert_eq!(job.repeat(Transient), None, "there is no job yet");
        let answer =
            |job: &mut JobProgress| job.take(pending("RUNNING", "j"), Duration::ZERO, TIMEOUT);
        for _ in 0..2 {
            answer(&mut job).unwrap();
            assert_eq!(job.repeat(Transient), Some(1));
            assert_eq!(job.repeat(ServerFailed), Some(2));
            assert_eq!(job.repeat(Transient), None);
        }
        for kind in [TooMuch, Lasting] {
            answer(&mut job).unwrap();
            assert_eq!(job.repeat(kind), None, "{kind:?}");
        }
    }

    #[test]
    fn a_status_is_pending_unless_it_is_completed_or_says_that_it_failed() {
        for status in [
            "RUNNING",
            "queued",
            "?",
            "in progress",
            "COMPLETE",
            "Unknown",
        ] {
            check(&[pending(status, "j")], &[poll(250)]);
        }
        for status in [
            "FAILED",
            "failure",
            "Error",
            "Cancelled",
            "CANCELED",
            "ABORTED",
            "expired",
            "REJECTED",
            "Killed",
            "invalid",
            "Denied",
            "TIMEOUT",
            "TIMED_OUT",
        ] {
            let failed = Err(JobError::Failed(status.to_owned()));
            check(&[pending(status, "j")], std::slice::from_ref(&failed));
            // that counts more than all else that is wrong
            let mut other = pending(status, "");
            other.in_pieces = true;
            check(&[other], std::slice::from_ref(&failed));
        }
    }

    #[test]
    fn an_answer_without_a_status_or_a_pending_job_without_an_id_is_an_error() {
        check(&[LIST], &[Err(JobError::NoStatus)]);
        check(&[JobAnswer::default()], &[Err(JobError::NoStatus)]);
        let no_id = Err(JobError::NoId("RUNNING".to_owned()));
        check(&[pending("RUNNING", "")], &[no_id]);
    }

    #[test]
    fn pages_without_records_come_ever_more_slowly_and_have_a_limit() {
        let empty = |number: u32| JobAnswer {
            has_records: false,
            ..page(&number.to_string())
        };
        let mut job = JobProgress::default();
        let mut take = |answer| job.take(answer, Duration::ZERO, TIMEOUT);
        let wait = |milliseconds| Ok(AfterAnswer::NextPage(Duration::from_millis(milliseconds)));
        assert_eq!(take(empty(0)), wait(250));
        assert_eq!(take(empty(1)), wait(500));
        assert_eq!(take(page("records")), Ok(NEXT));
        for number in 2..2 + MOST_EMPTY_PAGES {
            let next = take(empty(number));
            assert!(
                matches!(next, Ok(AfterAnswer::NextPage(_))),
                "{number}: {next:?}"
            );
        }
        assert_eq!(take(empty(99)), Err(JobError::EmptyPages));
    }

    #[test]
    fn a_page_token_that_came_before_is_an_error() {
        check(
            &[page("p"), page("p")],
            &[Ok(NEXT), Err(JobError::RepeatedToken)],
        );
        check(
            &[page("p"), page("q"), page("p")],
            &[Ok(NEXT), Ok(NEXT), Err(JobError::RepeatedToken)],
        );
    }

    /// A job that is completed without a list of records: behind a first page, with what stands under
    /// `data`, the total, a page token; what the hint says, or nothing if it is an empty range.
    #[track_caller]
    fn check_without_data(
        is_second: bool,
        (data, total, page_token): (JobData, &str, &str),
        expected: &str,
    ) {
        let mut job = JobProgress::default();
        if is_second {
            job.take(page("first"), Duration::ZERO, TIMEOUT).unwrap();
        }
        let answer = JobAnswer {
            total: some(total),
            data,
            ..page(page_token)
        };
        match (job.take(answer, Duration::ZERO, TIMEOUT), expected) {
            (Ok(AfterAnswer::LastPage), "") => {}
            (Err(JobError::NoData(hint)), expected) if !expected.is_empty() => {
                assert!(hint.contains(expected), "{hint}");
            }
            (found, _) => panic!("{found:?} is not {expected:?}"),
        }
    }

    #[test]
    fn a_completed_job_without_data_is_an_empty_range_only_if_it_says_so_itself() {
        use JobData::{Absent, Other};
        check_without_data(false, (Absent, "0", ""), "");
        check_without_data(false, (Absent, "", ""), "the total is absent");
        check_without_data(false, (Absent, "17", ""), "the total is 17");
        check_without_data(false, (Absent, "00", ""), "the total is 00");
        check_without_data(false, (Absent, "0", "p"), "there is a pageToken");
        check_without_data(false, (Other, "0", ""), "data is not a list");
        // a page of its own is no range of its own
        check_without_data(true, (Absent, "0", ""), "there is a pageToken");
        check_without_data(true, (Absent, "0", "p"), "there is a pageToken");
        // only a number is shown, and a short one
        let long = "9".repeat(30);
        check_without_data(false, (Absent, &long, ""), "the total is not a number");
        check_without_data(false, (Absent, "key", ""), "the total is not a number");
    }

    #[test]
    fn a_total_never_takes_the_place_of_records() {
        for total in ["", "0", "17"] {
            let answer = JobAnswer {
                total: some(total),
                ..page("")
            };
            check(&[answer], &[Ok(AfterAnswer::LastPage)]);
        }
    }

    #[test]
    fn records_that_were_handed_over_before_the_job_is_completed_end_the_attempt() {
        let mut answer = pending("RUNNING", "j");
        answer.in_pieces = true;
        check(&[answer], &[Err(JobError::InPieces("RUNNING".to_owned()))]);
        let mut answer = page("");
        answer.in_pieces = true;
        check(&[answer], &[Ok(AfterAnswer::LastPage)]);
    }

    #[test]
    fn a_job_may_take_as_long_as_its_timeout_and_no_wait_passes_that() {
        let after = |polls: u32, waited: u64| {
            let mut job = JobProgress {
                polls,
                ..JobProgress::default()
            };
            let waited = Duration::from_secs(waited);
            job.take(pending("RUNNING", "j"), waited, TIMEOUT)
        };
        assert_eq!(after(9, 440), poll(30_000));
        assert_eq!(after(9, 470), poll(10_000));
        assert_eq!(after(9, 480), poll(0));
        let waited = Duration::from_secs(481);
        let status = "RUNNING".to_owned();
        assert_eq!(after(9, 481), Err(JobError::TooSlow { status, waited }));
        // a page that is there is never too late
        let mut job = JobProgress::default();
        assert_eq!(
            job.take(page(""), waited, TIMEOUT),
            Ok(AfterAnswer::LastPage)
        );
    }

    #[test]
    fn waits_grow_to_half_a_minute() {
        let waits = [0, 1, 2, 6, 7, 100, u32::MAX].map(|polls| wait_after(polls).as_millis());
        assert_eq!(waits, [250, 500, 1000, 16_000, 30_000, 30_000, 30_000]);
    }
}
