//! `proofpull check`: everything wrong is said, nothing secret is, and nothing is well that was not tried.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use proofpull::config::EffectiveKey;
use proofpull::config::file::look;
use proofpull::service::SERVICES;
use serde_json::Value;
use time::OffsetDateTime;

use crate::simulator::SECRET;
use crate::test_env::{Running, TestEnv, ago, each, write_private};

const SERVICE: &str = "tap-messages-blocked";

/// Changes who may do what with a file.
pub(crate) fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn nothing_is_wrong_with_a_good_configuration() {
    let env = TestEnv::new();
    let run = env.ask(&["check"]);
    run.assert_status(0);
    assert!(
        run.answer()
            .ends_with("0 errors, 0 warnings; nothing was tested online, see --online\n"),
        "{run:?}"
    );
    assert_eq!((run.stderr.as_str(), env.tap.requests().len()), ("", 0));
    assert!(!env.state_dir().exists());
    let run = env.ask(&["check", "-q"]);
    assert_eq!((run.status, run.answer().as_str()), (Some(0), ""));
    let run = env.ask(&["check", SERVICE, "--json"]);
    run.assert_status(0);
    let answer = run.json();
    assert_eq!(
        (&answer["status"], &answer["status_name"]),
        (&Value::from(0), &Value::from("ok"))
    );
    assert_eq!(answer["findings"], Value::Array(Vec::new()));
    assert_eq!(
        (&answer["config"], &answer["online"]),
        (&Value::Null, &Value::Null)
    );
}

/// What is done to a world, and what is said of it: level, the line that is named, status, message, hint.
type Case = (&'static str, fn(&mut TestEnv), [&'static str; 4], i32);

