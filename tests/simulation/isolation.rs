//! Isolation by model: the reporting API as Proofpoint's tools use it.
//!
//! A window is a job, which takes a few looks until it is completed, and then has pages by token. Records have no
//! name and no order, and two equal ones are two. Jobs and tokens do not live for ever.

use std::fmt::Write;

use time::{Duration, OffsetDateTime};

use super::api::{Api, Reply, Request};
use super::demand::{Expected, History, ISOLATION, sum};
use super::event::{Event, Text, instant, is_signed, json, refusal, seconds};
use super::quota::Quota;
use super::rng::Rng;

/// What a job is until it is completed. No source names these words.
const PENDING: [&str; 4] = ["RUNNING", "PENDING", "QUEUED", "IN_PROGRESS"];

/// What is not certain of the server, or what a scenario chooses.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How far back one may ask.
    pub keep: Duration,
    /// Whether a window holds the records of its very end. Nobody knows.
    pub is_end_inclusive: bool,
    /// The most records on a page, whatever a request says.
    pub page: usize,
    /// A page begins with so many records of the one before.
    pub overlap: usize,
    /// So many looks at most at a job that is not completed yet.
    pub looks: usize,
    /// Whether pages behind the first have to be waited for as well.
    pub do_pages_pend: bool,
    /// Of a hundred jobs: those that fail, and those whose first answer is all, without an id.
    pub failing: usize,
    pub single: usize,
    /// How long a job and a page token live, and what the server says afterwards.
    pub life: Duration,
    pub gone: u16,
    /// Of a hundred records: those that become visible later than after half an hour, and those that are equal
    /// to the one before.
    pub late: usize,
    pub twins: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            keep: Duration::days(30),
            is_end_inclusive: true,
            page: 7,
            overlap: 0,
            looks: 2,
            do_pages_pend: false,
            failing: 0,
            single: 10,
            life: Duration::HOUR,
            gone: 404,
            late: 15,
            twins: 10,
        }
    }
}

impl Options {
    /// As a scenario may choose them.
    pub fn by_chance(rng: &mut Rng) -> Options {
        let page = *rng.pick(&[1, 7, 50]);
        Options {
            is_end_inclusive: rng.chance(50),
            page,
            overlap: rng.pick(&[0, 0, 0, 1, 3]).min(&(page - 1)).to_owned(),
            looks: *rng.pick(&[0, 2, 6]),
            do_pages_pend: rng.chance(30),
            failing: *rng.pick(&[0, 0, 10]),
            single: *rng.pick(&[0, 10, 60]),
            gone: *rng.pick(&[400, 404, 410]),
            twins: *rng.pick(&[0, 10, 40]),
            ..Options::default()
        }
    }
}

/// Isolation.
#[derive(Debug)]
pub struct Isolation {
    options: Options,
    rng: Rng,
    events: Vec<Event>,
    jobs: Vec<Job>,
    next: u64,
    /// No limit is published: it counts alone.
    pub quota: Quota,
}

/// A job, as it was requested.
#[derive(Debug)]
struct Job {
    /// The words of the request, which each later one must repeat.
    words: [String; 3],
    /// The places of its records, in its order.
    found: Vec<usize>,
    made: OffsetDateTime,
    size: usize,
    is_single: bool,
    fails: bool,
    /// For each page that was requested: how often it will still be pending, and when its token was given.
    pages: Vec<(usize, OffsetDateTime)>,
}

impl Isolation {
    /// Without records.
    pub fn new(options: Options, rng: Rng) -> Isolation {
        Isolation {
            options,
            rng,
            events: Vec::new(),
            jobs: Vec::new(),
            next: 1,
            quota: Quota::new("reports", usize::MAX),
        }
    }

    /// All records.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Adds so many records of visits from `from` up to `to`.
    pub fn fill(&mut self, (from, to): (OffsetDateTime, OffsetDateTime), count: usize) {
        let length = (to - from).whole_seconds().max(1).unsigned_abs();
        for _ in 0..count {
            let at = from + Duration::seconds((self.rng.bits() % length).cast_signed());
            let at = match self.rng.below(10) {
                0 => at.truncate_to_hour().max(from),
                _ => at,
            };
            // the data are refreshed every half an hour
            let most = match self.rng.chance(self.options.late) {
                true => *self.rng.pick(&[3600, 5400, 39_600, 86_400]),
                false => 1800,
            };
            let delay = Duration::seconds(self.rng.below(most) as i64);
            match self.events.last() {
                Some(last) if self.rng.chance(self.options.twins) => {
                    let mut twin = last.clone();
                    twin.visible_from = twin.visible_from.max(twin.at + delay);
                    self.events.push(twin);
                }
                _ => {
                    self.add(at, at + delay);
                }
            }
        }
    }

