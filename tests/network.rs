//! Ways to TAP and to Devo: proxies, TLS, addresses of both families, and ends that do not answer.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::simulator::{Behaviour, Certs, Options, Proxy, Tap};
use crate::test_env::{Run, Running, TestEnv, ago, each};

const SERVICE: &str = "tap-clicks-permitted";

/// An hour with ten events.
fn fill(mut env: TestEnv) -> TestEnv {
    env.start_at(ago(60));
    env.add(SERVICE, ago(60), ago(3), 10);
    env
}

/// TAP over TLS, its CA trusted.
pub(crate) fn world_over_tls() -> TestEnv {
    world_with(Tap::start_tls)
}

pub(crate) fn world_with(tap: impl FnOnce(&Certs) -> Tap) -> TestEnv {
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("certs");
    std::fs::create_dir(&certs).unwrap();
    let certs = Certs::make(&certs);
    let tap = tap(&certs);
    let mut env = TestEnv::of(dir, Options::default(), tap, certs);
    env.http_table += &format!("ca = {:?}\n", env.certs.ca());
    fill(env)
}

fn set(table: &mut String, key: &str, value: &str) {
    let others = table
        .lines()
        .filter(|line| !line.starts_with(&format!("{key} = ")));
    *table = others.map(|line| format!("{line}\n")).collect();
    *table += &format!("{key} = {value:?}\n");
}

#[track_caller]
fn assert_works(env: &TestEnv) {
    env.run(SERVICE, &[]).assert_status(0);
    env.assert_exactly_once(SERVICE);
}

/// The run ends so, and nothing was asked for or sent.
fn check_fails(env: &TestEnv, status: i32, says: &[&str], hint: &str) -> Run {
    let run = env.run(SERVICE, &[]);
    run.assert_error(status, says, hint);
    assert_eq!(env.tap.requests().len(), 0);
    assert_eq!(env.devo.count(), 0);
    run
}

#[test]
fn tap_is_verified_and_a_ca_can_be_added() {
    assert_works(&world_over_tls());
    let mut env = world_over_tls();
    env.http_table = "timeout = \"20s\"\n".into();
    check_fails(&env, 69, &["[PullError 301]"], "[http] ca");
    let env = world_with(|certs| Tap::start_tls_with(&certs.server_for("tap.example")));
    check_fails(&env, 69, &["[PullError 301]"], "check base_url");
    let env = world_with(|certs| Tap::start_tls_with(&certs.expired_server()));
    check_fails(&env, 69, &["[PullError 301]"], "expired");
    let env = world_with(|certs| Tap::start_tls_with(&certs.other_ca().server));
    check_fails(&env, 69, &["[PullError 301]"], "not trusted");
}

#[test]
fn plain_http_is_for_the_loopback_alone() {
    for url in [
        "http://tap.example:8080",
        "http://10.0.0.1",
        "http://localhost.example",
    ] {
        let mut env = fill(TestEnv::new());
        set(&mut env.tap_table, "base_url", url);
        check_fails(&env, 78, &["[tap] base_url", "loopback"], "https");
    }
    let mut env = fill(TestEnv::new());
    let url = env.tap.url().replace("127.0.0.1", "localhost");
    set(&mut env.tap_table, "base_url", &url);
    assert_works(&env);
    let mut env = fill(TestEnv::new());
    env.service_table += "url = \"http://tap.example/v2/siem/clicks/permitted\"\n";
    check_fails(&env, 78, &["url", "loopback"], "https");
}

/// Both ends were reached through the proxy.
fn assert_through(proxy: &Proxy, env: &TestEnv) {
    let targets = proxy.targets();
    let tap = env.tap.url().split_once("://").unwrap().1.to_owned();
    for target in [tap, env.devo.address()] {
        assert!(targets.contains(&target), "{target} in {targets:?}");
    }
}

#[test]
fn everything_goes_through_the_configured_proxy() {
    for mut env in [world_over_tls(), fill(TestEnv::new())] {
        let proxy = Proxy::start();
        set(&mut env.http_table, "proxy", &proxy.url());
        // the configuration counts, not the environment
        env.env
            .insert("https_proxy".into(), "http://proxy.invalid:1".into());
        assert_works(&env);
        assert_through(&proxy, &env);
    }
}

