//! Events as TAP writes them: every field of the reference's samples, about 2 kB each, with what
//! makes real ones hard: escapes, raw non-ASCII, nulls, late ones, equal ones, ones without an id.
//!
//! The `messageID` of each event made here holds a serial number, by which a test counts.

use std::collections::BTreeMap;

use memchr::memmem;
use time::macros::format_description;
use time::{Duration, OffsetDateTime, UtcOffset};

use super::rng::Rng;

/// The arrays of the four services.
pub const ARRAYS: [&str; 4] = [
    "clicksBlocked",
    "clicksPermitted",
    "messagesBlocked",
    "messagesDelivered",
];

/// An event in the store of TAP.
#[derive(Debug, Clone)]
pub struct Event {
    /// By this time windows select: the later of handling, or click, and recognition.
    pub created: OffsetDateTime,
    /// Not shown before `release_late`.
    pub late: bool,
    /// Not shown before this, by the server's clock.
    pub visible_from: Option<OffsetDateTime>,
    /// The JSON.
    pub body: Body,
}

impl Event {
    /// One that is visible at once.
    pub fn new(created: OffsetDateTime, body: impl Into<Body>) -> Self {
        Self {
            created,
            late: false,
            visible_from: None,
            body: body.into(),
        }
    }

    /// The same, not shown before `release_late`.
    #[must_use]
    pub fn late(self) -> Self {
        Self { late: true, ..self }
    }

    /// The same, not shown before this time of the server's clock.
    #[must_use]
    pub fn visible_from(self, time: OffsetDateTime) -> Self {
        Self {
            visible_from: Some(time),
            ..self
        }
    }
}

/// The JSON of an event: always the same bytes, but for the order of its `messageParts` or, in
/// Isolation, its `categories`.
///
/// Any bytes will do, also such as are no JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    text: Vec<u8>,
    /// Where each message part lies.
    parts: Vec<(usize, usize)>,
}

impl<T: Into<Vec<u8>>> From<T> for Body {
    fn from(text: T) -> Self {
        let text = text.into();
        let found = members(&text).into_iter().find(|&(from, to)| {
            let member = text[from..to].trim_ascii();
            let keys = [&b"\"messageParts\""[..], b"\"categories\""];
            keys.iter().any(|key| member.starts_with(key)) && member.ends_with(b"]")
        });
        let parts = found.map(|(from, to)| {
            let list = from + memchr::memchr(b'[', &text[from..to]).unwrap_or(0);
            let trimmed = |(from, to): (usize, usize)| {
                let part = &text[from..to];
                let (start, end) = (part.trim_ascii_start().len(), part.trim_ascii_end().len());
                (to - start, from + end)
            };
            members(&text[list..to])
                .into_iter()
                .map(|(a, b)| trimmed((list + a, list + b)))
                .collect()
        });
        Self {
            parts: parts.unwrap_or_default(),
            text,
        }
    }
}

impl Body {
    /// As it was given.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Adds it to an answer, its parts in whatever order.
    pub fn write(&self, rng: &mut Rng, into: &mut Vec<u8>) {
        let mut order: Vec<usize> = (0..self.parts.len()).collect();
        rng.shuffle(&mut order);
        let mut done = 0;
        for (&(from, to), other) in self.parts.iter().zip(order) {
            let (start, end) = self.parts[other];
            into.extend_from_slice(&self.text[done..from]);
            into.extend_from_slice(&self.text[start..end]);
            done = to;
        }
        into.extend_from_slice(&self.text[done..]);
    }

    /// The same event as the API sometimes gives it: without its `id`.
    #[must_use]
    pub fn without_id(&self) -> Self {
        let members: Vec<&[u8]> = (members(&self.text).into_iter())
            .map(|(from, to)| &self.text[from..to])
            .filter(|member| !member.trim_ascii_start().starts_with(b"\"id\":"))
            .collect();
        [b"{", members.join(&b","[..]).as_slice(), b"}"]
            .concat()
            .into()
    }
}

/// Where the members of an object, or the elements of an array, lie between the commas; none when
/// it is neither.
pub fn members(text: &[u8]) -> Vec<(usize, usize)> {
    let (mut found, mut depth, mut start) = (Vec::new(), 0, 0);
    let (mut string, mut escaped) = (false, false);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if string => escaped = true,
            b'"' => string = !string,
            _ if string => {}
            b'{' | b'[' => {
                depth += 1;
                if depth == 1 {
                    start = at + 1;
                }
            }
            b',' if depth == 1 => {
                found.push((start, at));
                start = at + 1;
            }
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    if !text[start..at].trim_ascii().is_empty() {
                        found.push((start, at));
                    }
                    return found;
                }
            }
            _ => {}
        }
    }
    Vec::new()
}

