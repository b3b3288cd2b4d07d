//! `FileKind` names a file that is not the PEM file that was wanted, and the command that converts it.

use std::fmt;
use std::path::Path;

#[cfg(feature = "native-tls")]
use der::Encode;
use der::asn1::AnyRef;
use der::{Decode, Reader, SliceReader, Tag, Tagged};

use super::inside;

/// What a file is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Our certificate, perhaps with those of its issuers.
    Certificate,
    /// Certificates of authorities.
    Authorities,
    /// Our private key.
    Key,
}

/// What a file contains instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum FileKind {
    Certificate,
    DerCertificate,
    Key,
    DerKey,
    EncryptedKey,
    OpenSshKey,
    PublicKey,
    Request,
    Pkcs7,
    DerPkcs7,
    Pkcs12,
    Utf16,
}

impl FileKind {
    /// Of a file that is no PEM text.
    pub(in crate::net) fn of_bytes(bytes: &[u8]) -> Option<FileKind> {
        match bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(FileKind::Utf16),
            _ => of_der(bytes).ok().flatten(),
        }
    }

    /// Of a section of a PEM file.
    pub(in crate::net) fn of_label(label: &str) -> Option<FileKind> {
        Some(match label {
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => FileKind::Certificate,
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" | "DSA PRIVATE KEY" => {
                FileKind::Key
            }
            "ENCRYPTED PRIVATE KEY" => FileKind::EncryptedKey,
            "OPENSSH PRIVATE KEY" => FileKind::OpenSshKey,
            "PUBLIC KEY" | "RSA PUBLIC KEY" => FileKind::PublicKey,
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => FileKind::Request,
            "PKCS7" | "CMS" => FileKind::Pkcs7,
            _ => return None,
        })
    }

    /// What helps, where it is better than what helps with any wrong file.
    pub(in crate::net) fn remedy(self, wanted: Wanted, path: &Path) -> Option<String> {
        use FileKind as K;
        let path = shell_word(path);
        let convert = |command: String| {
            Some(format!(
                "convert it and name the new file, {path}.pem: {command} -out {path}.pem"
            ))
        };
        match (self, wanted) {
            (K::DerCertificate, Wanted::Certificate | Wanted::Authorities) => {
                convert(format!("openssl x509 -inform DER -in {path}"))
            }
            (K::DerKey, Wanted::Key) => convert(format!("openssl pkey -inform DER -in {path}")),
            (K::EncryptedKey, Wanted::Key) => convert(format!("openssl pkey -in {path}")),
            (K::OpenSshKey, Wanted::Key) => {
                Some(format!("convert a copy of it: ssh-keygen -p -N '' -m PKCS8 -f {path}"))
            }
            (K::Pkcs12, Wanted::Certificate | Wanted::Authorities) => {
                convert(format!("openssl pkcs12 -nokeys -in {path}"))
            }
            (K::Pkcs12, Wanted::Key) => {
                convert(format!("openssl pkcs12 -nocerts -nodes -in {path}"))
            }
            (K::Pkcs7, Wanted::Certificate | Wanted::Authorities) => {
                convert(format!("openssl pkcs7 -print_certs -in {path}"))
            }
            (K::DerPkcs7, Wanted::Certificate | Wanted::Authorities) => {
                convert(format!("openssl pkcs7 -print_certs -inform DER -in {path}"))
            }
            (K::Utf16, _) => Some(format!(
                "convert it and name the new file: iconv -f UTF-16 -t UTF-8 {path} > {path}.pem"
            )),
            (K::Key | K::DerKey | K::EncryptedKey, Wanted::Certificate)
            | (K::Certificate | K::DerCertificate, Wanted::Key) => Some(
                "set [devo] cert to the certificate and key to its private key: they seem to be swapped"
                    .to_owned(),
            ),
            (K::Request, Wanted::Certificate) => {
                Some("set [devo] cert to the certificate that was issued for this request".to_owned())
            }
            _ => None,
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileKind::Certificate => "it contains a certificate and no private key",
            FileKind::DerCertificate => "it is a certificate in DER, not in PEM",
            FileKind::Key => "it contains a private key and no certificate",
            FileKind::DerKey => "it is a private key in DER, not in PEM",
            FileKind::EncryptedKey => "it is a private key that is encrypted with a passphrase",
            FileKind::OpenSshKey => "it is a private key in the form of OpenSSH",
            FileKind::PublicKey => "it contains a public key alone",
            FileKind::Request => "it is a certificate request, not a certificate",
            FileKind::Pkcs7 | FileKind::DerPkcs7 => "it is a PKCS#7 file",
            FileKind::Pkcs12 => "it is a PKCS#12 file, which holds both certificate and key",
            FileKind::Utf16 => "it is UTF-16 text",
        })
    }
}

