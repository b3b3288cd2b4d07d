//! `Layout` says for whom a folder is made: for the units of systemd, or for the user who owns it.

use std::ffi::OsStr;
use std::path::Path;

use crate::files::Owner;

/// For whom the files are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// For the units with this name, which is also that of their user.
    Units { tenant: String },
    /// For the owner of the folder.
    Own,
}

/// Who owns a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnerName {
    /// Whoever owns the folder that it is in.
    OfItsFolder,
    Root,
    /// Root, readable for the group of the units' user.
    RootForTheGroup,
    /// The user of the units.
    UnitUser,
}

impl Layout {
    /// The units read `/etc/proofpull`, or `/etc/proofpull-TENANT`; any other folder is for its owner.
    pub(super) fn of(dir: &Path) -> Layout {
        let name = dir.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let is_ours = name == "proofpull" || name.starts_with("proofpull-");
        match is_ours && dir.parent() == Some(Path::new("/etc")) {
            true => Layout::Units {
                tenant: name.to_owned(),
            },
            false => Layout::Own,
        }
    }

    /// The user of the units, as `/etc/passwd` has it.
    pub(super) fn user_in(&self, passwd: &str) -> Option<Owner> {
        let Layout::Units { tenant } = self else {
            return None;
        };
        passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, user, group, ..] = fields[..] else {
                return None;
            };
            let owner = Owner {
                user: user.parse().ok()?,
                group: group.parse().ok()?,
            };
            (name == tenant).then_some(owner)
        })
    }
}

impl OwnerName {
    /// The numbers, where the user of the units has these.
    pub(super) fn resolve(self, unit_user: Option<Owner>) -> Option<Owner> {
        let root = Owner { user: 0, group: 0 };
        match self {
            OwnerName::OfItsFolder => None,
            OwnerName::Root => Some(root),
            OwnerName::RootForTheGroup => unit_user.map(|user| Owner { user: 0, ..user }),
            OwnerName::UnitUser => unit_user,
        }
    }

    /// As `ls` shows it, where the user of the units has this name; nothing for an owner of its folder.
    pub(super) fn shown(self, tenant: &str) -> String {
        match self {
            OwnerName::OfItsFolder => String::new(),
            OwnerName::Root => " root:root".to_owned(),
            OwnerName::RootForTheGroup => format!(" root:{tenant}"),
            OwnerName::UnitUser => format!(" {tenant}:{tenant}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_folders_that_units_read_are_for_units() {
        for (dir, tenant) in [
            ("/etc/proofpull", Some("proofpull")),
            ("/etc/proofpull/", Some("proofpull")),
            ("/etc/proofpull-acme", Some("proofpull-acme")),
            ("/etc/proofpulls", None),
            ("/etc/acme", None),
            ("/etc/acme/proofpull", None),
            ("/srv/proofpull", None),
            ("/", None),
        ] {
            let wanted = tenant.map_or(Layout::Own, |tenant| Layout::Units {
                tenant: tenant.to_owned(),
            });
            assert_eq!(Layout::of(Path::new(dir)), wanted, "{dir}");
        }
    }

    #[test]
    fn the_user_of_the_units_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\nproofpull-acme:x:7:8::/:/x\nbroken\nproofpull:x:998:997::/:/x\n";
        for (dir, wanted) in [
            ("/etc/proofpull", Some((998, 997))),
            ("/etc/proofpull-acme", Some((7, 8))),
            ("/etc/proofpull-other", None),
            ("/srv/proofpull", None),
        ] {
            let user = Layout::of(Path::new(dir)).user_in(passwd);
            let wanted = wanted.map(|(user, group)| Owner { user, group });
            assert_eq!(user, wanted, "{dir}");
            let for_the_group = OwnerName::RootForTheGroup.resolve(user);
            assert_eq!(
                for_the_group,
                wanted.map(|owner| Owner { user: 0, ..owner })
            );
        }
    }
}
