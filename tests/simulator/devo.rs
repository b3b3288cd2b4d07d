//! A receiver as Devo's: syslog lines over TLS with client certificates, and every way in which a
//! connection can end.
//!
//! Lines may be packed into gzip members, as devo-sdk's zip does it.
//!
//! A line counts as received as soon as it was read, also when its connection dies later; what a
//! program delivered is what stands here, whatever it believes.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use flate2::write::MultiGzDecoder;
use rustls::crypto::ring::Ticketer;
use rustls::server::NoServerSessionStorage;
use rustls::{ProtocolVersion, ServerConfig, ServerConnection, SupportedProtocolVersion, version};
use socket2::SockRef;

use super::certs::{Certs, Pair, server_config};
use super::http::reset;
use super::listen::{Listening, loopback};
use super::sample::serial_of;

/// How the receiver is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// What it speaks.
    pub versions: Versions,
    /// Session tickets: two after each TLS 1.3 handshake, as OpenSSL sends, and resumption.
    pub tickets: bool,
    /// Whether a client must show a certificate.
    pub client_auth: bool,
    /// The authority of client certificates; else that of `Certs`.
    pub client_ca: Option<PathBuf>,
    /// What it shows itself; else the server certificate of `Certs`.
    pub server: Option<Pair>,
    /// On `::1` instead of 127.0.0.1.
    pub ipv6: bool,
    /// Whether lines are kept, or only counted, for masses of them.
    pub keep: bool,
    /// The kernel's receive buffer, for stalls that show after little data.
    pub receive_buffer: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            versions: Versions::Both,
            tickets: true,
            client_auth: true,
            client_ca: None,
            server: None,
            ipv6: false,
            keep: true,
            receive_buffer: None,
        }
    }
}

/// Versions of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.2 alone.
    Tls12,
    /// TLS 1.3 alone.
    Tls13,
    /// Whichever the client prefers.
    Both,
}

/// What becomes of a connection. Those that break off after so many bytes end like `Normal` when
/// the client says goodbye before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// Reads until the client's close_notify or end of file; then close_notify, FIN, close.
    Normal,
    /// The same without close_notify.
    NoGoodbye,
    /// Resets the connection before the handshake.
    Refuse,
    /// Resets it once so many bytes were read.
    ResetAfter(usize),
    /// Reads so many bytes, then nothing for a while, then resets.
    StopThenReset {
        /// So many.
        after: usize,
        /// So long.
        wait: Duration,
    },
    /// In good order but early, after so many bytes: close_notify, FIN, close.
    CloseAfter(usize),
    /// The same, but the socket stays open: what comes later is read, and thrown away.
    CloseAfterAndDrain(usize),
    /// Reads everything, never answers the goodbye, and keeps the socket.
    NeverClose,
    /// Reads everything, and resets the connection when the client says goodbye.
    ResetAtGoodbye,
    /// Reads slowly, and is slow to close.
    Slow {
        /// So many bytes,
        read: usize,
        /// then such a pause,
        pause: Duration,
        /// and after the end such a wait before the goodbye.
        hold: Duration,
    },
    /// Accepts, reads, and never says a word: no handshake.
    Silent,
    /// Ends the connection in the middle of the handshake.
    CutHandshake,
    /// Sends data without a pause after the handshake, and reads nothing.
    Flood,
    /// Reads everything; after the client's goodbye it sends a byte every so often, and never its own.
    Mutter(Duration),
    /// Reads so many bytes, then nothing more, and keeps the socket.
    StopReading(usize),
}

/// What is known of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionReport {
    /// Counted from 0 over the life of the receiver.
    pub number: usize,
    /// Whether another one was open when it came, as when a client makes it ahead.
    pub is_beside: bool,
    /// Read by the application.
    pub bytes: usize,
    /// Complete lines among them.
    pub lines: usize,
    /// How it ended, known before the client learns of it.
    pub ended: Ended,
    /// None before the handshake is complete.
    pub tls_version: Option<ProtocolVersion>,
    /// The name that the client asked for.
    pub server_name: Option<String>,
    /// Whether the client showed a certificate.
    pub client_certificate: bool,
    /// Whether the client's close_notify came.
    pub goodbye_received: bool,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It did not.
    StillOpen,
    /// The client said goodbye.
    Goodbye,
    /// End of file without close_notify.
    EndOfFile,
    /// The client broke it off, or something else did.
    Broken(String),
    /// No handshake.
    NoHandshake(String),
    /// By its behaviour, before the client was done.
    ByBehaviour,
}

