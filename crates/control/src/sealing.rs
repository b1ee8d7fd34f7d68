//! Sealing: signing keys at rest are useless without the server's sealing key.
//!
//! AES-256-GCM with a random nonce per sealing, which stands in front of the
//! ciphertext. The subscription's id is authenticated with it: a sealed key copied
//! into another subscription does not open. Random nonces bound one sealing key to
//! about 2^32 sealings, far beyond what subscriptions and rotations ask for.
//!
//! A sealing key names itself by a digest, so that a server with another key says so
//! instead of "cannot be opened". The digest is of 256 random bits and so tells nothing.
//! The store keeps the digest of the first server's key as an agreement of all servers
//! ([`Sealer::agree`]): one with another key does not start, since what it sealed the
//! others could not open.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use bytes::Bytes;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use sidehook_core::id::SubscriptionId;
use sidehook_store::{Store, StoreError, registry::Kind};
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes of a sealing key.
const KEY_BYTES: usize = 32;

/// The name of the agreement on the sealing key; its value is the key's id.
const AGREED: &[u8] = b"sealing key";

/// A sealing key's text is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealing key has 64 hex digits, for example from `openssl rand -hex 32`")]
pub struct ParseSealingKeyError;

/// Why something sealed does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It was sealed with another key.
    #[error("it is sealed with the sealing key {sealed}, and this server has {own}")]
    OtherKey {
        /// The id of the key that it was sealed with.
        sealed: String,
        /// The id of this server's key.
        own: String,
    },
    /// It was changed, cut off, or belongs to another subscription.
    #[error("it was changed, or it belongs to another subscription")]
    Damaged,
}

/// Why a server does not get to work with its sealing key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgreeError {
    /// The servers of this store have another key.
    #[error(
        "sealing_key: the servers of this store seal signing keys with the sealing key {kept}, and this server \
         was given {own} (both are digests): give it the key that they have, or another store. \
         Without that key nothing that was sealed in this store can be opened"
    )]
    OtherKey {
        /// The id of the key that they have.
        kept: String,
        /// The id of this server's key.
        own: String,
    },
    /// The store did not tell.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The library refused to seal; nothing that is known makes it do so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library refused to seal")]
pub struct SealError;

/// Seals and opens secrets.
pub struct Sealer {
    id: String,
    key: RandomizedNonceKey,
}

impl core::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Sealer").field("id", &self.id).finish()
    }
}

impl Sealer {
    /// The sealer with the key of this text: 64 hex digits.
    ///
    /// # Errors
    /// The text is not that.
    pub fn parse(text: &SecretString) -> Result<Self, ParseSealingKeyError> {
        let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
        hex::decode_to_slice(text.expose_secret().trim(), key.as_mut_slice())
            .map_err(|_| ParseSealingKeyError)?;
        Self::new(&key)
    }

