//! `certificate` reads when certificates begin and cease to be valid.
//!
//! Only this file names the crate `der`. rustls checks these times in a handshake, but tells nobody
//! what they are.

use std::path::Path;

use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode, Reader, SliceReader, Tag};
use time::{Duration, OffsetDateTime};

use super::tls::certificates;
use crate::error::{Because, Exit, Failure, Result};

/// The time for which a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    /// Not before.
    pub(crate) from: OffsetDateTime,
    /// Not after.
    pub(crate) to: OffsetDateTime,
}

/// The validity of each certificate in a PEM file, in order; at least one.
///
/// # Errors
/// When the file cannot be read, or contains something else.
pub(crate) fn validities(path: &Path) -> Result<Vec<Validity>> {
    let all = certificates(path).hint(
        "name an existing PEM file (-----BEGIN CERTIFICATE-----) that the user running proofpull \
         can read",
    )?;
    let read = all.iter().map(|one| validity(one).ok().flatten());
    let read: Option<Vec<Validity>> = read.collect();
    read.ok_or_else(|| {
        Failure::new(format!(
            "{} contains something that is not a certificate",
            path.display()
        ))
    })
    .exit(Exit::Config)
    .hint("download it again")
}

/// RFC 5280, 4.1: the signed part of a certificate holds the two times after an optional version,
/// the serial number, the algorithm and the issuer.
fn validity(certificate: &[u8]) -> der::Result<Option<Validity>> {
    let mut whole = SliceReader::new(certificate)?;
    let mut signed = inside(&mut inside(&mut whole)?)?;
    if Tag::peek(&signed)?.is_context_specific() {
        signed.tlv_bytes()?;
    }
    for _ in 0..3 {
        signed.tlv_bytes()?;
    }
    let mut times = inside(&mut signed)?;
    let (from, to) = (time(&mut times)?, time(&mut times)?);
    Ok(from.zip(to).map(|(from, to)| Validity { from, to }))
}

fn inside<'a>(reader: &mut SliceReader<'a>) -> der::Result<SliceReader<'a>> {
    SliceReader::new(AnyRef::decode(reader)?.value())
}

fn time(reader: &mut SliceReader<'_>) -> der::Result<Option<OffsetDateTime>> {
    let since_1970 = match Tag::peek(reader)? {
        Tag::UtcTime => UtcTime::decode(reader)?.to_unix_duration(),
        _ => GeneralizedTime::decode(reader)?.to_unix_duration(),
    };
    let since_1970 = Duration::try_from(since_1970).ok();
    Ok(since_1970.and_then(|since| OffsetDateTime::UNIX_EPOCH.checked_add(since)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn file(name: &str, text: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn both_spellings_of_times_are_read() {
        // from 2050 on, years are encoded differently
        for (from, to) in [(2020, 2049), (2049, 2051), (1975, 2120)] {
            let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(from, 1, 31);
            params.not_after = rcgen::date_time_ymd(to, 12, 1);
            let pair = rcgen::KeyPair::generate().unwrap();
            let pem = params.self_signed(&pair).unwrap().pem();
            let (_dir, path) = file("cert.pem", format!("{pem}{pem}").as_bytes());
            let year = |time: OffsetDateTime, year| time.replace_year(year).unwrap();
            let wanted = Validity {
                from: year(datetime!(2020-01-31 0:00 UTC), from),
                to: year(datetime!(2020-12-01 0:00 UTC), to),
            };
            assert_eq!(validities(&path).unwrap(), [wanted, wanted]);
        }
    }

    #[test]
    fn what_is_no_certificate_is_refused_without_a_word_of_it() {
        for text in [
            "",
            "hunter2",
            "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nMAMwAQA=\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n",
        ] {
            let (_dir, path) = file("cert.pem", text.as_bytes());
            let error = validities(&path).unwrap_err();
            assert_eq!(error.exit(), Exit::Config, "{text}");
            assert!(
                !error.to_string().contains("hunter2"),
                "{}",
                error.to_string()
            );
        }
    }
}
