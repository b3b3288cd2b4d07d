//! `disk` makes the calls of `files`: to the system, or to the world of a simulation.
//!
//! What is checked here is what a system has and a simulation has not: links, pipes, owners.

use std::fs::{self, DirBuilder, Metadata, OpenOptions};
use std::io::{self, Error, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use rustix::fs::OFlags;

use crate::world::{WorldFile, simulated};

/// An open file.
#[derive(Debug)]
pub(crate) enum File {
    /// Of the machine.
    System(fs::File),
    /// Of a simulation.
    Simulated(Box<dyn WorldFile>),
}

impl File {
    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// As [`open_regular`].
    pub(crate) fn open(path: &Path) -> io::Result<File> {
        match simulated() {
            None => open_regular(path).map(File::System),
            Some(world) => world.open(path).map(File::Simulated),
        }
    }

    /// Creates a file in place of anything with this name, for the owner of its folder.
    ///
    /// # Errors
    /// When it cannot be created.
    pub(super) fn made_anew(path: &Path, dir: &Path) -> io::Result<File> {
        match remove(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match simulated() {
            None => make(&mut OpenOptions::new(), path, dir).map(File::System),
            Some(world) => world.create(path).map(File::Simulated),
        }
    }

    /// Opens one of our files for reading and writing, or creates it.
    ///
    /// # Errors
    /// When it cannot be opened, or is something else than a regular file of ours.
    pub(super) fn own(path: &Path, dir: &Path) -> io::Result<File> {
        match simulated() {
            None => own_file(OpenOptions::new().read(true), path, dir).map(File::System),
            Some(world) => world.open_or_create(path).map(File::Simulated),
        }
    }

    /// Its length in bytes.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) fn length(&self) -> io::Result<u64> {
        match self {
            File::System(file) => Ok(file.metadata()?.len()),
            File::Simulated(file) => file.length(),
        }
    }

    /// Cuts it off, or fills it up with zeros.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn set_length(&self, length: u64) -> io::Result<()> {
        match self {
            File::System(file) => file.set_len(length),
            File::Simulated(file) => file.set_length(length),
        }
    }

    /// Makes its content durable, and all that is known of it.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn sync_all(&self) -> io::Result<()> {
        match self {
            File::System(file) => file.sync_all(),
            File::Simulated(file) => file.sync(),
        }
    }

    /// Makes its content and its length durable.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn sync_data(&self) -> io::Result<()> {
        match self {
            File::System(file) => file.sync_data(),
            File::Simulated(file) => file.sync(),
        }
    }

    /// Lets everybody read it.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn show_to_all(&self) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        match self {
            File::System(file) => file.set_permissions(fs::Permissions::from_mode(0o644)),
            File::Simulated(_) => Ok(()),
        }
    }

    /// Locks it until it is dropped; whether nobody else has.
    ///
    /// # Errors
    /// When it cannot be locked at all.
    pub(super) fn try_lock(&mut self) -> io::Result<bool> {
        // by full path: the standard library has methods with these names
        match self {
            File::System(file) => is_locked(fs2::FileExt::try_lock_exclusive(file)),
            File::Simulated(file) => file.try_lock(),
        }
    }

    /// The same, beside others who do so: whether nobody has it for himself.
    ///
    /// # Errors
    /// When it cannot be locked at all.
    pub(super) fn try_lock_shared(&mut self) -> io::Result<bool> {
        match self {
            File::System(file) => is_locked(fs2::FileExt::try_lock_shared(file)),
            File::Simulated(file) => file.try_lock(),
        }
    }
}

fn is_locked(tried: io::Result<()>) -> io::Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            File::System(file) => file.read(buffer),
            File::Simulated(file) => file.read(buffer),
        }
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            File::System(file) => file.write(bytes),
            File::Simulated(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            File::System(file) => file.seek(to),
            File::Simulated(file) => file.seek(to),
        }
    }
}

/// Creates a directory and its parents, for the owner alone.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    match simulated() {
        None => DirBuilder::new().recursive(true).mode(0o700).create(dir),
        Some(world) => world.create_folder(dir),
    }
}

pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match simulated() {
        None => fs::rename(from, to),
        Some(world) => world.rename(from, to),
    }
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    match simulated() {
        None => fs::remove_file(path),
        Some(world) => world.remove(path),
    }
}

/// The length of a regular file.
pub(super) fn length(path: &Path) -> io::Result<u64> {
    match simulated() {
        None => {
            let about = fs::metadata(path)?;
            refuse_others(&about).map(|()| about.len())
        }
        Some(world) => world.length(path),
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    match simulated() {
        None => fs::File::open(dir)?.sync_all(),
        Some(world) => world.sync_folder(dir),
    }
}

/// Opens a regular file of the machine for reading. To open a pipe may wait for ever, and to open a device may
/// do anything.
///
/// # Errors
/// When it cannot be opened, or is something else, which the error names.
pub(crate) fn open_regular(path: &Path) -> io::Result<fs::File> {
    refuse_others(&fs::metadata(path)?)?;
    // whatever has the name by now does not block either
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    refuse_others(&file.metadata()?)?;
    Ok(file)
}

/// Refuses what is not a regular file, by name.
fn refuse_others(about: &Metadata) -> io::Result<()> {
    let kind = about.file_type();
    let name = match kind {
        _ if kind.is_file() => return Ok(()),
        _ if kind.is_dir() => "a folder",
        _ if kind.is_symlink() => "a symbolic link",
        _ if kind.is_fifo() => "a named pipe",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(Error::other(format!("it is {name}, not a regular file")))
}

/// Opens one of our files for writing, or creates it.
fn own_file(options: &mut OpenOptions, path: &Path, dir: &Path) -> io::Result<fs::File> {
    let file = loop {
        match make(options, path, dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made,
        }
        let about = fs::symlink_metadata(path);
        let opened = about.and_then(|about| {
            refuse_others(&about)?;
            options.create_new(false).open(path)
        });
        match opened {
            // removed in the meantime
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            opened => break opened?,
        }
    };
    let about = file.metadata()?;
    refuse_others(&about)?;
    // a hard link may lead to any file, unless the folder's owner owns that file anyway
    if about.nlink() > 1 && about.uid() != fs::metadata(dir)?.uid() {
        return Err(Error::other("it is a hard link to another file"));
    }
    Ok(file)
}

/// Creates a file that does not exist, for the owner of its folder.
pub(super) fn make(options: &mut OpenOptions, path: &Path, dir: &Path) -> io::Result<fs::File> {
    // NONBLOCK keeps a named pipe from blocking the open; it does not affect regular files
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = flags.bits().cast_signed();
    let options = options.write(true).create_new(true).mode(0o600);
    let file = options.custom_flags(flags).open(path)?;
    give_to_the_owner_of(dir, &file)?;
    Ok(file)
}

/// Gives what root created to the owner of its folder.
pub(super) fn give_to_the_owner_of(dir: &Path, created: &fs::File) -> io::Result<()> {
    let (ours, folder) = (created.metadata()?, fs::metadata(dir)?);
    match ours.uid() == 0 && folder.uid() != 0 {
        true => fchown(created, Some(folder.uid()), Some(folder.gid())),
        false => Ok(()),
    }
}
