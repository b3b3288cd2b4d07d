//! The command line, the configuration as a person writes it, and what is said, to whom and how.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use proofpull::clock::utc;
use proofpull::service::SERVICES;
use serde_json::Value;

use crate::simulator::Fault;
use crate::test_env::{Run, Running, TestEnv, ago, write_private};

const SERVICE: &str = "tap-messages-blocked";

/// Two hours with ten events.
fn env() -> TestEnv {
    let mut env = TestEnv::new();
    env.start_at(ago(120));
    env.add(SERVICE, ago(120), ago(3), 10);
    env
}

/// The program with these words alone, in an environment of its own.
fn program(words: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
    Running::start(command.args(words).env_clear()).wait()
}

#[test]
fn wrong_words_are_status_2_and_an_error_with_a_hint() {
    let table: &[(&[&str], &str)] = &[
        (&["fetch"], "fetch"),
        (
            &["run", "clicksBlocked"],
            "is called tap-clicks-blocked in proofpull",
        ),
        (
            &["run", "clicksPermitted"],
            "is called tap-clicks-permitted in proofpull",
        ),
        (
            &["run", "messagesBlocked"],
            "is called tap-messages-blocked in proofpull",
        ),
        (
            &["run", "messagesDelivered"],
            "is called tap-messages-delivered in proofpull",
        ),
        (&["run", "tap-messages"], "tap-messages-delivered"),
        (
            &["run", "url_isolation"],
            "called isolation-url in proofpull",
        ),
        (&["run", "maillog"], "called pod-maillog in proofpull"),
        (&["run", "pod-mail"], "there is no service pod-mail"),
        (&["run", SERVICE, "pod"], "there is no service pod"),
        (&["run", "tapp-*"], "no service matches tapp-*"),
        (&["run", SERVICE, "--no-such-option"], "--no-such-option"),
        (&["run", SERVICE, "-q", "-v"], "--quiet"),
        (&["run", SERVICE, "--max-duration", "5"], "unit"),
        (&["run", SERVICE, "--wait-lock", "soon"], "such as 45m"),
        (&["run", SERVICE, "--log-format", "xml"], "text, json"),
        (&["run", SERVICE, "--end-time", "1h"], "--start-time"),
        (
            &["check", "clicksBlocked"],
            "is called tap-clicks-blocked in proofpull",
        ),
        (&["status", "--max-lag", "5"], "unit"),
        (&["status", "--max-lag", "5m", "--json"], "--json"),
        (&["completions", "tcsh"], "bash, zsh, fish"),
    ];
    for (words, says) in table {
        let run = program(words);
        assert_eq!(run.stdout, b"", "{words:?}");
        run.assert_error(2, &[says], "--help");
        assert_eq!(run.stderr.lines().count(), 2, "{}", run.stderr);
    }
    for words in [&[][..], &["run"]] {
        let run = program(words);
        run.assert_status(2);
        assert_eq!(run.stdout, b"");
    }
    let run = program(&["run", SERVICE, "--now", "late"]);
    run.assert_status(2).assert_says("--now");
}

#[test]
fn help_and_version_go_to_standard_output() {
    let table: &[(&[&str], &[&str])] = &[
        (&["--version"], &["proofpull 0."]),
        (
            &["--help"],
            &["run", "--config", "--state-dir", "77 noperm", "78 config"],
        ),
        (&["-h"], &["run"]),
        (&["help"], &["run"]),
        (
            &["run", "--help"],
            &[
                "--start-time",
                "--end-time",
                "--stdout",
                "--max-duration",
                "--wait-lock",
                SERVICE,
            ],
        ),
    ];
    for (words, says) in table {
        let run = program(words);
        run.assert_status(0);
        let text = String::from_utf8(run.stdout).unwrap();
        assert!(
            says.iter().all(|word| text.contains(word)),
            "{words:?}: {text}"
        );
        assert_eq!(run.stderr, "");
        assert!(!text.contains("--now"), "{text}");
    }
}

#[test]
fn the_services_are_listed_without_a_configuration() {
    let run = program(&["services"]);
    run.assert_status(0);
    let said = run.answer();
    assert!(said.starts_with("SERVICE "), "{said}");
    assert!(
        said.lines().all(|line| line.chars().count() <= 100),
        "{said}"
    );
    let run = program(&["services", "--json"]);
    let all = run.json()["services"].as_array().unwrap().clone();
    assert_eq!(all.len(), SERVICES.len());
    for (service, told) in SERVICES.iter().zip(all) {
        let row = said.lines().find(|line| line.starts_with(service.name));
        let reads = told["reads"].as_str().unwrap();
        assert!(
            row.unwrap().ends_with(&format!("  {}", service.tag)),
            "{said}"
        );
        assert!(row.unwrap().contains(&format!("  {reads}  ")), "{said}");
        assert_eq!(told["service"], service.name);
        assert_eq!(told["tag"], service.tag);
        assert_eq!(told["sign_in"], service.sign_in_table());
        assert_eq!(told["devo_name"].as_str(), service.devo);
    }
}

