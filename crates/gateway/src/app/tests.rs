//! The mechanics that all routes share, over a service that is played.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::ServiceExt as _;

use super::*;
use crate::credential::Form;

fn rpcs_there_are() -> BTreeSet<String> {
    let files = prost_types::FileDescriptorSet::decode(sidehook_api::DESCRIPTORS)
        .expect("our own descriptors");
    let mut rpcs = BTreeSet::new();
    for file in &files.file {
        for service in &file.service {
            for method in &service.method {
                rpcs.insert(format!(
                    "/{}.{}/{}",
                    file.package(),
                    service.name(),
                    method.name()
                ));
            }
        }
    }
    rpcs
}

/// The guard has exactly one rule for each RPC: so whatever a route does is ruled.
#[test]
fn every_route_leads_to_rpcs_that_there_are() {
    let known = rpcs_there_are();
    let (mut ids, mut rows) = (BTreeSet::new(), BTreeSet::new());
    for dialect in DIALECTS {
        for route in dialect.routes {
            assert!(!route.rpcs.is_empty(), "{}", route.path);
            for rpc in route.rpcs {
                assert!(known.contains(*rpc), "{}: {rpc}", route.path);
            }
            assert!(route.path.starts_with(dialect.prefix), "{}", route.path);
            assert!(!route.path.ends_with('/'), "{}", route.path);
            assert!(ids.insert(route.doc.id), "{}", route.doc.id);
            let row = (route.method.as_str(), route.path);
            assert!(rows.insert(row), "{row:?} is there twice");
        }
    }
}

type Rpc = http::Request<tonic::body::Body>;
type RpcAnswer = http::Response<tonic::body::Body>;

/// A gateway over this service, and how many RPCs have reached it beside those that only
/// look at a key.
fn gateway(
    answer: impl Fn(&Rpc) -> RpcAnswer + Clone + Send + Sync + 'static,
) -> (Router, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let service = tower::service_fn(move |rpc: Rpc| {
        let looks = LOOKING.contains(&rpc.uri().path());
        counted.fetch_add(usize::from(!looks), Ordering::Relaxed);
        let answer = answer(&rpc);
        async move { Ok::<_, Infallible>(answer) }
    });
    let service = InProcess::new(service);
    (router(&service, DialectSettings::default()), calls)
}

/// An answer without any field set, with these headers.
fn empty_message(headers: &[(&'static str, &'static str)]) -> RpcAnswer {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frame = Full::new(Bytes::from_static(&[0; 5]));
    let body = frame.with_trailers(core::future::ready(Some(Ok(trailers))));
    let mut answer = http::Response::new(tonic::body::Body::new(body));
    let json = HeaderValue::from_static("application/grpc");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        answer.headers_mut().insert(*name, value);
    }
    answer
}

async fn ask(router: &Router, request: http::request::Builder, body: &'static str) -> Answer {
    let request = request.body(Body::from(body)).expect("a request");
    let answer = router.clone().oneshot(request).await.expect("an answer");
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).expect("text"),
    }
}

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(HeaderValue::to_str);
        value.map_or("", |value| value.expect("text"))
    }
}

fn close(method: &str, path: &str) -> http::request::Builder {
    let request = http::Request::builder().method(method).uri(path);
    request.header(header::AUTHORIZATION, "Bearer k1")
}

/// A key in a form that the dialect takes.
fn key_of(dialect: &Dialect) -> &'static str {
    match dialect.credentials {
        [Form::BasicPassword] => "Basic OmsxMg==",
        _ => "Bearer k12",
    }
}

const LEFT: &str = "limit=100, remaining=50, reset=5";
const SUBSCRIPTION: &str = "/api/v1/webhook/whsub_0000000000000000000000";

#[tokio::test]
async fn what_an_answer_says_of_the_callers_limit_is_passed_on() {
    let told = "limit=100, remaining=50, reset=5";
    let (router, _) = gateway(move |rpc| {
        assert_eq!(rpc.headers()["authorization"], "Bearer k1");
        empty_message(&[("ratelimit", "limit=100, remaining=50, reset=5")])
    });
    let done = ask(&router, close("DELETE", SUBSCRIPTION), "").await;
    assert_eq!((done.status, &*done.body), (200, "{}"));
    assert_eq!(done.header("ratelimit"), told);
    assert_eq!(done.header("cache-control"), "no-store");

    let (router, _) = gateway(|_| {
        let details = ErrorDetails::with_retry_info(Some(core::time::Duration::from_millis(200)));
        let status = Status::with_error_details(Code::ResourceExhausted, "too fast", details);
        let mut answer = status.into_http();
        let value = HeaderValue::from_static("limit=100, remaining=0, reset=1");
        answer.headers_mut().insert("ratelimit", value);
        answer
    });
    let refused = ask(&router, close("DELETE", SUBSCRIPTION), "").await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.body, r#"{"error":"too fast"}"#);
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(
        refused.header("ratelimit"),
        "limit=100, remaining=0, reset=1"
    );
}

/// The routes with parameters filled in, each with and without its slash.
fn all_paths() -> impl Iterator<Item = (&'static Dialect, &'static Route, String)> {
    let routes = DIALECTS
        .iter()
        .flat_map(|dialect| dialect.routes.iter().map(move |route| (*dialect, route)));
    routes.flat_map(|(dialect, route)| {
        let path = route.path.replace(['{', '}'], "");
        let paths = [path.clone(), format!("{path}/")];
        paths.map(|path| (dialect, route, path))
    })
}

