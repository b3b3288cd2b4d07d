//! `tests` checks tables of rules, events and outcomes; `tests/redaction.rs` has random ones.

use super::*;

/// The key of the pseudonyms.
const KEY: &str = "0123456789abcdef0123456789abcdef";

fn pseudonym(text: &str) -> String {
    Pseudonyms::new(KEY.as_bytes()).unwrap().of(text)
}

fn rule(action: Action, path: &str) -> Rule {
    let (path, pattern) = (Path::dotted(path).unwrap(), None);
    Rule {
        action,
        path,
        pattern,
    }
}

fn mask(path: &str) -> Rule {
    rule(Action::Mask, path)
}

fn hash(path: &str) -> Rule {
    rule(Action::Hash, path)
}

fn replace(path: &str, text: &str) -> Rule {
    rule(Action::Replace(Replacement::text(text)), path)
}

fn keep(path: &str, pattern: &str) -> Rule {
    rule(Action::Keep, path).only(pattern)
}

fn drop_where(path: &str, pattern: &str) -> Rule {
    rule(Action::Drop, path).only(pattern)
}

impl Rule {
    fn only(mut self, pattern: &str) -> Rule {
        self.pattern = Some(Pattern::new(pattern).unwrap());
        self
    }
}

struct Transformed {
    outcome: Outcome,
    text: String,
    stats: Vec<RuleStats>,
}

fn treat(rules: &[Rule], record: &[u8]) -> Transformed {
    let key = Pseudonyms::new(KEY.as_bytes()).unwrap();
    let treat = Transform::following(rules.to_vec(), Some(key));
    let mut stats = vec![RuleStats::default(); rules.len()];
    let mut out = b"before".to_vec();
    let outcome = treat.write(record, false, &mut out, &mut stats);
    let text = String::from_utf8(out).unwrap();
    let text = text.strip_prefix("before").unwrap().to_owned();
    Transformed {
        outcome,
        text,
        stats,
    }
}

/// Expects that every rule matches and that the event becomes `expected`.
#[track_caller]
fn check(rules: &[Rule], event: &str, expected: &str) {
    let Transformed {
        outcome,
        text,
        stats,
    } = treat(rules, event.as_bytes());
    assert_eq!((outcome, text.as_str()), (Outcome::Emit, expected));
    assert!(stats.iter().all(|stat| stat.matched), "{stats:?}");
}

/// Expects that no rule matches.
#[track_caller]
fn check_unchanged(rules: &[Rule], event: &str) {
    let Transformed {
        outcome,
        text,
        stats,
    } = treat(rules, event.as_bytes());
    assert_eq!((outcome, text.as_str()), (Outcome::Emit, event));
    let untouched = |stat: &RuleStats| {
        *stat
            == RuleStats {
                tried: 1,
                matched: false,
            }
    };
    assert!(stats.iter().all(untouched), "{stats:?}");
}

