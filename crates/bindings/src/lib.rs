//! Component bindings generated from `wit/`, and nothing else: slow to expand, rarely edited.
//!
//! A module here is one WIT package at one version, named after both. Functions are async and may trap. Resources are
//! opaque: whoever implements an interface keeps its own type in the resource table, under the same index.

/// `wasi:keyvalue@0.2.0-draft`.
#[allow(missing_docs, reason = "generated; the WIT text is the documentation")]
pub mod keyvalue_draft {
    wasmtime::component::bindgen!({
        path: "wit/keyvalue-draft.wit",
        world: "wasi:keyvalue/imports",
        imports: { default: async | trappable },
        require_store_data_send: true,
    });
    pub use wasi::keyvalue::{atomics, batch, store};
}

/// `wasi:keyvalue@0.2.0-draft2`.
#[allow(missing_docs, reason = "generated; the WIT text is the documentation")]
pub mod keyvalue_draft2 {
    wasmtime::component::bindgen!({
        path: "wit/keyvalue-draft2.wit",
        world: "wasi:keyvalue/imports",
        imports: { default: async | trappable },
        require_store_data_send: true,
    });
    pub use wasi::keyvalue::{atomics, batch, store};
}

/// `wasi:config@0.2.0-rc.1`.
#[allow(missing_docs, reason = "generated; the WIT text is the documentation")]
pub mod config {
    wasmtime::component::bindgen!({
        path: "wit/config.wit",
        world: "wasi:config/imports",
        imports: { default: trappable },
        require_store_data_send: true,
    });
    pub use wasi::config::store;
}
