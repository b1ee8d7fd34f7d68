//! Which node has which keys: hash slots, and the map of a system.
//!
//! A key's slot is that of its tag, `{sh07}` or `{shsys}`, so a partition lies on one
//! node. A system that is no Cluster has a map of one node with all slots: nothing
//! above this file knows the difference.

use redis::{Cmd, Value};

use crate::{
    address::Node,
    error::corrupt_map as corrupt,
    leases::{bytes, list},
};
use sidehook_store::StoreError;

/// Slots of a Redis Cluster.
pub(crate) const SLOTS: u16 = 16_384;

/// CRC16 as Redis Cluster has it (XMODEM).
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    })
}

/// The slot of a key: that of its tag, if it has one.
pub(crate) fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// The slot of a command; `None` if it has no key and any node will do.
pub(crate) fn slot_of(command: &Cmd) -> Option<u16> {
    let mut parts = command.args_iter().map(|part| match part {
        redis::Arg::Simple(bytes) => bytes,
        _ => &[][..],
    });
    let key = match parts.next()? {
        b"EVALSHA" => parts.nth(2),
        _ => parts.next(),
    };
    key.filter(|key| key.first() == Some(&b'{')).map(slot)
}

/// What kind of system it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A server of its own.
    Single,
    /// The master that Sentinels name.
    Sentinel,
    /// A Cluster's masters.
    Cluster,
}

/// Who has which slots, at one time.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    pub(crate) kind: Kind,
    /// Nodes that have slots.
    pub(crate) nodes: Vec<Node>,
    /// First and last slot, and whose they are; in order.
    ranges: Vec<(u16, u16, usize)>,
    /// Which map it is of the process': later ones are higher.
    pub(crate) generation: u64,
}

impl Map {
    /// A map of one node.
    pub(crate) fn whole(kind: Kind, node: Node) -> Self {
        Self {
            kind,
            nodes: vec![node],
            ranges: vec![(0, SLOTS - 1, 0)],
            generation: 0,
        }
    }

