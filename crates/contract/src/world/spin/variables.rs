//! Spin's `variables` (and `config`, as its first generation called it), over the workload's `config` values and secrets.
//!
//! Names are as Spin has them: a lower-case letter, then lower-case letters, digits and single underscores between them.

use samara_bindings::{spin1, spin2, spin3};
use samara_model::{Capability, Grants};
use samara_runtime::Guest;
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

/// The value of a variable.
fn variable(guest: &Guest, name: &str) -> Result<String, Missing> {
    check_name(name).map_err(Missing::Name)?;
    let authority = guest.authority();
    if let Some(value) = authority.grants.config.get(name) {
        return Ok(value.clone());
    }
    if !authority.grants.has(Capability::Config) {
        // One denial for all names: which one a guest asks for is its own text, and it may ask for very many.
        let grant = Grants::example(Capability::Config).to_owned();
        authority.deny(Capability::Config, "variables".to_owned(), grant);
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
        Ok(variable(self.0, &name).map_err(|missing| match missing {
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
        let value = accessor.with(|mut access| variable(access.get().0, &name));
        Ok(value.map_err(|missing| match missing {
            Missing::Name(why) => Error::InvalidName(why.to_owned()),
            Missing::Undefined => Error::Undefined(format!("no provider resolved {name:?}")),
        }))
    }
}

impl spin1::config::Host for View<'_> {
    async fn get_config(&mut self, key: String) -> wasmtime::Result<Result<String, spin1::config::Error>> {
        use spin1::config::Error;
        Ok(variable(self.0, &key).map_err(|missing| match missing {
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
