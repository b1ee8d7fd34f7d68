//! The store port over Redis 7 and later.
//!
//! Every operation is one Lua script that touches one partition; scripts move, Rust
//! decides. The batch is the unit of storage: `layout` is the table of all keys
//! and packed formats, with the reasons. What a worker has for its partitions at one
//! moment travels as one pipeline on the worker's own connection (`turn`), whose
//! calls each carry their stamp: a pipeline of which some calls were executed and
//! others not is repeated as a whole.
//!
//! Deliberately absent: policy in scripts, keys that expire by themselves, and any
//! search whose cost grows with the backlog.

mod catalog;
mod claim;
mod connection;
mod error;
mod hints;
mod image;
mod import;
mod inspect;
mod layout;
mod leases;
mod occupancy;
mod outcomes;
mod preflight;
mod publish;
mod reads;
mod registry;
mod rights;
mod scripts;
mod settle;
mod store;
mod tick;
mod tls;
mod turn;

pub use error::ConnectError;
pub use store::{RedisConfig, RedisStore};
pub use tls::RedisTls;
