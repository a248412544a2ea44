//! Spin's `redis`, in its three generations, over the workload's granted stores: a key-value store for `get`, `set`, `incr`
//! and `del`, a bus for `publish`.
//!
//! Differs from the spec: what a guest opens is the name of a granted store, of a granted bus, or of both, and an address stands
//! for a name ([`server`]). The manifest has the address and the password, and what is behind the name need not be Redis. Sets
//! of members and commands as text belong to Redis alone: they are refused, as every operation without its grant is.

use std::sync::Arc;

use samara_bindings::{spin1, spin2};
use samara_capability::{
    Denial,
    kv::{Granted, KeyValue, KvError},
    messaging::{self, Message, Messaging, MessagingError},
};
use samara_model::Capability;
use samara_runtime::{Authority, Guest};
use wasmtime::component::{Linker, Resource};

use super::server;
use crate::world::view::{View, Views, kv, view};

pub(super) fn link(linker: &mut Linker<Guest>, concurrency: bool) -> wasmtime::Result<()> {
    if concurrency {
        samara_bindings::spin3::redis::add_to_linker::<_, Views>(linker, view)?;
    }
    spin1::redis_types::add_to_linker::<_, Views>(linker, view)?;
    spin1::redis::add_to_linker::<_, Views>(linker, view)?;
    spin2::redis::add_to_linker::<_, Views>(linker, view)
}

/// What a guest takes for a server: the stores that it was granted under one name. Our side of its connections.
#[derive(Clone)]
struct Server {
    authority: Arc<Authority>,
    name: String,
}

/// Why something did not happen.
enum Failure {
    TooManyConnections,
    /// The value is not of the kind that the operation needs.
    Type,
    Other(String),
}

impl From<KvError> for Failure {
    fn from(error: KvError) -> Self {
        match error {
            KvError::NotANumber => Self::Type,
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<MessagingError> for Failure {
    fn from(error: MessagingError) -> Self {
        Self::Other(error.to_string())
    }
}

/// What only Redis has.
fn only_redis<T>(what: &str) -> Result<T, Failure> {
    Err(Failure::Other(format!(
        "unsupported: a granted store has `get`, `set`, `incr`, `del` and a granted bus `publish`, but no `{what}`"
    )))
}

impl Server {
    /// The stores of a name, or of the server that an address is of.
    fn open(authority: &Arc<Authority>, opened: &str) -> Result<Self, Failure> {
        let refused = || Failure::Other(server::refused(authority, Capability::Kv, "Redis"));
        let name = server::store_name(opened).ok_or_else(refused)?;
        let server = Self { authority: Arc::clone(authority), name };
        if opened.contains("://") && !server.is_granted() {
            return Err(refused());
        }
        match (server.store(), server.granted_bus()) {
            (Err(refused), None) => Err(refused.into()),
            _ => Ok(server),
        }
    }

    fn is_granted(&self) -> bool {
        let grants = &self.authority.grants;
        grants.kv.contains_key(&self.name) || grants.messaging.contains_key(&self.name)
    }

    fn store(&self) -> Result<Granted, KvError> {
        kv(&self.authority, &self.name)
    }

    fn granted_bus(&self) -> Option<&messaging::Granted> {
        let Self { authority, name } = self;
        if authority.grants.messaging.contains_key(name) {
            return authority.messaging(name).ok();
        }
        authority.only_messaging().filter(|_| matches!(name.as_str(), "" | "default"))
    }

    async fn publish(&self, channel: String, payload: Vec<u8>) -> Result<(), Failure> {
        let bus = match self.granted_bus() {
            Some(bus) => bus,
            None => self
                .authority
                .messaging(&self.name)
                .map_err(|Denial { what, grant, .. }| MessagingError::AccessDenied { what, grant })?,
        };
        Ok(bus.publish(Message::new(channel, payload)).await?)
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.store()?.get(key).await?.map(Vec::from))
    }

    async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), Failure> {
        self.store()?.set(key, value.into()).await?;
        Ok(())
    }

    async fn increment(&self, key: &str) -> Result<i64, Failure> {
        Ok(self.store()?.increment(key, 1).await?.value)
    }

    /// How many of the keys were there.
    async fn delete(&self, keys: &[String]) -> Result<u32, Failure> {
        let (store, mut removed) = (self.store()?, 0);
        for key in keys {
            removed += u32::from(store.delete(key).await?.is_some());
        }
        Ok(removed)
    }
}

impl View<'_> {
    fn open_redis(&mut self, address: &str) -> Result<u32, Failure> {
        let server = Server::open(self.0.authority(), address)?;
        self.keep(server).map_err(|_| Failure::TooManyConnections)
    }

    fn redis(&mut self, connection: u32) -> wasmtime::Result<Server> {
        Ok(self.find::<Server>(connection)?.clone())
    }
}

/// The first generation's errors say nothing: what they would is in the record of denials.
fn error1(_: Failure) -> spin1::redis_types::Error {
    spin1::redis_types::Error::Error
}

