//! What is said to people and programs, and the one place that prints: messages and the end line
//! on standard error, as text or JSON, with priority prefixes when that is the journal.
//!
//! Only our own log targets are shown: the HTTP crate prints credentials at trace, which is not
//! even compiled.

pub mod prometheus;

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use log::{Level, LevelFilter};
use serde::Serialize;
use time::OffsetDateTime;

use crate::clock::Clock;
use crate::error::{Because, Exit, Hint, line};
use crate::pipeline::batch::BATCH;
use crate::pipeline::batch::{Gap, Late};
use crate::window::utc;

/// What a run counts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Windows that came to their end.
    pub windows: u64,
    /// Requests made.
    pub requests: u64,
    /// Events received.
    pub received: u64,
    /// Of them, those that were known and dropped.
    pub duplicates: u64,
    /// Of the new ones, those created before the position from which the run went on.
    #[serde(flatten)]
    pub late: Late,
    /// Of those received, those that are no JSON; without rules they are delivered as they are.
    pub unreadable: u64,
    /// Of the new ones, those that a filter dropped.
    pub filtered: u64,
    /// Of the new ones, those set aside because they cannot be read and there are rules.
    pub quarantined: u64,
    /// Of those received, those that are not UTF-8 throughout; what is not was replaced.
    pub replaced: u64,
    /// Events whose delivery was confirmed.
    pub delivered: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How a run ended.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Collector or tenant.
    pub name: String,
    /// The service.
    pub service: &'static str,
    /// In words: caught up, stopped at which limit, failed.
    pub outcome: &'static str,
    /// What was counted.
    #[serde(flatten)]
    pub counters: Counters,
    /// How many requests are left by the limit that is nearest, once one was booked.
    pub requests_left: Option<u32>,
    /// Gaps recorded in the state and now said.
    pub gaps: usize,
    /// Rules that have matched nothing since they stand in the configuration as they do.
    pub never_matched: Vec<String>,
    /// How far the position is behind the present, in seconds.
    pub behind_seconds: u64,
    /// How long the run took, in seconds.
    pub seconds: f64,
    /// The highest memory use of the process so far, in bytes, where the system tells.
    pub peak_memory_bytes: Option<u64>,
    /// What `@devo_pulling_id` is in each event of the run.
    #[serde(rename = "@devo_pulling_id")]
    pub pulling_id: String,
}

/// Says things.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    format: Format,
    level: LevelFilter,
    journal: bool,
    clock: Clock,
}

impl Report {
    /// Starts to show messages up to `level`.
    ///
    /// # Errors
    /// When messages are shown already.
    pub fn start(level: LevelFilter, format: Format, clock: Clock) -> Result<Report> {
        let report = Report {
            format,
            level,
            journal: stderr_is_the_journal(),
            clock,
        };
        let mut builder = env_logger::Builder::new();
        builder
            .filter(Some("proofpull"), level.min(LevelFilter::Debug))
            .write_style(env_logger::WriteStyle::Never);
        if level == LevelFilter::Trace {
            builder.filter(Some(BATCH), LevelFilter::Debug);
        }
        builder.format(move |out, record| {
            let message = report.render(record.level(), &record.args().to_string(), None);
            beside_the_bar(|| writeln!(out, "{message}"))
        });
        builder
            .try_init()
            .context("starting the log")
            .context(Exit::Software)?;
        Ok(report)
    }

