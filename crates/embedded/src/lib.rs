//! The store port in one file on one node: durable, and nothing else to run.
//!
//! Everything lies in the tables of a redb database (`layout` is the list of all of
//! them); there is no state in memory that a crash could take or that could differ
//! from what is on disk. One thread writes (`writer`): it takes whatever waits,
//! executes it in one transaction, commits, and answers. So nothing of a batch is
//! visible to anyone before it is committed, and a batch that fails leaves nothing
//! behind; neither needs code of its own. Readers see what was committed and wait
//! for nobody.
//!
//! As in the Redis adapter, the batch is the unit of storage: one value for the
//! events of a publish, one queue entry for those of them that go to a subscription,
//! one row for a lease. A delivery has a row of its own only once it waits for a
//! retry or is delivered again.
//!
//! Deliberately absent: a second node, a scan of anything that grows (but in
//! `inspect`), and a journal of commands. What is stored is what the port's
//! operations result in.

mod batch;
mod catalog;
mod claim;
mod codec;
mod damage;
mod engine;
mod error;
mod health;
mod image;
mod inspect;
mod jobs;
mod lanes;
mod layout;
mod lease;
mod media;
mod open;
mod publish;
mod queue;
mod reads;
mod replies;
mod restore;
mod ring;
mod settle;
mod store;
mod tables;
mod tick;
mod work;
mod writer;

use std::time::{SystemTime, UNIX_EPOCH};

pub use error::OpenError;
pub use media::Media;
use sidehook_core::time::Timestamp;
pub use store::Embedded;

/// `now` as given, else the system's clock: the one place that reads it.
fn clock(now: Option<Timestamp>) -> Timestamp {
    now.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Timestamp::default() + since.unwrap_or_default()
    })
}
