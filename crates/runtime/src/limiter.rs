//! Bounds what one instance can grow, summed over all its memories and tables.
//!
//! wasmtime's own `StoreLimits` counts per memory, so a module with 16 memories would have 16 times its limit.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::tenant::TenantAccount;

/// Memories of one instance; each holds address space even when empty.
const MAX_MEMORIES: usize = 64;
/// Tables of one instance.
const MAX_TABLES: usize = 64;
/// Core instances of one component. Python components take 14.
const MAX_INSTANCES: usize = 256;

/// The meter and bound of one store's memory.
#[derive(Debug)]
pub(crate) struct Limiter {
    tenant: Option<Arc<TenantAccount>>,
    memory_max: u64,
    memory_used: u64,
    memory_refused: bool,
    tables_max: u64,
    tables_used: u64,
}

impl Limiter {
    pub(crate) fn new(memory_bytes: u64, table_elements: u64, tenant: Option<Arc<TenantAccount>>) -> Self {
        Self {
            tenant,
            memory_max: memory_bytes,
            memory_used: 0,
            memory_refused: false,
            tables_max: table_elements,
            tables_used: 0,
        }
    }

    /// Bytes of linear memory the instance has; memories never shrink, so this is the high-water mark too.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_used
    }

    /// A new call begins: what was refused to an earlier one is not its fault.
    pub(crate) fn forget_refusal(&mut self) {
        self.memory_refused = false;
    }

    /// Whether a growth was refused: a trap that follows was the guest running out of memory.
    pub(crate) fn memory_refused(&self) -> bool {
        self.memory_refused
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = (desired as u64).saturating_sub(current as u64);
        let sum = self.memory_used.saturating_add(more);
        if sum > self.memory_max {
            self.memory_refused = true;
            return Ok(false);
        }
        // The engine refuses this one itself; it must not be counted.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if self.tenant.as_ref().is_some_and(|tenant| !tenant.take_memory(more)) {
            self.memory_refused = true;
            return Ok(false);
        }
        self.memory_used = sum;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // Refused by us, by the module's own maximum or by the pool's slot: the guest sees -1 and decides.
        self.memory_refused = true;
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = (desired as u64).saturating_sub(current as u64);
        let sum = self.tables_used.saturating_add(more);
        if sum > self.tables_max || maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.tables_used = sum;
        Ok(true)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        Ok(())
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        if let Some(tenant) = &self.tenant {
            tenant.give_memory(self.memory_used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_sum_over_all_memories() {
        let mut limiter = Limiter::new(100, 10, None);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 60, None).unwrap(), "a second memory counts too");
        assert!(limiter.memory_refused());
        assert!(limiter.memory_growing(60, 100, None).unwrap());
        assert_eq!(limiter.memory_bytes(), 100);
    }

    #[test]
    fn a_growth_over_the_modules_own_maximum_is_not_counted() {
        let mut limiter = Limiter::new(100, 10, None);
        assert!(!limiter.memory_growing(0, 60, Some(50)).unwrap());
        assert!(!limiter.table_growing(0, 6, Some(5)).unwrap());
        assert!(limiter.memory_growing(0, 100, None).unwrap() && limiter.table_growing(0, 10, None).unwrap());
        assert!(!limiter.table_growing(0, 1, None).unwrap());
    }
}
