//! `--watch`: an app is loaded anew when its manifest, or a file that it names, changes.
//!
//! Files are looked at rather than listened to: editors replace them, containers and network file systems do not always
//! tell, and we know exactly which few matter. A change counts once two looks in a row see the same, so that a file that
//! is being written is not loaded half-way.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use samara_model::{AppId, manifest::App};

use super::{Deployment, Put, Version};

/// The time between two looks.
const LOOK: Duration = Duration::from_millis(300);

/// What a file was when it was looked at; `None` when it was not there.
type Seen = Vec<Option<(SystemTime, u64, u64)>>;

/// One app whose files are looked at.
#[derive(Debug)]
struct Followed {
    path: PathBuf,
    id: AppId,
    files: Vec<PathBuf>,
    loaded: Seen,
    /// What the last look saw, if it was something new.
    changed: Option<Seen>,
}

/// Apps whose files are looked at.
#[derive(Debug)]
pub struct Follow(Vec<Followed>);

impl Follow {
    /// Takes a first look, before the apps are loaded: what changes from now on is seen.
    pub async fn begin(apps: &[(PathBuf, App)]) -> Self {
        let mut followed = Vec::new();
        for (path, app) in apps {
            let files = Version::files(app);
            let loaded = look(files.clone()).await;
            let (path, id) = (path.clone(), super::registry::id_of(app));
            followed.push(Followed { path, id, files, loaded, changed: None });
        }
        Self(followed)
    }

    /// Loads apps anew when their files change, until dropped. `read` reads the app behind a path.
    pub async fn follow(mut self, deployment: &Arc<Deployment>, read: impl Fn(&Path) -> anyhow::Result<App>) {
        loop {
            tokio::time::sleep(LOOK).await;
            for one in &mut self.0 {
                let seen = look(one.files.clone()).await;
                if seen == one.loaded {
                    one.changed = None;
                } else if one.changed.as_ref() != Some(&seen) {
                    one.changed = Some(seen);
                } else {
                    one.changed = None;
                    one.loaded = seen;
                    one.load(deployment, &read).await;
                }
            }
        }
    }
}

impl Followed {
    async fn load(&mut self, deployment: &Arc<Deployment>, read: &impl Fn(&Path) -> anyhow::Result<App>) {
        let app = match read(&self.path) {
            Ok(app) => app,
            Err(error) => {
                tracing::error!(app = %self.id, "not loaded anew, and what served goes on: {error:#}");
                return deployment.note_refused(&self.id, format!("{error:#}"));
            }
        };
        let id = super::registry::id_of(&app);
        if id != self.id {
            tracing::error!(app = %self.id, "not loaded anew: its name is now `{id}`; start again to serve it under that");
            return;
        }
        // A changed manifest may name other files; those are as they were loaded, or are found changed by the next look.
        let files = Version::files(&app);
        if files != self.files {
            self.loaded = look(files.clone()).await;
            self.files = files;
        }
        match deployment.put(app, None).await {
            Ok(Put::Unchanged) => tracing::debug!(app = %self.id, "its files changed and it did not"),
            // The deployment tells.
            Ok(Put::Created | Put::Replaced) => {}
            Err(refused) => tracing::error!(app = %self.id, "not loaded anew, and what served goes on: {refused}"),
        }
    }
}

/// Looks at files, off the threads that answer.
async fn look(files: Vec<PathBuf>) -> Seen {
    let look = move || {
        let seen = |file: &PathBuf| {
            let about = fs::metadata(file).ok()?;
            Some((about.modified().ok()?, about.len(), about.ino()))
        };
        files.iter().map(seen).collect()
    };
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}
