//! `prometheus` writes the metrics of a service to a file for node_exporter's textfile collector.
//!
//! Names and types follow Prometheus' conventions ("Metric and label naming"): base units, and
//! `_total` for counters. Times are values, since the collector refuses sample timestamps.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;
use time::OffsetDateTime;

use crate::config::Confirmation;
use crate::files::{self, FileError};
use crate::pipeline::checkpoint::StreamCheckpoint;
use crate::state::StateSummary;
use crate::state::runs::{Last, Runs};

/// The counters: their name in [`crate::output::Counters`], the metric, and its help.
const COUNTS: &[(&str, &str, &str)] = &[
    (
        "windows",
        "windows_total",
        "Time windows that were read completely.",
    ),
    ("requests", "requests_total", "Requests made."),
    ("received", "events_received_total", "Events received."),
    (
        "duplicates",
        "events_duplicate_total",
        "Duplicate events that were dropped.",
    ),
    (
        "late",
        "events_late_total",
        "New events created before the position from which the run started.",
    ),
    (
        "late_by_recheck",
        "events_late_by_recheck_total",
        "Late events that only the recheck found.",
    ),
    (
        "unreadable",
        "events_unreadable_total",
        "Events received that are not valid JSON.",
    ),
    (
        "replaced",
        "events_replaced_total",
        "Events received with invalid UTF-8, which is replaced.",
    ),
    (
        "filtered",
        "events_filtered_total",
        "New events that a filter dropped.",
    ),
    (
        "quarantined",
        "events_quarantined_total",
        "New events that were quarantined because they could not be sent.",
    ),
    (
        "delivered",
        "events_delivered_total",
        "Events whose delivery was confirmed.",
    ),
    (
        "bytes",
        "delivered_bytes_total",
        "Bytes of the events whose delivery was confirmed.",
    ),
];

/// The file of a service: `proofpull_<name>_<service>.prom`.
#[must_use]
pub(crate) fn path(dir: &Path, name: &str, service: &str) -> PathBuf {
    dir.join(format!("proofpull_{name}_{service}.prom"))
}

/// Writes the file beside the old one and renames it.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write(
    path: &Path,
    name: &str,
    service: &str,
    runs: &Runs,
    state: Option<&StateSummary>,
) -> Result<(), FileError> {
    files::publish(path, &text(name, service, runs, state))
}

fn text(name: &str, service: &str, runs: &Runs, state: Option<&StateSummary>) -> String {
    let label = |value: &str| {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        value.replace('\n', "\\n")
    };
    let labels = format!("name=\"{}\",service=\"{}\"", label(name), label(service));
    let mut page = Exposition {
        labels,
        text: String::new(),
    };
    if let Some(last) = &runs.last {
        page.last_run(last);
    }
    if let Some(done) = runs.done {
        page.gauge(
            "last_success_timestamp_seconds",
            "When a run last ended with status 0 or 3.",
            seconds(done),
        );
    }
    if let Some(state) = state {
        page.gauge(
            "position_timestamp_seconds",
            "The time before which every event is delivered.",
            seconds(state.checkpoint.until()),
        );
        page.gauge(
            "identities",
            "Identities that are kept to recognise duplicates.",
            state.identities as f64,
        );
        let lost = state.gaps.iter().map(|gap| gap.to - gap.from);
        let lost: time::Duration = lost.sum();
        page.gauge(
            "gaps",
            "Gaps: ranges of time whose events were not collected.",
            state.gaps.len() as f64,
        );
        page.gauge(
            "gap_seconds",
            "Total length of all gaps.",
            lost.as_seconds_f64(),
        );
        page.gauge(
            "greatest_lateness_seconds",
            "The longest known time that a late event took to become visible.",
            state.late.greatest_seconds as f64,
        );
        if let Some(stream) = state.checkpoint.as_stream() {
            page.log_stream(stream);
        }
    }
    for (count, metric, help) in COUNTS {
        let total = runs.totals.get(*count).copied().unwrap_or(0);
        page.head(metric, help, "counter");
        page.sample(metric, "", total as f64);
    }
    page.head(
        "runs_total",
        "Runs by the name of their status; killed means that the run did not finish.",
        "counter",
    );
    for (status, count) in &runs.ended {
        page.sample(
            "runs_total",
            &format!(",status=\"{}\"", label(status)),
            *count as f64,
        );
    }
    page.text
}

fn seconds(time: OffsetDateTime) -> f64 {
    time.unix_timestamp() as f64
}

