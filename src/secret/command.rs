//! `command` reads a secret that a command prints, such as `pass show …`.
//!
//! No shell is started, and standard input is empty. Standard error is discarded, since it may
//! contain the secret. The command gets only the variables that say who and where it is, since
//! others may hold secrets. It runs in its own process group, so that a timeout kills all of it.
//! Of the crate `rustix`, `net::tcp_state` and `files` use other parts.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use super::{MAX_SECRET, Secret, clean};
use crate::clock::Instant;
use crate::config::CommandLine;
use crate::error::{Because, Exit, Result, fail};
use crate::shutdown;

/// Time limit of the command; a slower one waits for input that never comes.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often to check whether the command has ended, since a child of it may hold its output open.
const STEP: Duration = Duration::from_millis(50);

/// Variables that the command gets, if they are set: who runs it, where its own files are, and how
/// it speaks. Those of gpg and pass only name folders.
const VARIABLES: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "GNUPGHOME",
    "PASSWORD_STORE_DIR",
];
/// What the names of further ones begin with.
const FAMILIES: [&str; 2] = ["LC_", "XDG_"];

/// Whether the command gets a variable.
fn is_passed_on(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        VARIABLES.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family))
    })
}

/// Runs the command and returns what it prints.
///
/// # Errors
/// Status 78 when it cannot be started, takes too long, fails, or prints something that cannot be a
/// secret.
pub(super) fn run(line: &CommandLine) -> Result<Secret> {
    run_for(line, PATIENCE)
}

fn run_for(line: &CommandLine, idle: Duration) -> Result<Secret> {
    let mut command = Command::new(line.program());
    command
        .args(line.arguments())
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| is_passed_on(name)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    let mut child = command
        .spawn()
        .context("starting the command")
        .exit(Exit::Config)
        .hint(
            "name a program that the user running proofpull can start, by its full path or one in \
         $PATH; write each argument as its own string: no shell splits them",
        )?;
    let until = Instant::now() + idle;
    let printed = read(&mut child, until).and_then(|bytes| match bytes.len() as u64 > MAX_SECRET {
        // refused for its size, whatever its status would be
        true => clean(bytes).map(|_| (Vec::new(), ExitStatus::default())),
        false => Ok((bytes, end(&mut child, until)?)),
    });
    let (bytes, status) = match printed {
        Ok(printed) => printed,
        Err(error) => {
            kill(&mut child);
            return Err(error);
        }
    };
    if !status.success() {
        let ended = match (status.code(), status.signal()) {
            (Some(code), _) => format!("it ended with status {code}"),
            (None, signal) => format!("it was killed by signal {}", signal.unwrap_or_default()),
        };
        return fail(Exit::Config, ended).hint(
            "run it by hand as the user running proofpull to see its messages; they are not shown \
             here because they may contain the secret; variables other than PATH, HOME and the like must \
             stand in the command: [\"env\", \"NAME=value\", …], see proofpull.toml(5)",
        );
    }
    clean(bytes)
}

/// Reads the output to its end, or until it is too long for a secret.
fn read(child: &mut Child, until: Instant) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let Some(mut stdout) = child.stdout.take() else {
        return Ok(bytes);
    };
    let mut buffer = [0; 4096];
    while bytes.len() as u64 <= MAX_SECRET {
        // checked before reading, so that no output from before the end is missed
        let is_over = child
            .try_wait()
            .context("waiting for it")
            .exit(Exit::Config)?
            .is_some();
        let count = match wait_for(&stdout)
            .context("reading what it prints")
            .exit(Exit::Config)?
        {
            true => stdout
                .read(&mut buffer)
                .context("reading what it prints")
                .exit(Exit::Config)?,
            // a child of the command may never close the output
            false if is_over => break,
            false => {
                may_wait(until)?;
                continue;
            }
        };
        if count == 0 {
            break;
        }
        bytes.extend_from_slice(&buffer[..count]);
        may_wait(until)?;
    }
    Ok(bytes)
}

/// Whether output or its end arrives within [`STEP`].
fn wait_for(stdout: &ChildStdout) -> io::Result<bool> {
    let step = Timespec::try_from(STEP).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(stdout, PollFlags::IN)], Some(&step)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Waits for the exit status of a command that has closed its output or printed too much.
fn end(child: &mut Child, until: Instant) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child
            .try_wait()
            .context("waiting for it")
            .exit(Exit::Config)?
        {
            return Ok(status);
        }
        may_wait(until)?;
        std::thread::sleep(STEP / 10);
    }
}

/// Whether to go on waiting for the command.
fn may_wait(until: Instant) -> Result<()> {
    if shutdown::has_signal() {
        return fail(Exit::TempFail, "stopped by a signal before it ended");
    }
    if Instant::now() < until {
        return Ok(());
    }
    let message = format!("it did not end within {} s", PATIENCE.as_secs());
    fail(Exit::Config, message)
        .hint("run it by hand as the user running proofpull: it must not ask for input")
}

