use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

use super::inspected::Inspected;
use crate::trust::svid::Certificate;

/// When a certificate is about to expire: with less than this left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// Hundredths of its whole life.
    Percent(u8),
    /// This long.
    Time(Duration),
}

/// Why a text is no threshold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; write it as 20% or 2h")]
pub struct ThresholdError(String);

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        if let Some(percent) = text.strip_suffix('%') {
            return match percent.parse() {
                Ok(percent @ 0..=100) => Ok(Self::Percent(percent)),
                _ => Err(ThresholdError("a share is between 0% and 100%".to_owned())),
            };
        }
        let time = humantime::parse_duration(text).map_err(|error| ThresholdError(error.to_string()))?;
        Ok(Self::Time(time))
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Time(time) => write!(f, "{}", humantime::format_duration(*time)),
        }
    }
}

impl Threshold {
    /// Tells whether less than this is left of a certificate at a time.
    #[must_use]
    pub fn is_passed_by(self, certificate: &Certificate, at: Timestamp) -> bool {
        let left = remaining(certificate, at);
        match self {
            Self::Percent(percent) => left.percent < percent,
            Self::Time(time) => left.seconds < i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        }
    }

    /// Returns the first certificate of a path of which less than this is left at a time.
    #[must_use]
    pub fn passed_in(self, inspected: &Inspected, at: Timestamp) -> Option<&Certificate> {
        inspected.path().find(|certificate| self.is_passed_by(certificate, at))
    }
}

/// What is left of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// Seconds; negative when it has ended.
    pub seconds: i64,
    /// Hundredths of its whole life, rounded down.
    pub percent: u8,
}

/// Returns what is left of a certificate at a time.
#[must_use]
pub fn remaining(certificate: &Certificate, at: Timestamp) -> Remaining {
    let seconds = certificate.not_after.as_second().saturating_sub(at.as_second());
    let whole = certificate.not_after.as_second().saturating_sub(certificate.not_before.as_second());
    let share = if whole <= 0 { 0 } else { i128::from(seconds) * 100 / i128::from(whole) };
    Remaining { seconds, percent: u8::try_from(share.clamp(0, 100)).unwrap_or(100) }
}

impl fmt::Display for Remaining {
    /// Writes the two largest units: `6d 23h left (99%)`, `ended 5m 2s ago`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = short(self.seconds.unsigned_abs());
        if self.seconds < 0 {
            write!(f, "ended {time} ago")
        } else {
            write!(f, "{time} left ({}%)", self.percent)
        }
    }
}