/// A receiver on the loopback, until dropped.
pub struct Devo {
    shared: Arc<Shared>,
    listening: Listening,
}

impl Devo {
    /// Starts one; every connection is `Normal`.
    pub fn start(certs: &Certs, options: Options) -> Self {
        Self::on(loopback(options.ipv6), certs, options)
    }

    /// Starts one on this socket; every connection is `Normal`.
    pub fn on(listener: TcpListener, certs: &Certs, options: Options) -> Self {
        let usual = Pair {
            cert: certs.server_cert(),
            key: certs.server_key(),
        };
        let clients = options.client_ca.unwrap_or_else(|| certs.ca());
        let versions: &[&'static SupportedProtocolVersion] = match options.versions {
            Versions::Tls12 => &[&version::TLS12],
            Versions::Tls13 => &[&version::TLS13],
            Versions::Both => rustls::ALL_VERSIONS,
        };
        let clients = options.client_auth.then_some(clients.as_path());
        let mut config = server_config(&options.server.unwrap_or(usual), clients, versions);
        if options.tickets {
            config.ticketer = Ticketer::new().expect("a key for tickets");
        } else {
            config.send_tls13_tickets = 0;
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        let shared = Arc::new(Shared {
            config: Arc::new(config),
            keep: options.keep,
            receive_buffer: options.receive_buffer,
            count: AtomicUsize::new(0),
            behave: Mutex::new(Box::new(|_| Behaviour::Normal)),
            received: Mutex::default(),
        });
        let listening = listen(&shared, listener);
        Self { shared, listening }
    }

    /// `localhost:PORT`.
    pub fn address(&self) -> String {
        format!("localhost:{}", self.listening.address().port())
    }

    /// `127.0.0.1:PORT` or `[::1]:PORT`.
    pub fn ip_address(&self) -> String {
        self.listening.address().to_string()
    }

    /// Asked for every connection from now on, with its number, counted over the receiver's life.
    pub fn behave(&self, behave: impl FnMut(usize) -> Behaviour + Send + 'static) {
        *lock(&self.shared.behave) = Box::new(behave);
    }

    /// Asked for every connection from now on, with those before it.
    pub fn behave_after(
        &self,
        mut behave: impl FnMut(&[ConnectionReport]) -> Behaviour + Send + 'static,
    ) {
        let shared = Arc::downgrade(&self.shared);
        self.behave(move |number| {
            let shared = shared.upgrade().expect("it listens");
            let mut connections = lock(&shared.received).connections.clone();
            connections.retain(|one| one.number < number);
            behave(&connections)
        });
    }

    /// How many complete lines have come.
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::SeqCst)
    }

    /// Complete lines in the order in which they came, without LF.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        self.received().lines.clone()
    }

    /// Lines since they were taken last; also forgets the connections that are over.
    pub fn take_lines(&self) -> Vec<Vec<u8>> {
        let mut received = self.received();
        let open = |report: &ConnectionReport| report.ended == Ended::StillOpen;
        received.connections.retain(open);
        std::mem::take(&mut received.lines)
    }

    /// What ended without LF, a connection each.
    pub fn partials(&self) -> Vec<Vec<u8>> {
        self.received().partials.clone()
    }

    /// The JSON of each line.
    pub fn events(&self) -> Vec<Vec<u8>> {
        self.received()
            .lines
            .iter()
            .map(|line| Line::of(line).json.to_owned())
            .collect()
    }

    /// How often each serial number has come, in complete lines.
    pub fn counts_by_serial(&self) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        for line in &self.received().lines {
            let serial = serial_of(line).expect("events of a scenario have one");
            *counts.entry(serial).or_default() += 1;
        }
        counts
    }

    /// Every connection, in order.
    pub fn connections(&self) -> Vec<ConnectionReport> {
        self.received().connections.clone()
    }

    /// Forgets lines, and the connections that are over. Numbers go on.
    pub fn clear(&self) {
        let mut received = self.received();
        received.lines.clear();
        received.partials.clear();
        received
            .connections
            .retain(|report| report.ended == Ended::StillOpen);
        self.shared.count.store(0, Ordering::SeqCst);
    }

    fn received(&self) -> MutexGuard<'_, Received> {
        lock(&self.shared.received)
    }
}

