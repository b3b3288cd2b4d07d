//! `tests` checks what is accepted, and everything that is refused: where, in which words, and that
//! no word of it comes from a secret.

use std::collections::BTreeSet;

use time::macros::datetime;

use std::time::Duration;

use super::*;
use crate::config::{Compression, Confirmation, quoted};
use crate::error::Exit;
use crate::transform::Rule;

const NOW: OffsetDateTime = datetime!(2026-11-27 12:00 UTC);
const EXAMPLE: &str = include_str!("../../../examples/tap.toml");
/// Each example with those of its tables that have every key.
const EXAMPLES: [(&str, &[&str]); 3] = [
    (
        EXAMPLE,
        &[
            "",
            "[devo]",
            "[tap]",
            "[http]",
            "[obfuscation]",
            "[services.tap-clicks-blocked]",
            "[[services.tap-clicks-blocked.obfuscate]]",
            "[[services.tap-clicks-blocked.keep]]",
            "[[services.tap-clicks-blocked.drop]]",
            "[services.tap-threats]",
            "[services.tap-forensics]",
            "[services.tap-people-vap]",
        ],
    ),
    (
        include_str!("../../../examples/isolation.toml"),
        &["[isolation]", "[services.isolation-web]"],
    ),
    (
        include_str!("../../../examples/pod.toml"),
        &["[pod]", "[services.pod-message]"],
    ),
];

fn read(text: &str) -> Result<Config, Vec<ConfigError>> {
    check(text, Path::new("/etc/proofpull"), NOW)
}

fn service(name: &str) -> &'static Service {
    find(name).unwrap()
}

/// What takes effect for a key such as `services.tap-threats.tag`, as TOML.
fn effective<'a>(config: &'a Config, name: &str) -> Option<&'a str> {
    let key = config.record.keys().find(|key| key.is(name));
    key.unwrap_or_else(|| panic!("no key {name}"))
        .value
        .as_deref()
}

/// The same for some keys of a service, `\n` between them.
fn of_service(config: &Config, name: &str, keys: &[&str]) -> Vec<Option<String>> {
    let value =
        |key: &&str| effective(config, &format!("services.{name}.{key}")).map(str::to_owned);
    keys.iter().map(value).collect()
}

fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|faults| panic!("{text}\n{faults:#?}"))
}

/// The faults of a text, each as its place, message and hint in one line.
fn bad(text: &str) -> Vec<String> {
    let faults = read(text).expect_err(text);
    for fault in &faults {
        assert_eq!(fault.exit, Exit::Config);
        assert!(
            !fault.message.is_empty() && !fault.hint.is_empty(),
            "{fault:?}"
        );
        let said = [&fault.message, &fault.hint];
        assert!(
            said.iter()
                .all(|said| !said.contains("hunter") && !said.contains('\n')),
            "{text}\n{fault:?}"
        );
    }
    faults
        .iter()
        .map(|fault| format!("{fault} | {}", fault.hint))
        .collect()
}

/// A text has one fault, at this place, said and remedied so.
fn check_one(text: &str, place: &str, message: &str, hint: &str) {
    let faults = bad(text);
    let fits = |fault: &String| {
        let (said, remedy) = fault.split_once(" | ").unwrap();
        said.starts_with(&format!("{place}: ")) && said.contains(message) && remedy.contains(hint)
    };
    assert!(
        faults.len() == 1 && fits(&faults[0]),
        "{text}\nwanted {place}: {message} | {hint}\nis {faults:#?}"
    );
}

#[test]
fn an_empty_text_is_the_defaults() {
    for text in [
        "",
        "\u{feff}",
        "# nothing\r\n",
        "[http]\n[services]\n[services.tap-clicks-blocked]",
    ] {
        let config = good(text);
        assert!(config.name.is_none() && config.devo.is_none() && config.sign_in.tap.is_none());
        assert_eq!(config.http.timeout, Duration::from_secs(60));
        assert!(!config.holds_a_secret());
    }
}

#[test]
fn everything_that_can_be_said_is_understood() {
    let config = good(
        r#"
        name = "acme"
        state_dir = "state"
        metrics = { textfile_dir = "metrics" }
        [devo]
        address = "[::1]:6514"
        chain = "../chain.crt"
        cert = "/certs/domain.crt"
        key = "domain.key"
        server_name = "collector.example"
        hostname = "mail-1"
        confirm = "acknowledged"
        compression = "gzip"
        report = { tag = "my.app.pp" }
        pulling_id = false
        fields = { z = "1", "@devo_pulling_id" = "", a = "é" }
        query = { url = "http://[::1]:8080/search/query/", token = { env = "QUERY" }, column = "raw_2" }
        [tap]
        base_url = "http://127.0.0.1:8080/gateway/"
        principal = "me"
        secret = { env = "TAP_SECRET" }
        [http]
        proxy = "http://me@proxy:3128"
        ca = "ca.pem"
        timeout = "1h"
        [services.tap-clicks-blocked]
        start_time = "2026-11-20T00:00:00-0700"
        tag = "my.app.tap_clicks.a-b"
        url = "https://gw.example/v2/siem/clicks/blocked"
        look_back = "0s"
        recheck_after = "0s"
        max_duration = "7d"
        requests = [{ period = "1h", at_most = 1 }, { at_most = 9_999_999, period = "30d" }]
        threat_type = ["messageText", "url"]
        threat_status = []
        "#,
    );
    let (devo, tap) = (
        config.devo.as_ref().unwrap(),
        config.sign_in.tap.as_ref().unwrap(),
    );
    assert_eq!(config.name.as_deref(), Some("acme"));
    assert_eq!(
        config.state_dir.as_deref(),
        Some(Path::new("/etc/proofpull/state"))
    );
    assert_eq!(devo.address.to_string(), "[::1]:6514");
    assert_eq!(
        devo.chain.as_deref(),
        Some(Path::new("/etc/proofpull/../chain.crt"))
    );
    let identity = devo.identity.as_ref().unwrap();
    assert_eq!(identity.cert, Path::new("/certs/domain.crt"));
    assert_eq!(identity.key, Path::new("/etc/proofpull/domain.key"));
    assert_eq!(devo.server_name, "collector.example");
    assert_eq!(devo.hostname.as_deref(), Some("mail-1"));
    assert_eq!(devo.confirm, Confirmation::Acknowledged);
    assert_eq!(devo.compression, Compression::Gzip);
    assert_eq!(devo.report.as_deref(), Some("my.app.pp"));
    assert!(!devo.pulling_id);
    let names: Vec<_> = devo
        .fields
        .iter()
        .map(|(name, text)| format!("{name}={text}"))
        .collect();
    assert_eq!(names, ["z=1", "@devo_pulling_id=", "a=é"]);
    let query = devo.query.as_ref().unwrap();
    assert_eq!(query.url.to_string(), "http://[::1]:8080/search/query");
    assert!(matches!(&query.token, SecretRef::Env(name) if name == "QUERY"));
    assert_eq!(query.column.as_deref(), Some("raw_2"));
    assert_eq!(tap.base_url.to_string(), "http://127.0.0.1:8080/gateway");
    assert_eq!(tap.base_url.join("/v2/x").path(), "/gateway/v2/x");
    assert_eq!(tap.principal, "me");
    assert!(matches!(&tap.secret, SecretRef::Env(name) if name == "TAP_SECRET"));
    assert_eq!(
        config.http.proxy.as_ref().map(|proxy| proxy.address().port),
        Some(3128)
    );
    assert_eq!(
        config.http.ca.as_deref(),
        Some(Path::new("/etc/proofpull/ca.pem"))
    );
    assert_eq!(config.http.timeout, Duration::from_secs(3600));
    assert_eq!(
        config
            .metrics
            .as_ref()
            .map(|metrics| &*metrics.textfile_dir),
        Some(Path::new("/etc/proofpull/metrics"))
    );
    assert_eq!(config.record.place("tap.secret"), Some((21, 9)));
    assert_eq!(
        config.record.place("services.tap-clicks-blocked"),
        Some((26, 19))
    );
    assert_eq!(
        config.record.place("services.tap-clicks-blocked.none"),
        None
    );
    let clicks = |key| effective(&config, &format!("services.tap-clicks-blocked.{key}"));
    for (key, value) in [
        ("start_time", Some("\"2026-11-20T07:00:00Z\"")),
        ("tag", Some("\"my.app.tap_clicks.a-b\"")),
        ("url", Some("\"https://gw.example/v2/siem/clicks/blocked\"")),
        ("look_back", Some("\"0s\"")),
        ("max_duration", Some("\"7d\"")),
        ("recheck_after", Some("\"0s\"")),
        (
            "requests",
            Some("[{ period = \"1h\", at_most = 1 }, { period = \"30d\", at_most = 9999999 }]"),
        ),
        ("threat_type", Some("[\"messageText\", \"url\"]")),
        ("threat_status", None),
    ] {
        assert_eq!(clicks(key), value, "{key}");
    }
    let other = effective(&config, "services.tap-messages-blocked.look_back");
    assert_eq!(other, Some("\"45m\""));
    assert!(!config.holds_a_secret());
}

