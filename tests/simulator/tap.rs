//! The SIEM API and the threat summaries of Proofpoint TAP, with a store of events, a clock and quotas of
//! its own. What was asked is recorded, and any answer can go wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::TcpListener;
use std::sync::{Arc, MutexGuard};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime, UtcOffset};

use super::campaigns::Campaigns;
use super::certs::{Certs, Pair, server_config};
use super::fake_api::Store as _;
use super::fake_api::{FakeApi, Refused, Request, Style, decoded, refuse};
use super::http::{Asked, Content, Fault, Server};
use super::listen::loopback;
use super::people::People;
use super::rng::Rng;
use super::sample::{ARRAYS, Body, Event, message, serial_of};

/// The service principal that may ask.
pub const PRINCIPAL: &str = "11111111-2222-3333-4444-555555555555";
/// Its secret.
pub const SECRET: &str = "tap-secret-6f1d2c";

/// TAP on a port of the loopback, until dropped.
pub struct Tap {
    fake_api: Arc<FakeApi<Store>>,
    server: Server,
    url: String,
}

impl Tap {
    /// Over plain HTTP, on 127.0.0.1.
    pub fn start() -> Self {
        Self::on(loopback(false))
    }

    /// Over plain HTTP, on this socket.
    pub fn on(listener: TcpListener) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self::serve(listener, url, None)
    }

    /// Over plain HTTP, on `::1`.
    pub fn start_ipv6() -> Self {
        Self::on(loopback(true))
    }

    /// Over TLS, as `localhost`, on 127.0.0.1, with the usual server certificate.
    pub fn start_tls(certs: &Certs) -> Self {
        Self::start_tls_with(&Pair {
            cert: certs.server_cert(),
            key: certs.server_key(),
        })
    }

    /// Over TLS, with any server certificate.
    pub fn start_tls_with(pair: &Pair) -> Self {
        Self::on_tls(loopback(false), "localhost", pair)
    }

    /// Over TLS, as this host, on this socket.
    pub fn on_tls(listener: TcpListener, host: &str, pair: &Pair) -> Self {
        let port = listener.local_addr().unwrap().port();
        Self::serve(listener, format!("https://{host}:{port}"), Some(pair))
    }

    fn serve(listener: TcpListener, url: String, pair: Option<&Pair>) -> Self {
        let tls = pair.map(|pair| Arc::new(server_config(pair, None, rustls::ALL_VERSIONS)));
        let fake_api = Arc::new(FakeApi::new(Store::default()));
        let answering = Arc::clone(&fake_api);
        let server = Server::start(listener, tls, move |asked| answering.answer(asked));
        Self {
            fake_api,
            server,
            url,
        }
    }

    /// The base URL.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// `127.0.0.1:PORT` or `[::1]:PORT`.
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// The server's time: the real one and the offset.
    pub fn now(&self) -> OffsetDateTime {
        self.store().now()
    }

    /// Sets the server's clock ahead of the real one, or behind it.
    pub fn set_clock_offset(&self, offset: Duration) {
        self.store().clock_offset = offset;
    }

    /// How far back one may ask; 7 days.
    pub fn set_keep(&self, keep: Duration) {
        self.store().keep = keep;
    }

    /// Updates a campaign, or adds it.
    pub fn update_campaign(&self, id: &str, serial: u64, at: OffsetDateTime) {
        self.store().campaigns.update(id, serial, at);
    }

    /// Lists a campaign that is not there, or is again.
    pub fn set_campaign_absent(&self, id: &str, is_absent: bool) {
        self.store().campaigns.set_absent(id, is_absent);
    }

    /// The serial numbers of all campaigns.
    pub fn campaigns(&self) -> BTreeMap<u64, usize> {
        self.store().campaigns.serials()
    }

    /// Adds a person to the reports of a kind, `vap` or `top-clickers`, from a time on.
    pub fn add_person(&self, report: &str, serial: u64, from: OffsetDateTime) {
        self.store().people.add(report, serial, from);
    }

    /// The most people on a page of a report; 200.
    pub fn set_people_page(&self, people: usize) {
        self.store().people.page = people;
    }

    /// The people of all reports of a kind that were requested, by their serial numbers.
    pub fn people(&self, report: &str) -> BTreeMap<u64, usize> {
        self.store().people.requested(report)
    }

    /// Whether a window holds the events at its very end; it does not.
    pub fn set_end_inclusive(&self, inclusive: bool) {
        self.store().end_inclusive = inclusive;
    }

    /// How answers are spelt.
    pub fn set_style(&self, style: Style) {
        self.store().style = style;
    }

    /// From now on every answer holds so many events of about so many bytes instead of those in the
    /// store, made as they are sent. The same interval asked again gives the same ones.
    pub fn set_flood(&self, events_per_answer: u64, event_size: usize) {
        self.store().flood = Some((events_per_answer, event_size));
    }

    /// A flood has so many kinds of event, of different sizes, in turn; 1.
    pub fn set_flood_kinds(&self, kinds: u64) {
        self.store().flood_kinds = kinds;
    }

    /// How many different events the flood has made.
    pub fn flooded(&self) -> u64 {
        self.store()
            .flooded
            .values()
            .map(|&(_, events)| events)
            .sum()
    }

    /// Adds an event of the service whose array is called so, as `messagesBlocked`.
    pub fn add(&self, array: &str, event: Event) {
        let known = ARRAYS
            .iter()
            .find(|name| **name == array)
            .expect("the name of an array");
        let mut store = self.store();
        for (id, _) in named(event.body.text()) {
            store
                .threats
                .entry(id)
                .or_insert_with(|| Some("active".into()));
        }
        store.events.entry(known).or_default().push(event);
    }

    /// What the summary of a threat says of its status from now on; `None`: there is no such threat.
    pub fn set_threat(&self, id: &str, status: Option<&str>) {
        let status = status.map(str::to_owned);
        self.store().threats.insert(id.to_owned(), status);
    }

    /// Adds the events of a scenario.
    pub fn add_all(&self, events: impl IntoIterator<Item = (&'static str, Event)>) {
        for (array, event) in events {
            self.add(array, event);
        }
    }

    /// Shows the late events from now on.
    pub fn release_late(&self) {
        self.store().late_released = true;
    }

    /// How often each serial number is in the store under an array, shown or not.
    pub fn serials(&self, array: &str) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        for event in self.store().events.get(array).into_iter().flatten() {
            if let Some(serial) = serial_of(event.body.text()) {
                *counts.entry(serial).or_default() += 1;
            }
        }
        counts
    }

    /// The threats that shown events created from then on name, by the numbers in the names of their
    /// summaries, and in how many statuses each.
    pub fn threats(&self, from: OffsetDateTime) -> BTreeMap<u64, usize> {
        self.store().named_since(from, named)
    }

    /// The campaigns that shown events created from then on name, by the numbers in the names of their
    /// reports, and in how many statuses each.
    pub fn campaigns_of_events(&self, from: OffsetDateTime) -> BTreeMap<u64, usize> {
        self.store().named_since(from, campaigns_named)
    }

    /// Whether there are reports of what has this id.
    pub fn set_reports(&self, id: &str, are_there: bool) {
        let mut store = self.store();
        match are_there {
            true => store.without_reports.remove(id),
            false => store.without_reports.insert(id.to_owned()),
        };
    }

    /// How many events are shown now.
    pub fn visible(&self) -> usize {
        let store = self.store();
        let events = store.events.values().flatten();
        let shown = events.filter(|event| !event.late || store.late_released);
        shown.count()
    }

    /// Everything asked since the start, or since it was forgotten.
    pub fn requests(&self) -> Vec<Request> {
        self.fake_api.requests()
    }

    /// Forgets what was asked, but not for the quota.
    pub fn forget_requests(&self) {
        self.fake_api.forget_requests();
    }

    /// Asked for every request, with its number since this script was set: what goes wrong.
    pub fn script(&self, script: impl FnMut(&Request, usize) -> Option<Fault> + Send + 'static) {
        self.fake_api.set_script(Some(Box::new(script)));
    }

    /// From now on all goes well.
    pub fn no_script(&self) {
        self.fake_api.set_script(None);
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.fake_api.store()
    }
}

