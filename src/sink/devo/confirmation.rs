//! `confirmation` ends a transaction so that its end shows that the receiver has the events.

use std::time::Duration;

use super::expect_open;
use crate::clock::{Instant, sleep};
use crate::config::Confirmation;
use crate::error::{Exit, Failure, Result};
use crate::net::NetError;
use crate::net::Watch;
use crate::net::tcp_state::View;
use crate::net::tls::{PeerEvent, Tls};

/// A peer that closes early does so within this time after its kernel received our last byte.
const SETTLE: Duration = Duration::from_millis(20);
/// Longest time between two looks at what its kernel has received; a look takes microseconds.
const LONGEST_PAUSE: Duration = Duration::from_millis(8);
/// Most peers close within this time after our close_notify. Our half stays open until then: some
/// proxies and balancers, as tinyproxy, end both halves when one is closed.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same once the peer's close_notify has come, where nothing is left to be lost.
const MOMENT: Duration = Duration::from_millis(100);
/// The time in which a reset follows the end of file of a peer that left bytes unread.
const BEHIND: Duration = Duration::from_millis(5);
/// The time after our close_notify in which neither a reset nor an alert may come, where the peer
/// does not close.
const QUIET: Duration = Duration::from_millis(250);

/// What is expected of the end of a transaction.
#[derive(Debug)]
pub(super) struct Expectation {
    /// Whether the transaction contains events.
    pub(super) has_events: bool,
    /// The least that confirms it.
    pub(super) least: Confirmation,
    /// Whether the receiver always sent a close_notify before.
    pub(super) close_notify: bool,
    /// All of it takes at most this long.
    pub(super) limit: Duration,
}

/// How a transaction ended.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) by: Confirmation,
    pub(super) sent_close_notify: bool,
}

/// Ends the transaction.
///
/// # Errors
/// When it ended in any other way than expected.
pub(super) fn end(mut tls: Tls, expected: &Expectation) -> Result<Ending, NetError> {
    tls.tcp.begin_exchange(expected.limit);
    expect_open(tls.listen()?)?;
    let watch = tls.tcp.watch().map_err(during("the connection is gone"))?;
    let least = expected.least;
    if least == Confirmation::Acknowledged && watch.view().is_none() {
        // the kernel knows nothing of a connection that was reset, either
        tls.tcp.pending_error()?;
        let failure = Failure::new("this system does not tell what the receiver acknowledged");
        return Err(NetError::Lasting(failure.with_exit(Exit::Config).with_hint(
            "set [devo] confirm = \"close\"; or run where sock_diag(7) or /proc/self/net can be read",
        )));
    }
    if expected.has_events {
        settle(&mut tls, &watch)?;
        expect_open(tls.listen()?)?;
    }
    tls.send_close_notify()?;
    let closed = Instant::now();
    let mut peer = Peer::new(&watch);
    // until our half is closed, a reset after the peer's end of file can be seen
    let patience = |peer: &Peer| match least {
        _ if peer.sent_close_notify => MOMENT,
        Confirmation::Close => PATIENCE,
        Confirmation::Acknowledged => QUIET,
    };
    while !peer.has_ended && closed.elapsed() < patience(&peer) {
        peer.read_event(&mut tls).map_err(unclosed)?;
    }
    if peer.has_ended {
        sleep(BEHIND);
        tls.tcp.pending_error()?;
    }
    // a peer whose kernel had our close_notify when it ended has no reason left for a reset
    let was_heard = peer.has_ended && watch.view().is_some_and(View::is_acknowledged);
    tls.tcp
        .shutdown_write()
        .map_err(during("closing our half of the connection"))?;
    let is_enough = |watch: &Watch| {
        least == Confirmation::Acknowledged
            && closed.elapsed() >= QUIET
            && watch.view().is_some_and(View::is_acknowledged)
    };
    while !peer.has_ended && !is_enough(&watch) {
        peer.read_event(&mut tls).map_err(unclosed)?;
    }
    tls.tcp.pending_error()?;
    // until all is acknowledged, a reset that answers our last bytes may still arrive
    while !was_heard && watch.view().is_some_and(|view| !view.is_acknowledged()) {
        tls.tcp.pause(Duration::from_millis(1))?;
    }
    tls.tcp.pending_error()?;
    let through_proxy = tls.tcp.through_proxy;
    let is_whole = peer.sent_close_notify || !expected.close_notify && !through_proxy;
    match peer.has_ended && is_whole {
        false if least == Confirmation::Close => Err(without_close_notify(through_proxy)),
        is_closed => Ok(Ending {
            by: match is_closed {
                true => Confirmation::Close,
                false => Confirmation::Acknowledged,
            },
            sent_close_notify: peer.sent_close_notify,
        }),
    }
}

