//! `secret` reads secrets from where the configuration says, and keeps them out of all output.
//!
//! It is the only place that opens a secret file. It does not know what a secret is for.

mod access;
mod command;
mod core_dump;
mod terminal;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::config::{Plain, SecretRef};
use crate::error::{Because, Exit, Result, fail};
use crate::files;
use crate::human::is_unprintable;
use access::{Access, Exposure};

pub(crate) use core_dump::forbid_core_dumps;
pub(crate) use terminal::{Echo, Terminal};

/// Longest part of what a peer said that a message shows, in characters.
const MAX_EXCERPT: usize = 200;
/// Largest secret, in bytes; a larger file is something else.
const MAX_SECRET: u64 = 64 * 1024;

/// A secret. It cannot be printed, and no error contains any of it.
pub(crate) struct Secret(String);

impl Secret {
    /// The secret itself, for the request that needs it.
    #[must_use]
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// The value of an `Authorization` or `Proxy-Authorization` header with this password.
    #[must_use]
    pub(crate) fn basic(&self, user: &str) -> Secret {
        Secret(format!(
            "Basic {}",
            STANDARD.encode(format!("{user}:{}", self.0))
        ))
    }

    /// The value of an `Authorization` header with this key; `None` if a header cannot hold it.
    #[must_use]
    pub(crate) fn bearer(&self) -> Option<Secret> {
        let fits = self.0.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Secret(format!("Bearer {}", self.0)))
    }
}