/// Writes this configuration; its place.
fn write(env: &TestEnv, text: &str) -> String {
    let path = env.dir.path().join("other.toml");
    write_private(&path, text);
    path.display().to_string()
}

#[test]
fn a_configuration_that_cannot_be_read_is_status_78() {
    let env = env();
    let missing = env.dir.path().join("none.toml").display().to_string();
    let folder = env.dir.path().display().to_string();
    let bytes = env.dir.path().join("bytes.toml");
    fs::write(&bytes, b"name = \"\xff\"").unwrap();
    let bytes = bytes.display().to_string();
    for path in [&missing, &folder, &bytes] {
        let run = program(&["run", SERVICE, "--config", path]);
        run.assert_error(78, &[path], "");
        assert_eq!(run.stdout, b"");
    }
    let run = program(&["run", SERVICE, "--config", &missing]);
    run.assert_error(78, &["No such file"], "--config");
    if !Path::new("/etc/proofpull/config.toml").exists() {
        program(&["run", SERVICE]).assert_error(78, &["/etc/proofpull/config.toml"], "--config");
    }
}

#[test]
fn a_configuration_may_come_from_a_pipe() {
    let env = env();
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat \"$1\" | \"$0\" run \"$2\" --config /dev/stdin"]);
    shell.arg(env!("CARGO_BIN_EXE_proofpull"));
    shell.arg(env.write_config()).arg(SERVICE);
    Running::start(&mut shell).wait().assert_status(0);
    env.assert_exactly_once(SERVICE);
    // and is read to no end that does not come
    let run = program(&["run", SERVICE, "--config", "/dev/zero"]);
    run.assert_error(78, &["/dev/zero", "it is larger than"], "--config");
}

#[test]
fn every_fault_of_a_configuration_is_told_with_its_place_and_a_hint() {
    let env = env();
    let text = "nam = \"x\"\n[devo]\naddress = \"collector\"\n  kye = \"é\"; x\n\n[http]\ntimeout = 60\n\
                [services.messagesBlocked]\n[services.tap-clicks-blocked]\nlook_back = \"2d\"\ntag = \"a\"\n";
    let path = write(&env, text);
    let run = program(&["run", SERVICE, "--config", &path]);
    run.assert_status(78);
    let lines: Vec<&str> = run.stderr.lines().collect();
    let places = ["1:1", "3:11", "4:", "7:11", "8:11", "10:13", "11:7"];
    assert_eq!(lines.len(), places.len() * 2, "{}", run.stderr);
    for (two, place) in lines.chunks(2).zip(places) {
        let start = format!("proofpull: {path}:{place}");
        assert!(two[0].starts_with(&start), "{start}:\n{}", run.stderr);
        assert!(two[1].starts_with("hint: "), "{}", run.stderr);
    }
    run.assert_says("did you mean \"name\"")
        .assert_says("did you mean [services.tap-messages-blocked]");

    let run = program(&["run", SERVICE, "--config", &path, "--log-format", "json"]);
    let lines: Vec<Value> = objects(&run.stderr);
    assert_eq!(lines.len(), places.len());
    assert!(lines.iter().all(|line| line["error"]["status"] == 78));
}

#[test]
fn a_table_that_a_run_needs_is_missed_before_anything_is_done() {
    for (table, hint) in [("devo", "--stdout"), ("tap", "Connected Applications")] {
        let mut env = env();
        match table {
            "devo" => env.devo_table.clear(),
            _ => env.tap_table.clear(),
        }
        let run = env.run(SERVICE, &[]);
        run.assert_error(78, &[&format!("[{table}]")], hint);
        assert_eq!(
            (env.tap.requests().len(), env.devo.connections().len()),
            (0, 0)
        );
    }
}

#[test]
fn a_start_time_is_a_time_that_is_past_or_blank() {
    let tomorrow = utc(ago(-24 * 60));
    for (line, says) in [
        (format!("start_time = {tomorrow:?}"), "future"),
        (format!("start_time = {tomorrow}"), "future"),
        ("start_time = \"yesterday\"".into(), "must be a time"),
        ("start_time = \"2026-01-01T00:00:00\"".into(), "time zone"),
        ("start_time = 17".into(), "must be a time"),
    ] {
        let mut env = env();
        env.service_table = line;
        let run = env.run(SERVICE, &[]);
        run.assert_error(78, &["[SetupError 101]", "start_time", says], "");
        assert_eq!(env.tap.requests().len(), 0);
    }
    let mut env = env();
    env.service_table = "start_time = \" \"".into();
    env.run(SERVICE, &[]).assert_status(0);
    // without one, the last day
    assert_eq!(env.tap.requests().len(), 24);
}

