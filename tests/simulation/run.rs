//! Lets a scenario happen, and asks the oracle what it says.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proofpull::cli::SimulatedRun;
use proofpull::world::World;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Rng;
use super::demand::{History, Run as Done};
use super::event::serial;
use super::http::Fault;
use super::oracle::{Copy, Violation, judge_events, judge_time};
use super::scenario::{BEGIN, Run, Scenario, Trouble};
use super::services::{MAX_DURATION, PORT, Setup};
use super::world::{Death, Simulated, Troubles};

/// Good runs after the last one that may go wrong, and how far they are apart.
const TO_HEAL: usize = 3;
const APART: Duration = Duration::from_secs(40 * 60);
/// How far back the first run begins, where that is configured.
const BEFORE: time::Duration = time::Duration::hours(2);
/// Then one more, for the recheck.
const RECHECK: Duration = Duration::from_secs(14 * 3600);

/// The edge of what a service keeps moves while a run works, and the program leaves some headroom.
const SLACK: time::Duration = time::Duration::hours(3);

/// The states of a disk after a crash that are not chosen by chance: everything is there, or nothing that was not
/// synced.
const KEPT: u64 = 0;
const LOST: u64 = 1;

/// What a simulation came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Runs of the program.
    pub runs: usize,
    /// Copies of events that the receiver kept.
    pub copies: usize,
    /// Operations of the first two runs.
    pub operations: Vec<u64>,
}

/// What must not be, and what happened before.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What it was.
    pub violation: Violation,
    /// Each run with its end.
    pub trace: Vec<String>,
}

/// Lets a scenario happen.
///
/// # Errors
/// With what the oracle objects to.
pub fn simulate(scenario: &Scenario) -> Result<Outcome, Failure> {
    let mut simulation = Simulation::new(scenario);
    let judged = simulation.all(scenario);
    PROGRAMS.with_borrow_mut(|programs| programs.insert(simulation.made_from, simulation.program));
    match judged {
        Ok(()) => Ok(Outcome {
            runs: simulation.runs.len(),
            copies: simulation.world.received(|received| received.lines.len()),
            operations: simulation.operations,
        }),
        Err(violation) => Err(Failure {
            violation,
            trace: simulation.trace,
        }),
    }
}

/// The simplest scenario that still fails in the same way, and its failure.
pub fn shrink(scenario: &Scenario, failure: &Failure) -> (Scenario, Failure) {
    let kind = std::mem::discriminant(&failure.violation);
    let mut found = (scenario.clone(), failure.clone());
    loop {
        let simpler = found.0.simpler().into_iter().find_map(|simpler| {
            let failure = simulate(&simpler).err()?;
            let is_same = std::mem::discriminant(&failure.violation) == kind;
            is_same.then_some((simpler, failure))
        });
        match simpler {
            Some(simpler) => found = simpler,
            None => return found,
        }
    }
}

/// Lets the machine crash at every operation of a first and of a second run, with each of these states of its
/// disk. Returns how many crashes that are.
///
/// # Errors
/// With the first scenario that the oracle objects to.
pub fn crash_everywhere(
    service: &'static str,
    seed: u64,
    states: &[u64],
) -> Result<usize, (Box<Scenario>, Failure)> {
    let run = |troubles| Run {
        after: Duration::from_secs(3_600),
        troubles,
    };
    let scenario = |runs| Scenario {
        seed,
        service,
        link: Duration::from_millis(1),
        most_unconfirmed: Some(3_000),
        is_varied: false,
        rechecks: false,
        runs,
    };
    let undisturbed = scenario(vec![run(Vec::new()), run(Vec::new())]);
    let outcome = simulate(&undisturbed);
    let outcome = outcome.map_err(|failure| (Box::new(undisturbed), failure))?;
    let mut crashes = 0;
    for (number, operations) in outcome.operations.iter().take(2).enumerate() {
        for at in 1..=*operations {
            for &state in states {
                let mut runs = vec![run(Vec::new()); number];
                runs.push(run(vec![Trouble::Crash { at, state }]));
                let crash = scenario(runs);
                simulate(&crash).map_err(|failure| (Box::new(crash), failure))?;
                crashes += 1;
            }
        }
    }
    Ok(crashes)
}