#[test]
fn a_start_time_may_be_written_in_many_ways() {
    let start = |value: &str| {
        let config = good(&format!(
            "[services.tap-clicks-blocked]\nstart_time = {value}"
        ));
        config.service(service("tap-clicks-blocked")).start_time
    };
    let seven = Some(datetime!(2026-11-20 07:00 UTC));
    for value in [
        "\"2026-11-20T07:00:00Z\"",
        "2026-11-20T07:00:00Z",
        "2026-11-20 00:00:00-07:00",
        "'2026-11-20 07:00z'",
    ] {
        assert_eq!(start(value), seven, "{value}");
    }
    assert_eq!(start("2026-11-20"), Some(datetime!(2026-11-20 00:00 UTC)));
    assert_eq!(start("\"2026-11-27T12:00:00Z\""), Some(NOW));
    assert_eq!(
        start("\"1999-01-01\""),
        Some(datetime!(1999-01-01 00:00 UTC))
    );
    for blank in ["\"\"", "\"  \"", "'''\n'''"] {
        assert_eq!(start(blank), None, "{blank}");
    }
}

#[test]
fn a_secret_in_the_text_is_noticed() {
    let tap = |secret: &str| format!("[tap]\nprincipal = \"me\"\nsecret = {secret}");
    for (text, holds) in [
        (tap("'hunter2'"), true),
        (tap("' hunter2 '"), true),
        (tap("{ file = 'x' }"), false),
        (tap("{ credential = 'x' }"), false),
        ("http.proxy = 'http://me:hunter2@proxy'".into(), true),
        ("http.proxy = 'http://me@proxy'".into(), false),
        ("http.proxy = 'http://proxy'".into(), false),
    ] {
        let config = good(&text);
        assert_eq!(config.holds_a_secret(), holds, "{text}");
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    }
}

#[test]
fn a_command_is_a_list_of_strings_and_its_arguments_are_never_shown() {
    let command = |value: &str| {
        let text = format!("[tap]\nprincipal = 'me'\nsecret = {{ command = {value} }}");
        match good(&text).sign_in.tap.unwrap().secret {
            SecretRef::Command(line) => line,
            other => panic!("{other:?}"),
        }
    };
    let line = command("['pass', 'show', 'hunter 2 | *']");
    assert_eq!(
        (line.program().to_str(), line.arguments().len()),
        (Some("pass"), 2)
    );
    assert_eq!(format!("{line:?}"), "CommandLine(\"pass\", ..)");
    for (program, path) in [
        ("./x", "/etc/proofpull/./x"),
        ("bin/x", "/etc/proofpull/bin/x"),
        ("/x", "/x"),
        ("x", "x"),
    ] {
        assert_eq!(
            command(&format!("['{program}']")).program().to_str(),
            Some(path)
        );
    }
    let example = "write command = [\"pass\", \"show\", \"proofpoint/tap\"]";
    for (value, said) in [
        (
            "'pass show hunter2'",
            "command must be a list of strings: no shell",
        ),
        ("5", "command must be a list such as"),
        ("[]", "command must begin with a program"),
        ("['', 'hunter2']", "command must begin with a program"),
        (
            "['pass', 5]",
            "command must be a list of strings, but it contains a number",
        ),
        (
            "['pass', \"hunter2\\u0000\"]",
            "command must not contain a NUL",
        ),
    ] {
        let text = format!("[tap]\nprincipal = 'me'\nsecret = {{ command = {value} }}");
        check_one(&text, "3:22", said, example);
    }
}

#[test]
fn the_top_level_is_checked() {
    check_one(
        "nmae = 'x'",
        "1:1",
        "there is no key nmae at the top",
        "did you mean \"name\"?",
    );
    check_one(
        "start_time = 'x'",
        "1:1",
        "there is no key start_time",
        "use one of: name, state_dir, devo, tap",
    );
    check_one(
        "[devoo]\n",
        "1:2",
        "there is no table [devoo]",
        "did you mean \"devo\"?",
    );
    check_one(
        "[pods]\ncluster_id = 'x'",
        "1:2",
        "there is no table [pods]",
        "did you mean \"pod\"?",
    );
    check_one(
        "\"a\\nb\\u0007\" = 1",
        "1:1",
        "no key a\\nb\\u{7} at",
        "use one of",
    );
    check_one(
        "name = 5",
        "1:8",
        "name must be a string such as \"acme\", not a number",
        "write name = \"acme\"",
    );
    check_one(
        "name = ''",
        "1:8",
        "name must not be empty",
        "write name = \"acme\"",
    );
    check_one(
        &format!("name = '{}'", "a".repeat(MAX_NAME + 1)),
        "1:8",
        "name must have at most 128 bytes",
        "write name = \"acme\"",
    );
    check_one(
        "name = 'a/b'",
        "1:8",
        "name must not have slashes",
        "write name",
    );
    check_one(
        "state_dir = ' '",
        "1:13",
        "state_dir must not be empty",
        "write state_dir = \"/var/lib/proofpull\"",
    );
    check_one(
        "state_dir = '~/x'",
        "1:13",
        "state_dir must be a path without ~",
        "write state_dir",
    );
    check_one(
        "state_dir = \"a\\u0000\"",
        "1:13",
        "without control characters",
        "write state_dir",
    );
    check_one(
        "devo = 'x'",
        "1:8",
        "devo must be a table, not a string",
        "write [devo] on its own line",
    );
    check_one(
        "[[devo]]\naddress = 'h:1'",
        "1:1",
        "devo must be a table, not a list",
        "in single brackets",
    );
}

