//! TAP by model: the SIEM API as Proofpoint's document and what is known of the server say, and behind it
//! the APIs of `threats`.
//!
//! An event is selected by the time of its creation, and may become visible late. It comes in any order, its
//! `messageParts` too.

mod events;

use time::{Duration, OffsetDateTime};

use super::api::{Api, Reply, Request};
use super::demand::{EVENTS, Expected, History, sum};
use super::event::{Event, instant, is_signed, json, refusal, seconds};
use super::quota::Quota;
use super::rng::Rng;
use super::threats::{Beside, Threats};
pub use events::{Array, Content, Events, Mixture, Status};

/// What is not certain of the server, or what a scenario chooses.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How far back one may ask. The documents say 7 days, older ones 12 hours.
    pub keep: Duration,
    /// Requests of each pool in 24 hours.
    pub quota: usize,
    /// Whether a window holds the events at its very end. As far as is known, it does not.
    pub is_end_inclusive: bool,
    /// What ended less than this ago is "still current", since the clocks of servers differ.
    pub still_current: Duration,
    /// Whether an answer without events has the status 204. The document says so of the syslog format alone.
    pub empty_is_204: bool,
    /// Whether false positives are left out unless they are asked for, as the document says.
    pub hides_false_positives: bool,
    /// In so many of a hundred cases, an event with an id is in an answer twice.
    pub repeats: usize,
    pub mixture: Mixture,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            keep: Duration::days(7),
            quota: 1800,
            is_end_inclusive: false,
            still_current: Duration::ZERO,
            empty_is_204: false,
            hides_false_positives: true,
            repeats: 3,
            mixture: Mixture::default(),
        }
    }
}

impl Options {
    /// As a scenario may choose them.
    pub fn by_chance(rng: &mut Rng) -> Options {
        Options {
            is_end_inclusive: rng.chance(20),
            still_current: Duration::seconds(*rng.pick(&[0, 0, 20, 50])),
            hides_false_positives: rng.chance(80),
            repeats: *rng.pick(&[0, 3, 30]),
            ..Options::default()
        }
    }
}

/// TAP.
#[derive(Debug)]
pub struct Tap {
    options: Options,
    rng: Rng,
    /// Everything that happens, whether the service shows it yet or not.
    pub events: Events,
    /// What is looked up.
    pub threats: Threats,
    /// Of permitted clicks, and of all others.
    quotas: [Quota; 2],
}

impl Tap {
    /// Without events.
    pub fn new(options: Options, mut rng: Rng) -> Tap {
        let quota = |name| Quota::new(name, options.quota);
        Tap {
            events: Events::new(options.mixture, options.keep, Rng::new(rng.bits())),
            threats: Threats::new(options.mixture.threats),
            quotas: [quota("clicks/permitted"), quota("all but clicks/permitted")],
            options,
            rng,
        }
    }

    /// The pools, those of lookups included.
    pub fn quotas(&self) -> impl Iterator<Item = &Quota> {
        self.quotas.iter().chain(self.threats.quotas())
    }

    /// What is expected of the service of an array.
    pub fn expected(&self, array: Array, history: &History<'_>) -> Vec<Expected> {
        let events = self.events.all().iter();
        let events = events.filter(|(content, _)| content.array == array);
        sum(events.map(|(content, event)| {
            let is_hidden =
                content.status == Status::FalsePositive && self.options.hides_false_positives;
            let must = !is_hidden && EVENTS.must(history, event);
            (event.serial, must, history.most(event.at))
        }))
    }

    /// What is expected of a service of `threats`.
    pub fn expected_beside(&self, service: Beside, history: &History<'_>) -> Vec<Expected> {
        let events = self.events.all().iter();
        let named = events.map(|(content, event)| {
            let must = EVENTS.must(history, event);
            (content, must, history.most(event.at))
        });
        self.threats.expected(service, named, history)
    }

    fn siem(&mut self, arrays: &[Array], request: &Request, now: OffsetDateTime) -> Reply {
        let pool = usize::from(arrays != [Array::ClicksPermitted]);
        if !self.quotas[pool].take(now) {
            return refusal(429, "");
        }
        let format = request.parameter("format").unwrap_or("syslog");
        if !format.eq_ignore_ascii_case("json") {
            return refusal(400, "This model has format=json only");
        }
        let window = match self.window(request, now) {
            Ok(window) => window,
            Err(said) => return refusal(400, &said),
        };
        let end = format!("\"queryEndTime\":\"{}Z\"", seconds(window.1));
        let is_end_first = self.rng.chance(50);
        let mut text = b"{".to_vec();
        if is_end_first {
            text.extend_from_slice(end.as_bytes());
        }
        let mut found = 0;
        for array in arrays {
            if text.len() > 1 {
                text.push(b',');
            }
            text.extend_from_slice(format!("\"{}\":[", array.key()).as_bytes());
            found += self.list(*array, request, (window, now), &mut text);
            text.push(b']');
        }
        if !is_end_first {
            text.push(b',');
            text.extend_from_slice(end.as_bytes());
        }
        text.push(b'}');
        match found == 0 && self.options.empty_is_204 {
            true => refusal(204, ""),
            false => json(text),
        }
    }

