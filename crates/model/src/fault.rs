//! Whose fault it was that a call has no reply.
//!
//! `Fault` alone picks the HTTP status, the exit code, the log level and the metric label: nothing else in the
//! project maps an error to one of those.

use std::{fmt, time::Duration};

/// A limit a guest ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Guest running time.
    Cpu,
    /// Wall time of the call.
    Deadline,
    /// Linear memory, summed over all memories.
    Memory,
    /// Host-call fuel: calls made or bytes lifted.
    HostCalls,
    /// The chain of calls between workloads.
    Depth,
    /// Bytes of a reply.
    ReplyBytes,
}

impl Limit {
    /// The limit's name: the key in the manifest and the metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::HostCalls => "host_calls",
            Self::Depth => "depth",
            Self::ReplyBytes => "response_body",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How loud a fault is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Ours: somebody must look.
    Error,
    /// A guest's or a backend's.
    Warn,
    /// Expected under load.
    Info,
    /// The caller's own mistake.
    Debug,
}

/// Why a call has no reply, told as who is to blame.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The guest trapped, sent a bad reply or broke its protocol.
    #[error("the guest failed: {0}")]
    Guest(String),
    /// The guest ran over one of its limits.
    #[error("the guest is over its `{limit}` limit of {allowed}")]
    Limit {
        /// Which limit.
        limit: Limit,
        /// The limit's value, for people: `50ms`, `128MiB`.
        allowed: String,
    },
    /// The guest asked for something it was not granted and cannot go on.
    #[error("denied: {what}; `{grant}` would allow it")]
    Denied {
        /// What was asked for.
        what: String,
        /// The grant that would have allowed it, as it is written in a manifest.
        grant: String,
    },
    /// Too much work at once.
    #[error("busy: {why}")]
    Busy {
        /// What is full: a queue, a quota.
        why: String,
        /// When trying again makes sense.
        retry_after: Duration,
        /// True when one tenant's quota is full rather than the host.
        quota: bool,
    },
    /// The caller sent something that cannot be answered.
    #[error("{message}")]
    Caller {
        /// The HTTP status that says what was wrong, 400 to 499.
        status: u16,
        /// What was wrong and what would be right.
        message: String,
    },
    /// The configuration is refused at load.
    #[error("{0}")]
    Config(String),
    /// A provider or an upstream failed.
    #[error("backend `{name}` failed: {detail}")]
    Backend {
        /// The store or origin.
        name: String,
        /// What happened.
        detail: String,
        /// True if it did not answer in time.
        slow: bool,
    },
    /// Our own mistake.
    #[error("the host failed: {0}")]
    Host(String),
}

impl Fault {
    /// A caller's mistake with status 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::Caller { status: 400, message: message.into() }
    }

    /// The metric label: who is to blame.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Guest(_) => "guest",
            Self::Limit { .. } => "limit",
            Self::Denied { .. } => "denied",
            Self::Busy { .. } => "busy",
            Self::Caller { .. } => "caller",
            Self::Config(_) => "config",
            Self::Backend { .. } => "backend",
            Self::Host(_) => "host",
        }
    }

    /// The HTTP status a client sees.
    pub fn status(&self) -> u16 {
        match self {
            Self::Guest(_) => 502,
            Self::Limit { limit: Limit::Cpu | Limit::Deadline, .. } => 504,
            Self::Limit { limit: Limit::Depth, .. } => 508,
            Self::Limit { .. } => 507,
            Self::Denied { .. } => 403,
            Self::Busy { quota: true, .. } => 429,
            Self::Busy { .. } => 503,
            Self::Caller { status, .. } => *status,
            Self::Backend { slow: true, .. } => 504,
            Self::Backend { .. } => 502,
            Self::Config(_) | Self::Host(_) => 500,
        }
    }

    /// The exit code of `samara run` and `samara call`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Guest(_) => 134,
            Self::Limit { limit: Limit::Cpu | Limit::Deadline, .. } => 124,
            Self::Limit { limit: Limit::Memory, .. } => 137,
            Self::Denied { .. } => 126,
            Self::Caller { .. } | Self::Config(_) => 2,
            Self::Limit { .. } | Self::Busy { .. } | Self::Backend { .. } | Self::Host(_) => 1,
        }
    }

    /// How loud this is in the log.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Guest(_) | Self::Limit { .. } | Self::Denied { .. } | Self::Backend { .. } => Severity::Warn,
            Self::Busy { .. } => Severity::Info,
            Self::Caller { .. } => Severity::Debug,
            Self::Config(_) | Self::Host(_) => Severity::Error,
        }
    }

    /// What an HTTP client may read. A denial or a trap is not explained to whoever sent the request: the log has it.
    pub fn public_message(&self) -> String {
        match self {
            Self::Guest(_) => "the application failed".to_owned(),
            Self::Limit { limit, .. } => format!("the application ran over its {limit} limit"),
            Self::Denied { .. } => "the application asked for something it may not have".to_owned(),
            Self::Busy { quota: true, .. } => "too many requests for this tenant".to_owned(),
            Self::Busy { .. } => "too many requests at once".to_owned(),
            Self::Caller { message, .. } => message.clone(),
            Self::Backend { slow: true, .. } => "something the application depends on did not answer".to_owned(),
            Self::Backend { .. } => "something the application depends on failed".to_owned(),
            Self::Config(_) | Self::Host(_) => "the host failed".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fault: &Fault, label: &str, status: u16, exit: u8) {
        assert_eq!((fault.label(), fault.status(), fault.exit_code()), (label, status, exit), "{fault}");
    }

    #[test]
    fn each_fault_has_the_status_and_exit_code_of_the_table() {
        let limit = |limit| Fault::Limit { limit, allowed: String::new() };
        let backend = |slow| Fault::Backend { name: String::new(), detail: String::new(), slow };
        let busy = |quota| Fault::Busy { why: String::new(), retry_after: Duration::ZERO, quota };
        check(&Fault::Guest(String::new()), "guest", 502, 134);
        check(&limit(Limit::Cpu), "limit", 504, 124);
        check(&limit(Limit::Deadline), "limit", 504, 124);
        check(&limit(Limit::Memory), "limit", 507, 137);
        check(&limit(Limit::Depth), "limit", 508, 1);
        check(&Fault::Denied { what: String::new(), grant: String::new() }, "denied", 403, 126);
        check(&busy(false), "busy", 503, 1);
        check(&busy(true), "busy", 429, 1);
        check(&Fault::bad_request("x"), "caller", 400, 2);
        check(&Fault::Config(String::new()), "config", 500, 2);
        check(&backend(false), "backend", 502, 1);
        check(&backend(true), "backend", 504, 1);
        check(&Fault::Host(String::new()), "host", 500, 1);
    }

    #[test]
    fn a_denial_names_the_grant_in_the_log_and_not_to_the_caller() {
        let fault = Fault::Denied { what: "kv `carts`".into(), grant: "kv = [\"carts\"]".into() };
        assert!(fault.to_string().contains("kv = [\"carts\"]"));
        assert!(!fault.public_message().contains("carts"));
    }
}
