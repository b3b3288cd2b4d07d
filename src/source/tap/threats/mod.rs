//! `Threats` reads the summaries of the threats that recent events name (Proofpoint's "Threat API"
//! document, <https://help.proofpoint.com/Threat_Insight_Dashboard/API_Documentation/Threat_API>).
//!
//! It reads every window of the SIEM API for what its events name: a threat and the status it had.
//! It requests the summary of each such pair once; that is the event. The position stays until all
//! of a window's summaries are there: the next run reads the window again, and requests those that
//! are not known. `queue` holds what a window names; `policy` decides what follows when a summary
//! cannot be fetched.

pub(crate) mod api;
mod policy;
mod queue;

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Instant;

use serde::Deserialize;
use time::Duration;

use super::siem::{Part, PendingWindow, Siem, Then};
use crate::config::Url;
use crate::json_stream::Splitter;
use crate::net::http::{Answer, Bytes};
use crate::net::text::path_segment;
use crate::pipeline::batch::{Batch, Digest, EventId, Record};
use crate::source::fetch_error::FetchError;
use crate::source::http_api::{PATIENCE, READ, each};
use crate::source::windows::BACKOFF;
use crate::source::{PollContext, Source};
use policy::{AfterFailure, AfterWindow, IncompleteWindow, SummaryFailures};
use queue::{OddThreats, ThreatQueue, ThreatStatus};

/// The keys of the arrays in the answers of `/v2/siem/all`.
const ARRAYS: &[&str] = &[
    "messagesDelivered",
    "messagesBlocked",
    "clicksPermitted",
    "clicksBlocked",
];
/// How long a summary that was delivered is not requested again.
const MEMORY: Duration = Duration::days(30);
/// The largest summary that is accepted, in bytes; they have about 1 kB.
const MAX_SUMMARY: usize = 4 * 1024 * 1024;

/// The summaries of threats.
#[derive(Debug)]
pub(super) struct Threats {
    siem: Siem,
    /// Where summaries are, each below the id of its threat.
    summaries: Url,
    /// The window that is being read, or whose summaries are being requested.
    window: Option<ThreatWindow>,
    /// How many more summaries this run delivers.
    left: u32,
    /// Whether the run ended because there were that many.
    is_limited: bool,
    /// Pairs that this run requests no more: they have no summary, or it could not be had.
    done_with: HashSet<Digest>,
    /// Pairs of the window whose summary could not be had.
    deferred: Vec<Digest>,
    /// Why the first of them could not.
    deferred_for: Option<FetchError>,
    /// The same, once it is noted that it holds up the service: it ends the run.
    failed: Option<FetchError>,
    /// Failures since the last good answer.
    failures: SummaryFailures,
    /// What could not be read in the windows of this run.
    odd: OddThreats,
}

/// A window, and the threats that it names.
#[derive(Debug)]
struct ThreatWindow {
    pending: PendingWindow,
    threats: ThreatQueue,
    phase: ThreatPhase,
}

/// What is done with a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ThreatPhase {
    /// Its events are read for the threats that they name.
    Events,
    /// The summaries are requested.
    Summaries,
    /// The same summary is requested again, after a wait.
    Retry,
}

impl Source for Threats {
    fn ahead(&self) -> Option<Duration> {
        self.siem.windows.ahead()
    }

    fn next(&mut self, context: &mut PollContext<'_>) -> Result<Option<Batch>, FetchError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        match self.window.take() {
            Some(window) if window.phase != ThreatPhase::Events => self.request(window, context),
            window => match self.siem.next(context)? {
                Some(part) => Ok(Some(self.collect(window, part, context))),
                None => Ok(None),
            },
        }
    }

    fn limit(&self) -> Option<&'static str> {
        self.is_limited.then_some("stopped at max_threats_per_run")
    }
}

impl Drop for Threats {
    fn drop(&mut self) {
        if let Some(odd) = self.odd.told() {
            log::warn!("not all that events say of threats can be read: passed over {odd}");
        }
    }
}

impl Threats {
    /// Requests nothing yet. A run delivers `left` summaries at most.
    fn new(siem: Siem, summaries: Url, left: u32, attempts: u32) -> Threats {
        Threats {
            siem,
            summaries,
            window: None,
            left,
            is_limited: false,
            done_with: HashSet::new(),
            deferred: Vec::new(),
            deferred_for: None,
            failed: None,
            failures: SummaryFailures::new(attempts),
            odd: OddThreats::default(),
        }
    }