struct Store {
    rng: Rng,
    clock_offset: Duration,
    keep: Duration,
    /// The requests of the last 24 hours in each pool.
    spent: HashMap<&'static str, VecDeque<OffsetDateTime>>,
    end_inclusive: bool,
    style: Style,
    events: HashMap<&'static str, Vec<Event>>,
    late_released: bool,
    /// The statuses of threats; of those that events name, and that were taken away, none.
    threats: HashMap<String, Option<String>>,
    campaigns: Campaigns,
    /// Ids of threats and campaigns that have no reports.
    without_reports: BTreeSet<String>,
    people: People,
    flood: Option<(u64, usize)>,
    /// How many kinds of event it has.
    flood_kinds: u64,
    /// For a path and an interval: the first serial number, and how many.
    flooded: HashMap<(String, String), (u64, u64)>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            rng: Rng::new(0x7a9),
            clock_offset: Duration::ZERO,
            keep: Duration::days(7),
            spent: HashMap::new(),
            end_inclusive: false,
            style: Style::default(),
            events: HashMap::new(),
            late_released: false,
            threats: HashMap::new(),
            campaigns: Campaigns::default(),
            without_reports: BTreeSet::new(),
            people: People::default(),
            flood: None,
            flood_kinds: 1,
            flooded: HashMap::new(),
        }
    }
}

