//! `samara call`: numbers of core modules, WAVE and JSON of components, and what is said when they do not fit.

use crate::samara;

/// Calls with arguments that may contain spaces.
fn call(guest: &str, operation: &str, args: &[&str]) -> crate::process::Samara {
    args.iter().fold(samara(&format!("call {{{guest}}} {operation}")), |call, arg| call.arg(*arg))
}

#[track_caller]
fn wave(operation: &str, args: &[&str], printed: &str) {
    call("shapes", operation, args).prints(&format!("{printed}\n"));
}

/// By JSON in, an array or an object by name; and JSON out.
#[track_caller]
fn json(operation: &str, data: &str, printed: &str) {
    call("shapes", operation, &["--json", "--data", data]).prints(&format!("{printed}\n"));
}

#[test]
fn exports_of_core_modules_take_and_give_numbers() {
    let check = |guest: &str, operation: &str, args: &[&str], printed: &str| {
        call(guest, operation, args).prints(&format!("{printed}\n"));
    };
    check("add", "add", &["1", "2"], "3");
    check("add", "add", &["2147483647", "1"], "-2147483648");
    check("add", "add", &["-5", "0x10"], "11");
    check("add", "factorial", &["20"], "2432902008176640000");
    check("add", "half", &["3"], "1.5");
    check("add", "hypotenuse", &["3", "4"], "5.0");
    check("as-math", "gcd", &["12", "18"], "6");
    check("as-math", "clamp", &["5", "0", "1.5"], "1.5");
    check("c-math", "power", &["2", "10"], "1024.0");
    check("c-math", "popcount", &["-1"], "64");
    call("add", "nothing", &[]).prints("");
}

