//! `names` tells which threats an event names, and identifies each with its status.
//!
//! Pure. What cannot be read of an event costs nothing beside it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::digest::Hasher;
use crate::pipeline::batch::Digest;
use crate::source::tap::event_fields::OptionalText;
use crate::source::tap::lookups::Named;

/// Hands on the threats that an event names.
///
/// # Errors
/// When the event is not a JSON object.
pub(super) fn names(event: &[u8], name: &mut dyn FnMut(Named<'_>)) -> serde_json::Result<()> {
    threats(event, &mut |threat| match threat {
        Ok(Threat { id, status, .. }) => name(Named::Id(id, identify(id, status))),
        Err(odd) => name(Named::Odd(odd)),
    })
}

/// A threat as an event names it; what is not said is empty.
#[derive(Debug)]
pub(in crate::source::tap) struct Threat<'a> {
    pub(in crate::source::tap) id: &'a str,
    pub(in crate::source::tap) status: &'a str,
    pub(in crate::source::tap) campaign: &'a str,
}

/// Hands on each threat of an event, or what cannot be read of it.
///
/// # Errors
/// When the event is not a JSON object.
pub(in crate::source::tap) fn threats(
    event: &[u8],
    each: &mut dyn FnMut(Result<Threat<'_>, &'static str>),
) -> serde_json::Result<()> {
    let text = String::from_utf8_lossy(event);
    let event: EventThreats<'_> = serde_json::from_str(&text)?;
    let list = event.threats.map(RawValue::get);
    match list.map(serde_json::from_str::<Vec<&RawValue>>) {
        None => {}
        Some(Ok(threats)) => {
            for threat in threats {
                match serde_json::from_str::<NamedThreat<'_>>(threat.get()) {
                    Ok(named) if threat.get().starts_with('{') => named.hand_on(each),
                    _ => each(Err("an element of threatsInfoMap that is not an object")),
                }
            }
        }
        Some(Err(_)) => each(Err("a threatsInfoMap that is not a list")),
    }
    let EventThreats {
        id,
        status,
        campaign,
        ..
    } = event;
    let threat = NamedThreat {
        id,
        status,
        campaign,
    };
    threat.hand_on(each);
    Ok(())
}

/// What an event says of threats: a message in a list, a click of one.
#[derive(Deserialize)]
struct EventThreats<'a> {
    #[serde(borrow, default, rename = "threatsInfoMap")]
    threats: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "threatID")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "threatStatus")]
    status: Option<&'a RawValue>,
    // spelt differently in clicks and messages
    #[serde(borrow, default, rename = "campaignId")]
    campaign: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct NamedThreat<'a> {
    #[serde(borrow, default, rename = "threatID")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "threatStatus")]
    status: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "campaignID")]
    campaign: Option<&'a RawValue>,
}

impl NamedThreat<'_> {
    fn hand_on(&self, each: &mut dyn FnMut(Result<Threat<'_>, &'static str>)) {
        let Some(id) = self.id else {
            return;
        };
        let Some(id) = text(id) else {
            return each(Err("a threatID that is not a text"));
        };
        let campaign = self.campaign.map_or(Some(OptionalText::default()), text);
        if campaign.is_none() {
            each(Err("a campaignID that is not a text"));
        }
        let status = match self.status.map(RawValue::get) {
            None => Cow::Borrowed(""),
            Some(status) if status.starts_with(['{', '[']) => Cow::Borrowed(""),
            Some(status) => serde_json::from_str(status).unwrap_or(Cow::Borrowed(status)),
        };
        each(Ok(Threat {
            id: id.as_str(),
            status: &status,
            campaign: campaign.as_ref().map_or("", OptionalText::as_str),
        }));
    }
}

/// A text, empty for null; `None` for anything else.
fn text(value: &RawValue) -> Option<OptionalText<'_>> {
    serde_json::from_str(value.get()).ok()
}

