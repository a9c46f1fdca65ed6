//! The network that an address is in: what is counted, limited and logged instead of the address itself.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first bits of an address; the rest are zero. IPv4 in IPv6 counts as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// An organisation, as far as an address tells: IPv4 /24, IPv6 /48. For limits on guesses and for log lines.
    pub fn of(address: IpAddr) -> Self {
        Self::first(address, 24, 48)
    }

    /// One subscriber: IPv4 /32, IPv6 /64, since whoever has one IPv6 address has all of its /64.
    pub fn subscriber(address: IpAddr) -> Self {
        Self::first(address, 32, 64)
    }

    fn first(address: IpAddr, v4_bits: u8, v6_bits: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(u32::from(32 - v4_bits)).unwrap_or(0);
                Self {
                    address: IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask)),
                    bits: v4_bits,
                }
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(u32::from(128 - v6_bits)).unwrap_or(0);
                Self {
                    address: IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask)),
                    bits: v6_bits,
                }
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_count_as_one() {
        for (address, organisation, subscriber) in [
            ("192.0.2.77", "192.0.2.0/24", "192.0.2.77/32"),
            ("::ffff:192.0.2.77", "192.0.2.0/24", "192.0.2.77/32"),
            (
                "2001:db8:1:2:3:4:5:6",
                "2001:db8:1::/48",
                "2001:db8:1:2::/64",
            ),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(Network::of(address).to_string(), organisation);
            assert_eq!(Network::subscriber(address).to_string(), subscriber);
        }
    }
}
