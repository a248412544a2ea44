//! A progress bar for artifacts that take over a second to come, where somebody looks.

use std::{
    io::IsTerminal,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use samara_artifact::{Progress, Watch};

/// Nobody wonders before this.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the bar moves.
const TICK: Duration = Duration::from_millis(100);

/// What was told so far.
#[derive(Default)]
struct Told {
    total: AtomicU64,
    received: AtomicU64,
    step: Mutex<String>,
}

impl Watch for Told {
    fn total(&self, bytes: u64) {
        self.total.fetch_add(bytes, Relaxed);
    }

    fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Relaxed);
    }

    fn step(&self, text: &str) {
        text.clone_into(&mut self.step.lock());
    }
}

/// Waits for work on an artifact, with a bar on a terminal once it takes long.
pub(crate) async fn shown<T, F: Future<Output = T>>(what: &str, work: impl FnOnce(Progress) -> F) -> T {
    if !std::io::stderr().is_terminal() {
        return work(Progress::default()).await;
    }
    let told = Arc::new(Told::default());
    let mut work = std::pin::pin!(work(Progress::new(Arc::clone(&told) as Arc<dyn Watch>)));
    if let Ok(done) = tokio::time::timeout(PATIENCE, &mut work).await {
        return done;
    }
    let bar = ProgressBar::new(0).with_prefix(samara_telemetry::sanitize(what).into_owned()).with_elapsed(PATIENCE);
    let style = ProgressStyle::with_template("{prefix} {msg} [{bar:30}] {bytes}/{total_bytes} {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut ticks = tokio::time::interval(TICK);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = ticks.tick() => {
                bar.set_message(told.step.lock().clone());
                bar.set_length(told.total.load(Relaxed));
                bar.set_position(told.received.load(Relaxed));
            }
        }
    };
    bar.finish_and_clear();
    done
}
