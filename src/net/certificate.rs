//! `certificate` reads what rustls tells nobody: times, names and public keys of certificates, and what
//! a file is that contains something else.
//!
//! Only this module names the crate `der`.

mod kind;

use std::path::Path;

use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode, Reader, SliceReader, Tag};
use time::{Duration, OffsetDateTime};

use super::tls::certificates;
use crate::error::{Because, Exit, Failure, Result};
pub(crate) use kind::Wanted;
#[cfg(feature = "native-tls")]
pub(super) use kind::pkcs8;
pub(super) use kind::{FileKind, KeyForm, unusable};

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
pub(crate) fn validities(path: &Path, wanted: Wanted) -> Result<Vec<Validity>> {
    let all = certificates(path, wanted)?;
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

/// The order in which certificates are sent: that of this public key, its issuer, the issuer of that
/// one and so on, and then what is left. `None` if none is of this key.
pub(super) fn order(all: &[impl AsRef<[u8]>], key: &[u8]) -> Option<Vec<usize>> {
    let parts: Vec<Option<Parts>> = all.iter().map(|one| Parts::of(one.as_ref()).ok()).collect();
    let find = |fits: &dyn Fn(&Parts) -> bool, order: &[usize]| {
        (0..parts.len()).find(|at| !order.contains(at) && parts[*at].as_ref().is_some_and(fits))
    };
    let mut order = Vec::new();
    let mut next = Some(find(&|parts| parts.key == key, &order)?);
    while let Some(at) = next {
        order.push(at);
        let issuer = parts[at].as_ref().map(|parts| parts.issuer);
        next = find(&|parts| Some(parts.subject) == issuer, &order);
    }
    let left = (0..all.len()).filter(|at| !order.contains(at));
    let left: Vec<usize> = left.collect();
    Some([order, left].concat())
}

/// Whether a certificate names itself as its issuer.
pub(super) fn is_self_issued(certificate: &[u8]) -> bool {
    Parts::of(certificate).is_ok_and(|parts| parts.issuer == parts.subject)
}

/// Whether a certificate says that it is an authority's (RFC 5280, 4.2.1.9).
pub(super) fn is_authority(certificate: &[u8]) -> bool {
    const BASIC_CONSTRAINTS: &[u8] = &[0x06, 3, 0x55, 0x1d, 0x13];
    const TRUE: &[u8] = &[1, 1, 0xff];
    let mut places = certificate.windows(BASIC_CONSTRAINTS.len());
    let Some(at) = places.position(|place| place == BASIC_CONSTRAINTS) else {
        return false;
    };
    let rest = &certificate[at + BASIC_CONSTRAINTS.len()..];
    // perhaps that it is critical; then the heads of a string and of a sequence, whose first member is left out if false
    let rest = rest.strip_prefix(TRUE).unwrap_or(rest);
    rest.get(4..).is_some_and(|first| first.starts_with(TRUE))
}

/// The first part of what is encoded in DER; all of it, if that is something else.
pub(super) fn first_part(der: &[u8]) -> &[u8] {
    let part = SliceReader::new(der).and_then(|mut reader| reader.tlv_bytes());
    part.unwrap_or(der)
}

/// Parts of a certificate, as they are encoded.
struct Parts<'a> {
    issuer: &'a [u8],
    times: &'a [u8],
    subject: &'a [u8],
    key: &'a [u8],
}

impl<'a> Parts<'a> {
    /// RFC 5280, 4.1: these parts follow an optional version, the serial number and the algorithm.
    fn of(certificate: &'a [u8]) -> der::Result<Parts<'a>> {
        let mut whole = SliceReader::new(certificate)?;
        let mut signed = inside(&mut inside(&mut whole)?)?;
        if Tag::peek(&signed)?.is_context_specific() {
            signed.tlv_bytes()?;
        }
        for _ in 0..2 {
            signed.tlv_bytes()?;
        }
        Ok(Parts {
            issuer: signed.tlv_bytes()?,
            times: signed.tlv_bytes()?,
            subject: signed.tlv_bytes()?,
            key: signed.tlv_bytes()?,
        })
    }
}

fn validity(certificate: &[u8]) -> der::Result<Option<Validity>> {
    let mut times = inside(&mut SliceReader::new(Parts::of(certificate)?.times)?)?;
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
            let read = validities(&path, Wanted::Certificate).unwrap();
            assert_eq!(read, [wanted, wanted]);
        }
    }

    #[test]
    fn a_chain_is_sent_from_our_certificate_upwards_whatever_its_order_in_the_file() {
        let issuer = |name: &str, by: Option<&rcgen::Issuer<'static, rcgen::KeyPair>>| {
            let mut params = rcgen::CertificateParams::default();
            params
                .distinguished_name
                .push(rcgen::DnType::CommonName, name);
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let pair = rcgen::KeyPair::generate().unwrap();
            let signed = match by {
                Some(by) => params.signed_by(&pair, by),
                None => params.self_signed(&pair),
            };
            (
                signed.unwrap().der().to_vec(),
                rcgen::Issuer::new(params, pair),
            )
        };
        let (root, by_root) = issuer("root", None);
        let (middle, by_middle) = issuer("middle", Some(&by_root));
        let (ours, by_us) = issuer("ours", Some(&by_middle));
        let (other, _) = issuer("other", None);
        let key = Parts::of(&ours).unwrap().key.to_vec();
        let all = [&ours, &middle, &root, &other];
        // each order of four
        for code in 0..256 {
            let at = [code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6];
            if (0..4).any(|one| !at.contains(&one)) {
                continue;
            }
            let file = at.map(|at| all[at]);
            let sent = order(&file, &key).unwrap();
            let sent: Vec<&Vec<u8>> = sent.into_iter().map(|at| file[at]).collect();
            assert_eq!(sent, all, "{at:?}");
        }
        assert_eq!(order(&[&middle, &root], &key), None);
        assert_eq!(
            order(&[b"damaged".as_slice(), &ours], &key),
            Some(vec![1, 0])
        );
        assert!(is_self_issued(&root) && !is_self_issued(&ours));
        drop(by_us);
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
            let error = validities(&path, Wanted::Certificate).unwrap_err();
            assert_eq!(error.exit(), Exit::Config, "{text}");
            assert!(
                !error.to_string().contains("hunter2"),
                "{}",
                error.to_string()
            );
        }
    }
}
