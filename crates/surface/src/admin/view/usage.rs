//! What an app asks for, what it is granted and what it really used.

use samara_runtime::Workload as Loaded;
use samara_telemetry::{UseTotals, metrics::OTHER};
use serde::Serialize;
use utoipa::ToSchema;

use super::workload::{DenialView, GrantsView};

/// What one workload of the version that serves does with its grants.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Usage {
    workload: String,
    /// The capabilities that its imports ask for
    declared: Vec<&'static str>,
    granted: GrantsView,
    /// What all versions of this name have done since the host started
    used: Vec<Used>,
    /// Whether some uses were over the number that is told apart, and are under `other`
    overflowed: bool,
    /// What this version asked for and was not granted
    denied: Vec<DenialView>,
}

/// One operation on one store.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Used {
    capability: &'static str,
    /// The store by its name in the manifest, the origin, or the key
    store: String,
    operation: &'static str,
    /// How often it was begun
    count: u64,
    /// How often it failed or was given up
    failed: u64,
    /// How long all of them took together
    seconds: f64,
}

impl Usage {
    pub(in crate::admin) fn of(workload: &Loaded, uses: &[UseTotals]) -> Self {
        let authority = workload.authority();
        Self {
            workload: workload.id.name.to_string(),
            declared: workload.needs.iter().map(|need| need.as_str()).collect(),
            granted: GrantsView::of(&authority.grants),
            used: uses.iter().map(Used::of).collect(),
            overflowed: uses.iter().any(|one| one.operation == OTHER),
            denied: authority.denials().iter().map(DenialView::of).collect(),
        }
    }
}

impl Used {
    pub(super) fn of(one: &UseTotals) -> Self {
        Self {
            capability: one.capability.as_str(),
            store: one.name.clone(),
            operation: one.operation,
            count: one.begun,
            failed: one.failed,
            seconds: one.time().as_secs_f64(),
        }
    }
}
