//! What Hookshot's routes take and answer, for `/openapi.json`.

use serde_json::{Map, Value, json};

/// The schemas, by name.
pub(super) fn schemas() -> Map<String, Value> {
    let all = [
        ("HookshotHook", hook()),
        ("HookshotHooks", list_of("HookshotHook")),
        ("HookshotNewHook", change(&["url"])),
        ("HookshotHookChange", change(&[])),
        ("HookshotRequest", request()),
        ("HookshotRequests", list_of("HookshotRequest")),
        ("HookshotError", error()),
    ];
    let all = all.into_iter();
    all.map(|(name, schema)| (name.to_owned(), schema))
        .collect()
}

fn list_of(name: &str) -> Value {
    json!({
        "type": "array",
        "items": { "$ref": format!("#/components/schemas/{name}") },
    })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn text_or_null() -> Value {
    json!({ "type": ["string", "null"] })
}

fn events() -> Value {
    json!({
        "type": "array",
        "items": text(),
        "description": "`subject` (any action), `subject:action`, or `*`.",
        "examples": [["application_form", "quote:created"]],
    })
}

fn config() -> Value {
    json!({
        "type": "object",
        "properties": {
            "url": text(),
            "secret": text_or_null(),
            "header": text_or_null(),
        },
        "required": ["url", "secret", "header"],
    })
}

fn hook() -> Value {
    json!({
        "type": "object",
        "properties": {
            "id": text(),
            "active": { "type": "boolean" },
            "confirmed": { "const": false },
            "events": events(),
            "config": config(),
            "owner_id": text(),
            "tenant_id": text(),
            "created_at": text_or_null(),
            "updated_at": text_or_null(),
        },
        "required": [
            "id", "active", "confirmed", "events", "config", "owner_id", "tenant_id",
            "created_at", "updated_at",
        ],
    })
}

fn change(required: &[&str]) -> Value {
    let mut events = events();
    // Null is none at all.
    events["type"] = json!(["array", "null"]);
    json!({
        "type": "object",
        "properties": {
            "active": {
                "type": "boolean",
                "default": false,
                "description": "Whether events are sent. True needs an entry in `events`; at \
                    most 10 hooks can be active.",
            },
            "events": events,
            "header": {
                "type": ["string", "null"],
                "description": "A header of each request, `Name: Value`.",
                "examples": ["X-Token: abc"],
            },
            "secret": {
                "type": ["string", "null"],
                "description": "If not empty, each request has the header `X-Signature`: the \
                    HMAC of its body in hex, keyed by this text.",
            },
            "url": { "type": "string", "examples": ["https://example.com/hook"] },
        },
        "required": required,
    })
}

fn request() -> Value {
    json!({
        "type": "object",
        "properties": {
            "id": text(),
            "tenant_id": text(),
            "delivery_id": text(),
            "event": text(),
            "enqueued_at": text_or_null(),
            "redelivery": { "type": "boolean" },
            "hook_id": text(),
            "created_at": text_or_null(),
            "updated_at": text_or_null(),
            "response_status": { "type": ["integer", "null"] },
            "response_duration_ms": { "type": ["integer", "null"] },
        },
        "required": [
            "id", "tenant_id", "delivery_id", "event", "enqueued_at", "redelivery", "hook_id",
            "created_at", "updated_at", "response_status", "response_duration_ms",
        ],
    })
}

fn error() -> Value {
    json!({
        "description": "With 422 what is wrong with each field; else `error`.",
        "type": "object",
        "properties": { "error": text() },
        "additionalProperties": { "type": "array", "items": text() },
        "examples": [{ "url": ["can't be blank"] }],
    })
}
