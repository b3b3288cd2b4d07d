//! Certificates and keys for both ends, right ones and wrong ones, as PEM files.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, crypto::ring};

/// One authority, and what it signed, in one folder.
pub struct Certs {
    dir: PathBuf,
    authority: Issuer<'static, KeyPair>,
}

/// The curve of a key.
#[derive(Debug, Clone, Copy)]
pub enum Curve {
    P256,
    P384,
    Ed25519,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The PEM file of the certificate.
    pub cert: PathBuf,
    /// The PEM file of the key, PKCS#8.
    pub key: PathBuf,
}

/// An authority that nobody was told to trust.
#[derive(Debug, Clone)]
pub struct OtherCa {
    /// Its PEM file.
    pub ca: PathBuf,
    /// A server certificate for the loopback, signed by it.
    pub server: Pair,
}

impl Certs {
    /// Writes ca.pem, server.pem, server.key, client.pem, client.key, client-sec1.key,
    /// client-rsa.pem, client-rsa.key and client-rsa-pkcs1.key into `dir`.
    pub fn make(dir: &Path) -> Self {
        let certs = Self {
            dir: dir.to_owned(),
            authority: authority(dir, "ca"),
        };
        certs.sign("server", &server(&LOOPBACK), &certs.authority);
        let client = client();
        let key = certs.sign("client", &client, &certs.authority);
        let sec1 = pem("EC PRIVATE KEY", &sec1(key.serialized_der()));
        write(dir, "client-sec1.key", &sec1);

        let rsa = KeyPair::from_pem(RSA_PKCS8).expect("the key kept beside");
        let signed = client.signed_by(&rsa, &certs.authority).expect("signing");
        write(dir, "client-rsa.pem", &signed.pem());
        write(dir, "client-rsa.key", RSA_PKCS8);
        write(dir, "client-rsa-pkcs1.key", RSA_PKCS1);
        certs
    }

    /// The authority that signed everything here, unless said otherwise.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// For localhost, 127.0.0.1 and `::1`.
    pub fn server_cert(&self) -> PathBuf {
        self.dir.join("server.pem")
    }

    /// The server's key.
    pub fn server_key(&self) -> PathBuf {
        self.dir.join("server.key")
    }

    /// The client's certificate, ECDSA P-256.
    pub fn client_cert(&self) -> PathBuf {
        self.dir.join("client.pem")
    }

    /// The client's key, PKCS#8 (`PRIVATE KEY`).
    pub fn client_key(&self) -> PathBuf {
        self.dir.join("client.key")
    }

    /// The same key, SEC1 (`EC PRIVATE KEY`).
    pub fn client_sec1_key(&self) -> PathBuf {
        self.dir.join("client-sec1.key")
    }

    /// Another certificate of the client, RSA.
    pub fn client_rsa_cert(&self) -> PathBuf {
        self.dir.join("client-rsa.pem")
    }

    /// Its key, PKCS#8 (`PRIVATE KEY`).
    pub fn client_rsa_key(&self) -> PathBuf {
        self.dir.join("client-rsa.key")
    }

    /// The same key, PKCS#1 (`RSA PRIVATE KEY`).
    pub fn client_rsa_pkcs1_key(&self) -> PathBuf {
        self.dir.join("client-rsa-pkcs1.key")
    }

    /// A server certificate that ended years ago.
    pub fn expired_server(&self) -> Pair {
        self.pair(
            "expired-server",
            &expired(server(&LOOPBACK)),
            &self.authority,
        )
    }

    /// A server certificate for `name` alone: a host name or an address.
    pub fn server_for(&self, name: &str) -> Pair {
        let file: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        self.pair(&format!("server-{file}"), &server(&[name]), &self.authority)
    }

    /// A server certificate for each of `hosts` and for the loopback.
    pub fn server_for_hosts(&self, hosts: &[&str]) -> Pair {
        let names = [&LOOPBACK[..], hosts].concat();
        self.pair("server-hosts", &server(&names), &self.authority)
    }

    /// A second authority, and a server certificate signed by it.
    pub fn other_ca(&self) -> OtherCa {
        let other = authority(&self.dir, "other-ca");
        let server = self.pair("other-server", &server(&LOOPBACK), &other);
        OtherCa {
            ca: self.dir.join("other-ca.pem"),
            server,
        }
    }

    /// A client certificate signed by an authority the receiver does not know.
    pub fn stranger_client(&self) -> Pair {
        let other = authority(&self.dir, "stranger-ca");
        self.pair("stranger", &client(), &other)
    }

    /// A client certificate that ended years ago.
    pub fn expired_client(&self) -> Pair {
        self.pair("expired-client", &expired(client()), &self.authority)
    }

    /// A client certificate that ends in so many days.
    pub fn client_for_days(&self, days: i64) -> Pair {
        let mut params = client();
        params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(days);
        self.pair("soon-client", &params, &self.authority)
    }

