//! Several policies over one artifact, rules by place, and what each word means where there is no manifest.

use super::*;

async fn file(trust: &Trust, text: &str, module: &[u8]) -> Verdict {
    let reference = Reference::parse(text).unwrap();
    trust.verify(Asked { reference: &reference, documents: &[], repository: None }, module).await.unwrap()
}

#[tokio::test]
async fn without_a_policy_everything_is_accepted() {
    let trust = Trust::default().and("host.toml", &TrustPolicy::default()).unwrap();
    assert!(trust.is_empty());
    assert!(file(&trust, "./a.wasm", MODULE).await.accepted);
}

#[tokio::test]
async fn every_policy_must_be_content() {
    let (keys, repository) = (Keys::new(), Memory::default());
    let (a, _) = (keys.pair("a"), keys.pair("b"));
    let (digest, document) = repository.put_artifact("v1", MODULE);
    sign_all(&repository, &digest, &a).await;
    let host = keys.policy("require = \"cosign\"\nkeys = [\"a.pub\"]");
    let app = keys.policy("require = \"cosign\"\nkeys = [\"b.pub\"]");
    let lax = keys.policy("require = []");
    let both =
        |first, second| Trust::default().and("host.toml", first).unwrap().and("[trust] of shop", second).unwrap();
    assert_eq!(refusal(&both(&host, &lax), &repository, &document).await, "");
    let refused = refusal(&both(&host, &app), &repository, &document).await;
    assert!(
        refused.starts_with("`r.example/team/app:v1` is not trusted: [trust] of shop requires cosign"),
        "{refused}"
    );
    let refused = refusal(&both(&app, &lax), &repository, &document).await;
    assert!(refused.contains("host.toml requires cosign"), "an app cannot take from the floor: {refused}");
}

#[tokio::test]
async fn a_rule_stands_in_place_of_its_table() {
    let (keys, repository) = (Keys::new(), Memory::default());
    keys.pair("a");
    let (digest, document) = repository.put_artifact("v1", MODULE);
    let trust = keys.trust(
        "require = \"cosign\"\nkeys = [\"a.pub\"]\n[[trust.rule]]\nmatch = \"oci://r.example/dev/*\"\nrequire = []\n\
         [[trust.rule]]\nmatch = \"oci://r.example/pinned/*\"\nrequire = \"digest\"\n\
         [[trust.rule]]\nmatch = \"oci://r.example/never/*\"\nrequire = \"never\"",
    );
    let pinned = format!("oci://r.example/pinned/x@{digest}");
    for (reference, accepted) in [
        ("oci://r.example/team/app:v1", false),
        ("oci://r.example/dev/app:v1", true),
        ("oci://R.example:443/dev/app:v1", true),
        ("oci://r.example:5000/dev/app:v1", false),
        ("oci://r.example/pinned/x:v1", false),
        (pinned.as_str(), true),
        ("oci://r.example/never/x:v1", false),
    ] {
        let verdict = verify_as(reference, &trust, &repository, std::slice::from_ref(&document)).await.unwrap();
        assert_eq!(verdict.accepted, accepted, "{reference}: {}", verdict.refusal());
    }
    let never = verify_as("oci://r.example/never/x:v1", &trust, &repository, &[document]).await.unwrap();
    assert_eq!(
        never.refusal(),
        "`r.example/never/x:v1` is not trusted: t.toml requires never for `oci://r.example/never/*`: nothing would be enough"
    );
}

#[tokio::test]
async fn a_pin_is_the_digest_of_what_came() {
    let (keys, repository) = (Keys::new(), Memory::default());
    let (digest, document) = repository.put_artifact("v1", MODULE);
    let trust = keys.trust("require = \"digest\"");
    let refused = refusal(&trust, &repository, &document).await;
    assert!(
        refused.ends_with(&format!("digest: the reference names no digest; write `@{digest}` after it")),
        "{refused}"
    );
    let pinned = format!("oci://r.example/team/app:v1@{digest}");
    assert!(verify_as(&pinned, &trust, &repository, std::slice::from_ref(&document)).await.unwrap().accepted);
    let other = format!("oci://r.example/team/app@{}", sha256(b"another"));
    let error = verify_as(&other, &Trust::default(), &repository, std::slice::from_ref(&document)).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid(why) if why.contains("is what came")), "{error}");
    let layout = format!("oci:dir@{digest}");
    assert!(verify_as(&layout, &trust, &repository, std::slice::from_ref(&document)).await.unwrap().accepted);
    let listed = keys.trust(&format!("require = \"digest\"\ndigests = [\"{digest}\"]"));
    let by_tag = verify(&listed, &repository, &[document]).await.unwrap();
    assert!(by_tag.accepted, "by a tag, while it names what the policy lists");
    assert!(by_tag.steps.iter().any(|step| step.text == format!("`{digest}` is on the list of a policy")));
}

#[tokio::test]
async fn a_file_has_no_manifest_and_may_be_listed() {
    let keys = Keys::new();
    keys.pair("a");
    let digest = sha256(MODULE);
    let verdict = file(&keys.trust("require = [\"digest\", \"cosign\"]\nkeys = [\"a.pub\"]"), "./a.wasm", MODULE).await;
    assert_eq!(
        verdict.refusal(),
        format!(
            "`./a.wasm` is not trusted: t.toml requires digest and cosign: digest: a file is not asked for by a digest; write \
             `digests = [\"{digest}\"]` into the policy if that module is meant; cosign: a file has no manifest that could be \
             signed; push it to a registry or an image layout and sign it there"
        )
    );
    let url = file(&keys.trust("require = \"cosign\"\nkeys = [\"a.pub\"]"), "https://w.example/a.wasm", MODULE).await;
    assert!(url.refusal().contains("what a URL names has no manifest"), "{}", url.refusal());
    let listed = keys.trust(&format!("require = \"digest\"\ndigests = [\"{digest}\"]"));
    assert!(file(&listed, "./a.wasm", MODULE).await.accepted);
    assert!(!file(&listed, "./a.wasm", b"\0asm\x0d\0\x01\0").await.accepted);
}

