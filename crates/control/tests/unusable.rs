//! A subscription that this server cannot use fails alone, is shown, and can be mended;
//! and who may see what of one that it can use.
#![allow(clippy::unwrap_used, reason = "a failing test shows where")]

mod support;

use prost::Message as _;
use sidehook_api::{record_v1::SubscriptionRecord, v1};
use sidehook_core::{
    id::{SubscriptionId, TenantId},
    pool::PoolName,
};
use sidehook_store::{
    Store as _,
    catalog::{Bounds, Change, Expect, QueueSettings, Write, Written},
};
use support::{Api, assert_field, assert_reason, event, start, subscription, with};
use tonic::{Code, Status};

/// Changes what the store keeps of a subscription.
async fn damage(api: &Api, id: &str, change: impl FnOnce(SubscriptionRecord) -> Vec<u8>) {
    let tenant: TenantId = api.tenant.parse().unwrap();
    let id: SubscriptionId = id.parse().unwrap();
    let catalog = api.store.catalog(tenant, None).await.unwrap().unwrap();
    let mut rows = catalog.rows.into_iter();
    let row = rows.find(|row| row.number == id.number()).unwrap();
    let record = SubscriptionRecord::decode(row.record).unwrap();
    let write = Write {
        tenant,
        number: row.number,
        expect: Expect::Version(row.version),
        bounds: Bounds::default(),
        nonce: 1,
        change: Change::Put {
            record: change(record).into(),
            queue: QueueSettings {
                pool: PoolName::default().resolve(tenant),
                window: 64,
                paused: false,
            },
        },
    };
    let written = api.store.write(&write).await.unwrap();
    assert!(matches!(written, Written::Done(_)));
}

fn sealed_elsewhere(mut record: SubscriptionRecord) -> Vec<u8> {
    record.keys[0].sealing_key_id = "0123456789abcdef".to_owned();
    record.encode_to_vec()
}

async fn delete(api: &Api, id: &str) -> Result<(), Status> {
    let request = v1::DeleteSubscriptionRequest {
        id: id.into(),
        etag: String::new(),
    };
    let request = with(&api.admin, request);
    let deleted = api.webhooks().delete_subscription(request).await;
    deleted.map(drop)
}

async fn matched(api: &Api) -> u32 {
    api.publish(event()).await.unwrap().matched
}

const UNUSABLE: &str = "SUBSCRIPTION_UNUSABLE";

#[tokio::test]
async fn a_key_that_does_not_open_is_shown_and_gives_way_to_another() {
    let api = start().await;
    let sound = api.create(subscription()).await.unwrap();
    let bad = api.create(subscription()).await.unwrap();
    damage(&api, &bad.id, sealed_elsewhere).await;
    assert_eq!(matched(&api).await, 2, "what it wants is known");
    let shown = api.get(&api.admin, &bad.id).await.unwrap();
    assert!(shown.fault.contains("0123456789abcdef"), "{}", shown.fault);
    assert_eq!(
        (&shown.url, shown.signing.unwrap().keys),
        (&bad.url, vec![])
    );
    let listed = api.list().await;
    let faults = listed.iter().map(|one| (&one.id, one.fault.is_empty()));
    let faults: Vec<_> = faults.collect();
    assert!(faults.contains(&(&sound.id, true)) && faults.contains(&(&bad.id, false)));
    let patch = v1::Subscription {
        id: bad.id.clone(),
        description: "changed".into(),
        ..v1::Subscription::default()
    };
    let updated = api.update(patch, &["description"]).await;
    assert_reason(updated, Code::FailedPrecondition, UNUSABLE);
    let rotate = v1::RotateSigningKeyRequest {
        id: bad.id.clone(),
        ..v1::RotateSigningKeyRequest::default()
    };
    let rotate = with(&api.admin, rotate);
    let rotated = api.webhooks().rotate_signing_key(rotate).await.unwrap();
    let rotated = rotated.into_inner().subscription.unwrap();
    assert_eq!(
        (rotated.signing.unwrap().keys.len(), &*rotated.fault),
        (1, "")
    );
    assert_eq!(api.get(&api.admin, &bad.id).await.unwrap().fault, "");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_leaves_the_others_alone_and_can_be_deleted() {
    let api = start().await;
    let sound = api.create(subscription()).await.unwrap();
    let bad = api.create(subscription()).await.unwrap();
    damage(&api, &bad.id, |_| vec![0xff]).await;
    assert_eq!(matched(&api).await, 1);
    let read = api.get(&api.admin, &bad.id).await;
    assert_reason(read, Code::FailedPrecondition, UNUSABLE);
    let all = v1::ListDeliveriesRequest::default();
    assert!(!api.deliveries_of(all).await.is_empty());
    let listed = api.list().await;
    let shown = listed.iter().find(|one| !one.fault.is_empty()).unwrap();
    delete(&api, &shown.id).await.unwrap();
    assert_reason(delete(&api, &bad.id).await, Code::NotFound, "NOT_FOUND");
    let listed = api.list().await;
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].id, &*listed[0].fault), (&sound.id, ""));
}

