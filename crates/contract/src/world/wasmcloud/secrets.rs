//! `wasmcloud:secrets` 1.0.0 and 2.1.0, over the workload's `secrets` grant: a handle that says nothing, and its value when a
//! guest asks to have it revealed.
//!
//! A secret that is not granted is one that is not there.

use samara_bindings::{wasmcloud_secrets as release1, wasmcloud_secrets2 as release2};
use samara_capability::secrets::{Secret, SecretError, Secrets};
use samara_runtime::Guest;
use std::sync::Arc;
use wasmtime::component::{Access, Accessor, Linker, Resource};

use crate::world::view::{View, Views, view};

pub(super) fn link(linker: &mut Linker<Guest>, concurrency: bool) -> wasmtime::Result<()> {
    if concurrency {
        release2::store::add_to_linker::<_, Views>(linker, view)?;
        release2::reveal::add_to_linker::<_, Views>(linker, view)?;
    }
    release1::store::add_to_linker::<_, Views>(linker, view)?;
    release1::reveal::add_to_linker::<_, Views>(linker, view)
}

/// Our side of a guest's handle.
struct Handle(Secret);

/// Why there is no handle.
enum Refused {
    NotFound,
    Failed(String),
}

async fn secret(authority: &samara_runtime::Authority, key: &str) -> Result<Secret, Refused> {
    match authority.secrets().get(key).await {
        Ok(Some(secret)) => Ok(secret),
        Ok(None) | Err(SecretError::AccessDenied { .. }) => Err(Refused::NotFound),
        Err(error) => Err(Refused::Failed(error.to_string())),
    }
}

macro_rules! codec {
    ($release:ident, $value:ident, $error:ident) => {
        fn $value(secret: &Secret) -> $release::store::SecretValue {
            match secret.expose_text() {
                Some(text) => $release::store::SecretValue::String(text.to_owned()),
                None => $release::store::SecretValue::Bytes(secret.expose().to_vec()),
            }
        }

        fn $error(refused: Refused) -> $release::store::SecretsError {
            match refused {
                Refused::NotFound => $release::store::SecretsError::NotFound,
                Refused::Failed(why) => $release::store::SecretsError::Upstream(why),
            }
        }
    };
}

codec!(release1, value1, error1);
codec!(release2, value2, error2);

impl release1::store::Host for View<'_> {
    async fn get(
        &mut self,
        key: String,
    ) -> wasmtime::Result<Result<Resource<release1::store::Secret>, release1::store::SecretsError>> {
        let authority = Arc::clone(self.0.authority());
        let found = secret(&authority, &key).await;
        Ok(match found {
            Ok(secret) => Ok(Resource::new_own(self.keep(Handle(secret))?)),
            Err(refused) => Err(error1(refused)),
        })
    }
}

impl release1::store::HostSecret for View<'_> {
    async fn drop(&mut self, handle: Resource<release1::store::Secret>) -> wasmtime::Result<()> {
        self.forget::<Handle>(handle.rep()).map(drop)
    }
}

impl release1::reveal::Host for View<'_> {
    async fn reveal(
        &mut self,
        handle: Resource<release1::store::Secret>,
    ) -> wasmtime::Result<release1::store::SecretValue> {
        Ok(value1(&self.find::<Handle>(handle.rep())?.0))
    }
}

impl release2::store::Host for View<'_> {}

impl<U> release2::store::HostWithStore<U> for Views {
    async fn get(
        accessor: &Accessor<U, Self>,
        key: String,
    ) -> wasmtime::Result<Result<Resource<release2::store::Secret>, release2::store::SecretsError>> {
        let authority = accessor.with(|mut access| Arc::clone(access.get().0.authority()));
        Ok(match secret(&authority, &key).await {
            Ok(secret) => Ok(Resource::new_own(accessor.with(|mut access| access.get().keep(Handle(secret)))?)),
            Err(refused) => Err(error2(refused)),
        })
    }
}

impl release2::store::HostSecret for View<'_> {}

impl<U> release2::store::HostSecretWithStore<U> for Views {
    fn drop(mut access: Access<'_, U, Self>, handle: Resource<release2::store::Secret>) -> wasmtime::Result<()> {
        access.get().forget::<Handle>(handle.rep()).map(drop)
    }
}

impl release2::reveal::Host for View<'_> {}

impl<U> release2::reveal::HostWithStore<U> for Views {
    async fn reveal(
        accessor: &Accessor<U, Self>,
        handle: Resource<release2::store::Secret>,
    ) -> wasmtime::Result<release2::store::SecretValue> {
        accessor.with(|mut access| Ok(value2(&access.get().find::<Handle>(handle.rep())?.0)))
    }
}
