//! Schemes and the signer: the sending side.

use crate::hmac_header::{HmacHeader, HmacHeaderKey};
use crate::key::KeyError;
use crate::mac::Mac;
use crate::standard::StandardKey;
use crate::{close, close::CloseKey, standard};
use std::borrow::Cow;

/// Most keys of one subscription at a time.
pub const KEYS_MAX: usize = 8;

/// How requests are signed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Scheme {
    /// Not at all.
    #[default]
    Unsigned,
    /// Standard Webhooks; the prefix of each key tells `v1` from `v1a`.
    StandardWebhooks,
    /// Close.
    Close,
    /// One header with a plain HMAC digest of the body.
    HmacHeader(HmacHeader),
}

/// Why a scheme and its secrets make no signer (or verifier).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// The scheme needs a key and none was given.
    #[error("no signing key was given")]
    NoKey,
    /// More than [`KEYS_MAX`] keys.
    #[error("{count} signing keys, at most {KEYS_MAX} are allowed")]
    TooManyKeys {
        /// Keys given.
        count: usize,
    },
    /// One of the keys is not valid.
    #[error("key {index}: {source}")]
    Key {
        /// Which one, from 0.
        index: usize,
        /// What is wrong with it.
        source: KeyError,
    },
    /// A verifier for requests without signature would approve everything.
    #[error("unsigned requests cannot be verified")]
    Unsigned,
}

/// Name and value of a header. The value is visible ASCII, except for a message id,
/// which is passed on as it was given.
pub type SignedHeader<'a> = (&'a str, Cow<'a, str>);

/// The headers that a signature consists of: at most three, in the order of
/// [`Signer::header_names`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SignedHeaders<'a>(pub(crate) [Option<SignedHeader<'a>>; 3]);

impl<'a> SignedHeaders<'a> {
    /// Borrows the headers.
    pub fn iter(&self) -> impl Iterator<Item = &SignedHeader<'a>> {
        self.0.iter().flatten()
    }
}

impl<'a> IntoIterator for SignedHeaders<'a> {
    type Item = SignedHeader<'a>;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<SignedHeader<'a>>, 3>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten()
    }
}

/// A scheme with its keys, ready to sign. Prepare one per version of a subscription.
#[derive(Debug)]
pub struct Signer(Kind);

#[derive(Debug)]
enum Kind {
    Unsigned,
    StandardWebhooks(Vec<StandardKey>),
    Close(Mac),
    HmacHeader(HmacHeader, Mac),
}

impl Signer {
    /// Parses the `secrets` (text forms, newest first) for `scheme`. All of them are
    /// checked; schemes whose header holds one signature sign with the first alone.
    /// Unsigned ignores them.
    ///
    /// # Errors
    /// Says which secret is wrong, and what about it.
    pub fn new<S: AsRef<str>>(scheme: &Scheme, secrets: &[S]) -> Result<Self, SignerError> {
        Ok(Self(match scheme {
            Scheme::Unsigned => Kind::Unsigned,
            Scheme::StandardWebhooks => {
                Kind::StandardWebhooks(parse_keys(secrets, StandardKey::parse)?)
            }
            Scheme::Close => Kind::Close(newest(close_macs(secrets)?)?),
            Scheme::HmacHeader(header) => {
                Kind::HmacHeader(header.clone(), newest(header_macs(header, secrets)?)?)
            }
        }))
    }

    /// Signs a request whose body is the concatenation of `body`.
    ///
    /// `message_id` is the same over all attempts; it is signed and sent by Standard
    /// Webhooks only and should hold no `.`, which separates the signed parts.
    /// `timestamp_seconds` is the Unix time of this attempt.
    pub fn sign<'a>(
        &'a self,
        message_id: &'a str,
        timestamp_seconds: i64,
        body: &[&[u8]],
    ) -> SignedHeaders<'a> {
        match &self.0 {
            Kind::Unsigned => SignedHeaders::default(),
            Kind::StandardWebhooks(keys) => {
                standard::sign(keys, message_id, timestamp_seconds, body)
            }
            Kind::Close(mac) => close::sign(mac, timestamp_seconds, body),
            Kind::HmacHeader(header, mac) => header.sign(mac, body),
        }
    }

    /// Names of the headers that [`Self::sign`] gives, in its order.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        let names = match &self.0 {
            Kind::Unsigned => [None; 3],
            Kind::StandardWebhooks(_) => [
                Some(standard::ID),
                Some(standard::TIMESTAMP),
                Some(standard::SIGNATURE),
            ],
            Kind::Close(_) => [Some(close::HASH), Some(close::TIMESTAMP), None],
            Kind::HmacHeader(header, _) => [Some(header.name()), None, None],
        };
        names.into_iter().flatten()
    }
}

pub(crate) fn close_macs<S: AsRef<str>>(secrets: &[S]) -> Result<Vec<Mac>, SignerError> {
    parse_keys(secrets, |text| CloseKey::parse(text).map(|key| key.mac))
}

pub(crate) fn header_macs<S: AsRef<str>>(
    header: &HmacHeader,
    secrets: &[S],
) -> Result<Vec<Mac>, SignerError> {
    parse_keys(secrets, |text| header.mac(&HmacHeaderKey::parse(text)?))
}

/// Parses 1 to [`KEYS_MAX`] keys.
pub(crate) fn parse_keys<S: AsRef<str>, K>(
    secrets: &[S],
    parse: impl Fn(&str) -> Result<K, KeyError>,
) -> Result<Vec<K>, SignerError> {
    match secrets.len() {
        0 => return Err(SignerError::NoKey),
        count if count > KEYS_MAX => return Err(SignerError::TooManyKeys { count }),
        _ => {}
    }
    secrets
        .iter()
        .enumerate()
        .map(|(index, text)| {
            parse(text.as_ref()).map_err(|source| SignerError::Key { index, source })
        })
        .collect()
}

fn newest(macs: Vec<Mac>) -> Result<Mac, SignerError> {
    macs.into_iter().next().ok_or(SignerError::NoKey)
}
