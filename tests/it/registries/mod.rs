//! Artifacts of every layout through real registries, written and read by the tools that people use; signatures of two
//! releases of cosign. What is here needs `docker-registry`, `skopeo`, `oras` and `cosign` (`tests/registry-tools.sh`).

use std::{fs, path::Path, process::Command};

use crate::{guest, process::Samara, samara};

mod server;
mod signatures;

use server::{Registry, SUITES, done, tool};

/// A command that may use plain HTTP with this registry, with an artifact store of its own.
fn with(registry: &Registry, line: &str) -> Samara {
    let cache = registry.scratch("samara-cache");
    samara(line).arg("--insecure").arg(registry.address.to_string()).env("SAMARA_CACHE", &cache.display().to_string())
}

/// Pulls into a file; the bytes.
#[track_caller]
fn pulled(registry: &Registry, reference: &str) -> Vec<u8> {
    let file = registry.scratch("out").join("pulled.wasm");
    drop(fs::remove_file(&file));
    let ran = with(registry, "pull").arg(reference).arg("-o").arg(&file).run();
    assert_eq!(ran.code, 0, "{ran}");
    fs::read(&file).unwrap()
}

/// What `oras push` is told of one layout: the configuration's media type, if any, and files with theirs.
struct Pushed {
    name: &'static str,
    config: Option<&'static str>,
    layers: &'static [(&'static str, &'static str)],
}

/// The layouts that ecosystems push as they are written by hand. `module.wasm` is the module.
const PUSHED: &[Pushed] = &[
    Pushed {
        name: "cncf",
        config: Some("application/vnd.wasm.config.v0+json"),
        layers: &[("module.wasm", "application/wasm")],
    },
    Pushed {
        name: "spin-module",
        config: Some("application/vnd.oci.image.config.v1+json"),
        layers: &[("module.wasm", "application/vnd.wasm.content.layer.v1+wasm")],
    },
    Pushed {
        name: "kubewarden",
        config: Some("application/vnd.wasm.config.v1+json"),
        layers: &[("module.wasm", "application/vnd.wasm.content.layer.v1+wasm")],
    },
    Pushed {
        name: "istio-oci",
        config: Some("application/vnd.module.wasm.config.v1+json"),
        layers: &[
            ("module.wasm", "application/vnd.module.wasm.content.layer.v1+wasm"),
            ("runtime-config.json", "application/vnd.module.wasm.config.v1+json"),
        ],
    },
    Pushed {
        name: "trivy",
        config: None,
        layers: &[("module.wasm", "application/vnd.module.wasm.content.layer.v1+wasm")],
    },
    Pushed {
        name: "runwasi",
        config: Some("application/vnd.wasm.config.v0+json"),
        layers: &[("module.wasm", "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm")],
    },
    Pushed {
        name: "wasmcloud-old",
        config: Some("application/vnd.wasmcloud.actor.archive.config"),
        layers: &[("module.wasm", "application/vnd.module.wasm.content.layer.v1+wasm")],
    },
    Pushed { name: "by-magic", config: None, layers: &[("module.wasm", "application/octet-stream")] },
];

