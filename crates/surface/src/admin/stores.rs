//! `/v1/apps/.../stores` and `/usage`: what is behind the names of an app's stores, and what is done with them.

use std::sync::Arc;

use http::StatusCode;
use samara_capability::kv;
use serde::Deserialize;

use super::{
    Response,
    apps::shown,
    document::{Failed, Refusal},
    problem::Problem,
    request::{Asked, json},
    view,
};
use crate::deploy::Refused;

type Answer = Result<Response, Problem>;

/// What the workloads of an app ask for by their imports, what they are granted, and what they really used.
#[utoipa::path(get, path = "/v1/apps/{tenant}/{app}/usage", tag = "apps", params(view::AppPath), responses((status = 200, description = "The workloads of the version that has most of the requests", body = Vec<view::Usage>), (status = 400, response = Failed), (status = 403, response = Refusal), (status = 404, response = Failed)))]
pub(super) async fn usage(asked: Asked) -> Answer {
    let id = asked.app()?;
    let none = || Refused::Unknown(format!("no version of `{id}` serves; /v1/apps lists the apps there are"));
    let deployed = asked.admin.deployment.app(&id).ok_or_else(none)?;
    let main = deployed.main().ok_or_else(none)?;
    let metrics = &asked.admin.metrics;
    let usage = |workload: &Arc<samara_runtime::Workload>| {
        // Its metrics are gone if it was removed meanwhile.
        let totals = metrics.find(&workload.id).map(|metrics| metrics.totals());
        view::Usage::of(workload, &totals.map(|totals| totals.uses).unwrap_or_default())
    };
    Ok(json(StatusCode::OK, &main.workloads.iter().map(usage).collect::<Vec<_>>()))
}

/// Where a store shall lead.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Link {
    /// The provider, as a manifest writes it; paths are absolute
    provider: String,
    /// Its settings, as a manifest writes them
    #[serde(default)]
    #[schema(value_type = Object)]
    settings: toml::Table,
    /// Copy its keys there first, while they are used; without it nothing is copied
    copy: Option<Copy>,
}

/// What becomes of keys that the tenant has at the new place already.
#[derive(Clone, Copy, Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum Copy {
    /// There may be none
    Empty,
    /// They stay, unless a key of the same name is copied
    Merge,
    /// They are removed first
    Replace,
}

impl From<Copy> for kv::Present {
    fn from(copy: Copy) -> Self {
        match copy {
            Copy::Empty => Self::Refused,
            Copy::Merge => Self::Kept,
            Copy::Replace => Self::Removed,
        }
    }
}

/// Leads a store to another provider. What is done with it from now on is done there; what has begun ends where it began.
/// With `copy` the answer comes when its keys have been copied; whoever goes away before has given that up.
#[utoipa::path(put, path = "/v1/apps/{tenant}/{app}/stores/{store}", tag = "apps", security(("token" = [])), params(view::StorePath), request_body = Link, responses((status = 200, description = "It leads there", body = view::App), (status = 400, response = Failed), (status = 401, response = Refusal), (status = 403, response = Refusal), (status = 404, response = Failed), (status = 408, response = Failed), (status = 413, response = Failed), (status = 422, response = Failed)))]
pub(super) async fn link(asked: Asked) -> Answer {
    let (id, store, admin) = (asked.app()?, asked.param("store").to_owned(), Arc::clone(&asked.admin));
    let wanted: Option<Link> = asked.json().await?;
    let Some(Link { provider, settings, copy }) = wanted else {
        return Err(Problem::bad_request("the body is empty; write `{\"provider\": \"redis://...\"}`"));
    };
    admin.deployment.link(&id, &store, provider, settings, copy.map(Into::into)).await?;
    shown(StatusCode::OK, &admin, &id)
}
