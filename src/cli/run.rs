//! `proofpull run SERVICE`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use time::{Duration, OffsetDateTime};

use super::dry_run::dry_run;
use super::run_record::RunRecord;
use super::{host_name, load, network, receiver, state_dir, time_argument};
use crate::cli::args::{Common, RunArgs};
use crate::clock::Clock;
use crate::clock::utc;
use crate::config::file::{Config, ServiceConfig};
use crate::config::{self, Url};
use crate::digest::Pseudonyms;
use crate::error::{Because, Exit, Result, fail};
use crate::files::{self, Lock, Taken};
use crate::net::Network;
use crate::net::tls::Trust;
use crate::output::{self, Counters, Report, Summary};
use crate::pipeline::checkpoint::Retention;
use crate::pipeline::cycle::{Cycle, CycleEnd};
use crate::quota::RESERVE;
use crate::secret;
use crate::service::Service;
use crate::shutdown::{Shutdown, ShutdownReason};
use crate::sink::Sink;
use crate::sink::devo::{self, Devo};
use crate::sink::stdout::Stdout;
use crate::source::WindowLimits;
use crate::source::api::{OpenContext, Start};
use crate::source::{self, Source};
use crate::state::ledger::LedgerFile;
use crate::state::{Range, StartPoint, State, StateError, StateOrigin, StateSummary, Unreported};
use crate::transform::{Action, Rule, Transform};

/// A run that got a signal takes no longer to reach the receiver with what it has read.
const GRACE: std::time::Duration = std::time::Duration::from_secs(10);

pub(super) fn run(args: &RunArgs, common: &Common, report: &Report, clock: Clock) -> Result<Exit> {
    RunRecord::of(|record| pull(args, common, report, clock, record), clock)
}

fn pull(
    args: &RunArgs,
    common: &Common,
    report: &Report,
    clock: Clock,
    record: &mut RunRecord,
) -> Result<Exit> {
    let shutdown = Shutdown::on_signals()
        .context("listening for signals")
        .exit(Exit::Software)?;
    let mut config = load(common, report, clock.now())?;
    // to look must not take from the stream what is then missing at the receiver
    if args.start_time.is_some() || args.stdout && config.devo.is_some() {
        config.service_mut(args.service).api.replay_only();
    }
    let config = config;
    if common.now.is_some() {
        refuse_beyond_loopback(&config, args.service)?;
    }
    let paths = RunPaths::new(&state_dir(common, &config), args);
    if args.dry_run {
        return dry_run(&paths, args, &config, clock.now());
    }
    record.begin(&config, args.service.name, &paths.file("json"), clock.now());
    files::make_dir(&paths.dir)
        .exit(Exit::CantCreate)
        .hint("create it, writable by the user running proofpull, or set state_dir")?;
    let settings = config.service(args.service);
    record.hold(lock(&paths.file("lock"), args, &shutdown, clock)?);
    let exclusive = settings.api.exclusive_session()?;
    let exclusive = exclusive.map(|name| paths.dir.join(name).with_extension("lock"));
    let _session = exclusive
        .map(|path| lock(&path, args, &shutdown, clock))
        .transpose()?;

    let usual = (!paths.is_backfill).then(|| settings.api.max_duration());
    let job = RunParts {
        service: args.service,
        config: &config,
        network: network(&config)?,
        shutdown: shutdown.after(args.max_duration.or(usual)),
        clock,
        pulling_id: (clock.now().unix_timestamp_nanos() / 1_000_000).to_string(),
        started: Instant::now(),
        settings,
    };
    let transform = job.transform()?;
    let mut state = open_state(&paths, args, settings, clock.now())?;
    if args.forget_receiver {
        state.forget_receiver();
    }
    let untried: Vec<bool> = state.rule_stats.iter().map(|fit| fit.tried == 0).collect();
    let mut source = job.source(&state)?;
    let mut ledger = ledger(&paths, args.service, &config, &job.shutdown)?;
    let (mut sink, transform): (Box<dyn Sink>, Transform) = if args.stdout {
        let sink = Stdout::open(job.shutdown.with_grace(GRACE))?;
        (Box::new(sink), transform)
    } else {
        let (sink, transform) = job.devo(&state, transform)?;
        (Box::new(sink), transform)
    };
    let from = state.checkpoint().until();
    let to = state.range().map_or_else(|| clock.now(), |range| range.to);
    let progress = report.progress(args.service.name, from, to);
    let mut cycle = Cycle {
        source: source.as_mut(),
        sink: sink.as_mut(),
        transform: &transform,
        state: &mut state,
        clock,
        shutdown: &job.shutdown,
        counters: &mut record.counters,
        quota: &mut ledger,
        progress: &progress,
    };
    let end = cycle.run();
    drop(progress);
    let counters = record.counters;

    let unreported = match end {
        Ok(_) => state.finish()?,
        Err(_) => Unreported::default(),
    };
    warn(&unreported, &state);
    job.warn_of_misfits(&untried, &state);
    let look_back = settings.api.retention().look_back.unsigned_abs();
    if let Some(warning) = output::late(&counters.late, &state.late(), look_back) {
        log::warn!("{warning}");
    }
    let summary = Summary {
        requests_left: ledger.left(),
        ..job.summary(
            outcome(&end, &state),
            counters,
            unreported.gaps.len(),
            &state,
        )
    };
    report.end(&summary);
    record.summary = Some(summary);
    match end? {
        // the gap is the worse news
        CycleEnd::QuotaExceeded(failure) if !unreported.is_empty() => report.error(&failure),
        CycleEnd::QuotaExceeded(failure) => return Err(failure),
        _ => {}
    }
    Ok(match (unreported.is_empty(), state.is_left()) {
        (false, _) => Exit::Gap,
        (true, true) => Exit::TempFail,
        (true, false) => Exit::Ok,
    })
}

