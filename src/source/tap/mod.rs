//! The event services of the TAP SIEM API (Proofpoint's "SIEM API" document,
//! <https://help.proofpoint.com/Threat_Insight_Dashboard/API_Documentation/SIEM_API>).
//!
//! Windows that touch, each asked for in one request whose answer is split as it arrives. A
//! window counts once its answer was whole. What is too much at once is asked for in halves.

mod answer;
mod identity;

use std::sync::Arc;
use std::time::{Duration as Wait, Instant};

use anyhow::{Context, Result, anyhow};
use time::{Duration, OffsetDateTime};

use super::{Opening, Source, Turn};
use crate::config::{self, Config, Url};
use crate::connect::Stopped;
use crate::event::{Asked, Batch, Border, Gap, Narrow, Position, Record, Resume, hour_after};
use crate::exit::{Because, Exit, fail, line};
use crate::http::{Answer, Bytes, Client, Dropped, Unsent};
use crate::json_stream::Splitter;
use crate::quota::{Limit, Pool};
use crate::secret::{self, Secret};
use crate::service::Service;
use crate::window::{Rule, Window, utc, whole_seconds};
pub use identity::{Kind, identify};

/// What the API accepts: 30 s to 1 h, ending before its present; it keeps 7 days, of which an hour
/// is left as headroom, since the edge moves while we work. A minute's distance from the present,
/// since two clocks are never equal.
pub const RULE: Rule = Rule {
    shortest: Duration::seconds(30),
    longest: HOUR,
    keep: Duration::hours(7 * 24 - 1),
    margin: Duration::seconds(60),
};
/// What the API allows for each principal: permitted clicks apart, all else together.
static CLICKS_PERMITTED: Pool = Pool {
    name: "clicks/permitted",
    limits: &[Limit::a_day(1800)],
};
static OTHERS: Pool = Pool {
    name: "all but clicks/permitted",
    limits: &[Limit::a_day(1800)],
};
const HOUR: Duration = Duration::hours(1);
/// A batch is handed over at about this size.
const BATCH: usize = 512 * 1024;
/// So much of an answer is read at once.
const READ: usize = 128 * 1024;
/// Or after this time, if it holds anything.
const PATIENCE: Wait = Wait::from_secs(2);
/// So many failures of the same question, one after the other, end the run.
const ATTEMPTS: u32 = 3;
/// Clocks that are further apart than this deserve a word.
const SKEW: Duration = Duration::seconds(60);

/// A TAP source as it was configured.
#[derive(Debug)]
struct Options {
    client: Client,
    url: Url,
    /// HTTP Basic.
    authorization: Secret,
    /// What must not be shown of an answer.
    secrets: Vec<Secret>,
    /// The key of the array in the answer.
    array: &'static str,
    /// `threatType` and `threatStatus`, once for each value.
    filters: Vec<(&'static str, String)>,
    /// Whether nothing was read before: then a start that is too old is no gap.
    fresh: bool,
    /// A backfill's end.
    end: Option<OffsetDateTime>,
}

/// How to sign in.
///
/// # Errors
/// When `[tap]` is missing.
pub(super) fn sign_in<'a>(service: &Service, config: &'a Config) -> Result<&'a config::Tap> {
    match &config.tap {
        Some(sign_in) => Ok(sign_in),
        None => fail(
            Exit::Config,
            format!(
                "running {}: the configuration has no table [tap]",
                service.name
            ),
        )
        .hint(
            "set [tap] principal and secret; they are made in the TAP Dashboard under Settings, \
             Connected Applications",
        ),
    }
}

/// The pool in which requests for an array count.
pub(super) fn pool(array: &str) -> &'static Pool {
    match array {
        "clicksPermitted" => &CLICKS_PERMITTED,
        _ => &OTHERS,
    }
}

