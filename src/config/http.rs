//! `HttpConfig` is the table `[http]`: how connections are made.

use std::path::PathBuf;
use std::time::Duration;

use super::Url;
use super::service_keys::{HOUR, MINUTE, duration};
use super::table_reader::TableReader;
use super::value_error::ValueError;

/// `[http]`: how connections are made, the one to the receiver included.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// The proxy; absent: the usual environment variables.
    pub proxy: Option<Url>,
    /// CA file, in addition to the system's roots.
    pub ca: Option<PathBuf>,
    /// The longest silence of a peer.
    pub timeout: Duration,
}

pub(super) fn http(mut table: TableReader) -> HttpConfig {
    let http = HttpConfig {
        proxy: table.text("proxy", "http://proxy.example:3128", proxy),
        ca: table.path("ca", "corporate-ca.pem"),
        timeout: table.text_or("timeout", Duration::from_secs(MINUTE), duration(1..=HOUR)),
    };
    let password = http.proxy.as_ref().and_then(Url::userinfo);
    table.context.secret_inside |=
        password.is_some_and(|(_, password)| !password.reveal().is_empty());
    table.close();
    http
}

fn proxy(text: &str) -> Result<Url, ValueError> {
    let hint = "write proxy = \"http://[USER:PASSWORD@]HOST:PORT\", with : / @ # % in the password as %3A %2F %40 %23 %25";
    Url::parse_proxy(text).map_err(|said| ValueError::but(said, hint))
}
