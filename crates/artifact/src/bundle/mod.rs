//! Archives that hold modules: which members there are, and the bytes of one. Zip, and tar as it is, with gzip or with zstd.
//!
//! | archive | is |
//! | --- | --- |
//! | zip with `Directive.yaml` | Suborbital runnables |
//! | tar with `/policy.wasm`, `/data.json`, `/.manifest` | an OPA bundle |
//! | tar with `claims.jwt` | a wasmCloud provider archive (`.par.gz`) |
//! | any other zip or tar | whatever it holds |
//!
//! Nothing is ever written: a member goes to memory, counted while it is unpacked, never by the size that its header says.
//! Members are named by their text alone. A link is listed and refused when it is asked for; it leads nowhere. An entry whose
//! name leaves the archive (`..`) refuses the whole archive, because its maker meant harm.

mod budget;
mod compression;
mod names;
pub(crate) mod tar;
mod zip;

use std::{
    fmt,
    io::{Read, Seek, SeekFrom},
};

pub(crate) use budget::Budget;
use bytes::Bytes;
use compression::unpacked;
pub(crate) use names::{asked, listed};

use crate::{Error, bounds::Bounds};

/// Where an archive's bytes are: a file of the store, a file of the user, memory.
pub trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

/// What an archive is, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// What it is, by what it holds.
    pub format: Format,
    /// Its members in its own order, folders left out.
    pub members: Vec<Member>,
}

/// What an archive is, by what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A zip with a `Directive.yaml`: Suborbital runnables.
    Runnables,
    /// A tar with a manifest or data of OPA's.
    Opa,
    /// A wasmCloud provider archive.
    Provider,
    /// An image layout in a tar, as skopeo and buildah write it.
    ImageLayout,
    /// Layers of a Spin application.
    Spin,
    /// An image: the layers of a manifest, one over the other.
    Image,
    /// A zip of anything else.
    Zip,
    /// A tar of anything else.
    Tar,
}

/// One member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its path, without a leading `/` or `./`; of a Spin application, the component's id.
    pub name: String,
    /// Its bytes when unpacked, as the archive says.
    pub size: u64,
    /// What it is, by its first bytes.
    pub kind: Kind,
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A core module.
    Module,
    /// A component.
    Component,
    /// A file of any other kind.
    File,
    /// A link, symbolic or hard, and what it names. Never followed.
    Link(String),
    /// A device, a pipe, a sparse file: never read.
    Special,
    /// A file that only a password opens, or of a compression that is not read.
    Locked,
}

impl Kind {
    /// What the first bytes of a file say.
    pub fn of(head: &[u8]) -> Self {
        match head {
            [0, b'a', b's', b'm', 0x01, 0, 0, 0, ..] => Self::Module,
            [0, b'a', b's', b'm', _, _, 1, 0, ..] => Self::Component,
            [0, b'a', b's', b'm', ..] => Self::Module,
            _ => Self::File,
        }
    }

    /// Whether it is a module or a component.
    pub fn is_wasm(&self) -> bool {
        matches!(self, Self::Module | Self::Component)
    }
}

/// Whether it is a zip.
///
/// # Errors
/// It cannot be read.
pub(crate) fn is_zip(source: &mut dyn Source) -> Result<bool, Error> {
    zip::is_one(source)
}

/// Whether the first bytes are of an archive, or of something compressed that may be one.
pub fn looks_like_one(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04")
        || compression::Compression::of(head) != compression::Compression::None
        || head.get(257..262) == Some(b"ustar")
}

/// What an archive holds.
///
/// # Errors
/// It is no archive, is over a bound, or contradicts itself.
pub fn members(source: &mut dyn Source, bounds: &Bounds) -> Result<Listing, Error> {
    let budget = Budget::new(bounds);
    if is_zip(source)? { zip::members(source, &budget) } else { tar::members(source, &budget) }
}

/// The bytes of a member, and its name. Without a name, the member that is meant: `plugin.wasm`, `policy.wasm`, or the only
/// module that there is.
///
/// # Errors
/// There is no such member, several could be meant, or it is a link, locked, or over a bound.
pub fn read(source: &mut dyn Source, member: Option<&str>, bounds: &Bounds) -> Result<(String, Bytes), Error> {
    let listing = members(source, bounds)?;
    let name = find(&listing, member)?.name.clone();
    let budget = Budget::new(bounds);
    let bytes = if is_zip(source)? { zip::read(source, &name, &budget) } else { tar::read(source, &name, &budget) }?;
    Ok((name, bytes))
}

/// The member that is meant, by name or by the rule.
///
/// # Errors
/// As of [`read`].
pub(crate) fn find<'l>(listing: &'l Listing, member: Option<&str>) -> Result<&'l Member, Error> {
    let Some(asked) = member else { return meant(listing) };
    let asked = names::asked(asked);
    let called = |name: &str| listing.members.iter().any(|member| member.name == name);
    // A runnable is called by its name, and its file has an ending.
    let module = format!("{asked}.wasm");
    let asked = if !called(&asked) && called(&module) { module } else { asked };
    let mut same = listing.members.iter().filter(|member| member.name == asked);
    let Some(found) = same.next() else {
        let names = listing.members.iter().map(|member| member.name.as_str());
        return Err(Error::NotFound(format!("it has no member `{asked}`; it has {}", listed(names))));
    };
    if same.next().is_some() {
        return Err(Error::Invalid(format!("it has `{asked}` twice, which two readers read differently")));
    }
    found.may_be_read()?;
    Ok(found)
}

