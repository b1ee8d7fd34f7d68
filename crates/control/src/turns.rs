//! Turns at what keeps a processor for long: filters that are tried out or explained.
//!
//! Publishing shares the processors with it, and one tenant must not keep another waiting.
//! So only [`AT_ONCE`] run at one time, of a tenant only one, and who wants a turn first
//! waits for those of their own tenant: a neighbour waits at most for one turn of each
//! tenant before them. Waiting has an end, in time and in how many wait, since each that
//! waits holds what it was given.

use core::time::Duration;
use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use sidehook_core::id::TenantId;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::errors::OperationError;

/// Turns at one time.
const AT_ONCE: usize = 2;
/// Requests of one tenant that have a turn or wait for one.
const OF_TENANT: usize = 16;
/// How long a request waits.
const WITHIN: Duration = Duration::from_secs(5);
/// When to ask again: some turns later.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The turns of this process.
pub(crate) static TURNS: Turns = Turns::new(WITHIN);

/// Who has a turn, and who waits.
#[derive(Debug)]
pub(crate) struct Turns {
    all: Semaphore,
    /// Only tenants of which a request is here.
    tenants: Mutex<BTreeMap<TenantId, Queue>>,
    within: Duration,
}

#[derive(Debug)]
struct Queue {
    turn: Arc<Semaphore>,
    here: usize,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _any: SemaphorePermit<'static>,
    _own: OwnedSemaphorePermit,
    // Last: it may be the queue's end.
    _place: Place,
}

/// A place in the queue of a tenant.
#[derive(Debug)]
struct Place {
    turns: &'static Turns,
    tenant: TenantId,
    turn: Arc<Semaphore>,
}

impl Turns {
    const fn new(within: Duration) -> Self {
        Self {
            all: Semaphore::const_new(AT_ONCE),
            tenants: Mutex::new(BTreeMap::new()),
            within,
        }
    }

    /// Waits for a turn. To be asked for once nothing can be wrong with the request any
    /// more.
    ///
    /// # Errors
    /// Too many of the tenant wait, or it has waited too long.
    pub(crate) async fn take(&'static self, tenant: TenantId) -> Result<Turn, OperationError> {
        let place = self.place(tenant).ok_or_else(busy)?;
        let waiting = async {
            let own = Arc::clone(&place.turn).acquire_owned().await?;
            Ok((own, self.all.acquire().await?))
        };
        let waited = tokio::time::timeout(self.within, waiting).await;
        let taken: Result<_, AcquireError> = waited.map_err(|_| busy())?;
        let closed = |error: AcquireError| OperationError::Internal(format!("turns: {error}"));
        let (own, any) = taken.map_err(closed)?;
        Ok(Turn {
            _any: any,
            _own: own,
            _place: place,
        })
    }

    fn place(&'static self, tenant: TenantId) -> Option<Place> {
        let mut tenants = self.tenants.lock();
        let queue = tenants.entry(tenant).or_insert_with(|| Queue {
            turn: Arc::new(Semaphore::new(1)),
            here: 0,
        });
        if queue.here == OF_TENANT {
            return None;
        }
        queue.here += 1;
        Some(Place {
            turns: self,
            tenant,
            turn: Arc::clone(&queue.turn),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut tenants = self.turns.tenants.lock();
        if let Some(queue) = tenants.get_mut(&self.tenant) {
            queue.here -= 1;
            if queue.here == 0 {
                tenants.remove(&self.tenant);
            }
        }
    }
}

fn busy() -> OperationError {
    OperationError::Exhausted {
        reason: "EVALUATIONS_BUSY",
        message: "too many filters are being tried out or explained: ask for one at a time"
            .to_owned(),
        retry_after: Some(RETRY_AFTER),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    const A: TenantId = TenantId::from_bits(1);
    const B: TenantId = TenantId::from_bits(2);
    const C: TenantId = TenantId::from_bits(3);

    fn is_busy(refused: &Result<Turn, OperationError>) -> bool {
        let Err(OperationError::Exhausted { retry_after, .. }) = refused else {
            return false;
        };
        retry_after.is_some()
    }

    #[tokio::test]
    async fn a_tenant_has_one_turn_and_no_neighbour_waits_for_the_next() {
        static TURNS: Turns = Turns::new(Duration::ZERO);
        let first = TURNS.take(A).await.expect("nobody is here");
        assert!(is_busy(&TURNS.take(A).await), "its own is taken");
        let second = TURNS.take(B).await.expect("the neighbour's is free");
        assert!(is_busy(&TURNS.take(C).await), "both are taken");
        drop(first);
        TURNS.take(C).await.expect("one is free");
        drop(second);
        assert!(TURNS.tenants.lock().is_empty(), "nobody is remembered");
    }

    #[tokio::test]
    async fn so_many_wait_and_each_has_its_turn() {
        static TURNS: Turns = Turns::new(Duration::from_secs(60));
        let all = join_all((0..OF_TENANT + 3).map(|_| async {
            let turn = TURNS.take(A).await;
            tokio::task::yield_now().await;
            is_busy(&turn)
        }));
        let refused = all.await.into_iter().filter(|busy| *busy).count();
        assert_eq!(refused, 3);
    }
}
