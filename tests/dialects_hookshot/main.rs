//! Hookshot's hooks as its clients know them: `/hooks…`.
//!
//! Statement by statement of its public documentation, each with a tenant of its own.

mod deliveries;
mod hooks;
mod refusals;
mod requests;

use std::process::Command;

use serde_json::{Value, json};
use sidehook_api::v1::{self, Role};
use sidehook_testkit::{
    client::{event_of, subscription},
    http::{Http, Reply},
    receiver::{Behaviour, Receiver},
    tenancy::{Tenancy, basic},
};

const URL: &str = "https://example.com/hook";
/// No hook has it.
const NOBODY: &str = "/hooks/6c229132-a29e-4b83-9f35-e532e7de28a4";

async fn made(http: &Http, body: Value) -> Value {
    http.post("/hooks", &body).await.expect(201)
}

fn path_of(hook: &Value) -> String {
    format!("/hooks/{}", hook["id"].as_str().expect("an id"))
}

/// A hook of all events at this receiver, with these members beside.
async fn hook_at(tenancy: &Tenancy, receiver: &Receiver, more: Value) -> Value {
    let mut body = json!({ "url": receiver.url(), "active": true, "events": ["*"] });
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    made(&tenancy.hookshot(), body).await
}

fn is_uuid(text: &Value) -> bool {
    let text = text.as_str().unwrap_or_default();
    let parts: Vec<_> = text.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12]
}

fn is_time(text: &Value) -> bool {
    let text = text.as_str().unwrap_or_default();
    text.len() == "2020-09-11T14:04:44.053Z".len()
        && text.as_bytes()[10] == b'T'
        && text.as_bytes()[19] == b'.'
        && text.ends_with('Z')
}
