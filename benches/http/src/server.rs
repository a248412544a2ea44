//! A server under test: a process on a core of its own, asked for its CPU, and ended with its owner.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

/// How long a server may take to answer its first request: it may have to compile its guest.
const READY: Duration = Duration::from_secs(120);
/// How often a server that does not listen yet is asked again.
const RETRY: Duration = Duration::from_micros(200);

/// How to start a server. `{address}` in the arguments is where it is to listen.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// Its name in tables.
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// The path that is asked for.
    pub(crate) path: &'static str,
    /// What the answer must hold.
    pub(crate) answer: &'static str,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    path: &'static str,
    /// From before the process was made to the last byte of the first answer.
    pub(crate) first_answer: Duration,
}

impl Recipe {
    /// Starts the server on a core and waits for the right answer.
    pub(crate) fn start(&self, core: usize) -> anyhow::Result<Server> {
        // `taskset` becomes the program: the process id stays.
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", &core.to_string()]).arg(&self.program);
        self.start_as(pinned)
    }

    /// Starts the server on all cores and waits for the right answer.
    pub(crate) fn start_anywhere(&self) -> anyhow::Result<Server> {
        self.start_as(Command::new(&self.program))
    }

    fn start_as(&self, mut program: Command) -> anyhow::Result<Server> {
        let address = free_address()?;
        let began = Instant::now();
        let child = program
            .args(self.arguments.iter().map(|argument| argument.replace("{address}", &address.to_string())))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("starting `{}`", self.program.display()))?;
        let mut server = Server { child, address, path: self.path, first_answer: Duration::ZERO };
        let answer = server.first(began).with_context(|| format!("waiting for {}", self.name))?;
        server.first_answer = began.elapsed();
        ensure!(
            answer.starts_with("HTTP/1.1 200") && answer.contains(self.answer),
            "{} answered `{answer}`, not `{}`",
            self.name,
            self.answer
        );
        Ok(server)
    }
}

impl Server {
    /// Where it answers.
    pub(crate) fn url(&self) -> String {
        format!("http://{}{}", self.address, self.path)
    }

    /// The CPU time of all its threads so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let text =
            fs::read_to_string(format!("/proc/{}/stat", self.child.id())).context("reading a server's CPU time")?;
        let ticks = ticks(&text).context("a server's CPU time has another form than expected")?;
        Ok(Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second())?)
    }

    /// Its resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        self.memory("VmRSS:")
    }

    /// The part of it that is no file's.
    pub(crate) fn anonymous_bytes(&self) -> anyhow::Result<u64> {
        self.memory("RssAnon:")
    }

    fn memory(&self, name: &str) -> anyhow::Result<u64> {
        let text =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).context("reading a server's memory")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)).context("no resident size")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024)
    }

    /// Asks for a path over and over on so many connections, whatever the answers, until told to stop.
    pub(crate) fn keep_asking(&self, path: &'static str, connections: u32) -> Asking {
        let stop = Arc::new(AtomicBool::new(false));
        let address = self.address;
        let threads = (0..connections).map(|_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // Its guests are stopped by their limits: a refusal or a broken connection is what is expected.
                    drop(TcpStream::connect(address).map_err(Into::into).and_then(|stream| ask(stream, address, path)));
                }
            })
        });
        Asking { threads: threads.collect(), stop }
    }

    fn first(&mut self, began: Instant) -> anyhow::Result<String> {
        loop {
            match TcpStream::connect(self.address) {
                Ok(stream) => return ask(stream, self.address, self.path),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status} before it listened");
            }
            ensure!(began.elapsed() < READY, "it does not listen after {} s", READY.as_secs());
            #[expect(clippy::disallowed_methods, reason = "there is no executor here")]
            thread::sleep(RETRY);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Threads that ask over and over.
#[derive(Debug)]
pub(crate) struct Asking {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Asking {
    /// Ends after the answers that are on their way.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            drop(thread.join());
        }
    }
}

/// One request on a connection of its own.
fn ask(mut stream: TcpStream, address: SocketAddr, path: &str) -> anyhow::Result<String> {
    stream.set_read_timeout(Some(READY))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// An address that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// User and system time of all threads, in ticks: fields 14 and 15 (proc_pid_stat(5)), counted after the command's name,
/// which may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_whatever_the_command_is_called() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 31 11 0 0 20 0 3 0 5 6 7";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 a"), None);
    }
}
