//! Turns verified bytes plus a call into a reply: engines, the instance pool, limits, tenancy, and the seam that every
//! guest ABI implements.
//!
//! The one path of a call is [`Runtime::call`] in `call.rs`; the one path of a load is [`Runtime::load`] in
//! `runtime.rs`. What a guest may do is asked of its [`Authority`], in one place. This crate knows no ABI but WASI's
//! context, which all of them share.

mod account;
mod authority;
mod backtrace;
mod body;
mod call;
mod canary;
mod compile;
mod contract;
mod engine;
mod error;
mod faults;
mod guest;
mod hooks;
mod lane;
mod limiter;
mod meter;
mod nesting;
mod pool;
mod profile;
mod record;
mod runtime;
mod stores;
mod task;
mod tenant;
mod tier;
pub mod trace;
mod unknown;
mod values;
mod wasi;
mod workload;

pub use authority::Authority;
pub use backtrace::{Backtrace, Frame, MAX_FRAMES};
pub use compile::*;
pub use contract::{
    After, Confidence, Contract, Failure, Fit, LinkTarget, Linked, Live, Loaded, Ready, ReplyTo, instantiating,
};
pub use engine::{CodeKind, EPOCH_TICK, EngineHandle, EngineKey, Engines, GUEST_STACK_BYTES, Ticking, config};
pub use error::{DeniedByHost, to_anyhow};
pub use faults::{FaultRecord, MAX_FAULTS};
pub use guest::Guest;
pub use meter::Meter;
pub use pool::{Footprint, PoolGate, PoolSize, Reserved};
pub use profile::{MAX_SAMPLES, Profile, Profiling};
pub use runtime::{Definition, Runtime, choose, verdicts};
pub use stores::Stores;
pub use tenant::{Quota, TenantAccount};
pub use tier::Tier;
pub use trace::CallTrace;
pub use workload::Workload;
