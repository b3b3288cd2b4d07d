//! `RunRecord` records how a run begins and ends, for `status` and Prometheus.
//!
//! It is written beside the state, however the run ends: a panic included.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::host_name;
use crate::clock::Clock;
use crate::clock::utc;
use crate::config::Confirmation;
use crate::config::file::Config;
use crate::error::{Exit, Failure, Result, fail, of_panic};
use crate::files::{self, Lock};
use crate::output::prometheus;
use crate::output::{Counters, Summary};
use crate::state::runs::{Begun, Delivery, Last, Runs};
use crate::state::{State, StateError};

/// What is known of a run by now.
#[derive(Debug, Default)]
pub(super) struct RunRecord {
    files: Option<RunFiles>,
    /// Held until the account is given, so that no other run gives its own meanwhile.
    lock: Option<Lock>,
    /// The runs before; whoever has the lock knows them.
    runs: Option<Runs>,
    /// What it has counted so far.
    pub(super) counters: Counters,
    /// The weakest confirmation so far.
    pub(super) confirmed_by: Option<Confirmation>,
    /// The end line.
    pub(super) summary: Option<Summary>,
    /// How the events of the run are found in Devo; `None` where they go elsewhere, or bear no id.
    pub(super) traced: Option<TracedRun>,
}

/// How the events of a run are found in Devo.
#[derive(Debug)]
pub(super) struct TracedRun {
    /// Their tag.
    pub(super) tag: String,
    /// Their `@devo_pulling_id`.
    pub(super) pulling_id: u64,
}

/// Where a run has its state.
#[derive(Debug)]
struct RunFiles {
    /// When it began.
    since: OffsetDateTime,
    service: &'static str,
    /// The state file.
    state: PathBuf,
    /// The collector's name and the metrics' file, where they are wanted.
    metrics: Option<(String, PathBuf)>,
}

impl RunFiles {
    fn runs(&self) -> PathBuf {
        self.state.with_extension("runs.json")
    }

    fn has_state(&self) -> bool {
        files::length(&self.state).is_ok_and(|length| length.is_some())
    }
}

impl RunRecord {
    /// Does `work` and gives account of it, of a panic too, which then goes on.
    ///
    /// # Errors
    /// Those of `work`.
    pub(super) fn of(
        work: impl FnOnce(&mut RunRecord) -> Result<Exit>,
        clock: Clock,
    ) -> Result<Exit> {
        let mut record = RunRecord::default();
        let worked = catch_unwind(AssertUnwindSafe(|| work(&mut record)));
        match worked {
            Ok(result) => {
                record.give(&result, clock);
                result
            }
            Err(panic) => {
                let bug = format!(
                    "this is a bug, please report it: {}",
                    of_panic(panic.as_ref())
                );
                record.give(&fail(Exit::Software, bug), clock);
                resume_unwind(panic)
            }
        }
    }

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
            let path = prometheus::path(&wanted.textfile_dir, &name, service);
            (name, path)
        });
        self.files = Some(RunFiles {
            since: now,
            service,
            state: state.to_owned(),
            metrics,
        });
    }

    /// The run has its lock: from now on it is known that it has begun. If the one before left no account
    /// of its end, that is said.
    pub(super) fn hold(&mut self, lock: Lock) {
        self.lock = Some(lock);
        let Some(files) = &self.files else { return };
        // one that cannot be read now may be whole
        let Some(mut runs) = runs_before(&files.runs()) else {
            return;
        };
        runs.has_state |= files.has_state();
        let killed = runs.begin(Begun {
            pid: std::process::id(),
            since: files.since,
        });
        if let Some(Begun { pid, since }) = killed {
            log::warn!(
                "the previous run (started {}, pid {pid}) did not finish: it was killed, the \
                 machine stopped, or the disk was full; this run continues from its saved state",
                utc(since)
            );
        }
        // where this cannot be written, the state cannot be either, which is said
        let _ = runs.save(&files.runs());
        self.runs = Some(runs);
    }

    /// The run is over. What cannot be written is said and changes nothing.
    fn give(&mut self, result: &Result<Exit>, clock: Clock) {
        let exit = result.as_ref().map_or_else(Failure::exit, |exit| *exit);
        // without the lock it is another run's turn to tell, unless there was no place for a lock
        let is_ours = self.lock.is_some() || exit == Exit::CantCreate;
        let Some(files) = self.files.as_ref().filter(|_| is_ours) else {
            return;
        };
        let path = files.runs();
        let runs = self.runs.take().or_else(|| runs_before(&path));
        let Some(mut runs) = runs else { return };
        let failed = result.as_ref().err();
        let last = Last {
            started: files.since,
            ended: clock.now(),
            status: exit as u8,
            name: exit.name().to_owned(),
            error: failed.map(ToString::to_string),
            hint: failed.and_then(Failure::hint).map(str::to_owned),
            summary: self.summary.as_ref().map(object).unwrap_or_default(),
        };
        runs.has_state |= files.has_state();
        if let Some(TracedRun { tag, pulling_id }) = &self.traced
            && self.counters.delivered > 0
        {
            let ended = last.ended.unix_timestamp_nanos() / 1_000_000;
            let delivery = Delivery {
                pulling_id: *pulling_id,
                millis: u64::try_from(ended - i128::from(*pulling_id)).unwrap_or(0),
                events: self.counters.delivered,
            };
            runs.add_delivery(tag, delivery);
        }
        runs.end(last, &object(&self.counters));
        if let Err(error) = self.lock.as_ref().map_or(Ok(()), |_| runs.save(&path)) {
            log::warn!(
                "{}; status and metrics do not include this run",
                Failure::from(error)
            );
        }
        if let Some((name, path)) = &files.metrics {
            let state = State::peek(&files.state, files.service).ok().flatten();
            let written = prometheus::write(path, name, files.service, &runs, state.as_ref());
            if let Err(error) = written {
                log::warn!(
                    "{}: check [metrics] textfile_dir and its permissions",
                    Failure::from(error)
                );
            }
        }
    }
}

