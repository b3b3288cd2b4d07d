//! From the folder of a Devo collector to a run that goes on where it stopped.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proofpull::clock::utc;
use time::{Duration, OffsetDateTime};

use crate::pod::{FROM, NOW, PER_HOUR, STREAM};
use crate::simulator::{API_KEY, CLUSTER, PRINCIPAL, SECRET, TOKEN};
use crate::test_env::{Run, Running, TestEnv, ago, array};

/// The folder of a collector: `config/config.yaml`, `certs` and `state`.
struct OldCollector<'a> {
    env: &'a TestEnv,
    dir: PathBuf,
}

impl OldCollector<'_> {
    /// With these lines under `inputs`.
    fn new<'a>(env: &'a TestEnv, inputs: &str) -> OldCollector<'a> {
        let dir = env.dir.path().join("devo-collectors");
        for folder in ["config", "certs", "state"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        let copies = [
            (env.certs.ca(), "chain.crt"),
            (env.certs.client_cert(), "acme.crt"),
            (env.certs.client_key(), "acme.key"),
        ];
        for (from, to) in copies {
            fs::copy(from, dir.join("certs").join(to)).unwrap();
        }
        let devo = env.devo.address().to_string();
        let (host, port) = devo.rsplit_once(':').unwrap();
        let text = format!(
            "globals:\n  debug: false\n  id: not_used\n  name: acme\n  persistence:\n    type: filesystem\n    config:\n      \
             directory_name: state\noutputs:\n  devo_1:\n    type: devo_platform\n    config:\n      address: {host}\n      \
             port: {port}\n      type: SSL\n      chain: chain.crt\n      cert: acme.crt\n      key: acme.key\ninputs:\n{inputs}"
        );
        fs::write(dir.join("config/config.yaml"), text).unwrap();
        OldCollector { env, dir }
    }

    fn tap<'a>(env: &'a TestEnv) -> OldCollector<'a> {
        let input = format!(
            "  proofpoint_tap:\n    id: 12345\n    enabled: true\n    credentials:\n      username: {PRINCIPAL}\n      \
             password: {SECRET}\n    override_url_base: {}\n    services:\n      messagesBlocked:\n        \
             request_period_in_seconds: 300\n      clicksPermitted: {{}}\n",
            env.tap.url()
        );
        OldCollector::new(env, &input)
    }

    /// Saves a position for a service as the collector's SDK does, where there is a Python.
    fn save(&self, collector: &str, service: &str, time: OffsetDateTime) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/collector_state.py");
        let words = [
            collector,
            service,
            "ServicePuller",
            "last_event_time_in_utc",
        ];
        let saved = Command::new("python3")
            .arg(script)
            .arg(self.dir.join("state"))
            .args(words)
            .arg(utc(time))
            .stdin(Stdio::null())
            .status();
        match saved {
            Ok(status) => assert!(status.success()),
            Err(_) => {
                println!("without python3: the bytes that it would write");
                // protocol 4 of {"last_event_time_in_utc": TIME}
                let mut bytes = b"\x80\x04}\x94\x8c\x16last_event_time_in_utc\x94\x8c\x14".to_vec();
                bytes.extend(utc(time).bytes().chain(*b"\x94s."));
                fs::write(self.dir.join("state").join(service), bytes).unwrap();
            }
        }
    }

    fn new_dir(&self) -> PathBuf {
        self.env.dir.path().join("new")
    }

    fn config(&self) -> PathBuf {
        self.dir.join("config/config.yaml")
    }

    fn import(&self, more: &[&str]) -> Run {
        let mut command = command(self.env, &["import"]);
        command.arg(self.config()).arg("--into").arg(self.new_dir());
        Running::start(command.args(more)).wait()
    }

    fn import_with_state(&self, more: &[&str]) -> Run {
        let state = self.dir.join("state");
        let words = [&["--state", state.to_str().unwrap()], more].concat();
        self.import(&words)
    }

    /// A run of a service with the new configuration.
    fn run(&self, service: &str, more: &[&str]) -> Run {
        let mut command = command(self.env, &["run", service]);
        command
            .arg("--config")
            .arg(self.new_dir().join("config.toml"));
        Running::start(command.args(more)).wait()
    }
}

