//! What one workload may do, and the record of what it did: built once at load, shared by all its calls.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use parking_lot::Mutex;
use samara_capability::{Denial, Recorder, http::Egress, kv};
use samara_model::{AddressRule, Capability, Grants, Limits, WorkloadId};
use samara_telemetry::{GuestLog, WorkloadMetrics};
use wasmtime_wasi::sockets::SocketAddrUse;

use crate::{profile::Sampler, tenant::TenantAccount};

/// Distinct denials remembered per workload; more are counted but not told apart.
const MAX_DENIALS: usize = 256;

/// Everything the host functions of a workload consult. Immutable but for its records.
pub struct Authority {
    /// Whose it is.
    pub workload: WorkloadId,
    /// What it was given.
    pub grants: Grants,
    /// What bounds it.
    pub limits: Limits,
    /// Its log, rate-limited.
    pub log: Arc<GuestLog>,
    /// Its counters.
    pub metrics: Arc<WorkloadMetrics>,
    pub(crate) sampler: Sampler,
    tenant: Arc<TenantAccount>,
    stores: BTreeMap<String, kv::Granted>,
    egress: Arc<Egress>,
    record: Arc<Record>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("workload", &self.workload)
            .field("grants", &self.grants)
            .finish_non_exhaustive()
    }
}

impl Authority {
    pub(crate) fn new(
        workload: WorkloadId,
        grants: Grants,
        limits: Limits,
        stores: &BTreeMap<String, kv::Store>,
        metrics: Arc<WorkloadMetrics>,
        tenant: Arc<TenantAccount>,
    ) -> Self {
        let record =
            Arc::new(Record { workload: workload.clone(), metrics: Arc::clone(&metrics), denials: Mutex::default() });
        let recorder: Arc<dyn Recorder> = Arc::clone(&record) as _;
        let lend = |(name, grant): (&String, &samara_model::KvGrant)| {
            let store = stores.get(name)?;
            Some((name.clone(), store.grant(grant.clone(), &limits, Arc::clone(&recorder))))
        };
        let stores = grants.kv.iter().filter_map(lend).collect();
        let log = Arc::new(GuestLog::new(
            workload.clone(),
            limits.log_bytes_per_second,
            limits.log_line_bytes,
            Arc::clone(&metrics),
        ));
        let egress = Arc::new(Egress::new(grants.http.clone(), Arc::clone(&recorder)));
        Self { workload, grants, limits, log, metrics, sampler: Sampler::default(), tenant, stores, egress, record }
    }

    /// A key-value store by the name the manifest gives it, or the denial that was recorded.
    ///
    /// # Errors
    /// The store is not granted; the denial names the grant.
    pub fn kv(&self, name: &str) -> Result<&kv::Granted, Denial> {
        self.stores
            .get(name)
            .ok_or_else(|| self.deny(Capability::Kv, format!("key-value store `{name}`"), format!("kv = [\"{name}\"]")))
    }

    /// The only granted key-value store, for ABIs whose guests ask for `""` or `default`.
    pub fn only_kv(&self) -> Option<&kv::Granted> {
        let mut stores = self.stores.values();
        stores.next().filter(|_| stores.next().is_none())
    }

    /// The account its calls and memory are booked on.
    pub fn tenant(&self) -> &Arc<TenantAccount> {
        &self.tenant
    }

    /// The way out for HTTP requests; it checks the grant itself.
    pub fn egress(&self) -> &Arc<Egress> {
        &self.egress
    }

    /// Records a denial and gives it back.
    pub fn deny(&self, capability: Capability, what: String, grant: String) -> Denial {
        let denial = Denial { capability, what, grant };
        self.record.denied(&denial);
        denial
    }

    /// The denials so far, with how often each happened.
    pub fn denials(&self) -> Vec<(Denial, u64)> {
        self.record.denials.lock().clone()
    }

    /// Whether a raw socket may use an address. Rules written as names are resolved now, off the guest's thread.
    pub(crate) async fn socket_allowed(self: Arc<Self>, address: SocketAddr, usage: SocketAddrUse) -> bool {
        let net = &self.grants.net;
        if net.any {
            return true;
        }
        let rules = match usage {
            // Binding to an ephemeral port of no particular address is what connecting does first. It is not for
            // listening: an unbound socket that listens is checked with exactly this address.
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind
                if address.port() == 0 && address.ip().is_unspecified() && !net.connect.is_empty() =>
            {
                return true;
            }
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind | SocketAddrUse::TcpListen => &net.listen,
            // Whoever may listen may hear from anybody: these are the addresses of peers.
            SocketAddrUse::TcpAccept | SocketAddrUse::UdpReceive if !net.listen.is_empty() => return true,
            _ => &net.connect,
        };
        for rule in rules {
            if rule.port.is_some_and(|port| port != address.port()) {
                continue;
            }
            if matches_address(rule, address.ip()).await {
                return true;
            }
        }
        let key = if std::ptr::eq(rules, &raw const net.listen) { "listen" } else { "connect" };
        self.deny(Capability::Net, format!("{key} {address}"), format!("net = {{ {key} = [\"{address}\"] }}"));
        false
    }
}

async fn matches_address(rule: &AddressRule, address: IpAddr) -> bool {
    let canonical = address.to_canonical();
    match rule.address() {
        Some(allowed) => allowed == canonical || allowed == address,
        None => {
            let found = tokio::net::lookup_host((rule.host.as_str(), rule.port.unwrap_or(0))).await;
            found.is_ok_and(|mut found| found.any(|one| one.ip().to_canonical() == canonical))
        }
    }
}

/// Counts what guests are refused; each distinct denial is logged once.
#[derive(Debug)]
struct Record {
    workload: WorkloadId,
    metrics: Arc<WorkloadMetrics>,
    denials: Mutex<Vec<(Denial, u64)>>,
}

impl Recorder for Record {
    fn used(&self, _: Capability, _: &str, _: &'static str) {}

    fn denied(&self, denial: &Denial) {
        self.metrics.denied(denial.capability);
        let first = {
            let mut denials = self.denials.lock();
            if let Some((_, count)) = denials.iter_mut().find(|(known, _)| known == denial) {
                *count += 1;
                false
            } else if denials.len() < MAX_DENIALS {
                denials.push((denial.clone(), 1));
                true
            } else {
                false
            }
        };
        if first {
            let (what, grant) = (samara_telemetry::sanitize(&denial.what), samara_telemetry::sanitize(&denial.grant));
            tracing::warn!(workload = %self.workload, capability = %denial.capability, what = %what, "denied; `{grant}` would allow it");
        }
    }
}