#[test]
fn each_file_that_is_not_as_it_must_be_is_told_with_its_line_and_a_remedy() {
    let cases: &[Case] = &[
        (
            "no certificate",
            |env| env.devo_table = env.devo_table.replace("client.pem", "none.pem"),
            [
                "error",
                "cert = ",
                "none.pem: No such file",
                "set [devo] cert to a PEM file",
            ],
            78,
        ),
        (
            "a certificate that is none",
            |env| {
                let path = env.dir.path().join("broken.pem");
                write_private(
                    &path,
                    "-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n",
                );
                env.devo_table = env.devo_table.replace("certs/client.pem", "broken.pem");
            },
            [
                "error",
                "cert = ",
                "contains something that is not a certificate",
                "download it again",
            ],
            78,
        ),
        (
            "an expired certificate",
            |env| {
                let pair = env.certs.expired_client();
                show(env, &pair.cert, &pair.key);
            },
            [
                "error",
                "cert = ",
                "it expired on 2021-01-01T00:00:00Z",
                "download a new certificate",
            ],
            77,
        ),
        (
            "a certificate that expires soon",
            |env| {
                let pair = env.certs.client_for_days(20);
                show(env, &pair.cert, &pair.key);
            },
            [
                "warning",
                "cert = ",
                "it expires on 20",
                "download a new certificate",
            ],
            0,
        ),
        (
            "no key",
            |env| env.devo_table = env.devo_table.replace("client.key", "none.key"),
            [
                "error",
                "key = ",
                "none.key: No such file",
                "existing, readable PEM file",
            ],
            78,
        ),
        (
            "a key that others can read",
            |env| mode(&env.certs.client_key(), 0o644),
            [
                "error",
                "key = ",
                "others can read it (mode 0644)",
                "chmod 640",
            ],
            77,
        ),
        (
            "a key that does not fit",
            |env| {
                let (cert, key) = (env.certs.client_cert(), env.certs.lone_key());
                show(env, &cert, &key);
            },
            [
                "error",
                "key = ",
                "does not match the certificate",
                "two files of one download",
            ],
            78,
        ),
        (
            "no chain",
            |env| env.devo_table = env.devo_table.replace("ca.pem", "none.pem"),
            [
                "error",
                "chain = ",
                "none.pem: No such file",
                "PEM files of CA certificates",
            ],
            78,
        ),
        (
            "an expired chain",
            |env| {
                let pair = env.certs.expired_client();
                let line = format!("chain = {:?}\n", pair.cert);
                let chain = format!("chain = {:?}\n", env.certs.ca());
                env.devo_table = env.devo_table.replace(&chain, &line);
            },
            [
                "error",
                "chain = ",
                "every certificate in it has expired",
                "operator of the server",
            ],
            69,
        ),
        (
            "a CA that is none",
            |env| env.http_table += "ca = \"tap.secret\"\n",
            [
                "error",
                "ca = ",
                "it contains no certificate",
                "PEM files of CA certificates",
            ],
            78,
        ),
        (
            "no secret",
            |env| fs::remove_file(env.dir.path().join("tap.secret")).unwrap(),
            ["error", "secret = ", "No such file", "create it"],
            78,
        ),
        (
            "a secret that others can read",
            |env| mode(&env.dir.path().join("tap.secret"), 0o604),
            [
                "error",
                "secret = ",
                "others can read it (mode 0604)",
                "chmod 640",
            ],
            77,
        ),
        (
            "an empty secret",
            |env| write_private(&env.dir.path().join("tap.secret"), "\n"),
            ["error", "secret = ", "it is empty", "only the secret"],
            78,
        ),
        (
            "a variable that is not set",
            |env| secret(env, "{ env = \"NONE\" }"),
            [
                "error",
                "secret = ",
                "the variable is not set",
                "EnvironmentFile=",
            ],
            78,
        ),
        (
            "a credential outside of the unit",
            |env| secret(env, "{ credential = \"tap.secret\" }"),
            [
                "warning",
                "secret = ",
                "not checked",
                "/credentials/tap-messages-blocked proofpull check tap-messages-blocked --config",
            ],
            0,
        ),
        (
            "a credential that is missing in the unit",
            |env| {
                secret(env, "{ credential = \"none\" }");
                let dir = env.dir.path().display().to_string();
                env.env.insert("CREDENTIALS_DIRECTORY".into(), dir);
            },
            ["error", "secret = ", "No such file", "create it"],
            78,
        ),
        (
            "a state folder that is none",
            |env| fs::write(env.state_dir(), "").unwrap(),
            [
                "error",
                "state_dir = ",
                "creating a file in",
                "make it writable",
            ],
            73,
        ),
        (
            "a folder for metrics that is not there",
            |env| env.top = "metrics.textfile_dir = \"none\"".into(),
            [
                "warning",
                "metrics.textfile_dir = ",
                "creating a file in",
                "create it",
            ],
            0,
        ),
        (
            "a start that is too old",
            |env| env.start_at(ago(20 * 24 * 60)),
            [
                "warning",
                "start_time = ",
                "the service keeps nothing before",
                "later time",
            ],
            0,
        ),
        (
            "no sign-in",
            |env| env.tap_table.clear(),
            [
                "error",
                "[services.tap-messages-blocked]",
                "the configuration has no table [tap]",
                "add [tap]",
            ],
            78,
        ),
    ];
    each(
        cases.iter().map(|case| (case.0.to_owned(), case)),
        |(name, spoil, says, status)| {
            let mut env = TestEnv::new();
            spoil(&mut env);
            let run = env.ask(&["check", SERVICE, "--json"]);
            run.assert_status(*status);
            assert!(
                !run.answer().contains("hunter2") && !run.answer().contains(SECRET),
                "{name}: {}",
                run.answer()
            );
            let answer = run.json();
            let findings = answer["findings"].as_array().unwrap();
            assert_eq!(findings.len(), 1, "{name}: {findings:#?}");
            let [level, line, message, hint] = says;
            let text = fs::read_to_string(env.config_path()).unwrap();
            let at = findings[0]["place"][0].as_u64().unwrap() as usize - 1;
            assert!(
                text.lines().nth(at).unwrap().starts_with(line),
                "{name}: line {at} of\n{text}"
            );
            assert_eq!(findings[0]["level"], *level, "{name}");
            // what a run ends with, unless it never needs it: nothing here is asked over TLS
            if *level == "error" && *name != "a CA that is none" {
                env.run(SERVICE, &[]).assert_status(*status);
            }
            for (key, wanted) in [("message", message), ("hint", hint)] {
                let said = findings[0][key].as_str().unwrap();
                assert!(
                    said.contains(wanted),
                    "{name}: {key} is {said:?}, not {wanted:?}"
                );
            }
        },
    );
}

