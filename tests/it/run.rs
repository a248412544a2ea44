//! `samara run`: what a WASI command of each generation may do, is kept from doing, and exits with.

use std::fs;

use crate::samara;

/// The same program for preview 1 and WASI 0.2, and its sister for 0.3.
const COMMANDS: &[&str] = &["cli-p1", "cli-p2", "cli-p3"];

/// Runs a line for each generation; `{}` is the command.
#[track_caller]
fn each(line: &str, check: impl Fn(crate::process::Samara)) {
    for command in COMMANDS {
        check(samara(&line.replace("{}", &format!("{{{command}}}"))));
    }
}

#[test]
fn arguments_and_environment_reach_the_guest() {
    each("run {} -- echo one two", |run| run.prints("one two\n"));
    each("run --env GREETING=hi {} -- env", |run| run.env("SECRET", "not for guests").prints("GREETING=hi\n"));
    each("run --env PASSED {} -- env", |run| run.env("PASSED", "on").prints("PASSED=on\n"));
    samara("run --env ABSENT {cli-p1}").fails(2, "`ABSENT` is not set in this environment; write `ABSENT=VALUE`");
    samara("run {c-hello}").prints("Hello from C!\n");
    samara("run {c-hello} -- args a b").prints("a\nb\n");
    samara("run --env NAME=value {c-hello} -- getenv NAME").prints("value\n");
}

#[test]
fn standard_streams_pass_through() {
    each("run {} -- cat", |run| run.stdin("several\nlines\n").prints("several\nlines\n"));
    each("run {} -- cat", |run| run.prints(""));
    let megabytes = "0123456789abcdef".repeat(1 << 17);
    each("run {} -- cat", |run| run.stdin(megabytes.clone()).prints(&megabytes));
    each("run {} -- stderr oops", |run| {
        let ran = run.run();
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", "oops\n"), "{ran}");
    });
    samara("run {c-hello} -- cat").stdin("by C").prints("by C");
}

#[test]
fn what_crosses_between_guest_and_host_can_be_watched() {
    each("run --trace-calls {} -- echo hi", |run| {
        let ran = run.run();
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "hi\n"), "{ran}");
        let lines: Vec<_> = ran.stderr.lines().collect();
        assert!(lines.first().is_some_and(|line| line.starts_with("--> ")), "{ran}");
        assert!(lines.iter().any(|line| line.starts_with("==> ")) && lines.last() == Some(&"<-- exit 0"), "{ran}");
    });
}

#[test]
fn the_exit_code_is_the_guests_own() {
    for code in [0, 1, 7, 125] {
        samara(&format!("run {{cli-p1}} -- exit {code}")).fails(code, "");
        samara(&format!("run {{cli-p3}} -- exit {code}")).fails(code, "");
        // WASI 0.2 has no codes: its `exit` takes a result.
        samara(&format!("run {{cli-p2}} -- exit {code}")).fails(code.min(1), "");
    }
    samara("run {cli-p3} -- fail").fails(1, "");
    samara("run {cli-p1} -- no-such-subcommand").fails(2, "usage: cli");
}

#[test]
fn a_failure_has_the_exit_code_of_its_fault() {
    each("run {} -- trap", |run| run.fails(134, "error: the guest failed: wasm trap: wasm `unreachable`"));
    each("run {} -- recurse", |run| run.fails(134, "the recursion is too deep"));
    each("run --cpu 50ms {} -- spin", |run| run.fails(124, "error: the guest is over its `cpu` limit of 50ms"));
    each("run --memory 10MiB {} -- grow", |run| run.fails(137, "error: the guest is over its `memory` limit of 10MiB"));
    // Also where preview 1 would like to sleep in the host's own thread.
    each("run --deadline 50ms {} -- sleep 20000", |run| {
        run.fails(124, "error: the guest is over its `deadline` limit of 50ms");
    });
    samara("run {cli-p1} -- recurse-memory").fails(134, "out of bounds memory access");
}

#[test]
fn waiting_is_not_running() {
    each("run --cpu 50ms {} -- sleep 200", |run| run.prints(""));
}

#[test]
fn a_careful_guest_sees_a_refused_growth_as_an_error() {
    let ran = samara("run --memory 10MiB {cli-p1} -- grow-try").run();
    assert!(ran.code == 0 && ran.stdout.starts_with("memory ended after "), "{ran}");
}

#[test]
fn clocks_and_random_numbers_need_no_grant() {
    each("run {} -- clock", |run| {
        let ran = run.run();
        assert!(ran.code == 0 && ran.stdout.starts_with("unix=1"), "{ran}");
    });
    each("run {} -- random", |run| {
        let ran = run.run();
        assert!(ran.code == 0 && ran.stdout.trim().len() == 16, "{ran}");
    });
}

