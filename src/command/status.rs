//! `proofpull status`: where each service stands, as its files say.
//!
//! Only reads. A service that is running now is not disturbed: of its lock it is only looked whether
//! somebody has it.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use time::OffsetDateTime;

use super::{host_name, ledger, load, state_dir};
use crate::cli::{Common, Status};
use crate::clock::Clock;
use crate::config::Config;
use crate::event::{Gap, Late};
use crate::exit::{Exit, Hint, line};
use crate::files;
use crate::report::{self, Report, age};
use crate::service::{SERVICES, Service};
use crate::state::runs::Runs;
use crate::state::{Peek, State};
use crate::stop::Stop;
use crate::window::utc;

/// What a Nagios check answers ("Nagios Plugins Development Guidelines", plugin return codes).
const NAGIOS: [&str; 4] = ["OK", "WARNING", "CRITICAL", "UNKNOWN"];

pub(super) fn status(args: &Status, common: &Common, report: &Report, clock: Clock) -> Result<u8> {
    let now = clock.now();
    let config = match (load(common, report, now), args.max_lag) {
        (Ok(config), _) => config,
        (Err(error), None) => return Err(error),
        (Err(error), Some(_)) => {
            report::answer(&format!("PROOFPULL UNKNOWN - {}\n", line(&error)))?;
            return Ok(3);
        }
    };
    let dir = state_dir(common, &config);
    let look = Look {
        config: &config,
        dir: &dir,
        now,
    };
    let standings: Vec<Standing> = services(args, &config)
        .flat_map(|(service, is_wanted)| look.standings(service, is_wanted))
        .collect();
    if let Some(max_lag) = args.max_lag {
        let (code, text) = nagios(&standings, max_lag);
        report::answer(&text)?;
        return Ok(code);
    }
    if args.json {
        let name = config.name.clone().unwrap_or_else(host_name);
        let answer = serde_json::json!({
            "name": name, "state_dir": dir, "now": utc(now), "services": standings,
        });
        report::answer(&format!("{answer:#}\n"))?;
    } else {
        report::answer(&text(&standings, now, &dir))?;
    }
    let worst = standings
        .iter()
        .filter_map(|standing| standing.error.as_ref());
    Ok(worst.map(|error| error.status).max().unwrap_or(0))
}

/// The services to look at, and whether each is to be told of even if it never ran.
fn services<'a>(
    args: &'a Status,
    config: &'a Config,
) -> impl Iterator<Item = (&'static Service, bool)> + 'a {
    let all = SERVICES.iter();
    let wanted = all.filter(|service| args.service.is_none_or(|only| only == *service));
    wanted.map(|service| {
        let table = format!("services.{}", service.name);
        let is_wanted = args.service.is_some() || config.keys.place(&table).is_some();
        (service, is_wanted)
    })
}

/// Where a service stands with a sink.
#[derive(Debug, Serialize)]
struct Standing {
    service: &'static str,
    /// `devo` or `stdout`.
    sink: &'static str,
    is_backfill: bool,
    /// Before it everything is delivered.
    position: Option<String>,
    /// How far it is behind the present; of a backfill, behind its end.
    lag_seconds: Option<u64>,
    identities: u64,
    gaps: Vec<Span>,
    /// Events that came late in all runs, and how long the latest took at most.
    #[serde(flatten)]
    late: Late,
    /// Events that were set aside in all runs; they stand in a file beside the state.
    set_aside: u64,
    /// All runs, the last one among them.
    runs: Option<Runs>,
    quota: Option<QuotaLeft>,
    running: Option<Running>,
    /// Why it cannot be told where it stands.
    error: Option<Trouble>,
}

#[derive(Debug, Serialize)]
struct Span {
    from: String,
    to: String,
}

/// How much of the quota of a service's credentials, and of its own limits, is used.
#[derive(Debug, Serialize)]
struct QuotaLeft {
    limits: Vec<Limit>,
    /// When the next request is free: now, if one is.
    next_request: String,
    is_free: bool,
}

#[derive(Debug, Serialize)]
struct Limit {
    of: &'static str,
    used: u32,
    at_most: u32,
    period_seconds: i64,
}

#[derive(Debug, Serialize)]
struct Running {
    pid: u32,
    since: String,
}

#[derive(Debug, Serialize)]
struct Trouble {
    message: String,
    hint: Option<String>,
    status: u8,
}

/// What is looked at, and when.
struct Look<'a> {
    config: &'a Config,
    dir: &'a Path,
    now: OffsetDateTime,
}

