//! `SimulatedRun` makes runs of a service in the world of a simulation.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use clap::Parser;

use super::args::{Cli, Command, Common, RunArgs};
use super::run::{RunContext, run};
use super::select::selected;
use crate::clock::Clock;
use crate::config;
use crate::error::{Exit, Failure, Result, fail, of_panic};
use crate::output::Report;
use crate::shutdown::Shutdown;
use crate::world::{World, within};

/// `proofpull run` of one service with its arguments and its configuration.
#[derive(Debug)]
pub struct SimulatedRun {
    args: RunArgs,
    common: Common,
    config: String,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedEnd {
    /// The exit status of the program.
    pub status: u8,
    /// The error that it ends with; empty if there is none.
    pub said: String,
}

impl SimulatedRun {
    /// Reads the words that follow `proofpull`. `config` is the text of the configuration.
    ///
    /// # Errors
    /// What to say where the words are no run.
    pub fn new(words: &[&str], config: &str) -> std::result::Result<SimulatedRun, String> {
        let words = ["proofpull"].iter().chain(words);
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        match cli.command {
            Command::Run(args) => Ok(SimulatedRun {
                args,
                common: cli.common,
                config: config.to_owned(),
            }),
            _ => Err("only run can be simulated".to_owned()),
        }
    }

    /// Makes the run in this world, until it ends or `shutdown` is raised. Nothing is printed.
    #[must_use]
    pub fn start(&self, world: &Arc<dyn World>, shutdown: &Shutdown) -> SimulatedEnd {
        let ended = within(world, || {
            catch_unwind(AssertUnwindSafe(|| self.run(shutdown)))
                .unwrap_or_else(|panic| fail(Exit::Software, of_panic(panic.as_ref())))
        });
        match ended {
            Ok(exit) => SimulatedEnd {
                status: exit as u8,
                said: String::new(),
            },
            Err(failure) => SimulatedEnd {
                status: failure.exit() as u8,
                said: failure.to_string(),
            },
        }
    }

    fn run(&self, shutdown: &Shutdown) -> Result<Exit> {
        let clock = Clock::of_the_machine();
        let config = config::file::check(&self.config, Path::new("/"), clock.now());
        let config = config.map_err(|faults| {
            let faults = faults.iter().map(ToString::to_string);
            Failure::new(faults.collect::<Vec<_>>().join("; ")).with_exit(Exit::Config)
        })?;
        match selected(&self.args.services, &config)?[..] {
            [service] => run(
                service,
                config,
                RunContext {
                    args: &self.args,
                    common: &self.common,
                    report: &Report::silent(clock),
                    shutdown,
                    clock,
                },
            ),
            _ => fail(Exit::Usage, "a simulated run has one service"),
        }
    }
}
