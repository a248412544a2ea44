//! Walks through a bucket by its headers, without values: listings and measuring.
//!
//! Writes are numbered through, and each key has one: a cursor is the number of the last write that was looked at. A key that
//! is written again moves to the end, and is met again by nobody who had met it unless it was.

use std::time::Duration;

use async_nats::{
    HeaderMap, Message,
    jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
};
use futures::{StreamExt, stream};

use super::{
    super::{KvError, Page, Usage},
    AT_ONCE, Bucket, ends, is_mark, names, now,
};

/// Headers that are asked for at once.
const STEP: usize = 1000;

/// Headers that a page of a listing looks at, at most.
const PAGE_SCAN: usize = 10_000;

/// How long the server holds a request for headers that are not there any more: a key that is written while a walk comes to it
/// moves to the end, and the server has counted it where it was.
const STEP_WAIT: Duration = Duration::from_millis(500);

/// How long the server keeps a walk that nobody goes on with.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// How long the mark of a removal stays for watchers to see it.
const MARK_KEPT: Duration = Duration::from_mins(1);

/// Marks and keys whose time is over that one measuring takes out.
const SWEPT: usize = 1000;

/// One write, as a walk sees it.
struct Seen {
    number: u64,
    /// How many writes come after it.
    behind: u64,
    /// `None` if nobody here wrote it.
    key: Option<String>,
    value_bytes: u64,
    mark: bool,
    over: bool,
    age: Duration,
}