/// The serial number in an event or a line.
pub fn serial_of(text: &[u8]) -> Option<u64> {
    let start = memmem::find(text, MARK)? + MARK.len();
    let digits = text[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    str::from_utf8(&text[start..start + digits])
        .ok()?
        .parse()
        .ok()
}

const MARK: &[u8] = b"serial.";

/// How often each serial number occurs in an array of these.
pub fn serials(events: &[(&str, Event)], array: &str) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for (_, event) in events.iter().filter(|(name, _)| *name == array) {
        let serial = serial_of(event.body.text()).expect("events of a scenario have one");
        *counts.entry(serial).or_default() += 1;
    }
    counts
}

/// A day in the life of TAP: events of all four services, `per_hour` of each, created in [from, to).
///
/// Messages come once for each recipient. One in ten has no `id`; of those some come twice, equal
/// to the last byte ("twins"). Three in a hundred are late. In every hour there are some exactly at
/// the hour, at the hour counted from `from`, and at a second. Serial numbers start anew with
/// another `from`, so two scenarios with different ones can be in one store.
pub fn scenario(
    rng: &mut Rng,
    from: OffsetDateTime,
    to: OffsetDateTime,
    per_hour: usize,
) -> Vec<(&'static str, Event)> {
    let from = from.to_offset(UtcOffset::UTC) + Duration::nanoseconds(999_999_999);
    let from = from.truncate_to_second();
    let mut serial = from.unix_timestamp().unsigned_abs() * 1_000_000;
    let mut events = Vec::new();
    for array in ARRAYS {
        let mut hour = from;
        while hour < to {
            let mut made = 0;
            while made < per_hour {
                let created = match made {
                    0 => hour,
                    1 => (hour + Duration::HOUR).truncate_to_hour(),
                    _ => moment(rng, hour),
                };
                let group = together(rng, array, created, &mut serial, per_hour - made);
                made += group.len();
                if from <= created && created < to {
                    events.extend(group.into_iter().map(|event| (array, event)));
                }
            }
            hour += Duration::HOUR;
        }
    }
    events
}

/// What one message or one click leaves, at most so many events.
fn together(
    rng: &mut Rng,
    array: &str,
    created: OffsetDateTime,
    serial: &mut u64,
    most: usize,
) -> Vec<Event> {
    let clicks = array.starts_with("clicks");
    let recipients = match if clicks {
        0
    } else {
        rng.below(4).min(most - 1)
    } {
        0 => vec![*rng.pick(&RECIPIENTS)],
        more => RECIPIENTS[..=more].to_vec(),
    };
    let without_id = rng.chance(10);
    // each recipient's event comes of the same chance: one message
    let chance = Rng::new(rng.bits());
    let event = |recipient: &str| {
        *serial += 1;
        let make = if clicks { click } else { message };
        let body = make(&mut chance.clone(), created, *serial, recipient);
        Event::new(created, if without_id { body.without_id() } else { body })
    };
    let mut events: Vec<Event> = recipients.into_iter().map(event).collect();
    if without_id && events.len() < most && rng.chance(20) {
        events.push(events[0].clone());
        return events;
    }
    for event in &mut events {
        event.late = rng.chance(3);
    }
    events
}

/// Somewhere in the hour, often at a whole second.
fn moment(rng: &mut Rng, hour: OffsetDateTime) -> OffsetDateTime {
    let second = hour + Duration::seconds(rng.below(3600) as i64);
    if rng.chance(60) {
        second
    } else {
        second + Duration::milliseconds(rng.below(1000) as i64)
    }
}