#[test]
fn the_receiver_is_checked() {
    let check_devo = |line: &str, column: usize, message: &str, hint: &str| {
        let text = format!("[devo]\naddress = \"h:1\"\n{line}");
        check_one(
            &text,
            &format!("3:{column}"),
            &format!("[devo] {message}"),
            hint,
        );
    };
    check_one(
        "\n  [devo]\n",
        "2:3",
        "[devo] address is missing",
        "add address = \"collector-us.devo.io:443\"",
    );
    check_one(
        "devo = { }\n",
        "1:8",
        "[devo] address is missing",
        "add address",
    );
    for (value, message) in [
        (
            "443",
            "address must be a string such as \"collector-us.devo.io:443\", not a number",
        ),
        ("''", "address must not be empty"),
        (
            "'https://h:443'",
            "address must not have a scheme such as https://",
        ),
        ("'h'", "address must end with a colon and a port"),
        ("'h:0'", "address must end with a port from 1 to 65535"),
        ("'h:65536'", "address must end with a port from 1 to 65535"),
        (
            "'h h:443'",
            "address must have a host name or an IP address",
        ),
        (
            "'::1:443'",
            "address must have brackets around an IPv6 address",
        ),
        (
            "'[::g]:443'",
            "address must have an IPv6 address between its brackets",
        ),
    ] {
        let text = format!("[devo]\naddress = {value}");
        check_one(
            &text,
            "2:11",
            &format!("[devo] {message}"),
            "write address = \"collector-us.devo.io:443\"",
        );
    }
    check_devo("cert = 'c'", 1, "cert needs key", "add key, or remove cert");
    check_devo("key = 'c'", 1, "key needs cert", "add cert, or remove key");
    check_devo(
        "chain = ['a']",
        9,
        "chain must be a string such as \"certs/chain.crt\", not a list",
        "write chain",
    );
    check_devo(
        "server_name = 'h:443'",
        15,
        "server_name must be a DNS name or an IP",
        "write server_name = ",
    );
    check_devo(
        "server_name = 'a..b'",
        15,
        "server_name must be a DNS name",
        "write server_name = ",
    );
    check_devo(
        "confirm = 'closed'",
        11,
        "confirm must be \"close\" or \"acknowledged\"",
        "write confirm = \"close\"",
    );
    check_devo(
        "compression = 'zip'",
        15,
        "compression must be \"none\" or \"gzip\"",
        "write compression = \"none\"",
    );
    check_one(
        "[devo]\naddress = 'h:1'\nreport = { tag = 'mail' }",
        "3:18",
        "[devo.report] tag must be two to six levels",
        "write tag = \"my.app.proofpull.run\"",
    );
    check_devo(
        "hostname = 'a b'",
        12,
        "hostname must be at most 255 ASCII",
        "write hostname = ",
    );
    check_devo(
        "hostname = 'a:b'",
        12,
        "hostname must be at most 255 ASCII",
        "write hostname = ",
    );
    check_devo(
        "hostname = \"a\\tb\"",
        12,
        "hostname must be at most 255 ASCII",
        "write hostname = ",
    );
    check_devo(
        &format!("hostname = '{}'", "a".repeat(256)),
        12,
        "hostname must be at most 255",
        "write",
    );
    check_devo(
        "pulling_id = 'true'",
        14,
        "pulling_id must be true or false, not a string",
        "without quotes",
    );
    check_devo(
        "pulling_id = 1",
        14,
        "pulling_id must be true or false, not a number",
        "without quotes",
    );
    check_devo(
        "fields = 'a=b'",
        10,
        "fields must be a table, not a string",
        "write [devo.fields]",
    );
    check_one(
        "[devo]\naddress = 'h:1'\nfields = { a = 1 }",
        "3:16",
        "[devo.fields] must hold strings, not a number",
        "write fields =",
    );
    check_one(
        "[devo]\naddress = 'h:1'\nfields.a.b = 'c'",
        "3:8",
        "[devo.fields] must hold strings, not a table",
        "write",
    );
    check_one(
        "[devo]\naddress = 'h:1'\nfields.\"\" = 'c'",
        "3:13",
        "[devo.fields] must not have an empty name",
        "write",
    );
    for (key, place, said, hint) in [
        (
            "",
            "3:9",
            "url is missing",
            "add url = \"https://apiv2-us.devo.com/search/query\"",
        ),
        (
            "url = 'https://h'",
            "3:17",
            "url must have the path",
            "write url =",
        ),
        (
            "url = 'http://h/search/query'",
            "3:17",
            "url must begin with https://",
            "write url =",
        ),
        (
            "url = 'https://h/q', column = 'a b'",
            "3:41",
            "column must be the name",
            "write column =",
        ),
        (
            "url = 'https://h/q', column = '1'",
            "3:41",
            "column must be the name",
            "write column =",
        ),
        (
            "url = 'https://h/q', key = 1",
            "3:32",
            "has no key key",
            "use one of: url, token, column",
        ),
    ] {
        let comma = if key.is_empty() { "" } else { ", " };
        let text =
            format!("[devo]\naddress = 'h:1'\nquery = {{ {key}{comma}token = {{ env = 'A' }} }}");
        check_one(&text, place, &format!("[devo.query] {said}"), hint);
    }
    check_one(
        "[devo]\naddress = 'h:1'\nquery = { url = 'https://h/q' }",
        "3:9",
        "[devo.query] token is missing",
        "add token = { file = \"devo-query.token\" }",
    );
    let text = "[devo]\naddress = 'h:1'\nfields.\"@devo_pulling_id\" = 'c'";
    check_one(
        text,
        "3:8",
        "[devo.fields] @devo_pulling_id is appended already",
        "set [devo] pulling_id = false",
    );
    check_devo(
        "adress = 'h:2'",
        1,
        "has no key adress",
        "did you mean \"address\"?",
    );
    check_devo(
        "serverName = 'h'",
        1,
        "has no key serverName",
        "did you mean \"server_name\"?",
    );
    check_devo(
        "zip = 'gzip'",
        1,
        "has no key zip",
        "use one of: address, chain, cert, key, server_name",
    );
}

