//! Where a connection may go: the addresses a registry may send us to, and whether a port speaks TLS.
//!
//! A person names a registry, and that host may be anywhere. Every other host is named by an answer, and an answer
//! must not reach into this machine or its network (SSRF): names are resolved here, judged, and exactly the judged
//! addresses are connected to, so a name that changes its mind in between changes nothing.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// What kind of place an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// This machine.
    Loopback,
    /// A private network (RFC 1918, RFC 4193, RFC 6598).
    Private,
    /// Link-local, unspecified, multicast, documentation …: no registry answers there.
    Special,
    /// The internet.
    Global,
}

/// The reach of an address; addresses that embed an IPv4 address count as that.
pub(super) fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            match (a, b, c) {
                (127, ..) => Reach::Loopback,
                (10, ..) | (192, 168, _) | (172, 16..=31, _) | (100, 64..=127, _) => Reach::Private,
                (0, ..) | (169, 254, _) | (192, 0, 0 | 2) | (198, 18..=19, _) | (198, 51, 100) | (203, 0, 113) => {
                    Reach::Special
                }
                (224.., ..) => Reach::Special,
                _ => Reach::Global,
            }
        }
        IpAddr::V6(v6) => match embedded_v4(v6) {
            Some(v4) => reach(v4),
            None if v6.is_loopback() => Reach::Loopback,
            None => match v6.segments()[0] {
                first if first & 0xfe00 == 0xfc00 => Reach::Private,
                // Only 2000::/3 is global unicast; 2001:db8::/32 is documentation.
                first if first & 0xe000 != 0x2000 => Reach::Special,
                0x2001 if v6.segments()[1] == 0xdb8 => Reach::Special,
                _ => Reach::Global,
            },
        },
    }
}

/// IPv4-mapped, NAT64 and 6to4 addresses reach the IPv4 address inside.
fn embedded_v4(v6: Ipv6Addr) -> Option<IpAddr> {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(IpAddr::from([a, b, c, d]))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => None,
    }
}

/// Judges addresses for the connections to one registry.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    /// The host the person named, as it stands in URLs.
    host: String,
    /// What that host's own addresses reach: answers may name its neighbours, and nothing nearer.
    home: Arc<Mutex<BTreeSet<Reach>>>,
}

impl Guard {
    /// A guard for the registry at this host, without port; IPv6 addresses in brackets.
    pub(super) fn of(host: &str) -> Self {
        let home = literal(host).map(reach).into_iter().collect();
        Self { host: host.to_owned(), home: Arc::new(Mutex::new(home)) }
    }

    /// Whether this is the host the person named.
    pub(super) fn is_home(&self, host: &str) -> bool {
        host == self.host
    }

    /// Whether a host that stands in a URL as a number may be connected to. Names are judged when they are resolved.
    pub(super) fn admits_literal(&self, host: &str) -> bool {
        self.is_home(host) || literal(host).is_none_or(|address| self.admits(address))
    }

    fn admits(&self, address: IpAddr) -> bool {
        match reach(address) {
            Reach::Global => true,
            Reach::Special => false,
            near => self.home.lock().unwrap_or_else(PoisonError::into_inner).contains(&near),
        }
    }

