//! The events of TAP, made of chance.
//!
//! A message may come for several recipients, and a message or a click again with another status or its
//! campaign: these are events of their own. Some have no id, and two of those may be equal.

use time::{Duration, OffsetDateTime};

use super::super::event::{Event, Text, milliseconds};
use super::super::rng::Rng;

/// The arrays of the four services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Array {
    ClicksBlocked,
    ClicksPermitted,
    MessagesBlocked,
    MessagesDelivered,
}

impl Array {
    pub const ALL: [Array; 4] = [
        Array::MessagesDelivered,
        Array::MessagesBlocked,
        Array::ClicksPermitted,
        Array::ClicksBlocked,
    ];

    /// That of a service, by its name; those that look up what events name have none.
    pub fn of(service: &str) -> Option<Array> {
        Some(match service {
            "tap-clicks-blocked" => Array::ClicksBlocked,
            "tap-clicks-permitted" => Array::ClicksPermitted,
            "tap-messages-blocked" => Array::MessagesBlocked,
            "tap-messages-delivered" => Array::MessagesDelivered,
            _ => return None,
        })
    }

    /// Its key in an answer.
    pub fn key(self) -> &'static str {
        match self {
            Array::ClicksBlocked => "clicksBlocked",
            Array::ClicksPermitted => "clicksPermitted",
            Array::MessagesBlocked => "messagesBlocked",
            Array::MessagesDelivered => "messagesDelivered",
        }
    }

    fn is_of_clicks(self) -> bool {
        matches!(self, Array::ClicksBlocked | Array::ClicksPermitted)
    }
}

/// What became of a threat. It goes on to the next of these and never back: an event that says what an earlier
/// one of the same message has said is that event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Active,
    Cleared,
    FalsePositive,
}

impl Status {
    /// As requests spell it; events do so without capitals.
    pub fn name(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::Cleared => "cleared",
            Status::FalsePositive => "falsePositive",
        }
    }
}

/// What an event says, apart from its times.
#[derive(Debug, Clone, Copy)]
pub struct Content {
    pub array: Array,
    pub threat: u64,
    pub status: Status,
    /// Known at first, later or never.
    pub campaign: Option<u64>,
    /// Its id, also if it does not tell it.
    id: u64,
    /// That of the message, the same for all recipients.
    guid: u64,
    pub is_nameless: bool,
    recipient: usize,
}

/// How events are made, in cases of a hundred.
#[derive(Debug, Clone, Copy)]
pub struct Mixture {
    /// They become visible late.
    pub late: usize,
    /// They have no id.
    pub nameless: usize,
    /// They are for another recipient of the message before; one without an id is an equal event instead.
    pub recipients: usize,
    /// They are the message or the click before, of which more is known by now.
    pub changes: usize,
    /// How many threats there are; a third of these belongs to a campaign from the beginning.
    pub threats: usize,
}

impl Default for Mixture {
    fn default() -> Mixture {
        Mixture {
            late: 15,
            nameless: 10,
            recipients: 15,
            changes: 10,
            threats: 6,
        }
    }
}

/// All events.
#[derive(Debug)]
pub struct Events {
    mixture: Mixture,
    keep: Duration,
    rng: Rng,
    all: Vec<(Content, Event)>,
    next: u64,
}

impl Events {
    /// None yet; the service keeps each for so long.
    pub fn new(mixture: Mixture, keep: Duration, rng: Rng) -> Events {
        Events {
            mixture,
            keep,
            rng,
            all: Vec::new(),
            next: 1,
        }
    }

    pub fn all(&self) -> &[(Content, Event)] {
        &self.all
    }

    /// Adds so many events of an array, created from `from` up to `to`.
    pub fn fill(&mut self, array: Array, range: (OffsetDateTime, OffsetDateTime), count: usize) {
        for _ in 0..count {
            let at = self.moment(range);
            let visible_from = match self.rng.chance(self.mixture.late) {
                true => at + self.lateness(),
                false => at,
            };
            let mut newest = self.all.iter().rev().map(|(content, _)| *content);
            let last = newest.find(|content| content.array == array);
            let Mixture {
                changes,
                recipients,
                ..
            } = self.mixture;
            let kind = self.rng.below(100);
            let content = match last {
                Some(last) if kind < changes => self.changed(last),
                Some(last) if kind < changes + recipients && last.is_nameless => {
                    self.add_twin(last.id, visible_from);
                    continue;
                }
                Some(last) if kind < changes + recipients => Some(self.for_another(last)),
                _ => None,
            };
            match content {
                Some(content) => self.push(content, at, visible_from),
                None => self.add(array, at, visible_from),
            };
        }
    }

