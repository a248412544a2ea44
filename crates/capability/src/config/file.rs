//! `file:./cart.toml`, `.json` or `.env`: one file of values, read again when it changes.
//!
//! Write a new version beside the old one and rename it: a file that is read while it is written may be valid and not whole.

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{Config, ConfigError, Provider, Values, format::Format};
use crate::{
    disk::{Unreadable, read_file},
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

    async fn open(&self, place: &str, fresh: Duration) -> Result<Arc<dyn Config>, ConfigError> {
        let path = PathBuf::from(place);
        let format = Format::of(&path).ok_or_else(|| {
            ConfigError::Configuration(format!(
                "`file:{place}` is of no known format; write a `.toml`, `.json` or `.env` file"
            ))
        })?;
        let file = ValueFile { origin: format!("file:{place}").into(), path, format };
        Ok(Arc::new(Watched::open(file, fresh).await?))
    }
}

/// A file of values.
#[derive(Debug)]
struct ValueFile {
    path: PathBuf,
    format: Format,
    origin: Arc<str>,
}

impl fmt::Display for ValueFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

impl Place for ValueFile {
    type Content = Values;

    fn mark(&self) -> io::Result<Mark> {
        Mark::of_file(&self.path)
    }

    fn read(&self) -> Result<Values, Unreadable> {
        let bytes = read_file(&self.path)?;
        let broken = |why: String| Unreadable::Failed(format!("`{}` is not read: {why}", self.path.display()));
        let text = std::str::from_utf8(&bytes).map_err(|_| broken("it is not UTF-8".to_owned()))?;
        let values = self.format.read(text).map_err(broken)?;
        Ok(Values::from_place(&self.origin, values))
    }
}

#[async_trait]
impl<P: Place<Content = Values>> Config for Watched<P> {
    async fn values(&self) -> Result<Arc<Values>, ConfigError> {
        Ok(self.now().await)
    }
}

impl From<Unreadable> for ConfigError {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::TooLarge { place, what, limit } => Self::TooLarge { place, what, limit },
            Unreadable::TooMany { .. } | Unreadable::Failed(_) => Self::Backend(unreadable.to_string()),
        }
    }
}
