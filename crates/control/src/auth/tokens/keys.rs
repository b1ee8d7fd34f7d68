//! The keys that tokens are checked with: a JSON Web Key Set, as far as it is of use.
//!
//! Each key is for one algorithm, which is pinned here and not by the token: the one that
//! the set names, or where it names none the usual one of the key's kind. Only asymmetric
//! ones are known, so that nobody who merely knows a public key can make a token, and what
//! is in the set beside (keys for encryption, secrets, kinds that this version does not
//! know) is passed over.

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Most keys of a set.
const KEYS: usize = 100;

/// The set cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeySetError {
    /// It is no JSON, or has no `keys`.
    #[error("not a JSON Web Key Set: an object with a list `keys` is expected")]
    Malformed,
    /// There are more keys than anybody needs.
    #[error("more than {KEYS} keys")]
    TooMany,
    /// There is nothing of use in it.
    #[error("no key in it can check a token: RSA, P-256, P-384 or Ed25519 keys are expected")]
    Useless,
}

/// A key.
pub(super) struct TrustedKey {
    /// What tokens call it.
    pub(super) id: Option<String>,
    /// The only algorithm that it checks.
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
    /// Tells whether two sets have the same key.
    pub(super) print: [u8; 32],
}

/// A set of keys.
#[derive(Default)]
pub(crate) struct KeySet(Vec<TrustedKey>);

impl core::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let ids = self.0.iter().map(|key| &key.id);
        f.debug_list().entries(ids).finish()
    }
}

impl KeySet {
    /// Reads a set.
    ///
    /// # Errors
    /// [`KeySetError`].
    pub(crate) fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let set: Value = serde_json::from_slice(text).map_err(|_| KeySetError::Malformed)?;
        let keys = set.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or(KeySetError::Malformed)?;
        if keys.len() > KEYS {
            return Err(KeySetError::TooMany);
        }
        let keys: Vec<_> = keys.iter().filter_map(trusted).collect();
        if keys.is_empty() {
            return Err(KeySetError::Useless);
        }
        Ok(Self(keys))
    }

    /// Whether there is no key.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys that a token may mean which calls its key so.
    pub(super) fn called<'keys, 'id>(
        &'keys self,
        id: Option<&'id str>,
    ) -> impl Iterator<Item = &'keys TrustedKey> + use<'keys, 'id> {
        let means = move |key: &&TrustedKey| id.is_none() || key.id.as_deref() == id;
        self.0.iter().filter(means)
    }

    /// Whether this key is in the set.
    pub(super) fn has(&self, print: &[u8; 32]) -> bool {
        self.0.iter().any(|key| key.print == *print)
    }
}

fn trusted(value: &Value) -> Option<TrustedKey> {
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    let purpose = jwk.common.public_key_use.as_ref();
    if purpose.is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return None;
    }
    let algorithm = algorithm(&jwk)?;
    Some(TrustedKey {
        key: DecodingKey::from_jwk(&jwk).ok()?,
        id: jwk.common.key_id,
        algorithm,
        print: Sha256::digest(value.to_string()).into(),
    })
}

/// The algorithm that the key is for; `None` if it is for none that is known, or for one
/// that is not of its kind.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let fitting: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[RS256, RS384, RS512, PS256, PS384, PS512],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => &[ES256],
            EllipticCurve::P384 => &[ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[EdDSA],
        _ => return None,
    };
    let named = match jwk.common.key_algorithm {
        None => return fitting.first().copied(),
        Some(KeyAlgorithm::RS256) => RS256,
        Some(KeyAlgorithm::RS384) => RS384,
        Some(KeyAlgorithm::RS512) => RS512,
        Some(KeyAlgorithm::PS256) => PS256,
        Some(KeyAlgorithm::PS384) => PS384,
        Some(KeyAlgorithm::PS512) => PS512,
        Some(KeyAlgorithm::ES256) => ES256,
        Some(KeyAlgorithm::ES384) => ES384,
        Some(KeyAlgorithm::EdDSA) => EdDSA,
        Some(_) => return None,
    };
    fitting.contains(&named).then_some(named)
}
