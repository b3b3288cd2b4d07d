//! `RunPaths` names the files of a run; its locks and its ledger are among them.

use std::path::{Path, PathBuf};

use super::args::RunArgs;
use crate::clock::{Clock, utc};
use crate::config::file::Config;
use crate::error::Result;
use crate::files::{self, Lock, Taken};
use crate::quota::RESERVE;
use crate::service::Service;
use crate::shutdown::Shutdown;
use crate::state::StateError;
use crate::state::ledger::LedgerFile;

/// The files of a run.
#[derive(Debug)]
pub(super) struct RunPaths {
    pub(super) dir: PathBuf,
    pub(super) service: &'static Service,
    /// What their names begin with.
    name: String,
    /// The timer's state beside, when this is a backfill.
    pub(super) timer: PathBuf,
    pub(super) is_backfill: bool,
}

impl RunPaths {
    pub(super) fn new(dir: &Path, service: &'static Service, args: &RunArgs) -> RunPaths {
        let sink = match (args.stdout, &args.consumer) {
            (false, _) => String::new(),
            (true, None) => ".stdout".to_owned(),
            (true, Some(consumer)) => format!(".stdout-{consumer}"),
        };
        let mut name = format!("{}{sink}", service.name);
        let timer = dir.join(format!("{name}.json"));
        let is_backfill = args.start_time.is_some();
        if is_backfill {
            name += ".backfill";
        }
        RunPaths {
            dir: dir.to_owned(),
            service,
            name,
            timer,
            is_backfill,
        }
    }

    pub(super) fn file(&self, extension: &str) -> PathBuf {
        self.dir.join(format!("{}.{extension}", self.name))
    }
}

/// Takes a lock of the run, or says who has it.
pub(super) fn lock(
    path: &Path,
    service: &Service,
    args: &RunArgs,
    shutdown: &Shutdown,
    clock: Clock,
) -> Result<Lock, StateError> {
    let holder = format!("pid {}, started {}", std::process::id(), utc(clock.now()));
    let taken = files::lock(path, &holder, args.wait_lock, shutdown);
    let service = service.name;
    match taken.map_err(StateError::Unwritable)? {
        Taken::Ours(lock) => Ok(lock),
        Taken::Held(holder) => Err(StateError::Running { service, holder }),
    }
}

/// Where requests are booked; a backfill leaves some to the timer's runs.
pub(super) fn ledger(paths: &RunPaths, config: &Config, shutdown: &Shutdown) -> Result<LedgerFile> {
    let ledger = super::ledger(&paths.dir, paths.service, config, shutdown)?;
    let held_back = if paths.is_backfill { RESERVE } else { 0 };
    Ok(ledger.holding_back(held_back))
}