impl super::fake_api::Store for Store {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc() + self.clock_offset
    }

    fn style(&self) -> Style {
        self.style
    }

    fn right_answer(&mut self, asked: &Asked, request: &Request) -> Result<Content, Refused> {
        let login = BASE64_STANDARD.encode(format!("{PRINCIPAL}:{SECRET}"));
        if asked.header("authorization") != Some(&format!("Basic {login}")) {
            return refuse(401, "Credentials did not pass authentication");
        }
        if asked.method != "GET" {
            return refuse(405, "Only GET is allowed");
        }
        if let Some(id) = request.path.strip_prefix("/v2/threat/summary/") {
            return self.summary(&decoded(id));
        }
        if request.path == "/v2/forensics" {
            return self.forensics(request);
        }
        if request.path == "/v2/campaign/ids" {
            self.spend("campaign/ids", 50, request.at)?;
            let listed = self.campaigns.list(request)?;
            let text = self
                .style
                .spell(&mut self.rng, r#"{"campaigns":["#, "]}", &listed);
            return Ok(Content::Bytes(text));
        }
        if let Some(id) = request.path.strip_prefix("/v2/campaign/") {
            let campaign = self.campaigns.get(&decoded(id))?;
            return Ok(Content::Bytes(campaign.text().to_vec()));
        }
        if let Some(report) = request.path.strip_prefix("/v2/people/") {
            return self.report(report, request);
        }
        let arrays: &[&str] = match request.path.as_str() {
            "/v2/siem/clicks/blocked" => &ARRAYS[..1],
            "/v2/siem/clicks/permitted" => &ARRAYS[1..2],
            "/v2/siem/messages/blocked" => &ARRAYS[2..3],
            "/v2/siem/messages/delivered" => &ARRAYS[3..],
            "/v2/siem/all" => &ARRAYS,
            other => return refuse(404, &format!("There is nothing at {other}")),
        };
        let pool = match arrays {
            ["clicksPermitted"] => "clicks/permitted",
            _ => "the other event services",
        };
        self.spend(pool, 1800, request.at)?;

        let (start, end) = self.window(request)?;
        let end_time = end
            .truncate_to_second()
            .format(&Rfc3339)
            .expect("a time with a date");
        if self.flood.is_some() {
            return Ok(self.flood(request, arrays, &end_time, start));
        }
        let (head, tail) = frame(self.style, arrays, &end_time);
        let mut text = Vec::new();
        for (number, array) in arrays.iter().enumerate() {
            let mut shown = self.shown(request, array, start, end);
            self.rng.shuffle(&mut shown);
            let last = number + 1 == arrays.len();
            let head = match number {
                0 => head.clone(),
                _ => format!(r#","{array}":["#),
            };
            let tail = if last { tail.as_str() } else { "]" };
            text.extend(self.style.spell(&mut self.rng, &head, tail, &shown));
        }
        Ok(Content::Bytes(text))
    }
}

impl Store {
    /// What shown events created from then on name, by its number, and how often in another status.
    fn named_since(
        &self,
        from: OffsetDateTime,
        named: fn(&[u8]) -> Vec<(String, String)>,
    ) -> BTreeMap<u64, usize> {
        let events = self.events.values().flatten();
        let shown =
            events.filter(|event| event.created >= from && (!event.late || self.late_released));
        let pairs: BTreeSet<(String, String)> =
            shown.flat_map(|event| named(event.body.text())).collect();
        let mut counts = BTreeMap::new();
        for (id, _) in pairs {
            *counts.entry(number_of(&id)).or_default() += 1;
        }
        counts
    }

    /// The reports of a campaign or a threat. The number in their name is of the id.
    fn forensics(&mut self, request: &Request) -> Result<Content, Refused> {
        let (scope, id) = match (request.param("campaignId"), request.param("threatId")) {
            (Some(id), None) => ("CAMPAIGN", id),
            (None, Some(id)) => ("THREAT", id),
            _ => return refuse(400, "Exactly one of campaignId and threatId is required"),
        };
        match scope {
            "CAMPAIGN" => self.spend("forensics by campaign", 1800, request.at)?,
            _ => self.spend("forensics by threat", 50, request.at)?,
        }
        if self.without_reports.contains(id) {
            return refuse(404, "");
        }
        let text = format!(
            r#"{{"generated":"2026-11-01T10:00:00.000Z","reports":[{{"scope":"{scope}","id":{id},"name":"serial.{number} | \u00fcber","forensics":[{{"type":"network","display":"Connected to 203.0.113.7:443","engine":"iee","malicious":true,"time":0,"note":null,"what":{{"action":"connect","ip":"203.0.113.7","port":"443","type":"tcp"}},"platforms":[{{"name":"Win10","os":"win","version":"win10"}}]}},{{"type":"file","display":"Written: C:\\Users\\Öl.exe","malicious":false,"time":0,"what":{{"blacklisted":1,"md5":null}},"platforms":[]}}]}}]}}"#,
            number = number_of(id),
            id = Value::from(id),
        );
        Ok(Content::Bytes(self.style.spell(
            &mut self.rng.clone(),
            &text,
            "",
            &[],
        )))
    }

    /// Counts a request in a pool that allows so many in 24 hours.
    fn spend(
        &mut self,
        pool: &'static str,
        most: usize,
        at: OffsetDateTime,
    ) -> Result<(), Refused> {
        let spent = self.spent.entry(pool).or_default();
        spent.retain(|&before| before > at - Duration::DAY);
        if spent.len() >= most {
            return refuse(429, "");
        }
        spent.push_back(at);
        Ok(())
    }

    /// A page of a report on people.
    fn report(&mut self, report: &str, request: &Request) -> Result<Content, Refused> {
        let pool = match report {
            "vap" => "people/vap",
            "top-clickers" => "people/top-clickers",
            other => return refuse(404, &format!("There is no report {other}")),
        };
        self.spend(pool, 50, request.at)?;
        let (before, behind, people) = self.people.answer(report, request)?;
        let (before, behind) = match self.style.array_first {
            true => (String::new(), format!(",{before},{behind}")),
            false => (format!("{before},"), format!(",{behind}")),
        };
        let (head, tail) = (format!(r#"{{{before}"users":["#), format!("]{behind}}}"));
        let text = self.style.spell(&mut self.rng, &head, &tail, &people);
        Ok(Content::Bytes(text))
    }

    /// The summary of a threat: whatever an event names has one, unless it was taken away. The number
    /// in its name is of the threat.
    fn summary(&self, id: &str) -> Result<Content, Refused> {
        let Some(Some(status)) = self.threats.get(id) else {
            return refuse(404, "");
        };
        let number = number_of(id);
        let text = format!(
            r#"{{"id":{id},"identifiedAt":"2025-01-14T08:16:41.000Z","name":"serial.{number}","type":"attachment","category":"malware","status":"{status}","severityScore":412,"attackSpread":37,"notable":false,"verticallyTargeted":false,"geoTargeted":true,"actors":[{{"id":"1f2e3d4c-5b6a-4798-8a9b-0c1d2e3f4a5b","name":"TA0000"}}],"families":[{{"id":"loader","name":"Loader"}}],"malware":[{{"id":"8a7b6c5d-4e3f-4210-9f8e-7d6c5b4a3928","name":"ExampleLöader \u00e9"}}],"techniques":[],"brands":[]}}"#,
            id = Value::from(id),
        );
        Ok(Content::Bytes(self.style.spell(
            &mut self.rng.clone(),
            &text,
            "",
            &[],
        )))
    }

    /// The window that was asked for, if everything about the query is as it must be.
    fn window(&self, request: &Request) -> Result<(OffsetDateTime, OffsetDateTime), Refused> {
        if !request
            .param("format")
            .is_some_and(|format| format.eq_ignore_ascii_case("json"))
        {
            return refuse(400, "This simulator serves format=json only");
        }
        let times = ["interval", "sinceSeconds", "sinceTime"];
        let times = request
            .query
            .iter()
            .filter(|(key, _)| times.contains(&key.as_str()));
        let (1, Some((start, end))) = (times.count(), request.interval()) else {
            return refuse(400, "Exactly one interval of start/end is required");
        };
        let keep = self.keep.as_seconds_f64() / Duration::DAY.as_seconds_f64();
        let length = end - start;
        if length.is_negative() {
            refuse(400, "")
        } else if length < Duration::seconds(30) {
            refuse(
                400,
                "The requested interval is too short. Requests must be for at least 30.00s of data",
            )
        } else if length > Duration::HOUR {
            refuse(
                400,
                "The requested interval is too long. Requests may be for up to 1.00h of data",
            )
        } else if start < request.at - self.keep {
            refuse(
                400,
                &format!(
                    "The requested start time is too far into the past. \
                     Requests for information up to {keep:.2}d are accepted"
                ),
            )
        } else if end > request.at {
            refuse(400, "The requested interval is still current.")
        } else {
            Ok((
                start.to_offset(UtcOffset::UTC),
                end.to_offset(UtcOffset::UTC),
            ))
        }
    }

    fn shown(
        &self,
        request: &Request,
        array: &str,
        start: OffsetDateTime,
        end: OffsetDateTime,
    ) -> Vec<Body> {
        let wanted = Wanted::of(request);
        let events = self.events.get(array).into_iter().flatten();
        events
            .filter(|event| {
                let inside = event.created < end || self.end_inclusive && event.created == end;
                (start <= event.created && inside)
                    && (!event.late || self.late_released)
                    && event.visible_from.is_none_or(|from| from <= request.at)
                    && wanted.admits(event.body.text())
            })
            .map(|event| event.body.clone())
            .collect()
    }

    fn flood(
        &mut self,
        request: &Request,
        arrays: &[&str],
        end_time: &str,
        start: OffsetDateTime,
    ) -> Content {
        let (events, size) = self.flood.expect("asked for");
        let made: u64 = self.flooded.values().map(|&(_, events)| events).sum();
        let key = (
            request.path.clone(),
            request.param("interval").unwrap_or("").to_owned(),
        );
        let (first, events) = *self.flooded.entry(key).or_insert((made, events));
        let (head, tail) = frame(self.style, arrays, end_time);
        let mut block = Block::new(start, size, self.flood_kinds);
        Content::Stream(Box::new(move |wire| {
            wire.write_all(head.as_bytes())?;
            let mut next = first;
            while next < first + events {
                let (text, count) = block.numbered(next, (first + events - next) as usize);
                let from = usize::from(next == first);
                wire.write_all(&text[from..])?;
                next += count as u64;
            }
            wire.write_all(tail.as_bytes())
        }))
    }
}

/// The threats that an event names, with the status that it gives each.
fn named(event: &[u8]) -> Vec<(String, String)> {
    let event: Value = serde_json::from_slice(event).unwrap_or_default();
    let threats = event["threatsInfoMap"].as_array().into_iter().flatten();
    let pair = |threat: &Value| {
        let text = |key: &str| threat[key].as_str().map(str::to_owned);
        Some((
            text("threatID")?,
            text("threatStatus")?.to_ascii_lowercase(),
        ))
    };
    threats.chain([&event]).filter_map(pair).collect()
}

/// The campaigns that an event names, with the status of each threat of theirs.
fn campaigns_named(event: &[u8]) -> Vec<(String, String)> {
    let event: Value = serde_json::from_slice(event).unwrap_or_default();
    let threats = event["threatsInfoMap"].as_array().into_iter().flatten();
    let pair = |threat: &Value, key: &str| {
        let text = |key: &str| threat[key].as_str().map(str::to_owned);
        text("threatID")?;
        let campaign = text(key).filter(|id| !id.is_empty())?;
        Some((campaign, text("threatStatus")?.to_ascii_lowercase()))
    };
    let of_message = threats.filter_map(|threat| pair(threat, "campaignID"));
    of_message.chain(pair(&event, "campaignId")).collect()
}

/// A number for a threat or a campaign.
fn number_of(id: &str) -> u64 {
    let mix = |number: u64, byte| number.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte);
    id.bytes().fold(7, mix)
}

/// What the query wants of an event's threats; empty lists want anything.
struct Wanted {
    types: Vec<String>,
    statuses: Vec<String>,
}

impl Wanted {
    fn of(request: &Request) -> Self {
        let values = |key: &str| {
            let of_key = request.query.iter().filter(|(name, _)| name == key);
            of_key
                .map(|(_, value)| value.to_ascii_lowercase())
                .collect()
        };
        Self {
            types: values("threatType"),
            statuses: values("threatStatus"),
        }
    }

    fn admits(&self, event: &[u8]) -> bool {
        if self.types.is_empty() && self.statuses.is_empty() {
            return true;
        }
        let Ok(event) = serde_json::from_slice::<Value>(event) else {
            return true;
        };
        let fits = |threat: &Value, key: &str, wanted: &[String]| {
            let value = threat
                .get(key)
                .and_then(Value::as_str)
                .map(str::to_ascii_lowercase);
            wanted.is_empty() || value.is_none_or(|value| wanted.contains(&value))
        };
        let threat_fits = |threat: &Value| {
            fits(threat, "threatType", &self.types) && fits(threat, "threatStatus", &self.statuses)
        };
        match event.get("threatsInfoMap").and_then(Value::as_array) {
            Some(threats) => threats.iter().any(threat_fits),
            None => threat_fits(&event),
        }
    }
}

/// What stands before and after the events.
fn frame(style: Style, arrays: &[&str], end_time: &str) -> (String, String) {
    let array = arrays[0];
    let end_time = format!(r#""queryEndTime":"{end_time}""#);
    let (before, after) = match style.array_first {
        true => (String::new(), format!(",{end_time}")),
        false => (format!("{end_time},"), String::new()),
    };
    let (first, last) = match style.extra_keys {
        true => (
            r#""notice":{"lines":["a ] or } in a \"string\"",[],{}],"n":-1.5e3,"none":null},"#,
            r#","page":[{"messagesBlocked":[1,[2]]},true],"took":"4 ms""#,
        ),
        false => ("", ""),
    };
    (
        format!(r#"{{{first}{before}"{array}":["#),
        format!("]{after}{last}}}"),
    )
}

/// Events of a flood, one after the other, each with a number of its own.
struct Block {
    /// Each event with the comma before it.
    text: Vec<u8>,
    events: Vec<FloodEvent>,
}

/// Where an event of a flood stands.
struct FloodEvent {
    end: usize,
    /// Where its number stands, 12 digits each.
    marks: [usize; 2],
}

impl Block {
    /// Events that are sent at once.
    const AT_ONCE: usize = 100;

    /// So many kinds of event of about so many bytes.
    fn new(created: OffsetDateTime, size: usize, kinds: u64) -> Self {
        const SERIAL: u64 = 999_999_999_999;
        const FIRST: &str = r#""id":"xxxxxxxx-xxxx-4xxx-9xxx-"#;
        let mut block = Self {
            text: Vec::new(),
            events: Vec::new(),
        };
        // as many as are sent at once, at least
        for kind in (1..=kinds)
            .cycle()
            .take(kinds.max(Self::AT_ONCE as u64) as usize)
        {
            let mut rng = Rng::new(kind);
            let body = message(&mut rng, created, SERIAL, "dana.reyes@examplecorp.example");
            let mut text = str::from_utf8(body.text())
                .expect("a sample is UTF-8")
                .to_owned();
            if size > text.len() {
                let longer =
                    (size - text.len()) * if kinds > 1 { 50 + rng.below(100) } else { 100 } / 100;
                let filling = "x".repeat(longer + "null".len() - 2);
                text = text.replace(r#""xmailer":null"#, &format!(r#""xmailer":"{filling}""#));
            }
            let id = text.find(&FIRST[..6]).expect("a sample has an id") + FIRST.len();
            let serial = text.find(&SERIAL.to_string()).unwrap();
            let start = block.text.len() + 1;
            block.text.push(b',');
            block.text.extend_from_slice(text.as_bytes());
            block.events.push(FloodEvent {
                end: block.text.len(),
                marks: [start + id, start + serial],
            });
        }
        block
    }

    /// Some of so many events from this number on, with the comma before each; and how many.
    fn numbered(&mut self, first: u64, count: usize) -> (&[u8], usize) {
        let from = first as usize % self.events.len();
        let to = self.events.len().min(from + count.min(Self::AT_ONCE));
        for (event, serial) in self.events[from..to].iter().zip(first..) {
            let mut digits = [0; 12];
            let mut rest = serial;
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            for mark in event.marks {
                self.text[mark..mark + 12].copy_from_slice(&digits);
            }
        }
        let start = from
            .checked_sub(1)
            .map_or(0, |before| self.events[before].end);
        (&self.text[start..self.events[to - 1].end], to - from)
    }
}
