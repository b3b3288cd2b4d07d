//! `status` shows where each service stands, as its files say.
//!
//! It only reads, and disturbs no run: of a lock it only finds out whether somebody holds it.

mod collect;
mod nagios;
mod table;

use super::nagios::{UNKNOWN, line};
use super::select::selected;
use super::{host_name, load, state_dir};
use crate::cli::args::{Common, StatusArgs};
use crate::clock::Clock;
use crate::clock::utc;
use crate::config::file::Config;
use crate::error::Result;
use crate::output::{self, Report};
use crate::service::{SERVICES, Service};
use collect::{ServiceStatus, StatusReader};

pub(super) fn status(
    args: &StatusArgs,
    common: &Common,
    report: &Report,
    clock: Clock,
) -> Result<u8> {
    let now = clock.now();
    let loaded = load(common, report, now);
    let selected = loaded.and_then(|config| Ok((selected(&args.services, &config)?, config)));
    let (selected, config) = match (selected, args.max_lag) {
        (Ok(both), _) => both,
        (Err(error), None) => return Err(error),
        (Err(error), Some(_)) => {
            output::answer(&line(UNKNOWN, &error.to_string(), &[]))?;
            return Ok(UNKNOWN);
        }
    };
    let dir = state_dir(common, &config);
    let reader = StatusReader {
        config: &config,
        dir: &dir,
        now,
    };
    let standings: Vec<ServiceStatus> = services(&selected, &config)
        .flat_map(|(service, is_wanted)| reader.standings(service, is_wanted))
        .collect();
    if let Some(max_lag) = args.max_lag {
        let (code, text) = nagios::answer(&standings, max_lag);
        output::answer(&text)?;
        return Ok(code);
    }
    if args.json {
        let name = config.name.clone().unwrap_or_else(host_name);
        let answer = serde_json::json!({
            "name": name, "state_dir": dir, "now": utc(now), "services": standings,
        });
        output::answer(&format!("{answer:#}\n"))?;
    } else {
        output::answer(&table::text(&standings, now, &dir))?;
    }
    let worst = standings.iter().filter_map(|status| status.error.as_ref());
    Ok(worst.map(|error| error.status).max().unwrap_or(0))
}

/// The services to look at, and whether each is to be told of even if it never ran.
fn services<'a>(
    selected: &'a [&Service],
    config: &'a Config,
) -> impl Iterator<Item = (&'static Service, bool)> + 'a {
    let all = SERVICES.iter();
    let wanted = all.filter(|service| selected.is_empty() || selected.contains(service));
    wanted.map(|service| {
        let table = format!("services.{}", service.name);
        let is_wanted = !selected.is_empty() || config.record.place(&table).is_some();
        (service, is_wanted)
    })
}
