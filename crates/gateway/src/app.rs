//! How a request finds its row, and what every answer has.
//!
//! axum matches the path; the rows of that path say which methods there are. So a path
//! answers OPTIONS, HEAD and methods that it does not have by the same table.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{RawPathParams, Request, rejection::RawPathParamsRejection},
    routing::any,
};
use http::{HeaderValue, Method, StatusCode, header};
use parking_lot::Mutex;
use serde_json::json;
use sidehook_api::{
    metadata::RATE_LIMIT,
    v1::{self, webhook_service_client::WebhookServiceClient},
};

use crate::{
    answer::{self, Response},
    backend::{Backend, InProcess, Notes},
    call::Call,
    close::CLOSE,
    collect::COLLECT,
    credential::bearer,
    dialect::{Dialect, Route},
    hookshot::HOOKSHOT,
    openapi,
    problem::{Kind, Problem, whole_seconds},
    query::Query,
    settings::DialectSettings,
};

/// The dialects that are spoken.
pub(crate) static DIALECTS: &[&Dialect] = &[&CLOSE, &COLLECT, &HOOKSHOT];

/// The parameters of a path, unless they are not even text.
type Parameters = Result<RawPathParams, RawPathParamsRejection>;

/// Extension of answers to callers that are known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfKnown;

const REQUESTS: &str = "sidehook_gateway_requests_total";

/// What every route stands on.
#[derive(Clone)]
struct Base {
    service: InProcess,
    settings: Arc<DialectSettings>,
}

/// Everything that the gateway answers, over this service.
pub(crate) fn router(service: &InProcess, settings: DialectSettings) -> Router {
    let base = Base {
        service: service.clone(),
        settings: Arc::new(settings),
    };
    metrics::describe_counter!(REQUESTS, "Requests to the gateway, by route and status");
    let described: Arc<str> = openapi::document(DIALECTS).to_string().into();
    let mut router = Router::new().route(
        "/openapi.json",
        any(move |request: Request| async move { describe(&request, &described) }),
    );
    for dialect in DIALECTS {
        for path in paths(dialect) {
            for served in [path.to_owned(), format!("{path}/")] {
                let base = base.clone();
                let answer = move |parameters: Parameters, request: Request| {
                    let base = base.clone();
                    async move { dispatch(dialect, path, base, parameters, request).await }
                };
                router = router.route(&served, any(answer));
            }
        }
    }
    router.fallback(|request: Request| async move { nowhere(&request) })
}

/// The paths of a dialect, each once.
fn paths(dialect: &Dialect) -> Vec<&'static str> {
    let mut paths: Vec<_> = dialect.routes.iter().map(|route| route.path).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// The methods of a path, as `Allow` says them.
fn allowed(rows: &[&Route]) -> String {
    let mut methods = vec!["OPTIONS"];
    for row in rows {
        methods.push(row.method.as_str());
        if row.method == Method::GET {
            methods.push("HEAD");
        }
    }
    methods.sort_unstable();
    methods.join(", ")
}

async fn dispatch(
    dialect: &'static Dialect,
    path: &'static str,
    base: Base,
    parameters: Parameters,
    request: Request,
) -> Response {
    let rows = dialect.routes.iter().filter(|row| row.path == path);
    let rows: Vec<_> = rows.collect();
    let allow = allowed(&rows);
    let method = request.method().clone();
    if method == Method::OPTIONS {
        return with_header(answer::empty(StatusCode::NO_CONTENT), header::ALLOW, &allow);
    }
    let wanted = if method == Method::HEAD {
        &Method::GET
    } else {
        &method
    };
    let row = rows.into_iter().find(|row| row.method == *wanted);
    let row = row.ok_or_else(|| {
        let message = format!("this path has only {allow}");
        Problem::new(Kind::MethodNotAllowed, message)
    });
    let route = row.as_ref().map_or("none", |row| row.doc.id);
    let notes = Notes::default();
    let answered = answered(dialect, row, base, &notes, parameters, request).await;
    let mut response = answered.unwrap_or_else(|problem| told(dialect, &problem));
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response = with_header(response, header::ALLOW, &allow);
    }
    if let Some(limit) = notes.limit() {
        response.headers_mut().insert(RATE_LIMIT, limit);
    }
    if notes.is_known() {
        response.extensions_mut().insert(OfKnown);
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let status = response.status().as_str().to_owned();
    metrics::counter!(REQUESTS, "route" => route, "status" => status).increment(1);
    response
}