/// Writes seconds in their two largest units.
fn short(seconds: u64) -> String {
    let units = [(365 * 86_400, "y"), (86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let parts = units[first..].iter().take(2).filter_map(|(size, name)| {
        let count = rest / size;
        rest %= size;
        (count > 0 || *size == 1 && seconds == 0).then(|| format!("{count}{name}"))
    });
    parts.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::Issuer;
    use crate::trustchain::judge::tests::ca;
    use crate::trustchain::{AuthorityFound, Listed, Origin, Standing, Subject, Verdict};

    /// A certificate of these moments in November 2026.
    fn certificate(from: &str, to: &str) -> Certificate {
        let mut certificate = Certificate::from_der(ca(&[]).der().to_vec()).unwrap();
        let moment = |text: &str| format!("2026-11-{text}Z").parse().unwrap();
        (certificate.not_before, certificate.not_after) = (moment(from), moment(to));
        certificate
    }

    /// Something inspected whose path ends at these moments; the last is the authority's.
    fn path(ends: [&str; 3]) -> Inspected {
        let [leaf, intermediate, authority] = ends.map(|end| Listed(certificate("01T00:00:00", end)));
        Inspected {
            subject: Subject::default(),
            identity: None,
            issued_by: Issuer::Unknown,
            chain: vec![leaf, intermediate],
            authority: Some(AuthorityFound { certificate: authority, origin: Origin::Unknown }),
            trust_bundles: Vec::new(),
            verdict: Verdict { status: Standing::Good, reasons: Vec::new() },
        }
    }

    #[test]
    fn a_threshold_is_passed_when_less_is_left_and_not_when_it_is_left_exactly() {
        // Ten days, so that a tenth is one.
        let certificate = certificate("01T00:00:00", "11T00:00:00");
        let passed = |threshold: &str, at: &str| {
            let threshold: Threshold = threshold.parse().unwrap();
            threshold.is_passed_by(&certificate, format!("2026-11-{at}Z").parse().unwrap())
        };
        assert!(!passed("20%", "08T00:00:00") && !passed("20%", "09T00:00:00"));
        assert!(passed("20%", "09T00:00:01") && passed("20%", "12T00:00:00"));
        assert!(!passed("0%", "10T23:59:59") && !passed("0%", "12T00:00:00"));
        assert!(!passed("100%", "01T00:00:00") && passed("100%", "01T00:00:01"));
        assert!(!passed("2h", "10T21:00:00") && !passed("2h", "10T22:00:00"));
        assert!(passed("2h", "10T22:00:01") && passed("2h", "12T00:00:00"));
        assert_eq!(["20%", "2h"].map(|text| text.parse::<Threshold>().unwrap().to_string()), ["20%", "2h"]);
    }

    #[test]
    fn what_is_left_is_a_share_of_the_whole_life() {
        let left = |from, to, at: &str| {
            let left = remaining(&certificate(from, to), format!("2026-11-{at}Z").parse().unwrap());
            (left.seconds, left.percent)
        };
        assert_eq!(left("01T00:00:00", "11T00:00:00", "03T12:00:00"), (648_000, 75));
        assert_eq!(left("01T00:00:00", "11T00:00:00", "03T12:00:01"), (647_999, 74));
        assert_eq!(left("03T00:00:00", "11T00:00:00", "01T00:00:00"), (864_000, 100));
        assert_eq!(left("01T00:00:00", "11T00:00:00", "11T00:00:05"), (-5, 0));
        // A life of nothing, and one that ends before it begins.
        assert_eq!(left("11T00:00:00", "11T00:00:00", "10T23:59:59"), (1, 0));
        assert_eq!(left("12T00:00:00", "11T00:00:00", "10T23:59:59"), (1, 0));
    }

    #[test]
    fn the_first_certificate_of_a_path_that_is_about_to_end_counts_wherever_it_stands() {
        let (soon, late) = ("10T00:00:00", "28T00:00:00");
        let at = "2026-11-09T23:00:00Z".parse().unwrap();
        let threshold: Threshold = "2h".parse().unwrap();
        let passed = |ends| {
            let inspected = path(ends);
            let found = threshold.passed_in(&inspected, at).map(|found| found.sha256);
            let place = inspected.path().position(|certificate| Some(certificate.sha256) == found);
            assert_eq!(place.is_some(), found.is_some());
            (place, inspected.expires().map(|end| end.to_string()))
        };
        let ends = |text: &str| Some(format!("2026-11-{text}Z"));
        assert_eq!(passed([late, late, late]), (None, ends(late)));
        assert_eq!(passed([soon, late, late]), (Some(0), ends(soon)));
        assert_eq!(passed([late, soon, late]), (Some(1), ends(soon)));
        assert_eq!(passed([late, late, soon]), (Some(2), ends(soon)));
        assert_eq!(passed([late, soon, soon]), (Some(1), ends(soon)));
    }

    #[test]
    fn a_threshold_is_a_share_or_a_time() {
        assert_eq!("20%".parse(), Ok(Threshold::Percent(20)));
        assert_eq!("2h".parse(), Ok(Threshold::Time(Duration::from_hours(2))));
        for wrong in ["101%", "-1%", "", "2", "soon", "%"] {
            assert!(wrong.parse::<Threshold>().is_err(), "{wrong}");
        }
        insta::assert_snapshot!("150%".parse::<Threshold>().unwrap_err(), @"a share is between 0% and 100%; write it as 20% or 2h");
    }

    #[test]
    fn what_is_left_is_said_in_two_units() {
        let said = |seconds, percent| Remaining { seconds, percent }.to_string();
        assert_eq!(said(604_740, 99), "6d 23h left (99%)");
        assert_eq!(said(3_600, 50), "1h left (50%)");
        assert_eq!(said(60, 2), "1m left (2%)");
        assert_eq!(said(86_400, 2), "1d left (2%)");
        assert_eq!(said(86_399, 2), "23h 59m left (2%)");
        assert_eq!(said(365 * 86_400, 2), "1y left (2%)");
        assert_eq!(
            said(86_401, 2),
            "1d left (2%)",
            "the second unit is the next, not the next that is there"
        );
        assert_eq!(said(-1, 0), "ended 1s ago");
        assert_eq!(said(59, 1), "59s left (1%)");
        assert_eq!(said(0, 0), "0s left (0%)");
        assert_eq!(said(-302, 0), "ended 5m 2s ago");
        assert_eq!(said(251_000_000_000, 100), "7959y 57d left (100%)");
    }
}
