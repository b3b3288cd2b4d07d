//! `init` asks what to collect, and writes a configuration with its folders, certificates and secrets.
//!
//! `answers` asks, `plan` decides what is written, `next` what comes then. This module reads, writes and
//! starts programs.

mod answers;
mod config_text;
mod layout;
mod next;
mod plan;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::process::Command;

use time::OffsetDateTime;

use crate::cli::args::{Common, InitArgs};
use crate::clock::Clock;
use crate::config;
use crate::error::{Because, Exit, Result, fail};
use crate::files::{self, Owner};
use crate::new_files::{self, NewEntry, NewKind};
use crate::output;
use crate::secret::{Echo, Terminal};
use answers::{Answers, Ask, Questions};
use layout::Layout;
use next::{next_commands, next_text, shell_line};
use plan::{EntryContent, InitPlan, PlannedEntry, plan};

pub(super) fn init(args: &InitArgs, common: &Common, clock: Clock) -> Result<u8> {
    if common.config.is_some() || common.state_dir.is_some() {
        return fail(Exit::Usage, "init takes neither --config nor --state-dir").hint(
            "name the folder for config.toml with --dir; state is kept in it, or in /var/lib",
        );
    }
    let dir = std::path::absolute(&args.dir)
        .with_context(|| format!("finding {}", args.dir.display()))
        .exit(Exit::Usage)?;
    if dir
        .to_str()
        .is_none_or(|dir| dir.contains(char::is_control))
    {
        return fail(
            Exit::Usage,
            "--dir: must be UTF-8 without control characters",
        );
    }
    let layout = Layout::of(&dir);
    if args.enable && layout == Layout::Own {
        return fail(
            Exit::Usage,
            "--enable is for the systemd units, which read /etc/proofpull",
        )
        .hint("leave --dir out, or have a crontab start the runs: see examples/crontab");
    }
    let unit_user = match args.dry_run {
        true => None,
        false => unit_user(&layout)?,
    };
    // before anything is asked
    new_files::refuse_existing(&dir.join("config.toml"))
        .hint("name another folder with --dir, or move the file away")?;
    let answers = answers(args, clock.now())?;
    let plan = plan(&answers, &layout, &dir);
    refuse_what_we_cannot_read(&plan, &dir, clock.now())?;
    let tenant = match &layout {
        Layout::Units { tenant } => tenant,
        Layout::Own => "",
    };
    if args.dry_run {
        output::answer(&contents(&plan, tenant))?;
        return Ok(Exit::Ok as u8);
    }
    write(&plan, unit_user, tenant)?;
    let program = std::env::current_exe().unwrap_or_else(|_| "proofpull".into());
    let commands = next_commands(&answers, &layout, &dir, &program);
    output::answer(&next_text(&commands, &plan.missing, &layout))?;
    match args.enable {
        true => run_all(&commands),
        false => Ok(Exit::Ok as u8),
    }
}

/// The user of the units, for whom only root can make files.
fn unit_user(layout: &Layout) -> Result<Option<Owner>> {
    let Layout::Units { tenant } = layout else {
        return Ok(None);
    };
    if !files::is_root() {
        return fail(
            Exit::NoPerm,
            "only root can write a configuration for the systemd units",
        )
        .hint("run it with sudo, or name a folder of your own with --dir");
    }
    let passwd = std::fs::read_to_string("/etc/passwd")
        .context("reading /etc/passwd")
        .exit(Exit::CantCreate)?;
    match layout.user_in(&passwd) {
        Some(user) => Ok(Some(user)),
        None => fail(Exit::CantCreate, format!("there is no user {tenant} in /etc/passwd")).hint(
            format!(
                "install systemd/proofpull.sysusers.conf as /etc/sysusers.d/{tenant}.conf and run systemd-sysusers, \
                 or name another folder with --dir"
            ),
        ),
    }
}

