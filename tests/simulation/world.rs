//! The simulated world: one clock, one disk, and a network with the services and the receiver.
//!
//! It counts what the program does in it, so that a run can end at any operation.

use std::collections::BTreeMap;
use std::io::{self, Error, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use proofpull::shutdown::Shutdown;
use proofpull::world::{World, WorldFile, WorldSocket, WorldWatch};
use time::OffsetDateTime;

use super::api::Api;
use super::disk::{Disk, DiskFault};
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

#[derive(Debug)]
struct Inner {
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

    fn inner(&self) -> MutexGuard<'_, Inner> {
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
    fn operate(&mut self) -> io::Result<()> {
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
    fn socket(&mut self, number: usize) -> (&mut Connection, Duration) {
        (&mut self.sockets[number], self.elapsed)
    }

    fn read(
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
        Ok(Box::new(Socket {
            world: self.own(),
            number,
            step: Duration::ZERO,
        }))
    }
}

impl Simulated {
    fn disk<T>(&self, call: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.inner();
        inner.operate()?;
        call(&mut inner.disk)
    }

    fn file(
        &self,
        open: impl FnOnce(&mut Disk) -> io::Result<usize>,
    ) -> io::Result<Box<dyn WorldFile>> {
        let inode = self.disk(open)?;
        Ok(Box::new(File {
            world: self.own(),
            inode,
            at: 0,
            has_lock: false,
        }))
    }
}

#[derive(Debug)]
struct File {
    world: Arc<Simulated>,
    inode: usize,
    at: u64,
    has_lock: bool,
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self
            .world
            .disk(|disk| disk.read(self.inode, self.at, buffer))?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self
            .world
            .disk(|disk| disk.write(self.inode, self.at, bytes))?;
        self.at += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let length = self.world.disk(|disk| Ok(disk.length(self.inode)))?;
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::End(by) => length.saturating_add_signed(by),
            SeekFrom::Current(by) => self.at.saturating_add_signed(by),
        };
        Ok(self.at)
    }
}

impl WorldFile for File {
    fn length(&self) -> io::Result<u64> {
        self.world.disk(|disk| Ok(disk.length(self.inode)))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.world.disk(|disk| disk.set_length(self.inode, length))
    }

    fn sync(&self) -> io::Result<()> {
        self.world.disk(|disk| disk.sync(self.inode))
    }

    fn try_lock(&mut self) -> io::Result<bool> {
        self.has_lock = self.world.disk(|disk| Ok(disk.try_lock(self.inode)))?;
        Ok(self.has_lock)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if self.has_lock {
            self.world.inner().disk.unlock(self.inode);
        }
    }
}

#[derive(Debug)]
struct Socket {
    world: Arc<Simulated>,
    number: usize,
    step: Duration,
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.world
            .inner()
            .read(self.number, buffer, self.step, false)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.world.inner();
        inner.operate()?;
        let (connection, now) = inner.socket(self.number);
        connection.write(bytes, now)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WorldSocket for Socket {
    fn set_step(&mut self, step: Duration) {
        self.step = step;
    }

    fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.world
            .inner()
            .read(self.number, buffer, self.step, true)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        let mut inner = self.world.inner();
        inner.operate()?;
        let (connection, now) = inner.socket(self.number);
        connection.shut_down(now)
    }

    fn take_error(&self) -> io::Result<()> {
        let mut inner = self.world.inner();
        inner.operate()?;
        let (connection, now) = inner.socket(self.number);
        connection.take_error(now)
    }

    fn watch(&self) -> Arc<dyn WorldWatch> {
        Arc::new(Watch {
            world: Arc::clone(&self.world),
            number: self.number,
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut inner = self.world.inner();
        let (connection, now) = inner.socket(self.number);
        connection.drop_at(now);
    }
}

#[derive(Debug)]
struct Watch {
    world: Arc<Simulated>,
    number: usize,
}

impl WorldWatch for Watch {
    fn unacknowledged(&self) -> Option<u64> {
        let mut inner = self.world.inner();
        let (connection, now) = inner.socket(self.number);
        connection.unacknowledged(now)
    }
}
