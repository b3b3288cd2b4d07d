//! `probe` tests the connections: whether each API accepts the credentials, and whether this machine's
//! clock is right.
//!
//! Nothing is reported as ok unless it was tested.

use std::sync::Arc;

use time::{Duration, OffsetDateTime};

use super::offline::OfflineChecks;
use super::receiver;
use super::trial::{Try, Verdict};
use crate::cli::args::Common;
use crate::cli::run::refuse_beyond_loopback;
use crate::cli::{ledger, network};
use crate::clock::{Clock, Instant};
use crate::config::Url;
use crate::error::{Because, Exit, Result};
use crate::files;
use crate::human;
use crate::net::Network;
use crate::quota::{Pool, Quota, QuotaError};
use crate::service::Service;
use crate::shutdown::Shutdown;
use crate::source::api::{Probe, ProbeContext};
use crate::state::ledger::LedgerFile;

/// Clocks that are further apart than this deserve a word, as in a run.
const SKEW: Duration = Duration::seconds(60);

/// Tries everything.
///
/// # Errors
/// When nothing may be tried at all.
pub(super) fn tries(checks: &OfflineChecks, common: &Common, clock: Clock) -> Result<Vec<Try>> {
    if !checks.is_readable {
        let all = checks
            .services
            .iter()
            .map(|service| service.name)
            .chain(["devo", "clock"]);
        return Ok(all
            .map(|what| Try::not_tried(what, "the configuration is refused"))
            .collect());
    }
    if common.now.is_some() {
        checks
            .services
            .iter()
            .try_for_each(|service| refuse_beyond_loopback(checks.config, service))?;
    }
    let shutdown = Shutdown::on_signals()
        .context("listening for signals")
        .exit(Exit::Software)?;
    let network = match network(checks.config) {
        Ok(network) => network,
        Err(error) => {
            let why = error.to_string();
            let all = checks
                .services
                .iter()
                .map(|service| service.name)
                .chain(["devo", "clock"]);
            return Ok(all.map(|what| Try::not_tried(what, why.clone())).collect());
        }
    };
    let trial = OnlineChecks {
        checks,
        network,
        shutdown,
        clock,
    };
    let (mut tries, mut clocks) = (Vec::new(), Vec::new());
    let mut asked: Vec<&Service> = Vec::new();
    for service in checks.services {
        match asked
            .iter()
            .find(|other| trial.proves_the_same(other, service))
        {
            Some(other) => {
                let why = format!("{} was tested with the same credentials", other.name);
                tries.push(Try::not_tried(service.name, why));
            }
            None => {
                let (one, ahead) = trial.service(service);
                clocks.extend(ahead.map(|ahead| (service.name, ahead)));
                // what was not tried proves nothing for others
                asked.extend((one.outcome != Verdict::NotTried).then_some(service));
                tries.push(one);
            }
        }
    }
    tries.push(receiver::test(
        checks.config,
        &trial.network,
        clock,
        &trial.shutdown,
    ));
    tries.push(at_clocks(&clocks));
    Ok(tries)
}

struct OnlineChecks<'a> {
    checks: &'a OfflineChecks<'a>,
    network: Arc<Network>,
    shutdown: Shutdown,
    clock: Clock,
}

