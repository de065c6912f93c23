//! IPv4 ranges.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::error::Error;

/// An IPv4 range such as `10.2.0.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    first: Ipv4Addr,
    length: u8,
}

impl Cidr {
    /// The range of `length` bits that holds `address`.
    #[must_use]
    pub fn new(address: Ipv4Addr, length: u8) -> Self {
        let length = length.min(32);
        Self { first: Ipv4Addr::from_bits(address.to_bits() & mask(length)), length }
    }

    /// Length of the prefix.
    #[must_use]
    pub fn length(self) -> u8 {
        self.length
    }

    /// The address at an offset from the start of the range.
    #[must_use]
    pub fn address(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first.to_bits() + offset)
    }

    /// Whether an address is in the range.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        Self::new(address, self.length) == self
    }

    /// Whether two ranges have an address in common.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let shorter = self.length.min(other.length);
        Self::new(self.first, shorter) == Self::new(other.first, shorter)
    }
}

fn mask(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}

impl FromStr for Cidr {
    type Err = Error;

    /// Reads `10.2.0.0/24`, and `10.2.0.1` as a range of one.
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid =
            |why: &str| Error::Invalid { what: "address range", value: text.to_owned(), why: why.to_owned() };
        let (address, length) = text.split_once('/').unwrap_or((text, "32"));
        let address = address.parse().map_err(|_| invalid("not an IPv4 address"))?;
        let length =
            length.parse().ok().filter(|bits| *bits <= 32).ok_or_else(|| invalid("the length is 0 to 32"))?;
        Ok(Self::new(address, length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().expect("a range")
    }

    #[test]
    fn a_range_starts_at_its_first_address() {
        assert_eq!(cidr("10.2.0.17/24").to_string(), "10.2.0.0/24");
        assert_eq!(cidr("10.2.0.17").to_string(), "10.2.0.17/32");
        assert_eq!(cidr("10.2.0.17/0").to_string(), "0.0.0.0/0");
    }

    #[test]
    fn ranges_overlap_when_one_holds_the_other() {
        assert!(cidr("10.0.0.0/8").overlaps(cidr("10.2.0.0/24")));
        assert!(cidr("10.2.0.0/24").overlaps(cidr("10.0.0.0/8")));
        assert!(!cidr("10.2.0.0/24").overlaps(cidr("10.3.0.0/24")));
        assert!(cidr("10.2.0.0/24").contains(Ipv4Addr::new(10, 2, 0, 255)));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        assert_eq!(
            "10.2.0.0/33".parse::<Cidr>().expect_err("too long").to_string(),
            "address range \"10.2.0.0/33\": the length is 0 to 32"
        );
    }
}
