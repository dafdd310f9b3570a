//! From where a key may be used.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A block of addresses, written as CIDR (RFC 4632, RFC 4291 section 2.3): `10.0.0.0/8`, `2001:db8::/32`. A single
/// address is a block of one. IPv4 addresses mapped into IPv6 (`::ffff:10.0.0.1`) count as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpRange {
    /// All bits after the prefix are zero.
    network: IpAddr,
    prefix_bits: u32,
}

impl IpRange {
    /// Whether an address belongs to it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.network.is_ipv4() && masked(ip, self.prefix_bits) == self.network
    }
}

impl FromStr for IpRange {
    type Err = IpRangeError;

    fn from_str(text: &str) -> Result<Self, IpRangeError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| IpRangeError::NotAnAddress)?;
        let written_bits = bits_of(written);
        let prefix_bits = match prefix {
            Some(prefix) => read_prefix(prefix, written_bits)?,
            None => written_bits,
        };
        let address = written.to_canonical();
        // Of a mapped address, the first 96 bits say that it is one.
        let bits_min = written_bits - bits_of(address);
        let prefix_bits = prefix_bits
            .checked_sub(bits_min)
            .ok_or(IpRangeError::MappedPrefix { bits_min })?;
        let network = masked(address, prefix_bits);
        let range = Self {
            network,
            prefix_bits,
        };
        if network == address {
            Ok(range)
        } else {
            Err(IpRangeError::HostBits { network: range })
        }
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_bits)
    }
}

/// Why a text is no range of addresses. The words say what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpRangeError {
    /// Neither IPv4 nor IPv6.
    #[error(
        "write an IP address or a block of them, like 203.0.113.7, 10.0.0.0/8 or 2001:db8::/32"
    )]
    NotAnAddress,
    /// What follows the slash is no number of bits.
    #[error("write 0 to {bits_max} behind the slash")]
    NotAPrefix {
        /// Bits of the address.
        bits_max: u32,
    },
    /// A block that is only partly of mapped IPv4 addresses.
    #[error(
        "write {bits_min} or more behind the slash of an IPv4 address in IPv6 form, or use the IPv4 form"
    )]
    MappedPrefix {
        /// Bits that say that it is a mapped address.
        bits_min: u32,
    },
    /// Bits are set behind the prefix: the writer meant another block, or a single address.
    #[error(
        "the block that begins with these bits is {network}: write that, or the address without a slash"
    )]
    HostBits {
        /// The block.
        network: IpRange,
    },
}

fn bits_of(ip: IpAddr) -> u32 {
    match ip {
        IpAddr::V4(_) => Ipv4Addr::BITS,
        IpAddr::V6(_) => Ipv6Addr::BITS,
    }
}

/// Decimal digits without leading zeros.
fn read_prefix(text: &str, bits_max: u32) -> Result<u32, IpRangeError> {
    let is_plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse()
        .ok()
        .filter(|bits| is_plain && *bits <= bits_max)
        .ok_or(IpRangeError::NotAPrefix { bits_max })
}

