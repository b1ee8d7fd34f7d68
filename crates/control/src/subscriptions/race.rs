//! Changes that others were faster than.
//!
//! Each change is made on the condition that nobody was faster, and is tried again on what
//! is there then. Of many at one time one succeeds in each round, so that the others wait a
//! little before the next: longer from round to round, and each by chance, which takes them
//! apart. Whoever is never the first is told to come again: nothing is wrong with what was
//! asked for.

use core::time::Duration;

use crate::errors::OperationError;

/// How often a change is tried.
const TRIES: u32 = 64;
/// The longest wait after the first try; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(4);
/// The longest wait after any try: all together wait 3 s on the average.
const LAST_WAIT: Duration = Duration::from_millis(100);
/// When whoever was never the first is to come again.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// One change among others.
#[derive(Debug, Default)]
pub(super) struct Race {
    lost: u32,
}

impl Race {
    /// Somebody was faster: waits before the next try.
    ///
    /// # Errors
    /// Too often: [`OperationError::Unavailable`].
    pub(super) async fn lost(&mut self) -> Result<(), OperationError> {
        self.lost += 1;
        if self.lost >= TRIES {
            return Err(OperationError::Unavailable {
                message: "others are changing the tenant's subscriptions at the same time, and \
                          were faster each time: nothing was changed, try again"
                    .to_owned(),
                retry_after: COME_AGAIN.mul_f64(0.5 + rand::random::<f64>()),
            });
        }
        tokio::time::sleep(self.longest().mul_f64(rand::random())).await;
        Ok(())
    }

    /// The longest wait before the next try.
    fn longest(&self) -> Duration {
        let doubled = 1 << self.lost.saturating_sub(1).min(16);
        (FIRST_WAIT * doubled).min(LAST_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_have_an_end() {
        let longest = |lost| Race { lost }.longest().as_millis();
        assert_eq!([1, 2, 3, 5, 6, 63].map(longest), [4, 8, 16, 64, 100, 100]);
    }

    #[tokio::test]
    async fn whoever_is_never_the_first_is_told_to_come_again() {
        let mut race = Race { lost: TRIES - 2 };
        assert_eq!(race.lost().await, Ok(()));
        let told = race.lost().await;
        assert!(
            matches!(&told, Err(OperationError::Unavailable { retry_after, .. })
                if *retry_after >= COME_AGAIN / 2),
            "{told:?}"
        );
    }
}
