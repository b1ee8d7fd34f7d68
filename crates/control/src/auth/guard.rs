//! The guard in front of every service.
//!
//! It also counts what is under way on each connection, for the drain: only requests of
//! callers that are known. Anybody may hold the open ones, a watch of the health or a
//! reflection, and must not hold a drain with them.

use core::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http_body_util::{BodyExt as _, Limited};
use sidehook_api::{continued::Continued, metadata::TENANT};
use sidehook_core::{limits::FRAME_BYTES, principal::Principal};
use tokio::time::timeout;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tonic::{
    Request, Status,
    body::Body,
    codegen::{Service, http},
};

use super::{
    Authenticator, Credential, KeyDigest, Known, PeerCertificate, Standing,
    refusal::Refusal,
    rights::{Rule, rule},
};
use crate::{
    errors::{OperationError, behind},
    rates::{Quota, Rates},
};

/// How much of a refused request is taken, in bytes: a message at its longest, and its
/// frame.
const HEARD_OUT_BYTES: usize = FRAME_BYTES + 5;
/// How long the rest of a refused request may take to come.
const HEARD_OUT_FOR: Duration = Duration::from_secs(1);

const RPCS: &str = "sidehook_rpcs_total";
const RPCS_REFUSED: &str = "sidehook_rpcs_refused_total";

/// The requests of one connection that are not answered to their end.
#[derive(Clone, Debug, Default)]
pub struct UnderWay {
    open: TaskTracker,
    known: Arc<AtomicBool>,
}

impl UnderWay {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// Resolves once there is none.
    pub async fn none(&self) {
        self.open.close();
        self.open.wait().await;
    }

    /// Whether a caller that is known has made one of them, ever.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    pub(crate) fn set_known(&self) {
        self.known.store(true, Ordering::Relaxed);
    }
}

/// The other end of a connection. The connection's requests bear it as an extension; those
/// that are made in this process have none.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Its requests.
    pub under_way: UnderWay,
    /// The certificate that it has shown, if it was asked for one.
    pub certificate: Option<Arc<PeerCertificate>>,
}

/// A service that only callers with the right credential reach.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    inner: S,
    authenticator: Arc<Authenticator>,
    rates: Option<Rates>,
}

impl<S> Guarded<S> {
    /// Guards `inner`.
    pub fn new(inner: S, authenticator: Arc<Authenticator>) -> Self {
        metrics::describe_counter!(RPCS, "RPCs of callers that may make them, by path");
        metrics::describe_counter!(
            RPCS_REFUSED,
            "RPCs refused for want of a valid key or a right, by path"
        );
        Self {
            inner,
            authenticator,
            rates: None,
        }
    }

    /// Lets nobody call more often than `rates` allow.
    #[must_use]
    pub fn limited(mut self, rates: Rates) -> Self {
        self.rates = Some(rates);
        self
    }
}

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        // The one that was polled ready goes along with the request.
        let next = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, next);
        let authenticator = Arc::clone(&self.authenticator);
        let rates = self.rates.clone();
        let peer = request.extensions().get::<Peer>().cloned();
        let connection = peer.as_ref().map(|peer| peer.under_way.clone());
        let certificate = peer.and_then(|peer| peer.certificate);
        let under_way = connection.as_ref().map(|all| all.open.token());
        Box::pin(async move {
            match admit(
                &authenticator,
                certificate.as_ref(),
                rates.as_ref(),
                &mut request,
            )
            .await
            {
                Ok(Admitted::Anybody) => {
                    drop(under_way);
                    inner.call(request).await
                }
                Ok(Admitted::Known {
                    tenant,
                    quota,
                    refusal,
                }) => {
                    if let Some(connection) = connection {
                        connection.set_known();
                    }
                    let mut answer = match refusal {
                        None => reworded(inner.call(request).await?),
                        Some(refusal) => refused(refusal, request).await,
                    };
                    answer.headers_mut().insert(TENANT, tenant);
                    if let Some(quota) = quota {
                        quota.tell(answer.headers_mut());
                    }
                    Ok(answer.map(|body| holding(under_way, body)))
                }
                Err(refusal) => Ok(refused(refusal, request).await),
            }
        })
    }
}

