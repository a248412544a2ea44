//! Which file a request means.
//!
//! The path is taken apart before its escapes are decoded, so that `%2f` is no separator and `%2e%2e` no way up: whatever a
//! segment becomes must be one name. That what is opened lies in the folder is not decided here but by the kernel (`find`).

use percent_encoding::percent_decode_str;

/// The one dotfile that everybody may see: RFC 8615.
const WELL_KNOWN: &str = ".well-known";

/// A path below the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Requested {
    /// Names with slashes between them; empty for the folder itself.
    pub(super) path: String,
    /// Whether the request asks for a folder: its path ends with a slash.
    pub(super) folder: bool,
}

/// The file of a request: what the pattern's `*rest` took, or without one the whole path. `None` if there can be no such
/// file, or it is not to be seen.
pub(super) fn requested(path: &str, pattern: &str, dotfiles: bool) -> Option<Requested> {
    let rest = rest(path, pattern).strip_prefix('/')?;
    if rest.is_empty() {
        return Some(Requested { path: String::new(), folder: true });
    }
    let (names, folder) = rest.strip_suffix('/').map_or((rest, false), |names| (names, true));
    let mut path = String::with_capacity(names.len());
    for segment in names.split('/') {
        let name = percent_decode_str(segment).decode_utf8().ok()?;
        let hidden = name.starts_with('.') && !dotfiles && name != WELL_KNOWN;
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) || hidden {
            return None;
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(&name);
    }
    Some(Requested { path, folder })
}

/// What follows the pattern's own segments.
fn rest<'p>(path: &'p str, pattern: &str) -> &'p str {
    let Some((own, _)) = pattern.rsplit_once("/*") else { return path };
    let segments = own.bytes().filter(|byte| *byte == b'/').count();
    path.match_indices('/').nth(segments).and_then(|(at, _)| path.get(at..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, pattern: &str, expected: Option<(&str, bool)>) {
        let expected = expected.map(|(path, folder)| Requested { path: path.to_owned(), folder });
        assert_eq!(requested(path, pattern, false), expected, "{path} by {pattern}");
    }

    #[test]
    fn the_rest_of_the_path_is_the_file() {
        check("/", "/*rest", Some(("", true)));
        check("/a.txt", "/*rest", Some(("a.txt", false)));
        check("/a/b/", "/*rest", Some(("a/b", true)));
        check("/assets/a/b", "/assets/*rest", Some(("a/b", false)));
        check("/assets/", "/assets/*rest", Some(("", true)));
        check("/x/y/z", "/x/:y/*rest", Some(("z", false)));
        check("/favicon.ico", "/favicon.ico", Some(("favicon.ico", false)));
        check("/", "/", Some(("", true)));
        check("/a%20b%C3%A9+c", "/*rest", Some(("a bé+c", false)));
    }

    #[test]
    fn a_segment_is_one_name() {
        for path in [
            "/../a",
            "/a/..",
            "/./a",
            "/%2e%2e/a",
            "/.%2E/a",
            "/a%2fb",
            "/a%2Fb",
            "/..%2fa",
            "/a%00b",
            "//a",
            "/a//b",
            "/a//",
            "//",
            "/%ff",
            "/%2e",
        ] {
            check(path, "/*rest", None);
        }
        // A backslash is a letter of a name like any other.
        check("/..%5ca", "/*rest", None);
        check("/a%5cb", "/*rest", Some(("a\\b", false)));
    }

    #[test]
    fn no_spelling_leads_anywhere_but_down() {
        const PIECES: [&str; 9] = ["/", ".", "%2e", "%2F", "%5c", "%00", "%25", "a", "\u{e9}"];
        let spelled = |mut number: usize| {
            let mut path = String::from("/");
            while number > 0 {
                path.push_str(PIECES[number % PIECES.len()]);
                number /= PIECES.len();
            }
            path
        };
        let mut files = 0;
        // Every path of up to six pieces.
        for path in (0..PIECES.len().pow(6)).map(spelled) {
            for dotfiles in [false, true] {
                let Some(Requested { path: file, .. }) = requested(&path, "/*rest", dotfiles) else { continue };
                let names: Vec<_> = std::path::Path::new(&file).components().collect();
                let down = names.iter().all(|name| matches!(name, std::path::Component::Normal(_)));
                // Names are as many as they were written: none was made or taken away by an escape.
                let written = path.matches('/').count() - usize::from(path.ends_with('/'));
                assert!(down && names.len() == written && !file.contains('\0'), "{path}: {file:?}");
                files += 1;
            }
        }
        assert!(files > 10_000, "{files}");
    }

    #[test]
    fn dotfiles_are_not_seen_unless_asked_for() {
        for path in ["/.env", "/.git/config", "/a/.b", "/%2eenv"] {
            check(path, "/*rest", None);
            assert!(requested(path, "/*rest", true).is_some(), "{path}");
        }
        check("/.well-known/security.txt", "/*rest", Some((".well-known/security.txt", false)));
        assert_eq!(requested("/..", "/*rest", true), None);
    }
}