/// Which events of a connection may come again.
#[derive(Debug, Clone, Copy)]
enum Excuse {
    None,
    All,
    /// All but those that the position has passed from one time to another.
    Unsaved(OffsetDateTime, OffsetDateTime),
}

thread_local! {
    /// Programs by their words and configuration: to read those takes as long as a run.
    static PROGRAMS: RefCell<HashMap<(String, String), SimulatedRun>> = RefCell::default();
}

struct Simulation {
    world: Arc<Simulated>,
    setup: Setup,
    program: SimulatedRun,
    /// What the program is made from.
    made_from: (String, String),
    service: &'static str,
    /// Where the program began to read.
    since: Option<OffsetDateTime>,
    runs: Vec<Done>,
    /// For each connection of the receiver, which of its events may come again.
    excused: Vec<Excuse>,
    /// How far our clock was ahead of the service's at most while an answer did not tell its time.
    untold: time::Duration,
    /// The position on the disk, whether it is durable or not.
    on_disk: Option<OffsetDateTime>,
    position: Option<OffsetDateTime>,
    /// The gaps that the program has named, and whether a run has ended with that status.
    gaps: Vec<(OffsetDateTime, OffsetDateTime, bool)>,
    operations: Vec<u64>,
    trace: Vec<String>,
}

impl Simulation {
    fn new(scenario: &Scenario) -> Simulation {
        let mut rng = Rng::new(scenario.seed);
        let start = (BEGIN - BEFORE).replace_nanosecond(0).unwrap_or(BEGIN);
        let lasts: Duration = scenario.runs.iter().map(|run| run.after).sum();
        let end = BEGIN + lasts + APART * TO_HEAL as u32;
        let setup = Setup::new(scenario.service, scenario.is_varied, &mut rng, (start, end));
        let most = scenario.most_unconfirmed.map(|bytes| bytes.to_string());
        let mut words = vec!["run", scenario.service];
        words.extend(most.iter().flat_map(|most| ["--most-unconfirmed", most]));
        let made_from = (words.join(" "), setup.configuration.clone());
        let known = PROGRAMS.with_borrow_mut(|programs| programs.remove(&made_from));
        let program = known.unwrap_or_else(|| {
            let program = SimulatedRun::new(&words, &setup.configuration, BEGIN);
            program.expect("the configuration is right")
        });
        Simulation {
            world: Simulated::new(BEGIN, scenario.link, (PORT, setup.model.api())),
            since: setup.start,
            setup,
            program,
            made_from,
            service: scenario.service,
            runs: Vec::new(),
            excused: Vec::new(),
            untold: time::Duration::ZERO,
            on_disk: None,
            position: None,
            gaps: Vec::new(),
            operations: Vec::new(),
            trace: Vec::new(),
        }
    }

    fn all(&mut self, scenario: &Scenario) -> Result<(), Violation> {
        for run in &scenario.runs {
            self.run(run)?;
        }
        for _ in 0..TO_HEAL {
            self.run(&Run {
                after: APART,
                troubles: Vec::new(),
            })?;
        }
        if scenario.rechecks {
            // the recheck would find what was lost before
            self.judge()?;
            self.run(&Run {
                after: RECHECK,
                troubles: Vec::new(),
            })?;
        }
        self.judge()
    }

