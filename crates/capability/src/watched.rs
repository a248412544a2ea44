//! Something on disk that is read again when it has changed, and kept as it was while it cannot be read.
//!
//! Nothing runs in the background: whoever asks looks, if the last look is longer ago than a given time ([`FRESH`]), and an
//! app that nobody calls costs nothing. What is told is never older, but for the time a look itself takes, and for what has
//! changed a moment ago, which may be half written. Files are read on threads for blocking work, one at a time for each place
//! and [`LOOKS`] in the whole process; who asks meanwhile gets what is known.

use std::{
    fmt, io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{Instant, timeout},
};

use crate::disk::Unreadable;

/// How old values may be that a guest is told, unless somebody chooses otherwise.
pub const FRESH: Duration = Duration::from_secs(1);

/// How long a caller waits for a look; a disk that is slower than this answers the next one.
const PATIENCE: Duration = Duration::from_secs(1);

/// Places that are looked at at once in this process.
const LOOKS: usize = 16;

/// A file that changed less than this ago may have changed once more without looking different.
const SETTLED: Duration = Duration::from_secs(2);

/// A file that changed less than this ago may be half written: it is left for a look that comes later.
const QUIET: Duration = Duration::from_millis(100);

/// How many times that long it is left at most.
const WAITS: u32 = 10;

static LOOKING: Semaphore = Semaphore::const_new(LOOKS);

/// Where something is read from, as a manifest writes it. Both methods block, and are called on threads for that.
pub(crate) trait Place: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// What is read.
    type Content: Send + Sync + 'static;

    /// What would be different if the content were. It costs a few system calls.
    fn mark(&self) -> io::Result<Mark>;

    /// Reads all of it. The error is told in the log, and so holds nothing of the content.
    fn read(&self) -> Result<Self::Content, Unreadable>;
}

/// What a place looked like from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    files: Vec<Identity>,
    /// When the last of them changed; `None` without any.
    changed: Option<SystemTime>,
    /// Whether that was so short a time ago that another change could look the same.
    unsettled: bool,
}

/// A file's device, number, length, and when it and its entry changed.
type Identity = (u64, u64, u64, (i64, i64), (i64, i64));

impl Mark {
    /// Adds a file, links followed or not as `metadata` was asked.
    pub(crate) fn add(&mut self, metadata: &impl Facts) {
        let (identity, changed) = metadata.facts();
        let settled = changed.elapsed().is_ok_and(|age| age > SETTLED);
        self.unsettled |= !settled;
        self.changed = self.changed.max(Some(changed));
        self.files.push(identity);
    }

    /// Whether something changed less than `quiet` ago. A clock that is ahead of ours never makes it so.
    fn is_younger(&self, quiet: Duration) -> bool {
        self.changed.and_then(|changed| changed.elapsed().ok()).is_some_and(|age| age < quiet)
    }

    /// The mark of one file.
    pub(crate) fn of_file(path: &Path) -> io::Result<Self> {
        let mut mark = Self::default();
        mark.add(&std::fs::metadata(path)?);
        Ok(mark)
    }
}

/// What a mark is made of, of the standard library's metadata and of those of sandboxed folders.
pub(crate) trait Facts {
    /// The identity, and when it last changed.
    fn facts(&self) -> (Identity, SystemTime);
}

macro_rules! facts {
    ($metadata:ty, $extension:path) => {
        impl Facts for $metadata {
            fn facts(&self) -> (Identity, SystemTime) {
                use $extension as Extension;
                let changed = (Extension::ctime(self), Extension::ctime_nsec(self));
                let written = (Extension::mtime(self), Extension::mtime_nsec(self));
                let nanos = u32::try_from(changed.1).ok().filter(|nanos| *nanos < 1_000_000_000).unwrap_or(0);
                let since = Duration::new(u64::try_from(changed.0).unwrap_or(0), nanos);
                let at = UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH);
                ((Extension::dev(self), Extension::ino(self), Extension::size(self), written, changed), at)
            }
        }
    };
}

facts!(std::fs::Metadata, std::os::unix::fs::MetadataExt);
facts!(cap_std::fs::Metadata, cap_std::fs::MetadataExt);

/// A place with what was last read from it.
pub(crate) struct Watched<P: Place>(Arc<Shared<P>>);

