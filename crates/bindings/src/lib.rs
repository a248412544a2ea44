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

/// `wasi:logging@0.1.0-draft`.
#[allow(missing_docs, reason = "generated; the WIT text is the documentation")]
pub mod logging {
    wasmtime::component::bindgen!({
        path: "wit/logging.wit",
        world: "wasi:logging/imports",
        imports: { default: trappable },
        require_store_data_send: true,
    });
    pub use wasi::logging::logging;
}

/// `wasi:blobstore@0.2.0-draft`.
#[allow(missing_docs, reason = "generated; the WIT text is the documentation")]
pub mod blobstore {
    wasmtime::component::bindgen!({
        path: "wit/blobstore",
        world: "wasi:blobstore/imports",
        imports: { default: async | trappable },
        with: { "wasi:io/streams": wasmtime_wasi::p2::bindings::io::streams },
        require_store_data_send: true,
    });
    pub use wasi::blobstore::{blobstore, container, types};
}

/// `wasmcloud:messaging@0.2.0`, both directions.
#[allow(missing_docs, reason = "generated; the WIT text is the documentation")]
pub mod wasmcloud_messaging {
    wasmtime::component::bindgen!({
        path: "wit/wasmcloud-messaging-0.2.wit",
        world: "wasmcloud:messaging/imports",
        imports: { default: async | trappable },
        require_store_data_send: true,
    });
    pub use wasmcloud::messaging::{consumer, types};

    /// What a guest that takes messages exports.
    pub mod subscriber {
        wasmtime::component::bindgen!({
            path: "wit/wasmcloud-messaging-0.2.wit",
            world: "wasmcloud:messaging/subscriber",
            exports: { default: async },
            with: { "wasmcloud:messaging/types": super::types },
            require_store_data_send: true,
        });
    }
}

/// `wasmcloud:messaging@0.3.0`, both directions: async functions.
#[allow(missing_docs, reason = "generated; the WIT text is the documentation")]
pub mod wasmcloud_messaging3 {
    wasmtime::component::bindgen!({
        path: "wit/wasmcloud-messaging-0.3.wit",
        world: "wasmcloud:messaging/imports",
        imports: { default: store | trappable },
        require_store_data_send: true,
    });
    pub use wasmcloud::messaging::{consumer, types};

    /// What a guest that takes messages exports.
    pub mod subscriber {
        wasmtime::component::bindgen!({
            path: "wit/wasmcloud-messaging-0.3.wit",
            world: "wasmcloud:messaging/subscriber",
            with: { "wasmcloud:messaging/types": super::types },
            require_store_data_send: true,
        });
    }
}

/// `wasmcloud:secrets@1.0.0` (and 0.1.0-draft).
#[allow(missing_docs, reason = "generated; the WIT text is the documentation")]
pub mod wasmcloud_secrets {
    wasmtime::component::bindgen!({
        path: "wit/wasmcloud-secrets-1.wit",
        world: "wasmcloud:secrets/imports",
        imports: { default: async | trappable },
        require_store_data_send: true,
    });
    pub use wasmcloud::secrets::{reveal, store};
}

/// `wasmcloud:secrets@2.1.0` (and 2.0.0): async functions.
#[allow(missing_docs, reason = "generated; the WIT text is the documentation")]
pub mod wasmcloud_secrets2 {
    wasmtime::component::bindgen!({
        path: "wit/wasmcloud-secrets-2.wit",
        world: "wasmcloud:secrets/imports",
        imports: { default: store | trappable },
        require_store_data_send: true,
    });
    pub use wasmcloud::secrets::{reveal, store};
}

/// `wasmcloud:bus@2.0.0`.
#[allow(missing_docs, reason = "generated; the WIT text is the documentation")]
pub mod wasmcloud_bus {
    wasmtime::component::bindgen!({
        path: "wit/wasmcloud-bus.wit",
        world: "wasmcloud:bus/imports",
        imports: { default: trappable },
        require_store_data_send: true,
    });
    pub use wasmcloud::bus::lattice;
}

/// `fermyon:spin@2.0.0`: Spin SDK 2 to 5.
#[allow(missing_docs, reason = "generated; the WIT text is the documentation")]
pub mod spin2 {
    wasmtime::component::bindgen!({
        path: "wit/spin-2.wit",
        world: "fermyon:spin/imports",
        imports: { default: async | trappable },
        require_store_data_send: true,
    });
    pub use fermyon::spin::{key_value, llm, mqtt, mysql, postgres, rdbms_types, redis, sqlite, variables};
}

