//! The mark of an RPC that goes on with what another one began.

/// Extension of a request that is part of one that was counted already: a caller in this
/// process, such as the gateway, makes several RPCs of one request of its own, and its
/// client has asked for one thing. It does not count against the limit of requests. It
/// cannot come over a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Continued;
