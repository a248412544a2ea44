//! The folder and what is done in it, on threads that may wait for a disk.

use std::{
    fs::DirBuilder,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use cap_std::{
    ambient_authority,
    fs::{Dir, OpenOptions},
};
use parking_lot::{Mutex, MutexGuard, RwLock};
use sha2::{Digest, Sha256};

use super::{
    file::{Head, Incoming, IncomingName, Stored, absent, is_foreign, open, refused},
    list::each,
};
use crate::blob::{
    Attributes, BlobError, Container, Usage, Written,
    name::{Kept, escape},
};

/// Bytes of a name that is written out, at most; a longer one is told by its hash. File systems take 255.
const WRITTEN_BYTES: usize = 200;

/// How old a thing in `incoming` is whose upload has certainly ended.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Held while something gets its final name, so that the size of what it replaces is exact, for one of so many objects each.
/// For the whole process, because a folder may be opened twice.
static OBJECTS: [Mutex<()>; 64] = [const { Mutex::new(()) }; 64];

/// Held to read while an object gets its name, and to write while a container loses its.
static CONTAINERS: RwLock<()> = RwLock::new(());

/// Makes names in `incoming` differ.
static UNIQUE: AtomicU64 = AtomicU64::new(0);

/// An open store.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) containers: Dir,
    incoming: Arc<Dir>,
    removed: Dir,
}

/// How something is called on the disk: after its name, or after the hash of it.
pub(super) fn written(name: &str) -> String {
    let written = escape(name, Kept::InFiles);
    if written.len() > WRITTEN_BYTES { format!("-{:x}", Sha256::digest(name)) } else { written }
}

/// Whether [`written`] has hidden the name behind a hash.
pub(super) fn is_hash(written: &str) -> bool {
    written.starts_with('-')
}

/// Whether an object's file only needs another name to be the other object: a name behind a hash is in the file too.
pub(super) fn renames_in_one(from: &str, to: &str) -> bool {
    !is_hash(&written(from)) && !is_hash(&written(to))
}

/// The folder within a container that an object is in.
fn shard(object: &str) -> String {
    let hash = Sha256::digest(object);
    format!("{:02x}", hash.first().copied().unwrap_or_default())
}

/// Which of the locks is an object's.
fn place(container: &str, object: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    (container, object).hash(&mut hasher);
    usize::try_from(hasher.finish() % OBJECTS.len() as u64).unwrap_or_default()
}

/// The lock of an object.
pub(super) fn lock(container: &str, object: &str) -> Option<MutexGuard<'static, ()>> {
    Some(OBJECTS.get(place(container, object))?.lock())
}

/// The locks of two objects. Everybody takes the one in front first, so that no two wait for each other.
fn lock_both(one: (&str, &str), other: (&str, &str)) -> [Option<MutexGuard<'static, ()>>; 2] {
    let (one, other) = (place(one.0, one.1), place(other.0, other.1));
    let first = OBJECTS.get(one.min(other)).map(Mutex::lock);
    [first, OBJECTS.get(one.max(other)).filter(|_| one != other).map(Mutex::lock)]
}

/// A folder beneath another, without following a link. `None` if it is not there, or something else is.
pub(super) fn folder(dir: &Dir, name: &str) -> Result<Option<Dir>, BlobError> {
    let file = match absent(open(dir, name, OpenOptions::new().read(true))) {
        Ok(Some(file)) => file,
        Err(error) if !is_foreign(&error) => return Err(refused(&error)),
        Ok(None) | Err(_) => return Ok(None),
    };
    let is_dir = file.metadata().map_err(|error| refused(&error))?.is_dir();
    Ok(is_dir.then(|| Dir::from_std_file(file.into_std())))
}

/// A folder beneath another, made if it is not there.
fn made(dir: &Dir, name: &str) -> Result<Dir, BlobError> {
    if let Some(there) = folder(dir, name)? {
        return Ok(there);
    }
    match dir.create_dir(name) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(refused(&error)),
        _ => sync(dir)?,
    }
    folder(dir, name)?.ok_or_else(|| BlobError::Backend(format!("`{name}` in the store's folder is no folder")))
}

/// Sees to it that the names in a folder are on the disk.
fn sync(dir: &Dir) -> Result<(), BlobError> {
    // Opened again, because a handle that only names a folder cannot be synced.
    let synced = open(dir, ".", OpenOptions::new().read(true)).and_then(|dir| dir.sync_all());
    synced.map_err(|error| refused(&error))
}

impl Folder {
    /// Opens the folder, which is made if it is not there, and removes what was left in it unfinished.
    pub(super) fn open(path: &Path) -> Result<Self, BlobError> {
        let opened = DirBuilder::new().recursive(true).mode(0o700).create(path);
        let opened = opened.and_then(|()| Dir::open_ambient_dir(path, ambient_authority())).map_err(|error| {
            BlobError::Configuration(format!("the folder `{}` cannot be opened: {error}", path.display()))
        })?;
        let folder = Self {
            containers: made(&opened, "containers")?,
            incoming: Arc::new(made(&opened, "incoming")?),
            removed: made(&opened, "removed")?,
        };
        folder.clean();
        Ok(folder)
    }

