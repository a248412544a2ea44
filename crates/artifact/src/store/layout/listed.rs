//! What the manifests that `index.json` lists refer to, read once for all who ask.
//!
//! A layout has no index of referrers: whoever wants those of one manifest must read all that are listed. A copy asks for
//! every manifest that it copies, and a stranger may list five hundred of four megabytes, so that each is read once for each
//! `index.json`, however often it is listed, and all of them have a bound.

use std::collections::{HashMap, HashSet};

use oci_spec::image::{Descriptor, Digest, ImageIndex};

use super::{Place, as_referrer, subject_of, tag_of};
use crate::{
    Error,
    bounds::MAX_MANIFESTS,
    document::{self, Document},
};

/// Bytes of all manifests that `index.json` lists, which are read to learn what refers to what.
const MAX_LISTED_BYTES: u64 = 64 << 20;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// By the digits of the subject's digest. One more than may be is how too many are told.
    referrers: HashMap<String, Vec<Descriptor>>,
    /// Subjects with their referrers, so that none is there twice.
    seen: HashSet<(String, String)>,
    /// Manifests that refer to another.
    refer: HashSet<String>,
}

impl Listed {
    pub(super) fn read(place: &Place, index: &ImageIndex) -> Result<Self, Error> {
        let mut by_digest: HashMap<&str, Vec<&Descriptor>> = HashMap::new();
        let mut order = Vec::new();
        for found in index.manifests() {
            let same = by_digest.entry(found.digest().as_ref()).or_default();
            if same.is_empty() {
                order.push(found);
            }
            same.push(found);
        }
        let mut listed = Self::default();
        let mut total = 0u64;
        for found in order {
            // A layout may list what it does not hold.
            let Some(span) = place.blob(found.digest())? else { continue };
            total = total.saturating_add(span.size);
            if total > MAX_LISTED_BYTES {
                return Err(Error::OverLimit(format!(
                    "the manifests that `{}` lists are of more than the {MAX_LISTED_BYTES} bytes that are read of them",
                    place.name()
                )));
            }
            let bytes = place.manifest(found.digest(), &span)?;
            let document = document::read(&bytes, Some(found.media_type().as_ref()))?;
            if let Some(subject) = subject_of(&document) {
                listed.refer.insert(found.digest().to_string());
                listed.add(subject.digest().digest(), as_referrer(found, &document));
            }
            let Document::Index(inner) = &document else { continue };
            // What stands in for the Referrers API, copied as a tag.
            let tags = by_digest.get(found.digest().as_ref()).into_iter().flatten().filter_map(|same| tag_of(same));
            for digits in tags.filter_map(|tag| tag.strip_prefix("sha256-")) {
                inner.manifests().iter().for_each(|referrer| listed.add(digits, referrer.clone()));
            }
        }
        listed.seen = HashSet::new();
        Ok(listed)
    }

    fn add(&mut self, subject: &str, referrer: Descriptor) {
        let known = self.referrers.entry(subject.to_owned()).or_default();
        if known.len() <= MAX_MANIFESTS && self.seen.insert((subject.to_owned(), referrer.digest().to_string())) {
            known.push(referrer);
        }
    }

    /// What refers to a manifest: at most [`MAX_MANIFESTS`] and one.
    pub(super) fn referrers(&self, subject: &Digest) -> &[Descriptor] {
        self.referrers.get(subject.digest()).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether a manifest refers to another, and so is nothing by itself.
    pub(super) fn refers(&self, digest: &Digest) -> bool {
        self.refer.contains(digest.as_ref())
    }
}
