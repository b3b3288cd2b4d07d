//! `access` says who besides the program can read a file or change it: by its mode, its owner, its
//! group and its POSIX ACL.
//!
//! As with sshd's StrictModes, root and the program's user are trusted. So are the groups the
//! program runs in: they are how an administrator lets it read a file of root. When root runs the
//! program, only the bits for everybody are judged, since another user and group may run it
//! otherwise.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::fgetxattr;
use rustix::io::Errno;
use rustix::process::{getegid, geteuid, getgroups};

const READ: u32 = 4;
const WRITE: u32 = 2;
/// The bit of a folder in which only owners replace files, such as `/tmp`.
const STICKY: u32 = 0o1000;
/// Largest value of an extended attribute, in bytes.
const MAX_ATTRIBUTE: usize = 64 * 1024;

/// Who runs the program.
#[derive(Debug)]
struct Runner {
    user: u32,
    groups: Vec<u32>,
}

impl Runner {
    /// The user and the groups of this process.
    fn of_this_process() -> io::Result<Runner> {
        let mut groups = getgroups()?;
        groups.push(getegid());
        Ok(Runner {
            user: geteuid().as_raw(),
            groups: groups.iter().map(|group| group.as_raw()).collect(),
        })
    }

    fn is_root(&self) -> bool {
        self.user == 0
    }

    fn trusts(&self, who: Who) -> bool {
        match who {
            Who::Others => false,
            Who::Owner(user) | Who::NamedUser(user) => user == 0 || user == self.user,
            Who::Group(group) | Who::NamedGroup(group) => {
                group == 0 || self.groups.contains(&group)
            }
        }
    }
}

/// What the system says of a file or folder.
#[derive(Debug)]
struct Permissions {
    mode: u32,
    owner: u32,
    group: u32,
    /// What the ACL gives to users and groups by number.
    named: Vec<(Who, u32)>,
}

/// Somebody whom a file can be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Others,
    Owner(u32),
    Group(u32),
    /// A user in the ACL.
    NamedUser(u32),
    /// A group in the ACL.
    NamedGroup(u32),
}

/// What those who are not trusted can do with a file or folder.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) mode: u32,
    strangers: Vec<(Who, u32)>,
}

/// Something that somebody who is not trusted can do, and what puts an end to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exposure {
    /// Such as `others can read it`.
    pub(super) said: String,
    /// A command, to be followed by the path.
    pub(super) remedy: &'static str,
}

impl Permissions {
    fn of(file: &File) -> io::Result<Permissions> {
        let about = file.metadata()?;
        let mut acl = vec![0; MAX_ATTRIBUTE];
        let named = match fgetxattr(file, "system.posix_acl_access", &mut acl[..]) {
            Ok(length) => named_in(&acl[..length]),
            // no ACL, or a file system without them
            Err(Errno::NODATA | Errno::NOTSUP | Errno::NOSYS) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        Ok(Permissions {
            mode: about.mode() & 0o7777,
            owner: about.uid(),
            group: about.gid(),
            named,
        })
    }
}

impl Access {
    /// That to an open file or folder.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(super) fn to(file: &File) -> io::Result<Access> {
        let runner = Runner::of_this_process()?;
        Ok(Access::new(&Permissions::of(file)?, &runner))
    }

    fn new(permissions: &Permissions, runner: &Runner) -> Access {
        let mode = permissions.mode;
        let mut strangers = vec![(Who::Others, mode & 7)];
        if !runner.is_root() {
            // an owner can take any rights
            strangers.push((Who::Owner(permissions.owner), READ | WRITE));
            // with an ACL, the most that it gives to anybody
            strangers.push((Who::Group(permissions.group), mode >> 3 & 7));
            strangers.extend(&permissions.named);
        }
        strangers.retain(|(who, bits)| *bits != 0 && !runner.trusts(*who));
        Access { mode, strangers }
    }

    /// What is wrong with it for a file that holds a secret.
    #[must_use]
    pub(super) fn exposes_a_secret(&self) -> Option<Exposure> {
        // another group may have been let in on purpose, to read
        let is_wrong = |who: Who, bits: u32| !matches!(who, Who::Group(_)) || bits & WRITE != 0;
        self.first("chmod 640", is_wrong)
    }

    /// What is wrong with it for a configuration, whose owner may be whoever made it.
    #[must_use]
    pub(super) fn exposes_a_configuration(&self) -> Option<Exposure> {
        let is_wrong = |who: Who, bits: u32| !matches!(who, Who::Owner(_)) && bits & WRITE != 0;
        self.first("chmod go-w", is_wrong)
    }

    /// What is wrong with it for a folder. In a sticky one, such as `/tmp`, only its owner can replace the
    /// files of others.
    #[must_use]
    pub(super) fn exposes_a_folder(&self) -> Option<Exposure> {
        let is_sticky = self.mode & STICKY != 0;
        let is_wrong = move |who: Who, bits: u32| {
            bits & WRITE != 0 && (!is_sticky || matches!(who, Who::Owner(_)))
        };
        self.first("chmod go-w", is_wrong)
    }