/// The address with all bits after the first so many cleared.
fn masked(ip: IpAddr, prefix_bits: u32) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let host_bits = Ipv4Addr::BITS.saturating_sub(prefix_bits);
            let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
            Ipv4Addr::from_bits(ip.to_bits() & mask).into()
        }
        IpAddr::V6(ip) => {
            let host_bits = Ipv6Addr::BITS.saturating_sub(prefix_bits);
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(text: &str) -> IpRange {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_holds_exactly_its_block() {
        for (block, inside, outside) in [
            (
                "10.0.0.0/8",
                vec!["10.0.0.0", "10.255.255.255", "::ffff:10.0.0.1"],
                vec!["9.255.255.255", "11.0.0.0", "::a00:1"],
            ),
            (
                "192.0.2.6/31",
                vec!["192.0.2.6", "192.0.2.7"],
                vec!["192.0.2.5", "192.0.2.8"],
            ),
            (
                "203.0.113.7",
                vec!["203.0.113.7"],
                vec!["203.0.113.6", "203.0.113.8"],
            ),
            (
                "0.0.0.0/0",
                vec!["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"],
                vec!["::", "2001:db8::"],
            ),
            (
                "2001:db8::/32",
                vec!["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"],
                vec!["2001:db7:ffff::", "2001:db9::", "32.1.13.184"],
            ),
            (
                "::/0",
                vec!["::1", "ffff::"],
                vec!["1.2.3.4", "::ffff:1.2.3.4"],
            ),
            ("::1", vec!["::1"], vec!["::", "::2"]),
            (
                "::ffff:10.0.0.0/104",
                vec!["10.1.2.3", "::ffff:10.1.2.3"],
                vec!["11.0.0.0"],
            ),
        ] {
            for ip in inside {
                assert!(range(block).contains(ip.parse().unwrap()), "{ip} {block}");
            }
            for ip in outside {
                assert!(!range(block).contains(ip.parse().unwrap()), "{ip} {block}");
            }
        }
    }

    #[test]
    fn a_range_is_written_in_one_way() {
        for (text, written) in [
            ("203.0.113.7", "203.0.113.7/32"),
            ("2001:DB8:0::/32", "2001:db8::/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
        ] {
            assert_eq!(range(text).to_string(), written);
        }
    }

    #[test]
    fn what_is_no_range_is_told_what_to_write() {
        use IpRangeError::{HostBits, MappedPrefix, NotAPrefix, NotAnAddress};
        for (text, error) in [
            ("", NotAnAddress),
            ("/8", NotAnAddress),
            ("localhost", NotAnAddress),
            ("10.0.0", NotAnAddress),
            ("010.0.0.0/8", NotAnAddress),
            ("256.0.0.0/8", NotAnAddress),
            (" 10.0.0.0/8", NotAnAddress),
            ("10.0.0.0-10.0.0.9", NotAnAddress),
            ("fe80::1%eth0", NotAnAddress),
            ("[::1]", NotAnAddress),
            ("10.0.0.1:80", NotAnAddress),
            ("10.0.0.0/", NotAPrefix { bits_max: 32 }),
            ("10.0.0.0/33", NotAPrefix { bits_max: 32 }),
            ("10.0.0.0/-1", NotAPrefix { bits_max: 32 }),
            ("10.0.0.0/+8", NotAPrefix { bits_max: 32 }),
            ("10.0.0.0/08", NotAPrefix { bits_max: 32 }),
            ("10.0.0.0/255.0.0.0", NotAPrefix { bits_max: 32 }),
            ("10.0.0.0/8/8", NotAPrefix { bits_max: 32 }),
            ("10.0.0.0/８", NotAPrefix { bits_max: 32 }),
            ("10.0.0.0/4294967304", NotAPrefix { bits_max: 32 }),
            ("::/129", NotAPrefix { bits_max: 128 }),
            ("::ffff:10.0.0.0/8", MappedPrefix { bits_min: 96 }),
            (
                "10.0.0.1/8",
                HostBits {
                    network: range("10.0.0.0/8"),
                },
            ),
            (
                "2001:db8::1/32",
                HostBits {
                    network: range("2001:db8::/32"),
                },
            ),
        ] {
            assert_eq!(text.parse::<IpRange>(), Err(error), "{text}");
        }
        let told = "10.0.0.1/8".parse::<IpRange>().unwrap_err().to_string();
        assert!(told.contains("10.0.0.0/8"), "{told}");
    }

    proptest! {
        #[test]
        fn what_was_written_reads_back(address: IpAddr, bits in 0..=128u32) {
            let address = address.to_canonical();
            let prefix_bits = bits.min(bits_of(address));
            let block = IpRange { network: masked(address, prefix_bits), prefix_bits };
            prop_assume!(block.network.to_canonical() == block.network);
            prop_assert_eq!(block.to_string().parse(), Ok(block));
            prop_assert!(block.contains(address));
        }

        #[test]
        fn an_address_is_inside_exactly_when_it_begins_with_the_same_bits(
            network: u32, flipped_bit in 0..=32u32, prefix_bits in 0..=32u32,
        ) {
            let ip = network ^ 0x8000_0000u32.checked_shr(flipped_bit).unwrap_or(0);
            let block = IpRange { network: masked(Ipv4Addr::from_bits(network).into(), prefix_bits), prefix_bits };
            let is_inside = flipped_bit >= prefix_bits;
            prop_assert_eq!(block.contains(Ipv4Addr::from_bits(ip).into()), is_inside);
            prop_assert_eq!(block.contains(Ipv4Addr::from_bits(ip).to_ipv6_mapped().into()), is_inside);
        }

        #[test]
        fn no_text_is_too_strange(text in "[0-9a-f:./%x ]{0,40}|\\PC{0,20}") {
            if let Ok(block) = text.parse::<IpRange>() {
                prop_assert_eq!(block.to_string().parse(), Ok(block));
            }
        }
    }
}
