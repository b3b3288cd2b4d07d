//! `StatusReader` reads from its files where a service stands.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;
use time::{Duration, OffsetDateTime};

use crate::cli::consumer::Consumer;
use crate::cli::ledger;
use crate::clock::{seconds_between, utc};
use crate::config::file::Config;
use crate::error::{Exit, Failure, Result};
use crate::files;
use crate::pipeline::batch::Late;
use crate::pipeline::checkpoint::{Gap, OpenHour, OpenReason};
use crate::service::Service;
use crate::shutdown::Shutdown;
use crate::state::runs::{Begun, Runs, TagDeliveries};
use crate::state::{State, StateSummary, quarantine};

/// How far back deliveries are shown.
const SHOWN: Duration = Duration::DAY;

/// Where a service stands with a sink.
#[derive(Debug, Serialize)]
pub(super) struct ServiceStatus {
    pub(super) service: &'static str,
    /// `devo` or `stdout`.
    pub(super) sink: &'static str,
    /// The name of whoever reads standard output, where it has one.
    pub(super) consumer: Option<String>,
    pub(super) is_backfill: bool,
    /// Before it everything is delivered.
    pub(super) position: Option<String>,
    /// How far it is behind the present; of a backfill, behind its end.
    pub(super) lag_seconds: Option<u64>,
    pub(super) identities: u64,
    pub(super) gaps: Vec<TimeSpan>,
    /// Of a log stream, the hours of the archive that are to be asked for again.
    pub(super) open_hours: Option<Vec<OpenHourStatus>>,
    /// Of a log stream, how far the live stream is delivered.
    pub(super) live: Option<LiveUntil>,
    /// Events that came late in all runs, and how long the latest took at most.
    #[serde(flatten)]
    pub(super) late: Late,
    /// Quarantined events that stand in their file now.
    pub(super) quarantine: QuarantineFile,
    /// All runs, the last one among them.
    pub(super) runs: Option<Runs>,
    /// What runs of the last 24 hours delivered to Devo, the oldest first.
    deliveries: Vec<DeliveryStatus>,
    /// The newest run, if it left no account of its end and is not under way.
    pub(super) killed: Option<Begun>,
    pub(super) quota: Option<QuotaLeft>,
    pub(super) running: Option<RunningRun>,
    /// Why it cannot be told where it stands.
    pub(super) error: Option<StatusError>,
}

/// An hour of the archive that is not known to be whole.
#[derive(Debug, Serialize)]
pub(super) struct OpenHourStatus {
    /// Its start.
    pub(super) from: String,
    /// When it was first asked for.
    since: String,
    /// When it was last asked for.
    asked: String,
    pub(super) why: OpenReason,
}

/// The live stream.
#[derive(Debug, Serialize)]
pub(super) struct LiveUntil {
    /// What it brought up to here is delivered.
    pub(super) until: String,
    pub(super) lag_seconds: u64,
}

