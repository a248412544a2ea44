//! One host for every attack there is, and a neighbour in it that is asked all the while.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    asked::{self, Asked, BROKEN, Upstream},
    clients::{self, CLIENTS},
    shapes::Kind,
    table::{Attack, LIMITS, TABLE, Verdict},
};
use crate::serving::{Apps, Serving, eventually, request, serve};

/// No answer of the neighbour takes longer, whatever is going on beside it. Alone it takes milliseconds; the rest is for
/// machines that build and test at once.
const NEIGHBOURS_BOUND: Duration = Duration::from_secs(5);
/// Attacks at once.
const ATTACKERS: usize = 4;
/// The longest line of log that a guest or a client can cause: `log_line`, of which each byte may be a control character
/// that is written as six, and what is said of it.
const LONGEST_LOG_LINE: usize = 6 * (8 << 10) + 1024;

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Command => "command",
            Self::Component => "component",
            Self::Http2 => "http2",
            Self::Http3 => "http3",
        }
    }
}

/// Everybody's host.
struct Suite {
    serving: Serving,
    apps: Apps,
    upstream: Upstream,
}

impl Suite {
    fn start() -> Self {
        let mut manifest = String::from(
            r#"
            app.name = "attacks"
            workload.neighbour.source = "{http-hello}"
            [[trigger]]
            http.path = "/"
            fn = "neighbour"
            "#,
        );
        let apps = Apps::new(&[]);
        for Attack { name, kinds, code, limits, .. } in TABLE {
            for kind in *kinds {
                let guest = format!("{name}-{}", kind.name());
                fs::write(apps.path(&format!("{guest}.wat")), code.text(*kind)).unwrap();
                let operation = match kind {
                    Kind::Function | Kind::Component => "operation = \"attack\"",
                    Kind::Command | Kind::Http2 | Kind::Http3 => "",
                };
                let limits = merged(LIMITS, limits);
                write!(
                    manifest,
                    r#"
                    [workload.{guest}]
                    source = "{guest}.wat"
                    limits = {{ {limits} }}
                    [[trigger]]
                    http.path = "/{name}/{}"
                    fn = "{guest}"
                    {operation}
                    "#,
                    kind.name()
                )
                .unwrap();
            }
        }
        let upstream = Upstream::start();
        manifest += &asked::manifest(upstream.address);
        asked::lay_out(apps.folder());
        let apps = apps.with("samara.toml", &manifest).with("host.toml", super::HOST);
        let serving = serve(&format!("--host {} {}", apps.path("host.toml").display(), apps.folder().display()));
        Self { serving, apps, upstream }
    }
}

/// Limits as a manifest writes them, with others in the place of those of the same name.
pub(super) fn merged(base: &str, others: &str) -> String {
    let key = |limit: &str| limit.split('=').next().unwrap_or_default().trim().to_owned();
    let others: Vec<_> = others.split(", ").filter(|limit| !limit.is_empty()).collect();
    let kept = base.split(", ").filter(|limit| !others.iter().any(|other| key(other) == key(limit)));
    kept.chain(others.iter().copied()).collect::<Vec<_>>().join(", ")
}

/// What went wrong, in the words of whoever saw it.
type Wrong = Mutex<Vec<String>>;

#[test]
fn every_attack_ends_in_its_verdict_and_the_neighbour_keeps_answering() {
    let suite = Suite::start();
    let wrong = Wrong::default();
    let done = AtomicBool::new(false);
    let tasks = Mutex::new(suite.tasks());
    std::thread::scope(|scope| {
        let neighbour = scope.spawn(|| watch(&suite.serving, &done, &wrong));
        let attackers: Vec<_> = (0..ATTACKERS)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(task) = { tasks.lock().unwrap().pop_front() } {
                        let result = task.run(&suite);
                        wrong.lock().unwrap().extend(result.err().map(|why| format!("{task:?}: {why}")));
                    }
                })
            })
            .collect();
        let unread = clients::leave(suite.serving.http);
        attackers.into_iter().for_each(|attacker| attacker.join().unwrap());
        drop(unread);
        done.store(true, Ordering::Relaxed);
        neighbour.join().unwrap();
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} wrong:\n{}\n{}", wrong.len(), wrong.join("\n"), suite.serving.log());
    assert_eq!(suite.upstream.private.load(Ordering::SeqCst), 0, "somebody reached what is private");
    asked::is_untouched(suite.apps.folder());
    log_is_harmless(&suite.serving);
}

