//! Versions of Istio, and what changes with them.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::report::escape;

/// A version of Istio: `1.31.0`. What follows the third number is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IstioVersion {
    /// Always 1 so far.
    pub major: u32,
    /// Changes every quarter.
    pub minor: u32,
    /// Changes with every fix.
    pub patch: u32,
}

/// The oldest Istio that works: since 1.29 istiod reads the trust domain of another cluster's workloads from that cluster, and takes
/// the other trust domains from `caCertificates[].trustDomains` (release note `watch-remote-mesh-config`).
pub const OLDEST: IstioVersion = IstioVersion { major: 1, minor: 29, patch: 0 };

/// A text is not a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version such as 1.31.0")]
pub struct IstioVersionError(String);

impl IstioVersion {
    /// Tells whether two versions may work side by side in one mesh: Istio supports one minor version of difference.
    #[must_use]
    pub fn works_with(self, other: Self) -> bool {
        self.major == other.major && self.minor.abs_diff(other.minor) <= 1
    }
}

impl FromStr for IstioVersion {
    type Err = IstioVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || IstioVersionError(escape(&text.chars().take(40).collect::<String>()).into_owned());
        let mut numbers = text.trim().trim_start_matches('v').splitn(3, '.');
        let mut next = || {
            let number = numbers.next()?;
            let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
            number.get(..digits)?.parse().ok()
        };
        let (major, minor) = (next().ok_or_else(wrong)?, next().ok_or_else(wrong)?);
        Ok(Self { major, minor, patch: next().unwrap_or(0) })
    }
}

impl fmt::Display for IstioVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Serialize for IstioVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> IstioVersion {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_read_as_istio_writes_them() {
        assert_eq!(version("1.31.0-lab").to_string(), "1.31.0");
        assert_eq!(version("v1.29.3").to_string(), "1.29.3");
        assert_eq!(version("1.28-alpha.0a1b").to_string(), "1.28.0");
        for text in ["", "latest", "1", "1.x", "\u{1b}[2J"] {
            assert!(text.parse::<IstioVersion>().is_err(), "{text}");
        }
        let error = "\u{1b}[2J".parse::<IstioVersion>().unwrap_err();
        assert_eq!(error.to_string(), r"`\u{1b}[2J` is not a version such as 1.31.0");
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(version("1.30.1").works_with(version("1.31.0")));
        assert!(!version("1.29.1").works_with(version("1.31.0")));
        assert!(version("1.28.9") < OLDEST && version("1.29.0") >= OLDEST);
    }

    #[test]
    fn a_version_of_another_major_number_works_with_none() {
        assert!(!version("2.30.0").works_with(version("1.30.0")));
        assert!(
            version("1.31.0").works_with(version("1.30.9"))
                && version("1.30.0").works_with(version("1.30.1"))
        );
        assert_eq!(serde_json::to_string(&version("1.31.2")).unwrap(), "\"1.31.2\"");
        let long = "x".repeat(100).parse::<IstioVersion>().unwrap_err();
        assert_eq!(long.to_string().matches('x').count(), 40);
    }
}
