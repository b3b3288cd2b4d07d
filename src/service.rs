//! `SERVICES` lists every service: its name, its tag, and the API that reads it.
//!
//! The name is used everywhere: on the command line, in the configuration, in file names and in the
//! end line.

use crate::source::api::Api;
use crate::source::isolation::api::IsolationApi;
use crate::source::pod::api::PodApi;
use crate::source::tap::EventKind;
use crate::source::tap::api::{CLICKS_PERMITTED, EventApi, OTHERS};
use crate::source::tap::campaigns::api::CampaignApi;
use crate::source::tap::forensics::api::ForensicsApi;
use crate::source::tap::people::api::{PeopleApi, TOP_CLICKERS, VAP};
use crate::source::tap::threats::api::ThreatApi;

/// One row of the table.
#[derive(Debug)]
pub struct Service {
    /// What a person calls it, everywhere.
    pub name: &'static str,
    /// What the Devo collectors call it, if they have it.
    pub devo: Option<&'static str>,
    /// What it reads, in a few words.
    pub(crate) reads: &'static str,
    /// The Devo tag when none is configured.
    pub tag: &'static str,
    /// How it is read.
    pub(crate) api: &'static dyn Api,
}

impl PartialEq for Service {
    fn eq(&self, other: &Service) -> bool {
        self.name == other.name
    }
}

impl Eq for Service {}

impl Service {
    /// The table of the configuration that says how to sign in: `tap`, `isolation` or `pod`.
    #[must_use]
    pub fn sign_in_table(&self) -> &'static str {
        self.api.sign_in_table()
    }
}

/// Every service the program knows.
pub static SERVICES: &[Service] = &[
    Service {
        name: "tap-clicks-blocked",
        devo: Some("clicksBlocked"),
        reads: "/v2/siem/clicks/blocked",
        tag: "mail.proofpoint.tapsiem_v2.clicksblocked",
        api: &EventApi {
            path: "/v2/siem/clicks/blocked",
            arrays: &["clicksBlocked"],
            identity: EventKind::Click,
            pool: &OTHERS,
        },
    },
    Service {
        name: "tap-clicks-permitted",
        devo: Some("clicksPermitted"),
        reads: "/v2/siem/clicks/permitted",
        tag: "mail.proofpoint.tapsiem_v2.clickspermitted",
        api: &EventApi {
            path: "/v2/siem/clicks/permitted",
            arrays: &["clicksPermitted"],
            identity: EventKind::Click,
            pool: &CLICKS_PERMITTED,
        },
    },
    Service {
        name: "tap-messages-blocked",
        devo: Some("messagesBlocked"),
        reads: "/v2/siem/messages/blocked",
        tag: "mail.proofpoint.tapsiem_v2.messagesblocked",
        api: &EventApi {
            path: "/v2/siem/messages/blocked",
            arrays: &["messagesBlocked"],
            identity: EventKind::Message,
            pool: &OTHERS,
        },
    },
    Service {
        name: "tap-messages-delivered",
        devo: Some("messagesDelivered"),
        reads: "/v2/siem/messages/delivered",
        tag: "mail.proofpoint.tapsiem_v2.messagesdelivered",
        api: &EventApi {
            path: "/v2/siem/messages/delivered",
            arrays: &["messagesDelivered"],
            identity: EventKind::Message,
            pool: &OTHERS,
        },
    },
    Service {
        name: "tap-threats",
        devo: Some("threats"),
        reads: "/v2/threat/summary, by events",
        tag: "mail.proofpoint.tap_threats.events",
        api: &ThreatApi { pool: &OTHERS },
    },
    Service {
        name: "tap-campaigns",
        devo: Some("campaigns"),
        reads: "/v2/campaign, as updated",
        tag: "my.app.proofpoint.tap_campaigns",
        api: &CampaignApi,
    },
    Service {
        name: "tap-forensics",
        devo: Some("forensics"),
        reads: "/v2/forensics, by events",
        tag: "my.app.proofpoint.tap_forensics",
        api: &ForensicsApi { pool: &OTHERS },
    },
    Service {
        name: "tap-people-vap",
        devo: Some("people"),
        reads: "/v2/people/vap, daily",
        tag: "my.app.proofpoint.tap_vap",
        api: &PeopleApi {
            path: "/v2/people/vap",
            pool: &VAP,
        },
    },
    Service {
        name: "tap-people-clickers",
        devo: Some("people"),
        reads: "/v2/people/top-clickers, daily",
        tag: "my.app.proofpoint.tap_topclickers",
        api: &PeopleApi {
            path: "/v2/people/top-clickers",
            pool: &TOP_CLICKERS,
        },
    },
    Service {
        name: "isolation-web",
        devo: Some("browser_and_email_isolation"),
        reads: "usage data, browser and email",
        tag: "tap.proofpoint.isolation.browser_and_email",
        api: &IsolationApi {
            url: "https://proofpointisolation.com/api/v2/reporting/usage-data",
        },
    },
    Service {
        name: "isolation-url",
        devo: Some("url_isolation"),
        reads: "usage data, URL isolation",
        tag: "tap.proofpoint.isolation.url_isolation",
        api: &IsolationApi {
            url: "https://urlisolation.com/api/v2/reporting/usage-data",
        },
    },
    Service {
        name: "pod-message",
        devo: Some("message"),
        reads: "log stream, type=message",
        tag: "mail.proofpoint.pod.message",
        api: &PodApi { stream: "message" },
    },
    Service {
        name: "pod-maillog",
        devo: Some("maillog"),
        reads: "log stream, type=maillog",
        tag: "mail.proofpoint.pod.maillog",
        api: &PodApi { stream: "maillog" },
    },
    Service {
        name: "pod-audit",
        devo: None,
        reads: "log stream, type=audit",
        tag: "mail.proofpoint.pod.audit",
        api: &PodApi { stream: "audit" },
    },
];

/// The services that are one of this name in the Devo collectors.
pub(crate) fn named_by_devo(name: &str) -> impl Iterator<Item = &'static Service> {
    SERVICES
        .iter()
        .filter(move |service| service.devo == Some(name))
}

/// Finds a service by its name.
///
/// # Errors
/// For another name, what to say about it: the Devo collectors' names lead to ours.
pub fn find(name: &str) -> Result<&'static Service, String> {
    if let Some(service) = SERVICES.iter().find(|service| service.name == name) {
        return Ok(service);
    }
    let ours: Vec<&str> = named_by_devo(name).map(|service| service.name).collect();
    if !ours.is_empty() {
        return Err(format!(
            "{name} is called {} in proofpull",
            ours.join(" and ")
        ));
    }
    let names: Vec<&str> = SERVICES.iter().map(|service| service.name).collect();
    Err(format!(
        "there is no service {name}; the services are {}",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_devo_name_is_refused_and_translated() {
        assert_eq!(
            find("clicksBlocked"),
            Err("clicksBlocked is called tap-clicks-blocked in proofpull".into())
        );
        assert_eq!(
            find("people"),
            Err("people is called tap-people-vap and tap-people-clickers in proofpull".into())
        );
        assert_eq!(
            find("tap-clicks-blocked").map(|service| service.devo),
            Ok(Some("clicksBlocked"))
        );
        assert!(find("tap").unwrap_err().contains("tap-messages-delivered"));
    }
}
