//! `proofpull run SERVICE`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use time::{Duration, OffsetDateTime};

use super::account::Account;
use super::dry_run::dry_run;
use super::{host_name, load, network, receiver, state_dir, time_argument};
use crate::cli::{Common, Run};
use crate::clock::Clock;
use crate::config::{self, Config, Mode, Settings, Url};
use crate::connect::Network;
use crate::connect::tls::Trust;
use crate::cycle::{Cycle, End};
use crate::digest::Pseudonyms;
use crate::exit::{Because, Exit, fail};
use crate::files::{self, Lock, Taken};
use crate::quota::{RESERVE, Spent};
use crate::report::{self, Report, Summary, Tally};
use crate::secret;
use crate::service::Service;
use crate::sink::Sink;
use crate::sink::devo::{self, Devo};
use crate::sink::stdout::Stdout;
use crate::source::{self, Opening, Source, plan};
use crate::state::quota::Ledger;
use crate::state::{Opened, Peek, Range, Reach, Start, State, Unsaid};
use crate::stop::{Reason, Stop};
use crate::treat::{Action, Rule, Treat};
use crate::window::{self, utc};

/// A run that got a signal takes no longer to reach the receiver with what it has read.
const GRACE: std::time::Duration = std::time::Duration::from_secs(10);

pub(super) fn run(args: &Run, common: &Common, report: &Report, clock: Clock) -> Result<Exit> {
    Account::of(|account| pull(args, common, report, clock, account), clock)
}

fn pull(
    args: &Run,
    common: &Common,
    report: &Report,
    clock: Clock,
    account: &mut Account,
) -> Result<Exit> {
    let stop = Stop::on_signals()
        .context("listening for signals")
        .exit(Exit::Software)?;
    let config = load(common, report, clock.now())?;
    if common.now.is_some() {
        refuse_beyond_loopback(&config, args.service)?;
    }
    let place = Place::new(&state_dir(common, &config), args);
    if args.dry_run {
        return dry_run(&place, args, &config, clock.now());
    }
    account.begin(&config, args.service.name, &place.file("json"), clock.now());
    files::make_dir(&place.dir)
        .exit(Exit::CantCreate)
        .hint("create it for the user who runs this, or set state_dir")?;
    let settings = settings(&config, args);
    account.hold(lock(&place.file("lock"), args, &stop, clock)?);
    let exclusive = source::exclusive(args.service, &config)?;
    let exclusive = exclusive.map(|name| place.dir.join(name).with_extension("lock"));
    let _session = exclusive
        .map(|path| lock(&path, args, &stop, clock))
        .transpose()?;

    let usual = (!place.is_backfill).then_some(settings.max_duration);
    let job = Job {
        service: args.service,
        config: &config,
        network: network(&config)?,
        stop: stop.after(args.max_duration.or(usual)),
        clock,
        pulling_id: (clock.now().unix_timestamp_nanos() / 1_000_000).to_string(),
        started: Instant::now(),
        settings,
    };
    let treat = job.treat()?;
    let mut state = open_state(&place, args, &job.settings, clock.now())?;
    if args.forget_receiver {
        state.forget_receiver();
    }
    let untried: Vec<bool> = state.fits.iter().map(|fit| fit.tried == 0).collect();
    let mut source = job.source(&state)?;
    let mut ledger = ledger(&place, args.service, &config, &job.stop)?;
    let (mut sink, treat): (Box<dyn Sink>, Treat) = if args.stdout {
        (Box::new(Stdout::open()?), treat)
    } else {
        let (sink, treat) = job.devo(&state, treat)?;
        (Box::new(sink), treat)
    };
    let from = state.position().until;
    let to = state.range().map_or_else(|| clock.now(), |range| range.to);
    let progress = report.progress(args.service.name, from, to);
    let mut cycle = Cycle {
        source: source.as_mut(),
        sink: sink.as_mut(),
        treat: &treat,
        state: &mut state,
        clock,
        stop: &job.stop,
        tally: &mut account.tally,
        quota: &mut ledger,
        progress: &progress,
    };
    let end = cycle.run();
    drop(progress);
    let tally = account.tally;

    let unsaid = match is_good(&end) {
        true => state.finish()?,
        false => Unsaid::default(),
    };
    warn(&unsaid, &state);
    job.warn_of_misfits(&untried, &state);
    if let Some(warning) = report::late(&tally.late, &state.late(), job.settings.look_back) {
        log::warn!("{warning}");
    }
    let summary = Summary {
        requests_left: ledger.left(),
        ..job.summary(outcome(&end, &state), tally, unsaid.gaps.len(), &state)
    };
    report.end(&summary);
    account.summary = Some(summary);
    match end {
        Err(spent) if !unsaid.is_empty() && is_spent(&spent) => report.error(&spent),
        end => drop(end?),
    }
    Ok(match (unsaid.is_empty(), state.is_left()) {
        (false, _) => Exit::Gap,
        (true, true) => Exit::TempFail,
        (true, false) => Exit::Ok,
    })
}

