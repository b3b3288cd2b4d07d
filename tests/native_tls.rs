//! TLS by the system's OpenSSL: it delivers, verifies and refuses as rustls does, and no delivery counts
//! for less. The contract of a sink has rows for it, too.

use crate::certificates::{CASES, check_delivers, check_forms, env, set, showing, usual};
use crate::network::{world_over_tls, world_with};
use crate::pod::{FROM, Hours, NOW, STREAM};
use crate::receiver::{check, filled, mood, speaking};
use crate::simulator::{Behaviour, Options, Pod, Proxy, Rng, Tap, Versions};
use crate::test_env::{TestEnv, each, play, seed};

use time::Duration;

const SERVICE: &str = "tap-messages-delivered";

/// Whether the program can do it; said where it cannot.
fn is_built_in() -> bool {
    let built_in = cfg!(feature = "native-tls");
    if !built_in {
        println!("skipped: the program was built without --features native-tls");
    }
    built_in
}

/// From now on both ends are spoken with by OpenSSL.
fn by_openssl(env: &mut TestEnv) {
    env.devo_table += "tls = \"native-tls\"\n";
    env.http_table += "tls = \"native-tls\"\n";
}

/// Two hours of events for a receiver of this kind.
fn for_receiver(options: Options) -> TestEnv {
    let mut env = filled(options, &mut Rng::new(seed()));
    by_openssl(&mut env);
    env
}

#[test]
fn a_program_without_it_refuses_the_key_and_says_what_to_do() {
    for table in ["devo", "http"] {
        let mut env = TestEnv::new();
        let lines = match table {
            "devo" => &mut env.devo_table,
            _ => &mut env.http_table,
        };
        *lines += "tls = \"native-tls\"\n";
        let check = env.ask(&["check", SERVICE]);
        if cfg!(feature = "native-tls") {
            check.assert_status(0);
            continue;
        }
        check.assert_status(78);
        let said = [&format!("[{table}] tls")[..], "built without native-tls"];
        let run = env.run(SERVICE, &[]);
        run.assert_error(78, &said, "--features native-tls");
    }
}

#[test]
fn keys_of_every_form_deliver_over_tls_1_2_and_1_3() {
    if is_built_in() {
        check_forms(by_openssl);
    }
}

#[test]
fn each_refusal_has_the_status_and_the_hint_that_it_has_with_rustls() {
    if !is_built_in() {
        return;
    }
    each(CASES.map(|case| (case.0.to_owned(), case)), |case| {
        let (_, receiver, change, status, _, hint) = case;
        let mut env = env(receiver);
        by_openssl(&mut env);
        change(&mut env);
        let run = env.run("tap-clicks-blocked", &[]);
        run.assert_error(status, &[], hint);
        assert!(env.tap.requests().is_empty());
        assert_eq!(env.devo.count(), 0);
    });
}

#[test]
fn the_name_is_verified_or_the_one_that_is_set_and_addresses_are_too() {
    if !is_built_in() {
        return;
    }
    let mut named = env(|certs| showing(certs.server_for("collector.example")));
    by_openssl(&mut named);
    let run = named.run("tap-clicks-blocked", &[]);
    run.assert_error(69, &["ostname mismatch"], "set [devo] server_name");
    for name in ["collector.example", "collector.example."] {
        set(&mut named, "server_name", name);
        check_delivers(&named);
        let asked_for = named.devo.connections().pop().unwrap().server_name;
        assert_eq!(asked_for.as_deref(), Some("collector.example"));
    }
    for (certificate, is_right) in [("127.0.0.1", true), ("127.0.0.2", false)] {
        let mut env = env(|certs| showing(certs.server_for(certificate)));
        by_openssl(&mut env);
        let address = env.devo.ip_address();
        set(&mut env, "address", address);
        match is_right {
            true => check_delivers(&env),
            false => {
                let run = env.run("tap-clicks-blocked", &[]);
                run.assert_error(69, &["IP address mismatch"], "for another name");
            }
        }
    }
}

#[test]
fn the_chain_is_all_that_is_trusted_or_else_the_roots_of_the_system() {
    if !is_built_in() {
        return;
    }
    let mut env = env(usual);
    by_openssl(&mut env);
    let (ca, other) = (env.certs.ca(), env.certs.other_ca().ca);
    env.env
        .insert("SSL_CERT_FILE".into(), ca.to_str().unwrap().to_owned());
    set(&mut env, "chain", &other);
    let run = env.run("tap-clicks-blocked", &[]);
    run.assert_error(69, &["certificate verify failed"], "check [devo] chain");
    env.devo_table = env.devo_table.replace("chain = ", "#");
    check_delivers(&env);
    env.env.clear();
    env.http_table += &format!("ca = {ca:?}\n");
    check_delivers(&env);
}

#[test]
fn a_self_signed_server_is_trusted_once_it_is_the_chain() {
    if !is_built_in() {
        return;
    }
    for is_authority in [true, false] {
        let mut env = env(|certs| showing(certs.self_signed_server(is_authority)));
        by_openssl(&mut env);
        let run = env.run("tap-clicks-blocked", &[]);
        let hint = "get its certificate from its operator and set [devo] chain to that";
        run.assert_error(69, &["certificate verify failed"], hint);
        let server = env.certs.self_signed().cert;
        set(&mut env, "chain", server);
        check_delivers(&env);
    }
}

