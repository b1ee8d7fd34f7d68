//! Checking and counting.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    process::ExitCode,
};

use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};
use serde_json::json;
use sidehook_api::registry::Tenant;
use sidehook_core::{address::Partition, id::TenantId};
use sidehook_store::{Store, StoreError, registry::Kind};

use crate::client::Output;

/// Records of one page.
const PAGE: usize = 500;

fn words(error: StoreError) -> String {
    error.to_string()
}

/// Prints a line; a closed standard output is the reader's choice.
fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Whatever contradicts itself, in words.
pub(super) async fn faults(store: &dyn Store) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    for partition in Partition::all() {
        let seen = store.inspect(partition).await.map_err(words)?;
        let number = partition.number();
        let told = seen.faults.into_iter();
        faults.extend(told.map(|fault| format!("partition {number}: {fault}")));
    }
    Ok(faults)
}

/// Says what is wrong with a store; 1 if something is.
pub(super) async fn check(store: &dyn Store) -> Result<ExitCode, String> {
    let faults = faults(store).await?;
    for fault in &faults {
        print(fault);
    }
    if faults.is_empty() {
        print("the store is sound");
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!("{} contradictions", faults.len()));
    Ok(ExitCode::FAILURE)
}

/// What a tenant has.
#[derive(Default)]
struct Counts {
    name: String,
    subscriptions: usize,
    segments: usize,
    ready: usize,
    waiting: usize,
    lent: usize,
}

/// Prints what each tenant has.
pub(super) async fn stats(store: &dyn Store, output: Output) -> Result<ExitCode, String> {
    let mut tenants = names(store).await?;
    for partition in Partition::all() {
        let seen = store.inspect(partition).await.map_err(words)?;
        for (tenant, _) in seen.ready {
            tenants.entry(tenant).or_default().ready += 1;
        }
        for (tenant, ..) in seen.waiting {
            tenants.entry(tenant).or_default().waiting += 1;
        }
        for (tenant, ..) in seen.leased {
            tenants.entry(tenant).or_default().lent += 1;
        }
    }
    for (tenant, counts) in &mut tenants {
        let catalog = store.catalog(*tenant, None).await.map_err(words)?;
        counts.subscriptions = catalog.map_or(0, |catalog| catalog.rows.len());
        let mut from = None;
        loop {
            let page = store.log(*tenant, from, PAGE).await.map_err(words)?;
            counts.segments += page.segments.len();
            from = page.next;
            if from.is_none() {
                break;
            }
        }
    }
    match output {
        Output::Json => print_json(&tenants)?,
        Output::Table => print_table(&tenants),
    }
    Ok(ExitCode::SUCCESS)
}

async fn names(store: &dyn Store) -> Result<BTreeMap<TenantId, Counts>, String> {
    let mut tenants = BTreeMap::new();
    let mut after = Vec::new();
    loop {
        let listing = store.registry_list(Kind::Tenant, &after, PAGE);
        let page = listing.await.map_err(words)?;
        for entry in &page.entries {
            after = entry.key.to_vec();
            let tenant = Tenant::decode(entry.value.clone());
            let tenant = tenant.map_err(|error| error.to_string())?;
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

fn print_json(tenants: &BTreeMap<TenantId, Counts>) -> Result<(), String> {
    let one = |(tenant, counts): (&TenantId, &Counts)| {
        json!({
            "tenant_id": tenant.to_string(),
            "name": counts.name,
            "subscriptions": counts.subscriptions,
            "segments": counts.segments,
            "ready": counts.ready,
            "waiting": counts.waiting,
            "lent": counts.lent,
        })
    };
    let all: Vec<_> = tenants.iter().map(one).collect();
    let text = serde_json::to_string_pretty(&all);
    print(&text.map_err(|error| error.to_string())?);
    Ok(())
}

fn print_table(tenants: &BTreeMap<TenantId, Counts>) {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY);
    table.set_header([
        "tenant",
        "name",
        "subscriptions",
        "segments",
        "ready",
        "waiting",
        "lent",
    ]);
    for (tenant, counts) in tenants {
        let numbers = [
            counts.subscriptions,
            counts.segments,
            counts.ready,
            counts.waiting,
            counts.lent,
        ];
        // A name obeys no terminal: what would steer one is shown as an escape.
        let mut row = vec![tenant.to_string(), counts.name.escape_debug().to_string()];
        row.extend(numbers.map(|number| number.to_string()));
        table.add_row(row);
    }
    print(&table.to_string());
}
