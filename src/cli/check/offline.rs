//! `OfflineChecks` finds what is wrong without a connection: in the files that the configuration
//! names, and between its tables.

use std::path::Path;

use time::{Duration, OffsetDateTime};

use super::{Finding, Level};
use crate::cli::folders::{ExposedFolder, exposed_folders};
use crate::cli::{LoadReport, network, refuse_exposed};
use crate::clock::utc;
use crate::config::file::Config;
use crate::config::{SecretRef, TlsLibrary, Url};
use crate::error::{Because, Exit, Failure};
use crate::net::certificate::{Validity, Wanted, validities};
use crate::net::tls::{Trust, Unbundled, unbundled};
use crate::service::Service;
use crate::{files, human, secret};

/// A certificate that ends earlier than this deserves a word.
const SOON: Duration = Duration::days(30);

/// What is looked at.
#[derive(Debug)]
pub(super) struct OfflineChecks<'a> {
    pub(super) config: &'a Config,
    /// Whether nothing is wrong with the text itself, so that what is not there is missing.
    pub(super) is_readable: bool,
    pub(super) services: &'a [&'static Service],
    /// Whether these were asked for, and not everything.
    pub(super) is_selected: bool,
    pub(super) state_dir: &'a Path,
    /// The configuration's file, and its folder.
    pub(super) file: (&'a Path, &'a Path),
    pub(super) now: OffsetDateTime,
}