fn outcome(end: &Result<CycleEnd>, state: &State) -> &'static str {
    match end {
        Ok(CycleEnd::CaughtUp) if state.is_left() => {
            "stopped because the rest cannot be requested yet"
        }
        Ok(CycleEnd::CaughtUp) => "caught up",
        Ok(CycleEnd::Stopped(ShutdownReason::Signal)) => "stopped by a signal",
        Ok(CycleEnd::Stopped(ShutdownReason::Deadline)) => "stopped at max_duration",
        Ok(CycleEnd::Limit(words)) => words,
        Ok(CycleEnd::Closed) => "stopped because standard output was closed",
        Ok(CycleEnd::QuotaExceeded(_)) => "stopped because the quota is spent",
        Err(_) => "failed",
    }
}

/// Says what could not be delivered.
fn warn(unreported: &Unreported, state: &State) {
    let gaps = unreported.gaps.iter();
    gaps.for_each(|gap| log::warn!("{}", output::gap(gap)));
    if unreported.quarantined > 0 {
        let events = output::count(unreported.quarantined, "event");
        let path = state.quarantine.path().display();
        log::warn!(
            "{events} quarantined: not valid JSON, so the rules could not be applied; not sent, \
             but kept unredacted in {path}"
        );
    }
}

/// The files of a run.
#[derive(Debug)]
pub(super) struct RunPaths {
    dir: PathBuf,
    /// What their names begin with.
    name: String,
    /// The timer's state beside, when this is a backfill.
    timer: PathBuf,
    is_backfill: bool,
}

impl RunPaths {
    fn new(dir: &Path, args: &RunArgs) -> RunPaths {
        let mut name = args.service.name.to_owned();
        if args.stdout {
            name += ".stdout";
        }
        let timer = dir.join(format!("{name}.json"));
        let is_backfill = args.start_time.is_some();
        if is_backfill {
            name += ".backfill";
        }
        RunPaths {
            dir: dir.to_owned(),
            name,
            timer,
            is_backfill,
        }
    }

