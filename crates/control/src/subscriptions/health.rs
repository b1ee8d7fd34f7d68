//! The health of subscriptions, as the API shows it.
//!
//! It is read where it is shown, from the store, in one round trip for all of a page: every
//! replica shows the same. Health is no part of a subscription's version; what cannot be
//! read of it hides no subscription.

use std::collections::{BTreeSet, HashMap};

use sidehook_api::{event, health, v1};
use sidehook_core::{
    address::{EventId, SegmentId},
    health::Note,
    id::{SubscriptionNumber, TenantId},
};
use sidehook_store::{StoreError, read::Segment};

use super::Subscriptions;
use crate::errors::OperationError;

/// Segments that are read to find out which events notes are about.
const LOOKED_UP: usize = 16;

impl Subscriptions {
    /// The health of some of a tenant's subscriptions; `None` for all if one of them cannot
    /// be read.
    ///
    /// # Errors
    /// The store is away.
    pub async fn health(
        &self,
        tenant: TenantId,
        numbers: &[SubscriptionNumber],
    ) -> Result<Vec<Option<v1::SubscriptionHealth>>, OperationError> {
        let found = match self.store.health(tenant, numbers).await {
            Ok(found) => found,
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(%error, %tenant, "subscriptions are shown without their health");
                return Ok(vec![None; numbers.len()]);
            }
            Err(away) => return Err(away.into()),
        };
        let mut notes: Vec<[Vec<Note>; 2]> = found.iter().map(health::notes).collect();
        self.date(&mut notes).await?;
        let shown = found.iter().zip(&notes);
        Ok(shown
            .map(|(one, notes)| Some(health::to_proto(one, notes)))
            .collect())
    }

    /// Looks up when events were accepted that are named by it, where whoever settled did not
    /// know: it took the lease over from another replica. Those that cannot be found stay
    /// without their event's name.
    async fn date(&self, notes: &mut [[Vec<Note>; 2]]) -> Result<(), OperationError> {
        let undated = || notes.iter().flatten().flatten().filter(is_undated);
        let lacking: BTreeSet<SegmentId> = undated()
            .filter_map(|note| note.delivery_id.segment())
            .take(LOOKED_UP)
            .collect();
        if lacking.is_empty() {
            return Ok(());
        }
        let lacking: Vec<SegmentId> = lacking.into_iter().collect();
        let found = match self.store.segments(&lacking).await {
            Ok(found) => found,
            Err(StoreError::Corrupt { .. }) => return Ok(()),
            Err(away) => return Err(away.into()),
        };
        let found: HashMap<SegmentId, Option<Segment>> = lacking.into_iter().zip(found).collect();
        for note in notes.iter_mut().flatten().flatten() {
            let id = note.delivery_id;
            let segment = id.segment().filter(|_| note.accepted_at.is_none());
            let segment = segment.and_then(|segment| found.get(&segment)?.as_ref());
            let record = segment.and_then(|segment| segment.records.get(usize::from(id.index())));
            let stored = record.and_then(|record| event::decode(record.clone()).ok());
            let event_id = stored.and_then(|stored| event::id_of(&stored.event));
            note.accepted_at = note.accepted_at.or(event_id.map(EventId::time));
        }
        Ok(())
    }
}

fn is_undated(note: &&Note) -> bool {
    note.accepted_at.is_none()
}
