//! The one thread that writes: what has come while the disk was busy is committed together.
//!
//! A job runs inside the group's transaction and is answered after its commit, so that what was answered is on the disk, and
//! what was refused (a number that is none) never costs the others anything. If the disk fails, the whole group is told so,
//! and the database is opened anew: after a failed write nobody knows what the file holds until it is read again.
//!
//! Commits are in two phases and save what a repair would have to find out (`set_quick_repair`): a file of any size opens at
//! once after a crash, and no guest can choose bytes that pass for a valid commit.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use parking_lot::RwLock;
use redb::{Database, ReadTransaction, ReadableDatabase};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{
    super::watch::Hub,
    KvError, Medium, failed, not_opened,
    tables::{Tables, now},
};

/// What waits to be written, at most, in [`UNIT`]s; a write counts for one at least. Others wait before they queue.
const QUEUE: u32 = 64 << 10;

/// Bytes of keys and values that count for one in the queue.
const UNIT: usize = 1 << 10;

/// Jobs in one commit, at most.
const GROUP_JOBS: usize = 4096;

/// Units in one commit, at most, unless one job has more.
const GROUP_UNITS: u32 = 16 << 10;

/// Keys that are taken out in one commit because their time is over.
const SWEEP_KEYS: usize = 1000;

/// Time between two sweeps, unless one left something over.
const SWEEP: Duration = Duration::from_secs(1);

/// Time between two attempts to open a database that failed.
const REOPEN: Duration = Duration::from_millis(500);

/// Something to write. It runs in the transaction and gives what is to be done after the commit.
type Work = Box<dyn FnOnce(&mut Tables<'_>) -> Result<Answer, redb::Error> + Send>;

/// Tells whoever asked: what they asked for has happened, or the commit failed.
type Answer = Box<dyn FnOnce(Result<(), KvError>) + Send>;

struct Job {
    work: Work,
    /// Its place in the queue, which it gives back when it is done.
    place: OwnedSemaphorePermit,
}

/// What readers and the writing thread share.
#[derive(Debug)]
pub(super) struct Shared {
    medium: Arc<dyn Medium>,
    /// `None` while it is opened anew. Locked for moments only.
    database: RwLock<Option<Database>>,
    hub: Hub,
}

impl Shared {
    /// What is there now, for a reader. Does not wait for the disk.
    pub(super) fn snapshot(&self) -> Result<ReadTransaction, KvError> {
        let database = self.database.read();
        let Some(database) = &*database else { return Err(failed(&redb::Error::DatabaseClosed)) };
        database.begin_read().map_err(|error| failed(&error.into()))
    }
}

/// The way to the writing thread; the thread ends, after its last job, with this.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    jobs: Sender<Job>,
}

impl Writer {
    /// Starts the thread. Blocks.
    pub(super) fn start(medium: Arc<dyn Medium>, database: Database) -> Result<Self, KvError> {
        let shared = Arc::new(Shared { medium, database: RwLock::new(Some(database)), hub: Hub::default() });
        let (sender, jobs) = channel();
        let mut thread = Thread { shared: shared.clone(), jobs, next_end: None, swept: Instant::now() };
        // Tables are made and old times read before anybody waits for an answer.
        thread.sweep().map_err(|error| failed(&error))?;
        let named = std::thread::Builder::new().name("redb".to_owned());
        named.spawn(move || thread.run()).map_err(|error| KvError::Backend(format!("no thread to write: {error}")))?;
        Ok(Self { shared, places: Arc::new(Semaphore::new(QUEUE as usize)), jobs: sender })
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.shared.hub
    }

    /// What readers need of it.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Writes with the next group.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(&mut Tables<'_>) -> Result<Result<T, KvError>, redb::Error> + Send + 'static,
    ) -> Result<T, KvError> {
        let ended = || KvError::Backend("the store's writer has ended; load the app again".to_owned());
        let units = u32::try_from(1 + bytes / UNIT).unwrap_or(u32::MAX).min(QUEUE);
        // The semaphore is never closed.
        let place = self.places.clone().acquire_many_owned(units).await.map_err(|_| ended())?;
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |tables| {
            let done = work(tables)?;
            // Whoever asked may be gone; what was asked for has happened.
            Ok(Box::new(move |committed: Result<(), KvError>| drop(answer.send(committed.and(done)))))
        });
        self.jobs.send(Job { work, place }).map_err(|_| ended())?;
        let unwritten = |_| KvError::Backend("the store failed to write; try again".to_owned());
        answered.await.map_err(unwritten)?
    }
}

struct Thread {
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
    /// When the next key ends, in milliseconds since 1970.
    next_end: Option<u64>,
    swept: Instant,
}

