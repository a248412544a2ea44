//! Keys as NATS lets them be written: letters, digits, `-`, `_`, `/` and `=`, in words with dots between them.
//!
//! Every other byte is `=` and two digits, and an empty word is `=` alone. A key's namespace (what stands before its first
//! colon) is a word of its own, so that the server finds a tenant's keys among all others: `shop:a b` is `shop.a=20b`. No
//! two keys are written alike.

/// Bytes of a subject, at most: the server refuses longer lines, and there is more on a line than the subject.
pub(super) const SUBJECT_BYTES: usize = 3 << 10;

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// A key as a subject's last words.
pub(super) fn encoded(key: &str) -> String {
    let mut out = String::with_capacity(key.len() + 8);
    match key.split_once(':') {
        Some((namespace, rest)) => {
            word(namespace, &mut out);
            out.push('.');
            word(rest, &mut out);
        }
        None => word(key, &mut out),
    }
    out
}

/// What is below the prefix, as the server filters it, and whether that is nothing else.
pub(super) fn filter(prefix: &str) -> (String, bool) {
    match prefix.split_once(':') {
        Some((namespace, rest)) => {
            let mut out = String::new();
            word(namespace, &mut out);
            out.push_str(".*");
            (out, rest.is_empty())
        }
        None => (">".to_owned(), prefix.is_empty()),
    }
}

fn word(text: &str, out: &mut String) {
    if text.is_empty() {
        out.push('=');
    }
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/') {
            out.push(char::from(byte));
        } else {
            out.push('=');
            for digit in [byte >> 4, byte & 15] {
                out.push(DIGITS.get(usize::from(digit)).copied().map_or('0', char::from));
            }
        }
    }
}

/// The key behind a subject's last words; `None` if nobody here wrote it.
pub(super) fn decoded(words: &str) -> Option<String> {
    let key = match words.split_once('.') {
        Some((namespace, rest)) => [unword(namespace)?, unword(rest)?].join(":"),
        None => unword(words)?,
    };
    // One key has one spelling.
    (encoded(&key) == words).then_some(key)
}

fn unword(word: &str) -> Option<String> {
    if word == "=" {
        return Some(String::new());
    }
    let mut out = Vec::with_capacity(word.len());
    let mut bytes = word.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'=' {
            let mut digit = || {
                let byte = bytes.next()?;
                DIGITS.iter().position(|known| *known == byte)
            };
            let (high, low) = (digit()?, digit()?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_key_has_one_subject_and_comes_back() {
        let parts =
            ["", "a", ".", "=", ":", "::", "*", ">", " ", "\0", "ü", "/", "=2E", "a:b", "..", "A-_", "\u{10ffff}"];
        let keys: BTreeSet<String> = parts
            .iter()
            .flat_map(|a| parts.iter().flat_map(move |b| [format!("{a}{b}"), format!("{a}:{b}")]))
            .collect();
        let mut subjects = BTreeSet::new();
        for key in &keys {
            let subject = encoded(key);
            assert!(subject.split('.').all(|word| !word.is_empty()), "{key:?}: {subject}");
            assert!(subject.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_/=.".contains(&b)), "{key:?}: {subject}");
            assert_eq!(decoded(&subject).as_ref(), Some(key));
            assert!(subjects.insert(subject), "{key:?} has a subject of its own");
        }
        assert_eq!(encoded("shop:a b"), "shop.a=20b");
    }

    #[test]
    fn what_others_wrote_is_no_key_of_ours() {
        for words in ["a.b.c", "=2", "=zz", "=41", "=2e", "a=", "=FF"] {
            assert_eq!(decoded(words), None, "{words}");
        }
    }

    #[test]
    fn a_filter_has_what_is_below_a_prefix() {
        assert_eq!(filter("shop:"), ("shop.*".to_owned(), true));
        assert_eq!(filter("shop:a"), ("shop.*".to_owned(), false));
        assert_eq!(filter("sh"), (">".to_owned(), false));
        assert_eq!(filter(""), (">".to_owned(), true));
    }
}
