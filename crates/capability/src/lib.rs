//! What a guest can be given: each folder is one capability, each file in it one provider.
//!
//! Nothing here knows the engine or a guest ABI. Providers know neither tenants nor grants: what a workload may do is
//! checked once, in the wrapper that each capability lends to a workload ([`kv::Granted`], [`http::Egress`]).

mod account;
pub mod blob;
mod clock;
pub mod config;
mod disk;
mod gate;
pub mod http;
pub mod kv;
mod lent;
mod link;
mod location;
pub mod messaging;
mod moving;
mod record;
pub mod secrets;
pub mod sql;
pub mod trigger;
mod watched;

pub use clock::Clock;
pub use disk::{FILE_BYTES, SOURCE_BYTES, SOURCE_VALUES};
pub use gate::{HOLD, NOTED_BYTES, NOTED_CHANGES};
pub use lent::{Begun, Lent, Operation};
pub use link::Link;
pub use location::without_credentials;
pub use moving::{Amount, MoveError, Present, Progress};
pub use record::{Denial, Recorder, Unrecorded};
pub use watched::FRESH;