    /// The window of a request, or what the server says of it.
    fn window(
        &self,
        request: &Request,
        now: OffsetDateTime,
    ) -> Result<(OffsetDateTime, OffsetDateTime), String> {
        let times = ["interval", "sinceSeconds", "sinceTime"].into_iter();
        let times = times.filter(|key| request.parameter(key).is_some());
        let interval = request.parameter("interval").and_then(interval);
        let (1, Some((from, to))) = (times.count(), interval) else {
            return Err("Exactly one interval of start/end is required".into());
        };
        let Options {
            keep,
            still_current,
            ..
        } = self.options;
        let length = to - from;
        Err(if length.is_negative() {
            String::new()
        } else if length < Duration::seconds(30) {
            "The requested interval is too short. Requests must be for at least 30.00s of data"
                .into()
        } else if length > Duration::HOUR {
            "The requested interval is too long. Requests may be for up to 1.00h of data".into()
        } else if from < now - keep {
            let days = keep.as_seconds_f64() / Duration::DAY.as_seconds_f64();
            format!(
                "The requested start time is too far into the past. Requests for information up to \
                 {days:.2}d are accepted"
            )
        } else if to > now - still_current {
            "The requested interval is still current.".into()
        } else {
            return Ok((from, to));
        })
    }

    /// Writes the events of a window, in any order. Returns how many there are.
    fn list(
        &mut self,
        array: Array,
        request: &Request,
        ((from, to), now): ((OffsetDateTime, OffsetDateTime), OffsetDateTime),
        into: &mut Vec<u8>,
    ) -> usize {
        let options = &self.options;
        let is_inside = |event: &Event| {
            from <= event.at && (event.at < to || options.is_end_inclusive && event.at == to)
        };
        let mut found = Vec::new();
        for (content, event) in self.events.all() {
            if content.array == array
                && is_inside(event)
                && event.is_shown(now)
                && is_wanted(content, request, options)
            {
                found.push(event);
                if !content.is_nameless && self.rng.chance(options.repeats) {
                    found.push(event);
                }
            }
        }
        self.rng.shuffle(&mut found);
        for (number, event) in found.iter().enumerate() {
            if number > 0 {
                into.push(b',');
            }
            event.text.write(self.rng.chance(50), into);
        }
        found.len()
    }
}

impl Api for Tap {
    fn answer(&mut self, request: &Request, now: OffsetDateTime) -> Reply {
        use Array::{ClicksBlocked, ClicksPermitted, MessagesBlocked, MessagesDelivered};
        if !is_signed(request, "Basic ") {
            return refusal(401, "Credentials did not pass authentication");
        }
        if request.method != "GET" {
            return refusal(405, "");
        }
        let arrays: &[Array] = match request.path.as_str() {
            "/v2/siem/clicks/blocked" => &[ClicksBlocked],
            "/v2/siem/clicks/permitted" => &[ClicksPermitted],
            "/v2/siem/messages/blocked" => &[MessagesBlocked],
            "/v2/siem/messages/delivered" => &[MessagesDelivered],
            "/v2/siem/issues" => &[MessagesDelivered, ClicksPermitted],
            "/v2/siem/all" => &Array::ALL,
            _ => return self.threats.answer(request, now),
        };
        self.siem(arrays, request, now)
    }
}

/// Start and end of an interval.
pub fn interval(text: &str) -> Option<(OffsetDateTime, OffsetDateTime)> {
    let (from, to) = text.split_once('/')?;
    Some((instant(from)?, instant(to)?))
}

