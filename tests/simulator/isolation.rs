//! The reporting API of Proofpoint Isolation: jobs that take a
//! few looks, pages by token, records in no order and without a name.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, MutexGuard};

use base64::{Engine, prelude::BASE64_STANDARD};
use time::macros::format_description;
use time::{Duration, OffsetDateTime, UtcOffset};

use super::certs::{Certs, Pair, server_config};
use super::fake_api::{FakeApi, Refused, Request, Style, instant, refuse};
use super::http::{Asked, Content, Fault, Server};
use super::listen::loopback;
use super::rng::Rng;
use super::sample::{Body, Event, serial_of};

/// The key that may ask.
pub const API_KEY: &str = "isolation-key.9b2e7f/=+";
/// Where it is asked, below the base URL.
pub const USAGE_DATA: &str = "/api/v2/reporting/usage-data";

/// Isolation on a port of the loopback, until dropped.
pub struct Isolation {
    fake_api: Arc<FakeApi<Store>>,
    server: Server,
    url: String,
}

/// How jobs go.
#[derive(Debug, Clone, Copy)]
pub struct Jobs {
    /// Records on a page, where fewer than asked for.
    pub page: usize,
    /// So many looks at a job are answered with one of `pending` before it is completed.
    pub looks: usize,
    /// What its status is until then, in turn.
    pub pending: &'static [&'static str],
    /// What it is then.
    pub completed: &'static str,
    /// Whether each page has to be waited for as well.
    pub pages_pend: bool,
    /// Whether the first answer has all of it, without a job to go on with.
    pub single_shot: bool,
    /// What the last page says of a next one.
    pub last_token: &'static str,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            page: usize::MAX,
            looks: 1,
            pending: &["RUNNING"],
            completed: "COMPLETED",
            pages_pend: false,
            single_shot: false,
            last_token: "",
        }
    }
}

impl Isolation {
    /// Over plain HTTP, on 127.0.0.1.
    pub fn start() -> Self {
        Self::on(loopback(false))
    }

    /// Over plain HTTP, on this socket.
    pub fn on(listener: TcpListener) -> Self {
        Self::serve(listener, "http://127.0.0.1", None)
    }

    /// Over TLS, as `localhost`, with the usual server certificate.
    pub fn start_tls(certs: &Certs) -> Self {
        let pair = Pair {
            cert: certs.server_cert(),
            key: certs.server_key(),
        };
        Self::on_tls(loopback(false), "localhost", &pair)
    }

    /// Over TLS, as this host, on this socket.
    pub fn on_tls(listener: TcpListener, host: &str, pair: &Pair) -> Self {
        Self::serve(listener, &format!("https://{host}"), Some(pair))
    }

