//! What is remembered: refused where it cannot be understood, proven to be writable before anything
//! is asked for, and one run at a time.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use proofpull::clock::utc;
use serde_json::Value;

use crate::test_env::{Mounted, Run, Running, TestEnv, ago, hold, sealed};

const SERVICE: &str = "tap-messages-delivered";

/// Two hours with 20 events.
fn env() -> TestEnv {
    let mut env = TestEnv::new();
    env.start_at(ago(120));
    env.add(SERVICE, ago(120), ago(3), 20);
    env
}

/// The same after a run, with ten late events more.
fn known() -> TestEnv {
    let env = env();
    env.run(SERVICE, &[]).assert_status(0);
    env.add(SERVICE, ago(40), ago(3), 10);
    env.tap.forget_requests();
    env
}

fn file(env: &TestEnv, extension: &str) -> PathBuf {
    env.state_dir().join(format!("{SERVICE}.{extension}"))
}

#[track_caller]
fn assert_nothing_asked(env: &TestEnv) {
    assert_eq!(env.tap.requests().len(), 0, "something was asked for");
}

/// A damaged file is refused, nothing is asked for, and both files stay as they are.
fn check_refused(extension: &str, name: &str, damage: impl Fn(&TestEnv, Vec<u8>) -> Vec<u8>) {
    check_undelivered(extension, name, damage, assert_nothing_asked);
}

/// The same, where the damage is found when the first event comes.
fn check_refused_at_an_event(name: &str, damage: impl Fn(&TestEnv, Vec<u8>) -> Vec<u8>) {
    check_undelivered("seen", name, damage, |_| {});
}

/// A damaged file is refused, nothing is delivered, and both files stay as they are.
fn check_undelivered(
    extension: &str,
    name: &str,
    damage: impl Fn(&TestEnv, Vec<u8>) -> Vec<u8>,
    look: impl Fn(&TestEnv),
) {
    println!("{extension}: {name}");
    let env = known();
    let files = ["json", "seen"].map(|extension| file(&env, extension));
    let whole = files.clone().map(|path| fs::read(path).unwrap());
    let at = usize::from(extension == "seen");
    fs::write(&files[at], damage(&env, whole[at].clone())).unwrap();
    let read = || files.clone().map(|path| fs::read(path).unwrap());
    let (damaged, delivered) = (read(), env.devo.count());

    let path = files[at].display().to_string();
    env.run(SERVICE, &[]).assert_error(65, &[&path], "");
    look(&env);
    assert_eq!(env.devo.count(), delivered);
    assert_eq!(read(), damaged);

    for (path, bytes) in files.iter().zip(whole) {
        fs::write(path, bytes).unwrap();
    }
    env.run(SERVICE, &[]).assert_status(0);
    env.assert_exactly_once(SERVICE);
}

/// An object of the state with something else in it, and its checksum.
fn changed(bytes: &[u8], change: impl Fn(&mut Value)) -> Vec<u8> {
    let mut state = serde_json::from_slice(bytes).unwrap();
    change(&mut state);
    sealed(&state).into()
}

#[test]
fn a_state_that_cannot_be_understood_is_refused() {
    check_refused("json", "empty", |_, _| Vec::new());
    check_refused("json", "torn", |_, bytes| bytes[..bytes.len() / 2].into());
    check_refused("json", "garbage", |_, _| b"\x00\xff rubbish".into());
    check_refused("json", "another type", |_, _| b"[]".into());
    check_refused("json", "no version", |_, _| b"{}".into());
    check_refused("json", "without a checksum", |_, bytes| {
        let text = String::from_utf8(bytes).unwrap();
        let end = text.rfind(",\n  \"checksum\"").unwrap();
        format!("{}}}", &text[..end]).into()
    });
    check_refused("json", "newer", |_, bytes| {
        changed(&bytes, |state| state["version"] = 99.into())
    });
    check_refused("json", "older", |_, bytes| {
        changed(&bytes, |state| state["version"] = 2.into())
    });
    check_refused("json", "a checkpoint of another kind", |_, bytes| {
        changed(&bytes, |state| {
            let until = state["checkpoint"]["until"].clone();
            state["checkpoint"] =
                serde_json::json!({"kind": "stream", "until": until, "open_hours": []});
        })
    });
    check_refused("json", "something more", |_, bytes| {
        changed(&bytes, |state| state["more"] = 1.into())
    });
    check_refused("json", "of another service", |env, _| {
        env.run("tap-clicks-blocked", &[]).assert_status(0);
        env.tap.forget_requests();
        fs::read(env.state_dir().join("tap-clicks-blocked.json")).unwrap()
    });
}

