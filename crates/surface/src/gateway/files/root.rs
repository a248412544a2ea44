//! The folder itself, which may be replaced as a whole while it is served.
//!
//! Build tools empty and make it anew, deployments swing a link to the next release: a folder that stayed open would be one
//! that nobody sees any more. So its name is looked at now and then, and opened again when it leads to another.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, Guard};
use cap_std::{ambient_authority, fs::Dir};
use parking_lot::Mutex;

/// How often the name is looked at, at most: what is new shows within this.
const EVERY: Duration = Duration::from_secs(1);

/// A folder by its name.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    open: ArcSwap<Dir>,
    seen: Mutex<Seen>,
}

/// What the name led to, and when that was looked at.
#[derive(Debug)]
struct Seen {
    identity: Identity,
    at: Instant,
}

/// Device and inode. An inode is not given to another while the folder is open.
type Identity = (u64, u64);

impl Root {
    /// Opens a folder.
    ///
    /// # Errors
    /// It is not there, is no folder, or must not be opened.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let dir = Dir::open_ambient_dir(&path, ambient_authority())?;
        let identity = identity(&dir)?;
        Ok(Self { path, open: ArcSwap::from_pointee(dir), seen: Mutex::new(Seen { identity, at: Instant::now() }) })
    }

    /// The folder of this moment. May wait for a disk. When its name leads nowhere, it is the one it led to before.
    pub(super) fn dir(&self) -> Guard<Arc<Dir>> {
        // One looks, the others need not wait for it.
        if let Some(mut seen) = self.seen.try_lock()
            && seen.at.elapsed() >= EVERY
        {
            seen.at = Instant::now();
            if let Err(error) = self.look(&mut seen) {
                tracing::debug!(folder = %self.path.display(), "the folder is not there at the moment: {error}");
            }
        }
        self.open.load()
    }

    fn look(&self, seen: &mut Seen) -> io::Result<()> {
        let found = fs::metadata(&self.path)?;
        if (found.dev(), found.ino()) == seen.identity {
            return Ok(());
        }
        let dir = Dir::open_ambient_dir(&self.path, ambient_authority())?;
        seen.identity = identity(&dir)?;
        self.open.store(Arc::new(dir));
        tracing::info!(folder = %self.path.display(), "the folder was replaced; its files are served from now on");
        Ok(())
    }
}

fn identity(dir: &Dir) -> io::Result<Identity> {
    let metadata = dir.try_clone()?.into_std_file().metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}