/// The answer to a request that is refused, which is taken to its end first, if that is
/// near. To answer before it is to reset the stream, and what of it still arrives is
/// counted: after a thousand such requests h2 closes the connection, and fails with it
/// whatever else is under way there.
async fn refused(refusal: Status, request: http::Request<Body>) -> http::Response<Body> {
    let mut body = Limited::new(request.into_body(), HEARD_OUT_BYTES);
    let heard_out = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = timeout(HEARD_OUT_FOR, heard_out).await;
    refusal.into_http()
}

/// The body, under way until its end is sent or nobody wants it any more.
fn holding(under_way: Option<TaskTrackerToken>, body: Body) -> Body {
    Body::new(body.map_frame(move |frame| {
        let _held = &under_way;
        frame
    }))
}

enum Admitted {
    Anybody,
    /// A caller that is known, and is told of its own in any case.
    Known {
        /// Its tenant, as text.
        tenant: http::HeaderValue,
        /// What it has left of its requests.
        quota: Option<Quota>,
        /// Why it may not make this one.
        refusal: Option<Status>,
    },
}

/// The answer, in our own words where tonic refused the message.
fn reworded(response: http::Response<Body>) -> http::Response<Body> {
    let refused = Status::from_header_map(response.headers());
    match refused.as_ref().and_then(behind) {
        Some(error) => Status::from(error).into_http(),
        None => response,
    }
}

async fn admit(
    authenticator: &Arc<Authenticator>,
    certificate: Option<&Arc<PeerCertificate>>,
    rates: Option<&Rates>,
    request: &mut http::Request<Body>,
) -> Result<Admitted, Status> {
    let (right, path) = match rule(request.uri().path()) {
        Some(Rule::Open) => return Ok(Admitted::Anybody),
        Some(Rule::Needs(right, path)) => (right, path),
        None => {
            // Not repeating the path: it is of any length and anybody's.
            let message = "there is no such RPC: server reflection lists all";
            return Err(Status::unimplemented(message));
        }
    };
    let known = match identify(authenticator, certificate, request.headers()).await {
        Ok(known) => known,
        Err(error) => {
            metrics::counter!(RPCS_REFUSED, "rpc" => path).increment(1);
            return Err(error.into());
        }
    };
    let tenant = http::HeaderValue::try_from(known.principal.tenant.to_string())
        .map_err(|_| OperationError::Internal("an id is no text".to_owned()))?;
    let is_continued = request.extensions().get::<Continued>().is_some();
    // The first RPC of a request stands for those that it takes.
    let admitted = match rates {
        Some(rates) if !is_continued => {
            let key = known.proof.key();
            rates.admit(&known.principal, key, right).await
        }
        _ => Ok(None),
    };
    // After the rates: who asks for what is not theirs asks no more often for it.
    let (quota, refusal) = match admitted {
        Err(too_many) => (None, Some(too_many)),
        Ok(quota) if known.principal.may(right) => (quota, None),
        Ok(quota) => {
            metrics::counter!(RPCS_REFUSED, "rpc" => path).increment(1);
            (quota, Some(denied(&known.principal, path).into()))
        }
    };
    if refusal.is_none() {
        metrics::counter!(RPCS, "rpc" => path).increment(1);
        request.headers_mut().remove(http::header::AUTHORIZATION);
        let extensions = request.extensions_mut();
        extensions.insert(Arc::clone(&known.principal));
        extensions.insert(Standing {
            authenticator: Arc::clone(authenticator),
            known,
            right,
            rpc: path,
        });
    }
    Ok(Admitted::Known {
        tenant,
        quota,
        refusal,
    })
}

