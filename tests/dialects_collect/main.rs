//! Collect's webhooks as its clients know them: `/v1/webhooks…`.
//!
//! Statement by statement of its public documentation, each with a tenant of its own.

mod deliveries;
mod refusals;
mod webhooks;

use std::time::Duration;

use serde_json::{Value, json};
use sidehook_api::v1::{self, Role};
use sidehook_testkit::{
    client::event_of,
    http::Http,
    receiver::{Behaviour, Receiver},
    tenancy::{Tenancy, basic},
};

const PATIENCE: Duration = Duration::from_secs(30);
const URL: &str = "https://yourserver.com/collect-hook";
const NOBODY: &str = "/v1/webhooks/whsub_0000000000000000000000";
/// Collect's types, with its own misspellings.
const TYPES: [&str; 25] = [
    "created",
    "statusChanged",
    "portalSubmited",
    "dueDateChanged",
    "portalViewed",
    "docUploaded",
    "docDeleted",
    "docParsed",
    "itemApproved",
    "itemRejected",
    "itemReopened",
    "itemCancelValidation",
    "formSubmited",
    "emailSent",
    "emailClicked",
    "emailBounced",
    "emailOpened",
    "emailMarkedAsSpam",
    "emailBlocked",
    "emailUnsub",
    "smsSent",
    "smsDelivered",
    "smsClicked",
    "smsFailed",
    "smsUndelivered",
];

/// An event of Collect's.
fn event(action: &str, data: &str) -> v1::Event {
    event_of("collect", action, data)
}

async fn made(http: &Http, body: Value) -> Value {
    http.post("/v1/webhooks", &body).await.expect(200)
}

fn path_of(webhook: &Value) -> String {
    format!("/v1/webhooks/{}", webhook["_id"].as_str().expect("an id"))
}

async fn all(http: &Http) -> Value {
    http.get("/v1/webhooks").await.expect(200)
}
