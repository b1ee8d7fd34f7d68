//! Subscriptions at rest.

use bytes::Bytes;
use sidehook_core::{
    address::Partition,
    id::{SubscriptionNumber, TenantId},
    version::Version,
};
use sidehook_store::{
    StoreError,
    catalog::{Catalog, Change, Expect, Row, Write, Written},
};

use crate::{
    layout::{self, Reader, corrupt},
    leases::{bytes, list},
    route::Route,
    scripts,
};

pub(crate) async fn read(
    route: &Route,
    tenant: TenantId,
    known: Option<Version>,
) -> Result<Option<Catalog>, StoreError> {
    let known = known.map(|known| layout::version(known).to_vec());
    let mut script = scripts::call(&scripts::CATALOG, Partition::of(tenant));
    script
        .arg(&tenant.to_bytes()[..])
        .arg(known.unwrap_or_default());
    let mut parts = list(route.one(script).await?).into_iter().map(bytes);
    let Some(version) = parts.next() else {
        return Ok(None);
    };
    let mut catalog = Catalog {
        version: Reader::new("a catalog's version", version).version()?,
        rows: Vec::new(),
    };
    while let (Some(number), Some(row)) = (parts.next(), parts.next()) {
        let number = SubscriptionNumber(Reader::new("a subscription's number", number).u32()?);
        let mut reader = Reader::new("a subscription", row);
        catalog.rows.push(Row {
            number,
            version: reader.version()?,
            record: reader.rest(),
        });
    }
    catalog.rows.sort_unstable_by_key(|row| row.number);
    Ok(Some(catalog))
}

pub(crate) async fn write(route: &Route, write: &Write) -> Result<Written, StoreError> {
    let expect = match write.expect {
        Expect::Absent => Vec::new(),
        Expect::Version(version) => layout::version(version).to_vec(),
    };
    let catalog = write.bounds.catalog;
    let catalog = catalog.map_or_else(Vec::new, |version| layout::version(version).to_vec());
    let mut script = scripts::call(&scripts::WRITE, Partition::of(write.tenant));
    script
        .arg(&write.tenant.to_bytes()[..])
        .arg(&write.number.0.to_be_bytes()[..])
        .arg(expect)
        .arg(&write.nonce.to_be_bytes()[..])
        .arg(write.bounds.subscriptions())
        .arg(catalog);
    if let Change::Put { record, queue } = &write.change {
        script
            .arg(&record[..])
            .arg(queue.window)
            .arg(u8::from(queue.paused))
            .arg(layout::pool(&queue.pool));
    }
    let reply = bytes(route.one_kept(script).await?);
    let (kind, version): (u8, Bytes) = match reply.first() {
        Some(kind) => (*kind, reply.slice(1..)),
        None => return Err(corrupt("the reply to a write")),
    };
    let version = (!version.is_empty())
        .then(|| Reader::new("a version", version).version())
        .transpose()?;
    match (kind, version) {
        (b'd', Some(version)) => Ok(Written::Done(version)),
        (b'c', current) => Ok(Written::Conflict { current }),
        (b'm', _) => Ok(Written::TooMany),
        (b'o', _) => Ok(Written::Overtaken),
        _ => Err(corrupt("the reply to a write")),
    }
}
