//! The contract of a source: one suite, run for every row of the table of services.
//!
//! A service of a new kind adds an adapter to its fake API.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration as Wait;

use proofpull::clock::utc;
use proofpull::service::{SERVICES, Service};
use time::{Duration, OffsetDateTime};

use crate::isolation;
use crate::simulator::sample::ARRAYS;
use crate::simulator::{
    Behaviour, Ended, Ends, Event, Fault, Jobs, Kind, Request, Rng, StreamFault, Style, pod_event,
    sample, tag_of,
};
use crate::test_env::{Run, Running, TestEnv, ago, all_rounds, each, seed};

/// How the suite reads the simulated API of a service.
fn adapter(service: &Service) -> &'static dyn Adapter {
    match Kind::of(service.name) {
        Kind::Tap { .. } => &Siem,
        Kind::Threats => &Threats,
        Kind::Forensics => &Forensics,
        Kind::Campaigns => &Campaigns,
        Kind::People { .. } => &People,
        Kind::Isolation => &Isolation,
        Kind::Pod { .. } => &Pod,
    }
}

/// What the suite needs to know of a service's fake API.
pub(super) trait Adapter: Sync {
    /// Some hours of events that take at least two transactions, some of them hidden at first.
    fn filled(&self, service: &str, rng: &mut Rng) -> TestEnv;
    /// Shows the hidden events, and answers well.
    fn heal(&self, env: &TestEnv);
    /// What goes wrong with each answer.
    fn fail(&self, env: &TestEnv, troubles: Troubles);
    /// What was asked for, as `--dry-run` names it.
    fn asked(&self, env: &TestEnv) -> Vec<String>;
    /// How a run ends when answers break off, or the API stays away.
    fn status_without_answers(&self) -> i32 {
        69
    }
    /// The time at which the first run starts.
    fn now(&self) -> OffsetDateTime {
        ago(0)
    }
    /// After how many minutes each the runs follow until nothing is missing.
    fn runs_until_complete(&self) -> &'static [i64] {
        &[90]
    }
    /// How many transactions the first run makes, at most.
    fn commits(&self) -> usize {
        usize::MAX
    }
    /// Whether a past range can be requested.
    fn has_backfill(&self) -> bool {
        true
    }
    /// Whether requests can be limited.
    fn has_quota(&self) -> bool {
        false
    }
    /// Whether late events are counted.
    fn counts_late(&self) -> bool {
        false
    }
}

/// What goes wrong with an answer of an API.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trouble {
    Status(u16),
    /// It breaks off.
    Cut,
    /// The connection is reset, without an answer or behind so many bytes or events.
    Reset(Option<usize>),
    /// It ends in good order where that says nothing.
    Close,
    /// Nothing comes any more.
    Silence,
    /// It comes byte by byte.
    Drip,
    /// Bytes that nobody would expect.
    Junk,
    /// It is sound and says something else than the question asks for.
    Beside,
}

/// Chooses what is wrong with the answer of a number, counted from 0.
pub(super) type Troubles = Box<dyn FnMut(usize) -> Option<Trouble> + Send>;

impl Trouble {
    fn of_http(self) -> Fault {
        match self {
            Trouble::Status(code) => Fault::Status {
                code,
                body: Vec::new(),
                headers: vec![("Retry-After".into(), "0".into())],
            },
            Trouble::Cut => Fault::CutBody { at: 30 },
            Trouble::Reset(None) => Fault::Reset,
            Trouble::Reset(Some(at)) => Fault::ResetBody { at },
            Trouble::Close => Fault::Close,
            Trouble::Silence => Fault::Stall { wait: LONG },
            Trouble::Drip => Fault::Slow {
                piece: 1,
                pause: Wait::from_millis(20),
            },
            Trouble::Junk => Fault::Raw(JUNK.into()),
            Trouble::Beside => Fault::Body(b"{\"error\": \"try again\"}".into()),
        }
    }

    fn of_stream(self) -> StreamFault {
        match self {
            Trouble::Status(code) => StreamFault::Status(code, "no"),
            Trouble::Cut => StreamFault::After(20, Ends::InAFrame),
            Trouble::Reset(at) => StreamFault::After(at.unwrap_or(0), Ends::Reset),
            Trouble::Close => StreamFault::After(20, Ends::Code(1001)),
            Trouble::Silence => StreamFault::After(20, Ends::Silent),
            Trouble::Drip => StreamFault::Pings,
            Trouble::Junk => StreamFault::First(JUNK.into()),
            Trouble::Beside => StreamFault::Status(200, "try again"),
        }
    }
}

