//! The simulated world: one clock, one disk, and a network with the services and the receiver.
//!
//! It counts what the program does in it, so that a run can end at any operation.

use std::collections::BTreeMap;
use std::io::{self, Error, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use proofpull::shutdown::Shutdown;
use proofpull::world::{World, WorldFile, WorldSocket};
use time::OffsetDateTime;

use super::api::Api;
use super::disk::{Disk, DiskFault};
use super::handles::{File, Socket};
use super::http::{Fault, HttpConnection, Server, SharedServer};
use super::network::Connection;
use super::receiver::{Behaviour, Received, Receiver, Session};

/// The port of the receiver; a service has another one.
pub const RECEIVER: u16 = 1000;
/// What each operation takes, so that no loop lasts for ever.
const OPERATION: Duration = Duration::from_micros(1);

/// How a run ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// The program is killed: the kernel closes its connections, and the disk keeps everything.
    Kill,
    /// The machine crashes: what the disk has is decided by chance.
    Crash,
}

/// What goes wrong in a run.
#[derive(Debug, Default)]
pub struct Troubles {
    /// With answers of the service, by their numbers.
    pub answers: BTreeMap<usize, Fault>,
    /// With connections of the receiver, by their numbers.
    pub connections: BTreeMap<usize, Behaviour>,
    /// With calls to the disk, by their numbers.
    pub disk: BTreeMap<usize, DiskFault>,
    /// The operation at which it ends.
    pub death: Option<(u64, Death)>,
    /// The operation at which SIGTERM comes.
    pub terminate: Option<u64>,
    /// How far our clock is ahead, and that of the service.
    pub clocks: (time::Duration, time::Duration),
}

/// The world.
#[derive(Debug)]
pub struct Simulated {
    inner: Mutex<Inner>,
    own: Weak<Simulated>,
}

/// What is in a world.
#[derive(Debug)]
pub(super) struct Inner {
    begin: OffsetDateTime,
    elapsed: Duration,
    link: Duration,
    disk: Disk,
    server: SharedServer,
    port: u16,
    receiver: Receiver,
    sockets: Vec<Connection>,
    operations: u64,
    /// Connections to the receiver in this run.
    connections: usize,
    troubles: Troubles,
    dead: Option<Death>,
    shutdown: Shutdown,
}

impl Simulated {
    /// A world with one service at a port, and the receiver.
    pub fn new(
        begin: OffsetDateTime,
        link: Duration,
        (port, api): (u16, Box<dyn Api>),
    ) -> Arc<Simulated> {
        let server = Server {
            api,
            faults: BTreeMap::new(),
            requests: 0,
            begin,
        };
        let inner = Inner {
            begin,
            elapsed: Duration::ZERO,
            link,
            disk: Disk::default(),
            server: Arc::new(Mutex::new(server)),
            port,
            receiver: Receiver::default(),
            sockets: Vec::new(),
            operations: 0,
            connections: 0,
            troubles: Troubles::default(),
            dead: None,
            shutdown: Shutdown::never(),
        };
        Arc::new_cyclic(|own| Simulated {
            inner: Mutex::new(inner),
            own: own.clone(),
        })
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run begins; what stops it early.
    pub fn begin(&self, mut troubles: Troubles) -> Shutdown {
        let mut inner = self.inner();
        inner.disk.begin(std::mem::take(&mut troubles.disk));
        let mut server = inner.server.lock().unwrap_or_else(PoisonError::into_inner);
        server.faults = std::mem::take(&mut troubles.answers);
        server.requests = 0;
        server.begin = inner.begin + troubles.clocks.1;
        drop(server);
        inner.sockets.clear();
        (inner.operations, inner.connections, inner.dead) = (0, 0, None);
        inner.troubles = troubles;
        inner.shutdown = Shutdown::default();
        inner.shutdown.clone()
    }

    /// How many operations the run has made.
    pub fn operations(&self) -> u64 {
        self.inner().operations
    }

    /// How the run has died, if it has.
    pub fn death(&self) -> Option<Death> {
        self.inner().dead
    }

    /// Lets time pass between runs.
    pub fn pass(&self, time: Duration) {
        self.inner().elapsed += time;
    }

    /// The true time.
    pub fn now(&self) -> OffsetDateTime {
        let inner = self.inner();
        inner.begin + inner.elapsed
    }

    /// What a crash has left on the disk, as [`Disk::crash`].
    pub fn crash(&self, choose: &mut dyn FnMut(usize) -> usize) {
        self.inner().disk.crash(choose);
    }

    /// The content of a file.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        self.inner().disk.content(path).map(<[u8]>::to_vec)
    }

    /// What the receiver has by now.
    pub fn received<T>(&self, look: impl FnOnce(&Received) -> T) -> T {
        let receiver = Arc::clone(&self.inner().receiver);
        let received = receiver.lock().unwrap_or_else(PoisonError::into_inner);
        look(&received)
    }

