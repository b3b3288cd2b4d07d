//! `Trust` says whom to trust, and who we are.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::clear::Clear;
#[cfg(feature = "native-tls")]
use super::native::Connector;
use super::pem::Contents;
use super::refusal::{API, PeerHints, RECEIVER};
use super::roots::Roots;
use super::session::{Rustls, TlsSession};
use super::verifier::Verifier;
use crate::config::{ClientIdentity, TlsLibrary};
use crate::error::{Because, Exit, Failure, Result, fail};
use crate::files;
use crate::net::NetError;
use crate::net::certificate::{FileKind, KeyForm, Wanted, order, unusable};
use crate::secret;
use crate::world::simulated;

/// Whom to trust and our client certificate; shared by the connections of a run.
#[derive(Debug, Clone)]
pub struct Trust {
    library: Library,
    /// What helps with the certificate of the peer.
    hints: &'static PeerHints,
}

/// What a library makes of it.
#[derive(Debug, Clone)]
enum Library {
    Rustls(Arc<ClientConfig>),
    #[cfg(feature = "native-tls")]
    Native(Connector),
    /// In a simulation.
    Clear,
}

impl Trust {
    /// Trusts an API by these roots.
    ///
    /// # Errors
    /// When there are none, or their file cannot be read.
    pub(crate) fn api(library: TlsLibrary, roots: &Roots) -> Result<Trust> {
        Trust::of(library, roots, None, &API)
    }

    /// Trusts a receiver by these roots; adds our certificate with its key.
    ///
    /// # Errors
    /// When a file cannot be read or has wrong content, or the key does not match.
    pub fn receiver(
        library: TlsLibrary,
        roots: &Roots,
        identity: Option<&ClientIdentity>,
    ) -> Result<Trust> {
        Trust::of(library, roots, identity, &RECEIVER)
    }

    fn of(
        library: TlsLibrary,
        roots: &Roots,
        identity: Option<&ClientIdentity>,
        hints: &'static PeerHints,
    ) -> Result<Trust> {
        let library = match library {
            _ if simulated().is_some() => Library::Clear,
            TlsLibrary::Rustls => Library::Rustls(config(roots.store()?, identity)?),
            #[cfg(feature = "native-tls")]
            TlsLibrary::NativeTls => Library::Native(connector(roots, identity)?),
        };
        Ok(Trust { library, hints })
    }

    /// Begins a session with the server of this name.
    ///
    /// # Errors
    /// When it cannot be the name of a server.
    pub(super) fn session(&self, name: &str) -> Result<Box<dyn TlsSession>, NetError> {
        let hints = self.hints;
        match &self.library {
            Library::Rustls(config) => {
                let server = ServerName::try_from(name.to_owned())
                    .with_context(|| format!("verifying the name {name}"))
                    .exit(Exit::Config);
                let session = server.and_then(|server| {
                    ClientConnection::new(Arc::clone(config), server).exit(Exit::Software)
                });
                let session = session.map_err(NetError::Lasting)?;
                Ok(Box::new(Rustls::new(session, hints)))
            }
            #[cfg(feature = "native-tls")]
            Library::Native(connector) => Ok(Box::new(connector.begin(name, hints)?)),
            Library::Clear => Ok(Box::new(Clear::new())),
        }
    }

    /// Tests whether a certificate and its key can be used, and tells which of those in the file is ours.
    ///
    /// # Errors
    /// As [`Trust::receiver`].
    pub(crate) fn try_identity(identity: &ClientIdentity) -> Result<usize> {
        certified_key(identity).map(|(_, place)| place)
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
        Roots::in_file(path).store().map(drop)
    }
}

/// The configuration of rustls.
fn config(
    roots: Arc<RootCertStore>,
    identity: Option<&ClientIdentity>,
) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let verifier = verifier
        .build()
        .context("preparing TLS")
        .exit(Exit::Software)?;
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder
        .context("preparing TLS")
        .exit(Exit::Software)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier(verifier)));
    let Some(identity) = identity else {
        return Ok(Arc::new(builder.with_no_client_auth()));
    };
    let (ours, _) = certified_key(identity)?;
    let mut config = builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(ours)));
    // some receivers on OpenSSL that ask for certificates, such as rsyslog's driver, break
    // off a handshake that offers to resume a session
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The same for OpenSSL, which reads its own roots.
#[cfg(feature = "native-tls")]
fn connector(roots: &Roots, identity: Option<&ClientIdentity>) -> Result<Connector> {
    let more = roots.file().map(|file| {
        // the same files are taken, and named, as for rustls
        Trust::try_ca(file)?;
        certificates(file, Wanted::Authorities)
    });
    let ours = identity.map(|identity| -> Result<_> {
        let (CertifiedKey { cert, .. }, _) = certified_key(identity)?;
        let key = key_in(&identity.key)?;
        Ok((cert, form(&key), key))
    });
    let more = more.transpose()?.unwrap_or_default();
    Connector::new(roots.are_of_system(), &more, ours.transpose()?)
}

