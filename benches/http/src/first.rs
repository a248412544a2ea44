//! The first answer of a module in a running host: never seen, by either compiler, and from the code cache.
//!
//! Time runs from sending a manifest to the admin API to the last byte of the first answer, on connections that are open
//! already. What an answer of the same workload takes from then on is told beside it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};

use crate::{offered::whole, once::large_module, report::Goal, rounds::median, scale::distinct};

/// Loads of a small module and of a large one; the median counts.
const SMALL_LOADS: usize = 21;
const LARGE_LOADS: usize = 5;
/// Functions of a module of 2.5 MB, and of one of 5 MB.
const MIDDLE: u32 = 4_000;
const LARGE: u32 = 8_000;
/// The promises, in milliseconds: never seen, and over a warm answer when it is cached.
const MOST_SMALL_MS: f64 = 60.0;
const MOST_MIDDLE_TIERED_MS: f64 = 500.0;
const MOST_SMALL_CACHED_MS: f64 = 1.0;
const MOST_LARGE_CACHED_MS: f64 = 4.0;

/// What is asked of a module.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Hello,
    Run,
}

/// The first answers of one kind of module.
#[derive(Debug)]
pub(crate) struct First {
    pub(crate) name: String,
    pub(crate) first: Duration,
    pub(crate) warm: Duration,
}

