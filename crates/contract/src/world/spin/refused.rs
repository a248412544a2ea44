//! Spin's `mysql`, `mqtt` and `llm`, in all generations: there is nothing behind them here, so that every function answers
//! with the interface's own error, which says what a guest can be granted instead, and the denial is recorded.
//!
//! A connection is never opened, so that no guest has one to use or to drop.

use samara_bindings::{spin1, spin2};
use samara_model::Capability;
use samara_runtime::{Authority, Guest};
use wasmtime::component::{Linker, Resource};

use crate::world::view::{View, Views, view};

pub(super) fn link(linker: &mut Linker<Guest>, concurrency: bool) -> wasmtime::Result<()> {
    if concurrency {
        samara_bindings::spin3::mysql::add_to_linker::<_, Views>(linker, view)?;
        samara_bindings::spin3::mqtt::add_to_linker::<_, Views>(linker, view)?;
    }
    spin1::mysql::add_to_linker::<_, Views>(linker, view)?;
    spin1::llm::add_to_linker::<_, Views>(linker, view)?;
    spin2::mysql::add_to_linker::<_, Views>(linker, view)?;
    spin2::mqtt::add_to_linker::<_, Views>(linker, view)?;
    spin2::llm::add_to_linker::<_, Views>(linker, view)
}

/// What nothing here provides, and what does instead.
#[derive(Clone, Copy)]
enum Missing {
    Mysql,
    Mqtt,
    Llm,
}

impl Missing {
    /// Records that a guest asked for it; the text that it is answered with.
    fn refuse(self, authority: &Authority) -> String {
        let (capability, what, instead, grant) = match self {
            Self::Mysql => (
                Capability::Sql,
                "a MySQL server",
                "databases are SQLite's or PostgreSQL's, by `spin:sqlite` or `spin:postgres`",
                "sql = [\"NAME\"]",
            ),
            Self::Mqtt => (
                Capability::Messaging,
                "an MQTT broker",
                "messages are published on a bus, by `spin:redis` or `wasmcloud:messaging`",
                "messaging = { publish = [\"SUBJECT\"] }",
            ),
            Self::Llm => (
                Capability::Http,
                "a language model",
                "a service that runs one is asked by `wasi:http`",
                "http = [\"https://HOST\"]",
            ),
        };
        authority.deny(capability, format!("{what} (unsupported: {instead})"), grant.to_owned());
        format!("unsupported: this host has no provider of {what}; {instead}, granted as `{grant}`")
    }
}

impl View<'_> {
    fn missing(&self, what: Missing) -> String {
        what.refuse(self.0.authority())
    }
}

impl spin1::mysql::Host for View<'_> {
    async fn query(
        &mut self,
        _: String,
        _: String,
        _: Vec<spin1::mysql::ParameterValue>,
    ) -> wasmtime::Result<Result<spin1::mysql::RowSet, spin1::mysql::MysqlError>> {
        Ok(Err(spin1::mysql::MysqlError::ConnectionFailed(self.missing(Missing::Mysql))))
    }

    async fn execute(
        &mut self,
        _: String,
        _: String,
        _: Vec<spin1::mysql::ParameterValue>,
    ) -> wasmtime::Result<Result<(), spin1::mysql::MysqlError>> {
        Ok(Err(spin1::mysql::MysqlError::ConnectionFailed(self.missing(Missing::Mysql))))
    }
}

impl spin2::mysql::Host for View<'_> {}

impl spin2::mysql::HostConnection for View<'_> {
    async fn open(
        &mut self,
        _: String,
    ) -> wasmtime::Result<Result<Resource<spin2::mysql::Connection>, spin2::mysql::Error>> {
        Ok(Err(spin2::mysql::Error::ConnectionFailed(self.missing(Missing::Mysql))))
    }

    async fn query(
        &mut self,
        _: Resource<spin2::mysql::Connection>,
        _: String,
        _: Vec<spin2::mysql::ParameterValue>,
    ) -> wasmtime::Result<Result<spin2::mysql::RowSet, spin2::mysql::Error>> {
        Ok(Err(spin2::mysql::Error::ConnectionFailed(self.missing(Missing::Mysql))))
    }

    async fn execute(
        &mut self,
        _: Resource<spin2::mysql::Connection>,
        _: String,
        _: Vec<spin2::mysql::ParameterValue>,
    ) -> wasmtime::Result<Result<(), spin2::mysql::Error>> {
        Ok(Err(spin2::mysql::Error::ConnectionFailed(self.missing(Missing::Mysql))))
    }

    async fn drop(&mut self, _: Resource<spin2::mysql::Connection>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl spin2::mqtt::Host for View<'_> {}

impl spin2::mqtt::HostConnection for View<'_> {
    async fn open(
        &mut self,
        _: String,
        _: String,
        _: String,
        _: u64,
    ) -> wasmtime::Result<Result<Resource<spin2::mqtt::Connection>, spin2::mqtt::Error>> {
        Ok(Err(spin2::mqtt::Error::ConnectionFailed(self.missing(Missing::Mqtt))))
    }

    async fn publish(
        &mut self,
        _: Resource<spin2::mqtt::Connection>,
        _: String,
        _: Vec<u8>,
        _: spin2::mqtt::Qos,
    ) -> wasmtime::Result<Result<(), spin2::mqtt::Error>> {
        Ok(Err(spin2::mqtt::Error::ConnectionFailed(self.missing(Missing::Mqtt))))
    }

    async fn drop(&mut self, _: Resource<spin2::mqtt::Connection>) -> wasmtime::Result<()> {
        Ok(())
    }
}

