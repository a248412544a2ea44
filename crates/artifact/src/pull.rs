//! The straight line from a reference to trusted bytes.
//!
//! A version is resolved once, and from then on only digests are asked for, so that what was verified is what is returned,
//! also when a tag moves meanwhile. Then: the documents down to a manifest, by their digests; who signed them; the blobs, by
//! their digests; the module, still unread; what it says of itself. What a policy can refuse before the module was fetched is
//! refused then.
//!
//! An artifact that was pulled before costs one request by a tag, none by a digest, besides those for signatures that a policy
//! asks for.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream::BoxStream};
use oci_spec::image::{Descriptor, Digest, ImageManifest};
use samara_model::format_duration;
use tokio::{
    io::AsyncWriteExt as _,
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
    time::timeout,
};
use url::Url;

use crate::{
    Artifact, Error, ImageLayout, OciReference, Progress, Reference, Repository, Store, Version,
    bounds::{Bounds, COMPANIONS_TIMEOUT, MAX_DOCUMENT_BYTES, MAX_INDEX_DEPTH},
    bundle::{self, Kind, Listing, Source},
    contents::Contents,
    document::{self, Document},
    registry::Client,
    repository::sha256,
    store::{Remembered, blocking},
    trust::{Asked, Examined, Trust, Verdict},
};

/// Fetches artifacts from anywhere. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fetcher {
    /// Speaks with registries and web servers.
    pub client: Client,
    /// Keeps what was fetched.
    pub store: Store,
    /// What one artifact may cost.
    pub bounds: Bounds,
}

/// What a look at an artifact came to, trusted or not.
#[derive(Clone, Debug)]
pub struct Looked {
    /// The module; `None` if it was refused before it was fetched, or could not be had undamaged.
    pub module: Option<Module>,
    /// The digest of the manifest it was found through; `None` for a file or a URL.
    pub manifest: Option<Digest>,
    /// Whether it may run, and why.
    pub verdict: Verdict,
    /// How long it took.
    pub timings: Timings,
}

/// A module and what its archive or manifest calls it.
#[derive(Clone, Debug)]
pub struct Module {
    /// A file name, a path in an archive, a title; `None` if it has none.
    pub name: Option<String>,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Where the time of a pull went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Timings {
    /// From a tag to a manifest.
    pub resolve: Duration,
    /// Signatures and claims.
    pub verify: Duration,
    /// The layers, and the module out of them.
    pub pull: Duration,
}

/// Where a reference led.
#[derive(Debug)]
pub struct Located {
    /// Where it is, with the store before it.
    pub repository: Remembered,
    /// What the reference resolved to: the manifest, or an index that leads there.
    pub root: Descriptor,
    /// The documents that lead to the manifest, it included, as they were received.
    pub documents: Vec<Bytes>,
    /// What carries the module.
    pub manifest: ImageManifest,
    /// The digest of that.
    pub digest: Digest,
}

impl Fetcher {
    /// The artifact that a reference names, if every policy accepts it.
    ///
    /// # Errors
    /// It is not there, is not what it says, holds no module or several, is over a bound, or is [`Error::Untrusted`].
    pub async fn fetch(&self, reference: &Reference, trust: &Trust, progress: &Progress) -> Result<Artifact, Error> {
        let looked = self.look(reference, trust, progress).await?;
        let verdict = looked.verdict.into_accepted()?;
        let module = looked
            .module
            .ok_or_else(|| Error::Invalid(format!("`{reference}` was accepted by its policy and never fetched")))?;
        // A policy that looked at the bytes has hashed them.
        let digest = match verdict.module.as_ref().and_then(|digest| digest.parse().ok()) {
            Some(digest) => digest,
            None => {
                let bytes = module.bytes.clone();
                blocking(move || Ok(sha256(&bytes))).await?
            }
        };
        Ok(Artifact {
            digest,
            bytes: module.bytes,
            reference: reference.clone(),
            manifest: looked.manifest,
            verdict,
            timings: looked.timings,
        })
    }

