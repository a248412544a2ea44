//! An app: its versions, how they share its requests, the trial of the newest.

use samara_model::{AppId, Capability, WorkloadId, manifest};
use samara_runtime::Workload as Loaded;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::unix;
use crate::{
    deploy::{self, Deployed, Version as Kept},
    source::Provenance,
};

/// An app's place.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only describes")]
pub(in crate::admin) struct AppPath {
    /// Whose it is
    #[param(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    tenant: String,
    /// Its name
    #[param(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    app: String,
}

/// A store's place.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only describes")]
pub(in crate::admin) struct StorePath {
    /// Whose it is
    #[param(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    tenant: String,
    /// The app
    #[param(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    app: String,
    /// The store's name in the manifest
    store: String,
}

/// How an app is.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::admin) enum State {
    /// One version has all requests.
    Serving,
    /// Several versions share them.
    Sharing,
    /// A new version is watched, and gets all of them or none.
    OnTrial,
    /// A workload waits for a store whose server does not answer; the others serve.
    Waiting,
    /// No version ever came to serve.
    Failed,
}

/// One app.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct App {
    tenant: String,
    name: String,
    state: State,
    /// The version that has most of the requests
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    /// What its manifest calls it
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// How its versions share its requests, in percent
    traffic: Vec<Share>,
    /// The version on trial, and what its calls came to
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<Rollout>,
    /// The versions that are kept, the newest first
    versions: Vec<Version>,
    /// Versions that are gone, and whose last calls are not
    leaving: Vec<Leaving>,
    /// The last version that was refused or failed its trial, if nothing was taken over since
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Refused>,
}

/// A version's share of the requests.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Share {
    /// The version
    pub(in crate::admin) revision: u64,
    /// In percent
    #[schema(minimum = 0, maximum = 100)]
    pub(in crate::admin) weight: u32,
}

/// A version on trial.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Rollout {
    revision: u64,
    /// How long it has been watched
    watched_seconds: f64,
    /// How long it is watched
    window_seconds: f64,
    /// Calls it answered
    calls: u64,
    /// Calls it must have answered before it is judged by them
    calls_needed: u64,
    /// Calls that were its failures
    failed: u64,
    /// The fraction of its calls that may fail
    errors_allowed: f64,
    /// Calls that took longer than it may
    slow: u64,
    /// What 99 of 100 calls may take
    latency_allowed_seconds: Option<f64>,
    /// Times it asked for what it is not granted
    denials: u64,
    /// How often it may
    denials_allowed: Option<u64>,
}

impl Rollout {
    fn of(rollout: &deploy::Rollout, app: &Deployed) -> Option<Self> {
        let version = app.versions.iter().find(|version| version.revision == rollout.revision)?;
        let (trial, terms) = (rollout.trial(version), &rollout.terms);
        Some(Self {
            revision: rollout.revision,
            watched_seconds: rollout.began.elapsed().as_secs_f64(),
            window_seconds: terms.window.as_secs_f64(),
            calls: trial.calls,
            calls_needed: terms.calls,
            failed: trial.failed,
            errors_allowed: terms.errors,
            slow: trial.slow,
            latency_allowed_seconds: terms.latency.map(|latency| latency.as_secs_f64()),
            denials: trial.denials,
            denials_allowed: terms.denials,
        })
    }
}

/// One version of an app.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Version {
    /// Counts the versions of the process
    revision: u64,
    /// What its manifest calls it
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// The manifest's file, as it was named
    manifest: String,
    /// When it was loaded, in seconds since 1970
    loaded: u64,
    /// The percentage of the app's requests that it has
    weight: u32,
    /// Calls being served
    in_flight: u64,
    workloads: Vec<Artifact>,
    /// Workloads that are loaded once their stores are there
    waiting: Vec<Waiting>,
    folders: Vec<Folder>,
    /// The stores that somebody is granted
    stores: Vec<Store>,
}

/// A version's workload that waits for a store.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Waiting {
    workload: String,
    store: String,
    /// Why the store is not there
    reason: String,
}

/// A version's workload that is a folder.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Folder {
    name: String,
    /// Where it is, on the host's disk
    path: String,
}

/// What a version's workload was made from.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Artifact {
    name: String,
    /// `sha256:` and the digest in hex
    digest: String,
    contract: &'static str,
    shape: &'static str,
    /// The reference it was loaded by
    source: String,
    /// The digest of the manifest that led to it, which is what signatures are over
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
    /// Whose signatures or claims a policy believes, with the kind of evidence
    signers: Vec<String>,
}

