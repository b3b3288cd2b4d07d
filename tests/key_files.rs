//! Keys and certificates as people have them: each file is read, or named for what it is with the command
//! that converts it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::certificates::{check_delivers, check_refused, env, set, set_client, showing, usual};
use crate::simulator::{Curve, Options, Pair, Versions, pem};
use crate::test_env::{TestEnv, each, write_private};

const NOT_USABLE: &str = "RSA of 2048, 3072 or 4096 bits, EC on P-256 or P-384, or Ed25519";
const SWAPPED: &str = "they seem to be swapped";

/// The file that a key of `[devo]` names.
fn file(env: &TestEnv, key: &str) -> PathBuf {
    match key {
        "chain" => env.certs.ca(),
        "cert" => env.certs.client_cert(),
        _ => env.certs.client_key(),
    }
}

/// A file of our own for a key of `[devo]`. The certificates of the test stand in another folder.
fn give(env: &mut TestEnv, key: &str, name: &str, bytes: &[u8]) -> PathBuf {
    let path = env.dir.path().join(name);
    write_private(&path, "");
    fs::write(&path, bytes).unwrap();
    set(env, key, &path);
    path
}

/// What an editor, a copy or a program makes of a PEM file.
type Change = fn(&str) -> String;

#[test]
fn a_file_is_read_however_its_text_was_kept() {
    const CHANGES: [(&str, Change); 6] = [
        ("a byte order mark", |text| format!("\u{feff}{text}")),
        ("CRLF", |text| text.replace('\n', "\r\n")),
        ("both", |text| {
            format!("\u{feff}{}", text.replace('\n', "\r\n"))
        }),
        ("text around", |text| {
            format!("Bag Attributes\n    friendlyName: é\nsubject=CN = x\n\n{text}\nend")
        }),
        ("indented", |text| text.replace('\n', "\n    ")),
        ("blanks behind", |text| text.replace('\n', " \n")),
    ];
    let keys = ["chain", "cert", "key"];
    let all = CHANGES.map(|(name, change)| keys.map(|key| (name, key, change)));
    let all = all.concat().into_iter();
    let all = all.map(|case| (format!("{} {}", case.0, case.1), case));
    each(all, |(_, key, change)| {
        let mut env = env(usual);
        let text = fs::read_to_string(file(&env, key)).unwrap();
        give(&mut env, key, "file.pem", change(&text).as_bytes());
        check_delivers(&env);
    });
}

#[test]
fn a_certificate_is_read_under_each_label() {
    // OpenSSL writes behind a trusted certificate what it is trusted for
    let labels = [
        ("X509 CERTIFICATE", &[][..]),
        ("TRUSTED CERTIFICATE", &[0x30, 0]),
    ];
    let all = labels.map(|(label, rest)| ["chain", "cert"].map(|key| (label, rest, key)));
    let all = all.concat().into_iter();
    each(all.map(|case| (format!("{case:?}"), case)), |case| {
        let (label, rest, key) = case;
        let mut env = env(usual);
        let der = CertificateDer::from_pem_file(file(&env, key)).unwrap();
        let text = pem(label, &[&der, rest].concat());
        give(&mut env, key, "file.pem", text.as_bytes());
        check_delivers(&env);
    });
}

#[test]
fn one_file_may_hold_the_certificate_and_the_key() {
    let mut env = env(usual);
    let [cert, key] = ["cert", "key"].map(|key| fs::read_to_string(file(&env, key)).unwrap());
    for text in [format!("{cert}{key}"), format!("{key}{cert}")] {
        give(&mut env, "cert", "both.pem", text.as_bytes());
        give(&mut env, "key", "both.pem", text.as_bytes());
        check_delivers(&env);
    }
}

/// A receiver that knows the root alone needs our certificate first, and its issuer.
#[test]
fn a_chain_is_sent_in_order_whatever_its_order_in_the_file() {
    let versions = [Versions::Tls12, Versions::Tls13];
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    let all = versions
        .map(|version| orders.map(|order| (version, order)))
        .concat();
    let all = all.into_iter().map(|case| (format!("{case:?}"), case));
    each(all, |(versions, order)| {
        let mut env = env(|_| Options {
            versions,
            ..Options::default()
        });
        let (client, issuer) = env.certs.client_below_an_intermediate();
        let files =
            [&client.cert, &issuer, &env.certs.ca()].map(|path| fs::read_to_string(path).unwrap());
        set_client(&mut env, &client);
        let text = order.map(|at| files[at].as_str()).concat();
        give(&mut env, "cert", "chain.pem", text.as_bytes());
        check_delivers(&env);
        // the leaf's times are what check looks at
        env.ask(&["check"]).assert_status(0);
    });
}

