//! Devo's Query API, as devo-sdk's client expects it: tables of events as they were sent, and as much of LINQ
//! as it takes to count them.
//!
//! Sources: devo-sdk 7.0.2 (`devo.api`) for requests, modes and errors; Devo's documents, "Query API requests".

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};

use regex::Regex;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::devo::tag_of;
use super::fake_api::{FakeApi, Refused, Request, Style};
use super::http::{Asked, Content, Fault, Server};
use super::listen::loopback;

/// The token that may ask.
pub const QUERY_TOKEN: &str = "query-token.7f3a9c5e";
const PATH: &str = "/search/query";

/// The Query API on a port of the loopback, until dropped.
pub struct QueryApi {
    fake_api: Arc<FakeApi<Store>>,
    server: Server,
}

/// What was posted.
#[derive(Debug, Clone)]
pub struct Posted {
    /// Names as they came.
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Posted {
    /// The value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The query, in LINQ.
    pub fn query(&self) -> &str {
        self.body["query"].as_str().unwrap_or_default()
    }
}

impl QueryApi {
    pub fn start() -> Self {
        let fake_api = Arc::new(FakeApi::new(Store::default()));
        let answering = Arc::clone(&fake_api);
        let server = Server::start(loopback(false), None, move |asked| answering.answer(asked));
        Self { fake_api, server }
    }

    /// The whole address.
    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.server.address())
    }

    /// Adds a line as the receiver got it; `at` becomes its eventdate.
    pub fn take_in(&self, line: &[u8], at: OffsetDateTime) {
        let text = String::from_utf8_lossy(line).into_owned();
        let tag = tag_of(line);
        let (_, raw) = text.split_once(&format!("{tag}: ")).expect("a tag");
        self.add(&table_of(tag), raw, at);
    }

    /// Adds an event to a table.
    pub fn add(&self, table: &str, raw: &str, at: OffsetDateTime) {
        let mut store = self.store();
        let events = store.tables.entry(table.to_owned()).or_default();
        events.push((at.unix_timestamp(), raw.to_owned()));
    }

    /// What the column with the event as it was sent is called.
    pub fn set_column(&self, column: &str) {
        self.store().column = column.to_owned();
    }

    /// What goes wrong with a request, by its number.
    pub fn script(&self, script: impl FnMut(&Request, usize) -> Option<Fault> + Send + 'static) {
        self.fake_api.set_script(Some(Box::new(script)));
    }

    /// Everything posted since the start, or since it was taken.
    pub fn take_posted(&self) -> Vec<Posted> {
        std::mem::take(&mut self.store().posted)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.fake_api.store()
    }
}

/// A hyphen is not allowed in a table's name: the letter behind it is a capital one instead.
fn table_of(tag: &str) -> String {
    let mut table = String::new();
    let mut is_capital = false;
    for letter in tag.chars() {
        match letter {
            '-' => is_capital = true,
            _ if is_capital => {
                table.extend(letter.to_uppercase());
                is_capital = false;
            }
            _ => table.push(letter),
        }
    }
    table
}

/// By table: the eventdate of each event, in seconds, and what was sent.
struct Store {
    tables: BTreeMap<String, Vec<(i64, String)>>,
    column: String,
    posted: Vec<Posted>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            tables: BTreeMap::new(),
            column: "rawMessage".to_owned(),
            posted: Vec::new(),
        }
    }
}

impl super::fake_api::Store for Store {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn style(&self) -> Style {
        Style::default()
    }

