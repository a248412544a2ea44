//! Attacks by guests that are more than a text: real programs, asked over HTTP to misbehave, to leave the folder they were
//! granted, or to reach what they were not.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use super::table::{CPU, HOST_CALLS, LIMITS, MEMORY, Verdict};

/// One request, and how it ends.
pub(super) struct Asked {
    /// The host, less `.test`, which names the workload too.
    pub(super) host: &'static str,
    pub(super) path: &'static str,
    pub(super) verdict: Verdict,
}

const DEADLINE: Verdict =
    Verdict { status: 504, says: "the application ran over its deadline limit", logs: "over its `deadline` limit" };

const fn asked(host: &'static str, path: &'static str, verdict: Verdict) -> Asked {
    Asked { host, path, verdict }
}

/// The guest got along, and says this.
const fn answers(says: &'static str) -> Verdict {
    Verdict { status: 200, says, logs: "" }
}

/// The head had been sent: the body breaks off, which a status cannot say.
const fn breaks_off(logs: &'static str) -> Verdict {
    Verdict { status: BROKEN, says: "", logs }
}

/// In a verdict's status: 200, and then no end.
pub(super) const BROKEN: u16 = 0;

pub(super) const TABLE: &[Asked] = &[
    asked("echo", "spin", CPU),
    asked("echo", "grow", MEMORY),
    asked("echo", "recurse", Verdict::failed("the recursion is too deep")),
    asked("echo", "trap", Verdict::failed("`unreachable`")),
    asked("echo", "silent", Verdict::failed("it ended without a reply")),
    asked("echo", "partial", breaks_off("`unreachable`")),
    asked("impatient", "never", DEADLINE),
    asked("p3", "spin", CPU),
    asked("p3", "grow", MEMORY),
    asked("p3", "recurse", Verdict::failed("the recursion is too deep")),
    asked("p3", "trap", Verdict::failed("`unreachable`")),
    asked("p3", "fail", Verdict::failed("it answered with the error")),
    asked("p3", "partial", breaks_off("`unreachable`")),
    asked("impatient-p3", "never", DEADLINE),
    asked("cgi", "spin", CPU),
    asked("cgi", "trap", Verdict::failed("`unreachable`")),
    asked("function", "spin", CPU),
    asked("function", "divide?1&0", Verdict::failed("`unreachable`")),
    asked("component", "spin", CPU),
    asked("component", "trap", Verdict::failed("`unreachable`")),
    asked("attack", "forget-reply", Verdict::failed("it ended without a reply")),
    asked("attack", "forget-fields?n=5000", Verdict::failed("resource table has no free keys")),
    asked("attack", "headers?n=40000", Verdict::failed("total size of fields exceeds limit")),
    asked("attack", "crlf", answers("took nothing")),
    asked("attack", "random?n=4294967295", Verdict::failed("exceeds limit 1048576")),
    asked("attack", "random?n=18446744073709551615", Verdict::failed("exceeds limit 1048576")),
    asked("attack", "calls?n=10000000", HOST_CALLS),
    asked("attack", "deep-calls", Verdict::failed("the recursion is too deep")),
    asked("attack", "line?n=100000000", HOST_CALLS),
    asked("attack", "flood?n=10000000", HOST_CALLS),
    asked("attack", "lengths?said=5&sent=10", breaks_off("")),
    asked("attack", "lengths?said=10&sent=5", breaks_off("")),
    asked("attack", "two-lengths", breaks_off("")),
    asked("brief", "endless", breaks_off("over its `host_calls` limit")),
    asked("impatient-attack", "forget-body", breaks_off("over its `deadline` limit")),
    asked("escape-p1", "all", answers("took nothing")),
    asked("escape-p2", "all", answers("took nothing")),
    asked("impatient-escape-p1", "fifo-wait", DEADLINE),
    asked("impatient-escape-p2", "fifo-wait", DEADLINE),
];

/// What the workload `sender` makes of requests to where it may send them, and what it is told. The engine's authors had
/// advisories for these: a path that is another host's URL, a long path, time-outs of zero.
pub(super) const FETCHES: &[(&str, &str)] =
    &[("absolute", "Err("), ("long", ""), ("hurried", ""), ("userinfo", "Err("), ("plain", "Ok(302)")];

/// The workloads that are asked: name, guest, limits, other settings. Each has the host of its name.
const WORKLOADS: &[(&str, &str, &str, &str)] = &[
    ("echo", "http-echo", PATIENT, ""),
    ("impatient", "http-echo", IMPATIENT, ""),
    ("p3", "http-p3", PATIENT, ""),
    ("impatient-p3", "http-p3", IMPATIENT, ""),
    ("cgi", "cgi-hello", "request_body = \"64KiB\"", ""),
    ("function", "add", "", ""),
    ("component", "shapes", "", ""),
    ("attack", "http-attack", "cpu = \"5s\", host_calls = 20000", ""),
    ("brief", "http-attack", "host_calls = 400", ""),
    ("impatient-attack", "http-attack", IMPATIENT, ""),
    ("escape-p1", "escape-p1", PATIENT, FOLDER),
    ("escape-p2", "escape-p2", PATIENT, FOLDER),
    ("impatient-escape-p1", "escape-p1", IMPATIENT, FOLDER),
    ("impatient-escape-p2", "escape-p2", IMPATIENT, FOLDER),
];

