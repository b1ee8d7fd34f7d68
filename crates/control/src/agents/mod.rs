//! The agents' side: [`AgentService`] and what stands behind one stream of it.
//!
//! A session is one task that reads. What it reads it hands on: outcomes to be
//! settled, credit to the board. What goes to the agent is put into the session's
//! `outbox` by whoever has it, most of it by the turn workers. So nothing here waits
//! for the store but Hello and Renew, and Renew does so beside the reading.

mod hello;
mod outbox;
mod readings;
mod session;

pub use outbox::Outgoing;
pub(crate) use readings::Readings;
pub(crate) use session::{Session, Sessions, Ticket};

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{
    FutureExt as _, Stream, StreamExt as _, TryStreamExt as _,
    future::{BoxFuture, join_all},
    stream::FuturesUnordered,
};
use sidehook_api::agent_v1::{
    ConnectRequest, Drain, GoAway, Renew, Renewed, agent_service_server::AgentService,
    connect_request, connect_response::Frame,
};
use sidehook_core::{address::Partition, limits::CALL_RECORDS, principal::Principal};
use sidehook_runtime::tasks::{OnPanic, TaskKind};
use sidehook_session::server_end::LeaseRef;
use sidehook_store::turn::LeaseId;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use self::{hello::Accepted, outbox::Outbox};
use crate::{auth, board::Tally, engine::Shared, errors::behind, outcomes, presence};

/// The panic of one session's reader ends that session, which the agent notices.
const SESSION: TaskKind = TaskKind::new("agent_session", OnPanic::Log);

/// How long an agent may take to say Hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// Renewals of one session that may wait for the store.
const RENEWALS: usize = 64;
/// Heartbeats that an agent may miss.
const MISSED_HEARTBEATS: u32 = 4;
/// How long a session that ends waits for its outcomes to be settled.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

/// What agents connect to.
#[derive(Clone)]
pub struct AgentGate(Arc<Shared>);

impl std::fmt::Debug for AgentGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AgentGate")
    }
}

impl AgentGate {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Serves one stream of an agent: what it sends comes in as `incoming`, what it is
    /// sent comes out of the result. `lost` resolves when its credential no longer
    /// holds.
    pub fn serve<I>(
        &self,
        principal: Arc<Principal>,
        incoming: I,
        lost: BoxFuture<'static, Status>,
    ) -> Outgoing
    where
        I: Stream<Item = Result<ConnectRequest, Status>> + Send + 'static,
    {
        let outbox = Arc::new(Outbox::default());
        let outgoing = Outgoing(Arc::clone(&outbox));
        let shared = Arc::clone(&self.0);
        self.0.tasks.spawn(SESSION, async move {
            let over = serve(&shared, &principal, incoming, lost, &outbox).await;
            outbox.finish(over.err());
        });
        outgoing
    }
}

#[tonic::async_trait]
impl AgentService for AgentGate {
    type ConnectStream = Outgoing;

    async fn connect(
        &self,
        request: Request<Streaming<ConnectRequest>>,
    ) -> Result<Response<Outgoing>, Status> {
        let principal = Arc::clone(auth::principal(&request)?);
        hello::pool_of(&principal)?;
        if self.0.tasks.drain().is_draining() {
            return Err(Status::unavailable("this replica is going away"));
        }
        let standing = auth::standing(&request)?;
        let lost = async move { standing.lost().await.into() }.boxed();
        Ok(Response::new(self.serve(
            principal,
            request.into_inner(),
            lost,
        )))
    }
}

