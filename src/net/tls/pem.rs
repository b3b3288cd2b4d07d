//! `pem` reads keys and certificates as people have them.
//!
//! Tolerated are a byte order mark, text around the sections, indented lines, any line ends, and the
//! labels of OpenSSL for certificates. No error shows a line of the file.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::net::certificate::{FileKind, first_part};

/// What a file contains.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) keys: Vec<PrivateKeyDer<'static>>,
    /// What else it contains, or what it is; the first of several.
    pub(super) other: Option<FileKind>,
    /// Whether a certificate is cut off, or not base64.
    pub(super) has_broken_certificate: bool,
}

/// One section, from its BEGIN to its END.
struct Section {
    label: String,
    text: String,
}

impl Contents {
    pub(super) fn of(bytes: &[u8]) -> Contents {
        let mut contents = Contents {
            other: FileKind::of_bytes(bytes),
            ..Contents::default()
        };
        if contents.other.is_some() {
            return contents;
        }
        // comments may be of any encoding
        let text = String::from_utf8_lossy(bytes);
        for section in sections(text.trim_start_matches('\u{feff}')) {
            contents.take(&section);
        }
        contents
    }

    fn take(&mut self, Section { label, text }: &Section) {
        let mut kind = FileKind::of_label(label);
        match kind {
            Some(FileKind::Certificate) => {
                let text = text.replace(label.as_str(), "CERTIFICATE");
                match CertificateDer::from_pem_slice(text.as_bytes()) {
                    // what OpenSSL trusts it for stands behind it
                    Ok(whole) => self.certificates.push(first_part(&whole).to_vec().into()),
                    Err(_) => self.has_broken_certificate = true,
                }
            }
            Some(FileKind::Key) if text.contains("Proc-Type: 4,ENCRYPTED") => {
                kind = Some(FileKind::EncryptedKey);
            }
            Some(FileKind::Key) => self
                .keys
                .extend(PrivateKeyDer::from_pem_slice(text.as_bytes())),
            _ => {}
        }
        self.other = self.other.or(kind);
    }
}

/// The sections of a text. One that is cut off has no END.
fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut is_open = false;
    for line in text.split(['\n', '\r']).map(str::trim) {
        let mark = |mark: &str| line.strip_prefix(mark)?.strip_suffix("-----");
        if let Some(label) = mark("-----BEGIN ") {
            let (label, text) = (label.to_owned(), String::new());
            sections.push(Section { label, text });
            is_open = true;
        }
        if let Some(section) = sections.last_mut().filter(|_| is_open) {
            section.text += line;
            section.text.push('\n');
            is_open = mark("-----END ") != Some(&section.label);
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n";
    /// A certificate is never looked into here: it is one part in DER.
    const CERT: &str = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";

    #[test]
    fn sections_are_read_however_they_are_wrapped() {
        let with = |from: &str, to: &str| CERT.replace(from, to);
        let table = [
            ("as it is", CERT.to_owned(), 1, 0),
            ("with both", format!("{KEY}{CERT}{KEY}"), 1, 2),
            ("CRLF", with("\n", "\r\n"), 1, 0),
            ("CR alone", with("\n", "\r"), 1, 0),
            ("a byte order mark", format!("\u{feff}{CERT}"), 1, 0),
            (
                "text around",
                format!("subject=CN = x\n\n{CERT}issuer: é\n{CERT}end"),
                2,
                0,
            ),
            ("indented", with("\n", "\n    "), 1, 0),
            ("blanks behind", with("\n", "  \n"), 1, 0),
            ("no last line end", CERT.trim_end().to_owned(), 1, 0),
            ("X509", with(" CERT", " X509 CERT"), 1, 0),
            // the same part, with another one behind it
            (
                "trusted",
                with(" CERT", " TRUSTED CERT").replace("MAMCAQE=", "MAMCAQEwAwIBAg=="),
                1,
                0,
            ),
            ("cut off", CERT[..40].to_owned(), 0, 0),
            ("not base64", with("MAMCAQE=", "hunter2!"), 0, 0),
            (
                "cut off before another",
                format!("{}\n{CERT}", &CERT[..40]),
                1,
                0,
            ),
            (
                "curve first",
                format!("-----BEGIN EC PARAMETERS-----\nBggq\n-----END EC PARAMETERS-----\n{KEY}"),
                0,
                1,
            ),
            ("", String::new(), 0, 0),
        ];
        let part = [0x30, 3, 2, 1, 1];
        for (name, text, certificates, keys) in table {
            let contents = Contents::of(text.as_bytes());
            assert_eq!(contents.keys.len(), keys, "{name}");
            assert_eq!(
                contents.certificates,
                vec![CertificateDer::from(&part[..]); certificates],
                "{name}"
            );
            let is_broken = ["cut off", "not base64", "cut off before another"].contains(&name);
            assert_eq!(contents.has_broken_certificate, is_broken, "{name}");
        }
    }

    #[test]
    fn what_else_a_file_contains_is_named() {
        let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\naHVudGVyMg==\n\
                      -----END RSA PRIVATE KEY-----\n";
        let table = [
            (legacy.to_owned(), FileKind::EncryptedKey),
            (
                KEY.replace("PRIVATE", "ENCRYPTED PRIVATE"),
                FileKind::EncryptedKey,
            ),
            (
                KEY.replace("PRIVATE", "OPENSSH PRIVATE"),
                FileKind::OpenSshKey,
            ),
            (KEY.replace("PRIVATE", "PUBLIC"), FileKind::PublicKey),
            (
                KEY.replace("PRIVATE KEY", "CERTIFICATE REQUEST"),
                FileKind::Request,
            ),
            (KEY.replace("PRIVATE KEY", "PKCS7"), FileKind::Pkcs7),
            (KEY.to_owned(), FileKind::Key),
            (CERT.to_owned(), FileKind::Certificate),
        ];
        for (text, wanted) in table {
            assert_eq!(Contents::of(text.as_bytes()).other, Some(wanted));
        }
    }
}
