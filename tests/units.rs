//! The units as they are shipped: what they start, for whom, and how long it may take.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use proofpull::config::file::look;
use proofpull::config::values::parse_duration;
use proofpull::service::SERVICES;
use time::OffsetDateTime;

use crate::simulator::SECRET;
use crate::test_env::{Run, Running, TestEnv, ago, write_private};

const SERVICE: &str = "tap-messages-blocked";
const UNIT: &str = include_str!("../systemd/proofpull@.service");
const TMPFILES: &str = include_str!("../systemd/proofpull.tmpfiles.conf");

/// The values of a setting of a unit, in order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines
        .filter(|(found, _)| *found == key)
        .map(|(_, value)| value)
        .collect()
}

/// Makes the folders and links that systemd-tmpfiles makes for a tenant, below a root.
fn make_folders(root: &Path, tenant: &str) {
    let lines = TMPFILES.replace("proofpull", tenant);
    for line in lines.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let path = below(root, words[1]);
        match words[0] {
            "d" => fs::create_dir_all(path).unwrap(),
            "L" => symlink(words[6], path).unwrap(),
            other => panic!("{other}"),
        }
    }
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// The value of a setting of the unit that stands there once, for a tenant and a service.
fn setting(key: &str, tenant: &str, service: &str) -> String {
    let all = values(UNIT, key);
    let [one] = all[..] else {
        panic!("{key}: {all:?}")
    };
    one.replace("%p", tenant).replace("%i", service)
}

/// Does what systemd does with the unit under the name of `tenant`, below a root of its own: the state
/// folder, the credentials, the environment, the command.
fn start(root: &Path, tenant: &str) -> Run {
    let said = |key: &str| setting(key, tenant, SERVICE);
    let below = |path: &str| below(root, path);
    let state = below("/var/lib").join(said("StateDirectory"));
    fs::create_dir_all(&state).unwrap();

    let credentials = below("/run/credentials").join(tenant);
    fs::create_dir_all(&credentials).unwrap();
    let load = said("LoadCredential");
    let (id, folder) = load.split_once(':').unwrap();
    for entry in fs::read_dir(below(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{id}_{}", entry.file_name().into_string().unwrap());
        write_private(
            &credentials.join(name),
            &fs::read_to_string(entry.path()).unwrap(),
        );
    }

    let exec = said("ExecStart");
    let words: Vec<&str> = exec.split(' ').collect();
    assert_eq!(words[0], "proofpull");
    let environment = said("Environment");
    let (variable, path) = environment.split_once('=').unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_proofpull"));
    command
        .args(&words[1..])
        .env_clear()
        .env(variable, below(path));
    command
        .env("STATE_DIRECTORY", &state)
        .env("CREDENTIALS_DIRECTORY", &credentials);
    Running::start(&mut command).wait()
}

#[test]
fn a_copy_of_the_unit_under_another_name_is_another_tenant() {
    let root = tempfile::tempdir().unwrap();
    let mut worlds = Vec::new();
    for (count, tenant) in [(4, "proofpull"), (7, "proofpull-acme")] {
        let mut env = TestEnv::new();
        env.start_at(ago(60));
        env.add(SERVICE, ago(60), ago(3), count);
        env.top = format!("name = {tenant:?}");
        env.tap_table = env
            .tap_table
            .lines()
            .filter(|line| !line.starts_with("secret"))
            .map(|line| format!("{line}\n"))
            .collect();
        env.tap_table += "secret = { credential = \"proofpull_tap.secret\" }\n";
        let text = fs::read_to_string(env.write_config()).unwrap();
        let text = text.replacen("state_dir", "# state_dir", 1);
        make_folders(root.path(), tenant);
        let etc = root.path().join("etc").join(tenant);
        write_private(&etc.join("config.toml"), &text);
        write_private(&etc.join("credentials/tap/tap.secret"), SECRET);
        worlds.push((tenant, count, env));
    }
    for round in 0..2 {
        for (tenant, count, env) in &worlds {
            let run = start(root.path(), tenant);
            run.assert_status(0);
            let delivered = if round == 0 { *count } else { 0 };
            assert_eq!(run.count("delivered"), delivered as u64, "{tenant}");
            env.assert_exactly_once(SERVICE);
        }
    }
    for (tenant, ..) in &worlds {
        assert!(
            root.path()
                .join(format!("var/lib/{tenant}/{SERVICE}.json"))
                .exists()
        );
    }
}

#[test]
fn a_unit_gets_the_secrets_of_its_api_and_a_tenant_has_a_user_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let keys = [
        ("tap", "tap.secret"),
        ("pod", "pod.key"),
        ("isolation", "isolation.key"),
    ];
    for tenant in ["proofpull", "proofpull-acme"] {
        make_folders(root.path(), tenant);
        let folder = root.path().join("etc").join(tenant).join("credentials");
        for (api, key) in keys {
            fs::write(folder.join(api).join(key), "").unwrap();
        }
        for service in SERVICES {
            let load = setting("LoadCredential", tenant, service.name);
            let (_, folder) = load.split_once(':').unwrap();
            let files = fs::read_dir(below(root.path(), folder));
            let files = files.unwrap_or_else(|error| panic!("{}: {error}", service.name));
            let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
            let wanted = keys.iter().find(|(api, _)| *api == service.sign_in_table());
            assert_eq!(
                files.collect::<Vec<_>>(),
                [wanted.unwrap().1],
                "{}",
                service.name
            );
        }
        assert_eq!(setting("User", tenant, SERVICE), tenant);
        let user = include_str!("../systemd/proofpull.sysusers.conf").replace("proofpull", tenant);
        assert!(user.contains(&format!("\nu {tenant} - ")), "{user}");
        assert!(user.contains(&format!(" /var/lib/{tenant} ")), "{user}");
    }
    assert_eq!(values(UNIT, "LimitCORE"), ["0"]);
}

