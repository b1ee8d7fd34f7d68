//! Settling: checks everything first, then moves each delivery on.
//!
//! The records of one call's attempts are kept once, with their segments: a history
//! block is no copy but the list of the rows of `outcomes` that the call wrote, and
//! lasts as long as they do. Nothing of it is kept in memory.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sidehook_core::{
    address::{Partition, SegmentId},
    health::Mark,
    time::Timestamp,
};
use sidehook_store::{
    CallError,
    hint::{BlockId, Hint},
    rules,
    turn::{Disposition, LeaseSettle, Run, Settle, SettleItem, SettleReply},
};

use crate::{
    batch::Batch,
    codec::Writer,
    error::Fault,
    lanes::{Called, Refusal},
    layout::{self, Loan, Place, QueueKey, Record, bit},
    lease::entry_of,
};

/// What a settle call gathers on its way.
#[derive(Default)]
struct Gathered<'c> {
    /// Deliveries that landed, by queue.
    touched: BTreeSet<QueueKey>,
    /// Attempts' records, by segment, and the segments in their order.
    records: BTreeMap<SegmentId, Vec<Bytes>>,
    segments: Vec<SegmentId>,
    /// Plain ends, by segment.
    ended: BTreeMap<SegmentId, u32>,
    /// Attempts that count, by queue.
    marks: BTreeMap<QueueKey, Vec<&'c Mark>>,
}

/// A lease's deliveries by position: each one's run, and its index in the segment.
fn positions(loan: &Loan) -> Vec<(usize, u8)> {
    let runs = loan.runs.iter().enumerate();
    runs.flat_map(|(at, run)| run.indices.iter().map(move |index| (at, *index)))
        .collect()
}

