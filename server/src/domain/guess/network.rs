//! The network of a caller: what one attacker gets many addresses from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A /24 of IPv4 or a /48 of IPv6. An IPv4 address written in IPv6 counts as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Network {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl Network {
    pub(crate) fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(Ipv4Addr::from_bits(ip.to_bits() & V4_MASK)),
            IpAddr::V6(ip) => Self::V6(Ipv6Addr::from_bits(ip.to_bits() & V6_MASK)),
        }
    }
}

const V4_MASK: u32 = !0xff;
const V6_MASK: u128 = !(u128::MAX >> 48);