#[test]
fn the_sign_in_is_checked() {
    let tap = |secret: &str| format!("[tap]\nprincipal = 'me'\nsecret = {secret}");
    check_one(
        "[tap]\nsecret = 'hunter2'",
        "1:1",
        "[tap] principal is missing",
        "add principal = ",
    );
    check_one(
        "[tap]\nprincipal = 'hunter'",
        "1:1",
        "[tap] secret is missing",
        "add secret = { file = \"tap.secret\" }",
    );
    for (value, message) in [
        ("''", "must not be empty"),
        ("'a:hunter2'", "must not have a colon"),
        ("\"a\\nhunter2\"", "must not have a colon or a control"),
        ("'hunter '", "must not begin or end with a space"),
        ("{ x = 'hunter' }", "must be a string"),
    ] {
        let text = format!("[tap]\nsecret = 'hunter2'\nprincipal = {value}");
        check_one(
            &text,
            "3:13",
            &format!("[tap] principal {message}"),
            "service principal",
        );
    }
    check_one(
        &tap("''"),
        "3:10",
        "[tap] secret must not be empty",
        "write secret = { file = \"tap.secret\" }",
    );
    check_one(
        &tap("\"hunter\\n2\""),
        "3:10",
        "[tap] secret must be on one line",
        "write secret = {",
    );
    check_one(
        &tap("['hunter2']"),
        "3:10",
        "[tap] secret must be a string, or a table",
        "write secret = {",
    );
    check_one(
        &tap("5"),
        "3:10",
        "[tap] secret must be a string, or a table such as { file",
        "write secret = {",
    );
    check_one(
        &tap("{}"),
        "3:10",
        "[tap.secret] must have exactly one of file, env, credential and command",
        "write secret = {",
    );
    check_one(
        &tap("{ file = 'a', env = 'B' }"),
        "3:10",
        "[tap.secret] must have exactly one of file, env",
        "write secret",
    );
    check_one(
        &tap("{ file = 1 }"),
        "3:19",
        "[tap.secret] file must be a string",
        "write file = \"tap.secret\"",
    );
    check_one(
        &tap("{ env = '$TAP' }"),
        "3:18",
        "[tap.secret] env must be the name of an environment",
        "write env = ",
    );
    check_one(
        &tap("{ env = '1hunter2' }"),
        "3:18",
        "[tap.secret] env must be the name",
        "write env = ",
    );
    check_one(
        &tap("{ credential = '../x' }"),
        "3:25",
        "[tap.secret] credential must be the name of a file",
        "write",
    );
    check_one(
        &tap("{ fiel = 'hunter2' }"),
        "3:12",
        "[tap.secret] has no such key",
        "did you mean \"file\"?",
    );
    check_one(
        &tap("{ hunter2 = 1 }"),
        "3:12",
        "[tap.secret] has no such key",
        "use one of: file, env, credential",
    );
    check_one(
        &tap("{ vault = ['hunter2'] }"),
        "3:12",
        "[tap.secret] has no such key",
        "use one of",
    );
    let more = |line: &str| format!("[tap]\nprincipal = 'me'\nsecret = 'hunter2'\n{line}");
    check_one(
        &more("username = 'hunter'"),
        "4:1",
        "[tap] has no key username",
        "did you mean \"principal\"?",
    );
    check_one(
        &more("password = 'hunter2'"),
        "4:1",
        "[tap] has no key password",
        "did you mean \"secret\"?",
    );
    for (value, message) in [
        ("'http://tap.example'", "must begin with https://"),
        ("'tap.example'", "must begin with https://"),
        (
            "'https://me:hunter2@tap.example'",
            "must not hold a user or a password",
        ),
        ("'https://tap.example?hunter2'", "must not have a query"),
        ("'https://tap.example/v2/'", "must end before /v2"),
        (
            "'https://bücher.example'",
            "must be an address with a scheme and a host",
        ),
    ] {
        let text = more(&format!("base_url = {value}"));
        check_one(
            &text,
            "4:12",
            &format!("[tap] base_url {message}"),
            "write base_url = \"https://tap-api-v2",
        );
    }
}

#[test]
fn connections_are_checked() {
    for (value, message) in [
        (
            "'https://hunter2@proxy'",
            "must begin with http://; proxies over TLS or SOCKS are not supported",
        ),
        ("'socks5h://me:hunter2@proxy'", "must begin with http://"),
        ("'http://me:hunter/2@proxy'", "must end with a port"),
        (
            "'http://me:hunter%2@proxy'",
            "must have a percent-encoded user and password",
        ),
        (
            "'http://pro xy'",
            "must be an address with a scheme and a host",
        ),
    ] {
        let text = format!("[http]\nproxy = {value}");
        check_one(
            &text,
            "2:9",
            &format!("[http] proxy {message}"),
            "http://[USER:PASSWORD@]HOST:PORT",
        );
    }
    for (value, message) in [
        ("60", "must be a string such as \"1m\", not a number"),
        ("'60'", "must have a unit"),
        ("'0s'", "must be from 1s to 1h"),
        ("'61m'", "must be from 1s to 1h"),
        ("'1 minute'", "must be a duration such as 45m"),
        ("'hunter2'", "must be a duration such as 45m"),
    ] {
        check_one(
            &format!("[http]\ntimeout = {value}"),
            "2:11",
            &format!("[http] timeout {message}"),
            "timeout = \"1m\"",
        );
    }
    check_one(
        "[http]\nca = true",
        "2:6",
        "[http] ca must be a string",
        "write ca = \"corporate-ca.pem\"",
    );
    check_one(
        "[http]\nproxi = 'hunter2'",
        "2:1",
        "[http] has no key proxi",
        "did you mean \"proxy\"?",
    );
}

fn check_service(line: &str, column: usize, message: &str, hint: &str) {
    let text = format!("[services.tap-clicks-blocked]\n{line}");
    check_one(&text, &format!("2:{column}"), message, hint);
}

#[test]
fn services_are_checked() {
    let first = |name: &str, message: &str, hint: &str| {
        check_one(&format!("[services.{name}]\nx = 1"), "1:11", message, hint);
    };
    first(
        "clicksBlocked",
        "clicksBlocked is called tap-clicks-blocked in proofpull",
        "[services.tap-clicks-blocked]",
    );
    first(
        "tap-click-blocked",
        "there is no service tap-click-blocked",
        "did you mean [services.tap-clicks-blocked]?",
    );
    first(
        "messages-delivered",
        "there is no service messages-delivered",
        "did you mean [services.tap-messages-delivered]?",
    );
    first(
        "trap-logs",
        "there is no service trap-logs; the services are tap-clicks-blocked",
        "one of these names",
    );
    first(
        "maillog",
        "maillog is called pod-maillog in proofpull",
        "[services.pod-maillog]",
    );
    check_one(
        "[services]\nlook_back = '1m'",
        "2:1",
        "[services] there is no service look_back",
        "one of these",
    );
    check_one(
        "services.tap-clicks-blocked = 1",
        "1:31",
        "tap-clicks-blocked must be a table",
        "[services.tap-clicks-blocked]",
    );
    check_one(
        "services = ['x']",
        "1:12",
        "services must be a table, not a list",
        "write [services]",
    );
    let of = |said: &str| format!("[services.tap-clicks-blocked] {said}");
    for tag in [
        "'a'",
        "'a.b.c.d.e.f.g'",
        "'a..b'",
        "'a.b c'",
        "'a.é'",
        "'.a.b'",
    ] {
        check_service(
            &format!("tag = {tag}"),
            7,
            &of("tag must be two to six levels"),
            "write tag = ",
        );
    }
    check_service(
        &format!("tag = 'a.{}'", "b".repeat(1023)),
        7,
        &of("tag must be two to six"),
        "write tag",
    );
    for (url, said) in [
        (
            "https://tap.example",
            "must be the full address, including its path",
        ),
        (
            "https://tap.example/x?interval=hunter2",
            "must not have a query (?); proofpull adds its own",
        ),
        ("https://tap.example/x#hunter2", "must not have a fragment"),
        (
            "https://me:hunter2@tap.example/x",
            "must not hold a user or a password",
        ),
        (
            "http://10.0.0.1/x",
            "must begin with https://; plain http:// is for loopback addresses only",
        ),
    ] {
        check_service(
            &format!("url = '{url}'"),
            7,
            &of(&format!("url {said}")),
            "write url = \"https://",
        );
    }
    check_service(
        "look_back = '25h'",
        13,
        &of("look_back must be from 0s to 1d"),
        "write look_back = \"45m\"",
    );
    check_service(
        "max_duration = '0s'",
        16,
        &of("max_duration must be from 1s to 7d"),
        "max_duration = \"10m\"",
    );
    check_service(
        "max_duration = '8d'",
        16,
        &of("max_duration must be from 1s to 7d"),
        "max_duration = \"10m\"",
    );
    check_service(
        "look-back = '1m'",
        1,
        &of("has no key look-back"),
        "did you mean \"look_back\"?",
    );
    check_service(
        "recheck_after = '7d'",
        17,
        &of("recheck_after must be from 0s to 6d"),
        "write recheck_after = \"12h\"",
    );
    check_service(
        "second_look = '12h'",
        1,
        &of("has no key second_look"),
        "did you mean \"recheck_after\"?",
    );
    check_service(
        "window_offset = '30m'",
        1,
        &of("has no key window_offset"),
        "use one of: start_time, tag, url, look_back",
    );
    check_service(
        "start_time_in_utc = 'x'",
        1,
        &of("has no key start_time_in_utc"),
        "did you mean \"start_time\"?",
    );
}