/// A line, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// `YYYY-MM-DD HH:MM:SS.mmm`.
    pub time: &'a str,
    /// The host.
    pub host: &'a str,
    /// The tag.
    pub tag: &'a str,
    /// The event.
    pub json: &'a [u8],
}

impl<'a> Line<'a> {
    /// Takes `<14>YYYY-MM-DD HH:MM:SS.mmm HOST TAG: JSON` apart.
    ///
    /// # Panics
    /// If it is anything else.
    pub fn of(line: &'a [u8]) -> Self {
        Self::parse(line).unwrap_or_else(|| panic!("malformed: {}", String::from_utf8_lossy(line)))
    }

    fn parse(line: &'a [u8]) -> Option<Self> {
        const TIME: &str = "0000-00-00 00:00:00.000 ";
        let rest = line.strip_prefix(b"<14>")?;
        let (time, rest) = rest.split_at_checked(TIME.len())?;
        let digit = |(&byte, like): (&u8, u8)| match like {
            b'0' => byte.is_ascii_digit(),
            _ => byte == like,
        };
        let space = memchr::memchr(b' ', rest)?;
        let (host, rest) = (&rest[..space], &rest[space + 1..]);
        let colon = memchr::memmem::find(rest, b": ")?;
        let (tag, json) = (&rest[..colon], &rest[colon + 2..]);
        let word = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_graphic);
        let whole = time.iter().zip(TIME.bytes()).all(digit)
            && (word(host) && !host.contains(&b':'))
            && (word(tag) && tag.contains(&b'.'))
            && (json.starts_with(b"{") && json.ends_with(b"}"))
            && !json.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'));
        let text = |bytes| str::from_utf8(bytes).ok();
        whole.then_some(Self {
            time: text(&time[..23])?,
            host: text(host)?,
            tag: text(tag)?,
            json,
        })
    }
}

/// The tag of a line. Panics on a malformed one.
pub fn tag_of(line: &[u8]) -> &str {
    Line::of(line).tag
}

/// The host of a line. Panics on a malformed one.
pub fn host_of(line: &[u8]) -> &str {
    Line::of(line).host
}

struct Shared {
    config: Arc<ServerConfig>,
    keep: bool,
    receive_buffer: Option<usize>,
    count: AtomicUsize,
    behave: Mutex<Box<dyn FnMut(usize) -> Behaviour + Send>>,
    received: Mutex<Received>,
}

#[derive(Default)]
struct Received {
    lines: Vec<Vec<u8>>,
    partials: Vec<Vec<u8>>,
    connections: Vec<ConnectionReport>,
    accepted: usize,
    /// Sockets that are never closed.
    held: Vec<TcpStream>,
}

/// A test that failed while it held a lock shall not hide behind a second panic.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(shared: &Arc<Shared>, listener: TcpListener) -> Listening {
    if let Some(size) = shared.receive_buffer {
        let socket = SockRef::from(&listener);
        socket.set_recv_buffer_size(size).expect("a size");
    }
    let shared = Arc::clone(shared);
    Listening::on(listener, move |tcp| {
        let number = {
            let mut received = lock(&shared.received);
            let number = received.accepted;
            received.accepted += 1;
            let is_open = |one: &ConnectionReport| one.ended == Ended::StillOpen;
            let is_beside = received.connections.iter().any(is_open);
            received.connections.push(ConnectionReport {
                number,
                is_beside,
                bytes: 0,
                lines: 0,
                ended: Ended::StillOpen,
                tls_version: None,
                server_name: None,
                client_certificate: false,
                goodbye_received: false,
            });
            number
        };
        let behaviour = lock(&shared.behave)(number);
        let session = Session::new(Arc::clone(&shared), number, tcp);
        thread::spawn(move || session.live(&behaviour));
    })
}

