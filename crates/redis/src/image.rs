//! All of a partition as records that any store understands, page by page.
//!
//! Everything is read by plain commands: nobody writes during an export. Only the
//! names of a partition's tenants and queues are read as a whole, and cut here. A
//! cursor is a [`Place`].

mod places;
mod tenants;

use std::collections::HashMap;

use bytes::Bytes;
use places::{Place, Stage};
use redis::Cmd;
use sidehook_core::{
    address::Partition,
    id::{SubscriptionNumber, TenantId},
    limits::{CALL_RECORDS, IDEMPOTENCY_TTL},
    time::Timestamp,
};
use sidehook_store::{
    StoreError,
    catalog::QueueSettings,
    image::{self, Cursor, Image, Page},
    turn::{Idempotency, Run},
};

use crate::{
    layout::{self, Reader, corrupt},
    leases::{self, bytes, list},
    route::Route,
    turn,
};

/// Leases of one page; each may hold as many deliveries as a call lends.
const LEASES: usize = 8;

type QueueKey = (TenantId, SubscriptionNumber);

/// One export's page in the making.
struct Export<'a> {
    route: &'a Route,
    partition: Partition,
    records: Vec<Image>,
}

pub(crate) async fn export(
    route: &Route,
    now: Option<Timestamp>,
    partition: Partition,
    from: Option<&Cursor>,
) -> Result<Page, StoreError> {
    let mut place = match from {
        Some(cursor) => Place::parse(cursor)?,
        None => Place::default(),
    };
    let mut export = Export {
        route,
        partition,
        records: Vec::new(),
    };
    match place.stage {
        Stage::Tenants => export.tenants(&mut place).await?,
        Stage::Lent => export.lent(&mut place).await?,
        Stage::Queued => export.queued(&mut place).await?,
        Stage::Waiting => export.waiting(&mut place).await?,
        Stage::Keys => {
            let now = match now {
                Some(now) => now,
                None => turn::now(route).await?,
            };
            export.keys(now, &mut place).await?;
        }
        Stage::Over => {}
    }
    Ok(Page {
        records: export.records,
        next: (place.stage != Stage::Over).then(|| place.cursor()),
    })
}

