//! `Lookups` looks up what the records of a window name, such as the threats of events.
//!
//! It reads every window of a list for what its records name. Each name is looked up once; the answer is
//! the event. The position stays until all of a window were looked up: the next run reads the window
//! again, and looks up what is not known. Several are looked up at once, and delivered in order.
//!
//! `queue` holds what a window names, `request` makes lookups, and `policy` decides what follows when one
//! fails. A [`LookupKind`] says what is listed, what it names, and where that is looked up.

mod answer;
pub(super) mod api;
mod policy;
mod queue;
mod request;

use std::collections::{HashSet, VecDeque};

use time::Duration;

use super::siem::{Listing, Part, PendingWindow, Siem, Then};
use crate::clock::Instant;
use crate::config::Url;
use crate::pipeline::batch::{Batch, Digest, EventId, Record};
use crate::quota::Pool;
use crate::source::fetch_error::FetchError;
use crate::source::http_api::{ErrorHints, PATIENCE, each};
use crate::source::windows::BACKOFF;
use crate::source::{PollContext, Source};
pub(super) use answer::has_id;
use policy::{AfterFailure, AfterWindow, IncompleteWindow, LookupFailures};
use queue::{Lookup, LookupQueue, OddNames};
use request::AskedLookup;

/// How long what was delivered is not looked up again.
const MEMORY: Duration = Duration::days(30);

/// Most lookups that are made at once, while all goes well.
const AT_ONCE: u32 = 6;
/// The same where they are counted: a run that is stopped wastes those that are on their way.
const COUNTED_AT_ONCE: u32 = 2;

/// What is listed, what it names, and where that is looked up.
#[derive(Debug)]
pub(super) struct LookupKind {
    /// The list.
    pub(super) listing: Listing,
    /// Its query besides the interval.
    pub(super) query: &'static [(&'static str, &'static str)],
    /// Where names are looked up, below the base URL.
    pub(super) path: &'static str,
    /// The key of the query with the id; `None`: the id is behind the path.
    pub(super) key: Option<&'static str>,
    /// The quota of lookups, if they are counted.
    pub(super) pool: Option<&'static Pool>,
    /// Tells what a record names.
    pub(super) names: Names,
    /// Whether an answer is that of this id: a gateway's answer may be JSON, too.
    pub(super) is_answer: fn(&[u8], &str) -> bool,
    /// What an answer lacks that is another one.
    pub(super) lacks: &'static str,
    /// What ends a run that has delivered its most.
    pub(super) limit: &'static str,
    pub(super) hints: &'static ErrorHints,
}

/// Hands on what a record names.
///
/// # Errors
/// When the record is not a JSON object.
pub(super) type Names = fn(&[u8], &mut dyn FnMut(Named<'_>)) -> serde_json::Result<()>;

/// Something that a record names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named<'a> {
    /// An id, and the digest by which its answer is recognised.
    Id(&'a str, Digest),
    /// What cannot be read.
    Odd(&'static str),
}

/// The answers of lookups.
#[derive(Debug)]
struct Lookups {
    kind: &'static LookupKind,
    siem: Siem,
    /// Where names are looked up.
    answers: Url,
    /// The window that is being read, or whose names are being looked up.
    window: Option<LookupWindow>,
    /// How many more answers this run delivers.
    left: u32,
    /// Whether the run ended because there were that many.
    is_limited: bool,
    /// What this run looks up no more: there is no answer, or it could not be had.
    done_with: HashSet<Digest>,
    /// What of the window could not be had.
    deferred: Vec<Digest>,
    /// Why the first of them could not.
    deferred_for: Option<FetchError>,
    /// The same, once it is noted that it holds up the service: it ends the run.
    failed: Option<FetchError>,
    /// Failures since the last good answer.
    failures: LookupFailures,
    /// What could not be read in the windows of this run.
    odd: OddNames,
}

/// A window, and what it names.
#[derive(Debug)]
struct LookupWindow {
    pending: PendingWindow,
    lookups: LookupQueue,
    /// Those that are being made, in order.
    asked: VecDeque<AskedLookup>,
    phase: LookupPhase,
}

/// What is done with a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LookupPhase {
    /// Its records are read for what they name.
    Records,
    /// That is looked up.
    Lookups,
    /// The same lookup is made again, after a wait.
    Retry,
}

impl Source for Lookups {
    fn ahead(&self) -> Option<Duration> {
        self.siem.windows.ahead()
    }

    fn next(&mut self, context: &mut PollContext<'_>) -> Result<Option<Batch>, FetchError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        match self.window.take() {
            Some(window) if window.phase != LookupPhase::Records => self.request(window, context),
            window => match self.siem.next(context)? {
                Some(part) => self.collect(window, part, context).map(Some),
                None => Ok(None),
            },
        }
    }

    fn limit(&self) -> Option<&'static str> {
        self.is_limited.then_some(self.kind.limit)
    }
}

