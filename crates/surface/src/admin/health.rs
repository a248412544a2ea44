//! Health: whether the process lives, whether requests are taken, whether one app serves.

use std::sync::atomic::Ordering;

use http::StatusCode;

use super::{
    Admin, Response,
    problem::Problem,
    request::{Asked, answer},
};
use crate::deploy::Deployed;

type Answer = Result<Response, Problem>;

fn text(status: StatusCode, text: &str) -> Response {
    answer(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

/// Metrics for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, description = "OpenMetrics text for those who ask for it, else Prometheus text", content((String = "application/openmetrics-text"), (String = "text/plain"))), (status = 403, response = super::document::Refusal)))]
pub(super) async fn metrics(asked: Asked) -> Answer {
    let (kind, text) = asked.admin.metrics.encode_for(&asked.accept);
    Ok(answer(StatusCode::OK, kind, text))
}

/// Whether the process answers.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, description = "It does", body = String, content_type = "text/plain")))]
pub(super) async fn livez(_: Asked) -> Answer {
    Ok(text(StatusCode::OK, "ok"))
}

/// Whether requests are taken: false while apps are loaded at the start, and from the moment of draining.
#[utoipa::path(get, path = "/readyz", tag = "health", responses((status = 200, description = "They are", body = String, content_type = "text/plain"), (status = 503, description = "They are not", body = String, content_type = "text/plain")))]
pub(super) async fn readyz(asked: Asked) -> Answer {
    Ok(not_ready(&asked.admin).unwrap_or_else(|| text(StatusCode::OK, "ok")))
}

/// Whether an app is known here, be it only by a version that was refused.
#[utoipa::path(get, path = "/livez/{tenant}/{app}", tag = "health", params(super::view::AppPath), responses((status = 200, description = "It is", body = String, content_type = "text/plain"), (status = 404, description = "It is not", body = String, content_type = "text/plain")))]
pub(super) async fn app_livez(asked: Asked) -> Answer {
    Ok(match find(&asked) {
        Some(_) => text(StatusCode::OK, "ok"),
        None => text(StatusCode::NOT_FOUND, "no such app"),
    })
}

/// Whether requests for an app are served, by all of its workloads, and by which version; or why they are not.
#[utoipa::path(get, path = "/readyz/{tenant}/{app}", tag = "health", params(super::view::AppPath), responses((status = 200, description = "They are", body = String, content_type = "text/plain"), (status = 404, description = "There is no such app", body = String, content_type = "text/plain"), (status = 503, description = "They are not, and why", body = String, content_type = "text/plain")))]
pub(super) async fn app_readyz(asked: Asked) -> Answer {
    if let Some(not_ready) = not_ready(&asked.admin) {
        return Ok(not_ready);
    }
    let Some(deployed) = find(&asked) else { return Ok(text(StatusCode::NOT_FOUND, "no such app")) };
    if let Some(waiting) = deployed.main().and_then(|main| main.waiting.first()) {
        let (name, store, why) = (&waiting.id.name, &waiting.store, &waiting.why);
        let told = format!("workload `{name}` waits for its store `{store}`: {why}");
        return Ok(text(StatusCode::SERVICE_UNAVAILABLE, &told));
    }
    let refused = deployed.refused.as_ref().map(|refused| refused.reason.as_str());
    Ok(match (deployed.main(), refused) {
        (Some(main), None) => text(StatusCode::OK, &format!("ok: revision {}", main.revision)),
        (Some(main), Some(why)) => {
            text(StatusCode::OK, &format!("ok: revision {}; a newer version was refused: {why}", main.revision))
        }
        (None, why) => {
            let why = why.unwrap_or("none was loaded");
            text(StatusCode::SERVICE_UNAVAILABLE, &format!("no version serves: {why}"))
        }
    })
}

/// The answer when no requests are taken at all.
fn not_ready(admin: &Admin) -> Option<Response> {
    let ready = admin.ready.load(Ordering::Relaxed);
    (!ready).then(|| text(StatusCode::SERVICE_UNAVAILABLE, "no requests are taken"))
}

fn find(asked: &Asked) -> Option<Deployed> {
    asked.admin.deployment.app(&asked.app().ok()?)
}
