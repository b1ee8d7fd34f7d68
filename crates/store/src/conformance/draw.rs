//! Drawing calls: mostly sensible ones, from what the ledger knows, and some that
//! come too late.

use core::time::Duration;

use bytes::Bytes;
use rand::{Rng as _, rngs::StdRng};
use sidehook_core::{
    address::{DeliveryId, EventId, Partition, SegmentId},
    id::{SubscriptionNumber, TenantId},
    limits::CALL_RECORDS,
    pool::Pool,
    time::Timestamp,
};

use super::{
    choices::{budget, holder, mark, own, shared},
    world::{Attempt, record},
};
use crate::{
    catalog::{Bounds, Change, Expect, QueueSettings, Write},
    ledger::{Ledger, Line, Loan, Standing},
    read::Redeliver,
    rules,
    turn::{
        Claim, Demand, Disposition, Holder, Idempotency, LeaseId, LeaseSettle, NewEvent, Publish,
        Settle, SettleItem, Stamp, TenantPublish,
    },
};

/// Draws calls about some tenants.
pub(super) struct Draw<'a> {
    pub(super) random: StdRng,
    pub(super) ledger: &'a Ledger,
    pub(super) now: Timestamp,
    pub(super) tenants: &'a [TenantId],
    /// Whether logs are trimmed, and so no subscriptions deleted.
    pub(super) trims: bool,
}