struct Exposition {
    labels: String,
    text: String,
}

impl Exposition {
    fn last_run(&mut self, last: &Last) {
        self.gauge(
            "last_run_timestamp_seconds",
            "When the last run ended.",
            seconds(last.ended),
        );
        let took = (last.ended - last.started).as_seconds_f64();
        self.gauge(
            "last_run_duration_seconds",
            "How long the last run took.",
            took,
        );
        let status = "Status of the last run: 0 ok, 3 gap, 75 temporary, any other a failure.";
        self.gauge("last_run_status", status, f64::from(last.status));
        let said = |name: &str| last.summary.get(name).and_then(Value::as_f64);
        if let Some(bytes) = said("peak_memory_bytes") {
            let help = "The highest memory use of the last run.";
            self.gauge("last_run_peak_memory_bytes", help, bytes);
        }
        if let Some(left) = said("requests_left") {
            let help = "Requests left by the nearest limit of the quota after the last run.";
            self.gauge("last_run_requests_left", help, left);
        }
        if let Some(by) = last.confirmed_by() {
            let help = "1 if closes of the receiver confirmed every delivery of the last run, 0 if some \
                        were only acknowledged.";
            let is_close = u8::from(by == Confirmation::Close.to_string());
            self.gauge("last_run_confirmed_by_close", help, is_close.into());
        }
    }

    fn log_stream(&mut self, stream: &StreamCheckpoint) {
        self.gauge(
            "archive_open",
            "Open archive hours, which later runs request again.",
            stream.open_hours.len() as f64,
        );
        let since = stream.open_hours.iter().map(|hour| hour.since).min();
        if let Some(since) = since {
            self.gauge(
                "archive_open_since_timestamp_seconds",
                "When the oldest open archive hour was first requested.",
                seconds(since),
            );
        }
        if let Some(live) = &stream.live {
            self.gauge(
                "live_timestamp_seconds",
                "The time up to which events of the live stream are delivered.",
                seconds(live.until),
            );
        }
    }

    fn gauge(&mut self, metric: &str, help: &str, value: f64) {
        self.head(metric, help, "gauge");
        self.sample(metric, "", value);
    }

    fn head(&mut self, metric: &str, help: &str, kind: &str) {
        // writing to a string cannot fail
        let _ = writeln!(
            self.text,
            "# HELP proofpull_{metric} {help}\n# TYPE proofpull_{metric} {kind}"
        );
    }

