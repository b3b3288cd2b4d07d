//! For random events: what is to be hidden appears nowhere in what leaves, and everything else keeps
//! its bytes.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;

use proofpull::transform::{
    self, Action, Outcome, Pattern, Replacement, Rule, RuleStats, Transform,
};

use crate::simulator::Event;
use crate::test_env::{TestEnv, ago, array};

const SERVICE: &str = "tap-messages-blocked";
/// What is to be hidden; none of it is in any other value.
const SECRETS: [&str; 4] = [
    "dana@corp.example",
    "Zoë 🚨\n\"\\",
    "S-3-C-R-E-T",
    "<Ärger>",
];
/// The key under which it stands.
const KEY: &str = "hidden";
/// How deep a path is followed in these tests.
const DEEP: usize = 16;

fn rule(path: &str) -> Rule {
    Rule {
        action: Action::Replace(Replacement::text("*")),
        path: transform::Path::dotted(path).unwrap(),
        pattern: None,
    }
}

/// Rules that hide what stands under the key, however deep.
fn anywhere() -> Vec<Rule> {
    let path = |depth| "*.".repeat(depth) + KEY;
    (0..DEEP).map(|depth| rule(&path(depth))).collect()
}

fn treated(rules: &[Rule], event: &[u8]) -> (Outcome, String) {
    let (mut out, mut fits) = (Vec::new(), vec![RuleStats::default(); rules.len()]);
    let fate = Transform::following(rules.to_vec(), None).write(event, false, &mut out, &mut fits);
    (fate, String::from_utf8(out).unwrap())
}

/// As it goes out where there are no rules.
fn untreated(event: &str) -> String {
    treated(&[], event.as_bytes()).1
}

/// Events, in each of which some values stand under the key that is hidden.
fn json() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        "[ -~é🚨]{0,12}".prop_flat_map(|text| spelt(&text)),
        "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?",
        select(vec!["true", "false", "null"]).prop_map(String::from),
    ];
    scalar.prop_recursive(6, 60, 6, |inner| {
        let member = prop_oneof![
            4 => (select(vec!["a", "b", "x.y", "é"]), inner.clone()),
            1 => (Just(KEY), secret(inner.clone())),
        ];
        let member = member.prop_flat_map(|(key, value)| {
            (spelt(key), Just(value), space()).prop_map(|(key, value, space)| {
                format!("{space}{key}{space}:{space}{value}{space}")
            })
        });
        prop_oneof![
            vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(","))),
            vec(inner, 0..4).prop_map(|elements| format!("[{}]", elements.join(","))),
        ]
    })
}

/// A secret text, alone or somewhere in an object or array.
fn secret(inner: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let text = select(SECRETS.to_vec()).prop_flat_map(spelt);
    (text, inner, 0..4).prop_map(|(text, other, form)| match form {
        0 => format!("[{other},[{text}]]"),
        1 => format!("{{\"a\":{text},\"a\":{other}}}"),
        _ => text,
    })
}

fn space() -> impl Strategy<Value = &'static str> {
    select(vec!["", "", " ", "\t", "\n", " \r\n "])
}

/// A string as JSON, each character escaped or not.
fn spelt(text: &str) -> impl Strategy<Value = String> + use<> {
    let text: Vec<char> = text.chars().collect();
    vec(any::<bool>(), text.len()).prop_map(move |escape| {
        let mut out = String::from("\"");
        for (character, escape) in text.iter().zip(escape) {
            match character {
                '"' | '\\' if !escape => out.extend(['\\', *character]),
                '\n' if !escape => out.push_str("\\n"),
                _ if !escape => out.push(*character),
                _ => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04X}"));
                    }
                }
            }
        }
        out + "\""
    })
}

