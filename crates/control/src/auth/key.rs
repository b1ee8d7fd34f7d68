//! Keys: their digests, and those that the configuration gives.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use sidehook_core::{
    id::TenantId,
    pool::Pool,
    principal::{Principal, Role},
};
use subtle::ConstantTimeEq as _;

/// Bytes of the longest key that is looked at.
pub(super) const KEY_BYTES_MAX: usize = 512;

/// The digest by which a credential is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// The digest of a secret.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self::of_bytes(secret.as_bytes())
    }

    /// The digest of a certificate.
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
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

    /// Whose key among `fixed` this is. All are compared, whichever fits: the time tells
    /// nothing.
    pub(super) fn among(fixed: &[Self], digest: KeyDigest) -> Option<Arc<Principal>> {
        let mut found = None;
        for key in fixed {
            if bool::from(key.digest.0.ct_eq(&digest.0)) {
                found = Some(Arc::clone(&key.principal));
            }
        }
        found
    }
}
