//! Who calls: from a bearer key to a [`Principal`].
//!
//! A key is a random secret. The store holds the SHA-256 digest of it and nothing
//! else, which for 256 random bits needs neither salt nor stretching. [`Guarded`]
//! stands in front of every service of both listeners, agents' included: it looks the
//! key up, checks the right that [`rights`] asks for, and puts the principal into the
//! request's extensions. Nothing behind it ever sees the key.
//!
//! A look-up is remembered for `REMEMBERED`, whether it found something or not, and
//! long streams ask again every `REPEATED` ([`Standing`]): together that keeps the
//! promise that a revoked key is out of force on every replica within 5 s. Both
//! memories are bounded; found and unknown keys have one each, so that a flood of
//! unknown keys costs the flooder's look-ups and nobody else's.
//!
//! Fixed keys come from the configuration (the operator's, and a pool token for
//! installations of one piece). They are compared by digest, in constant time, and
//! work while the store is away.

mod guard;
pub mod rights;

use core::time::Duration;
use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use sidehook_api::registry::ApiKey;
use sidehook_core::{
    id::TenantId,
    pool::Pool,
    principal::{Principal, Role},
};
use sidehook_store::{Store, registry::Kind};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

pub use guard::{Guarded, UnderWay, principal, standing};

use crate::errors::OperationError;

/// How long a look-up is remembered.
const REMEMBERED: Duration = Duration::from_secs(2);
/// How often a long stream asks whether its key is still in force.
const REPEATED: Duration = Duration::from_secs(2);
/// Keys that are remembered, of found and of unknown ones each.
const MEMORY: usize = 10_000;
/// Bytes of the longest key that is looked at.
const KEY_BYTES_MAX: usize = 512;

/// The digest by which a key is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// The digest of a secret.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Its bytes: the key of the registry record.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl core::fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("KeyDigest")
    }
}

/// A key that the configuration gives, and who its bearer is.
#[derive(Clone, Debug)]
pub struct FixedKey {
    digest: KeyDigest,
    principal: Arc<Principal>,
}

impl FixedKey {
    /// The operator's key.
    #[must_use]
    pub fn operator(secret: &SecretString) -> Self {
        Self::new(secret, "operator", Role::Operator)
    }

    /// The token of a platform-wide pool.
    #[must_use]
    pub fn platform_pool(secret: &SecretString, pool: String) -> Self {
        let owner = TenantId::PLATFORM;
        Self::new(secret, "pool", Role::Agent(Pool { owner, name: pool }))
    }

    fn new(secret: &SecretString, subject: &str, role: Role) -> Self {
        Self {
            digest: KeyDigest::of(secret.expose_secret()),
            principal: Arc::new(Principal {
                tenant: TenantId::PLATFORM,
                subject: subject.to_owned(),
                role,
            }),
        }
    }
}

/// Tells who the bearer of a key is.
pub struct Authenticator {
    store: Arc<dyn Store>,
    fixed: Vec<FixedKey>,
    found: Mutex<Memory<KeyDigest, Arc<Principal>>>,
    unknown: Mutex<Memory<KeyDigest, ()>>,
}

impl core::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Authenticator")
    }
}

impl Authenticator {
    /// Looks keys up in `store`, beside the fixed ones.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, fixed: Vec<FixedKey>) -> Self {
        Self {
            store,
            fixed,
            found: Mutex::default(),
            unknown: Mutex::default(),
        }
    }

    /// The bearer of the key with this digest.
    ///
    /// # Errors
    /// [`OperationError::Unauthenticated`] for an unknown or revoked key,
    /// [`OperationError::Unavailable`] when the store cannot tell.
    pub async fn authenticate(&self, digest: KeyDigest) -> Result<Arc<Principal>, OperationError> {
        if let Some(principal) = self.fixed(digest) {
            return Ok(principal);
        }
        let asked = Instant::now();
        if let Some(principal) = self.found.lock().get(&digest, asked) {
            return Ok(principal);
        }
        if self.unknown.lock().get(&digest, asked).is_some() {
            return Err(unknown_key());
        }
        match self.look_up(digest).await? {
            Some(principal) => {
                let principal = Arc::new(principal);
                self.found.lock().put(digest, Arc::clone(&principal), asked);
                Ok(principal)
            }
            None => {
                self.unknown.lock().put(digest, (), asked);
                Err(unknown_key())
            }
        }
    }

    /// All fixed keys are compared, whichever fits: the time tells nothing.
    fn fixed(&self, digest: KeyDigest) -> Option<Arc<Principal>> {
        let mut found = None;
        for key in &self.fixed {
            if bool::from(key.digest.0.ct_eq(&digest.0)) {
                found = Some(Arc::clone(&key.principal));
            }
        }
        found
    }

    async fn look_up(&self, digest: KeyDigest) -> Result<Option<Principal>, OperationError> {
        let record = self.store.registry_get(Kind::ApiKey, &digest.0).await?;
        let Some(record) = record else {
            return Ok(None);
        };
        let key = ApiKey::decode(record)?;
        let in_force = key.revoked_at.is_none();
        Ok(in_force.then(|| key.principal()).flatten())
    }
}

fn unknown_key() -> OperationError {
    OperationError::Unauthenticated {
        reason: "INVALID_CREDENTIAL",
        message: "the key is unknown or was revoked: ask your operator for a new one",
    }
}

/// A caller's key while its stream lasts.
#[derive(Clone, Debug)]
pub struct Standing {
    authenticator: Arc<Authenticator>,
    digest: KeyDigest,
}

impl Standing {
    /// Resolves, with the error to end the stream with, once the key is no longer in
    /// force. A store that is away does not end streams.
    pub async fn lost(&self) -> OperationError {
        loop {
            tokio::time::sleep(REPEATED).await;
            if let Err(error @ OperationError::Unauthenticated { .. }) =
                self.authenticator.authenticate(self.digest).await
            {
                return error;
            }
        }
    }
}

/// Values that are remembered for `REMEMBERED`, at most [`MEMORY`] of them.
struct Memory<K, V>(HashMap<K, (Instant, V)>);

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq, V: Clone> Memory<K, V> {
    fn get(&self, key: &K, now: Instant) -> Option<V> {
        let (since, value) = self.0.get(key)?;
        (now.saturating_duration_since(*since) < REMEMBERED).then(|| value.clone())
    }

    /// Full of what is still fresh, it does not remember: the store is asked each time.
    fn put(&mut self, key: K, value: V, now: Instant) {
        if self.0.len() >= MEMORY && !self.0.contains_key(&key) {
            self.0
                .retain(|_, (since, _)| now.saturating_duration_since(*since) < REMEMBERED);
            if self.0.len() >= MEMORY {
                return;
            }
        }
        self.0.insert(key, (now, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_forgets_and_is_bounded() {
        let mut memory = Memory::default();
        let start = Instant::now();
        for key in 0..MEMORY + 10 {
            memory.put(key, key, start);
        }
        assert_eq!(memory.0.len(), MEMORY);
        assert_eq!(memory.get(&1, start), Some(1));
        let later = start + REMEMBERED;
        assert_eq!(memory.get(&1, later), None);
        memory.put(MEMORY + 10, 0, later);
        assert_eq!(memory.0.len(), 1);
    }
}
