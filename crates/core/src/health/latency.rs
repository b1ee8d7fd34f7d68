//! How long attempts take, in classes that are coarse enough to be kept for each bucket.

use core::time::Duration;

/// The longest time of each class but the last.
const UP_TO_MS: [u64; CLASSES - 1] = [10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000];

/// Classes of times.
pub const CLASSES: usize = 10;

/// The class of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Latency(u8);

impl Latency {
    /// The class that a time belongs to.
    #[must_use]
    pub fn of(duration: Duration) -> Self {
        let below = UP_TO_MS.partition_point(|ms| Duration::from_millis(*ms) < duration);
        Self(below as u8)
    }

    /// Its place among the classes, the shortest times first.
    #[must_use]
    pub const fn class(self) -> usize {
        self.0 as usize
    }

    /// The longest time that belongs to it; `None` for the last class, which has no end.
    #[must_use]
    pub fn up_to(self) -> Option<Duration> {
        let ms = UP_TO_MS.get(self.class()).copied();
        ms.map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_belongs_to_the_first_class_that_reaches_it() {
        for (ms, class, up_to) in [
            (0, 0, Some(10)),
            (10, 0, Some(10)),
            (11, 1, Some(25)),
            (10_000, 8, Some(10_000)),
            (10_001, 9, None),
            (u64::MAX, 9, None),
        ] {
            let latency = Latency::of(Duration::from_millis(ms));
            let told = (latency.class(), latency.up_to());
            assert_eq!(told, (class, up_to.map(Duration::from_millis)), "{ms} ms");
        }
    }
}