impl Bucket {
    /// A walk through what may be under a prefix.
    async fn walk(&self, prefix: &str, after: u64) -> Result<PullConsumer, KvError> {
        let deliver_policy = match after.checked_add(1) {
            Some(start_sequence) if after > 0 => DeliverPolicy::ByStartSequence { start_sequence },
            Some(_) => DeliverPolicy::All,
            None => return Err(KvError::UnknownCursor),
        };
        let config = pull::Config {
            deliver_policy,
            ack_policy: AckPolicy::None,
            filter_subject: [&*self.subjects, &names::filter(prefix).0].concat(),
            headers_only: true,
            memory_storage: true,
            inactive_threshold: FORGOTTEN,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let made = async { self.stream.create_consumer(config).await.map_err(|error| self.server.failed(&error)) };
        self.server.in_time(made).await
    }

    /// The next writes of a walk, and whether they are the last.
    async fn step(&self, walk: &PullConsumer, count: usize) -> Result<(Vec<Seen>, bool), KvError> {
        let info = walk.cached_info();
        if info.num_pending == 0 {
            return Ok((Vec::new(), true));
        }
        let stepping = async {
            let failed = |error: &dyn std::fmt::Display| self.server.failed(&error.to_string());
            let mut seen = Vec::new();
            loop {
                let batch = walk.batch().max_messages(count).expires(STEP_WAIT);
                let mut messages = batch.messages().await.map_err(|error| failed(&error))?;
                while let Some(message) = messages.next().await {
                    let one = self.seen(&message.map_err(|error| failed(&*error))?)?;
                    let last = one.behind == 0;
                    seen.push(one);
                    if last {
                        return Ok((seen, true));
                    }
                }
                if seen.len() >= count {
                    return Ok((seen, false));
                }
                // The server is slow, or there is nothing of what it had counted.
                let now = self.stream.consumer_info(&info.name).await.map_err(|error| failed(&error))?;
                if now.num_pending == 0 {
                    return Ok((seen, true));
                }
                if !seen.is_empty() {
                    return Ok((seen, false));
                }
            }
        };
        self.server.in_time(stepping).await
    }

    fn seen(&self, message: &async_nats::jetstream::Message) -> Result<Seen, KvError> {
        let info = message.info().map_err(|error| self.server.failed(&error))?;
        let Message { subject, headers, .. } = &message.message;
        let none = HeaderMap::new();
        let headers = headers.as_ref().unwrap_or(&none);
        let words = subject.strip_prefix(&*self.subjects).unwrap_or_default();
        let value_bytes = headers.get("Nats-Msg-Size").and_then(|size| size.as_str().parse().ok()).unwrap_or(0);
        let published = info.published.unix_timestamp_nanos() / 1_000_000;
        let age = i128::from(now()).saturating_sub(published);
        Ok(Seen {
            number: info.stream_sequence,
            behind: info.pending,
            key: names::decoded(words),
            value_bytes,
            mark: is_mark(headers),
            over: ends(headers).is_some_and(|ends| ends <= now()),
            age: Duration::from_millis(u64::try_from(age).unwrap_or(0)),
        })
    }

    /// The server forgets a walk by itself; this is so that it need not wait.
    async fn end(&self, walk: &PullConsumer) {
        let _ = self.server.in_time(async { Ok(self.stream.delete_consumer(&walk.cached_info().name).await) }).await;
    }

    pub(super) async fn page(&self, prefix: &str, after: u64, limit: usize) -> Result<Page, KvError> {
        let walk = self.walk(prefix, after).await?;
        let page = self.page_of(&walk, prefix, limit).await;
        self.end(&walk).await;
        page
    }

    async fn page_of(&self, walk: &PullConsumer, prefix: &str, limit: usize) -> Result<Page, KvError> {
        // Where the server filters all of it, little more is asked for than is wanted.
        let count = if names::filter(prefix).1 { (limit + 1).clamp(16, STEP) } else { STEP };
        let (mut page, mut looked) = (Page::default(), 0);
        loop {
            let (step, last) = self.step(walk, count).await?;
            let of_step = step.len();
            for (index, seen) in step.into_iter().enumerate() {
                looked += 1;
                if !seen.mark && !seen.over {
                    page.keys.extend(seen.key.filter(|key| key.starts_with(prefix)));
                }
                let at_end = last && index + 1 == of_step;
                if !at_end && (page.keys.len() >= limit || looked >= PAGE_SCAN) {
                    return Ok(Page { cursor: Some(seen.number.to_string()), ..page });
                }
            }
            if last {
                return Ok(Page { cursor: None, ..page });
            }
        }
    }

    pub(super) async fn measure(&self, prefix: &str) -> Result<Usage, KvError> {
        let walk = self.walk(prefix, 0).await?;
        let measured = self.measured(&walk, prefix).await;
        self.end(&walk).await;
        let (usage, swept) = measured?;
        // What could not be taken out is found the next time.
        stream::iter(swept.into_iter().map(|seen| self.take_out(seen))).buffer_unordered(AT_ONCE).collect::<()>().await;
        Ok(usage)
    }

    async fn measured(&self, walk: &PullConsumer, prefix: &str) -> Result<(Usage, Vec<Seen>), KvError> {
        let (mut usage, mut swept) = (Usage::default(), Vec::new());
        // As many as there were at the beginning: what is written meanwhile is at the end, and may never come to one.
        let mut left = walk.cached_info().num_pending;
        loop {
            let count = usize::try_from(left).map_or(STEP, |left| left.min(STEP));
            if count == 0 {
                return Ok((usage, swept));
            }
            let (step, last) = self.step(walk, count).await?;
            left = left.saturating_sub(step.len() as u64);
            for seen in step {
                let Some(key) = seen.key.as_ref().filter(|key| key.starts_with(prefix)) else { continue };
                if !seen.mark && !seen.over {
                    usage.keys += 1;
                    usage.bytes += key.len() as u64 + seen.value_bytes;
                } else if (seen.over || seen.age > MARK_KEPT) && swept.len() < SWEPT {
                    swept.push(seen);
                }
            }
            if last {
                return Ok((usage, swept));
            }
        }
    }

    /// Marks what is over as removed, and takes out a mark that everybody has seen, unless there is a newer write.
    async fn take_out(&self, seen: Seen) {
        let Some(Ok(subject)) = seen.key.as_ref().map(|key| self.subject(key)) else { return };
        let _ = if seen.mark {
            let before = seen.number.saturating_add(1);
            let purge = async {
                let purged = self.stream.purge().filter(&subject).sequence(before).await;
                purged.map(drop).map_err(|error| self.server.failed(&error))
            };
            self.server.in_time(purge).await
        } else {
            self.server.in_time(self.mark(&subject, seen.number)).await.map(drop)
        };
    }
}
