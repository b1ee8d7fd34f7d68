//! From grants to Assign frames.
//!
//! Most grants find everything in memory and become frames at once, in the worker that
//! claimed them. The others (an event that another replica published, a catalog that
//! has changed) are completed beside it, so that one read holds nobody else up.
//!
//! Not everything that is lent is assigned: what lost its lease too often, what has no
//! subscription or no event any more is settled here, and what would make the frame
//! too large goes back to the head of its queue. What cannot be read now (one tenant's
//! catalog, one segment) goes back too, but only after a moment, since it would be
//! claimed again at once; the rest of its lease is assigned. Nothing of a lease is
//! forgotten.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
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
    read::{Lease, Segment},
    turn::{Grant, Run},
};

use crate::{
    agents::Session,
    board::{Answer, Reservation, Tally},
    catalog::Compiled,
    engine::{Complaint, Shared},
    outcomes::{self, Reject},
    segments::Events,
};

mod frame;

/// A grant that is lost with its task runs out by time, and is lent again.
const FETCH: TaskKind = TaskKind::new("fetch_events", OnPanic::Log).background();

/// What is held back by a task that is lost runs out by time, and is lent again.
const HOLD: TaskKind = TaskKind::new("hold_back", OnPanic::Log).background();
/// How long deliveries stay lent that cannot be made now.
const HELD_BACK: Duration = Duration::from_secs(1);

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

/// What grants need beside themselves; `None` is what cannot be read.
#[derive(Debug, Default)]
pub(crate) struct Supplies {
    catalogs: HashMap<TenantId, Option<Arc<Compiled>>>,
    segments: HashMap<SegmentId, Option<Events>>,
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
            supplies.catalogs.insert(*tenant, Some(compiled));
        }
    }
    {
        let cache = shared.segments.lock();
        for run in granted.iter().flat_map(|granted| &granted.grant.runs) {
            if !supplies.segments.contains_key(&run.segment)
                && let Some(events) = cache.get(run.segment)
            {
                supplies.segments.insert(run.segment, Some(events));
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
                tracing::debug!(%error, "leases ran out before what they need was read");
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

/// Reads what is lacking, and notes what cannot be read.
///
/// # Errors
/// The store is away.
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
            let read = match versions.get(&tenant) {
                Some(version) => shared.catalogs.at(tenant, *version).await,
                None => shared.catalogs.fresh(tenant).await,
            };
            vacant.insert(readable(shared, Complaint::Catalog(tenant), read)?);
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
    for (id, segment) in read_segments(shared, &lacking).await? {
        let events = segment.map(|segment| events_of(shared, segment));
        if let Some(events) = &events {
            shared.segments.lock().insert(id, Arc::clone(events));
        }
        supplies.segments.insert(id, events);
    }
    Ok(())
}

/// Reads segments: all at once, or, if one of them spoils that, each by itself. A
/// segment that is gone is empty; `None` is one that cannot be read.
async fn read_segments(
    shared: &Shared,
    ids: &[SegmentId],
) -> Result<Vec<(SegmentId, Option<Vec<Bytes>>)>, StoreError> {
    let records = |found: Option<Segment>| found.map(|it| it.records).unwrap_or_default();
    match shared.store.segments(ids).await {
        Err(StoreError::Corrupt { .. }) => {}
        found => {
            let found = found?.into_iter().map(|one| Some(records(one)));
            return Ok(ids.iter().copied().zip(found).collect());
        }
    }
    let mut each = Vec::with_capacity(ids.len());
    for id in ids {
        let found = shared.store.segments(std::slice::from_ref(id)).await;
        let found = readable(shared, Complaint::Segment, found)?;
        each.push((*id, found.map(|mut found| records(found.pop().flatten()))));
    }
    Ok(each)
}

/// The events of records as agents receive them. One that cannot be read stays empty.
fn events_of(shared: &Shared, records: Vec<Bytes>) -> Events {
    let event = |record| match event::decode(record) {
        Ok(stored) => stored.event,
        Err(error) => {
            shared.complain(Complaint::Event, &error);
            Bytes::new()
        }
    };
    records.into_iter().map(event).collect()
}

/// `None`, and a complaint, for what cannot be read.
fn readable<T>(
    shared: &Shared,
    complaint: Complaint,
    read: Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error @ StoreError::Corrupt { .. }) => {
            shared.complain(complaint, &error);
            Ok(None)
        }
        Err(away @ StoreError::Unavailable { .. }) => Err(away),
    }
}

