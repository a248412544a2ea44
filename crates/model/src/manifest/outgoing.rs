//! `http` in a `grants` table: origins, and what goes with requests to them.

use super::reader::Item;
use crate::{
    HeaderRule, HeaderTemplate, HttpGrant, HttpPool, HttpTimeouts, MAX_HTTP_RETRIES, OriginRule, ValueSource,
    check_added_header, parse_duration,
};

/// Headers of one grant, at most.
const MAX_HEADERS: usize = 64;

/// `["https://api.example"]`, or a table of `allow` and what else there is.
pub(super) fn read(item: &Item<'_>) -> Option<HttpGrant> {
    let origins = |item: &Item<'_>| item.list("https://api.example", str::parse::<OriginRule>);
    if item.is_array() {
        return Some(HttpGrant { allow: origins(item)?, ..HttpGrant::default() });
    }
    let mut reader = item.table("http", "http = { allow = [\"https://api.example\"] }")?;
    let allow = reader.require("allow", "allow = [\"https://api.example\"]").and_then(|item| origins(&item));
    let private = reader.take("private").and_then(|item| item.boolean()).unwrap_or_default();
    let headers = reader.take("headers");
    let timeouts = reader.take("timeouts").and_then(|item| timeouts(&item)).unwrap_or_default();
    let retries = reader.take("retries").and_then(|item| retries(&item)).unwrap_or_default();
    let pool = reader.take("pool").and_then(|item| pool(&item)).unwrap_or_default();
    reader.finish();
    let allow = allow?;
    let headers = headers.and_then(|item| self::headers(&item, &allow)).unwrap_or_default();
    Some(HttpGrant { allow, private, headers, timeouts, retries, pool })
}

/// `{ "https://api.example" = { authorization = "Bearer ${secret:API_KEY}" } }`.
fn headers(item: &Item<'_>, allow: &[OriginRule]) -> Option<Vec<HeaderRule>> {
    const EXAMPLE: &str = "headers = { \"https://api.example\" = { authorization = \"secret:API_KEY\" } }";
    let mut rules: Vec<HeaderRule> = Vec::new();
    for entry in item.table("names", EXAMPLE)?.entries() {
        let origin = match entry.key.parse::<OriginRule>() {
            Ok(origin) => origin,
            Err(error) => {
                entry.problem(error);
                continue;
            }
        };
        if origin.is_any_host() {
            entry.problem("a header goes to hosts that are named, or it would go to everybody; name the host");
            continue;
        }
        if !allow.iter().any(|allowed| allowed.covers(&origin)) {
            entry.problem("`allow` does not have this origin, so that no request goes there; add it");
        }
        for (entry, text) in entry.strings("{ authorization = \"secret:API_KEY\" }")? {
            let rule = check_added_header(entry.key).and_then(|name| {
                let value = HeaderTemplate::parse(&name, text)?;
                Ok(HeaderRule { origin: origin.clone(), name, value })
            });
            match rule {
                Ok(rule) if rules.iter().any(|other| other.origin == rule.origin && other.name == rule.name) => {
                    entry.problem("this header is added twice to the same origin; remove one");
                }
                Ok(rule) => rules.push(rule),
                Err(error) => entry.problem(error),
            }
        }
    }
    if rules.len() > MAX_HEADERS {
        item.problem(format!("these are {} headers; write at most {MAX_HEADERS}", rules.len()));
    }
    Some(rules)
}

/// `{ connect = "5s", first_byte = "30s", between_bytes = "30s", total = "1m" }`.
fn timeouts(item: &Item<'_>) -> Option<HttpTimeouts> {
    let mut reader = item.table("timeouts", "timeouts = { connect = \"5s\" }")?;
    let mut time = |key| {
        let item: Option<Item<'_>> = reader.take(key);
        let item = item?;
        let time = item.quantity(parse_duration)?;
        if time.is_zero() {
            item.problem("no request is done in no time; write `5s`, or leave it out");
        }
        Some(time)
    };
    let (connect, first_byte) = (time("connect"), time("first_byte"));
    let (between_bytes, total) = (time("between_bytes"), time("total"));
    reader.finish();
    Some(HttpTimeouts { connect, first_byte, between_bytes, total })
}

fn retries(item: &Item<'_>) -> Option<u32> {
    let retries = item.number::<u32>()?;
    if retries > MAX_HTTP_RETRIES {
        item.problem(format!("`{retries}` is out of range; write a whole number of at most {MAX_HTTP_RETRIES}"));
        return None;
    }
    Some(retries)
}

/// `{ connections = 64, idle = 8, idle_time = "30s" }`.
fn pool(item: &Item<'_>) -> Option<HttpPool> {
    let mut reader = item.table("pool", "pool = { connections = 64 }")?;
    let connections = reader.take("connections").and_then(|item| {
        let connections = item.number::<u32>()?;
        if connections == 0 {
            item.problem("without a connection there is no request; write `1` or more");
        }
        Some(connections)
    });
    let idle = reader.take("idle").and_then(|item| item.number());
    let idle_time = reader.take("idle_time").and_then(|item| item.quantity(parse_duration));
    reader.finish();
    Some(HttpPool { connections, idle, idle_time })
}

/// Where the values of a grant's headers are read.
pub(super) fn sources_mut(grant: &mut HttpGrant) -> impl Iterator<Item = &mut ValueSource> {
    grant.headers.iter_mut().flat_map(|rule| &mut rule.value.pieces).filter_map(|piece| match piece {
        crate::HeaderPiece::Source(source) => Some(source),
        _ => None,
    })
}
