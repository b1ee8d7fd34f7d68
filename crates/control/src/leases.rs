//! From grants to Assign frames.
//!
//! Most grants find everything in memory and become frames at once, in the worker that
//! claimed them. The others (an event that another replica published, a catalog that
//! has changed) are completed beside it, so that one read holds nobody else up.
//!
//! Not everything that is lent is assigned: what lost its lease too often, what has no
//! subscription or no event any more is settled here, and what would make the frame
//! too large goes back to the head of its queue. Nothing of a lease is forgotten.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use sidehook_api::{event, record};
use sidehook_core::{
    address::SegmentId,
    id::TenantId,
    retry::{RetryPolicy, RetryState},
    version::Version,
};
use sidehook_runtime::{
    backoff::Backoff,
    tasks::{OnPanic, TaskKind},
};
use sidehook_session::server_end::{LeaseRef, Lent};
use sidehook_store::{
    StoreError,
    read::Lease,
    turn::{Grant, Run},
};

use crate::{
    agents::Session,
    board::{Answer, Reservation},
    catalog::Compiled,
    engine::Shared,
    outcomes::{self, Reject},
    segments::Events,
};

mod frame;

/// A grant that is lost with its task runs out by time, and is lent again.
const FETCH: TaskKind = TaskKind::new("fetch_events", OnPanic::Log).background();

/// A grant and whom it is for.
#[derive(Debug)]
pub(crate) struct Granted {
    /// What was asked for.
    pub(crate) reservation: Reservation,
    /// The agent's newest stamp when the store was asked.
    pub(crate) stamp: u64,
    /// The lease's token.
    pub(crate) token: u128,
    /// What was granted.
    pub(crate) grant: Grant,
}

/// What grants need beside themselves.
#[derive(Debug, Default)]
pub(crate) struct Supplies {
    catalogs: HashMap<TenantId, Arc<Compiled>>,
    segments: HashMap<SegmentId, Events>,
}

/// Turns the grants of one claim into frames; `versions` are the catalogs that hold.
pub(crate) fn hand_out(
    shared: &Arc<Shared>,
    granted: Vec<Granted>,
    versions: HashMap<TenantId, Version>,
) {
    let mut supplies = Supplies::default();
    for (tenant, version) in &versions {
        let cached = shared.catalogs.cached(*tenant);
        if let Some(compiled) = cached.filter(|compiled| compiled.version == *version) {
            supplies.catalogs.insert(*tenant, compiled);
        }
    }
    {
        let cache = shared.segments.lock();
        for run in granted.iter().flat_map(|granted| &granted.grant.runs) {
            if !supplies.segments.contains_key(&run.segment)
                && let Some(events) = cache.get(run.segment)
            {
                supplies.segments.insert(run.segment, events);
            }
        }
    }
    let complete = |run: &Run| {
        supplies.segments.contains_key(&run.segment) && supplies.catalogs.contains_key(&run.tenant)
    };
    let (ready, lacking): (Vec<_>, Vec<_>) = granted
        .into_iter()
        .partition(|granted| granted.grant.runs.iter().all(complete));
    for granted in ready {
        assign(shared, granted, &supplies);
    }
    if !lacking.is_empty() {
        let task = fetch(Arc::clone(shared), lacking, versions, supplies);
        shared.tasks.spawn(FETCH, task);
    }
}

/// Reads what is lacking, however long the store is away: leases that are over by then
/// are void at the agent, and settle as stale.
async fn fetch(
    shared: Arc<Shared>,
    granted: Vec<Granted>,
    versions: HashMap<TenantId, Version>,
    mut supplies: Supplies,
) {
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));
    loop {
        match supply(&shared, &granted, &versions, &mut supplies).await {
            Ok(()) => break,
            Err(StoreError::Unavailable { .. }) if alive(&shared, &granted) => {
                tokio::time::sleep(backoff.next(rand::random())).await;
            }
            Err(error) => {
                tracing::error!(%error, "lent deliveries go back: what they need cannot be read");
                for granted in granted {
                    put_back(&shared, granted);
                }
                return;
            }
        }
    }
    for granted in granted {
        assign(&shared, granted, &supplies);
    }
}

fn alive(shared: &Shared, granted: &[Granted]) -> bool {
    let now = shared.clock.now();
    granted.iter().any(|granted| granted.grant.deadline > now)
}

