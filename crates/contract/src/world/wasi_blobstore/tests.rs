//! A component of wasmCloud's own library over a blob store: what it wrote it reads, and what is not granted is said.

use std::sync::Arc;

use http_body_util::BodyExt as _;
use samara_capability::blob;
use samara_model::{BlobGrant, BlobOperation, Shape, Tenant, full};
use samara_runtime::Workload;

use crate::testing::{http, load, request};

async fn kit(grant: Option<BlobGrant>) -> Arc<Workload> {
    let backend = blob::open("memory:", &Default::default()).await.unwrap();
    let files = blob::Store::new("files", &Tenant::default(), backend).await.unwrap();
    load("wasi_http/wasmcloud-kit", Shape::Http, |definition| {
        definition.stores.blob.insert("files".into(), files);
        definition.grants.blob.extend(grant.map(|grant| ("files".into(), grant)));
    })
    .await
}

async fn send(workload: &Arc<Workload>, method: &str, path: &str, body: &str) -> (u16, String) {
    let response = http(workload, request(method, path, full(body.to_owned()))).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn what_a_guest_wrote_it_reads_and_lists() {
    let kit = kit(Some(BlobGrant::default())).await;
    assert_eq!(send(&kit, "HEAD", "/container/pictures", "").await.0, 404);
    assert_eq!(send(&kit, "PUT", "/container/pictures", "").await.0, 200);
    assert_eq!(send(&kit, "HEAD", "/container/pictures", "").await.0, 200);
    // More than the guest may be ahead of the store.
    let large = "0123456789abcdef".repeat(50_000);
    for (name, body) in [("large", large.as_str()), ("small", "x"), ("empty", "")] {
        assert_eq!(send(&kit, "PUT", &format!("/blob/pictures/{name}"), body).await, (200, String::new()), "{name}");
        let (status, read) = send(&kit, "GET", &format!("/blob/pictures/{name}"), "").await;
        assert_eq!((status, read.len()), (200, body.len()), "{name}");
        assert!(read == body, "{name}");
    }
    let (_, listed) = send(&kit, "GET", "/blob/pictures", "").await;
    let mut names: Vec<_> = listed.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["empty", "large", "small"]);
    assert_eq!(send(&kit, "DELETE", "/blob/pictures/large", "").await.0, 200);
    assert_eq!(send(&kit, "GET", "/blob/pictures/large", "").await.0, 404);
    assert_eq!(send(&kit, "DELETE", "/container/pictures", "").await.0, 200);
    let (status, said) = send(&kit, "GET", "/blob/pictures/small", "").await;
    assert!(status == 502 && said.contains("no container `pictures`"), "{said}");
}

#[tokio::test]
async fn what_is_not_granted_is_denied_and_recorded() {
    let bare = kit(None).await;
    let (status, said) = send(&bare, "PUT", "/container/pictures", "").await;
    assert!(status == 502 && said.contains("denied"), "{said}");
    assert_eq!(bare.authority().denials().len(), 1);
    let reader = kit(Some(BlobGrant { operations: vec![BlobOperation::Read, BlobOperation::List] })).await;
    let (status, said) = send(&reader, "PUT", "/container/pictures", "").await;
    assert!(status == 502 && said.contains("denied"), "{said}");
}
