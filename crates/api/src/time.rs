//! Moments and spans: `google.protobuf` on one side, the domain's on the other.

use core::time::Duration;

use sidehook_core::{event::OccurredAt, time::Timestamp};

const NANOS_PER_MILLI: i32 = 1_000_000;

/// A moment as the API shows it.
#[must_use]
pub fn timestamp(moment: Timestamp) -> prost_types::Timestamp {
    let millis = i32::try_from(moment.as_millis().rem_euclid(1_000)).unwrap_or(0);
    prost_types::Timestamp {
        seconds: moment.as_seconds(),
        nanos: millis * NANOS_PER_MILLI,
    }
}

/// The moment, to the millisecond; `None` outside the years 1 to 9999.
#[must_use]
pub fn read_timestamp(proto: &prost_types::Timestamp) -> Option<Timestamp> {
    let exact = occurred_at(proto)?;
    let millis = i64::from(exact.nanos() / NANOS_PER_MILLI.unsigned_abs());
    Some(Timestamp::from_millis(exact.seconds() * 1_000 + millis))
}

/// The moment, exactly; `None` outside the years 1 to 9999.
#[must_use]
pub fn occurred_at(proto: &prost_types::Timestamp) -> Option<OccurredAt> {
    OccurredAt::new(proto.seconds, u32::try_from(proto.nanos).ok()?)
}

/// A span as the API shows it; the longest that the API can show if it is longer.
#[must_use]
pub fn duration(span: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(span.subsec_nanos()).unwrap_or(0);
    prost_types::Duration { seconds, nanos }
}

/// The span; `None` if it is negative or not a valid one.
#[must_use]
pub fn read_duration(proto: &prost_types::Duration) -> Option<Duration> {
    let seconds = u64::try_from(proto.seconds).ok()?;
    let nanos = u32::try_from(proto.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn moments_and_spans_come_back(
            ms in -62_135_596_800_000_i64..=253_402_300_799_999,
            seconds in 0..=i64::MAX.unsigned_abs(),
            nanos in 0..1_000_000_000_u32,
        ) {
            let moment = Timestamp::from_millis(ms);
            prop_assert_eq!(read_timestamp(&timestamp(moment)), Some(moment));
            let span = Duration::new(seconds, nanos);
            prop_assert_eq!(read_duration(&duration(span)), Some(span));
        }

        #[test]
        fn no_input_panics(seconds: i64, nanos: i32) {
            let _ = read_timestamp(&prost_types::Timestamp { seconds, nanos });
            let span = read_duration(&prost_types::Duration { seconds, nanos });
            prop_assert_eq!(span.is_some(), seconds >= 0 && (0..1_000_000_000).contains(&nanos));
        }
    }
}
