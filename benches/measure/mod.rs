//! Runs a program as a child against the simulator, and says what it took.

#![allow(dead_code, reason = "each includer uses a part of it")]

pub(crate) mod known;
pub(crate) mod relay;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use proofpull::clock::utc;
use time::OffsetDateTime;

use super::simulator::{API_KEY, Certs, Devo, Isolation, Options, PRINCIPAL, SECRET, Style, Tap};

/// How answers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Http,
    /// With all of the system's roots, for the API and for the receiver.
    Https,
    /// The same, compressed.
    HttpsGzip,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Http => "HTTP",
            Way::Https => "HTTPS",
            Way::HttpsGzip => "HTTPS with gzip",
        }
    }
}

/// A simulated Proofpoint, a receiver that counts lines, and a configuration for the program.
pub(crate) struct BenchEnv {
    way: Way,
    /// A service of TAP keeps its start, since another one would be a new beginning.
    made: OffsetDateTime,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) certs: Certs,
    pub(crate) tap: Tap,
    pub(crate) isolation: Isolation,
    pub(crate) devo: Devo,
}

impl BenchEnv {
    /// Over plain HTTP.
    pub(crate) fn new() -> BenchEnv {
        BenchEnv::of(Way::Http)
    }

    pub(crate) fn of(way: Way) -> BenchEnv {
        let dir = tempfile::tempdir().expect("a folder");
        let certs = Certs::make(dir.path());
        let style = Style {
            gzip: way == Way::HttpsGzip,
            ..Style::default()
        };
        let tap = match way {
            Way::Http => Tap::start(),
            Way::Https | Way::HttpsGzip => Tap::start_tls(&certs),
        };
        tap.set_style(style);
        let isolation = Isolation::start();
        isolation.set_style(style);
        let options = Options {
            keep: false,
            ..Options::default()
        };
        let devo = Devo::start(&certs, options);
        BenchEnv {
            way,
            made: OffsetDateTime::now_utc(),
            dir,
            certs,
            tap,
            isolation,
            devo,
        }
    }

    /// `proofpull run SERVICE`, from half an hour ago for TAP and from an hour ago for Isolation, with
    /// another state each time.
    pub(crate) fn proofpull(&self, service: &str, state: &str) -> Command {
        self.proofpull_confirming(service, state, "close")
    }

    /// The same, with another value of `[devo] confirm`.
    pub(crate) fn proofpull_confirming(
        &self,
        service: &str,
        state: &str,
        confirm: &str,
    ) -> Command {
        let minutes = match service.starts_with("isolation") {
            true => 60,
            false => 30,
        };
        let tables = self.tables(service, minutes);
        let tables = format!("confirm = {confirm:?}\n{tables}");
        self.command(service, state, &self.devo.address(), &tables)
    }

    /// `proofpull run SERVICE` for a service of TAP, from so many minutes before this environment was made.
    pub(crate) fn proofpull_since(&self, service: &str, state: &str, minutes: u64) -> Command {
        let tables = self.tables(service, minutes);
        self.command(service, state, &self.devo.address(), &tables)
    }

    /// The tables of a service of TAP that starts so many minutes before this environment was made, or of Isolation
    /// so many minutes ago.
    fn tables(&self, service: &str, minutes: u64) -> String {
        let is_isolation = service.starts_with("isolation");
        let now = match is_isolation {
            true => OffsetDateTime::now_utc(),
            false => self.made,
        };
        let start = utc(now - Duration::from_secs(60 * minutes));
        match is_isolation {
            true => format!(
                "[isolation]\napi_key = {API_KEY:?}\n[services.{service}]\nurl = {:?}\nstart_time = {start:?}\n",
                self.isolation.url(),
            ),
            false => format!(
                "[tap]\nbase_url = {:?}\nprincipal = {PRINCIPAL:?}\nsecret = {SECRET:?}\n\
                 [services.{service}]\nstart_time = {start:?}\n",
                self.tap.url(),
            ),
        }
    }

    /// The same with another address of the receiver, and with other tables behind `[devo]`.
    pub(crate) fn command(
        &self,
        service: &str,
        state: &str,
        receiver: &str,
        tables: &str,
    ) -> Command {
        let config = self.dir.path().join("proofpull.toml");
        let chain = match self.way {
            Way::Http => format!("chain = {:?}\n", self.certs.ca()),
            Way::Https | Way::HttpsGzip => String::new(),
        };
        let text = format!(
            "state_dir = {:?}\n[devo]\naddress = {receiver:?}\n{chain}cert = {:?}\nkey = {:?}\n{tables}",
            self.dir.path().join(state),
            self.certs.client_cert(),
            self.certs.client_key(),
        );
        std::fs::write(&config, text).expect("the configuration");
        make_private(&config);
        let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
        command.args(["run", service, "--log-format", "json"]);
        command.arg("--config").arg(config);
        if self.way != Way::Http {
            command
                .env("SSL_CERT_FILE", self.roots())
                .env_remove("SSL_CERT_DIR");
        }
        command
    }

    /// The system's roots, and the authority of the simulated servers.
    fn roots(&self) -> std::path::PathBuf {
        const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";
        let path = self.dir.path().join("roots.pem");
        let texts = [Path::new(SYSTEM), &self.certs.ca()].map(std::fs::read);
        let texts = texts.map(|text| text.expect("a bundle of roots, as Debian has it"));
        std::fs::write(&path, texts.concat()).expect("the roots");
        path
    }
}

fn make_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
}

/// What a child took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl Cost {
    pub(crate) fn cpu(&self) -> Duration {
        self.user + self.system
    }
}

/// Runs it to its end.
///
/// # Panics
/// When it fails.
pub(crate) fn run(command: &mut Command) -> (Output, Cost) {
    let before = children();
    let started = Instant::now();
    let output = command.output().expect("the program starts");
    let wall = started.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let [user, system] = children();
    let cost = Cost {
        wall,
        user: user - before[0],
        system: system - before[1],
    };
    (output, cost)
}

/// User and system time of the children that ended (proc(5), `cutime` and `cstime`).
fn children() -> [Duration; 2] {
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string("/proc/self/stat").expect("proc");
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let fields: Vec<&str> = fields.split(' ').collect();
    [13, 14].map(|field| TICK * fields[field].parse::<u32>().expect("ticks"))
}

/// The messages of the program's log.
pub(crate) fn messages(output: &Output) -> Vec<serde_json::Value> {
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = said.lines();
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// The summary at its end.
pub(crate) fn summary(output: &Output) -> serde_json::Value {
    let mut messages = messages(output).into_iter();
    let end = messages.find_map(|line| line.get("summary").cloned());
    end.expect("an end line")
}
