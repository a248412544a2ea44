//! `file:/run/keys/api`: a file that is one secret; or, as a whole source, a `.env` file of several.
//!
//! A file that is one secret is taken as it is, but for the line's end that editors put behind a line of text. TOML and JSON
//! are not read here: their readers leave copies behind that nobody wipes.

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{Held, Provider, Secret, SecretError, Secrets};
use crate::{
    config::Format,
    disk::{Unreadable, one_line_less, read_file},
    watched::{Mark, Place, Watched},
};

/// The provider `file:`.
#[derive(Clone, Copy, Debug)]
pub(super) struct File;

#[async_trait]
impl Provider for File {
    fn scheme(&self) -> &'static str {
        "file"
    }

    async fn open_one(&self, name: &str, path: &str, fresh: Duration) -> Result<Arc<dyn Secrets>, SecretError> {
        let file = SecretFile { path: path.into(), holds: Holds::One(name.to_owned()) };
        Ok(Arc::new(Watched::open(file, fresh).await?))
    }

    async fn open_all(&self, path: &str, fresh: Duration) -> Result<Arc<dyn Secrets>, SecretError> {
        if Format::of(path.as_ref()) != Some(Format::Env) {
            let message =
                format!("`file:{path}` is no source of several secrets; write a `.env` file, or a folder: `dir:`");
            return Err(SecretError::Configuration(message));
        }
        let file = SecretFile { path: path.into(), holds: Holds::Lines };
        Ok(Arc::new(Watched::open(file, fresh).await?))
    }
}

/// A file of one secret or of several.
#[derive(Debug)]
struct SecretFile {
    path: PathBuf,
    holds: Holds,
}

#[derive(Debug)]
enum Holds {
    One(String),
    Lines,
}

impl fmt::Display for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file:{}", self.path.display())
    }
}

impl Place for SecretFile {
    type Content = Held;

    fn mark(&self) -> io::Result<Mark> {
        Mark::of_file(&self.path)
    }

    fn read(&self) -> Result<Held, Unreadable> {
        let mut bytes = read_file(&self.path)?;
        let secrets = match &self.holds {
            Holds::One(name) => {
                truncate(&mut bytes);
                [(name.clone(), Secret::from(bytes))].into()
            }
            Holds::Lines => {
                let broken = |why: String| Unreadable::Failed(format!("`{}` is not read: {why}", self.path.display()));
                let text = std::str::from_utf8(&bytes).map_err(|_| broken("it is not UTF-8".to_owned()))?;
                let values = Format::Env.read(text).map_err(broken)?;
                values.into_iter().map(|(name, value)| (name, Secret::new(value))).collect()
            }
        };
        Ok(Held(secrets))
    }
}

/// Takes the line's end off a text. A key in binary may end in the same byte, which is part of it.
pub(super) fn truncate(bytes: &mut Vec<u8>) {
    if std::str::from_utf8(bytes).is_ok() {
        let length = one_line_less(bytes).len();
        bytes.truncate(length);
    }
}
