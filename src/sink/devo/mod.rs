//! `Devo` delivers events to Devo with confirmation, although Devo acknowledges nothing.
//!
//! A delivery is a transaction: a connection whose end proves that the receiver's program has read
//! every byte. The sink writes the records, sends close_notify, closes its half and waits for the
//! receiver's end of file. If anything else happens, the whole transaction counts as unsent.
//! docs/design/delivery.md says why each step is needed.

mod confirmation;
pub mod encoder;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use self::confirmation::Expectation;
use self::encoder::Encoder;
use super::{Sink, SinkError};
use crate::clock::Clock;
use crate::config::{Address, Compression, Confirmation};
use crate::error::{Exit, Failure, Result};
use crate::net::tls::{PeerEvent, Tls, Trust};
use crate::net::{NetError, Network, Preconnect};
use crate::pipeline::batch::Batch;
use crate::shutdown::Shutdown;
use crate::state::Receiver;

/// Attempts to connect before the run gives up; nothing was sent by then.
const ATTEMPTS: u32 = 3;
/// How long the connection of the next transaction waits for events. Some receivers take 5 s to confirm.
const KEEP: Duration = Duration::from_secs(10);
/// A confirmation takes at most so many times the longest silence, however its bytes drip.
const CONFIRMATION: u32 = 5;

/// The receiver, and the open transaction.
#[derive(Debug)]
pub struct Devo {
    network: Arc<Network>,
    trust: Trust,
    address: Address,
    server_name: String,
    /// The text between the date and the event: ` HOST TAG: `.
    header: String,
    clock: Clock,
    shutdown: Shutdown,
    sends_close_notify: bool,
    confirm: Confirmation,
    /// The weakest confirmation up to now.
    confirmed_by: Option<Confirmation>,
    open: Option<Tls>,
    /// The connection of the next transaction, if it is made ahead.
    next: Option<Preconnect>,
    /// Whether the transaction contains events.
    sent: bool,
    encoder: Encoder,
}

/// What to create a Devo sink from.
#[derive(Debug)]
pub struct DevoOptions {
    /// How to connect.
    pub network: Arc<Network>,
    /// Whom to trust, and our client certificate.
    pub trust: Trust,
    /// Address of the receiver.
    pub address: Address,
    /// The name to verify in the server's certificate.
    pub server_name: String,
    /// The host in each record.
    pub hostname: String,
    /// The tag in each record.
    pub tag: String,
    /// How records are compressed.
    pub compression: Compression,
    /// The least that confirms a delivery.
    pub confirm: Confirmation,
    /// What is known of the receiver from earlier runs.
    pub known: Option<Receiver>,
    /// Gives the date of each record.
    pub clock: Clock,
    /// Ends the waits; events that were read get its grace.
    pub shutdown: Shutdown,
}

impl Devo {
    /// Creates a sink without a connection.
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
            confirm: options.confirm,
            confirmed_by: None,
            open: None,
            next: None,
            sent: false,
            encoder: match options.compression {
                Compression::None => Encoder::plain(),
                Compression::Gzip => Encoder::gzip(),
            },
        }
    }

    fn connect(&self, shutdown: &Shutdown) -> Result<Tls, SinkError> {
        let mut attempt = 1;
        loop {
            let error = match self.try_to_connect(shutdown) {
                Ok(tls) => return Ok(tls),
                Err(error) => error,
            };
            let failure = match error {
                NetError::Stopped(failure) => return Err(SinkError::Stopped(failure)),
                NetError::Lasting(failure) => return Err(SinkError::Refused(failure)),
                transient => Failure::from(transient),
            };
            if attempt == ATTEMPTS {
                return Err(SinkError::Refused(failure));
            }
            log::debug!("{failure}; retrying");
            shutdown.sleep(Duration::from_secs(1 << (attempt - 1)));
            attempt += 1;
        }
    }

    fn try_to_connect(&self, shutdown: &Shutdown) -> Result<Tls, NetError> {
        let (to, name) = (&self.address, &self.server_name);
        let tls = self.network.connect_tls(to, name, &self.trust, shutdown);
        tls.map_err(|error| error.or_exit(Exit::Unavailable))
    }

    /// Ends the transaction, and notes what confirmed it.
    fn finish(&mut self, tls: Tls) -> Result<(), NetError> {
        let ending = confirmation::end(
            tls,
            &Expectation {
                has_events: self.sent,
                least: self.confirm,
                close_notify: self.sends_close_notify,
                limit: self.network.timeout() * CONFIRMATION,
            },
        )?;
        self.sends_close_notify |= ending.sent_close_notify;
        self.confirmed_by = self.confirmed_by.into_iter().chain([ending.by]).min();
        Ok(())
    }
}

fn expect_open(heard: PeerEvent) -> Result<(), NetError> {
    match heard {
        PeerEvent::Nothing | PeerEvent::Something => Ok(()),
        PeerEvent::CloseNotify | PeerEvent::EndOfFile => Err(NetError::Cut(Failure::new(
            "the receiver closed the connection early",
        ))),
    }
}

/// Writes `<14>2026-01-10 12:00:00.000`: priority user.info, and the time of sending.
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
                match self.next.take().and_then(Preconnect::ready) {
                    Some(tls) => *tls,
                    None if batch.records.is_empty() => self.connect(&self.shutdown)?,
                    // what was read is delivered although the run is to end
                    None => self.connect(&self.shutdown.with_grace())?,
                }
            }
        };
        self.sent |= !batch.records.is_empty();
        let mut head = String::new();
        write_date(self.clock.now(), &mut head);
        head.push_str(&self.header);
        let mut write = |bytes: &[u8]| {
            expect_open(tls.listen()?)?;
            tls.write_all(bytes)
        };
        let mut send = || {
            for (event, _) in batch.iter() {
                self.encoder.add(head.as_bytes(), event, &mut write)?;
            }
            self.encoder.flush(&mut write)
        };
        if let Err(error) = send() {
            self.encoder.clear();
            return Err(failed(error, &format!("sending to {}", self.address)));
        }
        self.open = Some(tls);
        Ok(())
    }

    fn prepare_next(&mut self) {
        let shutdown = self.shutdown.with_grace();
        let (to, name) = (&self.address, &self.server_name);
        let next = self
            .network
            .preconnect(to, name, &self.trust, KEEP, &shutdown);
        self.next = next;
    }

    fn confirm(&mut self) -> Result<(), SinkError> {
        let Some(tls) = self.open.take() else {
            return Ok(());
        };
        let doing = format!("confirming the delivery to {}", self.address);
        self.finish(tls).map_err(|error| failed(error, &doing))
    }

    fn confirmed_by(&self) -> Option<Confirmation> {
        self.confirmed_by
    }

    fn receiver(&self) -> Option<Receiver> {
        Some(Receiver {
            address: self.address.to_string(),
            sends_close_notify: self.sends_close_notify,
        })
    }
}

/// Classifies the error of an open transaction: an alert about our certificate may come this late.
fn failed(error: NetError, doing: &str) -> SinkError {
    match error.or_exit(Exit::Io).or_hint(UNSENT).context(doing) {
        NetError::Stopped(failure) => SinkError::Stopped(failure),
        NetError::Lasting(failure) => SinkError::Refused(failure),
        NetError::Cut(failure) => SinkError::Broken(failure),
        NetError::Unreached(failure) | NetError::Silent(failure) => SinkError::Unconfirmed(failure),
    }
}

const UNSENT: &str = "check the receiver, and the firewalls and load balancers on the way, if this repeats: each \
     must pass on the end of a connection; the next run sends unconfirmed events again";
