//! Recent segments, so that a delivery seldom costs a read of its event.
//!
//! What this replica published goes in directly; what it did not is read from the
//! store once. The oldest leave first when the bytes run out: events are delivered in
//! about the order in which they were published, so nothing cleverer pays.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use sidehook_core::address::SegmentId;

/// What a segment costs beside its events' bytes.
const OVERHEAD: usize = 200;

/// The events of a segment as agents receive them; empty where none was accepted, or
/// where its record cannot be read.
pub(crate) type Events = Arc<[Bytes]>;

/// See the module.
#[derive(Debug)]
pub(crate) struct SegmentCache {
    segments: HashMap<SegmentId, Events>,
    order: VecDeque<SegmentId>,
    bytes: usize,
    max_bytes: usize,
}

impl SegmentCache {
    /// At most so many bytes.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            segments: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            max_bytes,
        }
    }

    /// Keeps a segment. It never changes, so the first one stays.
    pub(crate) fn insert(&mut self, id: SegmentId, events: Events) {
        let bytes = weight(&events);
        if bytes > self.max_bytes || self.segments.contains_key(&id) {
            return;
        }
        self.segments.insert(id, events);
        self.order.push_back(id);
        self.bytes += bytes;
        while self.bytes > self.max_bytes {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            if let Some(events) = self.segments.remove(&oldest) {
                self.bytes -= weight(&events);
            }
        }
    }

    /// A segment, if it is here.
    pub(crate) fn get(&self, id: SegmentId) -> Option<Events> {
        self.segments.get(&id).cloned()
    }
}

fn weight(events: &Events) -> usize {
    OVERHEAD
        + events
            .iter()
            .map(|event| event.len() + size_of::<Bytes>())
            .sum::<usize>()
}

#[cfg(test)]
mod tests {
    use sidehook_core::address::{Lane, Partition, Sequence};

    use super::*;

    fn id(sequence: u32) -> SegmentId {
        SegmentId {
            partition: Partition::new(1).expect("below 64"),
            lane: Lane::from_random(1),
            sequence: Sequence::new(sequence).expect("in range"),
            ordinal: 0,
        }
    }

    #[test]
    fn the_oldest_leave_first_and_bytes_stay_bounded() {
        let events = || Events::from(vec![Bytes::from(vec![0; 1_000])]);
        let mut cache = SegmentCache::new(10 * (1_000 + OVERHEAD + size_of::<Bytes>()));
        for sequence in 1..=25 {
            cache.insert(id(sequence), events());
            cache.insert(id(sequence), events());
            assert!(cache.bytes <= cache.max_bytes);
        }
        assert_eq!(cache.segments.len(), 10);
        assert!(cache.get(id(15)).is_none() && cache.get(id(16)).is_some());
        cache.insert(id(26), Events::from(vec![Bytes::from(vec![0; 1_000_000])]));
        assert!(cache.get(id(26)).is_none() && cache.get(id(25)).is_some());
    }
}
