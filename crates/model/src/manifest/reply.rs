//! `reply` of a trigger: what is answered without a workload.

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::reader::Item;

/// Headers that say how a reply is sent, which the host knows.
static OURS: [HeaderName; 6] =
    [header::CONNECTION, header::CONTENT_LENGTH, header::DATE, header::TE, header::TRANSFER_ENCODING, header::UPGRADE];

/// The answer of a route that needs no guest: a redirect, a page for what is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedReply {
    /// The status, 200 and over.
    pub status: StatusCode,
    /// The headers, in the order of the file.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: String,
}

impl FixedReply {
    pub(super) fn read(item: &Item<'_>) -> Option<Self> {
        let mut reader = item.table("reply", "reply = { status = 404, body = \"nothing here\" }")?;
        let status = reader.take("status").and_then(|item| {
            let status = item.number::<u16>().and_then(|status| StatusCode::from_u16(status).ok());
            let status = status.filter(|status| (200..600).contains(&status.as_u16()));
            if status.is_none() {
                item.problem("this is no status of a reply; write one from 200 to 599");
            }
            status
        });
        let body = reader.take("body").and_then(|item| item.text("nothing here")).unwrap_or_default().to_owned();
        let headers = reader.take("headers").map(|item| read_headers(&item)).unwrap_or_default();
        reader.finish();
        Some(Self { status: status.unwrap_or(StatusCode::OK), headers, body })
    }
}

fn read_headers(item: &Item<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for (entry, value) in item.strings("headers = { location = \"/new\" }").unwrap_or_default() {
        match (HeaderName::try_from(entry.key), HeaderValue::from_str(value)) {
            (Ok(name), _) if OURS.contains(&name) => entry.problem("this depends on how it is sent; remove it"),
            (Ok(name), Ok(value)) => headers.push((name, value)),
            (Err(_), _) => entry.problem("this is not the name of a header"),
            (_, Err(_)) => entry.problem("this is not the value of a header; remove control characters"),
        }
    }
    headers
}
