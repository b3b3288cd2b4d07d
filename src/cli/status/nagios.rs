//! `nagios` answers as a Nagios check.

use std::time::Duration;

use super::collect::ServiceStatus;
use super::table::seconds;
use crate::cli::nagios::{self, UNKNOWN};
use crate::human;

/// The line and the code of a Nagios check: the worst of all services, and how far each is behind.
pub(super) fn answer(standings: &[ServiceStatus], max_lag: Duration) -> (u8, String) {
    let regular = || {
        standings
            .iter()
            .filter(|status| !status.is_backfill && status.sink == "devo")
    };
    let judged = regular().map(|status| (status, status.judge(max_lag)));
    // as monitoring counts: what is known to be bad is worse than what is unknown
    let weight = |code: usize| [0, 1, 3, 2].get(code).copied().unwrap_or(0);
    let mut worst = 0;
    let mut said = Vec::new();
    for (status, (code, why)) in judged {
        if weight(code) > weight(worst) {
            worst = code;
        }
        said.extend(why.map(|why| format!("{}: {why}", status.service)));
    }
    if regular().next().is_none() {
        worst = 3;
        said.push("no service has run yet".into());
    }
    if said.is_empty() {
        let most = regular().filter_map(|status| status.lag_seconds).max();
        said.push(format!(
            "{}, at most {} behind",
            human::count(regular().count() as u64, "service"),
            seconds(most)
        ));
    }
    let figures = regular().filter_map(|status| {
        let lag = status.lag_seconds?;
        Some(format!(
            "'{}'={lag}s;;{};0",
            status.service,
            max_lag.as_secs()
        ))
    });
    let figures: Vec<String> = figures.collect();
    let worst = u8::try_from(worst).unwrap_or(UNKNOWN);
    (worst, nagios::line(worst, &said.join("; "), &figures))
}

impl ServiceStatus {
    /// What it means for a Nagios check, and why, if it is not well.
    fn judge(&self, max_lag: Duration) -> (usize, Option<String>) {
        if let Some(trouble) = &self.error {
            return (3, Some(trouble.message.clone()));
        }
        match self.lag_seconds {
            None => (2, self.failure().or(Some("never ran".into()))),
            Some(lag) if lag > max_lag.as_secs() => {
                let why = self.failure().map(|failure| format!(": {failure}"));
                let behind = format!("{} behind", seconds(Some(lag)));
                (2, Some(behind + &why.unwrap_or_default()))
            }
            Some(_) => {
                let failure = self.failure();
                (usize::from(failure.is_some()), failure)
            }
        }
    }
}