/// Whether the run did all that it could and may.
fn is_good(end: &Result<End>) -> bool {
    end.as_ref().map_or_else(is_spent, |_| true)
}

/// Whether it ended where the quota did.
fn is_spent(error: &anyhow::Error) -> bool {
    error.is::<Spent>()
}

fn outcome(end: &Result<End>, state: &State) -> &'static str {
    match end {
        Ok(End::CaughtUp) if state.is_left() => "stopped, the rest cannot be asked for yet",
        Ok(End::CaughtUp) => "caught up",
        Ok(End::Stopped(Reason::Signal)) => "stopped by a signal",
        Ok(End::Stopped(Reason::Deadline)) => "stopped at max_duration",
        Ok(End::Limit(words)) => words,
        Ok(End::Closed) => "stopped, standard output was closed",
        Err(error) if is_spent(error) => "stopped, the quota is spent",
        Err(_) => "failed",
    }
}

/// Says what could not be delivered.
fn warn(unsaid: &Unsaid, state: &State) {
    let gaps = unsaid.gaps.iter();
    gaps.for_each(|gap| log::warn!("{}", report::gap(gap)));
    if unsaid.set_aside > 0 {
        let (count, path) = (unsaid.set_aside, state.aside.path().display());
        log::warn!(
            "{count} events cannot be read as JSON, so that no rule can be followed in them: they were not sent and \
             stand, unmasked, in {path}"
        );
    }
}

/// The files of a run.
#[derive(Debug)]
pub(super) struct Place {
    dir: PathBuf,
    /// What their names begin with.
    name: String,
    /// The timer's state beside, when this is a backfill.
    timer: PathBuf,
    is_backfill: bool,
}

