//! No secret is ever said or kept, whatever happens; and none is taken from where others can read it.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::pod::{self, Hours};
use crate::simulator::{Ends, Fault, PRINCIPAL, Proxy, SECRET, StreamFault, TOKEN};
use crate::test_env::{Run, Running, TestEnv, ago, each, hold, write_private};

const SERVICE: &str = "tap-clicks-blocked";

fn env() -> TestEnv {
    let mut env = TestEnv::new();
    // a window too short to be halved often
    env.start_at(ago(2));
    env.add(SERVICE, ago(2), ago(1), 3);
    env.env.insert("RUST_LOG".into(), "trace".into());
    env.env.insert("RUST_BACKTRACE".into(), "full".into());
    env
}

/// Replaces the line of the secret.
fn set_secret(env: &mut TestEnv, line: &str) {
    let lines = env.tap_table.lines();
    let others = lines.filter(|line| !line.starts_with("secret"));
    env.tap_table = others.map(|line| format!("{line}\n")).collect();
    env.tap_table += &format!("{line}\n");
}

/// Where the secret comes from.
fn take_secret_from(env: &mut TestEnv, source: &str) {
    let dir = env.dir.path().to_owned();
    let line = match source {
        "env" => {
            env.env.insert("TAP_SECRET".into(), SECRET.into());
            "secret = { env = \"TAP_SECRET\" }".into()
        }
        "credential" => {
            let text = dir.display().to_string();
            env.env.insert("CREDENTIALS_DIRECTORY".into(), text);
            "secret = { credential = \"tap.secret\" }".into()
        }
        "command" => {
            let (text, script) = (dir.join("text"), dir.join("secret.sh"));
            let lines = format!("#!/bin/sh\necho {SECRET} >&2\necho {SECRET}\n");
            fs::write(&text, lines).unwrap();
            // by another process: a child that starts meanwhile would hold what we write open, and the
            // kernel runs no file that somebody may still write
            let copied = Command::new("cp").args([&text, &script]).status();
            assert!(copied.unwrap().success());
            fs::remove_file(&text).unwrap();
            chmod(&script, 0o700);
            "secret = { command = [\"./secret.sh\"] }".into()
        }
        "plain" => format!("secret = {SECRET:?}"),
        _ => "secret = { file = \"tap.secret\" }".into(),
    };
    if !matches!(source, "file" | "credential") {
        fs::remove_file(dir.join("tap.secret")).unwrap();
    }
    set_secret(env, &line);
}

/// A word and what base64 makes of it, alone or in the middle of something.
fn forms(word: &str) -> Vec<String> {
    let encoded = (0..3).map(|before| {
        let text = BASE64_STANDARD.encode([&[0; 2][..before], word.as_bytes()].concat());
        text[4 * usize::from(before > 0)..text.len() - 4].to_owned()
    });
    encoded.chain([word.to_owned()]).collect()
}

fn holds(bytes: &[u8], word: &str) -> bool {
    memchr::memmem::find(bytes, word.as_bytes()).is_some()
}

/// Neither what was said nor what was kept has any of these words.
#[track_caller]
fn assert_hidden(env: &TestEnv, run: &Run, words: &[&str]) {
    let mut texts = vec![run.stderr.clone().into_bytes(), run.stdout.clone()];
    let files = fs::read_dir(env.state_dir()).into_iter().flatten();
    texts.extend(files.map(|entry| fs::read(entry.unwrap().path()).unwrap()));
    for form in words.iter().flat_map(|word| forms(word)) {
        let found = texts.iter().find(|text| holds(text, &form));
        assert!(
            found.is_none(),
            "{form} is in:\n{}",
            String::from_utf8_lossy(found.unwrap())
        );
    }
}

#[test]
fn a_secret_from_anywhere_is_never_said_or_kept() {
    let pair = BASE64_STANDARD.encode(format!("{PRINCIPAL}:{SECRET}"));
    let percent: String = SECRET.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let echo = format!(
        "{SECRET}, Basic {pair}; {}, {percent} {SECRET}",
        BASE64_STANDARD.encode(SECRET)
    );
    let faults = [
        (0, None),
        (77, Some(Fault::status(401, &echo))),
        (77, Some(Fault::status(403, &echo))),
        (75, Some(Fault::status(429, &echo))),
        (69, Some(Fault::status(500, &echo))),
        (65, Some(Fault::Body(echo.clone().into()))),
        (69, Some(Fault::Raw(echo.clone().into()))),
        (69, Some(Fault::Reset)),
    ];
    let sources = ["file", "env", "credential", "command", "plain"];
    let rows = sources.iter().flat_map(|source| {
        let named =
            |row: &(i32, Option<Fault>)| (format!("{source} {}", row.0), (*source, row.clone()));
        faults.iter().map(named).collect::<Vec<_>>()
    });
    each(rows, |(source, (status, fault))| {
        let mut env = env();
        take_secret_from(&mut env, source);
        env.tap.script(move |_, _| fault.clone());
        for words in [
            &["-vv"][..],
            &["--log-format", "json", "-vv"],
            &["--stdout", "-vv"],
        ] {
            let run = env.run(SERVICE, words);
            run.assert_status(status);
            assert_hidden(&env, &run, &[SECRET, &pair]);
            if status == 69 {
                // one is enough, they take their time
                break;
            }
        }
    });
}

