//! Whatever TAP answers, and however that goes wrong, nothing is lost; each fault has its status,
//! says what it is, and leaves the position where it was.

use std::time::{Duration as Wait, Instant};

use base64::{Engine, prelude::BASE64_STANDARD};
use proofpull::clock::utc;
use time::Duration;

use crate::simulator::{Event, Fault, Framing, Line, PRINCIPAL, Rng, SECRET, Style, sample};
use crate::test_env::{TestEnv, ago, array, each};

const SERVICE: &str = "tap-messages-blocked";
const FRAMINGS: [Framing; 3] = [Framing::Length, Framing::Chunked, Framing::UntilClose];

/// Two hours that end with the present, and twelve events in them.
fn env() -> TestEnv {
    let mut env = TestEnv::new();
    env.start_at(ago(120));
    env.add(SERVICE, ago(120), ago(3), 12);
    env
}

#[test]
fn an_answer_is_split_whatever_its_shape() {
    let types = ["application/json", "text/plain", "text/html", "x"];
    let style = |framing, shape: usize| Style {
        gzip: shape & 1 > 0,
        encoding: ["gzip", "GZIP", "Gzip", "x-gzip"][shape / 2],
        pretty: shape & 2 > 0,
        array_first: shape & 4 > 0,
        extra_keys: shape & 4 == 0,
        shuffle_keys: true,
        content_type: types[shape % 4],
        framing,
    };
    let all = FRAMINGS.into_iter();
    let all = all.flat_map(|framing| (0..8).map(move |shape| style(framing, shape)));
    each(all.map(|style| (format!("{style:?}"), style)), |style| {
        let env = env();
        env.tap.set_style(style);
        env.run(SERVICE, &[]).assert_status(0);
        env.assert_exactly_once(SERVICE);
        let again = env.run(SERVICE, &[]);
        again.assert_status(0);
        assert_eq!(again.count("delivered"), 0, "{}", again.stderr);
        assert!(again.count("duplicates") > 0, "{}", again.stderr);
    });
}

#[test]
fn an_empty_array_moves_the_position() {
    let mut env = TestEnv::new();
    env.start_at(ago(120));
    let run = env.run(SERVICE, &[]);
    run.assert_status(0).assert_says("caught up");
    assert_eq!(run.count("windows"), 2);
    run.assert_says("caught up: nothing new, ");
    let last = env.tap.requests().pop().unwrap().interval().unwrap();
    assert_eq!(env.position(SERVICE), utc(last.1));
}

/// Everything from the second window on goes wrong in this way, with this status. Nothing of an
/// answer is shown that stands behind a `§`.
fn check_lasting(fault: &Fault, status: i32, says: &[&str], hint: &str) {
    let mut env = TestEnv::new();
    // the second window is too short to be halved often
    env.start_at(ago(62));
    env.add(SERVICE, ago(62), ago(2), 6);
    env.add(SERVICE, ago(2), ago(1), 2);
    let fault = fault.clone();
    let script = move |_: &_, number| (number > 0).then(|| fault.clone());
    env.tap.script(script);
    let run = env.run(SERVICE, &[]);
    run.assert_error(status, says, hint);
    run.assert_never_says(SECRET).assert_never_says("§");
    let requests = env.tap.requests();
    assert!(requests.iter().all(|asked| asked.path == requests[0].path));
    // what was done before is done, and no more
    let first = requests[0].interval().unwrap();
    assert_eq!(env.position(SERVICE), utc(first.1));
    assert!(run.count("delivered") >= 6, "{}", run.stderr);

    env.tap.no_script();
    // by then a 429 is over, too
    let later = ago(-90);
    env.tap.set_clock_offset(Duration::minutes(90));
    let again = env.run(SERVICE, &["--now", &utc(later)]);
    again.assert_status(0);
    env.assert_exactly_once(SERVICE);
}

/// Every HTTP status that is no answer, with an empty body and with a long one.
fn check_refusal(code: u16, status: i32, number: &str, hint: &str) {
    let shown = "A text of 20 letters".repeat(10);
    // a 204 has no body
    let bodies = [String::new(), format!("{shown}§")];
    for body in &bodies[..if code == 204 { 1 } else { 2 }] {
        let fault = Fault::Status {
            code,
            headers: vec![("Location".into(), "/elsewhere".into())],
            body: body.clone().into(),
        };
        let body = body.trim_end_matches('§');
        check_lasting(
            &fault,
            status,
            &[number, &format!("HTTP {code}: {body}")],
            hint,
        );
    }
}

/// A test for each row: an HTTP status, the status of the run, the number of Devo's collector, and what
/// the hint says.
macro_rules! refusals {
    ($($name:ident: $code:literal, $status:literal, $number:literal, $hint:literal;)*) => {
        $(
            #[test]
            fn $name() {
                check_refusal($code, $status, $number, $hint);
            }
        )*
    };
}