#[test]
fn a_proxy_may_want_a_login() {
    let mut env = world_over_tls();
    let proxy = Proxy::start_with_login("me", "pass-word-4f");
    set(&mut env.http_table, "proxy", &proxy.url_with_login());
    assert_works(&env);
    assert_through(&proxy, &env);

    // as tinyproxy answers
    let other = Proxy::start_refusing(401, "me", "pass-word-4f");
    let wrong = |proxy: &Proxy| proxy.url_with_login().replace("4f", "5f");
    for (url, status) in [
        (proxy.url(), "407"),
        (wrong(&proxy), "407"),
        (other.url(), "407"),
        (wrong(&other), "401"),
    ] {
        let mut env = world_over_tls();
        set(&mut env.http_table, "proxy", &url);
        let run = check_fails(&env, 77, &[status, "proxy"], "[http] proxy");
        run.assert_never_says("pass-word");
        // to TAP alone
        let run = env.run(SERVICE, &["--stdout"]);
        run.assert_error(77, &[status], "[http] proxy");
        run.assert_never_says("pass-word");
    }
}

#[test]
fn the_environment_names_proxies_and_exceptions() {
    let table = [
        (&[("https_proxy", true)][..], true),
        (&[("HTTPS_PROXY", true)], true),
        (&[("all_proxy", true)], true),
        (&[("https_proxy", true), ("no_proxy", false)], false),
        (&[("https_proxy", true), ("NO_PROXY", false)], false),
        (&[("http_proxy", true)], false),
        (&[("HTTP_PROXY", true)], false),
        (&[], false),
    ];
    for (variables, through) in table {
        let mut env = world_over_tls();
        let proxy = Proxy::start();
        for &(name, is_proxy) in variables {
            let value = if is_proxy {
                proxy.url()
            } else {
                "example.com, localhost".into()
            };
            env.env.insert(name.into(), value);
        }
        assert_works(&env);
        if through {
            assert_through(&proxy, &env);
        } else {
            assert_eq!(proxy.requests().len(), 0, "{variables:?}");
        }
    }
    let mut env = world_over_tls();
    env.env
        .insert("https_proxy".into(), "socks5://127.0.0.1:1".into());
    check_fails(&env, 78, &["https_proxy"], "http://HOST:PORT");
}

#[test]
fn a_proxy_that_fails_is_named() {
    let (_held, closed) = closed_port();
    let proxy = Proxy::start();
    let through = format!("through the proxy {closed}");
    // nobody listens there; or the proxy answers, but cannot reach the other end
    let endless = TcpListener::bind("127.0.0.1:0").unwrap();
    let talks = format!("http://{}", endless.local_addr().unwrap());
    std::thread::spawn(move || {
        for tcp in endless.incoming() {
            // the other end hangs up in the middle of it
            let _ = tcp.unwrap().write_all(&[b'x'; 100_000]);
        }
    });
    let cases = [
        (
            format!("http://{closed}"),
            vec![&*through, "refused"],
            "nothing listens there",
        ),
        (proxy.url(), vec!["through the proxy", "502"], "proxy"),
        (
            talks,
            vec!["through the proxy", "answer of the proxy is too long"],
            "check the address of the proxy",
        ),
    ];
    each(
        cases.map(|case| (case.2.to_owned(), case)),
        |(url, says, hint)| {
            let mut env = world_over_tls();
            set(&mut env.http_table, "proxy", &url);
            set(&mut env.devo_table, "address", &closed);
            check_fails(&env, 69, &says, hint);
        },
    );
}

