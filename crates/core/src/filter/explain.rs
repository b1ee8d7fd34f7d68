//! Why a filter holds or does not: the verdict of each of its nodes, and the value that it looked at.
//!
//! The event is read once, as for matching. Nodes that look at a value decide by the very evaluation that matching uses,
//! each on its own value; the verdicts of the others follow from those beneath them. Nothing is cut short as matching
//! does: whoever asks wants to see all of it; only the steps are as few as an event has. Of an array that `any_array_value` looks into, one element is shown: the first that it holds for, else the
//! first of all.
//!
//! Values are shown as they stand in the event. What of them somebody may see is the caller's matter.

use serde_json::value::RawValue;

use super::{
    Filter, FilterSet, Malformed, Node, TooCostly,
    evaluate::{Evaluation, Steps},
    path::Path,
    plan::{PathId, ROOT},
    tape::Tape,
};

/// Why there is no explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unexplained {
    /// The event is not JSON text.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It takes too many steps, as publishing the event may.
    #[error(transparent)]
    TooCostly(#[from] TooCostly),
}

/// What one node of a filter found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeVerdict<'a> {
    /// The node's place in the filter, for example `filters[1].filter`; empty for the filter itself.
    pub path: String,
    /// Its `type`.
    pub kind: &'static str,
    /// The field that a `field_accessor` asks for, else empty.
    pub field: String,
    /// Whether it holds; `None` if there was nothing to look at: an array without elements, or no array.
    pub holds: Option<bool>,
    /// The value that it looked at, as JSON text; `None` if it is missing, which reads as null.
    pub value: Option<&'a str>,
    /// Which element the nodes beneath an `any_array_value` looked at, from 0.
    pub element: Option<usize>,
}

impl Filter {
    /// The verdicts of all nodes, the filter itself first, each before those beneath it.
    ///
    /// # Errors
    /// When `event` is not JSON text, or the filter takes too many steps on it.
    pub fn explain<'a>(&self, event: &'a str) -> Result<Vec<NodeVerdict<'a>>, Unexplained> {
        if let Err(error) = serde_json::from_str::<&RawValue>(event) {
            let before = event
                .split_inclusive('\n')
                .take(error.line().saturating_sub(1));
            let lines: usize = before.map(str::len).sum();
            let at = lines + error.column().saturating_sub(1);
            return Err(Malformed { at }.into());
        }
        let mut set = FilterSet::default();
        set.add(&self.root);
        let tape = Tape::read_with_spans(&set.plan, event)?;
        let root = Looked {
            path: ROOT,
            at: Some(tape.place(ROOT)),
        };
        let mut explaining = Explaining {
            event,
            set,
            tape: &tape,
            steps: Steps::of_event(),
            found: Vec::new(),
        };
        explaining.node(&self.root, &Path::root(""), root)?;
        Ok(explaining.found)
    }
}

/// What a node looks at.
#[derive(Clone, Copy)]
struct Looked {
    path: PathId,
    /// The value's place on the tape; `None` if there is not even a missing value.
    at: Option<usize>,
}

struct Explaining<'t, 'a> {
    event: &'a str,
    set: FilterSet,
    tape: &'t Tape<'a>,
    steps: Steps,
    found: Vec<NodeVerdict<'a>>,
}

impl<'a> Explaining<'_, 'a> {
    fn node(
        &mut self,
        node: &Node,
        path: &Path<'_>,
        looked: Looked,
    ) -> Result<Option<bool>, TooCostly> {
        let place = self.found.len();
        let span = looked.at.and_then(|at| self.tape.span(at));
        self.found.push(NodeVerdict {
            path: path.to_string(),
            kind: node.kind(),
            field: String::new(),
            holds: None,
            value: span.and_then(|span| self.event.get(span)),
            element: None,
        });
        let verdict = match node {
            Node::And(filters) => self.all(filters, path, looked, true)?,
            Node::Or(filters) => self.all(filters, path, looked, false)?.map(|none| !none),
            Node::Not(filter) => self
                .node(filter, &path.key("filter"), looked)?
                .map(|holds| !holds),
            Node::Field { name, filter } => {
                self.found[place].field = name.to_string();
                let field = self.field(looked, name)?;
                self.node(filter, &path.key("filter"), field)?
            }
            Node::AnyElement(filter) => {
                let (element, chosen) = self.choose(filter, looked)?;
                self.found[place].element = element;
                let beneath = self.node(filter, &path.key("filter"), chosen)?;
                looked.at.map(|_| beneath.unwrap_or(false))
            }
            leaf => self.leaf(leaf, looked)?,
        };
        self.found[place].holds = verdict;
        Ok(verdict)
    }

    /// Whether all filters have the verdict `wanted`.
    fn all(
        &mut self,
        filters: &[Node],
        path: &Path<'_>,
        looked: Looked,
        wanted: bool,
    ) -> Result<Option<bool>, TooCostly> {
        let path = path.key("filters");
        let mut all = Some(true);
        for (index, filter) in filters.iter().enumerate() {
            match self.node(filter, &path.item(index), looked)? {
                None => all = None,
                Some(verdict) if verdict != wanted => all = Some(false),
                Some(_) => {}
            }
        }
        Ok(all)
    }

    const fn evaluation(&mut self) -> Evaluation<'_, 'a> {
        Evaluation {
            tape: self.tape,
            steps: &mut self.steps,
        }
    }

    /// The verdict of a node that has none beneath it.
    fn leaf(&mut self, leaf: &Node, looked: Looked) -> Result<Option<bool>, TooCostly> {
        let Some(at) = looked.at else {
            return Ok(None);
        };
        // It asks for nothing that the whole filter did not ask for: the tape has it.
        let op = self.set.compile(leaf, looked.path, false);
        self.evaluation().holds(&op, at).map(Some)
    }

    /// The last field of that name.
    fn field(&mut self, of: Looked, name: &str) -> Result<Looked, TooCostly> {
        let path = self.set.plan.field(of.path, name.as_bytes());
        let at = match of.at {
            Some(at) => Some(self.evaluation().field(at, path)?),
            None => None,
        };
        Ok(Looked { path, at })
    }

    /// The element to show, and its index.
    fn choose(&mut self, filter: &Node, of: Looked) -> Result<(Option<usize>, Looked), TooCostly> {
        let path = self.set.plan.element(of.path);
        let mut chosen = None;
        if let Some(array) = of.at.filter(|at| self.tape.is_array(*at)) {
            let op = self.set.compile(filter, path, false);
            let first = self.tape.elements(array).next();
            let held = self.evaluation().first_element(array, &op)?;
            chosen = held.or_else(|| first.map(|first| (0, first)));
        }
        let (index, at) = chosen.unzip();
        Ok((index, Looked { path, at }))
    }
}
