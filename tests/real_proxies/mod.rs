//! Proxies that others made: squid and tinyproxy, with and without a login, and mitmproxy, which opens
//! TLS.
//!
//! `.ci/run` unpacks them and names their folder in `PROOFPULL_PROXIES`; one that is missing is a
//! failure then. Elsewhere those that the machine has are used, and what is missing is skipped.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::real_receivers::free_port;
use crate::simulator::{Certs, Options, Pod, Rng, Tap, wait_until};
use crate::test_env::{Run, Running, TestEnv, ago, each, seed};

const SERVICE: &str = "tap-clicks-permitted";
const SERVICES: [&str; 3] = [SERVICE, "pod-audit", "isolation-url"];
/// As squid's helper reads it: `me` and `pass-4f`.
const PASSWORDS: &str = "me:$apr1$proofpul$zcoq20K5Aqg6WFsucWhP21\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Squid,
    Tinyproxy,
    Mitmproxy,
}
use Kind::{Mitmproxy, Squid, Tinyproxy};

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Squid => "usr/sbin/squid",
            Tinyproxy => "usr/bin/tinyproxy",
            Mitmproxy => "mitmproxy/bin/mitmdump",
        }
    }
}

/// Where a proxy is; `None`, and said, where it is not and need not be.
fn find(kind: Kind) -> Option<PathBuf> {
    let unpacked = std::env::var_os("PROOFPULL_PROXIES").map(PathBuf::from);
    let root = unpacked.clone().unwrap_or_else(|| "/".into());
    if root.join(kind.program()).exists() {
        return Some(root);
    }
    let why = format!("{} is not in {}", kind.program(), root.display());
    assert!(unpacked.is_none(), "{why}");
    println!("skipped {kind:?}: {why}");
    None
}

/// One that runs, with a folder and a port of its own; killed when dropped.
struct Proxy {
    dir: PathBuf,
    port: u16,
    running: Option<Running>,
}

impl Proxy {
    /// Starts one that wants the login `me:pass-4f`, or none.
    fn start(kind: Kind, root: &Path, env: &TestEnv, wants_login: bool) -> Proxy {
        let dir = env.dir.path().join("proxy");
        fs::create_dir(&dir).unwrap();
        let mut proxy = Proxy {
            dir,
            port: 0,
            running: None,
        };
        // another program may have taken the port since it was found free
        for _ in 0..20 {
            proxy.port = free_port(&mut Rng::new(seed()));
            let mut command = proxy.command(kind, root, env, wants_login);
            if proxy.run(&mut command) {
                return proxy;
            }
        }
        panic!("{kind:?} does not start");
    }

    fn command(&self, kind: Kind, root: &Path, env: &TestEnv, wants_login: bool) -> Command {
        let file = |name: &str| self.dir.join(name);
        let program = root.join(kind.program());
        let access = match (kind, wants_login) {
            (Squid, true) => "http_access deny !known",
            (Tinyproxy, true) => "BasicAuth me pass-4f",
            _ => "",
        };
        let configure = |template: &str| {
            let text = template
                .replace("@PORT@", &self.port.to_string())
                .replace("@DIR@", &self.dir.display().to_string())
                .replace("@ROOT@", &root.display().to_string())
                .replace("@ACCESS@", access);
            fs::write(file("conf"), text).unwrap();
        };
        match kind {
            Squid => {
                configure(include_str!("squid.conf"));
                fs::write(file("passwords"), PASSWORDS).unwrap();
                let mut command = Command::new("env");
                if rustix::process::geteuid().is_root() {
                    // it refuses to run as root
                    command.args(["unshare", "--user", "--map-user=1", "--map-group=1"]);
                }
                command.arg(program).arg("-N").arg("-f").arg(file("conf"));
                command.args(["-n", &format!("proofpull{}", self.port)]);
                command
            }
            Tinyproxy => {
                configure(include_str!("tinyproxy.conf"));
                let mut command = Command::new(program);
                command.arg("-d").arg("-c").arg(file("conf"));
                command
            }
            Mitmproxy => {
                let devo = env
                    .devo
                    .address()
                    .replace("localhost", "(localhost|127.0.0.1)");
                let mut command = Command::new(program);
                command.args(["--listen-host", "127.0.0.1", "--listen-port"]);
                command.arg(self.port.to_string());
                command.args(["--set", &format!("confdir={}", self.dir.display())]);
                let ca = env.certs.ca();
                let ca = format!("ssl_verify_upstream_trusted_ca={}", ca.display());
                command.args(["--set", &ca]);
                // a client certificate cannot be shown through it
                command.args(["--ignore-hosts", &format!("^{devo}$")]);
                command
            }
        }
    }

