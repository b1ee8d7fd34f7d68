//! What deleted subscriptions were called.
//!
//! A delivery knows its subscription by number, and the store forgets the id of one
//! that is deleted. A tombstone keeps it, as a registry record, for as long as the log
//! may hold an event that the subscription matched: what was delivered to it can then
//! still be listed under its id.
//!
//! It is set before the subscription goes, so that there is no moment at which neither
//! is found. If the subscription then stays after all, it does no harm: only who finds
//! no subscription asks for one.
//!
//! Each new tombstone removes some old ones that no event of the log can need any more.
//! Numbers are random, so that it looks behind another place each time and comes to all
//! of them.

use core::time::Duration;
use std::collections::HashMap;

use futures_util::future::try_join_all;
use sidehook_api::record::Tombstone;
use sidehook_core::{
    id::{SubscriptionId, SubscriptionNumber, TenantId},
    time::Timestamp,
};
use sidehook_store::{Store, StoreError, registry::Kind};

use crate::errors::OperationError;

/// Old ones that a new one looks at.
const LOOKED_AT: usize = 16;
/// How much later than its tombstone a subscription may have gone: longer than any
/// call takes.
const MARGIN: Duration = Duration::from_secs(3_600);

/// Notes what a subscription that is about to be deleted is called.
pub(crate) async fn set(
    store: &dyn Store,
    tenant: TenantId,
    id: SubscriptionId,
) -> Result<(), StoreError> {
    let now = store.now().await?;
    let tombstone = Tombstone {
        id,
        deleted_at: now,
    };
    let place = key(tenant, id.number());
    let record = Some(tombstone.encode());
    store.registry_put(Kind::Tombstone, &place, record).await?;
    remove_old(store, tenant, &place, now).await
}

/// What deleted subscriptions were called; without those that nothing is known of.
pub(crate) async fn find(
    store: &dyn Store,
    tenant: TenantId,
    numbers: impl IntoIterator<Item = SubscriptionNumber>,
) -> Result<HashMap<SubscriptionNumber, SubscriptionId>, OperationError> {
    let read = async |number| {
        let place = key(tenant, number);
        let record = store.registry_get(Kind::Tombstone, &place).await?;
        Ok::<_, StoreError>((number, record))
    };
    let mut found = HashMap::new();
    for (number, record) in try_join_all(numbers.into_iter().map(read)).await? {
        match record.map(Tombstone::decode) {
            Some(Ok(tombstone)) => {
                found.insert(number, tombstone.id);
            }
            Some(Err(error)) => tracing::error!(%error, "a deleted subscription's name is lost"),
            None => {}
        }
    }
    Ok(found)
}

async fn remove_old(
    store: &dyn Store,
    tenant: TenantId,
    after: &[u8],
    now: Timestamp,
) -> Result<(), StoreError> {
    let log = store.log(tenant, None, 1).await?;
    let oldest = log.retained_since.unwrap_or(now);
    let page = store
        .registry_list(Kind::Tombstone, after, LOOKED_AT)
        .await?;
    let owner = tenant.to_bytes();
    for entry in page.entries {
        let old = Tombstone::decode(entry.value).is_ok_and(|it| it.deleted_at + MARGIN < oldest);
        if old && entry.key.starts_with(&owner) {
            store
                .registry_put(Kind::Tombstone, &entry.key, None)
                .await?;
        }
    }
    Ok(())
}

fn key(tenant: TenantId, number: SubscriptionNumber) -> Vec<u8> {
    [&tenant.to_bytes()[..], &number.0.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidehook_store::model::Model;

    const ACME: TenantId = TenantId::from_bits(1);
    const OTHER: TenantId = TenantId::from_bits(2);

    async fn put(store: &Model, tenant: TenantId, id: u128, deleted_at: Timestamp) {
        let id = SubscriptionId::from_bits(id);
        let record = Some(Tombstone { id, deleted_at }.encode());
        let place = key(tenant, id.number());
        let put = store.registry_put(Kind::Tombstone, &place, record).await;
        put.expect("the model keeps it");
    }

    async fn known(store: &Model, tenant: TenantId, number: u32) -> bool {
        let number = SubscriptionNumber(number);
        let found = find(store, tenant, [number]).await.expect("readable");
        found.contains_key(&number)
    }

    #[tokio::test]
    async fn a_new_one_removes_what_no_event_needs_any_more() {
        let store = Model::new();
        let now = store.now().await.expect("the model has a clock");
        let long_ago = Timestamp::from_millis(1);
        for (tenant, id, deleted_at) in [
            (ACME, 7, long_ago),
            (ACME, 8, now),
            (ACME, 9, long_ago),
            (OTHER, 7, long_ago),
        ] {
            put(&store, tenant, id, deleted_at).await;
        }
        let one = SubscriptionId::from_bits(5);
        set(&store, ACME, one).await.expect("the model keeps it");
        assert!(known(&store, ACME, 5).await);
        assert!(known(&store, ACME, 8).await, "it is young");
        assert!(known(&store, OTHER, 7).await, "another's log was not asked");
        assert!(!known(&store, ACME, 7).await && !known(&store, ACME, 9).await);
    }
}
