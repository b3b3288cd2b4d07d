//! The log stream of Proofpoint on Demand ("Proofpoint on Demand Log API", Rev C, November 2020).
//!
//! The live stream is fast, and what is sent into a connection that dies is gone. The archive has
//! everything by whole hours, some time after their end, and is full of repeats. So closed hours
//! are swept first, which brings what the live stream missed, and then the live stream is drained.
//! `archive_policy` says when an hour counts as read, `event` what an event is recognised by.

mod archive;
mod archive_policy;
mod event;
mod hints;
mod live;
mod session;

use std::time::Instant;

use anyhow::Result;
use time::{Duration, OffsetDateTime};

use super::{OpenContext, PollContext, Source, Start};
use crate::clock::utc;
use crate::config::{Config, Mode, Settings};
use crate::digest::{Hasher, hex};
use crate::error::{Because, Exit, fail};
use crate::net::websocket::StreamEvent;
use crate::pipeline::batch::Batch;
use crate::pipeline::checkpoint::Window;
use crate::pipeline::checkpoint::{Checkpoint, Commit, Gap, OpenHour, StreamCheckpoint};
use crate::quota::Pool;
use crate::secret;
use crate::service::Service;
use crate::source::windows::WindowLimits;
use archive_policy::HOUR;
use session::Session;

/// Whole hours; the service keeps 30 days, of which two hours are left as headroom, since the edge
/// moves while we work. An hour of the archive is there `archive_lag` after its end.
#[must_use]
pub(crate) fn limits(settings: &Settings) -> WindowLimits {
    WindowLimits {
        shortest: HOUR,
        longest: HOUR,
        keep: Duration::days(30) - HOUR * 2,
        margin: lag(settings),
        grain: HOUR,
    }
}

/// Where a first run starts when nothing else is said: with the stream as it is now, or with the
/// last hour that the archive has.
#[must_use]
pub(crate) fn first(settings: &Settings, now: OffsetDateTime) -> OffsetDateTime {
    let limits = limits(settings);
    match settings.mode {
        Mode::Complete | Mode::Live => limits.floor(now),
        Mode::Archive => limits.limit(now) - HOUR,
    }
}

fn lag(settings: &Settings) -> Duration {
    Duration::try_from(settings.archive_lag).unwrap_or(HOUR)
}

/// The name of what only one run at a time may use: a token has one session for each type. It does
/// not tell the token.
///
/// # Errors
/// When `[pod]` is missing, or its key cannot be read.
pub(crate) fn session_name(config: &Config, service: &Service, stream: &str) -> Result<String> {
    let key = secret::read(&sign_in(config, service)?.api_key, KEY)?;
    let mut hasher = Hasher::of("pod session");
    hasher.part(key.reveal().as_bytes());
    hasher.part(stream.as_bytes());
    Ok(format!("pod-{}", hex(&hasher.finish()[..8])))
}

/// What the API key is called in errors.
const KEY: &str = "the api_key of [pod]";

/// No quota of sessions is published, and none is counted.
pub(super) static POOL: Pool = Pool {
    name: "log stream",
    limits: &[],
};

pub(super) fn sign_in<'a>(
    config: &'a Config,
    service: &Service,
) -> Result<&'a crate::config::PodConfig> {
    let Some(sign_in) = &config.pod else {
        let message = format!(
            "running {}: the configuration has no table [pod]",
            service.name
        );
        return fail(Exit::Config, message).hint(
            "set [pod] cluster_id and api_key; the key is made in the PoD admin console under API Key Management, PoD \
             Logging",
        );
    };
    Ok(sign_in)
}

/// Opens the log stream of a type; nothing is asked for yet.
///
/// # Errors
/// When `[pod]` is missing, or its key cannot be read.
pub(super) fn open(context: &OpenContext<'_>, stream: &'static str) -> Result<Pod> {
    let settings = context.settings;
    let limits = limits(settings);
    let start = &context.start;
    let position = position(settings.mode, &limits, start);
    Ok(Pod {
        session: session(context, stream)?,
        mode: match start.end {
            Some(_) => Mode::Archive,
            None => settings.mode,
        },
        lag: lag(settings),
        idle_exit: settings.idle_exit,
        // what the live stream has brought is a beginning, too
        fresh: start.fresh && position.live.is_none(),
        end: start.end,
        limits,
        position,
        half: context
            .shutdown
            .left()
            .map(|left| Instant::now() + left / 2),
        tried: Vec::new(),
        again: None,
        reading: None,
        over: false,
        failed: None,
        announced: false,
    })
}

