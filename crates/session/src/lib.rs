//! Both ends of the agent protocol as pure machines: no I/O, no clock, no task. What arrives and the time come in as
//! arguments, what is to be sent comes out as values, so that every order of events can be tested.
//!
//! Wire types are somebody else's: a lease is opaque bytes here, an outcome a type parameter.

pub mod agent_end;
pub mod server_end;

/// How many capacities of outcomes an agent may have unacknowledged before it sends no more.
const UNACKNOWLEDGED_CAPACITIES: usize = 4;