async fn serve<I>(
    shared: &Arc<Shared>,
    principal: &Principal,
    incoming: I,
    lost: BoxFuture<'static, Status>,
    outbox: &Arc<Outbox>,
) -> Result<(), Status>
where
    I: Stream<Item = Result<ConnectRequest, Status>> + Send,
{
    // A frame that cannot be read is the agent's fault, which tonic says otherwise.
    let refused = |status: Status| behind(&status).map_or(status, Status::from);
    let mut incoming = pin!(incoming.map_err(refused));
    let first = tokio::time::timeout(HELLO_WITHIN, incoming.next()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no Hello came"))?;
    let Some(first) = first.transpose()? else {
        return Ok(());
    };
    let Some(connect_request::Frame::Hello(hello)) = first.frame else {
        return Err(Status::invalid_argument("the first frame must be Hello"));
    };
    let accepted = hello::accept(shared, principal, hello, first.stamp, Arc::clone(outbox)).await;
    let Accepted {
        registered,
        credit,
        welcome,
    } = accepted?;
    let session = Arc::clone(&registered.session);
    outbox.push(Frame::Welcome(welcome));
    let held = held_by(&session);
    let due = shared
        .board
        .lock()
        .join(session.key, &session.pool, credit, &held);
    shared.wake(due);
    tracing::info!(agent = %session.holder.agent, pool = session.pool.name, name = session.profile.name, "an agent connected");
    let reading = async {
        let over = read(shared, &session, incoming, lost).await;
        // At once, whatever presence waits for: nothing more is to be claimed for it.
        shared.board.lock().leave(session.key);
        drop(registered);
        over
    };
    let (over, ()) = tokio::join!(reading, presence::write(shared, &session, false));

    // What was reported is settled whether or not anybody waits; a drain does.
    if shared.tasks.drain().is_draining() {
        let _ = tokio::time::timeout(SETTLE_WITHIN, session.all_settled()).await;
    }
    outbox.finish(over.clone().err());
    tracing::info!(agent = %session.holder.agent, "an agent's session ended");
    let agent = session.holder.agent;
    if !shared
        .sessions
        .all()
        .iter()
        .any(|other| other.holder.agent == agent)
    {
        presence::write(shared, &session, true).await;
    }
    over
}

/// What of each tenant is in a session's hands.
fn held_by(session: &Session) -> Tally {
    let mut held = Tally::default();
    for lent in session.end.lock().lent() {
        held.add(lent.tenant, 1, lent.bytes.into());
    }
    held
}

/// Reads until one of the ends is over.
async fn read<I>(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    mut incoming: std::pin::Pin<&mut I>,
    mut lost: BoxFuture<'static, Status>,
) -> Result<(), Status>
where
    I: Stream<Item = Result<ConnectRequest, Status>> + Send,
{
    let drain = shared.tasks.drain();
    let mut renewals = FuturesUnordered::new();
    let mut deadline: Option<Instant> = None;
    let silence = shared.config.heartbeat.max(Duration::from_millis(50)) * MISSED_HEARTBEATS;
    let mut heard = Instant::now();
    let mut watch = tokio::time::interval(silence / MISSED_HEARTBEATS);
    loop {
        tokio::select! {
            frame = incoming.next(), if renewals.len() < RENEWALS => {
                let Some(frame) = frame else { return Ok(()) };
                heard = Instant::now();
                if let Some(renewal) = apply(shared, session, frame?)? {
                    renewals.push(renewal);
                }
            }
            Some(()) = renewals.next(), if !renewals.is_empty() => {}
            () = session.outbox.gone() => return Ok(()),
            () = session.closed.cancelled() => {
                return Err(Status::aborted("a newer session of this agent closed this one"));
            }
            status = &mut lost => return Err(status),
            _ = watch.tick() => {
                if heard.elapsed() > silence {
                    return Err(Status::deadline_exceeded("the agent fell silent"));
                }
                if !session.outbox.is_read() {
                    return Err(Status::resource_exhausted("the agent does not read"));
                }
            }
            () = drain.draining(), if deadline.is_none() => {
                deadline = Some(Instant::now() + shared.config.drain);
                send_off(shared, session);
            }
            () = tokio::time::sleep_until(deadline.unwrap_or(heard)), if deadline.is_some() => {
                let reason = "this replica is going away".to_owned();
                session.outbox.push(Frame::GoAway(GoAway { reason }));
                return Ok(());
            }
        }
    }
}

fn send_off(shared: &Shared, session: &Session) {
    shared.board.lock().stop_session(session.key);
    let deadline_ms = u32::try_from(shared.config.drain.as_millis()).unwrap_or(u32::MAX);
    session.outbox.push(Frame::Drain(Drain {
        deadline_ms,
        // Spread, so that a replica's agents do not arrive at the others in one moment.
        reconnect_after_ms: rand::random_range(0..1_000),
    }));
}

/// What one frame means. Answers what has to be waited for.
fn apply(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    request: ConnectRequest,
) -> Result<Option<BoxFuture<'static, ()>>, Status> {
    session.heard(request.stamp, shared.clock.now());
    match request.frame {
        Some(connect_request::Frame::Outcomes(outcomes)) => {
            outcomes::receive(shared, session, outcomes)?;
        }
        Some(connect_request::Frame::Renew(renewal)) => {
            let (shared, session) = (Arc::clone(shared), Arc::clone(session));
            let renewal = async move { renew(&shared, &session, renewal, request.stamp).await };
            return Ok(Some(renewal.boxed()));
        }
        Some(connect_request::Frame::Heartbeat(beat)) => {
            session.outbox.push(Frame::Heartbeat(beat));
        }
        Some(connect_request::Frame::Draining(_)) => {
            session.set_draining();
            shared.board.lock().stop_session(session.key);
        }
        Some(connect_request::Frame::Hello(_)) => {
            return Err(Status::invalid_argument("Hello came twice"));
        }
        // A frame of a later version: what it asks for it will not get.
        None => {}
    }
    Ok(None)
}

