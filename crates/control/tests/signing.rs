//! Signing keys over the wire: what kind of key a subscription has, who sees it, and
//! what stays when something else changes.
#![allow(clippy::unwrap_used, reason = "a failing test shows where")]

mod support;

use sidehook_api::v1::{
    self,
    StandardWebhooksAlgorithm::{self as Algorithm, Ed25519, HmacSha256, Unspecified},
    signing::Scheme,
};
use support::{Api, assert_field, start, subscription, with};
use tonic::Status;

const ED25519: &str = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const HMAC: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn standard(algorithm: Algorithm) -> v1::Subscription {
    let scheme = v1::StandardWebhooksScheme {
        algorithm: algorithm.into(),
    };
    v1::Subscription {
        signing: Some(v1::Signing {
            scheme: Some(Scheme::StandardWebhooks(scheme)),
            ..v1::Signing::default()
        }),
        ..subscription()
    }
}

fn algorithm(subscription: &v1::Subscription) -> Algorithm {
    match &subscription.signing.as_ref().unwrap().scheme {
        Some(Scheme::StandardWebhooks(scheme)) => scheme.algorithm(),
        other => panic!("{other:?}"),
    }
}

/// The prefixes of its keys, newest first.
fn kinds(subscription: &v1::Subscription) -> Vec<&str> {
    let keys = &subscription.signing.as_ref().unwrap().keys;
    let prefix = |key: &'_ v1::SigningKey| key.secret.find('_').unwrap();
    keys.iter().map(|key| &key.secret[..prefix(key)]).collect()
}

async fn rotate(api: &Api, id: &str, new_secret: &str) -> Result<v1::Subscription, Status> {
    let request = v1::RotateSigningKeyRequest {
        id: id.to_owned(),
        new_secret: new_secret.to_owned(),
        ..v1::RotateSigningKeyRequest::default()
    };
    let answer = api
        .webhooks()
        .rotate_signing_key(with(&api.admin, request))
        .await?;
    Ok(answer.into_inner().subscription.unwrap())
}

#[tokio::test]
async fn a_given_secret_decides_the_algorithm_and_rotations_keep_it() {
    let api = start().await;
    let made = api.create_with(subscription(), ED25519).await.unwrap();
    assert_eq!((algorithm(&made), kinds(&made)), (Ed25519, vec!["whsk"]));
    let rotated = rotate(&api, &made.id, "").await.unwrap();
    assert_eq!(kinds(&rotated), ["whsk", "whsk"]);
    let public = &rotated.signing.as_ref().unwrap().keys[0].public_key;
    assert!(public.starts_with("whpk_"), "{public}");
    // A secret of the other kind takes the lead, and the next one follows it.
    let rotated = rotate(&api, &made.id, HMAC).await.unwrap();
    assert_eq!(algorithm(&rotated), HmacSha256);
    assert_eq!(kinds(&rotated), ["whsec", "whsk", "whsk"]);
    let rotated = rotate(&api, &made.id, "").await.unwrap();
    assert_eq!(kinds(&rotated)[0], "whsec");
}

#[tokio::test]
async fn a_secret_that_contradicts_the_algorithm_is_refused() {
    let api = start().await;
    for (asked, given) in [(Ed25519, HMAC), (HmacSha256, ED25519)] {
        let answer = api.create_with(standard(asked), given).await;
        assert_field(answer, "signing_secret");
    }
    assert!(api.list().await.is_empty());
    for (asked, given) in [
        (Ed25519, ED25519),
        (HmacSha256, HMAC),
        (Unspecified, ED25519),
    ] {
        api.create_with(standard(asked), given).await.unwrap();
    }
}

#[tokio::test]
async fn an_update_that_names_no_algorithm_leaves_it() {
    let api = start().await;
    let made = api.create(standard(Ed25519)).await.unwrap();
    for mask in [&["signing.standard_webhooks"][..], &["signing"], &[]] {
        for signing in [standard(Unspecified).signing, Some(v1::Signing::default())] {
            let patch = v1::Subscription {
                id: made.id.clone(),
                signing,
                ..v1::Subscription::default()
            };
            // A mask that names a scheme needs one.
            let _ = api.update(patch, mask).await;
            let now = api.get(&api.admin, &made.id).await.unwrap();
            assert_eq!(now.signing, made.signing, "{mask:?}");
        }
    }
}

#[tokio::test]
async fn an_update_that_names_another_algorithm_rotates_to_a_key_of_it() {
    let api = start().await;
    let made = api.create(standard(HmacSha256)).await.unwrap();
    let patch = v1::Subscription {
        id: made.id.clone(),
        ..standard(Ed25519)
    };
    api.update(patch, &["signing.standard_webhooks"])
        .await
        .unwrap();
    let now = api.get(&api.admin, &made.id).await.unwrap();
    assert_eq!(
        (algorithm(&now), kinds(&now)),
        (Ed25519, vec!["whsk", "whsec"])
    );
    let keys = &now.signing.as_ref().unwrap().keys;
    assert_eq!(keys[1].id, made.signing.unwrap().keys[0].id);
    assert!(keys[1].expires_at.is_some());
}

#[tokio::test]
async fn changes_of_something_else_show_no_keys() {
    let api = start().await;
    let made = api.create(subscription()).await.unwrap();
    let id = || made.id.clone();
    let patch = v1::Subscription {
        id: id(),
        description: "changed".to_owned(),
        ..v1::Subscription::default()
    };
    let updated = api.update(patch, &["description"]).await.unwrap();
    let pause = v1::PauseSubscriptionRequest {
        id: id(),
        etag: String::new(),
    };
    let paused = api
        .webhooks()
        .pause_subscription(with(&api.admin, pause))
        .await;
    let resume = v1::ResumeSubscriptionRequest {
        id: id(),
        ..Default::default()
    };
    let resumed = api
        .webhooks()
        .resume_subscription(with(&api.admin, resume))
        .await;
    let paused = paused.unwrap().into_inner().subscription.unwrap();
    let resumed = resumed.unwrap().into_inner().subscription.unwrap();
    for shown in [updated, paused, resumed] {
        assert_eq!(kinds(&shown), Vec::<&str>::new());
        assert_eq!(algorithm(&shown), HmacSha256, "the scheme is no secret");
    }
    let now = api.get(&api.admin, &made.id).await.unwrap();
    assert_eq!(now.signing, made.signing);
}