#[test]
fn keys_on_each_curve_are_taken() {
    let curves = [Curve::P256, Curve::P384, Curve::Ed25519];
    let versions = [Versions::Tls12, Versions::Tls13];
    let all = curves.map(|curve| versions.map(|versions| (curve, versions)));
    let all = all.concat().into_iter();
    each(all.map(|case| (format!("{case:?}"), case)), |case| {
        let (curve, versions) = case;
        let mut env = env(|_| Options {
            versions,
            ..Options::default()
        });
        let client = env.certs.client_on(curve);
        set_client(&mut env, &client);
        check_delivers(&env);
    });
}

/// What stands in a file, made from the certificate and the key in DER.
type Bytes = fn(&[u8], &[u8]) -> Vec<u8>;
/// A name, the key of `[devo]`, the file, what is said of it, and the hint.
type Wrong = (
    &'static str,
    &'static str,
    Bytes,
    &'static str,
    &'static str,
);

/// A part in DER.
fn part(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let head = match content.len() {
        0..=127 => vec![tag, low],
        128..=255 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&head, content].concat()
}

fn pkcs8(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let parts = [&[2, 1, 0][..], &part(0x30, algorithm), &part(4, key)].concat();
    pem("PRIVATE KEY", &part(0x30, &parts)).into_bytes()
}

fn rsa(bits: usize) -> Vec<u8> {
    let modulus = [&[0, 0xff][..], &vec![0xa5; bits / 8 - 1]].concat();
    let parts = [&[2, 1, 0][..], &part(2, &modulus), &[2, 3, 1, 0, 1]].concat();
    part(0x30, &parts)
}

const RSA_KEY: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
const RSA_PSS_KEY: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";
const EC_KEY: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01";
const SECP256K1: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x0a";
const P521: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x23";

const WRONG: [Wrong; 20] = [
    (
        "a DER certificate",
        "cert",
        |cert, _| cert.to_vec(),
        "a certificate in DER",
        "openssl x509 -inform DER -in ",
    ),
    (
        "a DER authority",
        "chain",
        |cert, _| cert.to_vec(),
        "a certificate in DER",
        "openssl x509 -inform DER -in ",
    ),
    (
        "a DER key",
        "key",
        |_, key| key.to_vec(),
        "a private key in DER",
        "openssl pkey -inform DER -in ",
    ),
    (
        "an encrypted key",
        "key",
        |_, key| pem("ENCRYPTED PRIVATE KEY", key).into_bytes(),
        "encrypted with a passphrase",
        "openssl pkey -in ",
    ),
    (
        "a key that OpenSSL 0.9 encrypted",
        "key",
        |_, key| {
            let text = pem("RSA PRIVATE KEY", key);
            text.replacen(
                "-\n",
                "-\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n",
                1,
            )
            .into_bytes()
        },
        "encrypted with a passphrase",
        "openssl pkey -in ",
    ),
    (
        "a key of OpenSSH",
        "key",
        |_, key| pem("OPENSSH PRIVATE KEY", key).into_bytes(),
        "OpenSSH",
        "ssh-keygen -p",
    ),
    (
        "UTF-16",
        "cert",
        |cert, _| {
            let text = pem("CERTIFICATE", cert);
            text.encode_utf16().fold(vec![0xff, 0xfe], |bytes, unit| {
                [bytes, unit.to_le_bytes().to_vec()].concat()
            })
        },
        "UTF-16",
        "iconv -f UTF-16",
    ),
    (
        "a request",
        "cert",
        |cert, _| pem("CERTIFICATE REQUEST", cert).into_bytes(),
        "a certificate request",
        "issued",
    ),
    (
        "a public key",
        "key",
        |_, key| pem("PUBLIC KEY", key).into_bytes(),
        "a public key alone",
        "without a passphrase",
    ),
    (
        "the key as the certificate",
        "cert",
        |_, key| pem("PRIVATE KEY", key).into_bytes(),
        "a private key and no certificate",
        SWAPPED,
    ),
    (
        "the certificate as the key",
        "key",
        |cert, _| pem("CERTIFICATE", cert).into_bytes(),
        "a certificate and no private key",
        SWAPPED,
    ),
    (
        "RSA 1024",
        "key",
        |_, _| pem("RSA PRIVATE KEY", &rsa(1024)).into_bytes(),
        "an RSA key of 1024 bits",
        NOT_USABLE,
    ),
    (
        "RSA 8192",
        "key",
        |_, _| pkcs8(RSA_KEY, &rsa(8192)),
        "an RSA key of 8192 bits",
        NOT_USABLE,
    ),
    (
        "RSA-PSS",
        "key",
        |_, _| pkcs8(RSA_PSS_KEY, &rsa(2048)),
        "an RSA-PSS key",
        NOT_USABLE,
    ),
    (
        "secp256k1",
        "key",
        |_, _| pkcs8(&[EC_KEY, SECP256K1].concat(), b"?"),
        "the curve secp256k1",
        NOT_USABLE,
    ),
    (
        "P-521",
        "key",
        |_, _| pkcs8(&[EC_KEY, P521].concat(), b"?"),
        "the curve P-521",
        NOT_USABLE,
    ),
    (
        "explicit parameters",
        "key",
        |_, _| pkcs8(&[EC_KEY, &part(0x30, &[2, 1, 1])].concat(), b"?"),
        "explicit curve parameters",
        NOT_USABLE,
    ),
    (
        "a damaged key",
        "key",
        |_, key| pem("PRIVATE KEY", &key[..key.len() - 9]).into_bytes(),
        "its private key is damaged",
        NOT_USABLE,
    ),
    (
        "a certificate that is cut off",
        "cert",
        |cert, _| pem("CERTIFICATE", cert)[..99].into(),
        "cut off or damaged",
        "set [devo] cert to a PEM file",
    ),
    (
        "an authority that is cut off",
        "chain",
        |cert, _| {
            let text = pem("CERTIFICATE", cert);
            format!("{}\n{text}", &text[..99]).into_bytes()
        },
        "cut off or damaged",
        "set [devo] chain and [http] ca to PEM files",
    ),
];

