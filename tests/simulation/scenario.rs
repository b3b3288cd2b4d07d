//! A scenario is what happens in one simulation: the runs of a service, and what goes wrong in each. It is a
//! value, made from a seed, so that it can be repeated and made shorter.

use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;

use super::Rng;
use super::disk::DiskFault;
use super::http::Fault;
use super::receiver::Behaviour;

/// When simulations begin.
pub const BEGIN: OffsetDateTime = time::macros::datetime!(2026-03-02 10:17:43 UTC);

const MINUTE: Duration = Duration::from_secs(60);

/// What happens in one simulation.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What it was made from; the events of the service follow from it, too.
    pub seed: u64,
    /// The service that is collected.
    pub service: &'static str,
    /// The round trip to both peers.
    pub link: Duration,
    /// The bytes of a transaction, where they are limited.
    pub most_unconfirmed: Option<u64>,
    /// Whether what is not certain of the service is chosen by chance.
    pub is_varied: bool,
    /// Whether the last run comes so late that old hours are read once more.
    pub rechecks: bool,
    /// The runs in which something may go wrong.
    pub runs: Vec<Run>,
}

/// One run of the program.
#[derive(Debug, Clone)]
pub struct Run {
    /// How long after the end of the one before it begins.
    pub after: Duration,
    /// What goes wrong.
    pub troubles: Vec<Trouble>,
}

/// Something that goes wrong in a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Trouble {
    /// With an answer of the service, by its number in the run.
    Answer(usize, Fault),
    /// With a connection of the receiver, by its number in the run.
    Connection(usize, Behaviour),
    /// With a call to the disk, by its number in the run.
    Disk(usize, DiskFault),
    /// The machine crashes at an operation, and one of the states that may be on its disk then is there.
    Crash {
        /// The number of the operation in the run.
        at: u64,
        /// Chooses the state.
        state: u64,
    },
    /// The program is killed at an operation. The disk keeps everything.
    Kill(u64),
    /// The program is told to stop at an operation.
    Terminate(u64),
    /// Our clock is so far ahead.
    OurClock(time::Duration),
    /// The clock of the service is so far ahead.
    ItsClock(time::Duration),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Answer(number, fault) => write!(f, "answer {number}: {fault:?}"),
            Trouble::Connection(number, what) => write!(f, "connection {number}: {what:?}"),
            Trouble::Disk(number, fault) => write!(f, "call {number} to the disk: {fault:?}"),
            Trouble::Crash { at, state } => {
                write!(f, "the machine crashes at operation {at} (state {state})")
            }
            Trouble::Kill(at) => write!(f, "the program is killed at operation {at}"),
            Trouble::Terminate(at) => write!(f, "SIGTERM at operation {at}"),
            Trouble::OurClock(by) => write!(f, "our clock is {by} ahead"),
            Trouble::ItsClock(by) => write!(f, "the service's clock is {by} ahead"),
        }
    }
}

impl Scenario {
    /// The scenario of a seed.
    pub fn new(seed: u64, service: &'static str) -> Scenario {
        let mut rng = Rng::new(seed ^ 0x5eed);
        // so many in a row come near the quota of a service that has a small one
        let (count, is_often) = match rng.chance(2) {
            true => (40, true),
            false => (1 + rng.below(4), false),
        };
        Scenario {
            seed,
            service,
            link: Duration::from_millis(*rng.pick(&[0, 1, 20, 100])),
            most_unconfirmed: rng
                .chance(60)
                .then(|| *rng.pick(&[300, 700, 1_500, 3_000, 6_000])),
            is_varied: true,
            rechecks: rng.chance(40),
            runs: (0..count)
                .map(|_| {
                    let run = run(&mut rng, service);
                    match is_often {
                        true => Run {
                            after: run.after.min(MINUTE),
                            ..run
                        },
                        false => run,
                    }
                })
                .collect(),
        }
    }

    /// How many things go wrong.
    pub fn size(&self) -> usize {
        let troubles = self.runs.iter().map(|run| run.troubles.len());
        self.runs.len() + troubles.sum::<usize>()
    }

    /// The same scenario without one of its runs or troubles, or with something simpler, in each way.
    pub fn simpler(&self) -> Vec<Scenario> {
        let mut all = Vec::new();
        for at in 0..self.runs.len() {
            let mut less = self.clone();
            less.runs.remove(at);
            all.push(less);
            for trouble in 0..self.runs[at].troubles.len() {
                let mut less = self.clone();
                less.runs[at].troubles.remove(trouble);
                all.push(less);
            }
        }
        if self.most_unconfirmed.is_some() {
            all.push(Scenario {
                most_unconfirmed: None,
                ..self.clone()
            });
        }
        if self.rechecks {
            all.push(Scenario {
                rechecks: false,
                ..self.clone()
            });
        }
        if !self.link.is_zero() {
            all.push(Scenario {
                link: Duration::ZERO,
                ..self.clone()
            });
        }
        all
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, seed {}", self.service, self.seed)?;
        if !self.link.is_zero() {
            write!(f, ", {:?} round trip", self.link)?;
        }
        if let Some(bytes) = self.most_unconfirmed {
            write!(f, ", --most-unconfirmed {bytes}")?;
        }
        for (number, run) in self.runs.iter().enumerate() {
            write!(f, "\n  run {number}, {:?} later", run.after)?;
            for trouble in &run.troubles {
                write!(f, "\n    {trouble}")?;
            }
        }
        Ok(())
    }
}

