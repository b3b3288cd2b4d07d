//! Each documented form of the collectors' configuration, and what is odd in one, becomes what it should.

use super::*;

const NOW: OffsetDateTime = time::macros::datetime!(2026-11-26 12:00 UTC);

/// The placeholders of the collectors' documents, filled in.
fn filled(example: &str) -> String {
    let values = [
        ("<short_unique_id>", "12345"),
        ("<short_unique_identifier>", "12345"),
        ("<devo_address>", "collector-us.devo.io"),
        ("<chain_filename>", "chain.crt"),
        ("<cert_filename>", "acme.crt"),
        ("<key_filename>", "acme.key"),
        ("<input_status>", "true"),
        ("<debug_status>", "false"),
        ("<username_value>", "00000000-0000-0000-0000-000000000000"),
        ("<password_value>", "s3cret"),
        ("<api_key_value>", "s3cret"),
        ("<cluster_id_value>", "examplecorp_hosted"),
        ("<start_time_value>", "2026-11-20T00:00:00Z"),
        ("<start_time_in_utc_value>", "2026-11-20T00:00:00Z"),
        ("<environment_value>", "prod"),
        ("<request_period_in_seconds_value>", "600"),
        ("<override_tag_base_value>", "my.app.proofpoint"),
        ("<override_url_base_value>", "https://gateway.example"),
        ("<override_api_base_url_value>", "https://gateway.example"),
        ("<override_query_window_offset_in_minutes_value>", "15"),
    ];
    let mut text = example.to_owned();
    for (name, value) in values {
        text = text.replace(name, value);
    }
    assert!(!text.contains('<'), "{text}");
    text
}

const TAP_YAML: &str = "\
globals:
  debug: <debug_status>
  id: not_used
  name: proofpoint_tap_collector
  persistence:
    type: filesystem
    config:
      directory_name: state
outputs:
  devo_1:
    type: devo_platform
    config:
      address: <devo_address>
      port: 443
      type: SSL
      chain: <chain_filename>
      cert: <cert_filename>
      key: <key_filename>
inputs:
  proofpoint_tap:
    id: <short_unique_id>
    enabled: <input_status>
    credentials:
      username: <username_value>
      password: <password_value>
    environment: <environment_value>
    services:
      clicksBlocked:
        request_period_in_seconds: <request_period_in_seconds_value>
        start_time: <start_time_value>
        override_tag_base: <override_tag_base_value>
      clicksPermitted:
        override_url_base: <override_url_base_value>
";

const TAP_JSON: &str = r#"{
  "global_overrides": {
    "debug": <debug_status>
  },
  "inputs": {
    "proofpoint_tap": {
      "id": "<short_unique_id>",
      "enabled": <input_status>,
      "credentials": {
        "username": "<username_value>",
        "password": "<password_value>"
      },
      "start_time": "<start_time_value>",
      "services": {
        "clicksBlocked": {},
        "clicksPermitted": {},
        "messagesBlocked": {},
        "messagesDelivered": {},
        "threats": {},
        "campaigns": {"includecampaignforensics": true},
        "people": {}
      }
    }
  }
}"#;

const POD_YAML: &str = "\
globals:
  debug: false
  id: not_used
  name: proofpoint_on_demand
  persistence:
    type: filesystem
    config:
      directory_name: state
outputs:
  console_1:
    type: console
  devo_us_1:
    type: devo_platform
    config:
      address: <devo_address>
      port: 443
      type: SSL
      chain: <chain_filename>
      cert: <cert_filename>
      key: <key_filename>
inputs:
  proofpoint_on_demand:
    id: <short_unique_id>
    enabled: true
    credentials:
      cluster_id: <cluster_id_value>
      api_key: <api_key_value>
    services:
      message:
      maillog:
";

const POD_JSON: &str = r#"{
  "global_overrides": { "debug": false },
  "inputs": {
    "proofpoint_on_demand": {
      "id": "<short_unique_id>",
      "enabled": true,
      "credentials": { "cluster_id": "<cluster_id_value>", "api_key": "<api_key_value>" },
      "services": { "message": { "request_period_in_seconds": 60 }, "maillog": {} }
    }
  }
}"#;

