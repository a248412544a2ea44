//! Loads through the cache, what the cache refuses, single flight, and real workers that hit their limits.

use std::{
    fs,
    io::Write,
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::ExitStatusExt,
    },
    path::{Path, PathBuf},
    sync::LazyLock,
    time::SystemTime,
};

use tempfile::TempDir;

use super::*;
use crate::{CodeKind, EngineKey, Engines, PoolSize};

pub(super) fn private_directory() -> TempDir {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}

static ENGINES: LazyLock<Engines> =
    LazyLock::new(|| Engines::new(PoolSize::small(16), samara_telemetry::Gauge::default()));

fn engine(concurrency: bool, pooled: bool) -> Arc<EngineHandle> {
    ENGINES.get(EngineKey { code: CodeKind { concurrency, ..CodeKind::default() }, pooled }).unwrap()
}

pub(super) fn wasm(text: &str) -> Bytes {
    samara_inspect::read_any(text.as_bytes(), None).unwrap().into_owned().into()
}

/// A module that answers `number`, so that each test can have its own digest.
fn answering(number: u32) -> Bytes {
    wasm(&format!("(module (memory (export \"memory\") 1) (func (export \"answer\") (result i32) i32.const {number}))"))
}

pub(super) fn compiler(cache: Option<&Path>, worker: Worker) -> Compiler {
    let cache = cache.map(|directory| CodeCache::open(directory).unwrap());
    Compiler::new(CompilerSettings { cache, worker, ..CompilerSettings::default() })
}

async fn code(compiler: &Compiler, engine: &EngineHandle, bytes: &Bytes) -> Result<Code, Fault> {
    Ok(compiler.code(engine, &Module::read(bytes).unwrap(), bytes).await?)
}

/// Instantiates the code on its engine and asks it.
async fn answer(engine: &EngineHandle, code: &Code) -> i32 {
    let Code::Module(module) = code else { panic!("{code:?}") };
    let mut store = wasmtime::Store::new(&engine.engine, ());
    store.set_epoch_deadline(u64::MAX / 2);
    let instance = wasmtime::Linker::new(&engine.engine).instantiate_async(&mut store, module).await.unwrap();
    let answer = instance.get_typed_func::<(), i32>(&mut store, "answer").unwrap();
    answer.call_async(&mut store, ()).await.unwrap()
}

fn counts(compiler: &Compiler) -> [u64; 4] {
    let counters = compiler.counters();
    [&counters.hits, &counters.started, &counters.rejected, &counters.failed].map(|counter| counter.load(Relaxed))
}

/// The one entry of a cache.
fn entry(directory: &Path) -> PathBuf {
    let names = fs::read_dir(directory).unwrap().map(|item| item.unwrap().path());
    let entries: Vec<_> = names.filter(|path| path.extension().is_some_and(|end| end == "code")).collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries[0].clone()
}

#[tokio::test]
async fn code_is_compiled_once_and_then_mapped_by_every_engine_and_process() {
    let directory = private_directory();
    let bytes = answering(42);
    let first = compiler(Some(directory.path()), Worker::InProcess);
    for pooled in [true, false] {
        let engine = engine(false, pooled);
        assert_eq!(answer(&engine, &code(&first, &engine, &bytes).await.unwrap()).await, 42);
    }
    assert_eq!(counts(&first), [1, 1, 0, 0], "pooled and on-demand engines share their code");
    let second = compiler(Some(directory.path()), Worker::InProcess);
    let engine = engine(false, true);
    let loaded = code(&second, &engine, &bytes).await.unwrap();
    assert_eq!(counts(&second), [1, 0, 0, 0]);
    second.cache().unwrap().clear().unwrap();
    assert_eq!(answer(&engine, &loaded).await, 42, "code stays mapped when its file is unlinked");
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let name = directory.path().file_name().unwrap().to_str().unwrap().to_owned();
    assert!(maps.lines().any(|line| line.contains(&name) && line.contains("r-xp")), "mapped, not copied");
}

#[tokio::test]
async fn components_go_the_same_way() {
    let directory = private_directory();
    let bytes = wasm("(component (core module $m (func (export \"f\"))) (core instance (instantiate $m)))");
    for _ in 0..2 {
        let compiler = compiler(Some(directory.path()), Worker::InProcess);
        for concurrency in [false, true] {
            let code = code(&compiler, &engine(concurrency, true), &bytes).await.unwrap();
            assert!(matches!(code, Code::Component(_)));
        }
    }
    let listed = CodeCache::open(directory.path()).unwrap().list().unwrap();
    assert_eq!(listed.len(), 2, "one for each kind of engine");
    assert!(listed.iter().all(|entry| entry.engine_current && entry.encoding == Encoding::Component));
}

