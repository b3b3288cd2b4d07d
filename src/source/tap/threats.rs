//! The summaries of the threats that recent events name (Proofpoint's "Threat API" document,
//! <https://help.proofpoint.com/Threat_Insight_Dashboard/API_Documentation/Threat_API>).
//!
//! Every window of the SIEM API is read for what its events name: a threat and the status it had. The
//! summary of each such pair is asked for once and is the event. Until all of a window are there the
//! position stays: the next run reads it again, and asks for those that it does not know. One that is
//! never given does not hold up the others of its window, and nothing for more than a day.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use anyhow::{Error, Result};
use serde::Deserialize;
use time::Duration;

use super::events::OptionalText;
use super::siem::{Part, PendingWindow, Siem, Then, sign_in};
use crate::config::Url;
use crate::digest::Hasher;
use crate::error::{Exit, line};
use crate::json_stream::Splitter;
use crate::net::Stopped;
use crate::net::http::{Answer, Bytes, Dropped};
use crate::net::text::path_segment;
use crate::pipeline::batch::{Batch, Digest, EventId, Pass, Record};
use crate::pipeline::checkpoint::{Gap, Stalled};
use crate::source::http_api::{PATIENCE, READ, each};
use crate::source::windows::{BACKOFF, WindowRequest};
use crate::source::{OpenContext, PollContext, Source};

/// What the answers of `/v2/siem/all` have.
pub(crate) const ARRAYS: &[&str] = &[
    "messagesDelivered",
    "messagesBlocked",
    "clicksPermitted",
    "clicksBlocked",
];
/// A pair is not asked for again for so long.
pub(crate) const MEMORY: Duration = Duration::days(30);
/// So many failures, with no good answer between them, are not those of one threat or another.
const IN_A_ROW: u32 = 10;
/// What is not given is passed over, as a gap, once it has held up the runs for so long.
const HELD_UP: Duration = Duration::DAY;
/// So many pairs of a window are held. If it names more, it is read again once these are there.
const HELD: usize = 4096;
/// No id is longer: they are 64 hexadecimal digits.
const MAX_ID: usize = 256;
/// The largest summary that is taken for one; they have about 1 kB.
const MAX_SUMMARY: usize = 4 * 1024 * 1024;

/// Opens the service; nothing is asked for yet.
///
/// # Errors
/// When `[tap]` is missing, or its secret cannot be read.
pub(crate) fn open(context: &OpenContext<'_>) -> Result<Threats> {
    // left out, false positives would be missing
    let statuses = ["active", "cleared", "falsePositive"];
    let filters = statuses.map(|status| ("threatStatus", status.to_owned()));
    let base = &sign_in(context.service, context.config)?.base_url;
    Ok(Threats {
        siem: Siem::open(context, "/v2/siem/all", ARRAYS, filters.into())?,
        summaries: base.join("/v2/threat/summary"),
        queue: None,
        left: context.settings.max_threats_per_run,
        is_limited: false,
        done_with: HashSet::new(),
        put_off: None,
        refused: Vec::new(),
        failed: None,
        failures: 0,
        attempts: context.attempts,
    })
}

/// The summaries of threats.
#[derive(Debug)]
pub(crate) struct Threats {
    siem: Siem,
    /// Where they are, each below its id.
    summaries: Url,
    /// What the window that is being read names.
    queue: Option<ThreatQueue>,
    /// How many more this run delivers.
    left: u32,
    /// Whether it ended for that.
    is_limited: bool,
    /// Pairs of which there was no summary in this run, or none that could be had.
    done_with: HashSet<Digest>,
    /// Why one that the window names could not be had, and which could not.
    put_off: Option<Error>,
    refused: Vec<Digest>,
    /// The same, once it is noted that it holds up the service.
    failed: Option<Error>,
    /// Failures since the last good answer.
    failures: u32,
    /// A question is asked so often.
    attempts: u32,
}

/// The pairs that a window names and that are to be asked for.
#[derive(Debug)]
struct ThreatQueue {
    pending: PendingWindow,
    pairs: VecDeque<ThreatStatus>,
    /// The digests of all that were held.
    met: HashSet<Digest>,
    /// Whether there are more than can be held.
    is_more: bool,
    /// Whether the whole window was read.
    is_whole: bool,
    /// Whether the first pair was asked for in vain.
    is_again: bool,
}

/// A threat with the status that an event says it has.
#[derive(Debug)]
struct ThreatStatus {
    id: String,
    digest: Digest,
}

impl Source for Threats {
    fn ahead(&self) -> Option<Duration> {
        self.siem.windows.ahead()
    }

    fn next(&mut self, context: &mut PollContext<'_>) -> Result<Option<Batch>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        match self.queue.take() {
            Some(queue) if queue.is_whole => self.ask(queue, context),
            queue => match self.siem.next(context)? {
                Some(part) => Ok(Some(self.collect(queue, part, context))),
                None => Ok(None),
            },
        }
    }

    fn limit(&self) -> Option<&'static str> {
        self.is_limited.then_some("stopped at max_threats_per_run")
    }
}

