//! The live stream of attempts.
//!
//! An attempt record knows its delivery and not its event's whole id, which has the
//! time in it: that is read from the segment, and remembered for the segments seen
//! last, since attempts of one segment come together.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use sidehook_api::{delivery::attempt_to_proto, record::AttemptEntry, time::timestamp, v1};
use sidehook_core::{
    address::{DeliveryId, SegmentId},
    id::{SubscriptionId, TenantId},
};
use tokio::sync::{broadcast::error::RecvError, mpsc};
use tonic::Status;

use crate::{
    catalog::Catalogs, deliveries::Deliveries, engine::Engine, errors::OperationError,
    watch::WatchItem,
};

/// Segments whose events are remembered.
const SEGMENTS: usize = 32;

type Messages = mpsc::Sender<Result<v1::WatchDeliveriesResponse, Status>>;

/// One client's watch.
pub(super) struct Watch {
    tenant: TenantId,
    only: Option<SubscriptionId>,
    deliveries: Deliveries,
    catalogs: Catalogs,
    messages: Messages,
    seen: VecDeque<(SegmentId, BTreeMap<u8, String>)>,
}

impl Watch {
    pub(super) const fn new(
        tenant: TenantId,
        only: Option<SubscriptionId>,
        deliveries: Deliveries,
        catalogs: Catalogs,
        messages: Messages,
    ) -> Self {
        Self {
            tenant,
            only,
            deliveries,
            catalogs,
            messages,
            seen: VecDeque::new(),
        }
    }

    /// Tells of attempts until the client is gone.
    pub(super) async fn run(mut self, engine: &Engine) {
        let mut attempts = engine.watch(self.tenant);
        // Empty: the watch is on, nothing from here is missed.
        if !self.send(v1::WatchDeliveriesResponse::default()).await {
            return;
        }
        loop {
            match attempts.recv().await {
                Ok(item) => {
                    if !self.tell(item).await {
                        return;
                    }
                }
                // A hint, not a log.
                Err(RecvError::Lagged(missed)) => {
                    tracing::debug!(missed, tenant = %self.tenant, "a watch missed attempts");
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Whether the client still listens.
    async fn tell(&mut self, item: WatchItem) -> bool {
        let id = item.delivery;
        let wanted = |only: SubscriptionId| only.number() == id.subscription();
        if !self.only.is_none_or(wanted) {
            return true;
        }
        match self.delivery(id, item.record).await {
            Ok(delivery) => {
                let delivery = Some(delivery);
                self.send(v1::WatchDeliveriesResponse { delivery }).await
            }
            Err(error) => {
                tracing::debug!(delivery = %id, %error, "an attempt was not shown");
                true
            }
        }
    }

    async fn send(&self, message: v1::WatchDeliveriesResponse) -> bool {
        self.messages.send(Ok(message)).await.is_ok()
    }

    async fn delivery(
        &mut self,
        id: DeliveryId,
        record: Bytes,
    ) -> Result<v1::Delivery, OperationError> {
        let entry = AttemptEntry::decode(record)?;
        let attempt = entry.attempt.as_ref().map(attempt_to_proto);
        Ok(v1::Delivery {
            id: id.to_string(),
            event_id: self.event_id(id).await?,
            subscription_id: self.subscription_id(id).await?,
            generation: id.generation().into(),
            state: v1::DeliveryState::from(entry.state).into(),
            next_attempt_at: entry.next_attempt_at.map(timestamp),
            reason: entry.reason,
            attempt_count: attempt.as_ref().map_or(0, |attempt| attempt.number),
            attempts: attempt.into_iter().collect(),
            ..v1::Delivery::default()
        })
    }

    async fn subscription_id(&self, id: DeliveryId) -> Result<String, OperationError> {
        if let Some(only) = self.only {
            return Ok(only.to_string());
        }
        let number = id.subscription();
        let in_memory = self.catalogs.cached(self.tenant);
        let compiled = match in_memory.filter(|known| known.id_of(number).is_some()) {
            Some(known) => known,
            None => self.catalogs.fresh(self.tenant).await?,
        };
        let id = match compiled.id_of(number) {
            Some(id) => Some(id),
            None => self.deliveries.deleted(self.tenant, number).await?,
        };
        Ok(id.map_or_else(String::new, |id| id.to_string()))
    }

    async fn event_id(&mut self, id: DeliveryId) -> Result<String, OperationError> {
        let Some(segment) = id.segment() else {
            return Ok(String::new());
        };
        if !self.seen.iter().any(|(known, _)| *known == segment) {
            let events = self.deliveries.event_ids(self.tenant, segment).await?;
            self.seen.truncate(SEGMENTS - 1);
            self.seen.push_front((segment, events));
        }
        let events = self.seen.iter().find(|(known, _)| *known == segment);
        let event = events.and_then(|(_, events)| events.get(&id.index()));
        Ok(event.cloned().unwrap_or_default())
    }
}