fn unclosed(error: NetError) -> NetError {
    let error = match error {
        NetError::Silent(_) => error.or_hint(NEVER_CLOSES),
        _ => error,
    };
    error.context("waiting for the receiver to close the connection")
}

fn without_close_notify(through_proxy: bool) -> NetError {
    let why = match through_proxy {
        true => "the proxy may have ended it",
        false => "the receiver always sent one before",
    };
    let failure = Failure::new(format!(
        "the connection ended without close_notify, which proves nothing: {why}"
    ));
    NetError::Cut(match through_proxy {
        true => failure,
        false => failure.with_hint(RELEARN),
    })
}

/// Waits until the peer's kernel has every byte and its program had time to close early. After our
/// close_notify, an early close would look like the answer to it.
fn settle(tls: &mut Tls, watch: &Watch) -> Result<(), NetError> {
    let mut left = Unacknowledged::new(watch);
    let mut pause = Duration::from_millis(1);
    while left.shrink(tls) > 0 {
        expect_open(tls.listen()?)?;
        tls.tcp.pause(pause)?;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    sleep(SETTLE);
    Ok(())
}

/// What the peer did since our close_notify.
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

    /// Waits a moment for an event.
    ///
    /// The timeout counts from the last progress: a peer may be slow while its kernel takes our
    /// bytes.
    fn read_event(&mut self, tls: &mut Tls) -> Result<(), NetError> {
        match tls.read_event()? {
            PeerEvent::EndOfFile => self.has_ended = true,
            PeerEvent::CloseNotify => self.sent_close_notify = true,
            PeerEvent::Something => {}
            PeerEvent::Nothing => {
                self.left.shrink(tls);
            }
        }
        Ok(())
    }
}

/// Watches how many bytes the peer's kernel has not acknowledged.
#[derive(Debug)]
struct Unacknowledged<'a> {
    watch: &'a Watch,
    last: Option<u64>,
}

impl Unacknowledged<'_> {
    fn new(watch: &Watch) -> Unacknowledged<'_> {
        Unacknowledged { watch, last: None }
    }

    /// Asks again; a smaller number counts as progress.
    fn shrink(&mut self, tls: &mut Tls) -> u64 {
        let left = self.watch.view().map_or(0, |view| view.unacknowledged);
        if self.last.replace(left).is_some_and(|before| left < before) {
            tls.tcp.progress();
        }
        left
    }
}

/// An error of the socket while this was being done.
fn during(doing: &'static str) -> impl Fn(std::io::Error) -> NetError {
    move |error| NetError::from(error).context(doing)
}

const RELEARN: &str = "run once with --forget-receiver if the receiver or load balancer was replaced by one that \
     sends no close_notify; if not, find what cuts connections on the way; the next run sends \
     unconfirmed events again";
const NEVER_CLOSES: &str = "check the receiver, and the firewalls and load balancers on the way: each must pass on the end \
     of a connection; if this receiver never closes, set [devo] confirm = \"acknowledged\", which proves \
     less; the next run sends unconfirmed events again";