/// `plugin.wasm`, `policy.wasm`, the only module.
fn meant(listing: &Listing) -> Result<&Member, Error> {
    if listing.format == Format::ImageLayout {
        return Err(Error::Invalid(
            "it is an image layout in a tar; write `oci-archive:FILE` instead of `bundle://FILE`".to_owned(),
        ));
    }
    let has = |name: &str| listing.members.iter().any(|member| member.name == name);
    if listing.format == Format::Tar && has("manifest.json") && has("repositories") {
        return Err(Error::Invalid(
            "it is an image as `docker save` writes it; `skopeo copy docker-archive:FILE oci-archive:OTHER` makes one that is read"
                .to_owned(),
        ));
    }
    match by_rule(&listing.members)? {
        Some(member) => find(listing, Some(&member.name)),
        None => {
            let names = listing.members.iter().map(|member| member.name.as_str());
            Err(Error::NotFound(format!("it holds no WebAssembly; it has {}", listed(names))))
        }
    }
}

/// The member that names a plugin or a policy, else the only module; `None` if there is no module at all.
///
/// # Errors
/// Several could be meant; the message lists them.
pub(crate) fn by_rule(members: &[Member]) -> Result<Option<&Member>, Error> {
    for known in ["plugin.wasm", "policy.wasm"] {
        let named: Vec<_> = members
            .iter()
            .filter(|member| member.name.rsplit('/').next() == Some(known) && !member.is_data())
            .collect();
        match named.as_slice() {
            [] => {}
            [one] => return Ok(Some(one)),
            several => match several.iter().find(|member| member.name == known) {
                Some(at_the_root) => return Ok(Some(at_the_root)),
                None => return Err(ambiguous(several)),
            },
        }
    }
    let modules: Vec<_> = members.iter().filter(|member| member.kind.is_wasm()).collect();
    match modules.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => Err(ambiguous(several)),
    }
}

fn ambiguous(several: &[&Member]) -> Error {
    let example = several.first().map_or("", |member| member.name.as_str());
    Error::NotFound(format!(
        "it holds {} modules, {}; name one: `bundle://REF#{example}`",
        several.len(),
        listed(several.iter().map(|member| member.name.as_str()))
    ))
}

impl Member {
    /// Whether it is a plain file without the magic of WebAssembly.
    fn is_data(&self) -> bool {
        self.kind == Kind::File
    }

    /// # Errors
    /// It is nothing that bytes are taken from.
    pub(crate) fn may_be_read(&self) -> Result<(), Error> {
        let Self { name, kind, .. } = self;
        let why = match kind {
            Kind::Module | Kind::Component | Kind::File => return Ok(()),
            Kind::Link(to) => format!("a link to `{to}`, and links are not followed; name the file itself"),
            Kind::Special => "a device, a pipe or a sparse file, which is never read".to_owned(),
            Kind::Locked => "encrypted, or compressed in a way that is not read; store it with deflate".to_owned(),
        };
        Err(Error::Invalid(format!("`{name}` is {why}")))
    }
}

impl Format {
    /// By the names of what is inside.
    fn of(members: &[Member], zip: bool) -> Self {
        let has = |name: &str| members.iter().any(|member| member.name == name);
        if zip {
            return if has("Directive.yaml") || has("directive.yaml") { Self::Runnables } else { Self::Zip };
        }
        if has("claims.jwt") {
            Self::Provider
        } else if has("oci-layout") && has("index.json") {
            Self::ImageLayout
        } else if has(".manifest") || has("data.json") {
            Self::Opa
        } else {
            Self::Tar
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Runnables => "Suborbital runnables",
            Self::Opa => "OPA bundle",
            Self::Provider => "wasmCloud provider archive",
            Self::ImageLayout => "image layout",
            Self::Spin => "Spin application",
            Self::Image => "image",
            Self::Zip => "zip",
            Self::Tar => "tar",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module => f.write_str("module"),
            Self::Component => f.write_str("component"),
            Self::File => f.write_str("file"),
            Self::Link(to) => write!(f, "link to {to}"),
            Self::Special => f.write_str("special file"),
            Self::Locked => f.write_str("locked"),
        }
    }
}

/// Reads a member whose length its header claims: at most the bound of a module, and no more memory than bytes that came.
pub(crate) fn to_memory(name: &str, reader: &mut dyn Read, claimed: u64, bounds: &Bounds) -> Result<Bytes, Error> {
    if claimed > bounds.module_bytes {
        return Err(over_module(name, bounds));
    }
    let mut bytes = Vec::new();
    reader.take(bounds.module_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(not_read)?;
    if bytes.len() as u64 > bounds.module_bytes {
        return Err(over_module(name, bounds));
    }
    if bytes.len() as u64 != claimed {
        return Err(Error::Invalid(format!(
            "`{name}` is of {} bytes, and the archive says {claimed}; it is cut off or made up",
            bytes.len()
        )));
    }
    Ok(bytes.into())
}

fn over_module(name: &str, bounds: &Bounds) -> Error {
    Error::OverLimit(format!("`{name}` is of more than {} bytes, the most that a module may have", bounds.module_bytes))
}

/// The first bytes of a member, of which there may be fewer.
pub(crate) fn head(reader: &mut dyn Read) -> Result<Vec<u8>, Error> {
    let mut head = Vec::with_capacity(8);
    reader.take(8).read_to_end(&mut head).map_err(not_read)?;
    Ok(head)
}

/// The file offset 0 again.
fn rewind(source: &mut dyn Source) -> Result<(), Error> {
    source.seek(SeekFrom::Start(0)).map(drop).map_err(not_read)
}

/// Our own errors come through `std::io` readers of other crates and back.
#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` takes")]
fn not_read(error: std::io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(ours) => ours.clone(),
        None => Error::Invalid(format!("the archive is not read: {error}")),
    }
}

#[cfg(test)]
mod tests;
