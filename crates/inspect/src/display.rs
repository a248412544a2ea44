//! A guest's strings, made fit to be shown.
//!
//! Names come from hostile files. On a terminal a control character can move the cursor and a direction override can
//! reverse a line; both are written out. Function names are shown as their authors wrote them.

use std::fmt::{self, Write};

/// Characters of the longest name that is shown whole.
pub(crate) const MAX_SHOWN_CHARS: usize = 200;

/// `text` on one line: without control characters and direction marks, and not longer than [`MAX_SHOWN_CHARS`].
pub(crate) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(MAX_SHOWN_CHARS));
    for (count, c) in text.chars().enumerate() {
        if count >= MAX_SHOWN_CHARS {
            shown.push('…');
            break;
        }
        if c.is_control() || is_invisible(c) {
            let _ = write!(shown, "{}", c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Characters that change how others are shown: zero-width ones, direction marks, line separators, tags.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// A function's name as its author wrote it, made harmless.
pub(crate) fn function_name(name: &str) -> String {
    let Ok(demangled) = rustc_demangle::try_demangle(name) else { return harmless(name) };
    // A mangled name of a hundred bytes can stand for a megabyte: stop writing when enough is seen.
    let mut text = Capped(String::new());
    let _ = write!(text, "{demangled:#}");
    harmless(&text.0)
}

struct Capped(String);

impl Write for Capped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text);
        if self.0.len() > 4 * MAX_SHOWN_CHARS { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The group that functions without one are in.
pub(crate) const OTHER: &str = "other functions";

/// The crate, package or namespace that a shown function name belongs to.
pub(crate) fn group_of(name: &str) -> &str {
    // C++, mangled: `_ZN2js3jit...` names the outermost namespace first, with its length.
    if let Some(rest) = name.strip_prefix("_ZN") {
        let rest = rest.trim_start_matches(['K', 'V', 'r']);
        if rest.starts_with("St") {
            return "std";
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let length = rest.get(..digits).and_then(|digits| digits.parse::<usize>().ok()).unwrap_or(0);
        return rest.get(digits..digits.saturating_add(length)).filter(|name| !name.is_empty()).unwrap_or("c++");
    }
    // Rust and C++: `<alloc::vec::Vec<T> as core::ops::Drop>::drop`, `bool js::Foo::bar(int)`.
    if let Some((first, _)) = path_of(name).split_once("::")
        && is_identifier(first)
    {
        return first;
    }
    // Go: `net/http.(*Client).Do`, `runtime.mallocgc`.
    let package_end = match name.rfind('/') {
        Some(slash) => name.get(slash..).and_then(|rest| rest.find('.')).map(|dot| slash + dot),
        None => name.find('.'),
    };
    match package_end.and_then(|end| name.get(..end)) {
        Some(package) if !package.is_empty() && !package.contains([' ', '<', '$']) => package,
        _ => OTHER,
    }
}

/// The second step of a function's path: its module, namespace or type; of a C function, the prefix of its name.
pub(crate) fn subgroup_of(name: &str) -> Option<&str> {
    if is_identifier(name) {
        return prefix_of(name);
    }
    let (_, rest) = path_of(name).split_once("::").filter(|(first, _)| is_identifier(first))?;
    let (second, _) = rest.split_once("::")?;
    let second = second.split('<').next().unwrap_or(second);
    is_identifier(second).then_some(second)
}

/// The last step of a function's path, for where there is little room: `write` of `core::fmt::write`.
pub(crate) fn last_step(name: &str) -> &str {
    let path = if name.starts_with('<') { name } else { path_of(name) };
    let (mut depth, mut start, mut before) = (0usize, 0, ' ');
    for (at, c) in path.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            ':' if depth == 0 && before == ':' => start = at + 1,
            '/' if depth == 0 => start = at + 1,
            _ => {}
        }
        before = c;
    }
    path.get(start..).filter(|step| !step.is_empty()).unwrap_or(name)
}

/// `sqlite3VdbeExec`, `_PyUnicode_New` and `bn_mul` belong to `sqlite3`, `_Py` and `bn`.
fn prefix_of(name: &str) -> Option<&str> {
    let word = name.trim_start_matches('_');
    let start = name.len() - word.len();
    let mut before = ' ';
    for (at, c) in word.char_indices() {
        if c == '_' || (c.is_uppercase() && !before.is_uppercase() && at > 1) {
            return name.get(..start + at);
        }
        before = c;
    }
    None
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// A function's path, without what Rust puts around it and without C++'s result and parameters.
fn path_of(name: &str) -> &str {
    if name.starts_with(['<', '&', '*', '[']) {
        let path = name.trim_start_matches(['<', '&', '*', '[', '(']);
        return path.strip_prefix("dyn ").or_else(|| path.strip_prefix("mut ")).unwrap_or(path);
    }
    let (mut depth, mut start, mut before) = (0usize, 0, ' ');
    for (at, c) in name.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            // Go writes a method's receiver in parentheses: `http.(*Client).Do`.
            '(' if depth == 0 && at > start && before != '.' => return name.get(start..at).unwrap_or(name),
            ' ' if depth == 0 => start = at + 1,
            _ => {}
        }
        before = c;
    }
    name.get(start..).unwrap_or(name).trim_start_matches(['*', '&'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_direction_marks_are_written_out() {
        assert_eq!(harmless("a\x1b[31mb\u{202e}c\u{9b}\n"), "a\\u{1b}[31mb\\u{202e}c\\u{9b}\\u{a}");
        assert_eq!(harmless("größe 日本"), "größe 日本");
        assert_eq!(harmless(&"x".repeat(9_999)).chars().count(), MAX_SHOWN_CHARS + 1);
    }

    #[test]
    fn names_are_shown_as_written_and_grouped_by_origin() {
        for (name, shown, group) in [
            ("_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write", "core"),
            ("_RNvCs4fqI2P2rA04_7mycrate3foo", "mycrate::foo", "mycrate"),
            ("_ZN2js3jit3Foo3barEv", "_ZN2js3jit3Foo3barEv", "js"),
            ("_ZNSt3__212basic_stringE5closev", "_ZNSt3__212basic_stringE5closev", "std"),
            ("net/http.(*Client).Do", "net/http.(*Client).Do", "net/http"),
            ("runtime.mallocgc", "runtime.mallocgc", "runtime"),
            ("dlmalloc", "dlmalloc", "other functions"),
            ("_ZN9999999999999999999999x", "_ZN9999999999999999999999x", "c++"),
            ("", "", "other functions"),
        ] {
            let text = function_name(name);
            assert_eq!((text.as_str(), group_of(&text)), (shown, group), "{name}");
        }
        for (name, step) in [
            ("core::fmt::write", "write"),
            ("<alloc::vec::Vec<T> as core::ops::drop::Drop>::drop", "drop"),
            ("bool js::jit::Foo<a::b>::bar(std::pair, int) const", "bar"),
            ("net/http.(*Client).Do", "http.(*Client).Do"),
            ("printf", "printf"),
            ("odd::", "odd::"),
        ] {
            assert_eq!(last_step(name), step, "{name}");
        }
        for (name, group, subgroup) in [
            ("<alloc::vec::Vec<T> as core::ops::drop::Drop>::drop", "alloc", Some("vec")),
            ("<&mut W as core::fmt::Write>::write_str", OTHER, None),
            ("bool js::jit::Foo<a, b>::bar(std::pair, int) const", "js", Some("jit")),
            ("unsigned int Parse(std::pair)", OTHER, None),
            ("core::fmt::write", "core", Some("fmt")),
            ("mycrate::main", "mycrate", None),
            ("sqlite3VdbeExec", OTHER, Some("sqlite3")),
            ("_PyUnicode_New", OTHER, Some("_Py")),
            ("bn_mul", OTHER, Some("bn")),
            ("SHA256_Init", OTHER, Some("SHA256")),
            ("printf", OTHER, None),
        ] {
            assert_eq!((group_of(name), subgroup_of(name)), (group, subgroup), "{name}");
        }
    }
}
