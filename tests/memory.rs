//! One record takes at most twice its size and 16 MiB, whatever it is. What would take more is
//! quarantined, and the others of its window arrive.

use std::fs;
use std::time::{Duration, Instant};

use proofpull::clock::utc;

use crate::pod::{SERVICE as POD, STREAM};
use crate::simulator::isolation::visit;
use crate::simulator::{Event, Fault, Rng, pod_event};
use crate::test_env::{TestEnv, ago, array, each};

const TAP: &str = "tap-messages-blocked";
const ISOLATION: &str = "isolation-url";
const MIB: usize = 1024 * 1024;
/// Size of the record.
const SIZE: usize = 24 * MIB;
/// What the program takes without it, generously: it is measured as a whole.
const PROGRAM: usize = 16 * MIB;

/// The most memory that the last run took, in bytes.
fn peak(env: &TestEnv, service: &str) -> usize {
    let path = env.state_dir().join(format!("{service}.runs.json"));
    let text = fs::read_to_string(path).unwrap();
    let (_, rest) = text.rsplit_once("\"peak_memory_bytes\":").unwrap();
    let digits = rest.trim_start().split(|c: char| !c.is_ascii_digit());
    digits.into_iter().next().unwrap().parse().unwrap()
}

fn text_of(value: &str) -> String {
    format!("{{\"a\":\"{value}\"}}")
}