#[test]
fn the_time_limits_of_the_unit_fit_what_a_run_may_take() {
    let seconds = |value: &str| parse_duration(&value.replace("min", "m")).unwrap();
    let (defaults, _) = look("", Path::new("/"), OffsetDateTime::now_utc());
    for service in SERVICES {
        let unit = match service.sign_in_table() {
            "pod" => include_str!("../systemd/drop-ins/pod-service.conf"),
            _ => UNIT,
        };
        let limit = seconds(values(unit, "TimeoutStartSec")[0]);
        let key = format!("services.{}.max_duration", service.name);
        let longest = defaults.record.keys().find(|entry| entry.is(&key));
        let longest = longest.and_then(|entry| entry.value.clone()).unwrap();
        let longest = parse_duration(longest.trim_matches('"')).unwrap();
        let room = limit.checked_sub(longest);
        assert!(room > Some(Duration::from_secs(180)), "{}", service.name);
    }
    // longer than the longest silence that a confirmation waits for
    assert!(seconds(values(UNIT, "TimeoutStopSec")[0]) >= Duration::from_secs(120));
    assert_eq!(values(UNIT, "SuccessExitStatus"), ["TEMPFAIL"]);
    assert_eq!(values(UNIT, "Type"), ["oneshot"]);
    // by netlink the kernel tells at once which bytes are acknowledged
    let families = values(UNIT, "RestrictAddressFamilies")[0];
    assert!(families.split(' ').any(|family| family == "AF_NETLINK"));
}

#[test]
fn the_crontab_runs_every_service_quietly() {
    let crontab = include_str!("../examples/crontab");
    let lines = crontab.lines().filter(|line| !line.starts_with('#'));
    let words = lines.filter_map(|line| line.split_once("proofpull run ")?.1.strip_suffix(" -q"));
    let words: Vec<&str> = words.map(|word| word.trim_matches('\'')).collect();
    for service in SERVICES {
        let runs = |word: &&str| match word.strip_suffix('*') {
            Some(start) => service.name.starts_with(start),
            None => service.name == *word,
        };
        assert!(words.iter().any(runs), "{}", service.name);
    }
}

/// A calendar waits for the time that a clock had reached which jumped ahead and back.
#[test]
fn the_timer_has_a_trigger_that_no_clock_changes_and_that_no_calendar_needs() {
    const TIMER: &str = include_str!("../systemd/proofpull@.timer");
    let span = |key: &str| {
        let value = values(TIMER, key)[0].replace("min", "m");
        parse_duration(&value).unwrap()
    };
    assert_eq!(values(TIMER, "OnCalendar"), ["*:0/10"]);
    assert_eq!(values(TIMER, "Persistent"), ["yes"]);
    let between_runs = Duration::from_secs(600) + span("RandomizedDelaySec");
    assert!(span("OnUnitInactiveSec") > between_runs);
    // a drop-in that replaces the calendar takes both away
    let pod = include_str!("../systemd/drop-ins/pod-timer.conf");
    assert_eq!(values(pod, "OnCalendar"), [""]);
}
