//! Compiles `proto/` into Rust for `crates/api`, which names this file as its
//! build script. protox parses the protos, so that no `protoc` is needed.
//!
//! A field marked `debug_redact` (the option that protobuf has for this) holds a secret:
//! the `Debug` of its message is written here instead of derived, and shows that there
//! is such a field, not what is in it. The mark in the proto is all that is needed.

use std::{env, error::Error, fmt::Write as _, path::PathBuf};

use protox::prost_reflect::{FieldDescriptor, MessageDescriptor, Value};

const FILES: &[&str] = &[
    "sidehook/v1/admin_service.proto",
    "sidehook/v1/agent_admin_service.proto",
    "sidehook/v1/delivery_service.proto",
    "sidehook/v1/event_service.proto",
    "sidehook/v1/webhook_service.proto",
    "sidehook/agent/v1/agent_service.proto",
    "sidehook/record/v1/image.proto",
    "sidehook/record/v1/records.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo runs build scripts in the folder of their package: crates/api.
    let proto = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", proto.display());
    let mut compiler = protox::Compiler::new([&proto])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(FILES)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Encoded by the compiler, which knows options that prost's types do not.
    let encoded = compiler.encode_file_descriptor_set();
    std::fs::write(out.join("descriptors.bin"), encoded)?;

    let pool = compiler.descriptor_pool();
    let secretive: Vec<_> = pool.all_messages().filter(has_secret).collect();
    let debugs = secretive.iter().map(debug).collect::<Result<String, _>>()?;
    std::fs::write(out.join("debug.rs"), debugs)?;
    tonic_prost_build::configure()
        .skip_debug(
            secretive
                .iter()
                .map(|message| format!(".{}", message.full_name())),
        )
        // Payloads are slices of the frame that they arrived in, not copies.
        // Clients get their channel from the caller; the generated `connect` would also
        // collide with AgentService.Connect.
        .build_transport(false)
        .bytes(".")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

fn has_secret(message: &MessageDescriptor) -> bool {
    message.fields().any(|field| is_secret(&field))
}

fn is_secret(field: &FieldDescriptor) -> bool {
    let options = field.options();
    let mark = options.get_field_by_name("debug_redact");
    mark.as_deref().and_then(Value::as_bool).unwrap_or(false)
}

/// A `Debug` that hides the secret fields of `message`, to be read inside the module
/// that holds the generated packages.
fn debug(message: &MessageDescriptor) -> Result<String, Box<dyn Error>> {
    let (name, package) = (message.name(), message.package_name());
    let module = package.strip_prefix("sidehook.").unwrap_or(package);
    // What the system does not need is refused rather than half done.
    if message.parent_message().is_some() || message.oneofs().len() > 0 {
        let name = message.full_name();
        return Err(format!("{name}: debug_redact beside a oneof or in a nested message").into());
    }
    let mut text = format!(
        "impl ::core::fmt::Debug for {}::{name} {{
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{
                f.debug_struct({name:?})",
        module.replace('.', "::"),
    );
    for field in message.fields() {
        let name = field.name();
        if is_secret(&field) {
            write!(text, ".field({name:?}, &format_args!(\"[redacted]\"))")?;
        } else {
            write!(text, ".field({name:?}, &self.{name})")?;
        }
    }
    text.push_str(".finish() } }\n");
    Ok(text)
}
