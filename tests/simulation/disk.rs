//! A disk that tells the truth about crashes: what was not synced may be lost, torn or out of order.
//!
//! It keeps what the program sees and, beside it, what is durable. A crash chooses what becomes of
//! everything between, as far as POSIX allows: a write without a sync may be lost as a whole or in part, or leave
//! its length without its bytes; a name without a sync of its folder may be the old one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// This call fails with EIO. A sync that fails so loses what it was to make durable.
    Io,
    /// The disk is full from this call on: a write takes a part.
    Full,
    /// The disk can only be read from this call on.
    ReadOnly,
}

impl DiskFault {
    /// All of them.
    pub const ALL: [DiskFault; 3] = [DiskFault::Io, DiskFault::Full, DiskFault::ReadOnly];
}

/// The disk.
#[derive(Debug, Default)]
pub struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// What was done to names since the sync of their folders, in order.
    changes: Vec<NameChange>,
    locked: BTreeSet<usize>,
    /// Calls in this run,
    calls: usize,
    /// and what goes wrong with them.
    faults: BTreeMap<usize, DiskFault>,
    lasting: Option<DiskFault>,
}

#[derive(Debug, Default)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
    /// Since the last sync, in order.
    writes: Vec<Write>,
}

#[derive(Debug)]
enum Write {
    At(u64, Vec<u8>),
    Length(u64),
}

/// A name gets a file, or loses it; a rename is both at once.
#[derive(Debug)]
struct NameChange {
    gone: Option<PathBuf>,
    new: Option<(PathBuf, usize)>,
}

/// The kinds of call, by which some faults tell what they spare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Read,
    Write,
    Change,
    Sync,
}

impl Disk {
    /// A run begins, in which these calls go wrong.
    pub fn begin(&mut self, faults: BTreeMap<usize, DiskFault>) {
        self.calls = 0;
        self.faults = faults;
        self.lasting = None;
        self.locked.clear();
    }

    /// The content of a file, as the program sees it.
    pub fn content(&self, path: &Path) -> Option<&[u8]> {
        let inode = self.names.get(path)?;
        Some(&self.inodes[*inode].content)
    }

    /// The machine has crashed: what is on the disk now. `choose` takes how many possibilities there are, and
    /// returns which of them it is.
    pub fn crash(&mut self, choose: &mut dyn FnMut(usize) -> usize) {
        let changes = std::mem::take(&mut self.changes);
        self.names = std::mem::take(&mut self.durable_names);
        for change in changes {
            if choose(2) == 0 {
                change.apply(&mut self.names);
            }
        }
        self.durable_names = self.names.clone();
        for inode in &mut self.inodes {
            inode.crash(choose);
        }
        self.locked.clear();
    }

    /// Counts a call, and fails it if that is due.
    fn call(&mut self, call: Call) -> Result<()> {
        self.calls += 1;
        let fault = self.faults.remove(&self.calls);
        if matches!(fault, Some(DiskFault::Full | DiskFault::ReadOnly)) {
            self.lasting = fault;
        }
        match (fault.or(self.lasting), call) {
            (None, _) => Ok(()),
            (Some(DiskFault::Io), _) => Err(Error::from_raw_os_error(EIO)),
            (Some(DiskFault::Full), Call::Write) => Err(ErrorKind::StorageFull.into()),
            (Some(DiskFault::ReadOnly), Call::Write | Call::Change) => {
                Err(ErrorKind::ReadOnlyFilesystem.into())
            }
            (Some(_), _) => Ok(()),
        }
    }

    pub(super) fn open(&mut self, path: &Path) -> Result<usize> {
        self.call(Call::Read)?;
        self.find(path)
    }

    fn find(&self, path: &Path) -> Result<usize> {
        let inode = self.names.get(path).copied();
        inode.ok_or_else(|| ErrorKind::NotFound.into())
    }

    pub(super) fn create(&mut self, path: &Path) -> Result<usize> {
        self.call(Call::Change)?;
        if self.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let inode = self.inodes.len();
        self.inodes.push(Inode::default());
        self.change(NameChange {
            gone: None,
            new: Some((path.to_owned(), inode)),
        });
        Ok(inode)
    }

