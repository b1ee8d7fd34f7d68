//! What waits for one worker's next turn.
//!
//! Anybody puts pieces in, only the worker takes them out. Tenants of a partition take
//! turns in publishing, so that one who floods delays only itself; outcomes keep their
//! order, for agents wait for all of them alike.

use std::{
    collections::{HashMap, VecDeque},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use sidehook_core::{address::Partition, id::TenantId, limits::PARTITIONS};
use tokio::sync::Notify;

use super::piece::{Load, PublishPiece, SettlePiece};
use crate::board::{Partitions, bit};

/// See the module.
#[derive(Debug)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    notify: Notify,
    /// Partitions that did not answer the worker.
    away: AtomicU64,
}

/// The pieces of one worker.
#[derive(Debug)]
pub(super) struct Waiting {
    settles: Vec<VecDeque<SettlePiece>>,
    publishes: Vec<TenantQueues>,
    /// Partitions with outcomes.
    pub(super) settling: Partitions,
    /// Partitions with events.
    pub(super) publishing: Partitions,
}

/// Publish pieces of one partition: tenants take turns.
#[derive(Debug, Default)]
struct TenantQueues {
    order: VecDeque<TenantId>,
    queues: HashMap<TenantId, VecDeque<PublishPiece>>,
}

impl Inbox {
    /// Nothing waits.
    pub(crate) fn new() -> Self {
        let partitions = usize::from(PARTITIONS);
        Self {
            waiting: Mutex::new(Waiting {
                settles: (0..partitions).map(|_| VecDeque::new()).collect(),
                publishes: (0..partitions).map(|_| TenantQueues::default()).collect(),
                settling: 0,
                publishing: 0,
            }),
            notify: Notify::new(),
            away: AtomicU64::new(0),
        }
    }

    /// Puts events in.
    pub(super) fn publish(&self, partition: Partition, piece: PublishPiece) {
        {
            let mut waiting = self.waiting.lock();
            waiting.publishing |= bit(partition);
            waiting.publishes[usize::from(partition.number())].push(piece);
        }
        self.notify.notify_one();
    }

    /// Puts outcomes in, each piece into its lease's partition.
    pub(super) fn settle(&self, pieces: impl Iterator<Item = SettlePiece>) {
        {
            let mut waiting = self.waiting.lock();
            for piece in pieces {
                let partition = piece.lease.0.partition;
                waiting.settling |= bit(partition);
                waiting.settles[usize::from(partition.number())].push_back(piece);
            }
        }
        self.notify.notify_one();
    }

    /// Puts outcomes of one partition back, before all others, each to travel alone.
    pub(super) fn settle_apart(&self, partition: Partition, pieces: Vec<SettlePiece>) {
        let mut waiting = self.waiting.lock();
        waiting.settling |= bit(partition);
        let queue = &mut waiting.settles[usize::from(partition.number())];
        for piece in pieces.into_iter().rev() {
            queue.push_front(SettlePiece {
                alone: true,
                ..piece
            });
        }
    }

    /// Tells the worker that there is something to claim.
    pub(crate) fn wake(&self) {
        self.notify.notify_one();
    }

    /// Resolves when something was put in since the last time.
    pub(super) async fn woken(&self) {
        self.notify.notified().await;
    }

    /// Tells publishers which partitions do not answer.
    pub(super) fn set_away(&self, partitions: Partitions) {
        self.away.store(partitions, Ordering::Relaxed);
    }

    /// Whether a partition did not answer.
    pub(super) fn is_away(&self, partition: Partition) -> bool {
        self.away.load(Ordering::Relaxed) & bit(partition) != 0
    }

    /// What waits, for the worker to take from.
    pub(super) fn lock(&self) -> parking_lot::MutexGuard<'_, Waiting> {
        self.waiting.lock()
    }
}

