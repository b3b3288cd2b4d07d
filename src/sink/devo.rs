//! Confirmed delivery to Devo, which acknowledges nothing.
//!
//! A delivery is a transaction: a connection of its own whose end proves that the peer's program
//! has read every byte. Records are written; then close_notify and the end of our half; then the
//! peer's end of file is waited for. Anything else, and everything of the transaction counts as
//! unsent. Why each step is needed stands in ARCHITECTURE.md, "Confirmed delivery".

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use time::OffsetDateTime;

use super::{Sink, SinkError};
use crate::clock::Clock;
use crate::config::Address;
use crate::error::{Because, Exit};
use crate::net::tcp_state::{View, Watch};
use crate::net::tls::{PeerEvent, PeerRefusal, Tls, Trust};
use crate::net::{IdleTimeout, Network, Stopped, is_wait};
use crate::pipeline::batch::Batch;
use crate::shutdown::Shutdown;
use crate::state::Receiver;

/// So many bytes are collected before they are written.
const WRITE: usize = 256 * 1024;
/// How often a connection is tried before the run gives up; nothing was sent by then.
const ATTEMPTS: u32 = 3;
/// A peer that closes early, after what it has read so far, has done so by this time after its
/// kernel had our last byte.
const SETTLE: Duration = Duration::from_millis(20);
/// Most peers close at our close_notify alone, within this time.
const MOMENT: Duration = Duration::from_millis(100);
/// A reset comes right behind the end of file of a peer that left bytes unread.
const BEHIND: Duration = Duration::from_millis(5);

/// The receiver, and the transaction that is open with it.
#[derive(Debug)]
pub struct Devo {
    network: Arc<Network>,
    trust: Trust,
    address: Address,
    server_name: String,
    /// What stands between the date and the event: ` HOST TAG: `.
    header: String,
    clock: Clock,
    shutdown: Shutdown,
    sends_close_notify: bool,
    open: Option<Tls>,
    /// Whether anything was sent in it.
    sent: bool,
    lines: Vec<u8>,
}

/// What a Devo sink is made from.
#[derive(Debug)]
pub struct DevoOptions {
    /// How to connect.
    pub network: Arc<Network>,
    /// Whom to trust, and who we are.
    pub trust: Trust,
    /// Where to.
    pub address: Address,
    /// The name to verify.
    pub server_name: String,
    /// The host in each record.
    pub hostname: String,
    /// The tag in each record.
    pub tag: String,
    /// What is remembered of the receiver.
    pub known: Option<Receiver>,
    /// For the date in each record.
    pub clock: Clock,
    /// Ends the attempts to connect.
    pub shutdown: Shutdown,
}

impl Devo {
    /// A sink without a connection yet.
    #[must_use]
    pub fn new(options: DevoOptions) -> Devo {
        let known = options
            .known
            .filter(|known| known.address == options.address.to_string());
        Devo {
            network: options.network,
            trust: options.trust,
            server_name: options.server_name,
            header: format!(" {} {}: ", options.hostname, options.tag),
            clock: options.clock,
            shutdown: options.shutdown,
            sends_close_notify: known.is_some_and(|known| known.sends_close_notify),
            address: options.address,
            open: None,
            sent: false,
            lines: Vec::with_capacity(WRITE + WRITE / 4),
        }
    }

    fn connect(&self) -> Result<Tls, SinkError> {
        let mut attempt = 1;
        loop {
            let error = match self.try_to_connect() {
                Ok(tls) => return Ok(tls),
                Err(error) => error,
            };
            let lasting = error.is::<PeerRefusal>() || Exit::of(&error) != Exit::Unavailable;
            if Stopped::is_in(&error) {
                return Err(SinkError::Stopped(error));
            }
            if lasting || attempt == ATTEMPTS {
                return Err(SinkError::Refused(error));
            }
            log::debug!("{}; trying again", crate::error::line(&error));
            self.shutdown.sleep(Duration::from_secs(1 << (attempt - 1)));
            attempt += 1;
        }
    }

