//! A running `samara serve`, and a client of HTTP/1.1 small enough to send odd requests.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    guest,
    process::{PATIENCE, Samara, samara},
};

/// Serves what the line names (as [`samara`] does), on ports of its own.
pub(crate) fn serve(line: &str) -> Serving {
    Serving::start(&samara(&format!("serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 {line}")))
}

/// Serves over TLS what the line names, on ports of its own.
pub(crate) fn serve_tls(line: &str) -> Serving {
    Serving::start(&samara(&format!("serve --listen-tls 127.0.0.1:0 --admin 127.0.0.1:0 {line}")))
}

/// Serves the artifact of a path, which may contain spaces.
#[cfg(feature = "external-tests")]
pub(crate) fn serve_path(options: &str, path: &Path) -> Serving {
    Serving::start(&samara(&format!("serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 {options}")).arg(path))
}

/// Serves one manifest, in which `{name}` is the path of a guest.
pub(crate) fn serve_app(manifest: &str) -> Serving {
    let folder = Apps::new(&[("samara.toml", manifest)]);
    let mut serving = serve(&folder.path("samara.toml").display().to_string());
    serving.apps = Some(folder);
    serving
}

/// A folder of manifests that lives as long as this.
#[derive(Debug)]
pub(crate) struct Apps(TempDir);

impl Apps {
    /// Writes the files; `{name}` in them is the path of a guest.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in files {
            fs::write(folder.path().join(file), with_guests(text)).unwrap();
        }
        Self(folder)
    }

    /// With one more file.
    pub(crate) fn with(self, file: &str, text: &str) -> Self {
        fs::write(self.path(file), with_guests(text)).unwrap();
        self
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }
}

/// `"{add}"` becomes the path of the guest `add`; braces of inline tables stay.
fn with_guests(text: &str) -> String {
    let mut parts = text.split("\"{");
    let mut written = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once("}\"") {
            Some((name, rest)) => write!(written, "\"{}\"{rest}", guest(name).display()).unwrap(),
            None => write!(written, "\"{{{part}").unwrap(),
        }
    }
    written
}

/// A host that serves, until it is dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    child: Child,
    /// Where clients connect: over TLS, if that is where the routes are.
    pub(crate) http: SocketAddr,
    /// Where operators connect.
    pub(crate) admin: SocketAddr,
    /// What it printed when it was ready.
    pub(crate) announced: Vec<String>,
    log: Arc<Mutex<String>>,
    output: Arc<Mutex<String>>,
    apps: Option<Apps>,
}

impl Serving {
    /// Starts it and waits until it says that it is ready: the line of the admin address, and then of the pool, is the last.
    pub(crate) fn start(line: &Samara) -> Self {
        let mut child =
            line.command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (kept, mut stderr) = (Arc::clone(&log), BufReader::new(child.stderr.take().unwrap()));
        thread::spawn(move || {
            let mut line = Vec::new();
            while stderr.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        let (sender, ready) = mpsc::channel();
        let output = Arc::new(Mutex::new(String::new()));
        let after = Arc::clone(&output);
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            let mut lines = stdout.lines().map_while(Result::ok);
            let mut announced = Vec::new();
            for line in lines.by_ref() {
                let last = line.starts_with("pool");
                announced.push(line);
                if last {
                    break;
                }
            }
            drop(sender.send(announced));
            lines.for_each(|line| after.lock().unwrap().push_str(&format!("{line}\n")));
        });
        let announced = ready.recv_timeout(PATIENCE).unwrap_or_default();
        let address = |line: &str| -> Option<SocketAddr> {
            let (_, url) = line.split_once("http://")?;
            url.split('/').next()?.parse().ok()
        };
        // A route with a host says that host's name: the port is the same for all.
        let port = announced.iter().find_map(|line| {
            let (_, url) = line.split_once("://")?;
            url.split(['/', ' ']).next()?.rsplit_once(':')?.1.parse::<u16>().ok()
        });
        let admin = announced.iter().find(|line| line.starts_with("admin")).and_then(|line| address(line));
        let (Some(port), Some(admin)) = (port, admin) else {
            drop(child.kill());
            drop(child.wait());
            panic!("it did not start to serve: {announced:?}\n{}", log.lock().unwrap());
        };
        Self { child, http: SocketAddr::from(([127, 0, 0, 1], port)), admin, announced, log, output, apps: None }
    }

    /// What it wrote to standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// What it wrote to standard output after it had said that it was ready.
    pub(crate) fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Waits until the log has a line with all of these.
    #[track_caller]
    pub(crate) fn logs(&self, parts: &[&str]) {
        let found = eventually(|| self.log().lines().any(|line| parts.iter().all(|part| line.contains(part))));
        assert!(found, "no log line has all of {parts:?}\n{}", self.log());
    }