impl Drop for Lookups {
    fn drop(&mut self) {
        if let Some(odd) = self.odd.told() {
            log::warn!("not all that is named can be read: passed over {odd}");
        }
    }
}

impl Lookups {
    /// Requests nothing yet. A run delivers `left` answers at most.
    fn new(
        kind: &'static LookupKind,
        (siem, answers): (Siem, Url),
        left: u32,
        attempts: u32,
    ) -> Lookups {
        Lookups {
            kind,
            siem,
            answers,
            window: None,
            left,
            is_limited: false,
            done_with: HashSet::new(),
            deferred: Vec::new(),
            deferred_for: None,
            failed: None,
            failures: LookupFailures::new(attempts),
            odd: OddNames::default(),
        }
    }

    /// Takes what some records of a window name.
    fn collect(
        &mut self,
        window: Option<LookupWindow>,
        part: Part,
        context: &mut PollContext<'_>,
    ) -> Result<Batch, FetchError> {
        // parts of another request do not count, as when this window could not be requested
        let is_same =
            |window: &LookupWindow| window.pending.request.number == part.pending.request.number;
        let mut window = window.filter(is_same).unwrap_or_else(|| LookupWindow {
            pending: part.pending,
            lookups: LookupQueue::default(),
            asked: VecDeque::new(),
            phase: LookupPhase::Records,
        });
        if !part.ends.is_empty() {
            let known = context.dedup.known()?;
            let is_known =
                |digest: &Digest| known.contains(digest) || self.done_with.contains(digest);
            for record in each(&part.text, &part.ends) {
                let added = window.lookups.add(self.kind.names, record, is_known);
                context.counters.unreadable += u64::from(added.is_err());
            }
        }
        let commit = match part.then {
            Then::GivenUp(commit) => Some(commit),
            Then::More => {
                self.window = Some(window);
                None
            }
            Then::Whole => {
                window.phase = LookupPhase::Lookups;
                self.window = Some(window);
                None
            }
        };
        Ok(Batch {
            commit,
            ..Batch::going_on()
        })
    }