#[test]
fn the_reason_of_a_close_is_told_without_the_key_and_cannot_mislead() {
    // the key of the simulated stream
    const REASON: &str = "pod-token-0f3c9a27d15e \u{202e}has\u{9b}31m expired";
    assert!(REASON.starts_with(TOKEN));
    for format in ["text", "json"] {
        let hours = Hours::new().archive_mode();
        let expired = StreamFault::After(20, Ends::Reason(4001, REASON));
        hours.env.pod.script(move |_, _| Some(expired.clone()));
        let words = ["--log-format", format, "-vv", "--max-duration", "3s"];
        let run = hours.start(pod::NOW, &words).wait();
        run.assert_says("(4001)").assert_says("expired");
        assert_hidden(&hours.env, &run, &[TOKEN]);
        for misleading in ['\u{202e}', '\u{9b}'] {
            assert!(!run.stderr.contains(misleading), "{}", run.stderr);
        }
    }
}

#[test]
fn a_wrong_configuration_is_told_without_its_secrets() {
    let lines = [
        format!("secrt = {SECRET:?}"),
        format!("secret = \"{SECRET}"),
        format!("secret = {SECRET}"),
        format!("secret = [{SECRET:?}]"),
        format!("secret = {{ value = {SECRET:?} }}"),
        format!("secret = {{ env = {SECRET:?} }}"),
        format!("secret = {{ command = {SECRET:?} }}"),
        format!("secret = {{ command = [5, {SECRET:?}] }}"),
        format!("secret = {{ command = [\"false\", {SECRET:?}] }}"),
        format!("secret = {{ command = [\"/no/such/program\", {SECRET:?}] }}"),
        format!("secret = \"\"\"{SECRET}\nand more\"\"\""),
        format!("secret = {SECRET:?}\npassword = {SECRET:?}"),
        format!("secret = {SECRET:?}\nsecret = {SECRET:?}"),
        format!("secret = {SECRET:?} {SECRET}"),
        format!("secret = {SECRET:?}\n{SECRET}"),
        format!("secret = {SECRET:?}\n[http]\ntimeout = {SECRET:?}"),
        format!("secret = {SECRET:?}\n[http]\nproxy = \"http://me:{SECRET}@\""),
        format!("secret = {SECRET:?}\n[services.x]\nurl = \"https://me:{SECRET}@tap.example/x\""),
    ];
    for line in lines {
        let mut env = env();
        env.http_table.clear();
        set_secret(&mut env, &line);
        let run = env.run(SERVICE, &["-vv"]);
        run.assert_error(78, &[], "");
        assert_hidden(&env, &run, &[SECRET]);
    }
    for content in [
        format!("{SECRET}\n{SECRET}\n"),
        format!("{SECRET}\0"),
        format!("{SECRET}\u{1b}"),
    ] {
        let env = env();
        write_private(&env.dir.path().join("tap.secret"), &content);
        let run = env.run(SERVICE, &["-vv"]);
        run.assert_error(78, &["tap.secret"], "only the secret");
        assert_hidden(&env, &run, &[SECRET]);
    }
}

#[test]
fn the_password_of_a_proxy_is_never_said_or_kept() {
    const PASSWORD: &str = "proxy-pass-77aa";
    for (known, status) in [(PASSWORD, 0), ("another", 77)] {
        for by_env in [true, false] {
            let proxy = Proxy::start_with_login("me", known);
            let url = proxy.url().replace("//", &format!("//me:{PASSWORD}@"));
            let mut env = env();
            if by_env {
                env.env.insert("all_proxy".into(), url.clone());
            } else {
                env.http_table += &format!("proxy = {url:?}\n");
            }
            let run = env.run(SERVICE, &["-vv"]);
            run.assert_status(status);
            let pair = BASE64_STANDARD.encode(format!("me:{PASSWORD}"));
            assert_hidden(&env, &run, &[PASSWORD, &pair, SECRET]);
        }
    }
    for wrong in [
        "socks5://me:P@h:1",
        "http://me:P@h:x",
        "http://me:P@h/x",
        "https://P@h:1",
    ] {
        let mut env = env();
        let url = wrong.replace('P', PASSWORD);
        env.env.insert("https_proxy".into(), url.clone());
        let run = env.run(SERVICE, &["-vv"]);
        run.assert_error(78, &["https_proxy"], "");
        assert_hidden(&env, &run, &[PASSWORD]);
        env.http_table += &format!("proxy = {url:?}\n");
        let run = env.run(SERVICE, &["-vv"]);
        run.assert_error(78, &["[http] proxy"], "");
        assert_hidden(&env, &run, &[PASSWORD]);
    }
}

