//! What TAP has besides events: summaries of threats, forensics, campaigns and reports on people.
//!
//! A serial is the number of what was looked up: of the threat, or of the campaign. Each pair of it and a
//! status, or an update, is an event of its own for the program, though their texts may be equal. A person of
//! a report has a serial for each day.

use std::collections::BTreeMap;
use std::fmt::Write;

use time::{Duration, OffsetDateTime};

use super::api::{Reply, Request};
use super::demand::{CAMPAIGNS, Expected, History, sum};
use super::event::{Event, Text, json, milliseconds, refusal, seconds};
use super::quota::Quota;
use super::tap::{Content, Status, interval};

/// Serials of people begin for each day at its number times this.
const PER_DAY: u64 = 1000;
/// The longest time from a day's beginning to its report being requested: a window ends a minute before
/// the present.
const DAWN: Duration = Duration::minutes(2);

/// The APIs for what events name, and those beside them.
#[derive(Debug)]
pub struct Threats {
    /// Threats and campaigns with this number or a higher one are not there.
    pub known: u64,
    /// Updates of campaigns, in their order; the serial is the number of the campaign.
    updates: Vec<Event>,
    /// The people of the reports, and from when on a report has each.
    people: BTreeMap<Report, Vec<OffsetDateTime>>,
    /// The most people or campaigns on a page, whatever a request says.
    pub page: usize,
    quotas: [Quota; 5],
}

/// A service that reads something else than events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    Summaries,
    /// With the default, by campaigns.
    Forensics,
    ForensicsByThreat,
    Campaigns,
    People(Report),
}

impl Beside {
    /// That of a name.
    pub fn of(service: &str) -> Option<Beside> {
        Some(match service {
            "tap-threats" => Beside::Summaries,
            "tap-forensics" => Beside::Forensics,
            "tap-campaigns" => Beside::Campaigns,
            "tap-people-vap" => Beside::People(Report::Vap),
            "tap-people-clickers" => Beside::People(Report::TopClickers),
            _ => return None,
        })
    }
}

/// The reports on people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Report {
    Vap,
    TopClickers,
}

/// The pools of requests, as [`Threats::quotas`] has them.
const CAMPAIGN_LIST: usize = 0;
const BY_CAMPAIGN: usize = 1;
const BY_THREAT: usize = 2;
const VAP: usize = 3;
const CLICKERS: usize = 4;

impl Threats {
    /// There are so many threats, and no campaign was updated.
    pub fn new(threats: usize) -> Threats {
        Threats {
            known: threats as u64,
            updates: Vec::new(),
            people: BTreeMap::new(),
            page: 200,
            quotas: [
                Quota::new("campaign/ids", 50),
                Quota::new("forensics by campaign", 1800),
                Quota::new("forensics by threat", 50),
                Quota::new("people/vap", 50),
                Quota::new("people/top-clickers", 50),
            ],
        }
    }

    /// Their pools.
    pub fn quotas(&self) -> impl Iterator<Item = &Quota> {
        self.quotas.iter()
    }

    /// Updates a campaign, or adds it; updates come in the order of their times. The list has a campaign at
    /// its last update alone.
    pub fn update(&mut self, campaign: u64, at: OffsetDateTime) {
        let mut before = self.updates.iter_mut().rev();
        if let Some(before) = before.find(|update| update.serial == campaign) {
            before.gone_from = at;
        }
        let entry = format!(
            r#"{{"id":"campaign-{campaign}","lastUpdatedAt":"{}"}}"#,
            milliseconds(at)
        );
        self.updates.push(Event {
            serial: campaign,
            at,
            visible_from: at,
            gone_from: at + CAMPAIGNS.keep,
            text: Text::plain(entry),
        });
    }

    /// Adds a person to the reports of the days that begin at this time or later.
    pub fn add_person(&mut self, report: Report, from: OffsetDateTime) {
        self.people.entry(report).or_default().push(from);
    }

    /// What is expected of a service, where events name this, and must have been read or not.
    pub fn expected<'a>(
        &self,
        service: Beside,
        named: impl Iterator<Item = (&'a Content, bool, usize)>,
        history: &History<'_>,
    ) -> Vec<Expected> {
        match service {
            Beside::Summaries | Beside::ForensicsByThreat => {
                self.pairs(named.map(|(content, must, most)| {
                    (Some(content.threat), content.status, (must, most))
                }))
            }
            Beside::Forensics => self.pairs(
                named.map(|(content, must, most)| (content.campaign, content.status, (must, most))),
            ),
            Beside::Campaigns => {
                let known = self.updates.iter();
                let known = known.filter(|update| update.serial < self.known);
                sum(known.map(|update| (update.serial, CAMPAIGNS.must(history, update), 1)))
            }
            Beside::People(report) => self.expected_people(report, history),
        }
    }

