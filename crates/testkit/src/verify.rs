//! What a receiver makes of a signature: it knows its subscription's scheme and
//! keys, and trusts nothing else about a request.

use std::time::{SystemTime, UNIX_EPOCH};

use sidehook_api::v1::{self, HmacHeaderScheme, SigningKey, signing};
use sidehook_signature::{HmacDigest, HmacHeader, Scheme, TimeWindow, Verifier, VerifyError};

use crate::receiver::Received;

/// Checks that `received` was signed within the last five minutes with one of the
/// keys of `subscription`, as `create_subscription` or `rotate_signing_key` answered
/// it. For Ed25519 only the public key is used.
///
/// # Errors
///
/// Why a receiver must not trust the request.
///
/// # Panics
///
/// If the subscription is unsigned, or shows no key: lists never do.
pub fn verify(received: &Received, subscription: &v1::Subscription) -> Result<(), VerifyError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_seconds = now.expect("a clock after 1970").as_secs().cast_signed();
    verifier(subscription).verify(
        |name| received.header(name),
        &[&received.body],
        TimeWindow::around(now_seconds),
    )
}

fn verifier(subscription: &v1::Subscription) -> Verifier {
    let signing = subscription.signing.as_ref();
    let signing = signing.expect("the subscription tells how it signs");
    let scheme = match &signing.scheme {
        Some(signing::Scheme::StandardWebhooks(_)) => Scheme::StandardWebhooks,
        Some(signing::Scheme::Close(_)) => Scheme::Close,
        Some(signing::Scheme::HmacHeader(header)) => Scheme::HmacHeader(hmac_header(header)),
        Some(signing::Scheme::Unsigned(_)) | None => panic!("the subscription is unsigned"),
    };
    let keys: Vec<_> = signing.keys.iter().map(receivers_key).collect();
    Verifier::new(&scheme, &keys).expect("the subscription shows keys of its scheme")
}

fn hmac_header(scheme: &HmacHeaderScheme) -> HmacHeader {
    let digest = match scheme.digest() {
        v1::HmacDigest::Sha1 => HmacDigest::Sha1,
        v1::HmacDigest::Sha256 | v1::HmacDigest::Unspecified => HmacDigest::Sha256,
    };
    let name = match scheme.header.as_str() {
        "" => "X-Signature",
        name => name,
    };
    HmacHeader::new(name, digest, &scheme.prefix).expect("the server checked the header")
}

const fn receivers_key(key: &SigningKey) -> &str {
    if key.public_key.is_empty() {
        key.secret.as_str()
    } else {
        key.public_key.as_str()
    }
}
