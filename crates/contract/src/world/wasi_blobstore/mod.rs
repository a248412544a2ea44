//! `wasi:blobstore@0.2.0-draft`, over the store of the workload's `blob` grant.
//!
//! Source: <https://github.com/WebAssembly/wasi-blobstore>. The interface names no store: it is the only granted one, or the
//! one named `default`. Offsets of `get-data` are inclusive, as its text says. What goes wrong is told in words, for the
//! interface has no other errors.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use samara_bindings::blobstore::{blobstore, container, types};
use samara_capability::{
    Denial,
    blob::{Attributes, Blob, BlobError, Granted, Object, PAGE_NAMES, Place},
};
use samara_runtime::Guest;
use tokio::task::JoinHandle;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

use super::view::{View, Views, view};

mod pipe;
mod read;
#[cfg(test)]
mod tests;

use pipe::{Pipe, PipeStream};
use read::ObjectStream;

/// Bytes of an object that a guest may have in one piece; larger ones are read as a stream.
const WHOLE_BYTES: u64 = 64 << 20;

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, Views>(linker, view)?;
    container::add_to_linker::<_, Views>(linker, view)?;
    blobstore::add_to_linker::<_, Views>(linker, view)
}

/// Our side of a guest's container.
#[derive(Clone)]
struct Container {
    store: Granted,
    name: String,
}

/// A listing under way.
struct Names {
    of: Container,
    read: VecDeque<String>,
    cursor: Option<String>,
    ended: bool,
}

/// A value that a guest writes. Dropped before it is finished, nothing of it is kept.
struct Outgoing {
    pipe: Arc<Pipe>,
    taken: bool,
    upload: Option<Upload>,
}

