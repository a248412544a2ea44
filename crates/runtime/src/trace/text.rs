//! What a line of a trace looks like.
//!
//! Values come as the `Debug` of the engine's Rust types. The few shapes of it that hide what an ABI's reader looks for
//! are rewritten: `Resource { rep: 3, state: "borrow" }` is `borrow(3)`, `*guest 0x1048/5` is `0x1048/5` (an address in
//! the guest's memory and the number of items there), `"..."`, which stands for every list, is `…`.

use std::fmt::{self, Write};

use samara_telemetry::sanitize;

use super::{MAX_TRACE_LINE_BYTES, Values};

/// What surrounds a number in the `Debug` of the engine's types, and the word for it here.
const NUMBERED: &[(&str, &str, &str)] = &[
    ("Resource { rep: ", ", state: \"own (not in table)\" }", "own"),
    ("Resource { rep: ", ", state: \"own\" }", "own"),
    ("Resource { rep: ", ", state: \"borrow\" }", "borrow"),
    ("StreamReader { id: TransmitHandle(", ") }", "stream"),
    ("FutureReader { id: TransmitHandle(", ") }", "future"),
];
/// What stands before an address in the guest's memory.
const POINTER: &str = "*guest ";
/// An error of preview 1.
const PREVIEW_1_ERROR: (&str, &str) = ("Error { inner: ", " }");
/// How the bindings of components write a value with a list in it.
const LIST: &str = "\"...\"";

/// A value, no longer than a line may be: formatting stops there, whatever the value's size.
pub(super) fn value(value: &dyn fmt::Debug, values: Values) -> String {
    let mut text = Bounded(String::new());
    // The error only says that it was cut.
    write!(text, "{value:?}").ok();
    let mut text = text.0;
    if text == LIST {
        return "…".to_owned();
    }
    for (open, close, word) in NUMBERED {
        text = rewrite(&text, open, close, |number| {
            number.bytes().all(|byte| byte.is_ascii_digit()).then(|| format!("{word}({number})"))
        });
    }
    let (open, close) = PREVIEW_1_ERROR;
    text = rewrite(&text, open, close, |error| Some(error.to_owned()));
    match text.strip_prefix(POINTER) {
        None => text,
        Some(pointer) if values == Values::Shown => pointer.to_owned(),
        Some(pointer) => pointer.split_once('/').map_or_else(|| "_".to_owned(), |(_, items)| format!("_/{items}")),
    }
}