impl From<&Plain> for Secret {
    fn from(plain: &Plain) -> Secret {
        Secret(plain.reveal().to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Writes a certificate or a key as PEM.
#[cfg(feature = "native-tls")]
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    // OpenSSL takes no longer lines than 64 characters
    for line in der.chunks(48) {
        text += &STANDARD.encode(line);
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

/// Takes a line that was typed or piped for a secret.
///
/// # Errors
/// Status 78 if it cannot be one.
pub(crate) fn parse(line: &str) -> Result<Secret> {
    clean(line.into())
}

/// Reads a secret; `what` names it, as in `[tap] secret`.
///
/// # Errors
/// Status 77 if the file may not be read or others can use it; 78 if there is none or it cannot be
/// a secret.
pub(crate) fn read(reference: &SecretRef, what: &str) -> Result<Secret> {
    let (secret, place) = match reference {
        SecretRef::File(path) => (from_file(path), path.display().to_string()),
        SecretRef::Env(name) => (from_variable(std::env::var_os(name)), format!("${name}")),
        SecretRef::Credential(name) => (
            from_credential(std::env::var_os("CREDENTIALS_DIRECTORY"), name),
            format!("the credential {name}"),
        ),
        SecretRef::Command(line) => (
            command::run(line),
            format!("the command {}", line.program().display()),
        ),
        SecretRef::Plain(plain) => (clean(plain.reveal().into()), "the configuration".into()),
    };
    let secret = secret.with_context(|| format!("reading {what} from {place}"))?;
    if let Some(oddity) = oddity(&secret) {
        let said = format!(
            "{what} from {place} {oddity}, which is sent as a part of it: remove that unless it belongs there"
        );
        warn_once(said);
    }
    Ok(secret)
}

/// Refuses a file with a secret if somebody who is not trusted can do anything with it.
///
/// # Errors
/// Status 77, with the command that puts it right.
pub(crate) fn refuse_if_others_can_use(file: &File, path: &Path) -> Result<()> {
    // that to the open file: the path may lead elsewhere by now
    let access = Access::to(file).exit(Exit::NoPerm)?;
    let Some(Exposure { said, remedy }) = access.exposes_a_secret() else {
        return Ok(());
    };
    let (path, mode) = (path.display(), access.mode);
    let said = format!("{path} holds a secret, and {said} (mode {mode:04o})");
    fail(Exit::NoPerm, said).hint(format!(
        "run {remedy} {path}, readable for a group that proofpull runs in; on Kubernetes set \
         defaultMode: 0440 in the volume"
    ))
}

/// Refuses a configuration that somebody who is not trusted can change: it may name a command.
///
/// # Errors
/// Status 77, with the command that puts it right.
pub(crate) fn refuse_if_others_can_change(file: &File, path: &Path) -> Result<()> {
    // only a file is there for longer than this run
    if !file.metadata().exit(Exit::NoPerm)?.is_file() {
        return Ok(());
    }
    let access = Access::to(file).exit(Exit::NoPerm)?;
    let Some(Exposure { said, remedy }) = access.exposes_a_configuration() else {
        return Ok(());
    };
    let (path, mode) = (path.display(), access.mode);
    let said = format!("{path} is the configuration, and {said} (mode {mode:04o})");
    fail(Exit::NoPerm, said).hint(format!("run {remedy} {path}"))
}

/// Says that somebody who is not trusted can replace the files in a folder, and what puts it right.
/// Nothing is said of a folder that is not there or cannot be looked at.
#[must_use]
pub(crate) fn exposed(folder: &Path) -> Option<(String, String)> {
    let access = Access::to(&File::open(folder).ok()?).ok()?;
    let Exposure { said, remedy } = access.exposes_a_folder()?;
    let (folder, mode) = (folder.display(), access.mode);
    let said = format!("files in {folder} can be replaced: {said} (mode {mode:04o})");
    Some((said, format!("run {remedy} {folder}")))
}

/// Replaces every secret in a text by `***`: as it is, percent-encoded, escaped as in JSON, or
/// inside base64 (such as an echoed `Authorization` header).
///
/// A secret that is cut off at the end of the text is masked too, from four characters on.
#[must_use]
fn mask(text: &str, secrets: &[&Secret]) -> String {
    let bytes = text.as_bytes();
    let mut hidden = vec![false; bytes.len()];
    for secret in secrets {
        let escaped = secret.0.replace('\\', "\\\\").replace('"', "\\\"");
        for form in [escaped.replace('/', "\\/").as_str(), &escaped, &secret.0] {
            for (start, length) in found(bytes, form.as_bytes(), |byte| byte) {
                hidden[start..start + length].fill(true);
            }
        }
        for core in (0..3).filter_map(|offset| core_in_base64(&secret.0, offset)) {
            for (start, length) in found(bytes, core.as_bytes(), standard) {
                hide_the_run(bytes, start..start + length, &mut hidden);
            }
        }
    }
    let mut masked = String::with_capacity(text.len());
    let mut before = false;
    for (at, char) in text.char_indices() {
        match (before, hidden[at]) {
            (false, true) => masked.push_str("***"),
            (_, false) => masked.push(char),
            (true, true) => {}
        }
        before = hidden[at];
    }
    masked
}

/// What a peer said, for a message: on one line, without characters that can mislead, without the
/// secrets, and at most [`MAX_EXCERPT`] characters of it.
#[must_use]
pub(crate) fn excerpt(text: &str, secrets: &[&Secret]) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let printable = words.join(" ").replace(is_unprintable, "");
    let masked = mask(&printable, secrets);
    masked.chars().take(MAX_EXCERPT).collect()
}

fn from_file(path: &Path) -> Result<Secret> {
    let mut file = files::open_regular(path).or_else(|error| unreadable(error, path))?;
    refuse_if_others_can_use(&file, path)?;
    let mut bytes = Vec::new();
    file.by_ref()
        .take(MAX_SECRET + 1)
        .read_to_end(&mut bytes)
        .or_else(|error| unreadable(error, path))?;
    clean(bytes)
}

fn unreadable<T>(error: io::Error, path: &Path) -> Result<T> {
    let path = path.display();
    let (exit, hint) = match error.kind() {
        io::ErrorKind::PermissionDenied => (
            Exit::NoPerm,
            format!("let the user running proofpull read it: chgrp GROUP {path}; chmod 640 {path}"),
        ),
        io::ErrorKind::NotFound => (
            Exit::Config,
            "create it with only the secret in it, or correct its name in the configuration".into(),
        ),
        _ => (
            Exit::Config,
            "name a file that contains only the secret".into(),
        ),
    };
    Err(error).exit(exit).hint(hint)
}

fn from_variable(value: Option<OsString>) -> Result<Secret> {
    match value {
        Some(value) => clean(value.into_encoded_bytes()),
        None => fail(Exit::Config, "the variable is not set").hint(
            "set it for this process (in a unit with EnvironmentFile=), or use { file = … } or \
                 { credential = … }",
        ),
    }
}

fn from_credential(folder: Option<OsString>, name: &str) -> Result<Secret> {
    match folder {
        Some(folder) => from_file(&Path::new(&folder).join(name)),
        None => fail(Exit::Config, "$CREDENTIALS_DIRECTORY is not set").hint(format!(
            "add LoadCredential={name}:/PATH/TO/THE/FILE to the unit; outside of systemd use {{ file = … }}"
        )),
    }
}

/// Removes what editors and shells add around a secret, and refuses what cannot be one.
fn clean(bytes: Vec<u8>) -> Result<Secret> {
    let refused =
        |said: &str| fail(Exit::Config, said).hint("store only the secret, on one line, as text");
    if bytes.len() as u64 > MAX_SECRET {
        return refused("it is longer than 64 KiB");
    }
    let Ok(text) = String::from_utf8(bytes) else {
        return refused("it is not UTF-8");
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text
        .strip_suffix('\n')
        .map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    match text {
        _ if text.trim().is_empty() => refused("it is empty"),
        _ if text.contains(char::is_control) => {
            refused("it contains a line end or another control character")
        }
        _ => Ok(Secret(text.to_owned())),
    }
}

/// What at the ends of a secret was probably not meant.
fn oddity(Secret(text): &Secret) -> Option<String> {
    let odd = |c: char| {
        Some(match c {
            ' ' => "a blank",
            '\u{a0}' => "a non-breaking space",
            '"' | '\'' | '`' | '\u{ab}' | '\u{bb}' | '\u{2018}'..='\u{201e}' => "a quotation mark",
            '\u{feff}' | '\u{200b}'..='\u{200f}' => "an invisible character",
            c if c.is_whitespace() => "a blank",
            _ => return None,
        })
    };
    let first = text.chars().next().and_then(odd);
    let last = text.chars().next_back().and_then(odd);
    let (end, what) = match (first, last) {
        (Some(first), Some(last)) if first == last => ("begins and ends", first),
        (Some(first), _) => ("begins", first),
        (None, Some(last)) => ("ends", last),
        (None, None) => return None,
    };
    Some(format!("{end} with {what}"))
}

/// Says it, unless it was said: a run may read a secret several times.
fn warn_once(said: String) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut all = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if !all.contains(&said) {
        log::warn!("{said}");
        all.insert(said);
    }
}

/// Characters of a word that count as a match at the end of a text, which may be cut there.
const ENOUGH: usize = 4;

/// The places and lengths of a word in a text.
fn found(text: &[u8], word: &[u8], fold: fn(u8) -> u8) -> Vec<(usize, usize)> {
    let length =
        |text: &[u8]| encoded_length(text, word, fold).or_else(|| plain_length(text, word, fold));
    (0..text.len())
        .filter_map(|start| Some((start, length(&text[start..])?)))
        .collect()
}

fn plain_length(text: &[u8], word: &[u8], fold: fn(u8) -> u8) -> Option<usize> {
    let length = text.len().min(word.len());
    let same = text
        .iter()
        .zip(word)
        .all(|(byte, wanted)| fold(*byte) == *wanted);
    (same && (length == word.len() || length >= ENOUGH)).then_some(length)
}

/// The same, with any byte of the word possibly percent-encoded.
fn encoded_length(text: &[u8], word: &[u8], fold: fn(u8) -> u8) -> Option<usize> {
    let mut length = 0;
    for (count, wanted) in word.iter().enumerate() {
        length += match &text[length..] {
            [] | [b'%'] | [b'%', _] if count >= ENOUGH => return Some(text.len()),
            [b'%', high, low, ..] if hex([*high, *low]).map(fold) == Some(*wanted) => 3,
            [first, ..] if fold(*first) == *wanted => 1,
            _ => return None,
        };
    }
    Some(length)
}

fn hex(code: [u8; 2]) -> Option<u8> {
    let code = std::str::from_utf8(&code).ok()?;
    u8::from_str_radix(code, 16).ok()
}

/// Maps the URL-safe base64 alphabet to the standard one.
fn standard(byte: u8) -> u8 {
    match byte {
        b'-' => b'+',
        b'_' => b'/',
        _ => byte,
    }
}

/// The part of a base64 text that depends on the secret alone, if the secret begins `offset` bytes
/// into a group of three; `None` if it is too short to be told from chance.
fn core_in_base64(secret: &str, offset: usize) -> Option<String> {
    let bytes: Vec<u8> = std::iter::repeat_n(0, offset)
        .chain(secret.bytes())
        .collect();
    let text = STANDARD_NO_PAD.encode(&bytes);
    let core = text.get((offset * 8).div_ceil(6)..bytes.len() * 8 / 6)?;
    (core.len() >= 4).then(|| core.to_owned())
}

/// Hides the whole base64 run around a part of a text.
fn hide_the_run(text: &[u8], part: std::ops::Range<usize>, hidden: &mut [bool]) {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
    let before = text[..part.start]
        .iter()
        .rev()
        .take_while(|byte| fits(byte))
        .count();
    let after = text[part.end..]
        .iter()
        .take_while(|byte| fits(byte))
        .count();
    hidden[part.start - before..part.end + after].fill(true);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    fn file(folder: &tempfile::TempDir, content: &[u8], mode: u32) -> PathBuf {
        let path = folder.path().join("tap.secret");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn hint(error: &Failure) -> &str {
        error.hint().unwrap_or_default()
    }

    fn check_refused(result: Result<Secret>, exit: Exit, said: &str, remedy: &str) {
        let error = result.unwrap_err();
        let all = format!("{} {error:?} {}", error, hint(&error));
        assert_eq!(error.exit(), exit, "{all}");
        assert!(error.to_string().contains(said), "{said}: {all}");
        assert!(hint(&error).contains(remedy), "{remedy}: {all}");
        assert!(!all.contains("hunter2"), "{all}");
    }

    #[test]
    fn a_file_holds_a_secret_and_at_most_one_line_end() {
        let folder = tempfile::tempdir().unwrap();
        for content in ["hunter2", "hunter2\n", "hunter2\r\n", "\u{feff}hunter2\n"] {
            let path = file(&folder, content.as_bytes(), 0o640);
            let secret = read(&SecretRef::File(path), "the secret of [tap]").unwrap();
            assert_eq!(
                (secret.reveal(), format!("{secret:?}").as_str()),
                ("hunter2", "Secret(..)")
            );
        }
        for (content, said) in [
            (&b""[..], "empty"),
            (b"\n", "empty"),
            (b"\r\n", "empty"),
            (b"\xef\xbb\xbf", "empty"),
            (b"hunter2\n\n", "line end"),
            (b"hunter2\nmore", "line end"),
            (b"hunter2\r", "line end"),
            (b"hunter2\0", "control character"),
            (b"hunter2\xff", "UTF-8"),
            (&[b'x'; 65_537], "64 KiB"),
        ] {
            let path = file(&folder, content, 0o600);
            check_refused(
                read(&SecretRef::File(path), "the secret of [tap]"),
                Exit::Config,
                said,
                "only the secret",
            );
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_whatever_leads_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, b"hunter2", 0o644);
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        for path in [&path, &link] {
            let result = read(&SecretRef::File(path.clone()), "the secret of [tap]");
            let said = format!(
                "reading the secret of [tap] from {0}: {0} holds a secret, and others can read it",
                path.display()
            );
            check_refused(
                result,
                Exit::NoPerm,
                &said,
                &format!("chmod 640 {}", path.display()),
            );
        }
        check_refused(
            read(&SecretRef::File(path.clone()), "the secret of [tap]"),
            Exit::NoPerm,
            "0644",
            "defaultMode: 0440",
        );
        for mode in [0o641, 0o642, 0o607] {
            let path = file(&folder, b"hunter2", mode);
            assert!(
                refuse_if_others_can_use(&File::open(&path).unwrap(), &path).is_err(),
                "{mode:o}"
            );
        }
        let path = file(&folder, b"hunter2", 0o640);
        assert!(refuse_if_others_can_use(&File::open(&path).unwrap(), &path).is_ok());
    }

    #[test]
    fn a_volume_of_kubernetes_is_links_to_links() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("..2026")).unwrap();
        let path = folder.path().join("..2026/secret");
        fs::write(&path, "hunter2").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
        symlink("..2026", folder.path().join("..data")).unwrap();
        symlink("..data/secret", folder.path().join("secret")).unwrap();
        let secret = read(
            &SecretRef::File(folder.path().join("secret")),
            "the secret of [tap]",
        )
        .unwrap();
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn what_is_no_file_is_refused_and_never_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let missing = SecretRef::File(folder.path().join("none"));
        check_refused(
            read(&missing, "the secret of [tap]"),
            Exit::Config,
            "No such file",
            "create it",
        );
        let folder = SecretRef::File(folder.path().into());
        check_refused(
            read(&folder, "the secret of [tap]"),
            Exit::Config,
            "not a regular file",
            "name a file",
        );
        let device = SecretRef::File("/dev/null".into());
        check_refused(
            read(&device, "the secret of [tap]"),
            Exit::Config,
            "not a regular file",
            "name a file",
        );
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        check_refused(
            unreadable(denied, Path::new("/x")),
            Exit::NoPerm,
            "ermission denied",
            "chgrp GROUP /x",
        );
    }

    #[test]
    fn variables_and_credentials_are_read_where_they_are_set() {
        let secret = read(
            &SecretRef::Env("CARGO_PKG_NAME".into()),
            "the secret of [tap]",
        )
        .unwrap();
        assert_eq!(secret.reveal(), env!("CARGO_PKG_NAME"));
        let missing = SecretRef::Env("PROOFPULL_TEST_NOT_SET".into());
        check_refused(
            read(&missing, "the secret of [tap]"),
            Exit::Config,
            "from $PROOFPULL_TEST_NOT_SET: the variable",
            "set it",
        );
        assert_eq!(
            from_variable(Some("hunter2\n".into())).unwrap().reveal(),
            "hunter2"
        );
        check_refused(
            from_variable(Some("".into())),
            Exit::Config,
            "empty",
            "only the secret",
        );

        let folder = tempfile::tempdir().unwrap();
        file(&folder, b"hunter2\n", 0o400);
        let secret = from_credential(Some(folder.path().into()), "tap.secret").unwrap();
        assert_eq!(secret.reveal(), "hunter2");
        check_refused(
            from_credential(None, "tap"),
            Exit::Config,
            "not set",
            "LoadCredential=tap:",
        );
        check_refused(
            from_credential(Some(folder.path().into()), "pod"),
            Exit::Config,
            "No such file",
            "create it",
        );
    }

    #[test]
    fn what_was_hardly_meant_around_a_secret_is_named_without_the_secret() {
        let table = [
            ("hunter2", None),
            ("hun ter\"2", None),
            ("", None),
            (" hunter2", Some("begins with a blank")),
            ("hunter2 ", Some("ends with a blank")),
            ("hunter2\u{3000}", Some("ends with a blank")),
            ("\u{a0}hunter2", Some("begins with a non-breaking space")),
            ("\"hunter2\"", Some("begins and ends with a quotation mark")),
            (
                "\u{201e}hunter2\u{201c}",
                Some("begins and ends with a quotation mark"),
            ),
            ("'hunter2", Some("begins with a quotation mark")),
            (" hunter2'", Some("begins with a blank")),
            ("hunter2\u{200b}", Some("ends with an invisible character")),
        ];
        for (secret, wanted) in table {
            let said = oddity(&Secret(secret.to_owned()));
            assert_eq!(said.as_deref(), wanted, "{secret:?}");
        }
    }

    #[test]
    fn a_header_for_signing_in_is_a_secret_too() {
        let header = Secret("hunter2".into()).basic("me");
        assert_eq!(
            (header.reveal(), format!("{header:?}").as_str()),
            ("Basic bWU6aHVudGVyMg==", "Secret(..)")
        );
    }

    fn check_masked(secret: &str, text: &str, masked: &str) {
        assert_eq!(mask(text, &[&Secret(secret.into())]), masked, "{text}");
    }

    #[test]
    fn a_secret_is_masked_in_every_shape() {
        check_masked("hunter2", "bad: hunter2, hunter2hunter2!", "bad: ***, ***!");
        check_masked("hunter2", "all is well, hunter", "all is well, ***");
        check_masked("hunter2", "all is well, hunter.", "all is well, hunter.");
        check_masked("hunter2", "all is well, hun", "all is well, hun");
        check_masked("hunt/2", "it was hunt%2", "it was ***");
        check_masked("hunter2", "", "");
        check_masked("ab/c+d=é", "x=ab%2Fc%2bd%3D%C3%a9&y", "x=***&y");
        check_masked("ab/c+d=é", "x=ab/c%2Bd=é%", "x=***%");
        check_masked(
            "a\"b/\\c",
            r#"{"a":"a\"b\/\\c","b":"a\"b/\\c"}"#,
            r#"{"a":"***","b":"***"}"#,
        );
        check_masked("100%25", "100%25 100%2525", "*** ***");
        check_masked("é", "né", "n***");
    }

    #[test]
    fn a_secret_is_masked_inside_base64_whoever_it_belongs_to() {
        for user in ["", "a", "ab", "abc", "a service principal"] {
            let both = format!("{user}:hunter2?>~ÿ");
            for engine in [&STANDARD, &base64::engine::general_purpose::URL_SAFE] {
                let text = format!("got \"Basic {}\", why", engine.encode(&both));
                check_masked("hunter2?>~ÿ", &text, "got \"Basic ***\", why");
            }
        }
        check_masked("hunter2", &STANDARD.encode("hunter2"), "***");
        check_masked("hunter2", "aHVudGVyM", "***");
        check_masked("hunter2", "aHVudGVyOQ==", "aHVudGVyOQ==");
    }

    #[test]
    fn every_secret_is_masked_and_they_may_overlap() {
        let (one, other) = (Secret("abcdef".into()), Secret("defghi".into()));
        assert_eq!(mask("xabcdefghix defghi", &[&one, &other]), "x***x ***");
    }
}