    /// Takes the threats from some events of a window.
    fn collect(
        &mut self,
        window: Option<ThreatWindow>,
        part: Part,
        context: &mut PollContext<'_>,
    ) -> Batch {
        // parts of another request do not count, as when this window could not be requested
        let is_same =
            |window: &ThreatWindow| window.pending.request.number == part.pending.request.number;
        let mut window = window.filter(is_same).unwrap_or_else(|| ThreatWindow {
            pending: part.pending,
            threats: ThreatQueue::default(),
            phase: ThreatPhase::Events,
        });
        let is_known =
            |digest: &Digest| context.dedup.contains(digest) || self.done_with.contains(digest);
        for event in each(&part.text, &part.ends) {
            let added = window.threats.add(event, is_known);
            context.counters.unreadable += u64::from(added.is_err());
        }
        let commit = match part.then {
            Then::GivenUp(commit) => Some(commit),
            Then::More => {
                self.window = Some(window);
                None
            }
            Then::Whole => {
                window.phase = ThreatPhase::Summaries;
                self.window = Some(window);
                None
            }
        };
        Batch {
            commit,
            ..Batch::default()
        }
    }

    /// Requests the next summary of a window that was read, or ends the window.
    fn request(
        &mut self,
        mut window: ThreatWindow,
        context: &mut PollContext<'_>,
    ) -> Result<Option<Batch>, FetchError> {
        if window.phase == ThreatPhase::Retry {
            let wait = BACKOFF.wait(self.failures.in_a_row(), context.now);
            context.shutdown.sleep(wait);
            window.phase = ThreatPhase::Summaries;
        }
        let started = Instant::now();
        while let Some(threat) = window.threats.next() {
            if context.shutdown.reason().is_some() {
                return Ok(None);
            }
            if self.left == 0 {
                self.is_limited = true;
                return self.deferred_for.take().map_or(Ok(None), Err);
            }
            match self.summary(&threat, context) {
                Ok(Some(text)) => {
                    self.left -= 1;
                    self.failures.reset();
                    let record = Record {
                        end: u32::try_from(text.len()).unwrap_or(u32::MAX),
                        identity: EventId::Key(threat.digest),
                        late: None,
                    };
                    let batch = Some(Batch {
                        text,
                        records: vec![record],
                        request: window.pending.request,
                        ..Batch::default()
                    });
                    self.window = Some(window);
                    return Ok(batch);
                }
                Ok(None) => {
                    self.failures.reset();
                    self.done_with.insert(threat.digest);
                    if started.elapsed() < PATIENCE {
                        continue;
                    }
                }
                Err(error) if error.is_stop() => return Ok(None),
                Err(error) => self.fail(&mut window, threat, error)?,
            }
            // what came before is confirmed before a wait
            self.window = Some(window);
            return Ok(Some(Batch::default()));
        }
        Ok(Some(match window.threats.is_more() {
            // the window is read again for them
            true => Batch::default(),
            false => {
                self.odd.add_all(&mut window.threats.odd);
                self.end(&window.pending, context)
            }
        }))
    }

    /// A summary could not be had.
    ///
    /// # Errors
    /// With the same error, if it ends the run.
    fn fail(
        &mut self,
        window: &mut ThreatWindow,
        threat: ThreatStatus,
        error: FetchError,
    ) -> Result<(), FetchError> {
        match self.failures.add(error.exit(), error.is_retryable()) {
            AfterFailure::EndTheRun => return Err(error),
            AfterFailure::Retry => {
                log::debug!("{error}; retrying");
                self.siem.windows.repeats.note(&error);
                window.threats.put_back(threat);
                window.phase = ThreatPhase::Retry;
            }
            AfterFailure::Defer => self.defer(&threat, error),
            AfterFailure::DeferTheRest => {
                self.defer(&threat, error);
                window.threats.clear();
            }
        }
        Ok(())
    }

    /// Leaves a summary to the next run.
    fn defer(&mut self, threat: &ThreatStatus, error: FetchError) {
        log::debug!("{error}; requesting the others first");
        match self.deferred_for {
            None => self.deferred_for = Some(error),
            Some(_) => self.siem.windows.repeats.note(&error),
        }
        self.done_with.insert(threat.digest);
        self.deferred.push(threat.digest);
    }

