//! Who calls: from a credential to a [`Principal`].
//!
//! | credential | how it comes | what is looked up |
//! |---|---|---|
//! | key | `authorization: Bearer …` | its digest in the store: tenant, role, end, user |
//! | fixed key | the same | the configuration (the operator's, and a pool token) |
//! | token (JWT) of another issuer | the same | its signature, its claims, tenant and user ([`tokens`]) |
//! | client certificate | the TLS handshake | its names in the configuration, the tenant ([`certificates`]) |
//!
//! A bearer credential, if given, wins over a certificate. [`Guarded`] stands in front of
//! every service of both listeners, agents' included: it finds out who calls, checks the
//! right that [`rights`] asks for, and puts the principal into the request's extensions.
//! Nothing behind it ever sees a key or a token.
//!
//! A key is a random secret. The store holds the SHA-256 digest of it and nothing else,
//! which for 256 random bits needs neither salt nor stretching. A key may be a user's: then
//! the user must be there, their id is the subject, and their role bounds the key's.
//!
//! Whatever is found is remembered under the credential's digest for two seconds, but
//! never beyond the credential's own end, and so is a refusal; long streams ask again every
//! `REPEATED` and at that end ([`Standing`]). Together that keeps the promise that what was
//! revoked or deleted is out of force on every replica within 5 s, and that nothing
//! outlasts its end. Both memories are bounded; what was found and what was refused have
//! one each, so that a flood of unknown keys costs the flooder's look-ups and nobody
//! else's.
//!
//! Fixed keys are compared by digest, in constant time, and work while the store is away.

pub mod certificates;
mod guard;
mod key;
mod memory;
mod refusal;
pub mod rights;
mod subject;
pub mod tokens;

use core::time::Duration;
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use sidehook_api::registry::{ApiKey, KeyUser};
use sidehook_core::{
    id::UserId,
    principal::{Principal, Right},
};
use sidehook_store::{Store, registry::Kind};
use tokio::time::Instant;

pub use certificates::{ClientIdentity, PeerCertificate};
pub use guard::{Guarded, Peer, UnderWay, principal, standing};
pub use key::{FixedKey, KeyDigest};
pub use tokens::JwtConfig;

use self::{
    key::KEY_BYTES_MAX,
    memory::Memory,
    refusal::Refusal,
    tokens::{Believed, Tokens},
};
use crate::{errors::OperationError, tenants::has_tenant, users};

/// How often a long stream asks whether its credential is still in force.
const REPEATED: Duration = Duration::from_secs(2);

