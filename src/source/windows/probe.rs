//! `probe` requests the newest and shortest window once; `preview` names the windows of a run.

use time::{Duration, OffsetDateTime};

use super::clock::ClockReading;
use super::{WindowLimits, WindowPlan};
use crate::error::{Exit, Result, fail};
use crate::human::{age, count};
use crate::output::Counters;
use crate::pipeline::batch::{AnswerTotals, DedupView, Delivered, Digest};
use crate::source::api::{ConfiguredApi, OpenContext, Probe, ProbeContext, Start};
use crate::source::fetch_error::FetchError;
use crate::source::{PollContext, Source};

/// Requests the newest and shortest window once.
pub(in crate::source) fn probe<A: ConfiguredApi + ?Sized>(
    api: &A,
    context: &mut ProbeContext<'_>,
) -> Probe {
    let limits = api.limits();
    let mut counters = Counters::default();
    let mut ahead = None;
    let result = ask(api, context, &mut counters, &mut ahead);
    let shortest = age(limits.shortest.try_into().unwrap_or_default());
    Probe {
        asked: format!("the last {shortest}"),
        cost: count(counters.requests, "request"),
        ahead,
        result,
    }
}

fn ask<A: ConfiguredApi + ?Sized>(
    api: &A,
    context: &mut ProbeContext<'_>,
    counters: &mut Counters,
    ahead: &mut Option<Duration>,
) -> Result<String> {
    let limits = api.limits();
    let end = limits.limit(context.clock.now());
    let from = end - limits.shortest;
    let mut source = api.open(&OpenContext {
        network: context.network,
        shutdown: context.shutdown,
        start: Start {
            checkpoint: api.checkpoint_at(from),
            begun: None,
            is_counted_back: false,
            since: from,
            end: Some(end),
            look_back: Duration::ZERO,
            recheck_after: None,
        },
        attempts: 1,
    })?;
    let events = read(source.as_mut(), context, counters);
    *ahead = source.ahead();
    let events = events?;
    // a source that ended at its own limit has answered in full
    if counters.windows == 0 && source.limit().is_none() {
        return fail(
            Exit::Unavailable,
            "the API did not answer the whole request",
        );
    }
    Ok(format!(
        "the API accepted the credentials and returned {}; no event was delivered",
        count(events as u64, "event")
    ))
}

fn read(
    source: &mut dyn Source,
    context: &mut ProbeContext<'_>,
    counters: &mut Counters,
) -> Result<usize, FetchError> {
    let mut events = 0;
    loop {
        let batch = source.next(&mut PollContext {
            shutdown: context.shutdown,
            now: context.clock.now(),
            counters,
            dedup: &mut NothingKnown,
            quota: context.quota,
        })?;
        match batch {
            Some(batch) => events += batch.records.len(),
            None => return Ok(events),
        }
    }
}

/// Knows nothing that was delivered.
#[derive(Debug)]
struct NothingKnown;

impl Delivered for NothingKnown {
    fn known(&mut self) -> Result<&dyn DedupView> {
        Ok(self)
    }
}

impl DedupView for NothingKnown {
    fn contains(&self, _: &Digest) -> bool {
        false
    }

    fn shown(&self, _: u32) -> u64 {
        0
    }

    fn answer(&self, _: u32) -> AnswerTotals {
        AnswerTotals::default()
    }
}

/// Names the windows that a run at `now` requests if all goes well.
pub(in crate::source) fn preview(
    limits: WindowLimits,
    start: &Start,
    now: OffsetDateTime,
) -> Vec<String> {
    let mut plan = WindowPlan::new(limits, start);
    let mut windows = Vec::new();
    let clocks = ClockReading::of_both(now);
    while let Ok(Some(window)) = plan.next(clocks) {
        let _ = plan.complete(window, Some(now), clocks);
        windows.push(window.to_string());
    }
    windows
}
