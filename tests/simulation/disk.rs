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
            Ok(inode) => self.call(Call::Change).map(|()| inode),
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
            match write {
                Write::Length(_) if choose(2) == 1 => {}
                Write::Length(_) => write.apply(&mut self.durable),
                Write::At(at, bytes) => {
                    let (end, half) = (at + bytes.len() as u64, bytes.len() / 2);
                    let (kept, lasts_to) = match choose(5) {
                        0 => (0..bytes.len(), end),
                        1 => (0..0, 0),
                        // torn
                        2 => (0..half, at + half as u64),
                        // torn, and the later part came first
                        3 => (half..bytes.len(), end),
                        // its length without its bytes
                        _ => (0..0, end),
                    };
                    let durable = &mut self.durable;
                    durable.resize(durable.len().max(lasts_to as usize), 0);
                    let from = at + kept.start as u64;
                    if !kept.is_empty() {
                        Write::At(from, bytes[kept].to_owned()).apply(durable);
                    }
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &[u8] = b"old";
    const NEW: &[u8] = b"new state";

    /// Makes choices by a number: 0 and those that follow go through all of them.
    #[derive(Debug)]
    struct Numbered {
        rest: u64,
        /// How many numbers there are, as far as choices were made.
        count: u64,
    }

    impl Numbered {
        /// The choices of this number.
        fn new(number: u64) -> Numbered {
            Numbered {
                rest: number,
                count: 1,
            }
        }

        /// One of so many.
        fn choose(&mut self, of: usize) -> usize {
            self.count = self.count.saturating_mul(of as u64);
            let chosen = self.rest % of as u64;
            self.rest /= of as u64;
            chosen as usize
        }
    }

    fn disk_with(path: &str, content: &[u8]) -> Disk {
        let mut disk = Disk::default();
        let inode = disk.create(Path::new(path)).unwrap();
        disk.write(inode, 0, content).unwrap();
        disk.sync(inode).unwrap();
        disk.sync_folder(Path::new("/s")).unwrap();
        disk
    }

    /// Every content that the file may have after a crash behind these calls.
    fn states(path: &str, calls: impl Fn() -> Disk) -> BTreeSet<Option<Vec<u8>>> {
        let (mut states, mut number) = (BTreeSet::new(), 0);
        loop {
            let (mut disk, mut choices) = (calls(), Numbered::new(number));
            disk.crash(&mut |of| choices.choose(of));
            states.insert(disk.content(Path::new(path)).map(<[u8]>::to_vec));
            number += 1;
            if number == choices.count {
                return states;
            }
        }
    }

    fn some(contents: &[&[u8]]) -> BTreeSet<Option<Vec<u8>>> {
        contents.iter().map(|bytes| Some(bytes.to_vec())).collect()
    }

    /// The steps by which a file is replaced, but for those left out.
    fn replaced(steps: usize, leave_out: &[usize]) -> Disk {
        let mut disk = disk_with("/s/a", OLD);
        let (new, path) = (Path::new("/s/a.new"), Path::new("/s/a"));
        let mut inode = 0;
        for step in (0..steps).filter(|step| !leave_out.contains(step)) {
            match step {
                0 => inode = disk.create(new).unwrap(),
                1 => drop(disk.write(inode, 0, &NEW[..4]).unwrap()),
                2 => drop(disk.write(inode, 4, &NEW[4..]).unwrap()),
                3 => disk.sync(inode).unwrap(),
                4 => disk.rename(new, path).unwrap(),
                _ => disk.sync_folder(Path::new("/s")).unwrap(),
            }
        }
        disk
    }

    #[test]
    fn a_file_that_is_replaced_with_all_syncs_is_the_old_one_or_the_new_one() {
        for steps in 0..5 {
            let before = states("/s/a", || replaced(steps, &[]));
            assert_eq!(before, some(&[OLD]), "{steps}");
        }
        assert_eq!(states("/s/a", || replaced(5, &[])), some(&[OLD, NEW]));
        assert_eq!(states("/s/a", || replaced(6, &[])), some(&[NEW]));
    }

    #[test]
    fn without_its_sync_a_new_file_may_be_empty_torn_or_zeros() {
        let states = states("/s/a", || replaced(6, &[3]));
        for content in [
            b"".as_slice(),
            b"new ",
            b"ne",
            b"\0\0\0\0\0\0\0\0\0",
            b"\0\0\0\0state",
            NEW,
        ] {
            assert!(states.contains(&Some(content.to_vec())), "{content:?}");
        }
        assert!(!states.contains(&Some(OLD.to_vec())));
    }

    #[test]
    fn a_file_that_was_synced_has_no_name_without_the_sync_of_its_folder() {
        let both = |is_synced: bool| {
            move || {
                let mut disk = Disk::default();
                let inode = disk.create(Path::new("/s/a")).unwrap();
                disk.write(inode, 0, NEW).unwrap();
                disk.sync(inode).unwrap();
                disk.sync_folder(Path::new(if is_synced { "/s" } else { "/other" }))
                    .unwrap();
                disk
            }
        };
        assert_eq!(states("/s/a", both(true)), some(&[NEW]));
        assert_eq!(
            states("/s/a", both(false)),
            [None, Some(NEW.to_vec())].into()
        );
    }

    #[test]
    fn what_is_written_in_place_may_be_lost_torn_at_either_end_or_zeros_and_a_cut_may_be_undone() {
        let appended = || {
            let mut disk = disk_with("/s/a", b"ab");
            disk.write(0, 2, b"cdef").unwrap();
            disk
        };
        let torn: [&[u8]; 5] = [b"ab", b"abcd", b"ab\0\0ef", b"ab\0\0\0\0", b"abcdef"];
        assert_eq!(states("/s/a", appended), some(&torn));
        let cut = || {
            let mut disk = disk_with("/s/a", b"ab");
            disk.set_length(0, 1).unwrap();
            disk
        };
        assert_eq!(states("/s/a", cut), some(&[b"ab", b"a"]));
    }

    #[test]
    fn a_file_that_is_removed_may_come_back_until_its_folder_is_synced() {
        let removed = || {
            let mut disk = disk_with("/s/a", OLD);
            disk.remove(Path::new("/s/a")).unwrap();
            assert_eq!(disk.content(Path::new("/s/a")), None);
            disk
        };
        assert_eq!(states("/s/a", removed), [None, Some(OLD.to_vec())].into());
        let synced = || {
            let mut disk = removed();
            disk.sync_folder(Path::new("/s")).unwrap();
            disk
        };
        assert_eq!(states("/s/a", synced), [None].into());
    }

    #[test]
    fn a_sync_that_fails_loses_what_it_was_to_keep_and_the_next_one_hides_it() {
        let failed = || {
            let mut disk = disk_with("/s/a", OLD);
            disk.begin([(2, DiskFault::Io)].into());
            disk.write(0, 0, b"NEW").unwrap();
            assert_eq!(disk.sync(0).unwrap_err().raw_os_error(), Some(EIO));
            disk.sync(0).unwrap();
            assert_eq!(disk.content(Path::new("/s/a")), Some(b"NEW".as_slice()));
            disk
        };
        assert_eq!(states("/s/a", failed), some(&[OLD]));
    }

    #[test]
    fn a_full_disk_takes_a_part_and_then_nothing_and_one_for_reading_takes_nothing() {
        let mut disk = disk_with("/s/a", OLD);
        disk.begin([(1, DiskFault::Full)].into());
        assert_eq!(disk.write(0, 3, b"1234").unwrap(), 2);
        let full = disk.write(0, 5, b"34").unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        disk.sync(0).unwrap();
        disk.begin([(1, DiskFault::ReadOnly)].into());
        let mut content = [0; 9];
        assert_eq!(disk.read(0, 0, &mut content).unwrap(), 5);
        assert_eq!(&content[..5], b"old12");
        let path = Path::new("/s/a");
        for error in [
            disk.write(0, 0, b"x").unwrap_err(),
            disk.set_length(0, 0).unwrap_err(),
            disk.rename(path, Path::new("/s/b")).unwrap_err(),
            disk.remove(path).unwrap_err(),
            disk.create(Path::new("/s/b")).unwrap_err(),
            disk.open_or_create(path).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
        }
        disk.begin(BTreeMap::new());
        assert_eq!(disk.write(0, 0, b"x").unwrap(), 1);
    }

    #[test]
    fn a_lock_is_free_once_it_is_let_go_or_the_machine_has_crashed() {
        let mut disk = disk_with("/s/a", OLD);
        assert!(disk.try_lock(0));
        assert!(!disk.try_lock(0));
        disk.unlock(0);
        assert!(disk.try_lock(0));
        disk.crash(&mut |_| 0);
        assert!(disk.try_lock(0));
    }
}
