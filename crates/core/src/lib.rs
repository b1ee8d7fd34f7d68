//! The domain: what a subscription, an event, a delivery and an attempt are, and
//! every rule about them that needs no I/O.
//!
//! Pure: nothing here reads a clock, spawns, or knows a wire format. Callers pass
//! `now` and random numbers in. Whoever looks for a number looks into [`limits`];
//! whoever looks for what happens after an attempt looks into [`retry`].

pub mod address;
pub mod delivery;
pub mod email;
pub mod event;
pub mod filter;
pub mod health;
pub mod id;
pub mod limits;
pub mod matching;
pub mod outcome;
pub mod pool;
pub mod principal;
pub mod retry;
pub mod signing;
pub mod subscription;
pub mod text;
pub mod time;
pub mod version;
pub mod violation;