    /// Each known thing that is named is expected once with each status.
    fn pairs(
        &self,
        named: impl Iterator<Item = (Option<u64>, Status, (bool, usize))>,
    ) -> Vec<Expected> {
        let mut pairs: BTreeMap<(u64, Status), (bool, usize)> = BTreeMap::new();
        for (number, status, (must, most)) in named {
            if let Some(number) = number.filter(|number| *number < self.known) {
                let pair = pairs.entry((number, status)).or_default();
                *pair = (pair.0 | must, pair.1.max(most));
            }
        }
        sum(pairs
            .into_iter()
            .map(|((number, _), (must, most))| (number, must, most)))
    }

    /// The report of each day on which a good run began late enough, and ended before the next.
    fn expected_people(&self, report: Report, history: &History<'_>) -> Vec<Expected> {
        let mut days: BTreeMap<OffsetDateTime, bool> = BTreeMap::new();
        for run in history.runs {
            let day = run.began.truncate_to_day();
            let is_within = run.present() >= day + DAWN && run.ended < day + Duration::DAY;
            *days.entry(day).or_default() |= run.is_good && is_within;
            days.entry(run.ended.truncate_to_day()).or_default();
        }
        sum(days.into_iter().flat_map(|(day, must)| {
            let people = self.people_of(report, day);
            people.map(move |person| (serial_of(day, person), must, 1))
        }))
    }

    /// The people of the report of a day.
    fn people_of(&self, report: Report, day: OffsetDateTime) -> impl Iterator<Item = usize> {
        let people = self.people.get(&report).into_iter().flatten();
        let people = people.enumerate().filter(move |(_, from)| **from <= day);
        people.map(|(person, _)| person)
    }

    /// The answer to a request that is not for events.
    pub fn answer(&mut self, request: &Request, now: OffsetDateTime) -> Reply {
        let path = request.path.as_str();
        if let Some(id) = path.strip_prefix("/v2/threat/summary/") {
            return self.summary(id);
        }
        match path {
            "/v2/forensics" => self.forensics(request, now),
            "/v2/campaign/ids" => self.campaigns(request, now),
            "/v2/people/vap" => self.report(Report::Vap, request, now),
            "/v2/people/top-clickers" => self.report(Report::TopClickers, request, now),
            _ => match path.strip_prefix("/v2/campaign/") {
                Some(id) => self.campaign(id),
                None => refusal(404, "There is nothing here"),
            },
        }
    }

    /// The number in an id, if there is such a thing.
    fn number(&self, id: &str, kind: &str) -> Option<u64> {
        let number = id.strip_prefix(kind)?.parse().ok()?;
        (number < self.known).then_some(number)
    }

    fn summary(&self, id: &str) -> Reply {
        let Some(number) = self.number(id, "threat-") else {
            return refusal(404, "");
        };
        json(
            format!(
                r#"{{"id":"{id}","identifiedAt":"2026-11-01T10:00:00.000Z","name":"serial.{number}","type":"url","category":"phish","status":"active","severityScore":412,"attackSpread":37,"notable":false,"actors":[],"families":[{{"id":"loader","name":"Loader"}}],"malware":[],"techniques":[],"brands":[]}}"#
            )
            .into(),
        )
    }

    fn forensics(&mut self, request: &Request, now: OffsetDateTime) -> Reply {
        let ids = (
            request.parameter("campaignId"),
            request.parameter("threatId"),
        );
        let (scope, id, kind, pool) = match ids {
            (Some(id), None) => ("CAMPAIGN", id, "campaign-", BY_CAMPAIGN),
            (None, Some(id)) => ("THREAT", id, "threat-", BY_THREAT),
            _ => return refusal(400, "Exactly one of campaignId and threatId is required"),
        };
        if !self.quotas[pool].take(now) {
            return refusal(429, "");
        }
        let Some(number) = self.number(id, kind) else {
            return refusal(404, "");
        };
        json(
            format!(
                r#"{{"generated":"2026-11-01T10:00:00.000Z","reports":[{{"scope":"{scope}","id":"{id}","name":"serial.{number}","forensics":[{{"type":"url","display":"https://pay.example/","malicious":true,"time":0,"what":{{"blacklisted":1}},"platforms":[]}}]}}]}}"#
            )
            .into(),
        )
    }