impl Export<'_> {
    fn key(&self, word: &str, rest: &[u8]) -> Vec<u8> {
        layout::key(self.partition, word, rest)
    }

    /// Sends one command, whose answer is a list.
    async fn all(&self, parts: Cmd) -> Result<Vec<Bytes>, StoreError> {
        let answer = self.route.one(parts).await?;
        Ok(list(answer).into_iter().map(bytes).collect())
    }

    /// The values of fields of a hash, empty where there is none.
    async fn fields(&self, key: Vec<u8>, fields: &[Vec<u8>]) -> Result<Vec<Bytes>, StoreError> {
        if fields.is_empty() {
            return Ok(Vec::new());
        }
        let mut cmd = redis::cmd("HMGET");
        cmd.arg(key).arg(fields);
        self.all(cmd).await
    }

    /// How the queues are served whose subscriptions were not deleted.
    async fn live(
        &self,
        mut keys: Vec<QueueKey>,
    ) -> Result<HashMap<QueueKey, QueueSettings>, StoreError> {
        keys.sort_unstable();
        keys.dedup();
        let field = |key: &QueueKey| [b"q", &layout::queue(key.0, key.1)[..]].concat();
        let names: Vec<_> = keys.iter().map(field).collect();
        let rows = self.fields(self.key("state", b""), &names).await?;
        let mut found = HashMap::new();
        for (key, row) in keys.into_iter().zip(rows) {
            if row.is_empty() {
                continue;
            }
            let mut reader = Reader::new("a queue", row);
            let window = reader.u32()?;
            let _counters = reader.take(12)?;
            let (paused, deleted, _ring) = (reader.u8()?, reader.u8()?, reader.u8()?);
            let _owed = reader.u64()?;
            let settings = QueueSettings {
                pool: reader.pool()?,
                window,
                paused: paused == 1,
            };
            if deleted == 0 {
                found.insert(key, settings);
            }
        }
        Ok(found)
    }

    /// The names of fields of the state that begin with `kind`, above `after`.
    async fn names(&self, kind: u8, size: usize, after: &[u8]) -> Result<Vec<Bytes>, StoreError> {
        let mut cmd = redis::cmd("HKEYS");
        cmd.arg(self.key("state", b""));
        let fields = self.all(cmd).await?.into_iter();
        let ours = fields.filter(|field| field.len() == size + 1 && field[0] == kind);
        let mut names: Vec<Bytes> = ours.map(|field| field.slice(1..)).collect();
        if kind == b't' {
            // A tenant without subscriptions may have events.
            let mut cmd = redis::cmd("ZRANGE");
            cmd.arg(self.key("logs", b"")).arg(0).arg(-1);
            names.extend(self.all(cmd).await?);
        }
        names.retain(|name| name[..] > *after);
        names.sort_unstable();
        names.dedup();
        names.truncate(CALL_RECORDS);
        Ok(names)
    }

    /// A tenant with its subscriptions, or a part of its log.
    async fn tenants(&mut self, place: &mut Place) -> Result<(), StoreError> {
        if place.names.is_empty() {
            place.names = self.names(b't', 16, &place.after).await?;
        }
        let Some(name) = place.names.first().cloned() else {
            *place = Place::of(Stage::Lent);
            return Ok(());
        };
        let tenant = Reader::new("a tenant", name.clone()).tenant()?;
        if place.offset == 0 {
            self.catalog(tenant).await?;
        }
        let entries = self.log(&name, place.offset).await?;
        let taken = self.segments(tenant, &entries).await?;
        place.offset += taken as u64;
        if taken == entries.len() && taken < CALL_RECORDS {
            place.advance();
        }
        Ok(())
    }

    /// What is lent, by deadline.
    async fn lent(&mut self, place: &mut Place) -> Result<(), StoreError> {
        let last = place.offset + LEASES as u64 - 1;
        let mut cmd = redis::cmd("ZRANGE");
        cmd.arg(self.key("deadlines", b""))
            .arg(place.offset)
            .arg(last);
        let names = self.all(cmd).await?;
        let ids = names.iter().map(|name| {
            let name = name.clone();
            layout::parse_lease_id(self.partition, name)
        });
        let ids: Vec<_> = ids.collect::<Result<_, _>>()?;
        let leases = leases::read(self.route, &ids).await?;
        let open = leases.into_iter().flatten();
        let runs: Vec<_> = open
            .flat_map(|lease| image::open_runs(&lease.runs, &lease.open))
            .collect();
        self.deliveries(runs.into_iter().map(|run| (run, None)).collect())
            .await?;
        place.offset += names.len() as u64;
        if names.len() < LEASES {
            *place = Place::of(Stage::Queued);
        }
        Ok(())
    }

    /// Adds deliveries whose subscriptions are there.
    async fn deliveries(&mut self, all: Vec<(Run, Option<Timestamp>)>) -> Result<(), StoreError> {
        let keys = all.iter().map(|(run, _)| (run.tenant, run.subscription));
        let live = self.live(keys.collect()).await?;
        for (run, due) in all {
            if live.contains_key(&(run.tenant, run.subscription)) {
                self.records.push(Image::Deliveries { run, due });
            }
        }
        Ok(())
    }

    /// A part of what is queued, by queue.
    async fn queued(&mut self, place: &mut Place) -> Result<(), StoreError> {
        if place.names.is_empty() {
            place.names = self.names(b'q', 20, &place.after).await?;
        }
        let Some(name) = place.names.first().cloned() else {
            *place = Place::of(Stage::Waiting);
            return Ok(());
        };
        let mut reader = Reader::new("a queue's name", name.clone());
        let (tenant, number) = (reader.tenant()?, SubscriptionNumber(reader.u32()?));
        let last = place.offset + CALL_RECORDS as u64 - 1;
        let mut cmd = redis::cmd("LRANGE");
        cmd.arg(self.key("que:", &name)).arg(place.offset).arg(last);
        let entries = self.all(cmd).await?;
        let (mut runs, mut recorded, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for entry in &entries {
            let mut reader = Reader::new("a queue's entry", entry.clone());
            let (has_record, run) = reader.header(self.partition, tenant, number)?;
            let indices = reader.rest();
            if has_record {
                recorded.push(runs.len());
                names.push([&name[..], &entry[10..25], &indices].concat());
            }
            let indices = indices.to_vec();
            runs.push((Run { indices, ..run }, None));
        }
        let records = self.fields(self.key("rec", b""), &names).await?;
        for (at, record) in recorded.into_iter().zip(records) {
            runs[at].0.retry = Some(remembered(&record)?.retry);
        }
        self.deliveries(runs).await?;
        place.offset += entries.len() as u64;
        if entries.len() < CALL_RECORDS {
            place.advance();
        }
        Ok(())
    }

    /// A part of what waits.
    async fn waiting(&mut self, place: &mut Place) -> Result<(), StoreError> {
        let last = place.offset + CALL_RECORDS as u64 - 1;
        let mut cmd = redis::cmd("ZRANGE");
        cmd.arg(self.key("wait", b"")).arg(place.offset).arg(last);
        let names = self.all(cmd.arg("WITHSCORES").clone()).await?;
        let pairs: Vec<_> = names.chunks_exact(2).collect();
        let fields: Vec<_> = pairs.iter().map(|pair| pair[0].to_vec()).collect();
        let records = self.fields(self.key("rec", b""), &fields).await?;
        let mut runs = Vec::with_capacity(pairs.len());
        for (pair, record) in pairs.iter().zip(records) {
            let mut reader = Reader::new("a delivery's name", pair[0].clone());
            let (tenant, id) = reader.delivery(self.partition)?;
            let record = remembered(&record)?;
            let run = Run {
                tenant,
                subscription: id.subscription(),
                segment: id.segment().ok_or_else(|| corrupt("a delivery's name"))?,
                indices: vec![id.index()],
                leases_lost: record.leases_lost,
                charge: record.charge,
                generation: id.generation(),
                retry: Some(record.retry),
            };
            runs.push((run, Some(crate::inspect::score(&pair[1])?)));
        }
        place.offset += pairs.len() as u64;
        if pairs.len() < CALL_RECORDS {
            *place = Place::of(Stage::Keys);
        }
        self.deliveries(runs).await
    }

    /// A part of the keys in force: those of today and the day before. A key may come
    /// twice.
    async fn keys(&mut self, now: Timestamp, place: &mut Place) -> Result<(), StoreError> {
        let ttl = IDEMPOTENCY_TTL.as_millis();
        let today = now.as_millis().max(0) as u128 / ttl;
        let today = u64::try_from(today).unwrap_or(u64::MAX);
        let day = place.day.unwrap_or(today.saturating_sub(1));
        let mut cmd = redis::cmd("HSCAN");
        cmd.arg(self.key("idem:", day.to_string().as_bytes()))
            .arg(place.offset)
            .arg("COUNT")
            .arg(CALL_RECORDS);
        let mut answer = list(self.route.one(cmd).await?).into_iter();
        let cursor = answer.next().map(bytes).unwrap_or_default();
        let rows = answer.next().map(list).unwrap_or_default();
        let rows: Vec<Bytes> = rows.into_iter().map(bytes).collect();
        for row in rows.chunks_exact(2).filter(|row| row[0].len() == 32) {
            let mut name = Reader::new("an idempotency key", row[0].clone());
            let mut reader = Reader::new("an idempotency key", row[1].clone());
            let tenant = name.tenant()?;
            let idempotency = Idempotency {
                key: name.u128()?.to_be_bytes(),
                content: reader.u128()?.to_be_bytes(),
            };
            let event = sidehook_core::address::EventId::from_bits(reader.u128()?);
            let at = reader.time()?;
            if at + IDEMPOTENCY_TTL > now {
                self.records.push(Image::Key {
                    tenant,
                    idempotency,
                    event,
                    at,
                });
            }
        }
        let cursor = core::str::from_utf8(&cursor).ok();
        let cursor: Option<u64> = cursor.and_then(|cursor| cursor.parse().ok());
        place.offset = cursor.ok_or_else(|| corrupt("the cursor of a scan"))?;
        place.day = Some(day);
        if place.offset == 0 {
            place.day = Some(day + 1);
            if day >= today {
                *place = Place::of(Stage::Over);
            }
        }
        Ok(())
    }
}

/// A record of a delivery.
pub(crate) struct Record {
    leases_lost: u8,
    pub(crate) charge: u32,
    /// What it remembers.
    retry: Bytes,
}

pub(crate) fn remembered(record: &Bytes) -> Result<Record, StoreError> {
    let mut reader = Reader::new("a delivery's record", record.clone());
    Ok(Record {
        leases_lost: reader.u8()?,
        charge: reader.u32()?,
        retry: reader.rest(),
    })
}