    /// Adds an event of a new message, or a new click. Returns its serial.
    pub fn add(&mut self, array: Array, at: OffsetDateTime, visible_from: OffsetDateTime) -> u64 {
        let threat = self.rng.below(self.mixture.threats) as u64;
        let content = Content {
            array,
            threat,
            status: Status::Active,
            campaign: threat.is_multiple_of(3).then_some(threat / 3),
            id: self.next,
            guid: self.next,
            is_nameless: self.rng.chance(self.mixture.nameless),
            recipient: self.rng.below(RECIPIENTS.len()),
        };
        self.push(content, at, visible_from)
    }

    /// The same message for another recipient.
    fn for_another(&self, last: Content) -> Content {
        Content {
            id: self.next,
            recipient: (last.recipient + 1) % RECIPIENTS.len(),
            ..last
        }
    }

    /// The same message or click, once more is known of it; `None` if nothing is left to be known.
    fn changed(&mut self, last: Content) -> Option<Content> {
        let (status, campaign) = match (last.status, last.campaign) {
            _ if last.is_nameless => return None,
            (status, None) if self.rng.chance(50) => (status, Some(last.threat)),
            (Status::Active, campaign) => (Status::Cleared, campaign),
            (Status::Cleared, campaign) => (Status::FalsePositive, campaign),
            (Status::FalsePositive, _) => return None,
        };
        Some(Content {
            status,
            campaign,
            ..last
        })
    }

    /// Adds an event that is equal to one without an id, of the same time.
    fn add_twin(&mut self, id: u64, visible_from: OffsetDateTime) {
        let first = self.all.iter().find(|(content, _)| content.id == id);
        if let Some((content, mut event)) = first.cloned() {
            event.visible_from = event.visible_from.max(visible_from);
            self.all.push((content, event));
        }
    }

    fn push(&mut self, content: Content, at: OffsetDateTime, visible_from: OffsetDateTime) -> u64 {
        let serial = self.next;
        self.next += 1;
        // it was created at the later time; a threat may be recognised long after the message
        let earlier = at - Duration::seconds(*self.rng.pick(&[0, 1, 90, 4000, 700_000]));
        let times = match self.rng.chance(50) {
            true => [at, earlier],
            false => [earlier, at],
        };
        let event = Event {
            serial,
            at,
            visible_from,
            gone_from: at + self.keep,
            text: text(&content, serial, &times.map(milliseconds)),
        };
        self.all.push((content, event));
        serial
    }

    /// Somewhere in a range, often at a whole second, sometimes at a whole hour.
    fn moment(&mut self, (from, to): (OffsetDateTime, OffsetDateTime)) -> OffsetDateTime {
        let length = (to - from).whole_milliseconds().max(1).unsigned_abs();
        let offset = u128::from(self.rng.bits()) % length;
        let time = from + Duration::milliseconds(offset as i64);
        let time = match self.rng.below(10) {
            0 => time.truncate_to_hour(),
            1..6 => time.truncate_to_second(),
            _ => time.truncate_to_millisecond(),
        };
        time.max(from)
    }

    /// Half an hour has been seen. More is for the recheck, and a day for nothing.
    fn lateness(&mut self) -> Duration {
        let most = *self.rng.pick(&[60, 1800, 1800, 1800, 39_600, 86_400]);
        Duration::seconds(1 + self.rng.below(most) as i64)
    }
}

