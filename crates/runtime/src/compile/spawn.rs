//! The host's side of a compilation: starts a worker, feeds it, bounds it, and says in words how it ended.

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{ExitStatus, Stdio},
};

use bytes::Bytes;
use rustix::process::Signal;
use samara_model::{format_bytes, format_duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use super::{
    CompileError, CompileLimits,
    code::Compiled,
    order::{EXIT_REFUSED, Order},
};

/// Bytes of a worker's standard error that are kept.
const MAX_ERROR_BYTES: u64 = 16 << 10;
/// Characters of it that go into a message.
const MAX_MESSAGE_CHARS: usize = 1000;

/// Runs one worker to its end. Dropping the future ends the worker.
pub(super) async fn compile(
    program: &Path,
    args: &[OsString],
    order: &Order,
    wasm: &Bytes,
    name: &str,
    limits: &CompileLimits,
) -> Result<Compiled, CompileError> {
    let host = |what: &str, error: std::io::Error| CompileError::Host(format!("{what} the compile worker: {error}"));
    let order = order.encode().map_err(|error| host("ordering", error))?;
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        // Our allocator would commit 1 GiB at once, and that is what the worker's memory limit counts.
        .env("MIMALLOC_ARENA_EAGER_COMMIT", "0")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C is for the host, which ends its workers itself.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| host(&format!("starting `{}` as", program.display()), error))?;
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(CompileError::Host("the compile worker has no pipes".to_owned()));
    };
    let send = async {
        // A worker that ends early says why by itself.
        let _ = async {
            stdin.write_all(&order).await?;
            stdin.write_all(wasm).await?;
            stdin.flush().await
        }
        .await;
        Ok(())
    };
    let talk = async {
        let ((), code, said) = tokio::try_join!(send, read_code(stdout, limits.output_bytes), read_words(stderr))?;
        let status = child.wait().await.map_err(Stop::Wait)?;
        Ok::<_, Stop>((code, said, status))
    };
    let ended = tokio::time::timeout(limits.wall, talk).await.unwrap_or(Err(Stop::Wall));
    // The worker takes the end of its input for the end of the host, so it stays open until here.
    drop(stdin);
    match ended {
        Ok((Some(code), _, status)) if status.success() => Ok(Compiled(code)),
        Ok((_, said, status)) => Err(why(status, &said, name, limits)),
        Err(stop) => {
            // Reaped by the runtime; the error is that it has ended already.
            let _ = child.start_kill();
            Err(match stop {
                Stop::Wait(error) => host("waiting for", error),
                Stop::Wall => CompileError::Refused(format!(
                    "compiling {name} took over {}; {ADVICE}, or try again when the machine is less busy",
                    format_duration(limits.wall),
                )),
                Stop::Output(bytes) => CompileError::Refused(format!(
                    "the code of {name} is {} and the limit is {}; {ADVICE}",
                    format_bytes(bytes),
                    format_bytes(limits.output_bytes),
                )),
            })
        }
    }
}

/// What helps against every limit of a compilation.
pub(super) const ADVICE: &str = "split its largest functions or build it with optimisation for size";

/// Why the host stopped listening to a worker.
enum Stop {
    Wall,
    Output(u64),
    Wait(std::io::Error),
}

/// The code a worker answers with; `None` if it ends before that.
async fn read_code(mut stdout: impl AsyncRead + Unpin, max_bytes: u64) -> Result<Option<Vec<u8>>, Stop> {
    let Ok(length) = stdout.read_u64_le().await else { return Ok(None) };
    if length > max_bytes {
        return Err(Stop::Output(length));
    }
    let mut code = Vec::new();
    let reserved = usize::try_from(length).is_ok_and(|length| code.try_reserve_exact(length).is_ok());
    if !reserved || stdout.take(length).read_to_end(&mut code).await.is_err() {
        return Ok(None);
    }
    Ok((code.len() as u64 == length).then_some(code))
}