/// What the summary of a threat with this status is recognised by.
fn identify(id: &str, status: &str) -> Digest {
    let mut hasher = Hasher::of("tap threat");
    hasher.part(id.as_bytes());
    // spelt differently in different places
    hasher.part(status.to_ascii_lowercase().as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::hex;

    /// What an event names: the ids, their digests, and what is odd.
    #[derive(Default)]
    struct NamedThreats {
        ids: Vec<String>,
        digests: Vec<Digest>,
        odd: Vec<&'static str>,
    }

    fn named(event: &[u8]) -> NamedThreats {
        let mut found = NamedThreats::default();
        let read = names(event, &mut |named| match named {
            Named::Id("", _) => {}
            Named::Id(id, digest) => {
                found.ids.push(id.to_owned());
                found.digests.push(digest);
            }
            Named::Odd(what) => found.odd.push(what),
        });
        read.unwrap();
        found
    }

    #[test]
    fn messages_and_clicks_name_threats() {
        let table: [(&str, &[&str]); 6] = [
            (
                r#"{"threatsInfoMap":[{"threatID":"a","threatStatus":"active","x":1},{"threatID":"b","threatStatus":null}]}"#,
                &["a", "b"],
            ),
            (
                r#"{"threatID":"\u0061","threatStatus":"cleared","threatsInfoMap":null}"#,
                &["a"],
            ),
            (
                r#"{"threatID":"a","threatsInfoMap":[{"threatID":"b"}]}"#,
                &["b", "a"],
            ),
            (r#"{"threatID":null}"#, &[]),
            (r#"{"threatID":""}"#, &[]),
            ("{}", &[]),
        ];
        for (event, expected) in table {
            assert_eq!(named(event.as_bytes()).ids, expected, "{event}");
        }
    }

    #[test]
    fn what_is_odd_is_named_and_costs_nothing_beside_it() {
        const OBJECT: &str = "an element of threatsInfoMap that is not an object";
        const ID: &str = "a threatID that is not a text";
        let list = |odd: &str| format!(r#"{{"threatsInfoMap":[{odd},{{"threatID":"good"}}]}}"#);
        let table = [
            (list("null"), "good", Some(OBJECT)),
            (list("[]"), "good", Some(OBJECT)),
            (list("\"odd\""), "good", Some(OBJECT)),
            (list(r#"{"threatID":5}"#), "good", Some(ID)),
            (list(r#"{"threatID":["a"]}"#), "good", Some(ID)),
            (list(r#"{"threatID":null}"#), "good", None),
            (list("{}"), "good", None),
            // a status names the pair, however it is spelt
            (list(r#"{"threatID":"a","threatStatus":5}"#), "a good", None),
            (
                list(r#"{"threatID":"a","threatStatus":{}}"#),
                "a good",
                None,
            ),
            (
                r#"{"threatsInfoMap":7,"threatID":"good"}"#.to_owned(),
                "good",
                Some("a threatsInfoMap that is not a list"),
            ),
        ];
        for (event, expected, odd) in table {
            let found = named(event.as_bytes());
            assert_eq!(found.odd, Vec::from_iter(odd), "{event}");
            assert_eq!(found.ids.join(" "), expected, "{event}");
        }
        // bytes that are no text are no reason either
        let event = b"{\"threatsInfoMap\":[{\"threat\":\"\xff\",\"threatID\":\"good\"}]}";
        assert_eq!(named(event).ids, ["good"]);
    }

    #[test]
    fn a_threat_is_another_one_with_each_status() {
        let digest = |id, status| {
            let event = format!(r#"{{"threatID":"{id}","threatStatus":"{status}"}}"#);
            named(event.as_bytes()).digests[0]
        };
        assert_eq!(digest("a", "active"), digest("a", "ACTIVE"));
        assert_ne!(digest("a", "active"), digest("a", "cleared"));
        assert_ne!(digest("a", "active"), digest("b", "active"));
    }

    #[test]
    fn what_is_no_json_object_is_an_error() {
        for event in ["{\"threatID\":NaN}", "7", "[]x", ""] {
            assert!(names(event.as_bytes(), &mut |_| {}).is_err(), "{event}");
        }
    }

    #[test]
    fn the_digests_of_threats_stay_as_they_are() {
        // a changed digest means doubles for every user: a recipe that must change gets a new version
        // instead, under a kind of its own
        let golden = [
            (("t", "active"), "4b00280ebd94de4d557fc7343f192beb"),
            (("t", "Active"), "4b00280ebd94de4d557fc7343f192beb"),
            (("t", ""), "8fd8a038322d5c8308d0e97fde8de15b"),
        ];
        for ((id, status), digest) in golden {
            assert_eq!(hex(&identify(id, status)), digest, "{id} {status}");
        }
    }
}
