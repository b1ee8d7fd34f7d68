//! The wire and the bytes at rest: types generated from `proto/`, and the
//! conversions between them and the domain's own types.
//!
//! Conversions of what callers send validate: they collect every violation, each with
//! the path of its field. Conversions of bytes at rest do not: what lies there was right
//! by the rules of its day, or is a later version's, and is read as far as it is
//! understood ([`record`]).
//! Nothing here decides policy, and nothing here does I/O.

pub mod agent;
mod carry;
pub mod continued;
pub mod delivery;
pub mod event;
pub mod health;
#[cfg(feature = "later")]
pub mod later;
mod mask;
pub mod metadata;
pub mod record;
pub mod record_error;
pub mod registry;
pub mod subscription;
pub mod time;
pub mod violation;

#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::too_many_lines,
    clippy::too_many_lines,
    clippy::allow_attributes_without_reason,
    reason = "generated; the protos carry the documentation"
)]
mod generated;

pub use generated::{agent::v1 as agent_v1, record::v1 as record_v1, v1};

/// The encoded `FileDescriptorSet` of all protos, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

#[cfg(test)]
mod secrets;