impl Look<'_> {
    /// The standings of a service: its timer's runs, and what else there is.
    fn standings(&self, service: &'static Service, is_wanted: bool) -> Vec<Standing> {
        let kinds = [
            ("", "devo", false),
            (".backfill", "devo", true),
            (".stdout", "stdout", false),
            (".stdout.backfill", "stdout", true),
        ];
        let kinds = kinds.into_iter().filter_map(|(suffix, sink, is_backfill)| {
            let name = format!("{}{suffix}", service.name);
            let file = |extension: &str| self.dir.join(format!("{name}.{extension}"));
            let mut standing = Standing::new(service.name, sink, is_backfill);
            let state = State::peek(&file("json"), service.name);
            let state = standing.or_trouble(state).flatten();
            let runs = Runs::load(&file("runs.json"));
            let runs = standing.or_trouble(runs).flatten();
            let holder = files::holder(&file("lock"));
            let holder = standing.or_trouble(holder).flatten();
            standing.running = holder.as_deref().map(running);
            let is_there = state.is_some() || runs.is_some() || standing.running.is_some();
            let is_there = is_there || standing.error.is_some() || is_wanted && suffix.is_empty();
            standing.fill(state, runs, self.now);
            if suffix.is_empty() {
                let quota = self.quota(service);
                standing.quota = standing.or_trouble(quota).flatten();
            }
            is_there.then_some(standing)
        });
        kinds.collect()
    }

    /// How much of the quota is used; nothing where the configuration does not say whose it is.
    fn quota(&self, service: &'static Service) -> Result<Option<QuotaLeft>> {
        let Ok(ledger) = ledger(self.dir, service, self.config, &Stop::never()) else {
            return Ok(None);
        };
        let (usage, _, spent) = ledger.foresee(self.now, 1)?;
        let limits = usage.iter().map(|usage| Limit {
            of: usage.of,
            used: usage.used,
            at_most: usage.limit.at_most,
            period_seconds: usage.limit.period.whole_seconds(),
        });
        Ok(Some(QuotaLeft {
            limits: limits.collect(),
            next_request: utc(spent.map_or(self.now, |spent| spent.free())),
            is_free: spent.is_none(),
        }))
    }
}

/// Reads what the holder of a lock writes into it: `pid 7, started 2026-11-24T10:00:00Z`.
fn running(holder: &str) -> Running {
    let (pid, since) = holder.split_once(", started ").unwrap_or((holder, ""));
    Running {
        pid: pid.trim_start_matches("pid ").parse().unwrap_or(0),
        since: since.to_owned(),
    }
}

impl Standing {
    fn new(service: &'static str, sink: &'static str, is_backfill: bool) -> Standing {
        Standing {
            service,
            sink,
            is_backfill,
            position: None,
            lag_seconds: None,
            identities: 0,
            gaps: Vec::new(),
            late: Late::default(),
            set_aside: 0,
            runs: None,
            quota: None,
            running: None,
            error: None,
        }
    }

