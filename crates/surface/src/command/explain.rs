//! `samara inspect`, `wat`, `print`, `validate`, `strip`, `metadata`: what a module is, without running it.
//!
//! No engine here: the facts come from `samara-inspect`, the verdicts from the contracts' own `fit`.

use std::{
    io::{self, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, anyhow};
use clap::Args;
use samara_artifact::{
    Progress, Reference,
    bundle::{self, Listing},
};
use samara_inspect::{Module, ReadError, Report, Strip, Verdict, metadata, strip, text};
use samara_model::{Limits, Shape, format_bytes, manifest::LISTEN_ADMIN};
use samara_runtime::{PoolSize, choose, verdicts};

use super::{
    Contracts, Failure, OriginArgs, block_on,
    input::{Input, broken, shown_name},
    origin, usage,
};

/// Columns of the report where there is no terminal to ask.
const DEFAULT_COLUMNS: usize = 110;

/// Arguments of `samara inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The module or component, or either as text; a file or a reference, and `-` is standard input
    #[arg(value_name = "REF", required_unless_present = "usage")]
    pub file: Option<PathBuf>,
    /// What the workloads of a running app ask for, may do and really did, instead of a module
    #[arg(long, value_name = "[TENANT/]APP", conflicts_with_all = ["file", "html"])]
    pub usage: Option<String>,
    /// The admin address of the host that runs it
    #[arg(long, value_name = "ADDRESS", requires = "usage", default_value_t = LISTEN_ADMIN.to_string())]
    pub admin: String,
    /// Where it comes from.
    #[command(flatten)]
    pub origin: OriginArgs,
    /// Print everything as JSON
    #[arg(long, conflicts_with = "html")]
    pub json: bool,
    /// Write a page with a map of the bytes and a picture of the memory
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

impl InspectArgs {
    /// Looks at the file and says what it is.
    ///
    /// # Errors
    /// The file cannot be read, or is not WebAssembly.
    pub fn run(self, contracts: Contracts) -> Result<ExitCode, Failure> {
        if let Some(app) = &self.usage {
            return usage::print(app, &self.admin, self.json);
        }
        if let Some(listing) = self.listing()? {
            return say(listed(&listing, self.json).as_bytes());
        }
        let Input { bytes, provenance } = Input::binary(self.path(), &self.origin)?;
        let module = Module::read(&bytes).map_err(|error| broken(self.path(), &error))?;
        let (loaded, remark) = as_loaded(&module, &bytes);
        let loaded = loaded.as_ref().unwrap_or(&module);
        let mut report = Report::new(&bytes, &module, opinions(contracts, loaded));
        report.set_title(shown_name(self.path()));
        if let Ok((contract, _)) = choose(contracts, loaded, None, Shape::ALL) {
            report.set_needs(contract.needs(loaded));
        }
        if let Some(remark) = remark {
            report.warn(remark);
        }
        if let Some(warning) = outgrows_the_pool(&module) {
            report.warn(warning);
        }
        if let Some(page) = &self.html {
            save(page, report.to_html().as_bytes())?;
        }
        let shown = if self.json {
            let mut json = report.to_json();
            if let (Some(provenance), Some(object)) = (&provenance, json.as_object_mut()) {
                object.insert("origin".to_owned(), provenance.to_json());
            }
            format!("{json:#}\n")
        } else {
            let (columns, color) = screen();
            let text = report.to_text(columns, color);
            provenance.map_or_else(|| text.clone(), |provenance| format!("{text}\n{}", provenance.to_text()))
        };
        say(shown.as_bytes())
    }
}

impl InspectArgs {
    /// What is looked at.
    fn path(&self) -> &Path {
        self.file.as_deref().unwrap_or(Path::new("-"))
    }

    /// The members, if it is an archive that is looked at and none of them is named.
    fn listing(&self) -> Result<Option<Listing>, Failure> {
        let reference = match origin::of_path(self.path())? {
            bundle @ Reference::Bundle { member: None, .. } => bundle,
            file @ Reference::File(_) if is_archive(self.path()) => file,
            _ => return Ok(None),
        };
        let sources = self.origin.sources()?;
        let failed = |error: samara_artifact::Error| Failure::Usage(error.into());
        let fetcher = sources.fetcher().map_err(failed)?;
        let listing = block_on(fetcher.members(&reference, &Progress::default()))?;
        listing.map(Some).map_err(failed)
    }
}

/// Whether a file begins as archives do. What cannot be read is told by whoever reads it.
fn is_archive(path: &Path) -> bool {
    /// Where tars say that they are.
    const HEAD_BYTES: u64 = 512;
    let mut head = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    path.is_file() && read.is_ok() && bundle::looks_like_one(&head)
}

/// The members of an archive: what each is and how to name it.
fn listed(listing: &Listing, json: bool) -> String {
    if json {
        let members = listing.members.iter().map(
            |member| serde_json::json!({ "name": member.name, "bytes": member.size, "kind": member.kind.to_string() }),
        );
        let members = serde_json::Value::from_iter(members);
        return format!("{:#}\n", serde_json::json!({ "format": listing.format.to_string(), "members": members }));
    }
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_header(["MEMBER", "KIND", "SIZE"]);
    for member in &listing.members {
        let name = samara_telemetry::sanitize(&member.name).into_owned();
        let kind = samara_telemetry::sanitize(&member.kind.to_string()).into_owned();
        table.add_row([name, kind, format_bytes(member.size)]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    format!("{}\n{}\n", listing.format, table.trim_fmt())
}

/// What every contract thinks of the module; of each shape, the one that would be used is marked.
fn opinions(contracts: Contracts, module: &Module) -> Vec<Verdict> {
    let chosen = |shape: Shape| choose(contracts, module, None, &[shape]).map(|(contract, _)| contract.name()).ok();
    let verdict = |(contract, fit): (&'static dyn samara_runtime::Contract, samara_runtime::Fit)| Verdict {
        contract: contract.name().to_owned(),
        shape: fit.shape.to_string(),
        confidence: fit.confidence.as_str().to_owned(),
        why: fit.why,
        chosen: chosen(fit.shape) == Some(contract.name()),
    };
    verdicts(contracts, module).into_iter().map(verdict).collect()
}

/// The component that a core module becomes when it is loaded, if its SDK meant it to; and what to say about that.
fn as_loaded(module: &Module, bytes: &[u8]) -> (Option<Module>, Option<String>) {
    if !module.becomes_component() {
        return (None, None);
    }
    let component = match samara_inspect::componentize(module, bytes) {
        Ok(component) => component,
        Err(error) => return (None, Some(error.to_string())),
    };
    match Module::read(&component) {
        Ok(component) => {
            let remark = "it becomes a component when it is loaded: what it fits and needs is the component's";
            (Some(component), Some(remark.to_owned()))
        }
        Err(error) => (None, Some(format!("the component it becomes when it is loaded cannot be read: {error}"))),
    }
}

/// A module that does not fit a slot of the pool still runs, more slowly.
fn outgrows_the_pool(module: &Module) -> Option<String> {
    let why = PoolSize::of_this_machine(None).misfit(module, Limits::serve().memory_bytes)?;
    Some(format!("each instance is made on demand, which is slower than from the pool: {why}"))
}

/// Arguments of `samara wat`.
#[derive(Debug, Args)]
pub struct WatArgs {
    /// The text to assemble; a file or a reference, and `-` is standard input
    #[arg(value_name = "REF")]
    pub file: PathBuf,
    /// Where it comes from.
    #[command(flatten)]
    pub origin: OriginArgs,
    /// Where the binary goes; standard output if absent
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl WatArgs {
    /// Assembles text into a binary.
    ///
    /// # Errors
    /// The file cannot be read or does not parse, or the output cannot be written.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let bytes = Input::raw(&self.file, &self.origin)?.bytes;
        let source = std::str::from_utf8(&bytes).ok().filter(|_| !bytes.starts_with(b"\0asm"));
        let source = source.ok_or_else(|| {
            Failure::Usage(anyhow!("`{}` is not text; `samara print` turns a binary into text", shown_name(&self.file)))
        })?;
        let wasm = text::wat_to_wasm(source, Some(&self.file)).map_err(|error| Failure::Other(error.into()))?;
        binary(&wasm, self.output.as_deref())
    }
}

/// Arguments of `samara print`.
#[derive(Debug, Args)]
pub struct PrintArgs {
    /// The module or component; a file or a reference, and `-` is standard input
    #[arg(value_name = "REF")]
    pub file: PathBuf,
    /// Where it comes from.
    #[command(flatten)]
    pub origin: OriginArgs,
    /// Where the text goes; standard output if absent
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl PrintArgs {
    /// Prints a binary as text.
    ///
    /// # Errors
    /// The file cannot be read or is not WebAssembly, or the output cannot be written.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let bytes = Input::binary(&self.file, &self.origin)?.bytes;
        let out: Box<dyn Write> = match &self.output {
            Some(path) => Box::new(
                std::fs::File::create(path)
                    .with_context(|| format!("writing `{}`", path.display()))
                    .map_err(Failure::Usage)?,
            ),
            None => Box::new(io::stdout().lock()),
        };
        let mut out = Watched { out: io::BufWriter::new(out), failed: None };
        let result = text::print_to(&bytes, &mut out);
        let flushed = out.flush();
        match (out.failed, result) {
            (Some(io::ErrorKind::BrokenPipe), _) => Ok(ExitCode::SUCCESS),
            (Some(kind), _) => Err(Failure::Other(anyhow!("writing the text: {kind}"))),
            (None, Err(error)) => Err(broken(&self.file, &error)),
            (None, Ok(())) => flushed.context("writing the text").map(|()| ExitCode::SUCCESS).map_err(Failure::Other),
        }
    }
}

/// Remembers why writing failed: the printer's own error does not say.
struct Watched<W> {
    out: W,
    failed: Option<io::ErrorKind>,
}

impl<W: Write> Write for Watched<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes).inspect_err(|error| self.failed = Some(error.kind()))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush().inspect_err(|error| self.failed = Some(error.kind()))
    }
}

