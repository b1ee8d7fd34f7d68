//! One attempt: lease check, signature, POST, response, outcome.
//!
//! There is no hidden retry. A request goes out a second time only when hyper gives it back, which it does only if
//! nothing of it was written: a connection that the receiver had closed while it rested.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri};
use sidehook_core::outcome::OutcomeKind;
use sidehook_runtime::span::rough;
use sidehook_session::agent_end::Check;
use tokio::time::{Instant, Sleep, sleep};

use super::Shared;
use super::body::Pieces;
use super::connection::Connection;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::job::Job;
use super::outcome_batch::Outcome;
use super::response::{self, Answer};
use super::settings::{Prepared, Target};
use crate::clock;
use crate::rendering::Part;

/// How long a delivery is held back when this machine cannot make attempts, so that it does not go in circles.
const HELD_BACK: Duration = Duration::from_secs(1);
/// How often a worker looks whether a renewal was asked for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A worker's desk: the connection that it holds, and a timer that it resets instead of making one per POST.
pub(super) struct Desk {
    held: Option<Held>,
    timer: Pin<Box<Sleep>>,
}

struct Held {
    endpoint: Arc<Endpoint>,
    connection: Connection,
    keep_alive: Option<Duration>,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self {
            held: None,
            timer: Box::pin(sleep(Duration::ZERO)),
        }
    }

    /// Lets the connection rest where others find it.
    pub(super) fn clear(&mut self, shared: &Shared) {
        if let Some(held) = self.held.take() {
            held.endpoint
                .rest(held.connection, held.keep_alive, shared.clock.now());
        }
    }

    /// Makes the attempt, or hands the delivery back.
    pub(super) async fn post(&mut self, shared: &Shared, job: Job) {
        if !may_begin(shared, &job).await {
            return;
        }
        let Some(part) = job.part.clone() else {
            sleep(HELD_BACK).await;
            return;
        };
        let began = shared.clock.now();
        shared.in_flight.fetch_add(1, Ordering::Relaxed);
        let settings = Arc::clone(&job.settings);
        let result = match &settings.target {
            Ok(target) => {
                let attempt = self.attempt(shared, &job, &settings, target, part);
                attempt.await.transpose()
            }
            Err(unusable) => Some(Err(unusable.to_failure())),
        };
        shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        let Some(result) = result else {
            return;
        };
        let took = shared.clock.now().saturating_sub(began);
        let outcome = match result {
            Ok(answer) => Outcome {
                kind: OutcomeKind::Response,
                status: answer.status,
                began,
                took,
                body: answer.body,
                detail: String::new(),
                retry_after_s: answer.retry_after_s,
            },
            Err(failure) => {
                if failure.kind == OutcomeKind::NotStarted {
                    shared.metrics.local_fault(&failure.detail);
                    sleep(HELD_BACK).await;
                }
                Outcome {
                    status: failure.status,
                    ..Outcome::failed(failure.kind, failure.detail, began, took)
                }
            }
        };
        shared.metrics.ended(&outcome);
        tracing::debug!(target: "sidehook::journey", step = "posted", delivery = %job.delivery,
            attempt = job.attempt, outcome = ?outcome.kind, status = outcome.status, took = ?rough(outcome.took));
        job.finish(outcome);
    }

    /// `None`: nothing was sent, because the lease ended meanwhile.
    async fn attempt(
        &mut self,
        shared: &Shared,
        job: &Job,
        settings: &Prepared,
        target: &Target,
        part: Part,
    ) -> Result<Option<Answer>, Failure> {
        let request = request(job, target, part, &settings.tail)?;
        tracing::debug!(target: "sidehook::journey", step = "signed", delivery = %job.delivery, attempt = job.attempt);
        let limit = settings.limits.total;
        let held = self
            .held
            .take_if(|held| Arc::ptr_eq(&held.endpoint, &target.endpoint))
            .map(|held| held.connection);
        self.clear(shared);
        let exchange = exchange(shared, job, target, held, request);
        let done = within(self.timer.as_mut(), limit, exchange).await;
        let done = done.unwrap_or_else(|| Err(Failure::timeout("no complete answer", limit)))?;
        let Some((answer, connection)) = done else {
            return Ok(None);
        };
        if answer.is_complete && connection.is_open() {
            self.held = Some(Held {
                endpoint: Arc::clone(&target.endpoint),
                connection,
                keep_alive: answer.keep_alive,
            });
        }
        Ok(Some(answer))
    }
}

