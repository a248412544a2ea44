//! `dir:/run/secrets`: a folder with one file a secret, as Kubernetes and systemd mount them; read again when it changes.

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{Held, Provider, Secret, SecretError, Secrets, file::truncate};
use crate::{
    disk::{Folder, Unreadable},
    watched::{Mark, Place, Watched},
};

/// The provider `dir:`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dir;

#[async_trait]
impl Provider for Dir {
    fn scheme(&self) -> &'static str {
        "dir"
    }

    async fn open_one(&self, name: &str, path: &str, fresh: Duration) -> Result<Arc<dyn Secrets>, SecretError> {
        open(path, Some(name), fresh).await
    }

    async fn open_all(&self, path: &str, fresh: Duration) -> Result<Arc<dyn Secrets>, SecretError> {
        open(path, None, fresh).await
    }
}

async fn open(path: &str, only: Option<&str>, fresh: Duration) -> Result<Arc<dyn Secrets>, SecretError> {
    let folder = SecretFolder { folder: Folder { path: PathBuf::from(path) }, only: only.map(str::to_owned) };
    Ok(Arc::new(Watched::open(folder, fresh).await?))
}

/// A folder of secrets.
#[derive(Debug)]
struct SecretFolder {
    folder: Folder,
    /// The only one that is kept, which must be there.
    only: Option<String>,
}

impl fmt::Display for SecretFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dir:{}", self.folder.path.display())
    }
}

impl Place for SecretFolder {
    type Content = Held;

    fn mark(&self) -> io::Result<Mark> {
        self.folder.mark()
    }

    fn read(&self) -> Result<Held, Unreadable> {
        let mut secrets = Held::default();
        for (name, mut bytes) in self.folder.read()? {
            if self.only.as_ref().is_none_or(|only| *only == name) {
                truncate(&mut bytes);
                secrets.0.insert(name, Secret::from(bytes));
            }
        }
        match &self.only {
            Some(only) if secrets.0.is_empty() => {
                Err(Unreadable::Failed(format!("`{}` has no file `{only}`", self.folder.path.display())))
            }
            _ => Ok(secrets),
        }
    }
}
