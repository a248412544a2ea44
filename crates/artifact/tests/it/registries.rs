//! Signatures in a real registry (Debian's `docker-registry`), by and for two releases of cosign: 2.5, which knows `.sig` tags,
//! and 3.1, which writes bundles. `tests/registry-tools.sh` installs them.
//!
//! Whatever cosign signed is right or wrong here too, and what is signed here is right or wrong for both.

use std::{
    fs,
    process::{Command, Output},
    sync::Arc,
};

use bytes::Bytes;
use samara_artifact::{
    Digest, ImageManifest, OciReference, Reference, Repository, Version,
    registry::{Client, Logins, RegistrySettings},
    repository::read_blob,
    trust::{Asked, KeyPair, Outcome, SignatureLayout, Trust, Verdict, sign},
};
use samara_model::{RegistryHost, TrustPolicy};

use crate::{
    docker_registry::Registry,
    tools::{succeeds, told},
};

const PASSWORD: &str = "of the test";
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// The releases of cosign by the Debian suite that they are of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cosign {
    V2,
    V3,
}

const BOTH: [Cosign; 2] = [Cosign::V2, Cosign::V3];

impl Registry {
    /// A tool of the suite that has this cosign.
    fn tool(&self, name: &str, release: Cosign) -> Command {
        let suite = if release == Cosign::V2 { "trixie" } else { "sid" };
        let mut command = self.debian(suite, name);
        command.env("COSIGN_PASSWORD", PASSWORD);
        command
    }

    /// `127.0.0.1:PORT/demo/NAME:v1`.
    fn reference(&self, name: &str) -> OciReference {
        format!("{}/demo/{name}:v1", self.address).parse().unwrap()
    }

    /// Pushes a module with oras under `v1`; the reference.
    fn push(&self, name: &str, module: &[u8]) -> OciReference {
        fs::write(self.path("hello.wasm"), module).unwrap();
        fs::write(self.path("config.json"), "{}").unwrap();
        let reference = self.reference(name);
        let config = "config.json:application/vnd.wasm.config.v0+json";
        let mut oras = self.tool("oras", Cosign::V3);
        oras.args(["push", "--plain-http", "--config", config, &reference.to_string(), "hello.wasm:application/wasm"]);
        succeeds(&mut oras);
        reference
    }

    /// A pair in `NAME.key` and `NAME.pub`, made by cosign.
    fn cosign_pair(&self, name: &str, release: Cosign) {
        succeeds(self.tool("cosign", release).args(["generate-key-pair", "--output-key-prefix", name]));
    }

    /// A pair in `NAME.key` and `NAME.pub`, made here.
    fn pair(&self, name: &str) -> KeyPair {
        let pair = KeyPair::generate().unwrap();
        let (private, public) = (self.path(&format!("{name}.key")), self.path(&format!("{name}.pub")));
        pair.write(&private, &public, PASSWORD.as_bytes()).unwrap();
        pair
    }

    async fn cosign_signs(&self, release: Cosign, key: &str, reference: &OciReference) {
        let digest = self.repository(reference).resolve(&reference.version()).await.unwrap();
        let subject = format!("{}/{}@{}", reference.registry, reference.repository, digest.digest());
        let mut cosign = self.tool("cosign", release);
        cosign.args(["sign", "--yes", "--allow-http-registry", "--key", &format!("{key}.key")]);
        match release {
            Cosign::V2 => cosign.arg("--tlog-upload=false"),
            Cosign::V3 => {
                succeeds(self.tool("cosign", release).args(["signing-config", "create", "--out", "signing.json"]));
                cosign.args(["--signing-config", "signing.json"])
            }
        };
        succeeds(cosign.arg(subject));
    }

    /// Whether cosign takes it, and what it says.
    fn cosign_verifies(&self, release: Cosign, key: &str, reference: &OciReference) -> Output {
        let mut cosign = self.tool("cosign", release);
        cosign.args(["verify", "--insecure-ignore-tlog=true", "--allow-http-registry", "--key", &format!("{key}.pub")]);
        cosign.arg(reference.to_string()).output().unwrap()
    }

    fn repository(&self, reference: &OciReference) -> Arc<dyn Repository> {
        let host = RegistryHost { insecure: true, ..RegistryHost::default() };
        let hosts = [(self.address.to_string(), host)].into();
        let settings = RegistrySettings { hosts, logins: Logins::Given([].into()), ..RegistrySettings::default() };
        Client::new(settings).repository(reference).unwrap()
    }

    /// A policy that wants a signature by this key.
    fn trust(&self, key: &str) -> Trust {
        let text = format!("[trust]\nrequire = \"cosign\"\nkeys = [\"{key}.pub\"]");
        let mut policy = TrustPolicy::parse(&text, "trust.toml".as_ref()).unwrap();
        policy.resolve_paths(self.folder.path());
        Trust::default().and("trust.toml", &policy).unwrap()
    }

