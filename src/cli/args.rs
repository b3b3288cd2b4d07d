//! `Cli` parses the command line; the other modules of `cli` carry it out.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};

use super::consumer::Consumer;
use super::examples;
use super::select::ServicePattern;
use crate::config::values::parse_duration;
use crate::output::Format;
use crate::service;

/// Collects Proofpoint logs completely and without duplicates, and delivers them to Devo.
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
                     74 io, 75 tempfail (temporary; the next run retries), 77 noperm, 78 config. \
                     Any other status is a failure, too.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Collect services once, one after the other: lock, read the state, pull, deliver, confirm, save, exit
    #[command(after_help = examples::RUN)]
    Run(RunArgs),
    /// Report every error in the configuration; with --online, test the connections, too
    #[command(after_help = examples::CHECK)]
    Check(CheckArgs),
    /// Show what is wrong, and lag, last run, gaps and quota of each service
    #[command(after_help = examples::STATUS)]
    Status(StatusArgs),
    /// Ask Devo whether every event that was delivered is in its table
    #[command(after_help = examples::VERIFY)]
    Verify(VerifyArgs),
    /// List the services: what each reads, and its default Devo tag
    #[command(after_help = examples::SERVICES)]
    Services(ServicesArgs),
    /// Turn the configuration of a Devo collector for Proofpoint, and how far it came, into one of proofpull
    #[command(after_help = examples::IMPORT)]
    Import(ImportArgs),
    /// Write a configuration and its folders, with secrets in files of their own; ask for what is not given
    #[command(after_help = examples::INIT)]
    Init(InitArgs),
    /// Print the completion script for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions(CompletionsArgs),
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Common {
    /// Configuration file [default: $PROOFPULL_CONFIG, else /etc/proofpull/config.toml]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// State folder [default: state_dir of the configuration, else $STATE_DIRECTORY, else
    /// /var/lib/proofpull]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) state_dir: Option<PathBuf>,
    /// Log more: -v a line per window, -vv a line per batch
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    /// Log only warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Format of messages
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text, global = true)]
    pub(crate) log_format: Format,
    /// Take this time for the present, for tests; only with loopback addresses
    #[arg(long, value_name = "T", global = true, hide = true)]
    pub(crate) now: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    /// Services to collect, by name or by a quoted pattern such as 'tap-*'
    #[arg(value_name = "SERVICE", value_parser = ServiceWord, required = true)]
    pub(crate) services: Vec<ServicePattern>,
    /// Backfill from this time, independently of the saved position; the same command continues a
    /// stopped backfill. RFC 3339, a date, or an age such as 3d or 90m
    #[arg(long, value_name = "T")]
    pub(crate) start_time: Option<String>,
    /// Backfill up to this time [default: the saved position, else now]
    #[arg(long, value_name = "T", requires = "start_time")]
    pub(crate) end_time: Option<String>,
    /// Write one JSON event per line to standard output instead of Devo, with a state of its own
    #[arg(long)]
    pub(crate) stdout: bool,
    /// Give whoever reads standard output a name, and with it a state of its own, such as alerts: each consumer gets
    /// every event
    #[arg(long, value_name = "NAME", value_parser = Consumer::parse, requires = "stdout")]
    pub(crate) consumer: Option<Consumer>,
    /// Print what a run would request and its cost in quota; request nothing, save nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Stop the run of each service cleanly after this long, such as 90s or 10m [default: max_duration of the service; for
    /// a backfill, no limit]
    #[arg(long, value_name = "D", value_parser = parse_duration)]
    pub(crate) max_duration: Option<Duration>,
    /// Wait this long for another run of the same service
    #[arg(long, value_name = "D", value_parser = parse_duration, default_value = "0s")]
    pub(crate) wait_lock: Duration,
    /// Start over from start_time, or as a first run, because the state is damaged or missing; its files are kept
    /// as *.old. A good state is refused
    #[arg(long)]
    pub(crate) start_over: bool,
    /// Forget how the receiver ends connections; use it once after a load balancer was replaced
    #[arg(long, conflicts_with = "stdout")]
    pub(crate) forget_receiver: bool,
    /// Have at most so many bytes unconfirmed, for tests
    #[arg(long, value_name = "BYTES", hide = true)]
    pub(crate) most_unconfirmed: Option<u64>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct CheckArgs {
    /// Check only what these services need [default: everything that is configured]
    #[arg(value_name = "SERVICE", value_parser = ServiceWord)]
    pub(crate) services: Vec<ServicePattern>,
    /// Print the effective configuration, with secrets masked and defaults marked
    #[arg(long)]
    pub(crate) show: bool,
    /// Test the credentials of each API with the smallest request, and complete a confirmed
    /// transaction with Devo; no event is delivered
    #[arg(long)]
    pub(crate) online: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Show only these services [default: all with a table or a saved state]
    #[arg(value_name = "SERVICE", value_parser = ServiceWord)]
    pub(crate) services: Vec<ServicePattern>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Act as a Nagios check: 2 if a service is further behind than this or never ran, 1 if its
    /// last run failed, 3 if that is unknown, else 0
    #[arg(long, value_name = "D", value_parser = parse_duration, conflicts_with = "json")]
    pub(crate) max_lag: Option<Duration>,
    /// Show it anew every two seconds, for as long as a run is under way
    #[arg(long, conflicts_with_all = ["json", "max_lag"])]
    pub(crate) watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Verify only these services [default: all that have delivered something]
    #[arg(value_name = "SERVICE", value_parser = ServiceWord)]
    pub(crate) services: Vec<ServicePattern>,
    /// Verify the runs that ended in this time, such as 24h or 3d
    #[arg(long, value_name = "D", value_parser = parse_duration, default_value = "24h")]
    pub(crate) since: Duration,
    /// Leave out runs that ended less than this ago: Devo may not show their events yet
    #[arg(long, value_name = "D", value_parser = parse_duration, default_value = "15m")]
    pub(crate) settle: Duration,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Act as a Nagios check: 2 if more than N events are missing, 1 if fewer are, 3 if that is unknown, else 0
    #[arg(long, value_name = "N", conflicts_with = "json")]
    pub(crate) max_missing: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct ServicesArgs {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Configuration of the collector: config.yaml, or the JSON of the cloud form
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Folder for the new configuration, its secrets and its certificates; no file in it is replaced
    #[arg(long, value_name = "DIR")]
    pub(crate) into: PathBuf,
    /// Folder in which the collector saved its position; stop the collector before
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Print what would be written, without the secrets; write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Services to collect, by name or by a quoted pattern, with commas between them
    #[arg(long, value_name = "SERVICE", value_parser = ServiceWord, value_delimiter = ',')]
    pub(crate) services: Vec<ServicePattern>,
    /// Folder for the configuration. /etc/proofpull, or /etc/proofpull-TENANT, is made for the systemd units, any
    /// other for the user who owns it
    #[arg(long, value_name = "DIR", default_value = "/etc/proofpull")]
    pub(crate) dir: PathBuf,
    /// Host and port of Devo, such as collector-us.devo.io:443
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) devo_address: Option<String>,
    /// CA of Devo, to be copied to certs/chain.crt
    #[arg(long, value_name = "FILE")]
    pub(crate) devo_chain: Option<PathBuf>,
    /// Certificate of the Devo domain, to be copied to certs/domain.crt
    #[arg(long, value_name = "FILE")]
    pub(crate) devo_cert: Option<PathBuf>,
    /// Key of that certificate, to be copied to certs/domain.key
    #[arg(long, value_name = "FILE")]
    pub(crate) devo_key: Option<PathBuf>,
    /// Service principal of TAP
    #[arg(long, value_name = "PRINCIPAL")]
    pub(crate) tap_principal: Option<String>,
    /// Cluster of PoD
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) pod_cluster_id: Option<String>,
    /// Ask nothing, also on a terminal. Standard input has the secrets, one NAME=SECRET on each line: tap.secret, pod.key,
    /// isolation.key
    #[arg(long)]
    pub(crate) non_interactive: bool,
    /// Print what would be written, without the secrets; write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Check the configuration, then enable and start the timers
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) enable: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell
    #[arg(value_name = "SHELL", value_enum)]
    pub(crate) shell: Shell,
}

