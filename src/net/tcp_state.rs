//! `tcp_state` asks the kernel how much of a connection the peer's kernel has not acknowledged.
//!
//! It asks for one connection (sock_diag(7)), which takes microseconds. Where that is not allowed,
//! it reads the table of all connections (proc(5)), which takes milliseconds on a machine with much
//! memory. Of the crate `rustix`, only this file uses `net`; `secret::command` and `files` use
//! other parts.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

/// What the kernel knows of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    /// Written bytes that the peer's kernel has not acknowledged, our FIN included.
    pub(crate) unacknowledged: u64,
    /// Whether the peer has acknowledged our FIN.
    pub(crate) fin_acknowledged: bool,
}

impl View {
    /// Only how much is not acknowledged is known.
    #[must_use]
    pub(super) fn of(unacknowledged: u64) -> View {
        View {
            unacknowledged,
            fin_acknowledged: false,
        }
    }

    fn new(state: u8, unacknowledged: u64) -> View {
        const FIN_WAIT2: u8 = 5;
        const TIME_WAIT: u8 = 6;
        View {
            unacknowledged,
            fin_acknowledged: matches!(state, FIN_WAIT2 | TIME_WAIT),
        }
    }

    /// Whether the peer's kernel has everything that was written.
    pub(crate) fn is_acknowledged(self) -> bool {
        self.fin_acknowledged || self.unacknowledged == 0
    }
}

/// Watches one connection, also after its peer is gone.
#[derive(Debug)]
pub(crate) struct KernelWatch {
    local: SocketAddr,
    peer: SocketAddr,
    /// A netlink socket, if the kernel knew the connection at first. Otherwise "not there" could
    /// mean that the kernel cannot tell.
    diag: Option<OwnedFd>,
}

impl KernelWatch {
    /// Watches an open connection, given its ends.
    #[must_use]
    pub(crate) fn new(local: SocketAddr, peer: SocketAddr) -> KernelWatch {
        let diag = diag::open().filter(|socket| diag::ask(socket, local, peer).is_some());
        KernelWatch { local, peer, diag }
    }

    /// `None` if the kernel does not tell, or no longer knows the connection.
    #[must_use]
    pub(crate) fn view(&self) -> Option<View> {
        match &self.diag {
            Some(socket) => diag::ask(socket, self.local, self.peer),
            None => in_table(self.local, self.peer),
        }
    }
}

#[cfg(target_os = "linux")]
mod diag {
    use super::{IpAddr, OwnedFd, SocketAddr, View};
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send,
        socket_with,
    };

    pub(super) fn open() -> Option<OwnedFd> {
        socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )
        .ok()
    }

    /// `None` if the connection is not there, or the kernel cannot be asked.
    pub(super) fn ask(socket: &OwnedFd, local: SocketAddr, peer: SocketAddr) -> Option<View> {
        send(socket, &question(local, peer), SendFlags::empty()).ok()?;
        let mut answer = [0; 1024];
        let (_, length) = recv(socket, &mut answer[..], RecvFlags::DONTWAIT).ok()?;
        read(answer.get(..length)?)
    }

    /// Message type and header length of `struct nlmsghdr`.
    const BY_FAMILY: u16 = 20;
    const HEAD: usize = 16;

    /// A header and a `struct inet_diag_req_v2` of linux/inet_diag.h.
    fn question(local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
        const LENGTH: u32 = 72;
        const REQUEST: u16 = 1;
        const IPV4: u8 = 2;
        const IPV6: u8 = 10;
        const TCP: u8 = 6;
        let (family, interface) = match peer {
            SocketAddr::V4(_) => (IPV4, 0),
            SocketAddr::V6(peer) => (IPV6, peer.scope_id()),
        };
        let mut out = Vec::with_capacity(LENGTH as usize);
        out.extend(LENGTH.to_ne_bytes());
        out.extend(BY_FAMILY.to_ne_bytes());
        out.extend(REQUEST.to_ne_bytes());
        out.extend([0; 8]);
        out.extend([family, TCP, 0, 0]);
        let any_state = u32::MAX;
        out.extend(any_state.to_ne_bytes());
        let ends = [local, peer];
        out.extend(ends.iter().flat_map(|end| end.port().to_be_bytes()));
        out.extend(ends.iter().flat_map(octets));
        out.extend(interface.to_ne_bytes());
        let any_cookie = u64::MAX;
        out.extend(any_cookie.to_ne_bytes());
        out
    }

    fn octets(end: &SocketAddr) -> [u8; 16] {
        match end.ip() {
            IpAddr::V6(ip) => ip.octets(),
            IpAddr::V4(ip) => {
                let mut octets = [0; 16];
                octets[..4].copy_from_slice(&ip.octets());
                octets
            }
        }
    }

    /// Parses a `struct inet_diag_msg` after its header; anything else is a refusal.
    fn read(answer: &[u8]) -> Option<View> {
        const STATE: usize = HEAD + 1;
        const UNACKNOWLEDGED: usize = HEAD + 60;
        let kind = answer.get(4..6)?.try_into().ok()?;
        let count = answer.get(UNACKNOWLEDGED..)?.first_chunk()?;
        let view = View::new(*answer.get(STATE)?, u32::from_ne_bytes(*count).into());
        (u16::from_ne_bytes(kind) == BY_FAMILY).then_some(view)
    }
}