    /// Looks at an artifact and at who vouches for it. That it is not trusted is a verdict and no error.
    ///
    /// # Errors
    /// As of [`Self::fetch`], but for trust.
    pub async fn look(&self, reference: &Reference, trust: &Trust, progress: &Progress) -> Result<Looked, Error> {
        let (from, member) = match reference {
            Reference::Bundle { archive, member } => (&**archive, Some(member.as_deref())),
            other => (other, None),
        };
        if let Reference::Oci(_) | Reference::Layout { .. } = from {
            return self.look_at_manifest(reference, from, member.flatten(), trust, progress).await;
        }
        let mut timings = Timings::default();
        let asked = Asked { reference, documents: &[], repository: None };
        let examined = timed(&mut timings.verify, trust.examine(asked)).await?;
        if let Some(verdict) = examined.refused() {
            return Ok(Looked { module: None, manifest: None, verdict, timings });
        }
        let module = timed(&mut timings.pull, self.unsigned(from, member, progress)).await?;
        let verified = Instant::now();
        let verdict = judged(examined, &module.bytes);
        timings.verify += verified.elapsed();
        Ok(Looked { module: Some(module), manifest: None, verdict, timings })
    }

    /// The members of whatever a reference names: of an archive, an image, a Spin application.
    ///
    /// # Errors
    /// As of [`Self::fetch`], but for trust, which nobody is asked for: nothing of it is run.
    pub async fn members(&self, reference: &Reference, progress: &Progress) -> Result<Listing, Error> {
        let from = match reference {
            Reference::Bundle { archive, .. } => &**archive,
            other => other,
        };
        if let Reference::Oci(_) | Reference::Layout { .. } = from {
            let located = self.locate(from, progress).await?;
            let members = self.contents(&located, progress).members().await;
            return members.map_err(|error| named(error, reference));
        }
        let (mut source, bounds) = (self.archive(from, progress).await?, self.bounds);
        blocking(move || bundle::members(&mut *source, &bounds)).await.map_err(|error| named(error, from))
    }

    /// Follows a reference to its manifest, through indexes.
    ///
    /// # Errors
    /// It is not there, is not what it says, or has nothing for Wasm.
    pub async fn locate(&self, reference: &Reference, progress: &Progress) -> Result<Located, Error> {
        let (repository, version) = match reference {
            Reference::Oci(oci) if self.client.is_offline() => (self.remembered(oci).await?, oci.version()),
            _ => {
                let (live, version) = self.repository(reference).await?;
                (self.store.before(live).await?, version)
            }
        };
        progress.step("resolving");
        Self::follow(repository, &version, reference).await
    }

    async fn follow(repository: Remembered, version: &Version, reference: &Reference) -> Result<Located, Error> {
        // A digest that was pulled from there before is not asked for. One that was only pulled from elsewhere is: what a
        // policy says of a repository is said of what is in it.
        let root = repository.resolve(version).await.map_err(|error| placed(error, reference))?;
        let mut announced = root.clone();
        let mut documents: Vec<Bytes> = Vec::new();
        // As many indexes as may be within each other, and the manifest.
        while documents.len() <= MAX_INDEX_DEPTH {
            let bytes = document(&repository, &announced).await.map_err(|error| placed(error, reference))?;
            documents.push(bytes.clone());
            let digest = announced.digest().clone();
            let read = document::read(&bytes, Some(announced.media_type().as_ref()));
            match read.map_err(|error| named(error, reference))? {
                Document::Manifest(manifest) => {
                    return Ok(Located { repository, root, documents, manifest: *manifest, digest });
                }
                Document::Index(index) => {
                    announced = document::for_us(&index).map_err(|error| named(error, reference))?.clone();
                }
            }
        }
        Err(Error::OverLimit(format!(
            "`{reference}` is an index in more than {MAX_INDEX_DEPTH} indexes, the most that are followed"
        )))
    }