/// Arguments of `samara validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// The modules and components, or either as text; files or references, and `-` is standard input
    #[arg(value_name = "REF", required = true)]
    pub files: Vec<PathBuf>,
    /// Where they come from.
    #[command(flatten)]
    pub origin: OriginArgs,
    /// Features on top of the standard's, and without those after a `-`: `gc,-simd`; `mvp` and `all` start anew
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    pub features: Option<String>,
}

impl ValidateArgs {
    /// Checks every rule of the format, function bodies too. Every file is checked, and every bad one is told.
    ///
    /// # Errors
    /// A file cannot be read, is not valid, or a feature does not exist.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let mut failed: Option<Failure> = None;
        for file in &self.files {
            let bytes = Input::binary(file, &self.origin)?.bytes;
            match text::validate(&bytes, self.features.as_deref()) {
                Ok(()) => {
                    say(format!("{}: valid\n", samara_telemetry::sanitize(&shown_name(file))).as_bytes())?;
                }
                Err(error @ ReadError::UnknownFeature { .. }) => return Err(Failure::Usage(error.into())),
                // The last one is told by the caller, the others here.
                Err(error) => {
                    if let Some(before) = failed.replace(broken(file, &error)) {
                        let _ = super::report(Err(before));
                    }
                }
            }
        }
        failed.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}

