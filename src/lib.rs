//! proofpull collects Proofpoint logs, completely and without doubles, and delivers them to Devo
//! with confirmation.
//!
//! `proofpull run SERVICE` takes the service's lock, loads its state, asks one [`source`] for
//! batches, hands each event to the [`sink`], confirms, makes the batch's position durable, and goes
//! on until the source has nothing more or a limit is reached. Nothing runs in the background: no
//! async, no thread that outlives a call. The program may be killed at any instruction; the next
//! run goes on without a hole and with at most one unconfirmed border repeated.
//!
//! # Floors
//!
//! A module uses lower floors, and its own floor only where the list has the other one before it.
//!
//! ```text
//! 0  exit  clock  stop  service  window  quota  second_look  event  digest  json_stream  treat  config
//! 1  files  secret  connect
//! 2  http  websocket  state  sink  report  metrics
//! 3  source
//! 4  cycle
//! 5  command  cli
//! ```
//!
//! # Invariants
//!
//! - A source sees no state file, no sink, no lock, no process exit.
//! - The cycle names no service and opens nothing.
//! - Floor 0 does no IO (`stop` registers for signals); the wall clock is read in `clock` alone and
//!   handed down as a value.
//! - One place prints (`report`; events go out in `sink::stdout`); nothing but `main` ends the process.
//! - An outside crate is named in one file or folder.
//!
//! `tests/tidy.rs` holds floors and invariants. ARCHITECTURE.md says why things are so.

pub mod clock;
pub mod command;
pub mod config;
pub mod connect;
pub mod cycle;
pub mod digest;
pub mod event;
pub mod exit;
pub mod files;
pub mod http;
pub mod json_stream;
pub mod metrics;
pub mod quota;
pub mod report;
pub mod second_look;
pub mod secret;
pub mod service;
pub mod sink;
pub mod source;
pub mod state;
pub mod stop;
pub mod treat;
pub mod websocket;
pub mod window;

pub mod cli;

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::process::ExitCode;

use clap::Parser;

use cli::Cli;
use exit::{Exit, of_panic};

/// The whole program: arguments in, status out.
#[must_use]
pub fn main() -> ExitCode {
    set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        report::early(&format!(
            "this is a bug, please report it: {} at {place}",
            of_panic(panic.payload())
        ));
    }));
    let exit = catch_unwind(AssertUnwindSafe(|| match Cli::try_parse() {
        Ok(cli) => command::dispatch(&cli),
        Err(error) => {
            report::usage(&error);
            if error.use_stderr() {
                Exit::Usage as u8
            } else {
                Exit::Ok as u8
            }
        }
    }));
    ExitCode::from(exit.unwrap_or(Exit::Software as u8))
}
