//! What a dialect and a route are.
//!
//! Each route is one row. The row leads to its handler, names the RPCs that the handler
//! makes (no other gets through: `backend`), and describes itself for `/openapi.json`.
//! So a route cannot be served without being described, or reach further than it says.

use futures_util::future::BoxFuture;
use http::Method;
use serde_json::{Map, Value};

use crate::{answer::Response, call::Call, credential::Form, problem::Problem};

/// A foreign API that the gateway speaks.
pub(crate) struct Dialect {
    /// Its name, as a tag in `/openapi.json`.
    pub(crate) name: &'static str,
    /// What it is, for people.
    pub(crate) about: &'static str,
    /// Every path of it begins so; what begins so and is no path of it is answered in
    /// its words.
    pub(crate) prefix: &'static str,
    /// Where the key may stand in a request.
    pub(crate) credentials: &'static [Form],
    /// Whether a body must be declared to be JSON.
    pub(crate) requires_json_type: bool,
    /// Puts a problem into its words: status and body. Headers that hold for all
    /// dialects are added to it.
    pub(crate) render: fn(&Problem) -> Response,
    /// The statuses of errors that any of its routes may answer.
    pub(crate) errors: &'static [u16],
    /// Name of the schema of its errors' body, one of `schemas`.
    pub(crate) error_schema: &'static str,
    /// Schemas of what it takes and answers, by names that are unique over all dialects.
    pub(crate) schemas: fn() -> Map<String, Value>,
    /// Its routes.
    pub(crate) routes: &'static [Route],
}

/// A method on a path, and what it leads to.
pub(crate) struct Route {
    /// The method. HEAD is answered wherever GET is.
    pub(crate) method: Method,
    /// The path without its trailing slash, with parameters as `{id}`. It is served with
    /// the slash too.
    pub(crate) path: &'static str,
    /// The RPCs that it makes, as `/package.Service/Method`.
    pub(crate) rpcs: &'static [&'static str],
    /// What makes the answer.
    pub(crate) handler: Handler,
    /// What `/openapi.json` says.
    pub(crate) doc: Doc,
}

/// What makes the answer to a request of a caller that has given some key.
pub(crate) type Handler = fn(Call) -> BoxFuture<'static, Result<Response, Problem>>;

/// What `/openapi.json` says of a route.
pub(crate) struct Doc {
    /// Its name, unique over all dialects: `closeListWebhooks`.
    pub(crate) id: &'static str,
    /// What it does, in a line.
    pub(crate) summary: &'static str,
    /// The query parameters that it takes; any other is refused.
    pub(crate) query: &'static [Parameter],
    /// Name of the schema of its body, if it takes one.
    pub(crate) body: Option<&'static str>,
    /// The status of success.
    pub(crate) status: u16,
    /// Name of the schema of that answer; `None`: no body.
    pub(crate) answer: Option<&'static str>,
}

/// A query parameter.
pub(crate) struct Parameter {
    /// Its name.
    pub(crate) name: &'static str,
    /// What may stand there.
    pub(crate) kind: ParameterKind,
    /// What it does, in a line.
    pub(crate) about: &'static str,
}

/// What may stand in a query parameter.
#[derive(Clone, Copy)]
pub(crate) enum ParameterKind {
    /// Any text.
    Text,
    /// A number between these, and the one that holds if none is given.
    Number {
        /// The least.
        min: u32,
        /// The most.
        max: u32,
        /// If none is given.
        default: u32,
    },
    /// A time as `times::read` takes it.
    Time,
}
