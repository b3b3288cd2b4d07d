//! The account that a run gives of itself once it is over, however it ended: the file of its runs beside
//! the state, and the figures for Prometheus.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::host_name;
use crate::clock::Clock;
use crate::config::Config;
use crate::exit::{Exit, line};
use crate::files::Lock;
use crate::metrics;
use crate::report::{Summary, Tally};
use crate::state::State;
use crate::state::runs::{Last, Runs};

/// What is known of a run by now.
#[derive(Debug, Default)]
pub(super) struct Account {
    begun: Option<Begun>,
    /// Held until the account is given, so that no other run gives its own meanwhile.
    pub(super) lock: Option<Lock>,
    /// The end line.
    pub(super) summary: Option<Summary>,
}

/// A run that knows where its state is.
#[derive(Debug)]
struct Begun {
    at: OffsetDateTime,
    service: &'static str,
    /// The state file.
    state: PathBuf,
    /// The collector's name and the metrics' file, where they are wanted.
    metrics: Option<(String, PathBuf)>,
}

impl Account {
    /// The run begins; `state` is its state file. Metrics are of the timer's runs alone.
    pub(super) fn begin(
        &mut self,
        config: &Config,
        service: &'static str,
        state: &Path,
        now: OffsetDateTime,
    ) {
        let is_timers = state.file_stem().is_some_and(|stem| stem == service);
        let wanted = config.metrics.as_ref().filter(|_| is_timers);
        let metrics = wanted.map(|wanted| {
            let name = config.name.clone().unwrap_or_else(host_name);
            let path = metrics::path(&wanted.textfile_dir, &name, service);
            (name, path)
        });
        self.begun = Some(Begun {
            at: now,
            service,
            state: state.to_owned(),
            metrics,
        });
    }

    /// The run is over. What cannot be written is said and changes nothing.
    pub(super) fn give(&mut self, result: &Result<Exit>, clock: Clock) {
        let exit = result.as_ref().map_or_else(Exit::of, |exit| *exit);
        // without the lock it is another run's turn to tell, unless there was no place for a lock
        let Some(begun) = self
            .begun
            .as_ref()
            .filter(|_| self.lock.is_some() || exit == Exit::CantCreate)
        else {
            return;
        };
        let last = Last {
            started: begun.at,
            ended: clock.now(),
            status: exit as u8,
            name: exit.name().to_owned(),
            error: result.as_ref().err().map(line),
            summary: self.summary.as_ref().map(object).unwrap_or_default(),
        };
        let path = begun.state.with_extension("runs.json");
        let before = Runs::load(&path).unwrap_or_else(|error| {
            log::warn!("{}; the sums of runs begin anew", line(&error));
            None
        });
        let tally = self
            .summary
            .as_ref()
            .map_or_else(Tally::default, |summary| summary.tally);
        let runs = Runs::with(before, last, &object(&tally));
        if let Err(error) = self.lock.as_ref().map_or(Ok(()), |_| runs.save(&path)) {
            log::warn!(
                "{}; status and metrics will not know of this run",
                line(&error)
            );
        }
        if let Some((name, path)) = &begun.metrics {
            let state = State::peek(&begun.state, begun.service).ok().flatten();
            let written = metrics::write(path, name, begun.service, &runs, state.as_ref());
            if let Err(error) = written {
                log::warn!(
                    "{}: check [metrics] textfile_dir, and who may write there",
                    line(&error)
                );
            }
        }
    }
}

fn object(of: &impl serde::Serialize) -> Map<String, Value> {
    let value = serde_json::to_value(of).ok();
    value
        .and_then(|value| value.as_object().cloned())
        .unwrap_or_default()
}
