//! What `Module::read` says about good modules.

use samara_inspect::{Encoding, Item, Module, ValueType, is_text, read_any};

use crate::{COMPONENT, MODULE, wasm};

fn read(text: &str) -> Module {
    Module::read(&wasm(text)).unwrap()
}

#[test]
fn a_core_module_gives_its_imports_exports_and_sizes() {
    let module = read(MODULE);
    assert_eq!(module.encoding, Encoding::Core);
    assert!(module.imports_from("wasi_snapshot_preview1") && !module.imports_from("env"));
    let write = module.imports_function("wasi_snapshot_preview1", "fd_write").unwrap();
    assert_eq!(write.to_string(), "(i32, i32, i32, i32) -> i32");
    assert!(module.exports_memory());
    assert!(module.exports_function("_start").unwrap().is(&[], &[]));
    assert_eq!(module.exports_function("swap").unwrap().to_string(), "(i32, f64) -> (f64, i32)");
    assert_eq!(module.exports_function("memory"), None);
    assert!(matches!(&module.exports[1].item, Item::Global(global) if global.value == ValueType::I64));
    assert_eq!((module.memories[0].min_bytes(), module.memories[0].max_pages), (131_072, Some(16)));
    assert_eq!((module.tables[0].min_elements, module.tables[0].max_elements), (3, Some(10)));
    assert_eq!((module.globals, module.functions, module.start), (2, 3, Some(2)));
    assert_eq!((module.data_bytes, module.data_segments), (17, 2));
    assert_eq!(module.footprint.core_instances, 1);
    assert_eq!(module.footprint.max_memory_min_bytes, 131_072);
    assert_eq!(module.sha256.len(), 64);
    assert_eq!((module.compile.functions, module.compile.max_locals, module.compile.max_branches), (3, 2, 1));
    assert!(module.has_custom_section("producers") && module.has_custom_section("name"));
}

#[test]
fn sections_cover_the_file_but_for_their_headers() {
    for text in [MODULE, COMPONENT] {
        let bytes = wasm(text);
        let module = Module::read(&bytes).unwrap();
        let mut end = 8;
        for section in &module.sections {
            let header = section.offset_bytes - end;
            assert!((2..=6).contains(&header), "{section:?} starts {header} bytes after the one before");
            end = section.offset_bytes + section.size_bytes;
        }
        assert_eq!(end, bytes.len() as u64);
    }
}

#[test]
fn a_component_gives_interfaces_with_versions_and_functions_as_wit() {
    let module = read(COMPONENT);
    assert_eq!(module.encoding, Encoding::Component);
    assert_eq!(module.imports_interface("wasi:http/types"), Some("0.2.9"));
    assert_eq!(module.imports_interface("wasi:http/type"), None);
    assert_eq!(module.exports_interface("demo:calc/ops"), Some("1.0.0"));
    assert!(!module.imports_from("wasi:http/types@0.2.9"), "a component has no core imports");
    let add = module.exports_wit_function("add").unwrap();
    assert_eq!(add.signature, "func(a: u32, b: u32) -> u32");
    let Item::Interface(functions) = &module.imports[0].item else { panic!("{:?}", module.imports) };
    assert_eq!(functions[0].name, "[method]fields.get");
    assert_eq!(functions[0].signature, "func(self: borrow<fields>, name: string) -> list<u8>");
}

#[test]
fn the_footprint_counts_every_instantiation_of_a_module() {
    let footprint = read(COMPONENT).footprint;
    assert_eq!((footprint.core_instances, footprint.memories, footprint.tables), (3, 3, 3));
    assert_eq!((footprint.max_memory_min_bytes, footprint.memory_min_bytes), (17 << 16, 3 * (17 << 16)));
    assert_eq!((footprint.max_table_min_elements, footprint.table_min_elements), (5, 15));
}

#[test]
fn a_footprint_that_doubles_at_every_level_does_not_overflow() {
    let mut text = "(core module $m (memory 1)) (core instance (instantiate $m))".to_owned();
    for level in 0..60 {
        text = format!(
            "(component $c{level} {text}) (instance (instantiate $c{level})) (instance (instantiate $c{level}))"
        );
    }
    let footprint = read(&format!("(component {text})")).footprint;
    assert_eq!(footprint.core_instances, 1 << 60);
}

#[track_caller]
fn uses(text: &str, expected: &[&str]) {
    let features: Vec<_> = read(text).features.names().collect();
    assert_eq!(features, expected, "{text}");
}