    /// Starts the program; whether it came to listen.
    fn run(&mut self, command: &mut Command) -> bool {
        let mut running = Running::start(command);
        let mut over = false;
        let mut listens = || {
            over = running.is_over();
            over || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
        };
        wait_until(&mut listens, "the proxy to listen");
        match over {
            false => self.running = Some(running),
            true => println!("{}", running.wait().stderr),
        }
        !over
    }

    fn set(&self, env: &mut TestEnv, login: &str) {
        env.http_table += &format!("proxy = \"http://{login}127.0.0.1:{}\"\n", self.port);
    }
}

/// TAP and PoD over TLS, with some events of TAP.
fn world() -> TestEnv {
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("certs");
    fs::create_dir(&certs).unwrap();
    let certs = Certs::make(&certs);
    let tap = Tap::start_tls(&certs);
    let mut env = TestEnv::of(dir, Options::default(), tap, certs);
    let pod = Pod::start_tls(&env.certs);
    env.pod_table = env.pod_table.replace(&env.pod.url(), &pod.url());
    env.pod = pod;
    env.http_table += &format!("ca = {:?}\n", env.certs.ca());
    env.start_at(ago(60));
    env.add(SERVICE, ago(60), ago(3), 10);
    env
}

fn check(env: &TestEnv) -> Run {
    let services = SERVICES.iter().copied();
    let words: Vec<&str> = ["check", "--online"].into_iter().chain(services).collect();
    env.ask(&words)
}

/// Everything works, and each connection went through the proxy.
fn assert_works(env: &TestEnv, proxy: &Proxy) {
    let run = check(env);
    run.assert_status(0);
    env.run(SERVICE, &[]).assert_status(0);
    env.assert_exactly_once(SERVICE);
    let Ok(access) = fs::read_to_string(proxy.dir.join("access")) else {
        return;
    };
    for address in [env.tap.url(), env.pod.url(), env.devo.address()] {
        let port = address.trim_end_matches('/').rsplit(':').next().unwrap();
        assert!(access.contains(&format!(":{port}")), "{address}: {access}");
    }
}

#[test]
fn a_real_proxy_is_passed_with_and_without_a_login() {
    let ways = [Squid, Tinyproxy].into_iter().flat_map(|kind| {
        let root = find(kind);
        let ways = [
            (false, ""),
            (true, "me:pass-4f@"),
            (true, "me:wrong-4f@"),
            (true, ""),
        ];
        let ways = ways.map(|(wants_login, login)| (kind, root.clone(), wants_login, login));
        ways.into_iter().filter(|(_, root, ..)| root.is_some())
    });
    let named = ways.map(|way| (format!("{way:?}"), way));
    each(
        named.collect::<Vec<_>>(),
        |(kind, root, wants_login, login)| {
            let mut env = world();
            let proxy = Proxy::start(kind, &root.unwrap(), &env, wants_login);
            proxy.set(&mut env, login);
            if wants_login == (login == "me:pass-4f@") {
                return assert_works(&env, &proxy);
            }
            let run = env.run(SERVICE, &[]);
            run.assert_error(77, &["proxy"], "[http] proxy");
            run.assert_never_says("-4f");
            assert_eq!((env.tap.requests().len(), env.devo.count()), (0, 0));
        },
    );
}

#[test]
fn a_proxy_that_opens_tls_is_passed_with_its_ca_and_refused_without_it() {
    let Some(root) = find(Mitmproxy) else {
        return;
    };
    let mut env = world();
    let proxy = Proxy::start(Mitmproxy, &root, &env, false);
    proxy.set(&mut env, "");
    let run = env.run(SERVICE, &[]);
    run.assert_error(69, &["UnknownIssuer"], "[http] ca");
    assert_eq!((env.tap.requests().len(), env.devo.count()), (0, 0));

    // as the proxy's operator hands it out
    let ca = proxy.dir.join("mitmproxy-ca-cert.pem");
    let ours = format!("{:?}", env.certs.ca());
    env.http_table = env.http_table.replace(&ours, &format!("{ca:?}"));
    assert_works(&env, &proxy);
}
