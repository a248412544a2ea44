//! One attack, written once as the body of a function, as each kind of guest that a host serves.
//!
//! In every kind the body finds a memory of one page, exported or imported, and these functions: `$host` makes a cheap
//! host call, `$random` asks for as many random bytes as its argument says, and in components `$handle` makes a handle
//! of the host's and forgets it, `$own-handle` one of the guest's own. In components the host's answers and strings arrive through `realloc`.

/// The kinds of guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A core module whose export is called.
    Function,
    /// A preview 1 command, by CGI.
    Command,
    /// A component whose export is called.
    Component,
    /// A `wasi:http` 0.2 proxy.
    Http2,
    /// A `wasi:http` 0.3 service.
    Http3,
}

use Kind::{Command, Component, Function, Http2, Http3};

/// Every kind.
pub(super) const ALL: &[Kind] = &[Function, Command, Component, Http2, Http3];
/// Those of the component model.
pub(super) const COMPONENTS: &[Kind] = &[Component, Http2, Http3];
/// Those of preview 1.
pub(super) const MODULES: &[Kind] = &[Function, Command];

/// What a hostile guest does, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Code {
    /// More fields of the module.
    pub(super) fields: &'static str,
    /// What runs when the guest is called.
    pub(super) body: &'static str,
    /// What runs while it is instantiated.
    pub(super) start: &'static str,
    /// What a core module does when it is initialized.
    pub(super) init: &'static str,
    /// What a component does when the host asks for memory: its result is the place.
    pub(super) realloc: &'static str,
    /// What a component does after its result was read.
    pub(super) post: &'static str,
}

/// A guest that does nothing of its own.
pub(super) const HARMLESS: Code =
    Code { fields: "", body: "", start: "", init: "", realloc: "(i32.const 1024)", post: "" };

