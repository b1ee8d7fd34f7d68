//! A subscription as Hookshot shows it.

use serde::Serialize;
use sidehook_api::v1::{self, SubscriptionStatus, signing::Scheme};

use super::events;
use crate::{ids, times};

/// Shown instead of a secret to those who may not see it; refused as a secret.
pub(super) const REDACTED: &str = "[redacted]";

/// A hook.
#[derive(Debug, Serialize)]
pub(super) struct Hook {
    id: String,
    active: bool,
    confirmed: bool,
    events: Vec<String>,
    config: Config,
    owner_id: String,
    tenant_id: String,
    created_at: Option<String>,
    updated_at: Option<String>,
}

/// Where and how a hook's requests go.
#[derive(Debug, Serialize)]
struct Config {
    url: String,
    secret: Option<String>,
    header: Option<String>,
}

impl Hook {
    /// The hook that a subscription of this tenant is.
    pub(super) fn of(subscription: &v1::Subscription, tenant: &str) -> Self {
        let header = subscription.headers.first();
        Self {
            id: ids::shown(&subscription.id),
            active: subscription.status() == SubscriptionStatus::Active,
            confirmed: false,
            events: events::shown(&subscription.events),
            config: Config {
                url: subscription.url.clone(),
                secret: secret(subscription),
                header: header.map(|header| format!("{}: {}", header.name, header.value)),
            },
            owner_id: ids::shown(&subscription.owner),
            tenant_id: ids::shown(tenant),
            created_at: subscription.created_at.as_ref().map(times::hookshot),
            updated_at: subscription.updated_at.as_ref().map(times::hookshot),
        }
    }
}

/// Whether what `X-Signature` is made with is a secret of Sidehook's: not one that only
/// an agent has, and no other scheme's.
pub(super) fn has_secret(subscription: &v1::Subscription) -> bool {
    let signing = subscription.signing.as_ref();
    signing.is_some_and(|signing| {
        matches!(signing.scheme, Some(Scheme::HmacHeader(_))) && signing.local_key.is_empty()
    })
}

fn secret(subscription: &v1::Subscription) -> Option<String> {
    let keys = subscription.signing.as_ref().map(|signing| &signing.keys);
    let newest = keys.and_then(|keys| keys.first());
    has_secret(subscription)
        .then(|| newest.map_or_else(|| REDACTED.to_owned(), |key| key.secret.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sidehook_core::id::{SubscriptionId, TenantId};

    use super::*;

    fn subscription() -> v1::Subscription {
        let at = prost_types::Timestamp {
            seconds: 1_599_833_084,
            nanos: 53_000_000,
        };
        v1::Subscription {
            id: SubscriptionId::from_bits(7).to_string(),
            url: "https://example.com/hook".to_owned(),
            owner: "alice".to_owned(),
            created_at: Some(at),
            updated_at: Some(at),
            ..v1::Subscription::default()
        }
    }

    fn signing(scheme: Scheme, secret: &str) -> Option<v1::Signing> {
        let key = v1::SigningKey {
            secret: secret.to_owned(),
            ..v1::SigningKey::default()
        };
        Some(v1::Signing {
            scheme: Some(scheme),
            keys: vec![key],
            local_key: String::new(),
        })
    }

    #[test]
    fn a_hook_is_shown_whole() {
        let mut one = subscription();
        one.set_status(SubscriptionStatus::Active);
        one.signing = signing(Scheme::HmacHeader(v1::HmacHeaderScheme::default()), "s");
        one.headers = vec![v1::Header {
            name: "X-Token".to_owned(),
            value: "t: u".to_owned(),
        }];
        let shown = Hook::of(&one, &TenantId::from_bits(1).to_string());
        assert_eq!(
            serde_json::to_value(shown).expect("JSON"),
            json!({
                "id": "00000000-0000-0000-0000-000000000007",
                "active": true,
                "confirmed": false,
                "events": [],
                "config": {
                    "url": "https://example.com/hook",
                    "secret": "s",
                    "header": "X-Token: t: u",
                },
                "owner_id": "alice",
                "tenant_id": "00000000-0000-0000-0000-000000000001",
                "created_at": "2020-09-11T14:04:44.053Z",
                "updated_at": "2020-09-11T14:04:44.053Z",
            })
        );
    }

    #[test]
    fn a_secret_is_shown_where_it_is_hookshots() {
        let mut one = subscription();
        assert_eq!(secret(&one), None);
        one.signing = signing(Scheme::Close(v1::CloseScheme {}), "5b");
        assert_eq!(secret(&one), None, "another scheme's key");
        one.signing = signing(Scheme::HmacHeader(v1::HmacHeaderScheme::default()), "s");
        if let Some(signing) = &mut one.signing {
            signing.keys.clear();
        }
        assert_eq!(secret(&one).as_deref(), Some(REDACTED));
        if let Some(signing) = &mut one.signing {
            signing.local_key = "mine".to_owned();
        }
        assert_eq!(secret(&one), None, "only the agent has it");
    }
}
