//! What a tenant's events take, and how much of it the tenant may have.
//!
//! There are two sums per tenant, in bytes that are *counted*, not measured: all stores
//! count the same for the same events, whatever these really take.
//!
//! - **Pending**: what unfinished deliveries take. When a segment is published, each of
//!   its deliveries is [charged](charge) with its part of the segment's records and an
//!   overhead; it carries that charge until it ends, wherever it goes meanwhile. So the
//!   sum is exact without any look-up, and zero exactly when nothing is unfinished.
//! - **Log**: what the events in the log [take](kept), finished or not.
//!
//! A publish is [refused](refusal) when the tenant's pending bytes have reached their
//! budget. As long as they have not, it is accepted whole: one call may overshoot, so
//! that no event is too large for any budget. The log is trimmed instead: beyond its
//! budget a tick lets the oldest events leave, as by age. Those with unfinished
//! deliveries stay until these end, and count until then. Only when the log has grown by
//! the whole pending budget beyond its own, because its oldest events cannot leave (or
//! no tick came), a publish is refused for its sake. So the two budgets together bound
//! what a tenant has, but for the overshoot of one call.
//!
//! Not counted are idempotency keys of events that have left the log (a day's worth at
//! most), and the answers of receivers beyond the overhead of their deliveries.

use sidehook_core::limits::{DELIVERY_OVERHEAD, EVENT_OVERHEAD};

/// How many bytes a tenant may have: policy, told with each publish. A store keeps what
/// it was told last, for its ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Of unfinished deliveries.
    pub pending: u64,
    /// Of events in the log.
    pub log: u64,
}

impl Budget {
    /// No bound. (Half of all numbers, so that the sum of both is one.)
    pub const UNLIMITED: Self = Self {
        pending: u64::MAX / 4,
        log: u64::MAX / 4,
    };
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    /// Bytes of unfinished deliveries.
    Pending,
    /// Bytes of events in the log.
    Log,
}

/// How many bytes a tenant has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of unfinished deliveries.
    pub pending: u64,
    /// Of events in the log.
    pub log: u64,
}

/// What a budget refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// Which budget.
    pub which: Which,
    /// Bytes that the tenant has.
    pub used: u64,
    /// Bytes from which on it is refused: for the log, its own budget and the pending one.
    pub budget: u64,
}

/// What each delivery of a segment is charged with, in bytes: its part of the accepted
/// records, rounded up, and an overhead. Zero deliveries are charged nothing.
#[must_use]
pub fn charge(record_bytes: u64, deliveries: u64) -> u32 {
    match deliveries {
        0 => 0,
        _ => saturated(record_bytes.div_ceil(deliveries) + DELIVERY_OVERHEAD),
    }
}

/// What a segment takes in the log, in bytes: accepted records, and an overhead for each
/// accepted event and each delivery that was made of them at first.
#[must_use]
pub fn kept(record_bytes: u64, events: u64, deliveries: u64) -> u32 {
    saturated(record_bytes + events * EVENT_OVERHEAD + deliveries * DELIVERY_OVERHEAD)
}

/// Beyond 4 GiB, which no call comes near to.
fn saturated(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Why a tenant with this usage may publish nothing; `None` if it may.
#[must_use]
pub const fn refusal(usage: Usage, budget: Budget) -> Option<Exhausted> {
    let most = budget.log.saturating_add(budget.pending);
    if usage.pending >= budget.pending {
        Some(Exhausted {
            which: Which::Pending,
            used: usage.pending,
            budget: budget.pending,
        })
    } else if usage.log >= most {
        Some(Exhausted {
            which: Which::Log,
            used: usage.log,
            budget: most,
        })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_cover_the_records() {
        for (bytes, deliveries) in [(0, 1), (1, 3), (1_000_001, 1_000), (5, 5)] {
            let all = u64::from(charge(bytes, deliveries)) * deliveries;
            assert!(all >= bytes + deliveries * DELIVERY_OVERHEAD);
            assert!(all < bytes + deliveries * (DELIVERY_OVERHEAD + 1));
        }
        assert_eq!(charge(77, 0), 0);
        assert_eq!(charge(u64::from(u32::MAX), 1), u32::MAX);
    }

    #[test]
    fn a_budget_is_reached_not_crossed() {
        let budget = Budget {
            pending: 10,
            log: 20,
        };
        let at = |pending, log| refusal(Usage { pending, log }, budget);
        assert_eq!(at(9, 29), None);
        let told = at(10, 30).expect("both are reached");
        assert_eq!(
            (told.which, told.used, told.budget),
            (Which::Pending, 10, 10)
        );
        let told = at(9, 30).expect("the log is reached");
        assert_eq!((told.which, told.used, told.budget), (Which::Log, 30, 30));
        let most = Usage {
            pending: u64::MAX / 8,
            log: u64::MAX / 8,
        };
        assert_eq!(refusal(most, Budget::UNLIMITED), None);
    }
}
