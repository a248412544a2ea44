//! Applications of other hosts as registries keep them: what says which of an image's layers are its components.

use anyhow::Context as _;
use samara_artifact::{ImageManifest, Reference, repository::read_blob};
use samara_import::MAX_INPUT_BYTES;

use super::Sources;

/// What says which application an image is.
const SPIN_APPLICATION: &str = "application/vnd.fermyon.spin.application.v1+config";

/// A published application.
#[derive(Debug)]
pub struct Published {
    /// What says what it is made of.
    pub text: String,
    /// The image by its digest, so that its components are those of this very text.
    pub reference: String,
}

impl Sources {
    /// The application that a reference of a registry or an image layout names; `None` if it is something else.
    ///
    /// Nothing is believed of it yet: its components are verified when they are loaded, by the digest that this names.
    ///
    /// # Errors
    /// It is not there, or not what it says.
    pub async fn published(&self, reference: &Reference) -> anyhow::Result<Option<Published>> {
        let (repository, version) = self.fetcher()?.repository(reference).await?;
        let digest = repository.resolve(&version).await?.digest().clone();
        let manifest = repository.manifest(&digest).await?;
        let Ok(manifest) = ImageManifest::from_reader(&manifest[..]) else { return Ok(None) };
        // Spin pushes it as a layer, and before its second version as the configuration.
        let mut blobs = manifest.layers().iter().chain([manifest.config()]);
        let Some(blob) = blobs.find(|blob| blob.media_type().as_ref() == SPIN_APPLICATION) else { return Ok(None) };
        let bytes = read_blob(&*repository, blob, MAX_INPUT_BYTES as u64).await?;
        let text = String::from_utf8(bytes.to_vec()).with_context(|| format!("`{reference}` is not UTF-8"))?;
        let reference = match reference {
            Reference::Oci(oci) => format!("oci://{}/{}@{digest}", oci.registry, oci.repository),
            Reference::Layout { path, archive, .. } => {
                let scheme = if *archive { "oci-archive" } else { "oci" };
                format!("{scheme}:{}@{digest}", path.display())
            }
            other => other.to_string(),
        };
        Ok(Some(Published { text, reference }))
    }
}
