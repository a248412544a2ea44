//! What `samara push` writes: a module as the artifact that an ecosystem expects.
//!
//! | layout | read by |
//! | --- | --- |
//! | `wasm` | the CNCF artifact: wkg, wash, runwasi, Spin, oras, this program. The default |
//! | `kubewarden` | Kubewarden's policy server and `kwctl` |
//! | `spin-module` | Spin, as a layer of its own media type |
//! | `image` | container tools: an image for `wasi/wasm` whose entrypoint is the module |
//! | `compat` | Istio and Envoy: an image with `plugin.wasm` at its root |
//!
//! The same module with the same metadata gives the same bytes, and so the same digest; the time is part of the metadata and
//! follows `SOURCE_DATE_EPOCH`. Format of the first:
//! <https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>.

mod component;

use std::{
    collections::BTreeMap,
    fmt,
    io::Write as _,
    str::FromStr,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use oci_spec::image::{Descriptor, Digest, MediaType};
use serde_json::{Value, json};

use crate::{Error, Repository, bounds::MAX_MODULE_BYTES, bundle::Kind, repository::sha256};

/// As which artifact a module is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// The CNCF artifact.
    #[default]
    Wasm,
    /// A Kubewarden policy.
    Kubewarden,
    /// A module with Spin's media type.
    SpinModule,
    /// An image for `wasi/wasm` that starts the module.
    Image,
    /// An image that holds `plugin.wasm`, as Istio reads it.
    Compat,
}

impl Layout {
    /// All of them, by the names that people write.
    pub const ALL: [Self; 5] = [Self::Wasm, Self::Kubewarden, Self::SpinModule, Self::Image, Self::Compat];

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::Kubewarden => "kubewarden",
            Self::SpinModule => "spin-module",
            Self::Image => "image",
            Self::Compat => "compat",
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Layout {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|layout| layout.name() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|layout| layout.name()).collect();
            Error::Invalid(format!("there is no layout `{text}`; there are {}", known.join(", ")))
        })
    }
}

/// What is said of the module.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// The file's name, `cart.wasm`.
    pub title: String,
    /// When it was made.
    pub created: SystemTime,
    /// Who made it.
    pub author: Option<String>,
    /// Further annotations of the manifest, `org.opencontainers.image.source` among them. They win over ours.
    pub annotations: BTreeMap<String, String>,
}

impl Metadata {
    /// Of a file of this name, made now, or when `SOURCE_DATE_EPOCH` says.
    ///
    /// # Errors
    /// `SOURCE_DATE_EPOCH` is no number of seconds of this age.
    pub fn of(title: &str) -> Result<Self, Error> {
        let created = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => epoch(&text)?,
            Err(_) => SystemTime::now(),
        };
        Ok(Self { title: title.to_owned(), created, author: None, annotations: BTreeMap::new() })
    }
}

/// The moment that `SOURCE_DATE_EPOCH` names.
fn epoch(text: &str) -> Result<SystemTime, Error> {
    // The last second that four digits of a year can write.
    const LAST: u64 = 253_402_300_799;
    text.parse::<u64>()
        .ok()
        .filter(|seconds| *seconds <= LAST)
        .map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        .ok_or_else(|| Error::Invalid(format!("`SOURCE_DATE_EPOCH` is `{text}`; write seconds since 1970")))
}

/// An artifact that is ready to be pushed.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The configuration and the layers.
    pub blobs: Vec<(Descriptor, Bytes)>,
    /// The manifest.
    pub manifest: Bytes,
    /// Its digest, which is what is signed.
    pub digest: Digest,
}

impl Packed {
    /// Stores it all in a repository, the manifest last, and gives its digest.
    ///
    /// # Errors
    /// The repository cannot be written to, or not by this login.
    pub async fn push(&self, repository: &dyn Repository, tag: Option<&str>) -> Result<Digest, Error> {
        for (descriptor, bytes) in &self.blobs {
            repository.push_blob(descriptor, bytes.clone()).await?;
        }
        repository.push_manifest(tag, MediaType::ImageManifest.as_ref(), self.manifest.clone()).await
    }
}

/// Writes a module, a core module or a component in binary form, as an artifact.
///
/// # Errors
/// It is no WebAssembly, is over the bound of a module, or its metadata cannot be written.
pub fn pack(module: &Bytes, layout: Layout, metadata: &Metadata) -> Result<Packed, Error> {
    let kind = Kind::of(module);
    if !kind.is_wasm() {
        return Err(Error::Invalid(format!(
            "`{}` is no WebAssembly in binary form; of text, `samara wat` makes it",
            metadata.title
        )));
    }
    if module.len() as u64 > MAX_MODULE_BYTES {
        return Err(Error::OverLimit(format!(
            "`{}` is of {} bytes, and a module may have {MAX_MODULE_BYTES}",
            metadata.title,
            module.len()
        )));
    }
    let created = humantime::format_rfc3339_seconds(metadata.created).to_string();
    let mut annotations = BTreeMap::from([
        ("org.opencontainers.image.created".to_owned(), created.clone()),
        ("org.opencontainers.image.title".to_owned(), metadata.title.clone()),
    ]);
    let (config, config_type, layer, layer_type) = match layout {
        Layout::Wasm => {
            let config = wasm_config(module, &kind, &created, metadata)?;
            (config, "application/vnd.wasm.config.v0+json", module.clone(), "application/wasm")
        }
        Layout::Kubewarden => (
            json!({}),
            "application/vnd.wasm.config.v1+json",
            module.clone(),
            "application/vnd.wasm.content.layer.v1+wasm",
        ),
        Layout::SpinModule => {
            let config = image_config(&created, metadata, &sha256(module), None);
            (config, IMAGE_CONFIG, module.clone(), "application/vnd.wasm.content.layer.v1+wasm")
        }
        Layout::Image | Layout::Compat => {
            let name = if layout == Layout::Compat { "plugin.wasm" } else { file_name(&metadata.title)? };
            if layout == Layout::Compat {
                annotations.insert("module.wasm.image/variant".to_owned(), "compat".to_owned());
            }
            let tar = tar_of(name, module, metadata.created)?;
            let config = image_config(&created, metadata, &sha256(&tar), Some(name));
            (config, IMAGE_CONFIG, gzip(&tar)?, "application/vnd.oci.image.layer.v1.tar+gzip")
        }
    };
    annotations.extend(metadata.annotations.clone());
    let title = matches!(layout, Layout::Wasm | Layout::Kubewarden | Layout::SpinModule).then_some(&metadata.title);
    assembled((config_type, &config), (layer_type, layer, title), &annotations)
}

