//! Which model has the events of a service, and how the program is configured for it.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::{Duration, OffsetDateTime};

use super::Rng;
use super::api::{Api, Reply, Request};
use super::demand::{Expected, History};
use super::isolation::{self, Isolation};
use super::pod::{self, Mode, Pod, StreamType};
use super::tap::{self, Array, Tap};
use super::threats::Beside;

/// The services that are simulated: all of them.
pub const SERVICES: &[&str] = &[
    "tap-clicks-blocked",
    "tap-clicks-permitted",
    "tap-messages-blocked",
    "tap-messages-delivered",
    "tap-threats",
    "tap-campaigns",
    "tap-forensics",
    "tap-people-vap",
    "tap-people-clickers",
    "isolation-web",
    "isolation-url",
    "pod-message",
    "pod-maillog",
    "pod-audit",
];

/// How long runs may take, as configured.
pub const MAX_DURATION: std::time::Duration = std::time::Duration::from_secs(600);
/// How long after its end PoD's archive has an hour, by default.
const LAG: Duration = Duration::minutes(45);

/// What is the same for every service.
const COMMON: &str = r#"
state_dir = "/state"
[devo]
address = "127.0.0.1:1000"
chain = "chain.crt"
cert = "domain.crt"
key = "domain.key"
hostname = "simulated"
[http]
timeout = "20s"
[tap]
base_url = "http://127.0.0.1:1001"
principal = "00000000-0000-0000-0000-000000000000"
secret = "secret"
[isolation]
api_key = "secret"
[pod]
base_url = "ws://127.0.0.1:1001"
cluster_id = "simulated"
api_key = "secret"
"#;

/// The port of the service.
pub const PORT: u16 = 1001;

/// A service with its events, and its configuration.
#[derive(Debug)]
pub struct Setup {
    /// What the network asks, and the oracle.
    pub model: Model,
    /// The configuration of the program.
    pub configuration: String,
    /// Where the first run begins, if that is configured.
    pub start: Option<OffsetDateTime>,
    /// How far back each run reads again.
    pub look_back: Duration,
    /// How long the service keeps events.
    pub keep: Duration,
    /// Whether requests are so few that a run may end by them.
    pub has_few_requests: bool,
}

/// The model of a service.
#[derive(Debug, Clone)]
pub enum Model {
    /// One of TAP's event services.
    Events(Array, Shared<Tap>),
    /// Another one of TAP.
    Beside(Beside, Shared<Tap>),
    /// A product of Isolation.
    Isolation(Shared<Isolation>),
    /// A type of the log stream.
    Pod(StreamType, Mode, Pod),
}

