//! What happens to a subscription's keys, time limits and status over its life.
#![allow(clippy::unwrap_used, reason = "a failing test shows where")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sidehook_api::v1::{self, signing::Scheme};
use sidehook_core::{
    id::{SubscriptionId, TenantId},
    principal::{Principal, Role},
    subscription::PauseReason,
};
use support::{assert_field, assert_reason, start, start_with, subscription, with};
use tonic::Code;

fn unsigned() -> Option<v1::Signing> {
    Some(v1::Signing {
        scheme: Some(Scheme::Unsigned(v1::UnsignedScheme {})),
        ..Default::default()
    })
}

#[tokio::test]
async fn keys_rotate_with_an_overlap_and_change_with_the_scheme() {
    let api = start().await;
    let created = api.create(subscription()).await.unwrap();
    let rotate = async |new_secret: &str, overlap: Option<i64>| {
        let request = v1::RotateSigningKeyRequest {
            id: created.id.clone(),
            new_secret: new_secret.into(),
            overlap: overlap.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
            etag: String::new(),
        };
        let answer = api
            .webhooks()
            .rotate_signing_key(with(&api.admin, request))
            .await;
        answer.map(|answer| {
            answer
                .into_inner()
                .subscription
                .unwrap()
                .signing
                .unwrap()
                .keys
        })
    };
    let keys = rotate("", None).await.unwrap();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[1].id, created.signing.unwrap().keys[0].id);
    assert!(keys[0].expires_at.is_none() && keys[1].expires_at.is_some());
    assert_field(rotate("whsec_bad", None).await, "new_secret");
    assert_field(rotate("", Some(31 * 86_400)).await, "overlap");
    assert_field(rotate("", Some(-1)).await, "overlap");
    assert_eq!(rotate("", Some(0)).await.unwrap().len(), 1);
    // Another scheme needs another key; no scheme needs none.
    let patch = |signing| v1::Subscription {
        id: created.id.clone(),
        signing,
        ..Default::default()
    };
    let close = Some(v1::Signing {
        scheme: Some(Scheme::Close(v1::CloseScheme {})),
        ..Default::default()
    });
    api.update(patch(close), &["signing"]).await.unwrap();
    let updated = api.get(&api.admin, &created.id).await.unwrap();
    let keys = updated.signing.unwrap().keys;
    assert_eq!((keys.len(), keys[0].secret.len()), (1, 64));
    api.update(patch(unsigned()), &["signing"]).await.unwrap();
    let updated = api.get(&api.admin, &created.id).await.unwrap();
    assert!(updated.signing.unwrap().keys.is_empty());
    let answer = rotate("", None).await;
    assert_reason(answer, Code::FailedPrecondition, "SIGNING_KEYS_NOT_MANAGED");
}

#[tokio::test]
async fn short_leases_bound_the_time_limit_of_attempts() {
    let api = start_with(|config| {
        config.dispatch.lease = Duration::from_secs(15);
        config.dispatch.heartbeat = Duration::from_secs(2);
    })
    .await;
    let created = api.create(subscription()).await.unwrap();
    assert_eq!(created.timeouts.unwrap().total.unwrap().seconds, 11);
    let mut long = subscription();
    long.timeouts.get_or_insert_default().total = Some(prost_types::Duration {
        seconds: 12,
        nanos: 0,
    });
    assert_field(
        api.create(long.clone()).await,
        "subscription.timeouts.total",
    );
    long.id = created.id;
    let updated = api.update(long, &["timeouts"]).await;
    assert_field(updated, "subscription.timeouts.total");
}