#[test]
fn the_refusal_of_a_state_says_the_way_out() {
    let env = known();
    fs::write(file(&env, "json"), "{").unwrap();
    let run = env.run(SERVICE, &[]);
    run.assert_error(65, &["damaged"], "start_time");
    fs::write(file(&env, "json"), "{\"version\": 9}").unwrap();
    let run = env.run(SERVICE, &[]);
    run.assert_error(65, &["version 9"], "newer proofpull");
    // the first build had no checksums
    fs::write(file(&env, "json"), "{\"version\": 2}").unwrap();
    let run = env.run(SERVICE, &[]);
    run.assert_error(65, &["version 2"], "start_time");
    run.assert_error(65, &[], "--start-over");
    assert_nothing_asked(&env);
    // and the way out leads out
    let dry = env.run(SERVICE, &["--start-over", "--dry-run"]);
    dry.assert_status(0).assert_says("starts over");
    assert!(!file(&env, "json.old").exists());
    let run = env.run(SERVICE, &["--start-over"]);
    run.assert_status(0).assert_says("starts over");
    let old = fs::read(file(&env, "json.old")).unwrap();
    assert_eq!(old, b"{\"version\": 2}");
    assert!(file(&env, "seen.old").exists());
    assert_eq!(env.assert_nothing_lost(SERVICE), 20);
    // but it is not a way in
    let again = env.run(SERVICE, &["--start-over"]);
    again.assert_error(2, &["is good"], "--start-time");
    env.run(SERVICE, &[]).assert_status(0);
    assert_eq!(env.assert_nothing_lost(SERVICE), 20);
}

/// What is left of a state is refused by whatever would go on from it, until somebody starts over.
#[test]
fn a_missing_state_is_refused_and_never_started_over_in_silence() {
    let (from, to) = (utc(ago(120)), utc(ago(10)));
    let range = ["--start-time", &from, "--end-time", &to];
    let both = [&["--stdout"], &range[..]].concat();
    let kinds: [(&str, &[&str]); 4] = [
        ("", &[]),
        (".stdout", &["--stdout"]),
        (".backfill", &range),
        (".stdout.backfill", &both),
    ];
    for ((kind, words), lost) in kinds
        .into_iter()
        .flat_map(|kind| [(kind, "json"), (kind, "seen")])
    {
        let env = env();
        let run = |more: &[&str]| env.run(SERVICE, &[words, more].concat());
        let delivered = run(&[]).assert_status(0).count("delivered");
        assert!(delivered > 10, "{kind}");
        env.tap.forget_requests();
        let name = format!("{SERVICE}{kind}.{lost}");
        fs::remove_file(env.state_dir().join(&name)).unwrap();
        for more in [&[][..], &["--dry-run"]] {
            run(more).assert_error(65, &[&name, "is missing"], "--start-over");
        }
        assert_nothing_asked(&env);
        let status = env.ask(&["status", SERVICE]);
        assert!(lost == "seen" || status.answer().contains("is missing"));
        let over = run(&["--start-over"]);
        over.assert_status(0).assert_says("starts over");
        assert_eq!(over.count("delivered"), delivered, "{kind}");
        assert_eq!(run(&[]).assert_status(0).count("delivered"), 0, "{kind}");
    }
}

#[test]
fn a_first_run_that_failed_before_it_had_a_state_is_no_error_for_the_next() {
    let mut env = env();
    let good = env.devo_table.clone();
    let cert = format!("{:?}", env.certs.client_cert());
    env.devo_table = good.replace(&cert, "\"missing.crt\"");
    env.run(SERVICE, &[]).assert_status(78);
    for (extension, is_there) in [("lock", true), ("runs.json", true), ("json", false)] {
        assert_eq!(file(&env, extension).exists(), is_there, "{extension}");
    }
    env.devo_table = good;
    env.run(SERVICE, &[]).assert_status(0);
    env.assert_exactly_once(SERVICE);
}

