//! `/v1/workloads` and `/v1/routes`: what serves now, what it may do, what it did.

use std::collections::HashMap;

use http::StatusCode;

use super::{
    Response,
    document::Refusal,
    problem::Problem,
    request::{Asked, json},
    view,
};

/// Every workload of every version that serves, with its limits, grants, counters and denials.
#[utoipa::path(get, path = "/v1/workloads", tag = "workloads", responses((status = 200, description = "The workloads, by name", body = Vec<view::Workload>), (status = 403, response = Refusal)))]
pub(super) async fn list(Asked { admin, .. }: Asked) -> Result<Response, Problem> {
    let totals: HashMap<_, _> = admin.metrics.totals().into_iter().collect();
    let apps = admin.deployment.apps();
    let serving = apps.iter().flat_map(|(_, app)| app.active());
    let shown = serving.flat_map(|(weight, version)| {
        version
            .workloads
            .iter()
            .map(|workload| view::Workload::of(workload, version, weight, totals.get(&workload.id)))
            .collect::<Vec<_>>()
    });
    Ok(json(StatusCode::OK, &shown.collect::<Vec<_>>()))
}

/// Every route, and where it leads.
#[utoipa::path(get, path = "/v1/routes", tag = "workloads", responses((status = 200, description = "The routes", body = Vec<view::Route>), (status = 403, response = Refusal)))]
pub(super) async fn routes(Asked { admin, .. }: Asked) -> Result<Response, Problem> {
    let routes: Vec<_> = admin.deployment.routes().load().routes().iter().map(view::Route::of).collect();
    Ok(json(StatusCode::OK, &routes))
}