/// A path as a word for a shell.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@".contains(c);
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// Goes by the first parts of the outermost sequence: RFC 5280 (certificate), 5958 (PKCS#8), 8017
/// (PKCS#1), 5915 (SEC1), 7292 (PKCS#12), 5652 (PKCS#7).
fn of_der(bytes: &[u8]) -> der::Result<Option<FileKind>> {
    let mut file = SliceReader::new(bytes)?;
    let whole = AnyRef::decode(&mut file)?;
    if whole.tag() != Tag::Sequence {
        return Ok(None);
    }
    let mut parts = SliceReader::new(whole.value())?;
    let mut tags = Vec::new();
    let mut first: &[u8] = &[];
    while !parts.is_finished() && tags.len() < 3 {
        let part = AnyRef::decode(&mut parts)?;
        if tags.is_empty() {
            first = part.value();
        }
        tags.push(part.tag());
    }
    Ok(match (tags.as_slice(), first) {
        ([Tag::Sequence, Tag::Sequence, Tag::BitString], _) => Some(FileKind::DerCertificate),
        ([Tag::Integer, Tag::Sequence, Tag::OctetString], [0 | 1])
        | ([Tag::Integer, Tag::Integer, ..], [0])
        | ([Tag::Integer, Tag::OctetString, ..], [1]) => Some(FileKind::DerKey),
        ([Tag::Integer, Tag::Sequence, ..], [3]) => Some(FileKind::Pkcs12),
        ([Tag::Sequence, Tag::OctetString], _) => Some(FileKind::EncryptedKey),
        ([Tag::ObjectIdentifier, ..], _) => Some(FileKind::DerPkcs7),
        _ => None,
    })
}

/// How a private key is spelt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum KeyForm {
    Pkcs1,
    Pkcs8,
    Sec1,
}

/// Why a private key cannot be used.
pub(in crate::net) fn unusable(form: KeyForm, key: &[u8]) -> String {
    match algorithm(form, key) {
        Ok(Some(kind)) => format!("it is {kind}, which proofpull cannot use"),
        _ => "its private key is damaged".to_owned(),
    }
}

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// Other algorithms, by the content of their object identifiers.
const ALGORITHMS: [(&[u8], &str); 5] = [
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a],
        "an RSA-PSS key",
    ),
    (&[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01], "a DSA key"),
    (&[0x2b, 0x65, 0x6e], "an X25519 key"),
    (&[0x2b, 0x65, 0x6f], "an X448 key"),
    (&[0x2b, 0x65, 0x71], "an Ed448 key"),
];
/// Curves that cannot be used.
const CURVES: [(&[u8], &str); 5] = [
    (&[0x2b, 0x81, 0x04, 0x00, 0x0a], "secp256k1"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x23], "P-521"),
    (
        &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07],
        "brainpoolP256r1",
    ),
    (
        &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0b],
        "brainpoolP384r1",
    ),
    (
        &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0d],
        "brainpoolP512r1",
    ),
];

/// A key that can be used, in the form of PKCS#8 (RFC 5958).
#[cfg(feature = "native-tls")]
pub(in crate::net) fn pkcs8(form: KeyForm, key: &[u8]) -> der::Result<Vec<u8>> {
    const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
    let part = |tag, content: &[u8]| AnyRef::new(tag, content)?.to_der();
    let id = |content| part(Tag::ObjectIdentifier, content);
    let algorithm = match form {
        KeyForm::Pkcs8 => return Ok(key.to_vec()),
        KeyForm::Pkcs1 => [id(RSA)?, part(Tag::Null, &[])?],
        KeyForm::Sec1 => {
            let mut parts = inside(&mut SliceReader::new(key)?)?;
            AnyRef::decode(&mut parts)?;
            // the name of the curve may be left out, and there are two that can be used
            let curve = match AnyRef::decode(&mut parts)?.value().len() {
                32 => P256,
                _ => P384,
            };
            [id(EC)?, id(curve)?]
        }
    };
    let version = part(Tag::Integer, &[0])?;
    let algorithm = part(Tag::Sequence, &algorithm.concat())?;
    let key = part(Tag::OctetString, key)?;
    part(Tag::Sequence, &[version, algorithm, key].concat())
}

