//! The reports of TAP's People API: a new one each day of UTC, in pages.

use std::collections::{BTreeMap, BTreeSet};

use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::fake_api::{Refused, Request, refuse};
use super::rng::Rng;
use super::sample::Body;

/// Serial numbers of the people of a day begin at its number times this.
const PER_DAY: u64 = 1_000_000;

/// The people of both reports.
#[derive(Debug)]
pub struct People {
    people: BTreeMap<String, Vec<Person>>,
    /// The most people on a page, whatever a request says.
    pub page: usize,
    /// The days whose reports were requested.
    requested: BTreeMap<String, BTreeSet<OffsetDateTime>>,
}

#[derive(Debug)]
struct Person {
    serial: u64,
    /// Reports from this time on have it.
    from: OffsetDateTime,
}

impl Default for People {
    fn default() -> Self {
        Self {
            people: BTreeMap::new(),
            page: 200,
            requested: BTreeMap::new(),
        }
    }
}

/// An answer: what stands before and after the people, and these.
pub type Page = (String, String, Vec<Body>);

impl People {
    /// Adds a person to the reports from a time on.
    pub fn add(&mut self, report: &str, serial: u64, from: OffsetDateTime) {
        let people = self.people.entry(report.to_owned()).or_default();
        people.push(Person { serial, from });
    }

    /// The people of every report that was requested, by their serial numbers.
    pub fn requested(&self, report: &str) -> BTreeMap<u64, usize> {
        let days = self.requested.get(report).into_iter().flatten();
        let serials = days.flat_map(|day| {
            let people = self.of(report, *day);
            people.map(|person| (serial(*day, person.serial), 1))
        });
        serials.collect()
    }

    fn of(&self, report: &str, day: OffsetDateTime) -> impl Iterator<Item = &Person> {
        let people = self.people.get(report).into_iter().flatten();
        people.filter(move |person| person.from < day + Duration::DAY)
    }

    /// A page of a report.
    pub fn answer(&mut self, report: &str, request: &Request) -> Result<Page, Refused> {
        let number = |key: &str| {
            request
                .param(key)
                .and_then(|text| text.parse::<usize>().ok())
        };
        let Some(window @ (14 | 30 | 90)) = number("window") else {
            return refuse(400, "The window must be 14, 30 or 90");
        };
        let (Some(size @ 1..=200), Some(page @ 1..)) = (number("size"), number("page")) else {
            return refuse(400, "The size must be at most 200, and pages start at 1");
        };
        let day = request.at.truncate_to_day();
        self.requested
            .entry(report.to_owned())
            .or_default()
            .insert(day);
        let size = size.min(self.page);
        let people: Vec<&Person> = self.of(report, day).collect();
        let bodies = people.iter().skip((page - 1) * size).take(size);
        let bodies = bodies.map(|person| body(report, serial(day, person.serial)));
        let text = |time: OffsetDateTime| time.format(&Rfc3339).expect("a time with a date");
        let interval = format!(
            "{}/{}",
            text(day - Duration::DAY * window as i32),
            text(day)
        );
        let total = match report {
            "vap" => format!(
                r#""totalVapUsers":{},"averageAttackIndex":391,"vapAttackIndexThreshold":562"#,
                people.len()
            ),
            _ => format!(r#""totalTopClickers":{}"#, people.len()),
        };
        let (interval, bodies) = (format!(r#""interval":"{interval}""#), bodies.collect());
        Ok((interval, total, bodies))
    }
}

fn serial(day: OffsetDateTime, person: u64) -> u64 {
    (day.unix_timestamp() / 86_400).unsigned_abs() * PER_DAY + person
}

fn body(report: &str, serial: u64) -> Body {
    let rng = &mut Rng::new(serial % PER_DAY);
    let statistics = match report {
        "vap" => format!(
            r#""threatStatistics":{{"attackIndex":{},"families":[{{"name":"Keylogger","score":{}}}]}}"#,
            rng.below(2_000),
            rng.below(500)
        ),
        _ => format!(
            r#""clickStatistics":{{"clickCount":{0},"families":[{{"name":"Malware","clicks":{0}}}]}}"#,
            1 + rng.below(9)
        ),
    };
    format!(
        r#"{{"identity":{{"guid":"{guid}","customerUserId":null,"emails":["dana.reyes@examplecorp.example","d\u00e9@examplecorp.example"],"name":"serial.{serial}","department":"Einkauf, Öl","location":null,"title":"","vip":{vip}}},{statistics}}}"#,
        guid = rng.uuid(),
        vip = rng.chance(20),
    )
    .into()
}
