//! Files that follow from the table of services are written by these tests, so that nobody keeps them by hand.

use std::collections::BTreeMap;
use std::fs;

use proofpull::service::SERVICES;

/// A file has this text, or gets it where `PROOFPULL_WRITE_DERIVED` is set.
#[track_caller]
pub(crate) fn assert_written(file: &str, text: &str) {
    if std::env::var_os("PROOFPULL_WRITE_DERIVED").is_some() {
        fs::write(file, text).unwrap();
    }
    let found = fs::read_to_string(file).unwrap_or_default();
    assert!(
        found == text,
        "{file} is not what follows from src/service.rs; write it anew by \
         PROOFPULL_WRITE_DERIVED=1 cargo test --test end_to_end -- derived schema"
    );
}

/// The API that signs a service in is the first word of its name.
fn api_of(service: &str) -> &str {
    service.split_once('-').unwrap().0
}

#[test]
fn systemd_links_each_service_to_the_credentials_of_its_api() {
    const FILE: &str = "systemd/proofpull.tmpfiles.conf";
    let found = fs::read_to_string(FILE).unwrap();
    let kept = found.lines().filter(|line| !line.starts_with("L "));
    let mut text: String = kept.map(|line| format!("{line}\n")).collect();
    for service in SERVICES {
        let (name, api) = (service.name, api_of(service.name));
        text += &format!("L /etc/proofpull/credentials/{name} - - - - {api}\n");
    }
    assert_written(FILE, &text);
}

#[test]
fn the_helm_chart_lists_the_services_of_each_api() {
    let mut services = BTreeMap::<&str, Vec<&str>>::new();
    for service in SERVICES {
        services
            .entry(api_of(service.name))
            .or_default()
            .push(service.name);
    }
    let text = serde_json::to_string_pretty(&services).unwrap() + "\n";
    assert_written("packaging/helm/proofpull/files/services.json", &text);
}
