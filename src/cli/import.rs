//! `import` reads a Devo collector's files, writes what was planned, checks it, and says what comes next.

use std::fmt::Write as _;
use std::path::Path;

use super::{all_but_last, check};
use crate::cli::args::{CheckArgs, Common, ImportArgs};
use crate::clock::Clock;
use crate::error::{Because, Exit, Result, fail};
use crate::files;
use crate::import::{CollectorFile, Given, Plan, PlannedContent, PlannedFile, plan, write};
use crate::output::{self, Report, table};

pub(super) fn import(
    args: &ImportArgs,
    common: &Common,
    report: &Report,
    clock: Clock,
) -> Result<Exit> {
    let reading = || format!("reading {}", args.file.display());
    let hint = "name the config.yaml or the JSON of a Devo collector for Proofpoint";
    let (_, bytes) = files::read_named(&args.file)
        .with_context(reading)
        .exit(Exit::Config)
        .hint(hint)?;
    let text = String::from_utf8(bytes)
        .with_context(reading)
        .exit(Exit::Config)
        .hint(hint)?;
    let absolute = |path: &Path| std::path::absolute(path).exit(Exit::Config);
    let (file, into) = (absolute(&args.file)?, absolute(&args.into)?);
    let state = args.state.as_deref().map(read_state).transpose()?;
    let given = Given {
        text: &text,
        base: file.parent().unwrap_or(Path::new("/")),
        into: &into,
        state: state.as_deref(),
        now: clock.now(),
    };
    let plan = plan(&given).map_err(|faults| all_but_last(faults, &args.file, report))?;
    output::answer(&told(&plan))?;
    for warning in &plan.warnings {
        log::warn!("{warning}");
    }
    if args.dry_run {
        output::answer(&contents(&plan, &into))?;
        return Ok(Exit::Ok);
    }
    let written = write(&plan.files, &into)?;
    let written: String = written
        .iter()
        .map(|path| format!("wrote {}\n", path.display()))
        .collect();
    output::answer(&format!("\n{written}\n"))?;
    let config = into.join("config.toml");
    let common = Common {
        config: Some(config.clone()),
        ..common.clone()
    };
    let exit = check::check(&CheckArgs::default(), &common, report, clock)?;
    output::answer(&next(&plan, &into, &config))?;
    Ok(exit)
}

/// Reads every file of a folder; one that cannot be read is named later.
fn read_state(dir: &Path) -> Result<Vec<CollectorFile>> {
    /// A collector has a few for each service.
    const MOST: usize = 1_000;
    let reading = || format!("reading the state {}", dir.display());
    let entries = std::fs::read_dir(dir)
        .with_context(reading)
        .exit(Exit::Config)?;
    let mut state = Vec::new();
    for entry in entries {
        let path = entry.with_context(reading).exit(Exit::Config)?.path();
        let name = path.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        // such as .gitkeep
        if name.starts_with('.') {
            continue;
        }
        if state.len() == MOST {
            let said = format!("{} has more than {MOST} files", dir.display());
            return fail(Exit::Config, said)
                .hint("name the folder state of the collector with --state");
        }
        let bytes = match files::read(&path) {
            Ok(bytes) => bytes.ok_or_else(|| "it is not there any more".to_owned()),
            Err(error) => Err(crate::error::Failure::from(error).to_string()),
        };
        state.push(CollectorFile { name, bytes });
    }
    state.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(state)
}

/// The table of settings, and what may come twice.
fn told(plan: &Plan) -> String {
    let header = ["SETTING", "KEY", "VALUE"].map(str::to_owned).to_vec();
    let rows = plan.rows.iter().map(|row| {
        let ours = if row.ours.is_empty() { "-" } else { &row.ours };
        vec![row.theirs.clone(), ours.to_owned(), row.value.clone()]
    });
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let mut text = table(&rows) + "\n";
    for note in &plan.notes {
        let _ = writeln!(text, "{}", crate::human::one_line(note));
    }
    text
}

/// What would be written.
fn contents(plan: &Plan, into: &Path) -> String {
    let mut text = String::new();
    for PlannedFile { path, content } in &plan.files {
        let _ = writeln!(text, "\n==> {}", into.join(path).display());
        text += match content {
            PlannedContent::Text(content) => content,
            PlannedContent::Secret(_) => "(a secret)\n",
            PlannedContent::CopyOf(_) => "(a copy of the collector's)\n",
        };
    }
    text
}

/// The commands that come next.
fn next(plan: &Plan, into: &Path, config: &Path) -> String {
    let credentials = into.join("credentials");
    let (into, config) = (into.display(), config.display());
    let mut text = format!(
        "\nNext, for units of systemd that read {config}, once the collector is stopped:\n\
         chown -R root:proofpull {into}\n\
         chmod -R u=rwX,g=rX,o= {into}\n"
    );
    // those that systemd hands out are for root alone
    if credentials.is_dir() {
        let _ = writeln!(text, "chmod -R go= {}", credentials.display());
    }
    let _ = writeln!(
        text,
        "sudo -u proofpull proofpull check --online --config {config}"
    );
    let has_timers = plan
        .files
        .iter()
        .any(|file| file.path.starts_with("systemd"));
    if has_timers {
        let _ = writeln!(
            text,
            "cp -r {into}/systemd/. /etc/systemd/system/\nsystemctl daemon-reload"
        );
    }
    for service in &plan.services {
        let _ = writeln!(
            text,
            "systemctl enable --now proofpull@{}.timer",
            service.name
        );
    }
    text
}