impl Draw<'_> {
    pub(super) fn one_in(&mut self, count: u32) -> bool {
        self.random.random_range(0..count) == 0
    }

    fn pick<'b, T>(&mut self, from: &'b [T]) -> Option<&'b T> {
        if from.is_empty() {
            return None;
        }
        from.get(self.random.random_range(0..from.len()))
    }

    fn pool(&mut self) -> Pool {
        match self.pick(self.tenants) {
            Some(tenant) if self.one_in(3) => own(*tenant),
            _ => shared(),
        }
    }

    fn bytes(&mut self, length: usize) -> Bytes {
        (0..length).map(|_| self.random.random::<u8>()).collect()
    }

    pub(super) fn holder(&mut self) -> Holder {
        holder(self.random.random_range(0..3))
    }

    /// How long nothing happens: mostly moments, rarely a day or a month.
    pub(super) fn pause(&mut self) -> Duration {
        let most_ms = match self.random.random_range(0..100) {
            0..75 => 8_000,
            75..95 => 120_000,
            95..99 => 25 * 3_600_000,
            _ => 31 * 24 * 3_600_000,
        };
        Duration::from_millis(self.random.random_range(0..most_ms))
    }

    pub(super) fn write(&mut self) -> Option<Write> {
        let tenant = *self.pick(self.tenants)?;
        let number = SubscriptionNumber(self.random.random_range(0..8));
        let known = self.ledger.subscription((tenant, number));
        let expect = match known {
            Some(one) if !self.one_in(12) => Expect::Version(one.version),
            _ => Expect::Absent,
        };
        let change = if known.is_some() && self.one_in(10) && !self.trims {
            Change::Delete
        } else {
            Change::Put {
                record: self.bytes(4),
                queue: QueueSettings {
                    pool: self.pool(),
                    window: self.random.random_range(1..40),
                    paused: self.one_in(6),
                },
            }
        };
        let mut catalog = self.ledger.catalog(tenant);
        if self.one_in(3) {
            catalog.nonce ^= 1;
        }
        let bounds = Bounds {
            most: self.random.random_range(3..9),
            catalog: self.one_in(5).then_some(catalog),
        };
        Some(Write {
            tenant,
            number,
            expect,
            bounds,
            nonce: self.random.random(),
            change,
        })
    }

    pub(super) fn publish(&mut self, partition: Partition, stamp: Stamp) -> Publish {
        let mut call = Publish::default();
        for tenant in self.tenants {
            if Partition::of(*tenant) != partition || self.one_in(3) {
                continue;
            }
            let Some(segment) = rules::address(partition, stamp, call.tenants.len()) else {
                continue;
            };
            let mut catalog = self.ledger.catalog(*tenant);
            if self.one_in(15) {
                catalog.nonce ^= 1;
            }
            let count = self.random.random_range(1..16);
            call.tenants.push(TenantPublish {
                tenant: *tenant,
                catalog,
                budget: budget(&mut self.random, self.trims),
                events: (0..count).map(|index| self.event(segment, index)).collect(),
            });
        }
        call
    }

    fn event(&mut self, segment: SegmentId, index: u8) -> NewEvent {
        let idempotency = self.one_in(4).then(|| Idempotency {
            key: [self.random.random_range(0..20); 16],
            content: [self.random.random_range(0..2); 16],
        });
        let wanted = (0..9).filter(|_| self.one_in(3));
        let targets = wanted.map(SubscriptionNumber).collect();
        NewEvent {
            id: EventId::new(self.now, segment, index),
            record: self.bytes(6),
            idempotency,
            targets,
        }
    }

    pub(super) fn claim(&mut self) -> Claim {
        let count = self.random.random_range(1..4);
        let demand = |_| Demand {
            pool: self.pool(),
            holder: self.holder(),
            max_deliveries: self.random.random_range(1..70),
            per_tenant: match self.one_in(2) {
                true => u32::MAX,
                false => self.random.random_range(1..40),
            },
            shares: self.shares(),
            lease: Duration::from_millis(self.random.random_range(1..90_000)),
            token: self.random.random(),
        };
        Claim {
            demands: (0..count).map(demand).collect(),
        }
    }

    /// Tenants who are lent less than others, or nothing.
    fn shares(&mut self) -> Vec<(TenantId, u32)> {
        let mut shares = Vec::new();
        for tenant in self.tenants {
            match self.random.random_range(0..6) {
                0 => shares.push((*tenant, 0)),
                1 => shares.push((*tenant, self.random.random_range(1..30))),
                _ => {}
            }
        }
        shares
    }

    /// Some of the last leases, over or not.
    fn loans(&mut self, partition: Option<Partition>, max: usize) -> Vec<Loan> {
        let here = |loan: &&Loan| partition.is_none_or(|one| loan.lease.0.partition == one);
        let last: Vec<&Loan> = self
            .ledger
            .loans()
            .iter()
            .rev()
            .filter(here)
            .take(10)
            .collect();
        let mut loans: Vec<Loan> = Vec::new();
        for _ in 0..max {
            if let Some(loan) = self.pick(&last)
                && !loans.iter().any(|other| other.lease == loan.lease)
            {
                loans.push((*loan).clone());
            }
        }
        loans
    }

    pub(super) fn settle(&mut self, partition: Partition) -> Settle {
        let mut left = CALL_RECORDS;
        let mut call = Settle::default();
        for loan in self.loans(Some(partition), 3) {
            let whole = self.one_in(2);
            let mut items = Vec::new();
            for (position, id) in (0..).zip(&loan.deliveries) {
                if items.len() < left && (whole || self.one_in(2)) {
                    items.extend(self.item(position, *id));
                }
            }
            if self.one_in(4) {
                items.reverse();
            }
            left -= items.len();
            call.leases.push(LeaseSettle {
                lease: loan.lease,
                token: loan.token ^ u128::from(self.one_in(15)),
                items,
            });
        }
        call
    }

    fn item(&mut self, position: u16, id: DeliveryId) -> Option<SettleItem> {
        let line = self
            .ledger
            .lines()
            .iter()
            .find(|line| line.delivery == id)?;
        let noise = self.random.random();
        let record = |attempt| record(id, attempt, noise);
        let disposition = match self.random.random_range(0..10) {
            how @ 0..6 => Disposition::End {
                record: record(if how == 0 {
                    Attempt::Dead
                } else {
                    Attempt::Delivered
                }),
            },
            6..9 => Disposition::Retry {
                at: self.now + Duration::from_millis(self.random.random_range(0..60_000)),
                retry: self.bytes(3),
                record: record(Attempt::Failed),
            },
            _ => Disposition::Release,
        };
        Some(SettleItem {
            position,
            tenant: line.tenant,
            subscription: id.subscription(),
            segment: id.segment()?,
            index: id.index(),
            generation: id.generation(),
            mark: mark(&mut self.random, &disposition),
            disposition,
        })
    }

    pub(super) fn leases(&mut self) -> Vec<(LeaseId, u128)> {
        let loans = self.loans(None, 4).into_iter();
        loans
            .map(|loan| (loan.lease, loan.token ^ u128::from(self.one_in(6))))
            .collect()
    }

    pub(super) fn redeliver(&mut self) -> Option<Redeliver> {
        let ended = |line: &&Line| line.standing == Standing::Ended;
        let ended: Vec<&Line> = self.ledger.lines().iter().filter(ended).collect();
        let line = *self.pick(&ended)?;
        Some(Redeliver {
            tenant: line.tenant,
            delivery: line.delivery.next_generation()?,
            subscription: line.delivery.subscription(),
            retry: self.bytes(3),
        })
    }
}
