//! `HttpConfig` is the table `[http]`: how connections are made.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::Url;
use super::effective::{ToToml, quoted};
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
    /// What speaks TLS with the services.
    pub tls: TlsLibrary,
    /// The longest silence of a peer.
    pub timeout: Duration,
}

pub(super) fn http(mut table: TableReader) -> HttpConfig {
    let http = HttpConfig {
        proxy: table.text("proxy", "http://proxy.example:3128", proxy),
        ca: table.path("ca", "corporate-ca.pem"),
        tls: table.text_or("tls", TlsLibrary::Rustls, tls_library),
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

/// What speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsLibrary {
    /// rustls, which is in the program.
    Rustls,
    /// The system's OpenSSL, through the crate `native-tls`.
    #[cfg(feature = "native-tls")]
    NativeTls,
}

impl fmt::Display for TlsLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsLibrary::Rustls => "rustls",
            #[cfg(feature = "native-tls")]
            TlsLibrary::NativeTls => "native-tls",
        })
    }
}

impl ToToml for TlsLibrary {
    fn to_toml(&self) -> String {
        quoted(self)
    }
}

pub(super) fn tls_library(text: &str) -> Result<TlsLibrary, ValueError> {
    match text {
        "rustls" => Ok(TlsLibrary::Rustls),
        #[cfg(feature = "native-tls")]
        "native-tls" => Ok(TlsLibrary::NativeTls),
        #[cfg(not(feature = "native-tls"))]
        "native-tls" => Err(ValueError::but(
            "must be \"rustls\": this program was built without native-tls",
            "install a program that was built with cargo build --release --features native-tls; or remove tls",
        )),
        _ => Err("must be \"rustls\" or \"native-tls\"".into()),
    }
}