/// Makes the frame, gives the board its answer and settles what is not assigned.
fn assign(shared: &Arc<Shared>, granted: Granted, supplies: &Supplies) {
    let Some(session) = shared.sessions.get(granted.reservation.session) else {
        put_back(shared, granted);
        return;
    };
    let lease = LeaseRef {
        id: granted.grant.lease.0,
        token: granted.token,
    };
    let (assigned, waiting, rejects) = {
        let mut end = session.end.lock();
        if end.is_closed() {
            drop(end);
            put_back(shared, granted);
            return;
        }
        if session.outbox.is_full() {
            drop(end);
            hold_back(shared, granted);
            return;
        }
        let settings = &mut end.settings;
        let made = frame::make(&granted, lease, supplies, settings, shared.clock.now());
        let mut answer = Answer::default();
        for lent in made.positions.iter().flatten() {
            answer.assigned.add(lent.tenant, 1, lent.bytes.into());
        }
        for (_, lent, _) in &made.rejects {
            answer.kept_back.add(lent.tenant, 1, 0);
        }
        let assigned = answer.assigned.deliveries();
        // Before the agent can report any of it.
        let waiting = shared.board.lock().answered(&granted.reservation, &answer);
        if assigned > 0 {
            end.assign(lease, made.positions);
            session.outbox.push(made.frame);
        }
        (assigned, waiting, made.rejects)
    };
    shared.wake(waiting);
    shared.metrics.assigned.increment(assigned.into());
    settle_rejects(shared, &session, lease, rejects);
}

/// Gives a whole grant back after a moment. Its agent takes too slowly what it is sent:
/// until then its credit stays taken too, or the same would be claimed for it again.
fn hold_back(shared: &Arc<Shared>, granted: Granted) {
    let shared = Arc::clone(shared);
    shared.tasks.clone().spawn(HOLD, async move {
        tokio::time::sleep(HELD_BACK).await;
        put_back(&shared, granted);
    });
}

/// Gives a whole grant back.
fn put_back(shared: &Shared, granted: Granted) {
    let answer = Answer {
        assigned: Tally::default(),
        kept_back: tally(Some(&granted.grant)),
    };
    let waiting = shared.board.lock().answered(&granted.reservation, &answer);
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
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    lease: LeaseRef,
    rejects: Vec<(u16, Lent, Reject)>,
) {
    let (held, rejects): (Vec<_>, Vec<_>) = rejects
        .into_iter()
        .partition(|(.., reject)| *reject == Reject::HoldBack);
    if !rejects.is_empty() {
        outcomes::reject(shared, Some(session), lease, rejects);
    }
    if !held.is_empty() {
        let (shared, session) = (Arc::clone(shared), Arc::clone(session));
        shared.tasks.clone().spawn(HOLD, async move {
            tokio::time::sleep(HELD_BACK).await;
            outcomes::reject(&shared, Some(&session), lease, held);
        });
    }
}

/// A grant's deliveries, by tenant.
pub(crate) fn tally(grant: Option<&Grant>) -> Tally {
    let mut tally = Tally::default();
    for run in grant.iter().flat_map(|grant| &grant.runs) {
        let count = u32::try_from(run.indices.len()).unwrap_or(u32::MAX);
        tally.add(run.tenant, count, 0);
    }
    tally
}

/// The deliveries of runs, in the order of their positions, without what only their
/// events and subscriptions tell: their bytes, times and policies.
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
            accepted_at: None,
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
