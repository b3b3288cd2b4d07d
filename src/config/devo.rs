//! `DevoConfig` is the table `[devo]`: the receiver, and what is written to it.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::effective::{ToToml, inline_table, quoted};
use super::http::{TlsLibrary, tls_library};
use super::secret_ref::secret;
use super::table_reader::TableReader;
use super::toml::{TableEntry, Value};
use super::value_error::{ValueError, boolean};
use super::values::{is_host, parse_host_and_port, tag};
use super::{Address, SecretRef, Url};

/// The longest host name.
const MAX_HOSTNAME: usize = 255;

/// The tag of reports: Devo parses none of their kind, and `my.app` is for what it does not parse.
const REPORT: &str = "my.app.proofpull.run";

const PULLING_ID: &str = "@devo_pulling_id";

/// Devo's address for its region USA.
const QUERY_URL: &str = "https://apiv2-us.devo.com/search/query";

/// `[devo]`: the receiver and what is written to it.
#[derive(Debug, Clone)]
pub(crate) struct DevoConfig {
    /// Host and port.
    pub(crate) address: Address,
    /// CA file of the server; absent: the system's roots.
    pub(crate) chain: Option<PathBuf>,
    /// Client certificate and its key.
    pub(crate) identity: Option<ClientIdentity>,
    /// The name to verify.
    pub(crate) server_name: String,
    /// What speaks TLS with it.
    pub(crate) tls: TlsLibrary,
    /// The host in each record; absent: this machine's name.
    pub(crate) hostname: Option<String>,
    /// How records are compressed.
    pub(crate) compression: Compression,
    /// The least that confirms a delivery.
    pub(crate) confirm: Confirmation,
    /// Whether `@devo_pulling_id` is appended to each event.
    pub(crate) pulling_id: bool,
    /// The tag under which each run reports on itself; absent: it does not.
    pub(crate) report: Option<String>,
    /// Constant strings appended to each event, in the order of the file.
    pub(crate) fields: Vec<(String, String)>,
    /// The Query API, for `verify`.
    pub(crate) query: Option<QueryConfig>,
}

/// `[devo] query`: how to ask Devo what it has.
#[derive(Debug, Clone)]
pub(crate) struct QueryConfig {
    /// The whole address of the Query API.
    pub(crate) url: Url,
    /// A token that may query.
    pub(crate) token: SecretRef,
    /// The column with an event as it was sent; absent: the usual ones are tried.
    pub(crate) column: Option<String>,
}

/// What shows that the receiver has the events of a transaction, the weaker one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Confirmation {
    /// Its kernel acknowledged every byte. Its program may not have read them.
    #[serde(rename = "acknowledged")]
    Acknowledged,
    /// Its program read every byte and closed the connection.
    #[serde(rename = "close")]
    Close,
}

impl fmt::Display for Confirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Confirmation::Acknowledged => "acknowledged",
            Confirmation::Close => "close",
        })
    }
}

impl ToToml for Confirmation {
    fn to_toml(&self) -> String {
        quoted(self)
    }
}

fn confirmation(text: &str) -> Result<Confirmation, &'static str> {
    let known = [Confirmation::Close, Confirmation::Acknowledged];
    let found = known.into_iter().find(|one| one.to_string() == text);
    found.ok_or("must be \"close\" or \"acknowledged\"")
}

/// How records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// As gzip members, each of whole lines.
    Gzip,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
        })
    }
}

impl ToToml for Compression {
    fn to_toml(&self) -> String {
        quoted(self)
    }
}

fn compression(text: &str) -> Result<Compression, &'static str> {
    match text {
        "none" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        _ => Err("must be \"none\" or \"gzip\""),
    }
}

/// A client certificate (PEM, leaf first) and its key (PEM: PKCS#8, PKCS#1 or SEC1).
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// Certificate file.
    pub cert: PathBuf,
    /// Key file.
    pub key: PathBuf,
}

