//! An image: tar layers, one over the other, and the module that is somewhere in them.
//!
//! The layers are never unpacked. Each is streamed once to learn which modules there are and which of them a later layer
//! replaces or removes, then the layer that has the one that is meant is streamed again up to it. Facts:
//! <https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md> (whiteouts), `config.md` (`Entrypoint`).

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use crate::{
    Error,
    bounds::Bounds,
    bundle::{
        Budget, Format, Kind, Listing, Member, Source, by_rule, find,
        tar::{Step, What, walk},
    },
};

/// Before the name of a file that is removed.
const WHITEOUT: &str = ".wh.";
/// Removes everything that lower layers have in its folder.
const OPAQUE: &str = ".wh..wh..opq";

/// What an image's configuration says of what to start.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ImageConfig {
    #[serde(default)]
    config: Option<Start>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Start {
    #[serde(default)]
    entrypoint: Option<Vec<String>>,
    #[serde(default)]
    cmd: Option<Vec<String>>,
    #[serde(default)]
    working_dir: Option<String>,
}

impl ImageConfig {
    /// # Errors
    /// It is no configuration of an image.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(bytes)
            .map_err(|error| Error::Invalid(format!("the configuration of the image is not read: {error}")))
    }

    /// Where the file may be that is started: as it is written, or in the working folder.
    fn started(&self) -> Vec<String> {
        let Some(start) = &self.config else { return Vec::new() };
        let first = |words: &Option<Vec<String>>| words.as_ref().and_then(|words| words.first()).cloned();
        let Some(word) = first(&start.entrypoint).or_else(|| first(&start.cmd)) else { return Vec::new() };
        let within = start.working_dir.as_deref().unwrap_or("/");
        let places = if word.starts_with('/') { vec![word] } else { vec![format!("{within}/{word}"), word] };
        places.iter().map(|place| crate::bundle::asked(place)).collect()
    }
}

/// A file that may be meant.
#[derive(Debug)]
struct Found {
    layer: usize,
    kind: Kind,
    size: u64,
}

/// The layers, in their order, and what was found in them.
#[derive(Debug)]
pub(super) struct Image {
    files: BTreeMap<String, Found>,
    started: Vec<String>,
}

impl Image {
    /// Streams every layer once. `asked` is a path that somebody named.
    ///
    /// # Errors
    /// A layer is no tar, is over a bound, or contradicts itself.
    pub(super) fn scan(
        layers: &mut [Box<dyn Source>],
        config: &ImageConfig,
        asked: Option<&str>,
        bounds: &Bounds,
    ) -> Result<Self, Error> {
        let budget = Budget::new(bounds);
        let mut image = Self { files: BTreeMap::new(), started: config.started() };
        let asked = asked.map(crate::bundle::asked);
        for (number, layer) in layers.iter_mut().enumerate() {
            walk(layer, &budget, &mut |entry| {
                let (folder, base) = entry.name.rsplit_once('/').unwrap_or(("", &entry.name));
                if base == OPAQUE {
                    image.remove_within(folder, Some(number));
                    return Ok(Step::Next);
                }
                if let Some(removed) = base.strip_prefix(WHITEOUT) {
                    let removed = if folder.is_empty() { removed.to_owned() } else { format!("{folder}/{removed}") };
                    image.remove(&removed, Some(number));
                    return Ok(Step::Next);
                }
                if entry.what == What::Folder {
                    image.files.remove(&entry.name);
                    return Ok(Step::Next);
                }
                image.remove(&entry.name, None);
                let named = asked.as_ref() == Some(&entry.name) || image.started.contains(&entry.name);
                if !named && !entry.name.ends_with(".wasm") {
                    return Ok(Step::Next);
                }
                budget.name(&entry.name)?;
                let kind = match entry.what {
                    What::File => Kind::of(&crate::bundle::head(entry.data)?),
                    What::Link(to) => Kind::Link(to),
                    What::Folder | What::Special => Kind::Special,
                };
                image.files.insert(entry.name, Found { layer: number, kind, size: entry.size });
                Ok(Step::Next)
            })?;
        }
        Ok(image)
    }

    /// A file or a link was put in this place, or taken away: what was there or below is gone.
    fn remove(&mut self, name: &str, below_layer: Option<usize>) {
        if self.files.get(name).is_some_and(|found| below_layer.is_none_or(|layer| found.layer < layer)) {
            self.files.remove(name);
        }
        self.remove_within(name, below_layer);
    }

    fn remove_within(&mut self, folder: &str, below_layer: Option<usize>) {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let gone: Vec<_> = self
            .files
            .range(prefix.clone()..)
            .take_while(|(name, _)| name.starts_with(&prefix))
            .filter(|(_, found)| below_layer.is_none_or(|layer| found.layer < layer))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.files.remove(&name);
        }
    }

    /// The modules that are in it.
    pub(super) fn listing(&self) -> Listing {
        let member = |(name, found): (&String, &Found)| Member {
            name: name.clone(),
            size: found.size,
            kind: found.kind.clone(),
        };
        Listing { format: Format::Image, members: self.files.iter().map(member).collect() }
    }

    /// The member that was asked for; else what is started, if that is a module; else by the rule of all archives.
    ///
    /// # Errors
    /// There is none, several could be meant, or it is a link.
    fn choose(&self, asked: Option<&str>) -> Result<Member, Error> {
        let listing = self.listing();
        if asked.is_some() {
            return find(&listing, asked).cloned();
        }
        for started in &self.started {
            let Some(member) = listing.members.iter().find(|member| member.name == *started) else { continue };
            if matches!(member.kind, Kind::Link(_)) && !member.name.ends_with(".wasm") {
                // `/bin/sh` is one in most images.
                continue;
            }
            if member.kind != Kind::File {
                member.may_be_read()?;
                return Ok(member.clone());
            }
        }
        by_rule(&listing.members)?.cloned().ok_or_else(|| {
            Error::NotFound(
                "the image holds no WebAssembly: neither its entrypoint nor a `*.wasm` in its layers is a module"
                    .to_owned(),
            )
        })
    }

    /// The name and the bytes of the module that is meant.
    ///
    /// # Errors
    /// There is none, several could be meant, it is a link, or over a bound.
    pub(super) fn take(
        &self,
        layers: &mut [Box<dyn Source>],
        asked: Option<&str>,
        bounds: &Bounds,
    ) -> Result<(String, Bytes), Error> {
        let member = self.choose(asked)?;
        member.may_be_read()?;
        let gone = || Error::Invalid(format!("`{}` was in a layer and is not any more", member.name));
        let found = self.files.get(&member.name).ok_or_else(gone)?;
        let layer = layers.get_mut(found.layer).ok_or_else(gone)?;
        let budget = Budget::new(bounds);
        let mut bytes = None;
        walk(layer, &budget, &mut |entry| {
            // The last of several in one layer is the one that a file system would have.
            if entry.name == member.name && entry.what == What::File {
                bytes = Some(crate::bundle::to_memory(&member.name, entry.data, entry.size, bounds)?);
            }
            Ok(Step::Next)
        })?;
        bytes.map(|bytes| (member.name.clone(), bytes)).ok_or_else(gone)
    }
}
