//! `run_all` makes one run of each service that the command line names, one after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::args::{Common, RunArgs};
use super::folders::exposed_folders;
use super::run::{RunContext, run};
use super::select::selected;
use super::{parse, state_dir, text};
use crate::clock::Clock;
use crate::error::{Because, Exit, Failure, Result};
use crate::output::{self, Report};
use crate::service::Service;
use crate::shutdown::Shutdown;

/// Runs each service, whatever becomes of the others, and gives the worst of their statuses.
///
/// # Errors
/// When nothing can be run at all, or the only service fails.
pub(super) fn run_all(
    args: &RunArgs,
    common: &Common,
    report: &Report,
    clock: Clock,
) -> Result<Exit> {
    let shutdown = Shutdown::on_signals()
        .context("listening for signals")
        .exit(Exit::Software)?;
    // read once, since it may come from a pipe
    let text = text(common)?;
    let mut config = parse(&text, report, clock.now())?;
    let services = selected(&args.services, &config)?;
    for folder in exposed_folders(&config, &text.path, &state_dir(common, &config)) {
        log::warn!("{}; {}", folder.said, folder.remedy);
    }
    let context = RunContext {
        args,
        common,
        report,
        shutdown: &shutdown,
        clock,
    };
    if let [only] = services[..] {
        return run(only, &mut config, context);
    }
    let run = |service: &'static Service| {
        if args.dry_run {
            output::answer(&format!("{}:\n", service.name))?;
        }
        run(service, &mut parse(&text, report, clock.now())?, context)
    };
    let is_over = || shutdown.reason().is_some();
    Ok(each(&services, is_over, run, |failure| {
        report.error(failure);
    }))
}

/// Runs each service until a signal arrives, says why one failed, and gives the worst status.
fn each(
    services: &[&'static Service],
    is_over: impl Fn() -> bool,
    run: impl Fn(&'static Service) -> Result<Exit>,
    say: impl Fn(&Failure),
) -> Exit {
    let mut worst = Exit::Ok;
    for (at, service) in services.iter().enumerate() {
        if is_over() {
            let left: Vec<&str> = services[at..].iter().map(|service| service.name).collect();
            log::info!("stopped by a signal; not run: {}", left.join(", "));
            break;
        }
        let exit = match catch_unwind(AssertUnwindSafe(|| run(service))) {
            Ok(Ok(exit)) => exit,
            Ok(Err(failure)) => {
                let failure = failure.context(service.name);
                say(&failure);
                failure.exit()
            }
            // whoever panics has said it
            Err(_) => Exit::Software,
        };
        worst = worst.worse(exit);
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::SERVICES;
    use std::cell::{Cell, RefCell};

    fn failed(exit: Exit) -> Result<Exit> {
        Err(Failure::new("it failed").with_exit(exit))
    }

    #[test]
    fn a_service_that_fails_keeps_no_other_from_its_run_and_the_worst_status_counts() {
        type Case = (fn(usize) -> Result<Exit>, Exit, &'static [&'static str]);
        let cases: [Case; 5] = [
            (|_| Ok(Exit::Ok), Exit::Ok, &[]),
            (
                |at| match at {
                    0 => failed(Exit::Unavailable),
                    1 => failed(Exit::TempFail),
                    _ => Ok(Exit::Ok),
                },
                Exit::Unavailable,
                &[
                    "tap-clicks-blocked: it failed",
                    "tap-clicks-permitted: it failed",
                ],
            ),
            (
                |at| Ok(if at == 1 { Exit::Gap } else { Exit::TempFail }),
                Exit::Gap,
                &[],
            ),
            (
                |at| match at {
                    2 => failed(Exit::NoPerm),
                    _ => Ok(Exit::Gap),
                },
                Exit::NoPerm,
                &["tap-messages-blocked: it failed"],
            ),
            (
                |at| match at {
                    0 => panic!("a bug"),
                    _ => failed(Exit::Config),
                },
                Exit::Software,
                &[
                    "tap-clicks-permitted: it failed",
                    "tap-messages-blocked: it failed",
                ],
            ),
        ];
        for (number, (run, worst, errors)) in cases.into_iter().enumerate() {
            let services: Vec<&Service> = SERVICES.iter().take(3).collect();
            let (runs, said) = (Cell::new(0), RefCell::new(Vec::new()));
            let exit = each(
                &services,
                || false,
                |service| {
                    assert_eq!(service.name, services[runs.get()].name);
                    runs.set(runs.get() + 1);
                    run(runs.get() - 1)
                },
                |failure| said.borrow_mut().push(failure.to_string()),
            );
            assert_eq!((exit, runs.get()), (worst, 3), "case {number}");
            assert_eq!(*said.borrow(), errors, "case {number}");
        }
    }

    #[test]
    fn after_a_signal_no_further_service_is_run() {
        let services: Vec<&Service> = SERVICES.iter().take(3).collect();
        let runs = Cell::new(0);
        let exit = each(
            &services,
            || runs.get() == 2,
            |_| {
                runs.set(runs.get() + 1);
                Ok(Exit::Ok)
            },
            |_| {},
        );
        assert_eq!((exit, runs.get()), (Exit::Ok, 2));
    }
}