/// A run says at once what stands there, and waits for nobody to write into it or to read from it.
#[test]
fn what_is_no_file_is_told_by_name_and_never_waited_for() {
    let pipe = |path: &Path| {
        let made = Command::new("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
    };
    let table: [(&str, i32, &str); 5] = [
        ("json", 65, "--start-over"),
        ("seen", 65, "--start-over"),
        ("quarantine.jsonl", 73, "state folder"),
        ("lock", 73, "state folder"),
        ("runs.json", 0, ""),
    ];
    for (extension, status, hint) in table {
        let env = known();
        let path = file(&env, extension);
        let _ = fs::remove_file(&path);
        pipe(&path);
        let name = path.display().to_string();
        let told = env.ask(&["status", SERVICE]).answer();
        let is_read = !matches!(extension, "seen");
        assert_eq!(
            told.contains("a named pipe"),
            is_read,
            "{extension}: {told}"
        );
        let run = env.run(SERVICE, &[]);
        if status > 0 {
            run.assert_error(status, &[&name, "a named pipe"], hint);
            assert_nothing_asked(&env);
        } else {
            run.assert_status(0)
                .assert_says("a named pipe")
                .assert_says("start again at 0");
        }
    }
    let env = known();
    let entries = fs::read_dir(env.state_dir()).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let is_ledger = |path: &PathBuf| path.display().to_string().contains("quota-");
    let ledger = paths.find(|path| is_ledger(path) && path.extension().unwrap() == "json");
    let ledger = ledger.unwrap();
    fs::remove_file(&ledger).unwrap();
    pipe(&ledger);
    let run = env.run(SERVICE, &[]);
    run.assert_error(65, &["quota-", "a named pipe"], "move it away");
    assert_nothing_asked(&env);
}

/// Every bit of the program's own files counts, and what is said names the place.
#[test]
fn damage_is_told_with_its_file_and_its_place() {
    let flipped = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 4;
        fs::write(path, bytes).unwrap();
    };
    let env = known();
    let whole = fs::read(file(&env, "json")).unwrap();
    flipped(&file(&env, "json"), whole.len() / 2);
    let run = env.run(SERVICE, &[]);
    let place = format!("in bytes 0 to {}", whole.len());
    run.assert_error(65, &["the state", ".json", &place], "backup");
    fs::write(file(&env, "json"), whole).unwrap();

    flipped(&file(&env, "seen"), 50);
    let run = env.run(SERVICE, &[]);
    run.assert_error(65, &["the identities", ".seen", "in bytes 20 to"], "backup");
    flipped(&file(&env, "seen"), 50);

    flipped(&file(&env, "runs.json"), 30);
    let run = env.run(SERVICE, &[]);
    run.assert_status(0)
        .assert_says("runs.json: it is damaged in bytes 0 to")
        .assert_says("start again");
    env.assert_exactly_once(SERVICE);
}

#[test]
fn identities_that_are_not_all_there_are_refused() {
    check_refused("seen", "empty", |_, _| Vec::new());
    check_refused("seen", "too short", |_, bytes| {
        bytes[..bytes.len() - 1].into()
    });
    check_refused("seen", "foreign", |_, bytes| {
        bytes.iter().rev().copied().collect()
    });
    check_refused_at_an_event("a flipped bit", |_, mut bytes| {
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    });
    check_refused_at_an_event("of another service", |env, _| {
        env.run("tap-clicks-blocked", &[]).assert_status(0);
        env.tap.forget_requests();
        fs::read(env.state_dir().join("tap-clicks-blocked.seen")).unwrap_or_default()
    });
    let env = known();
    fs::remove_file(file(&env, "seen")).unwrap();
    env.run(SERVICE, &[]).assert_error(65, &[".seen"], "backup");
    assert_nothing_asked(&env);
}