fn session(context: &OpenContext<'_>, stream: &'static str) -> Result<Session> {
    let sign_in = sign_in(context.config, context.service)?;
    let key = secret::read(&sign_in.api_key, KEY)?;
    let Some(bearer) = key.bearer() else {
        return fail(Exit::Config, format!("reading {KEY}: it is no key"))
            .hint("it must be the key alone, of ASCII letters, digits and signs without a blank");
    };
    Ok(Session::new(context, sign_in, stream, (bearer, key)))
}

/// Opens a session for an hour of the archive that is a day old, and closes it: the smallest question
/// that proves the sign-in, and takes nothing from the live stream. What the archive says is dropped. How
/// far the server's clock is ahead of ours, if it has told its time, is noted in `ahead`.
///
/// # Errors
/// When it is refused or cannot be reached; nothing is tried again.
pub(crate) fn probe(
    context: &OpenContext<'_>,
    stream: &'static str,
    now: OffsetDateTime,
    ahead: &mut Option<Duration>,
) -> Result<()> {
    /// A server that goes on for longer is left.
    const MOMENT: std::time::Duration = std::time::Duration::from_secs(5);
    let mut session = session(context, stream)?;
    let from = limits(context.settings).floor(now - Duration::DAY);
    let (since_time, to_time) = (archive::stamp(from), archive::stamp(from + HOUR));
    let times = [
        ("sinceTime", since_time.as_str()),
        ("toTime", to_time.as_str()),
    ];
    let opened = session.try_to_open(&times, context.shutdown, now);
    *ahead = session.clocks.ahead();
    let mut socket = opened?;
    socket.close();
    let (mut dropped, until) = (Vec::new(), Instant::now() + MOMENT);
    while Instant::now() < until && context.shutdown.reason().is_none() {
        dropped.clear();
        // how it ends proves nothing more
        if !matches!(
            socket.read(&mut dropped),
            Ok(StreamEvent::Message | StreamEvent::Nothing)
        ) {
            break;
        }
    }
    Ok(())
}

/// Where the reading stands at the start of a run.
fn position(mode: Mode, limits: &WindowLimits, start: &Start) -> StreamCheckpoint {
    let mut position = start.checkpoint.stream();
    position.until = match mode {
        Mode::Live => position.until,
        // after another mode, from the hour in which the stream was left
        Mode::Complete | Mode::Archive => limits.floor(position.until),
    };
    position
}

/// What a run would ask for when it is `now`, if all goes well, in words: hours of the archive, and
/// the live stream.
#[must_use]
pub(super) fn steps(settings: &Settings, start: &Start, now: OffsetDateTime) -> Vec<String> {
    let limits = limits(settings);
    let position = position(settings.mode, &limits, start);
    let mut steps = Vec::new();
    let named = |from| Window {
        from,
        to: from + HOUR,
    };
    if settings.mode != Mode::Live {
        let due = |hour: &&OpenHour| archive_policy::is_due(hour, now, limits.margin);
        let open = position.open_hours.iter().filter(due);
        steps.extend(open.map(|hour| named(hour.from).to_string()));
        let limit = start.end.unwrap_or(now).min(limits.limit(now));
        let mut next = position.until.max(limits.oldest(now));
        while next + HOUR <= limit {
            steps.push(named(next).to_string());
            next += HOUR;
        }
    }
    if settings.mode != Mode::Archive {
        steps.push("the live stream".to_owned());
    }
    steps
}

/// One type of the log stream.
#[derive(Debug)]
pub(crate) struct Pod {
    session: Session,
    mode: Mode,
    /// How long after its end an hour of the archive is read.
    lag: Duration,
    idle_exit: Option<std::time::Duration>,
    /// Whether nothing was read before: then a start that is too old is no gap.
    fresh: bool,
    /// A backfill's end.
    end: Option<OffsetDateTime>,
    limits: WindowLimits,
    /// Where the reading stands.
    position: StreamCheckpoint,
    /// After it no hour of the archive is begun, so that the live stream gets its time.
    half: Option<Instant>,
    /// The hours that this run has asked for.
    tried: Vec<OffsetDateTime>,
    /// An hour whose answer was cut off, and how often.
    again: Option<(OffsetDateTime, u32)>,
    reading: Option<PodPhase>,
    /// Whether the live stream was ended in good order.
    over: bool,
    /// An error that is told at the end, since it does not hold up the rest.
    failed: Option<anyhow::Error>,
    /// Whether hours that are open were said.
    announced: bool,
}

/// What is open.
#[derive(Debug)]
enum PodPhase {
    Hour(archive::Hour),
    Live(live::Live),
}