/// Opens an event service: its `path` below the base URL, the `array` in its answers.
///
/// # Errors
/// When `[tap]` is missing, or its secret cannot be read.
pub(super) fn open(opening: &Opening<'_>, path: &str, array: &'static str) -> Result<Tap> {
    let sign_in = sign_in(opening.service, opening.config)?;
    let settings = opening.settings;
    let secret = secret::read(&sign_in.secret, "the secret of [tap]")?;
    let built_in = || sign_in.base_url.join(path);
    let url = settings.url.clone().unwrap_or_else(built_in);
    let types = settings.threat_type.iter();
    let types = types.map(|value| ("threatType", value.clone()));
    let statuses = settings.threat_status.iter();
    let statuses = statuses.map(|value| ("threatStatus", value.clone()));
    let options = Options {
        client: Client::new(Arc::clone(opening.network), &url, opening.stop)?,
        url,
        authorization: secret.basic(&sign_in.principal),
        secrets: vec![secret],
        array,
        filters: types.chain(statuses).collect(),
        fresh: opening.fresh,
        end: opening.end,
    };
    let look_back = match opening.end {
        None => Duration::try_from(settings.look_back).unwrap_or(HOUR),
        Some(_) => Duration::ZERO,
    };
    Ok(Tap::new(
        options,
        opening.position,
        look_back,
        opening.since,
    ))
}

/// One event service of TAP.
#[derive(Debug)]
pub struct Tap {
    options: Options,
    rule: Rule,
    kind: Kind,
    /// Before it everything is complete.
    until: OffsetDateTime,
    /// Where the next window starts.
    from: OffsetDateTime,
    length: Duration,
    /// Before it, windows do not grow again.
    narrow_until: OffsetDateTime,
    /// Up to where this run reads.
    target: Option<OffsetDateTime>,
    /// How far the server's clock is ahead of ours.
    ahead: Option<Duration>,
    /// Before it, an event that is new came late.
    late_before: Option<String>,
    asked: u32,
    reading: Option<Reading>,
    /// Failures of the same question since the last window that came to its end.
    failures: u32,
    failed: Option<Failure>,
}

/// Why the last window did not come to its end.
#[derive(Debug)]
struct Failure {
    error: anyhow::Error,
    /// Whether asking again may help.
    again: bool,
}

/// An answer that is being read.
#[derive(Debug)]
struct Reading {
    window: Window,
    asked: Asked,
    answer: Answer,
    splitter: Splitter,
    /// The record that is not complete yet.
    rest: Vec<u8>,
    /// The server's time when it answered.
    server: Option<OffsetDateTime>,
}

impl Tap {
    /// A source that has asked for nothing yet; it reads again `look_back` before the position, but
    /// nothing before `since`.
    fn new(
        options: Options,
        position: Position,
        look_back: Duration,
        since: OffsetDateTime,
    ) -> Tap {
        let Position { until, narrow } = position;
        Tap {
            rule: RULE,
            kind: Kind::of(options.array),
            until,
            from: (until - look_back).max(since.min(until)),
            length: narrow.map_or(HOUR, |narrow| Duration::seconds(narrow.seconds.into())),
            narrow_until: narrow.map_or(until, |narrow| narrow.until),
            target: None,
            ahead: None,
            late_before: (!options.fresh && options.end.is_none()).then(|| utc(until)),
            asked: 0,
            reading: None,
            failures: 0,
            failed: None,
            options,
        }
    }

    /// The next window, if one is left.
    fn plan(&mut self, now: OffsetDateTime) -> Option<Window> {
        let server = self.ahead.map_or(now, |ahead| now + ahead);
        let limit = self.rule.limit(now.min(server));
        let end = self.options.end.map_or(limit, |end| end.min(limit));
        // the run's end is fixed at its start; only a server whose clock is behind moves it back
        let target = self.target.map_or(end, |target| target.min(limit));
        self.target = Some(target);
        let oldest = self.rule.oldest(server);
        if self.from < oldest && self.until < oldest && self.options.fresh {
            log::warn!(
                "{} is older than the service keeps: starting at {}",
                utc(self.until),
                utc(oldest)
            );
            self.until = oldest;
        }
        self.from = self.from.max(oldest);
        let next = self.rule.next(self.from, target, self.length);
        next.or_else(|| {
            self.options
                .end
                .filter(|end| *end == target)
                .and_then(|end| self.rule.last(self.from, end))
        })
    }

    fn ask(&mut self, window: Window, turn: &mut Turn) -> Result<Reading> {
        let interval = window.to_string();
        let mut query = vec![("format", "json"), ("interval", interval.as_str())];
        query.extend(
            self.options
                .filters
                .iter()
                .map(|(key, value)| (*key, value.as_str())),
        );
        log::debug!("asking for {window}");
        turn.tally.requests += 1;
        let started = Instant::now();
        let answer =
            self.options
                .client
                .get(&self.options.url, &query, &self.options.authorization)?;
        let arrived = turn.now + started.elapsed();
        if let Some(date) = answer.date {
            self.compare_clocks(date, arrived);
        }
        self.asked += 1;
        let asked = Asked {
            number: self.asked,
            end_hour: hour_after(window.to),
        };
        let splitter = Splitter::new(self.options.array);
        let server = answer.date;
        Ok(Reading {
            window,
            asked,
            answer,
            splitter,
            rest: Vec::new(),
            server,
        })
    }

