//! `refusal` says what helps when the handshake fails, whichever library says it.

use rustls::AlertDescription;

use crate::error::Exit;

/// What helps with the certificate of a peer.
#[derive(Debug)]
pub(super) struct PeerHints {
    /// It is for another name.
    pub(super) other_name: &'static str,
    /// It is self-signed.
    pub(super) self_signed: &'static str,
}

pub(super) const RECEIVER: PeerHints = PeerHints {
    other_name: "check [devo] address, or set [devo] server_name: the server's certificate is for another name",
    self_signed: "if it is the right server, get its certificate from its operator and set [devo] chain to that",
};
pub(super) const API: PeerHints = PeerHints {
    other_name: "check base_url and url of the service: the server's certificate is for another name",
    self_signed: "check base_url and url of the service; if it is the right server, get its certificate from \
                  its operator and set [http] ca to that",
};

pub(super) const EXPIRED: &str = "ask the operator of the server to renew its certificate, which has expired; also \
     check this machine's clock";
pub(super) const NOT_YET: &str =
    "check this machine's clock: the server's certificate is not valid yet";
pub(super) const UNKNOWN_ISSUER: &str = "check [devo] chain or [http] ca: the server's certificate is signed by a CA that is \
     not trusted here (a proxy that opens TLS has a CA of its own)";
pub(super) const INVALID: &str = "ask the operator of the server for a valid certificate";
pub(super) const NO_TLS: &str = "check address and port: the server does not speak TLS there";
pub(super) const INCOMPATIBLE: &str =
    "enable TLS 1.2 or 1.3 with common cipher suites on the server";

/// The status and the hint for a fatal alert; `None` if another attempt may help.
pub(super) fn of_alert(alert: AlertDescription) -> Option<(Exit, &'static str)> {
    use AlertDescription as A;
    Some(match alert {
        A::CertificateExpired => (
            Exit::NoPerm,
            "download a new certificate and set [devo] cert and key: this one has expired",
        ),
        A::CertificateRevoked => (
            Exit::NoPerm,
            "download a new certificate and set [devo] cert and key: this one was revoked",
        ),
        A::UnknownCA => (
            Exit::NoPerm,
            "check that [devo] cert is of this domain and region: the server does not know who \
             signed it",
        ),
        A::CertificateRequired => (
            Exit::NoPerm,
            "set [devo] cert and key: the server requires a client certificate",
        ),
        A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateUnknown
        | A::AccessDenied
        | A::DecryptError
        | A::NoCertificate => (
            Exit::NoPerm,
            "check [devo] cert and key: the server rejected the client certificate",
        ),
        A::HandshakeFailure => (
            Exit::NoPerm,
            "set [devo] cert and key if the server requires a client certificate: it refused the \
             handshake",
        ),
        A::ProtocolVersion => (Exit::Unavailable, INCOMPATIBLE),
        _ => return None,
    })
}