#[test]
fn what_a_killed_run_left_behind_does_no_harm() {
    let env = known();
    let mut seen = fs::read(file(&env, "seen")).unwrap();
    seen.extend_from_slice(b"a record that was torn, and more than one of them");
    fs::write(file(&env, "seen"), seen).unwrap();
    fs::write(file(&env, "json.new"), "{\"version\": 3, \"serv").unwrap();
    fs::write(file(&env, "seen.next"), "torn").unwrap();
    fs::write(
        file(&env, "lock"),
        "pid 1, started long ago, and never ended",
    )
    .unwrap();
    for _ in 0..2 {
        env.run(SERVICE, &[]).assert_status(0);
        env.assert_exactly_once(SERVICE);
    }
    assert!(!file(&env, "json.new").exists());
}

#[test]
fn a_folder_that_cannot_be_made_is_status_73_and_nothing_is_asked_for() {
    let env = env();
    fs::write(env.state_dir(), "a file").unwrap();
    let run = env.run(SERVICE, &[]);
    run.assert_error(73, &[&env.state_dir().display().to_string()], "state_dir");
    assert_nothing_asked(&env);
    assert_eq!(env.devo.connections().len(), 0);
    fs::remove_file(env.state_dir()).unwrap();
    env.run(SERVICE, &[]).assert_status(0);
    env.assert_exactly_once(SERVICE);
}

#[test]
fn a_folder_that_is_read_only_is_status_73_and_nothing_is_asked_for() {
    let env = known();
    let dir = env.state_dir().display().to_string();
    let command = env.command(SERVICE);
    let script =
        "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" || exit 99; exec \"$@\"";
    // in a name space of its own: others keep the folder as it is
    let mut inside = Command::new("unshare");
    inside.args(["-m", "sh", "-c", script, &dir]);
    inside.arg(command.get_program()).args(command.get_args());
    let run = Running::start(&mut inside).wait();
    if run.status == Some(99) || run.stderr.contains("unshare") {
        println!("skipped: nothing may be mounted here");
        return;
    }
    run.assert_error(73, &["state"], "writable");
    assert_nothing_asked(&env);
    env.run(SERVICE, &[]).assert_status(0);
    env.assert_exactly_once(SERVICE);
}

#[test]
fn a_full_disk_is_status_73_and_nothing_is_lost() {
    // so many pages left, and whether the state itself can still be written
    for pages in [0, 1, 2, 3] {
        let env = env();
        let Some(disk) = Mounted::small(&env.state_dir()) else {
            return;
        };
        env.run(SERVICE, &[]).assert_status(0);
        env.add(SERVICE, ago(40), ago(3), 1000);
        env.tap.forget_requests();
        let filling = disk.fill(pages);
        let run = env.run(SERVICE, &[]);
        run.assert_error(73, &["No space left on device"], "space");
        if pages == 0 {
            assert_nothing_asked(&env);
        }
        fs::remove_file(filling).unwrap();
        env.run(SERVICE, &[]).assert_status(0);
        let repeated = env.assert_nothing_lost(SERVICE);
        assert!(repeated <= 1000, "{repeated}");
    }
}

#[test]
fn a_second_run_finds_out_who_runs_and_can_wait() {
    let env = env();
    let held = hold(&env.tap, 0);
    let first = env.start(SERVICE, &[]);
    held.wait();
    let pid = format!("pid {}, started 20", first.pid());
    let second = env.run(SERVICE, &[]);
    second.assert_error(75, &[SERVICE, &pid], "--wait-lock");
    let second = env.run(SERVICE, &["--wait-lock", "1s"]);
    second.assert_error(75, &[SERVICE, &pid], "--wait-lock");
    let mut waiting = env.start(SERVICE, &["--wait-lock", "4m"]);
    assert!(!waiting.is_over());
    drop(held);
    first.wait().assert_status(0);
    waiting.wait().assert_status(0);
    env.assert_exactly_once(SERVICE);
}

fn metadata(env: &TestEnv) -> Vec<(String, fs::Metadata)> {
    let entries = fs::read_dir(env.state_dir()).unwrap();
    let named = entries.map(|entry| {
        let entry = entry.unwrap();
        (
            entry.file_name().into_string().unwrap(),
            entry.metadata().unwrap(),
        )
    });
    named.collect()
}