    fn compare_clocks(&mut self, server: OffsetDateTime, ours: OffsetDateTime) {
        let ahead = server - whole_seconds(ours);
        if ahead.abs() > SKEW && self.ahead.is_none() {
            let (by, how) = (
                ahead.abs(),
                if ahead.is_negative() {
                    "ahead of"
                } else {
                    "behind"
                },
            );
            log::warn!(
                "this machine's clock is {by} {how} the service's: set it (timedatectl, chronyc)"
            );
        }
        self.ahead = Some(ahead);
    }

    /// Takes on what an answer other than 200 means.
    fn refused(&mut self, mut reading: Reading, turn: &mut Turn) -> Result<Batch> {
        let body = self.shown(&mut reading.answer);
        let status = reading.answer.status;
        if status == 400 && self.replan(&reading, &body) {
            return Ok(Batch::default());
        }
        let mut error = answer::refusal(status, &body);
        if status == 429 {
            let wait = answer::wait(reading.answer.retry_after.as_deref(), reading.answer.date);
            let until = turn.quota.hold(turn.now, wait)?;
            error = error.context(answer::come_again(until));
        }
        let error = error.context(format!(
            "asking {} for {}",
            self.options.url, reading.window
        ));
        Ok(Batch {
            border: Some(self.give_up(reading.window, error)),
            ..Batch::default()
        })
    }

    /// The start of an answer, for people.
    fn shown(&self, answer: &mut Answer) -> String {
        let secrets: Vec<&Secret> = self.options.secrets.iter().collect();
        match answer.beginning(answer::SHOWN) {
            body if body.is_empty() => "(no text)".to_owned(),
            body => secret::mask(&body, &secrets),
        }
    }

    /// Whether a 400 only says that our idea of what may be asked for was wrong, and is now right.
    fn replan(&mut self, reading: &Reading, body: &str) -> bool {
        let before = (self.target, self.from);
        if let Some(keep) = answer::kept(body) {
            let keep = (keep - HOUR).max(self.rule.shortest);
            if keep < self.rule.keep {
                log::warn!("the service keeps only {}: asking for no more", keep + HOUR);
                self.rule.keep = keep;
            }
        }
        let now = reading.server.unwrap_or(reading.window.to);
        let changed =
            self.rule.oldest(now) > reading.window.from || self.rule.limit(now) < reading.window.to;
        self.failures += 1;
        changed && self.failures < ATTEMPTS && before == (self.target, self.from)
    }

    /// Reads on in an answer: some records, or the end of the window.
    fn read_on(&mut self, mut reading: Reading, turn: &mut Turn) -> Batch {
        let mut batch = Batch {
            asked: reading.asked,
            text: std::mem::take(&mut reading.rest),
            ..Batch::default()
        };
        let mut ends = Vec::new();
        batch.text.reserve(BATCH + READ);
        let mut buffer = vec![0; READ];
        let started = Instant::now();
        let outcome = loop {
            if batch.text.len() >= BATCH && !ends.is_empty() || started.elapsed() >= PATIENCE {
                break Ok(None);
            }
            if turn.stop.reason().is_some() {
                break Err(anyhow!(Stopped));
            }
            let Reading {
                answer, splitter, ..
            } = &mut reading;
            let read = match answer.read(&mut buffer) {
                Ok(Bytes::Some(count)) => splitter
                    .feed(&buffer[..count], &mut batch.text, &mut ends)
                    .map(|()| false),
                Ok(Bytes::Waiting) => Ok(false),
                Ok(Bytes::End) => splitter.finish().map(|()| true),
                Err(error) => break Err(error),
            };
            match read {
                Ok(false) => {}
                Ok(true) => break Ok(Some(reading.window)),
                Err(broken) => break Err(answer::unreadable(broken, &self.shown(answer))),
            }
        };
        let complete = ends.last().copied().unwrap_or(0);
        reading.rest = batch.text.split_off(complete);
        self.identify(&mut batch, &ends, turn);
        batch.border = match outcome {
            Ok(None) => {
                self.reading = Some(reading);
                None
            }
            Ok(Some(window)) => Some(Border::Resume(self.complete(window, reading.server, turn))),
            Err(error) => {
                let error = error.context(format!(
                    "[PullError 301] reading what {} has for {}",
                    self.options.url, reading.window
                ));
                Some(self.give_up(reading.window, error))
            }
        };
        batch
    }

