//! proofpull collects Proofpoint logs completely and without duplicates, and delivers them to Devo
//! with confirmation.
//!
//! A service is a row of [`service`] that names an `Api`. The `Api` reads the keys of the service and
//! opens its [`source`]. `proofpull run SERVICE...` takes a service's lock, loads its state, asks the
//! source for batches, hands each event to the [`sink`], confirms, makes the batch's position durable,
//! and goes on until the source has nothing more or a limit is reached; then comes the next service.
//! There is no async. A thread does nothing but make one connection or one request, and touches no state;
//! one that is not answered by the end of the run is left behind. The program may be killed at any
//! instruction;
//! the next run goes on without a hole and with at most one unconfirmed commit repeated.
//!
//! Errors by which the program decides are types of their own. Each becomes an [`error::Failure`],
//! with its exit status and its hint, which ends the command.
//!
//! # Layers
//!
//! A module uses lower layers, and its own layer only where the list has the other one before it.
//!
//! ```text
//! 0  world  error  clock  human  shutdown  quota  pipeline::checkpoint  pipeline::batch  digest  json_stream  transform  config
//! 1  files  new_files  secret  net  net::http  net::websocket
//! 2  output  state  sink  output::prometheus  devo_query
//! 3  source  service  config::file
//! 4  pipeline::cycle  import
//! 5  cli
//! ```
//!
//! # Invariants
//!
//! - A source sees no state file, no sink, no lock, no process exit.
//! - The cycle names no service and opens nothing.
//! - Layer 0 does no IO (`shutdown` registers for signals); the wall clock is read in `clock` alone and
//!   handed down as a value.
//! - `clock`, `files` and `net` alone ask for the [`world`]: a simulation has its own.
//! - One place prints (`output`; events go out in `sink::stdout`); nothing but `main` ends the process.
//! - An outside crate is named in one file or folder.
//!
//! `tests/tidy.rs` holds layers and invariants. ARCHITECTURE.md and docs/design/ say why things are so.

pub mod cli;
pub mod clock;
pub mod config;
pub(crate) mod devo_query;
pub mod digest;
pub mod error;
pub(crate) mod files;
pub(crate) mod human;
pub mod import;
pub mod json_stream;
pub mod net;
pub(crate) mod new_files;
pub mod output;
pub mod pipeline;
pub mod quota;
pub(crate) mod secret;
pub mod service;
pub mod shutdown;
pub mod sink;
pub mod source;
pub mod state;
pub mod transform;
pub mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::process::ExitCode;

use clap::Parser;

use cli::args::Cli;
use error::{Exit, of_panic};

/// The whole program: arguments in, status out.
#[must_use]
pub fn main() -> ExitCode {
    set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        output::early(&format!(
            "this is a bug, please report it: {} at {place}",
            of_panic(panic.payload())
        ));
    }));
    let exit = catch_unwind(AssertUnwindSafe(|| match Cli::try_parse() {
        Ok(cli) => cli::dispatch(&cli),
        Err(error) => {
            output::usage(&error);
            if error.use_stderr() {
                Exit::Usage as u8
            } else {
                Exit::Ok as u8
            }
        }
    }));
    ExitCode::from(exit.unwrap_or(Exit::Software as u8))
}
