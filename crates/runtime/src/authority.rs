//! What one workload may do, and the record of what it did: built once at load, shared by all its calls.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use samara_capability::{
    Denial, Recorder, blob, config,
    http::{Egress, EgressPolicy},
    kv, messaging, secrets, sql,
};
use samara_model::{AddressRule, Capability, DEFAULT_BUS, Grants, Limits, WorkloadId};
use samara_telemetry::{GuestLog, WorkloadMetrics};
use wasmtime_wasi::sockets::SocketAddrUse;

use crate::{
    Stores,
    profile::Sampler,
    record::Record,
    stores::Loans,
    tenant::TenantAccount,
    values::{Lent, Values},
};

/// Characters of a guest's own text that a denial repeats, at most.
const QUOTED_CHARACTERS: usize = 63;

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
    loans: Loans,
    config: config::Granted,
    secrets: secrets::Granted,
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
        stores: &Stores,
        values: Values,
        metrics: Arc<WorkloadMetrics>,
        tenant: Arc<TenantAccount>,
    ) -> Self {
        let record = Arc::new(Record::new(workload.clone(), Arc::clone(&metrics)));
        let recorder: Arc<dyn Recorder> = Arc::clone(&record) as _;
        let loans = stores.lend(&grants, &limits, &recorder);
        let Lent { config, secrets, headers } = values.lend(&recorder);
        let log = Arc::new(GuestLog::new(
            workload.clone(),
            limits.log_bytes_per_second,
            limits.log_line_bytes,
            Arc::clone(&metrics),
        ));
        let inside = stores.inside.clone();
        let policy = EgressPolicy { headers, inside, ..EgressPolicy::new(grants.http.clone(), Arc::clone(&recorder)) };
        let egress = Arc::new(Egress::with_policy(policy));
        Self {
            workload,
            grants,
            limits,
            log,
            metrics,
            sampler: Sampler::default(),
            tenant,
            loans,
            config,
            secrets,
            egress,
            record,
        }
    }

    /// A key-value store by the name the manifest gives it, or the denial that was recorded.
    ///
    /// # Errors
    /// The store is not granted; the denial names the grant.
    pub fn kv(&self, name: &str) -> Result<&kv::Granted, Denial> {
        self.lent(&self.loans.kv, Capability::Kv, "key-value store", name)
    }

    /// The only granted key-value store, for ABIs whose guests ask for `""` or `default`.
    pub fn only_kv(&self) -> Option<&kv::Granted> {
        only(&self.loans.kv)
    }

    /// A blob store by the name the manifest gives it, or the denial that was recorded.
    ///
    /// # Errors
    /// The store is not granted; the denial names the grant.
    pub fn blob(&self, name: &str) -> Result<&blob::Granted, Denial> {
        self.lent(&self.loans.blob, Capability::Blob, "blob store", name)
    }

    /// The only granted blob store.
    pub fn only_blob(&self) -> Option<&blob::Granted> {
        only(&self.loans.blob)
    }

    /// A database by the name the manifest gives it, or the denial that was recorded.
    ///
    /// # Errors
    /// The store is not granted; the denial names the grant.
    pub fn sql(&self, name: &str) -> Result<&sql::Granted, Denial> {
        self.lent(&self.loans.sql, Capability::Sql, "database", name)
    }

    /// The only granted database.
    pub fn only_sql(&self) -> Option<&sql::Granted> {
        only(&self.loans.sql)
    }

    /// A bus by the name the manifest gives it, or the denial that was recorded; ABIs that name none ask for
    /// [`DEFAULT_BUS`](samara_model::DEFAULT_BUS), or for the only one.
    ///
    /// # Errors
    /// The bus is not granted; the denial names the grant.
    pub fn messaging(&self, name: &str) -> Result<&messaging::Granted, Denial> {
        self.loans.messaging.get(name).ok_or_else(|| {
            let name = quoted(name);
            let grant = if name == DEFAULT_BUS { String::new() } else { format!("store = \"{name}\", ") };
            let grant = format!("messaging = {{ {grant}publish = [\"SUBJECT\"] }}");
            self.deny(Capability::Messaging, format!("bus `{name}`"), grant)
        })
    }

    /// The only granted bus.
    pub fn only_messaging(&self) -> Option<&messaging::Granted> {
        only(&self.loans.messaging)
    }

    /// Its configuration values; whoever asks without a grant is refused there.
    pub fn config(&self) -> &config::Granted {
        &self.config
    }

    /// Its secrets; whoever asks without a grant is refused there.
    pub fn secrets(&self) -> &secrets::Granted {
        &self.secrets
    }

    fn lent<'l, T>(
        &self,
        loans: &'l BTreeMap<String, T>,
        capability: Capability,
        what: &str,
        name: &str,
    ) -> Result<&'l T, Denial> {
        loans.get(name).ok_or_else(|| {
            let name = quoted(name);
            self.deny(capability, format!("{what} `{name}`"), format!("{capability} = [\"{name}\"]"))
        })
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
        self.record.denials()
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

fn only<T>(loans: &BTreeMap<String, T>) -> Option<&T> {
    let mut loans = loans.values();
    loans.next().filter(|_| loans.next().is_none())
}

/// What a guest calls a store, cut to the length of a name: it may be any text of any length, and goes into records and logs.
fn quoted(name: &str) -> String {
    name.chars().take(QUOTED_CHARACTERS).flat_map(char::escape_debug).collect()
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