#[test]
fn each_layout_that_oras_pushes_is_pulled_whole() {
    let registry = Registry::start();
    let module = fs::read(guest("http-hello")).unwrap();
    let folder = registry.scratch("layouts");
    fs::write(folder.join("module.wasm"), &module).unwrap();
    fs::write(folder.join("runtime-config.json"), "{}").unwrap();
    fs::write(folder.join("config.json"), r#"{"architecture":"wasm","os":"wasip2"}"#).unwrap();
    for suite in SUITES {
        for layout in PUSHED {
            let reference = registry.name(&format!("{suite}/{}:v1", layout.name));
            let mut oras = tool("oras", suite);
            oras.current_dir(&folder).args(["push", "--plain-http"]);
            if let Some(config) = layout.config {
                oras.arg("--config").arg(format!("config.json:{config}"));
            }
            oras.arg(&reference);
            for (file, media_type) in layout.layers {
                oras.arg(format!("{file}:{media_type}"));
            }
            done(&mut oras);
            assert!(pulled(&registry, &reference) == module, "{reference} is not what was pushed");
        }
    }
}

#[test]
fn what_samara_pushes_other_tools_read() {
    let registry = Registry::start();
    let module = guest("http-hello");
    let bytes = fs::read(&module).unwrap();
    for layout in ["wasm", "kubewarden", "spin-module", "image", "compat"] {
        let reference = registry.name(&format!("pushed/{layout}:v1"));
        let push = with(&registry, "push").arg(&module).arg(&reference).arg("--layout").arg(layout).run();
        assert_eq!(push.code, 0, "{push}");
        for suite in SUITES {
            let manifest = done(tool("oras", suite).args(["manifest", "fetch", "--plain-http", &reference]));
            assert!(manifest.contains("\"layers\""), "{manifest}");
        }
        let copy = registry.scratch("copies").join(layout);
        done(skopeo("copy").arg("--src-tls-verify=false").arg(docker(&reference)).arg(oci(&copy)));
        let back = registry.name(&format!("copied/{layout}:v1"));
        done(skopeo("copy").arg("--dest-tls-verify=false").arg(oci(&copy)).arg(docker(&back)));
        assert!(pulled(&registry, &back) == bytes, "{layout}: what skopeo copied is not what was pushed");
        assert_eq!(digest(&reference), digest(&back), "{layout}: skopeo had to write another manifest");
        // The copy itself is a place to read from.
        let file = registry.scratch("out").join("layout.wasm");
        let ran = samara("pull").arg(oci(&copy)).arg("-o").arg(&file).run();
        assert_eq!((ran.code, fs::read(&file).unwrap() == bytes), (0, true), "{ran}");
    }
}

#[test]
fn a_layout_goes_over_an_air_gap_and_back() {
    let registry = Registry::start();
    let reference = registry.name("gap/hello:v1");
    let push = with(&registry, "push").arg(guest("http-hello")).arg(&reference).run();
    assert_eq!(push.code, 0, "{push}");
    let tar = registry.scratch("gap").join("hello.tar");
    let saved = with(&registry, "save").arg(&reference).arg("-o").arg(&tar).run();
    assert_eq!(saved.code, 0, "{saved}");
    // Over there is another registry.
    let beyond = Registry::start();
    let there = beyond.name("gap/hello:v1");
    let loaded = with(&beyond, "load").arg(&tar).arg("--to").arg(&there).run();
    assert_eq!(loaded.code, 0, "{loaded}");
    assert_eq!(digest(&reference), digest(&there));
    assert!(pulled(&beyond, &there) == fs::read(guest("http-hello")).unwrap());
    // What a policy does not let in is not there afterwards.
    let policy = beyond.scratch("policy").join("trust.toml");
    let other = "0".repeat(64);
    fs::write(&policy, format!("[trust]\nrequire = \"digest\"\ndigests = [\"sha256:{other}\"]\n")).unwrap();
    let refused = beyond.name("gap/refused:v1");
    let loaded = with(&beyond, "load").arg(&tar).arg("--to").arg(&refused).arg("--trust").arg(&policy).run();
    assert_eq!(loaded.code, 2, "{loaded}");
    assert!(loaded.stderr.contains("is not loaded") && loaded.stderr.contains("digest"), "{loaded}");
    let tags = done(tool("oras", "sid").args(["repo", "ls", "--plain-http", &beyond.address.to_string()]));
    assert!(!tags.contains("gap/refused"), "{tags}");
    let known = digest(&there);
    fs::write(&policy, format!("[trust]\nrequire = \"digest\"\ndigests = [\"{known}\"]\n")).unwrap();
    let loaded = with(&beyond, "load").arg(&tar).arg("--to").arg(&refused).arg("--trust").arg(&policy).run();
    assert_eq!((loaded.code, digest(&refused)), (0, known), "{loaded}");
    for command in ["push", "sign"] {
        let asked = with(&beyond, command).arg(guest("http-hello")).arg(&refused).arg("--trust").arg(&policy).run();
        assert_eq!(asked.code, 2, "a policy that is not asked is refused: {asked}");
    }
    let inspected = done(skopeo("inspect").arg("--raw").arg(format!("oci-archive:{}", tar.display())));
    assert!(inspected.contains("application/wasm"), "{inspected}");
}

fn skopeo(action: &str) -> Command {
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", action]);
    skopeo
}

fn docker(reference: &str) -> String {
    format!("docker://{reference}")
}

fn oci(folder: &Path) -> String {
    format!("oci:{}:v1", folder.display())
}

/// The digest of the manifest that a tag names, by oras.
fn digest(reference: &str) -> String {
    done(tool("oras", "sid").args(["resolve", "--plain-http", reference])).trim().to_owned()
}
