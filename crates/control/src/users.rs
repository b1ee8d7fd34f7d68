//! Users: people of a tenant, and whether they are there.
//!
//! Two records make a user, and both must be there for the user to be:
//!
//! | key | bytes | holds |
//! |---|---|---|
//! | tenant, id | 32 | the user: a tenant's lie side by side, which is a list of them |
//! | id | 16 | the tenant: written once, last of all, and never again |
//!
//! So a change, which writes the first record alone, cannot bring back a user whom
//! somebody deletes at the same moment: what it leaves is a record that counts for
//! nothing, and it takes that away itself once it sees that the second one is gone.
//! Deleting forgets the person, name and address and all; ids are random and never come
//! again, so that what carries a deleted user's id (keys, subscriptions) is nobody's.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, future::try_join, stream};
use sidehook_api::{registry::User, v1};
use sidehook_core::id::{TenantId, UserId};
use sidehook_store::{Store, StoreError, registry::Kind};

use crate::{
    errors::OperationError,
    tenants::{AT_ONCE, has_tenant, keep, readable},
};

/// The operations on users.
#[derive(Clone)]
pub struct Users {
    store: Arc<dyn Store>,
}

impl core::fmt::Debug for Users {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Users")
    }
}

impl Users {
    /// The users that lie in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Creates a user.
    ///
    /// # Errors
    /// Wrong fields, an unknown tenant, or the store's.
    pub async fn create(&self, request: v1::CreateUserRequest) -> Result<User, OperationError> {
        let id = UserId::from_bits(rand::random());
        let user = User::create(request, id, self.store.now().await?)?;
        if !has_tenant(&*self.store, user.tenant).await? {
            return Err(OperationError::not_found("tenant", user.tenant));
        }
        self.put(&place(user.tenant, id), Some(user.encode()))
            .await?;
        let tenant = Bytes::copy_from_slice(&user.tenant.to_bytes());
        self.put(&id.to_bytes(), Some(tenant)).await?;
        Ok(user)
    }

    /// Lists a tenant's users by id, from the first above `after` on, and says after which
    /// id to go on if there are more. At most `max` are looked at.
    ///
    /// # Errors
    /// An unknown tenant, or the store's.
    pub async fn list(
        &self,
        tenant: TenantId,
        after: Option<UserId>,
        max: usize,
    ) -> Result<(Vec<User>, Option<UserId>), OperationError> {
        if !has_tenant(&*self.store, tenant).await? {
            return Err(OperationError::not_found("tenant", tenant));
        }
        let mut from = tenant.to_bytes().to_vec();
        from.extend(after.map(UserId::to_bytes).into_iter().flatten());
        // One more tells whether there are more of this tenant.
        let page = self.store.registry_list(Kind::User, &from, max + 1);
        let entries = page.await?.entries.into_iter();
        let mut found: Vec<_> = entries
            .filter_map(|entry| {
                let id = entry.key.strip_prefix(&tenant.to_bytes()[..])?;
                Some((UserId::from_slice(id)?, entry.value))
            })
            .collect();
        let more = found.len() > max;
        found.truncate(max);
        let next = found.last().filter(|_| more).map(|(id, _)| *id);
        let there = stream::iter(found).map(|(id, record)| async move {
            let is_there = self.tenant_of(id).await? == Some(tenant);
            Ok::<_, StoreError>(is_there.then_some(record))
        });
        let records: Vec<_> = there.buffered(AT_ONCE).try_collect().await?;
        let users = records.into_iter().flatten();
        let users = users.filter_map(|record| readable(User::decode(record)));
        Ok((users.collect(), next))
    }

    /// Lays the fields of `patch` that `mask` names over a user.
    ///
    /// # Errors
    /// Wrong fields, an unknown user, or the store's.
    pub async fn update(
        &self,
        id: UserId,
        patch: &v1::User,
        mask: &[String],
    ) -> Result<User, OperationError> {
        let unknown = || OperationError::not_found("user", id);
        let tenant = self.tenant_of(id).await?.ok_or_else(unknown)?;
        let key = place(tenant, id);
        let record = self.store.registry_get(Kind::User, &key).await?;
        let record = record.ok_or_else(unknown)?;
        let now = self.store.now().await?;
        let changed = User::decode(record.clone())?.update(patch, mask, now)?;
        self.put(&key, Some(changed.change(&record))).await?;
        if self.tenant_of(id).await?.is_none() {
            // Deleted meanwhile.
            self.put(&key, None).await?;
            return Err(unknown());
        }
        Ok(changed)
    }

    /// Deletes a user; their keys are out of force with them.
    ///
    /// # Errors
    /// An unknown user, or the store's: the deletion can be repeated then.
    pub async fn delete(&self, id: UserId) -> Result<(), OperationError> {
        let tenant = self.tenant_of(id).await?;
        let tenant = tenant.ok_or_else(|| OperationError::not_found("user", id))?;
        let key = place(tenant, id);
        self.put(&key, None).await?;
        self.put(&id.to_bytes(), None).await?;
        // Once more: a change that was under way may have written it in between.
        self.put(&key, None).await
    }

    async fn tenant_of(&self, id: UserId) -> Result<Option<TenantId>, StoreError> {
        let tenant = self.store.registry_get(Kind::User, &id.to_bytes()).await?;
        Ok(tenant.and_then(|bytes| TenantId::from_slice(&bytes)))
    }

    async fn put(&self, key: &[u8], value: Option<Bytes>) -> Result<(), OperationError> {
        keep(&*self.store, Kind::User, key, value).await
    }
}

/// The tenant's user with this id, if they are there.
///
/// # Errors
/// The store's, or that the record is damaged.
pub(crate) async fn find(
    store: &dyn Store,
    tenant: TenantId,
    id: UserId,
) -> Result<Option<User>, OperationError> {
    let (pointer, key) = (id.to_bytes(), place(tenant, id));
    let (pointer, record) = try_join(
        store.registry_get(Kind::User, &pointer),
        store.registry_get(Kind::User, &key),
    )
    .await?;
    let is_there = pointer.is_some_and(|bytes| TenantId::from_slice(&bytes) == Some(tenant));
    match record.filter(|_| is_there) {
        Some(record) => Ok(Some(User::decode(record)?)),
        None => Ok(None),
    }
}

fn place(tenant: TenantId, id: UserId) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&tenant.to_bytes());
    key[16..].copy_from_slice(&id.to_bytes());
    key
}