    fn own(&self) -> Arc<Simulated> {
        self.own.upgrade().expect("whoever calls has it")
    }
}

fn crashed() -> Error {
    Error::other("the run is over")
}

impl Inner {
    /// Counts an operation, and fails it once the run is over.
    pub(super) fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        self.elapsed += OPERATION;
        if self.troubles.terminate == Some(self.operations) {
            self.shutdown.raise();
        }
        if let Some((at, death)) = self.troubles.death
            && at == self.operations
        {
            self.dead = Some(death);
            self.shutdown.raise();
        }
        match self.dead {
            None => Ok(()),
            Some(_) => Err(crashed()),
        }
    }

    /// The connection of a socket, and the time.
    pub(super) fn socket(&mut self, number: usize) -> (&mut Connection, Duration) {
        (&mut self.sockets[number], self.elapsed)
    }

    /// Reads from a socket, or looks at what there is to read, within `step`.
    pub(super) fn read(
        &mut self,
        number: usize,
        buffer: &mut [u8],
        step: Duration,
        keep: bool,
    ) -> io::Result<usize> {
        self.operate()?;
        let until = self.elapsed + step;
        loop {
            let (connection, now) = self.socket(number);
            if let Some(count) = connection.read(buffer, now, keep)? {
                return Ok(count);
            }
            let next = connection.wait(now).unwrap_or(until);
            if now >= until {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.elapsed = next.clamp(now, until);
        }
    }

    /// Writes to a socket within `step`.
    pub(super) fn write(
        &mut self,
        number: usize,
        bytes: &[u8],
        step: Duration,
    ) -> io::Result<usize> {
        self.operate()?;
        let (connection, now) = self.socket(number);
        connection.write(bytes, now).inspect_err(|error| {
            if error.kind() == ErrorKind::WouldBlock {
                self.elapsed += step;
            }
        })
    }

    /// Frees a lock, as the kernel does when a file is closed.
    pub(super) fn unlock(&mut self, inode: usize) {
        self.disk.unlock(inode);
    }

    fn connect(&mut self, port: u16) -> io::Result<usize> {
        self.operate()?;
        self.elapsed += self.link;
        let link = self.link;
        let connection = match port {
            RECEIVER => {
                let number = self.connections;
                self.connections += 1;
                match self.troubles.connections.remove(&number) {
                    Some(Behaviour::Refuse) => return Err(ErrorKind::ConnectionRefused.into()),
                    behaviour => {
                        let behaviour = behaviour.unwrap_or(Behaviour::Normal);
                        Connection::to(Box::new(Session::new(&self.receiver, behaviour)), link)
                    }
                }
            }
            _ if port == self.port => {
                Connection::to(Box::new(HttpConnection::to(&self.server)), link)
            }
            _ => return Err(ErrorKind::ConnectionRefused.into()),
        };
        self.sockets.push(connection);
        Ok(self.sockets.len() - 1)
    }
}

impl World for Simulated {
    fn utc(&self) -> OffsetDateTime {
        let inner = self.inner();
        inner.begin + inner.elapsed + inner.troubles.clocks.0
    }

    fn elapsed(&self) -> Duration {
        self.inner().elapsed
    }

    fn sleep(&self, time: Duration) {
        let mut inner = self.inner();
        // the end of the run is noticed by whoever does something next
        let _ = inner.operate();
        inner.elapsed += time;
    }

