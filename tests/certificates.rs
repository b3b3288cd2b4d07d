//! Mutual TLS: keys of every form, the name is verified, and each error says what is wrong with
//! which certificate, and what to do.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::simulator::{Certs, Options, Pair, Versions};
use crate::test_env::{Run, TestEnv, ago, each, write_private};

const SERVICE: &str = "tap-clicks-blocked";

/// A receiver of this kind, and one event for it.
pub(crate) fn env(receiver: impl FnOnce(&Certs) -> Options) -> TestEnv {
    let mut env = TestEnv::with_certs(receiver);
    env.start_at(ago(10));
    env.add(SERVICE, ago(5), ago(4), 1);
    env
}

pub(crate) fn usual(_: &Certs) -> Options {
    Options::default()
}

fn speaking(versions: Versions) -> Options {
    Options {
        versions,
        ..Options::default()
    }
}

pub(crate) fn showing(server: Pair) -> Options {
    Options {
        server: Some(server),
        ..Options::default()
    }
}

fn unset(env: &mut TestEnv, key: &str) {
    let lines = env.devo_table.split_inclusive('\n');
    let other = |line: &&str| !line.starts_with(&format!("{key} = "));
    env.devo_table = lines.filter(other).collect();
}

pub(crate) fn set(env: &mut TestEnv, key: &str, value: impl AsRef<Path>) {
    unset(env, key);
    env.devo_table += &format!("{key} = {:?}\n", value.as_ref());
}

pub(crate) fn set_client(env: &mut TestEnv, Pair { cert, key }: &Pair) {
    set(env, "cert", cert);
    set(env, "key", key);
}

/// Runs it, saying all it can; that is nothing of what stands in any file of keys or certificates.
fn run(env: &TestEnv) -> Run {
    let run = env.run(SERVICE, &["-vv"]);
    assert!(run.stdout.is_empty());
    for file in fs::read_dir(env.certs.ca().parent().unwrap()).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("-----"));
        for line in lines {
            run.assert_never_says(line);
        }
    }
    run
}

pub(crate) fn check_delivers(env: &TestEnv) {
    run(env).assert_status(0);
    env.assert_exactly_once(SERVICE);
}

#[test]
fn client_keys_of_every_form_are_taken() {
    check_forms(|_| {});
}

/// Keys of each form, with each version of TLS, in a world that was changed like this.
pub(crate) fn check_forms(change: impl Fn(&mut TestEnv) + Sync) {
    let forms = |certs: &Certs| {
        [
            (certs.client_cert(), certs.client_key()),
            (certs.client_cert(), certs.client_sec1_key()),
            (certs.client_rsa_cert(), certs.client_rsa_key()),
            (certs.client_rsa_cert(), certs.client_rsa_pkcs1_key()),
        ]
    };
    let versions = [Versions::Tls12, Versions::Tls13];
    let all = (0..8).map(|n| (versions[n / 4], n % 4));
    each(all.map(|case| (format!("{case:?}"), case)), |case| {
        let (versions, form) = case;
        let mut env = env(|_| speaking(versions));
        change(&mut env);
        let (cert, key) = forms(&env.certs)[form].clone();
        set_client(&mut env, &Pair { cert, key });
        check_delivers(&env);
        let connections = env.devo.connections();
        assert!(connections.len() >= 2);
        assert!(connections.iter().all(|one| one.client_certificate));
    });
}

#[test]
fn the_server_is_trusted_by_the_chain_or_else_by_the_roots_of_the_system() {
    let mut env = env(usual);
    unset(&mut env, "chain");
    let ca = env.certs.ca();
    env.http_table = format!("ca = {ca:?}\n");
    check_delivers(&env);

    env.http_table.clear();
    let roots = ca.to_str().unwrap().to_owned();
    env.env.insert("SSL_CERT_FILE".into(), roots);
    check_delivers(&env);

    // a chain is all that is trusted then, and may hold several
    let other = env.certs.other_ca().ca;
    set(&mut env, "chain", &other);
    run(&env).assert_error(69, &["UnknownIssuer"], "check [devo] chain");
    let both = [&other, &ca].map(|path| fs::read_to_string(path).unwrap());
    let path = ca.with_file_name("both.pem");
    write_private(&path, &both.concat());
    set(&mut env, "chain", path);
    check_delivers(&env);
}

#[test]
fn the_name_of_the_address_is_verified_or_the_one_that_is_set() {
    let mut env = env(|certs| showing(certs.server_for("collector.example")));
    let wrong = ["localhost", "not valid for name", "collector.example"];
    run(&env).assert_error(69, &wrong, "set [devo] server_name");
    set(&mut env, "server_name", "collector.example");
    check_delivers(&env);
    let asked_for = env.devo.connections().pop().unwrap().server_name;
    assert_eq!(asked_for.as_deref(), Some("collector.example"));
    set(&mut env, "server_name", "other.example");
    let wrong = ["localhost", "\"other.example\"", "collector.example"];
    run(&env).assert_error(69, &wrong, "set [devo] server_name");
}

#[test]
fn an_address_without_a_name_is_verified_too() {
    let mut good = env(usual);
    let address = good.devo.ip_address();
    set(&mut good, "address", address);
    check_delivers(&good);
    let mut bad = env(|certs| showing(certs.server_for("127.0.0.2")));
    let address = bad.devo.ip_address();
    set(&mut bad, "address", address);
    run(&bad).assert_error(69, &["not valid for name"], "for another name");
}

#[test]
fn a_receiver_that_asks_for_no_certificate_needs_none() {
    let mut env = env(|_| Options {
        client_auth: false,
        ..Options::default()
    });
    check_delivers(&env);
    unset(&mut env, "cert");
    unset(&mut env, "key");
    check_delivers(&env);
}

