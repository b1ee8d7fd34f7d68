//! Plain HMAC header: a hex digest of the raw body, keyed by the secret's bytes as they
//! are. No time is signed, so a recorded request can be replayed: it exists for
//! receivers that know nothing better.

use crate::key::{KeyError, PLAIN_KEY_BYTES_MAX, check_length};
use crate::mac::Mac;
use crate::signer::SignedHeaders;
use crate::verifier::{Lookup, VerifyError, any_key};
use secrecy::{ExposeSecret, SecretString};
use std::borrow::Cow;

const DEFAULT_NAME: &str = "X-Signature";
const NAME_BYTES_MAX: usize = 128;
const PREFIX_BYTES_MAX: usize = 64;
/// Digest of the plain HMAC header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HmacDigest {
    /// 64 hex digits.
    #[default]
    Sha256,
    /// 40 hex digits; only for receivers that ask for it.
    Sha1,
}

/// Where the digest goes and how it looks. The default is `X-Signature`, SHA-256,
/// without prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HmacHeader {
    name: String,
    digest: HmacDigest,
    prefix: String,
}

/// Why the settings of a plain HMAC header are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HmacHeaderError {
    /// The name is longer than 128 bytes.
    #[error("signature header name: {bytes} bytes, at most {NAME_BYTES_MAX} are allowed")]
    NameTooLong {
        /// Bytes given.
        bytes: usize,
    },
    /// A character that no header name may have.
    #[error("signature header name: character not allowed at position {position}")]
    NameCharacter {
        /// Byte offset of the character, from 0.
        position: usize,
    },
    /// The prefix is longer than 64 bytes.
    #[error("signature prefix: {bytes} bytes, at most {PREFIX_BYTES_MAX} are allowed")]
    PrefixTooLong {
        /// Bytes given.
        bytes: usize,
    },
    /// Neither visible ASCII nor a space, or a space in front (receivers trim it).
    #[error("signature prefix: character not allowed at position {position}")]
    PrefixCharacter {
        /// Byte offset of the character, from 0.
        position: usize,
    },
}

impl Default for HmacHeader {
    fn default() -> Self {
        Self {
            name: DEFAULT_NAME.to_owned(),
            digest: HmacDigest::default(),
            prefix: String::new(),
        }
    }
}

impl HmacHeader {
    /// Checks the settings; an empty `name` means `X-Signature`. `prefix` stands in front
    /// of the digest, for instance `sha256=`. Only the form of the name is checked here: which names a sender keeps
    /// for itself is the sender's to say.
    ///
    /// # Errors
    /// Says which setting is wrong, and where.
    pub fn new(name: &str, digest: HmacDigest, prefix: &str) -> Result<Self, HmacHeaderError> {
        let name = if name.is_empty() { DEFAULT_NAME } else { name };
        if name.len() > NAME_BYTES_MAX {
            return Err(HmacHeaderError::NameTooLong { bytes: name.len() });
        }
        if let Some(position) = name.bytes().position(|byte| !is_token(byte)) {
            return Err(HmacHeaderError::NameCharacter { position });
        }
        if prefix.len() > PREFIX_BYTES_MAX {
            return Err(HmacHeaderError::PrefixTooLong {
                bytes: prefix.len(),
            });
        }
        let mut prefix_bytes = prefix.bytes().enumerate();
        if let Some((position, _)) =
            prefix_bytes.find(|&(at, byte)| !(byte.is_ascii_graphic() || byte == b' ' && at > 0))
        {
            return Err(HmacHeaderError::PrefixCharacter { position });
        }
        Ok(Self {
            name: name.to_owned(),
            digest,
            prefix: prefix.to_owned(),
        })
    }

    /// Name of the header, as given.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn sign<'a>(&'a self, mac: &Mac, body: &[&[u8]]) -> SignedHeaders<'a> {
        let value = mac.hex(&self.prefix, &[], body);
        SignedHeaders([Some((&self.name, Cow::Owned(value))), None, None])
    }

    pub(crate) fn verify(
        &self,
        macs: &[Mac],
        headers: &Lookup<'_, '_>,
        body: &[&[u8]],
    ) -> Result<(), VerifyError> {
        any_key(macs, headers.get(&self.name)?, |mac| {
            mac.hex(&self.prefix, &[], body)
        })
    }

    pub(crate) fn mac(&self, key: &HmacHeaderKey) -> Result<Mac, KeyError> {
        let bytes = key.0.expose_secret().as_bytes();
        match self.digest {
            HmacDigest::Sha256 => Mac::sha256(bytes),
            HmacDigest::Sha1 => Mac::sha1(bytes),
        }
    }
}

/// A secret of the plain HMAC header: 1 to 1,024 bytes of text, used as they are.
#[derive(Debug)]
pub struct HmacHeaderKey(SecretString);

impl HmacHeaderKey {
    /// Takes any text of an allowed length.
    ///
    /// # Errors
    /// If it is empty or too long.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        check_length(text.len(), 1..=PLAIN_KEY_BYTES_MAX)?;
        Ok(Self(SecretString::from(text)))
    }

    /// 32 random bytes as 64 hex digits; the digits are the secret.
    pub fn from_random(random: [u8; 32]) -> Self {
        Self(SecretString::from(hex::encode(random)))
    }

    /// The secret.
    pub fn to_text(&self) -> SecretString {
        self.0.clone()
    }
}

/// `tchar` of RFC 9110, of which a header name consists.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
