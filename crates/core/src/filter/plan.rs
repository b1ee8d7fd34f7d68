//! What filters ask of an event, together; and filters in terms of it.
//!
//! Compiled, a filter no longer speaks of names. Every chain of fields from the event on is one [`PathId`], the same
//! for all filters that ask for it: each has a place of its own among the values that are read, and looking a field up
//! is looking at that place. Within arrays there are as many values as elements, so below an `any_array_value` fields
//! are looked for in the element, among those few that anybody asks for.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Constant, Document, Filter, Malformed, Node, Reading};

/// A chain of fields and elements that some filter looks along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathId(pub(super) usize);

/// The event itself.
pub(super) const ROOT: PathId = PathId(0);

/// What is asked about the value at the end of a path.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// How deep arrays and objects of it must be known whole: they are compared with constants nested that deep.
    /// With 0 only its kind matters, and its text.
    pub(super) whole: usize,
    /// The fields that are asked for, by name. A tree and no sorted list: a tenant's filters may ask for hundreds of
    /// thousands of names of one object, and each is put in alone.
    fields: BTreeMap<Box<[u8]>, PathId>,
    /// Any element of it.
    pub(super) element: Option<PathId>,
}

/// A tree of paths.
#[derive(Debug)]
pub(super) struct Plan {
    paths: Vec<Asked>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            paths: vec![Asked::default()],
        }
    }
}

impl Plan {
    pub(super) fn at(&self, path: PathId) -> &Asked {
        &self.paths[path.0]
    }

    /// How many paths there are.
    pub(super) const fn len(&self) -> usize {
        self.paths.len()
    }

    fn add(&mut self) -> PathId {
        self.paths.push(Asked::default());
        PathId(self.paths.len() - 1)
    }

    pub(super) fn field(&mut self, path: PathId, name: &[u8]) -> PathId {
        if let Some(field) = self.paths[path.0].field(name) {
            return field;
        }
        let field = self.add();
        self.paths[path.0].fields.insert(name.into(), field);
        field
    }

    pub(super) fn element(&mut self, path: PathId) -> PathId {
        if let Some(element) = self.paths[path.0].element {
            return element;
        }
        let element = self.add();
        self.paths[path.0].element = Some(element);
        element
    }

    fn whole(&mut self, path: PathId, depth: usize) {
        let asked = &mut self.paths[path.0];
        asked.whole = asked.whole.max(depth);
    }
}

impl Asked {
    /// The path of the field `name`, if it is asked for.
    pub(super) fn field(&self, name: &[u8]) -> Option<PathId> {
        self.fields.get(name).copied()
    }

    /// Whether any field is asked for.
    pub(super) fn has_fields(&self) -> bool {
        !self.fields.is_empty()
    }
}

/// A node, compiled. Each looks at one value.
#[derive(Debug)]
pub(super) enum Op {
    Equals(Constant),
    NotEquals(Constant),
    IsNull,
    NonNull,
    Contains(Constant),
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    /// Go on at the value of this path from the event on.
    At(PathId, Box<Self>),
    /// Go on at the field of this value that has this path.
    Field(PathId, Box<Self>),
    AnyElement(Box<Self>),
}

/// A filter of a [`FilterSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterKey(pub(super) usize);

/// Filters that look at the same events.
#[derive(Debug, Default)]
pub struct FilterSet {
    pub(super) plan: Plan,
    pub(super) programs: Vec<Op>,
    keys: HashMap<Arc<Filter>, FilterKey>,
}

impl FilterSet {
    /// Adds a filter; equal ones have the same key.
    pub fn insert(&mut self, filter: &Arc<Filter>) -> FilterKey {
        if let Some(key) = self.keys.get(filter) {
            return *key;
        }
        let key = self.add(&filter.root);
        self.keys.insert(Arc::clone(filter), key);
        key
    }

    pub(super) fn add(&mut self, root: &Node) -> FilterKey {
        let program = self.compile(root, ROOT, true);
        self.programs.push(program);
        FilterKey(self.programs.len() - 1)
    }

    /// How many different filters there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.programs.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.programs.is_empty()
    }

    /// Reads of an event what the filters ask for.
    ///
    /// # Errors
    /// When a part of it is not JSON, as far as that was looked at.
    pub fn read<'a>(&'a self, event: &Document<'a>) -> Result<Reading<'a>, Malformed> {
        Reading::new(self, event)
    }

    /// `placed`: whether the value has one place from the event on, or is within elements.
    pub(super) fn compile(&mut self, node: &Node, path: PathId, placed: bool) -> Op {
        match node {
            Node::Equals(value) => {
                self.plan.whole(path, value.nesting());
                Op::Equals(value.clone())
            }
            Node::NotEquals(value) => {
                self.plan.whole(path, value.nesting());
                Op::NotEquals(value.clone())
            }
            Node::Unknown(_) => Op::Or(Vec::new()),
            Node::IsNull => Op::IsNull,
            Node::NonNull => Op::NonNull,
            Node::Contains(value) => {
                self.plan.whole(path, 1 + value.nesting());
                Op::Contains(value.clone())
            }
            Node::And(filters) => Op::And(self.compile_all(filters, path, placed)),
            Node::Or(filters) => Op::Or(self.compile_all(filters, path, placed)),
            Node::Not(filter) => Op::Not(Box::new(self.compile(filter, path, placed))),
            Node::AnyElement(filter) => {
                let element = self.plan.element(path);
                Op::AnyElement(Box::new(self.compile(filter, element, false)))
            }
            Node::Field { name, filter } => {
                let field = self.plan.field(path, name.as_bytes());
                match self.compile(filter, field, placed) {
                    // The place of a field of a field is known without the one between.
                    further @ Op::At(..) => further,
                    op if placed => Op::At(field, Box::new(op)),
                    op => Op::Field(field, Box::new(op)),
                }
            }
        }
    }

    fn compile_all(&mut self, filters: &[Node], path: PathId, placed: bool) -> Vec<Op> {
        let compile = |filter| self.compile(filter, path, placed);
        filters.iter().map(compile).collect()
    }
}
