//! Hints: a connection of their own that listens to all partitions' channels.
//!
//! A message is published where its partition is, and every node of a Cluster passes it
//! on to all others: one node is listened to, whichever it is. Where it goes away or has
//! no keys any more, another one is; every new subscription means that something may
//! have been missed, and is told as a gap.

use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use redis::{
    AsyncConnectionConfig, ProtocolVersion, PushInfo, PushKind, Value, aio::MultiplexedConnection,
};
use sidehook_core::{address::Partition, id::TenantId};
use sidehook_store::hint::Hint;
use tokio::sync::{Notify, broadcast};

use crate::{ConnectError, address::Node, error, layout, layout::Reader, system::System};

/// Hints that a receiver may lag behind.
const HINTS: usize = 4_096;
/// Matches every partition's channel and nothing else of ours.
pub(crate) const PATTERN: &str = "{sh[0-9][0-9]}:hints";
/// Between two attempts at least and at most.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_LAST: Duration = Duration::from_secs(2);

/// Whoever wants hints asks here.
pub(crate) struct Hints {
    sender: broadcast::Sender<Hint>,
}

impl Hints {
    /// Subscribes, and answers also what keeps the subscription up: to be run for as
    /// long as hints are wanted.
    pub(crate) async fn listen(
        system: Arc<System>,
    ) -> Result<(Self, impl Future<Output = ()> + Send + 'static), ConnectError> {
        let (sender, _) = broadcast::channel(HINTS);
        let node = next(&system, 0);
        let first = Ear::open(&system, node, &sender).await?;
        let keep = keep(system, sender.clone(), first);
        Ok((Self { sender }, keep))
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Hint> {
        self.sender.subscribe()
    }
}

/// The node to listen to at an attempt.
fn next(system: &System, attempt: usize) -> Node {
    let nodes = &system.map().nodes;
    nodes[attempt % nodes.len()].clone()
}

/// Subscribes again whenever that is needed; never ends.
async fn keep(system: Arc<System>, out: broadcast::Sender<Hint>, mut ear: Ear) {
    let mut attempt = 0_usize;
    loop {
        ear.over(&system).await;
        let mut failures = 0;
        ear = loop {
            attempt += 1;
            match Ear::open(&system, next(&system, attempt), &out).await {
                Ok(ear) => break ear,
                Err(error) => tracing::debug!(%error, "hints are not heard"),
            }
            let wait = (BACKOFF_FIRST * (1 << failures)).min(BACKOFF_LAST);
            failures = (failures + 1).min(8);
            tokio::time::sleep(wait.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        };
        // No receiver is no error: hints are for whoever listens.
        let _ = out.send(Hint::Gap);
    }
}

/// One subscription.
struct Ear {
    node: Node,
    /// Told when the connection is gone.
    gone: Arc<Notify>,
    _connection: MultiplexedConnection,
}

impl Ear {
    async fn open(
        system: &System,
        node: Node,
        out: &broadcast::Sender<Hint>,
    ) -> Result<Self, ConnectError> {
        let gone = Arc::new(Notify::new());
        let (out, tell) = (out.clone(), Arc::clone(&gone));
        let timeout = Some(system.response_timeout);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(timeout)
            .set_response_timeout(timeout)
            .set_push_sender(move |push: PushInfo| {
                match push.kind {
                    PushKind::PMessage => {
                        if let Some(hint) = parse(push.data) {
                            let _ = out.send(hint);
                        }
                    }
                    PushKind::Disconnection => tell.notify_one(),
                    _ => {}
                }
                Ok::<(), redis::aio::SendError>(())
            });
        let info = system.address.of(&node);
        let settings = info.redis_settings().clone();
        let info = info.set_redis_settings(settings.set_protocol(ProtocolVersion::RESP3));
        let mut connection = system.connect(info, &config).await?;
        let subscribed = connection.psubscribe(PATTERN).await;
        subscribed.map_err(|error| error::connect_error(&error))?;
        Ok(Self {
            node,
            gone,
            _connection: connection,
        })
    }

    /// Waits until it hears nothing any more, or should not.
    async fn over(&self, system: &System) {
        let mut maps = system.maps();
        let moved = maps.wait_for(|map| !map.nodes.contains(&self.node));
        tokio::select! {
            () = self.gone.notified() => {}
            _ = moved => {}
        }
    }
}

/// A message is pattern, channel, payload.
fn parse(data: Vec<Value>) -> Option<Hint> {
    let mut parts = data.into_iter().skip(1);
    let (Some(Value::BulkString(channel)), Some(Value::BulkString(payload))) =
        (parts.next(), parts.next())
    else {
        return None;
    };
    let number = core::str::from_utf8(channel.get(3..5)?)
        .ok()?
        .parse()
        .ok()?;
    let partition = Partition::new(number)?;
    let payload = Bytes::from(payload);
    let (kind, rest) = (*payload.first()?, payload.slice(1..));
    match kind {
        b'd' => Some(Hint::Due {
            partition,
            pool: Reader::new("a pool", rest).pool().ok()?,
        }),
        b'c' => Some(Hint::Catalog(TenantId::from_slice(&rest)?)),
        b's' if rest.len() == 12 => Some(Hint::Settled(layout::block_id(partition, &rest))),
        _ => None,
    }
}
