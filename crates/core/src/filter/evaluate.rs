//! Whether filters hold for an event.
//!
//! Filters and payloads come from different people, and within all limits one leaf may look at 100,000 elements, and a
//! tenant have a million leaves. So the work is counted while it is done, for all filters of an event together, and
//! an event on which they would take more than [`FILTER_STEPS`] is given up: with an error, never with a verdict that
//! nobody reached. What a step is stands beside each place that spends some; counting is an addition and a comparison.

use super::{
    Constant, Document, FilterKey, FilterSet, Malformed, number,
    plan::{Op, PathId, ROOT},
    tape::{MISSING, Tape, Value},
};
use crate::limits::FILTER_STEPS;

/// Evaluating the filters on this event takes more than [`FILTER_STEPS`] steps: it was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "evaluating the filters on this event takes more than {FILTER_STEPS} steps: look into fewer or smaller arrays and \
     texts"
)]
pub struct TooCostly;

/// The steps that are left for an event. A step is one node evaluated, one element or member looked at, or
/// [`STEP_BYTES`] bytes of text compared: some 10 to 35 ns each.
#[derive(Debug)]
pub(super) struct Steps {
    left: u64,
}

/// Bytes of a text or number that are compared, or searched, in one step.
const STEP_BYTES: usize = 8;

/// Steps of comparing two numbers as decimals, beside their length.
const DECIMALS: usize = 8;

impl Steps {
    /// Those of one event.
    pub(super) const fn of_event() -> Self {
        Self { left: FILTER_STEPS }
    }

    /// Before the work is done. Once too much was asked for, nothing is left.
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), TooCostly> {
        let left = self.left.checked_sub(steps as u64);
        self.left = left.unwrap_or(0);
        left.map(|_| ()).ok_or(TooCostly)
    }

    #[cfg(test)]
    pub(super) const fn spent(&self) -> u64 {
        FILTER_STEPS - self.left
    }
}

/// An event, read for the filters of a set. Each filter is evaluated when it is first asked for, and once.
#[derive(Debug)]
pub struct Reading<'a> {
    programs: &'a [Op],
    tape: Tape<'a>,
    verdicts: Vec<Option<bool>>,
    pub(super) steps: Steps,
}

impl<'a> Reading<'a> {
    pub(super) fn new(set: &'a FilterSet, event: &Document<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            tape: Tape::read(&set.plan, event)?,
            programs: &set.programs,
            verdicts: vec![None; set.programs.len()],
            steps: Steps::of_event(),
        })
    }

    /// Whether the filter holds; false for a key of another set that this one does not have.
    ///
    /// # Errors
    /// When this filter and those before it, together, take too many steps on the event.
    pub fn holds(&mut self, key: FilterKey) -> Result<bool, TooCostly> {
        let Some(program) = self.programs.get(key.0) else {
            return Ok(false);
        };
        if let Some(verdict) = self.verdicts[key.0] {
            return Ok(verdict);
        }
        let mut evaluation = Evaluation {
            tape: &self.tape,
            steps: &mut self.steps,
        };
        let verdict = evaluation.holds(program, self.tape.place(ROOT))?;
        self.verdicts[key.0] = Some(verdict);
        Ok(verdict)
    }
}

/// Looks at values of a tape as long as there are steps left.
pub(super) struct Evaluation<'t, 'a> {
    pub(super) tape: &'t Tape<'a>,
    pub(super) steps: &'t mut Steps,
}

type Verdict = Result<bool, TooCostly>;

impl Evaluation<'_, '_> {
    pub(super) fn holds(&mut self, op: &Op, at: usize) -> Verdict {
        self.steps.spend(1)?;
        match op {
            Op::Equals(constant) => self.equals(at, constant),
            Op::NotEquals(constant) => Ok(!self.equals(at, constant)?),
            Op::IsNull => Ok(self.is_null(at)),
            Op::NonNull => Ok(!self.is_null(at)),
            Op::Contains(constant) => self.contains(at, constant),
            Op::And(ops) => Ok(!self.find(ops, at, false)?),
            Op::Or(ops) => self.find(ops, at, true),
            Op::Not(op) => Ok(!self.holds(op, at)?),
            Op::At(path, op) => self.holds(op, self.tape.place(*path)),
            Op::Field(path, op) => {
                let field = self.field(at, *path)?;
                self.holds(op, field)
            }
            Op::AnyElement(op) => Ok(self.first_element(at, op)?.is_some()),
        }
    }