/// Whether a request wants an event, by its threat; all threats are URLs.
fn is_wanted(content: &Content, request: &Request, options: &Options) -> bool {
    let wanted = |key: &str, value: &str| {
        let mut values = request
            .query
            .iter()
            .filter(|(name, _)| name == key)
            .peekable();
        values.peek()?;
        Some(values.any(|(_, wanted)| wanted.eq_ignore_ascii_case(value)))
    };
    let is_usual = content.status != Status::FalsePositive || !options.hides_false_positives;
    wanted("threatStatus", content.status.name()).unwrap_or(is_usual)
        && wanted("threatType", "url").unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::super::api::Answer;
    use super::*;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    fn tap(options: Options) -> Tap {
        Tap::new(options, Rng::new(1))
    }

    fn ask(tap: &mut Tap, path: &str, interval: &str, more: &[(&str, &str)]) -> Answer {
        let pairs = [("format", "json"), ("interval", interval)];
        let query = pairs
            .iter()
            .chain(more)
            .map(|(key, value)| ((*key).into(), (*value).into()));
        let request = Request {
            method: "GET".into(),
            path: path.into(),
            query: query.collect(),
            headers: vec![("authorization".into(), "Basic eA==".into())],
        };
        match tap.answer(&request, NOON) {
            Reply::Http(answer) => answer,
            Reply::Stream(stream) => panic!("{stream:?}"),
        }
    }

    /// The serials of an answer, sorted.
    fn serials(answer: &Answer, key: &str) -> Vec<u64> {
        assert_eq!(answer.status, 200, "{answer:?}");
        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert!(body["queryEndTime"].is_string());
        let events = body[key].as_array().expect("an array").iter();
        let mut serials: Vec<u64> = events
            .map(|event| super::super::event::serial(event.to_string().as_bytes()).unwrap())
            .collect();
        serials.sort_unstable();
        serials
    }

    const PATH: &str = "/v2/siem/messages/blocked";
    const HOUR: &str = "2026-11-24T10:00:00Z/2026-11-24T11:00:00Z";

    #[test]
    fn a_window_has_what_was_created_in_it_and_is_visible_by_now() {
        let plain = Mixture {
            nameless: 0,
            ..Mixture::default()
        };
        for (is_end_inclusive, expected) in [(false, &[1, 2][..]), (true, &[1, 2, 3])] {
            let mut tap = tap(Options {
                is_end_inclusive,
                repeats: 0,
                mixture: plain,
                ..Options::default()
            });
            for (minutes, late) in [(120, 0), (119, 119), (60, 0), (90, 91), (121, 0)] {
                let at = NOON - Duration::minutes(minutes);
                tap.events
                    .add(Array::MessagesBlocked, at, at + Duration::minutes(late));
            }
            let answer = ask(&mut tap, PATH, HOUR, &[]);
            assert_eq!(serials(&answer, "messagesBlocked"), expected);
            let answer = ask(&mut tap, "/v2/siem/all", HOUR, &[]);
            assert_eq!(serials(&answer, "messagesBlocked"), expected);
            assert!(serials(&answer, "clicksBlocked").is_empty());
        }
    }

    #[test]
    fn a_window_that_is_not_accepted_is_refused_with_the_words_of_the_server() {
        let mut tap = tap(Options {
            still_current: Duration::seconds(5),
            ..Options::default()
        });
        for (interval, said) in [
            ("2026-11-24T10:00:00Z/2026-11-24T10:00:29Z", "too short"),
            ("2026-11-24T10:00:00Z/2026-11-24T11:00:01Z", "too long"),
            (
                "2026-11-17T11:59:59Z/2026-11-17T12:30:00Z",
                "up to 7.00d are",
            ),
            ("2026-11-24T11:30:00Z/2026-11-24T11:59:56Z", "still current"),
            ("2026-11-24T11:30:00Z", "Exactly one"),
        ] {
            let answer = ask(&mut tap, PATH, interval, &[]);
            let body = String::from_utf8(answer.body).unwrap();
            assert!(
                answer.status == 400 && body.contains(said),
                "{interval}: {body}"
            );
        }
        let answer = ask(
            &mut tap,
            PATH,
            "2026-11-24T11:30:00Z/2026-11-24T11:59:55Z",
            &[],
        );
        assert_eq!(answer.status, 200);
    }

    #[test]
    fn false_positives_come_where_they_are_asked_for() {
        let mut tap = tap(Options::default());
        let (from, to) = (NOON - Duration::hours(2), NOON - Duration::hours(1));
        tap.events.fill(Array::ClicksBlocked, (from, to), 200);
        let all = [
            ("threatStatus", "active"),
            ("threatStatus", "cleared"),
            ("threatStatus", "falsePositive"),
        ];
        let path = "/v2/siem/clicks/blocked";
        let of = |tap: &mut Tap, more: &[(&str, &str)]| {
            let mut serials = serials(&ask(tap, path, HOUR, more), "clicksBlocked");
            serials.dedup();
            serials
        };
        let (usual, every, false_ones) = (
            of(&mut tap, &[]),
            of(&mut tap, &all),
            of(&mut tap, &all[2..]),
        );
        assert!(!false_ones.is_empty() && usual.len() + false_ones.len() == every.len());
    }

    #[test]
    fn each_pool_has_its_quota() {
        let mut tap = tap(Options {
            quota: 2,
            ..Options::default()
        });
        let paths = [
            PATH,
            "/v2/siem/all",
            "/v2/siem/clicks/blocked",
            "/v2/siem/clicks/permitted",
        ];
        let statuses = paths.map(|path| ask(&mut tap, path, HOUR, &[]).status);
        assert_eq!(statuses, [200, 200, 429, 200]);
        let exceeded: Vec<usize> = tap.quotas().take(2).map(|quota| quota.exceeded).collect();
        assert_eq!(exceeded, [0, 1]);
    }

    #[test]
    fn whoever_signs_nothing_is_refused() {
        let request = Request {
            method: "GET".into(),
            path: PATH.into(),
            query: Vec::new(),
            headers: Vec::new(),
        };
        let reply = tap(Options::default()).answer(&request, NOON);
        assert!(matches!(reply, Reply::Http(Answer { status: 401, .. })));
    }
}
