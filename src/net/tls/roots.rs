//! `roots` reads the root certificates of the system: those of its bundle, or else of its folder.
//!
//! A folder holds what the bundle holds, in many files, and often a certificate that the machine made for itself.
//! So it is read only where there is no bundle, or where a variable of the environment names it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use openssl_probe::{ENV_CERT_DIR, ENV_CERT_FILE};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls_native_certs::{load_certs_from_paths, load_native_certs};

use super::trust::certificates;
use crate::error::{Because, Exit, Result, fail};
use crate::net::certificate::{Wanted, is_authority};

/// Whose certificates are trusted; read once for all who trust the same.
#[derive(Debug)]
pub struct Roots {
    /// Whether those of the system are among them.
    of_system: bool,
    file: Option<PathBuf>,
    store: OnceLock<Arc<RootCertStore>>,
}

impl Roots {
    /// Those of the system and in `extra`.
    #[must_use]
    pub(crate) fn system(extra: Option<&Path>) -> Roots {
        Roots {
            of_system: true,
            file: extra.map(Path::to_owned),
            store: OnceLock::new(),
        }
    }

    /// Those in a file alone.
    #[must_use]
    pub fn in_file(file: &Path) -> Roots {
        Roots {
            of_system: false,
            file: Some(file.to_owned()),
            store: OnceLock::new(),
        }
    }

    /// Reads them for rustls.
    ///
    /// # Errors
    /// When there are none, or the file cannot be read.
    pub(super) fn store(&self) -> Result<Arc<RootCertStore>> {
        if let Some(store) = self.store.get() {
            return Ok(Arc::clone(store));
        }
        let mut roots = RootCertStore::empty();
        if self.of_system {
            // skip roots that cannot be parsed: if one is needed, the handshake says so
            roots.add_parsable_certificates(of_system());
        }
        if let Some(file) = &self.file {
            add(&mut roots, file)?;
        }
        if roots.is_empty() {
            return fail(Exit::Config, "this system has no root certificates")
                .hint("install the package ca-certificates, or set [http] ca or [devo] chain");
        }
        Ok(Arc::clone(self.store.get_or_init(|| roots.into())))
    }
}

#[cfg(feature = "native-tls")]
impl Roots {
    /// Whether those of the system are among them.
    pub(super) fn are_of_system(&self) -> bool {
        self.of_system
    }

    /// The file of the others.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

/// Those of the bundle, or else of the folder.
fn of_system() -> Vec<CertificateDer<'static>> {
    let bundled = match bundle() {
        Some(bundle) => load_certs_from_paths(Some(&bundle), None).certs,
        None => Vec::new(),
    };
    match bundled.is_empty() {
        true => load_native_certs().certs,
        false => bundled,
    }
}

fn add(roots: &mut RootCertStore, path: &Path) -> Result<()> {
    let what = || format!("using the CA {}", path.display());
    for certificate in certificates(path, Wanted::Authorities)? {
        let added = roots.add(certificate).with_context(what);
        added.exit(Exit::Config).hint(Wanted::Authorities.hint())?;
    }
    Ok(())
}

/// CA certificates that stand in the system's folder alone, and so are not trusted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unbundled {
    /// How many.
    pub(crate) count: usize,
    /// The folder.
    pub(crate) folder: PathBuf,
    /// What is read instead.
    pub(crate) bundle: PathBuf,
}

/// What the system's folders hold beside its bundle.
#[must_use]
pub(crate) fn unbundled() -> Vec<Unbundled> {
    let Some(bundle) = bundle() else {
        return Vec::new();
    };
    let folders = openssl_probe::candidate_cert_dirs();
    folders
        .map(|folder| beside(&bundle, folder))
        .filter(|unbundled| unbundled.count > 0)
        .collect()
}

fn beside(bundle: &Path, folder: &Path) -> Unbundled {
    let bundled = load_certs_from_paths(Some(bundle), None).certs;
    let there = load_certs_from_paths(None, Some(folder)).certs;
    let missing = there
        .iter()
        .filter(|one| is_authority(one) && !bundled.contains(one));
    Unbundled {
        count: missing.count(),
        folder: folder.to_owned(),
        bundle: bundle.to_owned(),
    }
}

/// The bundle, unless variables of the environment name what to read.
fn bundle() -> Option<PathBuf> {
    let is_named = [ENV_CERT_FILE, ENV_CERT_DIR].map(|name| std::env::var_os(name).is_some());
    match is_named {
        [false, false] => openssl_probe::probe().cert_file,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    fn pem(is_ca: IsCa) -> String {
        let mut params = CertificateParams::new(vec!["host.example".to_owned()]).unwrap();
        params.is_ca = is_ca;
        let pair = KeyPair::generate().unwrap();
        params.self_signed(&pair).unwrap().pem()
    }

    #[test]
    fn authorities_of_the_folder_alone_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path().join("bundle.crt");
        let folder = dir.path().join("certs");
        std::fs::create_dir(&folder).unwrap();
        let authority = || pem(IsCa::Ca(BasicConstraints::Unconstrained));
        let (known, unknown, host) = (authority(), authority(), pem(IsCa::NoCa));
        std::fs::write(&bundle, &known).unwrap();
        let counts = [
            ("known", known, 0),
            ("host", host, 0),
            ("unknown", unknown, 1),
        ];
        for (name, text, count) in counts {
            std::fs::write(folder.join(name), text).unwrap();
            assert_eq!(beside(&bundle, &folder).count, count, "{name}");
        }
    }
}
