//! The configuration of a collector of any text, with a file of its state behind a zero byte: what is wrong
//! with it, each on a line that is there, or a configuration that proofpull takes. A secret stands in a file
//! of its own alone.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use proofpull::config::file::check;
use proofpull::import::{CollectorFile, Given, PlannedContent, plan};
use time::macros::datetime;

/// Stands where secrets stand; nothing that is said may repeat it.
const SECRET: &str = "s3cr3t";

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let Some(Ok(text)) = parts.next().map(str::from_utf8) else {
        return;
    };
    let text = text.replace('\u{1}', SECRET);
    let is_kept = is_secret(&text);
    let state = parts.next().map(|bytes| {
        [CollectorFile {
            name: "0f1e2d.pickle".into(),
            bytes: Ok(bytes.to_owned()),
        }]
    });
    let now = datetime!(2026-11-27 12:00 UTC);
    let into = Path::new("/etc/proofpull");
    let given = Given {
        text: &text,
        base: Path::new("/opt/collector/config"),
        into,
        state: state.as_ref().map(|files| &files[..]),
        now,
    };
    let plan = match plan(&given) {
        Ok(plan) => plan,
        Err(faults) => {
            assert!(!faults.is_empty());
            // a lone carriage return is a line break in YAML
            let lines = text.replace("\r\n", "\n").split(['\n', '\r']).count();
            for fault in faults {
                assert!((1..=lines).contains(&fault.line), "{fault:?}");
                let said = format!("{fault} {}", fault.hint);
                assert!(!said.contains(['\n', '\r']), "{said:?}");
                assert!(!is_kept || !said.contains(SECRET), "{said}");
            }
            return;
        }
    };
    let rows = plan
        .rows
        .iter()
        .map(|row| [&row.theirs, &row.ours, &row.value]);
    let said = rows.flatten().chain(&plan.notes).chain(&plan.warnings);
    for said in said {
        assert!(!is_kept || !said.contains(SECRET), "{said}");
    }
    for file in &plan.files {
        assert!(file.path.is_relative(), "{:?}", file.path);
        if let PlannedContent::Text(content) = &file.content {
            assert!(!is_kept || !content.contains(SECRET), "{content}");
        }
    }
    let last = plan.files.last().expect("the configuration");
    let PlannedContent::Text(config) = &last.content else {
        panic!("the configuration is no secret");
    };
    check(config, into, now).expect("it was checked");
});

/// Whether the secret stands where only a secret can stand: as the value of such a key, on its line.
fn is_secret(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| line.contains(SECRET));
    lines.all(|line| {
        let keys = ["password: ", "api_key: "];
        let mut values = keys
            .iter()
            .filter_map(|key| line.trim_start().strip_prefix(key));
        values.any(|value| value == SECRET)
    }) && !text.contains(['"', '\'', '{', '[', '|', '>', '?'])
}
