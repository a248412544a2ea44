//! Loading: from verified bytes to a workload that can be called. Walked once per version.

use std::{collections::HashMap, fmt, num::NonZeroUsize, sync::Arc};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use samara_inspect::{Encoding, Module};
use samara_model::{
    Capability, Compile, Fault, GUARDED_FEATURES, Grants, Limits, Shape, Tenant, WorkloadId, format_bytes,
};
use samara_telemetry::Metrics;
use tokio::sync::Semaphore;
use wasmtime::component;

use crate::{
    Code, Compiler, Confidence, Contract, Fit, Guest, LinkTarget, Linked, Loaded, Stores, Tier, Workload,
    authority::Authority,
    backtrace::Source,
    engine::{EngineHandle, EngineKey, Engines},
    faults::LastFaults,
    lane::Lane,
    pool::{Footprint, PoolSize},
    tenant::{Quota, TenantAccount},
    tier::{Material, Prepared, Tiers},
    unknown,
    values::Values,
};

/// Everything that answers calls in this process.
pub struct Runtime {
    contracts: &'static [&'static dyn Contract],
    wasi03: bool,
    lane: Option<Arc<Lane>>,
    pub(crate) engines: Engines,
    tiered: bool,
    pub(crate) compiler: Compiler,
    /// Turns of compilations that nobody waits for.
    pub(crate) improving: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    tenants: Mutex<HashMap<Tenant, Arc<TenantAccount>>>,
    workloads: RwLock<Vec<std::sync::Weak<Workload>>>,
    linkers: Mutex<HashMap<LinkerKey, Arc<Linker>>>,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("contracts", &self.contracts).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct LinkerKey {
    contract: &'static str,
    engine: EngineKey,
    component: bool,
}

enum Linker {
    Module(wasmtime::Linker<Guest>),
    Component(component::Linker<Guest>),
}

/// What to load, and under which name, grants and limits.
#[derive(Debug)]
pub struct Definition {
    /// The workload's full name.
    pub id: WorkloadId,
    /// The artifact's bytes.
    pub bytes: Bytes,
    /// A contract by name, or `None` to choose by fit.
    pub contract: Option<String>,
    /// Shapes the trigger can use, best first: the first that some contract fits is taken.
    pub shapes: Vec<Shape>,
    /// What it may do.
    pub grants: Grants,
    /// What bounds it.
    pub limits: Limits,
    /// Refuse the load if a need is not granted.
    pub strict: bool,
    /// The guarded Wasm features it may use; `None` is all of them.
    pub features: Option<Vec<String>>,
    /// Calls one instance may serve; 0 and 1 are a fresh instance per call.
    pub reuse: u32,
    /// Whether it may answer with baseline code before its optimised code is there.
    pub compile: Compile,
    /// The contract's own settings.
    pub settings: serde_json::Value,
    /// The tenant's stores; those that are granted are lent.
    pub stores: Stores,
}

