//! Signatures as receivers meet them: each scheme, over a real delivery.
//!
//! Standard Webhooks HMAC is judged by the official Python library, the other HMAC
//! schemes by Python's own `hmac`: these share no line with the signer. Ed25519 is
//! judged by the test kit's receiver.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use sidehook_api::v1::{self, HmacHeaderScheme, StandardWebhooksScheme, signing::Scheme};
use sidehook_testkit::{
    client::{Client, event, subscription},
    receiver::{Behaviour, Received, Receiver},
    system::System,
    verify::verify,
};

const PATIENCE: Duration = Duration::from_secs(30);
const PYTHON: &str = "target/tools/venv/bin/python";

/// Reads `{secret, headers, body}` and fails unless the library accepts them.
const ORACLE: &str = "
import json, sys
from standardwebhooks import Webhook
case = json.load(open(sys.argv[1]))
Webhook(case['secret']).verify(case['body'], case['headers'])
";

/// Whether the official library accepts `received`, signed with `secret`.
fn library_accepts(received: &Received, secret: &str) -> bool {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(PYTHON);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("case.json");
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: serde_json::Map<_, _> = names
        .iter()
        .map(|name| {
            let value = received.header(name).expect("a signed request has it");
            ((*name).to_owned(), value.into())
        })
        .collect();
    let body = std::str::from_utf8(&received.body).expect("JSON is UTF-8");
    let case = serde_json::json!({ "secret": secret, "headers": headers, "body": body });
    fs::write(&file, case.to_string()).expect("the case can be written");
    let ready = Command::new(&python)
        .args(["-c", "import standardwebhooks"])
        .stderr(Stdio::null())
        .status();
    assert!(
        ready.is_ok_and(|status| status.success()),
        "{PYTHON} lacks standardwebhooks: run tools/install-python-tools.sh"
    );
    let answer = Command::new(&python)
        .args(["-c", ORACLE])
        .arg(&file)
        .output()
        .expect("it ran a moment ago");
    let said = String::from_utf8_lossy(&answer.stderr);
    // Any other failure is a fault of this test and must not pass for a refusal.
    assert!(
        answer.status.success() || said.contains("WebhookVerificationError"),
        "{said}"
    );
    answer.status.success()
}

async fn subscribe(client: &Client, receiver: &Receiver, scheme: Scheme) -> v1::Subscription {
    let mut wanted = subscription(&receiver.url(), "order");
    wanted.signing = Some(v1::Signing {
        scheme: Some(scheme),
        ..v1::Signing::default()
    });
    client.create(wanted).await
}

/// The next request that a published event brings.
async fn next_request(client: &Client, receiver: &Receiver) -> Received {
    let before = receiver.count();
    client
        .publish(vec![event("order", 1)])
        .await
        .expect("published");
    assert!(receiver.wait_for(before + 1, PATIENCE).await);
    receiver.received().swap_remove(before)
}

fn secret(subscription: &v1::Subscription, key: usize) -> &str {
    &subscription.signing.as_ref().expect("it signs").keys[key].secret
}

fn standard(algorithm: v1::StandardWebhooksAlgorithm) -> Scheme {
    Scheme::StandardWebhooks(StandardWebhooksScheme {
        algorithm: algorithm.into(),
    })
}

#[tokio::test]
async fn the_official_library_accepts_standard_webhooks_before_and_after_a_rotation() {
    let system = System::builder().start().await;
    let client = system.client(0);
    let receiver = Receiver::start(Behaviour::Ok).await;
    let hmac = standard(v1::StandardWebhooksAlgorithm::HmacSha256);
    let made = subscribe(&client, &receiver, hmac).await;
    let old = secret(&made, 0);
    let stranger = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    let request = next_request(&client, &receiver).await;
    assert!(library_accepts(&request, old));
    assert!(!library_accepts(&request, stranger), "another's secret");

    let rotate = v1::RotateSigningKeyRequest {
        id: made.id.clone(),
        ..v1::RotateSigningKeyRequest::default()
    };
    let answer = client.webhooks().rotate_signing_key(rotate).await;
    let rotated = answer.expect("rotated").into_inner().subscription;
    let rotated = rotated.expect("an answer has its subscription");
    let new = secret(&rotated, 0);
    assert_ne!(new, old);

    let request = next_request(&client, &receiver).await;
    assert!(library_accepts(&request, new), "the new secret");
    assert!(library_accepts(&request, old), "the old one, meanwhile");
    assert!(!library_accepts(&request, stranger), "another's secret");
}