    fn sample(&mut self, metric: &str, more: &str, value: f64) {
        let _ = writeln!(
            self.text,
            "proofpull_{metric}{{{}{more}}} {value}",
            self.labels
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Counters;
    use crate::pipeline::batch::Late;
    use crate::pipeline::checkpoint::{Checkpoint, Gap, LiveStream, OpenHour, OpenReason};
    use serde_json::{Map, json};
    use time::macros::datetime;

    fn counted(counters: Counters) -> Map<String, Value> {
        serde_json::to_value(counters)
            .unwrap()
            .as_object()
            .cloned()
            .unwrap()
    }

    fn runs(counters: Counters) -> Runs {
        let last = Last {
            started: datetime!(2026-11-24 10:00 UTC),
            ended: datetime!(2026-11-24 10:00:02.5 UTC),
            status: 74,
            name: "io".into(),
            error: Some("said \"no\"".into()),
            hint: None,
            summary: json!({"peak_memory_bytes": 1048576, "confirmed_by": "acknowledged"})
                .as_object()
                .cloned()
                .unwrap(),
        };
        let mut runs = Runs::none();
        runs.end(last, &counted(counters));
        runs
    }

    /// A log stream with a gap, late events and open hours.
    fn state() -> StateSummary {
        let gap = Gap {
            from: datetime!(2026-11-01 0:00 UTC),
            to: datetime!(2026-11-02 0:00 UTC),
        };
        let open = |hour: u8| OpenHour {
            from: datetime!(2026-11-24 0:00 UTC) + time::Duration::hours(hour.into()),
            since: datetime!(2026-11-24 2:00 UTC) + time::Duration::hours(hour.into()),
            asked: datetime!(2026-11-24 9:50 UTC),
            events: None,
            why: OpenReason::Growing,
        };
        StateSummary {
            is_left: false,
            range: None,
            gaps: vec![gap],
            identities: 5,
            late: Late {
                greatest_seconds: 90,
                ..Late::default()
            },
            checkpoint: Checkpoint::Stream(StreamCheckpoint {
                until: datetime!(2026-11-24 9:59 UTC),
                hour_before: None,
                open_hours: vec![open(8), open(7)],
                live: Some(LiveStream {
                    until: datetime!(2026-11-24 9:58 UTC),
                    open: false,
                    since: None,
                }),
            }),
        }
    }

    #[test]
    fn each_figure_is_said_once_with_its_help_and_its_type() {
        let counters = Counters {
            delivered: 7,
            ..Counters::default()
        };
        let text = text(
            "a\"b\\",
            "tap-clicks-blocked",
            &runs(counters),
            Some(&state()),
        );
        let labels = r#"{name="a\"b\\",service="tap-clicks-blocked"}"#;
        for line in [
            format!("proofpull_events_delivered_total{labels} 7"),
            format!("proofpull_last_run_status{labels} 74"),
            format!("proofpull_last_run_duration_seconds{labels} 2.5"),
            format!("proofpull_position_timestamp_seconds{labels} 1795514340"),
            format!("proofpull_gap_seconds{labels} 86400"),
            format!("proofpull_greatest_lateness_seconds{labels} 90"),
            format!("proofpull_last_run_peak_memory_bytes{labels} 1048576"),
            format!("proofpull_last_run_confirmed_by_close{labels} 0"),
            format!("proofpull_archive_open{labels} 2"),
            format!("proofpull_archive_open_since_timestamp_seconds{labels} 1795510800"),
            format!("proofpull_live_timestamp_seconds{labels} 1795514280"),
            r#"proofpull_runs_total{name="a\"b\\",service="tap-clicks-blocked",status="io"} 1"#
                .into(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        // no run has succeeded yet
        assert!(!text.contains("last_success"));
        let names = |kind: &str| {
            let lines = text.lines().filter_map(|line| line.strip_prefix(kind));
            let mut names: Vec<&str> = lines.filter_map(|line| line.split(' ').next()).collect();
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all, "{text}");
            names
        };
        assert_eq!(names("# HELP "), names("# TYPE "));
    }

    #[test]
    fn the_dashboard_and_the_rules_name_what_there_is() {
        let mut runs = runs(Counters::default());
        runs.done = runs.last.as_ref().map(|last| last.ended);
        let last = runs.last.as_mut().unwrap();
        last.summary.insert("requests_left".to_owned(), json!(218));
        let page = text("acme", "pod-message", &runs, Some(&state()));
        let known = |metric: &str| page.contains(&format!("# TYPE {metric} "));
        let labels = |list: &str| {
            let labels = list.split(',').map(str::trim_start);
            labels
                .map(|label| label.trim_end_matches(|c: char| !c.is_ascii_lowercase()))
                .map(|label| {
                    label
                        .split(['=', '!'])
                        .next()
                        .unwrap_or_default()
                        .to_owned()
                })
                .collect::<Vec<String>>()
        };
        for file in [
            include_str!("../../examples/monitoring/grafana-dashboard.json"),
            include_str!("../../examples/monitoring/proofpull.rules.yml"),
            include_str!("../../examples/monitoring/proofpull.rules.test.yml"),
        ] {
            let mut named = Vec::new();
            for (at, _) in file.match_indices("proofpull_") {
                let rest = &file[at..];
                let ends = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
                let (metric, rest) = rest.split_at(ends.unwrap_or(rest.len()));
                assert!(known(metric), "there is no {metric}");
                let braces = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
                named.extend(braces.iter().flat_map(|(inside, _)| labels(inside)));
            }
            for (before, after) in [("by (", ')'), ("$labels.", ' ')] {
                let lists = file.split(before).skip(1);
                named.extend(lists.flat_map(|rest| labels(rest.split(after).next().unwrap_or(""))));
            }
            assert!(named.len() > 10);
            for label in named {
                assert!(
                    ["name", "service", "status"].contains(&&*label),
                    "there is no {label}"
                );
            }
        }
    }

    #[test]
    fn whatever_a_run_counts_has_a_metric() {
        for name in counted(Counters::default()).keys() {
            let known = COUNTS.iter().any(|(count, ..)| count == name);
            assert!(known || name.ends_with("_at_most"), "{name} has none");
        }
    }

    #[test]
    fn the_longest_name_makes_a_file_that_can_be_written() {
        use crate::config::file::MAX_NAME;
        let dir = tempfile::tempdir().unwrap();
        for service in crate::service::SERVICES {
            let path = path(dir.path(), &"n".repeat(MAX_NAME), service.name);
            files::publish(&path, "").unwrap();
        }
    }
}