/// Longer than any run of a test that meets it.
const LONG: Wait = Wait::from_secs(60);
const JUNK: &[u8] = b"\xff\x00\x80junk: [{\r\n\r\n";

/// The script of an API over HTTP.
fn http_script(
    mut troubles: Troubles,
) -> impl FnMut(&Request, usize) -> Option<Fault> + Send + 'static {
    move |_, number| troubles(number).map(Trouble::of_http)
}

/// The event services of TAP.
struct Siem;

impl Adapter for Siem {
    fn filled(&self, _: &str, rng: &mut Rng) -> TestEnv {
        let mut env = TestEnv::new();
        env.fill(rng, 5, 40);
        hide_some(&env, rng);
        env.tap.set_style(Style {
            gzip: false,
            ..Style::default()
        });
        env
    }

    fn heal(&self, env: &TestEnv) {
        env.tap.release_late();
        env.tap.no_script();
    }

    fn fail(&self, env: &TestEnv, troubles: Troubles) {
        env.tap.script(http_script(troubles));
    }

    fn asked(&self, env: &TestEnv) -> Vec<String> {
        let requests = env.tap.requests();
        let windows = requests.iter().filter_map(Request::interval);
        windows
            .map(|(from, to)| format!("{}/{}", utc(from), utc(to)))
            .collect()
    }

    fn has_quota(&self) -> bool {
        true
    }

    fn counts_late(&self) -> bool {
        true
    }
}

/// Adds late events that `look_back` finds, three for each service.
fn hide_some(env: &TestEnv, rng: &mut Rng) {
    for serial in 1..=12 {
        let array = ARRAYS[serial as usize % ARRAYS.len()];
        let make = match array.starts_with("clicks") {
            true => sample::click,
            false => sample::message,
        };
        let body = make(rng, ago(20), serial, "late@corp.example");
        env.tap.add(array, Event::new(ago(20), body).late());
    }
}

/// The summaries of the threats that those name.
struct Threats;

impl Adapter for Threats {
    fn filled(&self, _: &str, rng: &mut Rng) -> TestEnv {
        let mut env = TestEnv::new();
        env.fill(rng, 3, 6);
        hide_some(&env, rng);
        env
    }

    fn heal(&self, env: &TestEnv) {
        Siem.heal(env);
    }

    fn fail(&self, env: &TestEnv, troubles: Troubles) {
        Siem.fail(env, troubles);
    }

    fn asked(&self, env: &TestEnv) -> Vec<String> {
        Siem.asked(env)
    }

    fn has_quota(&self) -> bool {
        true
    }
}

/// The reports of the campaigns that those name.
struct Forensics;

impl Adapter for Forensics {
    fn filled(&self, service: &str, rng: &mut Rng) -> TestEnv {
        let env = Threats.filled(service, rng);
        let late = r#"{"threatID":"t","threatStatus":"active","campaignId":"late"}"#;
        let late = Event::new(ago(20), late).late();
        env.tap.add("clicksBlocked", late);
        env
    }

    fn heal(&self, env: &TestEnv) {
        Siem.heal(env);
    }

    fn fail(&self, env: &TestEnv, troubles: Troubles) {
        Siem.fail(env, troubles);
    }

    fn asked(&self, env: &TestEnv) -> Vec<String> {
        Siem.asked(env)
    }

    fn has_quota(&self) -> bool {
        true
    }
}

/// Campaigns, of which some are updated later.
struct Campaigns;

impl Adapter for Campaigns {
    fn filled(&self, service: &str, _: &mut Rng) -> TestEnv {
        let mut env = TestEnv::new();
        env.start_at(ago(55 * 60));
        env.add(service, ago(55 * 60), ago(5), 100);
        env.add(service, ago(-10), ago(-10), 5);
        env
    }

    fn heal(&self, env: &TestEnv) {
        env.tap.no_script();
    }

    fn fail(&self, env: &TestEnv, troubles: Troubles) {
        Siem.fail(env, troubles);
    }

