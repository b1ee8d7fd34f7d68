//! Tenants and keys: who there is, and what they hold.
//!
//! A key's record lies under the digest of its secret, where every call finds it with
//! one read. Two more records lead there and hold nothing but the digest; their keys
//! have other lengths than a digest (32 bytes):
//!
//! | key | bytes | for |
//! |---|---|---|
//! | id | 16 | revoking |
//! | `t`, tenant, id | 33 | listing a tenant's keys: they lie side by side |
//!
//! They are written first: a key whose last write was lost is not in force, is not
//! listed, and can be made anew. Revoking keeps the records, so that an id is never a
//! riddle. A secret that is given to a newer key leaves the older key's id behind,
//! which then leads to a record with another id: that key is no more.

use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use secrecy::{ExposeSecret as _, SecretString};
use sidehook_api::{
    record_error::CorruptRecord,
    registry::{ApiKey, KeyRole, KeyUser, Tenant},
    v1,
};
use sidehook_core::{
    id::{KeyId, TenantId},
    principal::Principal,
};
use sidehook_store::{Store, StoreError, registry::Kind};

use crate::{auth::KeyDigest, errors::OperationError, users};

/// Fewest bytes of a secret that somebody chose.
const SECRET_BYTES_MIN: usize = 8;
/// How long to wait before a write that may have been lost is repeated.
const REPEAT_AFTER: Duration = Duration::from_millis(50);
/// Characters of a generated secret that are shown: the kind, and 32 of its 256 bits.
const PREFIX_CHARS: usize = 12;
/// Records read at one time.
pub(crate) const AT_ONCE: usize = 16;

/// The operations on tenants and keys.
#[derive(Clone)]
pub struct Tenants {
    store: Arc<dyn Store>,
}

impl core::fmt::Debug for Tenants {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Tenants")
    }
}

impl Tenants {
    /// The tenants that lie in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Creates a tenant.
    ///
    /// # Errors
    /// A wrong name, or the store's.
    pub async fn create_tenant(
        &self,
        request: v1::CreateTenantRequest,
    ) -> Result<Tenant, OperationError> {
        // The platform, 0, is nobody's tenant.
        let id = TenantId::from_bits(rand::random::<u128>().max(1));
        let tenant = Tenant::create(request, id, self.store.now().await?)?;
        self.put(Kind::Tenant, &id.to_bytes(), tenant.encode())
            .await?;
        Ok(tenant)
    }

    /// Reads a tenant.
    ///
    /// # Errors
    /// An unknown tenant, or the store's.
    pub async fn tenant(&self, id: TenantId) -> Result<Tenant, OperationError> {
        Ok(self.tenant_record(id).await?.0)
    }

    /// Lays the fields of `patch` that `mask` names over a tenant.
    ///
    /// # Errors
    /// Wrong fields, an unknown tenant, or the store's.
    pub async fn update_tenant(
        &self,
        id: TenantId,
        patch: &v1::Tenant,
        mask: &[String],
    ) -> Result<Tenant, OperationError> {
        let (tenant, record) = self.tenant_record(id).await?;
        let changed = tenant.update(patch, mask)?;
        if changed != tenant {
            let key = id.to_bytes();
            self.put(Kind::Tenant, &key, changed.change(&record))
                .await?;
        }
        Ok(changed)
    }

    async fn tenant_record(&self, id: TenantId) -> Result<(Tenant, Bytes), OperationError> {
        let record = self
            .store
            .registry_get(Kind::Tenant, &id.to_bytes())
            .await?;
        let record = record.ok_or_else(|| OperationError::not_found("tenant", id))?;
        Ok((Tenant::decode(record.clone())?, record))
    }

