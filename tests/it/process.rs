//! Starts the binary under test and waits for it, never for ever.

use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// How long a process may take before a test calls it hung. Generous: a busy machine is not a failure, and the guests of
/// the external tests have a language's whole runtime to compile.
pub(crate) const PATIENCE: Duration = Duration::from_secs(if cfg!(feature = "external-tests") { 300 } else { 60 });

/// The root of the repository.
pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The guest of that name: built, or text.
pub(crate) fn guest(name: &str) -> PathBuf {
    let found = guests().into_iter().find(|path| path.file_stem().is_some_and(|stem| stem == name));
    found.unwrap_or_else(|| panic!("there is no guest `{name}` under guests/"))
}

/// Every committed guest, sorted by path.
pub(crate) fn guests() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for kind in fs::read_dir(Path::new(ROOT).join("guests")).unwrap() {
        // A kind holds a folder per guest, or texts; build products and guests too large to commit lie deeper.
        for entry in fs::read_dir(kind.unwrap().path()).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_owned();
            if path.extension().is_some_and(|extension| extension == "wat") {
                found.push(path);
            } else if path.join(&name).with_extension("wasm").is_file() {
                found.push(path.join(name).with_extension("wasm"));
            }
        }
    }
    found.sort();
    found
}

/// The binary with a command line of words; `{name}` is the path of a guest. What contains spaces goes through [`Samara::arg`].
pub(crate) fn samara(line: &str) -> Samara {
    let words =
        line.split_whitespace().map(|word| match word.strip_prefix('{').and_then(|word| word.strip_suffix('}')) {
            Some(name) => guest(name).into_os_string(),
            None => word.into(),
        });
    Samara { args: words.collect(), env: Vec::new(), stdin: Vec::new(), folder: None }
}

/// A process about to be started.
#[derive(Debug)]
pub(crate) struct Samara {
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    stdin: Vec<u8>,
    folder: Option<PathBuf>,
}

impl Samara {
    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub(crate) fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// The folder it is started in.
    pub(crate) fn within(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// The command, with a code cache that outlives the test and no colours.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_samara"));
        command.args(&self.args).env("SAMARA_CACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/code-cache"));
        // The admin token of these tests, not the developer's.
        command.env("XDG_STATE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/state"));
        command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE").envs(self.env.iter().cloned());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Ran {
        let mut command = self.command();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = self.stdin.clone();
        // Not every guest reads its input.
        thread::spawn(move || drop(stdin.write_all(&input)));
        let (stdout, stderr) = (gather(child.stdout.take().unwrap()), gather(child.stderr.take().unwrap()));
        let (Ok(stdout), Ok(stderr)) = (stdout.recv_timeout(PATIENCE), stderr.recv_timeout(PATIENCE)) else {
            child.kill().unwrap();
            panic!("{self:?} did not end within {PATIENCE:?}");
        };
        let code = child.wait().unwrap().code().unwrap_or_else(|| panic!("{self:?} was killed by a signal: {stderr}"));
        Ran { line: format!("{:?}", self.args), code, stdout, stderr }
    }

    /// Runs it; it succeeds, and prints this.
    #[track_caller]
    pub(crate) fn prints(self, stdout: &str) {
        let ran = self.run();
        assert_eq!((ran.code, ran.stdout.as_str()), (0, stdout), "{ran}");
    }

    /// Runs it; it ends with this code, and says this on standard error.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, message: &str) {
        let ran = self.run();
        assert_eq!(ran.code, code, "{ran}");
        assert!(ran.stderr.contains(message), "it should say `{message}`\n{ran}");
    }
}

/// Everything that comes, when it ends.
fn gather(mut from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = from.read_to_end(&mut bytes);
        drop(read.map(|_| sender.send(String::from_utf8_lossy(&bytes).into_owned())));
    });
    receiver
}

/// A process that ended.
#[derive(Debug)]
pub(crate) struct Ran {
    line: String,
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, code, stdout, stderr } = self;
        let stdout: String = stdout.chars().take(2000).collect();
        write!(f, "samara {line}\nexit code {code}\n-- stdout\n{stdout}\n-- stderr\n{stderr}")
    }
}
