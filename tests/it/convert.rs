//! Apps that were written for other hosts: `samara convert`, and `samara serve` of their own manifests.

use std::{fs, path::Path};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    guest, samara,
    serving::{Apps, Serving, serve},
};

const SPIN: &str = r#"
spin_manifest_version = 2

[application]
name = "kit"

[variables]
greeting = { default = "hello" }

[[trigger.http]]
route = "/api/..."
component = "kit"

[[trigger.http]]
route = "/admin"
component = "kit"
dependencies.middleware = [{ path = "auth.wasm" }]

[component.kit]
source = "{http-hello}"
ai_models = ["some-model"]
variables = { greeting = "say {{ greeting }}" }
"#;

#[test]
fn a_manifest_of_spin_is_printed_as_a_native_one_and_the_rest_is_told() {
    let folder = Apps::new(&[("spin.toml", SPIN)]);
    let ran = samara("convert").arg(folder.folder()).run();
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stdout.contains("[workload.kit]") && ran.stdout.contains("config.greeting = \"say hello\""), "{ran}");
    assert!(ran.stderr.contains("2 not carried over, 2 to look at") && ran.stderr.contains("some-model"), "{ran}");
    // What was printed is a manifest.
    let native = Apps::new(&[("samara.toml", ran.stdout.as_str())]);
    let serving = serve(&native.path("samara.toml").display().to_string());
    serving.answers("GET /api/some/where", "", 200, "Hello, WASI!");

    let json = samara("convert --json --variable greeting=servus").arg(folder.path("spin.toml")).run();
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["format"], "Spin manifest");
    assert!(json["manifest"].as_str().unwrap().contains("config.greeting = \"say servus\""), "{json}");
    assert!(json["notes"].as_array().unwrap().iter().any(|note| note["severity"] == "lost"), "{json}");
    samara("convert --strict").arg(folder.folder()).fails(1, "not carried over");
}

#[test]
fn a_folder_of_spin_is_served_and_what_is_lost_is_logged() {
    let folder = Apps::new(&[("spin.toml", SPIN)]);
    let serving = serve(&folder.folder().display().to_string());
    serving.answers("GET /api", "", 200, "Hello, WASI!");
    serving.answers("GET /api/some/where", "", 200, "Hello, WASI!");
    // A route without what guards it is not served.
    serving.answers("GET /admin", "", 404, "");
    serving.logs(&["WARN", "spin.toml", "`component.kit.ai_models[0]`", "some-model"]);
    serving.logs(&["WARN", "spin.toml", "it is held back"]);
}

#[test]
fn a_running_host_is_given_an_app_by_its_spin_toml() {
    let folder = Apps::new(&[("spin.toml", SPIN)]);
    let token = folder.path("token");
    let line = "serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 --token-file";
    let serving = Serving::start(&samara(line).arg(&token));
    let put =
        samara(&format!("apps --admin {} --token-file", serving.admin)).arg(&token).arg("put").arg(folder.folder());
    let ran = put.run();
    assert_eq!(ran.code, 0, "{ran}");
    serving.answers("GET /api/some/where", "", 200, "Hello, WASI!");
}

#[test]
fn an_application_of_wasmcloud_is_served() {
    let manifest = r#"
apiVersion: core.oam.dev/v1beta1
kind: Application
metadata:
  name: hello
spec:
  components:
    - name: hello
      type: component
      properties:
        image: "{http-hello}"
    - name: web
      type: capability
      properties:
        image: ghcr.example/http-server:0.23.0
      traits:
        - type: link
          properties:
            namespace: wasi
            package: http
            interfaces: [incoming-handler]
            target:
              name: hello
            source:
              config:
                - name: address
                  properties:
                    address: 0.0.0.0:8000
"#;
    // Its image is a file here, as `wash dev` writes it.
    let guest = guest("http-hello").display().to_string();
    let folder = Apps::new(&[("wadm.yaml", &manifest.replace("{http-hello}", &format!("file://{guest}")))]);
    let serving = serve(&folder.path("wadm.yaml").display().to_string());
    serving.answers("GET /", "", 200, "Hello, WASI!");
    serving.logs(&["samara serve --listen 0.0.0.0:8000"]);
}

/// Writes a blob of an image layout; answers its descriptor.
fn blob(layout: &Path, media_type: &str, bytes: &[u8]) -> Value {
    let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    fs::write(layout.join("blobs/sha256").join(&digest), bytes).unwrap();
    json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() })
}

#[test]
fn a_published_application_is_converted_from_its_image_and_served_by_its_digest() {
    let folder = Apps::new(&[("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)]);
    let layout = folder.folder();
    let module = blob(layout, "application/vnd.wasm.content.layer.v1+wasm", &fs::read(guest("http-hello")).unwrap());
    let locked = json!({
        "spin_lock_version": 0,
        "metadata": { "name": "published" },
        "triggers": [{ "id": "t", "trigger_type": "http", "trigger_config": { "component": "kit", "route": "/kit/..." } }],
        "components": [{ "id": "kit", "source": { "content_type": "application/wasm", "digest": module["digest"] } }],
    });
    let locked = blob(layout, "application/vnd.fermyon.spin.application.v1+config", locked.to_string().as_bytes());
    let config = blob(layout, "application/vnd.oci.image.config.v1+json", b"{}");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [locked, module] });
    let mut described = blob(layout, media_type, manifest.to_string().as_bytes());
    described["annotations"] = json!({ "org.opencontainers.image.ref.name": "v1" });
    fs::write(layout.join("index.json"), json!({ "schemaVersion": 2, "manifests": [described] }).to_string()).unwrap();

    let ran = samara(&format!("convert oci:{}:v1", layout.display())).run();
    let source = format!("bundle://oci:{}@{}#kit", layout.display(), described["digest"].as_str().unwrap());
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stdout.contains(&format!("source = \"{source}\"")), "{ran}");
    let native = Apps::new(&[("samara.toml", ran.stdout.as_str())]);
    let serving = serve(&native.path("samara.toml").display().to_string());
    serving.answers("GET /kit/some/where", "", 200, "Hello, WASI!");
}

#[test]
fn what_cannot_be_converted_says_where_and_why() {
    samara("convert -").stdin("[app]\nname = \"a\"\n").fails(2, "this is no manifest that can be converted");
    samara("convert -").stdin("spin_manifest_version = 2\n[application").fails(2, "-:2:");
    samara("convert /nowhere/spin.toml").fails(2, "reading `/nowhere/spin.toml`");
}