/// The task that writes a value into its object; it ends with the guest.
struct Upload(JoinHandle<Result<(), String>>);

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Said<T> = wasmtime::Result<Result<T, String>>;

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` takes")]
fn words(error: impl ToString) -> String {
    error.to_string()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl View<'_> {
    fn blob(&self) -> Result<Granted, String> {
        let authority = self.0.authority();
        if let Some(store) = authority.only_blob() {
            return Ok(store.clone());
        }
        let denied = |Denial { what, grant, .. }| format!("denied: {what}; `{grant}` would allow it");
        authority.blob("default").cloned().map_err(denied)
    }

    fn container(&mut self, container: &Resource<container::Container>) -> wasmtime::Result<Container> {
        self.find::<Container>(container.rep()).cloned()
    }

    fn keep_container(&mut self, store: Granted, name: String) -> Result<Resource<container::Container>, String> {
        self.keep(Container { store, name }).map(Resource::new_own).map_err(words)
    }
}

impl blobstore::Host for View<'_> {
    async fn create_container(&mut self, name: String) -> Said<Resource<container::Container>> {
        let store = match self.blob() {
            Ok(store) => store,
            Err(denied) => return Ok(Err(denied)),
        };
        Ok(match store.create_container(&name).await {
            Ok(_) => self.keep_container(store, name),
            Err(error) => Err(words(error)),
        })
    }

    async fn get_container(&mut self, name: String) -> Said<Resource<container::Container>> {
        let store = match self.blob() {
            Ok(store) => store,
            Err(denied) => return Ok(Err(denied)),
        };
        Ok(match store.container(&name).await {
            Ok(Some(_)) => self.keep_container(store, name),
            Ok(None) => Err(no_container(&name)),
            Err(error) => Err(words(error)),
        })
    }

    async fn delete_container(&mut self, name: String) -> Said<()> {
        let store = match self.blob() {
            Ok(store) => store,
            Err(denied) => return Ok(Err(denied)),
        };
        Ok(store.delete_container(&name).await.map(drop).map_err(words))
    }

    async fn container_exists(&mut self, name: String) -> Said<bool> {
        let store = match self.blob() {
            Ok(store) => store,
            Err(denied) => return Ok(Err(denied)),
        };
        Ok(store.container(&name).await.map(|found| found.is_some()).map_err(words))
    }

    async fn copy_object(&mut self, from: types::ObjectId, to: types::ObjectId) -> Said<()> {
        let store = match self.blob() {
            Ok(store) => store,
            Err(denied) => return Ok(Err(denied)),
        };
        Ok(store.copy(place(&from), place(&to)).await.map(drop).map_err(words))
    }

    async fn move_object(&mut self, from: types::ObjectId, to: types::ObjectId) -> Said<()> {
        let store = match self.blob() {
            Ok(store) => store,
            Err(denied) => return Ok(Err(denied)),
        };
        Ok(store.rename(place(&from), place(&to)).await.map(drop).map_err(words))
    }
}

fn no_container(name: &str) -> String {
    BlobError::no_such_container(name).to_string()
}

fn place(id: &types::ObjectId) -> Place<'_> {
    Place { container: &id.container, object: &id.object }
}

impl container::Host for View<'_> {}

impl container::HostContainer for View<'_> {
    async fn name(&mut self, container: Resource<container::Container>) -> Said<String> {
        Ok(Ok(self.container(&container)?.name))
    }

    async fn info(&mut self, container: Resource<container::Container>) -> Said<types::ContainerMetadata> {
        let Container { store, name } = self.container(&container)?;
        Ok(match store.container(&name).await {
            Ok(Some(found)) => Ok(types::ContainerMetadata { name, created_at: seconds(found.created) }),
            Ok(None) => Err(no_container(&name)),
            Err(error) => Err(words(error)),
        })
    }

    async fn get_data(
        &mut self,
        container: Resource<container::Container>,
        object: String,
        start: u64,
        end: u64,
    ) -> Said<Resource<types::IncomingValue>> {
        let Container { store, name } = self.container(&container)?;
        Ok(match store.get(&name, &object, start..end.saturating_add(1)).await {
            Ok(object) => self.keep(object).map(Resource::new_own).map_err(words),
            Err(error) => Err(words(error)),
        })
    }

    async fn write_data(
        &mut self,
        container: Resource<container::Container>,
        object: String,
        value: Resource<types::OutgoingValue>,
    ) -> Said<()> {
        let Container { store, name } = self.container(&container)?;
        if self.find::<Outgoing>(value.rep())?.upload.is_some() {
            return Ok(Err("this value is written to an object already; make another one".to_owned()));
        }
        let mut upload = match store.put(&name, &object, Attributes::default()).await {
            Ok(upload) => upload,
            Err(error) => return Ok(Err(words(error))),
        };
        let outgoing = self.find::<Outgoing>(value.rep())?;
        let pipe = Arc::clone(&outgoing.pipe);
        pipe.attach();
        outgoing.upload = Some(Upload(tokio::spawn(async move {
            let written = async {
                while let Some(chunk) = pipe.next().await {
                    upload.write(chunk).await?;
                }
                upload.finish().await.map(drop)
            };
            let written = written.await.map_err(words);
            if let Err(why) = &written {
                pipe.fail(why);
            }
            written
        })));
        Ok(Ok(()))
    }

    async fn list_objects(
        &mut self,
        container: Resource<container::Container>,
    ) -> Said<Resource<container::StreamObjectNames>> {
        let of = self.container(&container)?;
        // The container is looked at now, so that one that is not there is told here and not by the first page.
        let page = of.store.list(&of.name, "", None, PAGE_NAMES).await;
        Ok(match page {
            Ok(page) => {
                let read = page.entries.into_iter().map(|entry| entry.name).collect();
                let names = Names { of, read, ended: page.cursor.is_none(), cursor: page.cursor };
                self.keep(names).map(Resource::new_own).map_err(words)
            }
            Err(error) => Err(words(error)),
        })
    }

    async fn delete_object(&mut self, container: Resource<container::Container>, object: String) -> Said<()> {
        let Container { store, name } = self.container(&container)?;
        Ok(store.delete(&name, &object).await.map(drop).map_err(words))
    }

    async fn delete_objects(&mut self, container: Resource<container::Container>, objects: Vec<String>) -> Said<()> {
        let Container { store, name } = self.container(&container)?;
        let outcomes = store.delete_many(&name, &objects).await;
        Ok(outcomes.into_iter().try_for_each(|outcome| outcome.map(drop)).map_err(words))
    }

    async fn has_object(&mut self, container: Resource<container::Container>, object: String) -> Said<bool> {
        let Container { store, name } = self.container(&container)?;
        Ok(store.info(&name, &object).await.map(|found| found.is_some()).map_err(words))
    }

    async fn object_info(
        &mut self,
        container: Resource<container::Container>,
        object: String,
    ) -> Said<types::ObjectMetadata> {
        let Container { store, name } = self.container(&container)?;
        Ok(match store.info(&name, &object).await {
            Ok(Some(info)) => Ok(types::ObjectMetadata {
                name: object,
                container: name,
                created_at: seconds(info.written),
                size: info.bytes,
            }),
            Ok(None) => Err(words(BlobError::no_such_object(&object))),
            Err(error) => Err(words(error)),
        })
    }

    async fn clear(&mut self, container: Resource<container::Container>) -> Said<()> {
        let Container { store, name } = self.container(&container)?;
        Ok(store.clear(&name).await.map(drop).map_err(words))
    }

    async fn drop(&mut self, container: Resource<container::Container>) -> wasmtime::Result<()> {
        self.forget::<Container>(container.rep()).map(drop)
    }
}

impl Names {
    /// Up to `wanted` more names, and whether that was all of them.
    async fn next(&mut self, wanted: u64) -> Result<(Vec<String>, bool), String> {
        let wanted = usize::try_from(wanted).unwrap_or(PAGE_NAMES).min(PAGE_NAMES);
        while self.read.len() < wanted && !self.ended {
            let page =
                self.of.store.list(&self.of.name, "", self.cursor.as_deref(), PAGE_NAMES).await.map_err(words)?;
            self.read.extend(page.entries.into_iter().map(|entry| entry.name));
            self.ended = page.cursor.is_none();
            self.cursor = page.cursor;
        }
        let names = self.read.drain(..wanted.min(self.read.len())).collect();
        Ok((names, self.ended && self.read.is_empty()))
    }
}

impl container::HostStreamObjectNames for View<'_> {
    async fn read_stream_object_names(
        &mut self,
        names: Resource<container::StreamObjectNames>,
        wanted: u64,
    ) -> Said<(Vec<String>, bool)> {
        Ok(self.find::<Names>(names.rep())?.next(wanted).await)
    }

    async fn skip_stream_object_names(
        &mut self,
        names: Resource<container::StreamObjectNames>,
        count: u64,
    ) -> Said<(u64, bool)> {
        let names = self.find::<Names>(names.rep())?;
        let mut skipped = 0_u64;
        loop {
            match names.next(count - skipped).await {
                Ok((some, end)) => {
                    skipped += some.len() as u64;
                    if end || skipped >= count || some.is_empty() {
                        return Ok(Ok((skipped, end)));
                    }
                }
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    async fn drop(&mut self, names: Resource<container::StreamObjectNames>) -> wasmtime::Result<()> {
        self.forget::<Names>(names.rep()).map(drop)
    }
}

impl types::Host for View<'_> {}

impl types::HostOutgoingValue for View<'_> {
    async fn new_outgoing_value(&mut self) -> wasmtime::Result<Resource<types::OutgoingValue>> {
        let value = Outgoing { pipe: Arc::new(Pipe::default()), taken: false, upload: None };
        Ok(Resource::new_own(self.keep(value)?))
    }

    async fn outgoing_value_write_body(
        &mut self,
        value: Resource<types::OutgoingValue>,
    ) -> wasmtime::Result<Result<Resource<DynOutputStream>, ()>> {
        let value = self.find::<Outgoing>(value.rep())?;
        if std::mem::replace(&mut value.taken, true) {
            return Ok(Err(()));
        }
        let stream: DynOutputStream = Box::new(PipeStream::new(Arc::clone(&value.pipe)));
        Ok(Ok(Resource::new_own(self.keep(stream)?)))
    }

    async fn finish(&mut self, value: Resource<types::OutgoingValue>) -> Said<()> {
        let mut value = self.forget::<Outgoing>(value.rep())?;
        value.pipe.end();
        let Some(mut upload) = value.upload.take() else {
            return Ok(Err("this value was written to no object; call write-data first".to_owned()));
        };
        Ok(match (&mut upload.0).await {
            Ok(written) => written,
            Err(_) => Err("the upload was ended".to_owned()),
        })
    }

    async fn drop(&mut self, value: Resource<types::OutgoingValue>) -> wasmtime::Result<()> {
        self.forget::<Outgoing>(value.rep()).map(drop)
    }
}

impl types::HostIncomingValue for View<'_> {
    async fn incoming_value_consume_sync(&mut self, value: Resource<types::IncomingValue>) -> Said<Vec<u8>> {
        let object = self.forget::<Object>(value.rep())?;
        Ok(object.collect(WHOLE_BYTES).await.map(Vec::from).map_err(words))
    }

    async fn incoming_value_consume_async(
        &mut self,
        value: Resource<types::IncomingValue>,
    ) -> Said<Resource<DynInputStream>> {
        let object = self.forget::<Object>(value.rep())?;
        let stream: DynInputStream = Box::new(ObjectStream::new(object.body));
        Ok(Ok(Resource::new_own(self.keep(stream)?)))
    }

    async fn size(&mut self, value: Resource<types::IncomingValue>) -> wasmtime::Result<u64> {
        let range = &self.find::<Object>(value.rep())?.range;
        Ok(range.end.saturating_sub(range.start))
    }

    async fn drop(&mut self, value: Resource<types::IncomingValue>) -> wasmtime::Result<()> {
        self.forget::<Object>(value.rep()).map(drop)
    }
}
