//! Query strings and forms: `a=1&b=two+words` to pairs.
//!
//! The format is `application/x-www-form-urlencoded` as the WHATWG URL standard parses it, but text that is not UTF-8 and
//! broken escapes are refused rather than replaced.

use samara_model::Fault;

/// Pairs in one query or form; more are refused.
pub(super) const MAX_PAIRS: usize = 1024;

/// Reads pairs. What has no `=` is a value without a name.
///
/// # Errors
/// Too many pairs, a broken escape, or text that is not UTF-8: the caller's mistake.
pub(crate) fn pairs(text: &str) -> Result<Vec<(String, String)>, Fault> {
    let mut pairs = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        if pairs.len() == MAX_PAIRS {
            return Err(Fault::bad_request(format!("over {MAX_PAIRS} parameters; send JSON instead")));
        }
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        pairs.push((decode(name)?, decode(value)?));
    }
    Ok(pairs)
}

/// Reads one value: `+` is a space, `%XX` a byte.
///
/// # Errors
/// A broken escape, or text that is not UTF-8.
pub(super) fn decode(text: &str) -> Result<String, Fault> {
    let broken = || Fault::bad_request(format!("`{text}` is not percent-encoded UTF-8; write `%` as `%25`"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let ([high, low], after) = rest.split_first_chunk().ok_or_else(broken)?;
                rest = after;
                hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low).ok_or_else(broken)?
            }
            byte => *byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| broken())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(pairs(text).unwrap(), expected, "{text}");
    }

    #[test]
    fn queries_read_as_pairs_in_order() {
        check("a=1&b=2", &[("a", "1"), ("b", "2")]);
        check("1&2", &[("", "1"), ("", "2")]);
        check("a=&=b&&a=x=y", &[("a", ""), ("", "b"), ("a", "x=y")]);
        check("q=two+words%21&%C3%A9=%e2%82%ac", &[("q", "two words!"), ("é", "€")]);
        check("", &[]);
    }

    #[test]
    fn what_does_not_decode_is_the_callers_mistake() {
        for text in ["a=%", "a=%4", "a=%zz", "%ff=1", "a=%c3%28"] {
            assert_eq!(pairs(text).unwrap_err().status(), 400, "{text}");
        }
        assert!(pairs(&"a&".repeat(MAX_PAIRS)).is_ok());
        assert!(pairs(&"a&".repeat(MAX_PAIRS + 1)).is_err());
    }
}