/// The first byte of a gzip member, which no line has.
const GZIP: u8 = 0x1f;

/// One connection.
struct Session {
    shared: Arc<Shared>,
    number: usize,
    tcp: BufReader<TcpStream>,
    tls: ServerConnection,
    /// Bytes read by the application.
    read: usize,
    /// Unpacks gzip members, where the first byte is that of one.
    unpacking: Option<MultiGzDecoder<Vec<u8>>>,
    /// Those of them that are the beginning of a line.
    rest: Vec<u8>,
}

impl Session {
    fn new(shared: Arc<Shared>, number: usize, tcp: TcpStream) -> Self {
        let tls = ServerConnection::new(Arc::clone(&shared.config)).expect("a good configuration");
        // rustls takes 4 KiB at a time
        let tcp = BufReader::with_capacity(if shared.keep { 16 } else { 256 } * 1024, tcp);
        Self {
            shared,
            number,
            tcp,
            tls,
            read: 0,
            unpacking: None,
            rest: Vec::new(),
        }
    }

    /// An error of the wire ends it; the report has it by then.
    fn live(mut self, behaviour: &Behaviour) -> io::Result<()> {
        match behaviour {
            Behaviour::Refuse => return self.reset(),
            Behaviour::CutHandshake => return self.cut_handshake(),
            Behaviour::Silent => {
                let drained = self.drain();
                self.ended(Ended::ByBehaviour);
                return drained;
            }
            _ => self.handshake()?,
        }
        let limit = match behaviour {
            Behaviour::ResetAfter(bytes)
            | Behaviour::CloseAfter(bytes)
            | Behaviour::CloseAfterAndDrain(bytes)
            | Behaviour::StopReading(bytes)
            | Behaviour::StopThenReset { after: bytes, .. } => *bytes,
            Behaviour::Flood => 0,
            Behaviour::Slow { read, .. } => *read,
            _ => usize::MAX,
        };
        let mut cut_off = self.read_until(limit)?;
        // under load a thread may wait longer than a client does for an early end
        let closes_early = matches!(
            behaviour,
            Behaviour::CloseAfter(_) | Behaviour::CloseAfterAndDrain(_)
        );
        if cut_off && closes_early {
            cut_off = !self.has_said_goodbye()?;
        }
        match *behaviour {
            Behaviour::ResetAfter(_) if cut_off => self.reset(),
            Behaviour::StopThenReset { wait, .. } if cut_off => {
                thread::sleep(wait);
                self.reset()
            }
            Behaviour::CloseAfter(_) | Behaviour::CloseAfterAndDrain(_) if cut_off => {
                self.goodbye()?;
                // one goodbye crossed the other: this was no early end
                if self.has_said_goodbye()? {
                    return Ok(());
                }
                self.ended(Ended::ByBehaviour);
                match behaviour {
                    Behaviour::CloseAfterAndDrain(_) => self.drain(),
                    _ => Ok(()),
                }
            }
            Behaviour::Slow { read, pause, hold } => {
                if cut_off {
                    thread::sleep(pause);
                    while self.read_until(self.read + read.max(1))? {
                        thread::sleep(pause);
                    }
                }
                thread::sleep(hold);
                self.goodbye()
            }
            Behaviour::NeverClose => {
                let held = self.tcp.get_ref().try_clone()?;
                lock(&self.shared.received).held.push(held);
                Ok(())
            }
            Behaviour::StopReading(_) if cut_off => {
                self.ended(Ended::ByBehaviour);
                let held = self.tcp.get_ref().try_clone()?;
                lock(&self.shared.received).held.push(held);
                Ok(())
            }
            Behaviour::Flood => {
                self.ended(Ended::ByBehaviour);
                loop {
                    self.say(&[b'x'; 4096])?;
                }
            }
            Behaviour::Mutter(pause) => loop {
                self.say(b"x")?;
                thread::sleep(pause);
            },
            Behaviour::ResetAtGoodbye => self.reset(),
            Behaviour::NoGoodbye => self.tcp.get_ref().shutdown(Shutdown::Write),
            _ => self.goodbye(),
        }
    }