#[test]
fn features_are_those_the_module_uses() {
    uses("(module (func (param i32) (result i32) local.get 0))", &[]);
    uses("(module (memory i64 1))", &["memory64"]);
    uses("(module (memory 1) (memory 1))", &["multi-memory"]);
    uses("(module (memory 1 1 shared))", &["threads"]);
    uses("(module (memory 1 (pagesize 1)))", &["custom-page-sizes"]);
    uses("(module (func (result i32) i32.const 1 i32.extend8_s))", &["sign-extension"]);
    uses("(module (func (drop (i32.trunc_sat_f32_s (f32.const 1)))))", &["saturating-float-to-int"]);
    uses("(module (func (result i32 i32) i32.const 1 i32.const 2))", &["multi-value"]);
    uses("(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0))))", &["bulk-memory"]);
    uses("(module (table 1 externref))", &["reference-types"]);
    uses("(module (func (param v128)))", &["simd"]);
    uses(
        "(module (func (drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0)))))",
        &["simd", "relaxed-simd"],
    );
    uses("(module (func $f (return_call $f)))", &["tail-calls"]);
    uses("(module (tag (param i32)))", &["exceptions"]);
    uses("(module (func try catch_all end))", &["legacy-exceptions"]);
    uses("(module (type (struct (field i32))))", &["gc"]);
    uses(
        "(module (type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0))))",
        &["reference-types", "function-references"],
    );
    uses("(module (import \"a\" \"b\" (global (mut i32))))", &["mutable-global"]);
    uses("(module (global i32 (i32.add (i32.const 1) (i32.const 2))))", &["extended-const"]);
    uses("(module (func (result i32) (i32.add (i32.const 1) (i32.const 2))))", &[]);
    uses("(component)", &["component-model"]);
    uses("(component (type (stream u8)))", &["component-model", "component-model-async"]);
}

#[test]
fn text_is_told_from_a_binary_and_assembled() {
    assert!(is_text(b"(module)") && is_text(b" \n;; hello\n(; a ;) (module)") && is_text(b"\xef\xbb\xbf(component)"));
    assert!(!is_text(b"\0asm\x01\0\0\0") && !is_text(b"") && !is_text(b"hello"));
    assert!(Module::read(&read_any(b"(module)", None).unwrap()).is_ok());
    let error = read_any(b"(module\n  (func i32.bad))", Some("x.wat".as_ref())).unwrap_err().to_string();
    assert!(error.contains("x.wat:2:9"), "{error}");
}

#[test]
fn a_compile_bomb_is_recognised_without_compiling() {
    let branches =
        "(if (local.get 0) (then (local.set 1 (i64.const 1))) (else (local.set 2 (i64.const 2))))".repeat(100_000);
    let bomb = read(&format!("(module (func (param i32) (local {}) {branches}))", "i64 ".repeat(200)));
    assert_eq!((bomb.compile.max_branches, bomb.compile.max_locals), (100_000, 200));
    assert!(bomb.compile.estimated_cpu.as_secs() > 5, "{:?}", bomb.compile);
    assert!(bomb.compile.cost().starts_with("extreme"), "{}", bomb.compile.cost());
    let calls = read(&format!("(module (func $f) (func {}))", "call $f ".repeat(1_000_000)));
    assert_eq!(calls.compile.max_calls, 1_000_000);
    assert!(calls.compile.estimated_memory_bytes > 1 << 30, "{:?}", calls.compile);
    assert!(read(MODULE).compile.cost().starts_with("light"));
}

#[test]
fn of_several_exported_versions_the_newest_counts() {
    let export = |version: &str| {
        format!(
            "(instance $i{} (export \"f\" (func $f))) (export \"wasi:cli/run@{version}\" (instance $i{}))",
            version.replace('.', ""),
            version.replace('.', "")
        )
    };
    let component = |versions: [&str; 2]| {
        let exports = versions.map(export).concat();
        wasm(&format!(
            "(component (core module $m (func (export \"f\"))) (core instance $c (instantiate $m)) (func $f (canon lift (core func $c \"f\"))) {exports})"
        ))
    };
    for (versions, expected) in
        [(["0.2.0", "0.3.0"], "0.3.0"), (["0.3.0", "0.2.0"], "0.3.0"), (["0.2.10", "0.2.9"], "0.2.10")]
    {
        let module = Module::read(&component(versions)).unwrap();
        assert_eq!(module.exports_interface("wasi:cli/run"), Some(expected), "{versions:?}");
    }
}

/// The host keeps facts beside the code: what comes back must be what was read.
#[test]
fn facts_come_back_from_json_as_they_were() {
    let guests = |kind: &str, name: &str| {
        let path = format!("{}/../../guests/{kind}/{name}/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
        (name.to_owned(), std::fs::read(path).unwrap())
    };
    for (name, bytes) in [
        ("module".to_owned(), wasm(MODULE)),
        ("component".to_owned(), wasm(COMPONENT)),
        guests("wasi_http", "wstd-hello"),
        guests("wasi_http", "http-p3"),
        guests("wasi_cli", "cli-p1"),
        guests("function", "shapes"),
    ] {
        let module = Module::read(&bytes).unwrap();
        let json = serde_json::to_vec(&module).unwrap();
        let back: Module = serde_json::from_slice(&json).unwrap();
        assert_eq!(format!("{back:?}"), format!("{module:?}"), "{name}");
    }
}
