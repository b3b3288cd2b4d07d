//! `world` is what the program reaches outside of itself: time, files and connections.
//!
//! The program runs in the world of the machine. A simulation runs it in a [`World`] of its own, which
//! a thread enters with [`within`]; threads are not started there, their work is done at once. Only
//! `clock`, `files` and `net` ask for the world, at the calls that would otherwise go to the system.
//! The program itself never enters one.

use std::cell::RefCell;
use std::fmt::Debug;
use std::io::{Read, Result, Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

/// Time, files and connections of a simulation. Each call may fail as the system's does.
pub trait World: Debug + Send + Sync {
    /// What the wall clock shows.
    fn utc(&self) -> OffsetDateTime;

    /// The time that has passed since the world began. It never goes back.
    fn elapsed(&self) -> Duration;

    /// Lets this time pass.
    fn sleep(&self, time: Duration);

    /// Creates a folder and its parents.
    ///
    /// # Errors
    /// Those of the disk.
    fn create_folder(&self, path: &Path) -> Result<()>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// `NotFound`, and those of the disk.
    fn open(&self, path: &Path) -> Result<Box<dyn WorldFile>>;

    /// Creates a file for writing.
    ///
    /// # Errors
    /// `AlreadyExists`, and those of the disk.
    fn create(&self, path: &Path) -> Result<Box<dyn WorldFile>>;

    /// Opens a file for reading and writing at its start, or creates it.
    ///
    /// # Errors
    /// Those of the disk.
    fn open_or_create(&self, path: &Path) -> Result<Box<dyn WorldFile>>;

    /// The length of a file in bytes.
    ///
    /// # Errors
    /// `NotFound`, and those of the disk.
    fn length(&self, path: &Path) -> Result<u64>;

    /// Renames a file, in place of any with that name. The name is durable once the folder is synced.
    ///
    /// # Errors
    /// `NotFound`, and those of the disk.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`, and those of the disk.
    fn remove(&self, path: &Path) -> Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// Those of the disk.
    fn sync_folder(&self, path: &Path) -> Result<()>;

    /// Connects to `host`, waiting at most `timeout`.
    ///
    /// # Errors
    /// Those of the network.
    fn connect(&self, host: &str, port: u16, timeout: Duration) -> Result<Box<dyn WorldSocket>>;
}

/// An open file of a [`World`].
pub trait WorldFile: Read + Write + Seek + Debug + Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    /// Those of the disk.
    fn length(&self) -> Result<u64>;

    /// Cuts it off, or fills it up with zeros.
    ///
    /// # Errors
    /// Those of the disk.
    fn set_length(&self, length: u64) -> Result<()>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// Those of the disk.
    fn sync(&self) -> Result<()>;

    /// Locks it until it is dropped; whether nobody else had done so.
    ///
    /// # Errors
    /// Those of the disk.
    fn try_lock(&mut self) -> Result<bool>;
}

/// A TCP connection of a [`World`].
///
/// A read or a write that can do nothing lets the time of its step pass and fails with `WouldBlock`.
pub trait WorldSocket: Read + Write + Debug + Send + Sync {
    /// From now on, a read or a write waits so long; not at all if it is zero.
    fn set_step(&mut self, step: Duration);

    /// Copies bytes that a read would return, and leaves them there.
    ///
    /// # Errors
    /// As a read.
    fn peek(&mut self, buffer: &mut [u8]) -> Result<usize>;

    /// Tells the peer that nothing more will come.
    ///
    /// # Errors
    /// When the connection is gone.
    fn shutdown_write(&self) -> Result<()>;

    /// Takes the error that waits at the socket, such as a reset.
    ///
    /// # Errors
    /// That error.
    fn take_error(&self) -> Result<()>;

    /// What the kernel knows of the connection, also once the socket is gone.
    fn watch(&self) -> Arc<dyn WorldWatch>;
}

/// What the kernel knows of a connection of a [`World`].
pub trait WorldWatch: Debug + Send + Sync {
    /// The written bytes that the peer's kernel has not acknowledged, the end of our half included;
    /// `None` once the connection is forgotten, as after a reset.
    fn unacknowledged(&self) -> Option<u64>;
}

thread_local! {
    /// The world that this thread has entered.
    static WORLD: RefCell<Option<Arc<dyn World>>> = const { RefCell::new(None) };
}

/// Does `work` in this world, on this thread.
pub fn within<T>(world: &Arc<dyn World>, work: impl FnOnce() -> T) -> T {
    /// The world before, also after a panic.
    struct Entered(Option<Arc<dyn World>>);

    impl Drop for Entered {
        fn drop(&mut self) {
            WORLD.set(self.0.take());
        }
    }

    let _before = Entered(WORLD.replace(Some(Arc::clone(world))));
    work()
}

/// The world of the simulation that this thread is in; `None` is the machine.
#[must_use]
pub(crate) fn simulated() -> Option<Arc<dyn World>> {
    WORLD.with_borrow(Clone::clone)
}
