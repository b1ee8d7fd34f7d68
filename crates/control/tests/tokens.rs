//! Bearer tokens of another issuer, over the wire.
#![allow(clippy::unwrap_used, reason = "a failing test shows where")]

#[path = "support/issuer.rs"]
mod issuer;
mod support;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use issuer::{Issuer, set};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sidehook_api::v1;
use sidehook_control::auth::{
    ClientIdentity, JwtConfig, certificates::CertificateName, tokens::KeySource,
};
use sidehook_core::principal::Role;
use support::{Api, OPERATOR, assert_reason, start_with, subscription, with};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tonic::{Code, Status};

const ISSUER: &str = "https://id.example.com";

fn config(keys: KeySource) -> JwtConfig {
    JwtConfig {
        refresh: Duration::from_secs(1),
        leeway: Duration::ZERO,
        ..JwtConfig::new(ISSUER.to_owned(), "sidehook".to_owned(), keys)
    }
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}

fn claims(api: &Api, subject: &str, role: &str) -> Value {
    json!({
        "iss": ISSUER, "aud": "sidehook", "tenant": api.tenant, "sub": subject, "role": role,
        "exp": now() + 300.0,
    })
}

async fn reads(api: &Api, token: &str) -> Result<(), Status> {
    let request = v1::ListSubscriptionsRequest::default();
    let answer = api
        .webhooks()
        .list_subscriptions(with(token, request))
        .await;
    answer.map(drop)
}

async fn create(api: &Api, token: &str) -> Result<v1::Subscription, Status> {
    let request = v1::CreateSubscriptionRequest {
        subscription: Some(subscription()),
        ..Default::default()
    };
    let answer = api
        .webhooks()
        .create_subscription(with(token, request))
        .await;
    Ok(answer?.into_inner().subscription.unwrap())
}

/// Publishes a set of keys, or nothing while it is away.
#[derive(Clone, Default)]
struct Published(Arc<Mutex<Option<Value>>>);

impl Published {
    async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let published = self.clone();
        #[allow(clippy::disallowed_methods, reason = "a task of the test's own")]
        tokio::spawn(async move {
            loop {
                let (mut tcp, _) = listener.accept().await.unwrap();
                let mut asked = [0; 1_024];
                let _ = tcp.read(&mut asked).await;
                let body = published.0.lock().as_ref().map(Value::to_string);
                let answer = match body {
                    Some(body) => format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    ),
                    None => "HTTP/1.1 503 Away\r\ncontent-length: 0\r\n\r\n".to_owned(),
                };
                let _ = tcp.write_all(answer.as_bytes()).await;
            }
        });
        address
    }

    fn set(&self, keys: Option<Value>) {
        *self.0.lock() = keys;
    }
}

async fn over_http(published: &Published) -> Api {
    let url = format!("http://{}/jwks", published.serve().await);
    let keys = KeySource::Url { url, ca_file: None };
    start_with(|plane| plane.jwt = Some(config(keys))).await
}

/// Tries again until it is so.
async fn until<T>(mut tried: impl AsyncFnMut() -> Option<T>) -> T {
    let tries = async {
        loop {
            if let Some(found) = tried().await {
                return found;
            }
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(30), tries).await;
    found.expect("it becomes so")
}

#[tokio::test]
async fn a_token_is_a_member_of_its_tenant() {
    let issuer = Issuer::rs256("one");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), set(&[&issuer]).to_string()).unwrap();
    let keys = KeySource::File(file.path().to_owned());
    let api = start_with(|plane| plane.jwt = Some(config(keys))).await;
    let ada = issuer.token(&claims(&api, "ada", "member"));
    let made = create(&api, &ada).await.unwrap();
    assert_eq!((&*made.owner, &*made.created_by), ("ada", "ada"));
    let eve = issuer.token(&claims(&api, "eve", "member"));
    let delete = || v1::DeleteSubscriptionRequest {
        id: made.id.clone(),
        ..Default::default()
    };
    let refused = api
        .webhooks()
        .delete_subscription(with(&eve, delete()))
        .await;
    assert_reason(refused, Code::PermissionDenied, "NOT_OWNER");
    // Another token of the same person.
    let renewed = issuer.token(&claims(&api, "ada", "admin"));
    let deleted = api
        .webhooks()
        .delete_subscription(with(&renewed, delete()))
        .await;
    deleted.unwrap();

    let wrong = |name: &str, value: Value| {
        let mut claims = claims(&api, "ada", "admin");
        claims[name] = value;
        issuer.token(&claims)
    };
    for token in [
        wrong("iss", json!("https://other.example.com")),
        wrong("aud", json!("others")),
        wrong("tenant", json!("ten_0000000000000000000001")),
        wrong("role", json!("operator")),
        wrong("sub", json!("usr_0000000000000000000001")),
        Issuer::rs256("one").token(&claims(&api, "ada", "admin")),
        format!("{ada}x"),
        ada.replace('.', ".."),
        "x".repeat(9_000),
    ] {
        let answer = reads(&api, &token).await;
        assert_reason(answer, Code::Unauthenticated, "INVALID_CREDENTIAL");
    }
    let expired = reads(&api, &wrong("exp", json!(now() - 1.0))).await;
    assert_reason(expired, Code::Unauthenticated, "EXPIRED_CREDENTIAL");
    // Keys go on beside tokens.
    reads(&api, &api.admin).await.unwrap();
    let answer = reads(&api, "shk_0000").await;
    assert_reason(answer, Code::Unauthenticated, "INVALID_CREDENTIAL");
}