    pub(super) fn open_or_create(&mut self, path: &Path) -> Result<usize> {
        match self.find(path) {
            Ok(_) => self.open(path),
            Err(_) => self.create(path),
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        self.call(Call::Change)?;
        let inode = self.find(from)?;
        self.change(NameChange {
            gone: Some(from.to_owned()),
            new: Some((to.to_owned(), inode)),
        });
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> Result<()> {
        self.find(path)?;
        self.call(Call::Change)?;
        self.change(NameChange {
            gone: Some(path.to_owned()),
            new: None,
        });
        Ok(())
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    pub(super) fn sync_folder(&mut self, folder: &Path) -> Result<()> {
        self.call(Call::Sync)?;
        let is_inside = |path: &Path| path.parent() == Some(folder);
        let durable = &mut self.durable_names;
        self.changes.retain(|change| {
            let path = change.new.as_ref().map(|(path, _)| path);
            let is_synced = path
                .or(change.gone.as_ref())
                .is_some_and(|path| is_inside(path));
            if is_synced {
                change.apply(durable);
            }
            !is_synced
        });
        Ok(())
    }

    pub(super) fn length_of(&mut self, path: &Path) -> Result<u64> {
        self.call(Call::Read)?;
        let inode = self.find(path)?;
        Ok(self.length(inode))
    }

    pub(super) fn length(&self, inode: usize) -> u64 {
        self.inodes[inode].content.len() as u64
    }

    pub(super) fn read(&mut self, inode: usize, at: u64, buffer: &mut [u8]) -> Result<usize> {
        self.call(Call::Read)?;
        let content = &self.inodes[inode].content;
        let rest = content.get(at as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    pub(super) fn write(&mut self, inode: usize, at: u64, bytes: &[u8]) -> Result<usize> {
        let was_full = self.lasting == Some(DiskFault::Full);
        let taken = match self.call(Call::Write) {
            Ok(()) => bytes,
            // the last blocks are filled first
            Err(error) if error.kind() == ErrorKind::StorageFull && !was_full => {
                match bytes.len() / 2 {
                    0 => return Err(error),
                    half => &bytes[..half],
                }
            }
            Err(error) => return Err(error),
        };
        self.inodes[inode].change(Write::At(at, taken.to_owned()));
        Ok(taken.len())
    }

    pub(super) fn set_length(&mut self, inode: usize, length: u64) -> Result<()> {
        self.call(Call::Change)?;
        if length != self.length(inode) {
            self.inodes[inode].change(Write::Length(length));
        }
        Ok(())
    }

    pub(super) fn sync(&mut self, inode: usize) -> Result<()> {
        let called = self.call(Call::Sync);
        let inode = &mut self.inodes[inode];
        // if it fails, the pages count as clean all the same, and nothing writes them again
        for write in inode.writes.drain(..) {
            if called.is_ok() {
                write.apply(&mut inode.durable);
            }
        }
        called
    }

    pub(super) fn try_lock(&mut self, inode: usize) -> bool {
        self.locked.insert(inode)
    }

    pub(super) fn unlock(&mut self, inode: usize) {
        self.locked.remove(&inode);
    }
}

const EIO: i32 = 5;

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        if let Some(gone) = &self.gone {
            names.remove(gone);
        }
        if let Some((path, inode)) = &self.new {
            names.insert(path.clone(), *inode);
        }
    }
}

impl Inode {
    fn change(&mut self, write: Write) {
        write.apply(&mut self.content);
        self.writes.push(write);
    }

    fn crash(&mut self, choose: &mut dyn FnMut(usize) -> usize) {
        for write in self.writes.drain(..) {
            match (choose(4), write) {
                (0, write) => write.apply(&mut self.durable),
                (1, _) => {}
                // torn
                (2, Write::At(at, bytes)) => {
                    let half = bytes.len() / 2;
                    Write::At(at, bytes[..half].to_owned()).apply(&mut self.durable);
                }
                // its length without its bytes
                (_, Write::At(at, bytes)) => {
                    let end = at as usize + bytes.len();
                    if self.durable.len() < end {
                        self.durable.resize(end, 0);
                    }
                }
                (_, write) => write.apply(&mut self.durable),
            }
        }
        self.content.clone_from(&self.durable);
    }
}

impl Write {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Write::Length(length) => content.resize(*length as usize, 0),
            Write::At(at, bytes) => {
                let (at, end) = (*at as usize, *at as usize + bytes.len());
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[at..end].copy_from_slice(bytes);
            }
        }
    }
}
