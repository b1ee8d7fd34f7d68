//! Standard Webhooks: `v1` (HMAC-SHA256) and `v1a` (Ed25519).
//!
//! The signed bytes are `{id}.{timestamp}.{body}`. During a rotation every key signs,
//! and the header lists the signatures separated by spaces: receivers take any that
//! they can check.

use crate::key::{
    KeyError, SHARED_KEY_BYTES_MAX, SHARED_KEY_BYTES_MIN, base64_text, check_length, decode_base64,
};
use crate::mac::Mac;
use crate::signer::SignedHeaders;
use crate::verifier::{Lookup, SIGNATURES_EXAMINED_MAX, TimeWindow, VerifyError, same_text};
use aws_lc_rs::signature::{
    ED25519, ED25519_PUBLIC_KEY_LEN, Ed25519KeyPair, KeyPair, ParsedPublicKey,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use std::borrow::Cow;

pub(crate) const ID: &str = "webhook-id";
pub(crate) const TIMESTAMP: &str = "webhook-timestamp";
pub(crate) const SIGNATURE: &str = "webhook-signature";

const SHARED_PREFIX: &str = "whsec_";
const PRIVATE_PREFIX: &str = "whsk_";
const PUBLIC_PREFIX: &str = "whpk_";
const SEED_BYTES: usize = 32;
const V1: &str = "v1,";
const V1A: &str = "v1a,";
/// `v1a,` and 64 bytes in base64, with the space between two.
const SIGNATURE_BYTES_MAX: usize = 4 + 88 + 1;

/// A signing key: a shared secret (`whsec_…`) or an Ed25519 private key (`whsk_…`).
#[derive(Debug)]
pub struct StandardKey {
    bytes: SecretSlice<u8>,
    prepared: Prepared,
}

#[derive(Debug)]
enum Prepared {
    HmacSha256(Mac),
    // The pair lives in aws-lc's memory, which is wiped when it is freed.
    Ed25519(Ed25519KeyPair),
}

impl StandardKey {
    /// Parses `whsec_…` (24 to 64 bytes) or `whsk_…` (the 32 bytes of the seed, or 64
    /// with the public key behind it); the rest is base64.
    ///
    /// # Errors
    /// Says what is wrong with the text, and where.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if let Some(encoded) = text.strip_prefix(SHARED_PREFIX) {
            Self::shared(decode_base64(encoded, SHARED_PREFIX.len())?)
        } else if let Some(encoded) = text.strip_prefix(PRIVATE_PREFIX) {
            Self::private(decode_base64(encoded, PRIVATE_PREFIX.len())?)
        } else {
            Err(KeyError::Prefix {
                expected: "`whsec_` or `whsk_`",
            })
        }
    }

    /// A shared secret of 32 random bytes.
    ///
    /// # Errors
    /// None that is known; the signature leaves the last word to the library.
    pub fn from_random(random: [u8; 32]) -> Result<Self, KeyError> {
        Self::shared(SecretSlice::from(random.to_vec()))
    }

    /// An Ed25519 private key whose seed is 32 random bytes.
    ///
    /// # Errors
    /// As for [`Self::from_random`].
    pub fn ed25519_from_random(random: [u8; SEED_BYTES]) -> Result<Self, KeyError> {
        Self::private(SecretSlice::from(random.to_vec()))
    }

    /// The text form, `whsec_…` or `whsk_…`.
    pub fn to_text(&self) -> SecretString {
        let prefix = match self.prepared {
            Prepared::HmacSha256(_) => SHARED_PREFIX,
            Prepared::Ed25519(_) => PRIVATE_PREFIX,
        };
        base64_text(prefix, &self.bytes)
    }

    /// What a receiver of Ed25519 signatures needs, `whpk_…`; none for a shared secret.
    pub fn public_text(&self) -> Option<String> {
        match &self.prepared {
            Prepared::HmacSha256(_) => None,
            Prepared::Ed25519(pair) => {
                let mut text = PUBLIC_PREFIX.to_owned();
                STANDARD.encode_string(pair.public_key(), &mut text);
                Some(text)
            }
        }
    }

    fn shared(bytes: SecretSlice<u8>) -> Result<Self, KeyError> {
        let key = bytes.expose_secret();
        check_length(key.len(), SHARED_KEY_BYTES_MIN..=SHARED_KEY_BYTES_MAX)?;
        let prepared = Prepared::HmacSha256(Mac::sha256(key)?);
        Ok(Self { bytes, prepared })
    }

    fn private(bytes: SecretSlice<u8>) -> Result<Self, KeyError> {
        let key = bytes.expose_secret();
        let pair = match key.len() {
            SEED_BYTES => Ed25519KeyPair::from_seed_unchecked(key),
            64 => Ed25519KeyPair::from_seed_and_public_key(&key[..SEED_BYTES], &key[SEED_BYTES..]),
            bytes => return Err(KeyError::PrivateLength { bytes }),
        };
        let prepared = Prepared::Ed25519(pair.map_err(|_| KeyError::Rejected)?);
        Ok(Self { bytes, prepared })
    }
}