    fn identify(&self, batch: &mut Batch, ends: &[usize], turn: &mut Turn) {
        let mut start = 0;
        for &end in ends {
            let found = identify(self.kind, &batch.text[start..end]);
            turn.tally.unreadable += u64::from(!found.readable);
            let late = self
                .late_before
                .as_ref()
                .is_some_and(|before| found.is_before(before));
            let end_here = u32::try_from(end).unwrap_or(u32::MAX);
            batch.records.push(Record {
                end: end_here,
                identity: found.identity,
                late,
            });
            start = end;
        }
    }

    /// The window is complete, as far as the server's clock had come.
    fn complete(
        &mut self,
        window: Window,
        server: Option<OffsetDateTime>,
        turn: &mut Turn,
    ) -> Resume {
        let to = server.map_or(window.to, |server| window.to.min(self.rule.limit(server)));
        let gap = (window.from > self.until).then_some(Gap {
            from: self.until,
            to: window.from,
        });
        turn.tally.windows += 1;
        self.failures = 0;
        self.from = to.max(window.from);
        self.until = self.until.max(to);
        if to >= self.narrow_until {
            self.length = (self.length + self.length).min(self.rule.longest);
        }
        Resume {
            position: self.position(),
            gap,
        }
    }

    fn position(&self) -> Position {
        let narrow = (self.length < self.rule.longest).then(|| Narrow {
            seconds: u32::try_from(self.length.whole_seconds()).unwrap_or(u32::MAX),
            until: self.narrow_until,
        });
        Position {
            until: self.until,
            narrow,
        }
    }

    /// A window did not come to its end: half of it next time, in this run or the next.
    fn give_up(&mut self, window: Window, error: anyhow::Error) -> Border {
        let stopped = Stopped::is_in(&error);
        let too_much = matches!(error.downcast_ref(), Some(Dropped::Silent | Dropped::Cut));
        if stopped || too_much {
            self.length = self.rule.half(window.length());
            self.narrow_until = window.to;
        }
        if !stopped {
            // half as much is another question: only the same one again counts
            let is_halved = too_much && window.length() > self.rule.shortest;
            self.failures += u32::from(!is_halved);
            let again = error.is::<Dropped>();
            self.failed = Some(Failure { error, again });
        }
        match stopped || too_much {
            true => Border::Resume(Resume {
                position: self.position(),
                gap: None,
            }),
            false => Border::Here,
        }
    }

    /// Waits before another attempt, if there is to be one.
    fn recover(&mut self, turn: &Turn) -> Result<()> {
        let Some(Failure { error, again }) = self.failed.take() else {
            return Ok(());
        };
        if !again || self.failures >= ATTEMPTS {
            return Err(error);
        }
        log::warn!(
            "{}; asking again, for {} at most",
            line(&error),
            self.length
        );
        // 1 s, 2 s, ... and up to half as much again, so that many do not come back at once
        let base = Wait::from_secs(1 << self.failures.saturating_sub(1));
        turn.stop
            .sleep(base + base.mul_f64(f64::from(turn.now.nanosecond()) / 2e9));
        Ok(())
    }
}

impl Source for Tap {
    fn next(&mut self, turn: &mut Turn) -> Result<Option<Batch>> {
        if let Some(reading) = self.reading.take() {
            return Ok(Some(self.read_on(reading, turn)));
        }
        self.recover(turn)?;
        if turn.stop.reason().is_some() {
            return Ok(None);
        }
        let Some(window) = self.plan(turn.now) else {
            return Ok(None);
        };
        let booked = turn.quota.book(turn.now);
        booked.with_context(|| format!("asking for {window}"))?;
        let batch = match self.ask(window, turn) {
            Ok(reading) if reading.answer.status == 200 => self.read_on(reading, turn),
            Ok(reading) => self.refused(reading, turn)?,
            Err(error) => {
                if error.is::<Unsent>() {
                    turn.quota.give_back()?;
                }
                let error = error.context(format!("[PullError 301] pulling {window}"));
                Batch {
                    border: Some(self.give_up(window, error)),
                    ..Batch::default()
                }
            }
        };
        Ok(Some(batch))
    }
}
