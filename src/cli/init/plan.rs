//! `InitPlan` says which files and folders are made from the answers, with text, mode and owner.

use std::path::{Path, PathBuf};

use super::answers::{Answers, SignInAnswer};
use super::config_text::config_text;
use super::layout::{Layout, OwnerName};
use crate::service::{SERVICES, Service};

/// All that is made, in order, and what is not given yet.
pub(super) struct InitPlan<'a> {
    pub(super) entries: Vec<PlannedEntry<'a>>,
    /// Files that a person has to put in place.
    pub(super) missing: Vec<MissingFile>,
}

/// A file, folder or link.
pub(super) struct PlannedEntry<'a> {
    pub(super) path: PathBuf,
    pub(super) content: EntryContent<'a>,
    pub(super) mode: u32,
    pub(super) owner: OwnerName,
}

/// Cannot be printed: it may be a secret.
pub(super) enum EntryContent<'a> {
    Folder,
    Link(&'static str),
    Config(String),
    /// A setting of a unit; one that is there already stays.
    DropIn(&'static str),
    Secret(&'a str),
    CopyOf(&'a Path, &'a [u8]),
}

/// A file that was not given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MissingFile {
    pub(super) path: PathBuf,
    pub(super) what: String,
    pub(super) mode: u32,
    pub(super) owner: OwnerName,
}

/// The drop-ins that let the runs of PoD follow each other.
const BACK_TO_BACK: [(&str, &str); 2] = [
    (
        "service",
        include_str!("../../../systemd/drop-ins/pod-service.conf"),
    ),
    (
        "timer",
        include_str!("../../../systemd/drop-ins/pod-timer.conf"),
    ),
];

/// Plans everything in and for the folder `dir`.
pub(super) fn plan<'a>(answers: &'a Answers, layout: &Layout, dir: &Path) -> InitPlan<'a> {
    let mut plan = InitPlan {
        entries: Vec::new(),
        missing: Vec::new(),
    };
    let text = config_text(answers, layout);
    match layout {
        Layout::Own => {
            plan.folder(dir.to_owned(), 0o700, OwnerName::OfItsFolder);
            plan.file(
                dir.join("config.toml"),
                EntryContent::Config(text),
                (0o600, OwnerName::OfItsFolder),
            );
            plan.certificates(answers, dir, (0o700, 0o600, OwnerName::OfItsFolder));
            for sign_in in &answers.sign_ins {
                plan.secret(sign_in, dir, OwnerName::OfItsFolder);
            }
            plan.folder(dir.join("state"), 0o700, OwnerName::OfItsFolder);
        }
        Layout::Units { tenant } => {
            let for_the_group = OwnerName::RootForTheGroup;
            plan.folder(dir.to_owned(), 0o750, for_the_group);
            plan.file(
                dir.join("config.toml"),
                EntryContent::Config(text),
                (0o640, for_the_group),
            );
            plan.certificates(answers, dir, (0o750, 0o640, for_the_group));
            plan.credentials(answers, &dir.join("credentials"));
            let state = Path::new("/var/lib").join(tenant);
            plan.folder(state, 0o700, OwnerName::UnitUser);
            plan.drop_ins(answers, tenant);
        }
    }
    plan
}

impl<'a> InitPlan<'a> {
    fn folder(&mut self, path: PathBuf, mode: u32, owner: OwnerName) {
        self.file(path, EntryContent::Folder, (mode, owner));
    }

    fn file(&mut self, path: PathBuf, content: EntryContent<'a>, (mode, owner): (u32, OwnerName)) {
        self.entries.push(PlannedEntry {
            path,
            content,
            mode,
            owner,
        });
    }

    fn certificates(
        &mut self,
        answers: &'a Answers,
        dir: &Path,
        (folder_mode, mode, owner): (u32, u32, OwnerName),
    ) {
        let folder = dir.join("certs");
        self.folder(folder.clone(), folder_mode, owner);
        for certificate in &answers.certificates {
            let path = folder.join(certificate.form.file);
            match &certificate.copy {
                Some((source, bytes)) => {
                    self.file(path, EntryContent::CopyOf(source, bytes), (mode, owner));
                }
                None => self.missing.push(MissingFile {
                    path,
                    what: certificate.form.what.to_owned(),
                    mode,
                    owner,
                }),
            }
        }
    }

    fn secret(&mut self, sign_in: &'a SignInAnswer, folder: &Path, owner: OwnerName) {
        let path = folder.join(sign_in.form.secret_file);
        let mode = 0o600;
        match &sign_in.secret {
            Some(secret) => self.file(path, EntryContent::Secret(secret.reveal()), (mode, owner)),
            None => self.missing.push(MissingFile {
                path,
                what: format!("Secret for [{}]", sign_in.form.table),
                mode,
                owner,
            }),
        }
    }

    /// A folder for each API; each of its services leads there by a link, so that another one can be enabled
    /// later.
    fn credentials(&mut self, answers: &'a Answers, folder: &Path) {
        self.folder(folder.to_owned(), 0o700, OwnerName::Root);
        for sign_in in &answers.sign_ins {
            let table = sign_in.form.table;
            self.folder(folder.join(table), 0o700, OwnerName::Root);
            self.secret(sign_in, &folder.join(table), OwnerName::Root);
            let of_the_api = |service: &&Service| service.sign_in_table() == table;
            for service in SERVICES.iter().filter(of_the_api) {
                let link = EntryContent::Link(table);
                self.file(folder.join(service.name), link, (0o777, OwnerName::Root));
            }
        }
    }

