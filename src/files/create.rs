//! `create` makes files and folders that must not exist yet, with a mode and an owner.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::OFlags;

use super::disk::{give_to_the_owner_of, make};
use super::{Result, While, remove, sync_dir};

/// Whether root runs the program.
#[must_use]
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A user and a group, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

/// Creates a file that must not exist yet, durably. Without an owner it gets that of its folder.
///
/// # Errors
/// When it exists, or cannot be written or synced; none is left then.
pub(crate) fn create(path: &Path, bytes: &[u8], mode: u32, owner: Option<Owner>) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = make(&mut OpenOptions::new(), path, dir).on("making", path)?;
    let mut write = || {
        file.write_all(bytes)?;
        set_access(&file, mode, owner)?;
        file.sync_all()
    };
    if let Err(error) = write() {
        remove(path)?;
        return Err(error).on("writing", path);
    }
    sync_dir(dir)
}

/// Creates a folder that must not exist yet, durably. Without an owner it gets that of its own folder.
///
/// # Errors
/// When it exists or cannot be made.
pub(crate) fn create_dir(path: &Path, mode: u32, owner: Option<Owner>) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let make = || {
        DirBuilder::new().mode(0o700).create(path)?;
        // whatever has the name by now, no link is followed
        let flags = OFlags::NOFOLLOW | OFlags::DIRECTORY;
        let folder = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)?;
        give_to_the_owner_of(dir, &folder)?;
        set_access(&folder, mode, owner)
    };
    make().on("making", path)?;
    sync_dir(dir)
}

fn set_access(file: &File, mode: u32, owner: Option<Owner>) -> std::io::Result<()> {
    if let Some(Owner { user, group }) = owner {
        fchown(file, Some(user), Some(group))?;
    }
    file.set_permissions(Permissions::from_mode(mode))
}