#[test]
fn every_sort_of_wit_type_is_written_as_wave() {
    wave("greet", &["you"], r#""Hello, you!""#);
    wave("greet", &[r#""with \"quotes\"""#], r#""Hello, with \"quotes\"!""#);
    wave("shout", &["hi", "2"], r#"["HI", "HI"]"#);
    wave("move", &["{x: 1, y: 2}", "-3"], "{x: -2, y: 2}");
    wave("area", &["rectangle((2.0, 3.5))"], "7");
    wave("area", &["empty"], "0");
    wave("divide", &["1", "4"], "ok(0.25)");
    wave("divide", &["1", "0"], r#"err("division by zero")"#);
    wave("check", &["2"], "ok");
    wave("check", &["3"], r#"err("3 is odd")"#);
    wave("sum", &["[1, 2, 3]"], "6");
    wave("swap", &[r#"("a", -5)"#], r#"(-5, "a")"#);
    wave("first", &[r#"["x"]"#], r#"some("x")"#);
    wave("first", &["[]"], "none");
    wave("next-color", &["red"], "green");
    wave("invert", &["{read}"], "{write, execute}");
    wave("next-char", &["a"], "some('b')");
    wave("negate", &["true"], "false");
    wave("widest", &["255", "65535", "4294967295", "18446744073709551615"], "18446744073709551615");
    wave("smallest", &["-128", "-32768", "-2147483648", "-9223372036854775808"], "-9223372036854775808");
    wave("half", &["3"], "1.5");
    wave("reverse", &["[1, 2, 255]"], "[255, 2, 1]");
    wave(
        "birthday",
        &["{name: \"Ann\", age: 4, home: some({x: 1, y: 2}), likes: [red, blue], may: {read}}"],
        "{name: \"Ann\", age: 5, home: some({x: 1, y: 2}), likes: [red, blue], may: {read}}",
    );
    call("shapes", "nothing", &[]).prints("");
}

#[test]
fn json_goes_in_and_comes_out() {
    json("greet", r#"["you"]"#, r#""Hello, you!""#);
    json("greet", r#"{"name":"you"}"#, r#""Hello, you!""#);
    json("move", r#"{"p":{"x":1,"y":2},"dx":3}"#, r#"{"x":4,"y":2}"#);
    json("area", r#"[{"circle":1}]"#, "3.141592653589793");
    json("area", r#"["empty"]"#, "0.0");
    json("divide", "[1,0]", r#"{"err":"division by zero"}"#);
    json("first", "[[]]", "null");
    json("invert", r#"[["read"]]"#, r#"["write","execute"]"#);
    json("widest", "[1,2,3,18446744073709551615]", "18446744073709551615");
    json(
        "birthday",
        r#"[{"name":"Ann","age":4,"likes":["red"],"may":["write"]}]"#,
        r#"{"name":"Ann","age":5,"home":null,"likes":["red"],"may":["write"]}"#,
    );
    samara("call {add} add --data -").stdin("[1, 2]").prints("3\n");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("arguments.json");
    std::fs::write(&file, "[40, 2]").unwrap();
    samara("call {add} add --data").arg(format!("@{}", file.display())).prints("42\n");
}

#[test]
fn functions_of_an_exported_interface_are_called_by_its_name() {
    for name in ["samara:shapes/named@1.0.0#point-at", "samara:shapes/named#point-at", "point-at"] {
        wave(name, &["1", "2"], "{x: 1, y: 2}");
    }
}

#[test]
fn what_does_not_fit_is_told_with_the_signature() {
    let check =
        |guest: &str, operation: &str, args: &[&str], message: &str| call(guest, operation, args).fails(2, message);
    check("add", "add", &["1"], "1 arguments for 2 parameters; the function is `add(i32, i32) -> i32`");
    check("add", "add", &["1", "x"], "`x` is not a value of type i32; the function is `add(i32, i32) -> i32`");
    check("add", "add", &["1", "4294967296"], "`4294967296` is not a value of type i32");
    check("add", "ad", &["1"], "there is no function `ad`; this module has: add(i32, i32) -> i32,");
    check("shapes", "widest", &["256", "1", "1", "1"], "`256` is not a value of type u8");
    check(
        "shapes",
        "area",
        &["square(1)"],
        "is not a value of type variant { circle(f64), rectangle(tuple<f64, f64>), empty }",
    );
    check(
        "shapes",
        "greet",
        &["--data", r#"{"nam":"you"}"#],
        "no argument `name`; the function is `greet(name: string)",
    );
    check("shapes", "greet", &["--data", "[1"], "not JSON: EOF while parsing a list at line 1 column 2");
    check("shapes", "no-such", &[], "there is no function `no-such`; this module has: area(");
    check("cli-p2", "run", &[], "it cannot answer function calls; it answers command calls through `wasi-cli`");
}

#[test]
fn a_failure_has_the_exit_code_of_its_fault() {
    call("add", "divide", &["1", "0"]).fails(134, "error: the guest failed: wasm trap:");
    call("shapes", "trap", &[]).fails(134, "error: the guest failed: wasm trap:");
    call("add", "spin", &["--cpu", "50ms"]).fails(124, "error: the guest is over its `cpu` limit of 50ms");
    call("shapes", "spin", &["--deadline", "50ms"]).fails(124, "error: the guest is over its `deadline` limit of 50ms");
    call("unknown-import", "ask", &[]).fails(134, "unknown import: `nobody::knows-this`");
}

#[test]
fn a_trap_is_told_with_the_names_and_lines_of_its_functions() {
    let ran = call("lines", "fall", &["0"]).run();
    assert_eq!(ran.code, 134, "{ran}");
    let told: Vec<_> = ran.stderr.lines().skip(1).map(|line| line.split("+0x").next().unwrap().to_owned()).collect();
    let file = "        at guests/function/lines/src/lib.rs:";
    let [head, bottom, at_bottom, stairs, at_stairs, fall, at_fall] = told.as_slice() else { panic!("{ran}") };
    assert_eq!(
        [head, bottom, stairs, fall],
        [
            "wasm backtrace:",
            "   0: lines::bottom  lines.wasm",
            "   1: lines::stairs  lines.wasm",
            "   2: fall  lines.wasm"
        ]
    );
    assert!([at_bottom, at_stairs, at_fall].iter().all(|place| place.starts_with(file)), "{ran}");
    // A recursion is one line; a limit says where it was met.
    let ran = samara("run {deep-recursion}").run();
    assert!(ran.stderr.contains("\n   1: deeper  +0x3e (31 times)\n"), "{ran}");
    call("lines", "spin", &["0", "--cpu", "50ms"]).fails(124, ": spin  lines.wasm+0x");
}
