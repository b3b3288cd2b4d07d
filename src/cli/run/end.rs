//! `end` says how a run ended: its status, its end line, and what an operator should know.

use crate::cli::host_name;
use crate::error::{Exit, Result};
use crate::human;
use crate::output::{self, Counters, Report, Summary};
use crate::pipeline::cycle::CycleEnd;
use crate::shutdown::ShutdownReason;
use crate::state::{State, Unreported};

use super::RunParts;

/// The status of a run that did what it could.
///
/// # Errors
/// With the quota, if it ended the run and there is no worse news.
pub(super) fn exit(
    end: CycleEnd,
    unreported: &Unreported,
    state: &State,
    report: &Report,
) -> Result<Exit> {
    match end {
        CycleEnd::QuotaExceeded(failure) if unreported.is_empty() => return Err(failure),
        CycleEnd::QuotaExceeded(failure) => report.error(&failure),
        _ => {}
    }
    Ok(match (unreported.is_empty(), state.is_left()) {
        (false, _) => Exit::Gap,
        (true, true) => Exit::TempFail,
        (true, false) => Exit::Ok,
    })
}

pub(super) fn outcome(end: &Result<CycleEnd>, state: &State) -> &'static str {
    match end {
        Ok(CycleEnd::CaughtUp) if state.is_left() => {
            "stopped because the rest cannot be requested yet"
        }
        Ok(CycleEnd::CaughtUp) => "caught up",
        Ok(CycleEnd::Stopped(ShutdownReason::Signal)) => "stopped by a signal",
        Ok(CycleEnd::Stopped(ShutdownReason::Deadline)) => "stopped at max_duration",
        Ok(CycleEnd::Limit(words)) => words,
        Ok(CycleEnd::Closed) => "stopped because standard output was closed",
        Ok(CycleEnd::QuotaExceeded(_)) => "stopped because the quota is spent",
        Ok(CycleEnd::Broken(_)) | Err(_) => output::FAILED,
    }
}

impl RunParts<'_> {
    /// Warns of what was not delivered, of rules that matched nothing when first tried, and of events
    /// that came so late that the next ones may be missed.
    pub(super) fn warn(
        &self,
        unreported: &Unreported,
        untried: &[bool],
        counters: &Counters,
        state: &State,
    ) {
        let gaps = unreported.gaps.iter();
        gaps.for_each(|gap| log::warn!("{}", output::gap(gap)));
        if unreported.quarantined > 0 {
            let events = human::count(unreported.quarantined, "event");
            let path = state.quarantine.path().display();
            log::warn!(
                "{events} quarantined: no JSON object, too large to handle, or not valid JSON where there \
                 are rules; not sent, but kept unredacted in {path}"
            );
        }
        let rule_stats = state.rule_stats.iter().zip(untried);
        for ((stats, untried), rule) in rule_stats.zip(&self.settings.rules) {
            if *untried && stats.tried > 0 && !stats.matched {
                log::warn!(
                    "{rule} has matched nothing in {}: correct its path if it should match",
                    human::count(stats.tried, "event")
                );
            }
        }
        let look_back = self.settings.api.retention().look_back.unsigned_abs();
        if let Some(warning) = output::late(&counters.late, &state.late(), look_back) {
            log::warn!("{warning}");
        }
    }

    pub(super) fn summary(
        &self,
        outcome: &'static str,
        counters: Counters,
        state: &State,
    ) -> Summary {
        let behind = self.clock.now() - state.checkpoint().until();
        let rule_stats = state.rule_stats.iter().zip(&self.settings.rules);
        let never_matched = rule_stats.filter(|(fit, _)| !fit.matched);
        let never_matched = never_matched
            .map(|(fit, rule)| format!("{rule} ({})", human::count(fit.tried, "event")));
        Summary {
            name: self.config.name.clone().unwrap_or_else(host_name),
            service: self.service.name,
            outcome,
            counters,
            confirmed_by: None,
            requests_left: None,
            gaps: 0,
            never_matched: never_matched.collect(),
            behind_seconds: u64::try_from(behind.whole_seconds()).unwrap_or(0),
            seconds: self.started.elapsed().as_secs_f64(),
            peak_memory_bytes: output::peak_memory(),
            pulling_id: self.pulling_id.clone(),
        }
    }
}