    /// What a reference leads to now: the digest and the manifest.
    async fn resolve(&self, reference: &OciReference) -> (Digest, Bytes) {
        let repository = self.repository(reference);
        let digest = repository.resolve(&reference.version()).await.unwrap().digest().clone();
        let manifest = repository.manifest(&digest).await.unwrap();
        (digest, manifest)
    }

    /// The verdict on a manifest that was found before.
    async fn verdict_on(&self, key: &str, reference: &OciReference, manifest: Bytes) -> Verdict {
        let repository = self.repository(reference);
        let asked = Reference::Oci(reference.clone());
        let documents = [manifest];
        let asked = Asked { reference: &asked, documents: &documents, repository: Some(&*repository) };
        self.trust(key).verify(asked, MODULE).await.unwrap()
    }

    /// The verdict on what a reference leads to now.
    async fn verdict(&self, key: &str, reference: &OciReference) -> Verdict {
        let (_, manifest) = self.resolve(reference).await;
        self.verdict_on(key, reference, manifest).await
    }

    /// The module behind a reference, checked against the manifest.
    async fn module(&self, reference: &OciReference) -> Result<Bytes, samara_artifact::Error> {
        let (_, manifest) = self.resolve(reference).await;
        let manifest: ImageManifest = serde_json::from_slice(&manifest).unwrap();
        read_blob(&*self.repository(reference), &manifest.layers()[0], 1 << 20).await
    }

