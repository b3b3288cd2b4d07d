//! What a configuration says, as checked values: past this module there is no wrong one.
//!
//! Pure: text in, values or faults out. Secrets are held as references that only `secret` reads.
//! [`values`] reads the small things, as the command line does; [`read`] turns the text into keys
//! that know their place; [`check`] turns those into values and collects everything that is wrong.

pub mod check;
pub mod read;
pub mod values;
mod walk;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use time::OffsetDateTime;

use crate::exit::Exit;

/// One thing that is wrong: where it stands, what it is, what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The status of a program that ends because of it.
    pub exit: Exit,
    /// Table, key and what is wrong, in one line; never with a value.
    pub message: String,
    /// The remedy, in one line.
    pub hint: String,
}

impl fmt::Display for Fault {
    /// `LINE:COLUMN: MESSAGE`, to stand behind the name of the file and a colon.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// A whole configuration.
#[derive(Debug)]
pub struct Config {
    /// Collector or tenant, for reports; the host's name when absent.
    pub name: Option<String>,
    /// Where state is kept; absent: `$STATE_DIRECTORY`, else `/var/lib/proofpull`.
    pub state_dir: Option<PathBuf>,
    /// The receiver.
    pub devo: Option<Devo>,
    /// Sign-in for TAP.
    pub tap: Option<Tap>,
    /// How connections are made.
    pub http: Http,
    /// The tables `[services.NAME]`, by name; a service without one has the defaults.
    services: BTreeMap<&'static str, Settings>,
    /// Set where a secret is taken from the text, so that no later kind of secret is forgotten.
    secret_inside: bool,
}

impl Config {
    /// The settings of a service: its table's, or the defaults.
    #[must_use]
    pub fn settings(&self, service: &str) -> Settings {
        self.services.get(service).cloned().unwrap_or_default()
    }

    /// Whether a secret stands in the text itself, the proxy's password included, so that nobody
    /// else may read the file.
    #[must_use]
    pub fn holds_a_secret(&self) -> bool {
        self.secret_inside
    }
}

/// `[devo]`: the receiver and what is written to it.
#[derive(Debug, Clone)]
pub struct Devo {
    /// Host and port.
    pub address: Address,
    /// CA file of the server; absent: the system's roots.
    pub chain: Option<PathBuf>,
    /// Client certificate and its key.
    pub identity: Option<ClientIdentity>,
    /// The name to verify, where it is not the address's.
    pub server_name: Option<String>,
    /// The host in each record; absent: this machine's name.
    pub hostname: Option<String>,
    /// Whether `@devo_pulling_id` is appended to each event.
    pub pulling_id: bool,
    /// Constant strings appended to each event, in the order of the file.
    pub fields: Vec<(String, String)>,
}

/// A client certificate (PEM, leaf first) and its key (PEM: PKCS#8, PKCS#1 or SEC1).
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// Certificate file.
    pub cert: PathBuf,
    /// Key file.
    pub key: PathBuf,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Address {
    /// Whether it never leaves this machine: 127.0.0.0/8, `::1` or `localhost`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

fn is_loopback(host: &str) -> bool {
    host.parse::<IpAddr>()
        .map_or(host == "localhost", |address| {
            address.to_canonical().is_loopback()
        })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// `[tap]`: sign-in for TAP.
#[derive(Debug, Clone)]
pub struct Tap {
    /// Scheme, host and port, without a slash at the end.
    pub base_url: Url,
    /// The service principal.
    pub principal: String,
    /// Its secret.
    pub secret: SecretRef,
}

/// `[http]`: how connections are made, the one to the receiver included.
#[derive(Debug, Clone)]
pub struct Http {
    /// The proxy; absent: the usual environment variables.
    pub proxy: Option<Url>,
    /// CA file, in addition to the system's roots.
    pub ca: Option<PathBuf>,
    /// The longest silence of a peer.
    pub timeout: Duration,
}

impl Default for Http {
    fn default() -> Self {
        Http {
            proxy: None,
            ca: None,
            timeout: Duration::from_secs(60),
        }
    }
}

/// `[services.NAME]`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the first run starts.
    pub start_time: Option<OffsetDateTime>,
    /// The Devo tag; absent: the service's own.
    pub tag: Option<String>,
    /// Asked instead of the built-in address.
    pub url: Option<Url>,
    /// How much each run reads again for events that became visible late.
    pub look_back: Duration,
    /// The run's time.
    pub max_duration: Duration,
    /// TAP: `threatType` values, as the API takes them.
    pub threat_type: Vec<String>,
    /// TAP: `threatStatus` values, as the API takes them.
    pub threat_status: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            start_time: None,
            tag: None,
            url: None,
            look_back: Duration::from_secs(45 * 60),
            max_duration: Duration::from_secs(10 * 60),
            threat_type: Vec::new(),
            threat_status: Vec::new(),
        }
    }
}