    pub(super) fn file(&self, extension: &str) -> PathBuf {
        self.dir.join(format!("{}.{extension}", self.name))
    }
}

fn lock(
    path: &Path,
    args: &RunArgs,
    shutdown: &Shutdown,
    clock: Clock,
) -> Result<Lock, StateError> {
    let holder = format!("pid {}, started {}", std::process::id(), utc(clock.now()));
    let taken = files::lock(path, &holder, args.wait_lock, shutdown);
    let service = args.service.name;
    match taken.map_err(StateError::Unwritable)? {
        Taken::Ours(lock) => Ok(lock),
        Taken::Held(holder) => Err(StateError::Running { service, holder }),
    }
}

/// What a state begins with where there is none, or none of this kind.
fn begin(
    paths: &RunPaths,
    args: &RunArgs,
    settings: &ServiceConfig,
    now: OffsetDateTime,
) -> Result<StartPoint> {
    let api = &settings.api;
    let rule = api.limits();
    let begin = |from| api.checkpoint_at(from);
    Ok(match &args.start_time {
        Some(_) => {
            let range = range(paths, args, &rule, now)?;
            StartPoint {
                configured: None,
                checkpoint: begin(range.from.max(rule.oldest(now))),
                range: Some(range),
            }
        }
        None => {
            let configured = settings.start_time;
            let from = configured.map(|start| start.max(rule.oldest(now)));
            let from = from.unwrap_or_else(|| api.first_start(now));
            StartPoint {
                configured,
                checkpoint: begin(from),
                range: None,
            }
        }
    })
}

/// Opens the state, and says it if one that is begun starts later than was wanted; nothing is written.
pub(super) fn open(
    paths: &RunPaths,
    args: &RunArgs,
    settings: &ServiceConfig,
    now: OffsetDateTime,
) -> Result<(State, StateOrigin, StartPoint)> {
    let start = begin(paths, args, settings, now)?;
    let open = match args.start_over {
        true => State::start_over,
        false => State::open,
    };
    let (path, name) = (paths.file("json"), args.service.name);
    let (state, opened) = open(&path, name, &start, settings.api.retention(), now)?;
    let wanted = start.range.as_ref().map(|range| range.from);
    let wanted = wanted.or(start.configured);
    let from = start.checkpoint.until();
    if let Some(wanted) = wanted.filter(|wanted| opened != StateOrigin::Known && *wanted < from) {
        source::warn_of_a_late_start(wanted, from);
    }
    Ok((state, opened, start))
}

fn open_state(
    paths: &RunPaths,
    args: &RunArgs,
    settings: &ServiceConfig,
    now: OffsetDateTime,
) -> Result<State> {
    let name = args.service.name;
    let (mut state, opened, start) = open(paths, args, settings, now)?;
    state.follow(settings.rules.iter().map(Rule::digest).collect());
    match (opened, paths.is_backfill) {
        (StateOrigin::Restarted, false) => {
            log::warn!(
                "start_time was changed: {name} starts over from {}; later events are delivered \
                 again",
                utc(start.checkpoint.until())
            );
        }
        (StateOrigin::Restarted, true) => log::info!(
            "the backfill has another range than the one before: it starts at {}",
            utc(start.checkpoint.until())
        ),
        _ => {}
    }
    Ok(state)
}

/// From where the source goes on.
pub(super) fn start(state: &State) -> Start {
    let range = state.range();
    let Retention {
        look_back, recheck, ..
    } = state.retention();
    // a backfill reads once
    let is_rechecked = range.is_none() && recheck > Duration::ZERO;
    Start {
        checkpoint: state.checkpoint().clone(),
        fresh: state.is_fresh(),
        since: state.identities_since(),
        end: range.map(|range| range.to),
        look_back: range.map_or(look_back, |_| Duration::ZERO),
        recheck_after: is_rechecked.then_some(recheck),
    }
}

