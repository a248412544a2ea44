//! A workload that serves, and a route: what it may do, what bounds it, what it did.

use std::{collections::BTreeMap, time::Duration};

use samara_capability::Denial;
use samara_model::{BlobGrant, Grants, KvGrant, Limits, MessagingGrant, SqlGrant};
use samara_runtime::Workload as Loaded;
use samara_telemetry::metrics::WorkloadTotals;
use serde::Serialize;
use utoipa::ToSchema;

use super::{unix, usage::Used};
use crate::{deploy::Version as Kept, gateway::Backing};

/// One workload of a version that serves.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Workload {
    tenant: String,
    app: String,
    name: String,
    /// The version of the app that this is of
    revision: u64,
    /// What its manifest calls it
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// The percentage of the app's requests that this version has
    weight: u32,
    /// `sha256:` and the digest in hex
    digest: String,
    contract: &'static str,
    shape: &'static str,
    /// Whether its instances come from the pool
    pooled: bool,
    /// The compiler of the code that new calls get: `optimized`, or `baseline` until that is there
    tier: &'static str,
    /// What was found while it was loaded
    warnings: Vec<String>,
    limits: LimitsView,
    grants: GrantsView,
    /// Calls of this version being served
    in_flight: u64,
    /// What all versions of this name have counted
    counters: Counters,
    /// What it asked for and was not granted, and what would allow it
    denials: Vec<DenialView>,
    /// The last calls of this version that failed, the newest first
    faults: Vec<FaultView>,
}

/// A call that failed.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct FaultView {
    /// When, in seconds since 1970
    at: u64,
    /// Whose fault it was
    blame: &'static str,
    message: String,
    /// Where the guest was, the innermost function first
    backtrace: Vec<FrameView>,
}

/// One function on a guest's stack.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct FrameView {
    function: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<String>,
    /// The offset of the instruction in the artifact
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<usize>,
    /// The place in the source, if the artifact tells
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
}

impl FaultView {
    fn of(fault: &samara_runtime::FaultRecord) -> Self {
        let frames = fault.backtrace.as_ref().map(|backtrace| backtrace.0.as_slice()).unwrap_or_default();
        let frame = |frame: &samara_runtime::Frame| FrameView {
            function: frame.function.clone(),
            module: frame.module.clone(),
            offset: frame.offset,
            place: frame.place.as_ref().map(|place| samara_telemetry::sanitize(&place.to_string()).into_owned()),
        };
        Self {
            at: unix(fault.time),
            blame: fault.label,
            message: fault.message.clone(),
            backtrace: frames.iter().map(frame).collect(),
        }
    }
}

/// What bounds a workload; `null` is unbounded.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct LimitsView {
    memory_bytes: u64,
    cpu_seconds: Option<f64>,
    deadline_seconds: Option<f64>,
    concurrency: u32,
    queue: u32,
    request_body_bytes: u64,
    response_body_bytes: Option<u64>,
    host_calls: Option<u64>,
    log_bytes_per_second: Option<u64>,
}

/// What a workload may do, without secrets.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct GrantsView {
    /// Key-value stores, with the operations allowed on each
    kv: BTreeMap<String, Vec<&'static str>>,
    /// Blob stores, with the operations allowed on each
    blob: BTreeMap<String, Vec<&'static str>>,
    /// Databases, with the operations allowed on each
    sql: BTreeMap<String, SqlView>,
    /// Buses, with the subjects allowed on each
    messaging: BTreeMap<String, MessagingView>,
    /// Origins that requests may go to
    http: Vec<String>,
    /// Whether they may be private addresses
    http_private: bool,
    /// Folders, as `host:guest:ro` or `host:guest:rw`
    fs: Vec<String>,
    /// Names of environment variables
    env: Vec<String>,
    /// Names of configuration values
    config: Vec<String>,
    /// Names of secrets, and places whose every secret is granted
    secrets: Vec<String>,
    /// Addresses that sockets may connect to
    net_connect: Vec<String>,
    /// Addresses that sockets may listen on
    net_listen: Vec<String>,
}

/// What may be done with a database.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct SqlView {
    operations: Vec<&'static str>,
    /// Names of statements
    statements: Vec<String>,
    /// Whether nothing but these may be done
    named_only: bool,
}

