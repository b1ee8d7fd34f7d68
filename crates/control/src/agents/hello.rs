//! The beginning of a session: who the agent is, and what it still has.
//!
//! The agent's identity is derived from its token's and from the id that it names, so
//! that nobody can name an agent of another token. Held leases are read from the store
//! before anything else: whichever replica lent them, their outcomes are taken here.
//! Closed sessions give back what the agent does not list; what it lists stays. Since
//! that takes the store's time, a session can be closed by a newer Hello from its
//! beginning on.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

use sha2::{Digest as _, Sha256};
use sidehook_api::agent_v1::{Hello, Welcome};
use sidehook_core::{
    address::SegmentId,
    id::{AgentId, TenantId},
    limits::{AGENT_CAPACITY_BYTES_MAX, AGENT_CAPACITY_MAX, CALL_RECORDS, CLOSED_SESSIONS_MAX},
    pool::Pool,
    principal::{Principal, Role},
    retry::RetryPolicy,
    text::is_plain,
};
use sidehook_session::server_end::{Credit, LeaseRef, Lent};
use sidehook_store::{
    StoreError,
    read::Lease,
    turn::{Holder, LeaseId},
};
use tonic::Status;

use super::{
    outbox::Outbox,
    session::{Profile, Registered, Session},
};
use crate::{catalog::Compiled, engine::Shared, errors::OperationError, leases};

/// The protocol's version.
const PROTOCOL: u32 = 1;
/// Bytes of an agent's name and version.
const PROFILE_BYTES: usize = 200;

/// A session that may begin.
pub(super) struct Accepted<'a> {
    /// The session.
    pub(super) registered: Registered<'a>,
    /// What it may be given.
    pub(super) credit: Credit,
    /// The first frame to send.
    pub(super) welcome: Welcome,
}

/// Who calls, as an agent: the pool that its token is for.
pub(super) fn pool_of(principal: &Principal) -> Result<Pool, Status> {
    match &principal.role {
        Role::Agent(pool) => Ok(pool.clone()),
        _ => Err(Status::permission_denied(
            "only an agent's token may connect here",
        )),
    }
}

/// The identity of the agent that this token's bearer calls `id`.
pub(super) fn identity(principal: &Principal, id: &[u8]) -> AgentId {
    let mut hash = Sha256::new();
    hash.update(b"sidehook agent\0");
    hash.update(principal.tenant.to_bytes());
    // The length keeps a subject and an id from running into each other.
    hash.update((principal.subject.len() as u64).to_be_bytes());
    hash.update(principal.subject.as_bytes());
    hash.update(id);
    let digest = hash.finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    AgentId::from_bits(u128::from_be_bytes(half))
}

/// Prepares a session for an agent that said this.
pub(super) async fn accept<'a>(
    shared: &'a Shared,
    principal: &Principal,
    hello: Hello,
    stamp: u64,
    outbox: Arc<Outbox>,
) -> Result<Accepted<'a>, Status> {
    let pool = pool_of(principal)?;
    check(&hello)?;
    let agent = identity(principal, &hello.agent_id);
    let closed: HashSet<u64> = hello.closed_session_ids.iter().copied().collect();
    let closed = closed.into_iter().filter(|one| *one != hello.session_id);
    let closed: Vec<Holder> = closed.map(|session| Holder { agent, session }).collect();
    shared.sessions.close(&closed);

    let now = shared.clock.now();
    let (capacity, capacity_bytes) = capacities(&hello);
    let profile = Profile {
        name: hello.name,
        version: hello.version,
        capacity,
        connected_at: now,
    };
    let holder = Holder {
        agent,
        session: hello.session_id,
    };
    let key = shared.sessions.next_key();
    outbox.expect(capacity, capacity_bytes);
    let session = Arc::new(Session::new(key, holder, pool, profile, outbox));
    session.heard(stamp, now);
    let registered = shared.sessions.register(Arc::clone(&session));

    let held: Vec<Option<LeaseRef>> = hello
        .held_leases
        .iter()
        .map(|lease| LeaseRef::from_slice(lease))
        .collect();
    let known: Vec<LeaseRef> = held.iter().flatten().copied().collect();
    let adopted = adopt(shared, &session, &known).await;
    let alive = adopted.map_err(OperationError::from)?;
    let listed = hello.held_leases.iter().zip(held);
    let dead = listed.filter(|(_, lease)| lease.is_none_or(|lease| !alive.contains(&lease.id)));
    let dead_leases = dead.map(|(bytes, _)| bytes.clone()).collect();

    let keep: Vec<LeaseId> = alive.into_iter().map(LeaseId).collect();
    match shared.store.release(&closed, &keep).await {
        Ok(0) => {}
        Ok(released) => {
            tracing::info!(%agent, released, "deliveries of closed sessions are back in their queues");
        }
        // A part of the store that is away concerns its own leases: they run out.
        Err(StoreError::Unavailable { detail, .. }) => {
            tracing::warn!(%agent, detail, "not all leases of closed sessions could be given back");
        }
        Err(error) => return Err(OperationError::from(error).into()),
    }
    let millis = |time: std::time::Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    Ok(Accepted {
        credit: Credit::new(capacity, capacity_bytes, hello.held_deliveries),
        welcome: Welcome {
            lease_ms: millis(shared.config.lease),
            heartbeat_ms: millis(shared.config.heartbeat),
            dead_leases,
            agent_id: agent.to_bytes().to_vec().into(),
        },
        registered,
    })
}