/// A model that the world and the oracle share.
#[derive(Debug)]
pub struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    fn new(model: T) -> Shared<T> {
        Shared(Arc::new(Mutex::new(model)))
    }

    fn look(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Api> Api for Shared<T> {
    fn answer(&mut self, request: &Request, now: OffsetDateTime) -> Reply {
        self.look().answer(request, now)
    }
}

impl Setup {
    /// A service from a start on, with events of chance up to an end. Some are older than the start, and wanted by
    /// nobody. What is not certain of the service is chosen by chance if `is_varied`.
    pub fn new(
        service: &str,
        is_varied: bool,
        rng: &mut Rng,
        (start, end): (OffsetDateTime, OffsetDateTime),
    ) -> Setup {
        let range = (start - Duration::minutes(30), end);
        let hours = (end - start).whole_hours().clamp(1, 40) as usize;
        let count = *rng.pick(&[1, 3, 10]) * hours;
        let own = Rng::new(rng.bits());
        let mut has_few_requests = false;
        let from_start = format!("start_time = {:?}\n", proofpull::clock::utc(start));
        let (model, table, start) = match service.split_once('-') {
            Some(("pod", stream)) => {
                let stream = StreamType::of(stream).expect("a type of the log stream");
                let (mode, word) = *rng.pick(&[
                    (Mode::Complete, "complete"),
                    (Mode::Complete, "complete"),
                    (Mode::Live, "live"),
                    (Mode::Archive, "archive"),
                ]);
                let options = match is_varied {
                    true => pod::Options::by_chance(rng),
                    false => pod::Options::default(),
                };
                let pod = Pod::new(options, own);
                pod.with(stream, |log| log.fill(range, count));
                let table = format!("mode = {word:?}\nidle_exit = \"30s\"\n");
                match mode {
                    Mode::Live => (Model::Pod(stream, mode, pod), table, None),
                    _ => (
                        Model::Pod(stream, mode, pod),
                        table + &from_start,
                        Some(start),
                    ),
                }
            }
            Some(("isolation", _)) => {
                let options = match is_varied {
                    true => isolation::Options::by_chance(rng),
                    false => isolation::Options::default(),
                };
                let mut isolation = Isolation::new(options, own);
                isolation.fill(range, count);
                let table = format!(
                    "url = \"http://127.0.0.1:{PORT}/api/v2/reporting/usage-data\"\n{from_start}"
                );
                (Model::Isolation(Shared::new(isolation)), table, Some(start))
            }
            _ => {
                let array = Array::of(service);
                let mut table = from_start;
                let mut options = tap::Options::default();
                if is_varied {
                    options = tap::Options::by_chance(rng);
                    let few = *rng.pick(&[None, None, None, Some(6), Some(20)]);
                    if let Some(few) = array.and(few) {
                        options.quota = few;
                        has_few_requests = true;
                        table += &format!("requests = [{{ period = \"1d\", at_most = {few} }}]\n");
                    }
                }
                let mut tap = Tap::new(options, own);
                match (array, Beside::of(service)) {
                    (Some(array), _) => {
                        tap.events.fill(array, range, count);
                        (Model::Events(array, Shared::new(tap)), table, Some(start))
                    }
                    (None, Some(beside)) => {
                        let is_of_events = fill_beside(&mut tap, beside, range, count, rng);
                        let model = Model::Beside(beside, Shared::new(tap));
                        match is_of_events {
                            true => (model, table, Some(start)),
                            false => (model, String::new(), None),
                        }
                    }
                    (None, None) => panic!("no model has {service}"),
                }
            }
        };
        Setup {
            model,
            configuration: format!("{COMMON}[services.{service}]\nmax_duration = \"10m\"\n{table}"),
            start,
            look_back: match service.starts_with("isolation") {
                true => Duration::HOUR,
                false => Duration::minutes(45),
            },
            keep: match service {
                "tap-campaigns" => Duration::days(90),
                // a day is reported once
                _ if service.starts_with("tap-people") => Duration::ZERO,
                _ if start.is_none() => Duration::HOUR,
                _ if service.starts_with("tap") => Duration::days(7),
                _ => Duration::days(30),
            },
            has_few_requests,
        }
    }
}

/// Lets something be there for a service that reads no events itself. Returns whether it looks up what events
/// name.
fn fill_beside(
    tap: &mut Tap,
    beside: Beside,
    (from, to): (OffsetDateTime, OffsetDateTime),
    count: usize,
    rng: &mut Rng,
) -> bool {
    match beside {
        Beside::Summaries | Beside::Forensics | Beside::ForensicsByThreat => {
            for array in Array::ALL {
                tap.events.fill(array, (from, to), count.div_ceil(4));
            }
            true
        }
        Beside::Campaigns => {
            let length = (to - from).whole_seconds().unsigned_abs();
            let mut times: Vec<u64> = (0..count.min(60)).map(|_| rng.bits() % length).collect();
            times.sort_unstable();
            for time in times {
                let at = from + Duration::seconds(time.cast_signed());
                tap.threats.update(rng.bits() % 12, at);
            }
            false
        }
        Beside::People(report) => {
            for _ in 0..count.min(30) {
                let days = rng.below(3) as i64;
                tap.threats.add_person(report, from - Duration::days(days));
            }
            false
        }
    }
}

impl Model {
    /// What the network asks.
    pub fn api(&self) -> Box<dyn Api> {
        match self {
            Model::Events(_, tap) | Model::Beside(_, tap) => Box::new(tap.clone()),
            Model::Isolation(isolation) => Box::new(isolation.clone()),
            Model::Pod(_, _, pod) => Box::new(pod.clone()),
        }
    }

    /// What is expected of each event.
    pub fn expected(&self, history: &History<'_>) -> Vec<Expected> {
        match self {
            Model::Events(array, tap) => tap.look().expected(*array, history),
            Model::Beside(beside, tap) => tap.look().expected_beside(*beside, history),
            Model::Isolation(isolation) => isolation.look().expected(history),
            Model::Pod(stream, mode, pod) => {
                pod.with(*stream, |log| log.expected(*mode, LAG, history))
            }
        }
    }

    /// An answer may end in a way that does not tell that something is missing.
    pub fn note_unclear_end(&self) {
        if let Model::Pod(stream, _, pod) = self {
            pod.with(*stream, |log| log.note_unclear_end());
        }
    }

    /// The time by which the service selects an event, if it has one.
    pub fn created(&self, serial: u64) -> Option<OffsetDateTime> {
        match self {
            Model::Events(_, tap) => {
                let tap = tap.look();
                let mut events = tap.events.all().iter();
                let found = events.find(|(_, event)| event.serial == serial);
                found.map(|(_, event)| event.at)
            }
            Model::Isolation(isolation) => {
                let isolation = isolation.look();
                let mut events = isolation.events().iter();
                events
                    .find(|event| event.serial == serial)
                    .map(|event| event.at)
            }
            Model::Pod(stream, _, pod) => pod.with(*stream, |log| {
                let mut events = log.events().iter();
                let found = events.find(|event| event.event.serial == serial);
                found.map(|event| event.event.at)
            }),
            Model::Beside(..) => None,
        }
    }

    /// The time at which the position passes an event, where each is read with its window.
    pub fn passed_at(&self, serial: u64) -> Option<OffsetDateTime> {
        match self {
            Model::Events(..) | Model::Isolation(_) => self.created(serial),
            Model::Beside(..) | Model::Pod(..) => None,
        }
    }

    /// Requests that the service refused because its quota was spent.
    pub fn exceeded(&self) -> usize {
        match self {
            Model::Events(_, tap) | Model::Beside(_, tap) => {
                tap.look().quotas().map(|quota| quota.exceeded).sum()
            }
            Model::Isolation(_) | Model::Pod(..) => 0,
        }
    }
}