refusals! {
    http_204_is_no_answer_to_a_question_in_json: 204, 65, "[PullError 300]", "check [tap] base_url";
    http_301_points_elsewhere_as_proxies_do: 301, 65, "[PullError 300]", "proxy's sign-in page";
    http_302_points_elsewhere_as_proxies_do: 302, 65, "[PullError 300]", "proxy's sign-in page";
    http_400_says_what_to_check_of_the_request: 400, 65, "[PullError 300]", "check threat_type and threat_status";
    http_401_says_where_credentials_are_made: 401, 77, "[SetupError 100]", "Settings, Connected Applications";
    http_403_says_that_the_licence_comes_first: 403, 77, "[SetupError 100]", "check that the licence covers TAP";
    http_404_says_to_check_the_address: 404, 65, "[PullError 300]", "check [tap] base_url and url";
    http_206_is_a_part_that_was_not_asked_for: 206, 65, "[PullError 300]", "check [tap] base_url";
    http_408_is_asked_again: 408, 69, "[PullError 300]", "the next run retries";
    http_413_is_asked_for_less: 413, 69, "[PullError 300]", "the next run retries";
    http_421_is_asked_again: 421, 69, "[PullError 300]", "the next run retries";
    http_425_is_asked_again: 425, 69, "[PullError 300]", "the next run retries";
    http_405_is_no_answer_of_tap: 405, 65, "[PullError 300]", "the TAP API does not answer like this";
    http_429_says_from_when_on_requests_are_free: 429, 75, "[PullError 300]", "no request is made before 20";
    http_500_is_asked_again: 500, 69, "[PullError 300]", "the next run retries";
    http_502_is_asked_again: 502, 69, "[PullError 300]", "the next run retries";
    http_503_is_asked_again: 503, 69, "[PullError 300]", "the next run retries";
    http_504_is_asked_again: 504, 69, "[PullError 300]", "the next run retries";
}

/// What TAP is known to say with a 400, where it is not about how far back one may ask.
#[test]
fn a_400_shows_what_tap_says() {
    let texts = [
        "The requested interval is too short. Requests must be for at least 30.00s of data",
        "The requested interval is still current.",
        "The sinceTime parameter gives a time too far into the past",
    ];
    each(texts.map(|text| (text.to_owned(), text)), |text| {
        check_lasting(
            &Fault::status(400, text),
            65,
            &["HTTP 400", text],
            "this machine's clock",
        );
    });
}

#[test]
fn an_answer_that_repeats_the_secret_is_shown_without_it() {
    let pair = BASE64_STANDARD.encode(format!("{PRINCIPAL}:{SECRET}"));
    let body = format!("{SECRET} is wrong, or Basic {pair}, or {}", &SECRET[..12]);
    let says = ["*** is wrong, or Basic ***, or"];
    check_lasting(&Fault::status(401, &body), 77, &says, "");
    check_lasting(&Fault::Body(body.into()), 65, &says, "");
}

#[test]
fn an_answer_that_is_no_answer_is_status_65_and_shown() {
    let page = format!("<html>{}§", "0123456789".repeat(20).split_off(6));
    let rows = [
        "",
        "[]",
        "[{}]",
        "{}",
        "null",
        "{\"messagesBlocked\":null}",
        "{\"messagesBlocked\":{}}",
        "{\"clicksBlocked\":[]}",
        "{\"messagesBlocked\":[,]}",
        "{\"messagesBlocked\":[]]",
        "{\"messagesBlocked\":[]}{}",
        &page,
    ];
    each(rows.map(|row| (row.to_owned(), row)), |body| {
        let shown = body.trim_end_matches('§');
        let says = ["[PullError 301]", "HTTP 200", shown];
        check_lasting(&Fault::Body(body.into()), 65, &says, "next run");
    });
}

#[test]
fn an_answer_that_breaks_off_for_good_is_status_69_and_loses_nothing() {
    let rows = [
        Fault::Reset,
        Fault::Close,
        Fault::CutBody { at: 1000 },
        Fault::ResetBody { at: 1000 },
        Fault::Body(b"{\"messagesBlocked\":[".into()),
    ];
    each(rows.map(|row| (format!("{row:?}"), row)), |fault| {
        check_lasting(&fault, 69, &["[PullError 301]"], "");
    });
}

