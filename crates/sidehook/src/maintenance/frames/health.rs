//! A subscription's health in a file.
//!
//! A later version may keep more, or in finer classes: what this one has no room for is
//! left out, the oldest first. Classes beyond the last one of this version divide that one,
//! which has no end: what they count is counted there.

use sidehook_api::record_v1::{ImageHealth, ImageHealthBucket};
use sidehook_core::health::{Bucket, CLASSES, Health, NOTES, ROWS, Recent, SPANS};

use super::Malformed;

const MALFORMED: Malformed = Malformed("a subscription's health");

/// The message; none where nothing was counted.
pub(super) fn frame(health: Health) -> Option<ImageHealth> {
    if health.is_empty() {
        return None;
    }
    let [minutes, hours] = health.over;
    let [minute, hour] = health.recent.current;
    let row = |over: Vec<Bucket>, current| {
        let all = over.into_iter().chain([current]);
        all.map(bucket_frame).collect()
    };
    Some(ImageHealth {
        counters: health.recent.counters.numbers().to_vec(),
        minutes: row(minutes, minute),
        hours: row(hours, hour),
        successes: health.recent.successes,
        errors: health.recent.errors,
    })
}

fn bucket_frame(bucket: Bucket) -> ImageHealthBucket {
    ImageHealthBucket {
        number: bucket.number,
        counts: bucket.counts.to_vec(),
        latencies: bucket.latencies.to_vec(),
    }
}

/// The health of a message.
///
/// # Errors
/// [`Malformed`]: no export writes it.
pub(super) fn image(one: ImageHealth) -> Result<Health, Malformed> {
    let counters: [u64; 4] = one.counters.try_into().map_err(|_| MALFORMED)?;
    let mut health = Health {
        recent: Recent {
            counters: counters.into(),
            successes: newest(one.successes, NOTES),
            errors: newest(one.errors, NOTES),
            ..Recent::default()
        },
        ..Health::default()
    };
    let rows: [Vec<ImageHealthBucket>; ROWS] = [one.minutes, one.hours];
    for (place, (row, span)) in rows.into_iter().zip(SPANS).enumerate() {
        let row: Result<Vec<Bucket>, Malformed> = row.into_iter().map(bucket).collect();
        let mut row = newest(row?, span.kept + 1);
        if let (Some(current), Some(over)) = (row.pop(), health.over.get_mut(place)) {
            *over = row;
            health.recent.current[place] = current;
        }
    }
    Ok(health)
}

fn newest<T>(mut all: Vec<T>, kept: usize) -> Vec<T> {
    let more = all.len().saturating_sub(kept);
    all.drain(..more);
    all
}

fn bucket(one: ImageHealthBucket) -> Result<Bucket, Malformed> {
    Ok(Bucket {
        number: one.number,
        counts: one.counts.try_into().map_err(|_| MALFORMED)?,
        latencies: classes(one.latencies)?,
    })
}

fn classes(mut all: Vec<u32>) -> Result<[u32; CLASSES], Malformed> {
    let finer = all.split_off(CLASSES.min(all.len()));
    if let Some(last) = all.last_mut() {
        *last = finer.into_iter().fold(*last, u32::saturating_add);
    }
    all.try_into().map_err(|_| MALFORMED)
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use bytes::Bytes;
    use sidehook_core::{
        health::{Kind, Latency, Mark},
        time::Timestamp,
    };

    use super::*;

    #[test]
    fn health_survives_its_message() {
        let mut health = Health::default();
        assert_eq!(frame(health.clone()), None);
        for number in 0..300_i64 {
            let mark = Mark {
                kind: Kind::of(number % 3 == 0, number % 5 == 0),
                latency: Latency::of(Duration::from_millis(40)),
                note: Bytes::from(vec![7; 3]),
            };
            let now = Timestamp::from_millis(1_790_000_000_000 + number * 1_300_000);
            health.count(now, [&mark]);
            let framed = frame(health.clone()).expect("something was counted");
            assert_eq!(image(framed), Ok(health.clone()));
        }
    }

    #[test]
    fn what_a_later_version_keeps_more_of_is_left_out() {
        let one = |number| ImageHealthBucket {
            number,
            counts: vec![1, 0, 0, 0],
            latencies: vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        };
        let message = ImageHealth {
            counters: vec![300, 0, 0, 0],
            minutes: (0..300).map(one).collect(),
            hours: (0..300).map(one).collect(),
            successes: vec![Bytes::new(); 20],
            errors: Vec::new(),
        };
        let health = image(message.clone()).expect("it is one");
        assert_eq!(health.fault(), None);
        assert_eq!(health.row(0).len(), SPANS[0].kept + 1);
        let mut finer = message.clone();
        for bucket in finer.minutes.iter_mut().chain(&mut finer.hours) {
            bucket.counts = vec![4, 0, 0, 0];
            bucket.latencies.extend([1, 2]);
        }
        finer.counters = vec![1_200, 0, 0, 0];
        let health = image(finer.clone()).expect("it is one");
        assert_eq!(health.fault(), None);
        assert_eq!(health.row(0)[0].latencies, [1, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
        finer.hours[0].latencies.truncate(CLASSES - 1);
        assert_eq!(image(finer), Err(MALFORMED));
        let short = ImageHealth {
            counters: vec![1],
            ..message
        };
        assert_eq!(image(short), Err(MALFORMED));
    }
}
