//! A real registry (Debian's `docker-registry`, distribution 2.8) on a port of its own, and the tools that real people push,
//! copy and sign with. `tests/registry-tools.sh` installs them.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::process::PATIENCE;

/// The Debian suites that the tools are of; cosign of the older writes signatures as tags, of the newer as referrers.
pub(super) const SUITES: [&str; 2] = ["trixie", "sid"];

/// A program of a suite, in a folder of its own, with no login but that of the test.
pub(super) fn tool(name: &str, suite: &str) -> Command {
    let tools = std::env::var_os("SAMARA_INTEROP_DIR").expect("`./test.sh` sets SAMARA_INTEROP_DIR");
    let program = PathBuf::from(tools).join(format!("tools/oci-{suite}/usr/bin/{name}"));
    assert!(program.is_file(), "{} is not there; `tests/registry-tools.sh DIR/tools` installs it", program.display());
    let mut command = Command::new(program);
    command.env("COSIGN_PASSWORD", "").env("DOCKER_CONFIG", concat!(env!("CARGO_TARGET_TMPDIR"), "/no-logins"));
    command
}

/// Runs a tool to its end; it succeeds. What it printed.
#[track_caller]
pub(super) fn done(command: &mut Command) -> String {
    let ran = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{command:?}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// A registry that keeps what it is given in a folder, until it is dropped.
#[derive(Debug)]
pub(super) struct Registry {
    child: Child,
    pub(super) address: SocketAddr,
    folder: TempDir,
}

impl Registry {
    pub(super) fn start() -> Self {
        Self::start_with("")
    }

    /// With more lines in its configuration.
    pub(super) fn start_with(more: &str) -> Self {
        // Another process may take the port between this and the registry's start.
        (0..5).find_map(|_| Self::try_start(more)).expect("the registry starts; `apt-get install docker-registry`")
    }

    fn try_start(more: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let file = folder.path().join("registry.yml");
        let data = folder.path().join("data");
        let config = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage:\n  filesystem: {{ rootdirectory: {} }}\n  delete: {{ enabled: true }}\nhttp: {{ addr: '{address}' }}\n{more}",
            data.display()
        );
        fs::write(&file, config).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().expect("docker-registry is there; `apt-get install docker-registry`");
        let mut registry = Self { child, address, folder };
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if registry.child.try_wait().unwrap().is_some() || Instant::now() > end {
                return None;
            }
            #[expect(clippy::disallowed_methods, reason = "a thread of the test waits for another process")]
            thread::sleep(Duration::from_millis(20));
        }
        Some(registry)
    }

    /// `127.0.0.1:PORT/name`.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// A folder that lives as long as the registry.
    pub(super) fn scratch(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Every file that the registry keeps for a blob, to be tampered with.
    pub(super) fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let folder = Path::new("data/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex);
        self.folder.path().join(folder).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