const KEY_KINDS: &str = "make a key of another kind and a certificate for it: RSA of 2048, 3072 or 4096 bits, EC \
     on P-256 or P-384, or Ed25519";

impl Wanted {
    /// What helps with any wrong file.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Wanted::Certificate => {
                "set [devo] cert to a PEM file: -----BEGIN CERTIFICATE-----, which the user running proofpull can read"
            }
            Wanted::Authorities => {
                "set [devo] chain and [http] ca to PEM files of CA certificates that the user \
                 running proofpull can read: -----BEGIN CERTIFICATE-----"
            }
            Wanted::Key => {
                "set [devo] key to an existing, readable PEM file without a passphrase: PRIVATE \
                 KEY, RSA PRIVATE KEY or EC PRIVATE KEY"
            }
        }
    }

    /// The error for a file without what is wanted.
    fn missing(self, contents: &Contents, path: &Path) -> Failure {
        let said = match contents.other {
            Some(FileKind::Key) if self == Wanted::Key => {
                "its private key is cut off or damaged".to_owned()
            }
            Some(kind) => kind.to_string(),
            None if self == Wanted::Key => "it contains no private key".to_owned(),
            None => "it contains no certificate".to_owned(),
        };
        let remedy = contents.other.and_then(|kind| kind.remedy(self, path));
        let failure = Failure::new(said).with_exit(Exit::Config);
        failure.with_hint(remedy.unwrap_or_else(|| self.hint().to_owned()))
    }
}

/// Reads certificates; at least one.
pub(in crate::net) fn certificates(
    path: &Path,
    wanted: Wanted,
) -> Result<Vec<CertificateDer<'static>>> {
    let read = || -> Result<Vec<_>> {
        let mut bytes = Vec::new();
        let file = files::open_regular(path);
        file.and_then(|mut file| file.read_to_end(&mut bytes))
            .exit(Exit::Config)
            .hint(wanted.hint())?;
        let contents = Contents::of(&bytes);
        if contents.has_broken_certificate {
            let said = "a certificate in it is cut off or damaged";
            return fail(Exit::Config, said).hint(wanted.hint());
        }
        match contents.certificates.is_empty() {
            true => Err(wanted.missing(&contents, path)),
            false => Ok(contents.certificates),
        }
    };
    read().with_context(|| format!("reading the certificate {}", path.display()))
}

/// Our certificate with its key, and its place in the file.
fn certified_key(ClientIdentity { cert, key }: &ClientIdentity) -> Result<(CertifiedKey, usize)> {
    const PAIR: &str =
        "set [devo] cert and key to the two files of one download; their public keys must be equal";
    let all = certificates(cert, Wanted::Certificate)?;
    let private = private_key(key)?;
    let public = private.public_key().map(|key| key.as_ref().to_vec());
    let order = order(&all, &public.unwrap_or_default());
    let Some(order) = order else {
        let said = format!("the key {} does not match the certificate", key.display());
        let failed = fail(Exit::Config, said).hint(PAIR);
        return failed.with_context(|| format!("using the certificate {}", cert.display()));
    };
    let chain = order.iter().map(|at| all[*at].clone()).collect();
    Ok((CertifiedKey::new(chain, private), order[0]))
}

/// A key that can be used.
fn private_key(path: &Path) -> Result<Arc<dyn SigningKey>> {
    let key = key_in(path)?;
    ring::sign::any_supported_type(&key)
        .map_err(|_| Failure::new(unusable(form(&key), key.secret_der())))
        .with_context(|| reading_key(path))
        .exit(Exit::Config)
        .hint(KEY_KINDS)
}

/// The key in a file that only those may read who are trusted.
fn key_in(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let what = || reading_key(path);
    let wanted = Wanted::Key;
    let file = files::open_regular(path)
        .with_context(what)
        .exit(Exit::Config)
        .hint(wanted.hint())?;
    secret::refuse_if_others_can_use(&file, path)?;
    let mut bytes = Vec::new();
    (&file)
        .read_to_end(&mut bytes)
        .with_context(what)
        .exit(Exit::Config)
        .hint(wanted.hint())?;
    let mut contents = Contents::of(&bytes);
    match contents.keys.is_empty() {
        true => Err(wanted.missing(&contents, path)).with_context(what),
        false => Ok(contents.keys.swap_remove(0)),
    }
}

fn reading_key(path: &Path) -> String {
    format!("reading the key {}", path.display())
}

fn form(key: &PrivateKeyDer<'_>) -> KeyForm {
    match key {
        PrivateKeyDer::Pkcs1(_) => KeyForm::Pkcs1,
        PrivateKeyDer::Sec1(_) => KeyForm::Sec1,
        _ => KeyForm::Pkcs8,
    }
}