    /// The repository that a reference of a registry or a layout names, and what is asked of it. Of a registry, where no request
    /// leaves, it is what the store remembers.
    ///
    /// # Errors
    /// There is no such layout, it has several versions, or the reference is of another kind.
    pub async fn repository(&self, reference: &Reference) -> Result<(Arc<dyn Repository>, Version), Error> {
        match reference {
            Reference::Oci(oci) if self.client.is_offline() => {
                Ok((Arc::new(self.remembered(oci).await?), oci.version()))
            }
            Reference::Oci(oci) => Ok((self.registry(oci)?, oci.version())),
            Reference::Layout { path, archive, version } => {
                // What is kept of it, and how, is remembered under one name, wherever somebody is.
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                let layout = ImageLayout::open(&path, *archive).await?;
                let version = match version {
                    Some(version) => version.clone(),
                    None => layout.only().await?,
                };
                Ok((Arc::new(layout), version))
            }
            other => Err(Error::Reference(format!("`{other}` is in no registry; write `registry.example/name:tag`"))),
        }
    }

    /// What the store knows of a registry's repository.
    async fn remembered(&self, reference: &OciReference) -> Result<Remembered, Error> {
        self.store.remembered(&self.registry(reference)?.name()).await
    }

    fn registry(&self, reference: &OciReference) -> Result<Arc<dyn Repository>, Error> {
        self.client.repository(reference)
    }

    async fn look_at_manifest(
        &self,
        reference: &Reference,
        from: &Reference,
        member: Option<&str>,
        trust: &Trust,
        progress: &Progress,
    ) -> Result<Looked, Error> {
        // What was asked for by its digest cannot have changed. If what is remembered, signatures included, is enough for
        // the policy, nobody is asked; if it is not, there may be more by now.
        if let Reference::Oci(oci) = from
            && oci.digest.is_some()
            && !trust.is_thorough()
        {
            let remembered = self.remembered(oci).await?;
            let mut timings = Timings::default();
            let found = timed(&mut timings.resolve, Self::follow(remembered, &oci.version(), from)).await;
            if let Ok(located) = found
                && let Ok(looked) = self.look_into(located, timings, reference, from, member, trust, progress).await
                && looked.verdict.accepted
            {
                return Ok(looked);
            }
        }
        let mut timings = Timings::default();
        let located = timed(&mut timings.resolve, self.locate(from, progress)).await?;
        self.look_into(located, timings, reference, from, member, trust, progress).await
    }

    /// From the manifest on.
    #[expect(clippy::too_many_arguments, reason = "the second half of one line")]
    async fn look_into(
        &self,
        located: Located,
        mut timings: Timings,
        reference: &Reference,
        from: &Reference,
        member: Option<&str>,
        trust: &Trust,
        progress: &Progress,
    ) -> Result<Looked, Error> {
        progress.step("verifying");
        let asked = Asked { reference, documents: &located.documents, repository: Some(&located.repository) };
        let examined = timed(&mut timings.verify, trust.examine(asked)).await?;
        let manifest = Some(located.digest.clone());
        if let Some(verdict) = examined.refused() {
            return Ok(Looked { module: None, manifest, verdict, timings });
        }
        let signed_over = examined.signed_over().to_vec();
        progress.step("pulling");
        let contents = self.contents(&located, progress);
        let (name, bytes) = match timed(&mut timings.pull, contents.module(member)).await {
            Ok(found) => found,
            // Whoever wants to see everything sees what was found until then.
            Err(error @ Error::Invalid(_)) if trust.is_thorough() => {
                let verdict = examined.damaged(&error.harmless());
                return Ok(Looked { module: None, manifest, verdict, timings });
            }
            Err(error) => return Err(named(error, reference)),
        };
        let verified = Instant::now();
        let verdict = judged(examined, &bytes);
        timings.verify += verified.elapsed();
        if verdict.accepted {
            timed(&mut timings.verify, round_up(&located, &signed_over)).await;
            let kind = if Kind::of(&bytes) == Kind::Component { "component" } else { "module" };
            // It is here all the same; it will only be asked for again.
            if let Err(error) = located.repository.keep(&wherever(from), &located.root, kind).await {
                tracing::warn!(%error, "the store does not keep `{from}`");
            }
        }
        Ok(Looked { module: Some(Module { name, bytes }), manifest, verdict, timings })
    }