    /// A page of the campaigns that were last updated in an interval, by that time.
    fn campaigns(&mut self, request: &Request, now: OffsetDateTime) -> Reply {
        if !self.quotas[CAMPAIGN_LIST].take(now) {
            return refusal(429, "");
        }
        let window = request.parameter("interval").and_then(interval);
        let (Some((from, to)), Some((size, page))) = (window, self.page(request, 100)) else {
            return refusal(400, "An interval is required; the size is 200 at most");
        };
        let length = to - from;
        if length < Duration::seconds(30) || length > Duration::DAY || to > now {
            return refusal(400, "Requests must be for 30 seconds to 1 day of data");
        }
        let mut listed: Vec<&Event> = self.updates.iter().collect();
        listed.retain(|update| from <= update.at && update.at < to && update.is_shown(now));
        listed.sort_by_key(|update| update.at);
        let listed: Vec<&Event> = listed.into_iter().skip(page * size).take(size).collect();
        if listed.is_empty() {
            return refusal(404, "");
        }
        let mut text = br#"{"campaigns":["#.to_vec();
        for (number, update) in listed.iter().enumerate() {
            if number > 0 {
                text.push(b',');
            }
            text.extend_from_slice(update.text.bytes());
        }
        text.extend_from_slice(b"]}");
        json(text)
    }

    fn campaign(&self, id: &str) -> Reply {
        let Some(number) = self.number(id, "campaign-") else {
            return refusal(404, "");
        };
        json(
            format!(
                r#"{{"id":"{id}","name":"serial.{number}","description":"Messages with links","startDate":"2026-11-01T00:00:00.000Z","notable":false,"actors":[],"families":[],"malware":[],"techniques":[],"brands":[],"campaignMembers":[]}}"#
            )
            .into(),
        )
    }

    /// A page of today's report.
    fn report(&mut self, report: Report, request: &Request, now: OffsetDateTime) -> Reply {
        let (pool, total, statistics) = match report {
            Report::Vap => (
                VAP,
                "totalVapUsers",
                r#""threatStatistics":{"attackIndex":12,"families":[]}"#,
            ),
            Report::TopClickers => (
                CLICKERS,
                "totalTopClickers",
                r#""clickStatistics":{"clickCount":3,"families":[]}"#,
            ),
        };
        if !self.quotas[pool].take(now) {
            return refusal(429, "");
        }
        let days = request
            .parameter("window")
            .and_then(|days| days.parse().ok());
        let (Some(days @ (14 | 30 | 90)), Some((size, page))) = (days, self.page(request, 1000))
        else {
            return refusal(400, "The window must be 14, 30 or 90");
        };
        let day = now.truncate_to_day();
        let since = seconds(day - Duration::days(days));
        let mut text = format!(r#"{{"interval":"{since}Z/{}Z","users":["#, seconds(day));
        let people: Vec<usize> = self.people_of(report, day).collect();
        for (place, person) in people.iter().skip(page * size).take(size).enumerate() {
            let comma = if place > 0 { "," } else { "" };
            let serial = serial_of(day, *person);
            let _ = write!(
                text,
                r#"{comma}{{"identity":{{"guid":"person-{person}","emails":["dana.reyes@corp.example"],"name":"serial.{serial}","vip":false}},{statistics}}}"#
            );
        }
        let _ = write!(text, r#"],"{total}":{}}}"#, people.len());
        json(text.into())
    }

    /// The size of a page, and its number from 0.
    fn page(&self, request: &Request, usual: usize) -> Option<(usize, usize)> {
        let number = |key, usual| {
            request
                .parameter(key)
                .map_or(Some(usual), |text| text.parse().ok())
        };
        let (size, page) = (number("size", usual)?, number("page", 1)?);
        let is_good = (1..=1000).contains(&size) && page >= 1;
        is_good.then(|| (size.min(self.page), page - 1))
    }
}

fn serial_of(day: OffsetDateTime, person: usize) -> u64 {
    (day.unix_timestamp() / 86_400).unsigned_abs() * PER_DAY + person as u64
}

#[cfg(test)]
mod tests {
    use super::super::api::Answer;
    use super::super::demand::Run;
    use super::super::event::serial;
    use super::super::rng::Rng;
    use super::super::tap::{Array, Events, Mixture};
    use super::*;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    fn ask(threats: &mut Threats, path: &str, query: &[(&str, &str)]) -> Answer {
        let query = query
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()));
        let request = Request {
            method: "GET".into(),
            path: path.into(),
            query: query.collect(),
            headers: Vec::new(),
        };
        match threats.answer(&request, NOON) {
            Reply::Http(answer) => answer,
            Reply::Stream(stream) => panic!("{stream:?}"),
        }
    }

    fn body(answer: &Answer) -> serde_json::Value {
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// A good run at noon.
    fn history(runs: &[Run]) -> History<'_> {
        History {
            since: NOON - Duration::hours(24),
            earliest: None,
            runs,
            look_back: Duration::ZERO,
            recheck_after: None,
            untold: Duration::ZERO,
        }
    }

    const RUN: Run = Run {
        began: NOON,
        ended: NOON,
        behind: Duration::ZERO,
        is_good: true,
        is_calm: true,
    };

