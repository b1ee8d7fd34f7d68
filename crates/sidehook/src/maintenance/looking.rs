//! Checking and counting.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use serde_json::json;
use sidehook_api::registry::Tenant;
use sidehook_core::{address::Partition, id::TenantId};
use sidehook_embedded::{Embedded, OpenError};
use sidehook_store::{Store, StoreError, inspect::Occupancy, registry::Kind};

use super::tell;
use crate::client::{Failure, Output, line, list};

/// Records of one page.
const PAGE: usize = 500;

/// What a store says of itself.
pub(super) fn told(error: StoreError) -> Failure {
    Failure::new(error.to_string())
}

/// Compares every page of an embedded store with its checksum, which nothing else
/// does: a payload whose bytes have rotted would be signed and sent.
pub(super) fn verify(directory: &Path) -> Result<(), Failure> {
    let restore = "restore it from an export (sidehook store import)";
    match Embedded::verify(directory) {
        Ok(true) => Ok(()),
        Ok(false) => {
            tell("the engine's own accounts of the file were wrong and have been mended");
            Ok(())
        }
        Err(error @ OpenError::Corrupt(_)) => Err(Failure::new(error.to_string()).hint(restore)),
        Err(error) => Err(Failure::new(error.to_string())),
    }
}

/// Whatever contradicts itself, in words.
pub(super) async fn faults(store: &dyn Store) -> Result<Vec<String>, Failure> {
    let mut faults = Vec::new();
    for partition in Partition::all() {
        let seen = store.inspect(partition).await.map_err(told)?;
        let number = partition.number();
        let told = seen.faults.into_iter();
        faults.extend(told.map(|fault| format!("partition {number}: {fault}")));
    }
    Ok(faults)
}

/// Says what is wrong with a store; 1 if something is.
pub(super) async fn check(store: &dyn Store) -> Result<ExitCode, Failure> {
    let faults = faults(store).await?;
    for fault in &faults {
        line(fault)?;
    }
    if faults.is_empty() {
        line("the store is sound")?;
        return Ok(ExitCode::SUCCESS);
    }
    line(&format!("{} contradictions", faults.len()))?;
    Ok(ExitCode::FAILURE)
}

/// What a tenant has.
#[derive(Default)]
struct Counts {
    name: String,
    subscriptions: usize,
    segments: usize,
    unfinished: Occupancy,
}

/// Prints what each tenant has.
pub(super) async fn stats(store: &dyn Store, output: Output) -> Result<ExitCode, Failure> {
    let mut tenants = names(store).await?;
    for partition in Partition::all() {
        for (tenant, counts) in store.occupancy(partition).await.map_err(told)? {
            tenants.entry(tenant).or_default().unfinished = counts;
        }
    }
    for (tenant, counts) in &mut tenants {
        let catalog = store.catalog(*tenant, None).await.map_err(told)?;
        counts.subscriptions = catalog.map_or(0, |catalog| catalog.rows.len());
        counts.segments = segments(store, *tenant).await?;
    }
    let tenants: Vec<_> = tenants.into_iter().collect();
    let head = [
        "TENANT",
        "NAME",
        "SUBSCRIPTIONS",
        "SEGMENTS",
        "QUEUED",
        "WAITING",
        "LENT",
        "PENDING BYTES",
        "LOG BYTES",
    ];
    list(output, &tenants, as_json, &head, as_row)?;
    Ok(ExitCode::SUCCESS)
}

/// Segments of a tenant's log.
async fn segments(store: &dyn Store, tenant: TenantId) -> Result<usize, Failure> {
    let (mut count, mut from) = (0, None);
    loop {
        let page = store.log(tenant, from, PAGE).await.map_err(told)?;
        count += page.segments.len();
        from = page.next;
        if from.is_none() {
            return Ok(count);
        }
    }
}

async fn names(store: &dyn Store) -> Result<BTreeMap<TenantId, Counts>, Failure> {
    let mut tenants = BTreeMap::new();
    let mut after = Vec::new();
    loop {
        let listing = store.registry_list(Kind::Tenant, &after, PAGE);
        let page = listing.await.map_err(told)?;
        for entry in &page.entries {
            after = entry.key.to_vec();
            let tenant = Tenant::decode(entry.value.clone());
            let Ok(tenant) = tenant else {
                continue;
            };
            let counts = Counts {
                name: tenant.name,
                ..Counts::default()
            };
            tenants.insert(tenant.id, counts);
        }
        if !page.more || page.entries.is_empty() {
            return Ok(tenants);
        }
    }
}

fn as_json((tenant, counts): &(TenantId, Counts)) -> serde_json::Value {
    json!({
        "tenant_id": tenant.to_string(),
        "name": counts.name,
        "subscriptions": counts.subscriptions,
        "segments": counts.segments,
        "queued": counts.unfinished.ready,
        "waiting": counts.unfinished.waiting,
        "lent": counts.unfinished.lent,
        "pending_bytes": counts.unfinished.used.pending,
        "log_bytes": counts.unfinished.used.log,
    })
}

fn as_row((tenant, counts): &(TenantId, Counts)) -> Vec<String> {
    vec![
        tenant.to_string(),
        counts.name.clone(),
        counts.subscriptions.to_string(),
        counts.segments.to_string(),
        counts.unfinished.ready.to_string(),
        counts.unfinished.waiting.to_string(),
        counts.unfinished.lent.to_string(),
        counts.unfinished.used.pending.to_string(),
        counts.unfinished.used.log.to_string(),
    ]
}
