//! `Verifier` verifies the server as rustls does, and tells a self-signed certificate from others.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use crate::net::certificate::is_self_issued;

/// The verifier of rustls. Nothing that it refuses is accepted.
#[derive(Debug)]
pub(super) struct Verifier(pub(super) Arc<WebPkiServerVerifier>);

/// A certificate that is refused and was issued by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SelfSigned {
    /// It is not among the roots.
    Unknown,
    /// It says that it is an authority's, so it is no server's even among the roots.
    Authority,
}

impl fmt::Display for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SelfSigned::Unknown => "the server's certificate is self-signed, and not trusted here",
            SelfSigned::Authority => {
                "the server's certificate is self-signed and says that it is a CA's, so it cannot be a server's"
            }
        })
    }
}

impl std::error::Error for SelfSigned {}

impl SelfSigned {
    /// What kind of self-signed certificate an error is about, if it is about one.
    pub(super) fn of(error: &Error) -> Option<SelfSigned> {
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) => {
                cause.downcast_ref().copied()
            }
            _ => None,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .0
            .verify_server_cert(certificate, intermediates, name, stapled, now);
        verified.map_err(|error| {
            let kind = match &error {
                Error::InvalidCertificate(CertificateError::UnknownIssuer) => SelfSigned::Unknown,
                // rustls has no variant of its own for it
                Error::InvalidCertificate(CertificateError::Other(cause))
                    if format!("{cause:?}").contains("CaUsedAsEndEntity") =>
                {
                    SelfSigned::Authority
                }
                _ => return error,
            };
            match is_self_issued(certificate) {
                true => CertificateError::Other(OtherError(Arc::new(kind))).into(),
                false => error,
            }
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
