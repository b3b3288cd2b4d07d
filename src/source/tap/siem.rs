//! The SIEM API of TAP (Proofpoint's "SIEM API" document,
//! <https://help.proofpoint.com/Threat_Insight_Dashboard/API_Documentation/SIEM_API>), asked for one
//! window after the other, each in one request whose answer is split as it arrives.

use std::time::Instant;

use anyhow::{Context, Result};
use time::{Duration, OffsetDateTime};

use super::words;
use crate::config::{self, Config};
use crate::event::{Asked, Border};
use crate::exit::{Because, Exit, fail};
use crate::http::Unsent;
use crate::json_stream::Splitter;
use crate::quota::{Limit, Pool};
use crate::secret;
use crate::service::{Kind, Service};
use crate::source::api::{Api, Reading};
use crate::source::plan::Step;
use crate::source::windows::{Next, Windows};
use crate::source::{Opening, Turn};
use crate::window::Rule;

/// What the API accepts: 30 s to 1 h, ending before its present; it keeps 7 days, of which an hour
/// is left as headroom, since the edge moves while we work. A minute's distance from the present,
/// since two clocks are never equal.
pub const RULE: Rule = Rule {
    shortest: Duration::seconds(30),
    longest: Duration::hours(1),
    keep: Duration::hours(7 * 24 - 1),
    margin: Duration::seconds(60),
    grain: Duration::seconds(1),
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
/// Records are handed over at about this size.
const PART: usize = 512 * 1024;

/// How to sign in.
///
/// # Errors
/// When `[tap]` is missing.
pub(crate) fn sign_in<'a>(service: &Service, config: &'a Config) -> Result<&'a config::Tap> {
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

/// The pool in which requests for these arrays count.
pub(crate) fn pool(arrays: &[&str]) -> &'static Pool {
    match arrays {
        ["clicksPermitted"] => &CLICKS_PERMITTED,
        _ => &OTHERS,
    }
}

/// The API as it was configured, and how far this run has come with it.
#[derive(Debug)]
pub(super) struct Siem {
    pub(super) api: Api,
    /// The keys of the arrays in the answer.
    arrays: &'static [&'static str],
    /// `threatType` and `threatStatus`, once for each value.
    filters: Vec<(&'static str, String)>,
    pub(super) windows: Windows,
    open: Option<Open>,
}

/// A window that was asked for.
#[derive(Debug)]
struct Open {
    asking: Asking,
    reading: Reading,
}

/// What was asked for when records came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    pub(super) step: Step,
    pub(super) asked: Asked,
    /// The server's time when it answered.
    pub(super) server: Option<OffsetDateTime>,
}

/// Some records of a window.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) asking: Asking,
    /// Records, and where each ends.
    pub(super) text: Vec<u8>,
    pub(super) ends: Vec<usize>,
    pub(super) then: Then,
}

/// What comes after a part.
#[derive(Debug)]
pub(super) enum Then {
    /// More of the window.
    More,
    /// Nothing: that was the whole window.
    Whole,
    /// Nothing: the window did not come to its end.
    GivenUp(Border),
}

impl Siem {
    /// The end point at `path` below the base URL, whose answers have these arrays; nothing is asked
    /// for yet.
    ///
    /// # Errors
    /// When `[tap]` is missing, or its secret cannot be read.
    pub(super) fn open(
        opening: &Opening<'_>,
        path: &str,
        arrays: &'static [&'static str],
        filters: Vec<(&'static str, String)>,
    ) -> Result<Siem> {
        let sign_in = sign_in(opening.service, opening.config)?;
        let secret = secret::read(&sign_in.secret, "the secret of [tap]")?;
        let built_in = || sign_in.base_url.join(path);
        let url = opening.settings.url.clone().unwrap_or_else(built_in);
        let signed = (secret.basic(&sign_in.principal), secret);
        let words = match opening.service.kind {
            Kind::Threats => &words::OF_THREATS,
            _ => &words::WORDS,
        };
        Ok(Siem {
            api: Api::new(opening, url, signed, words)?,
            arrays,
            filters,
            windows: Windows::new(RULE, opening),
            open: None,
        })
    }