/// Asks on a terminal, or reads the secrets from standard input.
fn answers(args: &InitArgs, now: OffsetDateTime) -> Result<Answers> {
    let stdin = std::io::stdin();
    let is_terminal = stdin.is_terminal();
    let mut piped = String::new();
    if !is_terminal {
        /// Far above three secrets.
        const MAX_INPUT: u64 = 1024 * 1024;
        stdin
            .take(MAX_INPUT)
            .read_to_string(&mut piped)
            .context("reading secrets from standard input")
            .exit(Exit::Usage)?;
    }
    let is_asking = is_terminal && !args.non_interactive;
    let terminal = match is_asking {
        true => Some(
            Terminal::open()
                .context("reading the terminal")
                .exit(Exit::Software)?,
        ),
        false => None,
    };
    let mut ask = |question: &str, echo: Echo| {
        let line = match &terminal {
            Some(terminal) => terminal.line(echo, || output::question(question)),
            None => Ok(None),
        };
        match line.context("reading the answer").exit(Exit::Usage)? {
            Some(line) => Ok(line),
            None => {
                output::tell("");
                fail(
                    Exit::TempFail,
                    "interrupted before the last answer, so nothing was written",
                )
            }
        }
    };
    let questions = Questions {
        args,
        ask: is_asking.then_some(&mut ask as Ask),
        tell: &output::tell,
        read: &|path| {
            let bytes = files::read(path).exit(Exit::Config)?;
            bytes.map_or_else(
                || fail(Exit::Config, format!("there is no {}", path.display())),
                Ok,
            )
        },
        now,
    };
    questions.answers(&piped)
}

/// Reads the new configuration as every command will.
fn refuse_what_we_cannot_read(plan: &InitPlan, dir: &Path, now: OffsetDateTime) -> Result<()> {
    for entry in &plan.entries {
        let EntryContent::Config(text) = &entry.content else {
            continue;
        };
        if let Err(faults) = config::file::check(text, dir, now) {
            let first = faults.first().map(ToString::to_string).unwrap_or_default();
            let said = format!("the new configuration would be refused: {first}");
            return fail(Exit::Config, said);
        }
    }
    Ok(())
}

/// Makes everything, and says what is new.
fn write(plan: &InitPlan, unit_user: Option<Owner>, tenant: &str) -> Result<()> {
    let is_wanted = |entry: &&PlannedEntry| match entry.content {
        EntryContent::DropIn(_) => entry.path.symlink_metadata().is_err(),
        _ => true,
    };
    let entries = plan.entries.iter().filter(is_wanted).map(|entry| NewEntry {
        path: entry.path.clone(),
        kind: match &entry.content {
            EntryContent::Folder => NewKind::Folder,
            EntryContent::Link(to) => NewKind::Link(to.into()),
            EntryContent::Config(text) => NewKind::File(text.clone().into_bytes()),
            EntryContent::DropIn(text) => NewKind::File(text.as_bytes().to_owned()),
            EntryContent::Secret(text) => NewKind::File(format!("{text}\n").into_bytes()),
            EntryContent::CopyOf(_, bytes) => NewKind::File(bytes.to_vec()),
        },
        mode: entry.mode,
        owner: entry.owner.resolve(unit_user),
    });
    let entries: Vec<NewEntry> = entries.collect();
    let made = new_files::make_all(&entries)?;
    let new = plan
        .entries
        .iter()
        .filter(|entry| made.contains(&entry.path));
    let lines = new.map(|entry| format!("made {}\n", entry.shown(tenant)));
    output::answer(&lines.collect::<String>())
}

/// What would be written.
fn contents(plan: &InitPlan, tenant: &str) -> String {
    let mut text = String::new();
    for entry in &plan.entries {
        text += &format!("==> {}\n", entry.shown(tenant));
        text += &match &entry.content {
            EntryContent::Folder | EntryContent::Link(_) => String::new(),
            EntryContent::Config(text) => format!("{text}\n"),
            EntryContent::DropIn(text) => format!("{text}\n"),
            EntryContent::Secret(_) => "(a secret)\n".to_owned(),
            EntryContent::CopyOf(source, _) => format!("(a copy of {})\n", source.display()),
        };
    }
    text
}

/// Runs the commands, if systemd is there, up to one that fails, whose status it returns.
fn run_all(commands: &[Vec<String>]) -> Result<u8> {
    // what sd_booted(3) looks for
    if !Path::new("/run/systemd/system").is_dir() {
        log::warn!("systemd does not run here, so that no timer was enabled");
        return Ok(Exit::Ok as u8);
    }
    for command in commands {
        let line = shell_line(command);
        output::tell(&format!("running {line}"));
        let Some((program, words)) = command.split_first() else {
            continue;
        };
        let status = Command::new(program).args(words).status();
        let status = status
            .with_context(|| format!("starting {program}"))
            .exit(Exit::Unavailable)?;
        if !status.success() {
            let said = format!("{line}: ended with {status}, so that no timer was enabled");
            log::error!("{said}");
            output::tell(
                "hint: put right what it says, then run the commands above from this one on",
            );
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            return Ok(code.unwrap_or(Exit::Software as u8));
        }
    }
    Ok(Exit::Ok as u8)
}