/// Quarantined events.
#[derive(Debug, Serialize)]
pub(super) struct QuarantineFile {
    /// Where they stand.
    pub(super) file: PathBuf,
    pub(super) events: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct TimeSpan {
    pub(super) from: String,
    pub(super) to: String,
}

/// What a run delivered to Devo.
#[derive(Debug, Serialize)]
struct DeliveryStatus {
    #[serde(rename = "@devo_pulling_id")]
    pulling_id: String,
    tag: String,
    started: String,
    ended: String,
    delivered: u64,
}

/// How much of the quota of a service's credentials, and of its own limits, is used.
#[derive(Debug, Serialize)]
pub(super) struct QuotaLeft {
    pub(super) limits: Vec<LimitStatus>,
    /// When the next request is free: now, if one is.
    pub(super) next_request: String,
    pub(super) is_free: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct LimitStatus {
    pub(super) of: &'static str,
    pub(super) used: u32,
    pub(super) at_most: u32,
    pub(super) period_seconds: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct RunningRun {
    pub(super) pid: u32,
    pub(super) since: String,
}

#[derive(Debug, Serialize)]
pub(super) struct StatusError {
    pub(super) message: String,
    pub(super) hint: Option<String>,
    pub(super) status: u8,
}

/// What is looked at, and when.
pub(super) struct StatusReader<'a> {
    pub(super) config: &'a Config,
    pub(super) dir: &'a Path,
    pub(super) now: OffsetDateTime,
}

impl StatusReader<'_> {
    /// The standings of a service: its timer's runs, and what else there is.
    pub(super) fn standings(
        &self,
        service: &'static Service,
        is_wanted: bool,
    ) -> Vec<ServiceStatus> {
        let consumers = self.consumers(service).into_iter().map(Some);
        let to_stdout = std::iter::once(None).chain(consumers).map(|consumer| {
            let name = consumer.as_ref().map(|consumer| format!("-{consumer}"));
            let suffix = format!(".stdout{}", name.unwrap_or_default());
            (suffix, "stdout", consumer)
        });
        let sinks = std::iter::once((String::new(), "devo", None)).chain(to_stdout);
        let kinds = sinks.flat_map(|(suffix, sink, consumer)| {
            let backfill = (format!("{suffix}.backfill"), sink, consumer.clone(), true);
            [(suffix, sink, consumer, false), backfill]
        });
        let kinds = kinds.filter_map(|(suffix, sink, consumer, is_backfill)| {
            let name = format!("{}{suffix}", service.name);
            let file = |extension: &str| self.dir.join(format!("{name}.{extension}"));
            let mut status = ServiceStatus::new(service.name, sink, is_backfill);
            status.consumer = consumer.map(|consumer| consumer.to_string());
            status.quarantine.file = file("quarantine.jsonl");
            let state = State::peek(&file("json"), service.name);
            let state = status.or_trouble(state).flatten();
            status.look_at_runs(&file("runs.json"), &file("lock"));
            status.take_deliveries(self.now);
            let events = quarantine::count(&status.quarantine.file);
            status.quarantine.events = status.or_trouble(events).unwrap_or(0);
            let is_there = state.is_some() || status.runs.is_some() || status.running.is_some();
            let is_there = is_there || status.quarantine.events > 0;
            let is_there = is_there || status.error.is_some() || is_wanted && suffix.is_empty();
            if let Some(state) = state {
                status.fill(&state, self.now);
            }
            if suffix.is_empty() {
                let quota = self.quota(service);
                status.quota = status.or_trouble(quota).flatten();
            }
            is_there.then_some(status)
        });
        kinds.collect()
    }

    /// Who has read events of the service under a name, by the files of the state folder.
    fn consumers(&self, service: &Service) -> BTreeSet<Consumer> {
        let stem = format!("{}.stdout", service.name);
        // what cannot be listed cannot be read either, which is told of each file
        let entries = std::fs::read_dir(self.dir).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| Consumer::of_file(entry.file_name().to_str()?, &stem))
            .collect()
    }

    /// How much of the quota is used; nothing where the configuration does not say whose it is.
    fn quota(&self, service: &'static Service) -> Result<Option<QuotaLeft>> {
        let Ok(ledger) = ledger(self.dir, service, self.config, &Shutdown::never()) else {
            return Ok(None);
        };
        let (usage, _, spent) = ledger.foresee(self.now, 1)?;
        let limits = usage.iter().map(|usage| LimitStatus {
            of: usage.of,
            used: usage.used,
            at_most: usage.limit.at_most,
            period_seconds: usage.limit.period.whole_seconds(),
        });
        Ok(Some(QuotaLeft {
            limits: limits.collect(),
            next_request: utc(spent.map_or(self.now, |spent| spent.free())),
            is_free: spent.is_none(),
        }))
    }
}

/// Reads what the holder of a lock writes into it: `pid 7, started 2026-11-24T10:00:00Z`.
fn running(holder: &str) -> RunningRun {
    let (pid, since) = holder.split_once(", started ").unwrap_or((holder, ""));
    RunningRun {
        pid: pid.trim_start_matches("pid ").parse().unwrap_or(0),
        since: since.to_owned(),
    }
}

impl ServiceStatus {
    pub(super) fn new(
        service: &'static str,
        sink: &'static str,
        is_backfill: bool,
    ) -> ServiceStatus {
        ServiceStatus {
            service,
            sink,
            consumer: None,
            is_backfill,
            position: None,
            lag_seconds: None,
            identities: 0,
            gaps: Vec::new(),
            open_hours: None,
            live: None,
            late: Late::default(),
            quarantine: QuarantineFile {
                file: PathBuf::new(),
                events: 0,
            },
            runs: None,
            deliveries: Vec::new(),
            killed: None,
            quota: None,
            running: None,
            error: None,
        }
    }

