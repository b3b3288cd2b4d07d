//! The table of services: one name for each, used on the command line, in the configuration, in
//! the names of files and in the end line.

/// How a service is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An event service of the TAP SIEM API: its path, and the key of the array in its answers.
    Tap {
        /// Path below the base URL.
        path: &'static str,
        /// The key under which the events stand.
        array: &'static str,
    },
    /// The summaries of the threats that the events of TAP name.
    Threats,
    /// A product of Isolation: where its reporting API is.
    Isolation {
        /// The whole address.
        url: &'static str,
    },
    /// A type of the PoD log stream.
    Pod {
        /// What the parameter `type` says.
        stream: &'static str,
    },
}

impl Kind {
    /// The table of the configuration that says how to sign in.
    #[must_use]
    pub fn sign_in(self) -> &'static str {
        match self {
            Kind::Tap { .. } | Kind::Threats => "tap",
            Kind::Isolation { .. } => "isolation",
            Kind::Pod { .. } => "pod",
        }
    }
}

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Service {
    /// What a person calls it, everywhere.
    pub name: &'static str,
    /// What the Devo collectors call it, if they have it.
    pub(crate) devo: Option<&'static str>,
    /// The Devo tag when none is configured.
    pub tag: &'static str,
    /// How it is read.
    pub kind: Kind,
}

/// Every service the program knows.
pub static SERVICES: [Service; 10] = [
    Service {
        name: "tap-clicks-blocked",
        devo: Some("clicksBlocked"),
        tag: "mail.proofpoint.tapsiem_v2.clicksblocked",
        kind: Kind::Tap {
            path: "/v2/siem/clicks/blocked",
            array: "clicksBlocked",
        },
    },
    Service {
        name: "tap-clicks-permitted",
        devo: Some("clicksPermitted"),
        tag: "mail.proofpoint.tapsiem_v2.clickspermitted",
        kind: Kind::Tap {
            path: "/v2/siem/clicks/permitted",
            array: "clicksPermitted",
        },
    },
    Service {
        name: "tap-messages-blocked",
        devo: Some("messagesBlocked"),
        tag: "mail.proofpoint.tapsiem_v2.messagesblocked",
        kind: Kind::Tap {
            path: "/v2/siem/messages/blocked",
            array: "messagesBlocked",
        },
    },
    Service {
        name: "tap-messages-delivered",
        devo: Some("messagesDelivered"),
        tag: "mail.proofpoint.tapsiem_v2.messagesdelivered",
        kind: Kind::Tap {
            path: "/v2/siem/messages/delivered",
            array: "messagesDelivered",
        },
    },
    Service {
        name: "tap-threats",
        devo: None,
        tag: "mail.proofpoint.tapsiem_v2.threats",
        kind: Kind::Threats,
    },
    Service {
        name: "isolation-web",
        devo: Some("browser_and_email_isolation"),
        tag: "tap.proofpoint.isolation.browser_and_email",
        kind: Kind::Isolation {
            url: "https://proofpointisolation.com/api/v2/reporting/usage-data",
        },
    },
    Service {
        name: "isolation-url",
        devo: Some("url_isolation"),
        tag: "tap.proofpoint.isolation.url_isolation",
        kind: Kind::Isolation {
            url: "https://urlisolation.com/api/v2/reporting/usage-data",
        },
    },
    Service {
        name: "pod-message",
        devo: Some("message"),
        tag: "mail.proofpoint.pod.message",
        kind: Kind::Pod { stream: "message" },
    },
    Service {
        name: "pod-maillog",
        devo: Some("maillog"),
        tag: "mail.proofpoint.pod.maillog",
        kind: Kind::Pod { stream: "maillog" },
    },
    Service {
        name: "pod-audit",
        devo: None,
        tag: "mail.proofpoint.pod.audit",
        kind: Kind::Pod { stream: "audit" },
    },
];

/// Finds a service by its name.
///
/// # Errors
/// For another name, what to say about it: the Devo collectors' names lead to ours.
pub fn find(name: &str) -> Result<&'static Service, String> {
    if let Some(service) = SERVICES.iter().find(|service| service.name == name) {
        return Ok(service);
    }
    if let Some(service) = SERVICES.iter().find(|service| service.devo == Some(name)) {
        return Err(format!("{name} is called {} here", service.name));
    }
    let names: Vec<&str> = SERVICES.iter().map(|service| service.name).collect();
    Err(format!(
        "no service is called {name}; there are {}",
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
            Err("clicksBlocked is called tap-clicks-blocked here".into())
        );
        assert_eq!(
            find("tap-clicks-blocked").map(|service| service.devo),
            Ok(Some("clicksBlocked"))
        );
        assert!(find("tap").unwrap_err().contains("tap-messages-delivered"));
    }
}
