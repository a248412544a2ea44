//! What is written, to the byte: the same module gives the same digest, and each layout has its media types.

use super::*;
use crate::document::{self, Document};

const MODULE: &[u8] = b"\0asm\x01\0\0\0";

fn metadata() -> Metadata {
    Metadata {
        title: "cart.wasm".to_owned(),
        created: epoch("1700000000").unwrap(),
        author: Some("shop".to_owned()),
        annotations: BTreeMap::from([(
            "org.opencontainers.image.source".to_owned(),
            "https://git.example/cart".to_owned(),
        )]),
    }
}

fn packed(layout: Layout) -> (Packed, oci_spec::image::ImageManifest) {
    let packed = pack(&Bytes::from_static(MODULE), layout, &metadata()).unwrap();
    let Document::Manifest(manifest) =
        document::read(&packed.manifest, Some(MediaType::ImageManifest.as_ref())).unwrap()
    else {
        panic!("it is an index")
    };
    for ((descriptor, bytes), written) in packed.blobs.iter().zip([manifest.config(), &manifest.layers()[0]]) {
        assert_eq!(descriptor, written);
        assert_eq!((sha256(bytes), bytes.len() as u64), (descriptor.digest().clone(), descriptor.size()));
    }
    (packed, *manifest)
}

#[track_caller]
fn check(layout: Layout, config: &str, layer: &str) {
    let (_, manifest) = packed(layout);
    assert_eq!(manifest.config().media_type().as_ref(), config);
    assert_eq!(manifest.layers().len(), 1);
    assert_eq!(manifest.layers()[0].media_type().as_ref(), layer);
    let annotations = manifest.annotations().clone().unwrap();
    assert_eq!(annotations["org.opencontainers.image.source"], "https://git.example/cart");
    assert_eq!(annotations["org.opencontainers.image.created"], "2023-11-14T22:13:20Z");
}

#[test]
fn each_layout_has_the_media_types_of_its_readers() {
    check(Layout::Wasm, "application/vnd.wasm.config.v0+json", "application/wasm");
    let spin = "application/vnd.wasm.content.layer.v1+wasm";
    check(Layout::Kubewarden, "application/vnd.wasm.config.v1+json", spin);
    check(Layout::SpinModule, "application/vnd.oci.image.config.v1+json", spin);
    let tar = "application/vnd.oci.image.layer.v1.tar+gzip";
    check(Layout::Image, "application/vnd.oci.image.config.v1+json", tar);
    check(Layout::Compat, "application/vnd.oci.image.config.v1+json", tar);
    let (_, compat) = packed(Layout::Compat);
    assert_eq!(compat.annotations().as_ref().unwrap()["module.wasm.image/variant"], "compat");
}

#[test]
fn the_configuration_says_what_the_module_is() {
    let (packed, _) = packed(Layout::Wasm);
    let digest = sha256(MODULE);
    let expected = format!(
        r#"{{"created":"2023-11-14T22:13:20Z","author":"shop","architecture":"wasm","os":"wasip1","layerDigests":["{digest}"]}}"#
    );
    assert_eq!(packed.blobs[0].1, expected);

    // (component (import "a:b/c@1.0.0" (instance)) (component) (export "run" (instance 0)))
    let component = b"\0asm\x0d\0\x01\0\x07\x03\x01\x42\0\x0a\x10\x01\0\x0ba:b/c@1.0.0\x05\0\x04\x08\0asm\x0d\0\x01\0\x0b\x09\x01\0\x03run\x05\0\0";
    let packed = pack(&Bytes::from_static(component), Layout::Wasm, &metadata()).unwrap();
    let config: Value = serde_json::from_slice(&packed.blobs[0].1).unwrap();
    assert_eq!(config["os"], "wasip2");
    assert_eq!(config["component"], json!({ "exports": ["run"], "imports": ["a:b/c@1.0.0"], "target": null }));
}

#[test]
fn the_same_module_gives_the_same_digest() {
    for layout in Layout::ALL {
        let (first, second) = (packed(layout).0, packed(layout).0);
        assert_eq!(first.manifest, second.manifest, "{layout}");
        assert_eq!(first.digest, sha256(&second.manifest), "{layout}");
        assert_eq!(layout.name().parse(), Ok(layout));
    }
    // Of this module, this metadata and this version of the layout: a change here is a change for everybody who compares.
    assert_eq!(
        packed(Layout::Wasm).0.digest.to_string(),
        "sha256:97c1c505d5fda9d6ea8cab77411241d2bfe4f951e0f2a46014a3d9b1ff7e7cec"
    );
}

#[test]
fn what_cannot_be_packed_is_refused() {
    let refused = |bytes: &'static [u8], layout, title: &str| {
        let metadata = Metadata { title: title.to_owned(), ..metadata() };
        pack(&Bytes::from_static(bytes), layout, &metadata).unwrap_err().to_string()
    };
    assert_eq!(
        refused(b"(module)", Layout::Wasm, "a.wat"),
        "`a.wat` is no WebAssembly in binary form; of text, `samara wat` makes it"
    );
    for name in ["", "../x", "a/b", ".hidden"] {
        assert_eq!(
            refused(MODULE, Layout::Image, name),
            format!("`{name}` is no name for a file in an image; give it one like `cart.wasm`")
        );
    }
    assert!(refused(b"\0asm\x0d\0\x01\0\xff", Layout::Wasm, "c.wasm").starts_with("the component is not read: "));
    assert_eq!(
        "tarball".parse::<Layout>().unwrap_err().to_string(),
        "there is no layout `tarball`; there are wasm, kubewarden, spin-module, image, compat"
    );
    assert!(epoch("yesterday").is_err() && epoch("-1").is_err() && epoch("253402300800").is_err());
}
