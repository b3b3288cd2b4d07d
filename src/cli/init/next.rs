//! `next_commands` are the commands that come after `init`: check, check online, enable the timers or run.

use std::fmt::Write as _;
use std::path::Path;

use super::answers::{Answers, SIGN_IN_FORMS};
use super::layout::{Layout, OwnerName};
use super::plan::MissingFile;

/// The commands, word by word, in their order; `program` is our own path.
pub(super) fn next_commands(
    answers: &Answers,
    layout: &Layout,
    dir: &Path,
    program: &Path,
) -> Vec<Vec<String>> {
    let config = dir.join("config.toml");
    let ours = |words: &[&str]| {
        let program = program.display().to_string();
        let words = std::iter::once(program).chain(words.iter().map(|word| (*word).to_owned()));
        let config = ["--config".to_owned(), config.display().to_string()];
        words.chain(config).collect::<Vec<String>>()
    };
    // one command for the services of each API, whose credentials are in one folder
    let of_each_api = SIGN_IN_FORMS.iter().filter_map(|form| {
        let services = answers.services.iter();
        let services = services.filter(|service| service.sign_in_table() == form.table);
        let names: Vec<&str> = services.map(|service| service.name).collect();
        (!names.is_empty()).then_some((form.table, names))
    });
    let of_each_api: Vec<(&str, Vec<&str>)> = of_each_api.collect();
    let mut commands = Vec::new();
    match layout {
        Layout::Own => {
            commands.push(ours(&["check"]));
            commands.push(ours(&["check", "--online"]));
            for (table, names) in &of_each_api {
                // a run of PoD lasts as long as its time, so each has a command of its own
                let together = if *table == "pod" { 1 } else { names.len() };
                for names in names.chunks(together) {
                    commands.push(ours(&[&["run"], names].concat()));
                }
            }
        }
        Layout::Units { tenant } => {
            for online in [&[][..], &["--online"]] {
                for (table, names) in &of_each_api {
                    let as_unit = [
                        "systemd-run".to_owned(),
                        "--pipe".to_owned(),
                        "--wait".to_owned(),
                        "--quiet".to_owned(),
                        format!("--uid={tenant}"),
                        format!("--property=StateDirectory={tenant}"),
                        "--property=StateDirectoryMode=0700".to_owned(),
                        format!(
                            "--property=LoadCredential=proofpull:{}/credentials/{table}",
                            dir.display()
                        ),
                    ];
                    let check = ours(&[&["check"], names.as_slice(), online].concat());
                    commands.push(as_unit.into_iter().chain(check).collect());
                }
            }
            // the drop-ins of PoD are new
            commands.push(["systemctl", "daemon-reload"].map(str::to_owned).into());
            let enable = ["systemctl", "enable", "--now"].map(str::to_owned);
            let timers = answers.services.iter();
            let timers = timers.map(|service| format!("{tenant}@{}.timer", service.name));
            commands.push(enable.into_iter().chain(timers).collect());
        }
    }
    commands
}

/// The commands as a shell takes them, for a person.
pub(super) fn next_text(
    commands: &[Vec<String>],
    missing: &[MissingFile],
    layout: &Layout,
) -> String {
    let mut text = String::new();
    if !missing.is_empty() {
        text += "\nPut in place, each with only this in it:\n";
    }
    for MissingFile {
        path,
        what,
        mode,
        owner,
    } in missing
    {
        let group = match (layout, owner) {
            (Layout::Units { tenant }, OwnerName::RootForTheGroup) => format!(" -g {tenant}"),
            _ => String::new(),
        };
        let path = shell_word(&path.display().to_string());
        let _ = writeln!(text, "  install -m {mode:03o}{group} FILE {path}  # {what}");
    }
    text += "\nNext:\n";
    for command in commands {
        let _ = writeln!(text, "  {}", shell_line(command));
    }
    if *layout == Layout::Own {
        text += "The run belongs into a crontab or another timer; examples/crontab has a line for each service.\n";
    }
    text
}

/// A command as a shell takes it.
pub(super) fn shell_line(command: &[String]) -> String {
    let words: Vec<String> = command.iter().map(|word| shell_word(word)).collect();
    words.join(" ")
}

/// Quoted where a shell would read it as anything but itself.
fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@,+".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::init::tests::answered;

    fn check(dir: &str, wanted: &[&str]) {
        let options = "--services pod-*,tap-threats,tap-clicks-blocked --devo-address devo:1 --tap-principal p \
                       --pod-cluster-id c";
        let options: Vec<&str> = options.split_whitespace().collect();
        let answers = answered(&options, None, "").0.unwrap();
        let dir = Path::new(dir);
        let commands = next_commands(&answers, &Layout::of(dir), dir, Path::new("/bin/pp"));
        let shown: Vec<String> = commands.iter().map(|command| shell_line(command)).collect();
        assert_eq!(shown, wanted);
    }

    #[test]
    fn in_a_folder_of_ones_own_the_program_is_called_itself() {
        check(
            "/home/me/it's",
            &[
                r"/bin/pp check --config '/home/me/it'\''s/config.toml'",
                r"/bin/pp check --online --config '/home/me/it'\''s/config.toml'",
                r"/bin/pp run tap-clicks-blocked tap-threats --config '/home/me/it'\''s/config.toml'",
                r"/bin/pp run pod-message --config '/home/me/it'\''s/config.toml'",
                r"/bin/pp run pod-maillog --config '/home/me/it'\''s/config.toml'",
                r"/bin/pp run pod-audit --config '/home/me/it'\''s/config.toml'",
            ],
        );
    }

    #[test]
    fn for_units_it_is_checked_as_they_run_it() {
        const RUN: &str = "systemd-run --pipe --wait --quiet --uid=proofpull --property=StateDirectory=proofpull \
                           --property=StateDirectoryMode=0700 --property=LoadCredential=proofpull:/etc/proofpull/credentials/";
        const TAP: &str = "tap /bin/pp check tap-clicks-blocked tap-threats";
        const POD: &str = "pod /bin/pp check pod-message pod-maillog pod-audit";
        let of = |api: &str, online: &str| {
            format!("{RUN}{api}{online} --config /etc/proofpull/config.toml")
        };
        check(
            "/etc/proofpull",
            &[
                &of(TAP, ""),
                &of(POD, ""),
                &of(TAP, " --online"),
                &of(POD, " --online"),
                "systemctl daemon-reload",
                "systemctl enable --now proofpull@tap-clicks-blocked.timer proofpull@tap-threats.timer \
                 proofpull@pod-message.timer proofpull@pod-maillog.timer proofpull@pod-audit.timer",
            ],
        );
    }
}
