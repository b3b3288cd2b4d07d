//! `select` finds the services that the command line means, by their names and by patterns.

use std::fmt;

use crate::config::file::Config;
use crate::error::{Exit, Failure, Result};
use crate::service::{self, SERVICES, Service};

/// A word for one service or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServicePattern {
    /// The name of one.
    Name(&'static Service),
    /// A pattern in which `*` stands for any characters; at least one service has such a name.
    Glob(String),
}

impl ServicePattern {
    /// Reads a word of the command line.
    ///
    /// # Errors
    /// What to say about a word that means no service.
    pub(crate) fn parse(word: &str) -> Result<ServicePattern, String> {
        if !word.contains('*') {
            return service::find(word).map(ServicePattern::Name);
        }
        let mut all = SERVICES.iter();
        if all.any(|service| matches(word, service.name)) {
            return Ok(ServicePattern::Glob(word.to_owned()));
        }
        let names: Vec<&str> = SERVICES.iter().map(|service| service.name).collect();
        let names = names.join(", ");
        Err(format!(
            "no service matches {word}; the services are {names}"
        ))
    }

    /// Whether it means this service, which has a table in the configuration or runs on defaults.
    fn means(&self, service: &Service) -> bool {
        match self {
            ServicePattern::Name(one) => *one == service,
            ServicePattern::Glob(pattern) => matches(pattern, service.name),
        }
    }
}

impl fmt::Display for ServicePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServicePattern::Name(service) => f.write_str(service.name),
            ServicePattern::Glob(pattern) => f.write_str(pattern),
        }
    }
}

/// Whether a name is as a pattern says, in which `*` stands for any characters, or none.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            let ends = name.char_indices().map(|(at, _)| at);
            ends.chain([name.len()])
                .any(|at| matches(rest, &name[at..]))
        }),
    }
}

/// The services that the words mean among all that there are, in the order of the table of services.
pub(super) fn among_all(words: &[ServicePattern]) -> Vec<&'static Service> {
    let is_meant = |service: &&Service| words.iter().any(|word| word.means(service));
    SERVICES.iter().filter(is_meant).collect()
}

/// The services that are configured: those with a table, and all of a sign-in whose services have none.
pub(super) fn configured(config: &Config) -> Vec<&'static Service> {
    let is_written = |key: &str| config.record.place(key).is_some();
    let has_table = |service: &Service| is_written(&format!("services.{}", service.name));
    // of a sign-in for which no service has a table, all run on the defaults
    let stands_alone = |sign_in: &str| {
        let mut its_services = SERVICES
            .iter()
            .filter(|service| service.sign_in_table() == sign_in);
        is_written(sign_in) && !its_services.any(has_table)
    };
    let all = SERVICES.iter();
    all.filter(|service| has_table(service) || stands_alone(service.sign_in_table()))
        .collect()
}

/// The services that the words mean, in their order, each once: a name means its service, a pattern those
/// that are configured.
///
/// # Errors
/// Status 2, if a pattern matches no service of the configuration.
pub(super) fn selected(words: &[ServicePattern], config: &Config) -> Result<Vec<&'static Service>> {
    let configured = configured(config);
    let mut selected: Vec<&Service> = Vec::new();
    for word in words {
        let meant: Vec<&Service> = match word {
            ServicePattern::Name(service) => vec![service],
            ServicePattern::Glob(_) => {
                let configured = configured.iter().copied();
                configured.filter(|service| word.means(service)).collect()
            }
        };
        if meant.is_empty() {
            return Err(nothing_matches(word, &configured));
        }
        let is_new = |service: &&Service| !selected.contains(service);
        let new: Vec<&Service> = meant.into_iter().filter(is_new).collect();
        selected.extend(new);
    }
    Ok(selected)
}

fn nothing_matches(word: &ServicePattern, configured: &[&Service]) -> Failure {
    let names: Vec<&str> = configured.iter().map(|service| service.name).collect();
    let hint = match names.is_empty() {
        true => "add [tap], [pod] or [isolation] to the configuration".to_owned(),
        false => format!(
            "add the table of a service that matches; configured are {}",
            names.join(", ")
        ),
    };
    Failure::new(format!("{word} matches no service of the configuration"))
        .with_exit(Exit::Usage)
        .with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use time::OffsetDateTime;

    #[test]
    fn a_star_stands_for_any_characters_and_nothing_else_is_special() {
        for (pattern, name, wanted) in [
            ("tap-*", "tap-threats", true),
            ("tap-*", "tap-", true),
            ("tap-*", "pod-audit", false),
            ("*", "pod-audit", true),
            ("*-blocked", "tap-clicks-blocked", true),
            ("*-blocked", "tap-clicks-permitted", false),
            ("tap-*-blocked", "tap-clicks-blocked", true),
            ("tap-*-*ed", "tap-messages-delivered", true),
            ("**", "pod-audit", true),
            ("*audit*", "pod-audit", true),
            ("pod-?udit*", "pod-audit", false),
            ("pod-audit", "pod-audit", true),
            ("pod-audit", "pod-audits", false),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn a_word_that_means_no_service_is_refused() {
        for (word, said) in [
            ("tap", "there is no service tap"),
            ("clicksBlocked", "is called tap-clicks-blocked"),
            (
                "tapp-*",
                "no service matches tapp-*; the services are tap-clicks-blocked",
            ),
        ] {
            let refused = ServicePattern::parse(word).unwrap_err();
            assert!(refused.contains(said), "{word}: {refused}");
        }
    }

    #[track_caller]
    fn check(text: &str, words: &[&str], wanted: &str) {
        let now = OffsetDateTime::UNIX_EPOCH;
        let (config, _) = crate::config::file::look(text, Path::new("/"), now);
        let words = words
            .iter()
            .map(|word| ServicePattern::parse(word).unwrap());
        let words: Vec<ServicePattern> = words.collect();
        let said = match selected(&words, &config) {
            Ok(services) => {
                let names: Vec<&str> = services.iter().map(|service| service.name).collect();
                names.join(" ")
            }
            Err(failure) => {
                assert_eq!(failure.exit(), Exit::Usage);
                format!("{failure}; {}", failure.hint().unwrap_or_default())
            }
        };
        assert_eq!(said, wanted);
    }

    const TWO: &str = "[tap]\n[pod]\n[services.tap-threats]\n[services.tap-clicks-blocked]\n";

    #[test]
    fn names_mean_their_services_and_patterns_those_that_are_configured_each_once() {
        check("", &["pod-audit", "tap-threats"], "pod-audit tap-threats");
        check(TWO, &["tap-*"], "tap-clicks-blocked tap-threats");
        check(TWO, &["pod-*"], "pod-message pod-maillog pod-audit");
        check(
            TWO,
            &[
                "tap-threats",
                "tap-*",
                "tap-threats",
                "tap-clicks-permitted",
            ],
            "tap-threats tap-clicks-blocked tap-clicks-permitted",
        );
        check(
            TWO,
            &["tap-threats", "isolation-*"],
            "isolation-* matches no service of the configuration; add the table of a service that matches; \
             configured are tap-clicks-blocked, tap-threats, pod-message, pod-maillog, pod-audit",
        );
        check(
            "",
            &["*"],
            "* matches no service of the configuration; add [tap], [pod] or [isolation] to the configuration",
        );
    }
}