    fn handshake(&mut self) -> io::Result<()> {
        while self.tls.is_handshaking() {
            if self.step()? == 0 {
                self.ended(Ended::NoHandshake("the client went away".into()));
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let (version, name) = (self.tls.protocol_version(), self.tls.server_name());
        let (name, certificate) = (
            name.map(str::to_owned),
            self.tls.peer_certificates().is_some(),
        );
        self.report(|report| {
            report.tls_version = version;
            report.server_name = name;
            report.client_certificate = certificate;
        });
        Ok(())
    }

    /// Reads until the application has so many bytes: true. Or until the client ends it: false.
    fn read_until(&mut self, limit: usize) -> io::Result<bool> {
        loop {
            while self.read < limit {
                let mut reader = self.tls.reader();
                let Ok(chunk @ [_, ..]) = reader.fill_buf() else {
                    break;
                };
                let chunk = chunk[..chunk.len().min(limit - self.read)].to_vec();
                reader.consume(chunk.len());
                self.take(&chunk)?;
            }
            if self.read >= limit {
                return Ok(true);
            }
            if self
                .tls
                .process_new_packets()
                .is_ok_and(|state| state.peer_has_closed())
            {
                self.report(|report| report.goodbye_received = true);
                self.ended(Ended::Goodbye);
                return Ok(false);
            }
            if self.step()? == 0 {
                self.ended(Ended::EndOfFile);
                return Ok(false);
            }
        }
    }

    /// The application reads these bytes.
    fn take(&mut self, chunk: &[u8]) -> io::Result<()> {
        if let Some(report) = lock(&self.shared.received).report(self.number) {
            report.bytes += chunk.len();
        }
        if self.read == 0 && chunk.first() == Some(&GZIP) {
            self.unpacking = Some(MultiGzDecoder::new(Vec::new()));
        }
        self.read += chunk.len();
        match &mut self.unpacking {
            None => self.shared.receive(self.number, &mut self.rest, chunk),
            Some(decoder) => {
                decoder.write_all(chunk)?;
                decoder.flush()?;
                let lines = std::mem::take(decoder.get_mut());
                self.shared.receive(self.number, &mut self.rest, &lines);
            }
        }
        Ok(())
    }

    /// Whether the client has said goodbye by now. Then what came before it is read; else that is thrown away.
    fn has_said_goodbye(&mut self) -> io::Result<bool> {
        let mut unread = Vec::new();
        self.tcp.get_ref().set_nonblocking(true)?;
        let heard = loop {
            let state = self.tls.process_new_packets().map_err(io::Error::other)?;
            match self.tls.reader().read_to_end(&mut unread) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => break Err(error),
                _ if state.peer_has_closed() => break Ok(true),
                _ => {}
            }
            match self.tls.read_tls(&mut self.tcp) {
                Ok(0) => break Ok(false),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(false),
                Err(error) => break Err(error),
            }
        };
        self.tcp.get_ref().set_nonblocking(false)?;
        if heard? {
            self.take(&unread)?;
            self.report(|report| report.goodbye_received = true);
            self.ended(Ended::Goodbye);
            return Ok(true);
        }
        Ok(false)
    }

    /// One read from the wire, 0 at its end, and what TLS answers to it. After an error of TLS the
    /// client gets the time to read its alert.
    fn step(&mut self) -> io::Result<usize> {
        let handshaking = self.tls.is_handshaking();
        let how = if handshaking {
            Ended::NoHandshake
        } else {
            Ended::Broken
        };
        let read = match self.tls.read_tls(&mut self.tcp) {
            Ok(read) => read,
            Err(error) => {
                self.ended(how(error.to_string()));
                return Err(error);
            }
        };
        let processed = self.tls.process_new_packets();
        if let Err(error) = &processed {
            self.ended(how(error.to_string()));
        }
        while self.tls.wants_write() {
            self.tls.write_tls(self.tcp.get_mut())?;
        }
        if let Err(error) = processed {
            self.tcp.get_ref().shutdown(Shutdown::Write)?;
            self.tcp
                .get_ref()
                .set_read_timeout(Some(Duration::from_secs(5)))?;
            self.drain()?;
            return Err(io::Error::other(error));
        }
        Ok(read)
    }

    fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tls.writer().write_all(bytes)?;
        while self.tls.wants_write() {
            self.tls.write_tls(self.tcp.get_mut())?;
        }
        Ok(())
    }

