//! Debian's `docker-registry` as a process of a test, and the other tools of `tests/registry-tools.sh`.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long a registry may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A registry that runs, and a folder for what a test puts beside it.
#[derive(Debug)]
pub(crate) struct Place {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) folder: TempDir,
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Place {
    /// Open to everybody.
    pub(crate) async fn start() -> Self {
        Self::start_for(None).await
    }

    /// For the users of an htpasswd file, if there is one.
    pub(crate) async fn start_for(users: Option<&str>) -> Self {
        // Another process may take the port between this and the registry's start.
        for _ in 0..5 {
            if let Some(place) = Self::try_start(users).await {
                return place;
            }
        }
        panic!("the registry does not start; `tests/registry-tools.sh DIR` installs it");
    }

    async fn try_start(users: Option<&str>) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut config = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage:\n  filesystem: {{ rootdirectory: {} }}\nhttp: {{ addr: '{address}' }}\n",
            folder.path().join("data").display()
        );
        if let Some(users) = users {
            let file = folder.path().join("users");
            fs::write(&file, users).unwrap();
            config += &format!("auth: {{ htpasswd: {{ realm: here, path: '{}' }} }}\n", file.display());
        }
        let file = folder.path().join("registry.yml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut place = Self { child: command.spawn().expect("docker-registry is installed"), address, folder };
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if place.child.try_wait().unwrap().is_some() || Instant::now() > end {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(place)
    }

    /// A file in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A tool of a suite (`trixie`, `sid`), at home in the test's folder, so that no login of this machine is used.
    pub(crate) fn debian(&self, suite: &str, name: &str) -> Command {
        let tools = std::env::var_os("SAMARA_INTEROP_DIR").expect("`./test.sh` sets SAMARA_INTEROP_DIR");
        let mut command = Command::new(PathBuf::from(tools).join(format!("tools/oci-{suite}/usr/bin/{name}")));
        command.env("HOME", self.folder.path()).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }
}

/// Runs a tool that must do what it should; what it told.
#[track_caller]
pub(crate) fn succeeds(command: &mut Command) -> String {
    let ran = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(ran.status.success(), "{command:?}\n{}", told(&ran));
    told(&ran)
}

/// All that a tool printed.
pub(crate) fn told(ran: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
}