#[test]
fn a_mask_has_the_type_of_what_it_hides() {
    for (value, masked) in [
        (r#""dana@corp.example""#, r#""****SANITIZED****""#),
        (r#""""#, r#""****SANITIZED****""#),
        ("17", "-1"),
        ("-0", "-1"),
        ("123456789012345678901234567890", "-1"),
        ("1.5", "-1.0"),
        ("1E400", "-1.0"),
        ("true", "false"),
        ("false", "false"),
        ("null", "null"),
        (r#"{"a":["x"]}"#, "{}"),
        (r#"["dana", {}]"#, "[]"),
    ] {
        let event = |value| format!(r#"{{"a":1.0, "u" : {value} ,"z":"\u00e9é"}}"#);
        check(&[mask("u")], &event(value), &event(masked));
        check(
            &[mask("x.*.u")],
            &format!("{{\"x\":[{}]}}", event(value)),
            &format!("{{\"x\":[{}]}}", event(masked)),
        );
    }
}

#[test]
fn a_replacement_takes_the_place_of_anything() {
    for value in [r#""x""#, "1", "true", "null", "{}", "[1,[2]]"] {
        let event = |value: &str| format!(r#"{{"u":{value},"v":1}}"#);
        check(
            &[replace("u", "a\"\n")],
            &event(value),
            &event(r#""a\"\n""#),
        );
        for scalar in ["7", "-1.0", "1e9", "true", "12345678901234567890123"] {
            let replacement = Replacement::scalar(scalar).unwrap();
            check(
                &[rule(Action::Replace(replacement), "u")],
                &event(value),
                &event(scalar),
            );
        }
    }
    for none in ["null", "[]", "{}", "inf", "NaN", "1.", "\"x\""] {
        assert_eq!(Replacement::scalar(none), None);
    }
}

#[test]
fn a_pseudonym_is_that_of_what_is_meant_and_addresses_are_folded() {
    let check_hash = |value: &str, text: &str| {
        let expected = format!(r#"{{"u":"{}"}}"#, pseudonym(text));
        check(&[hash("u")], &format!(r#"{{"u":{value}}}"#), &expected);
    };
    check_hash(r#""Dana.Reyes@Corp.Example""#, "dana.reyes@corp.example");
    check_hash(r#""d\u0061na\u0040corp.example""#, "dana@corp.example");
    check_hash(r#""ÉVA@corp.example""#, "éva@corp.example");
    check_hash(r#""Dana""#, "Dana");
    check_hash(r#""""#, "");
    check_hash(r#""a\/b\n\"\\\ud83d\udea8""#, "a/b\n\"\\\u{1f6a8}");
    check_hash(r#""half \ud83d here""#, "half \u{fffd} here");
    check_hash("1.0", "1.0");
    check_hash(r#"["A@b", 1]"#, r#"["a@b", 1]"#);
    check(&[hash("u")], r#"{"u":null}"#, r#"{"u":null}"#);

    // computed with openssl dgst -sha256 -hmac
    assert_eq!(
        pseudonym("dana@corp.example"),
        "68cb4a9acecbfb7d18f6858228e2a520851c510c1e8ff0b505ff4fabd8a537c4"
    );

    // without a key, a rule still hides everything it covers
    let treat = Transform::following(vec![hash("u"), hash("v").only("a")], None);
    let mut out = Vec::new();
    treat.write(
        br#"{"u":"dana","v":"-a-"}"#,
        false,
        &mut out,
        &mut [RuleStats::default(); 2],
    );
    assert_eq!(
        out,
        br#"{"u":"****SANITIZED****","v":"-****SANITIZED****-"}"#
    );
}

#[test]
fn another_key_gives_other_pseudonyms_and_the_same_key_the_same() {
    let of = |key: &str, text: &str| Pseudonyms::new(key.as_bytes()).unwrap().of(text);
    assert_eq!(of(KEY, "dana"), of(KEY, "dana"));
    assert_ne!(of(KEY, "dana"), of("another", "dana"));
    assert_ne!(of(KEY, "dana"), of(KEY, "dane"));
    assert!(!format!("{:?}", Pseudonyms::new(b"secret").unwrap()).contains("secret"));
}

#[test]
fn a_path_leads_through_objects_and_arrays() {
    let event =
        r#"{"a":{"b":[{"c":"1"},{"c":2,"d":"3"}],"c":"4"},"c":"5","b.c":"6","":"7","*":"8"}"#;
    let masked = |values: &[&str]| {
        let mut event = event.to_owned();
        for value in values {
            event = event.replace(&format!("\"{value}\""), "\"****SANITIZED****\"");
        }
        event
    };
    for (path, values) in [
        ("c", &["5"][..]),
        ("a.c", &["4"]),
        ("a.b.*.d", &["3"]),
        ("*.c", &["4"]),
        ("a.*.*.d", &["3"]),
        ("*.*.*.d", &["3"]),
    ] {
        check(&[mask(path)], event, &masked(values));
    }
    check(
        &[mask("a.b.*.c")],
        event,
        &masked(&["1"]).replace(r#""c":2"#, r#""c":-1"#),
    );
    check(
        &[mask("a.b.*")],
        event,
        &event.replace(r#"{"c":"1"},{"c":2,"d":"3"}"#, "{},{}"),
    );
    let keys = ["b.c"];
    let path = Path::of(keys.into_iter()).unwrap();
    check(&[Rule { path, ..mask("x") }], event, &masked(&["6"]));
    check(
        &[mask("*")],
        r#"{"a":{},"":"7","*":"8"}"#,
        r#"{"a":{},"":"****SANITIZED****","*":"****SANITIZED****"}"#,
    );
    for path in ["x", "C", "a.b.c", "a.b.0.c", "c.*", "a.c.b", "b.c", "c.c"] {
        check_unchanged(&[mask(path)], event);
    }
    for event in ["{}", r#" { "b" : [ "a" , { } ] } "#] {
        check_unchanged(&[mask("a"), mask("a.b"), mask("*.a")], event);
    }
}

#[test]
fn every_one_of_equal_keys_is_treated_and_keys_are_compared_as_what_they_mean() {
    check(
        &[mask("u")],
        r#"{"u":"1","\u0075":"2","v":0,"u":{"u":"3"},"\u00750":"4","U":"5"}"#,
        r#"{"u":"****SANITIZED****","\u0075":"****SANITIZED****","v":0,"u":{},"\u00750":"4","U":"5"}"#,
    );
    check(
        &[mask("é\".\u{1f6a8}")],
        r#"{"\u00E9\"":{"\ud83d\udea8":1},"é\"":{"🚨":2}}"#,
        r#"{"\u00E9\"":{"\ud83d\udea8":-1},"é\"":{"🚨":-1}}"#,
    );
}

#[test]
fn a_pattern_leaves_the_rest_of_a_string_as_it_is_spelt() {
    let at = |pattern| [replace("u", "<>").only(pattern)];
    for (pattern, text, expected) in [
        ("[^@]+", "dana@corp.example", "<>@<>"),
        ("^[^@]+", "dana@corp.example", "<>@corp.example"),
        ("b", r"\u0061b\u0063", r"\u0061<>\u0063"),
        ("abc", r"\u0061b\u0063\/", r"<>\/"),
        ("\u{1f6a8}", r"\ud83d\udea8\ud83d 🚨\n", r"<>\ud83d <>\n"),
        ("\n", r"a\nb\u000ac", "a<>b<>c"),
        (r"\\", r"a\\b", "a<>b"),
        ("\"", r#"\"a\""#, "<>a<>"),
        (r"\d*", "a12b3", "a<>b<>"),
        ("(?i)DANA", "Dana dana", "<> <>"),
        (r"\w+", "é-ö", "<>-<>"),
        (r"(?-u:\w)+", "aé", "<>é"),
        (".+", "", ""),
    ] {
        let event = |text: &str| format!(r#"{{"a":"\u00e9","u":"{text}"}}"#);
        match text == expected {
            true => check_unchanged(&at(pattern), &event(text)),
            false => check(&at(pattern), &event(text), &event(expected)),
        }
    }
    check_unchanged(&at("x"), r#"{"u":"dana"}"#);
    check(
        &[hash("u").only("^[^@]+")],
        r#"{"u":"Dana@Corp"}"#,
        &format!(r#"{{"u":"{}@Corp"}}"#, pseudonym("dana")),
    );
    check(
        &[mask("u").only("an")],
        r#"{"u":"dana"}"#,
        r#"{"u":"d****SANITIZED****a"}"#,
    );
    let seven = Replacement::scalar("7").unwrap();
    check(
        &[rule(Action::Replace(seven), "u").only("an")],
        r#"{"u":"dana"}"#,
        r#"{"u":"d7a"}"#,
    );
}

#[test]
fn what_a_pattern_cannot_be_looked_for_in_is_hidden_whole() {
    let rules = [mask("u").only("^5+$")];
    check(&rules, r#"{"u":["5"]}"#, r#"{"u":[]}"#);
    check(&rules, r#"{"u":{"a":"6"}}"#, r#"{"u":{}}"#);
    check(&rules, r#"{"u":55}"#, r#"{"u":-1}"#);
    check(&[mask("u").only("ue$")], r#"{"u":true}"#, r#"{"u":false}"#);
    for value in ["56", "5.5", "true", "null", r#""56""#] {
        check_unchanged(&rules, &format!(r#"{{"u":{value}}}"#));
    }
}

#[test]
fn several_rules_for_one_value_hide_together_what_each_hides() {
    let event = r#"{"u":"abcdef"}"#;
    check(
        &[replace("u", "1").only("abc"), replace("u", "2").only("de")],
        event,
        r#"{"u":"12f"}"#,
    );
    check(
        &[replace("u", "1").only("cd"), replace("u", "2").only("bcde")],
        event,
        r#"{"u":"a2f"}"#,
    );
    check(
        &[
            replace("u", "1").only("abcd"),
            replace("u", "2").only("cde"),
        ],
        event,
        r#"{"u":"12f"}"#,
    );
    // a whole replacement wins over a partial one, and the first over the others
    check(
        &[replace("u", "1").only("a"), replace("*", "2"), mask("u")],
        event,
        r#"{"u":"2"}"#,
    );
    // a value inside a hidden one is hidden with it, and its rule has matched
    check(
        &[mask("a.b.*"), replace("a", "1"), mask("a.b.*.c").only("x")],
        r#"{"a":{"b":[{"c":"x"}]},"z":0}"#,
        r#"{"a":"1","z":0}"#,
    );
}

#[test]
fn any_keep_admits_and_drop_wins() {
    let both = [
        keep("class", "^phish$"),
        keep("score", "^9"),
        drop_where("to.*", "@vip\\."),
    ];
    for (event, goes) in [
        (r#"{"class":"phish"}"#, true),
        (r#"{"class":"\u0070hish"}"#, true),
        (r#"{"class":"spam","score":97}"#, true),
        (r#"{"class":"spam","score":17}"#, false),
        (r#"{"class":null}"#, false),
        (r#"{"class":["phish"]}"#, false),
        ("{}", false),
        (r#"{"class":"phish","to":["a@b","c@vip.example"]}"#, false),
        (r#"{"class":"phish","to":["a@b"]}"#, true),
        (r#"{"class":"spam","class":"phish"}"#, true),
    ] {
        let outcome = treat(&both, event.as_bytes());
        let expected = match goes {
            true => (Outcome::Emit, event),
            false => (Outcome::Filtered, ""),
        };
        assert_eq!(
            (outcome.outcome, outcome.text.as_str()),
            expected,
            "{event}"
        );
    }
    let there = [rule(Action::Drop, "a.b")];
    for (event, goes) in [
        (r#"{"a":{"b":0}}"#, false),
        (r#"{"a":{"b":{}}}"#, false),
        (r#"{"a":{"b":null}}"#, true),
        (r#"{"a":{}}"#, true),
    ] {
        let outcome = treat(&there, event.as_bytes()).outcome;
        assert_eq!(outcome == Outcome::Emit, goes, "{event}");
    }
}

#[test]
fn filters_look_at_the_event_as_it_came() {
    let rules = [mask("u"), drop_where("u", "dana")];
    assert_eq!(treat(&rules, br#"{"u":"dana"}"#).outcome, Outcome::Filtered);
    let rules = [mask("u"), drop_where("u", "SANITIZED")];
    assert_eq!(treat(&rules, br#"{"u":"dana"}"#).outcome, Outcome::Emit);
}

#[test]
fn a_rule_has_matched_once_it_hid_something_and_a_filter_once_its_path_led_somewhere() {
    let stats = |rules: &[Rule], event: &str| -> Vec<(u64, bool)> {
        let stats = treat(rules, event.as_bytes()).stats;
        stats
            .iter()
            .map(|stat| (stat.tried, stat.matched))
            .collect()
    };
    let rules = [
        mask("u"),
        mask("w"),
        mask("u").only("x"),
        mask("n").only("x"),
    ];
    let seen = stats(&rules, r#"{"u":"dana","n":null}"#);
    assert_eq!(seen, [(0, true), (1, false), (1, false), (1, false)]);
    let rules = [
        drop_where("u", "x"),
        drop_where("w", "x"),
        drop_where("l", "x"),
        mask("u"),
    ];
    let seen = stats(&rules, r#"{"u":"dana","l":["x"]}"#);
    assert_eq!(seen, [(0, true), (1, false), (1, false), (0, true)]);
    // a dropped event does not count for redactions
    let seen = stats(&rules, r#"{"u":"x"}"#);
    assert_eq!(seen, [(0, true), (1, false), (1, false), (0, false)]);
}

#[test]
fn a_rule_is_another_with_another_path_or_pattern() {
    let one = hash("a.b");
    let same = [mask("a.b"), replace("a.b", "x")];
    let keys = ["a.b"];
    let path = Path::of(keys.into_iter()).unwrap();
    let others = [
        hash("a.*"),
        hash("ab"),
        hash("b.a"),
        hash("a.b").only("x"),
        hash("a.b").only("y"),
        hash("a.b.x"),
        keep("a.b", "x"),
        drop_where("a.b", "x"),
        Rule { path, ..mask("x") },
    ];
    assert!(same.iter().all(|rule| rule.digest() == one.digest()));
    let mut digests: Vec<_> = others.iter().chain([&one]).map(Rule::digest).collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), others.len() + 1);
    let shown: Vec<String> = others.iter().map(ToString::to_string).collect();
    assert_eq!(shown[0], "obfuscate a.*");
    assert_eq!(shown[3], "obfuscate a.b (with its pattern)");
    assert_eq!(shown[6], "keep a.b (with its pattern)");
    assert_eq!(shown[8], "obfuscate \"a.b\"");
    assert!(!format!("{others:?}").contains("Regex"));
}

#[test]
fn what_is_no_json_does_not_go_out_where_there_are_rules() {
    let rules: [&[Rule]; 3] = [&[mask("x")], &[keep("x", "x")], &[rule(Action::Drop, "x")]];
    for record in [
        &b"{\"a\":1"[..],
        b"{\"a\":1}}",
        b"{\"a\":1} {}",
        b"{\"a\":1,}",
        b"{\"a\" 1}",
        b"{a:1}",
        b"{\"a\":nothing}",
        b"{\"a\":01}",
        b"{\"a\":1.}",
        b"{\"a\":+1}",
        b"{\"a\":\"\\x\"}",
        b"{\"a\":\"\\u12g4\"}",
        b"{\"a\":\"caf\xe9\"}",
        b"{\"a\":'x'}",
        b"\xef\xbb\xbf{}",
        b"{\"half a character \\ud83d\":1}",
    ] {
        for rules in rules {
            let outcome = treat(rules, record);
            assert!(
                matches!(outcome.outcome, Outcome::Quarantine(_)),
                "{record:?}"
            );
            assert_eq!(outcome.text, "");
        }
        let mut out = Vec::new();
        assert_eq!(
            Transform::default().write(record, false, &mut out, &mut []),
            Outcome::Emit
        );
    }
    let why = |record: &[u8]| treat(&[mask("x")], record).outcome;
    assert_eq!(why(b"{\"a\":"), Outcome::Quarantine("it is cut off"));
    assert_eq!(why(b"{\"a\":]"), Outcome::Quarantine("it is not JSON"));
    assert_eq!(why(b"{\"\xff"), Outcome::Quarantine("it is not UTF-8"));
}

#[test]
fn a_plain_event_is_written_as_any_other() {
    let long = format!(r#"{{"u":"dana","text":"{}"}}"#, "é".repeat(LARGE));
    for record in [r#"{"u":"dana","v":{"w":["caf\u00e9 é",1]}}"#, &long] {
        for rules in [
            vec![],
            vec![mask("u")],
            vec![drop_where("v.w.*", "nothing")],
        ] {
            let treat = Transform::following(rules.clone(), None).appending([("x", "y")]);
            let written = [true, false].map(|is_plain| {
                let (mut out, mut stats) = (Vec::new(), vec![RuleStats::default(); rules.len()]);
                let outcome = treat.write(record.as_bytes(), is_plain, &mut out, &mut stats);
                assert_eq!(outcome, Outcome::Emit);
                (out, stats)
            });
            assert_eq!(written[0], written[1]);
        }
    }
    // what is no object is no event, however plain
    let outcome = Transform::default().write(b"[]", true, &mut Vec::new(), &mut []);
    assert!(matches!(outcome, Outcome::Quarantine(_)));
}

#[test]
fn only_an_object_is_an_event() {
    for record in [
        "", "17", "\"{}\"", "null", "true", "[]", "[{}]", "\u{a0}{}", "nul", "<html>", "}",
    ] {
        for rules in [&[][..], &[mask("a")]] {
            let done = treat(rules, record.as_bytes());
            let why = Outcome::Quarantine("it is not a JSON object");
            assert_eq!((done.outcome, done.text.as_str()), (why, ""), "{record}");
        }
    }
    for record in ["{}", " {}", "\u{feff}{}", "{broken"] {
        assert_eq!(
            treat(&[], record.as_bytes()).outcome,
            Outcome::Emit,
            "{record}"
        );
    }
}

#[test]
fn a_record_that_would_take_too_much_memory_is_quarantined() {
    let member = |value: &str| format!("{{\"a\":{value}}}");
    let text = |inside: &str| member(&format!("\"{inside}\""));
    const MIB: usize = 1 << 20;
    let (deep, flat) = ("[".repeat(MIB / 4), "1,".repeat(MIB / 4));
    let deep = deep.clone() + &"]".repeat(MIB / 4);
    let pattern = || [mask("a").only("x")];
    let rows: [(&[Rule], String, Option<&str>); 13] = [
        (
            &[mask("b")],
            text(&("\n".to_owned() + &"x".repeat(8 * MIB - 12))),
            Some("too long for the rules"),
        ),
        (&[], member(&deep), Some("too many parts")),
        (&[], member(&format!("[{flat}1]")), Some("too many parts")),
        (&[], text(&",[{".repeat(MIB)), None),
        (&[], text(&"\u{1}".repeat(MIB)), None),
        (
            &[],
            text(&"\u{1}".repeat(2 * MIB)),
            Some("control characters"),
        ),
        (&[], text(&"x".repeat(10 * MIB)), None),
        (&[mask("b")], text(&"x".repeat(10 * MIB)), None),
        (&[mask("a")], text(&"x".repeat(10 * MIB)), None),
        (
            &[mask("b")],
            text(&"x".repeat(10 * MIB)) + "\n",
            Some("too long for the rules"),
        ),
        (
            &pattern(),
            text(&"y".repeat(10 * MIB)),
            Some("too long for the rules"),
        ),
        (
            &pattern(),
            text(&"\\n".repeat(MIB)),
            Some("too long for the rules"),
        ),
        (
            &pattern(),
            text(&"xy".repeat(MIB / 10)),
            Some("match too often"),
        ),
    ];
    for (number, (rules, record, expected)) in rows.into_iter().enumerate() {
        let done = treat(rules, record.as_bytes());
        match (done.outcome, expected) {
            (Outcome::Emit, None) => {}
            (Outcome::Quarantine(why), Some(expected)) if why.contains(expected) => {
                assert_eq!(done.text, "", "row {number}");
            }
            (other, expected) => panic!("row {number}: {other:?} is not {expected:?}"),
        }
    }
}

#[test]
fn what_is_not_utf_8_goes_out_unless_it_becomes_too_long() {
    const MIB: usize = 1024 * 1024;
    // how many bad bytes, each of which becomes three
    for (bad, is_kept) in [(MIB, false), (3 * MIB, true), (20 * MIB, true)] {
        let record = [b"{\"a\":\"", &*vec![0xff; bad], b"\"}"].concat();
        let done = treat(&[], &record);
        let kept = Outcome::Quarantine("it is too long, and not UTF-8");
        assert_eq!(done.outcome == kept, is_kept, "{bad}: {:?}", done.outcome);
    }
}

#[test]
fn nesting_without_end_is_no_danger_and_nothing_in_it_gets_out() {
    const DEEP: usize = 60_000;
    let deep = |inside: &str| "{\"a\":[".repeat(DEEP) + inside + &"]}".repeat(DEEP);
    check(&[mask("a")], &deep("\"dana\""), r#"{"a":[]}"#);
    let path = "a.*.".repeat(31) + "a";
    let expected = "{\"a\":[".repeat(31) + "{\"a\":[]}" + &"]}".repeat(31);
    check(&[mask(&path)], &deep("\"dana\""), &expected);
    check_unchanged(&[mask("b"), mask("a.b.*")], &deep("\"dana\""));
    let cut = &deep("")[..DEEP];
    assert_eq!(
        treat(&[mask("b")], cut.as_bytes()).outcome,
        Outcome::Quarantine("it is cut off")
    );
}

#[test]
fn an_event_is_treated_as_the_one_line_that_it_becomes() {
    check(
        &[mask("u"), replace("v", "x").only("\n")],
        "{\n\t\"u\" :\r\n \"da\nna\",\n\"v\":\"a\nb\tc\"}",
        "{\t\"u\" : \"****SANITIZED****\",\"v\":\"axb\\u0009c\"}",
    );
    let treat = Transform::following(vec![mask("u")], None).appending([("u", "@"), ("id", "7")]);
    let mut out = Vec::new();
    treat.write(b"{\"u\":1\n}", false, &mut out, &mut [RuleStats::default()]);
    assert_eq!(out, br#"{"u":-1,"u":"@","id":"7"}"#);
}

#[test]
fn paths_and_patterns_have_limits() {
    for path in ["", ".", "a.", ".a", "a..b"] {
        assert!(
            Path::dotted(path).unwrap_err().contains("empty key"),
            "{path}"
        );
    }
    assert!(Path::dotted(&"a.".repeat(64)).is_err());
    assert!(Path::dotted("a.".repeat(63).trim_end_matches('.')).is_ok());
    assert!(Path::of(std::iter::empty()).is_err());
    for (pattern, said) in [
        ("hunter(2", "unclosed group"),
        ("[hunter", "unclosed character class"),
        ("hunter{3,1}", "repetition"),
        ("*hunter", "repetition operator"),
        (r"\hunter", "unrecognized escape"),
        (r"\p{hunter}", "property not found"),
        ("(?P<hunter>a)(?P<hunter>b)", "duplicate"),
        ("hunter\n(", "unclosed group"),
        (r"(?x) hunter \q", "unrecognized escape"),
        (r"\w{1000}hunter", "too large"),
    ] {
        let error = Pattern::new(pattern).unwrap_err();
        assert!(error.starts_with("must be "), "{error}");
        assert!(error.contains(said), "{pattern}: {error}");
        assert!(
            !error.contains("hunter") && !error.contains('\n'),
            "{error}"
        );
    }
    let groups = "(".repeat(200) + &")".repeat(200);
    assert!(Pattern::new(&groups).is_err());
}

fn check_line(treat: &Transform, record: &[u8], expected: &str) {
    let mut out = b"before".to_vec();
    assert_eq!(treat.write(record, false, &mut out, &mut []), Outcome::Emit);
    assert_eq!(String::from_utf8_lossy(&out), format!("before{expected}"));
}
#[test]
fn an_event_that_needs_nothing_passes_unchanged() {
    let event = r#"{"a": 1.0, "é":"\u00e9\n", "b":[ ]}"#;
    check_line(&Transform::default(), event.as_bytes(), event);
}

#[test]
fn an_event_becomes_one_line() {
    check_line(
        &Transform::default(),
        b"{\r\n  \"a\": 1,\n\t\"b\": 2\n}",
        "{  \"a\": 1,\t\"b\": 2}",
    );
    check_line(
        &Transform::default(),
        b"{\"a\":\"x\ny\x00\t\\\\\"}",
        r#"{"a":"x\u000ay\u0000\u0009\\"}"#,
    );
    check_line(
        &Transform::default(),
        b"{\"a\":\"\\\"\n\"\n}",
        r#"{"a":"\"\u000a"}"#,
    );
}

#[test]
fn a_line_break_that_keeps_two_tokens_apart_becomes_a_blank() {
    for (event, expected) in [
        ("{\"a\":1\n2}", "{\"a\":1 2}"),
        ("{\"a\":1\r\n2\n}", "{\"a\":1 2}"),
        ("{\"a\":tr\nue}", "{\"a\":tr ue}"),
        ("{\"a\":1\n \n2,\n3}", "{\"a\":1 2,3}"),
    ] {
        check_line(&Transform::default(), event.as_bytes(), expected);
        let outcome = treat(&[mask("a")], event.as_bytes()).outcome;
        assert_eq!(outcome, Outcome::Quarantine("it is not JSON"));
    }
}

#[test]
fn invalid_utf8_is_replaced() {
    check_line(
        &Transform::default(),
        b"{\"a\":\"caf\xe9\"}",
        "{\"a\":\"caf\u{fffd}\"}",
    );
}

#[test]
fn members_are_appended_before_the_last_brace() {
    let treat = Transform::default().appending([("@id", "7"), ("q\"", "é")]);
    check_line(&treat, br#"{"a":1}"#, r#"{"a":1,"@id":"7","q\"":"é"}"#);
    check_line(&treat, b"{ }", r#"{ "@id":"7","q\"":"é"}"#);
    check_line(&treat, b"{\n}", r#"{"@id":"7","q\"":"é"}"#);
    check_line(&treat, b"{\"a\":1", "{\"a\":1");
}
