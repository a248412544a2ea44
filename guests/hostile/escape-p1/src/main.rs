//! A CGI command that tries to leave the folder `/data` it was granted; the path's first word chooses how.
//!
//! `/all` tries every way and answers a line `took WAY` for each that worked, or `took nothing`. `/fifo-read` and
//! `/fifo-write` open a pipe that nobody else has open. Whoever grants the folder puts into it: `inside.txt`, `pipe`, and
//! symbolic links `absolute` (to a file outside), `relative` (`../secret`), `up` (`..`), `out` (`../outside`, a folder),
//! `proc` (`/proc/self`).
//!
//! One source, built twice: for preview 1 and for WASI 0.2.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::Read;

fn main() {
    let path = env::var("PATH_INFO").unwrap_or_default();
    let said = match path.trim_matches('/') {
        "all" => all(),
        "fifo-read" => format!("{:?}", File::open("/data/pipe").map(drop)),
        "fifo-write" => format!("{:?}", OpenOptions::new().write(true).open("/data/pipe").map(drop)),
        "fifo-wait" => format!("{:?}", fs::read("/data/pipe")),
        other => format!("no `{other}` here"),
    };
    print!("content-type: text/plain\r\n\r\n{said}\n");
}

fn all() -> String {
    let mut took = Vec::new();
    for path in [
        "/data/../secret",
        "/data/./../secret",
        "/data/inner/../../secret",
        "/data//../secret",
        "/data/relative",
        "/data/relative/",
        "/data/absolute",
        "/data/absolute/",
        "/data/up/secret",
        "/data/up/../secret",
        "/data/proc/environ",
        "/data/proc/exe",
        "/data/proc/cwd",
        "/data/nul\0/../secret",
        "/secret",
        "/etc/hostname",
        "/proc/self/environ",
        "../secret",
        "",
    ] {
        let mut bytes = Vec::new();
        if File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).is_ok() {
            took.push(format!("read {path:?}"));
        }
        if fs::write(path, "from inside").is_ok() {
            took.push(format!("write {path:?}"));
        }
    }
    for path in ["/data/..", "/data/up", "/data/up/", "/data/proc", "/data/proc/fd", "/data/proc/cwd", "/", "..", "/data/inner/../.."] {
        if fs::read_dir(path).is_ok_and(|entries| entries.flatten().next().is_some()) {
            took.push(format!("list {path:?}"));
        }
    }
    for to in ["/data/../stolen", "/data/up/stolen", "../stolen", "/stolen", "/data/proc/cwd/stolen", "/data/out/stolen"] {
        attempt(&mut took, &format!("rename to {to:?}"), fs::rename("/data/inside.txt", to));
        attempt(&mut took, &format!("link to {to:?}"), fs::hard_link("/data/inside.txt", to));
        attempt(&mut took, &format!("make {to:?}"), fs::create_dir(to));
        attempt(&mut took, &format!("copy to {to:?}"), fs::copy("/data/inside.txt", to).map(drop));
    }
    for from in [
        "/data/../secret",
        "/data/up/secret",
        "/data/relative/",
        "/data/absolute/",
        "/data/out/",
        "/data/out/.",
        "/data/../outside",
    ] {
        attempt(&mut took, &format!("rename from {from:?}"), fs::rename(from, "/data/taken"));
        attempt(&mut took, &format!("link from {from:?}"), fs::hard_link(from, "/data/taken"));
        attempt(&mut took, &format!("remove {from:?}"), fs::remove_file(from));
        attempt(&mut took, &format!("ask about {from:?}"), fs::metadata(from).map(drop));
        attempt(&mut took, &format!("remove the folder {from:?}"), fs::remove_dir(from));
    }
    if took.is_empty() { "took nothing".to_owned() } else { format!("took {}", took.join("\ntook ")) }
}

fn attempt(took: &mut Vec<String>, what: &str, result: std::io::Result<()>) {
    if result.is_ok() {
        took.push(what.to_owned());
    }
}
