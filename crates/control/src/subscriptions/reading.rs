//! Reading subscriptions, always as the store has them now.

use std::sync::Arc;

use sidehook_core::{
    id::{SubscriptionId, TenantId},
    time::Timestamp,
    version::Version,
};

use super::{Keyed, Listed, Subscriptions, find};
use crate::{catalog::CompiledSubscription, errors::OperationError};

impl Subscriptions {
    /// Reads one.
    ///
    /// # Errors
    /// It is not there, or the store's.
    pub async fn get(
        &self,
        tenant: TenantId,
        id: SubscriptionId,
    ) -> Result<Arc<CompiledSubscription>, OperationError> {
        find(&*self.catalogs.fresh(tenant).await?, id)
    }

    /// Reads one with the keys that are in force.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn get_keyed(
        &self,
        tenant: TenantId,
        id: SubscriptionId,
    ) -> Result<Keyed, OperationError> {
        let mut keyed = Keyed::from(&*self.get(tenant, id).await?);
        if keyed.keys.iter().any(|key| key.expires_at.is_some()) {
            let now = self.store.now().await?;
            keyed.keys.retain(|key| key.in_force(now));
        }
        Ok(keyed)
    }

    /// The version of one, which may be unreadable.
    ///
    /// # Errors
    /// It is not there, or the store's.
    pub async fn version_of(
        &self,
        tenant: TenantId,
        id: SubscriptionId,
    ) -> Result<Version, OperationError> {
        Ok(self.version_and_owner(tenant, id).await?.0)
    }

    /// The same, and whose it is; of an unreadable one nobody knows.
    pub(super) async fn version_and_owner(
        &self,
        tenant: TenantId,
        id: SubscriptionId,
    ) -> Result<(Version, Option<String>), OperationError> {
        let catalog = self.catalogs.fresh(tenant).await?;
        match catalog.unreadable.get(&id.number()) {
            Some(unreadable) if unreadable.is(id) => Ok((unreadable.version, None)),
            _ => {
                let found = find(&catalog, id)?;
                let owner = found.subscription.owner.clone();
                Ok((found.subscription.version, Some(owner)))
            }
        }
    }

    /// The time by which keys are in force or over.
    ///
    /// # Errors
    /// The store's.
    pub async fn now(&self) -> Result<Timestamp, OperationError> {
        Ok(self.store.now().await?)
    }

    /// All of a tenant's, oldest first; before them those that cannot be read.
    ///
    /// # Errors
    /// The store's.
    pub async fn all(&self, tenant: TenantId) -> Result<Vec<Listed>, OperationError> {
        let catalog = self.catalogs.fresh(tenant).await?;
        let unreadable = catalog.unreadable.values().cloned();
        let readable = catalog.subscriptions.values().cloned();
        let mut all: Vec<_> = unreadable
            .map(Listed::Unreadable)
            .chain(readable.map(Listed::Readable))
            .collect();
        all.sort_unstable_by_key(Listed::place);
        Ok(all)
    }
}
