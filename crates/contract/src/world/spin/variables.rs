//! Spin's `variables` (and `config`, as its first generation called it), over the workload's `config` values and secrets.
//!
//! Names are as Spin has them: a lower-case letter, then lower-case letters, digits and single underscores between them.

use std::sync::Arc;

use samara_bindings::{spin1, spin2, spin3};
use samara_capability::{config::Config, secrets::Secrets};
use samara_model::Capability;
use samara_runtime::{Authority, Guest};
use wasmtime::component::{Accessor, Linker};

use crate::world::view::{View, Views, view};

/// The longest name; Spin has no bound.
const NAME_BYTES: usize = 256;

pub(super) fn link(linker: &mut Linker<Guest>, concurrency: bool) -> wasmtime::Result<()> {
    if concurrency {
        spin3::variables::add_to_linker::<_, Views>(linker, view)?;
    }
    spin1::config::add_to_linker::<_, Views>(linker, view)?;
    spin2::variables::add_to_linker::<_, Views>(linker, view)
}

/// Why a variable has no value.
enum Missing {
    /// It is not a name.
    Name(&'static str),
    /// Nothing of this name is granted.
    Undefined,
}

/// The value of a variable: a configuration value, else a secret.
async fn variable(authority: Arc<Authority>, name: &str) -> Result<String, Missing> {
    check_name(name).map_err(Missing::Name)?;
    let has_secrets = authority.grants.has(Capability::Secrets);
    // Who is granted neither leaves the denial of the first.
    if (authority.grants.has(Capability::Config) || !has_secrets)
        && let Ok(Some(value)) = authority.config().get(name).await
    {
        return Ok(value.to_string());
    }
    if has_secrets && let Ok(Some(secret)) = authority.secrets().get(name).await {
        return String::from_utf8(secret.expose().to_vec()).map_err(|_| Missing::Undefined);
    }
    Err(Missing::Undefined)
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.len() > NAME_BYTES {
        return Err("a name has at most 256 bytes");
    }
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Err("a name starts with a lower-case letter");
    }
    if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
        return Err("a name has lower-case letters, digits and underscores only");
    }
    if name.ends_with('_') || name.contains("__") {
        return Err("an underscore in a name stands between letters or digits");
    }
    Ok(())
}

impl spin2::variables::Host for View<'_> {
    async fn get(&mut self, name: String) -> wasmtime::Result<Result<String, spin2::variables::Error>> {
        use spin2::variables::Error;
        Ok(variable(Arc::clone(self.0.authority()), &name).await.map_err(|missing| match missing {
            Missing::Name(why) => Error::InvalidName(why.to_owned()),
            Missing::Undefined => Error::Undefined(format!("no provider resolved {name:?}")),
        }))
    }
}

impl spin3::variables::Host for View<'_> {}

impl<U> spin3::variables::HostWithStore<U> for Views {
    async fn get(
        accessor: &Accessor<U, Self>,
        name: String,
    ) -> wasmtime::Result<Result<String, spin3::variables::Error>> {
        use spin3::variables::Error;
        let authority = accessor.with(|mut access| Arc::clone(access.get().0.authority()));
        Ok(variable(authority, &name).await.map_err(|missing| match missing {
            Missing::Name(why) => Error::InvalidName(why.to_owned()),
            Missing::Undefined => Error::Undefined(format!("no provider resolved {name:?}")),
        }))
    }
}

impl spin1::config::Host for View<'_> {
    async fn get_config(&mut self, key: String) -> wasmtime::Result<Result<String, spin1::config::Error>> {
        use spin1::config::Error;
        Ok(variable(Arc::clone(self.0.authority()), &key).await.map_err(|missing| match missing {
            Missing::Name(why) => Error::InvalidKey(why.to_owned()),
            Missing::Undefined => Error::Provider(format!("no provider resolved {key:?}")),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names_are_those_that_spin_takes() {
        for good in ["a", "api_key", "a1_b2"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "A", "1a", "_a", "a_", "a__b", "a-b", "a.b", "ä", &"a".repeat(257)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