impl Waiting {
    /// Takes as many outcomes as one call carries.
    pub(super) fn take_settles(&mut self, partition: Partition) -> Vec<SettlePiece> {
        let queue = &mut self.settles[usize::from(partition.number())];
        let mut load = Load::default();
        let mut taken = Vec::new();
        while let Some(piece) = queue.front() {
            load = load.plus(Load {
                records: piece.items.len(),
                bytes: piece.bytes,
                pairs: 0,
            });
            if !taken.is_empty() && (piece.alone || !load.fits()) {
                break;
            }
            let alone = piece.alone;
            taken.extend(queue.pop_front());
            if alone {
                break;
            }
        }
        if queue.is_empty() {
            self.settling &= !bit(partition);
        }
        taken
    }

    /// Takes as many events as one call carries. Those that nobody waits for any more
    /// are dropped: nobody was told that they are stored.
    pub(super) fn take_publishes(&mut self, partition: Partition) -> Vec<PublishPiece> {
        let queues = &mut self.publishes[usize::from(partition.number())];
        let mut load = Load::default();
        let mut taken: Vec<PublishPiece> = Vec::new();
        // A segment's ordinal has 7 bits: each piece may be another tenant's, and each
        // has at least one record, so the bound on records is enough.
        while let Some(piece) = queues.pop() {
            if piece.reply.is_closed() {
                continue;
            }
            let more = load.plus(piece.load);
            let same = |other: &PublishPiece| {
                other.tenant != piece.tenant || other.catalog == piece.catalog
            };
            let goes_along = taken.is_empty() || (more.fits() && taken.iter().all(same));
            if !goes_along {
                queues.push_front(piece);
                break;
            }
            load = more;
            taken.push(piece);
        }
        if queues.order.is_empty() {
            self.publishing &= !bit(partition);
        }
        taken
    }

    /// Takes out of these partitions the events that nobody waits for any more: behind a
    /// call that is not answered they would keep their parts of the budget.
    pub(super) fn take_abandoned(&mut self, partitions: Partitions) -> Vec<PublishPiece> {
        let mut abandoned = Vec::new();
        for partition in Partition::all().filter(|one| partitions & bit(*one) != 0) {
            let queues = &mut self.publishes[usize::from(partition.number())];
            queues.take_abandoned(&mut abandoned);
            if queues.order.is_empty() {
                self.publishing &= !bit(partition);
            }
        }
        abandoned
    }
}

impl TenantQueues {
    fn take_abandoned(&mut self, abandoned: &mut Vec<PublishPiece>) {
        for queue in self.queues.values_mut() {
            if !queue.iter().any(|piece| piece.reply.is_closed()) {
                continue;
            }
            let pieces = std::mem::take(queue).into_iter();
            let (closed, open) =
                pieces.partition::<VecDeque<_>, _>(|piece| piece.reply.is_closed());
            abandoned.extend(closed);
            *queue = open;
        }
        self.queues.retain(|_, queue| !queue.is_empty());
        self.order.retain(|tenant| self.queues.contains_key(tenant));
    }

    fn push(&mut self, piece: PublishPiece) {
        let tenant = piece.tenant;
        let queue = self.queues.entry(tenant).or_default();
        if queue.is_empty() {
            self.order.push_back(tenant);
        }
        queue.push_back(piece);
    }

    fn push_front(&mut self, piece: PublishPiece) {
        let tenant = piece.tenant;
        let queue = self.queues.entry(tenant).or_default();
        if !queue.is_empty() {
            self.order.retain(|other| *other != tenant);
        }
        queue.push_front(piece);
        self.order.push_front(tenant);
    }

