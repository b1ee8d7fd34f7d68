//! What a long-running process of Sidehook needs around its job, the same for the control plane and the agent.
//!
//! * [`process`]: from a configuration to an exit code.
//! * [`tasks`]: named spawns; [`drain`]: the one signal that ends them in order.
//! * [`config`]: defaults, file, environment and flags in layers, with all errors at once.
//! * [`logging`]: structured logs that cannot stall the process, and [`throttle`] against floods of them.
//! * [`tls`]: certificates that reload, [`listen`]: accepting connections with or without it, [`loopback`]: where
//!   credentials may go without it.
//! * [`probe`]: health, readiness and metrics over HTTP/1.
//! * [`backoff`], [`build_info`], and [`span`]s of time for people.
//!
//! Deliberately absent: anything that knows a tenant, an event or gRPC. This crate depends on none of ours, so that
//! it cannot become the place where two halves of the system meet behind the back of the protocol.

pub mod backoff;
pub mod build_info;
pub mod config;
pub mod drain;
pub mod fetch;
pub mod listen;
pub mod logging;
pub mod loopback;
pub mod probe;
pub mod process;
pub mod span;
pub mod tasks;
pub mod throttle;
pub mod tls;