/// What may be done on a bus.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct MessagingView {
    /// Subjects that may be published to
    publish: Vec<String>,
    /// Subjects that may be subscribed to
    subscribe: Vec<String>,
}

/// What was counted since the workload was first loaded.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Counters {
    /// Calls that ended, by outcome
    calls: BTreeMap<&'static str, u64>,
    /// Calls being served, of all versions
    in_flight: u64,
    /// Calls waiting
    queued: u64,
    /// The sum of the calls' wall times
    latency_seconds: f64,
    /// Half of the calls took at most this; `null` without calls
    p50_seconds: Option<f64>,
    /// 99 of 100 calls took at most this
    p99_seconds: Option<f64>,
    /// Calls by how long they took, each in one bucket
    latency_buckets: Vec<LatencyBucket>,
    /// Time calls waited for their turn
    queue_seconds: f64,
    /// Time the guest ran
    cpu_seconds: f64,
    /// The most memory one instance has held
    memory_bytes_max: u64,
    /// Instances kept for another call
    kept: u64,
    /// Bytes of calls that the guest was given
    bytes_in: u64,
    /// Bytes of replies that were handed on
    bytes_out: u64,
    /// Log lines dropped, over the log rate
    log_dropped_lines: u64,
    /// What was done with what is granted
    used: Vec<Used>,
}

/// Calls that took more than the bucket before allows, and at most what this one does.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LatencyBucket {
    /// `null` is without bound
    at_most_seconds: Option<f64>,
    calls: u64,
}

/// Something that was asked for and not granted.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct DenialView {
    capability: &'static str,
    what: String,
    /// The grant that would allow it, as a manifest writes it
    grant: String,
    count: u64,
}

impl Workload {
    pub(in crate::admin) fn of(
        workload: &Loaded,
        version: &Kept,
        weight: u32,
        totals: Option<&WorkloadTotals>,
    ) -> Self {
        let id = &workload.id;
        let authority = workload.authority();
        Self {
            tenant: id.tenant.to_string(),
            app: id.app.to_string(),
            name: id.name.to_string(),
            revision: version.revision,
            version: version.app.version.clone(),
            weight,
            digest: format!("sha256:{}", workload.digest),
            contract: workload.contract.name(),
            shape: workload.shape.as_str(),
            pooled: workload.pooled,
            tier: workload.tier().as_str(),
            warnings: workload.warnings(),
            limits: LimitsView::of(workload.limits()),
            grants: GrantsView::of(&authority.grants),
            in_flight: u64::from(workload.in_flight()),
            counters: Counters::of(totals),
            denials: authority.denials().iter().map(DenialView::of).collect(),
            faults: workload.last_faults().iter().rev().map(FaultView::of).collect(),
        }
    }
}

impl LimitsView {
    fn of(limits: &Limits) -> Self {
        Self {
            memory_bytes: limits.memory_bytes,
            cpu_seconds: limits.cpu.map(|time| time.as_secs_f64()),
            deadline_seconds: limits.deadline.map(|time| time.as_secs_f64()),
            concurrency: limits.concurrency,
            queue: limits.queue,
            request_body_bytes: limits.request_body_bytes,
            response_body_bytes: limits.response_body_bytes,
            host_calls: limits.host_calls,
            log_bytes_per_second: limits.log_bytes_per_second,
        }
    }
}

