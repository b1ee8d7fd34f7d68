//! A signature is good for its own scheme, keys and bytes, and for no others.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sidehook_api::v1::{self, signing};
use sidehook_signature::{HmacDigest, HmacHeader, Scheme, Signer, StandardKey, VerifyError};
use sidehook_testkit::{Received, verify};

const CLOSE_KEY: &str = "0707070707070707070707070707070707070707070707070707070707070707";
const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn subscription(scheme: signing::Scheme, secret: &str, public_key: &str) -> v1::Subscription {
    let key = v1::SigningKey {
        secret: secret.to_owned(),
        public_key: public_key.to_owned(),
        ..v1::SigningKey::default()
    };
    v1::Subscription {
        signing: Some(v1::Signing {
            scheme: Some(scheme),
            keys: vec![key],
            ..v1::Signing::default()
        }),
        ..v1::Subscription::default()
    }
}

fn now_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a clock after 1970").as_secs().cast_signed()
}

/// A request whose body was signed at `seconds`.
fn signed(scheme: &Scheme, secret: &str, seconds: i64) -> Received {
    const BODY: &[u8] = br#"{"event": {"id": "ev_1"}}"#;
    let signer = Signer::new(scheme, &[secret]).expect("a key");
    let headers = signer.sign("ev_1", seconds, &[BODY]);
    let headers = headers.iter();
    Received {
        path: "/hook".to_owned(),
        headers: headers
            .map(|(name, value)| ((*name).to_owned(), value.to_string()))
            .collect(),
        body: Bytes::from_static(BODY),
        answered: 200,
    }
}

/// That the request is good as it is, and not with another body or without headers.
fn assert_exact(received: &Received, subscription: &v1::Subscription) {
    assert_eq!(verify(received, subscription), Ok(()));
    let mut altered = received.clone();
    altered.body = Bytes::from_static(br#"{"event":{"id":"ev_1"}}"#);
    let altered = verify(&altered, subscription);
    assert_eq!(altered, Err(VerifyError::Mismatch));
    let mut bare = received.clone();
    bare.headers.clear();
    let bare = verify(&bare, subscription);
    assert!(matches!(bare, Err(VerifyError::MissingHeader { .. })));
}

#[test]
fn standard_webhooks() {
    let scheme = || signing::Scheme::StandardWebhooks(v1::StandardWebhooksScheme::default());
    let shared = signed(&Scheme::StandardWebhooks, WHSEC, now_seconds());
    assert_exact(&shared, &subscription(scheme(), WHSEC, ""));

    let key = StandardKey::ed25519_from_random([7; 32]).expect("a key");
    let (text, public) = (key.to_text(), key.public_text().expect("a public half"));
    let secret = secrecy::ExposeSecret::expose_secret(&text);
    let asymmetric = signed(&Scheme::StandardWebhooks, secret, now_seconds());
    // The receiver has the public half alone.
    assert_exact(&asymmetric, &subscription(scheme(), "", &public));
}

#[test]
fn close_with_its_time() {
    let scheme = signing::Scheme::Close(v1::CloseScheme {});
    let subscription = subscription(scheme, CLOSE_KEY, "");
    let received = signed(&Scheme::Close, CLOSE_KEY, now_seconds());
    assert_exact(&received, &subscription);
    let old = signed(&Scheme::Close, CLOSE_KEY, now_seconds() - 400);
    let old = verify(&old, &subscription);
    assert!(matches!(old, Err(VerifyError::TooOld { .. })));
}

#[test]
fn a_plain_digest_in_a_header_of_its_own() {
    for (digest, ours) in [
        (v1::HmacDigest::Sha1, HmacDigest::Sha1),
        (v1::HmacDigest::Unspecified, HmacDigest::Sha256),
    ] {
        let header = HmacHeader::new("X-Hub-Signature", ours, "v=").expect("a header");
        let received = signed(&Scheme::HmacHeader(header), "plain secret", now_seconds());
        let scheme = signing::Scheme::HmacHeader(v1::HmacHeaderScheme {
            header: "X-Hub-Signature".to_owned(),
            digest: digest.into(),
            prefix: "v=".to_owned(),
        });
        assert_exact(&received, &subscription(scheme, "plain secret", ""));
    }
}

#[test]
#[should_panic(expected = "the subscription is unsigned")]
fn an_unsigned_subscription_verifies_nothing() {
    let received = signed(&Scheme::Close, CLOSE_KEY, now_seconds());
    let unsigned = subscription(signing::Scheme::Unsigned(v1::UnsignedScheme {}), "", "");
    let _ = verify(&received, &unsigned);
}