    fn serve(listener: TcpListener, origin: &str, pair: Option<&Pair>) -> Self {
        let url = format!("{origin}:{}", listener.local_addr().unwrap().port());
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

    /// The whole address.
    pub fn url(&self) -> String {
        format!("{}{USAGE_DATA}", self.url)
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// Sets the server's clock ahead of the real one, or behind it.
    pub fn set_clock_offset(&self, offset: Duration) {
        self.store().clock_offset = offset;
    }

    /// How far back one may ask; 30 days.
    pub fn set_keep(&self, keep: Duration) {
        self.store().keep = keep;
    }

    /// Whether a window holds the records at its very end. Nobody knows; it does.
    pub fn set_end_inclusive(&self, inclusive: bool) {
        self.store().end_inclusive = inclusive;
    }

    /// How answers are spelt.
    pub fn set_style(&self, style: Style) {
        self.store().style = style;
    }

    /// How jobs go from now on.
    pub fn set_jobs(&self, jobs: Jobs) {
        self.store().jobs = jobs;
    }

    /// From now on every job has so many pages of so many records instead of those in the store, made
    /// as they are sent.
    pub fn set_flood(&self, pages: usize, records: usize) {
        self.store().flood = Some((pages, records));
    }

    /// Adds a record; its date is the second of `created`.
    pub fn add(&self, event: Event) {
        self.store().events.push(event);
    }

    /// Shows the late records from now on.
    pub fn release_late(&self) {
        self.store().late_released = true;
    }

    /// How often each serial number is in the store, shown or not.
    pub fn serials(&self) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        for event in &self.store().events {
            if let Some(serial) = serial_of(event.body.text()) {
                *counts.entry(serial).or_default() += 1;
            }
        }
        counts
    }

    /// How many records are shown now.
    pub fn visible(&self) -> usize {
        let store = self.store();
        let shown = store.events.iter();
        let shown = shown.filter(|event| !event.late || store.late_released);
        shown.count()
    }

    /// Everything asked since the start, or since it was forgotten.
    pub fn requests(&self) -> Vec<Request> {
        self.fake_api.requests()
    }

    /// Forgets what was asked.
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

/// A job: what it was asked for, what it found when it was made, and how often it was looked at.
struct Job {
    asked: [String; 3],
    found: Vec<Body>,
    looks: usize,
}

struct Store {
    rng: Rng,
    clock_offset: Duration,
    keep: Duration,
    end_inclusive: bool,
    style: Style,
    jobs: Jobs,
    flood: Option<(usize, usize)>,
    events: Vec<Event>,
    late_released: bool,
    made: HashMap<String, Job>,
    /// Where the page of a token begins, and how often it was asked for.
    tokens: HashMap<String, (usize, usize)>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            rng: Rng::new(0x150),
            clock_offset: Duration::ZERO,
            keep: Duration::days(30),
            end_inclusive: true,
            style: Style {
                shuffle_keys: true,
                ..Style::default()
            },
            jobs: Jobs::default(),
            flood: None,
            events: Vec::new(),
            late_released: false,
            made: HashMap::new(),
            tokens: HashMap::new(),
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
        if request.path != USAGE_DATA || asked.method != "GET" {
            return refuse(404, "There is nothing here");
        }
        let bearer = format!("Bearer {API_KEY}");
        if asked.header("authorization") != Some(&bearer) && request.param("key") != Some(API_KEY) {
            return refuse(401, "");
        }
        let (from, to) = self.window(request)?;
        let words = ["from", "to", "pageSize"];
        let words = words.map(|key| request.param(key).unwrap_or_default().to_owned());
        let id = match request.param("jobId") {
            Some(id) => id.to_owned(),
            None => {
                let id = format!("{} {}", self.rng.uuid(), self.made.len());
                let found = self.shown(from, to, request.at);
                let asked = words.clone();
                let looks = 0;
                let job = Job {
                    asked,
                    found,
                    looks,
                };
                self.made.insert(id.clone(), job);
                id
            }
        };
        let Some(job) = self.made.get_mut(&id) else {
            return refuse(400, "no such job");
        };
        if job.asked != words {
            return refuse(400, "not what the job was made for");
        }
        let pages_pend = self.jobs.pages_pend;
        let (start, looked) = match request.param("pageToken") {
            None => (0, &mut job.looks),
            Some(token) => match self.tokens.get_mut(token) {
                Some((start, looked)) => (*start, looked),
                None => return refuse(400, "no such page"),
            },
        };
        *looked += 1;
        let wanted = match start == 0 || pages_pend {
            true if !self.jobs.single_shot => self.jobs.looks,
            _ => 0,
        };
        if *looked <= wanted {
            let pending = self.jobs.pending[(*looked - 1) % self.jobs.pending.len()];
            return Ok(self.pending(&id, pending));
        }
        let size: usize = words[2].parse().expect("checked");
        match self.flood {
            Some(flood) => Ok(self.flood(&id, start, flood, from)),
            None => Ok(self.page(&id, start, size.min(self.jobs.page))),
        }
    }
}

impl Store {
    fn window(&self, request: &Request) -> Result<(OffsetDateTime, OffsetDateTime), Refused> {
        let time = |key| {
            let text = request.param(key)?;
            // without a zone it is UTC
            instant(text).or_else(|| instant(&format!("{text}Z")))
        };
        let size = request.param("pageSize").and_then(|size| size.parse().ok());
        let (Some(from), Some(to), Some(1..=10_000)) = (time("from"), time("to"), size) else {
            return refuse(400, "from, to and pageSize (1 to 10000) are required");
        };
        match from < to && from >= request.at - self.keep && to <= request.at {
            true => Ok((from, to)),
            false => refuse(400, "the range is not valid"),
        }
    }

    fn shown(&mut self, from: OffsetDateTime, to: OffsetDateTime, at: OffsetDateTime) -> Vec<Body> {
        let inside = |event: &&Event| {
            // the date of a record is all that is known of its time
            let date = event.created.truncate_to_second();
            (from <= date && (date < to || self.end_inclusive && date == to))
                && (!event.late || self.late_released)
                && event.visible_from.is_none_or(|from| from <= at)
        };
        let events = self.events.iter().filter(inside);
        let mut found: Vec<Body> = events.map(|event| event.body.clone()).collect();
        self.rng.shuffle(&mut found);
        found
    }

