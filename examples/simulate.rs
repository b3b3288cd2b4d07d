//! The whole program in a simulated world, where anything may go wrong at any step: nothing is lost, and no
//! more comes twice than was unconfirmed.
//!
//! `cargo run --release --example simulate -- --seed 1 --runs 100000`

#[path = "../tests/simulation/mod.rs"]
mod simulation;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use simulation::{Failure, SERVICES, Scenario, crash_everywhere, shrink, simulate};

/// Simulates runs of the program with faults of peers, disks and clocks, and says what they break.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Args {
    /// The first seed; the ones after it follow
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs of the program, about
    #[arg(long, default_value_t = 20_000)]
    runs: usize,
    /// The service to collect; all of them in turn by default
    #[arg(long, value_name = "SERVICE", value_parser = clap::builder::PossibleValuesParser::new(SERVICES))]
    service: Option<String>,
    /// Only this one seed
    #[arg(long)]
    once: bool,
    /// Crash at every operation of a first and of a second run instead, with so many states of the disk
    #[arg(long, value_name = "STATES")]
    crashes: Option<u64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let services: Vec<&'static str> = SERVICES
        .iter()
        .copied()
        .filter(|service| args.service.as_ref().is_none_or(|wanted| wanted == service))
        .collect();
    if let Some(states) = args.crashes {
        return crash(&services, args.seed, states);
    }
    let started = Instant::now();
    let (mut runs, mut simulations, mut copies, mut seed) = (0, 0, 0, args.seed);
    while runs < args.runs {
        for service in &services {
            let scenario = Scenario::new(seed, service);
            match simulate(&scenario) {
                Ok(outcome) => {
                    runs += outcome.runs;
                    copies += outcome.copies;
                }
                Err(failure) => {
                    println!("after {runs} runs: {}", failure.violation);
                    let (scenario, failure) = shrink(&scenario, &failure);
                    show(&scenario, &failure);
                    println!("repeat it: --seed {seed} --service {service} --once");
                    return ExitCode::FAILURE;
                }
            }
            simulations += 1;
        }
        seed += 1;
        if args.once {
            break;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{runs} runs in {simulations} simulations, {copies} events delivered; {seconds:.1} s, {:.0} runs a second",
        runs as f64 / seconds
    );
    println!("lost 0, doubled 0 beyond what was unconfirmed");
    ExitCode::SUCCESS
}

/// Crashes everywhere.
fn crash(services: &[&'static str], seed: u64, states: u64) -> ExitCode {
    let states: Vec<u64> = (0..states).collect();
    for service in services {
        match crash_everywhere(service, seed, &states) {
            Ok(crashes) => println!("{service}: {crashes} crashes, lost 0"),
            Err((scenario, failure)) => {
                show(&scenario, &failure);
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn show(scenario: &Scenario, failure: &Failure) {
    println!("{scenario}\n{}", failure.trace.join("\n"));
    println!("{}", failure.violation);
}
