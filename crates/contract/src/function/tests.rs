//! Plain functions: every value type in and out, and every way to get the arguments wrong.

use samara_model::{Encoding, Shape};

use crate::testing::{function, load};

const NUMBERS: &str = r#"(module
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "wide") (param i64) (result i64) (local.get 0))
  (func (export "half") (param f32) (result f32) (f32.mul (local.get 0) (f32.const 0.5)))
  (func (export "both") (param f64) (result f64 i32) (local.get 0) (i32.const 7))
  (func (export "none"))
  (func (export "take-ref") (param externref))
  (func (export "loop") (loop (br 0)))
  (global $count (mut i32) (i32.const 0))
  (func (export "_initialize") (global.set $count (i32.const 40)))
  (func (export "count") (result i32) (global.set $count (i32.add (global.get $count) (i32.const 1))) (global.get $count)))"#;

async fn check(guest: &str, encoding: Encoding, cases: &[(&str, &str, &str)]) {
    let workload = load(guest, Shape::Function, |_| {}).await;
    for (name, payload, expected) in cases {
        let answer = function(&workload, name, payload, encoding).await;
        assert!(answer == *expected || (expected.ends_with('…') && answer.starts_with(expected.trim_end_matches('…'))), "{name}({payload}): {answer}");
    }
}

#[tokio::test]
async fn numbers_go_in_and_out_as_json() {
    check(
        NUMBERS,
        Encoding::Json,
        &[
            ("add", "[1,2]", "3"),
            ("add", "[4294967295, 1]", "0"),
            ("add", "[\"0x10\", -1]", "15"),
            ("wide", "[9223372036854775807]", "9223372036854775807"),
            ("wide", "[\"18446744073709551615\"]", "-1"),
            ("half", "[0.2]", "0.1"),
            ("half", "[\"inf\"]", "\"inf\""),
            ("both", "[1.5]", "[1.5,7]"),
            ("none", "", "null"),
            ("count", "[]", "41"),
        ],
    )
    .await;
}

#[tokio::test]
async fn wrong_arguments_are_the_callers_fault_and_show_the_signature() {
    check(
        NUMBERS,
        Encoding::Json,
        &[
            ("add", "[1]", "400: 1 arguments for 2 parameters; the function is `add(i32, i32) -> i32`"),
            ("add", "[1, 4294967296]", "400: `4294967296` is not a value of type i32; the function is…"),
            ("add", "[1, 2.5]", "400: `2.5` is not a value of type i32…"),
            ("add", "[1, null]", "400: `null` is not a number…"),
            ("add", "{\"a\":1}", "400: the parameters of a core function have no names…"),
            ("add", "17", "400: the body must be a JSON array…"),
            ("add", "[1,", "400: the body is not JSON…"),
            ("sub", "[]", "404: there is no function `sub`; this module has: add(i32, i32) -> i32, both…"),
            ("take-ref", "[1]", "400: a value of type externref cannot be given from outside…"),
        ],
    )
    .await;
}

