//! From events as clients send them to results as clients read them: what the three
//! ways of publishing share.

use core::time::Duration;
use std::sync::Arc;

use sidehook_api::{event::from_proto, v1};
use sidehook_core::{
    event::Event,
    id::{SubscriptionNumber, TenantId},
    limits::PUBLISH_BATCH_EVENTS,
    violation::Violations,
};
use sidehook_store::{Store, port::Durability};

use crate::{
    allowances::Allowances,
    engine::{Engine, PublishError, PublishItem, PublishOutcome, Published},
    errors::OperationError,
    filters,
};

/// When to try again once the store is full: room is made by people.
const FULL_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Publishes for the services.
#[derive(Clone)]
pub(crate) struct Publishing {
    engine: Engine,
    allowances: Allowances,
    store: Arc<dyn Store>,
}

impl core::fmt::Debug for Publishing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Publishing")
    }
}

/// What became of one event.
pub(super) type EventResult = Result<v1::PublishResult, OperationError>;

impl Publishing {
    /// Publishes through `engine` what the tenants' `allowances` let pass.
    pub(crate) fn new(engine: Engine, allowances: Allowances, store: Arc<dyn Store>) -> Self {
        Self {
            engine,
            allowances,
            store,
        }
    }

    /// Longest payload of a tenant's events, in bytes.
    pub(super) async fn payload_max(&self, tenant: TenantId) -> usize {
        self.allowances.of(tenant).await.event_bytes
    }

    /// Publishes events; each succeeds or fails on its own, in the order of the list.
    pub(super) async fn publish(
        &self,
        tenant: TenantId,
        events: Vec<v1::Event>,
    ) -> Vec<EventResult> {
        let payload_max = self.payload_max(tenant).await;
        let mut results: Vec<Option<EventResult>> = Vec::with_capacity(events.len());
        let mut items = Vec::with_capacity(events.len());
        for event in events {
            match from_proto(event, payload_max) {
                Ok(event) => {
                    items.push(PublishItem {
                        event,
                        target: None,
                    });
                    results.push(None);
                }
                Err(violations) => results.push(Some(Err(violations.into()))),
            }
        }
        let mut outcomes = if items.is_empty() {
            Vec::new()
        } else {
            self.engine.publish(tenant, items).await
        }
        .into_iter();
        // Asked now and not at the start: a store may have got another server meanwhile.
        let durability = match self.store.durability() {
            Durability::Volatile => v1::Durability::Volatile,
            Durability::Relaxed => v1::Durability::Relaxed,
            Durability::Strict => v1::Durability::Strict,
        };
        let mut outcome = || result(outcomes.next(), durability);
        results
            .into_iter()
            .map(|result| result.unwrap_or_else(&mut outcome))
            .collect()
    }

    /// Publishes a test event for one subscription.
    pub(super) async fn test(
        &self,
        tenant: TenantId,
        event: Event,
        subscription: SubscriptionNumber,
    ) -> Result<Published, OperationError> {
        let item = PublishItem {
            event,
            target: Some(subscription),
        };
        let outcome = self.engine.publish(tenant, vec![item]).await.pop();
        outcome
            .ok_or_else(unanswered)?
            .map_err(OperationError::from)
    }
}

fn result(outcome: Option<PublishOutcome>, durability: v1::Durability) -> EventResult {
    let published = outcome.ok_or_else(unanswered)??;
    Ok(v1::PublishResult {
        event_id: published.event_id.to_string(),
        duplicate: published.duplicate,
        matched: published.matched,
        durability: durability.into(),
        error: None,
    })
}

fn unanswered() -> OperationError {
    OperationError::Internal("an event was left without an outcome".to_owned())
}

/// The result of one event of a batch.
pub(super) fn in_batch(result: EventResult) -> v1::PublishResult {
    result.unwrap_or_else(|error| v1::PublishResult {
        error: Some(error.into()),
        ..v1::PublishResult::default()
    })
}

/// A batch has between 1 and 1,000 events.
pub(super) fn check_batch(events: &[v1::Event]) -> Result<(), OperationError> {
    let mut violations = Violations::new();
    if !(1..=PUBLISH_BATCH_EVENTS).contains(&events.len()) {
        let description = format!(
            "must have between 1 and {PUBLISH_BATCH_EVENTS} events, and has {}",
            events.len()
        );
        violations.add("events", description);
    }
    Ok(violations.into_result(())?)
}

impl From<PublishError> for OperationError {
    fn from(error: PublishError) -> Self {
        let message = error.to_string();
        match error {
            PublishError::Overloaded { retry_after } => Self::Exhausted {
                reason: "OVERLOADED",
                message,
                retry_after: Some(retry_after),
            },
            PublishError::Unavailable { retry_after, .. } => Self::Unavailable {
                message,
                retry_after,
            },
            PublishError::Full => Self::Exhausted {
                reason: "STORE_FULL",
                message,
                retry_after: Some(FULL_RETRY_AFTER),
            },
            PublishError::OverBudget { told, retry_after } => Self::OverBudget {
                told,
                message,
                retry_after,
            },
            PublishError::KeyReused(event) => Self::KeyReused(event),
            PublishError::FiltersTooCostly(too_costly) => filters::too_costly(too_costly),
            PublishError::Refused { .. } => Self::Internal(message),
        }
    }
}
