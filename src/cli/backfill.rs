//! `range` says what a backfill reads.

use time::OffsetDateTime;

use super::args::RunArgs;
use super::paths::RunPaths;
use super::time_argument;
use crate::clock::utc;
use crate::error::{Because, Exit, Result, fail};
use crate::human;
use crate::source::WindowLimits;
use crate::state::{Range, State, StateSummary};

/// The range of a backfill: that of the state if it is the same command, to go on with it.
pub(super) fn range(
    paths: &RunPaths,
    args: &RunArgs,
    rule: &WindowLimits,
    now: OffsetDateTime,
) -> Result<Range> {
    let words = [&args.start_time, &args.end_time].map(|word| word.clone().unwrap_or_default());
    let saved = match State::peek(&paths.file("json"), paths.service.name) {
        // what is of no use is told when it is opened
        Err(_) if args.start_over => None,
        saved => saved?,
    };
    if let Some(StateSummary {
        checkpoint,
        range: Some(range),
        is_left: true,
        ..
    }) = saved
        && range.words == words
    {
        let (from, to) = (utc(range.from), utc(range.to));
        log::info!(
            "continuing at {} the backfill from {from} to {to}",
            utc(checkpoint.until())
        );
        return Ok(range);
    }
    let from = rule.floor(time_argument("--start-time", &words[0], now)?);
    let to = match args.end_time.as_deref() {
        Some(to) => time_argument("--end-time", to, now)?,
        None => State::peek(&paths.timer, paths.service.name)?
            .map_or(now, |peek| peek.checkpoint.until()),
    };
    let to = rule.ceil(to).min(rule.limit(now));
    if to - from < rule.shortest {
        let message = format!("nothing to backfill between {} and {}", utc(from), utc(to));
        let [shortest, margin] = [rule.shortest, rule.margin]
            .map(|time| human::age(time.try_into().unwrap_or_default()));
        return fail(Exit::Usage, message).hint(format!(
            "choose a range of {shortest} or more that ends at least {margin} ago; without \
             --end-time it ends at the saved position"
        ));
    }
    let oldest = rule.oldest(now);
    if to <= oldest {
        let name = paths.service.name;
        let message = format!(
            "{name} reads nothing before {}, but the range ends at {}",
            utc(oldest),
            utc(to)
        );
        return fail(Exit::Usage, message).hint(
            "set a later --end-time, or none to end at the saved position; the service no longer \
             keeps older events",
        );
    }
    Ok(Range { words, from, to })
}