    /// Lists tenants by id, from the first above `after` on, and says whether there
    /// are more.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(
        &self,
        after: Option<TenantId>,
        max: usize,
    ) -> Result<(Vec<Tenant>, bool), OperationError> {
        let after = after.map(TenantId::to_bytes);
        let after = after.as_ref().map_or(&[][..], |id| id.as_slice());
        let page = self.store.registry_list(Kind::Tenant, after, max).await?;
        let tenants = page.entries.into_iter();
        let tenants = tenants.filter_map(|entry| readable(Tenant::decode(entry.value)));
        Ok((tenants.collect(), page.more))
    }

    /// Makes a key with a random secret.
    ///
    /// # Errors
    /// Wrong fields, an unknown tenant, or the store's.
    pub async fn create_key(
        &self,
        request: v1::CreateApiKeyRequest,
    ) -> Result<(ApiKey, SecretString), OperationError> {
        let prefix = match request.role() {
            v1::Role::Agent => "shp_",
            _ => "shk_",
        };
        let secret = format!("{prefix}{}", hex::encode(rand::random::<[u8; 32]>()));
        let shown = secret.chars().take(PREFIX_CHARS).collect();
        let secret = SecretString::from(secret);
        let key = self.install(request, &secret, shown).await?;
        Ok((key, secret))
    }

    /// Makes a key whose secret somebody chose: for ready-made development systems.
    /// The same secret again replaces the key.
    ///
    /// # Errors
    /// As [`Self::create_key`], and a secret of fewer than 8 bytes.
    pub async fn install_key(
        &self,
        request: v1::CreateApiKeyRequest,
        secret: &SecretString,
    ) -> Result<ApiKey, OperationError> {
        self.install(request, secret, String::new()).await
    }

    async fn install(
        &self,
        request: v1::CreateApiKeyRequest,
        secret: &SecretString,
        prefix: String,
    ) -> Result<ApiKey, OperationError> {
        let id = KeyId::from_bits(rand::random());
        let key = ApiKey {
            prefix,
            ..ApiKey::create(request, id, self.store.now().await?)?
        };
        if secret.expose_secret().len() < SECRET_BYTES_MIN {
            let description = "at least 8 bytes are needed";
            return Err(OperationError::field("secret", description));
        }
        let platform = key.tenant == TenantId::PLATFORM && matches!(key.role, KeyRole::Agent(_));
        if !platform && !self.has_tenant(key.tenant).await? {
            return Err(OperationError::not_found("tenant", key.tenant));
        }
        self.check_user(&key).await?;
        let digest = KeyDigest::of(secret.expose_secret());
        let pointer = Bytes::copy_from_slice(digest.as_bytes());
        self.put(Kind::ApiKey, &id.to_bytes(), pointer.clone())
            .await?;
        let listed = [&listed_under(key.tenant)[..], &id.to_bytes()].concat();
        self.put(Kind::ApiKey, &listed, pointer).await?;
        self.put(Kind::ApiKey, digest.as_bytes(), key.encode())
            .await?;
        Ok(key)
    }

    /// Whether the user whose key it is to be is there, and may do what it is for: a key
    /// that would do less than it says from its first day on is a mistake.
    async fn check_user(&self, key: &ApiKey) -> Result<(), OperationError> {
        let Some(KeyUser::Known(id)) = key.user else {
            return Ok(());
        };
        let user = users::find(&*self.store, key.tenant, id).await?;
        let user = user.ok_or_else(|| OperationError::not_found("user", id))?;
        let own = ApiKey {
            user: None,
            ..key.clone()
        };
        let role = |who: Option<Principal>| who.map(|who| who.role);
        if role(key.principal(Some(&user))) == role(own.principal(None)) {
            return Ok(());
        }
        let description = format!("more than user `{id}` may do: give a role that theirs includes");
        Err(OperationError::field("role", description))
    }

    /// Lists those of a tenant's keys whose shown beginning begins with `prefix`, by id,
    /// from the first above `after` on, and says after which id to go on if there are
    /// more. At most `max` keys are looked at; those that are no more are left out.
    ///
    /// # Errors
    /// An unknown tenant, or the store's.
    pub async fn keys(
        &self,
        tenant: TenantId,
        prefix: &str,
        after: Option<KeyId>,
        max: usize,
    ) -> Result<(Vec<ApiKey>, Option<KeyId>), OperationError> {
        let shown = prefix.char_indices().nth(PREFIX_CHARS);
        let prefix = shown.map_or(prefix, |(end, _)| &prefix[..end]);
        if tenant != TenantId::PLATFORM && !self.has_tenant(tenant).await? {
            return Err(OperationError::not_found("tenant", tenant));
        }
        let under = listed_under(tenant);
        let mut from = under.to_vec();
        from.extend(after.map(KeyId::to_bytes).into_iter().flatten());
        // One more tells whether there are more of this tenant.
        let page = self.store.registry_list(Kind::ApiKey, &from, max + 1);
        let mut found: Vec<_> = page
            .await?
            .entries
            .into_iter()
            .filter_map(|entry| {
                let id = entry.key.strip_prefix(&under[..])?;
                Some((KeyId::from_slice(id)?, entry.value))
            })
            .collect();
        let more = found.len() > max;
        found.truncate(max);
        let next = found.last().filter(|_| more).map(|(id, _)| *id);
        let keys = stream::iter(found).map(|(id, digest)| self.key(id, digest));
        let keys: Vec<_> = keys.buffered(AT_ONCE).try_collect().await?;
        let keys = keys.into_iter().flatten();
        let keys = keys.filter(|key| key.prefix.starts_with(prefix));
        Ok((keys.collect(), next))
    }

    /// The key at `digest`, if it is still the one with this id.
    async fn key(&self, id: KeyId, digest: Bytes) -> Result<Option<ApiKey>, OperationError> {
        let record = self.store.registry_get(Kind::ApiKey, &digest).await?;
        let key = record.and_then(|record| readable(ApiKey::decode(record)));
        Ok(key.filter(|key| key.id == id))
    }

    /// Takes a key out of force. Revoking it again changes nothing.
    ///
    /// # Errors
    /// An unknown key, or the store's.
    pub async fn revoke_key(&self, id: KeyId) -> Result<(), OperationError> {
        let unknown = || OperationError::not_found("API key", id);
        let pointer = id.to_bytes();
        let digest = self.store.registry_get(Kind::ApiKey, &pointer).await?;
        let digest = digest.ok_or_else(unknown)?;
        let record = self.store.registry_get(Kind::ApiKey, &digest).await?;
        let record = record.ok_or_else(unknown)?;
        let mut key = ApiKey::decode(record.clone())?;
        // Another id: the secret was given to a newer key, and this one is no more.
        if key.id != id || key.revoked_at.is_some() {
            return Ok(());
        }
        key.revoked_at = Some(self.store.now().await?);
        self.put(Kind::ApiKey, &digest, key.change(&record)).await
    }

    /// Whether there is such a tenant.
    ///
    /// # Errors
    /// The store's.
    pub async fn has_tenant(&self, tenant: TenantId) -> Result<bool, StoreError> {
        has_tenant(&*self.store, tenant).await
    }

    async fn put(&self, kind: Kind, key: &[u8], value: Bytes) -> Result<(), OperationError> {
        keep(&*self.store, kind, key, Some(value)).await
    }
}

