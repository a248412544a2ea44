//! Requests of guests to other workloads of their app: found by the host's name, answered as the gateway answers anybody.

use std::{sync::Arc, time::Duration};

use http::{Request, Response};
use samara_model::{Body, Caller, RouteTable};

use super::{
    reply,
    site::Site,
    target::{Backing, Routes},
};

/// How long the body of a request may pause: the guest that sends it has a deadline of its own.
const BODY_TIMEOUT: Duration = Duration::from_hours(1);

/// Workloads behind names that only guests of their app know.
#[derive(Debug)]
pub struct Indoors(Arc<Site>);

impl Default for Indoors {
    fn default() -> Self {
        Self::new(RouteTable::new())
    }
}

impl Indoors {
    /// Those of a table.
    pub fn new(routes: RouteTable<Backing>) -> Self {
        Self(Arc::new(Site {
            routes: Routes::new(routes),
            body_timeout: BODY_TIMEOUT,
            header_fields: usize::MAX,
            observer: None,
            redirect: None,
        }))
    }

    /// Whether a host's name is one of them.
    pub fn has(&self, host: &str) -> bool {
        self.0.routes.load().find(host, &http::Method::GET, "/").is_ok()
    }

    /// Answers a request with an absolute URI; a fault is the response that a client would see.
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
        let answer = self.0.ask(parts, body, Caller::default()).await;
        answer.unwrap_or_else(|fault| {
            reply::log(&fault, None, &method, &path);
            reply::fault(&fault, false)
        })
    }
}
