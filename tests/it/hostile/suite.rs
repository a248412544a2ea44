//! One host for every attack there is, and a neighbour in it that is asked all the while.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    shapes::Kind,
    table::{Attack, LIMITS, TABLE, Verdict},
};
use crate::serving::{Apps, Serving, eventually, request, serve};

/// No answer of the neighbour takes longer, whatever is going on beside it. Alone it takes milliseconds; the rest is for
/// machines that build and test at once.
const NEIGHBOURS_BOUND: Duration = Duration::from_secs(5);
/// Attacks at once.
const ATTACKERS: usize = 4;
/// The longest line of log that a guest or a client can cause: `log_line`, and what is said of it.
const LONGEST_LOG_LINE: usize = 10 << 10;

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
pub(super) struct Suite {
    pub(super) serving: Serving,
    _apps: Apps,
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
        let apps = apps.with("samara.toml", &manifest).with("host.toml", super::HOST);
        let serving = serve(&format!("--host {} {}", apps.path("host.toml").display(), apps.folder().display()));
        Self { serving, _apps: apps }
    }
}

/// Limits as a manifest writes them, with others in the place of those of the same name.
fn merged(base: &str, others: &str) -> String {
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
    let attacks = TABLE.iter().flat_map(|attack| attack.kinds.iter().map(move |kind| (attack, *kind)));
    let attacks = Mutex::new(attacks.collect::<VecDeque<_>>());
    std::thread::scope(|scope| {
        let neighbour = scope.spawn(|| watch(&suite.serving, &done, &wrong));
        let attackers: Vec<_> = (0..ATTACKERS)
            .map(|_| {
                scope.spawn(|| {
                    while let Some((attack, kind)) = { attacks.lock().unwrap().pop_front() } {
                        let line = format!("GET /{}/{}{}", attack.name, kind.name(), arguments(kind));
                        let workload = format!("default/attacks/{}-{}", attack.name, kind.name());
                        expect(&suite.serving, &line, &workload, attack.verdict, &wrong);
                    }
                })
            })
            .collect();
        attackers.into_iter().for_each(|attacker| attacker.join().unwrap());
        done.store(true, Ordering::Relaxed);
        neighbour.join().unwrap();
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} wrong:\n{}\n{}", wrong.len(), wrong.join("\n"), suite.serving.log());
    log_is_harmless(&suite.serving);
}

fn arguments(kind: Kind) -> &'static str {
    if kind == Kind::Component { "?text=some" } else { "" }
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

fn expect(serving: &Serving, line: &str, workload: &str, verdict: Verdict, wrong: &Wrong) {
    let Verdict { status, says, logs } = verdict;
    let began = Instant::now();
    match request(serving.http, line, &[], b"") {
        Ok(response) if response.status == status && response.body.contains(says) => {}
        other => {
            let took = began.elapsed();
            return wrong.lock().unwrap().push(format!("{line}: not {status} `{says}` but {other:?} after {took:?}"));
        }
    }
    let named = format!("workload={workload} ");
    if !eventually(|| serving.log().lines().any(|line| line.contains(&named) && line.contains(logs))) {
        wrong.lock().unwrap().push(format!("{line}: no line in the log says `{logs}`"));
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
    assert!(eventually(|| serving.metric("samara_pool_calls_in_use") == 0.0), "slots are lost");
}
