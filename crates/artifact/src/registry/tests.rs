//! The client with names of our own making: what a name server says is judged too, through all that lies between.

use std::{io, net::IpAddr, sync::Arc};

use async_trait::async_trait;
use samara_model::RegistryHost;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{Client, Logins, RegistrySettings, auth::Auth, exchange::Exchange, resolve::Lookup, transport::Transport};
use crate::{Error, Version};

/// What each name leads to.
#[derive(Debug)]
struct Names(&'static [(&'static str, &'static str)]);

#[async_trait]
impl Lookup for Names {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = self.0.iter().filter(|(known, _)| *known == name).map(|(_, address)| address.parse().unwrap());
        Ok(found.collect())
    }
}

/// A server that answers every request with this head.
async fn server(head: impl Fn(u16) -> String + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            drop(socket.read(&mut [0; 4096]).await);
            drop(socket.write_all(format!("HTTP/1.1 {}\r\nContent-Length: 0\r\n\r\n", head(port)).as_bytes()).await);
        }
    });
    port
}

fn client(host: String, names: &'static [(&'static str, &'static str)]) -> Client {
    let insecure = RegistryHost { insecure: true, ..RegistryHost::default() };
    let mut settings = RegistrySettings { logins: Logins::Files(Vec::new()), ..RegistrySettings::default() };
    settings.hosts.insert(host, insecure);
    settings.patience.tries = 1;
    let transport = Transport::resolving_with(settings, Arc::new(Names(names)));
    Client { exchange: Arc::new(Exchange { transport, auth: Auth::default() }) }
}

async fn resolved(host: String, names: &'static [(&'static str, &'static str)]) -> Error {
    let client = client(host.clone(), names);
    let repository = client.repository(&format!("{host}/a:v1").parse().unwrap()).unwrap();
    repository.resolve(&Version::Tag("v1".to_owned())).await.unwrap_err()
}

#[tokio::test]
async fn a_redirect_to_a_name_is_judged_by_the_names_addresses() {
    let port = server(|port| format!("307 Away\r\nLocation: https://storage.test:{port}/x")).await;
    let names = &[("registry.test", "127.0.0.1"), ("storage.test", "10.0.0.1")];
    let error = resolved(format!("registry.test:{port}"), names).await;
    let expected = format!(
        "`https://storage.test:{port}/x` is not asked: `storage.test` is at `10.0.0.1`, an address that is private; if it \
         should, name it in the host file: `[registry.\"storage.test:{port}\"]`"
    );
    assert_eq!(error, Error::Invalid(expected));
}

#[tokio::test]
async fn a_registry_on_this_machine_may_have_its_storage_there() {
    let storage = server(|_| "404 None".to_owned()).await;
    let names = &[("registry.test", "127.0.0.1"), ("storage.test", "127.0.0.1")];
    let port = server(move |_| format!("307 Away\r\nLocation: http://registry.test:{storage}/x")).await;
    let error = resolved(format!("registry.test:{port}"), names).await;
    assert_eq!(error, Error::NotFound(format!("`registry.test:{storage}` has no `a:v1`")));
    // It is asked, and this one does not speak TLS.
    let port = server(move |_| format!("307 Away\r\nLocation: https://storage.test:{storage}/x")).await;
    let error = resolved(format!("registry.test:{port}"), names).await.to_string();
    assert!(error.starts_with(&format!("`storage.test:{storage}` does not speak TLS")), "{error}");
    // Over plain HTTP only if that was allowed for it.
    let port = server(move |_| format!("307 Away\r\nLocation: http://storage.test:{storage}/x")).await;
    let error = resolved(format!("registry.test:{port}"), names).await.to_string();
    assert!(error.contains(&format!("`[registry.\"storage.test:{storage}\"] insecure = true`")), "{error}");
}

#[tokio::test]
async fn a_token_server_is_judged_by_its_addresses_too() {
    let port = server(|_| "401 Who\r\nWWW-Authenticate: Bearer realm=\"https://auth.test/token\"".to_owned()).await;
    let names = &[("registry.test", "127.0.0.1"), ("auth.test", "169.254.169.254")];
    let error = resolved(format!("registry.test:{port}"), names).await.to_string();
    assert!(error.contains("`auth.test` is at `169.254.169.254`, an address that is link-local"), "{error}");
}
