//! What the server changes of its own accord: a subscription is paused because of how a
//! delivery ended.

use futures_util::future::BoxFuture;
use sidehook_core::{
    id::{SubscriptionId, SubscriptionNumber},
    subscription::Status,
};

use super::{Keyed, Subscriptions};
use crate::{
    catalog::Compiled,
    engine::{OnPause, Pause},
    errors::OperationError,
};

impl OnPause for Subscriptions {
    /// Many deliveries ask for it at one time, and the first of them pauses: for the
    /// others what is in memory is enough. If that is behind, the next one pauses.
    fn pause(&self, wanted: Pause) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let (tenant, number) = (wanted.tenant, wanted.subscription);
            let reason = wanted.reason.as_str();
            let known = self.catalogs.cached(tenant);
            if known.is_some_and(|known| active(&known, number).is_none()) {
                return;
            }
            match self.pause_for(wanted).await {
                Ok(Some(id)) => {
                    tracing::info!(%tenant, subscription = %id, reason, "paused: a delivery ended so");
                }
                Ok(None) | Err(OperationError::NotFound { .. }) => {}
                Err(error) => {
                    let number = number.0;
                    tracing::warn!(%tenant, number, reason, %error, "a subscription was not paused");
                }
            }
        })
    }
}

impl Subscriptions {
    /// The subscription, if this paused it.
    async fn pause_for(&self, wanted: Pause) -> Result<Option<SubscriptionId>, OperationError> {
        let tenant = wanted.tenant;
        let catalog = self.catalogs.fresh(tenant).await?;
        let Some(id) = active(&catalog, wanted.subscription) else {
            return Ok(None);
        };
        let paused = Status::Paused {
            reason: wanted.reason,
        };
        let change = |current: &Keyed, _| {
            let active = current.subscription.status.is_active();
            Ok(active.then(|| current.with_status(paused)))
        };
        let (_, anew) = self.change(tenant, None, id, None.into(), change).await?;
        Ok(anew.then_some(id))
    }
}

/// The subscription with this number, if it is active.
fn active(catalog: &Compiled, number: SubscriptionNumber) -> Option<SubscriptionId> {
    let subscription = &catalog.subscriptions.get(&number)?.subscription;
    subscription.status.is_active().then_some(subscription.id)
}
