//! `/v1/host`: the process as a whole.

use std::sync::atomic::Ordering;

use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Admin, Response,
    document::Refusal,
    problem::Problem,
    request::{Asked, json},
    view::unix,
};

/// The process.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Host {
    /// Of Samara
    version: &'static str,
    /// When the process came to serve, in seconds since 1970
    started: u64,
    /// Its clock now, in seconds since 1970
    now: u64,
    /// Whether requests are taken
    ready: bool,
    /// The file with the token that changes take; without it, nothing can be changed
    #[serde(skip_serializing_if = "Option::is_none")]
    token_file: Option<String>,
    /// Open client connections
    connections: i64,
    /// Pool slots in use
    pool_calls_in_use: i64,
    /// Pool slots there are
    pool_calls_capacity: i64,
}

impl Host {
    fn of(admin: &Admin) -> Self {
        let metrics = admin.metrics.host();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            started: unix(admin.started),
            now: unix(std::time::SystemTime::now()),
            ready: admin.ready.load(Ordering::Relaxed),
            token_file: admin.token.as_ref().map(|token| token.file.display().to_string()),
            connections: metrics.http_connections.get(),
            pool_calls_in_use: metrics.pool_calls_in_use.get(),
            pool_calls_capacity: metrics.pool_calls_capacity.get(),
        }
    }
}

/// The process: its version and age, whether it takes requests and changes, its connections and its pool.
#[utoipa::path(get, path = "/v1/host", tag = "host", responses((status = 200, description = "The process", body = Host), (status = 403, response = Refusal)))]
pub(super) async fn show(asked: Asked) -> Result<Response, Problem> {
    Ok(json(StatusCode::OK, &Host::of(&asked.admin)))
}