/// Arguments of `samara strip`.
#[derive(Debug, Args)]
pub struct StripArgs {
    /// The module or component; a file or a reference, and `-` is standard input
    #[arg(value_name = "REF")]
    pub file: PathBuf,
    /// Where it comes from.
    #[command(flatten)]
    pub origin: OriginArgs,
    /// Where the result goes; standard output if absent
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Take only custom sections of this name (repeatable; `.debug_*` takes all that start so); all if absent
    #[arg(short, long = "section", value_name = "NAME")]
    pub sections: Vec<String>,
}

impl StripArgs {
    /// Takes custom sections out, in nested modules and components too.
    ///
    /// # Errors
    /// The file cannot be read or is not WebAssembly, or the output cannot be written.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let bytes = Input::binary(&self.file, &self.origin)?.bytes;
        let what = if self.sections.is_empty() { Strip::All } else { Strip::Named(self.sections) };
        let stripped = strip(&bytes, &what).map_err(|error| broken(&self.file, &error))?;
        let done = binary(&stripped, self.output.as_deref())?;
        if self.output.is_some() {
            let (before, after) = (bytes.len() as u64, stripped.len() as u64);
            let mut stderr = io::stderr().lock();
            drop(writeln!(stderr, "{} before, {} after", format_bytes(before), format_bytes(after)));
        }
        Ok(done)
    }
}

/// Arguments of `samara metadata`.
#[derive(Debug, Args)]
pub struct MetadataArgs {
    /// The module or component, or either as text; a file or a reference, and `-` is standard input
    #[arg(value_name = "REF")]
    pub file: PathBuf,
    /// Where it comes from.
    #[command(flatten)]
    pub origin: OriginArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl MetadataArgs {
    /// Prints what the file says about itself; nothing of it is proven.
    ///
    /// # Errors
    /// The file cannot be read, or is not WebAssembly.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let bytes = Input::binary(&self.file, &self.origin)?.bytes;
        let metadata = metadata(&bytes).map_err(|error| broken(&self.file, &error))?;
        let shown = if self.json {
            serde_json::to_string_pretty(&metadata).context("writing JSON")? + "\n"
        } else {
            metadata.to_text()
        };
        say(shown.as_bytes())
    }
}

/// The terminal's columns, and whether it wants colours.
fn screen() -> (usize, bool) {
    let columns = comfy_table::Table::new().width().map_or(DEFAULT_COLUMNS, usize::from);
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    (columns, io::stdout().is_terminal() && !plain)
}

/// Writes a result to standard output; a reader that has seen enough is no failure.
fn say(bytes: &[u8]) -> Result<ExitCode, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Other(anyhow::Error::from(error).context("writing to standard output")))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn save(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).with_context(|| format!("writing `{}`", path.display())).map_err(Failure::Usage)
}

/// Writes a binary where it was asked for, and not over somebody's terminal.
fn binary(wasm: &[u8], output: Option<&Path>) -> Result<ExitCode, Failure> {
    match output {
        Some(path) => save(path, wasm).map(|()| ExitCode::SUCCESS),
        None if io::stdout().is_terminal() => {
            Err(Failure::Usage(anyhow!("a binary does not go to a terminal; name a file with `-o`")))
        }
        None => say(wasm),
    }
}
