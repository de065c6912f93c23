//! What was measured, for people and for programs.

use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::{Serialize, Serializer};

use super::{Memory, Verb};

/// What a measurement came to.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What is compared with: the steps by hand, or the smaller mesh.
    pub first: String,
    /// What is compared.
    pub second: String,
    /// How often each of the two was run.
    pub rounds: u8,
    /// One for each verb.
    pub rows: Vec<Row>,
    /// How long kubectl takes to find and start a plugin. It is part of each run of one.
    pub kubectl: Timing,
    /// What showing one chain takes of memory; absent where that was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// What one verb came to.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The verb.
    pub verb: Verb,
    /// How long what is compared with took.
    pub first: Timing,
    /// How long what is compared took.
    pub second: Timing,
    /// The second median through the first.
    #[serde(serialize_with = "thousandths")]
    pub ratio: f64,
    /// The largest ratio that is aimed at; absent where none is.
    pub target: Option<f64>,
    /// Whether the ratio is not larger than that; absent without a target.
    pub met: Option<bool>,
}

/// Times of several runs, in seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timing {
    /// The one in the middle; between the two in the middle where their number is even.
    #[serde(serialize_with = "thousandths")]
    pub median: f64,
    /// All of them, in the order in which they ran.
    #[serde(serialize_with = "all_thousandths")]
    pub runs: Vec<f64>,
}

/// Nobody reads more than milliseconds.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

// Serde passes a reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is Serde's")]
fn thousandths<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(rounded(*value))
}

fn all_thousandths<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|value| rounded(*value)))
}

impl Timing {
    /// Takes what was measured.
    #[must_use]
    pub fn new(runs: &[Duration]) -> Self {
        let runs: Vec<f64> = runs.iter().map(Duration::as_secs_f64).collect();
        Self { median: median(&runs), runs }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.as_slice()) {
        (_, []) => 0.0,
        (1, sorted) => sorted[middle],
        (_, sorted) => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

impl Row {
    /// Compares two sides.
    #[must_use]
    pub fn new(verb: Verb, first: Timing, second: Timing, target: Option<f64>) -> Self {
        let ratio = if first.median > 0.0 { second.median / first.median } else { 0.0 };
        Self { verb, ratio, target, met: target.map(|target| ratio <= target), first, second }
    }
}

impl Report {
    /// A table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header([
            "VERB".to_owned(),
            self.first.to_uppercase(),
            self.second.to_uppercase(),
            "RATIO".to_owned(),
            "AIM".to_owned(),
        ]);
        for column in table.column_iter_mut().skip(1).take(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for row in &self.rows {
            let aim = match (row.target, row.met) {
                (Some(target), Some(true)) => format!("at most {target:.2}: met"),
                (Some(target), _) => format!("at most {target:.2}: missed"),
                (None, _) => "-".to_owned(),
            };
            let seconds = |timing: &Timing| format!("{:.2} s", timing.median);
            let (first, second) = (seconds(&row.first), seconds(&row.second));
            table.add_row([row.verb.to_string(), first, second, format!("{:.2}", row.ratio), aim]);
        }
        let table = table.to_string();
        let lines =
            table.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned() + "\n");
        let legend = format!(
            "medians of {} runs each; {:.2} s of each run of a plugin is kubectl's own start\n",
            self.rounds, self.kubectl.median
        );
        let memory = self.memory.map(|memory| format!("{memory}\n"));
        lines.chain([legend]).chain(memory).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(seconds: &[f64]) -> Timing {
        let runs: Vec<Duration> = seconds.iter().map(|seconds| Duration::from_secs_f64(*seconds)).collect();
        Timing::new(&runs)
    }

    fn report() -> Report {
        let row = |verb, first: &[f64], second: &[f64], target| {
            Row::new(verb, timing(first), timing(second), target)
        };
        Report {
            first: "by hand".to_owned(),
            second: "kubectl spire-federate".to_owned(),
            rounds: 3,
            rows: vec![
                row(Verb::Up, &[31.0, 30.0, 29.5], &[10.0, 10.4, 12.0], None),
                row(Verb::Status, &[2.0, 2.2, 2.1], &[0.8, 0.9, 1.0], Some(0.5)),
                row(Verb::Verify, &[4.0, 4.0, 4.0], &[3.0, 3.0, 3.0], Some(0.5)),
            ],
            kubectl: timing(&[0.12, 0.13, 0.12]),
            memory: Some(Memory { by_hand_kib: 78 << 10, plugin_kib: 13 << 10 }),
        }
    }

    #[test]
    fn the_table_has_medians_ratios_and_what_is_aimed_at() {
        insta::assert_snapshot!(report().table());
    }

    #[test]
    fn the_json_has_every_run() {
        insta::assert_json_snapshot!(report());
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let close = |values: &[f64], expected: f64| {
            let found = timing(values).median;
            assert!((found - expected).abs() < 1e-9, "{values:?}: {found}");
        };
        close(&[], 0.0);
        close(&[3.0], 3.0);
        close(&[9.0, 1.0, 2.0], 2.0);
        close(&[4.0, 1.0, 3.0, 2.0], 2.5);
    }
}
