//! What the black-box tests and the demo stand on.
//!
//! Nothing here links the system: it is driven as its users drive it, by its
//! binaries, its configuration files and its API. A failure to set up is a panic
//! with a sentence that says what to do, for the caller is always a test.
//!
//! | module | what it is |
//! |---|---|
//! | [`system`] | the built binaries as one system: control planes over a store, and agents, to be killed, drained and started again |
//! | [`agent`] | one more agent, with settings of the test's own |
//! | [`client`] | a caller of the API with its key; the shortest way to a subscription and an event |
//! | [`tenancy`] | a tenant of its own on a system that the tests of a file share, and its callers |
//! | [`http`] | a caller of the HTTP gateway, down to the bytes of a request |
//! | [`receiver`] | a receiver of webhooks, plain or over TLS, that answers as told and notes what came |
//! | [`mod@verify`] | what a receiver makes of a signature |
//! | [`load`] | a publisher that does not give up, and its receiver |
//! | [`ledger`] | the books: what was acknowledged against what arrived |
//! | [`fault_proxy`] | a line between two of them that can be cut, stalled and delayed |
//! | [`clock`], [`redis_kept`] | another time of day for a process; a Redis on a snapshot of another day |
//! | [`mod@later`] | the binaries of the next version, as far as this one can play it |
//! | [`power`] | a disk that forgets what was not synced when its power is cut |
//! | [`redis_server`], [`process`] | a Redis, and any other process, that dies with its value |
//! | [`redis_sentinels`], [`redis_cluster`] | who promotes a Redis' replica; a Redis Cluster, and its slots on their way |
//!
//! # How a test is written
//!
//! Each test starts the system that it needs, subscribes a receiver, publishes, and
//! waits for what must come. It never sleeps in order to wait: `Receiver::wait_for`
//! and the API's own watch say when something has happened, and a limit of some
//! seconds is there only for the day on which it does not. Everything is on ports and
//! in folders of its own and ends with its value, so tests run beside each other.
//!
//! ```no_run
//! use std::time::Duration;
//! use sidehook_testkit::{Behaviour, Receiver, System, event, verify};
//!
//! # async fn story() {
//! // One control plane over an embedded store, and one agent.
//! let system = System::builder().embedded().start().await;
//! let client = system.client(0);
//! let receiver = Receiver::start(Behaviour::FailFirst(1)).await;
//! let subscription = client.subscribe(&receiver.url(), "order").await;
//!
//! let results = client.publish(vec![event("order", 1)]).await.expect("published");
//! assert_eq!((results[0].matched, &results[0].error), (1, &None));
//!
//! // Once in vain, and once more.
//! assert!(receiver.wait_for(2, Duration::from_secs(30)).await);
//! assert_eq!(verify(&receiver.received()[1], &subscription), Ok(()));
//! # }
//! ```
//!
//! Where processes die, a [`Ledger`] keeps the books: `acknowledged` for each answer
//! to the publisher, `received` for what the receivers have, and at the end
//! `assert_nothing_lost`, `unexpected` and `repeated`. Whoever writes such a test
//! makes sure that it can fail: a kill before or after the work proves nothing.

pub mod agent;
pub mod client;
pub mod clock;
pub mod fault_proxy;
pub mod http;
pub mod later;
pub mod ledger;
pub mod load;
pub mod power;
pub mod process;
pub mod receiver;
pub mod redis_cluster;
pub mod redis_kept;
pub mod redis_sentinels;
pub mod redis_server;
pub mod system;
pub mod tenancy;
pub mod verify;

pub use agent::Agent;
pub use client::{Client, event, subscription};
pub use clock::Clock;
pub use fault_proxy::FaultProxy;
pub use http::{Http, Reply};
pub use later::build_later;
pub use ledger::Ledger;
pub use load::Load;
pub use process::{Process, binary};
pub use receiver::{Behaviour, Received, Receiver, event_id};
pub use redis_cluster::RedisCluster;
pub use redis_sentinels::RedisSentinels;
pub use redis_server::RedisServer;
pub use system::System;
pub use tenancy::Tenancy;
pub use verify::verify;
