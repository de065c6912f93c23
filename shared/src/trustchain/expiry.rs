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
        assert_eq!(said(59, 1), "59s left (1%)");
        assert_eq!(said(0, 0), "0s left (0%)");
        assert_eq!(said(-302, 0), "ended 5m 2s ago");
        assert_eq!(said(251_000_000_000, 100), "7959y 57d left (100%)");
    }
}
