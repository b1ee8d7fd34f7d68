//! What Close's routes take and answer, as JSON Schema.

use serde_json::{Map, Value, json};

/// The schemas by their names.
pub(super) fn all() -> Map<String, Value> {
    let all = [
        ("CloseError", error()),
        ("CloseEventPattern", pattern()),
        ("CloseNewWebhook", said(&["url", "events"])),
        ("CloseChangedWebhook", said(&[])),
        ("CloseWebhook", webhook(true)),
        ("CloseListedWebhook", webhook(false)),
        (
            "CloseWebhooks",
            page_of(
                "CloseListedWebhook",
                &json!({ "has_more": { "type": "boolean" } }),
            ),
        ),
        (
            "CloseNothing",
            json!({ "type": "object", "maxProperties": 0 }),
        ),
        ("CloseEvent", event()),
        (
            "CloseEvents",
            page_of(
                "CloseEvent",
                &json!({ "cursor_next": nullable(), "cursor_previous": nullable() }),
            ),
        ),
    ];
    let all = all.into_iter();
    all.map(|(name, schema)| (name.to_owned(), schema))
        .collect()
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn nullable() -> Value {
    json!({ "type": ["string", "null"] })
}

fn time() -> Value {
    json!({
        "type": ["string", "null"],
        "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$",
        "description": "In UTC, without zone.",
    })
}

/// An object that has exactly these members.
fn exactly(properties: &Value) -> Value {
    let names = properties.as_object().into_iter().flat_map(Map::keys);
    json!({
        "type": "object",
        "required": names.collect::<Vec<_>>(),
        "additionalProperties": false,
        "properties": properties,
    })
}

fn page_of(item: &str, beside: &Value) -> Value {
    let mut properties = beside.clone();
    properties["data"] = json!({ "type": "array", "items": reference(item) });
    exactly(&properties)
}

fn error() -> Value {
    json!({
        "description": "One message, or wrong fields by their names.",
        "oneOf": [
            exactly(&json!({ "error": { "type": "string" } })),
            exactly(&json!({
                "errors": { "type": "array", "items": { "type": "string" } },
                "field-errors": { "type": "object" },
            })),
        ],
    })
}

fn pattern() -> Value {
    json!({
        "type": "object",
        "required": ["object_type", "action"],
        "additionalProperties": false,
        "properties": {
            "object_type": { "type": "string", "minLength": 1, "examples": ["lead"] },
            "action": { "type": "string", "minLength": 1, "examples": ["updated"] },
            "extra_filter": {
                "type": ["object", "null"],
                "description": "A filter on the event; the README describes its language.",
                "examples": [{
                    "type": "field_accessor",
                    "field": "user_id",
                    "filter": { "type": "equals", "value": "user_1" },
                }],
            },
        },
    })
}

/// What a client says of a webhook.
fn said(required: &[&str]) -> Value {
    let or_null = |mut schema: Value, kind: &str, is_required: bool| {
        let kinds = if is_required {
            json!(kind)
        } else {
            json!([kind, "null"])
        };
        schema["type"] = kinds;
        schema
    };
    let is = |name: &str| required.contains(&name);
    json!({
        "type": "object",
        "required": required,
        "additionalProperties": false,
        "properties": {
            "url": or_null(
                json!({ "format": "uri", "maxLength": 2048, "examples": ["https://example.com/hook"] }),
                "string",
                is("url"),
            ),
            "events": or_null(
                json!({ "maxItems": 100, "items": reference("CloseEventPattern") }),
                "array",
                is("events"),
            ),
            "verify_ssl": { "type": ["boolean", "null"], "default": true },
            "status": { "enum": ["active", "paused", null] },
        },
    })
}

fn webhook(is_alone: bool) -> Value {
    let count = json!({ "type": "integer", "minimum": 0 });
    let noted = exactly(&json!({
        "attempt_number": count,
        "datetime": time(),
        "error": nullable(),
        "event_id": nullable(),
        "response_status_code": { "type": ["integer", "null"] },
    }));
    let mut properties = json!({
        "id": { "type": "string", "pattern": "^whsub_" },
        "url": { "type": "string" },
        "events": { "type": "array", "items": reference("CloseEventPattern") },
        "verify_ssl": { "type": "boolean" },
        "status": { "enum": ["active", "paused"] },
        "pause_reason": nullable(),
        "health_status": nullable(),
        "latest_error": nullable(),
        "counters": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "first_success": count,
                "first_fail": count,
                "retry_success": count,
                "retry_fail": count,
            },
        },
        "history": exactly(&json!({
            "errors": { "type": "array", "items": noted },
            "successes": { "type": "array", "items": noted },
        })),
        "recent_consecutive_fail_buckets_cnt": count,
        "created_by": nullable(),
        "updated_by": nullable(),
        "date_created": time(),
        "date_updated": time(),
    });
    if is_alone {
        properties["signature_key"] = json!({
            "type": ["string", "null"],
            "description": "64 hex digits; null if it is signed in another way, or may not \
                be seen by the caller.",
        });
    }
    exactly(&properties)
}

fn event() -> Value {
    exactly(&json!({
        "id": { "type": "string", "pattern": "^ev_" },
        "date_created": time(),
        "date_updated": time(),
        "organization_id": { "type": "string" },
        "user_id": nullable(),
        "request_id": nullable(),
        "api_key_id": nullable(),
        "object_type": { "type": "string" },
        "object_id": nullable(),
        "lead_id": nullable(),
        "action": { "type": "string" },
        "changed_fields": { "type": "array", "items": { "type": "string" } },
        "data": { "description": "As it was published." },
        "previous_data": { "description": "As it was published." },
        "meta": { "description": "As it was published." },
    }))
}
