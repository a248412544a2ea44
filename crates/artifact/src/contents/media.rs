//! Media types: what each producer calls a module, an archive and a document. Read in each project's source.

/// What a layer is, as its media type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// A module or a component.
    Wasm,
    /// A tar, compressed in whatever way.
    Archive,
    /// Something that describes or accompanies a module, and is none.
    Beside,
    /// Anything: its first bytes decide.
    Nothing,
}

/// Media types of modules that are no `+wasm`.
const WASM: &str = "application/wasm";

/// Media types of archives that are told by neither `+gzip` nor `.tar`.
const ARCHIVES: &[&str] =
    &["application/gzip", "application/x-gzip", "application/x-tar", "application/x-gtar", "application/zstd"];

/// The locked application of Spin: which layer is which component.
pub(super) const SPIN_APPLICATION: &str = "application/vnd.fermyon.spin.application.v1+config";
/// A file that a Spin component is given.
const SPIN_DATA: &str = "application/vnd.wasm.content.layer.v1+data";
/// Many of those in one.
const SPIN_ASSETS: &str = "application/vnd.wasm.content.bundle.v1.tar+gzip";

/// The configuration of an image, of OCI and of Docker.
pub(super) const IMAGE_CONFIGS: &[&str] =
    &["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// What a layer of this media type is.
///
/// | media type | producer |
/// | --- | --- |
/// | `application/wasm` | the CNCF artifact: wkg, wash, runwasi, oras |
/// | `application/vnd.wasm.content.layer.v1+wasm` | Spin, Kubewarden |
/// | `application/vnd.module.wasm.content.layer.v1+wasm` | Istio, Trivy, early wasmCloud |
/// | `application/vnd.bytecodealliance.wasm.component.layer.v0+wasm` | runwasi before the CNCF artifact |
/// | `application/vnd.oci.image.layer.v1.tar+gzip`, `+zstd`, plain; Docker's | images, OPA bundles |
/// | `application/vnd.wasmcloud.provider.archive.layer.v1+par` | wasmCloud providers |
pub(super) fn says(media_type: &str) -> Says {
    let media_type = media_type.to_ascii_lowercase();
    let media_type = media_type.as_str();
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| media_type.ends_with(suffix));
    if media_type == WASM || ends(&["+wasm"]) {
        Says::Wasm
    } else if [SPIN_APPLICATION, SPIN_DATA, SPIN_ASSETS].contains(&media_type)
        || ends(&["+json", "/json", "+yaml", ".empty.v1", "+config"])
        || media_type.starts_with("text/")
    {
        Says::Beside
    } else if ARCHIVES.contains(&media_type)
        || ends(&[".tar", ".tar.gzip", ".tar.zstd", "tar+gzip", "tar+zstd", "+par"])
    {
        Says::Archive
    } else {
        Says::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_every_producer_are_told_apart() {
        for wasm in [
            "application/wasm",
            "application/vnd.wasm.content.layer.v1+wasm",
            "application/vnd.module.wasm.content.layer.v1+wasm",
            "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
        ] {
            assert_eq!(says(wasm), Says::Wasm, "{wasm}");
        }
        for archive in [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.wasmcloud.provider.archive.layer.v1+par",
        ] {
            assert_eq!(says(archive), Says::Archive, "{archive}");
        }
        for beside in [SPIN_APPLICATION, SPIN_DATA, SPIN_ASSETS, "application/vnd.oci.empty.v1+json", "text/plain"] {
            assert_eq!(says(beside), Says::Beside, "{beside}");
        }
        for unknown in ["application/octet-stream", "application/vnd.unknown.layer.v1", ""] {
            assert_eq!(says(unknown), Says::Nothing, "{unknown}");
        }
    }
}
