//! `campaigns` looks up the campaigns that were updated (Proofpoint's "Campaign API" document,
//! <https://help.proofpoint.com/Threat_Insight_Dashboard/API_Documentation/Campaign_API>).
//!
//! The list names a campaign and the time of its last update. Each such pair is an event of the service.

pub(crate) mod api;

use serde::Deserialize;
use time::Duration;

use super::event_fields::OptionalText;
use super::hints;
use super::lookups::{LookupKind, Named, has_id};
use super::siem::Listing;
use crate::digest::Hasher;
use crate::pipeline::batch::Digest;
use crate::source::WindowLimits;
use crate::source::wire_time;

/// The list accepts 30 s to 1 day, 50 times a day. Windows are of whole hours, two at least: with the
/// recheck these are 24 requests a day. No document says how far back the list goes; a refusal tells.
const LIMITS: WindowLimits = WindowLimits {
    shortest: Duration::hours(2),
    longest: Duration::DAY,
    keep: Duration::hours(90 * 24 - 1),
    margin: Duration::seconds(60),
    grain: Duration::hours(2),
};

/// The campaigns that were updated.
static CAMPAIGNS: LookupKind = LookupKind {
    listing: Listing {
        path: "/v2/campaign/ids",
        arrays: &["campaigns"],
        limits: LIMITS,
        page: Some(200),
    },
    query: &[("size", "200")],
    path: "/v2/campaign",
    key: None,
    pool: None,
    names,
    is_answer: has_id,
    lacks: "the answer does not have the id of the requested campaign",
    limit: "stopped at the most campaigns of a run",
    hints: &hints::OF_LOOKUPS,
};

/// Hands on the campaign of an entry of the list.
fn names(entry: &[u8], name: &mut dyn FnMut(Named<'_>)) -> serde_json::Result<()> {
    let entry: ListedCampaign<'_> = serde_json::from_slice(entry)?;
    let (id, updated) = (entry.id.as_str(), entry.updated.as_str());
    name(Named::Id(id, identify(id, updated)));
    Ok(())
}

#[derive(Deserialize)]
struct ListedCampaign<'a> {
    #[serde(borrow, default)]
    id: OptionalText<'a>,
    #[serde(borrow, default, rename = "lastUpdatedAt")]
    updated: OptionalText<'a>,
}

/// What a campaign is recognised by that was last updated at this time.
fn identify(id: &str, updated: &str) -> Digest {
    let mut hasher = Hasher::of("tap campaign");
    hasher.part(id.as_bytes());
    match wire_time::parse(updated) {
        Some(time) => hasher.part(&time.unix_timestamp_nanos().to_le_bytes()),
        None => hasher.part(updated.as_bytes()),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::hex;

    #[test]
    fn an_entry_of_the_list_names_a_campaign() {
        let named = |entry: &str| {
            let mut named = Vec::new();
            let mut name = |found: Named<'_>| match found {
                Named::Id(id, _) => named.push(id.to_owned()),
                Named::Odd(what) => panic!("{what}"),
            };
            names(entry.as_bytes(), &mut name).map(|()| named)
        };
        let entry = r#"{"notable":true,"id":"a","lastUpdatedAt":"2026-11-24T10:37:46.000Z"}"#;
        assert_eq!(named(entry).unwrap(), ["a"]);
        assert_eq!(named(r#"{"id":"a"}"#).unwrap(), ["a"]);
        // which is passed over
        assert_eq!(named("{}").unwrap(), [""]);
        assert!(named("{\"id\":NaN}").is_err());
    }

    #[test]
    fn the_digests_of_campaigns_stay_as_they_are() {
        // a changed digest means doubles for every user: a recipe that must change gets a new version
        // instead, under a kind of its own
        let golden = [
            (
                ("c", "2026-11-24T10:37:46.000Z"),
                "64a1f6a4b41ba122a4a496dd4f3ec9db",
            ),
            (
                ("c", "2026-11-24T11:37:46+01:00"),
                "64a1f6a4b41ba122a4a496dd4f3ec9db",
            ),
            (
                ("c", "2026-11-24T10:37:46.001Z"),
                "784a1f46bbeeebec401c7adea6caf423",
            ),
            (("c", ""), "74b8f9768a97bbf678449c51e7db0a2e"),
            (("C", "soon"), "c22cbb70bee02c9aa961a0b4efc10870"),
        ];
        for ((id, updated), digest) in golden {
            assert_eq!(hex(&identify(id, updated)), digest, "{id} {updated}");
        }
    }
}
