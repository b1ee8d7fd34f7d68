//! Spans of time as people read them in logs.

use std::time::Duration;

/// The span to three digits: `1.08ms` instead of `1.078873ms`. For showing alone.
#[must_use]
pub fn rough(span: Duration) -> Duration {
    let nanos = span.as_nanos();
    let unit = 10_u128.pow(nanos.checked_ilog10().unwrap_or(0).saturating_sub(2));
    let rounded = (nanos + unit / 2) / unit * unit;
    Duration::from_nanos(u64::try_from(rounded).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_left() {
        for (nanos, shown) in [
            (0, "0ns"),
            (999, "999ns"),
            (1_078_873, "1.08ms"),
            (820_324_166, "820ms"),
            (999_999_999, "1s"),
            (5_001_885_999, "5s"),
        ] {
            let rough = rough(Duration::from_nanos(nanos));
            assert_eq!(format!("{rough:?}"), shown);
        }
        assert!(
            rough(Duration::MAX) > Duration::from_secs(1),
            "it does not overflow"
        );
    }
}