#[tokio::test]
async fn without_a_cache_code_is_compiled_each_time() {
    let (compiler, engine, bytes) = (compiler(None, Worker::InProcess), engine(false, true), answering(7));
    for _ in 0..2 {
        assert_eq!(answer(&engine, &code(&compiler, &engine, &bytes).await.unwrap()).await, 7);
    }
    assert_eq!(counts(&compiler), [0, 2, 0, 0]);
}

/// Spoils the only entry of a cache and expects that it is refused, rebuilt, and good again.
async fn check_refused(spoil: impl FnOnce(&Path)) {
    let directory = private_directory();
    let (engine, bytes) = (engine(false, true), answering(1));
    drop(code(&compiler(Some(directory.path()), Worker::InProcess), &engine, &bytes).await.unwrap());
    spoil(&entry(directory.path()));
    let compiler = compiler(Some(directory.path()), Worker::InProcess);
    assert_eq!(answer(&engine, &code(&compiler, &engine, &bytes).await.unwrap()).await, 1);
    assert_eq!(counts(&compiler), [0, 1, 1, 0]);
    drop(code(&compiler, &engine, &bytes).await.unwrap());
    assert_eq!(counts(&compiler), [1, 1, 1, 0], "the entry is whole again");
}

/// Replaces a file by one with other contents and the mode the cache gives.
pub(super) fn rewrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o400)).unwrap();
}

#[tokio::test]
async fn an_entry_with_any_flipped_bit_is_refused() {
    check_refused(|path| rewrite(path, |bytes| bytes[4096] ^= 1)).await;
    check_refused(|path| rewrite(path, |bytes| *bytes.last_mut().unwrap() ^= 0x80)).await;
    for field in [119, 111, 79, 47, 40, 39] {
        check_refused(|path| {
            rewrite(path, |bytes| {
                let at = bytes.len() - field;
                bytes[at] ^= 1;
            });
        })
        .await;
    }
}

#[tokio::test]
async fn an_entry_of_another_length_is_refused() {
    check_refused(|path| rewrite(path, |bytes| bytes.truncate(bytes.len() - 1))).await;
    check_refused(|path| rewrite(path, |bytes| bytes.truncate(50))).await;
    check_refused(|path| rewrite(path, Vec::clear)).await;
    check_refused(|path| rewrite(path, |bytes| bytes.insert(0, 0))).await;
}

#[tokio::test]
async fn an_entry_that_is_not_a_private_file_is_refused() {
    check_refused(|path| fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap()).await;
    check_refused(|path| fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap()).await;
    check_refused(|path| {
        let elsewhere = path.with_extension("moved");
        fs::rename(path, &elsewhere).unwrap();
        symlink(elsewhere, path).unwrap();
    })
    .await;
    check_refused(|path| {
        fs::remove_file(path).unwrap();
        let made = std::process::Command::new("mkfifo").args(["-m", "400"]).arg(path).status().unwrap();
        assert!(made.success());
    })
    .await;
    if rustix::process::geteuid().is_root() {
        check_refused(|path| std::os::unix::fs::chown(path, Some(65534), None).unwrap()).await;
    }
}

#[tokio::test]
async fn the_code_of_another_artifact_or_engine_is_refused() {
    let directory = private_directory();
    let warm = compiler(Some(directory.path()), Worker::InProcess);
    let (engine, other) = (engine(false, true), answering(2));
    drop(code(&warm, &engine, &other).await.unwrap());
    let others = entry(directory.path());
    let id = |bytes: &Bytes, engine_hash| CodeId {
        artifact: unhex(&Module::read(bytes).unwrap().sha256).unwrap(),
        engine: engine_hash,
        kind: engine.key.code,
        encoding: Encoding::Core,
    };
    let hash = EngineHash::of(&engine.engine, engine.key.code);
    let cache = warm.cache().unwrap();
    assert!(cache.load(&id(&other, hash)).unwrap().is_some());
    // The same authentic bytes under the names of another artifact and of another engine.
    for wanted in [id(&answering(3), hash), id(&other, EngineHash([7; 32]))] {
        assert!(cache.load(&wanted).unwrap().is_none());
        fs::copy(&others, directory.path().join(entry::file_name(&wanted))).unwrap();
        assert!(matches!(cache.load(&wanted), Err(cache::Rejected::Identity)));
    }
    // And under its own name, in a cache with another key.
    let elsewhere = private_directory();
    let cache = CodeCache::open(elsewhere.path()).unwrap();
    fs::copy(&others, elsewhere.path().join(others.file_name().unwrap())).unwrap();
    assert!(matches!(cache.load(&id(&other, hash)), Err(cache::Rejected::Mac)));
}