impl Source for Pod {
    fn next(&mut self, context: &mut PollContext) -> Result<Option<Batch>> {
        match self.reading.take() {
            Some(PodPhase::Hour(hour)) => self.read_hour(hour, context).map(Some),
            Some(PodPhase::Live(live)) => self.read_live(live, context).map(Some),
            None => self.begin(context),
        }
    }

    fn ahead(&self) -> Option<Duration> {
        self.session.clocks.ahead()
    }
}

impl Pod {
    /// Opens what comes next, or waits until it may be tried again.
    fn begin(&mut self, context: &mut PollContext) -> Result<Option<Batch>> {
        if self.session.must_wait(context.shutdown) && context.shutdown.reason().is_none() {
            return Ok(Some(Batch::default()));
        }
        // only the server's clock tells what that is
        if self.session.opened
            && let Some(batch) = self.give_up_what_is_too_old(context.now)
        {
            return Ok(Some(batch));
        }
        if self.over {
            return self.at_the_end();
        }
        match self.next_hour(context) {
            Some(hour) => self.open_hour(hour, context).map(Some),
            None if context.shutdown.reason().is_some() => {
                self.session.check_that_it_was_ours(context.shutdown)?;
                self.at_the_end()
            }
            None if self.mode == Mode::Archive => {
                // there may have been nothing to open a session for
                let batch = self.give_up_what_is_too_old(context.now);
                batch.map_or_else(|| self.at_the_end(), |batch| Ok(Some(batch)))
            }
            None => self.open_live(context).map(Some),
        }
    }

    /// Nothing is left to read now; an error that did not hold up the rest is told.
    fn at_the_end(&mut self) -> Result<Option<Batch>> {
        let announced = std::mem::replace(&mut self.announced, true);
        if let Some(first) = self.position.open_hours.first().filter(|_| !announced) {
            let (from, why) = (utc(first.from), first.why.in_words());
            let count = self.position.open_hours.len();
            log::info!(
                "hours of the archive that later runs ask for again: {count}; the first is that of {from}: {why}"
            );
        }
        self.failed.take().map_or(Ok(None), Err)
    }

    /// A batch without events that makes durable where the reading stands.
    fn commit_position(&self) -> Batch {
        Batch {
            commit: Some(self.commit(None)),
            ..Batch::default()
        }
    }

    /// What the service no longer keeps is a gap, one border for each.
    fn give_up_what_is_too_old(&mut self, now: OffsetDateTime) -> Option<Batch> {
        let oldest = self.oldest(now);
        let to = self.end.map_or(oldest, |end| end.min(oldest));
        let mut gap = None;
        if self.mode != Mode::Live && self.position.until < to {
            let from = std::mem::replace(&mut self.position.until, to);
            self.position.hour_before = None;
            match self.fresh {
                true => log::warn!(
                    "{} is older than the service keeps: starting at {}",
                    utc(from),
                    utc(to)
                ),
                false => gap = Some(Gap { from, to }),
            }
        }
        let live_alone = self.mode == Mode::Live;
        let mut open = self.position.open_hours.iter();
        let lost = open.position(|hour| live_alone || hour.from < oldest);
        if let Some(lost) = lost.filter(|_| gap.is_none()) {
            let from = self.position.open_hours.remove(lost).from;
            let to = from + HOUR;
            gap = Some(Gap { from, to });
        }
        gap.map(|gap| self.commit_gap(gap))
    }

    /// The same, and what is given up with it.
    fn commit_gap(&self, gap: Gap) -> Batch {
        Batch {
            commit: Some(self.commit(Some(gap))),
            ..Batch::default()
        }
    }

    fn commit(&self, gap: Option<Gap>) -> Commit {
        Commit {
            checkpoint: Some(Checkpoint::Stream(self.position.clone())),
            gap,
        }
    }

    /// The time, by the clock that is behind.
    fn now(&self, context: &PollContext) -> OffsetDateTime {
        self.session.clocks.earlier(context.now)
    }

    /// The oldest hour that the service still keeps when it is `now` here.
    fn oldest(&self, now: OffsetDateTime) -> OffsetDateTime {
        self.limits.oldest(self.session.clocks.server(now))
    }

    /// A clock of ours that was ahead may have made it begin, or go on, where the service has not come.
    fn come_back_from_the_future(&mut self, now: OffsetDateTime) {
        if self.mode != Mode::Live {
            let floor = self.limits.floor(now);
            if self.position.until > floor {
                (self.position.until, self.position.hour_before) = (floor, None);
            }
        }
    }
}
