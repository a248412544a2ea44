//! `wasmcloud:bus/lattice@2.0.0`: a guest chooses which of its links the calls of an interface use from now on.
//!
//! Differs from the spec: links are stores, and a guest names the store where it opens one, so that there is nothing to
//! choose. The link `default` is what there is; any other is refused with what to do instead.

use samara_bindings::wasmcloud_bus::lattice::{CallTargetInterface, Host, HostCallTargetInterface, add_to_linker};
use samara_runtime::Guest;
use wasmtime::component::{Linker, Resource};

use crate::world::view::{View, Views, view};

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    add_to_linker::<_, Views>(linker, view)
}

/// An interface that a guest names.
struct Target;

impl Host for View<'_> {
    fn set_link_name(
        &mut self,
        name: String,
        _interfaces: Vec<Resource<CallTargetInterface>>,
    ) -> wasmtime::Result<Result<(), String>> {
        if name == "default" {
            return Ok(Ok(()));
        }
        Ok(Err("links have no names here: open the store by the name that the manifest gives it".to_owned()))
    }
}

impl HostCallTargetInterface for View<'_> {
    fn new(&mut self, _: String, _: String, _: String) -> wasmtime::Result<Resource<CallTargetInterface>> {
        Ok(Resource::new_own(self.keep(Target)?))
    }

    fn drop(&mut self, target: Resource<CallTargetInterface>) -> wasmtime::Result<()> {
        self.forget::<Target>(target.rep()).map(drop)
    }
}
