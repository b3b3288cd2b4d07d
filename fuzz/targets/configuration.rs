//! A configuration of any text: values or faults, each fault on a line that is there, in one line,
//! and never with a value in it.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use proofpull::config::file::check;
use time::macros::datetime;

/// Stands where secrets stand; nothing that is said may repeat it.
const SECRET: &str = "s3cr3t";

fuzz_target!(|text: &str| {
    let text = text.replace('\u{1}', SECRET);
    let base = Path::new("/etc/proofpull");
    let Err(faults) = check(&text, base, datetime!(2026-11-27 12:00 UTC)) else {
        return;
    };
    assert!(!faults.is_empty());
    let lines = text.split('\n').count();
    for fault in faults {
        assert!((1..=lines).contains(&fault.line), "{fault:?}");
        let said = format!("{fault} {}", fault.hint);
        assert!(!said.contains(['\n', '\r']), "{said:?}");
        // names of keys are repeated, values are not: behind an equals sign it is one
        let is_value = text.lines().all(|line| match line.split_once(SECRET) {
            Some((before, _)) => {
                before.contains('=') && !before.contains(['{', '[', '.', '"', '\'', '#'])
            }
            None => true,
        });
        assert!(!is_value || !said.contains(SECRET), "{said}");
    }
});
