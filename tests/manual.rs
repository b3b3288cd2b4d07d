//! What the manual, the README and the completions promise is what there is.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::CommandFactory;
use proofpull::cli::args::Cli;
use proofpull::config::file::look;
use proofpull::service::SERVICES;
use time::OffsetDateTime;

use crate::test_env::Running;

const PROGRAM: &str = include_str!("../man/proofpull.1");
const CONFIGURATION: &str = include_str!("../man/proofpull.toml.5");

/// The names of all keys, without their tables, and of all tables.
fn keys() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    add_keys("", &mut keys);
    keys.remove("services");
    for service in SERVICES {
        add_keys(&format!("services.{}", service.name), &mut keys);
    }
    assert!(keys.len() > 50, "{keys:?}");
    keys
}

/// Adds the keys of a table and of the tables in it: those that the hint for an unknown key lists.
fn add_keys(table: &str, keys: &mut BTreeSet<String>) {
    let headers = match table {
        "" => vec![String::new()],
        _ => vec![format!("[{table}]"), format!("[[{table}]]")],
    };
    for header in headers {
        let text = format!("{header}\nzzzzzzzzzz = 1");
        let (_, faults) = look(&text, Path::new("/"), OffsetDateTime::now_utc());
        let mut hints = faults.iter().map(|fault| &fault.hint);
        let Some(known) = hints.find_map(|hint| hint.strip_prefix("use one of: ")) else {
            continue;
        };
        for key in known.split(", ") {
            keys.insert(key.to_owned());
            add_keys(format!("{table}.{key}").trim_start_matches('.'), keys);
        }
    }
}

#[test]
fn the_manual_has_every_command_option_service_and_status() {
    let mut cli = Cli::command();
    cli.build();
    for command in cli
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
    {
        let name = command.get_name();
        assert!(PROGRAM.contains(&format!(".It Cm {name} ")), "{name}");
        let shown = command
            .get_arguments()
            .filter(|argument| !argument.is_hide_set());
        for option in shown.filter_map(|argument| argument.get_long()) {
            assert!(
                PROGRAM.contains(&format!("Fl -{option}")),
                "{name} --{option}"
            );
        }
    }
    for service in SERVICES {
        assert!(
            PROGRAM.contains(&format!(".It Cm {}\n", service.name)),
            "{}",
            service.name
        );
        assert!(
            PROGRAM.contains(&format!(".Li {}\n", service.tag)),
            "{}",
            service.tag
        );
    }
    let help = Cli::command().render_long_help().to_string();
    let statuses = help.split("Exit statuses: ").nth(1).unwrap();
    let statuses: Vec<&str> = statuses.split('.').next().unwrap().split(", ").collect();
    assert_eq!(statuses.len(), 11);
    for status in statuses {
        let status = status.split(" (").next().unwrap();
        let status = status.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(PROGRAM.contains(&format!(".It {status}\n")), "{status}");
    }
}

#[test]
fn the_manual_names_no_option_that_there_is_not() {
    let mut cli = Cli::command();
    cli.build();
    let commands = cli.get_subcommands();
    let known: BTreeSet<&str> = commands
        .flat_map(clap::Command::get_arguments)
        .filter_map(clap::Arg::get_long)
        .collect();
    for rest in PROGRAM.split("Fl -").skip(1) {
        let option: String = rest
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '-')
            .collect();
        assert!(
            known.contains(option.as_str()) || option == "version",
            "--{option}"
        );
    }
}

#[test]
fn the_manual_of_the_configuration_has_every_key_and_no_other() {
    let keys = keys();
    let tags = CONFIGURATION
        .lines()
        .filter_map(|line| line.strip_prefix(".It Cm "));
    let told: BTreeSet<&str> = tags.flat_map(|line| line.split(" , ")).collect();
    let inside: BTreeSet<&str> = CONFIGURATION
        .lines()
        .filter_map(|line| line.strip_prefix(".Cm ")?.split(' ').next())
        .collect();
    for key in &keys {
        let table = format!(".Sh [{key}]\\&");
        let is_service = SERVICES.iter().any(|service| service.name == key);
        // the kinds of secrets have a section of their own
        let kind = format!(".It Li {{ {key} = ");
        let is_told = told.contains(key.as_str()) || inside.contains(key.as_str());
        assert!(
            is_told
                || is_service
                || CONFIGURATION.contains(&table)
                || CONFIGURATION.contains(&kind),
            "{key}"
        );
    }
    for key in told {
        assert!(keys.contains(key), "{key} is no key");
    }
}

#[test]
fn help_says_every_service_and_status_of_the_readme() {
    let readme = include_str!("../README.md");
    let help = Cli::command().render_long_help().to_string();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| "));
    let statuses = rows.filter(|row| row.starts_with(|c: char| c.is_ascii_digit()));
    let mut count = 0;
    for row in statuses {
        let cells: Vec<&str> = row.split(" | ").collect();
        let [number, name, ..] = cells[..] else {
            panic!("{row}")
        };
        assert!(
            help.contains(&format!("{number} {name}")),
            "{number} {name}"
        );
        count += 1;
    }
    assert_eq!(count, 11);
}

#[test]
fn the_shells_complete_commands_options_and_services() {
    for shell in ["bash", "zsh", "fish"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
        let run = Running::start(command.args(["completions", shell]).env_clear()).wait();
        run.assert_status(0);
        let script = run.answer();
        for word in [
            "status",
            "check",
            "services",
            "max-lag",
            "wait-lock",
            "watch",
        ] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        for service in SERVICES {
            assert!(script.contains(service.name), "{shell}: {}", service.name);
        }
        assert!(!script.contains("--now"), "{shell}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
    Running::start(command.args(["completions", "tcsh"]).env_clear())
        .wait()
        .assert_status(2);
}

#[test]
fn bash_completes_a_word_as_it_is_begun() {
    let program = env!("CARGO_BIN_EXE_proofpull");
    for (words, completed) in [
        ("sta", "status"),
        ("ser", "services"),
        ("status --w", "--watch"),
        ("run tap-clicks-b", "tap-clicks-blocked"),
        ("run pod-audit tap-clicks-b", "tap-clicks-blocked"),
        ("status --max", "--max-lag"),
        ("completions f", "fish"),
    ] {
        let count = words.split(' ').count();
        let last = words.split(' ').next_back().unwrap();
        let script = format!(
            "source <({program} completions bash); COMP_WORDS=(proofpull {words}); COMP_CWORD={count}; \
             _proofpull proofpull {last} ''; echo \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let reply = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert_eq!(
            reply,
            completed,
            "{words}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
