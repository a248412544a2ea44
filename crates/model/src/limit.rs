//! Everything a guest can grow has a number here.

use std::time::Duration;

/// Wasm features that `serve` refuses unless the workload declares them (`features = ["gc"]`): they are young, and each
/// is more of the engine for a hostile guest to reach. `run` and `call` allow them.
pub const GUARDED_FEATURES: &[&str] = &["gc", "exceptions", "memory64"];

/// The limits of one workload. `None` means unbounded, which only `samara run` and `samara call` use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory in bytes, summed over all memories of one instance.
    pub memory_bytes: u64,
    /// Elements in all tables of one instance.
    pub table_elements: u64,
    /// Guest running time per call.
    pub cpu: Option<Duration>,
    /// Wall time per call.
    pub deadline: Option<Duration>,
    /// Calls served at once.
    pub concurrency: u32,
    /// Calls that may wait for their turn.
    pub queue: u32,
    /// Bytes lifted out of a component in host calls, per call.
    pub host_call_bytes: Option<u64>,
    /// Host calls, per call.
    pub host_calls: Option<u64>,
    /// Entries in resource tables.
    pub handles: u32,
    /// Bytes a second of log lines; `None` is unbounded.
    pub log_bytes_per_second: Option<u64>,
    /// Bytes of one log line.
    pub log_line_bytes: u32,
    /// Bytes of one HTTP head.
    pub header_bytes: u32,
    /// Fields of one HTTP head.
    pub header_fields: u32,
    /// Bytes of a request body that a contract must hold in memory (streams are unbounded).
    pub request_body_bytes: u64,
    /// Bytes of a response body; `None` is unbounded.
    pub response_body_bytes: Option<u64>,
    /// Length of a chain of calls between workloads.
    pub depth: u32,
    /// Bytes of a key in a key-value store.
    pub kv_key_bytes: u32,
    /// Bytes of a value in a key-value store.
    pub kv_value_bytes: u64,
    /// Bytes of keys and values of one workload in one key-value store.
    pub kv_total_bytes: u64,
    /// Bytes of the name of a container or an object in a blob store.
    pub blob_name_bytes: u32,
    /// Bytes of one object in a blob store.
    pub blob_object_bytes: u64,
    /// Bytes of all objects of one workload in one blob store.
    pub blob_total_bytes: u64,
    /// Bytes of the text of one SQL statement.
    pub sql_statement_bytes: u32,
    /// Bytes of the parameters of one SQL statement.
    pub sql_parameter_bytes: u64,
    /// Running time of one SQL statement.
    pub sql_time: Duration,
    /// Rows in the answer to one SQL statement.
    pub sql_rows: u64,
    /// Bytes of the rows in the answer to one SQL statement.
    pub sql_result_bytes: u64,
    /// Bytes of one database, where it is a file of ours.
    pub sql_total_bytes: u64,
    /// SQL transactions and unread answers that are open at once.
    pub sql_open: u32,
    /// Bytes of one message, its headers included.
    pub message_bytes: u64,
    /// Messages of one subscription that wait for their handler.
    pub message_queue: u32,
    /// Subscriptions that are open at once.
    pub subscriptions: u32,
}

impl Limits {
    /// The defaults of `samara serve`: many tenants in one process.
    pub fn serve() -> Self {
        Self {
            memory_bytes: 128 << 20,
            table_elements: 100_000,
            cpu: Some(Duration::from_secs(1)),
            deadline: Some(Duration::from_secs(30)),
            concurrency: 64,
            queue: 256,
            host_call_bytes: Some(128 << 20),
            host_calls: Some(1_000_000),
            handles: 10_000,
            log_bytes_per_second: Some(64 << 10),
            log_line_bytes: 8 << 10,
            header_bytes: 64 << 10,
            header_fields: 128,
            request_body_bytes: 16 << 20,
            response_body_bytes: None,
            depth: 16,
            kv_key_bytes: 2 << 10,
            kv_value_bytes: 8 << 20,
            kv_total_bytes: 1 << 30,
            blob_name_bytes: 1 << 10,
            blob_object_bytes: 1 << 30,
            blob_total_bytes: 10 << 30,
            sql_statement_bytes: 64 << 10,
            sql_parameter_bytes: 8 << 20,
            sql_time: Duration::from_secs(5),
            sql_rows: 100_000,
            sql_result_bytes: 64 << 20,
            sql_total_bytes: 1 << 30,
            sql_open: 8,
            message_bytes: 1 << 20,
            message_queue: 1024,
            subscriptions: 64,
        }
    }

    /// The defaults of `samara run` and `samara call`: one guest on somebody's own machine.
    pub fn run() -> Self {
        Self {
            memory_bytes: 4 << 30,
            table_elements: 10_000_000,
            cpu: None,
            deadline: None,
            concurrency: 1,
            queue: 0,
            host_call_bytes: None,
            host_calls: None,
            handles: 100_000,
            log_bytes_per_second: None,
            log_line_bytes: u32::MAX,
            ..Self::serve()
        }
    }
}
