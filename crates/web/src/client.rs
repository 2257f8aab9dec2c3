//! Who is at the other end of the connection, as far as the socket tells.
//!
//! Whoever serves the router puts it into each request's extensions; used by `tries`
//! alone. Behind a proxy all clients look like the proxy; a header that anybody can
//! write is not believed instead.

use std::net::IpAddr;

/// The network address of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client(pub IpAddr);