impl OnlineChecks<'_> {
    /// Whether to ask for one service says all of the other: the same credentials, asked at addresses of
    /// the same table.
    fn proves_the_same(&self, one: &Service, other: &Service) -> bool {
        let addresses = |service| self.checks.config.service(service).api.endpoints();
        let are_same = |one: &Url, other: &Url| one.to_string() == other.to_string();
        let (ours, theirs) = (addresses(one), addresses(other));
        one.sign_in_table() == other.sign_in_table()
            && ours.len() == theirs.len()
            && ours
                .iter()
                .zip(&theirs)
                .all(|(one, other)| are_same(one, other))
    }

    /// Who of our own runs has the session of a service, where it has but one: another is refused then.
    fn held(&self, service: &'static Service) -> Option<Try> {
        // what is wrong there is said when it is asked
        let api = &self.checks.config.service(service).api;
        let name = api.exclusive_session().ok()??;
        let lock = self.checks.state_dir.join(name).with_extension("lock");
        let by = files::holder(&lock).ok()??;
        Some(Try::not_tried(
            service.name,
            format!(
                "a run of proofpull ({by}) holds the only session of this key and type; see \
                 proofpull status"
            ),
        ))
    }

    /// Asks for the newest and shortest window there is, once; how far the server's clock is ahead.
    fn service(&self, service: &'static Service) -> (Try, Option<Duration>) {
        // only looked at: to take it would turn away a run that is about to begin
        if let Some(held) = self.held(service) {
            return (held, None);
        }
        let started = Instant::now();
        let one = match self.ask(service) {
            Ok((probe, cost)) => {
                let tried = format!("{}: {cost}", probe.asked);
                let one = Try::done(service.name, tried, started, probe.result);
                (one, probe.ahead)
            }
            Err(error) => {
                let tried = "nothing".to_owned();
                (Try::done(service.name, tried, started, Err(error)), None)
            }
        };
        // one that has begun meanwhile
        let held = one.0.failure().filter(|exit| *exit == Exit::Unavailable);
        let held = held.and_then(|_| self.held(service));
        held.map_or(one, |held| (held, None))
    }

    /// What came of asking, and what it has cost.
    fn ask(&self, service: &'static Service) -> Result<(Probe, String)> {
        let api = &self.checks.config.service(service).api;
        let account = api.quota()?;
        let limits = |pool: &Pool| {
            let limits = pool.limits.iter().map(ToString::to_string);
            limits.collect::<Vec<_>>().join(", ")
        };
        let mut quota = ProbeQuota::of(self.checks, service, &self.shutdown)?;
        let probe = api.probe(&mut ProbeContext {
            network: &self.network,
            shutdown: &self.shutdown,
            clock: self.clock,
            quota: &mut quota,
        });
        let cost = match account.pool.limits {
            [] => probe.cost.clone(),
            _ => {
                let lookups = account.lookups.filter(|_| quota.lookups > 0);
                let lookups = lookups
                    .map(|pool| format!(", {} of {}", quota.lookups, limits(pool)))
                    .unwrap_or_default();
                let (booked, limits) = (quota.booked, limits(account.pool));
                format!("{booked} of {limits}{lookups}{}", quota.left())
            }
        };
        Ok((probe, cost))
    }
}

/// Where requests are booked: in the ledger of the runs, where there were any.
#[derive(Debug)]
struct ProbeQuota {
    /// Without a state folder there is none, and it is not for a check to make it.
    ledger: Option<LedgerFile>,
    /// How many were; summaries of threats cost nothing.
    booked: u32,
    /// How many were in another pool.
    lookups: u32,
    is_other: bool,
}

impl ProbeQuota {
    fn of(checks: &OfflineChecks, service: &Service, shutdown: &Shutdown) -> Result<ProbeQuota> {
        let there = checks.state_dir.exists();
        let ledger = || ledger(checks.state_dir, service, checks.config, shutdown);
        Ok(ProbeQuota {
            ledger: there.then(ledger).transpose()?,
            booked: 0,
            lookups: 0,
            is_other: false,
        })
    }

    fn count(&mut self) -> &mut u32 {
        match self.is_other {
            true => &mut self.lookups,
            false => &mut self.booked,
        }
    }

    fn left(&self) -> String {
        match &self.ledger {
            Some(ledger) => ledger
                .left()
                .map_or_else(String::new, |left| format!(", {left} left")),
            None => ", not counted: the state folder does not exist yet".into(),
        }
    }
}

impl Quota for ProbeQuota {
    fn book(&mut self, now: OffsetDateTime) -> Result<(), QuotaError> {
        if let Some(ledger) = &mut self.ledger {
            ledger.book(now)?;
        }
        *self.count() += 1;
        Ok(())
    }

    fn use_pool(&mut self, pool: Option<&'static Pool>) {
        self.is_other = pool.is_some();
        if let Some(ledger) = &mut self.ledger {
            ledger.use_pool(pool);
        }
    }

    fn give_back(&mut self, booked: OffsetDateTime) -> Result<()> {
        *self.count() = self.count().saturating_sub(1);
        self.ledger
            .as_mut()
            .map_or(Ok(()), |ledger| ledger.give_back(booked))
    }

    fn hold(&mut self, now: OffsetDateTime, wait: Duration) -> Result<OffsetDateTime> {
        match &mut self.ledger {
            Some(ledger) => ledger.hold(now, wait),
            None => Ok(now + wait),
        }
    }
}

/// Our clock, by what the servers said of theirs.
fn at_clocks(clocks: &[(&'static str, Duration)]) -> Try {
    let Some((whose, ahead)) = clocks.iter().max_by_key(|(_, ahead)| ahead.abs()) else {
        return Try::not_tried("clock", "no server sent its time");
    };
    let by = human::age(ahead.abs().try_into().unwrap_or_default());
    let how = if ahead.is_negative() {
        "ahead of"
    } else {
        "behind"
    };
    let is_well = ahead.abs() <= SKEW;
    Try {
        what: "clock",
        tried: format!("the Date header of {whose}"),
        outcome: if is_well {
            Verdict::Well
        } else {
            Verdict::Doubtful
        },
        said: format!("this machine's clock is {by} {how} the service's"),
        seconds: None,
        remedy: (!is_well).then(|| "set this machine's clock (timedatectl, chronyc)".into()),
    }
}