struct Shared<P: Place> {
    place: P,
    fresh: Duration,
    quiet: Duration,
    content: ArcSwap<P::Content>,
    /// Held while the place is looked at.
    looking: Arc<tokio::sync::Mutex<()>>,
    seen: Mutex<Seen>,
}

struct Seen {
    mark: Option<Mark>,
    at: Instant,
    /// Why it cannot be read, as it was told.
    broken: Option<Unreadable>,
}

impl<P: Place> Clone for Watched<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P: Place> fmt::Debug for Watched<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.place, f)
    }
}

impl<P: Place> Watched<P> {
    /// Reads a place for the first time. What it tells later is at most `fresh` old.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) async fn open(place: P, fresh: Duration) -> Result<Self, Unreadable> {
        let read = spawn_blocking(move || {
            let mark = place.mark().ok();
            let content = place.read()?;
            Ok::<_, Unreadable>((place, mark, content))
        });
        let (place, mark, content) = read.await.map_err(|error| Unreadable::Failed(error.to_string()))??;
        Ok(Self(Arc::new(Shared {
            place,
            fresh,
            quiet: QUIET.min(fresh),
            content: ArcSwap::from_pointee(content),
            looking: Arc::default(),
            seen: Mutex::new(Seen { mark, at: Instant::now(), broken: None }),
        })))
    }

    /// What is there now, or was the last time it could be read.
    pub(crate) async fn now(&self) -> Arc<P::Content> {
        let shared = &self.0;
        if shared.seen.lock().at.elapsed() >= shared.fresh
            && let Ok(looking) = Arc::clone(&shared.looking).try_lock_owned()
            && let Ok(permit) = LOOKING.try_acquire()
        {
            let looked = Arc::clone(shared);
            // The thread holds the permits, not whoever asked: that one may be gone while a disk still hangs.
            let look = spawn_blocking(move || {
                looked.look();
                drop((looking, permit));
            });
            // Whether it was in time or not, what is known is told.
            let _ = timeout(PATIENCE, look).await;
        }
        shared.content.load_full()
    }
}

impl<P: Place> Shared<P> {
    /// Whether a change may be left for a later look. What never comes to rest is read as it is.
    fn may_wait(&self) -> bool {
        self.seen.lock().at.elapsed() < self.fresh.saturating_add(self.quiet.saturating_mul(WAITS))
    }

    fn look(&self) {
        // The mark is older than what is read after it: a change in between is seen by the next look.
        let mark = self.place.mark();
        let known = mark.as_ref().is_ok_and(|mark| self.seen.lock().mark.as_ref() == Some(mark));
        let read = match &mark {
            Ok(mark) if known && !mark.unsettled => None,
            Ok(mark) if !known && mark.is_younger(self.quiet) && self.may_wait() => return,
            _ => Some(self.place.read()),
        };
        let mut seen = self.seen.lock();
        seen.at = Instant::now();
        match read {
            Some(Err(error)) => {
                if seen.broken.as_ref() != Some(&error) {
                    tracing::warn!(source = %self.place, %error, "the values of before stay");
                    seen.broken = Some(error);
                }
                return;
            }
            Some(Ok(content)) => {
                self.content.store(Arc::new(content));
                // Without a mark the next look reads again.
                seen.mark = mark.ok();
            }
            None => {}
        }
        if seen.broken.take().is_some() {
            tracing::info!(source = %self.place, "can be read again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

    use super::*;

    const YOUNG: u64 = 100;

    /// A place that counts its readings, and is broken or hangs when it is told to.
    #[derive(Debug, Default)]
    struct Scripted {
        version: AtomicU64,
        readings: AtomicUsize,
        looks: AtomicUsize,
        broken: Mutex<Option<&'static str>>,
        hangs: AtomicBool,
    }

    impl fmt::Display for &'static Scripted {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("scripted")
        }
    }

    impl Facts for u64 {
        fn facts(&self) -> (Identity, SystemTime) {
            // What is version 100 has changed just now.
            let changed = if *self == YOUNG { SystemTime::now() } else { UNIX_EPOCH };
            ((*self, 0, 0, (0, 0), (0, 0)), changed)
        }
    }

    impl Place for &'static Scripted {
        type Content = u64;

        fn mark(&self) -> io::Result<Mark> {
            while self.hangs.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            self.looks.fetch_add(1, Ordering::SeqCst);
            let mut mark = Mark::default();
            mark.add(&self.version.load(Ordering::SeqCst));
            Ok(mark)
        }

        fn read(&self) -> Result<u64, Unreadable> {
            self.readings.fetch_add(1, Ordering::SeqCst);
            match *self.broken.lock() {
                Some(why) => Err(Unreadable::Failed(why.to_owned())),
                None => Ok(self.version.load(Ordering::SeqCst)),
            }
        }
    }