    fn run(&mut self, run: &Run) -> Result<(), Violation> {
        self.world.pass(run.after);
        let mut troubles = Troubles::default();
        let mut state = 0;
        for trouble in &run.troubles {
            match trouble.clone() {
                Trouble::Answer(number, fault) => {
                    if matches!(fault, Fault::CutBody(_)) {
                        self.setup.model.note_unclear_end();
                    }
                    troubles.answers.insert(number, fault);
                }
                Trouble::Connection(number, what) => {
                    troubles.connections.insert(number, what);
                }
                Trouble::Disk(number, fault) => drop(troubles.disk.insert(number, fault)),
                Trouble::Crash { at, state: chosen } => {
                    troubles.death = Some((at, Death::Crash));
                    state = chosen;
                }
                Trouble::Kill(at) => troubles.death = Some((at, Death::Kill)),
                Trouble::Terminate(at) => troubles.terminate = Some(at),
                Trouble::OurClock(by) => troubles.clocks.0 = by,
                Trouble::ItsClock(by) => troubles.clocks.1 = by,
            }
        }
        // what begins at the present begins where our clock says that it is
        if self.since.is_none() {
            troubles.clocks.0 = time::Duration::ZERO;
        }
        let clocks = troubles.clocks;
        let mut faults = troubles.answers.values();
        if faults.any(|fault| matches!(fault, Fault::NoDate)) {
            self.untold = self.untold.max(clocks.0 - clocks.1);
        }
        let first = self.excused.len();
        let began = self.world.now();
        let shutdown = self.world.begin(troubles);
        let world: Arc<dyn World> = Arc::clone(&self.world) as Arc<dyn World>;
        let end = self.program.start(&world, &shutdown);
        let ended = self.world.now();
        let took = Duration::try_from(ended - began).unwrap_or_default();
        let death = self.world.death();
        self.operations.push(self.world.operations());
        if death == Some(Death::Crash) {
            let mut rng = Rng::new(state);
            self.world.crash(&mut |count| match state {
                KEPT => 0,
                LOST => 1,
                _ => rng.below(count),
            });
        }
        let said = match death {
            Some(death) => format!("{death:?}"),
            None => format!("status {} {}", end.status, end.said),
        };
        let number = self.runs.len();
        self.trace.push(format!(
            "run {number} at {}, {} operations, {took:?}: {said}",
            proofpull::clock::utc(began),
            self.world.operations()
        ));
        let is_over = death.is_some() || shutdown_was_raised(&run.troubles);
        // where requests are few, one that tells of a gap may have ended by them
        let is_well = end.status == 0 || end.status == 3 && !self.setup.has_few_requests;
        let is_good = !is_over && is_well && took < MAX_DURATION;
        self.runs.push(Done {
            began: began + clocks.1,
            ended: ended + clocks.1,
            behind: clocks.1 - clocks.0,
            is_good,
            is_calm: run.troubles.is_empty(),
        });
        let before = self.on_disk;
        if death.is_none() {
            judge_time(took, MAX_DURATION)?;
            // 75 waits for what a service has refused for a time; a job of Isolation may fail by itself
            if end.status == 70 || run.troubles.is_empty() && !matches!(end.status, 0 | 3 | 69 | 75)
            {
                return Err(Violation::Ended(end.status, end.said));
            }
        }
        self.look_at_the_state(death.is_none().then_some(end.status))?;
        self.excuse(first, is_good, before);
        Ok(())
    }

    /// Notes what of this run may be sent again: what is in connections without a proper goodbye, and in the last one
    /// with events of a run that failed, whose confirmation may not have been saved. But where the position on the
    /// disk has passed an event, its identity must be there, too.
    fn excuse(&mut self, first: usize, is_good: bool, before: Option<OffsetDateTime>) {
        let (confirmed, last) = self.world.received(|received| {
            let last = received.lines.last().map(|line| line.connection);
            (received.confirmed.clone(), last)
        });
        let confirmed = confirmed[first..].iter();
        self.excused
            .extend(confirmed.map(|confirmed| match confirmed {
                true => Excuse::None,
                false => Excuse::All,
            }));
        let last = last.filter(|last| *last >= first && !is_good);
        if let Some(last) = last.filter(|last| matches!(self.excused[*last], Excuse::None)) {
            let before = before.unwrap_or(OffsetDateTime::UNIX_EPOCH);
            self.excused[last] = Excuse::Unsaved(before, self.on_disk.unwrap_or(before));
        }
    }

    fn is_excused(&self, connection: usize, serial: u64) -> bool {
        match self.excused[connection] {
            Excuse::None => false,
            Excuse::All => true,
            Excuse::Unsaved(before, after) => {
                let at = self.setup.model.passed_at(serial);
                at.is_none_or(|at| !(before..after).contains(&at))
            }
        }
    }