/// Replaces each `open..close` by what `word` makes of the text between them; `None` leaves it.
fn rewrite(text: &str, open: &str, close: &str, word: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(open) {
        out.push_str(before);
        match after.split_once(close).and_then(|(inner, after)| Some((word(inner)?, after))) {
            Some((word, after)) => {
                out.push_str(&word);
                rest = after;
            }
            None => {
                out.push_str(open);
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Takes as much as a line may have.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_TRACE_LINE_BYTES.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(text.get(..text.floor_char_boundary(room)).unwrap_or_default());
        self.0.push('…');
        Err(fmt::Error)
    }
}

/// A line as it is told: harmless and bounded, whatever the guest put into it.
pub(super) fn line(line: &str) -> String {
    let mut bounded = Bounded(String::new());
    bounded.write_str(&sanitize(line)).ok();
    bounded.0
}

/// The full name of an imported function: `wasi_snapshot_preview1.fd_write`, or
/// `wasi:io/streams@0.2#[method]output-stream.write`.
///
/// The bindings tell only the interface's own name; the path of their Rust module has the package and the release.
pub(super) fn import_name(target: &str, module: &str, function: &str) -> String {
    let path: Vec<_> = target.rsplit("::").map(|part| part.replace('_', "-")).collect();
    match path.as_slice() {
        [interface, package, namespace, rest @ ..] if interface == module => {
            // The interfaces of `wasi:io` are of 0.2 alone, and have a crate of their own.
            let release = if rest.iter().any(|part| part == "p3") { "0.3" } else { "0.2" };
            let namespace = if namespace == "wasi" { "wasi:" } else { "" };
            format!("{namespace}{package}/{module}@{release}#{function}")
        }
        _ => format!("{module}.{function}"),
    }
}

/// The name of a parameter, as WIT writes it for a component.
pub(super) fn parameter(import: &str, name: &str) -> String {
    if import.contains('#') { name.trim_end_matches('_').replace('_', "-") } else { name.to_owned() }
}

/// Whether the answer is one that no two runs share.
pub(super) fn answer_varies(import: &str) -> bool {
    import.starts_with("wasi:random/")
        || import.ends_with(".clock_time_get")
        || import.ends_with("#now") && import.starts_with("wasi:clocks/")
}

/// Whether the arguments are such: instants.
pub(super) fn arguments_vary(import: &str) -> bool {
    import.ends_with("#subscribe-instant") || import.ends_with("#wait-until")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something whose `Debug` is this text.
    struct Is(&'static str);

    impl fmt::Debug for Is {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    fn check(debug: &'static str, shown: &str, masked: &str) {
        assert_eq!(value(&Is(debug), Values::Shown), shown);
        assert_eq!(value(&Is(debug), Values::Masked), masked);
    }

    #[test]
    fn values_are_written_in_the_words_of_the_abi() {
        check(r#"Ok(Resource { rep: 3, state: "own (not in table)" })"#, "Ok(own(3))", "Ok(own(3))");
        check(r#"Resource { rep: 3, state: "borrow" }"#, "borrow(3)", "borrow(3)");
        check(r#"Some(StreamReader { id: TransmitHandle(5) })"#, "Some(stream(5))", "Some(stream(5))");
        check("Err(Error { inner: Badf })", "Err(Badf)", "Err(Badf)");
        check("*guest 0x1048", "0x1048", "_");
        check("*guest 0x1048/5", "0x1048/5", "_/5");
        check(r#""...""#, "…", "…");
    }

    #[test]
    fn what_only_looks_like_such_a_shape_stays() {
        for text in [r#"Resource { rep: x, state: "borrow" }"#, "Resource { rep: 3", r#""....""#, "Ok(*guest)"] {
            check(text, text, text);
        }
    }

    #[test]
    fn lines_are_bounded_and_harmless() {
        let long = value(&"é".repeat(1 << 20), Values::Shown);
        assert!(long.len() <= MAX_TRACE_LINE_BYTES + '…'.len_utf8() && long.ends_with('…'), "{}", long.len());
        assert!(line(&"x\n".repeat(1000)).len() <= MAX_TRACE_LINE_BYTES + '…'.len_utf8());
        assert_eq!(line("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
    }

    #[test]
    fn imports_have_their_full_names() {
        for (target, module, function, name) in [
            ("w::p1::wasi_snapshot_preview1", "wasi_snapshot_preview1", "fd_write", "wasi_snapshot_preview1.fd_write"),
            ("w::p2::bindings::async_io::wasi::cli::stdout", "stdout", "get-stdout", "wasi:cli/stdout@0.2#get-stdout"),
            (
                "w::p3::bindings::generated::wasi::clocks::system_clock",
                "system-clock",
                "now",
                "wasi:clocks/system-clock@0.3#now",
            ),
            ("my::world", "my-world", "f", "my-world.f"),
        ] {
            assert_eq!(import_name(target, module, function), name);
        }
    }

    #[test]
    fn clocks_and_random_numbers_vary() {
        for import in
            ["wasi:random/random@0.2#get-random-u64", "wasi:clocks/wall-clock@0.2#now", "wasi_unstable.clock_time_get"]
        {
            assert!(answer_varies(import), "{import}");
        }
        assert!(!answer_varies("wasi:cli/stdout@0.2#get-stdout"));
        assert!(arguments_vary("wasi:clocks/monotonic-clock@0.2#subscribe-instant"));
        assert_eq!(parameter("wasi:io/streams@0.2#[method]output-stream.write", "self_"), "self");
        assert_eq!(parameter("wasi_snapshot_preview1.args_get", "argv_buf"), "argv_buf");
    }
}