/// What a caller shows.
#[derive(Clone, Copy, Debug)]
enum Credential<'a> {
    /// A key or a token.
    Bearer(KeyDigest, &'a str),
    /// The certificate of the connection.
    Certificate(&'a Arc<PeerCertificate>),
}

/// What is kept of a credential, to ask whether it is still in force.
#[derive(Clone, Debug)]
enum Proof {
    Fixed(KeyDigest),
    Key(KeyDigest),
    Token(KeyDigest, Arc<Believed>),
    Certificate(Arc<PeerCertificate>),
}

impl Proof {
    /// Of a key its digest; tokens and certificates come and go while their bearer stays.
    fn key(&self) -> Option<&[u8; 32]> {
        match self {
            Self::Fixed(digest) | Self::Key(digest) => Some(digest.as_bytes()),
            Self::Token(..) | Self::Certificate(_) => None,
        }
    }

    fn digest(&self) -> KeyDigest {
        match self {
            Self::Fixed(digest) | Self::Key(digest) | Self::Token(digest, _) => *digest,
            Self::Certificate(certificate) => certificate.digest,
        }
    }
}

/// A caller that is known.
#[derive(Clone, Debug)]
struct Known {
    principal: Arc<Principal>,
    proof: Proof,
    /// When the credential ends by itself.
    end: Option<Instant>,
}

/// Who it is, and until when: when the credential ends, and until when that may be
/// remembered.
struct Found {
    principal: Principal,
    end: Option<Instant>,
    remembered: Option<Instant>,
}

impl Found {
    fn until(principal: Principal, end: Option<Instant>) -> Self {
        Self {
            principal,
            end,
            remembered: end,
        }
    }
}

/// Tells who the bearer of a credential is.
pub struct Authenticator {
    store: Arc<dyn Store>,
    fixed: Vec<FixedKey>,
    tokens: Option<Arc<Tokens>>,
    identities: Vec<ClientIdentity>,
    found: Mutex<Memory<KeyDigest, Known>>,
    refused: Mutex<Memory<KeyDigest, Refusal>>,
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
            tokens: None,
            identities: Vec::new(),
            found: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// Believes these tokens too.
    #[must_use]
    pub(crate) fn with_tokens(mut self, tokens: Option<Arc<Tokens>>) -> Self {
        self.tokens = tokens;
        self
    }

    /// Knows the bearers of these certificates too.
    #[must_use]
    pub fn with_identities(mut self, identities: Vec<ClientIdentity>) -> Self {
        self.identities = identities;
        self
    }

    /// The bearer of a credential: usually a look into memory.
    async fn authenticate(&self, credential: Credential<'_>) -> Result<Known, OperationError> {
        let asked = Instant::now();
        let digest = match credential {
            Credential::Bearer(digest, _) => digest,
            Credential::Certificate(certificate) => certificate.digest,
        };
        if let Some(principal) = FixedKey::among(&self.fixed, digest) {
            let (proof, end) = (Proof::Fixed(digest), None);
            return Ok(Known {
                principal,
                proof,
                end,
            });
        }
        if let Some(known) = self.found.lock().get(&digest, asked) {
            return Ok(known);
        }
        if let Some(refusal) = self.refused.lock().get(&digest, asked) {
            return Err(refusal.into());
        }
        let proof = match credential {
            Credential::Certificate(certificate) => Ok(Proof::Certificate(Arc::clone(certificate))),
            Credential::Bearer(digest, text) => self.bearer(digest, text).await?,
        };
        match proof {
            Ok(proof) => self.look_up(proof, asked).await,
            Err(refusal) => Err(self.refuse(digest, refusal, asked)),
        }
    }

    /// What a bearer credential is: a token, if it has the form of one.
    async fn bearer(
        &self,
        digest: KeyDigest,
        text: &str,
    ) -> Result<Result<Proof, Refusal>, OperationError> {
        if let Some(tokens) = &self.tokens
            && let Some(believed) = tokens.believe(text).await?
        {
            return Ok(believed.map(|token| Proof::Token(digest, Arc::new(token))));
        }
        if text.len() > KEY_BYTES_MAX {
            return Ok(Err(Refusal::UNKNOWN_KEY));
        }
        Ok(Ok(Proof::Key(digest)))
    }

    /// Whether what somebody has shown is still in force.
    async fn again(&self, proof: &Proof) -> Result<Known, OperationError> {
        let asked = Instant::now();
        if let Proof::Fixed(digest) = proof {
            let principal = FixedKey::among(&self.fixed, *digest).ok_or(Refusal::UNKNOWN_KEY)?;
            return Ok(Known {
                principal,
                proof: proof.clone(),
                end: None,
            });
        }
        if let Some(known) = self.found.lock().get(&proof.digest(), asked) {
            return Ok(known);
        }
        self.look_up(proof.clone(), asked).await
    }

    async fn look_up(&self, proof: Proof, asked: Instant) -> Result<Known, OperationError> {
        let digest = proof.digest();
        let found = match &proof {
            Proof::Fixed(digest) | Proof::Key(digest) => self.key(*digest, asked).await?,
            Proof::Token(_, token) => self.token(token, asked).await?,
            Proof::Certificate(certificate) => self.certificate(certificate, asked).await?,
        };
        match found {
            Ok(found) => {
                let known = Known {
                    principal: Arc::new(found.principal),
                    proof,
                    end: found.end,
                };
                let mut memory = self.found.lock();
                memory.put(digest, known.clone(), asked, found.remembered);
                Ok(known)
            }
            Err(refusal) => Err(self.refuse(digest, refusal, asked)),
        }
    }

    fn refuse(&self, digest: KeyDigest, refusal: Refusal, asked: Instant) -> OperationError {
        self.refused.lock().put(digest, refusal, asked, None);
        refusal.into()
    }

    async fn key(
        &self,
        digest: KeyDigest,
        asked: Instant,
    ) -> Result<Result<Found, Refusal>, OperationError> {
        let record = self.store.registry_get(Kind::ApiKey, digest.as_bytes());
        let Some(record) = record.await? else {
            return Ok(Err(Refusal::UNKNOWN_KEY));
        };
        let key = ApiKey::decode(record)?;
        if key.revoked_at.is_some() {
            return Ok(Err(Refusal::UNKNOWN_KEY));
        }
        let end = match key.expires_at {
            None => None,
            // Asked later than `asked`, so that the end is not set too late.
            Some(expires_at) => {
                let left = expires_at.since(self.store.now().await?);
                if left.is_zero() {
                    let refusal = Refusal::expired("the key has expired: get a new one");
                    return Ok(Err(refusal));
                }
                asked.checked_add(left)
            }
        };
        let user = match key.user {
            Some(KeyUser::Known(id)) => users::find(&*self.store, key.tenant, id).await?,
            Some(KeyUser::Unknown) | None => None,
        };
        let principal = key.principal(user.as_ref());
        let found = principal.map(|principal| Found::until(principal, end));
        Ok(found.ok_or(Refusal::UNKNOWN_KEY))
    }

    async fn token(
        &self,
        token: &Believed,
        asked: Instant,
    ) -> Result<Result<Found, Refusal>, OperationError> {
        let left = self.tokens.as_ref().map(|tokens| tokens.left(token));
        let (usable, remembered) = match left {
            Some(Ok(left)) => left,
            Some(Err(refusal)) => return Ok(Err(refusal)),
            None => return Ok(Err(Refusal::UNKNOWN_KEY)),
        };
        if !has_tenant(&*self.store, token.tenant).await? {
            let refusal = Refusal::invalid("the token names no tenant of ours");
            return Ok(Err(refusal));
        }
        let is_certificates = |one: &ClientIdentity| one.is_called(token.tenant, &token.subject);
        if self.identities.iter().any(is_certificates) {
            let refusal = Refusal::invalid("the token's user is called as a certificate here is");
            return Ok(Err(refusal));
        }
        let mut role = Some(token.role.clone());
        if let Ok(id) = token.subject.parse::<UserId>() {
            // One of our own users: then they are there, and no token does more than they may.
            let user = users::find(&*self.store, token.tenant, id).await?;
            let limit = user.and_then(|user| user.role.known());
            role = limit.and_then(|limit| token.role.clone().within(&limit));
        }
        let Some(role) = role else {
            let refusal = Refusal::invalid("the token's user is no more, or may not do this");
            return Ok(Err(refusal));
        };
        Ok(Ok(Found {
            principal: Principal {
                tenant: token.tenant,
                subject: token.subject.clone(),
                role,
            },
            end: asked.checked_add(usable),
            remembered: asked.checked_add(remembered),
        }))
    }

    async fn certificate(
        &self,
        certificate: &PeerCertificate,
        asked: Instant,
    ) -> Result<Result<Found, Refusal>, OperationError> {
        let Some(principal) = ClientIdentity::among(&self.identities, certificate) else {
            let refusal = Refusal::invalid("the client certificate has no name that is known here");
            return Ok(Err(refusal));
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let left = certificate
            .not_after
            .saturating_sub(now.unwrap_or_default());
        if left.is_zero() {
            let refusal = Refusal::expired("the client certificate has expired");
            return Ok(Err(refusal));
        }
        let is_operator = principal.may(Right::Operate);
        if !is_operator && !has_tenant(&*self.store, principal.tenant).await? {
            let refusal = Refusal::invalid("the client certificate's tenant is not there");
            return Ok(Err(refusal));
        }
        Ok(Ok(Found::until(principal, asked.checked_add(left))))
    }
}

/// A caller's credential while its stream lasts.
#[derive(Clone, Debug)]
pub struct Standing {
    authenticator: Arc<Authenticator>,
    known: Known,
    right: Right,
    rpc: &'static str,
}

impl Standing {
    /// Resolves, with the error to end the stream with, once the credential is no longer in
    /// force, or no longer for this. A store that is away does not end streams.
    pub async fn lost(&self) -> OperationError {
        let mut end = self.known.end;
        loop {
            let next = Instant::now() + REPEATED;
            tokio::time::sleep_until(end.map_or(next, |end| end.min(next))).await;
            match self.authenticator.again(&self.known.proof).await {
                Err(error @ OperationError::Unauthenticated { .. }) => return error,
                Ok(known) if !known.principal.may(self.right) => {
                    return guard::denied(&known.principal, self.rpc);
                }
                Ok(known) => end = known.end,
                // Nobody can tell, except that it has ended by itself.
                Err(_) if end.is_some_and(|end| end <= Instant::now()) => {
                    return Refusal::expired("the credential has expired: get a new one").into();
                }
                Err(_) => {}
            }
        }
    }
}
