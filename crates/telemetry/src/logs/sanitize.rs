//! Makes text from strangers harmless on a terminal and in a log.
//!
//! A guest that could write ESC could rewrite the lines above it; a line break would forge a line; bidirectional
//! overrides (Unicode TR 36, CVE-2021-42574) make a line read as something else.

use std::borrow::Cow;
use std::fmt::Write;

/// `text` with control characters written as visible escapes such as `\u{1b}` and `\n`. A tab stays.
pub fn sanitize(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(is_harmful) else { return Cow::Borrowed(text) };
    let (clean, rest) = text.split_at(first);
    let mut safe = String::with_capacity(text.len() + 16);
    safe.push_str(clean);
    for c in rest.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            // Writing into a String does not fail.
            c if is_harmful(c) => drop(write!(safe, "\\u{{{:x}}}", u32::from(c))),
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

fn is_harmful(c: char) -> bool {
    match c {
        '\t' => false,
        // C0, DEL and C1.
        c if c.is_control() => true,
        // Marks, embeddings, overrides and isolates of bidirectional text.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        // Line and paragraph separators: some viewers break lines at them.
        '\u{2028}' | '\u{2029}' => true,
        // Invisible tags, and the byte order mark.
        '\u{e0000}'..='\u{e007f}' | '\u{feff}' => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, safe: &str) {
        assert_eq!(sanitize(text), safe);
    }

    #[test]
    fn control_characters_become_visible() {
        check("\u{1b}[31mred\u{1b}[0m", "\\u{1b}[31mred\\u{1b}[0m");
        check("a\r\nb", "a\\r\\nb");
        check("\u{9b}2J", "\\u{9b}2J");
        check("\0\u{7f}\u{8}", "\\u{0}\\u{7f}\\u{8}");
    }

    #[test]
    fn text_cannot_be_reordered_or_broken() {
        check("user\u{202e}nimda", "user\\u{202e}nimda");
        check("\u{2066}x\u{2069}", "\\u{2066}x\\u{2069}");
        check("a\u{2028}b\u{feff}\u{e0041}", "a\\u{2028}b\\u{feff}\\u{e0041}");
    }

    #[test]
    fn ordinary_text_is_borrowed_as_it_is() {
        for text in ["", "plain\ttext", "größe 東京 🦀 \\n"] {
            assert!(matches!(sanitize(text), Cow::Borrowed(same) if same == text));
        }
    }
}
