//! Attempts as they end, for whoever watches, and the wake-ups that other replicas
//! send.
//!
//! Both come as hints. A watcher is told of its own replica's settles the same way as
//! of others', so that it sees each once; the records are read only while somebody
//! watches. Hints may be lost: watching is for people, and ticks find work all the
//! same.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use sidehook_api::record::AttemptEntry;
use sidehook_core::{address::DeliveryId, id::TenantId};
use sidehook_store::hint::{BlockId, Hint};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::{board::bit, engine::Shared};

/// Attempts that a watcher may be behind.
const BEHIND: usize = 1_024;

/// The end of an attempt.
#[derive(Clone, Debug)]
pub struct WatchItem {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The encoded attempt record.
    pub record: Bytes,
}

/// Who watches what.
#[derive(Debug, Default)]
pub(crate) struct Feed(Mutex<HashMap<TenantId, broadcast::Sender<WatchItem>>>);

impl Feed {
    /// One tenant's attempts from now on.
    pub(crate) fn watch(&self, tenant: TenantId) -> broadcast::Receiver<WatchItem> {
        let mut watchers = self.0.lock();
        watchers.retain(|_, sender| sender.receiver_count() > 0);
        let sender = watchers
            .entry(tenant)
            .or_insert_with(|| broadcast::channel(BEHIND).0);
        sender.subscribe()
    }

    fn is_watched(&self) -> bool {
        let watchers = self.0.lock();
        watchers.values().any(|sender| sender.receiver_count() > 0)
    }

    fn tell(&self, tenant: TenantId, record: Bytes) {
        let watchers = self.0.lock();
        let Some(sender) = watchers.get(&tenant) else {
            return;
        };
        match AttemptEntry::decode(record.clone()) {
            Ok(entry) => {
                let delivery = entry.delivery_id;
                // Nobody may be left, which is no error.
                let _ = sender.send(WatchItem { delivery, record });
            }
            Err(error) => tracing::warn!(%error, %tenant, "an attempt record cannot be read"),
        }
    }
}

/// Wakes the board for work that other replicas brought, until there are no more
/// hints.
pub(crate) async fn wake_on_hints(shared: Arc<Shared>) {
    let mut hints = shared.store.hints();
    loop {
        match hints.recv().await {
            Ok(Hint::Due { partition, pool }) => {
                if shared.board.lock().wake(&pool, partition) {
                    shared.wake(bit(partition));
                }
            }
            // Catalogs follow hints themselves, and ticks find what was missed.
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Reads attempts for whoever watches, until there are no more hints. A task of its
/// own: reading must not hold wake-ups up.
pub(crate) async fn feed_on_hints(shared: Arc<Shared>) {
    let mut hints = shared.store.hints();
    loop {
        match hints.recv().await {
            Ok(Hint::Settled(block)) if shared.feed.is_watched() => {
                read_block(&shared, &block).await;
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

async fn read_block(shared: &Shared, block: &BlockId) {
    match shared.store.history(block).await {
        Ok(records) => {
            for entry in records {
                shared.feed.tell(entry.tenant, entry.record);
            }
        }
        Err(error) => tracing::debug!(%error, "watchers miss some attempts"),
    }
}