    fn create_folder(&self, _: &Path) -> io::Result<()> {
        self.inner().operate()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn WorldFile>> {
        self.file(|disk| disk.open(path))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WorldFile>> {
        self.file(|disk| disk.create(path))
    }

    fn open_or_create(&self, path: &Path) -> io::Result<Box<dyn WorldFile>> {
        self.file(|disk| disk.open_or_create(path))
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        self.disk(|disk| disk.length_of(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk(|disk| disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk(|disk| disk.remove(path))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.disk(|disk| disk.sync_folder(path))
    }

    fn connect(&self, _: &str, port: u16, _: Duration) -> io::Result<Box<dyn WorldSocket>> {
        let number = self.inner().connect(port)?;
        Ok(Box::new(Socket::new(self.own(), number)))
    }
}

impl Simulated {
    /// Makes a call to the disk.
    pub(super) fn disk<T>(&self, call: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.inner();
        inner.operate()?;
        call(&mut inner.disk)
    }

    fn file(
        &self,
        open: impl FnOnce(&mut Disk) -> io::Result<usize>,
    ) -> io::Result<Box<dyn WorldFile>> {
        let inode = self.disk(open)?;
        Ok(Box::new(File::new(self.own(), inode)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom, Write};

    use super::super::api::{Answer, Reply, Request};
    use super::*;

    const LINK: Duration = Duration::from_millis(20);
    const SERVICE: u16 = 1001;

    #[derive(Debug)]
    struct Empty;

    impl Api for Empty {
        fn answer(&mut self, _: &Request, _: OffsetDateTime) -> Reply {
            Reply::Http(Answer {
                status: 200,
                headers: Vec::new(),
                body: b"{}".to_vec(),
            })
        }
    }

    /// A world in which a run has begun.
    fn world(troubles: Troubles) -> (Arc<Simulated>, Shutdown) {
        let begin = OffsetDateTime::UNIX_EPOCH;
        let world = Simulated::new(begin, LINK, (SERVICE, Box::new(Empty)));
        let shutdown = world.begin(troubles);
        (world, shutdown)
    }

    /// Only the program asks a flag whether it is raised.
    fn is_raised(shutdown: &Shutdown) -> bool {
        format!("{shutdown:?}").contains("raised: true")
    }

    fn connect(world: &Simulated, port: u16) -> io::Result<Box<dyn WorldSocket>> {
        world.connect("127.0.0.1", port, Duration::from_secs(1))
    }

    #[test]
    fn a_file_is_written_read_and_locked_by_one() {
        let (world, _) = world(Troubles::default());
        let path = Path::new("/s/a");
        let mut file = world.create(path).unwrap();
        file.write_all(b"one two").unwrap();
        file.seek(SeekFrom::Start(4)).unwrap();
        let mut rest = String::new();
        file.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "two");
        file.set_length(3).unwrap();
        assert_eq!(world.length(path).unwrap(), 3);
        assert_eq!(file.seek(SeekFrom::End(-1)).unwrap(), 2);
        assert!(file.try_lock().unwrap());
        let mut other = world.open_or_create(path).unwrap();
        assert!(!other.try_lock().unwrap());
        // what does not hold the lock does not free it
        drop(other);
        assert!(!world.open(path).unwrap().try_lock().unwrap());
        drop(file);
        assert!(world.open(path).unwrap().try_lock().unwrap());
        assert_eq!(world.content(path).as_deref(), Some(b"one".as_slice()));
    }

    #[test]
    fn an_answer_takes_a_round_trip_and_a_read_waits_for_its_step_at_most() {
        let (world, _) = world(Troubles::default());
        let mut socket = connect(&world, SERVICE).unwrap();
        let step = Duration::from_millis(15);
        socket.set_step(step);
        socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let (asked, mut head) = (world.elapsed(), [0; 8]);
        let waits = socket.read(&mut head).unwrap_err();
        assert_eq!(waits.kind(), ErrorKind::WouldBlock);
        assert_eq!(world.elapsed(), asked + OPERATION + step);
        assert_eq!(socket.peek(&mut head).unwrap(), 8);
        assert_eq!(world.elapsed(), asked + LINK);
        assert_eq!(socket.read(&mut head).unwrap(), 8);
        assert_eq!(&head, b"HTTP/1.1");
        assert_eq!(
            connect(&world, 9).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
    }

    #[test]
    fn a_write_to_a_peer_that_reads_no_more_waits_for_its_step() {
        let troubles = Troubles {
            connections: [(0, Behaviour::StopReading(0))].into(),
            ..Troubles::default()
        };
        let (world, _) = world(troubles);
        let mut socket = connect(&world, RECEIVER).unwrap();
        let step = Duration::from_millis(100);
        socket.set_step(step);
        let error = loop {
            match socket.write(&[0; 4096]) {
                Ok(count) => assert!(count > 0 && world.elapsed() < step),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(world.elapsed() > step);
        assert!(socket.watch().unacknowledged().unwrap() > 4096);
    }

    #[test]
    fn a_run_that_has_died_can_do_nothing_more() {
        let troubles = Troubles {
            death: Some((2, Death::Crash)),
            ..Troubles::default()
        };
        let (world, shutdown) = world(troubles);
        let path = Path::new("/s/a");
        let mut file = world.create(path).unwrap();
        assert!(!is_raised(&shutdown));
        assert!(file.write_all(b"lost").is_err());
        assert!(is_raised(&shutdown));
        assert_eq!(world.death(), Some(Death::Crash));
        assert!(world.open(path).is_err());
        assert!(connect(&world, RECEIVER).is_err());
        drop(file);
        world.crash(&mut |_| 1);
        assert_eq!(world.content(path), None);
        world.begin(Troubles::default());
        assert_eq!((world.death(), world.operations()), (None, 0));
        assert!(world.create(path).is_ok());
    }

    #[test]
    fn clocks_may_be_wrong_and_sigterm_comes_at_its_operation() {
        let hour = time::Duration::HOUR;
        let troubles = Troubles {
            terminate: Some(2),
            clocks: (hour, time::Duration::ZERO),
            ..Troubles::default()
        };
        let (world, shutdown) = world(troubles);
        world.sleep(Duration::from_secs(5));
        assert_eq!(world.utc() - world.now(), hour);
        assert!(world.elapsed() >= Duration::from_secs(5));
        assert!(!is_raised(&shutdown));
        world.create_folder(Path::new("/s")).unwrap();
        assert!(is_raised(&shutdown));
    }
}
