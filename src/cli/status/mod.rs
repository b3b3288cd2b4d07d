//! `status` shows where each service stands, as its files say.
//!
//! It only reads, and disturbs no run: of a lock it only finds out whether somebody holds it.

mod collect;
mod nagios;
mod problems;
mod table;

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use time::OffsetDateTime;

use super::nagios::{UNKNOWN, line};
use super::select::selected;
use super::{host_name, load, state_dir};
use crate::cli::args::{Common, StatusArgs};
use crate::clock::{Clock, utc};
use crate::config::file::Config;
use crate::error::Result;
use crate::output::{self, Report};
use crate::service::{SERVICES, Service};
use collect::{ServiceStatus, StatusReader};

/// How often `--watch` looks.
const OFTEN: Duration = Duration::from_secs(2);

pub(super) fn status(
    args: &StatusArgs,
    common: &Common,
    report: &Report,
    clock: Clock,
) -> Result<u8> {
    let loaded = load(common, report, clock.now());
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
    let look = |now| {
        let (config, dir) = (&config, dir.as_path());
        let reader = StatusReader { config, dir, now };
        let all = services(&selected, config);
        let standings = all.flat_map(|(service, is_wanted)| reader.standings(service, is_wanted));
        standings.collect::<Vec<ServiceStatus>>()
    };
    let mut now = clock.now();
    let mut standings = look(now);
    if let Some(max_lag) = args.max_lag {
        let (code, text) = nagios::answer(&standings, max_lag);
        output::answer(&text)?;
        return Ok(code);
    }
    let is_live = args.watch && output::is_terminal();
    while args.watch && standings.iter().any(|status| status.running.is_some()) {
        if is_live {
            output::show_anew(&for_people(&standings, now, &dir))?;
        }
        sleep(OFTEN);
        now = clock.now();
        standings = look(now);
    }
    if args.json {
        let name = config.name.clone().unwrap_or_else(host_name);
        let answer = serde_json::json!({
            "name": name, "state_dir": dir, "now": utc(now), "services": standings,
        });
        output::answer(&format!("{answer:#}\n"))?;
    } else {
        let show = if is_live {
            output::show_anew
        } else {
            output::answer
        };
        show(&for_people(&standings, now, &dir))?;
    }
    let worst = standings.iter().filter_map(|status| status.error.as_ref());
    Ok(worst.map(|error| error.status).max().unwrap_or(0))
}

fn for_people(standings: &[ServiceStatus], now: OffsetDateTime, dir: &Path) -> String {
    let lines = table::lines(standings, now, dir);
    let painted = lines.iter().map(|(tone, line)| tone.paint(line) + "\n");
    painted.collect()
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
