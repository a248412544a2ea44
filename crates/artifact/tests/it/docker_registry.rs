//! A real registry (Debian's `docker-registry`, distribution 2.8) as a process of a test, and the tools that real people push,
//! copy and sign with. `tests/registry-tools.sh` installs them. The tests of the binary have this file too.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long a registry may take to listen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A registry that keeps what it is given in a folder, until it is dropped.
#[derive(Debug)]
pub(crate) struct Registry {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Its own files, and what a test puts beside them.
    pub(crate) folder: TempDir,
}

impl Registry {
    /// Open to everybody.
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// With more lines in its configuration.
    pub(crate) fn start_with(more: &str) -> Self {
        // Another process may take the port between this and the registry's start.
        let started = (0..5).find_map(|_| Self::try_start(more));
        started.expect("the registry starts; `tests/registry-tools.sh DIR` installs it")
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
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A program of a Debian suite (`trixie`, `sid`).
pub(crate) fn tool(name: &str, suite: &str) -> Command {
    let tools = std::env::var_os("SAMARA_INTEROP_DIR").expect("`./test.sh` sets SAMARA_INTEROP_DIR");
    let program = PathBuf::from(tools).join(format!("tools/oci-{suite}/usr/bin/{name}"));
    assert!(program.is_file(), "{} is not there; `tests/registry-tools.sh DIR/tools` installs it", program.display());
    Command::new(program)
}
