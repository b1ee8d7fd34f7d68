//! The store port: what the control plane wants of a store, and nothing about how.
//!
//! The port moves opaque records (encoded by `sidehook-api`) between queues, leases,
//! retries and history; it never looks into them and decides no policy. All hot
//! operations travel in a [`Turn`]: what one worker has for its partitions at one
//! moment, in one round trip. Every call is safe to repeat with the same
//! [`Stamp`]; see [`turn`].
//!
//! [`model`] is the in-memory reference. With the feature `conformance` come
//! `conformance`, the suite that every backend must pass, and `ledger`, a naive
//! account that the suite keeps beside the store. [`rules`] are what every backend
//! refuses alike, [`budget`] is what every backend counts alike.

pub mod budget;
pub mod catalog;
pub mod clock;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod error;
pub mod format;
pub mod hint;
pub mod image;
pub mod inspect;
#[cfg(any(test, feature = "conformance"))]
pub mod ledger;
pub mod model;
pub mod port;
pub mod rates;
pub mod read;
pub mod registry;
pub mod rules;
pub mod shares;
pub mod turn;

pub use error::{CallError, StoreError};
pub use port::Store;
pub use turn::{Stamp, Turn, TurnReply};