fn text(content: &Content, serial: u64, [time, threat_time]: &[String; 2]) -> Text {
    let Content {
        id, guid, threat, ..
    } = content;
    let recipient = RECIPIENTS[content.recipient];
    let status = content.status.name().to_ascii_lowercase();
    let id = match content.is_nameless {
        true => String::new(),
        false => format!(r#""id":"00000000-0000-4000-9000-{id:012}","#),
    };
    let campaign = content
        .campaign
        .map(|campaign| format!("\"campaign-{campaign}\""));
    if content.array.is_of_clicks() {
        let campaign = campaign.unwrap_or_else(|| "\"\"".into());
        return Text::plain(format!(
            r#"{{"campaignId":{campaign},"clickTime":"{time}","GUID":"guid-{guid}",{id}"messageID":"<serial.{serial}@mail.example>","recipient":"{recipient}","threatID":"threat-{threat}","threatTime":"{threat_time}","threatStatus":"{status}","url":"https:\/\/pay.example\/?q=\u00fc"}}"#
        ));
    }
    let campaign = campaign.unwrap_or_else(|| "null".into());
    let head = format!(r#"{{"GUID":"guid-{guid}",{id}"messageParts":["#);
    let parts = [
        r#"{"disposition":"inline","md5":null}"#,
        r#"{"disposition":"attached","filename":"Rechnung \"1\", f\u00e4llig.pdf","md5":"0f1e"}"#,
    ];
    let tail = format!(
        r#"],"messageID":"<serial.{serial}@mail.example>","messageTime":"{time}","recipient":["{recipient}"],"threatsInfoMap":[{{"campaignID":{campaign},"threatID":"threat-{threat}","threatStatus":"{status}","threatTime":"{threat_time}","threatType":"url"}}]}}"#
    );
    Text::with_pair(&head, parts, &tail)
}

const RECIPIENTS: [&str; 4] = [
    "dana.reyes@corp.example",
    "ap-team@corp.example",
    "j.doe@corp.example",
    "k.m\u{fc}ller@corp.example",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use time::macros::datetime;

    /// What identifies an event by the program's recipe, as far as these texts go.
    fn identity(text: &[u8]) -> String {
        let mut event: serde_json::Value = serde_json::from_slice(text).expect("JSON");
        let keys = match event.get("threatsInfoMap") {
            Some(_) => vec![
                "/id",
                "/GUID",
                "/recipient",
                "/threatsInfoMap/0/threatID",
                "/threatsInfoMap/0/threatStatus",
                "/threatsInfoMap/0/campaignID",
            ],
            None => vec!["/id", "/threatStatus", "/campaignId"],
        };
        if event.get("id").is_none() {
            event.as_object_mut().unwrap().remove("messageParts");
            return event.to_string();
        }
        let parts = keys
            .iter()
            .map(|key| event.pointer(key).unwrap().to_string());
        parts.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_identity_is_that_of_one_serial_and_only_events_without_an_id_have_twins() {
        let range = (
            datetime!(2026-11-24 0:00 UTC),
            datetime!(2026-11-24 12:00 UTC),
        );
        let mut twins = 0;
        for seed in 0..20 {
            let mut events = Events::new(Mixture::default(), Duration::days(7), Rng::new(seed));
            for array in Array::ALL {
                events.fill(array, range, 50);
            }
            let mut serials: BTreeMap<(&str, String), u64> = BTreeMap::new();
            let mut times: BTreeMap<u64, Vec<OffsetDateTime>> = BTreeMap::new();
            for (content, event) in events.all() {
                let mut text = Vec::new();
                event.text.write(true, &mut text);
                assert_eq!(identity(&text), identity(event.text.bytes()));
                assert_eq!(
                    super::super::super::event::serial(&text),
                    Some(event.serial)
                );
                assert!(text.len() < 520, "{}", text.len());
                let key = (content.array.key(), identity(&text));
                assert_eq!(*serials.entry(key).or_insert(event.serial), event.serial);
                times.entry(event.serial).or_default().push(event.at);
                assert!(range.0 <= event.at && event.at < range.1);
                assert!(content.is_nameless || times[&event.serial].len() == 1);
            }
            assert_eq!(serials.len(), times.len());
            assert!(
                times
                    .values()
                    .all(|times| times.iter().all(|time| *time == times[0]))
            );
            twins += events.all().len() - times.len();
        }
        assert!(twins > 0);
    }
}
