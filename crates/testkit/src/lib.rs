//! What the black-box tests and the demo stand on: receivers, a Redis of their
//! own, the built binaries as processes, and the ledger that compares what was
//! acknowledged with what arrived.
//!
//! Nothing here links the system: it is driven as its users drive it, by its
//! binaries, its configuration files and its API. A failure to set up is a panic
//! with a sentence that says what to do, for the caller is always a test.

pub mod receiver;

pub use receiver::{Behaviour, Received, Receiver, event_id};