    fn asked(&self, env: &TestEnv) -> Vec<String> {
        Siem.asked(env)
    }

    fn has_quota(&self) -> bool {
        true
    }

    /// Windows are of two hours at least.
    fn runs_until_complete(&self) -> &'static [i64] {
        &[90, 90, 90]
    }
}

/// The reports on people: one a day, of which the next one has people that this one has not.
struct People;

impl Adapter for People {
    fn filled(&self, service: &str, _: &mut Rng) -> TestEnv {
        let mut env = TestEnv::new();
        env.start_at(self.now() - Duration::DAY);
        env.tap.set_people_page(25);
        let (today, tomorrow) = (self.now(), self.now() + Duration::DAY);
        env.add(service, today, today, 45);
        env.add(service, tomorrow, tomorrow, 10);
        env
    }

    fn heal(&self, env: &TestEnv) {
        env.tap.no_script();
    }

    fn fail(&self, env: &TestEnv, troubles: Troubles) {
        Siem.fail(env, troubles);
    }

    fn asked(&self, env: &TestEnv) -> Vec<String> {
        let requests = env.tap.requests().into_iter();
        let day = |request: Request| request.at.truncate_to_day();
        requests
            .map(|request| utc(day(request) - Duration::DAY))
            .collect()
    }

    /// In the morning: no test comes to the next day before it means to.
    fn now(&self) -> OffsetDateTime {
        ago(0).truncate_to_day() + Duration::hours(6)
    }

    fn runs_until_complete(&self) -> &'static [i64] {
        &[1, 24 * 60]
    }

    fn commits(&self) -> usize {
        1
    }

    fn has_backfill(&self) -> bool {
        false
    }
}

struct Isolation;

impl Adapter for Isolation {
    fn filled(&self, _: &str, rng: &mut Rng) -> TestEnv {
        let env = isolation::filled(rng, 5, 40);
        env.isolation.set_jobs(Jobs {
            page: 40,
            pages_pend: true,
            ..Jobs::default()
        });
        env
    }

    fn heal(&self, env: &TestEnv) {
        env.isolation.release_late();
        env.isolation.no_script();
    }

    fn fail(&self, env: &TestEnv, troubles: Troubles) {
        env.isolation.script(http_script(troubles));
    }

    fn asked(&self, env: &TestEnv) -> Vec<String> {
        let windows = isolation::windows(env).into_iter();
        windows
            .map(|(from, to)| format!("{}/{}", utc(from), utc(to)))
            .collect()
    }

    fn counts_late(&self) -> bool {
        true
    }
}

/// This ends a run whose API stays away, and no other.
const MOST: &str = "max_duration = \"20s\"\n";

/// The live stream and its archive, which says all of an hour some time later; of audit events the
/// archive alone.
struct Pod;

impl Adapter for Pod {
    fn filled(&self, service: &str, rng: &mut Rng) -> TestEnv {
        let mut env = TestEnv::new();
        let stream = service.trim_start_matches("pod-");
        let now = ago(0);
        let hour = now.truncate_to_hour();
        let begun = hour - Duration::hours(5);
        env.pod.set_now(now);
        let next = env.pod.fill(stream, (begun, hour), 40, 1);
        for serial in next..next + 40 {
            let event = pod_event(stream, rng, now, serial);
            env.pod.happen(stream, now, event);
        }
        let part = |hours: bool| hours.then_some(StreamFault::Part(60));
        env.pod.script(move |asked, _| part(asked.hours.is_some()));
        env.stream_table = format!("start_time = {:?}\nidle_exit = \"1s\"\n{MOST}", utc(begun));
        if stream == "audit" {
            env.stream_table += "mode = \"archive\"\n";
        }
        env
    }

    fn heal(&self, env: &TestEnv) {
        env.pod.no_script();
    }

    fn fail(&self, env: &TestEnv, mut troubles: Troubles) {
        let script = move |_: &_, number| troubles(number).map(Trouble::of_stream);
        env.pod.script(script);
    }

    fn asked(&self, env: &TestEnv) -> Vec<String> {
        let asked = env.pod.asked().into_iter();
        asked
            .map(|asked| match asked.hours {
                Some((from, to)) => format!("{}/{}", utc(from), utc(to)),
                None => "the live stream".into(),
            })
            .collect()
    }

