//! `[artifacts]` of the host file: what one artifact may cost, how long it may be verified, and whether any is fetched at all.
//!
//! What is not said here is as the crate `artifact` has it (its `bounds`). Each bound has a ceiling: past it the machine pays,
//! whatever the operator meant.

use std::{ops::RangeInclusive, time::Duration};

use super::reader::{Item, Reader};
use crate::{format_bytes, format_duration, parse_bytes, parse_duration};

/// The largest module: no larger one is read as WebAssembly, wherever it comes from.
pub const MAX_MODULE_CEILING_BYTES: u64 = 1 << 30;
/// The largest layer or archive, which is written to disk.
pub const MAX_LAYER_CEILING_BYTES: u64 = 16 << 30;
/// The most that is unpacked of one artifact, which is read and not written.
pub const MAX_UNPACKED_CEILING_BYTES: u64 = 64 << 30;
/// The most entries of one archive, whose names are kept in memory.
pub const MAX_ENTRIES_CEILING: u64 = 1_000_000;
/// The most that an archive may become when it is unpacked, in times its size.
pub const MAX_EXPANSION_CEILING: u64 = 10_000;
/// The longest that signatures are looked for.
pub const MAX_VERIFY_TIMEOUT: Duration = Duration::from_secs(600);
/// And the shortest.
const MIN_VERIFY_TIMEOUT: Duration = Duration::from_secs(1);

/// What the operator says of all artifacts; `None` is as the crate `artifact` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArtifactSettings {
    /// `offline`: no request leaves; what is not in the store is not to be had.
    pub offline: bool,
    /// `module`: bytes of a module.
    pub module_bytes: Option<u64>,
    /// `layer`: bytes of a layer or an archive, as it comes.
    pub layer_bytes: Option<u64>,
    /// `unpacked`: bytes that are unpacked in all.
    pub unpacked_bytes: Option<u64>,
    /// `entries`: entries of one archive.
    pub archive_entries: Option<u64>,
    /// `expansion`: how much larger an archive may become.
    pub expansion: Option<u64>,
    /// `verify_timeout`: how long everybody who signed one artifact is looked for.
    pub verify_timeout: Option<Duration>,
}

impl ArtifactSettings {
    /// Reads `[artifacts]` to its end.
    pub(super) fn read(mut reader: Reader<'_>) -> Self {
        let settings = Self {
            offline: reader.take("offline").and_then(|item| item.boolean()).unwrap_or_default(),
            module_bytes: reader.take("module").and_then(|item| bytes(&item, MAX_MODULE_CEILING_BYTES)),
            layer_bytes: reader.take("layer").and_then(|item| bytes(&item, MAX_LAYER_CEILING_BYTES)),
            unpacked_bytes: reader.take("unpacked").and_then(|item| bytes(&item, MAX_UNPACKED_CEILING_BYTES)),
            archive_entries: reader.take("entries").and_then(|item| number(&item, 1..=MAX_ENTRIES_CEILING)),
            expansion: reader.take("expansion").and_then(|item| number(&item, 1..=MAX_EXPANSION_CEILING)),
            verify_timeout: reader.take("verify_timeout").and_then(|item| timeout(&item)),
        };
        reader.finish();
        settings
    }
}

fn bytes(item: &Item<'_>, most: u64) -> Option<u64> {
    let bytes = item.quantity(parse_bytes)?;
    if bytes == 0 || bytes > most {
        item.problem(format!("write more than `0` and at most `{}`", format_bytes(most)));
        return None;
    }
    Some(bytes)
}

fn number(item: &Item<'_>, allowed: RangeInclusive<u64>) -> Option<u64> {
    let number = item.number::<u64>()?;
    if !allowed.contains(&number) {
        item.problem(format!("write a number from `{}` to `{}`", allowed.start(), allowed.end()));
        return None;
    }
    Some(number)
}

fn timeout(item: &Item<'_>) -> Option<Duration> {
    let timeout = item.quantity(parse_duration)?;
    if !(MIN_VERIFY_TIMEOUT..=MAX_VERIFY_TIMEOUT).contains(&timeout) {
        let (least, most) = (format_duration(MIN_VERIFY_TIMEOUT), format_duration(MAX_VERIFY_TIMEOUT));
        item.problem(format!("write a time from `{least}` to `{most}`"));
        return None;
    }
    Some(timeout)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::Host;

    fn read(text: &str) -> Result<ArtifactSettings, String> {
        let read = Host::parse(&format!("[artifacts]\n{text}"), Path::new("h"));
        read.map(|host| host.artifacts).map_err(|errors| errors.to_string())
    }

    #[test]
    fn what_is_said_holds_and_the_rest_is_left_alone() {
        assert_eq!(read(""), Ok(ArtifactSettings::default()));
        let all = "offline = true\nmodule = \"1GiB\"\nlayer = \"2GiB\"\nunpacked = \"4GiB\"\nentries = 7\nexpansion = 10\n\
                   verify_timeout = \"5s\"";
        let expected = ArtifactSettings {
            offline: true,
            module_bytes: Some(1 << 30),
            layer_bytes: Some(2 << 30),
            unpacked_bytes: Some(4 << 30),
            archive_entries: Some(7),
            expansion: Some(10),
            verify_timeout: Some(Duration::from_secs(5)),
        };
        assert_eq!(read(all), Ok(expected));
    }

    #[test]
    fn what_no_machine_could_pay_is_refused() {
        for (text, why) in [
            ("module = \"2GiB\"", "at most `1GiB`"),
            ("module = 0", "write more than `0`"),
            ("layer = \"17GiB\"", "at most `16GiB`"),
            ("unpacked = \"65GiB\"", "at most `64GiB`"),
            ("entries = 0", "write a number from `1` to `1000000`"),
            ("expansion = 10001", "write a number from `1` to `10000`"),
            ("verify_timeout = \"10ms\"", "write a time from `1s` to `10m`"),
            ("verify_timeout = \"1h\"", "write a time from `1s` to `10m`"),
            ("modul = 1", "did you mean `module`?"),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.contains(why), "{text}: {told}");
        }
    }
}