#[test]
fn through_a_proxy_an_end_of_file_alone_confirms_nothing() {
    let env = fill(TestEnv::new());
    env.devo.behave(|_| Behaviour::NoGoodbye);
    assert_works(&env);

    let mut behind = fill(TestEnv::new());
    let proxy = Proxy::start();
    set(&mut behind.http_table, "proxy", &proxy.url());
    // the first connection proves the receiver, the second one takes the events
    behind.devo.behave(|number| match number {
        0 => Behaviour::Normal,
        _ => Behaviour::NoGoodbye,
    });
    let run = behind.run(SERVICE, &[]);
    run.assert_error(
        74,
        &["close_notify", "proxy"],
        "sends unconfirmed events again",
    );
    assert_eq!(behind.devo.count(), 10);
    behind.devo.behave(|_| Behaviour::Normal);
    behind.run(SERVICE, &[]).assert_status(0);
    assert_eq!(behind.assert_nothing_lost(SERVICE), 10);

    // a proxy that ends both halves with one hides no goodbye, not even a late one
    let mut env = fill(TestEnv::new());
    let proxy = Proxy::start();
    proxy.make_hasty();
    set(&mut env.http_table, "proxy", &proxy.url());
    env.devo.behave(|_| Behaviour::Slow {
        read: usize::MAX,
        pause: Duration::ZERO,
        hold: Duration::from_millis(300),
    });
    assert_works(&env);
}

#[test]
fn addresses_may_be_of_either_family() {
    if TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: there is no IPv6 here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("certs");
    std::fs::create_dir(&certs).unwrap();
    let certs = Certs::make(&certs);
    let options = Options {
        ipv6: true,
        ..Options::default()
    };
    let mut env = fill(TestEnv::of(dir, options, Tap::start_ipv6(), certs));
    let address = env.devo.ip_address();
    assert!(address.starts_with("[::1]:"));
    set(&mut env.devo_table, "address", &address);
    assert_works(&env);

    let mut env = fill(TestEnv::new());
    let address = env.devo.ip_address();
    assert!(address.starts_with("127.0.0.1:"));
    set(&mut env.devo_table, "address", &address);
    assert_works(&env);
}

#[test]
fn the_next_address_of_a_name_is_tried_when_one_refuses() {
    let env = fill(TestEnv::new());
    let hosts = env.dir.path().join("hosts");
    std::fs::write(&hosts, "::1 localhost\n127.0.0.1 localhost\n").unwrap();
    let command = env.command(SERVICE);
    let script = "mount --bind \"$0\" /etc/hosts || exit 99; exec \"$@\"";
    // in a name space of its own, where localhost has two addresses
    let mut inside = Command::new("unshare");
    inside.args(["-m", "sh", "-c", script]).arg(&hosts);
    inside.arg(command.get_program()).args(command.get_args());
    let run = Running::start(&mut inside).wait();
    if run.status == Some(99) || run.stderr.contains("unshare") {
        println!("skipped: nothing may be mounted here");
        return;
    }
    run.assert_status(0);
    env.assert_exactly_once(SERVICE);
}

/// A port of the loopback where nobody listens, and nobody else can as long as it is held.
fn closed_port() -> (Socket, String) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address.to_string())
}

#[test]
fn an_end_that_cannot_be_reached_is_status_69_and_says_what_to_do() {
    let (_held, closed) = closed_port();
    // connections come about, and nobody ever answers
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let table = [
        ("refused", closed, ["nothing listens there"; 2]),
        (
            "no such name",
            "proofpull.invalid:443".into(),
            ["check the name"; 2],
        ),
        ("silent", address, ["timeout", "speaks TLS"]),
    ];
    let rows = table.into_iter().flat_map(|(name, address, [tap, devo])| {
        [("tap", tap), ("devo", devo)]
            .map(|(end, hint)| (format!("{end} {name}"), (end, address.clone(), hint)))
    });
    each(rows, |(end, address, hint)| {
        let mut env = TestEnv::new();
        // a window too short to be halved often
        env.start_at(ago(2));
        set(&mut env.http_table, "timeout", "2s");
        let says = if end == "tap" {
            let tls = if address.contains("invalid") { "s" } else { "" };
            set(
                &mut env.tap_table,
                "base_url",
                &format!("http{tls}://{address}"),
            );
            "[PullError 301]"
        } else {
            set(&mut env.devo_table, "address", &address);
            "connecting to"
        };
        let host = address.split(':').next().unwrap();
        check_fails(&env, 69, &[says, host], hint);
    });
}
