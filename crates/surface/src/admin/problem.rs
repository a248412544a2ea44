//! Errors as RFC 9457 problems: what is wrong, and what would fix it.

use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::{Response, request};
use crate::deploy::Refused;

/// What went wrong.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Problem {
    /// The status, in words.
    pub(super) title: &'static str,
    /// The status.
    pub(super) status: u16,
    /// What is wrong, and what would fix it.
    pub(super) detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { title: status.canonical_reason().unwrap_or("Error"), status: status.as_u16(), detail: detail.into() }
    }

    /// The problem as it is sent.
    pub(super) fn response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let text = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = request::answer(status, "application/problem+json", text);
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let status = match &refused {
            Refused::Load(_) | Refused::Canary(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Refused::Conflict(_) => StatusCode::CONFLICT,
            Refused::Unknown(_) => StatusCode::NOT_FOUND,
            Refused::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
        };
        Self::new(status, refused.to_string())
    }
}
