//! The grammar of names in registries: `host[:port]/path[:tag][@digest]`.
//!
//! Source: the grammar of distribution's `reference` package, as `oci-spec` has it. By hand, because that crate's one regular
//! expression takes 30 ms to compile, at every start of a command; it is the oracle of the tests here. Differs from it: tags are
//! of ASCII, as the distribution specification says.

/// Characters of a repository's path.
const MAX_PATH: usize = 255;
/// Characters of a tag.
const MAX_TAG: usize = 128;

/// A name taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    pub(crate) registry: &'a str,
    pub(crate) repository: &'a str,
    pub(crate) tag: Option<&'a str>,
    /// What follows `@`, whatever it is.
    pub(crate) digest: Option<&'a str>,
}

/// Takes a name apart whose first segment is a host; `None` if it is no name.
pub(crate) fn parts(text: &str) -> Option<Parts<'_>> {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    let (registry, rest) = name.split_once('/')?;
    let (repository, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    let path = repository.len() <= MAX_PATH && repository.split('/').all(is_component);
    (is_host(registry) && path && tag.is_none_or(is_tag)).then_some(Parts { registry, repository, tag, digest })
}

/// A domain with or without a port, or anything else that a path may begin with, as Docker takes it.
fn is_host(text: &str) -> bool {
    let (domain, port) = match text.split_once(':') {
        Some((domain, port)) => (domain, Some(port)),
        None => (text, None),
    };
    let label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        !label.is_empty() && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    (domain.split('.').all(label) && port.is_none_or(digits)) || is_component(text)
}

/// Lower-case letters and digits, with `.`, `_`, `__` or any number of `-` between them.
fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = text.bytes().next().is_some_and(is_word) && text.bytes().last().is_some_and(is_word);
    let between = |run: &str| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|byte| byte == b'-');
    ends && text.split(|letter: char| u8::try_from(letter).is_ok_and(is_word)).all(between)
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let rest = |byte: u8| is_word(byte) || byte == b'.' || byte == b'-';
    text.len() <= MAX_TAG && text.bytes().next().is_some_and(is_word) && text.bytes().all(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `oci-spec` makes of the same text, before it folds Docker's names.
    fn oracle(text: &str) -> Option<(String, String, Option<String>)> {
        let parsed: oci_spec::distribution::Reference = text.parse().ok()?;
        let tag = parsed.tag().filter(|_| {
            text.rsplit('/').next().is_some_and(|last| last.split('@').next().is_some_and(|name| name.contains(':')))
        });
        Some((parsed.registry().to_owned(), parsed.repository().to_owned(), tag.map(str::to_owned)))
    }

    #[track_caller]
    fn check(text: &str) {
        let ours = parts(text)
            .map(|parts| (parts.registry.to_owned(), parts.repository.to_owned(), parts.tag.map(str::to_owned)));
        assert_eq!(ours, oracle(text), "{text:?}");
    }

    #[test]
    fn names_are_read_as_others_read_them() {
        for text in [
            "r.example/a",
            "r.example/a/b:v1",
            "127.0.0.1:5000/demo/hello:v1",
            "localhost/x",
            "r.example:/a",
            "r.example:x/a",
            "r.example/A",
            "r.example/a:",
            "r.example/a:-x",
            "r.example/a:_x.-",
            "r.example/a..b",
            "r.example/a__b",
            "r.example/a___b",
            "r.example/a-----b",
            "r.example/-a",
            "r.example/a-",
            "r.example//a",
            "r.example/a/",
            "-r.example/a",
            "r-.example/a",
            "foo_bar.com/a",
            "foo_bar.com:80/a",
            "R.Example/a",
            "r.example/a:b:c",
            ".r/a",
        ] {
            check(text);
        }
        check(&format!("r.example/{}", "a".repeat(255)));
        check(&format!("r.example/{}", "a".repeat(256)));
        check(&format!("r.example/a:{}", "t".repeat(128)));
        check(&format!("r.example/a:{}", "t".repeat(129)));
        check(&format!("r.example/a:v1@sha256:{}", "ab".repeat(32)));
    }

    #[test]
    fn a_hundred_thousand_made_up_names_are_read_as_others_read_them() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).unwrap()
        };
        let letters = ["a", "b7", ".", "_", "__", "-", "--", ":", "/", "A", "0", "x.y", "r.example/", " ", "/a"];
        for _ in 0..100_000 {
            let host = ["r.e", "localhost", "1.2:3", "a_b.c"][next(4)];
            let text = (0..next(7)).fold(format!("{host}/"), |text, _| text + letters[next(letters.len())]);
            check(&text);
        }
    }
}
