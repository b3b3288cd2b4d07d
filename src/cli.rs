//! The command line. Only its shape; what it means is for `command` to say.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::config::values::parse_duration;
use crate::report::Format;
use crate::service::{self, Service};

/// Collects Proofpoint logs, completely and without doubles, and delivers them to Devo.
#[derive(Debug, Parser)]
#[command(
    name = "proofpull",
    version,
    max_term_width = 100,
    after_help = AFTER
)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) common: Common,
}

const AFTER: &str = "Exit statuses: 0 ok, 2 usage, 3 gap, 65 data, 69 unavailable, 70 software, 73 cantcreat, \
                     74 io, 75 tempfail (come again), 77 noperm, 78 config. Any other number is a failure, too.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One bounded pull cycle: lock, read state, pull, deliver, confirm, save, exit
    Run(Run),
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Common {
    /// The configuration [default: $PROOFPULL_CONFIG, else /etc/proofpull/config.toml]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Where state is kept [default: state_dir of the configuration, else $STATE_DIRECTORY, else
    /// /var/lib/proofpull]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) state_dir: Option<PathBuf>,
    /// Say more: -v a line a window, -vv a line a batch
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    /// Say only warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// How messages look
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text, global = true)]
    pub(crate) log_format: Format,
    /// A time to take for the present, for tests over hours; only with loopback addresses
    #[arg(long, value_name = "T", global = true, hide = true)]
    pub(crate) now: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// What to collect: tap-clicks-blocked, tap-clicks-permitted, tap-messages-blocked,
    /// tap-messages-delivered, tap-threats, pod-message, pod-maillog, pod-audit, isolation-web or
    /// isolation-url
    #[arg(value_name = "SERVICE", value_parser = service::find)]
    pub(crate) service: &'static Service,
    /// Backfill from here on, apart from the saved position; the same command again goes on where it
    /// was stopped. RFC 3339, a date, or an age such as 3d or 90m
    #[arg(long, value_name = "T")]
    pub(crate) start_time: Option<String>,
    /// Backfill up to here [default: the saved position, else now]
    #[arg(long, value_name = "T", requires = "start_time")]
    pub(crate) end_time: Option<String>,
    /// One JSON event a line on standard output instead of Devo, with a state of its own
    #[arg(long)]
    pub(crate) stdout: bool,
    /// Print what would be asked for and what it costs of the quota; call nothing, save nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Stop in good order after this long, such as 90s or 10m [default: max_duration of the service;
    /// for a backfill, no limit]
    #[arg(long, value_name = "D", value_parser = parse_duration)]
    pub(crate) max_duration: Option<Duration>,
    /// Wait this long for another run of the same service
    #[arg(long, value_name = "D", value_parser = parse_duration, default_value = "0s")]
    pub(crate) wait_lock: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound_and_names_every_service() {
        Cli::command().debug_assert();
        let mut command = Cli::command();
        let help = command
            .find_subcommand_mut("run")
            .unwrap()
            .render_long_help()
            .to_string();
        let help: Vec<&str> = help.split_whitespace().collect();
        for service in &service::SERVICES {
            assert!(
                help.iter()
                    .any(|word| word.trim_end_matches(',') == service.name),
                "{}",
                service.name
            );
        }
    }
}