/// Whether the POST may begin. Waits for a renewal of the lease to be asked for if that is what it takes.
async fn may_begin(shared: &Shared, job: &Job) -> bool {
    loop {
        if shared.is_draining() {
            return false;
        }
        let limit = job.settings.limits.total;
        match job.lease.check(shared.clock.now(), limit) {
            Check::Begin => return true,
            Check::Over => return false,
            Check::Renew => {
                shared.renewal.notify_one();
                sleep(LOOK_AGAIN).await;
            }
        }
    }
}

/// The request, signed with the time of now.
fn request(
    job: &Job,
    target: &Target,
    Part {
        head,
        headers: told,
    }: Part,
    tail: &Bytes,
) -> Result<Request<Pieces>, Failure> {
    let message_id = if target.names_message {
        job.delivery.to_string()
    } else {
        String::new()
    };
    let mut headers = target.headers.clone();
    if let Some(told) = told {
        told.put(target.event_header.as_ref(), &mut headers);
    }
    let signed = target
        .signer
        .sign(&message_id, clock::unix_seconds(), &[&head, tail]);
    for (name, (_, value)) in target.signature.iter().zip(signed) {
        let value = HeaderValue::try_from(value.into_owned()).map_err(|_| {
            Failure::new(
                OutcomeKind::KeyMissing,
                "the signature cannot be sent as a header",
            )
        })?;
        headers.insert(name, value);
    }
    let mut request = Request::new(Pieces::new(head, tail.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from(target.path.clone());
    *request.headers_mut() = headers;
    Ok(request)
}

/// Sends the request on a connection that is open, or on a new one, and reads the answer. `None`: nothing was sent,
/// because the lease ended meanwhile.
async fn exchange(
    shared: &Shared,
    job: &Job,
    target: &Target,
    mut held: Option<Connection>,
    mut request: Request<Pieces>,
) -> Result<Option<(Answer, Connection)>, Failure> {
    let settings = &job.settings;
    loop {
        let rested = held
            .take()
            .or_else(|| target.endpoint.take_idle(shared.clock.now()));
        let is_new = rested.is_none();
        let mut connection = match rested {
            Some(connection) => connection,
            None => {
                shared.metrics.connections.increment(1);
                // Boxed: most of a worker's size would be kept for what it does once.
                let (connector, tenant) = (&shared.connector, settings.tenant_id());
                let connect = connector.connect(&target.endpoint, tenant, settings.limits);
                Box::pin(connect).await?
            }
        };
        match connection.ready().await {
            Ok(()) => {}
            Err(error) if is_new => return Err(Failure::http(&error)),
            Err(_) => continue,
        }
        // A process that stood still while it connected learns of the time here.
        if job.lease.check(shared.clock.now(), Duration::ZERO) == Check::Over {
            return Ok(None);
        }
        match connection.send(request).await {
            Ok(response) => {
                let answer = response::read(&mut connection, response).await?;
                return Ok(Some((answer, connection)));
            }
            Err(mut error) => match error.take_message() {
                Some(unsent) if !is_new => request = unsent,
                _ => return Err(Failure::http(error.error())),
            },
        }
    }
}

/// Awaits `future` for at most `limit`; `None` if that was not enough. The time is looked at first: a future that always
/// has something to do, or that wakes up late, goes on no longer than one that waits.
async fn within<F: Future>(
    mut timer: Pin<&mut Sleep>,
    limit: Duration,
    future: F,
) -> Option<F::Output> {
    let deadline = Instant::now() + limit;
    timer.as_mut().reset(deadline);
    let mut future = pin!(future);
    poll_fn(|cx| match timer.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => future.as_mut().poll(cx).map(Some),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(2);

    /// Stands still, as a process does that is stopped, until its time is over; then the timers are looked at.
    async fn freeze() {
        let began = Instant::now();
        while began.elapsed() < 2 * LIMIT {
            std::hint::spin_loop();
        }
        tokio::task::yield_now().await;
    }

    #[tokio::test]
    async fn what_wakes_up_after_its_time_goes_no_further() {
        let went_on = std::cell::Cell::new(false);
        let frozen = async {
            freeze().await;
            went_on.set(true);
        };
        let mut timer = pin!(sleep(Duration::ZERO));
        assert!(within(timer.as_mut(), LIMIT, frozen).await.is_none());
        assert!(!went_on.get());
    }

    #[tokio::test]
    async fn what_is_never_idle_has_an_end() {
        let polls = std::cell::Cell::new(0);
        let busy = async {
            freeze().await;
            loop {
                polls.set(polls.get() + 1);
                assert!(polls.get() < 10_000, "goes on for ever");
                tokio::task::coop::consume_budget().await;
            }
        };
        let mut timer = pin!(sleep(Duration::ZERO));
        let over: Option<()> = within(timer.as_mut(), LIMIT, busy).await;
        assert!(over.is_none());
    }
}
