//! Many tenants in one process, and what a bad neighbour costs a good one.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use wasm_encoder::{CustomSection, Encode as _};

use crate::{load::Load, offered::whole, server::Recipe};

/// Apps of as many tenants.
pub(crate) const TENANTS: usize = 1_000;
/// Guests that loop without end beside the good one.
const LOOPERS: u32 = 8;
/// Clients of the good one, how long each rests after an answer, and how long they ask.
const GOOD_CLIENTS: usize = 4;
const GOOD_REST: Duration = Duration::from_millis(5);
const GOOD_SECONDS: u64 = 8;

/// What 1,000 apps cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tenants {
    /// From starting the process to the first answer, all code in the cache.
    pub(crate) start: Duration,
    /// Anonymous memory an app, in bytes, once all are ready; less that of a process with one app.
    pub(crate) bytes_each: u64,
    /// Requests a second over all of them in turn, as a share of those to one.
    pub(crate) rate_ratio: f64,
}

/// Serves as many apps of as many tenants, each with a module of its own digest.
pub(crate) fn tenants(
    samara: &Path,
    hello: &Path,
    scratch: &Path,
    core: usize,
    load: &Load,
) -> anyhow::Result<Tenants> {
    let folder = scratch.join("tenants");
    fs::create_dir_all(&folder)?;
    let bytes = fs::read(hello)?;
    let mut host = String::new();
    let mut manifests = Vec::new();
    for number in 0..TENANTS {
        writeln!(host, "[tenant.t{number}]")?;
        fs::write(folder.join(format!("{number}.wasm")), distinct(&bytes, number))?;
        let manifest = folder.join(format!("{number}.toml"));
        fs::write(
            &manifest,
            format!(
                "[app]\nname = \"a{number}\"\ntenant = \"t{number}\"\n[workload.hello]\nsource = \"./{number}.wasm\"\n\
                 [[trigger]]\nhttp = {{ path = \"/{number}\" }}\nfn = \"hello\"\n"
            ),
        )?;
        manifests.push(manifest);
    }
    let host_file = folder.join("host.toml");
    fs::write(&host_file, host)?;
    let serve = |apps: &[PathBuf], path: &'static str| {
        let mut arguments: Vec<String> =
            ["serve", "--listen", "{address}", "--admin", "127.0.0.1:0", "--host"].map(str::to_owned).to_vec();
        arguments.push(host_file.display().to_string());
        arguments.extend(apps.iter().map(|app| app.display().to_string()));
        Recipe { name: "samara", program: samara.to_owned(), arguments, path, answer: "Hello, WASI!" }
    };
    let one = serve(manifests.get(..1).context("no manifest")?, "/0").start(core)?;
    load.run(&one.url(), 1)?;
    let (alone, memory_alone) = (load.run(&one.url(), 4)?, one.anonymous_bytes()?);
    drop(one);
    eprintln!("  compiling {TENANTS} modules, once");
    let all = serve(&manifests, "/0");
    drop(all.start(core)?);
    let began = Instant::now();
    let many = all.start(core)?;
    let start = began.elapsed();
    let bytes_each = many.anonymous_bytes()?.saturating_sub(memory_alone) / TENANTS as u64;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tenants.lua");
    load.run_script(&many.url(), 2, &script)?;
    let together = load.run_script(&many.url(), 4, &script)?;
    let rate = |seen: crate::load::Seen| seen.requests as f64 / seen.micros as f64;
    Ok(Tenants { start, bytes_each, rate_ratio: rate(together) / rate(alone) })
}

/// The same component with a custom section, so that its digest is another's.
pub(crate) fn distinct(component: &[u8], number: usize) -> Vec<u8> {
    let mut bytes = component.to_vec();
    let name = format!("bench {number}");
    let section = CustomSection { name: name.into(), data: [][..].into() };
    bytes.push(wasm_encoder::SectionId::Custom.into());
    section.encode(&mut bytes);
    bytes
}

/// The 99th percentile of a good guest's latency alone and beside loops without end, with every core to share.
pub(crate) fn neighbours(samara: &Path, guests: &Path, scratch: &Path) -> anyhow::Result<(Duration, Duration)> {
    let manifest = scratch.join("neighbours.toml");
    let hello = guests.join("wasi_http/http-hello/http-hello.wasm");
    let looping = scratch.join("loop.wat");
    fs::write(&looping, "(module (func (export \"spin\") (loop br 0)))")?;
    fs::write(
        &manifest,
        format!(
            "[app]\nname = \"neighbours\"\n[workload.good]\nsource = \"{}\"\n[workload.bad]\nsource = \"{}\"\n\
             [[trigger]]\nhttp = {{ path = \"/good\" }}\nfn = \"good\"\n[[trigger]]\nhttp = {{ path = \"/bad/*operation\" }}\nfn = \"bad\"\n",
            hello.display(),
            looping.display()
        ),
    )?;
    let recipe = Recipe {
        name: "samara",
        program: samara.to_owned(),
        arguments: ["serve", "--listen", "{address}", "--admin", "127.0.0.1:0", &manifest.display().to_string()]
            .map(str::to_owned)
            .to_vec(),
        path: "/good",
        answer: "Hello, WASI!",
    };
    let server = recipe.start_anywhere()?;
    ask_now_and_then(server.address, 1)?;
    let alone = ask_now_and_then(server.address, GOOD_SECONDS)?;
    let bad = server.keep_asking("/bad/spin", LOOPERS);
    thread::sleep(Duration::from_millis(500));
    let beside = ask_now_and_then(server.address, GOOD_SECONDS)?;
    bad.stop();
    Ok((alone, beside))
}

/// The 99th percentile of a few clients that ask, take the answer, and rest: they share the cores with the server, so they
/// must not be what keeps them busy.
fn ask_now_and_then(address: SocketAddr, seconds: u64) -> anyhow::Result<Duration> {
    let asking: Vec<_> = (0..GOOD_CLIENTS)
        .map(|_| {
            thread::spawn(move || -> anyhow::Result<Vec<Duration>> {
                let mut stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                let (end, mut latencies) = (Instant::now() + Duration::from_secs(seconds), Vec::new());
                let mut buffer = [0; 4096];
                while Instant::now() < end {
                    let began = Instant::now();
                    write!(stream, "GET /good HTTP/1.1\r\nhost: bench.test\r\n\r\n")?;
                    let mut answer = Vec::new();
                    while !whole(&answer)? {
                        let count = stream.read(&mut buffer)?;
                        ensure!(count > 0, "the server closed a connection");
                        answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
                    }
                    latencies.push(began.elapsed());
                    thread::sleep(GOOD_REST);
                }
                Ok(latencies)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for thread in asking {
        latencies.extend(thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
    }
    latencies.sort_unstable();
    latencies.get(latencies.len() * 99 / 100).copied().context("no answer")
}