#[test]
fn a_clock_may_be_set_for_loopback_addresses_alone() {
    let now = utc(ago(0));
    for (table, from, to) in [
        ("tap", "http://127.0.0.1:", "https://tap.example:"),
        ("devo", "localhost:", "devo.example:"),
        (
            "service",
            "start_time",
            "url = \"https://tap.example/v2\"\nstart_time",
        ),
    ] {
        let mut env = env();
        match table {
            "tap" => env.tap_table = env.tap_table.replace(from, to),
            "devo" => env.devo_table = env.devo_table.replace(from, to),
            _ => env.service_table = env.service_table.replace(from, to),
        }
        let run = env.run(SERVICE, &["--now", &now]);
        run.assert_status(2).assert_says("loopback");
        assert!(!env.state_dir().exists());
    }
    env().run(SERVICE, &["--now", &now]).assert_status(0);
}

#[test]
fn as_much_is_said_as_was_asked_for() {
    let run = env().run(SERVICE, &["-q"]);
    run.assert_status(0);
    assert_eq!((run.stderr.as_str(), run.stdout), ("", Vec::new()));

    let run = env().run(SERVICE, &[]);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    let words = [
        "info: tap-messages-blocked: caught up: 10 delivered, 1m",
        " behind, 2 windows, 2 requests (218 left), ",
        " kB, ",
        " events/s, ",
        " s, @devo_pulling_id 1",
    ];
    words.iter().for_each(|words| {
        run.assert_says(words);
    });

    for verbose in ["-v", "-vv", "--verbose"] {
        let env = env();
        let run = env.run(SERVICE, &[verbose]);
        run.assert_status(0);
        assert_eq!(run.stderr.contains("confirmed in "), verbose == "-vv");
        for request in env.tap.requests() {
            let window = request.param("interval").unwrap().to_owned();
            let about = |line: &&str| line.contains(&window);
            assert_eq!(
                run.stderr.lines().filter(about).count(),
                1,
                "{}",
                run.stderr
            );
        }
    }
    // quiet is not silent
    let mut old = env();
    old.service_table.clear();
    old.start_at(ago(20 * 24 * 60));
    let run = old.run(SERVICE, &["-q"]);
    run.assert_status(0).assert_says("warning");
    assert_eq!(run.stderr.lines().count(), 1);
    let env = env();
    env.tap.script(|_, _| Some(Fault::status(401, "")));
    env.run(SERVICE, &["-q"]).assert_error(77, &["401"], "");
}

/// Every line is an object with time, level and message.
fn objects(stderr: &str) -> Vec<Value> {
    let parse = |line: &str| {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        for key in ["time", "level", "message"] {
            assert!(object[key].is_string(), "no {key}: {line}");
        }
        object
    };
    stderr.lines().map(parse).collect()
}

#[test]
fn as_json_every_line_is_an_object_and_the_last_one_counts() {
    let env = env();
    let run = env.run(SERVICE, &["--log-format", "json", "-vv"]);
    run.assert_status(0);
    let lines = objects(&run.stderr);
    assert!(lines.len() > 3);
    assert!(lines.iter().any(|line| line["level"] == "debug"));
    let last = &lines[lines.len() - 1];
    assert_eq!(last["level"], "info");
    let summary = &last["summary"];
    for (key, count) in [
        ("windows", 2),
        ("requests", 2),
        ("received", 10),
        ("duplicates", 0),
        ("late", 0),
        ("unreadable", 0),
        ("delivered", 10),
        ("gaps", 0),
    ] {
        assert_eq!(summary[key], count, "{key} in {summary}");
    }
    assert_eq!(summary["service"], SERVICE);
    assert_eq!(summary["outcome"], "caught up");
    assert!(summary["bytes"].as_u64() > Some(10_000));
    assert!(summary["@devo_pulling_id"].is_string());
    assert!((60..300).contains(&summary["behind_seconds"].as_i64().unwrap()));

    env.tap
        .script(|_, _| Some(Fault::status(403, "no\nentry \u{1b}[31m")));
    let run = env.run(SERVICE, &["--log-format", "json"]);
    run.assert_status(77);
    let lines = objects(&run.stderr);
    assert_eq!(lines[lines.len() - 2]["summary"]["outcome"], "failed");
    let last = &lines[lines.len() - 1];
    assert_eq!(last["level"], "error");
    assert_eq!(last["error"]["status"], 77);
    assert_eq!(last["error"]["name"], "noperm");
    assert!(last["error"]["hint"].as_str().unwrap().contains("licence"));
    assert!(
        last["message"]
            .as_str()
            .unwrap()
            .contains("[SetupError 100] HTTP 403: no entry")
    );
}