    fn try_to_connect(&self) -> Result<Tls> {
        let tcp = self.network.dial(&self.address, "https", &self.shutdown)?;
        Tls::handshake(
            tcp,
            &self.trust,
            &self.server_name,
            self.network.idle(&self.shutdown),
        )
        .or_exit(Exit::Unavailable)
        .with_context(|| format!("connecting to {}", self.address))
    }

    /// Steps 2 to 5 of the proof: see the module.
    fn finish(&mut self, mut tls: Tls) -> Result<()> {
        let mut idle = self.network.idle(&Shutdown::never());
        expect_open(tls.listen()?)?;
        let watch = tls.tcp.watch().context("the connection is gone")?;
        if self.sent {
            settle(&mut tls, &watch, &mut idle)?;
            expect_open(tls.listen()?)?;
        }
        tls.send_close_notify(&mut idle)?;
        let mut peer = Peer::new(&watch);
        // while our half is open, a reset behind the peer's end of file can be seen
        let limit = Instant::now() + MOMENT;
        while !peer.has_ended && Instant::now() < limit {
            peer.read_event(&mut tls, &mut idle)?;
        }
        if peer.has_ended {
            std::thread::sleep(BEHIND);
            tls.tcp.pending_error()?;
        }
        tls.tcp.shutdown_write().context("ending our half")?;
        while !peer.has_ended {
            peer.read_event(&mut tls, &mut idle)
                .context("waiting until the receiver closes the connection")?;
        }
        tls.tcp.pending_error()?;
        // and a reset that answers our last bytes may still be on its way, until all is acknowledged
        let is_open = |view: View| !view.fin_acknowledged && view.unacknowledged > 0;
        while watch.view().is_some_and(is_open) {
            idle.again(io::ErrorKind::WouldBlock.into())?;
            std::thread::sleep(Duration::from_millis(1));
        }
        tls.tcp.pending_error()?;
        if !peer.sent_close_notify && (self.sends_close_notify || tls.tcp.through_proxy) {
            let why = match tls.tcp.through_proxy {
                true => "it may be the proxy's own",
                false => "before, it always sent one",
            };
            let error = anyhow!("an end of file without close_notify, which proves nothing: {why}");
            return match tls.tcp.through_proxy {
                true => Err(error),
                false => Err(error).hint(RELEARN),
            };
        }
        self.sends_close_notify |= peer.sent_close_notify;
        Ok(())
    }
}

/// Waits until the peer's kernel has everything and its program has had the time to close early:
/// that must come before our close_notify, or it would look like the answer to it.
fn settle(tls: &mut Tls, watch: &Watch, idle: &mut IdleTimeout) -> Result<()> {
    let mut left = Unacknowledged::new(watch);
    let mut pause = Duration::from_millis(1);
    while left.shrink(idle) > 0 {
        expect_open(tls.listen()?)?;
        idle.again(io::ErrorKind::WouldBlock.into())?;
        std::thread::sleep(pause);
        pause = (pause * 2).min(MOMENT);
    }
    std::thread::sleep(SETTLE);
    Ok(())
}

/// What the peer has said since our close_notify.
#[derive(Debug)]
struct Peer<'a> {
    sent_close_notify: bool,
    has_ended: bool,
    left: Unacknowledged<'a>,
}

impl Peer<'_> {
    fn new(watch: &Watch) -> Peer<'_> {
        Peer {
            sent_close_notify: false,
            has_ended: false,
            left: Unacknowledged::new(watch),
        }
    }

    /// Listens for a moment.
    ///
    /// The time limit is on no progress: while its kernel takes our bytes, the peer may be slow.
    fn read_event(&mut self, tls: &mut Tls, idle: &mut IdleTimeout) -> Result<()> {
        match tls.read_event() {
            Ok(PeerEvent::EndOfFile) => self.has_ended = true,
            Ok(PeerEvent::CloseNotify) => self.sent_close_notify = true,
            Ok(PeerEvent::Nothing) => idle.progress(),
            Err(error) => {
                let error = error.downcast::<io::Error>()?;
                if is_wait(&error) {
                    self.left.shrink(idle);
                }
                idle.again(error)?;
            }
        }
        Ok(())
    }
}