    /// What cannot be removed is tried again when the store is opened the next time.
    fn clean(&self) {
        let now = SystemTime::now();
        for entry in self.incoming.entries().into_iter().flatten().flatten() {
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            let age = changed.ok().and_then(|changed| now.duration_since(changed.into_std()).ok());
            if age.is_some_and(|age| age > STALE) {
                let _ = self.incoming.remove_file(entry.file_name());
                let _ = self.incoming.remove_dir_all(entry.file_name());
            }
        }
        for entry in self.removed.entries().into_iter().flatten().flatten() {
            let _ = self.removed.remove_dir_all(entry.file_name());
        }
    }

    /// A name that nothing in the folders of unfinished things has.
    fn unique() -> String {
        let number = UNIQUE.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        format!("{}-{:x}-{number}", process::id(), now.as_nanos())
    }

    fn unfinished(&self) -> IncomingName {
        IncomingName { dir: self.incoming.clone(), name: Self::unique() }
    }

    fn opened(&self, container: &str) -> Result<Dir, BlobError> {
        folder(&self.containers, &written(container))?.ok_or_else(|| BlobError::no_such_container(container))
    }

    /// The folder with the folders of a container's objects.
    pub(super) fn objects(&self, container: &str) -> Result<Dir, BlobError> {
        let damaged = || BlobError::Backend("the container's folder is damaged: it has no `objects`".to_owned());
        folder(&self.opened(container)?, "objects")?.ok_or_else(damaged)
    }

    pub(super) fn create(&self, container: &str) -> Result<bool, BlobError> {
        let name = written(container);
        if folder(&self.containers, &name)?.is_some() {
            return Ok(false);
        }
        // Made elsewhere, so that it is whole when it is there.
        let new = self.unfinished();
        self.incoming.create_dir(&new.name).map_err(|error| refused(&error))?;
        let made_of = || {
            let dir = made(&self.incoming, &new.name)?;
            made(&dir, "objects")?;
            let head = Head { name: Some(container.to_owned()), attributes: Attributes::default() };
            let dir = Arc::new(dir);
            let about = Incoming::new(IncomingName { dir: dir.clone(), name: "unfinished".to_owned() }, &head)?;
            about.sync()?;
            dir.rename("unfinished", &dir, "about").map_err(|error| refused(&error))?;
            sync(&dir)?;
            match self.incoming.rename(&new.name, &self.containers, &name) {
                Ok(()) => sync(&self.containers).map(|()| true),
                Err(error) => match error.kind() {
                    // Somebody else was faster.
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => Ok(false),
                    _ => Err(refused(&error)),
                },
            }
        };
        let created = made_of();
        if !matches!(created, Ok(true)) {
            let _ = self.incoming.remove_dir_all(&new.name);
        }
        created
    }

    pub(super) fn about(&self, container: &str) -> Result<Option<Container>, BlobError> {
        let Some(dir) = folder(&self.containers, &written(container))? else { return Ok(None) };
        let about = Stored::open(&dir, "about").map_err(|error| refused(&error))?;
        Ok(Some(Container { created: about.info.written }))
    }

    pub(super) fn delete_container(&self, container: &str) -> Result<Option<Usage>, BlobError> {
        let unique = Self::unique();
        {
            let _gate = CONTAINERS.write();
            let renamed = self.containers.rename(written(container), &self.removed, &unique);
            if absent(renamed).map_err(|error| refused(&error))?.is_none() {
                return Ok(None);
            }
        }
        sync(&self.containers)?;
        let mut usage = Usage { containers: 1, ..Usage::default() };
        if let Some(dir) = folder(&self.removed, &unique)?
            && let Some(objects) = folder(&dir, "objects")?
        {
            each(&objects, |_, _, stored| usage.count(stored.info.bytes))?;
        }
        self.removed.remove_dir_all(&unique).map_err(|error| refused(&error))?;
        Ok(Some(usage))
    }

    pub(super) fn clear(&self, container: &str) -> Result<Usage, BlobError> {
        let mut usage = Usage::default();
        let mut failed = Ok(());
        each(&self.objects(container)?, |_, object, _| match self.remove(container, object) {
            Ok(Some((_, bytes))) => usage.count(bytes),
            // Somebody else has removed it, or the container with all that is left in it.
            Ok(None) | Err(BlobError::NoSuchContainer { .. }) => {}
            Err(error) => failed = Err(error),
        })?;
        failed.map(|()| usage)
    }