    fn pending(&mut self, id: &str, status: &str) -> Content {
        let data = match self.rng.below(3) {
            0 => "",
            1 => r#","data":[]"#,
            // what is there already
            _ => r#","data":[{"url":"https://serial.0/","date":null}],"total":1"#,
        };
        Content::Bytes(format!(r#"{{"jobId":"{id}","status":"{status}"{data}}}"#).into())
    }

    /// What stands before and after the records of a page.
    fn frame(&mut self, id: &str, next: Option<usize>) -> (String, String) {
        let token = match next {
            None if self.jobs.last_token.is_empty() => String::new(),
            None => format!(r#""pageToken":{},"#, self.jobs.last_token),
            Some(start) => {
                // with all that must be encoded in a query
                let token = BASE64_STANDARD.encode(format!("{id}>?{start}~~"));
                let token = format!("{token}&/ +");
                self.tokens.entry(token.clone()).or_insert((start, 0));
                format!(r#""pageToken":"{token}","#)
            }
        };
        let id = match self.jobs.single_shot && next.is_none() {
            true => String::new(),
            false => format!(r#""jobId":"{id}","#),
        };
        let status = format!(r#""status":"{}""#, self.jobs.completed);
        // not to be trusted
        let total = self.rng.below(100_000);
        let rest = format!(r#"{id}{token}"total":{total},{status}"#);
        match self.style.array_first {
            true => (r#"{"data":["#.to_owned(), format!("],{rest}}}")),
            false => (format!(r#"{{{rest},"data":["#), "]}".to_owned()),
        }
    }

    fn page(&mut self, id: &str, start: usize, size: usize) -> Content {
        let found = &self.made[id].found;
        let end = start.saturating_add(size).min(found.len());
        let page = found[start.min(end)..end].to_vec();
        let next = (end < found.len()).then_some(end);
        let (head, tail) = self.frame(id, next);
        let style = self.style;
        Content::Bytes(style.spell(&mut self.rng, &head, &tail, &page))
    }

    fn flood(
        &mut self,
        id: &str,
        page: usize,
        (pages, records): (usize, usize),
        from: OffsetDateTime,
    ) -> Content {
        let next = (page + 1 < pages).then_some(page + 1);
        let (head, tail) = self.frame(id, next);
        // each job has numbers of its own
        let first = from.unix_timestamp().unsigned_abs() * 10_000_000 + (page * records) as u64;
        Content::Stream(Box::new(move |wire| {
            wire.write_all(head.as_bytes())?;
            let mut rng = Rng::new(first);
            for number in 0..records {
                if number > 0 {
                    wire.write_all(b",")?;
                }
                let at = from + Duration::seconds(rng.below(60) as i64);
                let body = visit(&mut rng, at, first + number as u64);
                wire.write_all(body.text())?;
            }
            wire.write_all(tail.as_bytes())
        }))
    }
}

/// A record, with a serial number in its URL: every field of the reference's sample.
pub fn visit(rng: &mut Rng, created: OffsetDateTime, serial: u64) -> Body {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].000+0000");
    let date = created.to_offset(UtcOffset::UTC).format(&format);
    let file = match rng.chance(30) {
        true => {
            r#","fileName":"q4 \"übersicht\".xlsx","fileSize":48213,"fileMimeType":"application/vnd.ms-excel""#
        }
        false => "",
    };
    let text = format!(
        r#"{{"userId":"3f9a1c57-6e20-4b8d-a1f4-75c2d0b8e963","userName":"{user}@examplecorp.example","url":"https:\/\/serial.{serial}.example\/a?q=\u00fc","date":"{date}","region":"US","zone":"EAST","classification":"{class}","disposition":"{what}","categories":{categories}{file},"parentPageURL":"https://files.partner.example/share","isiFrame":{frame}}}"#,
        user = rng.pick(&["dana.reyes", "k.müller"]),
        date = date.expect("a time with a date"),
        class = rng.pick(&["USER", "PHISH", "CONTENT_FILTERING"]),
        what = rng.pick(&["EXIT_ISOLATION", "ALLOW_DOWNLOAD", "BLOCK"]),
        categories = rng.pick(&["[]", r#"["Business"]"#, r#"["Business","File Sharing"]"#]),
        frame = rng.pick(&["false", r#""true""#]),
    );
    text.into()
}
