//! TAP's Campaign API: a list of campaigns by the time of their last update, and each campaign.

use std::collections::BTreeMap;

use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime, UtcOffset};

use super::fake_api::{Refused, Request, refuse};
use super::rng::Rng;
use super::sample::Body;

/// The campaigns, by their ids.
#[derive(Debug, Default)]
pub struct Campaigns(BTreeMap<String, Campaign>);

#[derive(Debug)]
struct Campaign {
    serial: u64,
    /// Each time that it was updated, the first one included.
    updates: Vec<OffsetDateTime>,
    is_absent: bool,
}

impl Campaigns {
    /// Updates a campaign, or adds it.
    pub fn update(&mut self, id: &str, serial: u64, at: OffsetDateTime) {
        let campaign = self.0.entry(id.to_owned()).or_insert(Campaign {
            serial,
            updates: Vec::new(),
            is_absent: false,
        });
        campaign.updates.push(at);
    }

    /// Lists a campaign that is not there, or is again.
    pub fn set_absent(&mut self, id: &str, is_absent: bool) {
        self.0.get_mut(id).expect("a campaign").is_absent = is_absent;
    }

    /// The serial numbers of all campaigns.
    pub fn serials(&self) -> BTreeMap<u64, usize> {
        let all = self.0.values();
        all.map(|campaign| (campaign.serial, 1)).collect()
    }

    /// A page of the list.
    pub fn list(&self, request: &Request) -> Result<Vec<Body>, Refused> {
        let number = |key: &str, usual: usize| match request.param(key) {
            None => Some(usual),
            Some(text) => text.parse().ok(),
        };
        let (Some(size @ 1..=200), Some(page @ 1..)) = (number("size", 100), number("page", 1))
        else {
            return refuse(400, "The size must be at most 200, and pages start at 1");
        };
        let Some((start, end)) = request.interval() else {
            return refuse(400, "An interval of start/end is required");
        };
        if !(Duration::seconds(30)..=Duration::DAY).contains(&(end - start)) {
            return refuse(400, "Requests must be for 30 seconds to 1 day of data");
        }
        if end > request.at {
            return refuse(400, "The requested interval is still current.");
        }
        let mut listed: Vec<(OffsetDateTime, &String)> = Vec::new();
        for (id, campaign) in &self.0 {
            let updates = campaign.updates.iter().filter(|at| **at <= request.at);
            let last = updates.max().filter(|at| start <= **at && **at < end);
            listed.extend(last.map(|at| (*at, id)));
        }
        listed.sort();
        let listed = listed.into_iter().skip((page - 1) * size).take(size);
        let listed: Vec<Body> = listed.map(|(at, id)| entry(id, at)).collect();
        match listed.is_empty() {
            true => refuse(404, ""),
            false => Ok(listed),
        }
    }

    /// A campaign.
    pub fn get(&self, id: &str) -> Result<Body, Refused> {
        match self.0.get(id).filter(|campaign| !campaign.is_absent) {
            Some(campaign) => Ok(body(id, campaign)),
            None => refuse(404, ""),
        }
    }
}

fn entry(id: &str, at: OffsetDateTime) -> Body {
    let at = at.to_offset(UtcOffset::UTC).truncate_to_second();
    let at = at.format(&Rfc3339).expect("a time with a date");
    let at = at.replace('Z', ".000Z");
    format!(r#"{{"id":{},"lastUpdatedAt":"{at}"}}"#, Value::from(id)).into()
}

fn body(
    id: &str,
    Campaign {
        serial, updates, ..
    }: &Campaign,
) -> Body {
    let rng = &mut Rng::new(*serial);
    let members: Vec<String> = (0..updates.len())
        .map(|_| {
            format!(
                r#"{{"id":"{id}","threat":"{id}","type":"attachment","subType":"ATTACHMENT","threatTime":"2026-11-01T10:00:00.000Z","threatStatus":"active"}}"#,
                id = rng.hex(64)
            )
        })
        .collect();
    format!(
        r#"{{"id":{id},"name":"serial.{serial} | ExampleLöader | \u00fcberall","description":"Messages with links to \"documents\"","startDate":"2026-11-01T00:00:00.000Z","notable":false,"actors":[{{"id":"1f2e3d4c-5b6a-4798-8a9b-0c1d2e3f4a5b","name":"TA0000"}}],"families":[{{"id":"loader","name":"Loader"}}],"malware":[],"techniques":[],"brands":[],"campaignMembers":[{members}]}}"#,
        id = Value::from(id),
        members = members.join(",")
    )
    .into()
}
