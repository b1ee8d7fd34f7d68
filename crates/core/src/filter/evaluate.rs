//! Whether filters hold for an event.

use super::{
    Constant, Document, FilterKey, FilterSet, Malformed, number,
    plan::{Op, ROOT},
    tape::{Tape, Value},
};

/// An event, read for the filters of a set. Each filter is evaluated when it is first asked for, and once.
#[derive(Debug)]
pub struct Reading<'a> {
    programs: &'a [Op],
    tape: Tape<'a>,
    verdicts: Vec<Option<bool>>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(set: &'a FilterSet, event: &Document<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            tape: Tape::read(&set.plan, event)?,
            programs: &set.programs,
            verdicts: vec![None; set.programs.len()],
        })
    }

    /// Whether the filter holds; false for a key of another set that this one does not have.
    pub fn holds(&mut self, key: FilterKey) -> bool {
        let Some(program) = self.programs.get(key.0) else {
            return false;
        };
        if let Some(verdict) = self.verdicts[key.0] {
            return verdict;
        }
        let verdict = holds(&self.tape, program, self.tape.place(ROOT));
        self.verdicts[key.0] = Some(verdict);
        verdict
    }
}

fn holds(tape: &Tape<'_>, op: &Op, at: usize) -> bool {
    match op {
        Op::Equals(constant) => equals(tape, at, constant),
        Op::NotEquals(constant) => !equals(tape, at, constant),
        Op::IsNull => matches!(tape.value(at), Value::Null),
        Op::NonNull => !matches!(tape.value(at), Value::Null),
        Op::Contains(constant) => contains(tape, at, constant),
        Op::And(ops) => ops.iter().all(|op| holds(tape, op, at)),
        Op::Or(ops) => ops.iter().any(|op| holds(tape, op, at)),
        Op::Not(op) => !holds(tape, op, at),
        Op::At(path, op) => holds(tape, op, tape.place(*path)),
        Op::Field(path, op) => holds(tape, op, tape.field(at, *path)),
        Op::AnyElement(op) => {
            matches!(tape.value(at), Value::Array { .. })
                && tape.elements(at).any(|element| holds(tape, op, element))
        }
    }
}

fn contains(tape: &Tape<'_>, at: usize, constant: &Constant) -> bool {
    match (tape.value(at), constant) {
        (Value::Array { .. }, _) => tape
            .elements(at)
            .any(|element| equals(tape, element, constant)),
        // Character by character: what is no UTF-8 cannot be a part of what is asked for.
        (Value::Text(text), Constant::Text(part)) => {
            part.is_empty()
                || text
                    .utf8_chunks()
                    .any(|chunk| chunk.valid().contains(&**part))
        }
        _ => false,
    }
}

fn equals(tape: &Tape<'_>, at: usize, constant: &Constant) -> bool {
    match (tape.value(at), constant) {
        (Value::Null, Constant::Null) => true,
        (Value::Bool(value), Constant::Bool(constant)) => value == constant,
        (Value::Number(text), Constant::Number(constant)) => {
            number::is_same(text, constant.as_bytes())
        }
        (Value::Text(text), Constant::Text(constant)) => **text == *constant.as_bytes(),
        (Value::Array { whole: true }, Constant::Array(items)) => {
            let mut elements = tape.elements(at);
            let same = |item| {
                let element = elements.next();
                element.is_some_and(|element| equals(tape, element, item))
            };
            items.iter().all(same) && elements.next().is_none()
        }
        (Value::Object { whole: true }, Constant::Object(members)) => {
            equals_object(tape, at, members)
        }
        _ => false,
    }
}

/// Of a key that comes twice the last value counts.
fn equals_object(tape: &Tape<'_>, at: usize, constants: &[(Box<str>, Constant)]) -> bool {
    let mut values = vec![None; constants.len()];
    for (key, _, value) in tape.members(at) {
        let same_key = constants.binary_search_by(|(known, _)| known.as_bytes().cmp(key));
        let Ok(place) = same_key else { return false };
        values[place] = Some(value);
    }
    let mut pairs = values.into_iter().zip(constants);
    pairs.all(|(value, (_, constant))| value.is_some_and(|value| equals(tape, value, constant)))
}
