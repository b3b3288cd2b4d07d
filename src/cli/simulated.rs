//! `SimulatedRun` makes runs of a service in the world of a simulation.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use time::OffsetDateTime;

use super::args::{Cli, Command, Common, RunArgs};
use super::run::{RunContext, run};
use super::select::selected;
use crate::clock::Clock;
use crate::config::{self, file::Config};
use crate::error::{Exit, Result, fail, of_panic};
use crate::output::Report;
use crate::service::Service;
use crate::shutdown::Shutdown;
use crate::world::{World, within};

/// `proofpull run` of one service with its arguments and its configuration.
#[derive(Debug)]
pub struct SimulatedRun {
    args: RunArgs,
    common: Common,
    config: Config,
    service: &'static Service,
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
    /// Reads the words that follow `proofpull`, and the text of the configuration, at this time.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(
        words: &[&str],
        config: &str,
        now: OffsetDateTime,
    ) -> std::result::Result<SimulatedRun, String> {
        let words = ["proofpull"].iter().chain(words);
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        let Command::Run(args) = cli.command else {
            return Err("only run can be simulated".to_owned());
        };
        let config = config::file::check(config, Path::new("/"), now).map_err(|faults| {
            let faults = faults.iter().map(ToString::to_string);
            faults.collect::<Vec<_>>().join("; ")
        })?;
        let services = selected(&args.services, &config).map_err(|failure| failure.to_string())?;
        let [service] = services[..] else {
            return Err("a simulated run has one service".to_owned());
        };
        Ok(SimulatedRun {
            args,
            common: cli.common,
            config,
            service,
        })
    }

    /// Makes the run in this world, until it ends or `shutdown` is raised. Nothing is printed.
    #[must_use]
    pub fn start(&mut self, world: &Arc<dyn World>, shutdown: &Shutdown) -> SimulatedEnd {
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

    fn run(&mut self, shutdown: &Shutdown) -> Result<Exit> {
        let clock = Clock::of_the_machine();
        let context = RunContext {
            args: &self.args,
            common: &self.common,
            report: &Report::silent(clock),
            shutdown,
            clock,
        };
        run(self.service, &mut self.config, context)
    }
}
