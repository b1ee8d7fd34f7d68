//! Compiles `proto/` into Rust for `crates/api`, which names this file as its
//! build script. protox parses the protos, so that no `protoc` is needed.

use std::{env, error::Error, path::PathBuf};

use prost::Message as _;

const FILES: &[&str] = &[
    "sidehook/v1/admin_service.proto",
    "sidehook/v1/agent_admin_service.proto",
    "sidehook/v1/delivery_service.proto",
    "sidehook/v1/event_service.proto",
    "sidehook/v1/webhook_service.proto",
    "sidehook/agent/v1/agent_service.proto",
    "sidehook/record/v1/records.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo runs build scripts in the folder of their package: crates/api.
    let proto = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", proto.display());
    let descriptors = protox::compile(FILES, [&proto])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Payloads are slices of the frame that they arrived in, not copies.
        // Clients get their channel from the caller; the generated `connect` would also
        // collide with AgentService.Connect.
        .build_transport(false)
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
