//! `start` opens the state of a service, and says from where a run goes on.

use time::{Duration, OffsetDateTime};

use super::args::RunArgs;
use super::backfill::range;
use super::paths::RunPaths;
use crate::clock::utc;
use crate::config::file::ServiceConfig;
use crate::error::Result;
use crate::pipeline::checkpoint::Retention;
use crate::source;
use crate::source::api::Start;
use crate::state::{StartPoint, State, StateOrigin};
use crate::transform::Rule;

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
    let (path, name) = (paths.file("json"), paths.service.name);
    let (state, opened) = open(&path, name, &start, settings.api.retention(), now)?;
    let wanted = start.range.as_ref().map(|range| range.from);
    let wanted = wanted.or(start.configured);
    let from = start.checkpoint.until();
    if let Some(wanted) = wanted.filter(|wanted| opened != StateOrigin::Known && *wanted < from) {
        source::warn_of_a_late_start(wanted, from);
    }
    Ok((state, opened, start))
}

/// Opens the state for a run.
pub(super) fn open_state(
    paths: &RunPaths,
    args: &RunArgs,
    settings: &ServiceConfig,
    now: OffsetDateTime,
) -> Result<State> {
    let name = paths.service.name;
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
