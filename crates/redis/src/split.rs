//! A pipeline taken apart by node, and its answers put together again.

use redis::{Arg, Pipeline, Value};

use crate::slots::{Map, slot, slot_of};

/// What has no key goes where the registry is.
const SYSTEM: &[u8] = b"{shsys}";

/// What goes to one node.
pub(crate) struct Part {
    /// Its place among the map's nodes; `None` if nobody has the slots.
    pub(crate) node: Option<usize>,
    pub(crate) pipe: Pipeline,
    pub(crate) rows: Vec<Row>,
}

/// A command of a part.
pub(crate) struct Row {
    /// Its place in the whole.
    pub(crate) place: usize,
    pub(crate) slot: Option<u16>,
    /// Whether it is refused while its slot moves, whatever keys are there.
    pub(crate) is_script: bool,
}

/// Takes a pipeline apart; the commands of a part stay in their order.
pub(crate) fn split(pipe: &Pipeline, map: &Map) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (place, command) in pipe.cmd_iter().enumerate() {
        let its = slot_of(command);
        let node = map.owner(its.unwrap_or_else(|| slot(SYSTEM)));
        let at = parts.iter().position(|part| part.node == node);
        let at = at.unwrap_or_else(|| {
            parts.push(Part {
                node,
                pipe: Pipeline::new(),
                rows: Vec::new(),
            });
            parts.len() - 1
        });
        parts[at].pipe.add_command(command.clone());
        let is_script = matches!(command.args_iter().next(), Some(Arg::Simple(b"EVALSHA")));
        parts[at].rows.push(Row {
            place,
            slot: its,
            is_script,
        });
    }
    parts
}

/// Puts the parts' answers back in the order of the whole.
pub(crate) fn join(answers: impl IntoIterator<Item = (Part, Vec<Value>)>) -> Vec<Value> {
    let answers = answers.into_iter();
    let pairs = answers.flat_map(|(part, values)| part.rows.into_iter().zip(values));
    let mut pairs: Vec<_> = pairs.map(|(row, value)| (row.place, value)).collect();
    pairs.sort_unstable_by_key(|(place, _)| *place);
    pairs.into_iter().map(|(_, value)| value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{address::Node, slots::SLOTS};

    /// A map of two nodes: of the lower slots and of the upper ones, up to `last`.
    fn map(cut: u16, last: u16) -> Map {
        let row = |first: u16, last: u16, port| {
            let place = vec![Value::BulkString(b"a".to_vec()), Value::Int(port)];
            let ends = [first, last].map(|slot| Value::Int(slot.into()));
            Value::Array([&ends[..], &[Value::Array(place)]].concat())
        };
        let rows = vec![row(0, cut - 1, 1), row(cut, last, 2)];
        let asked = Node {
            host: "a".to_owned(),
            port: 1,
        };
        Map::cluster(Value::Array(rows), &asked).expect("a map")
    }

    #[test]
    fn what_was_taken_apart_comes_together_in_order() {
        let mut pipe = Pipeline::new();
        for number in 0..64 {
            let key = format!("{{sh{number:02}}}:state");
            pipe.cmd("SET").arg(&key).arg(number);
            pipe.cmd("GET").arg(&key);
        }
        pipe.cmd("TIME");
        let map = map(8_000, SLOTS - 1);
        let parts = split(&pipe, &map);
        assert_eq!(parts.len(), 2);
        for part in &parts {
            let places = part.rows.iter().map(|row| row.place);
            assert!(places.is_sorted(), "the order is kept");
            assert_eq!(part.pipe.len(), part.rows.len());
            let slots = part.rows.iter().filter_map(|row| row.slot);
            let mut owners = slots.map(|slot| map.owner(slot));
            assert!(owners.all(|owner| owner == part.node));
        }
        // Each node answers with the command's place in the whole.
        let answers = parts.into_iter().rev().map(|part| {
            let values = part.rows.iter().map(|row| Value::Int(row.place as i64));
            let values = values.collect();
            (part, values)
        });
        let joined = join(answers);
        let wanted: Vec<Value> = (0..129).map(Value::Int).collect();
        assert_eq!(joined, wanted);
    }

    #[test]
    fn what_nobody_has_is_a_part_of_its_own() {
        let mut pipe = Pipeline::new();
        let all: Vec<u16> = (0..64)
            .map(|n| slot(format!("sh{n:02}").as_bytes()))
            .collect();
        for number in 0..64 {
            pipe.cmd("GET").arg(format!("{{sh{number:02}}}:state"));
        }
        let map = map(4_000, 8_000);
        let lost = all.iter().filter(|slot| **slot > 8_000).count();
        let parts = split(&pipe, &map);
        let part = parts.iter().find(|part| part.node.is_none());
        assert_eq!(part.map(|part| part.rows.len()), Some(lost));
        assert!(lost > 0 && lost < 64);
    }
}