/// `fermyon:spin` without a version: Spin SDK 1.
#[allow(missing_docs, reason = "generated; the WIT text is the documentation")]
pub mod spin1 {
    wasmtime::component::bindgen!({
        path: "wit/spin-1.wit",
        world: "fermyon:spin/imports",
        imports: { default: async | trappable },
        require_store_data_send: true,
    });
    pub use fermyon::spin::{
        config, http, http_types, key_value, llm, mysql, postgres, rdbms_types, redis, redis_types, sqlite,
    };

    /// What an HTTP component exports.
    pub mod http_trigger {
        wasmtime::component::bindgen!({
            path: "wit/spin-1.wit",
            world: "fermyon:spin/http-trigger",
            exports: { default: async },
            with: { "fermyon:spin/http-types": super::http_types },
            require_store_data_send: true,
        });
    }

    /// What a component that takes messages of Redis exports.
    pub mod redis_trigger {
        wasmtime::component::bindgen!({
            path: "wit/spin-1.wit",
            world: "fermyon:spin/redis-trigger",
            exports: { default: async },
            with: { "fermyon:spin/redis-types": super::redis_types },
            require_store_data_send: true,
        });
    }
}

/// The packages of Spin SDK 6 and later, one for each interface; most functions are async.
#[allow(missing_docs, reason = "generated; the WIT text is the documentation")]
pub mod spin3 {
    /// `spin:key-value@3.0.0`.
    pub mod key_value {
        wasmtime::component::bindgen!({
            path: "wit/spin-key-value-3.wit",
            world: "spin:key-value/imports",
            imports: { default: store | trappable },
            require_store_data_send: true,
        });
        pub use spin::key_value::key_value::*;
    }

    /// `spin:variables@3.0.0`.
    pub mod variables {
        wasmtime::component::bindgen!({
            path: "wit/spin-variables-3.wit",
            world: "spin:variables/imports",
            imports: { default: store | trappable },
            require_store_data_send: true,
        });
        pub use spin::variables::variables::*;
    }

    /// `spin:sqlite@3.1.0`.
    pub mod sqlite {
        wasmtime::component::bindgen!({
            path: "wit/spin-sqlite-3.wit",
            world: "spin:sqlite/imports",
            imports: { default: async | trappable },
            require_store_data_send: true,
        });
        pub use spin::sqlite::sqlite::*;
    }

    /// `spin:redis@3.0.0`.
    pub mod redis {
        wasmtime::component::bindgen!({
            path: "wit/spin-redis-3.wit",
            world: "spin:redis/imports",
            imports: { default: store | trappable },
            require_store_data_send: true,
        });
        pub use spin::redis::redis::*;
    }

    /// What a component that takes messages of `spin:redis@3.0.0` exports.
    pub mod redis_trigger {
        wasmtime::component::bindgen!({
            path: "wit/spin-redis-3.wit",
            world: "spin:redis/redis-trigger",
            with: { "spin:redis/redis": super::redis::spin::redis::redis },
            require_store_data_send: true,
        });
    }

    /// `spin:mqtt@3.0.0`.
    pub mod mqtt {
        wasmtime::component::bindgen!({
            path: "wit/spin-mqtt-3.wit",
            world: "spin:mqtt/imports",
            imports: { default: store | trappable },
            require_store_data_send: true,
        });
        pub use spin::mqtt::mqtt::*;
    }

    /// `spin:mysql@3.0.0`.
    pub mod mysql {
        wasmtime::component::bindgen!({
            path: "wit/spin-mysql-3.wit",
            world: "spin:mysql/imports",
            imports: { default: store | trappable },
            require_store_data_send: true,
        });
        pub use spin::mysql::mysql::*;
    }

    /// `spin:postgres@4.2.0`.
    pub mod postgres {
        wasmtime::component::bindgen!({
            path: "wit/spin-postgres-4.wit",
            world: "spin:postgres/imports",
            imports: { default: async | trappable },
            require_store_data_send: true,
        });
        pub use spin::postgres::postgres::*;
    }

    /// `spin:postgres@3.0.0`, of the SDKs 3 to 5.
    pub mod postgres3 {
        wasmtime::component::bindgen!({
            path: "wit/spin-postgres-3.wit",
            world: "spin:postgres/imports",
            imports: { default: async | trappable },
            require_store_data_send: true,
        });
        pub use spin::postgres::postgres::*;
    }
}