#[tokio::test]
async fn a_token_is_good_until_its_end_and_its_streams_with_it() {
    let issuer = Issuer::eddsa("one");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), set(&[&issuer]).to_string()).unwrap();
    let keys = KeySource::File(file.path().to_owned());
    let api = start_with(|plane| plane.jwt = Some(config(keys))).await;
    let mut short = claims(&api, "ada", "viewer");
    let end = now() + 1.5;
    short["exp"] = json!(end);
    let short = issuer.token(&short);
    let watch = v1::WatchDeliveriesRequest::default();
    let watch = api.deliveries().watch_deliveries(with(&short, watch)).await;
    let mut watch = watch.unwrap().into_inner();
    assert!(watch.message().await.unwrap().unwrap().delivery.is_none());
    reads(&api, &short).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), watch.message()).await;
    assert_reason(ended.unwrap(), Code::Unauthenticated, "EXPIRED_CREDENTIAL");
    assert!(now() >= end, "not before its end");
    let answer = reads(&api, &short).await;
    assert_reason(answer, Code::Unauthenticated, "EXPIRED_CREDENTIAL");
}

#[tokio::test]
async fn keys_are_replaced_and_an_issuer_that_is_away_takes_none_with_it() {
    let (old, new) = (Issuer::es256("old"), Issuer::es256("new"));
    let published = Published::default();
    let api = over_http(&published).await;
    // Nobody can tell yet.
    let token = old.token(&claims(&api, "ada", "viewer"));
    assert_eq!(
        reads(&api, &token).await.unwrap_err().code(),
        Code::Unavailable
    );
    reads(&api, &api.admin).await.unwrap();
    published.set(Some(set(&[&old])));
    until(async || reads(&api, &token).await.ok()).await;

    // Away: what is known stays, and what is not is refused.
    published.set(None);
    let renewed = new.token(&claims(&api, "ada", "viewer"));
    let refused = reads(&api, &renewed).await;
    assert_reason(refused, Code::Unauthenticated, "INVALID_CREDENTIAL");
    let another = old.token(&claims(&api, "eve", "viewer"));
    reads(&api, &another).await.unwrap();
    published.set(Some(json!({ "keys": [] })));
    let third = old.token(&claims(&api, "bob", "viewer"));
    reads(&api, &third).await.unwrap();

    // Both, then the new one alone: the old one's tokens end with it.
    published.set(Some(set(&[&old, &new])));
    until(async || reads(&api, &renewed).await.ok()).await;
    reads(&api, &third).await.unwrap();
    published.set(Some(set(&[&new])));
    let refused = until(async || reads(&api, &third).await.err()).await;
    assert_reason(
        Err::<(), _>(refused),
        Code::Unauthenticated,
        "INVALID_CREDENTIAL",
    );
    reads(&api, &renewed).await.unwrap();
}

#[tokio::test]
async fn a_token_of_one_of_our_users_does_no_more_than_they_may() {
    let issuer = Issuer::eddsa("one");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), set(&[&issuer]).to_string()).unwrap();
    let keys = KeySource::File(file.path().to_owned());
    let api = start_with(|plane| plane.jwt = Some(config(keys))).await;
    let request = v1::CreateUserRequest {
        tenant_id: api.tenant.clone(),
        name: "Ada".into(),
        email: "ada@example.com".into(),
        role: v1::Role::Viewer.into(),
    };
    let user = api.operator().create_user(with(OPERATOR, request)).await;
    let user = user.unwrap().into_inner().user.unwrap();
    let token = issuer.token(&claims(&api, &user.id, "admin"));
    reads(&api, &token).await.unwrap();
    let refused = create(&api, &token).await;
    assert_reason(refused, Code::PermissionDenied, "RIGHT_MISSING");
    let delete = v1::DeleteUserRequest { id: user.id };
    let deleted = api.operator().delete_user(with(OPERATOR, delete)).await;
    deleted.unwrap();
    let refused = until(async || reads(&api, &token).await.err()).await;
    assert_reason(
        Err::<(), _>(refused),
        Code::Unauthenticated,
        "INVALID_CREDENTIAL",
    );
}

#[tokio::test]
async fn a_token_is_not_called_as_a_key_or_a_certificate_is() {
    let issuer = Issuer::rs256("one");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), set(&[&issuer]).to_string()).unwrap();
    let keys = KeySource::File(file.path().to_owned());
    // The tenant must be there before its identities are: two planes over one store.
    let first = support::start().await;
    let identity = ClientIdentity {
        name: CertificateName::alternative("Billing.internal"),
        tenant: first.tenant.parse().unwrap(),
        role: Role::Member,
    };
    let mut api = support::over(first.store.clone(), |plane| {
        plane.identities = vec![identity];
        plane.jwt = Some(config(keys));
    })
    .await;
    api.tenant.clone_from(&first.tenant);
    api.admin.clone_from(&first.admin);
    let owner = api.create(subscription()).await.unwrap().owner;
    assert!(owner.starts_with("key_"), "{owner}");
    for (name, is_free) in [
        (&*owner, false),
        ("billing.internal", false),
        ("billing.internal.example", true),
    ] {
        let token = issuer.token(&claims(&api, name, "member"));
        let read = reads(&api, &token).await;
        assert_eq!(read.is_ok(), is_free, "{name}");
        if !is_free {
            assert_reason(read, Code::Unauthenticated, "INVALID_CREDENTIAL");
        }
    }
    let other = api.new_tenant("Other").await;
    let mut claims = claims(&api, "billing.internal", "member");
    claims["tenant"] = json!(other);
    let read = reads(&api, &issuer.token(&claims)).await;
    read.expect("it is another tenant's certificate");
}