impl spin1::redis_types::Host for View<'_> {}

/// The first generation has no connections: each call names the server.
impl spin1::redis::Host for View<'_> {
    async fn publish(
        &mut self,
        address: String,
        channel: String,
        payload: Vec<u8>,
    ) -> wasmtime::Result<Result<(), spin1::redis::Error>> {
        let server = Server::open(self.0.authority(), &address);
        let published = async { server?.publish(channel, payload).await };
        Ok(published.await.map_err(error1))
    }

    /// A key that is not there has an empty value, as Spin has it.
    async fn get(&mut self, address: String, key: String) -> wasmtime::Result<Result<Vec<u8>, spin1::redis::Error>> {
        let server = Server::open(self.0.authority(), &address);
        let found = async { server?.get(&key).await };
        Ok(found.await.map(Option::unwrap_or_default).map_err(error1))
    }

    async fn set(
        &mut self,
        address: String,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), spin1::redis::Error>> {
        let server = Server::open(self.0.authority(), &address);
        let set = async { server?.set(&key, value).await };
        Ok(set.await.map_err(error1))
    }

    async fn incr(&mut self, address: String, key: String) -> wasmtime::Result<Result<i64, spin1::redis::Error>> {
        let server = Server::open(self.0.authority(), &address);
        let sum = async { server?.increment(&key).await };
        Ok(sum.await.map_err(error1))
    }

    async fn del(&mut self, address: String, keys: Vec<String>) -> wasmtime::Result<Result<i64, spin1::redis::Error>> {
        let server = Server::open(self.0.authority(), &address);
        let removed = async { server?.delete(&keys).await };
        Ok(removed.await.map(i64::from).map_err(error1))
    }

    async fn sadd(
        &mut self,
        _: String,
        _: String,
        _: Vec<String>,
    ) -> wasmtime::Result<Result<i64, spin1::redis::Error>> {
        Ok(only_redis("sadd").map_err(error1))
    }

    async fn smembers(&mut self, _: String, _: String) -> wasmtime::Result<Result<Vec<String>, spin1::redis::Error>> {
        Ok(only_redis("smembers").map_err(error1))
    }

    async fn srem(
        &mut self,
        _: String,
        _: String,
        _: Vec<String>,
    ) -> wasmtime::Result<Result<i64, spin1::redis::Error>> {
        Ok(only_redis("srem").map_err(error1))
    }

    async fn execute(
        &mut self,
        _: String,
        _: String,
        _: Vec<spin1::redis::RedisParameter>,
    ) -> wasmtime::Result<Result<Vec<spin1::redis::RedisResult>, spin1::redis::Error>> {
        Ok(only_redis("execute").map_err(error1))
    }
}

/// The later generations differ in the path of their types only.
macro_rules! error {
    ($name:ident, $error:path) => {
        fn $name(failure: Failure) -> $error {
            use $error as Error;
            match failure {
                Failure::TooManyConnections => Error::TooManyConnections,
                Failure::Type => Error::TypeError,
                Failure::Other(said) => Error::Other(said),
            }
        }
    };
}

error!(error2, spin2::redis::Error);

impl spin2::redis::Host for View<'_> {}