/// A message event: one recipient of one message. The same chance with another serial number and
/// recipient gives the same message to another one: all is equal but `id`, `messageID`, `recipient`.
pub fn message(rng: &mut Rng, created: OffsetDateTime, serial: u64, recipient: &str) -> Body {
    let (handled, recognised) = around(rng, created);
    let earlier = recognised - Duration::seconds(rng.below(600) as i64);
    let threats = match rng.below(3) {
        0 => threat(rng, "url", recognised),
        1 => threat(rng, "attachment", recognised),
        _ => threat(rng, "attachment", recognised) + "," + &threat(rng, "url", earlier),
    };
    let (folder, rule) = match rng.chance(50) {
        true => (r#""Attachment Defense""#, r#""malicious_attachment""#),
        false => ("null", "null"),
    };
    let parts = [
        part(rng, "text/plain", "inline", "text.txt"),
        part(
            rng,
            "application/pdf",
            "attached",
            r#"Rechnung \"88213\", fällig.pdf"#,
        ),
        part(rng, "text/html", "inline", "text.html"),
    ];
    let parts = parts[..1 + rng.below(3)].join(",");
    let text = format!(
        r#"{{"GUID":"{guid}","QID":"{qid}-1","id":"{id}","ccAddresses":[],
            "cluster":"examplecorp_hosted","completelyRewritten":{rewritten},
            "fromAddress":["invoices@supplier.example"],
            "headerFrom":"\"Supplier Invoices\" <invoices@supplier.example>",
            "headerReplyTo":null,"impostorScore":0.0,"malwareScore":0,"phishScore":{phish},
            "spamScore":{spam},"messageID":"<serial.{serial}@mail.example>",
            "messageParts":[{parts}],"messageSize":{size},"messageTime":"{handled}",
            "modulesRun":["av","spf","dkimv","dmarc","pdr","urldefense","sandbox","spam"],
            "policyRoutes":["default_inbound"],"quarantineFolder":{folder},
            "quarantineRule":{rule},"recipient":["{recipient}"],"replyToAddress":[],
            "sender":"{sender}@supplier.example","senderIP":"203.0.113.{address}",
            "subject":"{subject}","threatsInfoMap":[{threats}],
            "toAddresses":["dana.reyes@examplecorp.example","ap-team@examplecorp.example"],
            "xmailer":null}}"#,
        guid = rng.hex(32),
        qid = rng.hex(10),
        id = Rng::new(serial).uuid(),
        rewritten = rng.chance(50),
        phish = rng.below(101),
        spam = rng.below(101),
        size = 2_000 + rng.below(90_000),
        handled = stamp(handled),
        sender = rng.hex(32),
        address = 1 + rng.below(254),
        subject = rng.pick(&SUBJECTS),
    );
    one_line(&text)
}

/// A click event.
pub fn click(rng: &mut Rng, created: OffsetDateTime, serial: u64, recipient: &str) -> Body {
    let (clicked, recognised) = around(rng, created);
    let text = format!(
        r#"{{"campaignId":{campaign},"classification":"{class}","clickIP":"198.51.100.{address}",
            "clickTime":"{clicked}","GUID":"{guid}","id":"{id}",
            "messageID":"<serial.{serial}@mail.example>","recipient":"{recipient}",
            "sender":"{sender}@supplier.example","senderIP":"203.0.113.{address}",
            "threatID":"{threat}","threatTime":"{recognised}","threatURL":"{DASHBOARD}/{threat}",
            "threatStatus":"{status}",
            "url":"https:\/\/pay.supplier-portal.example\/login?q=\u00fc&n={number}",
            "userAgent":"{agent}"}}"#,
        campaign = campaign(rng, &[r#""""#, "null"]),
        class = rng.pick(&["phish", "malware", "spam"]),
        address = 1 + rng.below(254),
        clicked = stamp(clicked),
        guid = rng.hex(32),
        id = Rng::new(serial).uuid(),
        sender = rng.hex(32),
        threat = rng.hex(64),
        recognised = stamp(recognised),
        status = rng.pick(&STATUSES),
        number = rng.bits(),
        agent = rng.pick(&AGENTS),
    );
    one_line(&text)
}

/// When it was handled (or clicked), and when the threat was recognised: the later one is `created`,
/// and the other one lies before it by minutes, sometimes by days.
fn around(rng: &mut Rng, created: OffsetDateTime) -> (OffsetDateTime, OffsetDateTime) {
    let earlier = match rng.below(10) {
        0 => created,
        1 => created - Duration::days(1 + rng.below(12) as i64),
        _ => created - Duration::milliseconds(rng.below(1_800_000) as i64),
    };
    if rng.chance(50) {
        (earlier, created)
    } else {
        (created, earlier)
    }
}

fn threat(rng: &mut Rng, kind: &str, recognised: OffsetDateTime) -> String {
    let id = rng.hex(64);
    let (class, threat, detection) = match kind {
        "url" => (
            "phish",
            "https://pay.supplier-portal.example/login",
            r#""COMPROMISED_WEBSITE""#,
        ),
        _ => ("malware", id.as_str(), "null"),
    };
    format!(
        r#"{{"actors":[],"campaignID":{campaign},"classification":"{class}",
            "detectionType":{detection},"threat":"{threat}","threatID":"{id}",
            "threatStatus":"{status}","threatTime":"{recognised}","threatType":"{kind}",
            "threatUrl":"{DASHBOARD}/{id}"}}"#,
        campaign = campaign(rng, &["null"]),
        status = rng.pick(&STATUSES),
        recognised = stamp(recognised),
    )
}

