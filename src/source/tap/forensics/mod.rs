//! `forensics` looks up the evidence of the campaigns or threats that recent events name (Proofpoint's
//! "Forensics API" document,
//! <https://help.proofpoint.com/Threat_Insight_Dashboard/API_Documentation/Forensics_API>).
//!
//! An event names a threat, its status and perhaps its campaign. Each pair of a status and a threat, or a
//! campaign, is an event of the service: the whole answer, with its reports.

pub(crate) mod api;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::hints;
use super::lookups::{LookupKind, Named};
use super::siem::EVENTS;
use super::threats::names::{Threat, threats};
use crate::digest::Hasher;
use crate::pipeline::batch::Digest;
use crate::quota::{Limit, Pool};

/// The quota of each way to ask (Proofpoint's Forensics API document).
static CAMPAIGN_QUOTA: Pool = Pool {
    name: "forensics by campaign",
    limits: &[Limit::a_day(1800)],
};
static THREAT_QUOTA: Pool = Pool {
    name: "forensics by threat",
    limits: &[Limit::a_day(50)],
};

/// The evidence of campaigns.
static BY_CAMPAIGN: LookupKind = LookupKind {
    listing: EVENTS,
    // otherwise false positives would be missing
    query: &[
        ("format", "json"),
        ("threatStatus", "active"),
        ("threatStatus", "cleared"),
        ("threatStatus", "falsePositive"),
    ],
    path: "/v2/forensics",
    key: Some("campaignId"),
    pool: Some(&CAMPAIGN_QUOTA),
    names: |event, name| {
        threats(event, &mut |threat| {
            name(named(threat, "campaign", |threat| threat.campaign));
        })
    },
    is_answer: has_reports,
    lacks: "the answer has no list of reports",
    limit: "stopped at the most reports of a run",
    hints: &hints::OF_LOOKUPS,
};

/// The evidence of threats.
static BY_THREAT: LookupKind = LookupKind {
    key: Some("threatId"),
    pool: Some(&THREAT_QUOTA),
    names: |event, name| {
        threats(event, &mut |threat| {
            name(named(threat, "threat", |threat| threat.id));
        })
    },
    ..BY_CAMPAIGN
};

fn named<'a>(
    threat: Result<Threat<'a>, &'static str>,
    by: &str,
    id: fn(&Threat<'a>) -> &'a str,
) -> Named<'a> {
    match threat {
        Ok(threat) => {
            let (id, status) = (id(&threat), threat.status);
            Named::Id(id, identify(by, id, status))
        }
        Err(odd) => Named::Odd(odd),
    }
}

/// What the evidence is recognised by of a campaign or a threat with this status.
fn identify(by: &str, id: &str, status: &str) -> Digest {
    let mut hasher = Hasher::of("tap forensics");
    hasher.part(by.as_bytes());
    hasher.part(id.as_bytes());
    // spelt differently in different places
    hasher.part(status.to_ascii_lowercase().as_bytes());
    hasher.finish()
}

/// Whether an answer has reports, though perhaps none.
fn has_reports(answer: &[u8], _: &str) -> bool {
    #[derive(Deserialize)]
    struct WithReports {
        #[serde(rename = "reports")]
        _reports: Vec<IgnoredAny>,
    }
    serde_json::from_slice::<WithReports>(answer).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::hex;

    /// The ids that an event names.
    fn named(kind: &LookupKind, event: &str) -> Vec<String> {
        let mut ids = Vec::new();
        let read = (kind.names)(event.as_bytes(), &mut |found| match found {
            Named::Id("", _) => {}
            Named::Id(id, _) => ids.push(id.to_owned()),
            Named::Odd(what) => ids.push(what.to_owned()),
        });
        read.unwrap();
        ids
    }

    #[test]
    fn messages_and_clicks_name_threats_and_their_campaigns() {
        let message = r#"{"threatsInfoMap":[{"threatID":"a","campaignID":"A"},{"threatID":"b","campaignID":null}]}"#;
        assert_eq!(named(&BY_THREAT, message), ["a", "b"]);
        assert_eq!(named(&BY_CAMPAIGN, message), ["A"]);
        let click = r#"{"threatID":"c","campaignId":"C"}"#;
        assert_eq!(named(&BY_THREAT, click), ["c"]);
        assert_eq!(named(&BY_CAMPAIGN, click), ["C"]);
        let none = r#"{"threatID":"c","campaignId":""}"#;
        assert!(named(&BY_CAMPAIGN, none).is_empty());
        let odd = r#"{"threatID":"c","campaignId":7}"#;
        let said = "a campaignID that is not a text";
        assert_eq!(named(&BY_CAMPAIGN, odd), [said]);
        assert_eq!(named(&BY_THREAT, odd), [said, "c"]);
    }

    #[test]
    fn only_what_has_reports_is_an_answer() {
        for (answer, expected) in [
            (r#"{"generated":"x","reports":[]}"#, true),
            (r#"{"reports":[{"id":"a"}]}"#, true),
            (r#"{"reports":null}"#, false),
            (r#"{"error":"busy"}"#, false),
            ("[]", false),
            ("", false),
        ] {
            assert_eq!(has_reports(answer.as_bytes(), "a"), expected, "{answer}");
        }
    }

    #[test]
    fn the_digests_of_evidence_stay_as_they_are() {
        // a changed digest means doubles for every user: a recipe that must change gets a new version
        // instead, under a kind of its own
        let golden = [
            (
                ("campaign", "c", "active"),
                "340e2036029b54335efac1d08c200205",
            ),
            (
                ("campaign", "c", "Active"),
                "340e2036029b54335efac1d08c200205",
            ),
            (
                ("threat", "c", "active"),
                "9143838606460f9d4b3a86314ca0cdb4",
            ),
            (("threat", "c", ""), "ce7e110fe94ee5fb728a7a8683d310b6"),
        ];
        for ((by, id, status), digest) in golden {
            assert_eq!(hex(&identify(by, id, status)), digest, "{by} {id} {status}");
        }
    }
}
