//! The HTTP gateway: three webhook APIs that others made, spoken over Sidehook's own.
//!
//! | dialect | paths | whose clients feel at home |
//! |---|---|---|
//! | `close` | `/api/v1/webhook/…`, `/api/v1/event/…` | Close CRM's |
//! | `collect` | `/v1/webhooks…` | Collect's |
//! | `hookshot` | `/hooks…` | Bold Penguin Hookshot's |
//!
//! It is a renderer and decides nothing. A request becomes RPCs to the same service that
//! the gRPC port serves, in this process, with the caller's credential on them; so there
//! is one table of rights, one validation, one set of limits, and a subscription made
//! through one dialect is what any other shows. What differs from dialect to dialect is
//! words: names of fields, formats of times, status codes, bodies of errors.
//!
//! | where | what is decided there |
//! |---|---|
//! | `dialect` | what a dialect and a route are: one row per route |
//! | `app` | how a request finds its row; what every answer has |
//! | `call`, `backend` | what a handler gets; which RPCs it may make |
//! | `credential` | where the key stands in a request |
//! | `problem` | what went wrong, before a dialect puts it into words |
//! | `json`, `query`, `times` | how input is read, strictly |
//! | `openapi` | `/openapi.json`, made from the same rows |
//! | `ids` | ids as UUIDs |
//! | `subscriptions` | how a change keeps what a dialect has no words for |
//! | `settings` | what the foreign APIs leave open |
//! | `serve` | connections, their limits, and their end |
//!
//! Deliberately absent: the store, the domain's rules, a cache. The crate knows the
//! generated clients and none of the control plane.

mod answer;
mod app;
mod backend;
mod call;
mod close;
mod collect;
mod credential;
mod dialect;
mod hookshot;
mod ids;
mod json;
mod openapi;
mod patience;
mod problem;
mod query;
mod serve;
mod settings;
mod subscriptions;
mod times;

pub use self::{
    backend::InProcess,
    serve::{Gateway, GatewayConfig, StartError},
    settings::DialectSettings,
};
