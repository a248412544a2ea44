//! Signatures in a module: the `signature` section of the tool conventions, Ed25519 over hashes of its sections.
//!
//! Facts: `Signatures.md` of WebAssembly/tool-conventions. The first section is `signature`; it holds sets of hashes, and
//! signatures over each set. A hash covers every section from the first after `signature` to a `signature_delimiter`, or to
//! the end.
//!
//! The format can sign a part of a module; here a signature counts if one of its hashes covers all of it. The `wasmsign2`
//! crate, which is the reference, takes a module whose last sections nobody signed, so this is read here: with our bounds, on
//! the Ed25519 that is in the tree already. The eight bytes before the first section are not covered by the format; only the
//! two kinds that exist are read.

use sha2::{Digest as _, Sha256};

use super::{
    key::PublicKey,
    section::{length, sections, slice},
};

/// The section, and the domain that keeps its signatures apart from others.
const SECTION: &str = "signature";
const DOMAIN: &[u8] = b"wasmsig";
/// Version, content (a module) and hash function (SHA-256).
const PREFIX: [u8; 3] = [1, 1, 1];
/// The only algorithm.
const ED25519: u8 = 1;
/// The section.
pub(super) const MAX_SECTION_BYTES: usize = 256 << 10;
/// Sets of hashes, hashes of one set, and signatures in all.
pub(super) const MAX_COUNT: usize = 64;

/// What is known of signatures in a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Embedded {
    /// Signatures over all of it.
    pub(super) whole: usize,
    /// Signatures over some other bytes, or a part.
    pub(super) other: usize,
    /// Which of the keys made one over all of it.
    pub(super) good: Vec<PublicKey>,
}

struct Set<'a> {
    hashes: &'a [u8],
    signatures: Vec<&'a [u8]>,
}

/// Looks for signatures over the whole module by any of `keys`; `None` if it has no signature section.
///
/// # Errors
/// The section cannot be read, or is not where it belongs.
pub(super) fn find(bytes: &[u8], keys: &[PublicKey]) -> Result<Option<Embedded>, String> {
    let Some(sections) = sections(bytes) else { return Ok(None) };
    let mut found = None;
    for (index, section) in sections.enumerate() {
        let section = section?;
        let Some((_, data)) = section.custom.filter(|(name, _)| *name == SECTION) else { continue };
        if index > 0 {
            return Err(format!("a section `{SECTION}` is not the first, where it would cover what follows"));
        }
        found = Some((data, section.range.end));
    }
    let Some((data, end)) = found else { return Ok(None) };
    if data.len() > MAX_SECTION_BYTES {
        return Err(format!("its `{SECTION}` has {} bytes, and at most {MAX_SECTION_BYTES} are read", data.len()));
    }
    let sets = read(data).ok_or_else(|| {
        format!("its section `{SECTION}` is damaged, of a later version, or has over {MAX_COUNT} of something")
    })?;
    let whole = Sha256::digest(bytes.get(end..).unwrap_or_default());
    let mut embedded = Embedded { whole: 0, other: 0, good: Vec::new() };
    for set in sets {
        if !set.hashes.chunks(whole.len()).any(|hash| hash == whole.as_slice()) {
            embedded.other += set.signatures.len();
            continue;
        }
        embedded.whole += set.signatures.len();
        let message = [DOMAIN, &PREFIX, set.hashes].concat();
        for key in keys {
            let good = set.signatures.iter().any(|signature| key.verifies(&message, signature));
            if good && !embedded.good.contains(key) {
                embedded.good.push(key.clone());
            }
        }
    }
    Ok(Some(embedded))
}

/// Reads the section; `None` if it is not as the format says, or over a bound.
fn read(mut data: &[u8]) -> Option<Vec<Set<'_>>> {
    data = data.strip_prefix(&PREFIX)?;
    let mut budget = MAX_COUNT;
    let sets = (0..count(&mut data)?).map(|_| read_set(slice(&mut data)?, &mut budget)).collect::<Option<_>>()?;
    data.is_empty().then_some(sets)
}

fn read_set<'a>(mut data: &'a [u8], budget: &mut usize) -> Option<Set<'a>> {
    let hash_bytes = count(&mut data)? * <Sha256 as sha2::Digest>::output_size();
    let (hashes, mut data) = data.split_at_checked(hash_bytes)?;
    let count = count(&mut data)?;
    *budget = budget.checked_sub(count)?;
    let mut signatures = Vec::new();
    for _ in 0..count {
        let mut signature = slice(&mut data)?;
        let _key_id = slice(&mut signature)?;
        let (algorithm, mut rest) = signature.split_first()?;
        // One of an algorithm that comes later is no signature of ours.
        if *algorithm == ED25519 {
            signatures.push(slice(&mut rest)?);
        }
    }
    Some(Set { hashes, signatures })
}

fn count(data: &mut &[u8]) -> Option<usize> {
    length(data).filter(|count| *count <= MAX_COUNT)
}
