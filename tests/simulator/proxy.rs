//! An HTTP proxy on the loopback: tunnels by CONNECT, and forwards plain requests in absolute form.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::http::{Asked, reset};
use super::listen::{Listening, loopback};

/// A proxy, until dropped; its tunnels go on.
pub struct Proxy {
    shared: Arc<Shared>,
    listening: Listening,
    login: Option<(String, String)>,
}

impl Proxy {
    /// One that serves everybody.
    pub fn start() -> Self {
        Self::serve(None, 407)
    }

    /// One that answers 407 to whoever does not log in so.
    pub fn start_with_login(user: &str, password: &str) -> Self {
        Self::start_refusing(407, user, password)
    }

    /// One that answers with this status to a wrong login, and with 407 to none.
    pub fn start_refusing(status: u16, user: &str, password: &str) -> Self {
        Self::serve(Some((user.to_owned(), password.to_owned())), status)
    }

    fn serve(login: Option<(String, String)>, wrong: u16) -> Self {
        let header = login.as_ref().map(|(user, password)| {
            format!(
                "Basic {}",
                BASE64_STANDARD.encode(format!("{user}:{password}"))
            )
        });
        let shared = Arc::new(Shared {
            header,
            asked: Mutex::default(),
            hasty: AtomicBool::new(false),
            wrong,
        });
        let serving = Arc::clone(&shared);
        let listening = Listening::on(loopback(false), move |tcp| {
            let shared = Arc::clone(&serving);
            thread::spawn(move || shared.converse(&tcp));
        });
        Self {
            shared,
            listening,
            login,
        }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.listening.address())
    }

    /// The same with user and password.
    pub fn url_with_login(&self) -> String {
        let (user, password) = self.login.as_ref().expect("one with a login");
        format!("http://{user}:{password}@{}", self.listening.address())
    }

    /// From now on it answers a client's FIN with its own at once, as some proxies do, without
    /// waiting for the other end.
    pub fn make_hasty(&self) {
        self.shared.hasty.store(true, Ordering::SeqCst);
    }

    /// Everything asked: the method, the target as it stood, and the status of the answer, which for
    /// a forwarded request is 200.
    pub fn requests(&self) -> Vec<(String, String, u16)> {
        self.shared
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The targets of the tunnels that were opened.
    pub fn targets(&self) -> Vec<String> {
        let opened = |(method, target, status): (String, String, u16)| {
            (method == "CONNECT" && status == 200).then_some(target)
        };
        self.requests().into_iter().filter_map(opened).collect()
    }
}

struct Shared {
    /// The `Proxy-Authorization` that is demanded.
    header: Option<String>,
    asked: Mutex<Vec<(String, String, u16)>>,
    hasty: AtomicBool,
    /// The answer to a wrong login.
    wrong: u16,
}

impl Shared {
    fn converse(&self, client: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(client);
        let mut writer = client;
        while let Some(asked) = Asked::read(&mut reader)? {
            let plain = asked.target.strip_prefix("http://");
            let (host, path) = match plain {
                Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
                None => (asked.target.as_str(), ""),
            };
            let allowed = self.header.is_none()
                || asked.header("proxy-authorization") == self.header.as_deref();
            let (status, server) = match TcpStream::connect(with_port(host)) {
                _ if !allowed && asked.header("proxy-authorization").is_some() => {
                    (self.wrong, None)
                }
                _ if !allowed => (407, None),
                Ok(server) => (200, Some(server)),
                Err(_) => (502, None),
            };
            let note = (asked.method.clone(), asked.target.clone(), status);
            self.asked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(note);
            match server {
                Some(mut server) if plain.is_some() => {
                    server.write_all(forwarded(&asked, path).as_bytes())?;
                    return io::copy(&mut server, &mut writer).map(drop);
                }
                Some(server) => {
                    writer.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
                    return self.tunnel(client, &server);
                }
                None if status == 407 => writer.write_all(DEMAND)?,
                None => {
                    let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n");
                    writer.write_all(answer.as_bytes())?;
                }
            }
        }
        Ok(())
    }

    /// Both ways until both ends are through, or one breaks; then so does the other.
    fn tunnel(&self, client: &TcpStream, server: &TcpStream) -> io::Result<()> {
        thread::scope(|scope| {
            scope.spawn(|| {
                pump(client, server);
                if self.hasty.load(Ordering::SeqCst) {
                    client.shutdown(Shutdown::Write).ok();
                }
            });
            pump(server, client);
        });
        Ok(())
    }
}

const DEMAND: &[u8] = b"HTTP/1.1 407 Proxy Authentication Required\r\n\
    Proxy-Authenticate: Basic realm=\"simulator\"\r\nContent-Length: 0\r\n\r\n";

fn with_port(host: &str) -> String {
    let port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if port {
        host.to_owned()
    } else {
        format!("{host}:80")
    }
}

/// The request as the server gets it: alone on its connection.
fn forwarded(asked: &Asked, path: &str) -> String {
    let path = if path.is_empty() { "/" } else { path };
    let mut head = format!("{} {path} HTTP/1.1\r\nConnection: close\r\n", asked.method);
    for (name, value) in &asked.headers {
        if !name.to_ascii_lowercase().starts_with("proxy-")
            && !name.eq_ignore_ascii_case("connection")
        {
            head += &format!("{name}: {value}\r\n");
        }
    }
    head + "\r\n"
}

/// One way. An end is passed on as an end, a reset as a reset.
fn pump(mut from: &TcpStream, mut to: &TcpStream) {
    match io::copy(&mut from, &mut to) {
        Ok(_) => {
            to.shutdown(Shutdown::Write).ok();
        }
        Err(_) => {
            for tcp in [from, to] {
                reset(tcp).ok();
                // wakes the other way, and sends nothing
                tcp.shutdown(Shutdown::Read).ok();
            }
        }
    }
}