#[test]
fn a_folder_is_granted_under_a_name_and_maybe_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let host = folder.path().display();
    fs::write(folder.path().join("note.txt"), "a note").unwrap();
    fs::create_dir(folder.path().join("inner")).unwrap();
    for command in ["{cli-p1}", "{cli-p2}"] {
        let check = |dir: &str, rest: &str| samara(&format!("run --dir {host}{dir} {command} -- {rest}"));
        check("::/data", "read /data/note.txt").prints("a note");
        check("::/data", "ls /data").prints("inner/\nnote.txt\n");
        check("::/data", "write /data/inner/new.txt written").prints("");
        assert_eq!(fs::read_to_string(folder.path().join("inner/new.txt")).unwrap(), "written");
        fs::remove_file(folder.path().join("inner/new.txt")).unwrap();
        check("", &format!("read {host}/note.txt")).prints("a note");
        check("::/data:ro", "read /data/note.txt").prints("a note");
        check("::/data:ro", "write /data/new.txt no").fails(1, "Operation not permitted");
        assert!(!folder.path().join("new.txt").exists());
    }
    samara(&format!("run --dir {host}::/data {{c-hello}} -- cat /data/note.txt")).prints("a note");
}

#[test]
fn nothing_outside_a_granted_folder_can_be_reached() {
    let folder = tempfile::tempdir().unwrap();
    let granted = folder.path().join("granted");
    fs::create_dir(&granted).unwrap();
    fs::write(folder.path().join("secret"), "not for guests").unwrap();
    std::os::unix::fs::symlink("../secret", granted.join("relative")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("secret"), granted.join("absolute")).unwrap();
    std::os::unix::fs::symlink("..", granted.join("up")).unwrap();
    let granted = granted.display();
    for command in ["{cli-p1}", "{cli-p2}"] {
        for path in
            ["/data/../secret", "/data/relative", "/data/absolute", "/data/up/secret", "/etc/hostname", "../secret"]
        {
            let ran = samara(&format!("run --dir {granted}::/data {command} -- read {path}")).run();
            assert!(ran.code == 1 && ran.stdout.is_empty(), "{path}\n{ran}");
        }
        samara(&format!("run {command} -- ls /")).fails(1, "");
    }
    samara("run --dir /no/such/folder {cli-p1}").fails(2, "`/no/such/folder` is not a folder");
}

#[test]
fn sockets_open_to_granted_addresses_only() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connect = |grant: &str| samara(&format!("run {grant} {{cli-p2}} -- connect {address}"));
    connect("").fails(1, "Permission denied");
    connect("--net connect=127.0.0.1:1").fails(1, "Permission denied");
    connect(&format!("--net listen={address}")).fails(1, "Permission denied");
    let answering = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            stream.write_all(format!("heard {said}").as_bytes()).unwrap();
        }
    });
    connect(&format!("--net connect={address}")).prints("heard hello from the guest\n");
    connect("--net any").prints("heard hello from the guest\n");
    answering.join().unwrap();
    samara("run {cli-p2} -- listen 127.0.0.1:0").fails(1, "Permission denied");
    samara("run --net accept=127.0.0.1:1 {cli-p2}").fails(2, "write connect=HOST:PORT, listen=HOST:PORT or any");
}

#[test]
fn a_guest_listens_where_it_is_granted_only() {
    use std::io::{BufRead, Read, Write};
    samara("run --net listen=127.0.0.1:1 {cli-p2} -- listen 127.0.0.1:0").fails(1, "Permission denied");
    samara("run --net connect=127.0.0.1:* {cli-p2} -- listen 127.0.0.1:0").fails(1, "Permission denied");
    let mut command = samara("run --deadline 60s --net listen=127.0.0.1:* {cli-p2} -- listen 127.0.0.1:0").command();
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut address = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let mut stream = std::net::TcpStream::connect(address.trim()).unwrap();
    stream.set_read_timeout(Some(crate::process::PATIENCE)).unwrap();
    stream.write_all(b"to and fro").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut echoed = String::new();
    stream.read_to_string(&mut echoed).unwrap();
    assert_eq!(echoed, "to and fro");
    assert!(child.wait().unwrap().success());
}

#[test]
fn text_runs_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seven.wat");
    let text = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start") (call $exit (i32.const 7))))"#;
    fs::write(&path, text).unwrap();
    samara("run").arg(&path).fails(7, "");
    samara("run seven.wat").within(folder.path()).fails(7, "");
}

#[test]
fn every_call_between_guest_and_host_can_be_watched() {
    let ran = samara("run --trace-calls {c-hello} -- args shown").run();
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "shown\n"), "{ran}");
    for line in ["--> _start()", "==> wasi_snapshot_preview1.fd_write(fd: Fd(1)", "<== Ok("] {
        assert!(ran.stderr.contains(line), "`{line}` is missing\n{ran}");
    }
}