#[test]
fn metrics_need_a_folder() {
    let hint = "add textfile_dir = \"/var/lib/prometheus/node-exporter\"";
    check_one(
        "[metrics]",
        "1:1",
        "[metrics] textfile_dir is missing",
        hint,
    );
    for (value, said) in [
        ("1", "must be a string"),
        ("''", "must not be empty"),
        ("'~/metrics'", "without ~"),
    ] {
        let text = format!("[metrics]\ntextfile_dir = {value}");
        check_one(&text, "2:16", said, "write textfile_dir = ");
    }
    check_one(
        "metrics = 1",
        "1:11",
        "metrics must be a table",
        "write [metrics]",
    );
}

#[test]
fn limits_of_requests_are_numbers_in_periods() {
    let config = good("[services.tap-clicks-blocked]\nrequests = []");
    let limits = |config: &Config, name: &str| of_service(config, name, &["requests"])[0].clone();
    assert_eq!(limits(&config, "tap-clicks-blocked").as_deref(), Some("[]"));
    let usual = limits(&config, "tap-messages-blocked");
    assert_eq!(
        usual.as_deref(),
        Some("[{ period = \"1d\", at_most = 220 }]")
    );
    let config = good("[[services.tap-clicks-blocked.requests]]\nperiod = '1d'\nat_most = 0xdc\n");
    assert_eq!(limits(&config, "tap-clicks-blocked"), usual);

    let example = "write requests = [{ period = \"1d\", at_most = 220 }]";
    let list = "requests must be a list such as";
    for (value, column, said, hint) in [
        ("220", 12, list, example),
        ("{ period = '1d', at_most = 220 }", 12, list, example),
        (
            "[220]",
            13,
            "requests must be a list of tables, but it contains a number",
            example,
        ),
        (
            "[{ period = '1d' }]",
            13,
            "requests] at_most is missing",
            "add at_most = 220",
        ),
        (
            "[{ at_most = 1 }]",
            13,
            "requests] period is missing",
            "add period = \"1d\"",
        ),
        (
            "[{ period = '31d', at_most = 1 }]",
            24,
            "period must be from 1s to 30d",
            "write period",
        ),
        (
            "[{ period = '0s', at_most = 1 }]",
            24,
            "period must be from 1s to 30d",
            "write period",
        ),
        (
            "[{ period = 86400, at_most = 1 }]",
            24,
            "period must be a string",
            "write period",
        ),
        (
            "[{ period = '1d', at_most = 0 }]",
            40,
            "at_most must be from 1 to 9999999",
            "at_most = 220",
        ),
        (
            "[{ period = '1d', at_most = -1 }]",
            40,
            "at_most must be from 1 to",
            "at_most = 220",
        ),
        (
            "[{ period = '1d', at_most = 1.5 }]",
            40,
            "at_most must be a whole number",
            "at_most = 220",
        ),
        (
            "[{ period = '1d', at_most = '1' }]",
            40,
            "at_most must be a whole number",
            "at_most = 220",
        ),
        (
            "[{ period = '1d', number_of_requests = 1 }]",
            30,
            "has no key number_of_requests",
            "use one of: period, at_most",
        ),
    ] {
        let text = format!("requests = {value}");
        if said.contains("no key") {
            let faults = bad(&format!("[services.tap-clicks-blocked]\n{text}"));
            assert!(
                faults
                    .iter()
                    .any(|fault| fault.contains(said) && fault.contains(hint)),
                "{faults:#?}"
            );
        } else {
            check_service(&text, column, said, hint);
        }
    }
}

#[test]
fn rules_are_read_in_their_order() {
    let config = good(
        r#"
        [obfuscation]
        key = { env = "KEY" }
        [[services.tap-clicks-blocked.drop]]
        path = "classification"
        pattern = "^USER$"
        [[services.tap-clicks-blocked.obfuscate]]
        path = "a.*"
        hash = true
        pattern = '\w+'
        [[services.tap-clicks-blocked.obfuscate]]
        path = ["b.c", "*"]
        replace = 0x10
        [[services.tap-clicks-blocked.obfuscate]]
        path = "d"
        hash = false
        [services.tap-clicks-permitted]
        keep = [{ path = "e" }]
        "#,
    );
    assert!(matches!(&config.pseudonym_key, Some(SecretRef::Env(name)) if name == "KEY"));
    let shown = |name: &str| -> Vec<String> {
        let rules = &config.service(service(name)).rules;
        let shown = |rule: &Rule| format!("{rule}: {:?}", rule.action);
        rules.iter().map(shown).collect()
    };
    assert_eq!(
        shown("tap-clicks-blocked"),
        [
            "obfuscate a.* (with its pattern): Hash",
            "obfuscate \"b.c\".*: Replace(Replacement { whole: \"16\", inside: \"16\" })",
            "obfuscate d: Mask",
            "drop classification (with its pattern): Drop",
        ]
    );
    assert_eq!(shown("tap-clicks-permitted"), ["keep e: Keep"]);
    assert!(good("[obfuscation]\nkey = 'hunter2'").holds_a_secret());
}