const ISOLATION_YAML: &str = "\
globals:
  debug: false
  id: not_used
  name: proofpoint_isolation
  persistence:
    type: filesystem
    config:
      directory_name: state
outputs:
  devo_1:
    type: devo_platform
    config:
      address: <devo_address>
      port: 443
      type: SSL
      chain: <chain_filename>
      cert: <cert_filename>
      key: <key_filename>
inputs:
  proofpoint_isolation:
    id: <short_unique_id>
    enabled: true
    credentials:
      api_key: <api_key_value>
    requests_limits:
      - period: 1d
        number_of_requests: -1
    start_time_in_utc: 20/11/2026 00:00
    start_time_in_utc_format: '%d/%m/%Y %H:%M'
    override_api_base_url: <override_api_base_url_value>
    services:
      browser_and_email_isolation:
        override_query_window_offset_in_minutes: <override_query_window_offset_in_minutes_value>
        request_period_in_seconds: 1800
        obfuscation_data:
          - name: [userName]
            value: somebody
          - name: ['*', ip]
            string_patterns: ['\\d+$', 'x']
          - name: [flag]
            value: 0
      url_isolation:
        request_period_in_seconds: 1800
";

const ISOLATION_JSON: &str = r#"{
  "global_overrides": { "debug": false },
  "inputs": {
    "proofpoint_isolation": {
      "id": "<short_unique_id>",
      "enabled": true,
      "credentials": { "api_key": "<api_key_value>" },
      "services": { "url_isolation": { "start_time_in_utc": "<start_time_in_utc_value>" } }
    }
  }
}"#;

fn planned(text: &str, state: Option<&[CollectorFile]>) -> Result<Plan, Vec<ConfigError>> {
    plan(&Given {
        text,
        base: Path::new("/old/config"),
        into: Path::new("/new"),
        state,
        now: NOW,
    })
}