fn command(env: &TestEnv, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
    command.args(words).arg("--state-dir").arg(env.state_dir());
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

#[test]
fn a_collector_for_tap_is_taken_over_without_a_hole() {
    let env = TestEnv::new();
    let (position, services) = (ago(180), ["tap-messages-blocked", "tap-clicks-permitted"]);
    let old = OldCollector::tap(&env);
    let mut before = BTreeSet::new();
    let mut all = BTreeSet::new();
    for service in services {
        let serials = || env.tap.serials(array(service)).into_keys();
        // what comes before the overlap of two hours, within it, and after the position
        env.add(service, ago(400), ago(302), 10);
        before.extend(serials());
        env.add(service, ago(298), ago(182), 10);
        env.add(service, ago(178), ago(5), 30);
        all.extend(serials());
    }
    old.save("proofpoint_tap", "messagesBlocked", position);
    old.save(
        "proofpoint_tap",
        "clicksPermitted",
        position + Duration::minutes(4),
    );

    let run = old.import_with_state(&[]);
    run.assert_status(0).assert_never_says(SECRET);
    let said = run.answer();
    let start = utc(position - Duration::hours(2));
    for wanted in [
        "inputs.proofpoint_tap.credentials.password",
        "300s, in systemd/proofpull@tap-messages-blocked.timer.d",
        "last_event_time_in_utc is",
        "what it delivered of that time comes twice",
        "0 errors, 0 warnings",
        "systemctl enable --now proofpull@tap-clicks-permitted.timer",
        &start,
    ] {
        assert!(said.contains(wanted), "{wanted}:\n{said}");
    }
    assert!(!said.contains(SECRET), "{said}");

    for service in services {
        old.run(service, &[]).assert_status(0);
    }
    let arrived = env.devo.counts_by_serial();
    assert!(arrived.values().all(|count| *count == 1));
    let wanted: BTreeSet<u64> = all.difference(&before).copied().collect();
    assert_eq!(arrived.into_keys().collect::<BTreeSet<u64>>(), wanted);
    env.devo.clear();
    old.run("tap-messages-blocked", &[]).assert_status(0);
    assert_eq!(env.devo.count(), 0);
}

#[test]
fn a_collector_for_isolation_is_taken_over_without_a_hole() {
    let env = TestEnv::new();
    let input = format!(
        "  proofpoint_isolation:\n    id: 12345\n    enabled: yes\n    credentials:\n      api_key: {API_KEY}\n    services:\n      \
         url_isolation:\n        override_api_base_url: {}\n",
        env.isolation.url()
    );
    let old = OldCollector::new(&env, &input);
    old.save("proofpoint_isolation", "url_isolation", ago(180));
    env.add("isolation-url", ago(400), ago(302), 10);
    let before: BTreeSet<u64> = env.isolation.serials().into_keys().collect();
    env.add("isolation-url", ago(298), ago(60), 30);

    old.import_with_state(&[]).assert_status(0);
    old.run("isolation-url", &[]).assert_status(0);
    let arrived: BTreeSet<u64> = env.devo.counts_by_serial().into_keys().collect();
    let all: BTreeSet<u64> = env.isolation.serials().into_keys().collect();
    assert_eq!(arrived, all.difference(&before).copied().collect());
}

#[test]
fn a_collector_for_pod_is_taken_over_without_a_hole() {
    let env = TestEnv::new();
    let input = format!(
        "  proofpoint_on_demand:\n    id: 12345\n    credentials:\n      cluster_id: {CLUSTER}\n      api_key: {TOKEN}\n    \
         override_base_url: {}\n    services:\n      message:\n",
        env.pod.url()
    );
    let old = OldCollector::new(&env, &input);
    old.save("proofpoint_on_demand", "message", FROM + Duration::hours(3));
    let next = env
        .pod
        .fill(STREAM, (FROM, FROM + Duration::hours(5)), PER_HOUR, 1);
    env.pod.set_now(NOW);

    let now = utc(NOW);
    old.import_with_state(&["--now", &now]).assert_status(0);
    let config = old.new_dir().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let table = "[services.pod-message]\n";
    assert!(text.contains(table), "{text}");
    fs::write(
        &config,
        text.replace(table, &format!("{table}idle_exit = \"1s\"\n")),
    )
    .unwrap();
    // the last hour of the archive is due in the second run
    for now in [NOW, NOW + Duration::minutes(61)] {
        env.pod.set_now(now);
        old.run("pod-message", &["--now", &utc(now)])
            .assert_status(0);
    }
    let arrived: BTreeSet<u64> = env.devo.counts_by_serial().into_keys().collect();
    // the overlap begins an hour after the archive does
    assert_eq!(arrived, (1 + PER_HOUR..next).collect());
}

/// Every file below a folder, with its mode.
fn files(dir: &Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let mode = path.metadata().unwrap().permissions().mode() & 0o777;
            if path.is_dir() {
                assert_eq!(mode, 0o700, "{}", path.display());
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap();
                found.push((name.to_owned(), mode));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn files_are_for_their_owner_alone_and_none_is_replaced() {
    let env = TestEnv::new();
    let old = OldCollector::tap(&env);
    let shown = old.import(&["--dry-run"]);
    shown.assert_status(0);
    assert!(!old.new_dir().exists());
    let shown = shown.answer();
    for wanted in [
        "new/config.toml\n",
        "[services.tap-clicks-permitted]",
        "new/tap.secret\n(a secret)",
        "new/certs/domain.key\n(a copy",
    ] {
        assert!(shown.contains(wanted), "{wanted}:\n{shown}");
    }
    assert!(!shown.contains(SECRET), "{shown}");

    // one file that is there keeps all others from being written
    fs::create_dir(old.new_dir()).unwrap();
    fs::write(old.new_dir().join("tap.secret"), "mine").unwrap();
    old.import(&[]).assert_error(
        73,
        &["new/tap.secret is there already, so nothing was written"],
        "--into",
    );
    assert_eq!(
        fs::read_to_string(old.new_dir().join("tap.secret")).unwrap(),
        "mine"
    );
    assert_eq!(files(&old.new_dir()).len(), 1);
    fs::remove_dir_all(old.new_dir()).unwrap();

    let credentials = old.new_dir().join("credentials");
    fs::create_dir_all(&credentials).unwrap();
    for folder in [&credentials, &old.new_dir()] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let run = old.import(&[]);
    run.assert_status(0);
    let wanted = format!("\nchmod -R go= {}\n", credentials.display());
    assert!(run.answer().contains(&wanted), "{}", run.answer());
    let written = [
        "certs/chain.crt",
        "certs/domain.crt",
        "certs/domain.key",
        "config.toml",
        "systemd/proofpull@tap-messages-blocked.timer.d/period.conf",
        "tap.secret",
    ];
    assert_eq!(
        files(&old.new_dir()),
        written.map(|name| (name.to_owned(), 0o600))
    );
    assert_eq!(
        fs::read_to_string(old.new_dir().join("tap.secret")).unwrap(),
        SECRET
    );
    let config = fs::read_to_string(old.new_dir().join("config.toml")).unwrap();
    assert!(!config.contains(SECRET));
    old.import(&[])
        .assert_error(73, &["is there already"], "--into");
}

#[test]
fn what_cannot_be_taken_over_is_named_and_nothing_is_written() {
    let env = TestEnv::new();
    let old = OldCollector::tap(&env);
    fs::write(
        old.dir.join("state/0123"),
        b"cos\nsystem\n(S'touch /tmp/x'\ntR.",
    )
    .unwrap();
    let run = old.import_with_state(&[]);
    run.assert_error(78, &["no position was found in the state"], "start_time");
    run.assert_says(
        "0123 in the state is not understood: it is more than plain data: GLOBAL is refused",
    );

    fs::remove_file(old.dir.join("certs/acme.key")).unwrap();
    old.import(&[]).assert_error(
        78,
        &[
            "certs/domain.key is to be copied",
            "config/../certs/acme.key",
        ],
        "put the collector's file there",
    );

    let text = fs::read_to_string(old.config()).unwrap();
    fs::write(old.config(), text.replace(SECRET, "<password_value>")).unwrap();
    old.import(&[]).assert_error(
        78,
        &["config.yaml:25:1: inputs.proofpoint_tap.credentials.password: is still the placeholder"],
        "put the value",
    );
    assert!(!old.new_dir().exists());
}

#[test]
fn a_collectors_configuration_is_recognised_where_one_of_proofpull_is_wanted() {
    let env = TestEnv::new();
    let old = OldCollector::tap(&env);
    for words in [
        &["check"][..],
        &["status"],
        &["run", "tap-clicks-permitted"],
    ] {
        let mut command = command(&env, words);
        command.arg("--config").arg(old.config());
        let run = Running::start(&mut command).wait();
        let hint = format!("proofpull import {} --into DIR", old.config().display());
        run.assert_error(
            78,
            &["config.yaml is the configuration of a Devo collector"],
            &hint,
        );
        run.assert_never_says(SECRET);
    }
}
