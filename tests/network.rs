//! Ways to TAP and to Devo: proxies, TLS, addresses of both families, and ends that do not answer.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use socket2::{Domain, Socket, Type};

use crate::simulator::{Behaviour, Certs, Options, Proxy, Tap};
use crate::world::{Run, Running, World, ago, each};

const SERVICE: &str = "tap-clicks-permitted";

/// An hour with ten events.
fn fill(mut world: World) -> World {
    world.start_at(ago(60));
    world.add(SERVICE, ago(60), ago(3), 10);
    world
}

/// TAP over TLS, its CA trusted.
fn world_over_tls() -> World {
    world_with(Tap::start_tls)
}

fn world_with(tap: impl FnOnce(&Certs) -> Tap) -> World {
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("certs");
    std::fs::create_dir(&certs).unwrap();
    let certs = Certs::make(&certs);
    let tap = tap(&certs);
    let mut world = World::of(dir, Options::default(), tap, certs);
    world.http_table += &format!("ca = {:?}\n", world.certs.ca());
    fill(world)
}

fn set(table: &mut String, key: &str, value: &str) {
    let others = table
        .lines()
        .filter(|line| !line.starts_with(&format!("{key} = ")));
    *table = others.map(|line| format!("{line}\n")).collect();
    *table += &format!("{key} = {value:?}\n");
}

#[track_caller]
fn assert_works(world: &World) {
    world.run(SERVICE, &[]).assert_status(0);
    world.assert_exactly_once(SERVICE);
}

/// The run ends so, and nothing was asked for or sent.
fn check_fails(world: &World, status: i32, says: &[&str], hint: &str) -> Run {
    let run = world.run(SERVICE, &[]);
    run.assert_error(status, says, hint);
    assert_eq!(world.tap.requests().len(), 0);
    assert_eq!(world.devo.count(), 0);
    run
}

#[test]
fn tap_is_verified_and_a_ca_can_be_added() {
    assert_works(&world_over_tls());
    let mut world = world_over_tls();
    world.http_table = "timeout = \"20s\"\n".into();
    check_fails(&world, 69, &["[PullError 301]"], "[http] ca");
    let world = world_with(|certs| Tap::start_tls_with(&certs.server_for("tap.example")));
    check_fails(&world, 69, &["[PullError 301]"], "another name");
    let world = world_with(|certs| Tap::start_tls_with(&certs.expired_server()));
    check_fails(&world, 69, &["[PullError 301]"], "expired");
    let world = world_with(|certs| Tap::start_tls_with(&certs.other_ca().server));
    check_fails(&world, 69, &["[PullError 301]"], "not trusted");
}

#[test]
fn plain_http_is_for_the_loopback_alone() {
    for url in [
        "http://tap.example:8080",
        "http://10.0.0.1",
        "http://localhost.example",
    ] {
        let mut world = fill(World::new());
        set(&mut world.tap_table, "base_url", url);
        check_fails(&world, 78, &["[tap] base_url", "loopback"], "https");
    }
    let mut world = fill(World::new());
    let url = world.tap.url().replace("127.0.0.1", "localhost");
    set(&mut world.tap_table, "base_url", &url);
    assert_works(&world);
    let mut world = fill(World::new());
    world.service_table += "url = \"http://tap.example/v2/siem/clicks/permitted\"\n";
    check_fails(&world, 78, &["url", "loopback"], "https");
}

/// Both ends were reached through the proxy.
fn assert_through(proxy: &Proxy, world: &World) {
    let targets = proxy.targets();
    let tap = world.tap.url().split_once("://").unwrap().1.to_owned();
    for target in [tap, world.devo.address()] {
        assert!(targets.contains(&target), "{target} in {targets:?}");
    }
}

#[test]
fn everything_goes_through_the_configured_proxy() {
    for mut world in [world_over_tls(), fill(World::new())] {
        let proxy = Proxy::start();
        set(&mut world.http_table, "proxy", &proxy.url());
        // the configuration counts, not the environment
        world
            .env
            .insert("https_proxy".into(), "http://proxy.invalid:1".into());
        assert_works(&world);
        assert_through(&proxy, &world);
    }
}