/// How many bytes the peer's kernel had not acknowledged when it was last asked.
#[derive(Debug)]
struct Unacknowledged<'a> {
    watch: &'a Watch,
    last: Option<u64>,
}

impl Unacknowledged<'_> {
    fn new(watch: &Watch) -> Unacknowledged<'_> {
        Unacknowledged { watch, last: None }
    }

    /// Asks again; fewer are progress.
    fn shrink(&mut self, idle: &mut IdleTimeout) -> u64 {
        let left = self.watch.view().map_or(0, |view| view.unacknowledged);
        if self.last.replace(left).is_some_and(|before| left < before) {
            idle.progress();
        }
        left
    }
}

fn expect_open(heard: PeerEvent) -> Result<()> {
    match heard {
        PeerEvent::Nothing => Ok(()),
        PeerEvent::CloseNotify | PeerEvent::EndOfFile => {
            Err(anyhow!("the receiver closed the connection early"))
        }
    }
}

/// `<14>2026-01-10 12:00:00.000`: priority user.info, and the time of sending.
fn write_date(now: OffsetDateTime, line: &mut String) {
    let (date, clock) = (now.date(), now.time());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    let (hour, minute, second, milli) = clock.as_hms_milli();
    // writing to a String cannot fail
    let _ = write!(
        line,
        "<14>{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{milli:03}"
    );
}

impl Sink for Devo {
    fn send(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let mut tls = match self.open.take() {
            Some(tls) => tls,
            None => {
                self.sent = false;
                self.connect()?
            }
        };
        self.sent |= !batch.records.is_empty();
        let mut idle = self.network.idle(&Shutdown::never());
        let mut head = String::new();
        write_date(self.clock.now(), &mut head);
        head.push_str(&self.header);
        let mut write = |bytes: &[u8]| {
            expect_open(tls.listen()?)?;
            tls.write_all(bytes, &mut idle)
        };
        let mut send = || {
            for (event, _) in batch.iter() {
                self.lines.extend_from_slice(head.as_bytes());
                if event.len() >= WRITE {
                    write(&self.lines)?;
                    self.lines.clear();
                    write(event)?;
                } else {
                    self.lines.extend_from_slice(event);
                }
                self.lines.push(b'\n');
                if self.lines.len() >= WRITE {
                    write(&self.lines)?;
                    self.lines.clear();
                }
            }
            write(&self.lines)
        };
        let sent = send();
        self.lines.clear();
        sent.or_exit(Exit::Io)
            .with_context(|| format!("sending to {}", self.address))
            .or_hint(UNSENT)
            .map_err(failed)?;
        self.open = Some(tls);
        Ok(())
    }

    fn confirm(&mut self) -> Result<(), SinkError> {
        let Some(tls) = self.open.take() else {
            return Ok(());
        };
        self.finish(tls)
            .or_exit(Exit::Io)
            .with_context(|| format!("confirming the delivery to {}", self.address))
            .or_hint(UNSENT)
            .map_err(failed)
    }

    fn receiver(&self) -> Option<Receiver> {
        Some(Receiver {
            address: self.address.to_string(),
            sends_close_notify: self.sends_close_notify,
        })
    }
}

/// What an open transaction failed of: an alert about our certificate may come as late as this.
fn failed(error: anyhow::Error) -> SinkError {
    match Exit::of(&error) {
        Exit::Io => SinkError::Unconfirmed(error),
        _ => SinkError::Refused(error),
    }
}

const RELEARN: &str = "what was not confirmed is sent again by the next run; if another receiver or balancer stands there \
                       now, which ends connections without close_notify, one run with --forget-receiver learns it anew; \
                       if not, something on the way cuts them";
const UNSENT: &str = "what was not confirmed is sent again by the next run; if this goes on, look at the receiver, and at \
                      firewalls and balancers on the way: each must pass on the end of a connection";