/// A store of a version.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Store {
    name: String,
    /// What is behind it now, without credentials
    provider: String,
    /// What the manifest says, if it was linked to another provider since
    #[serde(skip_serializing_if = "Option::is_none")]
    declared: Option<String>,
    /// The capabilities it is open as
    capabilities: Vec<&'static str>,
    /// How far its keys or objects have been copied to where it is being linked
    #[serde(skip_serializing_if = "Option::is_none")]
    moving: Option<Moving>,
}

/// A copy that is under way.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Moving {
    /// Keys, or objects, that were copied
    entries: u64,
    /// Their bytes
    bytes: u64,
    /// How many there were when it began, if that is known
    entries_total: Option<u64>,
}

/// A workload of a version that is gone.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Leaving {
    revision: u64,
    workload: String,
}

/// A version that was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Refused {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Why, and what would fix it
    reason: String,
    /// When, in seconds since 1970
    at: u64,
}

impl App {
    pub(in crate::admin) fn of(id: &AppId, app: &Deployed, leaving: &[(WorkloadId, u64)]) -> Self {
        let state = match app.traffic.len() {
            0 => State::Failed,
            _ if app.main().is_some_and(|main| !main.waiting.is_empty()) => State::Waiting,
            _ if app.rollout.is_some() => State::OnTrial,
            1 => State::Serving,
            _ => State::Sharing,
        };
        let main = app.main();
        let mut versions: Vec<_> = app.versions.iter().map(|version| Version::of(version, app)).collect();
        versions.sort_by_key(|version| std::cmp::Reverse(version.revision));
        let own = |(workload, _): &&(WorkloadId, u64)| workload.tenant == id.tenant && workload.app == id.name;
        Self {
            tenant: id.tenant.to_string(),
            name: id.name.to_string(),
            state,
            revision: main.map(|main| main.revision),
            version: main.and_then(|main| main.app.version.clone()),
            traffic: app.traffic.iter().map(|s| Share { revision: s.revision, weight: s.weight }).collect(),
            rollout: app.rollout.as_deref().and_then(|rollout| Rollout::of(rollout, app)),
            versions,
            leaving: leaving
                .iter()
                .filter(own)
                .map(|(workload, revision)| Leaving { revision: *revision, workload: workload.name.to_string() })
                .collect(),
            refused: app.refused.as_ref().map(|refused| Refused {
                version: refused.version.clone(),
                reason: refused.reason.clone(),
                at: unix(refused.at),
            }),
        }
    }
}

impl Version {
    fn of(version: &Kept, app: &Deployed) -> Self {
        Self {
            revision: version.revision,
            version: version.app.version.clone(),
            manifest: version.app.file.display().to_string(),
            loaded: unix(version.loaded),
            weight: app.weight(version.revision),
            in_flight: version.workloads.iter().map(|workload| u64::from(workload.in_flight())).sum::<u64>()
                + version.folders.iter().map(|folder| u64::from(folder.in_flight())).sum::<u64>(),
            workloads: version
                .workloads
                .iter()
                .filter_map(|workload| Some(Artifact::of(workload, version.provenance(&workload.id.name)?)))
                .collect(),
            waiting: version.waiting.iter().map(Waiting::of).collect(),
            folders: version.app.folders.iter().map(Folder::of).collect(),
            stores: version.stores.iter().map(|store| Store::of(store)).collect(),
        }
    }
}

impl Waiting {
    fn of(waiting: &deploy::Waiting) -> Self {
        Self { workload: waiting.id.name.to_string(), store: waiting.store.clone(), reason: waiting.why.clone() }
    }
}

impl Store {
    fn of(store: &deploy::AppStore) -> Self {
        Self {
            name: store.name.clone(),
            provider: store.provider(),
            declared: store.declared(),
            capabilities: store.capabilities().into_iter().map(Capability::as_str).collect(),
            moving: store.moving().map(|deploy::Moving { entries, bytes, total }| Moving {
                entries,
                bytes,
                entries_total: total,
            }),
        }
    }
}

impl Folder {
    fn of(folder: &manifest::Folder) -> Self {
        Self { name: folder.name.clone(), path: folder.path.display().to_string() }
    }
}

impl Artifact {
    fn of(workload: &Loaded, from: &Provenance) -> Self {
        Self {
            name: workload.id.name.to_string(),
            digest: format!("sha256:{}", workload.digest),
            contract: workload.contract.name(),
            shape: workload.shape.as_str(),
            source: from.reference.clone(),
            manifest: from.manifest.clone(),
            signers: from.signers.iter().map(|signer| format!("{}: {}", signer.evidence, signer.who)).collect(),
        }
    }
}
