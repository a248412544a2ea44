//! Real servers for tests: each on a free port of loopback, with its data in a folder that goes with it.
//!
//! A [`Server`] can be stopped, frozen and started again on the same port with the same data, which is how a test makes bad
//! weather. It ends with its value, by its process id.
//!
//! ```ignore
//! let redis = Server::redis();
//! let store = open(&redis.url(), ..).await;
//! redis.freeze();  // a server that does not answer
//! redis.thaw();
//! redis.kill();    // a server that is gone
//! redis.start();   // and back
//! ```

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::chown,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a server may take to be ready, on a machine that is busy.
const READY: Duration = Duration::from_secs(300);

/// The name that every server knows, where it asks for one. PostgreSQL has a database of this name too.
pub(crate) const USER: &str = "samara";

/// The password that servers with one ask for. Tests look for it in errors, where it must not be.
pub(crate) const PASSWORD: &str = "sesame-of-the-test";

/// What kind of server, and how it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Redis { password: bool },
    Nats { password: bool },
    Postgres,
    S3,
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    kind: Kind,
    port: u16,
    folder: TempDir,
    process: Mutex<Option<Child>>,
}

impl Server {
    /// Redis without a password, which keeps what it is told over a stop, not over a kill.
    pub(crate) fn redis() -> Self {
        Self::new(Kind::Redis { password: false })
    }

    /// Redis that asks for [`PASSWORD`].
    pub(crate) fn redis_with_password() -> Self {
        Self::new(Kind::Redis { password: true })
    }

    /// NATS with JetStream.
    pub(crate) fn nats() -> Self {
        Self::new(Kind::Nats { password: false })
    }

    /// NATS with JetStream that asks for [`USER`] and [`PASSWORD`].
    pub(crate) fn nats_with_password() -> Self {
        Self::new(Kind::Nats { password: true })
    }

    /// PostgreSQL, whose superuser is [`USER`] with [`PASSWORD`] and whose database is called as the user.
    pub(crate) fn postgres() -> Self {
        Self::new(Kind::Postgres)
    }

    /// S3 as `moto_server` has it, with the bucket [`USER`], until it is stopped: it keeps everything in memory, and takes any
    /// credentials. Of the servers that install here it is the one whose answers are nearest to S3's: multipart uploads with
    /// their lower limit, ranges, conditional writes and error codes.
    pub(crate) fn s3() -> Self {
        Self::new(Kind::S3)
    }