#[tokio::test]
async fn a_spoilt_key_is_replaced_and_its_entries_are_rebuilt() {
    let directory = private_directory();
    let key = directory.path().join("key");
    let (engine, bytes) = (engine(false, true), answering(4));
    drop(code(&compiler(Some(directory.path()), Worker::InProcess), &engine, &bytes).await.unwrap());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let compiler = compiler(Some(directory.path()), Worker::InProcess);
    drop(code(&compiler, &engine, &bytes).await.unwrap());
    assert_eq!(counts(&compiler), [0, 1, 1, 0]);
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o400);
}

#[test]
fn a_directory_that_others_may_enter_is_refused() {
    let base = private_directory();
    let open = |name: &str| CodeCache::open(base.path().join(name)).map_err(|error| format!("{error:#}"));
    open("a/b").unwrap();
    assert_eq!(fs::metadata(base.path().join("a/b")).unwrap().permissions().mode() & 0o7777, 0o700);
    fs::set_permissions(base.path().join("a/b"), fs::Permissions::from_mode(0o750)).unwrap();
    assert!(open("a/b").unwrap_err().contains("chmod 700"));
    symlink(base.path().join("a"), base.path().join("link")).unwrap();
    assert!(open("link").unwrap_err().contains("symbolic link"));
    fs::write(base.path().join("file"), "").unwrap();
    open("file").unwrap_err();
}

#[test]
fn processes_that_open_a_new_cache_at_once_agree_on_its_key() {
    let directory = private_directory();
    let path = directory.path().join("code");
    let id =
        CodeId { artifact: [1; 32], engine: EngineHash([2; 32]), kind: CodeKind::default(), encoding: Encoding::Core };
    let caches: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| CodeCache::open(&path).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for writer in &caches {
        writer.store(&id, b"code").unwrap();
        assert!(caches.iter().all(|reader| reader.load(&id).unwrap().is_some()));
    }
}

