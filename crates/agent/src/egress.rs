//! Which addresses an agent may connect to.
//!
//! The URLs come from whoever may create subscriptions, the network belongs to whoever runs the agent: so the rules
//! are the agent's own and nothing that comes over the stream can widen them. They look at addresses, not at names:
//! a name can be pointed anywhere, between two look-ups too. They are applied to each address before connecting and
//! to the peer of the connection once more.
//!
//! | addresses | allowed |
//! |---|---|
//! | cloud metadata, link-local, unspecified, multicast, broadcast, reserved, Teredo | never |
//! | loopback | with `egress.allow_loopback` |
//! | private (RFC 1918, shared CGNAT, unique local, site-local, benchmarking) | with `egress.allow_private` |
//! | IPv6 forms that carry an IPv4 address (mapped, translated, compatible, NAT64, 6to4) | as the address inside |
//! | NAT64 for local use (RFC 8215) | as private, or as the address inside if that is stricter |
//! | everything else | yes |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the local configuration allows beyond public addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Egress {
    /// Private networks.
    pub allow_private: bool,
    /// This machine.
    pub allow_loopback: bool,
}

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A cloud's metadata or platform service: whoever reaches it may become the machine.
    #[error("{0} is a cloud metadata address; these are always refused")]
    Metadata(IpAddr),
    /// Reaches only the neighbours on the wire, metadata services among them.
    #[error("{0} is a link-local address; these are always refused")]
    LinkLocal(IpAddr),
    /// Not the address of one machine.
    #[error("{0} is not the address of a receiver")]
    NotUnicast(IpAddr),
    /// A private network, not allowed here.
    #[error("{0} is a private address; the agent's egress.allow_private does not allow these")]
    Private(IpAddr),
    /// This machine, not allowed here.
    #[error("{0} is a loopback address; the agent's egress.allow_loopback does not allow these")]
    Loopback(IpAddr),
}

/// What kind of address it is, the stricter the later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Public,
    Private,
    Loopback,
    NotUnicast,
    LinkLocal,
    Metadata,
}

impl Egress {
    /// Whether the agent may connect to `address`.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn check(self, address: IpAddr) -> Result<(), Refusal> {
        match kind(address) {
            Kind::Public => Ok(()),
            Kind::Private if self.allow_private => Ok(()),
            Kind::Loopback if self.allow_loopback => Ok(()),
            Kind::Private => Err(Refusal::Private(address)),
            Kind::Loopback => Err(Refusal::Loopback(address)),
            Kind::LinkLocal => Err(Refusal::LinkLocal(address)),
            Kind::Metadata => Err(Refusal::Metadata(address)),
            Kind::NotUnicast => Err(Refusal::NotUnicast(address)),
        }
    }
}

fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(v4) => kind_v4(v4),
        IpAddr::V6(v6) => carried_v4(v6).map_or_else(|| kind_v6(v6), kind_v4),
    }
}

fn kind_v4(address: Ipv4Addr) -> Kind {
    match address.octets() {
        // Alibaba's, Oracle's and Azure's; Amazon's and most others are link-local.
        [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16] | [169, 254, 169, 254] => {
            Kind::Metadata
        }
        [169, 254, ..] => Kind::LinkLocal,
        [127, ..] => Kind::Loopback,
        [0, ..] | [192, 0, 0, _] | [224..=255, ..] => Kind::NotUnicast,
        [10, ..]
        | [172, 16..=31, ..]
        | [192, 168, ..]
        | [100, 64..=127, ..]
        | [198, 18..=19, ..] => Kind::Private,
        _ => Kind::Public,
    }
}

fn kind_v6(address: Ipv6Addr) -> Kind {
    // Google's. Amazon's have a range of their own, for Kubernetes' identities too.
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);
    if address == METADATA {
        return Kind::Metadata;
    }
    if address.is_loopback() {
        return Kind::Loopback;
    }
    match address.segments() {
        [0xfd00, 0xec2, ..] => Kind::Metadata,
        [0xfe80..=0xfebf, ..] => Kind::LinkLocal,
        [0x64, 0xff9b, 1, ..] => kind_nat64_local(address),
        // Unique local, and the former site-local.
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Kind::Private,
        // Multicast, unspecified, discard-only, Teredo (the address inside is the far end's NAT).
        [0xff00..=0xffff, ..]
        | [0, 0, 0, 0, 0, 0, 0, 0]
        | [0x100, 0, 0, 0, ..]
        | [0x2001, 0, ..] => Kind::NotUnicast,
        _ => Kind::Public,
    }
}