#[test]
fn what_replaces_is_what_json_can_write() {
    for (value, json) in [
        ("'a\"'", r#"a\""#),
        ("''", ""),
        ("true", "true"),
        ("1_000", "1000"),
        ("+7", "7"),
        ("0xff", "255"),
        ("-1.0", "-1.0"),
        ("+1_0.5e0", "10.5"),
        ("1e400", "inf"),
    ] {
        let text =
            format!("[[services.tap-clicks-blocked.obfuscate]]\npath = 'a'\nreplace = {value}");
        if json == "inf" {
            check_one(
                &text,
                "3:11",
                "replace must be a string, a JSON number",
                "write replace",
            );
            continue;
        }
        let config = good(&text);
        let rules = &config.service(service("tap-clicks-blocked")).rules;
        let action = format!("{:?}", rules[0].action);
        assert!(
            action.ends_with(&format!("inside: {json:?} }})")),
            "{action}"
        );
    }
}

#[test]
fn rules_are_checked() {
    let rule = |kind: &str, lines: &str, place: &str, said: &str, hint: &str| {
        let header = format!("[[services.tap-clicks-blocked.{kind}]]");
        let said = format!("{header} {said}");
        check_one(&format!("{header}\n{lines}"), place, &said, hint);
    };
    for kind in ["obfuscate", "keep", "drop"] {
        rule(
            kind,
            "pattern = 'a'",
            "1:1",
            "path is missing",
            "add path = \"userName\"",
        );
        for (path, said) in [
            ("''", "must not have an empty key"),
            ("'a..hunter'", "must not have an empty key"),
            ("['hunter', '']", "must not have an empty key"),
            ("[]", "must have a key"),
            ("7", "must be a string or a list of strings, not a number"),
            (
                "['hunter', 7]",
                "must be a list of strings, but it contains a number",
            ),
        ] {
            rule(
                kind,
                &format!("path = {path}"),
                "2:8",
                &format!("path {said}"),
                "write path = ",
            );
        }
        for (pattern, said) in [
            ("'hunter('", "must be a regular expression: unclosed group"),
            (
                "'\\p{hunter}'",
                "must be a regular expression: Unicode property not found",
            ),
            ("'\\w{9999}'", "must be shorter"),
            ("' '", "must not be empty"),
            ("7", "must be a string such as"),
        ] {
            let lines = format!("path = 'a'\npattern = {pattern}");
            rule(kind, &lines, "3:11", &format!("pattern {said}"), "");
        }
    }
    let hides = |lines: &str, place: &str, said: &str, hint: &str| {
        rule(
            "obfuscate",
            &format!("path = 'a'\n{lines}"),
            place,
            said,
            hint,
        );
    };
    hides(
        "hash = true",
        "3:1",
        "hash needs a key",
        "[obfuscation] with key = ",
    );
    hides(
        "hash = 'yes'",
        "3:8",
        "hash must be true or false, not a string",
        "without quotes",
    );
    for value in ["[]", "{ a = 1 }", "nan", "inf", "2026-01-01"] {
        hides(
            &format!("replace = {value}"),
            "3:11",
            "replace must be a string, a JSON number",
            "write replace",
        );
    }
    hides(
        "name = ['a']",
        "3:1",
        "has no key name",
        "did you mean \"path\"?",
    );
    hides(
        "value = 1",
        "3:1",
        "has no key value",
        "did you mean \"replace\"?",
    );
    hides(
        "string_patterns = ['x']",
        "3:1",
        "has no key string_patterns",
        "\"pattern\"?",
    );
    hides(
        "hsah = true",
        "3:1",
        "has no key hsah",
        "did you mean \"hash\"?",
    );
    rule(
        "keep",
        "path = 'a'\nhash = true",
        "3:1",
        "has no key hash",
        "did you mean \"path\"?",
    );
    check_one(
        "[obfuscation]\nkey = { env = 'K' }\n[[services.tap-clicks-blocked.obfuscate]]\npath = 'a'\nhash = true\nreplace = 'x'",
        "6:1",
        "replace cannot be combined with hash = true",
        "keep one of the two",
    );
    check_one(
        "[obfuscation]",
        "1:1",
        "[obfuscation] key is missing",
        "add key = { file = \"obfuscation.key\" }",
    );
    for (value, column) in [("1", 8), ("{ path = 'a' }", 8), ("['a']", 9)] {
        check_service(
            &format!("drop = {value}"),
            column,
            "[services.tap-clicks-blocked] drop must be a list of tables",
            "write [[services.tap-clicks-blocked.drop]]",
        );
    }
    check_service(
        "obfuscation_data = []",
        1,
        "has no key obfuscation_data",
        "did you mean \"obfuscate\"?",
    );
}

#[test]
fn a_key_of_another_kind_of_service_is_unknown() {
    let check = |service: &str, line: &str| {
        let text = format!("[services.{service}]\n{line}");
        let key = line.split(' ').next().unwrap();
        check_one(&text, "2:1", &format!("has no key {key}"), "");
    };
    check("tap-clicks-blocked", "window_offset = '30m'");
    check("tap-clicks-blocked", "max_threats_per_run = 5");
    check("tap-threats", "threat_status = ['active']");
    check("isolation-web", "requests = []");
    check("isolation-web", "max_threats_per_run = 5");
    check("isolation-web", "threat_type = ['url']");
    check("isolation-url", "threat_status = ['active']");
}

#[test]
fn the_most_threats_of_a_run_are_a_number() {
    let check = |value: &str, said: &str| {
        let text = format!("[services.tap-threats]\nmax_threats_per_run = {value}");
        check_one(&text, "2:23", said, "write max_threats_per_run = 500");
    };
    check("0", "max_threats_per_run must be from 1 to 100000");
    check(
        "'5'",
        "max_threats_per_run must be a whole number such as 500",
    );
    let config = good("[services.tap-threats]\nmax_threats_per_run = 7");
    let usual = good("");
    let most = |config| effective(config, "services.tap-threats.max_threats_per_run");
    assert_eq!((most(&config), most(&usual)), (Some("7"), Some("500")));
}

#[test]
fn isolation_is_checked() {
    let table = |line: &str| format!("[isolation]\n{line}");
    check_one(
        &table(""),
        "1:1",
        "[isolation]",
        "api_key = { file = \"isolation.key\" }",
    );
    check_one(
        &table("api_key = ''"),
        "2:11",
        "api_key must not be empty",
        "",
    );
    check_one(
        &table("key = 'hunter2'\napi_key = 'hunter3'"),
        "2:1",
        "has no key key",
        "",
    );
    assert!(good(&table("api_key = 'hunter2'")).holds_a_secret());
    let offset = |value: &str, said: &str| {
        let text = format!("[services.isolation-url]\nwindow_offset = {value}");
        check_one(&text, "2:17", said, "write window_offset = \"30m\"");
    };
    offset("'1441m'", "window_offset must be from 0s to 1d");
    offset("30", "window_offset must be a string");
    for (text, minutes) in [("0s", 0), ("1440m", 1440), ("24h", 1440)] {
        let text = format!("[services.isolation-url]\nwindow_offset = {text:?}");
        let margin = good(&text)
            .service(service("isolation-url"))
            .api
            .limits()
            .margin;
        assert_eq!(margin.whole_minutes(), minutes);
    }
}

#[test]
fn threats_are_chosen_from_what_tap_knows() {
    let types = "write threat_type = [\"url\", \"attachment\", \"messageText\"]";
    check_service(
        "threat_type = ['url', 'URL']",
        23,
        "threat_type has a value that TAP does not know",
        "mean \"url\"?",
    );
    check_service(
        "threat_type = ['messagetext']",
        16,
        "threat_type has a value",
        "did you mean \"messageText\"?",
    );
    check_service(
        "threat_type = ['hunter2']",
        16,
        "threat_type has a value that TAP does not know",
        types,
    );
    check_service(
        "threat_type = ['url', 'url']",
        23,
        "threat_type has a value twice",
        "keep one",
    );
    check_service(
        "threat_type = ['url', 5]",
        23,
        "threat_type must be a list of strings, but it contains a number",
        types,
    );
    check_service(
        "threat_type = 'url'",
        15,
        "threat_type must be a list, not a string",
        "write threat_type = [\"url\"]",
    );
    check_service(
        "threat_type = 'hunter2'",
        15,
        "threat_type must be a list such as",
        types,
    );
    check_service(
        "threat_status = ['false_positive']",
        18,
        "threat_status has a value",
        "mean \"falsePositive\"?",
    );
}

#[test]
fn a_start_time_that_is_none_has_its_number() {
    let check_start = |value: &str, message: &str, hint: &str| {
        let message =
            format!("[SetupError 101] [services.tap-clicks-blocked] start_time {message}");
        check_service(&format!("start_time = {value}"), 14, &message, hint);
    };
    let example = "write start_time = \"2026-01-01T00:00:00Z\"";
    check_start(
        "'2026-11-27T12:00:01Z'",
        "is in the future",
        "a time in the past",
    );
    check_start("2999-01-01", "is in the future", "a time in the past");
    check_start("'yesterday'", "must be a time such as", example);
    check_start("'3d'", "must be a time such as", example);
    check_start(
        "'2026-11-20T00:00:00'",
        "must have a time zone: add Z",
        example,
    );
    check_start(
        "2026-11-20T00:00:00",
        "must have a time zone: add Z",
        example,
    );
    check_start("07:00:00", "must be a time such as", example);
    check_start(
        "1763596800",
        "must be a time such as 2026-01-01T00:00:00Z, not a number",
        example,
    );
    check_start("true", "must be a time such as", example);
    let text = "[services.tap-clicks-blocked]\nstart_time = 2026-11-20T00:00:00-0700";
    check_one(
        text,
        "2:14",
        "[SetupError 101] this is not a TOML time",
        "write it as KEY = ",
    );
}

#[test]
fn syntax_errors_have_a_place_and_never_the_text() {
    check_one(
        "[tap]\nsecret = hunter2",
        "2:10",
        "text must be in quotes",
        "write it as KEY = \"TEXT\"",
    );
    check_one(
        "[tap]\nsecret = ",
        "2:10",
        "this key has no value",
        "KEY = VALUE",
    );
    check_one(
        "[tap]\nsecret 'hunter2'",
        "2:8",
        "this key has no value",
        "write KEY = VALUE on one line",
    );
    check_one(
        "[tap]\nsecret: 'hunter2'",
        "2:9",
        "this key has no value",
        "KEY = VALUE",
    );
    check_one(
        "[tap]\nsecret = \"hunter2",
        "2:18",
        "a string is not closed",
        "close it with the quote",
    );
    check_one(
        "[tap]\nsecret = \"\"\"hunter2\nhunter3",
        "3:8",
        "a string is not closed",
        "close it with the quote",
    );
    check_one(
        "[tap]\nsecret = \"hunter\"2\"",
        "2:18",
        "there is more on this line",
        "on its own line",
    );
    check_one(
        "[tap]\nsecret = 'hunter's'",
        "2:18",
        "there is more on this line",
        "on its own line",
    );
    check_one(
        "[tap]\nsecret = \"C:\\hunter2\"",
        "2:14",
        "a backslash begins an escape",
        "single quotes",
    );
    check_one(
        "[tap]\nsecret = \"hunter\u{1}2\"",
        "2:17",
        "a string is not closed, or contains a character",
        "quote",
    );
    check_one(
        "[tap]\nsecret = { file = 'hunter2'",
        "2:28",
        "not a valid inline table",
        "write { KEY",
    );
    check_one(
        "[tap]\nsecret = { file = 'a', hunter2 }",
        "2:32",
        "a string is not closed, or contains",
        "quote",
    );
    check_one(
        "[tap]\nsecret == 'hunter2'",
        "2:9",
        "this is not valid TOML",
        "see toml.io",
    );
    check_one(
        "[tap]\n= 'hunter2'",
        "2:1",
        "the key is missing",
        "write KEY = VALUE",
    );
    check_one(
        "[tap\nprincipal = 'hunter'",
        "1:5",
        "a table header is not closed",
        "close it with ]",
    );
    check_one(
        "[tap]]\nprincipal = 'hunter'",
        "1:6",
        "there is more on this line",
        "on its own line",
    );
    check_one(
        "é = 1",
        "1:1",
        "a key has characters other than letters",
        "put the key in quotes",
    );
    check_one(
        "[tap]\nprincipal = 'a'\nsecret = 'a'\nsecret = 'hunter2'",
        "4:1",
        "defined twice",
        "keep one",
    );
    check_one(
        "name = 'é' # ü\r\nname = 'é'",
        "2:1",
        "defined twice",
        "keep one",
    );
    check_one(
        "[http]\ntimeout = 60s",
        "2:11",
        "text must be in quotes",
        "write it as KEY = \"TEXT\"",
    );
    check_one(
        "[devo]\npulling_id = True",
        "2:14",
        "this is not valid TOML",
        "see toml.io",
    );
}

#[test]
fn what_stands_beside_a_syntax_error_is_not_judged() {
    // a list that is not closed swallows what follows, and that may be a secret
    let text = "[services.tap-clicks-blocked]\nthreat_type = ['url'\n[tap]\nsecret = 'hunter2'\nhunter3 = 1";
    let faults = bad(text);
    assert!(
        faults
            .iter()
            .all(|fault| !fault.contains("TAP does not know")),
        "{faults:#?}"
    );
    // nothing is missing where a line could not be read, but another table has its say
    let faults = bad("[tap]\nsecret hunter2\n[devo]\nport = 443\n");
    let starts: Vec<&str> = faults
        .iter()
        .map(|fault| fault.split(" |").next().unwrap())
        .collect();
    assert_eq!(
        starts,
        [
            "2:8: this key has no value",
            "3:1: [devo] address is missing",
            "4:1: [devo] has no such key"
        ]
    );
}

#[test]
fn the_sign_in_of_pod_is_checked() {
    let check = |line: &str, message: &str, hint: &str| {
        let text = format!("[pod]\ncluster_id = 'x_hosted'\napi_key = 'k'\n{line}");
        check_one(&text, text_place(&text, line), message, hint);
    };
    check(
        "base_url = 'https://h'",
        "must begin with wss://",
        "write base_url = \"wss://",
    );
    check(
        "base_url = 'ws://h'",
        "plain ws:// is for loopback",
        "write base_url",
    );
    check(
        "base_url = 'wss://h/v1/stream'",
        "before /v1",
        "write base_url",
    );
    check(
        "base_url = 'wss://me@h'",
        "must not hold a user",
        "write base_url",
    );
    check(
        "token = 'hunter2'",
        "has no key token",
        "did you mean \"api_key\"?",
    );
    check_one(
        "[pod]\ncluster_id = 'x_hosted 8.21.0'\napi_key = 'k'",
        "2:14",
        "must have only letters, digits, -, _ and .",
        "without the release number",
    );
    check_one(
        "[pod]\napi_key = 'k'",
        "1:1",
        "cluster_id is missing",
        "examplecorp_hosted",
    );
    check_one(
        "[pod]\ncluster_id = 'x'",
        "1:1",
        "api_key is missing",
        "pod.key",
    );
    check_one(
        "[tap]\nprincipal = 'p'\nsecret = 's'\nbase_url = 'wss://h'",
        "4:12",
        "must begin with https://",
        "write base_url",
    );
}

/// Where a value stands on the fourth line, or a key that is unknown.
fn text_place(text: &str, line: &str) -> &'static str {
    assert_eq!(text.lines().nth(3), Some(line));
    if line.starts_with("base_url") {
        "4:12"
    } else {
        "4:1"
    }
}

