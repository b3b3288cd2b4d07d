//! `Url` is the checked address of a service or a proxy.

use std::fmt;

use super::values::parse_host_and_port;
use super::{Address, Plain};

/// An `http`, `https`, `ws` or `wss` address with a host and without query or fragment.
///
/// The address of a service has no user part, and needs TLS unless it is loopback. The address of a
/// proxy may be plain and hold a password, so the user part is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    tls: bool,
    web_socket: bool,
    user: Option<(String, Plain)>,
    address: Address,
    path: String,
}

impl Url {
    /// Parses the address of a service, or of a path on it.
    ///
    /// # Errors
    /// What it must be instead, never quoting the text.
    pub(crate) fn parse(text: &str) -> Result<Url, String> {
        let url = Url::of(text)?;
        match (url.web_socket, url.is_as_safe_as_it_must_be()?) {
            (false, true) => Ok(url),
            (false, false) => {
                Err("must begin with https://; plain http:// is for loopback addresses only".into())
            }
            (true, _) => Err("must begin with https://".into()),
        }
    }

    /// Parses the address of a WebSocket service, or of a path on it.
    ///
    /// # Errors
    /// What it must be instead, never quoting the text.
    pub(crate) fn parse_web_socket(text: &str) -> Result<Url, String> {
        let url = Url::of(text)?;
        match (url.web_socket, url.is_as_safe_as_it_must_be()?) {
            (true, true) => Ok(url),
            (true, false) => {
                Err("must begin with wss://; plain ws:// is for loopback addresses only".into())
            }
            (false, _) => Err("must begin with wss://".into()),
        }
    }

    /// Whether it uses TLS or stays on this machine. An address with a user or password is refused.
    fn is_as_safe_as_it_must_be(&self) -> Result<bool, String> {
        match self.user {
            Some(_) => Err("must not hold a user or a password".into()),
            None => Ok(self.tls || self.is_loopback()),
        }
    }

    /// Parses the address of a proxy, `http://[USER[:PASSWORD]@]HOST[:PORT]`, with port 80 by
    /// default. As usual for proxies, the scheme may be missing.
    ///
    /// # Errors
    /// What it must be instead, never quoting the text.
    pub(crate) fn parse_proxy(text: &str) -> Result<Url, String> {
        let url = match text.split_once("://") {
            None => Url::of(&format!("http://{text}"))?,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => Url::of(text)?,
            Some(_) => {
                return Err(
                    "must begin with http://; proxies over TLS or SOCKS are not supported".into(),
                );
            }
        };
        match url.path.as_str() {
            "" => Ok(url),
            _ => Err("must end after the port".into()),
        }
    }

    fn of(text: &str) -> Result<Url, String> {
        if text.contains('#') {
            return Err("must not have a fragment (#)".into());
        }
        let uri: http::Uri = text
            .parse()
            .map_err(|_| "must be an address with a scheme and a host, in ASCII, without spaces")?;
        let scheme = uri.scheme_str().unwrap_or_default().to_ascii_lowercase();
        let (web_socket, tls) = match scheme.as_str() {
            "https" => (false, true),
            "http" => (false, false),
            "wss" => (true, true),
            "ws" => (true, false),
            _ => return Err("must begin with https:// or wss://".into()),
        };
        if uri.query().is_some() {
            return Err("must not have a query (?); proofpull adds its own".into());
        }
        let authority = uri.authority().map_or("", http::uri::Authority::as_str);
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user_and_password(user)?), host),
            None => (None, authority),
        };
        let (host, port) = parse_host_and_port(host)?;
        let port = port.unwrap_or(if tls { 443 } else { 80 });
        let path = if uri.path() == "/" { "" } else { uri.path() };
        Ok(Url {
            tls,
            web_socket,
            user,
            address: Address { host, port },
            path: path.into(),
        })
    }

    /// Whether it uses TLS.
    #[must_use]
    pub(crate) fn scheme_is_tls(&self) -> bool {
        self.tls
    }

    /// Host in lower case, and port; the port of the scheme by default.
    #[must_use]
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The path, at least `/`.
    #[must_use]
    pub(crate) fn path(&self) -> &str {
        if self.path.is_empty() {
            "/"
        } else {
            &self.path
        }
    }

    /// User and password of a proxy, percent-decoded.
    #[must_use]
    pub(crate) fn userinfo(&self) -> Option<(String, Plain)> {
        self.user.clone()
    }

    /// Whether it stays on this machine: 127.0.0.0/8, `::1` or `localhost`.
    #[must_use]
    pub(crate) fn is_loopback(&self) -> bool {
        self.address.is_loopback()
    }

    /// The address of a path below this one. The path begins with a slash.
    #[must_use]
    pub(crate) fn join(&self, path: &str) -> Url {
        Url {
            path: format!("{}{path}", self.path.trim_end_matches('/')),
            ..self.clone()
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { host, port } = &self.address;
        let (scheme, usual) = match (self.web_socket, self.tls) {
            (false, true) => ("https", 443),
            (false, false) => ("http", 80),
            (true, true) => ("wss", 443),
            (true, false) => ("ws", 80),
        };
        match (*port == usual, host.contains(':')) {
            (false, _) => write!(f, "{scheme}://{}{}", self.address, self.path),
            (true, true) => write!(f, "{scheme}://[{host}]{}", self.path),
            (true, false) => write!(f, "{scheme}://{host}{}", self.path),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

/// Parses `USER[:PASSWORD]` of an address.
fn user_and_password(text: &str) -> Result<(String, Plain), String> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let read = |part| decoded(part).filter(|part| !part.contains(char::is_control));
    match (read(user), read(password)) {
        // HTTP Basic ends the user at the first colon
        (Some(user), _) if user.is_empty() || user.contains(':') => {
            Err("must have a user without a colon".into())
        }
        (Some(user), Some(password)) => Ok((user, Plain(password))),
        _ => Err("must have a percent-encoded user and password".into()),
    }
}

/// Percent-decodes a text; `None` if the result is not text.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_knows_its_parts() {
        let url = Url::parse("HTTPS://TAP.example:8443/v2/x").unwrap();
        assert_eq!(
            (
                url.scheme_is_tls(),
                url.address().host.as_str(),
                url.address().port,
                url.path()
            ),
            (true, "tap.example", 8443, "/v2/x")
        );
        assert_eq!(url.to_string(), "https://tap.example:8443/v2/x");
        let url = Url::parse("https://tap.example/").unwrap();
        assert_eq!(
            (url.address().port, url.path(), url.to_string()),
            (443, "/", "https://tap.example".into())
        );
        assert_eq!(url.join("/v2/y").to_string(), "https://tap.example/v2/y");
        assert_eq!(
            Url::parse("https://gw/p/").unwrap().join("/y").path(),
            "/p/y"
        );
        let url = Url::parse("http://[::1]:8080/x").unwrap();
        assert_eq!(
            (
                url.address().host.as_str(),
                url.address().port,
                url.to_string()
            ),
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
            Url::parse_proxy("http://proxy")
                .map(|url| (url.address().port, url.userinfo().is_some())),
            Ok((80, false))
        );
        assert_eq!(
            Url::parse_proxy("me@10.0.0.1:3128").map(|url| url.to_string()),
            Ok("http://10.0.0.1:3128".into())
        );
        for (text, said) in [
            ("https://hunter2@proxy:3128", "not supported"),
            ("socks5://proxy:1080", "not supported"),
            ("http://proxy/hunter2", "end after the port"),
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