    async fn open(fresh: Duration) -> (&'static Scripted, Watched<&'static Scripted>) {
        let place: &'static Scripted = Box::leak(Box::default());
        (place, Watched::open(place, fresh).await.unwrap())
    }

    fn told(watched: &Watched<&'static Scripted>) -> Option<Unreadable> {
        watched.0.seen.lock().broken.clone()
    }

    #[tokio::test]
    async fn what_has_not_changed_is_not_read_again() {
        let (place, watched) = open(Duration::ZERO).await;
        for _ in 0..10 {
            assert_eq!(*watched.now().await, 0);
        }
        assert_eq!((place.readings.load(Ordering::SeqCst), place.looks.load(Ordering::SeqCst)), (1, 11));
        place.version.store(1, Ordering::SeqCst);
        assert_eq!((*watched.now().await, *watched.now().await), (1, 1));
        assert_eq!(place.readings.load(Ordering::SeqCst), 2);
        let (place, watched) = open(Duration::from_secs(3600)).await;
        place.version.store(1, Ordering::SeqCst);
        assert_eq!((*watched.now().await, place.looks.load(Ordering::SeqCst)), (0, 1));
    }

    #[tokio::test]
    async fn what_may_be_half_written_is_left_for_later() {
        let (place, mut watched) = open(Duration::ZERO).await;
        Arc::get_mut(&mut watched.0).unwrap().quiet = Duration::from_secs(3600);
        place.version.store(YOUNG, Ordering::SeqCst);
        for looks in 2..5 {
            assert_eq!((*watched.now().await, place.looks.load(Ordering::SeqCst)), (0, looks));
        }
        place.version.store(1, Ordering::SeqCst);
        assert_eq!(*watched.now().await, 1);
        // What changes all the time is read all the same.
        Arc::get_mut(&mut watched.0).unwrap().quiet = Duration::from_nanos(1);
        place.version.store(YOUNG, Ordering::SeqCst);
        while *watched.now().await != YOUNG {}
        let (ahead, _) = 0_u64.facts();
        let future = SystemTime::now() + Duration::from_secs(3600);
        assert!(!Mark { files: vec![ahead], changed: Some(future), unsettled: true }.is_younger(QUIET));
    }

    #[tokio::test]
    async fn why_a_place_is_broken_is_told_when_it_changes_and_forgotten_when_it_is_not() {
        let (place, watched) = open(Duration::ZERO).await;
        place.version.store(1, Ordering::SeqCst);
        for why in ["no", "no", "never"] {
            *place.broken.lock() = Some(why);
            assert_eq!(*watched.now().await, 0);
            assert_eq!(told(&watched), Some(Unreadable::Failed(why.to_owned())));
        }
        *place.broken.lock() = None;
        assert_eq!((*watched.now().await, told(&watched)), (1, None));
        // It may also be again what it was before.
        *place.broken.lock() = Some("no");
        place.version.store(2, Ordering::SeqCst);
        assert_eq!(*watched.now().await, 1);
        place.version.store(1, Ordering::SeqCst);
        assert_eq!((*watched.now().await, told(&watched)), (1, None));
    }

    #[tokio::test]
    async fn a_disk_that_hangs_holds_up_one_caller_for_a_while_and_no_other() {
        let (place, watched) = open(Duration::ZERO).await;
        place.version.store(1, Ordering::SeqCst);
        place.hangs.store(true, Ordering::SeqCst);
        let begun = Instant::now();
        assert_eq!(*watched.now().await, 0);
        assert!(begun.elapsed() >= PATIENCE);
        let begun = Instant::now();
        for _ in 0..100 {
            assert_eq!(*watched.now().await, 0);
        }
        assert!(begun.elapsed() < PATIENCE, "the look in flight is not waited for again");
        place.hangs.store(false, Ordering::SeqCst);
        while *watched.now().await != 1 {
            tokio::task::yield_now().await;
        }
    }
}
