//! A guest as the generated traits see it, and what all of them do with it: find a store by the name a guest uses, keep our
//! side of its handles.
//!
//! A guest names a store as the manifest does. The names `""` and `default`, which SDKs use when nobody chose one, mean
//! the only granted store, if there is exactly one.

use samara_capability::{
    Denial,
    kv::{Granted, KvError},
};
use samara_runtime::{Authority, Guest};
use wasmtime::component::{HasData, Resource, ResourceTable, ResourceTableError};
use wasmtime_wasi::WasiView;

/// The longest name a store can have in a manifest; what is longer is not looked up, nor written to a log.
pub(super) const NAME_BYTES: usize = 63;

/// A guest as the generated traits see it: they cannot be implemented on a type of another crate.
pub(crate) struct View<'a>(pub(super) &'a mut Guest);

/// Makes [`View`]s.
pub(crate) struct Views;

impl HasData for Views {
    type Data<'a> = View<'a>;
}

pub(super) fn view(guest: &mut Guest) -> View<'_> {
    View(guest)
}

impl View<'_> {
    fn table(&mut self) -> &mut ResourceTable {
        self.0.ctx().table
    }

    /// Our side of a guest's handle. The generated resource types are empty: what is in the table is ours, and the table
    /// checks that it is.
    pub(super) fn find<T: Send + 'static>(&mut self, index: u32) -> wasmtime::Result<&mut T> {
        Ok(self.table().get_mut(&Resource::new_borrow(index))?)
    }

    /// Keeps our side of a new handle, within the workload's limit of handles.
    pub(super) fn keep<T: Send + 'static>(&mut self, ours: T) -> Result<u32, ResourceTableError> {
        self.table().push(ours).map(|resource| resource.rep())
    }

    /// Takes our side of a handle back.
    pub(super) fn forget<T: Send + 'static>(&mut self, index: u32) -> wasmtime::Result<T> {
        Ok(self.table().delete(Resource::new_own(index))?)
    }

    /// The key-value store a guest asks for.
    pub(super) fn kv(&self, name: &str) -> Result<Granted, KvError> {
        kv(self.0.authority(), name)
    }
}

/// The key-value store a guest asks for.
pub(super) fn kv(authority: &Authority, name: &str) -> Result<Granted, KvError> {
    if name.len() > NAME_BYTES {
        return Err(KvError::no_such_store(name));
    }
    let unnamed = matches!(name, "" | "default") && !authority.grants.kv.contains_key(name);
    match authority.only_kv().filter(|_| unnamed) {
        Some(store) => Ok(store.clone()),
        None => authority.kv(name).cloned().map_err(|Denial { what, grant, .. }| KvError::AccessDenied { what, grant }),
    }
}

/// A full table of handles as a key-value error.
#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` takes")]
pub(super) fn kept(full: ResourceTableError) -> KvError {
    KvError::Backend(full.to_string())
}