#[test]
fn a_file_that_cannot_be_used_is_named_for_what_it_is() {
    each(WRONG.map(|case| (case.0.to_owned(), case)), |case| {
        let (_, key, bytes, says, hint) = case;
        let mut env = env(usual);
        let cert = CertificateDer::from_pem_file(env.certs.client_cert()).unwrap();
        let private = PrivateKeyDer::from_pem_file(env.certs.client_key()).unwrap();
        let path = give(
            &mut env,
            key,
            "my file",
            &bytes(&cert, private.secret_der()),
        );
        check_refused(&env, 78, &[path.to_str().unwrap(), says], hint);
        let found = env.ask(&["check"]);
        found.assert_status(78);
        assert!(found.answer().contains(says), "{}", found.answer());
    });
}

#[test]
fn a_self_signed_server_is_named_and_trusted_where_the_chain_is_its_certificate() {
    let shown =
        |is_authority: bool| env(move |certs| showing(certs.self_signed_server(is_authority)));
    let named = ["localhost", "the server's certificate is self-signed"];
    let mut usual = shown(false);
    let own = usual.certs.self_signed().cert;
    check_refused_by_us(&usual, &named, "set [devo] chain to that");
    set(&mut usual, "chain", &own);
    check_delivers(&usual);

    // no chain makes an authority's certificate a server's
    let mut authority = shown(true);
    let own = authority.certs.self_signed().cert;
    for chain in [authority.certs.ca(), own] {
        set(&mut authority, "chain", &chain);
        check_refused_by_us(&authority, &named, "basicConstraints=critical,CA:FALSE");
    }
}

fn check_refused_by_us(env: &TestEnv, says: &[&str], hint: &str) {
    check_refused(env, 69, says, hint);
}

/// The program of OpenSSL, with its words; `false` if there is none.
fn openssl(words: &str, dir: &Path) -> bool {
    let mut openssl = Command::new("sh");
    openssl
        .args(["-c", words])
        .current_dir(dir)
        .stdin(Stdio::null());
    openssl.output().is_ok_and(|output| output.status.success())
}