    fn pop(&mut self) -> Option<PublishPiece> {
        let tenant = self.order.pop_front()?;
        let queue = self.queues.get_mut(&tenant)?;
        let piece = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&tenant);
        } else {
            self.order.push_back(tenant);
        }
        piece
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sidehook_core::version::Version;
    use tokio::{sync::oneshot, time::Instant};

    use super::*;
    use crate::engine::piece::{Budget, PieceReply};

    const PARTITION: u8 = 5;

    fn piece(
        tenant: u128,
        records: usize,
        version: u64,
    ) -> (PublishPiece, oneshot::Receiver<PieceReply>) {
        let (reply, answer) = oneshot::channel();
        let load = Load {
            records,
            bytes: 100,
            pairs: records,
        };
        let piece = PublishPiece {
            tenant: TenantId::from_bits(tenant),
            budget: sidehook_store::budget::Budget::UNLIMITED,
            catalog: Version::default().next(version),
            items: Vec::new(),
            load,
            pools: Vec::new(),
            reply,
            since: Instant::now(),
            _permit: Arc::new(Budget::new(1, 1))
                .take(0, 0, false)
                .expect("nothing is asked for"),
        };
        (piece, answer)
    }

    /// Who goes in each of the next calls.
    fn calls(inbox: &Inbox) -> Vec<Vec<u128>> {
        let partition = Partition::new(PARTITION).expect("below 64");
        let mut calls = Vec::new();
        while inbox.lock().publishing != 0 {
            let taken = inbox.lock().take_publishes(partition);
            calls.push(taken.iter().map(|piece| piece.tenant.bits()).collect());
        }
        calls
    }

    fn fill(pieces: &[(u128, usize, u64)]) -> (Inbox, Vec<oneshot::Receiver<PieceReply>>) {
        let inbox = Inbox::new();
        let partition = Partition::new(PARTITION).expect("below 64");
        let mut answers = Vec::new();
        for (tenant, records, version) in pieces {
            let (piece, answer) = piece(*tenant, *records, *version);
            inbox.publish(partition, piece);
            answers.push(answer);
        }
        (inbox, answers)
    }

    #[test]
    fn a_tenant_that_floods_delays_only_itself() {
        let flood = [(1, 128, 1); 5];
        let (inbox, _answers) = fill(&[&flood[..], &[(2, 1, 1), (3, 1, 1)]].concat());
        assert_eq!(
            calls(&inbox),
            [vec![1], vec![2, 3], vec![1], vec![1], vec![1], vec![1]]
        );
    }

    #[test]
    fn one_call_carries_one_version_of_a_tenants_catalog() {
        let (inbox, _answers) = fill(&[(1, 1, 1), (1, 1, 1), (1, 1, 2), (1, 1, 2)]);
        assert_eq!(calls(&inbox), [vec![1, 1], vec![1, 1]]);
    }

    #[test]
    fn what_nobody_awaits_is_taken_out_and_the_rest_keeps_its_turns() {
        let pieces = [(1, 1, 1), (2, 1, 1), (2, 128, 1), (3, 128, 1), (4, 1, 1)];
        let (inbox, mut answers) = fill(&pieces);
        drop(answers.remove(4));
        drop(answers.remove(1));
        drop(answers.remove(0));
        let here = bit(Partition::new(PARTITION).expect("below 64"));
        assert_eq!(inbox.lock().take_abandoned(!here).len(), 0);
        assert_eq!(inbox.lock().take_abandoned(here).len(), 3);
        assert_eq!(inbox.lock().publishing, here);
        assert_eq!(calls(&inbox), [vec![2], vec![3]]);
        let (inbox, answers) = fill(&pieces);
        drop(answers);
        assert_eq!(inbox.lock().take_abandoned(here).len(), 5);
        assert_eq!(inbox.lock().publishing, 0, "nothing is left");
    }

    #[test]
    fn what_is_too_large_goes_alone_and_what_nobody_awaits_not_at_all() {
        let (inbox, mut answers) = fill(&[(1, 1, 1), (2, 5_000, 1), (3, 1, 1), (4, 1, 1)]);
        drop(answers.remove(2));
        assert_eq!(calls(&inbox), [vec![1], vec![2], vec![4]]);
    }
}
