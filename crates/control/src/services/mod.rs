//! The RPC services for people and publishers. A handler parses, calls one operation,
//! and converts.

pub(crate) mod admin;
pub(crate) mod agents;
pub(crate) mod deliveries;
pub(crate) mod events;
mod explaining;
mod parse;
pub(crate) mod publishing;
mod streaming;
mod watching;
pub(crate) mod webhooks;