/// NAT64 for local use leads anywhere inside. How long the network's prefix is cannot be seen, so the IPv4 address is
/// looked for in each of the four places where RFC 6052 may put it. In three of them stands something else, which
/// mostly is no address at all: what is none there says nothing.
fn kind_nat64_local(address: Ipv6Addr) -> Kind {
    let octets = address.octets();
    let places = [
        [6, 7, 9, 10],
        [7, 9, 10, 11],
        [9, 10, 11, 12],
        [12, 13, 14, 15],
    ];
    let inside =
        places.map(|place| kind_v4(Ipv4Addr::from(place.map(|index: usize| octets[index]))));
    let kinds = inside.into_iter().filter(|kind| *kind != Kind::NotUnicast);
    kinds.fold(Kind::Private, Kind::max)
}

/// The IPv4 address that packets to `address` end up at, if its form carries one.
fn carried_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // Mapped, compatible; translated (RFC 2765); NAT64.
        [0, 0, 0, 0, 0, 0xffff | 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: Egress = Egress {
        allow_private: false,
        allow_loopback: false,
    };
    const OPEN: Egress = Egress {
        allow_private: true,
        allow_loopback: true,
    };

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn public_addresses_are_always_allowed() {
        for text in [
            "1.1.1.1",
            "93.184.216.34",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "64:ff9b::8.8.8.8",
            "2002:0808:0808::1",
            "::ffff:8.8.8.8",
            "::ffff:0:8.8.8.8",
        ] {
            assert_eq!(CLOSED.check(ip(text)), Ok(()), "{text}");
        }
    }

    #[test]
    fn some_addresses_are_refused_whatever_the_configuration_says() {
        for text in [
            "169.254.169.254",
            "169.254.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "0.0.0.0",
            "0.1.2.3",
            "192.0.0.8",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd00:ec2::253",
            "fd00:ec2:ffff::1",
            "fd20:ce::254",
            "100::1",
            "2001:0:4136:e378::1",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b::100.100.100.200",
            "2002:a9fe:a9fe::1",
            "::ffff:0:169.254.169.254",
            "::ffff:0:0.0.0.0",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:a9:fe:a9fe::",
            "64:ff9b:1:2:a9:fea9:fe00:0",
            "64:ff9b:1:6464:64:c800::",
            "64:ff9b:1:1234:64:6464:c800:0",
        ] {
            assert!(OPEN.check(ip(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn private_addresses_need_their_permission_in_every_form() {
        for text in [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "198.18.0.1",
            "fc00::1",
            "fd12:3456::1",
            "fec0::1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::10.0.0.1",
            "64:ff9b:1::8.8.8.8",
            "64:ff9b:1:fffe::8.8.8.8",
            "64:ff9b:1:1234:8:808:800:0",
            "::ffff:0:10.0.0.1",
            "2002:0a00:0001::1",
        ] {
            assert_eq!(
                CLOSED.check(ip(text)),
                Err(Refusal::Private(ip(text))),
                "{text}"
            );
            let only_loopback = Egress {
                allow_loopback: true,
                ..CLOSED
            };
            assert!(only_loopback.check(ip(text)).is_err(), "{text}");
            assert_eq!(OPEN.check(ip(text)), Ok(()), "{text}");
        }
    }

    #[test]
    fn loopback_needs_its_own_permission() {
        for text in [
            "127.0.0.1",
            "127.255.255.254",
            "::1",
            "::ffff:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b:1::127.0.0.1",
            "::ffff:0:127.0.0.1",
        ] {
            let only_private = Egress {
                allow_private: true,
                ..CLOSED
            };
            assert_eq!(
                only_private.check(ip(text)),
                Err(Refusal::Loopback(ip(text))),
                "{text}"
            );
            assert_eq!(OPEN.check(ip(text)), Ok(()), "{text}");
        }
    }
}