#[test]
fn a_private_key_is_never_said_or_kept() {
    let key = |env: &TestEnv| {
        let text = fs::read_to_string(env.certs.client_key()).unwrap();
        text.lines().nth(1).unwrap().to_owned()
    };
    let all_goes_well = env();
    let run = all_goes_well.run(SERVICE, &["-vv"]);
    run.assert_status(0);
    assert_hidden(&all_goes_well, &run, &[&key(&all_goes_well)]);
    // where a certificate should be, in pieces, and with another certificate
    for damage in ["as cert", "torn", "no pem", "other cert"] {
        let mut env = env();
        let secret = key(&env);
        let (cert, path) = (env.certs.client_cert(), env.certs.client_key());
        let text = fs::read_to_string(&path).unwrap();
        let rsa = env.certs.client_rsa_cert();
        match damage {
            "as cert" => fs::write(&cert, &text).unwrap(),
            "torn" => write_private(&path, &text[..text.len() - 40]),
            "no pem" => write_private(&path, &secret),
            _ => fs::write(&cert, fs::read(rsa).unwrap()).unwrap(),
        }
        env.env.insert("RUST_LOG".into(), "rustls=trace".into());
        let run = env.run(SERVICE, &["-vv"]);
        run.assert_error(78, &["client."], "");
        assert_hidden(&env, &run, &[&secret]);
    }
}

