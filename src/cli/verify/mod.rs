//! `verify` asks Devo whether every event that runs delivered is in its table.
//!
//! It reads the records of runs and disturbs none.

mod plan;
mod report;

use std::path::Path;

use time::Duration;

use super::nagios::{UNKNOWN, line};
use super::select::selected;
use super::{load, network, state_dir};
use crate::cli::args::{Common, VerifyArgs};
use crate::clock::{Clock, utc};
use crate::config::QueryConfig;
use crate::config::file::Config;
use crate::devo_query::DevoQuery;
use crate::error::{Because, Exit, Failure, Result, fail};
use crate::output::{self, Report};
use crate::service::{SERVICES, Service};
use crate::shutdown::Shutdown;
use crate::state::runs::{MAX_DELIVERIES, Runs};
use plan::{CheckedRun, Sum, Times};

pub(super) fn verify(
    args: &VerifyArgs,
    common: &Common,
    report: &Report,
    clock: Clock,
) -> Result<u8> {
    let now = clock.now();
    let [since, settle] =
        [args.since, args.settle].map(|time| Duration::try_from(time).unwrap_or(Duration::MAX));
    let times = Times {
        now,
        since: now.saturating_sub(since),
        settle,
    };
    let runs = checked(args, common, report, &times);
    let (runs, max_missing) = match (runs, args.max_missing) {
        (Ok(runs), max_missing) => (runs, max_missing),
        (Err(error), None) => return Err(error),
        (Err(error), Some(_)) => {
            output::answer(&line(UNKNOWN, &error.to_string(), &[]))?;
            return Ok(UNKNOWN);
        }
    };
    if let Some(max_missing) = max_missing {
        let (code, text) = report::check(&runs, &times, max_missing);
        output::answer(&text)?;
        return Ok(code);
    }
    let exit = match Sum::of(&runs).missing {
        0 => Exit::Ok,
        _ => Exit::Gap,
    };
    output::answer(&match args.json {
        true => report::as_json(&runs, &times, exit as u8),
        false => report::text(&runs, &times),
    })?;
    Ok(exit as u8)
}

/// The runs, with what Devo has of each.
fn checked(
    args: &VerifyArgs,
    common: &Common,
    report: &Report,
    times: &Times,
) -> Result<Vec<CheckedRun>> {
    let config = load(common, report, times.now)?;
    let query = query(&config)?;
    if common.now.is_some() && !query.url.is_loopback() {
        let said = "--now is for tests and takes loopback addresses only";
        return fail(Exit::Usage, said);
    }
    let chosen = selected(&args.services, &config)?;
    let dir = state_dir(common, &config);
    let mut runs = Vec::new();
    let all = SERVICES.iter();
    for service in all.filter(|one| chosen.is_empty() || chosen.contains(one)) {
        for (suffix, is_backfill) in [("", false), (".backfill", true)] {
            let path = dir.join(format!("{}{suffix}.runs.json", service.name));
            runs.extend(runs_of(service, is_backfill, &path, times)?);
        }
    }
    let shutdown = Shutdown::on_signals()
        .context("listening for signals")
        .exit(Exit::Software)?;
    let mut devo = DevoQuery::new(&network(&config)?, query, &shutdown)?;
    for query in times.queries(&runs) {
        let counts = devo.counts(&query.table, (query.from, query.to), times.now)?;
        for at in query.runs {
            let run = &mut runs[at];
            run.found = Some(counts.get(&run.delivery.pulling_id).copied().unwrap_or(0));
        }
    }
    Ok(runs)
}

/// How to ask Devo, without which nothing can be verified.
fn query(config: &Config) -> Result<&QueryConfig> {
    let devo = config.devo.as_ref();
    if devo.is_some_and(|devo| !devo.pulling_id) {
        let said = "[devo] pulling_id is false, so nothing in Devo tells one run from another";
        return fail(Exit::Config, said)
            .hint("set [devo] pulling_id = true: the runs from then on can be verified");
    }
    let query = devo.and_then(|devo| devo.query.as_ref());
    query
        .ok_or_else(|| Failure::new("the configuration has no query in [devo]"))
        .exit(Exit::Config)
        .hint(
            "add query = { url = \"https://apiv2-us.devo.com/search/query\", token = { file = \
             \"devo-query.token\" } } to [devo]",
        )
}

/// The runs of a service that are to be verified. Says so where there were more than are kept.
fn runs_of(
    service: &'static Service,
    is_backfill: bool,
    path: &Path,
    times: &Times,
) -> Result<Vec<CheckedRun>> {
    let deliveries = Runs::load(path)?.map(|runs| runs.deliveries);
    let deliveries = deliveries.unwrap_or_default();
    let kept: usize = deliveries.iter().map(|under| under.runs.len()).sum();
    let oldest = deliveries.first().and_then(|under| under.runs.front());
    if let Some(oldest) = oldest
        && kept >= MAX_DELIVERIES
        && oldest.ended() > times.since
    {
        let since = utc(oldest.started());
        log::warn!(
            "{}: the record of runs goes back to {since} and no further: earlier ones are not verified",
            service.name
        );
    }
    Ok(times.runs(service.name, is_backfill, &deliveries))
}