#[tokio::test]
async fn what_todays_rules_forbid_goes_on_and_can_be_changed() {
    let api = start().await;
    let made = api.create(subscription()).await.unwrap();
    let span = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    damage(&api, &made.id, |mut record| {
        let kept = record.subscription.as_mut().unwrap();
        kept.url = "http://user@127.1/#top".into();
        kept.pool = "Upper Case".into();
        kept.max_in_flight = 5_000;
        kept.timeouts.as_mut().unwrap().total = span(7_200);
        kept.description = "x".repeat(10_000);
        record.encode_to_vec()
    })
    .await;
    assert_eq!(matched(&api).await, 1);
    let shown = api.get(&api.admin, &made.id).await.unwrap();
    assert_eq!((&*shown.fault, &*shown.pool), ("", "Upper Case"));
    assert_eq!(api.list().await[0].max_in_flight, 5_000);
    let patch = v1::Subscription {
        id: made.id.clone(),
        url: "https://example.com/new".into(),
        max_in_flight: 3_000,
        ..v1::Subscription::default()
    };
    let refused = api.update(patch.clone(), &["max_in_flight"]).await;
    assert_field(refused, "subscription.max_in_flight");
    let changed = api.update(patch, &["url"]).await.unwrap();
    let kept = v1::Subscription {
        url: changed.url.clone(),
        etag: changed.etag.clone(),
        updated_at: changed.updated_at,
        updated_by: changed.updated_by.clone(),
        signing: changed.signing.clone(),
        health: None,
        ..shown
    };
    assert_eq!(changed.url, "https://example.com/new");
    assert_eq!(changed, kept, "what was not named is as it was");
}

#[tokio::test]
async fn a_scheme_of_a_later_version_waits_visibly_and_is_never_replaced_by_guess() {
    let api = start().await;
    let made = api.create(subscription()).await.unwrap();
    damage(&api, &made.id, |mut record| {
        let kept = record.subscription.as_mut().unwrap();
        let scheme = v1::StandardWebhooksScheme { algorithm: 77 };
        kept.signing.as_mut().unwrap().scheme = Some(v1::signing::Scheme::StandardWebhooks(scheme));
        record.encode_to_vec()
    })
    .await;
    assert_eq!(matched(&api).await, 1, "what it wants is known");
    let shown = api.get(&api.admin, &made.id).await.unwrap();
    assert!(shown.fault.contains("later version"), "{}", shown.fault);
    assert_eq!(shown.signing.unwrap().scheme, None);
    let test = v1::TestSubscriptionRequest {
        id: made.id.clone(),
    };
    let test = with(&api.admin, test);
    let tested = api.webhooks().test_subscription(test).await;
    assert_reason(tested, Code::FailedPrecondition, UNUSABLE);
    let rotate = v1::RotateSigningKeyRequest {
        id: made.id.clone(),
        ..v1::RotateSigningKeyRequest::default()
    };
    let rotate = with(&api.admin, rotate);
    let rotated = api.webhooks().rotate_signing_key(rotate).await;
    let managed = "SIGNING_KEYS_NOT_MANAGED";
    assert_reason(rotated, Code::FailedPrecondition, managed);
    let mut patch = v1::Subscription {
        id: made.id.clone(),
        description: "changed".into(),
        ..v1::Subscription::default()
    };
    let changed = api.update(patch.clone(), &["description"]).await.unwrap();
    assert!(!changed.fault.is_empty() && changed.description == "changed");
    patch.signing = Some(v1::Signing {
        scheme: Some(v1::signing::Scheme::Close(v1::CloseScheme {})),
        ..v1::Signing::default()
    });
    let mended = api.update(patch, &["signing.close"]).await.unwrap();
    assert_eq!(mended.fault, "");
    let shown = api.get(&api.admin, &made.id).await.unwrap();
    assert_eq!(shown.signing.unwrap().keys.len(), 1);
}

#[tokio::test]
async fn a_format_of_a_later_version_waits_until_another_is_named() {
    let api = start().await;
    let made = api.create(subscription()).await.unwrap();
    damage(&api, &made.id, |mut record| {
        record.subscription.as_mut().unwrap().format = 77;
        record.encode_to_vec()
    })
    .await;
    assert_eq!(matched(&api).await, 1, "what it wants is known");
    let shown = api.get(&api.admin, &made.id).await.unwrap();
    assert!(shown.fault.contains("format"), "{}", shown.fault);
    assert_eq!(shown.format, 0);
    let patch = v1::Subscription {
        id: made.id.clone(),
        format: v1::DeliveryFormat::Raw.into(),
        description: "changed".into(),
        ..v1::Subscription::default()
    };
    let changed = api.update(patch.clone(), &["description"]).await.unwrap();
    assert!(!changed.fault.is_empty());
    let mended = api.update(patch, &["format"]).await.unwrap();
    assert_eq!(
        (mended.fault.as_str(), mended.format()),
        ("", v1::DeliveryFormat::Raw)
    );
}

#[tokio::test]
async fn who_may_only_read_sees_names_of_headers_and_no_values() {
    let api = start().await;
    let header = |value: &str| v1::Header {
        name: "authorization".into(),
        value: value.into(),
    };
    let mut wanted = subscription();
    wanted.headers = vec![header("Bearer deep-secret")];
    let made = api.create(wanted.clone()).await.unwrap();
    let (_, viewer) = api.key(&api.tenant, v1::Role::Viewer).await;
    let seen = api.get(&viewer, &made.id).await.unwrap();
    assert_eq!(seen.headers, [header("[redacted]")]);
    let list = with(&viewer, v1::ListSubscriptionsRequest::default());
    let listed = api.webhooks().list_subscriptions(list).await.unwrap();
    let listed = listed.into_inner().subscriptions;
    assert_eq!(listed[0].headers, [header("[redacted]")]);
    assert_eq!(api.list().await[0].headers, made.headers);
    // What was read without the right is not written back.
    let field = "subscription.headers[0].value";
    for mask in [&["headers"][..], &[]] {
        assert_field(api.update(seen.clone(), mask).await, field);
    }
    wanted.headers.clone_from(&seen.headers);
    assert_field(api.create(wanted).await, field);
    let kept = api.update(seen, &["description"]).await.unwrap();
    assert_eq!(kept.headers, made.headers);
}