/// A delivery of `scheme` verifies with its own subscription's key and no other's.
async fn check(scheme: Scheme, header: &str) -> (Received, v1::Subscription) {
    let system = System::builder().start().await;
    let client = system.client(0);
    let receiver = Receiver::start(Behaviour::Ok).await;
    let made = subscribe(&client, &receiver, scheme.clone()).await;
    let request = next_request(&client, &receiver).await;
    assert!(request.header(header).is_some(), "{:?}", request.headers);
    assert_eq!(verify(&request, &made), Ok(()));
    let elsewhere = Receiver::start(Behaviour::Ok).await;
    let other = subscribe(&client, &elsewhere, scheme).await;
    assert!(verify(&request, &other).is_err(), "another's key");
    (request, made)
}

#[tokio::test]
async fn standard_webhooks_ed25519() {
    let scheme = standard(v1::StandardWebhooksAlgorithm::Ed25519);
    let (request, _) = check(scheme, "webhook-signature").await;
    let signature = request.header("webhook-signature").expect("checked");
    assert!(signature.starts_with("v1a,"), "{signature}");
}

/// The code that Python makes, in hex.
fn python_hmac(digest: &str, key: &[u8], message: &[u8]) -> String {
    let program = "import hashlib, hmac, sys; digest, key, message = sys.argv[1:]; \
                   print(hmac.new(bytes.fromhex(key), bytes.fromhex(message), digest).hexdigest())";
    let said = Command::new("python3")
        .args([
            "-c",
            program,
            digest,
            &hex::encode(key),
            &hex::encode(message),
        ])
        .output()
        .expect("python3 can be run");
    let said = String::from_utf8(said.stdout).expect("hex digits");
    said.trim().to_owned()
}

#[tokio::test]
async fn close() {
    let (request, made) = check(Scheme::Close(v1::CloseScheme {}), "close-sig-hash").await;
    let timestamp = request.header("close-sig-timestamp").expect("it is signed");
    let message = [timestamp.as_bytes(), &request.body].concat();
    let key = hex::decode(secret(&made, 0)).expect("64 hex digits");
    let expected = python_hmac("sha256", &key, &message);
    assert_eq!(request.header("close-sig-hash"), Some(expected.as_str()));
}

#[tokio::test]
async fn hmac_header_with_sha256() {
    let scheme = HmacHeaderScheme {
        digest: v1::HmacDigest::Sha256.into(),
        ..HmacHeaderScheme::default()
    };
    let (request, made) = check(Scheme::HmacHeader(scheme), "x-signature").await;
    let expected = python_hmac("sha256", secret(&made, 0).as_bytes(), &request.body);
    assert_eq!(request.header("x-signature"), Some(expected.as_str()));
}

#[tokio::test]
async fn hmac_header_with_sha1_and_a_prefix() {
    let scheme = HmacHeaderScheme {
        header: "X-Hub-Signature".to_owned(),
        digest: v1::HmacDigest::Sha1.into(),
        prefix: "sha1=".to_owned(),
    };
    let (request, made) = check(Scheme::HmacHeader(scheme), "x-hub-signature").await;
    let expected = python_hmac("sha1", secret(&made, 0).as_bytes(), &request.body);
    let expected = format!("sha1={expected}");
    assert_eq!(request.header("x-hub-signature"), Some(expected.as_str()));
}
