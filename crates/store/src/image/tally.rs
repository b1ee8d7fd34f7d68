//! Counting what an image holds.

use core::fmt;

use super::Image;
use crate::registry::Kind;

/// How much of what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tenants.
    pub tenants: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Events in them.
    pub events: u64,
    /// Attempts at deliveries.
    pub attempts: u64,
    /// Deliveries that are queued, or were lent.
    pub ready: u64,
    /// Deliveries that wait for a retry.
    pub waiting: u64,
    /// Idempotency keys.
    pub keys: u64,
    /// Other records: what else is in the registry, versions, numbers that are used up.
    pub others: u64,
}

impl Tally {
    /// Counts a record.
    pub fn count(&mut self, image: &Image) {
        let of = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        match image {
            Image::Tenant { .. } | Image::Deleted { .. } => self.others += 1,
            Image::Subscription { .. } => self.subscriptions += 1,
            Image::Segment { records, .. } => {
                self.segments += 1;
                self.events += of(records.iter().filter(|one| !one.is_empty()).count());
            }
            Image::Attempts { records, .. } => self.attempts += of(records.len()),
            Image::Deliveries { due: Some(_), .. } => self.waiting += 1,
            Image::Deliveries { run, due: None } => self.ready += of(run.indices.len()),
            Image::Key { .. } => self.keys += 1,
            Image::Registry { kind, .. } => match kind {
                Kind::Tenant => self.tenants += 1,
                Kind::ApiKey | Kind::Agent | Kind::Tombstone | Kind::Agreement | Kind::User => {
                    self.others += 1
                }
            },
        }
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Tally {
    /// Whatever there is, and how much of it: `2 tenants, 3 events`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.tenants, "tenant", "tenants"),
            (self.subscriptions, "subscription", "subscriptions"),
            (self.events, "event", "events"),
            (self.attempts, "attempt", "attempts"),
            (self.ready, "queued delivery", "queued deliveries"),
            (self.waiting, "waiting delivery", "waiting deliveries"),
            (self.keys, "idempotency key", "idempotency keys"),
            (self.others, "other record", "other records"),
        ];
        let mut first = true;
        for (count, one, many) in parts.into_iter().filter(|(count, ..)| *count > 0) {
            let comma = if first { "" } else { ", " };
            write!(f, "{comma}{count} {}", if count == 1 { one } else { many })?;
            first = false;
        }
        if first {
            f.write_str("nothing")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_leave_out_what_is_not_there() {
        let tally = Tally {
            tenants: 1,
            ready: 2,
            ..Tally::default()
        };
        assert_eq!(tally.to_string(), "1 tenant, 2 queued deliveries");
        assert_eq!(Tally::default().to_string(), "nothing");
    }
}