/// An `http` or `https` address that was checked: a host, no user part, no query, no fragment, and
/// plain `http` for loopback alone (a proxy may be plain anywhere). A proxy's may hold a password,
/// so none is ever printed with its user part.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    tls: bool,
    user: Option<(String, Plain)>,
    host: String,
    port: u16,
    path: String,
}

impl Url {
    /// Reads the address of a service or of a path on it.
    ///
    /// # Errors
    /// What it must be instead, without a word of the text.
    pub fn parse(text: &str) -> Result<Url, String> {
        let url = Url::of(text)?;
        if url.user.is_some() {
            return Err("must not hold a user or a password".into());
        }
        if !url.tls && !url.is_loopback() {
            return Err(
                "must begin with https://, plain http:// is for loopback addresses alone".into(),
            );
        }
        Ok(url)
    }

    /// Reads the address of a proxy, `http://[USER[:PASSWORD]@]HOST[:PORT]`, port 80 if none is
    /// given. As everywhere with proxies the scheme may be missing.
    ///
    /// # Errors
    /// What it must be instead, without a word of the text.
    pub fn parse_proxy(text: &str) -> Result<Url, String> {
        let url = match text.split_once("://") {
            None => Url::of(&format!("http://{text}"))?,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => Url::of(text)?,
            Some(_) => {
                return Err(
                    "must begin with http://, proxies over TLS or SOCKS are not supported".into(),
                );
            }
        };
        match url.path.as_str() {
            "" => Ok(url),
            _ => Err("must have nothing behind its port".into()),
        }
    }

