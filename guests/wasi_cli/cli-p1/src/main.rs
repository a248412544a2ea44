//! A command with a subcommand for each thing that a WASI command can do, well or badly.
//!
//! One source, built twice: `cli-p1` for preview 1 and `cli-p2` for WASI 0.2, where sockets exist.

use std::env;
use std::fs;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

const USAGE: &str = "usage: cli SUBCOMMAND
  echo WORD...        env                 cat (stdin to stdout)
  stderr TEXT         exit CODE           sleep MILLISECONDS
  ls DIR              read FILE           write FILE TEXT
  clock               random              flood (lines to stdout for ever)
  spin                trap                grow | grow-try
  recurse | recurse-memory
WASI 0.2 only:
  connect ADDR        listen ADDR         resolve NAME";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> io::Result<ExitCode> {
    match words {
        ["echo", rest @ ..] => println!("{}", rest.join(" ")),
        ["env"] => env::vars().for_each(|(name, value)| println!("{name}={value}")),
        ["cat"] => copy_as_it_comes(io::stdin().lock(), io::stdout().lock())?,
        ["stderr", text] => eprintln!("{text}"),
        ["exit", code] => return code.parse::<u8>().map(ExitCode::from).map_err(io::Error::other),
        ["sleep", millis] => thread::sleep(Duration::from_millis(millis.parse().map_err(io::Error::other)?)),
        ["ls", directory] => list(directory)?,
        ["read", file] => io::stdout().write_all(&fs::read(file)?)?,
        ["write", file, text] => fs::write(file, text)?,
        ["clock"] => clock()?,
        ["random"] => println!("{:016x}", random()?),
        ["flood"] => loop {
            writeln!(io::stdout(), "a line that nobody asked for")?;
        },
        ["spin"] => spin(),
        ["trap"] => std::process::abort(),
        ["grow"] => grow(),
        ["grow-try"] => println!("memory ended after {} MiB", grow_until_refused()),
        ["recurse"] => println!("{}", recurse(0)),
        ["recurse-memory"] => println!("{}", recurse_memory(0)),
        #[cfg(target_env = "p2")]
        ["connect", address] => sockets::connect(address)?,
        #[cfg(target_env = "p2")]
        ["listen", address] => sockets::listen(address)?,
        #[cfg(target_env = "p2")]
        ["resolve", name] => sockets::resolve(name)?,
        _ => {
            eprintln!("{USAGE}");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Each piece is passed on as soon as it is there, so that a host which buffers is found out.
fn copy_as_it_comes(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut piece = [0; 16 * 1024];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(()),
            count => {
                to.write_all(&piece[..count])?;
                to.flush()?;
            }
        }
    }
}

fn list(directory: &str) -> io::Result<()> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let mark = if entry.file_type()?.is_dir() { "/" } else { "" };
        lines.push(format!("{}{mark}", entry.file_name().to_string_lossy()));
    }
    lines.sort();
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// Wall time in seconds, then what a sleep of 10 ms took by the monotonic clock.
fn clock() -> io::Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?;
    let start = Instant::now();
    thread::sleep(Duration::from_millis(10));
    println!("unix={} slept_ms={}", now.as_secs(), start.elapsed().as_millis());
    Ok(())
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u64::from_ne_bytes(bytes))
}

fn spin() -> ! {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Ends in Rust's abort when the host refuses to grow the memory.
fn grow() -> ! {
    loop {
        black_box(Box::leak(vec![1u8; 1 << 20].into_boxed_slice()));
    }
}

/// Sees the refusal as an error, as a careful program does.
fn grow_until_refused() -> usize {
    let mut kept: Vec<Vec<u8>> = Vec::with_capacity(4096);
    while kept.len() < kept.capacity() {
        let mut piece = Vec::new();
        if piece.try_reserve_exact(1 << 20).is_err() {
            break;
        }
        piece.resize(1 << 20, 1);
        kept.push(black_box(piece));
    }
    kept.len()
}

/// Uses only the engine's call stack; rotating keeps the compiler from making it a loop.
#[allow(unconditional_recursion, reason = "this is the point")]
fn recurse(depth: u64) -> u64 {
    recurse(depth.wrapping_add(1)).rotate_left(1) ^ depth
}

/// Runs the stack that Rust keeps in linear memory below its start.
#[allow(unconditional_recursion, reason = "this is the point")]
fn recurse_memory(depth: u64) -> u64 {
    let frame = black_box([depth; 512]);
    recurse_memory(depth.wrapping_add(1)) ^ frame[(depth % 512) as usize]
}

#[cfg(target_env = "p2")]
mod sockets {
    //! What WASI 0.2 adds: TCP and name look-up.

    use std::io::{self, Read, Write};
    use std::net::{TcpListener, TcpStream, ToSocketAddrs};

    use super::copy_as_it_comes;

    /// Sends a line and prints what comes back.
    pub fn connect(address: &str) -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"hello from the guest\n")?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        print!("{answer}");
        Ok(())
    }

    /// Prints the address, then echoes one connection.
    pub fn listen(address: &str) -> io::Result<()> {
        let listener = TcpListener::bind(address)?;
        println!("{}", listener.local_addr()?);
        let (stream, _) = listener.accept()?;
        copy_as_it_comes(&stream, &stream)
    }

    pub fn resolve(name: &str) -> io::Result<()> {
        for address in (name, 0).to_socket_addrs()? {
            println!("{}", address.ip());
        }
        Ok(())
    }
}
