//! One stream: frames in, frames out, nothing decided.
//!
//! A loop of an asynchronous `select` and a synchronous `apply`. What the protocol allows is the business of
//! [`sidehook_session::agent_end`]; when to POST is the engine's. Frames wait in a short queue until the stream takes
//! them, and reading never waits for writing: two ends that both wait for room would wait for ever.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sidehook_api::agent_v1::agent_service_client::AgentServiceClient;
use sidehook_api::agent_v1::connect_request::Frame;
use sidehook_api::agent_v1::connect_response::Frame as Answer;
use sidehook_api::agent_v1::{self, ConnectRequest, ConnectResponse};
use sidehook_core::address::DeliveryId;
use sidehook_core::id::AgentId;
use sidehook_core::limits::CALL_RECORDS;
use sidehook_runtime::backoff::Backoff;
use sidehook_session::agent_end::{ProtocolError, Report};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use crate::engine::{BATCH, Job, Outcome, Prepared};
use crate::frames;
use crate::metrics::Reading;
use crate::rendering::Rendering;
use crate::uplink::Uplink;

/// How long the control plane may take to accept a session.
const WELCOME_WITHIN: Duration = Duration::from_secs(10);
/// How long the first outcome waits for more.
const GATHER: Duration = Duration::from_millis(1);
/// Frames in tonic's hands, and frames that wait in ours before no more outcomes are framed.
const FRAMES: usize = 8;
/// Bytes of responses in one frame of outcomes, about.
const OUTCOMES_BYTES: usize = 1 << 20;

/// How a session ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Drained: nothing is owed any more.
    Settled,
    /// The control plane asked to connect elsewhere.
    Move,
    /// It is over for this reason.
    Lost {
        /// For the log.
        reason: String,
    },
}

impl End {
    pub(crate) fn lost(reason: impl Into<String>) -> Self {
        Self::Lost {
            reason: reason.into(),
        }
    }
}

impl From<ProtocolError> for End {
    fn from(error: ProtocolError) -> Self {
        Self::lost(format!("the control plane broke the protocol: {error}"))
    }
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        let (code, message) = (status.code(), status.message());
        Self::lost(match code {
            Code::Unauthenticated => format!("the token is not accepted: {message}"),
            Code::PermissionDenied => format!("the token is not an agent's: {message}"),
            _ => format!("{}: {message}", code.description()),
        })
    }
}

/// Runs one session on a fresh connection.
pub(crate) async fn run(
    uplink: &mut Uplink,
    mut client: AgentServiceClient<Channel>,
    backoff: &mut Backoff,
) -> End {
    let (outbound, frames) = mpsc::channel(FRAMES);
    let hello = uplink.end.connect(rand::random(), uplink.clock.now());
    let open = hello.closed_session_ids.iter().copied();
    let open = open.chain([hello.session_id]);
    uplink.identity.note_sessions(open);
    let hello = uplink.introduction.hello(hello);
    if outbound.send(hello).await.is_err() {
        return End::lost("the stream did not open");
    }
    let mut request = Request::new(ReceiverStream::new(frames));
    let authorization = uplink.dial.authorization();
    request
        .metadata_mut()
        .insert("authorization", authorization);
    let inbound = match timeout(WELCOME_WITHIN, client.connect(request)).await {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return status.into(),
        Err(_) => return End::lost(format!("no answer within {WELCOME_WITHIN:?}")),
    };
    let session = Session {
        uplink,
        backoff,
        settings: HashMap::new(),
        pending: VecDeque::new(),
        told_draining: false,
        flush_at: None,
        is_held_back: false,
        leave_at: None,
        tick_at: Instant::now() + WELCOME_WITHIN,
    };
    session.run(outbound, inbound).await
}

struct Session<'a> {
    uplink: &'a mut Uplink,
    backoff: &'a mut Backoff,
    /// By the key that the control plane uses on this stream.
    settings: HashMap<u64, Arc<Prepared>>,
    /// Frames that wait for room in the stream.
    pending: VecDeque<ConnectRequest>,
    told_draining: bool,
    flush_at: Option<Instant>,
    /// Whether outcomes wait although it is time to send them.
    is_held_back: bool,
    leave_at: Option<Instant>,
    /// When to tick; before Welcome: until when it must have come.
    tick_at: Instant,
}

enum Event {
    Frame(Result<Option<ConnectResponse>, Status>),
    Sent,
    Outcomes,
    Flush,
    Tick,
    Draining,
    Leave,
    Closed,
}

