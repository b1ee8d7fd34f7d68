//! When each frame of a stream was sent.
//!
//! The control plane echoes a frame's stamp, and the agent counts a lease from the moment it sent that frame. Stamps
//! count up by one with every frame, thousands a second under load, so only one in [`RESOLUTION`] is remembered: a
//! stamp in between is taken to be as old as the remembered one before it, which only shortens a lease.

use std::collections::VecDeque;
use std::time::Duration;

/// How much earlier than in truth a frame may be taken to have been sent.
const RESOLUTION: Duration = Duration::from_millis(10);

/// The stamps of one stream.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    newest: u64,
    sent: VecDeque<(u64, Duration)>,
}

impl Stamps {
    /// The stamp of a frame that is sent `now`. Forgets what is older than `horizon`: a lease counted from there would
    /// be over.
    pub(super) fn next(&mut self, now: Duration, horizon: Duration) -> u64 {
        self.newest += 1;
        let fresh = self
            .sent
            .back()
            .is_none_or(|(_, at)| now.saturating_sub(*at) >= RESOLUTION);
        if fresh {
            self.sent.push_back((self.newest, now));
        }
        while self.sent.len() > 1
            && self
                .sent
                .get(1)
                .is_some_and(|(_, at)| now.saturating_sub(*at) > horizon)
        {
            self.sent.pop_front();
        }
        self.newest
    }

    /// When the frame was sent, at the earliest. `Err` if there was no such frame; `Ok(None)` if it is forgotten.
    pub(super) fn sent_at(&self, stamp: u64) -> Result<Option<Duration>, ()> {
        if stamp == 0 || stamp > self.newest {
            return Err(());
        }
        let after = self.sent.partition_point(|(sent, _)| *sent <= stamp);
        Ok(after
            .checked_sub(1)
            .and_then(|index| self.sent.get(index))
            .map(|(_, at)| *at))
    }

    pub(super) fn newest(&self) -> u64 {
        self.newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_stamp_is_never_taken_for_younger_than_it_is() {
        let mut stamps = Stamps::default();
        for (now, stamp) in [(0, 1), (4, 2), (12, 3), (15, 4), (40, 5)] {
            assert_eq!(stamps.next(ms(now), ms(1_000)), stamp);
        }
        let at: Vec<_> = (1..=5)
            .map(|stamp| stamps.sent_at(stamp).expect("sent"))
            .collect();
        assert_eq!(at, [0, 0, 12, 12, 40].map(|at| Some(ms(at))));
        assert_eq!((stamps.sent_at(0), stamps.sent_at(6)), (Err(()), Err(())));
    }

    #[test]
    fn what_is_older_than_any_lease_is_forgotten() {
        let mut stamps = Stamps::default();
        for now in 0..10_000 {
            stamps.next(ms(now), ms(1_000));
        }
        assert!(stamps.sent.len() < 110, "{}", stamps.sent.len());
        assert_eq!(stamps.sent_at(1), Ok(None));
        assert_eq!(stamps.sent_at(10_000), Ok(Some(ms(9_990))));
    }
}