/// A text with every escape of JSON in it replaced by what it means.
fn unescaped(text: &str) -> String {
    let (mut units, mut rest): (Vec<u16>, _) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        let escape = rest.strip_prefix('\\').filter(|rest| !rest.is_empty());
        let code = escape.and_then(|rest| rest.strip_prefix('u')?.get(..4));
        let code = code.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        match (code, escape.and_then(|rest| rest.chars().next())) {
            (Some(code), _) => {
                units.push(code);
                rest = &rest[6..];
            }
            (None, Some(second)) => {
                let means = if second == 'n' { '\n' } else { second };
                units.extend(means.encode_utf16(&mut [0; 2]).iter());
                rest = &rest[1 + second.len_utf8()..];
            }
            (None, None) => {
                units.extend(first.encode_utf16(&mut [0; 2]).iter());
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    String::from_utf16_lossy(&units)
}

/// No secret stands in something that left, in any spelling.
fn check_no_secret(what: &str, bytes: &[u8]) -> Result<(), TestCaseError> {
    let text = String::from_utf8_lossy(bytes);
    for meaning in [unescaped(&text), text.into_owned()] {
        for secret in SECRETS {
            prop_assert!(
                !meaning.contains(secret),
                "{secret} is in {what}: {meaning}"
            );
        }
    }
    Ok(())
}

/// What the rules do, done to a tree.
fn hide(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                match key == KEY {
                    true => *value = "*".into(),
                    false => hide(value),
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(hide),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn no_hidden_value_gets_out_and_nothing_else_is_touched(event in json()) {
        // only an object is an event
        let event = match event.starts_with('{') {
            true => event,
            false => format!(r#"{{"w":{event}}}"#),
        };
        let (fate, text) = treated(&anywhere(), event.as_bytes());
        prop_assert_eq!(fate, Outcome::Emit);
        check_no_secret("the event", text.as_bytes())?;
        // as a JSON reader sees it, which takes the last of equal keys
        if let Ok(mut wanted) = serde_json::from_str::<Value>(&event) {
            hide(&mut wanted);
            prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), wanted);
        }
        if !unescaped(&event).contains(KEY) {
            prop_assert_eq!(&text, &untreated(&event));
        }
        let (_, again) = treated(&anywhere(), text.as_bytes());
        prop_assert_eq!(again, text);
    }

    #[test]
    fn all_but_the_hidden_values_keeps_its_bytes(
        before in "[^\"\\\\\\x00-\\x1f]{0,20}",
        after in json(),
        value in json(),
        secret in select(SECRETS.to_vec()).prop_flat_map(spelt),
    ) {
        let event = |value: &str| format!(r#"{{"a":"{before}", "u" : {value} ,"z":{after}}}"#);
        let expected = untreated(&event("\"*\""));
        for value in [&value, &secret] {
            let (_, text) = treated(&[rule("u")], event(value).as_bytes());
            prop_assert_eq!(&text, &expected);
        }
    }

    #[test]
    fn no_cut_or_changed_event_lets_a_hidden_value_out(
        event in json(),
        at in any::<Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = event.into_bytes();
        let at = at.index(bytes.len());
        let cut = bytes[..at].to_vec();
        bytes[at] = byte;
        for changed in [cut, bytes] {
            let (fate, text) = treated(&anywhere(), &changed);
            prop_assert!(fate == Outcome::Emit || text.is_empty());
            // the byte may have changed the key
            if let Ok(mut value) = serde_json::from_str::<Value>(&text) {
                let before = value.clone();
                hide(&mut value);
                prop_assert_eq!(before, value);
            }
        }
    }

    #[test]
    fn parts_of_a_string_are_hidden_and_the_rest_keeps_its_spelling(
        parts in vec("[a-cé🚨\n\"]{0,3}".prop_flat_map(|text| spelt(&text)), 1..6),
        secrets in vec("SECRET[0-9]".prop_flat_map(|text| spelt(&text)), 5),
    ) {
        let inside = |text: &String| text[1..text.len() - 1].to_owned();
        let event = |hidden: &dyn Fn(&String) -> String| {
            let pairs = parts.iter().zip(&secrets);
            let text: String = pairs.map(|(part, secret)| inside(part) + &hidden(secret)).collect();
            format!(r#"{{"u":"{text}"}}"#)
        };
        let pattern = Some(Pattern::new("SECRET[0-9]").unwrap());
        let rules = [Rule { pattern, ..rule("u") }];
        let (_, text) = treated(&rules, event(&inside).as_bytes());
        prop_assert_eq!(text, event(&|_| "*".into()));
    }
}

proptest! {
    // each is three runs of the program
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 50, ..ProptestConfig::with_cases(4) })]

    #[test]
    fn no_hidden_value_appears_anywhere_in_what_leaves(
        events in vec(vec(json(), 2).prop_map(|members| format!("{{\"a\":{},\"b\":{}}}", members[0], members[1])), 30..60),
        secret in select(SECRETS.to_vec()).prop_flat_map(spelt),
    ) {
        let mut env = TestEnv::new();
        env.start_at(ago(50));
        for rule in anywhere() {
            let path = rule.path.to_string();
            env.more_tables += &format!("[[services.{SERVICE}.obfuscate]]\npath = {path:?}\nreplace = '*'\n");
        }
        let unreadable = [
            format!("{{\"{KEY}\":{secret},}}").into_bytes(),
            format!("{{\"{KEY}\":{secret},\"a\":nothing}}").into_bytes(),
            [format!("{{\"{KEY}\":{secret}").as_bytes(), b",\"a\":\"\xff\"}"].concat(),
        ];
        let all = events.iter().map(|event| event.clone().into_bytes()).chain(unreadable);
        for event in all {
            env.tap.add(array(SERVICE), Event::new(ago(20), event));
        }
        for options in [&["-vv"][..], &["-vv", "--stdout"], &["-vv", "--log-format", "json"]] {
            let run = env.run(SERVICE, options);
            check_no_secret("what was said", run.stderr.as_bytes())?;
            check_no_secret("standard output", &run.stdout)?;
            // said once by each state
            run.assert_status(if options.len() == 3 { 0 } else { 3 });
            if options.contains(&"--stdout") {
                prop_assert_eq!(run.stdout.iter().filter(|&&byte| byte == b'\n').count(), events.len());
            }
        }
        prop_assert_eq!(env.devo.count(), events.len());
        for line in env.devo.lines() {
            check_no_secret("a record", &line)?;
        }
        check_files(&env.state_dir())?;
    }
}

/// No file but those of events set aside holds a secret, and these hold all.
fn check_files(dir: &Path) -> Result<(), TestCaseError> {
    let mut quarantine = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        match path.to_string_lossy().ends_with(".quarantine.jsonl") {
            true => quarantine += bytes.iter().filter(|&&byte| byte == b'\n').count(),
            false => check_no_secret(&path.display().to_string(), &bytes)?,
        }
    }
    prop_assert_eq!(quarantine, 6);
    Ok(())
}