#[test]
fn the_security_level_of_openssl_is_obeyed() {
    const POLICY: &str = "openssl_conf = start\n[start]\nssl_conf = tls\n[tls]\nsystem_default = policy\n\
                          [policy]\nCipherString = DEFAULT@SECLEVEL=5\n";
    if !is_built_in() {
        return;
    }
    let mut env = env(usual);
    by_openssl(&mut env);
    let policy = env.dir.path().join("openssl.cnf");
    std::fs::write(&policy, POLICY).unwrap();
    let policy = policy.to_str().unwrap().to_owned();
    env.env.insert("OPENSSL_CONF".into(), policy);
    let run = env.run("tap-clicks-blocked", &[]);
    run.assert_error(
        78,
        &["preparing OpenSSL"],
        "policy of this machine's OpenSSL",
    );
}

#[test]
fn a_reset_before_the_goodbye_is_no_confirmation_and_nothing_is_lost() {
    if !is_built_in() {
        return;
    }
    play(100, |rng| {
        let mut env = filled(speaking(rng), rng);
        by_openssl(&mut env);
        let after = rng.below(140_000);
        let early = match rng.chance(50) {
            true => Behaviour::ResetAfter(after),
            false => Behaviour::CloseAfter(after),
        };
        check(&env, [Behaviour::Normal, early]);
    });
    let env = for_receiver(Options::default());
    env.devo.behave(|number| match number {
        0 => Behaviour::Normal,
        _ => Behaviour::ResetAtGoodbye,
    });
    env.run(SERVICE, &[]).assert_error(74, &["confirming"], "");
    let unconfirmed = env.unconfirmed_from(0, true);
    env.devo.behave(|_| Behaviour::Normal);
    env.run(SERVICE, &[]).assert_status(0);
    env.assert_repeated_at_most(SERVICE, unconfirmed);
}

#[test]
fn a_receiver_of_any_moods_gets_everything() {
    if !is_built_in() {
        return;
    }
    play(100, |rng| {
        let mut env = filled(speaking(rng), rng);
        by_openssl(&mut env);
        env.http_table = env.http_table.replace("20s", "1s");
        let moods: Vec<Behaviour> = (0..1 + rng.below(6)).map(|_| mood(rng)).collect();
        check(&env, moods);
    });
}

#[test]
fn a_close_notify_is_told_from_a_bare_end_of_the_connection() {
    if !is_built_in() {
        return;
    }
    let versions = [Versions::Tls12, Versions::Tls13];
    each(versions.map(|one| (format!("{one:?}"), one)), |versions| {
        let env = for_receiver(Options {
            versions,
            ..Options::default()
        });
        let run = |behaviour: Behaviour| {
            env.devo.behave(move |_| behaviour.clone());
            env.run(SERVICE, &[])
        };
        let says = || env.state(SERVICE)["receiver"]["sends_close_notify"].clone();
        run(Behaviour::NoGoodbye).assert_status(0);
        assert_eq!(says(), false);
        run(Behaviour::Normal).assert_status(0);
        assert_eq!(says(), true);
        let failed = run(Behaviour::NoGoodbye);
        failed.assert_error(74, &["without close_notify"], "--forget-receiver");
        env.assert_exactly_once(SERVICE);
    });
}

#[test]
fn a_receiver_that_never_closes_confirms_nothing_but_where_acknowledgement_is_enough() {
    if !is_built_in() {
        return;
    }
    let mut env = for_receiver(Options::default());
    env.http_table = env.http_table.replace("20s", "2s");
    env.devo.behave(|_| Behaviour::NeverClose);
    let said = ["waiting for the receiver to close"];
    let run = env.run(SERVICE, &[]);
    run.assert_error(74, &said, "set [devo] confirm = \"acknowledged\"");
    assert_eq!(env.devo.count(), 0);
    env.devo_table += "confirm = \"acknowledged\"\n";
    let run = env.run(SERVICE, &[]);
    run.assert_status(0)
        .assert_says("confirmed by acknowledgement alone");
    env.assert_exactly_once(SERVICE);
}

#[test]
fn answers_come_over_https_and_both_ends_through_a_proxy() {
    const SERVICE: &str = "tap-clicks-permitted";
    if !is_built_in() {
        return;
    }
    let mut env = world_over_tls();
    by_openssl(&mut env);
    env.run(SERVICE, &[]).assert_status(0);
    env.assert_exactly_once(SERVICE);

    let mut env = world_over_tls();
    by_openssl(&mut env);
    let proxy = Proxy::start();
    env.http_table += &format!("proxy = {:?}\n", proxy.url());
    env.run(SERVICE, &[]).assert_status(0);
    env.assert_exactly_once(SERVICE);
    assert!(proxy.targets().contains(&env.devo.address()));

    let mut env = world_with(|certs| Tap::start_tls_with(&certs.server_for("tap.example")));
    by_openssl(&mut env);
    let run = env.run(SERVICE, &[]);
    run.assert_error(69, &["[PullError 301]"], "check base_url");
    assert_eq!(env.devo.count(), 0);
}

#[test]
fn the_log_stream_comes_over_wss() {
    if !is_built_in() {
        return;
    }
    let mut hours = Hours::new();
    let pod = Pod::start_tls(&hours.env.certs);
    pod.set_now(NOW);
    pod.fill(STREAM, (FROM, FROM + Duration::hours(1)), 100, 1);
    let old = hours.env.pod.url();
    hours.env.pod_table = hours.env.pod_table.replace(&old, &pod.url());
    hours.env.http_table = format!("ca = {:?}\n", hours.env.certs.ca());
    by_openssl(&mut hours.env);
    hours.env.pod = pod;
    hours.run(NOW).assert_status(0);
    hours.env.assert_exactly_once(crate::pod::SERVICE);
}