/// Deliveries and bytes that the agent takes, whatever it says.
fn capacities(hello: &Hello) -> (u32, u64) {
    let bytes = hello.capacity_bytes.min(AGENT_CAPACITY_BYTES_MAX);
    (hello.capacity.min(AGENT_CAPACITY_MAX), bytes)
}

fn check(hello: &Hello) -> Result<(), Status> {
    if hello.protocol != PROTOCOL {
        let text = format!(
            "protocol {} is not spoken here, only {PROTOCOL}: install an agent of a matching version",
            hello.protocol
        );
        return Err(Status::failed_precondition(text));
    }
    let wrong = [
        (hello.agent_id.len() != 16, "agent_id must have 16 bytes"),
        (
            hello.closed_session_ids.len() > CLOSED_SESSIONS_MAX,
            "too many closed_session_ids",
        ),
        (
            hello.held_leases.len() > AGENT_CAPACITY_MAX as usize,
            "too many held_leases",
        ),
        (hello.name.len() > PROFILE_BYTES, "name is too long"),
        (hello.version.len() > PROFILE_BYTES, "version is too long"),
        (!is_plain(&hello.name), "name is not plain text"),
        (!is_plain(&hello.version), "version is not plain text"),
    ];
    match wrong.into_iter().find(|(wrong, _)| *wrong) {
        Some((_, text)) => Err(Status::invalid_argument(format!("Hello: {text}"))),
        None => Ok(()),
    }
}

/// Takes over what of these leases is open and this agent's. Answers which are.
async fn adopt(
    shared: &Shared,
    session: &Session,
    held: &[LeaseRef],
) -> Result<HashSet<SegmentId>, StoreError> {
    let mut ours: Vec<(LeaseRef, Lease)> = Vec::new();
    for held in held.chunks(CALL_RECORDS) {
        let ids: Vec<LeaseId> = held.iter().map(|lease| LeaseId(lease.id)).collect();
        let leases = shared.store.leases(&ids).await?;
        let open = held.iter().zip(leases);
        ours.extend(open.filter_map(|(wanted, lease)| {
            let is_ours = |lease: &Lease| {
                lease.token == wanted.token && lease.holder.agent == session.holder.agent
            };
            Some((*wanted, lease.filter(is_ours)?))
        }));
    }
    let mut catalogs: HashMap<TenantId, Option<Arc<Compiled>>> = HashMap::new();
    for run in ours.iter().flat_map(|(_, lease)| &lease.runs) {
        if let Entry::Vacant(vacant) = catalogs.entry(run.tenant) {
            vacant.insert(match shared.catalogs.fresh(run.tenant).await {
                Ok(compiled) => Some(compiled),
                // One tenant's affair: the agent works for others as well.
                Err(StoreError::Corrupt { .. }) => None,
                Err(away @ StoreError::Unavailable { .. }) => return Err(away),
            });
        }
    }
    let policy_of = |lent: &Lent| match catalogs.get(&lent.tenant) {
        Some(Some(compiled)) => {
            let number = &lent.subscription;
            let readable = compiled.subscriptions.get(number);
            let readable = readable.map(|it| it.subscription.retry_policy);
            let unreadable = compiled.unreadable.contains_key(number);
            readable.or(unreadable.then_some(RetryPolicy::PATIENT))
        }
        _ => Some(RetryPolicy::PATIENT),
    };
    let mut end = session.end.lock();
    for (lease, open) in &ours {
        end.assign(*lease, leases::open_positions(open, policy_of));
    }
    Ok(ours.into_iter().map(|(lease, _)| lease.id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_given_no_more_than_the_limits_however_much_it_takes() {
        let hello = Hello {
            capacity: u32::MAX,
            capacity_bytes: u64::MAX,
            ..Hello::default()
        };
        let most = (AGENT_CAPACITY_MAX, AGENT_CAPACITY_BYTES_MAX);
        assert_eq!(capacities(&hello), most);
    }

    #[test]
    fn what_an_agent_is_called_is_plain_text() {
        let hello = |name: &str, version: &str| Hello {
            protocol: PROTOCOL,
            agent_id: vec![0; 16].into(),
            name: name.to_owned(),
            version: version.to_owned(),
            ..Hello::default()
        };
        assert!(check(&hello("größer", "0.1.0")).is_ok());
        for (name, version) in [("a\nb", ""), ("a\u{202e}b", ""), ("", "1\u{2066}")] {
            assert!(
                check(&hello(name, version)).is_err(),
                "{name:?} {version:?}"
            );
        }
    }
}
