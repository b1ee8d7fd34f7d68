//! Close: lowercase hex HMAC-SHA256 over timestamp and body, nothing between, keyed
//! by the **decoded** bytes of the key's 64 hex digits.

use crate::key::{KeyError, check_length, decode_hex};
use crate::mac::Mac;
use crate::signer::SignedHeaders;
use crate::verifier::{Lookup, TimeWindow, VerifyError, any_key};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use std::borrow::Cow;

pub(crate) const HASH: &str = "close-sig-hash";
pub(crate) const TIMESTAMP: &str = "close-sig-timestamp";
const KEY_BYTES: usize = 32;

/// A `signature_key`: 32 bytes, as text 64 hex digits.
#[derive(Debug)]
pub struct CloseKey {
    bytes: SecretSlice<u8>,
    pub(crate) mac: Mac,
}

impl CloseKey {
    /// Parses 64 hex digits of either case.
    ///
    /// # Errors
    /// Says what is wrong with the text, and where.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        Self::new(decode_hex(text)?)
    }

    /// A key of 32 random bytes.
    ///
    /// # Errors
    /// None that is known; the signature leaves the last word to the library.
    pub fn from_random(random: [u8; KEY_BYTES]) -> Result<Self, KeyError> {
        Self::new(SecretSlice::from(random.to_vec()))
    }

    /// The text form: 64 lowercase hex digits.
    pub fn to_text(&self) -> SecretString {
        SecretString::from(hex::encode(self.bytes.expose_secret()))
    }

    fn new(bytes: SecretSlice<u8>) -> Result<Self, KeyError> {
        check_length(bytes.expose_secret().len(), KEY_BYTES..=KEY_BYTES)?;
        let mac = Mac::sha256(bytes.expose_secret())?;
        Ok(Self { bytes, mac })
    }
}

pub(crate) fn sign<'a>(mac: &Mac, timestamp_seconds: i64, body: &[&[u8]]) -> SignedHeaders<'a> {
    let timestamp = timestamp_seconds.to_string();
    let hash = mac.hex("", &[timestamp.as_bytes()], body);
    SignedHeaders([
        Some((HASH, Cow::Owned(hash))),
        Some((TIMESTAMP, Cow::Owned(timestamp))),
        None,
    ])
}

pub(crate) fn verify(
    macs: &[Mac],
    headers: &Lookup<'_, '_>,
    body: &[&[u8]],
    window: TimeWindow,
) -> Result<(), VerifyError> {
    let hash = headers.get(HASH)?;
    let timestamp = headers.get(TIMESTAMP)?;
    window.check(TIMESTAMP, timestamp)?;
    any_key(macs, hash, |mac| mac.hex("", &[timestamp.as_bytes()], body))
}