    /// Takes on why something cannot be read; the first reason stays.
    fn or_trouble<T>(&mut self, result: Result<T, impl Into<Failure>>) -> Option<T> {
        let trouble = |failure: &Failure| StatusError {
            message: failure.to_string(),
            hint: failure.hint().map(str::to_owned),
            status: failure.known_exit().unwrap_or(Exit::Data) as u8,
        };
        match result.map_err(Into::into) {
            Ok(value) => Some(value),
            Err(error) => {
                self.error.get_or_insert_with(|| trouble(&error));
                None
            }
        }
    }

    /// Whether a run is under way, and what became of those before.
    fn look_at_runs(&mut self, runs: &Path, lock: &Path) {
        let before = self.or_trouble(Runs::load(runs)).flatten();
        let holder = self.or_trouble(files::holder(lock)).flatten();
        // the lock is given back after the account: one that was begun before and stands there afterwards,
        // while nobody had the lock between, will never end
        self.runs = self.or_trouble(Runs::load(runs)).flatten();
        let begun = |runs: &Option<Runs>| runs.as_ref().and_then(|runs| runs.begun.clone());
        self.killed = begun(&before)
            .filter(|run| holder.is_none() && begun(&self.runs).as_ref() == Some(run));
        self.running = holder.as_deref().map(running);
    }

    /// Shows the newest deliveries alone: there may be thousands.
    fn take_deliveries(&mut self, now: OffsetDateTime) {
        let kept = self.runs.as_mut().map(|runs| &mut runs.deliveries);
        let all = kept.map(std::mem::take).unwrap_or_default();
        for TagDeliveries { tag, runs } in all {
            let new = runs.iter().filter(|run| run.ended() > now - SHOWN);
            self.deliveries.extend(new.map(|run| DeliveryStatus {
                pulling_id: run.pulling_id.to_string(),
                tag: tag.clone(),
                started: utc(run.started()),
                ended: utc(run.ended()),
                delivered: run.events,
            }));
        }
    }

    fn fill(&mut self, state: &StateSummary, now: OffsetDateTime) {
        let behind = |time, now| seconds_between(time, now).as_secs();
        let end = state.range.as_ref().map_or(now, |range| range.to);
        self.position = Some(utc(state.checkpoint.until()));
        self.lag_seconds = Some(behind(state.checkpoint.until(), end));
        self.identities = state.identities;
        self.late = state.late;
        let span = |gap: &Gap| TimeSpan {
            from: utc(gap.from),
            to: utc(gap.to),
        };
        self.gaps = state.gaps.iter().map(span).collect();
        let Some(stream) = state.checkpoint.as_stream() else {
            return;
        };
        let open = |hour: &OpenHour| OpenHourStatus {
            from: utc(hour.from),
            since: utc(hour.since),
            asked: utc(hour.asked),
            why: hour.why,
        };
        self.open_hours = Some(stream.open_hours.iter().map(open).collect());
        self.live = stream.live.map(|live| LiveUntil {
            until: utc(live.until),
            lag_seconds: behind(live.until, now),
        });
    }

    /// What a person calls it.
    pub(super) fn title(&self) -> String {
        let what = match (self.sink, self.is_backfill) {
            ("stdout", true) => "backfill to stdout",
            ("stdout", false) => "stdout",
            (_, true) => "backfill",
            (_, false) => return self.service.to_owned(),
        };
        let consumer = self.consumer.as_ref();
        let whose = consumer.map(|consumer| format!(", consumer {consumer}"));
        format!("{} ({what}{})", self.service, whose.unwrap_or_default())
    }

    /// How the newest run ended, if it failed.
    pub(super) fn failure(&self) -> Option<String> {
        if let Some(Begun { pid, since }) = &self.killed {
            return Some(format!(
                "the last run (started {}, pid {pid}) did not finish: it was killed, the machine \
                 stopped, or the disk was full",
                utc(*since)
            ));
        }
        let last = self.runs.as_ref()?.last.as_ref()?;
        let fine = [Exit::Ok, Exit::TempFail]
            .iter()
            .any(|exit| *exit as u8 == last.status);
        let why = last
            .error
            .clone()
            .unwrap_or_else(|| "some events could not be delivered".into());
        (!fine).then(|| {
            format!(
                "the last run ended with {} ({}): {why}",
                last.status, last.name
            )
        })
    }
}
