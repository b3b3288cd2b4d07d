//! The JSON Schema of the configuration is what the reader takes. It is found out by asking the reader.

use std::collections::BTreeMap;
use std::path::Path;

use proofpull::config::file::look;
use proofpull::service::SERVICES;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::derived;

const FILE: &str = "examples/proofpull.schema.json";
const CHART: &str = "packaging/helm/proofpull/values.schema.json";

const DURATION: &str = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$";

/// One value of each type, with the name that the reader has for the type.
const TYPES: [(&str, &str, &str); 5] = [
    ("a string", "string", "\"zz zz\""),
    ("a number", "number", "1"),
    ("true or false", "boolean", "true"),
    ("a list", "array", "[\"zz zz\"]"),
    ("a table", "object", "{}"),
];

/// What the reader says of a text: what is wrong, and the hint.
fn said(text: &str) -> Vec<(String, String)> {
    let (_, faults) = look(text, Path::new("/"), OffsetDateTime::now_utc());
    let said = faults
        .into_iter()
        .map(|fault| (fault.to_string(), fault.hint));
    said.collect()
}

/// A table of the configuration, as it is written.
#[derive(Clone)]
struct Table {
    /// What stands between its brackets, nothing at the top.
    path: String,
    /// Whether it is one of a list.
    is_listed: bool,
}

impl Table {
    fn header(&self) -> String {
        match (self.path.as_str(), self.is_listed) {
            ("", _) => String::new(),
            (path, false) => format!("[{path}]\n"),
            (path, true) => format!("[[{path}]]\n"),
        }
    }

    fn inside(&self, key: &str, is_listed: bool) -> Table {
        let path = format!("{}.{key}", self.path);
        Table {
            path: path.trim_start_matches('.').to_owned(),
            is_listed,
        }
    }

    /// The keys that the hint for an unknown one names.
    fn keys(&self) -> Vec<String> {
        if self.path == "services" {
            let names = SERVICES.iter().map(|service| service.name.to_owned());
            return names.collect();
        }
        let said = said(&format!("{}zzzzzzzzzz = 1", self.header()));
        let hints = said.iter().map(|(_, hint)| hint);
        let mut known = hints.filter_map(|hint| hint.strip_prefix("use one of: "));
        let known = known.next().into_iter().flat_map(|known| known.split(", "));
        known.map(str::to_owned).collect()
    }

    /// What is said of a value of a key.
    fn said_of(&self, key: &str, value: &str) -> Vec<String> {
        let said = said(&format!("{}{key} = {value}", self.header()));
        let about = said.into_iter().map(|(said, _)| said);
        about
            .filter(|said| {
                said.contains(&format!("{key} must ")) || said.contains(&format!("{key} has "))
            })
            .collect()
    }

    fn schema(&self, notes: &Notes) -> Value {
        let mut properties = Map::new();
        for key in self.keys() {
            properties.insert(key.clone(), self.schema_of(&key, notes));
        }
        let all: Vec<String> = properties.keys().cloned().collect();
        let missing = said(&self.header());
        let is_missing = |key: &String| {
            let end = format!(" {key} is missing");
            missing.iter().any(|(said, _)| said.ends_with(&end))
        };
        let required: Vec<&String> = all.iter().filter(|key| is_missing(key)).collect();
        let mut needs = Map::new();
        for key in &all {
            let said = said(&format!("{}{key} = \"a\"", self.header()));
            let other = |other: &&String| {
                let end = format!(" {key} needs {other}");
                said.iter().any(|(said, _)| said.ends_with(&end))
            };
            if let Some(other) = all.iter().find(other) {
                needs.insert(key.clone(), json!([other]));
            }
        }
        let mut schema =
            json!({ "type": "object", "additionalProperties": false, "properties": properties });
        if !required.is_empty() && !self.path.is_empty() {
            schema["required"] = json!(required);
        }
        if !needs.is_empty() {
            schema["dependencies"] = needs.into();
        }
        schema
    }

