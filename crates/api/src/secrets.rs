//! Proves of every field that the protos mark as a secret that `Debug` hides it.

use core::fmt::Debug;

use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, Value};

use crate::{DESCRIPTORS, agent_v1, record_v1, v1};

const SECRET: &str = "do-not-print-me";

/// A message with `SECRET` in one of its fields, as `Debug` shows it.
fn shown(field: &FieldDescriptor) -> String {
    let mut encoded = Vec::new();
    encode_key(field.number(), WireType::LengthDelimited, &mut encoded);
    encode_varint(SECRET.len() as u64, &mut encoded);
    encoded.extend_from_slice(SECRET.as_bytes());
    let parent = field.parent_message();
    match parent.full_name() {
        "sidehook.v1.CreateApiKeyResponse" => debug::<v1::CreateApiKeyResponse>(&encoded),
        "sidehook.v1.CreateSubscriptionRequest" => debug::<v1::CreateSubscriptionRequest>(&encoded),
        "sidehook.v1.UpdateSubscriptionRequest" => debug::<v1::UpdateSubscriptionRequest>(&encoded),
        "sidehook.v1.RotateSigningKeyRequest" => debug::<v1::RotateSigningKeyRequest>(&encoded),
        "sidehook.v1.SigningKey" => debug::<v1::SigningKey>(&encoded),
        "sidehook.v1.FilterVerdict" => debug::<v1::FilterVerdict>(&encoded),
        "sidehook.v1.Header" => debug::<v1::Header>(&encoded),
        "sidehook.agent.v1.HttpHeader" => debug::<agent_v1::HttpHeader>(&encoded),
        "sidehook.agent.v1.SigningSettings" => debug::<agent_v1::SigningSettings>(&encoded),
        "sidehook.record.v1.SealedKey" => debug::<record_v1::SealedKey>(&encoded),
        other => panic!("{other} has a secret field: add it here"),
    }
}

fn debug<M: Message + Default + Debug>(encoded: &[u8]) -> String {
    let message = M::decode(encoded).expect("a field of text or bytes");
    assert!(message.encoded_len() > SECRET.len(), "the field is known");
    format!("{message:?} {message:#?}")
}

fn fields() -> Vec<FieldDescriptor> {
    let pool = DescriptorPool::decode(DESCRIPTORS).expect("our own descriptors");
    let messages: Vec<_> = pool
        .all_messages()
        .filter(|message| message.package_name().starts_with("sidehook."))
        .collect();
    messages
        .iter()
        .flat_map(|message| message.fields())
        .collect()
}

fn is_marked(field: &FieldDescriptor) -> bool {
    let options = field.options();
    let mark = options.get_field_by_name("debug_redact");
    mark.as_deref().and_then(Value::as_bool).unwrap_or(false)
}

#[test]
fn no_marked_field_is_printed() {
    let marked: Vec<_> = fields().into_iter().filter(is_marked).collect();
    assert!(!marked.is_empty(), "the descriptors keep the marks");
    for field in marked {
        let shown = shown(&field);
        let name = field.full_name();
        assert!(!shown.contains(SECRET), "{name}: {shown}");
        // Neither as the numbers of its bytes, as lists of them are printed.
        assert!(!shown.contains("100, 111, 45"), "{name}: {shown}");
        let stands = format!("{}: [redacted]", field.name());
        assert!(shown.contains(&stands), "{name}: {shown}");
    }
}

#[test]
fn what_sounds_like_a_secret_is_marked() {
    let is_text = |field: &FieldDescriptor| matches!(field.kind(), Kind::String | Kind::Bytes);
    for field in fields().into_iter().filter(is_text) {
        let name = field.name();
        let sounds = name.contains("secret") || name == "sealed";
        let parent = field.parent_message();
        // A header's value, and the part of a payload that a filter looked at.
        let holder = parent.name().ends_with("Header") || parent.name() == "FilterVerdict";
        let wanted = sounds || (holder && name == "value");
        assert_eq!(is_marked(&field), wanted, "{}", field.full_name());
    }
}

#[test]
fn what_holds_a_secret_deep_inside_hides_it_too_and_shows_the_rest() {
    let settings = agent_v1::SubscriptionSettings {
        url: "https://receiver.example/hook".into(),
        headers: vec![agent_v1::HttpHeader {
            name: "x-token".into(),
            value: SECRET.into(),
        }],
        signing: Some(agent_v1::SigningSettings {
            secrets: vec![SECRET.into()],
            local_key: "payroll".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let frame = agent_v1::ConnectResponse {
        frame: Some(agent_v1::connect_response::Frame::Assign(
            agent_v1::Assign {
                settings: vec![settings],
                ..Default::default()
            },
        )),
    };
    let shown = format!("{frame:?}");
    assert!(!shown.contains(SECRET), "{shown}");
    for said in ["receiver.example", "x-token", "payroll"] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
}