/// A shell that completes words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The script with which a shell completes our words.
pub(crate) fn completions(shell: Shell) -> Vec<u8> {
    use clap_complete::{generate, shells};
    // what is hidden from people is hidden from their shells, too
    let cli = Cli::command();
    let shown = cli.get_arguments().filter(|option| !option.is_hide_set());
    let mut command = clap::Command::new("proofpull")
        .version(env!("CARGO_PKG_VERSION"))
        .args(shown)
        .subcommands(cli.get_subcommands());
    let mut script = Vec::new();
    match shell {
        Shell::Bash => generate(shells::Bash, &mut command, "proofpull", &mut script),
        Shell::Zsh => generate(shells::Zsh, &mut command, "proofpull", &mut script),
        Shell::Fish => {
            generate(shells::Fish, &mut command, "proofpull", &mut script);
            script.extend(words_for_fish(&command).into_bytes());
        }
    }
    script
}

/// What the crate leaves out for this shell: the values of words that are no options.
fn words_for_fish(command: &clap::Command) -> String {
    let mut lines = String::new();
    for inner in command.get_subcommands() {
        for word in inner.get_positionals() {
            let values = word.get_possible_values();
            let values: Vec<&str> = values.iter().map(PossibleValue::get_name).collect();
            if !values.is_empty() {
                lines += &format!(
                    "complete -c proofpull -n \"__fish_proofpull_using_subcommand {}\" -f -a \"{}\"\n",
                    inner.get_name(),
                    values.join(" ")
                );
            }
        }
    }
    lines
}

/// Takes a word for services; what means none is refused in the words of `select`.
#[derive(Debug, Clone, Copy)]
struct ServiceWord;

impl TypedValueParser for ServiceWord {
    type Value = ServicePattern;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Self::Value, clap::Error> {
        TypedValueParser::parse_ref(&ServicePattern::parse, command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let names = service::SERVICES.iter().map(|service| service.name);
        Some(Box::new(names.map(PossibleValue::new)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_of_each_command_has_examples_that_the_program_takes() {
        for command in Cli::command().get_subcommands_mut() {
            let help = command.render_help().to_string();
            let name = format!("proofpull {}", command.get_name());
            let examples = help.lines().filter(|line| line.starts_with("    "));
            let examples = examples.filter_map(|line| line.find(&name).map(|at| &line[at..]));
            let mut count = 0;
            for example in examples {
                let ends = example.find([')', '|', '>']).unwrap_or(example.len());
                let words = example[..ends].split_whitespace();
                let words = words.map(|word| word.trim_matches('\''));
                assert!(Cli::try_parse_from(words).is_ok(), "{example}");
                count += 1;
            }
            assert!(count >= 2, "{help}");
        }
    }

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
        for service in service::SERVICES {
            assert!(
                help.iter()
                    .any(|word| word.trim_matches([',', '[', ']']) == service.name),
                "{}",
                service.name
            );
        }
    }
}
