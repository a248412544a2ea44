//! Opens a file beneath a folder, and nothing else.
//!
//! cap-std asks the kernel to resolve the whole path beneath the folder (`openat2` with `RESOLVE_BENEATH`, or one component
//! after the other where there is no such call), so neither `..` nor a link leads out, also while somebody moves folders
//! around. What a name stands for is asked of the opened descriptor, never of the name.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    time::{Duration, SystemTime},
};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use headers::ETag;
use rustix::{fs::OFlags, io::Errno};
use sha2::{Digest as _, Sha256};

use super::{condition::Validators, encoding::Encoding, path::Requested};

/// The page of a folder.
const INDEX: &str = "index.html";
/// Bytes without a name for what they are.
const ANY_TYPE: &str = "application/octet-stream";
/// A file that was changed within this time may change again without its time telling.
const SETTLED: Duration = Duration::from_secs(1);

/// What a path leads to.
pub(super) enum Found {
    File(Box<Opened>),
    /// A folder with a page, asked for without its slash.
    Folder,
    Nothing,
}

/// A file that is open.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) length: u64,
    pub(super) validators: Validators,
    pub(super) content_type: &'static str,
    /// How it is compressed.
    pub(super) encoding: Option<Encoding>,
    /// Whether other clients may get another file for the same path.
    pub(super) varies: bool,
}

/// Finds the file of a request, or a compressed one beside it that the client reads.
///
/// # Errors
/// The disk failed, or the file may not be read.
pub(super) fn find(root: &Dir, requested: &Requested, accepted: &[Encoding]) -> io::Result<Found> {
    let Requested { path, folder } = requested;
    let page = || if path.is_empty() { INDEX.to_owned() } else { format!("{path}/{INDEX}") };
    let (path, file, metadata) = if *folder {
        let Some((file, metadata)) = open(root, &page())? else { return Ok(Found::Nothing) };
        (page(), file, metadata)
    } else {
        match open_any(root, path)? {
            Some((file, metadata)) if metadata.is_file() => (path.clone(), file, metadata),
            Some((_, metadata)) if metadata.is_dir() && open(root, &page())?.is_some() => return Ok(Found::Folder),
            _ => return Ok(Found::Nothing),
        }
    };
    let content_type = content_type(&path);
    let varies = is_compressible(content_type);
    let modified = metadata.modified()?;
    for encoding in accepted.iter().copied().filter(|_| varies) {
        let Some((file, metadata)) = open(root, &format!("{path}{}", encoding.suffix()))? else { continue };
        // One that is older than its original was forgotten when that was changed.
        if metadata.modified()? >= modified {
            let opened = opened(file, &metadata, content_type)?;
            return Ok(Found::File(Box::new(Opened { encoding: Some(encoding), varies, ..opened })));
        }
    }
    Ok(Found::File(Box::new(Opened { varies, ..opened(file, &metadata, content_type)? })))
}

/// Opens the page of what is not there.
///
/// # Errors
/// The disk failed, or the file may not be read.
pub(super) fn open_page(root: &Dir, path: &str) -> io::Result<Option<Opened>> {
    open(root, path)?.map(|(file, metadata)| opened(file, &metadata, content_type(path))).transpose()
}

fn opened(file: File, metadata: &std::fs::Metadata, content_type: &'static str) -> io::Result<Opened> {
    let now = SystemTime::now();
    let modified = metadata.modified()?;
    // A date in the future would be no date of a change (RFC 9110, 8.8.2.1).
    let validators = Validators { etag: etag(metadata, now), modified: modified.min(now) };
    Ok(Opened { file, length: metadata.len(), validators, content_type, encoding: None, varies: false })
}

/// Opens a regular file.
fn open(root: &Dir, path: &str) -> io::Result<Option<(File, std::fs::Metadata)>> {
    Ok(open_any(root, path)?.filter(|(_, metadata)| metadata.is_file()))
}

/// Opens what is there, to be asked what it is. A pipe without a writer does not block, and a terminal does not become ours.
fn open_any(root: &Dir, path: &str) -> io::Result<Option<(File, std::fs::Metadata)>> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
    let file = match root.open_with(path, &options) {
        Ok(file) => file.into_std(),
        Err(error) if is_nothing(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    Ok(Some((file, metadata)))
}

/// Whether an error means that there is no such file for a client: none of that name, or one outside.
fn is_nothing(error: &io::Error) -> bool {
    let led_outside = error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none();
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    let none = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::NAMETOOLONG, Errno::NXIO, Errno::XDEV, Errno::ISDIR];
    if led_outside {
        tracing::debug!("a link leads out of the folder and is not followed");
    }
    led_outside || error.kind() == io::ErrorKind::NotFound || code.is_some_and(|code| none.contains(&code))
}

/// A tag that is another for each state of a file: of its identity, size and times. The time of change (`ctime`), which
/// nobody can set, catches what keeps the size and restores the date. A file changed just now gets a weak tag, as the next
/// change may come within the same tick of the disk's clock, and another one when it has been left alone, so that what came
/// then is seen. Hashing contents instead would read a film to answer 304.
fn etag(metadata: &std::fs::Metadata, now: SystemTime) -> ETag {
    let changed = u64::try_from(metadata.ctime()).ok().zip(u32::try_from(metadata.ctime_nsec()).ok());
    let changed = changed.map(|(seconds, nanos)| SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos));
    let settled = changed.is_some_and(|changed| now.duration_since(changed).is_ok_and(|age| age > SETTLED));
    let mut hash = Sha256::new();
    hash.update([u8::from(settled)]);
    for part in [metadata.dev(), metadata.ino(), metadata.size()] {
        hash.update(part.to_le_bytes());
    }
    for part in [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()] {
        hash.update(part.to_le_bytes());
    }
    let digest = hash.finalize();
    let tag: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let tag = if settled { format!("\"{tag}\"") } else { format!("W/\"{tag}\"") };
    tag.parse().expect("hexadecimal digits in quotes are a tag")
}

/// The content type by the extension, with the encoding of what is text.
fn content_type(path: &str) -> &'static str {
    match mime_guess::from_path(path).first_raw().unwrap_or(ANY_TYPE) {
        "text/html" => "text/html; charset=utf-8",
        "text/css" => "text/css; charset=utf-8",
        "text/javascript" => "text/javascript; charset=utf-8",
        "text/plain" => "text/plain; charset=utf-8",
        "text/markdown" => "text/markdown; charset=utf-8",
        "text/csv" => "text/csv; charset=utf-8",
        other => other,
    }
}

/// Whether a compressed file beside it is worth a look.
fn is_compressible(content_type: &str) -> bool {
    let (kind, _) = content_type.split_once('/').unwrap_or((content_type, ""));
    !matches!(kind, "audio" | "video") && (kind != "image" || content_type == "image/svg+xml")
}