    fn first(&self, chmod: &'static str, is_wrong: impl Fn(Who, u32) -> bool) -> Option<Exposure> {
        let mut strangers = self.strangers.iter().copied();
        let (who, bits) = strangers.find(|(who, bits)| is_wrong(*who, *bits))?;
        let can = match (bits & READ != 0, bits & WRITE != 0) {
            (true, true) => "read and change it",
            (true, false) => "read it",
            (false, true) => "change it",
            (false, false) => "execute it",
        };
        let (whose, by, remedy) = match who {
            Who::Others => ("others".into(), "", chmod),
            Who::Owner(user) => (format!("its owner, user {user},"), "", "chown root"),
            Who::Group(group) => (format!("group {group}"), "", "chmod g-w"),
            Who::NamedUser(user) => (format!("user {user}"), " by its ACL", "setfacl -b"),
            Who::NamedGroup(group) => (format!("group {group}"), " by its ACL", "setfacl -b"),
        };
        let said = format!("{whose} can {can}{by}");
        Some(Exposure { said, remedy })
    }
}

/// The users and groups that an ACL names, with what its mask leaves them; nothing of what is no ACL.
///
/// The kernel gives a version of 4 bytes, and entries of 8 bytes: tag, bits, number.
fn named_in(acl: &[u8]) -> Vec<(Who, u32)> {
    const VERSION: [u8; 4] = 2_u32.to_le_bytes();
    const USER: u16 = 0x02;
    const GROUP: u16 = 0x08;
    const MASK: u16 = 0x10;
    let Some(entries) = acl.strip_prefix(&VERSION) else {
        return Vec::new();
    };
    let (entries, _) = entries.as_chunks::<8>();
    let entries = entries.iter().map(|[a, b, c, d, number @ ..]| {
        let (tag, bits) = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
        (tag, u32::from(bits), u32::from_le_bytes(*number))
    });
    let mask = entries.clone().find(|(tag, ..)| *tag == MASK);
    let mask = mask.map_or(7, |(_, bits, _)| bits);
    entries
        .filter_map(|(tag, bits, number)| match tag {
            USER => Some((Who::NamedUser(number), bits & mask)),
            GROUP => Some((Who::NamedGroup(number), bits & mask)),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const ROOT: u32 = 0;
    const US: u32 = 990;
    const OUR_GROUP: u32 = 991;
    const FS_GROUP: u32 = 2000;
    const ALICE: u32 = 1001;

    fn runner(user: u32) -> Runner {
        let groups = match user {
            ROOT => vec![0],
            _ => vec![OUR_GROUP, FS_GROUP],
        };
        Runner { user, groups }
    }

    /// The access to something of this mode, owner, group and ACL, as this user sees it.
    fn access(of: (u32, u32, u32), named: &[(Who, u32)], user: u32) -> Access {
        let (mode, owner, group) = of;
        let named = named.to_vec();
        let permissions = Permissions {
            mode,
            owner,
            group,
            named,
        };
        Access::new(&permissions, &runner(user))
    }

    fn said(exposure: Option<Exposure>) -> String {
        exposure.map_or("-".into(), |exposure| exposure.said)
    }

    #[test]
    fn only_who_is_trusted_may_do_anything_with_a_secret() {
        for (mode, owner, group, wanted) in [
            (0o600, US, OUR_GROUP, "-"),
            (0o640, ROOT, OUR_GROUP, "-"),
            (0o660, US, OUR_GROUP, "-"),
            // a volume of Kubernetes with fsGroup
            (0o440, ROOT, FS_GROUP, "-"),
            (0o640, ROOT, FS_GROUP, "-"),
            // a group that was let in on purpose
            (0o640, US, ALICE, "-"),
            (0o644, ROOT, ROOT, "others can read it"),
            (0o606, US, OUR_GROUP, "others can read and change it"),
            (0o602, US, OUR_GROUP, "others can change it"),
            (0o601, US, OUR_GROUP, "others can execute it"),
            (0o660, US, ALICE, "group 1001 can read and change it"),
            (
                0o640,
                ALICE,
                OUR_GROUP,
                "its owner, user 1001, can read and change it",
            ),
            (
                0o040,
                ALICE,
                OUR_GROUP,
                "its owner, user 1001, can read and change it",
            ),
        ] {
            let found = access((mode, owner, group), &[], US);
            assert_eq!(
                said(found.exposes_a_secret()),
                wanted,
                "{mode:04o} {owner} {group}"
            );
        }
    }

    #[test]
    fn an_acl_counts_as_far_as_it_is_for_somebody_who_is_not_trusted() {
        for (named, wanted) in [
            // a credential of systemd is root's, with an ACL for the user of the unit
            ((Who::NamedUser(US), 4), "-"),
            ((Who::NamedUser(ROOT), 6), "-"),
            ((Who::NamedGroup(FS_GROUP), 4), "-"),
            ((Who::NamedUser(ALICE), 0), "-"),
            (
                (Who::NamedUser(ALICE), 4),
                "user 1001 can read it by its ACL",
            ),
            (
                (Who::NamedUser(ALICE), 2),
                "user 1001 can change it by its ACL",
            ),
            (
                (Who::NamedGroup(ALICE), 6),
                "group 1001 can read and change it by its ACL",
            ),
        ] {
            let found = access((0o440, ROOT, ROOT), &[named], US);
            assert_eq!(said(found.exposes_a_secret()), wanted, "{named:?}");
        }
    }

    #[test]
    fn root_judges_only_what_everybody_may_do() {
        let named = [(Who::NamedUser(US), 4)];
        for (mode, wanted) in [(0o640, "-"), (0o660, "-"), (0o644, "others can read it")] {
            let found = access((mode, US, OUR_GROUP), &named, ROOT);
            assert_eq!(said(found.exposes_a_secret()), wanted, "{mode:04o}");
        }
    }

    #[test]
    fn a_folder_and_a_configuration_are_for_nobody_else_to_change() {
        for (mode, owner, group, folder, file) in [
            (0o755, ROOT, ROOT, "-", "-"),
            (
                0o755,
                ALICE,
                ALICE,
                "its owner, user 1001, can read and change it",
                "-",
            ),
            (
                0o1777,
                ALICE,
                ALICE,
                "its owner, user 1001, can read and change it",
                "others can read and change it",
            ),
            (0o775, US, OUR_GROUP, "-", "-"),
            // a volume with fsGroup
            (0o2775, ROOT, FS_GROUP, "-", "-"),
            (
                0o777,
                ROOT,
                ROOT,
                "others can read and change it",
                "others can read and change it",
            ),
            (
                0o772,
                US,
                OUR_GROUP,
                "others can change it",
                "others can change it",
            ),
            (
                0o775,
                ROOT,
                ALICE,
                "group 1001 can read and change it",
                "group 1001 can read and change it",
            ),
            // as /tmp, and as a mounted secret of Kubernetes
            (0o1777, ROOT, ROOT, "-", "others can read and change it"),
            (0o3777, ROOT, FS_GROUP, "-", "others can read and change it"),
        ] {
            let of = (mode, owner, group);
            let found = access(of, &[], US);
            assert_eq!(said(found.exposes_a_folder()), folder, "{of:?}");
            assert_eq!(said(found.exposes_a_configuration()), file, "{of:?}");
        }
    }

    /// An ACL as the kernel writes it.
    fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (tag, bits, number) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(bits.to_le_bytes());
            bytes.extend(number.to_le_bytes());
        }
        bytes
    }

    const NOBODY: u32 = u32::MAX;

    #[test]
    fn an_acl_gives_no_more_than_its_mask() {
        let entries = |mask| {
            acl(&[
                (0x01, 6, NOBODY),
                (0x02, 6, ALICE),
                (0x04, 4, NOBODY),
                (0x08, 4, FS_GROUP),
                (0x10, mask, NOBODY),
                (0x20, 0, NOBODY),
            ])
        };
        let (user, group) = (Who::NamedUser(ALICE), Who::NamedGroup(FS_GROUP));
        assert_eq!(named_in(&entries(7)), [(user, 6), (group, 4)]);
        assert_eq!(named_in(&entries(4)), [(user, 4), (group, 4)]);
        assert_eq!(named_in(&entries(0)), [(user, 0), (group, 0)]);
        // what is cut off or no ACL names nobody
        for other in [&b""[..], b"\x01\0\0\0", &entries(7)[..7]] {
            assert_eq!(named_in(other), [], "{other:?}");
        }
    }

    #[test]
    fn the_permissions_of_a_file_are_those_that_the_system_tells() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mode = std::fs::Permissions::from_mode(0o600);
        file.as_file().set_permissions(mode).unwrap();
        let before = Permissions::of(file.as_file()).unwrap();
        assert_eq!((before.mode, before.named.len()), (0o600, 0));
        let about = file.as_file().metadata().unwrap();
        assert_eq!((before.owner, before.group), (about.uid(), about.gid()));

        let entries = acl(&[
            (0x01, 6, NOBODY),
            (0x02, 4, ALICE),
            (0x04, 0, NOBODY),
            (0x10, 4, NOBODY),
            (0x20, 0, NOBODY),
        ]);
        let name = "system.posix_acl_access";
        let set = rustix::fs::fsetxattr(&file, name, &entries, rustix::fs::XattrFlags::empty());
        if set == Err(Errno::NOTSUP) {
            eprintln!("skipped: the file system of the temporary folder has no ACLs");
            return;
        }
        set.unwrap();
        let after = Permissions::of(file.as_file()).unwrap();
        assert_eq!(after.mode, 0o640);
        assert_eq!(after.named, [(Who::NamedUser(ALICE), 4)]);
    }
}
