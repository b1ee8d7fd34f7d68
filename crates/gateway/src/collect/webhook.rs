//! A subscription as Collect shows it. What is not set is left out.

use serde::Serialize;
use sidehook_api::v1::{self, SubscriptionStatus};

use super::types;
use crate::{settings::DialectSettings, times};

/// A webhook.
#[derive(Debug, Serialize)]
pub(super) struct Webhook {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "targetUrl")]
    target_url: String,
    status: &'static str,
    types: Vec<&'static str>,
    #[serde(rename = "campaignId", skip_serializing_if = "String::is_empty")]
    campaign_id: String,
    #[serde(rename = "secretToken", skip_serializing_if = "Option::is_none")]
    secret_token: Option<String>,
    #[serde(rename = "createdAt", skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
}

impl Webhook {
    /// The webhook that a subscription is.
    pub(super) fn of(subscription: &v1::Subscription, settings: &DialectSettings) -> Self {
        let active = subscription.status() == SubscriptionStatus::Active;
        let mut headers = subscription.headers.iter();
        let token = headers.find(|header| is_token(header, settings));
        Self {
            id: subscription.id.clone(),
            target_url: subscription.url.clone(),
            status: if active { "active" } else { "paused" },
            types: types::shown(&subscription.events),
            campaign_id: subscription.campaign_id.clone(),
            secret_token: token.map(|header| header.value.clone()),
            created_at: subscription.created_at.as_ref().map(times::collect),
        }
    }
}

/// Whether this is the header of the secret token.
pub(super) fn is_token(header: &v1::Header, settings: &DialectSettings) -> bool {
    let name = &settings.collect_token_header;
    header.name.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_set_is_left_out() {
        let settings = DialectSettings::default();
        let mut subscription = v1::Subscription {
            id: "whsub_1".to_owned(),
            url: "https://example.com/".to_owned(),
            created_at: Some(prost_types::Timestamp {
                seconds: 1_657_724_498,
                nanos: 999_000_000,
            }),
            ..v1::Subscription::default()
        };
        subscription.set_status(SubscriptionStatus::Paused);
        let shown = Webhook::of(&subscription, &settings);
        let mut expected = json!({
            "_id": "whsub_1",
            "targetUrl": "https://example.com/",
            "status": "paused",
            "types": [],
            "createdAt": "2022-07-13 15:01:38 UTC",
        });
        assert_eq!(serde_json::to_value(shown).expect("JSON"), expected);
        for name in ["X-Other", "X-Secret-Token"] {
            subscription.headers.push(v1::Header {
                name: name.to_owned(),
                value: format!("value of {name}"),
            });
        }
        subscription.campaign_id = "c".to_owned();
        expected["campaignId"] = json!("c");
        expected["secretToken"] = json!("value of X-Secret-Token");
        let shown = Webhook::of(&subscription, &settings);
        assert_eq!(serde_json::to_value(shown).expect("JSON"), expected);
    }
}
