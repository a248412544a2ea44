//! The crate as its users see it: bytes in, facts or an error out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests may fail fast"
)]

mod facts;
mod hostile;
mod needs;
mod report;
mod toolkit;

/// Assembles text, which is how these tests write their guests.
fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// A module with something in every section.
const MODULE: &str = r#"
(module $demo
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))
  (memory (export "memory") 2 16)
  (table 3 10 funcref)
  (global $__stack_pointer (mut i32) (i32.const 65536))
  (global $limit (export "limit") i64 (i64.const 7))
  (func $_start (export "_start") (local i32 i64) (call $helper (i32.const 1)) drop)
  (func $helper (param i32) (result i32) (if (result i32) (local.get 0) (then (i32.const 1)) (else (i32.const 2))))
  (func (export "swap") (param i32 f64) (result f64 i32) (local.get 1) (local.get 0))
  (start $_start)
  (elem (i32.const 0) $helper)
  (data (i32.const 1024) "hello, world")
  (data (i32.const 4096) "again")
  (@custom "producers" (after data) "\01\08language\01\04Rust\041.95")
)"#;

/// A component with an interface, a plain function, two instances of one module and a nested component.
const COMPONENT: &str = r#"
(component
  (import "wasi:http/types@0.2.9" (instance $types
    (export "fields" (type $fields (sub resource)))
    (export "[method]fields.get" (func (param "self" (borrow $fields)) (param "name" string) (result (list u8))))))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance (export "now" (func (result u64)))))
  (core module $m
    (memory (export "mem") 17)
    (table 5 funcref)
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))
  (core instance $a (instantiate $m))
  (core instance $b (instantiate $m))
  (func $add (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $a "add")))
  (export "add" (func $add))
  (component $inner
    (alias outer 1 $m (core module $m))
    (core instance (instantiate $m)))
  (instance $i (instantiate $inner))
  (instance $calc (export "sum" (func $add)))
  (export "demo:calc/ops@1.0.0" (instance $calc))
)"#;
