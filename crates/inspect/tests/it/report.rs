//! The report in its three forms.

use samara_inspect::{Module, Report, Verdict, metadata};

use crate::{COMPONENT, MODULE, wasm};

fn verdict(contract: &str, chosen: bool) -> Verdict {
    Verdict {
        contract: contract.to_owned(),
        shape: "command".to_owned(),
        confidence: "certain".to_owned(),
        why: "it exports `_start`".to_owned(),
        chosen,
    }
}

fn with_report<T>(text: &str, look: impl FnOnce(&Report<'_>) -> T) -> T {
    let bytes = wasm(text);
    let module = Module::read(&bytes).unwrap();
    look(&Report::new(&bytes, &module, vec![verdict("wasi-cli", true), verdict("function", false)]))
}

/// Names that try to break out of where they are shown.
const HOSTILE: &str = r#"(module $"<script>alert(1)</script>\1b[2J"
    (import "env" "<i>&\1b[0m" (func))
    (func $"</title><img src=x onerror=alert(1)>\1b]0;owned\07" (export "\22><q>\e2\80\aeevil\0a\1b[31m")
        i32.const 1 drop)
    (memory 1) (data (i32.const 8) "x")
    (@custom "<u>\1b" "x") (@custom "description" "<s>\1b[1m"))"#;

#[test]
fn the_text_fits_a_screen() {
    for text in [MODULE, COMPONENT, HOSTILE] {
        for width in [1, 40, 80, 110, 10_000] {
            let shown = with_report(text, |report| report.to_text(width, false));
            assert!(shown.lines().count() <= 50, "{shown}");
            for line in shown.lines() {
                assert!(line.chars().count() <= width.clamp(40, 240), "{width}: {line}");
                assert_eq!(line, line.trim_end());
            }
        }
    }
}

#[test]
fn the_text_says_what_the_module_is() {
    let text = with_report(MODULE, |report| report.to_text(100, false));
    for expected in [
        "kind       core module",
        "named `demo`",
        "fits       → wasi-cli (command, certain) it exports `_start`",
        "needs      log",
        "granted",
        "memory     2 pages (128KiB), up to 1MiB",
        "table      3 elements funcref, up to 10",
        "start      function 2 `_start` runs at instantiation",
        "data       17B in 2 segments",
        "_start()",
        "made by    Rust 1.95",
        "features   multi-value",
        "compile    light",
    ] {
        assert!(text.contains(expected), "no `{expected}` in\n{text}");
    }
    let text = with_report(COMPONENT, |report| report.to_text(100, false));
    for expected in ["1 core module inside", "add: func(a: u32, b: u32) -> u32", "3 core instances, 3 memories"] {
        assert!(text.contains(expected), "no `{expected}` in\n{text}");
    }
}

#[test]
fn colours_are_only_there_when_asked_for() {
    assert!(with_report(MODULE, |report| report.to_text(100, true)).contains("\x1b[1mkind\x1b[0m"));
    let plain = |text: &str| text.chars().all(|c| c == '\n' || !c.is_control());
    assert!(plain(&with_report(HOSTILE, |report| report.to_text(100, false))));
}

#[test]
fn json_has_everything_programs_ask_for() {
    let json = with_report(MODULE, |report| report.to_json());
    for key in [
        "kind",
        "contracts",
        "needs",
        "imports",
        "exports",
        "sections",
        "sha256",
        "memories",
        "tables",
        "start",
        "features",
        "functions",
        "data_bytes",
        "custom",
        "producers",
        "compile",
        "size",
    ] {
        assert!(json.get(key).is_some(), "no `{key}`");
    }
    assert_eq!(json["kind"], "core module");
    assert_eq!(json["contracts"][0]["chosen"], true);
    assert_eq!(json["needs"][0]["capability"], "log");
    assert_eq!(json["needs"][0]["default"], "granted");
    assert_eq!(json["imports"][0]["module"], "wasi_snapshot_preview1");
    assert_eq!(json["imports"][0]["signature"], "(i32, i32, i32, i32) -> i32");
    assert_eq!(json["start"]["name"], "_start");
    assert_eq!(json["functions"].as_array().unwrap().len(), 3);
    assert_eq!(json["functions"][0]["name"], "helper");
    assert_eq!(json["producers"][0]["name"], "Rust");
    assert_eq!(json["memories"][0]["max_bytes"], 1 << 20);
    let json = with_report(COMPONENT, |report| report.to_json());
    assert_eq!(json["kind"], "component");
    assert_eq!(json["imports"][0]["functions"][0]["name"], "[method]fields.get");
    assert_eq!(json["exports"][0]["signature"], "func(a: u32, b: u32) -> u32");
}