/// One thing for an attacker to do.
#[derive(Clone)]
enum Task {
    /// A row of the table as one kind of guest.
    Code(&'static Attack, Kind),
    Asked(&'static Asked),
    Client(&'static clients::Client),
    /// A URL that the workload `named` may not reach.
    Private(String),
    /// A redirection of a server that the workload `granted` may reach, to one that it may not.
    Redirect,
    /// A request of the workload `sender` that is not as it should be, and what it is told.
    Fetch(&'static str, &'static str),
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(attack, kind) => write!(f, "{} as {}", attack.name, kind.name()),
            Self::Asked(asked) => write!(f, "{}.test/{}", asked.host, asked.path),
            Self::Client(client) => write!(f, "a client with {}", client.name),
            Self::Private(url) => write!(f, "fetching {url}"),
            Self::Redirect => write!(f, "following a redirection"),
            Self::Fetch(how, _) => write!(f, "sending a request that is {how}"),
        }
    }
}

impl Suite {
    fn tasks(&self) -> VecDeque<Task> {
        let codes = TABLE.iter().flat_map(|attack| attack.kinds.iter().map(move |kind| Task::Code(attack, *kind)));
        let tasks = codes.chain(asked::TABLE.iter().map(Task::Asked)).chain(CLIENTS.iter().map(Task::Client));
        let fetches = asked::FETCHES.iter().map(|(how, says)| Task::Fetch(how, says));
        tasks
            .chain(self.upstream.private_urls().into_iter().map(Task::Private))
            .chain([Task::Redirect])
            .chain(fetches)
            .collect()
    }
}

impl Task {
    fn run(&self, suite: &Suite) -> Result<(), String> {
        match self {
            Self::Code(attack, kind) => {
                let arguments = if *kind == Kind::Component { "?text=some" } else { "" };
                let line = format!("GET /{}/{}{arguments}", attack.name, kind.name());
                suite.expect(&line, "attacks.test", &format!("{}-{}", attack.name, kind.name()), attack.verdict)
            }
            Self::Asked(asked) => {
                let line = format!("GET /{}", asked.path);
                suite.expect(&line, &format!("{}.test", asked.host), asked.host, asked.verdict)
            }
            Self::Client(client) => client.attack(suite.serving.http),
            Self::Private(url) => {
                let verdict = Verdict { status: 502, says: "", logs: "" };
                suite.expect(&format!("GET /fetch?url={url}"), "named.test", "named", verdict)
            }
            Self::Redirect => {
                let url = format!("GET /fetch?url=http://{}/", suite.upstream.address);
                suite.expect(&url, "granted.test", "granted", Verdict { status: 302, says: "", logs: "" })
            }
            Self::Fetch(how, says) => {
                let line = format!("GET /fetch?how={how}&to={}", suite.upstream.address);
                suite.expect(&line, "sender.test", "sender", Verdict { status: 200, says, logs: "" })
            }
        }
    }
}

/// Asks the neighbour until everything is done.
fn watch(serving: &Serving, done: &AtomicBool, wrong: &Wrong) {
    let mut slowest = Duration::ZERO;
    while !done.load(Ordering::Relaxed) {
        let began = Instant::now();
        match request(serving.http, "GET /", &[], b"") {
            Ok(response) if response.status == 200 && response.body == "Hello, WASI!" => {}
            other => wrong.lock().unwrap().push(format!("the neighbour: {other:?}")),
        }
        slowest = slowest.max(began.elapsed());
    }
    if slowest > NEIGHBOURS_BOUND {
        wrong.lock().unwrap().push(format!("the neighbour's slowest answer took {slowest:?}"));
    }
}

impl Suite {
    fn expect(&self, line: &str, host: &str, workload: &str, verdict: Verdict) -> Result<(), String> {
        let Verdict { status, says, logs } = verdict;
        let began = Instant::now();
        match request(self.serving.http, line, &[&format!("host: {host}")], b"") {
            Ok(response) if status == BROKEN && response.status == 200 && !response.complete => {}
            Ok(response) if response.status == status && response.complete && response.body.contains(says) => {}
            Ok(mut response) => {
                response.body.truncate(1000);
                return Err(format!("not {status} `{says}` but {response:?} after {:?}", began.elapsed()));
            }
            Err(error) => return Err(error.to_string()),
        }
        let named = format!("workload=default/attacks/{workload} ");
        let told = || self.serving.log().lines().any(|line| line.contains(&named) && line.contains(logs));
        if logs.is_empty() || eventually(told) { Ok(()) } else { Err(format!("no line in the log says `{logs}`")) }
    }
}

/// No attack is the host's fault, and none wrote a line that is too long or that a terminal would obey.
fn log_is_harmless(serving: &Serving) {
    let log = serving.log();
    assert!(!log.contains("panicked") && !log.contains("the host failed"), "{log}");
    for line in log.lines() {
        assert!(line.len() <= LONGEST_LOG_LINE, "a line of {} bytes: {:.200}", line.len(), line);
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    let page = request(serving.admin, "GET /metrics", &[], b"").unwrap().body;
    let hosts = page.lines().filter(|line| line.contains("outcome=\"host\"") && !line.ends_with(" 0"));
    assert_eq!(hosts.collect::<Vec<_>>(), Vec::<&str>::new(), "{log}");
    assert!(eventually(|| serving.metric("samara_pool_calls_in_use") == 0.0), "slots are lost\n{log}");
}
