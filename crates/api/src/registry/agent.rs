//! Agents' presence.

use core::time::Duration;

use bytes::Bytes;
use sidehook_core::{
    id::{AgentId, TenantId},
    pool::Pool,
    time::Timestamp,
};

use crate::{
    record::{decode, encode},
    record_error::CorruptRecord,
    record_v1,
    time::timestamp,
    v1,
};

/// An agent, as it was last heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The agent.
    pub agent_id: AgentId,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The pool that it serves.
    pub pool: Pool,
    /// When it connected.
    pub connected_at: Timestamp,
    /// When it was last heard of.
    pub last_seen_at: Timestamp,
    /// Deliveries in flight.
    pub in_flight: u32,
    /// Deliveries that it takes.
    pub capacity: u32,
    /// Whether it is draining.
    pub draining: bool,
    /// Whether it said goodbye.
    pub offline: bool,
}

impl Presence {
    /// How the agent is at `now`, if one that was silent for `silence` counts as gone.
    #[must_use]
    pub fn state(&self, now: Timestamp, silence: Duration) -> v1::AgentState {
        if self.offline || now.since(self.last_seen_at) > silence {
            v1::AgentState::Offline
        } else if self.draining {
            v1::AgentState::Draining
        } else {
            v1::AgentState::Online
        }
    }

    /// The agent as the API shows it; see [`state`](Self::state).
    #[must_use]
    pub fn to_proto(&self, now: Timestamp, silence: Duration) -> v1::Agent {
        v1::Agent {
            id: self.agent_id.to_string(),
            name: self.name.clone(),
            pool: self.pool.display_name(),
            version: self.version.clone(),
            state: self.state(now, silence).into(),
            connected_at: Some(timestamp(self.connected_at)),
            last_seen_at: Some(timestamp(self.last_seen_at)),
            in_flight: self.in_flight,
            capacity: self.capacity,
        }
    }

    /// Encodes it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let record = record_v1::AgentRecord {
            agent_id: Bytes::copy_from_slice(&self.agent_id.to_bytes()),
            name: self.name.clone(),
            version: self.version.clone(),
            pool_owner: Bytes::copy_from_slice(&self.pool.owner.to_bytes()),
            pool: self.pool.name.clone(),
            connected_at_ms: self.connected_at.as_millis(),
            last_seen_at_ms: self.last_seen_at.as_millis(),
            in_flight: self.in_flight,
            capacity: self.capacity,
            draining: self.draining,
            offline: self.offline,
            ..Default::default()
        };
        encode(&record)
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn decode(record: Bytes) -> Result<Self, CorruptRecord> {
        let corrupt = |detail: &str| CorruptRecord::new("agent", detail);
        let record: record_v1::AgentRecord = decode("agent", record)?;
        let owner =
            TenantId::from_slice(&record.pool_owner).ok_or_else(|| corrupt("pool_owner"))?;
        Ok(Self {
            agent_id: AgentId::from_slice(&record.agent_id).ok_or_else(|| corrupt("agent_id"))?,
            name: record.name,
            version: record.version,
            pool: Pool {
                owner,
                name: record.pool,
            },
            connected_at: Timestamp::from_millis(record.connected_at_ms),
            last_seen_at: Timestamp::from_millis(record.last_seen_at_ms),
            in_flight: record.in_flight,
            capacity: record.capacity,
            draining: record.draining,
            offline: record.offline,
        })
    }
}
