//! What `build.rs` made of `proto/`, nested as the packages are, which the
//! generated paths count on.

/// Package `sidehook.v1`: the public API.
pub mod v1 {
    tonic::include_proto!("sidehook.v1");
}

/// Package `sidehook.agent`.
pub mod agent {
    /// Package `sidehook.agent.v1`: the agent's stream.
    pub mod v1 {
        tonic::include_proto!("sidehook.agent.v1");
    }
}

/// Package `sidehook.record`.
pub mod record {
    /// Package `sidehook.record.v1`: the bytes at rest.
    pub mod v1 {
        tonic::include_proto!("sidehook.record.v1");
    }
}

// `Debug` of the messages that hold secrets.
include!(concat!(env!("OUT_DIR"), "/debug.rs"));
