//! `dry_run` prints what a run would request, and what that costs of the quota.

use time::OffsetDateTime;

use super::paths::{RunPaths, ledger};
use super::start::{open, start};
use crate::cli::args::RunArgs;
use crate::config::file::Config;
use crate::error::{Exit, Result};
use crate::human;
use crate::output;
use crate::quota::{QuotaExceeded, Usage};
use crate::shutdown::Shutdown;

/// Reads the state and the ledger, takes no lock, and prints.
pub(super) fn dry_run(
    paths: &RunPaths,
    args: &RunArgs,
    config: &Config,
    now: OffsetDateTime,
) -> Result<Exit> {
    let settings = config.service(paths.service);
    let (state, ..) = open(paths, args, settings, now)?;
    let steps = settings.api.preview(&start(&state), now);
    let ledger = ledger(paths, config, &Shutdown::never())?;
    let (usage, now_free, spent) = ledger.foresee(now, steps.len())?;
    output::answer(&text(&steps, &usage, spent.map(|spent| (now_free, spent))))?;
    Ok(Exit::Ok)
}

/// A line for each window, one for all, one for each limit, and one if it is too much at once.
fn text(steps: &[String], usage: &[Usage], too_much: Option<(usize, QuotaExceeded)>) -> String {
    let mut lines: Vec<String> = steps
        .iter()
        .map(|step| format!("{step}: 1 request"))
        .collect();
    let total = steps.len() as u64;
    lines.push(match total {
        0 => "nothing to request".to_owned(),
        _ => {
            let [windows, requests] = ["window", "request"].map(|noun| human::count(total, noun));
            format!("{windows}: {requests}")
        }
    });
    lines.extend(usage.iter().map(|usage| {
        let Usage { of, limit, used } = usage;
        format!("{of}: {used} of {limit} used, {} left", usage.left())
    }));
    if let Some((free, spent)) = too_much {
        let free = human::count(free as u64, "request");
        lines.push(format!("only {free} can be made now: {spent}"));
    }
    lines.join("\n") + "\n"
}
