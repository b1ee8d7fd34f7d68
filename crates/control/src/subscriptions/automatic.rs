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
    engine::{OnPause, Pause, PauseAnswer},
    errors::OperationError,
};

impl OnPause for Subscriptions {
    /// What the store has decides, never what is in memory: that may be behind, and nobody
    /// asks again.
    fn pause(&self, wanted: Pause) -> BoxFuture<'_, PauseAnswer> {
        Box::pin(async move {
            let (tenant, number) = (wanted.tenant, wanted.subscription.0);
            let reason = wanted.reason.as_str();
            match self.pause_for(wanted).await {
                Ok(Some(id)) => {
                    tracing::info!(%tenant, subscription = %id, reason, "paused: a delivery ended so");
                }
                Ok(None) | Err(OperationError::NotFound { .. }) => {}
                // Away, or somebody was always faster.
                Err(error @ OperationError::Unavailable { .. }) => {
                    tracing::debug!(%tenant, number, reason, %error, "a subscription is paused later");
                    return PauseAnswer::Later;
                }
                Err(error) => {
                    tracing::warn!(%tenant, number, reason, %error, "a subscription was not paused");
                }
            }
            PauseAnswer::Done
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
