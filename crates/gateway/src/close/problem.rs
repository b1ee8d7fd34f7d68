//! Errors in Close's words.
//!
//! | what | body |
//! |---|---|
//! | no key, no such thing, not allowed, too much, away | `{"error": "…"}` |
//! | wrong fields | `{"errors": […], "field-errors": {"url": "…"}}` |
//! | of a list's element | `{"field-errors": {"events": {"errors": {"1": …}}}}` |
//!
//! A field's error is text, or the same again one level deeper: `field-errors` by the
//! name of a member, `errors` by the number of an element.

use serde_json::{Map, Value, json};

use crate::{
    answer::{self, Response},
    problem::{Kind, Problem, Step, steps},
};

/// Status and body.
pub(crate) fn render(problem: &Problem) -> Response {
    let body = match problem.kind {
        Kind::Invalid | Kind::Malformed | Kind::Precondition | Kind::Limit => fields(problem),
        _ => json!({ "error": problem.message }),
    };
    answer::value(problem.kind.status(), &body)
}

fn fields(problem: &Problem) -> Value {
    let mut errors = Vec::new();
    let mut by_field = Value::Object(Map::new());
    for wrong in &problem.fields {
        let path = steps(&wrong.field);
        put(&mut by_field, &path, &wrong.description);
    }
    if problem.fields.is_empty() {
        errors.push(&*problem.message);
    }
    let empty = Value::Object(Map::new());
    let named = by_field.get(MEMBERS).unwrap_or(&empty);
    json!({ "errors": errors, MEMBERS: named })
}

/// Errors of an object's members, by name.
const MEMBERS: &str = "field-errors";
/// Errors of a list's elements, by number.
const ELEMENTS: &str = "errors";

/// Puts an error where its path leads. Where one stands already, the first stays.
fn put(at: &mut Value, path: &[Step<'_>], description: &str) {
    let Some((step, rest)) = path.split_first() else {
        if at.is_null() {
            *at = Value::from(description);
        }
        return;
    };
    if at.is_null() {
        *at = Value::Object(Map::new());
    }
    // The error of a whole value is all that is said of it.
    let Value::Object(errors) = at else { return };
    let (group, key) = match step {
        Step::Name(name) => (MEMBERS, (*name).to_owned()),
        Step::Index(index) => (ELEMENTS, index.to_string()),
    };
    let group = errors.entry(group).or_insert_with(|| json!({}));
    if let Value::Object(group) = group {
        put(group.entry(key).or_insert(Value::Null), rest, description);
    }
}

#[cfg(test)]
mod tests {
    use sidehook_core::violation::Violations;

    use super::*;

    fn shown(wrong: &[(&str, &str)]) -> Value {
        let mut violations = Violations::new();
        for (field, description) in wrong {
            violations.add(*field, *description);
        }
        fields(&Problem::invalid(violations))
    }

    #[test]
    fn fields_are_nested_as_the_body_is() {
        assert_eq!(
            shown(&[("url", "This field is required.")]),
            json!({"errors": [], "field-errors": {"url": "This field is required."}})
        );
        assert_eq!(
            shown(&[("events[1].action", "a"), ("events[3]", "b"), ("url", "c")]),
            json!({"errors": [], "field-errors": {
                "events": {"errors": {"1": {"field-errors": {"action": "a"}}, "3": "b"}},
                "url": "c",
            }})
        );
    }

    #[test]
    fn the_first_error_of_a_value_stays() {
        assert_eq!(
            shown(&[("url", "a"), ("url", "b"), ("url.x", "c")]),
            json!({"errors": [], "field-errors": {"url": "a"}})
        );
        assert_eq!(
            shown(&[("events[0].action", "a"), ("events", "b")]),
            json!({"errors": [], "field-errors": {
                "events": {"errors": {"0": {"field-errors": {"action": "a"}}}},
            }})
        );
    }

    #[test]
    fn what_concerns_no_field_is_told_as_such() {
        let full = Problem::new(Kind::Limit, "all 40 are taken");
        assert_eq!(
            fields(&full),
            json!({"errors": ["all 40 are taken"], "field-errors": {}})
        );
    }
}