#[test]
fn files_are_for_their_owner_alone() {
    let env = known();
    let files = metadata(&env);
    assert!(files.len() >= 3, "{files:?}");
    for (name, about) in files {
        assert_eq!(about.mode() & 0o7777, 0o600, "{name}");
    }
    let folder = fs::metadata(env.state_dir()).unwrap();
    assert_eq!(folder.mode() & 0o7777, 0o700);
}

#[test]
fn files_that_root_makes_belong_to_the_owner_of_the_folder() {
    let env = env();
    fs::create_dir(env.state_dir()).unwrap();
    if chown(env.state_dir(), Some(12345), Some(12346)).is_err() {
        println!("skipped: only root gives files away");
        return;
    }
    let check = |run: Run| {
        run.assert_status(0);
        for (name, about) in metadata(&env) {
            assert_eq!((about.uid(), about.gid()), (12345, 12346), "{name}");
        }
    };
    check(env.run(SERVICE, &[]));
    check(env.run(SERVICE, &["--start-time", "2h"]));
    check(env.run(SERVICE, &["--stdout"]));
    assert!(metadata(&env).len() >= 9);
}

/// The folder's owner may try to make root write to any file, or give it to them.
#[test]
fn what_root_writes_stays_in_the_folder_whatever_its_owner_has_put_there() {
    let env = known();
    let prey = env.dir.path().join("prey");
    fs::write(&prey, "root's own").unwrap();
    if chown(env.state_dir(), Some(12345), Some(12346)).is_err() {
        println!("skipped: only root gives files away");
        return;
    }
    type Link = fn(&Path, &Path) -> std::io::Result<()>;
    let links: [(&str, Link); 2] = [
        ("symbolic", |to, name| std::os::unix::fs::symlink(to, name)),
        ("hard", |to, name| fs::hard_link(to, name)),
    ];
    let names = [
        "json.new",
        "runs.json.new",
        "lock",
        "seen",
        "seen.new",
        "quarantine.jsonl",
    ];
    for ((kind, link), name) in links.iter().flat_map(|link| names.map(|name| (link, name))) {
        let name = env.state_dir().join(format!("{SERVICE}.{name}"));
        let before = fs::read(&name).ok();
        let _ = fs::remove_file(&name);
        link(&prey, &name).unwrap();
        env.add(SERVICE, ago(3), ago(2), 1);
        let run = env.run(SERVICE, &[]);
        let about = fs::metadata(&prey).unwrap();
        let what = format!("{kind} {}: {}", name.display(), run.stderr);
        assert_eq!(fs::read(&prey).unwrap(), b"root's own", "{what}");
        assert_eq!((about.uid(), about.gid()), (0, 0), "{what}");
        if name
            .extension()
            .is_some_and(|extension| extension == "lock")
        {
            run.assert_error(
                73,
                &["locking", &format!("{SERVICE}.lock")],
                "the state folder",
            );
        }
        let _ = fs::remove_file(&name);
        if let Some(before) = before {
            fs::write(&name, before).unwrap();
        }
    }
}

/// As after somebody has run it as another user.
#[test]
fn a_state_that_may_not_be_read_is_status_73_and_says_who_must_own_it() {
    for extension in ["json", "seen"] {
        let env = known();
        let path = file(&env, extension);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        let mut command = env.command(SERVICE);
        // root may read everything
        let another = |path: &Path| chown(path, Some(12345), Some(12345));
        let is_root = fs::metadata(&path).unwrap().uid() == 0;
        if is_root {
            let files = fs::read_dir(env.state_dir()).unwrap();
            let files = files.map(|entry| entry.unwrap().path());
            let top = env.dir.path();
            let mut all: Vec<PathBuf> = files.filter(|file| *file != path).collect();
            all.push(env.state_dir());
            for folder in [top, &top.join("certs")] {
                let entries = fs::read_dir(folder).unwrap();
                all.extend(entries.map(|entry| entry.unwrap().path()));
                all.push(folder.to_owned());
            }
            all.iter().for_each(|path| another(path).unwrap());
            command.uid(12345).gid(12345);
        }
        let run = Running::start(&mut command).wait();
        let path = path.display().to_string();
        run.assert_error(73, &[&path, "denied"], "give it to the user");
        assert_nothing_asked(&env);
    }
}
