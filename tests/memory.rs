//! One record takes at most twice its size and 16 MiB, whatever it is. What would take more is
//! quarantined, and the others of its window arrive.

use std::fs;

use crate::simulator::{Event, Fault};
use crate::test_env::{TestEnv, ago, array, each};

const SERVICE: &str = "tap-messages-blocked";
const MIB: usize = 1024 * 1024;
/// Size of the record.
const SIZE: usize = 12 * MIB;
/// What the program takes without it, generously: it is measured as a whole.
const PROGRAM: usize = 24 * MIB;

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

#[test]
fn one_record_takes_at_most_twice_its_size_and_16_mib() {
    let rule = "[[services.tap-messages-blocked.obfuscate]]\npath = \"a\"\n";
    let two = format!("{rule}pattern = \"x\"\n{rule}pattern = \"[a-y]\"\n");
    let deep = "[".repeat(SIZE / 2) + &"]".repeat(SIZE / 2);
    let rows = [
        ("nested", "", format!("{{\"a\":{deep}}}"), 3),
        (
            "elements",
            "",
            format!("{{\"a\":[{}1]}}", "1,".repeat(SIZE / 2)),
            3,
        ),
        (
            "members",
            "",
            format!("{{{}\"a\":1}}", "\"b\":2,".repeat(SIZE / 6)),
            3,
        ),
        ("pieces", "", text_of(&",".repeat(SIZE)), 0),
        (
            "pieces that are no JSON",
            "",
            format!("{{\"a\":nul,\"b\":\"{}\"}}", ",".repeat(SIZE)),
            0,
        ),
        ("controls", "", text_of(&"\u{1}".repeat(SIZE)), 3),
        ("escapes", "", text_of(&"\\n".repeat(SIZE / 2)), 0),
        ("plain", "", text_of(&"x".repeat(SIZE)), 0),
        ("not UTF-8", "", String::new(), 3),
        ("two patterns", &two, text_of(&"x".repeat(SIZE)), 3),
        ("many matches", &two, text_of(&"x".repeat(6 * MIB)), 3),
        ("a mask", rule, text_of(&"\\n".repeat(SIZE / 2)), 0),
    ];
    each(
        rows.map(|(name, rules, record, status)| {
            (name.to_owned(), (rules.to_owned(), record, status))
        }),
        |(rules, record, status)| {
            let mut env = TestEnv::new();
            env.start_at(ago(30));
            env.add(SERVICE, ago(30), ago(3), 5);
            env.service_table += &format!("\n{rules}");
            let record = match record.is_empty() {
                true => [b"{\"a\":\"", &*vec![0xff; SIZE], b"\"}"].concat(),
                false => record.into_bytes(),
            };
            let size = record.len();
            env.tap.add(array(SERVICE), Event::new(ago(10), record));
            let run = env.run(SERVICE, &[]);
            run.assert_status(status);
            let peak = peak(&env, SERVICE);
            assert!(
                peak <= 2 * size + 16 * MIB + PROGRAM,
                "{} MiB for {} MiB",
                peak / MIB,
                size / MIB
            );
            assert_eq!(run.count("delivered"), 5 + u64::from(status == 0));
            // said once
            env.run(SERVICE, &[]).assert_status(0);
        },
    );
}

#[test]
fn pages_without_records_cost_nothing_and_have_a_limit() {
    const ISOLATION: &str = "isolation-url";
    let mut env = TestEnv::new();
    env.start_at(ago(120));
    env.isolation.script(|_, number| {
        let answer = format!(
            "{{\"jobId\":\"j\",\"status\":\"COMPLETED\",\"pageToken\":\"{number}\",\"data\":[]}}"
        );
        Some(Fault::Body(answer.into()))
    });
    let run = env.run(ISOLATION, &["--max-duration", "8s"]);
    // each page comes after a longer wait
    assert!(env.isolation.requests().len() <= 11, "{}", run.stderr);
    assert!(peak(&env, ISOLATION) < PROGRAM, "{}", run.stderr);
}
