//! `cli` runs each command: it makes the parts from the configuration and puts them together.

pub mod args;
mod backfill;
mod check;
mod consumer;
mod devo;
mod dry_run;
mod examples;
mod folders;
mod host_name;
mod import;
mod init;
mod nagios;
mod paths;
mod run;
mod run_many;
mod run_record;
mod select;
mod services;
mod simulated;
mod start;
mod status;
mod verify;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log::LevelFilter;
use time::OffsetDateTime;

use crate::clock::Clock;
use crate::config::file::Config;
use crate::config::values::{parse_instant, parse_instant_or_age};
use crate::config::{self, ConfigError};
use crate::error::{Because, Exit, Failure, Result, fail};
use crate::files;
use crate::human;
use crate::output::{self, Report};
use crate::quota::QuotaPolicy;
use crate::secret;
use crate::service::Service;
use crate::shutdown::Shutdown;
use crate::state::ledger::LedgerFile;
use args::{Cli, Command, Common};
use host_name::host_name;
pub use simulated::{SimulatedEnd, SimulatedRun};

/// Runs the command and says what went wrong, if anything did; what the program ends with.
pub(crate) fn dispatch(cli: &Cli) -> u8 {
    let common = &cli.common;
    let level = match (common.quiet, common.verbose) {
        (true, _) => LevelFilter::Warn,
        (false, 0) => LevelFilter::Info,
        (false, 1) => LevelFilter::Debug,
        (false, _) => LevelFilter::Trace,
    };
    let clock = match common.now.as_deref().map(parse_instant).transpose() {
        Ok(now) => now.map_or_else(Clock::of_the_machine, Clock::set_to),
        Err(wrong) => {
            output::early(&format!("--now: {wrong}"));
            return Exit::Usage as u8;
        }
    };
    let report = match Report::start(level, common.log_format, clock) {
        Ok(report) => report,
        Err(error) => {
            output::early(&error.to_string());
            return error.exit() as u8;
        }
    };
    if let Err(error) = secret::forbid_core_dumps() {
        log::warn!("forbidding core dumps, which would contain secrets: {error}");
    }
    let result = match &cli.command {
        Command::Run(args) => {
            run_many::run_all(args, common, &report, clock).map(|exit| exit as u8)
        }
        Command::Check(args) => check::check(args, common, &report, clock).map(|exit| exit as u8),
        Command::Status(args) => status::status(args, common, &report, clock),
        Command::Verify(args) => verify::verify(args, common, &report, clock),
        Command::Services(args) => services::services(args).map(|()| 0),
        Command::Import(args) => {
            import::import(args, common, &report, clock).map(|exit| exit as u8)
        }
        Command::Init(args) => init::init(args, common, clock),
        Command::Completions(args) => {
            let script = String::from_utf8_lossy(&args::completions(args.shell)).into_owned();
            output::answer(&script).map(|()| 0)
        }
    };
    result.unwrap_or_else(|failure| {
        report.error(&failure);
        failure.exit() as u8
    })
}

/// Reads the configuration; each fault but the last is said at once.
fn load(common: &Common, report: &Report, now: OffsetDateTime) -> Result<Config> {
    parse(&text(common)?, report, now)
}

fn parse(text: &LoadReport, report: &Report, now: OffsetDateTime) -> Result<Config> {
    let config = config::file::check(&text.text, &text.base, now)
        .map_err(|faults| all_but_last(faults, &text.path, report))?;
    refuse_exposed(&config, &text.file, &text.path)?;
    Ok(config)
}

/// Refuses a configuration that others can change, or read while it holds a secret.
fn refuse_exposed(config: &Config, file: &File, path: &Path) -> Result<()> {
    if config.holds_a_secret() {
        secret::refuse_if_others_can_use(file, path)?;
    }
    secret::refuse_if_others_can_change(file, path)
}

/// The configuration as it is written.
struct LoadReport {
    path: PathBuf,
    file: File,
    text: String,
    /// What relative paths count from.
    base: PathBuf,
}