/// What is said to a file that is, or is not, what `$JOURNAL_STREAM` names.
fn said_to_a_file(env: &mut TestEnv, words: &[&str], is_the_journal: bool) -> String {
    let path = env.dir.path().join("stderr");
    let file = File::create(&path).unwrap();
    let about = file.metadata().unwrap();
    let inode = about.ino() + u64::from(!is_the_journal);
    let stream = format!("{}:{inode}", about.dev());
    env.env.insert("JOURNAL_STREAM".into(), stream);
    let mut command = env.command(SERVICE);
    let child = command
        .args(words)
        .stderr(file)
        .stdout(Stdio::null())
        .spawn();
    Running::of(child.unwrap()).wait();
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_journal_gets_priorities_instead_of_times() {
    let mut env = env();
    env.service_table.clear();
    env.start_at(ago(8 * 24 * 60));
    let text = said_to_a_file(&mut env, &["-vv"], true);
    for (start, count) in [("<4>", 1), ("<6>", 1)] {
        let with = text.lines().filter(|line| line.starts_with(start));
        assert_eq!(with.count(), count, "{text}");
    }
    assert!(text.lines().filter(|line| line.starts_with("<7>")).count() > 100);
    let year = utc(ago(0))[..5].to_owned();
    // no time and no word for the level of its own
    let own = [" warning: ", " info: ", " debug: "];
    assert!(text.lines().all(|line| line.starts_with('<')), "{text}");
    assert!(!own.iter().any(|word| text.contains(word)), "{text}");

    env.tap.script(|_, _| Some(Fault::status(401, "")));
    let text = said_to_a_file(&mut env, &["-q"], true);
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("<3>proofpull: ") && lines[1].starts_with("<3>hint: "),
        "{text}"
    );
    let text = said_to_a_file(&mut env, &[], false);
    assert!(text.starts_with(&year) && !text.contains("<3>"), "{text}");
}

#[test]
fn the_configuration_is_named_by_an_option_or_the_environment() {
    let env = env();
    let path = env.write_config().display().to_string();
    let run = |config: &[&str], variable: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
        command.args(["run", SERVICE]).args(config).env_clear();
        Running::start(command.env("PROOFPULL_CONFIG", variable)).wait()
    };
    run(&[], &path).assert_status(0);
    run(&["--config", &path], "/no/such/file").assert_status(0);
    run(&[], "/no/such/file").assert_error(78, &["/no/such/file"], "--config");
    if !Path::new("/etc/proofpull/config.toml").exists() {
        run(&[], "").assert_error(78, &["/etc/proofpull/config.toml"], "--config");
    }
}

#[test]
fn the_state_folder_is_that_of_the_option_the_configuration_or_the_unit() {
    let mut env = env();
    let dir = |name: &str| env.dir.path().join(name).display().to_string();
    let (option, unit) = (dir("by-option"), dir("by-unit"));
    let both = format!("{unit}:{}", dir("second"));
    let without = write(
        &env,
        &fs::read_to_string(env.write_config())
            .unwrap()
            .replacen("state_dir", "# ", 1),
    );
    env.env.insert("STATE_DIRECTORY".into(), both);
    let made = |place: &str| Path::new(place).join(format!("{SERVICE}.json")).exists();

    env.run(SERVICE, &["--state-dir", &option]).assert_status(0);
    assert!(made(&option) && !env.state_dir().exists() && !made(&unit));
    env.run(SERVICE, &[]).assert_status(0);
    assert!(made(&env.state_dir().display().to_string()) && !made(&unit));
    let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
    command
        .args(["run", SERVICE, "--config", &without])
        .env_clear()
        .envs(&env.env);
    Running::start(&mut command).wait().assert_status(0);
    assert!(made(&unit));
}

#[test]
fn a_relative_path_counts_from_the_configuration() {
    let mut env = env();
    let dir = env.dir.path().display().to_string() + "/";
    for table in [&mut env.devo_table, &mut env.tap_table] {
        assert!(table.contains(&dir));
        *table = table.replace(&dir, "");
    }
    let text = fs::read_to_string(env.write_config()).unwrap();
    write_private(&env.config_path(), &text.replace(&dir, "./"));
    let name = env.config_path();
    let name = Path::new(name.file_name().unwrap());
    let elsewhere = env.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    // from another folder, and with a relative name of the configuration itself
    for (folder, config) in [
        (elsewhere.as_path(), Path::new("..").join(name)),
        (Path::new("/"), env.config_path()),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
        command.args(["run", SERVICE, "--config"]).arg(config);
        Running::start(command.current_dir(folder).env_clear())
            .wait()
            .assert_status(0);
    }
    assert!(env.state_dir().join(format!("{SERVICE}.json")).exists());
    env.assert_exactly_once(SERVICE);
}
