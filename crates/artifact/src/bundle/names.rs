//! Names of members: what they may be, and how an error lists them. They are text and never paths of this machine.

use crate::{Error, bounds::MAX_NAME_BYTES};

/// Names that an error lists.
const LISTED: usize = 12;

/// The name of an entry as it is compared and shown: no leading `/` or `./`, no empty part. Empty for the root itself.
///
/// # Errors
/// It leaves the archive, is too long, or no text.
pub(super) fn clean(raw: &[u8]) -> Result<String, Error> {
    if raw.len() > MAX_NAME_BYTES {
        return Err(Error::OverLimit(format!(
            "an entry's name is of {} bytes, and at most {MAX_NAME_BYTES} are read",
            raw.len()
        )));
    }
    let name = std::str::from_utf8(raw).map_err(|_| {
        Error::Invalid(format!("the name of the entry `{}` is not UTF-8", String::from_utf8_lossy(raw).escape_debug()))
    })?;
    if name.chars().any(char::is_control) {
        return Err(Error::Invalid(format!("the name of the entry `{}` has control characters", name.escape_debug())));
    }
    if name.split(['/', '\\']).any(|part| part == "..") {
        return Err(Error::Invalid(format!("the entry `{name}` leaves the archive, which is therefore refused")));
    }
    Ok(asked(name))
}

/// What a person asked for, compared as [`clean`] compares.
pub(crate) fn asked(name: &str) -> String {
    name.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}

/// Some of the names, as an error shows them.
pub(crate) fn listed<N: AsRef<str>>(names: impl Iterator<Item = N>) -> String {
    let (mut shown, mut count) = (Vec::new(), 0_usize);
    for name in names {
        count += 1;
        if shown.len() < LISTED {
            let short: String = name.as_ref().chars().take(80).collect();
            shown.push(format!("`{short}`"));
        }
    }
    match count.saturating_sub(shown.len()) {
        _ if shown.is_empty() => "nothing".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
