//! Which precompressed files a client can read: `Accept-Encoding`, RFC 9110 section 12.5.3.

use http::{HeaderMap, HeaderValue, header::ACCEPT_ENCODING};

/// Codings looked at in one request.
const MAX_CODINGS: usize = 32;

/// A coding that a file may have beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Brotli,
    Zstd,
    Gzip,
}

impl Encoding {
    /// All of them, the smallest results first.
    const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// What a compressed file's name ends with.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    pub(super) fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }
}

/// The codings a client reads, the ones it likes best first; it always reads a file as it is.
pub(super) fn accepted(headers: &HeaderMap) -> Vec<Encoding> {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let codings: Vec<(&str, u16)> =
        values.flat_map(|value| value.split(',')).take(MAX_CODINGS).filter_map(coding).collect();
    let quality = |encoding: Encoding| {
        let named = |name: &str| codings.iter().find(|(coding, _)| coding.eq_ignore_ascii_case(name));
        named(encoding.name()).or_else(|| named("*")).map_or(0, |(_, quality)| *quality)
    };
    let mut accepted: Vec<_> = Encoding::ALL.into_iter().filter(|encoding| quality(*encoding) > 0).collect();
    accepted.sort_by_key(|encoding| std::cmp::Reverse(quality(*encoding)));
    accepted
}

/// A coding and how much it is liked, in thousandths.
fn coding(text: &str) -> Option<(&str, u16)> {
    let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
    let quality = parameters.trim().strip_prefix("q=").or_else(|| parameters.trim().strip_prefix("Q="));
    let quality = match quality {
        None if parameters.trim().is_empty() => 1_000,
        None => return None,
        Some(quality) => thousandths(quality.trim())?,
    };
    Some((name.trim(), quality))
}

/// `0`, `1`, `0.5`, up to three digits: the grammar of RFC 9110, section 12.4.2.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, expected: &[&str]) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, header.parse().unwrap());
        let accepted: Vec<_> = accepted(&headers).into_iter().map(Encoding::name).collect();
        assert_eq!(accepted, expected, "{header}");
    }

    #[test]
    fn the_best_liked_comes_first_and_the_smallest_of_those() {
        check("gzip, deflate, br, zstd", &["br", "zstd", "gzip"]);
        check("gzip", &["gzip"]);
        check("GZIP;q=1.0, br;q=0.5", &["gzip", "br"]);
        check("br;q=0, gzip;q=0.001", &["gzip"]);
        check("*", &["br", "zstd", "gzip"]);
        check("*;q=0.1, gzip;q=0", &["br", "zstd"]);
        check("identity", &[]);
        check("", &[]);
        check("br;q=2, gzip;q=x, zstd;level=3", &[]);
    }
}