#[test]
fn nobody_sees_a_secret_among_the_arguments_of_a_run() {
    for source in ["file", "plain", "credential", "command"] {
        let mut env = env();
        take_secret_from(&mut env, source);
        let held = hold(&env.tap, 0);
        let run = env.start(SERVICE, &["-vv"]);
        held.wait();
        for file in ["cmdline", "environ", "status", "comm"] {
            let text = match fs::read(format!("/proc/{}/{file}", run.pid())) {
                // another process of the same user may not look at the environment
                Err(error) if error.kind() == ErrorKind::PermissionDenied => continue,
                text => text.unwrap(),
            };
            assert!(!holds(&text, SECRET), "{source}: {file}");
        }
        drop(held);
        run.wait().assert_status(0);
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// With this mode of the file, the run is refused with these words, or ends well where there are none.
fn check_mode(env: &TestEnv, path: &Path, mode: u32, said: Option<&str>) {
    // the configuration is written by whoever asks for a command
    let mut command = env.command(SERVICE);
    chmod(path, mode);
    let run = Running::start(&mut command).wait();
    if let Some(said) = said {
        let mode = format!("{mode:04o}");
        let path = path.display().to_string();
        run.assert_error(77, &[&path, said, &mode], "run chmod");
        assert_eq!(env.tap.requests().len(), 0);
    } else {
        run.assert_status(0);
    }
    assert_hidden(env, &run, &[SECRET]);
    env.tap.forget_requests();
}

#[test]
fn a_secret_that_others_can_use_is_refused() {
    const READABLE: Option<&str> = Some("holds a secret, and others can read it");
    let env = env();
    let secret = env.dir.path().join("tap.secret");
    for (mode, said) in [
        (0o644, READABLE),
        (0o604, READABLE),
        (0o606, Some("others can read and change it")),
        (0o642, Some("others can change it")),
        (0o641, Some("others can execute it")),
        (0o640, None),
        (0o400, None),
    ] {
        check_mode(&env, &secret, mode, said);
    }
    let key = env.certs.client_key();
    for (mode, said) in [(0o644, READABLE), (0o440, None)] {
        check_mode(&env, &key, mode, said);
    }

    let mut env = self::env();
    take_secret_from(&mut env, "credential");
    check_mode(&env, &secret_of(&env), 0o644, READABLE);
    check_mode(&env, &secret_of(&env), 0o440, None);

    let mut env = self::env();
    take_secret_from(&mut env, "plain");
    check_mode(&env, &env.config_path(), 0o644, READABLE);
    check_mode(&env, &env.config_path(), 0o640, None);

    let mut env = self::env();
    env.http_table += "proxy = \"http://me:password@127.0.0.1:1\"\n";
    check_mode(&env, &env.config_path(), 0o644, READABLE);
}

#[test]
fn a_configuration_that_others_can_change_is_refused() {
    let env = env();
    let config = env.config_path();
    for (mode, said) in [
        (0o644, None),
        (
            0o666,
            Some("is the configuration, and others can read and change it"),
        ),
        (0o642, Some("others can change it")),
    ] {
        check_mode(&env, &config, mode, said);
    }
}

#[test]
fn a_folder_in_which_others_can_replace_files_is_told() {
    let env = env();
    env.run(SERVICE, &[]).assert_status(0);
    let keys = env.certs.client_key();
    for (folder, key) in [
        (env.dir.path(), "this file"),
        (&env.state_dir(), "state_dir"),
        (keys.parent().unwrap(), "[devo] key"),
    ] {
        let remedy = format!("run chmod go-w {}", folder.display());
        for (mode, is_told) in [(0o777, true), (0o1777, false), (0o2770, false)] {
            chmod(folder, mode);
            let run = env.run(SERVICE, &["-q"]);
            run.assert_status(0);
            let said = format!(
                "files in {} can be replaced: others can read and change it (mode {mode:04o})",
                folder.display()
            );
            let count = run.stderr.matches(&said).count();
            assert_eq!(count, usize::from(is_told), "{}", run.stderr);
            assert_eq!(run.stderr.contains(&remedy), is_told, "{}", run.stderr);
            let check = env.ask(&["check"]);
            check.assert_status(0);
            let answer = check.answer();
            let warning = format!("warning: {key}: {said}");
            assert_eq!(answer.contains(&warning), is_told, "{answer}");
        }
        chmod(folder, 0o700);
    }
}

#[test]
fn the_command_of_a_secret_does_not_get_the_other_secrets() {
    let mut env = env();
    env.env.insert("ANOTHER_SECRET".into(), "hunter2".into());
    env.env.insert("HOME".into(), "/home/of/somebody".into());
    let script = format!("echo {SECRET}; env > seen");
    set_secret(
        &mut env,
        &format!("secret = {{ command = [\"sh\", \"-c\", {script:?}] }}"),
    );
    let mut command = env.command(SERVICE);
    command.current_dir(env.dir.path());
    Running::start(&mut command).wait().assert_status(0);
    let seen = fs::read_to_string(env.dir.path().join("seen")).unwrap();
    assert!(seen.contains("HOME=/home/of/somebody\n"), "{seen}");
    assert!(seen.contains("PATH="), "{seen}");
    for name in ["ANOTHER_SECRET", "RUST_LOG"] {
        assert!(!seen.contains(name), "{seen}");
    }
}

#[test]
fn a_run_leaves_no_core_dump() {
    let env = env();
    let held = hold(&env.tap, 0);
    let run = env.start(SERVICE, &[]);
    held.wait();
    let limits = fs::read_to_string(format!("/proc/{}/limits", run.pid())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<&str> = line.unwrap().split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{limits}");
    drop(held);
    run.wait().assert_status(0);
}

fn secret_of(env: &TestEnv) -> std::path::PathBuf {
    env.dir.path().join("tap.secret")
}

#[test]
fn a_secret_that_is_not_there_is_status_78_and_says_where_it_should_be() {
    let table = [
        ("file", "tap.secret", "create it"),
        ("env", "$TAP_SECRET", "EnvironmentFile="),
        (
            "credential",
            "$CREDENTIALS_DIRECTORY",
            "LoadCredential=tap.secret",
        ),
    ];
    for (source, says, hint) in table {
        let mut env = env();
        take_secret_from(&mut env, source);
        env.env.remove("TAP_SECRET");
        env.env.remove("CREDENTIALS_DIRECTORY");
        if source == "file" {
            fs::remove_file(secret_of(&env)).unwrap();
        }
        let run = env.run(SERVICE, &[]);
        run.assert_error(78, &["[tap] secret", says], hint);
        assert_eq!((env.tap.requests().len(), env.devo.count()), (0, 0));
    }
    for blank in ["", "\n"] {
        let env = env();
        write_private(&secret_of(&env), blank);
        let run = env.run(SERVICE, &[]);
        run.assert_error(78, &["it is empty"], "only the secret");
    }
}

#[test]
fn what_was_hardly_meant_around_a_secret_is_said_once_and_the_secret_never() {
    for (around, said) in [
        ([" ", ""], "begins with a blank"),
        (["", "\u{a0}"], "ends with a non-breaking space"),
        (["\"", "\""], "begins and ends with a quotation mark"),
    ] {
        let env = TestEnv::new();
        let secret = around.join("hunter2-hunter2");
        write_private(&env.dir.path().join("tap.secret"), &secret);
        let said = format!(
            "[tap] secret from {}/tap.secret {said}",
            env.dir.path().display()
        );
        for run in [env.run(SERVICE, &["-q"]), env.ask(&["check"])] {
            assert_eq!(run.stderr.matches(&said).count(), 1, "{}", run.stderr);
            run.assert_never_says("hunter2");
        }
    }
}
