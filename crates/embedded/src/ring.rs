//! Rings: whose turn it is. Per partition and pool a ring of tenants, per tenant a
//! ring of its eligible queues. Both are rows in the order of their positions: the
//! first is the next, and who was served gets a position behind the last. A queue's
//! position stands in its own row, a tenant's in `ring_places`, so nothing is
//! searched when one has to leave from the middle.

use sidehook_core::{address::Partition, id::TenantId, pool::Pool};
use sidehook_store::shares::Shares;

use crate::{
    batch::Batch,
    codec::Reader,
    error::{Fault, hex},
    layout::{self, QueueKey},
    tables::{Index, Pair, Rows},
};

/// The queue whose turn it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) queue: QueueKey,
    /// Its position among its tenant's.
    position: u64,
    /// Its tenant's position.
    tenant_position: u64,
    /// Whether no tenant is behind its own, which then stays where it is.
    last: bool,
    /// Whether it is the only one of such a tenant.
    pub(crate) alone: bool,
}

impl Turn {
    /// The queue's row in `ring_queues`.
    pub(crate) fn key(&self, pool: &Pool) -> Vec<u8> {
        layout::ring_queue(pool, self.queue.0, self.position)
    }
}

/// A demand's way around a ring of tenants.
pub(crate) struct Walk {
    prefix: Vec<u8>,
    /// The key of the tenant whose turn it was, or the first one above those passed over.
    from: Vec<u8>,
}

impl Walk {
    /// From the tenant whose turn is next.
    pub(crate) fn from_front(partition: Partition, pool: &Pool) -> Self {
        let prefix = layout::pool(partition, pool);
        let from = prefix.clone();
        Self { prefix, from }
    }
}

/// The position behind the last one under a prefix.
fn next_position(rows: &Rows<'_>, index: Index, prefix: &[u8]) -> Result<u64, Fault> {
    let Some((key, _)) = rows.last(prefix)? else {
        return Ok(1);
    };
    let last = || Fault::corrupt("a ring is at its last position".to_owned());
    let next = position_of(prefix, &key).and_then(|at| at.checked_add(1).ok_or_else(last));
    next.map_err(|fault| fault.blame(index, &key))
}

fn position_of(prefix: &[u8], key: &[u8]) -> Result<u64, Fault> {
    let rest = key.get(prefix.len()..).unwrap_or_default();
    let mut from = Reader::copy("a ring's key", rest);
    let position = from.u64()?;
    from.end()?;
    Ok(position)
}

