//! The gauges of agents: how many are connected here, and what they hold, by pool.
//!
//! Read from this replica's memory with each heartbeat interval; the store is not asked, so that the figures of all
//! replicas add up to the whole. A pool whose last agent has left is shown as 0.

use std::collections::HashMap;

use metrics::{Gauge, describe_gauge, gauge};
use sidehook_core::{id::TenantId, pool::Pool};

const CONNECTED: &str = "sidehook_agents_connected";
const LEASED: &str = "sidehook_deliveries_leased";

/// What the agents of one pool come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reading {
    connected: u32,
    leased: u64,
}

/// The gauges of the pools that have or had agents here.
pub(crate) struct Readings(HashMap<Pool, (Gauge, Gauge)>);

impl Readings {
    pub(crate) fn new() -> Self {
        describe_gauge!(
            CONNECTED,
            "Sessions of agents that are connected to this server, by pool"
        );
        describe_gauge!(
            LEASED,
            "Deliveries in the hands of agents that are connected to this server, by pool"
        );
        Self(HashMap::new())
    }

    /// Shows the sessions that there are now: each with its pool and the deliveries that its agent holds.
    pub(crate) fn show<'a>(&mut self, sessions: impl Iterator<Item = (&'a Pool, u32)>) {
        let now = tally(sessions);
        for pool in now.keys() {
            if !self.0.contains_key(*pool) {
                self.0.insert((*pool).clone(), gauges(pool));
            }
        }
        for (pool, (connected, leased)) in &self.0 {
            let reading = now.get(pool).copied().unwrap_or_default();
            connected.set(f64::from(reading.connected));
            leased.set(reading.leased as f64);
        }
        self.0.retain(|pool, _| now.contains_key(pool));
    }
}

fn gauges(pool: &Pool) -> (Gauge, Gauge) {
    let owner = if pool.owner == TenantId::PLATFORM {
        "platform".to_owned()
    } else {
        pool.owner.to_string()
    };
    let labels = [("owner", owner), ("pool", pool.name.clone())];
    (gauge!(CONNECTED, &labels), gauge!(LEASED, &labels))
}

fn tally<'a>(sessions: impl Iterator<Item = (&'a Pool, u32)>) -> HashMap<&'a Pool, Reading> {
    let mut readings: HashMap<&Pool, Reading> = HashMap::new();
    for (pool, leased) in sessions {
        let reading = readings.entry(pool).or_default();
        reading.connected += 1;
        reading.leased += u64::from(leased);
    }
    readings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(owner: u128, name: &str) -> Pool {
        Pool {
            owner: TenantId::from_bits(owner),
            name: name.to_owned(),
        }
    }

    #[test]
    fn pools_of_the_same_name_are_told_apart() {
        let (ours, theirs) = (pool(1, "default"), pool(2, "default"));
        let sessions = [(&ours, 3), (&theirs, 0), (&ours, 4)];
        let readings = tally(sessions.into_iter());
        let reading = |connected, leased| Some(Reading { connected, leased });
        assert_eq!(readings.get(&ours).copied(), reading(2, 7));
        assert_eq!(readings.get(&theirs).copied(), reading(1, 0));
    }

    #[test]
    fn a_pool_without_agents_is_shown_once_more_and_forgotten() {
        let (ours, theirs) = (pool(1, "a"), pool(1, "b"));
        let mut shown = Readings::new();
        shown.show([(&ours, 1), (&theirs, 1)].into_iter());
        assert_eq!(shown.0.len(), 2);
        shown.show([(&theirs, 1)].into_iter());
        assert_eq!(shown.0.keys().collect::<Vec<_>>(), [&theirs]);
    }
}