/// What OpenSSL makes of a pair, and the command of the hint that makes it usable again.
#[test]
fn the_command_of_the_hint_converts_the_file() {
    /// A name, the key of `[devo]`, and what makes the file from pair.crt and pair.key.
    const CASES: [(&str, &str, &str); 8] = [
        (
            "DER certificate",
            "cert",
            "openssl x509 -in pair.crt -outform DER -out file",
        ),
        (
            "DER authority",
            "chain",
            "openssl x509 -in ca.pem -outform DER -out file",
        ),
        (
            "DER key",
            "key",
            "openssl pkey -in pair.key -outform DER -out file",
        ),
        (
            "encrypted key",
            "key",
            "openssl pkcs8 -topk8 -in pair.key -passout pass:x -out file",
        ),
        (
            "encrypted key in DER",
            "key",
            "openssl pkcs8 -topk8 -in pair.key -passout pass:x -outform DER -out file",
        ),
        (
            "PKCS#12 for the certificate",
            "cert",
            "openssl pkcs12 -export -in pair.crt -inkey pair.key -certfile ca.pem -passout pass:x -out file",
        ),
        (
            "PKCS#12 for the key",
            "key",
            "openssl pkcs12 -export -in pair.crt -inkey pair.key -passout pass:x -out file",
        ),
        (
            "PKCS#7",
            "cert",
            "openssl crl2pkcs7 -nocrl -certfile pair.crt -certfile ca.pem -outform DER -out file",
        ),
    ];
    let somewhere = tempfile::tempdir().unwrap();
    if !openssl("openssl version", somewhere.path()) {
        println!("skipped: there is no openssl");
        return;
    }
    each(CASES.map(|case| (case.0.to_owned(), case)), |case| {
        let (_, key, makes) = case;
        let mut env = env(usual);
        let dir = env.dir.path().to_owned();
        for (from, to) in [
            (env.certs.ca(), "ca.pem"),
            (env.certs.client_cert(), "pair.crt"),
            (env.certs.client_key(), "pair.key"),
        ] {
            fs::copy(from, dir.join(to)).unwrap();
        }
        assert!(openssl(&format!("umask 077; {makes}"), &dir), "{makes}");
        set(&mut env, key, dir.join("file"));
        let run = env.run("tap-clicks-blocked", &[]);
        run.assert_error(78, &["file"], "openssl");
        let hint = run.stderr.lines().next_back().unwrap();
        let (_, command) = hint.split_once(": openssl").unwrap();
        // the passphrase is asked for on a terminal
        let asks = command.contains("pkcs12") || makes.contains("topk8");
        let passphrase = if asks { " -passin pass:x" } else { "" };
        let command = format!("umask 077; openssl{command}{passphrase}");
        assert!(openssl(&command, &dir), "{command}");
        set(&mut env, key, dir.join("file.pem"));
        check_delivers(&env);
    });
}

/// Keys that OpenSSL makes and that cannot be used, as it spells them.
#[test]
fn keys_of_openssl_that_cannot_be_used_are_named() {
    const CASES: [(&str, &str); 7] = [
        (
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024",
            "an RSA key of 1024 bits",
        ),
        (
            "genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048",
            "an RSA-PSS key",
        ),
        (
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1",
            "the curve secp256k1",
        ),
        ("ecparam -genkey -name secp521r1", "the curve P-521"),
        (
            "ecparam -genkey -name prime256v1 -param_enc explicit",
            "explicit curve parameters",
        ),
        (
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit",
            "explicit curve parameters",
        ),
        ("genpkey -algorithm ED448", "an Ed448 key"),
    ];
    let somewhere = tempfile::tempdir().unwrap();
    if !openssl("openssl version", somewhere.path()) {
        println!("skipped: there is no openssl");
        return;
    }
    each(
        CASES.map(|case| (case.0.to_owned(), case)),
        |(words, says)| {
            let mut env = env(usual);
            let dir = env.dir.path().to_owned();
            let made = openssl(&format!("umask 077; openssl {words} -out odd.key"), &dir);
            assert!(made, "{words}");
            set(&mut env, "key", dir.join("odd.key"));
            check_refused(&env, 78, &["odd.key", says], NOT_USABLE);
        },
    );
}

/// Those that can be used, as OpenSSL spells them.
#[test]
fn keys_of_openssl_that_can_be_used_are_taken() {
    const CASES: [&str; 4] = [
        "ecparam -genkey -name prime256v1",
        "ecparam -genkey -name secp384r1",
        "genpkey -algorithm ED25519",
        "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048",
    ];
    let somewhere = tempfile::tempdir().unwrap();
    if !openssl("openssl version", somewhere.path()) {
        println!("skipped: there is no openssl");
        return;
    }
    each(CASES.map(|case| (case.to_owned(), case)), |words| {
        let mut env = env(|_| Options {
            client_auth: false,
            ..Options::default()
        });
        let dir = env.dir.path().to_owned();
        let make = format!(
            "umask 077; openssl {words} -out our.key && openssl req -x509 -new -key our.key -subj /CN=x -days 2 -out our.crt"
        );
        assert!(openssl(&make, &dir), "{make}");
        let [cert, key] = ["our.crt", "our.key"].map(|name| dir.join(name));
        set_client(&mut env, &Pair { cert, key });
        check_delivers(&env);
    });
}
