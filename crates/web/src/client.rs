//! Who is at the other end, for `tries` alone.
//!
//! The socket tells it, unless the other end is a trusted proxy: then the last address
//! in `X-Forwarded-For` that is no trusted proxy itself is the client. What stands left
//! of it, anybody can have written.
//! <https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/X-Forwarded-For>

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;

const X_FORWARDED_FOR: &str = "x-forwarded-for";
/// A customer of a provider has all addresses of an IPv6 network of this many bits.
const OF_ONE_CUSTOMER: u32 = 64;

/// The other end of a connection, as the socket tells. Whoever serves the router puts it
/// into each request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// The addresses of proxies: one address, or a network like `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: u128,
    mask: u128,
}

/// A text names no network.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is neither an IP address nor a network like 10.0.0.0/8 or 2001:db8::/32")]
pub struct NoNetwork(String);

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let wrong = || NoNetwork(text.to_owned());
        let (address, bits) = text.split_once('/').map_or((text, None), |(head, bits)| (head, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits: u32 = bits.map_or(Ok(width), str::parse).map_err(|_| wrong())?;
        // Counted from the right, IPv4 lies in IPv6 as it is.
        let free = width.checked_sub(bits).ok_or_else(wrong)?;
        let mask = u128::MAX.checked_shl(free).unwrap_or(0);
        Ok(Self { address: number(address) & mask, mask })
    }
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        number(address) & self.mask == self.address
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Somebody who asks: an IPv4 address, or the network of an IPv6 customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Client(IpAddr);

impl Client {
    /// Finds who asks, past the proxies that are `trusted`.
    pub(crate) fn find(peer: Peer, headers: &HeaderMap, trusted: &[Network]) -> Self {
        let hops = headers.get_all(X_FORWARDED_FOR).iter();
        let hops: Vec<&str> = hops.flat_map(|hops| hops.to_str().unwrap_or_default().split(',')).collect();
        let mut last = peer.0;
        for hop in hops.into_iter().rev() {
            if !trusted.iter().any(|network| network.contains(last)) {
                break;
            }
            // A proxy that names nobody is the client.
            let Some(address) = address(hop.trim()) else { break };
            last = address;
        }
        Self::of(last)
    }

    fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let mask = u128::MAX << (u128::BITS - OF_ONE_CUSTOMER);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
            address => address,
        })
    }
}

/// Some proxies write the port too.
fn address(hop: &str) -> Option<IpAddr> {
    let bare = hop.trim_start_matches('[').trim_end_matches(']');
    bare.parse().or_else(|_| hop.parse().map(|socket: SocketAddr| socket.ip())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn found(peer: &str, hops: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for hop in hops {
            headers.append(X_FORWARDED_FOR, hop.parse().unwrap());
        }
        Client::find(Peer(peer.parse().unwrap()), &headers, &networks(trusted)).0.to_string()
    }

    #[test]
    fn nobody_who_is_no_trusted_proxy_can_name_another_client() {
        assert_eq!(found("198.51.100.7", &["203.0.113.1"], &[]), "198.51.100.7");
        assert_eq!(found("198.51.100.7", &["203.0.113.1"], &["10.0.0.0/8"]), "198.51.100.7");
    }

    #[test]
    fn behind_trusted_proxies_the_last_address_that_is_none_of_them_is_the_client() {
        let trusted = ["10.0.0.0/8", "2001:db8:1::/48", "192.0.2.1"];
        let forged = "1.1.1.1, 203.0.113.1";
        assert_eq!(found("10.9.8.7", &[forged], &trusted), "203.0.113.1");
        assert_eq!(found("::ffff:10.9.8.7", &[forged, "192.0.2.1,10.1.1.1"], &trusted), "203.0.113.1");
        assert_eq!(found("2001:db8:1::5", &["203.0.113.1:4711"], &trusted), "203.0.113.1");
        assert_eq!(found("192.0.2.2", &[forged], &trusted), "192.0.2.2", "one address is not its neighbours");
    }

    #[test]
    fn a_proxy_that_names_nobody_is_the_client_itself() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(found("10.0.0.1", &[], &trusted), "10.0.0.1");
        assert_eq!(found("10.0.0.1", &["203.0.113.1, unknown"], &trusted), "10.0.0.1");
        assert_eq!(found("10.0.0.1", &["10.0.0.3, 10.0.0.2"], &trusted), "10.0.0.3");
    }

    #[test]
    fn all_ipv6_addresses_of_a_customer_are_one_client() {
        let one = found("2001:db8:5:6::1", &[], &[]);
        assert_eq!(one, found("2001:db8:5:6:ffff:ffff:ffff:ffff", &[], &[]));
        assert_ne!(one, found("2001:db8:5:7::1", &[], &[]));
        assert_eq!(found("10.0.0.1", &["[2001:db8:5:6::9]:443"], &["10.0.0.1"]), one);
        assert_eq!(found("::ffff:198.51.100.7", &[], &[]), "198.51.100.7");
    }

    #[test]
    fn what_is_no_network_is_refused_by_name() {
        for text in ["", "proxy", "10.0.0/8", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1"] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains(&format!("\"{text}\"")), "{error}");
        }
        let all = networks(&["0.0.0.0/0", "::/0"]);
        assert!(
            all[0].contains("203.0.113.1".parse().unwrap())
                && !all[0].contains("2001:db8::1".parse().unwrap())
        );
        assert!(all[1].contains("2001:db8::1".parse().unwrap()));
    }
}