/// The range of a backfill: that of the state if it is the same command, to go on with it.
fn range(
    paths: &RunPaths,
    args: &RunArgs,
    rule: &WindowLimits,
    now: OffsetDateTime,
) -> Result<Range> {
    let words = [&args.start_time, &args.end_time].map(|word| word.clone().unwrap_or_default());
    let saved = match State::peek(&paths.file("json"), args.service.name) {
        // what is of no use is told when it is opened
        Err(_) if args.start_over => None,
        saved => saved?,
    };
    if let Some(StateSummary {
        checkpoint,
        range: Some(range),
        is_left: true,
        ..
    }) = saved
        && range.words == words
    {
        let (from, to) = (utc(range.from), utc(range.to));
        log::info!(
            "continuing at {} the backfill from {from} to {to}",
            utc(checkpoint.until())
        );
        return Ok(range);
    }
    let from = rule.floor(time_argument("--start-time", &words[0], now)?);
    let to = match args.end_time.as_deref() {
        Some(to) => time_argument("--end-time", to, now)?,
        None => State::peek(&paths.timer, args.service.name)?
            .map_or(now, |peek| peek.checkpoint.until()),
    };
    let to = rule.ceil(to).min(rule.limit(now));
    if to - from < rule.shortest {
        let message = format!("nothing to backfill between {} and {}", utc(from), utc(to));
        let [shortest, margin] = [rule.shortest, rule.margin]
            .map(|time| output::age(time.try_into().unwrap_or_default()));
        return fail(Exit::Usage, message).hint(format!(
            "choose a range of {shortest} or more that ends at least {margin} ago; without \
             --end-time it ends at the saved position"
        ));
    }
    let oldest = rule.oldest(now);
    if to <= oldest {
        let name = args.service.name;
        let message = format!(
            "{name} reads nothing before {}, but the range ends at {}",
            utc(oldest),
            utc(to)
        );
        return fail(Exit::Usage, message).hint(
            "set a later --end-time, or none to end at the saved position; the service no longer \
             keeps older events",
        );
    }
    Ok(Range { words, from, to })
}

/// Where requests are booked; a backfill leaves some to the timer's runs.
pub(super) fn ledger(
    paths: &RunPaths,
    service: &Service,
    config: &Config,
    shutdown: &Shutdown,
) -> Result<LedgerFile> {
    let ledger = super::ledger(&paths.dir, service, config, shutdown)?;
    let held_back = if paths.is_backfill { RESERVE } else { 0 };
    Ok(ledger.holding_back(held_back))
}

/// What the parts of a run are made from.
struct RunParts<'a> {
    service: &'static Service,
    config: &'a Config,
    settings: &'a ServiceConfig,
    network: Arc<Network>,
    shutdown: Shutdown,
    clock: Clock,
    pulling_id: String,
    started: Instant,
}

