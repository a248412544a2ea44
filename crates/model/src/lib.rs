//! The nouns every other crate speaks: who calls, what is called, what comes back, what is allowed.
//!
//! Plain data only: no I/O, no async runtime, no engine. One word per idea; the words are those of
//! ARCHITECTURE.md and they are the same in code, configuration, logs and metrics.

mod address;
mod body;
mod call;
mod compile;
mod fault;
mod grant;
#[cfg(test)]
mod hammer;
mod key_value;
mod limit;
mod name;
mod place;
mod registry;
mod trust;
mod unit;

pub mod manifest;
pub mod route;

pub use address::not_public;
pub use body::{Body, BodyError, collect, empty, full};
pub use call::{
    Call, Caller, ClientCertificate, Command, Encoding, Function, HttpCall, Message, Reply, Shape, Sink, SinkClosed,
    Stdio,
};
pub use compile::Compile;
pub use fault::{Fault, Limit, Severity};
pub use grant::{
    AddressRule, BlobGrant, BlobOperation, Capability, DEFAULT_BUS, FsGrant, Grants, HeaderPiece, HeaderRule,
    HeaderTemplate, HttpGrant, HttpPool, HttpTimeouts, INSIDE_DOMAINS, KvGrant, KvOperation, MAX_HTTP_RETRIES,
    MAX_SUBJECT_BYTES, MAX_SUBJECT_WORDS, MessagingGrant, NetGrant, OriginRule, ParseGrantError, SecretsGrant,
    SqlGrant, SqlOperation, SubjectPattern, ValueSource, check_added_header, check_subject, inside_host,
};
pub use key_value::{KeyValueCall, KeyValueReply};
pub use limit::{GUARDED_FEATURES, Limits};
pub use name::{AppId, NameError, Tenant, WorkloadId};
pub use place::{Kept, cache_directory};
pub use registry::RegistryHost;
pub use route::{Match, Miss, Pattern, Route, RouteTable};
pub use trust::{
    ClaimedBounds, Evidence, Identity, MAX_REQUIREMENT_DEPTH, ReferencePattern, Requirement, TrustPolicy, TrustRule,
    TrustTerms, place_of_host,
};
pub use unit::{UnitError, format_bytes, format_duration, parse_bytes, parse_duration, parse_rate};