async fn answered(
    dialect: &'static Dialect,
    row: Result<&'static Route, Problem>,
    base: Base,
    notes: &Notes,
    parameters: Parameters,
    request: Request,
) -> Result<Response, Problem> {
    let bearer = bearer(dialect.credentials, request.headers())?;
    let backend = |rpcs| Backend::new(base.service.clone(), bearer.clone(), rpcs, notes.clone());
    let looking = backend(LOOKING);
    let handled = match row {
        Ok(row) => {
            let backend = backend(row.rpcs);
            handled(dialect, row, backend, base.settings, parameters, request).await
        }
        Err(problem) => Err(problem),
    };
    match handled {
        Err(problem) if !notes.has_begun() => Err(looked_at(looking, problem).await),
        handled => handled,
    }
}

/// The RPC that [`looked_at`] makes. With nothing in it, it is refused as such, whatever
/// else there is.
const LOOKING: &[&str] = &["/sidehook.v1.WebhookService/TestFilter"];

/// What a request comes to that was refused before it made any RPC. Its caller's key has to
/// be looked at like any other's, and the request counts like any other.
async fn looked_at(looking: Backend, problem: Problem) -> Problem {
    let nothing = v1::TestFilterRequest::default();
    let answer = WebhookServiceClient::new(looking)
        .test_filter(nothing)
        .await;
    match answer.err().map(Problem::from) {
        Some(refused) if refused.kind != Kind::Invalid => refused,
        _ => problem,
    }
}

async fn handled(
    dialect: &'static Dialect,
    row: &'static Route,
    backend: Backend,
    settings: Arc<DialectSettings>,
    parameters: Parameters,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    // No id is like what is not even text.
    let parameters = parameters.map_err(|_| Problem::not_found("thing"))?;
    let call = Call {
        backend,
        settings,
        parameters: parameters
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        query: Query::parse(parts.uri.query().unwrap_or_default(), row.doc.query)?,
        headers: parts.headers,
        requires_json_type: dialect.requires_json_type,
        body: Mutex::new(body),
    };
    (row.handler)(call).await
}

/// A problem in the dialect's words, with the headers that are every dialect's.
fn told(dialect: &Dialect, problem: &Problem) -> Response {
    let mut response = (dialect.render)(problem);
    if problem.kind == Kind::Unauthenticated {
        for form in dialect.credentials {
            let challenge = HeaderValue::from_static(form.challenge());
            let headers = response.headers_mut();
            headers.append(header::WWW_AUTHENTICATE, challenge);
        }
    }
    match problem.retry_after {
        Some(wait) => with_header(response, header::RETRY_AFTER, &whole_seconds(wait)),
        None => response,
    }
}

fn with_header(mut response: Response, name: header::HeaderName, value: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// The answer where there is no path, in the words of the dialect that it is nearest to.
fn nowhere(request: &Request) -> Response {
    metrics::counter!(REQUESTS, "route" => "none", "status" => "404").increment(1);
    let path = request.uri().path();
    let problem = Problem::new(Kind::NoRoute, "there is no such path: see /openapi.json");
    let near = DIALECTS.iter().find(|one| path.starts_with(one.prefix));
    match near {
        Some(dialect) => told(dialect, &problem),
        None => answer::value(StatusCode::NOT_FOUND, &json!({ "error": problem.message })),
    }
}

fn describe(request: &Request, described: &Arc<str>) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let refused = json!({ "error": "this path has only GET, HEAD" });
        let refused = answer::value(StatusCode::METHOD_NOT_ALLOWED, &refused);
        return with_header(refused, header::ALLOW, "GET, HEAD");
    }
    let mut response = answer::empty(StatusCode::OK);
    *response.body_mut() = Body::from(described.to_string());
    with_header(response, header::CONTENT_TYPE, "application/json")
}

#[cfg(test)]
mod tests;
