//! Names that the input chose, as names that the native manifest accepts.

use std::collections::HashSet;

/// Characters of a name; the rule is the model's (`samara_model::name`).
const MAX_NAME_CHARS: usize = 63;

/// Names that are taken, so that two of the input never become one.
#[derive(Debug, Default)]
pub(crate) struct Names(HashSet<String>);

impl Names {
    /// A name as near to the asked one as there is and not yet given away; `fallback` if nothing of it can be kept.
    pub(crate) fn claim(&mut self, asked: &str, fallback: &str) -> String {
        let name = legal(asked, fallback);
        let mut free = name.clone();
        let mut number = 2_u32;
        while !self.0.insert(free.clone()) {
            let suffix = format!("-{number}");
            let room = MAX_NAME_CHARS.saturating_sub(suffix.len());
            free = name.chars().take(room).chain(suffix.chars()).collect();
            number = number.saturating_add(1);
        }
        free
    }
}

/// A text as a name: what is not allowed becomes `-`.
pub(crate) fn legal(asked: &str, fallback: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let name: String =
        asked.chars().map(legal).skip_while(|c| !c.is_ascii_alphanumeric()).take(MAX_NAME_CHARS).collect();
    let name = name.trim_end_matches('-');
    if name.is_empty() { fallback.to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_legal_and_stay_apart() {
        let mut names = Names::default();
        assert_eq!(names.claim("hello-http", "app"), "hello-http");
        assert_eq!(names.claim("hello http", "app"), "hello-http-2");
        assert_eq!(names.claim("hello\r\nhttp", "app"), "hello--http");
        assert_eq!(names.claim("日本", "app"), "app");
        assert_eq!(names.claim("../..", "app"), "app-2");
        let long = "x".repeat(80);
        assert_eq!(names.claim(&long, "app").len(), MAX_NAME_CHARS);
        assert_eq!(names.claim(&long, "app").len(), MAX_NAME_CHARS);
    }
}