    fn right_answer(&mut self, asked: &Asked, request: &Request) -> Result<Content, Refused> {
        let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
        self.posted.push(Posted {
            headers: asked.headers.clone(),
            body: body.clone(),
        });
        if asked.method != "POST" || request.path != PATH {
            return Err((404, String::new()));
        }
        match asked
            .header("authorization")
            .map(|it| it.strip_prefix("Bearer "))
        {
            Some(Some(QUERY_TOKEN)) => {}
            Some(_) => return refuse(403, &json!({"code": 5, "msg": "Token invalid or expired"})),
            None => return refuse(401, &json!({"code": 3, "msg": "No authorization"})),
        }
        let json = Some("application/json");
        if asked.header("content-type") != json || !body.is_object() {
            return Err((415, String::new()));
        }
        let bad = |said: &str| refuse(400, &json!({"error": "Bad parameters", "object": [said]}));
        let (Some(from), Some(to)) = (body["from"].as_i64(), body["to"].as_i64()) else {
            return bad("406 : Date from not valid format");
        };
        if from > to {
            return bad("408 : Date from after date to");
        }
        let Some(query) = body["query"].as_str() else {
            return bad("404 : query or queryId");
        };
        match self.run(query, from..=to) {
            Ok(rows) => match spell(&rows, body["mode"]["type"].as_str().unwrap_or("json")) {
                // blanks come for as long as there is no result
                Some(text) => Ok(Content::Bytes(format!("    {text}").into())),
                None => bad("407 : Mode type"),
            },
            Err(said) => refuse(
                500,
                &json!({"msg": "Error Launching Query", "status": 500,
                    "object": ["Error Launching Query", said]}),
            ),
        }
    }
}

fn refuse<T>(status: u16, said: &Value) -> Result<T, Refused> {
    Err((status, said.to_string()))
}

/// The names of the columns with their types, and the rows.
struct Rows {
    columns: Vec<(String, &'static str)>,
    rows: Vec<Vec<Value>>,
}

/// An answer in one of the JSON modes.
fn spell(Rows { columns, rows }: &Rows, mode: &str) -> Option<String> {
    let objects = rows.iter().map(|row| {
        let names = columns.iter().map(|(name, _)| name.clone());
        Value::Object(Map::from_iter(names.zip(row.clone())))
    });
    let places = columns
        .iter()
        .enumerate()
        .map(|(index, (name, kind))| (name.clone(), json!({"type": kind, "index": index})));
    let places = Value::Object(places.collect());
    let metadata: Vec<Value> = columns
        .iter()
        .map(|(name, kind)| json!({"name": name, "type": kind}))
        .collect();
    let lines = |first: Option<Value>, rest: Vec<Value>| {
        let all = first.into_iter().chain(rest);
        all.map(|line| format!("{line}\r\n")).collect::<String>()
    };
    Some(match mode {
        "json" => {
            let objects: Vec<Value> = objects.collect();
            json!({"msg": "", "timestamp": 1, "cid": "c", "status": 0, "object": objects})
                .to_string()
        }
        "json/compact" => json!({"msg": "", "timestamp": 1, "cid": "c", "status": 0,
            "object": {"m": places, "metadata": metadata, "d": rows}})
        .to_string(),
        "json/simple" => lines(None, objects.collect()),
        "json/simple/compact" => lines(
            Some(json!({"m": places, "metadata": metadata})),
            rows.iter().map(|row| json!({"d": row})).collect(),
        ),
        _ => return None,
    })
}

/// A piece of LINQ.
#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

const UNREADABLE: &str = "Unable to Start Task: Query parsing error";

fn tokens(query: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = query.chars().peekable();
    while let Some(c) = rest.next() {
        if c.is_ascii_alphanumeric() || c == '_' {
            let mut word = c.to_string();
            while let Some(c) = rest.next_if(|c| c.is_ascii_alphanumeric() || "_.".contains(*c)) {
                word.push(c);
            }
            tokens.push(Token::Word(word));
        } else if c == '"' {
            let mut text = String::new();
            loop {
                match rest.next().ok_or(UNREADABLE)? {
                    '"' => break,
                    // a backslash alone is a lexical error
                    '\\' => match rest.next() {
                        Some(c @ ('"' | '\\')) => text.push(c),
                        _ => return Err(UNREADABLE.to_owned()),
                    },
                    c => text.push(c),
                }
            }
            tokens.push(Token::Text(text));
        } else if !c.is_whitespace() {
            tokens.push(Token::Sign(c));
        }
    }
    Ok(tokens)
}

/// What is left of a query.
struct Reader<'a>(&'a [Token]);