    fn schema_of(&self, key: &str, notes: &Notes) -> Value {
        let types = TYPES.map(|(name, kind, value)| {
            let said = self.said_of(key, value);
            let is_refused = said.iter().any(|said| {
                said.ends_with(&format!(", not {name}"))
                    || said.contains("must be a list") && kind != "array"
            });
            (!is_refused).then_some((kind, said))
        });
        let mut kinds: Vec<Value> = Vec::new();
        for (kind, said) in types.into_iter().flatten() {
            kinds.push(match kind {
                "string" => self.of_text(key, &said),
                "number" => self.of_number(key),
                "array" => self.of_list(key, notes),
                "object" => match self.of_table(key, notes) {
                    Some(table) => table,
                    None => continue,
                },
                _ => json!({ "type": kind }),
            });
        }
        let mut schema = match kinds.len() {
            1 => kinds.remove(0),
            _ => json!({ "anyOf": kinds }),
        };
        if let Some(note) = notes.of(&self.path, key) {
            schema["description"] = note.into();
        }
        // without any key, the defaults take effect
        let empty = "[devo]\n[tap]\n[pod]\n";
        let (config, _) = look(empty, Path::new("/"), OffsetDateTime::now_utc());
        let name = self.inside(key, false).path;
        let mut all = config.record.keys();
        let default = all
            .find(|one| one.is(&name))
            .and_then(|one| one.value.clone());
        // that of a name to verify is the host of the address
        let default = default.filter(|_| key != "server_name");
        if let Some(default) = default.and_then(|text| serde_json::from_str::<Value>(&text).ok()) {
            schema["default"] = default;
        }
        schema
    }

    /// What a text must be, as far as is told of a wrong one.
    fn of_text(&self, key: &str, said: &[String]) -> Value {
        let said = said.concat();
        if said.contains("must be a duration such as") {
            return json!({ "type": "string", "minLength": 2, "pattern": DURATION });
        }
        match said.split_once("must be \"") {
            Some(_) => json!({ "enum": quoted(&said) }),
            None if self.said_of(key, "\"\"").is_empty() => json!({ "type": "string" }),
            None => json!({ "type": "string", "minLength": 1 }),
        }
    }

    fn of_number(&self, key: &str) -> Value {
        let said = self.said_of(key, "-9000000000000000000").concat();
        let words = |after: &str| said.split_once(after).map(|(_, words)| words.to_owned());
        let number = |text: &str| text.trim().parse::<i64>().unwrap();
        if let Some(all) = words("must be one of ") {
            let all: Vec<i64> = all.split(", ").map(number).collect();
            return json!({ "enum": all });
        }
        match words("must be from ") {
            Some(span) => {
                let (from, to) = span.split_once(" to ").unwrap();
                json!({ "type": "integer", "minimum": number(from), "maximum": number(to) })
            }
            None => json!({ "type": "number" }),
        }
    }

    fn of_list(&self, key: &str, notes: &Notes) -> Value {
        let table = self.inside(key, true);
        if !table.keys().is_empty() {
            return json!({ "type": "array", "items": table.schema(notes) });
        }
        let said = self.said_of(key, "1").concat();
        let known = self.said_of(key, "[\"zz zz\"]").concat();
        let words = said
            .split_once("such as [")
            .and_then(|(_, rest)| rest.split_once(']'));
        match words {
            Some((words, _)) if known.contains("does not know") => {
                json!({ "type": "array", "uniqueItems": true, "items": { "enum": quoted(words) } })
            }
            _ => json!({ "type": "array", "items": { "type": "string" } }),
        }
    }

    /// Nothing if the key takes a value and no table.
    fn of_table(&self, key: &str, notes: &Notes) -> Option<Value> {
        let table = self.inside(key, false);
        if !table.keys().is_empty() {
            let mut schema = table.schema(notes);
            let said = said(&table.header());
            if said
                .iter()
                .any(|(said, _)| said.contains(" must have exactly one of "))
            {
                schema["minProperties"] = 1.into();
                schema["maxProperties"] = 1.into();
            }
            return Some(schema);
        }
        let any = format!("{}zzzzzzzzzz = \"zz zz\"", table.header());
        let is_open = !said(&any).iter().any(|(said, _)| said.contains(key));
        is_open.then(|| json!({ "type": "object", "additionalProperties": { "type": "string" } }))
    }
}

