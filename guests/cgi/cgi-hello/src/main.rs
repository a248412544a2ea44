//! Answers one HTTP request by CGI (RFC 3875): the request in the environment and on stdin, the response on stdout.
//!
//! `PATH_INFO` chooses what it does, including what a CGI program must not do.

use std::env;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::process::exit;
use std::thread;
use std::time::Duration;

fn main() -> io::Result<()> {
    let path = variable("PATH_INFO");
    let out = &mut io::stdout().lock();
    match path.as_str() {
        "/env" => environment(out),
        "/echo" => echo(out),
        "/args" => write!(out, "Content-Type: text/plain\n\n{}\n", env::args().collect::<Vec<_>>().join("\n")),
        "/status" => write!(out, "Status: 404 Not Found\nContent-Type: text/plain\n\nnothing here\n"),
        "/redirect" => write!(out, "Location: http://elsewhere.test/\n\n"),
        "/crlf" => write!(out, "Content-Type: text/plain\r\nX-Lines: crlf\r\n\r\nboth line ends are allowed\r\n"),
        "/no-header" => write!(out, "this is not a header\n"),
        "/nothing" => Ok(()),
        "/exit" => exit(3),
        "/trap" => std::process::abort(),
        "/partial" => {
            write!(out, "Content-Type: text/plain\n\nand then")?;
            out.flush()?;
            // Long enough for what was sent to reach the client.
            thread::sleep(Duration::from_millis(50));
            std::process::abort()
        }
        "/spin" => spin(),
        _ => write!(out, "Content-Type: text/plain\n\nHello, CGI! {} {path}\n", variable("REQUEST_METHOD")),
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

fn environment(out: &mut impl Write) -> io::Result<()> {
    write!(out, "Content-Type: text/plain\n\n")?;
    let mut variables: Vec<_> = env::vars().collect();
    variables.sort();
    variables.iter().try_for_each(|(name, value)| writeln!(out, "{name}={value}"))
}

/// Passes the body on as it comes, reading no further than `CONTENT_LENGTH` where there is one.
fn echo(out: &mut impl Write) -> io::Result<()> {
    let kind =
        Some(variable("CONTENT_TYPE")).filter(|kind| !kind.is_empty()).unwrap_or_else(|| "text/plain".to_owned());
    write!(out, "Content-Type: {kind}\n\n")?;
    let length = variable("CONTENT_LENGTH").parse().unwrap_or(u64::MAX);
    io::copy(&mut io::stdin().lock().take(length), out)?;
    out.flush()
}

fn spin() -> ! {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}
