//! Answers: a status, and JSON or nothing.

use axum::body::Body;
use http::{HeaderValue, Response as Http, StatusCode, header};
use serde::Serialize;

use crate::problem::Problem;

/// An answer of a handler.
pub(crate) type Response = Http<Body>;

/// JSON with this status.
///
/// # Errors
/// The value is none that JSON can write, which is a mistake of ours.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Result<Response, Problem> {
    match serde_json::to_vec(value) {
        Ok(bytes) => Ok(with(status, Body::from(bytes))),
        Err(error) => Err(Problem::internal(&format!(
            "an answer could not be written: {error}"
        ))),
    }
}

/// JSON that is there already.
pub(crate) fn value(status: StatusCode, value: &serde_json::Value) -> Response {
    with(status, Body::from(value.to_string()))
}

/// A status and no body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Http::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn with(status: StatusCode, body: Body) -> Response {
    let mut response = Http::new(body);
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
