//! Keeps the memory of a process that holds secrets out of core dumps.
//!
//! Marking our own pages (`MADV_DONTDUMP`) would not do: what is handed to a guest or to a server is copied into the guest's
//! memory, into buffers of TLS and of sockets, onto stacks. `PR_SET_DUMPABLE` would do, but takes `/proc/self/pagemap` from a
//! process that is not root, which the engine's pool resets memories with. So the dump itself is made worthless, in two ways:
//!
//! - `coredump_filter` of 0: whoever is handed a dump, file or program or socket, gets no memory in it.
//! - A core limit of one byte: no file is written, and a program named in `core_pattern`, which the usual limit of 0 does not
//!   keep the kernel from starting, is not started either (the kernel's own mark for "this one is such a program").
//!
//! Child processes inherit both. Out of reach of this: swap, and whoever may read the memory of a process of this user.

use std::sync::Once;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The mark described above.
const NO_PROGRAM: u64 = 1;

/// Does it once in the life of a process.
pub(super) fn keep_out() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        let filtered = std::fs::write("/proc/self/coredump_filter", "0");
        let maximum = getrlimit(Resource::Core).maximum;
        // Nobody but root may raise the maximum: below it stays what is there, which is 0.
        let limit = maximum.map_or(NO_PROGRAM, |maximum| maximum.min(NO_PROGRAM));
        let limited = setrlimit(Resource::Core, Rlimit { current: Some(limit), maximum: Some(limit) });
        if let Err(error) = filtered
            && (limited.is_err() || limit != NO_PROGRAM)
        {
            tracing::warn!(%error, "core dumps cannot be switched off; secrets would be in one");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Secret;

    #[test]
    fn a_process_with_secrets_leaves_no_memory_behind() {
        let _secret = Secret::new("x");
        let core = getrlimit(Resource::Core);
        assert!(core.current.is_some_and(|limit| limit <= NO_PROGRAM) && core.current == core.maximum);
        let filter = std::fs::read_to_string("/proc/self/coredump_filter").unwrap();
        assert_eq!(u32::from_str_radix(filter.trim(), 16), Ok(0));
    }
}