    /// Reads the answer to `CLUSTER SLOTS`, which `asked` gave.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it is none.
    pub(crate) fn cluster(answer: Value, asked: &Node) -> Result<Self, StoreError> {
        let mut map = Self {
            kind: Kind::Cluster,
            nodes: Vec::new(),
            ranges: Vec::new(),
            generation: 0,
        };
        for row in list(answer) {
            let mut row = list(row).into_iter();
            let (Some(Value::Int(first)), Some(Value::Int(last)), Some(master)) =
                (row.next(), row.next(), row.next())
            else {
                return Err(corrupt());
            };
            let mut master = list(master).into_iter();
            let (Some(host), Some(Value::Int(port))) = (master.next(), master.next()) else {
                return Err(corrupt());
            };
            let host = String::from_utf8_lossy(&bytes(host)).into_owned();
            let node = Node {
                // Nothing means: where you asked. `?` is a host name that is not set.
                host: if host.is_empty() || host == "?" {
                    asked.host.clone()
                } else {
                    host
                },
                port: u16::try_from(port).map_err(|_| corrupt())?,
            };
            let place = map.nodes.iter().position(|one| *one == node);
            let place = place.unwrap_or_else(|| {
                map.nodes.push(node);
                map.nodes.len() - 1
            });
            let number = |slot: i64| u16::try_from(slot).ok().filter(|slot| *slot < SLOTS);
            match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => map.ranges.push((first, last, place)),
                _ => return Err(corrupt()),
            }
        }
        map.ranges.sort_unstable();
        Ok(map)
    }

    /// The first slot that nobody has.
    pub(crate) fn gap(&self) -> Option<u16> {
        let mut next = 0;
        for (first, last, _) in &self.ranges {
            if *first > next {
                return Some(next);
            }
            next = next.max(last + 1);
        }
        (next < SLOTS).then_some(next)
    }

    /// The place among the nodes of the one that has a slot.
    pub(crate) fn owner(&self, slot: u16) -> Option<usize> {
        let at = self.ranges.partition_point(|(_, last, _)| *last < slot);
        let (first, _, node) = self.ranges.get(at)?;
        (*first <= slot).then_some(*node)
    }

    /// Whether both say the same.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        let rows = |map: &Self| -> Vec<(u16, u16, Node)> {
            let ranges = map.ranges.iter();
            ranges
                .map(|(first, last, at)| (*first, *last, map.nodes[*at].clone()))
                .collect()
        };
        self.kind == other.kind && rows(self) == rows(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidehook_core::address::Partition;

    fn node(port: u16) -> Node {
        Node {
            host: "10.0.0.1".to_owned(),
            port,
        }
    }

    fn row(first: i64, last: i64, host: &str, port: i64) -> Value {
        let place = |host: &str, port| {
            let id = Value::BulkString(b"0123".to_vec());
            let host = Value::BulkString(host.as_bytes().to_vec());
            Value::Array(vec![host, Value::Int(port), id, Value::Array(Vec::new())])
        };
        let (first, last) = (Value::Int(first), Value::Int(last));
        Value::Array(vec![first, last, place(host, port), place("10.0.0.9", 9)])
    }

    #[test]
    fn slots_are_those_of_redis() {
        // As CLUSTER KEYSLOT answers.
        for (key, wanted) in [
            ("123456789", 12_739),
            ("{user1000}.following", 3_443),
            ("user1000", 3_443),
            ("foo{}{bar}", 8_363),
            ("foo{{bar}}zap", 4_015),
            ("foo{bar}{zap}", 5_061),
            ("bar", 5_061),
        ] {
            assert_eq!(slot(key.as_bytes()), wanted, "{key}");
        }
    }

    #[test]
    fn commands_go_where_their_key_is() {
        let partition = Partition::new(7).expect("there is one");
        let script = crate::scripts::call(&crate::scripts::LEASES, partition);
        assert_eq!(slot_of(&script), Some(slot(b"sh07")));
        let mut cmd = redis::cmd("GET");
        assert_eq!(slot_of(cmd.arg("{sh07}:seg:x")), Some(slot(b"sh07")));
        assert_eq!(
            slot_of(redis::cmd("HGET").arg("{shsys}:reg:x")),
            Some(slot(b"shsys"))
        );
        assert_eq!(slot_of(&redis::cmd("TIME")), None);
    }

    #[test]
    fn a_map_tells_who_has_a_slot() {
        let answer = Value::Array(vec![
            row(8_000, 16_383, "", 2),
            row(0, 99, "a", 1),
            row(100, 7_999, "?", 3),
        ]);
        let map = Map::cluster(answer.clone(), &node(7)).expect("a map");
        assert_eq!(map.gap(), None);
        let owner = |slot| map.owner(slot).map(|at| map.nodes[at].to_string());
        for (slot, wanted) in [
            (0, "a:1"),
            (99, "a:1"),
            (100, "10.0.0.1:3"),
            (7_999, "10.0.0.1:3"),
            (8_000, "10.0.0.1:2"),
            (16_383, "10.0.0.1:2"),
        ] {
            assert_eq!(owner(slot).as_deref(), Some(wanted), "{slot}");
        }
        let again = Map::cluster(answer, &node(8)).expect("a map");
        assert!(map.agrees(&again));
        assert!(!map.agrees(&Map::whole(Kind::Single, node(7))));
        let single = Map::whole(Kind::Sentinel, node(7));
        assert_eq!((single.gap(), single.owner(16_383)), (None, Some(0)));
    }

    #[test]
    fn gaps_are_found_and_nonsense_is_refused() {
        for (rows, wanted) in [
            (vec![], 0),
            (vec![row(1, 16_383, "a", 1)], 0),
            (vec![row(0, 9, "a", 1), row(11, 16_383, "b", 2)], 10),
            (vec![row(0, 16_382, "a", 1)], 16_383),
        ] {
            let map = Map::cluster(Value::Array(rows), &node(7)).expect("a map");
            assert_eq!(map.gap(), Some(wanted));
            assert_eq!(map.owner(wanted), None);
        }
        for wrong in [
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![row(5, 4, "a", 1)]),
            Value::Array(vec![row(0, 16_384, "a", 1)]),
            Value::Array(vec![row(-1, 4, "a", 1)]),
            Value::Array(vec![row(0, 4, "a", 70_000)]),
        ] {
            assert!(Map::cluster(wrong, &node(7)).is_err());
        }
    }
}