impl Reader<'_> {
    fn next(&mut self) -> Result<Token, String> {
        let (first, rest) = self.0.split_first().ok_or(UNREADABLE)?;
        self.0 = rest;
        Ok(first.clone())
    }

    fn word(&mut self) -> Result<String, String> {
        match self.next()? {
            Token::Word(word) => Ok(word),
            _ => Err(UNREADABLE.to_owned()),
        }
    }

    fn text(&mut self) -> Result<String, String> {
        match self.next()? {
            Token::Text(text) => Ok(text),
            _ => Err(UNREADABLE.to_owned()),
        }
    }

    /// Reads these words and signs, and nothing else.
    fn expect(&mut self, wanted: &str) -> Result<(), String> {
        for wanted in tokens(wanted)? {
            if self.next()? != wanted {
                return Err(UNREADABLE.to_owned());
            }
        }
        Ok(())
    }

    fn begins(&self, word: &str) -> bool {
        self.0.first() == Some(&Token::Word(word.to_owned()))
    }
}

impl Store {
    /// Runs a query of this form, each of whose clauses may be missing but the first and the last:
    /// `from T where has(C, S) select peek(C, re(R), 1) as A where isnotnull(A) group by A select count() as B`,
    /// then pragmas. Without `by`, there is one group.
    fn run(&self, query: &str, range: std::ops::RangeInclusive<i64>) -> Result<Rows, String> {
        let tokens = tokens(query)?;
        let mut reader = Reader(&tokens);
        reader.expect("from")?;
        let table = reader.word()?;
        let events = self.tables.get(&table);
        let events = events.ok_or(format!("Unknown table `{table}`"))?;
        let in_range = events.iter().filter(|(at, _)| range.contains(at));
        // each event with the column that was made of it
        let mut rows: Vec<(&str, Option<String>)> =
            in_range.map(|(_, raw)| (raw.as_str(), None)).collect();
        let mut made = None;
        let known = |name: String, made: &Option<String>| {
            let is_known = name == self.column || Some(&name) == made.as_ref();
            is_known
                .then_some(())
                .ok_or(format!("Unknown identifier `{name}`"))
        };
        loop {
            if reader.begins("where") {
                reader.next()?;
                let function = reader.word()?;
                reader.expect("(")?;
                known(reader.word()?, &made)?;
                match function.as_str() {
                    "has" => {
                        reader.expect(",")?;
                        let part = reader.text()?;
                        rows.retain(|(raw, _)| raw.contains(&part));
                    }
                    "isnotnull" => rows.retain(|(_, made)| made.is_some()),
                    _ => return Err(format!("No function named `{function}`")),
                }
                reader.expect(")")?;
            } else if reader.begins("select") && made.is_none() {
                reader.expect("select peek(")?;
                known(reader.word()?, &made)?;
                reader.expect(", re(")?;
                let pattern = Regex::new(&reader.text()?).map_err(|error| error.to_string())?;
                reader.expect("), 1) as")?;
                made = Some(reader.word()?);
                for (raw, made) in &mut rows {
                    *made = pattern.captures(raw).map(|found| found[1].to_owned());
                }
            } else {
                break;
            }
        }
        reader.expect("group")?;
        let mut columns = Vec::new();
        let mut groups: BTreeMap<Option<String>, u64> = BTreeMap::new();
        if reader.begins("by") {
            reader.next()?;
            let name = reader.word()?;
            known(name.clone(), &made)?;
            columns.push((name, "str"));
            for (_, made) in rows {
                *groups.entry(made).or_default() += 1;
            }
        } else {
            groups.insert(None, rows.len() as u64);
        }
        reader.expect("select count() as")?;
        columns.push((reader.word()?, "int8"));
        while !reader.0.is_empty() {
            reader.expect("pragma")?;
            reader.word()?;
            reader.expect(":")?;
            reader.text()?;
        }
        let is_grouped = columns.len() == 2;
        let rows = groups.into_iter().map(|(key, count)| match is_grouped {
            true => vec![json!(key), json!(count)],
            false => vec![json!(count)],
        });
        let rows = rows.collect();
        Ok(Rows { columns, rows })
    }
}