impl Batch<'_> {
    /// Adds a queue behind the others of its tenant: its position, and whether the
    /// pool had none before.
    pub(crate) fn ring_add(
        &mut self,
        pool: &Pool,
        (tenant, number): QueueKey,
    ) -> Result<(u64, bool), Fault> {
        let place = layout::ring_place(pool, tenant);
        let mut first = false;
        if !self.tables.ring_places.has(&place)? {
            first = !self.ring_has(Partition::of(tenant), pool)?;
            self.append_tenant(pool, tenant)?;
        }
        let position = next_position(&self.tables.ring_queues, Index::RingQueues, &place)?;
        let key = layout::ring_queue(pool, tenant, position);
        self.tables.ring_queues.put(&key, &number.0.to_be_bytes())?;
        Ok((position, first))
    }

    /// Puts a tenant behind the others.
    pub(crate) fn append_tenant(&mut self, pool: &Pool, tenant: TenantId) -> Result<(), Fault> {
        let partition = Partition::of(tenant);
        let prefix = layout::pool(partition, pool);
        let position = next_position(&self.tables.ring_tenants, Index::RingTenants, &prefix)?;
        let key = layout::ring_tenant(partition, pool, position);
        self.tables.ring_tenants.put(&key, &tenant.to_bytes())?;
        let place = layout::ring_place(pool, tenant);
        self.tables.ring_places.put(&place, &position.to_be_bytes())
    }

    /// Takes a queue out, wherever it is; its tenant stays where it is, unless this
    /// was its last. A queue that was mended may have an old position, where another
    /// one is now: that one stays.
    pub(crate) fn leave(
        &mut self,
        pool: &Pool,
        (tenant, number): QueueKey,
        position: u64,
    ) -> Result<(), Fault> {
        let key = layout::ring_queue(pool, tenant, position);
        let found = self.tables.ring_queues.get(&key)?;
        if found.is_some_and(|found| found[..] == number.0.to_be_bytes()) {
            self.tables.ring_queues.delete(&key)?;
        }
        self.leave_if_last(pool, tenant)
    }

    /// Takes a tenant out that has no queue left in a ring.
    pub(crate) fn leave_if_last(&mut self, pool: &Pool, tenant: TenantId) -> Result<(), Fault> {
        let place = layout::ring_place(pool, tenant);
        if self.tables.ring_queues.first(&place)?.is_some() {
            return Ok(());
        }
        match self.tables.ring_places.take(&place)? {
            Some(at) => self.strike_tenant(pool, tenant, &at),
            None => Ok(()),
        }
    }

    /// Deletes a tenant's row in `ring_tenants`, which should be `at` that position. If
    /// it is not, it is looked for: nobody else's turn may be deleted instead.
    pub(crate) fn strike_tenant(
        &mut self,
        pool: &Pool,
        tenant: TenantId,
        at: &[u8],
    ) -> Result<(), Fault> {
        let mine = tenant.to_bytes();
        let prefix = layout::pool(Partition::of(tenant), pool);
        let key = [&prefix, at].concat();
        if self.tables.ring_tenants.get(&key)?.as_deref() == Some(&mine[..]) {
            return self.tables.ring_tenants.delete(&key);
        }
        tracing::error!(%tenant, place = %hex(at), "a tenant's place in a ring is not there");
        for (key, whose) in self.tables.ring_tenants.all(&prefix)? {
            if whose[..] == mine[..] {
                self.tables.ring_tenants.delete(&key)?;
            }
        }
        Ok(())
    }

    /// The first tenant from where the walk is that may still be lent something, and
    /// whether it is the last in the ring. The walk goes on with that tenant, behind those
    /// that were passed over.
    pub(crate) fn ring_open(
        &self,
        walk: &mut Walk,
        shares: &Shares,
    ) -> Result<Option<(TenantId, bool)>, Fault> {
        loop {
            let tenants = self.tables.ring_tenants.some(&walk.prefix, &walk.from, 2)?;
            let Some((key, value)) = tenants.first() else {
                return Ok(None);
            };
            let tenant = Reader::new("a ring's tenant", value.clone()).tenant();
            let tenant = tenant.map_err(|fault| fault.blame(Index::RingTenants, key))?;
            walk.from.clone_from(key);
            if shares.left(tenant) > 0 {
                return Ok(Some((tenant, tenants.len() == 1)));
            }
            // The first key above another one is that one with a zero behind it.
            walk.from.push(0);
        }
    }

    /// Whose turn it is.
    pub(crate) fn ring_turn(
        &self,
        pool: &Pool,
        walk: &mut Walk,
        shares: &Shares,
    ) -> Result<Option<Turn>, Fault> {
        let Some((tenant, last)) = self.ring_open(walk, shares)? else {
            return Ok(None);
        };
        let blame = |fault: Fault| fault.blame(Index::RingTenants, &walk.from);
        let tenant_position = position_of(&walk.prefix, &walk.from).map_err(blame)?;
        let place = layout::ring_place(pool, tenant);
        let queues = self.tables.ring_queues.some(&place, &place, 2)?;
        let Some((queue_key, number)) = queues.first() else {
            let detail = format!("{tenant} is in a ring without a queue");
            return Err(blame(Fault::corrupt(detail)));
        };
        let blame = |fault: Fault| fault.blame(Index::RingQueues, queue_key);
        let number = Reader::new("a ring's queue", number.clone()).number();
        Ok(Some(Turn {
            queue: (tenant, number.map_err(blame)?),
            position: position_of(&place, queue_key).map_err(blame)?,
            tenant_position,
            last,
            alone: last && queues.len() == 1,
        }))
    }

    /// Puts the queue whose turn it was behind the others of its tenant, and the
    /// tenant behind the other tenants; the queue's new position.
    pub(crate) fn ring_rotate(&mut self, pool: &Pool, turn: &Turn) -> Result<u64, Fault> {
        if turn.alone {
            return Ok(turn.position);
        }
        let (tenant, number) = turn.queue;
        let key = layout::ring_queue(pool, tenant, turn.position);
        self.tables.ring_queues.delete(&key)?;
        self.rotate_tenant(pool, turn)?;
        let place = layout::ring_place(pool, tenant);
        let position = next_position(&self.tables.ring_queues, Index::RingQueues, &place)?;
        let key = layout::ring_queue(pool, tenant, position);
        self.tables.ring_queues.put(&key, &number.0.to_be_bytes())?;
        Ok(position)
    }

    /// Takes the queue whose turn it was out; its tenant goes behind the others if
    /// it has more.
    pub(crate) fn ring_retire(&mut self, pool: &Pool, turn: &Turn) -> Result<(), Fault> {
        let (tenant, _) = turn.queue;
        self.leave(pool, turn.queue, turn.position)?;
        if self
            .tables
            .ring_places
            .has(&layout::ring_place(pool, tenant))?
        {
            self.rotate_tenant(pool, turn)?;
        }
        Ok(())
    }

    fn rotate_tenant(&mut self, pool: &Pool, turn: &Turn) -> Result<(), Fault> {
        if turn.last {
            return Ok(());
        }
        let (tenant, _) = turn.queue;
        let key = layout::ring_tenant(Partition::of(tenant), pool, turn.tenant_position);
        self.tables.ring_tenants.delete(&key)?;
        self.append_tenant(pool, tenant)
    }

    /// Whether the pool has work.
    pub(crate) fn ring_has(&self, partition: Partition, pool: &Pool) -> Result<bool, Fault> {
        let first = self
            .tables
            .ring_tenants
            .first(&layout::pool(partition, pool))?;
        Ok(first.is_some())
    }

    /// The pools that have work, sorted.
    pub(crate) fn pools(&self, partition: Partition) -> Result<Vec<Pool>, Fault> {
        let prefix = layout::partition(partition);
        let mut pools = Vec::new();
        let mut from = prefix.to_vec();
        loop {
            let mut found = self.tables.ring_tenants.some(&prefix, &from, 1)?;
            let Some((key, _)): Option<Pair> = found.pop() else {
                break;
            };
            let (pool, _) = layout::parse_ring_tenant(&key)
                .map_err(|fault| fault.blame(Index::RingTenants, &key))?;
            // The first key above any of this pool's.
            from = layout::ring_tenant(partition, &pool, u64::MAX);
            from.push(0);
            pools.push(pool);
        }
        pools.sort_unstable();
        Ok(pools)
    }
}