const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Blobs and the manifest over them. Keys are in the order in which they are written here, so that bytes are always the same.
fn assembled(
    (config_type, config): (&str, &Value),
    (layer_type, layer, title): (&str, Bytes, Option<&String>),
    annotations: &BTreeMap<String, String>,
) -> Result<Packed, Error> {
    let written = |value: &Value| {
        let bytes = serde_json::to_vec(value);
        bytes.map(Bytes::from).map_err(|error| Error::Invalid(format!("the manifest cannot be written: {error}")))
    };
    let described = |media_type: &str, bytes: &Bytes| json!({ "mediaType": media_type, "digest": sha256(bytes).to_string(), "size": bytes.len() });
    let config = written(config)?;
    let config_descriptor = described(config_type, &config);
    let mut layer_descriptor = described(layer_type, &layer);
    if let (Some(title), Some(layer)) = (title, layer_descriptor.as_object_mut()) {
        layer.insert("annotations".to_owned(), json!({ "org.opencontainers.image.title": title }));
    }
    let manifest = written(&json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageManifest.as_ref(),
        "config": config_descriptor,
        "layers": [layer_descriptor],
        "annotations": annotations,
    }))?;
    let read = |value: Value| {
        let descriptor = serde_json::from_value::<Descriptor>(value);
        descriptor.map_err(|error| Error::Invalid(format!("the manifest cannot be written: {error}")))
    };
    Ok(Packed {
        blobs: vec![(read(config_descriptor)?, config), (read(layer_descriptor)?, layer)],
        digest: sha256(&manifest),
        manifest,
    })
}

/// The configuration of the CNCF artifact: what the module is, so that nobody has to fetch it to know.
fn wasm_config(module: &Bytes, kind: &Kind, created: &str, metadata: &Metadata) -> Result<Value, Error> {
    let is_component = *kind == Kind::Component;
    let mut config = json!({ "created": created });
    let Some(fields) = config.as_object_mut() else { return Ok(config) };
    if let Some(author) = &metadata.author {
        fields.insert("author".to_owned(), json!(author));
    }
    fields.insert("architecture".to_owned(), json!("wasm"));
    // `wasip1` stands for every core module: there is no other name for them.
    fields.insert("os".to_owned(), json!(if is_component { "wasip2" } else { "wasip1" }));
    fields.insert("layerDigests".to_owned(), json!([sha256(module).to_string()]));
    if is_component {
        fields.insert("component".to_owned(), component::described(module)?);
    }
    Ok(config)
}

/// The configuration of an image for `wasi/wasm`. `diff` is the digest of the layer as it is unpacked.
fn image_config(created: &str, metadata: &Metadata, diff: &Digest, started: Option<&str>) -> Value {
    let mut config = json!({ "created": created, "architecture": "wasm", "os": "wasi" });
    if let Some(fields) = config.as_object_mut() {
        if let Some(author) = &metadata.author {
            fields.insert("author".to_owned(), json!(author));
        }
        if let Some(started) = started {
            fields.insert("config".to_owned(), json!({ "Entrypoint": [format!("/{started}")] }));
        }
        fields.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": [diff.to_string()] }));
    }
    config
}

/// A file name that an image may have at its root.
fn file_name(title: &str) -> Result<&str, Error> {
    let plain =
        !title.is_empty() && title.len() <= 100 && !title.contains(['/', '\\', '\0']) && !title.starts_with('.');
    if !plain {
        return Err(Error::Invalid(format!(
            "`{title}` is no name for a file in an image; give it one like `cart.wasm`"
        )));
    }
    Ok(title)
}

/// A tar of one file that is the same wherever and by whomever it is made.
fn tar_of(name: &str, module: &Bytes, created: SystemTime) -> Result<Bytes, Error> {
    let mut header = tar::Header::new_ustar();
    header.set_size(module.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(created.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()));
    let failed = |error: std::io::Error| Error::Invalid(format!("the layer cannot be written: {error}"));
    let mut builder = tar::Builder::new(Vec::with_capacity(module.len().saturating_add(2048)));
    builder.append_data(&mut header, name, module.as_ref()).map_err(failed)?;
    Ok(builder.into_inner().map_err(failed)?.into())
}

fn gzip(bytes: &Bytes) -> Result<Bytes, Error> {
    let failed = |error: std::io::Error| Error::Invalid(format!("the layer cannot be compressed: {error}"));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).map_err(failed)?;
    Ok(encoder.finish().map_err(failed)?.into())
}

#[cfg(test)]
mod tests;