/// What cannot become better is known before the module is fetched.
#[tokio::test]
async fn a_hopeless_artifact_is_refused_before_its_module_is_read() {
    let (keys, repository) = (Keys::new(), Memory::default());
    keys.pair("a");
    let (_, document) = repository.put_artifact("v1", MODULE);
    let reference = Reference::parse("oci://r.example/team/app:v1").unwrap();
    let documents = [document];
    let asked = Asked { reference: &reference, documents: &documents, repository: Some(&repository) };
    let issuer = crate::trust::nkey::write_account(&ed25519_dalek::SigningKey::from_bytes(&[1; 32]).verifying_key());
    for (policy, hopeless) in [
        ("require = \"cosign\"", true),
        ("require = [\"cosign\", \"claims\"]", true),
        ("require.any = [\"cosign\", \"claims\"]", false),
        ("require = \"digest\"", false),
        ("require = []", false),
    ] {
        let lists = format!("keys = [\"a.pub\"]\nissuers = [\"{issuer}\"]\ndigests = [\"{}\"]", sha256(MODULE));
        // Without a rule, lists that nothing asks for are refused.
        let trust = keys.trust(&format!("{policy}\n{lists}\n[[trust.rule]]\nmatch = \"file:*\"\nrequire = []"));
        let refused = trust.examine(asked).await.unwrap().refused();
        assert_eq!(refused.is_some(), hopeless, "{policy}");
        assert!(refused.is_none_or(|verdict| !verdict.accepted && verdict.module.is_none()), "{policy}");
    }
}

#[test]
fn a_policy_with_a_key_that_is_none_is_refused() {
    let keys = Keys::new();
    keys.write("text.pub", "hello");
    let error = |text: &str| {
        let refused = Trust::default().and("t.toml", &keys.policy(text)).expect_err(text);
        keys.plain(&refused.to_string())
    };
    assert!(error("require = \"cosign\"\nkeys = [\"none.pub\"]").starts_with("the key `none.pub` cannot be read"));
    assert!(
        error("require = \"cosign\"\nkeys = [\"text.pub\"]")
            .contains("`text.pub` is not a key that signatures are checked with: it is not PEM")
    );
    keys.pair("p256");
    assert!(error("require = \"signature\"\nsignature_keys = [\"p256.pub\"]").contains("which are of Ed25519"));
    let slip = format!("require = \"claims\"\nissuers = [\"A{}\"]", "B".repeat(55));
    assert!(error(&slip).contains("is not the key of an account"), "{}", error(&slip));
}

/// What this program cannot check is refused, and never passed over.
#[cfg(not(feature = "keyless"))]
#[test]
fn a_program_without_keyless_says_so() {
    let keys = Keys::new();
    let policy = keys.policy(
        "require.any = [\"digest\", \"keyless\"]\ntrusted_root = \"r.json\"\nidentities = [{ issuer = \"i\", subject = \"s\" }]",
    );
    let error = Trust::default().and("t.toml", &policy).unwrap_err().to_string();
    assert!(error.contains("was built without; build it with `--features keyless`"), "{error}");
}

#[test]
fn a_file_of_trust_is_read_beside_its_keys() {
    let keys = Keys::new();
    keys.pair("a");
    keys.write("policy.toml", "[trust]\nrequire = \"cosign\"\nkeys = [\"a.pub\"]");
    assert!(!Trust::default().and_file(&keys.0.path().join("policy.toml")).unwrap().is_empty());
    keys.write("wrong.toml", "[trust]\nrequire = \"cosine\"");
    let error = Trust::default().and_file(&keys.0.path().join("wrong.toml")).unwrap_err().to_string();
    assert!(keys.plain(&error).starts_with("wrong.toml:2:11: `require` in [trust]"), "{error}");
}

/// Whoever asks chooses how a host is spelled, and not which rule is asked.
#[tokio::test]
async fn no_spelling_of_a_host_leads_around_a_rule() {
    let (keys, repository) = (Keys::new(), Memory::default());
    let (_, document) = repository.put_artifact("v1", MODULE);
    let rule = |pattern: &str| {
        keys.trust(&format!("require = []\n[[trust.rule]]\nmatch = \"{pattern}\"\nrequire = \"never\""))
    };
    let documents = [document];
    for (pattern, spellings) in [
        ("oci://r.example/*", vec!["r.example/a", "R.example/a", "r.example:443/a", "r.example:0443/a"]),
        ("oci://127.0.0.1:5443/*", vec!["127.0.0.1:5443/a", "127.1:5443/a", "127.0.0.1:05443/a", "2130706433:5443/a"]),
        ("oci://docker.io/*", vec!["docker.io/me/app", "registry-1.docker.io/me/app", "Index.Docker.io:443/me/app"]),
        ("oci://registry-1.docker.io/busybox", vec!["docker.io/busybox", "index.docker.io/library/busybox"]),
    ] {
        let trust = rule(pattern);
        for spelling in spellings {
            // Another spelling is the same place, or no reference.
            let Ok(reference) = Reference::parse(&format!("oci://{spelling}")) else { continue };
            let asked = Asked { reference: &reference, documents: &documents, repository: Some(&repository) };
            let verdict = trust.verify(asked, MODULE).await.unwrap();
            assert!(!verdict.accepted, "`{pattern}` does not name `{spelling}`");
        }
    }
}
