//! Ten thousand hostile requests and ten thousand good ones, interleaved, on one host: no wrong verdict, no failure of the
//! host, and afterwards no descriptor, thread or memory more than before.
//!
//! It takes half a minute of both processors, so it is one of the external tests. It prints how long a guest outlives its deadline.

use std::{
    fmt::Write as _,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    shapes::Kind,
    table::{Attack, CPU, TABLE},
};
use crate::serving::{Apps, Serving, eventually, request, serve};

/// Of each sort.
const REQUESTS: usize = 10_000;
/// Of each sort, before anything is measured: the pool, the caches and the allocator are filled.
const WARM_UP: usize = 5_000;
const CLIENTS: usize = 8;
/// Guests that do not end by themselves end here.
const DEADLINE: Duration = Duration::from_millis(100);
/// What a guest may outlive its deadline by; reported, as a busy machine is no failure.
const KILL_BOUND: Duration = Duration::from_millis(20);
/// How much more memory may be in use afterwards, in percent.
const GROWTH_PERCENT: u64 = 5;
/// Runs of which one must stay within that: slots of the pool are touched for the first time at any time, and once; what
/// leaks grows in each run.
const MOST_RUNS: usize = 4;

/// Attacks whose verdict comes soon, so that ten thousand do not take an hour.
const QUICK: &[&str] = &[
    "loop-in-start",
    "loop-in-handler",
    "loop-in-realloc",
    "realloc-out-of-bounds",
    "trap-in-post-return",
    "grow-to-the-end",
    "many-memories",
    "many-tables",
    "table-grow",
    "deep-recursion",
    "trap-in-start",
    "data-at-four-gigabytes",
    "four-gigabytes-of-random-numbers",
    "forgotten-handles",
];

/// What a request asks for, and the status and part of the body that it must get.
struct Ask {
    line: String,
    host: &'static str,
    body: &'static str,
    status: u16,
    says: &'static str,
}

/// Good guests: each has the host of its name.
const GOOD: &[(&str, &str, &str)] = &[
    ("hello", "http-hello", "/*rest"),
    ("echo", "http-echo", "/*rest"),
    ("p3", "http-p3", "/*rest"),
    ("add", "add", "/:operation"),
    ("cgi", "cgi-hello", "/*rest"),
    ("never", "http-echo", "/*rest"),
];

fn good() -> Vec<Ask> {
    let ask = |line: &str, host, body, says| Ask { line: line.to_owned(), host, body, status: 200, says };
    vec![
        ask("GET /", "hello.test", "", "Hello, WASI!"),
        ask("POST /echo", "echo.test", "to and fro", "to and fro"),
        ask("GET /", "p3.test", "", "Hello, WASI 0.3!"),
        ask("GET /add?a=1&b=2", "add.test", "", "3"),
        ask("GET /", "cgi.test", "", "Hello, CGI!"),
    ]
}

fn attacks() -> impl Iterator<Item = (&'static Attack, Kind)> {
    let quick = TABLE.iter().filter(|attack| QUICK.contains(&attack.name));
    quick.flat_map(|attack| attack.kinds.iter().map(move |kind| (attack, *kind)))
}

fn start() -> (Serving, Apps, Vec<Ask>) {
    let (apps, mut manifest, mut hostile) = (Apps::new(&[]), String::from("app.name = \"soak\"\n"), Vec::new());
    for (name, guest, path) in GOOD {
        let limits =
            if *name == "never" { format!("deadline = \"{}ms\"", DEADLINE.as_millis()) } else { String::new() };
        write!(
            manifest,
            r#"
            [workload.{name}]
            source = "{{{guest}}}"
            limits = {{ {limits} }}
            [[trigger]]
            http = {{ host = "{name}.test", path = "{path}" }}
            fn = "{name}"
            "#
        )
        .unwrap();
    }
    for (Attack { name, code, verdict, .. }, kind) in attacks() {
        let guest = format!("{name}-{kind:?}").to_lowercase();
        fs::write(apps.path(&format!("{guest}.wat")), code.text(kind)).unwrap();
        let operation = if matches!(kind, Kind::Function | Kind::Component) { "operation = \"attack\"" } else { "" };
        // Whoever is not stopped for its loop has time enough.
        let cpu = if verdict.status == CPU.status { "2ms" } else { "2s" };
        write!(
            manifest,
            r#"
            [workload.{guest}]
            source = "{guest}.wat"
            limits = {{ cpu = "{cpu}", memory = "8MiB", handles = 100, tables = 100000 }}
            [[trigger]]
            http = {{ host = "bad.test", path = "/{guest}" }}
            fn = "{guest}"
            {operation}
            "#
        )
        .unwrap();
        let arguments = if kind == Kind::Component { "?text=some" } else { "" };
        let line = format!("GET /{guest}{arguments}");
        hostile.push(Ask { line, host: "bad.test", body: "", status: verdict.status, says: verdict.says });
    }
    let apps = apps.with("samara.toml", &manifest);
    let serving = serve(&apps.folder().display().to_string());
    (serving, apps, hostile)
}

