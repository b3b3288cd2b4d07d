//! Open files and sockets of the simulated world. They are numbers: what is behind them is in the world.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::Duration;

use proofpull::world::{WorldFile, WorldSocket, WorldWatch};

use super::world::Simulated;

/// An open file.
#[derive(Debug)]
pub struct File {
    world: Arc<Simulated>,
    inode: usize,
    at: u64,
    has_lock: bool,
}

impl File {
    /// A file that was just opened.
    pub(super) fn new(world: Arc<Simulated>, inode: usize) -> File {
        File {
            world,
            inode,
            at: 0,
            has_lock: false,
        }
    }
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
            self.world.inner().unlock(self.inode);
        }
    }
}

/// A socket.
#[derive(Debug)]
pub struct Socket {
    world: Arc<Simulated>,
    number: usize,
    step: Duration,
}

impl Socket {
    /// A socket that was just connected.
    pub(super) fn new(world: Arc<Simulated>, number: usize) -> Socket {
        Socket {
            world,
            number,
            step: Duration::ZERO,
        }
    }
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
        self.world.inner().write(self.number, bytes, self.step)
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