/// Signs with all of `keys`, in their order.
pub(crate) fn sign<'a>(
    keys: &[StandardKey],
    message_id: &'a str,
    timestamp_seconds: i64,
    body: &[&[u8]],
) -> SignedHeaders<'a> {
    let timestamp = timestamp_seconds.to_string();
    let head = head(message_id, &timestamp);
    let mut signatures = String::with_capacity(keys.len() * SIGNATURE_BYTES_MAX);
    let mut whole = None;
    for key in keys {
        if !signatures.is_empty() {
            signatures.push(' ');
        }
        match &key.prepared {
            Prepared::HmacSha256(mac) => push_v1(mac, &head, body, &mut signatures),
            Prepared::Ed25519(pair) => {
                let message = whole.get_or_insert_with(|| concatenate(&head, body));
                signatures.push_str(V1A);
                STANDARD.encode_string(pair.sign(message), &mut signatures);
            }
        }
    }
    SignedHeaders([
        Some((ID, Cow::Borrowed(message_id))),
        Some((TIMESTAMP, Cow::Owned(timestamp))),
        Some((SIGNATURE, Cow::Owned(signatures))),
    ])
}

/// A key that checks: a shared secret or an Ed25519 public key.
#[derive(Debug)]
pub(crate) enum CheckingKey {
    HmacSha256(Mac),
    Ed25519(ParsedPublicKey),
}

impl CheckingKey {
    /// Parses `whsec_…`, `whpk_…`, or `whsk_…` for its public half.
    pub(crate) fn parse(text: &str) -> Result<Self, KeyError> {
        if let Some(encoded) = text.strip_prefix(PUBLIC_PREFIX) {
            let bytes = decode_base64(encoded, PUBLIC_PREFIX.len())?;
            let allowed = ED25519_PUBLIC_KEY_LEN..=ED25519_PUBLIC_KEY_LEN;
            check_length(bytes.expose_secret().len(), allowed)?;
            return Self::public(bytes.expose_secret());
        }
        if !text.starts_with(SHARED_PREFIX) && !text.starts_with(PRIVATE_PREFIX) {
            return Err(KeyError::Prefix {
                expected: "`whsec_`, `whpk_` or `whsk_`",
            });
        }
        match StandardKey::parse(text)?.prepared {
            Prepared::HmacSha256(mac) => Ok(Self::HmacSha256(mac)),
            Prepared::Ed25519(pair) => Self::public(pair.public_key().as_ref()),
        }
    }

    fn public(bytes: &[u8]) -> Result<Self, KeyError> {
        ParsedPublicKey::new(&ED25519, bytes)
            .map(Self::Ed25519)
            .map_err(|_| KeyError::Rejected)
    }

    fn matches(&self, signatures: &str, head: &[&[u8]], body: &[&[u8]]) -> bool {
        let mut candidates = signatures.split(' ').take(SIGNATURES_EXAMINED_MAX);
        match self {
            Self::HmacSha256(mac) => {
                let mut expected = String::new();
                push_v1(mac, head, body, &mut expected);
                candidates.any(|candidate| same_text(candidate, &expected))
            }
            Self::Ed25519(public) => {
                let message = concatenate(head, body);
                candidates
                    .filter_map(|candidate| STANDARD.decode(candidate.strip_prefix(V1A)?).ok())
                    .any(|signature| public.verify_sig(&message, &signature).is_ok())
            }
        }
    }
}

pub(crate) fn verify(
    keys: &[CheckingKey],
    headers: &Lookup<'_, '_>,
    body: &[&[u8]],
    window: TimeWindow,
) -> Result<(), VerifyError> {
    let message_id = headers.get(ID)?;
    let timestamp = headers.get(TIMESTAMP)?;
    let signatures = headers.get(SIGNATURE)?;
    window.check(TIMESTAMP, timestamp)?;
    let head = head(message_id, timestamp);
    if keys.iter().any(|key| key.matches(signatures, &head, body)) {
        Ok(())
    } else {
        Err(VerifyError::Mismatch)
    }
}

fn head<'a>(message_id: &'a str, timestamp: &'a str) -> [&'a [u8]; 4] {
    [message_id.as_bytes(), b".", timestamp.as_bytes(), b"."]
}

fn push_v1(mac: &Mac, head: &[&[u8]], body: &[&[u8]], out: &mut String) {
    out.push_str(V1);
    mac.digest(head, body, |code| STANDARD.encode_string(code, out));
}

fn concatenate(head: &[&[u8]], body: &[&[u8]]) -> Vec<u8> {
    let parts = || head.iter().chain(body);
    let mut message = Vec::with_capacity(parts().map(|part| part.len()).sum());
    parts().for_each(|part| message.extend_from_slice(part));
    message
}
