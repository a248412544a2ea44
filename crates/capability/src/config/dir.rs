//! `dir:/etc/config`: a folder with one file a value, as Kubernetes mounts a config map; read again when it changes.
//!
//! The key is the file's name; the value is what the file holds, without one line's end.

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{Config, ConfigError, Provider, Values};
use crate::{
    disk::{Folder, Unreadable, one_line_less},
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

    async fn open(&self, place: &str, fresh: Duration) -> Result<Arc<dyn Config>, ConfigError> {
        let folder =
            ValueFolder { origin: format!("dir:{place}").into(), folder: Folder { path: PathBuf::from(place) } };
        Ok(Arc::new(Watched::open(folder, fresh).await?))
    }
}

/// A folder of values.
#[derive(Debug)]
struct ValueFolder {
    folder: Folder,
    origin: Arc<str>,
}

impl fmt::Display for ValueFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

impl Place for ValueFolder {
    type Content = Values;

    fn mark(&self) -> io::Result<Mark> {
        self.folder.mark()
    }

    fn read(&self) -> Result<Values, Unreadable> {
        let mut values = Vec::new();
        for (name, bytes) in self.folder.read()? {
            let text = std::str::from_utf8(one_line_less(&bytes)).map_err(|_| {
                let file = self.folder.path.join(&name);
                Unreadable::Failed(format!("`{}` is not UTF-8; configuration values are text", file.display()))
            })?;
            values.push((name, text.to_owned()));
        }
        Ok(Values::from_place(&self.origin, values))
    }
}