    fn metrics(&self) -> String {
        request(self.admin, "GET /metrics", &[], b"").unwrap().body
    }

    /// Waits until every call has been booked, which a client may be ahead of by the end of its answer.
    #[track_caller]
    pub(crate) fn settled(&self) {
        let busy = |line: &&str| line.starts_with("samara_calls_in_flight{") && !line.ends_with(" 0");
        assert!(eventually(|| self.metrics().lines().find(busy).is_none()), "a call does not end\n{}", self.log());
    }

    /// The value of one metric, 0 if it is not there.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let page = self.metrics();
        let found = page.lines().find_map(|line| line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')));
        found.map_or(0.0, |value| value.parse().unwrap())
    }

    /// One request, `METHOD /path`, on a connection of its own.
    #[track_caller]
    pub(crate) fn request(&self, line: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Response {
        let answered = request(self.http, line, headers, body.as_ref());
        answered.unwrap_or_else(|error| panic!("{line}: {error}\n{}", self.log()))
    }

    /// Asks, and expects this status and text in the body.
    #[track_caller]
    pub(crate) fn answers(&self, line: &str, body: &str, status: u16, contains: &str) -> Response {
        let response = self.request(line, &[], body);
        let right = response.status == status && response.body.contains(contains);
        assert!(right, "{line}: it should answer {status} `{contains}`\n{response:?}\n{}", self.log());
        response
    }

    /// Whether it does not answer plain HTTP.
    pub(crate) fn request_fails(&self) -> bool {
        request(self.http, "GET /", &[], b"").is_err()
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop, as a supervisor does.
    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for its end and gives its exit code.
    pub(crate) fn ended(mut self) -> Option<i32> {
        let ended = eventually(|| self.child.try_wait().unwrap().is_some());
        assert!(ended, "it does not end\n{}", self.log());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether a condition comes true before patience ends.
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The lines after the status line, as they came.
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
    /// Whether the body came to its end, as its length or its chunks say.
    pub(crate) complete: bool,
}

impl Response {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&String| line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case(name));
        self.headers.iter().find(named).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    }
}

/// Opens a connection and sends a request that ends it.
pub(crate) fn send(to: SocketAddr, line: &str, headers: &[&str], body: &[u8]) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|header| header.to_ascii_lowercase().starts_with("host:")) {
        write!(head, "host: {to}\r\n").unwrap();
    }
    if !body.is_empty() {
        write!(head, "content-length: {}\r\n", body.len()).unwrap();
    }
    headers.iter().for_each(|header| write!(head, "{header}\r\n").unwrap());
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    let mut writer = stream.try_clone()?;
    let body = body.to_owned();
    // The server may answer before it has read everything.
    thread::spawn(move || drop(writer.write_all(&body)));
    Ok(stream)
}

/// One request on a connection of its own, answered to its end.
pub(crate) fn request(to: SocketAddr, line: &str, headers: &[&str], body: &[u8]) -> std::io::Result<Response> {
    receive(send(to, line, headers, body)?, line.starts_with("HEAD "))
}

/// Reads a response until the connection ends.
pub(crate) fn receive(mut stream: impl Read, head_only: bool) -> std::io::Result<Response> {
    let mut bytes = Vec::new();
    // A reset is how a server says that a body is broken off: what came is what there is.
    let ended = stream.read_to_end(&mut bytes);
    let broken = || std::io::Error::other(format!("not a response: {ended:?} {:?}", String::from_utf8_lossy(&bytes)));
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(broken)?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or_else(broken)?;
    let headers = lines.map(str::to_owned).collect();
    let mut response = Response { status, headers, body: String::new(), complete: true };
    let body = &bytes[end + 4..];
    let (body, complete) = if head_only {
        (body.to_vec(), body.is_empty())
    } else if response.header("transfer-encoding") == Some("chunked") {
        unchunk(body)
    } else {
        let length = response.header("content-length").and_then(|length| length.parse().ok());
        (body.to_vec(), length.is_none_or(|length: usize| length == body.len()))
    };
    response.body = String::from_utf8_lossy(&body).into_owned();
    response.complete = complete;
    Ok(response)
}

/// The bytes of a chunked body, and whether its last chunk came.
fn unchunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let Some(size) = std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok())
        else {
            break;
        };
        if size == 0 {
            return (body, true);
        }
        let chunk = &rest[end + 2..];
        if chunk.len() < size + 2 {
            body.extend_from_slice(&chunk[..size.min(chunk.len())]);
            break;
        }
        body.extend_from_slice(&chunk[..size]);
        rest = &chunk[size + 2..];
    }
    (body, false)
}
