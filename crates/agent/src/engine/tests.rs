//! The engine against receivers that behave, misbehave and do nothing.

mod formats;
mod receiver;
mod rig;
mod stories;
mod tls;
mod workers;