#[tokio::test]
async fn without_a_key_nothing_gets_through() {
    let (router, calls) = gateway(|_| empty_message(&[]));
    for (_, route, path) in all_paths() {
        let request = http::Request::builder().method(&route.method).uri(&path);
        let json = request.header(header::CONTENT_TYPE, "application/json");
        let refused = ask(&router, json, "{}").await;
        assert_eq!(refused.status, 401, "{} {path}", route.method);
        assert!(!refused.header("www-authenticate").is_empty(), "{path}");
        assert_ne!(refused.body, "", "{path}");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_path_tells_its_methods() {
    let (router, calls) = gateway(|_| empty_message(&[("ratelimit", LEFT)]));
    for (dialect, route, path) in all_paths() {
        let asked = ask(&router, close("OPTIONS", &path), "").await;
        assert_eq!(asked.status, 204, "{path}");
        let allow = asked.header("allow").to_owned();
        let has = |method: &str| allow.split(", ").any(|one| one == method);
        assert!(has(route.method.as_str()), "{path}: {allow}");
        assert_eq!(has("HEAD"), has("GET"), "{path}: {allow}");
        let trace = http::Request::builder().method("TRACE").uri(&path);
        let trace = trace.header(header::AUTHORIZATION, key_of(dialect));
        let refused = ask(&router, trace, "").await;
        assert_eq!(refused.status, 405, "{path}");
        assert_eq!(refused.header("allow"), allow, "{path}");
        assert_eq!(refused.header("ratelimit"), LEFT, "{path}");
    }
    let no_dialects = ask(&router, close("GET", "/nope"), "").await;
    assert_eq!(no_dialects.status, 404);
    let close_has_none = ask(&router, close("GET", "/api/v1/nope"), "").await;
    assert_eq!(close_has_none.status, 404);
    let no_text = ask(&router, close("GET", "/api/v1/webhook/%ff"), "").await;
    assert_eq!(no_text.status, 404);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_query_has_what_the_row_names_and_no_more() {
    let (router, calls) = gateway(|_| empty_message(&[]));
    for (dialect, route, path) in all_paths() {
        let request = http::Request::builder().method(&route.method);
        let request = request
            .uri(format!("{path}?no-such-parameter=1"))
            .header(header::AUTHORIZATION, key_of(dialect));
        let refused = ask(&router, request, "{}").await;
        assert!(matches!(refused.status, 400 | 422), "{path}");
        let body = &refused.body;
        assert!(body.contains("no-such-parameter"), "{path}: {body}");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn bodies_have_a_length_and_a_type() {
    let (router, calls) = gateway(|_| empty_message(&[]));
    let post = || close("POST", "/api/v1/webhook/");
    assert_eq!(ask(&router, post(), "{}").await.status, 415);
    let encoded = post()
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_ENCODING, "gzip");
    assert_eq!(ask(&router, encoded, "{}").await.status, 415);
    let long: &'static str = Box::leak(" ".repeat(1024 * 1024).into_boxed_str());
    let json = post().header(header::CONTENT_TYPE, "application/json");
    assert_eq!(ask(&router, json, long).await.status, 413);
    let json = post().header(header::CONTENT_TYPE, "application/json");
    let malformed = ask(&router, json, r#"{"url": "x",}"#).await;
    assert_eq!(malformed.status, 400);
    assert!(malformed.body.contains("JSON"), "{}", malformed.body);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_strangers_request_is_a_strangers_whatever_else_is_wrong() {
    let (router, calls) = gateway(|rpc| {
        assert_eq!(rpc.uri().path(), LOOKING[0]);
        Status::unauthenticated("nobody's").into_http()
    });
    let json = |path| close("POST", path).header(header::CONTENT_TYPE, "application/json");
    let malformed = ask(&router, json("/api/v1/webhook/"), "{").await;
    assert_eq!(malformed.status, 401, "{}", malformed.body);
    let query = ask(&router, close("GET", "/api/v1/webhook/?a=b"), "").await;
    assert_eq!(query.status, 401);
    let method = ask(&router, close("TRACE", "/api/v1/webhook/"), "").await;
    assert_eq!((method.status, method.header("allow")), (401, ""));
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn head_is_answered_where_get_is() {
    let (router, _) = gateway(|_| empty_message(&[]));
    let head = ask(&router, close("HEAD", "/api/v1/webhook/"), "").await;
    assert_eq!((head.status, &*head.body), (200, ""));
    let got = ask(&router, close("GET", "/api/v1/webhook/"), "").await;
    assert_eq!(got.body, r#"{"data":[],"has_more":false}"#);
    let described = ask(&router, close("HEAD", "/openapi.json"), "").await;
    assert_eq!((described.status, &*described.body), (200, ""));
    let posted = ask(&router, close("POST", "/openapi.json"), "").await;
    assert_eq!((posted.status, posted.header("allow")), (405, "GET, HEAD"));
}

#[tokio::test]
async fn what_is_ours_to_mend_is_a_500_that_tells_nothing() {
    let (router, _) = gateway(|_| Status::internal("a secret").into_http());
    let failed = ask(&router, close("GET", SUBSCRIPTION), "").await;
    assert_eq!(failed.status, 500);
    let (router, _) = gateway(|_| empty_message(&[]));
    let hollow = ask(&router, close("GET", SUBSCRIPTION), "").await;
    assert_eq!(hollow.status, 500);
    assert!(!hollow.body.contains("lacks"), "{}", hollow.body);
}
