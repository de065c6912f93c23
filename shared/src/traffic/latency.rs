//! How long answers took.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest time that is told apart, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;
/// Steps of a bar.
const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// How many bars a small histogram has.
const BARS: usize = 10;

/// Times of requests, in microseconds and to three digits; as large for a million of them as for one.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_max(LONGEST, 3).expect("these bounds are valid"))
    }
}

/// Times in milliseconds. The shape of its JSON is a promise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// The shortest.
    pub min: f64,
    /// Half of the requests took no longer.
    pub p50: f64,
    /// Nine of ten took no longer.
    pub p90: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Latencies {
    /// Adds the time of a request.
    pub fn add(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(LONGEST);
        self.0.saturating_record(micros);
    }

    /// Returns how many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Returns the times; `None` where there are none.
    #[must_use]
    pub fn summary(&self) -> Option<Latency> {
        let at = |quantile| milliseconds(self.0.value_at_quantile(quantile));
        (!self.0.is_empty()).then(|| Latency {
            min: milliseconds(self.0.min()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: milliseconds(self.0.max()),
        })
    }

    /// Returns the time that a share of the requests did not exceed, in milliseconds.
    #[must_use]
    pub fn at(&self, quantile: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| milliseconds(self.0.value_at_quantile(quantile)))
    }

    /// Returns the mean, in milliseconds.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.mean() / 1000.0)
    }

    /// Draws how many took how long, from `from` to `to` milliseconds, each bar as many times longer than the one before it: histograms
    /// with the same bounds can be compared.
    #[must_use]
    pub fn bars(&self, from: f64, to: f64) -> String {
        let (from, to) = (from.max(0.001), to.max(from).max(0.001));
        let factor = (to / from).powf(1.0 / bar_count());
        let mut low = 0;
        let counts: Vec<u64> = (0..BARS)
            .map(|bar| {
                let bound = from * factor.powi(i32::try_from(bar + 1).unwrap_or(i32::MAX));
                let high = if bar + 1 == BARS { LONGEST } else { microseconds(bound) };
                let count = if high >= low { self.0.count_between(low, high) } else { 0 };
                low = high.saturating_add(1).max(low);
                count
            })
            .collect();
        let most = counts.iter().copied().max().unwrap_or(0).max(1);
        let step = |count: u64| match count {
            0 => '·',
            count => {
                let step = usize::try_from((count * 8).div_ceil(most)).unwrap_or(8);
                STEPS[step.clamp(1, 8) - 1]
            }
        };
        counts.into_iter().map(step).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "an hour in microseconds is far below 2^52")]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "there are ten")]
fn bar_count() -> f64 {
    BARS as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of f64 saturates, and times are positive"
)]
fn microseconds(milliseconds: f64) -> u64 {
    (milliseconds * 1000.0) as u64
}

/// Writes milliseconds for people.
pub(super) fn time_text(time: f64) -> String {
    if time < 1000.0 { format!("{time:.1}ms") } else { format!("{:.2}s", time / 1000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(millis: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::default();
        millis.into_iter().for_each(|time| latencies.add(Duration::from_millis(time)));
        latencies
    }

    #[test]
    fn quantiles_are_right_to_three_digits() {
        let latency = of(1..=1000).summary().unwrap();
        let close = |found: f64, wanted: f64| (found - wanted).abs() <= wanted / 1000.0;
        assert!(close(latency.min, 1.0) && close(latency.max, 1000.0), "{latency:?}");
        assert!(
            close(latency.p50, 500.0) && close(latency.p90, 900.0) && close(latency.p99, 990.0),
            "{latency:?}"
        );
        assert_eq!(of([]).summary(), None);
    }

    #[test]
    fn no_time_is_too_long() {
        let mut latencies = Latencies::default();
        latencies.add(Duration::MAX);
        assert_eq!(latencies.count(), 1);
    }

    #[test]
    fn bars_show_where_the_times_are() {
        assert_eq!(of([]).bars(1.0, 100.0), "··········");
        assert_eq!(of([1, 1, 1, 1, 100]).bars(1.0, 100.0), "█········▂");
        assert_eq!(of([1; 9]).bars(1.0, 1.0).chars().count(), BARS);
        assert_eq!(of([5]).bars(f64::NAN, 0.0).chars().count(), BARS);
        assert_eq!(of(1..=100).bars(1.0, 100.0), "▁▁▁▁▁▂▃▄▆█");
    }

    #[test]
    fn the_mean_and_quantiles_are_in_milliseconds_and_of_nothing_there_is_none() {
        let times = of([10, 20, 60]);
        assert_eq!((times.count(), times.mean().map(f64::round)), (3, Some(30.0)));
        assert_eq!((times.at(0.0).map(f64::round), times.at(1.0).map(f64::round)), (Some(10.0), Some(60.0)));
        assert_eq!((of([]).mean(), of([]).at(0.5), of([]).count()), (None, None, 0));
    }
}
