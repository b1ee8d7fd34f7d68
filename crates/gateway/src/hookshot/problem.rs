//! Errors in Hookshot's words: wrong fields by name, 422; anything else `{"error": "…"}`.

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::{
    answer::{self, Response},
    problem::{Kind, Problem, Step, steps},
};

/// Status and body.
pub(super) fn render(problem: &Problem) -> Response {
    let status = match problem.kind {
        Kind::Invalid | Kind::Precondition | Kind::Limit => StatusCode::UNPROCESSABLE_ENTITY,
        kind => kind.status(),
    };
    let body = match problem.kind {
        Kind::Invalid => fields(problem),
        Kind::Limit if problem.reason == "ACTIVE_LIMIT" => json!({ "active": [problem.message] }),
        _ => json!({ "error": problem.message }),
    };
    answer::value(status, &body)
}

/// Each member of the body with all that is wrong with it. Of what lies in a member the
/// text says where.
fn fields(problem: &Problem) -> Value {
    let mut fields = Map::new();
    for wrong in &problem.fields {
        let path = steps(&wrong.field);
        let name = match path.first() {
            Some(Step::Name(name)) => *name,
            _ => &*wrong.field,
        };
        let rest = wrong.field.strip_prefix(name).unwrap_or_default();
        let text = match rest.strip_prefix('.').unwrap_or(rest) {
            "" => wrong.description.clone(),
            place => format!("{place}: {}", wrong.description),
        };
        let texts = fields.entry(name).or_insert_with(|| json!([]));
        if let Value::Array(texts) = texts {
            texts.push(text.into());
        }
    }
    Value::Object(fields)
}

/// The member of a hook that a field of a subscription comes from; `None` if it has the
/// same name, or none.
pub(super) fn renamed(field: &str) -> Option<String> {
    if field.starts_with("headers") || field == "event_header" {
        return Some("header".to_owned());
    }
    if field.starts_with("signing") {
        return Some("secret".to_owned());
    }
    if field == "status" {
        return Some("active".to_owned());
    }
    let inside = field.strip_suffix(".object_type");
    let inside = inside.or_else(|| field.strip_suffix(".action"));
    inside.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use sidehook_core::violation::Violations;

    use super::*;

    #[test]
    fn fields_have_lists_of_texts() {
        let mut wrong = Violations::new();
        for (field, description) in [
            ("url", "can't be blank"),
            ("headers[0].name", "a"),
            ("events[1].action", "b"),
            ("events", "c"),
            ("signing_secret", "d"),
        ] {
            wrong.add(field, description);
        }
        let problem = Problem::invalid(wrong).renamed(renamed);
        assert_eq!(
            fields(&problem),
            json!({
                "url": ["can't be blank"],
                "header": ["a"],
                "events": ["[1]: b", "c"],
                "secret": ["d"],
            })
        );
    }

    #[test]
    fn statuses_are_hookshots() {
        for (kind, status) in [
            (Kind::Invalid, 422),
            (Kind::Limit, 422),
            (Kind::Precondition, 422),
            (Kind::Malformed, 400),
            (Kind::Unauthenticated, 401),
            (Kind::Denied, 403),
            (Kind::NotFound, 404),
            (Kind::TooMany, 429),
        ] {
            let answer = render(&Problem::new(kind, "x"));
            assert_eq!(answer.status().as_u16(), status, "{kind:?}");
        }
    }
}