/// Recursion with a host call in each frame, or a language's runtime, takes its time in a build that is not optimized.
const PATIENT: &str = "cpu = \"200ms\", memory = \"16MiB\"";
const IMPATIENT: &str = "deadline = \"300ms\"";
const FOLDER: &str = "grants.fs = [{ host = \"granted\", guest = \"/data\", write = true }]";

/// The manifest's part for all of them. `upstream` is where the outgoing requests go.
pub(super) fn manifest(upstream: SocketAddr) -> String {
    let mut text = String::new();
    let mut add = |name: &str, guest: &str, limits: &str, more: &str| {
        let limits = super::suite::merged(LIMITS, limits);
        let path = if ["add", "shapes"].contains(&guest) { "/:operation" } else { "/*rest" };
        text += &format!(
            r#"
            [workload.{name}]
            source = "{{{guest}}}"
            limits = {{ {limits} }}
            {more}
            [[trigger]]
            http = {{ host = "{name}.test", path = "{path}" }}
            fn = "{name}"
            "#
        );
    };
    for (name, guest, limits, more) in WORKLOADS {
        add(name, guest, limits, more);
    }
    let port = upstream.port();
    let granted = format!("http = {{ allow = [\"http://127.0.0.1:{port}\"], private = true }}");
    let named = format!("http = [\"http://localhost:{port}\", \"http://[::ffff:127.0.0.1]:{port}\"]");
    add("granted", "http-kit", PATIENT, &format!("grants = {{ {granted} }}"));
    add("sender", "http-attack", PATIENT, &format!("grants = {{ {granted} }}"));
    add("named", "http-kit", PATIENT, &format!("grants = {{ {named} }}"));
    text
}

/// The folder that is granted, and what lies outside it.
pub(super) fn lay_out(folder: &Path) {
    let granted = folder.join("granted");
    fs::create_dir_all(granted.join("inner")).unwrap();
    fs::write(folder.join("secret"), SECRET).unwrap();
    fs::write(granted.join("inside.txt"), "inside").unwrap();
    symlink(folder.join("secret"), granted.join("absolute")).unwrap();
    symlink("../secret", granted.join("relative")).unwrap();
    symlink("..", granted.join("up")).unwrap();
    fs::create_dir(folder.join("outside")).unwrap();
    symlink("../outside", granted.join("out")).unwrap();
    symlink("/proc/self", granted.join("proc")).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, granted.join("pipe"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

const SECRET: &str = "not for guests";

/// The path that nobody may ask for.
const PRIVATE: &str = "/private";

/// What is outside of the granted folder is as it was.
pub(super) fn is_untouched(folder: &Path) {
    assert_eq!(fs::read_to_string(folder.join("secret")).unwrap(), SECRET);
    assert_eq!(fs::read_to_string(folder.join("granted/inside.txt")).unwrap(), "inside");
    assert!(!folder.join("stolen").exists() && !folder.join("granted/taken").exists());
    assert_eq!(fs::read_dir(folder.join("outside")).unwrap().count(), 0);
}

/// A server that answers every request with a redirection to `/private` on itself under another name, and counts who
/// asks for that.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    pub(super) private: Arc<AtomicU64>,
}

impl Upstream {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let private = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&private);
        // Ends with the test's process.
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let head = format!(
                    "HTTP/1.1 302 Found\r\nlocation: http://localhost:{}/private\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
                    address.port()
                );
                let mut asked = [0; 4096];
                let count = stream.read(&mut asked).unwrap_or_default();
                let private = asked[..count].windows(PRIVATE.len()).any(|part| part == PRIVATE.as_bytes());
                counted.fetch_add(u64::from(private), Ordering::SeqCst);
                drop(stream.write_all(head.as_bytes()));
            }
        });
        Self { address, private }
    }

    /// URLs that the workload `named` is kept from, though it was granted the names: none of them may be asked.
    pub(super) fn private_urls(&self) -> Vec<String> {
        let port = self.address.port();
        [
            format!("http://localhost:{port}{PRIVATE}"),
            format!("http://[::ffff:127.0.0.1]:{port}{PRIVATE}"),
            format!("http://127.0.0.1:{port}{PRIVATE}"),
            format!("http://localhost.:{port}{PRIVATE}"),
            format!("http://2130706433:{port}{PRIVATE}"),
            format!("http://0x7f000001:{port}{PRIVATE}"),
            format!("http://user@localhost:{port}{PRIVATE}"),
            format!("http://localhost:{port}@127.0.0.1:{port}{PRIVATE}"),
        ]
        .into()
    }
}