    /// An object's file, `None` if it is not there.
    pub(super) fn read(&self, container: &str, object: &str) -> Result<Option<Stored>, BlobError> {
        let objects = self.objects(container)?;
        let Some(dir) = folder(&objects, &shard(object))? else { return Ok(None) };
        read_in(&dir, object)
    }

    pub(super) fn begin(&self, container: &str, object: &str, attributes: &Attributes) -> Result<Incoming, BlobError> {
        self.opened(container)?;
        Incoming::new(self.unfinished(), &head(object, attributes.clone()))
    }

    /// Gives what was written its name.
    pub(super) fn finish(&self, container: &str, object: &str, incoming: &Incoming) -> Result<Written, BlobError> {
        incoming.sync()?;
        let (dir, replaced) = {
            let _gate = CONTAINERS.read();
            let dir = made(&self.objects(container)?, &shard(object))?;
            let _object = lock(container, object);
            let replaced = read_in(&dir, object)?.map(|old| old.info.bytes);
            let named = self.incoming.rename(&incoming.name.name, &dir, written(object));
            named.map_err(|error| refused(&error))?;
            (dir, replaced)
        };
        sync(&dir)?;
        Ok(Written { bytes: incoming.bytes, replaced })
    }

    pub(super) fn delete(&self, container: &str, object: &str) -> Result<Option<u64>, BlobError> {
        let Some((dir, bytes)) = self.remove(container, object)? else { return Ok(None) };
        sync(&dir)?;
        Ok(Some(bytes))
    }

    /// Takes an object out of its folder, which is not synced yet; answers both.
    fn remove(&self, container: &str, object: &str) -> Result<Option<(Dir, u64)>, BlobError> {
        // Whoever removes the container counts what is left in it.
        let _gate = CONTAINERS.read();
        let Some(dir) = folder(&self.objects(container)?, &shard(object))? else { return Ok(None) };
        let _object = lock(container, object);
        let Some(stored) = read_in(&dir, object)? else { return Ok(None) };
        let removed = absent(dir.remove_file(written(object))).map_err(|error| refused(&error))?;
        Ok(removed.map(|()| (dir, stored.info.bytes)))
    }

    pub(super) fn copy(&self, from: (&str, &str), to: (&str, &str)) -> Result<Written, BlobError> {
        let source = self.read(from.0, from.1)?.ok_or_else(|| BlobError::no_such_object(from.1))?;
        if from == to {
            return Ok(Written { bytes: source.info.bytes, replaced: Some(source.info.bytes) });
        }
        let mut incoming = self.begin(to.0, to.1, &source.info.attributes)?;
        incoming.write_all_of(&source)?;
        self.finish(to.0, to.1, &incoming)
    }

    /// In one step if both names are [written out](renames_in_one).
    pub(super) fn rename(&self, from: (&str, &str), to: (&str, &str)) -> Result<Written, BlobError> {
        if from == to || !renames_in_one(from.1, to.1) {
            let copied = self.copy(from, to)?;
            if from != to {
                self.delete(from.0, from.1)?;
            }
            return Ok(copied);
        }
        let missing = || BlobError::no_such_object(from.1);
        let (source, target, done) = {
            let _gate = CONTAINERS.read();
            let source = folder(&self.objects(from.0)?, &shard(from.1))?.ok_or_else(missing)?;
            let target = made(&self.objects(to.0)?, &shard(to.1))?;
            // An upload to either that is finished meanwhile would count what has another name by then.
            let _objects = lock_both(from, to);
            let bytes = read_in(&source, from.1)?.ok_or_else(missing)?.info.bytes;
            let replaced = read_in(&target, to.1)?.map(|old| old.info.bytes);
            let renamed = source.rename(written(from.1), &target, written(to.1));
            absent(renamed).map_err(|error| refused(&error))?.ok_or_else(missing)?;
            (source, target, Written { bytes, replaced })
        };
        sync(&target)?;
        sync(&source)?;
        Ok(done)
    }

    pub(super) fn usage(&self, prefix: &str) -> Result<Usage, BlobError> {
        let mut usage = Usage::default();
        let mut cursor: Option<String> = None;
        loop {
            let page = self.list_containers(prefix, cursor.as_deref(), 1000)?;
            for container in page.entries {
                match self.objects(&container) {
                    Ok(objects) => each(&objects, |_, _, stored| usage.count(stored.info.bytes))?,
                    Err(BlobError::NoSuchContainer { .. }) => continue,
                    Err(error) => return Err(error),
                }
                usage.containers += 1;
            }
            if page.cursor.is_none() {
                return Ok(usage);
            }
            cursor = page.cursor;
        }
    }
}

/// The head of an object's file.
fn head(object: &str, attributes: Attributes) -> Head {
    Head { name: is_hash(&written(object)).then(|| object.to_owned()), attributes }
}

fn read_in(dir: &Dir, object: &str) -> Result<Option<Stored>, BlobError> {
    absent(Stored::open(dir, &written(object))).map_err(|error| refused(&error))
}
