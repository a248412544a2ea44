//! Fetching a blob into the store: once, whoever asks for it meanwhile, and from where an earlier try stopped.
//!
//! Within a process those who want the same of the same repository wait for the one who downloads, and get its blob or its
//! error; when it is cancelled the next one goes on. Between processes, and between repositories, the lock on the partial
//! file does the same, and ends with its holder; but who holds it may be slow on purpose, so that it is waited for only so
//! long, however much it gets meanwhile.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use oci_spec::image::{Descriptor, Digest};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::{
    Blob, Store, blocking, file_name,
    partial::{Claim, Partial},
};
use crate::{Error, Mirror, Progress, Repository, bounds::MAX_RESTARTS};

/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;
/// How often a body that breaks off is asked for again from where it broke. Each must have brought something.
const MAX_RESUMES: u32 = 8;
/// How long to wait before that, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// And at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How often to look whether another process has finished, at first and at most.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));
/// How long another process, or a download from another repository, is waited for in all, unless the options say otherwise.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// One download that several wait for.
#[derive(Debug, Default)]
pub(super) struct Flight(tokio::sync::Mutex<Landing>);

/// How a download ended, for those who waited.
#[derive(Debug, Default)]
enum Landing {
    /// It has not ended, or whoever did it was cancelled.
    #[default]
    Pending,
    /// The blob is in the store.
    Landed,
    /// The repository has not delivered it.
    Failed(Error),
}

/// Which downloads are one: of one repository, and expected to be of one size. What another repository does, or what another
/// manifest says of the size, says nothing of this one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    repository: String,
    name: String,
    size: u64,
}

impl Store {
    /// The blob of a descriptor, from the store or else from `repository`, of at most `limit` bytes. Downloads of one digest
    /// at one time are one, in this process and in others, unless another repository or process takes longer than
    /// [`StoreOptions::patience`](super::StoreOptions); what an earlier one has left is resumed.
    ///
    /// # Errors
    /// It is over the limit, which is known before a byte is asked for; the repository fails; it is not what the descriptor
    /// says; the disk fails.
    pub async fn fetch(
        &self,
        repository: &dyn Repository,
        descriptor: &Descriptor,
        limit: u64,
        progress: &Progress,
    ) -> Result<Blob, Error> {
        let (digest, size) = (descriptor.digest(), descriptor.size());
        if size > limit {
            return Err(Error::OverLimit(format!(
                "`{digest}` in `{}` is of {size} bytes, and at most {limit} are read of what it is for",
                repository.name()
            )));
        }
        let wanted = Wanted { repository: repository.name(), name: file_name(digest)?.to_owned(), size };
        loop {
            if let Some(blob) = self.get(digest).await? {
                return of_size(blob, size);
            }
            let flight = self.flight(&wanted);
            let mut landing = flight.0.lock().await;
            match &*landing {
                Landing::Pending => {}
                Landing::Failed(error) => return Err(error.clone()),
                Landing::Landed => continue,
            }
            let fetched = self.download(repository, descriptor, progress).await;
            *landing = match &fetched {
                Ok(_) => Landing::Landed,
                Err(error) => Landing::Failed(error.clone()),
            };
            self.end(&wanted, &flight);
            return fetched;
        }
    }

    /// The download that others may be waiting for, or a new one.
    fn flight(&self, wanted: &Wanted) -> Arc<Flight> {
        let mut flights = self.0.flights.lock();
        if let Some(flight) = flights.get(wanted).and_then(std::sync::Weak::upgrade) {
            return flight;
        }
        flights.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::new(Flight::default());
        flights.insert(wanted.clone(), Arc::downgrade(&flight));
        flight
    }

    /// Whoever comes from now on begins anew, rather than learning of an error of the past.
    fn end(&self, wanted: &Wanted, flight: &Arc<Flight>) {
        let mut flights = self.0.flights.lock();
        if flights.get(wanted).is_some_and(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(flight))) {
            flights.remove(wanted);
        }
    }

    async fn download(
        &self,
        repository: &dyn Repository,
        descriptor: &Descriptor,
        progress: &Progress,
    ) -> Result<Blob, Error> {
        let (digest, size) = (descriptor.digest(), descriptor.size());
        let began = Instant::now();
        let partial = loop {
            match self.claim(digest, size, began, progress).await? {
                Some(partial) => break partial,
                // Another one has just finished it, and perhaps a third one has collected it.
                None => {
                    if let Some(blob) = self.get(digest).await? {
                        return of_size(blob, size);
                    }
                }
            }
        };
        let partial = Arc::new(Mutex::new(partial));
        let mut download =
            Download { repository, descriptor, progress, partial, sends: None, passed: None, restarts: 0 };
        progress.total(size);
        let fetched = download.run().await;
        if let Err(error) = &fetched {
            // What may be resumed is kept: bytes that came from who is out of reach now.
            let resumable = !matches!(error, Error::Invalid(_) | Error::OverLimit(_) | Error::Disk(_));
            download
                .on_disk(move |partial| {
                    if !resumable || partial.length() == 0 {
                        partial.discard();
                    }
                    Ok(())
                })
                .await?;
        }
        fetched
    }

    /// The partial file of a digest, once it is ours, or one of our own when we have waited long enough; `None` if meanwhile
    /// another one has finished it.
    async fn claim(
        &self,
        digest: &Digest,
        size: u64,
        began: Instant,
        progress: &Progress,
    ) -> Result<Option<Partial>, Error> {
        let (mut pause, longest) = LOOK_AGAIN;
        loop {
            let (store, wanted) = (self.clone(), digest.clone());
            match blocking(move || Partial::claim(&store, &wanted, size)).await? {
                Claim::Ours(partial) => return Ok(Some(partial)),
                Claim::Landed => return Ok(None),
                Claim::Busy if began.elapsed() > self.0.patience => {
                    let store = self.clone();
                    return blocking(move || Partial::alone(&store)).await.map(Some);
                }
                Claim::Busy => progress.step("waiting for another download of the same"),
            }
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(longest);
        }
    }
}