impl RunParts<'_> {
    fn source(&self, state: &State) -> Result<Box<dyn Source>> {
        self.settings.api.open(&OpenContext {
            network: &self.network,
            shutdown: &self.shutdown,
            start: start(state),
            attempts: source::ATTEMPTS,
        })
    }

    /// The rules of the service, which hold wherever its events go.
    fn transform(&self) -> Result<Transform> {
        /// Shorter ones can be found by trying.
        const SHORT: usize = 16;
        let rules = &self.settings.rules;
        let is_keyed = rules.iter().any(|rule| rule.action == Action::Hash);
        let key = match self.config.pseudonym_key.as_ref().filter(|_| is_keyed) {
            Some(reference) => {
                let key = secret::read(reference, "[obfuscation] key")?;
                if key.reveal().len() < SHORT {
                    log::warn!(
                        "[obfuscation] key has fewer than {SHORT} characters and can be guessed: \
                         create a longer one with openssl rand -hex 32"
                    );
                }
                Some(Pseudonyms::new(key.reveal().as_bytes()).exit(Exit::Software)?)
            }
            None => None,
        };
        Ok(Transform::following(rules.clone(), key))
    }

    fn devo(&self, state: &State, transform: Transform) -> Result<(Devo, Transform)> {
        let to = receiver(self.config)?;
        let sink = Devo::new(devo::DevoOptions {
            tag: self.settings.tag.clone(),
            known: state.receiver().cloned(),
            shutdown: match self.settings.api.is_replayable() {
                true => self.shutdown.clone(),
                // an hour of the archive may go on when the run's time is over
                false => self.shutdown.after(None).with_grace(GRACE),
            },
            ..devo_options(self.config, to, &self.network, self.clock, &self.shutdown)?
        });
        let id = ("@devo_pulling_id", self.pulling_id.as_str());
        let id = to.pulling_id.then_some(id).into_iter();
        let fields = to.fields.iter();
        let fields = fields.map(|(key, value)| (key.as_str(), value.as_str()));
        Ok((sink, transform.appending(id.chain(fields))))
    }

    /// Says once, also to those who see no summary, which rules did not match when first tried.
    fn warn_of_misfits(&self, untried: &[bool], state: &State) {
        let rule_stats = state.rule_stats.iter().zip(untried);
        for ((fit, untried), rule) in rule_stats.zip(&self.settings.rules) {
            if *untried && fit.tried > 0 && !fit.matched {
                log::warn!(
                    "{rule} has matched nothing in {}: correct its path if it should match",
                    output::count(fit.tried, "event")
                );
            }
        }
    }

    fn summary(
        &self,
        outcome: &'static str,
        counters: Counters,
        gaps: usize,
        state: &State,
    ) -> Summary {
        let behind = self.clock.now() - state.checkpoint().until();
        let rule_stats = state.rule_stats.iter().zip(&self.settings.rules);
        let never_matched = rule_stats.filter(|(fit, _)| !fit.matched);
        let never_matched = never_matched
            .map(|(fit, rule)| format!("{rule} ({})", output::count(fit.tried, "event")));
        Summary {
            name: self.config.name.clone().unwrap_or_else(host_name),
            service: self.service.name,
            outcome,
            counters,
            requests_left: None,
            gaps,
            never_matched: never_matched.collect(),
            behind_seconds: u64::try_from(behind.whole_seconds()).unwrap_or(0),
            seconds: self.started.elapsed().as_secs_f64(),
            peak_memory_bytes: output::peak_memory(),
            pulling_id: self.pulling_id.clone(),
        }
    }
}

/// A sink for the receiver, without what is a service's own: its tag, and what is known of the peer.
pub(super) fn devo_options(
    config: &Config,
    to: &config::DevoConfig,
    network: &Arc<Network>,
    clock: Clock,
    shutdown: &Shutdown,
) -> Result<devo::DevoOptions> {
    let ca = config.http.ca.as_deref();
    Ok(devo::DevoOptions {
        network: Arc::clone(network),
        trust: Trust::receiver(to.chain.as_deref(), ca, to.identity.as_ref())?,
        address: to.address.clone(),
        server_name: to.server_name.clone(),
        hostname: to.hostname.clone().unwrap_or_else(host_name),
        tag: String::new(),
        known: None,
        clock,
        shutdown: shutdown.clone(),
    })
}

/// A set clock is for tests: it must never touch what is real.
pub(super) fn refuse_beyond_loopback(config: &Config, service: &Service) -> Result<()> {
    let urls = config.service(service).api.endpoints();
    let urls = urls.iter().all(Url::is_loopback);
    let receiver = config
        .devo
        .as_ref()
        .is_none_or(|devo| devo.address.is_loopback());
    if urls && receiver {
        return Ok(());
    }
    fail(
        Exit::Usage,
        "--now is for tests and takes loopback addresses only",
    )
}
