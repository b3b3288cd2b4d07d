//! `run` makes one run of a service: it prepares the parts and pulls.

mod end;
mod report;

use std::sync::Arc;
use std::time::Duration;

use super::dry_run::dry_run;
use super::paths::{RunPaths, ledger, lock};
use super::run_record::{RunRecord, TracedRun};
use super::start::{open_state, start};
use super::{devo, network, state_dir};
use crate::cli::args::{Common, RunArgs};
use crate::clock::{Clock, Instant};
use crate::config::file::{Config, ServiceConfig};
use crate::config::{DevoConfig, Url};
use crate::digest::Pseudonyms;
use crate::error::{Because, Exit, Result, fail};
use crate::files;
use crate::net::Network;
use crate::output::{Report, Summary};
use crate::pipeline::cycle::{Cycle, CycleEnd};
use crate::secret;
use crate::service::Service;
use crate::shutdown::Shutdown;
use crate::sink::Sink;
use crate::sink::devo::{Devo, DevoOptions};
use crate::sink::stdout::Stdout;
use crate::source::api::OpenContext;
use crate::source::{self, Source, TOLERANCE};
use crate::state::ledger::LedgerFile;
use crate::state::{State, Unreported};
use crate::transform::{Action, Transform};

/// Wait after a broken connection, in which a receiver may come back.
const PAUSE: Duration = Duration::from_secs(2);

/// What the runs of one command share.
#[derive(Clone, Copy)]
pub(super) struct RunContext<'a> {
    pub(super) args: &'a RunArgs,
    pub(super) common: &'a Common,
    pub(super) report: &'a Report,
    pub(super) shutdown: &'a Shutdown,
    pub(super) clock: Clock,
}

/// Makes one run of a service, and records it.
///
/// # Errors
/// When the run fails.
pub(super) fn run(
    service: &'static Service,
    config: &mut Config,
    context: RunContext,
) -> Result<Exit> {
    let pull = |record: &mut RunRecord| pull(service, config, context, record);
    let ended = RunRecord::of(pull, context.clock);
    // those of the next run begin anew
    drop(Report::take_warnings());
    ended
}

fn pull(
    service: &'static Service,
    config: &mut Config,
    context: RunContext,
    record: &mut RunRecord,
) -> Result<Exit> {
    let RunContext {
        args,
        common,
        report,
        shutdown,
        clock,
    } = context;
    // to look must not take from the stream what is then missing at the receiver
    if args.start_time.is_some() || args.stdout && config.devo.is_some() {
        config.service_mut(service).api.replay_only();
    }
    let config = &*config;
    if common.now.is_some() {
        refuse_beyond_loopback(config, service)?;
    }
    let paths = RunPaths::new(&state_dir(common, config), service, args);
    if args.dry_run {
        return dry_run(&paths, args, config, clock.now());
    }
    record.begin(config, service.name, &paths.file("json"), clock.now());
    files::make_dir(&paths.dir)
        .exit(Exit::CantCreate)
        .hint("create it, writable by the user running proofpull, or set state_dir")?;
    let settings = config.service(service);
    record.hold(lock(&paths.file("lock"), service, args, shutdown, clock)?);
    let exclusive = settings.api.exclusive_session()?;
    let exclusive = exclusive.map(|name| paths.dir.join(name).with_extension("lock"));
    let _session = exclusive
        .map(|path| lock(&path, service, args, shutdown, clock))
        .transpose()?;

    let usual = (!paths.is_backfill).then(|| settings.api.max_duration());
    let pulling_id = clock.now().unix_timestamp_nanos() / 1_000_000;
    let is_traced = !args.stdout && config.devo.as_ref().is_some_and(|devo| devo.pulling_id);
    record.traced = is_traced.then(|| TracedRun {
        tag: settings.tag.clone(),
        pulling_id: u64::try_from(pulling_id).unwrap_or(0),
    });
    let job = RunParts {
        service,
        config,
        network: network(config)?,
        shutdown: shutdown.after(args.max_duration.or(usual)),
        clock,
        pulling_id: pulling_id.to_string(),
        started: Instant::now(),
        settings,
    };
    let mut ledger = ledger(&paths, config, &job.shutdown)?;
    let mut attempt = job.attempt(&paths, args, report, record, &mut ledger)?;
    let mut broke_before = false;
    while let Ok(CycleEnd::Broken(failure)) = attempt.end {
        let begins_again = begins_again(broke_before, attempt.has_delivered, job.shutdown.left());
        if !begins_again {
            attempt.end = Err(failure);
            break;
        }
        log::warn!("{failure}; the run begins once more from its saved state");
        drop(attempt.state);
        broke_before = true;
        job.shutdown.sleep(PAUSE);
        let again = RunArgs {
            start_over: false,
            ..args.clone()
        };
        attempt = Attempt {
            untried: attempt.untried,
            ..job.attempt(&paths, &again, report, record, &mut ledger)?
        };
    }
    let Attempt {
        end,
        mut state,
        untried,
        ..
    } = attempt;
    let unreported = match end {
        Ok(_) => state.finish()?,
        Err(_) => Unreported::default(),
    };
    job.warn(&unreported, &untried, &record.counters, &state);
    let summary = Summary {
        confirmed_by: record.confirmed_by,
        requests_left: ledger.left(),
        gaps: unreported.gaps.len(),
        ..job.summary(end::outcome(&end, &state), record.counters, &state)
    };
    report.end(&summary);
    let ended = end.and_then(|end| end::exit(end, &unreported, &state, report));
    job.report(&ended, &summary, &state, report);
    record.summary = Some(summary);
    ended
}