/// The first answer to each hour goes wrong; the run asks again, and all is well.
fn check_passing(fault: &Fault, style: Style, asks_again: Option<bool>) {
    let mut env = env();
    // a slow answer takes longer, and must not be taken for a silent one on a slow machine
    let timeout = match fault {
        Fault::Stall { .. } | Fault::StallBody { .. } => "2s",
        Fault::Slow { .. } => "5s",
        _ => "20s",
    };
    env.http_table = format!("timeout = {timeout:?}\n");
    env.tap.set_style(style);
    let fault = fault.clone();
    env.tap
        .script(move |_, number| (number == 1).then(|| fault.clone()));
    let run = env.run(SERVICE, &[]);
    run.assert_status(0);
    if let Some(again) = asks_again {
        assert_eq!(run.count("requests") > 2, again, "{}", run.stderr);
    }
    env.assert_exactly_once(SERVICE);
}

#[test]
fn one_fault_is_overcome_in_the_run() {
    let wait = Wait::from_secs(60);
    let rows = [
        Fault::status(500, ""),
        Fault::status(502, "<html>"),
        Fault::status(503, "later"),
        Fault::status(504, ""),
        Fault::status(408, ""),
        Fault::status(413, ""),
        Fault::status(421, ""),
        Fault::status(425, ""),
        Fault::Stall { wait },
        Fault::StallBody { at: 0, wait },
        Fault::StallBody { at: 1000, wait },
    ];
    each(rows.map(|row| (format!("{row:?}"), row)), |fault| {
        check_passing(&fault, Style::default(), Some(true));
    });
}

#[test]
fn a_body_that_is_cut_off_is_asked_for_again_wherever_it_was_cut() {
    let mut rows = Vec::new();
    for framing in FRAMINGS {
        for (at, gzip) in [0, 1, 17, 300, 2000, usize::MAX]
            .map(|at| [(at, false), (at, true)])
            .concat()
        {
            // nothing at all, up to the end of the connection, is a whole answer and a wrong one
            if at > 0 || framing != Framing::UntilClose {
                let style = Style {
                    framing,
                    gzip,
                    ..Style::default()
                };
                rows.push((Fault::CutBody { at }, style));
                rows.push((Fault::ResetBody { at }, style));
            }
        }
    }
    let named = rows.into_iter().map(|row| (format!("{row:?}"), row));
    each(named, |(fault, style)| {
        let (Fault::CutBody { at } | Fault::ResetBody { at }) = fault else {
            unreachable!()
        };
        // at the very end nothing is missing but the last chunk; what a reset still takes with it, is chance
        let asks_again = match (at, style.framing, &fault) {
            (usize::MAX, Framing::Length | Framing::UntilClose, Fault::CutBody { .. }) => {
                Some(false)
            }
            (usize::MAX, _, Fault::ResetBody { .. }) => None,
            _ => Some(true),
        };
        check_passing(&fault, style, asks_again);
    });
}

#[test]
fn an_encoding_that_was_not_asked_for_is_named() {
    for encoding in ["br", "deflate", "gzip, br"] {
        let fault = Fault::Status {
            code: 200,
            headers: vec![("Content-Encoding".into(), encoding.into())],
            body: b"\x8b\x01\x80{}\x03".into(),
        };
        let says = ["[PullError 301]", &format!("Content-Encoding {encoding:?}")];
        check_lasting(&fault, 65, &says, "check [http] proxy");
    }
}

#[test]
fn a_kept_connection_that_is_closed_when_it_is_used_again_costs_one_more_connection() {
    for fault in [Fault::Close, Fault::Reset] {
        let env = env();
        env.tap
            .script(move |_, number| (number == 1).then(|| fault.clone()));
        let run = env.run(SERVICE, &[]);
        run.assert_status(0).assert_never_says("warning");
        let asked = env.tap.requests();
        assert_eq!(asked.len(), 3);
        assert_eq!(asked[1].interval(), asked[2].interval());
        // the ledger knows nothing of it
        run.assert_says("2 requests (218 left)");
        env.assert_exactly_once(SERVICE);
    }
}

#[test]
fn a_slow_answer_may_take_longer_than_the_longest_silence() {
    let (piece, pause) = (120, Wait::from_millis(300));
    let started = Instant::now();
    check_passing(&Fault::Slow { piece, pause }, Style::default(), Some(false));
    assert!(started.elapsed() > Wait::from_secs(5), "it was not slow");
}

#[test]
fn an_element_that_is_no_object_is_quarantined_with_its_reason_and_the_others_arrive() {
    for element in ["null", "7", "\"text\"", "true", "[{}]"] {
        let env = env();
        env.tap.add(
            array(SERVICE),
            Event::new(ago(20), element.as_bytes().to_vec()),
        );
        let run = env.run(SERVICE, &[]);
        run.assert_status(3)
            .assert_says("1 event quarantined: no JSON object");
        assert_eq!(run.count("delivered"), 12, "{}", run.stderr);
        let path = env.state_dir().join(format!("{SERVICE}.quarantine.jsonl"));
        let line = std::fs::read_to_string(path).unwrap();
        let line: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
        assert_eq!(line["why"], "it is not a JSON object");
        assert_eq!(line["event"], element);
        // said once
        env.run(SERVICE, &[]).assert_status(0);
    }
}

