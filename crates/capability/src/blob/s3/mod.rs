//! Blob provider in a bucket of S3 or of a server that speaks it (`s3://bucket/folder`), through the `object_store` crate.
//!
//! ```text
//! folder/c/_photos        a container: an empty object, whose time is when it was created
//! folder/o/_photos/_cat   an object in it
//! ```
//!
//! Names are [written](super::name) so that no server reads anything into them; a key has at most [`KEY_BYTES`]. An object up
//! to [`PART_BYTES`](upload::PART_BYTES) is one `PutObject`, a larger one a multipart upload of which two parts are on their
//! way at once. One that is abandoned is aborted; what a crash leaves of it only the bucket can remove
//! (`AbortIncompleteMultipartUpload` in its lifecycle rules).
//!
//! S3 does not say what a write replaced. So whoever writes asks for the size first, and writers of the same object in this
//! process wait for each other; if other processes write too, it may be older. A server must know `If-None-Match` on
//! `PutObject`, as S3 does since 2024. Copies of more than [`COPY_BYTES`] go through this process.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{
    Attribute, CopyOptions, Error, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, PutMode, PutOptions,
    PutPayload, aws::AmazonS3, list::PaginatedListOptions, list::PaginatedListStore, path::Path,
};
use tokio::{sync::Mutex, task::JoinSet};

use super::{
    Attributes, Blob, BlobError, CHUNK_BYTES, Container, Info, Listed, Object, Page, Place, Provider, Upload, Usage,
    Written, copy_through,
    name::{Kept, escape, unescape},
};

mod explain;
mod settings;
#[cfg(test)]
mod tests;
mod upload;
mod wire;

use explain::{explain, is_status};

/// Bytes of a key, at most, as S3 has it.
const KEY_BYTES: usize = 1024;

/// The largest object that S3 copies by itself.
const COPY_BYTES: u64 = 5 << 30;

/// Keys that are asked for, or removed, at once; S3 gives no more.
const PAGE_KEYS: usize = 1000;

/// The media type that S3 gives to an object of which none was said, and that says none.
const NO_TYPE: &str = "binary/octet-stream";

/// From where on the end of a range is the end of any object.
const ENDLESS: u64 = 1 << 53;

/// Held while the size of what a write replaces is asked and it is replaced, for one of so many objects each. For the whole
/// process, because a bucket may be opened twice.
static OBJECTS: [Mutex<()>; 64] = [const { Mutex::const_new(()) }; 64];

#[derive(Debug)]
pub(super) struct S3;

#[async_trait]
impl Provider for S3 {
    fn scheme(&self) -> &'static str {
        "s3"
    }

    async fn open(&self, url: &str, settings: &toml::Table) -> Result<Arc<dyn Blob>, BlobError> {
        let opened = settings::opened(url, settings).await?;
        // So that a bucket that is not there, or not ours, is known now and not at the first call.
        opened.page("", None, 1).await?;
        Ok(Arc::new(opened))
    }
}

/// An open bucket. Cheap to clone.
#[derive(Clone)]
struct Bucket {
    client: Arc<AmazonS3>,
    /// Of the bucket, for people: no credentials.
    place: Arc<str>,
    /// Empty, or a folder with its `/`.
    folder: Arc<str>,
    timeout: Duration,
}

impl fmt::Debug for Bucket {
    /// The client would tell more than anybody should read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("place", &self.place).finish_non_exhaustive()
    }
}

/// A key, and what it is the key of.
fn path(key: &str, what: &'static str) -> Result<Path, BlobError> {
    if key.len() > KEY_BYTES {
        return Err(BlobError::TooLarge { what, limit: KEY_BYTES as u64 });
    }
    Path::parse(key).map_err(|error| BlobError::Invalid(format!("no key for the {what}: {error}")))
}

/// The lock of an object.
fn lock(path: &Path) -> &'static Mutex<()> {
    let sum = path.as_ref().bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let [first, ..] = &OBJECTS;
    OBJECTS.get(sum % OBJECTS.len()).unwrap_or(first)
}

/// What is known of an object, from the head of an answer.
fn info(answer: &GetResult) -> Info {
    let mut attributes = Attributes::default();
    for (name, value) in &answer.attributes {
        let value = value.as_ref().to_owned();
        match name {
            Attribute::ContentType if value != NO_TYPE => attributes.content_type = Some(value),
            Attribute::ContentEncoding => attributes.content_encoding = Some(value),
            Attribute::Metadata(name) => drop(attributes.user.insert(name.to_string(), value)),
            _ => {}
        }
    }
    Info { bytes: answer.meta.size, written: answer.meta.last_modified.into(), attributes }
}