impl spin2::redis::HostConnection for View<'_> {
    async fn open(
        &mut self,
        address: String,
    ) -> wasmtime::Result<Result<Resource<spin2::redis::Connection>, spin2::redis::Error>> {
        Ok(self.open_redis(&address).map(Resource::new_own).map_err(error2))
    }

    async fn publish(
        &mut self,
        connection: Resource<spin2::redis::Connection>,
        channel: String,
        payload: Vec<u8>,
    ) -> wasmtime::Result<Result<(), spin2::redis::Error>> {
        Ok(self.redis(connection.rep())?.publish(channel, payload).await.map_err(error2))
    }

    async fn get(
        &mut self,
        connection: Resource<spin2::redis::Connection>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, spin2::redis::Error>> {
        Ok(self.redis(connection.rep())?.get(&key).await.map_err(error2))
    }

    async fn set(
        &mut self,
        connection: Resource<spin2::redis::Connection>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), spin2::redis::Error>> {
        Ok(self.redis(connection.rep())?.set(&key, value).await.map_err(error2))
    }

    async fn incr(
        &mut self,
        connection: Resource<spin2::redis::Connection>,
        key: String,
    ) -> wasmtime::Result<Result<i64, spin2::redis::Error>> {
        Ok(self.redis(connection.rep())?.increment(&key).await.map_err(error2))
    }

    async fn del(
        &mut self,
        connection: Resource<spin2::redis::Connection>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<u32, spin2::redis::Error>> {
        Ok(self.redis(connection.rep())?.delete(&keys).await.map_err(error2))
    }

    async fn sadd(
        &mut self,
        _: Resource<spin2::redis::Connection>,
        _: String,
        _: Vec<String>,
    ) -> wasmtime::Result<Result<u32, spin2::redis::Error>> {
        Ok(only_redis("sadd").map_err(error2))
    }

    async fn smembers(
        &mut self,
        _: Resource<spin2::redis::Connection>,
        _: String,
    ) -> wasmtime::Result<Result<Vec<String>, spin2::redis::Error>> {
        Ok(only_redis("smembers").map_err(error2))
    }

    async fn srem(
        &mut self,
        _: Resource<spin2::redis::Connection>,
        _: String,
        _: Vec<String>,
    ) -> wasmtime::Result<Result<u32, spin2::redis::Error>> {
        Ok(only_redis("srem").map_err(error2))
    }

    async fn execute(
        &mut self,
        _: Resource<spin2::redis::Connection>,
        _: String,
        _: Vec<spin2::redis::RedisParameter>,
    ) -> wasmtime::Result<Result<Vec<spin2::redis::RedisResult>, spin2::redis::Error>> {
        Ok(only_redis("execute").map_err(error2))
    }

    async fn drop(&mut self, connection: Resource<spin2::redis::Connection>) -> wasmtime::Result<()> {
        self.forget::<Server>(connection.rep()).map(drop)
    }
}

/// `spin:redis@3.0.0`, whose functions are async.
mod release3 {
    use samara_bindings::spin3::redis::{
        Connection, Error, Host, HostConnection, HostConnectionWithStore, RedisParameter, RedisResult,
    };
    use wasmtime::component::{Access, Accessor, Resource};

    use super::{Failure, Server, View, Views, only_redis};

    error!(error, Error);

    fn server<U>(accessor: &Accessor<U, Views>, connection: &Resource<Connection>) -> wasmtime::Result<Server> {
        accessor.with(|mut access| access.get().redis(connection.rep()))
    }

    impl Host for View<'_> {}

    impl HostConnection for View<'_> {}

    impl<U> HostConnectionWithStore<U> for Views {
        async fn open(
            accessor: &Accessor<U, Self>,
            address: String,
        ) -> wasmtime::Result<Result<Resource<Connection>, Error>> {
            let opened = accessor.with(|mut access| access.get().open_redis(&address));
            Ok(opened.map(Resource::new_own).map_err(error))
        }

        async fn publish(
            accessor: &Accessor<U, Self>,
            connection: Resource<Connection>,
            channel: String,
            payload: Vec<u8>,
        ) -> wasmtime::Result<Result<(), Error>> {
            Ok(server(accessor, &connection)?.publish(channel, payload).await.map_err(error))
        }

        async fn get(
            accessor: &Accessor<U, Self>,
            connection: Resource<Connection>,
            key: String,
        ) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
            Ok(server(accessor, &connection)?.get(&key).await.map_err(error))
        }

        async fn set(
            accessor: &Accessor<U, Self>,
            connection: Resource<Connection>,
            key: String,
            value: Vec<u8>,
        ) -> wasmtime::Result<Result<(), Error>> {
            Ok(server(accessor, &connection)?.set(&key, value).await.map_err(error))
        }

        async fn incr(
            accessor: &Accessor<U, Self>,
            connection: Resource<Connection>,
            key: String,
        ) -> wasmtime::Result<Result<i64, Error>> {
            Ok(server(accessor, &connection)?.increment(&key).await.map_err(error))
        }

        async fn del(
            accessor: &Accessor<U, Self>,
            connection: Resource<Connection>,
            keys: Vec<String>,
        ) -> wasmtime::Result<Result<u32, Error>> {
            Ok(server(accessor, &connection)?.delete(&keys).await.map_err(error))
        }

        async fn sadd(
            _: &Accessor<U, Self>,
            _: Resource<Connection>,
            _: String,
            _: Vec<String>,
        ) -> wasmtime::Result<Result<u32, Error>> {
            Ok(only_redis("sadd").map_err(error))
        }

        async fn smembers(
            _: &Accessor<U, Self>,
            _: Resource<Connection>,
            _: String,
        ) -> wasmtime::Result<Result<Vec<String>, Error>> {
            Ok(only_redis("smembers").map_err(error))
        }

        async fn srem(
            _: &Accessor<U, Self>,
            _: Resource<Connection>,
            _: String,
            _: Vec<String>,
        ) -> wasmtime::Result<Result<u32, Error>> {
            Ok(only_redis("srem").map_err(error))
        }

        async fn execute(
            _: &Accessor<U, Self>,
            _: Resource<Connection>,
            _: String,
            _: Vec<RedisParameter>,
        ) -> wasmtime::Result<Result<Vec<RedisResult>, Error>> {
            Ok(only_redis("execute").map_err(error))
        }

        fn drop(mut access: Access<'_, U, Self>, connection: Resource<Connection>) -> wasmtime::Result<()> {
            access.get().forget::<Server>(connection.rep()).map(drop)
        }
    }
}