    /// An hour that is cut stays open and holds up no other; a stream that is away is waited for.
    fn status_without_answers(&self) -> i32 {
        0
    }

    fn runs_until_complete(&self) -> &'static [i64] {
        &[90, 90, 90]
    }
}

/// A service in a world whose clock is set.
pub(super) struct Subject {
    pub(super) service: &'static str,
    pub(super) adapter: &'static dyn Adapter,
    pub(super) env: TestEnv,
    pub(super) now: OffsetDateTime,
}

impl Subject {
    pub(super) fn start(&self, more: &[&str]) -> Running {
        self.start_ahead(Duration::ZERO, more)
    }

    /// Starts a run on a machine whose clock is so far ahead of the services'.
    pub(super) fn start_ahead(&self, ahead: Duration, more: &[&str]) -> Running {
        let offset = self.now - OffsetDateTime::now_utc();
        self.env.tap.set_clock_offset(offset);
        self.env.isolation.set_clock_offset(offset);
        self.env.pod.set_now(self.now);
        let now = utc(self.now + ahead);
        let args = [&["--now", now.as_str()], more].concat();
        self.env.start(self.service, &args)
    }

    pub(super) fn run(&self, more: &[&str]) -> Run {
        self.start(more).wait()
    }

    /// All goes well from now on, and runs go on until nothing is missing.
    fn catch_up(&mut self) {
        self.adapter.heal(&self.env);
        // a slow machine may need longer
        self.env.stream_table = self.env.stream_table.replace(MOST, "");
        self.env.devo.behave(|_| Behaviour::Normal);
        for minutes in self.adapter.runs_until_complete() {
            self.now += Duration::minutes(*minutes);
            self.run(&[]).assert_status(0);
        }
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.adapter.asked(&self.env)
    }

    /// What a run may not touch that is not the timer's.
    fn state_files(&self) -> Vec<Vec<u8>> {
        let file = |extension| self.path(extension);
        let read = |extension| fs::read(file(extension)).unwrap();
        ["json", "seen"].map(read).into()
    }

    pub(super) fn path(&self, extension: &str) -> PathBuf {
        let name = format!("{}.{extension}", self.service);
        self.env.state_dir().join(name)
    }
}

/// Runs a part of the suite for every row, as often as there are cases.
pub(super) fn check<T: Send + Sync>(
    cases: impl IntoIterator<Item = (String, T)>,
    of: impl Fn(Subject, &T) + Sync,
) {
    let cases: Vec<(String, T)> = cases.into_iter().collect();
    let seed = seed();
    let all = SERVICES.iter().flat_map(|service| {
        let named = |case: &'_ (String, T)| format!("{} {}", service.name, case.0);
        cases
            .iter()
            .map(move |case| (named(case), (service, &case.1)))
            .collect::<Vec<_>>()
    });
    each(all, |(service, case)| {
        let adapter = adapter(service);
        let subject = Subject {
            service: service.name,
            adapter,
            env: adapter.filled(service.name, &mut Rng::new(seed)),
            now: adapter.now(),
        };
        of(subject, case);
    });
}

/// So many rounds, each with a seed of its own.
pub(super) fn seeded(rounds: u64) -> impl Iterator<Item = (String, u64)> {
    let first = seed();
    (0..rounds).map(move |round| (format!("round {round}"), first.wrapping_add(round)))
}

fn once() -> [(String, ()); 1] {
    [(String::new(), ())]
}

#[test]
fn every_event_arrives_once_in_any_order_and_late_ones_too() {
    check(once(), |mut subject, ()| {
        let first = subject.run(&[]);
        first.assert_status(0).assert_says("caught up");
        let before = subject.env.devo.count();
        assert_eq!(before as u64, first.count("delivered"));
        let tag = proofpull::service::find(subject.service).unwrap().tag;
        for line in subject.env.devo.lines() {
            assert_eq!(tag_of(&line), tag);
        }
        subject.adapter.heal(&subject.env);
        let second = subject.run(&[]);
        second.assert_status(0);
        if subject.adapter.counts_late() {
            let late = second.count("late");
            assert!(
                late > 0 && late == second.count("delivered"),
                "{}",
                second.stderr
            );
        }
        subject.catch_up();
        assert!(before < subject.env.devo.count(), "none was late");
        subject.env.assert_exactly_once(subject.service);
        let again = subject.run(&[]);
        assert_eq!(again.assert_status(0).count("delivered"), 0);
    });
}

