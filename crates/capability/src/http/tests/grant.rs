//! What is not granted does not leave, and no answer of a name server changes that.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{Response, StatusCode};
use samara_model::full;

use super::{
    Egress, EgressError, EgressPolicy, LOOPBACK, Names, Seen, egress, get, grant, policy, send, server::Server, text,
};

async fn hello() -> Server {
    Server::start(async |_| Response::new(full("hello"))).await
}

#[tokio::test]
async fn only_granted_origins_are_reached_and_a_denial_names_the_grant() {
    let server = hello().await;
    let seen = Arc::new(Seen::default());
    let egress = Egress::with_policy(EgressPolicy { recorder: seen.clone(), ..policy(&server.origin()) });

    assert_eq!(text(send(&egress, get(&server.origin())).await.unwrap()).await, "hello");
    assert_eq!(*seen.used.lock(), [server.origin()]);
    let connections = server.connections();

    for uri in [
        "http://127.0.0.1:1/",
        "https://other.test/",
        &server.named("http", "localhost"),
        &server.named("https", "127.0.0.1"),
    ] {
        let error = send(&egress, get(uri)).await.unwrap_err();
        assert_eq!(error.code(), "HTTP-request-denied", "{uri}: {error}");
    }
    assert_eq!(server.connections(), connections);
    let denied = seen.denied.lock().clone();
    assert_eq!(denied.len(), 4);
    assert_eq!(denied[1].what, "request to `https://other.test`");
    assert_eq!(denied[1].grant, "http = [\"https://other.test\"]");
}

#[tokio::test]
async fn addresses_of_this_machine_and_its_networks_need_the_private_grant() {
    let server = hello().await;
    for host in [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.0.0.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "0.0.0.0",
        "[64:ff9b::7f00:1]",
    ] {
        let origin = server.named("http", host);
        let seen = Arc::new(Seen::default());
        let egress = Egress::with_policy(EgressPolicy {
            grant: grant(&[&origin], false),
            recorder: seen.clone(),
            ..policy(&origin)
        });
        let error = send(&egress, get(&origin)).await.unwrap_err();
        assert_eq!(error.code(), "destination-IP-prohibited", "{host}: {error}");
        let denied = seen.denied.lock().clone();
        assert!(denied[0].grant.contains("private = true"), "{denied:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_refused_and_the_log_says_where_it_leads() {
    let server = hello().await;
    let origin = server.named("http", "public.test");
    for address in ["127.0.0.1", "10.1.2.3", "::ffff:127.0.0.1", "fe80::1", "100.64.0.1", "64:ff9b::a00:1"] {
        let answer: IpAddr = address.parse().unwrap();
        let resolver = Names::new(&[&[answer]]);
        let egress = Egress::with_policy(EgressPolicy { grant: grant(&[&origin], false), resolver, ..policy(&origin) });
        let error = send(&egress, get(&origin)).await.unwrap_err();
        assert!(matches!(error, EgressError::AddressProhibited { .. }), "{address}: {error}");
        assert!(error.to_string().contains(&format!("leads to `{answer}`")), "{error}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn the_address_that_was_judged_is_the_one_connected_to() {
    // One port, two addresses: whoever resolves a second time reaches the wrong server.
    let first = Server::start(async |_| Response::new(full("judged"))).await;
    let other = SocketAddr::new("127.0.0.2".parse().unwrap(), first.address.port());
    let second = Server::start_at(other, None, async |_| Response::new(full("rebound"))).await;

    let names = Names::new(&[&[LOOPBACK], &[other.ip()]]);
    let origin = first.named("http", "rebinding.test");
    let egress = Egress::with_policy(EgressPolicy { resolver: names.clone(), ..policy(&origin) });
    assert_eq!(text(send(&egress, get(&origin)).await.unwrap()).await, "judged");
    assert_eq!((names.asked(), second.connections()), (1, 0));
}

#[tokio::test]
async fn every_new_connection_is_judged_anew() {
    let server = hello().await;
    let origin = server.named("http", "changing.test");
    let names = Names::new(&[&["10.0.0.1".parse().unwrap()], &[LOOPBACK]]);
    let egress = Egress::with_policy(EgressPolicy {
        grant: grant(&[&origin], false),
        resolver: names.clone(),
        ..policy(&origin)
    });
    for asked in 1..=3 {
        let error = send(&egress, get(&origin)).await.unwrap_err();
        assert_eq!((error.code(), names.asked()), ("destination-IP-prohibited", asked));
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn the_first_address_that_answers_is_used() {
    let server = hello().await;
    let origin = server.named("http", "several.test");
    let resolver = Names::new(&[&["127.0.0.3".parse().unwrap(), LOOPBACK]]);
    let egress = Egress::with_policy(EgressPolicy { resolver, ..policy(&origin) });
    assert_eq!(text(send(&egress, get(&origin)).await.unwrap()).await, "hello");
}

#[tokio::test]
async fn redirects_are_the_guests_to_follow_so_that_each_is_checked() {
    let secret = hello().await;
    let location = secret.origin();
    let server = Server::start(move |_| {
        let location = location.clone();
        async move { Response::builder().status(StatusCode::FOUND).header("location", location).body(full("")).unwrap() }
    });
    let server = server.await;
    let response = send(&egress(&server.origin()), get(&server.origin())).await.unwrap();
    assert_eq!(
        (response.status(), response.headers()["location"].to_str().unwrap()),
        (StatusCode::FOUND, &*secret.origin())
    );
    assert_eq!(secret.connections(), 0);
}

#[tokio::test]
async fn pools_are_never_shared_between_workloads() {
    let server = hello().await;
    let (one, other) = (egress(&server.origin()), egress(&server.origin()));
    for _ in 0..3 {
        assert_eq!(text(send(&one, get(&server.origin())).await.unwrap()).await, "hello");
    }
    assert_eq!(server.connections(), 1, "one workload's connections are kept");
    assert_eq!(text(send(&other, get(&server.origin())).await.unwrap()).await, "hello");
    assert_eq!(server.connections(), 2);
}
