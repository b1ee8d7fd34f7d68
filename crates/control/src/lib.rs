//! The control plane: RPC services over the store port.
//!
//! | where | what is decided there |
//! |---|---|
//! | [`auth`] | who calls, and which right each RPC needs |
//! | [`errors`] | how errors look on the wire |
//! | [`tenants`] | tenants and API keys |
//! | [`catalog`] | what a tenant's subscriptions are right now |
//! | [`subscriptions`] | how subscriptions change, and their signing keys ([`signing_keys`], [`sealing`]) |
//! | [`eventlog`], [`deliveries`], `tombstones` | what happened, where deliveries stand, and whose they were |
//! | [`engine`] | how events, claims and outcomes reach the store |
//! | `board` | which agent works on which partition |
//! | [`agents`] | the sessions of agents |
//! | [`server`] | what listens where, and how it ends |
//!
//! The services parse, call one operation and convert. The crate knows the store port
//! and no store.

pub mod agents;
pub mod allowances;
pub mod auth;
mod board;
pub mod catalog;
pub mod deliveries;
pub mod engine;
pub mod errors;
pub mod eventlog;
mod explain;
mod filters;
mod leases;
mod outcomes;
mod paging;
mod presence;
pub mod rates;
pub mod sealing;
mod segments;
pub mod server;
mod services;
pub mod signing_keys;
pub mod subscriptions;
pub mod tenants;
mod tombstones;
mod turns;
pub mod users;
pub mod watch;
