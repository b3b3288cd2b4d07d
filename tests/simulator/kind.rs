//! Which of the simulated APIs has the events of a service.

/// Where the events of a service stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// In an array of TAP's answers.
    Tap { array: &'static str },
    /// In TAP's summaries of threats.
    Threats,
    /// In TAP's reports of forensics on campaigns.
    Forensics,
    /// TAP's campaigns.
    Campaigns,
    /// In TAP's reports on people.
    People { report: &'static str },
    /// In a report of Isolation.
    Isolation,
    /// In a type of the log stream.
    Pod { stream: &'static str },
}

impl Kind {
    /// Of a service, by its name.
    pub fn of(service: &str) -> Kind {
        match service {
            "tap-clicks-blocked" => Kind::Tap {
                array: "clicksBlocked",
            },
            "tap-clicks-permitted" => Kind::Tap {
                array: "clicksPermitted",
            },
            "tap-messages-blocked" => Kind::Tap {
                array: "messagesBlocked",
            },
            "tap-messages-delivered" => Kind::Tap {
                array: "messagesDelivered",
            },
            "tap-threats" => Kind::Threats,
            "tap-forensics" => Kind::Forensics,
            "tap-campaigns" => Kind::Campaigns,
            "tap-people-vap" => Kind::People { report: "vap" },
            "tap-people-clickers" => Kind::People {
                report: "top-clickers",
            },
            "isolation-web" | "isolation-url" => Kind::Isolation,
            "pod-message" => Kind::Pod { stream: "message" },
            "pod-maillog" => Kind::Pod { stream: "maillog" },
            "pod-audit" => Kind::Pod { stream: "audit" },
            other => panic!("no simulated API has {other}"),
        }
    }
}
