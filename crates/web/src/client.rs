//! Who is at the other end of the connection, as far as the socket tells.
//!
//! Used by `tries` alone. Behind a proxy all clients look like the proxy; a header
//! that anybody can write is not believed instead.

use std::net::{IpAddr, SocketAddr};

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use tokio::net::TcpListener;

/// The network address of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client(pub IpAddr);

impl Connected<SocketAddr> for Client {
    fn connect_info(address: SocketAddr) -> Self {
        Self(address.ip())
    }
}

impl Connected<IncomingStream<'_, TcpListener>> for Client {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(stream.remote_addr().ip())
    }
}