/// A name, the receiver, what is changed, the status, what the error says, and the hint.
pub(crate) type Case = (
    &'static str,
    fn(&Certs) -> Options,
    fn(&mut TestEnv),
    i32,
    &'static [&'static str],
    &'static str,
);

fn tls12(_: &Certs) -> Options {
    speaking(Versions::Tls12)
}

fn tls13(_: &Certs) -> Options {
    speaking(Versions::Tls13)
}

fn as_expired(env: &mut TestEnv) {
    let client = env.certs.expired_client();
    set_client(env, &client);
}

fn as_stranger(env: &mut TestEnv) {
    let client = env.certs.stranger_client();
    set_client(env, &client);
}

fn as_nobody(env: &mut TestEnv) {
    unset(env, "cert");
    unset(env, "key");
}

const EXPIRED: &str = "set [devo] cert and key: this one has expired";
const STRANGER: &str = "the server does not know who signed it";
const NOBODY: &str = "set [devo] cert and key: the server requires a client certificate";
pub(crate) const CASES: [Case; 10] = [
    (
        "the server's has expired",
        |certs| showing(certs.expired_server()),
        |_| {},
        69,
        &["localhost", "expired"],
        "ask the operator of the server to renew its certificate",
    ),
    (
        "the server's is of another CA",
        |certs| showing(certs.other_ca().server),
        |_| {},
        69,
        &["localhost", "UnknownIssuer"],
        "signed by a CA that is not trusted here",
    ),
    (
        "the server's is for another name",
        |certs| showing(certs.server_for("other.example")),
        |_| {},
        69,
        &["localhost", "other.example"],
        "check [devo] address, or set [devo] server_name",
    ),
    (
        "ours has expired, 1.2",
        tls12,
        as_expired,
        77,
        &["localhost", "CertificateExpired"],
        EXPIRED,
    ),
    (
        "ours has expired, 1.3",
        tls13,
        as_expired,
        77,
        &["localhost", "CertificateExpired"],
        EXPIRED,
    ),
    (
        "ours is a stranger's, 1.2",
        tls12,
        as_stranger,
        77,
        &["localhost", "UnknownCA"],
        STRANGER,
    ),
    (
        "ours is a stranger's, 1.3",
        tls13,
        as_stranger,
        77,
        &["localhost", "UnknownCA"],
        STRANGER,
    ),
    (
        "we have none, 1.2",
        tls12,
        as_nobody,
        77,
        &["localhost", "CertificateRequired"],
        NOBODY,
    ),
    (
        "we have none, 1.3",
        tls13,
        as_nobody,
        77,
        &["localhost", "CertificateRequired"],
        NOBODY,
    ),
    (
        "others can read the key",
        usual,
        |env| {
            fs::set_permissions(env.certs.client_key(), Permissions::from_mode(0o644)).unwrap();
        },
        77,
        &["client.key", "others can read it (mode 0644)"],
        "chmod 640",
    ),
];

#[test]
fn each_refusal_says_what_is_wrong_with_which_certificate_and_what_to_do() {
    each(CASES.map(|case| (case.0.to_owned(), case)), |case| {
        let (_, receiver, change, status, says, hint) = case;
        let mut env = env(receiver);
        change(&mut env);
        check_refused(&env, status, says, hint);
    });
}

const PAIR: &str = "set [devo] cert and key to the two files of one download";
const NO_CERT: &str = "set [devo] cert to a PEM file: -----BEGIN CERTIFICATE-----";
const NO_KEY: &str = "set [devo] key to an existing, readable PEM file without a passphrase";
const SWAPPED: &str = "they seem to be swapped";
const NO_CHAIN: &str = "set [devo] chain and [http] ca to PEM files of CA certificates";

/// A key of `[devo]`, the wrong file it names, what the error says of it, and the hint.
const FILES: [(&str, &str, &str, &str); 12] = [
    ("key", "lone.key", "does not match", PAIR),
    ("key", "client-rsa.key", "does not match", PAIR),
    ("key", "client.pem", "no private key", SWAPPED),
    ("key", "garbage.pem", "cut off or damaged", NO_KEY),
    ("key", "missing.key", "No such file", NO_KEY),
    ("cert", "client.key", "no certificate", SWAPPED),
    ("cert", "garbage.pem", "no certificate", SWAPPED),
    ("cert", "missing.pem", "No such file", NO_CERT),
    ("chain", "client.key", "no certificate", NO_CHAIN),
    ("chain", "garbage.pem", "no certificate", NO_CHAIN),
    ("chain", "nothing.pem", "using the CA", NO_CHAIN),
    ("chain", "missing.pem", "No such file", NO_CHAIN),
];

#[test]
fn each_wrong_file_is_named_with_what_is_wrong_and_what_to_do() {
    const GARBAGE: &str = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0IG9mIG91cnMgdGhhdCBpcyBubyBrZXk\n";
    const NOTHING: &str =
        "-----BEGIN CERTIFICATE-----\nbm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n";
    let named = FILES.map(|case| (format!("{case:?}"), case));
    each(named, |(key, name, says, hint)| {
        let mut env = env(usual);
        env.certs.lone_key();
        let path = |name| env.certs.ca().with_file_name(name);
        write_private(&path("garbage.pem"), GARBAGE);
        write_private(&path("nothing.pem"), NOTHING);
        let path = path(name);
        set(&mut env, key, path);
        check_refused(&env, 78, &[name, says], hint);
    });
}

pub(crate) fn check_refused(env: &TestEnv, status: i32, says: &[&str], hint: &str) {
    run(env).assert_error(status, says, hint);
    assert!(env.tap.requests().is_empty());
    assert_eq!(env.devo.count(), 0);
}
