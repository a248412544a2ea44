//! `/v1/apps`: the apps there are, and how they change.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use http::StatusCode;
use samara_artifact::Reference;
use samara_model::{
    AppId,
    manifest::{App, MAX_MANIFEST_BYTES, Source},
};
use serde::Deserialize;

use super::{
    Admin, Response,
    document::{Failed, Refusal},
    problem::Problem,
    request::{Asked, answer, json},
    view,
};
use crate::{
    deploy::{FULL_WEIGHT, Put, Refused, Share},
    source,
};

type Answer = Result<Response, Problem>;

/// Every app: its versions, how they share its requests, and the last version that was refused.
#[utoipa::path(get, path = "/v1/apps", tag = "apps", responses((status = 200, description = "The apps, by name", body = Vec<view::App>), (status = 403, response = Refusal)))]
pub(super) async fn list(Asked { admin, .. }: Asked) -> Answer {
    let leaving = admin.deployment.leaving();
    let apps = admin.deployment.apps();
    let shown: Vec<_> = apps.iter().map(|(id, app)| view::App::of(id, app, &leaving)).collect();
    Ok(json(StatusCode::OK, &shown))
}

/// One app.
#[utoipa::path(get, path = "/v1/apps/{tenant}/{app}", tag = "apps", params(view::AppPath), responses((status = 200, description = "The app", body = view::App), (status = 400, response = Failed), (status = 403, response = Refusal), (status = 404, response = Failed)))]
pub(super) async fn show(asked: Asked) -> Answer {
    shown(StatusCode::OK, &asked.admin, &asked.app()?)
}

/// What to do with a new version.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PutQuery {
    /// The folder on the host that relative paths in the manifest start from; an absolute path
    base: Option<String>,
    /// The percentage of the requests that the new version gets; the version that had most of them keeps the rest. Without
    /// it, what `[rollout]` in the manifest says, or all of them
    #[param(minimum = 0, maximum = 100)]
    weight: Option<u32>,
}

/// Adds an app, or replaces its version. The new version is compiled and tried first; if it is refused, the old one goes
/// on serving. What has begun ends with the version it began with.
#[utoipa::path(put, path = "/v1/apps/{tenant}/{app}", tag = "apps", security(("token" = [])), params(view::AppPath, PutQuery), request_body(content((String = "application/toml"), (String = "text/plain")), description = "The manifest, at most 1 MiB"), responses((status = 200, description = "A new version serves, or the one that serves is the same", body = view::App), (status = 201, description = "The app is new", body = view::App), (status = 400, response = Failed), (status = 401, response = Refusal), (status = 403, response = Refusal), (status = 408, response = Failed), (status = 409, response = Failed), (status = 413, response = Failed), (status = 422, response = Failed), (status = 507, response = Failed)))]
pub(super) async fn put(asked: Asked) -> Answer {
    let (id, query) = (asked.app()?, asked.query::<PutQuery>()?);
    if let Some(weight) = query.weight.filter(|weight| *weight > FULL_WEIGHT) {
        return Err(Problem::bad_request(format!(
            "a weight of {weight} is over {FULL_WEIGHT} percent; write 0 to 100"
        )));
    }
    let base = query.base.map(PathBuf::from);
    if base.as_ref().is_some_and(|base| !base.is_absolute()) {
        return Err(Problem::bad_request(
            "`base` is not an absolute path; write one of the host's, such as `/srv/shop`",
        ));
    }
    let admin = Arc::clone(&asked.admin);
    let bytes = asked.bytes(MAX_MANIFEST_BYTES).await?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Problem::bad_request("the manifest is not UTF-8 text"))?;
    let app = manifest(&admin, &id, text, base)?;
    let done = admin.deployment.put(app, query.weight).await?;
    shown(if done == Put::Created { StatusCode::CREATED } else { StatusCode::OK }, &admin, &id)
}

fn manifest(admin: &Admin, id: &AppId, text: &str, base: Option<PathBuf>) -> Result<App, Problem> {
    let wrong = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
    let file = base.clone().unwrap_or_default().join("samara.toml");
    let mut app = App::parse(text, &file).map_err(|errors| wrong(errors.to_string()))?;
    if app.tenant != id.tenant || *app.name != *id.name {
        return Err(wrong(format!(
            "the manifest is of `{}/{}`, the address of `{id}`; change the one or the other",
            app.tenant, app.name
        )));
    }
    app.check(admin.deployment.host()).map_err(|errors| wrong(errors.to_string()))?;
    match base {
        Some(base) => app.resolve_paths(&base),
        // What the host process runs in is nobody's business here: a path must say all of itself.
        None => {
            if let Some(workload) = app.workloads.iter().find(|workload| is_relative(&workload.source)) {
                return Err(wrong(format!(
                    "the source `{}` of workload `{}` is a relative path; say with `?base=/folder` what it is relative to",
                    workload.source.text, workload.name
                )));
            }
            if let Some(folder) = app.folders.iter().find(|folder| folder.path.is_relative()) {
                return Err(wrong(format!(
                    "the folder `{}` of workload `{}` is a relative path; say with `?base=/folder` what it is relative to",
                    folder.path.display(),
                    folder.name
                )));
            }
            if let Some(path) = app.relative_paths().first() {
                return Err(wrong(format!(
                    "`{}` is a relative path; say with `?base=/folder` what it is relative to",
                    path.display()
                )));
            }
            app.resolve_paths(Path::new("/"));
        }
    }
    Ok(app)
}

