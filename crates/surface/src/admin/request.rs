//! One request to the operator's address, and the bounds under which it is read.

use std::sync::Arc;

use bytes::Bytes;
use headers::IfNoneMatch;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use samara_model::AppId;
use serde::{Serialize, de::DeserializeOwned};

use super::{Admin, PATIENCE, Response, problem::Problem};
use crate::gateway::query;

/// Bytes of a JSON body.
const MAX_JSON_BYTES: usize = 64 << 10;

/// What was asked.
pub(super) struct Asked {
    pub(super) admin: Arc<Admin>,
    /// What the path's parameters stand for.
    pub(super) params: Vec<(Arc<str>, String)>,
    pub(super) query: Option<String>,
    /// What whoever asks would read.
    pub(super) accept: String,
    /// The versions of the answer that whoever asks has.
    pub(super) if_none_match: Option<IfNoneMatch>,
    pub(super) body: Incoming,
}

impl Asked {
    /// What a parameter of the path stands for.
    pub(super) fn param(&self, wanted: &str) -> &str {
        let found = self.params.iter().find(|(name, _)| **name == *wanted);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// The app that the path names.
    pub(super) fn app(&self) -> Result<AppId, Problem> {
        AppId::new(self.param("tenant"), self.param("app")).map_err(|error| Problem::bad_request(error.to_string()))
    }

    /// The query as a type: each name once, each value as its field's JSON or as text.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let mut object = serde_json::Map::new();
        let pairs = query::pairs(self.query.as_deref().unwrap_or_default());
        for (name, value) in pairs.map_err(|fault| Problem::bad_request(fault.to_string()))? {
            let number = value.parse::<u32>().map(serde_json::Value::from);
            let value = number.unwrap_or_else(|_| value.into());
            if object.insert(name.clone(), value).is_some() {
                return Err(Problem::bad_request(format!("`{name}` is there twice in the query; write it once")));
            }
        }
        let wrong =
            |error: serde_json::Error| Problem::bad_request(format!("the query is not what is expected here: {error}"));
        serde_json::from_value(serde_json::Value::Object(object)).map_err(wrong)
    }

    /// A JSON body; an empty one is `None`.
    pub(super) async fn json<T: DeserializeOwned>(self) -> Result<Option<T>, Problem> {
        let bytes = self.bytes(MAX_JSON_BYTES).await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let read = serde_json::from_slice(&bytes).map(Some);
        read.map_err(|error| Problem::bad_request(format!("the body is not what is expected here: {error}")))
    }

    /// The body to its end, within bounds of size and time.
    pub(super) async fn bytes(self, max_bytes: usize) -> Result<Bytes, Problem> {
        let body = Limited::new(self.body, max_bytes).collect();
        match tokio::time::timeout(PATIENCE, body).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is over {max_bytes} bytes")))
            }
            Ok(Err(error)) => Err(Problem::bad_request(format!("the body broke off: {error}"))),
            Err(_) => Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body took over {} seconds; send it faster", PATIENCE.as_secs()),
            )),
        }
    }
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let text = serde_json::to_vec(value).unwrap_or_default();
    answer(status, "application/json", text)
}

/// An answer of any type.
pub(super) fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Full::from(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // What is shown changes with every call, and none of it is a page.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