    /// Whether only warnings and errors are wanted.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.level < LevelFilter::Info
    }

    /// A bar for a run of `service` from one time to another, if somebody is there to see it: on a
    /// terminal, as text, and not with `-q`.
    #[must_use]
    pub fn progress(&self, service: &str, from: OffsetDateTime, to: OffsetDateTime) -> Progress {
        let hidden = Progress::hidden();
        if self.is_quiet() || self.format == Format::Json {
            return hidden;
        }
        let target = ProgressDrawTarget::stderr_with_hz(4);
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {percent}% {msg}");
        let (false, Ok(style)) = (target.is_hidden(), style) else {
            return hidden;
        };
        let bar = ProgressBar::with_draw_target(Some(seconds_between(from, to)), target);
        let bar = BAR.get_or_init(|| bar.with_style(style).with_prefix(service.to_owned()));
        Progress {
            bar: Some(bar),
            from,
        }
    }

    /// The line at the end of a run.
    pub fn end(&self, summary: &Summary) {
        if self.level >= LevelFilter::Info {
            let object = serde_json::to_value(summary)
                .ok()
                .map(|summary| ("summary", summary));
            say(&self.render(Level::Info, &text(summary), object));
        }
    }

    /// An error: one line, and another for what a person can do about it.
    pub fn error(&self, error: &anyhow::Error) {
        let hint = error.downcast_ref::<Hint>().map(|Hint(hint)| hint.as_str());
        let status = Exit::of(error);
        match self.format {
            Format::Text => {
                let prefix = self.priority(Level::Error);
                say(&format!("{prefix}proofpull: {}", one_line(&line(error))));
                if let Some(hint) = hint {
                    say(&format!("{prefix}hint: {}", one_line(hint)));
                }
            }
            Format::Json => {
                let more = serde_json::json!({ "hint": hint, "status": status as u8, "name": status.name() });
                say(&self.render(Level::Error, &line(error), Some(("error", more))));
            }
        }
    }

    fn render(
        &self,
        level: Level,
        message: &str,
        more: Option<(&str, serde_json::Value)>,
    ) -> String {
        let word = if level == Level::Warn {
            "warning"
        } else {
            level.as_str()
        }
        .to_ascii_lowercase();
        match self.format {
            Format::Text if self.journal => {
                format!("{}{}", self.priority(level), one_line(message))
            }
            Format::Text => format!("{} {word}: {}", utc(self.clock.now()), one_line(message)),
            Format::Json => {
                let mut object = serde_json::json!({ "time": utc(self.clock.now()), "level": word, "message": message });
                if let Some((key, value)) = more {
                    object[key] = value;
                }
                object.to_string()
            }
        }
    }

    /// The prefix by which the journal knows a line's priority (sd-daemon(3)).
    fn priority(&self, level: Level) -> &'static str {
        match level {
            _ if !self.journal => "",
            Level::Error => "<3>",
            Level::Warn => "<4>",
            Level::Info => "<6>",
            Level::Debug | Level::Trace => "<7>",
        }
    }
}

/// Help or version as it is; what is wrong with the arguments as any other error.
pub fn usage(error: &clap::Error) {
    let help = clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if !error.use_stderr() || error.kind() == help {
        // nobody is left to tell when even this cannot be printed
        let _ = error.print();
        return;
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let said = text
        .split("\n\n")
        .take_while(|part| !part.starts_with("Usage:") && !part.starts_with("For more"));
    let words: Vec<&str> = said.flat_map(str::split_whitespace).collect();
    early(&format!("reading the arguments: {}", words.join(" ")));
    say("hint: proofpull --help and proofpull run --help say what there is");
}

/// Errors before it is known how they are wanted.
pub fn early(message: &str) {
    say(&format!("proofpull: {}", one_line(message)));
}

fn say(line: &str) {
    // a closed standard error must not end a run
    let _ = beside_the_bar(|| writeln!(std::io::stderr().lock(), "{line}"));
}

/// The answer of a command, on standard output.
///
/// # Errors
/// When it cannot be written; that nobody reads on is no error.
pub fn answer(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to standard output").exit(Exit::Io),
    }
}

/// Rows as lines whose columns stand below one another, two blanks apart.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let padded = cells.map(|(cell, width)| format!("{:width$}", one_line(cell)));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// The bar on a terminal; there is one at most.
static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// Writes while the bar is out of the way.
fn beside_the_bar<T>(write: impl FnOnce() -> T) -> T {
    match BAR.get() {
        Some(bar) if !bar.is_finished() => bar.suspend(write),
        _ => write(),
    }
}