fn text(common: &Common) -> Result<LoadReport> {
    let from_env = || {
        std::env::var_os("PROOFPULL_CONFIG")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    };
    let path = common.config.clone().or_else(from_env);
    let path = path.unwrap_or_else(|| PathBuf::from("/etc/proofpull/config.toml"));
    let what = || format!("reading the configuration {}", path.display());
    let hint =
        "name the file with --config, or let proofpull init write one; examples/ has every key";
    let read = files::read_named(&path).and_then(|(file, bytes)| {
        let text = String::from_utf8(bytes).map_err(std::io::Error::other)?;
        Ok((file, text))
    });
    let (file, text) = read.with_context(what).exit(Exit::Config).hint(hint)?;
    if crate::import::is_of_a_collector(&text) {
        let said = format!(
            "{} is the configuration of a Devo collector",
            path.display()
        );
        let hint = format!(
            "turn it into one of proofpull: proofpull import {} --into DIR",
            path.display()
        );
        return Err(Failure::new(said).with_exit(Exit::Config).with_hint(hint));
    }
    let absolute = std::path::absolute(&path)
        .with_context(what)
        .exit(Exit::Config)?;
    let base = absolute.parent().unwrap_or(Path::new("/")).to_owned();
    Ok(LoadReport {
        path,
        file,
        text,
        base,
    })
}

/// Says each fault but the last, which is the error that the program ends with.
fn all_but_last(faults: Vec<ConfigError>, path: &Path, report: &Report) -> Failure {
    /// A file that is something else would have as many as lines.
    const SAID: usize = 50;
    let left = faults.len().saturating_sub(SAID);
    let refused =
        |said: &str| Failure::new(format!("{}: {said}", path.display())).with_exit(Exit::Config);
    let errors = faults.into_iter().take(SAID).map(|fault| {
        let failure = Failure::new(format!("{}:{fault}", path.display()));
        failure.with_exit(fault.exit).with_hint(fault.hint)
    });
    let mut errors: Vec<Failure> = errors.collect();
    if left > 0 {
        let more = human::count(left as u64, "more error");
        errors.push(refused(&more));
    }
    let last = errors.pop();
    errors.iter().for_each(|error| report.error(error));
    last.unwrap_or_else(|| refused("refused"))
}

/// Where state is kept; it never depends on who runs the program.
fn state_dir(common: &Common, config: &Config) -> PathBuf {
    let from_env = || {
        // systemd gives several, parted by colons; the first is the one
        let all = std::env::var("STATE_DIRECTORY").ok()?;
        all.split(':')
            .next()
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from)
    };
    let dir = common
        .state_dir
        .clone()
        .or_else(|| config.state_dir.clone())
        .or_else(from_env);
    dir.unwrap_or_else(|| PathBuf::from("/var/lib/proofpull"))
}

/// A time on the command line.
fn time_argument(option: &str, text: &str, now: OffsetDateTime) -> Result<OffsetDateTime> {
    let time = parse_instant_or_age(text, now).map_err(Failure::new);
    let time = time
        .with_context(|| format!("reading {option}"))
        .exit(Exit::Usage)?;
    if time > now {
        return fail(Exit::Usage, format!("{option} is in the future"));
    }
    Ok(time)
}

/// The environment, for what may look it up.
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Where the requests of a service are booked, in the state folder.
fn ledger(
    dir: &Path,
    service: &Service,
    config: &Config,
    shutdown: &Shutdown,
) -> Result<LedgerFile> {
    let account = config.service(service).api.quota()?;
    let policy = QuotaPolicy {
        service: service.name,
        pool: account.pool,
        lookups: account.lookups,
        own: account.own.to_vec(),
        held_back: 0,
    };
    Ok(LedgerFile::of(account.name, dir, policy, shutdown))
}

/// How connections are made.
fn network(config: &Config) -> Result<Arc<crate::net::Network>> {
    Ok(Arc::new(crate::net::Network::new(&config.http, env)?))
}