    /// Whether any of them has the verdict `wanted`.
    fn find(&mut self, ops: &[Op], at: usize, wanted: bool) -> Verdict {
        for op in ops {
            if self.holds(op, at)? == wanted {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn is_null(&self, at: usize) -> bool {
        matches!(self.tape.value(at), Value::Null)
    }

    /// Where a field of a value is: the last one with its name. A step for each member that is on the tape.
    pub(super) fn field(&mut self, of: usize, field: PathId) -> Result<usize, TooCostly> {
        let mut found = MISSING;
        if matches!(self.tape.value(of), Value::Object { .. }) {
            for (_, path, at) in self.tape.members(of) {
                self.steps.spend(1)?;
                if path == Some(field) {
                    found = at;
                }
            }
        }
        Ok(found)
    }

    /// The first element that it holds for: its index, and where it is.
    pub(super) fn first_element(
        &mut self,
        array: usize,
        op: &Op,
    ) -> Result<Option<(usize, usize)>, TooCostly> {
        if self.tape.is_array(array) {
            for (index, element) in self.tape.elements(array).enumerate() {
                if self.holds(op, element)? {
                    return Ok(Some((index, element)));
                }
            }
        }
        Ok(None)
    }

    pub(super) fn contains(&mut self, at: usize, constant: &Constant) -> Verdict {
        match (self.tape.value(at), constant) {
            (Value::Array { .. }, _) => {
                for element in self.tape.elements(at) {
                    if self.equals(element, constant)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            // Character by character: what is no UTF-8 cannot be a part of what is asked for.
            (Value::Text(text), Constant::Text(part)) => {
                self.text(text.len() + part.len())?;
                let mut chunks = text.utf8_chunks();
                Ok(part.is_empty() || chunks.any(|chunk| chunk.valid().contains(&**part)))
            }
            _ => Ok(false),
        }
    }

    /// A step for the value, and what its text takes.
    pub(super) fn equals(&mut self, at: usize, constant: &Constant) -> Verdict {
        self.steps.spend(1)?;
        match (self.tape.value(at), constant) {
            (Value::Null, Constant::Null) => Ok(true),
            (Value::Bool(value), Constant::Bool(constant)) => Ok(value == constant),
            (Value::Number(text), Constant::Number(constant)) => {
                self.text(text.len() + constant.len())?;
                if let Some(same) = number::is_plainly_same(text, constant.as_bytes()) {
                    return Ok(same);
                }
                self.steps.spend(DECIMALS)?;
                Ok(number::is_same(text, constant.as_bytes()))
            }
            (Value::Text(text), Constant::Text(constant)) => {
                if text.len() != constant.len() {
                    return Ok(false);
                }
                self.text(text.len())?;
                Ok(**text == *constant.as_bytes())
            }
            (Value::Array { whole: true }, Constant::Array(items)) => self.equals_array(at, items),
            (Value::Object { whole: true }, Constant::Object(members)) => {
                self.equals_object(at, members)
            }
            _ => Ok(false),
        }
    }

    fn equals_array(&mut self, at: usize, items: &[Constant]) -> Verdict {
        let mut elements = self.tape.elements(at);
        for item in items {
            let Some(element) = elements.next() else {
                return Ok(false);
            };
            if !self.equals(element, item)? {
                return Ok(false);
            }
        }
        Ok(elements.next().is_none())
    }

    /// Of a key that comes twice the last value counts. A step for each constant, for they all get a place; for each
    /// member as many as looking it up takes.
    fn equals_object(&mut self, at: usize, constants: &[(Box<str>, Constant)]) -> Verdict {
        self.steps.spend(constants.len())?;
        let mut values = vec![MISSING; constants.len()];
        let look_up = constants.len().checked_ilog2().unwrap_or(0) as usize;
        for (key, _, value) in self.tape.members(at) {
            self.steps
                .spend((1 + look_up) * (1 + key.len() / STEP_BYTES))?;
            let same_key = constants.binary_search_by(|(known, _)| known.as_bytes().cmp(key));
            let Ok(place) = same_key else {
                return Ok(false);
            };
            values[place] = value;
        }
        for (value, (_, constant)) in values.into_iter().zip(constants) {
            if value == MISSING || !self.equals(value, constant)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn text(&mut self, bytes: usize) -> Result<(), TooCostly> {
        self.steps.spend(bytes / STEP_BYTES)
    }
}
