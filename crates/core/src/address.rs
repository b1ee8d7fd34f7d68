//! Events' and deliveries' ids are addresses: looking one up needs no index.
//!
//! The events of one tenant in one publish call form a *segment*, named by the
//! lane (one replica's line of calls to one partition, a random number), the
//! call's sequence in that lane, and the tenant's ordinal in the call.
//!
//! ```text
//! EventId     time 42 | partition 6 | lane 36 | sequence 30 | ordinal 7 | index 7
//! DeliveryId  generation 10 | partition 6 | lane 36 | sequence 30 | ordinal 7 | index 7 | subscription 32
//! ```
//!
//! An address is never a credential: whoever asks is checked against the owner of
//! what lies there.

use core::{fmt, str::FromStr};

use crate::{
    id::{SubscriptionNumber, TenantId, identifier},
    limits::PARTITIONS,
    time::Timestamp,
};

/// A partition of tenants: the unit of atomicity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(u8);

impl Partition {
    /// The partition of a tenant.
    #[must_use]
    pub fn of(tenant: TenantId) -> Self {
        let bits = tenant.bits();
        // Tenant ids are random, but tests and imports may count: mix the bits.
        let folded = ((bits >> 64) as u64 ^ bits as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self((folded >> 58) as u8 % PARTITIONS)
    }

    /// The partition with this number; `None` from 64 on.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number < PARTITIONS {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Its number, below 64.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// All partitions.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..PARTITIONS).map(Self)
    }
}

/// One replica's line of calls to one partition: 36 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(u64);

impl Lane {
    /// Takes the low 36 bits of a random number.
    #[must_use]
    pub const fn from_random(random: u64) -> Self {
        Self(random & ((1 << 36) - 1))
    }

    /// The 36 bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// Position of a call in its lane: 30 bits, counted from 1. A lane that used its
/// last sequence is replaced by a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(u32);

impl Sequence {
    /// The first sequence of a lane.
    pub const FIRST: Self = Self(1);

    /// The sequence with this number; `None` outside 1 to 2^30 - 1.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number > 0 && number < (1 << 30) {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The one after this; `None` when the lane is used up.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// The events of one tenant in one publish call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId {
    /// The partition.
    pub partition: Partition,
    /// The lane.
    pub lane: Lane,
    /// The call in the lane.
    pub sequence: Sequence,
    /// The tenant's place in the call, below 128.
    pub ordinal: u8,
}

impl SegmentId {
    /// The 79 bits of the address.
    #[must_use]
    pub const fn bits(self) -> u128 {
        ((self.partition.0 as u128) << 73)
            | ((self.lane.0 as u128) << 37)
            | ((self.sequence.0 as u128) << 7)
            | (self.ordinal & 127) as u128
    }

    /// The segment with these bits; `None` if its sequence is 0.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Option<Self> {
        let Some(sequence) = Sequence::new(((bits >> 7) as u32) & ((1 << 30) - 1)) else {
            return None;
        };
        Some(Self {
            partition: Partition(((bits >> 73) & 63) as u8),
            lane: Lane(((bits >> 37) as u64) & ((1 << 36) - 1)),
            sequence,
            ordinal: (bits & 127) as u8,
        })
    }
}

identifier! {
    /// An event: when it was accepted, its segment, and its index in it.
    EventId, "ev_"
}

impl EventId {
    /// The event `index` (below 128) of a segment, accepted at `time`.
    #[must_use]
    pub fn new(time: Timestamp, segment: SegmentId, index: u8) -> Self {
        let time = (time.as_millis().max(0) as u128) & ((1 << 42) - 1);
        Self((time << 86) | (segment.bits() << 7) | u128::from(index & 127))
    }

    /// Its segment; `None` if no server made this id.
    #[must_use]
    pub const fn segment(self) -> Option<SegmentId> {
        SegmentId::from_bits(self.0 >> 7)
    }

    /// Its index in the segment.
    #[must_use]
    pub const fn index(self) -> u8 {
        (self.0 & 127) as u8
    }

    /// When it was accepted.
    #[must_use]
    pub const fn time(self) -> Timestamp {
        Timestamp::from_millis((self.0 >> 86) as i64)
    }
}

identifier! {
    /// A delivery: its event's address, its subscription's number and its
    /// generation.
    DeliveryId, "dlv_"
}

/// Generations of one pair of event and subscription.
pub const GENERATIONS: u16 = 1 << 10;

impl DeliveryId {
    /// The delivery of event `index` of `segment` to `subscription`.
    #[must_use]
    pub fn new(
        segment: SegmentId,
        index: u8,
        subscription: SubscriptionNumber,
        generation: u16,
    ) -> Self {
        let generation = u128::from(generation % GENERATIONS);
        Self(
            (generation << 118)
                | (segment.bits() << 39)
                | (u128::from(index & 127) << 32)
                | u128::from(subscription.0),
        )
    }

    /// Its event's segment; `None` if no server made this id.
    #[must_use]
    pub const fn segment(self) -> Option<SegmentId> {
        SegmentId::from_bits((self.0 >> 39) & ((1 << 79) - 1))
    }

    /// Its event's index in the segment.
    #[must_use]
    pub const fn index(self) -> u8 {
        ((self.0 >> 32) & 127) as u8
    }

    /// Its subscription's number.
    #[must_use]
    pub const fn subscription(self) -> SubscriptionNumber {
        SubscriptionNumber(self.0 as u32)
    }

    /// Its generation: 0 for the delivery that the event caused.
    #[must_use]
    pub const fn generation(self) -> u16 {
        (self.0 >> 118) as u16
    }

    /// The next generation of the same pair; `None` when there were 1,024.
    #[must_use]
    pub fn next_generation(self) -> Option<Self> {
        let next = self.generation() + 1;
        (next < GENERATIONS).then(|| Self((self.0 & ((1 << 118) - 1)) | (u128::from(next) << 118)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back() {
        let segment = SegmentId {
            partition: Partition(63),
            lane: Lane::from_random(u64::MAX),
            sequence: Sequence::new((1 << 30) - 1).expect("in range"),
            ordinal: 127,
        };
        let time = Timestamp::from_millis(1_790_000_000_123);
        let event = EventId::new(time, segment, 99);
        assert_eq!(
            (event.segment(), event.index(), event.time()),
            (Some(segment), 99, time)
        );
        let delivery = DeliveryId::new(segment, 99, SubscriptionNumber(u32::MAX - 1), 1_023);
        assert_eq!(delivery.segment(), Some(segment));
        assert_eq!(delivery.index(), 99);
        assert_eq!(delivery.subscription(), SubscriptionNumber(u32::MAX - 1));
        assert_eq!(delivery.generation(), 1_023);
        assert_eq!(delivery.next_generation(), None);
    }

    #[test]
    fn every_partition_is_used() {
        let mut seen = [0_u32; PARTITIONS as usize];
        for bits in 0..6_400_u128 {
            seen[usize::from(Partition::of(TenantId::from_bits(bits)).number())] += 1;
        }
        assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
    }
}