    /// Makes the next lookups of a window that was read, or ends the window.
    fn request(
        &mut self,
        mut window: LookupWindow,
        context: &mut PollContext<'_>,
    ) -> Result<Option<Batch>, FetchError> {
        if window.phase == LookupPhase::Retry {
            let wait = BACKOFF.wait(self.failures.in_a_row(), context.now);
            context.shutdown.sleep(wait);
            window.phase = LookupPhase::Lookups;
        }
        let started = Instant::now();
        while !window.is_looked_up() {
            if context.shutdown.reason().is_some() {
                return Ok(None);
            }
            if let Some((lookup, error)) = self.ask_more(&mut window, context) {
                self.fail(&mut window, lookup, error)?;
                self.window = Some(window);
                return Ok(Some(Batch::default()));
            }
            let Some(asked) = window.asked.pop_front() else {
                self.is_limited = true;
                return self.deferred_for.take().map_or(Ok(None), Err);
            };
            let answer = self.in_pool(context, |lookups, context| lookups.hear(&asked, context));
            let AskedLookup {
                lookup, is_stale, ..
            } = match answer {
                None => {
                    window.asked.push_front(asked);
                    self.window = Some(window);
                    return Ok(Some(Batch::default()));
                }
                Some(_) => asked,
            };
            if !is_stale && matches!(answer, Some(Ok(_))) {
                self.failures.reset();
            }
            match answer {
                Some(Ok(Some(text))) => {
                    self.left -= 1;
                    let record = Record {
                        end: u32::try_from(text.len()).unwrap_or(u32::MAX),
                        identity: EventId::Key(lookup.digest),
                        late: None,
                        is_plain: false,
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
                Some(Ok(None)) => {
                    self.done_with.insert(lookup.digest);
                    if started.elapsed() < PATIENCE {
                        continue;
                    }
                }
                Some(Err(error)) if error.is_stop() => return Ok(None),
                Some(Err(error)) if is_stale && error.is_retryable() => {
                    log::debug!("{error}; requesting it again");
                    window.lookups.repeat(lookup);
                    continue;
                }
                Some(Err(error)) => self.fail(&mut window, lookup, error)?,
                None => {}
            }
            // what came before is confirmed before a wait
            self.window = Some(window);
            return Ok(Some(Batch::default()));
        }
        Ok(Some(match window.lookups.is_more() {
            // the window is read again for them
            true => Batch::default(),
            false => {
                self.odd.add_all(&mut window.lookups.odd);
                self.end(&window.pending, context)
            }
        }))
    }

    /// Begins lookups, as many as may be made at once: one in trouble. Returns the one that could not be begun,
    /// if nothing is left to wait for.
    fn ask_more(
        &mut self,
        window: &mut LookupWindow,
        context: &mut PollContext<'_>,
    ) -> Option<(Lookup, FetchError)> {
        let most = match (self.failures.in_a_row(), self.kind.pool) {
            (0, None) => AT_ONCE,
            (0, Some(_)) => COUNTED_AT_ONCE,
            _ => 1,
        };
        let most = most.min(self.left) as usize;
        while window.asked.len() < most
            && let Some(lookup) = window.lookups.next()
        {
            match self.in_pool(context, |lookups, context| lookups.begin(&lookup, context)) {
                Ok((request, shown)) => window.asked.push_back(AskedLookup {
                    lookup,
                    request,
                    shown,
                    is_stale: false,
                }),
                Err(error) if window.asked.is_empty() => return Some((lookup, error)),
                // it is told once those before it are answered
                Err(_) => {
                    window.lookups.put_back(lookup);
                    break;
                }
            }
        }
        None
    }

    /// A lookup failed.
    ///
    /// # Errors
    /// With the same error, if it ends the run.
    fn fail(
        &mut self,
        window: &mut LookupWindow,
        lookup: Lookup,
        error: FetchError,
    ) -> Result<(), FetchError> {
        match self.failures.add(error.exit(), error.is_retryable()) {
            AfterFailure::EndTheRun => return Err(error),
            AfterFailure::Retry => {
                log::debug!("{error}; retrying");
                self.siem.windows.repeats.note(&error);
                window.lookups.repeat(lookup);
                window
                    .asked
                    .iter_mut()
                    .for_each(|asked| asked.is_stale = true);
                window.phase = LookupPhase::Retry;
            }
            AfterFailure::Defer => self.defer(&lookup, error),
            AfterFailure::DeferTheRest => {
                self.defer(&lookup, error);
                window.lookups.clear();
                window.asked.clear();
            }
        }
        Ok(())
    }

    /// Leaves a lookup to the next run.
    fn defer(&mut self, lookup: &Lookup, error: FetchError) {
        log::debug!("{error}; requesting the others first");
        match self.deferred_for {
            None => self.deferred_for = Some(error),
            Some(_) => self.siem.windows.repeats.note(&error),
        }
        self.done_with.insert(lookup.digest);
        self.deferred.push(lookup.digest);
    }

    /// Everything of a window was looked up: it is complete, stalls the service, or is
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
}

impl LookupWindow {
    /// Whether everything that it names was looked up.
    fn is_looked_up(&self) -> bool {
        self.lookups.is_empty() && self.asked.is_empty()
    }
}