/// Counts what this thread logs of subscriptions.
#[derive(Clone, Default)]
struct Lines(Arc<AtomicUsize>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, of: &tracing::Metadata<'_>) -> bool {
        of.is_event() && of.target().starts_with("sidehook_control::subscriptions")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn the_end_of_a_delivery_pauses_its_subscription() {
    use sidehook_control::{
        allowances::{Allowances, Defaults},
        catalog::Catalogs,
        engine::{OnPause as _, Pause},
        sealing::Sealer,
        subscriptions::Subscriptions,
    };
    let api = start().await;
    let created = api.create(subscription()).await.unwrap();
    let store: Arc<dyn sidehook_store::Store> = api.store.clone();
    let sealer = Arc::new(Sealer::parse(&"07".repeat(32).into()).unwrap());
    let catalogs = Catalogs::new(store.clone(), sealer.clone());
    let defaults = Defaults {
        budget: sidehook_store::budget::Budget::UNLIMITED,
        event_bytes: sidehook_core::limits::EVENT_BYTES_DEFAULT,
    };
    let allowances = Allowances::new(Arc::clone(&store), defaults);
    let longest = Duration::from_secs(60);
    let subscriptions = Subscriptions::new(store, catalogs, allowances, sealer, longest);
    let (tenant, id): (TenantId, SubscriptionId) =
        (api.tenant.parse().unwrap(), created.id.parse().unwrap());
    let lines = Lines::default();
    let _counting = tracing::subscriber::set_default(lines.clone());
    let pause = |reason| Pause {
        tenant,
        subscription: id.number(),
        reason,
    };
    subscriptions.pause(pause(PauseReason::Gone)).await;
    assert_eq!(lines.0.load(Ordering::Relaxed), 1, "the pause is told");
    let paused = api.get(&api.admin, &created.id).await.unwrap();
    assert_eq!(paused.pause_reason, "gone");
    assert_eq!(paused.updated_at, created.updated_at, "nobody changed it");
    for _ in 0..3 {
        subscriptions.pause(pause(PauseReason::Exhausted)).await;
    }
    assert_eq!(lines.0.load(Ordering::Relaxed), 1, "and only the pause");
    let again = api.get(&api.admin, &created.id).await.unwrap();
    assert_eq!(again, paused);
    let who = Principal {
        tenant,
        subject: "me".into(),
        role: Role::Admin,
    };
    let resumed = subscriptions
        .set_paused(&who, id, None, false)
        .await
        .unwrap();
    assert!(resumed.subscription.status.is_active());
}

#[tokio::test]
async fn what_is_paused_may_have_no_entry_and_does_not_resume_without_one() {
    let api = start().await;
    let mut empty = subscription();
    empty.events.clear();
    assert_field(api.create(empty.clone()).await, "subscription.events");
    empty.set_status(v1::SubscriptionStatus::Paused);
    let created = api.create(empty).await.unwrap();
    let resume = async || {
        let request = v1::ResumeSubscriptionRequest {
            id: created.id.clone(),
            ..Default::default()
        };
        let mut client = api.webhooks();
        let answer = client.resume_subscription(with(&api.admin, request)).await;
        answer.map(|answer| answer.into_inner().subscription)
    };
    assert_reason(resume().await, Code::FailedPrecondition, "NO_EVENTS");
    let patch = |status: v1::SubscriptionStatus, events| v1::Subscription {
        id: created.id.clone(),
        status: status.into(),
        events,
        ..Default::default()
    };
    let active = patch(v1::SubscriptionStatus::Active, Vec::new());
    assert_field(api.update(active, &["status"]).await, "subscription.events");
    let unspecified = v1::SubscriptionStatus::Unspecified;
    let filled = patch(unspecified, subscription().events);
    api.update(filled, &["events"]).await.unwrap();
    assert_eq!(resume().await.unwrap().unwrap().pause_reason, "");
    let emptied = api.update(patch(unspecified, Vec::new()), &["events"]);
    assert_field(emptied.await, "subscription.events");
}

#[tokio::test]
async fn a_secret_given_with_a_change_takes_the_place_of_all_keys() {
    let api = start().await;
    let created = api.create(subscription()).await.unwrap();
    let secrets = async || {
        let read = api.get(&api.admin, &created.id).await.unwrap();
        let keys = read.signing.unwrap().keys.into_iter();
        keys.map(|key| key.secret).collect::<Vec<_>>()
    };
    let change = async |scheme: Scheme, secret: &str| {
        let request = v1::UpdateSubscriptionRequest {
            subscription: Some(v1::Subscription {
                id: created.id.clone(),
                signing: Some(v1::Signing {
                    scheme: Some(scheme),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            signing_secret: secret.to_owned(),
            ..Default::default()
        };
        let mut client = api.webhooks();
        client.update_subscription(with(&api.admin, request)).await
    };
    let hmac = || Scheme::HmacHeader(v1::HmacHeaderScheme::default());
    change(hmac(), "geheim").await.unwrap();
    assert_eq!(secrets().await, ["geheim"]);
    change(hmac(), "noch geheimer").await.unwrap();
    assert_eq!(secrets().await, ["noch geheimer"], "one of the same scheme");
    let unsigned = change(Scheme::Unsigned(v1::UnsignedScheme {}), "x").await;
    assert_field(unsigned, "signing_secret");
    assert_eq!(secrets().await, ["noch geheimer"], "nothing was changed");
}

#[tokio::test]
async fn lists_show_keys_where_they_are_asked_for() {
    let api = start().await;
    let created = api.create(subscription()).await.unwrap();
    let (_, viewer) = api.key(&api.tenant, v1::Role::Viewer).await;
    for (key, show_signing_keys, shown) in [
        (&api.admin, true, 1),
        (&api.admin, false, 0),
        (&viewer, true, 0),
    ] {
        let request = v1::ListSubscriptionsRequest {
            show_signing_keys,
            ..Default::default()
        };
        let answer = api.webhooks().list_subscriptions(with(key, request)).await;
        let listed = answer.unwrap().into_inner().subscriptions.remove(0);
        assert_eq!(listed.id, created.id);
        assert_eq!(listed.signing.unwrap().keys.len(), shown);
    }
}
