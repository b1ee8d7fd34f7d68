//! Agents' presence: a record per agent, renewed with every heartbeat interval.
//!
//! The record is for people and for the admin service; nothing is decided by it. An
//! agent that dies without a word grows old in it.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use sidehook_api::registry::Presence;
use sidehook_store::registry::Kind;

use crate::{agents::Session, engine::Shared};

/// Records written at one time.
const AT_ONCE: usize = 8;

/// Renews the records of all agents that are connected here, for ever.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let mut beats = tokio::time::interval(shared.config.heartbeat.max(Duration::from_millis(100)));
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        let writes = stream::iter(shared.sessions.all()).map(|session| {
            let shared = Arc::clone(&shared);
            async move { write(&shared, &session, false).await }
        });
        writes.buffer_unordered(AT_ONCE).collect::<()>().await;
    }
}

/// Writes one agent's record.
pub(crate) async fn write(shared: &Shared, session: &Session, offline: bool) {
    let in_flight = shared.board.lock().in_flight(session.key);
    let profile = &session.profile;
    let presence = Presence {
        agent_id: session.holder.agent,
        name: profile.name.clone(),
        version: profile.version.clone(),
        pool: session.pool.clone(),
        connected_at: profile.connected_at,
        last_seen_at: session.last_seen(),
        in_flight,
        capacity: profile.capacity,
        draining: session.is_draining(),
        offline,
    };
    let key = session.holder.agent.to_bytes();
    let record = Some(presence.encode());
    if let Err(error) = shared.store.registry_put(Kind::Agent, &key, record).await {
        tracing::debug!(%error, agent = %session.holder.agent, "presence could not be recorded");
    }
}