    #[test]
    fn what_is_known_is_looked_up_by_its_id() {
        let mut threats = Threats::new(4);
        let answer = ask(&mut threats, "/v2/threat/summary/threat-3", &[]);
        assert_eq!(body(&answer)["id"], "threat-3");
        assert_eq!(serial(&answer.body), Some(3));
        let by_campaign = ask(
            &mut threats,
            "/v2/forensics",
            &[("campaignId", "campaign-2")],
        );
        assert!(body(&by_campaign)["reports"].is_array());
        assert_eq!(serial(&by_campaign.body), Some(2));
        for (path, query) in [
            ("/v2/threat/summary/threat-4", None),
            ("/v2/threat/summary/campaign-1", None),
            ("/v2/campaign/campaign-4", None),
            ("/v2/forensics", Some(("threatId", "threat-9"))),
        ] {
            let query: Vec<_> = query.into_iter().collect();
            assert_eq!(ask(&mut threats, path, &query).status, 404, "{path}");
        }
        assert_eq!(ask(&mut threats, "/v2/forensics", &[]).status, 400);
    }

    #[test]
    fn each_pair_of_a_name_and_a_status_is_expected() {
        let mut events = Events::new(Mixture::default(), Duration::days(7), Rng::new(3));
        let range = (NOON - Duration::hours(9), NOON - Duration::hours(2));
        events.fill(Array::MessagesBlocked, range, 60);
        let threats = Threats::new(4);
        let named = || events.all().iter().map(|(content, _)| (content, true, 1));
        let expected = threats.expected(Beside::Summaries, named(), &history(&[]));
        assert_eq!(
            expected.iter().map(|one| one.serial).collect::<Vec<_>>(),
            [0, 1, 2, 3]
        );
        assert!(
            expected
                .iter()
                .all(|one| one.least == one.most && one.most <= 3)
        );
        assert!(expected.iter().any(|one| one.most > 1));
    }

    #[test]
    fn a_campaign_is_listed_at_its_last_update() {
        let mut threats = Threats::new(9);
        let ago = |hours| NOON - Duration::hours(hours);
        for (campaign, hours) in [(1, 9), (2, 8), (1, 7)] {
            threats.update(campaign, ago(hours));
        }
        let listed = |threats: &mut Threats, window, page| {
            let query = [("interval", window), ("size", "1"), ("page", page)];
            let answer = ask(threats, "/v2/campaign/ids", &query);
            match answer.status {
                200 => body(&answer)["campaigns"][0]["id"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
                status => status.to_string(),
            }
        };
        let day = "2026-11-24T00:00:00Z/2026-11-24T12:00:00Z";
        assert_eq!(listed(&mut threats, day, "1"), "campaign-2");
        assert_eq!(listed(&mut threats, day, "2"), "campaign-1");
        assert_eq!(listed(&mut threats, day, "3"), "404");
        assert_eq!(
            listed(
                &mut threats,
                "2026-11-24T02:00:00Z/2026-11-24T04:00:00Z",
                "1"
            ),
            "404"
        );
        let expected = threats.expected(Beside::Campaigns, std::iter::empty(), &history(&[RUN]));
        let least = expected.iter().map(|one| (one.serial, one.least, one.most));
        // what was updated again may be too old by then
        assert_eq!(least.collect::<Vec<_>>(), [(1, 1, 2), (2, 1, 1)]);
    }

    #[test]
    fn a_report_has_the_people_of_its_day_in_pages() {
        let mut threats = Threats::new(0);
        threats.page = 2;
        for hours in [100, 50, 30, 1] {
            threats.add_person(Report::Vap, NOON - Duration::hours(hours));
        }
        let mut found = Vec::new();
        for page in ["1", "2", "3"] {
            let query = [("window", "30"), ("size", "200"), ("page", page)];
            let report = body(&ask(&mut threats, "/v2/people/vap", &query));
            assert_eq!(report["totalVapUsers"], 3);
            assert_eq!(
                report["interval"],
                "2026-10-25T00:00:00Z/2026-11-24T00:00:00Z"
            );
            let people = report["users"].as_array().unwrap().iter();
            found.extend(people.filter_map(|person| serial(person.to_string().as_bytes())));
        }
        let expected = threats.expected(
            Beside::People(Report::Vap),
            std::iter::empty(),
            &history(&[RUN]),
        );
        assert_eq!(
            expected.iter().map(|one| one.serial).collect::<Vec<_>>(),
            found
        );
        assert!(found.len() == 3 && expected.iter().all(|one| one.least == 1));
        let early = Run {
            began: datetime!(2026-11-24 0:01 UTC),
            ..RUN
        };
        let expected = threats.expected(
            Beside::People(Report::Vap),
            std::iter::empty(),
            &history(&[early]),
        );
        assert!(expected.iter().all(|one| one.least == 0));
        assert_eq!(ask(&mut threats, "/v2/people/vap", &[]).status, 400);
    }
}
