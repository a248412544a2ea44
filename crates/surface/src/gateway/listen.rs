//! The sockets: one port, one listener a thread, and a clear word when the port is taken.

use std::{io, net::SocketAddr};

use anyhow::Context as _;
use tokio::net::TcpSocket;

/// Connections the kernel holds for a listener that is busy.
const BACKLOG: u32 = 1024;

/// `count` listeners on one address, among which the kernel spreads connections. Port 0 picks one port for all.
///
/// # Errors
/// The address is taken or cannot be used; the message names it and `option`.
pub(crate) fn listeners(address: SocketAddr, count: usize, option: &str) -> anyhow::Result<Vec<std::net::TcpListener>> {
    // The first is bound without SO_REUSEPORT: with it, another process of ours on the port would go unnoticed and take
    // a share of the connections. It joins the group afterwards.
    let first = socket(address)?;
    first.bind(address).map_err(|error| explain(error, address, option))?;
    let address = first.local_addr().context("while reading a listener's address")?;
    first.set_reuseport(true).context("while sharing a port among threads")?;
    let mut sockets = vec![first];
    for _ in 1..count.max(1) {
        let next = socket(address)?;
        next.set_reuseport(true).context("while sharing a port among threads")?;
        next.bind(address).map_err(|error| explain(error, address, option))?;
        sockets.push(next);
    }
    sockets.into_iter().map(|socket| listen(socket, address, option)).collect()
}

fn socket(address: SocketAddr) -> anyhow::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.with_context(|| format!("while making a socket for `{address}`"))?;
    // Connections of a predecessor that are in TIME_WAIT do not keep us from its port.
    socket.set_reuseaddr(true).context("while setting SO_REUSEADDR")?;
    Ok(socket)
}

fn listen(socket: TcpSocket, address: SocketAddr, option: &str) -> anyhow::Result<std::net::TcpListener> {
    let listener = socket.listen(BACKLOG).map_err(|error| explain(error, address, option))?;
    listener.into_std().with_context(|| format!("while listening on `{address}`"))
}

fn explain(error: io::Error, address: SocketAddr, option: &str) -> anyhow::Error {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "`{address}` is in use; stop what listens there, or choose another with `{option} {}:0`",
            address.ip()
        ),
        io::ErrorKind::AddrNotAvailable => {
            anyhow::anyhow!(
                "`{address}` is not an address of this machine; choose one with `{option} 127.0.0.1:{port}`"
            )
        }
        io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("port {port} needs privileges; choose one over 1023 with `{option} {}:8080`", address.ip())
        }
        _ => anyhow::Error::new(error).context(format!("while listening on `{address}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[tokio::test]
    async fn port_0_picks_one_port_for_all_listeners() {
        let listeners = listeners(ANY, 3, "--listen").unwrap();
        let ports: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        assert!(ports.len() == 3 && ports.iter().all(|port| *port == ports[0] && *port != 0), "{ports:?}");
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_the_option_even_when_its_owner_shares_it() {
        let taken = listeners(ANY, 2, "--listen").unwrap();
        let address = taken[0].local_addr().unwrap();
        let error = listeners(address, 2, "--listen").unwrap_err().to_string();
        assert!(error.contains(&format!("`{address}` is in use")) && error.contains("--listen"), "{error}");
    }

    #[tokio::test]
    async fn an_address_that_is_not_ours_is_named() {
        let error = listeners("192.0.2.1:1".parse().unwrap(), 1, "--admin").unwrap_err().to_string();
        assert!(error.contains("`192.0.2.1:1` is not an address of this machine"), "{error}");
    }
}