    /// Changes the stored bytes of a blob behind the registry's back.
    fn tamper(&self, digest: &Digest) {
        let hex = digest.digest();
        let file = self.path(&format!("data/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
        let mut bytes = fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(file, bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cosign_signed_is_trusted() {
    let place = Registry::start();
    for release in BOTH {
        let key = format!("{release:?}");
        place.cosign_pair(&key, release);
        let reference = place.push(&format!("good-{release:?}").to_lowercase(), MODULE);
        place.cosign_signs(release, &key, &reference).await;
        let verdict = place.verdict(&key, &reference).await;
        assert!(verdict.accepted, "{release:?}: {}", verdict.refusal());
        assert_eq!(place.module(&reference).await.unwrap(), MODULE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_key_signed_is_not() {
    let place = Registry::start();
    for release in BOTH {
        let (key, other) = (format!("{release:?}"), format!("{release:?}-other"));
        place.cosign_pair(&key, release);
        place.cosign_pair(&other, release);
        let reference = place.push(&format!("wrong-{release:?}").to_lowercase(), MODULE);
        place.cosign_signs(release, &key, &reference).await;
        let refusal = place.verdict(&other, &reference).await.refusal();
        assert!(refusal.contains("is by none of the trusted keys"), "{release:?}: {refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_signed_is_not() {
    let place = Registry::start();
    for release in BOTH {
        let key = format!("{release:?}");
        place.cosign_pair(&key, release);
        // Something else in the repository is signed.
        let name = format!("unsigned-{release:?}").to_lowercase();
        let signed = place.push(&name, MODULE);
        place.cosign_signs(release, &key, &signed).await;
        let reference = place.push(&name, b"\0asm\x0d\0\x01\0");
        let verdict = place.verdict(&key, &reference).await;
        assert!(!verdict.accepted, "{release:?}");
        assert!(verdict.refusal().contains("it is not signed"), "{release:?}: {}", verdict.refusal());
    }
}

/// The signature is over the manifest and stays good; the bytes are not those of the manifest.
#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_layer_never_becomes_a_module() {
    for release in BOTH {
        let place = Registry::start();
        let key = format!("{release:?}");
        place.cosign_pair(&key, release);
        let reference = place.push("tampered", MODULE);
        place.cosign_signs(release, &key, &reference).await;
        let (_, manifest) = place.resolve(&reference).await;
        let layer = serde_json::from_slice::<ImageManifest>(&manifest).unwrap().layers()[0].digest().clone();
        place.tamper(&layer);
        assert!(place.verdict(&key, &reference).await.accepted, "{release:?}");
        let error = place.module(&reference).await.unwrap_err();
        assert!(matches!(error, samara_artifact::Error::Invalid(_)), "{release:?}: {error}");
        // And a tampered signature is no signature.
        let place_of_signature = place.repository(&reference);
        let (digest, _) = place.resolve(&reference).await;
        let holder = match release {
            Cosign::V2 => {
                let tag = format!("sha256-{}.sig", digest.digest());
                place_of_signature.resolve(&Version::Tag(tag)).await.unwrap().digest().clone()
            }
            Cosign::V3 => place_of_signature.referrers(&digest).await.unwrap()[0].digest().clone(),
        };
        let holder = place_of_signature.manifest(&holder).await.unwrap();
        place.tamper(serde_json::from_slice::<ImageManifest>(&holder).unwrap().layers()[0].digest());
        let verdict = place.verdict(&key, &reference).await;
        assert!(!verdict.accepted, "{release:?}");
        assert!(verdict.steps.iter().any(|step| step.outcome == Outcome::Bad), "{release:?}: {:?}", verdict.steps);
    }
}

/// What was verified is what runs, also when the tag moves meanwhile; and where it moved to is not trusted for its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_moved_tag_moves_no_trust() {
    let place = Registry::start();
    for release in BOTH {
        let key = format!("{release:?}");
        place.cosign_pair(&key, release);
        let name = format!("moved-{release:?}").to_lowercase();
        let reference = place.push(&name, MODULE);
        place.cosign_signs(release, &key, &reference).await;
        let (before, manifest) = place.resolve(&reference).await;
        place.push(&name, b"\0asm\x01\0\0\0\0\x02\x01x");
        let verdict = place.verdict_on(&key, &reference, manifest).await;
        assert!(verdict.accepted, "{release:?}: {}", verdict.refusal());
        assert_eq!(verdict.manifest, Some(before.to_string()), "what was resolved once");
        let now = place.verdict(&key, &reference).await;
        assert!(!now.accepted, "{release:?}");
        assert_ne!(now.manifest, Some(before.to_string()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_here_both_cosigns_verify() {
    let place = Registry::start();
    let pair = place.pair("ours");
    place.pair("other");
    let (signed, unsigned) = (place.push("ours", MODULE), place.push("unsigned", b"\0asm\x0d\0\x01\0"));
    let (digest, _) = place.resolve(&signed).await;
    sign(&*place.repository(&signed), &digest, &pair, SignatureLayout::ALL).await.unwrap();
    for release in BOTH {
        let good = place.cosign_verifies(release, "ours", &signed);
        assert!(good.status.success(), "{release:?}: {}", told(&good));
        assert!(told(&good).contains(digest.as_ref()), "{release:?}: {}", told(&good));
        assert!(!place.cosign_verifies(release, "other", &signed).status.success(), "{release:?}");
        assert!(!place.cosign_verifies(release, "ours", &unsigned).status.success(), "{release:?}");
    }
    // Each layout alone is enough for whoever knows it.
    for (layout, release) in
        [(SignatureLayout::Tag, Cosign::V2), (SignatureLayout::Tag, Cosign::V3), (SignatureLayout::Bundle, Cosign::V3)]
    {
        let name = format!("one-{layout:?}-{release:?}").to_lowercase();
        let reference = place.push(&name, MODULE);
        let (digest, _) = place.resolve(&reference).await;
        sign(&*place.repository(&reference), &digest, &pair, &[layout]).await.unwrap();
        let good = place.cosign_verifies(release, "ours", &reference);
        assert!(good.status.success(), "{layout:?} {release:?}: {}", told(&good));
    }
}

/// Keys go both ways, and whoever signs later leaves what is there.
#[tokio::test(flavor = "multi_thread")]
async fn signatures_and_keys_are_shared_with_cosign() {
    let place = Registry::start();
    place.pair("ours");
    for release in BOTH {
        let key = format!("{release:?}");
        place.cosign_pair(&key, release);
        let reference = place.push(&format!("shared-{release:?}").to_lowercase(), MODULE);
        let (digest, _) = place.resolve(&reference).await;
        // cosign signs with a key that was made here; here it is signed with a key that cosign made.
        place.cosign_signs(release, "ours", &reference).await;
        let theirs = KeyPair::load(&place.path(&format!("{key}.key")), PASSWORD.as_bytes()).unwrap();
        sign(&*place.repository(&reference), &digest, &theirs, SignatureLayout::ALL).await.unwrap();
        for signer in ["ours", key.as_str()] {
            let verdict = place.verdict(signer, &reference).await;
            assert!(verdict.accepted, "{release:?} {signer}: {}", verdict.refusal());
            let good = place.cosign_verifies(release, signer, &reference);
            assert!(good.status.success(), "{release:?} {signer}: {}", told(&good));
        }
        assert!(KeyPair::load(&place.path(&format!("{key}.key")), b"wrong").is_err());
    }
}

/// `oras cp -r` takes the referrers along, and `.sig` tags are copied by name: signatures are over content and not over a name.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_as_trusted_as_what_it_is_of() {
    let place = Registry::start();
    place.cosign_pair("key", Cosign::V3);
    let reference = place.push("origin", MODULE);
    place.cosign_signs(Cosign::V3, "key", &reference).await;
    let copy = place.reference("copy");
    for release in BOTH {
        let mut oras = place.tool("oras", release);
        oras.args(["cp", "-r", "--from-plain-http", "--to-plain-http"]);
        succeeds(oras.args([reference.to_string(), copy.to_string()]));
        let verdict = place.verdict("key", &copy).await;
        assert!(verdict.accepted, "{release:?}: {}", verdict.refusal());
    }
}