/// Attributes as S3 takes them.
fn headers(attributes: &Attributes) -> object_store::Attributes {
    let mut headers = object_store::Attributes::new();
    let content_type = attributes.content_type.clone().unwrap_or_else(|| NO_TYPE.to_owned());
    headers.insert(Attribute::ContentType, content_type.into());
    if let Some(encoding) = &attributes.content_encoding {
        headers.insert(Attribute::ContentEncoding, encoding.clone().into());
    }
    for (name, value) in &attributes.user {
        headers.insert(Attribute::Metadata(name.clone().into()), value.clone().into());
    }
    headers
}

impl Bucket {
    fn container_path(&self, container: &str) -> Result<Path, BlobError> {
        path(&format!("{}c/{}", self.folder, escape(container, Kept::InKeys)), "name of the container")
    }

    /// What the keys of a container's objects begin with.
    fn objects(&self, container: &str) -> String {
        format!("{}o/{}/", self.folder, escape(container, Kept::InKeys))
    }

    fn object_path(&self, container: &str, object: &str) -> Result<Path, BlobError> {
        path(&format!("{}{}", self.objects(container), escape(object, Kept::InKeys)), "name of the object")
    }

    /// Asks the server, and waits no longer than it may take.
    async fn asked<T>(&self, asked: impl Future<Output = Result<T, Error>>) -> Result<Result<T, Error>, BlobError> {
        let answer = tokio::time::timeout(self.timeout, asked).await;
        answer.map_err(|_| BlobError::TimedOut(format!("`{}` did not answer", self.place)))
    }

    fn failed(&self, error: &Error) -> BlobError {
        explain(&self.place, error)
    }