#[tokio::test]
async fn text_is_read_as_the_parameters_type() {
    check(
        NUMBERS,
        Encoding::Text,
        &[("add", r#"[["a","1"],["b","2"]]"#, "3"), ("half", r#"[["","1e3"]]"#, "500.0"), ("add", r#"[["","x"],["","2"]]"#, "400: `x` is not a value of type i32…")],
    )
    .await;
    check(NUMBERS, Encoding::Wave, &[("both", r#"[["","1.5"]]"#, "(1.5, 7)"), ("none", "[]", "")]).await;
}

#[tokio::test]
async fn real_toolchains_export_plain_functions() {
    for (guest, name, payload, expected) in [
        ("function/add", "add", "[20, 22]", "42"),
        ("function/as-math", "add", "[20, 22]", "42"),
        ("function/c-math", "add", "[20, 22]", "42"),
    ] {
        let workload = load(guest, Shape::Function, |_| {}).await;
        assert_eq!(function(&workload, name, payload, Encoding::Json).await, expected, "{guest}");
    }
}

#[tokio::test]
async fn component_values_of_every_type_go_both_ways_as_json() {
    check(
        "function/shapes",
        Encoding::Json,
        &[
            ("greet", r#"["bob"]"#, r#""Hello, bob!""#),
            ("greet", r#"{"name":"bob"}"#, r#""Hello, bob!""#),
            ("move", r#"[{"x":1,"y":2}, 5]"#, r#"{"x":6,"y":2}"#),
            ("divide", "[1, 4]", r#"{"ok":0.25}"#),
            ("divide", "[1, 0]", r#"{"err":…"#),
            ("sum", "[[1,2,3]]", "6"),
            ("first", r#"[["a","b"]]"#, r#""a""#),
            ("first", "[[]]", "null"),
            ("area", r#"[{"rectangle":[2,3]}]"#, "6.0"),
            ("area", r#"["empty"]"#, "0.0"),
            ("invert", r#"[["read"]]"#, r#"["write","execute"]"#),
            ("negate", "[true]", "false"),
            ("next-char", r#"["a"]"#, r#""b""#),
            ("half", "[0.2]", "0.1"),
        ],
    )
    .await;
}

#[tokio::test]
async fn component_values_go_both_ways_as_wave() {
    check(
        "function/shapes",
        Encoding::Wave,
        &[
            ("greet", r#"[["","bob"]]"#, r#""Hello, bob!""#),
            ("greet", r#"[["","\"bob\""]]"#, r#""Hello, bob!""#),
            ("move", r#"[["","{x: 1, y: 2}"],["","5"]]"#, "{x: 6, y: 2}"),
            ("divide", r#"[["a","1"],["b","4"]]"#, "ok(0.25)"),
            ("area", r#"[["","circle(0)"]]"#, "0"),
            ("invert", r#"[["","{read}"]]"#, "{write, execute}"),
            ("next-char", r#"[["","a"]]"#, "some('b')"),
        ],
    )
    .await;
}

#[tokio::test]
async fn wrong_component_arguments_show_the_signature() {
    check(
        "function/shapes",
        Encoding::Json,
        &[
            ("greet", "[1]", "400: `1` is not a value of type string; the function is `greet(name: string) -> string`"),
            ("greet", r#"{"nam":"x"}"#, "400: no argument `name`; the function is…"),
            ("move", r#"[{"x":1}, 5]"#, "400: the field `y` is missing in record { x: s32, y: s32 }; the function is…"),
            ("move", r#"[{"x":1,"y":2,"z":3}, 5]"#, "400: there is no field `z` in record…"),
            ("area", r#"[{"square":2}]"#, "400: `{\"square\":2}` is not a value of type variant…"),
            ("no-such", "[]", "404: there is no function `no-such`…"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_function_that_loops_is_stopped() {
    let workload = load(NUMBERS, Shape::Function, |definition| definition.limits.cpu = Some(std::time::Duration::from_millis(50))).await;
    assert_eq!(function(&workload, "loop", "[]", Encoding::Json).await, "504: the guest is over its `cpu` limit of 50ms");
    assert_eq!(function(&workload, "add", "[1,2]", Encoding::Json).await, "3");
}

#[tokio::test]
async fn a_trap_is_kept_with_the_names_and_lines_of_its_functions() {
    let workload = load("function/lines", Shape::Function, |_| {}).await;
    let told = function(&workload, "fall", "[1]", Encoding::Json).await;
    assert!(told.contains("lines::bottom+0x") && told.contains(" < fall+0x"), "{told}");
    let fault = workload.last_faults().pop().expect("the fault is kept");
    assert_eq!(fault.label, "guest");
    let frames = fault.backtrace.expect("the guest was running").0;
    let told: Vec<_> = frames.iter().map(|frame| (frame.function.as_str(), frame.place.as_ref().unwrap())).collect();
    let names: Vec<_> = told.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["lines::bottom", "lines::stairs", "lines::bottom", "lines::stairs", "fall"]);
    let source = std::fs::read_to_string("../../guests/function/lines/src/lib.rs").unwrap();
    let line = |place: &samara_inspect::Place| source.lines().nth(place.line.unwrap() as usize - 1).unwrap().trim().to_owned();
    // The optimiser gives the trap the line of its condition.
    assert_eq!(line(told[0].1), "if core::hint::black_box(depth) == 0 {");
    assert_eq!(line(told[1].1), "bottom(core::hint::black_box(depth)) + 1");
    assert_eq!(line(told[4].1), "stairs(depth) + 1");
    assert!(told.iter().all(|(_, place)| place.file == "guests/function/lines/src/lib.rs"), "{told:?}");
}

#[tokio::test]
async fn a_guest_over_its_cpu_limit_is_kept_with_where_it_was() {
    let workload = load("function/lines", Shape::Function, |definition| {
        definition.limits.cpu = Some(std::time::Duration::from_millis(20));
    })
    .await;
    function(&workload, "spin", "[0]", Encoding::Json).await;
    let fault = workload.last_faults().pop().expect("the fault is kept");
    assert_eq!(fault.label, "limit");
    let frames = fault.backtrace.expect("the guest was running").0;
    assert_eq!(frames.last().unwrap().function, "spin");
}
