//! What an agent may still be given.
//!
//! Credit is *reserved* while the store is asked (how much it will grant is not
//! known), then what was granted is *used* and the rest free again; each report gives
//! a used delivery back. Bytes are known only once granted, so a reservation goes by
//! a guess and a large grant may overdraw them: then nothing is free until reports
//! have brought the account back.

/// One agent's account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credit {
    capacity: u32,
    capacity_bytes: u64,
    reserved: u32,
    used: u32,
    used_bytes: u64,
}

impl Credit {
    /// An account of so many deliveries and bytes, of which `held` deliveries are in
    /// the agent's hands already.
    #[must_use]
    pub const fn new(capacity: u32, capacity_bytes: u64, held: u32) -> Self {
        Self {
            capacity,
            capacity_bytes,
            reserved: 0,
            used: held,
            used_bytes: 0,
        }
    }

    /// How many deliveries of about `typical_bytes` the agent can take now. With
    /// nothing in its hands it takes at least one of any size.
    #[must_use]
    pub fn free(&self, typical_bytes: u64) -> u32 {
        let busy = u64::from(self.used) + u64::from(self.reserved);
        let free = u64::from(self.capacity).saturating_sub(busy);
        let typical_bytes = typical_bytes.max(1);
        let reserved_bytes = u64::from(self.reserved).saturating_mul(typical_bytes);
        let taken_bytes = self.used_bytes.saturating_add(reserved_bytes);
        let free_bytes = self.capacity_bytes.saturating_sub(taken_bytes);
        let fitting = (free_bytes / typical_bytes).max(u64::from(busy == 0));
        u32::try_from(free.min(fitting)).unwrap_or(u32::MAX)
    }

    /// How many of the account's places so many deliveries with so many bytes take: as
    /// many as they are, or their part of the bytes if that is larger.
    #[must_use]
    pub fn places(&self, deliveries: u32, bytes: u64) -> u64 {
        let part = u128::from(bytes) * u128::from(self.capacity);
        let part = part.div_ceil(u128::from(self.capacity_bytes.max(1)));
        u64::try_from(part)
            .unwrap_or(u64::MAX)
            .max(deliveries.into())
    }

    /// Places that are free if what is set aside are deliveries of about `typical_bytes`.
    #[must_use]
    pub fn places_free(&self, typical_bytes: u64) -> u64 {
        let reserved = u64::from(self.reserved).saturating_mul(typical_bytes);
        let bytes = self.used_bytes.saturating_add(reserved);
        let taken = self.places(self.used.saturating_add(self.reserved), bytes);
        u64::from(self.capacity).saturating_sub(taken)
    }

    /// Deliveries that the agent takes in all: the places there are.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Sets `deliveries` aside while the store is asked.
    pub fn reserve(&mut self, deliveries: u32) {
        self.reserved = self.reserved.saturating_add(deliveries);
    }

    /// Of `reserved` deliveries set aside, `used` were granted, with `bytes`.
    pub fn settle(&mut self, reserved: u32, used: u32, bytes: u64) {
        self.reserved = self.reserved.saturating_sub(reserved);
        self.used = self.used.saturating_add(used);
        self.used_bytes = self.used_bytes.saturating_add(bytes);
    }

    /// The agent is done with `deliveries` of `bytes` in all.
    pub fn give_back(&mut self, deliveries: u32, bytes: u64) {
        self.used = self.used.saturating_sub(deliveries);
        self.used_bytes = self.used_bytes.saturating_sub(bytes);
    }

    /// Takes nothing more, whatever is given back.
    pub fn stop(&mut self) {
        self.capacity = 0;
    }

    /// Deliveries in the agent's hands.
    #[must_use]
    pub const fn used(&self) -> u32 {
        self.used
    }
}
