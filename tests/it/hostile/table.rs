//! The table of attacks that a guest's own code makes: name, kinds, code, limits, and the verdict.

use super::shapes::{ALL, COMPONENTS, Code, HARMLESS, Kind, MODULES};

/// One attack, for every kind of guest that has the shape for it.
#[derive(Debug)]
pub(super) struct Attack {
    /// Its name, which is part of a path and of a file's name.
    pub(super) name: &'static str,
    pub(super) kinds: &'static [Kind],
    pub(super) code: Code,
    /// Limits other than [`LIMITS`], as a manifest writes them.
    pub(super) limits: &'static str,
    pub(super) verdict: Verdict,
}

/// What the client is told and what the operator is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) status: u16,
    /// Part of the answer's body.
    pub(super) says: &'static str,
    /// Part of the line in the log that names the workload, so that no guest passes by failing in another way.
    pub(super) logs: &'static str,
}

impl Verdict {
    /// The guest's own fault.
    pub(super) const fn failed(logs: &'static str) -> Self {
        Self { status: 502, says: "the application failed", logs }
    }
}

pub(super) const CPU: Verdict =
    Verdict { status: 504, says: "the application ran over its cpu limit", logs: "over its `cpu` limit" };
pub(super) const MEMORY: Verdict =
    Verdict { status: 507, says: "the application ran over its memory limit", logs: "over its `memory` limit" };
pub(super) const HOST_CALLS: Verdict =
    Verdict { status: 507, says: "the application ran over its host_calls limit", logs: "over its `host_calls` limit" };

/// Small, so that each row takes well under a second; but for the deadline, which is to be nobody's verdict here: loops are
/// long calls, and a machine that builds and tests at once gives those little time.
pub(super) const LIMITS: &str =
    r#"cpu = "50ms", deadline = "30s", memory = "8MiB", handles = 1000, tables = 100000, host_calls = 100000000"#;

/// For ever.
const LOOP: &str = "(loop $again (br $again))";