    /// Adds a record of a visit at this second. Returns its serial.
    pub fn add(&mut self, at: OffsetDateTime, visible_from: OffsetDateTime) -> u64 {
        let at = at.truncate_to_second();
        let serial = self.next;
        self.next += 1;
        self.events.push(Event {
            serial,
            at,
            visible_from,
            gone_from: at + self.options.keep,
            text: text(serial, at),
        });
        serial
    }

    /// What is expected.
    pub fn expected(&self, history: &History<'_>) -> Vec<Expected> {
        // of a single second, an overlap looks like records of their own
        let most = if self.options.overlap > 0 { 2 } else { 1 };
        let events = self.events.iter();
        sum(events.map(|event| {
            let most = most * history.most(event.at);
            (event.serial, ISOLATION.must(history, event), most)
        }))
    }

    /// The answer to a request that is signed, or a refusal without words.
    fn report(&mut self, request: &Request, now: OffsetDateTime) -> Result<Reply, u16> {
        let words =
            ["from", "to", "pageSize"].map(|key| request.parameter(key).unwrap_or_default());
        let job = match request.parameter("jobId") {
            Some(id) => self.job(id, now)?,
            None => self.make_job(words, now)?,
        };
        if self.jobs[job].words != words {
            return Err(400);
        }
        let page = match request.parameter("pageToken") {
            Some(token) => self.page(token, job, now)?,
            None => 0,
        };
        let looks = &mut self.jobs[job].pages[page].0;
        if *looks > 0 {
            *looks -= 1;
            return Ok(self.pending(job));
        }
        Ok(match self.jobs[job].fails {
            true => json(format!(r#"{{"jobId":"{}","status":"FAILED"}}"#, id(job)).into()),
            false => self.completed(job, page, now),
        })
    }

    /// The place of a job that is there.
    fn job(&self, id: &str, now: OffsetDateTime) -> Result<usize, u16> {
        let place = id.strip_prefix("job ").and_then(|place| place.parse().ok());
        let job = place.and_then(|place: usize| Some((place, self.jobs.get(place)?)));
        match job {
            Some((place, job)) if now < job.made + self.options.life => Ok(place),
            _ => Err(self.options.gone),
        }
    }

    /// Finds what is visible of a range by now.
    fn make_job(&mut self, words: [&str; 3], now: OffsetDateTime) -> Result<usize, u16> {
        let Options {
            keep,
            is_end_inclusive,
            page,
            looks,
            single,
            failing,
            ..
        } = self.options;
        let [from, to] = [words[0], words[1]].map(instant);
        let size = words[2]
            .parse()
            .ok()
            .filter(|size| (1..=10_000).contains(size));
        let (Some(from), Some(to), Some(size)) = (from, to, size) else {
            return Err(400);
        };
        if from >= to || from < now - keep || to > now {
            return Err(400);
        }
        let is_inside = |event: &Event| {
            from <= event.at && (event.at < to || is_end_inclusive && event.at == to)
        };
        let events = self.events.iter().enumerate();
        let found = events.filter(|(_, event)| is_inside(event) && event.is_shown(now));
        let mut found: Vec<usize> = found.map(|(place, _)| place).collect();
        // any order, with equal records together: where several came again in theirs, they would look like an
        // overlap
        let salt = self.rng.bits();
        found.sort_by_key(|place| Rng::new(salt ^ self.events[*place].serial).bits());
        let is_single = self.rng.chance(single);
        let looks = if is_single {
            0
        } else {
            self.rng.below(looks + 1)
        };
        self.jobs.push(Job {
            words: words.map(str::to_owned),
            size: if is_single {
                found.len().max(1)
            } else {
                page.min(size)
            },
            found,
            made: now,
            is_single,
            fails: !is_single && self.rng.chance(failing),
            pages: vec![(looks, now)],
        });
        Ok(self.jobs.len() - 1)
    }

    /// The page of a token that is there.
    fn page(&self, token: &str, job: usize, now: OffsetDateTime) -> Result<usize, u16> {
        let page = token
            .strip_prefix(&prefix(job))
            .and_then(|page| page.parse().ok());
        let given = page.and_then(|page: usize| Some((page, self.jobs[job].pages.get(page)?)));
        match given {
            Some((page, (_, given))) if now < *given + self.options.life => Ok(page),
            _ => Err(self.options.gone),
        }
    }

    /// The answer of a job or a page that is not there yet.
    fn pending(&mut self, job: usize) -> Reply {
        let status = self.rng.pick(&PENDING);
        // what is there already does not count
        let data = match self.rng.below(3) {
            0 => "",
            1 => r#","data":[]"#,
            _ => r#","data":[{"url":"https://nothing.example/","date":null}],"total":1"#,
        };
        json(format!(r#"{{"jobId":"{}","status":"{status}"{data}}}"#, id(job)).into())
    }

    /// A page of a job that is completed, with the token of the next one.
    fn completed(&mut self, place: usize, page: usize, now: OffsetDateTime) -> Reply {
        let job = &mut self.jobs[place];
        let start = page * job.size;
        let end = job.found.len().min(start + job.size);
        let is_last = end == job.found.len();
        if !is_last && job.pages.len() == page + 1 {
            let looks = match self.options.do_pages_pend {
                true => self.rng.below(self.options.looks + 1),
                false => 0,
            };
            job.pages.push((looks, now));
        }
        let mut head = match job.is_single {
            true => String::new(),
            false => format!(r#""jobId":"{}","#, id(place)),
        };
        // not to be trusted, but for an empty range
        let is_empty = job.found.is_empty();
        let total = if is_empty { 0 } else { self.rng.below(1000) };
        let _ = write!(head, r#""status":"COMPLETED","total":{total}"#);
        match (is_last, self.rng.below(3)) {
            (false, _) => {
                let _ = write!(head, r#","pageToken":"{}{}""#, prefix(place), page + 1);
            }
            (true, 0) => head.push_str(r#","pageToken":null"#),
            (true, 1) => head.push_str(r#","pageToken":"""#),
            (true, _) => {}
        }
        if is_empty && self.rng.chance(50) {
            return json(format!("{{{head}}}").into());
        }
        let (before, behind) = match self.rng.chance(50) {
            true => (format!("{{{head},\"data\":["), "]}".to_owned()),
            false => ("{\"data\":[".to_owned(), format!("],{head}}}")),
        };
        let mut text = before.into_bytes();
        let first = start - self.options.overlap.min(start);
        for (number, place) in job.found[first..end].iter().enumerate() {
            if number > 0 {
                text.push(b',');
            }
            let is_turned = self.rng.chance(50);
            self.events[*place].text.write(is_turned, &mut text);
        }
        text.extend_from_slice(behind.as_bytes());
        json(text)
    }
}

impl Api for Isolation {
    fn answer(&mut self, request: &Request, now: OffsetDateTime) -> Reply {
        self.quota.take(now);
        if request.method != "GET" || request.path != "/api/v2/reporting/usage-data" {
            return refusal(404, "There is nothing here");
        }
        if !is_signed(request, "Bearer ") {
            return refusal(401, "");
        }
        self.report(request, now)
            .unwrap_or_else(|status| refusal(status, ""))
    }
}

/// The id of a job, by its place.
fn id(job: usize) -> String {
    format!("job {job}")
}

/// What stands before the number of a page in its token: all that must be encoded in a query.
fn prefix(job: usize) -> String {
    format!("&/ +=?{job}~")
}

fn text(serial: u64, at: OffsetDateTime) -> Text {
    let date = seconds(at);
    let head = format!(
        r#"{{"userId":"3f9a1c57","userName":"dana.reyes@corp.example","url":"https:\/\/serial.{serial}.example\/?q=\u00fc","date":"{date}.000+0000","region":"US","zone":"EAST","classification":"USER","disposition":"ALLOW_DOWNLOAD","categories":["#
    );
    let tail = r#"],"fileName":"q4 \"übersicht\".xlsx","fileSize":48213,"isiFrame":false}"#;
    Text::with_pair(&head, [r#""File Sharing""#, r#""Business""#], tail)
}

#[cfg(test)]
mod tests {
    use super::super::api::Answer;
    use super::super::event::serial;
    use super::*;
    use serde_json::Value;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    /// Completed at once, in pages of 3.
    const PLAIN: Options = Options {
        keep: Duration::days(30),
        is_end_inclusive: true,
        page: 3,
        overlap: 0,
        looks: 0,
        do_pages_pend: false,
        failing: 0,
        single: 0,
        life: Duration::HOUR,
        gone: 404,
        late: 0,
        twins: 0,
    };

    fn ask(isolation: &mut Isolation, more: &[(&str, &str)], now: OffsetDateTime) -> Answer {
        let words = [
            ("from", "2026-11-24T09:00:00.000"),
            ("to", "2026-11-24T10:00:00.000"),
            ("pageSize", "10000"),
        ];
        let own = words
            .iter()
            .filter(|(key, _)| more.iter().all(|(other, _)| other != key));
        let query = own
            .chain(more)
            .map(|(key, value)| ((*key).into(), (*value).into()));
        let request = Request {
            method: "GET".into(),
            path: "/api/v2/reporting/usage-data".into(),
            query: query.collect(),
            headers: vec![("authorization".into(), "Bearer x".into())],
        };
        match isolation.answer(&request, now) {
            Reply::Http(answer) => answer,
            Reply::Stream(stream) => panic!("{stream:?}"),
        }
    }

    fn text_of<'a>(answer: &'a Value, key: &str) -> &'a str {
        answer[key].as_str().unwrap_or_default()
    }

    /// Reads a job to its end. Returns the serials of each page, and how often something was not there yet.
    fn read(isolation: &mut Isolation) -> (Vec<Vec<u64>>, usize) {
        let (mut pages, mut polls, mut job, mut token) =
            (Vec::new(), 0, String::new(), String::new());
        loop {
            let named = [("jobId", job.as_str()), ("pageToken", token.as_str())];
            let named: Vec<_> = named
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .collect();
            let answer = ask(isolation, &named, NOON);
            assert_eq!(answer.status, 200);
            let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
            job = text_of(&answer, "jobId").to_owned();
            if answer["status"] != "COMPLETED" {
                polls += 1;
                continue;
            }
            let data = answer["data"].as_array().into_iter().flatten();
            pages.push(
                data.filter_map(|record| serial(record.to_string().as_bytes()))
                    .collect(),
            );
            token = text_of(&answer, "pageToken").to_owned();
            if token.is_empty() {
                return (pages, polls);
            }
        }
    }

    fn isolation(options: Options, records: usize) -> Isolation {
        let mut isolation = Isolation::new(options, Rng::new(1));
        let range = (NOON - Duration::hours(3), NOON - Duration::hours(2));
        isolation.fill(range, records);
        isolation
    }

    #[test]
    fn a_job_is_read_page_by_page() {
        for (options, sizes) in [
            (PLAIN, &[3, 3, 2][..]),
            (
                Options {
                    overlap: 1,
                    ..PLAIN
                },
                &[3, 4, 3],
            ),
            (Options { page: 8, ..PLAIN }, &[8]),
            (
                Options {
                    single: 100,
                    ..PLAIN
                },
                &[8],
            ),
        ] {
            let (pages, polls) = read(&mut isolation(options, 8));
            assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
            let mut all = pages.concat();
            all.sort_unstable();
            all.dedup();
            assert_eq!((all.len(), polls), (8, 0));
        }
        assert_eq!(read(&mut isolation(PLAIN, 0)).0.concat().len(), 0);
    }

    #[test]
    fn a_job_and_its_pages_may_have_to_be_waited_for() {
        let options = Options {
            looks: 3,
            do_pages_pend: true,
            ..PLAIN
        };
        let mut isolation = isolation(options, 8);
        let polls: Vec<usize> = (0..20).map(|_| read(&mut isolation).1).collect();
        // three pages, each up to three times in vain
        assert!(polls.iter().all(|polls| *polls <= 9) && polls.iter().any(|polls| *polls > 3));
        assert!(polls.iter().any(|other| *other != polls[0]), "{polls:?}");
    }

    #[test]
    fn equal_records_are_several_and_stand_together() {
        let options = Options {
            twins: 50,
            page: 100,
            ..PLAIN
        };
        let mut isolation = isolation(options, 30);
        let (pages, _) = read(&mut isolation);
        let mut runs = pages[0].clone();
        assert_eq!(runs.len(), 30);
        runs.dedup();
        let mut unique = runs.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(runs.len(), unique.len());
        assert!(unique.len() < 30);
    }

    #[test]
    fn what_lives_no_longer_or_was_not_made_is_refused() {
        let mut isolation = isolation(PLAIN, 8);
        let job = [("jobId", "job 0")];
        assert_eq!(ask(&mut isolation, &job, NOON).status, 404);
        ask(&mut isolation, &[], NOON);
        assert_eq!(ask(&mut isolation, &job, NOON).status, 200);
        let later = NOON + Duration::HOUR;
        assert_eq!(ask(&mut isolation, &job, later).status, 404);
        let token = prefix(0) + "2";
        let page = [job[0], ("pageToken", token.as_str())];
        assert_eq!(ask(&mut isolation, &page, NOON).status, 404);
        let other = [job[0], ("from", "2026-11-24T08:00:00.000")];
        assert_eq!(ask(&mut isolation, &other, NOON).status, 400);
    }

    #[test]
    fn a_range_that_is_not_accepted_is_refused() {
        let mut isolation = isolation(PLAIN, 0);
        for (key, value) in [
            ("from", "2026-11-24T10:00:00.000"),
            ("from", "2026-10-25T11:59:59.000"),
            ("to", "2026-11-24T12:00:01.000"),
            ("pageSize", "10001"),
        ] {
            assert_eq!(
                ask(&mut isolation, &[(key, value)], NOON).status,
                400,
                "{value}"
            );
        }
    }

    #[test]
    fn a_job_may_fail() {
        let mut isolation = isolation(
            Options {
                failing: 100,
                ..PLAIN
            },
            8,
        );
        let answer = ask(&mut isolation, &[], NOON);
        assert_eq!(answer.body, br#"{"jobId":"job 0","status":"FAILED"}"#);
    }
}
