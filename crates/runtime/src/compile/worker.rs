//! The worker's side of a compilation: a short-lived process that does nothing else.
//!
//! Small modules exist that cost a compiler minutes or gigabytes, and a compiler is a large program fed by strangers.
//! So the host starts itself once more with nothing but three pipes, and this side takes away from itself what it does
//! not need before it reads the first byte of WebAssembly.

use std::{
    io::{self, Read, Write},
    process::ExitCode,
};

use rustix::process::{DumpableBehavior, Resource, Rlimit, setrlimit};

use super::{
    code::{Compiled, EngineHash, hex},
    order::{EXIT_FAILED, EXIT_REFUSED, Order},
};

/// Descriptors that a worker may have open: three pipes, and what the standard library opens to count processors.
const MAX_DESCRIPTORS: u64 = 16;
/// Bytes that are reserved for WebAssembly before it arrives.
const MAX_RESERVE_BYTES: u64 = 64 << 20;
/// How much less important than the host a worker is: guests that run go first.
const NICENESS: i32 = 5;

/// Why a worker has no code to give.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The input is at fault.
    Input(String),
    /// We are.
    Host(String),
}

/// The whole life of a compile worker: one order read, one answer written. The process must end with the answer's
/// code and have done nothing before.
///
/// `stdin` is read until the process ends: when it closes, the host is gone and the worker aborts.
pub fn run_worker(mut stdin: impl Read + Send + 'static, mut stdout: impl Write, mut stderr: impl Write) -> ExitCode {
    let work = move || -> Result<Compiled, Refusal> {
        let order = Order::read(&mut stdin).map_err(|error| Refusal::Host(format!("reading the order: {error}")))?;
        confine(&order).map_err(|error| Refusal::Host(format!("confining the compile worker: {error}")))?;
        let wasm = read_wasm(&mut stdin, order.wasm_bytes)
            .map_err(|error| Refusal::Host(format!("reading the module to compile: {error}")))?;
        // A signal at the parent's death would come when the *thread* that started us ends, so the pipe tells.
        let watch = std::thread::Builder::new().name("parent".into()).spawn(move || {
            let _ = stdin.read(&mut [0]);
            std::process::abort();
        });
        drop(watch.map_err(|error| Refusal::Host(format!("watching the host: {error}")))?);
        compile(&order, &wasm)
    };
    let answered = match work() {
        Ok(Compiled(code)) => {
            let length = code.len() as u64;
            stdout.write_all(&length.to_le_bytes()).and_then(|()| stdout.write_all(&code)).and_then(|()| stdout.flush())
        }
        Err(Refusal::Input(message)) => {
            let _ = write!(stderr, "{message}");
            return ExitCode::from(EXIT_REFUSED);
        }
        Err(Refusal::Host(message)) => {
            let _ = write!(stderr, "{message}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    match answered {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(EXIT_FAILED),
    }
}

/// Compiles in this process, under whatever limits it has.
pub(super) fn compile(order: &Order, wasm: &[u8]) -> Result<Compiled, Refusal> {
    let engine = wasmtime::Engine::new(&crate::config(order.kind))
        .map_err(|error| Refusal::Host(format!("starting the compiler: {error:#}")))?;
    if hex(&EngineHash::of(&engine, order.kind).0) != order.engine {
        let advice = "it was probably replaced while the host was running; restart the host";
        return Err(Refusal::Host(format!("the compile worker is another version of this program: {advice}")));
    }
    let code = if order.component { engine.precompile_component(wasm) } else { engine.precompile_module(wasm) };
    code.map(Compiled).map_err(|error| Refusal::Input(format!("{error:#}")))
}

/// Takes away from this process what compiling does not need.
fn confine(order: &Order) -> io::Result<()> {
    let limit = |resource, value| setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) });
    // The second between the limits is what the system gives a process to die of SIGXCPU by itself.
    let cpu = Rlimit { current: Some(order.cpu_seconds), maximum: Some(order.cpu_seconds.saturating_add(1)) };
    setrlimit(Resource::Cpu, cpu)?;
    // Address space would count what allocators and threads only reserve.
    limit(Resource::Data, order.memory_bytes)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Nofile, MAX_DESCRIPTORS)?;
    rustix::thread::set_no_new_privs(true)?;
    // The name that `ps` and `top` show.
    let _ = rustix::thread::set_name(c"samara-compile");
    // When memory is short, the compiler goes and not the host. None of these three is needed to be safe.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let _ = rustix::process::nice(NICENESS);
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

fn read_wasm(input: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let mut wasm = Vec::with_capacity(usize::try_from(length.min(MAX_RESERVE_BYTES)).unwrap_or_default());
    input.take(length).read_to_end(&mut wasm)?;
    if wasm.len() as u64 == length { Ok(wasm) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
