//! What was read of an event: a list of values in the order of the text, each with where it ends.
//!
//! Only what a plan asks for is on it. An object that is not compared as a whole has only the fields that are asked
//! for, an array of which no element is asked for has none. Texts and numbers are borrowed from the event; only a
//! string with escapes is copied. Value 0 is a null that was never there: it stands for whatever is missing, so that a
//! missing field reads as null without a question.

use core::ops::Range;
use std::borrow::Cow;

use super::{
    Document, Field, Malformed,
    plan::{PathId, Plan, ROOT},
    scan::Scanner,
};

/// One value, or the key in front of an object's value.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    /// Its text.
    Number(&'a [u8]),
    /// Without quotes and escapes.
    Text(Cow<'a, [u8]>),
    /// `whole`: all of its elements follow.
    Array {
        whole: bool,
    },
    /// `whole`: all of its members follow, else those that are asked for.
    Object {
        whole: bool,
    },
    /// The member's path, if it is asked for.
    Key(Cow<'a, [u8]>, Option<PathId>),
}

#[derive(Debug)]
struct Entry<'a> {
    value: Value<'a>,
    /// The place behind it and all that is within it.
    end: usize,
}

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Tape<'a> {
    entries: Vec<Entry<'a>>,
    /// Where the value of each path is; 0 if it is missing. Paths within elements are not used.
    places: Vec<usize>,
    /// Where in the text each entry's value stands, if that was asked for; empty for keys and what is no JSON text.
    spans: Option<Vec<Range<usize>>>,
}

/// What is missing.
pub(super) const MISSING: usize = 0;

impl<'a> Tape<'a> {
    pub(super) fn read(plan: &Plan, event: &Document<'a>) -> Result<Self, Malformed> {
        Self::walk(plan, event, None)
    }

    /// Reads JSON text, and remembers where in it each value stands.
    pub(super) fn read_with_spans(plan: &Plan, text: &'a str) -> Result<Self, Malformed> {
        Self::walk(plan, &Document::Json(text.as_bytes()), Some(Vec::new()))
    }

    fn walk(
        plan: &Plan,
        event: &Document<'a>,
        spans: Option<Vec<Range<usize>>>,
    ) -> Result<Self, Malformed> {
        let mut entries = Vec::with_capacity(4 * plan.len().min(64));
        entries.push(Entry {
            value: Value::Null,
            end: 1,
        });
        let mut walk = Walk {
            plan,
            tape: Self {
                entries,
                places: vec![MISSING; plan.len()],
                spans,
            },
        };
        let root = Want {
            path: Some(ROOT),
            whole: plan.at(ROOT).whole,
            placed: true,
        };
        walk.tape.places[ROOT.0] = match event {
            Document::Json(text) => walk.text(text, root)?,
            Document::Members(members) => walk.members(members, root)?,
        };
        Ok(walk.tape)
    }

    pub(super) fn value(&self, at: usize) -> &Value<'a> {
        &self.entries[at].value
    }

    pub(super) fn is_array(&self, at: usize) -> bool {
        matches!(self.value(at), Value::Array { .. })
    }

    /// Where in the text the value stands; `None` if it is missing, or nobody asked for spans.
    pub(super) fn span(&self, at: usize) -> Option<Range<usize>> {
        let span = self.spans.as_ref()?.get(at)?;
        (!span.is_empty()).then(|| span.clone())
    }

    /// Where the value of a path from the event on is.
    pub(super) fn place(&self, path: PathId) -> usize {
        self.places[path.0]
    }

    /// Where an array's elements are.
    pub(super) fn elements(&self, array: usize) -> impl Iterator<Item = usize> {
        let mut at = array + 1;
        let end = self.entries[array].end;
        core::iter::from_fn(move || {
            let element = at;
            (element < end).then(|| {
                at = self.entries[element].end;
                element
            })
        })
    }

    /// An object's keys, with their paths, and where their values are.
    pub(super) fn members(
        &self,
        object: usize,
    ) -> impl Iterator<Item = (&Cow<'a, [u8]>, Option<PathId>, usize)> {
        let keys = self.elements(object);
        keys.filter_map(|at| match &self.entries[at].value {
            Value::Key(key, path) => Some((key, *path, at + 1)),
            _ => None,
        })
    }
}

/// What is wanted of a value.
#[derive(Clone, Copy)]
struct Want {
    path: Option<PathId>,
    whole: usize,
    /// Whether the paths below have places.
    placed: bool,
}

struct Walk<'p, 'a> {
    plan: &'p Plan,
    tape: Tape<'a>,
}

