//! Spin's `key-value`, in its three generations, over the stores of the workload's `kv` grant.
//!
//! Listing has no pages here: all keys are collected, up to [`MAX_LISTED_BYTES`].

use samara_bindings::{spin1, spin2, spin3};
use samara_capability::kv::{Granted, KeyValue, KvError, PAGE_KEYS};
use samara_runtime::Guest;
use wasmtime::component::{Linker, Resource};

use crate::world::view::{View, Views, view};

/// Bytes of all keys of a store that are collected for a guest at once, each counted with [`KEY_COST_BYTES`] on top.
const MAX_LISTED_BYTES: usize = 16 << 20;
/// What a key costs beside its bytes.
const KEY_COST_BYTES: usize = 32;

pub(super) fn link(linker: &mut Linker<Guest>, concurrency: bool) -> wasmtime::Result<()> {
    if concurrency {
        spin3::key_value::add_to_linker::<_, Views>(linker, view)?;
    }
    spin1::key_value::add_to_linker::<_, Views>(linker, view)?;
    spin2::key_value::add_to_linker::<_, Views>(linker, view)
}

/// Our side of a guest's store.
struct Store(Granted);

impl View<'_> {
    fn spin_store(&mut self, store: u32) -> wasmtime::Result<&Granted> {
        Ok(&self.find::<Store>(store)?.0)
    }

    fn open_spin_store(&mut self, label: &str) -> Result<u32, Refused> {
        let store = self.kv(label)?;
        self.keep(Store(store)).map_err(|_| Refused::TableFull)
    }
}

/// Why a store is not opened.
enum Refused {
    TableFull,
    Store(KvError),
}

impl From<KvError> for Refused {
    fn from(error: KvError) -> Self {
        Self::Store(error)
    }
}

/// All keys of a store.
async fn all_keys(store: &Granted) -> Result<Vec<String>, KvError> {
    let (mut keys, mut cursor, mut bytes) = (Vec::new(), None, 0_usize);
    loop {
        let page = store.list_keys("", cursor.as_deref(), PAGE_KEYS).await?;
        bytes = page.keys.iter().fold(bytes, |sum, key| sum.saturating_add(key.len() + KEY_COST_BYTES));
        if bytes > MAX_LISTED_BYTES {
            return Err(KvError::TooLarge { what: "list of all keys", limit: MAX_LISTED_BYTES as u64 });
        }
        keys.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(keys);
        }
    }
}

fn error2(error: KvError) -> spin2::key_value::Error {
    use spin2::key_value::Error;
    match error {
        KvError::NoSuchStore { .. } => Error::NoSuchStore,
        KvError::AccessDenied { .. } => Error::AccessDenied,
        other => Error::Other(other.to_string()),
    }
}

impl spin2::key_value::Host for View<'_> {}

impl spin2::key_value::HostStore for View<'_> {
    async fn open(
        &mut self,
        label: String,
    ) -> wasmtime::Result<Result<Resource<spin2::key_value::Store>, spin2::key_value::Error>> {
        Ok(match self.open_spin_store(&label) {
            Ok(store) => Ok(Resource::new_own(store)),
            Err(Refused::TableFull) => Err(spin2::key_value::Error::StoreTableFull),
            Err(Refused::Store(error)) => Err(error2(error)),
        })
    }

    async fn get(
        &mut self,
        store: Resource<spin2::key_value::Store>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, spin2::key_value::Error>> {
        let value = self.spin_store(store.rep())?.get(&key).await;
        Ok(value.map(|value| value.map(Vec::from)).map_err(error2))
    }

    async fn set(
        &mut self,
        store: Resource<spin2::key_value::Store>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), spin2::key_value::Error>> {
        Ok(self.spin_store(store.rep())?.set(&key, value.into()).await.map(drop).map_err(error2))
    }

    async fn delete(
        &mut self,
        store: Resource<spin2::key_value::Store>,
        key: String,
    ) -> wasmtime::Result<Result<(), spin2::key_value::Error>> {
        Ok(self.spin_store(store.rep())?.delete(&key).await.map(drop).map_err(error2))
    }

    async fn exists(
        &mut self,
        store: Resource<spin2::key_value::Store>,
        key: String,
    ) -> wasmtime::Result<Result<bool, spin2::key_value::Error>> {
        Ok(self.spin_store(store.rep())?.exists(&key).await.map_err(error2))
    }

    async fn get_keys(
        &mut self,
        store: Resource<spin2::key_value::Store>,
    ) -> wasmtime::Result<Result<Vec<String>, spin2::key_value::Error>> {
        Ok(all_keys(self.spin_store(store.rep())?).await.map_err(error2))
    }

    async fn drop(&mut self, store: Resource<spin2::key_value::Store>) -> wasmtime::Result<()> {
        self.forget::<Store>(store.rep()).map(drop)
    }
}

fn error1(error: KvError) -> spin1::key_value::Error {
    use spin1::key_value::Error;
    match error {
        KvError::NoSuchStore { .. } => Error::NoSuchStore,
        KvError::AccessDenied { .. } => Error::AccessDenied,
        other => Error::Io(other.to_string()),
    }
}

/// The store behind a number: the first generation has no resources, so that a guest can name any number.
macro_rules! numbered {
    ($view:ident, $store:ident) => {
        match $view.spin_store($store) {
            Ok(store) => store,
            Err(_) => return Ok(Err(spin1::key_value::Error::InvalidStore)),
        }
    };
}