    fn judge(&self, host: &str, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, String> {
        if self.is_home(host) {
            let mut addresses = addresses;
            // The name of this machine cannot be moved to another one.
            if host == "localhost" {
                addresses.retain(|address| address.ip().is_loopback());
            }
            let mut home = self.home.lock().unwrap_or_else(PoisonError::into_inner);
            home.extend(addresses.iter().map(|address| reach(address.ip())));
            return Ok(addresses);
        }
        match addresses.iter().find(|address| !self.admits(address.ip())) {
            Some(address) => Err(format!("{host} is {}, an address that no answer may send us to", address.ip())),
            None => Ok(addresses),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<_> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let addresses = guard.judge(&host, found)?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The address that a URL's host is, if it is a number. URLs are read by the `url` crate, which has already turned
/// every spelling of a number into the plain one.
fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// How long a port may take to say something to a TLS greeting.
const PROBE: Duration = Duration::from_secs(2);

/// Whether a port speaks TLS: it is greeted, and answers with a TLS record or not. An error when nothing listens.
pub(super) fn speaks_tls(host: &str, port: u16) -> std::io::Result<bool> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut refused = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PROBE) {
            Ok(stream) => return Ok(greet(stream).unwrap_or(false)),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn greet(mut stream: TcpStream) -> std::io::Result<bool> {
    stream.set_read_timeout(Some(PROBE))?;
    stream.set_write_timeout(Some(PROBE))?;
    stream.write_all(&client_hello())?;
    let mut first = [0];
    stream.read_exact(&mut first)?;
    // ContentType alert(21) or handshake(22), RFC 8446 section 5.1.
    Ok(matches!(first, [21 | 22]))
}

/// A TLS 1.2/1.3 greeting (RFC 8446, section 4.1.2). Its last extension is unknown to TLS and ends in empty lines, so
/// that an HTTP server sees the end of a bad request and answers too.
fn client_hello() -> Vec<u8> {
    fn sized(width: usize, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.len().to_be_bytes()[size_of::<usize>() - width..].to_vec();
        out.extend_from_slice(bytes);
        out
    }
    let extension = |kind: u16, body: &[u8]| [kind.to_be_bytes().to_vec(), sized(2, body)].concat();
    let extensions = [
        extension(0x002b, &sized(1, &[3, 4, 3, 3])),       // supported_versions
        extension(0x000a, &sized(2, &[0, 0x1d, 0, 0x17])), // supported_groups
        extension(0x000d, &sized(2, &[4, 3, 8, 4, 4, 1])), // signature_algorithms
        extension(0x0033, &sized(2, &[])),                 // key_share: ask me again
        extension(0x0a0a, b"\r\n\r\n"),
    ];
    let mut hello = vec![3, 3];
    hello.extend([0x55; 32]);
    hello.extend(sized(1, &[]));
    hello.extend(sized(2, &[0x13, 1, 0x13, 2, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0xc0, 0x30]));
    hello.extend(sized(1, &[0]));
    hello.extend(sized(2, &extensions.concat()));
    let handshake = [vec![1], sized(3, &hello)].concat();
    [vec![22, 3, 1], sized(2, &handshake)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_an_address_reaches() {
        for (address, expected) in [
            ("127.0.0.1", Reach::Loopback),
            ("127.9.9.9", Reach::Loopback),
            ("::1", Reach::Loopback),
            ("::ffff:127.0.0.1", Reach::Loopback),
            ("::127.0.0.1", Reach::Loopback),
            ("64:ff9b::7f00:1", Reach::Loopback),
            ("2002:7f00:1::", Reach::Loopback),
            ("10.1.2.3", Reach::Private),
            ("172.31.0.1", Reach::Private),
            ("172.32.0.1", Reach::Global),
            ("192.168.0.1", Reach::Private),
            ("100.64.0.1", Reach::Private),
            ("fd00::1", Reach::Private),
            ("::ffff:10.0.0.1", Reach::Private),
            ("169.254.169.254", Reach::Special),
            ("::ffff:169.254.169.254", Reach::Special),
            ("0.0.0.0", Reach::Special),
            ("::", Reach::Special),
            ("fe80::1", Reach::Special),
            ("224.0.0.1", Reach::Special),
            ("255.255.255.255", Reach::Special),
            ("ff02::1", Reach::Special),
            ("140.82.121.33", Reach::Global),
            ("2606:50c0:8000::153", Reach::Global),
        ] {
            assert_eq!(reach(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn answers_may_not_name_places_nearer_than_the_registry() {
        let at = |text: &str| vec![SocketAddr::new(text.parse().unwrap(), 443)];
        let public = Guard::of("registry.example");
        assert!(public.judge("registry.example", at("140.82.121.33")).is_ok());
        assert!(public.judge("cdn.example", at("151.101.1.1")).is_ok());
        for near in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1"] {
            assert!(public.judge("cdn.example", at(near)).is_err(), "{near}");
        }
        assert!(!public.admits_literal("169.254.169.254"));
        assert!(!public.admits_literal("[::ffff:7f00:1]"));

        let office = Guard::of("registry.corp");
        assert!(office.judge("blobs.corp", at("10.0.0.6")).is_err(), "before the registry itself was found there");
        assert!(office.judge("registry.corp", at("10.0.0.5")).is_ok());
        assert!(office.judge("blobs.corp", at("10.0.0.6")).is_ok());
        assert!(office.judge("blobs.corp", at("127.0.0.1")).is_err());
        assert!(Guard::of("127.0.0.1").admits_literal("127.0.0.2"));
        let moved = Guard::of("localhost").judge("localhost", at("10.0.0.1")).unwrap();
        assert!(moved.is_empty());
    }
}