/// The start of what a worker says, as harmless text; the rest is read and dropped, so that it never waits for us.
async fn read_words(stderr: impl AsyncRead + Unpin) -> Result<String, Stop> {
    let mut start = stderr.take(MAX_ERROR_BYTES);
    let mut bytes = Vec::new();
    let _ = start.read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut start.into_inner(), &mut tokio::io::sink()).await;
    Ok(harmless(&String::from_utf8_lossy(&bytes)))
}

/// One line without control characters: names in it come from the guest.
pub(super) fn harmless(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut shown: String = words.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE_CHARS).collect();
    if words.chars().nth(MAX_MESSAGE_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// How a worker ended that gave no code, in words for whoever wrote the module or the configuration.
fn why(status: ExitStatus, said: &str, name: &str, limits: &CompileLimits) -> CompileError {
    if let Some(code) = status.code() {
        return match u8::try_from(code) {
            Ok(EXIT_REFUSED) => CompileError::Unable(format!("{name} does not compile: {said}")),
            // What Rust programs end with after a panic.
            Ok(101) => CompileError::Unable(format!("the compiler gave up on {name}: {said}")),
            _ if said.is_empty() => CompileError::Host(format!("the compile worker ended with code {code}")),
            _ => CompileError::Host(format!("the compile worker ended with code {code}: {said}")),
        };
    }
    let memory = format_bytes(limits.memory_bytes);
    match status.signal().and_then(Signal::from_named_raw) {
        Some(Signal::XCPU) => CompileError::Refused(format!(
            "compiling {name} took over {} of processor time; {ADVICE}",
            format_duration(limits.cpu)
        )),
        Some(Signal::ABORT) if said.contains("memory allocation of") => {
            CompileError::Refused(format!("compiling {name} took over {memory} of memory; {ADVICE}"))
        }
        Some(Signal::ABORT) if said.contains("overflowed its stack") => CompileError::Unable(format!(
            "compiling {name} overflowed the compiler's stack; its code is nested too deeply"
        )),
        Some(Signal::KILL) => CompileError::Refused(format!(
            "the compiler of {name} was killed, most likely because the machine ran out of memory; {ADVICE}"
        )),
        _ => CompileError::Unable(format!("the compiler crashed on {name} ({status}): {said}")),
    }
}

#[cfg(test)]
mod tests {
    use samara_model::Fault;

    use super::*;

    fn ended(raw: i32, said: &str) -> String {
        let limits = CompileLimits::default();
        Fault::from(why(ExitStatus::from_raw(raw), said, "`sha256:abc`", &limits)).to_string()
    }

    #[test]
    fn each_way_a_worker_ends_is_told_in_words() {
        for (raw, said, told) in [
            (2 << 8, "type mismatch (at offset 0x29)", "`sha256:abc` does not compile: type mismatch (at offset 0x29)"),
            (3 << 8, "reading", "the host failed: the compile worker ended with code 3: reading"),
            (101 << 8, "assertion failed", "the compiler gave up on `sha256:abc`: assertion failed"),
            (libc_signal(Signal::XCPU), "", "took over 1m of processor time"),
            (libc_signal(Signal::ABORT), "memory allocation of 64 bytes failed", "took over 2GiB of memory"),
            (libc_signal(Signal::ABORT), "thread 'main' has overflowed its stack", "nested too deeply"),
            (libc_signal(Signal::KILL), "", "the machine ran out of memory"),
            (libc_signal(Signal::SEGV), "", "crashed on `sha256:abc` (signal: 11"),
        ] {
            let message = ended(raw, said);
            assert!(message.contains(told), "{message}");
        }
    }

    fn libc_signal(signal: Signal) -> i32 {
        signal.as_raw()
    }

    #[test]
    fn what_a_worker_says_cannot_forge_log_lines() {
        assert_eq!(harmless("a\n\x1b[31mb\tc"), "a [31mb c");
        assert_eq!(harmless(&"x".repeat(5000)).chars().count(), MAX_MESSAGE_CHARS + 1);
    }
}
