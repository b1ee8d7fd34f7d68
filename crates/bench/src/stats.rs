//! Percentiles, medians with their spread, and the clock.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Percentiles of some microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// How many.
    pub(crate) count: u64,
    /// Half of them are at most this.
    pub(crate) p50: u64,
    /// 99 of 100 are at most this.
    pub(crate) p99: u64,
}

impl Summary {
    /// Sorts `values` and reads the percentiles off (nearest rank).
    pub(crate) fn of(values: &mut [u64]) -> Self {
        values.sort_unstable();
        let rank = |percent: usize| {
            let index = (values.len() * percent).div_ceil(100).saturating_sub(1);
            values.get(index).copied().unwrap_or(0)
        };
        Self {
            count: values.len() as u64,
            p50: rank(50),
            p99: rank(99),
        }
    }
}

/// What several runs gave: the median, and between what half of them lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// How many runs.
    pub(crate) runs: usize,
    /// The median.
    pub(crate) median: f64,
    /// A quarter of the runs gave at most this; with fewer than five, the lowest.
    pub(crate) low: f64,
    /// A quarter of the runs gave at least this; with fewer than five, the highest.
    pub(crate) high: f64,
}

impl Spread {
    /// Sorts the values; all 0 of nothing.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let runs = values.len();
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        let quarter = if runs < 5 { 0 } else { runs / 4 };
        Self {
            runs,
            median: f64::midpoint(at(runs.saturating_sub(1) / 2), at(runs / 2)),
            low: at(quarter),
            high: at(runs.saturating_sub(1 + quarter)),
        }
    }

    /// The median and the spread around it, each written by `show`.
    pub(crate) fn text(&self, show: impl Fn(f64) -> String) -> String {
        let (median, low, high) = (show(self.median), show(self.low), show(self.high));
        format!("{median} ({low} to {high})")
    }
}

/// Microseconds since 1970 by the machine's clock.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let mut values: Vec<u64> = (1..=200).rev().collect();
        let summary = Summary::of(&mut values);
        assert_eq!((summary.count, summary.p50, summary.p99), (200, 100, 198));
        assert_eq!(Summary::of(&mut []).p99, 0);
    }

    #[test]
    fn a_spread_has_half_of_the_runs_in_it() {
        let of = |values: &[f64]| {
            let spread = Spread::of(values.to_vec());
            (spread.low, spread.median, spread.high)
        };
        assert_eq!(of(&[]), (0.0, 0.0, 0.0));
        assert_eq!(of(&[3.0, 1.0, 2.0]), (1.0, 2.0, 3.0));
        assert_eq!(of(&[4.0, 1.0, 3.0, 2.0]), (1.0, 2.5, 4.0));
        let eight: Vec<f64> = (1..=8).rev().map(f64::from).collect();
        assert_eq!(of(&eight), (3.0, 4.5, 6.0));
    }
}
