//! Text forms of secrets, and what can be wrong with them.
//!
//! Decoding is strict (canonical base64 with padding, no missing prefix): a secret
//! that we accept must also be accepted by the receiver's library, and those differ
//! in what they forgive.

use base64::{DecodeError, DecodeSliceError, Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use std::ops::RangeInclusive;
use zeroize::Zeroizing;

/// Shortest shared key of Standard Webhooks, in bytes (after decoding).
pub const SHARED_KEY_BYTES_MIN: usize = 24;
/// Longest shared key of Standard Webhooks, in bytes (after decoding).
pub const SHARED_KEY_BYTES_MAX: usize = 64;
/// Longest secret of the plain HMAC header, in bytes.
pub const PLAIN_KEY_BYTES_MAX: usize = 1024;

/// Why a text is not a signing key. Positions are byte offsets into the whole text,
/// counted from 0; the text itself is never quoted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The prefix that tells the kind of key is missing or another.
    #[error("signing key: must begin with {expected}")]
    Prefix {
        /// The prefixes that are accepted here.
        expected: &'static str,
    },
    /// A character outside the base64 alphabet, or a last one with stray bits.
    #[error("signing key: not valid base64 at position {position}")]
    NotBase64 {
        /// Offset of the character.
        position: usize,
    },
    /// Base64 that is cut off, or whose padding is missing or wrong.
    #[error("signing key: base64 is cut off or its padding with `=` is wrong")]
    Base64Padding,
    /// A character that is not a hex digit.
    #[error("signing key: not valid hex at position {position}")]
    NotHex {
        /// Offset of the character.
        position: usize,
    },
    /// Half a byte is missing.
    #[error("signing key: odd number of hex digits ({digits})")]
    OddHex {
        /// Digits given.
        digits: usize,
    },
    /// Fewer bytes than the scheme asks for.
    #[error("signing key: too short: {bytes} bytes, must be {min} to {max}")]
    TooShort {
        /// Bytes given, after decoding.
        bytes: usize,
        /// Fewest allowed.
        min: usize,
        /// Most allowed.
        max: usize,
    },
    /// More bytes than the scheme allows.
    #[error("signing key: too long: {bytes} bytes, must be {min} to {max}")]
    TooLong {
        /// Bytes given, after decoding.
        bytes: usize,
        /// Fewest allowed.
        min: usize,
        /// Most allowed.
        max: usize,
    },
    /// Neither a seed (32 bytes) nor a seed with its public key (64 bytes).
    #[error("signing key: an Ed25519 private key has 32 or 64 bytes, not {bytes}")]
    PrivateLength {
        /// Bytes given, after decoding.
        bytes: usize,
    },
    /// The cryptographic library refuses the key: the halves of an Ed25519 key do not
    /// belong together, or a public key is not a point of the curve.
    #[error("signing key: not a valid key of its kind")]
    Rejected,
}

pub(crate) fn check_length(bytes: usize, allowed: RangeInclusive<usize>) -> Result<(), KeyError> {
    let (min, max) = allowed.into_inner();
    if bytes < min {
        Err(KeyError::TooShort { bytes, min, max })
    } else if bytes > max {
        Err(KeyError::TooLong { bytes, min, max })
    } else {
        Ok(())
    }
}

/// Decodes base64 that stands at `offset` of the text that the user gave.
pub(crate) fn decode_base64(text: &str, offset: usize) -> Result<SecretSlice<u8>, KeyError> {
    let mut buffer = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
    let length = STANDARD
        .decode_slice(text, &mut buffer)
        .map_err(|error| match error {
            DecodeSliceError::DecodeError(
                DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _),
            ) => KeyError::NotBase64 {
                position: offset + at,
            },
            _ => KeyError::Base64Padding,
        })?;
    // An exact copy: shrinking the buffer in place would leave bytes behind.
    Ok(SecretSlice::from(buffer[..length].to_vec()))
}

pub(crate) fn decode_hex(text: &str) -> Result<SecretSlice<u8>, KeyError> {
    // Before the digits: the decoder would report an odd length first.
    if let Some(position) = text.bytes().position(|byte| !byte.is_ascii_hexdigit()) {
        return Err(KeyError::NotHex { position });
    }
    let mut bytes = Zeroizing::new(vec![0; text.len() / 2]);
    hex::decode_to_slice(text, &mut bytes).map_err(|_| KeyError::OddHex { digits: text.len() })?;
    Ok(SecretSlice::from(bytes.to_vec()))
}

pub(crate) fn base64_text(prefix: &str, key: &SecretSlice<u8>) -> SecretString {
    let bytes = key.expose_secret();
    // The whole capacity at once: growing would leave copies behind.
    let mut text = String::with_capacity(prefix.len() + bytes.len().div_ceil(3) * 4);
    text.push_str(prefix);
    STANDARD.encode_string(bytes, &mut text);
    SecretString::from(text)
}