/// The runs of the file, none if it is damaged or no file; `None` if the system cannot read it now.
fn runs_before(path: &Path) -> Option<Runs> {
    let error = match Runs::load(path) {
        Ok(runs) => return Some(runs.unwrap_or_else(Runs::none)),
        Err(error) => error,
    };
    let is_unreadable =
        matches!(&error, StateError::Unreadable(_, error) if error.is_of_the_system());
    let error = Failure::from(error);
    if is_unreadable {
        log::warn!("{error}; this run is not recorded");
        return None;
    }
    log::warn!("{error}; the totals of all runs start again at 0");
    // it may have been: a missing state must not pass for a first run
    let mut runs = Runs::none();
    runs.has_state = true;
    Some(runs)
}

fn object(of: &impl serde::Serialize) -> Map<String, Value> {
    let value = serde_json::to_value(of).ok();
    value
        .and_then(|value| value.as_object().cloned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{self, Taken};
    use crate::shutdown::Shutdown;
    use std::time::Duration;

    #[test]
    fn a_panic_leaves_its_account_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("tap-clicks-blocked.json");
        let text = format!("name = \"acme\"\nmetrics.textfile_dir = {:?}", dir.path());
        let now = OffsetDateTime::UNIX_EPOCH;
        let config = crate::config::file::check(&text, dir.path(), now).unwrap();
        let clock = Clock::of_the_machine();
        let runs = || Runs::load(&state.with_extension("runs.json")).unwrap();
        let work = |record: &mut RunRecord| -> Result<Exit> {
            record.begin(&config, "tap-clicks-blocked", &state, clock.now());
            let path = state.with_extension("lock");
            let Taken::Ours(lock) = files::lock(&path, "", Duration::ZERO, &Shutdown::never())?
            else {
                panic!("nobody has it")
            };
            record.hold(lock);
            assert!(runs().unwrap().begun.is_some());
            record.counters.delivered = 7;
            record.traced = Some(TracedRun {
                tag: "my.app.x".to_owned(),
                pulling_id: 17,
            });
            panic!("eleven is no number")
        };
        let panicked = catch_unwind(AssertUnwindSafe(|| RunRecord::of(work, clock)));
        assert_eq!(
            of_panic(panicked.unwrap_err().as_ref()),
            "eleven is no number"
        );
        let runs = runs().unwrap();
        assert_eq!((runs.begun, runs.ended["software"]), (None, 1));
        assert_eq!(runs.totals["delivered"], 7);
        let kept = &runs.deliveries[0].runs[0];
        assert_eq!((kept.pulling_id, kept.events), (17, 7));
        assert!(runs.last.as_ref().unwrap().ended - kept.ended() < time::Duration::milliseconds(1));
        let last = runs.last.unwrap();
        assert_eq!(last.status, 70);
        assert!(last.error.unwrap().ends_with("eleven is no number"));
        let figures = prometheus::path(dir.path(), "acme", "tap-clicks-blocked");
        let figures = std::fs::read_to_string(figures).unwrap();
        assert!(
            figures.contains("last_run_status{name=\"acme\",service=\"tap-clicks-blocked\"} 70")
        );
    }
}
