//! What becomes of stored times when the store's clock jumps.
//!
//! A store goes by one clock: Redis' own, or the node's. Somebody may set it wrong and
//! right again, and after a failover it is another server's. Whatever is then stored must
//! neither wait for a time that never comes nor be thrown away for a time that never was.
//!
//! | what is stored | the clock jumps forward | the clock goes back |
//! |---|---|---|
//! | a lease's deadline | it is over at once, and what was under way is made again: to the store its agent was silent | beyond [`LEASE_MAX`] from now it is over ([`is_over`]); else it is over within that time |
//! | a retry's time | it is due at once | beyond [`RETRY_WAIT_MAX`] from now it is due ([`is_due`]); else it is within that time |
//! | an event's time | events of the log past their age by that clock leave, as they would later; what is unfinished keeps its event | it stays in the log for longer by as much as the clock was ahead; that is bounded by the tenant's budget of log bytes, by which the oldest leave whatever the time is |
//! | history (Redis alone) | as the log | blocks from ahead are taken as written when they were found, and leave one age after that |
//! | an idempotency key's time | keys older than a day by that clock are forgotten | it stays in force for a day beyond that time at the longest; Redis, which keeps keys by day, forgets those of days ahead |
//! | an idle lane's record (Redis alone) | forgotten if it seems idle for a week; only the repeat of a call whose answer was lost in that moment would be executed again | forgotten if it is more than a week ahead |
//! | health's buckets | attempts count in a new bucket, and the ones before are over | likewise: a stretch may have two, which are added up |
//! | when a tick is due next | the earliest of all these: now | likewise; no time of this table is waited for by more than its bound, and everybody ticks once a second besides |
//!
//! So no delivery is lost either way: a jump forward costs repeats of what was under way,
//! and a way back attempts that come early. A clock that was ahead by less than a bound
//! keeps something waiting for no longer than it was ahead. Nothing compares two stored
//! times to find an order: queues, logs and lanes count.

use sidehook_core::{
    limits::{LEASE_MAX, RETRY_WAIT_MAX},
    time::Timestamp,
};

/// Whether a lease that ends at `deadline` is over.
#[must_use]
pub fn is_over(deadline: Timestamp, now: Timestamp) -> bool {
    deadline <= now || deadline > now + LEASE_MAX
}

/// Whether a delivery that waits until `at` is to be queued.
#[must_use]
pub fn is_due(at: Timestamp, now: Timestamp) -> bool {
    at <= now || at > now + RETRY_WAIT_MAX
}