    /// The head of an object, `None` if it is not there.
    async fn head(&self, path: &Path) -> Result<Option<GetResult>, BlobError> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        match self.asked(self.client.get_opts(path, options)).await? {
            Ok(answer) => Ok(Some(answer)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// The size of an object, `None` if it is not there.
    async fn size(&self, path: &Path) -> Result<Option<u64>, BlobError> {
        Ok(self.head(path).await?.map(|head| head.meta.size))
    }

    async fn must_have(&self, container: &str) -> Result<(), BlobError> {
        match self.head(&self.container_path(container)?).await? {
            Some(_) => Ok(()),
            None => Err(BlobError::no_such_container(container)),
        }
    }

    /// The size of an object that is about to be replaced, in a container that must be there.
    async fn replaced(&self, container: &str, path: &Path) -> Result<Option<u64>, BlobError> {
        let (there, replaced) = tokio::join!(self.must_have(container), self.size(path));
        there.and(replaced)
    }

    /// Up to `limit` keys that begin with `prefix` and come after another, and whether there are more.
    async fn page(
        &self,
        prefix: &str,
        after: Option<String>,
        limit: usize,
    ) -> Result<(Vec<ObjectMeta>, bool), BlobError> {
        let options = PaginatedListOptions {
            offset: after,
            max_keys: Some(limit.clamp(1, PAGE_KEYS)),
            ..PaginatedListOptions::default()
        };
        let listed = self.asked(self.client.list_paginated(Some(prefix), options)).await?;
        let listed = listed.map_err(|error| self.failed(&error))?;
        Ok((listed.result.objects, listed.page_token.is_some()))
    }

    /// A page of names that begin with `prefix`, under keys that begin with `folder`. Its cursor is the last name as it is
    /// written, which cannot lead out of the folder.
    async fn listed(
        &self,
        folder: &str,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Listed>, BlobError> {
        if cursor.is_some_and(|cursor| unescape(cursor, Kept::InKeys).is_none()) {
            return Err(BlobError::UnknownCursor);
        }
        let after = cursor.map(|cursor| format!("{folder}{cursor}"));
        let prefix = format!("{folder}{}", escape(prefix, Kept::InKeys));
        let (objects, more) = self.page(&prefix, after, limit).await?;
        let mut last = None;
        let mut entries = Vec::with_capacity(objects.len());
        for object in objects {
            let Some(written) = object.location.as_ref().strip_prefix(folder) else { continue };
            // What others put there is not seen.
            let Some(name) = unescape(written, Kept::InKeys) else { continue };
            entries.push(Listed { name, bytes: object.size, written: object.last_modified.into() });
            last = Some(written.to_owned());
        }
        // A page of nothing but what is not seen would have no cursor: what is behind it is not seen either.
        Ok(Page { entries, cursor: last.filter(|_| more) })
    }

    /// Removes all keys that begin with a prefix; answers what was removed.
    async fn remove_all(&self, prefix: &str) -> Result<Usage, BlobError> {
        let mut usage = Usage::default();
        let mut after = None;
        loop {
            let (objects, more) = self.page(prefix, after, PAGE_KEYS).await?;
            let Some(last) = objects.last() else { return Ok(usage) };
            after = Some(last.location.as_ref().to_owned());
            let sizes: std::collections::HashMap<Path, u64> =
                objects.into_iter().map(|object| (object.location, object.size)).collect();
            let paths: Vec<_> = sizes.keys().cloned().map(Ok).collect();
            let removing = self.client.delete_stream(stream::iter(paths).boxed());
            let removed: Vec<Path> = self.asked(removing.try_collect()).await?.map_err(|error| self.failed(&error))?;
            removed.iter().filter_map(|path| sizes.get(path)).for_each(|bytes| usage.count(*bytes));
            if !more {
                return Ok(usage);
            }
        }
    }
}

#[async_trait]
impl Blob for Bucket {
    async fn create_container(&self, container: &str) -> Result<bool, BlobError> {
        let path = self.container_path(container)?;
        if self.head(&path).await?.is_some() {
            return Ok(false);
        }
        // What a removal left that was cut off must not come back.
        self.remove_all(&self.objects(container)).await?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.asked(self.client.put_opts(&path, PutPayload::default(), options)).await? {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn container(&self, container: &str) -> Result<Option<Container>, BlobError> {
        let head = self.head(&self.container_path(container)?).await?;
        Ok(head.map(|head| Container { created: head.meta.last_modified.into() }))
    }

    async fn list_containers(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<String>, BlobError> {
        let page = self.listed(&format!("{}c/", self.folder), prefix, cursor, limit).await?;
        Ok(Page { entries: page.entries.into_iter().map(|listed| listed.name).collect(), cursor: page.cursor })
    }

    async fn delete_container(&self, container: &str) -> Result<Option<Usage>, BlobError> {
        let path = self.container_path(container)?;
        if self.head(&path).await?.is_none() {
            return Ok(None);
        }
        let objects = self.objects(container);
        let removed = self.remove_all(&objects).await?;
        let removing = self.client.delete_stream(stream::iter([Ok(path)]).boxed());
        let gone: Result<Vec<Path>, Error> = self.asked(removing.try_collect()).await?;
        gone.map_err(|error| self.failed(&error))?;
        // And what was finished while it was emptied.
        let late = self.remove_all(&objects).await?;
        Ok(Some(Usage { containers: 1, objects: removed.objects + late.objects, bytes: removed.bytes + late.bytes }))
    }

    async fn clear(&self, container: &str) -> Result<Usage, BlobError> {
        self.must_have(container).await?;
        self.remove_all(&self.objects(container)).await
    }

    async fn info(&self, container: &str, object: &str) -> Result<Option<Info>, BlobError> {
        let Some(head) = self.head(&self.object_path(container, object)?).await? else {
            self.must_have(container).await?;
            return Ok(None);
        };
        Ok(Some(info(&head)))
    }

    async fn get(&self, container: &str, object: &str, range: Range<u64>) -> Result<Object, BlobError> {
        let path = self.object_path(container, object)?;
        let asked = match (range.start, range.end) {
            (start, end) if start >= end => None,
            (0, ENDLESS..) => Some(None),
            (start, ENDLESS..) => Some(Some(GetRange::Offset(start))),
            (start, end) => Some(Some(GetRange::Bounded(start..end))),
        };
        if let Some(range) = asked {
            let options = GetOptions { range, ..GetOptions::default() };
            match self.asked(self.client.get_opts(&path, options)).await? {
                Ok(answer) => {
                    let (info, range) = (info(&answer), answer.range.clone());
                    let bucket = self.clone();
                    let pieces = answer.into_stream().map(move |chunk| match chunk {
                        Ok(chunk) => stream::iter(pieces(chunk)).left_stream(),
                        Err(error) => stream::once(std::future::ready(Err(bucket.failed(&error)))).right_stream(),
                    });
                    return Ok(Object { info, range, body: pieces.flatten().boxed() });
                }
                Err(Error::NotFound { .. }) => {
                    self.must_have(container).await?;
                    return Err(BlobError::no_such_object(object));
                }
                // The range begins behind the end, which here is empty and no error.
                Err(error) if is_status(&error, 416) => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        let info = self.info(container, object).await?.ok_or_else(|| BlobError::no_such_object(object))?;
        let start = range.start.min(info.bytes);
        Ok(Object { info, range: start..start, body: stream::empty().boxed() })
    }

    async fn put(&self, container: &str, object: &str, attributes: Attributes) -> Result<Box<dyn Upload>, BlobError> {
        attributes.check()?;
        let path = self.object_path(container, object)?;
        self.must_have(container).await?;
        Ok(Box::new(upload::Writing {
            bucket: self.clone(),
            container: container.to_owned(),
            path,
            headers: headers(&attributes),
            bytes: 0,
            buffer: BytesMut::new(),
            multipart: None,
            parts: JoinSet::new(),
        }))
    }

    async fn delete(&self, container: &str, object: &str) -> Result<Option<u64>, BlobError> {
        let path = self.object_path(container, object)?;
        let _object = lock(&path).lock().await;
        let Some(bytes) = self.replaced(container, &path).await? else { return Ok(None) };
        let removing = self.client.delete_stream(stream::iter([Ok(path)]).boxed());
        let removed: Result<Vec<Path>, Error> = self.asked(removing.try_collect()).await?;
        match removed {
            Ok(_) => Ok(Some(bytes)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn list(
        &self,
        container: &str,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Listed>, BlobError> {
        let page = self.listed(&self.objects(container), prefix, cursor, limit).await?;
        if page.entries.is_empty() {
            self.must_have(container).await?;
        }
        Ok(page)
    }

    async fn copy(&self, from: Place<'_>, to: Place<'_>) -> Result<Written, BlobError> {
        let source = self.object_path(from.container, from.object)?;
        let target = self.object_path(to.container, to.object)?;
        let Some(bytes) = self.size(&source).await? else {
            self.must_have(from.container).await?;
            return Err(BlobError::no_such_object(from.object));
        };
        if from == to {
            return Ok(Written { bytes, replaced: Some(bytes) });
        }
        if bytes > COPY_BYTES {
            return copy_through(self, from, self, to).await;
        }
        let _object = lock(&target).lock().await;
        let replaced = self.replaced(to.container, &target).await?;
        // It copies at hundreds of megabytes a second.
        let allowed = self.timeout + Duration::from_secs(bytes >> 26);
        let copied =
            tokio::time::timeout(allowed, self.client.copy_opts(&source, &target, CopyOptions::default())).await;
        match copied {
            Ok(Ok(())) => Ok(Written { bytes, replaced }),
            Ok(Err(Error::NotFound { .. })) => Err(BlobError::no_such_object(from.object)),
            Ok(Err(error)) => Err(self.failed(&error)),
            Err(_) => Err(BlobError::TimedOut(format!("`{}` is copying", self.place))),
        }
    }

    async fn usage(&self, prefix: &str) -> Result<Usage, BlobError> {
        let mut usage = Usage::default();
        let written = escape(prefix, Kept::InKeys);
        for (folder, containers) in [("c", true), ("o", false)] {
            let prefix = format!("{}{folder}/{written}", self.folder);
            let mut after = None;
            loop {
                let (objects, more) = self.page(&prefix, after, PAGE_KEYS).await?;
                for object in &objects {
                    if containers {
                        usage.containers += 1;
                    } else {
                        usage.count(object.size);
                    }
                }
                after = objects.last().map(|last| last.location.as_ref().to_owned());
                if !more || after.is_none() {
                    break;
                }
            }
        }
        Ok(usage)
    }
}

/// A chunk of the network as chunks of ours.
fn pieces(mut chunk: Bytes) -> Vec<Result<Bytes, BlobError>> {
    let mut pieces = Vec::with_capacity(chunk.len() / CHUNK_BYTES + 1);
    while !chunk.is_empty() {
        pieces.push(Ok(chunk.split_to(chunk.len().min(CHUNK_BYTES))));
    }
    pieces
}