#[test]
fn the_page_is_whole_and_stands_alone() {
    for text in [MODULE, COMPONENT, HOSTILE, "(module)", "(component)"] {
        let page = with_report(text, |report| report.to_html());
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
        for asset in ["src=\"", "href=\"", "url(http", "@import"] {
            assert!(!page.contains(asset), "`{asset}` in the page");
        }
        for tag in ["svg", "g", "table", "section", "details", "p"] {
            let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
            let opened = page.matches(&open).filter(|_| true).count()
                - page
                    .match_indices(&open)
                    .filter(|(at, _)| page[at + open.len()..].starts_with(char::is_alphabetic))
                    .count();
            assert_eq!(opened, page.matches(&close).count(), "<{tag}> in {text}");
        }
    }
}

#[test]
fn the_page_shows_where_bytes_and_memory_are() {
    let page = with_report(MODULE, |report| report.to_html());
    for expected in ["Where the bytes are", "data at 0x400: 12B", "Linear memory", ">stack<", ">heap<", "may grow"] {
        assert!(page.contains(expected), "no `{expected}`");
    }
}

#[test]
fn a_guests_strings_cannot_leave_their_place() {
    let page = with_report(HOSTILE, |report| report.to_html());
    for broken in ["<script>alert", "<img", "<q>", "<i>&", "<u>", "\x1b", "\u{202e}"] {
        assert!(!page.contains(broken), "`{broken}` is in the page");
    }
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;"), "but it is shown");
}

#[test]
fn metadata_reads_the_custom_sections_it_knows() {
    let claims = "eyJ0eXAiOiJqd3QifQ.eyJpc3MiOiJBQUFBIiwid2FzY2FwIjp7Im5hbWUiOiJlY2hvIn19.c2ln";
    let text = format!(
        r#"(component $outer (core module $inner
            (@custom "jwt" "{claims}")
            (@custom "io.kubewarden.metadata" "{{\"mutating\":true,\"annotations\":{{\"io.kubewarden.policy.title\":\"p\"}}}}")
            (@custom "target_features" "\01+\04gc64")
            (@custom "description" "does things")
            (@custom "signature" "\01\02")))"#
    );
    let found = metadata(&wasm(&text)).unwrap();
    assert_eq!((found.kind, found.name.as_deref()), ("component", Some("outer")));
    let inner = &found.children[0];
    assert_eq!(inner.name.as_deref(), Some("inner"));
    assert_eq!(inner.claims.as_ref().unwrap()["wascap"]["name"], "echo");
    assert_eq!(inner.kubewarden.as_ref().unwrap()["mutating"], true);
    assert_eq!(inner.target_features, ["+gc64"]);
    assert_eq!(inner.annotations[0].text, "does things");
    assert!(inner.custom.iter().any(|custom| custom.name == "signature" && custom.meaning == Some("signatures")));
    let shown = found.to_text();
    for expected in
        ["component       ", "`outer`", "  core module     ", "  description     does things", "\"name\": \"echo\""]
    {
        assert!(shown.contains(expected), "no `{expected}` in\n{shown}");
    }
    let shown = with_report(&text, |report| report.to_text(100, false));
    assert!(shown.contains("claims     `echo` by AAAA, not verified here"), "{shown}");
    assert!(shown.contains("kubewarden policy `p`, kubewarden-wapc, mutating"), "{shown}");
}
