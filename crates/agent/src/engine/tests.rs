//! The engine against receivers that behave, misbehave and do nothing.

mod receiver;
mod rig;
mod stories;
mod tls;
mod workers;