    fn contents<'a>(&'a self, located: &'a Located, progress: &'a Progress) -> Contents<'a> {
        Contents { manifest: &located.manifest, repository: &located.repository, bounds: &self.bounds, progress }
    }

    /// What has no manifest, and so no signature over one: a file, a URL, a member of either.
    async fn unsigned(
        &self,
        from: &Reference,
        member: Option<Option<&str>>,
        progress: &Progress,
    ) -> Result<Module, Error> {
        let Some(member) = member else {
            let bytes = match from {
                Reference::Url(url) => {
                    let mut chunks = self.download(url, self.bounds.module_bytes, progress).await?;
                    let mut bytes = BytesMut::new();
                    while let Some(chunk) = chunks.next().await {
                        bytes.extend_from_slice(&chunk?);
                    }
                    bytes.freeze()
                }
                Reference::File(path) => {
                    let (path, most) = (path.clone(), self.bounds.module_bytes);
                    blocking(move || file(&path, most)).await?
                }
                other => return Err(Error::Reference(format!("`{other}` is not a module"))),
            };
            if bundle::looks_like_one(bytes.get(..bytes.len().min(512)).unwrap_or_default()) {
                return Err(Error::Invalid(format!("`{from}` is an archive; write `bundle://{from}#MEMBER`")));
            }
            return Ok(Module { name: Some(from.short_name()), bytes });
        };
        let (mut source, bounds, member) =
            (self.archive(from, progress).await?, self.bounds, member.map(str::to_owned));
        let (name, bytes) = blocking(move || bundle::read(&mut *source, member.as_deref(), &bounds))
            .await
            .map_err(|error| named(error, from))?;
        Ok(Module { name: Some(name), bytes })
    }

    /// The bytes of an archive, as a file of the user or one without a name in the store's folder.
    async fn archive(&self, from: &Reference, progress: &Progress) -> Result<Box<dyn Source>, Error> {
        match from {
            Reference::File(path) => {
                let (path, most) = (path.clone(), self.bounds.layer_bytes);
                blocking(move || Ok(Box::new(opened(&path, most)?) as Box<dyn Source>)).await
            }
            Reference::Url(url) => {
                let folder = self.store.directory().to_owned();
                let failed =
                    |error: std::io::Error| Error::Disk(format!("an archive is not written to the store: {error}"));
                let file = blocking(move || tempfile::tempfile_in(folder).map_err(failed)).await?;
                let mut file = tokio::fs::File::from_std(file);
                let mut chunks = self.download(url, self.bounds.layer_bytes, progress).await?;
                while let Some(chunk) = chunks.next().await {
                    file.write_all(&chunk?).await.map_err(failed)?;
                }
                file.flush().await.map_err(failed)?;
                Ok(Box::new(file.into_std().await))
            }
            other => Err(Error::Reference(format!("`{other}` is no archive"))),
        }
    }

    /// What a web server sends, and an error in place of the first byte too many.
    async fn download(
        &self,
        url: &Url,
        most: u64,
        progress: &Progress,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        progress.step("downloading");
        let chunks = self.client.get_url(url, 0, most).await?.chunks;
        let (from, progress, mut received) = (Reference::Url(url.clone()), progress.clone(), 0_u64);
        let counted = chunks.map(move |chunk| {
            let chunk = chunk?;
            received = received.saturating_add(chunk.len() as u64);
            if received > most {
                return Err(Error::OverLimit(format!("`{from}` is of more than {most} bytes, the most that are read")));
            }
            progress.received(chunk.len() as u64);
            Ok(chunk)
        });
        Ok(counted.boxed())
    }
}

