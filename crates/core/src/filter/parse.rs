//! From JSON to a filter, and everything that is wrong on the way.
//!
//! Strict: an unknown type or key is refused and not ignored. Whoever filters wants to be spared something; a filter
//! that silently means something else than it says is worse than none.

use serde_json::value::RawValue;

use super::{Constant, Node, constant, path::Path};
use crate::{
    limits::{FILTER_BYTES, FILTER_DEPTH, FILTER_NODES},
    violation::Violations,
};

/// Fields of an event that are not known yet when it is matched: its id is the address that the store gives it, and
/// its dates may be the time at which it is accepted.
pub(super) const NOT_YET_KNOWN: [&str; 3] = ["id", "date_created", "date_updated"];

/// The types, and the keys that each has beside `type`.
const TYPES: [(&str, &[&str]); 10] = [
    ("equals", &["value"]),
    ("not_equals", &["value"]),
    ("is_null", &[]),
    ("non_null", &[]),
    ("contains", &["value"]),
    ("and", &["filters"]),
    ("or", &["filters"]),
    ("not", &["filter"]),
    ("field_accessor", &["field", "filter"]),
    ("any_array_value", &["filter"]),
];

/// Whose rules of size hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Limits {
    /// Those for what somebody gives now.
    Today,
    /// Nobody's but those that keep this program safe: how deep things are nested.
    None,
}

/// Reads a filter's JSON; `name` begins every path of what is wrong.
pub(super) fn parse(text: &str, name: &str, limits: Limits) -> Result<Node, Violations> {
    let mut violations = Violations::new();
    let root = Path::root(name);
    let node = read(text, &root, limits, &mut violations);
    match node {
        Some(node) if violations.is_empty() => Ok(node),
        _ => {
            violations.require(!violations.is_empty(), name, "not a filter");
            Err(violations)
        }
    }
}

fn read(text: &str, root: &Path<'_>, limits: Limits, violations: &mut Violations) -> Option<Node> {
    if limits == Limits::Today && text.len() > FILTER_BYTES {
        let what = format!("at most {FILTER_BYTES} bytes are allowed");
        violations.add(root.to_string(), what);
        return None;
    }
    if let Err(error) = serde_json::from_str::<&RawValue>(text) {
        violations.add(root.to_string(), format!("not JSON: {error}"));
        return None;
    }
    let json = constant::read(text, root, violations)?;
    let mut parser = Parser {
        violations,
        limits,
        nodes: 0,
    };
    parser.node(
        json,
        root,
        Place {
            depth: 1,
            of_event: true,
        },
    )
}

struct Parser<'v> {
    violations: &'v mut Violations,
    limits: Limits,
    nodes: usize,
}

/// Where a node stands.
#[derive(Clone, Copy)]
struct Place {
    /// From 1.
    depth: usize,
    /// Whether it looks at the event itself.
    of_event: bool,
}

impl Place {
    const fn below(self) -> Self {
        Self {
            depth: self.depth + 1,
            of_event: self.of_event,
        }
    }

    const fn within(self) -> Self {
        Self {
            depth: self.depth + 1,
            of_event: false,
        }
    }
}

/// The members of a node that have not been looked at.
struct Members(Vec<(Box<str>, Constant)>);

impl Members {
    fn take(&mut self, key: &str) -> Option<Constant> {
        let at = self.0.iter().position(|(name, _)| **name == *key)?;
        Some(self.0.remove(at).1)
    }
}