/// `llm` is the same in both of its generations.
macro_rules! llm {
    ($release:ident) => {
        impl $release::llm::Host for View<'_> {
            async fn infer(
                &mut self,
                _: String,
                _: String,
                _: Option<$release::llm::InferencingParams>,
            ) -> wasmtime::Result<Result<$release::llm::InferencingResult, $release::llm::Error>> {
                Ok(Err($release::llm::Error::RuntimeError(self.missing(Missing::Llm))))
            }

            async fn generate_embeddings(
                &mut self,
                _: String,
                _: Vec<String>,
            ) -> wasmtime::Result<Result<$release::llm::EmbeddingsResult, $release::llm::Error>> {
                Ok(Err($release::llm::Error::RuntimeError(self.missing(Missing::Llm))))
            }
        }
    };
}

llm!(spin1);
llm!(spin2);

/// `spin:mysql@3.0.0`, whose functions are async.
mod mysql3 {
    use samara_bindings::spin3::mysql::{
        Column, Connection, DbValue, Error, Host, HostConnection, HostConnectionWithStore, ParameterValue,
    };
    use wasmtime::component::{Access, Accessor, FutureReader, Resource, StreamReader};

    use super::{Missing, View, Views};

    fn refused<T, U>(accessor: &Accessor<U, Views>) -> wasmtime::Result<Result<T, Error>> {
        let said = accessor.with(|mut access| access.get().missing(Missing::Mysql));
        Ok(Err(Error::ConnectionFailed(said)))
    }

    impl Host for View<'_> {}

    impl HostConnection for View<'_> {}

    impl<U> HostConnectionWithStore<U> for Views {
        async fn open(
            accessor: &Accessor<U, Self>,
            _: String,
        ) -> wasmtime::Result<Result<Resource<Connection>, Error>> {
            refused(accessor)
        }

        async fn query(
            accessor: &Accessor<U, Self>,
            _: Resource<Connection>,
            _: String,
            _: Vec<ParameterValue>,
        ) -> wasmtime::Result<Result<(Vec<Column>, StreamReader<Vec<DbValue>>, FutureReader<Result<(), Error>>), Error>>
        {
            refused(accessor)
        }

        async fn execute(
            accessor: &Accessor<U, Self>,
            _: Resource<Connection>,
            _: String,
            _: Vec<ParameterValue>,
        ) -> wasmtime::Result<Result<(), Error>> {
            refused(accessor)
        }

        fn drop(_: Access<'_, U, Self>, _: Resource<Connection>) -> wasmtime::Result<()> {
            Ok(())
        }
    }
}

/// `spin:mqtt@3.0.0`, whose functions are async.
mod mqtt3 {
    use samara_bindings::spin3::mqtt::{Connection, Error, Host, HostConnection, HostConnectionWithStore, Qos};
    use wasmtime::component::{Access, Accessor, Resource};

    use super::{Missing, View, Views};

    fn refused<T, U>(accessor: &Accessor<U, Views>) -> wasmtime::Result<Result<T, Error>> {
        let said = accessor.with(|mut access| access.get().missing(Missing::Mqtt));
        Ok(Err(Error::ConnectionFailed(said)))
    }

    impl Host for View<'_> {}

    impl HostConnection for View<'_> {}

    impl<U> HostConnectionWithStore<U> for Views {
        async fn open(
            accessor: &Accessor<U, Self>,
            _: String,
            _: String,
            _: String,
            _: u64,
        ) -> wasmtime::Result<Result<Resource<Connection>, Error>> {
            refused(accessor)
        }

        async fn publish(
            accessor: &Accessor<U, Self>,
            _: Resource<Connection>,
            _: String,
            _: Vec<u8>,
            _: Qos,
        ) -> wasmtime::Result<Result<(), Error>> {
            refused(accessor)
        }

        fn drop(_: Access<'_, U, Self>, _: Resource<Connection>) -> wasmtime::Result<()> {
            Ok(())
        }
    }
}
