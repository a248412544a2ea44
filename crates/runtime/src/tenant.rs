//! Quotas of one tenant: how much all its workloads may do and hold together.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use samara_model::{Fault, Tenant, format_bytes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What the operator allows a tenant; `None` is unbounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Linear memory of all its live instances, in bytes.
    pub memory_bytes: Option<u64>,
    /// Calls at once, over all its workloads.
    pub concurrency: Option<u32>,
    /// Calls a second, over all its workloads; a second's worth may come at once.
    pub rate_per_second: Option<u64>,
}

/// One tenant's quota and what it has used of it.
#[derive(Debug)]
pub struct TenantAccount {
    tenant: Tenant,
    quota: Quota,
    running: Option<Arc<Semaphore>>,
    tokens: Mutex<Tokens>,
    memory_used: AtomicU64,
}

#[derive(Debug)]
struct Tokens {
    left: f64,
    at: Instant,
}

/// How long a caller over a quota is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl TenantAccount {
    pub(crate) fn new(tenant: Tenant, quota: Quota) -> Self {
        let running = quota.concurrency.map(|calls| Arc::new(Semaphore::new(calls as usize)));
        #[expect(clippy::cast_precision_loss, reason = "a rate over 2^53 a second is no limit")]
        let left = quota.rate_per_second.unwrap_or(0) as f64;
        Self {
            tenant,
            quota,
            running,
            tokens: Mutex::new(Tokens { left, at: Instant::now() }),
            memory_used: AtomicU64::new(0),
        }
    }

    /// Takes a call's share of the quota, which is given back when the permit is dropped.
    ///
    /// # Errors
    /// Busy, saying which part of the quota is used up.
    pub fn admit(&self) -> Result<Option<OwnedSemaphorePermit>, Fault> {
        self.take_token()?;
        let Some(running) = &self.running else { return Ok(None) };
        match Arc::clone(running).try_acquire_owned() {
            Ok(permit) => Ok(Some(permit)),
            Err(_) => Err(self.over(&format!("{} calls at once", self.quota.concurrency.unwrap_or(0)))),
        }
    }

    /// The same for a call that another call of the tenant waits for, and whose place it shares.
    ///
    /// # Errors
    /// Busy, saying which part of the quota is used up.
    pub(crate) fn admit_within(&self) -> Result<Option<OwnedSemaphorePermit>, Fault> {
        self.take_token().map(|()| None)
    }

    fn take_token(&self) -> Result<(), Fault> {
        let Some(rate) = self.quota.rate_per_second else { return Ok(()) };
        #[expect(clippy::cast_precision_loss, reason = "a rate over 2^53 a second is no limit")]
        let rate_float = rate as f64;
        let mut tokens = self.tokens.lock();
        let now = Instant::now();
        tokens.left = (tokens.left + now.duration_since(tokens.at).as_secs_f64() * rate_float).min(rate_float);
        tokens.at = now;
        if tokens.left < 1.0 {
            drop(tokens);
            return Err(self.over(&format!("{rate} calls a second")));
        }
        tokens.left -= 1.0;
        Ok(())
    }

    fn over(&self, what: &str) -> Fault {
        Fault::Busy {
            why: format!("tenant `{}` is over its quota of {what}", self.tenant),
            retry_after: RETRY_AFTER,
            quota: true,
        }
    }

    /// Counts memory in, if the tenant may hold that much.
    pub(crate) fn take_memory(&self, bytes: u64) -> bool {
        let limit = self.quota.memory_bytes.unwrap_or(u64::MAX);
        let taken = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        self.memory_used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    pub(crate) fn give_memory(&self, bytes: u64) {
        self.memory_used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What it was given.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Linear memory of all its live instances, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_used.load(Ordering::Relaxed)
    }

    /// The memory quota, for people.
    pub fn memory_quota(&self) -> String {
        self.quota.memory_bytes.map_or_else(|| "none".to_owned(), format_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(quota: Quota) -> TenantAccount {
        TenantAccount::new(Tenant::default(), quota)
    }

    #[test]
    fn a_tenant_over_its_concurrency_is_told_which_quota() {
        let account = account(Quota { concurrency: Some(1), ..Quota::default() });
        let held = account.admit().unwrap();
        let fault = account.admit().unwrap_err();
        assert_eq!(fault.status(), 429);
        assert!(fault.to_string().contains("1 calls at once"), "{fault}");
        drop(held);
        assert!(account.admit().is_ok());
    }

    #[test]
    fn a_tenant_over_its_rate_is_refused_until_tokens_come_back() {
        let account = account(Quota { rate_per_second: Some(3), ..Quota::default() });
        let admitted = (0..10).filter(|_| account.admit().is_ok()).count();
        assert!((3..=4).contains(&admitted), "{admitted}");
    }

    #[test]
    fn memory_is_counted_over_all_instances() {
        let account = account(Quota { memory_bytes: Some(100), ..Quota::default() });
        assert!(account.take_memory(60));
        assert!(!account.take_memory(60));
        account.give_memory(60);
        assert!(account.take_memory(100));
    }
}