impl Threats {
    /// Takes the pairs from some records of a window.
    fn collect(
        &mut self,
        queue: Option<ThreatQueue>,
        part: Part,
        context: &mut PollContext<'_>,
    ) -> Batch {
        // of another question nothing counts, as when its window could not be asked for
        let is_same =
            |queue: &ThreatQueue| queue.pending.request.number == part.pending.request.number;
        let queue = queue.filter(is_same);
        let mut queue = queue.unwrap_or_else(|| ThreatQueue::new(part.pending));
        for record in each(&part.text, &part.ends) {
            match serde_json::from_slice::<NamedThreats<'_>>(record) {
                Ok(event) => event
                    .pairs()
                    .for_each(|(id, status)| self.hold(&mut queue, id, status, context)),
                Err(_) => context.counters.unreadable += 1,
            }
        }
        let commit = match part.then {
            Then::GivenUp(commit) => Some(commit),
            Then::More | Then::Whole => {
                queue.is_whole = matches!(part.then, Then::Whole);
                self.queue = Some(queue);
                None
            }
        };
        Batch {
            commit,
            ..Batch::default()
        }
    }

    fn hold(&self, queue: &mut ThreatQueue, id: &str, status: &str, context: &PollContext<'_>) {
        if id.is_empty() {
            return;
        }
        if id.len() > MAX_ID {
            log::warn!(
                "an event names a threat by {} bytes: no id is that long",
                id.len()
            );
            return;
        }
        let digest = identify(id, status);
        let is_done = context.dedup.contains(&digest) || self.done_with.contains(&digest);
        if is_done || queue.met.contains(&digest) {
            return;
        }
        if queue.pairs.len() >= HELD {
            queue.is_more = true;
            return;
        }
        queue.met.insert(digest);
        let id = id.to_owned();
        queue.pairs.push_back(ThreatStatus { id, digest });
    }

    /// Asks for the next summary of a window that was read, or ends the window.
    fn ask(
        &mut self,
        mut queue: ThreatQueue,
        context: &mut PollContext<'_>,
    ) -> Result<Option<Batch>> {
        if std::mem::take(&mut queue.is_again) {
            let wait = BACKOFF.wait(self.failures, context.now);
            context.shutdown.sleep(wait);
        }
        let started = Instant::now();
        while let Some(threat) = queue.pairs.pop_front() {
            if context.shutdown.reason().is_some() {
                return Ok(None);
            }
            if self.left == 0 {
                self.is_limited = true;
                return self.put_off.take().map_or(Ok(None), Err);
            }
            match self.summary(&threat, context) {
                Ok(Some(text)) => {
                    (self.left, self.failures) = (self.left - 1, 0);
                    let record = Record {
                        end: u32::try_from(text.len()).unwrap_or(u32::MAX),
                        identity: EventId::Key(threat.digest),
                        late: None,
                    };
                    let batch = Some(Batch {
                        text,
                        records: vec![record],
                        request: queue.pending.request,
                        ..Batch::default()
                    });
                    self.queue = Some(queue);
                    return Ok(batch);
                }
                Ok(None) => {
                    self.failures = 0;
                    self.done_with.insert(threat.digest);
                    if started.elapsed() < PATIENCE {
                        continue;
                    }
                }
                Err(error) if Stopped::is_in(&error) => return Ok(None),
                Err(error) => self.fail(&mut queue, threat, error)?,
            }
            // what came before is confirmed before there is a wait
            self.queue = Some(queue);
            return Ok(Some(Batch::default()));
        }
        Ok(Some(match queue.is_more {
            true => Batch::default(),
            false => self.end(&queue.pending, context),
        }))
    }

    /// Asks for a summary again, or for the others first.
    fn fail(&mut self, queue: &mut ThreatQueue, threat: ThreatStatus, error: Error) -> Result<()> {
        self.failures += 1;
        // whatever else there is, such as refused credentials, the others would meet as well
        let is_its_own = matches!(Exit::of(&error), Exit::Data | Exit::Unavailable);
        // and whoever asks but once does not ask for others instead
        if !is_its_own || self.attempts == 1 {
            return Err(error);
        }
        if error.is::<Dropped>() && self.failures < self.attempts {
            log::warn!("{}; asking again", line(&error));
            queue.pairs.push_front(threat);
            queue.is_again = true;
        } else {
            log::warn!("{}; asking for the others first", line(&error));
            self.done_with.insert(threat.digest);
            self.put_off.get_or_insert(error);
            self.refused.push(threat.digest);
        }
        if self.failures >= IN_A_ROW {
            queue.pairs.clear();
            queue.is_more = false;
        }
        Ok(())
    }

    /// All that a window names was asked for. If something could not be had, that is the end of the
    /// run, and the next one asks again; but not for more than a day.
    fn end(&mut self, pending: &PendingWindow, context: &mut PollContext<'_>) -> Batch {
        let WindowRequest { window, pass } = pending.step;
        let before = self.siem.windows.until();
        let gave_up = match self.put_off.take() {
            None => false,
            Some(error) => {
                let now = pending
                    .server
                    .map_or(context.now, |server| server.min(context.now));
                let at = match pass {
                    Pass::Recent => before,
                    Pass::Recheck => window.from,
                };
                let since = self.siem.windows.stalled();
                let since = since.filter(|stalled| stalled.at == at);
                let since = since.map_or(now, |stalled| stalled.since);
                if now - since < HELD_UP {
                    self.failed = Some(error);
                    return Batch {
                        commit: Some(self.siem.windows.stall(Stalled { at, since })),
                        ..Batch::default()
                    };
                }
                log::warn!("{}: it is asked for no longer", line(&error));
                true
            }
        };
        self.failures = 0;
        let mut commit = self
            .siem
            .windows
            .complete(pending.step, pending.server, context);
        if gave_up {
            let (from, to) = match pass {
                Pass::Recent => (before, self.siem.windows.until()),
                Pass::Recheck => (window.from, window.to),
            };
            commit.gap = (from < to).then_some(Gap { from, to });
        }
        Batch {
            passed_over: std::mem::take(&mut self.refused),
            request: pending.request,
            commit: Some(commit),
            ..Batch::default()
        }
    }

    /// The summary of a threat; `None` when there is none.
    fn summary(
        &self,
        threat: &ThreatStatus,
        context: &mut PollContext<'_>,
    ) -> Result<Option<Vec<u8>>> {
        let api = &self.siem.api;
        let url = self
            .summaries
            .join(&format!("/{}", path_segment(&threat.id)));
        log::debug!("asking for {url}");
        let what = || format!("[PullError 301] pulling {url}");
        let mut answer = api
            .get_from(&url, &[], context.counters)
            .map_err(|error| error.context(what()))?;
        match answer.status {
            200 => {
                let body = self.read(&mut answer);
                body.map(Some).map_err(|error| error.context(what()))
            }
            404 => Ok(None),
            _ => {
                let error = api.refusal(&mut answer, context)?;
                Err(error.context(format!("asking {url}")))
            }
        }
    }

    /// The whole of an answer; only its frame is judged.
    fn read(&self, answer: &mut Answer) -> Result<Vec<u8>> {
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
            Err(broken) => Err(api.words.unreadable(broken, &api.shown(answer))),
        }
    }
}