/// The algorithm of a key; `None` if it is one that can be used.
fn algorithm(form: KeyForm, key: &[u8]) -> der::Result<Option<String>> {
    let mut whole = SliceReader::new(key)?;
    let mut parts = inside(&mut whole)?;
    AnyRef::decode(&mut parts)?;
    match form {
        KeyForm::Pkcs1 => rsa(&mut parts),
        KeyForm::Sec1 => {
            AnyRef::decode(&mut parts)?;
            match parts.is_finished() {
                true => Ok(Some("an EC key without the name of its curve".to_owned())),
                false => curve(&mut inside(&mut parts)?),
            }
        }
        KeyForm::Pkcs8 => {
            let mut named = inside(&mut parts)?;
            let name = AnyRef::decode(&mut named)?.value();
            if name == RSA {
                let mut inner = inside(&mut parts)?;
                let mut inner = inside(&mut inner)?;
                AnyRef::decode(&mut inner)?;
                return rsa(&mut inner);
            }
            if name == EC {
                return curve(&mut named);
            }
            let other = ALGORITHMS.iter().find(|(id, _)| *id == name);
            Ok(other.map(|(_, name)| (*name).to_owned()))
        }
    }
}

fn rsa(parts: &mut SliceReader<'_>) -> der::Result<Option<String>> {
    let modulus = AnyRef::decode(parts)?.value();
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let modulus = &modulus[zeros..];
    let unused = modulus.first().map_or(0, |byte| byte.leading_zeros());
    let bits = modulus.len() * 8 - unused as usize;
    let is_usual = [2048, 3072, 4096].contains(&bits);
    Ok((!is_usual).then(|| format!("an RSA key of {bits} bits")))
}