async fn identify(
    authenticator: &Authenticator,
    certificate: Option<&Arc<PeerCertificate>>,
    headers: &http::HeaderMap,
) -> Result<Known, OperationError> {
    authenticator
        .authenticate(credential(headers, certificate)?)
        .await
}

/// What the caller shows: the bearer credential, if there is one, else the certificate.
fn credential<'a>(
    headers: &'a http::HeaderMap,
    certificate: Option<&'a Arc<PeerCertificate>>,
) -> Result<Credential<'a>, Refusal> {
    let Some(value) = headers.get(http::header::AUTHORIZATION) else {
        let shown = certificate.map(Credential::Certificate);
        return shown.ok_or(Refusal::MISSING);
    };
    let bearer = value.to_str().ok().and_then(|text| text.split_once(' '));
    match bearer {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => {
            let key = key.trim();
            Ok(Credential::Bearer(KeyDigest::of(key), key))
        }
        _ => Err(Refusal::MISSING),
    }
}

/// The caller is known and may not call this.
pub(super) fn denied(principal: &Principal, path: &str) -> OperationError {
    use sidehook_core::principal::Role;
    let role = match principal.role {
        Role::Admin => "an admin",
        Role::Member => "a member",
        Role::Publisher => "a publisher",
        Role::Viewer => "a viewer",
        Role::Agent(_) => "an agent",
        Role::Operator => "the operator",
    };
    let method = path.rsplit('/').next().unwrap_or_default();
    OperationError::Denied {
        rpc: path.to_owned(),
        message: format!(
            "`{}` is {role}, which may not call {method}: use the credential of another role",
            principal.subject
        ),
    }
}

/// Who calls.
///
/// # Errors
/// INTERNAL if no [`Guarded`] stands before the service.
pub fn principal<T>(request: &Request<T>) -> Result<&Arc<Principal>, Status> {
    let missing = || OperationError::Internal("a request passed no guard".to_owned()).into();
    request.extensions().get().ok_or_else(missing)
}

/// The caller's key, for streams that outlast the moment it was checked.
///
/// # Errors
/// As [`principal`].
pub fn standing<T>(request: &Request<T>) -> Result<Standing, Status> {
    let missing = || OperationError::Internal("a request passed no guard".to_owned()).into();
    request.extensions().get().cloned().ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use sidehook_store::model::Model;

    use super::{super::FixedKey, *};

    async fn is_known_after(path: &str, key: &str) -> bool {
        let operator = FixedKey::operator(&"a key of the operator".to_owned().into());
        let authenticator = Authenticator::new(Arc::new(Model::new()), vec![operator]);
        let inner = tonic::service::Routes::default().prepare();
        let mut guarded = Guarded::new(inner, Arc::new(authenticator));
        let peer = Peer::default();
        let request = http::Request::post(path)
            .header("authorization", format!("Bearer {key}"))
            .extension(peer.clone())
            .body(Body::empty())
            .expect("a request");
        let answer = guarded.call(request).await.expect("an answer");
        let tenant = answer.headers().get(TENANT);
        let is_known = peer.under_way.is_known();
        assert_eq!(tenant.is_some(), is_known, "{path}");
        is_known
    }

    #[tokio::test]
    async fn a_connection_is_known_by_a_request_with_a_key() {
        let tenants = "/sidehook.v1.AdminService/ListTenants";
        assert!(is_known_after(tenants, "a key of the operator").await);
        assert!(!is_known_after(tenants, "another").await);
        // Of somebody known it is, whatever they ask for.
        let subscriptions = "/sidehook.v1.WebhookService/ListSubscriptions";
        assert!(is_known_after(subscriptions, "a key of the operator").await);
        let health = "/grpc.health.v1.Health/Check";
        assert!(!is_known_after(health, "a key of the operator").await);
    }
}
