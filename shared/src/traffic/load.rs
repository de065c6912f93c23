//! How many requests, how fast, how many at the same time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The most requests of one run.
pub const MOST_REQUESTS: u32 = 1_000_000;
/// The most streams of requests at the same time: each is a connection through the API server.
pub const MOST_STREAMS: u32 = 64;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// How much of it.
    pub amount: Amount,
    /// How many requests are under way at the same time: as many streams, each a curl of its own.
    pub streams: u32,
    /// How often requests start, over all streams together; as fast as answers come without it.
    pub rate: Option<Rate>,
    /// How long an answer may take.
    pub patience: Duration,
}

/// How much is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many requests.
    Requests(u32),
    /// As many as there is time for.
    For(Duration),
}

impl Load {
    /// Makes a load of so many requests, one after the other.
    #[must_use]
    pub fn of(requests: u32) -> Self {
        Self { amount: Amount::Requests(requests), streams: 1, rate: None, patience: Duration::from_secs(5) }
    }

    /// Shares the load out to its streams: how much, and how often, each of them sends.
    #[must_use]
    pub fn shares(&self) -> Vec<Share> {
        let streams = match self.amount {
            Amount::Requests(requests) => self.streams.clamp(1, MOST_STREAMS).min(requests.max(1)),
            Amount::For(_) => self.streams.clamp(1, MOST_STREAMS),
        };
        let share = |index: u32| Share {
            amount: match self.amount {
                Amount::Requests(requests) => {
                    Amount::Requests(requests / streams + u32::from(index < requests % streams))
                }
                Amount::For(time) => Amount::For(time),
            },
            rate: self.rate.map(|rate| rate.split(streams)),
        };
        (0..streams).map(share).collect()
    }
}

/// What one stream sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// How much.
    pub amount: Amount,
    /// How often.
    pub rate: Option<Rate>,
}

/// How often requests start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_hour: u32,
}

impl Rate {
    /// The fastest: curl counts in milliseconds.
    const FASTEST: u32 = 1000 * 3600;

    /// Returns how many start within an hour.
    #[must_use]
    pub fn per_hour(self) -> u32 {
        self.per_hour
    }

    /// Returns the time from one start to the next.
    #[must_use]
    pub fn interval(self) -> Duration {
        Duration::from_hours(1) / self.per_hour
    }

    fn split(self, streams: u32) -> Self {
        Self { per_hour: (self.per_hour / streams).max(1) }
    }
}

/// Why a text is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// It has another form.
    #[error("write it as 50/s, 100/m or 1000/h")]
    Form,
    /// It is too fast, or nothing.
    #[error("has to be between 1/h and 1000/s")]
    Range,
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
        let number: u32 = number.trim().parse().map_err(|_| RateError::Form)?;
        let per_unit = match unit.trim() {
            "s" => 3600,
            "m" => 60,
            "h" => 1,
            _ => return Err(RateError::Form),
        };
        let per_hour = number.checked_mul(per_unit).ok_or(RateError::Range)?;
        if (1..=Self::FASTEST).contains(&per_hour) { Ok(Self { per_hour }) } else { Err(RateError::Range) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per_hour {
            rate if rate % 3600 == 0 => write!(f, "{}/s", rate / 3600),
            rate if rate % 60 == 0 => write!(f, "{}/m", rate / 60),
            rate => write!(f, "{rate}/h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn rates_are_a_number_for_a_time() {
        assert_eq!(rate("50/s").interval(), Duration::from_millis(20));
        assert_eq!(rate("50"), rate("50/s"));
        assert_eq!(rate("90/m").to_string(), "90/m");
        assert_eq!(rate("120/m").to_string(), "2/s");
        for text in ["", "fast", "-1/s", "1/d", "1.5/s", "5/s/s"] {
            assert_eq!(text.parse::<Rate>(), Err(RateError::Form), "{text}");
        }
        for text in ["0/s", "1001/s", "4294967295/s"] {
            assert_eq!(text.parse::<Rate>(), Err(RateError::Range), "{text}");
        }
    }

    #[test]
    fn streams_share_all_of_the_load() {
        let load = Load { streams: 3, rate: Some(rate("30/s")), ..Load::of(100) };
        let shares = load.shares();
        let requests: Vec<Amount> = shares.iter().map(|share| share.amount).collect();
        assert_eq!(requests, [34, 33, 33].map(Amount::Requests));
        assert_eq!(shares[0].rate, Some(rate("10/s")));
        assert_eq!(Load { streams: 9, ..Load::of(2) }.shares().len(), 2);
        assert_eq!(Load { streams: 0, ..Load::of(2) }.shares().len(), 1);
    }

    #[test]
    fn there_are_no_more_streams_than_there_may_be() {
        let streams = |streams, load: Load| Load { streams, ..load }.shares();
        let long = Load { amount: Amount::For(Duration::from_secs(9)), ..Load::of(1) };
        assert_eq!(streams(1000, Load::of(1000)).len(), 64);
        assert_eq!(streams(1000, long).len(), 64);
        assert_eq!(streams(0, long), [Share { amount: Amount::For(Duration::from_secs(9)), rate: None }]);
        assert_eq!(streams(3, Load::of(0)).len(), 1);
        let of = |requests| {
            streams(4, Load::of(requests))
                .iter()
                .map(|share| match share.amount {
                    Amount::Requests(requests) => requests,
                    Amount::For(_) => 0,
                })
                .collect::<Vec<_>>()
        };
        assert_eq!((of(10), of(12)), (vec![3, 3, 2, 2], vec![3, 3, 3, 3]));
        let slow = Load { streams: 64, rate: Some(rate("1/h")), ..Load::of(100) };
        assert_eq!(slow.shares()[63].rate, Some(rate("1/h")));
    }

    #[test]
    fn rates_are_shown_in_the_largest_unit_that_is_whole() {
        assert_eq!(
            (rate("7/h").to_string(), rate("60/h").to_string(), rate("3600/h").to_string()),
            ("7/h".to_owned(), "1/m".to_owned(), "1/s".to_owned())
        );
        assert_eq!(
            (rate("1000/s").per_hour(), rate("1/h").per_hour(), rate(" 2 / m ").per_hour()),
            (3_600_000, 1, 120)
        );
        assert_eq!("3600001/h".parse::<Rate>(), Err(RateError::Range));
        assert_eq!(
            Load::of(3),
            Load { amount: Amount::Requests(3), streams: 1, rate: None, patience: Duration::from_secs(5) }
        );
    }
}