/// Kills the command and everything it started.
fn kill(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // it may have ended already; what is left is up to the system
    let _ = group.map(|group| kill_process_group(group, Signal::KILL));
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> CommandLine {
        CommandLine::new(["/bin/sh", "-c", script].map(Into::into).into()).unwrap()
    }

    fn check_refused(command: &CommandLine, said: &str, remedy: &str) {
        let error = run_for(command, Duration::from_secs(1)).unwrap_err();
        let hint = error.hint().unwrap_or_default();
        let all = format!("{error} {error:?} {hint} {command:?}");
        assert!(
            error.to_string().contains(said) && hint.contains(remedy),
            "{all}"
        );
        assert_eq!(error.exit(), Exit::Config, "{all}");
        assert!(!all.contains("hunter2"), "{all}");
    }

    #[test]
    fn what_a_command_prints_is_a_secret_cleaned_as_one_from_a_file() {
        let good = [
            "printf hunter2",
            "echo hunter2",
            "printf 'hunter2\\r\\n'",
            "echo hunter2; echo why >&2",
        ];
        for script in good {
            assert_eq!(run(&shell(script)).unwrap().reveal(), "hunter2", "{script}");
        }
        // standard input is empty, and no shell interprets the arguments
        let empty = CommandLine::new(vec!["cat".into()]).unwrap();
        check_refused(&empty, "empty", "only the secret");
        let words = ["printf".into(), "%s".into(), "$HOME *; hunter".into()];
        assert_eq!(
            run(&CommandLine::new(words.into()).unwrap())
                .unwrap()
                .reveal(),
            "$HOME *; hunter"
        );
        for (script, said) in [
            ("echo hunter2; echo user: me", "line end"),
            ("printf 'hunter2\\377'", "UTF-8"),
            ("yes hunter2", "64 KiB"),
            ("true", "empty"),
        ] {
            check_refused(&shell(script), said, "only the secret");
        }
    }

    #[test]
    fn a_command_gets_the_variables_that_say_who_and_where_it_is_and_no_other() {
        for (name, wanted) in [
            ("PATH", true),
            ("HOME", true),
            ("LANG", true),
            ("LC_ALL", true),
            ("XDG_RUNTIME_DIR", true),
            ("PASSWORD_STORE_DIR", true),
            ("TAP_SECRET", false),
            ("CREDENTIALS_DIRECTORY", false),
            ("https_proxy", false),
            ("VAULT_TOKEN", false),
            ("LD_PRELOAD", false),
            ("HOMER", false),
            ("path", false),
            ("", false),
        ] {
            assert_eq!(is_passed_on(OsStr::new(name)), wanted, "{name}");
        }
        // cargo sets this one for tests
        assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
        let printed = run(&shell("echo \"[$CARGO_PKG_NAME]${PATH:+and a path}\"")).unwrap();
        assert_eq!(printed.reveal(), "[]and a path");
        let named = ["env", "VAULT_ADDR=here", "printenv", "VAULT_ADDR"].map(Into::into);
        let printed = run(&CommandLine::new(named.into()).unwrap()).unwrap();
        assert_eq!(printed.reveal(), "here");
    }

    #[test]
    fn a_command_that_fails_says_how_it_ended_and_nothing_of_what_it_said() {
        let loud = "echo hunter2; echo hunter2 >&2; ";
        check_refused(
            &shell(&format!("{loud} exit 3")),
            "ended with status 3",
            "by hand",
        );
        check_refused(
            &shell(&format!("{loud} kill -9 $$")),
            "killed by signal 9",
            "by hand",
        );
        let missing = CommandLine::new(vec!["/no/such/program".into(), "hunter2".into()]).unwrap();
        check_refused(&missing, "starting the command: No such file", "no shell");
        let folder = CommandLine::new(vec!["/etc".into()]).unwrap();
        check_refused(
            &folder,
            "starting the command: Permission denied",
            "no shell",
        );
    }

    #[test]
    fn a_command_that_prints_a_little_for_ever_is_no_exception() {
        let script = "while :; do printf x; sleep 0.02; done";
        check_refused(&shell(script), "did not end within", "must not ask");
    }

    #[test]
    fn a_command_that_does_not_end_is_killed_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let script = format!(
            "sh -c 'echo $$ > {}; exec sleep 300' & wait",
            path.display()
        );
        check_refused(&shell(&script), "did not end within", "must not ask");
        let pid = std::fs::read_to_string(path).unwrap();
        // after the signal the process is gone, or a zombie that its new parent has not reaped
        let stat = format!("/proc/{}/stat", pid.trim());
        let is_alive = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z"));
        let started = Instant::now();
        while is_alive() {
            assert!(started.elapsed() < Duration::from_secs(60), "it lives on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn what_a_command_leaves_running_is_not_waited_for() {
        let started = Instant::now();
        let secret = run(&shell("echo hunter2; sleep 25 &")).unwrap();
        assert_eq!(secret.reveal(), "hunter2");
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}