impl GrantsView {
    pub(super) fn of(grants: &Grants) -> Self {
        let kv = |grant: &KvGrant| grant.operations.iter().map(|one| one.as_str()).collect();
        let blob = |grant: &BlobGrant| grant.operations.iter().map(|one| one.as_str()).collect();
        let sources = grants.secrets.sources.iter().map(ToString::to_string);
        Self {
            kv: grants.kv.iter().map(|(store, grant)| (store.clone(), kv(grant))).collect(),
            blob: grants.blob.iter().map(|(store, grant)| (store.clone(), blob(grant))).collect(),
            sql: grants.sql.iter().map(|(store, grant)| (store.clone(), SqlView::of(grant))).collect(),
            messaging: grants.messaging.iter().map(|(bus, grant)| (bus.clone(), MessagingView::of(grant))).collect(),
            secrets: grants.secrets.values.keys().cloned().chain(sources).collect(),
            http: grants.http.allow.iter().map(ToString::to_string).collect(),
            http_private: grants.http.private,
            fs: grants
                .fs
                .iter()
                .map(|fs| {
                    let mode = if fs.write { "rw" } else { "ro" };
                    format!("{}:{}:{mode}", fs.host.display(), fs.guest)
                })
                .collect(),
            env: grants.env.keys().cloned().collect(),
            config: grants.config.keys().cloned().collect(),
            net_connect: grants.net.connect.iter().map(ToString::to_string).collect(),
            net_listen: grants.net.listen.iter().map(ToString::to_string).collect(),
        }
    }
}

impl SqlView {
    fn of(grant: &SqlGrant) -> Self {
        Self {
            operations: grant.operations.iter().map(|one| one.as_str()).collect(),
            statements: grant.statements.keys().cloned().collect(),
            named_only: grant.named_only,
        }
    }
}

impl MessagingView {
    fn of(grant: &MessagingGrant) -> Self {
        Self {
            publish: grant.publish.iter().map(ToString::to_string).collect(),
            subscribe: grant.subscribe.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Counters {
    fn of(totals: Option<&WorkloadTotals>) -> Self {
        let quantile = |fraction| totals?.latency_quantile(fraction).map(|time| time.as_secs_f64());
        Self {
            calls: totals.map(|totals| totals.outcomes().filter(|(_, count)| *count > 0).collect()).unwrap_or_default(),
            in_flight: totals.map_or(0, |totals| totals.in_flight),
            queued: totals.map_or(0, |totals| totals.queue_depth),
            latency_seconds: totals.map_or(0.0, |totals| totals.latency.as_secs_f64()),
            p50_seconds: quantile(0.5),
            p99_seconds: quantile(0.99),
            latency_buckets: totals
                .map(|totals| totals.latency_buckets().map(LatencyBucket::of).collect())
                .unwrap_or_default(),
            queue_seconds: totals.map_or(0.0, |totals| totals.queue_wait.as_secs_f64()),
            cpu_seconds: totals.map_or(0.0, |totals| totals.cpu.as_secs_f64()),
            memory_bytes_max: totals.map_or(0, |totals| totals.memory_bytes_max),
            kept: totals.map_or(0, |totals| totals.kept),
            bytes_in: totals.map_or(0, |totals| totals.bytes_in),
            bytes_out: totals.map_or(0, |totals| totals.bytes_out),
            log_dropped_lines: totals.map_or(0, |totals| totals.log_dropped_lines),
            used: totals.map(|totals| totals.uses.iter().map(Used::of).collect()).unwrap_or_default(),
        }
    }
}

impl LatencyBucket {
    fn of((bound, calls): (Option<Duration>, u64)) -> Self {
        Self { at_most_seconds: bound.map(|bound| bound.as_secs_f64()), calls }
    }
}

impl DenialView {
    pub(super) fn of((denial, count): &(Denial, u64)) -> Self {
        Self {
            capability: denial.capability.as_str(),
            what: denial.what.clone(),
            grant: denial.grant.clone(),
            count: *count,
        }
    }
}

/// One route.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Route {
    /// The host; any if it is not there
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    /// The methods; empty is any
    methods: Vec<String>,
    path: String,
    tenant: String,
    app: String,
    workload: String,
    shape: &'static str,
    /// The function that is called, where the path does not say it
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    /// Where the route is written
    origin: String,
}

impl Route {
    pub(in crate::admin) fn of(route: &samara_model::Route<Backing>) -> Self {
        let destination = route.value.first();
        let id = destination.target.id();
        Self {
            host: route.host.as_deref().map(str::to_owned),
            methods: route.methods.iter().map(ToString::to_string).collect(),
            path: route.pattern.to_string(),
            tenant: id.tenant.to_string(),
            app: id.app.to_string(),
            workload: id.name.to_string(),
            shape: destination.target.shape().as_str(),
            operation: destination.operation.as_deref().map(str::to_owned),
            origin: route.value.origin.to_string(),
        }
    }
}
