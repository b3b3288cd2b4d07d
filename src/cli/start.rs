//! `start` opens the state of a service, and says from where a run goes on.

use time::{Duration, OffsetDateTime};

use super::args::RunArgs;
use super::backfill::range;
use super::paths::RunPaths;
use crate::clock::utc;
use crate::config::file::ServiceConfig;
use crate::error::{Because, Exit, Result, fail};
use crate::pipeline::checkpoint::Retention;
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
    let begin = |from| api.checkpoint_at(from);
    Ok(match &args.start_time {
        Some(_) => {
            if let Some(why) = api.no_backfill() {
                let name = paths.service.name;
                return fail(Exit::Usage, format!("{name} cannot be backfilled: {why}"))
                    .hint("leave out --start-time; the timer's runs read each new report");
            }
            let range = range(paths, args, &api.limits(), now)?;
            StartPoint {
                configured: None,
                checkpoint: begin(range.from),
                range: Some(range),
            }
        }
        None => {
            let configured = settings.start_time;
            let from = configured.unwrap_or_else(|| api.first_start(now));
            StartPoint {
                configured,
                checkpoint: begin(from),
                range: None,
            }
        }
    })
}

/// Opens the state; nothing is written.
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
        begun: state.begun(),
        is_counted_back: state.is_counted_back(),
        since: state.identities_since(),
        end: range.map(|range| range.to),
        look_back: range.map_or(look_back, |_| Duration::ZERO),
        recheck_after: is_rechecked.then_some(recheck),
    }
}