impl Place {
    fn new(dir: &Path, args: &Run) -> Place {
        let mut name = args.service.name.to_owned();
        if args.stdout {
            name += ".stdout";
        }
        let timer = dir.join(format!("{name}.json"));
        let is_backfill = args.start_time.is_some();
        if is_backfill {
            name += ".backfill";
        }
        Place {
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

/// The service's settings, as they hold for this run.
pub(super) fn settings(config: &Config, args: &Run) -> Settings {
    let mut settings = config.settings(args.service);
    // to look must not take from the stream what is then missing at the receiver
    if args.start_time.is_some() || args.stdout && config.devo.is_some() {
        settings.mode = Mode::Archive;
    }
    settings
}

fn lock(path: &Path, args: &Run, stop: &Stop, clock: Clock) -> Result<Lock> {
    let holder = format!("pid {}, started {}", std::process::id(), utc(clock.now()));
    let taken = files::lock(path, &holder, args.wait_lock, stop).exit(Exit::CantCreate);
    match taken.hint("the state folder must be writable for the user who runs this")? {
        Taken::Ours(lock) => Ok(lock),
        Taken::Held(by) => {
            let name = args.service.name;
            let message = format!("running {name}: another run of it is under way ({by})");
            fail(Exit::TempFail, message).hint("let it finish; --wait-lock 10m waits for it")
        }
    }
}

/// What a state begins with where there is none, or none of this kind.
pub(super) fn begin(
    place: &Place,
    args: &Run,
    settings: &Settings,
    now: OffsetDateTime,
) -> Result<Start> {
    let rule = source::rule(args.service, settings);
    Ok(match &args.start_time {
        Some(_) => {
            let range = range(place, args, &rule, now)?;
            Start {
                configured: None,
                from: range.from.max(rule.oldest(now)),
                range: Some(range),
            }
        }
        None => {
            let configured = settings.start_time;
            let from = configured.map(|start| start.max(rule.oldest(now)));
            Start {
                configured,
                from: from.unwrap_or_else(|| source::first(args.service, settings, now)),
                range: None,
            }
        }
    })
}

/// Says it if a state that is begun starts later than was wanted.
pub(super) fn warn_if_moved(start: &Start, opened: Opened) {
    let wanted = start.range.as_ref().map(|range| range.from);
    let wanted = wanted.or(start.configured);
    if let Some(wanted) = wanted.filter(|wanted| opened != Opened::Known && *wanted < start.from) {
        plan::warn_of_a_late_start(wanted, start.from);
    }
}

fn open_state(
    place: &Place,
    args: &Run,
    settings: &Settings,
    now: OffsetDateTime,
) -> Result<State> {
    let name = args.service.name;
    let start = begin(place, args, settings, now)?;
    let (mut state, opened) = State::open(
        &place.file("json"),
        name,
        &start,
        reach(args.service, settings),
        now,
    )?;
    state.follow(settings.rules.iter().map(Rule::digest).collect());
    warn_if_moved(&start, opened);
    match (opened, place.is_backfill) {
        (Opened::Restarted, false) => {
            log::warn!(
                "start_time was changed: {name} starts over from {}, what follows is delivered again",
                utc(start.from)
            );
        }
        (Opened::Restarted, true) => log::info!(
            "another backfill than the one before: it starts at {}",
            utc(start.from)
        ),
        _ => {}
    }
    Ok(state)
}

/// From where the source goes on.
pub(super) fn start(state: &State) -> plan::Start {
    let range = state.range();
    plan::Start {
        position: state.position(),
        fresh: state.is_fresh(),
        since: state.identities_since(),
        end: range.map(|range| range.to),
        look_back: range.map_or(state.reach().look_back, |_| Duration::ZERO),
        second_look: state.second_look(),
        stream: Some(state.stream()),
        held: state.held(),
    }
}

pub(super) fn reach(service: &Service, settings: &Settings) -> Reach {
    // what the configuration takes is never too long
    let time = |time| Duration::try_from(time).unwrap_or(Duration::DAY);
    Reach {
        look_back: time(settings.look_back),
        second_look: time(settings.second_look),
        memory: source::memory(service),
    }
}

/// The range of a backfill: that of the state if it is the same command, to go on with it.
fn range(place: &Place, args: &Run, rule: &window::Rule, now: OffsetDateTime) -> Result<Range> {
    let words = [&args.start_time, &args.end_time].map(|word| word.clone().unwrap_or_default());
    let saved = State::peek(&place.file("json"), args.service.name)?;
    if let Some(Peek {
        until,
        range: Some(range),
        is_left: true,
        ..
    }) = saved
        && range.words == words
    {
        let (from, to) = (utc(range.from), utc(range.to));
        log::info!(
            "going on at {} with the backfill from {from} to {to}",
            utc(until)
        );
        return Ok(range);
    }
    let from = rule.floor(time_argument("--start-time", &words[0], now)?);
    let to = match args.end_time.as_deref() {
        Some(to) => time_argument("--end-time", to, now)?,
        None => State::peek(&place.timer, args.service.name)?.map_or(now, |peek| peek.until),
    };
    let to = rule.ceil(to).min(rule.limit(now));
    if to - from < rule.shortest {
        let message = format!("nothing to backfill between {} and {}", utc(from), utc(to));
        let [shortest, margin] = [rule.shortest, rule.margin]
            .map(|time| report::age(time.try_into().unwrap_or_default()));
        return fail(Exit::Usage, message).hint(format!(
            "a backfill takes {shortest} at least and ends {margin} ago at the latest; without --end-time it ends at \
             the saved position"
        ));
    }
    let oldest = rule.oldest(now);
    if to <= oldest {
        let name = args.service.name;
        let message = format!(
            "{name} can be asked for nothing before {}, and this range ends at {}",
            utc(oldest),
            utc(to)
        );
        return fail(Exit::Usage, message).hint(
            "the service keeps no longer what is older: give a later --end-time, or none to end at the saved position",
        );
    }
    Ok(Range { words, from, to })
}

/// Where requests are booked; a backfill leaves some to the timer's runs.
pub(super) fn ledger(
    place: &Place,
    service: &Service,
    config: &Config,
    stop: &Stop,
) -> Result<Ledger> {
    let ledger = super::ledger(&place.dir, service, config, stop)?;
    let held_back = if place.is_backfill { RESERVE } else { 0 };
    Ok(ledger.holding_back(held_back))
}

/// What the parts of a run are made from.
struct Job<'a> {
    service: &'static Service,
    config: &'a Config,
    settings: Settings,
    network: Arc<Network>,
    stop: Stop,
    clock: Clock,
    pulling_id: String,
    started: Instant,
}

impl Job<'_> {
    fn source(&self, state: &State) -> Result<Box<dyn Source>> {
        source::open(&Opening {
            service: self.service,
            config: self.config,
            settings: &self.settings,
            network: &self.network,
            stop: &self.stop,
            start: start(state),
            attempts: source::ATTEMPTS,
        })
    }

    /// The rules of the service, which hold wherever its events go.
    fn treat(&self) -> Result<Treat> {
        /// Shorter ones can be found by trying.
        const SHORT: usize = 16;
        let rules = &self.settings.rules;
        let is_keyed = rules.iter().any(|rule| rule.action == Action::Hash);
        let key = match self.config.pseudonym_key.as_ref().filter(|_| is_keyed) {
            Some(reference) => {
                let key = secret::read(reference, "the key of [obfuscation]")?;
                if key.reveal().len() < SHORT {
                    log::warn!(
                        "the key of [obfuscation] has less than {SHORT} characters and can be found by trying: \
                         openssl rand -hex 32 makes a good one"
                    );
                }
                Some(Pseudonyms::new(key.reveal().as_bytes()).exit(Exit::Software)?)
            }
            None => None,
        };
        Ok(Treat::following(rules.clone(), key))
    }

    fn devo(&self, state: &State, treat: Treat) -> Result<(Devo, Treat)> {
        let to = receiver(self.config)?;
        let own_tag = || self.service.tag.to_owned();
        let sink = Devo::new(devo::Options {
            tag: self.settings.tag.clone().unwrap_or_else(own_tag),
            known: state.receiver().cloned(),
            stop: match source::sends_once(self.service) {
                // an hour of the archive may go on when the run's time is over
                true => self.stop.after(None).with_grace(GRACE),
                false => self.stop.clone(),
            },
            ..devo_options(self.config, to, &self.network, self.clock, &self.stop)?
        });
        let id = ("@devo_pulling_id", self.pulling_id.as_str());
        let id = to.pulling_id.then_some(id).into_iter();
        let fields = to.fields.iter();
        let fields = fields.map(|(key, value)| (key.as_str(), value.as_str()));
        Ok((sink, treat.appending(id.chain(fields))))
    }

    /// Says once, also to those who see no summary, which rules did not match when first tried.
    fn warn_of_misfits(&self, untried: &[bool], state: &State) {
        let fits = state.fits.iter().zip(untried);
        for ((fit, untried), rule) in fits.zip(&self.settings.rules) {
            if *untried && fit.tried > 0 && !fit.matched {
                log::warn!(
                    "{rule} has matched nothing in {} events: if it should, correct its path",
                    fit.tried
                );
            }
        }
    }

    fn summary(&self, outcome: &'static str, tally: Tally, gaps: usize, state: &State) -> Summary {
        let behind = self.clock.now() - state.position().until;
        let fits = state.fits.iter().zip(&self.settings.rules);
        let never_matched = fits.filter(|(fit, _)| !fit.matched);
        let never_matched =
            never_matched.map(|(fit, rule)| format!("{rule} ({} events)", fit.tried));
        Summary {
            name: self.config.name.clone().unwrap_or_else(host_name),
            service: self.service.name,
            outcome,
            tally,
            requests_left: None,
            gaps,
            never_matched: never_matched.collect(),
            behind_seconds: u64::try_from(behind.whole_seconds()).unwrap_or(0),
            seconds: self.started.elapsed().as_secs_f64(),
            peak_memory_bytes: report::peak_memory(),
            pulling_id: self.pulling_id.clone(),
        }
    }
}

/// A sink for the receiver, without what is a service's own: its tag, and what is known of the peer.
pub(super) fn devo_options(
    config: &Config,
    to: &config::Devo,
    network: &Arc<Network>,
    clock: Clock,
    stop: &Stop,
) -> Result<devo::Options> {
    let ca = config.http.ca.as_deref();
    let own_name = || to.address.host.clone();
    Ok(devo::Options {
        network: Arc::clone(network),
        trust: Trust::receiver(to.chain.as_deref(), ca, to.identity.as_ref())?,
        address: to.address.clone(),
        server_name: to.server_name.clone().unwrap_or_else(own_name),
        hostname: to.hostname.clone().unwrap_or_else(host_name),
        tag: String::new(),
        known: None,
        clock,
        stop: stop.clone(),
    })
}

/// A set clock is for tests: it must never touch what is real.
pub(super) fn refuse_beyond_loopback(config: &Config, service: &Service) -> Result<()> {
    let urls = source::addresses(service, config)
        .iter()
        .all(Url::is_loopback);
    let receiver = config
        .devo
        .as_ref()
        .is_none_or(|devo| devo.address.is_loopback());
    if urls && receiver {
        return Ok(());
    }
    fail(
        Exit::Usage,
        "--now is for tests on loopback addresses alone",
    )
}