impl OfflineChecks<'_> {
    /// The configuration's own file.
    pub(super) fn at_the_file(&self, text: &LoadReport, findings: &mut Vec<Finding>) {
        if let Err(error) = refuse_exposed(self.config, &text.file, &text.path) {
            findings.push(Finding::error(None, "this file", &error));
        }
    }

    /// Everything else.
    pub(super) fn at_everything(&self, findings: &mut Vec<Finding>) {
        if self.is_readable {
            self.at_what_is_missing(findings);
        }
        self.at_secrets(findings);
        self.at_certificates(findings);
        self.at_the_roots(findings);
        self.at_folders(findings);
        self.at_start_times(findings);
        if let Err(error) = network(self.config) {
            findings.push(self.error("http.proxy", &error));
        }
    }

    fn error(&self, key: &str, failure: &Failure) -> Finding {
        Finding::error(self.config.record.place(key), &title(key), failure)
    }

    fn warning(&self, key: &str, said: &str, hint: &str) -> Finding {
        Finding {
            place: self.config.record.place(key),
            level: Level::Warning,
            exit: Exit::Ok,
            message: format!("{}: {said}", title(key)),
            hint: hint.to_owned(),
        }
    }

    fn at_what_is_missing(&self, findings: &mut Vec<Finding>) {
        if self.config.devo.is_none() {
            let hint =
                "add [devo] with address, chain, cert and key; without it only run --stdout works";
            findings.push(self.warning(
                "devo",
                "the configuration has no table [devo], so nothing can be delivered",
                hint,
            ));
        }
        if self.services.is_empty() {
            let said = Failure::new(
                "the configuration has no table [tap], [pod] or [isolation], so no service can be \
                 collected",
            );
            let said = said
                .with_exit(Exit::Config)
                .with_hint(
                    "add [tap] with principal and secret, [pod] with cluster_id and api_key, or [isolation] with api_key",
                );
            findings.push(self.error("services", &said));
        }
        for service in self.services {
            let table = service.sign_in_table();
            if self.config.record.place(table).is_none() {
                let said = Failure::new(format!("the configuration has no table [{table}]"));
                let hint = format!(
                    "add [{table}]; see proofpull.toml(5) for its keys and where to create \
                     credentials"
                );
                let said = said.with_exit(Exit::Config).with_hint(hint);
                let key = format!("services.{}", service.name);
                findings.push(self.error(&key, &said));
            }
        }
    }

    fn at_secrets(&self, findings: &mut Vec<Finding>) {
        let is_needed = |key: &str| {
            // what belongs to no service is needed by all
            let mut services = self.services.iter();
            !self.is_selected || services.any(|service| !is_of_another(key, service))
        };
        for (key, reference) in self.config.secrets() {
            if !is_needed(key) {
                continue;
            }
            let outside = matches!(reference, SecretRef::Credential(_))
                && super::super::env("CREDENTIALS_DIRECTORY").is_none();
            if outside {
                let hint = self.check_in_the_unit(key);
                findings.push(self.warning(
                    key,
                    "not checked: $CREDENTIALS_DIRECTORY is set only in the unit",
                    &hint,
                ));
                continue;
            }
            if let Err(error) = secret::read(reference, &title(key)) {
                findings.push(self.error(key, &error));
            }
        }
    }

    /// How to run the check of a service that needs a secret as its unit would.
    fn check_in_the_unit(&self, key: &str) -> String {
        let (file, folder) = self.file;
        let file = folder.join(file.file_name().unwrap_or_default());
        let needs_it = |service: &&&Service| !is_of_another(key, service);
        let service = self.services.iter().find(needs_it);
        let service = service.map_or("SERVICE", |service| service.name);
        let folder = folder.display();
        format!(
            "run this check in the environment of the unit: systemd-run --pipe --wait --uid=proofpull \
             --property=LoadCredential=proofpull:{folder}/credentials/{service} proofpull check \
             {service} --config {}",
            file.display()
        )
    }

    fn at_certificates(&self, findings: &mut Vec<Finding>) {
        let mut of_authorities = vec![("http.ca", self.config.http.ca.as_deref())];
        if let Some(devo) = &self.config.devo {
            of_authorities.push(("devo.chain", devo.chain.as_deref()));
            if let Some(ours) = &devo.identity {
                let key = match validities(&ours.cert, Wanted::Certificate) {
                    Ok(all) => {
                        let key = Trust::try_identity(ours);
                        let place = *key.as_ref().unwrap_or(&0);
                        findings.extend(all.get(place).and_then(|leaf| self.at_ours(*leaf)));
                        key.map(drop)
                    }
                    Err(error) => {
                        findings.push(self.error("devo.cert", &error));
                        Trust::try_key(&ours.key)
                    }
                };
                findings.extend(key.err().map(|error| self.error("devo.key", &error)));
            }
        }
        for (key, path) in of_authorities {
            let Some(path) = path else { continue };
            match Trust::try_ca(path).and_then(|()| validities(path, Wanted::Authorities)) {
                Ok(all) => findings.extend(self.at_theirs(key, &all)),
                Err(error) => findings.push(self.error(key, &error)),
            }
        }
    }

    /// The system's roots, where something is trusted by them: those that are not read.
    fn at_the_roots(&self, findings: &mut Vec<Finding>) {
        // OpenSSL reads its own
        let by_us = |tls: TlsLibrary| tls == TlsLibrary::Rustls;
        let devo = self.config.devo.as_ref();
        let mut services = self.services.iter();
        let is_used = devo.is_some_and(|devo| devo.chain.is_none() && by_us(devo.tls))
            || by_us(self.config.http.tls)
                && services.any(|service| {
                    let endpoints = self.config.service(service).api.endpoints();
                    endpoints.iter().any(Url::scheme_is_tls)
                });
        if !is_used {
            return;
        }
        for Unbundled {
            count,
            folder,
            bundle,
        } in unbundled()
        {
            let count = human::count(count as u64, "CA certificate");
            let (folder, bundle) = (folder.display(), bundle.display());
            let said = format!("{count} in {folder} not trusted: missing in {bundle}");
            let hint = "set [http] ca to a file of them if you need them, or add them to the bundle with \
                 update-ca-certificates or update-ca-trust";
            findings.push(self.warning("http.ca", &said, hint));
        }
    }

    /// Our own certificate.
    fn at_ours(&self, Validity { from, to }: Validity) -> Option<Finding> {
        let renew = "download a new certificate and set [devo] cert and key; also check this machine's \
             clock";
        let refused = |said: String| {
            let said = Failure::new(said);
            let said = said.with_exit(Exit::NoPerm).with_hint(renew);
            Some(self.error("devo.cert", &said))
        };
        match self.now {
            now if now > to => refused(format!("it expired on {}", utc(to))),
            now if now < from => refused(format!("it is not valid before {}", utc(from))),
            now if now + SOON > to => {
                Some(self.warning("devo.cert", &format!("it expires on {}", utc(to)), renew))
            }
            _ => None,
        }
    }

    /// Those of authorities: each that has expired is of no use, but the others may be.
    fn at_theirs(&self, key: &str, all: &[Validity]) -> Vec<Finding> {
        let renew = "get a new file from the operator of the server";
        let expired = all.iter().filter(|one| one.to < self.now).count();
        if expired == all.len() {
            let said = Failure::new("every certificate in it has expired");
            let said = said.with_exit(Exit::Unavailable).with_hint(renew);
            return vec![self.error(key, &said)];
        }
        let dated = all.iter().filter(|one| one.to < self.now + SOON);
        dated
            .map(|one| {
                let word = if one.to < self.now {
                    "expired"
                } else {
                    "expires"
                };
                self.warning(
                    key,
                    &format!("a certificate in it {word} on {}", utc(one.to)),
                    renew,
                )
            })
            .collect()
    }

    fn at_folders(&self, findings: &mut Vec<Finding>) {
        let exposed = exposed_folders(self.config, self.file.0, self.state_dir).into_iter();
        findings.extend(
            exposed.map(|ExposedFolder { key, said, remedy }| self.warning(key, &said, &remedy)),
        );
        // a run makes it if it is not there
        if self.state_dir.exists()
            && let Err(error) = files::try_dir(self.state_dir).exit(Exit::CantCreate).hint(
                "make it writable by the user running proofpull, and run this check as that \
                     user",
            )
        {
            findings.push(self.error("state_dir", &error));
        }
        if let Some(metrics) = &self.config.metrics
            && let Err(error) = files::try_dir(&metrics.textfile_dir)
        {
            let said = Failure::from(error).to_string();
            let hint =
                "create it, writable by the user running proofpull; runs continue without metrics";
            findings.push(self.warning("metrics.textfile_dir", &said, hint));
        }
    }

    fn at_start_times(&self, findings: &mut Vec<Finding>) {
        for service in self.services {
            let Some(start) = self.config.service(service).start_time else {
                continue;
            };
            let oldest = self.config.service(service).api.limits().oldest(self.now);
            if start < oldest {
                let said = format!(
                    "the service keeps nothing before {}, so a first run starts there",
                    utc(oldest)
                );
                let hint = "set a later time, or leave it: it has no effect after the first run";
                findings.push(self.warning(
                    &format!("services.{}.start_time", service.name),
                    &said,
                    hint,
                ));
            }
        }
    }
}

/// Whether a key belongs to the sign-in of another kind of service.
fn is_of_another(key: &str, only: &Service) -> bool {
    let table = key.split('.').next().unwrap_or(key);
    let kinds = crate::service::SERVICES.iter().map(Service::sign_in_table);
    kinds.into_iter().any(|kind| kind == table) && table != only.sign_in_table()
}

/// `devo.cert` as `[devo] cert`.
fn title(key: &str) -> String {
    match key.rsplit_once('.') {
        Some((table, key)) if table != "services" => format!("[{table}] {key}"),
        Some(_) => format!("[{key}]"),
        None => key.to_owned(),
    }
}