/// Asks for what nobody needs now and somebody may without a network: its configuration, and what signs it, so that it can be
/// told, and copied. No pull fails, or takes for long, because of it.
async fn round_up(located: &Located, signed_over: &[Digest]) {
    let asking = async {
        // Of most artifacts nobody reads it, and no copy is whole without it.
        let (config, quiet) = (located.manifest.config(), Progress::default());
        let fetched = located.repository.fetch(config, MAX_DOCUMENT_BYTES, &quiet).await;
        located.repository.ask_around(signed_over).await.and(fetched.map(drop))
    };
    let asked = timeout(COMPANIONS_TIMEOUT, asking).await;
    let late = || Err(Error::Unreachable(format!("it took over {}", format_duration(COMPANIONS_TIMEOUT))));
    if let Err(error) = asked.unwrap_or_else(|_| late()) {
        tracing::debug!(%error, "not all that accompanies `{}` is kept", located.digest);
    }
}

/// What the policies say of a module. All of it is hashed, once or more: other work of this thread goes elsewhere meanwhile,
/// where there is an elsewhere.
fn judged(examined: Examined<'_>, bytes: &[u8]) -> Verdict {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => block_in_place(|| examined.module(bytes)),
        _ => examined.module(bytes),
    }
}

/// A reference as it names the same from any folder.
fn wherever(reference: &Reference) -> String {
    match reference {
        Reference::Layout { path, archive, version } => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            Reference::Layout { path, archive: *archive, version: version.clone() }.to_string()
        }
        other => other.to_string(),
    }
}

/// A manifest or an index by its digest, of the size that was announced.
async fn document(repository: &Remembered, announced: &Descriptor) -> Result<Bytes, Error> {
    let digest = announced.digest();
    document::only_sha256(digest)?;
    let bytes = repository.manifest(digest).await?;
    if announced.size() != bytes.len() as u64 {
        return Err(Error::Invalid(format!(
            "`{digest}` is of {} bytes, and was announced with {}",
            bytes.len(),
            announced.size()
        )));
    }
    Ok(bytes)
}

/// A file that is no larger than what is read of it.
fn opened(path: &PathBuf, most: u64) -> Result<File, Error> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::NotFound(format!("there is no file `{}`", path.display())),
        _ => Error::Disk(format!("`{}` is not read: {error}", path.display())),
    };
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    if size > most {
        return Err(Error::OverLimit(format!("`{}` is of {size} bytes, and at most {most} are read", path.display())));
    }
    Ok(file)
}

fn file(path: &Path, most: u64) -> Result<Bytes, Error> {
    let path = path.to_owned();
    let mut bytes = Vec::new();
    // A pipe has no size, and a file may grow.
    let read = opened(&path, most)?.take(most.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| Error::Disk(format!("`{}` is not read: {error}", path.display())))?;
    if bytes.len() as u64 > most {
        return Err(Error::OverLimit(format!(
            "`{}` is of more than {most} bytes, the most that are read",
            path.display()
        )));
    }
    Ok(bytes.into())
}

/// Adds the time that something takes.
async fn timed<T>(place: &mut Duration, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let done = work.await;
    *place += begun.elapsed();
    done
}

/// Says where it was of an error that does not say so itself, as those of documents do not.
fn placed(error: Error, reference: &Reference) -> Error {
    match &error {
        Error::Invalid(text) | Error::OverLimit(text) if !text.contains(&reference.to_string()) => {
            named(error, reference)
        }
        _ => error,
    }
}

/// Says where it was, and names the reference in the hint that shows how a member is named. What is in the text was written by
/// strangers: it is shown without control characters, and not at any length.
fn named(error: Error, reference: &Reference) -> Error {
    let archive = match reference {
        Reference::Bundle { archive, .. } => archive.clone(),
        other => Box::new(other.clone()),
    };
    let bundle = Reference::Bundle { archive, member: None };
    let with = |text: String| format!("`{reference}`: {}", text.replace("bundle://REF#", &format!("{bundle}#")));
    match error.harmless() {
        Error::NotFound(text) => Error::NotFound(with(text)),
        Error::Invalid(text) => Error::Invalid(with(text)),
        Error::OverLimit(text) => Error::OverLimit(with(text)),
        other => other,
    }
}
