//! The store port over Redis 7 and later.
//!
//! Every operation is one Lua script that touches one partition; scripts move, Rust
//! decides. The batch is the unit of storage: `layout` is the table of all keys
//! and packed formats, with the reasons. What a worker has for its partitions at one
//! moment travels as one pipeline on the worker's own connections (`turn`), whose
//! calls each carry their stamp: a pipeline of which some calls were executed and
//! others not is repeated as a whole.
//!
//! A single server, Sentinels and a Cluster differ in the map of who has which keys
//! (`topology`, `slots`), which may have one node or many; `route` sends commands where
//! their keys are, and `replicas` says when they are kept.
//!
//! Deliberately absent: policy in scripts, keys that expire by themselves, and any
//! search whose cost grows with the backlog.

mod address;
mod catalog;
mod claim;
mod connection;
mod error;
mod format;
mod health;
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
mod rates;
mod reads;
mod registry;
mod replicas;
mod rights;
mod route;
mod scripts;
mod settle;
mod slots;
mod split;
mod store;
mod system;
mod tick;
mod tls;
mod topology;
mod turn;

pub use error::ConnectError;
pub use store::{RedisConfig, RedisStore};
pub use tls::RedisTls;