struct Step {
    /// The transactions that a run must make to come so far.
    commits: usize,
    /// What the receiver does with the connection of a number; 0 is the proof.
    receiver: fn(usize) -> Behaviour,
    /// When the run is killed.
    when: fn(&Subject) -> bool,
}

fn steps() -> [(String, Step); 5] {
    let named = |name: &str, receiver, when| {
        let commits = if name == "behind the first commit" {
            2
        } else {
            1
        };
        let step = Step {
            commits,
            receiver,
            when,
        };
        (name.to_owned(), step)
    };
    [
        named(
            "proving the receiver",
            |_| Behaviour::Silent,
            |subject| subject.env.devo.connections().len() == 1,
        ),
        named(
            "asking",
            |number| match number {
                0 => Behaviour::Normal,
                _ => Behaviour::Silent,
            },
            |subject| !subject.asked().is_empty(),
        ),
        named(
            "sending",
            |number| match number {
                0 => Behaviour::Normal,
                _ => Behaviour::Slow {
                    read: 500,
                    pause: Wait::from_millis(20),
                    hold: Wait::from_secs(60),
                },
            },
            |subject| subject.env.devo.count() > 0,
        ),
        named(
            "before the confirmation",
            |number| match number {
                0 => Behaviour::Normal,
                _ => Behaviour::Slow {
                    read: 1_000_000,
                    pause: Wait::ZERO,
                    hold: Wait::from_secs(60),
                },
            },
            |subject| {
                let connections = subject.env.devo.connections();
                let data = connections.get(1);
                data.is_some_and(|data| data.ended == Ended::Goodbye)
            },
        ),
        named(
            "behind the first commit",
            |number| match number {
                2 => Behaviour::Silent,
                _ => Behaviour::Normal,
            },
            |subject| subject.env.devo.connections().len() == 3,
        ),
    ]
}

#[test]
fn killed_at_any_step_it_loses_nothing_and_repeats_one_commit_at_most() {
    check(steps(), |mut subject, step| {
        if step.commits > subject.adapter.commits() {
            return;
        }
        subject.env.http_table = "timeout = \"120s\"\n".into();
        subject.env.devo.behave(step.receiver);
        // one event is a transaction
        subject.env.most_unconfirmed = (step.commits > 1).then_some(1);
        let mut run = subject.start(&[]);
        subject.env.most_unconfirmed = None;
        run.until(|| (step.when)(&subject));
        assert!(!run.is_over(), "the step was not reached");
        let unconfirmed = subject.env.kill(run);
        subject.catch_up();
        subject
            .env
            .assert_repeated_at_most(subject.service, unconfirmed);
    });
}

#[test]
fn killed_at_any_moment_it_loses_nothing_and_repeats_one_commit_at_most() {
    check(
        seeded(if all_rounds() { 60 } else { 6 }),
        |mut subject, seed| {
            let rng = &mut Rng::new(*seed);
            let mut unconfirmed = 0;
            subject.env.most_unconfirmed = rng.chance(50).then_some(20_000);
            for _ in 0..1 + rng.below(3) {
                let mut run = subject.start(&[]);
                let (count, asked) = (subject.env.devo.count(), subject.asked().len());
                match rng.chance(50) {
                    true => {
                        let count = count + rng.below(200);
                        run.until(|| subject.env.devo.count() >= count);
                    }
                    false => {
                        let asked = asked + 1 + rng.below(4);
                        run.until(|| subject.asked().len() >= asked);
                    }
                }
                sleep(Wait::from_micros(rng.bits() % 30_000));
                unconfirmed += subject.env.kill(run);
            }
            subject.catch_up();
            subject
                .env
                .assert_repeated_at_most(subject.service, unconfirmed);
        },
    );
}

