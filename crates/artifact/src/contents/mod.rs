//! From a manifest to the module that it carries, whoever wrote it.
//!
//! The rule, over every layout in use: a layer with a known media type of a module, else a layer whose first bytes are a
//! module's, else tar layers, taken as the file system of an image (its entrypoint, `plugin.wasm`, `policy.wasm`, the only
//! `*.wasm`). Where several could be meant, none is guessed: the error lists them and shows how one is named.
//!
//! | layout | where the module is |
//! | --- | --- |
//! | CNCF artifact, wasmCloud, runwasi, Kubewarden, Trivy, `oras push` | the layer of its media type |
//! | Istio | that layer beside `runtime-config.json`; or `plugin.wasm` in the layers of an image (compat) |
//! | Spin | the layer that the locked application gives to a component, a member by its id |
//! | `wasi/wasm` and linux images | the entrypoint's file, or the only `*.wasm` |
//! | OPA | `policy.wasm` in a bundle |

mod image;
mod media;
mod spin;

use bytes::Bytes;
use futures::StreamExt as _;
use oci_spec::image::{Descriptor, ImageManifest};

use self::{
    image::{Image, ImageConfig},
    media::Says,
    spin::Application,
};
use crate::{
    Error, Progress,
    bounds::{Bounds, MAX_ARCHIVE_LAYERS, MAX_DOCUMENT_BYTES},
    bundle::{self, Format, Kind, Listing, Member, Source},
    store::{Remembered, blocking},
};

/// The annotation that names a layer's file.
const TITLE: &str = "org.opencontainers.image.title";
/// First bytes that tell a module from an archive; a tar says so at 257.
const HEAD_BYTES: usize = 262;

/// One manifest, and where its blobs are.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// What it carries.
    pub manifest: &'a ImageManifest,
    /// Where the blobs are, with the store before it.
    pub repository: &'a Remembered,
    /// What they may cost.
    pub bounds: &'a Bounds,
    /// Whom to tell.
    pub progress: &'a Progress,
}

