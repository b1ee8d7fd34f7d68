//! Why a filter holds or does not: the verdict of each of its nodes, and the value that it looked at.
//!
//! Nodes that look at a value decide by the very evaluation that matching uses, each on its own value; the verdicts of
//! the others follow from those beneath them. Nothing is cut short as matching does: whoever asks wants to see all of
//! it. Of an array that `any_array_value` looks into, one element is shown: the first that it holds for, else the
//! first of all.
//!
//! Values are shown as they stand in the event. What of them somebody may see is the caller's matter.

use serde_json::value::RawValue;

use super::{Document, Filter, FilterSet, Malformed, Node, path::Path, scan::Scanner};

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
    /// When `event` is not JSON text.
    pub fn explain<'a>(&self, event: &'a str) -> Result<Vec<NodeVerdict<'a>>, Malformed> {
        if let Err(error) = serde_json::from_str::<&RawValue>(event) {
            let before = event
                .split_inclusive('\n')
                .take(error.line().saturating_sub(1));
            let lines: usize = before.map(str::len).sum();
            return Err(Malformed {
                at: lines + error.column().saturating_sub(1),
            });
        }
        let mut explaining = Explaining { found: Vec::new() };
        explaining.node(&self.root, &Path::root(""), Looked::At(event.trim()))?;
        Ok(explaining.found)
    }
}

/// What a node looks at.
#[derive(Clone, Copy)]
enum Looked<'a> {
    At(&'a str),
    Missing,
    /// There is not even a missing value.
    Nothing,
}

struct Explaining<'a> {
    found: Vec<NodeVerdict<'a>>,
}

impl<'a> Explaining<'a> {
    fn node(
        &mut self,
        node: &Node,
        path: &Path<'_>,
        looked: Looked<'a>,
    ) -> Result<Option<bool>, Malformed> {
        let place = self.found.len();
        self.found.push(NodeVerdict {
            path: path.to_string(),
            kind: node.kind(),
            field: String::new(),
            holds: None,
            value: match looked {
                Looked::At(text) => Some(text),
                Looked::Missing | Looked::Nothing => None,
            },
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
                self.node(filter, &path.key("filter"), field(looked, name)?)?
            }
            Node::AnyElement(filter) => {
                let (element, chosen) = choose(filter, looked)?;
                self.found[place].element = element;
                let beneath = self.node(filter, &path.key("filter"), chosen)?;
                match looked {
                    Looked::Nothing => None,
                    _ => Some(beneath.unwrap_or(false)),
                }
            }
            leaf => match looked {
                Looked::Nothing => None,
                Looked::Missing => Some(holds(leaf, "null")?),
                Looked::At(text) => Some(holds(leaf, text)?),
            },
        };
        self.found[place].holds = verdict;
        Ok(verdict)
    }

    /// Whether all filters have the verdict `wanted`.
    fn all(
        &mut self,
        filters: &[Node],
        path: &Path<'_>,
        looked: Looked<'a>,
        wanted: bool,
    ) -> Result<Option<bool>, Malformed> {
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
}

/// Whether a node holds for a value, as matching would say.
fn holds(node: &Node, value: &str) -> Result<bool, Malformed> {
    let mut set = FilterSet::default();
    let key = set.add(node);
    Ok(set.read(&Document::Json(value.as_bytes()))?.holds(key))
}

/// The last field of that name.
fn field<'a>(of: Looked<'a>, name: &str) -> Result<Looked<'a>, Malformed> {
    let Looked::At(text) = of else { return Ok(of) };
    let mut scanner = Scanner::new(text.as_bytes());
    if scanner.peek()? != b'{' {
        return Ok(Looked::Missing);
    }
    scanner.expect(b'{')?;
    let mut found = Looked::Missing;
    let mut first = true;
    while scanner.more(&mut first, b'}')? {
        let is_it = *scanner.key()? == *name.as_bytes();
        let value = scanner.skip()?;
        if is_it {
            found = Looked::At(as_str(value)?);
        }
    }
    Ok(found)
}

/// The element to show, and its index.
fn choose<'a>(filter: &Node, of: Looked<'a>) -> Result<(Option<usize>, Looked<'a>), Malformed> {
    let nothing = (None, Looked::Nothing);
    let Looked::At(text) = of else {
        return Ok(nothing);
    };
    let mut scanner = Scanner::new(text.as_bytes());
    if scanner.peek()? != b'[' {
        return Ok(nothing);
    }
    let mut set = FilterSet::default();
    let key = set.add(filter);
    scanner.expect(b'[')?;
    let mut chosen = nothing;
    let mut first = true;
    let mut index = 0;
    while scanner.more(&mut first, b']')? {
        let element = as_str(scanner.skip()?)?;
        let holds = set.read(&Document::Json(element.as_bytes()))?.holds(key);
        if holds || index == 0 {
            chosen = (Some(index), Looked::At(element));
        }
        if holds {
            break;
        }
        index += 1;
    }
    Ok(chosen)
}

fn as_str(text: &[u8]) -> Result<&str, Malformed> {
    core::str::from_utf8(text).map_err(|error| Malformed {
        at: error.valid_up_to(),
    })
}