/// Asks `count` good and as many hostile requests in turn, by several clients at once; what went wrong.
fn run_all(serving: &Serving, good: &[Ask], hostile: &[Ask], count: usize) -> Vec<String> {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= 2 * count {
                        return;
                    }
                    let asks = if number % 2 == 0 { good } else { hostile };
                    let Ask { line, host, body, status, says } = &asks[number / 2 % asks.len()];
                    match request(serving.http, line, &[&format!("host: {host}")], body.as_bytes()) {
                        Ok(response) if response.status == *status && response.body.contains(says) => {}
                        other => wrong.lock().unwrap().push(format!("{host} {line}: {other:?}")),
                    }
                }
            });
        }
    });
    wrong.into_inner().unwrap()
}

/// What a process holds: descriptors, threads, and kilobytes of memory.
#[derive(Clone, Copy, Debug)]
struct Held {
    descriptors: usize,
    threads: usize,
    kilobytes: u64,
}

impl Held {
    fn by(serving: &Serving) -> Self {
        let folder = format!("/proc/{}", serving.pid());
        let count = |name: &str| fs::read_dir(format!("{folder}/{name}")).unwrap().count();
        let status = fs::read_to_string(format!("{folder}/status")).unwrap();
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
        Self { descriptors: count("fd"), threads: count("task"), kilobytes: rss.unwrap() }
    }

    /// Whether memory has grown no more from here to there than it may.
    fn holds_about(&self, after: &Self) -> bool {
        after.kilobytes * 100 <= self.kilobytes * (100 + GROWTH_PERCENT)
    }
}

/// How long calls take that nothing but their deadline ends, sorted.
fn kills(serving: &Serving) -> Vec<Duration> {
    let kill = || {
        let began = Instant::now();
        let response = request(serving.http, "GET /never", &["host: never.test"], b"").unwrap();
        assert_eq!(response.status, 504, "{response:?}");
        began.elapsed()
    };
    let mut took: Vec<_> = (0..200).map(|_| kill()).collect();
    took.sort();
    took
}

#[expect(clippy::print_stdout, reason = "figures for whoever runs it with --nocapture")]
pub(crate) fn run() {
    let (serving, _apps, hostile) = start();
    let good = good();
    let mut wrong = run_all(&serving, &good, &hostile, WARM_UP);
    let idle = || serving.metric("samara_pool_calls_in_use") == 0.0;
    assert!(eventually(idle));
    let mut before = Held::by(&serving);
    let mut took = Duration::ZERO;
    for _ in 0..MOST_RUNS {
        before = Held::by(&serving);
        let began = Instant::now();
        wrong.extend(run_all(&serving, &good, &hostile, REQUESTS));
        took = began.elapsed();
        assert!(eventually(idle), "slots are lost");
        if before.holds_about(&Held::by(&serving)) {
            break;
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong: {}",
        wrong.len(),
        wrong.iter().take(10).cloned().collect::<Vec<_>>().join("\n")
    );
    let leaks = |after: Held| after.descriptors > before.descriptors || after.threads > before.threads;
    // What is closing when the last answer was read is given its time.
    let leaked = !eventually(|| !leaks(Held::by(&serving)));
    let after = Held::by(&serving);
    println!("{REQUESTS} hostile and {REQUESTS} good requests in {took:.1?}; before: {before:?}; after: {after:?}");
    assert!(!leaked, "before: {before:?}, after: {after:?}");
    assert!(before.holds_about(&after), "before: {before:?}, after: {after:?}");
    let page = request(serving.admin, "GET /metrics", &[], b"").unwrap().body;
    let host = page.lines().filter(|line| line.contains("outcome=\"host\"") && !line.ends_with(" 0"));
    assert_eq!(host.collect::<Vec<_>>(), Vec::<&str>::new(), "{}", serving.log());
    let kills = kills(&serving);
    let late = |percent: usize| kills[kills.len() * percent / 100].saturating_sub(DEADLINE);
    println!(
        "a guest outlives its deadline by {:.1?} (p50), {:.1?} (p99); the goal is {KILL_BOUND:?}",
        late(50),
        late(99)
    );
}