/// Lets the program show another certificate.
pub(crate) fn show(env: &mut TestEnv, cert: &Path, key: &Path) {
    let (old_cert, old_key) = (env.certs.client_cert(), env.certs.client_key());
    for (old, new) in [(old_cert, cert), (old_key, key)] {
        env.devo_table = env
            .devo_table
            .replace(&format!("{old:?}"), &format!("{new:?}"));
    }
}

fn secret(env: &mut TestEnv, value: &str) {
    let start = env.tap_table.find("secret =").unwrap();
    env.tap_table.truncate(start);
    env.tap_table += &format!("secret = {value}\n");
}

#[test]
fn what_is_wrong_in_the_text_does_not_hide_what_is_wrong_with_files() {
    let mut env = TestEnv::new();
    env.top = "nam = \"x\"\n".into();
    env.http_table += "timeot = \"1s\"\n";
    env.service_table = "tag = \"a\"\n".into();
    env.devo_table = env.devo_table.replace("client.pem", "none.pem");
    mode(&env.dir.path().join("tap.secret"), 0o644);
    let run = env.ask(&["check"]);
    run.assert_status(78);
    let said = run.answer();
    for words in [
        "no key nam",
        "has no key timeot",
        "must be two to six levels",
        "none.pem",
        "others can read it",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("error: "))
        .collect();
    // the tag of each service that is asked for windows
    let windows = SERVICES
        .iter()
        .filter(|service| service.sign_in_table() != "pod");
    assert_eq!(lines.len(), 4 + windows.count(), "{said}");
    let place = |line: &&str| -> usize {
        line.rsplit(".toml:")
            .next()
            .unwrap()
            .split(':')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    assert!(lines.is_sorted_by_key(place), "{said}");
    assert_eq!(said.matches("  hint: ").count(), lines.len());
}

#[test]
fn a_plain_secret_in_a_file_that_others_can_read_is_refused() {
    let mut env = TestEnv::new();
    secret(&mut env, &format!("{SECRET:?}"));
    env.ask(&["check"]).assert_status(0);
    let path = env.write_config();
    mode(&path, 0o644);
    let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
    let run = Running::start(command.args(["check", "--show", "--config"]).arg(&path)).wait();
    run.assert_status(77);
    assert!(
        run.answer().contains("others can read it") && !run.answer().contains(SECRET),
        "{run:?}"
    );
}

#[test]
fn without_any_sign_in_nothing_is_called_good() {
    let env = TestEnv::new();
    let path = env.dir.path().join("empty.toml");
    write_private(&path, "name = \"x\"\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
    command.args(["check", "--online", "--config"]).arg(&path);
    let run = Running::start(command.arg("--state-dir").arg(env.state_dir())).wait();
    run.assert_status(78);
    for words in [
        "no service can be collected",
        "no table [devo], so nothing can be delivered",
        "online: 0 of 2 ok",
    ] {
        assert!(run.answer().contains(words), "{words}: {}", run.answer());
    }
}

/// Each example with every key set.
fn examples() -> Vec<String> {
    let files = fs::read_dir("examples").unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let files = files.filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    let set = |line: &str| match line.strip_prefix('#') {
        Some(set) if set.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
            set.to_owned()
        }
        _ => line.to_owned(),
    };
    let read = |path| fs::read_to_string::<PathBuf>(path).unwrap();
    let texts = files.map(read);
    let texts = texts.map(|text| text.lines().map(set).collect::<Vec<_>>().join("\n"));
    texts.collect()
}

#[test]
fn every_secret_is_looked_at() {
    for text in examples() {
        let (config, _) = look(&text, Path::new("/etc"), OffsetDateTime::now_utc());
        let looked_at: Vec<&str> = config.secrets().iter().map(|(name, _)| *name).collect();
        let is_secret = |key: &&EffectiveKey| {
            let value = key.value.as_deref().unwrap_or_default();
            value.starts_with("{ file = ")
        };
        let secrets: Vec<&EffectiveKey> = config.record.keys().filter(is_secret).collect();
        assert!(!secrets.is_empty());
        for secret in secrets {
            let is_looked_at = looked_at.iter().any(|name| secret.is(name));
            assert!(is_looked_at, "{secret:?} is not in {looked_at:?}");
        }
    }
}

#[test]
fn every_key_that_is_written_is_shown() {
    for text in examples() {
        let env = TestEnv::new();
        let path = env.dir.path().join("example.toml");
        write_private(&path, &text);
        let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
        command
            .args(["check", "--show", "--json", "--config"])
            .arg(&path);
        let answer = Running::start(command.env_clear()).wait().json();
        let shown = answer["config"].as_array().unwrap();
        let mut written: Vec<String> = Vec::new();
        for (key, value) in text.parse::<toml::Table>().unwrap() {
            written.extend(match value {
                toml::Value::Table(services) if key == "services" => {
                    let tables = services.iter();
                    let names = tables.flat_map(|(service, table)| {
                        let keys = table.as_table().unwrap().keys();
                        keys.map(move |name| format!("services.{service}.{name}"))
                    });
                    names.collect::<Vec<_>>()
                }
                toml::Value::Table(table) => {
                    let names = table.iter().flat_map(|(name, value)| match value {
                        toml::Value::Table(inner) if name == "query" || name == "report" => {
                            let inner = inner.keys().map(|own| format!("{key}.{name}.{own}"));
                            inner.collect()
                        }
                        _ => vec![format!("{key}.{name}")],
                    });
                    names.collect()
                }
                _ => vec![key],
            });
        }
        assert!(written.len() > 5, "{written:?}");
        for name in &written {
            let line = shown.iter().find(|line| whole(line) == *name);
            let line = line.unwrap_or_else(|| panic!("{name} is not shown"));
            assert_eq!(line["is_default"], false, "{name}");
        }
        let defaults = shown.iter().filter(|line| line["is_default"] == true);
        for line in defaults {
            assert!(!written.contains(&whole(line)), "{line}");
        }
    }
}

/// The name of a key that is shown, with its table.
fn whole(line: &Value) -> String {
    let (table, key) = (
        line["table"].as_str().unwrap(),
        line["key"].as_str().unwrap(),
    );
    match table {
        "" => key.to_owned(),
        _ => format!("{table}.{key}"),
    }
}

#[test]
fn what_is_shown_can_be_read_again_and_has_no_secret() {
    let env = TestEnv::new();
    let path = env.dir.path().join("example.toml");
    let example = include_str!("../examples/tap.toml");
    let text = examples()
        .into_iter()
        .find(|text| text.lines().count() == example.lines().count());
    let text = text
        .unwrap()
        .replace("secret = { file = \"tap.secret\" }", "secret = \"hunter2\"");
    write_private(&path, &text);
    let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
    command.args(["check", "--show", "--config"]).arg(&path);
    let said = Running::start(command.env_clear()).wait().answer();
    assert!(!said.contains("hunter2"), "{said}");
    for line in [
        "secret = \"***\"",
        "principal = \"00000000-0000-0000-0000-000000000000\"",
        "fields = { \"@devo_environment\" = \"prod\" }",
        "threat_type = [\"url\", \"attachment\"]",
        "requests = [{ period = \"1d\", at_most = 220 }]",
        "look_back = \"45m\"",
        "look_back = \"45m\"  # default",
        "# start_time is not set",
    ] {
        assert!(said.lines().any(|found| found == line), "{line}\n{said}");
    }
    let first = said
        .split("\n\n")
        .take_while(|part| !part.contains(": error: "));
    let again: String = first.collect::<Vec<_>>().join("\n\n");
    let (_, faults) = look(&again, Path::new("/"), OffsetDateTime::now_utc());
    assert_eq!(faults, [], "{again}");
}