    fn new(kind: Kind) -> Self {
        let folder = tempfile::Builder::new().prefix("samara-server-").tempdir().unwrap();
        if kind == Kind::Postgres {
            initialise_postgres(&folder);
        }
        // Another process may take the port before the server does: then with another one.
        for _ in 0..5 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            let mut child = spawn(kind, port, &folder);
            if ready(kind, port, &mut child) {
                return Self { kind, port, folder, process: Mutex::new(Some(child)) };
            }
            // One that runs and is not ready is not waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("{kind:?} does not start: {}", log(&folder));
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Its URL without credentials: `redis://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme(), self.address())
    }

    /// Its URL with a user and a password of the test's choice; PostgreSQL's names the database.
    pub(crate) fn url_as(&self, user: &str, password: &str) -> String {
        let database = if self.kind == Kind::Postgres { format!("/{USER}") } else { String::new() };
        format!("{}://{user}:{password}@{}{database}", self.scheme(), self.address())
    }

    /// Its URL with the credentials that are right: redis knows its password by the user `default`.
    pub(crate) fn url_in_full(&self) -> String {
        match self.kind {
            Kind::Redis { password: false } | Kind::Nats { password: false } => self.url(),
            Kind::S3 => format!("s3://{USER}"),
            Kind::Redis { password: true } => self.url_as("default", PASSWORD),
            Kind::Nats { password: true } | Kind::Postgres => self.url_as(USER, PASSWORD),
        }
    }

    /// The folder with its data and its `log`.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Lets it run no further, as a machine that hangs: connections stay open and nothing answers.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        // A thread that runs just now stops a moment later, and might still answer.
        let id = self.process.lock().as_ref().map(Child::id).expect("a server that runs");
        let frozen = || {
            let threads = fs::read_dir(format!("/proc/{id}/task")).unwrap().flatten();
            threads.into_iter().all(|thread| {
                let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                // The state follows the name, which is in brackets and may hold anything.
                stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
            })
        };
        let until = Instant::now() + READY;
        while !frozen() {
            assert!(Instant::now() < until, "{self:?} does not stop");
            pause();
        }
    }

    /// Lets a frozen server run on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends it as an operator would: it writes what it has to, and closes its connections.
    pub(crate) fn stop(&self) {
        let signal = if self.kind == Kind::Postgres { Signal::INT } else { Signal::TERM };
        self.end(signal);
    }

    /// Ends it at once.
    pub(crate) fn kill(&self) {
        // PostgreSQL's immediate shutdown: a killed postmaster would leave its children behind.
        let signal = if self.kind == Kind::Postgres { Signal::QUIT } else { Signal::KILL };
        self.end(signal);
    }

    /// Starts it again after a stop or a kill: the same port, the same data.
    pub(crate) fn start(&self) {
        let mut process = self.process.lock();
        assert!(process.is_none(), "{self:?} runs already");
        let mut child = spawn(self.kind, self.port, &self.folder);
        assert!(ready(self.kind, self.port, &mut child), "{self:?} does not start again: {}", log(&self.folder));
        *process = Some(child);
    }

    fn scheme(&self) -> &'static str {
        match self.kind {
            Kind::Redis { .. } => "redis",
            Kind::Nats { .. } => "nats",
            Kind::Postgres => "postgres",
            Kind::S3 => "http",
        }
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.lock();
        kill_process(Pid::from_child(process.as_ref().expect("a server that runs")), signal).unwrap();
    }

    fn end(&self, signal: Signal) {
        if let Some(mut child) = self.process.lock().take() {
            let pid = Pid::from_child(&child);
            let _ = kill_process(pid, Signal::CONT);
            let _ = kill_process(pid, signal);
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(kind: Kind, port: u16, folder: &TempDir) -> Child {
    let data = folder.path();
    let port = port.to_string();
    let mut command = match kind {
        Kind::Redis { password } => {
            let mut redis = Command::new("redis-server");
            redis.args(["--bind", "127.0.0.1", "--port", &port, "--dir"]).arg(data);
            // Written on a stop; never in between, which would fork beside a measurement.
            redis.args(["--save", "900 1000000", "--appendonly", "no"]);
            if password {
                redis.args(["--requirepass", PASSWORD]);
            }
            redis
        }
        Kind::Nats { password } => {
            let mut nats = Command::new("nats-server");
            nats.args(["--addr", "127.0.0.1", "--port", &port, "--jetstream", "--store_dir"]).arg(data);
            if password {
                nats.args(["--user", USER, "--pass", PASSWORD]);
            }
            nats
        }
        Kind::Postgres => {
            let mut postgres = as_postgres("postgres");
            postgres.args(["-h", "127.0.0.1", "-p", &port, "-c", "fsync=off", "-D"]).arg(data.join("data"));
            postgres.arg("-k").arg(data);
            postgres
        }
        Kind::S3 => {
            let mut moto = Command::new("moto_server");
            moto.args(["-H", "127.0.0.1", "-p", &port]);
            moto
        }
    };
    let log = File::options().create(true).append(true).open(data.join("log")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap_or_else(|error| missing(kind, &command, &error))
}

/// What to do if a program is not there.
fn missing(kind: Kind, command: &Command, error: &std::io::Error) -> ! {
    let install = match kind {
        Kind::Redis { .. } => "apt-get install redis-server",
        Kind::Nats { .. } => "apt-get install nats-server",
        Kind::Postgres => "apt-get install postgresql",
        Kind::S3 => "pip install 'moto[server]'",
    };
    panic!("`{}` does not start: {error}; `{install}`", command.get_program().display())
}

/// Waits until the server answers; `false` if it has ended.
fn ready(kind: Kind, port: u16, child: &mut Child) -> bool {
    let until = Instant::now() + READY;
    while Instant::now() < until {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if answers(kind, port) {
            return true;
        }
        pause();
    }
    false
}

#[expect(clippy::disallowed_methods, reason = "a thread of the test waits for another process")]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

/// Whether the server speaks its own protocol on the port.
fn answers(kind: Kind, port: u16) -> bool {
    let talk = |ask: &[u8], answer: &[&[u8]]| {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
        stream.write_all(ask).ok()?;
        let mut said = [0; 7];
        stream.read_exact(&mut said).ok()?;
        Some(answer.iter().any(|answer| said.starts_with(answer)))
    };
    let answered = match kind {
        // One that asks for a password is ready too.
        Kind::Redis { .. } => talk(b"PING\r\n", &[b"+PONG\r\n", b"-NOAUTH"]),
        Kind::Nats { .. } => talk(b"", &[b"INFO "]),
        Kind::Postgres => {
            let mut asked = Command::new(postgres_program("pg_isready"));
            asked.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
            asked.status().ok().map(|status| status.success())
        }
        // The bucket is made with it; one that is there already is there.
        Kind::S3 => talk(
            format!("PUT /{USER} HTTP/1.1\r\nHost: s3.amazonaws.com\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .as_bytes(),
            &[b"HTTP/1."],
        ),
    };
    answered == Some(true)
}

fn log(folder: &TempDir) -> String {
    fs::read_to_string(folder.path().join("log")).unwrap_or_default()
}

/// Debian keeps PostgreSQL's programs off the path, in a folder of its release: the newest one.
fn postgres_program(name: &str) -> PathBuf {
    let releases = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = releases.filter_map(|release| {
        let number: u32 = release.file_name().to_str()?.parse().ok()?;
        Some((number, release.path().join("bin").join(name)))
    });
    newest.max().map_or_else(|| name.into(), |(_, program)| program)
}

/// A program of PostgreSQL's, as a user it agrees to run as: it refuses root.
fn as_postgres(name: &str) -> Command {
    let program = postgres_program(name);
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]).arg(program);
    command
}

fn initialise_postgres(folder: &TempDir) {
    let password = folder.path().join("password");
    fs::write(&password, PASSWORD).unwrap();
    if rustix::process::geteuid().is_root() {
        let id = |flag| {
            let said = Command::new("id").args([flag, "postgres"]).output().unwrap();
            let said = String::from_utf8(said.stdout).unwrap();
            said.trim().parse::<u32>().expect("the user `postgres`; `apt-get install postgresql` makes it")
        };
        let (user, group) = (id("-u"), id("-g"));
        for path in [folder.path(), &password] {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }
    let mut initdb = as_postgres("initdb");
    initdb.args(["--username", USER, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"]);
    initdb.arg("--pwfile").arg(&password).arg("-D").arg(folder.path().join("data"));
    let made = initdb.output().unwrap_or_else(|error| missing(Kind::Postgres, &initdb, &error));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // The database of the user's name, before the server has a port: in single-user mode, which reads it from stdin.
    let mut single = as_postgres("postgres");
    single.arg("--single").arg("-D").arg(folder.path().join("data")).arg("postgres");
    single.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut single = single.spawn().unwrap();
    writeln!(single.stdin.take().unwrap(), "CREATE DATABASE {USER};").unwrap();
    assert!(single.wait().unwrap().success());
}

#[test]
fn servers_start_stop_and_start_again() {
    for server in [Server::redis_with_password(), Server::nats(), Server::postgres()] {
        assert!(answers(server.kind, server.port), "{server:?}");
        server.stop();
        assert!(!answers(server.kind, server.port), "{server:?}");
        server.start();
        assert!(answers(server.kind, server.port), "{server:?}");
        let folder = server.folder();
        drop(server);
        assert!(!folder.exists());
    }
}