    fn of(text: &str) -> Result<Url, String> {
        if text.contains('#') {
            return Err("must not have a fragment (#)".into());
        }
        let uri: http::Uri = text
            .parse()
            .map_err(|_| "must be an address with a scheme and a host, in ASCII, without blanks")?;
        let tls = match uri.scheme_str() {
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => true,
            Some(scheme) if scheme.eq_ignore_ascii_case("http") => false,
            _ => return Err("must begin with https://".into()),
        };
        if uri.query().is_some() {
            return Err("must not have a query (?), the program adds its own".into());
        }
        let authority = uri.authority().map_or("", http::uri::Authority::as_str);
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user_and_password(user)?), host),
            None => (None, authority),
        };
        let (host, port) = values::parse_host_and_port(host)?;
        let port = port.unwrap_or(if tls { 443 } else { 80 });
        let path = if uri.path() == "/" { "" } else { uri.path() };
        Ok(Url {
            tls,
            user,
            host,
            port,
            path: path.into(),
        })
    }

    /// Whether it is spoken to over TLS.
    #[must_use]
    pub fn scheme_is_tls(&self) -> bool {
        self.tls
    }

    /// Name or IP address, in small letters, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, that of the scheme if none was given.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path, at least `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        if self.path.is_empty() {
            "/"
        } else {
            &self.path
        }
    }

    /// User and password of a proxy, with their percent signs resolved.
    #[must_use]
    pub fn userinfo(&self) -> Option<(String, Plain)> {
        self.user.clone()
    }

    /// Whether it never leaves this machine: 127.0.0.0/8, `::1` or `localhost`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// The address of a path below this one; the path begins with a slash.
    #[must_use]
    pub fn join(&self, path: &str) -> Url {
        Url {
            path: format!("{}{path}", self.path.trim_end_matches('/')),
            ..self.clone()
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.tls {
            ("https", 443)
        } else {
            ("http", 80)
        };
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match self.port == usual {
            true => write!(f, "{scheme}://{host}{}", self.path),
            false => write!(f, "{scheme}://{host}:{}{}", self.port, self.path),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

/// `USER[:PASSWORD]` as it stands in an address.
fn user_and_password(text: &str) -> Result<(String, Plain), String> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let read = |part| decoded(part).filter(|part| !part.contains(char::is_control));
    match (read(user), read(password)) {
        // HTTP Basic ends the user at the first colon
        (Some(user), _) if user.is_empty() || user.contains(':') => {
            Err("must have a user without a colon".into())
        }
        (Some(user), Some(password)) => Ok((user, Plain(password))),
        _ => Err("must have a user and a password of text, percent-encoded".into()),
    }
}

/// Percent signs resolved, if that gives text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let code = rest
            .get(at + 1..at + 3)
            .filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        rest = &rest[at + 3..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

/// Where a secret is to be had.
#[derive(Debug, Clone)]
pub enum SecretRef {
    /// In a file.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
    /// In a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// In the configuration itself.
    Plain(Plain),
}

/// A secret that stands in the configuration; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Plain(String);

impl Plain {
    /// The secret itself, for `secret` and for signing in to a proxy.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plain(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_knows_its_parts() {
        let url = Url::parse("HTTPS://TAP.example:8443/v2/x").unwrap();
        assert_eq!(
            (url.scheme_is_tls(), url.host(), url.port(), url.path()),
            (true, "tap.example", 8443, "/v2/x")
        );
        assert_eq!(url.to_string(), "https://tap.example:8443/v2/x");
        let url = Url::parse("https://tap.example/").unwrap();
        assert_eq!(
            (url.port(), url.path(), url.to_string()),
            (443, "/", "https://tap.example".into())
        );
        assert_eq!(url.join("/v2/y").to_string(), "https://tap.example/v2/y");
        assert_eq!(
            Url::parse("https://gw/p/").unwrap().join("/y").path(),
            "/p/y"
        );
        let url = Url::parse("http://[::1]:8080/x").unwrap();
        assert_eq!(
            (url.host(), url.port(), url.to_string()),
            ("::1", 8080, "http://[::1]:8080/x".into())
        );
    }

    #[test]
    fn an_address_is_over_tls_or_local_and_holds_nothing_but_host_and_path() {
        for text in [
            "http://127.8.9.1:1/",
            "http://localhost/x",
            "http://[::1]",
            "http://[::ffff:127.0.0.1]",
            "https://h",
        ] {
            assert!(Url::parse(text).is_ok(), "{text}");
        }
        for (text, said) in [
            ("http://tap.example", "must begin with https://"),
            ("http://localhost.example", "must begin with https://"),
            ("http://128.0.0.1", "must begin with https://"),
            ("ftp://h", "must begin with https://"),
            ("tap.example", "must begin with https://"),
            ("/v2", "must begin with https://"),
            ("", "a scheme and a host"),
            ("https://", "a scheme and a host"),
            ("https://h/a b", "a scheme and a host"),
            ("https://bücher.example", "a scheme and a host"),
            ("https://u:hunter2@h/", "user or a password"),
            ("https://h/?a=b", "query"),
            ("https://h/#a", "fragment"),
            ("https://h:99999/", "port"),
            ("https://h:/", "port"),
            ("https://-h/", "host name"),
            ("https://[::g]/", "IPv6"),
            ("https://[fe80::1%25eth0]/", "IPv6"),
        ] {
            let error = Url::parse(text).unwrap_err();
            assert!(
                error.contains(said) && !error.contains("hunter2"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn a_proxy_may_be_plain_and_hide_a_password() {
        let proxy =
            Url::parse_proxy("http://me%40here:hunter%322%3a%2f@proxy.example:3128/").unwrap();
        let (user, password) = proxy.userinfo().unwrap();
        assert_eq!(
            (user.as_str(), password.reveal()),
            ("me@here", "hunter22:/")
        );
        assert_eq!(
            format!("{proxy} {proxy:?}"),
            "http://proxy.example:3128 Url(http://proxy.example:3128)"
        );
        assert_eq!(
            Url::parse_proxy("http://proxy").map(|url| (url.port(), url.userinfo().is_some())),
            Ok((80, false))
        );
        assert_eq!(
            Url::parse_proxy("me@10.0.0.1:3128").map(|url| url.to_string()),
            Ok("http://10.0.0.1:3128".into())
        );
        for (text, said) in [
            ("https://hunter2@proxy:3128", "not supported"),
            ("socks5://proxy:1080", "not supported"),
            ("http://proxy/hunter2", "nothing behind its port"),
            ("http://me:hunter2#@proxy", "fragment"),
            ("http://me:hunter2/@proxy", "port"),
            ("http://me:hunter2%@proxy", "percent-encoded"),
            ("http://me:hunter2%ff@proxy", "percent-encoded"),
            ("http://me:hunter2%0a@proxy", "percent-encoded"),
            ("http://me%3a:hunter2@proxy", "without a colon"),
            ("http://@proxy", "without a colon"),
            ("http://me:hunter2@", "a scheme and a host"),
            ("", "a scheme and a host"),
        ] {
            let error = Url::parse_proxy(text).unwrap_err();
            assert!(
                error.contains(said) && !error.contains("hunter2"),
                "{text}: {error}"
            );
        }
    }
}
