//! What of a file is to be sent: conditions and ranges, RFC 9110 sections 13.2.2 and 14.2.

use std::time::SystemTime;

use headers::{
    ETag, HeaderMapExt as _, IfMatch, IfModifiedSince, IfNoneMatch, IfRange, IfUnmodifiedSince, LastModified,
};
use http::{HeaderMap, Method, header::RANGE};

/// What tells one state of a file from another.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Validators {
    pub(super) etag: ETag,
    pub(super) modified: SystemTime,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it (200).
    Whole,
    /// These bytes (206).
    Range { first: u64, last: u64 },
    /// The client has it (304).
    NotModified,
    /// It is not what the client thinks it is (412).
    Failed,
    /// It has no such bytes (416).
    Nothing,
}

/// Decides in the order that the specification gives.
pub(super) fn judge(method: &Method, headers: &HeaderMap, validators: &Validators, length: u64) -> Part {
    let Validators { etag, modified } = validators;
    let as_expected = match headers.typed_get::<IfMatch>() {
        Some(condition) => condition.precondition_passes(etag),
        None => {
            headers.typed_get::<IfUnmodifiedSince>().is_none_or(|condition| condition.precondition_passes(*modified))
        }
    };
    if !as_expected {
        return Part::Failed;
    }
    let changed = match headers.typed_get::<IfNoneMatch>() {
        Some(condition) => condition.precondition_passes(etag),
        None => headers.typed_get::<IfModifiedSince>().is_none_or(|condition| condition.is_modified(*modified)),
    };
    if !changed {
        return Part::NotModified;
    }
    if *method != Method::GET {
        return Part::Whole;
    }
    let same = |condition: IfRange| !condition.is_modified(Some(etag), Some(&LastModified::from(*modified)));
    if !headers.typed_get::<IfRange>().is_none_or(same) {
        return Part::Whole;
    }
    range(headers, length)
}

/// The one range that is asked for. Several, or none that can be read, mean the whole file.
///
/// Read here because the crates that do take a suffix longer than the file for an error (section 14.1.2 has it as the whole).
fn range(headers: &HeaderMap, length: u64) -> Part {
    let mut values = headers.get_all(RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Part::Whole };
    let ranges = value.to_str().ok().and_then(|value| value.strip_prefix("bytes="));
    let Some((first, last)) = ranges.and_then(|range| range.trim().split_once('-')) else { return Part::Whole };
    let end = length.saturating_sub(1);
    let (first, last) = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => (first, last.min(end)),
        (Some(first), None) if last.is_empty() => (first, end),
        (None, Some(0)) if first.is_empty() => return Part::Nothing,
        (None, Some(suffix)) if first.is_empty() => (length.saturating_sub(suffix), end),
        _ => return Part::Whole,
    };
    if first < length { Part::Range { first, last } } else { Part::Nothing }
}

/// Digits and nothing else; a number that is too large is as large as can be.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    /// Of a file of ten bytes, changed on 2001-09-09 at 01:46:40, with the tag `"a"`.
    #[track_caller]
    fn check(method: &Method, request: &[(&str, &str)], expected: Part) {
        let mut headers = HeaderMap::new();
        for (name, value) in request {
            headers.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let modified = UNIX_EPOCH + Duration::from_millis(1_000_000_000_500);
        let validators = Validators { etag: "\"a\"".parse().unwrap(), modified };
        assert_eq!(judge(method, &headers, &validators, 10), expected, "{request:?}");
    }

    #[track_caller]
    fn get(request: &[(&str, &str)], expected: Part) {
        check(&Method::GET, request, expected);
    }

    const THEN: &str = "Sun, 09 Sep 2001 01:46:40 GMT";
    const BEFORE: &str = "Sun, 09 Sep 2001 01:46:39 GMT";

    #[test]
    fn a_client_that_has_it_is_told_so() {
        get(&[], Part::Whole);
        get(&[("if-none-match", "\"a\"")], Part::NotModified);
        get(&[("if-none-match", "W/\"a\"")], Part::NotModified);
        get(&[("if-none-match", "\"b\", \"a\"")], Part::NotModified);
        get(&[("if-none-match", "*")], Part::NotModified);
        get(&[("if-none-match", "\"b\"")], Part::Whole);
        get(&[("if-modified-since", THEN)], Part::NotModified);
        get(&[("if-modified-since", BEFORE)], Part::Whole);
        get(&[("if-modified-since", "rubbish")], Part::Whole);
        // The tag knows better.
        get(&[("if-none-match", "\"b\""), ("if-modified-since", THEN)], Part::Whole);
        check(&Method::HEAD, &[("if-none-match", "\"a\"")], Part::NotModified);
    }

    #[test]
    fn a_client_that_expects_another_is_told_so() {
        get(&[("if-match", "\"a\"")], Part::Whole);
        get(&[("if-match", "\"b\"")], Part::Failed);
        get(&[("if-match", "W/\"a\"")], Part::Failed);
        get(&[("if-unmodified-since", THEN)], Part::Whole);
        get(&[("if-unmodified-since", BEFORE)], Part::Failed);
        get(&[("if-match", "\"b\""), ("if-none-match", "\"a\"")], Part::Failed);
    }

    #[test]
    fn one_range_is_sent_and_several_are_the_whole() {
        let range = |first, last| Part::Range { first, last };
        get(&[("range", "bytes=0-3")], range(0, 3));
        get(&[("range", "bytes=3-")], range(3, 9));
        get(&[("range", "bytes=-3")], range(7, 9));
        get(&[("range", "bytes=-30")], range(0, 9));
        get(&[("range", "bytes=9-100")], range(9, 9));
        get(&[("range", "bytes=10-")], Part::Nothing);
        get(&[("range", "bytes=-0")], Part::Nothing);
        get(&[("range", "bytes=99999999999999999999-")], Part::Nothing);
        get(&[("range", "bytes=8-99999999999999999999")], range(8, 9));
        for ignored in
            ["bytes=0-1,3-4", "bytes=0-,0-,0-", "bytes=x", "lines=1-2", "bytes=", "bytes=-", "bytes=5-3", "bytes=+1-3"]
        {
            get(&[("range", ignored)], Part::Whole);
        }
        get(&[("range", "bytes=0-3"), ("range", "bytes=5-6")], Part::Whole);
        check(&Method::HEAD, &[("range", "bytes=0-3")], Part::Whole);
        get(&[("range", "bytes=0-3"), ("if-none-match", "\"a\"")], Part::NotModified);
    }

    #[test]
    fn a_range_is_sent_only_of_what_the_client_has() {
        let part = Part::Range { first: 5, last: 9 };
        get(&[("range", "bytes=5-"), ("if-range", "\"a\"")], part);
        get(&[("range", "bytes=5-"), ("if-range", "\"b\"")], Part::Whole);
        get(&[("range", "bytes=5-"), ("if-range", "W/\"a\"")], Part::Whole);
        get(&[("range", "bytes=5-"), ("if-range", BEFORE)], Part::Whole);
    }
}
