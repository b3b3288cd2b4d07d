//! `exposed_folders` finds the folders of a configuration in which others could replace files.

use std::path::{Path, PathBuf};

use crate::config::SecretRef;
use crate::config::file::Config;
use crate::secret;

/// A folder in which somebody who is not trusted can replace files.
#[derive(Debug)]
pub(super) struct ExposedFolder {
    /// The key that names it or a file in it.
    pub(super) key: &'static str,
    pub(super) said: String,
    pub(super) remedy: String,
}

/// Those of the configuration itself, of the state, and of each file with a secret; each once.
pub(super) fn exposed_folders(
    config: &Config,
    path: &Path,
    state_dir: &Path,
) -> Vec<ExposedFolder> {
    let mut folders = vec![
        ("this file", folder_of(path)),
        ("state_dir", state_dir.canonicalize().ok()),
    ];
    let key = config.devo.as_ref().and_then(|devo| devo.identity.as_ref());
    folders.extend(key.map(|ours| ("devo.key", folder_of(&ours.key))));
    let secrets = config.secrets().into_iter();
    folders.extend(secrets.filter_map(|(key, reference)| match reference {
        SecretRef::File(path) => Some((key, folder_of(path))),
        // systemd makes the folder of credentials, the others have none
        _ => None,
    }));
    let mut known: Vec<PathBuf> = Vec::new();
    let mut exposed = Vec::new();
    for (key, folder) in folders {
        let Some(folder) = folder.filter(|folder| !known.contains(folder)) else {
            continue;
        };
        exposed.extend(
            secret::exposed(&folder).map(|(said, remedy)| ExposedFolder { key, said, remedy }),
        );
        known.push(folder);
    }
    exposed
}

/// Where a file is once all links are followed, such as those in a volume of Kubernetes; `None` for
/// what is in no folder, such as a pipe.
fn folder_of(path: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    path.parent().map(Path::to_owned)
}
