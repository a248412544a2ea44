//! A WASI 0.3 command: `wasi:cli/run` is an async function, and stdio are streams that the guest makes or is handed.
//!
//! Built for wasm32-wasip2, as long as Rust has no 0.3 target: the standard library's own imports are then 0.2 ones.

use std::future::IntoFuture;
use std::hint::black_box;

use futures_util::join;
use wasip3::cli::types::ErrorCode;
use wasip3::cli::{environment, exit, stderr, stdin, stdout};
use wasip3::clocks::{monotonic_clock, system_clock};
use wasip3::random::random;
use wasip3::wit_bindgen::{FutureReader, StreamReader, StreamResult};
use wasip3::wit_stream;

const USAGE: &str = "usage: cli-p3 SUBCOMMAND
  echo WORD...  env   cat (stdin to stdout)   stderr TEXT   exit CODE   fail
  clock         random   sleep MILLISECONDS   spin          trap        grow   recurse
";

struct Command;

impl wasip3::exports::cli::run::Guest for Command {
    async fn run() -> Result<(), ()> {
        let args = environment::get_arguments();
        let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
        match words.as_slice() {
            ["echo", rest @ ..] => print(format!("{}\n", rest.join(" "))).await,
            ["env"] => {
                print(environment::get_environment().iter().map(|(name, value)| format!("{name}={value}\n")).collect())
                    .await
            }
            ["cat"] => cat().await,
            ["stderr", text] => complain(format!("{text}\n")).await,
            ["exit", code] => {
                exit::exit_with_code(code.parse().map_err(drop)?);
                Ok(())
            }
            ["fail"] => Err(()),
            ["clock"] => clock().await,
            ["random"] => print(format!("{:016x}\n", random::get_random_u64())).await,
            ["sleep", millis] => {
                monotonic_clock::wait_for(millis.parse::<u64>().map_err(drop)?.saturating_mul(1_000_000)).await;
                Ok(())
            }
            ["spin"] => spin(),
            ["trap"] => std::process::abort(),
            ["grow"] => grow(),
            ["recurse"] => print(format!("{}\n", recurse(0))).await,
            _ => {
                complain(USAGE.to_owned()).await?;
                Err(())
            }
        }
    }
}

wasip3::cli::command::export!(Command);

async fn print(text: String) -> Result<(), ()> {
    send(text, stdout::write_via_stream).await
}

async fn complain(text: String) -> Result<(), ()> {
    send(text, stderr::write_via_stream).await
}

/// The write end feeds the stream while the host drains it: both must be polled.
async fn send(
    text: String,
    to: impl FnOnce(StreamReader<u8>) -> FutureReader<Result<(), ErrorCode>>,
) -> Result<(), ()> {
    let (mut writer, reader) = wit_stream::new();
    let written = to(reader);
    let feed = async move {
        let left = writer.write_all(text.into_bytes()).await;
        left.is_empty()
    };
    let (fed, ended) = join!(feed, written.into_future());
    ended.map_err(drop)?;
    if fed { Ok(()) } else { Err(()) }
}

/// Passes each piece on as it comes, by a copy through the guest.
async fn cat() -> Result<(), ()> {
    let (mut input, read) = stdin::read_via_stream();
    let (mut writer, reader) = wit_stream::new();
    let written = stdout::write_via_stream(reader);
    let copy = async move {
        loop {
            let (result, piece) = input.read(Vec::with_capacity(16 * 1024)).await;
            let left = writer.write_all(piece).await;
            if !left.is_empty() || !matches!(result, StreamResult::Complete(_)) {
                return;
            }
        }
    };
    let ((), ended, source) = join!(copy, written.into_future(), read.into_future());
    ended.and(source).map_err(drop)
}

async fn clock() -> Result<(), ()> {
    let now = system_clock::now();
    let start = monotonic_clock::now();
    monotonic_clock::wait_for(10_000_000).await;
    let slept = monotonic_clock::now().saturating_sub(start) / 1_000_000;
    print(format!("unix={} slept_ms={slept}\n", now.seconds)).await
}

fn spin() -> ! {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

fn grow() -> ! {
    loop {
        black_box(Box::leak(vec![1u8; 1 << 20].into_boxed_slice()));
    }
}

/// Rotating keeps the compiler from making it a loop.
#[allow(unconditional_recursion, reason = "this is the point")]
fn recurse(depth: u64) -> u64 {
    recurse(depth.wrapping_add(1)).rotate_left(1) ^ depth
}