impl Thread {
    fn run(mut self) {
        loop {
            let wait = self.until_sweep();
            let next = match wait {
                None => self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wait) => self.jobs.recv_timeout(wait),
            };
            match next {
                Ok(job) => self.guarded(|thread| thread.group(job)),
                Err(RecvTimeoutError::Timeout) => self.guarded(Self::sweep),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Under a stream of jobs nobody waits long enough for the time to run out.
            if self.until_sweep().is_some_and(|wait| wait.is_zero()) {
                self.guarded(Self::sweep);
            }
        }
    }

    /// How long to wait for a job before it is time to sweep; `None`: nothing ends.
    fn until_sweep(&self) -> Option<Duration> {
        let end = Duration::from_millis(self.next_end?.saturating_sub(now()));
        Some(end.max(SWEEP.saturating_sub(self.swept.elapsed())))
    }

    /// Does something with the database, which is opened anew if it fails.
    fn guarded(&mut self, work: impl FnOnce(&mut Self) -> Result<(), redb::Error>) {
        if self.shared.database.read().is_none() && !self.reopen() {
            return;
        }
        // A damaged page may make the library panic; the file is then read again as after any other failure.
        let done = catch_unwind(AssertUnwindSafe(|| work(self)));
        let done = done.unwrap_or_else(|_| Err(redb::Error::Corrupted("the library has panicked".to_owned())));
        if let Err(error) = done {
            let place = self.shared.medium.place();
            tracing::error!(place, %error, "a write failed; the store is opened anew");
            self.reopen();
        }
    }

    /// Runs a job and those that have come meanwhile in one transaction, and answers all of them.
    fn group(&mut self, first: Job) -> Result<(), redb::Error> {
        let (mut answers, mut places) = (Vec::new(), Vec::new());
        let mut units = 0;
        let mut next = Some(first);
        let committed = self.commit(|tables, jobs| {
            while let Some(Job { work, place }) = next.take() {
                units += u32::try_from(place.num_permits()).unwrap_or(u32::MAX);
                places.push(place);
                answers.push(work(tables)?);
                if answers.len() < GROUP_JOBS && units < GROUP_UNITS {
                    next = jobs.try_recv().ok();
                }
            }
            Ok(())
        });
        let told = committed.as_ref().copied().map_err(failed);
        for answer in answers {
            answer(told.clone());
        }
        committed
    }

    /// Takes out keys whose time is over; all that there are, some at a time, with those who wait in between.
    fn sweep(&mut self) -> Result<(), redb::Error> {
        self.swept = Instant::now();
        let mut swept = 0;
        self.commit(|tables, _| {
            swept = tables.sweep(SWEEP_KEYS)?;
            Ok(())
        })?;
        if swept == SWEEP_KEYS {
            // The rest is due at once, after the jobs that wait.
            self.swept = self.swept.checked_sub(SWEEP).unwrap_or(self.swept);
        }
        Ok(())
    }

    /// One transaction, on the disk when this returns. Then the watchers are told.
    fn commit(
        &mut self,
        work: impl FnOnce(&mut Tables<'_>, &Receiver<Job>) -> Result<(), redb::Error>,
    ) -> Result<(), redb::Error> {
        let mut transaction = match &*self.shared.database.read() {
            Some(database) => database.begin_write()?,
            None => return Err(redb::Error::DatabaseClosed),
        };
        transaction.set_quick_repair(true);
        let mut tables = Tables::new(&transaction, self.shared.hub.is_watched())?;
        work(&mut tables, &self.jobs)?;
        tables.finish()?;
        let (changes, next_end) = (tables.changes.take(), tables.first_end()?);
        drop(tables);
        transaction.commit()?;
        self.next_end = next_end;
        for (key, there) in changes.unwrap_or_default() {
            if there {
                self.shared.hub.set(&key);
            } else {
                self.shared.hub.removed(&key);
            }
        }
        Ok(())
    }

    /// Closes the database and opens it again; whether it is open now. Waits a moment before it says that it is not.
    fn reopen(&mut self) -> bool {
        // Readers that are under way are told that it is closed, and those that come do not wait until it is.
        let closing = self.shared.database.write().take();
        if catch_unwind(AssertUnwindSafe(|| drop(closing))).is_err() {
            let place = self.shared.medium.place();
            tracing::error!(place, "the library panicked while it closed a store that failed");
        }
        let opened = catch_unwind(AssertUnwindSafe(|| self.shared.medium.open()));
        match opened {
            Ok(Ok(database)) => {
                *self.shared.database.write() = Some(database);
                return true;
            }
            Ok(Err(error)) => {
                let error = not_opened(&*self.shared.medium, &error);
                tracing::error!(%error, "a store that failed does not open again");
            }
            Err(_) => {
                let place = self.shared.medium.place();
                tracing::error!(place, "a store that failed is damaged");
            }
        }
        #[expect(clippy::disallowed_methods, reason = "a thread of its own, which has nothing else to do")]
        std::thread::sleep(REOPEN);
        false
    }
}