fn run(rng: &mut Rng, service: &str) -> Run {
    let after = match rng.below(200) {
        0..20 => Duration::from_secs(1),
        20..110 => Duration::from_secs(60 + rng.bits() % 600),
        110..190 => Duration::from_secs(3_600 + rng.bits() % 7_200),
        190..199 => Duration::from_secs(86_400 + rng.bits() % 86_400),
        // longer than TAP keeps anything
        _ => Duration::from_secs(8 * 86_400 + rng.bits() % 86_400),
    };
    let count = *rng.pick(&[0, 1, 1, 1, 2, 2, 4, 8]);
    let mut troubles: Vec<Trouble> = (0..count).map(|_| trouble(rng)).collect();
    // a run ends once, and one clock is wrong for all of it: nobody can tell where both are
    let (mut has_ended, mut is_wrong) = (false, false);
    troubles.retain(|trouble| match trouble {
        Trouble::Crash { .. } | Trouble::Kill(_) => !std::mem::replace(&mut has_ended, true),
        // what the log stream has said is what its clock has passed
        Trouble::ItsClock(_) if service.starts_with("pod") => false,
        Trouble::OurClock(_) | Trouble::ItsClock(_) => !std::mem::replace(&mut is_wrong, true),
        _ => true,
    });
    Run { after, troubles }
}

fn trouble(rng: &mut Rng) -> Trouble {
    let early = |rng: &mut Rng| rng.below(1 + rng.clone().below(12));
    // most operations stand at the start of a run, but no part of it is left out
    let operation = |rng: &mut Rng| {
        let most = *rng.pick(&[20, 100, 400, 1_500]);
        rng.bits() % most
    };
    match rng.below(100) {
        0..30 => Trouble::Answer(early(rng), fault(rng)),
        30..55 => Trouble::Connection(rng.below(4), behaviour(rng)),
        55..65 => Trouble::Disk(rng.below(60), *rng.pick(&DiskFault::ALL)),
        65..83 => Trouble::Crash {
            at: operation(rng),
            state: rng.bits(),
        },
        83..91 => Trouble::Kill(operation(rng)),
        91..96 => Trouble::Terminate(operation(rng)),
        96..98 => Trouble::OurClock(clock(rng)),
        _ => Trouble::ItsClock(clock(rng)),
    }
}

fn clock(rng: &mut Rng) -> time::Duration {
    *rng.pick(&[
        time::Duration::seconds(-50),
        time::Duration::seconds(30),
        time::Duration::minutes(-40),
        time::Duration::minutes(7),
        time::Duration::hours(2),
    ])
}

fn fault(rng: &mut Rng) -> Fault {
    let codes = [400, 401, 403, 408, 409, 413, 429, 500, 502, 503, 504];
    let at = rng.below(*rng.clone().pick(&[40, 400, 4_000]));
    match rng.below(14) {
        0..3 => Fault::Status {
            code: *rng.pick(&codes),
            retry_after: rng.chance(40).then(|| rng.below(90).to_string()),
            body: "{\"error\": \"try again\"}",
        },
        3 | 4 => Fault::CutBody(at),
        5 => Fault::ResetBody(at),
        6 => Fault::Reset,
        7 => Fault::Close,
        8 => Fault::Silence,
        9 => Fault::Stall(Duration::from_secs(1 + rng.bits() % 40)),
        10 => Fault::Drip {
            piece: 1 + rng.below(40),
            pause: Duration::from_millis(500),
        },
        11 => Fault::Junk,
        12 => rng
            .pick(&[
                Fault::EmptyBody,
                Fault::WithoutArray,
                Fault::Chunks(1 + at),
                Fault::CutChunks(1 + at),
                Fault::UntilClose,
                Fault::CutUntilClose(at),
            ])
            .clone(),
        _ => match rng.chance(50) {
            true => Fault::NoDate,
            false => Fault::WrongDate(clock(rng)),
        },
    }
}

fn behaviour(rng: &mut Rng) -> Behaviour {
    let bytes = rng.below(*rng.clone().pick(&[30, 600, 6_000]));
    match rng.below(14) {
        0 => Behaviour::NoGoodbye,
        1 => Behaviour::Refuse,
        2 => Behaviour::CutHandshake,
        3 | 4 => Behaviour::ResetAfter(bytes),
        5 => Behaviour::ForgetThenReset(bytes),
        6 => Behaviour::ForgetThenClose(bytes),
        7 | 8 => Behaviour::ResetAtGoodbye,
        9 => Behaviour::ForgetAtGoodbye,
        10 => Behaviour::NeverClose,
        11 => Behaviour::StopReading(bytes),
        12 => Behaviour::SlowClose(Duration::from_secs(1 + rng.bits() % 30)),
        _ => rng.pick(&[Behaviour::Silent, Behaviour::Alert]).clone(),
    }
}
