//! Proofpoint's own community tools understand the simulator: what the program is tested against is
//! not only our reading. They run where `PROOFPULL_TOOLS` names a Python that has them, as .ci/run
//! makes one; elsewhere this is skipped, and said.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use proofpull::clock::utc;
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::simulator::isolation::visit;
use crate::simulator::sample::ARRAYS;
use crate::simulator::{
    API_KEY, Event, Isolation, Jobs, PRINCIPAL, Rng, SECRET, Style, Tap, scenario,
};
use crate::test_env::ago;

/// What a script prints, if there is a Python with this module.
fn run(script: &str, module: &str, words: &[&str]) -> Option<Value> {
    let Some(python) = std::env::var_os("PROOFPULL_TOOLS") else {
        println!("skipped: PROOFPULL_TOOLS names no Python with Proofpoint's tools");
        return None;
    };
    let found = Command::new(&python)
        .args(["-c", &format!("import {module}")])
        .output();
    if !found
        .expect("PROOFPULL_TOOLS names a Python")
        .status
        .success()
    {
        println!("skipped: {module} is not installed there");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/tools")
        .join(script);
    let output = Command::new(&python)
        .arg(script)
        .args(words)
        .current_dir(dir.path())
        .env_clear()
        .env("no_proxy", "*")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    Some(serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}")))
}

#[test]
fn the_sdk_for_tap_understands_events_and_summaries() {
    let tap = Tap::start();
    // as the API is, and as its answers may be, for a parser of JSON
    tap.set_style(Style {
        extra_keys: true,
        ..Style::default()
    });
    let (start, end) = (ago(62), ago(2));
    let events = scenario(&mut Rng::new(1), start, end, 40);
    let mut named = BTreeSet::new();
    let mut counts = ARRAYS.map(|_| 0);
    for (array, mut event) in events {
        event.late = false;
        let body: Value = serde_json::from_slice(event.body.text()).unwrap();
        let threats = body["threatsInfoMap"].as_array().into_iter().flatten();
        for threat in threats.chain([&body]) {
            named.extend(threat["threatID"].as_str().map(str::to_owned));
        }
        counts[ARRAYS.iter().position(|name| *name == array).unwrap()] += 1;
        tap.add(array, event);
    }
    let words = [&tap.url(), PRINCIPAL, SECRET, &utc(start), &utc(end)];
    let Some(understood) = run("tap.py", "tap_api", &words) else {
        return;
    };
    for (array, count) in ARRAYS.iter().zip(counts) {
        assert_eq!(
            understood["lists"][array].as_array().unwrap().len(),
            count,
            "{array}"
        );
    }
    let all = serde_json::json!([counts[2] + counts[3], counts[0] + counts[1]]);
    assert_eq!(understood["all"], all);
    let named: Vec<String> = named.into_iter().collect();
    assert_eq!(understood["named"], serde_json::json!(named));
    let summary = |id: &String| serde_json::json!([id, "active", "malware"]);
    let summaries: Vec<Value> = named.iter().map(summary).collect();
    assert_eq!(understood["summaries"], Value::from(summaries));
}

#[test]
fn the_tool_for_isolation_collects_every_record_of_every_page() {
    let isolation = Isolation::start();
    // it asks for all 30 days, by its own clock
    isolation.set_keep(Duration::days(31));
    isolation.set_jobs(Jobs {
        page: 70,
        looks: 2,
        pages_pend: true,
        ..Jobs::default()
    });
    let mut rng = Rng::new(2);
    let now = OffsetDateTime::now_utc();
    for serial in 0..1000 {
        let at = now - Duration::minutes(1 + rng.below(29 * 24 * 60) as i64);
        isolation.add(Event::new(at, visit(&mut rng, at, serial)));
    }
    let words = [&isolation.url(), API_KEY, "10000"];
    let Some(collected) = run("isolation.py", "iso2web", &words) else {
        return;
    };
    let records = collected.as_array().unwrap();
    let urls: BTreeSet<&str> = records
        .iter()
        .map(|record| record["url"].as_str().unwrap())
        .collect();
    assert_eq!((records.len(), urls.len()), (1000, 1000));
    let pages = isolation.requests();
    let pages = pages
        .iter()
        .filter(|asked| asked.param("pageToken").is_some());
    assert!(pages.count() > 14);
}