/// What stands between quotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('"').skip(1).step_by(2).collect()
}

/// The comments of the examples, by table and key.
struct Notes(BTreeMap<(String, String), String>);

impl Notes {
    fn of_the_examples() -> Notes {
        let mut notes = BTreeMap::new();
        for example in ["tap", "pod", "isolation"] {
            let text = std::fs::read_to_string(format!("examples/{example}.toml")).unwrap();
            let (mut table, mut note) = (String::new(), String::new());
            for line in text.lines() {
                let bare = line.strip_prefix('#').unwrap_or(line);
                if let Some(words) = line.strip_prefix("# ") {
                    note = format!("{note} {words}").trim().to_owned();
                } else if let Some(header) = bare.strip_prefix('[') {
                    table = header
                        .trim_start_matches('[')
                        .trim_end_matches(']')
                        .to_owned();
                    let (outer, key) = table.rsplit_once('.').unwrap_or(("", &table));
                    let place = (outer.to_owned(), key.to_owned());
                    notes.entry(place).or_insert(std::mem::take(&mut note));
                } else if let Some((key, _)) = bare.split_once(" = ") {
                    let place = match key.rsplit_once('.') {
                        Some((inner, key)) => (inner.to_owned(), key.to_owned()),
                        None => (table.clone(), key.to_owned()),
                    };
                    notes.entry(place).or_insert(std::mem::take(&mut note));
                } else {
                    note.clear();
                }
            }
        }
        notes.retain(|_, note| !note.is_empty());
        Notes(notes)
    }

    /// That of the key itself, of the same key of another service of the API, or of the same rule anywhere.
    fn of(&self, table: &str, key: &str) -> Option<&str> {
        let parts = |table: &str| -> Vec<String> { table.split('.').map(str::to_owned).collect() };
        let ours = parts(table);
        let api = |parts: &[String]| {
            parts
                .get(1)
                .and_then(|name| name.split('-').next().map(str::to_owned))
        };
        let is_rule =
            ["obfuscate", "keep", "drop"].contains(&ours.get(2).map_or(key, String::as_str));
        let is_alike = |theirs: &[String]| {
            let are_services = [&ours[0], &theirs[0]]
                .into_iter()
                .all(|first| first == "services");
            are_services && theirs.get(2) == ours.get(2) && (is_rule || api(theirs) == api(&ours))
        };
        let find = |is_there: &dyn Fn(&[String]) -> bool| {
            let mut all = self.0.iter();
            let found =
                all.find(|((in_table, of_key), _)| of_key == key && is_there(&parts(in_table)));
            found.map(|(_, note)| note.as_str())
        };
        let own = find(&|theirs| theirs == ours);
        own.or_else(|| find(&is_alike))
    }
}

/// Puts what several services have alike into definitions.
fn share(schema: &mut Value) {
    let mut counts: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for service in SERVICES {
        for (key, value) in
            schema["properties"]["services"]["properties"][service.name]["properties"]
                .as_object()
                .unwrap()
        {
            counts
                .entry(value.to_string())
                .or_insert((key.clone(), 0))
                .1 += 1;
        }
    }
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut definitions = schema["definitions"].as_object().cloned().unwrap();
    for (text, (key, count)) in counts {
        if count > 1 && text.len() > 80 {
            let same = names
                .values()
                .filter(|name| {
                    name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-') == key
                })
                .count();
            let name = if same == 0 {
                key
            } else {
                format!("{key}-{}", same + 1)
            };
            definitions.insert(name.clone(), serde_json::from_str(&text).unwrap());
            names.insert(text, name);
        }
    }
    for service in SERVICES {
        let table = &mut schema["properties"]["services"]["properties"][service.name]["properties"];
        for value in table.as_object_mut().unwrap().values_mut() {
            if let Some(name) = names.get(&value.to_string()) {
                *value = json!({ "$ref": format!("#/definitions/{name}") });
            }
        }
    }
    schema["definitions"] = definitions.into();
}