fn curve(parts: &mut SliceReader<'_>) -> der::Result<Option<String>> {
    let curve = AnyRef::decode(parts)?;
    if curve.tag() == Tag::Sequence {
        return Ok(Some("an EC key with explicit curve parameters".to_owned()));
    }
    let other = CURVES.iter().find(|(id, _)| *id == curve.value());
    Ok(other.map(|(_, name)| format!("an EC key on the curve {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part in DER.
    fn part(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let head = match length {
            0..=127 => vec![tag, length as u8],
            128..=255 => vec![tag, 0x81, length as u8],
            _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
        };
        [head, content.to_vec()].concat()
    }

    fn sequence(parts: &[&[u8]]) -> Vec<u8> {
        part(0x30, &parts.concat())
    }

    const ZERO: &[u8] = &[0x02, 1, 0];
    const ONE: &[u8] = &[0x02, 1, 1];
    const THREE: &[u8] = &[0x02, 1, 3];

    #[test]
    fn a_file_in_der_is_named_by_its_shape() {
        let any = sequence(&[ONE]);
        let octets = part(0x04, b"secret");
        let table = [
            (
                sequence(&[&any, &any, &part(0x03, b"\0x")]),
                Some(FileKind::DerCertificate),
            ),
            (sequence(&[ZERO, &any, &octets]), Some(FileKind::DerKey)),
            (sequence(&[ZERO, ONE, ONE, ONE]), Some(FileKind::DerKey)),
            (sequence(&[ONE, &octets, &any]), Some(FileKind::DerKey)),
            (sequence(&[&any, &octets]), Some(FileKind::EncryptedKey)),
            (sequence(&[THREE, &any, &any]), Some(FileKind::Pkcs12)),
            (sequence(&[THREE, &any]), Some(FileKind::Pkcs12)),
            (
                sequence(&[&part(0x06, RSA), &part(0xa0, &any)]),
                Some(FileKind::DerPkcs7),
            ),
            (sequence(&[&any]), None),
            (sequence(&[]), None),
            (part(0x04, b"x"), None),
            (b"\x30\x82\xff\xff".to_vec(), None),
            (b"-----BEGIN".to_vec(), None),
            (Vec::new(), None),
            (b"\xff\xfe-\0".to_vec(), Some(FileKind::Utf16)),
        ];
        for (bytes, wanted) in table {
            assert_eq!(FileKind::of_bytes(&bytes), wanted, "{bytes:x?}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_used_is_named_by_its_algorithm() {
        let id = |content: &[u8]| part(0x06, content);
        let octets = part(0x04, b"secret");
        let rsa = |bits: usize| {
            let modulus = [&[0, 0x80][..], &vec![1; bits / 8 - 1]].concat();
            sequence(&[ZERO, &part(0x02, &modulus), ONE, ONE])
        };
        let pkcs8 = |name: &[u8], curve: &[u8], inner: &[u8]| {
            sequence(&[ZERO, &sequence(&[&id(name), curve]), &part(0x04, inner)])
        };
        let ec = |curve: &[u8]| pkcs8(EC, curve, b"secret");
        let sec1 = |curve: &[u8]| sequence(&[ONE, &octets, &part(0xa0, curve)]);
        let explicit = sequence(&[ONE]);
        let [k1, p521, p256] = [
            CURVES[0].0,
            CURVES[1].0,
            &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7],
        ];
        let damaged = "its private key is damaged";
        let table = [
            (KeyForm::Pkcs1, rsa(1024), "an RSA key of 1024 bits"),
            (KeyForm::Pkcs1, rsa(2048), damaged),
            (
                KeyForm::Pkcs8,
                pkcs8(RSA, &[5, 0], &rsa(8192)),
                "an RSA key of 8192 bits",
            ),
            (
                KeyForm::Pkcs8,
                pkcs8(ALGORITHMS[0].0, &[], &rsa(2048)),
                "an RSA-PSS key",
            ),
            (
                KeyForm::Pkcs8,
                pkcs8(&[0x2b, 0x65, 0x71], &[], b"secret"),
                "an Ed448 key",
            ),
            (
                KeyForm::Pkcs8,
                pkcs8(&[0x2b, 0x65, 0x70], &[], b"secret"),
                damaged,
            ),
            (
                KeyForm::Pkcs8,
                ec(&id(k1)),
                "an EC key on the curve secp256k1",
            ),
            (
                KeyForm::Pkcs8,
                ec(&id(p521)),
                "an EC key on the curve P-521",
            ),
            (KeyForm::Pkcs8, ec(&id(p256)), damaged),
            (
                KeyForm::Pkcs8,
                ec(&explicit),
                "an EC key with explicit curve parameters",
            ),
            (
                KeyForm::Sec1,
                sec1(&id(k1)),
                "an EC key on the curve secp256k1",
            ),
            (KeyForm::Sec1, sec1(&id(p256)), damaged),
            (
                KeyForm::Sec1,
                sec1(&explicit),
                "an EC key with explicit curve parameters",
            ),
            (
                KeyForm::Sec1,
                sequence(&[ONE, &octets]),
                "an EC key without the name of its curve",
            ),
            (KeyForm::Pkcs8, b"secret".to_vec(), damaged),
            (KeyForm::Pkcs1, Vec::new(), damaged),
        ];
        for (form, key, wanted) in table {
            let said = unusable(form, &key);
            assert!(said.contains(wanted), "{wanted}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[cfg(feature = "native-tls")]
    #[test]
    fn a_key_of_any_form_becomes_pkcs8() {
        let octets = |bytes: &[u8]| part(0x04, bytes);
        let id = |content: &[u8]| part(0x06, content);
        let sec1 = |length: usize| sequence(&[ONE, &octets(&vec![7; length])]);
        let ec = |curve: &[u8], length: usize| {
            sequence(&[
                ZERO,
                &sequence(&[&id(EC), &id(curve)]),
                &octets(&sec1(length)),
            ])
        };
        let p256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
        let rsa = sequence(&[ZERO, &part(0x02, &[1; 300]), ONE]);
        let of_rsa = sequence(&[ZERO, &sequence(&[&id(RSA), &[5, 0]]), &octets(&rsa)]);
        let table = [
            (KeyForm::Pkcs8, ec(p256, 32), ec(p256, 32)),
            (KeyForm::Sec1, sec1(32), ec(p256, 32)),
            (KeyForm::Sec1, sec1(48), ec(&[0x2b, 0x81, 4, 0, 0x22], 48)),
            (KeyForm::Pkcs1, rsa, of_rsa),
        ];
        for (form, key, wanted) in table {
            assert_eq!(pkcs8(form, &key).unwrap(), wanted, "{form:?}");
        }
    }

    #[test]
    fn a_path_stays_one_word_of_a_shell() {
        for (path, word) in [
            ("/etc/a-b_1.pem", "/etc/a-b_1.pem"),
            ("/my key", "'/my key'"),
            ("it's", "'it'\\''s'"),
            ("$(x)", "'$(x)'"),
        ] {
            assert_eq!(shell_word(Path::new(path)), word);
        }
    }
}
