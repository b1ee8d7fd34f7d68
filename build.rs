//! Compiles `proto/` into Rust for `crates/api`, which names this file as its
//! build script. protox parses the protos, so that no `protoc` is needed.
//!
//! A field marked `debug_redact` (the option that protobuf has for this) holds a secret:
//! the `Debug` of its message is written here instead of derived, and shows that there
//! is such a field, not what is in it. The mark in the proto is all that is needed.
//!
//! With the feature `later` it plays the next version, for the test that two versions
//! share a store (`tests/two_versions.rs`): every record has one more field, which is
//! always written, and every message on the wire one that nobody knows.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use protox::prost_reflect::{
    FieldDescriptor, MessageDescriptor, Value,
    prost_types::{
        FieldDescriptorProto, FileDescriptorSet,
        field_descriptor_proto::{Label, Type},
    },
};

const FILES: &[&str] = &[
    "sidehook/v1/admin_service.proto",
    "sidehook/v1/agent_admin_service.proto",
    "sidehook/v1/delivery_service.proto",
    "sidehook/v1/event_service.proto",
    "sidehook/v1/webhook_service.proto",
    "sidehook/agent/v1/agent_service.proto",
    "sidehook/record/v1/image.proto",
    RECORDS,
];
const RECORDS: &str = "sidehook/record/v1/records.proto";

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
    fs::write(out.join("descriptors.bin"), encoded)?;

    let pool = compiler.descriptor_pool();
    let secretive: Vec<_> = pool.all_messages().filter(has_secret).collect();
    let debugs = secretive.iter().map(debug).collect::<Result<String, _>>()?;
    fs::write(out.join("debug.rs"), debugs)?;
    let later = env::var_os("CARGO_FEATURE_LATER").is_some();
    let mut files = compiler.file_descriptor_set();
    if later {
        add_fields(&mut files);
    }
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
        .compile_fds(files)?;
    if later {
        replace_codec(&out)?;
    }
    Ok(())
}

/// Adds a field to every record. It is required, so that it is written without anybody
/// setting it: whoever makes a record takes the default for what he does not name.
fn add_fields(files: &mut FileDescriptorSet) {
    let records = files.file.iter_mut();
    for file in records.filter(|file| file.name() == RECORDS) {
        // It tells where each field is written, and this one nowhere is.
        file.source_code_info = None;
        for message in &mut file.message_type {
            message.field.push(FieldDescriptorProto {
                name: Some("later".to_owned()),
                number: Some(1_000),
                label: Some(Label::Required.into()),
                r#type: Some(Type::String.into()),
                default_value: Some("written by a later version".to_owned()),
                json_name: Some("later".to_owned()),
                ..FieldDescriptorProto::default()
            });
        }
    }
}

/// Has the generated services send messages through `crate::later`.
fn replace_codec(out: &Path) -> Result<(), Box<dyn Error>> {
    for package in ["sidehook.v1.rs", "sidehook.agent.v1.rs"] {
        let file = out.join(package);
        let code = fs::read_to_string(&file)?;
        let codec = "tonic_prost::ProstCodec";
        if !code.contains(codec) {
            return Err(format!("{package} has no {codec}").into());
        }
        fs::write(&file, code.replace(codec, "crate::later::Codec"))?;
    }
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