#[test]
fn the_cache_keeps_what_was_used_last() {
    let directory = private_directory();
    let cache = CodeCache::open(directory.path()).unwrap();
    let id = |number| CodeId {
        artifact: [number; 32],
        engine: EngineHash([0; 32]),
        kind: CodeKind { concurrency: true, ..CodeKind::default() },
        encoding: Encoding::Core,
    };
    let path = |number| directory.path().join(entry::file_name(&id(number)));
    let age = |path: &Path, hours: u64| {
        let then = SystemTime::now() - Duration::from_secs(hours * 3600);
        fs::File::open(path).unwrap().set_modified(then).unwrap();
    };
    for number in 1..=4 {
        cache.store(&id(number), &[number; 880]).unwrap();
        age(&path(number), u64::from(number));
    }
    let left = || (1..=4).filter(|number| path(*number).exists()).collect::<Vec<_>>();
    assert_eq!(cache.list().unwrap().first().map(|entry| (entry.bytes, entry.engine_current)), Some((1000, false)));
    drop(cache.load(&id(4)).unwrap().unwrap()); // its use is noted
    assert_eq!(cache.gc(3500, None).unwrap(), Removed { entries: 1, bytes: 1000 });
    assert_eq!(left(), [1, 2, 4]);
    assert_eq!(cache.gc(u64::MAX, Some(Duration::from_secs(90 * 60))).unwrap().entries, 1);
    assert_eq!(left(), [1, 4]);
    let cache = cache.with_max_bytes(2500);
    cache.store(&id(3), &[0; 880]).unwrap();
    assert_eq!(left(), [3, 4], "storing keeps the bound");
    // What a process left that died is removed in time; what is not ours is not touched.
    for (name, hours) in [(".new-dead", 2), (".new-alive", 0), ("notes.txt", 99)] {
        fs::write(directory.path().join(name), "").unwrap();
        age(&directory.path().join(name), hours);
    }
    assert_eq!(cache.clear().unwrap().entries, 2);
    let mut names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|item| item.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [".new-alive", "key", "notes.txt"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hammer_of_loads_compiles_each_module_once() {
    let directory = private_directory();
    let compiler = compiler(Some(directory.path()), Worker::InProcess);
    let (engine_of, bytes_of) = (|n: u32| engine(false, n % 8 < 4), |n: u32| answering(100 + n % 4));
    let firsts: Vec<_> = (0..4).map(|n| (engine_of(n), bytes_of(n))).collect();
    let mut firsts: Vec<_> = firsts.iter().map(|(engine, bytes)| Box::pin(code(&compiler, engine, bytes))).collect();
    for first in &mut firsts {
        assert!(futures::poll!(first).is_pending());
    }
    let loads = (4..64).map(|n| {
        let (compiler, engine, bytes) = (compiler.clone(), engine_of(n), bytes_of(n));
        tokio::spawn(async move {
            // Some go away early; the others are not to notice.
            let leaves = n % 5 == 0;
            let patience = Duration::from_millis(if leaves { 1 } else { 60_000 });
            let loaded = tokio::time::timeout(patience, code(&compiler, &engine, &bytes)).await;
            leaves || loaded.is_ok_and(|code| code.is_ok())
        })
    });
    let (firsts, loads) = tokio::join!(futures::future::join_all(firsts), futures::future::join_all(loads));
    assert!(firsts.into_iter().all(|code| code.is_ok()));
    for loaded in loads {
        assert!(loaded.unwrap());
    }
    assert_eq!(counts(&compiler)[1..], [4, 0, 0]);
}

#[tokio::test]
async fn when_the_first_goes_away_the_next_goes_on() {
    let (compiler, engine, bytes) = (compiler(None, Worker::InProcess), engine(false, true), answering(11));
    let mut loads: Vec<_> = (0..8).map(|_| Box::pin(code(&compiler, &engine, &bytes))).collect();
    for load in &mut loads {
        assert!(futures::poll!(load).is_pending());
    }
    drop(loads.remove(0));
    for loaded in futures::future::join_all(loads).await {
        loaded.unwrap();
    }
    assert_eq!(counts(&compiler), [0, 1, 0, 0]);
}

#[tokio::test]
async fn those_who_wait_together_get_one_answer_and_then_it_is_forgotten() {
    let directory = private_directory();
    let compiler = compiler(Some(directory.path()), Worker::InProcess);
    let engine = engine(false, true);
    let bytes = answering(5);
    let loads = (0..20).map(|_| code(&compiler, &engine, &bytes));
    for loaded in futures::future::join_all(loads).await {
        loaded.unwrap();
    }
    assert_eq!(counts(&compiler), [0, 1, 0, 0]);
    assert_eq!(compiler.counters().joined.load(Relaxed), 19);
    // A module that reads well and does not validate.
    let invalid = wasm("(module (func (result i32) i64.const 0))");
    for round in 1..=2 {
        let loads = (0..5).map(|_| code(&compiler, &engine, &invalid));
        for loaded in futures::future::join_all(loads).await {
            let fault = loaded.unwrap_err();
            assert!(matches!(fault, Fault::Config(_)), "{fault:?}");
            let message = fault.to_string();
            assert!(message.contains("does not compile") && message.contains("at offset 26"), "{message}");
        }
        assert_eq!(compiler.counters().failed.load(Relaxed), round, "shared, then tried again");
    }
}

#[tokio::test]
async fn bytes_that_are_not_the_module_are_refused() {
    let (compiler, engine) = (compiler(None, Worker::InProcess), engine(false, true));
    let module = Module::read(&answering(6)).unwrap();
    let fault = compiler.code(&engine, &module, &Bytes::from_static(b"\0asm")).await.unwrap_err();
    assert!(matches!(fault, CompileError::Host(_)));
}

#[tokio::test]
async fn a_certain_bomb_is_refused_by_its_estimate() {
    let limits = CompileLimits { cpu: Duration::from_micros(1), ..CompileLimits::default() };
    let compiler = Compiler::new(CompilerSettings { limits, ..CompilerSettings::default() });
    let bytes = wasm(&format!("(module (func $small) (func $enormous {}))", "block end ".repeat(1000)));
    let fault = code(&compiler, &engine(false, true), &bytes).await.unwrap_err();
    assert!(fault.to_string().contains("of processor time and the limit is 1us"), "{fault}");
    assert!(fault.to_string().contains("of it in `enormous`"), "{fault}");
    assert_eq!(counts(&compiler), [0, 0, 0, 1], "nothing was compiled");
}

/// A worker made of this very test program: it prints to standard output before our code runs, so the shell keeps
/// the real one as descriptor 3.
fn test_worker() -> Worker {
    let program = std::env::current_exe().unwrap().into_os_string();
    let script = "TEST_COMPILE_WORKER=1 exec \"$0\" --exact compile::tests::worker_entry --nocapture 3>&1 >/dev/null";
    Worker::Child { program: "/bin/sh".into(), args: vec!["-c".into(), script.into(), program] }
}

/// Not a test but the program that [`test_worker`] starts.
#[test]
#[expect(clippy::exit, reason = "a worker ends with its answer's code")]
fn worker_entry() {
    if std::env::var_os("TEST_COMPILE_WORKER").is_some() {
        let stdout = fs::OpenOptions::new().write(true).open("/dev/fd/3").unwrap();
        let code = run_worker(std::io::stdin(), stdout, std::io::stderr());
        std::process::exit(if code == std::process::ExitCode::SUCCESS { 0 } else { 2 });
    }
}

#[tokio::test]
async fn a_worker_process_gives_the_same_code() {
    let directory = private_directory();
    let compiler = compiler(Some(directory.path()), test_worker());
    for concurrency in [false, true] {
        let engine = engine(concurrency, true);
        let bytes = answering(8);
        assert_eq!(answer(&engine, &code(&compiler, &engine, &bytes).await.unwrap()).await, 8);
        let component = wasm("(component)");
        assert!(matches!(code(&compiler, &engine, &component).await.unwrap(), Code::Component(_)));
    }
    let invalid = wasm("(module (func (result i32) i64.const 0))");
    let fault = code(&compiler, &engine(false, true), &invalid).await.unwrap_err();
    assert!(fault.to_string().contains("does not compile") && fault.to_string().contains("at offset 26"), "{fault}");
}

/// Compiles something expensive under limits and expects the message of the one it hits.
async fn check_limit(limits: CompileLimits, wasm: &Bytes, message: &str) {
    let compiler = Compiler::new(CompilerSettings { worker: test_worker(), limits, ..CompilerSettings::default() });
    let fault = code(&compiler, &engine(false, true), wasm).await.unwrap_err();
    assert!(matches!(fault, Fault::Config(_)), "{fault:?}");
    assert!(fault.to_string().contains(message), "{fault}");
}

/// One function of many calls and branches over many locals.
fn expensive(repeat: usize) -> Bytes {
    let locals = "(local i32) ".repeat(400);
    let body = "local.get 0 if local.get 1 i32.const 1 i32.add local.set 1 call 0 end ".repeat(repeat);
    wasm(&format!("(module (func {locals} {body}))"))
}

#[tokio::test]
async fn a_bomb_is_killed_by_each_limit_of_its_worker() {
    let limits = CompileLimits::default();
    let bomb = expensive(15_000);
    check_limit(CompileLimits { cpu: Duration::from_secs(1), ..limits }, &bomb, "over 1s of processor time").await;
    check_limit(CompileLimits { wall: Duration::from_millis(300), ..limits }, &bomb, "took over 300ms").await;
    check_limit(CompileLimits { memory_bytes: 64 << 20, ..limits }, &bomb, "took over 64MiB of memory").await;
    check_limit(CompileLimits { output_bytes: 100, ..limits }, &answering(9), "and the limit is 100B").await;
}

#[test]
fn a_worker_ends_with_its_host() {
    let Worker::Child { program, args } = test_worker() else { panic!("a process") };
    let mut command = std::process::Command::new(program);
    command.args(args).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let (engine, bomb) = (engine(false, true), expensive(15_000));
    let order = Order {
        engine: hex(&EngineHash::of(&engine.engine, engine.key.code).0),
        kind: engine.key.code,
        component: false,
        wasm_bytes: bomb.len() as u64,
        cpu_seconds: 600,
        memory_bytes: 8 << 30,
    };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&order.encode().unwrap()).unwrap();
    stdin.write_all(&bomb).unwrap();
    drop(stdin);
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(6), "{status}: it was not done when its input closed");
}

#[tokio::test]
async fn a_worker_that_is_not_one_is_the_hosts_fault() {
    let worker = |program: &str| Worker::Child { program: program.into(), args: Vec::new() };
    for (program, message) in
        [("/nonexistent", "starting `/nonexistent`"), ("/bin/true", "ended"), ("/bin/false", "code 1")]
    {
        let fault = code(&compiler(None, worker(program)), &engine(false, true), &answering(10)).await.unwrap_err();
        assert!(matches!(fault, Fault::Host(_)), "{fault:?}");
        assert!(fault.to_string().contains(message), "{fault}");
    }
}
