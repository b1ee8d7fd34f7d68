//! Configuration in layers: defaults, then a TOML file, then the environment, then flags.
//!
//! All layers are merged into one table first and read once, by the [`Reader`] functions of the structs that own the
//! values; those give the defaults, so that a default stands beside the documentation of its field. Deriving serde's
//! `Deserialize` would stop at the first error, cannot say which layer a value came from, and would echo secrets in
//! its messages: hence a reader of our own, which reports everything at once ([`Problems`]).
//!
//! ```
//! use sidehook_runtime::config::Layers;
//! use std::time::Duration;
//!
//! let drain_timeout = Layers::new()
//!     .env("SIDEHOOK_", &["SIDEHOOK_AGENT_"], [("SIDEHOOK_DRAIN_TIMEOUT".into(), "5s".into())])
//!     .read(|r| Some(r.value("drain_timeout", Duration::from_secs(30))));
//! assert_eq!(drain_timeout, Ok(Duration::from_secs(5)));
//! ```
//!
//! In the environment two underscores separate section and key: `SIDEHOOK_LOG__FORMAT` is `log.format`.

mod layers;
mod problems;
mod reader;
mod setting;
#[cfg(test)]
mod tests;

pub use layers::Layers;
pub use problems::{Problem, Problems};
pub use reader::Reader;
pub use setting::{ByteSize, Setting};
