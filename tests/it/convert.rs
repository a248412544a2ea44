//! Apps that were written for other hosts: `samara convert`, and `samara serve` of their own manifests.

use crate::{
    samara,
    serving::{Apps, serve},
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
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
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
    let guest = crate::guest("http-hello").display().to_string();
    let folder = Apps::new(&[("wadm.yaml", &manifest.replace("{http-hello}", &format!("file://{guest}")))]);
    let serving = serve(&folder.path("wadm.yaml").display().to_string());
    serving.answers("GET /", "", 200, "Hello, WASI!");
    serving.logs(&["samara serve --listen 0.0.0.0:8000"]);
}

#[test]
fn what_cannot_be_converted_says_where_and_why() {
    samara("convert -").stdin("[app]\nname = \"a\"\n").fails(2, "this is no manifest that can be converted");
    samara("convert -").stdin("spin_manifest_version = 2\n[application").fails(2, "-:2:");
    samara("convert /nowhere/spin.toml").fails(2, "reading `/nowhere/spin.toml`");
}