/// Where the module is.
enum Place<'m> {
    /// A layer is the module.
    Layer(&'m Descriptor),
    /// Layers that are archives; of a zip, one.
    Archives(Vec<&'m Descriptor>),
}

impl<'a> Contents<'a> {
    /// The module: its name, if it has one, and its bytes, which are those of the manifest's digests.
    ///
    /// # Errors
    /// There is none, several could be meant, a blob is not what its descriptor says, or something is over a bound.
    pub async fn module(&self, member: Option<&str>) -> Result<(Option<String>, Bytes), Error> {
        match self.place(member).await? {
            Place::Layer(layer) => {
                let blob = self.repository.fetch(layer, self.bounds.module_bytes, self.progress).await?;
                let bytes = blob.read().await?;
                if !Kind::of(&bytes).is_wasm() {
                    return Err(Error::Invalid(format!(
                        "the layer `{}` is announced as `{}` and is no WebAssembly",
                        layer.digest(),
                        layer.media_type()
                    )));
                }
                Ok((title(layer).map(str::to_owned), bytes))
            }
            Place::Archives(layers) => {
                let (config, mut sources) = (self.image_config().await?, self.sources(&layers).await?);
                let (member, bounds) = (member.map(str::to_owned), *self.bounds);
                let (name, bytes) = blocking(move || {
                    if let [only] = sources.as_mut_slice()
                        && bundle::is_zip(only)?
                    {
                        return bundle::read(only, member.as_deref(), &bounds);
                    }
                    let image = Image::scan(&mut sources, &config, member.as_deref(), &bounds)?;
                    image.take(&mut sources, member.as_deref(), &bounds)
                })
                .await?;
                if !Kind::of(&bytes).is_wasm() {
                    return Err(Error::Invalid(format!("`{name}` in the image is no WebAssembly")));
                }
                Ok((Some(name), bytes))
            }
        }
    }

    /// What it holds, for people: components and files of a Spin application, modules of an image, members of a bundle.
    ///
    /// # Errors
    /// As of [`Self::module`].
    pub async fn members(&self) -> Result<Listing, Error> {
        if let Some(application) = self.spin().await? {
            self.within_bounds()?;
            let mut listing = application.listing(self.manifest.layers());
            for member in listing.members.iter_mut().filter(|member| member.kind.is_wasm()) {
                if let Ok(layer) = application.component(Some(&member.name), self.manifest.layers()) {
                    member.kind = Kind::of(&self.head(layer).await?);
                }
            }
            return Ok(listing);
        }
        let modules = self.modules().await?;
        if !modules.is_empty() {
            let mut members = Vec::new();
            for layer in modules {
                let kind = Kind::of(&self.head(layer).await?);
                members.push(Member { name: name_of(layer), size: layer.size(), kind });
            }
            return Ok(Listing { format: Format::Image, members });
        }
        let (config, mut sources) = (self.image_config().await?, self.sources(&self.archives().await?).await?);
        let bounds = *self.bounds;
        blocking(move || {
            if let [only] = sources.as_mut_slice() {
                let listing = bundle::members(only, &bounds)?;
                if listing.format != Format::Tar {
                    return Ok(listing);
                }
            }
            Ok(Image::scan(&mut sources, &config, None, &bounds)?.listing())
        })
        .await
    }

    async fn place(&self, member: Option<&str>) -> Result<Place<'a>, Error> {
        if let Some(application) = self.spin().await? {
            return application.component(member, self.manifest.layers()).map(Place::Layer);
        }
        let modules = self.modules().await?;
        if modules.is_empty() {
            let archives = self.archives().await?;
            return if archives.is_empty() { Err(self.nothing()) } else { Ok(Place::Archives(archives)) };
        }
        let names = || bundle::listed(modules.iter().map(|layer| name_of(layer)));
        match (member, modules.as_slice()) {
            (None, [only]) => Ok(Place::Layer(only)),
            (None, several) => Err(Error::NotFound(format!(
                "it carries {} modules, {}; name one: `bundle://REF#{}`",
                several.len(),
                names(),
                several.first().map(|layer| name_of(layer)).unwrap_or_default()
            ))),
            (Some(asked), several) => {
                let mut same =
                    several.iter().filter(|layer| name_of(layer) == asked || layer.digest().as_ref() == asked);
                match (same.next(), same.next()) {
                    (Some(layer), None) => Ok(Place::Layer(layer)),
                    (Some(_), Some(_)) => Err(Error::NotFound(format!(
                        "it carries two modules that are called `{asked}`; name one by its digest: `bundle://REF#sha256:...`"
                    ))),
                    (None, _) => Err(Error::NotFound(format!("it has no member `{asked}`; it has {}", names()))),
                }
            }
        }
    }

    /// Everything that may have to be fetched is within the bound of one artifact.
    fn within_bounds(&self) -> Result<(), Error> {
        let all = self.manifest.layers().iter().fold(0_u64, |sum, layer| sum.saturating_add(layer.size()));
        if all > self.bounds.unpacked_bytes {
            return Err(Error::OverLimit(format!(
                "the layers are of {all} bytes, and at most {} are read of one artifact",
                self.bounds.unpacked_bytes
            )));
        }
        Ok(())
    }

    /// The locked application, if this is one of Spin's.
    async fn spin(&self) -> Result<Option<Application>, Error> {
        let of_spin = |layer: &&Descriptor| layer.media_type().as_ref() == media::SPIN_APPLICATION;
        let Some(layer) = self.manifest.layers().iter().find(of_spin) else { return Ok(None) };
        Application::read(&self.document(layer).await?).map(Some)
    }

    /// Layers that are modules, by their media type, else by their first bytes; each digest once.
    async fn modules(&self) -> Result<Vec<&'a Descriptor>, Error> {
        self.within_bounds()?;
        let mut found = self.layers_that_say(&[Says::Wasm]);
        if found.is_empty() {
            // `oras push hello.wasm` calls every file a tar.
            for layer in self.layers_that_say(&[Says::Nothing, Says::Archive]) {
                if Kind::of(&self.head(layer).await?).is_wasm() {
                    found.push(layer);
                }
            }
        }
        Ok(found)
    }

    /// Layers that are archives, by their media type or, of those that say nothing, by their first bytes.
    async fn archives(&self) -> Result<Vec<&'a Descriptor>, Error> {
        let mut found = Vec::new();
        for layer in self.manifest.layers() {
            let is_one = match media::says(layer.media_type().as_ref()) {
                Says::Archive => true,
                Says::Nothing => bundle::looks_like_one(&self.head(layer).await?),
                Says::Wasm | Says::Beside => false,
            };
            if is_one {
                found.push(layer);
            }
        }
        Ok(found)
    }

    /// Each digest once.
    fn layers_that_say(&self, what: &[Says]) -> Vec<&'a Descriptor> {
        let mut found: Vec<&Descriptor> = Vec::new();
        for layer in self.manifest.layers() {
            if what.contains(&media::says(layer.media_type().as_ref()))
                && !found.iter().any(|one| one.digest() == layer.digest())
            {
                found.push(layer);
            }
        }
        found
    }

    /// What an image starts. Of other configurations nothing is known.
    async fn image_config(&self) -> Result<ImageConfig, Error> {
        let config = self.manifest.config();
        if !media::IMAGE_CONFIGS.contains(&config.media_type().as_ref()) {
            return Ok(ImageConfig::default());
        }
        ImageConfig::read(&self.document(config).await?)
    }

    async fn document(&self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        let blob = self.repository.fetch(descriptor, MAX_DOCUMENT_BYTES, self.progress).await?;
        blob.read().await
    }

    /// The whole layers, as files.
    async fn sources(&self, layers: &[&Descriptor]) -> Result<Vec<Box<dyn Source>>, Error> {
        if layers.len() > MAX_ARCHIVE_LAYERS {
            return Err(Error::OverLimit(format!(
                "the image has {} layers, and at most {MAX_ARCHIVE_LAYERS} archives are read as one",
                layers.len()
            )));
        }
        let mut sources: Vec<Box<dyn Source>> = Vec::with_capacity(layers.len());
        for layer in layers {
            let blob = self.repository.fetch(layer, self.bounds.layer_bytes, self.progress).await?;
            sources.push(Box::new(blob.open()?));
        }
        Ok(sources)
    }

    /// The first bytes of a layer that says nothing. The whole of it is fetched and checked first: what decides which layer is
    /// the module must not be what a server says today.
    async fn head(&self, layer: &Descriptor) -> Result<Vec<u8>, Error> {
        let blob = self.repository.fetch(layer, self.bounds.layer_bytes, self.progress).await?;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        let mut stream = blob.stream(0);
        while head.len() < HEAD_BYTES {
            let Some(chunk) = stream.chunks.next().await else { break };
            head.extend(chunk?.iter().take(HEAD_BYTES.saturating_sub(head.len())));
        }
        Ok(head)
    }

    fn nothing(&self) -> Error {
        let manifest = self.manifest;
        let kind = manifest.artifact_type().as_ref().unwrap_or(manifest.config().media_type());
        let mut layers: Vec<_> =
            manifest.layers().iter().take(8).map(|layer| format!("`{}`", layer.media_type())).collect();
        if layers.is_empty() {
            layers.push("none".to_owned());
        }
        Error::NotFound(format!(
            "it holds no WebAssembly; it is of the type `{kind}`, and its layers are {}",
            layers.join(", ")
        ))
    }
}

/// The file name that a layer was pushed with.
fn title(layer: &Descriptor) -> Option<&str> {
    layer.annotations().as_ref()?.get(TITLE).map(String::as_str)
}

/// The title, else the digest.
fn name_of(layer: &Descriptor) -> String {
    title(layer).map_or_else(|| layer.digest().to_string(), str::to_owned)
}
