//! `proxy` chooses the proxy of a connection and opens a tunnel through it (CONNECT, RFC 9110
//! 9.3.6).
//!
//! It reads the same variables as curl: `https_proxy`, `http_proxy` (in lower case only, since a
//! CGI script gets the other from its client), `all_proxy`, `no_proxy`.

use std::io::Read;
use std::net::IpAddr;

use super::{NetError, Tcp, is_wait};
use crate::config::{Address, Url};
use crate::error::{Because, Exit, Failure, Result};
use crate::secret::Secret;

/// The proxies of a run.
#[derive(Debug)]
pub(crate) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    none_for: Vec<Exception>,
}

/// One proxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Its address.
    pub(crate) address: Address,
    /// The value of `Proxy-Authorization`.
    authorization: Option<Secret>,
}

/// Longest answer to CONNECT, in bytes.
const MAX_ANSWER: usize = 16 * 1024;

impl Proxies {
    /// The configured proxy for everything, or else those of the environment.
    ///
    /// # Errors
    /// When a variable is not the address of a proxy.
    pub(crate) fn new(
        configured: Option<&Url>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Proxies> {
        let set = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let first = |names: &[&str]| -> Result<Option<Proxy>> {
            let Some((name, value)) = names.iter().find_map(|name| Some((*name, set(name)?)))
            else {
                return Ok(None);
            };
            let url = Url::parse_proxy(value.trim()).map_err(Failure::new);
            let url = url
                .with_context(|| format!("reading the variable {name}"))
                .exit(Exit::Config);
            Ok(Some(Proxy::from(
                &url.hint("set it to http://HOST:PORT, or unset it")?,
            )))
        };
        let (http, https) = match configured {
            Some(url) => (Some(Proxy::from(url)), Some(Proxy::from(url))),
            None => (
                first(&["http_proxy", "all_proxy", "ALL_PROXY"])?,
                first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?,
            ),
        };
        let exceptions = set("no_proxy")
            .or_else(|| set("NO_PROXY"))
            .unwrap_or_default();
        Ok(Proxies {
            http,
            https,
            none_for: exceptions
                .split([',', ' '])
                .filter_map(Exception::parse)
                .collect(),
        })
    }

    /// The proxy for a connection to `to`.
    #[must_use]
    pub(crate) fn lookup(&self, scheme: &str, to: &Address) -> Option<&Proxy> {
        let proxy = if scheme == "http" {
            &self.http
        } else {
            &self.https
        };
        proxy
            .as_ref()
            .filter(|_| !self.none_for.iter().any(|exception| exception.covers(to)))
    }
}

impl From<&Url> for Proxy {
    fn from(url: &Url) -> Proxy {
        let login = url.userinfo();
        Proxy {
            address: url.address().clone(),
            authorization: login.map(|(user, password)| Secret::from(&password).basic(&user)),
        }
    }
}

impl Proxy {
    /// Opens a tunnel to `to` over a new connection to the proxy.
    ///
    /// # Errors
    /// When the proxy refuses, or answers something else.
    pub(crate) fn open_tunnel(&self, tcp: &mut Tcp, to: &Address) -> Result<(), NetError> {
        let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n");
        if let Some(authorization) = &self.authorization {
            request += &format!("Proxy-Authorization: {}\r\n", authorization.reveal());
        }
        request += "\r\n";
        tcp.write_whole(request.as_bytes())?;
        let answer = read_head(tcp)?;
        let status = answer
            .split_ascii_whitespace()
            .nth(1)
            .filter(|_| answer.starts_with("HTTP/1."));
        match status {
            Some("200") => Ok(()),
            // tinyproxy answers a wrong password with 401
            Some(status @ ("407" | "401")) => {
                let failure = Failure::new(format!(
                    "the proxy requires valid credentials (HTTP {status})"
                ));
                Err(NetError::Lasting(failure.with_exit(Exit::NoPerm).with_hint(
                    "set [http] proxy to http://USER:PASSWORD@HOST:PORT, in a configuration that \
                     others cannot read",
                )))
            }
            Some(status) => Err(refused(
                format!("the proxy refused with HTTP {status}"),
                "check that the proxy allows this host and port",
            )),
            None => Err(refused(
                "the proxy does not speak HTTP".to_owned(),
                "check the address of the proxy",
            )),
        }
    }
}

fn refused(message: String, hint: &str) -> NetError {
    let failure = Failure::new(message).with_exit(Exit::Unavailable);
    NetError::Unreached(failure.with_hint(hint))
}

/// Reads byte by byte, so that it takes nothing after the head.
fn read_head(tcp: &mut Tcp) -> Result<String, NetError> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match tcp.read(&mut byte) {
            Ok(0) => {
                let closed = Failure::new("the proxy closed the connection");
                return Err(NetError::Unreached(closed));
            }
            Ok(_) => head.push(byte[0]),
            Err(error) if is_wait(&error) => {}
            Err(error) => return Err(error.into()),
        }
        if head.len() >= MAX_ANSWER {
            return Err(refused(
                "the answer of the proxy is too long".to_owned(),
                "check the address of the proxy: proxies do not answer like this",
            ));
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// An entry of `no_proxy`.
#[derive(Debug, PartialEq, Eq)]
enum Exception {
    Everything,
    /// A network: its address and prefix length.
    Network(IpAddr, u8),
    /// A domain and its subdomains, perhaps on one port only.
    Domain(String, Option<u16>),
}

impl Exception {
    fn parse(entry: &str) -> Option<Exception> {
        let entry = entry.trim();
        if entry.is_empty() {
            return None;
        }
        if entry == "*" {
            return Some(Exception::Everything);
        }
        let (address, prefix) = entry.split_once('/').unwrap_or((entry, "128"));
        if let (Ok(address), Ok(prefix)) =
            (address.trim_matches(['[', ']']).parse(), prefix.parse())
        {
            return Some(Exception::Network(address, prefix));
        }
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (entry, None),
        };
        let name = name.trim_start_matches("*.").trim_matches(['.', '[', ']']);
        Some(Exception::Domain(name.to_ascii_lowercase(), port))
    }

    fn covers(&self, to: &Address) -> bool {
        match self {
            Exception::Everything => true,
            Exception::Network(network, prefix) => to
                .host
                .parse()
                .is_ok_and(|address: IpAddr| in_network(address, *network, *prefix)),
            Exception::Domain(name, port) => {
                let host = to.host.trim_end_matches('.').to_ascii_lowercase();
                let below = host
                    .strip_suffix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
                below && port.is_none_or(|port| port == to.port)
            }
        }
    }
}

fn in_network(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let (address, network, bits) = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => (
            u128::from(address.to_bits()),
            u128::from(network.to_bits()),
            32,
        ),
        (IpAddr::V6(address), IpAddr::V6(network)) => (address.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    let rest = bits - u32::from(prefix).min(bits);
    address.checked_shr(rest) == network.checked_shr(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(no_proxy: &str, host: &str, direct: bool) {
        let env = |name: &str| match name {
            "https_proxy" => Some("http://proxy.example:3128".to_owned()),
            "no_proxy" => Some(no_proxy.to_owned()),
            _ => None,
        };
        let proxies = Proxies::new(None, env).unwrap();
        let to = Address {
            host: host.into(),
            port: 443,
        };
        assert_eq!(
            proxies.lookup("https", &to).is_none(),
            direct,
            "{host} with no_proxy={no_proxy}"
        );
        assert!(proxies.lookup("http", &to).is_none());
    }

    #[test]
    fn exceptions_are_domains_addresses_networks_and_all() {
        check("", "devo.io", false);
        check("*", "devo.io", true);
        check("other.io, .devo.io", "collector-us.devo.io", true);
        check("devo.io", "DEVO.io.", true);
        check("devo.io", "notdevo.io", false);
        check("*.devo.io:443", "us.devo.io", true);
        check("devo.io:8443", "us.devo.io", false);
        check("10.0.0.0/8", "10.1.2.3", true);
        check("10.0.0.0/8", "11.1.2.3", false);
        check("192.0.2.7", "192.0.2.7", true);
        check("fd00::/8", "fd00::1", true);
        check("0.0.0.0/0", "192.0.2.7", true);
    }

    #[test]
    fn a_configured_proxy_is_for_everything_and_before_the_environment() {
        let url = Url::parse_proxy("http://user:pass%20word@first.example:8080").unwrap();
        let env = |name: &str| {
            name.ends_with("s_proxy")
                .then(|| "http://second.example".to_owned())
        };
        let proxies = Proxies::new(Some(&url), env).unwrap();
        let to = Address {
            host: "x".into(),
            port: 1,
        };
        assert_eq!(
            proxies.lookup("https", &to).unwrap().address.to_string(),
            "first.example:8080"
        );
        assert_eq!(
            proxies.lookup("http", &to).unwrap().address.to_string(),
            "first.example:8080"
        );
        assert!(!format!("{proxies:?}").contains("pass"));
    }

    #[test]
    fn a_variable_that_is_no_proxy_is_named() {
        let error = Proxies::new(None, |name| {
            (name == "https_proxy").then(|| "socks5://x:1".into())
        })
        .unwrap_err();
        assert!(error.to_string().contains("https_proxy"));
        assert_eq!(error.exit(), Exit::Config);
    }
}