    fn drop_ins(&mut self, answers: &Answers, tenant: &str) {
        for service in &answers.services {
            if service.sign_in_table() != "pod" {
                continue;
            }
            for (kind, text) in BACK_TO_BACK {
                let folder = format!("/etc/systemd/system/{tenant}@{}.{kind}.d", service.name);
                let folder = PathBuf::from(folder);
                self.folder(folder.clone(), 0o755, OwnerName::Root);
                let content = EntryContent::DropIn(text);
                self.file(
                    folder.join("back-to-back.conf"),
                    content,
                    (0o644, OwnerName::Root),
                );
            }
        }
    }
}

impl PlannedEntry<'_> {
    /// What it is, for a person: mode, owner and path.
    pub(super) fn shown(&self, tenant: &str) -> String {
        let (path, owner) = (self.path.display(), self.owner.shown(tenant));
        match &self.content {
            EntryContent::Link(to) => format!("{path} -> {to}"),
            EntryContent::Folder => format!("{:04o}{owner} {path}/", self.mode),
            _ => format!("{:04o}{owner} {path}", self.mode),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::init::tests::answered;

    fn check(dir: &str, options: &str, piped: &str, wanted: &[&str], missing: &[&str]) {
        let options: Vec<&str> = options.split(' ').collect();
        let answers = answered(&options, None, piped).0.unwrap();
        let dir = Path::new(dir);
        let layout = Layout::of(dir);
        let plan = plan(&answers, &layout, dir);
        let tenant = match &layout {
            Layout::Units { tenant } => tenant,
            Layout::Own => "",
        };
        let shown: Vec<String> = plan
            .entries
            .iter()
            .map(|entry| entry.shown(tenant))
            .collect();
        assert_eq!(shown, wanted);
        let paths = plan
            .missing
            .iter()
            .map(|file| file.path.display().to_string());
        assert_eq!(paths.collect::<Vec<_>>(), missing);
    }

    const ISOLATION: &str = "--services isolation-web --devo-address devo:1";
    const POD: &str =
        "--services pod-audit --devo-address devo:1 --pod-cluster-id c --devo-cert /a";

    #[test]
    fn a_folder_of_ones_own_has_everything_inside() {
        check(
            "/home/me/pp",
            ISOLATION,
            "isolation.key=k",
            &[
                "0700 /home/me/pp/",
                "0600 /home/me/pp/config.toml",
                "0700 /home/me/pp/certs/",
                "0600 /home/me/pp/isolation.key",
                "0700 /home/me/pp/state/",
            ],
            &[
                "/home/me/pp/certs/chain.crt",
                "/home/me/pp/certs/domain.crt",
                "/home/me/pp/certs/domain.key",
            ],
        );
    }

    #[test]
    fn the_units_get_what_their_documents_say() {
        check(
            "/etc/proofpull-acme",
            POD,
            "",
            &[
                "0750 root:proofpull-acme /etc/proofpull-acme/",
                "0640 root:proofpull-acme /etc/proofpull-acme/config.toml",
                "0750 root:proofpull-acme /etc/proofpull-acme/certs/",
                "0640 root:proofpull-acme /etc/proofpull-acme/certs/domain.crt",
                "0700 root:root /etc/proofpull-acme/credentials/",
                "0700 root:root /etc/proofpull-acme/credentials/pod/",
                "/etc/proofpull-acme/credentials/pod-message -> pod",
                "/etc/proofpull-acme/credentials/pod-maillog -> pod",
                "/etc/proofpull-acme/credentials/pod-audit -> pod",
                "0700 proofpull-acme:proofpull-acme /var/lib/proofpull-acme/",
                "0755 root:root /etc/systemd/system/proofpull-acme@pod-audit.service.d/",
                "0644 root:root /etc/systemd/system/proofpull-acme@pod-audit.service.d/back-to-back.conf",
                "0755 root:root /etc/systemd/system/proofpull-acme@pod-audit.timer.d/",
                "0644 root:root /etc/systemd/system/proofpull-acme@pod-audit.timer.d/back-to-back.conf",
            ],
            &[
                "/etc/proofpull-acme/certs/chain.crt",
                "/etc/proofpull-acme/certs/domain.key",
                "/etc/proofpull-acme/credentials/pod/pod.key",
            ],
        );
    }

    /// The folders of systemd-tmpfiles and ours are the same, so that the order of the two does not matter.
    #[test]
    fn folders_and_links_are_those_of_systemd_tmpfiles() {
        let options = "--services * --devo-address devo:1 --tap-principal p --pod-cluster-id c";
        let options: Vec<&str> = options.split(' ').collect();
        let answers = answered(&options, None, "").0.unwrap();
        let dir = Path::new("/etc/proofpull");
        let layout = Layout::of(dir);
        let plan = plan(&answers, &layout, dir);
        let ours = plan.entries.iter().filter_map(|entry| {
            let (path, owner) = (entry.path.display(), entry.owner.shown("proofpull"));
            let owner = owner.replace(':', " ");
            match entry.content {
                _ if entry.path.starts_with("/etc/systemd") => None,
                EntryContent::Folder => Some(format!("d {path} {:04o}{owner}", entry.mode)),
                EntryContent::Link(to) => Some(format!("L {path} - - - - {to}")),
                _ => None,
            }
        });
        let mut ours: Vec<String> = ours.collect();
        let theirs = include_str!("../../../systemd/proofpull.tmpfiles.conf").lines();
        let mut theirs: Vec<&str> = theirs.filter(|line| !line.starts_with('#')).collect();
        ours.sort();
        theirs.sort_unstable();
        assert_eq!(ours, theirs);
    }
}