#[test]
fn an_answer_that_goes_wrong_has_its_status_and_heals() {
    let table = [
        (Trouble::Status(401), Some(77)),
        (Trouble::Status(429), Some(75)),
        (Trouble::Status(503), None),
        (Trouble::Cut, None),
    ];
    let named = table.map(|row| (format!("{:?}", row.0), row));
    check(named, |mut subject, (trouble, status)| {
        let trouble = *trouble;
        let later = move |number| (number > 0).then_some(trouble);
        subject.adapter.fail(&subject.env, Box::new(later));
        let status = status.unwrap_or_else(|| subject.adapter.status_without_answers());
        let run = subject.run(&[]);
        if status == 0 {
            run.assert_status(status);
        } else {
            run.assert_error(status, &[], "");
        }
        subject.catch_up();
        subject.env.assert_exactly_once(subject.service);
    });
}

#[test]
fn a_backfill_stays_apart_and_brings_each_event_of_its_range_once() {
    check(once(), |mut subject, ()| {
        subject.adapter.heal(&subject.env);
        subject.run(&[]).assert_status(0);
        let timer = subject.state_files();
        subject.env.devo.clear();
        let from = utc(subject.now - Duration::hours(3));
        let to = utc(subject.now - Duration::hours(2));
        let backfill = ["--start-time", &from, "--end-time", &to];
        if !subject.adapter.has_backfill() {
            let refused = subject.run(&backfill);
            refused.assert_error(2, &["cannot be backfilled"], "leave out --start-time");
            assert!(timer == subject.state_files(), "the timer's state changed");
            return;
        }
        for minutes in &subject.adapter.runs_until_complete()[1..] {
            let run = subject.run(&backfill);
            assert!(matches!(run.status, Some(0 | 75)), "{}", run.stderr);
            subject.now += Duration::minutes(*minutes);
        }
        subject.run(&backfill).assert_status(0);
        assert!(subject.env.devo.count() > 0);
        assert!(timer == subject.state_files(), "the timer's state changed");
        let again = subject.run(&backfill);
        assert_eq!(again.assert_status(0).count("delivered"), 0);

        // the timer goes on as if there had been none; where hours have passed, it finds new events
        let before = subject.env.devo.count();
        let timer = subject.run(&[]);
        timer.assert_status(0);
        let is_at_once = subject.adapter.runs_until_complete().len() == 1;
        let new = subject.env.devo.count() - before;
        assert!(new == 0 || !is_at_once, "{new}: {}", timer.stderr);
    });
}

#[test]
fn a_quota_is_respected_and_what_was_left_is_done_later() {
    check(once(), |mut subject, ()| {
        subject.adapter.heal(&subject.env);
        if !subject.adapter.has_quota() {
            return;
        }
        subject.env.service_table += "requests = [{ period = \"1d\", at_most = 2 }]\n";
        let run = subject.run(&[]);
        run.assert_error(75, &["2 requests per 1d"], "");
        subject.now += Duration::hours(23);
        subject.run(&[]).assert_status(75);
        assert_eq!(subject.asked().len(), 2);

        let limit = "at_most = 2 }";
        let more = subject.env.service_table.replace(limit, "at_most = 200 }");
        subject.env.service_table = more;
        subject.now += Duration::hours(2);
        subject.catch_up();
        subject.env.assert_exactly_once(subject.service);
    });
}

#[test]
fn a_dry_run_names_what_the_run_asks_for() {
    check(once(), |mut subject, ()| {
        subject.adapter.heal(&subject.env);
        for _ in 0..2 {
            let (asked, connected) = (subject.asked().len(), subject.env.devo.connections().len());
            let dry = subject.run(&["--dry-run"]);
            dry.assert_status(0);
            assert_eq!(subject.asked().len(), asked);
            assert_eq!(subject.env.devo.connections().len(), connected);
            let answer = dry.answer();
            let windows = answer
                .lines()
                .filter_map(|line| line.strip_suffix(": 1 request"));
            let windows = windows.filter(|line| *line != "1 window");
            // the newest window ends with the present, which may be a second later for the run
            let start = |window: &str| window.split('/').next().unwrap_or_default().to_owned();
            let windows: BTreeSet<String> = windows.map(start).collect();

            subject.run(&[]).assert_status(0);
            let all = subject.asked();
            let named: BTreeSet<String> = all[asked..].iter().map(|window| start(window)).collect();
            assert_eq!(windows, named, "{answer}");
            subject.now += Duration::minutes(90);
        }
    });
}