    /// Every summary of a window was requested: it is complete, stalls the service, or is
    /// abandoned.
    fn end(&mut self, pending: &PendingWindow, context: &mut PollContext<'_>) -> Batch {
        let incomplete = IncompleteWindow {
            request: pending.step,
            until: self.siem.windows.until(),
            stalled: self.siem.windows.stalled(),
            clocks: self.siem.windows.clocks(context.now),
        };
        let is_abandoned = self.deferred_for.is_some();
        if let Some(error) = self.deferred_for.take() {
            match incomplete.verdict() {
                AfterWindow::Stall(stalled) => {
                    self.failed = Some(error);
                    return self.siem.windows.stall(stalled).into();
                }
                AfterWindow::Abandon => log::warn!("{error}: it is no longer requested"),
            }
        }
        self.failures.reset();
        let windows = &mut self.siem.windows;
        let mut commit = windows.complete(pending.step, pending.server, context);
        if is_abandoned {
            commit.gap = incomplete.gap(windows.until());
        }
        Batch {
            passed_over: std::mem::take(&mut self.deferred),
            request: pending.request,
            commit: Some(commit),
            ..Batch::default()
        }
    }

    /// Requests the summary of a threat; `None` when there is none.
    fn summary(
        &self,
        threat: &ThreatStatus,
        context: &mut PollContext<'_>,
    ) -> Result<Option<Vec<u8>>, FetchError> {
        let api = &self.siem.api;
        let url = self
            .summaries
            .join(&format!("/{}", path_segment(&threat.id)));
        log::debug!("requesting {url}");
        let what = || format!("[PullError 301] pulling {url}");
        let mut answer = api
            .get_from(&url, &[], context.counters)
            .map_err(|error| FetchError::from(error).context(what()))?;
        match answer.status {
            200 => {
                let body = self.read(&mut answer).and_then(|body| {
                    // a gateway's answer may be JSON, too
                    match is_summary_of(&body, &threat.id) {
                        true => Ok(Some(body)),
                        false => Err(api.unexpected(
                            &mut answer,
                            "the answer does not have the id of the requested threat",
                        )),
                    }
                });
                body.map_err(|error| error.context(what()))
            }
            404 => Ok(None),
            _ => {
                let error = api.refusal(&mut answer, context);
                Err(error.context(format_args!("requesting {url}")))
            }
        }
    }

    /// Reads a whole answer; only its frame is judged.
    fn read(&self, answer: &mut Answer) -> Result<Vec<u8>, FetchError> {
        let api = &self.siem.api;
        let mut splitter = Splitter::new(&[]);
        let (mut body, mut none, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        let mut buffer = vec![0; READ];
        let judged = loop {
            match answer.read(&mut buffer)? {
                Bytes::Some(count) => {
                    let bytes = &buffer[..count];
                    if let Err(broken) = splitter.feed(bytes, &mut none, &mut ends) {
                        break Err(broken);
                    }
                    body.extend_from_slice(bytes);
                    if body.len() > MAX_SUMMARY {
                        return Err(api.unexpected(answer, "the summary has more than 4 MiB"));
                    }
                }
                Bytes::Waiting => {}
                Bytes::End => break splitter.finish(),
            }
        };
        match judged {
            Ok(()) => {
                let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&body);
                Ok(text.trim_ascii().to_vec())
            }
            Err(broken) => Err(api.words.unreadable(&broken, &api.shown(answer))),
        }
    }
}

/// Whether an answer is the summary of this threat: it has its id.
fn is_summary_of(body: &[u8], id: &str) -> bool {
    #[derive(Deserialize)]
    struct ThreatSummary<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    let summary = serde_json::from_slice::<ThreatSummary<'_>>(body);
    summary.is_ok_and(|summary| summary.id.eq_ignore_ascii_case(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_the_id_of_a_threat_is_its_summary() {
        for (body, expected) in [
            (r#"{"id":"ab12","name":"x"}"#, true),
            (r#"{"name":"x","id":"AB12"}"#, true),
            (r#"{"id":"\u0061b12"}"#, true),
            ("{}", false),
            (r#"{"error":"ab12"}"#, false),
            (r#"{"id":"ab13"}"#, false),
            (r#"{"id":12}"#, false),
            (r#"{"id":null}"#, false),
            (r#"[{"id":"ab12"}]"#, false),
            ("", false),
        ] {
            assert_eq!(is_summary_of(body.as_bytes(), "ab12"), expected, "{body}");
        }
    }
}
