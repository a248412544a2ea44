//! `/v1/workloads/TENANT/APP/WORKLOAD/profile`: where a workload's guests spend their time.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use super::{
    Response,
    document::{Failed, Refusal},
    problem::Problem,
    request::{Asked, answer},
};

/// The longest profile.
const MAX_SECONDS: u32 = 60;

/// How long a profile takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// How long to look, in seconds
    #[serde(default = "five")]
    seconds: u32,
}

fn five() -> u32 {
    5
}

/// A profile of a workload's guests from now on, as the Firefox Profiler and Chrome open it.
#[utoipa::path(get, path = "/v1/workloads/{tenant}/{app}/{workload}/profile", tag = "workloads",
    params(super::view::AppPath, ("workload" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"), ("seconds" = Option<u32>, Query, minimum = 1, maximum = 60, description = "How long to look; 5 by default")),
    responses((status = 200, description = "A `.cpuprofile`", body = serde_json::Value, content_type = "application/json"), (status = 400, response = Failed), (status = 404, response = Failed), (status = 409, response = Failed), (status = 403, response = Refusal)))]
pub(super) async fn take(asked: Asked) -> Result<Response, Problem> {
    let Wanted { seconds } = asked.query()?;
    if !(1..=MAX_SECONDS).contains(&seconds) {
        return Err(Problem::bad_request(format!("`{seconds}` seconds are not from 1 to {MAX_SECONDS}")));
    }
    let id = asked.app()?;
    let name = asked.param("workload");
    let deployed = asked.admin.deployment.app(&id);
    let version = deployed.as_ref().and_then(|deployed| deployed.main());
    let workload = version.and_then(|version| version.workloads.iter().find(|workload| *workload.id.name == *name));
    let Some(workload) = workload else {
        let detail = format!("no workload `{name}` of `{id}` serves here; /v1/workloads lists those that do");
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    };
    let Some(profiling) = workload.profile() else {
        let detail = format!("somebody takes a profile of `{}` now; try again when it has ended", workload.id);
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    };
    // Whoever asked and leaves drops this, and with it the profile.
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    let profile = profiling.finish();
    let file = tokio::task::spawn_blocking(move || crate::profile::cpu_profile(&profile)).await;
    let failed = |why: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("writing the profile: {why}"));
    let file = file.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    Ok(answer(StatusCode::OK, "application/json", file))
}
