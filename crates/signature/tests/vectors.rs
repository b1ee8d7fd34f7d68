//! Published vectors, and the official Standard Webhooks library as an oracle.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use proptest::prelude::*;
use secrecy::ExposeSecret;
use sidehook_signature::{
    HmacDigest, HmacHeader, Scheme, Signer, StandardKey, TimeWindow, Verifier,
};

// Both vectors, v1 and v1a, are those of the official Go library's tests.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const MESSAGE_ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const TIMESTAMP: i64 = 1_614_265_330;
const PAYLOAD: &[u8] = br#"{"test": 2432232314}"#;
const V1: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const SEED: &str = "whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=";
const V1A: &str =
    "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag==";

fn headers(signer: &Signer, timestamp: i64, body: &[u8]) -> Vec<(String, String)> {
    let signed = signer.sign(MESSAGE_ID, timestamp, &[body]);
    let pairs = signed
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into_owned()));
    pairs.collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn standard_webhooks_shared_secret() {
    let signer = Signer::new(&Scheme::StandardWebhooks, &[SECRET]).unwrap();
    let expected = pairs(&[
        ("webhook-id", MESSAGE_ID),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", V1),
    ]);
    assert_eq!(headers(&signer, TIMESTAMP, PAYLOAD), expected);
}

#[test]
fn standard_webhooks_ed25519() {
    let signer = Signer::new(&Scheme::StandardWebhooks, &[SEED]).unwrap();
    let given = headers(&signer, TIMESTAMP, PAYLOAD);
    assert_eq!(given[2].1, V1A);
    let public = StandardKey::parse(SEED).unwrap().public_text().unwrap();
    assert!(public.starts_with("whpk_"));
    let verifier = Verifier::new(&Scheme::StandardWebhooks, &[public]).unwrap();
    let lookup = |name: &str| {
        given
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    };
    verifier
        .verify(lookup, &[PAYLOAD], TimeWindow::around(TIMESTAMP))
        .unwrap();
}

#[test]
fn during_a_rotation_every_key_signs_newest_first() {
    let signer = Signer::new(&Scheme::StandardWebhooks, &[SEED, SECRET]).unwrap();
    assert_eq!(
        headers(&signer, TIMESTAMP, PAYLOAD)[2].1,
        format!("{V1A} {V1}")
    );
}

#[test]
fn close() {
    let key = "058bfb6a3d8cfdc4da7c3be5901b16ae11da982b46a25fb2cd7016e97a140a1c";
    let older = "00".repeat(32);
    let signer = Signer::new(&Scheme::Close, &[key, &older]).unwrap();
    let expected = pairs(&[
        (
            "close-sig-hash",
            "f649eb8a4c4bc016d57f194219d9547ecd2cc22ec0d2d6c82d19aec4a9b6b526",
        ),
        ("close-sig-timestamp", "1544271440"),
    ]);
    assert_eq!(headers(&signer, 1_544_271_440, b"{}"), expected);
}

/// RFC 4231 case 2 (SHA-256) and RFC 2202 case 2 (SHA-1): key and data are the same.
#[test]
fn plain_hmac_header() {
    let data = b"what do ya want for nothing?";
    let sha256 = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    let sha1 = "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79";
    for (name, digest, prefix, sent_name, value) in [
        (
            "X-Hub-Signature-256",
            HmacDigest::Sha256,
            "sha256=",
            "X-Hub-Signature-256",
            sha256,
        ),
        ("", HmacDigest::Sha1, "", "X-Signature", sha1),
        ("", HmacDigest::Sha256, "", "X-Signature", &sha256[7..]),
    ] {
        let scheme = Scheme::HmacHeader(HmacHeader::new(name, digest, prefix).unwrap());
        let signer = Signer::new(&scheme, &["Jefe"]).unwrap();
        assert_eq!(
            headers(&signer, TIMESTAMP, data),
            pairs(&[(sent_name, value)])
        );
    }
}

#[test]
fn unsigned_gives_no_header() {
    let signer = Signer::new::<&str>(&Scheme::Unsigned, &[]).unwrap();
    assert!(headers(&signer, TIMESTAMP, PAYLOAD).is_empty());
    assert_eq!(signer.header_names().count(), 0);
}

proptest! {
    #[test]
    fn the_official_library_makes_the_same_signature(
        random in any::<[u8; 32]>(),
        message_id in "[a-z0-9_]{1,40}",
        timestamp in any::<i64>(),
        body in ".{0,200}",
    ) {
        let secret = StandardKey::from_random(random).unwrap().to_text();
        let oracle = standardwebhooks::Webhook::new(secret.expose_secret()).unwrap();
        let expected = oracle.sign(&message_id, timestamp, body.as_bytes()).unwrap();
        let signer = Signer::new(&Scheme::StandardWebhooks, &[secret.expose_secret()]).unwrap();
        let signed = signer.sign(&message_id, timestamp, &[body.as_bytes()]);
        prop_assert_eq!(&signed.iter().nth(2).unwrap().1, expected.as_str());
    }
}