impl Runtime {
    /// A runtime that speaks these contracts. Nothing is built until the first load.
    pub fn new(
        contracts: &'static [&'static dyn Contract],
        size: PoolSize,
        compiler: Compiler,
        metrics: Arc<Metrics>,
    ) -> Self {
        let host = metrics.host();
        host.pool_calls_capacity.set(i64::from(size.calls));
        Self {
            contracts,
            wasi03: true,
            lane: None,
            engines: Engines::new(size, host.pool_calls_in_use.clone()),
            tiered: true,
            improving: Arc::new(Semaphore::new((compiler.limits().at_once / 2).clamp(1, Semaphore::MAX_PERMITS))),
            compiler,
            metrics,
            tenants: Mutex::default(),
            workloads: RwLock::default(),
            linkers: Mutex::default(),
        }
    }

    /// Whether guests of WASI 0.3 may be loaded. The engine's authors give it no long-term support.
    #[must_use]
    pub fn with_wasi03(self, allowed: bool) -> Self {
        Self { wasi03: allowed, ..self }
    }

    /// Whether the baseline compiler may be used. Workloads that ask for it wait for optimised code otherwise.
    #[must_use]
    pub fn with_tiered(self, allowed: bool) -> Self {
        Self { tiered: allowed, ..self }
    }

    /// The turns that optimised code takes to be made behind baseline code; while there is none, baseline code goes on
    /// serving. The default is one for each two compilations at once, so that first answers need not wait for it.
    #[must_use]
    pub fn with_improving(self, turns: Arc<Semaphore>) -> Self {
        Self { improving: turns, ..self }
    }

    /// Calls that take long go on on so many threads of low priority, so that short ones never wait behind them. Without
    /// this they stay where they began.
    #[must_use]
    pub fn with_lane(self, threads: NonZeroUsize) -> Self {
        Self { lane: Some(Arc::new(Lane::new(threads))), ..self }
    }

    /// The contracts it speaks, most specific first.
    pub fn contracts(&self) -> &'static [&'static dyn Contract] {
        self.contracts
    }

    /// The counters of this process.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The size of each instance pool.
    pub fn pool_size(&self) -> &PoolSize {
        self.engines.pool_size()
    }

    /// Sets a tenant's quota, before its first workload is loaded: workloads keep the account they were loaded with.
    pub fn set_quota(&self, tenant: &Tenant, quota: Quota) {
        let mut tenants = self.tenants.lock();
        // All apps of a tenant are booked on one account.
        if tenants.get(tenant).is_none_or(|account| account.quota() != quota) {
            tenants.insert(tenant.clone(), Arc::new(TenantAccount::new(tenant.clone(), quota)));
        }
    }

    /// What a tenant has used of its quota, for whatever is served of its apps.
    pub fn tenant(&self, tenant: &Tenant) -> Arc<TenantAccount> {
        let mut tenants = self.tenants.lock();
        let account = || Arc::new(TenantAccount::new(tenant.clone(), Quota::default()));
        Arc::clone(tenants.entry(tenant.clone()).or_insert_with(account))
    }

    /// Drops every kept instance, so that a call that finds the pool full may have its slots.
    pub(crate) fn evict_idle(&self) {
        for workload in self.workloads.read().iter().filter_map(std::sync::Weak::upgrade) {
            workload.evict_idle();
        }
    }

    /// Loads one version of a workload: reads it, chooses its contract, checks grants, compiles, links, prepares.
    ///
    /// # Errors
    /// `Fault::Config` names what is refused and what would fix it.
    pub async fn load(self: &Arc<Self>, definition: Definition) -> Result<Arc<Workload>, Fault> {
        let id = &definition.id;
        let refused = |why: &dyn fmt::Display| Fault::Config(format!("workload `{id}`: {why}"));
        let mut module = self.compiler.read(&definition.bytes).await?.map_err(|error| refused(&error))?;
        let digest = module.sha256.clone();
        let mut bytes = definition.bytes.clone();
        if module.becomes_component() {
            bytes = self.compiler.componentize(module, bytes).await?.map_err(|error| refused(&error))?;
            module = self.compiler.read(&bytes).await?.map_err(|error| refused(&error))?;
        }
        let (contract, fit) = choose(self.contracts, &module, definition.contract.as_deref(), &definition.shapes)
            .map_err(|why| Fault::Config(format!("workload `{id}`: {why}")))?;
        let needs: Vec<_> = contract.needs(&module).into_iter().map(|need| need.capability).collect();
        check_needs(&needs, &definition)?;
        let mut warnings = Vec::new();
        self.check_features(&module, &definition)?;
        let on_demand = self.place(&module, &definition)?;
        if let Some(why) = &on_demand {
            warnings.push(format!("instances are allocated on demand, which is slower than from the pool: {why}"));
        }
        let asked = definition.compile == Compile::Tiered;
        if asked && !self.tiered {
            warnings.push(
                "the baseline compiler is switched off here, so it waits for optimised code; `tiered = true` in [engine] of the host file would allow it"
                    .to_owned(),
            );
        }
        let material = Material {
            id: id.clone(),
            concurrency: contract.code_kind(&module).concurrency,
            pooled: on_demand.is_none(),
            bytes,
            module,
            contract,
            shape: fit.shape,
            settings: definition.settings,
            strict: definition.strict,
        };
        let prepared = self.prepare_first(&material, asked && self.tiered, &mut warnings).await?;
        let tier = prepared.tier;

        let values = Values::open(id, &definition.grants).await?;
        let authority = Authority::new(
            id.clone(),
            definition.grants,
            definition.limits,
            &definition.stores,
            values,
            self.metrics.workload(id),
            self.tenant(&id.tenant),
        );
        let workload = Arc::new(Workload {
            id: id.clone(),
            digest,
            contract,
            shape: fit.shape,
            pooled: material.pooled,
            needs,
            warnings,
            tiers: Tiers::new(prepared),
            running: Arc::new(Semaphore::new(authority.limits.concurrency as usize)),
            queued: 0.into(),
            reuse: definition.reuse,
            idle: Mutex::default(),
            lane: self.lane.clone(),
            resting: false.into(),
            trace: std::sync::OnceLock::new(),
            faults: LastFaults::default(),
            source: Source::find(&material.bytes),
            authority: Arc::new(authority),
        });
        let mut workloads = self.workloads.write();
        workloads.retain(|known| known.strong_count() > 0);
        workloads.push(Arc::downgrade(&workload));
        drop(workloads);
        if tier == Tier::Baseline {
            self.improve(&workload, material);
        }
        Ok(workload)
    }

    /// Links code and makes it ready to be called.
    pub(crate) async fn prepare_code(
        &self,
        material: &Material,
        engine: Arc<EngineHandle>,
        code: &Code,
        warnings: &mut Vec<String>,
    ) -> Result<Prepared, Fault> {
        let Material { id, contract, module, .. } = material;
        let footprint = footprint(module, code, material.concurrency);
        if !engine.gate.can_hold(footprint) {
            return Err(Fault::Config(format!(
                "workload `{id}`: one instance needs {footprint:?}, more than the whole pool holds"
            )));
        }
        let linked = self
            .link(*contract, &engine, code, material.strict, warnings)
            .map_err(|why| Fault::Config(format!("workload `{id}`: {why}")))?;
        let (shape, settings) = (material.shape, &material.settings);
        let ready = contract.prepare(Loaded { module, code, linked: linked.clone(), shape, settings }).await?;
        Ok(Prepared { tier: engine.key.code.tier, ready, engine, footprint, linked })
    }

    /// Refuses what the operator or the workload has not switched on.
    fn check_features(&self, module: &Module, definition: &Definition) -> Result<(), Fault> {
        let id = &definition.id;
        if let Some(declared) = &definition.features {
            let undeclared =
                |name: &&&str| module.features.contains(name) && !declared.iter().any(|known| known == **name);
            if let Some(feature) = GUARDED_FEATURES.iter().find(undeclared) {
                return Err(Fault::Config(format!(
                    "workload `{id}` uses the Wasm feature `{feature}`, which it must declare: `features = [\"{feature}\"]`"
                )));
            }
        }
        if !self.wasi03 && module.features.contains("component-model-async") {
            return Err(Fault::Config(format!(
                "workload `{id}` uses WASI 0.3, which is switched off here; `wasi03 = true` in [engine] of the host file would allow it"
            )));
        }
        Ok(())
    }

    /// Why its instances cannot come from the pool, if they cannot.
    fn place(&self, module: &Module, definition: &Definition) -> Result<Option<String>, Fault> {
        let limit = definition.limits.memory_bytes;
        let footprint = &module.footprint;
        if footprint.max_memory_min_bytes > limit {
            return Err(Fault::Config(format!(
                "workload `{}`: its memory starts at {}, over its `memory` limit of {}; set `memory` to at least that",
                definition.id,
                format_bytes(footprint.max_memory_min_bytes),
                format_bytes(limit)
            )));
        }
        Ok(self.engines.pool_size().misfit(module, limit))
    }

    /// The engine for a key.
    pub(crate) fn engine(&self, key: EngineKey) -> Result<Arc<EngineHandle>, Fault> {
        self.engines.get(key).map_err(|error| {
            Fault::Host(format!("building an engine: {error:#}; a smaller pool needs less address space: set `instances` in the host file"))
        })
    }

    fn link(
        &self,
        contract: &'static dyn Contract,
        engine: &EngineHandle,
        code: &Code,
        strict: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Linked, String> {
        let linker = self
            .linker(contract, engine, matches!(code, Code::Component(_)))
            .map_err(|error| format!("linking the `{}` contract: {error:#}", contract.name()))?;
        let mut stubbed = |missing: &str| {
            if strict {
                return Err(format!("it imports what this host does not provide, and `strict = true`: {missing}"));
            }
            warnings.push(format!("it imports what this host does not provide; calling it fails: {missing}"));
            Ok(())
        };
        // The linker is copied, with its hundreds of functions, only for those who need stubs of their own in it.
        match (code, &*linker) {
            (Code::Module(module), Linker::Module(linker)) => {
                let pre = match linker.instantiate_pre(module) {
                    Ok(pre) => pre,
                    Err(error) => {
                        stubbed(&format!("{error:#}"))?;
                        let mut linker = linker.clone();
                        linker.define_unknown_imports_as_traps(module).map_err(|error| format!("{error:#}"))?;
                        linker.instantiate_pre(module).map_err(|error| format!("{error:#}"))?
                    }
                };
                Ok(Linked::Module(pre))
            }
            (Code::Component(component), Linker::Component(linker)) => {
                let (pre, missing) = unknown::link(linker, component).map_err(|error| format!("{error:#}"))?;
                if !missing.is_empty() {
                    stubbed(&missing.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))?;
                }
                Ok(Linked::Component(pre))
            }
            _ => Err("the module and its linker are of different kinds".to_owned()),
        }
    }

    /// The contract's linker for this engine, made at the first load: a WASI world has hundreds of functions.
    fn linker(
        &self,
        contract: &'static dyn Contract,
        engine: &EngineHandle,
        component: bool,
    ) -> wasmtime::Result<Arc<Linker>> {
        let key = LinkerKey { contract: contract.name(), engine: engine.key, component };
        if let Some(linker) = self.linkers.lock().get(&key) {
            return Ok(Arc::clone(linker));
        }
        let linker = if component {
            let mut linker = component::Linker::new(&engine.engine);
            linker.allow_shadowing(true);
            contract.link(LinkTarget::Component { linker: &mut linker, concurrency: engine.key.code.concurrency })?;
            Linker::Component(linker)
        } else {
            let mut linker = wasmtime::Linker::new(&engine.engine);
            linker.allow_shadowing(true);
            contract.link(LinkTarget::Module(&mut linker))?;
            Linker::Module(linker)
        };
        let linker = Arc::new(linker);
        self.linkers.lock().insert(key, Arc::clone(&linker));
        Ok(linker)
    }
}