/// Whether a source is a path that does not say all of itself.
fn is_relative(source: &Source) -> bool {
    let path = |reference: &Reference| match reference {
        Reference::File(path) | Reference::Layout { path, .. } => Some(path.is_relative()),
        _ => None,
    };
    match source::reference(source) {
        Ok(Reference::Bundle { archive, .. }) => path(&archive).unwrap_or_default(),
        Ok(reference) => path(&reference).unwrap_or_default(),
        // Whoever loads it says what is wrong.
        Err(_) => false,
    }
}

/// Removes an app. Calls that have begun end as they would have.
#[utoipa::path(delete, path = "/v1/apps/{tenant}/{app}", tag = "apps", security(("token" = [])), params(view::AppPath), responses((status = 204, description = "It is gone"), (status = 400, response = Failed), (status = 401, response = Refusal), (status = 403, response = Refusal), (status = 404, response = Failed)))]
pub(super) async fn remove(asked: Asked) -> Answer {
    asked.admin.deployment.remove(&asked.app()?)?;
    let mut response = answer(StatusCode::NO_CONTENT, "application/json", "");
    response.headers_mut().remove(http::header::CONTENT_TYPE);
    Ok(response)
}

/// Where to go back to.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RollBack {
    /// A kept version; without it, the one that served before
    revision: Option<u64>,
}

/// Gives all requests back to an earlier version. It is loaded already, so that this is at once and cannot fail to compile.
#[utoipa::path(post, path = "/v1/apps/{tenant}/{app}/rollback", tag = "apps", security(("token" = [])), params(view::AppPath), request_body = Option<RollBack>, responses((status = 200, description = "The earlier version serves", body = view::App), (status = 400, response = Failed), (status = 401, response = Refusal), (status = 403, response = Refusal), (status = 404, response = Failed), (status = 408, response = Failed), (status = 409, response = Failed), (status = 413, response = Failed)))]
pub(super) async fn roll_back(asked: Asked) -> Answer {
    let (id, admin) = (asked.app()?, Arc::clone(&asked.admin));
    let wanted = asked.json::<Option<RollBack>>().await?.flatten().unwrap_or_default();
    admin.deployment.roll_back(&id, wanted.revision)?;
    shown(StatusCode::OK, &admin, &id)
}

/// How kept versions share an app's requests.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Traffic {
    /// The versions that serve, with weights whose sum is 100
    traffic: Vec<view::Share>,
}

/// Divides the requests of an app among its kept versions.
#[utoipa::path(put, path = "/v1/apps/{tenant}/{app}/traffic", tag = "apps", security(("token" = [])), params(view::AppPath), request_body = Traffic, responses((status = 200, description = "Its requests are divided so", body = view::App), (status = 400, response = Failed), (status = 401, response = Refusal), (status = 403, response = Refusal), (status = 404, response = Failed), (status = 408, response = Failed), (status = 409, response = Failed), (status = 413, response = Failed)))]
pub(super) async fn set_traffic(asked: Asked) -> Answer {
    let (id, admin) = (asked.app()?, Arc::clone(&asked.admin));
    let wanted: Option<Traffic> = asked.json().await?;
    let shares = wanted.map(|wanted| wanted.traffic).unwrap_or_default();
    let sum = shares.iter().try_fold(0_u32, |sum, share| sum.checked_add(share.weight));
    if sum != Some(FULL_WEIGHT) {
        return Err(Problem::bad_request(format!("the weights are not {FULL_WEIGHT} in sum; change one of them")));
    }
    for (index, share) in shares.iter().enumerate() {
        if shares.iter().take(index).any(|other| other.revision == share.revision) {
            return Err(Problem::bad_request(format!("revision {} is there twice; write it once", share.revision)));
        }
    }
    let shares: Vec<_> = shares.iter().map(|share| Share { revision: share.revision, weight: share.weight }).collect();
    admin.deployment.set_traffic(&id, &shares)?;
    shown(StatusCode::OK, &admin, &id)
}

pub(super) fn shown(status: StatusCode, admin: &Admin, id: &AppId) -> Answer {
    let none = || Refused::Unknown(format!("there is no app `{id}`; /v1/apps lists those there are"));
    let deployed = admin.deployment.app(id).ok_or_else(none)?;
    Ok(json(status, &view::App::of(id, &deployed, &admin.deployment.leaving())))
}