#[test]
fn services_of_pod_have_keys_of_their_own() {
    let check = |line: &str, column: usize, message: &str, hint: &str| {
        let text = format!("[services.pod-audit]\n{line}");
        check_one(&text, &format!("2:{column}"), message, hint);
    };
    check(
        "mode = 'liv'",
        8,
        "must be \"complete\", \"live\" or \"archive\"",
        "write mode = \"complete\"",
    );
    check("mode = 1", 8, "must be a string", "write mode");
    check(
        "archive_lag = '2d'",
        15,
        "must be from 0s to 1d",
        "write archive_lag",
    );
    check(
        "idle_exit = '0s'",
        13,
        "must be from 1s to 1d",
        "write idle_exit",
    );
    check(
        "max_frame_bytes = 5",
        19,
        "must be from 1024 to 1073741824",
        "67108864",
    );
    check(
        "max_frame_bytes = '1m'",
        19,
        "must be a whole number of bytes, not a string",
        "67108864",
    );
    check(
        "max_frame_bytes = 1e6",
        19,
        "must be a whole number of bytes",
        "67108864",
    );
    check("look_back = '45m'", 1, "has no key look_back", "use one of");
    check(
        "threat_type = ['url']",
        1,
        "has no key threat_type",
        "use one of",
    );
    check(
        "url = 'https://h/x'",
        7,
        "must begin with wss://",
        "write url = \"wss://",
    );
    check_one(
        "[services.tap-clicks-blocked]\nmode = 'live'",
        "2:1",
        "has no key mode",
        "use one of",
    );
}

