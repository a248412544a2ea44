//! One app of a deployment: which versions it keeps, which of them serve, which one to go back to.

use std::{cmp::Reverse, collections::BTreeSet, sync::Arc, time::SystemTime};

use samara_model::WorkloadId;

use super::{Rollout, Version};
use crate::gateway::Target as _;

/// Versions kept of one app, those that serve included: what a roll-back can go back to.
pub const MAX_VERSIONS: usize = 5;
/// The sum of the weights of the versions that serve.
pub const FULL_WEIGHT: u32 = 100;

/// One app: its versions, and how they share its requests.
#[derive(Clone, Debug, Default)]
pub struct Deployed {
    /// The versions that are kept, the one that served last being the last.
    pub versions: Vec<Arc<Version>>,
    /// The versions that serve; the weights' sum is [`FULL_WEIGHT`]. Empty if none ever did.
    pub traffic: Vec<Share>,
    /// The version on trial, if there is one.
    pub rollout: Option<Arc<Rollout>>,
    /// The last version that was refused or failed its trial, if nothing was taken over since.
    pub refused: Option<RefusedVersion>,
}

/// A version's share of an app's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The version.
    pub revision: u64,
    /// Its part of [`FULL_WEIGHT`].
    pub weight: u32,
}

/// A version that did not come to serve.
#[derive(Clone, Debug)]
pub struct RefusedVersion {
    /// What its manifest calls it.
    pub version: Option<String>,
    /// Why.
    pub reason: String,
    /// When.
    pub at: SystemTime,
}

impl Deployed {
    /// The versions that serve, with their weights.
    pub fn active(&self) -> impl Iterator<Item = (u32, &Version)> {
        let find = |share: &Share| self.versions.iter().find(|version| version.revision == share.revision);
        self.traffic.iter().filter_map(move |share| Some((share.weight, &**find(share)?)))
    }

    /// What part of the requests a version has.
    pub fn weight(&self, revision: u64) -> u32 {
        self.traffic.iter().find(|share| share.revision == revision).map_or(0, |share| share.weight)
    }

    /// The version that has most of the requests, the older of two that have as many.
    pub fn main(&self) -> Option<&Version> {
        self.active().max_by_key(|(weight, version)| (*weight, Reverse(version.revision))).map(|(_, version)| version)
    }

    /// The revision that serves and is the same as this version.
    pub(super) fn serves(&self, version: &Version) -> Option<u64> {
        self.active().find(|(_, active)| active.same_as(version)).map(|(_, active)| active.revision)
    }

    /// The version to go back to: the oldest of those that share the requests, else the one that served before.
    pub(super) fn earlier(&self) -> Option<u64> {
        if self.traffic.len() > 1 {
            return self.traffic.iter().map(|share| share.revision).min();
        }
        let idle = self.versions.iter().rev().find(|version| self.weight(version.revision) == 0);
        idle.map(|version| version.revision)
    }

    /// Drops those versions, over [`MAX_VERSIONS`], that have not served for longest, and those that have only waited.
    pub(super) fn trim(&mut self) -> Vec<Arc<Version>> {
        let serving: Vec<_> = self.traffic.iter().map(|share| share.revision).collect();
        let waits = |version: &mut Arc<Version>| !version.waiting.is_empty() && !serving.contains(&version.revision);
        let mut dropped: Vec<_> = self.versions.extract_if(.., waits).collect();
        while self.versions.len() > MAX_VERSIONS {
            let idle = self.versions.iter().position(|version| self.weight(version.revision) == 0);
            match idle {
                Some(index) => dropped.push(self.versions.remove(index)),
                None => break,
            }
        }
        dropped
    }

    /// Puts every version that does not serve to rest.
    pub(super) fn rest(&self) {
        for version in self.versions.iter().filter(|version| self.weight(version.revision) == 0) {
            version.workloads.iter().for_each(|workload| workload.set_resting(true));
        }
    }

    pub(super) fn workloads(&self) -> BTreeSet<WorkloadId> {
        self.versions.iter().flat_map(|version| ids(version)).collect()
    }
}

pub(super) fn ids(version: &Version) -> impl Iterator<Item = WorkloadId> {
    let folders = version.folders.iter().map(|folder| folder.id().clone());
    version.workloads.iter().map(|workload| workload.id.clone()).chain(folders)
}