/// Measures them all, with a code cache of their own.
pub(crate) fn first_answers(samara: &Path, hello: &Path, scratch: &Path) -> anyhow::Result<Vec<First>> {
    let folder = scratch.join(format!("first-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let measured = measure(samara, hello, &folder);
    fs::remove_dir_all(&folder)?;
    measured
}

/// What they promise.
pub(crate) fn goals(all: &[First]) -> Vec<Goal> {
    let find = |start: &str| all.iter().find(|first| first.name.starts_with(start));
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let whole = |start: &str| find(start).map(|first| milliseconds(first.first));
    let over = |start: &str| find(start).map(|first| milliseconds(first.first) - milliseconds(first.warm));
    [
        Goal::most(
            "ms to the first answer of a small component never seen, at most 60",
            whole("small, never seen, optimized"),
            MOST_SMALL_MS,
        ),
        Goal::most(
            "the same of 2.5 MB, tiered, at most 500",
            whole("2.5 MB, never seen, tiered"),
            MOST_MIDDLE_TIERED_MS,
        ),
        Goal::most(
            "ms over a warm answer of a small component in the cache, at most 1",
            over("small, cached"),
            MOST_SMALL_CACHED_MS,
        ),
        Goal::most("the same of 5 MB, at most 4", over("5 MB, cached"), MOST_LARGE_CACHED_MS),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn measure(samara: &Path, hello: &Path, folder: &Path) -> anyhow::Result<Vec<First>> {
    let hello = fs::read(hello)?;
    // No run sees a module of another's: theirs are cached nowhere, but a seed says so in one word.
    let seed = u32::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() & 0x7fff_ffff)?;
    let mut host = Host::start(samara, folder)?;
    let mut all = Vec::new();
    for (compile, seed) in [("optimized", seed), ("tiered", seed.wrapping_add(1_000))] {
        // What one of the two has compiled is not new to the other.
        let small = |load: usize| distinct(&hello, seed as usize + load);
        let name = format!("small, never seen, {compile}");
        all.push(host.loads(name, SMALL_LOADS, compile, Asked::Hello, small, false)?);
        let middle = |load: usize| large_module(MIDDLE, seed.wrapping_add(load as u32 * 8));
        let name = format!("2.5 MB, never seen, {compile}");
        all.push(host.loads(name, LARGE_LOADS, compile, Asked::Run, middle, false)?);
    }
    all.push(host.loads("small, cached".into(), SMALL_LOADS, "optimized", Asked::Hello, |_| hello.clone(), true)?);
    let large = large_module(LARGE, seed);
    all.push(host.loads("5 MB, cached".into(), SMALL_LOADS, "optimized", Asked::Run, |_| large.clone(), true)?);
    Ok(all)
}

/// A running host without an app, and connections to it.
struct Host {
    child: Child,
    folder: PathBuf,
    token: String,
    admin: TcpStream,
    http: TcpStream,
    /// Each version has a number of its own.
    apps: u32,
}

impl Drop for Host {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Host {
    fn start(samara: &Path, folder: &Path) -> anyhow::Result<Self> {
        let token = folder.join("admin.token");
        let mut child = Command::new(samara)
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--token-file"])
            .arg(&token)
            .env("SAMARA_CACHE", folder.join("code"))
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting `{}`", samara.display()))?;
        let lines = BufReader::new(child.stdout.take().context("it has no output")?).lines();
        let mut addresses = Vec::new();
        for line in lines {
            let line = line?;
            if line.starts_with("pool") {
                break;
            }
            let address = line.split("http://").nth(1).and_then(|rest| rest.split([' ', '/']).next());
            addresses.extend(address.and_then(|text| text.parse::<SocketAddr>().ok()));
        }
        let [http, admin]: [SocketAddr; 2] =
            addresses.try_into().map_err(|found| anyhow::anyhow!("it announced {found:?}"))?;
        let connect = |address: SocketAddr| -> anyhow::Result<TcpStream> {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(120)))?;
            Ok(stream)
        };
        Ok(Self {
            child,
            folder: folder.to_owned(),
            token: fs::read_to_string(token)?.trim().to_owned(),
            admin: connect(admin)?,
            http: connect(http)?,
            apps: 0,
        })
    }

    /// Loads modules, each as an app of its own that goes before the next comes. Of those that are cached the first load,
    /// which compiles, does not count; nor does the first of the others, for which an engine may have to be made.
    fn loads(
        &mut self,
        name: String,
        loads: usize,
        compile: &str,
        asked: Asked,
        module: impl Fn(usize) -> Vec<u8>,
        cached: bool,
    ) -> anyhow::Result<First> {
        let (mut firsts, mut warms) = (Vec::new(), Vec::new());
        let before = self.cache_hits()?;
        for load in 0..=loads {
            let bytes = module(load);
            let path = self.folder.join(if cached { "cached.wasm" } else { "new.wasm" });
            fs::write(path.with_extension("part"), &bytes)?;
            fs::rename(path.with_extension("part"), &path)?;
            let (first, warm) = self.load(&path, compile, asked)?;
            if load > 0 {
                firsts.push(first.as_secs_f64());
                warms.push(warm.as_secs_f64());
            }
        }
        let found = self.cache_hits()? - before;
        let expected = if cached { loads as u64 } else { 0 };
        ensure!(found == expected, "{name}: {found} of {loads} modules were in the cache, not {expected}");
        let time = |times| Duration::from_secs_f64(median(times));
        let first = First { name, first: time(firsts), warm: time(warms) };
        eprintln!(
            "  {}: {:.2} ms, then {:.2}",
            first.name,
            first.first.as_secs_f64() * 1e3,
            first.warm.as_secs_f64() * 1e3
        );
        Ok(first)
    }

    fn load(&mut self, module: &Path, compile: &str, asked: Asked) -> anyhow::Result<(Duration, Duration)> {
        self.apps += 1;
        let app = format!("a{}", self.apps);
        let manifest = format!(
            "app.name = \"{app}\"\nworkload.w = {{ source = \"{}\", compile = \"{compile}\" }}\n\
             trigger = [{{ http = {{ path = \"/{app}/:operation\" }}, fn = \"w\" }}]",
            module.display()
        );
        let began = Instant::now();
        self.change("PUT", &app, &manifest)?;
        self.ask(&app, asked)?;
        let first = began.elapsed();
        let warm = (0..9)
            .map(|_| {
                let began = Instant::now();
                self.ask(&app, asked).map(|()| began.elapsed().as_secs_f64())
            })
            .collect::<anyhow::Result<_>>()?;
        // Whoever compiles in the background for it stops.
        self.change("DELETE", &app, "")?;
        Ok((first, Duration::from_secs_f64(median(warm))))
    }

    /// How often code was found in the cache: what was never seen is not.
    fn cache_hits(&mut self) -> anyhow::Result<u64> {
        let page = exchange(&mut self.admin, "GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\n", "")?;
        let line = page.lines().find_map(|line| line.strip_prefix("samara_code_cache_hits_total "));
        line.context("it does not count what it finds in its cache")?.trim().parse().context("reading a count")
    }

    fn change(&mut self, method: &str, app: &str, manifest: &str) -> anyhow::Result<()> {
        let (base, token) = (self.folder.display(), &self.token);
        let query = if manifest.is_empty() { String::new() } else { format!("?base={base}") };
        let head = format!(
            "{method} /v1/apps/default/{app}{query} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n"
        );
        exchange(&mut self.admin, &head, manifest).map(drop)
    }

    fn ask(&mut self, app: &str, asked: Asked) -> anyhow::Result<()> {
        let (line, body) = match asked {
            Asked::Hello => (format!("GET /{app}/hello"), ""),
            Asked::Run => (format!("POST /{app}/run"), "[1, 2]"),
        };
        let answer = exchange(&mut self.http, &format!("{line} HTTP/1.1\r\nhost: bench.test\r\n"), body)?;
        ensure!(!matches!(asked, Asked::Hello) || answer.contains("Hello, WASI!"), "it answered {answer:?}");
        Ok(())
    }
}

/// One request on an open connection; the whole answer, which is of a status in the 200s.
fn exchange(stream: &mut TcpStream, head: &str, body: &str) -> anyhow::Result<String> {
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    stream.write_all(format!("{head}{length}\r\n{body}").as_bytes())?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 16 << 10]);
    while !complete(&answer)? {
        let count = stream.read(&mut buffer)?;
        ensure!(count > 0, "the server closed a connection");
        answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    ensure!(answer.starts_with("HTTP/1.1 2"), "it answered {answer:?}");
    Ok(answer)
}

/// Whether an answer is whole: one without content says no length.
fn complete(answer: &[u8]) -> anyhow::Result<bool> {
    let without_content = answer.starts_with(b"HTTP/1.1 204") && answer.ends_with(b"\r\n\r\n");
    Ok(without_content || whole(answer)?)
}
