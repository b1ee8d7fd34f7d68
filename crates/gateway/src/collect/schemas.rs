//! What Collect's routes take and answer, for `/openapi.json`.

use serde_json::{Map, Value, json};

use super::types::TYPES;

/// The schemas, by name.
pub(super) fn schemas() -> Map<String, Value> {
    let all = [
        ("CollectWebhook", webhook()),
        (
            "CollectWebhooks",
            json!({
                "type": "array",
                "items": { "$ref": "#/components/schemas/CollectWebhook" },
            }),
        ),
        ("CollectNewWebhook", change(&["targetUrl"])),
        ("CollectWebhookChange", change(&[])),
        (
            "CollectNothing",
            json!({ "type": "object", "additionalProperties": false }),
        ),
        ("CollectError", error()),
    ];
    let all = all.into_iter();
    all.map(|(name, schema)| (name.to_owned(), schema))
        .collect()
}

fn types() -> Value {
    json!({ "type": "array", "items": { "enum": TYPES } })
}

fn status() -> Value {
    json!({ "enum": ["active", "paused"] })
}

fn webhook() -> Value {
    json!({
        "type": "object",
        "properties": {
            "_id": { "type": "string" },
            "targetUrl": { "type": "string" },
            "status": status(),
            "types": types(),
            "campaignId": { "type": "string" },
            "secretToken": { "type": "string" },
            "createdAt": { "type": "string", "examples": ["2022-07-13 15:01:38 UTC"] },
        },
        "required": ["_id", "targetUrl", "status", "types"],
    })
}

fn change(required: &[&str]) -> Value {
    let mut types = types();
    // Null is as if nothing were given.
    types["type"] = json!(["array", "null"]);
    types["description"] = json!("All of them if none are named at creation.");
    json!({
        "type": "object",
        "properties": {
            "targetUrl": { "type": "string", "examples": ["https://example.com/hook"] },
            "types": types,
            "campaignId": {
                "type": ["string", "null"],
                "description": "Only events of this campaign are sent.",
            },
            "secretToken": {
                "type": ["string", "null"],
                "description": "Sent in a header of each request, as it is.",
            },
            "status": status(),
        },
        "required": required,
    })
}

fn error() -> Value {
    json!({
        "type": "object",
        "properties": { "error": { "type": "string" } },
        "required": ["error"],
    })
}
