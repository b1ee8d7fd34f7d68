//! What the black-box tests and the demo stand on: receivers, a Redis of their
//! own, the built binaries as processes, and the ledger that compares what was
//! acknowledged with what arrived.
//!
//! Nothing here links the system: it is driven as its users drive it, by its
//! binaries, its configuration files and its API. A failure to set up is a panic
//! with a sentence that says what to do, for the caller is always a test.

pub mod client;
pub mod fault_proxy;
pub mod ledger;
pub mod process;
pub mod receiver;
pub mod redis_server;
pub mod system;
pub mod verify;

pub use client::{Client, event, subscription};
pub use fault_proxy::FaultProxy;
pub use ledger::Ledger;
pub use process::{Process, binary};
pub use receiver::{Behaviour, Received, Receiver, event_id};
pub use redis_server::RedisServer;
pub use system::System;
pub use verify::verify;