/// Every contract's verdict on a module, in table order.
pub fn verdicts(contracts: &[&'static dyn Contract], module: &Module) -> Vec<(&'static dyn Contract, Fit)> {
    contracts.iter().flat_map(|contract| contract.fit(module).into_iter().map(|fit| (*contract, fit))).collect()
}

/// The contract for a module: the first wanted shape that fits, then the surest, then table order.
///
/// # Errors
/// No contract fits, or the named one is unknown or does not: the message names what would.
pub fn choose(
    contracts: &'static [&'static dyn Contract],
    module: &Module,
    name: Option<&str>,
    shapes: &[Shape],
) -> Result<(&'static dyn Contract, Fit), String> {
    if let Some(name) = name
        && !contracts.iter().any(|contract| contract.name() == name)
    {
        let known: Vec<_> = contracts.iter().map(|contract| contract.name()).collect();
        return Err(format!("no contract is called `{name}`; known contracts: {}", known.join(", ")));
    }
    let all = verdicts(contracts, module);
    let mut best: Option<(&'static dyn Contract, Fit)> = None;
    for shape in shapes {
        for (contract, fit) in &all {
            let asked = name.is_none_or(|name| contract.name() == name);
            let better = best.as_ref().is_none_or(|(_, best)| fit.confidence > best.confidence);
            if fit.shape == *shape && asked && better {
                best = Some((*contract, fit.clone()));
            }
        }
        // A shape that is merely possible gives way to a later one that the module was made for.
        if best.as_ref().is_some_and(|(_, fit)| fit.confidence > Confidence::Possible) {
            break;
        }
    }
    best.ok_or_else(|| {
        let wanted: Vec<_> = shapes.iter().map(|shape| shape.as_str()).collect();
        let offers: Vec<_> =
            all.iter().map(|(contract, fit)| format!("{} calls through `{}`", fit.shape, contract.name())).collect();
        let offers = if offers.is_empty() {
            "it fits no contract of this host; `samara inspect` shows what it exports".to_owned()
        } else {
            format!("it answers {}", offers.join(", "))
        };
        match name {
            Some(name) => format!("it does not fit the contract `{name}` for {} calls; {offers}", wanted.join(" or ")),
            None => format!("it cannot answer {} calls; {offers}", wanted.join(" or ")),
        }
    })
}

/// Refuses what `strict` must; the rest is linked and denied at call time.
fn check_needs(needs: &[Capability], definition: &Definition) -> Result<(), Fault> {
    let id = &definition.id;
    for (capability, store) in definition.grants.stores() {
        if !definition.stores.has(capability, store) {
            return Err(Fault::Config(format!(
                "workload `{id}` is granted `{capability}` of the store `{store}`, which is not declared; add [store.{store}]"
            )));
        }
    }
    let missing: Vec<_> = needs.iter().filter(|need| !definition.grants.has(**need)).collect();
    if definition.strict && !missing.is_empty() {
        let list = missing.iter().map(|need| format!("`{need}` (grant `{}`)", Grants::example(**need)));
        return Err(Fault::Config(format!(
            "workload `{id}` is strict and needs what it is not granted: {}; grant it, or set `strict = false` to deny it at call time",
            list.collect::<Vec<_>>().join(", ")
        )));
    }
    Ok(())
}

/// What one call takes from the pool.
fn footprint(module: &Module, code: &Code, concurrency: bool) -> Footprint {
    let read = &module.footprint;
    let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let (memories, tables) = match code {
        Code::Module(module) => {
            let needed = module.resources_required();
            (needed.num_memories, needed.num_tables)
        }
        Code::Component(component) => match component.resources_required() {
            Some(needed) => (needed.num_memories, needed.num_tables),
            None => (narrow(read.memories), narrow(read.tables)),
        },
    };
    let core_instances = if module.encoding == Encoding::Core { 1 } else { narrow(read.core_instances).max(1) };
    // A guest of WASI 0.3 may have several tasks, each on a stack of its own.
    Footprint { calls: 1, core_instances, memories, tables, stacks: if concurrency { 2 } else { 1 } }
}