/// A pull from the saved state, and how it ended.
struct Attempt {
    end: Result<CycleEnd>,
    state: State,
    /// Which rules no event had met before.
    untried: Vec<bool>,
    has_delivered: bool,
}

/// Whether a run whose connection to the receiver broke begins once more, as the next run would:
/// not after a second time in a row without a delivery between, and not with too little time left.
fn begins_again(broke_before: bool, has_delivered: bool, left: Option<Duration>) -> bool {
    (!broke_before || has_delivered) && left.is_none_or(|left| left > PAUSE)
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
    fn attempt(
        &self,
        paths: &RunPaths,
        args: &RunArgs,
        report: &Report,
        record: &mut RunRecord,
        ledger: &mut LedgerFile,
    ) -> Result<Attempt> {
        let transform = self.transform()?;
        let mut state = open_state(paths, args, self.settings, self.clock.now())?;
        if args.forget_receiver {
            state.forget_receiver();
        }
        let untried = state.rule_stats.iter().map(|fit| fit.tried == 0).collect();
        let mut source = self.source(&state)?;
        let (mut sink, transform): (Box<dyn Sink>, Transform) = match args.stdout {
            true => (
                Box::new(Stdout::open(self.shutdown.with_grace())?),
                transform,
            ),
            false => {
                let (sink, transform) = self.devo(&state, transform)?;
                (Box::new(sink), transform)
            }
        };
        let from = state.checkpoint().until();
        let to = state
            .range()
            .map_or_else(|| self.clock.now(), |range| range.to);
        let progress = report.progress(self.service.name, from, to);
        let delivered = record.counters.delivered;
        let end = Cycle {
            source: source.as_mut(),
            sink: sink.as_mut(),
            transform: &transform,
            state: &mut state,
            most_unconfirmed: args.most_unconfirmed,
            clock: self.clock,
            shutdown: &self.shutdown,
            counters: &mut record.counters,
            quota: ledger,
            progress: &progress,
        }
        .run();
        if let Some(ahead) = source.ahead().filter(|ahead| *ahead > TOLERANCE) {
            state.correct_begun(self.clock.now().saturating_add(ahead))?;
        }
        let confirmed_by = record.confirmed_by.into_iter().chain(sink.confirmed_by());
        record.confirmed_by = confirmed_by.min();
        Ok(Attempt {
            end,
            state,
            untried,
            has_delivered: record.counters.delivered > delivered,
        })
    }

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
                if key.reveal().chars().count() < SHORT {
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
        let to = devo::receiver(self.config)?;
        let sink = Devo::new(DevoOptions {
            tag: self.settings.tag.clone(),
            known: state.receiver().cloned(),
            ..devo::options(to, &self.network, self.clock, &self.shutdown)?
        });
        Ok((sink, transform.appending(self.members(to))))
    }

    /// What is appended to each event.
    fn members<'b>(&'b self, to: &'b DevoConfig) -> impl Iterator<Item = (&'b str, &'b str)> {
        let id = ("@devo_pulling_id", self.pulling_id.as_str());
        let fields = to.fields.iter();
        let fields = fields.map(|(key, value)| (key.as_str(), value.as_str()));
        to.pulling_id.then_some(id).into_iter().chain(fields)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_begins_once_more_unless_it_broke_twice_in_a_row_or_has_no_time() {
        let long = Some(Duration::from_secs(600));
        let table = [
            (false, false, None, true),
            (false, false, long, true),
            (false, true, long, true),
            (true, false, long, false),
            (true, true, long, true),
            (false, true, Some(PAUSE), false),
            (true, true, Some(Duration::ZERO), false),
        ];
        for (broke_before, has_delivered, left, wanted) in table {
            let said = format!("{broke_before} {has_delivered} {left:?}");
            assert_eq!(
                begins_again(broke_before, has_delivered, left),
                wanted,
                "{said}"
            );
        }
    }
}
