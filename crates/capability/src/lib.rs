//! What a guest can be given: each folder is one capability, each file in it one provider.
//!
//! Nothing here knows the engine or a guest ABI. Providers know neither tenants nor grants: what a workload may do is
//! checked once, in the wrapper that each capability lends to a workload ([`kv::Granted`], [`http::Egress`]).

pub mod http;
pub mod kv;
mod record;

pub use record::{Denial, Recorder, Unrecorded};