impl ThreatQueue {
    fn new(pending: PendingWindow) -> ThreatQueue {
        ThreatQueue {
            pending,
            pairs: VecDeque::new(),
            met: HashSet::new(),
            is_more: false,
            is_whole: false,
            is_again: false,
        }
    }
}

/// What an event says of threats: a message in a list, a click of one.
#[derive(Deserialize)]
struct NamedThreats<'a> {
    #[serde(borrow, default, rename = "threatsInfoMap")]
    threats: Option<Vec<NamedThreat<'a>>>,
    #[serde(borrow, default, rename = "threatID")]
    id: OptionalText<'a>,
    #[serde(borrow, default, rename = "threatStatus")]
    status: OptionalText<'a>,
}

#[derive(Deserialize)]
struct NamedThreat<'a> {
    #[serde(borrow, default, rename = "threatID")]
    id: OptionalText<'a>,
    #[serde(borrow, default, rename = "threatStatus")]
    status: OptionalText<'a>,
}

impl NamedThreats<'_> {
    /// The ids and statuses, some of which may be empty.
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let threats = self.threats.iter().flatten();
        let threats = threats.map(|threat| (threat.id.as_str(), threat.status.as_str()));
        threats.chain([(self.id.as_str(), self.status.as_str())])
    }
}

/// What the summary of a threat with this status is recognised by.
fn identify(id: &str, status: &str) -> Digest {
    let mut hasher = Hasher::of("tap threat");
    hasher.part(id.as_bytes());
    // spelt differently in different places
    hasher.part(status.to_ascii_lowercase().as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::hex;

    fn check(event: &str, expected: &[(&str, &str)]) {
        let event: NamedThreats<'_> = serde_json::from_str(event).unwrap();
        let pairs = event.pairs().filter(|(id, _)| !id.is_empty());
        assert_eq!(pairs.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn messages_and_clicks_name_threats() {
        check(
            r#"{"threatsInfoMap":[{"threatID":"a","threatStatus":"active","x":1},{"threatID":"b","threatStatus":null}]}"#,
            &[("a", "active"), ("b", "")],
        );
        check(
            r#"{"threatID":"\u0061","threatStatus":"cleared","threatsInfoMap":null}"#,
            &[("a", "cleared")],
        );
        check(r#"{"threatID":null}"#, &[]);
        check("{}", &[]);
    }

    #[test]
    fn the_digests_of_threats_stay_as_they_are() {
        // a changed digest means doubles for every user: a recipe that must change gets a new version
        // instead, under a kind of its own
        let golden = [
            (("t", "active"), "4b00280ebd94de4d557fc7343f192beb"),
            (("t", "Active"), "4b00280ebd94de4d557fc7343f192beb"),
            (("t", ""), "8fd8a038322d5c8308d0e97fde8de15b"),
        ];
        for ((id, status), digest) in golden {
            assert_eq!(hex(&identify(id, status)), digest, "{id} {status}");
        }
    }
}