/// Each row starts from a guest that does nothing.
pub(super) const TABLE: &[Attack] = &[
    Attack { name: "loop-in-start", kinds: ALL, code: Code { start: LOOP, ..HARMLESS }, limits: "", verdict: CPU },
    Attack {
        name: "loop-in-init",
        kinds: &[Kind::Function],
        code: Code { init: LOOP, ..HARMLESS },
        limits: "",
        verdict: CPU,
    },
    Attack { name: "loop-in-handler", kinds: ALL, code: Code { body: LOOP, ..HARMLESS }, limits: "", verdict: CPU },
    Attack {
        name: "loop-in-realloc",
        kinds: COMPONENTS,
        code: Code {
            body: "(call $random (i32.const 1))",
            realloc: "(loop $again (br $again)) (i32.const 0)",
            ..HARMLESS
        },
        limits: "",
        verdict: CPU,
    },
    Attack {
        name: "realloc-out-of-bounds",
        kinds: COMPONENTS,
        code: Code { body: "(call $random (i32.const 64))", realloc: "(i32.const 0xfffffff0)", ..HARMLESS },
        limits: "",
        verdict: Verdict::failed("beyond end of memory"),
    },
    Attack {
        name: "trap-in-realloc",
        kinds: COMPONENTS,
        code: Code { body: "(call $random (i32.const 64))", realloc: "unreachable", ..HARMLESS },
        limits: "",
        verdict: Verdict::failed("`unreachable`"),
    },
    Attack {
        name: "loop-in-post-return",
        kinds: &[Kind::Component],
        code: Code { post: LOOP, ..HARMLESS },
        limits: "",
        verdict: CPU,
    },
    Attack {
        name: "trap-in-post-return",
        kinds: &[Kind::Component],
        code: Code { post: "unreachable", ..HARMLESS },
        limits: "",
        verdict: Verdict::failed("`unreachable`"),
    },
    Attack {
        name: "loop-around-a-host-call",
        kinds: ALL,
        code: Code { body: "(loop $again (call $host) (br $again))", ..HARMLESS },
        limits: "",
        verdict: CPU,
    },
    Attack {
        name: "ten-million-host-calls",
        kinds: ALL,
        code: Code {
            fields: "(global $left (mut i32) (i32.const 10000000))",
            body: "(loop $again (call $host) (global.set $left (i32.sub (global.get $left) (i32.const 1)))
                     (br_if $again (global.get $left)))",
            ..HARMLESS
        },
        limits: r#"host_calls = 2000, cpu = "2s""#,
        verdict: HOST_CALLS,
    },
    Attack {
        name: "bulk-memory-without-end",
        kinds: ALL,
        code: Code {
            body: "(drop (memory.grow (i32.const 64)))
                   (loop $again (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x400000)) (br $again))",
            ..HARMLESS
        },
        limits: "",
        verdict: CPU,
    },
    Attack {
        name: "grow-to-the-end",
        kinds: ALL,
        code: Code {
            body: "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable",
            ..HARMLESS
        },
        limits: "",
        verdict: MEMORY,
    },
    Attack {
        name: "grow-at-once",
        kinds: ALL,
        code: Code { body: "(drop (memory.grow (i32.const 65535))) unreachable", ..HARMLESS },
        limits: "",
        verdict: MEMORY,
    },
    Attack {
        name: "many-memories",
        kinds: ALL,
        code: Code {
            fields: "(memory $a 16) (memory $b 16) (memory $c 16) (memory $d 16) (memory $e 16) (memory $f 16)",
            body: "(drop (memory.grow $a (i32.const 16))) (drop (memory.grow $b (i32.const 16))) unreachable",
            ..HARMLESS
        },
        limits: "",
        verdict: MEMORY,
    },
    Attack {
        name: "many-tables",
        kinds: ALL,
        code: Code {
            fields: "(table $a 40000 funcref) (table $b 40000 funcref)",
            body: "(if (i32.ne (table.grow $a (ref.null func) (i32.const 40000)) (i32.const -1)) (then (return)))
                   unreachable",
            ..HARMLESS
        },
        limits: "",
        verdict: Verdict::failed("`unreachable`"),
    },
    Attack {
        name: "table-grow",
        kinds: ALL,
        code: Code {
            fields: "(table $table 1 funcref)",
            body:
                "(if (i32.ne (table.grow $table (ref.null func) (i32.const 0x80000000)) (i32.const -1)) (then (return)))
                   unreachable",
            ..HARMLESS
        },
        limits: "",
        verdict: Verdict::failed("`unreachable`"),
    },
    Attack {
        name: "deep-recursion",
        kinds: ALL,
        code: Code {
            fields: "(func $deep (param i32) (result i32)
                       (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))",
            body: "(drop (call $deep (i32.const 0)))",
            ..HARMLESS
        },
        limits: r#"cpu = "1s""#,
        verdict: Verdict::failed("the recursion is too deep"),
    },
    Attack {
        name: "deep-recursion-across-host-calls",
        kinds: ALL,
        code: Code {
            fields: "(func $deep (param i32) (result i32) (call $host)
                       (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))",
            body: "(drop (call $deep (i32.const 0)))",
            ..HARMLESS
        },
        limits: r#"cpu = "2s""#,
        verdict: Verdict::failed("the recursion is too deep"),
    },
    Attack {
        name: "trap-in-start",
        kinds: ALL,
        code: Code { start: "unreachable", ..HARMLESS },
        limits: "",
        verdict: Verdict::failed("`unreachable`"),
    },
    Attack {
        name: "data-at-four-gigabytes",
        kinds: ALL,
        code: Code { fields: "(data (memory $memory) (i32.const 0xfffffff0) \"0123456789abcdef\")", ..HARMLESS },
        limits: "",
        verdict: Verdict::failed("out of bounds memory access"),
    },
    Attack {
        name: "four-gigabytes-of-random-numbers",
        kinds: ALL,
        code: Code { body: "(call $random (i32.const 0xffffffff))", ..HARMLESS },
        limits: "",
        verdict: Verdict::failed("exceeds limit"),
    },
    Attack {
        name: "four-gigabytes-of-iovecs",
        kinds: MODULES,
        code: Code {
            body: "(if (call $write (i32.const 2) (i32.const 0) (i32.const -1) (i32.const 8)) (then unreachable))",
            ..HARMLESS
        },
        limits: "",
        verdict: Verdict::failed("`unreachable`"),
    },
    Attack {
        name: "forgotten-handles",
        kinds: COMPONENTS,
        code: Code { body: "(loop $again (call $handle) (br $again))", ..HARMLESS },
        limits: r#"cpu = "1s""#,
        verdict: Verdict::failed("resource table has no free keys"),
    },
    Attack {
        name: "forgotten-handles-of-its-own",
        kinds: COMPONENTS,
        // Over the workload's limit and far below the engine's own, so that it is ours that stops it.
        code: Code {
            fields: "(global $left (mut i32) (i32.const 5000))",
            body: "(loop $again (call $own-handle) (global.set $left (i32.sub (global.get $left) (i32.const 1)))
                     (br_if $again (global.get $left)))",
            ..HARMLESS
        },
        limits: r#"cpu = "1s""#,
        verdict: Verdict::failed("store handle limit exceeded"),
    },
    Attack {
        name: "host-call-in-realloc",
        kinds: COMPONENTS,
        code: Code {
            body: "(call $random (i32.const 64))",
            realloc: "(drop (call $now)) (i32.const 1024)",
            ..HARMLESS
        },
        limits: "",
        verdict: Verdict::failed("cannot leave component instance"),
    },
    Attack {
        name: "host-calls-in-start",
        kinds: ALL,
        code: Code { start: "(loop $again (call $host) (br $again))", ..HARMLESS },
        limits: "",
        verdict: CPU,
    },
];