    /// The position never goes back, and gaps are kept; those that the run has told of, it ended with their status,
    /// if it did not die.
    fn look_at_the_state(&mut self, status: Option<u8>) -> Result<(), Violation> {
        let path = format!("/state/{}.json", self.service);
        let Some(bytes) = self.world.content(Path::new(&path)) else {
            return Ok(());
        };
        // what is torn is refused by the program, or has been
        let Ok(state) = serde_json::from_slice::<Value>(&bytes) else {
            return Ok(());
        };
        let time = |value: &Value| OffsetDateTime::parse(value.as_str()?, &Rfc3339).ok();
        let until = time(&state["checkpoint"]["until"]);
        self.on_disk = until.or(self.on_disk);
        // a start that is counted from the present is where the first state says that it is
        let began = self.runs.last().map(|run| run.began);
        self.since = self.since.or(began.max(until));
        if let (Some(before), Some(until)) = (self.position, until)
            && until < before
        {
            return Err(Violation::WentBack(before, until));
        }
        if let (Some(line), Some(until)) = (self.trace.last_mut(), until) {
            *line += &format!(", position {}", proofpull::clock::utc(until));
        }
        // what a run could not sync may go back with the next crash, and a start that was counted from the present
        // is corrected by the clock of the service, as long as nothing was read
        let is_durable = status.is_some_and(|status| status != 73);
        if is_durable && state["begun"].is_null() {
            self.position = until.or(self.position);
        }
        let gaps = state["gaps"].as_array().into_iter().flatten();
        let gaps = gaps.filter_map(|gap| {
            let is_said = gap["said"].as_bool()?;
            Some((time(&gap["from"])?, time(&gap["to"])?, is_said))
        });
        let gaps: Vec<_> = gaps.collect();
        let kept_from = self.runs.last().map(|run| run.ended - self.setup.keep);
        for (from, to, _) in gaps.iter().skip(self.gaps.len()) {
            if kept_from.is_some_and(|kept_from| *to > kept_from + SLACK) {
                return Err(Violation::UntrueGap(*from, *to));
            }
        }
        let were_said = self.gaps.iter().map(|gap| gap.2);
        let were_said = were_said.chain(std::iter::repeat(false));
        for ((from, to, is_said), was_said) in gaps.iter().zip(were_said) {
            if *is_said && !was_said && status == Some(0) {
                return Err(Violation::SilentGap(*from, *to));
            }
        }
        self.gaps = gaps;
        Ok(())
    }

    fn judge(&self) -> Result<(), Violation> {
        let history = History {
            // without a state nothing was delivered
            since: self.since.unwrap_or(BEGIN + time::Duration::days(3_650)),
            earliest: self.setup.start,
            runs: &self.runs,
            look_back: self.setup.look_back,
            recheck_after: Some(time::Duration::hours(12)),
            untold: self.untold,
        };
        let expected = self.setup.model.expected(&history);
        let mut copies = Vec::new();
        let invented = self.world.received(|received| {
            for line in &received.lines {
                match serial(&line.line) {
                    Some(serial) => copies.push(Copy {
                        serial,
                        is_excused: self.is_excused(line.connection, serial),
                    }),
                    None => return Some(String::from_utf8_lossy(&line.line).into_owned()),
                }
            }
            None
        });
        if let Some(line) = invented {
            return Err(Violation::Invented(line));
        }
        judge_events(&expected, &copies, |serial| {
            let created = self.setup.model.created(serial);
            let mut gaps = self.gaps.iter();
            created.is_some_and(|at| gaps.any(|(from, to, _)| (*from..*to).contains(&at)))
        })?;
        if let Some((from, to, _)) = self.gaps.iter().find(|(.., is_said)| !is_said) {
            return Err(Violation::SilentGap(*from, *to));
        }
        match self.setup.model.exceeded() {
            0 => Ok(()),
            exceeded => Err(Violation::QuotaExceeded(exceeded)),
        }
    }
}

fn shutdown_was_raised(troubles: &[Trouble]) -> bool {
    troubles
        .iter()
        .any(|trouble| matches!(trouble, Trouble::Terminate(_)))
}
