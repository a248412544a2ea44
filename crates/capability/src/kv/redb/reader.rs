//! Reads of single keys, on threads that may wait for the disk.
//!
//! Handing one get to a thread and its answer back costs thirty times what reading it from memory does. So those that come
//! while a thread reads are read by it too, [`TOGETHER`] from one snapshot, and a thread ends when nobody waits any more. A
//! snapshot is taken after all that are read from it were asked for: each sees what was answered before.
//!
//! A disk that is slow is asked by as many threads as there may be, each for one key, so that nobody waits for another's page.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{sync::oneshot, task::spawn_blocking};

use super::{READERS, failed, tables::Snapshot, writer::Shared};
use crate::kv::{Entry, KvError};

/// Keys that are read from one snapshot, at most, and that may wait for each thread before there is another one.
const TOGETHER: usize = 8;

/// What takes longer for each key comes from a disk rather than from memory.
const SLOW: Duration = Duration::from_micros(100);

type Answer = Result<Option<Entry>, KvError>;

/// Those who wait for a thread, and the threads.
#[derive(Debug)]
pub(super) struct Reader {
    shared: Arc<Shared>,
    waiting: Mutex<Waiting>,
    /// Whether the disk was asked the last time.
    slow: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    asked: VecDeque<Asked>,
    threads: usize,
}

#[derive(Debug)]
struct Asked {
    key: String,
    answer: oneshot::Sender<Answer>,
}

/// A thread that reads, or is about to. One that a runtime never starts, because it ends, is counted out when it is dropped.
struct Thread {
    reader: Arc<Reader>,
    counted: bool,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared, waiting: Mutex::default(), slow: AtomicBool::new(false) })
    }

    /// What is under a key. Dropped half-way, it may be read all the same.
    pub(super) async fn entry(self: &Arc<Self>, key: &str) -> Answer {
        let (answer, answered) = oneshot::channel();
        if self.ask(Asked { key: key.to_owned(), answer }) {
            let thread = Thread { reader: self.clone(), counted: true };
            spawn_blocking(move || thread.run());
        }
        let unread = |_| KvError::Backend("the store could not be read; try again".to_owned());
        answered.await.map_err(unread)?
    }

    /// Asks for a key; whether it takes another thread, which is counted already.
    fn ask(&self, asked: Asked) -> bool {
        let together = self.together();
        let mut waiting = self.waiting.lock();
        waiting.asked.push_back(asked);
        let more = waiting.threads < READERS && waiting.asked.len() > waiting.threads * together;
        waiting.threads += usize::from(more);
        more
    }

    #[cfg(test)]
    pub(super) fn threads(&self) -> usize {
        self.waiting.lock().threads
    }

    fn together(&self) -> usize {
        if self.slow.load(Ordering::Relaxed) { 1 } else { TOGETHER }
    }

    fn read(&self, asked: Vec<Asked>) {
        let since = Instant::now();
        let keys = u32::try_from(asked.len()).unwrap_or(u32::MAX);
        let transaction = match self.shared.snapshot() {
            Ok(transaction) => transaction,
            Err(error) => {
                asked.into_iter().for_each(|asked| drop(asked.answer.send(Err(error.clone()))));
                return;
            }
        };
        let snapshot = Snapshot::new(&transaction);
        for Asked { key, answer } in asked {
            // Who has gone is not read for.
            if !answer.is_closed() {
                let entry = match &snapshot {
                    Ok(snapshot) => snapshot.get(&key),
                    Err(error) => {
                        drop(answer.send(Err(failed(error))));
                        continue;
                    }
                };
                drop(answer.send(entry.map_err(|error| failed(&error))));
            }
        }
        self.slow.store(since.elapsed() > SLOW.saturating_mul(keys), Ordering::Relaxed);
    }
}

impl Thread {
    /// Reads until nobody waits.
    fn run(mut self) {
        loop {
            let together = self.reader.together();
            let mut waiting = self.reader.waiting.lock();
            if waiting.asked.is_empty() {
                waiting.threads -= 1;
                drop(waiting);
                self.counted = false;
                return;
            }
            let some = waiting.asked.len().min(together);
            let asked = waiting.asked.drain(..some).collect();
            drop(waiting);
            // A damaged page may make the library panic: those who asked are told, and the others are read for.
            let _ = catch_unwind(AssertUnwindSafe(|| self.reader.read(asked)));
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        let mut waiting = self.reader.waiting.lock();
        waiting.threads -= 1;
        if waiting.threads == 0 {
            // They would wait for the next who asks; so they are told.
            waiting.asked.clear();
        }
    }
}