#[test]
fn a_proxy_may_want_a_login() {
    let mut world = world_over_tls();
    let proxy = Proxy::start_with_login("me", "pass-word-4f");
    set(&mut world.http_table, "proxy", &proxy.url_with_login());
    assert_works(&world);
    assert_through(&proxy, &world);

    for wrong in [proxy.url(), proxy.url_with_login().replace("4f", "5f")] {
        let mut world = world_over_tls();
        set(&mut world.http_table, "proxy", &wrong);
        let run = check_fails(&world, 77, &["407", "proxy"], "[http] proxy");
        run.assert_never_says("pass-word");
        // to TAP alone
        let run = world.run(SERVICE, &["--stdout"]);
        run.assert_error(77, &["407"], "[http] proxy");
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
        let mut world = world_over_tls();
        let proxy = Proxy::start();
        for &(name, is_proxy) in variables {
            let value = if is_proxy {
                proxy.url()
            } else {
                "example.com, localhost".into()
            };
            world.env.insert(name.into(), value);
        }
        assert_works(&world);
        if through {
            assert_through(&proxy, &world);
        } else {
            assert_eq!(proxy.requests().len(), 0, "{variables:?}");
        }
    }
    let mut world = world_over_tls();
    world
        .env
        .insert("https_proxy".into(), "socks5://127.0.0.1:1".into());
    check_fails(&world, 78, &["https_proxy"], "http://HOST:PORT");
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
            vec!["through the proxy", "its answer is too long"],
            "check the address of the proxy",
        ),
    ];
    each(
        cases.map(|case| (case.2.to_owned(), case)),
        |(url, says, hint)| {
            let mut world = world_over_tls();
            set(&mut world.http_table, "proxy", &url);
            set(&mut world.devo_table, "address", &closed);
            check_fails(&world, 69, &says, hint);
        },
    );
}

#[test]
fn through_a_proxy_an_end_of_file_alone_confirms_nothing() {
    let mut world = fill(World::new());
    world.devo.behave(|_| Behaviour::NoGoodbye);
    assert_works(&world);

    let mut behind = fill(World::new());
    let proxy = Proxy::start();
    set(&mut behind.http_table, "proxy", &proxy.url());
    // the first connection proves the receiver, the second one takes the events
    behind.devo.behave(|number| match number {
        0 => Behaviour::Normal,
        _ => Behaviour::NoGoodbye,
    });
    let run = behind.run(SERVICE, &[]);
    run.assert_error(74, &["close_notify", "proxy"], "sent again");
    assert_eq!(behind.devo.count(), 10);
    behind.devo.behave(|_| Behaviour::Normal);
    behind.run(SERVICE, &[]).assert_status(0);
    assert_eq!(behind.assert_nothing_lost(SERVICE), 10);

    // the proxy itself ends the connection, before the receiver has all
    let proxy = Proxy::start();
    proxy.make_hasty();
    set(&mut world.http_table, "proxy", &proxy.url());
    world.devo.behave(|_| Behaviour::Normal);
    world.tap.forget_requests();
    let run = world.run(SERVICE, &[]);
    assert!(matches!(run.status, Some(0 | 74)), "{}", run.stderr);
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
    let mut world = fill(World::of(dir, options, Tap::start_ipv6(), certs));
    let address = world.devo.ip_address();
    assert!(address.starts_with("[::1]:"));
    set(&mut world.devo_table, "address", &address);
    assert_works(&world);

    let mut world = fill(World::new());
    let address = world.devo.ip_address();
    assert!(address.starts_with("127.0.0.1:"));
    set(&mut world.devo_table, "address", &address);
    assert_works(&world);
}

#[test]
fn the_next_address_of_a_name_is_tried_when_one_refuses() {
    let world = fill(World::new());
    let hosts = world.dir.path().join("hosts");
    std::fs::write(&hosts, "::1 localhost\n127.0.0.1 localhost\n").unwrap();
    let command = world.command(SERVICE);
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
    world.assert_exactly_once(SERVICE);
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
        let mut world = World::new();
        // a window too short to be halved often
        world.start_at(ago(2));
        set(&mut world.http_table, "timeout", "2s");
        let says = if end == "tap" {
            let tls = if address.contains("invalid") { "s" } else { "" };
            set(
                &mut world.tap_table,
                "base_url",
                &format!("http{tls}://{address}"),
            );
            "[PullError 301]"
        } else {
            set(&mut world.devo_table, "address", &address);
            "connecting to"
        };
        let host = address.split(':').next().unwrap();
        check_fails(&world, 69, &[says, host], hint);
    });
}