impl<'a> Walk<'_, 'a> {
    /// Reads a text that is one value; gives its place.
    fn text(&mut self, text: &'a [u8], want: Want) -> Result<usize, Malformed> {
        let mut scanner = Scanner::new(text);
        let at = self.value(&mut scanner, want)?;
        scanner.end()?;
        Ok(at)
    }

    fn value(&mut self, scanner: &mut Scanner<'a>, want: Want) -> Result<usize, Malformed> {
        scanner.peek()?;
        let from = scanner.at();
        let at = self.pushed(scanner, want)?;
        if let Some(spans) = &mut self.tape.spans {
            spans.resize(self.tape.entries.len(), 0..0);
            spans[at] = from..scanner.at();
        }
        Ok(at)
    }

    fn pushed(&mut self, scanner: &mut Scanner<'a>, want: Want) -> Result<usize, Malformed> {
        let value = match scanner.peek()? {
            b'{' => return self.object(scanner, want),
            b'[' => return self.array(scanner, want),
            b'"' => Value::Text(scanner.string()?),
            b't' => {
                scanner.word("true")?;
                Value::Bool(true)
            }
            b'f' => {
                scanner.word("false")?;
                Value::Bool(false)
            }
            b'n' => {
                scanner.word("null")?;
                Value::Null
            }
            _ => Value::Number(scanner.number()?),
        };
        Ok(self.push(value))
    }

    fn object(&mut self, scanner: &mut Scanner<'a>, want: Want) -> Result<usize, Malformed> {
        let whole = want.whole > 0;
        let at = self.push(Value::Object { whole });
        if !whole
            && !want
                .path
                .is_some_and(|path| self.plan.at(path).has_fields())
        {
            scanner.skip()?;
            return Ok(at);
        }
        scanner.expect(b'{')?;
        let mut first = true;
        while scanner.more(&mut first, b'}')? {
            let key = scanner.key()?;
            let path = self.field(want, &key);
            if whole || path.is_some() {
                self.member(key, path, want, |walk, want| walk.value(scanner, want))?;
            } else {
                scanner.skip()?;
            }
        }
        self.close(at);
        Ok(at)
    }

    fn array(&mut self, scanner: &mut Scanner<'a>, want: Want) -> Result<usize, Malformed> {
        let element = self.element(want);
        let whole = want.whole > 0 || element.path.is_some();
        let at = self.push(Value::Array { whole });
        if !whole {
            scanner.skip()?;
            return Ok(at);
        }
        scanner.expect(b'[')?;
        let mut first = true;
        while scanner.more(&mut first, b']')? {
            self.value(scanner, element)?;
        }
        self.close(at);
        Ok(at)
    }

    /// An event whose members are apart.
    fn members(
        &mut self,
        members: &[(&'a str, Field<'a>)],
        want: Want,
    ) -> Result<usize, Malformed> {
        let whole = want.whole > 0;
        let at = self.push(Value::Object { whole });
        for (name, field) in members {
            let key = name.as_bytes();
            let path = self.field(want, key);
            if whole || path.is_some() {
                self.member(Cow::Borrowed(key), path, want, |walk, want| {
                    walk.given(*field, want)
                })?;
            }
        }
        self.close(at);
        Ok(at)
    }

    fn given(&mut self, field: Field<'a>, want: Want) -> Result<usize, Malformed> {
        let value = match field {
            Field::Json(text) => return self.text(text, want),
            Field::Texts(texts) => {
                let at = self.push(Value::Array { whole: true });
                for text in texts {
                    self.push(Value::Text(Cow::Borrowed(text.as_bytes())));
                }
                self.close(at);
                return Ok(at);
            }
            Field::Text(text) => Value::Text(Cow::Borrowed(text.as_bytes())),
            Field::Null => Value::Null,
            // Not null, and equal to nothing.
            Field::NotYetKnown => Value::Object { whole: false },
        };
        Ok(self.push(value))
    }

    /// Puts a key and its value on the tape, and the value into its place.
    fn member(
        &mut self,
        key: Cow<'a, [u8]>,
        path: Option<PathId>,
        of: Want,
        value: impl FnOnce(&mut Self, Want) -> Result<usize, Malformed>,
    ) -> Result<(), Malformed> {
        let key = self.push(Value::Key(key, path));
        let asked = path.map_or(0, |path| self.plan.at(path).whole);
        let want = Want {
            path,
            whole: asked.max(of.whole.saturating_sub(1)),
            placed: of.placed,
        };
        if let Some(path) = path
            && of.placed
        {
            self.forget(path);
            self.tape.places[path.0] = value(self, want)?;
        } else {
            value(self, want)?;
        }
        self.close(key);
        Ok(())
    }

    /// The last of equal keys counts: what was read of an earlier one never was there. What that was stands on the
    /// tape, so forgetting costs no more than reading did, however many fields are asked for.
    fn forget(&mut self, path: PathId) {
        let Tape {
            entries, places, ..
        } = &mut self.tape;
        let at = core::mem::replace(&mut places[path.0], MISSING);
        for entry in &entries[at..entries[at].end] {
            if let Value::Key(_, Some(path)) = entry.value {
                places[path.0] = MISSING;
            }
        }
    }

    fn field(&self, of: Want, key: &[u8]) -> Option<PathId> {
        self.plan.at(of.path?).field(key)
    }

    fn element(&self, of: Want) -> Want {
        let path = of.path.and_then(|path| self.plan.at(path).element);
        let asked = path.map_or(0, |path| self.plan.at(path).whole);
        Want {
            path,
            whole: asked.max(of.whole.saturating_sub(1)),
            placed: false,
        }
    }

    fn push(&mut self, value: Value<'a>) -> usize {
        let at = self.tape.entries.len();
        self.tape.entries.push(Entry { value, end: at + 1 });
        at
    }

    /// All that was put on the tape since lies within `at`.
    fn close(&mut self, at: usize) {
        self.tape.entries[at].end = self.tape.entries.len();
    }
}