fn schema() -> Value {
    let top = Table {
        path: String::new(),
        is_listed: false,
    };
    let mut schema = top.schema(&Notes::of_the_examples());
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "The configuration of proofpull".into();
    schema["definitions"] = json!({});
    share(&mut schema);
    schema
}

#[test]
fn the_schema_is_what_the_reader_takes() {
    derived::assert_written(FILE, &format!("{:#}\n", schema()));
    for example in ["tap", "pod", "isolation"] {
        let text = std::fs::read_to_string(format!("examples/{example}.toml")).unwrap();
        assert!(
            text.starts_with("#:schema ./proofpull.schema.json\n"),
            "{example}"
        );
    }
}

/// The services of the Helm chart have the same keys, and a service without any may be null.
#[test]
fn the_services_of_the_chart_are_those_of_the_schema() {
    let ours = schema();
    let mut chart: Value = serde_json::from_str(&std::fs::read_to_string(CHART).unwrap()).unwrap();
    let mut services = ours["properties"]["services"].clone();
    for service in services["properties"].as_object_mut().unwrap().values_mut() {
        service["type"] = json!(["object", "null"]);
    }
    chart["definitions"]["config"]["properties"]["services"] = services;
    let definitions = chart["definitions"].as_object_mut().unwrap();
    for (name, ours) in ours["definitions"].as_object().unwrap() {
        definitions.insert(name.clone(), ours.clone());
    }
    derived::assert_written(CHART, &format!("{chart:#}\n"));
}

/// What the values of the Helm chart may have that becomes a configuration.
#[test]
fn the_chart_has_the_same_keys() {
    let chart = std::fs::read_to_string(CHART).unwrap();
    let chart: Value = serde_json::from_str(&chart).unwrap();
    let ours = schema();
    let mut ours_at_the_top = ours.clone();
    let top = ours_at_the_top["properties"].as_object_mut().unwrap();
    // the chart has a volume for the one, and no node_exporter beside its pods for the other
    top.remove("state_dir").unwrap();
    top.remove("metrics").unwrap();
    compare(
        "",
        (&ours_at_the_top, &ours),
        (&chart["definitions"]["config"], &chart),
    );
}

/// Follows a reference.
fn resolved<'a>(schema: &'a Value, whole: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(name) => whole.pointer(name.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

fn compare(place: &str, (ours, whole): (&Value, &Value), (theirs, chart): (&Value, &Value)) {
    let [ours, theirs] = [resolved(ours, whole), resolved(theirs, chart)];
    let place = place.trim_start_matches('.');
    let is_secret = ours["anyOf"].is_array() && ours.to_string().contains("\"credential\"");
    if is_secret || place == "http.proxy" {
        // a secret of Kubernetes
        return;
    }
    assert_eq!(ours["enum"], theirs["enum"], "{place}");
    for limit in ["minimum", "maximum"] {
        let is_given = !theirs[limit].is_null();
        assert!(
            !is_given || place.contains("requests") || ours[limit] == theirs[limit],
            "{place}"
        );
    }
    if let (Some(_), Some(_)) = (ours["items"].as_object(), theirs["items"].as_object()) {
        compare(
            &format!("{place}[]"),
            (&ours["items"], whole),
            (&theirs["items"], chart),
        );
    }
    let (Some(our_keys), Some(their_keys)) = (
        ours["properties"].as_object(),
        theirs["properties"].as_object(),
    ) else {
        return;
    };
    let names = |keys: &Map<String, Value>| keys.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(our_keys), names(their_keys), "{place}");
    for (key, ours) in our_keys {
        compare(
            &format!("{place}.{key}"),
            (ours, whole),
            (&their_keys[key], chart),
        );
    }
}