    /// A client certificate signed by an intermediate of the authority, and the file of that.
    pub fn client_below_an_intermediate(&self) -> (Pair, PathBuf) {
        let mut params = authority_params("intermediate");
        params.use_authority_key_identifier_extension = true;
        let key = self.sign("intermediate", &params, &self.authority);
        let issuer = Issuer::new(params, key);
        let pair = self.pair("client-below", &client(), &issuer);
        (pair, self.dir.join("intermediate.pem"))
    }

    /// A client certificate for a key on this curve.
    pub fn client_on(&self, curve: Curve) -> Pair {
        let algorithm = match curve {
            Curve::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Curve::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Curve::Ed25519 => &rcgen::PKCS_ED25519,
        };
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let signed = client().signed_by(&key, &self.authority).expect("signing");
        Pair {
            cert: write(&self.dir, "client-curve.pem", &signed.pem()),
            key: write(&self.dir, "client-curve.key", &key.serialize_pem()),
        }
    }

    /// A server certificate signed by its own key; one that says it is an authority's, as OpenSSL makes
    /// them, or not.
    pub fn self_signed_server(&self, is_authority: bool) -> Pair {
        let mut params = server(&LOOPBACK);
        params.use_authority_key_identifier_extension = false;
        if is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().expect("a key");
        let signed = params.self_signed(&key).expect("signing");
        write(&self.dir, "self-signed.pem", &signed.pem());
        write(&self.dir, "self-signed.key", &key.serialize_pem());
        self.self_signed()
    }

    /// The files of that.
    pub fn self_signed(&self) -> Pair {
        Pair {
            cert: self.dir.join("self-signed.pem"),
            key: self.dir.join("self-signed.key"),
        }
    }

    /// A key that fits no certificate.
    pub fn lone_key(&self) -> PathBuf {
        write(
            &self.dir,
            "lone.key",
            &KeyPair::generate().expect("a key").serialize_pem(),
        )
    }

    fn pair(&self, name: &str, params: &CertificateParams, by: &Issuer<'_, KeyPair>) -> Pair {
        self.sign(name, params, by);
        Pair {
            cert: self.dir.join(format!("{name}.pem")),
            key: self.dir.join(format!("{name}.key")),
        }
    }

    fn sign(&self, name: &str, params: &CertificateParams, by: &Issuer<'_, KeyPair>) -> KeyPair {
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, by).expect("signing");
        write(&self.dir, &format!("{name}.pem"), &signed.pem());
        write(&self.dir, &format!("{name}.key"), &key.serialize_pem());
        key
    }
}

/// What a TLS server needs. With `clients`, the PEM file of an authority, every client must show a
/// certificate signed by it.
pub fn server_config(
    pair: &Pair,
    clients: Option<&Path>,
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let chain: Vec<_> = CertificateDer::pem_file_iter(&pair.cert)
        .and_then(Iterator::collect)
        .expect("reading the server's certificate");
    let key = PrivateKeyDer::from_pem_file(&pair.key).expect("reading the server's key");
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("ring knows these versions");
    let builder = match clients {
        Some(file) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_file(file).expect("reading the authority"))
                .unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().expect("one root is enough"))
        }
        None => builder.with_no_client_auth(),
    };
    builder
        .with_single_cert(chain, key)
        .expect("the key fits the certificate")
}

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// ring makes no RSA keys, so this one is kept: throw-away, of no use elsewhere.
const RSA_PKCS8: &str = include_str!("keys/rsa.pkcs8.pem");
const RSA_PKCS1: &str = include_str!("keys/rsa.pkcs1.pem");

fn authority(dir: &Path, name: &str) -> Issuer<'static, KeyPair> {
    let params = authority_params(name);
    let key = KeyPair::generate().expect("a key");
    write(
        dir,
        &format!("{name}.pem"),
        &params.self_signed(&key).expect("signing").pem(),
    );
    Issuer::new(params, key)
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = named(&format!("proofpull test {name}"), &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn server(names: &[&str]) -> CertificateParams {
    let mut params = named(names[0], names);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn client() -> CertificateParams {
    let mut params = named("proofpull test domain", &[]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn named(common: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("names of hosts");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    params
}

fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_after = date_time_ymd(2021, 1, 1);
    params
}

/// Secret or not, every file is for its owner alone.
fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::remove_file(&path).ok();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
    path
}

/// A section of a PEM file.
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// The `ECPrivateKey` inside the PKCS#8 of a P-256 key, with the curve's name added: OpenSSL always
/// writes it, and does not read a file without it.
fn sec1(pkcs8: &[u8]) -> Vec<u8> {
    const START: &[u8] = &[0x30, 0x6b, 0x02, 0x01, 0x01, 0x04, 0x20];
    const CURVE: &[u8] = &[
        0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
    ];
    let inner = &pkcs8[pkcs8.len() - 0x6d..];
    assert!(inner.starts_with(START), "another shape of PKCS#8");
    let (secret, public) = inner[2..].split_at(START.len() - 2 + 32);
    [&[0x30, 0x77], secret, CURVE, public].concat()
}