impl Parser<'_> {
    fn refuse<T>(&mut self, path: &Path<'_>, what: impl Into<String>) -> Option<T> {
        self.violations.add(path.to_string(), what);
        None
    }

    fn node(&mut self, json: Constant, path: &Path<'_>, place: Place) -> Option<Node> {
        self.nodes += 1;
        if self.limits == Limits::Today && self.nodes > FILTER_NODES {
            // Once is enough.
            return (self.nodes == FILTER_NODES + 1)
                .then(|| self.refuse(path, format!("more than {FILTER_NODES} nodes")))?;
        }
        if place.depth > FILTER_DEPTH {
            return self.refuse(path, format!("nested deeper than {FILTER_DEPTH}"));
        }
        let Constant::Object(members) = json else {
            let what = format!(
                "must be an object such as {{\"type\":\"is_null\"}}, not {}",
                json.kind()
            );
            return self.refuse(path, what);
        };
        let mut members = Members(members);
        let (name, keys) = self.kind(&mut members, path)?;
        let node = self.operator(name, &mut members, path, place);
        for (key, _) in members.0 {
            let known = keys.iter().map(|key| format!(", `{key}`"));
            let what = format!(
                "unknown key: `{name}` has `type`{}",
                known.collect::<String>()
            );
            self.violations.add(path.key(&key).to_string(), what);
        }
        node
    }

    fn kind(
        &mut self,
        members: &mut Members,
        path: &Path<'_>,
    ) -> Option<(&'static str, &'static [&'static str])> {
        let path = path.key("type");
        let names = || TYPES.map(|(name, _)| name).join(", ");
        match members.take("type") {
            None => self.refuse(&path, format!("required: one of {}", names())),
            Some(Constant::Text(given)) => {
                let known = TYPES.into_iter().find(|(name, _)| **name == *given);
                if known.is_none() {
                    let what = format!("unknown type: must be one of {}", names());
                    self.violations.add(path.to_string(), what);
                }
                known
            }
            Some(other) => self.refuse(
                &path,
                format!("must be one of {}, not {}", names(), other.kind()),
            ),
        }
    }

    fn operator(
        &mut self,
        name: &str,
        members: &mut Members,
        path: &Path<'_>,
        place: Place,
    ) -> Option<Node> {
        let below = place.below();
        Some(match name {
            "equals" => Node::Equals(self.required("value", members, path)?),
            "not_equals" => Node::NotEquals(self.required("value", members, path)?),
            "is_null" => Node::IsNull,
            "non_null" => Node::NonNull,
            "contains" => Node::Contains(self.required("value", members, path)?),
            "and" => Node::And(self.filters(members, path, below)?),
            "or" => Node::Or(self.filters(members, path, below)?),
            "not" => Node::Not(self.filter(members, path, below)?),
            "field_accessor" => {
                let field = self.field(members, path, place);
                let filter = self.filter(members, path, place.within());
                Node::Field {
                    name: field?,
                    filter: filter?,
                }
            }
            _ => Node::AnyElement(self.filter(members, path, place.within())?),
        })
    }

    fn required(&mut self, key: &str, members: &mut Members, path: &Path<'_>) -> Option<Constant> {
        let value = members.take(key);
        if value.is_none() {
            self.violations.add(path.key(key).to_string(), "required");
        }
        value
    }

    fn field(&mut self, members: &mut Members, path: &Path<'_>, place: Place) -> Option<Box<str>> {
        let given = self.required("field", members, path)?;
        let path = path.key("field");
        let Constant::Text(name) = given else {
            let what = format!("must be a string, not {}", given.kind());
            return self.refuse(&path, what);
        };
        if place.of_event && NOT_YET_KNOWN.contains(&&*name) {
            let what = "events are matched before they have one: choose another field";
            return self.refuse(&path, what);
        }
        Some(name)
    }

    fn filter(
        &mut self,
        members: &mut Members,
        path: &Path<'_>,
        place: Place,
    ) -> Option<Box<Node>> {
        let json = self.required("filter", members, path)?;
        self.node(json, &path.key("filter"), place).map(Box::new)
    }

    fn filters(
        &mut self,
        members: &mut Members,
        path: &Path<'_>,
        place: Place,
    ) -> Option<Vec<Node>> {
        let given = self.required("filters", members, path)?;
        let path = path.key("filters");
        let Constant::Array(items) = given else {
            let what = format!("must be an array of filters, not {}", given.kind());
            return self.refuse(&path, what);
        };
        if items.is_empty() {
            return self.refuse(&path, "at least one filter is needed");
        }
        let count = items.len();
        let read = |(index, json)| self.node(json, &path.item(index), place);
        let nodes: Vec<Node> = items.into_iter().enumerate().filter_map(read).collect();
        (nodes.len() == count).then_some(nodes)
    }
}
