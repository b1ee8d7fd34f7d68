//! Errors in Collect's words: a status, and one line.

use http::StatusCode;
use serde_json::json;

use crate::{
    answer::{self, Response},
    problem::{Kind, Problem},
};

/// Status and body. Collect knows 400, 401, 403, 404, 429, 500 and 503; what is HTTP's own
/// affair keeps HTTP's status.
pub(super) fn render(problem: &Problem) -> Response {
    let status = match problem.kind {
        // It was tried several times: whoever tries later is likely to be the faster one.
        Kind::Conflict => StatusCode::SERVICE_UNAVAILABLE,
        Kind::TooLarge => StatusCode::BAD_REQUEST,
        kind => kind.status(),
    };
    answer::value(status, &json!({ "error": line(&problem.message) }))
}

fn line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ")
}

/// The member of a webhook that a field of a subscription comes from; `None` if it has the
/// same name, or none.
pub(super) fn renamed(field: &str) -> Option<String> {
    let name = if field == "url" {
        "targetUrl"
    } else if field.starts_with("events") {
        "types"
    } else if field.starts_with("headers") {
        "secretToken"
    } else if field == "campaign_id" {
        "campaignId"
    } else {
        return None;
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(line("a\nb\r\n  c"), "a b c");
    }

    #[test]
    fn statuses_are_collects() {
        for (kind, status) in [
            (Kind::Malformed, 400),
            (Kind::Invalid, 400),
            (Kind::Limit, 400),
            (Kind::TooLarge, 400),
            (Kind::Unauthenticated, 401),
            (Kind::Denied, 403),
            (Kind::NotFound, 404),
            (Kind::TooMany, 429),
            (Kind::Conflict, 503),
        ] {
            let answer = render(&Problem::new(kind, "x"));
            assert_eq!(answer.status().as_u16(), status, "{kind:?}");
        }
    }
}
