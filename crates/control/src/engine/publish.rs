//! Publishing, on the publisher's side of the inbox: matching and waiting.
//!
//! Events are matched here, in the publisher's own task, against the catalog in
//! memory; the store checks the catalog's version when it takes them. If it was
//! another one, the events come back and are matched again. So workers never wait for
//! a catalog, and a tenant that changes its subscriptions all the time delays itself
//! alone.

use std::{sync::Arc, time::Duration};

use sidehook_core::{
    address::Partition,
    id::{SubscriptionNumber, TenantId},
    version::Version,
};
use sidehook_store::{StoreError, budget::Budget};
use tokio::{sync::oneshot, time::Instant};

use super::{
    PublishError, PublishItem, PublishOutcome, Shared,
    piece::{Load, Matched, PieceReply, PublishPiece},
};
use crate::catalog::Compiled;

/// What a publisher is told to wait before it tries again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Publishes events of one tenant; the answers come in the order of `items`.
pub(super) async fn publish(
    shared: &Shared,
    tenant: TenantId,
    items: Vec<PublishItem>,
) -> Vec<PublishOutcome> {
    let deadline = Instant::now() + shared.config.publish_deadline;
    let unanswered = PublishError::Unavailable {
        maybe_stored: true,
        retry_after: RETRY_AFTER,
    };
    let mut outcomes: Vec<PublishOutcome> = vec![Err(unanswered); items.len()];
    let fresh = |(place, item): (usize, PublishItem)| Matched {
        place,
        event: item.event,
        target: item.target,
        targets: Vec::new(),
    };
    let mut items: Vec<Matched> = items.into_iter().enumerate().map(fresh).collect();
    let mut stale: Option<Version> = None;
    let budget = shared.allowances.of(tenant).await.budget;
    while !items.is_empty() {
        let compiled = catalog(shared, tenant, stale);
        let compiled = match tokio::time::timeout_at(deadline, compiled).await {
            Ok(Ok(compiled)) => compiled,
            Ok(Err(error)) => {
                refuse(&mut outcomes, &items, &unread(error));
                break;
            }
            Err(_elapsed) => {
                refuse(&mut outcomes, &items, &unavailable(false));
                break;
            }
        };
        match_all(&compiled, &mut items, &mut outcomes).await;
        let batches = batches(std::mem::take(&mut items));
        let replies: Vec<_> = batches
            .into_iter()
            .filter_map(|batch| enqueue(shared, (&compiled, budget), batch, &mut outcomes))
            .collect();
        for reply in replies {
            match tokio::time::timeout_at(deadline, reply).await {
                Ok(Ok(PieceReply::Done(done))) => {
                    for (place, outcome) in done {
                        outcomes[place] = outcome;
                    }
                }
                Ok(Ok(PieceReply::Stale {
                    current,
                    items: mut again,
                })) => {
                    stale = Some(current);
                    items.append(&mut again);
                }
                // Too late, or the process ends: nothing is known.
                Ok(Err(_)) | Err(_) => shared.metrics.publish_timeouts.increment(1),
            }
        }
    }
    outcomes
}

async fn catalog(
    shared: &Shared,
    tenant: TenantId,
    stale: Option<Version>,
) -> Result<Arc<Compiled>, StoreError> {
    match (stale, shared.catalogs.cached(tenant)) {
        (Some(current), _) => shared.catalogs.at(tenant, current).await,
        (None, Some(compiled)) => Ok(compiled),
        (None, None) => shared.catalogs.fresh(tenant).await,
    }
}

fn refuse(outcomes: &mut [PublishOutcome], items: &[Matched], error: &PublishError) {
    for item in items {
        outcomes[item.place] = Err(error.clone());
    }
}

const fn unavailable(maybe_stored: bool) -> PublishError {
    PublishError::Unavailable {
        maybe_stored,
        retry_after: RETRY_AFTER,
    }
}

fn unread(error: StoreError) -> PublishError {
    match error {
        StoreError::Unavailable { retry_after, .. } => PublishError::Unavailable {
            maybe_stored: false,
            retry_after,
        },
        StoreError::Corrupt { detail } => PublishError::Refused { detail },
    }
}

/// Finds who wants the events; those of which that would take too long are refused, and no
/// longer among `items`. A tenant with many filters pays for them in patience: a thousand
/// events of 100 µs each must not keep a thread from its other tasks.
async fn match_all(compiled: &Compiled, items: &mut Vec<Matched>, outcomes: &mut [PublishOutcome]) {
    let index = &compiled.index;
    let mut matched = Vec::with_capacity(items.len());
    for mut item in std::mem::take(items) {
        match item.target {
            Some(target) => item.targets = vec![target],
            None => {
                let found = index.matches(&item.event, compiled.tenant, &mut item.targets);
                if index.has_filters() {
                    tokio::task::yield_now().await;
                }
                if let Err(too_costly) = found {
                    outcomes[item.place] = Err(PublishError::FiltersTooCostly(too_costly));
                    continue;
                }
            }
        }
        matched.push(item);
    }
    *items = matched;
}

/// Divides the events into what one call carries each.
fn batches(items: Vec<Matched>) -> Vec<(Vec<Matched>, Load)> {
    let mut batches: Vec<(Vec<Matched>, Load)> = Vec::new();
    for item in items {
        let load = Load {
            records: 1,
            bytes: item.bytes(),
            pairs: item.targets.len(),
        };
        match batches.last_mut() {
            Some((batch, sum)) if sum.plus(load).fits() => {
                batch.push(item);
                *sum = sum.plus(load);
            }
            _ => batches.push((vec![item], load)),
        }
    }
    batches
}

/// Puts a batch into the inbox of its partition; `None` if there is no room.
fn enqueue(
    shared: &Shared,
    (compiled, budget): (&Arc<Compiled>, Budget),
    (items, load): (Vec<Matched>, Load),
    outcomes: &mut [PublishOutcome],
) -> Option<oneshot::Receiver<PieceReply>> {
    let partition = Partition::of(compiled.tenant);
    let inbox = shared.inbox(partition);
    let away = inbox.is_away(partition);
    let Some(permit) = shared.budget.take(items.len(), load.bytes, away) else {
        shared
            .metrics
            .publish_overloads
            .increment(items.len() as u64);
        let error = PublishError::Overloaded {
            retry_after: RETRY_AFTER,
        };
        refuse(outcomes, &items, &error);
        return None;
    };
    let (reply, answer) = oneshot::channel();
    let piece = PublishPiece {
        tenant: compiled.tenant,
        budget,
        catalog: compiled.version,
        pools: pools(compiled, &items),
        items,
        load,
        reply,
        since: Instant::now(),
        _permit: permit,
    };
    inbox.publish(partition, piece);
    Some(answer)
}

/// The pools that deliver these events, each once.
fn pools(compiled: &Compiled, items: &[Matched]) -> Vec<sidehook_core::pool::Pool> {
    let mut pools = Vec::new();
    let mut seen: Vec<SubscriptionNumber> = Vec::new();
    for number in items.iter().flat_map(|item| &item.targets) {
        if seen.contains(number) {
            continue;
        }
        // Many subscriptions have few pools: what was looked at need not be again,
        // but remembering all of them would cost more than it saves.
        if seen.len() < 16 {
            seen.push(*number);
        }
        if let Some(subscription) = compiled.subscriptions.get(number)
            && !pools.contains(&subscription.pool)
        {
            pools.push(subscription.pool.clone());
        }
    }
    pools
}