    /// The next part of a window; `None` when nothing is left or the run is to stop.
    ///
    /// # Errors
    /// When reading on is of no use in this run.
    pub(super) fn next(&mut self, turn: &mut Turn<'_>) -> Result<Option<Part>> {
        if let Some(open) = self.open.take() {
            return Ok(Some(self.read_on(open, turn)));
        }
        let step = match self.windows.next(turn)? {
            None => return Ok(None),
            Some(Next::Ask(step)) => step,
            Some(Next::GiveUp(step, border)) => return Ok(Some(Part::given_up(step, border))),
        };
        let booked = turn.quota.book(turn.now);
        booked.with_context(|| format!("asking for {step}"))?;
        let mut asking = Asking {
            step,
            asked: self.windows.ask(step),
            server: None,
        };
        let part = match self.ask(&mut asking, turn) {
            Ok(reading) if reading.answer.status == 200 => {
                self.read_on(Open { asking, reading }, turn)
            }
            Ok(reading) => self.refused(Open { asking, reading }, turn)?,
            Err(error) => {
                if error.is::<Unsent>() {
                    turn.quota.give_back()?;
                }
                let error = error.context(format!("[PullError 301] pulling {step}"));
                self.without_records(asking, error)
            }
        };
        Ok(Some(part))
    }

    fn ask(&mut self, asking: &mut Asking, turn: &mut Turn<'_>) -> Result<Reading> {
        let interval = asking.step.window.to_string();
        let mut query = vec![("format", "json"), ("interval", interval.as_str())];
        let filters = self.filters.iter();
        query.extend(filters.map(|(key, value)| (*key, value.as_str())));
        let started = Instant::now();
        let answer = self.api.get(&query, turn.tally)?;
        if let Some(date) = answer.date {
            self.windows
                .compare_clocks(date, turn.now + started.elapsed());
        }
        asking.server = answer.date;
        Ok(Reading::new(answer, Splitter::new(self.arrays)))
    }

    /// Takes on what an answer other than 200 means.
    fn refused(&mut self, open: Open, turn: &mut Turn<'_>) -> Result<Part> {
        let Open {
            asking,
            mut reading,
        } = open;
        let body = self.api.shown(&mut reading.answer);
        let is_bad = reading.answer.status == 400;
        let kept = words::kept(&body);
        if is_bad && self.windows.replan(asking.step, asking.server, kept) {
            return Ok(Part::empty(asking));
        }
        let error = self.api.refusal(&mut reading.answer, turn)?;
        let error = error.context(format!("asking {} for {}", self.api.url, asking.step));
        Ok(self.without_records(asking, error))
    }

    fn without_records(&mut self, asking: Asking, error: anyhow::Error) -> Part {
        Part {
            then: Then::GivenUp(self.windows.give_up(asking.step, error)),
            ..Part::empty(asking)
        }
    }

    /// Reads on in an answer: some records, or the end of the window.
    fn read_on(&mut self, mut open: Open, turn: &Turn<'_>) -> Part {
        let asking = open.asking;
        let read = self.api.read_on(&mut open.reading, PART, turn.stop);
        let (text, ends) = open.reading.take();
        let then = match read {
            Ok(true) => Then::Whole,
            Ok(false) => {
                self.open = Some(open);
                Then::More
            }
            Err(error) => {
                let step = asking.step;
                let error = error.context(format!(
                    "[PullError 301] reading what {} has for {step}",
                    self.api.url
                ));
                Then::GivenUp(self.windows.give_up(step, error))
            }
        };
        Part {
            asking,
            text,
            ends,
            then,
        }
    }
}

impl Part {
    /// Nothing was asked for.
    fn given_up(step: Step, border: Border) -> Part {
        let asking = Asking {
            step,
            asked: Asked::default(),
            server: None,
        };
        Part {
            then: Then::GivenUp(border),
            ..Part::empty(asking)
        }
    }

    fn empty(asking: Asking) -> Part {
        Part {
            asking,
            text: Vec::new(),
            ends: Vec::new(),
            then: Then::More,
        }
    }
}
