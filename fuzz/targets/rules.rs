//! An event of any bytes under rules: what goes out is one line of JSON in which nothing stands where
//! the rules say, and once more changes nothing; what does not go leaves nothing behind.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proofpull::transform::{
    Action, Outcome, Path, Pattern, Replacement, Rule, RuleStats, Transform,
};
use serde_json::Value;

fn rules() -> Vec<Rule> {
    let rule = |path: &str, pattern: Option<&str>| Rule {
        action: Action::Replace(Replacement::text("*")),
        path: Path::dotted(path).unwrap(),
        pattern: pattern.map(|pattern| Pattern::new(pattern).unwrap()),
    };
    vec![
        rule("u", None),
        rule("*.u", None),
        rule("*.*.u", None),
        rule("v", Some("[0-9]+")),
    ]
}

/// Nothing but the replacement stands under `u`, three levels deep, and no digit under `v`.
fn check(value: &Value, depth: usize) {
    let inside: Vec<&Value> = match value {
        Value::Object(members) => {
            let hidden = members.get("u").is_none_or(|value| value == "*");
            assert!(hidden, "{value}");
            // a number is hidden whole, so that only texts are left
            let part = members.get("v").filter(|_| depth == 0);
            let text = part.and_then(Value::as_str).unwrap_or_default();
            let digit =
                part.is_some_and(Value::is_number) || text.contains(|c: char| c.is_ascii_digit());
            assert!(!digit, "{value}");
            members.values().collect()
        }
        Value::Array(elements) => elements.iter().collect(),
        _ => return,
    };
    if depth < 2 {
        inside.into_iter().for_each(|value| check(value, depth + 1));
    }
}

fuzz_target!(|event: &[u8]| {
    let transform = Transform::following(rules(), None);
    let write = |event: &[u8]| {
        let (mut out, mut rule_stats) = (Vec::new(), [RuleStats::default(); 4]);
        (
            transform.write(event, false, &mut out, &mut rule_stats),
            out,
        )
    };
    let (fate, out) = write(event);
    if fate != Outcome::Emit {
        assert!(out.is_empty());
        return;
    }
    assert!(!out.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0)));
    if let Ok(value) = serde_json::from_slice(&out) {
        check(&value, 0);
    }
    assert_eq!(write(&out), (Outcome::Emit, out));
});
