//! The limits a manifest sets, and the ceilings a host file sets over them.
//!
//! One table below names every limit once; the struct, its reading, applying and comparing follow from it. What a limit
//! means and its default: [`Limits`].

use std::time::Duration;

use super::{Position, reader::Reader};
use crate::{Limits, UnitError, format_bytes, format_duration, parse_bytes, parse_duration, parse_rate};

/// A limit that a workload asks for and its tenant may not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitOver {
    /// The limit's key.
    pub key: &'static str,
    /// What was asked for, as a manifest writes it.
    pub asked: String,
    /// The most there is, as a manifest writes it.
    pub ceiling: String,
    /// Where it was asked for; `None` outside of a file.
    pub position: Option<Position>,
}

/// How the numbers of one kind are read and written.
struct Unit<T> {
    read: fn(&str) -> Result<T, UnitError>,
    write: fn(T) -> String,
}

const BYTES: Unit<u64> = Unit { read: parse_bytes, write: format_bytes };
const TIME: Unit<Duration> = Unit { read: parse_duration, write: format_duration };
const RATE: Unit<u64> = Unit { read: parse_rate, write: |bytes| format!("{}/s", format_bytes(bytes)) };

/// A field of [`Limits`], bounded or perhaps not.
trait LowerTo<T> {
    fn lower_to(&mut self, ceiling: T);
}

impl<T: Ord> LowerTo<T> for T {
    fn lower_to(&mut self, ceiling: T) {
        if *self > ceiling {
            *self = ceiling;
        }
    }
}

impl<T: Ord> LowerTo<T> for Option<T> {
    fn lower_to(&mut self, ceiling: T) {
        if self.as_ref().is_none_or(|value| *value > ceiling) {
            *self = Some(ceiling);
        }
    }
}

/// Reads one limit in its unit: text with a unit, whole numbers without.
macro_rules! read {
    ($item:ident, count) => {
        $item.number()
    };
    ($item:ident, bytes32) => {
        $item.quantity(|text| {
            let bytes = parse_bytes(text).map_err(|error| error.to_string())?;
            u32::try_from(bytes).map_err(|_| format!("`{text}` is over 4GiB; write a smaller size"))
        })
    };
    ($item:ident, $unit:ident) => {
        $item.quantity($unit.read)
    };
}

/// Writes one limit as a manifest would.
macro_rules! write_out {
    ($value:expr, count) => {
        $value.to_string()
    };
    ($value:expr, bytes32) => {
        format_bytes(u64::from($value))
    };
    ($value:expr, $unit:ident) => {
        ($unit.write)($value)
    };
}

macro_rules! limits {
    ($($(#[$doc:meta])* $field:ident: $kind:ty = $key:literal in $unit:ident,)*) => {
        /// What a manifest, a host file or a command line says about limits; `None` says nothing.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct LimitOverrides {
            $(#[doc = concat!("`", $key, "`: [`Limits::", stringify!($field), "`].")] pub $field: Option<$kind>,)*
            /// Where the keys were written, for messages; empty outside of a file.
            pub positions: Vec<(&'static str, Position)>,
        }

        impl LimitOverrides {
            /// Every key of a `limits` table.
            pub const KEYS: &[&str] = &[$($key),*];

            /// The limits of `base`, with what is said here in their place.
            pub fn apply(&self, base: &Limits) -> Limits {
                let mut limits = base.clone();
                $(if let Some(value) = self.$field { limits.$field = value.into(); })*
                limits
            }

            /// Taken as ceilings: lowers every limit that is over, or that is unbounded.
            pub fn clamp(&self, limits: &mut Limits) {
                $(if let Some(ceiling) = self.$field { limits.$field.lower_to(ceiling); })*
            }

            /// What is asked for here and is over a ceiling. Defaults are not asked for: [`Self::clamp`] lowers them.
            pub fn check(&self, ceiling: &Self) -> Vec<LimitOver> {
                let mut over = Vec::new();
                $(if let (Some(asked), Some(most)) = (self.$field, ceiling.$field) && asked > most {
                    over.push(LimitOver {
                        key: $key,
                        asked: write_out!(asked, $unit),
                        ceiling: write_out!(most, $unit),
                        position: self.position($key),
                    });
                })*
                over
            }

            /// Reads a `limits` table to its end.
            pub(super) fn read(mut reader: Reader<'_>) -> Self {
                let mut limits = Self::default();
                $(if let Some(item) = reader.take($key) {
                    limits.$field = read!(item, $unit);
                    limits.positions.push(($key, item.position()));
                })*
                reader.finish();
                limits
            }
        }
    };
}

limits! {
    memory_bytes: u64 = "memory" in BYTES,
    table_elements: u64 = "tables" in count,
    cpu: Duration = "cpu" in TIME,
    deadline: Duration = "deadline" in TIME,
    concurrency: u32 = "concurrency" in count,
    queue: u32 = "queue" in count,
    host_call_bytes: u64 = "host_call_bytes" in BYTES,
    host_calls: u64 = "host_calls" in count,
    handles: u32 = "handles" in count,
    log_bytes_per_second: u64 = "log" in RATE,
    log_line_bytes: u32 = "log_line" in bytes32,
    header_bytes: u32 = "headers" in bytes32,
    header_fields: u32 = "header_fields" in count,
    request_body_bytes: u64 = "request_body" in BYTES,
    response_body_bytes: u64 = "response_body" in BYTES,
    depth: u32 = "depth" in count,
    kv_key_bytes: u32 = "kv_key" in bytes32,
    kv_value_bytes: u64 = "kv_value" in BYTES,
    kv_total_bytes: u64 = "kv_total" in BYTES,
    blob_name_bytes: u32 = "blob_name" in bytes32,
    blob_object_bytes: u64 = "blob_object" in BYTES,
    blob_total_bytes: u64 = "blob_total" in BYTES,
    sql_statement_bytes: u32 = "sql_statement" in bytes32,
    sql_parameter_bytes: u64 = "sql_parameters" in BYTES,
    sql_time: Duration = "sql_time" in TIME,
    sql_rows: u64 = "sql_rows" in count,
    sql_result_bytes: u64 = "sql_result" in BYTES,
    sql_total_bytes: u64 = "sql_total" in BYTES,
    sql_open: u32 = "sql_open" in count,
    message_bytes: u64 = "message" in BYTES,
    message_queue: u32 = "message_queue" in count,
    subscriptions: u32 = "subscriptions" in count,
}

impl LimitOverrides {
    /// Where a key was written.
    pub fn position(&self, key: &str) -> Option<Position> {
        self.positions.iter().find(|(name, _)| *name == key).map(|(_, position)| *position)
    }
}