impl Code {
    /// The text of the guest.
    pub(super) fn text(&self, kind: Kind) -> String {
        match kind {
            Function => self.module("attack"),
            Command => self.module("_start"),
            Component => self.component(
                "(func (export \"attack\") (param i32 i32) (result i32) (call $attack) (i32.const 7))",
                r#"(func (export "attack") (param "text" string) (result u32)
                     (canon lift (core func $main "attack") (memory $lib "memory") (realloc (func $lib "realloc"))
                       (post-return (func $main "post"))))"#,
            ),
            Http2 => self.component(
                "(func (export \"attack\") (param i32 i32) (call $attack))",
                r#"(import "wasi:http/types@0.2.0" (instance $http
                     (export "incoming-request" (type (sub resource)))
                     (export "response-outparam" (type (sub resource)))))
                   (alias export $http "incoming-request" (type $request))
                   (alias export $http "response-outparam" (type $out))
                   (func $handle (param "request" (own $request)) (param "response-out" (own $out))
                     (canon lift (core func $main "attack")))
                   (instance $handler (export "handle" (func $handle)))
                   (export "wasi:http/incoming-handler@0.2.0" (instance $handler))"#,
            ),
            Http3 => self.component(
                "(func (export \"attack\") (param i32) (result i32) (call $attack) unreachable)",
                &format!(
                    r#"(import "wasi:http/types@0.3.0" (instance $http
                         (export "request" (type (sub resource)))
                         (export "response" (type (sub resource)))
                         {ERROR_CODE}))
                       (alias export $http "request" (type $request))
                       (alias export $http "response" (type $response))
                       (alias export $http "error-code" (type $error))
                       (func $handle async (param "request" (own $request)) (result (result (own $response) (error $error)))
                         (canon lift (core func $main "attack") (memory $lib "memory") (realloc (func $lib "realloc"))))
                       (instance $handler (export "handle" (func $handle)))
                       (export "wasi:http/handler@0.3.0" (instance $handler))"#
                ),
            ),
        }
    }

    fn start(&self) -> String {
        if self.start.is_empty() { String::new() } else { format!("(func $start {}) (start $start)", self.start) }
    }

    fn module(&self, export: &str) -> String {
        let Self { fields, body, init, .. } = self;
        let start = self.start();
        let init = if init.is_empty() { String::new() } else { format!("(func (export \"_initialize\") {init})") };
        format!(
            r#"(module
              (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
              (import "wasi_snapshot_preview1" "random_get" (func $get-random (param i32 i32) (result i32)))
              (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
              (memory $memory (export "memory") 1)
              {fields} {start} {init}
              (func $host (drop (call $clock (i32.const 1) (i64.const 1) (i32.const 8))))
              (func $random (param i32) (if (call $get-random (i32.const 0) (local.get 0)) (then unreachable)))
              (func (export "{export}") {body}))"#
        )
    }

    /// The memory and `realloc` are a module of their own: the host's functions need them before there is a main module.
    fn component(&self, entry: &str, exported: &str) -> String {
        let Self { fields, body, realloc, post, .. } = self;
        let start = self.start();
        format!(
            r#"(component
              (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
              (alias export $poll "pollable" (type $pollable))
              (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
                (alias outer 1 $pollable (type $pollable))
                (export "now" (func (result u64)))
                (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
              (import "wasi:random/random@0.2.0" (instance $random
                (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
              (core func $now (canon lower (func $clock "now")))
              (type $own (resource (rep i32)))
              (core func $own-handle (canon resource.new $own))
              (core module $lib
                (import "host" "now" (func $now (result i64)))
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) {realloc}))
              (core instance $lib (instantiate $lib (with "host" (instance (export "now" (func $now))))))
              (core func $subscribe (canon lower (func $clock "subscribe-duration")))
              (core func $get-random
                (canon lower (func $random "get-random-bytes") (memory $lib "memory") (realloc (func $lib "realloc"))))
              (core module $main
                (import "lib" "memory" (memory $memory 1))
                (import "host" "now" (func $now (result i64)))
                (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
                (import "host" "random" (func $get-random (param i64 i32)))
                (import "host" "own" (func $new (param i32) (result i32)))
                {fields} {start}
                (func $host (drop (call $now)))
                (func $handle (drop (call $subscribe (i64.const 1000000000))))
                (func $own-handle (drop (call $new (i32.const 7))))
                (func $random (param i32) (call $get-random (i64.extend_i32_u (local.get 0)) (i32.const 16)))
                (func $attack {body})
                (func (export "post") (param i32) {post})
                {entry})
              (core instance $main (instantiate $main
                (with "lib" (instance $lib))
                (with "host" (instance
                  (export "now" (func $now))
                  (export "subscribe" (func $subscribe))
                  (export "random" (func $get-random))
                  (export "own" (func $own-handle))))))
              {exported})"#
        )
    }
}

/// The errors of `wasi:http` 0.3: a handler's type names them all.
const ERROR_CODE: &str = r#"
    (type $dns (record (field "rcode" (option string)) (field "info-code" (option u16))))
    (export "DNS-error-payload" (type $dns-error (eq $dns)))
    (type $tls (record (field "alert-id" (option u8)) (field "alert-message" (option string))))
    (export "TLS-alert-received-payload" (type $tls-alert (eq $tls)))
    (type $size (record (field "field-name" (option string)) (field "field-size" (option u32))))
    (export "field-size-payload" (type $field-size (eq $size)))
    (type $code (variant
      (case "DNS-timeout") (case "DNS-error" $dns-error) (case "destination-not-found")
      (case "destination-unavailable") (case "destination-IP-prohibited") (case "destination-IP-unroutable")
      (case "connection-refused") (case "connection-terminated") (case "connection-timeout")
      (case "connection-read-timeout") (case "connection-write-timeout") (case "connection-limit-reached")
      (case "TLS-protocol-error") (case "TLS-certificate-error") (case "TLS-alert-received" $tls-alert)
      (case "HTTP-request-denied") (case "HTTP-request-length-required")
      (case "HTTP-request-body-size" (option u64)) (case "HTTP-request-method-invalid")
      (case "HTTP-request-URI-invalid") (case "HTTP-request-URI-too-long")
      (case "HTTP-request-header-section-size" (option u32)) (case "HTTP-request-header-size" (option $field-size))
      (case "HTTP-request-trailer-section-size" (option u32)) (case "HTTP-request-trailer-size" $field-size)
      (case "HTTP-response-incomplete") (case "HTTP-response-header-section-size" (option u32))
      (case "HTTP-response-header-size" $field-size) (case "HTTP-response-body-size" (option u64))
      (case "HTTP-response-trailer-section-size" (option u32)) (case "HTTP-response-trailer-size" $field-size)
      (case "HTTP-response-transfer-coding" (option string)) (case "HTTP-response-content-coding" (option string))
      (case "HTTP-response-timeout") (case "HTTP-upgrade-failed") (case "HTTP-protocol-error")
      (case "loop-detected") (case "configuration-error") (case "internal-error" (option string))))
    (export "error-code" (type (eq $code)))"#;
