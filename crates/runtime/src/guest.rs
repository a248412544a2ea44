//! The data inside every store: one concrete type, so that contracts are trait objects and nothing is generic over it.
//!
//! A contract's own state is private to its folder: it lives in `abi` and only that contract knows its type (a downcast
//! costs about 2.6 ns a host call, a generic would cost every reader).

use std::{any::Any, fmt, sync::Arc};

use samara_model::{Call, Stdio};
use wasmtime_wasi::{WasiCtxView, WasiView, p1::WasiP1Ctx};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::{authority::Authority, hooks::Hooks, limiter::Limiter, meter::Meter, wasi};

/// One guest's side of the host.
pub struct Guest {
    /// WASI: streams, clocks, random numbers, files, sockets, and the resource table of all ABIs.
    pub wasi: WasiP1Ctx,
    /// `wasi:http`.
    pub http: WasiHttpCtx,
    hooks: Hooks,
    authority: Arc<Authority>,
    pub(crate) limiter: Limiter,
    pub(crate) meter: Arc<Meter>,
    abi: Box<dyn Any + Send>,
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest").field("authority", &self.authority).field("meter", &self.meter).finish_non_exhaustive()
    }
}

impl Guest {
    /// A guest for one call; takes the call's standard streams.
    pub(crate) fn new(
        authority: &Arc<Authority>,
        meter: &Arc<Meter>,
        call: &mut Call,
        abi: Box<dyn Any + Send>,
    ) -> anyhow::Result<Self> {
        let (args, env, stdio) = match call {
            Call::Command(command) => (
                std::mem::take(&mut command.args),
                std::mem::take(&mut command.env),
                std::mem::take(&mut command.stdio),
            ),
            Call::Http(_) | Call::Function(_) | Call::Message(_) | Call::KeyValue(_) => {
                (Vec::new(), Vec::new(), Stdio::Log)
            }
        };
        let limits = &authority.limits;
        let mut wasi = wasi::context(authority, &args, &env, stdio)?;
        wasi.ctx().table.set_max_capacity(usize::try_from(limits.handles).unwrap_or(usize::MAX));
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(usize::try_from(limits.header_bytes).unwrap_or(usize::MAX));
        Ok(Self {
            wasi,
            http,
            hooks: Hooks::new(Arc::clone(authority)),
            authority: Arc::clone(authority),
            limiter: Limiter::new(limits.memory_bytes, limits.table_elements, Some(Arc::clone(authority.tenant()))),
            meter: Arc::clone(meter),
            abi,
        })
    }

    /// The contract's own state of this call; `None` if another type was put there, which is a mistake of that contract.
    pub fn abi<T: 'static>(&mut self) -> Option<&mut T> {
        self.abi.downcast_mut()
    }

    /// What this guest may do.
    pub fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// Prepares a kept guest for its next call: its own meter and state, the same memory.
    pub(crate) fn renew(&mut self, meter: &Arc<Meter>, abi: Box<dyn Any + Send>) {
        self.meter = Arc::clone(meter);
        self.limiter.forget_refusal();
        self.abi = abi;
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.ctx()
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: self.wasi.ctx().table, hooks: &mut self.hooks }
    }
}