#[test]
fn all_faults_are_told_in_the_order_of_the_text() {
    let text = "
[services.tap-clicks-blocked]
look_back = '2d'
tag = 5
[devo]
cert = 'c'
[tap]
secret = hunter2
principal = 'me'
[nothing]
";
    let faults = bad(text);
    let starts: Vec<&str> = faults
        .iter()
        .map(|fault| fault.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        starts,
        ["3:13:", "4:7:", "5:1:", "6:1:", "8:10:", "10:2:"],
        "{faults:#?}"
    );
}

/// An example with the keys set that it shows as comments.
fn with_all_keys(example: &str) -> String {
    let set = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with([' ', ':']) => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    example.lines().map(set).collect()
}

#[test]
fn the_example_is_accepted_with_and_without_its_comments() {
    let config = good(EXAMPLE);
    assert!(
        config.devo.is_some_and(|devo| devo.identity.is_some()
            && devo.pulling_id
            && devo.fields.is_empty())
    );
    let all = good(&with_all_keys(EXAMPLE));
    let keys = ["look_back", "recheck_after", "max_duration"];
    let of_clicks = |config| of_service(config, "tap-clicks-blocked", &keys);
    assert_eq!(of_clicks(&all), of_clicks(&good("")));
    assert_eq!(all.http.timeout, good("").http.timeout);
    assert!(
        all.devo
            .is_some_and(|devo| devo.pulling_id && devo.fields.len() == 1)
    );
    assert_eq!(
        all.sign_in.tap.map(|tap| tap.base_url),
        config.sign_in.tap.map(|tap| tap.base_url)
    );
}

#[test]
fn what_the_documents_show_is_accepted() {
    let mut rules = 0;
    for document in [
        include_str!("../../../README.md"),
        include_str!("../../../docs/configuration.md"),
        include_str!("../../../docs/install.md"),
        include_str!("../../../docs/isolation.md"),
        include_str!("../../../docs/migrating.md"),
        include_str!("../../../docs/monitoring.md"),
        include_str!("../../../docs/pod.md"),
        include_str!("../../../docs/receivers.md"),
        include_str!("../../../docs/redaction.md"),
        include_str!("../../../docs/tap.md"),
    ] {
        let blocks = document.split("```toml\n").skip(1);
        let mut texts = blocks
            .filter_map(|rest| rest.split("```").next())
            .peekable();
        assert!(texts.peek().is_some());
        for config in texts.map(good) {
            rules += config.service(service("tap-messages-blocked")).rules.len();
        }
    }
    assert_eq!(rules, 3);
}

#[test]
fn the_example_for_isolation_is_accepted_and_shows_the_defaults() {
    let (example, _) = EXAMPLES[1];
    assert!(good(example).sign_in.isolation.is_some());
    let keys = [
        "tag",
        "look_back",
        "recheck_after",
        "max_duration",
        "window_offset",
    ];
    let of_isolation = |config| of_service(config, "isolation-web", &keys);
    let all = good(&with_all_keys(example));
    assert_eq!(of_isolation(&all), of_isolation(&good("")));
}

#[test]
fn the_example_of_pod_is_accepted_with_and_without_its_comments() {
    let (example, _) = EXAMPLES[2];
    let config = good(example);
    let pod = config.sign_in.pod.as_ref().unwrap();
    assert_eq!(pod.cluster_id, "examplecorp_hosted");
    let all = good(&with_all_keys(example));
    assert_eq!(
        all.sign_in.pod.as_ref().unwrap().base_url.to_string(),
        pod.base_url.to_string()
    );
    let keys = [
        "tag",
        "mode",
        "archive_lag",
        "max_duration",
        "max_frame_bytes",
    ];
    let of_pod = |config| of_service(config, "pod-message", &keys);
    assert_eq!(of_pod(&all), of_pod(&config));
    let shown = effective(&all, "services.pod-message.url").unwrap();
    assert_eq!(shown, quoted(pod.base_url.join("/v1/stream")));
    assert_eq!(effective(&config, "services.pod-message.idle_exit"), None);
    assert!(effective(&all, "services.pod-message.idle_exit").is_some());
}

#[test]
fn every_key_is_in_an_example() {
    for (example, headers) in EXAMPLES {
        let example = with_all_keys(example);
        headers
            .iter()
            .for_each(|header| check_shows(&example, header));
    }
    for service in SERVICES {
        let table = format!("\n[services.{}]\n", service.name);
        let shown = EXAMPLES.iter().any(|(text, _)| text.contains(&table));
        assert!(shown, "{table}");
    }
}

/// The hint for an unknown key lists the known ones; an example shows all of them, those of a service
/// in the table of any.
fn check_shows(example: &str, header: &str) {
    let sections: Vec<&str> = match header {
        "" => vec![example],
        _ if header.starts_with("[services") => example.split("\n[services").skip(1).collect(),
        _ => example.split(&format!("\n{header}\n")).skip(1).collect(),
    };
    assert!(!sections.is_empty(), "{header}");
    let ends = |section: &str| section.find("\n[").unwrap_or(section.len());
    let sections = sections.iter().map(|section| &section[..ends(section)]);
    let shown: BTreeSet<&str> = sections
        .flat_map(str::lines)
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, _)| key)
        .collect();
    let faults = read(&format!("{header}\nzzzzzzzzzz = 1")).unwrap_err();
    let known = faults
        .iter()
        .find_map(|fault| fault.hint.strip_prefix("use one of: "))
        .expect(header);
    for key in known.split(", ") {
        let inner = match header {
            "" => format!("\n[{key}"),
            _ => format!(".{key}]]\n"),
        };
        // as all keys are set, tables of tables too
        let mut examples = EXAMPLES.iter().map(|(text, _)| with_all_keys(text));
        let table = examples.any(|text| text.contains(&inner));
        let dotted = format!("{key}.");
        let is_dotted = shown.iter().any(|shown| shown.starts_with(&dotted));
        let table = table || is_dotted;
        assert!(table || shown.contains(key), "{header} {key} is not shown");
    }
}

fn check_no_leak(text: &str) {
    for fault in read(text).err().unwrap_or_default() {
        assert!(
            fault.line >= 1 && fault.column >= 1 && fault.line <= text.matches('\n').count() + 1
        );
        assert!(
            !format!("{fault} {}", fault.hint).contains("hunter"),
            "{text}\n{fault:?}"
        );
    }
}

#[test]
fn no_cut_or_mangled_text_makes_it_panic_or_leak() {
    let example = with_all_keys(EXAMPLE).replace("{ file = \"tap.secret\" }", "'hunter2'");
    for (at, _) in example.char_indices() {
        check_no_leak(&example[..at]);
        check_no_leak(&example[at..]);
    }
    for secret in [
        r#"'hunter2 = "hunter3" [hunter4] { hunter5 } #hunter6'"#,
        "\"hunter2 = 'hunter3' \\\" hunter4\"",
        "{ hunter2 = 'hunter3', hunter4.hunter5 = ['hunter6'] }",
        "\"\"\"\nhunter1 = 1\nhunter2 = [\n[hunter3]\n\n[services.hunter4]\nhunter5.hunter6 = 2\nhunter7 = 3\"\"\"",
    ] {
        let text = format!(
            "name = 'é'\n[tap]\nprincipal = \"me\"\nsecret = {secret}\n[devo]\naddress = 'h:1'\n"
        );
        for (at, char) in text.char_indices() {
            // what a slip of the finger does
            check_no_leak(&[&text[..at], &text[at + char.len_utf8()..]].concat());
            for slip in [
                "\"", "'", "[", "]", "{", "=", ".", "\n", "\"\"\"", "\r", "\0", "é",
            ] {
                check_no_leak(&[&text[..at], slip, &text[at..]].concat());
            }
        }
    }
}