async fn supply(
    shared: &Shared,
    granted: &[Granted],
    versions: &HashMap<TenantId, Version>,
    supplies: &mut Supplies,
) -> Result<(), StoreError> {
    let runs = || granted.iter().flat_map(|granted| &granted.grant.runs);
    let tenants: HashSet<TenantId> = runs().map(|run| run.tenant).collect();
    for tenant in tenants {
        if let Entry::Vacant(vacant) = supplies.catalogs.entry(tenant) {
            let compiled = match versions.get(&tenant) {
                Some(version) => shared.catalogs.at(tenant, *version).await?,
                None => shared.catalogs.fresh(tenant).await?,
            };
            vacant.insert(compiled);
        }
    }
    let lacking: HashSet<SegmentId> = runs()
        .map(|run| run.segment)
        .filter(|segment| !supplies.segments.contains_key(segment))
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let lacking: Vec<SegmentId> = lacking.into_iter().collect();
    shared.metrics.events_read.increment(lacking.len() as u64);
    let segments = shared.store.segments(&lacking).await?;
    for (id, segment) in lacking.into_iter().zip(segments) {
        let records = segment.map(|segment| segment.records).unwrap_or_default();
        let events: Events = records
            .into_iter()
            .map(|record| match event::decode(record) {
                Ok(stored) => stored.event,
                Err(error) => {
                    tracing::error!(%error, "an event's record cannot be read");
                    bytes::Bytes::new()
                }
            })
            .collect();
        shared.segments.lock().insert(id, Arc::clone(&events));
        supplies.segments.insert(id, events);
    }
    Ok(())
}

/// Makes the frame, gives the board its answer and settles what is not assigned.
fn assign(shared: &Shared, granted: Granted, supplies: &Supplies) {
    let Some(session) = shared.sessions.get(granted.reservation.session) else {
        put_back(shared, granted);
        return;
    };
    let lease = LeaseRef {
        id: granted.grant.lease.0,
        token: granted.token,
    };
    let (answer, waiting, rejects) = {
        let mut end = session.end.lock();
        let settings = &mut end.settings;
        let made = frame::make(&granted, lease, supplies, settings, shared.clock.now());
        let answer = Answer {
            used: made.positions.iter().flatten().count() as u32,
            bytes: made
                .positions
                .iter()
                .flatten()
                .map(|lent| u64::from(lent.bytes))
                .sum(),
        };
        // Before the agent can report any of it.
        let waiting = shared.board.lock().answered(&granted.reservation, answer);
        if answer.used > 0 {
            end.assign(lease, made.positions);
            session.outbox.push(made.frame);
        }
        (answer, waiting, made.rejects)
    };
    shared.wake(waiting);
    shared.metrics.assigned.increment(answer.used.into());
    settle_rejects(shared, &session, lease, rejects);
}

/// Gives a whole grant back.
fn put_back(shared: &Shared, granted: Granted) {
    let waiting = shared
        .board
        .lock()
        .answered(&granted.reservation, Answer::default());
    shared.wake(waiting);
    let lease = LeaseRef {
        id: granted.grant.lease.0,
        token: granted.token,
    };
    let lent = expand(&granted.grant.runs).enumerate();
    let rejects = lent.map(|(position, lent)| (position as u16, lent, Reject::Release));
    let rejects = rejects.collect();
    outcomes::reject(shared, None, lease, rejects);
}

fn settle_rejects(
    shared: &Shared,
    session: &Arc<Session>,
    lease: LeaseRef,
    rejects: Vec<(u16, Lent, Reject)>,
) {
    if !rejects.is_empty() {
        outcomes::reject(shared, Some(session), lease, rejects);
    }
}

/// The deliveries of runs, in the order of their positions, without what only their
/// events and subscriptions tell: their bytes and policies.
pub(crate) fn expand(runs: &[Run]) -> impl Iterator<Item = Lent> {
    runs.iter().flat_map(|run| {
        let retry = run
            .retry
            .as_deref()
            .map_or(RetryState::default(), remembered);
        run.indices.iter().map(move |index| Lent {
            tenant: run.tenant,
            subscription: run.subscription,
            segment: run.segment,
            index: *index,
            generation: run.generation,
            retry,
            policy: None,
            bytes: 0,
        })
    })
}

/// What a delivery remembers. One that cannot be read begins its attempts anew, which
/// is better than never being made.
fn remembered(retry: &[u8]) -> RetryState {
    record::decode_retry(retry).unwrap_or_else(|error| {
        tracing::error!(%error, "a delivery's memory cannot be read");
        RetryState::default()
    })
}

/// The deliveries of a lease that are open, by position, with the policies that
/// `policy_of` knows.
pub(crate) fn open_positions(
    lease: &Lease,
    policy_of: impl Fn(&Lent) -> Option<RetryPolicy>,
) -> Vec<Option<Lent>> {
    let is_open = |position: usize| {
        u16::try_from(position).is_ok_and(|position| lease.open.binary_search(&position).is_ok())
    };
    let lent = expand(&lease.runs).enumerate();
    lent.map(|(position, lent)| {
        is_open(position).then(|| Lent {
            policy: policy_of(&lent),
            ..lent
        })
    })
    .collect()
}