/// A blob on its way from a repository to a file.
struct Download<'a> {
    repository: &'a dyn Repository,
    descriptor: &'a Descriptor,
    progress: &'a Progress,
    /// Locked by one at a time, in [`Download::on_disk`]; shared so that a download that is cancelled while it writes lets go
    /// of the file when that write is done.
    partial: Arc<Mutex<Partial>>,
    /// The mirror that sends it now, if it is one.
    sends: Option<Mirror>,
    /// The last mirror that sent something else.
    passed: Option<Mirror>,
    /// How often who sends it began anew instead of going on.
    restarts: u32,
}

impl Download<'_> {
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Partial) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let partial = Arc::clone(&self.partial);
        blocking(move || work(&mut partial.lock())).await
    }

    fn length(&self) -> u64 {
        self.partial.lock().length()
    }

    async fn run(&mut self) -> Result<Blob, Error> {
        let (digest, size) = (self.descriptor.digest(), self.descriptor.size());
        // Bytes that somebody else may have sent: if the whole is wrong, they may be why.
        let mut inherited = self.length() > 0;
        self.progress.received(self.length());
        let mut resumes = 0;
        loop {
            let before = self.length();
            if before < size
                && let Err(error) = self.receive(before).await
            {
                let broke = matches!(error, Error::Unreachable(_));
                if broke && resumes < MAX_RESUMES && self.length() > before && self.restarts < MAX_RESTARTS {
                    let pause = FIRST_PAUSE.saturating_mul(1 << resumes).min(LONGEST_PAUSE);
                    resumes += 1;
                    sleep(pause).await;
                    continue;
                }
                if matches!(error, Error::Disk(_)) || !self.passed_over(&error) {
                    return Err(error);
                }
                if !broke {
                    self.on_disk(Partial::restart).await?;
                }
                (inherited, resumes) = (self.length() > 0, 0);
                continue;
            }
            let found = self.on_disk(|partial| Ok(partial.digest())).await?;
            if found == *digest {
                let digest = digest.clone();
                return self.on_disk(move |partial| partial.finish(&digest)).await;
            }
            if !inherited {
                let error = Error::Invalid(format!("what `{}` sent as `{digest}` is `{found}`", self.sender()));
                if !self.passed_over(&error) {
                    return Err(error);
                }
            }
            (inherited, resumes) = (false, 0);
            self.on_disk(Partial::restart).await?;
        }
    }

    /// Who sends it now.
    fn sender(&self) -> String {
        self.sends.as_ref().map_or_else(|| self.repository.name(), |mirror| mirror.host.clone())
    }

    /// Whether somebody else may have what this one did not send: if it was a mirror, whoever comes after it is asked from now on.
    fn passed_over(&mut self, why: &Error) -> bool {
        let Some(mirror) = self.sends.take() else { return false };
        mirror.passed_over(self.descriptor.digest(), why);
        self.passed = Some(mirror);
        self.restarts = 0;
        true
    }

    /// Asks for the bytes from `offset` on and writes them; returns when there are as many as there should be.
    async fn receive(&mut self, offset: u64) -> Result<(), Error> {
        let (digest, size) = (self.descriptor.digest(), self.descriptor.size());
        self.sends = None;
        let mut stream = match &self.passed {
            None => self.repository.blob(self.descriptor, offset).await?,
            Some(mirror) => self.repository.blob_after(mirror, self.descriptor, offset).await?,
        };
        self.sends = stream.mirror.take();
        let name = self.sender();
        if stream.offset != offset {
            if stream.offset != 0 {
                return Err(Error::Invalid(format!(
                    "`{name}` sent `{digest}` from byte {} on when asked for {offset}",
                    stream.offset
                )));
            }
            self.restarts += 1;
            self.on_disk(Partial::restart).await?;
        }
        let mut length = stream.offset;
        let mut gathered: Vec<Bytes> = Vec::new();
        let mut waiting = 0;
        loop {
            let next = stream.chunks.next().await;
            let ended = !matches!(next, Some(Ok(_)));
            let mut failed = Ok(());
            match next {
                Some(Ok(chunk)) => {
                    length = length.saturating_add(chunk.len() as u64);
                    if length > size {
                        return Err(Error::Invalid(format!(
                            "`{digest}` in `{name}` is longer than the {size} bytes that its manifest says"
                        )));
                    }
                    self.progress.received(chunk.len() as u64);
                    waiting += chunk.len();
                    gathered.push(chunk);
                }
                Some(Err(error)) => failed = Err(error),
                None if length < size => {
                    failed =
                        Err(Error::Unreachable(format!("`{name}` ended `{digest}` after {length} of {size} bytes")));
                }
                None => {}
            }
            if ended || waiting >= WRITE_BYTES {
                let chunks = std::mem::take(&mut gathered);
                waiting = 0;
                self.on_disk(move |partial| partial.append(&chunks)).await?;
            }
            if ended {
                return failed;
            }
        }
    }
}

/// A digest names one content, so a descriptor that gives it another size lies.
fn of_size(blob: Blob, size: u64) -> Result<Blob, Error> {
    if blob.size() == size {
        return Ok(blob);
    }
    Err(Error::Invalid(format!("`{}` is of {} bytes, and its manifest says {size}", blob.digest(), blob.size())))
}