    /// The sealer with this key.
    ///
    /// # Errors
    /// None that is known; the signature leaves the last word to the library.
    pub fn new(key: &[u8; KEY_BYTES]) -> Result<Self, ParseSealingKeyError> {
        let digest = Sha256::new()
            .chain_update(b"sidehook sealing key\0")
            .chain_update(key)
            .finalize();
        let id = hex::encode(&digest[..8]);
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| ParseSealingKeyError)?;
        Ok(Self { id, key })
    }

    /// The id of the key, kept beside whatever is sealed with it.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.id
    }

    /// Sees to it that all servers of a store have one key: the first to start says
    /// which. Of several that start at one moment one is the first.
    ///
    /// # Errors
    /// [`AgreeError`].
    pub async fn agree(&self, store: &dyn Store) -> Result<(), AgreeError> {
        let own = Bytes::copy_from_slice(self.id.as_bytes());
        let kept = store.registry_claim(Kind::Agreement, AGREED, own).await?;
        if kept == self.id.as_bytes() {
            return Ok(());
        }
        Err(AgreeError::OtherKey {
            kept: String::from_utf8_lossy(&kept).into_owned(),
            own: self.id.clone(),
        })
    }

    /// Seals a secret of a subscription.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(
        &self,
        subscription: SubscriptionId,
        secret: &SecretString,
    ) -> Result<Bytes, SealError> {
        let secret = secret.expose_secret().as_bytes();
        // Room for the tag, so that growing leaves no copy of the secret behind.
        let mut text = Vec::with_capacity(secret.len() + AES_256_GCM.tag_len());
        text.extend_from_slice(secret);
        let aad = Aad::from(subscription.to_bytes());
        let sealed = self.key.seal_in_place_append_tag(aad, &mut text);
        let Ok(nonce) = sealed else {
            text.zeroize();
            return Err(SealError);
        };
        let mut sealed = Vec::with_capacity(NONCE_LEN + text.len());
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&text);
        Ok(sealed.into())
    }

    /// Opens what [`Self::seal`] made with the key of id `key_id`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        &self,
        subscription: SubscriptionId,
        key_id: &str,
        sealed: &[u8],
    ) -> Result<SecretString, OpenError> {
        if key_id != self.id {
            return Err(OpenError::OtherKey {
                sealed: key_id.to_owned(),
                own: self.id.clone(),
            });
        }
        let (nonce, text) = sealed
            .split_at_checked(NONCE_LEN)
            .ok_or(OpenError::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError::Damaged)?;
        let mut text = Zeroizing::new(text.to_vec());
        let aad = Aad::from(subscription.to_bytes());
        let opened = self.key.open_in_place(nonce, aad, &mut text);
        let opened = opened.map_err(|_| OpenError::Damaged)?;
        let secret = core::str::from_utf8(opened).map_err(|_| OpenError::Damaged)?;
        Ok(SecretString::from(secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_two_keys_at_one_moment_one_is_the_stores() {
        let store = sidehook_store::model::Model::new();
        let (one, two) = (sealer(1), sealer(2));
        let (first, second) = tokio::join!(one.agree(&store), two.agree(&store));
        assert_eq!(first, Ok(()));
        let refused = AgreeError::OtherKey {
            kept: one.id.clone(),
            own: two.id.clone(),
        };
        assert_eq!(second, Err(refused.clone()));
        assert_eq!(one.agree(&store).await, Ok(()));
        assert_eq!(two.agree(&store).await, Err(refused));
    }

    const MINE: SubscriptionId = SubscriptionId::from_bits(7);

    fn sealer(byte: u8) -> Sealer {
        Sealer::new(&[byte; KEY_BYTES]).expect("a key")
    }

    #[test]
    fn what_was_sealed_opens_only_as_it_was_and_where_it_belongs() {
        let (sealer, secret) = (sealer(1), SecretString::from("whsec_abc"));
        let sealed = sealer.seal(MINE, &secret).expect("sealed");
        assert!(!sealed.windows(9).any(|window| window == b"whsec_abc"));
        let opened = sealer.open(MINE, sealer.key_id(), &sealed).expect("opened");
        assert_eq!(opened.expose_secret(), "whsec_abc");
        let other = SubscriptionId::from_bits(8);
        let moved = sealer.open(other, sealer.key_id(), &sealed);
        assert_eq!(moved.err(), Some(OpenError::Damaged));
        for at in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            let opened = sealer.open(MINE, sealer.key_id(), &changed);
            assert_eq!(opened.err(), Some(OpenError::Damaged));
            let cut = sealer.open(MINE, sealer.key_id(), &sealed[..at]);
            assert_eq!(cut.err(), Some(OpenError::Damaged));
        }
    }

    #[test]
    fn sealing_twice_gives_different_bytes() {
        let (sealer, secret) = (sealer(1), SecretString::from("x"));
        let seal = || sealer.seal(MINE, &secret).expect("sealed");
        assert_ne!(seal(), seal());
    }

    #[test]
    fn another_key_is_named() {
        let sealed = sealer(1).seal(MINE, &"x".into()).expect("sealed");
        let error = sealer(2).open(MINE, sealer(1).key_id(), &sealed).err();
        let (sealed, own) = (sealer(1).id, sealer(2).id);
        assert_eq!(error, Some(OpenError::OtherKey { sealed, own }));
    }

    #[test]
    fn a_key_is_64_hex_digits() {
        for wrong in ["", "00", &"g".repeat(64), &"0".repeat(66)] {
            assert!(Sealer::parse(&wrong.into()).is_err(), "{wrong}");
        }
        let parsed = Sealer::parse(&"01".repeat(32).into()).expect("a key");
        assert_eq!(parsed.key_id(), sealer(1).key_id());
    }
}
