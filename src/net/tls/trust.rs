//! `Trust` says whom to trust, and who we are.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::ClientIdentity;
use crate::error::{Because, Exit, Failure, Result, fail};
use crate::files;
use crate::secret;

/// Whom to trust and our client certificate; shared by the connections of a run.
#[derive(Debug, Clone)]
pub struct Trust {
    pub(super) config: Arc<ClientConfig>,
    /// The hint for a certificate with another name.
    pub(super) other_name: &'static str,
}

impl Trust {
    /// Trusts the system's roots and those in `extra`.
    ///
    /// # Errors
    /// When there are none, or `extra` cannot be read.
    pub(crate) fn system(extra: Option<&Path>) -> Result<Trust> {
        Trust::of(system_roots(extra)?, None, OTHER_NAME_OF_API)
    }

    /// Trusts the roots in `chain`, or the system's and `extra`; adds our certificate with its key.
    ///
    /// # Errors
    /// When a file cannot be read or has wrong content, or the key does not match.
    pub fn receiver(
        chain: Option<&Path>,
        extra: Option<&Path>,
        identity: Option<&ClientIdentity>,
    ) -> Result<Trust> {
        let roots = match chain {
            Some(chain) => {
                let mut roots = RootCertStore::empty();
                add_roots(&mut roots, chain)?;
                roots
            }
            None => system_roots(extra)?,
        };
        Trust::of(roots, identity, OTHER_NAME_OF_RECEIVER)
    }

    /// Tests whether a certificate and its key can be used.
    ///
    /// # Errors
    /// As [`Trust::receiver`].
    pub(crate) fn try_identity(identity: &ClientIdentity) -> Result<()> {
        Trust::of(
            RootCertStore::empty(),
            Some(identity),
            OTHER_NAME_OF_RECEIVER,
        )
        .map(drop)
    }

    /// Tests whether a key can be read.
    ///
    /// # Errors
    /// When it cannot, or others can read it as well.
    pub(crate) fn try_key(path: &Path) -> Result<()> {
        private_key(path).map(drop)
    }

    /// Tests whether a file of CA certificates can be used.
    ///
    /// # Errors
    /// When the file cannot be read, or contains something else.
    pub(crate) fn try_ca(path: &Path) -> Result<()> {
        add_roots(&mut RootCertStore::empty(), path)
    }

    fn of(
        roots: RootCertStore,
        identity: Option<&ClientIdentity>,
        other_name: &'static str,
    ) -> Result<Trust> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder
            .context("preparing TLS")
            .exit(Exit::Software)?
            .with_root_certificates(roots);
        let Some(ClientIdentity { cert, key }) = identity else {
            return Ok(Trust {
                config: Arc::new(builder.with_no_client_auth()),
                other_name,
            });
        };
        let chain = certificates(cert)
            .hint("set [devo] cert to a PEM file: -----BEGIN CERTIFICATE-----")?;
        let private = private_key(key)?;
        let mut config = builder
            .with_client_auth_cert(chain, private)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => Failure::new(format!(
                    "the key {} does not match the certificate",
                    key.display()
                )),
                other => Failure::from(other),
            })
            .with_context(|| format!("using the certificate {}", cert.display()))
            .exit(Exit::Config)
            .hint(
                "set [devo] cert and key to the two files of one download; their public keys must \
                 be equal",
            )?;
        // some receivers on OpenSSL that ask for certificates, such as rsyslog's driver, break off
        // a handshake that offers to resume a session
        config.resumption = Resumption::disabled();
        Ok(Trust {
            config: Arc::new(config),
            other_name,
        })
    }
}

const OTHER_NAME_OF_RECEIVER: &str =
    "check [devo] address, or set [devo] server_name: the server's certificate is for another name";
const OTHER_NAME_OF_API: &str =
    "check base_url and url of the service: the server's certificate is for another name";
const KEY_HINT: &str = "set [devo] key to an existing, readable PEM file without a passphrase: PRIVATE KEY, RSA \
     PRIVATE KEY or EC PRIVATE KEY";

fn system_roots(extra: Option<&Path>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // skip roots that cannot be parsed: if one is needed, the handshake says so
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(extra) = extra {
        add_roots(&mut roots, extra)?;
    }
    if roots.is_empty() {
        return fail(Exit::Config, "this system has no root certificates")
            .hint("install the package ca-certificates, or set [http] ca or [devo] chain");
    }
    Ok(roots)
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> Result<()> {
    const HINT: &str = "set [devo] chain and [http] ca to PEM files of CA certificates that the user running \
         proofpull can read: -----BEGIN CERTIFICATE-----";
    let what = || format!("using the CA {}", path.display());
    for certificate in certificates(path).hint(HINT)? {
        let added = roots.add(certificate).with_context(what);
        added.exit(Exit::Config).hint(HINT)?;
    }
    Ok(())
}

/// Reads certificates. Errors of the parser may contain a line of the file, so none is shown.
pub(in crate::net) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = || -> Result<Vec<_>> {
        let mut text = Vec::new();
        files::open_regular(path)?.read_to_end(&mut text)?;
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        all.ok()
            .filter(|all| !all.is_empty())
            .ok_or_else(|| Failure::new("it contains no certificate"))
    };
    read()
        .with_context(|| format!("reading the certificate {}", path.display()))
        .exit(Exit::Config)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let what = || format!("reading the key {}", path.display());
    let file = files::open_regular(path)
        .with_context(what)
        .exit(Exit::Config)
        .hint(KEY_HINT)?;
    secret::refuse_if_others_can_use(&file, path)?;
    let mut text = Vec::new();
    (&file)
        .read_to_end(&mut text)
        .with_context(what)
        .exit(Exit::Config)
        .hint(KEY_HINT)?;
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| Failure::new("it contains no private key").with_hint(KEY_HINT))
        .with_context(what)
        .exit(Exit::Config)
}