/// A record: its name, the rules of its service, its bytes, and whether it is quarantined.
type Row = (&'static str, String, Vec<u8>, bool);

/// Records that take much memory to look at, to change or to keep.
fn rows(service: &str) -> Vec<Row> {
    let rule = format!("[[services.{service}.obfuscate]]\npath = \"a\"\n");
    let two = format!("{rule}pattern = \"x\"\n{rule}pattern = \"[a-y]\"\n");
    let deep = "[".repeat(SIZE / 2) + &"]".repeat(SIZE / 2);
    let bytes = |byte: u8, size: usize| [b"{\"a\":\"", &*vec![byte; size], b"\"}"].concat();
    let escapes = || text_of(&"\\n".repeat(SIZE / 2));
    let none = String::new;
    vec![
        ("nested", none(), format!("{{\"a\":{deep}}}").into(), true),
        (
            "elements",
            none(),
            format!("{{\"a\":[{}1]}}", "1,".repeat(SIZE / 2)).into(),
            true,
        ),
        (
            "members",
            none(),
            format!("{{{}\"a\":1}}", "\"b\":2,".repeat(SIZE / 6)).into(),
            true,
        ),
        ("pieces", none(), bytes(b',', SIZE), false),
        (
            "pieces that are no JSON",
            none(),
            format!("{{\"a\":nul,\"b\":\"{}\"}}", ",".repeat(SIZE)).into(),
            false,
        ),
        ("controls", none(), bytes(1, SIZE), true),
        ("a few controls", none(), bytes(1, MIB), false),
        (
            "controls at the end",
            none(),
            [bytes(b'x', SIZE), vec![b'\n'; MIB]].concat(),
            false,
        ),
        ("escapes", none(), escapes().into(), false),
        ("plain", none(), bytes(b'x', SIZE), false),
        (
            "in arrays",
            none(),
            [
                b"{\"categories\":[[[".to_vec(),
                bytes(b'x', SIZE),
                b"]]]}".to_vec(),
            ]
            .concat(),
            false,
        ),
        ("not UTF-8", none(), bytes(0xff, SIZE), true),
        (
            "not UTF-8, and shorter",
            none(),
            bytes(0xff, 8 * MIB - 100),
            true,
        ),
        ("two patterns", two.clone(), bytes(b'x', SIZE), true),
        ("many matches", two, bytes(b'x', 6 * MIB), true),
        ("a mask", rule, escapes().into(), false),
    ]
}

/// Runs this service over one of these records among five others. `add` says it to the API.
fn check(service: &str, rows: Vec<Row>, add: impl Fn(&mut TestEnv, Vec<u8>) + Sync) {
    let rows = rows.into_iter();
    each(
        rows.map(|(name, rules, record, is_kept)| (name.to_owned(), (rules, record, is_kept))),
        |(rules, record, is_kept)| {
            let mut env = TestEnv::new();
            env.start_at(ago(120));
            env.more_tables = rules;
            let size = record.len();
            let sent = 5 + usize::from(!is_kept);
            add(&mut env, record);
            let mut run = env.start(service, &[]);
            // the live stream does not end by itself
            if service == POD {
                run.until(|| env.devo.count() == sent);
                run.signal("TERM");
            }
            let run = run.wait();
            run.assert_status(if is_kept { 3 } else { 0 });
            let peak = peak(&env, service);
            assert!(
                peak <= 2 * size + 16 * MIB + PROGRAM,
                "{} MiB for {} MiB",
                peak / MIB,
                size / MIB
            );
            assert_eq!(run.count("delivered"), sent as u64);
            // said once
            env.stream_table = "idle_exit = \"1s\"\n".into();
            env.run(service, &[]).assert_status(0);
        },
    );
}

/// The rows in which it matters how a source takes records apart.
fn taken_apart(service: &str) -> Vec<Row> {
    const NAMES: [&str; 7] = [
        "nested",
        "pieces",
        "pieces that are no JSON",
        "a few controls",
        "controls at the end",
        "not UTF-8",
        "in arrays",
    ];
    let rows = rows(service).into_iter();
    rows.filter(|(name, ..)| NAMES.contains(name)).collect()
}

#[test]
fn one_record_of_tap_takes_at_most_twice_its_size_and_16_mib() {
    check(TAP, rows(TAP), |env, record| {
        env.add(TAP, ago(50), ago(3), 5);
        env.tap.add(array(TAP), Event::new(ago(10), record));
    });
}

#[test]
fn one_record_of_isolation_takes_at_most_twice_its_size_and_16_mib() {
    check(ISOLATION, taken_apart(ISOLATION), |env, record| {
        for minute in 0..5 {
            let visit = format!("{{\"date\":\"{}\"}}", utc(ago(100 - minute)));
            env.isolation.add(Event::new(ago(100 - minute), visit));
        }
        env.isolation.add(Event::new(ago(98), record));
    });
}

#[test]
fn one_message_of_pod_takes_at_most_twice_its_size_and_16_mib() {
    check(POD, taken_apart(POD), |env, record| {
        for number in 1..=5 {
            let event = pod_event(STREAM, &mut Rng::new(number), ago(1), number);
            env.pod.happen(STREAM, ago(1), event);
            if number == 3 {
                env.pod.happen(STREAM, ago(1), record.clone());
            }
        }
    });
}

#[test]
fn pages_without_records_cost_nothing_come_slowly_and_have_a_limit() {
    let mut env = TestEnv::new();
    env.start_at(ago(120));
    env.isolation
        .add(Event::new(ago(90), visit(&mut Rng::new(1), ago(90), 1)));
    env.isolation.script(|_, number| {
        let answer = format!(
            "{{\"jobId\":\"j\",\"status\":\"COMPLETED\",\"pageToken\":\"{number}\",\"data\":[]}}"
        );
        Some(Fault::Body(answer.into()))
    });
    let started = Instant::now();
    let run = env.run(ISOLATION, &[]);
    run.assert_error(65, &["more than 10 pages without records"], "url");
    assert_eq!(env.isolation.requests().len(), 11);
    // each page comes after a longer wait
    assert!(started.elapsed() >= Duration::from_secs(15));
    assert!(peak(&env, ISOLATION) < PROGRAM, "{}", run.stderr);
    // nothing is lost
    env.isolation.no_script();
    env.run(ISOLATION, &[]).assert_status(0);
    env.assert_exactly_once(ISOLATION);
}