#[cfg(not(target_os = "linux"))]
mod diag {
    use super::{OwnedFd, SocketAddr, View};

    pub(super) fn open() -> Option<OwnedFd> {
        None
    }

    pub(super) fn ask(_: &OwnedFd, _: SocketAddr, _: SocketAddr) -> Option<View> {
        None
    }
}

fn in_table(local: SocketAddr, peer: SocketAddr) -> Option<View> {
    let (table, ends) = match local {
        SocketAddr::V4(_) => ("/proc/self/net/tcp", [local, peer].map(name)),
        SocketAddr::V6(_) => ("/proc/self/net/tcp6", [local, peer].map(name)),
    };
    let table = std::fs::read_to_string(table).ok()?;
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        if fields.next()? != ends[0] || fields.next()? != ends[1] {
            return None;
        }
        let state = u8::from_str_radix(fields.next()?, 16).ok()?;
        let unacknowledged = u64::from_str_radix(fields.next()?.split(':').next()?, 16).ok()?;
        Some(View::new(state, unacknowledged))
    })
}

/// The table writes addresses as hexadecimal words in the machine's byte order.
fn name(address: SocketAddr) -> String {
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = octets
        .chunks_exact(4)
        .map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    let words: String = words.map(|word| format!("{word:08X}")).collect();
    format!("{words}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};

    #[test]
    fn the_kernel_tells_of_a_connection_on_both_families_and_in_both_ways() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(any) else {
                continue;
            };
            let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (peer, _) = listener.accept().unwrap();
            let asked = KernelWatch::new(stream.local_addr().unwrap(), stream.peer_addr().unwrap());
            assert!(asked.diag.is_some() || cfg!(not(target_os = "linux")));
            let diag = None;
            let (local, far) = (asked.local, asked.peer);
            let read = KernelWatch {
                local,
                peer: far,
                diag,
            };
            for watch in [&asked, &read] {
                assert_eq!(watch.view(), Some(View::new(1, 0)), "{any}");
            }
            // more than the peer's kernel takes
            stream.set_nonblocking(true).unwrap();
            while stream.write(&[0; 65536]).is_ok() {}
            for watch in [&asked, &read] {
                assert!(watch.view().unwrap().unacknowledged > 65536, "{any}");
            }
            drop(peer);
            drop(stream);
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (peer, _) = listener.accept().unwrap();
            let (local, far) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
            let asked = KernelWatch::new(local, far);
            let read = KernelWatch {
                local,
                peer: far,
                diag: None,
            };
            stream.shutdown(Shutdown::Write).unwrap();
            for watch in [&asked, &read] {
                while !watch.view().unwrap().fin_acknowledged {}
            }
            drop(peer);
        }
    }

    #[test]
    fn a_connection_that_is_gone_is_not_there() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        let watch = KernelWatch::new(stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        drop(peer);
        drop(stream);
        while watch.view().is_some() {}
        assert_eq!(watch.view(), None);
    }
}
