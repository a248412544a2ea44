//! What a new Spin SDK 7 project answers, with the request's path.

use spin_sdk::http::{IntoResponse, Request};
use spin_sdk::http_service;

#[http_service]
async fn hello(request: Request) -> impl IntoResponse {
    format!("Hello, Spin! {}\n", request.uri().path())
}