/// Whether each of these leases holds for another term; `None` where a part of the
/// store is away. That is asked again part by part: the others are not to run out for it.
async fn renewed(shared: &Shared, leases: &[(LeaseId, u128)]) -> Vec<Option<bool>> {
    let term = shared.config.lease;
    if let Ok(all) = shared.store.renew(None, leases, term).await {
        return all.into_iter().map(Some).collect();
    }
    let mut parts: HashMap<Partition, Vec<(LeaseId, u128)>> = HashMap::new();
    for lease in leases {
        parts.entry(lease.0.0.partition).or_default().push(*lease);
    }
    let asked = parts.into_values().map(|part| async move {
        let holds = shared.store.renew(None, &part, term).await;
        let holds = holds
            .inspect_err(|error| tracing::debug!(%error, "leases could not be renewed"))
            .unwrap_or_default();
        part.into_iter().map(|lease| lease.0).zip(holds)
    });
    let holds: HashMap<LeaseId, bool> = join_all(asked).await.into_iter().flatten().collect();
    let told = leases.iter().map(|(lease, _)| holds.get(lease).copied());
    told.collect()
}

/// Asks the store for more time, for each lease once. Of leases without an answer the
/// agent hears nothing, and goes by the time that it has.
async fn renew(shared: &Shared, session: &Session, renewal: Renew, stamp: u64) {
    let (mut known, mut dead_leases) = (Vec::new(), Vec::new());
    {
        let end = session.end.lock();
        let mut named = HashSet::with_capacity(renewal.leases.len());
        for bytes in renewal.leases {
            if !named.insert(bytes.clone()) {
                continue;
            }
            match LeaseRef::from_slice(&bytes).filter(|lease| end.holds(*lease)) {
                Some(lease) => known.push((bytes, (LeaseId(lease.id), lease.token))),
                None => dead_leases.push(bytes),
            }
        }
    }
    let mut leases = Vec::with_capacity(known.len());
    for known in known.chunks(CALL_RECORDS) {
        let ids: Vec<_> = known.iter().map(|(_, lease)| *lease).collect();
        for ((bytes, _), holds) in known.iter().zip(renewed(shared, &ids).await) {
            match holds {
                Some(true) => leases.push(bytes.clone()),
                Some(false) => dead_leases.push(bytes.clone()),
                None => {}
            }
        }
    }
    session.outbox.push(Frame::Renewed(Renewed {
        stamp,
        leases,
        dead_leases,
    }));
}