    fn goodbye(&mut self) -> io::Result<()> {
        self.tls.send_close_notify();
        while self.tls.wants_write() {
            self.tls.write_tls(self.tcp.get_mut())?;
        }
        self.tcp.get_ref().shutdown(Shutdown::Write)
    }

    /// Reads what comes, to the end, and throws it away.
    fn drain(&mut self) -> io::Result<()> {
        io::copy(&mut self.tcp, &mut io::sink()).map(drop)
    }

    fn reset(&mut self) -> io::Result<()> {
        self.ended(Ended::ByBehaviour);
        reset(self.tcp.get_ref())
    }

    /// Half of our first flight.
    fn cut_handshake(&mut self) -> io::Result<()> {
        let mut flight = Vec::new();
        while flight.is_empty() {
            if self.tls.read_tls(&mut self.tcp)? == 0 {
                break;
            }
            self.tls.process_new_packets().ok();
            while self.tls.wants_write() {
                self.tls.write_tls(&mut flight)?;
            }
        }
        self.ended(Ended::ByBehaviour);
        self.tcp.get_mut().write_all(&flight[..flight.len() / 2])?;
        self.tcp.get_ref().shutdown(Shutdown::Write)
    }

    /// Notes how it ended, the first time.
    fn ended(&mut self, how: Ended) {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            lock(&self.shared.received).partials.push(rest);
        }
        self.report(|report| {
            if report.ended == Ended::StillOpen {
                report.ended = how;
            }
        });
    }

    fn report(&self, change: impl FnOnce(&mut ConnectionReport)) {
        lock(&self.shared.received).report(self.number).map(change);
    }
}

impl Shared {
    fn receive(&self, number: usize, rest: &mut Vec<u8>, chunk: &[u8]) {
        let lines = memchr::memchr_iter(b'\n', chunk).count();
        let mut received = lock(&self.received);
        if let Some(report) = received.report(number) {
            report.lines += lines;
        }
        if self.keep {
            let mut pieces = chunk.split(|&byte| byte == b'\n');
            let last = pieces.next_back().unwrap_or_default();
            for piece in pieces {
                rest.extend_from_slice(piece);
                received.lines.push(std::mem::take(rest));
            }
            rest.extend_from_slice(last);
        }
        self.count.fetch_add(lines, Ordering::SeqCst);
    }
}

impl Received {
    /// None once it was forgotten.
    fn report(&mut self, number: usize) -> Option<&mut ConnectionReport> {
        self.connections
            .iter_mut()
            .rfind(|report| report.number == number)
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    #[test]
    fn a_line_is_taken_apart_and_a_malformed_one_is_none() {
        const GOOD: &str = r#"<14>2026-11-20 10:00:00.123 host mail.x: {"a": "b: c"}"#;
        let line = Line::of(GOOD.as_bytes());
        assert_eq!(
            (line.time, line.host, line.tag),
            ("2026-11-20 10:00:00.123", "host", "mail.x")
        );
        assert_eq!(line.json, br#"{"a": "b: c"}"#);
        for (part, instead) in [
            ("<14>", "<13>"),
            ("00.123", "00"),
            (" 10:", "T10:"),
            ("host ", ""),
            (": {", " {"),
            ("c", "\r"),
            ("}", ""),
        ] {
            let bad = GOOD.replace(part, instead);
            assert_eq!(Line::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