#[test]
fn every_object_in_the_shape_of_a_public_sample_is_delivered_once_and_byte_for_byte() {
    const SHAPES: [&str; 12] = [
        // without ids, with other ones, with numbers for texts
        r#"{"messageID":"<serial.1@x>","threatsInfoMap":[]}"#,
        r#"{"guid":"g","messageID":"<serial.2@x>","messagetime":"2025-01-14T08:12:05.000Z"}"#,
        r#"{"GUID":null,"id":null,"messageID":"<serial.3@x>","recipient":null,"threatsInfoMap":null}"#,
        r#"{"GUID":"g","id":4,"messageID":"<serial.4@x>","recipient":["a@x"],"threatsInfoMap":[]}"#,
        r#"{"GUID":"g","id":"5","messageID":"<serial.5@x>","messageTime":1736842325000,"recipient":["a@x"],"threatsInfoMap":[]}"#,
        // odd times and lists
        r#"{"GUID":"g","id":"6","messageID":"<serial.6@x>","messageTime":"Tue, 14 Jan 2025 08:12:05 GMT","recipient":"a@x","threatsInfoMap":[]}"#,
        r#"{"GUID":"g","id":"7","messageID":"<serial.7@x>","recipient":[],"threatsInfoMap":[null,{}]}"#,
        r#"{"GUID":"g","id":"8","messageID":"<serial.8@x>","recipient":[{"address":"a@x"}],"threatsInfoMap":{}}"#,
        // one message to two recipients
        r#"{"GUID":"g","id":"9","messageID":"<serial.9@x>","recipient":["a@x"],"threatsInfoMap":[]}"#,
        r#"{"GUID":"g","id":"9","messageID":"<serial.10@x>","recipient":["b@x"],"threatsInfoMap":[]}"#,
        r#"{ "completelyRewritten" : "na", "impostorScore" : 0.0, "messageID" : "<serial.11@x>" }"#,
        r#"{"id":"12","id":"13","messageID":"<serial.12@x>","subject":"\u00fc \ud83d\ude00 \/"}"#,
    ];
    let mut env = TestEnv::new();
    env.devo_table += "pulling_id = false\n";
    env.start_at(ago(120));
    for shape in SHAPES {
        env.tap.add(array(SERVICE), Event::new(ago(20), shape));
    }
    for delivered in [SHAPES.len(), 0] {
        let run = env.run(SERVICE, &[]);
        assert_eq!(run.assert_status(0).count("delivered"), delivered as u64);
    }
    let mut arrived: Vec<String> = (env.devo.lines().iter())
        .map(|line| String::from_utf8(Line::of(line).json.to_owned()).unwrap())
        .collect();
    arrived.sort_unstable();
    let mut wanted = SHAPES.to_vec();
    wanted.sort_unstable();
    assert_eq!(arrived, wanted);
}

#[test]
fn records_that_are_not_quite_json_arrive_and_are_counted() {
    let mut env = TestEnv::new();
    env.start_at(ago(120));
    let text = |serial| {
        let body = |seed| sample::message(&mut Rng::new(seed), ago(20), serial, "a@corp.example");
        let mut bodies = (0..).map(|seed| String::from_utf8(body(seed).text().into()).unwrap());
        // with parts enough for another order in each answer
        bodies
            .find(|text| text.matches("sandboxStatus").count() == 3)
            .unwrap()
    };
    let subject = |serial, new: &[u8]| {
        let text = text(serial);
        let at = text.find("\"subject\":\"").unwrap() + "\"subject\":\"".len();
        [&text.as_bytes()[..at], new, &text.as_bytes()[at..]].concat()
    };
    let bodies = [
        text(1).into_bytes(),
        subject(2, b"caf\xe9"),
        subject(3, b"raw\ttab\nline\x01"),
        text(4).replace("null", "NaN").into_bytes(),
        text(5).replace(":0.0", ":.0").into_bytes(),
        subject(6, &vec![b'x'; 3 << 20]),
    ];
    for body in bodies {
        env.tap.add(array(SERVICE), Event::new(ago(20), body));
    }
    let run = env.run(SERVICE, &[]);
    run.assert_status(0);
    assert_eq!(
        (run.count("delivered"), run.count("unreadable")),
        (6, 4),
        "{}",
        run.stderr
    );
    env.assert_exactly_once(SERVICE);
    for _ in 0..4 {
        env.run(SERVICE, &[]).assert_status(0);
    }
    env.assert_exactly_once(SERVICE);
}