impl spin1::key_value::Host for View<'_> {
    async fn open(&mut self, name: String) -> wasmtime::Result<Result<u32, spin1::key_value::Error>> {
        Ok(self.open_spin_store(&name).map_err(|refused| match refused {
            Refused::TableFull => spin1::key_value::Error::StoreTableFull,
            Refused::Store(error) => error1(error),
        }))
    }

    async fn get(&mut self, store: u32, key: String) -> wasmtime::Result<Result<Vec<u8>, spin1::key_value::Error>> {
        Ok(match numbered!(self, store).get(&key).await {
            Ok(Some(value)) => Ok(value.into()),
            Ok(None) => Err(spin1::key_value::Error::NoSuchKey),
            Err(error) => Err(error1(error)),
        })
    }

    async fn set(
        &mut self,
        store: u32,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), spin1::key_value::Error>> {
        Ok(numbered!(self, store).set(&key, value.into()).await.map(drop).map_err(error1))
    }

    async fn delete(&mut self, store: u32, key: String) -> wasmtime::Result<Result<(), spin1::key_value::Error>> {
        Ok(numbered!(self, store).delete(&key).await.map(drop).map_err(error1))
    }

    async fn exists(&mut self, store: u32, key: String) -> wasmtime::Result<Result<bool, spin1::key_value::Error>> {
        Ok(numbered!(self, store).exists(&key).await.map_err(error1))
    }

    async fn get_keys(&mut self, store: u32) -> wasmtime::Result<Result<Vec<String>, spin1::key_value::Error>> {
        Ok(all_keys(numbered!(self, store)).await.map_err(error1))
    }

    async fn close(&mut self, store: u32) -> wasmtime::Result<()> {
        // Closing what is not open is nothing.
        let _ = self.forget::<Store>(store);
        Ok(())
    }
}

/// The third generation's functions are async: the guest goes on while they wait.
mod release3 {
    use samara_bindings::spin3::key_value as spin3;
    use wasmtime::component::{Access, Accessor, FutureReader, Resource, StreamReader};

    use super::{Refused, Store, all_keys};
    use crate::world::view::{View, Views};
    use samara_capability::kv::{Granted, KeyValue, KvError};

    fn error(error: KvError) -> spin3::Error {
        match error {
            KvError::NoSuchStore { .. } => spin3::Error::NoSuchStore,
            KvError::AccessDenied { .. } => spin3::Error::AccessDenied,
            other => spin3::Error::Other(other.to_string()),
        }
    }

    /// A clone of the store, so that nothing of the guest is held while the backend is waited for.
    fn lent<U>(accessor: &Accessor<U, Views>, store: &Resource<spin3::Store>) -> wasmtime::Result<Granted> {
        accessor.with(|mut access| access.get().spin_store(store.rep()).cloned())
    }

    impl spin3::Host for View<'_> {}

    impl spin3::HostStore for View<'_> {}

    impl<U> spin3::HostStoreWithStore<U> for Views {
        async fn open(
            accessor: &Accessor<U, Self>,
            label: String,
        ) -> wasmtime::Result<Result<Resource<spin3::Store>, spin3::Error>> {
            Ok(match accessor.with(|mut access| access.get().open_spin_store(&label)) {
                Ok(store) => Ok(Resource::new_own(store)),
                Err(Refused::TableFull) => Err(spin3::Error::StoreTableFull),
                Err(Refused::Store(refused)) => Err(error(refused)),
            })
        }

        async fn get(
            accessor: &Accessor<U, Self>,
            store: Resource<spin3::Store>,
            key: String,
        ) -> wasmtime::Result<Result<Option<Vec<u8>>, spin3::Error>> {
            let value = lent(accessor, &store)?.get(&key).await;
            Ok(value.map(|value| value.map(Vec::from)).map_err(error))
        }

        async fn set(
            accessor: &Accessor<U, Self>,
            store: Resource<spin3::Store>,
            key: String,
            value: Vec<u8>,
        ) -> wasmtime::Result<Result<(), spin3::Error>> {
            Ok(lent(accessor, &store)?.set(&key, value.into()).await.map(drop).map_err(error))
        }

        async fn delete(
            accessor: &Accessor<U, Self>,
            store: Resource<spin3::Store>,
            key: String,
        ) -> wasmtime::Result<Result<(), spin3::Error>> {
            Ok(lent(accessor, &store)?.delete(&key).await.map(drop).map_err(error))
        }

        async fn exists(
            accessor: &Accessor<U, Self>,
            store: Resource<spin3::Store>,
            key: String,
        ) -> wasmtime::Result<Result<bool, spin3::Error>> {
            Ok(lent(accessor, &store)?.exists(&key).await.map_err(error))
        }

        async fn get_keys(
            accessor: &Accessor<U, Self>,
            store: Resource<spin3::Store>,
        ) -> wasmtime::Result<(StreamReader<String>, FutureReader<Result<(), spin3::Error>>)> {
            let (keys, end) = match all_keys(&lent(accessor, &store)?).await {
                Ok(keys) => (keys, Ok(())),
                Err(refused) => (Vec::new(), Err(error(refused))),
            };
            accessor.with(|mut access| {
                let keys = StreamReader::new(&mut access, keys)?;
                let end = FutureReader::new(&mut access, async move { wasmtime::error::Ok(end) })?;
                Ok((keys, end))
            })
        }

        fn drop(mut access: Access<'_, U, Self>, store: Resource<spin3::Store>) -> wasmtime::Result<()> {
            access.get().forget::<Store>(store.rep()).map(drop)
        }
    }
}