    /// Takes on why something cannot be read; the first reason stays.
    fn or_trouble<T>(&mut self, result: Result<T>) -> Option<T> {
        let trouble = |error: &anyhow::Error| {
            let status = match error.is::<Exit>() {
                true => Exit::of(error),
                false => Exit::Data,
            };
            Trouble {
                message: line(error),
                hint: error.downcast_ref().map(|Hint(hint)| hint.clone()),
                status: status as u8,
            }
        };
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.error.get_or_insert_with(|| trouble(&error));
                None
            }
        }
    }

    fn fill(&mut self, state: Option<Peek>, runs: Option<Runs>, now: OffsetDateTime) {
        if let Some(state) = state {
            let end = state.range.as_ref().map_or(now, |range| range.to);
            let lag = (end - state.until).whole_seconds().max(0);
            self.position = Some(utc(state.until));
            self.lag_seconds = u64::try_from(lag).ok();
            self.identities = state.identities;
            self.late = state.late;
            let span = |gap: &Gap| Span {
                from: utc(gap.from),
                to: utc(gap.to),
            };
            self.gaps = state.gaps.iter().map(span).collect();
        }
        let totals = runs.as_ref().map(|runs| &runs.totals);
        self.set_aside = totals
            .and_then(|totals| totals.get("set_aside"))
            .map_or(0, |count| *count);
        self.runs = runs;
    }

    /// What a person calls it.
    fn title(&self) -> String {
        let what = match (self.sink, self.is_backfill) {
            ("stdout", true) => " (backfill to stdout)",
            ("stdout", false) => " (stdout)",
            (_, true) => " (backfill)",
            (_, false) => "",
        };
        format!("{}{what}", self.service)
    }

    /// How the last run ended, if it failed.
    fn failure(&self) -> Option<String> {
        let last = &self.runs.as_ref()?.last;
        let fine = [Exit::Ok, Exit::TempFail]
            .iter()
            .any(|exit| *exit as u8 == last.status);
        let why = last
            .error
            .clone()
            .unwrap_or_else(|| "something could not be delivered".into());
        (!fine).then(|| {
            format!(
                "the last run ended with {} ({}): {why}",
                last.status, last.name
            )
        })
    }
}

impl QuotaLeft {
    /// The limit of which least is left.
    fn nearest(&self) -> Option<String> {
        let least = self
            .limits
            .iter()
            .min_by_key(|limit| limit.at_most.saturating_sub(limit.used))?;
        Some(format!("{} of {} used", least.used, least.at_most))
    }
}

fn in_words(seconds: Option<u64>) -> String {
    seconds.map_or_else(
        || "-".to_owned(),
        |seconds| age(Duration::from_secs(seconds)),
    )
}