/// The configuration, without blank lines and the comment.
fn config(plan: &Plan) -> String {
    let file = plan
        .files
        .iter()
        .find(|file| file.path == Path::new("config.toml"));
    let Some(PlannedContent::Text(text)) = file.map(|file| &file.content) else {
        panic!("no configuration")
    };
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn each_documented_example_becomes_what_proofpull_takes() {
    const DEVO: &str = "\
[devo]
chain = \"certs/chain.crt\"
cert = \"certs/domain.crt\"
key = \"certs/domain.key\"
address = \"collector-us.devo.io:443\"
";
    let cases = [
        (
            TAP_JSON,
            "\
[tap]
principal = \"00000000-0000-0000-0000-000000000000\"
secret = { file = \"tap.secret\" }
[services.tap-clicks-blocked]
start_time = \"2026-11-20T00:00:00Z\"
[services.tap-clicks-permitted]
start_time = \"2026-11-20T00:00:00Z\"
[services.tap-messages-blocked]
start_time = \"2026-11-20T00:00:00Z\"
[services.tap-messages-delivered]
start_time = \"2026-11-20T00:00:00Z\"
[services.tap-threats]
start_time = \"2026-11-20T00:00:00Z\"
[services.tap-campaigns]
start_time = \"2026-11-20T00:00:00Z\"
[services.tap-people-vap]
[services.tap-people-clickers]
[services.tap-forensics]
start_time = \"2026-11-20T00:00:00Z\"
"
            .to_owned(),
        ),
        (
            POD_YAML,
            format!(
                "name = \"proofpoint_on_demand\"\n{DEVO}\
[pod]
cluster_id = \"examplecorp_hosted\"
api_key = {{ file = \"pod.key\" }}
[services.pod-message]
[services.pod-maillog]
"
            ),
        ),
        (
            POD_JSON,
            "\
[pod]
cluster_id = \"examplecorp_hosted\"
api_key = { file = \"pod.key\" }
[services.pod-message]
[services.pod-maillog]
"
            .into(),
        ),
        (
            ISOLATION_YAML,
            format!(
                "name = \"proofpoint_isolation\"\n{DEVO}\
[isolation]
api_key = {{ file = \"isolation.key\" }}
[services.isolation-web]
window_offset = \"15m\"
url = \"https://gateway.example/api/v2/reporting/usage-data\"
start_time = \"2026-11-20T00:00:00Z\"
[[services.isolation-web.obfuscate]]
path = [\"userName\"]
replace = \"somebody\"
[[services.isolation-web.obfuscate]]
path = [\"*\", \"ip\"]
pattern = \"\\\\d+$\"
[[services.isolation-web.obfuscate]]
path = [\"*\", \"ip\"]
pattern = \"x\"
[[services.isolation-web.obfuscate]]
path = [\"flag\"]
[services.isolation-url]
url = \"https://gateway.example/api/v2/reporting/usage-data\"
start_time = \"2026-11-20T00:00:00Z\"
"
            )
            .replace("\\\\\\\\", "\\\\"),
        ),
        (
            ISOLATION_JSON,
            "\
[isolation]
api_key = { file = \"isolation.key\" }
[services.isolation-url]
start_time = \"2026-11-20T00:00:00Z\"
"
            .into(),
        ),
    ];
    for (example, wanted) in cases {
        let plan = planned(&filled(example), None)
            .unwrap_or_else(|faults| panic!("{faults:?}\n{example}"));
        let made = config(&plan);
        assert_eq!(made.replace("\\\\\\\\", "\\\\"), wanted);
        assert!(!made.contains("s3cret"));
        assert!(plan.warnings.is_empty());
    }
}

#[test]
fn each_setting_has_a_row_with_its_effect_or_a_reason() {
    // services with different addresses cannot be followed; with the same they can
    let text = filled(TAP_YAML).replace("      clicksPermitted:\n        override_url_base", "    override_url_base")
        .replace("    services:\n", "    requests_limits:\n    - period: 1w\n      number_of_requests: 7000\n    later_setting: 1\n    services:\n");
    let text = text.replace("    override_url_base: https://gateway.example\n", "");
    let text = text.replace(
        "    environment:",
        "    override_url_base: https://gateway.example/v2/siem\n    environment:",
    );
    let plan = planned(&text, None).unwrap_or_else(|faults| panic!("{faults:?}\n{text}"));
    let rows = plan
        .rows
        .iter()
        .map(|row| format!("{} | {} | {}", row.theirs, row.ours, row.value));
    let rows: Vec<String> = rows.collect();
    for wanted in [
        "globals.debug |  | see -v and -vv, options of every command",
        "globals.name | name | \"proofpoint_tap_collector\"",
        "outputs.devo_1.config.address | devo.address | \"collector-us.devo.io:443\"",
        "outputs.devo_1.config.port | devo.address | \"collector-us.devo.io:443\"",
        "outputs.devo_1.config.key | devo.key | \"/new/certs/domain.key\"",
        "inputs.proofpoint_tap.environment | devo.fields | { \"@devo_environment\" = \"prod\" }",
        "inputs.proofpoint_tap.credentials.password | tap.secret | { file = \"/new/tap.secret\" }",
        "inputs.proofpoint_tap.override_url_base | tap.base_url | \"https://gateway.example\"",
        "inputs.proofpoint_tap.requests_limits | services.tap-clicks-blocked.requests | [{ period = \"7d\", at_most = 7000 }]",
        "inputs.proofpoint_tap.services.clicksBlocked.override_tag_base | services.tap-clicks-blocked.tag | \"my.app.proofpoint.clicksblocked\"",
        "inputs.proofpoint_tap.services.clicksBlocked.start_time | services.tap-clicks-blocked.start_time | \"2026-11-20T00:00:00Z\"",
        "inputs.proofpoint_tap.services.clicksBlocked.request_period_in_seconds | timer | 600s, in systemd/proofpull@tap-clicks-blocked.timer.d",
        "inputs.proofpoint_tap.later_setting |  | proofpull does not know it, so nothing takes its place",
    ] {
        assert!(
            rows.iter().any(|row| row == wanted),
            "{wanted}\n{}",
            rows.join("\n")
        );
    }
    // every key of theirs is in the table
    for line in text.lines().filter_map(|line| line.split_once(':')) {
        let key = line.0.trim().trim_start_matches("- ");
        let parts = [
            "globals",
            "outputs",
            "inputs",
            "config",
            "credentials",
            "services",
            "type",
            "directory_name",
            "period",
            "number_of_requests",
        ];
        let is_there = rows.iter().any(|row| {
            row.split(" | ")
                .next()
                .unwrap()
                .split('.')
                .any(|name| name == key)
        });
        assert!(
            parts.contains(&key) || is_there,
            "{key} has no row\n{}",
            rows.join("\n")
        );
    }
    assert!(rows.iter().all(|row| !row.ends_with("| ")), "{rows:?}");
    assert!(!rows.concat().contains("s3cret"));
}

#[test]
fn a_fast_timer_gets_the_requests_it_needs() {
    for (period, wanted) in [
        ("600", None),
        ("300", Some("336")),
        ("60", Some("1488")),
        ("10", Some("1800")),
    ] {
        let text = filled(TAP_JSON).replace(
            "\"clicksBlocked\": {}",
            &format!("\"clicksBlocked\": {{ \"request_period_in_seconds\": {period} }}"),
        );
        let made = config(&planned(&text, None).unwrap());
        let limit =
            wanted.map(|most| format!("requests = [{{ period = \"1d\", at_most = {most} }}]"));
        match limit {
            Some(limit) => assert!(made.contains(&limit), "{made}"),
            None => assert!(!made.contains("requests"), "{made}"),
        }
    }
}

/// What is wrong, in one line each.
fn faults(text: &str, state: Option<&[CollectorFile]>) -> Vec<String> {
    match planned(text, state) {
        Ok(_) => Vec::new(),
        Err(faults) => faults
            .iter()
            .map(|fault| format!("{}: {}", fault.line, fault.message))
            .collect(),
    }
}

#[test]
fn what_cannot_be_followed_is_named_with_its_line_and_no_value() {
    let tap = filled(TAP_JSON);
    for (from, to, wanted) in [
        (
            "\"id\"",
            "\"start_time_format\": \"%a\", \"id\"",
            "13: inputs.proofpoint_tap.start_time: has a format",
        ),
        (
            "2026-11-20T00:00:00Z",
            "yesterday",
            "inputs.proofpoint_tap.start_time: must be a time such as",
        ),
        (
            "s3cret",
            "<password_value>",
            "inputs.proofpoint_tap.credentials.password: is still the placeholder",
        ),
        (
            "\"password\": \"s3cret\"",
            "\"token\": \"s3cret\"",
            "inputs.proofpoint_tap.credentials: has no password",
        ),
        (
            "\"password\": \"s3cret\"",
            "\"password\": [\"s3cret\"]",
            "credentials.password: must be a single value, not a list",
        ),
        (
            "00000000-0000-0000-0000-000000000000",
            "${TAP_USER}",
            "credentials.username: has a variable in ${}",
        ),
        (
            "\"clicksBlocked\": {}",
            "\"clicksBlocked\": {\"override_tag_base\": \"a b\"}",
            "this would become what proofpull refuses: ",
        ),
        (
            "\"clicksBlocked\": {}",
            "\"clicksBlocked\": {\"requests_limits\": {\"period\": \"1d\"}}",
            "requests_limits: must be a list",
        ),
        (
            "\"clicksBlocked\": {}",
            "\"clicksBlocked\": {\"requests_limits\": [{\"period\": \"1y\", \"number_of_requests\": 5}]}",
            "has a period of more than 30 days",
        ),
        (
            "\"clicksBlocked\": {}",
            "\"clicksBlocked\": {\"obfuscation_data\": [{\"name\": [\"a\"], \"string_patterns\": [\"(?=s3cret)\"]}]}",
            "string_patterns: must be a regular expression",
        ),
        (
            "\"clicksBlocked\": {}",
            "\"clicksBlocked\": {\"obfuscation_data\": [{\"nome\": [\"a\"]}]}",
            "obfuscation_data[0]: has no name",
        ),
        (
            "\"clicksBlocked\": {}",
            "\"clicksBlocked\": {\"override_base_url\": \"https://a\"}",
            "they have different addresses",
        ),
        (
            "\"enabled\": true",
            "\"enabled\": false",
            "1: this has no input for TAP, PoD or Isolation that is on",
        ),
    ] {
        let text = tap.replace(from, to);
        assert_ne!(text, tap);
        let said = faults(&text, None);
        assert!(
            said.iter().any(|said| said.contains(wanted)),
            "{wanted}: {said:?}"
        );
        assert!(!said.concat().contains("s3cret"), "{said:?}");
    }
    for (text, wanted) in [
        ("[devo]\naddress = \"a\"\n", "2: this is neither"),
        ("", "1: this has no input"),
        (
            "inputs:\n  other:\n    services:\n      alerts:\n",
            "1: this has no input",
        ),
    ] {
        assert!(
            faults(text, None)
                .iter()
                .any(|said| said.starts_with(wanted)),
            "{text}"
        );
    }
    // each placeholder that was left is named
    assert_eq!(
        faults(TAP_YAML, None).len(),
        11,
        "{:?}",
        faults(TAP_YAML, None)
    );
}

#[test]
fn a_name_with_a_line_break_is_said_on_one_line() {
    let text = filled(TAP_JSON).replace("\"proofpoint_tap\"", "\"proofpoint_tap\\n\\u001b@\"");
    let said = faults(&text.replace("\"password\"", "\"token\""), None).concat();
    let wanted = "inputs.proofpoint_tap  @.credentials: has no password";
    assert!(said.contains(wanted), "{said:?}");
}

#[test]
fn without_outputs_there_is_no_receiver_and_what_belongs_to_it_is_said() {
    let text = filled(TAP_JSON).replace("\"id\"", "\"environment\": \"prod\", \"id\"");
    let plan = planned(&text, None).unwrap();
    assert!(!config(&plan).contains("[devo]"));
    let told: Vec<&str> = plan.rows.iter().map(|row| row.value.as_str()).collect();
    for wanted in [
        "not in this file: add [devo]",
        "add fields = { \"@devo_environment\" = \"prod\" } to [devo]",
    ] {
        assert!(told.iter().any(|told| told.contains(wanted)), "{told:?}");
    }
}

#[test]
fn two_inputs_of_an_api_are_refused_and_two_apis_are_not() {
    let isolation = filled(ISOLATION_YAML);
    let (head, input) = isolation.split_once("inputs:\n").unwrap();
    let pod = filled(POD_YAML);
    let (_, other) = pod.split_once("inputs:\n").unwrap();
    let both = config(&planned(&format!("{head}inputs:\n{input}{other}"), None).unwrap());
    assert!(both.contains("[pod]") && both.contains("[isolation]"));
    let twice = format!(
        "{head}inputs:\n{input}{}",
        input.replace("  proofpoint_isolation:", "  second:")
    );
    assert!(faults(&twice, None)[0].contains("inputs.second: is the second input for [isolation]"));
}

#[test]
fn the_configuration_of_a_collector_is_told_from_one_of_proofpull() {
    for text in [
        TAP_YAML,
        TAP_JSON,
        POD_YAML,
        POD_JSON,
        ISOLATION_YAML,
        ISOLATION_JSON,
    ] {
        assert!(is_of_a_collector(text) && is_of_a_collector(&filled(text)));
    }
    let made = planned(&filled(TAP_JSON), None).unwrap();
    for text in [
        "",
        "inputs",
        "inputs: 1",
        "# inputs\n[tap]\nprincipal = \"a\"\n",
        &config(&made),
    ] {
        assert!(!is_of_a_collector(text), "{text}");
    }
}

#[test]
fn a_secret_that_is_a_variable_stays_one() {
    let text = filled(TAP_JSON).replace("s3cret", "${TAP_PASSWORD}");
    let plan = planned(&text, None).unwrap();
    assert!(config(&plan).contains("secret = { env = \"TAP_PASSWORD\" }"));
    assert!(
        !plan
            .files
            .iter()
            .any(|file| matches!(file.content, PlannedContent::Secret(_)))
    );
}

#[test]
fn certificates_are_looked_for_where_the_collector_has_them() {
    let text = filled(POD_YAML).replace("acme.key", "/container/certs/acme.key");
    let plan = planned(&text, None).unwrap();
    let of = |name: &str| {
        let file = plan
            .files
            .iter()
            .find(|file| file.path == Path::new(name))
            .unwrap();
        match &file.content {
            PlannedContent::CopyOf(candidates) => candidates.clone(),
            _ => panic!("no copy"),
        }
    };
    assert!(of("certs/domain.crt").contains(&"/old/config/../certs/acme.crt".into()));
    let key = of("certs/domain.key");
    assert_eq!(key[0], Path::new("/container/certs/acme.key"));
    assert!(key.contains(&"/old/config/../certs/acme.key".into()));
}

fn state(name: &str, time: &str) -> CollectorFile {
    CollectorFile {
        name: name.into(),
        bytes: Ok(format!("(dVlast_polled_timestamp\nV{time}\ns.").into_bytes()),
    }
}

#[test]
fn services_start_before_the_earliest_position_and_what_may_come_twice_is_said() {
    let files = [
        state("0a", "2026-11-26T10:00:00Z"),
        state("0b", "2026-11-26T09:30:00.7Z"),
    ];
    let text = filled(ISOLATION_YAML);
    let plan = planned(&text, Some(&files)).unwrap();
    assert_eq!(
        config(&plan)
            .matches("start_time = \"2026-11-26T07:30:00Z\"")
            .count(),
        2
    );
    assert_eq!(
        plan.notes,
        [
            "0a in the state: last_polled_timestamp is 2026-11-26T10:00:00Z",
            "0b in the state: last_polled_timestamp is 2026-11-26T09:30:00Z",
            "isolation-web, isolation-url start at 2026-11-26T07:30:00Z, 2h before the position of the collector, \
         2026-11-26T09:30:00Z: what it delivered of that time comes twice",
        ]
    );
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
}

#[test]
fn a_state_that_is_not_understood_is_named_with_the_manual_way() {
    let text = filled(ISOLATION_YAML);
    let evil = CollectorFile {
        name: "0c".into(),
        bytes: Ok(b"cos\nsystem\n(S'true'\ntR.".to_vec()),
    };
    let said = faults(&text, Some(std::slice::from_ref(&evil)));
    assert!(
        said[0].contains(
            "0c in the state is not understood: it is more than plain data: GLOBAL is refused"
        ),
        "{said:?}"
    );
    assert!(said[1].contains("no position was found"), "{said:?}");
    let hint = &planned(&text, Some(&[])).err().unwrap()[0].hint;
    assert!(hint.contains("start_time"), "{hint}");

    let kept_back = CollectorFile {
        name: "0d".into(),
        bytes: Ok(b"(dVmessages\n(lNas.".to_vec()),
    };
    let plan = planned(
        &text,
        Some(&[state("0a", "2026-11-26T10:00:00Z"), evil, kept_back]),
    )
    .unwrap();
    let warnings = plan.warnings.join("\n");
    for wanted in [
        "0c in the state is not understood",
        "set the start_time",
        "0d in the state holds 1 event",
        "1 position for 2 services",
    ] {
        assert!(warnings.contains(wanted), "{warnings}");
    }
}

#[test]
fn a_position_ahead_of_the_clock_is_the_present() {
    let plan = planned(
        &filled(POD_JSON),
        Some(&[state("0", "2026-11-26T20:00:00Z")]),
    )
    .unwrap();
    assert!(config(&plan).contains("start_time = \"2026-11-26T10:00:00Z\""));
}