/// Whether there is such a tenant.
pub(crate) async fn has_tenant(store: &dyn Store, tenant: TenantId) -> Result<bool, StoreError> {
    let key = tenant.to_bytes();
    Ok(store.registry_get(Kind::Tenant, &key).await?.is_some())
}

/// Writes a record, or with `None` takes it away. Writing the same again is harmless: one
/// repetition hides most hiccups.
pub(crate) async fn keep(
    store: &dyn Store,
    kind: Kind,
    key: &[u8],
    value: Option<Bytes>,
) -> Result<(), OperationError> {
    let put = || store.registry_put(kind, key, value.clone());
    match put().await {
        Err(StoreError::Unavailable { .. }) => {
            tokio::time::sleep(REPEAT_AFTER).await;
            Ok(put().await?)
        }
        other => Ok(other?),
    }
}

/// What a list shows of a record. One that cannot be read is left out: it must not take
/// the others with it.
pub(crate) fn readable<T>(record: Result<T, CorruptRecord>) -> Option<T> {
    record
        .inspect_err(|error| tracing::error!(%error, "left out of a list"))
        .ok()
}

/// What the keys of the records begin with that list a tenant's keys.
fn listed_under(tenant: TenantId) -> [u8; 17] {
    let mut under = [b't'; 17];
    under[1..].copy_from_slice(&tenant.to_bytes());
    under
}
