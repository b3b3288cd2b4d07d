//! `logger` is the one place that prints: messages and errors to standard error, answers of
//! commands to standard output.
//!
//! Messages are text or JSON, with priority prefixes for the journal. Only our own log targets are
//! shown: the HTTP crate prints credentials at trace level, which is not even compiled.

use std::fs::File;
use std::io::Write;
use std::mem;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

use log::{Level, LevelFilter};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::progress::beside_the_bar;
use super::{Progress, Summary};
use crate::clock::Clock;
use crate::clock::utc;
use crate::error::{Because, Exit, Failure, Result};
use crate::human::one_line;
use crate::pipeline::batch::BATCH;

/// The most warnings that are kept, and the longest, in characters.
const MOST_KEPT: usize = 50;
const LONGEST_KEPT: usize = 2_000;

/// The warnings of the run.
static KEPT: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The format of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Text for people
    Text,
    /// One JSON object per line
    Json,
}

/// Prints messages and errors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    format: Format,
    level: LevelFilter,
    journal: bool,
    clock: Clock,
}

impl Report {
    /// Starts to print messages up to `level`.
    ///
    /// # Errors
    /// When a logger is already set.
    pub(crate) fn start(level: LevelFilter, format: Format, clock: Clock) -> Result<Report> {
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
        builder.format(move |_, record| {
            let message = record.args().to_string();
            if record.level() == Level::Warn {
                report.keep(&message);
            }
            // the crate itself would print it once the bar is there again
            say(&report.render(record.level(), &message));
            Ok(())
        });
        builder
            .try_init()
            .context("starting the log")
            .exit(Exit::Software)?;
        Ok(report)
    }

    /// Prints nothing at all.
    #[must_use]
    pub(crate) fn silent(clock: Clock) -> Report {
        Report {
            format: Format::Text,
            level: LevelFilter::Off,
            journal: false,
            clock,
        }
    }

    /// Whether only warnings and errors are wanted.
    #[must_use]
    pub(crate) fn is_quiet(&self) -> bool {
        self.level < LevelFilter::Info
    }

    /// A progress bar for a run of `service` over a range of time; hidden unless standard error is
    /// a terminal, the format is text and `-q` is absent.
    #[must_use]
    pub(crate) fn progress(
        &self,
        service: &str,
        from: OffsetDateTime,
        to: OffsetDateTime,
    ) -> Progress {
        let is_wanted = !self.is_quiet() && self.format == Format::Text;
        let bar = is_wanted.then(|| Progress::on_a_terminal(service, from, to));
        bar.flatten().unwrap_or_else(Progress::hidden)
    }

    /// Prints the end line of a run.
    pub(crate) fn end(&self, summary: &Summary) {
        if self.level >= LevelFilter::Info {
            say(&match self.format {
                Format::Json => self.end_object(summary),
                Format::Text => self.render(Level::Info, &summary.to_string()),
            });
        }
    }

    /// The end line of a run as a JSON object, as it is printed with `--log-format json`.
    pub(crate) fn end_object(&self, summary: &Summary) -> String {
        let object = serde_json::to_value(summary).unwrap_or_default();
        self.object(Level::Info, &summary.to_string(), Some(("summary", object)))
    }

    /// The same for an error.
    pub(crate) fn error_object(&self, failure: &Failure) -> String {
        let (hint, status) = (failure.hint().map(one_line), failure.exit());
        let more = json!({ "hint": hint, "status": status as u8, "name": status.name() });
        self.object(Level::Error, &failure.to_string(), Some(("error", more)))
    }

    /// Keeps a warning for the report of the run; the first ones say most.
    fn keep(&self, message: &str) {
        let message: String = message.chars().take(LONGEST_KEPT).collect();
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MOST_KEPT {
            kept.push(self.object(Level::Warn, &message, None));
        }
    }

    /// The warnings since the last call as JSON objects, the first [`MOST_KEPT`].
    pub(crate) fn take_warnings() -> Vec<String> {
        mem::take(&mut KEPT.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Prints an error on one line, and its hint on another.
    pub(crate) fn error(&self, failure: &Failure) {
        match self.format {
            _ if self.level == LevelFilter::Off => {}
            Format::Text => {
                let prefix = self.priority(Level::Error);
                let line = failure.to_string();
                say(&format!("{prefix}proofpull: {}", one_line(&line)));
                if let Some(hint) = failure.hint() {
                    say(&format!("{prefix}hint: {}", one_line(hint)));
                }
            }
            Format::Json => {
                say(&self.error_object(failure));
            }
        }
    }

    fn render(&self, level: Level, message: &str) -> String {
        match self.format {
            Format::Text if self.journal => {
                format!("{}{}", self.priority(level), one_line(message))
            }
            Format::Text => {
                let (time, line) = (utc(self.clock.now()), one_line(message));
                format!("{time} {}: {line}", word(level))
            }
            Format::Json => self.object(level, message, None),
        }
    }

    fn object(&self, level: Level, message: &str, more: Option<(&str, Value)>) -> String {
        let (time, line) = (utc(self.clock.now()), one_line(message));
        let mut object = json!({ "time": time, "level": word(level), "message": line });
        if let Some((key, value)) = more {
            object[key] = value;
        }
        object.to_string()
    }

    /// The prefix that tells the journal a line's priority (sd-daemon(3)).
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

fn word(level: Level) -> String {
    match level {
        Level::Warn => "warning".to_owned(),
        _ => level.as_str().to_ascii_lowercase(),
    }
}

/// Prints help and version as they are, and wrong arguments like any other error.
pub(crate) fn usage(error: &clap::Error) {
    let help = clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if !error.use_stderr() || error.kind() == help {
        // if this cannot be printed, nobody is left to tell
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
    say("hint: see proofpull --help and proofpull run --help");
}

/// Prints an error before the format is known.
pub(crate) fn early(message: &str) {
    say(&format!("proofpull: {}", one_line(message)));
}

fn say(line: &str) {
    // in one piece, since other programs may write to it as well
    let line = format!("{line}\n");
    // a closed standard error must not end a run
    let _ = beside_the_bar(|| std::io::stderr().lock().write_all(line.as_bytes()));
}

/// Prints the answer of a command to standard output.
///
/// # Errors
/// When it cannot be written; a closed pipe is no error.
pub(crate) fn answer(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to standard output").exit(Exit::Io),
    }
}

/// Prints a question to standard error; what is typed stands behind it.
pub(crate) fn question(text: &str) {
    let mut out = std::io::stderr().lock();
    // whoever closed it sees no question, but can answer
    let _ = write!(out, "{text} ").and_then(|()| out.flush());
}

/// Prints a line for the person who is asked.
pub(crate) fn tell(line: &str) {
    say(line);
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