impl Session<'_> {
    async fn run(
        mut self,
        outbound: mpsc::Sender<ConnectRequest>,
        mut inbound: Streaming<ConnectResponse>,
    ) -> End {
        loop {
            let event = self.next(&outbound, &mut inbound).await;
            if let Err(end) = self.apply(event) {
                return end;
            }
            if self.told_draining && self.uplink.is_settled() && self.pending.is_empty() {
                return End::Settled;
            }
        }
    }

    async fn next(
        &mut self,
        outbound: &mpsc::Sender<ConnectRequest>,
        inbound: &mut Streaming<ConnectResponse>,
    ) -> Event {
        let far = self.tick_at;
        let engine = &self.uplink.engine;
        let may_drain = self.uplink.end.is_welcome() && !self.told_draining;
        tokio::select! {
            frame = inbound.message() => Event::Frame(frame),
            permit = outbound.reserve(), if !self.pending.is_empty() => match permit {
                Ok(permit) => {
                    if let Some(frame) = self.pending.pop_front() {
                        permit.send(frame);
                    }
                    Event::Sent
                }
                Err(_) => Event::Closed,
            },
            () = engine.outcomes().changed() => Event::Outcomes,
            () = sleep_until(self.flush_at.unwrap_or(far)), if self.flush_at.is_some() => Event::Flush,
            () = engine.renewal_wanted() => Event::Tick,
            () = sleep_until(self.tick_at) => Event::Tick,
            () = self.uplink.drain.draining(), if may_drain => Event::Draining,
            () = sleep_until(self.leave_at.unwrap_or(far)), if self.leave_at.is_some() => Event::Leave,
        }
    }

    fn apply(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Frame(Ok(Some(ConnectResponse { frame: Some(frame) }))) => self.receive(frame),
            // A frame of a newer control plane that this agent does not know.
            Event::Frame(Ok(Some(_))) => Ok(()),
            Event::Frame(Ok(None)) | Event::Closed => {
                Err(End::lost("the control plane closed the stream"))
            }
            Event::Frame(Err(status)) => Err(status.into()),
            Event::Leave => Err(End::Move),
            Event::Tick => self.tick(),
            Event::Draining => {
                self.told_draining = true;
                self.uplink.engine.drain();
                self.send(Frame::Draining(agent_v1::Draining {}));
                self.flush();
                Ok(())
            }
            Event::Outcomes => {
                if self.uplink.engine.outcomes().len() >= BATCH {
                    self.flush();
                } else if self.flush_at.is_none() {
                    self.flush_at = Some(Instant::now() + GATHER);
                }
                Ok(())
            }
            Event::Flush => {
                self.flush();
                Ok(())
            }
            Event::Sent => {
                self.flush_held_back();
                Ok(())
            }
        }
    }

    fn send(&mut self, frame: Frame) {
        let stamp = self.uplink.end.stamp(self.uplink.clock.now());
        self.pending.push_back(frames::request(stamp, frame));
    }

    /// Frames what is gathered. If there is no room, or too much is unacknowledged, that is made up for when a frame
    /// has left or an acknowledgement came.
    fn flush(&mut self) {
        self.flush_at = None;
        self.is_held_back = self.pending.len() >= FRAMES || !self.uplink.end.may_report();
        if self.is_held_back {
            return;
        }
        let mut reports = self.uplink.engine.outcomes().take().into_iter().peekable();
        while reports.peek().is_some() {
            let now = self.uplink.clock.now();
            let Some(batch) = self.uplink.end.report(bounded(&mut reports)) else {
                continue;
            };
            let frame = frames::outcomes(batch, now);
            self.send(frame);
        }
    }

    fn flush_held_back(&mut self) {
        if self.is_held_back {
            self.flush();
        }
    }

    fn tick(&mut self) -> Result<(), End> {
        let now = self.uplink.clock.now();
        let Some(every) = self.uplink.end.tick_every() else {
            return if self.tick_at <= Instant::now() {
                Err(End::lost(format!("no Welcome within {WELCOME_WITHIN:?}")))
            } else {
                Ok(())
            };
        };
        self.tick_at = Instant::now() + every;
        let due = self.uplink.end.tick(now);
        let in_flight = self.uplink.engine.in_flight();
        self.uplink.metrics.show(&Reading {
            leases: self.uplink.end.leases(),
            in_flight,
            waiting: self.uplink.engine.outcomes().len(),
            credit: self.uplink.end.credit(),
        });
        if due.is_stuck {
            return Err(End::lost("heartbeats are not answered"));
        }
        if let Some(number) = due.heartbeat {
            self.send(Frame::Heartbeat(agent_v1::Heartbeat { number, in_flight }));
        }
        if !due.renew.is_empty() {
            self.send(Frame::Renew(agent_v1::Renew { leases: due.renew }));
        }
        Ok(())
    }

    fn receive(&mut self, frame: Answer) -> Result<(), End> {
        let end = &mut self.uplink.end;
        match frame {
            Answer::Welcome(welcome) => self.welcome(&welcome)?,
            Answer::Assign(assign) => self.assign(&assign)?,
            Answer::OutcomesAck(ack) => {
                end.acknowledge(ack.watermark, &ack.above)?;
                self.flush_held_back();
            }
            Answer::Renewed(renewed) => {
                end.renewed(renewed.stamp, &renewed.leases, &renewed.dead_leases)?;
            }
            Answer::Heartbeat(heartbeat) => end.heartbeat(heartbeat.number)?,
            Answer::Drain(drain) => {
                let wait_ms = drain.reconnect_after_ms.min(drain.deadline_ms);
                tracing::info!(wait_ms, "the control plane is going away");
                self.leave_at = Some(Instant::now() + Duration::from_millis(wait_ms.into()));
            }
            Answer::GoAway(go_away) => {
                let reason = format!("the control plane ended the session: {}", go_away.reason);
                return Err(End::lost(reason));
            }
        }
        Ok(())
    }

    fn welcome(&mut self, welcome: &agent_v1::Welcome) -> Result<(), End> {
        let uplink = &mut *self.uplink;
        let (term_ms, beat_ms) = (welcome.lease_ms.into(), welcome.heartbeat_ms.into());
        let (term, beat) = (
            Duration::from_millis(term_ms),
            Duration::from_millis(beat_ms),
        );
        let now = uplink.clock.now();
        uplink.end.welcome(term, beat, &welcome.dead_leases, now)?;
        let resent: Vec<Frame> = uplink
            .end
            .unacknowledged()
            .map(|batch| frames::outcomes(batch, now))
            .collect();
        // As the control plane calls this agent; not told by one of before.
        let agent = AgentId::from_slice(&welcome.agent_id).map(tracing::field::display);
        tracing::info!(agent, lease = ?term, heartbeat = ?beat, dead_leases = welcome.dead_leases.len(),
            resent = resent.len(), "connected to the control plane");
        self.backoff.reset();
        uplink.metrics.connected(true);
        if let Some(connected) = &uplink.connected {
            connected.met();
        }
        for frame in resent {
            self.send(frame);
        }
        self.flush();
        self.tick()
    }

    fn assign(&mut self, assign: &agent_v1::Assign) -> Result<(), End> {
        let malformed = |what| End::lost(format!("the control plane broke the protocol: {what}"));
        for settings in &assign.settings {
            self.settings.remove(&settings.replaces);
            let prepared = self.uplink.engine.prepare(settings.clone());
            self.settings.insert(settings.key, prepared);
        }
        let mut parts = Vec::with_capacity(assign.deliveries.len());
        for delivery in &assign.deliveries {
            let settings = self.settings.get(&delivery.settings_key);
            let id = DeliveryId::from_slice(&delivery.delivery_id);
            let (Some(settings), Some(id)) = (settings, id) else {
                return Err(malformed("a delivery has no settings or no valid id"));
            };
            if delivery.event as usize >= assign.events.len() {
                return Err(malformed("a delivery has no event"));
            }
            parts.push((delivery, Arc::clone(settings), id));
        }
        let longest = parts.iter().map(|(_, settings, _)| settings.total_limit());
        let longest = longest.max().unwrap_or_default();
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let now = self.uplink.clock.now();
        let lease = self
            .uplink
            .end
            .assign(&assign.lease, assign.stamp, count, longest, now)?;
        let Some(lease) = lease else {
            return Ok(());
        };
        let events = assign.events.iter().map(|encoded| {
            let event = Rendering::decode(encoded.clone());
            event.inspect_err(|error| tracing::error!(%error, "an event cannot be read"))
        });
        let mut events: Vec<_> = events.map(Result::ok).collect();
        let jobs = parts.into_iter().map(|(delivery, settings, id)| {
            let event = events[delivery.event as usize].as_mut();
            let part = event.map(|event| event.part(settings.wants(), settings.tenant_id()));
            let (position, attempt) = (delivery.position, delivery.attempt);
            Job::new(lease.clone(), position, attempt, id, part, settings)
        });
        let jobs = jobs.collect();
        self.uplink.engine.submit(jobs);
        Ok(())
    }
}

/// The next reports of one frame: at most as many as the store settles in one call, and bounded in bytes.
fn bounded<I>(reports: &mut std::iter::Peekable<I>) -> impl Iterator<Item = Report<Outcome>>
where
    I: Iterator<Item = Report<Outcome>>,
{
    let mut bytes = 0;
    std::iter::from_fn(move || {
        if bytes >= OUTCOMES_BYTES {
            return None;
        }
        let report = reports.next()?;
        bytes += report.outcome.body.len() + report.outcome.detail.len() + 64;
        Some(report)
    })
    .take(CALL_RECORDS)
}