pub(super) fn devo(mut table: TableReader) -> Option<DevoConfig> {
    table.need("address", "\"collector-us.devo.io:443\"");
    let address = table.text("address", "collector-us.devo.io:443", address);
    let chain = table.path("chain", "certs/chain.crt");
    table.together("cert", "key");
    let cert = table.path("cert", "certs/domain.crt");
    let key = table.path("key", "certs/domain.key");
    let own_name = address.as_ref().map(|address| address.host.clone());
    let own_name = own_name.unwrap_or_else(|| "collector-us.devo.io".to_owned());
    let server_name = table.text_or("server_name", own_name, server_name);
    let tls = table.text_or("tls", TlsLibrary::Rustls, tls_library);
    let hostname = table.text("hostname", "mail-collector-1", hostname);
    let confirm = table.text_or("confirm", Confirmation::Close, confirmation);
    let compression = table.text_or("compression", Compression::None, compression);
    let pulling_id = table.value_or("pulling_id", true, |value| boolean("pulling_id", value));
    let read =
        |table: &mut TableReader| table.table("fields").map(|table| fields(table, pulling_id));
    let fields = table.recorded("fields", read, |read| inline_table(read.as_deref()?));
    let report = table.table("report").map(|mut table| {
        let tag = table.text_or("tag", REPORT.to_owned(), tag);
        table.close();
        tag
    });
    // these are last, since they are shown as tables of their own
    let query = table.table("query").and_then(query);
    table.close();
    let identity = cert
        .zip(key)
        .map(|(cert, key)| ClientIdentity { cert, key });
    Some(DevoConfig {
        address: address?,
        chain,
        identity,
        server_name,
        tls,
        hostname,
        compression,
        confirm,
        pulling_id,
        report,
        fields: fields.unwrap_or_default(),
        query,
    })
}

fn query(mut table: TableReader) -> Option<QueryConfig> {
    table.need("url", &quoted(QUERY_URL));
    let url = table.text("url", QUERY_URL, query_url);
    let token = secret(&mut table, "token", "devo-query.token");
    let column = table.text("column", "rawMessage", column);
    table.close();
    Some(QueryConfig {
        url: url?,
        token: token?,
        column,
    })
}

fn query_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim_end_matches('/'))?;
    match url.path() {
        "/" => Err("must have the path of the Query API, /search/query".into()),
        _ => Ok(url),
    }
}

fn column(text: &str) -> Result<String, ValueError> {
    let fits = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match fits && !text.starts_with(|c: char| c.is_ascii_digit()) {
        true => Ok(text.into()),
        false => Err("must be the name of a column, of letters, digits and _".into()),
    }
}

fn address(text: &str) -> Result<Address, String> {
    let (host, port) = parse_host_and_port(text)?;
    Ok(Address {
        host,
        port: port.ok_or("must end with a colon and a port")?,
    })
}

fn server_name(text: &str) -> Result<String, &'static str> {
    match is_host(text) {
        true => Ok(text.into()),
        false => Err("must be a DNS name or an IP address, without a port"),
    }
}

/// The receiver takes the word before the tag as the host, unless it has a colon
/// (as Scoja's parser does, the open relative of Devo's receiver).
fn hostname(text: &str) -> Result<String, &'static str> {
    match text.len() <= MAX_HOSTNAME
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b':')
    {
        true => Ok(text.into()),
        false => Err("must be at most 255 ASCII characters without spaces and colons"),
    }
}

/// Constant strings for each event, under any name but the one that the program writes itself.
fn fields(mut table: TableReader, pulling_id: bool) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    for TableEntry { name, place, item } in table.rest() {
        let at = item.place;
        let said = match item.value {
            Value::Unreadable => continue,
            _ if name.is_empty() => "must not have an empty name".into(),
            _ if name == PULLING_ID && pulling_id => {
                let hint = "remove it from fields, or set [devo] pulling_id = false".to_owned();
                table.fault(place, format!("{PULLING_ID} is appended already"), hint);
                continue;
            }
            Value::Text(text) => {
                fields.push((name, text));
                continue;
            }
            other => format!("must hold strings, not {}", other.kind()),
        };
        table.fault(
            at,
            said,
            "write fields = { \"@devo_environment\" = \"prod\" }".into(),
        );
    }
    fields
}
