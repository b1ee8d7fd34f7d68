//! Close's webhook subscriptions as its clients know them: `/api/v1/webhook/…`.
//!
//! Statement by statement of its public documentation, each with a tenant of its own.

mod deliveries;
mod limits;
mod log;
mod refusals;
mod subscriptions;

use std::{io::Write as _, process::Command, time::Duration};

use rcgen::generate_simple_self_signed;
use serde_json::{Value, json};
use sidehook_api::v1::{self, Role};
use sidehook_testkit::{
    client::event_of,
    http::Http,
    receiver::{Behaviour, Received, Receiver},
    tenancy::{Tenancy, basic},
};

const PATIENCE: Duration = Duration::from_secs(30);
const URL: &str = "https://example.com/hook";
const ALL: &str = "/api/v1/webhook/";
/// No subscription has it.
const NOBODY: &str = "/api/v1/webhook/whsub_0000000000000000000000/";
const REQUIRED: &str = "This field is required.";

/// A subscription of one kind of event.
fn body(url: &str) -> Value {
    json!({
        "url": url,
        "events": [{ "object_type": "lead", "action": "updated" }],
    })
}

async fn made(http: &Http, body: Value) -> Value {
    http.post(ALL, &body).await.expect(201)
}

fn path_of(webhook: &Value) -> String {
    format!("{ALL}{}/", webhook["id"].as_str().expect("an id"))
}

async fn read(http: &Http, webhook: &Value) -> Value {
    http.get(&path_of(webhook)).await.expect(200)
}

async fn count(http: &Http) -> usize {
    let listed = http.get(ALL).await.expect(200);
    listed["data"].as_array().expect("a list").len()
}

fn is_time(text: &Value) -> bool {
    let text = text.as_str().unwrap_or_default();
    let pattern: String = text
        .chars()
        .map(|char| if char.is_ascii_digit() { '0' } else { char })
        .collect();
    pattern == "0000-00-00T00:00:00.000000"
}
