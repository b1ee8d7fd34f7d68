//! Agents' presence: a record per agent, renewed with every heartbeat interval.
//!
//! The record is for people and for the admin service; nothing is decided by it. An
//! agent that dies without a word grows old in it, until it has not been heard of for
//! `AGENT_RECORD_AGE` and the record goes: every replica walks through all records for
//! ever, a few with each heartbeat. An agent that comes back at the very moment in
//! which its old record is removed is absent until its next heartbeat.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use sidehook_api::registry::Presence;
use sidehook_core::{limits::AGENT_RECORD_AGE, time::Timestamp};
use sidehook_store::{Store, StoreError, registry::Kind};

use crate::{
    agents::{Readings, Session},
    engine::Shared,
};

/// Records written at one time.
const AT_ONCE: usize = 8;
/// Records whose age is looked at with each heartbeat.
const LOOKED_AT: usize = 100;

/// Renews the records of all agents that are connected here, shows their figures, and
/// removes the records of agents that are long gone, for ever.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let mut beats = tokio::time::interval(shared.config.heartbeat.max(Duration::from_millis(100)));
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut after = Vec::new();
    let mut readings = Readings::new();
    loop {
        beats.tick().await;
        let sessions = shared.sessions.all();
        show(&shared, &sessions, &mut readings);
        let writes = stream::iter(sessions).map(|session| {
            let shared = Arc::clone(&shared);
            async move { write(&shared, &session, false).await }
        });
        writes.buffer_unordered(AT_ONCE).collect::<()>().await;
        match forget(&*shared.store, shared.clock.now(), &after).await {
            Ok(next) => after = next,
            Err(error) => tracing::debug!(%error, "old presence could not be removed"),
        }
    }
}

fn show(shared: &Shared, sessions: &[Arc<Session>], readings: &mut Readings) {
    let board = shared.board.lock();
    let held = sessions.iter();
    readings.show(held.map(|session| (&session.pool, board.in_flight(session.key))));
}

/// Removes what is too old among the next records after `after`, and says where the
/// next pass goes on.
async fn forget(store: &dyn Store, now: Timestamp, after: &[u8]) -> Result<Vec<u8>, StoreError> {
    let page = store.registry_list(Kind::Agent, after, LOOKED_AT).await?;
    let last = page.entries.last().filter(|_| page.more);
    let next = last.map_or_else(Vec::new, |last| last.key.to_vec());
    for entry in page.entries {
        // What cannot be read was written by a later version: its affair.
        let Ok(agent) = Presence::decode(entry.value) else {
            continue;
        };
        if now.since(agent.last_seen_at) > AGENT_RECORD_AGE {
            store.registry_put(Kind::Agent, &entry.key, None).await?;
            tracing::debug!(agent = %agent.agent_id, "an agent that is long gone is forgotten");
        }
    }
    Ok(next)
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sidehook_core::{
        id::{AgentId, TenantId},
        pool::Pool,
    };
    use sidehook_store::model::Model;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const AGE_MS: i64 = 7 * 24 * 3_600_000;

    fn presence(bits: u128, last_seen_at: Timestamp) -> Presence {
        Presence {
            agent_id: AgentId::from_bits(bits),
            name: "a".to_owned(),
            version: "1".to_owned(),
            pool: Pool {
                owner: TenantId::PLATFORM,
                name: "default".to_owned(),
            },
            connected_at: last_seen_at,
            last_seen_at,
            in_flight: 0,
            capacity: 1,
            draining: false,
            offline: false,
        }
    }

    async fn keep(store: &Model, key: &[u8], record: Bytes) {
        let put = store.registry_put(Kind::Agent, key, Some(record)).await;
        put.expect("the model is there");
    }

    async fn kept(store: &Model) -> Vec<Vec<u8>> {
        let page = store.registry_list(Kind::Agent, &[], 1_000).await;
        let entries = page.expect("the model is there").entries;
        entries.iter().map(|entry| entry.key.to_vec()).collect()
    }

    #[tokio::test]
    async fn an_agent_is_forgotten_once_it_is_older_than_the_limit() {
        let store = Model::new();
        let mut keys = Vec::new();
        for (bits, age_ms) in [(1, 0), (2, AGE_MS), (3, AGE_MS + 1), (4, -5_000)] {
            let seen = Timestamp::from_millis(NOW.as_millis() - age_ms);
            let presence = presence(bits, seen);
            let key = presence.agent_id.to_bytes();
            keep(&store, &key, presence.encode()).await;
            keys.push(key.to_vec());
        }
        let unreadable = vec![0xff; 16];
        keep(&store, &unreadable, Bytes::from_static(&[0xff])).await;
        keys.push(unreadable);
        let next = forget(&store, NOW, &[]).await;
        assert_eq!(next, Ok(vec![]), "all were looked at: begin anew");
        keys.remove(2);
        assert_eq!(kept(&store).await, keys);
        let later = Timestamp::from_millis(NOW.as_millis() + 1);
        forget(&store, later, &[])
            .await
            .expect("the model is there");
        keys.remove(1);
        assert_eq!(kept(&store).await, keys);
    }

    #[tokio::test]
    async fn each_pass_looks_at_some_and_the_passes_reach_all() {
        let store = Model::new();
        let count = LOOKED_AT * 2 + 50;
        for number in 0..count {
            // Every other one is gone, so that passes cannot live on a shrinking list.
            let age_ms = i64::from(number % 2 == 0) * 2 * AGE_MS;
            let seen = Timestamp::from_millis(NOW.as_millis() - age_ms);
            let presence = presence(number as u128, seen);
            keep(&store, &presence.agent_id.to_bytes(), presence.encode()).await;
        }
        let mut after = Vec::new();
        for left in [count - 50, count - 100, count / 2] {
            after = forget(&store, NOW, &after)
                .await
                .expect("the model is there");
            assert_eq!(kept(&store).await.len(), left);
        }
        assert_eq!(after, Vec::<u8>::new());
    }
}
