//! Text to binary and back, validation, stripping.

use samara_inspect::{
    Module, Strip, strip,
    text::{print, validate, wat_to_wasm},
};

use crate::{COMPONENT, MODULE, wasm};

#[test]
fn what_is_printed_assembles_to_the_same_bytes() {
    for text in [MODULE, COMPONENT] {
        let bytes = wasm(text);
        let printed = print(&bytes).unwrap();
        assert_eq!(wat_to_wasm(&printed, None).unwrap(), bytes, "{printed}");
    }
}

#[test]
fn text_that_does_not_parse_names_its_line() {
    let error = wat_to_wasm("(module\n  (func (result i32) i32.cost 1))", Some("bad.wat".as_ref())).unwrap_err();
    assert!(error.to_string().contains("bad.wat:2:22"), "{error}");
    assert!(error.to_string().contains("i32.cost"), "the line is shown: {error}");
}

#[track_caller]
fn invalid(text: &str, features: Option<&str>, expected: &str) {
    let error = validate(&wasm(text), features).unwrap_err().to_string();
    assert!(error.contains(expected), "`{error}` does not say `{expected}`");
}

#[test]
fn validation_checks_bodies_and_features() {
    for text in [MODULE, COMPONENT] {
        validate(&wasm(text), None).unwrap();
        validate(&wasm(text), Some("all")).unwrap();
    }
    invalid("(module (func (result i32)))", None, "invalid at byte 24 (0x18), in the code section: type mismatch");
    invalid(
        "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0))))",
        Some("mvp"),
        "bulk memory",
    );
    invalid("(module (memory i64 1))", Some("-memory64"), "in the memory section");
    invalid("(module (memory i64 1))", Some("-memory64"), "it needs the feature `memory64`");
    let simd = "(module (func (param v128)))";
    validate(&wasm(simd), None).unwrap();
    invalid(simd, Some("-simd"), "simd");
    invalid(simd, Some("mvp"), "simd");
    validate(&wasm(simd), Some("mvp,simd")).unwrap();
    invalid(COMPONENT, Some("-component-model"), "component");
    let legacy = "(module (func try catch_all end))";
    invalid(legacy, None, "legacy");
    validate(&wasm(legacy), Some("legacy-exceptions,exceptions")).unwrap();
}

#[test]
fn an_unknown_feature_gets_the_nearest_name() {
    invalid("(module)", Some("simmd"), "no WebAssembly feature is called `simmd`; did you mean `simd`?");
    invalid("(module)", Some("-tail-call"), "did you mean `tail-calls`?");
    invalid("(module)", Some("quantum-entanglement"), "known: floats");
}

#[test]
fn stripping_takes_custom_sections_and_nothing_else() {
    let bytes = wasm(MODULE);
    let bare = strip(&bytes, &Strip::All).unwrap();
    assert!(Module::read(&bare).unwrap().custom_sections.is_empty());
    assert!(bare.len() < bytes.len());
    let module = Module::read(&strip(&bytes, &Strip::Named(vec!["prod*".into()])).unwrap()).unwrap();
    assert_eq!(module.custom_sections, ["name"]);
    assert_eq!(strip(&bytes, &Strip::Named(vec!["absent".into()])).unwrap(), bytes, "all else keeps its bytes");
}

#[test]
fn stripping_reaches_modules_inside_components() {
    let text = r#"(component $outer
        (core module $m (func $named) (@custom "deep" "x"))
        (component (core module $m (@custom "deeper" "y"))))"#;
    let bytes = wasm(text);
    assert!(Module::read(&bytes).unwrap().has_custom_section("deeper"));
    let bare = strip(&bytes, &Strip::All).unwrap();
    let module = Module::read(&bare).unwrap();
    assert!(module.custom_sections.is_empty(), "{:?}", module.custom_sections);
    assert_eq!((module.core_modules, module.functions), (2, 1));
    validate(&bare, None).unwrap();
    let component = wasm(COMPONENT);
    let bare = strip(&component, &Strip::All).unwrap();
    assert_eq!(Module::read(&bare).unwrap().exports, Module::read(&component).unwrap().exports);
}
