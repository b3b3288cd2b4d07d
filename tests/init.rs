//! `init`: what it writes, for whom, what it asks on a terminal, and that a run delivers with it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::simulator::{API_KEY, Certs, PRINCIPAL, SECRET, wait_until};
use crate::test_env::{Run, Running, TestEnv, ago, write_private};

const PROGRAM: &str = env!("CARGO_BIN_EXE_proofpull");

fn program(words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(words).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// Runs a command to its end, with this on standard input.
fn run(command: &mut Command, input: &str) -> Run {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), input).unwrap();
    let input = fs::File::open(file.path()).unwrap();
    let output = command.stdin(Stdio::from(input)).output().unwrap();
    Run {
        status: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs `init --non-interactive` for a folder.
fn init(dir: &Path, words: &[&str], input: &str) -> Run {
    let dir = dir.to_str().unwrap();
    let words = [&["init", "--non-interactive", "--dir", dir], words].concat();
    let run = run(&mut program(&words), input);
    for secret in [SECRET, API_KEY] {
        assert!(!run.answer().contains(secret) && !run.stderr.contains(secret));
    }
    run
}

fn both() -> String {
    format!("tap.secret={SECRET}\nisolation.key={API_KEY}\n")
}

fn tap_and_isolation(address: &str) -> [&str; 6] {
    let services = "tap-messages-blocked,isolation-*";
    [
        "--services",
        services,
        "--devo-address",
        address,
        "--tap-principal",
        PRINCIPAL,
    ]
}

fn put_certificates(certs: &Certs, dir: &Path) {
    for (from, name) in [
        (certs.ca(), "chain.crt"),
        (certs.client_cert(), "domain.crt"),
        (certs.client_key(), "domain.key"),
    ] {
        let text = fs::read_to_string(from).unwrap();
        write_private(&dir.join("certs").join(name), &text);
    }
}

#[test]
fn what_it_writes_passes_check_and_a_run_delivers_with_it() {
    let env = TestEnv::new();
    env.add("tap-messages-blocked", ago(60), ago(5), 40);
    let dir = env.dir.path().join("one/pp");
    let address = env.devo.address();
    let done = init(&dir, &tap_and_isolation(&address), &both());
    done.assert_status(0);
    let config = dir.join("config.toml");
    for wanted in [
        format!("made 0600 {}\n", config.display()),
        format!(
            "install -m 600 FILE {}",
            dir.join("certs/domain.key").display()
        ),
        format!("check --online --config {}\n", config.display()),
        format!("run tap-messages-blocked --config {}\n", config.display()),
    ] {
        assert!(
            done.answer().contains(&wanted),
            "{wanted}: {}",
            done.answer()
        );
    }
    for (name, mode) in [
        ("", 0o700),
        ("certs", 0o700),
        ("state", 0o700),
        ("config.toml", 0o600),
        ("tap.secret", 0o600),
        ("isolation.key", 0o600),
    ] {
        let about = fs::metadata(dir.join(name)).unwrap();
        assert_eq!(about.mode() & 0o777, mode, "{name}");
    }
    let check = |status: i32| {
        let words = ["check", "--config", config.to_str().unwrap()];
        Running::start(&mut program(&words))
            .wait()
            .assert_status(status)
            .answer()
    };
    assert!(check(78).contains("certs/chain.crt"));
    put_certificates(&env.certs, &dir);
    let answer = check(0);
    assert!(answer.contains("0 errors, 0 warnings"), "{answer}");

    let text = fs::read_to_string(&config).unwrap();
    let address = format!("[tap]\nbase_url = {:?}\n", env.tap.url());
    let text = text.replace("[tap]\n", &address);
    fs::write(&config, text).unwrap();
    let words = [
        "run",
        "tap-messages-blocked",
        "--config",
        config.to_str().unwrap(),
    ];
    Running::start(&mut program(&words)).wait().assert_status(0);
    env.assert_exactly_once("tap-messages-blocked");
    assert!(dir.join("state/tap-messages-blocked.json").exists());
}

#[test]
fn certificates_that_are_given_are_copied() {
    let env = TestEnv::new();
    let dir = env.dir.path().join("pp");
    let words = [
        "--services",
        "isolation-web",
        "--devo-address",
        &env.devo.address(),
        "--devo-chain",
        env.certs.ca().to_str().unwrap(),
        "--devo-cert",
        env.certs.client_cert().to_str().unwrap(),
        "--devo-key",
        env.certs.client_key().to_str().unwrap(),
    ]
    .map(str::to_owned);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = init(&dir, &words, &format!("isolation.key={API_KEY}"));
    assert!(!done.assert_status(0).answer().contains("Put in place"));
    let config = dir.join("config.toml");
    let check = ["check", "--config", config.to_str().unwrap()];
    Running::start(&mut program(&check)).wait().assert_status(0);
    let key = fs::metadata(dir.join("certs/domain.key")).unwrap();
    assert_eq!(key.mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_is_there_is_named_and_nothing_is_written() {
    for name in ["config.toml", "tap.secret", "isolation.key"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, "old").unwrap();
        let refused = init(dir.path(), &tap_and_isolation("devo:1"), &both());
        refused
            .assert_status(73)
            .assert_says(path.to_str().unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{name}");
    }
}

#[test]
fn a_dry_run_shows_everything_but_the_secrets_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("pp");
    let words = [&tap_and_isolation("devo:1")[..], &["--dry-run"]].concat();
    let shown = init(&inside, &words, &both());
    let answer = shown.assert_status(0).answer();
    for wanted in [
        "0600 ",
        "config.toml",
        "[services.isolation-url]",
        "tap.secret\n(a secret)",
        PRINCIPAL,
    ] {
        assert!(answer.contains(wanted), "{wanted}: {answer}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    // what is for root alone may be looked at by everybody
    let words = [
        &words[..],
        &["--services", "pod-audit", "--pod-cluster-id", "c"],
    ]
    .concat();
    let words = [&["init", "--non-interactive"], &words[..]].concat();
    let shown = run(&mut program(&words), &both());
    let answer = shown.assert_status(0).answer();
    for wanted in [
        "==> 0640 root:proofpull /etc/proofpull/config.toml\n",
        "secret = { credential = \"proofpull_tap.secret\" }",
        "/etc/systemd/system/proofpull@pod-audit.timer.d/back-to-back.conf\n# ",
    ] {
        assert!(answer.contains(wanted), "{wanted}: {answer}");
    }
}

#[test]
fn wrong_options_and_input_are_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("pp");
    let refused = |words: &[&str], input: &str, said: &str| {
        init(&inside, words, input)
            .assert_status(2)
            .assert_says(said);
        assert!(!inside.exists());
    };
    let right = tap_and_isolation("devo:1");
    let with = |more: &[&'static str]| [&right[..], more].concat();
    refused(&right[..2], "", "--tap-principal is missing");
    refused(
        &tap_and_isolation("devo"),
        "",
        "--devo-address: [devo] address must end",
    );
    refused(&right, SECRET, "standard input, line 1");
    refused(
        &with(&["--enable"]),
        "",
        "--enable is for the systemd units",
    );
    refused(&with(&["--config", "x"]), "", "--dir");
    refused(&["--services", "tap-x"], "", "there is no service tap-x");
}

/// A folder for /etc and /var/lib that only this test sees, with the user that systemd-sysusers makes.
#[test]
fn for_the_units_owners_and_modes_are_those_of_their_documents() {
    let script = "set -e; for folder in /etc /var/lib /run; do mount -t tmpfs none $folder; done";
    let mounted = Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("skipped: nothing may be mounted here");
        return;
    }
    let env = TestEnv::new();
    let certs = env.dir.path().join("given");
    fs::create_dir_all(certs.join("certs")).unwrap();
    put_certificates(&env.certs, &certs);
    let script = format!(
        "{script}
        cp {PROGRAM} /etc/pp; touch /etc/passwd
        init() {{ /etc/pp init --services tap-messages-blocked,pod-audit --devo-address {address} --tap-principal p \
            --pod-cluster-id c --devo-chain {certs}/chain.crt --devo-cert {certs}/domain.crt \
            --devo-key {certs}/domain.key; }}
        init </dev/null && exit 1 || echo status $?
        echo 'proofpull:x:998:997::/:/x' >/etc/passwd
        init
        init </dev/null && exit 1 || echo status $?
        cd /etc; find proofpull systemd /var/lib/proofpull -printf 'found %m %U:%G %p %l\\n'
        mkdir -m 700 given; cp proofpull/credentials/tap-messages-blocked/tap.secret given/proofpull_tap.secret
        chown -R 998 given
        CREDENTIALS_DIRECTORY=/etc/given STATE_DIRECTORY=/var/lib/proofpull PROOFPULL_CONFIG=/etc/proofpull/config.toml \
            setpriv --reuid=998 --regid=997 --clear-groups /etc/pp check tap-messages-blocked

        enable() {{ echo \"proofpull-$1:x:1:1::/:/x\" >>/etc/passwd
            /etc/pp init --dir /etc/proofpull-$1 --services isolation-url --devo-address devo:1 --enable </dev/null; }}
        enable a
        mkdir -p bin /run/systemd/system
        for name in systemd-run systemctl; do
            printf '#!/bin/sh\necho called %s \"$@\"; case \"$*\" in *proofpull-c*--online*) exit 69; esac\n' \
                $name >bin/$name
            chmod 755 bin/$name
        done
        PATH=/etc/bin:$PATH
        enable b
        enable c && exit 1 || echo ended with $?",
        address = env.devo.address(),
        certs = certs.join("certs").display(),
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script]).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let done = run(&mut command, "tap.secret=the secret\npod.key=k\n");
    let answer = done.assert_status(0).answer();
    done.assert_says("there is no user proofpull");
    done.assert_says("/etc/proofpull/config.toml is there already");
    assert_eq!(answer.matches("status 73\n").count(), 2, "{answer}");
    assert!(!answer.contains("the secret"));
    for wanted in [
        "750 0:997 proofpull",
        "640 0:997 proofpull/config.toml",
        "750 0:997 proofpull/certs",
        "640 0:997 proofpull/certs/domain.key",
        "700 0:0 proofpull/credentials",
        "700 0:0 proofpull/credentials/tap",
        "600 0:0 proofpull/credentials/tap/tap.secret",
        "600 0:0 proofpull/credentials/pod/pod.key",
        "777 0:0 proofpull/credentials/tap-messages-blocked tap",
        "700 998:997 /var/lib/proofpull",
        "644 0:0 systemd/system/proofpull@pod-audit.service.d/back-to-back.conf",
    ] {
        let found = answer
            .lines()
            .any(|line| line.trim_end() == format!("found {wanted}"));
        assert!(found, "{wanted}: {answer}");
    }
    assert!(answer.contains("0 errors, 0 warnings"), "{answer}");

    done.assert_says("systemd does not run here");
    let called = |tenant: &str| {
        let calls = answer.lines().filter(|line| line.starts_with("called"));
        let calls = calls.filter(|line| line.contains(tenant));
        calls.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(called("proofpull-a").is_empty());
    let [check, online, enabled] = &called("proofpull-b")[..] else {
        panic!("{answer}")
    };
    assert!(check.contains("systemd-run") && check.contains("check isolation-url --config"));
    assert!(online.contains("check isolation-url --online --config"));
    assert_eq!(
        enabled,
        "called systemctl enable --now proofpull-b@isolation-url.timer"
    );
    assert_eq!(called("proofpull-c").len(), 2);
    assert!(answer.contains("ended with 69"), "{answer}");
    done.assert_says("no timer was enabled");
}

/// A terminal of `script`, in which the program runs.
struct Dialogue {
    child: std::process::Child,
    keys: ChildStdin,
    shown: Arc<Mutex<String>>,
    reader: std::thread::JoinHandle<()>,
}

impl Dialogue {
    /// `None` where there is no `script`.
    fn start(dir: &Path) -> Option<Dialogue> {
        // in the place of the shell, whose status after ^C is its own
        let line = format!("exec {PROGRAM} init --dir {}", dir.display());
        let mut command = Command::new("script");
        command.args(["-q", "-e", "-c", &line, "/dev/null"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let Ok(mut child) = command.spawn() else {
            println!("skipped: there is no script");
            return None;
        };
        let (keys, mut out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let shown = Arc::new(Mutex::new(String::new()));
        let writes = Arc::clone(&shown);
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 1024];
            // the terminal ends with an error or with nothing
            while let Ok(length @ 1..) = std::io::Read::read(&mut out, &mut piece) {
                let text = String::from_utf8_lossy(&piece[..length]).into_owned();
                writes.lock().unwrap().push_str(&text);
            }
        });
        Some(Dialogue {
            child,
            keys,
            shown,
            reader,
        })
    }

    /// Types keys once the last thing on the terminal is this question.
    fn answer(&mut self, question: &str, keys: &str) {
        let asked = || self.shown.lock().unwrap().trim_end().ends_with(question);
        wait_until(asked, question);
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// The status, and all that the terminal showed.
    fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        self.reader.join().unwrap();
        (status.code(), self.shown.lock().unwrap().clone())
    }
}

#[test]
fn on_a_terminal_it_asks_and_does_not_show_the_secret() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("pp");
    let Some(mut dialogue) = Dialogue::start(&inside) else {
        return;
    };
    dialogue.answer("'pod-*':", "tap-message-blocked\n");
    dialogue.answer("'pod-*':", "tap-messages-blocked\n");
    dialogue.answer("Service principal of TAP:", "the principal\n");
    dialogue.answer("(not shown; empty: later):", "hunter2\n");
    dialogue.answer("collector-us.devo.io:443:", "devo.example\n");
    dialogue.answer("collector-us.devo.io:443:", "devo.example:443\n");
    dialogue.answer("CA of Devo, a file to copy (empty: later):", "\n");
    dialogue.answer(
        "Certificate of the Devo domain, a file to copy (empty: later):",
        "\n",
    );
    dialogue.answer(
        "Key of that certificate, a file to copy (empty: later):",
        "\n",
    );
    let (status, shown) = dialogue.end();
    assert_eq!(status, Some(0), "{shown}");
    assert!(
        shown.contains("must end with a colon and a port"),
        "{shown}"
    );
    assert!(shown.contains("the principal"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    let secret = inside.join("tap.secret");
    assert_eq!(fs::read(&secret).unwrap(), b"hunter2\n");
    assert_eq!(
        fs::metadata(&secret).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let text = fs::read_to_string(inside.join("config.toml")).unwrap();
    assert!(text.contains("principal = \"the principal\"") && text.contains("devo.example:443"));
}

#[test]
fn an_interrupted_dialogue_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("pp");
    let Some(mut dialogue) = Dialogue::start(&inside) else {
        return;
    };
    dialogue.answer("'pod-*':", "isolation-url\n");
    dialogue.answer("(not shown; empty: later):", "hunt\u{3}");
    let (status, shown) = dialogue.end();
    assert_eq!(status, Some(75), "{shown}");
    assert!(
        shown.contains("nothing was written") && !shown.contains("hunt"),
        "{shown}"
    );
    assert!(!inside.exists());
}
