//! `proofpull run SERVICE --dry-run`: what would be asked for, and what that costs of the quota.

use anyhow::Result;
use time::OffsetDateTime;

use super::run::{Place, begin, ledger, reach, settings, start, warn_if_moved};
use crate::cli::Run;
use crate::config::Config;
use crate::exit::Exit;
use crate::quota::{Spent, Usage};
use crate::report;
use crate::source;
use crate::state::State;
use crate::stop::Stop;

/// Reads the state and the ledger, takes no lock, and prints.
pub(super) fn dry_run(
    place: &Place,
    args: &Run,
    config: &Config,
    now: OffsetDateTime,
) -> Result<Exit> {
    let settings = settings(config, args);
    let begin = begin(place, args, &settings, now)?;
    let path = place.file("json");
    let (state, opened) = State::look(
        &path,
        args.service.name,
        &begin,
        reach(args.service, &settings),
        now,
    )?;
    warn_if_moved(&begin, opened);
    let steps = source::steps(args.service, &settings, &start(&state), now);
    let ledger = ledger(place, args.service, config, &Stop::never())?;
    let (usage, now_free, spent) = ledger.foresee(now, steps.len())?;
    report::answer(&text(&steps, &usage, spent.map(|spent| (now_free, spent))))?;
    Ok(Exit::Ok)
}

/// A line for each window, one for all, one for each limit, and one if it is too much at once.
fn text(steps: &[String], usage: &[Usage], too_much: Option<(usize, Spent)>) -> String {
    let mut lines: Vec<String> = steps
        .iter()
        .map(|step| format!("{step}: 1 request"))
        .collect();
    lines.push(match steps.len() {
        0 => "nothing to ask for".to_owned(),
        1 => "1 window: 1 request".to_owned(),
        many => format!("{many} windows: {many} requests"),
    });
    lines.extend(usage.iter().map(|usage| {
        let Usage { of, limit, used } = usage;
        format!("{limit} of {of}: {used} used, {} left", usage.left())
    }));
    if let Some((free, spent)) = too_much {
        lines.push(format!("only {free} can be made now: {spent}"));
    }
    lines.join("\n") + "\n"
}