/// How far a run has come, shown on a terminal; anywhere else it does nothing.
#[derive(Debug)]
pub struct Progress {
    bar: Option<&'static ProgressBar>,
    from: OffsetDateTime,
}

impl Progress {
    /// One that shows nothing.
    #[must_use]
    pub fn hidden() -> Progress {
        Progress {
            bar: None,
            from: OffsetDateTime::UNIX_EPOCH,
        }
    }

    /// Everything before `until` is complete now.
    pub fn show(&self, until: OffsetDateTime, counters: &Counters) {
        if let Some(bar) = self.bar {
            bar.set_position(seconds_between(self.from, until));
            bar.set_message(format!("{}, {} events", utc(until), counters.received));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn seconds_between(from: OffsetDateTime, to: OffsetDateTime) -> u64 {
    u64::try_from((to - from).whole_seconds()).unwrap_or(0)
}

/// What comes from outside may hold line breaks.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn text(summary: &Summary) -> String {
    let counters = &summary.counters;
    let Counters {
        windows,
        requests,
        received,
        duplicates,
        late,
        delivered,
        bytes,
        ..
    } = counters;
    let rate = if summary.seconds > 0.0 {
        *delivered as f64 / summary.seconds
    } else {
        0.0
    };
    let left = match summary.requests_left {
        Some(left) => format!(" ({left} left)"),
        None => String::new(),
    };
    let rare = [
        (counters.unreadable, "unreadable as JSON"),
        (counters.filtered, "filtered out"),
        (counters.quarantined, "quarantined"),
    ];
    let rare = rare.into_iter().filter(|(count, _)| *count > 0);
    let rare: String = rare
        .map(|(count, what)| format!("{count} {what}, "))
        .collect();
    let never_matched = match summary.never_matched.join(", ") {
        rules if rules.is_empty() => rules,
        rules => format!("never matched: {rules}, "),
    };
    let recheck = match late.by_recheck {
        0 => String::new(),
        some => format!(" ({some} by the recheck)"),
    };
    let replaced = match counters.replaced {
        0 => String::new(),
        some => format!("{some} not UTF-8, "),
    };
    format!(
        "{service}: {outcome}: {windows} windows, {requests} requests{left}, {received} received, {duplicates} duplicates dropped, \
         {rare}{replaced}{late} late{recheck}, {delivered} delivered, {bytes} bytes, {rate:.0} events/s, {gaps} gaps, {behind} behind, \
         {never_matched}{seconds:.1} s, @devo_pulling_id {pulling_id}",
        service = summary.service,
        late = late.events,
        outcome = summary.outcome,
        gaps = summary.gaps,
        behind = age(Duration::from_secs(summary.behind_seconds)),
        seconds = summary.seconds,
        pulling_id = summary.pulling_id,
    )
}

/// A gap, in words.
#[must_use]
pub fn gap(gap: &Gap) -> String {
    format!(
        "gap: what lies between {} and {} was not collected: the service no longer kept it, or did not give it whole",
        utc(gap.from),
        utc(gap.to)
    )
}

/// What to say of the events that a run found late, if they came near the end of `look_back` or
/// later; `ever` counts those of all runs.
#[must_use]
pub fn late(run: &Late, ever: &Late, look_back: Duration) -> Option<String> {
    let seconds = |late: &Late| Duration::from_secs(late.greatest_seconds);
    let look_back_said = age(look_back);
    if run.by_recheck > 0 {
        return Some(format!(
            "{} events became visible, or changed, too late for look_back ({look_back_said}) and were found by the second \
             look, {} after their creation at most; {} so far: set look_back higher to have them sooner",
            run.by_recheck,
            age(seconds(run)),
            ever.by_recheck
        ));
    }
    let near = look_back.as_secs() * 3 / 4;
    (run.events > 0 && run.greatest_seconds >= near).then(|| {
        format!(
            "events became visible, or changed, up to {} after their creation, which is near the end of look_back \
             ({look_back_said}): set it higher to have them sooner than by the recheck",
            age(seconds(run))
        )
    })
}

/// A length of time in its two largest units: `2d 3h`, `1m 5s`.
#[must_use]
pub fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let units = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let said: Vec<String> = units
        .iter()
        .skip_while(|(n, _)| *n == 0)
        .take(2)
        .filter(|(n, _)| *n > 0)
        .map(|(n, unit)| format!("{n}{unit}"))
        .collect();
    if said.is_empty() {
        "0s".to_owned()
    } else {
        said.join(" ")
    }
}

/// The process's highest memory use (proc(5), `VmHWM`), in bytes.
#[must_use]
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// systemd names the journal's socket by device and inode (systemd.exec(5), `$JOURNAL_STREAM`).
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stderr = std::io::stderr()
        .as_fd()
        .try_clone_to_owned()
        .map(File::from);
    let metadata = stderr.and_then(|stderr| stderr.metadata());
    metadata.is_ok_and(|metadata| stream == format!("{}:{}", metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_said_in_two_units() {
        let table = [
            (0, "0s"),
            (59, "59s"),
            (65, "1m 5s"),
            (3600, "1h"),
            (90_061, "1d 1h"),
            (172_800, "2d"),
        ];
        for (seconds, said) in table {
            assert_eq!(age(Duration::from_secs(seconds)), said);
        }
    }

    #[test]
    fn late_events_are_warned_about_when_they_come_near_the_end_of_look_back() {
        let look_back = Duration::from_secs(2700);
        let ever = Late {
            events: 90,
            by_recheck: 17,
            greatest_seconds: 46_000,
        };
        let check = |events, by_recheck, greatest_seconds, said: &[&str]| {
            let run = Late {
                events,
                by_recheck,
                greatest_seconds,
            };
            let warning = late(&run, &ever, look_back).unwrap_or_default();
            assert_eq!(warning.is_empty(), said.is_empty(), "{warning}");
            assert!(said.iter().all(|said| warning.contains(said)), "{warning}");
        };
        check(0, 0, 0, &[]);
        check(5, 0, 2024, &[]);
        check(5, 0, 2025, &["up to 33m 45s", "look_back (45m)"]);
        check(5, 3, 45_000, &["3 events", "12h 30m", "17 so far"]);
    }

    #[test]
    fn columns_stand_below_one_another() {
        let row = |cells: &[&str]| cells.iter().map(ToString::to_string).collect();
        let rows = [
            row(&["a", "long", "x"]),
            row(&["service", "é"]),
            row(&["b\n", "", ""]),
        ];
        assert_eq!(table(&rows), "a        long  x\nservice  é\nb\n");
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(one_line("a\nb\u{1b}[31m"), "a b [31m");
    }

    #[test]
    fn the_end_line_says_everything() {
        let counters = Counters {
            windows: 1,
            requests: 2,
            received: 9,
            duplicates: 3,
            late: Late {
                events: 4,
                by_recheck: 1,
                greatest_seconds: 50_000,
            },
            unreadable: 0,
            filtered: 0,
            quarantined: 0,
            replaced: 0,
            delivered: 6,
            bytes: 600,
        };
        let summary = Summary {
            name: "acme".into(),
            service: "tap-clicks-blocked",
            outcome: "caught up",
            counters,
            requests_left: Some(218),
            gaps: 0,
            never_matched: Vec::new(),
            behind_seconds: 65,
            seconds: 2.0,
            peak_memory_bytes: None,
            pulling_id: "17".into(),
        };
        assert_eq!(
            text(&summary),
            "tap-clicks-blocked: caught up: 1 windows, 2 requests (218 left), 9 received, 3 duplicates dropped, 4 late (1 by the recheck), 6 delivered, \
             600 bytes, 3 events/s, 0 gaps, 1m 5s behind, 2.0 s, @devo_pulling_id 17"
        );
    }
}
