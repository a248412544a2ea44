//! Certificates that change while they are served.
//!
//! The files are read again every second and compared by their bytes: a certificate weighs a few kilobytes, and neither
//! notifications nor time stamps see every way in which files are replaced (Kubernetes swaps a symbolic link two folders
//! above, other tools write in place within a tick of the file system's clock). What changed must stay the same for one
//! more look, so that a certificate whose key is not written yet is not tried.

use std::{sync::Arc, time::Duration};

use samara_telemetry::HostMetrics;

use super::{
    Tls, configuration,
    files::{Digest, Files},
};

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Files(Digest),
    /// They could not be read.
    Failure(String),
}

impl Tls {
    /// Follows the files for ever.
    pub(in crate::gateway) async fn watch(self: Arc<Self>, metrics: HostMetrics) {
        self.watch_every(EVERY, metrics).await;
    }

    pub(super) async fn watch_every(self: Arc<Self>, period: Duration, metrics: HostMetrics) {
        metrics.tls_certificate_expiry.set(self.expires);
        let mut tried = Seen::Files(self.loaded);
        let mut last = tried.clone();
        loop {
            tokio::time::sleep(period).await;
            let tls = Arc::clone(&self);
            // Disks may be slow, and names may lie on a network.
            let Ok(read) = tokio::task::spawn_blocking(move || Files::read(&tls.settings)).await else { continue };
            let seen = match &read {
                Ok(files) => Seen::Files(files.digest),
                Err(error) => Seen::Failure(format!("{error:#}")),
            };
            let settled = std::mem::replace(&mut last, seen.clone()) == seen;
            if !settled || seen == tried {
                continue;
            }
            tried = seen;
            match read.and_then(|files| self.replace(&files, &metrics)) {
                Ok(names) => {
                    metrics.tls_reloads.inc();
                    tracing::info!(names, "the certificates changed; new connections get the new ones");
                }
                Err(error) => {
                    metrics.tls_reload_failures.inc();
                    tracing::error!("the certificates changed and are refused, the old ones go on: {error:#}");
                }
            }
        }
    }

    /// Serves from these files from now on; tells how many names they are for.
    fn replace(&self, files: &Files, metrics: &HostMetrics) -> anyhow::Result<usize> {
        let made = configuration(&self.settings, files)?;
        for warning in &files.warnings {
            tracing::warn!("{warning}");
        }
        metrics.tls_certificate_expiry.set(made.expires);
        *self.current.write() = made.config;
        Ok(made.names)
    }
}
