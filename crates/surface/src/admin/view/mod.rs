//! What the API shows, as plain data. Times are seconds, sizes bytes; values of `env` and `config` grants are not shown.

mod app;
mod usage;
mod workload;

use std::time::SystemTime;

pub(super) use app::{App, AppPath, Share, StorePath};
pub(super) use usage::Usage;
pub(super) use workload::{Route, Workload};

/// Seconds since 1970.
pub(super) fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