/// The id of a campaign as it stands in JSON, or one of the ways to say that there is none.
fn campaign(rng: &mut Rng, none: &[&str]) -> String {
    match rng.below(none.len() + 1) {
        0 => format!(r#""{}""#, rng.uuid()),
        one => none[one - 1].to_owned(),
    }
}

fn part(rng: &mut Rng, kind: &str, disposition: &str, name: &str) -> String {
    let md5 = if rng.chance(20) {
        "null".to_owned()
    } else {
        format!(r#""{}""#, rng.hex(32))
    };
    format!(
        r#"{{"contentType":"{kind}","disposition":"{disposition}","filename":"{name}","md5":{md5},
            "oContentType":"{kind}","sandboxStatus":{sandbox},"sha256":"{sha}"}}"#,
        sandbox = rng.pick(&["null", r#""clean""#, r#""threat""#, r#""NOT_SUPPORTED""#]),
        sha = rng.hex(64),
    )
}

fn one_line(text: &str) -> Body {
    text.lines().map(str::trim_start).collect::<String>().into()
}

const STATUSES: [&str; 4] = ["active", "active", "active", "cleared"];
const DASHBOARD: &str =
    "https://threatinsight.proofpoint.com/5d1e7a90-3c2b-4f68-9a07-1b4c8d2e6f35/threat/email";

fn stamp(time: OffsetDateTime) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    time.to_offset(UtcOffset::UTC)
        .format(&format)
        .expect("a time with a date")
}

const RECIPIENTS: [&str; 4] = [
    "dana.reyes@examplecorp.example",
    "ap-team@examplecorp.example",
    "j.doe@examplecorp.example",
    "k.müller@examplecorp.example",
];

/// As they stand in JSON: with its escapes, and what needs none.
const SUBJECTS: [&str; 10] = [
    "Invoice 88213 is overdue",
    "Your parcel could not be delivered",
    "Überweisung fällig – bitte prüfen",
    r"R\u00e9servation confirm\u00e9e",
    r#"\"Urgent\": see C:\\Users\\Public\\invoice.exe"#,
    "请查收发票：十一月",
    r"\ud83d\udea8 Action required",
    "🚨 Action required",
    r"line one\nline two\ttabbed \u2028 \/ end, {not} [json]",
    "",
];

const AGENTS: [&str; 2] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use time::macros::datetime;

    #[test]
    fn a_scenario_holds_what_makes_real_events_hard() {
        let (from, to) = (
            datetime!(2026-11-20 00:13:07.5 UTC),
            datetime!(2026-11-21 00:00 UTC),
        );
        let events = scenario(&mut Rng::new(1), from, to, 100);
        assert_eq!(
            events.len(),
            scenario(&mut Rng::new(1), from, to, 100).len()
        );
        for array in ARRAYS {
            let of = || {
                events
                    .iter()
                    .filter(move |(name, _)| *name == array)
                    .map(|(_, e)| e)
            };
            let total = of().count();
            assert!((2_300..=2_400).contains(&total), "{total} of {array}");
            assert!(of().all(|event| from <= event.created && event.created < to));
            assert!(of().any(|event| event.created.truncate_to_hour() == event.created));
            let share = |n: usize| n * 100 / total;
            assert!((1..=4).contains(&share(of().filter(|event| event.late).count())));
            let nameless = of().filter(|e| memmem::find(e.body.text(), b"\"id\"").is_none());
            assert!((5..=15).contains(&share(nameless.count())));
            let counts = serials(&events, array);
            assert!(counts.values().all(|&count| count <= 2));
            assert!(
                counts.values().any(|&count| count == 2),
                "no twins in {array}"
            );
        }
    }

    #[test]
    fn an_event_is_json_and_stays_the_same_but_for_the_order_of_its_parts() {
        let rng = &mut Rng::new(7);
        let (mut differ, mut bytes) = (0, 0);
        for serial in 0..500 {
            let body = message(rng, datetime!(2026-11-20 10:00 UTC), serial, RECIPIENTS[0]);
            let parse = |text: &[u8]| serde_json::from_slice::<Value>(text).expect("JSON");
            let sorted = |mut event: Value| {
                let parts = event["messageParts"].as_array_mut().expect("parts");
                parts.sort_by_key(ToString::to_string);
                event
            };
            let mut again = Vec::new();
            body.write(rng, &mut again);
            assert_eq!(sorted(parse(&again)), sorted(parse(body.text())));
            assert_eq!(again.len(), body.text().len());
            assert_eq!(serial_of(&again), Some(serial));
            let times = ["/messageTime", "/threatsInfoMap/0/threatTime"];
            let event = parse(&again);
            let latest = times
                .iter()
                .filter_map(|at| event.pointer(at)?.as_str())
                .max();
            assert_eq!(latest, Some("2026-11-20T10:00:00.000Z"));
            assert_eq!(parse(body.without_id().text()).get("id"), None);
            parse(click(rng, datetime!(2026-11-20 10:00 UTC), serial, RECIPIENTS[3]).text());
            differ += usize::from(again != body.text());
            bytes += again.len();
        }
        assert!(differ > 100, "{differ}");
        assert!(
            (1_800..2_600).contains(&(bytes / 500)),
            "{} bytes on average",
            bytes / 500
        );
    }
}