impl Batch<'_> {
    pub(crate) fn settle(
        &mut self,
        now: Timestamp,
        partition: Partition,
        call: &Settle,
    ) -> Called<SettleReply> {
        rules::settle(partition, call)?;
        let mut loans = Vec::with_capacity(call.leases.len());
        for one in &call.leases {
            let loan = self.loan(one.lease)?;
            let loan = loan.filter(|loan| loan.token == one.token);
            if let Some(loan) = &loan {
                check_items(one, loan)?;
            }
            loans.push(loan);
        }
        let mut gathered = Gathered::default();
        let mut stale = Vec::with_capacity(call.leases.len());
        for (one, loan) in call.leases.iter().zip(loans) {
            stale.push(match loan {
                Some(loan) => self.settle_lease(one, loan, &mut gathered)?,
                None => one.items.iter().map(|item| item.position).collect(),
            });
        }
        self.finish_settle(partition, &gathered)?;
        self.count(now, &gathered.marks)?;
        Ok(SettleReply { stale })
    }

    /// Settles under one lease; the positions that were stale.
    fn settle_lease<'c>(
        &mut self,
        call: &'c LeaseSettle,
        mut loan: Loan,
        gathered: &mut Gathered<'c>,
    ) -> Result<Vec<u16>, Fault> {
        let places = positions(&loan);
        let mut landed: BTreeMap<QueueKey, u32> = BTreeMap::new();
        let (mut stale, mut released) = (Vec::new(), Vec::new());
        for item in &call.items {
            let place = places.get(usize::from(item.position));
            let found = place.filter(|_| loan.is_open(item.position));
            let Some((run_at, index)) = found.copied() else {
                stale.push(item.position);
                continue;
            };
            loan.open &= !bit(item.position);
            if let Some(mark) = &item.mark {
                let key = (item.tenant, item.subscription);
                gathered.marks.entry(key).or_default().push(mark);
            }
            if item.disposition == Disposition::Release {
                released.push((item.position, run_at, index));
            } else if let Some(run) = loan.runs.get(run_at) {
                self.conclude(run, index, &item.disposition, gathered)?;
                *landed.entry((run.tenant, run.subscription)).or_default() += 1;
            }
        }
        for (key, count) in landed {
            self.land(key, count)?;
            gathered.touched.insert(key);
        }
        self.give_back(&loan, released, gathered)?;
        self.keep_lease(call.lease, &loan)?;
        Ok(stale)
    }

    /// Puts released deliveries back to the heads of their queues: the last position
    /// first, so that they keep their order, neighbours of one run together.
    fn give_back(
        &mut self,
        loan: &Loan,
        mut released: Vec<(u16, usize, u8)>,
        gathered: &mut Gathered<'_>,
    ) -> Result<(), Fault> {
        released.sort_unstable_by_key(|(position, ..)| *position);
        for group in released.chunk_by(|one, next| one.1 == next.1).rev() {
            let run = group.first().and_then(|(_, at, _)| loan.runs.get(*at));
            if let Some(run) = run {
                let indices = group.iter().map(|(.., index)| *index).collect();
                let key = (run.tenant, run.subscription);
                self.put_back(key, &entry_of(run, indices))?;
                gathered.touched.insert(key);
            }
        }
        Ok(())
    }

    /// Moves an attempted delivery on.
    fn conclude(
        &mut self,
        run: &Run,
        index: u8,
        disposition: &Disposition,
        gathered: &mut Gathered<'_>,
    ) -> Result<(), Fault> {
        let place = Place {
            queue: (run.tenant, run.subscription),
            generation: run.generation,
            segment: run.segment,
            index,
        };
        match disposition {
            Disposition::End { record } => {
                gathered.record(run.segment, record);
                self.acquit(run.tenant, run.charge.into())?;
                if run.retry.is_some() {
                    self.end_recorded(&place)?;
                } else {
                    *gathered.ended.entry(run.segment).or_default() += 1;
                }
            }
            Disposition::Retry { at, retry, record } => {
                gathered.record(run.segment, record);
                self.wait(&place, run, *at, retry)?;
            }
            Disposition::Release => {}
        }
        Ok(())
    }

    /// Lets a delivery wait for its retry, unless its subscription is gone.
    fn wait(
        &mut self,
        place: &Place,
        run: &Run,
        at: Timestamp,
        retry: &Bytes,
    ) -> Result<(), Fault> {
        let queue = self.queue_mut(place.queue)?;
        let Some(queue) = queue.filter(|queue| queue.is_live()) else {
            self.acquit(run.tenant, run.charge.into())?;
            return self.end_recorded(place);
        };
        queue.owed = queue.owed.saturating_add(run.charge.into());
        let record = Record {
            leases_lost: run.leases_lost,
            charge: run.charge,
            due: Some(at),
            retry: retry.clone(),
        };
        self.tables
            .records
            .put(&layout::record(place), &record.pack())?;
        self.tables.due.put(&layout::due(at, place), &[])
    }

    /// Counts what ended, keeps the attempts' records, and aligns the queues.
    fn finish_settle(
        &mut self,
        partition: Partition,
        gathered: &Gathered<'_>,
    ) -> Result<(), Fault> {
        let mut block = Writer::with_capacity(1 + 17 * gathered.segments.len());
        block.u8(partition.number());
        for id in &gathered.segments {
            let records = gathered.records.get(id).map_or(&[][..], Vec::as_slice);
            if let Some(row) = self.keep_outcomes(*id, records)? {
                block.segment(*id).u32(row);
            }
        }
        for (id, count) in &gathered.ended {
            self.end(*id, *count)?;
        }
        for key in &gathered.touched {
            self.align(*key)?;
        }
        if !gathered.segments.is_empty() {
            let block = BlockId(block.finish().into());
            self.hints.push(Hint::Settled(block));
        }
        Ok(())
    }

    /// Keeps attempts' records with their segment; in which row.
    pub(crate) fn keep_outcomes(
        &mut self,
        id: SegmentId,
        records: &[Bytes],
    ) -> Result<Option<u32>, Fault> {
        let Some(state) = self.state_mut(id)? else {
            return Ok(None);
        };
        let row = state.outcomes;
        state.outcomes += 1;
        let bytes: usize = records.iter().map(|record| 4 + record.len()).sum();
        let mut value = Writer::with_capacity(16 + bytes);
        value.tenant(state.tenant);
        for record in records {
            value.length(record.len()).bytes(record);
        }
        let key = layout::outcome(id, row);
        self.tables.outcomes.put(&key, &value.finish())?;
        Ok(Some(row))
    }
}

impl Gathered<'_> {
    fn record(&mut self, id: SegmentId, record: &Bytes) {
        let records = self.records.entry(id).or_default();
        if records.is_empty() {
            self.segments.push(id);
        }
        records.push(record.clone());
    }
}

/// An open position must be what the caller takes it for.
fn check_items(call: &LeaseSettle, loan: &Loan) -> Result<(), Refusal> {
    let places = positions(loan);
    for item in &call.items {
        let place = places.get(usize::from(item.position));
        let Some((run, index)) = place.filter(|_| loan.is_open(item.position)) else {
            continue;
        };
        if loan.runs.get(*run).is_none_or(|run| !is(item, run, *index)) {
            let position = item.position;
            let detail = format!("position {position} is another delivery");
            return Err(CallError::Refused { detail }.into());
        }
    }
    Ok(())
}

fn is(item: &SettleItem, run: &Run, index: u8) -> bool {
    (item.tenant, item.subscription) == (run.tenant, run.subscription)
        && (item.segment, item.index, item.generation) == (run.segment, index, run.generation)
}