fn text(standings: &[Standing], now: OffsetDateTime, dir: &Path) -> String {
    if standings.is_empty() {
        return format!(
            "no service has run yet with its state in {}, and none has a table in the configuration\n",
            dir.display()
        );
    }
    let head = [
        "SERVICE",
        "POSITION",
        "BEHIND",
        "LAST RUN",
        "STATUS",
        "DELIVERED",
        "LATE",
        "GAPS",
        "ASIDE",
        "KNOWN",
        "QUOTA",
        "RUNNING",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(standings.iter().map(|standing| standing.row(now)));
    let mut text = report::table(&rows);
    for standing in standings {
        let title = standing.title();
        for Span { from, to } in &standing.gaps {
            text += &format!("{title}: gap: what lies between {from} and {to} was not collected\n");
        }
        if let Some(quota) = standing.quota.as_ref().filter(|quota| !quota.is_free) {
            text += &format!(
                "{title}: the quota is spent; the next request is free at {}\n",
                quota.next_request
            );
        }
        if let Some(failure) = standing.failure() {
            text += &format!("{title}: {failure}\n");
        }
        if let Some(Trouble { message, hint, .. }) = &standing.error {
            text += &format!("{title}: {message}\n");
            let hint = hint.as_ref().map(|hint| format!("hint: {hint}\n"));
            text += &hint.unwrap_or_default();
        }
    }
    text
}

impl Standing {
    fn row(&self, now: OffsetDateTime) -> Vec<String> {
        let ago = |time: OffsetDateTime| {
            let seconds = u64::try_from((now - time).whole_seconds()).unwrap_or(0);
            format!("{} ago", age(Duration::from_secs(seconds)))
        };
        let last = self.runs.as_ref().map(|runs| &runs.last);
        let nothing = || "-".to_owned();
        let total = |name: &str| {
            let total = self.runs.as_ref().and_then(|runs| runs.totals.get(name));
            total.map_or_else(nothing, ToString::to_string)
        };
        let Late {
            events,
            greatest_seconds,
            ..
        } = self.late;
        let late = match events {
            0 => "0".to_owned(),
            _ => format!("{events} (up to {})", in_words(Some(greatest_seconds))),
        };
        let running = self.running.as_ref();
        vec![
            self.title(),
            self.position.clone().unwrap_or_else(|| match self.error {
                Some(_) => "unknown".into(),
                None => "never ran".into(),
            }),
            in_words(self.lag_seconds),
            last.map_or_else(nothing, |last| ago(last.ended)),
            last.map_or_else(nothing, |last| format!("{} {}", last.status, last.name)),
            total("delivered"),
            late,
            self.gaps.len().to_string(),
            self.set_aside.to_string(),
            self.identities.to_string(),
            self.quota
                .as_ref()
                .and_then(QuotaLeft::nearest)
                .unwrap_or_else(nothing),
            running.map_or_else(nothing, |Running { pid, since }| {
                format!("pid {pid} since {since}")
            }),
        ]
    }

    /// What it means for a Nagios check, and why, if it is not well.
    fn judge(&self, max_lag: Duration) -> (usize, Option<String>) {
        if let Some(trouble) = &self.error {
            return (3, Some(trouble.message.clone()));
        }
        match self.lag_seconds {
            None => (2, Some("never ran".into())),
            Some(lag) if lag > max_lag.as_secs() => {
                let why = self.failure().map(|failure| format!(": {failure}"));
                let behind = format!("{} behind", in_words(Some(lag)));
                (2, Some(behind + &why.unwrap_or_default()))
            }
            Some(_) => {
                let failure = self.failure();
                (usize::from(failure.is_some()), failure)
            }
        }
    }
}

/// The line and the code of a Nagios check: the worst of all services, and how far each is behind.
fn nagios(standings: &[Standing], max_lag: Duration) -> (u8, String) {
    let regular = || {
        standings
            .iter()
            .filter(|standing| !standing.is_backfill && standing.sink == "devo")
    };
    let judged = regular().map(|standing| (standing, standing.judge(max_lag)));
    // as monitoring counts: what is known to be bad is worse than what is unknown
    let weight = |code: usize| [0, 1, 3, 2].get(code).copied().unwrap_or(0);
    let mut worst = 0;
    let mut said = Vec::new();
    for (standing, (code, why)) in judged {
        if weight(code) > weight(worst) {
            worst = code;
        }
        said.extend(why.map(|why| format!("{}: {why}", standing.service)));
    }
    if regular().next().is_none() {
        worst = 3;
        said.push("no service has run yet".into());
    }
    if said.is_empty() {
        let most = regular().filter_map(|standing| standing.lag_seconds).max();
        said.push(format!(
            "{} services, at most {} behind",
            regular().count(),
            in_words(most)
        ));
    }
    let figures = regular().filter_map(|standing| {
        let lag = standing.lag_seconds?;
        Some(format!(
            "'{}'={lag}s;;{};0",
            standing.service,
            max_lag.as_secs()
        ))
    });
    let figures: Vec<String> = figures.collect();
    // a bar begins the figures
    let said = said.join("; ").replace(['|', '\n'], " ");
    let text = format!(
        "PROOFPULL {} - {said} | {}\n",
        NAGIOS[worst],
        figures.join(" ")
    );
    (u8::try_from(worst).unwrap_or(3), text)
}
