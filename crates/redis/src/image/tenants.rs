//! A tenant's subscriptions and its log.

use bytes::Bytes;
use redis::{Pipeline, Value};
use sidehook_core::{
    id::{SubscriptionNumber, TenantId},
    limits::{CALL_BYTES, CALL_RECORDS},
};
use sidehook_store::{
    StoreError,
    image::{self, Image},
};

use super::Export;
use crate::{
    catalog, health,
    layout::{self, Reader, corrupt},
    leases::{bytes, list},
    outcomes, reads,
};

impl Export<'_> {
    pub(super) async fn catalog(&mut self, tenant: TenantId) -> Result<(), StoreError> {
        let catalog = catalog::read(self.route, tenant, None).await?;
        let catalog = catalog.ok_or_else(|| corrupt("a catalog"))?;
        let version = catalog.version;
        self.records.push(Image::Tenant { tenant, version });
        let keys = catalog.rows.iter().map(|row| (tenant, row.number));
        let mut live = self.live(keys.collect()).await?;
        let numbers: Vec<_> = catalog.rows.iter().map(|row| row.number).collect();
        let healths = health::read_readable(self.route, tenant, &numbers).await?;
        for (row, health) in catalog.rows.into_iter().zip(healths) {
            let queue = live.remove(&(tenant, row.number));
            let queue = queue.ok_or_else(|| corrupt("the queue of a subscription"))?;
            self.records.push(Image::Subscription {
                tenant,
                row,
                queue,
                health: Box::new(health),
            });
        }
        let mut cmd = redis::cmd("HGETALL");
        cmd.arg(self.key("gone:", &tenant.to_bytes()));
        let rows = self.all(cmd).await?;
        let mut gone = Vec::new();
        for row in rows.chunks_exact(2) {
            let number = Reader::new("a deleted subscription", row[0].clone()).u32()?;
            let version = Reader::new("a version", row[1].clone()).version()?;
            gone.push((SubscriptionNumber(number), version));
        }
        gone.sort_unstable_by_key(|(number, _)| *number);
        let deleted = |(number, version)| Image::Deleted {
            tenant,
            number,
            version,
        };
        self.records.extend(gone.into_iter().map(deleted));
        Ok(())
    }

    /// Entries of a tenant's log, oldest first: those past their age, then the others.
    pub(super) async fn log(&self, tenant: &[u8], from: u64) -> Result<Vec<Bytes>, StoreError> {
        let (late, log) = (self.key("late:", tenant), self.key("log:", tenant));
        let mut pipe = Pipeline::new();
        pipe.cmd("ZCARD").arg(&late);
        let last = from + CALL_RECORDS as u64 - 1;
        pipe.cmd("ZRANGE").arg(&late).arg(from).arg(last);
        let mut answers = self.route.ask(pipe).await?.into_iter();
        let Some(Value::Int(old)) = answers.next() else {
            return Err(corrupt("the late entries of a log"));
        };
        let old = u64::try_from(old).unwrap_or(0);
        let late = answers.next().map(list).unwrap_or_default();
        let mut entries: Vec<Bytes> = late.into_iter().map(bytes).collect();
        if entries.len() < CALL_RECORDS {
            let begin = from.saturating_sub(old);
            let rest = (CALL_RECORDS - entries.len()) as u64;
            let mut cmd = redis::cmd("LRANGE");
            cmd.arg(log).arg(begin).arg(begin + rest - 1);
            entries.extend(self.all(cmd).await?);
        }
        Ok(entries)
    }

    /// The segments of log entries, as many as fit into a page but at least one; how
    /// many.
    pub(super) async fn segments(
        &mut self,
        tenant: TenantId,
        entries: &[Bytes],
    ) -> Result<usize, StoreError> {
        let mut ids = Vec::with_capacity(entries.len());
        let mut sizes = Pipeline::new();
        for entry in entries {
            let mut reader = Reader::new("a log entry", entry.clone());
            let published = reader.time()?;
            let id = reader.segment(self.partition)?;
            let _deliveries = reader.u32()?;
            let counted = reader.u32()?;
            sizes
                .cmd("STRLEN")
                .arg(self.key("seg:", &layout::segment(id)));
            ids.push((id, (published, counted)));
        }
        let mut bytes = 0;
        let mut fits = 0;
        for size in self.route.ask(sizes).await? {
            let size = if let Value::Int(size) = size { size } else { 0 };
            bytes += usize::try_from(size).unwrap_or(0);
            if fits > 0 && bytes > CALL_BYTES {
                break;
            }
            fits += 1;
        }
        ids.truncate(fits);
        let names: Vec<_> = ids.iter().map(|(id, _)| *id).collect();
        let segments = reads::segments(self.route, &names).await?;
        let attempts = outcomes::of_segments(self.route, &names).await?;
        for (((id, (published, bytes)), segment), attempts) in
            ids.into_iter().zip(segments).zip(attempts)
        {
            let segment = segment.ok_or_else(|| corrupt("a segment that is in the log"))?;
            self.records.push(Image::Segment {
                id,
                tenant,
                published,
                bytes,
                records: segment.records,
            });
            self.records.extend(image::attempts(tenant, id, attempts));
        }
        Ok(fits)
    }
}
