//! Which route an HTTP request takes: by host, path pattern and method, the most specific first.
//!
//! A pattern is made of segments: text that must be equal, `:name` for one segment that is not empty, and as its last
//! one perhaps `*name` for whatever is left, which may be nothing. Of all routes that fit a request the one wins that
//! names the host, then, segment by segment from the left, text before `:name` before `*name`, then one that names
//! the method before one that takes any. Two routes that this does not tell apart cannot both be in a table.
//!
//! Paths are taken as they are: `.`, `..` and empty segments mean nothing special and a slash at the end matters.
//! Escapes are decoded after the path was split, so `%2F` never splits and `/%61` is `/a`.

mod pattern;
mod table;
#[cfg(test)]
mod tests;

pub use pattern::{MAX_PATTERN_SEGMENTS, Pattern, PatternError};
pub use table::{Conflict, MAX_PATH_BYTES, Match, Miss, Route, RouteTable};

use http::Method;

/// The pattern of a workload that is served alone.
pub const EVERYTHING: &str = "/*rest";

/// Reads the host of a route: a name or an address without a port; answers it in lower case.
///
/// # Errors
/// The text is not a host, or has a port or a wildcard.
pub fn parse_host(text: &str) -> Result<String, String> {
    let refuse = |why| Err(format!("`{text}` is not a host: {why}; write a name alone, such as `shop.test`"));
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => Ok(text.to_ascii_lowercase()),
        _ if text.contains('*') => refuse("wildcards are not hosts, leave `host` out to serve any"),
        _ if text.contains(':') => refuse("it has a port or a scheme"),
        _ if text.is_empty() || text.len() > 253 || text.starts_with('.') || !text.chars().all(legal) => {
            refuse("it has characters that names do not have")
        }
        _ => Ok(text.trim_end_matches('.').to_ascii_lowercase()),
    }
}

/// Reads a method, which is written in capitals.
///
/// # Errors
/// The text is not a method.
pub fn parse_method(text: &str) -> Result<Method, String> {
    let capitals = text.to_ascii_uppercase();
    match Method::from_bytes(text.as_bytes()) {
        Ok(method) if capitals == text => Ok(method),
        Ok(_) => Err(format!("`{text}` is not a method; write `{capitals}`")),
        Err(_) => Err(format!("`{text}` is not a method; write one such as `GET` or `POST`")),
    }
}
